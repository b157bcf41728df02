//! Waiting for a condition.

use std::time::{Duration, Instant};

/// Longer than anything that works takes on a loaded machine with two cores; reached only when something is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Polls `probe` until it gives a value; panics with `what` when [`PATIENCE`] runs out.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, probe).unwrap_or_else(|| panic!("{what}: not within {PATIENCE:?}"))
}

/// Polls `probe` until it gives a value or `limit` has passed.
pub(crate) fn within<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = probe() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
