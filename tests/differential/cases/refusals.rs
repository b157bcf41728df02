//! Requests that are refused before they are routed.

use super::EDGE;
use crate::bench::compare;
use crate::case::Step::{Fill, Read, Send};
use crate::case::{Case, Stated, VIA};

#[test]
fn refusals() {
    compare(EDGE, REFUSALS);
}

#[test]
fn limits() {
    compare(EDGE, LIMITS);
}

/// A malformed request and one response.
macro_rules! refused {
    ($name:literal, $bytes:literal, $envoy:literal) => {
        Case::get($name, &[Send($bytes), Read("GET")], &[$envoy])
    };
    ($name:literal, $bytes:literal, $envoy:literal, $but:expr) => {
        Case::get($name, &[Send($bytes), Read("GET")], &[$envoy]).but($but)
    };
}

const AMBIGUOUS: &str = "docs/DEPARTURES.md, ambiguous requests: 400 and close, always";

/// Envoy takes the request and finds no host for it; ringway does not take it.
const STRICTER: &[Stated] = &[
    Stated { place: "client.0.start", ringway: "HTTP/1.1 400 Bad Request", why: AMBIGUOUS },
    Stated { place: "client", ringway: "", why: AMBIGUOUS },
    Stated { place: "log", ringway: "", why: AMBIGUOUS },
];

/// Envoy sends the request to the origin; ringway does not take it.
const STRICTER_THAN_200: &[Stated] = &[
    Stated { place: "client.0.start", ringway: "HTTP/1.1 400 Bad Request", why: AMBIGUOUS },
    Stated { place: "client", ringway: "", why: AMBIGUOUS },
    Stated { place: "log", ringway: "", why: AMBIGUOUS },
    Stated { place: "origin", ringway: "", why: AMBIGUOUS },
];

/// The same to an HTTP/1.0 client.
const STRICTER_1_0: &[Stated] = &[
    Stated { place: "client.0.start", ringway: "HTTP/1.0 400 Bad Request", why: AMBIGUOUS },
    Stated { place: "client", ringway: "", why: AMBIGUOUS },
    Stated { place: "log", ringway: "", why: AMBIGUOUS },
    Stated { place: "origin", ringway: "", why: AMBIGUOUS },
];

const WORDS: &str = "the same refusal; the word for it in the log is that of what is wrong";

const CODEC_ERROR: &[Stated] = &[Stated { place: "log.0.details", ringway: "http1.codec_error", why: WORDS }];

const INVALID_AUTHORITY: &[Stated] =
    &[Stated { place: "log.0.details", ringway: "http.invalid_authority", why: WORDS }];

const EMPTY_IS_NONE: &[Stated] =
    &[Stated { place: "log.0.authority", ringway: "-", why: "the log shows a missing and an empty value alike" }];

const NO_HTTP_2: &str = "a version that ringway does not speak is 426, the preface of HTTP/2 too";

const PREFACE: &[Stated] = &[
    Stated { place: "client.0.start", ringway: "HTTP/1.1 426 Upgrade Required", why: NO_HTTP_2 },
    Stated { place: "client.0", ringway: "", why: NO_HTTP_2 },
    Stated { place: "log", ringway: "", why: NO_HTTP_2 },
];

const NO_HTTP_0_9: &str = "a line without a version is no HTTP request; Envoy takes it for HTTP/1.0 without Host";

const HTTP_0_9: &[Stated] = &[
    Stated { place: "client.0.start", ringway: "HTTP/1.1 400 Bad Request", why: NO_HTTP_0_9 },
    Stated { place: "client.0", ringway: "", why: NO_HTTP_0_9 },
    Stated { place: "log", ringway: "", why: NO_HTTP_0_9 },
];

const CONNECTION_NAMES: &str = "a client cannot strip what the proxy itself relies on by naming it in Connection";

/// Refused by both, ringway says by name why.
const BEFORE_ANYBODY: &[Stated] = &[Stated {
    place: "log.0.upstream_host",
    ringway: "-",
    why: "what came with the head is read before an endpoint is chosen, so nobody is bothered with it",
}];

