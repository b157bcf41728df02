//! Connections that are no HTTP: what a CONNECT meets at the mesh, and what comes to a gateway that does not look into its
//! connections.

use super::answer::{Answer, Listener, Rule, Verdict, WrittenAt, shares};
use super::ask::BadQuestion;
use crate::http::error::ProtocolError;
use crate::plan::{self, Conditions, Outbound, Plan, Speaks, Streams, TcpRoute, tunnel_port};

/// Where a tunnel to this authority leads.
pub(super) fn tunnel(
    plan: &Plan,
    listener: &plan::Listener,
    outbound: &Outbound,
    authority: &[u8],
    missing: impl FnOnce() -> Vec<String>,
) -> Result<Answer, BadQuestion> {
    let port = tunnel_port(authority).ok_or(BadQuestion::Refused(ProtocolError::Target))?;
    let (rule, verdict) = match outbound.named(authority, port) {
        Some((number, outlet)) => (rule(listener, number, outlet), taken(plan, outlet)),
        None => match &outbound.egress_proxy {
            Some(outlet) => (None, taken(plan, outlet)),
            None if outbound.allow_any => (None, Verdict::Passthrough),
            None => (None, Verdict::Blackhole { status: 502, missing: missing() }),
        },
    };
    Ok(answer(listener, authority, rule, verdict))
}

/// A CONNECT to a listener that makes no tunnels, and may not look into connections.
pub(super) fn elsewhere(plan: &Plan, listener: &plan::Listener, authority: &[u8]) -> Answer {
    match &listener.streams {
        Some(streams) => connection(plan, listener, streams, authority),
        None => answer(listener, authority, None, Verdict::NotFound),
    }
}

/// What becomes of a connection to a gateway whose client asks for the host of this authority, if it asks for one.
pub(super) fn connection(plan: &Plan, listener: &plan::Listener, streams: &Streams, authority: &[u8]) -> Answer {
    let found = streams.find(Some(plan::host_of(authority))).and_then(|number| Some((number, streams.outlet(number)?)));
    let (rule, verdict) = match found {
        Some((number, outlet)) => (rule(listener, number, outlet), taken(plan, outlet)),
        None => (None, Verdict::Closed),
    };
    answer(listener, authority, rule, verdict)
}

fn answer(listener: &plan::Listener, authority: &[u8], rule: Option<Rule>, verdict: Verdict) -> Answer {
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

fn taken(plan: &Plan, outlet: &TcpRoute) -> Verdict {
    Verdict::Tunnel {
        destinations: shares(plan, &outlet.destinations),
        looks_inside: matches!(outlet.speaks, Speaks::Http | Speaks::Unsaid),
    }
}

fn rule(listener: &plan::Listener, number: usize, outlet: &TcpRoute) -> Option<Rule> {
    let conditions = listener.ways().get(number).map(|(conditions, _)| words(conditions)).unwrap_or_default();
    let place = WrittenAt::of(outlet.origin.as_ref()?);
    Some(Rule { place, name: String::new(), conditions, cors: false })
}

fn words(conditions: &Conditions) -> Vec<String> {
    let Conditions { subnets, server_names } = conditions;
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
