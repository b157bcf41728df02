//! Requests and responses that are passed on, and what is changed on the way.

use super::EDGE;
use crate::bench::compare;
use crate::case::Step::{Raw, Read, Send};
use crate::case::{Case, Reply, Stated, VIA};

#[test]
fn requests() {
    compare(EDGE, REQUESTS);
}

#[test]
fn responses() {
    compare(EDGE, RESPONSES);
}

const REQUESTS: &[Case] = &[
    Case::get("GET", &[Send(b"GET /x HTTP/1.1\r\nHost: a.example.com\r\n\r\n"), Read("GET")], VIA),
    Case::get(
        "GET like curl's",
        &[Send(b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n"), Read("GET")],
        VIA,
    ),
    Case::get("HEAD", &[Send(b"HEAD /x HTTP/1.1\r\nHost: a.example.com\r\n\r\n"), Read("HEAD")], VIA),
    Case::get(
        "a certificate that the client says it showed",
        &[
            Send(b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nX-Forwarded-Client-Cert: By=me;Hash=0\r\n\r\n"),
            Read("GET"),
        ],
        VIA,
    ),
    Case::get("OPTIONS", &[Send(b"OPTIONS /x HTTP/1.1\r\nHost: a.example.com\r\n\r\n"), Read("OPTIONS")], VIA),
    Case::get("DELETE", &[Send(b"DELETE /x HTTP/1.1\r\nHost: a.example.com\r\n\r\n"), Read("DELETE")], VIA),
    Case::get("TRACE", &[Send(b"TRACE /x HTTP/1.1\r\nHost: a.example.com\r\n\r\n"), Read("TRACE")], VIA),
    Case::get("PATCH without body", &[Send(b"PATCH /x HTTP/1.1\r\nHost: a.example.com\r\n\r\n"), Read("PATCH")], VIA),
    Case::get("PUT without body", &[Send(b"PUT /x HTTP/1.1\r\nHost: a.example.com\r\n\r\n"), Read("PUT")], VIA),
    Case::get("PROPFIND", &[Send(b"PROPFIND /x HTTP/1.1\r\nHost: a.example.com\r\n\r\n"), Read("PROPFIND")], VIA),
    Case::get("PURGE", &[Send(b"PURGE /x HTTP/1.1\r\nHost: a.example.com\r\n\r\n"), Read("PURGE")], VIA),
    Case::get(
        "POST with a length",
        &[Send(b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nContent-Length: 5\r\n\r\nhello"), Read("POST")],
        VIA,
    ),
    Case::get(
        "POST of nothing",
        &[Send(b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nContent-Length: 0\r\n\r\n"), Read("POST")],
        VIA,
    ),
    Case::get("POST without a length", &[Send(b"POST /x HTTP/1.1\r\nHost: a.example.com\r\n\r\n"), Read("POST")], VIA),
    Case::get(
        "chunked POST",
        &[
            Send(b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Send(b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"),
            Read("POST"),
        ],
        VIA,
    ),
    Case::get(
        "chunked in capitals, with extensions and trailers",
        &[
            Send(b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nTransfer-Encoding: CHUNKED\r\nTrailer: x-t\r\n\r\n"),
            Send(b"5;a=b;c\r\nhello\r\n0\r\nx-t: 1\r\n\r\n"),
            Read("POST"),
        ],
        VIA,
    ),
    Case::get(
        "GET with a body",
        &[Send(b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nContent-Length: 3\r\n\r\nabc"), Read("GET")],
        VIA,
    ),
    Case::get(
        "two in one write",
        &[
            Send(b"GET /1 HTTP/1.1\r\nHost: a.example.com\r\n\r\nGET /2 HTTP/1.1\r\nHost: a.example.com\r\n\r\n"),
            Read("GET"),
            Read("GET"),
        ],
        &["200 - via_upstream", "200 - via_upstream"],
    ),
    Case::get(
        "pipelined behind a body",
        &[
            Send(b"POST /1 HTTP/1.1\r\nHost: a.example.com\r\nContent-Length: 2\r\n\r\nabHEAD /2 HTTP/1.1\r\nHost: a.example.com\r\n\r\n"),
            Read("POST"),
            Read("HEAD"),
        ],
        &["200 - via_upstream", "200 - via_upstream"],
    ),
    Case::get("query", &[Send(b"GET /x?a=1&b=%20&c HTTP/1.1\r\nHost: a.example.com\r\n\r\n"), Read("GET")], VIA),
    Case::get("query of nothing", &[Send(b"GET /x? HTTP/1.1\r\nHost: a.example.com\r\n\r\n"), Read("GET")], VIA),
    Case::get(
        "question marks and slashes in the query",
        &[Send(b"GET /x?a=/../b?c//d HTTP/1.1\r\nHost: a.example.com\r\n\r\n"), Read("GET")],
        VIA,
    ),
    Case::get(
        "encoded path",
        &[Send(b"GET /%41%2f%20%7e%zz%c3%bc HTTP/1.1\r\nHost: a.example.com\r\n\r\n"), Read("GET")],
        VIA,
    ),
    Case::get("dot segments", &[Send(b"GET /a/../b/./c HTTP/1.1\r\nHost: a.example.com\r\n\r\n"), Read("GET")], VIA),
    Case::get(
        "dot segments above the root",
        &[Send(b"GET /../../etc HTTP/1.1\r\nHost: a.example.com\r\n\r\n"), Read("GET")],
        VIA,
    ),
    Case::get(
        "encoded dot segments",
        &[Send(b"GET /a/%2e%2e/b/%2E/c HTTP/1.1\r\nHost: a.example.com\r\n\r\n"), Read("GET")],
        VIA,
    ),
    Case::get("trailing dots", &[Send(b"GET /a/b/.. HTTP/1.1\r\nHost: a.example.com\r\n\r\n"), Read("GET")], VIA),
    Case::get("double slashes", &[Send(b"GET //a///b HTTP/1.1\r\nHost: a.example.com\r\n\r\n"), Read("GET")], VIA),
    Case::get("backslashes", &[Send(b"GET /a\\b\\..\\c HTTP/1.1\r\nHost: a.example.com\r\n\r\n"), Read("GET")], VIA),
    Case::get(
        "hop-by-hop headers",
        &[
            Send(
                b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nConnection: keep-alive, x-hop\r\nKeep-Alive: timeout=5\r\n\
                  Proxy-Connection: keep-alive\r\nX-Hop: 1\r\nX-End: 2\r\nProxy-Authorization: Basic eA==\r\n\r\n",
            ),
            Read("GET"),
        ],
        VIA,
    ),
    Case::get(
        "TE with trailers",
        &[Send(b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nTE: gzip, trailers\r\nConnection: TE\r\n\r\n"), Read("GET")],
        VIA,
    ),
    Case::get("TE without trailers", &[Send(b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nTE: gzip\r\n\r\n"), Read("GET")], VIA),
    Case::get(
        "forwarded headers from outside",
        &[
            Send(
                b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nX-Forwarded-For: 10.9.8.7\r\nX-Forwarded-Proto: https\r\n\
                  X-Request-Id: mine\r\nX-Envoy-External-Address: 1.2.3.4\r\nX-Envoy-Internal: true\r\n\
                  X-Forwarded-Host: b.example.com\r\nX-Forwarded-Port: 99\r\n\r\n",
            ),
            Read("GET"),
        ],
        VIA,
    ),
    Case::get(
        "two lines of X-Forwarded-For",
        &[
            Send(b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nX-Forwarded-For: 10.9.8.7\r\nX-Forwarded-For: 10.9.8.6\r\n\r\n"),
            Read("GET"),
        ],
        VIA,
    ),
    Case::get(
        "control headers from outside",
        &[
            Send(
                b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nX-Envoy-Retry-On: 5xx\r\nX-Envoy-Max-Retries: 3\r\n\
                  X-Envoy-Upstream-Rq-Timeout-Ms: 1\r\nX-Envoy-Expected-Rq-Timeout-Ms: 7\r\nX-Envoy-Attempt-Count: 9\r\n\
                  X-Envoy-Original-Path: /y\r\nX-Envoy-Decorator-Operation: op\r\n\r\n",
            ),
            Read("GET"),
        ],
        VIA,
    ),
    Case::get(
        "repeated and empty headers",
        &[
            Send(b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nX-A: 1\r\nX-a: 2\r\nX-Empty:\r\nX-Space:  \t v \t\r\nx_under: 1\r\n\r\n"),
            Read("GET"),
        ],
        VIA,
    ),
    Case::get(
        "cookies and bytes above ASCII",
        &[Send(b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nCookie: a=1; b=2\r\nX-Latin: caf\xe9\r\n\r\n"), Read("GET")],
        VIA,
    ),
    Case::get(
        "Connection: close",
        &[Send(b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nConnection: close\r\n\r\n"), Read("GET")],
        VIA,
    ),
    Case::get(
        "host with a port",
        &[Send(b"GET /x HTTP/1.1\r\nHost: a.example.com:8080\r\n\r\n"), Read("GET")],
        VIA,
    ),
    Case::get("host in capitals", &[Send(b"GET /x HTTP/1.1\r\nHost: A.Example.COM\r\n\r\n"), Read("GET")], VIA),
    Case::get(
        "absolute form",
        &[Send(b"GET http://a.example.com:99/x?q HTTP/1.1\r\nHost: other.example.com\r\n\r\n"), Read("GET")],
        VIA,
    ),
    Case::get(
        "absolute form without a path",
        &[Send(b"GET http://a.example.com HTTP/1.1\r\nHost: a.example.com\r\n\r\n"), Read("GET")],
        VIA,
    ),
    Case::get(
        "Expect: 100-continue",
        &[
            Send(b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"),
            Read("POST"),
            Send(b"hello"),
            Read("POST"),
        ],
        VIA,
    )
    .origin(Reply::Continue),
    Case::get(
        "another Expect",
        &[Send(b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nExpect: miracles\r\n\r\n"), Read("GET")],
        VIA,
    ),
    Case::get(
        "WebSocket",
        &[
            Send(
                b"GET /ws HTTP/1.1\r\nHost: a.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                  Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            ),
            Read("GET"),
            Send(b"ping"),
            Raw(4),
        ],
        &["101 DC downstream_remote_disconnect"],
    )
    .origin(Reply::Tunnel(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    )),
    Case::get(
        "WebSocket refused by the origin",
        &[
            Send(b"GET /ws HTTP/1.1\r\nHost: a.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
            Read("GET"),
        ],
        &["403 - via_upstream"],
    )
    .origin(Reply::Bytes(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")),
    Case::get(
        "h2c is not taken up",
        &[
            Send(
                b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
                  HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n",
            ),
            Read("GET"),
        ],
        VIA,
    ),
    Case::get("HTTP/1.0 with a host", &[Send(b"GET /x HTTP/1.0\r\nHost: a.example.com\r\n\r\n"), Read("GET")], VIA),
    Case::get(
        "HTTP/1.0 that would keep the connection",
        &[Send(b"GET /x HTTP/1.0\r\nHost: a.example.com\r\nConnection: keep-alive\r\n\r\n"), Read("GET")],
        VIA,
    ),
    Case::get(
        "lines that end with LF only",
        &[Send(b"GET /x HTTP/1.1\nHost: a.example.com\n\n"), Read("GET")],
        VIA,
    ),
    Case::get(
        "empty lines before the request",
        &[Send(b"\r\n\r\nGET /x HTTP/1.1\r\nHost: a.example.com\r\n\r\n"), Read("GET")],
        VIA,
    ),
];

const HEAD_OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Type: text/plain\r\n\r\n";

/// A GET for `/x`, read to the end of its response.
const GET: &[crate::case::Step] = &[Send(b"GET /x HTTP/1.1\r\nHost: a.example.com\r\n\r\n"), Read("GET")];

/// The same, read to the end of a second response.
const GET_TWICE: &[crate::case::Step] =
    &[Send(b"GET /x HTTP/1.1\r\nHost: a.example.com\r\n\r\n"), Read("GET"), Read("GET")];

/// The phrase of RFC 8297, which Envoy does not know; no client reads it.
const HINTS: &[Stated] = &[Stated { place: "client.0.start", ringway: "HTTP/1.1 103 Early Hints", why: "RFC 8297" }];

const ANSWERS_TOO: &str = "RFC 9110, 7.6.1 binds answers too; no other proxy does it";

const KEPT_TO_THE_HOP: &[Stated] = &[Stated { place: "client.0.header.x-hop", ringway: "<absent>", why: ANSWERS_TOO }];

const HINTS_KEPT_TO_THE_HOP: &[Stated] = &[
    Stated { place: "client.0.start", ringway: "HTTP/1.1 103 Early Hints", why: "RFC 8297" },
    Stated { place: "client.0.header.x-hop", ringway: "<absent>", why: ANSWERS_TOO },
];

const RESPONSES: &[Case] = &[
    Case::get("chunked", GET, VIA).origin(Reply::Bytes(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
    )),
    Case::get("chunked with extensions and trailers", GET, VIA).origin(Reply::Bytes(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-t\r\n\r\n5;q=1\r\nhello\r\n0\r\nx-t: 1\r\n\r\n",
    )),
    Case::get("until close", GET, VIA).origin(Reply::ThenClose(b"HTTP/1.1 200 OK\r\n\r\nhello")),
    Case::get("HTTP/1.0 until close", GET, VIA).origin(Reply::ThenClose(b"HTTP/1.0 200 OK\r\n\r\nhello")),
    Case::get(
        "chunked for an HTTP/1.0 client",
        &[Send(b"GET /x HTTP/1.0\r\nHost: a.example.com\r\n\r\n"), Read("GET")],
        VIA,
    )
    .origin(Reply::Bytes(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")),
    Case::get("HEAD keeps the length", &[Send(b"HEAD /x HTTP/1.1\r\nHost: a.example.com\r\n\r\n"), Read("HEAD")], VIA)
        .origin(Reply::Bytes(HEAD_OK)),
    Case::get(
        "HEAD of a chunked resource",
        &[Send(b"HEAD /x HTTP/1.1\r\nHost: a.example.com\r\n\r\n"), Read("HEAD")],
        VIA,
    )
    .origin(Reply::Bytes(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")),
    Case::get(
        "HEAD without any length",
        &[Send(b"HEAD /x HTTP/1.1\r\nHost: a.example.com\r\n\r\n"), Read("HEAD")],
        VIA,
    )
    .origin(Reply::Bytes(b"HTTP/1.1 200 OK\r\n\r\n")),
    Case::get("204", GET, &["204 - via_upstream"]).origin(Reply::Bytes(b"HTTP/1.1 204 No Content\r\n\r\n")),
    Case::get("304", GET, &["304 - via_upstream"])
        .origin(Reply::Bytes(b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n")),
    Case::get("304 with a length", GET, &["304 - via_upstream"])
        .origin(Reply::Bytes(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n")),
    Case::get("empty 200", GET, VIA).origin(Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")),
    Case::get("hop-by-hop headers", GET, VIA).origin(Reply::ThenClose(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close, x-hop\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\n\
          Proxy-Connection: close\r\nVia: 1.1 me\r\n\r\nok",
    ))
    .but(KEPT_TO_THE_HOP),
    Case::get("an interim response with headers for this hop", GET_TWICE, VIA)
        .origin(Reply::Bytes(
            b"HTTP/1.1 103 Early Hints\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        ))
        .but(HINTS_KEPT_TO_THE_HOP),
    Case::get("date and server for this hop", GET, VIA)
        .origin(Reply::Bytes(
            b"HTTP/1.1 200 OK\r\nConnection: date, server\r\nDate: THEN\r\nServer: me\r\nContent-Length: 2\r\n\r\nok",
        ))
        .but(&[Stated { place: "client.0.header.date", ringway: "<date>", why: ANSWERS_TOO }]),
    Case::get("server and date of the origin", GET, VIA).origin(Reply::Bytes(
        b"HTTP/1.1 200 OK\r\nServer: origin/1\r\nDate: Tue, 22 Dec 2020 06:32:22 GMT\r\nContent-Length: 2\r\n\r\nok",
    )),
    Case::get("x-envoy headers of the origin", GET, VIA).origin(Reply::Bytes(
        b"HTTP/1.1 200 OK\r\nX-Envoy-Upstream-Service-Time: 77\r\nX-Envoy-Attempt-Count: 9\r\nX-Request-Id: theirs\r\n\
          X-Envoy-Upstream-Canary: true\r\nContent-Length: 2\r\n\r\nok",
    )),
    Case::get("its own reason phrase", GET, VIA)
        .origin(Reply::Bytes(b"HTTP/1.1 200 Fine By Me\r\nContent-Length: 2\r\n\r\nok")),
    Case::get("no reason phrase", GET, VIA).origin(Reply::Bytes(b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok")),
    Case::get("a status without a name", GET, &["299 - via_upstream"])
        .origin(Reply::Bytes(b"HTTP/1.1 299 Odd\r\nContent-Length: 2\r\n\r\nok")),
    Case::get("418", GET, &["418 - via_upstream"])
        .origin(Reply::Bytes(b"HTTP/1.1 418 I'm a teapot\r\nContent-Length: 0\r\n\r\n")),
    Case::get("500 with a body", GET, &["500 - via_upstream"])
        .origin(Reply::Bytes(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\noops")),
    Case::get("repeated headers", GET, VIA).origin(Reply::Bytes(
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 2\r\n\r\nok",
    )),
    Case::get("an interim response first", GET_TWICE, VIA)
        .origin(Reply::Bytes(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")),
    Case::get("early hints", GET_TWICE, VIA)
        .origin(Reply::Bytes(
            b"HTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        ))
        .but(HINTS),
];
