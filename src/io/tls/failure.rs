//! Why TLS failed, in terms that do not depend on the library.

use std::io;

use rustls::{CertificateError, Error, InvalidMessage};

/// The number of an alert (RFC 8446 section 6), as on the wire.
pub type AlertCode = u8;

/// Why TLS on a connection failed, or ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsFailure {
    /// No authority that is trusted vouches for the server's certificate.
    UnknownIssuer,
    /// The server's certificate has expired.
    Expired,
    /// The server's certificate is not valid yet.
    NotYetValid,
    /// The server's certificate was revoked.
    Revoked,
    /// The server's certificate is for other names: these, if they are known.
    WrongName(Vec<String>),
    /// The server's certificate is invalid for another reason.
    BadCertificate(String),
    /// The server refused, with this alert.
    Refused(AlertCode),
    /// The received bytes are not TLS.
    NotTls,
    /// There is no server name to send or to verify.
    NoName,
    /// The server closed the connection inside the handshake.
    Closed,
    /// The socket failed.
    Socket(io::ErrorKind),
    /// Anything else.
    Other(String),
}

impl TlsFailure {
    /// Whether it is the server's certificate that was refused.
    #[must_use]
    pub fn is_certificate(&self) -> bool {
        use TlsFailure::{BadCertificate, Expired, NotYetValid, Revoked, UnknownIssuer, WrongName};
        matches!(self, UnknownIssuer | Expired | NotYetValid | Revoked | WrongName(_) | BadCertificate(_))
    }
}

impl From<Error> for TlsFailure {
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidCertificate(error) => of_certificate(error),
            Error::AlertReceived(alert) => Self::Refused(alert.into()),
            // The answer of a server without TLS does not begin like a record.
            Error::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion) => {
                Self::NotTls
            }
            error => Self::Other(error.to_string()),
        }
    }
}

fn of_certificate(error: CertificateError) -> TlsFailure {
    use CertificateError as Why;
    match error {
        Why::UnknownIssuer => TlsFailure::UnknownIssuer,
        Why::Expired | Why::ExpiredContext { .. } => TlsFailure::Expired,
        Why::NotValidYet | Why::NotValidYetContext { .. } => TlsFailure::NotYetValid,
        Why::Revoked => TlsFailure::Revoked,
        Why::NotValidForName => TlsFailure::WrongName(Vec::new()),
        Why::NotValidForNameContext { presented, .. } => {
            TlsFailure::WrongName(presented.iter().map(|name| bare(name).to_owned()).collect())
        }
        error => TlsFailure::BadCertificate(error.to_string()),
    }
}

/// The name in `DnsName("a.example.com")`, as the library presents it.
fn bare(name: &str) -> &str {
    let name = name.split_once('(').map_or(name, |(_, name)| name);
    name.trim_end_matches(')').trim_matches('"')
}

impl From<io::Error> for TlsFailure {
    fn from(error: io::Error) -> Self {
        Self::Socket(error.kind())
    }
}
