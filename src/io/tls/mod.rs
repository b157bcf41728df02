//! TLS towards an upstream: a connection whose reader and writer carry plain bytes and whose socket carries records.
//!
//! The records are rustls's, driven without its own I/O: received records go in, records to send come out, both through
//! the operations of [`Reader`](super::Reader) and [`Writer`](super::Writer), so that the five laws hold as for a plain
//! connection. The creator of the [`TlsClient`] decides about trust and identity; this module must not read a file. Its
//! caller is `upstream`.
//!
//! Allocations: a connection has two buffers of its own, one for records received and one for records to be sent, which it
//! keeps. rustls makes and frees one for each record; there is no other allocation for a request.
//!
//! Locks: resumable sessions are shared by all cores, so that any core can resume them. They are behind rustls's lock,
//! which is held for a moment when a connection is set up or a ticket comes in, and never for a request on a connection
//! that exists.

mod failure;
mod handshake;
mod session;
mod verify;

use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, crypto};

pub use failure::{AlertCode, TlsFailure};
pub use handshake::{Agreed, SecureError, secure};
pub use rustls::pki_types::ServerName;
pub use verify::PeerName;

use super::handle::Handle;
use super::slot::Slot;
pub(super) use session::Seal;

/// Sessions kept to be resumed, of all the names that one client speaks to.
const SESSIONS_KEPT: usize = 256;

/// Whose certificate is taken for the server's.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Any server: only its possession of the certificate's key is verified.
    Anyone,
    /// Servers whose certificate these authorities have signed, or is itself one of their certificates, which come second;
    /// `None`: without authorities, no server.
    Authorities(Option<Arc<WebPkiServerVerifier>>, Arc<[CertificateDer<'static>]>),
}

/// How connections to the endpoints of one cluster are set up. Made once and shared by all cores.
#[derive(Debug)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
}

impl TlsClient {
    /// A client that accepts a certificate for one of `names` (empty: for the requested name), and sends `identity` to a
    /// server that requests a certificate.
    #[must_use]
    pub fn new(trust: Trust, names: Vec<PeerName>, identity: Option<Arc<CertifiedKey>>) -> Self {
        let provider = Arc::new(crypto::ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(rustls::ALL_VERSIONS);
        // ring has suites for both versions, which is all that can be missing.
        let builder = builder.unwrap_or_else(|error| unreachable!("the provider has no suites: {error}"));
        let verifier = verify::Verifier::new(trust, names, algorithms);
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match identity {
            Some(identity) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::in_memory_sessions(SESSIONS_KEPT);
        Self { config: Arc::new(config) }
    }
}

#[cfg(test)]
mod tests;
