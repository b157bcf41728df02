use super::super::encode::{self, Connection};
use super::super::framing::{self, Upgrade};
use super::changes::{add, changed, set};
use super::*;
use crate::http::forward::{Completion, Downstream, View};
use crate::http::head::Known;
use crate::http::header_ops;
use crate::http::local_reply::LocalReply;
use crate::http::outgoing::{BodyLen, RequestOut, ResponseOut, Server};

/// The way of a request to the proxy.
#[derive(Clone, Copy)]
pub(super) struct Hop {
    pub(super) downstream: Downstream,
    pub(super) peer: &'static [u8],
    pub(super) external_address: &'static [u8],
    pub(super) new_id: &'static [u8],
}

pub(super) const EDGE: Hop =
    Hop { downstream: Downstream::Edge, peer: b"10.0.0.1", external_address: b"", new_id: b"id-1" };
const OUTBOUND: Hop = Hop { downstream: Downstream::Outbound, ..EDGE };

/// What is always said of the client, for a request that said nothing of it.
const SAID: &str =
    "x-forwarded-for: 10.0.0.1\r\nx-forwarded-proto: http\r\nx-request-id: id-1\r\nx-envoy-attempt-count: 1\r\n";

pub(super) fn out(path: &'static str, body: BodyLen) -> RequestOut<'static> {
    RequestOut {
        path: path.as_bytes(),
        authority: None,
        body,
        attempt: 1,
        expected_timeout_ms: None,
        original_host: None,
        original_path: None,
        ops: &header_ops::NONE,
    }
}

/// What is sent of a message that comes over this hop.
pub(super) fn sent_over(hop: Hop, message: &str, what: &RequestOut<'_>) -> String {
    let (head, buf) = (&good_request(message.as_bytes()), message.as_bytes());
    let Hop { downstream, peer, external_address, new_id } = hop;
    let completion = &mut Completion::default();
    completion.complete(head, buf, downstream, peer, || new_id);
    let tunnel = framing::upgrade(head, buf) == Upgrade::WebSocket;
    let mut written = b"before|".to_vec();
    encode::request(&mut written, &View { head, buf, completion, downstream, external_address, tunnel }, what);
    String::from_utf8(written).expect("text").strip_prefix("before|").expect("appended").to_owned()
}

fn sent(message: &str, what: &RequestOut<'_>) -> String {
    sent_over(EDGE, message, what)
}

fn answered(message: &str, what: &ResponseOut<'_>) -> String {
    answered_to(message, what, KEPT)
}

fn answered_to(message: &str, what: &ResponseOut<'_>, to: (Version, Connection)) -> String {
    let mut written = Vec::new();
    encode::response(&mut written, (&good_response(message.as_bytes()), message.as_bytes()), what, to);
    String::from_utf8(written).expect("text")
}

const ANSWER: ResponseOut<'_> = ResponseOut {
    server: Server::Overwrite(b"ringway"),
    date: b"NOW",
    service_time_ms: Some(7),
    body: BodyLen::Known(2),
    switches: false,
    ops: &header_ops::NONE,
};

/// A client whose connection is kept.
const KEPT: (Version, Connection) = (Version::Http11, Connection::KeepAlive);

#[test]
fn a_plain_request() {
    assert_eq!(
        sent("GET /a?b HTTP/1.1\r\nHost: h\r\nUser-Agent: curl/8\r\nAccept: */*\r\n\r\n", &out("/a?b", BodyLen::None)),
        format!("GET /a?b HTTP/1.1\r\nHost: h\r\nUser-Agent: curl/8\r\nAccept: */*\r\n{SAID}\r\n")
    );
}

#[test]
fn lines_that_are_not_canonical_are_written_anew() {
    assert_eq!(
        sent("GET / HTTP/1.1\nHost:h\nA:\t b \r\nC:\n\n", &out("/", BodyLen::None)),
        format!("GET / HTTP/1.1\r\nHost: h\r\nA: b\r\nC: \r\n{SAID}\r\n")
    );
}

