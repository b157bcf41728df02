//! The access log's line: a format string compiled once to a list of operations, and the record it prints.
//!
//! Writing a line allocates nothing beyond the buffer it goes to. Whatever a client could have had a hand in is escaped:
//! no request can forge a field, a line, or a terminal's escape sequence (Envoy passes quotes through).

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use super::date;
use super::flags::Flags;

/// Istio's default text format (`pilot/pkg/model/telemetry_logging.go`).
pub const ISTIO_DEFAULT: &str = concat!(
    r#"[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% "#,
    r#"%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "#,
    r#""%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% "#,
    r#"%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "#,
    r#""%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% "#,
    "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n",
);

/// The header values that a format asks for, by name (any case).
pub trait Headers {
    /// A request header as it went upstream: `x-forwarded-for` with the peer appended, `x-request-id` the one in use.
    fn request(&self, name: &str) -> Option<&[u8]>;
    /// A response header as it went to the client.
    fn response(&self, name: &str) -> Option<&[u8]>;
}

/// No headers: for a request whose head could not be read.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHeaders;

impl Headers for NoHeaders {
    fn request(&self, _: &str) -> Option<&[u8]> {
        None
    }

    fn response(&self, _: &str) -> Option<&[u8]> {
        None
    }
}

/// All that is known of a request at its end. An empty text or slice means that there is none; the log shows `-`.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    /// When its first byte came.
    pub start: SystemTime,
    /// The method.
    pub method: &'a [u8],
    /// The request target as the client sent it, query included.
    pub path: &'a [u8],
    /// The host asked for.
    pub authority: &'a [u8],
    /// `HTTP/1.1` or `HTTP/1.0`.
    pub protocol: &'a str,
    /// The status sent to the client; 0 if none was.
    pub status: u16,
    /// Why it ended as it did.
    pub flags: Flags,
    /// Envoy's `RESPONSE_CODE_DETAILS`: `via_upstream`, `route_not_found`, …
    pub details: &'a str,
    /// Envoy's `CONNECTION_TERMINATION_DETAILS`.
    pub termination_details: &'a str,
    /// Envoy's `UPSTREAM_TRANSPORT_FAILURE_REASON`.
    pub transport_failure: &'a str,
    /// Bytes of the request's body.
    pub bytes_received: u64,
    /// Bytes of the response's body.
    pub bytes_sent: u64,
    /// First byte in to last byte out.
    pub duration: Duration,
    /// End of the request to the upstream's response head; `None` if the upstream did not answer.
    pub upstream_service_time: Option<Duration>,
    /// The endpoint picked last.
    pub upstream_host: Option<SocketAddr>,
    /// The cluster's name.
    pub upstream_cluster: &'a str,
    /// This side of the upstream connection.
    pub upstream_local: Option<SocketAddr>,
    /// This side of the client's connection.
    pub downstream_local: SocketAddr,
    /// The client's side of its connection.
    pub downstream_remote: SocketAddr,
    /// The TLS server name asked for.
    pub server_name: &'a str,
    /// The route's name.
    pub route_name: &'a str,
    /// Where other headers are looked up.
    pub headers: &'a dyn Headers,
}

impl std::fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut line = Vec::new();
        AccessLog::istio_default().line(&mut line, self);
        f.write_str(String::from_utf8_lossy(&line).trim_end())
    }
}

/// A compiled format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog(Vec<Op>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Op {
    Literal(String),
    StartTime,
    RequestHeader(Lookup),
    ResponseHeader(Lookup),
    ServiceTime,
    Protocol,
    Status,
    Flags,
    Details,
    TerminationDetails,
    TransportFailure,
    BytesReceived,
    BytesSent,
    Duration,
    UpstreamHost,
    UpstreamCluster,
    UpstreamLocal,
    DownstreamLocal,
    DownstreamRemote,
    DownstreamRemoteNoPort,
    ServerName,
    RouteName,
}

/// `NAME?OTHER` and length of a `%REQ(NAME?OTHER):LENGTH%` or `%RESP(…)%`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Lookup {
    field: Field,
    or: Option<Field>,
    /// Longer values are cut off here.
    most: usize,
}

/// What a header name of a format means: a part of the record, or a header (in lower case) that it looks up.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    Method,
    Path,
    Authority,
    Header(String),
}

