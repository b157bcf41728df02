//! Timeouts: not before their time, and nothing left after it. What they look like is compared with Envoy's in
//! `tests/differential`.

use std::time::{Duration, Instant};

use super::{Bench, get_of, host, on_each_driver};
use crate::support::origin::Origin;
use crate::support::ringway::Driver;
use crate::support::wait::eventually;
use crate::support::yaml;

on_each_driver![
    a_request_takes_no_longer_than_its_route_allows,
    a_try_takes_no_longer_than_its_own,
    a_response_that_stalls_is_cut,
    a_connection_that_does_not_come_up_is_not_waited_for,
    a_client_keeps_its_connection_after_a_timeout,
];

/// An origin that reads requests and never answers.
fn silent() -> Origin {
    Origin::start(|peer| {
        peer.request()?;
        peer.wait_closed().map(drop)
    })
}

fn a_request_takes_no_longer_than_its_route_allows(driver: Driver) {
    let retries = "timeout: 0.3s\n    retries: {attempts: 9, perTryTimeout: 0.08s, retryOn: 5xx, backoff: 0.001s}";
    let bench = Bench::with(driver, silent(), |setup| {
        setup.yaml(host("plain", "timeout: 0.3s")).yaml(host("retried", retries))
    });
    for (name, tries) in [("plain", 1), ("retried", 2)] {
        let began = Instant::now();
        let response = bench.client().ask(get_of(name));
        assert_eq!((response.status, response.text().as_str()), (504, "upstream request timeout"), "{name}");
        assert!(began.elapsed() >= Duration::from_millis(300), "{name} after {:?}", began.elapsed());
        let made = bench.origin.take();
        assert!(made.len() >= tries, "{name}: {} tries", made.len());
        // What the last try is told it has is less than what the first was.
        let told = |at: usize| -> u64 {
            let value = made[at].header("x-envoy-expected-rq-timeout-ms").expect("it is told");
            value.parse().expect("a number")
        };
        let first = if name == "plain" { 300 } else { 80 };
        assert_eq!(told(0), first, "{name}");
        assert!(told(made.len() - 1) <= first, "{name}");
        let timed_out = bench.ringway.origin_stat("upstream_rq_timeout");
        // A route's timeout that passes in the back-off between two attempts times none of them out, as in Envoy.
        let expected = if name == "plain" { 1..=1 } else { 1..=2 };
        assert!(expected.contains(&timed_out), "{name}: {timed_out}");
    }
    bench.finish();
}

fn a_try_takes_no_longer_than_its_own(driver: Driver) {
    let retries = "retries: {attempts: 2, perTryTimeout: 0.1s, retryOn: reset, backoff: 0.001s}";
    let bench = Bench::with(driver, silent(), |setup| setup.yaml(host("each", retries)));
    let began = Instant::now();
    assert_eq!(bench.client().ask(get_of("each")).status, 504);
    assert!(began.elapsed() >= Duration::from_millis(300), "three tries in {:?}", began.elapsed());
    assert_eq!(bench.origin.requests().len(), 3);
    assert_eq!(bench.ringway.origin_stat("upstream_rq_per_try_timeout"), 3);
    bench.finish();
}

fn a_response_that_stalls_is_cut(driver: Driver) {
    let origin = Origin::start(|peer| {
        peer.request()?;
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbeginning")?;
        peer.wait_closed().map(drop)
    });
    let bench = Bench::with(driver, origin, |setup| setup.yaml(host("cut", "timeout: 0.2s")));
    let mut client = bench.client();
    let began = Instant::now();
    let response = client.ask(get_of("cut"));
    assert_eq!((response.status, response.text().as_str(), response.body.complete), (200, "beginning", false));
    assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
    let line = bench.ringway.logged(&["GET /cut"]);
    assert!(line.contains(" 200 UT response_timeout "), "{line}");
    drop(client);
    bench.finish();
}

fn a_connection_that_does_not_come_up_is_not_waited_for(driver: Driver) {
    // The kernel answers no more connects once the queue of those that nobody accepts is full.
    let (full, _held) = super::hostile::full_listener();
    let to = host("full", "timeout: 0.2s").replace("host: origin", "host: full.internal");
    let yaml = to + "---\n" + &yaml::service_entry_at("full.internal", &[full]);
    let bench = Bench::with(driver, silent(), |setup| setup.yaml(yaml));
    let began = Instant::now();
    let response = bench.client().ask(get_of("full"));
    assert_eq!((response.status, response.text().as_str()), (504, "upstream request timeout"));
    assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
    assert_eq!(bench.ringway.sum_of("upstream_rq_cancelled"), 1);
    bench.finish();
}

fn a_client_keeps_its_connection_after_a_timeout(driver: Driver) {
    let bench = Bench::with(driver, silent(), |setup| setup.yaml(host("kept", "timeout: 0.05s")));
    let mut client = bench.client();
    for _ in 0..5 {
        assert_eq!(client.ask(get_of("kept")).status, 504);
    }
    eventually("the origin left alone", || (bench.origin.open() == 0).then_some(()));
    drop(client);
    bench.finish();
}
