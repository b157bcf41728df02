//! The clock of the data path: the one place that reads it.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime};

/// The monotonic time.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this is the edge at which time enters")]
pub fn now() -> Instant {
    Instant::now()
}

/// The wall clock, for dates and log lines.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this is the edge at which time enters")]
pub fn unix_time() -> SystemTime {
    SystemTime::now()
}

/// Completes at `deadline`, to the millisecond. Only inside [`block_on`](super::block_on).
pub async fn sleep_until(deadline: Instant) {
    monoio::time::sleep_until(monoio::time::Instant::from_std(deadline)).await;
}

/// A timer that can be set again and again. It allocates when it is first used, and never more: for deadlines that come
/// with every request. It is one task's: the runtime wakes whichever task polled it first after it was made or fired.
#[derive(Default)]
pub struct Timer(Option<Pin<Box<monoio::time::Sleep>>>);

impl std::fmt::Debug for Timer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timer").field("used", &self.0.is_some()).finish()
    }
}

impl Timer {
    /// Completes at `deadline`, to the millisecond; sets the timer if it is not set to that already. Only inside
    /// [`block_on`](super::block_on).
    pub async fn until(&mut self, deadline: Instant) {
        poll_fn(|cx| self.poll_until(deadline, cx)).await;
    }

    /// [`Timer::until`] for a future that knows its deadline only as it is polled.
    pub fn poll_until(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = monoio::time::Instant::from_std(deadline);
        let sleep = self.0.get_or_insert_with(|| Box::pin(monoio::time::sleep_until(deadline)));
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Driver, block_on};
    use super::*;

    #[test]
    fn a_timer_completes_at_its_last_deadline_and_can_be_set_again() {
        for driver in [Driver::Auto, Driver::Epoll] {
            let passed = block_on(driver, |_| async {
                let (mut timer, begun) = (Timer::default(), now());
                timer.until(begun + Duration::from_millis(5)).await;
                let first = now().duration_since(begun);
                timer.until(begun).await; // one that has passed
                // Set to an hour and left, then to a moment.
                let hour = begun + Duration::from_secs(3600);
                assert!(timer.poll_until(hour, &mut Context::from_waker(std::task::Waker::noop())).is_pending());
                timer.until(begun + Duration::from_millis(15)).await;
                (first, now().duration_since(begun))
            })
            .unwrap();
            assert!(passed.0 >= Duration::from_millis(5) && passed.1 >= Duration::from_millis(15), "{passed:?}");
            assert!(passed.1 < Duration::from_secs(3000), "{passed:?}");
        }
    }
}
