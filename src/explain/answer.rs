//! What a request meets, gathered while the matcher of the data path looks for its route.

use serde::Serialize;

use super::ask::{BadQuestion, Question};
use super::live::Live;
use super::resilience::{Connections, Tries};
use super::{connection, names, suggest, undeclared, words};
use crate::base::rng::Rng;
use crate::h1::framing::Upgrade;
use crate::istio::world::Hidden;
use crate::plan::{
    self, Condition, Decision, Destinations, Forward, Origin, Plan, Redirect, Request, Route, RouteTable, Target,
    VirtualHost, Witness,
};
use crate::proxy::rewrite::{self, Captures, Destined};

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
    /// The same as a JSON object on one line.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::json!(self).to_string()
    }
}

/// Asks the plan. `hidden` are the services that outbound listeners do not see.
///
/// # Errors
/// If the question is no request, or it is not plain which listener it is for.
pub fn explain(plan: &Plan, hidden: &[Hidden], question: &Question) -> Result<Answer, BadQuestion> {
    let (id, listener) = question.listener(plan)?;
    let asked = question.read(plan.proxy.path_form(), listener.kind)?;
    let request = asked.request();
    if question.is_connect() {
        let missing = || undeclared::missing(listener, hidden, request.authority, "TLS");
        return match listener.chains.destinations().filter(|_| listener.kind.is_proxy()) {
            Some(outbound) => connection::tunnel(plan, listener, outbound, request.authority, missing),
            None => Ok(connection::elsewhere(plan, listener, request.authority)),
        };
    }
    if listener.chains.http_routes().is_none() {
        return Ok(connection::connection(plan, listener, request.authority));
    }
    let mut diary =
        RouteTrace { request: &request, host: None, held: Vec::new(), failed: String::new(), passed: Vec::new() };
    // Which destination is drawn does not matter: all are told.
    let decision = plan.route_with(id, &request, &mut Rng::seeded(0), &mut diary);
    if asked.upgrade == Upgrade::Refused && !matches!(decision, Decision::NotFound) {
        return Err(BadQuestion::UpgradeRefused);
    }
    let RouteTrace { host, held, passed, .. } = diary;
    let nearest =
        if matches!(decision, Decision::NotFound) { suggest::nearest(plan, listener, &request) } else { Vec::new() };
    Ok(Answer {
        method: lossy(request.view.method()),
        authority: lossy(request.authority),
        path: lossy(request.path),
        listener: Listener::of(listener),
        host,
        rule: taken(&decision).map(|route| Rule {
            place: WrittenAt::of(&route.origin),
            name: route.name.clone(),
            conditions: held,
            cors: route.cors.is_some(),
        }),
        verdict: verdict(plan, &decision, &request, || {
            undeclared::missing(listener, hidden, request.authority, "HTTP")
        }),
        notes: Vec::new(),
        passed_over: passed,
        nearest,
    })
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Writes down what the matcher does.
struct RouteTrace<'a> {
    request: &'a Request<'a>,
    host: Option<Host>,
    /// The conditions of the rule whose turn it is that hold.
    held: Vec<String>,
    /// The one that does not.
    failed: String,
    passed: Vec<Passed>,
}

impl Witness for RouteTrace<'_> {
    fn host(&mut self, host: Option<(&RouteTable, &VirtualHost)>) {
        self.host = host.map(|(table, host)| Host {
            name: host.name.to_string(),
            port: table.port,
            domains: host.domains.iter().map(ToString::to_string).collect(),
            routes: host.routes().len(),
        });
    }

    fn condition(&mut self, _: &Route, condition: &Condition, held: bool) {
        if held {
            self.held.push(words::condition(condition));
        } else {
            self.failed = words::failed(condition, self.request);
        }
    }

    fn route(&mut self, route: &Route, taken: bool) {
        if !taken {
            self.held.clear();
            let because = std::mem::take(&mut self.failed);
            let failing = route.matcher.conditions().iter().filter(|condition| !condition.holds(self.request)).count();
            self.passed.push(Passed { place: WrittenAt::of(&route.origin), because, failing });
        }
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

fn taken<'p>(decision: &Decision<'p>) -> Option<&'p Route> {
    match decision {
        Decision::NotFound | Decision::HttpsRedirect { .. } => None,
        Decision::Forward { route, .. }
        | Decision::Redirect { route, .. }
        | Decision::Direct { route, .. }
        | Decision::Passthrough { route } => Some(route),
    }
}

fn verdict(
    plan: &Plan,
    decision: &Decision<'_>,
    request: &Request<'_>,
    missing: impl FnOnce() -> Vec<String>,
) -> Verdict {
    match decision {
        Decision::NotFound => Verdict::NotFound,
        Decision::HttpsRedirect { server } => {
            let mut location = Vec::new();
            rewrite::https_location(&destined(request), &mut location);
            Verdict::HttpsRedirect { status: 301, location: lossy(&location), server: WrittenAt::of(server) }
        }
        Decision::Passthrough { .. } => Verdict::Passthrough,
        // Only what ringway made itself has no rule.
        Decision::Direct { route, direct } if route.origin.rule.is_none() => {
            Verdict::Blackhole { status: direct.status, missing: missing() }
        }
        Decision::Direct { direct, .. } => {
            Verdict::DirectResponse { status: direct.status, body_bytes: direct.body.len() }
        }
        Decision::Redirect { redirect, .. } => {
            Verdict::Redirect { status: redirect.code, location: location(redirect, request) }
        }
        Decision::Forward { forward, .. } => Verdict::Forward {
            destinations: destinations(plan, forward),
            hashed_by: hashed_by(forward),
            rewrite: forward.rewrite.as_ref().map(|rewrite| {
                let mut target = Vec::new();
                rewrite::path(rewrite, request.target, request.path.len(), &mut Captures::default(), &mut target);
                lossy(&target)
            }),
            tries: Tries::of(plan, forward),
        },
    }
}

fn hashed_by(forward: &Forward) -> Vec<String> {
    let mut keys: Vec<_> = forward.hash_keys.iter().map(words::hash_key).collect();
    // Every destination adds its own.
    keys.dedup();
    keys
}

fn location(redirect: &Redirect, request: &Request<'_>) -> String {
    let mut location = Vec::new();
    rewrite::location(redirect, &destined(request), &mut location);
    lossy(&location)
}

fn destined<'r>(request: &Request<'r>) -> Destined<'r> {
    Destined {
        scheme: if request.scheme == b"https" { "https" } else { "http" },
        authority: request.authority,
        target: request.target,
        path: request.path.len(),
    }
}

fn destinations(plan: &Plan, forward: &Forward) -> Vec<Destination> {
    shares(plan, &forward.destinations)
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
        authority: destination.authority.as_deref().map(str::to_owned),
        headers: words::headers(&destination.headers),
        cluster,
    }
}
