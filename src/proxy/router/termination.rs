//! How a request can end, and the local reply: one function maps each termination to a status, a body, a response
//! flag and the details for the log.

use std::borrow::Cow;
use std::io;

use crate::base::endpoint::EndpointAddress;
use crate::http::error::ProtocolError;
use crate::io::TlsFailure;
use crate::observe::flags::Flags;
use crate::policy::fault::AbortWith;
use crate::upstream::{ConnectError, HeadError, NoConnection, Refusal, tls_error};

/// Every way in which a request can end.
#[derive(Debug)]
pub(crate) enum Termination {
    /// The upstream's response went to the client, whole.
    Answered,
    /// No virtual host or route: 404 NR.
    NotFound,
    /// A connection that no rule of its gateway takes: NR, and it is closed.
    NoFilterChain,
    /// `OPTIONS *`: 404.
    NoPath,
    /// The route's cluster does not exist: 503 NC.
    NoCluster,
    /// The cluster has no endpoint to choose: 503 UH.
    NoEndpoint,
    /// A circuit breaker refused the request: 503 UO.
    Overflow,
    /// No connection could be made: 503 UF.
    ConnectFailed(Box<Refusal>),
    /// No connection within the connect timeout: 503 UF.
    ConnectTimedOut,
    /// The connection could not be secured: 503 UF.
    TlsFailed(Box<TlsFailure>),
    /// The upstream ended the connection before its response began: 503 UC.
    UpstreamReset,
    /// The same, and before that it said why, or broke TLS: 503 UC.
    TlsBroke(Box<TlsFailure>),
    /// The upstream did not speak HTTP/1: 502 UPE.
    UpstreamProtocol,
    /// The upstream ended the connection inside its response.
    UpstreamCut,
    /// The upstream's chunks were malformed after its response had begun.
    UpstreamCorrupt,
    /// The route's timeout passed: 504 UT.
    RequestTimedOut,
    /// The last attempt's timeout passed: 504 UT.
    TryTimedOut,
    /// A fault answers in the upstream's stead: FI.
    FaultAborted(AbortWith),
    /// The client's message was malformed.
    BadRequest(ProtocolError),
    /// The head did not arrive within `headersTimeout`: 408.
    HeadTimedOut,
    /// The body stalled for longer than `bodyTimeout`: 408.
    BodyTimedOut,
    /// An upgrade to something that is not tunnelled: 403.
    UpgradeRefused,
    /// The host of a request that goes wherever it says could not be resolved: 503 DF.
    Unresolved,
    /// It is this proxy itself: 502.
    Circular,
    /// It is an address of this host or its link, which the listener does not lend: 403.
    LocalTarget,
    /// The request came through this process too often already, this time included: 508.
    GoesRound(u32),
    /// Its host is undeclared, and only declared ones are allowed: 502, as `block_all` answers.
    Blocked,
    /// The client left before its answer was complete.
    ClientGone,
}

/// The log's details of a termination, and the client's response if none was sent yet.
#[derive(Debug)]
pub(crate) struct TerminationReply {
    /// The status of a local reply; 0 if none can be sent any more.
    pub(crate) status: u16,
    /// Its body.
    pub(crate) body: Cow<'static, str>,
    /// The response flag.
    pub(crate) flags: Flags,
    /// RESPONSE_CODE_DETAILS.
    pub(crate) details: Cow<'static, str>,
    /// UPSTREAM_TRANSPORT_FAILURE_REASON, or "".
    pub(crate) transport_failure: Cow<'static, str>,
}

impl From<HeadError> for Termination {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::Reset => Self::UpstreamReset,
            HeadError::Cut | HeadError::Bad(_) => Self::UpstreamProtocol,
        }
    }
}

impl From<ConnectError> for Termination {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Failed(refusal) => Self::ConnectFailed(refusal),
            ConnectError::TimedOut => Self::ConnectTimedOut,
            ConnectError::Tls(failure) => Self::TlsFailed(failure),
        }
    }
}

impl From<NoConnection> for Termination {
    fn from(none: NoConnection) -> Self {
        match none {
            NoConnection::Overflow => Self::Overflow,
            NoConnection::Connect(error) => error.into(),
        }
    }
}

/// The body of every answer to a request that took too long.
const TOO_LATE: &str = "upstream request timeout";

