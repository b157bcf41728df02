//! Circuit breakers over secured connections: the limits hold over all workers, nobody waits in vain, and what one worker
//! has agreed on with an origin stays with that worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{Bench, Files, HOST, get, on_each_driver};
use crate::https::{Authority, Tls};
use crate::support::origin::Origin;
use crate::support::ringway::Driver;
use crate::support::wait::{eventually, within};
use crate::support::yaml;

on_each_driver![limits_are_exact_over_two_workers, a_connection_is_closed_for_another_worker];

/// What an origin saw at most at one moment.
#[derive(Default)]
struct Most {
    open: AtomicUsize,
    connections: AtomicUsize,
    busy: AtomicUsize,
    requests: AtomicUsize,
}

/// An origin that takes so long for each answer.
fn watched(tls: &Tls, work: Duration) -> (Origin, Arc<Most>) {
    let most = Arc::new(Most::default());
    let seen = most.clone();
    let origin = tls.origin(move |peer| {
        seen.open.fetch_add(1, Ordering::SeqCst);
        // The end of another one may still be on its way; one that is really open stays so.
        let more = || seen.open.load(Ordering::SeqCst) > seen.connections.load(Ordering::SeqCst);
        within(Duration::from_millis(50), || (!more()).then_some(()));
        seen.connections.fetch_max(seen.open.load(Ordering::SeqCst), Ordering::SeqCst);
        let served = (|| {
            while peer.request()?.is_some() {
                let busy = seen.busy.fetch_add(1, Ordering::SeqCst) + 1;
                seen.requests.fetch_max(busy, Ordering::SeqCst);
                std::thread::sleep(work);
                seen.busy.fetch_sub(1, Ordering::SeqCst);
                peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
            }
            Ok(())
        })();
        seen.open.fetch_sub(1, Ordering::SeqCst);
        served
    });
    (origin, most)
}

fn bench(driver: Driver, origin: Origin, (files, authority): (&Files, &Authority), limit: usize) -> Bench {
    Bench::with(driver, origin, |setup| {
        let tls = format!("{{mode: SIMPLE, {}}}", files.trust(authority));
        let pool = format!("{{tcp: {{maxConnections: {limit}}}}}");
        setup.cpus(&[0, 1]).yaml(yaml::policy("origin", &format!("tls: {tls}, connectionPool: {pool}")))
    })
}

fn limits_are_exact_over_two_workers(driver: Driver) {
    const CALLS: usize = 25;
    let (files, authority) = (Files::new(), Authority::new("ca"));
    let own = authority.issue(&[HOST]);
    for limit in 1..=2 {
        let tls = Tls::new(&own);
        let (origin, most) = watched(&tls, Duration::from_millis(5));
        let bench = bench(driver, origin, (&files, &authority), limit);
        // At least one on each worker, and four more wherever the kernel puts them.
        let clients = bench.ringway.client_of_each_worker().into_iter().chain((0..4).map(|_| bench.client()));
        std::thread::scope(|scope| {
            for mut client in clients {
                scope.spawn(move || {
                    for _ in 0..CALLS {
                        assert_eq!(client.ask(get("/x")).status, 200, "nobody is refused");
                    }
                });
            }
        });
        assert_eq!(bench.origin.requests().len(), 6 * CALLS);
        let (connections, requests) = (most.connections.load(Ordering::SeqCst), most.requests.load(Ordering::SeqCst));
        assert_eq!((connections, requests), (limit, limit));
        // An answer is counted a moment after it has arrived.
        eventually("all of them counted", || (bench.stat("upstream_rq_200") == 6 * CALLS as u64).then_some(()));
        assert_eq!(bench.stat("upstream_rq_pending_overflow"), 0);
        assert_eq!(
            bench.stat("ssl.handshake"),
            bench.stat("upstream_cx_total"),
            "every connection agreed on its own keys"
        );
        assert_eq!(tls.failures(), <[String; 0]>::default());
        bench.finish();
    }
}

/// Bytes that one worker has decrypted already, and keys that it alone knows, cannot be handed on with a socket.
fn a_connection_is_closed_for_another_worker(driver: Driver) {
    let (files, authority) = (Files::new(), Authority::new("ca"));
    let tls = Tls::new(&authority.issue(&[HOST]));
    let (origin, most) = watched(&tls, Duration::ZERO);
    let bench = bench(driver, origin, (&files, &authority), 1);
    let mut clients = bench.ringway.client_of_each_worker();
    for number in 0..10 {
        for _ in 0..2 {
            assert_eq!(clients[number % 2].ask(get("/x")).status, 200);
        }
    }
    assert_eq!((most.connections.load(Ordering::SeqCst), most.requests.load(Ordering::SeqCst)), (1, 1));
    assert_eq!(tls.seen().len(), 10, "one for each turn of a worker, used twice");
    assert!(tls.seen().iter().skip(1).all(|seen| seen.resumed), "{:?}", tls.seen());
    assert_eq!((bench.stat("upstream_cx_total"), bench.stat("upstream_cx_active")), (10, 1));
    assert_eq!(bench.stat("upstream_cx_destroy_local"), 9);
    drop(clients);
    bench.finish();
}
