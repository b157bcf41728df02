//! SIGTERM and SIGINT: no new work, the work in flight finishes, exit code 0.

use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Bench, get, on_each_driver, says_path};
use crate::support::client::Client;
use crate::support::origin::Origin;
use crate::support::ringway::Driver;
use crate::support::wait::{PATIENCE, eventually};

on_each_driver![
    a_request_in_flight_finishes,
    a_body_in_flight_finishes,
    idle_connections_do_not_hold_it_up,
    what_does_not_end_is_ended_by_the_drain_duration,
];

/// An origin that answers once it is told to.
fn on_command() -> (Origin, Sender<()>) {
    let (go, wait) = channel();
    let wait = Mutex::new(wait);
    let origin = Origin::start(move |peer| {
        while peer.request()?.is_some() {
            let _ = wait.lock().expect("nobody panics while waiting").recv_timeout(PATIENCE); // the end of the test releases too
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone")?;
        }
        Ok(())
    });
    (origin, go)
}

#[track_caller]
fn refuses_new_connections(bench: &Bench) {
    let address = bench.ringway.address();
    eventually("new connections are refused", || Client::try_connect(address).is_err().then_some(()));
}

fn finishes(driver: Driver, signal: Signal) {
    let (origin, go) = on_command();
    let mut bench = Bench::new(driver, origin);
    let mut idle = bench.client();
    eventually("the idle one accepted", || (bench.ringway.sum_of("downstream_cx_active") >= 1).then_some(()));
    let mut client = bench.client();
    client.send(get("/last"));
    eventually("the request at the origin", || (bench.origin.requests().len() == 1).then_some(()));
    bench.ringway.process.signal(signal);
    refuses_new_connections(&bench);
    // The port is closed before the worker knows of the drain; idle connections are closed by the worker.
    idle.expect_closed();
    assert!(bench.ringway.process.ended().is_none(), "it waits for the request");
    go.send(()).expect("the origin waits");
    let response = client.response();
    assert_eq!((response.status, response.text()), (200, "done".to_owned()));
    assert_eq!(response.header("connection"), Some("close"), "a draining proxy says so");
    client.expect_closed();
    drop(client); // it would be lingered for
    let stopped = bench.ringway.ended();
    assert!(stopped.log.iter().any(|line| line.contains("GET /last")), "the log is flushed: {:?}", stopped.log);
}

fn a_request_in_flight_finishes(driver: Driver) {
    finishes(driver, Signal::TERM);
    finishes(driver, Signal::INT);
}

fn a_body_in_flight_finishes(driver: Driver) {
    let mut bench = Bench::new(driver, Origin::echo());
    let mut client = bench.client();
    client.send("POST /x HTTP/1.1\r\nHost: a.example.com\r\ncontent-length: 10\r\n\r\n12345");
    eventually("the upload at the origin", || (bench.origin.open() == 1).then_some(()));
    bench.ringway.process.signal(Signal::TERM);
    refuses_new_connections(&bench);
    client.send("67890");
    assert_eq!(client.response().text(), "1234567890");
    client.expect_closed();
    bench.ringway.ended();
}

fn idle_connections_do_not_hold_it_up(driver: Driver) {
    let mut bench = Bench::new(driver, says_path());
    let mut used = bench.client();
    assert_eq!(used.ask(get("/x")).status, 200);
    let mut unused = bench.client();
    eventually("both are accepted", || (bench.ringway.sum_of("downstream_cx_active") >= 2).then_some(()));
    let started = Instant::now();
    bench.ringway.process.signal(Signal::TERM);
    used.expect_closed();
    unused.expect_closed();
    bench.ringway.ended();
    // Istio's drain duration is 45 s; nothing here is worth a wait.
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

fn what_does_not_end_is_ended_by_the_drain_duration(driver: Driver) {
    let (origin, go) = on_command();
    let mut bench = Bench::with(driver, origin, |setup| setup.mesh_config("defaultConfig", "{drainDuration: 1s}"));
    let mut client = bench.client();
    client.send(get("/never"));
    eventually("the request at the origin", || (bench.origin.requests().len() == 1).then_some(()));
    bench.ringway.process.signal(Signal::TERM);
    client.expect_closed();
    bench.ringway.ended();
    drop(go); // lets the origin end
}
