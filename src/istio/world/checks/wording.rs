//! The texts about conditions that no request meets: what a value looks like, and the advice. Pure.

use std::fmt::Write;

use crate::istio::grammar::{Authority, Condition, Method, Own, allows};
use crate::istio::model::proxy::PathNormalization;
use crate::istio::model::scalar::line::BLOCKS;

/// The subject of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    /// `uri`.
    Path,
    /// `:path`.
    Target,
    Method,
    Scheme,
    Authority,
    /// A header's value.
    Header,
    /// A query parameter's value.
    Query,
    /// `corsPolicy.allowOrigins`.
    Origin,
    /// `:status`, which is of responses.
    Status,
    /// A value that the proxy itself writes.
    Own(Own),
}

/// The text for presence conditions.
pub(super) const NO_STATUS: &str = "\":status\" is of responses, no request has it: this never matches";

/// The text for every other condition.
pub(super) const NO_STATUS_AT_ALL: &str = "\":status\" is of responses, no request has it";

/// The reason and the advice.
type Words = (String, String);

/// A value as it is shown: bytes that are not text are escaped.
pub(super) fn shown(value: &[u8]) -> String {
    value.escape_ascii().to_string().replace("\\\\", "\\").replace("\\\"", "\"").replace("\\'", "'")
}

/// The text about a path without its slash.
pub(super) fn without_slash(regex: &str) -> Words {
    let bare = regex.trim_start_matches('^');
    let bare = if bare.contains('|') && !bare.starts_with('(') { format!("({bare})") } else { bare.to_owned() };
    ("a path begins with \"/\"".to_owned(), format!("write \"/{bare}\""))
}

/// The text about a path with a query.
pub(super) fn with_query() -> Words {
    ("the query is no part of the path".to_owned(), "match it under \"queryParams\"".to_owned())
}

/// The text about a path with a line end, as block scalars of YAML have one.
pub(super) fn with_line_end() -> Words {
    (format!("no line end is ever in {}", of(Subject::Path)), BLOCKS.to_owned())
}

fn of(subject: Subject) -> &'static str {
    match subject {
        Subject::Path | Subject::Target => "a path",
        Subject::Header => "a header's value",
        Subject::Query => "a parameter's value",
        _ => "a request",
    }
}

/// Why `value`, of which the first `read` bytes could be read, is not a value of the subject. It is the condition's text,
/// or an example of what its expression matches.
pub(super) fn why(
    subject: Subject,
    value: &[u8],
    read: usize,
    condition: &Condition<'_>,
    (form, hosts): (PathNormalization, Option<&[String]>),
) -> Words {
    let text =
        std::str::from_utf8(value).ok().filter(|_| matches!(condition, Condition::Exact(..) | Condition::Prefix(..)));
    let next = value.get(read).copied();
    if next.is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        return (format!("no line end is ever in {}", of(subject)), BLOCKS.to_owned());
    }
    match subject {
        Subject::Path | Subject::Target => of_path(value, read, text, condition, form),
        Subject::Method => of_method(value, text),
        Subject::Scheme => {
            ("a scheme is \"http\" or \"https\"".to_owned(), "write one of them in small letters".to_owned())
        }
        Subject::Authority => of_authority(value, hosts),
        Subject::Header => of_header(value, text),
        Subject::Query => of_query(next, text),
        Subject::Origin => of_origin(value, text),
        Subject::Status => (NO_STATUS_AT_ALL.to_owned(), "remove it".to_owned()),
        Subject::Own(own) => of_own(own),
    }
}

fn of_own(own: Own) -> Words {
    let (what, instead) = match own {
        Own::Scheme => ("requests come in here by plain HTTP, whatever a client says", "write \"http\", or remove it"),
        Own::RequestId => (
            "at a Gateway every request gets an id of the proxy's, a UUID, whatever a client says",
            "use a header of another name",
        ),
        Own::ForwardedFor => (
            "at a Gateway it ends with the client's address, as the proxy writes it",
            "write a regex that ends with an address; a range is only text",
        ),
        Own::Address => ("at a Gateway it is the client's address, as the proxy writes it", "write an address"),
    };
    (what.to_owned(), instead.to_owned())
}

