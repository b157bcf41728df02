//! The control thread: it starts the workers, hears signals and reports, and ends them in order.
//!
//! One owner, one order: sources (signals, workers) only send events, and everything is decided in the loop of
//! [`Running::serve`]. It may block, log and allocate; the workers never wait for it.

pub mod admin;
mod cpus;
mod drain;
pub mod logging;
mod signals;
mod start;

pub use drain::ServeError;
pub use signals::forward_signals;
pub use start::{Running, StartError, start};

use crate::worker::Report;

/// Something that control reacts to.
#[derive(Debug)]
pub enum Event {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
    /// `/drain`: finish what is in flight, and stay.
    Drain,
    /// Word from a worker.
    Worker(Report),
}
