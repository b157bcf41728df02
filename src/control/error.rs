//! Why ringway does not start, or does not take a new plan.

use std::net::SocketAddr;

use crate::observe::access_log::FormatError;
use crate::plan::ListenerKind;

/// Why ringway cannot run (exit code 1).
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `spec.cpus` cannot be met.
    #[error("{0}")]
    Cpus(String),
    /// A listener's address cannot be had.
    #[error("cannot listen on {address} for {kind}: {error}{hint}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The clients that it is for.
        kind: ListenerKind,
        /// The system's error.
        error: std::io::Error,
        /// The advice.
        hint: &'static str,
    },
    /// The admin address cannot be had.
    #[error("cannot listen on {address} for the admin endpoints: {error}{hint}")]
    Admin {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        error: std::io::Error,
        /// The advice.
        hint: &'static str,
    },
    /// The access log cannot be written.
    #[error("cannot open the access log {path}: {error}")]
    AccessLog {
        /// `meshConfig.accessLogFile`.
        path: String,
        /// The system's error.
        error: std::io::Error,
    },
    /// `meshConfig.accessLogFormat` cannot be compiled.
    #[error("meshConfig.accessLogFormat: {0}")]
    AccessLogFormat(#[from] FormatError),
    /// A worker could not begin.
    #[error("worker {worker} cannot run: {error}")]
    Worker {
        /// Its number.
        worker: usize,
        /// Why.
        error: String,
    },
    /// The process has used up a resource of the system.
    #[error("{0}")]
    System(#[from] std::io::Error),
}

/// The advice for a failed bind.
pub(super) fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => " (another process has it; `ss -ltnp` shows which)",
        std::io::ErrorKind::PermissionDenied => {
            " (ports below 1024 need CAP_NET_BIND_SERVICE; or bind another: `ports: {80: 8080}` in the Proxy document)"
        }
        std::io::ErrorKind::AddrNotAvailable => " (no interface of this host has that address)",
        _ => "",
    }
}
