//! The operators of a format (`%RESPONSE_CODE%`, `%REQ(USER-AGENT):20%`, …): the list of them, and each one's value in a
//! record.

use super::out::{self, Out};
use super::time::TimeFormat;
use super::{FormatError, Record, SERVICE_TIME};
use crate::base::endpoint::EndpointAddress;
use crate::observe::date;

/// An operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Op {
    /// Known when the format is compiled.
    Constant(String),
    StartTime,
    StartTimeAs(TimeFormat),
    EmitTime,
    EmitTimeAs(TimeFormat),
    RequestHeader(Lookup),
    RequestHeaderWithoutQuery(Lookup),
    ResponseHeader(Lookup),
    QueryParameter {
        name: String,
        most: usize,
    },
    StatusHeader,
    ServiceTime,
    Protocol,
    UpstreamProtocol,
    Status,
    Flags,
    LongFlags,
    Details,
    TerminationDetails,
    TransportFailure,
    BytesReceived,
    BytesSent,
    Duration,
    UpstreamHost,
    UpstreamCluster,
    UpstreamRemote(Part),
    UpstreamLocal(Part),
    DownstreamLocal(Part),
    DownstreamRemote(Part),
    ServerName,
    RouteName,
}

/// Which part of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    Ip,
    Port,
}

/// The operators without arguments.
const OPERATORS: &[(&str, Op)] = &[
    ("START_TIME", Op::StartTime),
    ("EMIT_TIME", Op::EmitTime),
    ("PROTOCOL", Op::Protocol),
    ("RESPONSE_CODE", Op::Status),
    ("RESPONSE_FLAGS", Op::Flags),
    ("RESPONSE_FLAGS_LONG", Op::LongFlags),
    ("RESPONSE_CODE_DETAILS", Op::Details),
    ("CONNECTION_TERMINATION_DETAILS", Op::TerminationDetails),
    ("BYTES_RECEIVED", Op::BytesReceived),
    ("BYTES_SENT", Op::BytesSent),
    ("DURATION", Op::Duration),
    ("UPSTREAM_HOST", Op::UpstreamHost),
    ("UPSTREAM_CLUSTER", Op::UpstreamCluster),
    ("UPSTREAM_CLUSTER_RAW", Op::UpstreamCluster),
    ("UPSTREAM_PROTOCOL", Op::UpstreamProtocol),
    ("UPSTREAM_TRANSPORT_FAILURE_REASON", Op::TransportFailure),
    ("UPSTREAM_REMOTE_ADDRESS", Op::UpstreamRemote(Part::Whole)),
    ("UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", Op::UpstreamRemote(Part::Ip)),
    ("UPSTREAM_REMOTE_PORT", Op::UpstreamRemote(Part::Port)),
    ("UPSTREAM_LOCAL_ADDRESS", Op::UpstreamLocal(Part::Whole)),
    ("UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", Op::UpstreamLocal(Part::Ip)),
    ("UPSTREAM_LOCAL_PORT", Op::UpstreamLocal(Part::Port)),
    ("DOWNSTREAM_LOCAL_ADDRESS", Op::DownstreamLocal(Part::Whole)),
    ("DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", Op::DownstreamLocal(Part::Ip)),
    ("DOWNSTREAM_LOCAL_PORT", Op::DownstreamLocal(Part::Port)),
    ("DOWNSTREAM_REMOTE_ADDRESS", Op::DownstreamRemote(Part::Whole)),
    ("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", Op::DownstreamRemote(Part::Ip)),
    ("DOWNSTREAM_REMOTE_PORT", Op::DownstreamRemote(Part::Port)),
    ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS", Op::DownstreamRemote(Part::Whole)),
    ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", Op::DownstreamRemote(Part::Ip)),
    ("DOWNSTREAM_DIRECT_REMOTE_PORT", Op::DownstreamRemote(Part::Port)),
    ("REQUESTED_SERVER_NAME", Op::ServerName),
    ("ROUTE_NAME", Op::RouteName),
];

/// The operators with arguments, and the form of these.
const WITH_ARGUMENTS: &[(&str, &str)] = &[
    ("REQ", "%REQ(NAME?OTHER):LENGTH%"),
    ("REQ_WITHOUT_QUERY", "%REQ_WITHOUT_QUERY(NAME?OTHER):LENGTH%"),
    ("RESP", "%RESP(NAME?OTHER):LENGTH%"),
    ("PATH", "%PATH(WQ|NQ:ORIG|PATH|ORIG_OR_PATH):LENGTH%"),
    ("QUERY_PARAM", "%QUERY_PARAM(NAME):LENGTH%"),
];

