//! Connections that are not looked into: `tls` and `tcp` rules at Gateways and at the mesh listener, from the client's
//! first byte to the origin.

mod egress;
mod hostile;
mod tcp;
mod tls;

use crate::support::origin::Origin;
pub(crate) use crate::support::ringway::on_each_driver;
use crate::support::ringway::{Driver, Ringway, Setup};

/// A Gateway `g` with one server on this port.
pub(crate) fn gateway(port: u16, protocol: &str, hosts: &str, tls: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: g}}\nspec:\n  servers:\n  - {{port: {{number: \
         {port}, name: p, protocol: {protocol}}}, hosts: {hosts}{tls}}}\n"
    )
}

/// A VirtualService with these hosts and gateways, and the rest of its spec.
pub(crate) fn rules(name: &str, hosts: &str, gateways: &str, list: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\nspec: {{hosts: {hosts}, \
         gateways: {gateways}, {list}}}\n"
    )
}

/// A ServiceEntry with one port whose endpoint is `port` on 127.0.0.1.
pub(crate) fn entry(host: &str, service_port: u16, protocol: &str, port: u16) -> String {
    let name = host.replace(['.', '*'], "-");
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: se{name}-{service_port}}}\nspec:\n  \
         hosts: ['{host}']\n  ports: [{{number: {service_port}, name: p, protocol: {protocol}, targetPort: {port}}}]\n  \
         resolution: STATIC\n  endpoints: [{{address: 127.0.0.1}}]\n"
    )
}

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
