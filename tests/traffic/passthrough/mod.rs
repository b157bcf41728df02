//! Connections that are not looked into: `tls` and `tcp` rules at Gateways and at the mesh listener, from the client's
//! first byte to the origin.

mod egress;
mod hostile;
mod tcp;
mod tls;

use crate::support::origin::Origin;
pub(crate) use crate::support::ringway::on_each_driver;
use crate::support::ringway::{Driver, Ringway, Setup};
use crate::support::yaml;

/// A Gateway `g` with one server on this port.
pub(crate) fn gateway(port: u16, protocol: &str, hosts: &str, tls: &str) -> String {
    let port = format!("{{number: {port}, name: p, protocol: {protocol}}}");
    yaml::istio("Gateway", "g", &format!("\n  servers:\n  - {{port: {port}, hosts: {hosts}{tls}}}"))
}

/// A VirtualService with these hosts and gateways, and the rest of its spec.
pub(crate) fn rules(name: &str, hosts: &str, gateways: &str, list: &str) -> String {
    let spec = format!("{{hosts: {hosts}, gateways: {gateways}, {list}}}");
    yaml::istio("VirtualService", name, &spec)
}

pub(crate) use crate::support::yaml::service_entry_port as entry;

/// A ringway with the Gateway port 443 and these documents.
pub(crate) fn serving(driver: Driver, documents: &[String]) -> Ringway {
    Setup::new(driver).gateway_ports(&[443]).yaml(documents.join("---\n")).start()
}

/// Says its name and sends back all that comes, until the client has sent everything.
pub(crate) fn named_echo(name: &'static str) -> Origin {
    Origin::reflecting(name)
}

/// Stops it, with nothing left behind.
#[track_caller]
pub(crate) fn finish(ringway: Ringway) {
    ringway.quiet();
    let stopped = ringway.stop();
    assert!(!stopped.said.contains("panicked"), "{}", stopped.said);
}