/// The operators of Envoy 1.40 that ringway has no value for. Entries that end with `_` are prefixes.
const NOT_ENFORCED: &[&str] = &[
    "BYTES_RETRANSMITTED",
    "CEL",
    "CLUSTER_METADATA",
    "COMMON_DURATION",
    "CONNECTION_ID",
    "CUSTOM_FLAGS",
    "DOWNSTREAM_DETECTED_CLOSE_TYPE",
    "DOWNSTREAM_HANDSHAKE_DURATION",
    "DOWNSTREAM_HEADER_BYTES_",
    "DOWNSTREAM_LOCAL_CLOSE_REASON",
    "DOWNSTREAM_LOCAL_DNS_SAN",
    "DOWNSTREAM_LOCAL_EMAIL_SAN",
    "DOWNSTREAM_LOCAL_IP_SAN",
    "DOWNSTREAM_LOCAL_OTHERNAME_SAN",
    "DOWNSTREAM_LOCAL_SUBJECT",
    "DOWNSTREAM_LOCAL_URI_SAN",
    "DOWNSTREAM_PEER_",
    "DOWNSTREAM_TLS_",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    "DOWNSTREAM_WIRE_BYTES_",
    "DYNAMIC_METADATA",
    "EMIT_TIME_LOCAL",
    "ENVIRONMENT",
    "FILTER_CHAIN_NAME",
    "FILTER_STATE",
    "GRPC_STATUS",
    "GRPC_STATUS_NUMBER",
    "LOCAL_REPLY_BODY",
    "METADATA",
    "PACKETS_RETRANSMITTED",
    "QUERY_PARAMS",
    "REQUEST_DURATION",
    "REQUEST_HEADERS_BYTES",
    "REQUEST_TX_DURATION",
    "RESPONSE_DURATION",
    "RESPONSE_HEADERS_BYTES",
    "RESPONSE_TRAILERS_BYTES",
    "RESPONSE_TX_DURATION",
    "ROUNDTRIP_DURATION",
    "SPAN_ID",
    "START_TIME_LOCAL",
    "STREAM_ID",
    "TLS_JA3_FINGERPRINT",
    "TLS_JA4_FINGERPRINT",
    "TRACE_ID",
    "TRAILER",
    "UNIQUE_ID",
    "UPSTREAM_CONNECTION_ID",
    "UPSTREAM_CONNECTION_POOL_READY_DURATION",
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_",
    "UPSTREAM_DETECTED_CLOSE_TYPE",
    "UPSTREAM_FILTER_STATE",
    "UPSTREAM_HEADER_BYTES_",
    "UPSTREAM_HOST_NAME",
    "UPSTREAM_HOST_NAME_WITHOUT_PORT",
    "UPSTREAM_HOSTS_ATTEMPTED",
    "UPSTREAM_LOCAL_CLOSE_REASON",
    "UPSTREAM_LOCAL_DNS_SAN",
    "UPSTREAM_LOCAL_SUBJECT",
    "UPSTREAM_LOCAL_URI_SAN",
    "UPSTREAM_METADATA",
    "UPSTREAM_PEER_",
    "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    "UPSTREAM_TLS_",
    "UPSTREAM_WIRE_BYTES_",
    "VIRTUAL_CLUSTER_NAME",
];

/// One `%NAME(ARGUMENT):LENGTH%` of a format, taken apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Command<'a> {
    /// All that is between the percent signs.
    pub(super) text: &'a str,
    pub(super) name: &'a str,
    pub(super) argument: Option<&'a str>,
    pub(super) length: Option<usize>,
}

