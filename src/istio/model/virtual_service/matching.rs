//! `match`: the conditions of a rule.

use crate::istio::model::Labels;
use crate::istio::model::scalar::string_match::{self, MatchedValue};
use crate::istio::model::scalar::{StringMatch, host};
use crate::istio::reader::{Item, Message, Object, Part, Without, enforced};

use super::headers::is_header_name;
use super::{Scope, gateway_reference};

/// One block of `match`: all of its conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpMatch {
    /// `name`; the route is then called `route.match`. Empty when absent.
    pub name: String,
    /// `uri`: the path without query.
    pub uri: Option<StringMatch>,
    /// `ignoreUriCase`: of exact and prefix `uri` only.
    pub ignore_uri_case: bool,
    /// `scheme`: `http` or `https`.
    pub scheme: Option<StringMatch>,
    /// `method`.
    pub method: Option<StringMatch>,
    /// `authority`: the Host as sent, its port included.
    pub authority: Option<StringMatch>,
    /// `headers`, sorted by name; names as written (they may be `:method`, `:path`, `:authority`, `:scheme`).
    pub headers: Vec<(String, StringMatch)>,
    /// `withoutHeaders`, sorted by name: none of these may hold. An absent header counts as an empty one, so it meets
    /// all patterns but those that match the empty text. `null` and `{}` are [`StringMatch::Present`]: the header
    /// must be absent.
    pub without_headers: Vec<(String, StringMatch)>,
    /// `queryParams`, sorted by name, names as written: the first occurrence, not percent-decoded.
    pub query_params: Vec<(String, StringMatch)>,
    /// `port`: the port the client addressed: for a gateway, its server's number.
    pub port: Option<u16>,
    /// `gateways`: replaces the VirtualService's, and is resolved like those. Empty: the VirtualService's, of which
    /// [`HttpMatch::source_labels`] and [`HttpMatch::source_namespace`] then have to hold too.
    pub gateways: Vec<String>,
    /// `sourceLabels`: labels that the proxy itself must have. Without meaning where `gateways` is set.
    pub source_labels: Labels,
    /// `sourceNamespace`: the namespace in which the proxy itself must be. Without meaning where `gateways` is set.
    pub source_namespace: Option<String>,
    /// `statPrefix`: of the route's own counters.
    pub stat_prefix: Option<String>,
}

const HTTP_MATCH: Message = Message {
    name: "HTTPMatchRequest",
    fields: &[
        enforced("name"),
        enforced("uri"),
        enforced("ignoreUriCase"),
        enforced("scheme"),
        enforced("method"),
        enforced("authority"),
        enforced("headers"),
        enforced("withoutHeaders"),
        enforced("queryParams"),
        enforced("port"),
        enforced("gateways"),
        enforced("sourceLabels"),
        enforced("sourceNamespace"),
        enforced("statPrefix"),
    ],
};

/// The parts of a request line that HTTP/2 sends as headers; `:status` belongs to responses, and Istio accepts it all
/// the same.
const PSEUDO_HEADERS: &[&str] = &[":method", ":scheme", ":authority", ":path", ":status"];

/// The tables of this file.
pub(in crate::istio) const MESSAGES: &[&Message] = &[&HTTP_MATCH];

/// One block of a rule's `match`.
pub(super) struct Block<'a, T> {
    pub(super) item: Item<'a>,
    pub(super) conditions: T,
    /// Whether a condition is left out, without which the block takes more than it says.
    pub(super) withheld: bool,
}

impl<T> Block<'_, T> {
    /// Says that the block is not served.
    pub(super) fn left_out(&self) {
        self.item.warn("this block is left out, since not all of its conditions are enforced", "");
    }
}

pub(super) fn read<'a>(item: &Item<'a>, scope: Scope<'_>) -> Option<Block<'a, HttpMatch>> {
    block(item, |item| conditions(item, scope))
}

/// Reads a block. A block with an error is kept for the checks: nothing is served.
pub(super) fn block<'a, T>(item: &Item<'a>, read: impl Fn(&Item<'a>) -> Option<T>) -> Option<Block<'a, T>> {
    let Part { value, withheld } = item.part("block", || read(item));
    Some(Block { item: item.clone(), conditions: value?, withheld })
}

fn conditions(item: &Item<'_>, scope: Scope<'_>) -> Option<HttpMatch> {
    let object = item.object(&HTTP_MATCH)?;
    let string = |name, subject| object.get(name).and_then(|item| string_match::read(&item, subject));
    let text = |name| Some(object.text(name)).filter(|text| !text.is_empty());
    Some(HttpMatch {
        name: object.text("name"),
        uri: string("uri", MatchedValue::Uri),
        ignore_uri_case: object.get("ignoreUriCase").and_then(|item| item.bool()).unwrap_or_default(),
        scheme: string("scheme", MatchedValue::Other),
        method: string("method", MatchedValue::Other),
        authority: string("authority", MatchedValue::Other),
        headers: sorted(&object, "headers", |name, value| header_match(name, value, scope, false)),
        without_headers: sorted(&object, "withoutHeaders", |name, value| header_match(name, value, scope, true)),
        query_params: sorted(&object, "queryParams", |_, value| string_match::read(value, MatchedValue::Presence)),
        port: object.get("port").and_then(|item| item.port()),
        gateways: object.list("gateways").iter().filter_map(|item| gateway_reference(item, scope.namespace)).collect(),
        source_labels: object.get("sourceLabels").map(|item| item.labels()).unwrap_or_default(),
        source_namespace: object.get("sourceNamespace").and_then(|item| source_namespace(&item)),
        stat_prefix: text("statPrefix"),
    })
}

pub(super) fn source_namespace(item: &Item<'_>) -> Option<String> {
    let text = item.string()?;
    if !text.is_empty() && !host::is_dns_label(text) {
        item.error(format!("\"{text}\" is not a namespace"), "lower-case letters, digits and \"-\"");
    }
    (!text.is_empty()).then(|| text.to_owned())
}

/// A map of conditions, by name.
fn sorted(
    object: &Object<'_>,
    field: &str,
    read: impl Fn(&str, &Item<'_>) -> Option<StringMatch>,
) -> Vec<(String, StringMatch)> {
    let map = object.get(field).map(|item| item.data_map()).unwrap_or_default();
    let mut found: Vec<_> =
        map.into_iter().filter_map(|(name, value)| Some((name.to_owned(), read(name, &value)?))).collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

fn header_match(name: &str, value: &Item<'_>, scope: Scope<'_>, negated: bool) -> Option<StringMatch> {
    if name.starts_with("@request.auth.claims") && !scope.is_for_gateways {
        value.error("token claims are matched at gateways only", "name a Gateway under \"gateways\"");
        return None;
    }
    if name.starts_with('@') {
        value.not_enforced("a condition on token claims", Without::More);
        return None;
    }
    if !is_header_name(name) && !PSEUDO_HEADERS.contains(&name) {
        value.error(format!("\"{name}\" is not a header name"), "");
        return None;
    }
    if value.is_null() {
        if negated {
            return Some(StringMatch::Present);
        }
        value.error("has no condition", "write {} to ask for the header's presence");
        return None;
    }
    string_match::read(value, MatchedValue::Presence)
}
