//! Header operations (`headers.request`, `headers.response`) and their values: Envoy's format strings, compiled.
//!
//! Plain data with the parser of the format strings; carrying them out is `proxy`'s. Names are lower case, as ringway
//! writes the names that it adds.

use std::fmt;

use crate::http::head::Known;

/// The header operations on a request and on its response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// `headers.request`: on the way to the upstream.
    pub request: Edits,
    /// `headers.response`: on the way to the client.
    pub response: Edits,
}

/// Operations on one head, in their order of execution: all of `remove`, then `set`, then `add`. Values are computed
/// from the head after the removals and before all others (Envoy's `HeaderParser::evaluateHeaders`); an empty value is
/// neither set nor added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edits {
    /// Every line of these names goes; sorted.
    pub remove: Box<[HeaderName]>,
    /// One line replaces all lines of the name; each name once, the route's before the destination's.
    pub set: Box<[(HeaderName, Template)]>,
    /// Further lines, the route's before the destination's.
    pub add: Box<[(HeaderName, Template)]>,
}

impl HeaderEdits {
    /// Whether there are no operations.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.request.is_empty() && self.response.is_empty()
    }

    /// These operations of a route and then those of one of its destinations, as one list: for the same name the
    /// destination's operations override the route's.
    #[must_use]
    pub fn and_then(&self, destination: &Self) -> Self {
        Self {
            request: self.request.and_then(&destination.request),
            response: self.response.and_then(&destination.response),
        }
    }
}

impl Edits {
    /// Whether there are no operations.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// istiod puts both lists into one, in which all removals come first: the last `set` wins, and it also overwrites
    /// the route's `add`.
    fn and_then(&self, later: &Self) -> Self {
        let is_set_later = |name: &HeaderName| later.set.iter().any(|(other, _)| other == name);
        let kept = |list: &[(HeaderName, Template)]| -> Vec<_> {
            list.iter().filter(|(name, _)| !is_set_later(name)).cloned().collect()
        };
        let mut remove = [&*self.remove, &*later.remove].concat();
        remove.sort();
        remove.dedup();
        let set = [kept(&self.set), later.set.to_vec()].concat();
        let add = [kept(&self.add), later.add.to_vec()].concat();
        Self { remove: remove.into(), set: set.into(), add: add.into() }
    }
}

/// The name of a header: lower case, with its id where it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderName {
    text: Box<str>,
    id: Known,
}

impl HeaderName {
    /// From a name in any case.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let text = name.to_ascii_lowercase();
        Self { id: Known::of(text.as_bytes()), text: text.into() }
    }

    /// Lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The id; [`Known::Other`] and [`Known::XEnvoy`] each cover many names.
    #[must_use]
    pub fn id(&self) -> Known {
        self.id
    }

    /// Whether `name`, in any case and with this id, is this name.
    #[must_use]
    #[inline]
    pub fn is(&self, id: Known, name: &[u8]) -> bool {
        let shared = matches!(id, Known::Other | Known::XEnvoy);
        self.id == id && (!shared || name.eq_ignore_ascii_case(self.text.as_bytes()))
    }
}

impl PartialOrd for HeaderName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for HeaderName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The value of a header to set or add: Envoy's format string, of which a missing part is empty. A constant one is a
/// single [`Operator::Literal`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Box<[Operator]>);

/// A part of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operator {
    /// These bytes; `%%` has become `%`.
    Literal(Box<[u8]>),
    /// `%REQ(NAME?OTHER):LENGTH%`, on the request as it goes upstream, before this operation.
    Request(Lookup),
    /// `%RESP(NAME?OTHER):LENGTH%`, on the response before this operation; empty in `headers.request`.
    Response(Lookup),
    /// `%PROTOCOL%`: `HTTP/1.1` or `HTTP/1.0`.
    Protocol,
    /// `%RESPONSE_CODE%`; 0 in `headers.request`, as in Envoy.
    ResponseCode,
    /// `%RESPONSE_FLAGS%`; `-` for none, as in the access log.
    ResponseFlags,
    /// `%START_TIME%`: `2020-12-22T06:32:22.057Z`.
    StartTime,
    /// `%HOSTNAME%`: of this machine.
    Hostname,
    /// `%ROUTE_NAME%`.
    RouteName,
    /// `%UPSTREAM_CLUSTER%`.
    UpstreamCluster,
    /// `%UPSTREAM_HOST%`: address and port of the endpoint.
    UpstreamHost,
    /// `%DOWNSTREAM_REMOTE_ADDRESS%` and its parts: the client.
    DownstreamRemote(AddressPart),
    /// `%DOWNSTREAM_LOCAL_ADDRESS%` and its parts: this side of the client's connection.
    DownstreamLocal(AddressPart),
}

