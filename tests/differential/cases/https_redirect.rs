//! `httpsRedirect` of a Gateway's servers: `require_tls` of virtual hosts.

use super::{ask, service, workload};
use crate::bench::{World, compare, compare_counting};
use crate::case::Step::{Read, Send};
use crate::case::{Case, Stated};

#[test]
fn https_redirect() {
    compare_counting(WORLD, CASES, COUNTED);
}

/// What counts redirects, and what must not.
const COUNTED: &[&str] = &[
    ".downstream_rq_total",
    ".rq_total",
    ".rq_direct_response",
    ".rq_redirect",
    ".no_route",
    ".upstream_rq_total",
    ".fault.aborts_injected",
];

/// Several servers on one port, of which some redirect. Nothing is for `marker.example.com`.
const WORLD: World = World::gateway(
    concat!(
        r"
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  servers:
  - port: {number: 80, name: plain, protocol: HTTP}
    hosts: ['plain.example.com', '*.both.example.com', 'open.wild.example.com']
  - port: {number: 80, name: redirecting, protocol: HTTP}
    hosts: ['secure.example.com', 'bare.example.com', '*.wild.example.com', 'one.both.example.com', '10.1.2.3', '::1']
    tls: {httpsRedirect: true}
  - port: {number: 80, name: off, protocol: HTTP}
    hosts: ['off.example.com']
    tls: {httpsRedirect: false}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: all}
spec:
  hosts: ['*']
  gateways: [edge]
  http:
  - name: aborted
    match: [{uri: {prefix: /abort}}]
    fault: {abort: {percentage: {value: 100}, httpStatus: 418}}
    route: [{destination: {host: origin}}]
  - name: direct
    match: [{uri: {prefix: /direct}}]
    directResponse: {status: 204}
  - name: redirected
    match: [{uri: {prefix: /redirect}}]
    redirect: {uri: /new}
  - name: shared
    corsPolicy: {allowOrigins: [{exact: 'http://a.com'}]}
    headers: {response: {set: {x-rule: 'yes', strict-transport-security: max-age=1}}}
    route: [{destination: {host: origin}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: one}
spec:
  hosts: ['secure.example.com', 'sub.wild.example.com']
  gateways: [edge]
  http:
  - match: [{uri: {prefix: /only}}]
    route: [{destination: {host: origin}}]
",
        service!("origin"),
        workload!("origin", "@0")
    ),
    1,
);

/// What Envoy logs for a redirect: no flag, and no route's name.
const TO_HTTPS: &[&str] = &["301 - direct_response -"];

#[rustfmt::skip] // one request a line
const CASES: &[Case] = &[
    ask!("GET" "/" "secure.example.com" [] => TO_HTTPS),
    ask!("GET" "/only?a=b&c" "secure.example.com" [] => TO_HTTPS),
    ask!("GET" "/x?" "secure.example.com" [] => TO_HTTPS),
    ask!("GET" "/x?y?z=%41" "secure.example.com" [] => TO_HTTPS),
    ask!("GET" "/" "secure.example.com:8080" [] => TO_HTTPS),
    ask!("GET" "/" "secure.example.com:80" [] => TO_HTTPS),
    ask!("GET" "/" "secure.example.com:443" [] => TO_HTTPS),
    ask!("GET" "/" "Secure.EXAMPLE.com:8080" [] => TO_HTTPS),
    ask!("GET" "/" "10.1.2.3:8080" [] => TO_HTTPS),
    ask!("GET" "/p" "[::1]" [] => TO_HTTPS),
    ask!("GET" "/p" "[::1]:8080" [] => TO_HTTPS),
    ask!("GET" "/a/../b/./c%41" "secure.example.com" [] => TO_HTTPS),
    ask!("GET" "//double//slash" "secure.example.com" [] => TO_HTTPS),
    ask!("GET" "/abort" "secure.example.com" [] => TO_HTTPS),
    ask!("GET" "/direct" "one.both.example.com" [] => TO_HTTPS),
    ask!("GET" "/redirect" "one.both.example.com" [] => TO_HTTPS),
    ask!("HEAD" "/x" "secure.example.com" [] => TO_HTTPS),
    ask!("DELETE" "/x" "secure.example.com" [] => TO_HTTPS),
    ask!("OPTIONS" "/x" "secure.example.com" ["Origin: http://a.com", "Access-Control-Request-Method: GET"] => TO_HTTPS),
    ask!("GET" "/x" "secure.example.com" ["Origin: http://a.com"] => TO_HTTPS),
    // A Gateway does not believe its clients.
    ask!("GET" "/x" "secure.example.com" ["X-Forwarded-Proto: https"] => TO_HTTPS),
    ask!("GET" "/x" "secure.example.com" ["X-Forwarded-Proto: http"] => TO_HTTPS),
    ask!("GET" "/x" "secure.example.com" ["X-Forwarded-Proto: https", "X-Forwarded-Proto: https"] => TO_HTTPS),
    ask!("GET" "https://secure.example.com/x" "secure.example.com" [] =>
        &["403 DPE http1.https_url_on_plaintext_connection"]),
    ask!("GET" "/x" "secure.example.com" ["Connection: close"] => TO_HTTPS),
    ask!("GET" "http://secure.example.com:81/x?y" "plain.example.com" [] => TO_HTTPS),
    ask!("GET" "http://plain.example.com/x" "secure.example.com" [] => &["200 - via_upstream shared"]),
    ask!("GET" "/none" "bare.example.com" [] => TO_HTTPS),
    ask!("GET" "/none" "any.wild.example.com" [] => TO_HTTPS),
    ask!("GET" "/none" "sub.wild.example.com" [] => TO_HTTPS),
    // A rule of a server without the redirect is for this host, and one with it covers the rule's hosts.
    ask!("GET" "/none" "open.wild.example.com" [] => &["200 - via_upstream shared"]),
    ask!("GET" "/none" "one.both.example.com" [] => TO_HTTPS),
    ask!("GET" "/none" "two.both.example.com" [] => &["200 - via_upstream shared"]),
    ask!("GET" "/x" "plain.example.com" [] => &["200 - via_upstream shared"]),
    ask!("GET" "/x" "plain.example.com" ["X-Forwarded-Proto: https"] => &["200 - via_upstream shared"]),
    ask!("GET" "/x" "off.example.com" [] => &["200 - via_upstream shared"]),
    ask!("GET" "/x" "other.example.com" [] => &["404 NR route_not_found"]),
    ask!("GET" "/x" "wild.example.com" [] => &["404 NR route_not_found"]),
    Case::get(
        "POST with a body",
        &[
            Send(b"POST /x?y HTTP/1.1\r\nHost: secure.example.com\r\nContent-Length: 5\r\n\r\nhello"),
            Read("POST"),
        ],
        TO_HTTPS,
    ),
    Case::get(
        "POST without a body",
        &[Send(b"POST /x HTTP/1.1\r\nHost: secure.example.com\r\nContent-Length: 0\r\n\r\n"), Read("POST")],
        TO_HTTPS,
    ),
    Case::get("HTTP/1.0", &[Send(b"GET /x HTTP/1.0\r\nHost: secure.example.com\r\n\r\n"), Read("GET")], TO_HTTPS),
    Case::get(
        "two on a connection",
        &[
            Send(b"GET /1 HTTP/1.1\r\nHost: secure.example.com\r\n\r\nGET /2 HTTP/1.1\r\nHost: plain.example.com\r\n\r\n"),
            Read("GET"),
            Read("GET"),
        ],
        &["301 - direct_response -", "200 - via_upstream shared"],
    ),
];