const NAMES_HOST: &[Stated] = &[
    Stated { place: "client.0", ringway: "", why: CONNECTION_NAMES },
    Stated { place: "log", ringway: "", why: CONNECTION_NAMES },
];

/// Envoy drops the length and sends chunks.
const NAMES_LENGTH: &[Stated] = &[
    Stated { place: "origin.0.header.content-length", ringway: "2", why: CONNECTION_NAMES },
    Stated { place: "origin.0.header.transfer-encoding", ringway: "<absent>", why: CONNECTION_NAMES },
];

const ONLY_1_0: &str =
    "docs/DEPARTURES.md, HTTP/1.0: accepted as it is; an Envoy that accepts it takes any version for it";

const VERSION: &[Stated] = &[
    Stated { place: "client.0.start", ringway: "HTTP/1.1 426 Upgrade Required", why: ONLY_1_0 },
    Stated { place: "client", ringway: "", why: ONLY_1_0 },
    Stated { place: "log", ringway: "", why: ONLY_1_0 },
    Stated { place: "origin", ringway: "", why: ONLY_1_0 },
];

const NO_HOST_1_0: &str =
    "docs/DEPARTURES.md, HTTP/1.0: without Host it goes to the `*` virtual host, which is not there";

const NO_HOST: &[Stated] = &[
    Stated { place: "client.0.start", ringway: "HTTP/1.0 404 Not Found", why: NO_HOST_1_0 },
    Stated { place: "log", ringway: "", why: NO_HOST_1_0 },
];

