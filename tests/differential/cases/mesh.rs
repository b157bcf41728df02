//! What an application sends out through its sidecar: services by every name that they have, VirtualServices of the mesh,
//! hosts that nobody knows.

use super::{ask, service, workload};
use crate::bench::{World, compare};
use crate::case::Step::{Read, Send};
use crate::case::{Case, Stated, VIA};
use crate::translate::Outbound;

#[test]
fn registry_only() {
    compare(World::mesh(WORLD, 2, Outbound::RegistryOnly), NAMES);
}

#[test]
fn allow_any() {
    compare(World::mesh(WORLD, 2, Outbound::AllowAny), KNOWN);
}

#[test]
fn headers_of_a_sidecar() {
    compare(World::mesh(WORLD, 2, Outbound::RegistryOnly), HEADERS);
}

const WORLD: &str = concat!(
    r"
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: marker}
spec:
  hosts: [marker.example.com]
  http:
  - name: nothing
    match: [{uri: {exact: /matches-nothing-that-is-asked}}]
    route: [{destination: {host: plain}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routed}
spec:
  hosts: [routed]
  http:
  - name: v2
    match: [{headers: {x-version: {exact: v2}}}]
    route: [{destination: {host: routed, subset: v2}}]
  - name: on-9000
    match: [{port: 9000}]
    route: [{destination: {host: routed, subset: v1, port: {number: 8000}}}]
  - name: moved
    match: [{uri: {prefix: /moved}}]
    redirect: {uri: /here}
  - name: rewritten
    match: [{uri: {prefix: /rewritten}}]
    rewrite: {uri: /new, authority: new.example.com}
    route: [{destination: {host: plain}}]
  - name: for-gateways
    match: [{gateways: [edge]}]
    route: [{destination: {host: plain}}]
  - name: v1
    route: [{destination: {host: routed, subset: v1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: second}
spec:
  hosts: [routed]
  http:
  - name: never
    match: [{uri: {prefix: /second}}]
    route: [{destination: {host: plain}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: partly}
spec:
  hosts: [partly.default.svc.cluster.local]
  gateways: [mesh]
  http:
  - name: partly
    match: [{uri: {prefix: /status}}]
    route: [{destination: {host: partly}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: outside}
spec:
  hosts: [outside.example.com, '*.wild.example.com']
  gateways: [mesh]
  http:
  - name: outside
    route: [{destination: {host: plain, port: {number: 8000}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: of-the-gateway}
spec:
  hosts: [plain]
  gateways: [edge]
  http:
  - name: of-the-gateway
    route: [{destination: {host: routed}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: routed}
spec:
  host: routed
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
",
    service!("plain"),
    r"
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: plain}
  ports: [{name: http, port: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: routed}
spec:
  selector: {app: routed}
  ports: [{name: http, port: 8000}, {name: http-more, port: 9000}]
---
apiVersion: v1
kind: Service
metadata: {name: partly}
spec:
  selector: {app: plain}
  ports: [{name: http, port: 8000}]
",
    service!("empty"),
    workload!("plain", "@0"),
    r"
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: routed-1}
spec:
  address: 127.0.0.1
  ports: {http: @0, http-more: @0}
  labels: {app: routed, version: v1}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: routed-2}
spec:
  address: 127.0.0.1
  ports: {http: @1, http-more: @1}
  labels: {app: routed, version: v2}
"
);

/// A host or port that nobody knows.
const BLOCKED: &[&str] = &["502 - direct_response block_all"];

const NR: &[&str] = &["404 NR route_not_found -"];

/// Services by name and port, in the origin form by `Host` and in the absolute form; the rest is blocked.
#[rustfmt::skip] // one request a line
const NAMES: &[Case] = &[
    ask!("GET" "/x" "plain:8000" [] => &["200 - via_upstream default"]),
    ask!("GET" "/x" "plain.default:8000" [] => &["200 - via_upstream default"]),
    ask!("GET" "/x" "plain.default.svc:8000" [] => &["200 - via_upstream default"]),
    ask!("GET" "/x" "plain.default.svc.cluster.local:8000" [] => &["200 - via_upstream default"]),
    ask!("GET" "/x" "plain.default.svc.cluster.local.:8000" [] => &["200 - via_upstream default"]),
    ask!("GET" "/x" "PLAIN:8000" [] => &["200 - via_upstream default"]),
    ask!("GET" "/x" "web" [] => &["200 - via_upstream default"]),
    ask!("GET" "/x" "web:80" [] => &["200 - via_upstream default"]),
    ask!("GET" "/x" "web.default" [] => &["200 - via_upstream default"]),
    ask!("GET" "/x" "web.default.svc.cluster.local" [] => &["200 - via_upstream default"]),
    ask!("GET" "/x" "plain" [] => BLOCKED),
    ask!("GET" "/x" "plain:80" [] => BLOCKED),
    ask!("GET" "/x" "plain:8001" [] => BLOCKED),
    ask!("GET" "/x" "web:8000" [] => BLOCKED),
    ask!("GET" "/x" "nobody" [] => BLOCKED),
    ask!("GET" "/x" "nobody:8000" [] => BLOCKED),
    ask!("GET" "/x" "nobody.example.com" [] => BLOCKED),
    ask!("GET" "/x" "plain.other:8000" [] => BLOCKED),
    ask!("GET" "/x" "plain.default.svc.cluster.example:8000" [] => BLOCKED),
    ask!("GET" "/x" "routed" [] => BLOCKED),
    ask!("GET" "/x" "routed:8001" [] => BLOCKED),
    ask!("GET" "http://plain:8000/x" "plain:8000" [] => &["200 - via_upstream default"]),
    ask!("GET" "http://plain:8000/x" "other.example.com" [] => &["200 - via_upstream default"]),
    ask!("GET" "http://plain.default.svc.cluster.local:8000/" "plain.default.svc.cluster.local:8000" [] => &["200 - via_upstream default"]),
    ask!("GET" "http://plain:8000" "plain:8000" [] => &["200 - via_upstream default"]),
    ask!("GET" "http://plain/x" "plain:8000" [] => BLOCKED),
    ask!("GET" "http://web/x?y" "web" [] => &["200 - via_upstream default"]),
    ask!("GET" "http://nobody.example.com/" "nobody.example.com" [] => BLOCKED),
    ask!("GET" "/x" "routed:8000" [] => &["200 - via_upstream v1"]),
    ask!("GET" "/x" "routed:8000" ["X-Version: v2"] => &["200 - via_upstream v2"]),
    ask!("GET" "/x" "routed:9000" [] => &["200 - via_upstream on-9000"]),
    ask!("GET" "/x" "routed:9000" ["X-Version: v2"] => &["200 - via_upstream v2"]),
    ask!("GET" "/moved" "routed:8000" [] => &["301 - direct_response moved"]),
    ask!("GET" "/rewritten/x?y" "routed:8000" [] => &["200 - via_upstream rewritten"]),
    ask!("GET" "/second" "routed:8000" [] => &["200 - via_upstream v1"]),
    ask!("GET" "http://routed:8000/x" "routed:8000" ["X-Version: v2"] => &["200 - via_upstream v2"]),
    ask!("GET" "http://routed:8000/moved" "routed:8000" [] => &["301 - direct_response moved"]),
    ask!("GET" "/x" "routed.default.svc.cluster.local:8000" [] => &["200 - via_upstream v1"]),
    ask!("GET" "/status/200" "partly:8000" [] => &["200 - via_upstream partly"]),
    ask!("GET" "/x" "partly:8000" [] => NR),
    ask!("GET" "/x" "empty:8000" [] => &["503 UH no_healthy_upstream default"]),
    ask!("GET" "/x" "outside.example.com" [] => &["200 - via_upstream outside"]),
    ask!("GET" "/x" "outside.example.com:80" [] => &["200 - via_upstream outside"]),
    ask!("GET" "http://outside.example.com/x" "outside.example.com" [] => &["200 - via_upstream outside"]),
    ask!("GET" "/x" "a.b.wild.example.com" [] => &["200 - via_upstream outside"]),
    ask!("GET" "/x" "wild.example.com" [] => BLOCKED),
    ask!("GET" "/x" "marker.example.com" [] => NR),
];

/// Where any host is allowed, known ones are routed all the same.
#[rustfmt::skip] // one request a line
const KNOWN: &[Case] = &[
    ask!("GET" "/x" "plain:8000" [] => &["200 - via_upstream default"]),
    ask!("GET" "/x" "plain.default:8000" [] => &["200 - via_upstream default"]),
    ask!("GET" "/x" "plain.default.svc:8000" [] => &["200 - via_upstream default"]),
    ask!("GET" "/x" "routed:8000" ["X-Version: v2"] => &["200 - via_upstream v2"]),
    ask!("GET" "http://routed:8000/x" "routed:8000" [] => &["200 - via_upstream v1"]),
];

/// docs/DEPARTURES.md removes what steers a proxy; these tell one of things that only another proxy can know.
const FROM_PROXIES: &str = "an application's word for what only proxies say is not passed on";

const NO_ADDRESS: &[Stated] =
    &[Stated { place: "origin.0.header.x-envoy-external-address", ringway: "<absent>", why: FROM_PROXIES }];

const NO_PATH: &[Stated] = &[
    Stated { place: "origin.0.header.x-envoy-original-path", ringway: "<absent>", why: FROM_PROXIES },
    Stated { place: "log.0.request", ringway: "GET /x HTTP/1.1", why: FROM_PROXIES },
];

const NO_OPERATION: &[Stated] =
    &[Stated { place: "origin.0.header.x-envoy-decorator-operation", ringway: "<absent>", why: FROM_PROXIES }];

const NO_METADATA: &[Stated] =
    &[Stated { place: "origin.0.header.x-envoy-peer-metadata", ringway: "<absent>", why: FROM_PROXIES }];

/// What a sidecar adds and leaves alone, which is less than a gateway does.
#[rustfmt::skip] // one request a line
const HEADERS: &[Case] = &[
    ask!("GET" "/x" "plain:8000" ["X-Request-Id: mine"] => VIA),
    ask!("GET" "/x" "plain:8000" ["X-Forwarded-For: 1.2.3.4"] => VIA),
    ask!("GET" "/x" "plain:8000" ["X-Forwarded-Proto: https"] => VIA),
    ask!("GET" "/x" "plain:8000" ["X-Forwarded-Proto: nonsense"] => VIA),
    ask!("GET" "/x" "plain:8000" ["X-Forwarded-Host: mine"] => VIA),
    ask!("GET" "/x" "plain:8000" ["X-Envoy-External-Address: 1.2.3.4"] => VIA).but(NO_ADDRESS),
    ask!("GET" "/x" "plain:8000" ["X-Envoy-Internal: true"] => VIA),
    ask!("GET" "/x" "plain:8000" ["X-Envoy-Retry-On: 5xx", "X-Envoy-Max-Retries: 3"] => VIA),
    ask!("GET" "/x" "plain:8000" ["X-Envoy-Upstream-Rq-Timeout-Ms: 1"] => VIA),
    ask!("GET" "/x" "plain:8000" ["X-Envoy-Expected-Rq-Timeout-Ms: 1"] => VIA),
    ask!("GET" "/x" "plain:8000" ["X-Envoy-Original-Path: /mine"] => VIA).but(NO_PATH),
    ask!("GET" "/x" "plain:8000" ["X-Envoy-Decorator-Operation: mine"] => VIA).but(NO_OPERATION),
    ask!("GET" "/x" "plain:8000" ["X-Envoy-Attempt-Count: 9"] => VIA),
    ask!("GET" "/x" "plain:8000" ["X-Envoy-Peer-Metadata: mine"] => VIA).but(NO_METADATA),
    ask!("GET" "/x" "plain:8000" ["Forwarded: for=1.2.3.4"] => VIA),
    ask!("GET" "/x" "plain:8000" ["Proxy-Connection: keep-alive"] => VIA),
    ask!("GET" "/x" "plain:8000" ["Proxy-Authorization: Basic eDp5"] => VIA),
    ask!("GET" "/x" "plain:8000" ["X-Forwarded-Client-Cert: mine"] => VIA),
    ask!("GET" "/x" "plain:8000" ["Connection: close"] => VIA),
    ask!("GET" "/x" "plain:8000" ["TE: trailers"] => VIA),
    Case::get(
        "POST in the absolute form",
        &[
            Send(b"POST http://plain:8000/x HTTP/1.1\r\nHost: plain:8000\r\nContent-Length: 5\r\n\r\nhello"),
            Read("POST"),
        ],
        VIA,
    ),
    Case::get(
        "one connection for several services",
        &[
            Send(b"GET http://plain:8000/1 HTTP/1.1\r\nHost: plain:8000\r\n\r\n"),
            Read("GET"),
            Send(b"GET http://routed:8000/2 HTTP/1.1\r\nHost: routed:8000\r\nX-Version: v2\r\n\r\n"),
            Read("GET"),
            Send(b"GET http://nobody.example.com/3 HTTP/1.1\r\nHost: nobody.example.com\r\n\r\n"),
            Read("GET"),
            Send(b"GET /4 HTTP/1.1\r\nHost: web\r\n\r\n"),
            Read("GET"),
        ],
        &[
            "200 - via_upstream default",
            "200 - via_upstream v2",
            "502 - direct_response block_all",
            "200 - via_upstream default",
        ],
    ),
    Case::get("HTTP/1.0", &[Send(b"GET http://plain:8000/x HTTP/1.0\r\n\r\n"), Read("GET")], VIA),
    Case::get("no Host", &[Send(b"GET /x HTTP/1.1\r\n\r\n"), Read("GET")], &["400 - missing_host_header"]),
];
