//! Listeners of a Sidecar come and go with it; connections of those that stay do not notice.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{GET, on_each_driver, replace, says};
use crate::support::client::{Client, once};
use crate::support::origin::Origin;
use crate::support::ports;
use crate::support::ringway::{Driver, Ringway, Setup};
use crate::support::wait::eventually;

use rustix::process::Signal;
use tempfile::TempDir;

on_each_driver![
    listeners_come_and_go,
    a_listener_that_stays_loses_nothing,
    the_same_port_for_the_other_direction,
    a_port_in_use_changes_nothing,
];

/// A ringway whose Sidecar is in a file of its own, beside a service `a.example.com` on `port`.
struct Host {
    ringway: Ringway,
    folder: TempDir,
    port: u16,
}

impl Host {
    fn start(driver: Driver, origin: &Origin, spec: impl Fn(u16) -> String) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let port = ports::free();
        let service = format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: a}}\nspec:\n  hosts: [a.example.com]\n  \
             ports: [{{number: {port}, name: p, protocol: HTTP, targetPort: {}}}]\n  resolution: STATIC\n  endpoints: \
             [{{address: 127.0.0.1}}]\n",
            origin.port()
        );
        std::fs::write(folder.path().join("sidecar.yaml"), document(&spec(port))).expect("write YAML");
        let ringway = Setup::new(driver).cpus(&[0, 1]).gateway_ports(&[]).mesh("REGISTRY_ONLY");
        let ringway = ringway.yaml(service).path(folder.path()).start();
        Self { ringway, folder, port }
    }

    fn write(&self, spec: &str) {
        replace(&self.folder.path().join("sidecar.yaml"), &document(spec));
        self.ringway.process.signal(Signal::HUP);
    }

    #[track_caller]
    fn reload(&self, spec: &str) {
        let before = self.ringway.stat("ringway.config_reload_success");
        self.write(spec);
        eventually("the reload", || (self.ringway.stat("ringway.config_reload_success") > before).then_some(()));
    }

    fn ask(&self) -> String {
        once(ports::loopback(self.port), GET).text()
    }

    fn is_open(&self, port: u16) -> bool {
        Client::try_connect(ports::loopback(port)).is_ok()
    }
}

fn document(spec: &str) -> String {
    format!("apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: s}}\nspec: {{{spec}}}\n")
}

/// Nothing but what the mesh listener sees.
const BARE: &str = "egress: [{hosts: ['*/*']}]";

fn outward(port: u16) -> String {
    format!(
        "egress: [{{port: {{number: {port}, protocol: HTTP}}, captureMode: NONE, hosts: ['*/*']}}, {{hosts: ['*/*']}}]"
    )
}

fn inward(port: u16, workload: &Origin) -> String {
    format!("ingress: [{{port: {{number: {port}, protocol: HTTP}}, defaultEndpoint: '127.0.0.1:{}'}}]", workload.port())
}

fn listeners_come_and_go(driver: Driver) {
    let (origin, workload) = (says("service"), says("workload"));
    let host = Host::start(driver, &origin, |_| BARE.to_owned());
    let inside = ports::free();
    for _ in 0..3 {
        assert!(!host.is_open(host.port) && !host.is_open(inside));
        host.reload(&format!("{}, {}", outward(host.port), inward(inside, &workload)));
        assert_eq!(host.ask(), "service");
        let mut kept = Client::connect(ports::loopback(inside));
        assert_eq!(kept.ask(GET).text(), "workload");
        assert_eq!(host.ringway.admin("/listeners").text().lines().count(), 3);
        host.reload(BARE);
        kept.expect_closed();
    }
    assert!(!host.is_open(host.port) && !host.is_open(inside));
    assert_eq!(host.ringway.stat("ringway.config_reload_failure"), 0);
    host.ringway.quiet();
    let said = host.ringway.stop().said;
    let wanted = format!("listening on 127.0.0.1:{inside} for ingress port {inside} of the Sidecar");
    assert!(said.contains(&wanted), "{said}");
}

/// While others come and go, and what it leads to changes, each request on it is answered.
fn a_listener_that_stays_loses_nothing(driver: Driver) {
    let (origin, other) = (says("service"), says("workload"));
    let host = Host::start(driver, &origin, outward);
    let inside = ports::free();
    let (over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..2)
            .map(|number| {
                let (over, answered, at) = (&over, &answered, ports::loopback(host.port));
                scope.spawn(move || {
                    let mut client = Client::connect(at);
                    while !over.load(Ordering::Relaxed) {
                        assert_eq!(client.ask(GET).text(), "service");
                        // One of them opens a new connection each time.
                        if number == 0 {
                            client = Client::connect(at);
                        }
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for _ in 0..3 {
            host.reload(&format!("{}, {}", outward(host.port), inward(inside, &other)));
            host.reload(&outward(host.port).replace("*/*", "*/a.example.com"));
            let before = answered.load(Ordering::Relaxed);
            eventually("more answers", || (answered.load(Ordering::Relaxed) > before + 4).then_some(()));
        }
        over.store(true, Ordering::Relaxed);
        clients.into_iter().for_each(|client| client.join().expect("no request is lost"));
    });
    // What it sees changes for requests on connections that exist.
    let mut client = Client::connect(ports::loopback(host.port));
    assert_eq!(client.ask(GET).text(), "service");
    host.reload(&outward(host.port).replace("*/*", "*/b.example.com"));
    assert_eq!(client.ask(GET).status, 502);
    drop(client);
    host.ringway.quiet();
    host.ringway.stop();
}

/// The socket stays, and what it is for changes.
fn the_same_port_for_the_other_direction(driver: Driver) {
    let (origin, workload) = (says("service"), says("workload"));
    let host = Host::start(driver, &origin, outward);
    let mut kept = Client::connect(ports::loopback(host.port));
    assert_eq!(kept.ask(GET).text(), "service");
    host.reload(&inward(host.port, &workload));
    assert_eq!(host.ask(), "workload");
    assert_eq!(kept.ask(GET).text(), "workload", "requests are answered by the plan in force");
    drop(kept);
    host.reload(&outward(host.port));
    assert_eq!(host.ask(), "service");
    host.ringway.quiet();
    host.ringway.stop();
}

fn a_port_in_use_changes_nothing(driver: Driver) {
    let (origin, workload) = (says("service"), says("workload"));
    let host = Host::start(driver, &origin, outward);
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = taken.local_addr().expect("an address").port();
    host.write(&inward(port, &workload));
    eventually("a refusal", || (host.ringway.stat("ringway.config_reload_failure") > 0).then_some(()));
    let wanted = format!("cannot listen on 127.0.0.1:{port} for ingress port {port} of the Sidecar");
    eventually("the reason", || host.ringway.process.said().contains(&wanted).then_some(()));
    assert_eq!(host.ask(), "service", "what there was stays");
    host.ringway.stop();
}
