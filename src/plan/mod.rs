//! The plan: everything that a worker needs to answer a request, compiled once from the configuration and then never
//! changed.
//!
//! It owns the tables that are read per request (host table, routes, matchers, weighted destinations, clusters) and the settings of the
//! process. It is plain data: it owns no socket, no clock and no counter, and routing allocates nothing. `control` compiles a plan and
//! sends it to the workers; `proxy` asks [`Plan::route`] once a request; `explain` calls [`Plan::route_with`], which is the same code with
//! a [`Witness`] of each step.
//!
//! A regex keeps a pool of scratch space that belongs to the first thread that uses it. Every worker has its [own copy](Plan::own_copy) of
//! the plan and so its own pools, without contention.

mod action;
mod client_tls;
mod compile;
mod discovery;
mod edits;
mod filter_chain;
mod hosts;
mod listener;
mod matcher;
mod outbound;
mod pattern;
mod prefilter;
mod retry_words;
mod route;
mod route_table;
mod settings;
#[cfg(test)]
pub(crate) mod tests;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::base::endpoint::EndpointAddress;
pub use crate::base::id::{ClusterId, EndpointId, ListenerId, RouteStatsId, TcpStatsId};
use crate::base::rng::Rng;
use crate::http::forward::View;
use crate::policy::balance::LoadBalancing;
use crate::policy::outlier::Outlier;
use crate::policy::permits::BreakerLimits;

pub use action::{
    Action, Compare, Cors, Destination, Destinations, DirectResponse, Forward, Mirror, PathRewrite, Piece, Redirect,
    RedirectPath, Target, UnmatchedPreflights,
};
pub use client_tls::{ClientTls, Identity, Trust};
pub use compile::compile;
pub use discovery::{
    Address, Discovery, Dns, HostAddress, Labels, Locality, MOST_ADDRESSES, NameKind, Named, Names, OwnAuthority,
    Recipe,
};
pub use edits::{AddressPart, BadTemplate, Edits, Field, HeaderEdits, HeaderName, Lookup, Operator, Template};
pub use filter_chain::{FilterChain, FilterChainMatch, FilterChainTable, TcpRoute, Then};
pub use hosts::{HostTable, without_port as host_of};
pub use listener::{ChainSelection, FilterChains, Listener, ListenerKind};
pub use matcher::{Condition, HeaderCondition, Matcher, QueryCondition};
pub use outbound::{
    BLACK_HOLE_CLUSTER, Detected, NamedService, Outbound, OutboundPolicy, OutboundService, PortProtocol, Undeclared,
    tunnel_port,
};
pub use pattern::Pattern;
pub use retry_words::retry_conditions;
pub use route::{Origin, Route, StatPrefix};
use route_table::Found;
pub use route_table::{HttpRoutes, NoWitness, RouteTable, VirtualHost, Witness};
pub use settings::{
    AccessLogEncoding, Cpus, Driver, Limits, Overrides, PathNormalization, ProxySettings, ServerHeader, is_host_suffix,
};

/// All that the workers serve, immutable.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The listeners, in order of Gateway port; a [`ListenerId`] is a position here.
    pub listeners: Arc<Vec<Listener>>,
    /// Where requests can go, in the order in which routes first name them; a [`ClusterId`] is a position here.
    pub clusters: Vec<Arc<Cluster>>,
    /// The settings of the process.
    pub proxy: ProxySettings,
}

/// The cluster of requests to undeclared hosts ([`Action::Passthrough`]). It has no endpoints of its own, and exists only if it is needed.
pub const PASSTHROUGH_CLUSTER: &str = "PassthroughCluster";

