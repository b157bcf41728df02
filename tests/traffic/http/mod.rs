//! The binary on loopback, seen from both sides: clients that send exact bytes, origins that misbehave. Everything runs
//! on both drivers, and every test ends with nothing left behind: no active gauge, no descriptor, exit code 0.

mod bodies;
mod breakers;
mod breakers_hostile;
mod comparing;
mod connections;
mod drain;
mod faults;
mod hostile;
mod limits;
mod mirrors;
mod outlier;
mod permissive;
mod pooled;
mod refusals;
mod replays;
mod retries;
mod sent;
mod timeouts;
mod tracing;
mod tunnels;

use crate::support::client::Client;
use crate::support::origin::Origin;
pub(crate) use crate::support::ringway::on_each_driver;
use crate::support::ringway::{Driver, Ringway, Setup, Stopped, everything_to};
use crate::support::wait::{PATIENCE, eventually, within};
use crate::support::yaml;

/// A ringway that sends everything to one origin.
pub(crate) struct Bench {
    pub(crate) ringway: Ringway,
    pub(crate) origin: Origin,
    descriptors: Vec<String>,
}

impl Bench {
    pub(crate) fn new(driver: Driver, origin: Origin) -> Self {
        Self::with(driver, origin, |setup| setup)
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

    /// Asserts that nothing is left once the clients and the origin have gone, and stops the process.
    #[track_caller]
    pub(crate) fn finish(self) -> Stopped {
        self.ringway.quiet();
        drop(self.origin); // its end of the pooled connections
        let (ringway, before) = (self.ringway, self.descriptors);
        let closed = within(PATIENCE, || (ringway.process.descriptors().len() <= before.len()).then_some(()));
        assert!(closed.is_some(), "left open: {:#?}\nat the start: {before:#?}", ringway.process.descriptors());
        eventually("no permit of a connection", || (ringway.sum_of("default.cx_open") == 0).then_some(()));
        ringway.stop()
    }
}

/// A VirtualService for `<name>.example.com` that sends everything to the origin of a [`Bench`], with these fields.
pub(crate) fn host(name: &str, fields: &str) -> String {
    let spec = format!(
        "\n  hosts: [{name}.example.com]\n  gateways: [edge]\n  http:\n  - {fields}\n    route: [{{destination: {{host: \
         origin}}}}]"
    );
    yaml::istio("VirtualService", name, &spec)
}

/// A GET to one of those hosts.
pub(crate) fn get_of(name: &str) -> String {
    format!("GET /{name} HTTP/1.1\r\nHost: {name}.example.com\r\n\r\n")
}

/// A GET of `path`.
pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.example.com\r\n\r\n")
}

/// An origin that answers each request with its path as the body.
pub(crate) fn says_path() -> Origin {
    Origin::start(|peer| {
        while let Some(request) = peer.request()? {
            let path = request.line().split(' ').nth(1).unwrap_or_default().to_owned();
            peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len()))?;
        }
        Ok(())
    })
}
