//! What is tried again: every condition of `retryOn` and every outcome, and what is seen of it from both sides. The
//! host says the condition, the path whether the service refuses connections.

use super::{TRIED, gateway, service, workload};
use crate::bench::{World, compare_counting};
use crate::case::Step::{Fill, Pause, Read, Send};
use crate::case::{Case, Reply, VIA};

#[test]
fn conditions() {
    compare_counting(RETRIES, CONDITIONS, TRIED);
}

#[test]
fn tries() {
    compare_counting(RETRIES, TRIES, TRIED);
}

#[test]
fn bodies() {
    compare_counting(RETRIES, BODIES, TRIED);
}

/// A VirtualService for `<name>.example.com`, `refusing` behind `/refused` and `origin` behind all other paths.
macro_rules! host {
    ($name:literal, $retries:literal) => {
        concat!(
            "\n---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: ",
            $name,
            "}\nspec:\n  hosts: [",
            $name,
            ".example.com]\n  gateways: [edge]\n  http:\n  - name: refused\n    match: [{uri: {prefix: /refused}}]\n    ",
            $retries,
            "\n    route: [{destination: {host: refusing}}]\n  - name: origin\n    ",
            $retries,
            "\n    route: [{destination: {host: origin}}]\n"
        )
    };
}

const RETRIES: World = World::gateway(
    concat!(
        host!("default", ""),
        host!("never", "retries: {attempts: 0}"),
        host!("server", "retries: {attempts: 2, retryOn: 5xx, backoff: 0.002s}"),
        host!("gateway", "retries: {attempts: 2, retryOn: gateway-error, backoff: 0.002s}"),
        host!("reset", "retries: {attempts: 2, retryOn: reset, backoff: 0.002s}"),
        host!("before", "retries: {attempts: 2, retryOn: reset-before-request, backoff: 0.002s}"),
        host!("connect", "retries: {attempts: 2, retryOn: connect-failure, backoff: 0.002s}"),
        host!("conflict", "retries: {attempts: 2, retryOn: retriable-4xx, backoff: 0.002s}"),
        host!("codes", "retries: {attempts: 2, retryOn: '503,429', backoff: 0.002s}"),
        host!("limited", "retries: {attempts: 2, retryOn: envoy-ratelimited, backoff: 0.002s}"),
        host!("grpc", "retries: {attempts: 2, retryOn: 'unavailable,resource-exhausted', backoff: 0.002s}"),
        host!("often", "retries: {attempts: 11, retryOn: 5xx, backoff: 0.001s}"),
        host!("timed", "timeout: 5s\n    retries: {attempts: 2, perTryTimeout: 2s, retryOn: 5xx, backoff: 0.002s}"),
        gateway!(),
        service!("origin"),
        service!("refusing"),
        workload!("origin", "@0"),
        workload!("refusing", "@refusing")
    ),
    1,
);

