//! The clock of the data path: the one place that reads it.

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