impl Termination {
    /// The local reply, as in Envoy. `retried`: whether this was the end of a retry.
    pub(crate) fn local_reply(&self, retried: bool) -> TerminationReply {
        let reset = |status, reason, flags| reset(status, reason, flags, retried);
        let plain = |status, body: &'static str, flags, details: &'static str| TerminationReply {
            status,
            body: body.into(),
            flags,
            details: details.into(),
            transport_failure: "".into(),
        };
        match self {
            Self::Answered => plain(200, "", Flags::NONE, "via_upstream"),
            Self::NotFound => plain(404, "", Flags::NR, "route_not_found"),
            Self::NoFilterChain => plain(0, "", Flags::NR, "filter_chain_not_found"),
            Self::NoPath => plain(404, "", Flags::NONE, "absolute_path_rejected"),
            Self::NoCluster => plain(503, "", Flags::NC, "cluster_not_found"),
            Self::NoEndpoint => plain(503, "no healthy upstream", Flags::UH, "no_healthy_upstream"),
            Self::ConnectFailed(refusal) => no_connection(connect_error(refusal), retried),
            Self::Overflow => reset(503, "overflow", Flags::UO),
            Self::TlsFailed(failure) => no_connection(tls_error(failure), retried),
            Self::ConnectTimedOut => reset(503, "connection timeout", Flags::UF),
            Self::UpstreamReset => reset(503, "connection termination", Flags::UC),
            Self::TlsBroke(failure) => {
                because(reset(503, "connection termination", Flags::UC), "connection_termination", tls_error(failure))
            }
            Self::UpstreamProtocol => reset(502, "protocol error", Flags::UPE),
            Self::UpstreamCut | Self::UpstreamCorrupt => {
                plain(0, "", Flags::UPE, "upstream_reset_after_response_started{protocol_error}")
            }
            Self::RequestTimedOut => plain(504, TOO_LATE, Flags::UT, "response_timeout"),
            Self::TryTimedOut => plain(504, TOO_LATE, Flags::UT, "upstream_per_try_timeout"),
            Self::FaultAborted(with) => {
                let status = match with {
                    AbortWith::Status(status) => *status,
                    AbortWith::Grpc(_) => 200,
                };
                plain(status, "fault filter abort", Flags::FI, "fault_filter_abort")
            }
            Self::BadRequest(bad) => {
                let flags = if bad.is_protocol_error() { Flags::DPE } else { Flags::NONE };
                plain(bad.status(), bad.body(), flags, bad.details())
            }
            Self::HeadTimedOut => plain(408, "request timeout", Flags::NONE, "request_header_timeout"),
            Self::BodyTimedOut => plain(408, "stream timeout", Flags::SI, "stream_idle_timeout"),
            Self::UpgradeRefused => plain(403, "", Flags::NONE, "upgrade_failed"),
            Self::Unresolved => plain(503, "DNS resolution failure", Flags::DF, "dns_resolution_failure"),
            Self::Circular => plain(
                502,
                "the host of this request is the proxy that was to send it there",
                Flags::NONE,
                "loop_detected",
            ),
            Self::LocalTarget => plain(
                403,
                "loopback and link-local addresses are not reached through this listener",
                Flags::NONE,
                "local_target_refused",
            ),
            Self::GoesRound(passes) => TerminationReply {
                details: format!("hop_limit{{{passes}_passes}}").into(),
                ..plain(508, "this request goes round in circles", Flags::NONE, "")
            },
            Self::Blocked => plain(502, "", Flags::NONE, "direct_response"),
            Self::ClientGone => plain(0, "", Flags::DC, "downstream_remote_disconnect"),
        }
    }
}

/// The reply for a response that never began, with Envoy's texts.
fn reset(status: u16, reason: &str, flags: Flags, retried: bool) -> TerminationReply {
    let again = if retried { "retried and the latest " } else { "" };
    TerminationReply {
        status,
        body: format!("upstream connect error or disconnect/reset before headers. {again}reset reason: {reason}")
            .into(),
        flags,
        details: format!("upstream_reset_before_response_started{{{}}}", reason.replace(' ', "_")).into(),
        transport_failure: "".into(),
    }
}

/// The reply to a request that got no connection, for this reason.
fn no_connection(failure: String, retried: bool) -> TerminationReply {
    because(reset(503, "remote connection failure", Flags::UF, retried), "remote_connection_failure", failure)
}

fn because(verdict: TerminationReply, reason: &str, failure: String) -> TerminationReply {
    TerminationReply {
        details: format!("upstream_reset_before_response_started{{{reason}|{failure}}}").into(),
        transport_failure: failure.into(),
        ..verdict
    }
}

/// Why no endpoint could be connected to. With a Unix domain socket Envoy adds its path.
fn connect_error(Refusal { error, by }: &Refusal) -> String {
    let error = underscored(error);
    match by {
        EndpointAddress::Ip(_) => format!("delayed_connect_error:_{error}"),
        EndpointAddress::Unix(path) => {
            format!("immediate_connect_error:_{error}|remote_address:{}", path.replace(' ', "_"))
        }
    }
}

/// An OS error as Envoy's logs have it: `Connection_refused`.
fn underscored(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    text.replace(' ', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_have_the_lengths_that_envoy_sends() {
        let refused_by =
            |by| Termination::ConnectFailed(Box::new(Refusal { error: io::Error::from_raw_os_error(111), by }));
        let refused = || refused_by(([10, 0, 0, 1], 80).into());
        for (ended, retried, status, length) in [
            (Termination::NotFound, false, 404, 0),
            (Termination::NoCluster, false, 503, 0),
            (Termination::NoEndpoint, false, 503, 19),
            (Termination::Overflow, false, 503, 81),
            (refused(), false, 503, 98),
            (refused(), true, 503, 121),
            (Termination::ConnectTimedOut, false, 503, 91),
            (Termination::UpstreamReset, false, 503, 95),
            (Termination::UpstreamProtocol, false, 502, 87),
            (Termination::RequestTimedOut, false, 504, 24),
            (Termination::TryTimedOut, true, 504, 24),
            (Termination::FaultAborted(AbortWith::Status(418)), false, 418, 18),
        ] {
            let verdict = ended.local_reply(retried);
            assert_eq!((verdict.status, verdict.body.len()), (status, length), "{ended:?}");
        }
        assert_eq!(
            refused().local_reply(false).details,
            "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"
        );
        assert_eq!(
            refused_by(EndpointAddress::Unix("/run/my app.sock".into())).local_reply(false).transport_failure,
            "immediate_connect_error:_Connection_refused|remote_address:/run/my_app.sock"
        );
    }
}
