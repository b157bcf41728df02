//! The tables, one file a subject. A world is the YAML that a table runs on; `@0` in it is the first origin's port.

mod breakers;
mod cors;
mod dns;
mod dns_changes;
mod faults;
mod forwarding;
mod headers;
mod https_redirect;
mod logging;
mod matching;
mod mesh;
mod mirrors;
mod normalization;
mod outlier;
mod redirects;
mod refusals;
mod regexes;
mod retries;
mod rewriting;
mod routing;
mod sent;
mod timeouts;
mod upstream;
mod weights;

use crate::bench::World;

/// The Gateway `edge`: HTTP on port 80, for every host.
macro_rules! gateway {
    () => {
        r"
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ['*']
"
    };
}
use gateway;

/// A Service that selects by its own name; its port is 8000.
macro_rules! service {
    ($name:literal) => {
        concat!(
            "\n---\napiVersion: v1\nkind: Service\nmetadata: {name: ",
            $name,
            "}\nspec: {selector: {app: ",
            $name,
            "}, ports: [{name: http, port: 8000}]}\n"
        )
    };
}
use service;

/// The one endpoint of the Service of that name, on a port of this host: `workload!("origin", "@0")`.
macro_rules! workload {
    ($name:literal, $port:literal) => {
        concat!(
            "\n---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: ",
            $name,
            "}\nspec: {address: 127.0.0.1, ports: {http: ",
            $port,
            "}, labels: {app: ",
            $name,
            "}}\n"
        )
    };
}
use workload;

/// A case with one request without a body, named after it: `ask!("GET" "/x" "a.example.com" ["X-A: 1"] => VIA)`.
macro_rules! ask {
    ($method:literal $target:literal $host:literal [$($header:literal),* $(,)?] => $envoy:expr) => {
        crate::case::Case::get(
            concat!($method, " ", $target, " ", $host, $(", ", $header),*),
            &[
                crate::case::Step::Send(
                    concat!($method, " ", $target, " HTTP/1.1\r\nHost: ", $host, "\r\n", $($header, "\r\n",)* "\r\n")
                        .as_bytes(),
                ),
                crate::case::Step::Read($method),
            ],
            $envoy,
        )
    };
}
use ask;

/// The statistics that tell what became of tries. Not among them: `upstream_rq_rx_reset` and `upstream_rq_tx_reset`,
/// which Envoy counts for HTTP/2 only, and ringway where a request had such an end.
const TRIED: &[&str] = &[
    ".upstream_rq_total",
    ".upstream_rq_completed",
    ".upstream_rq_2xx",
    ".upstream_rq_4xx",
    ".upstream_rq_5xx",
    ".upstream_rq_503",
    ".upstream_rq_504",
    ".upstream_rq_active",
    ".upstream_rq_retry",
    ".upstream_rq_retry_success",
    ".upstream_rq_retry_limit_exceeded",
    ".upstream_rq_retry_overflow",
    ".upstream_rq_retry_backoff_exponential",
    ".upstream_rq_timeout",
    ".upstream_rq_per_try_timeout",
    ".upstream_rq_pending_failure_eject",
    ".upstream_rq_pending_active",
    ".upstream_rq_cancelled",
    ".upstream_cx_connect_fail",
    ".upstream_cx_protocol_error",
    ".retry_or_shadow_abandoned",
    ".fault.delays_injected",
    ".fault.aborts_injected",
    ".fault.active_faults",
];

/// One service behind `a.example.com`; `/status` only is exposed on `paths.example.com`; hosts whose service refuses
/// connections, has no endpoint, or does not exist.
const EDGE: World = World::gateway(
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
  - name: a
    route:
    - destination: {host: origin}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: paths}
spec:
  hosts: [paths.example.com]
  gateways: [edge]
  http:
  - match:
    - uri: {prefix: /status}
    route:
    - destination: {host: origin, port: {number: 8000}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: refusing}
spec:
  hosts: [refusing.example.com]
  gateways: [edge]
  http:
  - route:
    - destination: {host: refusing}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: empty}
spec:
  hosts: [empty.example.com]
  gateways: [edge]
  http:
  - route:
    - destination: {host: empty}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: unknown}
spec:
  hosts: [unknown.example.com]
  gateways: [edge]
  http:
  - route:
    - destination: {host: unknown, port: {number: 8000}}
",
        service!("origin"),
        service!("refusing"),
        service!("empty"),
        workload!("origin", "@0"),
        workload!("refusing", "@refusing")
    ),
    1,
);
