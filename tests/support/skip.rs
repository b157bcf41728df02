//! What a test says that cannot do, or not wholly, what it is for, because the machine does not let it.

use std::io::{self, Write};

/// A line that nobody can overlook: past the test harness, which keeps what a passing test prints to itself.
pub(crate) fn loudly(what: &str) {
    let _ = write!(io::stderr(), "\n*** {what}\n\n"); // nobody reads it, then
}
