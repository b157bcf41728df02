//! Circuit breakers: limits that hold over all workers, what is refused and how, and that nobody waits in vain.

use std::collections::BTreeMap;
use std::io;
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;
use socket2::SockRef;

use super::{Bench, get, get_of, host, on_each_driver};
use crate::support::client::{Client, Response};
use crate::support::origin::{Origin, Peer};
use crate::support::ringway::{Driver, ORIGIN_CLUSTER, Ringway, Setup, everything_to};
use crate::support::wait::{PATIENCE, eventually};
use crate::support::yaml;

on_each_driver![
    the_tutorials_run,
    limits_are_exact_over_two_workers,
    two_endpoints_share_one_connection,
    a_cold_burst_overflows_while_the_connection_is_opened,
    requests_under_way_are_limited,
    an_idle_connection_of_another_worker_is_had,
    retries_under_way_are_limited,
    a_budget_limits_retries,
    a_retry_that_overflows_is_the_end,
    a_stale_connection_makes_room_for_a_fresh_one,
    a_limit_changes_with_the_configuration,
];

/// The text of an answer by a breaker.
pub(crate) const OVERFLOW: &str = "upstream connect error or disconnect/reset before headers. reset reason: overflow";

/// A DestinationRule for the origin of a [`Bench`] with this `connectionPool`.
pub(crate) fn pool(fields: &str) -> String {
    rule(&format!("connectionPool: {{{fields}}}"))
}

/// A DestinationRule for the origin of a [`Bench`] with this `trafficPolicy`.
pub(crate) fn rule(policy: &str) -> String {
    yaml::policy("origin", policy)
}

/// What an origin, or several together, saw at most at one moment.
#[derive(Default)]
pub(crate) struct Most {
    streams: Mutex<Vec<TcpStream>>,
    connections: AtomicUsize,
    busy: AtomicUsize,
    requests: AtomicUsize,
}

impl Most {
    /// Counts the connections that are open as this one begins.
    pub(crate) fn accepted(&self, peer: &mut Peer) -> io::Result<()> {
        let mut streams = self.streams.lock().expect("no script panicked");
        streams.push(peer.stream()?.try_clone()?);
        // The end of a connection may still be on its way through the kernel; one that is really open stays so.
        for _ in 0..20 {
            streams.retain(|stream| !ended(stream));
            if streams.len() <= self.connections.load(Ordering::SeqCst) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.connections.fetch_max(streams.len(), Ordering::SeqCst);
        Ok(())
    }

    /// Answers requests, each after `work`.
    pub(crate) fn serve(&self, peer: &mut Peer, work: Duration) -> io::Result<()> {
        self.accepted(peer)?;
        while peer.request()?.is_some() {
            let busy = self.busy.fetch_add(1, Ordering::SeqCst) + 1;
            self.requests.fetch_max(busy, Ordering::SeqCst);
            std::thread::sleep(work);
            self.busy.fetch_sub(1, Ordering::SeqCst);
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
        }
        Ok(())
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Whether the other side has closed a connection, as far as is known here.
fn ended(stream: &TcpStream) -> bool {
    const PEEK_AND_DO_NOT_WAIT: i32 = 0x42;
    match SockRef::from(stream).recv_with_flags(&mut [MaybeUninit::uninit()], PEEK_AND_DO_NOT_WAIT) {
        Ok(length) => length == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

/// An origin that takes so long for each answer, and what it sees at most.
pub(crate) fn watched(work: Duration) -> (Origin, Arc<Most>) {
    let most = Arc::new(Most::default());
    let seen = most.clone();
    (Origin::start(move |peer| seen.serve(peer, work)), most)
}

/// Sends `calls` requests from each of `clients` at the same time, each on a connection of its own, and returns the answers of
/// each client.
pub(crate) fn load(ringway: &Ringway, clients: usize, calls: usize) -> Vec<Vec<Response>> {
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..clients)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = ringway.client();
                    (0..calls).map(|_| client.ask(get("/get"))).collect::<Vec<_>>()
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().expect("a client")).collect()
    })
}

/// How many answers had each status.
pub(crate) fn statuses<'a>(answers: impl IntoIterator<Item = &'a Response>) -> BTreeMap<u16, usize> {
    let mut counts = BTreeMap::new();
    answers.into_iter().for_each(|answer| *counts.entry(answer.status).or_default() += 1);
    counts
}

