//! TLS towards the endpoints of a cluster: the plan's settings, prepared once for all cores; their statistics, and
//! the texts of failures.

use std::time::Instant;

use crate::io::{self, Conn, PeerName, SecureError, ServerName, TlsClient, TlsFailure};
use crate::observe::stats::SslStats;
use crate::plan::{ClientTls, Trust};

use super::error::ConnectError;

/// The TLS settings of a cluster's connections.
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
}