/// Each row: lines of the request after `Host`, what becomes of them, then what is written last for this framing.
#[test]
fn request_lines() {
    let table: &[(&str, BodyLen, &str, &str)] = &[
        ("Connection: keep-alive\r\nA: b\r\n", BodyLen::None, "A: b\r\n", ""),
        ("A: b\r\nConnection: close\r\nC: d\r\n", BodyLen::None, "A: b\r\nC: d\r\n", ""),
        ("Connection: X-A, x-b\r\nX-A: 1\r\nX-B: 2\r\nX-C: 3\r\n", BodyLen::None, "X-C: 3\r\n", ""),
        (
            "Connection: forwarded, x-real-ip, x-forwarded-port\r\nForwarded: a\r\nX-Real-IP: b\r\nX-Forwarded-Port: 1\r\n",
            BodyLen::None,
            "Forwarded: a\r\nX-Real-IP: b\r\nX-Forwarded-Port: 1\r\n",
            "",
        ),
        ("Connection: content-length\r\nContent-Length: 2\r\n", BodyLen::Known(2), "Content-Length: 2\r\n", ""),
        ("Keep-Alive: 5\r\nProxy-Connection: x\r\nUpgrade: h2c\r\n", BodyLen::None, "", ""),
        (
            "Proxy-Authorization: a\r\nTrailer: b\r\nVia: c\r\n",
            BodyLen::None,
            "Proxy-Authorization: a\r\nTrailer: b\r\nVia: c\r\n",
            "",
        ),
        ("TE: trailers, deflate\r\n", BodyLen::None, "TE: trailers\r\n", ""),
        ("TE: deflate\r\nTE: x, trailers\r\nTE: trailers\r\n", BodyLen::None, "TE: trailers\r\n", ""),
        ("TE: gzip\r\n", BodyLen::None, "", ""),
        ("Content-Length: 2\r\nA: b\r\n", BodyLen::Known(2), "Content-Length: 2\r\nA: b\r\n", ""),
        ("Content-Length: 2\r\nA: b\r\n", BodyLen::Known(3), "A: b\r\n", "content-length: 3\r\n"),
        ("Content-Length: 2\r\nA: b\r\n", BodyLen::Unknown, "A: b\r\n", "transfer-encoding: chunked\r\n"),
        ("Content-Length: 0\r\n", BodyLen::Known(0), "Content-Length: 0\r\n", ""),
        ("Transfer-Encoding: CHUNKED\r\nA: b\r\n", BodyLen::Unknown, "A: b\r\n", "transfer-encoding: chunked\r\n"),
        ("Transfer-Encoding: chunked\r\nA: b\r\n", BodyLen::Known(9), "A: b\r\n", "content-length: 9\r\n"),
        (
            "Connection: Upgrade\r\nUpgrade: websocket\r\nA: b\r\n",
            BodyLen::None,
            "Connection: Upgrade\r\nUpgrade: websocket\r\nA: b\r\n",
            "",
        ),
        (
            "Upgrade: websocket\r\nConnection: keep-alive, UPGRADE, x-a\r\nX-A: b\r\nConnection: upgrade\r\n",
            BodyLen::None,
            "Upgrade: websocket\r\nConnection: UPGRADE\r\n",
            "",
        ),
        ("Connection: expect, close\r\nExpect: 100-continue\r\nClose: 1\r\n", BodyLen::None, "Close: 1\r\n", ""),
        (
            "Connection: date\r\nConnection: User-Agent\r\nDate: a\r\nUser-Agent: b\r\nServer: c\r\n",
            BodyLen::None,
            "Server: c\r\n",
            "",
        ),
        ("Expect: 100-continue\r\nA: b\r\n", BodyLen::None, "Expect: 100-continue\r\nA: b\r\n", ""),
        (
            "X-Envoy-Max-Retries: 9\r\nA: b\r\nx-envoy-internal: true\r\nx-envoy-peer-metadata: m\r\n",
            BodyLen::None,
            "A: b\r\n",
            "",
        ),
    ];
    for (lines, body, kept, last) in table {
        let message = format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        let expected = format!("GET / HTTP/1.1\r\nHost: h\r\n{kept}{SAID}{last}\r\n");
        assert_eq!(sent(&message, &out("/", *body)), expected, "{lines:?}");
    }
}

