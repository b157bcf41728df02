//! `timeout` and `perTryTimeout`: what ends a request, and what does not.

use super::{TRIED, gateway, service, workload};
use crate::bench::{World, compare, compare_counting};
use crate::case::Step::{Pause, Read, Send};
use crate::case::{Case, Reply, Stated};

#[test]
fn timeouts() {
    compare_counting(TIMEOUTS, CASES, TRIED);
    compare(TIMEOUTS, COUNTED_OTHERWISE);
}

/// A VirtualService for `<name>.example.com`.
macro_rules! host {
    ($name:literal, $settings:literal) => {
        concat!(
            "\n---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: ",
            $name,
            "}\nspec:\n  hosts: [",
            $name,
            ".example.com]\n  gateways: [edge]\n  http:\n  - ",
            $settings,
            "\n    route: [{destination: {host: origin}}]\n"
        )
    };
}

const TIMEOUTS: World = World::gateway(
    concat!(
        host!("route", "timeout: 0.3s"),
        host!("retrying", "timeout: 0.3s\n    retries: {attempts: 3, retryOn: 5xx, backoff: 0.002s}"),
        host!("each", "timeout: 20s\n    retries: {attempts: 1, perTryTimeout: 0.1s, retryOn: 5xx, backoff: 0.002s}"),
        host!("alone", "retries: {attempts: 1, perTryTimeout: 0.1s, retryOn: reset, backoff: 0.002s}"),
        host!("gateway", "retries: {attempts: 1, perTryTimeout: 0.1s, retryOn: gateway-error, backoff: 0.002s}"),
        host!("before", "retries: {attempts: 1, perTryTimeout: 0.1s, retryOn: reset-before-request, backoff: 0.002s}"),
        host!("default", "retries: {attempts: 2, perTryTimeout: 0.1s}"),
        host!(
            "ignored",
            "timeout: 0.2s\n    retries: {attempts: 3, perTryTimeout: 0.2s, retryOn: 5xx, backoff: 0.002s}"
        ),
        host!("longer", "timeout: 0.2s\n    retries: {attempts: 3, perTryTimeout: 9s, retryOn: 5xx, backoff: 0.002s}"),
        host!("endless", "name: endless"),
        host!("waiting", "timeout: 0.2s\n    retries: {attempts: 1, retryOn: 5xx, backoff: 1000s}"),
        gateway!(),
        service!("origin"),
        workload!("origin", "@0")
    ),
    1,
);

const SILENT: Reply = Reply::Bytes(b"");
const R503: Reply = Reply::Bytes(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
const HALF: Reply = Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf");
const HINTS: &[Stated] = &[Stated { place: "client.0.start", ringway: "HTTP/1.1 103 Early Hints", why: "RFC 8297" }];
const LATE: Reply = Reply::Late(200, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");

/// One GET to a host of [`TIMEOUTS`].
macro_rules! ask {
    ($host:literal $origin:expr => $envoy:expr) => {
        Case::get(
            concat!($host, " ", stringify!($origin)),
            &[Send(concat!("GET /x HTTP/1.1\r\nHost: ", $host, ".example.com\r\n\r\n").as_bytes()), Read("GET")],
            &[$envoy],
        )
        .origin($origin)
    };
}

const CASES: &[Case] = &[
    ask!("route" SILENT => "504 UT response_timeout"),
    ask!("route" crate::case::OK => "200 - via_upstream"),
    ask!("route" HALF => "200 UT response_timeout"),
    ask!("retrying" SILENT => "504 UT response_timeout"),
    ask!("retrying" Reply::InTurn(&[R503, SILENT]) => "504 UT response_timeout"),
    ask!("retrying" Reply::InTurn(&[R503, HALF]) => "200 UT response_timeout"),
    ask!("each" SILENT => "504 URX,UT upstream_per_try_timeout"),
    ask!("each" LATE => "504 URX,UT upstream_per_try_timeout"),
    ask!("each" Reply::InTurn(&[SILENT, crate::case::OK]) => "200 - via_upstream"),
    ask!("each" Reply::InTurn(&[R503, SILENT]) => "504 URX,UT upstream_per_try_timeout"),
    ask!("each" Reply::InTurn(&[SILENT, R503]) => "503 URX via_upstream"),
    ask!("alone" SILENT => "504 URX,UT upstream_per_try_timeout"),
    ask!("alone" Reply::InTurn(&[SILENT, crate::case::OK]) => "200 - via_upstream"),
    ask!("gateway" Reply::InTurn(&[SILENT, crate::case::OK]) => "200 - via_upstream"),
    ask!("before" Reply::InTurn(&[SILENT, crate::case::OK]) => "504 UT upstream_per_try_timeout"),
    ask!("default" Reply::InTurn(&[SILENT, crate::case::OK]) => "504 UT upstream_per_try_timeout"),
    ask!("ignored" SILENT => "504 UT response_timeout"),
    ask!("longer" SILENT => "504 UT response_timeout"),
    ask!("endless" LATE => "200 - via_upstream"),
    Case::get(
        "a slow upload is not the upstream's time",
        &[
            Send(b"POST /x HTTP/1.1\r\nHost: route.example.com\r\ncontent-length: 4\r\n\r\na"),
            Pause(200),
            Send(b"b"),
            Pause(200),
            Send(b"c"),
            Pause(200),
            Send(b"d"),
            Read("POST"),
        ],
        &["200 - via_upstream"],
    ),
    Case::get(
        "nor is it that of a try",
        &[
            Send(b"POST /x HTTP/1.1\r\nHost: each.example.com\r\ncontent-length: 2\r\n\r\na"),
            Pause(300),
            Send(b"b"),
            Read("POST"),
        ],
        &["200 - via_upstream"],
    ),
    Case::get(
        "a silent origin after an upload",
        &[
            Send(b"POST /x HTTP/1.1\r\nHost: route.example.com\r\ncontent-length: 2\r\n\r\na"),
            Pause(50),
            Send(b"b"),
            Read("POST"),
        ],
        &["504 UT response_timeout"],
    )
    .origin(SILENT),
    Case::get(
        "a HEAD that is not answered",
        &[Send(b"HEAD /x HTTP/1.1\r\nHost: route.example.com\r\n\r\n"), Read("HEAD")],
        &["504 UT response_timeout"],
    )
    .origin(SILENT),
    Case::get(
        "a tunnel takes its time",
        &[
            Send(b"GET /x HTTP/1.1\r\nHost: route.example.com\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
            Read("GET"),
            Pause(500),
            Send(b"ping"),
            crate::case::Step::Raw(4),
        ],
        &["101 DC downstream_remote_disconnect"],
    )
    .origin(Reply::Tunnel(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")),
];

/// Envoy counts a 504 for its cluster only where an upstream was asked and had said nothing yet; ringway whenever that is
/// how a request to it ended.
const COUNTED_OTHERWISE: &[Case] = &[
    ask!("route" Reply::Bytes(b"HTTP/1.1 103 Early Hints\r\n\r\n") => "504 UT response_timeout").but(HINTS),
    ask!("waiting" R503 => "504 UT response_timeout"),
];
