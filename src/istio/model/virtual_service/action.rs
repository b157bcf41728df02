//! The actions of a rule besides routing: `redirect`, `directResponse`; and its changes: `rewrite`.

use crate::base::re2;
use crate::istio::model::scalar::line;
use crate::istio::model::scalar::string_match::check_regex;
use crate::istio::reader::{Item, Message, Object, enforced};

/// `redirect`: the client is told to ask elsewhere. At least one part is changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redirect {
    /// `uri` or `prefixRewrite`; `None`: the path stays.
    pub path: Option<RedirectPath>,
    /// `authority`: host and optional port, which replace the request's.
    pub authority: Option<String>,
    /// `port` or `derivePort`; `None`: as the authority says.
    pub port: Option<RedirectPort>,
    /// `scheme`: `http` or `https`; `None`: the request's.
    pub scheme: Option<String>,
    /// `redirectCode`: 301, 302, 303, 307 or 308; 301 when absent.
    pub code: RedirectCode,
}

/// The new path of a redirect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedirectPath {
    /// `uri`: replaces the whole path.
    Whole(String),
    /// `prefixRewrite`: replaces the prefix that the rule matched.
    Prefix(String),
}

/// The new port of a redirect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedirectPort {
    /// `port`.
    Number(u16),
    /// `derivePort: FROM_PROTOCOL_DEFAULT`: 80 or 443, which is not written.
    ProtocolDefault,
    /// `derivePort: FROM_REQUEST_PORT`.
    FromRequest,
}

/// A status that redirects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedirectCode(u16);

impl RedirectCode {
    /// The number.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }
}

impl Default for RedirectCode {
    fn default() -> Self {
        Self(301)
    }
}

/// `directResponse`: an answer without a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectResponse {
    /// `status`: 200 to 599.
    pub status: u16,
    /// `body`: its `string`, or its decoded `bytes`; empty when absent.
    pub body: Vec<u8>,
}

/// `rewrite`: changes before the destination sees the request. At least one part is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// `uri` or `uriRegexRewrite`.
    pub path: Option<PathRewrite>,
    /// `authority`: replaces the Host.
    pub authority: Option<String>,
}

/// The new path of a rewrite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathRewrite {
    /// `uri`: replaces the prefix that the rule matched, or the whole path that it matched exactly or by regex.
    Matched(String),
    /// `uriRegexRewrite`: replaces each match of a regex in the path.
    Regex {
        /// `match`: RE2; it has been compiled once, so it is valid.
        pattern: String,
        /// `rewrite`: with `\1` to `\9` for groups and `\0` for the match.
        substitution: String,
    },
}

const HTTP_REDIRECT: Message = Message {
    name: "HTTPRedirect",
    fields: &[
        enforced("uri"),
        enforced("prefixRewrite"),
        enforced("authority"),
        enforced("port"),
        enforced("derivePort"),
        enforced("scheme"),
        enforced("redirectCode"),
    ],
};

const HTTP_DIRECT_RESPONSE: Message =
    Message { name: "HTTPDirectResponse", fields: &[enforced("status"), enforced("body")] };

const HTTP_BODY: Message = Message { name: "HTTPBody", fields: &[enforced("string"), enforced("bytes")] };

const HTTP_REWRITE: Message =
    Message { name: "HTTPRewrite", fields: &[enforced("uri"), enforced("authority"), enforced("uriRegexRewrite")] };

const REGEX_REWRITE: Message = Message { name: "RegexRewrite", fields: &[enforced("match"), enforced("rewrite")] };

/// The tables of this file.
pub(in crate::istio) const MESSAGES: &[&Message] =
    &[&HTTP_REDIRECT, &HTTP_DIRECT_RESPONSE, &HTTP_BODY, &HTTP_REWRITE, &REGEX_REWRITE];

/// Largest body of a direct response (Istio's validation).
const MAX_BODY_BYTES: usize = 1 << 20;

/// A body from which on Istio warns.
const LARGE_BODY_BYTES: usize = 100 << 10;

