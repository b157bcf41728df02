//! What ejects an endpoint, and what requests get then: every kind of failure of the tables in `src/policy/outlier`.
//!
//! Every host has a service of its own with one endpoint. Envoy ejects on its main thread, so each request waits for a
//! moment; ringway ejects at once.

use super::gateway;
use crate::bench::{World, compare_counting};
use crate::case::Step::{Pause, Read, Send};
use crate::case::{Case, Reply};

#[test]
fn failures() {
    compare_counting(EJECTING, FAILURES, EJECTED);
}

/// The statistics of ejections. The gauge of healthy endpoints is of all the services.
const EJECTED: &[&str] = &[
    ".outlier_detection.ejections_active",
    ".outlier_detection.ejections_enforced_total",
    ".outlier_detection.ejections_detected_consecutive_5xx",
    ".outlier_detection.ejections_enforced_consecutive_5xx",
    ".outlier_detection.ejections_detected_consecutive_gateway_failure",
    ".outlier_detection.ejections_enforced_consecutive_gateway_failure",
    ".outlier_detection.ejections_detected_consecutive_local_origin_failure",
    ".outlier_detection.ejections_enforced_consecutive_local_origin_failure",
    ".outlier_detection.ejections_overflow",
    ".outlier_detection.ejections_total",
    ".outlier_detection.ejections_consecutive_5xx",
    ".lb_healthy_panic",
    ".membership_healthy",
    ".membership_total",
    ".upstream_cx_none_healthy",
];

/// A VirtualService for `<name>.example.com`, its service with an endpoint at this port, and the rule for that.
macro_rules! host {
    ($name:literal, $port:literal, $fields:literal, $detection:literal) => {
        concat!(
            "\n---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: ",
            $name,
            "}\nspec:\n  hosts: [",
            $name,
            ".example.com]\n  gateways: [edge]\n  http:\n  - name: it\n    ",
            $fields,
            "\n    route: [{destination: {host: ",
            $name,
            "}}]\n---\napiVersion: v1\nkind: Service\nmetadata: {name: ",
            $name,
            "}\nspec: {selector: {app: ",
            $name,
            "}, ports: [{name: http, port: 8000}]}\n---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\n\
             metadata: {name: ",
            $name,
            "}\nspec: {address: 127.0.0.1, ports: {http: ",
            $port,
            "}, labels: {app: ",
            $name,
            "}}\n---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: ",
            $name,
            "}\nspec: {host: ",
            $name,
            ", trafficPolicy: {outlierDetection: {interval: 60s, ",
            $detection,
            "}}}\n"
        )
    };
}

const EJECTING: World = World::gateway(
    concat!(
        host!("server", "@0", "", "consecutive5xxErrors: 2, maxEjectionPercent: 100"),
        host!("row", "@0", "", "consecutive5xxErrors: 2, maxEjectionPercent: 100"),
        host!("gateway", "@0", "", "consecutiveGatewayErrors: 2, consecutive5xxErrors: 0, maxEjectionPercent: 100"),
        host!("both", "@0", "", "consecutiveGatewayErrors: 2, consecutive5xxErrors: 2, maxEjectionPercent: 100"),
        host!("reset", "@0", "", "consecutiveGatewayErrors: 1, maxEjectionPercent: 100"),
        host!("alien", "@0", "", "consecutiveGatewayErrors: 1, maxEjectionPercent: 100"),
        host!("refused", "@refusing", "", "consecutiveGatewayErrors: 3, maxEjectionPercent: 100"),
        host!("cut", "@0", "", "consecutive5xxErrors: 1, maxEjectionPercent: 100"),
        host!("late", "@0", "timeout: 0.1s", "consecutive5xxErrors: 1, maxEjectionPercent: 100"),
        host!(
            "try",
            "@0",
            "timeout: 5s\n    retries: {attempts: 1, perTryTimeout: 0.1s, retryOn: 5xx, backoff: 0.002s}",
            "consecutiveGatewayErrors: 2, maxEjectionPercent: 100"
        ),
        host!(
            "split",
            "@0",
            "",
            "splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 2, consecutive5xxErrors: 1, \
             maxEjectionPercent: 100"
        ),
        host!(
            "apart",
            "@refusing",
            "retries: {attempts: 0}",
            "splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 2, maxEjectionPercent: 100"
        ),
        host!(
            "codes",
            "@0",
            "",
            "consecutive5xxErrors: 2, consecutiveGatewayErrors: 2, outlierDetectionHttpErrorCodes: [404, 503], \
             maxEjectionPercent: 100"
        ),
        host!(
            "unlisted",
            "@0",
            "",
            "consecutive5xxErrors: 1, outlierDetectionHttpErrorCodes: [404], maxEjectionPercent: 100"
        ),
        host!("grpc", "@0", "retries: {attempts: 0}", "consecutiveGatewayErrors: 1, maxEjectionPercent: 100"),
        host!("percent", "@0", "", "consecutive5xxErrors: 1"),
        host!("panic", "@0", "", "consecutive5xxErrors: 1, maxEjectionPercent: 100, minHealthPercent: 50"),
        host!("never", "@0", "", "consecutive5xxErrors: 0, consecutiveGatewayErrors: 0, maxEjectionPercent: 100"),
        gateway!()
    ),
    1,
);

