//! Requests that go round in circles are cut, and those that legally pass through several proxies are not.

use super::{entry, on_each_driver};
use crate::support::client::once;
use crate::support::origin::Origin;
use crate::support::ports;
use crate::support::ringway::{Driver, Ringway, Setup};

on_each_driver![two_processes_that_send_to_each_other, one_process_as_sidecar_and_egress_gateway];

/// Routes everything of Gateway port 80 to a service on this port of 127.0.0.1.
fn gateway_to(port: u16) -> String {
    "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec: {servers: [{port: {number: 80, name: \
     http, protocol: HTTP}, hosts: ['*']}]}\n---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: \
     {name: v}\nspec: {hosts: ['*'], gateways: [g], http: [{name: on, route: [{destination: {host: next.example.com}}], retries: {attempts: 0}}]}\n---\n"
        .to_owned()
        + &entry("next.example.com", 80, "HTTP", port)
}

fn passes(ringway: &Ringway) -> usize {
    ringway.log().iter().filter(|line| line.contains("GET /round")).count()
}

fn two_processes_that_send_to_each_other(driver: Driver) {
    let (first, second) = (ports::free(), ports::free());
    let start = |own: u16, other: u16| Setup::new(driver).bound(80, own).yaml(gateway_to(other)).start();
    let (a, b) = (start(first, second), start(second, first));
    let response = once(ports::loopback(first), "GET /round HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(response.status, 508, "{response:?}");
    assert_eq!(response.text(), "this request goes round in circles");
    let line = a.logged(&["GET /round", " 508 "]);
    assert!(line.contains(" 508 - hop_limit{11_passes} "), "{line}");
    crate::support::wait::eventually("every pass in the logs", || (passes(&a) == 11 && passes(&b) == 10).then_some(()));
    // Nothing else suffers, and nothing hangs.
    assert_eq!(once(ports::loopback(second), "GET /round HTTP/1.1\r\nHost: x\r\n\r\n").status, 508);
    a.stop();
    b.stop();
}

/// The tutorial's egress: the sidecar's rule sends to the gateway, the gateway's to the outside; here both are one.
fn one_process_as_sidecar_and_egress_gateway(driver: Driver) {
    let outside = Origin::replying("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    let port = ports::free();
    let rules = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: egress}}\nspec: {{servers: [{{port: {{number: \
         80, name: http, protocol: HTTP}}, hosts: [httpbin.example.org]}}]}}\n---\napiVersion: \
         networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: out}}\nspec:\n  hosts: \
         [httpbin.example.org]\n  gateways: [mesh, egress]\n  http:\n  - name: to-gateway\n    match: [{{gateways: \
         [mesh], port: 80}}]\n    route: [{{destination: {{host: egress.example.com}}}}]\n  - name: to-outside\n    match: \
         [{{gateways: [egress], port: 80}}]\n    route: [{{destination: {{host: httpbin.example.org}}}}]\n---\n{}---\n{}",
        entry("egress.example.com", 80, "HTTP", port),
        entry("httpbin.example.org", 80, "HTTP", outside.port()),
    );
    let ringway = Setup::new(driver).bound(80, port).mesh("REGISTRY_ONLY").yaml(rules).start();
    let response = once(ringway.mesh(), "GET /round HTTP/1.1\r\nHost: httpbin.example.org\r\n\r\n");
    assert_eq!(response.text(), "ok");
    let request = &outside.requests()[0];
    let hops = request.header("x-ringway-hops").expect("two passes are told");
    assert!(hops.len() == 10 && hops.ends_with("=2"), "{hops}");
    // One that the application has from elsewhere goes on, too.
    let given = "GET /round HTTP/1.1\r\nHost: httpbin.example.org\r\nX-Ringway-Hops: 0000abcd=9\r\n\r\n";
    assert_eq!(once(ringway.mesh(), given).text(), "ok");
    let hops = outside.requests()[1].header("x-ringway-hops").map(str::to_owned).unwrap_or_default();
    assert!(hops.starts_with("0000abcd=9,") && hops.ends_with("=2"), "{hops}");
    ringway.stop();
}