/// A string field that is not empty and is sent within a line; protojson's empty string is the same as an absent one.
fn filled(object: &Object<'_>, name: &str) -> Option<String> {
    Some(line::field(object, name)).filter(|text| !text.is_empty())
}

/// Reads `redirect`.
pub(super) fn redirect(item: &Item<'_>) -> Option<Redirect> {
    let object = item.object(&HTTP_REDIRECT)?;
    let path = match (filled(&object, "uri"), filled(&object, "prefixRewrite")) {
        (Some(uri), Some(_)) => {
            item.error("has both \"uri\" and \"prefixRewrite\"", "keep one of them");
            Some(RedirectPath::Whole(uri))
        }
        (Some(uri), None) => Some(RedirectPath::Whole(uri)),
        (None, prefix) => prefix.map(RedirectPath::Prefix),
    };
    let authority = filled(&object, "authority");
    let has_port = object.has_any(&["port", "derivePort"]);
    let port = redirect_port(&object);
    let scheme = object.get("scheme").and_then(|item| item.one_of(&["http", "https"])).map(str::to_owned);
    if path.is_none() && authority.is_none() && !has_port && !object.has_any(&["scheme"]) && !item.is_damaged() {
        item.error("changes nothing", "write \"uri\", \"prefixRewrite\", \"authority\", \"port\" or \"scheme\"");
        return None;
    }
    let code = match object.get("redirectCode") {
        Some(item) => redirect_code(&item).unwrap_or_default(),
        None => RedirectCode::default(),
    };
    Some(Redirect { path, authority, port, scheme, code })
}

fn redirect_port(object: &Object<'_>) -> Option<RedirectPort> {
    match (object.get("port"), object.get("derivePort")) {
        (Some(port), Some(_)) => {
            port.error("stands beside \"derivePort\"", "keep one of them");
            None
        }
        (Some(port), None) => port.port().map(RedirectPort::Number),
        (None, Some(derived)) => match derived.one_of(&["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"])? {
            "FROM_REQUEST_PORT" => Some(RedirectPort::FromRequest),
            _ => Some(RedirectPort::ProtocolDefault),
        },
        (None, None) => None,
    }
}

/// Istio's validation lets every 3xx pass, and silently drops a rule with one that Envoy does not know.
fn redirect_code(item: &Item<'_>) -> Option<RedirectCode> {
    match item.whole(0, u32::from(u16::MAX))? {
        0 => Some(RedirectCode::default()),
        301 => Some(RedirectCode(301)),
        302 => Some(RedirectCode(302)),
        303 => Some(RedirectCode(303)),
        307 => Some(RedirectCode(307)),
        308 => Some(RedirectCode(308)),
        other => {
            item.error(format!("{other} is not a status that redirects"), "write 301, 302, 303, 307 or 308");
            None
        }
    }
}

/// Reads `directResponse`.
pub(super) fn direct_response(item: &Item<'_>) -> Option<DirectResponse> {
    let object = item.object(&HTTP_DIRECT_RESPONSE)?;
    let body = match object.get("body") {
        Some(item) => body(&item),
        None => Some(Vec::new()),
    };
    let status = object.required("status").and_then(|item| item.whole(200, 599));
    Some(DirectResponse { status: u16::try_from(status?).ok()?, body: body? })
}

fn body(item: &Item<'_>) -> Option<Vec<u8>> {
    let object = item.object(&HTTP_BODY)?;
    let body = match (object.get("string"), object.get("bytes")) {
        (Some(text), Some(_)) => {
            item.error("has both \"string\" and \"bytes\"", "keep one of them");
            text.string()?.as_bytes().to_vec()
        }
        (Some(text), None) => text.string()?.as_bytes().to_vec(),
        (None, Some(bytes)) => {
            let decoded = base64(bytes.string()?);
            if decoded.is_none() {
                bytes.error("is not base64", "write text under \"string\"");
            }
            decoded?
        }
        (None, None) => Vec::new(),
    };
    if body.len() > MAX_BODY_BYTES {
        item.error(format!("may have {MAX_BODY_BYTES} bytes, not {}", body.len()), "serve large bodies from an origin");
        return None;
    }
    if body.len() > LARGE_BODY_BYTES {
        item.warn(format!("is large: {} bytes", body.len()), "serve large bodies from an origin");
    }
    Some(body)
}

