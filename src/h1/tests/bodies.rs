use super::super::framing::{self, Body, Upgrade};
use super::*;
use crate::http::head::Method;

/// A request with these lines after its `Host`.
fn with_lines(first: &str, lines: &str) -> Vec<u8> {
    let end = if lines.is_empty() { "" } else { "\r\n" };
    format!("{first}\r\nHost: h\r\n{lines}{end}\r\n").into_bytes()
}

fn body_of(first: &str, lines: &str) -> Result<Body, ProtocolError> {
    let message = with_lines(first, lines);
    framing::request_body(&good_request(&message), &message)
}

#[test]
fn bodies_of_requests() {
    let table = [
        ("", Body::None),
        ("Content-Length: 0", Body::Length(0)),
        ("Content-Length: 10", Body::Length(10)),
        ("content-length:\t 10 ", Body::Length(10)),
        ("Content-Length: 9223372036854775807", Body::Length(i64::MAX as u64)),
        ("Transfer-Encoding: chunked", Body::Chunked),
        ("transfer-encoding: CHUNKED", Body::Chunked),
        ("X-Content-Length: 5\r\nContent_Length: 6", Body::None),
    ];
    for (lines, expected) in table {
        for method in ["GET", "POST", "DELETE", "PURGE"] {
            assert_eq!(body_of(&format!("{method} / HTTP/1.1"), lines), Ok(expected), "{method} {lines}");
        }
    }
    assert_eq!(body_of("POST / HTTP/1.0", "Content-Length: 3"), Ok(Body::Length(3)));
}

#[test]
fn ambiguous_requests_are_refused() {
    use ProtocolError as B;
    let table = [
        ("Content-Length: 3\r\nContent-Length: 3", B::Length),
        ("Content-Length: 3\r\nContent-Length: 4", B::Length),
        ("Content-Length: 3\r\ncontent-length:", B::Length),
        ("Content-Length: 3, 3", B::Length),
        ("Content-Length: 3,", B::Length),
        ("Content-Length:", B::Length),
        ("Content-Length: -1", B::Length),
        ("Content-Length: +1", B::Length),
        ("Content-Length: 1 1", B::Length),
        ("Content-Length: 0x1", B::Length),
        ("Content-Length: 1.0", B::Length),
        ("Content-Length: 1e1", B::Length),
        ("Content-Length: 1_0", B::Length),
        ("Content-Length: \"1\"", B::Length),
        ("Content-Length: 01", B::Length),
        ("Content-Length: 00", B::Length),
        ("Content-Length: \u{661}", B::Length),
        ("Content-Length: 9223372036854775808", B::Length),
        ("Content-Length: 18446744073709551616", B::Length),
        ("Content-Length: 99999999999999999999999999", B::Length),
        ("Content-Length: 3\r\nTransfer-Encoding: chunked", B::LengthAndCoding),
        ("Transfer-Encoding: chunked\r\nContent-Length: 3", B::LengthAndCoding),
        ("Transfer-Encoding: gzip\r\nContent-Length: 3", B::LengthAndCoding),
        ("Transfer-Encoding:\r\nContent-Length: 3", B::LengthAndCoding),
        ("Transfer-Encoding: chunked\r\nContent-Length: x", B::LengthAndCoding),
        ("Transfer-Encoding: gzip", B::Coding),
        ("Transfer-Encoding: identity", B::Coding),
        ("Transfer-Encoding: gzip, chunked", B::Coding),
        ("Transfer-Encoding: chunked, chunked", B::Coding),
        ("Transfer-Encoding: chunked,", B::Coding),
        ("Transfer-Encoding: chunked;q=1", B::Coding),
        ("Transfer-Encoding: \"chunked\"", B::Coding),
        ("Transfer-Encoding: xchunked", B::Coding),
        ("Transfer-Encoding: chunked\u{a0}", B::Coding),
        ("Transfer-Encoding:", B::Coding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", B::Coding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", B::Coding),
    ];
    for (lines, expected) in table {
        assert_eq!(body_of("POST / HTTP/1.1", lines), Err(expected), "{lines}");
    }
    assert_eq!(body_of("POST / HTTP/1.0", "Transfer-Encoding: chunked"), Err(B::CodingHttp10));
}