const R409: Reply = Reply::Bytes(b"HTTP/1.1 409 Conflict\r\ncontent-length: 2\r\n\r\nno");
const R429: Reply = Reply::Bytes(b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 2\r\n\r\nno");
const R500: Reply = Reply::Bytes(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 2\r\n\r\nno");
const R503: Reply = Reply::Bytes(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno");
const R600: Reply = Reply::Bytes(b"HTTP/1.1 600 Odd\r\ncontent-length: 2\r\n\r\nno");
const CLOSED: Reply = Reply::ThenClose(b"");
const RESET: Reply = Reply::ThenReset(b"");
const NOT_HTTP: Reply = Reply::ThenClose(b"220 mail.example.com ESMTP\r\n\r\n");
const OVERLOADED: Reply =
    Reply::Bytes(b"HTTP/1.1 503 Service Unavailable\r\nx-envoy-overloaded: true\r\ncontent-length: 2\r\n\r\nno");
const LIMITED: Reply =
    Reply::Bytes(b"HTTP/1.1 503 Service Unavailable\r\nx-envoy-ratelimited: true\r\ncontent-length: 2\r\n\r\nno");
const AFTER: Reply = Reply::Bytes(b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n");
const UNAVAILABLE: Reply =
    Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 14\r\ncontent-length: 0\r\n\r\n");
const EXHAUSTED: Reply = Reply::Bytes(b"HTTP/1.1 200 OK\r\ngrpc-status: 8\r\ncontent-length: 0\r\n\r\n");
const IN_TRAILERS: Reply =
    Reply::Bytes(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\ngrpc-status: 14\r\n\r\n");

/// One POST to a host of [`RETRIES`], and what the origin does with each try of it. Not GET: what a connection that is
/// closed at the moment of its reuse costs a GET is a matter of its own.
macro_rules! ask {
    ($host:literal $path:literal $origin:expr => $envoy:expr) => {
        Case::get(
            concat!($host, $path, " ", stringify!($origin)),
            &[
                Send(
                    concat!("POST ", $path, " HTTP/1.1\r\nHost: ", $host, ".example.com\r\ncontent-length: 0\r\n\r\n")
                        .as_bytes(),
                ),
                Read("POST"),
            ],
            &[$envoy],
        )
        .origin($origin)
    };
}

const CONDITIONS: &[Case] = &[
    ask!("default" "/refused" R500 => "503 URX,UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"),
    ask!("default" "/x" R409 => "409 - via_upstream"),
    ask!("default" "/x" R429 => "429 - via_upstream"),
    ask!("default" "/x" R500 => "500 - via_upstream"),
    ask!("default" "/x" R503 => "503 - via_upstream"),
    ask!("default" "/x" R600 => "600 - via_upstream"),
    ask!("default" "/x" CLOSED => "503 UC upstream_reset_before_response_started{connection_termination}"),
    ask!("default" "/x" RESET => "503 UC upstream_reset_before_response_started{connection_termination}"),
    ask!("default" "/x" NOT_HTTP => "502 UPE upstream_reset_before_response_started{protocol_error}"),
    ask!("default" "/x" OVERLOADED => "503 - via_upstream"),
    ask!("default" "/x" LIMITED => "503 - via_upstream"),
    ask!("default" "/x" UNAVAILABLE => "200 URX via_upstream"),
    ask!("default" "/x" EXHAUSTED => "200 - via_upstream"),
    ask!("never" "/refused" R500 => "503 UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"),
    ask!("never" "/x" R409 => "409 - via_upstream"),
    ask!("never" "/x" R429 => "429 - via_upstream"),
    ask!("never" "/x" R500 => "500 - via_upstream"),
    ask!("never" "/x" R503 => "503 - via_upstream"),
    ask!("never" "/x" R600 => "600 - via_upstream"),
    ask!("never" "/x" CLOSED => "503 UC upstream_reset_before_response_started{connection_termination}"),
    ask!("never" "/x" RESET => "503 UC upstream_reset_before_response_started{connection_termination}"),
    ask!("never" "/x" NOT_HTTP => "502 UPE upstream_reset_before_response_started{protocol_error}"),
    ask!("never" "/x" OVERLOADED => "503 - via_upstream"),
    ask!("never" "/x" LIMITED => "503 - via_upstream"),
    ask!("never" "/x" UNAVAILABLE => "200 - via_upstream"),
    ask!("never" "/x" EXHAUSTED => "200 - via_upstream"),
    ask!("server" "/refused" R500 => "503 URX,UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"),
    ask!("server" "/x" R409 => "409 - via_upstream"),
    ask!("server" "/x" R429 => "429 - via_upstream"),
    ask!("server" "/x" R500 => "500 URX via_upstream"),
    ask!("server" "/x" R503 => "503 URX via_upstream"),
    ask!("server" "/x" R600 => "600 - via_upstream"),
    ask!("server" "/x" CLOSED => "503 URX,UC upstream_reset_before_response_started{connection_termination}"),
    ask!("server" "/x" RESET => "503 URX,UC upstream_reset_before_response_started{connection_termination}"),
    ask!("server" "/x" NOT_HTTP => "502 URX,UPE upstream_reset_before_response_started{protocol_error}"),
    ask!("server" "/x" OVERLOADED => "503 URX via_upstream"),
    ask!("server" "/x" LIMITED => "503 - via_upstream"),
    ask!("server" "/x" UNAVAILABLE => "200 - via_upstream"),
    ask!("server" "/x" EXHAUSTED => "200 - via_upstream"),
    ask!("gateway" "/refused" R500 => "503 URX,UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"),
    ask!("gateway" "/x" R409 => "409 - via_upstream"),
    ask!("gateway" "/x" R429 => "429 - via_upstream"),
    ask!("gateway" "/x" R500 => "500 - via_upstream"),
    ask!("gateway" "/x" R503 => "503 URX via_upstream"),
    ask!("gateway" "/x" R600 => "600 - via_upstream"),
    ask!("gateway" "/x" CLOSED => "503 URX,UC upstream_reset_before_response_started{connection_termination}"),
    ask!("gateway" "/x" RESET => "503 URX,UC upstream_reset_before_response_started{connection_termination}"),
    ask!("gateway" "/x" NOT_HTTP => "502 URX,UPE upstream_reset_before_response_started{protocol_error}"),
    ask!("gateway" "/x" OVERLOADED => "503 URX via_upstream"),
    ask!("gateway" "/x" LIMITED => "503 - via_upstream"),
    ask!("gateway" "/x" UNAVAILABLE => "200 - via_upstream"),
    ask!("gateway" "/x" EXHAUSTED => "200 - via_upstream"),
    ask!("reset" "/refused" R500 => "503 URX,UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"),
    ask!("reset" "/x" R409 => "409 - via_upstream"),
    ask!("reset" "/x" R429 => "429 - via_upstream"),
    ask!("reset" "/x" R500 => "500 - via_upstream"),
    ask!("reset" "/x" R503 => "503 - via_upstream"),
    ask!("reset" "/x" R600 => "600 - via_upstream"),
    ask!("reset" "/x" CLOSED => "503 URX,UC upstream_reset_before_response_started{connection_termination}"),
    ask!("reset" "/x" RESET => "503 URX,UC upstream_reset_before_response_started{connection_termination}"),
    ask!("reset" "/x" NOT_HTTP => "502 URX,UPE upstream_reset_before_response_started{protocol_error}"),
    ask!("reset" "/x" OVERLOADED => "503 - via_upstream"),
    ask!("reset" "/x" LIMITED => "503 - via_upstream"),
    ask!("reset" "/x" UNAVAILABLE => "200 - via_upstream"),
    ask!("reset" "/x" EXHAUSTED => "200 - via_upstream"),
    ask!("before" "/refused" R500 => "503 URX,UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"),
    ask!("before" "/x" R409 => "409 - via_upstream"),
    ask!("before" "/x" R429 => "429 - via_upstream"),
    ask!("before" "/x" R500 => "500 - via_upstream"),
    ask!("before" "/x" R503 => "503 - via_upstream"),
    ask!("before" "/x" R600 => "600 - via_upstream"),
    ask!("before" "/x" CLOSED => "503 UC upstream_reset_before_response_started{connection_termination}"),
    ask!("before" "/x" RESET => "503 UC upstream_reset_before_response_started{connection_termination}"),
    ask!("before" "/x" NOT_HTTP => "502 UPE upstream_reset_before_response_started{protocol_error}"),
    ask!("before" "/x" OVERLOADED => "503 - via_upstream"),
    ask!("before" "/x" LIMITED => "503 - via_upstream"),
    ask!("before" "/x" UNAVAILABLE => "200 - via_upstream"),
    ask!("before" "/x" EXHAUSTED => "200 - via_upstream"),
    ask!("connect" "/refused" R500 => "503 URX,UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"),
    ask!("connect" "/x" R409 => "409 - via_upstream"),
    ask!("connect" "/x" R429 => "429 - via_upstream"),
    ask!("connect" "/x" R500 => "500 - via_upstream"),
    ask!("connect" "/x" R503 => "503 - via_upstream"),
    ask!("connect" "/x" R600 => "600 - via_upstream"),
    ask!("connect" "/x" CLOSED => "503 UC upstream_reset_before_response_started{connection_termination}"),
    ask!("connect" "/x" RESET => "503 UC upstream_reset_before_response_started{connection_termination}"),
    ask!("connect" "/x" NOT_HTTP => "502 UPE upstream_reset_before_response_started{protocol_error}"),
    ask!("connect" "/x" OVERLOADED => "503 - via_upstream"),
    ask!("connect" "/x" LIMITED => "503 - via_upstream"),
    ask!("connect" "/x" UNAVAILABLE => "200 - via_upstream"),
    ask!("connect" "/x" EXHAUSTED => "200 - via_upstream"),
    ask!("conflict" "/refused" R500 => "503 UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"),
    ask!("conflict" "/x" R409 => "409 URX via_upstream"),
    ask!("conflict" "/x" R429 => "429 - via_upstream"),
    ask!("conflict" "/x" R500 => "500 - via_upstream"),
    ask!("conflict" "/x" R503 => "503 - via_upstream"),
    ask!("conflict" "/x" R600 => "600 - via_upstream"),
    ask!("conflict" "/x" CLOSED => "503 UC upstream_reset_before_response_started{connection_termination}"),
    ask!("conflict" "/x" RESET => "503 UC upstream_reset_before_response_started{connection_termination}"),
    ask!("conflict" "/x" NOT_HTTP => "502 UPE upstream_reset_before_response_started{protocol_error}"),
    ask!("conflict" "/x" OVERLOADED => "503 - via_upstream"),
    ask!("conflict" "/x" LIMITED => "503 - via_upstream"),
    ask!("conflict" "/x" UNAVAILABLE => "200 - via_upstream"),
    ask!("conflict" "/x" EXHAUSTED => "200 - via_upstream"),
    ask!("codes" "/refused" R500 => "503 UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"),
    ask!("codes" "/x" R409 => "409 - via_upstream"),
    ask!("codes" "/x" R429 => "429 URX via_upstream"),
    ask!("codes" "/x" R500 => "500 - via_upstream"),
    ask!("codes" "/x" R503 => "503 URX via_upstream"),
    ask!("codes" "/x" R600 => "600 - via_upstream"),
    ask!("codes" "/x" CLOSED => "503 UC upstream_reset_before_response_started{connection_termination}"),
    ask!("codes" "/x" RESET => "503 UC upstream_reset_before_response_started{connection_termination}"),
    ask!("codes" "/x" NOT_HTTP => "502 UPE upstream_reset_before_response_started{protocol_error}"),
    ask!("codes" "/x" OVERLOADED => "503 URX via_upstream"),
    ask!("codes" "/x" LIMITED => "503 - via_upstream"),
    ask!("codes" "/x" UNAVAILABLE => "200 - via_upstream"),
    ask!("codes" "/x" EXHAUSTED => "200 - via_upstream"),
    ask!("limited" "/refused" R500 => "503 UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"),
    ask!("limited" "/x" R409 => "409 - via_upstream"),
    ask!("limited" "/x" R429 => "429 - via_upstream"),
    ask!("limited" "/x" R500 => "500 - via_upstream"),
    ask!("limited" "/x" R503 => "503 - via_upstream"),
    ask!("limited" "/x" R600 => "600 - via_upstream"),
    ask!("limited" "/x" CLOSED => "503 UC upstream_reset_before_response_started{connection_termination}"),
    ask!("limited" "/x" RESET => "503 UC upstream_reset_before_response_started{connection_termination}"),
    ask!("limited" "/x" NOT_HTTP => "502 UPE upstream_reset_before_response_started{protocol_error}"),
    ask!("limited" "/x" OVERLOADED => "503 - via_upstream"),
    ask!("limited" "/x" LIMITED => "503 URX via_upstream"),
    ask!("limited" "/x" UNAVAILABLE => "200 - via_upstream"),
    ask!("limited" "/x" EXHAUSTED => "200 - via_upstream"),
    ask!("grpc" "/refused" R500 => "503 UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"),
    ask!("grpc" "/x" R409 => "409 - via_upstream"),
    ask!("grpc" "/x" R429 => "429 - via_upstream"),
    ask!("grpc" "/x" R500 => "500 - via_upstream"),
    ask!("grpc" "/x" R503 => "503 - via_upstream"),
    ask!("grpc" "/x" R600 => "600 - via_upstream"),
    ask!("grpc" "/x" CLOSED => "503 UC upstream_reset_before_response_started{connection_termination}"),
    ask!("grpc" "/x" RESET => "503 UC upstream_reset_before_response_started{connection_termination}"),
    ask!("grpc" "/x" NOT_HTTP => "502 UPE upstream_reset_before_response_started{protocol_error}"),
    ask!("grpc" "/x" OVERLOADED => "503 - via_upstream"),
    ask!("grpc" "/x" LIMITED => "503 - via_upstream"),
    ask!("grpc" "/x" UNAVAILABLE => "200 URX via_upstream"),
    ask!("grpc" "/x" EXHAUSTED => "200 URX via_upstream"),
    ask!("server" "/x" AFTER => "503 URX via_upstream"),
    ask!("grpc" "/x" IN_TRAILERS => "200 - via_upstream"),
    ask!("limited" "/x" Reply::Bytes(b"HTTP/1.1 200 OK\r\nx-envoy-ratelimited: true\r\ncontent-length: 0\r\n\r\n") => "200 URX via_upstream"),
];

const TRIES: &[Case] = &[
    // Saved by a retry, in different ways.
    ask!("server" "/x" Reply::InTurn(&[R503, crate::case::OK]) => "200 - via_upstream"),
    ask!("server" "/x" Reply::InTurn(&[R503, R500, crate::case::OK]) => "200 - via_upstream"),
    ask!("server" "/x" Reply::InTurn(&[CLOSED, R503, crate::case::OK]) => "200 - via_upstream"),
    ask!("server" "/x" Reply::InTurn(&[R503, R409]) => "409 - via_upstream"),
    ask!("server" "/x" Reply::InTurn(&[R503, OVERLOADED]) => "503 URX via_upstream"),
    ask!("server" "/x" Reply::InTurn(&[R503, Reply::ThenClose(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")]) => "200 UPE upstream_reset_after_response_started{protocol_error}"),
    ask!("gateway" "/x" Reply::InTurn(&[R503, R500]) => "500 - via_upstream"),
    ask!("gateway" "/x" Reply::InTurn(&[R503, CLOSED]) => "503 URX,UC upstream_reset_before_response_started{connection_termination}"),
    ask!("codes" "/x" Reply::InTurn(&[R503, CLOSED]) => "503 UC upstream_reset_before_response_started{connection_termination}"),
    ask!("codes" "/x" Reply::InTurn(&[R429, R503, R429]) => "429 URX via_upstream"),
    ask!("often" "/x" R503 => "503 URX via_upstream"),
    // The body of an answer that is not let through does not end with its head.
    ask!("server" "/x" Reply::InTurn(&[Reply::Bytes(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 10\r\n\r\nhalf"), crate::case::OK]) => "200 - via_upstream"),
    ask!("server" "/x" Reply::InTurn(&[Reply::Bytes(b"HTTP/1.1 503 Service Unavailable\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"), crate::case::OK]) => "200 - via_upstream"),
    // After a head that was let through nothing is tried again.
    ask!("server" "/x" Reply::ThenClose(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf") => "200 UPE upstream_reset_after_response_started{protocol_error}"),
    // What each try tells the upstream of the time that is left.
    ask!("timed" "/x" Reply::InTurn(&[R503, crate::case::OK]) => "200 - via_upstream"),
    ask!("timed" "/x" R503 => "503 URX via_upstream"),
    ask!("timed" "/refused" R503 => "503 URX,UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"),
    Case::get("HEAD, 503", &[Send(b"HEAD /x HTTP/1.1\r\nHost: server.example.com\r\n\r\n"), Read("HEAD")], &["503 URX via_upstream"])
        .origin(Reply::Bytes(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n")),
    Case::get("HEAD, refused", &[Send(b"HEAD /refused HTTP/1.1\r\nHost: default.example.com\r\n\r\n"), Read("HEAD")], &["503 URX,UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"]),
    Case::get("an interim answer is a promise: nothing is tried again", &[Send(b"GET /x HTTP/1.1\r\nHost: server.example.com\r\n\r\n"), Read("GET"), Read("GET")], &["503 - via_upstream"])
        .origin(Reply::InTurn(&[Reply::Bytes(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"), crate::case::OK])).but(&[crate::case::Stated { place: "client.0.start", ringway: "HTTP/1.1 103 Early Hints", why: "RFC 8297" }]),
    Case::get("one connection, three requests", &[
        Send(b"POST /1 HTTP/1.1\r\nHost: server.example.com\r\ncontent-length: 0\r\n\r\nPOST /2 HTTP/1.1\r\nHost: server.example.com\r\ncontent-length: 0\r\n\r\nPOST /3 HTTP/1.1\r\nHost: server.example.com\r\ncontent-length: 0\r\n\r\n"),
        Read("POST"), Read("POST"), Read("POST"),
    ], &["200 - via_upstream", "200 - via_upstream", "200 - via_upstream"]).origin(Reply::InTurn(&[R503, crate::case::OK, R503, CLOSED, crate::case::OK])),
    Case::get("control headers of clients are not obeyed", &[
        Send(b"GET /x HTTP/1.1\r\nHost: never.example.com\r\nx-envoy-retry-on: 5xx\r\nx-envoy-max-retries: 3\r\n\r\n"), Read("GET"),
    ], &["503 - via_upstream"]).origin(R503),
];

const BODIES: &[Case] = &[
    Case::get(
        "POST is tried again like GET",
        &[Send(b"POST /x HTTP/1.1\r\nHost: server.example.com\r\ncontent-length: 5\r\n\r\nhello"), Read("POST")],
        &["200 - via_upstream"],
    )
    .origin(Reply::InTurn(&[R503, crate::case::OK])),
    Case::get(
        "POST, refused",
        &[Send(b"POST /refused HTTP/1.1\r\nHost: default.example.com\r\ncontent-length: 5\r\n\r\nhello"), Read("POST")],
        &[
            "503 URX,UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
        ],
    ),
    Case::get(
        "a body that comes later",
        &[
            Send(b"POST /x HTTP/1.1\r\nHost: server.example.com\r\ncontent-length: 5\r\n\r\n"),
            Pause(20),
            Send(b"hello"),
            Read("POST"),
        ],
        &["200 - via_upstream"],
    )
    .origin(Reply::InTurn(&[R503, CLOSED, crate::case::OK])),
    Case::get(
        "chunks",
        &[
            Send(b"POST /x HTTP/1.1\r\nHost: server.example.com\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"),
            Pause(20),
            Send(b"6;x=1\r\n world\r\n0\r\nx-trailer: 1\r\n\r\n"),
            Read("POST"),
        ],
        &["200 - via_upstream"],
    )
    .origin(Reply::InTurn(&[R503, R503, crate::case::OK])),
    Case::get(
        "no body, chunked",
        &[
            Send(b"POST /x HTTP/1.1\r\nHost: server.example.com\r\ntransfer-encoding: chunked\r\n\r\n"),
            Pause(20),
            Send(b"0\r\n\r\n"),
            Read("POST"),
        ],
        &["200 - via_upstream"],
    )
    .origin(Reply::InTurn(&[R503, crate::case::OK])),
    Case::get(
        "a mebibyte",
        &[
            Fill(
                b"POST /x HTTP/1.1\r\nHost: server.example.com\r\ncontent-length: 1048576\r\n\r\n",
                b"x",
                1_048_576,
                b"",
            ),
            Read("POST"),
        ],
        &["200 - via_upstream"],
    )
    .origin(Reply::InTurn(&[R503, crate::case::OK])),
    Case::get(
        "a mebibyte and a byte",
        &[
            Fill(
                b"POST /x HTTP/1.1\r\nHost: server.example.com\r\ncontent-length: 1048577\r\n\r\n",
                b"x",
                1_048_577,
                b"",
            ),
            Read("POST"),
        ],
        &["503 - via_upstream"],
    )
    .origin(Reply::InTurn(&[R503, crate::case::OK])),
    Case::get(
        "a mebibyte in chunks",
        &[
            Fill(
                b"POST /x HTTP/1.1\r\nHost: server.example.com\r\ntransfer-encoding: chunked\r\n\r\n",
                b"8\r\n01234567\r\n",
                131_072,
                b"0\r\n\r\n",
            ),
            Read("POST"),
        ],
        &["200 - via_upstream"],
    )
    .origin(Reply::InTurn(&[R503, crate::case::OK])),
    Case::get(
        "a mebibyte and more in chunks",
        &[
            Fill(
                b"POST /x HTTP/1.1\r\nHost: server.example.com\r\ntransfer-encoding: chunked\r\n\r\n",
                b"8\r\n01234567\r\n",
                131_073,
                b"0\r\n\r\n",
            ),
            Read("POST"),
        ],
        &["503 - via_upstream"],
    )
    .origin(Reply::InTurn(&[R503, crate::case::OK])),
    Case::get(
        "fine again after all that",
        &[Send(b"GET /x HTTP/1.1\r\nHost: server.example.com\r\n\r\n"), Read("GET")],
        VIA,
    ),
];