/// Asserts that the two workers have each accepted one of these clients; false if the kernel gave all to one.
fn spread(ringway: &Ringway) -> bool {
    (0..2).all(|worker| ringway.sum_of(&format!("worker_{worker}.downstream_cx_total")) > 0)
}

#[track_caller]
pub(crate) fn is_overflow(answer: &Response) {
    assert_eq!((answer.status, answer.text().as_str()), (503, OVERFLOW));
    assert_eq!(answer.body.bytes.len(), 81);
    let first = answer.head.headers.first().map(|(name, value)| (name.as_str(), value.as_str()));
    assert_eq!(first, Some(("x-envoy-overloaded", "true")));
}

/// `connectionPool` of the tutorial.
const TUTORIAL: &str = "tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1, maxRequestsPerConnection: 1}";

fn the_tutorials_run(driver: Driver) {
    for cpus in [&[0][..], &[0, 1]] {
        let (origin, most) = watched(Duration::from_millis(5));
        let bench = Bench::with(driver, origin, |setup| setup.yaml(pool(TUTORIAL)).cpus(cpus));
        let answers = load(&bench.ringway, 3, 10);
        let counts = statuses(answers.iter().flatten());
        let (good, bad) = (counts.get(&200).copied().unwrap_or(0), counts.get(&503).copied().unwrap_or(0));
        assert_eq!(good + bad, 30, "{counts:?}");
        assert!(good > 0 && bad > 0, "a mixture: {counts:?}");
        answers.iter().flatten().filter(|answer| answer.status == 503).for_each(is_overflow);
        assert_eq!((most.connections(), most.requests()), (1, 1), "on {} workers", cpus.len());
        eventually("all of them counted", || (bench.ringway.origin_stat("upstream_rq_completed") == 30).then_some(()));
        for (name, expected) in [
            ("upstream_rq_pending_overflow", bad),
            ("upstream_rq_503", bad),
            ("upstream_rq_5xx", bad),
            ("upstream_rq_200", good),
            ("upstream_rq_total", good),
            ("upstream_rq_pending_total", good),
            ("upstream_cx_total", good),
            ("upstream_cx_max_requests", good),
            ("upstream_rq_retry", 0),
        ] {
            assert_eq!(bench.ringway.origin_stat(name), expected as u64, "{name}");
        }
        let line = bench.ringway.logged(&["503 UO upstream_reset_before_response_started{overflow}"]);
        assert!(
            line.contains(&format!("127.0.0.1:{}", bench.origin.port())) && line.contains(ORIGIN_CLUSTER),
            "{line}"
        );
        bench.finish();
    }
}

fn limits_are_exact_over_two_workers(driver: Driver) {
    for limit in 1..=3 {
        let (origin, most) = watched(Duration::from_millis(1));
        let fields = format!("tcp: {{maxConnections: {limit}}}");
        let bench = Bench::with(driver, origin, |setup| setup.yaml(pool(&fields)).cpus(&[0, 1]));
        let answers = load(&bench.ringway, 12, 40);
        assert_eq!(statuses(answers.iter().flatten()), BTreeMap::from([(200, 480)]), "nobody is refused");
        assert_eq!((most.connections(), most.requests()), (limit, limit));
        assert!(spread(&bench.ringway), "12 clients and all on one worker");
        bench.finish();
    }
}

