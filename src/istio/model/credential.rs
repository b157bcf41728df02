//! Certificates and keys, made of PEM text and ready for use: trusted authorities, and the proxy's identity.
//!
//! Pure: `credentials` reads the text. All its errors are found here, so that users of these values meet none. Keys are
//! never shown, also not by `Debug`.

use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;

use crate::base::count::counted;
use rustls::client::{VerifierBuilderError, WebPkiServerVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};

/// Whose certificate is a server's.
#[derive(Debug, Clone, PartialEq)]
pub enum Trust {
    /// Anybody's (`insecureSkipVerify`).
    Anyone,
    /// One that these authorities vouch for.
    Authorities(Arc<Authorities>),
}

/// Authorities, and their revocations. Two are equal if their content is, wherever they come from.
#[derive(Clone)]
pub struct Authorities {
    /// Where they come from, for people.
    pub from: String,
    /// The verifier; `None` without any authority: no server can be verified.
    pub verifier: Option<Arc<WebPkiServerVerifier>>,
    /// Their certificates.
    pub certificates: Arc<[CertificateDer<'static>]>,
    revoked: Vec<CertificateRevocationListDer<'static>>,
}

impl Debug for Authorities {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}", counted(self.certificates.len(), "authority"), self.from)
    }
}

impl PartialEq for Authorities {
    fn eq(&self, other: &Self) -> bool {
        (&self.certificates, &self.revoked) == (&other.certificates, &other.revoked)
    }
}

impl Authorities {
    /// Reads certificates, and revocations if there are any.
    ///
    /// # Errors
    /// The error in one of them.
    pub fn of_pem(from: String, certificates: &[u8], revocations: Option<&[u8]>) -> Result<Self, BadAuthorities> {
        let certificates = self::certificates(certificates).map_err(BadAuthorities::Certificates)?;
        let revoked = revocations.map(self::revocations).transpose().map_err(BadAuthorities::Revocations)?;
        let mut roots = RootCertStore::empty();
        for (at, certificate) in certificates.iter().enumerate() {
            let bad = |error| BadAuthorities::Certificates(format!("its certificate {} is no good: {error}", at + 1));
            roots.add(certificate.clone()).map_err(bad)?;
        }
        Self::new(from, roots, certificates, revoked.unwrap_or_default())
    }

    /// The host's authorities: those of `certificates` that can be read.
    #[must_use]
    pub fn of_host(certificates: Vec<CertificateDer<'static>>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates.iter().cloned());
        let from = "the system".to_owned();
        // Without revocations there is no error.
        Self::new(from.clone(), roots, certificates, Vec::new()).unwrap_or(Self {
            from,
            verifier: None,
            certificates: Arc::default(),
            revoked: Vec::new(),
        })
    }

    /// The same, less the certificates that these lists revoke.
    ///
    /// # Errors The error in the lists.
    pub fn with_revocations(&self, revocations: &[u8]) -> Result<Self, BadAuthorities> {
        let revoked = self::revocations(revocations).map_err(BadAuthorities::Revocations)?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.certificates.iter().cloned());
        Self::new(self.from.clone(), roots, self.certificates.to_vec(), revoked)
    }

    fn new(
        from: String,
        roots: RootCertStore,
        certificates: Vec<CertificateDer<'static>>,
        revoked: Vec<CertificateRevocationListDer<'static>>,
    ) -> Result<Self, BadAuthorities> {
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()));
        // As Envoy: where a list is given, each authority of a chain needs one, and one of today.
        let verifier = match builder.with_crls(revoked.iter().cloned()).enforce_revocation_expiration().build() {
            Ok(verifier) => Some(verifier),
            Err(VerifierBuilderError::NoRootAnchors) => None,
            Err(error) => return Err(BadAuthorities::Revocations(error.to_string())),
        };
        Ok(Self { from, verifier, certificates: certificates.into(), revoked })
    }

    /// Whether there is no authority, so that every server will be refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.verifier.is_none()
    }
}

/// Which part of [`Authorities`] is wrong, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadAuthorities {
    /// The certificates.
    Certificates(String),
    /// The revocation lists.
    Revocations(String),
}

/// A certificate of our own, with its chain and its key. Two are the same if the chain is: it fits one key only.
#[derive(Clone)]
pub struct Identity {
    /// Where it comes from, for people.
    pub from: String,
    /// The certificate chain and its key.
    pub certified: Arc<CertifiedKey>,
}

impl Debug for Identity {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "a certificate from {}", self.from)
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.certified.cert == other.certified.cert
    }
}

/// Which part of an [`Identity`] is wrong, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadIdentity {
    /// The certificate.
    Certificate(String),
    /// The key.
    Key(String),
}

impl Identity {
    /// Reads a certificate, its chain behind it, and its key.
    ///
    /// # Errors
    /// The error in one of them.
    pub fn of_pem(from: String, chain: &[u8], key: &[u8]) -> Result<Self, BadIdentity> {
        let chain = certificates(chain).map_err(BadIdentity::Certificate)?;
        let key = private_key(key).map_err(BadIdentity::Key)?;
        let certified = CertifiedKey::from_der(chain, key, &default_provider()).map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                BadIdentity::Key("it is not the key of the certificate".to_owned())
            }
            Error::InvalidCertificate(error) => BadIdentity::Certificate(format!("it is no good: {error}")),
            error => BadIdentity::Key(format!("it is no good: {error}")),
        })?;
        Ok(Self { from, certified: Arc::new(certified) })
    }
}

fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match found {
        Ok(found) if found.is_empty() => {
            Err("it holds no certificate (PEM: \"-----BEGIN CERTIFICATE-----\")".to_owned())
        }
        Ok(found) => Ok(found),
        Err(error) => Err(bad_pem(&error)),
    }
}

fn revocations(text: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(text).collect();
    match found {
        Ok(found) if found.is_empty() => {
            Err("it holds no revocation list (PEM: \"-----BEGIN X509 CRL-----\")".to_owned())
        }
        Ok(found) => Ok(found),
        Err(error) => Err(bad_pem(&error)),
    }
}

fn private_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        pem::Error::NoItemsFound if has(text, b"BEGIN ENCRYPTED PRIVATE KEY") => {
            "it is encrypted, and nobody is here to type its password (decrypt it: openssl pkey)".to_owned()
        }
        pem::Error::NoItemsFound => "it holds no private key (PEM: \"-----BEGIN PRIVATE KEY-----\")".to_owned(),
        error => bad_pem(&error),
    })
}

fn has(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}

/// Without anything of the text, which may be a key's.
fn bad_pem(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "it is not PEM: a section has no end".to_owned(),
        pem::Error::Base64Decode(_) => "it is not PEM: a section is not base64".to_owned(),
        _ => "it is not PEM".to_owned(),
    }
}