/// RFC 4648, the usual or the URL alphabet, padded or not: what protojson takes for `bytes`.
fn base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    if text.len() % 4 == 1 {
        return None;
    }
    let mut decoded = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut bits, mut count) = (0_u32, 0_u32);
    for byte in text.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        (bits, count) = (bits << 6 | u32::from(value), count + 6);
        if count >= 8 {
            count -= 8;
            decoded.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Some(decoded)
}

/// Reads `rewrite`.
pub(super) fn rewrite(item: &Item<'_>) -> Option<Rewrite> {
    let object = item.object(&HTTP_REWRITE)?;
    let authority = filled(&object, "authority");
    let path = match (filled(&object, "uri"), object.get("uriRegexRewrite")) {
        (Some(uri), Some(regex)) => {
            regex.error("stands beside \"uri\"", "keep one of them");
            let _ = regex_rewrite(&regex);
            Some(PathRewrite::Matched(uri))
        }
        (Some(uri), None) => Some(PathRewrite::Matched(uri)),
        (None, Some(regex)) => regex_rewrite(&regex),
        (None, None) => None,
    };
    if path.is_none() && authority.is_none() && !item.is_damaged() {
        item.error("changes nothing", "write \"uri\", \"uriRegexRewrite\" or \"authority\"");
        return None;
    }
    Some(Rewrite { path, authority })
}

fn regex_rewrite(item: &Item<'_>) -> Option<PathRewrite> {
    let object = item.object(&REGEX_REWRITE)?;
    let pattern = object.required("match").and_then(|item| {
        let regex = item.nonempty_string()?;
        check_regex(&item, regex).then(|| regex.to_owned())
    });
    let substitution = object.required("rewrite").and_then(|item| {
        let text = line::nonempty(&item)?;
        if let Some(pattern) = &pattern {
            check_groups(&item, text, pattern);
        }
        Some(text.to_owned())
    });
    Some(PathRewrite::Regex { pattern: pattern?, substitution: substitution? })
}

/// Checks the references to groups, which Istio leaves to Envoy; Envoy refuses the whole configuration for a wrong
/// one (RE2's `CheckRewriteString`).
fn check_groups(item: &Item<'_>, substitution: &str, pattern: &str) {
    let Ok(regex) = re2::full_match(pattern) else { return };
    let groups = regex.captures_len() - 1;
    let mut rest = substitution.chars();
    while let Some(next) = rest.by_ref().find(|c| *c == '\\').and(Some(rest.next())) {
        let why = match next {
            Some('\\') => continue,
            Some(digit @ '0'..='9') => match digit.to_digit(10) {
                Some(group) if group as usize > groups => {
                    format!("asks for group {group}, and there {} {groups}", if groups == 1 { "is" } else { "are" })
                }
                _ => continue,
            },
            _ => "has a backslash before neither a digit nor a backslash".to_owned(),
        };
        let known = if groups == 0 { "\\0".to_owned() } else { format!("\\0 to \\{}", groups.min(9)) };
        return item.error(format!("\"{substitution}\" {why}"), format!("write {known}, or \\\\ for a backslash"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_in_all_of_protojsons_forms() {
        for (text, expected) in [
            ("", Some(&b""[..])),
            ("aGVsbG8=", Some(b"hello")),
            ("aGVsbG8", Some(b"hello")),
            ("+/8=", Some(b"\xfb\xff")),
            ("-_8", Some(b"\xfb\xff")),
            ("a", None),
            ("aGVs bG8", None),
            ("\u{e9}", None),
        ] {
            assert_eq!(base64(text).as_deref(), expected, "{text}");
        }
    }
}
