//! The answer: all that is said of a request, as data.

use serde::Serialize;

use super::resilience::{Connections, Tries};
use super::{names, words};
use crate::istio::world::World;
use crate::plan::{self, Destinations, Origin, Plan, Target};

/// All that is said of a request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// The method.
    pub method: String,
    /// The authority by which it is routed.
    pub authority: String,
    /// The path as rules see it, without the query.
    pub path: String,
    /// Where it comes in.
    pub listener: Listener,
    /// The virtual host whose rules are matched; `None`: there is none.
    pub host: Option<Host>,
    /// The rule that takes it.
    pub rule: Option<Rule>,
    /// The result.
    pub verdict: RouteVerdict,
    /// Notes about this answer; mostly empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The rules before it that did not match, in order, each with its failed condition.
    pub passed_over: Vec<FailedRule>,
    /// Without a match: the nearest alternatives, the nearest first.
    pub nearest: Vec<Near>,
}

/// The listener.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Listener {
    /// Envoy's name: `0.0.0.0_8080`.
    pub name: String,
    /// `Gateway port 80` or `the mesh`.
    pub kind: String,
    /// `namespace/name` of its Gateways.
    pub gateways: Vec<String>,
}

/// A virtual host.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Host {
    /// Istio's name: `httpbin.example.com:80`.
    pub name: String,
    /// The port whose table it is in; `None`: the mesh's for every port.
    pub port: Option<u16>,
    /// The host names and wildcards.
    pub domains: Vec<String>,
    /// How many routes it has: one for each `match` block of each rule.
    pub routes: usize,
}

/// Where a rule is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WrittenAt {
    /// The file as it was named.
    pub file: String,
    /// The line of the block, or of the rule; from 1.
    pub line: u32,
    /// `VirtualService/namespace/name`, or the Service or Proxy that is the reason for a rule without one.
    pub resource: String,
    /// The list in `spec` that it is in: `http`, `tls`, `tcp`; `servers` of a Gateway.
    pub list: &'static str,
    /// Position in that list.
    pub rule: Option<usize>,
    /// Position in the rule's `match`.
    pub block: Option<usize>,
    /// The rule that delegates to it.
    pub root: Option<Box<WrittenAt>>,
}

/// The rule that takes the request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rule {
    /// Where it is written.
    pub place: WrittenAt,
    /// The name in the access log; may be empty.
    pub name: String,
    /// The conditions that hold; empty: it matches every request.
    pub conditions: Vec<String>,
    /// Whether it has a `corsPolicy`.
    pub cors: bool,
}

/// The result for a request.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "action")]
pub enum RouteVerdict {
    /// It goes to one of these.
    Forward {
        /// With their shares.
        destinations: Vec<Destination>,
        /// The hash keys, with consistent hashing; empty: random.
        hashed_by: Vec<String>,
        /// The path and query that are sent instead.
        rewrite: Option<String>,
        /// Faults, timeout, retries and mirrors.
        #[serde(flatten)]
        tries: Tries,
    },
    /// The client is sent elsewhere.
    Redirect {
        /// The status.
        status: u16,
        /// The `Location`.
        location: String,
    },
    /// The client is sent to HTTPS, before any rule, by `httpsRedirect` of a Gateway server.
    HttpsRedirect {
        /// The status.
        status: u16,
        /// The `Location`.
        location: String,
        /// Where the server is written.
        server: WrittenAt,
    },
    /// It is answered here.
    DirectResponse {
        /// The status.
        status: u16,
        /// Bytes of the body.
        body_bytes: usize,
    },
    /// A tunnel for a CONNECT, or a connection that is not decoded, to one of these.
    Tunnel {
        /// With their shares.
        destinations: Vec<Destination>,
        /// Whether HTTP inside the tunnel is routed like other requests; other traffic goes to the destination.
        looks_inside: bool,
    },
    /// It goes to the addresses of its authority (ALLOW_ANY).
    Passthrough,
    /// Its host is undeclared, and only declared ones are allowed (REGISTRY_ONLY).
    Blackhole {
        /// 502.
        status: u16,
        /// The missing declarations, a line each.
        missing: Vec<String>,
    },
    /// No route: 404, flag NR.
    NotFound,
    /// No filter chain: the connection is closed, flag NR.
    Closed,
}

/// A destination.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Destination {
    /// Its share, in percent.
    pub percent: f64,
    /// Istio's name of the cluster.
    pub cluster: String,
    /// The service's host.
    pub host: String,
    /// The service's port.
    pub port: String,
    /// The subset; empty: all of the service.
    pub subset: String,
    /// `None`: the configuration does not define it, and requests get 503, flag NC.
    pub found: Option<Cluster>,
    /// It is not found because `--permissive` leaves it out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub withheld: bool,
    /// The `Host` that replaces the client's.
    pub authority: Option<String>,
    /// Header operations of rule and destination.
    pub headers: Vec<String>,
}

