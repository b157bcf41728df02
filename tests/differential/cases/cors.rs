//! CORS: preflights answered by the proxy, simple requests with headers added to the answer, and nobody blocked.

use super::{ask, gateway, service, workload};
use crate::bench::{World, compare};
use crate::case::{Case, Reply, Stated, Step, VIA};

#[test]
fn cors() {
    compare(WORLD, &[crossed(), CORS.to_vec()].concat());
}

const WORLD: World = World::gateway(
    concat!(
        gateway!(),
        r"
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: full}
spec:
  hosts: [full.example.com]
  gateways: [edge]
  http:
  - name: full
    corsPolicy:
      allowOrigins: [{exact: 'https://exact.example.com'}, {prefix: 'https://prefix.'}, {regex: 'https://[a-z]+\.regex\.example\.com'}]
      allowMethods: [GET, POST, PATCH]
      allowHeaders: [X-Foo, content-type]
      exposeHeaders: [X-Bar, X-Baz]
      maxAge: 86400s
      allowCredentials: true
    route: [{destination: {host: origin}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: plain}
spec:
  hosts: [plain.example.com]
  gateways: [edge]
  http:
  - name: plain
    corsPolicy:
      allowOrigins: [{exact: '*'}]
    route: [{destination: {host: origin}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ignore}
spec:
  hosts: [ignore.example.com]
  gateways: [edge]
  http:
  - name: ignore
    corsPolicy:
      allowOrigins: [{exact: 'https://exact.example.com'}]
      allowMethods: [GET]
      maxAge: 60s
      unmatchedPreflights: IGNORE
    headers: {response: {set: {x-set: 'yes'}}}
    route: [{destination: {host: origin}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: star}
spec:
  hosts: [star.example.com]
  gateways: [edge]
  http:
  - name: star
    corsPolicy:
      allowOrigins: [{regex: '.*'}]
      allowMethods: ['*']
      allowHeaders: ['*']
      exposeHeaders: ['*']
      allowCredentials: false
    route: [{destination: {host: origin}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: others}
spec:
  hosts: [others.example.com]
  gateways: [edge]
  http:
  - name: redirect
    match: [{uri: {prefix: /redirect}}]
    corsPolicy: {allowOrigins: [{exact: 'https://exact.example.com'}], allowMethods: [GET]}
    redirect: {uri: /new}
  - name: direct
    match: [{uri: {prefix: /direct}}]
    corsPolicy: {allowOrigins: [{exact: 'https://exact.example.com'}], allowMethods: [GET]}
    directResponse: {status: 200, body: {string: hello}}
  - name: missing
    match: [{uri: {prefix: /missing}}]
    corsPolicy: {allowOrigins: [{exact: 'https://exact.example.com'}], allowMethods: [GET], exposeHeaders: [X-Bar]}
    route: [{destination: {host: missing, port: {number: 8000}}}]
  - name: only-get
    match: [{uri: {prefix: /only-get}, method: {exact: GET}}]
    corsPolicy: {allowOrigins: [{exact: 'https://exact.example.com'}], allowMethods: [GET]}
    route: [{destination: {host: origin}}]
  - name: none
    route: [{destination: {host: origin}}]
",
        service!("origin"),
        workload!("origin", "@0")
    ),
    1,
);

/// An origin that has CORS headers of its own.
const OWN_HEADERS: Reply = Reply::Bytes(
    b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: https://origin.example.com\r\nAccess-Control-Expose-Headers: X-Own\r\n\
      Vary: Origin\r\nContent-Length: 2\r\n\r\nok",
);

const ASKED_FOR_NONE: &[Stated] = &[Stated {
    place: "client.0.header.access-control-allow-headers",
    ringway: "<absent>",
    why: "where `*` stands for what the browser asks for and it asks for nothing, an empty list tells it nothing",
}];

const TWO_ORIGINS: &[Stated] = &[Stated {
    place: "origin.0.header.origin",
    ringway: "https://exact.example.com & https://evil.example.com",
    why: "lines are passed on as received",
}];

/// Whether a policy allows an origin.
type Allows = fn(&str) -> bool;

/// Hosts with a policy of their own each, and which of [`ORIGINS`] it allows.
const HOSTS: [(&str, Allows); 4] = [
    ("full", |origin| ORIGINS[..3].contains(&origin)),
    // A lone `*`, also where nothing matches but unmatched preflights are not to be answered; and a regex for all.
    ("plain", |origin| !origin.is_empty()),
    ("ignore", |origin| !origin.is_empty()),
    ("star", |origin| !origin.is_empty()),
];

/// Values of `Origin`.
const ORIGINS: [&str; 9] = [
    "https://exact.example.com",
    "https://prefix.example.com",
    "https://a.regex.example.com",
    "https://b1.regex.example.com",
    "https://evil.example.com",
    "http://exact.example.com",
    "HTTPS://EXACT.example.com",
    "null",
    "",
];

/// A request for `/x`, named after it.
fn asking(method: &'static str, host: &str, lines: &[&str], envoy: &str) -> Case {
    let name = [&[&*format!("{method} /x {host}")], lines].concat().join(", ");
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let request = format!("{method} /x HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n");
    // A case lives as long as the process, as those of the other tables do.
    let steps = vec![Step::Send(request.into_bytes().leak()), Step::Read(method)];
    Case::get(name.leak(), steps.leak(), vec![&*envoy.to_owned().leak()].leak())
}

/// Each host asked by each origin, with a preflight and with a simple request; and by requests that are neither.
fn crossed() -> Vec<Case> {
    const WANTS_GET: &str = "Access-Control-Request-Method: GET";
    let mut cases = Vec::new();
    for (name, allows) in HOSTS {
        let host = format!("{name}.example.com");
        let answered = format!("200 - cors_response {name}");
        let passed = format!("200 - via_upstream {name}");
        for origin in ORIGINS {
            let line = format!("Origin: {origin}");
            let line = line.trim_end();
            let preflight =
                asking("OPTIONS", &host, &[line, WANTS_GET], if allows(origin) { &answered } else { &passed });
            let none = name == "star" && allows(origin);
            cases.push(if none { preflight.but(ASKED_FOR_NONE) } else { preflight });
            cases.push(asking("GET", &host, &[line], &passed));
        }
        let exact = "Origin: https://exact.example.com";
        let other = ["Access-Control-Request-Method: DELETE", "Access-Control-Request-Headers: X-Other"];
        cases.push(asking("OPTIONS", &host, &[exact], &passed));
        cases.push(asking("OPTIONS", &host, &[WANTS_GET], &passed));
        cases.push(asking("GET", &host, &[], &passed));
        cases.push(asking("OPTIONS", &host, &[&[exact], &other[..]].concat(), &answered));
        cases.push(asking("GET", &host, &[exact], &passed).origin(OWN_HEADERS));
    }
    cases
}

#[rustfmt::skip] // one request a line
const CORS: &[Case] = &[
    ask!("GET" "/x" "full.example.com" ["Origin: https://exact.example.com", "Access-Control-Request-Method: GET"] => VIA),
    ask!("OPTIONS" "/x" "full.example.com" ["Origin: https://exact.example.com", "Origin: https://evil.example.com", "Access-Control-Request-Method: GET"] => &["200 - via_upstream full"]).but(TWO_ORIGINS),
    ask!("OPTIONS" "/x" "full.example.com" ["Origin: https://exact.example.com", "Access-Control-Request-Method:"] => &["200 - via_upstream full"]),
    ask!("POST" "/x" "full.example.com" ["Origin: https://exact.example.com"] => VIA),
    ask!("OPTIONS" "/redirect" "others.example.com" ["Origin: https://exact.example.com", "Access-Control-Request-Method: GET"] => &["301 - direct_response redirect"]),
    ask!("GET" "/redirect" "others.example.com" ["Origin: https://exact.example.com"] => &["301 - direct_response redirect"]),
    ask!("OPTIONS" "/direct" "others.example.com" ["Origin: https://exact.example.com", "Access-Control-Request-Method: GET"] => &["200 - direct_response direct"]),
    ask!("GET" "/direct" "others.example.com" ["Origin: https://exact.example.com"] => &["200 - direct_response direct"]),
    ask!("OPTIONS" "/missing" "others.example.com" ["Origin: https://exact.example.com", "Access-Control-Request-Method: GET"] => &["200 - cors_response missing"]),
    ask!("GET" "/missing" "others.example.com" ["Origin: https://exact.example.com"] => &["503 NC cluster_not_found missing"]),
    ask!("OPTIONS" "/only-get" "others.example.com" ["Origin: https://exact.example.com", "Access-Control-Request-Method: GET"] => &["200 - via_upstream none"]),
    ask!("GET" "/only-get" "others.example.com" ["Origin: https://exact.example.com"] => &["200 - via_upstream only-get"]),
    ask!("OPTIONS" "/x" "others.example.com" ["Origin: https://exact.example.com", "Access-Control-Request-Method: GET"] => &["200 - via_upstream none"]),
    ask!("GET" "/x" "others.example.com" ["Origin: https://exact.example.com"] => &["200 - via_upstream none"]),
    ask!("GET" "/missing" "others.example.com" ["Origin: https://evil.example.com"] => &["503 NC cluster_not_found missing"]),
];