fn two_endpoints_share_one_connection(driver: Driver) {
    for cpus in [&[0][..], &[0, 1]] {
        let most = Arc::new(Most::default());
        let origins: Vec<Origin> = (0..2)
            .map(|_| {
                let seen = most.clone();
                Origin::start(move |peer| seen.serve(peer, Duration::from_millis(1)))
            })
            .collect();
        let ports: Vec<u16> = origins.iter().map(Origin::port).collect();
        let ringway = Setup::new(driver)
            .cpus(cpus)
            .yaml(everything_to(&ports))
            .yaml(rule("loadBalancer: {simple: ROUND_ROBIN}, connectionPool: {tcp: {maxConnections: 1}}"))
            .start();
        let answers = load(&ringway, 6, 40);
        assert_eq!(statuses(answers.iter().flatten()), BTreeMap::from([(200, 240)]));
        assert_eq!((most.connections(), most.requests()), (1, 1), "on {} workers", cpus.len());
        for origin in &origins {
            assert!(origin.requests().len() >= 60, "an endpoint got {} of 240", origin.requests().len());
        }
        ringway.quiet();
        ringway.stop();
    }
}

fn a_cold_burst_overflows_while_the_connection_is_opened(driver: Driver) {
    let (origin, most) = watched(Duration::from_millis(50));
    let bench = Bench::with(driver, origin, |setup| {
        setup.yaml(pool("tcp: {maxConnections: 100}, http: {http1MaxPendingRequests: 1}"))
    });
    let mut clients: Vec<Client> = (0..6).map(|_| bench.client()).collect();
    eventually("all accepted", || (bench.ringway.sum_of("downstream_cx_http1_active") == 6).then_some(()));
    let mut burst = || {
        at_once(&bench, || clients.iter_mut().for_each(|client| client.send(get("/get"))));
        let answers: Vec<Response> = clients.iter_mut().map(Client::response).collect();
        answers.iter().filter(|answer| answer.status != 200).for_each(is_overflow);
        statuses(&answers)
    };
    assert_eq!(burst(), BTreeMap::from([(200, 1), (503, 5)]));
    assert_eq!(burst(), BTreeMap::from([(200, 2), (503, 4)]), "one finds the connection of the first burst");
    assert_eq!(most.connections(), 2);
    assert_eq!(bench.ringway.origin_stat("upstream_rq_pending_overflow"), 9);
    assert_eq!(bench.ringway.origin_stat("upstream_rq_pending_total"), 2);
    drop(clients);
    bench.finish();
}

/// Has ringway find all that `send` sends at one moment.
pub(crate) fn at_once(bench: &Bench, send: impl FnOnce()) {
    bench.ringway.process.freeze();
    send();
    bench.ringway.process.thaw();
}

fn requests_under_way_are_limited(driver: Driver) {
    let (origin, most) = watched(Duration::from_millis(100));
    let bench = Bench::with(driver, origin, |setup| setup.yaml(pool("http: {http2MaxRequests: 2}")));
    let mut clients: Vec<Client> = (0..5).map(|_| bench.client()).collect();
    eventually("all accepted", || (bench.ringway.sum_of("downstream_cx_http1_active") == 5).then_some(()));
    let mut burst = || {
        at_once(&bench, || clients.iter_mut().for_each(|client| client.send(get("/get"))));
        let answers: Vec<Response> = clients.iter_mut().map(Client::response).collect();
        answers.iter().filter(|answer| answer.status != 200).for_each(is_overflow);
        statuses(&answers)
    };
    // Nobody is refused before there is a connection; of those five, two can be used.
    assert_eq!(burst(), BTreeMap::from([(200, 2), (503, 3)]));
    assert_eq!(burst(), BTreeMap::from([(200, 2), (503, 3)]), "all find a connection at once");
    assert_eq!((most.connections(), most.requests()), (5, 2));
    assert_eq!(bench.ringway.origin_stat("upstream_rq_active_overflow"), 6);
    assert_eq!(bench.ringway.origin_stat("upstream_rq_pending_overflow"), 0);
    assert_eq!(bench.ringway.origin_stat("upstream_rq_total"), 4);
    drop(clients);
    bench.finish();
}

