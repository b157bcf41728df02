//! Circuit breakers: limits that hold over all workers, what is refused and how, and that nobody waits in vain.

use std::collections::BTreeMap;
use std::io;
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;
use socket2::SockRef;

use crate::support::client::{Client, Response};
use crate::support::origin::{Origin, Peer};
use crate::support::ringway::{Driver, ORIGIN_CLUSTER, Ringway, Setup, everything_to};
use crate::support::wait::eventually;
use crate::{Bench, get, on_each_driver};

on_each_driver![
    the_tutorials_run,
    limits_are_exact_over_two_workers,
    two_endpoints_share_one_connection,
    a_cold_burst_overflows_while_the_connection_is_opened,
];

/// The text of an answer by a breaker.
const OVERFLOW: &str = "upstream connect error or disconnect/reset before headers. reset reason: overflow";

/// A DestinationRule for the origin of a [`Bench`] with this `connectionPool`.
fn pool(fields: &str) -> String {
    rule(&format!("connectionPool: {{{fields}}}"))
}

/// A DestinationRule for the origin of a [`Bench`] with this `trafficPolicy`.
fn rule(policy: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: origin}}\nspec: {{host: origin, \
         trafficPolicy: {{{policy}}}}}\n"
    )
}

fn stat(ringway: &Ringway, name: &str) -> u64 {
    ringway.stat(&format!("cluster.{ORIGIN_CLUSTER}.{name}"))
}

/// What an origin, or several together, saw at most at one moment.
#[derive(Default)]
struct Most {
    streams: Mutex<Vec<TcpStream>>,
    connections: AtomicUsize,
    busy: AtomicUsize,
    requests: AtomicUsize,
}

impl Most {
    /// Counts the connections that are open as this one begins.
    fn accepted(&self, peer: &mut Peer) -> io::Result<()> {
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
    fn serve(&self, peer: &mut Peer, work: Duration) -> io::Result<()> {
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

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn requests(&self) -> usize {
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
fn watched(work: Duration) -> (Origin, Arc<Most>) {
    let most = Arc::new(Most::default());
    let seen = most.clone();
    (Origin::start(move |peer| seen.serve(peer, work)), most)
}

/// Sends `calls` requests from each of `clients` at the same time, each on a connection of its own, and returns the answers of
/// each client.
fn load(ringway: &Ringway, clients: usize, calls: usize) -> Vec<Vec<Response>> {
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
fn statuses<'a>(answers: impl IntoIterator<Item = &'a Response>) -> BTreeMap<u16, usize> {
    let mut counts = BTreeMap::new();
    answers.into_iter().for_each(|answer| *counts.entry(answer.status).or_default() += 1);
    counts
}

/// Asserts that the two workers have each accepted one of these clients; false if the kernel gave all to one.
fn spread(ringway: &Ringway) -> bool {
    (0..2).all(|worker| ringway.sum_of(&format!("worker_{worker}.downstream_cx_total")) > 0)
}

#[track_caller]
fn is_overflow(answer: &Response) {
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
        eventually("all of them counted", || (stat(&bench.ringway, "upstream_rq_completed") == 30).then_some(()));
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
            assert_eq!(stat(&bench.ringway, name), expected as u64, "{name}");
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
    assert_eq!(stat(&bench.ringway, "upstream_rq_pending_overflow"), 9);
    assert_eq!(stat(&bench.ringway, "upstream_rq_pending_total"), 2);
    drop(clients);
    bench.finish();
}

/// Has ringway find all that `send` sends at one moment.
fn at_once(bench: &Bench, send: impl FnOnce()) {
    bench.ringway.process.signal(Signal::STOP);
    send();
    bench.ringway.process.signal(Signal::CONT);
}
