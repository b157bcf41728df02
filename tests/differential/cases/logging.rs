//! `meshConfig.accessLogFormat`, as text and as JSON: the same line from both proxies, but for what time and chance make.

use std::net::SocketAddr;

use super::{gateway, service, workload};
use crate::bench::{Proxy, World, at_each};
use crate::support::client::Client;
use crate::support::wait::eventually;

const WORLD: World = World::gateway(
    concat!(
        gateway!(),
        r"
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a.example.com]
  gateways: [edge]
  http:
  - name: rewritten
    match: [{uri: {prefix: /old}}]
    rewrite: {uri: /new, authority: new.example.com}
    headers: {request: {set: {x-set: 'by the rule'}}, response: {set: {x-answer: 'of the rule'}}}
    route: [{destination: {host: origin}}]
  - name: redirected
    match: [{uri: {prefix: /redirect}}]
    redirect: {uri: /there}
  - name: direct
    match: [{uri: {prefix: /direct}}]
    directResponse: {status: 418, body: {string: teapot}}
  - name: refusing
    match: [{uri: {prefix: /refusing}}]
    route: [{destination: {host: refusing}}]
  - name: missing
    match: [{uri: {prefix: /missing}}]
    route: [{destination: {host: missing, port: {number: 8000}}}]
  - match: [{uri: {prefix: /plain}}]
    route: [{destination: {host: origin}}]
",
        service!("origin"),
        service!("refusing"),
        workload!("origin", "@0"),
        workload!("refusing", "@refusing")
    ),
    1,
);

/// Requests that end in every way that a line can tell of.
const REQUESTS: &[&str] = &[
    "GET /plain?a=1&b=2 HTTP/1.1\r\nHost: a.example.com\r\nUser-Agent: curl\r\nX-A: value\r\n\r\n",
    "POST /plain HTTP/1.1\r\nHost: a.example.com\r\nContent-Length: 5\r\nX-A: one\r\nX-A: two\r\n\r\nhello",
    "GET /plain HTTP/1.1\r\nHost: a.example.com\r\nX-A: say \"hi\" \\ and more\r\nX-B: caf\u{e9}\r\n\r\n",
    "GET /old/path?a=1 HTTP/1.1\r\nHost: a.example.com:8080\r\nX-Set: by the client\r\n\r\n",
    "GET /redirect HTTP/1.1\r\nHost: a.example.com\r\n\r\n",
    "GET /direct HTTP/1.1\r\nHost: a.example.com\r\n\r\n",
    "HEAD /direct HTTP/1.1\r\nHost: a.example.com\r\n\r\n",
    "GET /refusing HTTP/1.1\r\nHost: a.example.com\r\n\r\n",
    "GET /missing HTTP/1.1\r\nHost: a.example.com\r\n\r\n",
    "GET /none HTTP/1.1\r\nHost: a.example.com\r\n\r\n",
    "GET /x HTTP/1.1\r\nHost: b.example.com\r\n\r\n",
    "GET /plain HTTP/1.0\r\nHost: a.example.com\r\n\r\n",
];

/// Asks everything, each on a connection of its own, and gives the lines of the log.
fn lines(proxy: &dyn Proxy) -> Vec<String> {
    let address: SocketAddr = proxy.address();
    for request in REQUESTS {
        Client::connect(address).ask(request);
    }
    eventually(&format!("{} lines of {}", REQUESTS.len(), proxy.name()), || {
        Some(proxy.log()).filter(|lines| lines.len() >= REQUESTS.len())
    })
}

/// A line of text without ringway's escapes: it writes quotes, backslashes and bytes above ASCII as `\\xNN`, so that no
/// header can forge another field. Envoy writes them as they are.
fn unescaped(line: &str) -> String {
    let mut parts = line.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(digits, 16).expect("two hex digits"));
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).expect("UTF-8 as the requests are")
}

fn as_it_is(line: &str) -> String {
    line.to_owned()
}

/// `plain` undoes what ringway does to a line on purpose.
fn same_lines(world: World, plain: fn(&str) -> String) {
    let mut envoy: Option<Vec<String>> = None;
    at_each(world, |proxy| {
        let lines = lines(proxy);
        let Some(envoy) = &envoy else {
            assert!(lines.iter().any(|line| line.contains("value")), "{lines:#?}");
            envoy = Some(lines);
            return;
        };
        for ((request, envoy), ringway) in REQUESTS.iter().zip(envoy).zip(&lines) {
            assert_eq!(&plain(ringway), envoy, "{} for {request:?}", proxy.name());
        }
    });
}

#[test]
fn text() {
    same_lines(
        WORLD.under(&[(
        "accessLogFormat",
        concat!(
            r#""%REQ(:METHOD)% %REQ(:PATH)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %REQ(:AUTHORITY)% %REQ(:SCHEME)% %PROTOCOL% "#,
            r"%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG% %RESPONSE_CODE_DETAILS% ",
            r"%CONNECTION_TERMINATION_DETAILS% %BYTES_RECEIVED% %BYTES_SENT% a=%REQ(X-A)% cut=%REQ(X-A):3% ",
            r"either=%REQ(X-NONE?X-A)% b=%REQ(X-B)% set=%REQ(X-SET)% answer=%RESP(X-ANSWER)% origin=%RESP(X-ORIGIN)% ",
            r"none=%RESP(X-NONE)% to=%RESP(LOCATION)% 100%% %PATH(NQ:ORIG)% ",
            r"%PATH(WQ:PATH)% %QUERY_PARAM(a)% %QUERY_PARAM(c)% %UPSTREAM_HOST% %UPSTREAM_CLUSTER_RAW% ",
            r"%UPSTREAM_REMOTE_ADDRESS% %UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %UPSTREAM_REMOTE_PORT% ",
            r"%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% %UPSTREAM_PROTOCOL% %UPSTREAM_TRANSPORT_FAILURE_REASON% ",
            r"%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% ",
            r#"%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n""#,
        ),
    )]),
        unescaped,
    );
}

#[test]
fn json() {
    same_lines(
        WORLD.under(&[
            ("accessLogEncoding", "JSON"),
            (
                "accessLogFormat",
                concat!(
                    r#"'{"path": "%REQ(:PATH)%", "status": "%RESPONSE_CODE%", "flags": "%RESPONSE_FLAGS%", "#,
                    r#""a": "%REQ(X-A)%", "b": "%REQ(X-B)%", "mixed": "a %REQ(X-A)% of %RESPONSE_CODE%", "#,
                    r#""received": "%BYTES_RECEIVED%", "sent": "%BYTES_SENT%", "host": "%UPSTREAM_HOST%", "#,
                    r#""cluster": "%UPSTREAM_CLUSTER_RAW%", "route": "%ROUTE_NAME%", "plain": "text", "#,
                    r#""details": "%RESPONSE_CODE_DETAILS%", "Capital": "%PROTOCOL%"}'"#,
                ),
            ),
        ]),
        as_it_is,
    );
}
