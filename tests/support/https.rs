//! Certificates made in the test, and HTTPS for scripted origins: rustls with blocking sockets.

#![allow(dead_code, reason = "every test binary uses its own part of this module")]

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig, ServerConnection, StreamOwned, crypto};

use crate::support::message::{Framing, Reader};
use crate::support::origin::{Origin, Peer, Recorded};

/// Who vouches for certificates.
pub(crate) struct Authority {
    /// The certificate, as a file holds it.
    pub(crate) pem: String,
    der: rustls::pki_types::CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as files hold them.
#[derive(Clone)]
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
    serial: SerialNumber,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Self { pem: certificate.pem(), der: certificate.der().clone(), issuer: Issuer::new(params, key) }
    }

    /// One whose own certificate is also that of a server of these names: what `openssl req -x509` makes.
    pub(crate) fn of_itself(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> (Self, Issued) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let serial = SerialNumber::from_slice(&[1]);
        params.serial_number = Some(serial.clone());
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let own = Issued { certificate: certificate.pem(), key: key.serialize_pem(), serial };
        (Self { pem: certificate.pem(), der: certificate.der().clone(), issuer: Issuer::new(params, key) }, own)
    }

    /// A certificate for these hosts, addresses or URIs.
    pub(crate) fn issue(&self, names: &[&str]) -> Issued {
        self.issue_as(names, |_| {})
    }

    /// One that is not as good as others.
    pub(crate) fn issue_as(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let (uris, hosts): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.contains("://"));
        let hosts: Vec<String> = hosts.into_iter().map(str::to_owned).collect();
        let mut params = CertificateParams::new(hosts).expect("names");
        let uris = uris.into_iter().map(|uri| rcgen::SanType::URI(uri.try_into().expect("a URI")));
        params.subject_alt_names.extend(uris);
        let serial =
            SerialNumber::from_slice(&[1, names.len() as u8, names.first().map_or(0, |name| name.len() as u8)]);
        params.serial_number = Some(serial.clone());
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Issued { certificate: certificate.pem(), key: key.serialize_pem(), serial }
    }

    /// A certificate that has expired.
    pub(crate) fn issue_expired(&self, names: &[&str]) -> Issued {
        self.issue_as(names, expired)
    }

    /// A list that revokes these certificates.
    pub(crate) fn revoke(&self, revoked: &[&Issued]) -> String {
        let revoked = revoked.iter().map(|issued| RevokedCertParams {
            serial_number: issued.serial.clone(),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2094, 1, 1),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).expect("a revocation list").pem().expect("PEM")
    }
}

/// What a client said in its handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The name it asked for.
    pub(crate) sni: Option<String>,
    pub(crate) resumed: bool,
    /// Whether it showed a certificate.
    pub(crate) certified: bool,
    pub(crate) alpn: Option<String>,
}

/// How a server speaks TLS, and what it has seen.
#[derive(Clone)]
pub(crate) struct Tls {
    config: Arc<ServerConfig>,
    seen: Arc<Mutex<Vec<Seen>>>,
    failed: Arc<Mutex<Vec<String>>>,
}

impl Tls {
    pub(crate) fn new(own: &Issued) -> Self {
        Self::with(own, None, rustls::ALL_VERSIONS)
    }

    /// One that wants a certificate of the client, from `clients`.
    pub(crate) fn mutual(own: &Issued, clients: &Authority) -> Self {
        Self::with(own, Some(clients), rustls::ALL_VERSIONS)
    }