fn an_idle_connection_of_another_worker_is_had(driver: Driver) {
    let (origin, most) = watched(Duration::ZERO);
    let bench = Bench::with(driver, origin, |setup| setup.cpus(&[0, 1]).yaml(pool("tcp: {maxConnections: 1}")));
    let mut clients = bench.ringway.client_of_each_worker();
    for number in 0..20 {
        // The other worker has the only connection, and it is idle.
        assert_eq!(clients[number % 2].ask(get("/get")).status, 200);
    }
    assert_eq!((most.connections(), most.requests()), (1, 1));
    drop(clients);
    bench.finish();
}

/// An origin that answers what is asked for `/hold` when told to, and all else with 500.
fn holds() -> (Origin, Sender<()>) {
    let (go, wait) = channel();
    let wait = Mutex::new(wait);
    let origin = Origin::start(move |peer| {
        while let Some(request) = peer.request()? {
            // The first try of a held request fails at once, so that its retry is under way while it is held.
            if request.line().contains("/hold") && request.header("x-envoy-attempt-count") == Some("2") {
                let _ = wait.lock().expect("nobody panics while waiting").recv_timeout(PATIENCE);
                peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
            } else {
                peer.send("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 3\r\n\r\nbad")?;
            }
        }
        Ok(())
    });
    (origin, go)
}

const RETRIED: &str = "retries: {attempts: 1, retryOn: 5xx, backoff: 0.001s}";

fn ask_of(name: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {name}.example.com\r\n\r\n")
}

/// Holds one retry after the other until no further one is allowed; how many there are.
fn retries_until_refused(bench: &Bench, go: &Sender<()>) -> usize {
    let mut held: Vec<Client> = Vec::new();
    let refused = loop {
        let retries = bench.ringway.origin_stat("upstream_rq_retry");
        let overflows = bench.ringway.origin_stat("upstream_rq_retry_overflow");
        let mut client = bench.client();
        client.send(ask_of("retried", "/hold"));
        let refused = eventually("a retry, or none", || {
            (bench.ringway.origin_stat("upstream_rq_retry") > retries).then_some(false).or((bench
                .ringway
                .origin_stat("upstream_rq_retry_overflow")
                > overflows)
                .then_some(true))
        });
        if refused {
            break client.response();
        }
        held.push(client);
    };
    assert_eq!((refused.status, refused.text().as_str()), (500, "bad"), "the answer that was there, as it was");
    assert_eq!(refused.header("x-envoy-overloaded"), None);
    bench.ringway.logged(&["/hold", " 500 UO via_upstream "]);
    held.iter().for_each(|_| go.send(()).expect("the origin waits"));
    held.iter_mut().for_each(|client| assert_eq!(client.response().status, 200));
    held.len()
}

fn retries_under_way_are_limited(driver: Driver) {
    let (origin, go) = holds();
    let bench =
        Bench::with(driver, origin, |setup| setup.yaml(pool("http: {maxRetries: 2}")).yaml(host("retried", RETRIED)));
    assert_eq!(retries_until_refused(&bench, &go), 2);
    assert_eq!(retries_until_refused(&bench, &go), 2, "they come back");
    // Held up to the outcome of the retry, and not longer.
    let mut client = bench.client();
    for _ in 0..10 {
        assert_eq!(client.ask(ask_of("retried", "/bad")).status, 500);
    }
    assert_eq!(bench.ringway.origin_stat("upstream_rq_retry_overflow"), 2);
    assert_eq!(bench.ringway.origin_stat("upstream_rq_retry_limit_exceeded"), 10);
    drop(client);
    bench.finish();
}

fn a_budget_limits_retries(driver: Driver) {
    let (origin, go) = holds();
    let bench = Bench::with(driver, origin, |setup| {
        setup
            .yaml(rule("connectionPool: {http: {maxRetries: 0}}, retryBudget: {percent: 50, minRetryConcurrency: 3}"))
            .yaml(host("retried", RETRIED))
    });
    // The share of the requests under way, which are only those retries and the one that asks, is less than the least.
    assert_eq!(retries_until_refused(&bench, &go), 3);
    bench.finish();
}

