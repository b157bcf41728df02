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
    /// Whose rules are tried; `None`: nobody's.
    pub host: Option<Host>,
    /// The rule that takes it.
    pub rule: Option<Rule>,
    /// What becomes of it.
    pub verdict: Verdict,
    /// What to know about this answer; none, as a rule.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The rules that were tried before, in order, each with what ended its turn.
    pub passed_over: Vec<Passed>,
    /// If nothing takes it: what may have been meant, the nearest first.
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
    /// The list in `spec` that it stands in: `http`, `tls`, `tcp`; `servers` of a Gateway.
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
    /// The conditions that hold; none: it takes everything.
    pub conditions: Vec<String>,
    /// Whether it has a `corsPolicy`.
    pub cors: bool,
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "action")]
pub enum Verdict {
    /// It goes to one of these.
    Forward {
        /// With their shares.
        destinations: Vec<Destination>,
        /// What of the request chooses an endpoint, where consistent hashing does; nothing: chance.
        hashed_by: Vec<String>,
        /// The path and query that are sent instead.
        rewrite: Option<String>,
        /// What is done about failures, and on purpose.
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
    /// It is a CONNECT that gets a tunnel, or a connection that is not looked into, and goes to one of these.
    Tunnel {
        /// With their shares.
        destinations: Vec<Destination>,
        /// Whether HTTP inside the tunnel is routed like other requests; what is no HTTP goes to the destination.
        looks_inside: bool,
    },
    /// It goes to what its authority resolves to (ALLOW_ANY).
    Passthrough,
    /// Nobody declared its host, and only declared ones are let through (REGISTRY_ONLY).
    Blackhole {
        /// 502.
        status: u16,
        /// What would have to be declared, a line each.
        missing: Vec<String>,
    },
    /// Nothing takes it: 404, flag NR.
    NotFound,
    /// Nothing takes the connection: it is closed, flag NR.
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
    /// The `Host` that is sent in place of the client's.
    pub authority: Option<String>,
    /// Header operations of rule and destination.
    pub headers: Vec<String>,
}

/// What a destination stands for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cluster {
    /// How an endpoint is chosen.
    pub load_balancing: &'static str,
    /// What holds for the connections to it.
    #[serde(flatten)]
    pub connections: Connections,
    /// What is resolved to find endpoints, a line each; none where they are written down. Where the names are at the
    /// moment is to be asked of the running proxy, as is the health of endpoints.
    pub found_by: Vec<String>,
    /// Address and weight of each that is written down; none, and nothing to resolve: requests get 503, flag UH.
    pub endpoints: Vec<(String, u32)>,
    /// What the running proxy says of its endpoints, if it was asked.
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
pub struct Passed {
    /// Where it is written.
    pub place: WrittenAt,
    /// The first condition that does not hold.
    pub because: String,
    /// How many of its conditions do not hold.
    #[serde(skip)]
    pub failing: usize,
}

/// Something that is nearly what was asked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Near {
    /// A rule, a host, or a listener.
    pub what: String,
    /// What would have to be different.
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

impl Verdict {
    /// Whether the request gets anywhere: what the exit code says.
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
        let (Verdict::Forward { destinations, .. } | Verdict::Tunnel { destinations, .. }) = &mut self.verdict else {
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

/// `total` is 0 for the only destination, whose weight means nothing.
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