    pub(crate) fn with(
        own: &Issued,
        clients: Option<&Authority>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Self {
        let provider = Arc::new(crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions);
        let builder = builder.expect("known versions");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.der.clone()).expect("an authority");
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
        };
        let chain = rustls::pki_types::CertificateDer::pem_slice_iter(own.certificate.as_bytes());
        let chain = chain.collect::<Result<_, _>>().expect("certificates");
        let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).expect("a key");
        let mut config = builder.with_single_cert(chain, key).expect("a certificate with its key");
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { config: Arc::new(config), seen: Arc::default(), failed: Arc::default() }
    }

    /// What clients said, in the order of their handshakes.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no script panicked").clone()
    }

    /// Why handshakes failed.
    pub(crate) fn failures(&self) -> Vec<String> {
        self.failed.lock().expect("no script panicked").clone()
    }

    /// Makes an origin of a script for its connections after their handshakes.
    pub(crate) fn origin(&self, script: impl Fn(&mut TlsPeer<'_>) -> io::Result<()> + Send + Sync + 'static) -> Origin {
        self.origin_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), script)
    }

    /// As [`Tls::origin`], at an address of its own.
    pub(crate) fn origin_at(
        &self,
        address: SocketAddr,
        script: impl Fn(&mut TlsPeer<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Origin {
        Origin::start_at(address, self.over(script))
    }

    /// A script for connections, of a script for them after their handshakes.
    pub(crate) fn over(
        &self,
        script: impl Fn(&mut TlsPeer<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> impl Fn(&mut Peer) -> io::Result<()> + Send + Sync + 'static {
        let tls = self.clone();
        move |peer| {
            let mut peer = tls.accept(peer)?;
            script(&mut peer)?;
            peer.goodbye()
        }
    }

    /// Answers every request with 200 and its own body.
    pub(crate) fn echo(&self) -> Origin {
        self.origin(|peer| {
            while let Some(request) = peer.request()? {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", request.body.bytes.len());
                peer.send([head.as_bytes(), &request.body.bytes].concat())?;
            }
            Ok(())
        })
    }

    fn accept<'p>(&self, peer: &'p mut Peer) -> io::Result<TlsPeer<'p>> {
        let mut stream = peer.stream()?.try_clone()?;
        let mut tls = ServerConnection::new(self.config.clone()).expect("a server");
        while tls.is_handshaking() {
            if let Err(error) = tls.complete_io(&mut stream) {
                self.failed.lock().expect("no script panicked").push(error.to_string());
                return Err(error);
            }
        }
        self.seen.lock().expect("no script panicked").push(Seen {
            sni: tls.server_name().map(str::to_owned),
            resumed: tls.handshake_kind() == Some(HandshakeKind::Resumed),
            certified: tls.peer_certificates().is_some(),
            alpn: tls.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
        });
        Ok(TlsPeer { peer, reader: Reader::new(StreamOwned::new(tls, stream)), leaves_quietly: false })
    }
}

/// One connection after its handshake, seen from the origin's script.
pub(crate) struct TlsPeer<'p> {
    peer: &'p mut Peer,
    reader: Reader<StreamOwned<ServerConnection, TcpStream>>,
    leaves_quietly: bool,
}

impl TlsPeer<'_> {
    /// The number of this connection, from 0.
    pub(crate) fn number(&self) -> usize {
        self.peer.number
    }

    /// Reads one request with its body and records it; `None` when the proxy closed, and said so.
    pub(crate) fn request(&mut self) -> io::Result<Option<Recorded>> {
        let Some(head) = self.reader.head()? else { return Ok(None) };
        let body = self.reader.body(head.framing(Framing::None))?;
        Ok(Some(self.peer.record(head, body)))
    }

    /// Sends `bytes`.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.reader.stream.write_all(bytes.as_ref())?;
        self.reader.stream.flush()
    }

    /// Sends pieces of these lengths in turn, each as a record of its own, cut over segments wherever it falls.
    pub(crate) fn send_in(&mut self, bytes: &[u8], lengths: &[usize]) -> io::Result<()> {
        let mut rest = bytes;
        for length in lengths.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, behind) = rest.split_at((*length).clamp(1, rest.len()));
            self.send(piece)?;
            rest = behind;
        }
        Ok(())
    }

    /// The TLS connection and the socket.
    pub(crate) fn parts(&mut self) -> (&mut ServerConnection, &mut TcpStream) {
        let StreamOwned { conn, sock } = &mut self.reader.stream;
        (conn, sock)
    }

    /// The next `length` raw bytes; fewer when the proxy closed.
    pub(crate) fn raw(&mut self, length: usize) -> io::Result<Vec<u8>> {
        Ok(self.reader.up_to(length)?.0)
    }

    /// Ends the connection without saying so.
    pub(crate) fn leave_quietly(&mut self) {
        self.leaves_quietly = true;
    }

    fn goodbye(mut self) -> io::Result<()> {
        if self.leaves_quietly {
            return Ok(());
        }
        let (tls, socket) = self.parts();
        tls.send_close_notify();
        tls.write_tls(socket).map(drop)
    }
}

/// Makes a certificate one of long ago.
pub(crate) fn expired(params: &mut CertificateParams) {
    (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
}
