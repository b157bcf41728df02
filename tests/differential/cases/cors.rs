//! CORS: preflights answered by the proxy, simple requests with headers added to the answer, and nobody blocked.

use super::{ask, gateway, service, workload};
use crate::bench::{World, compare};
use crate::case::{Case, Reply, Stated, VIA};

#[test]
fn cors() {
    compare(WORLD, CORS);
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

#[rustfmt::skip] // one request a line
const CORS: &[Case] = &[
    ask!("OPTIONS" "/x" "full.example.com" ["Origin: https://exact.example.com", "Access-Control-Request-Method: GET"] => &["200 - cors_response full"]),
    ask!("GET" "/x" "full.example.com" ["Origin: https://exact.example.com"] => VIA),
    ask!("OPTIONS" "/x" "full.example.com" ["Origin: https://prefix.example.com", "Access-Control-Request-Method: GET"] => &["200 - cors_response full"]),
    ask!("GET" "/x" "full.example.com" ["Origin: https://prefix.example.com"] => VIA),
    ask!("OPTIONS" "/x" "full.example.com" ["Origin: https://a.regex.example.com", "Access-Control-Request-Method: GET"] => &["200 - cors_response full"]),
    ask!("GET" "/x" "full.example.com" ["Origin: https://a.regex.example.com"] => VIA),
    ask!("OPTIONS" "/x" "full.example.com" ["Origin: https://b1.regex.example.com", "Access-Control-Request-Method: GET"] => &["200 - via_upstream full"]),
    ask!("GET" "/x" "full.example.com" ["Origin: https://b1.regex.example.com"] => VIA),
    ask!("OPTIONS" "/x" "full.example.com" ["Origin: https://evil.example.com", "Access-Control-Request-Method: GET"] => &["200 - via_upstream full"]),
    ask!("GET" "/x" "full.example.com" ["Origin: https://evil.example.com"] => VIA),
    ask!("OPTIONS" "/x" "full.example.com" ["Origin: http://exact.example.com", "Access-Control-Request-Method: GET"] => &["200 - via_upstream full"]),
    ask!("GET" "/x" "full.example.com" ["Origin: http://exact.example.com"] => VIA),
    ask!("OPTIONS" "/x" "full.example.com" ["Origin: HTTPS://EXACT.example.com", "Access-Control-Request-Method: GET"] => &["200 - via_upstream full"]),
    ask!("GET" "/x" "full.example.com" ["Origin: HTTPS://EXACT.example.com"] => VIA),
    ask!("OPTIONS" "/x" "full.example.com" ["Origin: null", "Access-Control-Request-Method: GET"] => &["200 - via_upstream full"]),
    ask!("GET" "/x" "full.example.com" ["Origin: null"] => VIA),
    ask!("OPTIONS" "/x" "full.example.com" ["Origin:", "Access-Control-Request-Method: GET"] => &["200 - via_upstream full"]),
    ask!("GET" "/x" "full.example.com" ["Origin:"] => VIA),
    ask!("OPTIONS" "/x" "full.example.com" ["Origin: https://exact.example.com"] => VIA),
    ask!("OPTIONS" "/x" "full.example.com" ["Access-Control-Request-Method: GET"] => VIA),
    ask!("GET" "/x" "full.example.com" [] => VIA),
    ask!("OPTIONS" "/x" "full.example.com" ["Origin: https://exact.example.com", "Access-Control-Request-Method: DELETE", "Access-Control-Request-Headers: X-Other"] => &["200 - cors_response full"]),
    ask!("GET" "/x" "full.example.com" ["Origin: https://exact.example.com"] => VIA).origin(OWN_HEADERS),
    ask!("OPTIONS" "/x" "plain.example.com" ["Origin: https://exact.example.com", "Access-Control-Request-Method: GET"] => &["200 - cors_response plain"]),
    ask!("GET" "/x" "plain.example.com" ["Origin: https://exact.example.com"] => VIA),
    ask!("OPTIONS" "/x" "plain.example.com" ["Origin: https://evil.example.com", "Access-Control-Request-Method: GET"] => &["200 - cors_response plain"]),
    ask!("GET" "/x" "plain.example.com" ["Origin: https://evil.example.com"] => VIA),
    ask!("OPTIONS" "/x" "plain.example.com" ["Origin: null", "Access-Control-Request-Method: GET"] => &["200 - cors_response plain"]),
    ask!("GET" "/x" "plain.example.com" ["Origin: null"] => VIA),
    ask!("OPTIONS" "/x" "plain.example.com" ["Origin:", "Access-Control-Request-Method: GET"] => &["200 - via_upstream plain"]),
    ask!("GET" "/x" "plain.example.com" ["Origin:"] => VIA),
    ask!("OPTIONS" "/x" "plain.example.com" ["Origin: https://exact.example.com"] => VIA),
    ask!("OPTIONS" "/x" "plain.example.com" ["Access-Control-Request-Method: GET"] => VIA),
    ask!("GET" "/x" "plain.example.com" [] => VIA),
    ask!("OPTIONS" "/x" "plain.example.com" ["Origin: https://exact.example.com", "Access-Control-Request-Method: DELETE", "Access-Control-Request-Headers: X-Other"] => &["200 - cors_response plain"]),
    ask!("GET" "/x" "plain.example.com" ["Origin: https://exact.example.com"] => VIA).origin(OWN_HEADERS),
    ask!("OPTIONS" "/x" "ignore.example.com" ["Origin: https://exact.example.com", "Access-Control-Request-Method: GET"] => &["200 - cors_response ignore"]),
    ask!("GET" "/x" "ignore.example.com" ["Origin: https://exact.example.com"] => VIA),
    ask!("OPTIONS" "/x" "ignore.example.com" ["Origin: https://evil.example.com", "Access-Control-Request-Method: GET"] => &["200 - cors_response ignore"]),
    ask!("GET" "/x" "ignore.example.com" ["Origin: https://evil.example.com"] => VIA),
    ask!("OPTIONS" "/x" "ignore.example.com" ["Origin: null", "Access-Control-Request-Method: GET"] => &["200 - cors_response ignore"]),
    ask!("GET" "/x" "ignore.example.com" ["Origin: null"] => VIA),
    ask!("OPTIONS" "/x" "ignore.example.com" ["Origin:", "Access-Control-Request-Method: GET"] => &["200 - via_upstream ignore"]),
    ask!("GET" "/x" "ignore.example.com" ["Origin:"] => VIA),
    ask!("OPTIONS" "/x" "ignore.example.com" ["Origin: https://exact.example.com"] => VIA),
    ask!("OPTIONS" "/x" "ignore.example.com" ["Access-Control-Request-Method: GET"] => VIA),
    ask!("GET" "/x" "ignore.example.com" [] => VIA),
    ask!("OPTIONS" "/x" "ignore.example.com" ["Origin: https://exact.example.com", "Access-Control-Request-Method: DELETE", "Access-Control-Request-Headers: X-Other"] => &["200 - cors_response ignore"]),
    ask!("GET" "/x" "ignore.example.com" ["Origin: https://exact.example.com"] => VIA).origin(OWN_HEADERS),
    ask!("OPTIONS" "/x" "star.example.com" ["Origin: https://exact.example.com", "Access-Control-Request-Method: GET"] => &["200 - cors_response star"]).but(ASKED_FOR_NONE),
    ask!("GET" "/x" "star.example.com" ["Origin: https://exact.example.com"] => VIA),
    ask!("OPTIONS" "/x" "star.example.com" ["Origin: https://evil.example.com", "Access-Control-Request-Method: GET"] => &["200 - cors_response star"]).but(ASKED_FOR_NONE),
    ask!("GET" "/x" "star.example.com" ["Origin: https://evil.example.com"] => VIA),
    ask!("OPTIONS" "/x" "star.example.com" ["Origin: null", "Access-Control-Request-Method: GET"] => &["200 - cors_response star"]).but(ASKED_FOR_NONE),
    ask!("GET" "/x" "star.example.com" ["Origin: null"] => VIA),
    ask!("OPTIONS" "/x" "star.example.com" ["Origin:", "Access-Control-Request-Method: GET"] => &["200 - via_upstream star"]),
    ask!("GET" "/x" "star.example.com" ["Origin:"] => VIA),
    ask!("OPTIONS" "/x" "star.example.com" ["Origin: https://exact.example.com"] => VIA),
    ask!("OPTIONS" "/x" "star.example.com" ["Access-Control-Request-Method: GET"] => VIA),
    ask!("GET" "/x" "star.example.com" [] => VIA),
    ask!("OPTIONS" "/x" "star.example.com" ["Origin: https://exact.example.com", "Access-Control-Request-Method: DELETE", "Access-Control-Request-Headers: X-Other"] => &["200 - cors_response star"]),
    ask!("GET" "/x" "star.example.com" ["Origin: https://exact.example.com"] => VIA).origin(OWN_HEADERS),
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
