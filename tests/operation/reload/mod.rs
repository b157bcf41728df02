//! Reloading from outside: what a changed configuration changes, and what it leaves as it is. The binary on loopback,
//! on both drivers where a worker has a part in it.

mod ejections;
mod files;
mod listeners;
mod process;
mod refusals;
mod sidecar;
mod traffic;
mod workers;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::client::{Client, once};
use crate::support::origin::Origin;
pub(crate) use crate::support::ringway::on_each_driver;
use crate::support::ringway::{Driver, Ringway, Setup};
use crate::support::wait::eventually;

pub(crate) const GET: &str = "GET /x HTTP/1.1\r\nHost: a.example.com\r\n\r\n";

/// A ringway whose routing is one file in a folder of its own.
pub(crate) struct Site {
    pub(crate) ringway: Ringway,
    pub(crate) folder: TempDir,
}

impl Site {
    pub(crate) fn new(driver: Driver, config: &Config) -> Self {
        Self::with(driver, config, |setup| setup)
    }

    /// With more said about the process.
    pub(crate) fn with(driver: Driver, config: &Config, more: impl FnOnce(Setup) -> Setup) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        std::fs::write(folder.path().join("site.yaml"), config.yaml()).expect("write YAML");
        let ringway = more(Setup::new(driver).cpus(&[0, 1]).gateway_ports(&[80, 81]).path(folder.path())).start();
        Self { ringway, folder }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("site.yaml")
    }

    /// Puts another configuration in the place of the file, at once.
    pub(crate) fn write(&self, config: &Config) {
        replace(&self.file(), &config.yaml());
    }

    /// Puts another configuration in place and waits until it is in force.
    #[track_caller]
    pub(crate) fn reload(&self, config: &Config) {
        let before = self.reloads();
        self.write(config);
        self.hang_up();
        eventually("the reload", || (self.reloads() > before).then_some(()));
    }

    pub(crate) fn hang_up(&self) {
        self.ringway.process.signal(Signal::HUP);
    }

    /// Reloads so far.
    pub(crate) fn reloads(&self) -> u64 {
        self.ringway.stat("ringway.config_reload_success")
    }

    /// Reloads so far that were refused.
    pub(crate) fn refused(&self) -> u64 {
        self.ringway.stat("ringway.config_reload_failure")
    }

    /// Waits for the next refusal after `before` of them; what ringway has said by then.
    #[track_caller]
    pub(crate) fn refusal_after(&self, before: u64) -> String {
        eventually("a refusal", || {
            // It is counted a moment before it is said.
            let said = self.ringway.process.said();
            let refusals = said.matches("not reloaded, the configuration stays").count() as u64;
            (self.refused() > before && refusals > before).then_some(said)
        })
    }

    /// What a request on a new connection to Gateway port 80 is answered with.
    #[track_caller]
    pub(crate) fn answer(&self) -> String {
        once(self.ringway.address(), GET).text()
    }
}

/// Puts `text` in the place of a file as editors do: written beside it, then renamed over it.
pub(crate) fn replace(file: &Path, text: &str) {
    let beside = file.with_extension("new");
    std::fs::write(&beside, text).expect("write beside");
    std::fs::rename(&beside, file).expect("rename over");
}

/// A configuration: listeners, and one route to everything.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) ports: Vec<u16>,
    /// Name of the service, so that of its cluster.
    pub(crate) service: String,
    pub(crate) endpoints: Vec<u16>,
    /// A header condition with this value in front of the route, so that the plan is another one.
    pub(crate) condition: Option<String>,
}

impl Config {
    pub(crate) fn to(origins: &[&Origin]) -> Self {
        let endpoints = origins.iter().map(|origin| origin.port()).collect();
        Self { ports: vec![80], service: "origin".to_owned(), endpoints, condition: None }
    }

    pub(crate) fn ports(&self, ports: &[u16]) -> Self {
        Self { ports: ports.to_vec(), ..self.clone() }
    }

    pub(crate) fn yaml(&self) -> String {
        let service = &self.service;
        let mut text = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: edge}\nspec:\n".to_owned();
        text.push_str("  servers:\n");
        for port in &self.ports {
            // A String takes every write, here and below.
            let _ = writeln!(text, "  - port: {{number: {port}, name: http-{port}, protocol: HTTP}}\n    hosts: ['*']");
        }
        text.push_str("---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: all}\nspec:\n");
        text.push_str("  hosts: ['*']\n  gateways: [edge]\n  http:\n");
        let route = format!("route:\n    - destination: {{host: {service}, port: {{number: 8000}}}}\n");
        if let Some(value) = &self.condition {
            let _ = write!(text, "  - match:\n    - headers: {{x-version: {{exact: '{value}'}}}}\n    {route}");
        }
        let _ = write!(text, "  - {route}");
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {service}}}\nspec:\n  selector: {{app: {service}}}\n  \
             ports:\n  - {{name: http, port: 8000}}\n"
        );
        for port in &self.endpoints {
            let _ = write!(
                text,
                "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: {service}-{port}}}\n\
                 spec:\n  address: 127.0.0.1\n  ports: {{http: {port}}}\n  labels: {{app: {service}}}\n"
            );
        }
        text
    }

    pub(crate) fn cluster(&self) -> String {
        format!("cluster.outbound|8000||{}.default.svc.cluster.local", self.service)
    }
}

/// An origin that says `word` to every request.
pub(crate) fn says(word: &str) -> Origin {
    Origin::replying(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{word}", word.len()))
}

/// Asks on a connection that exists, and expects `word`.
#[track_caller]
pub(crate) fn expect(client: &mut Client, word: &str) {
    let response = client.ask(GET);
    assert_eq!((response.status, response.text()), (200, word.to_owned()));
}