/// Which part of an address is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressPart {
    /// Address and port.
    Whole,
    /// `…_WITHOUT_PORT`.
    WithoutPort,
    /// `…_PORT`.
    Port,
}

/// The lookup of an operator in a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// The field.
    pub field: Field,
    /// The fallback, if the field is missing.
    pub or: Option<Field>,
    /// Longer values are cut off here.
    pub most: usize,
}

/// A part of a head that has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// `:method`.
    Method,
    /// `:path`: with the query.
    Path,
    /// `:authority` or `host`.
    Authority,
    /// `:scheme`.
    Scheme,
    /// A header: its first line.
    Header(HeaderName),
}

/// Why a format string was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    /// A `%` that begins no operator.
    #[error("has a \"%\" without a closing one")]
    Unclosed,
    /// A command that is not one of Envoy's.
    #[error("has the command \"%{0}%\", which is none of Envoy's")]
    Unknown(String),
    /// A command that Envoy has.
    #[error("has the command \"%{0}%\", which is not enforced")]
    NotEnforced(String),
}

/// The commands without arguments.
const COMMANDS: &[(&str, Operator)] = &[
    ("PROTOCOL", Operator::Protocol),
    ("RESPONSE_CODE", Operator::ResponseCode),
    ("RESPONSE_FLAGS", Operator::ResponseFlags),
    ("START_TIME", Operator::StartTime),
    ("HOSTNAME", Operator::Hostname),
    ("ROUTE_NAME", Operator::RouteName),
    ("UPSTREAM_CLUSTER", Operator::UpstreamCluster),
    ("UPSTREAM_CLUSTER_RAW", Operator::UpstreamCluster),
    ("UPSTREAM_HOST", Operator::UpstreamHost),
    ("UPSTREAM_REMOTE_ADDRESS", Operator::UpstreamHost),
    ("DOWNSTREAM_REMOTE_ADDRESS", Operator::DownstreamRemote(AddressPart::Whole)),
    ("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", Operator::DownstreamRemote(AddressPart::WithoutPort)),
    ("DOWNSTREAM_REMOTE_PORT", Operator::DownstreamRemote(AddressPart::Port)),
    ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS", Operator::DownstreamRemote(AddressPart::Whole)),
    ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", Operator::DownstreamRemote(AddressPart::WithoutPort)),
    ("DOWNSTREAM_DIRECT_REMOTE_PORT", Operator::DownstreamRemote(AddressPart::Port)),
    ("DOWNSTREAM_LOCAL_ADDRESS", Operator::DownstreamLocal(AddressPart::Whole)),
    ("DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", Operator::DownstreamLocal(AddressPart::WithoutPort)),
    ("DOWNSTREAM_LOCAL_PORT", Operator::DownstreamLocal(AddressPart::Port)),
];

/// Beginnings of the other commands that Envoy has for a header's value (docs: `access_log/usage`).
const NOT_ENFORCED: &[&str] = &[
    "START_TIME(",
    "START_TIME_LOCAL",
    "EMIT_TIME",
    "REQUEST_",
    "RESPONSE_",
    "TRAILER(",
    "BYTES_",
    "DURATION",
    "COMMON_DURATION",
    "CONNECTION_",
    "UPSTREAM_",
    "DOWNSTREAM_",
    "REQUESTED_SERVER_NAME",
    "VIRTUAL_CLUSTER_NAME",
    "DYNAMIC_METADATA(",
    "CLUSTER_METADATA(",
    "METADATA(",
    "FILTER_",
    "PER_REQUEST_STATE(",
    "REQ_WITHOUT_QUERY(",
    "PATH(",
    "QUERY_PARAM",
    "STREAM_ID",
    "TRACE_ID",
    "SPAN_ID",
    "ENVIRONMENT(",
    "UNIQUE_ID",
    "TLS_JA3_FINGERPRINT",
    "TLS_JA4_FINGERPRINT",
    "CUSTOM_FLAGS",
    "ACCESS_LOG_TYPE",
    "ROUND_TRIP_DURATION",
];

