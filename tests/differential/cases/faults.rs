//! `fault`: delays and aborts, which come before all else.

use super::{TRIED, gateway, service, workload};
use crate::bench::{World, compare_counting};
use crate::case::Step::{Finish, Pause, Read, Send};
use crate::case::{Case, Reply};

#[test]
fn faults() {
    compare_counting(FAULTS, CASES, TRIED);
}

/// A VirtualService for `<name>.example.com`.
macro_rules! host {
    ($name:literal, $settings:literal) => {
        concat!(
            "\n---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: ",
            $name,
            "}\nspec:\n  hosts: [",
            $name,
            ".example.com]\n  gateways: [edge]\n  http:\n  - name: ",
            $name,
            "\n    ",
            $settings,
            "\n    route: [{destination: {host: origin}}]\n"
        )
    };
}

const FAULTS: World = World::gateway(
    concat!(
        host!("delay", "fault: {delay: {fixedDelay: 0.1s, percentage: {value: 100}}}"),
        host!("abort", "fault: {abort: {httpStatus: 418, percentage: {value: 100}}}"),
        host!("unassigned", "fault: {abort: {httpStatus: 555, percentage: {value: 100}}}"),
        host!(
            "both",
            "fault: {delay: {fixedDelay: 0.1s, percentage: {value: 100}}, abort: {httpStatus: 503, percentage: {value: 100}}}"
        ),
        host!("grpc", "fault: {abort: {grpcStatus: UNAVAILABLE, percentage: {value: 100}}}"),
        host!(
            "neither",
            "fault: {delay: {fixedDelay: 9s, percentage: {value: 0}}, abort: {httpStatus: 503, percentage: {value: 0}}}"
        ),
        host!("timed", "timeout: 0.3s\n    fault: {delay: {fixedDelay: 0.5s, percentage: {value: 100}}}"),
        host!(
            "retried",
            "fault: {abort: {httpStatus: 503, percentage: {value: 100}}}\n    retries: {attempts: 3, retryOn: '5xx,503'}"
        ),
        host!("long", "fault: {delay: {fixedDelay: 30s, percentage: {value: 100}}}"),
        host!(
            "edited",
            "fault: {abort: {httpStatus: 503, percentage: {value: 100}}}\n    headers: {response: {set: {x-added: '1'}}}"
        ),
        host!(
            "cors",
            "fault: {abort: {httpStatus: 503, percentage: {value: 100}}}\n    corsPolicy: {allowOrigins: [{exact: 'http://a.com'}], allowMethods: [GET]}"
        ),
        gateway!(),
        service!("origin"),
        workload!("origin", "@0")
    ),
    1,
);

/// One GET to a host of [`FAULTS`], with more header lines.
macro_rules! ask {
    ($host:literal $lines:literal => $envoy:expr) => {
        Case::get(
            concat!($host, " ", $lines),
            &[
                Send(concat!("GET /x HTTP/1.1\r\nHost: ", $host, ".example.com\r\n", $lines, "\r\n").as_bytes()),
                Read("GET"),
            ],
            &[$envoy],
        )
    };
}

const LATE: Reply = Reply::Late(100, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");

const CASES: &[Case] = &[
    ask!("delay" "" => "200 DI via_upstream"),
    ask!("abort" "" => "418 FI fault_filter_abort"),
    ask!("unassigned" "" => "555 FI fault_filter_abort"),
    ask!("both" "" => "503 DI,FI fault_filter_abort"),
    ask!("grpc" "" => "200 FI fault_filter_abort"),
    ask!("grpc" "content-type: application/grpc\r\n" => "200 FI fault_filter_abort"),
    ask!("grpc" "content-type: application/grpc+proto\r\n" => "200 FI fault_filter_abort"),
    ask!("abort" "content-type: application/grpc\r\n" => "200 FI fault_filter_abort"),
    ask!("both" "content-type: application/grpc\r\n" => "200 DI,FI fault_filter_abort"),
    ask!("neither" "" => "200 - via_upstream"),
    // The delay is longer than the timeout, which begins behind it.
    ask!("timed" "" => "200 DI via_upstream").origin(LATE),
    ask!("timed" "" => "504 DI,UT response_timeout").origin(Reply::Bytes(b"")),
    ask!("retried" "" => "503 FI fault_filter_abort"),
    ask!("edited" "" => "503 FI fault_filter_abort"),
    ask!("cors" "origin: http://a.com\r\n" => "503 FI fault_filter_abort"),
    Case::get("a preflight is aborted, too", &[
        Send(b"OPTIONS /x HTTP/1.1\r\nHost: cors.example.com\r\norigin: http://a.com\r\naccess-control-request-method: GET\r\n\r\n"), Read("OPTIONS"),
    ], &["503 FI fault_filter_abort"]),
    Case::get("HEAD", &[Send(b"HEAD /x HTTP/1.1\r\nHost: abort.example.com\r\n\r\n"), Read("HEAD")], &["418 FI fault_filter_abort"]),
    Case::get("a body that comes during the delay", &[
        Send(b"POST /x HTTP/1.1\r\nHost: delay.example.com\r\ncontent-length: 5\r\n\r\nhe"), Pause(20), Send(b"llo"), Read("POST"),
    ], &["200 DI via_upstream"]),
    Case::get("chunks that come during the delay", &[
        Send(b"POST /x HTTP/1.1\r\nHost: delay.example.com\r\ntransfer-encoding: chunked\r\n\r\n"), Pause(20), Send(b"5\r\nhello\r\n0\r\n\r\n"), Read("POST"),
    ], &["200 DI via_upstream"]),
    Case::get("chunks that come before and after the delay", &[
        Send(b"POST /x HTTP/1.1\r\nHost: delay.example.com\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel"), Pause(200), Send(b"lo\r\n0\r\n\r\n"), Read("POST"),
    ], &["200 DI via_upstream"]),
    Case::get("a client that leaves during the delay", &[
        Send(b"GET /x HTTP/1.1\r\nHost: long.example.com\r\n\r\n"), Finish,
    ], &["0 DI,DC downstream_remote_disconnect"]),
    Case::get("a client that leaves with its body half sent", &[
        Send(b"POST /x HTTP/1.1\r\nHost: long.example.com\r\ncontent-length: 5\r\n\r\nhe"), Finish,
    ], &["0 DI,DC downstream_remote_disconnect"]),
];
