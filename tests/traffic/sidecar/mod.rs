//! The mesh listener beside HTTP requests: tunnels by CONNECT, connections that were redirected to it, what it refuses,
//! and requests that go round in circles. The way out of a machine with nothing but a proxy is in
//! `tests/namespaces`.

mod hops;
mod listeners;
mod refusals;
mod tunnels;

pub(crate) use crate::support::ringway::on_each_driver;
use crate::support::ringway::{Driver, Ringway, Setup};

pub(crate) use crate::support::yaml::service_entry_port as entry;

/// A ringway with a mesh listener of this mode and these documents.
pub(crate) fn sidecar(driver: Driver, mode: &str, documents: &[String]) -> Ringway {
    Setup::new(driver).gateway_ports(&[]).mesh(mode).yaml(documents.join("---\n")).start()
}

/// Stops it, with nothing left behind.
#[track_caller]
pub(crate) fn finish(ringway: Ringway) {
    ringway.quiet();
    crate::support::wait::eventually("no tunnel", || {
        (ringway.sum_of("downstream_cx_upgrades_active") == 0).then_some(())
    });
    crate::support::wait::eventually("no upstream connection in use", || {
        (ringway.sum_of("upstream_rq_active") == 0).then_some(())
    });
    let stopped = ringway.stop();
    assert!(!stopped.said.contains("panicked"), "{}", stopped.said);
}