const REFUSALS: &[Case] = &[
    refused!("not HTTP", b"hello\r\n\r\n", "400 DPE http1.codec_error"),
    refused!("TLS on a plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "400 DPE http1.codec_error"),
    refused!("no Host", b"GET /x HTTP/1.1\r\n\r\n", "400 - missing_host_header"),
    refused!("empty Host", b"GET /x HTTP/1.1\r\nHost:\r\n\r\n", "404 NR route_not_found", EMPTY_IS_NONE),
    refused!("two Hosts", b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nHost: b.example.com\r\n\r\n", "404 NR route_not_found", STRICTER),
    refused!("the same Host twice", b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nHost: a.example.com\r\n\r\n", "404 NR route_not_found", STRICTER),
    refused!("Host with a space", b"GET /x HTTP/1.1\r\nHost: a.example.com b\r\n\r\n", "400 DPE http.invalid_authority"),
    refused!("Host with a slash", b"GET /x HTTP/1.1\r\nHost: a.example.com/b\r\n\r\n", "400 DPE http.invalid_authority"),
    refused!("Host with a user", b"GET /x HTTP/1.1\r\nHost: u@a.example.com\r\n\r\n", "404 NR route_not_found", STRICTER),
    refused!("HTTP/1.0 without Host", b"GET /x HTTP/1.0\r\n\r\n", "400 - missing_host_header", NO_HOST),
    refused!("HTTP/1.2", b"GET /x HTTP/1.2\r\nHost: a.example.com\r\n\r\n", "200 - via_upstream", VERSION),
    refused!("HTTP/2.0", b"GET /x HTTP/2.0\r\nHost: a.example.com\r\n\r\n", "200 - via_upstream", VERSION),
    refused!("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400 DPE http1.codec_error", PREFACE),
    refused!("HTTP/0.9", b"GET /x\r\n\r\n", "400 - missing_host_header", HTTP_0_9),
    refused!("http in small letters", b"GET /x http/1.1\r\nHost: a.example.com\r\n\r\n", "400 DPE http1.codec_error"),
    refused!("unknown method", b"FOOBAR /x HTTP/1.1\r\nHost: a.example.com\r\n\r\n", "400 DPE http1.codec_error"),
    refused!("method in small letters", b"get /x HTTP/1.1\r\nHost: a.example.com\r\n\r\n", "400 DPE http1.codec_error"),
    refused!("bad byte in the method", b"GE(T /x HTTP/1.1\r\nHost: a.example.com\r\n\r\n", "400 DPE http1.codec_error"),
    refused!("space in the path", b"GET /a b HTTP/1.1\r\nHost: a.example.com\r\n\r\n", "400 DPE http1.codec_error"),
    refused!("two spaces", b"GET  /x HTTP/1.1\r\nHost: a.example.com\r\n\r\n", "200 - via_upstream", STRICTER_THAN_200),
    refused!("control byte in the path", b"GET /a\x01b HTTP/1.1\r\nHost: a.example.com\r\n\r\n", "400 DPE http1.invalid_characters", CODEC_ERROR),
    refused!("byte above ASCII in the path", b"GET /caf\xc3\xa9 HTTP/1.1\r\nHost: a.example.com\r\n\r\n", "400 DPE http1.codec_error"),
    refused!("fragment", b"GET /x#f HTTP/1.1\r\nHost: a.example.com\r\n\r\n", "400 - path_normalization_failed"),
    refused!("encoded NUL", b"GET /a%00b HTTP/1.1\r\nHost: a.example.com\r\n\r\n", "400 - path_normalization_failed"),
    refused!("OPTIONS *", b"OPTIONS * HTTP/1.1\r\nHost: a.example.com\r\n\r\n", "404 - absolute_path_rejected"),
    refused!("GET *", b"GET * HTTP/1.1\r\nHost: a.example.com\r\n\r\n", "400 DPE http1.invalid_url", CODEC_ERROR),
    refused!("relative target", b"GET x HTTP/1.1\r\nHost: a.example.com\r\n\r\n", "400 DPE http1.codec_error"),
    refused!("absolute form of another scheme", b"GET ftp://a.example.com/x HTTP/1.1\r\nHost: a.example.com\r\n\r\n", "400 DPE http1.invalid_scheme"),
    refused!("absolute form without a host", b"GET http:///x HTTP/1.1\r\nHost: a.example.com\r\n\r\n", "400 DPE http1.invalid_url", INVALID_AUTHORITY),
    refused!("CONNECT", b"CONNECT a.example.com:80 HTTP/1.1\r\nHost: a.example.com\r\n\r\n", "404 NR route_not_found"),
    refused!("space before the colon", b"GET /x HTTP/1.1\r\nHost : a.example.com\r\n\r\n", "400 DPE http1.codec_error"),
    refused!("space in a name", b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nX A: 1\r\n\r\n", "400 DPE http1.codec_error"),
    refused!("empty name", b"GET /x HTTP/1.1\r\nHost: a.example.com\r\n: 1\r\n\r\n", "400 DPE http1.codec_error"),
    refused!("line without a colon", b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nX-A\r\n\r\n", "400 DPE http1.codec_error"),
    refused!("folded line", b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nX-A: 1\r\n  2\r\n\r\n", "200 - via_upstream", STRICTER_THAN_200),
    refused!("space before the first name", b"GET /x HTTP/1.1\r\n Host: a.example.com\r\n\r\n", "400 DPE http1.codec_error"),
    refused!("NUL in a value", b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nX-A: a\x00b\r\n\r\n", "400 DPE http1.invalid_characters"),
    refused!("control byte in a value", b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nX-A: a\x01b\r\n\r\n", "400 DPE http1.invalid_characters"),
    refused!("DEL in a value", b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nX-A: a\x7fb\r\n\r\n", "400 DPE http1.invalid_characters"),
    refused!("CR in a value", b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nX-A: a\rb\r\n\r\n", "200 - via_upstream", STRICTER_THAN_200),
    refused!("two lengths", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "400 DPE http1.codec_error"),
    refused!("the same length twice", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab", "400 DPE http1.codec_error"),
    refused!("a list of lengths", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nContent-Length: 2, 2\r\n\r\nab", "400 DPE http1.codec_error"),
    refused!("length -1", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nContent-Length: -1\r\n\r\n", "400 DPE http1.codec_error"),
    refused!("length +2", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nContent-Length: +2\r\n\r\nab", "400 DPE http1.codec_error"),
    refused!("length 0x2", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nContent-Length: 0x2\r\n\r\nab", "400 DPE http1.codec_error"),
    refused!("length of nothing", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nContent-Length:\r\n\r\n", "400 DPE http1.codec_error"),
    refused!("length above 64 bits", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nContent-Length: 18446744073709551616\r\n\r\n", "400 DPE http1.codec_error"),
    refused!("length and chunked", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400 DPE http1.content_length_and_chunked_not_allowed"),
    refused!("chunked and length", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n", "400 DPE http1.content_length_and_chunked_not_allowed"),
    refused!("transfer-encoding gzip", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nTransfer-Encoding: gzip\r\n\r\n", "501 DPE http1.invalid_transfer_encoding"),
    refused!("transfer-encoding identity", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nTransfer-Encoding: identity\r\n\r\n", "501 DPE http1.invalid_transfer_encoding"),
    refused!("gzip, chunked", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "501 DPE http1.invalid_transfer_encoding"),
    refused!("chunked, chunked", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", "501 DPE http1.invalid_transfer_encoding"),
    refused!("chunked on two lines", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "501 DPE http1.invalid_transfer_encoding"),
    refused!("xchunked", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "501 DPE http1.invalid_transfer_encoding"),
    refused!("chunked on HTTP/1.0", b"POST /x HTTP/1.0\r\nHost: a.example.com\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "200 - via_upstream", STRICTER_1_0),
    refused!("bad chunk size", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n", "400 DPE http1.codec_error", BEFORE_ANYBODY),
    refused!("chunk longer than its size", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n", "200 - via_upstream", STRICTER_THAN_200),
    refused!("chunk size above 64 bits", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nTransfer-Encoding: chunked\r\n\r\n11111111111111111\r\nhello\r\n0\r\n\r\n", "400 DPE http1.codec_error", BEFORE_ANYBODY),
    refused!("upgrade to something else", b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nConnection: Upgrade\r\nUpgrade: tea\r\n\r\n", "403 - upgrade_failed"),
    refused!("Connection names Host", b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nConnection: host\r\n\r\n", "400 - missing_host_header", NAMES_HOST),
    refused!("Connection names X-Forwarded-For", b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nX-Forwarded-For: 1.2.3.4\r\nConnection: x-forwarded-for\r\n\r\n", "400 DPE http1.connection_header_rejected"),
    refused!("Connection names Content-Length", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nContent-Length: 2\r\nConnection: content-length\r\n\r\nab", "200 - via_upstream", NAMES_LENGTH),
];

const START: &[u8] = b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nX-Long: ";

/// Host is the first of the headers.
const WITH_HOST: &[u8] = b"GET /x HTTP/1.1\r\nHost: a.example.com\r\n";

const LIMITS: &[Case] = &[
    Case::get("a header of 61,000 bytes", &[Fill(START, b"x", 61_000, b"\r\n\r\n"), Read("GET")], VIA),
    Case::get("a header of 62,000 bytes", &[Fill(START, b"x", 62_000, b"\r\n\r\n"), Read("GET")], TOO_LARGE),
    Case::get(
        "a path of 62,000 bytes",
        &[Fill(b"GET /", b"x", 62_000, b" HTTP/1.1\r\nHost: a.example.com\r\n\r\n"), Read("GET")],
        TOO_LARGE,
    ),
    Case::get("a head of 62,000 bytes without an end", &[Fill(START, b"x", 62_000, b""), Read("GET")], TOO_LARGE),
    Case::get("100 headers", &[Fill(WITH_HOST, b"X-A: 1\r\n", 99, b"\r\n"), Read("GET")], VIA),
    Case::get(
        "101 headers",
        &[Fill(WITH_HOST, b"X-A: 1\r\n", 100, b"\r\n"), Read("GET")],
        &["431 DPE http1.too_many_headers"],
    ),
];

const TOO_LARGE: &[&str] = &["431 DPE http1.headers_too_large"];
