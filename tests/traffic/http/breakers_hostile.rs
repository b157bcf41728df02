//! Limits of one, and origins and clients that do what they should not: whatever ends, its permit comes back. After each case
//! [`Bench::finish`] asserts that no permit is left, and before it a request shows that none is missing.

use std::io;

use super::breakers::pool;
use super::hostile::full_listener;
use super::{Bench, get, get_of, host, on_each_driver};
use crate::support::client::Client;
use crate::support::origin::{Origin, Peer};
use crate::support::ringway::{Driver, Setup, everything_to};
use crate::support::wait::eventually;

on_each_driver![
    origins_that_fail_give_their_permits_back,
    clients_that_leave_the_line,
    clients_that_leave_under_a_request,
    clients_that_leave_during_a_back_off,
    a_wait_ends_with_the_timeout,
    a_refused_connection_fails_all_who_wait_for_it,
    a_connection_that_does_not_come_up_fails_all_who_wait_for_it,
];

/// Limits of which a permit that is lost shows at once.
const ONE: &str = "tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1, http2MaxRequests: 1, maxRetries: 1}";

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A bench with those limits, on two workers.
fn one(driver: Driver, origin: Origin) -> Bench {
    let retried = "timeout: 0.5s\n    retries: {attempts: 2, retryOn: '5xx,reset', backoff: 0.001s}";
    Bench::with(driver, origin, |setup| {
        setup
            .cpus(&[0, 1])
            .yaml(pool(ONE))
            .yaml(host("retried", retried))
            .yaml(host("never", "timeout: 0.3s\n    retries: {attempts: 0}"))
            .yaml(host("patient", "retries: {attempts: 1, retryOn: '5xx', backoff: 60s}"))
    })
}

/// What an origin does with a request whose path names it; anything else is answered.
fn scripted(peer: &mut Peer) -> io::Result<()> {
    while let Some(head) = peer.head()? {
        let path = head.start.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
        match path.as_str() {
            "reset-at-once" => return peer.reset(),
            "close-at-once" => return Ok(()),
            "reset-in-head" => {
                peer.send("HTTP/1.1 200 O")?;
                return peer.reset();
            }
            "reset-in-body" => {
                peer.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")?;
                return peer.reset();
            }
            "close-in-body" => return peer.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"),
            "not-http" => peer.send("220 smtp.example.com ESMTP\r\n")?,
            "stall" => drop(peer.wait_closed()?),
            "stall-in-body" => {
                peer.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")?;
                peer.wait_closed()?;
            }
            "twice" => peer.send(format!("{OK}{OK}"))?,
            "until-close" => return peer.send("HTTP/1.1 200 OK\r\n\r\nall"),
            "closes-after" => {
                peer.send(OK)?;
                return Ok(());
            }
            "error" => peer.send("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n")?,
            _ => {
                peer.body(head)?;
                peer.send(OK)?;
            }
        }
    }
    Ok(())
}

fn origins_that_fail_give_their_permits_back(driver: Driver) {
    let bench = one(driver, Origin::start(scripted));
    for path in [
        "reset-at-once",
        "close-at-once",
        "reset-in-head",
        "reset-in-body",
        "close-in-body",
        "not-http",
        "stall",
        "stall-in-body",
        "twice",
        "until-close",
        "closes-after",
        "error",
    ] {
        for name in ["retried", "never"] {
            for method in ["GET", "POST"] {
                let head = format!("{method} /{path} HTTP/1.1\r\nHost: {name}.example.com\r\n");
                let body = if method == "POST" { "content-length: 5\r\n\r\nhello" } else { "\r\n" };
                let mut client = bench.client();
                client.send(format!("{head}{body}"));
                let _ = client.try_response_to(method); // cut off as it may be
                drop(client);
                let answer = bench.client().ask(get_of("never"));
                assert_eq!((answer.status, answer.text().as_str()), (200, "ok"), "after {method} /{path} by {name}");
            }
        }
    }
    bench.finish();
}

/// The client has its answer a moment before the permit of its request is back.
fn nothing_under_way(bench: &Bench) {
    eventually("nothing under way", || (bench.ringway.sum_of("default.rq_open") == 0).then_some(()));
}

fn clients_that_leave_the_line(driver: Driver) {
    let bench = one(driver, Origin::start(scripted));
    for number in 0..5 {
        nothing_under_way(&bench);
        let mut first = bench.client();
        first.send("GET /stall HTTP/1.1\r\nHost: a.example.com\r\n\r\n");
        eventually("the only connection taken", || (bench.ringway.sum_of("default.rq_open") == 1).then_some(()));
        let mut waits = bench.client();
        waits.send(get("/next"));
        eventually("one waits", || (bench.ringway.origin_stat("upstream_rq_pending_active") == 1).then_some(()));
        if number % 2 == 0 {
            waits.reset()
        } else {
            drop(waits)
        }
        eventually("nobody waits", || (bench.ringway.origin_stat("upstream_rq_pending_active") == 0).then_some(()));
        eventually("its permit is back", || (bench.ringway.sum_of("default.rq_pending_open") == 0).then_some(()));
        drop(first);
        eventually("all gone", || (bench.ringway.origin_stat("upstream_rq_active") == 0).then_some(()));
        assert_eq!(bench.client().ask(get("/again")).status, 200);
    }
    assert_eq!(bench.ringway.origin_stat("upstream_rq_cancelled"), 5);
    bench.finish();
}

