//! `corsPolicy`: which pages of other origins may use a rule.

use std::time::Duration;

use crate::base::re2;
use crate::istio::model::scalar::StringMatch;
use crate::istio::model::scalar::string_match::{self, MatchedValue};
use crate::istio::reader::{Item, Message, Object, deprecated, did_you_mean, enforced};

use super::headers::is_header_name;

/// `corsPolicy`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CorsPolicy {
    /// `allowOrigins`, or the old `allowOrigin` without these: an origin that any of these matches is allowed. A
    /// pattern that matches `*` has become one that matches everything, as it does in Envoy.
    pub allow_origins: Vec<StringMatch>,
    /// `allowMethods`, in order.
    pub allow_methods: Vec<String>,
    /// `allowHeaders`, in order.
    pub allow_headers: Vec<String>,
    /// `exposeHeaders`, in order.
    pub expose_headers: Vec<String>,
    /// `maxAge`: whole seconds.
    pub max_age: Option<Duration>,
    /// `allowCredentials`.
    pub allow_credentials: bool,
    /// `unmatchedPreflights`.
    pub unmatched_preflights: UnmatchedPreflights,
}

/// `unmatchedPreflights`: how a preflight from an origin that is not allowed is answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UnmatchedPreflights {
    /// `FORWARD`, also `UNSPECIFIED`: the destination answers it.
    #[default]
    Forward,
    /// `IGNORE`: it is answered here, without allowing the origin.
    Ignore,
}

const CORS_POLICY: Message = Message {
    name: "CorsPolicy",
    fields: &[
        enforced("allowOrigins"),
        deprecated("allowOrigin", "write \"allowOrigins: [{exact: ORIGIN}]\""),
        enforced("allowMethods"),
        enforced("allowHeaders"),
        enforced("exposeHeaders"),
        enforced("maxAge"),
        enforced("allowCredentials"),
        enforced("unmatchedPreflights"),
    ],
};

/// The tables of this file.
pub(in crate::istio) const MESSAGES: &[&Message] = &[&CORS_POLICY];

const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*"];

/// Reads `corsPolicy`.
pub(super) fn read(item: &Item<'_>) -> Option<CorsPolicy> {
    let object = item.object(&CORS_POLICY)?;
    let mut allow_origins: Vec<_> = object.list("allowOrigins").iter().filter_map(origin).collect();
    let old: Vec<_> = object.list("allowOrigin").iter().filter_map(old_origin).collect();
    if allow_origins.is_empty() {
        allow_origins = old;
    }
    let allow_credentials = object.get("allowCredentials").and_then(|item| item.bool()).unwrap_or_default();
    Some(CorsPolicy {
        allow_origins,
        allow_methods: object.list("allowMethods").iter().filter_map(method).collect(),
        allow_headers: header_names(&object, "allowHeaders"),
        expose_headers: header_names(&object, "exposeHeaders"),
        max_age: object.get("maxAge").and_then(|item| max_age(&item)),
        allow_credentials,
        unmatched_preflights: object.get("unmatchedPreflights").map(|item| unmatched(&item)).unwrap_or_default(),
    })
}

fn origin(item: &Item<'_>) -> Option<StringMatch> {
    match string_match::read(item, MatchedValue::Other)? {
        StringMatch::Present => {
            item.error("has no condition", "write {regex: '.*'} to allow every origin");
            None
        }
        StringMatch::Exact(text) if text.is_empty() => {
            item.error("is empty", "write an origin, like https://example.com");
            None
        }
        other => Some(everyone_or(other)),
    }
}

/// Before 1.6: whole origins, or `*` for all of them.
fn old_origin(item: &Item<'_>) -> Option<StringMatch> {
    Some(everyone_or(StringMatch::Exact(item.nonempty_string()?.to_owned())))
}

/// Envoy allows every origin where a pattern matches the text `*` (`CorsFilter::isOriginAllowed`).
fn everyone_or(pattern: StringMatch) -> StringMatch {
    let everyone = match &pattern {
        StringMatch::Exact(text) | StringMatch::Prefix(text) => text == "*",
        StringMatch::Regex(regex) => re2::full_match(regex).is_ok_and(|regex| regex.is_match(b"*")),
        StringMatch::Present => true,
    };
    if everyone { StringMatch::Regex(".*".to_owned()) } else { pattern }
}

fn method(item: &Item<'_>) -> Option<String> {
    let text = item.string()?;
    if !METHODS.contains(&text) {
        item.error(format!("\"{text}\" is not one of {}", METHODS.join(", ")), did_you_mean(text, METHODS));
        return None;
    }
    Some(text.to_owned())
}

fn header_names(object: &Object<'_>, field: &str) -> Vec<String> {
    let name = |item: &Item<'_>| {
        let name = item.nonempty_string()?;
        if !is_header_name(name) {
            item.error(format!("\"{name}\" is not a header name"), "");
            return None;
        }
        Some(name.to_owned())
    };
    object.list(field).iter().filter_map(name).collect()
}

fn max_age(item: &Item<'_>) -> Option<Duration> {
    let age = item.duration()?;
    if age.subsec_nanos() > 0 {
        item.error("must be whole seconds", "");
        return None;
    }
    Some(age)
}

fn unmatched(item: &Item<'_>) -> UnmatchedPreflights {
    match item.one_of(&["UNSPECIFIED", "FORWARD", "IGNORE"]) {
        Some("IGNORE") => UnmatchedPreflights::Ignore,
        _ => UnmatchedPreflights::Forward,
    }
}