/// The cluster of a destination.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cluster {
    /// How an endpoint is chosen.
    pub load_balancing: &'static str,
    /// The settings of its connections.
    #[serde(flatten)]
    pub connections: Connections,
    /// The names that are resolved for endpoints, a line each; empty if endpoints are configured. The running proxy
    /// knows the current addresses of names, and the health of endpoints.
    pub found_by: Vec<String>,
    /// Address and weight of each configured endpoint; without any, and without names to resolve, requests get 503,
    /// flag UH.
    pub endpoints: Vec<(String, u32)>,
    /// Its endpoints in the running proxy, with `--live`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<Vec<Live>>,
}

/// An endpoint as the running proxy sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Live {
    /// Its address.
    pub address: String,
    /// Whether it may be chosen, or why it may not.
    pub health: &'static str,
}

/// A rule that did not take the request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FailedRule {
    /// Where it is written.
    pub place: WrittenAt,
    /// The first condition that does not hold.
    pub because: String,
    /// How many of its conditions do not hold.
    #[serde(skip)]
    pub failing: usize,
}

/// An alternative that nearly matches.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Near {
    /// A rule, a host, or a listener.
    pub what: String,
    /// The differences.
    pub differs: Vec<String>,
}

impl Listener {
    pub(super) fn of(listener: &plan::Listener) -> Self {
        Self {
            name: listener.name.clone(),
            kind: listener.kind.to_string(),
            gateways: listener.gateways.iter().map(ToString::to_string).collect(),
        }
    }
}

impl RouteVerdict {
    /// Whether the request is routed, for the exit code.
    #[must_use]
    pub fn is_routed(&self) -> bool {
        match self {
            Self::Forward { destinations, .. } => destinations.iter().any(|destination| destination.found.is_some()),
            Self::Tunnel { destinations, looks_inside } => {
                *looks_inside || destinations.iter().any(|destination| destination.found.is_some())
            }
            Self::HttpsRedirect { .. } | Self::Redirect { .. } | Self::DirectResponse { .. } | Self::Passthrough => {
                true
            }
            Self::Blackhole { .. } | Self::NotFound | Self::Closed => false,
        }
    }
}

impl Answer {
    /// Says of destinations that are not found whether `--permissive` leaves them out.
    pub(super) fn note_withheld(&mut self, world: &World) {
        let (RouteVerdict::Forward { destinations, .. } | RouteVerdict::Tunnel { destinations, .. }) =
            &mut self.verdict
        else {
            return;
        };
        for to in destinations.iter_mut().filter(|to| to.found.is_none()) {
            to.withheld = world.withholds(&to.host, &to.subset, to.port.parse().ok());
        }
    }

    /// The same as a JSON object on one line.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::json!(self).to_string()
    }
}

impl WrittenAt {
    pub(super) fn of(origin: &Origin) -> Self {
        Self {
            file: origin.file.to_string(),
            line: origin.line,
            resource: origin.resource.to_string(),
            list: origin.list,
            rule: origin.rule,
            block: origin.block,
            root: origin.root.as_ref().map(|root| Box::new(Self::of(root))),
        }
    }
}

pub(super) fn shares(plan: &Plan, destinations: &Destinations) -> Vec<Destination> {
    let total = destinations.total_weight();
    let several = destinations.iter().nth(1).is_some();
    let all = destinations.iter();
    all.map(|destination| destination_of(plan, destination, if several { total } else { 0 })).collect()
}

/// `total` is 0 for a single destination, whose weight does not matter.
fn destination_of(plan: &Plan, destination: &plan::Destination, total: u64) -> Destination {
    let percent = if total == 0 { 100.0 } else { 100.0 * f64::from(destination.weight) / total as f64 };
    let (cluster, found) = match &destination.target {
        Target::Known(id) => plan.cluster(*id).map_or((String::new(), None), |cluster| {
            let found = Cluster {
                load_balancing: words::load_balancing(&cluster.spread),
                connections: Connections::of(cluster),
                found_by: names::found_by(cluster),
                endpoints: names::known(plan, cluster),
                live: None,
            };
            (cluster.name.clone(), Some(found))
        }),
        Target::Missing(name) => (name.to_string(), None),
    };
    let mut parts = cluster.splitn(4, '|').skip(1).map(str::to_owned);
    let [port, subset, host] = [0; 3].map(|_| parts.next().unwrap_or_default());
    Destination {
        percent,
        host,
        port,
        subset,
        found,
        withheld: false,
        authority: destination.authority.as_deref().map(str::to_owned),
        headers: words::headers(&destination.headers),
        cluster,
    }
}
