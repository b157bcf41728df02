//! Fault injection: which requests are delayed, and which are answered with an error instead of being forwarded.
//!
//! Envoy's fault filter stands before the router: timeouts and retries begin only after it. `proxy` asks once a request
//! whose route has faults.

use std::time::Duration;

use super::share::FractionalPercent;

/// `fault` of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// `delay`; comes first.
    pub delay: Option<Delay>,
    /// `abort`; drawn for after the delay, independently of it.
    pub abort: Option<Abort>,
}

/// `fault.delay`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delay {
    /// `fixedDelay`.
    pub by: Duration,
    /// `percentage`, or the older `percent`.
    pub share: FractionalPercent,
}

/// `fault.abort`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abort {
    /// The local reply.
    pub with: AbortWith,
    /// `percentage`.
    pub share: FractionalPercent,
}

/// The answer of an abort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AbortWith {
    /// `httpStatus`.
    Status(u16),
    /// `grpcStatus`, by its number.
    Grpc(u8),
}
