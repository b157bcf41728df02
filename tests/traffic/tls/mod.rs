//! TLS towards the upstream: the binary on loopback between a client that speaks plain HTTP and origins that speak HTTPS
//! with certificates made here. Everything runs on both drivers, and ends with nothing left behind.

mod bodies;
mod breakers;
mod connections;
mod credentials;
mod egress;
mod trust;
mod tunnels;

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::https::{Authority, Issued};
use crate::support::client::Client;
use crate::support::origin::Origin;
pub(crate) use crate::support::ringway::on_each_driver;
use crate::support::ringway::{Driver, Ringway, Setup, Stopped, everything_to};
use crate::support::wait::{PATIENCE, eventually, within};
use crate::support::yaml;

/// The host of the tests' requests, as a certificate has it.
pub(crate) const HOST: &str = "good.example.com";

/// A GET of `path` from [`HOST`].
pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
}

/// Certificates and keys as files.
pub(crate) struct Files {
    folder: TempDir,
}

impl Files {
    pub(crate) fn new() -> Self {
        Self { folder: TempDir::new().expect("a temporary folder") }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file, at once if it is there already.
    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let (path, new) = (self.path().join(name), self.path().join(format!(".{name}.new")));
        std::fs::write(&new, content).expect("write a file");
        std::fs::rename(&new, &path).expect("put it in place");
        path
    }

    /// `caCertificates` for an authority.
    pub(crate) fn trust(&self, authority: &Authority) -> String {
        format!("caCertificates: {}", self.write("ca.pem", &authority.pem).display())
    }

    /// `clientCertificate` and `privateKey`.
    pub(crate) fn identity(&self, own: &Issued) -> String {
        let (certificate, key) = (self.write("client.pem", &own.certificate), self.write("client.key", &own.key));
        format!("clientCertificate: {}, privateKey: {}", certificate.display(), key.display())
    }
}

/// A DestinationRule for the origin with this `tls`.
pub(crate) fn rule(tls: &str) -> String {
    yaml::policy("origin", &format!("tls: {{{tls}}}"))
}

/// A ringway that sends everything to one origin.
pub(crate) struct Bench {
    pub(crate) ringway: Ringway,
    pub(crate) origin: Origin,
    descriptors: Vec<String>,
}

impl Bench {
    /// With this `tls` for the origin.
    pub(crate) fn new(driver: Driver, origin: Origin, tls: &str) -> Self {
        Self::with(driver, origin, |setup| setup.yaml(rule(tls)))
    }

    /// With more said about the process.
    pub(crate) fn with(driver: Driver, origin: Origin, more: impl FnOnce(Setup) -> Setup) -> Self {
        let ringway = more(Setup::new(driver).yaml(everything_to(&[origin.port()]))).start();
        // The watch over the configuration begins a moment after the service.
        let descriptors = eventually("a watch over the files", || {
            let open = ringway.process.descriptors();
            open.iter().any(|what| what.ends_with("inotify")).then_some(open)
        });
        Self { ringway, origin, descriptors }
    }

    /// A connection to the proxy.
    #[track_caller]
    pub(crate) fn client(&self) -> Client {
        self.ringway.client()
    }

    /// A statistic of the origin's cluster.
    pub(crate) fn stat(&self, name: &str) -> u64 {
        self.ringway.origin_stat(name)
    }

    /// Asks for `/x` and asserts that no connection could be secured, for this reason.
    #[track_caller]
    pub(crate) fn refuses(&self, because: &str) {
        let response = self.client().ask(get("/x"));
        assert_eq!(response.status, 503, "{}", response.text());
        let text = response.text();
        assert!(text.starts_with("upstream connect error or disconnect/reset before headers. "), "{text}");
        assert!(text.ends_with("reset reason: remote connection failure"), "{text}");
        let line = self.ringway.logged(&[because]);
        assert!(line.contains("URX,UF"), "{line}");
        assert!(
            line.contains("upstream_reset_before_response_started{remote_connection_failure|TLS_error:|"),
            "{line}"
        );
    }

    /// Asserts that nothing is left once the clients and the origin have gone, and stops the process.
    #[track_caller]
    pub(crate) fn finish(self) -> Stopped {
        self.ringway.quiet();
        drop(self.origin); // its end of the pooled connections
        let (ringway, before) = (self.ringway, self.descriptors);
        let closed = within(PATIENCE, || (ringway.process.descriptors().len() <= before.len()).then_some(()));
        assert!(closed.is_some(), "left open: {:#?}\nat the start: {before:#?}", ringway.process.descriptors());
        eventually("no connection to the origin", || (ringway.sum_of("upstream_cx_active") == 0).then_some(()));
        ringway.stop()
    }
}
