//! What rules see of a request is what the origin gets of it, not what the client wrote. `tests/differential` has every pair of
//! condition and request, beside Envoy.

use std::process::Command;

use super::{Bench, host, on_each_driver};
use crate::support::client::{Client, once};
use crate::support::origin::Origin;
use crate::support::ringway::Driver;
use crate::support::yaml;

on_each_driver![
    conditions_see_the_request_that_is_sent,
    operators_hand_on_nothing_that_was_removed,
    preflights_and_traces_are_not_made_of_removed_lines,
    a_client_at_another_loopback_address_is_named_by_it,
    waiting_is_not_active
];

fn ok() -> Origin {
    Origin::replying("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
}

/// A condition, the lines of a request, and whether it matches at a Gateway and in the mesh.
type Row = (&'static str, &'static str, bool, bool);

#[rustfmt::skip] // one row a line
const ROWS: &[Row] = &[
    ("headers: {x-forwarded-for: {regex: '[0-9.]+'}}", "", true, false),
    ("headers: {x-forwarded-for: {exact: 9.9.9.9}}", "X-Forwarded-For: 9.9.9.9", false, true),
    ("headers: {x-forwarded-for: {regex: '9\\.9\\.9\\.9,[0-9.]+'}}", "X-Forwarded-For: 9.9.9.9", true, false),
    ("withoutHeaders: {x-forwarded-for: {exact: 9.9.9.9}}", "X-Forwarded-For: 9.9.9.9", true, false),
    ("headers: {x-request-id: {}}", "", true, true),
    ("headers: {x-request-id: {exact: mine}}", "X-Request-Id: mine", false, true),
    ("headers: {x-request-id: {exact: mine}}", "X-Request-Id: mine|Connection: x-request-id", false, false),
    ("headers: {connection: {}}", "Connection: keep-alive", false, false),
    ("headers: {keep-alive: {}}", "Keep-Alive: timeout=5", false, false),
    ("headers: {proxy-connection: {}}", "Proxy-Connection: keep-alive", false, false),
    ("headers: {te: {prefix: gzip}}", "TE: gzip, trailers", false, false),
    ("headers: {te: {exact: trailers}}", "TE: gzip, trailers", true, true),
    ("headers: {x-named: {}}", "X-Named: 1|Connection: x-named", false, false),
    ("withoutHeaders: {x-named: {}}", "X-Named: 1|Connection: x-named", true, true),
    ("headers: {x-forwarded-client-cert: {}}", "X-Forwarded-Client-Cert: By=spiffe://evil", false, false),
    ("headers: {x-envoy-external-address: {exact: 127.0.0.1}}", "X-Envoy-External-Address: 9.9.9.9", true, false),
    ("headers: {x-forwarded-proto: {exact: https}}", "X-Forwarded-Proto: https", false, true),
    ("headers: {expect: {}}", "Expect: 100-continue", true, true),
    ("headers: {upgrade: {exact: websocket}, connection: {exact: Upgrade}}", "Connection: Upgrade|Upgrade: websocket", true, true),
];

fn conditions_see_the_request_that_is_sent(driver: Driver) {
    let mut rules = String::new();
    for (number, (condition, ..)) in ROWS.iter().enumerate() {
        rules +=
            &format!("  - match: [{{uri: {{exact: /{number}}}, {condition}}}]\n    directResponse: {{status: 201}}\n");
    }
    let yaml = format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: sent}}\nspec:\n  hosts: \
         [sent.example.com]\n  gateways: [edge, mesh]\n  http:\n{rules}  - directResponse: {{status: 202}}\n"
    );
    let bench = Bench::with(driver, ok(), |setup| setup.yaml(&yaml).mesh("REGISTRY_ONLY"));
    for (number, (condition, lines, at_gateway, in_mesh)) in ROWS.iter().enumerate() {
        let lines: Vec<&str> = lines.split('|').filter(|line| !line.is_empty()).collect();
        let head: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let places = [(bench.ringway.address(), "default/edge", at_gateway), (bench.ringway.mesh(), "mesh", in_mesh)];
        for (address, gateway, matches) in places {
            let expected = if *matches { 201 } else { 202 };
            let got = once(address, format!("GET /{number} HTTP/1.1\r\nHost: sent.example.com\r\n{head}\r\n"));
            assert_eq!(got.status, expected, "{condition} for {lines:?} at {gateway}");
            let mut explain = Command::new(env!("CARGO_BIN_EXE_ringway"));
            explain.args(["explain", "--output", "json", "--gateway", gateway, "-c"]).arg(bench.ringway.config());
            lines.iter().for_each(|line| _ = explain.args(["-H", line]));
            let said = explain.args(["GET", &format!("http://sent.example.com/{number}")]).output();
            let said: serde_json::Value = serde_json::from_slice(&said.expect("it runs").stdout).expect("JSON");
            assert_eq!(said["verdict"]["status"], expected, "explain of {condition} for {lines:?} at {gateway}");
        }
    }
    bench.finish();
}

