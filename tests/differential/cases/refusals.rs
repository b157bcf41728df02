//! Requests that are refused before they are routed.

use super::WORLD;
use crate::bench::compare;
use crate::case::Case;
use crate::case::Step::{Fill, Read, Send};

#[test]
fn refusals() {
    compare(WORLD, 1, REFUSALS);
}

#[test]
fn limits() {
    compare(WORLD, 1, LIMITS);
}

/// A malformed request and one response.
macro_rules! refused {
    ($name:literal, $bytes:literal, $envoy:literal) => {
        Case::get($name, &[Send($bytes), Read("GET")], &[$envoy])
    };
}

const REFUSALS: &[Case] = &[
    refused!("not HTTP", b"hello\r\n\r\n", "?"),
    refused!("TLS on a plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "?"),
    refused!("no Host", b"GET /x HTTP/1.1\r\n\r\n", "?"),
    refused!("empty Host", b"GET /x HTTP/1.1\r\nHost:\r\n\r\n", "?"),
    refused!("two Hosts", b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nHost: b.example.com\r\n\r\n", "?"),
    refused!("the same Host twice", b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nHost: a.example.com\r\n\r\n", "?"),
    refused!("Host with a space", b"GET /x HTTP/1.1\r\nHost: a.example.com b\r\n\r\n", "?"),
    refused!("Host with a slash", b"GET /x HTTP/1.1\r\nHost: a.example.com/b\r\n\r\n", "?"),
    refused!("Host with a user", b"GET /x HTTP/1.1\r\nHost: u@a.example.com\r\n\r\n", "?"),
    refused!("HTTP/1.0 without Host", b"GET /x HTTP/1.0\r\n\r\n", "?"),
    refused!("HTTP/1.2", b"GET /x HTTP/1.2\r\nHost: a.example.com\r\n\r\n", "?"),
    refused!("HTTP/2.0", b"GET /x HTTP/2.0\r\nHost: a.example.com\r\n\r\n", "?"),
    refused!("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "?"),
    refused!("HTTP/0.9", b"GET /x\r\n\r\n", "?"),
    refused!("http in small letters", b"GET /x http/1.1\r\nHost: a.example.com\r\n\r\n", "?"),
    refused!("unknown method", b"FOOBAR /x HTTP/1.1\r\nHost: a.example.com\r\n\r\n", "?"),
    refused!("method in small letters", b"get /x HTTP/1.1\r\nHost: a.example.com\r\n\r\n", "?"),
    refused!("bad byte in the method", b"GE(T /x HTTP/1.1\r\nHost: a.example.com\r\n\r\n", "?"),
    refused!("space in the path", b"GET /a b HTTP/1.1\r\nHost: a.example.com\r\n\r\n", "?"),
    refused!("two spaces", b"GET  /x HTTP/1.1\r\nHost: a.example.com\r\n\r\n", "?"),
    refused!("control byte in the path", b"GET /a\x01b HTTP/1.1\r\nHost: a.example.com\r\n\r\n", "?"),
    refused!("byte above ASCII in the path", b"GET /caf\xc3\xa9 HTTP/1.1\r\nHost: a.example.com\r\n\r\n", "?"),
    refused!("fragment", b"GET /x#f HTTP/1.1\r\nHost: a.example.com\r\n\r\n", "?"),
    refused!("encoded NUL", b"GET /a%00b HTTP/1.1\r\nHost: a.example.com\r\n\r\n", "?"),
    refused!("OPTIONS *", b"OPTIONS * HTTP/1.1\r\nHost: a.example.com\r\n\r\n", "?"),
    refused!("GET *", b"GET * HTTP/1.1\r\nHost: a.example.com\r\n\r\n", "?"),
    refused!("relative target", b"GET x HTTP/1.1\r\nHost: a.example.com\r\n\r\n", "?"),
    refused!("absolute form of another scheme", b"GET ftp://a.example.com/x HTTP/1.1\r\nHost: a.example.com\r\n\r\n", "?"),
    refused!("absolute form without a host", b"GET http:///x HTTP/1.1\r\nHost: a.example.com\r\n\r\n", "?"),
    refused!("CONNECT", b"CONNECT a.example.com:80 HTTP/1.1\r\nHost: a.example.com\r\n\r\n", "?"),
    refused!("space before the colon", b"GET /x HTTP/1.1\r\nHost : a.example.com\r\n\r\n", "?"),
    refused!("space in a name", b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nX A: 1\r\n\r\n", "?"),
    refused!("empty name", b"GET /x HTTP/1.1\r\nHost: a.example.com\r\n: 1\r\n\r\n", "?"),
    refused!("line without a colon", b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nX-A\r\n\r\n", "?"),
    refused!("folded line", b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nX-A: 1\r\n  2\r\n\r\n", "?"),
    refused!("space before the first name", b"GET /x HTTP/1.1\r\n Host: a.example.com\r\n\r\n", "?"),
    refused!("NUL in a value", b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nX-A: a\x00b\r\n\r\n", "?"),
    refused!("control byte in a value", b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nX-A: a\x01b\r\n\r\n", "?"),
    refused!("DEL in a value", b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nX-A: a\x7fb\r\n\r\n", "?"),
    refused!("CR in a value", b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nX-A: a\rb\r\n\r\n", "?"),
    refused!("two lengths", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "?"),
    refused!("the same length twice", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab", "?"),
    refused!("a list of lengths", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nContent-Length: 2, 2\r\n\r\nab", "?"),
    refused!("length -1", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nContent-Length: -1\r\n\r\n", "?"),
    refused!("length +2", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nContent-Length: +2\r\n\r\nab", "?"),
    refused!("length 0x2", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nContent-Length: 0x2\r\n\r\nab", "?"),
    refused!("length of nothing", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nContent-Length:\r\n\r\n", "?"),
    refused!("length above 64 bits", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nContent-Length: 18446744073709551616\r\n\r\n", "?"),
    refused!("length and chunked", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "?"),
    refused!("chunked and length", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n", "?"),
    refused!("transfer-encoding gzip", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nTransfer-Encoding: gzip\r\n\r\n", "?"),
    refused!("transfer-encoding identity", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nTransfer-Encoding: identity\r\n\r\n", "?"),
    refused!("gzip, chunked", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "?"),
    refused!("chunked, chunked", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", "?"),
    refused!("chunked on two lines", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "?"),
    refused!("xchunked", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "?"),
    refused!("chunked on HTTP/1.0", b"POST /x HTTP/1.0\r\nHost: a.example.com\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "?"),
    refused!("bad chunk size", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n", "?"),
    refused!("chunk longer than its size", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n", "?"),
    refused!("chunk size above 64 bits", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nTransfer-Encoding: chunked\r\n\r\n11111111111111111\r\nhello\r\n0\r\n\r\n", "?"),
    refused!("upgrade to something else", b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nConnection: Upgrade\r\nUpgrade: tea\r\n\r\n", "?"),
    refused!("Connection names Host", b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nConnection: host\r\n\r\n", "?"),
    refused!("Connection names X-Forwarded-For", b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nX-Forwarded-For: 1.2.3.4\r\nConnection: x-forwarded-for\r\n\r\n", "?"),
    refused!("Connection names Content-Length", b"POST /x HTTP/1.1\r\nHost: a.example.com\r\nContent-Length: 2\r\nConnection: content-length\r\n\r\nab", "?"),
];

const START: &[u8] = b"GET /x HTTP/1.1\r\nHost: a.example.com\r\nX-Long: ";

const LIMITS: &[Case] = &[
    Case::get("a header of 61,000 bytes", &[Fill(START, 61_000, b"\r\n\r\n"), Read("GET")], &["?"]),
    Case::get("a header of 62,000 bytes", &[Fill(START, 62_000, b"\r\n\r\n"), Read("GET")], &["?"]),
    Case::get(
        "a path of 62,000 bytes",
        &[Fill(b"GET /", 62_000, b" HTTP/1.1\r\nHost: a.example.com\r\n\r\n"), Read("GET")],
        &["?"],
    ),
];
