//! Why there is no connection to an endpoint, with the texts of Envoy's logs.

use std::borrow::Cow;
use std::io;

use crate::base::endpoint::EndpointAddress;
use crate::io::TlsFailure;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The endpoint, or the network on the way to it, refused.
    #[error("{0}")]
    Failed(Box<Refusal>),
    /// No answer within `connectTimeout`.
    #[error("connection timeout")]
    TimedOut,
    /// The connection is there, and could not be secured.
    #[error("{}", tls_error(.0))]
    Tls(Box<TlsFailure>),
}

impl ConnectError {
    /// The same error, for another waiter.
    pub(super) fn again(&self) -> Self {
        match self {
            Self::TimedOut => Self::TimedOut,
            Self::Tls(failure) => Self::Tls(failure.clone()),
            Self::Failed(refusal) => {
                let error = match refusal.error.raw_os_error() {
                    Some(code) => io::Error::from_raw_os_error(code),
                    None => refusal.error.kind().into(),
                };
                Self::Failed(Box::new(Refusal { error, by: refusal.by.clone() }))
            }
        }
    }
}

/// Somebody said no.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Refusal {
    /// The error as the log shows it.
    pub error: io::Error,
    /// Whom it was that was to be connected to.
    pub by: EndpointAddress,
}

/// A circuit breaker has refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow;

/// Why there is no connection for a request.
#[derive(Debug)]
pub enum NoConnection {
    /// A circuit breaker has refused it.
    Overflow,
    /// The endpoint cannot be reached.
    Connect(ConnectError),
}

impl From<Overflow> for NoConnection {
    fn from(_: Overflow) -> Self {
        Self::Overflow
    }
}

impl From<ConnectError> for NoConnection {
    fn from(error: ConnectError) -> Self {
        Self::Connect(error)
    }
}

/// A failure as Envoy's logs have it: the library's number and name of the error, where it is one that BoringSSL has, and
/// further details.
#[must_use]
pub fn tls_error(failure: &TlsFailure) -> String {
    format!("TLS_error:|{}:TLS_error_end", words(failure).replace(' ', "_"))
}

/// BoringSSL's library number of its TLS, shifted to where it stands in an error.
const SSL_LIBRARY: u32 = 16 << 24;

fn words(failure: &TlsFailure) -> String {
    let ssl = |reason: u32, name: &str| format!("{}:SSL routines:OPENSSL_internal:{name}", SSL_LIBRARY + reason);
    let refused = |why: &str| format!("{}:verify cert failed: {why}", ssl(125, "CERTIFICATE_VERIFY_FAILED"));
    let chain = |why: &str| refused(&format!("X509_verify_cert: certificate verification error: {why}"));
    match failure {
        TlsFailure::UnknownIssuer => chain("unable to get local issuer certificate"),
        TlsFailure::Expired => chain("certificate has expired"),
        TlsFailure::NotYetValid => chain("certificate is not yet valid"),
        TlsFailure::Revoked => chain("certificate revoked"),
        TlsFailure::BadCertificate(why) => chain(why),
        TlsFailure::WrongName(names) => refused(&format!("verify SAN list, certificate SANs: [{}]", names.join(", "))),
        TlsFailure::Refused(alert) => ssl(1000 + u32::from(*alert), &alert_name(*alert)),
        TlsFailure::NotTls => ssl(247, "WRONG_VERSION_NUMBER"),
        TlsFailure::NoName => {
            "0:ringway:the Host of the request is not a name that a server can be asked for".to_owned()
        }
        TlsFailure::Closed => "0:ringway:the server closed the connection in the handshake".to_owned(),
        TlsFailure::Socket(std::io::ErrorKind::ConnectionReset) => {
            "33554536:system library:OPENSSL_internal:Connection reset by peer".to_owned()
        }
        TlsFailure::Socket(kind) => format!("0:system library:{kind}"),
        TlsFailure::Other(why) => format!("0:rustls:{why}"),
    }
}

/// BoringSSL's names of the alerts that a server sends.
fn alert_name(alert: u8) -> Cow<'static, str> {
    match alert {
        10 => "SSLV3_ALERT_UNEXPECTED_MESSAGE",
        20 => "SSLV3_ALERT_BAD_RECORD_MAC",
        22 => "TLSV1_ALERT_RECORD_OVERFLOW",
        40 => "SSLV3_ALERT_HANDSHAKE_FAILURE",
        42 => "SSLV3_ALERT_BAD_CERTIFICATE",
        43 => "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
        44 => "SSLV3_ALERT_CERTIFICATE_REVOKED",
        45 => "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        46 => "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        47 => "SSLV3_ALERT_ILLEGAL_PARAMETER",
        48 => "TLSV1_ALERT_UNKNOWN_CA",
        49 => "TLSV1_ALERT_ACCESS_DENIED",
        50 => "TLSV1_ALERT_DECODE_ERROR",
        51 => "TLSV1_ALERT_DECRYPT_ERROR",
        70 => "TLSV1_ALERT_PROTOCOL_VERSION",
        71 => "TLSV1_ALERT_INSUFFICIENT_SECURITY",
        80 => "TLSV1_ALERT_INTERNAL_ERROR",
        112 => "TLSV1_ALERT_UNRECOGNIZED_NAME",
        116 => "TLSV1_ALERT_CERTIFICATE_REQUIRED",
        120 => "TLSV1_ALERT_NO_APPLICATION_PROTOCOL",
        other => return format!("ALERT_{other}").into(),
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_as_envoy_tells_them() {
        // The numbers are what Envoy 1.40 logged.
        for (failure, expected) in [
            (
                TlsFailure::Refused(40),
                "TLS_error:|268436496:SSL_routines:OPENSSL_internal:SSLV3_ALERT_HANDSHAKE_FAILURE:TLS_error_end",
            ),
            (
                TlsFailure::NotTls,
                "TLS_error:|268435703:SSL_routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end",
            ),
            (
                TlsFailure::Expired,
                "TLS_error:|268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify_cert_failed:\
                 _X509_verify_cert:_certificate_verification_error:_certificate_has_expired:TLS_error_end",
            ),
            (
                TlsFailure::WrongName(vec!["a.example".to_owned(), "b.example".to_owned()]),
                "TLS_error:|268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify_cert_failed:\
                 _verify_SAN_list,_certificate_SANs:_[a.example,_b.example]:TLS_error_end",
            ),
            (
                TlsFailure::Socket(std::io::ErrorKind::ConnectionReset),
                "TLS_error:|33554536:system_library:OPENSSL_internal:Connection_reset_by_peer:TLS_error_end",
            ),
        ] {
            assert_eq!(tls_error(&failure), expected);
        }
    }
}
