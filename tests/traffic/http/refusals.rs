//! Every request that is refused: whole, byte by byte, and behind a good one on the same connection. What Envoy says to
//! each is in `tests/differential`; here is what ringway must say (`docs/DEPARTURES.md`: safety before leniency).

use super::{Bench, get, on_each_driver};
use crate::support::client::Client;
use crate::support::origin::Origin;
use crate::support::ringway::Driver;

on_each_driver![
    bad_requests_are_refused,
    bad_requests_are_refused_byte_by_byte,
    bad_requests_are_refused_behind_a_good_one,
    a_refused_request_takes_nothing_behind_it_along,
    no_route_is_404_and_keeps_the_connection,
];

/// Status, body, the bytes.
const REFUSED: &[(u16, &str, &[u8])] = &[
    (400, "Bad Request", b"hello\r\n\r\n"),
    (400, "Bad Request", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    (400, "", b"GET /x HTTP/1.1\r\n\r\n"),
    (400, "Bad Request", b"GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    (400, "Bad Request", b"GET /x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    (400, "Bad Request", b"GET /x HTTP/1.1\r\nHost: a b\r\n\r\n"),
    (400, "Bad Request", b"GET /x HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    (400, "Bad Request", b"GET /x HTTP/1.1\r\nHost: u@a\r\n\r\n"),
    (426, "Upgrade Required", b"GET /x HTTP/1.2\r\nHost: a\r\n\r\n"),
    (426, "Upgrade Required", b"GET /x HTTP/2.0\r\nHost: a\r\n\r\n"),
    (400, "Bad Request", b"GET /x http/1.1\r\nHost: a\r\n\r\n"),
    (400, "Bad Request", b"FOOBAR /x HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "Bad Request", b"get /x HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "Bad Request", b"GE(T /x HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "Bad Request", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "Bad Request", b"GET /a\x01b HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "Bad Request", b"GET /a\x7fb HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "Bad Request", b"GET x HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "Bad Request", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "Bad Request", b"GET ftp://a/x HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "", b"GET /x#f HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "", b"GET /a%00b HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "Bad Request", b"GET /x HTTP/1.1\r\nHost : a\r\n\r\n"),
    (400, "Bad Request", b"GET /x HTTP/1.1\r\nHost: a\r\nX A: 1\r\n\r\n"),
    (400, "Bad Request", b"GET /x HTTP/1.1\r\nHost: a\r\n: 1\r\n\r\n"),
    (400, "Bad Request", b"GET /x HTTP/1.1\r\nHost: a\r\nX-A\r\n\r\n"),
    (400, "Bad Request", b"GET /x HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n  2\r\n\r\n"),
    (400, "Bad Request", b"GET /x HTTP/1.1\r\n Host: a\r\n\r\n"),
    (400, "Bad Request", b"GET /x HTTP/1.1\r\nHost: a\r\nX-A: a\x00b\r\n\r\n"),
    (400, "Bad Request", b"GET /x HTTP/1.1\r\nHost: a\r\nX-A: a\x01b\r\n\r\n"),
    (400, "Bad Request", b"GET /x HTTP/1.1\r\nHost: a\r\nX-A: a\x7fb\r\n\r\n"),
    (400, "Bad Request", b"GET /x HTTP/1.1\r\nHost: a\r\nX-A: a\rb\r\n\r\n"),
    (400, "Bad Request", b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
    (400, "Bad Request", b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab"),
    (400, "Bad Request", b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2, 2\r\n\r\nab"),
    (400, "Bad Request", b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"),
    (400, "Bad Request", b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\nab"),
    (400, "Bad Request", b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0x2\r\n\r\nab"),
    (400, "Bad Request", b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2 2\r\n\r\nab"),
    (400, "Bad Request", b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n"),
    (400, "Bad Request", b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n"),
    (
        400,
        "Bad Request",
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        400,
        "Bad Request",
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
    ),
    (501, "Not Implemented", b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n"),
    (501, "Not Implemented", b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n"),
    (501, "Not Implemented", b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    (501, "Not Implemented", b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    (501, "Not Implemented", b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    (
        501,
        "Not Implemented",
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (400, "Bad Request", b"POST /x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
];

fn origin() -> Origin {
    Origin::replying("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
}

/// Checks one refusal and the close that follows it; says what is wrong.
fn refusal(client: &mut Client, (status, body, bytes): (u16, &str, &[u8])) -> Option<String> {
    let seen = match client.try_response_to("GET") {
        Ok(Some(response)) if response.status == status && response.text() == body => {
            match (response.header("connection"), client.rest().is_empty()) {
                (Some("close"), true) => return None,
                (_, true) => "no `connection: close`".to_owned(),
                (_, false) => "bytes after the refusal".to_owned(),
            }
        }
        Ok(Some(response)) => format!("{} {:?}", response.head.start, response.text()),
        Ok(None) => "closed without an answer".to_owned(),
        Err(error) => error.to_string(),
    };
    Some(format!("{}: expected {status} {body:?}, got {seen}", bytes.escape_ascii()))
}

/// Sends every bad request by `send` on a connection of its own.
fn each(driver: Driver, send: impl Fn(&mut Client, &[u8])) {
    let bench = Bench::new(driver, origin());
    let mut wrong = Vec::new();
    for case in REFUSED {
        let mut client = bench.client();
        send(&mut client, case.2);
        wrong.extend(refusal(&mut client, *case));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(bench.origin.requests().is_empty(), "nothing of a refused request goes upstream");
    bench.finish();
}

fn bad_requests_are_refused(driver: Driver) {
    each(driver, |client, bytes| client.send(bytes));
}

fn bad_requests_are_refused_byte_by_byte(driver: Driver) {
    each(driver, |client, bytes| client.send_bytewise(bytes));
}

fn bad_requests_are_refused_behind_a_good_one(driver: Driver) {
    let bench = Bench::new(driver, origin());
    let mut wrong = Vec::new();
    for case in REFUSED {
        let mut client = bench.client();
        client.send([get("/good").as_bytes(), case.2].concat());
        assert_eq!(client.response().text(), "ok");
        wrong.extend(refusal(&mut client, *case));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert_eq!(bench.origin.requests().len(), REFUSED.len());
    assert_eq!(bench.ringway.origin_stat("upstream_rq_total"), REFUSED.len() as u64);
    bench.finish();
}

fn a_refused_request_takes_nothing_behind_it_along(driver: Driver) {
    let bench = Bench::new(driver, origin());
    for case in REFUSED {
        let mut client = bench.client();
        client.send([case.2, get("/smuggled").as_bytes()].concat());
        assert_eq!(client.response().status, case.0, "{}", case.2.escape_ascii());
        client.expect_closed();
    }
    assert!(bench.origin.requests().is_empty(), "{:?}", bench.origin.requests());
    bench.finish();
}

fn no_route_is_404_and_keeps_the_connection(driver: Driver) {
    let yaml = crate::support::ringway::everything_to(&[1])
        .replace("hosts: ['*']\n  gateways", "hosts: [b.example.com]\n  gateways");
    let ringway = crate::support::ringway::Setup::new(driver).yaml(yaml).start();
    let mut client = ringway.client();
    for _ in 0..3 {
        let response = client.ask(get("/x"));
        assert_eq!((response.status, response.text()), (404, String::new()));
        assert_eq!(response.header("content-length"), Some("0"));
        assert_eq!(response.header("server"), Some("ringway"));
        assert!(response.header("date").is_some());
        assert_eq!(response.header("x-envoy-upstream-service-time"), None);
    }
    drop(client);
    let line = ringway.logged(&["GET /x"]);
    assert!(line.contains("HTTP/1.1\" 404 NR route_not_found - \"-\" 0 0 "), "{line}");
    ringway.quiet();
    ringway.stop();
}
