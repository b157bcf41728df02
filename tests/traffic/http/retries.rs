//! Retries: where they go, and what the connection that was closed at the moment of its reuse costs. Which outcomes are
//! tried again is compared with Envoy's in `tests/differential`.

use super::{Bench, get, get_of, host, on_each_driver};
use crate::support::origin::Origin;
use crate::support::ringway::{Driver, Setup, everything_to};
use crate::support::{ports, wait::eventually};

on_each_driver![
    an_endpoint_that_refuses_is_not_noticed,
    an_endpoint_that_fails_is_tried_once,
    the_destination_stays_the_one_that_was_drawn,
    a_connection_closed_at_its_reuse_is_not_noticed,
    but_a_post_is_not_sent_twice_for_it,
    and_a_route_that_retries_counts_it_apart,
];

fn an_endpoint_that_refuses_is_not_noticed(driver: Driver) {
    let origin = super::says_path();
    let ringway = Setup::new(driver).yaml(everything_to(&[ports::free(), origin.port()])).start();
    let mut client = ringway.client();
    for number in 0..60 {
        let path = format!("/{number}");
        assert_eq!(client.ask(get(&path)).text(), path, "Istio's default policy");
    }
    // 60 picks of one of two never meet the refusing one with a chance of 2^-60 or less.
    let retries = ringway.origin_stat("upstream_rq_retry");
    assert!(retries > 0);
    assert_eq!(ringway.origin_stat("upstream_rq_retry_success"), retries);
    assert_eq!(ringway.origin_stat("upstream_cx_connect_fail"), retries, "no second try goes where the first went");
    drop(client);
    ringway.quiet();
    ringway.stop();
}

fn an_endpoint_that_fails_is_tried_once(driver: Driver) {
    let bad = Origin::replying("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
    let good = Origin::replying("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let retries = "retries: {attempts: 2, retryOn: 5xx, backoff: 0.001s}";
    let anywhere = "retries: {attempts: 2, retryOn: 5xx, backoff: 0.001s, retryIgnorePreviousHosts: false}";
    let ringway = Setup::new(driver)
        .yaml(everything_to(&[bad.port(), good.port()]))
        .yaml(host("other", retries))
        .yaml(host("anywhere", anywhere))
        .start();
    let mut client = ringway.client();
    for _ in 0..60 {
        assert_eq!(client.ask(get_of("other")).status, 200);
    }
    eventually("all of them counted", || (ringway.origin_stat("upstream_rq_200") == 60).then_some(()));
    let tried = bad.take().len() as u64;
    assert!(tried > 0);
    assert_eq!(ringway.origin_stat("retry.upstream_rq_503"), tried);
    assert_eq!(ringway.origin_stat("upstream_rq_503"), 0);
    // Without regard for what was tried, one of 400 meets the bad one three times but for a chance of 10^-23.
    let failed = (0..400).filter(|_| client.ask(get_of("anywhere")).status == 503).count();
    assert!(failed > 0);
    drop(client);
    ringway.quiet();
    ringway.stop();
}

fn the_destination_stays_the_one_that_was_drawn(driver: Driver) {
    let bad = Origin::replying("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
    let good = Origin::replying("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let yaml = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: drawn}\nspec:\n  hosts: \
                [drawn.example.com]\n  gateways: [edge]\n  http:\n  - retries: {attempts: 3, retryOn: 5xx, backoff: \
                0.001s}\n    route:\n    - {destination: {host: bad.internal}, weight: 50}\n    - {destination: {host: \
                good.internal}, weight: 50}\n";
    let entry = |name: &str, port: u16| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}}}\nspec: {{hosts: \
             [{name}.internal], resolution: STATIC, ports: [{{number: 80, name: http}}], endpoints: [{{address: \
             127.0.0.1, ports: {{http: {port}}}}}]}}\n"
        )
    };
    let ringway = Setup::new(driver)
        .yaml(everything_to(&[good.port()]))
        .yaml(yaml)
        .yaml(entry("bad", bad.port()))
        .yaml(entry("good", good.port()))
        .start();
    let mut client = ringway.client();
    let failed = (0..60).filter(|_| client.ask(get_of("drawn")).status == 503).count();
    assert!(failed > 0 && failed < 60, "{failed} of 60 drawn to the bad one");
    assert_eq!((bad.requests().len(), good.requests().len()), (4 * failed, 60 - failed));
    drop(client);
    ringway.quiet();
    ringway.stop();
}

