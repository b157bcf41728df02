//! The mesh listener beside HTTP requests: tunnels by CONNECT, connections that were redirected to it, what it refuses,
//! and requests that go round in circles. In `namespaces`, the way out of a machine with nothing but a proxy.

#![allow(clippy::disallowed_methods, reason = "a test drives real processes and reads the real clock")]

mod hops;
mod listeners;
mod namespaces;
mod refusals;
mod tunnels;

#[path = "../support/mod.rs"]
mod support;

pub(crate) use support::ringway::on_each_driver;
use support::ringway::{Driver, Ringway, Setup};

/// A ServiceEntry with one port whose endpoint is `port` on 127.0.0.1.
pub(crate) fn entry(host: &str, service_port: u16, protocol: &str, port: u16) -> String {
    let name = host.replace(['.', '*'], "-");
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: se{name}-{service_port}}}\nspec:\n  \
         hosts: ['{host}']\n  ports: [{{number: {service_port}, name: p, protocol: {protocol}, targetPort: {port}}}]\n  \
         resolution: STATIC\n  endpoints: [{{address: 127.0.0.1}}]\n"
    )
}

/// A ringway with a mesh listener of this mode and these documents.
pub(crate) fn sidecar(driver: Driver, mode: &str, documents: &[String]) -> Ringway {
    Setup::new(driver).gateway_ports(&[]).mesh(mode).yaml(documents.join("---\n")).start()
}

/// Stops it, with nothing left behind.
#[track_caller]
pub(crate) fn finish(ringway: Ringway) {
    ringway.quiet();
    support::wait::eventually("no tunnel", || (ringway.sum_of("downstream_cx_upgrades_active") == 0).then_some(()));
    support::wait::eventually("no upstream connection in use", || {
        (ringway.sum_of("upstream_rq_active") == 0).then_some(())
    });
    let stopped = ringway.stop();
    assert!(!stopped.said.contains("panicked"), "{}", stopped.said);
}
