//! Conditions, header operations and actions as text.

use crate::plan::{Condition, Edits, HeaderEdits, Pattern, QueryCondition, Request};
use crate::policy::balance::{LoadBalancing, Policy};
use crate::policy::hashing::Algorithm;
use crate::policy::hashing::key::Key;

/// The text of a pattern.
fn wanted(pattern: &Pattern) -> String {
    match pattern {
        Pattern::Any => "present".to_owned(),
        Pattern::Exact(value) => format!("exact {}", quoted(value)),
        Pattern::Prefix(value) => format!("prefix {}", quoted(value)),
        Pattern::ExactNoCase(value) => format!("exact {} in any case", quoted(value)),
        Pattern::PrefixNoCase(value) => format!("prefix {} in any case", quoted(value)),
        Pattern::Regex(regex) => format!("regex {:?}", regex.as_str()),
    }
}

fn quoted(bytes: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(bytes))
}

/// A condition: `uri prefix "/status"`.
pub(super) fn condition(condition: &Condition) -> String {
    match condition {
        Condition::Path(pattern) => format!("uri {}", wanted(pattern)),
        Condition::Method(pattern) => format!("method {}", wanted(pattern)),
        Condition::Scheme(pattern) => format!("scheme {}", wanted(pattern)),
        Condition::Authority(pattern) => format!("authority {}", wanted(pattern)),
        Condition::Target(pattern) => format!("header :path {}", wanted(pattern)),
        Condition::Header(header) => format!("header {} {}", header.name(), wanted(header.value())),
        Condition::WithoutHeader(header) => format!("without header {} {}", header.name(), wanted(header.value())),
        Condition::Query(query) => {
            format!("query parameter {} {}", String::from_utf8_lossy(query.name()), wanted(query.value()))
        }
        Condition::Not(inner) => format!("not {}", self::condition(inner)),
    }
}

/// A condition that the request does not meet, and what it has instead.
pub(super) fn failed(failed: &Condition, request: &Request<'_>) -> String {
    format!("{}: it is {}", condition(failed), actual(failed, request))
}

/// The request's value for the condition.
fn actual(condition: &Condition, request: &Request<'_>) -> String {
    match condition {
        Condition::Path(_) => quoted(request.path),
        Condition::Method(_) => quoted(request.view.method()),
        Condition::Scheme(_) => quoted(request.scheme),
        Condition::Authority(_) => quoted(request.authority),
        Condition::Target(_) => quoted(request.target),
        Condition::Header(header) | Condition::WithoutHeader(header) => {
            let values: Vec<_> = header.values(request).map(quoted).collect();
            if values.is_empty() { "missing".to_owned() } else { values.join(", ") }
        }
        Condition::Query(query) => parameter(query, request),
        Condition::Not(inner) => actual(inner, request),
    }
}

fn parameter(query: &QueryCondition, request: &Request<'_>) -> String {
    query.value_in(request.query).map_or_else(|| "missing".to_owned(), quoted)
}

/// Header operations, each as a line: `request set x: y`.
pub(super) fn headers(edits: &HeaderEdits) -> Vec<String> {
    [("request", &edits.request), ("response", &edits.response)]
        .into_iter()
        .flat_map(|(side, edits)| operations(edits).into_iter().map(move |operation| format!("{side} {operation}")))
        .collect()
}

fn operations(edits: &Edits) -> Vec<String> {
    let remove = edits.remove.iter().map(|name| format!("remove {name}"));
    let set = edits.set.iter().map(|(name, value)| format!("set {name}: {value}"));
    let add = edits.add.iter().map(|(name, value)| format!("add {name}: {value}"));
    remove.chain(set).chain(add).collect()
}

/// The text of a hash key.
pub(super) fn hash_key(key: &Key) -> String {
    match key {
        Key::Header(name) => format!("header {name}"),
        Key::Cookie(cookie) => format!("cookie {}", cookie.name),
        Key::SourceIp => "the client's address".to_owned(),
        Key::Query(name) => format!("query parameter {name}"),
    }
}

/// How an endpoint is chosen.
pub(super) fn load_balancing(spread: &LoadBalancing) -> &'static str {
    match spread.policy {
        Policy::LeastRequest => "LEAST_REQUEST",
        Policy::RoundRobin => "ROUND_ROBIN",
        Policy::Random => "RANDOM",
        Policy::ConsistentHash(Algorithm::Ring { .. }) => "consistent hash, ring",
        Policy::ConsistentHash(Algorithm::Maglev { .. }) => "consistent hash, maglev",
    }
}