/// An origin that answers the first request of each connection and closes at the second.
fn closes_at_reuse() -> Origin {
    Origin::start(|peer| {
        peer.request()?;
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
        peer.request().map(drop)
    })
}

fn never(driver: Driver) -> Bench {
    Bench::with(driver, closes_at_reuse(), |setup| setup.yaml(host("never", "retries: {attempts: 0}")))
}

fn a_connection_closed_at_its_reuse_is_not_noticed(driver: Driver) {
    let bench = never(driver);
    let mut client = bench.client();
    let put = "PUT /never HTTP/1.1\r\nHost: never.example.com\r\ncontent-length: 5\r\n\r\nhello".to_owned();
    for number in 0..20 {
        let request = if number % 2 == 0 { get_of("never") } else { put.clone() };
        let response = client.ask(request);
        assert_eq!((response.status, response.text().as_str()), (200, "ok"), "request {number}");
    }
    // Each but the first began on the connection of the one before.
    assert_eq!(bench.ringway.origin_stat("upstream_rq_retry_reused"), 19);
    assert_eq!(bench.ringway.origin_stat("upstream_rq_retry"), 0);
    let attempts =
        bench.origin.requests().iter().filter(|asked| asked.header("x-envoy-attempt-count") != Some("1")).count();
    assert_eq!(attempts, 0, "it is the same try");
    assert!(bench.origin.requests().iter().all(|asked| asked.body.bytes == b"hello" || asked.body.bytes.is_empty()));
    drop(client);
    bench.finish();
}

fn but_a_post_is_not_sent_twice_for_it(driver: Driver) {
    let bench = never(driver);
    let mut client = bench.client();
    let post = "POST /never HTTP/1.1\r\nHost: never.example.com\r\ncontent-length: 5\r\n\r\nhello";
    assert_eq!(client.ask(post).status, 200);
    let response = client.ask(post);
    assert_eq!(response.status, 503);
    assert!(response.text().ends_with("reset reason: connection termination"), "{}", response.text());
    assert_eq!(bench.origin.requests().len(), 2);
    assert_eq!(client.ask(post).status, 200, "on a new connection");
    drop(client);
    bench.finish();
}

fn and_a_route_that_retries_counts_it_apart(driver: Driver) {
    // The first connection ends at its reuse, the others before an answer; the last try is answered.
    let origin = Origin::start(|peer| {
        peer.request()?;
        if peer.number == 0 || peer.number == 3 {
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
            peer.request()?;
        }
        Ok(())
    });
    let retries = "retries: {attempts: 2, retryOn: reset, backoff: 0.001s}";
    let bench = Bench::with(driver, origin, |setup| setup.yaml(host("reset", retries)));
    let mut client = bench.client();
    assert_eq!(client.ask(get_of("reset")).status, 200);
    assert_eq!(client.ask(get_of("reset")).status, 200);
    let attempts: Vec<Option<String>> =
        bench.origin.requests().iter().map(|asked| asked.header("x-envoy-attempt-count").map(str::to_owned)).collect();
    assert_eq!(attempts, ["1", "1", "1", "2", "3"].map(|attempt| Some(attempt.to_owned())));
    assert_eq!(bench.ringway.origin_stat("upstream_rq_retry_reused"), 1);
    assert_eq!(bench.ringway.origin_stat("upstream_rq_retry"), 2);
    eventually("no request at the origin any more", || {
        (bench.ringway.origin_stat("upstream_rq_active") == 0).then_some(())
    });
    drop(client);
    bench.finish();
}