/// The commands without arguments.
const COMMANDS: &[(&str, Op)] = &[
    ("START_TIME", Op::StartTime),
    ("PROTOCOL", Op::Protocol),
    ("RESPONSE_CODE", Op::Status),
    ("RESPONSE_FLAGS", Op::Flags),
    ("RESPONSE_CODE_DETAILS", Op::Details),
    ("CONNECTION_TERMINATION_DETAILS", Op::TerminationDetails),
    ("UPSTREAM_TRANSPORT_FAILURE_REASON", Op::TransportFailure),
    ("BYTES_RECEIVED", Op::BytesReceived),
    ("BYTES_SENT", Op::BytesSent),
    ("DURATION", Op::Duration),
    ("UPSTREAM_HOST", Op::UpstreamHost),
    ("UPSTREAM_CLUSTER", Op::UpstreamCluster),
    ("UPSTREAM_CLUSTER_RAW", Op::UpstreamCluster),
    ("UPSTREAM_LOCAL_ADDRESS", Op::UpstreamLocal),
    ("DOWNSTREAM_LOCAL_ADDRESS", Op::DownstreamLocal),
    ("DOWNSTREAM_REMOTE_ADDRESS", Op::DownstreamRemote),
    ("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", Op::DownstreamRemoteNoPort),
    ("REQUESTED_SERVER_NAME", Op::ServerName),
    ("ROUTE_NAME", Op::RouteName),
];

/// What is wrong with a format string.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// A `%` that begins nothing.
    #[error("`%` without a closing `%` in {0:?} (write `%%` for a percent sign)")]
    Unclosed(String),
    /// A command that Envoy may know and ringway does not.
    #[error("unknown command `%{0}%`{1}")]
    Unknown(String, String),
}

impl AccessLog {
    /// Istio's default text format.
    #[must_use]
    pub fn istio_default() -> Self {
        #[expect(clippy::expect_used, reason = "a constant; a test compiles it")]
        Self::compile(ISTIO_DEFAULT).expect("Istio's default format compiles")
    }

    /// The format of MeshConfig's `accessLogFormat`: Istio's default if it is empty, and with a newline at its end, which
    /// Istio adds where it is missing.
    ///
    /// # Errors
    /// As [`AccessLog::compile`].
    pub fn of_mesh_config(format: &str) -> Result<Self, FormatError> {
        match format {
            "" => Ok(Self::istio_default()),
            _ if format.ends_with('\n') => Self::compile(format),
            _ => Self::compile(&format!("{format}\n")),
        }
    }

    /// Compiles a format string of Envoy's syntax.
    ///
    /// # Errors
    /// If a command is not closed or not known.
    pub fn compile(format: &str) -> Result<Self, FormatError> {
        let (mut ops, mut literal, mut rest) = (Vec::new(), String::new(), format);
        while let Some((before, after)) = rest.split_once('%') {
            literal.push_str(before);
            if let Some(after) = after.strip_prefix('%') {
                literal.push('%');
                rest = after;
                continue;
            }
            let (command, after) = after.split_once('%').ok_or_else(|| FormatError::Unclosed(format!("%{after}")))?;
            if !literal.is_empty() {
                ops.push(Op::Literal(std::mem::take(&mut literal)));
            }
            ops.push(command_op(command)?);
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            ops.push(Op::Literal(literal));
        }
        Ok(Self(ops))
    }

    /// Appends the line of `record`.
    pub fn line(&self, out: &mut Vec<u8>, record: &Record<'_>) {
        for op in &self.0 {
            op.write(out, record);
        }
    }
}

fn command_op(command: &str) -> Result<Op, FormatError> {
    if let Some(lookup) = Lookup::of("REQ", command) {
        return Ok(Op::RequestHeader(lookup));
    }
    if let Some(lookup) = Lookup::of("RESP", command) {
        let service_time = lookup.field == Field::Header("x-envoy-upstream-service-time".to_owned());
        return Ok(if service_time { Op::ServiceTime } else { Op::ResponseHeader(lookup) });
    }
    if let Some((_, op)) = COMMANDS.iter().find(|(name, _)| *name == command) {
        return Ok(op.clone());
    }
    let nearest = COMMANDS.iter().map(|(name, _)| (strsim::levenshtein(name, command), *name)).min();
    let hint = match nearest {
        Some((distance, name)) if distance <= 3 => format!(", did you mean `%{name}%`?"),
        _ => String::new(),
    };
    Err(FormatError::Unknown(command.to_owned(), hint))
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
        let argument = argument.to_ascii_lowercase();
        let (name, or) = argument.split_once('?').map_or((argument.as_str(), None), |(name, or)| (name, Some(or)));
        (!name.is_empty()).then(|| Self { field: Field::of(name), or: or.map(Field::of), most })
    }

    fn write<'a>(&'a self, out: &mut Vec<u8>, get: impl Fn(&'a Field) -> Option<&'a [u8]>) {
        match get(&self.field).or_else(|| get(self.or.as_ref()?)) {
            Some(value) => escaped(out, value.get(..self.most).unwrap_or(value)),
            None => out.push(b'-'),
        }
    }
}

