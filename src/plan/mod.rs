//! The plan: everything that a worker needs to answer a request, compiled once from the configuration and then never
//! changed.
//!
//! It owns the tables that are read per request (host table, routes, matchers, weighted destinations, clusters) and
//! the settings of the process. It is plain data: it owns no socket, no clock and no counter, and routing allocates
//! nothing. `control` compiles a plan and sends it to the workers; `proxy` asks [`Plan::route`] once a request;
//! `explain` asks [`Plan::route_with`], which is the same code with a [`Witness`] looking on.
//!
//! Regexes keep a pool of scratch space that belongs to the first thread that uses it. A worker that clones the plan
//! once at install has its own pools, and never meets another core in one.

mod compile;
mod hosts;
mod matcher;
mod pattern;
mod route;
mod settings;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

pub use crate::base::id::{ClusterId, EndpointId, ListenerId};
use crate::base::rng::Rng;
use crate::h1::head::RequestHead;
use crate::policy::balance;

pub use compile::compile;
pub use hosts::HostTable;
pub use matcher::{Condition, HeaderCondition, Matcher};
pub use pattern::Pattern;
pub use route::{Action, Destination, Destinations, NoWitness, Origin, Route, Target, VirtualHost, Witness};
pub use settings::{Cpus, Driver, Limits, Overrides, ProxySettings, ServerHeader};

/// All that the workers serve, immutable.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What to listen on, in order of Gateway port; a [`ListenerId`] is a position here.
    pub listeners: Vec<Listener>,
    /// Where requests can go, in the order in which routes first name them; a [`ClusterId`] is a position here.
    pub clusters: Vec<Cluster>,
    /// The settings of the process.
    pub proxy: ProxySettings,
}

/// One bound address with the virtual hosts served on it.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Envoy's listener name: address and port bound, `0.0.0.0_8080`.
    pub name: String,
    /// The address to bind; port 0 lets the kernel choose.
    pub bind: SocketAddr,
    /// The port that the Gateway documents name; `match.port` means this one.
    pub gateway_port: u16,
    /// The `http.<prefix>.` of its statistics: `outbound_0.0.0.0_8080`, as istiod names a gateway's.
    pub stat_prefix: String,
    /// Which of `virtual_hosts` a `Host` belongs to.
    pub hosts: HostTable,
    /// One for each host name or wildcard, sorted by name.
    pub virtual_hosts: Vec<VirtualHost>,
}

/// A set of endpoints that a route can name: one service, port and subset.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// Istio's cluster name: `outbound|8000|v1|httpbin.default.svc.cluster.local`.
    pub name: String,
    /// How an endpoint is chosen (`trafficPolicy.loadBalancer.simple`).
    pub policy: balance::Policy,
    /// The members, sorted by address; an [`EndpointId`] is a position here. May be empty: 503, flag UH.
    pub endpoints: Vec<Endpoint>,
    /// Time for a TCP connection to come up (`meshConfig.connectTimeout`, 10 s).
    pub connect_timeout: Duration,
    /// Time after which an unused connection is closed; `None` never. Envoy's default is 1 h.
    pub idle_timeout: Option<Duration>,
}

/// One member of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its share beside the other members', at least 1 (`WorkloadEntry.weight`).
    pub weight: u32,
}

/// What routing looks at: a parsed head, and the parts of it that were made ready beforehand.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The parsed head.
    pub head: &'a RequestHead,
    /// The bytes that the spans of `head` point into.
    pub buf: &'a [u8],
    /// The normalised path, without query.
    pub path: &'a [u8],
    /// The query without its `?`; empty if there is none.
    pub query: &'a [u8],
    /// `Host`, or the authority of an absolute-form target, as sent: with its port.
    pub authority: &'a [u8],
    /// `http` or `https`: how the client reached us.
    pub scheme: &'a [u8],
    /// The client's address.
    pub peer: SocketAddr,
}

/// What routing says.
#[derive(Debug, Clone, Copy)]
pub enum Decision<'p> {
    /// No virtual host or none of its routes: 404, flag NR.
    NotFound,
    /// Send it on.
    Forward {
        /// The rule that matched.
        route: &'p Route,
        /// The destination that was drawn.
        cluster: ClusterRef<'p>,
    },
}

/// The cluster of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterRef<'p> {
    /// It exists.
    Known(ClusterId),
    /// The configuration names a service, port or subset that does not exist: 503, flag NC.
    Missing(&'p str),
}

impl Plan {
    /// Which route takes the request, and which of its destinations.
    #[must_use]
    #[inline]
    pub fn route(&self, listener: ListenerId, request: &Request<'_>, rng: &mut Rng) -> Decision<'_> {
        self.route_with(listener, request, rng, &mut NoWitness)
    }

    /// [`Plan::route`], telling `witness` of every step on the way.
    ///
    /// The most specific host wins and there is no way back from it: where none of its routes match, the request is
    /// not found, even if a less specific host would have had one (Envoy's `RouteMatcher`).
    #[must_use]
    pub fn route_with<W: Witness>(
        &self,
        listener: ListenerId,
        request: &Request<'_>,
        rng: &mut Rng,
        witness: &mut W,
    ) -> Decision<'_> {
        let Some(route) = self.listeners.get(listener.index()).and_then(|l| l.find(request, witness)) else {
            return Decision::NotFound;
        };
        match &route.action {
            Action::Forward(destinations) => {
                Decision::Forward { route, cluster: destinations.pick(rng).target.as_cluster() }
            }
        }
    }

    /// The cluster behind an id that [`Plan::route`] gave.
    #[must_use]
    pub fn cluster(&self, id: ClusterId) -> Option<&Cluster> {
        self.clusters.get(id.index())
    }
}

impl Listener {
    fn find<W: Witness>(&self, request: &Request<'_>, witness: &mut W) -> Option<&Route> {
        let host = self.hosts.find(request.authority).and_then(|at| self.virtual_hosts.get(at as usize));
        witness.host(host);
        host?.routes.iter().find(|route| {
            // A witness wants to hear of the conditions themselves.
            if !W::LOOKS && !route.matcher.may_hold(request) {
                return false;
            }
            let taken = route.matcher.holds(request, |condition, held| witness.condition(route, condition, held));
            witness.route(route, taken);
            taken
        })
    }
}
