//! Connections that are not decoded: those of a Gateway's ports for TLS and TCP, and the tunnels of a CONNECT at the
//! mesh.

use super::answer::{Answer, Listener, RouteVerdict, Rule, WrittenAt, shares};
use super::ask::BadQuestion;
use crate::http::error::ProtocolError;
use crate::plan::{
    self, Destination, Destinations, FilterChainMatch, NamedService, Outbound, Plan, Target, TcpRoute, Undeclared,
    tunnel_port,
};

/// Explains a CONNECT to this authority: where the tunnel leads.
pub(super) fn tunnel(
    plan: &Plan,
    listener: &plan::Listener,
    outbound: &Outbound,
    authority: &[u8],
    missing: impl FnOnce() -> Vec<String>,
) -> Result<Answer, BadQuestion> {
    let port = tunnel_port(authority).ok_or(BadQuestion::Refused(ProtocolError::Target))?;
    let by_chain = |number, looks_inside| match chain(listener, number) {
        Some((matches, route)) => (rule(matches, route), taken(plan, &route.destinations, looks_inside)),
        None => (None, RouteVerdict::Closed),
    };
    let (rule, verdict) = match (outbound.named(authority, port), &outbound.undeclared) {
        (Some(NamedService::Http { cluster }), _) => {
            let own = Destinations::only(Destination::plain(Target::Missing(cluster.into())));
            (None, taken(plan, &own, true))
        }
        (Some(NamedService::Auto(number)), _) => by_chain(number, true),
        (Some(NamedService::Tcp(number)), _) => by_chain(number, false),
        (None, Undeclared::EgressProxy(proxy)) => (None, taken(plan, &proxy.destinations, false)),
        (None, Undeclared::Passthrough(_)) => (None, RouteVerdict::Passthrough),
        (None, Undeclared::BlackHole(_)) => (None, RouteVerdict::Blackhole { status: 502, missing: missing() }),
    };
    Ok(answer(listener, authority, rule, verdict))
}

/// Explains a CONNECT to a listener that makes no tunnels.
pub(super) fn elsewhere(plan: &Plan, listener: &plan::Listener, authority: &[u8]) -> Answer {
    match listener.chains.http_routes() {
        None => connection(plan, listener, authority),
        Some(_) => answer(listener, authority, None, RouteVerdict::NotFound),
    }
}

/// Explains a connection to a gateway, whose client asks for the host of this authority if it sends a server name.
pub(super) fn connection(plan: &Plan, listener: &plan::Listener, authority: &[u8]) -> Answer {
    let found = listener.chains.for_server_name(Some(plan::host_of(authority)));
    let (rule, verdict) = match found.and_then(|number| chain(listener, number)) {
        Some((matches, route)) => (rule(matches, route), taken(plan, &route.destinations, false)),
        None => (None, RouteVerdict::Closed),
    };
    answer(listener, authority, rule, verdict)
}

fn chain(listener: &plan::Listener, number: usize) -> Option<(&FilterChainMatch, &TcpRoute)> {
    listener.chains.get(number)?.as_tcp()
}

fn answer(listener: &plan::Listener, authority: &[u8], rule: Option<Rule>, verdict: RouteVerdict) -> Answer {
    Answer {
        method: "CONNECT".to_owned(),
        authority: String::from_utf8_lossy(authority).into_owned(),
        path: String::new(),
        listener: Listener::of(listener),
        host: None,
        rule,
        verdict,
        notes: Vec::new(),
        passed_over: Vec::new(),
        nearest: Vec::new(),
    }
}

fn taken(plan: &Plan, destinations: &Destinations, looks_inside: bool) -> RouteVerdict {
    RouteVerdict::Tunnel { destinations: shares(plan, destinations), looks_inside }
}

fn rule(matches: &FilterChainMatch, route: &TcpRoute) -> Option<Rule> {
    let place = WrittenAt::of(route.origin.as_ref()?);
    Some(Rule { place, name: String::new(), conditions: words(matches), cors: false })
}

fn words(matches: &FilterChainMatch) -> Vec<String> {
    let FilterChainMatch { subnets, server_names } = matches;
    let subnets: Vec<_> = subnets.iter().map(ToString::to_string).collect();
    let mut words = Vec::new();
    if !server_names.is_empty() {
        words.push(format!("server name is {}", server_names.join(" or ")));
    }
    if !subnets.is_empty() {
        words.push(format!("sent to {}", subnets.join(" or ")));
    }
    words
}