/// Splits off the command that a text begins with, at its closing percent sign: not one inside its parentheses.
fn split_command(text: &str) -> Option<(&str, &str)> {
    let first = text.find('%')?;
    let argument = text.find('(').filter(|open| *open < first);
    let closed = argument.and_then(|open| Some(open + text.get(open..)?.find(')')?));
    let end = match closed {
        Some(closed) => closed + text.get(closed..)?.find('%')?,
        None => first,
    };
    Some((text.get(..end)?, text.get(end + 1..)?))
}

impl Template {
    /// Compiles a format string.
    ///
    /// # Errors
    /// If a command is not closed, not known, or not carried out here.
    pub fn compile(text: &str) -> Result<Self, BadTemplate> {
        let (mut operators, mut literal, mut rest) = (Vec::new(), Vec::new(), text);
        while let Some((before, after)) = rest.split_once('%') {
            literal.extend_from_slice(before.as_bytes());
            if let Some(after) = after.strip_prefix('%') {
                literal.push(b'%');
                rest = after;
                continue;
            }
            let (command, after) = split_command(after).ok_or(BadTemplate::Unclosed)?;
            if !literal.is_empty() {
                operators.push(Operator::Literal(std::mem::take(&mut literal).into()));
            }
            operators.push(Operator::of(command)?);
            rest = after;
        }
        literal.extend_from_slice(rest.as_bytes());
        if !literal.is_empty() {
            operators.push(Operator::Literal(literal.into()));
        }
        Ok(Self(operators.into()))
    }

    /// Its parts, in order; an empty text has none.
    #[must_use]
    pub fn operators(&self) -> &[Operator] {
        &self.0
    }

    /// The whole value, if it is the same for every request.
    #[must_use]
    pub fn constant(&self) -> Option<&[u8]> {
        match &*self.0 {
            [] => Some(b""),
            [Operator::Literal(text)] => Some(text),
            _ => None,
        }
    }
}

/// The format string.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|operator| operator.fmt(f))
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(text) => f.write_str(&String::from_utf8_lossy(text).replace('%', "%%")),
            Self::Request(lookup) => write!(f, "%REQ({lookup}%"),
            Self::Response(lookup) => write!(f, "%RESP({lookup}%"),
            other => match COMMANDS.iter().find(|(_, command)| command == other) {
                Some((name, _)) => write!(f, "%{name}%"),
                None => Ok(()),
            },
        }
    }
}

/// Without the opening parenthesis.
impl fmt::Display for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.field.fmt(f)?;
        if let Some(or) = &self.or {
            write!(f, "?{or}")?;
        }
        f.write_str(")")?;
        if self.most < usize::MAX { write!(f, ":{}", self.most) } else { Ok(()) }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method => f.write_str(":method"),
            Self::Path => f.write_str(":path"),
            Self::Authority => f.write_str(":authority"),
            Self::Scheme => f.write_str(":scheme"),
            Self::Header(name) => name.fmt(f),
        }
    }
}

impl Operator {
    fn of(command: &str) -> Result<Self, BadTemplate> {
        if let Some(lookup) = Lookup::of("REQ", command) {
            return Ok(Self::Request(lookup));
        }
        if let Some(lookup) = Lookup::of("RESP", command) {
            return Ok(Self::Response(lookup));
        }
        if let Some((_, operator)) = COMMANDS.iter().find(|(name, _)| *name == command) {
            return Ok(operator.clone());
        }
        let known = NOT_ENFORCED.iter().any(|start| command.starts_with(start));
        Err(if known { BadTemplate::NotEnforced(command.into()) } else { BadTemplate::Unknown(command.into()) })
    }
}

impl Lookup {
    /// Reads `REQ(NAME?OTHER):LENGTH`, where the word is `REQ`.
    fn of(word: &str, command: &str) -> Option<Self> {
        let (argument, length) = command.strip_prefix(word)?.strip_prefix('(')?.split_once(')')?;
        let most = match length.strip_prefix(':') {
            Some(digits) => digits.parse().ok()?,
            None if length.is_empty() => usize::MAX,
            None => return None,
        };
        let (name, or) = argument.split_once('?').map_or((argument, None), |(name, or)| (name, Some(or)));
        (!name.is_empty()).then(|| Self { field: Field::of(name), or: or.map(Field::of), most })
    }
}