impl Command<'_> {
    /// The operator that it names.
    ///
    /// # Errors
    /// If there is none, or it does not take these arguments.
    pub(super) fn compile(&self) -> Result<Op, FormatError> {
        match (self.name, self.argument, self.length) {
            ("REQ", Some(argument), most) => Ok(Op::RequestHeader(self.request(argument, most)?)),
            ("REQ_WITHOUT_QUERY", Some(argument), most) => {
                Ok(Op::RequestHeaderWithoutQuery(self.request(argument, most)?))
            }
            ("RESP", Some(argument), most) => self.response(argument, most),
            ("PATH", argument, most) => self.path(argument.unwrap_or_default(), most),
            ("QUERY_PARAM", Some(name), most) if !name.is_empty() => {
                Ok(Op::QueryParameter { name: name.to_owned(), most: most.unwrap_or(usize::MAX) })
            }
            ("START_TIME", Some(format), None) if !format.is_empty() => Ok(Op::StartTimeAs(self.time(format)?)),
            ("EMIT_TIME", Some(format), None) if !format.is_empty() => Ok(Op::EmitTimeAs(self.time(format)?)),
            ("START_TIME" | "EMIT_TIME", Some(_), None) => self.plain(),
            ("HOSTNAME", None, None) => Ok(Op::Constant(host_name())),
            // The only kind of line there is.
            ("ACCESS_LOG_TYPE", None, None) => Ok(Op::Constant("DownstreamEnd".to_owned())),
            (_, None, None) => self.plain(),
            _ => Err(self.refusal()),
        }
    }

    fn plain(&self) -> Result<Op, FormatError> {
        let found = OPERATORS.iter().find(|(name, _)| *name == self.name);
        found.map(|(_, op)| op.clone()).ok_or_else(|| self.refusal())
    }

    /// The error for an unknown operator.
    fn refusal(&self) -> FormatError {
        let known = |name: &&str| self.name == *name || (name.ends_with('_') && self.name.starts_with(*name));
        if let Some((_, form)) = WITH_ARGUMENTS.iter().find(|(name, _)| *name == self.name) {
            return self.wrong(&format!("write `{form}`"));
        }
        if OPERATORS.iter().any(|(name, _)| *name == self.name) || ["HOSTNAME", "ACCESS_LOG_TYPE"].contains(&self.name)
        {
            return self.wrong("it takes no argument and no length");
        }
        if NOT_ENFORCED.iter().any(known) {
            return FormatError::NotEnforced(self.text.to_owned());
        }
        let names = OPERATORS.iter().map(|(name, _)| *name).chain(WITH_ARGUMENTS.iter().map(|(name, _)| *name));
        let nearest = names.map(|name| (strsim::levenshtein(name, self.name), name)).min();
        let hint = match nearest {
            // Short names are near to everything.
            Some((distance, name)) if distance <= 3 && distance < name.len() / 2 => format!(", did you mean `{name}`?"),
            _ => String::new(),
        };
        FormatError::Unknown(self.text.to_owned(), hint)
    }

    fn wrong(&self, why: &str) -> FormatError {
        FormatError::Argument(self.text.to_owned(), why.to_owned())
    }

    fn time(&self, format: &str) -> Result<TimeFormat, FormatError> {
        TimeFormat::compile(format).map_err(|conversion| self.wrong(&format!("`{conversion}` is not known")))
    }

    fn request(&self, argument: &str, most: Option<usize>) -> Result<Lookup, FormatError> {
        self.lookup(argument, most, |name| match name {
            ":method" => Some(Field::Method),
            ":path" => Some(Field::Path),
            ":authority" | "host" => Some(Field::Authority),
            ":scheme" => Some(Field::Header(name.to_owned())),
            _ => None,
        })
    }

    fn response(&self, argument: &str, most: Option<usize>) -> Result<Op, FormatError> {
        let lookup = self.lookup(argument, most, |name| (name == ":status").then(|| Field::Header(name.to_owned())))?;
        match (&lookup.field, &lookup.or, most) {
            (Field::Header(name), None, None) if name == ":status" => Ok(Op::StatusHeader),
            (Field::Header(name), None, None) if name == SERVICE_TIME => Ok(Op::ServiceTime),
            (Field::Header(name), _, _) if name == ":status" => Err(self.wrong("write `%RESPONSE_CODE%`")),
            (_, Some(Field::Header(name)), _) if name == ":status" => Err(self.wrong("write `%RESPONSE_CODE%`")),
            _ => Ok(Op::ResponseHeader(lookup)),
        }
    }

    /// Reads `NAME?OTHER`; `special` knows the names that are not headers.
    fn lookup(
        &self,
        argument: &str,
        most: Option<usize>,
        special: impl Fn(&str) -> Option<Field>,
    ) -> Result<Lookup, FormatError> {
        let argument = argument.to_ascii_lowercase();
        let field = |name: &str| match special(name) {
            Some(field) => Ok(field),
            None if !name.is_empty() && name.bytes().all(is_token) => Ok(Field::Header(name.to_owned())),
            None => Err(self.wrong(&format!("`{name}` is no header name"))),
        };
        let (name, or) = match argument.split_once('?') {
            Some((_, rest)) if rest.contains('?') => return Err(self.wrong("there can be one other name only")),
            Some((name, or)) => (name, Some(field(or)?)),
            None => (argument.as_str(), None),
        };
        Ok(Lookup { field: field(name)?, or, most: most.unwrap_or(usize::MAX) })
    }

    /// `%PATH(QUERY:WHICH)%`: with the query (`WQ`, the default) or without (`NQ`); the path sent upstream (`PATH`), the
    /// client's if that is another one (`ORIG`), or the client's in any case (the default).
    fn path(&self, argument: &str, most: Option<usize>) -> Result<Op, FormatError> {
        let (query, which) = argument.split_once(':').unwrap_or((argument, ""));
        let original = || Field::Header("x-envoy-original-path".to_owned());
        let (field, or) = match which {
            "" | "ORIG_OR_PATH" => (original(), Some(Field::Path)),
            "ORIG" => (original(), None),
            "PATH" => (Field::Path, None),
            _ => return Err(self.refusal()),
        };
        let lookup = Lookup { field, or, most: most.unwrap_or(usize::MAX) };
        match query {
            "" | "WQ" => Ok(Op::RequestHeader(lookup)),
            "NQ" => Ok(Op::RequestHeaderWithoutQuery(lookup)),
            _ => Err(self.refusal()),
        }
    }
}

/// RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// This host's name, as `%HOSTNAME%` shows it; `-` if it cannot be told.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "-".to_owned(),
        name => name.to_owned(),
    }
}

/// The argument of a `%REQ(NAME?OTHER):LENGTH%` or `%RESP(…)%`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lookup {
    pub(super) field: Field,
    pub(super) or: Option<Field>,
    /// Longer values are cut off here.
    most: usize,
}

/// The meaning of a header name in a format: a part of the record, or a header (in lower case) that it looks up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Field {
    Method,
    Path,
    Authority,
    Header(String),
}

impl Lookup {
    #[inline]
    fn write<'a>(&'a self, out: Out<'_>, get: impl Fn(&'a Field) -> Option<&'a [u8]>, part: fn(&[u8]) -> &[u8]) {
        match get(&self.field).or_else(|| get(self.or.as_ref()?)).map(part) {
            Some(value) => out.bytes(value.get(..self.most).unwrap_or(value)),
            None => out.missing(),
        }
    }
}

impl Field {
    fn of_request<'a>(&self, record: &Record<'a>) -> Option<&'a [u8]> {
        let known = match self {
            Self::Method => record.method,
            Self::Path => record.path,
            Self::Authority => record.authority,
            Self::Header(name) => return record.headers.request(name),
        };
        Some(known).filter(|known| !known.is_empty())
    }

    fn of_response<'a>(&self, record: &Record<'a>) -> Option<&'a [u8]> {
        match self {
            Self::Header(name) => record.headers.response(name),
            Self::Method | Self::Path | Self::Authority => None,
        }
    }
}

fn whole(value: &[u8]) -> &[u8] {
    value
}

fn without_query(value: &[u8]) -> &[u8] {
    value.split(|byte| *byte == b'?').next().unwrap_or_default()
}

/// The value of the first parameter of that name, as sent.
fn query_parameter<'a>(path: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let at = path.iter().position(|byte| *byte == b'?')?;
    let query = path.get(at + 1..)?.split(|byte| *byte == b'#').next()?;
    query.split(|byte| *byte == b'&').find_map(|pair| match pair.strip_prefix(name.as_bytes())? {
        [] => Some(&[][..]),
        [b'=', value @ ..] => Some(value),
        _ => None,
    })
}

impl Op {
    /// The response headers that it looks up.
    pub(super) fn response_headers(&self) -> impl Iterator<Item = &str> {
        let lookup = if let Self::ResponseHeader(lookup) = self { Some(lookup) } else { None };
        lookup.into_iter().flat_map(|lookup| [Some(&lookup.field), lookup.or.as_ref()]).flatten().filter_map(|field| {
            match field {
                Field::Header(name) if name != SERVICE_TIME => Some(name.as_str()),
                _ => None,
            }
        })
    }