#[test]
fn requests_without_a_body_say_so_where_envoy_does() {
    let table = [
        ("GET", ""),
        ("HEAD", ""),
        ("DELETE", ""),
        ("TRACE", ""),
        ("POST", "content-length: 0\r\n"),
        ("PUT", "content-length: 0\r\n"),
        ("PATCH", "content-length: 0\r\n"),
        ("OPTIONS", "content-length: 0\r\n"),
        ("PROPFIND", "content-length: 0\r\n"),
    ];
    for (method, last) in table {
        let message = format!("{method} / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(
            sent(&message, &out("/", BodyLen::None)),
            format!("{method} / HTTP/1.1\r\nHost: h\r\n{SAID}{last}\r\n")
        );
    }
}

#[test]
fn what_clients_say_of_themselves_is_replaced() {
    let message = "GET / HTTP/1.1\r\nX-Forwarded-For: 1.1.1.1\r\nHost: h\r\nX-Request-Id: mine\r\nA: b\r\n\
                   x-forwarded-for: 2.2.2.2, 3.3.3.3\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: w\r\nX-Request-ID: 2\r\n\
                   X-Forwarded-Proto: ftp\r\nX-Envoy-External-Address: 9.9.9.9\r\nX-Envoy-Attempt-Count: 5\r\n\r\n";
    let new = out("/new", BodyLen::None);
    let what = RequestOut { authority: Some(b"new:81"), attempt: 3, original_path: Some(b"/old?q"), ..new };
    assert_eq!(
        sent_over(Hop { external_address: b"10.0.0.1", ..EDGE }, message, &what),
        "GET /new HTTP/1.1\r\nX-Forwarded-For: 1.1.1.1,2.2.2.2, 3.3.3.3,10.0.0.1\r\nhost: new:81\r\nX-Request-Id: id-1\r\nA: b\r\n\
         X-Forwarded-Proto: http\r\nX-Forwarded-Host: w\r\nx-envoy-external-address: 10.0.0.1\r\nx-envoy-attempt-count: 3\r\n\
         x-envoy-original-path: /old?q\r\n\r\n"
    );
}

