//! The route of a request, recorded while the matcher of the data path looks for it.

use super::answer::{Answer, Destination, FailedRule, Host, Listener, RouteVerdict, Rule, WrittenAt, shares};
use super::ask::{BadQuestion, Question};
use super::resilience::Tries;
use super::{connection, suggest, undeclared, words};
use crate::base::rng::Rng;
use crate::h1::framing::Upgrade;
use crate::http::error::ProtocolError;
use crate::istio::world::Hidden;
use crate::plan::{Condition, Decision, Forward, Plan, Redirect, Request, Route, RouteTable, VirtualHost, Witness};
use crate::proxy::rewrite::{self, Captures, Destined};

/// Explains a question by the plan. `hidden` are the services that outbound listeners do not see.
///
/// # Errors If the question is not a valid request, or its listener is ambiguous.
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
    if request.authority.is_empty() && rewrite::needs_host(&decision) {
        return Err(ProtocolError::HostMissing.into());
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

/// Records the steps of the matcher.
struct RouteTrace<'a> {
    request: &'a Request<'a>,
    host: Option<Host>,
    /// The conditions of the rule whose turn it is that hold.
    held: Vec<String>,
    /// The one that does not.
    failed: String,
    passed: Vec<FailedRule>,
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
            self.passed.push(FailedRule { place: WrittenAt::of(&route.origin), because, failing });
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
) -> RouteVerdict {
    match decision {
        Decision::NotFound => RouteVerdict::NotFound,
        Decision::HttpsRedirect { server } => {
            let mut location = Vec::new();
            rewrite::https_location(&destined(request), &mut location);
            RouteVerdict::HttpsRedirect { status: 301, location: lossy(&location), server: WrittenAt::of(server) }
        }
        Decision::Passthrough { .. } => RouteVerdict::Passthrough,
        // Only ringway's own responses have no rule.
        Decision::Direct { route, direct } if route.origin.rule.is_none() => {
            RouteVerdict::Blackhole { status: direct.status, missing: missing() }
        }
        Decision::Direct { direct, .. } => {
            RouteVerdict::DirectResponse { status: direct.status, body_bytes: direct.body.len() }
        }
        Decision::Redirect { redirect, .. } => {
            RouteVerdict::Redirect { status: redirect.code, location: location(redirect, request) }
        }
        Decision::Forward { forward, .. } => RouteVerdict::Forward {
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
