//! `StringMatch`: how a value of a request is compared.

use crate::base::re2;
use crate::istio::reader::{Item, Message, enforced};

/// Longest regex (Istio's validation).
const MAX_REGEX_BYTES: usize = 1024;

/// Istio's `StringMatch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StringMatch {
    /// No condition on the value (`{}`, and regex `*` for a header or query parameter): it only has to be there.
    Present,
    /// `exact`.
    Exact(String),
    /// `prefix`.
    Prefix(String),
    /// `regex`: RE2, must match the whole value. It has been compiled once, so it is valid.
    Regex(String),
}

/// The table of this message.
pub(in crate::istio) const STRING_MATCH: Message =
    Message { name: "StringMatch", fields: &[enforced("exact"), enforced("prefix"), enforced("regex")] };

/// The kind of a matched value: the rules differ a little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::istio) enum MatchedValue {
    /// The path, where an empty prefix means every path.
    Uri,
    /// A header or query parameter, where the regex `*` means presence.
    Presence,
    /// Scheme, method or authority.
    Other,
}

/// Reads a StringMatch.
pub(in crate::istio) fn read(item: &Item<'_>, subject: MatchedValue) -> Option<StringMatch> {
    if item.is_text() {
        item.error("must be a mapping, not a string", "write \"exact:\", \"prefix:\" or \"regex:\" before the value");
        return None;
    }
    let object = item.object(&STRING_MATCH)?;
    let written: Vec<_> =
        ["exact", "prefix", "regex"].into_iter().filter_map(|name| Some((name, object.get(name)?))).collect();
    match written.as_slice() {
        [] => Some(StringMatch::Present),
        [("exact", value)] => Some(StringMatch::Exact(value.string()?.to_owned())),
        [("prefix", value)] => {
            let prefix = value.string()?;
            if prefix.is_empty() && subject != MatchedValue::Uri {
                value.error("must not be empty", "write {} to match any value");
                return None;
            }
            Some(StringMatch::Prefix(prefix.to_owned()))
        }
        [(_, value)] => {
            let regex = value.nonempty_string()?;
            if regex == "*" && subject == MatchedValue::Presence {
                return Some(StringMatch::Present);
            }
            check_regex(value, regex).then(|| StringMatch::Regex(regex.to_owned()))
        }
        [(first, _), (second, _), ..] => {
            item.error(format!("has both \"{first}\" and \"{second}\""), "keep one of them");
            for (name, value) in &written {
                if let (Some(text), "regex") = (value.string(), *name) {
                    check_regex(value, text);
                }
            }
            None
        }
    }
}

/// Whether a regex is valid in RE2; reports the problem.
pub(in crate::istio) fn check_regex(value: &Item<'_>, regex: &str) -> bool {
    if regex.len() > MAX_REGEX_BYTES {
        value.error(format!("a regex may have {MAX_REGEX_BYTES} bytes, not {}", regex.len()), "");
        return false;
    }
    match re2::full_match(regex) {
        Ok(_) => {
            if let Some(class) = re2::split_class(regex) {
                let what = format!("Envoy matches bytes: {class} is one byte of these characters, not one of them");
                value.note(what, "write them as alternatives, like (é|ü)");
            }
            true
        }
        Err(why) => {
            value.error(format!("\"{regex}\" {why}"), why.write());
            false
        }
    }
}