#[test]
fn the_words_of_an_application_beside_the_proxy_stand() {
    let what = RequestOut { authority: Some(b"new"), original_host: Some(b"h"), ..out("/", BodyLen::None) };
    let message = "GET / HTTP/1.1\r\nX-Forwarded-For: 1.1.1.1\r\nHost: h\r\nX-Request-Id: mine\r\nX-Forwarded-For: 2\r\n\
                   X-Forwarded-Proto: https\r\nX-Envoy-Max-Retries: 9\r\n\r\n";
    assert_eq!(
        sent_over(OUTBOUND, message, &what),
        "GET / HTTP/1.1\r\nX-Forwarded-For: 1.1.1.1,2\r\nhost: new\r\nX-Request-Id: mine\r\n\
         X-Forwarded-Proto: https\r\nx-envoy-attempt-count: 1\r\nx-envoy-original-host: h\r\n\r\n"
    );
    assert_eq!(
        sent_over(OUTBOUND, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", &RequestOut { authority: None, ..what }),
        "GET / HTTP/1.1\r\nHost: h\r\nx-forwarded-proto: http\r\nx-request-id: id-1\r\nx-envoy-attempt-count: 1\r\n\
         x-envoy-original-host: h\r\n\r\n"
    );
}

#[test]
fn what_a_caller_says_of_its_tries_may_stand() {
    let what = RequestOut { attempt: 0, ..out("/", BodyLen::None) };
    let inbound = Hop { downstream: Downstream::Inbound, ..EDGE };
    let message =
        "GET / HTTP/1.1\r\nHost: h\r\nX-Envoy-Attempt-Count: 3\r\nX-Envoy-Max-Retries: 9\r\nX-Request-Id: a\r\n\r\n";
    assert_eq!(
        sent_over(inbound, message, &what),
        "GET / HTTP/1.1\r\nHost: h\r\nX-Envoy-Attempt-Count: 3\r\nX-Request-Id: a\r\nx-forwarded-proto: http\r\n\r\n"
    );
    let named = message.replace("Host", "Connection: x-envoy-attempt-count, x-request-id\r\nHost");
    assert_eq!(
        sent_over(inbound, &named, &what),
        "GET / HTTP/1.1\r\nHost: h\r\nX-Request-Id: id-1\r\nx-forwarded-proto: http\r\n\r\n"
    );
    assert!(!sent_over(inbound, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", &what).contains("attempt"));
}

#[test]
fn a_host_is_always_sent() {
    let message = "GET / HTTP/1.0\r\n\r\n";
    assert_eq!(sent(message, &out("/", BodyLen::None)), format!("GET / HTTP/1.1\r\nhost: \r\n{SAID}\r\n"));
    let what = RequestOut { authority: Some(b"a"), ..out("/", BodyLen::None) };
    assert_eq!(sent(message, &what), format!("GET / HTTP/1.1\r\nhost: a\r\n{SAID}\r\n"));
}

#[test]
fn nothing_from_outside_the_head_begins_a_line() {
    let evil = b"x\r\nEvil: 1\0\n\x7f";
    let hop = Hop { peer: evil, external_address: evil, new_id: evil, ..EDGE };
    let message = "GET / HTTP/1.1\r\nHost: h\r\nX-Request-Id: 1\r\nX-Forwarded-For: 1\r\n\r\n";
    let what = RequestOut {
        path: b"/a b\r\nEvil: 1",
        authority: Some(evil),
        original_host: Some(evil),
        original_path: Some(evil),
        ..out("", BodyLen::None)
    };
    assert_eq!(
        sent_over(hop, message, &what),
        "GET /a%20b%0D%0AEvil:%201 HTTP/1.1\r\nhost: xEvil: 1\r\nX-Request-Id: xEvil: 1\r\nX-Forwarded-For: 1,xEvil: 1\r\n\
         x-forwarded-proto: http\r\nx-envoy-external-address: xEvil: 1\r\nx-envoy-attempt-count: 1\r\n\
         x-envoy-original-host: xEvil: 1\r\nx-envoy-original-path: xEvil: 1\r\n\r\n"
    );
    let what = ResponseOut { server: Server::Overwrite(evil), date: evil, ..ANSWER };
    let answer = answered("HTTP/1.1 200 OK\r\nServer: a\r\n\r\n", &what);
    assert!(!answer.contains("\nEvil"), "{answer:?}");
    let mut reply = Vec::new();
    encode::local_reply(&mut reply, &LocalReply { location: Some(b"/a\r\nEvil: 1"), ..LOCAL }, false, KEPT);
    assert!(!text(&reply).contains("\\nEvil"), "{}", text(&reply));
    assert_eq!(
        sent(message, &RequestOut { path: b"", ..out("", BodyLen::None) }).lines().next(),
        Some("GET / HTTP/1.1")
    );
}

#[test]
fn a_plain_response() {
    assert_eq!(
        answered("HTTP/1.1 200 Fine\r\nA: b\r\nContent-Length: 2\r\nC: d\r\n\r\n", &ANSWER),
        "HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 2\r\nC: d\r\nx-envoy-upstream-service-time: 7\r\ndate: NOW\r\nserver: ringway\r\n\r\n"
    );
}

/// RFC 9110, 7.6.1: each row has lines of a response, and what reaches the client of them.
#[test]
fn what_an_origin_names_in_connection_goes_no_further() {
    let end = "x-envoy-upstream-service-time: 7\r\n";
    for (lines, expected) in [
        ("Connection: X-A, close\r\nX-A: 1\r\nx-b: 2\r\nDate: THEN\r\n", format!("x-b: 2\r\nDate: THEN\r\n{end}")),
        ("X-A: 1\r\nConnection: close\r\nConnection: a, x-a\r\nA: 2\r\n", format!("{end}date: NOW\r\n")),
        ("Connection: date, set-cookie\r\nDate: THEN\r\nSet-Cookie: a\r\n", format!("{end}date: NOW\r\n")),
        ("Connection: close\r\nClose: 1\r\n", format!("Close: 1\r\n{end}date: NOW\r\n")),
        // Where the message ends, and what the proxy says itself, is not for the origin to take back.
        ("Connection: content-length\r\nContent-Length: 2\r\n", format!("Content-Length: 2\r\n{end}date: NOW\r\n")),
    ] {
        let message = format!("HTTP/1.1 200 OK\r\nServer: a\r\n{lines}\r\n");
        let length = if expected.contains("Content-Length") { "" } else { "content-length: 2\r\n" };
        let expected = format!("HTTP/1.1 200 OK\r\nserver: ringway\r\n{expected}{length}\r\n");
        assert_eq!(answered(&message, &ANSWER), expected, "{lines:?}");
    }
    let passing = ResponseOut { server: Server::PassThrough, ..ANSWER };
    let answer = answered("HTTP/1.1 200 OK\r\nServer: a\r\nConnection: server\r\n\r\n", &passing);
    assert!(!answer.contains("erver"), "{answer}");
    let message = "HTTP/1.1 103 Early Hints\r\nLink: a\r\nX-A: 1\r\nConnection: x-a\r\n\r\n";
    let mut written = Vec::new();
    encode::interim(&mut written, &good_response(message.as_bytes()), message.as_bytes());
    assert_eq!(written, b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n");
}

#[test]
fn ours_replace_the_upstreams_in_place() {
    let message = "HTTP/1.1 200 OK\r\nServer: nginx\r\nA: b\r\nDate: THEN\r\nX-Envoy-Upstream-Service-Time: 99\r\nB: c\r\n\
                   Server: again\r\nContent-Length: 2\r\n\r\n";
    assert_eq!(
        answered(message, &ANSWER),
        "HTTP/1.1 200 OK\r\nserver: ringway\r\nA: b\r\nDate: THEN\r\nx-envoy-upstream-service-time: 7\r\nB: c\r\nContent-Length: 2\r\n\r\n"
    );
    let what = ResponseOut { server: Server::PassThrough, service_time_ms: None, ..ANSWER };
    assert_eq!(
        answered(message, &what),
        "HTTP/1.1 200 OK\r\nServer: nginx\r\nA: b\r\nDate: THEN\r\nB: c\r\nServer: again\r\nContent-Length: 2\r\n\r\n"
    );
}

/// Each row: the response, framing and client, then what is written between the status line and `date`, and after.
#[test]
fn response_lines() {
    use Version::{Http10, Http11};
    let table: &[(&str, BodyLen, Connection, Version, &str, &str)] = &[
        (
            "200 OK\r\nConnection: Upgrade, X-A\r\nUpgrade: h2\r\nX-A: 1\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nVia: v\r\nTrailer: t",
            BodyLen::Known(2),
            Connection::KeepAlive,
            Http11,
            "200 OK\r\nVia: v\r\nTrailer: t",
            "content-length: 2\r\n",
        ),
        (
            "200 OK\r\nTransfer-Encoding: chunked",
            BodyLen::Unknown,
            Connection::KeepAlive,
            Http11,
            "200 OK",
            "transfer-encoding: chunked\r\n",
        ),
        (
            "200 OK",
            BodyLen::Unknown,
            Connection::Close,
            Http11,
            "200 OK",
            "connection: close\r\ntransfer-encoding: chunked\r\n",
        ),
        ("200 OK", BodyLen::Unknown, Connection::Close, Http10, "200 OK", "connection: close\r\n"),
        (
            "200 OK\r\nContent-Length: 2",
            BodyLen::Known(2),
            Connection::KeepAlive,
            Http10,
            "200 OK\r\nContent-Length: 2",
            "connection: keep-alive\r\n",
        ),
        (
            "200 OK\r\nContent-Length: 2",
            BodyLen::Known(2),
            Connection::Close,
            Http10,
            "200 OK\r\nContent-Length: 2",
            "connection: close\r\n",
        ),
        (
            "200 OK\r\nContent-Length: 002",
            BodyLen::Known(2),
            Connection::KeepAlive,
            Http11,
            "200 OK",
            "content-length: 2\r\n",
        ),
        (
            "200 OK\r\nContent-Length: 5",
            BodyLen::None,
            Connection::KeepAlive,
            Http11,
            "200 OK\r\nContent-Length: 5",
            "",
        ),
        ("200 OK", BodyLen::None, Connection::KeepAlive, Http11, "200 OK", "transfer-encoding: chunked\r\n"),
        ("200 OK", BodyLen::None, Connection::KeepAlive, Http10, "200 OK", "connection: keep-alive\r\n"),
        (
            "304 Nope\r\nContent-Length: 5",
            BodyLen::None,
            Connection::KeepAlive,
            Http11,
            "304 Not Modified\r\nContent-Length: 5",
            "",
        ),
        (
            "304 Nope\r\nTransfer-Encoding: chunked",
            BodyLen::None,
            Connection::KeepAlive,
            Http11,
            "304 Not Modified",
            "",
        ),
        ("204 Nope\r\nContent-Length: 0", BodyLen::None, Connection::KeepAlive, Http11, "204 No Content", ""),
        (
            "418 I'm a teapot\r\nContent-Length: 0",
            BodyLen::Known(0),
            Connection::KeepAlive,
            Http11,
            "418 Unknown\r\nContent-Length: 0",
            "",
        ),
        (
            "101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nA: b",
            BodyLen::None,
            Connection::Upgrade,
            Http11,
            "101 Switching Protocols\r\nUpgrade: websocket\r\nA: b",
            "connection: upgrade\r\n",
        ),
        (
            "200 OK\r\nx-envoy-decorator-operation: a\r\nx-envoy-peer-metadata: b\r\nX-Envoy-Peer-Metadata-Id: c\r\nx-envoy-overloaded: true",
            BodyLen::Unknown,
            Connection::KeepAlive,
            Http11,
            "200 OK\r\nx-envoy-overloaded: true",
            "transfer-encoding: chunked\r\n",
        ),
    ];
    for (response, body, connection, client, kept, last) in table {
        let switches = *connection == Connection::Upgrade;
        let what = ResponseOut { service_time_ms: None, body: *body, switches, ..ANSWER };
        let expected = format!("HTTP/{} {kept}\r\ndate: NOW\r\nserver: ringway\r\n{last}\r\n", number(*client));
        let message = format!("HTTP/1.1 {response}\r\n\r\n");
        assert_eq!(answered_to(&message, &what, (*client, *connection)), expected, "{response:?}");
    }
}

#[test]
fn a_switch_of_protocols_has_no_service_time() {
    let what = ResponseOut { body: BodyLen::None, switches: true, ..ANSWER };
    assert_eq!(
        answered_to(
            "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nServer: a\r\n\r\n",
            &what,
            (Version::Http11, Connection::Upgrade)
        ),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nserver: ringway\r\ndate: NOW\r\nconnection: upgrade\r\n\r\n"
    );
}

#[test]
fn interim_responses_pass_without_additions() {
    let message = b"HTTP/1.1 103 Hints\r\nLink: a\r\nConnection: x\r\nContent-Length: 5\r\nB: c\r\n\r\n";
    let mut written = Vec::new();
    encode::interim(&mut written, &good_response(message), message);
    assert_eq!(text(&written), "HTTP/1.1 103 Early Hints\\r\\nLink: a\\r\\nB: c\\r\\n\\r\\n");
}

const LOCAL: LocalReply<'_> = LocalReply {
    status: 404,
    body: b"",
    unmeasured: false,
    server: Some(b"ringway"),
    date: b"NOW",
    location: None,
    overloaded: false,
    ops: &header_ops::NONE,
};

#[test]
fn local_replies_look_like_envoys() {
    let overloaded = changed(|changes| add(changes, "x-envoy-overloaded", "true"));
    let json = changed(|changes| set(changes, "content-type", "application/json"));
    let elsewhere = changed(|changes| set(changes, "location", "/c"));
    let calm = changed(|changes| changes.remove(Known::Other, b"x-envoy-overloaded"));
    use Connection::{Close, KeepAlive};
    use Version::{Http10, Http11};
    let table: &[(LocalReply<'_>, bool, Version, Connection, &str)] = &[
        (
            LOCAL,
            false,
            Http11,
            KeepAlive,
            "HTTP/1.1 404 Not Found\r\ndate: NOW\r\nserver: ringway\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            LocalReply { unmeasured: true, ..LOCAL },
            true,
            Http11,
            KeepAlive,
            "HTTP/1.1 404 Not Found\r\ndate: NOW\r\nserver: ringway\r\ntransfer-encoding: chunked\r\n\r\n",
        ),
        (
            LOCAL,
            true,
            Http10,
            Close,
            "HTTP/1.0 404 Not Found\r\ndate: NOW\r\nserver: ringway\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            LocalReply { status: 400, body: b"Bad Request", ..LOCAL },
            false,
            Http11,
            Close,
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 11\r\ncontent-type: text/plain\r\ndate: NOW\r\nserver: ringway\r\nconnection: close\r\n\r\nBad Request",
        ),
        (
            LocalReply { status: 503, body: b"no", server: None, ..LOCAL },
            true,
            Http11,
            KeepAlive,
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\ncontent-type: text/plain\r\ndate: NOW\r\n\r\n",
        ),
        (
            LocalReply { status: 503, body: b"no", ops: &overloaded, ..LOCAL },
            false,
            Http11,
            KeepAlive,
            "HTTP/1.1 503 Service Unavailable\r\nx-envoy-overloaded: true\r\ncontent-length: 2\r\ncontent-type: text/plain\r\ndate: NOW\r\nserver: ringway\r\n\r\nno",
        ),
        (
            LocalReply { status: 200, body: b"{}", ops: &json, ..LOCAL },
            false,
            Http10,
            KeepAlive,
            "HTTP/1.0 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\ndate: NOW\r\nserver: ringway\r\nconnection: keep-alive\r\n\r\n{}",
        ),
        (
            LocalReply { status: 503, body: b"no", overloaded: true, ops: &json, ..LOCAL },
            false,
            Http11,
            KeepAlive,
            "HTTP/1.1 503 Service Unavailable\r\nx-envoy-overloaded: true\r\ncontent-type: application/json\r\ncontent-length: 2\r\ndate: NOW\r\nserver: ringway\r\n\r\nno",
        ),
        (
            LocalReply { status: 503, body: b"no", overloaded: true, ops: &calm, ..LOCAL },
            false,
            Http11,
            KeepAlive,
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\ncontent-type: text/plain\r\ndate: NOW\r\nserver: ringway\r\n\r\nno",
        ),
        (
            LocalReply { status: 302, location: Some(b"http://a/b"), ops: &overloaded, ..LOCAL },
            false,
            Http11,
            KeepAlive,
            "HTTP/1.1 302 Found\r\nlocation: http://a/b\r\nx-envoy-overloaded: true\r\ndate: NOW\r\nserver: ringway\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            LocalReply { status: 302, location: Some(b"http://a/b"), ops: &elsewhere, ..LOCAL },
            false,
            Http11,
            KeepAlive,
            "HTTP/1.1 302 Found\r\nlocation: /c\r\ndate: NOW\r\nserver: ringway\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            LocalReply { status: 204, body: b"ignored", ..LOCAL },
            false,
            Http11,
            KeepAlive,
            "HTTP/1.1 204 No Content\r\ndate: NOW\r\nserver: ringway\r\n\r\n",
        ),
    ];
    for (reply, head_request, client, connection, expected) in table {
        let mut written = Vec::new();
        encode::local_reply(&mut written, reply, *head_request, (*client, *connection));
        assert_eq!(String::from_utf8_lossy(&written), *expected);
    }
}
