//! Circuit breakers and pools over Unix domain sockets: permits, and connections that go from core to core with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{GET, Sockets, app, counted, finish, on_each_driver, routed, rule, start, stat, text};
use crate::support::client::Client;
use crate::support::origin::Origin;
use crate::support::ringway::{Driver, Ringway, Setup};
use crate::support::wait::{eventually, within};

on_each_driver![
    two_workers_share_one_connection,
    two_sockets_share_one_connection,
    an_idle_connection_of_another_worker_is_had,
    one_too_many_is_refused,
    connections_end_with_their_requests_and_their_rest,
    keepalive_has_no_meaning_and_does_no_harm,
];

/// An origin that takes a moment, and the most connections that it had at once.
fn slow(sockets: &Sockets, name: &str, moment: Duration) -> (Origin, Arc<AtomicUsize>) {
    let (now, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let origin = Origin::start_on(sockets.bind(name), move |peer| {
        now.fetch_add(1, Ordering::SeqCst);
        // The thread of a connection that has ended may not have seen that yet; one that is really open stays so.
        let more = || now.load(Ordering::SeqCst) > seen.load(Ordering::SeqCst);
        within(Duration::from_millis(50), || (!more()).then_some(()));
        seen.fetch_max(now.load(Ordering::SeqCst), Ordering::SeqCst);
        let ended = loop {
            match peer.request() {
                Ok(Some(_)) => {}
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
            std::thread::sleep(moment);
            if let Err(error) = peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok") {
                break Err(error);
            }
        };
        now.fetch_sub(1, Ordering::SeqCst);
        ended
    });
    (origin, most)
}

/// So many clients at once with so many requests each, all answered.
fn load(ringway: &Ringway, clients: usize, requests: usize) {
    let address = ringway.address();
    let clients: Vec<_> = (0..clients)
        .map(|_| {
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                (0..requests).map(|_| client.ask(GET).status).filter(|status| *status == 200).count()
            })
        })
        .collect();
    for client in clients {
        assert_eq!(client.join().expect("a client"), requests);
    }
}

fn two_workers_share_one_connection(driver: Driver) {
    for limit in [1, 2] {
        let sockets = Sockets::new();
        let (origin, most) = slow(&sockets, "app", Duration::from_millis(1));
        let policy = format!("connectionPool: {{tcp: {{maxConnections: {limit}}}}}");
        let ringway = start(driver, &[sockets.address("app")], |setup| setup.cpus(&[0, 1]).yaml(rule(&policy)));
        load(&ringway, 10, 30);
        assert_eq!((origin.requests().len(), most.load(Ordering::SeqCst)), (300, limit));
        assert!(origin.accepted() < 200, "{} of 300: connections go from core to core", origin.accepted());
        finish(ringway, origin);
    }
}

fn two_sockets_share_one_connection(driver: Driver) {
    let sockets = Sockets::new();
    let ((a, _), (b, _)) = (slow(&sockets, "a", Duration::ZERO), slow(&sockets, "b", Duration::ZERO));
    let addresses = [sockets.address("a"), sockets.address("b")];
    let policy = "loadBalancer: {simple: ROUND_ROBIN}, connectionPool: {tcp: {maxConnections: 1}}";
    let ringway = start(driver, &addresses, |setup| setup.cpus(&[0, 1]).yaml(rule(policy)));
    load(&ringway, 6, 20);
    assert_eq!(a.requests().len() + b.requests().len(), 120);
    assert!(a.requests().len() > 20 && b.requests().len() > 20, "both in turn");
    finish(ringway, (a, b));
}

fn an_idle_connection_of_another_worker_is_had(driver: Driver) {
    let sockets = Sockets::new();
    let (origin, most) = slow(&sockets, "app", Duration::ZERO);
    let policy = rule("connectionPool: {tcp: {maxConnections: 1}}");
    let ringway = start(driver, &[sockets.address("app")], |setup| setup.cpus(&[0, 1]).yaml(policy));
    let mut clients = ringway.client_of_each_worker();
    for _ in 0..10 {
        clients.iter_mut().for_each(|client| assert_eq!(text(client), "ok"));
    }
    assert_eq!((origin.requests().len(), most.load(Ordering::SeqCst)), (20, 1));
    drop(clients);
    finish(ringway, origin);
}

fn one_too_many_is_refused(driver: Driver) {
    let sockets = Sockets::new();
    let (origin, _) = slow(&sockets, "app", Duration::from_millis(500));
    let policy = "connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}";
    let ringway = Setup::new(driver)
        .yaml(routed("retries: {attempts: 0}"))
        .yaml(app(&[sockets.address("app")]))
        .yaml(rule(policy))
        .start();
    let mut clients: Vec<Client> = (0..3).map(|_| ringway.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(GET);
        eventually("it has come so far", || {
            let refused = stat(&ringway, "upstream_rq_pending_overflow") == 1;
            let waits = stat(&ringway, "upstream_rq_pending_active") == 1;
            match number {
                0 => !origin.requests().is_empty(),
                1 => waits,
                _ => refused,
            }
            .then_some(())
        });
    }
    let statuses: Vec<u16> = clients.iter_mut().map(|client| client.response().status).collect();
    assert_eq!(statuses, [200, 200, 503]);
    ringway.logged(&[" 503 UO "]);
    drop(clients);
    finish(ringway, origin);
}

fn connections_end_with_their_requests_and_their_rest(driver: Driver) {
    let sockets = Sockets::new();
    let (origin, _) = slow(&sockets, "app", Duration::ZERO);
    let policy = rule("connectionPool: {http: {maxRequestsPerConnection: 3, idleTimeout: 0.3s}}");
    let ringway = start(driver, &[sockets.address("app")], |setup| setup.yaml(policy));
    let mut client = ringway.client();
    for _ in 0..7 {
        assert_eq!(text(&mut client), "ok");
    }
    assert_eq!(origin.accepted(), 3);
    eventually("the last one rests too long", || (origin.open() == 0).then_some(()));
    counted(&ringway, "upstream_cx_idle_timeout", 1);
    drop(client);
    finish(ringway, origin);
}

fn keepalive_has_no_meaning_and_does_no_harm(driver: Driver) {
    let sockets = Sockets::new();
    let (origin, _) = slow(&sockets, "app", Duration::ZERO);
    let policy = rule("connectionPool: {tcp: {tcpKeepalive: {time: 90s, interval: 7s, probes: 4}}}");
    let ringway = start(driver, &[sockets.address("app")], |setup| setup.yaml(policy));
    let mut client = ringway.client();
    for _ in 0..3 {
        assert_eq!(text(&mut client), "ok");
    }
    assert_eq!(origin.accepted(), 1);
    drop(client);
    finish(ringway, origin);
}
