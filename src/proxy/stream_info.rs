//! What is noted of a request along its way, from its first byte to its line in the log.
//!
//! Data alone: whatever handles the request writes here what it learns of it, and `record` reads it at the end.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::parsed::Asked;
use crate::base::endpoint::EndpointAddress;
use crate::h1::head::Span;
use crate::observe::flags::Flags;
use crate::observe::stats::{HttpStats, RouteStats};
use crate::plan::{Cors, Edits};

/// What is noted of a request along its way.
#[derive(Debug)]
pub(super) struct Story<'p> {
    /// When its first byte was seen.
    pub(super) began: Instant,
    /// The status sent; 0 if none was.
    pub(super) status: u16,
    pub(super) flags: Flags,
    pub(super) details: Cow<'static, str>,
    pub(super) transport_failure: Cow<'static, str>,
    /// Body bytes received from the client.
    pub(super) received: u64,
    /// Body bytes sent to the client.
    pub(super) sent: u64,
    /// From the end of the request to the head of the upstream's response.
    pub(super) service_time: Option<Duration>,
    pub(super) upstream_host: Option<EndpointAddress>,
    pub(super) upstream_connected: bool,
    pub(super) upstream_local: Option<SocketAddr>,
    /// The cluster's name, or "".
    pub(super) cluster: &'p str,
    /// The route's name, or "".
    pub(super) route: &'p str,
    /// The counters of a route with a `statPrefix`.
    pub(super) route_stats: Option<&'p RouteStats>,
    /// What the request asked for, once that is understood.
    pub(super) asked: Option<Asked>,
    /// What rules do to the response's head.
    pub(super) edits: Option<&'p Edits>,
    /// The policy that allows the request's origin, and that origin: a span of the head.
    pub(super) cors: Option<(&'p Cors, Span)>,
    /// Whether a rule has put another path and query in place of the client's: `Draft::rewritten`.
    pub(super) rewritten: bool,
    /// The Host that a rule puts in place of the client's.
    pub(super) authority: Option<&'p str>,
    /// Whether it was tried more than once.
    pub(super) retried: bool,
    /// That a fault was injected.
    pub(super) fault: Option<Injected>,
}

impl Story<'_> {
    pub(super) fn new(began: Instant) -> Self {
        Self {
            began,
            status: 0,
            flags: Flags::NONE,
            details: "".into(),
            transport_failure: "".into(),
            received: 0,
            sent: 0,
            service_time: None,
            upstream_host: None,
            upstream_connected: false,
            upstream_local: None,
            cluster: "",
            route: "",
            route_stats: None,
            asked: None,
            edits: None,
            cors: None,
            rewritten: false,
            authority: None,
            retried: false,
            fault: None,
        }
    }
}

/// Counts a request as one with a fault for as long as it lives.
#[derive(Debug)]
pub(super) struct Injected(Arc<HttpStats>);

impl Injected {
    pub(super) fn begin(stats: &Arc<HttpStats>) -> Self {
        stats.fault_active_faults.inc();
        Self(stats.clone())
    }
}

impl Drop for Injected {
    fn drop(&mut self) {
        self.0.fault_active_faults.dec();
    }
}
