//! `mirror` and `mirrors`: which requests are copied, and what the copy's head is. Copies go to the second origin, which
//! answers as the first does.

use super::{TRIED, gateway, service, workload};
use crate::bench::{World, compare, compare_counting};
use crate::case::Step::{AtOrigins, Pause, Read, Send};
use crate::case::{Case, Reply, Stated, VIA};
use crate::translate::Outbound;

#[test]
fn copies() {
    compare_counting(World::gateway(GATEWAY, 2), CASES, TRIED);
}

#[test]
fn copies_of_a_sidecar() {
    compare_counting(World::mesh(MESH, 2, Outbound::RegistryOnly), SIDECAR, TRIED);
}

#[test]
fn upgrades() {
    compare(World::gateway(GATEWAY, 2), UPGRADES);
}

/// Services: `origin`, its `mirror`, one that refuses connections, one without endpoints.
macro_rules! services {
    () => {
        concat!(
            service!("origin"),
            service!("mirror"),
            service!("refusing"),
            service!("empty"),
            workload!("origin", "@0"),
            workload!("mirror", "@1"),
            workload!("refusing", "@refusing")
        )
    };
}

/// A VirtualService for `<name>.example.com` whose rule says this.
macro_rules! host {
    ($name:literal, $gateways:literal, $rule:literal) => {
        concat!(
            "\n---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: ",
            $name,
            "}\nspec:\n  hosts: [",
            $name,
            ".example.com]\n",
            $gateways,
            "  http:\n  - name: ",
            $name,
            "\n",
            $rule
        )
    };
    ($name:literal, $rule:literal) => {
        host!($name, "  gateways: [edge]\n", $rule)
    };
}

const GATEWAY: &str = concat!(
    gateway!(),
    services!(),
    host!("one", "    mirror: {host: mirror}\n    route: [{destination: {host: origin}}]\n"),
    host!(
        "several",
        "    mirrors: [{destination: {host: mirror}}, {destination: {host: refusing}}, {destination: {host: empty}}, {destination: {host: mirror}}, {destination: {host: mirror}, percentage: {value: 0}}]\n    route: [{destination: {host: origin}}]\n"
    ),
    host!(
        "none",
        "    mirror: {host: mirror}\n    mirrorPercentage: {value: 0}\n    route: [{destination: {host: origin}}]\n"
    ),
    host!(
        "changed",
        "    mirror: {host: mirror}\n    timeout: 5s\n    rewrite: {uri: /new, authority: 'new.example.com:81'}\n    headers: {request: {set: {x-set: '1', x-envoy-internal: 'no'}, remove: [x-gone]}}\n    route: [{destination: {host: origin}}]\n"
    ),
    host!(
        "forgets",
        "    mirror: {host: mirror}\n    headers: {request: {remove: [x-forwarded-for]}}\n    route: [{destination: {host: origin}}]\n"
    ),
    host!("moved", "    mirror: {host: mirror}\n    redirect: {uri: /there}\n"),
    host!(
        "abort",
        "    mirror: {host: mirror}\n    fault: {abort: {httpStatus: 418, percentage: {value: 100}}}\n    route: [{destination: {host: origin}}]\n"
    ),
    host!(
        "delay",
        "    mirror: {host: mirror}\n    fault: {delay: {fixedDelay: 0.1s, percentage: {value: 100}}}\n    route: [{destination: {host: origin}}]\n"
    ),
    host!(
        "retried",
        "    mirror: {host: mirror}\n    retries: {attempts: 2, retryOn: 5xx, backoff: 0.002s}\n    route: [{destination: {host: origin}}]\n"
    ),
    host!(
        "refused",
        "    mirror: {host: mirror}\n    retries: {attempts: 1, retryOn: connect-failure, backoff: 0.002s}\n    route: [{destination: {host: refusing}}]\n"
    ),
    host!("empty", "    mirror: {host: mirror}\n    route: [{destination: {host: empty}}]\n"),
    host!(
        "late",
        "    mirror: {host: mirror}\n    timeout: 0.3s\n    retries: {attempts: 0}\n    route: [{destination: {host: origin}}]\n"
    ),
    host!(
        "shared",
        "    mirror: {host: mirror}\n    route: [{destination: {host: origin}, weight: 1, headers: {request: {set: {x-share: a}}}}, {destination: {host: origin}, weight: 1, headers: {request: {set: {x-share: a}}}}]\n"
    ),
);

/// A request to a host that is copied so often: all of it, once it is at so many origins.
macro_rules! copied {
    ($name:literal, $request:expr, $method:literal, $copies:literal => $envoy:expr) => {
        Case::get($name, &[Send($request), Read($method), AtOrigins(1 + $copies)], $envoy)
    };
}

const TUNNEL: &[Stated] = &[Stated {
    place: "origin.1",
    ringway: "<absent>",
    why: "a mirror has no part in what two peers say through a tunnel, so it is not asked for one",
}];

