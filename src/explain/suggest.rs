//! Suggestions for a request without a route.

use std::cmp::Reverse;

use super::answer::{Near, WrittenAt};
use super::words;
use crate::plan::{Listener, Plan, Request, VirtualHost};

/// Most rules and hosts that are named.
const NEAREST: usize = 3;

/// The rules of the host that fail by the fewest conditions. If there is no such host: another listener that has it,
/// and hosts with a similar name.
pub(super) fn nearest(plan: &Plan, listener: &Listener, request: &Request<'_>) -> Vec<Near> {
    match listener.virtual_host(request.authority) {
        Some((_, host)) => rules(host, request),
        None => hosts(plan, listener, request),
    }
}

fn rules(host: &VirtualHost, request: &Request<'_>) -> Vec<Near> {
    let mut near: Vec<_> = host
        .routes()
        .iter()
        .map(|route| {
            let failing = route.matcher.conditions().iter().filter(|condition| !condition.holds(request));
            let differs: Vec<_> = failing.map(|condition| words::failed(condition, request)).collect();
            Near { what: WrittenAt::of(&route.origin).to_string(), differs }
        })
        .collect();
    near.sort_by_key(|near| near.differs.len());
    near.truncate(NEAREST);
    near
}

fn hosts(plan: &Plan, listener: &Listener, request: &Request<'_>) -> Vec<Near> {
    let elsewhere = plan.listeners.iter().filter(|other| other.name != listener.name).filter_map(|other| {
        let (_, host) = other.virtual_host(request.authority)?;
        // The routes of undeclared hosts are no suggestions.
        let by_rule = host.routes().iter().any(|route| route.origin.rule.is_some());
        (by_rule || host.https_redirect().is_some()).then_some(())?;
        Some(Near {
            what: format!("{} on {} ({})", host.name, other.name, other.kind),
            differs: vec!["it is another listener".to_owned()],
        })
    });
    let mut near: Vec<_> = elsewhere.take(NEAREST).collect();
    let asked = String::from_utf8_lossy(request.authority).to_ascii_lowercase();
    let asked = asked.rsplit_once(':').map_or(asked.as_str(), |(host, _)| host);
    let hosts = listener.route_tables().flat_map(|table| &table.virtual_hosts).flat_map(|host| &host.domains);
    let mut alike: Vec<_> = hosts.map(|domain| (Reverse(likeness(domain, asked)), &**domain)).collect();
    alike.sort_unstable();
    alike.dedup();
    let places = NEAREST - near.len();
    near.extend(alike.into_iter().take(places).map(|(_, domain)| Near {
        what: format!("host {domain}"),
        differs: vec![format!("authority: it is {asked:?}")],
    }));
    near
}

/// From 0 to 1000: how much two names have in common.
fn likeness(one: &str, other: &str) -> u32 {
    (strsim::normalized_levenshtein(one, other) * 1000.0) as u32
}