fn a_retry_that_overflows_is_the_end(driver: Driver) {
    // The only connection ends with the first try, and another request has taken the place in line by the retry.
    let (origin, most) = watched(Duration::from_millis(20));
    let pool = pool("tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}");
    let bench = Bench::with(driver, origin, |setup| {
        setup.yaml(pool).yaml(host("retried", "retries: {attempts: 5, retryOn: '5xx,reset,connect-failure'}"))
    });
    let mut clients: Vec<Client> = (0..4).map(|_| bench.client()).collect();
    eventually("all accepted", || (bench.ringway.sum_of("downstream_cx_http1_active") == 4).then_some(()));
    at_once(&bench, || clients.iter_mut().for_each(|client| client.send(ask_of("retried", "/get"))));
    let answers: Vec<Response> = clients.iter_mut().map(Client::response).collect();
    answers.iter().filter(|answer| answer.status != 200).for_each(is_overflow);
    assert_eq!(statuses(&answers), BTreeMap::from([(200, 1), (503, 3)]));
    assert_eq!(bench.ringway.origin_stat("upstream_rq_retry"), 0, "an overflow is not retried");
    assert_eq!((most.connections(), most.requests()), (1, 1));
    drop(clients);
    bench.finish();
}

fn a_stale_connection_makes_room_for_a_fresh_one(driver: Driver) {
    // Each connection answers once and ends at its reuse; under a limit of one its permit must be free by then.
    let origin = Origin::start(|peer| {
        peer.request()?;
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
        peer.request().map(drop)
    });
    let bench = Bench::with(driver, origin, |setup| {
        setup
            .yaml(pool("tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1, http2MaxRequests: 1}"))
            .yaml(host("never", "retries: {attempts: 0}"))
    });
    let mut client = bench.client();
    for number in 0..20 {
        assert_eq!(client.ask(get_of("never")).status, 200, "request {number}");
    }
    assert_eq!(bench.ringway.origin_stat("upstream_rq_retry_reused"), 19);
    drop(client);
    bench.finish();
}

fn a_limit_changes_with_the_configuration(driver: Driver) {
    let (origin, most) = watched(Duration::from_millis(300));
    let bench = Bench::with(driver, origin, |setup| setup.yaml(pool("tcp: {maxConnections: 1}")).cpus(&[0, 1]));
    let file = bench.ringway.config().join("1.yaml");
    let mut clients: Vec<Client> = (0..6).map(|_| bench.client()).collect();
    clients.iter_mut().for_each(|client| client.send(get("/get")));
    eventually("five in line", || (bench.ringway.origin_stat("upstream_rq_pending_active") == 5).then_some(()));
    // Who waits already is let through by a higher limit.
    std::fs::write(&file, pool("tcp: {maxConnections: 6}")).expect("write the YAML");
    bench.ringway.process.signal(Signal::HUP);
    eventually("six connections", || (bench.origin.open() == 6).then_some(()));
    clients.iter_mut().for_each(|client| assert_eq!(client.response().status, 200));
    assert_eq!(most.connections(), 6);
    // And a lower one holds as soon as they have ended.
    std::fs::write(&file, pool("tcp: {maxConnections: 6}, http: {idleTimeout: 0.1s}")).expect("write the YAML");
    bench.ringway.process.signal(Signal::HUP);
    eventually("no connection", || (bench.origin.open() == 0).then_some(()));
    std::fs::write(&file, pool("tcp: {maxConnections: 2}")).expect("write the YAML");
    bench.ringway.process.signal(Signal::HUP);
    eventually("three reloads", || (bench.ringway.stat("ringway.config_reload_success") >= 3).then_some(()));
    clients.iter_mut().for_each(|client| client.send(get("/get")));
    eventually("four in line", || (bench.ringway.origin_stat("upstream_rq_pending_active") == 4).then_some(()));
    assert_eq!(bench.origin.open(), 2);
    clients.iter_mut().for_each(|client| assert_eq!(client.response().status, 200));
    drop(clients);
    bench.finish();
}
