//! What a test says that cannot do, or not wholly, what it is for, because the machine does not let it.

use std::io::{self, Write};

/// With this in the environment nothing may be skipped: `.ci/run` sets it, so that no run is green that left something out.
const NOTHING: &str = "RINGWAY_SKIP_NOTHING";

/// A line that nobody can overlook: past the test harness, which keeps what a passing test prints to itself. Where nothing
/// may be skipped, the test fails instead.
#[track_caller]
pub(crate) fn loudly(what: &str) {
    let forbidden = std::env::var_os(NOTHING).is_some_and(|value| !value.is_empty());
    assert!(!forbidden, "{what} ({NOTHING} is set: make it possible, as .ci/run tries to)");
    let _ = write!(io::stderr(), "\n*** {what}\n\n"); // nobody reads it, then
}