impl Field {
    fn of(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            ":method" => Self::Method,
            ":path" => Self::Path,
            ":authority" | "host" => Self::Authority,
            ":scheme" => Self::Scheme,
            name => Self::Header(HeaderName::new(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edits(remove: &[&str], set: &[(&str, &str)], add: &[(&str, &str)]) -> Edits {
        let list = |list: &[(&str, &str)]| {
            list.iter()
                .map(|(name, value)| (HeaderName::new(name), Template::compile(value).expect("a sound format")))
                .collect()
        };
        Edits { remove: remove.iter().map(|name| HeaderName::new(name)).collect(), set: list(set), add: list(add) }
    }

    #[test]
    fn templates() {
        let literal = |text: &str| Operator::Literal(text.as_bytes().into());
        let header = |name: &str| Field::Header(HeaderName::new(name));
        let req = |field, or, most| Operator::Request(Lookup { field, or, most });
        for (text, expected) in [
            ("", vec![]),
            ("plain", vec![literal("plain")]),
            ("100%%", vec![literal("100%")]),
            ("%%%%a%%", vec![literal("%%a%")]),
            ("%REQ(X-A)%", vec![req(header("x-a"), None, usize::MAX)]),
            ("%REQ(:PATH):3%", vec![req(Field::Path, None, 3)]),
            (
                "a %REQ(x?Host)% b",
                vec![literal("a "), req(header("x"), Some(Field::Authority), usize::MAX), literal(" b")],
            ),
            ("%PROTOCOL%%RESPONSE_CODE%", vec![Operator::Protocol, Operator::ResponseCode]),
            ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", vec![Operator::DownstreamRemote(AddressPart::WithoutPort)]),
        ] {
            let template = Template::compile(text).unwrap_or_else(|bad| panic!("{text:?} {bad}"));
            assert_eq!(template.operators(), expected, "{text:?}");
            assert_eq!(Template::compile(&template.to_string()), Ok(template.clone()), "{text:?} and back");
            assert_eq!(template.constant().is_some(), !text.replace("%%", "").contains('%'), "{text:?}");
        }
    }

    #[test]
    fn bad_templates() {
        for (text, expected) in [
            ("100%", BadTemplate::Unclosed),
            ("%", BadTemplate::Unclosed),
            ("%REQ(x%", BadTemplate::Unknown("REQ(x".to_owned())),
            ("%REQ()%", BadTemplate::Unknown("REQ()".to_owned())),
            ("%REQ(x):y%", BadTemplate::Unknown("REQ(x):y".to_owned())),
            ("%req(x)%", BadTemplate::Unknown("req(x)".to_owned())),
            ("50% of 100%", BadTemplate::Unknown(" of 100".to_owned())),
            ("%START_TIME(%s)%", BadTemplate::NotEnforced("START_TIME(%s)".to_owned())),
            ("a %START_TIME(%s.%3f)% b", BadTemplate::NotEnforced("START_TIME(%s.%3f)".to_owned())),
            ("%EMIT_TIME(%%)%", BadTemplate::NotEnforced("EMIT_TIME(%%)".to_owned())),
            ("%NOPE(%H:%M)%%PROTOCOL%", BadTemplate::Unknown("NOPE(%H:%M)".to_owned())),
            ("%START_TIME(%s)", BadTemplate::Unclosed),
            ("%DYNAMIC_METADATA(a:b)%", BadTemplate::NotEnforced("DYNAMIC_METADATA(a:b)".to_owned())),
        ] {
            assert_eq!(Template::compile(text), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn the_destination_goes_over_the_route() {
        let route =
            edits(&["gone", "both"], &[("a", "route"), ("b", "route")], &[("a", "more"), ("c", "route"), ("d", "x")]);
        let destination = edits(&["both", "also"], &[("a", "destination"), ("d", "only")], &[("c", "destination")]);
        let expected = edits(
            &["also", "both", "gone"],
            &[("b", "route"), ("a", "destination"), ("d", "only")],
            &[("c", "route"), ("c", "destination")],
        );
        assert_eq!(route.and_then(&destination), expected);
        assert_eq!(
            route.and_then(&Edits::default()),
            edits(&["both", "gone"], &[("a", "route"), ("b", "route")], &[("a", "more"), ("c", "route"), ("d", "x")])
        );
        assert!(HeaderEdits::default().and_then(&HeaderEdits::default()).is_empty());
    }

    #[test]
    fn names_in_any_case() {
        for (name, line, same) in [
            ("X-A", "x-a", true),
            ("x-a", "X-A", true),
            ("x-a", "x-b", false),
            ("x-envoy-a", "x-envoy-b", false),
            ("Date", "DATE", true),
        ] {
            assert_eq!(HeaderName::new(name).is(Known::of(line.as_bytes()), line.as_bytes()), same, "{name} {line}");
        }
    }
}