fn clients_that_leave_under_a_request(driver: Driver) {
    let bench = one(driver, Origin::start(scripted));
    for _ in 0..5 {
        nothing_under_way(&bench);
        let mut client = bench.client();
        client.send("GET /stall HTTP/1.1\r\nHost: a.example.com\r\n\r\n");
        eventually("under way", || (bench.ringway.sum_of("default.rq_open") == 1).then_some(()));
        // Who waits behind it gets the next connection.
        let mut next = bench.client();
        next.send(get("/next"));
        eventually("one waits", || (bench.ringway.origin_stat("upstream_rq_pending_active") == 1).then_some(()));
        drop(client);
        assert_eq!(next.response().status, 200);
    }
    bench.finish();
}

fn clients_that_leave_during_a_back_off(driver: Driver) {
    let bench = one(driver, Origin::start(scripted));
    for _ in 0..3 {
        let mut client = bench.client();
        client.send("GET /error HTTP/1.1\r\nHost: patient.example.com\r\n\r\n");
        eventually("a retry is to come", || (bench.ringway.sum_of("default.rq_retry_open") == 1).then_some(()));
        let refused = bench.client().ask("GET /error HTTP/1.1\r\nHost: patient.example.com\r\n\r\n");
        assert_eq!(refused.status, 500, "not retried, because another one is");
        drop(client);
        eventually("its permit is back", || (bench.ringway.sum_of("default.rq_retry_open") == 0).then_some(()));
    }
    assert_eq!(bench.ringway.origin_stat("upstream_rq_retry_overflow"), 3);
    bench.finish();
}

fn a_wait_ends_with_the_timeout(driver: Driver) {
    let bench = one(driver, Origin::start(scripted));
    let mut first = bench.client();
    first.send("GET /stall HTTP/1.1\r\nHost: a.example.com\r\n\r\n");
    eventually("the only connection taken", || (bench.ringway.sum_of("default.rq_open") == 1).then_some(()));
    let mut waits = bench.client();
    let answer = waits.ask(get_of("never"));
    assert_eq!((answer.status, answer.text().as_str()), (504, "upstream request timeout"));
    drop((first, waits));
    assert_eq!(bench.client().ask(get("/again")).status, 200);
    bench.finish();
}

fn a_refused_connection_fails_all_who_wait_for_it(driver: Driver) {
    let port = crate::support::ports::free();
    let ringway = Setup::new(driver)
        .yaml(everything_to(&[port]))
        .yaml(pool("tcp: {maxConnections: 1}"))
        .yaml(host("never", "retries: {attempts: 0}"))
        .start();
    let mut clients: Vec<Client> = (0..5).map(|_| ringway.client()).collect();
    eventually("all accepted", || (ringway.sum_of("downstream_cx_http1_active") == 5).then_some(()));
    ringway.process.freeze();
    clients.iter_mut().for_each(|client| client.send(get_of("never")));
    ringway.process.thaw();
    for client in &mut clients {
        let answer = client.response();
        assert_eq!(answer.status, 503);
        assert!(answer.text().ends_with("reset reason: remote connection failure"), "{}", answer.text());
    }
    let count = |name: &str| ringway.origin_stat(name);
    assert_eq!(count("upstream_rq_pending_failure_eject"), 5);
    assert_eq!(count("upstream_cx_total"), 1, "one connection was tried for all of them");
    drop(clients);
    ringway.quiet();
    eventually("no permit left", || (ringway.sum_of("default.cx_open") == 0).then_some(()));
    ringway.stop();
}

fn a_connection_that_does_not_come_up_fails_all_who_wait_for_it(driver: Driver) {
    let (port, _held) = full_listener();
    let ringway = Setup::new(driver)
        .yaml(everything_to(&[port]))
        .yaml(pool("tcp: {maxConnections: 1, connectTimeout: 0.3s}"))
        .yaml(host("never", "retries: {attempts: 0}"))
        .start();
    let mut clients: Vec<Client> = (0..3).map(|_| ringway.client()).collect();
    let mut leaves = ringway.client();
    leaves.send(get_of("never"));
    clients.iter_mut().for_each(|client| client.send(get_of("never")));
    eventually("all wait", || (ringway.sum_of("upstream_rq_pending_active") == 4).then_some(()));
    drop(leaves);
    for client in &mut clients {
        let answer = client.response();
        assert!(answer.text().ends_with("reset reason: connection timeout"), "{}", answer.text());
    }
    drop(clients);
    ringway.quiet();
    eventually("no permit left", || (ringway.sum_of("default.cx_open") == 0).then_some(()));
    ringway.stop();
}
