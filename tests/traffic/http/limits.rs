//! `spec.limits` of the Proxy document.

use std::time::{Duration, Instant};

use super::{Bench, get, on_each_driver, says_path};
use crate::support::client::Client;
use crate::support::origin::Origin;
use crate::support::ringway::Driver;
use crate::support::wait::eventually;

on_each_driver![
    a_head_that_does_not_end_is_timed_out,
    a_connection_that_says_nothing_is_closed,
    a_body_that_stands_still_is_timed_out,
    a_slow_body_that_moves_is_not,
    an_idle_connection_is_closed,
    more_headers_than_allowed,
    more_bytes_than_allowed,
    more_connections_than_allowed,
];

/// Between these two lies the end of a timeout of one second on a busy machine.
fn about_a_second(started: Instant) {
    let took = started.elapsed();
    assert!((Duration::from_millis(900)..Duration::from_secs(8)).contains(&took), "{took:?}");
}

fn a_head_that_does_not_end_is_timed_out(driver: Driver) {
    let bench = Bench::with(driver, says_path(), |setup| setup.limit("headersTimeout", "1s"));
    let mut client = bench.client();
    let started = Instant::now();
    client.send("GET /x HTTP/1.1\r\nHost: a.exa");
    let response = client.response();
    about_a_second(started);
    assert_eq!((response.status, response.header("connection")), (408, Some("close")));
    client.expect_closed();
    // The same on a connection that has served a request before.
    let mut client = bench.client();
    assert_eq!(client.ask(get("/x")).status, 200);
    client.send("GET");
    assert_eq!(client.response().status, 408);
    client.expect_closed();
    drop(client);
    bench.finish();
}

fn a_connection_that_says_nothing_is_closed(driver: Driver) {
    let bench = Bench::with(driver, says_path(), |setup| setup.limit("headersTimeout", "1s"));
    let started = Instant::now();
    bench.client().rest();
    about_a_second(started);
    bench.finish();
}

fn a_body_that_stands_still_is_timed_out(driver: Driver) {
    let bench = Bench::with(driver, Origin::echo(), |setup| setup.limit("bodyTimeout", "1s"));
    let mut client = bench.client();
    let started = Instant::now();
    client.send("POST /x HTTP/1.1\r\nHost: a.example.com\r\ncontent-length: 10\r\n\r\n12345");
    let response = client.response();
    about_a_second(started);
    assert_eq!((response.status, response.header("connection")), (408, Some("close")));
    client.expect_closed();
    eventually("the upstream connection closed", || (bench.origin.open() == 0).then_some(()));
    bench.finish();
}

fn a_slow_body_that_moves_is_not(driver: Driver) {
    let bench = Bench::with(driver, Origin::echo(), |setup| setup.limit("bodyTimeout", "2s"));
    let mut client = bench.client();
    client.send("POST /x HTTP/1.1\r\nHost: a.example.com\r\ncontent-length: 8\r\n\r\n");
    for byte in 0..8 {
        std::thread::sleep(Duration::from_millis(400)); // the slowness under test: 3.2 s in all
        client.send([b'a' + byte]);
    }
    assert_eq!(client.response().text(), "abcdefgh");
    drop(client);
    bench.finish();
}

fn an_idle_connection_is_closed(driver: Driver) {
    let bench = Bench::with(driver, says_path(), |setup| setup.limit("idleTimeout", "1s"));
    let mut client = bench.client();
    assert_eq!(client.ask(get("/x")).status, 200);
    let started = Instant::now();
    client.expect_closed();
    about_a_second(started);
    bench.finish();
}

fn more_headers_than_allowed(driver: Driver) {
    let bench = Bench::with(driver, says_path(), |setup| setup.limit("maxHeaders", "5"));
    let with =
        |count: usize| format!("GET /x HTTP/1.1\r\nHost: a.example.com\r\n{}\r\n", "X-A: 1\r\n".repeat(count - 1));
    let mut client = bench.client();
    assert_eq!(client.ask(with(5)).status, 200);
    assert_eq!(client.ask(with(6)).status, 431);
    client.expect_closed();
    drop(client);
    bench.finish();
}

fn more_bytes_than_allowed(driver: Driver) {
    let bench = Bench::with(driver, says_path(), |setup| setup.limit("maxHeaderBytes", "1024"));
    let of = |length: usize| {
        let head = "GET /x HTTP/1.1\r\nHost: a.example.com\r\nX-A: ";
        format!("{head}{}\r\n\r\n", "a".repeat(length - head.len() - 4))
    };
    let mut client = bench.client();
    assert_eq!(client.ask(of(1024)).status, 200);
    assert_eq!(client.ask(of(1100)).status, 431);
    client.expect_closed();
    // A head without an end does not have to end to be refused.
    let mut client = bench.client();
    client.send("GET /".to_owned() + &"a".repeat(2000));
    assert_eq!(client.response().status, 431);
    client.expect_closed();
    drop(client);
    bench.finish();
}

fn more_connections_than_allowed(driver: Driver) {
    let bench = Bench::with(driver, says_path(), |setup| setup.limit("maxConnections", "2"));
    let mut allowed: Vec<Client> = (0..2).map(|_| bench.client()).collect();
    for client in &mut allowed {
        assert_eq!(client.ask(get("/x")).status, 200);
    }
    let mut refused = bench.client();
    let _ = refused.try_send(get("/x")); // may be closed by then
    assert!(refused.rest().is_empty(), "the third connection is closed without an answer");
    assert!(bench.ringway.sum_of("downstream_cx_overflow") >= 1);
    // A place that becomes free is given again.
    drop(allowed.pop());
    eventually("a place", || {
        let mut client = bench.client();
        let asked = client.try_send(get("/x"));
        let answer = asked.and_then(|()| client.try_response_to("GET"));
        matches!(answer, Ok(Some(response)) if response.status == 200).then_some(())
    });
    drop(allowed);
    bench.finish();
}
