//! Injected faults: what they cost, and that they end with their client. What they look like is compared with Envoy's
//! in `tests/differential`.

use std::time::{Duration, Instant};

use super::{Bench, get_of, host, on_each_driver, says_path};
use crate::support::client::Client;
use crate::support::origin::Origin;
use crate::support::ringway::Driver;
use crate::support::wait::eventually;

on_each_driver![
    a_delay_takes_its_time_and_no_timeout_counts_it,
    hundreds_are_delayed_at_once,
    a_client_that_leaves_ends_its_delay,
    half_of_the_requests_are_aborted,
];

fn a_delay_takes_its_time_and_no_timeout_counts_it(driver: Driver) {
    let origin = Origin::start(|peer| {
        while let Some(request) = peer.request()? {
            let wait = if request.line().contains("slow") { 20_000 } else { 50 };
            if peer.ends_within(Duration::from_millis(wait))? {
                break;
            }
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
        }
        Ok(())
    });
    let fault = "timeout: 0.2s\n    fault: {delay: {fixedDelay: 0.3s, percentage: {value: 100}}}";
    let bench = Bench::with(driver, origin, |setup| setup.yaml(host("fast", fault)).yaml(host("slow", fault)));
    for (name, status, at_least) in [("fast", 200, 350), ("slow", 504, 500)] {
        let began = Instant::now();
        let response = bench.client().ask(get_of(name));
        assert_eq!(response.status, status, "{name}");
        assert!(began.elapsed() >= Duration::from_millis(at_least), "{name} after {:?}", began.elapsed());
    }
    bench.finish();
}

fn hundreds_are_delayed_at_once(driver: Driver) {
    let fault = "fault: {delay: {fixedDelay: 3s, percentage: {value: 100}}}";
    let bench = Bench::with(driver, says_path(), |setup| setup.yaml(host("held", fault)));
    let mut clients: Vec<Client> = (0..300).map(|_| bench.client()).collect();
    clients.iter_mut().for_each(|client| client.send(get_of("held")));
    eventually("all of them delayed", || (bench.ringway.sum_of("fault.delays_injected") == 300).then_some(()));
    assert_eq!(bench.client().ask(super::get("/others")).text(), "/others", "nobody else waits");
    for client in &mut clients {
        assert_eq!(client.response().text(), "/held");
    }
    drop(clients);
    bench.finish();
}

fn a_client_that_leaves_ends_its_delay(driver: Driver) {
    let fault = "fault: {delay: {fixedDelay: 1000s, percentage: {value: 100}}}";
    let bench = Bench::with(driver, says_path(), |setup| setup.yaml(host("held", fault)));
    let requests = [
        get_of("held"),
        "POST /held HTTP/1.1\r\nHost: held.example.com\r\ncontent-length: 9\r\n\r\nhalf".to_owned(),
        "POST /held HTTP/1.1\r\nHost: held.example.com\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n".to_owned(),
    ];
    let ways: [fn(Client); 3] = [drop, Client::reset, |client| {
        client.half_close();
        let mut client = client;
        client.expect_closed();
    }];
    for request in &requests {
        for leave in ways {
            let mut client = bench.client();
            client.send(request);
            eventually("delayed", || (bench.ringway.sum_of("fault.active_faults") == 1).then_some(()));
            leave(client);
            eventually("gone", || (bench.ringway.sum_of("fault.active_faults") == 0).then_some(()));
        }
    }
    assert!(bench.origin.requests().is_empty());
    let stopped = bench.finish();
    assert_eq!(stopped.log.len(), 9);
    for line in &stopped.log {
        assert!(line.contains(" 0 DI,DC downstream_remote_disconnect "), "{line}");
    }
}

fn half_of_the_requests_are_aborted(driver: Driver) {
    // 5 standard deviations of a binomial of 400 with a half are 50: missed once in 1.7 million runs.
    let fault = "fault: {abort: {httpStatus: 555, percentage: {value: 50}}}";
    let bench = Bench::with(driver, says_path(), |setup| setup.yaml(host("half", fault)));
    let mut client = bench.client();
    let aborted = (0..400).filter(|_| client.ask(get_of("half")).status == 555).count();
    assert!((150..=250).contains(&aborted), "{aborted} of 400");
    assert_eq!(bench.ringway.sum_of("fault.aborts_injected"), aborted as u64);
    assert_eq!(bench.origin.requests().len(), 400 - aborted);
    drop(client);
    bench.finish();
}
