//! Origins that fail.

use super::EDGE;
use crate::bench::compare;
use crate::case::Step::{self, AtOrigin, Leave, Read, Send};
use crate::case::{Case, Reply, Stated, VIA};

#[test]
fn failures() {
    compare(EDGE, FAILURES);
}

const GET: &[Step] = &[Send(b"GET /x HTTP/1.1\r\nHost: a.example.com\r\n\r\n"), Read("GET")];

const LEAVE: &[Step] = &[Send(b"GET /x HTTP/1.1\r\nHost: a.example.com\r\n\r\n"), AtOrigin, Leave];

const UF: &[&str] = &[
    "503 URX,UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
];

const UC: &[&str] = &["503 UC upstream_reset_before_response_started{connection_termination}"];

const UPE: &[&str] = &["502 UPE upstream_reset_before_response_started{protocol_error}"];

const CUT_OFF: &[&str] = &["200 UPE upstream_reset_after_response_started{protocol_error}"];

const NEVER_101: &str = "a tunnel that the client did not ask for would end HTTP on its connection unnoticed";

const UNASKED: &[Stated] = &[
    Stated { place: "client.0.start", ringway: "HTTP/1.1 502 Bad Gateway", why: NEVER_101 },
    Stated { place: "client", ringway: "", why: NEVER_101 },
    Stated { place: "log", ringway: "", why: NEVER_101 },
];

const FAILURES: &[Case] = &[
    Case::get("connection refused", &[Send(b"GET /x HTTP/1.1\r\nHost: refusing.example.com\r\n\r\n"), Read("GET")], UF),
    Case::get(
        "HEAD, connection refused",
        &[Send(b"HEAD /x HTTP/1.1\r\nHost: refusing.example.com\r\n\r\n"), Read("HEAD")],
        UF,
    ),
    Case::get(
        "POST, connection refused",
        &[Send(b"POST /x HTTP/1.1\r\nHost: refusing.example.com\r\nContent-Length: 2\r\n\r\nab"), Read("POST")],
        UF,
    ),
    Case::get("closed without a response", GET, UC).origin(Reply::ThenClose(b"")),
    Case::get("reset without a response", GET, UC).origin(Reply::ThenReset(b"")),
    Case::get("closed within the head", GET, UPE).origin(Reply::ThenClose(b"HTTP/1.1 200 OK\r\nContent-Le")),
    Case::get("not HTTP", GET, UPE).origin(Reply::ThenClose(b"220 mail.example.com ESMTP\r\n\r\n")),
    Case::get("bad header line", GET, UPE).origin(Reply::ThenClose(b"HTTP/1.1 200 OK\r\nX A: 1\r\n\r\n")),
    Case::get("two lengths", GET, UPE)
        .origin(Reply::ThenClose(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc")),
    Case::get("length and chunked", GET, UPE).origin(Reply::ThenClose(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    )),
    Case::get("NUL in a header", GET, UPE)
        .origin(Reply::ThenClose(b"HTTP/1.1 200 OK\r\nX-A: a\x00b\r\nContent-Length: 0\r\n\r\n")),
    Case::get("closed within the body", GET, CUT_OFF)
        .origin(Reply::ThenClose(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")),
    Case::get("reset within the body", GET, CUT_OFF)
        .origin(Reply::ThenReset(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")),
    Case::get("closed within a chunk", GET, CUT_OFF)
        .origin(Reply::ThenClose(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel")),
    Case::get("bad chunk size", GET, CUT_OFF)
        .origin(Reply::ThenClose(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n")),
    Case::get("more than the length", GET, VIA)
        .origin(Reply::ThenClose(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokextra")),
    Case::get("101 that nobody asked for", GET, &["101 - via_upstream"])
        .origin(Reply::ThenClose(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        ))
        .but(UNASKED),
    Case::get("fine again after all that", GET, VIA),
    Case::get("client leaves", LEAVE, &["0 DC downstream_remote_disconnect"]).origin(Reply::Bytes(b"")),
];
