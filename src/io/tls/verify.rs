//! Whether a server's certificate is taken.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use webpki::EndEntityCert;

use super::Trust;

/// A name that a certificate may be for (`subjectAltNames`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerName {
    /// A host or an address; a certificate for `*.example.com` is for `a.example.com`, too.
    Host(ServerName<'static>),
    /// A URI, as SPIFFE's, or a host with a wildcard: as in the certificate, letter for letter.
    Literal(String),
}

impl PeerName {
    /// Reads one.
    #[must_use]
    pub fn of(text: &str) -> Self {
        match ServerName::try_from(text) {
            Ok(name) => Self::Host(name.to_owned()),
            Err(_) => Self::Literal(text.to_owned()),
        }
    }
}

/// Verifies the chain, then the name.
#[derive(Debug)]
pub(super) struct Verifier {
    trust: Trust,
    names: Vec<PeerName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub(super) fn new(trust: Trust, names: Vec<PeerName>, algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self { trust, names, algorithms }
    }
}

fn is_name(error: &Error) -> bool {
    use CertificateError::{NotValidForName, NotValidForNameContext};
    matches!(error, Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }))
}

/// Whether the server sent an authority's certificate without another error, before its name is checked; its dates come
/// first. `openssl req -x509` makes such certificates, and trusting one means trusting the server that sends it.
fn is_of_authority(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(other)) = error else { return false };
    matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

fn has_literally(certificate: &CertificateDer<'_>, name: &str) -> bool {
    EndEntityCert::try_from(certificate)
        .is_ok_and(|parsed| parsed.valid_uri_names().chain(parsed.valid_dns_names()).any(|own| own == name))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let (authorities, certificates): (&Arc<WebPkiServerVerifier>, _) = match &self.trust {
            Trust::Anyone => return Ok(ServerCertVerified::assertion()),
            Trust::Authorities(None, _) => return Err(CertificateError::UnknownIssuer.into()),
            Trust::Authorities(Some(authorities), certificates) => (authorities, certificates),
        };
        let verify = |name: &ServerName<'_>| {
            let verified = authorities.verify_server_cert(end_entity, intermediates, name, ocsp_response, now);
            match verified {
                Err(error) if is_of_authority(&error) && certificates.contains(end_entity) => {
                    let certificate = ParsedCertificate::try_from(end_entity)?;
                    verify_server_name(&certificate, name).map(|()| ServerCertVerified::assertion())
                }
                verified => verified,
            }
        };
        // The chain is verified before the name: an error about the name says that the chain is good.
        let asked = verify(server_name);
        if self.names.is_empty() || asked.as_ref().is_err_and(|error| !is_name(error)) {
            return asked;
        }
        let is_for = |name: &PeerName| match name {
            PeerName::Host(name) => verify(name).is_ok(),
            PeerName::Literal(text) => has_literally(end_entity, text),
        };
        if self.names.iter().any(is_for) {
            return Ok(ServerCertVerified::assertion());
        }
        match asked {
            Err(error) => Err(error),
            Ok(_) => Err(CertificateError::NotValidForName.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