const OK: Reply = Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
const R404: Reply = Reply::Bytes(b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno");
const R500: Reply = Reply::Bytes(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 2\r\n\r\nno");
const R502: Reply = Reply::Bytes(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 2\r\n\r\nno");
const R503: Reply = Reply::Bytes(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno");
const R600: Reply = Reply::Bytes(b"HTTP/1.1 600 Odd\r\ncontent-length: 2\r\n\r\nno");
const CLOSED: Reply = Reply::ThenClose(b"");
const NOT_HTTP: Reply = Reply::ThenClose(b"220 mail.example.com ESMTP\r\n\r\n");
const UNAVAILABLE: Reply =
    Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 14\r\ncontent-length: 0\r\n\r\n");
const SLOW: Reply = Reply::Late(400, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");

/// What a request finds that finds nobody.
const UH: &str = "503 UH no_healthy_upstream";
const PASSED_200: &str = "200 - via_upstream";
const PASSED_404: &str = "404 - via_upstream";
const PASSED_500: &str = "500 - via_upstream";
const PASSED_502: &str = "502 - via_upstream";
const PASSED_503: &str = "503 - via_upstream";
const PASSED_600: &str = "600 - via_upstream";
const UC: &str = "503 UC upstream_reset_before_response_started{connection_termination}";

/// As many POSTs to a host of [`EJECTING`] as lines are expected in the log, and what the origin does with each. Not
/// GET: what a connection that is closed at the moment of its reuse costs a GET is a matter of its own.
macro_rules! ask {
    ($host:literal $origin:expr => $($envoy:expr),+) => {
        Case::get(
            $host,
            &[$(
                Send(concat!("POST /x HTTP/1.1\r\nHost: ", $host, ".example.com\r\ncontent-length: 0\r\n\r\n").as_bytes()),
                Read(ask!(@method $envoy)),
                Pause(100),
            )+],
            &[$($envoy),+],
        )
        .origin($origin)
    };
    (@method $envoy:expr) => { "POST" };
}

const FAILURES: &[Case] = &[
    ask!("server" R500 => PASSED_500, PASSED_500, UH, UH),
    ask!("row" Reply::InTurn(&[R500, OK, R500, R404, R503, R600, R500, OK]) =>
        PASSED_500, PASSED_200, PASSED_500, PASSED_404, PASSED_503, PASSED_600, PASSED_500, PASSED_200),
    ask!("gateway" Reply::InTurn(&[R503, R500, R503, R502]) => PASSED_503, PASSED_500, PASSED_503, PASSED_502, UH),
    ask!("both" R503 => PASSED_503, PASSED_503, UH),
    ask!("reset" CLOSED => UC, UH),
    ask!("alien" NOT_HTTP => "502 UPE upstream_reset_before_response_started{protocol_error}", UH),
    ask!("refused" OK =>
        "503 URX,UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
        UH),
    ask!("late" SLOW => "504 UT response_timeout", UH),
    ask!("try" SLOW => "504 URX,UT upstream_per_try_timeout", UH),
    ask!("split" Reply::InTurn(&[CLOSED, CLOSED, CLOSED, R500]) => UC, UC, UC, PASSED_500, UH),
    ask!("apart" OK =>
        "503 UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
        "503 UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
        UH),
    ask!("codes" Reply::InTurn(&[R404, R500, R404, R503]) => PASSED_404, PASSED_500, PASSED_404, PASSED_503, UH),
    ask!("unlisted" Reply::InTurn(&[R500, R503, CLOSED]) => PASSED_500, PASSED_503, UC, UH),
    ask!("percent" R500 => PASSED_500, PASSED_500, PASSED_500),
    ask!("panic" R500 => PASSED_500, PASSED_500, PASSED_500),
    ask!("never" R500 => PASSED_500, PASSED_500, PASSED_500, PASSED_500, PASSED_500, PASSED_500),
    Case::get(
        "grpc",
        &[
            Send(b"POST /x HTTP/1.1\r\nHost: grpc.example.com\r\ncontent-length: 0\r\n\r\n"),
            Read("POST"),
            Pause(100),
            Send(
                b"POST /x HTTP/1.1\r\nHost: grpc.example.com\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n",
            ),
            Read("POST"),
            Pause(100),
            Send(b"POST /x HTTP/1.1\r\nHost: grpc.example.com\r\ncontent-length: 0\r\n\r\n"),
            Read("POST"),
        ],
        &[PASSED_200, PASSED_200, UH],
    )
    .origin(UNAVAILABLE),
    Case::get(
        "cut",
        &[Send(b"POST /x HTTP/1.1\r\nHost: cut.example.com\r\ncontent-length: 0\r\n\r\n"), Read("POST"), Pause(100)],
        &["200 UPE upstream_reset_after_response_started{protocol_error}"],
    )
    .origin(Reply::ThenClose(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc")),
    Case::get(
        "after the cut",
        &[Send(b"POST /x HTTP/1.1\r\nHost: cut.example.com\r\ncontent-length: 0\r\n\r\n"), Read("POST")],
        &[UH],
    ),
];
