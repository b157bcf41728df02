//! The control thread: it starts the workers, takes signals, reports and changes of the configuration, installs new plans,
//! and shuts down in order.
//!
//! One owner, one order: sources of events (signals, `config`, the name servers, workers) only send [`Event`]s, and all
//! decisions are made in the loop of [`Running::serve`]. It may log and allocate; the workers never wait for it.
//!
//! [`Running`] and its parts are the lower half; the files with the steps of its life (`start`, `serve`, `reload`,
//! `endpoints`, `dns_endpoints`, `resolve`, `drain`) are its methods, and none of them imports another.

mod access_log;
pub mod admin;
mod config;
mod connection_limit;
mod cpus;
mod digest;
mod dns;
mod dns_endpoints;
mod drain;
mod ejection;
mod endpoints;
mod error;
mod in_force;
mod listeners;
pub mod logging;
mod names;
mod plan_stats;
mod queue;
mod reload;
mod resolve;
mod running;
mod serve;
mod signals;
mod start;
mod workers;

pub use config::{ConfigEvent, ConfigSource, Loaded, Revision};
pub use digest::{Changes, Digest};
pub use dns::DnsAnswer;
pub use error::StartError;
pub use running::Running;
pub use signals::{CaughtSignals, catch_signals};
pub use start::{first_outward_address, start};

use crate::worker::Report;

/// Something that control reacts to.
#[derive(Debug)]
pub enum Event {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
    /// `/drain`: finish requests in flight, and stay.
    Drain,
    /// SIGUSR1: the access log's file has been moved away.
    ReopenLog,
    /// The source of the configuration has changed, or was read.
    Config(ConfigEvent),
    /// A host name was looked up.
    Named {
        /// The name, as it was requested.
        name: Box<str>,
        /// The answer.
        answer: DnsAnswer,
    },
    /// A report of a worker.
    Worker {
        /// The generation of its thread: threads are numbered from 1 in the order of their start.
        generation: u64,
        /// The report.
        report: Report,
    },
}