    /// The same, to be written inside a JSON string.
    pub(super) fn in_json(self) -> Self {
        match self {
            Self::StartTimeAs(format) => Self::StartTimeAs(format.in_json()),
            Self::EmitTimeAs(format) => Self::EmitTimeAs(format.in_json()),
            other => other,
        }
    }

    pub(super) fn write(&self, out: Out<'_>, record: &Record<'_>) {
        match self {
            Self::Constant(text) => out.bytes(text.as_bytes()),
            Self::StartTime => out.plain(|out| date::write_start_time(out, record.start)),
            Self::StartTimeAs(format) => out.plain(|out| format.write(out, record.start)),
            Self::EmitTime => out.plain(|out| date::write_start_time(out, record.start + record.duration)),
            Self::EmitTimeAs(format) => out.plain(|out| format.write(out, record.start + record.duration)),
            Self::RequestHeader(lookup) => lookup.write(out, |field| field.of_request(record), whole),
            Self::RequestHeaderWithoutQuery(lookup) => {
                lookup.write(out, |field| field.of_request(record), without_query);
            }
            Self::ResponseHeader(lookup) => lookup.write(out, |field| field.of_response(record), whole),
            Self::QueryParameter { name, most } => {
                match Field::Path.of_request(record).and_then(|path| query_parameter(path, name)) {
                    Some(value) => out.bytes(value.get(..*most).unwrap_or(value)),
                    None => out.missing(),
                }
            }
            // The value of a header: a text, also in JSON.
            Self::StatusHeader if record.status == 0 => out.missing(),
            Self::StatusHeader => out.plain(|out| out::number(out, u64::from(record.status))),
            Self::ServiceTime => match record.upstream_service_time {
                Some(time) => out.plain(|out| out::number(out, out::millis(time))),
                None => out.missing(),
            },
            Self::Protocol => out.known(record.protocol.as_bytes()),
            // Upstream connections speak HTTP/1.1 only.
            Self::UpstreamProtocol => out.known(if record.upstream_connected { b"HTTP/1.1" } else { b"" }),
            Self::Status => out.number(u64::from(record.status)),
            Self::Flags => out.plain(|out| record.flags.write(out)),
            Self::LongFlags => out.plain(|out| record.flags.write_long(out)),
            Self::Details => out.reason(record.details),
            // Envoy's reasons are those of its network filters and of client certificates.
            Self::TerminationDetails => out.reason(""),
            Self::TransportFailure => out.reason(record.transport_failure),
            Self::BytesReceived => out.number(record.bytes_received),
            Self::BytesSent => out.number(record.bytes_sent),
            Self::Duration => out.millis(record.duration),
            Self::UpstreamHost => Part::Whole.write_endpoint(out, record.upstream_host.as_ref()),
            Self::UpstreamCluster => out.known(record.upstream_cluster.as_bytes()),
            // Connected to, not merely picked.
            Self::UpstreamRemote(part) => {
                part.write_endpoint(out, record.upstream_host.as_ref().filter(|_| record.upstream_connected));
            }
            Self::UpstreamLocal(part) => part.write(out, record.upstream_local),
            Self::DownstreamLocal(part) => part.write(out, Some(record.downstream_local)),
            Self::DownstreamRemote(part) => part.write(out, Some(record.downstream_remote)),
            Self::ServerName => out.known(record.server_name.as_bytes()),
            Self::RouteName => out.known(record.route_name.as_bytes()),
        }
    }
}

impl Part {
    fn write(self, out: Out<'_>, address: Option<std::net::SocketAddr>) {
        match self {
            Self::Whole => out.address(address),
            Self::Ip => out.ip(address),
            Self::Port => out.port(address),
        }
    }

    fn write_endpoint(self, out: Out<'_>, address: Option<&EndpointAddress>) {
        match (self, address) {
            (_, None) => out.missing(),
            (_, Some(EndpointAddress::Ip(address))) => self.write(out, Some(*address)),
            (Self::Whole | Self::Ip, Some(EndpointAddress::Unix(path))) => out.bytes(path.as_bytes()),
            (Self::Port, Some(EndpointAddress::Unix(_))) => out.nothing(),
        }
    }
}
