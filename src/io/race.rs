//! Two futures at once in one task, without dropping the loser.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Instant;

/// Which of two futures was ready first.
#[derive(Debug)]
pub enum Either<A, B> {
    /// The first one.
    Left(A),
    /// The second one.
    Right(B),
}

/// Polls both and returns the first result; `a` wins a tie. The loser stays where it is pinned, so the caller may
/// race it again: no operation is lost.
pub async fn race<A: Future, B: Future>(mut a: Pin<&mut A>, mut b: Pin<&mut B>) -> Either<A::Output, B::Output> {
    poll_fn(|cx| {
        if let Poll::Ready(out) = a.as_mut().poll(cx) {
            return Poll::Ready(Either::Left(out));
        }
        b.as_mut().poll(cx).map(Either::Right)
    })
    .await
}

/// `future`, or `None` once `deadline` has passed. The future is dropped then: only for operations whose connection
/// dies with them.
pub async fn within<F: Future>(deadline: Instant, future: F) -> Option<F::Output> {
    let future = std::pin::pin!(future);
    let sleep = std::pin::pin!(super::sleep_until(deadline));
    match race(future, sleep).await {
        Either::Left(out) => Some(out),
        Either::Right(()) => None,
    }
}