/// A set of endpoints that a route can name: one service, port and subset.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// Istio's cluster name: `outbound|8000|v1|httpbin.default.svc.cluster.local`.
    pub name: String,
    /// How requests are spread over the endpoints (`trafficPolicy.loadBalancer`).
    pub spread: LoadBalancing,
    /// The members, sorted by address; an [`EndpointId`] is a position here. May be empty: 503, flag UH.
    pub endpoints: Vec<Endpoint>,
    /// How the members are found.
    pub discovery: Discovery,
    /// Time for a TCP connection to come up (`meshConfig.connectTimeout`, 10 s).
    pub connect_timeout: Duration,
    /// Time after which an unused connection is closed; `None` never. Envoy's default is 1 h.
    pub idle_timeout: Option<Duration>,
    /// Time after which a connection of a TCP proxy is closed if no byte has moved (`connectionPool.tcp.idleTimeout`);
    /// `None` never. Envoy's default is 1 h.
    pub tcp_idle_timeout: Option<Duration>,
    /// Requests after which a connection is closed (`connectionPool.http.maxRequestsPerConnection`); `None`: no limit.
    pub max_requests: Option<NonZeroU32>,
    /// Age at which a connection takes no further request (`connectionPool.tcp.maxConnectionDuration`).
    pub max_duration: Option<Duration>,
    /// Probes of the kernel on quiet connections (`connectionPool.tcp.tcpKeepalive`).
    pub keepalive: Option<Keepalive>,
    /// The circuit breaker (`connectionPool`, `retryBudget`).
    pub limits: BreakerLimits,
    /// `outlierDetection`; `None`: no endpoint is ever ejected.
    pub outlier: Option<Outlier>,
    /// TLS towards the endpoints; `None`: plain connections.
    pub tls: Option<Arc<ClientTls>>,
}

impl Cluster {
    /// A cluster with no policy on its connections.
    #[must_use]
    pub fn new(name: &str, spread: LoadBalancing, endpoints: Vec<Endpoint>, connect_timeout: Duration) -> Self {
        Self {
            name: name.to_owned(),
            spread,
            endpoints,
            discovery: Discovery::Static,
            connect_timeout,
            idle_timeout: Some(IDLE_TIMEOUT),
            tcp_idle_timeout: Some(IDLE_TIMEOUT),
            max_requests: None,
            max_duration: None,
            keepalive: None,
            limits: BreakerLimits::default(),
            outlier: None,
            tls: None,
        }
    }

    /// The host of the cluster's service, which may be a wildcard; istiod names clusters after it.
    #[must_use]
    pub fn host(&self) -> &str {
        self.name.rsplit_once('|').map_or("", |(_, host)| host)
    }

    /// The position in this cluster of the endpoint at `address` in `after`, which is the same cluster with other members. If a cluster has
    /// a single endpoint for the first address of a name, only its address changes.
    #[must_use]
    pub fn position_before(&self, after: &Self, address: &EndpointAddress) -> Option<usize> {
        let first = |cluster: &Self| cluster.discovery.names().is_some_and(|names| names.kind == NameKind::First);
        if first(self) && first(after) {
            return (!self.endpoints.is_empty()).then_some(0);
        }
        self.endpoints.binary_search_by(|endpoint| endpoint.address.cmp(address)).ok()
    }
}

/// Envoy's default `idle_timeout` of upstream connections, and of its TCP proxy.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

/// How the kernel finds out whether the other side of a quiet connection still exists; `None` leaves its default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keepalive {
    /// Unanswered probes after which the connection is dead.
    pub probes: Option<u32>,
    /// Quiet time before the first probe, in whole seconds.
    pub time: Option<Duration>,
    /// Time between probes, in whole seconds.
    pub interval: Option<Duration>,
}

/// One member of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The address that it listens on.
    pub address: EndpointAddress,
    /// Its weight among the members, at least 1 (`WorkloadEntry.weight`).
    pub weight: u32,
    /// The locality that it runs in; empty if it is not written.
    pub locality: Locality,
}

/// A request as routing sees it: as it is forwarded, with the parts that were prepared beforehand.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The header lines as they go upstream, before rules change them; and the method.
    pub view: View<'a>,
    /// The normalised path, without query.
    pub path: &'a [u8],
    /// The query without its `?`; empty if there is none.
    pub query: &'a [u8],
    /// The normalised path with `?` and query.
    pub target: &'a [u8],
    /// The service port that the client addressed, where its connection says so and not the authority: it was redirected
    /// here, or is a tunnel to that port.
    pub port: Option<u16>,
    /// `Host`, or the authority of an absolute-form target, as sent: with its port.
    pub authority: &'a [u8],
    /// `http` or `https`: the client's protocol; on the mesh listener the one in its `x-forwarded-proto`.
    pub scheme: &'a [u8],
    /// The client's address.
    pub peer: SocketAddr,
}