fn of_path(value: &[u8], read: usize, text: Option<&str>, condition: &Condition<'_>, form: PathNormalization) -> Words {
    let words = |what: String, instead: &str| (what, instead.to_owned());
    let Some(next) = value.get(read).copied() else {
        return match value {
            [] => words("a path is never empty".to_owned(), "write \"/\""),
            _ => words(
                "\".\" and \"..\" are resolved before rules are tried".to_owned(),
                "write the path that they lead to",
            ),
        };
    };
    let behind = value.get(..read).unwrap_or_default();
    match next {
        _ if read == 0 => {
            let instead = match text {
                Some(text) if text.contains("://") => {
                    "write the path alone; the host is matched by \"authority\"".to_owned()
                }
                Some(text) if text.starts_with(['^', '~']) => "it is text, not a pattern: write \"regex\"".to_owned(),
                Some(text) => format!("write \"/{}\"", shown(text.as_bytes())),
                None => "let the expression begin with \"/\"".to_owned(),
            };
            ("a path begins with \"/\"".to_owned(), instead)
        }
        b'?' => with_query(),
        b'#' => words("no client sends a \"#\" and what follows it".to_owned(), "remove it"),
        b'\\' => match text {
            Some(_) => words("\"\\\" arrives as \"/\"".to_owned(), "for a pattern write \"regex\""),
            None => words("\"\\\" arrives as \"/\"".to_owned(), "write \"/\""),
        },
        b'/' if behind.ends_with(b".") => {
            words("\".\" and \"..\" are resolved before rules are tried".to_owned(), "write the path that they lead to")
        }
        b'/' => words(
            "several slashes become one before rules are tried (meshConfig.pathNormalization)".to_owned(),
            "write one",
        ),
        digit if digit.is_ascii_hexdigit() => of_escape(value, read, text, form),
        other => {
            let instead = match (text, condition) {
                (Some(text), _) if other != b' ' && other.is_ascii_punctuation() => {
                    let prefix = matches!(condition, Condition::Prefix(..));
                    format!(
                        "for a pattern write regex: \"{}\"; for the text \"{}\"",
                        as_regex(text, prefix),
                        encoded(text)
                    )
                }
                (Some(text), _) => format!("write \"{}\"", encoded(text)),
                (None, _) => format!("write %{other:02X}"),
            };
            let whole = text.and_then(|text| text.get(read..)?.chars().next()).filter(|c| !c.is_ascii());
            let what = match whole {
                Some(c) => format!("\"{c}\" arrives as {}", encoded(c.encode_utf8(&mut [0; 4]))),
                None => format!("\"{}\" arrives as %{other:02X}", shown(&[other])),
            };
            (what, instead)
        }
    }
}

fn of_escape(value: &[u8], read: usize, text: Option<&str>, form: PathNormalization) -> Words {
    let escape = value.get(read.saturating_sub(2)..=read).unwrap_or_default();
    let digits = escape.get(1..).and_then(|digits| std::str::from_utf8(digits).ok()).unwrap_or_default();
    let code = u8::from_str_radix(digits, 16).unwrap_or_default();
    let escape = shown(escape);
    if code == 0 {
        return (format!("a request with {escape} in its path is refused"), "remove it".to_owned());
    }
    let arrives = match code {
        b'/' | b'\\' if form == PathNormalization::DecodeAndMergeSlashes => "/".to_owned(),
        code => shown(&[code]),
    };
    let written = text.map_or_else(|| arrives.clone(), |text| text.replace(&escape, &arrives));
    (format!("{escape} arrives as \"{arrives}\""), format!("write \"{written}\""))
}

fn of_method(value: &[u8], text: Option<&str>) -> Words {
    if is_strange_method(value) {
        let what = format!("requests with the method \"{}\" are refused with 400, as in Envoy", shown(value));
        return (what, "remove it".to_owned());
    }
    let what = "a method is one word, and the well-known ones are in upper case".to_owned();
    let instead = match text {
        Some(text) => match Method::meant(text) {
            Some(method) => format!("write \"{method}\""),
            None => {
                let each: Vec<_> =
                    text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
                match each.as_slice() {
                    [] => "write {} for any method".to_owned(),
                    [only] => format!("write \"{}\"", only.to_ascii_uppercase()),
                    _ => format!("write regex: \"{}\"", each.join("|").to_ascii_uppercase()),
                }
            }
        },
        None => "write them in upper case, like \"GET|POST\"".to_owned(),
    };
    (what, instead)
}

/// Whether a text is one word that is not a method, in any case.
fn is_strange_method(value: &[u8]) -> bool {
    let is_word = !value.is_empty() && value.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
    is_word && std::str::from_utf8(value).is_ok_and(|word| Method::meant(word).is_none())
}

fn of_authority(value: &[u8], hosts: Option<&[String]>) -> Words {
    let anyone = ["*".to_owned()];
    match hosts {
        Some(hosts) if allows(&Authority(&anyone), value) => {
            let named: Vec<_> = hosts.iter().take(5).map(String::as_str).collect();
            let what = format!("requests for other hosts than {} do not get here", named.join(", "));
            (what, "add the host to \"hosts\"".to_owned())
        }
        _ => ("an authority is a host, and perhaps a port".to_owned(), "write neither scheme nor path".to_owned()),
    }
}

fn of_header(value: &[u8], text: Option<&str>) -> Words {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    if value.first().is_some_and(blank) || value.last().is_some_and(blank) {
        let bare = text.map(str::trim).filter(|bare| !bare.is_empty());
        let instead = bare.map_or("leave them out".to_owned(), |bare| format!("write \"{}\"", shown(bare.as_bytes())));
        return ("blanks around a header's value are dropped".to_owned(), instead);
    }
    ("no control character is ever in a header's value".to_owned(), "remove it".to_owned())
}

