//! A panic in one connection's task ends that connection, not the worker.

#![allow(unsafe_code)]

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

/// The result of a guarded future.
#[derive(Debug, PartialEq, Eq)]
pub enum Caught {
    /// It ran to its end.
    Finished,
    /// It panicked; its state has been dropped.
    Panicked,
}

/// Runs `future`, catching a panic at each poll. monoio would let it end the thread.
///
/// The future shares only cells with the rest of the core, whose methods never panic half-way, so their state is
/// consistent: hence the assertion of unwind safety.
pub fn catch_panic<F: Future<Output = ()>>(future: F) -> CatchPanic<F> {
    CatchPanic { future }
}

/// The future of [`catch_panic`]. An `async fn` would hold the guarded future twice, as its argument and pinned, and so
/// double the memory of every connection.
#[derive(Debug)]
pub struct CatchPanic<F> {
    future: F,
}

impl<F: Future<Output = ()>> Future for CatchPanic<F> {
    type Output = Caught;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Caught> {
        // SAFETY: the field is pinned as long as the whole is: nothing moves out of it, and there is no `Drop` and no
        // `Unpin` that could.
        let future = unsafe { self.map_unchecked_mut(|whole| &mut whole.future) };
        match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
            Ok(poll) => poll.map(|()| Caught::Finished),
            Err(_) => Poll::Ready(Caught::Panicked),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn panics_at_its_second_poll() {
        let mut polled = false;
        std::future::poll_fn(|_| {
            assert!(!std::mem::replace(&mut polled, true), "on purpose");
            Poll::<()>::Pending
        })
        .await;
    }

    #[test]
    fn a_panic_ends_the_future_and_no_more() {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut finished = std::pin::pin!(catch_panic(async {}));
        assert_eq!(finished.as_mut().poll(&mut cx), Poll::Ready(Caught::Finished));
        let mut panicked = std::pin::pin!(catch_panic(panics_at_its_second_poll()));
        assert_eq!(panicked.as_mut().poll(&mut cx), Poll::Pending);
        assert_eq!(panicked.as_mut().poll(&mut cx), Poll::Ready(Caught::Panicked));
    }

    #[test]
    fn it_adds_no_memory() {
        let future = std::future::ready(());
        assert_eq!(size_of_val(&catch_panic(future.clone())), size_of_val(&future));
    }
}
