//! The control thread: it starts the workers, hears signals and reports, installs new plans, and ends all in order.
//!
//! One owner, one order: sources (signals, the file watch, the reading of a configuration, workers) only send events,
//! and everything is decided in the loop of [`Running::serve`]. It may log and allocate; the workers never wait for it.

pub mod admin;
mod cpus;
mod digest;
mod dns;
mod drain;
mod ejection;
mod listeners;
pub mod logging;
mod members;
mod names;
mod reload;
mod resolve;
mod serve;
mod signals;
mod source;
mod start;
mod watch;
mod workers;

pub use digest::{Digest, HeaderOps};
pub use dns::DnsAnswer;
pub use signals::{CaughtSignals, catch_signals};
pub use source::{Loaded, Source};
pub use start::{Running, StartError, first_outward_address, start};
pub use watch::Snapshot;

use crate::worker::Report;

/// Something that control reacts to.
#[derive(Debug)]
pub enum Event {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
    /// `/drain`: finish what is in flight, and stay.
    Drain,
    /// SIGUSR1: the access log's file has been moved away.
    ReopenLog,
    /// The files of the configuration have changed, and are like this now.
    Changed(Snapshot),
    /// The configuration was read again; `None`: whoever read it panicked.
    Loaded(Option<Box<(Loaded, Digest)>>),
    /// Where a host name is that was asked about.
    Named {
        /// The name, as it was asked.
        name: Box<str>,
        /// The answer.
        answer: DnsAnswer,
    },
    /// Word from a worker.
    Worker {
        /// Which of the threads that there have been.
        life: u64,
        /// What it says.
        report: Report,
    },
}