fn of_query(next: Option<u8>, text: Option<&str>) -> Words {
    let what = match next {
        Some(b'&') => "\"&\" ends a parameter".to_owned(),
        Some(b'#') => "no client sends a \"#\" and what follows it".to_owned(),
        Some(byte) => format!("values are compared as they were sent: \"{}\" arrives as %{byte:02X}", shown(&[byte])),
        None => "no value is like this".to_owned(),
    };
    let instead = match text {
        Some(text) if next != Some(b'#') => format!("write \"{}\"", encoded(&text.replace('&', "%26"))),
        _ => "write it as it stands in a request".to_owned(),
    };
    (what, instead)
}

fn of_origin(value: &[u8], text: Option<&str>) -> Words {
    let what =
        "a browser's Origin is \"scheme://host\", in small letters, with \":port\" if it is not the scheme's own";
    let Some(text) = text else {
        let instead = match value.windows(3).any(|part| part == b"://") {
            true => "end behind the host or its port",
            false => "begin with the scheme, like https://",
        };
        return (what.to_owned(), instead.to_owned());
    };
    let split = |c: char| matches!(c, ',' | ';') || c.is_ascii_whitespace();
    let meant: Vec<_> = text.split(split).filter(|part| !part.is_empty()).map(meant_origin).collect();
    match meant.as_slice() {
        [] => (what.to_owned(), "write an origin, like https://example.com".to_owned()),
        [("regex", pattern)] => (what.to_owned(), format!("write regex: '{pattern}'")),
        [(_, origin)] => (what.to_owned(), format!("write \"{origin}\"")),
        several => {
            let entry = |(form, text): &(&str, String)| match *form {
                "regex" => format!("{{regex: '{text}'}}"),
                form => format!("{{{form}: \"{text}\"}}"),
            };
            let count = match several.len() {
                2 => "two".to_owned(),
                more => more.to_string(),
            };
            let entries: Vec<_> = several.iter().map(entry).collect();
            let what = "an entry is for one Origin, and a request has one".to_owned();
            (what, format!("write {count} entries: {}", entries.join(", ")))
        }
    }
}

/// The origin that an ill-written one means, or a pattern of such, and the field for it.
fn meant_origin(text: &str) -> (&'static str, String) {
    if text.contains('*') {
        let pattern = text.replace('.', "\\.").replace('*', ".*");
        let scheme = if text.contains("://") { "" } else { "https://" };
        return ("regex", format!("{scheme}{pattern}"));
    }
    let lower = text.to_ascii_lowercase();
    let Some((scheme, rest)) = lower.split_once("://") else {
        return ("exact", format!("https://{}", lower.trim_end_matches('/')));
    };
    let host = rest.split('/').next().unwrap_or_default();
    let own = if scheme == "https" { ":443" } else { ":80" };
    ("exact", format!("{scheme}://{}", host.strip_suffix(own).unwrap_or(host)))
}

/// A text as it arrives in a path or a query: bytes that are not allowed in a URI are percent-encoded.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            0..=b' ' | b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x7f.. => _ = write!(out, "%{byte:02X}"),
            byte => out.push(byte as char),
        }
    }
    out
}

/// The expression that the author of a text with placeholders or operators may mean.
fn as_regex(text: &str, prefix: bool) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '<']) {
        let close = if rest[at..].starts_with('{') { '}' } else { '>' };
        let Some(end) = rest[at..].find(close) else { break };
        out.push_str(&rest[..at]);
        out.push_str("[^/]+");
        rest = &rest[at + end + 1..];
    }
    out.push_str(rest);
    if prefix && !out.ends_with(".*") && !out.ends_with(".*)") { out + ".*" } else { out }
}

/// The advice for a text that looks like a pattern.
pub(super) fn looks_like_a_pattern(condition: &Condition<'_>, subject: Subject) -> Option<String> {
    let (text, prefix) = match *condition {
        Condition::Exact(text, _) => (text, false),
        Condition::Prefix(text, _) => (text, true),
        Condition::Regex(_) | Condition::Search(_) => return None,
    };
    let has = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    let operators = has(&[".*", ".+", "\\d", "\\w", "\\.", "[0-9]", "[a-z", "[A-Z", "[^", "(?", ")?"]);
    if subject == Subject::Origin && prefix && text.contains('.') && !text.contains("://") {
        return Some(format!("an Origin begins with its scheme: write \"https://{text}\""));
    }
    let looks = match subject {
        Subject::Path | Subject::Target => {
            operators
                || has(&["*", "("])
                || text.contains('[') && text.contains(']')
                || has(&["/:"])
                || text.ends_with('$')
        }
        Subject::Authority => has(&["*", "("]),
        Subject::Header | Subject::Query | Subject::Own(_) => operators || text.starts_with('^') && text.ends_with('$'),
        // A text that is not a method is reported as one that no request has.
        Subject::Method | Subject::Scheme | Subject::Origin | Subject::Status => false,
    };
    if !looks {
        return None;
    }
    Some(match subject {
        Subject::Path | Subject::Target if prefix && text.ends_with("/*") && text.matches('*').count() == 1 => {
            format!("a prefix needs no \"*\": write \"{}\"", text.trim_end_matches('*'))
        }
        _ => "for a pattern write \"regex\"".to_owned(),
    })
}
