//! `headers` of rules and destinations: header operations.

use crate::istio::model::scalar::line;
use crate::istio::reader::{Item, Message, Object, enforced};

/// `headers`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers {
    /// `request`: on the way to the destination.
    pub request: HeaderOperations,
    /// `response`: on the way back.
    pub response: HeaderOperations,
}

/// The header operations of one direction: `remove` first, then `set`, then `add`. Names are as written; values may
/// hold operators (`%REQ(x)%`) and `%%`, whose syntax has been checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderOperations {
    /// `set`, sorted by name: each replaces all lines of its name. `host` and `:authority` of a request rewrite its
    /// Host.
    pub set: Vec<(String, String)>,
    /// `add`, sorted by name: one more line.
    pub add: Vec<(String, String)>,
    /// `remove`, in order.
    pub remove: Vec<String>,
}

const HEADERS: Message = Message { name: "Headers", fields: &[enforced("request"), enforced("response")] };

const HEADER_OPERATIONS: Message =
    Message { name: "HeaderOperations", fields: &[enforced("set"), enforced("add"), enforced("remove")] };

/// The tables of this file.
pub(in crate::istio) const MESSAGES: &[&Message] = &[&HEADERS, &HEADER_OPERATIONS];

/// Reads `headers`.
pub(super) fn read(item: &Item<'_>) -> Option<Headers> {
    let object = item.object(&HEADERS)?;
    let side = |name, is_request| object.get(name).and_then(|item| operations(&item, is_request)).unwrap_or_default();
    Some(Headers { request: side("request", true), response: side("response", false) })
}

fn operations(item: &Item<'_>, is_request: bool) -> Option<HeaderOperations> {
    let object = item.object(&HEADER_OPERATIONS)?;
    let remove = object.list("remove").iter().filter_map(removed_name).collect();
    Some(HeaderOperations {
        set: written(&object, "set", is_request),
        add: written(&object, "add", is_request),
        remove,
    })
}

fn written(object: &Object<'_>, field: &str, is_request: bool) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for (name, item) in object.get(field).map(|item| item.data_map()).unwrap_or_default() {
        let is_host = is_host(name);
        if is_host && !is_request {
            item.error("a response has no Host", "");
        } else if !is_host && !is_header_name(name) {
            item.error(format!("\"{name}\" is not a header name that may be written"), "");
        } else if let Some(value) = line::read(&item) {
            match check_value(value) {
                Ok(()) => pairs.push((name.to_owned(), value.to_owned())),
                Err(why) => item.error(format!("\"{value}\" {why}"), "write \"%%\" for a percent sign"),
            }
        }
    }
    pairs.sort();
    pairs
}

fn removed_name(item: &Item<'_>) -> Option<String> {
    let name = item.nonempty_string()?;
    if is_host(name) {
        item.error("the Host cannot be removed", "");
        return None;
    }
    if !is_header_name(name) {
        item.error(format!("\"{name}\" is not a header name that may be removed"), "");
        return None;
    }
    Some(name.to_owned())
}

pub(super) fn is_host(name: &str) -> bool {
    name.eq_ignore_ascii_case("host") || name.eq_ignore_ascii_case(":authority")
}

/// A token of RFC 9110, section 5.6.2.
pub(super) fn is_header_name(name: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(token)
}

/// Checks a header's value for a `%` that begins no operator (Istio's `validateHeaderValue`).
fn check_value(value: &str) -> Result<(), &'static str> {
    let mut rest = value;
    while let Some(at) = rest.find('%') {
        let after = rest.get(at + 1..).unwrap_or_default();
        if let Some(next) = after.strip_prefix('%') {
            rest = next;
            continue;
        }
        let name_end = after.find(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit() && c != '_');
        let (name, tail) = after.split_at(name_end.unwrap_or(after.len()));
        let tail = match tail.strip_prefix('(') {
            Some(argument) => argument.split_once(')').ok_or("has an operator without its \")\"")?.1,
            None => tail,
        };
        // `:9` cuts a value short.
        let tail = tail.strip_prefix(':').map_or(tail, |tail| tail.trim_start_matches(|c: char| c.is_ascii_digit()));
        rest = tail.strip_prefix('%').filter(|_| !name.is_empty()).ok_or("has a \"%\" that begins no operator")?;
    }
    Ok(())
}