#[test]
fn bodies_of_responses() {
    use Method::{Connect, Get, Head};
    use ProtocolError as B;
    let table: &[(&str, Method, Result<Body, ProtocolError>)] = &[
        ("200 OK\r\nContent-Length: 3", Get, Ok(Body::Length(3))),
        ("200 OK\r\nContent-Length: 003", Get, Ok(Body::Length(3))),
        ("200 OK\r\nTransfer-Encoding: Chunked", Get, Ok(Body::Chunked)),
        ("200 OK", Get, Ok(Body::UntilClose)),
        ("200 OK\r\nContent-Length: 3", Head, Ok(Body::None)),
        ("200 OK\r\nTransfer-Encoding: chunked", Head, Ok(Body::None)),
        ("200 OK", Head, Ok(Body::None)),
        ("200 OK", Connect, Ok(Body::None)),
        ("404 Not Found", Connect, Ok(Body::UntilClose)),
        ("304 Not Modified\r\nContent-Length: 3", Get, Ok(Body::None)),
        ("304 Not Modified\r\nTransfer-Encoding: chunked", Get, Ok(Body::None)),
        ("204 No Content", Get, Ok(Body::None)),
        ("204 No Content\r\nContent-Length: 0", Get, Ok(Body::None)),
        ("204 No Content\r\nContent-Length: 3", Get, Err(B::ForbiddenBody)),
        ("204 No Content\r\nTransfer-Encoding: chunked", Get, Err(B::ForbiddenBody)),
        ("100 Continue", Get, Ok(Body::None)),
        ("101 Switching Protocols", Get, Ok(Body::None)),
        ("200 OK\r\nContent-Length: 3\r\nContent-Length: 3", Get, Err(B::Length)),
        ("200 OK\r\nContent-Length: 3\r\nContent-Length: 4", Get, Err(B::Length)),
        ("200 OK\r\nContent-Length: 3, 3", Get, Err(B::Length)),
        ("200 OK\r\nContent-Length: x", Head, Err(B::Length)),
        ("200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3", Get, Err(B::LengthAndCoding)),
        ("200 OK\r\nTransfer-Encoding: gzip, chunked", Get, Err(B::Coding)),
        ("200 OK\r\nTransfer-Encoding: identity", Get, Err(B::Coding)),
        ("200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Get, Err(B::Coding)),
    ];
    for (rest, method, expected) in table {
        let message = format!("HTTP/1.1 {rest}\r\n\r\n").into_bytes();
        let body = framing::response_body(&good_response(&message), &message, *method);
        assert_eq!(body, *expected, "{method:?} {rest}");
    }
}

#[test]
fn keep_alive() {
    let table = [
        ("1.1", "", true),
        ("1.1", "Connection: close", false),
        ("1.1", "Connection: x, CLOSE", false),
        ("1.1", "Connection: keep-alive\r\nConnection: close", false),
        ("1.1", "Connection: closed", true),
        ("1.1", "X-Connection: close", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive", true),
        ("1.0", "Connection: keep-alive, close", false),
        ("1.0", "Proxy-Connection: keep-alive", false),
    ];
    for (version, lines, expected) in table {
        let message = with_lines(&format!("GET / HTTP/{version}"), lines);
        assert_eq!(framing::request_keep_alive(&good_request(&message), &message), expected, "{version} {lines}");
        let message = with_lines(&format!("HTTP/{version} 200 OK"), lines);
        assert_eq!(framing::response_keep_alive(&good_response(&message), &message), expected, "{version} {lines}");
    }
    let message = with_lines("HTTP/1.0 200 OK", "Connection: keep-alive\r\nTransfer-Encoding: chunked");
    assert!(!framing::response_keep_alive(&good_response(&message), &message), "faulty framing");
}

#[test]
fn upgrades() {
    let table = [
        ("GET / HTTP/1.1", "", Upgrade::None),
        ("GET / HTTP/1.1", "Connection: Upgrade", Upgrade::None),
        ("GET / HTTP/1.1", "Connection: Upgrade\r\nUpgrade: websocket", Upgrade::WebSocket),
        ("GET / HTTP/1.1", "Connection: keep-alive, upgrade\r\nUpgrade: WebSocket", Upgrade::WebSocket),
        ("GET / HTTP/1.1", "Upgrade: websocket", Upgrade::None),
        ("GET / HTTP/1.1", "Connection: Upgrade\r\nUpgrade:", Upgrade::None),
        ("GET / HTTP/1.1", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c", Upgrade::None),
        ("GET / HTTP/1.1", "Connection: Upgrade\r\nUpgrade: foo", Upgrade::Refused),
        ("GET / HTTP/1.1", "Connection: Upgrade\r\nUpgrade: websocket, foo", Upgrade::Refused),
        ("GET / HTTP/1.1", "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: foo", Upgrade::Refused),
        ("GET / HTTP/1.0", "Connection: Upgrade\r\nUpgrade: websocket", Upgrade::None),
        ("POST / HTTP/1.1", "Connection: Upgrade\r\nUpgrade: websocket", Upgrade::None),
        ("GET / HTTP/1.1", "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5", Upgrade::None),
        ("GET / HTTP/1.1", "Connection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked", Upgrade::None),
    ];
    for (first, lines, expected) in table {
        let message = with_lines(first, lines);
        assert_eq!(framing::upgrade(&good_request(&message), &message), expected, "{first} {lines}");
    }
}

#[test]
fn expectations() {
    let table = [
        ("POST / HTTP/1.1", "Expect: 100-continue", true),
        ("POST / HTTP/1.1", "expect: 100-Continue", true),
        ("POST / HTTP/1.0", "Expect: 100-continue", false),
        ("POST / HTTP/1.1", "Expect: foo", false),
        ("POST / HTTP/1.1", "", false),
    ];
    for (first, lines, expected) in table {
        let message = with_lines(first, lines);
        assert_eq!(framing::expects_continue(&good_request(&message), &message), expected, "{first} {lines}");
    }
}
