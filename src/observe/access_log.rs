//! The access log's line, as text or as JSON: a format compiled once to a list of steps, and the record it prints.
//!
//! `format` reads MeshConfig's formats, `operator` knows Envoy's operators, `time` the formats of times, `out` how a
//! value is written. Writing a line allocates nothing beyond the buffer it goes to. All text that a client can
//! influence is escaped: no request can forge a field, a line, or a terminal's escape sequence (Envoy passes quotes
//! through).

mod format;
mod format_error;
mod operator;
mod out;
mod time;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use format::FormatStep;
use operator::Op;
use out::Out;

use super::flags::Flags;
use crate::base::endpoint::EndpointAddress;
pub use format_error::FormatError;

/// Istio's default text format (`pilot/pkg/model/telemetry_logging.go`).
pub const ISTIO_DEFAULT: &str = concat!(
    r#"[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% "#,
    r#"%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "#,
    r#""%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% "#,
    r#"%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "#,
    r#""%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% "#,
    "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n",
);

/// Istio's default JSON format (`EnvoyJSONLogFormatIstio` of the same file).
pub const ISTIO_DEFAULT_JSON: &str = r#"{
    "start_time": "%START_TIME%",
    "route_name": "%ROUTE_NAME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%"
}"#;

/// The header that says how long the upstream took; the record knows it.
const SERVICE_TIME: &str = "x-envoy-upstream-service-time";

/// The header values that a format asks for, by name (any case).
pub trait Headers {
    /// A request header as it went upstream: `x-forwarded-for` with the peer appended, `x-request-id` the one in use,
    /// `x-envoy-original-path` the client's path where it was rewritten. `:scheme` is how the client reached the proxy.
    fn request(&self, name: &str) -> Option<&[u8]>;
    /// A response header as it went to the client; only called for those of [`AccessLog::response_headers`] and for
    /// `x-envoy-upstream-service-time`.
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

/// A request at its end, for the log. An empty text or slice means that there is no value; the log shows `-`.
#[derive(Clone)]
pub struct Record<'a> {
    /// When its first byte came.
    pub start: SystemTime,
    /// The method.
    pub method: &'a [u8],
    /// The request target as it went upstream, query included.
    pub path: &'a [u8],
    /// The requested host, as it went upstream.
    pub authority: &'a [u8],
    /// `HTTP/1.1` or `HTTP/1.0`.
    pub protocol: &'a str,
    /// The status sent to the client; 0 if none was.
    pub status: u16,
    /// Why it ended as it did.
    pub flags: Flags,
    /// Envoy's `RESPONSE_CODE_DETAILS`: `via_upstream`, `route_not_found`, …
    pub details: &'a str,
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
    pub upstream_host: Option<EndpointAddress>,
    /// The cluster's name.
    pub upstream_cluster: &'a str,
    /// Whether there was a connection to it.
    pub upstream_connected: bool,
    /// This side of the upstream connection, if it has an address.
    pub upstream_local: Option<SocketAddr>,
    /// This side of the client's connection.
    pub downstream_local: SocketAddr,
    /// The client's side of its connection.
    pub downstream_remote: SocketAddr,
    /// The requested TLS server name (SNI).
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
pub struct AccessLog(Vec<FormatStep>);

impl AccessLog {
    /// Istio's default text format.
    #[must_use]
    pub fn istio_default() -> Self {
        #[expect(clippy::expect_used, reason = "a constant; a test compiles it")]
        Self::compile(ISTIO_DEFAULT).expect("Istio's default format compiles")
    }

    /// The format of MeshConfig's `accessLogFormat` with `accessLogEncoding: TEXT`: Istio's default if it is empty, and
    /// with a newline at its end, which Istio adds where it is missing.
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

    /// The format of MeshConfig's `accessLogFormat` with `accessLogEncoding: JSON`: an object of names and format
    /// strings, also nested, and Istio's default ([`ISTIO_DEFAULT_JSON`]) if it is empty.
    ///
    /// A string that is a single operator is written with the operator's own type: a number, a string, or `null` if
    /// there is no value.
    ///
    /// # Errors If it is not a JSON object, or as [`AccessLog::compile`] for one of its strings.
    pub fn json_of_mesh_config(format: &str) -> Result<Self, FormatError> {
        format::json_steps(if format.is_empty() { ISTIO_DEFAULT_JSON } else { format }).map(Self)
    }

    /// Compiles a format string of Envoy's syntax to lines of text.
    ///
    /// # Errors
    /// If an operator is not closed, not known, or not enforced.
    pub fn compile(format: &str) -> Result<Self, FormatError> {
        format::text_steps(format).map(Self)
    }

    /// The response headers that the format uses, through [`Headers::response`], in lower case, each once. The service
    /// time is not among them: the record has it. Mostly empty, so that responses need not be kept for the log.
    #[must_use]
    pub fn response_headers(&self) -> Vec<&str> {
        let shown = self.0.iter().filter_map(|step| if let FormatStep::Show(_, op) = step { Some(op) } else { None });
        let mut names: Vec<&str> = shown.flat_map(Op::response_headers).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Appends the line of `record`.
    pub fn line(&self, out: &mut Vec<u8>, record: &Record<'_>) {
        for step in &self.0 {
            match step {
                FormatStep::Literal(text) => out.extend_from_slice(text.as_bytes()),
                FormatStep::Show(style, op) => op.write(Out::new(out, *style), record),
            }
        }
    }
}

#[cfg(test)]
mod tests;
