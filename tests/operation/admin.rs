//! What ringway shows of itself, asked of the real process: the admin endpoints that act, and the forms of the log.

use std::sync::Mutex;
use std::sync::mpsc::channel;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::client::{Client, Response, once};
use crate::support::origin::Origin;
use crate::support::ringway::{Driver, Ringway, Setup, everything_to};
use crate::support::wait::{PATIENCE, eventually};

/// A gateway for every host and path, all to the origin.
fn serve(setup: Setup, origin: &Origin) -> Ringway {
    setup.yaml(everything_to(&[origin.address.port()])).start()
}

fn origin() -> Origin {
    Origin::replying("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: text/odd\r\n\r\nok")
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.example.com\r\nUser-Agent: x\"\\\r\n\r\n")
}

fn post(ringway: &Ringway, target: &str) -> Response {
    once(ringway.admin, format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
}

#[test]
fn drained_it_shows_its_numbers_until_the_signal() {
    let origin = origin();
    let mut ringway = serve(Setup::new(Driver::Epoll), &origin);
    let mut client = ringway.client();
    assert_eq!(client.ask(get("/before")).status, 200);
    assert_eq!(ringway.admin("/drain").status, 405);
    assert_eq!(ringway.admin("/ready").status, 200, "asking is not doing");
    assert_eq!(post(&ringway, "/drain").status, 200);
    client.expect_closed();
    let address = ringway.address();
    eventually("new connections are refused", || Client::try_connect(address).is_err().then_some(()));
    let ready = ringway.admin("/ready");
    assert_eq!((ready.status, ready.text()), (503, "DRAINING\n".to_owned()));
    ringway.logged(&["GET /before"]);
    assert_eq!(ringway.sum_of("downstream_rq_2xx"), 1);
    assert!(ringway.process.ended().is_none(), "it waits for the signal");
    ringway.process.signal(Signal::TERM);
    ringway.ended();
}

#[test]
fn a_signal_during_a_drain_lets_it_finish() {
    let (go, wait) = channel();
    let wait = Mutex::new(wait);
    let origin = Origin::start(move |peer| {
        while peer.request()?.is_some() {
            let _ = wait.lock().expect("nobody panics while waiting").recv_timeout(PATIENCE);
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nslow")?;
        }
        Ok(())
    });
    let mut ringway = serve(Setup::new(Driver::Epoll), &origin);
    let mut client = ringway.client();
    client.send(get("/slow"));
    eventually("the request at the origin", || (origin.requests().len() == 1).then_some(()));
    assert_eq!(post(&ringway, "/drain").status, 200);
    ringway.process.signal(Signal::TERM);
    let address = ringway.address();
    eventually("new connections are refused", || Client::try_connect(address).is_err().then_some(()));
    assert!(ringway.process.ended().is_none(), "it waits for the request");
    go.send(()).expect("the origin waits");
    assert_eq!(client.response().text(), "slow");
    client.expect_closed();
    drop(client);
    ringway.ended();
}

#[test]
fn levels_of_the_log_change_while_it_runs() {
    let origin = origin();
    let mut ringway = serve(Setup::new(Driver::Epoll), &origin);
    assert!(ringway.admin("/logging").text().contains("\n  control: info\n"));
    let changed = post(&ringway, "/logging?control=error").text();
    assert!(changed.starts_with("active loggers:\n") && changed.contains("\n  control: error\n"), "{changed}");
    let refused = post(&ringway, "/logging?nobody=error");
    assert_eq!(refused.status, 400);
    assert!(refused.text().starts_with("error: unknown logger name\n\nusage: "), "{}", refused.text());
    assert_eq!(post(&ringway, "/drain").status, 200);
    let address = ringway.address();
    eventually("new connections are refused", || Client::try_connect(address).is_err().then_some(()));
    ringway.process.signal(Signal::TERM);
    let stopped = ringway.ended();
    assert!(stopped.said.contains("listening on") && !stopped.said.contains("draining"), "{}", stopped.said);
}

#[test]
fn the_access_log_as_json() {
    let origin = origin();
    let ringway = serve(Setup::new(Driver::Epoll).mesh_config("accessLogEncoding", "JSON"), &origin);
    assert_eq!(ringway.client().ask(get("/json?a=b")).status, 200);
    let line = ringway.logged(&["/json"]);
    let value: Value = serde_json::from_str(&line).expect("a line of JSON");
    for (key, expected) in [
        ("method", Value::from("GET")),
        ("path", "/json?a=b".into()),
        ("response_code", 200.into()),
        ("bytes_sent", 2.into()),
        ("user_agent", "x\"\\".into()),
        ("upstream_host", origin.address.to_string().into()),
        ("requested_server_name", Value::Null),
    ] {
        assert_eq!(value[key], expected, "{key} in {line}");
    }
    assert_eq!(value.as_object().map(serde_json::Map::len), Some(24), "{line}");
}

#[test]
fn the_access_log_in_a_form_of_ones_own() {
    let origin = origin();
    let format = "'%REQ(:METHOD)% %RESPONSE_CODE% %START_TIME(%Y)% [%REQ(X-NONE?USER-AGENT):1%]'";
    let ringway = serve(Setup::new(Driver::Epoll).mesh_config("accessLogFormat", format), &origin);
    assert_eq!(ringway.client().ask(get("/")).status, 200);
    let line = ringway.logged(&["GET 200 20"]);
    assert!(line.ends_with(" [x]"), "{line}");
}

/// What went to the client: of the upstream, of rules, of the proxy itself.
#[test]
fn the_access_log_shows_response_headers() {
    let origin = origin();
    let format =
        "'%REQ(:PATH)% %RESP(CONTENT-TYPE)% %RESP(X-RULE)% %RESP(SERVER)% %RESP(CONTENT-LENGTH)% %RESP(X-NONE)%'";
    let ringway = Setup::new(Driver::Epoll)
        .mesh_config("accessLogFormat", format)
        .yaml(everything_to(&[origin.address.port()]))
        .yaml(
            "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: own}
spec:
  hosts: [own.example.com]
  gateways: [edge]
  http:
  - match: [{uri: {prefix: /direct}}]
    directResponse: {status: 418, body: {string: tea}}
    headers: {response: {set: {x-rule: brewed}}}
  - match: [{uri: {prefix: /rule}}]
    route: [{destination: {host: origin, port: {number: 8000}}}]
    rewrite: {uri: /new}
    headers: {response: {set: {x-rule: '1', content-type: text/even}}}
",
        )
        .start();
    let mut client = ringway.client();
    for (host, path, line) in [
        ("a.example.com", "/plain", "/plain text/odd - ringway 2 -"),
        ("own.example.com", "/direct", "/direct text/plain brewed ringway 3 -"),
        ("own.example.com", "/none", "/none - - ringway 0 -"),
        ("own.example.com", "/rule", "/new text/even 1 ringway 2 -"),
    ] {
        client.ask(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let path = line.split(' ').next().unwrap_or_default();
        assert_eq!(ringway.logged(&[path]), line);
    }
}

#[test]
fn a_form_that_is_not_enforced_stops_the_start() {
    let (code, said) = Setup::new(Driver::Epoll).mesh_config("accessLogFormat", "'%TRACE_ID%'").fail();
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("spec.meshConfig.accessLogFormat: error: `%TRACE_ID%` is an operator of Envoy's"), "{said}");
}

#[test]
fn a_route_with_a_stat_prefix_counts_for_itself() {
    let origin = origin();
    let ringway = Setup::new(Driver::Epoll)
        .yaml(everything_to(&[origin.address.port()]))
        .yaml(
            "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: own}
spec:
  hosts: [own.example.com]
  gateways: [edge]
  http:
  - match: [{uri: {prefix: /one}, statPrefix: one}, {uri: {prefix: /two}, statPrefix: two}, {uri: {prefix: /three}}]
    route: [{destination: {host: origin, port: {number: 8000}}}]
",
        )
        .start();
    let mut client = ringway.client();
    for path in ["/one", "/two", "/two", "/three"] {
        let response = client.ask(format!("GET {path} HTTP/1.1\r\nHost: own.example.com\r\n\r\n"));
        assert_eq!(response.status, 200, "{path}");
    }
    ringway.logged(&["/three"]);
    let count = |name: &str| ringway.stat(&format!("vhost.own.example.com:80.route.{name}"));
    for (prefix, requests) in [("one", 1), ("two", 2)] {
        for field in ["total", "completed", "2xx", "200"] {
            assert_eq!(count(&format!("{prefix}.upstream_rq_{field}")), requests, "{prefix} {field}");
        }
    }
}