const CASES: &[Case] = &[
    copied!("GET", b"GET /x?y=z HTTP/1.1\r\nHost: one.example.com\r\nX-A: b\r\n\r\n", "GET", 1 => VIA),
    copied!("HEAD", b"HEAD /x HTTP/1.1\r\nHost: one.example.com\r\n\r\n", "HEAD", 1 => VIA)
        .origin(Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")),
    copied!("a port", b"GET /x HTTP/1.1\r\nHost: one.example.com:8080\r\n\r\n", "GET", 1 => VIA),
    copied!("an absolute target", b"GET http://one.example.com:80/x HTTP/1.1\r\nHost: other\r\n\r\n", "GET", 1 => VIA),
    copied!("POST", b"POST /x HTTP/1.1\r\nHost: one.example.com\r\ncontent-length: 5\r\n\r\nhello", "POST", 1 => VIA),
    copied!("an empty POST", b"POST /x HTTP/1.1\r\nHost: one.example.com\r\ncontent-length: 0\r\n\r\n", "POST", 1 => VIA),
    copied!("chunks", b"POST /x HTTP/1.1\r\nHost: one.example.com\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n", "POST", 1 => VIA),
    Case::get("a body that comes later", &[
        Send(b"POST /x HTTP/1.1\r\nHost: one.example.com\r\ncontent-length: 8\r\n\r\nhel"), Pause(30), Send(b"lo"), Pause(30), Send(b"you"), Read("POST"), AtOrigins(2),
    ], VIA),
    copied!("what was forwarded before", b"GET /x HTTP/1.1\r\nHost: one.example.com\r\nx-forwarded-for: 1.2.3.4\r\nx-forwarded-for: 5.6.7.8\r\nx-envoy-internal: true\r\n\r\n", "GET", 1 => VIA),
    copied!("several mirrors", b"GET /x HTTP/1.1\r\nHost: several.example.com\r\n\r\n", "GET", 2 => VIA),
    copied!("a POST to several mirrors", b"POST /x HTTP/1.1\r\nHost: several.example.com\r\ncontent-length: 5\r\n\r\nhello", "POST", 2 => VIA),
    copied!("a share of none", b"GET /x HTTP/1.1\r\nHost: none.example.com\r\n\r\n", "GET", 0 => VIA),
    copied!("what rules change", b"GET /x HTTP/1.1\r\nHost: changed.example.com\r\nx-gone: 1\r\n\r\n", "GET", 1 => VIA),
    copied!("x-forwarded-for removed", b"GET /x HTTP/1.1\r\nHost: forgets.example.com\r\n\r\n", "GET", 1 => VIA),
    Case::get("a redirect", &[Send(b"GET /x HTTP/1.1\r\nHost: moved.example.com\r\n\r\n"), Read("GET")], &["301 - direct_response"]),
    Case::get("an abort", &[Send(b"GET /x HTTP/1.1\r\nHost: abort.example.com\r\n\r\n"), Read("GET")], &["418 FI fault_filter_abort"]),
    copied!("a delay", b"GET /x HTTP/1.1\r\nHost: delay.example.com\r\n\r\n", "GET", 1 => &["200 DI via_upstream"]),
    copied!("retries", b"GET /x HTTP/1.1\r\nHost: retried.example.com\r\n\r\n", "GET", 3 => &["503 URX via_upstream"])
        .origin(Reply::Bytes(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno")),
    Case::get("an origin that refuses", &[Send(b"GET /x HTTP/1.1\r\nHost: refused.example.com\r\n\r\n"), Read("GET"), AtOrigins(1)], &["503 URX,UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"]),
    Case::get("an origin without endpoints", &[Send(b"GET /x HTTP/1.1\r\nHost: empty.example.com\r\n\r\n"), Read("GET")], &["503 UH no_healthy_upstream"]),
    copied!("both are late", b"GET /x HTTP/1.1\r\nHost: late.example.com\r\n\r\n", "GET", 1 => &["504 UT response_timeout"])
        .origin(Reply::Bytes(b"")),
    copied!("both break off", b"POST /x HTTP/1.1\r\nHost: one.example.com\r\ncontent-length: 0\r\n\r\n", "POST", 1 => &["503 UC upstream_reset_before_response_started{connection_termination}"])
        .origin(Reply::ThenClose(b"")),
    copied!("both fail", b"GET /x HTTP/1.1\r\nHost: one.example.com\r\n\r\n", "GET", 1 => &["500 - via_upstream"])
        .origin(Reply::Bytes(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 2\r\n\r\nno")),
    copied!("weighted destinations", b"GET /x HTTP/1.1\r\nHost: shared.example.com\r\n\r\n", "GET", 1 => VIA),
];

/// Not counted: Envoy takes such an answer for a breach of the protocol.
const UPGRADES: &[Case] = &[Case::get(
    "a WebSocket",
    &[
        Send(b"GET /x HTTP/1.1\r\nHost: one.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
        Read("GET"),
        AtOrigins(1),
    ],
    &["403 - via_upstream"],
)
.origin(Reply::Bytes(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno"))
.but(TUNNEL)];

const MESH: &str = concat!(
    r"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: marker}
spec:
  hosts: [marker.example.com]
  http:
  - name: nothing
    match: [{uri: {exact: /matches-nothing-that-is-asked}}]
    route: [{destination: {host: origin}}]
",
    services!(),
    r"
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: origin}
spec:
  hosts: [origin]
  http:
  - name: origin
    mirror: {host: mirror}
    route: [{destination: {host: origin}}]
"
);

const SIDECAR: &[Case] = &[
    copied!("GET", b"GET /x HTTP/1.1\r\nHost: origin:8000\r\n\r\n", "GET", 1 => VIA),
    copied!("an absolute target", b"GET http://origin:8000/x HTTP/1.1\r\nHost: origin:8000\r\n\r\n", "GET", 1 => VIA),
    copied!("an application's own words", b"GET /x HTTP/1.1\r\nHost: origin:8000\r\nx-forwarded-for: 1.2.3.4, 5.6.7.8\r\nx-request-id: mine\r\nx-forwarded-proto: https\r\n\r\n", "GET", 1 => VIA),
    copied!("POST", b"POST /x HTTP/1.1\r\nHost: origin:8000\r\ncontent-length: 5\r\n\r\nhello", "POST", 1 => VIA),
];