/// What ends with another state of the connection, or asks for none of what rules are for.
#[test]
fn connections() {
    compare(WORLD, CONNECTIONS);
}

const NO_UPGRADE: &str = "an answer other than 101 leaves HTTP in force (RFC 9110 §7.8), so the connection can stay";

const NO_TUNNEL: &str =
    "a Gateway makes no tunnels, whatever its hosts are redirected to: CONNECT is answered as elsewhere";

const CONNECTIONS: &[Case] = &[
    ask!("GET" "/ws" "secure.example.com" ["Connection: Upgrade", "Upgrade: websocket"] => TO_HTTPS).but(&[
        Stated { place: "client.0.header.connection", ringway: "<absent>", why: NO_UPGRADE },
        Stated { place: "client.after", ringway: "open", why: NO_UPGRADE },
    ]),
    ask!("CONNECT" "secure.example.com:80" "secure.example.com:80" [] => &["403 - upgrade_failed"]).but(&[
        Stated { place: "client.0.start", ringway: "HTTP/1.1 404 Not Found", why: NO_TUNNEL },
        Stated { place: "log", ringway: "", why: NO_TUNNEL },
    ]),
];

/// A server that redirects whatever host is asked for, or none.
const EVERY_HOST: World = World::gateway(
    concat!(
        r"
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  servers:
  - port: {number: 80, name: plain, protocol: HTTP}
    hosts: [marker.example.com]
  - port: {number: 80, name: redirecting, protocol: HTTP}
    hosts: ['other/*']
    tls: {httpsRedirect: true}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: marker}
spec:
  hosts: [marker.example.com]
  gateways: [edge]
  http:
  - match: [{uri: {exact: /nowhere}}]
    route: [{destination: {host: origin}}]
",
        service!("origin"),
        workload!("origin", "@0")
    ),
    1,
);

#[test]
fn without_a_host() {
    compare(EVERY_HOST, WITHOUT_HOST);
}

const NO_PLACE: &str = "a redirect to the host that was asked for needs one: without it there is no such place";

const REFUSED: &[Stated] = &[
    Stated { place: "client.0.start", ringway: "HTTP/1.1 400 Bad Request", why: NO_PLACE },
    Stated { place: "client.0.header", ringway: "", why: NO_PLACE },
    Stated { place: "client.after", ringway: "closed", why: NO_PLACE },
    Stated { place: "log.0", ringway: "", why: NO_PLACE },
];

const REFUSED_OF_1_0: &[Stated] = &[
    Stated { place: "client.0.start", ringway: "HTTP/1.0 400 Bad Request", why: NO_PLACE },
    Stated { place: "client.0.header", ringway: "", why: NO_PLACE },
    Stated { place: "log.0", ringway: "", why: NO_PLACE },
];

const COMPLETED: &[Stated] = &[Stated {
    place: "log.0.x_forwarded_for",
    ringway: "<peer>",
    why: "HTTP/1.0 without a Host is served elsewhere, so the head has been completed by then",
}];

#[rustfmt::skip] // one request a line
const WITHOUT_HOST: &[Case] = &[
    ask!("GET" "/p" "some.example.com" [] => TO_HTTPS),
    Case::get("an empty Host", &[Send(b"GET /p HTTP/1.1\r\nHost:\r\n\r\n"), Read("GET")], TO_HTTPS).but(REFUSED),
    Case::get("no Host", &[Send(b"GET /p HTTP/1.1\r\n\r\n"), Read("GET")], &["400 - missing_host_header"]),
    Case::get("no Host in HTTP/1.0", &[Send(b"GET /p HTTP/1.0\r\n\r\n"), Read("GET")], &["400 - missing_host_header"]).but(COMPLETED),
    Case::get("an empty Host in HTTP/1.0", &[Send(b"GET /p HTTP/1.0\r\nHost:\r\n\r\n"), Read("GET")], TO_HTTPS).but(REFUSED_OF_1_0),
];
