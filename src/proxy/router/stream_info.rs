//! The notes on a request, from its first byte to its line in the log.
//!
//! Data only: every step writes its facts here, and `record` reads them at the end.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::endpoint::EndpointAddress;
use crate::http::head::Span;
use crate::observe::flags::Flags;
use crate::observe::stats::{HttpStats, RouteStats};
use crate::plan::{Cors, Edits};
use crate::proxy::router::parsed_request::ParsedRequest;

/// The notes on a request (Envoy's `StreamInfo`).
#[derive(Debug)]
pub(crate) struct StreamInfo<'p> {
    /// When its first byte was seen.
    pub(crate) began: Instant,
    /// The status sent; 0 if none was sent.
    pub(crate) status: u16,
    pub(crate) flags: Flags,
    pub(crate) details: Cow<'static, str>,
    pub(crate) transport_failure: Cow<'static, str>,
    /// Body bytes received from the client.
    pub(crate) received: u64,
    /// Body bytes sent to the client.
    pub(crate) sent: u64,
    /// From the end of the request to the head of the upstream's response.
    pub(crate) service_time: Option<Duration>,
    pub(crate) upstream_host: Option<EndpointAddress>,
    pub(crate) upstream_connected: bool,
    pub(crate) upstream_local: Option<SocketAddr>,
    /// The cluster's name, or "".
    pub(crate) cluster: &'p str,
    /// The route's name, or "".
    pub(crate) route: &'p str,
    /// The counters of a route with a `statPrefix`.
    pub(crate) route_stats: Option<&'p RouteStats>,
    /// The parsed request, once it is parsed.
    pub(crate) parsed: Option<ParsedRequest>,
    /// The rules' operations on the response's head.
    pub(crate) edits: Option<&'p Edits>,
    /// The policy that allows the request's origin, and that origin: a span of the head.
    pub(crate) cors: Option<(&'p Cors, Span)>,
    /// Whether a rule has replaced the client's path and query: `HeaderScratch::rewritten`.
    pub(crate) rewritten: bool,
    /// The Host of a rule, which replaces the client's.
    pub(crate) authority: Option<&'p str>,
    /// Whether it was tried more than once.
    pub(crate) retried: bool,
    /// That a fault was injected.
    pub(crate) fault: Option<Injected>,
}

impl StreamInfo<'_> {
    pub(crate) fn new(began: Instant) -> Self {
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
            parsed: None,
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
pub(crate) struct Injected(Arc<HttpStats>);

impl Injected {
    pub(crate) fn begin(stats: &Arc<HttpStats>) -> Self {
        stats.fault_active_faults.inc();
        Self(stats.clone())
    }
}

impl Drop for Injected {
    fn drop(&mut self) {
        self.0.fault_active_faults.dec();
    }
}
