//! Endpoints that are Unix domain sockets: the binary on loopback between clients over TCP and origins at paths and
//! abstract names, on both drivers. Everything that is kept by endpoint is kept by theirs.

mod answers;
mod beside_envoy;
mod failures;
mod limits;
mod reloads;
mod tunnels;

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;

use tempfile::TempDir;

use crate::support::client::{Client, Response};
use crate::support::origin::{Origin, Peer};
pub(crate) use crate::support::ringway::on_each_driver;
use crate::support::ringway::{Driver, Ringway, Setup};
use crate::support::wait::{PATIENCE, eventually, within};
use crate::support::yaml;

/// A folder for sockets.
pub(crate) struct Sockets(TempDir);

impl Sockets {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// What is written as an endpoint's address for a socket of this name.
    pub(crate) fn address(&self, name: &str) -> String {
        format!("unix://{}", self.path(name).display())
    }

    /// A listener in the place of whatever there is.
    pub(crate) fn bind(&self, name: &str) -> UnixListener {
        let _ = std::fs::remove_file(self.path(name)); // there may be none
        UnixListener::bind(self.path(name)).expect("a socket")
    }

    /// An origin that answers with the socket's name.
    pub(crate) fn origin(&self, name: &'static str) -> Origin {
        Origin::start_on(self.bind(name), named(name))
    }
}

/// Answers every request with 200 and this name.
pub(crate) fn named(name: &'static str) -> impl Fn(&mut Peer) -> io::Result<()> {
    move |peer| {
        while peer.request()?.is_some() {
            peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len()))?;
        }
        Ok(())
    }
}

/// A listener with an abstract name.
pub(crate) fn abstract_socket(name: &str) -> UnixListener {
    let address = SocketAddr::from_abstract_name(name).expect("a name");
    UnixListener::bind_addr(&address).expect("an abstract socket")
}

/// A Gateway on port 80 with everything for the ServiceEntry of [`entry`], and these fields in its rule.
pub(crate) fn routed(rule: &str) -> String {
    let rule = if rule.is_empty() { String::new() } else { format!("{rule}\n    ") };
    let spec = format!(
        "\n  hosts: ['*']\n  gateways: [edge]\n  http:\n  - {rule}route: [{{destination: {{host: app.internal}}}}]"
    );
    yaml::edge() + "---\n" + &yaml::istio("VirtualService", "all", &spec)
}

/// `<name>.internal` with these endpoints, each flow YAML.
pub(crate) fn entry(name: &str, endpoints: &[String]) -> String {
    yaml::service_entry(&format!("{name}.internal"), endpoints)
}

/// `app.internal` at these addresses.
pub(crate) fn app(addresses: &[String]) -> String {
    let endpoints: Vec<String> = addresses.iter().map(|address| format!("{{address: '{address}'}}")).collect();
    entry("app", &endpoints)
}

/// A DestinationRule for `app.internal`.
pub(crate) fn rule(policy: &str) -> String {
    yaml::policy("app.internal", policy)
}

/// The cluster of `app.internal`.
pub(crate) const CLUSTER: &str = "outbound|80||app.internal";

/// A ringway that sends everything to `app.internal` at these addresses.
pub(crate) fn start(driver: Driver, addresses: &[String], more: impl FnOnce(Setup) -> Setup) -> Ringway {
    more(Setup::new(driver).yaml(routed("")).yaml(app(addresses))).start()
}

pub(crate) const GET: &str = "GET /x HTTP/1.1\r\nHost: a.example.com\r\n\r\n";

pub(crate) fn stat(ringway: &Ringway, name: &str) -> u64 {
    ringway.cluster_stat(CLUSTER, name)
}

/// Waits until a counter of `app.internal` has come to this: an answer is counted a moment after its last byte.
#[track_caller]
pub(crate) fn counted(ringway: &Ringway, name: &str, count: u64) {
    let reached = within(PATIENCE, || (stat(ringway, name) == count).then_some(()));
    assert!(reached.is_some(), "{name}: {} and not {count}", stat(ringway, name));
}

/// What `/clusters` says of an endpoint of `app.internal`.
pub(crate) fn field(ringway: &Ringway, endpoint: &str, name: &str) -> Option<String> {
    let prefix = format!("{CLUSTER}::{endpoint}::{name}::");
    ringway.admin("/clusters").text().lines().find_map(|line| line.strip_prefix(&prefix)).map(str::to_owned)
}

/// The text of the answer to a request.
pub(crate) fn text(client: &mut Client) -> String {
    client.ask(GET).text()
}

/// A request on a connection of its own.
pub(crate) fn once(ringway: &Ringway) -> Response {
    crate::support::client::once(
        ringway.address(),
        "GET /x HTTP/1.1\r\nHost: a.example.com\r\nConnection: close\r\n\r\n",
    )
}

/// Asserts a clean end, with no socket left once `origins` have gone.
#[track_caller]
pub(crate) fn finish(ringway: Ringway, origins: impl Sized) {
    ringway.quiet();
    drop(origins);
    let open = || ringway.process.descriptors().iter().filter(|what| what.starts_with("socket:")).count();
    eventually("no permit of a connection", || (ringway.sum_of("default.cx_open") == 0).then_some(()));
    let closed = within(PATIENCE, || (ringway.sum_of("upstream_cx_active") == 0).then_some(()));
    assert!(closed.is_some(), "connections are open: {} sockets", open());
    let stopped = ringway.stop();
    assert!(!stopped.said.contains("panicked"), "{}", stopped.said);
}
