//! A panic in one connection's task ends that connection, not the worker.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What became of a guarded future.
#[derive(Debug, PartialEq, Eq)]
pub enum Caught {
    /// It ran to its end.
    Finished,
    /// It panicked; its state has been dropped.
    Panicked,
}

/// Runs `future`, catching a panic at each poll. monoio would let it end the thread.
///
/// What the future shares with the rest of the core are cells whose methods never panic half-way, so the state left
/// behind is whole: hence the assertion of unwind safety.
pub async fn catch_panic(future: impl Future<Output = ()>) -> Caught {
    let mut future = std::pin::pin!(future);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll.map(|()| Caught::Finished),
        Err(_) => std::task::Poll::Ready(Caught::Panicked),
    })
    .await
}
