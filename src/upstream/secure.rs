//! TLS towards the endpoints of a cluster: what the plan says of it, made ready once and used by every core; what is
//! counted of it, and what is said of its failures.

use std::borrow::Cow;
use std::time::Instant;

use crate::io::{self, Conn, PeerName, SecureError, ServerName, TlsClient, TlsFailure};
use crate::observe::stats::SslStats;
use crate::plan::{ClientTls, Trust};

use super::ConnectError;

/// What connections of a cluster are secured with.
#[derive(Debug)]
pub struct Secured {
    client: TlsClient,
    /// `sni`; `None`: the Host of the request, or the host of the service where there is no request.
    sni: Option<ServerName<'static>>,
}

impl Secured {
    pub(super) fn new(tls: &ClientTls) -> Self {
        let trust = match &tls.trust {
            Trust::Anyone => io::Trust::Anyone,
            Trust::Authorities(authorities) => {
                io::Trust::Authorities(authorities.verifier.clone(), authorities.certificates.clone())
            }
        };
        let names = tls.names.iter().map(|name| PeerName::of(name)).collect();
        let identity = tls.identity.as_ref().map(|identity| identity.certified.clone());
        let sni = tls.sni.as_deref().and_then(|name| ServerName::try_from(name.to_owned()).ok());
        Self { client: TlsClient::new(trust, names, identity), sni }
    }

    /// The name to ask for on behalf of a request to `host`, whose port does not matter. A connection serves requests
    /// of one name only.
    ///
    /// # Errors
    /// If `host` is not a name that a server could have.
    pub fn name<'a>(&'a self, host: &'a [u8]) -> Result<ServerName<'a>, ConnectError> {
        match &self.sni {
            Some(ServerName::DnsName(name)) => return Ok(ServerName::DnsName(name.borrow())),
            Some(other) => return Ok(other.clone()),
            None => {}
        }
        ServerName::try_from(without_port(host)).map_err(|_| ConnectError::Tls(Box::new(TlsFailure::NoName)))
    }

    /// Secures a new connection.
    pub(super) async fn secure(
        &self,
        conn: Conn,
        name: ServerName<'static>,
        deadline: Instant,
        stats: &SslStats,
    ) -> Result<Conn, ConnectError> {
        match io::secure(conn, &self.client, name, deadline).await {
            Ok((conn, agreed)) => {
                stats.handshake.inc();
                let version = if agreed.is_1_3 { &stats.versions_1_3 } else { &stats.versions_1_2 };
                version.inc();
                if agreed.resumed {
                    stats.session_reused.inc();
                }
                Ok(conn)
            }
            Err(SecureError::TimedOut) => Err(ConnectError::TimedOut),
            Err(SecureError::Failed(failure)) => {
                count(&failure, stats);
                Err(ConnectError::Tls(Box::new(failure)))
            }
        }
    }
}

/// As Envoy: a certificate that is refused counts by its reason, a closed connection as a failed connect only.
fn count(failure: &TlsFailure, stats: &SslStats) {
    match failure {
        TlsFailure::WrongName(_) => stats.fail_verify_san.inc(),
        failure if failure.is_certificate() => stats.fail_verify_error.inc(),
        TlsFailure::Closed | TlsFailure::Socket(_) => {}
        _ => stats.connection_error.inc(),
    }
}

fn without_port(host: &[u8]) -> &[u8] {
    if let Some(rest) = host.strip_prefix(b"[") {
        return memchr::memchr(b']', rest).and_then(|end| rest.get(..end)).unwrap_or(host);
    }
    match memchr::memchr(b':', host) {
        Some(colon) if memchr::memrchr(b':', host) == Some(colon) => &host[..colon],
        _ => host, // an address of version 6, if anything
    }
}

/// A failure as Envoy's logs have it: the library's number and name of the error, where it is one that BoringSSL has, and
/// what is known beyond that.
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
    fn the_port_of_a_host_is_no_part_of_its_name() {
        for (host, name) in [
            ("a.example.com", "a.example.com"),
            ("a.example.com:8443", "a.example.com"),
            ("10.0.0.1:443", "10.0.0.1"),
            ("[::1]:443", "::1"),
            ("[::1]", "::1"),
            ("::1", "::1"),
            ("[::1", "[::1"),
            ("", ""),
        ] {
            assert_eq!(without_port(host.as_bytes()), name.as_bytes(), "{host}");
        }
    }

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
