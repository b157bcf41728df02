//! What leaves the mesh: ServiceEntries of every resolution, host names that a real name server resolves, the outbound
//! policy, and the egress gateway of the tutorial with the real httpbin behind it.

mod by_request;
mod external_name;
mod gateway;
mod names;

use std::net::SocketAddr;

use crate::name_server::NameServer;
use crate::support::client::{Client, Response};
use crate::support::origin::Origin;
pub(crate) use crate::support::ringway::on_each_driver;
use crate::support::ringway::{Driver, Ringway, Setup};

/// A proxy with a mesh listener that asks `server` for names, quickly gives up and often tries again.
pub(crate) fn asking(driver: Driver, server: &NameServer, mode: &str) -> Setup {
    let dns = format!("{{servers: [{}], timeout: 300ms, attempts: 0}}", server.address);
    Setup::new(driver).mesh(mode).spec("dns", &dns).mesh_config("dnsRefreshRate", "1s")
}

/// An origin that answers with its own address and what it was asked.
pub(crate) fn echoing(address: &str, port: u16) -> Origin {
    let at = SocketAddr::new(address.parse().expect("an address"), port);
    let name = address.to_owned();
    Origin::start_at(at, move |peer| {
        while let Some(request) = peer.request()? {
            let body = format!("{name}: {} at {}", request.line(), request.header("host").unwrap_or_default());
            peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()))?;
        }
        Ok(())
    })
}

/// One request on a connection of its own, through the mesh listener.
pub(crate) fn get(ringway: &Ringway, host: &str) -> Response {
    crate::support::client::once(
        ringway.mesh(),
        format!("GET /x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
    )
}

/// Who answered: the address of an [`echoing`] origin, or the status of another answer.
pub(crate) fn who(response: &Response) -> String {
    if response.status == 200 {
        response.text().split(": ").next().unwrap_or_default().to_owned()
    } else {
        response.status.to_string()
    }
}

/// Who answers so many requests, each once, sorted.
pub(crate) fn answering(ringway: &Ringway, host: &str, requests: usize) -> Vec<String> {
    let mut client = Client::connect(ringway.mesh());
    let ask = |_| who(&client.ask(format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n")));
    let mut all: Vec<String> = (0..requests).map(ask).collect();
    all.sort();
    all.dedup();
    all
}

/// Asserts a clean end.
pub(crate) fn finish(ringway: Ringway) {
    ringway.quiet();
    let stopped = ringway.stop();
    assert!(!stopped.said.contains("panicked"), "{}", stopped.said);
}
