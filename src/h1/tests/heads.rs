use super::super::parse::MOST_HEADERS;
use super::*;
use crate::http::head::Known;

#[test]
fn good_requests() {
    let table: &[(&str, &str)] = &[
        ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET / 1.1|Host=h"),
        ("GET /a?b#c HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a?b#c 1.1|Host=h"),
        ("GET / HTTP/1.0\r\n\r\n", "GET / 1.0"),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET / 1.1|Host="),
        ("GET / HTTP/1.1\r\nHost: \t h\t \r\n\r\n", "GET / 1.1|Host=h"),
        ("GET / HTTP/1.1\nHost: h\nA: b\n\n", "GET / 1.1|Host=h|A=b"),
        ("GET / HTTP/1.1\r\nHost: h\nA: b\r\n\n", "GET / 1.1|Host=h|A=b"),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET / 1.1|Host=h"),
        ("\n\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET / 1.1|Host=h"),
        ("POST http://a/ HTTP/1.1\r\n\r\n", "POST http://a/ 1.1"),
        ("OPTIONS * HTTP/1.1\r\nhOST: h\r\n\r\n", "OPTIONS * 1.1|hOST=h"),
        ("M-SEARCH * HTTP/1.1\r\nHost: h\r\n\r\n", "M-SEARCH * 1.1|Host=h"),
        ("GET / HTTP/1.1\r\nHost: h\r\nA_b: 1\r\nC: \r\nD: e f\tg\r\n\r\n", "GET / 1.1|Host=h|A_b=1|C=|D=e f\\tg"),
        (
            "GET / HTTP/1.1\r\nHost: [::1]:80\r\nConnection: close, x-a\r\n\r\n",
            "GET / 1.1|Host=[::1]:80|Connection=close, x-a",
        ),
        ("GET / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nbad bad", "GET / 1.1|Host=h"),
    ];
    for (message, expected) in table {
        let head = good_request(message.as_bytes());
        assert_eq!(render_request(&head, message.as_bytes()), *expected, "{message:?}");
        let rest = &message[head.len..];
        assert!(rest.is_empty() || rest.starts_with("GET"), "{message:?} left {rest:?}");
    }
    let head = good_request("GET / HTTP/1.1\r\nX: \u{e9}\r\nHost: h\r\n\r\n".as_bytes());
    assert_eq!(head.headers.len(), 2, "obs-text passes");
}