impl Field {
    fn of(name: &str) -> Self {
        match name {
            ":method" => Self::Method,
            // A client's own `x-envoy-original-path` is not trusted; the record's path is the original one.
            ":path" | "x-envoy-original-path" => Self::Path,
            ":authority" | "host" => Self::Authority,
            _ => Self::Header(name.to_owned()),
        }
    }

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

impl Op {
    fn write(&self, out: &mut Vec<u8>, record: &Record<'_>) {
        match self {
            Self::Literal(text) => out.extend_from_slice(text.as_bytes()),
            Self::StartTime => date::write_start_time(out, record.start),
            Self::RequestHeader(lookup) => lookup.write(out, |field| field.of_request(record)),
            Self::ResponseHeader(lookup) => lookup.write(out, |field| field.of_response(record)),
            Self::ServiceTime => match record.upstream_service_time {
                Some(time) => millis(out, time),
                None => out.push(b'-'),
            },
            Self::Protocol => text(out, record.protocol.as_bytes()),
            Self::Status => number(out, u64::from(record.status)),
            Self::Flags => record.flags.write(out),
            Self::Details => reason(out, record.details),
            Self::TerminationDetails => reason(out, record.termination_details),
            Self::TransportFailure => reason(out, record.transport_failure),
            Self::BytesReceived => number(out, record.bytes_received),
            Self::BytesSent => number(out, record.bytes_sent),
            Self::Duration => millis(out, record.duration),
            Self::UpstreamHost => address(out, record.upstream_host),
            Self::UpstreamCluster => text(out, record.upstream_cluster.as_bytes()),
            Self::UpstreamLocal => address(out, record.upstream_local),
            Self::DownstreamLocal => address(out, Some(record.downstream_local)),
            Self::DownstreamRemote => address(out, Some(record.downstream_remote)),
            Self::DownstreamRemoteNoPort => ip(out, record.downstream_remote.ip()),
            Self::ServerName => text(out, record.server_name.as_bytes()),
            Self::RouteName => text(out, record.route_name.as_bytes()),
        }
    }
}

fn number(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn millis(out: &mut Vec<u8>, time: Duration) {
    number(out, u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
}

fn address(out: &mut Vec<u8>, address: Option<SocketAddr>) {
    match address {
        Some(address) => {
            if address.is_ipv6() {
                out.push(b'[');
            }
            ip(out, address.ip());
            if address.is_ipv6() {
                out.push(b']');
            }
            out.push(b':');
            number(out, u64::from(address.port()));
        }
        None => out.push(b'-'),
    }
}

/// IPv4 by hand: four addresses a line through `fmt` would be half of its cost.
fn ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            for (index, octet) in ip.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                number(out, u64::from(octet));
            }
        }
        IpAddr::V6(ip) => {
            let _ = write!(out, "{ip}"); // a Vec takes every write
        }
    }
}

/// A reason is one word in Envoy's log, so that the fields stay apart.
fn reason(out: &mut Vec<u8>, words: &str) {
    let start = out.len();
    text(out, words.as_bytes());
    out.iter_mut().skip(start).filter(|byte| **byte == b' ').for_each(|byte| *byte = b'_');
}

fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.is_empty() { out.push(b'-') } else { escaped(out, bytes) }
}

/// Appends `bytes` with everything but printable ASCII, the quote and the backslash as `\xNN` (nginx's form).
fn escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    // Nearly no text needs it, and a look at all bytes without an early end runs sixteen of them at a time.
    if !bytes.iter().fold(false, |odd, &byte| odd | is_odd(byte)) {
        return out.extend_from_slice(bytes);
    }
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        if is_odd(byte) {
            out.extend_from_slice(&[b'\\', b'x', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        } else {
            out.push(byte);
        }
    }
}

fn is_odd(byte: u8) -> bool {
    !(b' '..=b'~').contains(&byte) | (byte == b'"') | (byte == b'\\')
}

#[cfg(test)]
mod tests;