fn operators_hand_on_nothing_that_was_removed(driver: Driver) {
    let names = [
        "x-forwarded-client-cert",
        "x-named",
        "keep-alive",
        "proxy-connection",
        "connection",
        "x-envoy-retry-on",
        "te",
        "x-plain",
    ];
    let set: Vec<String> = names.iter().map(|name| format!("x-copy-of-{name}: '%REQ({name})%'")).collect();
    let fields = format!("headers: {{request: {{set: {{{}}}}}}}", set.join(", "));
    let bench = Bench::with(driver, ok(), |setup| setup.yaml(host("copied", &fields)));
    let mut client = bench.client();
    let lines: String =
        names.iter().filter(|name| **name != "connection").map(|name| format!("{name}: forged\r\n")).collect();
    client.ask(format!("GET / HTTP/1.1\r\nHost: copied.example.com\r\nConnection: x-named, keep-alive\r\n{lines}\r\n"));
    let got = bench.origin.take().remove(0);
    let copied = names.iter().filter(|name| got.header(&format!("x-copy-of-{name}")).is_some());
    assert_eq!(copied.collect::<Vec<_>>(), [&"x-plain"]);
    drop(client);
    bench.finish();
}

fn preflights_and_traces_are_not_made_of_removed_lines(driver: Driver) {
    let fields = "corsPolicy: {allowOrigins: [{exact: 'http://ok.test'}], allowMethods: [GET]}";
    let bench =
        Bench::with(driver, ok(), |setup| setup.yaml(host("shared", fields)).mesh_config("enableTracing", "true"));
    let mut client = bench.client();
    let preflight = "OPTIONS / HTTP/1.1\r\nHost: shared.example.com\r\nOrigin: http://ok.test\r\n\
                     Access-Control-Request-Method: GET\r\nb3: 463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-1\r\n";
    let allowed = client.ask(format!("{preflight}\r\n"));
    assert_eq!(allowed.header("access-control-allow-origin"), Some("http://ok.test"));
    let own = client.ask(format!("{preflight}Connection: origin, b3\r\n\r\n"));
    assert_eq!((own.status, own.header("access-control-allow-origin")), (200, None));
    let got = bench.origin.take().remove(0);
    assert_eq!((got.header("origin"), got.header("b3")), (None, None));
    assert_ne!(got.header("x-b3-traceid"), Some("463ac35c9f6413ad48485a3953bb6124"));
    drop(client);
    bench.finish();
}

fn a_client_at_another_loopback_address_is_named_by_it(driver: Driver) {
    let bench = Bench::new(driver, ok());
    let mut client = Client::connect_from([127, 0, 0, 7].into(), bench.ringway.address());
    assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    let got = bench.origin.take().remove(0);
    assert_eq!(got.header("x-forwarded-for"), Some("127.0.0.7"));
    assert_eq!(got.header("x-envoy-external-address"), Some("127.0.0.7"));
    drop(client);
    bench.finish();
}

/// The one connection is taken: a request that waits for it is pending, and only the other one active.
fn waiting_is_not_active(driver: Driver) {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let origin = Origin::start(move |peer| {
        while peer.request()?.is_some() {
            let _ = wait.lock().expect("nobody panics while waiting").recv_timeout(super::PATIENCE);
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
        }
        Ok(())
    });
    let pool = yaml::policy("origin", "connectionPool: {tcp: {maxConnections: 1}}");
    let bench = Bench::with(driver, origin, |setup| setup.yaml(pool));
    let mut clients = [bench.client(), bench.client()];
    clients.iter_mut().for_each(|client| client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    super::eventually("one that waits, and one under way", || {
        let stat = |name| bench.ringway.sum_of(name);
        let clusters = bench.ringway.admin("/clusters").text();
        let gauges = (stat(".upstream_rq_pending_active"), stat(".upstream_rq_active"));
        (gauges == (1, 1) && clusters.contains("::rq_active::1\n")).then_some(())
    });
    for _ in &clients {
        go.send(()).expect("the origin waits");
    }
    clients.iter_mut().for_each(|client| assert_eq!(client.response().status, 200));
    drop(clients);
    bench.finish();
}