/// The result of routing.
#[derive(Debug, Clone, Copy)]
pub enum Decision<'p> {
    /// No virtual host or none of its routes: 404, flag NR.
    NotFound,
    /// Send it on.
    Forward {
        /// The rule that matched.
        route: &'p Route,
        /// The handling of the request before it is forwarded.
        forward: &'p Forward,
        /// The destination that was drawn.
        destination: &'p Destination,
    },
    /// Send the client to the same URL with `https`: 301.
    HttpsRedirect {
        /// The Gateway server that says so.
        server: &'p Origin,
    },
    /// Send the client elsewhere.
    Redirect {
        /// The rule that matched.
        route: &'p Route,
        /// The new URL.
        redirect: &'p Redirect,
    },
    /// Answer it: `direct_response`.
    Direct {
        /// The rule that matched, or the mesh listener's `block_all`.
        route: &'p Route,
        /// The response.
        direct: &'p DirectResponse,
    },
    /// Resolve the authority, and forward the request there unchanged: for an undeclared authority on the mesh listener with ALLOW_ANY. The
    /// cluster is called `PassthroughCluster`.
    Passthrough {
        /// `allow_any`.
        route: &'p Route,
    },
}

impl Plan {
    /// A copy without shared mutable state: a regex keeps scratch space for the thread that uses it first, and other threads would take a
    /// lock.
    #[must_use]
    pub fn own_copy(&self) -> Self {
        Self { listeners: Arc::new(self.listeners.to_vec()), ..self.clone() }
    }

    /// Which route takes the request, and which of its destinations.
    #[must_use]
    #[inline]
    pub fn route(&self, listener: ListenerId, request: &Request<'_>, rng: &mut Rng) -> Decision<'_> {
        self.route_with(listener, request, rng, &mut NoWitness)
    }

    /// [`Plan::route`], telling `witness` of every step.
    ///
    /// The most specific host wins and no other is used after it: if none of its routes match, the answer is 404, even if a less specific
    /// host has a matching route (Envoy's `RouteMatcher`).
    #[must_use]
    pub fn route_with<W: Witness>(
        &self,
        listener: ListenerId,
        request: &Request<'_>,
        rng: &mut Rng,
        witness: &mut W,
    ) -> Decision<'_> {
        let routes = self.listeners.get(listener.index()).and_then(|listener| listener.chains.http_routes());
        let route = match routes.and_then(|routes| routes.find(request, witness)) {
            Some(Found::Route(route)) => route,
            Some(Found::HttpsRedirect(server)) => return Decision::HttpsRedirect { server },
            None => return Decision::NotFound,
        };
        match &route.action {
            Action::Forward(forward) => {
                Decision::Forward { route, forward, destination: forward.destinations.pick(rng) }
            }
            Action::Redirect(redirect) => Decision::Redirect { route, redirect },
            Action::Direct(direct) => Decision::Direct { route, direct },
            Action::Passthrough => Decision::Passthrough { route },
        }
    }

    /// Virtual host and `statPrefix` of every route that has one, in the order of their [`RouteStatsId`]s.
    pub fn stat_prefixes(&self) -> impl Iterator<Item = (&str, &str)> {
        let tables = self.listeners.iter().flat_map(Listener::route_tables);
        let hosts = tables.flat_map(|table| &table.virtual_hosts);
        hosts.flat_map(|host| {
            host.routes().iter().filter_map(|route| Some((&*host.name, &*route.stat_prefix.as_ref()?.name)))
        })
    }

    /// The names of the `tcp.` statistics, listener by listener; a [`TcpStatsId`] is a position here.
    pub fn tcp_stat_names(&self) -> impl Iterator<Item = &str> {
        self.listeners.iter().flat_map(Listener::tcp_stat_names)
    }

    /// The cluster behind an id that [`Plan::route`] gave.
    #[must_use]
    pub fn cluster(&self, id: ClusterId) -> Option<&Cluster> {
        self.clusters.get(id.index()).map(Arc::as_ref)
    }
}