#[test]
fn bad_requests() {
    use ProtocolError as B;
    let table: &[(&[u8], ProtocolError)] = &[
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", B::HostDuplicate),
        (b"GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n", B::HostDuplicate),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", B::Authority),
        (b"GET / HTTP/1.1\r\nHost: u@h\r\n\r\n", B::Authority),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", B::Authority),
        (b"GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n", B::HeaderName),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n\tb\r\n\r\n", B::HeaderName),
        (b"GET / HTTP/1.1\r\n Host: h\r\n\r\n", B::HeaderName),
        (b"GET / HTTP/1.1\r\nHost : h\r\n\r\n", B::HeaderName),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX\r\n\r\n", B::HeaderName),
        (b"GET / HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n", B::HeaderName),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX@: x\r\n\r\n", B::HeaderName),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX\x00: x\r\n\r\n", B::HeaderName),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX\xe9: x\r\n\r\n", B::HeaderName),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: a\x00b\r\n\r\n", B::HeaderValue),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: \x01\r\n\r\n", B::HeaderValue),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: a\x7f\r\n\r\n", B::HeaderValue),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n", B::HeaderValue),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: \rb\r\n\r\n", B::HeaderValue),
        (b"GET / HTTP/1.1\rHost: h\r\n\r\n", B::LineEnd),
        (b"GET / HTTP/1.1\r\nHost: h\r\n\rX", B::LineEnd),
        (b"\rGET / HTTP/1.1\r\n", B::LineEnd),
        (b"\r\r\r\r\r\r\r\r\r\r\n", B::LineEnd),
        (b"\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", B::RequestLine),
        (b"GET / HTTP/1.1 \r\nHost: h\r\n\r\n", B::LineEnd),
        (b"GET / HTTP/1.10\r\nHost: h\r\n\r\n", B::LineEnd),
        (b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", B::RequestLine),
        (b"GET /  HTTP/1.1\r\nHost: h\r\n\r\n", B::RequestLine),
        (b"GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", B::RequestLine),
        (b"GET /\x00 HTTP/1.1\r\nHost: h\r\n\r\n", B::RequestLine),
        (b"GET /\x7f HTTP/1.1\r\nHost: h\r\n\r\n", B::RequestLine),
        (b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n", B::RequestLine),
        (b"GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n", B::RequestLine),
        (b"GET /\r\nHost: h\r\n\r\n", B::RequestLine),
        (b"GARBAGE\r\n\r\n", B::RequestLine),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", B::RequestLine),
        (b"GET / http/1.1\r\nHost: h\r\n\r\n", B::RequestLine),
        (b"GET / XTTP/1.1\r\nHost: h\r\n\r\n", B::RequestLine),
        (b"GET / HTTP/2\r\nHost: h\r\n\r\n", B::RequestLine),
        (b"GET / HTTP/2.10\r\nHost: h\r\n\r\n", B::RequestLine),
        (b"GET / HTTP/1.2\r\nHost: h\r\n\r\n", B::Version),
        (b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", B::Version),
        (b"GET / HTTP/0.9\nHost: h\r\n\r\n", B::Version),
        (b"FOOBAR / HTTP/1.1\r\nHost: h\r\n\r\n", B::Method),
        (b"get / HTTP/1.1\r\nHost: h\r\n\r\n", B::Method),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", B::Version),
        (b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close, host\r\n\r\n", B::Connection),
        (b"GET / HTTP/1.1\r\nHost: h\r\nConnection: X-Forwarded-For\r\n\r\n", B::Connection),
        (b"GET / HTTP/1.1\r\nHost: h\r\nConnection: :path\r\n\r\n", B::Connection),
    ];
    for (message, expected) in table {
        let result = request_of(message, &HeadLimits::default());
        assert_eq!(result.map(|head| head.map(|head| head.len)), Err(*expected), "{}", text(message));
    }
}

#[test]
fn an_unfinished_head_needs_more() {
    for message in
        ["", "G", "GET", "GET /", "GET / HTTP/1.1", "GET / HTTP/2.", "GET / HTTP/1.1\r\nHost: h\r\n", "\r\n", "\r"]
    {
        assert!(matches!(request_of(message.as_bytes(), &HeadLimits::default()), Ok(None)), "{message:?}");
    }
}

#[test]
fn what_the_client_is_told() {
    use ProtocolError as B;
    let table = [
        (B::HeaderName, 400, "Bad Request", "http1.codec_error"),
        (B::HeaderValue, 400, "Bad Request", "http1.invalid_characters"),
        (B::HostMissing, 400, "", "missing_host_header"),
        (B::Path, 400, "", "path_normalization_failed"),
        (B::HttpsTarget, 403, "Forbidden", "http1.https_url_on_plaintext_connection"),
        (B::Version, 426, "Upgrade Required", "low_version"),
        (B::TooLarge, 431, "Request Header Fields Too Large", "http1.headers_too_large"),
        (B::TooManyHeaders, 431, "Request Header Fields Too Large", "http1.too_many_headers"),
        (B::Coding, 501, "Not Implemented", "http1.invalid_transfer_encoding"),
        (B::LengthAndCoding, 400, "Bad Request", "http1.content_length_and_chunked_not_allowed"),
    ];
    for (bad, status, body, details) in table {
        assert_eq!((bad.status(), bad.body(), bad.details()), (status, body, details), "{bad:?}");
    }
}

/// A request whose head is exactly `bytes` long.
fn head_of_bytes(bytes: usize) -> Vec<u8> {
    let frame = "GET / HTTP/1.1\r\nHost: h\r\nX: \r\n\r\n";
    format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(bytes - frame.len())).into_bytes()
}

fn head_of_lines(lines: usize) -> Vec<u8> {
    let others: String = (1..lines).map(|line| format!("X-{line}: y\r\n")).collect();
    format!("GET / HTTP/1.1\r\nHost: h\r\n{others}\r\n").into_bytes()
}

#[test]
fn limits_hold_to_the_byte_and_line() {
    let limits = HeadLimits { max_bytes: 500, max_headers: 10 };
    let outcome = |message: &[u8]| request_of(message, &limits).map(|head| head.is_some());
    assert_eq!(outcome(&head_of_bytes(500)), Ok(true));
    assert_eq!(outcome(&head_of_bytes(501)), Err(ProtocolError::TooLarge));
    assert_eq!(outcome(&head_of_bytes(501)[..500]), Err(ProtocolError::TooLarge), "known before the head is whole");
    assert_eq!(outcome(&head_of_bytes(501)[..499]), Ok(false));
    assert_eq!(outcome(format!("GET /{}", "a".repeat(600)).as_bytes()), Err(ProtocolError::TooLarge), "a long target");
    assert_eq!(outcome(&head_of_lines(10)), Ok(true));
    assert_eq!(outcome(&head_of_lines(11)), Err(ProtocolError::TooManyHeaders));
}

#[test]
fn default_limits_are_envoys() {
    let outcome = |message: &[u8]| request_of(message, &HeadLimits::default()).map(|head| head.is_some());
    assert_eq!(outcome(&head_of_bytes(61_440)), Ok(true));
    assert_eq!(outcome(&head_of_bytes(61_441)), Err(ProtocolError::TooLarge));
    assert_eq!(outcome(&head_of_lines(100)), Ok(true));
    assert_eq!(outcome(&head_of_lines(101)), Err(ProtocolError::TooManyHeaders));
}

#[test]
fn a_listener_may_allow_more_lines() {
    let limits = HeadLimits { max_headers: 1000, ..HeadLimits::default() };
    let outcome = |lines| request_of(&head_of_lines(lines), &limits).map(|head| head.is_some());
    assert_eq!((outcome(1000), outcome(1001)), (Ok(true), Err(ProtocolError::TooManyHeaders)));
    let limits = HeadLimits { max_headers: usize::MAX, ..limits };
    let outcome = |lines| request_of(&head_of_lines(lines), &limits).map(|head| head.is_some());
    assert_eq!((outcome(MOST_HEADERS), outcome(MOST_HEADERS + 1)), (Ok(true), Err(ProtocolError::TooManyHeaders)));
}

#[test]
fn a_used_head_starts_afresh() {
    let (first, second) = (head_of_lines(9), b"POST /b HTTP/1.0\r\nA: b\r\n\r\n");
    let mut head = RequestHead::default();
    assert_eq!(parse::request(&first, &HeadLimits::default(), &mut head), Ok(Parsed::Complete));
    assert!(head.has(Known::Host));
    let room = head.headers.capacity();
    assert_eq!(parse::request(second, &HeadLimits::default(), &mut head), Ok(Parsed::Complete));
    assert_eq!(render_request(&head, second), "POST /b 1.0|A=b");
    assert!(!head.has(Known::Host) && head.find(Known::Host).is_none());
    assert_eq!(head.headers.capacity(), room, "and keeps its memory");
    head.clear();
    assert_eq!((head.len, head.headers.len(), head.target.is_empty()), (0, 0, true));
}

#[test]
fn after_an_error_the_log_has_the_request_line() {
    let message = b"POST /log/me HTTP/1.1\r\nHost: a\r\nbad line\r\n\r\n";
    let mut head = RequestHead::default();
    assert_eq!(parse::request(message, &HeadLimits::default(), &mut head), Err(ProtocolError::HeaderName));
    assert_eq!((head.method_span.of(message), head.target.of(message)), (&b"POST"[..], &b"/log/me"[..]));
}

#[test]
fn known_names() {
    let names = [
        (Known::Host, "hOsT"),
        (Known::Connection, "Connection"),
        (Known::ContentLength, "content-length"),
        (Known::TransferEncoding, "TRANSFER-ENCODING"),
        (Known::Te, "TE"),
        (Known::Upgrade, "Upgrade"),
        (Known::KeepAlive, "Keep-Alive"),
        (Known::ProxyConnection, "Proxy-Connection"),
        (Known::Expect, "Expect"),
        (Known::Server, "Server"),
        (Known::Date, "Date"),
        (Known::UserAgent, "User-Agent"),
        (Known::XForwardedFor, "X-Forwarded-For"),
        (Known::XForwardedProto, "X-Forwarded-Proto"),
        (Known::XForwardedHost, "X-Forwarded-Host"),
        (Known::XForwardedClientCert, "X-Forwarded-Client-Cert"),
        (Known::XRequestId, "X-Request-Id"),
        (Known::XEnvoyUpstreamServiceTime, "X-Envoy-Upstream-Service-Time"),
        (Known::XEnvoy, "x-envoy-max-retries"),
        (Known::XEnvoy, "x-envoy-a"),
        (Known::Other, "x-envoy-"),
        (Known::Other, ""),
        (Known::Other, "hosts"),
        (Known::Other, "hos\x14"),
        (Known::Other, "content_length"),
        (Known::Other, "x-forwarded-port"),
    ];
    for (id, name) in names {
        assert_eq!(Known::of(name.as_bytes()), id, "{name}");
    }
}

#[test]
fn lookups() {
    let message = b"GET / HTTP/1.1\r\nX: 1\r\nHost: h\r\nx: 2\r\nConnection: a\r\nConnection: b\r\n\r\n";
    let head = good_request(message);
    assert_eq!(head.value_of("x", message), Some(&b"1"[..]));
    assert_eq!(head.value_of("HOST", message), Some(&b"h"[..]));
    assert_eq!(head.value_of("y", message), None);
    let connection: Vec<_> = head.all(Known::Connection).map(|line| line.value.of(message)).collect();
    assert_eq!(connection, [b"a", b"b"]);
    assert_eq!(head.find(Known::Te), None);
}

#[test]
fn responses() {
    let table: &[(&str, &str)] = &[
        ("HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody", "200 1.1|A=b"),
        ("HTTP/1.0 404 Not Found\r\n\r\n", "404 1.0"),
        ("HTTP/1.1 200\r\nA: b\r\n\r\n", "200 1.1|A=b"),
        ("HTTP/1.1 200 \r\nA: b\r\n\r\n", "200 1.1|A=b"),
        ("HTTP/1.1 200 Tr\u{e8}s bien\r\n\r\n", "200 1.1"),
        ("HTTP/1.1 999 Odd\nA: b\n\n", "999 1.1|A=b"),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "100 1.1"),
    ];
    for (message, expected) in table {
        let head = good_response(message.as_bytes());
        assert_eq!(render_response(&head, message.as_bytes()), *expected, "{message:?}");
    }
    use ProtocolError as B;
    let table: &[(&[u8], ProtocolError)] = &[
        (b"\r\nHTTP/1.1 200 OK\r\n\r\n", B::StatusLine),
        (b"HTTP/1.1 099 X\r\n\r\n", B::StatusLine),
        (b"HTTP/1.1 20 X\r\n\r\n", B::StatusLine),
        (b"HTTP/1.1 2000 X\r\n\r\n", B::StatusLine),
        (b"HTTP/1.1 200 O\x01K\r\n\r\n", B::StatusLine),
        (b"HTTP/1.1 200 O\rK\r\n\r\n", B::StatusLine),
        (b"HTTP/2 200 OK\r\n\r\n", B::StatusLine),
        (b"SSH-2.0-OpenSSH\r\n", B::StatusLine),
        (b"HTTP/1.1 200 OK\r\nX: a\x01\r\n\r\n", B::HeaderValue),
        (b"HTTP/1.1 200 OK\r\nX: a\x00\r\n\r\n", B::HeaderValue),
        (b"HTTP/1.1 200 OK\r\nX : a\r\n\r\n", B::HeaderName),
        (b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", B::HeaderName),
        (b"HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\n\r\n", B::HeaderValue),
    ];
    for (message, expected) in table {
        let result = response_of(message).map(|head| head.map(|head| head.len));
        assert_eq!(result, Err(*expected), "{}", text(message));
    }
}

#[test]
fn a_head_that_drips_in_is_not_read_again_for_each_byte() {
    // 60 KiB in one line, byte by byte: were each byte a reason to read all of it, this would be 1.8 GB of parsing.
    let message = head_of_bytes(61_440);
    let mut head = RequestHead::default();
    let mut looked = 0usize;
    for cut in 1..message.len() {
        let before = head.facts.seen;
        assert_eq!(parse::request(&message[..cut], &HeadLimits::default(), &mut head), Ok(Parsed::NeedMore));
        if head.facts.seen != before {
            looked += head.facts.seen;
        }
    }
    assert!(looked < 20 * message.len(), "{looked} bytes read");
    assert_eq!(parse::request(&message, &HeadLimits::default(), &mut head), Ok(Parsed::Complete));
}
