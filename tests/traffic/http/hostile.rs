//! Origins and clients that do what they should not, at every moment: whatever it is, it ends, and nothing is left of it.
//! [`Bench::finish`] asserts the latter: no gauge above 0, no descriptor open.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::{Bench, get_of, host, on_each_driver};
use crate::support::client::Client;
use crate::support::origin::{Origin, Peer};
use crate::support::ringway::Driver;
use crate::support::wait::eventually;
use crate::support::yaml;

on_each_driver![
    origins_that_fail,
    origins_that_answer_too_early_or_too_much,
    clients_that_leave_while_the_upstream_thinks,
    clients_that_leave_during_a_back_off,
    clients_that_leave_while_a_connection_is_opened,
    clients_that_leave_with_their_body,
    a_client_that_sends_on_is_still_there,
];

/// A port whose listener accepts nothing and whose queue is full, so that a connect to it hangs; and what keeps it so.
pub(crate) fn full_listener() -> (u16, Vec<Socket>) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a free port");
    listener.listen(0).expect("listen");
    let address = listener.local_addr().expect("bound").as_socket().expect("an IPv4 address");
    let mut held = vec![listener];
    // Connects until one of them is not answered.
    for _ in 0..100 {
        let filler = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let hangs = filler.connect_timeout(&address.into(), Duration::from_millis(200)).is_err();
        held.push(filler);
        if hangs {
            return (address.port(), held);
        }
    }
    panic!("the queue of {address} never fills");
}

/// The routes that every failure meets: without and with retries, with and without an end.
fn routes(driver: Driver, origin: Origin) -> Bench {
    Bench::with(driver, origin, |setup| {
        setup
            .yaml(host("never", "timeout: 0.5s\n    retries: {attempts: 0}"))
            .yaml(host("default", "timeout: 0.5s"))
            .yaml(host("retried", "timeout: 0.5s\n    retries: {attempts: 2, retryOn: '5xx,reset', backoff: 0.001s}"))
            .yaml(host("each", "retries: {attempts: 2, perTryTimeout: 0.1s, retryOn: '5xx', backoff: 0.001s}"))
    })
}

const ROUTES: [&str; 4] = ["never", "default", "retried", "each"];

/// A GET, a POST in one piece and one that needs more than a buffer.
fn requests(name: &str) -> [Vec<u8>; 3] {
    let post = |length: usize| {
        let head = format!("POST /{name} HTTP/1.1\r\nHost: {name}.example.com\r\ncontent-length: {length}\r\n\r\n");
        [head.into_bytes(), vec![b'b'; length]].concat()
    };
    [get_of(name).into_bytes(), post(10), post(200_000)]
}

type Script = fn(&mut Peer) -> io::Result<()>;

/// Sends each request over each route to an origin that follows `script`, and calls `check` with the status (0 if there
/// was no answer) and whether the answer was whole.
fn each(driver: Driver, script: Script, check: impl Fn(u16, bool) -> bool) {
    let bench = routes(driver, Origin::start(script));
    for name in ROUTES {
        for request in requests(name) {
            let mut client = bench.client();
            let _ = client.try_send(&request); // refused half way: the answer is what counts
            let response = client.try_response_to(if request.starts_with(b"GET") { "GET" } else { "POST" });
            let (status, complete) = match response {
                Ok(Some(response)) => (response.status, response.body.complete),
                Ok(None) => (0, false),
                Err(error) => panic!("{name}: {error}"),
            };
            assert!(check(status, complete), "{name}, {} bytes: {status}, whole: {complete}", request.len());
        }
    }
    bench.finish();
}

fn origins_that_fail(driver: Driver) {
    let failed = |status: u16, _: bool| matches!(status, 502..=504);
    each(driver, |peer| peer.reset(), failed);
    each(driver, |_| Ok(()), failed);
    each(driver, |peer| peer.head().and_then(|_| peer.reset()), failed);
    each(driver, |peer| peer.request().and_then(|_| peer.reset()), failed);
    each(driver, |peer| peer.request().and_then(|_| peer.send("HTTP/1.1 200 OK\r\ncont")), failed);
    each(driver, |peer| peer.request().and_then(|_| peer.send("\0\0\0\0")), failed);
    let cut = |_: u16, complete: bool| !complete;
    each(
        driver,
        |peer| peer.request().and_then(|_| peer.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")),
        cut,
    );
    each(
        driver,
        |peer| {
            peer.request()?;
            peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n8\r\nhalf")?;
            peer.reset()
        },
        cut,
    );
}

fn origins_that_answer_too_early_or_too_much(driver: Driver) {
    let any = |status, _| matches!(status, 200 | 502..=504);
    // Before the body, and then nothing is read any more.
    each(
        driver,
        |peer| {
            peer.head()?;
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        },
        any,
    );
    each(
        driver,
        |peer| {
            peer.head()?;
            peer.send("HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")?;
            peer.wait_closed().map(drop)
        },
        |status, complete| status == 503 && complete,
    );
    // Before the request.
    each(
        driver,
        |peer| peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").and_then(|()| peer.wait_closed()).map(drop),
        any,
    );
    // Twice.
    each(
        driver,
        |peer| {
            while peer.request()?.is_some() {
                peer.send(
                    "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nko",
                )?;
            }
            Ok(())
        },
        |status, complete| status == 200 && complete,
    );
}

/// The ways in which a client leaves.
const WAYS: [fn(Client); 3] = [drop, Client::reset, |mut client| {
    client.half_close();
    client.expect_closed();
}];

/// For each way of leaving: sends `request`, waits until `there` sees it where it is to be, leaves, and waits until it is
/// gone from there.
fn leave(bench: &Bench, request: &[u8], there: impl Fn(&Bench) -> bool) {
    for way in WAYS {
        bench.origin.take();
        let mut client = bench.client();
        client.send(request);
        eventually("the request where it is to be", || there(bench).then_some(()));
        way(client);
        bench.ringway.quiet();
    }
}

fn clients_that_leave_while_the_upstream_thinks(driver: Driver) {
    let silent = Origin::start(|peer| {
        peer.request()?;
        peer.wait_closed().map(drop)
    });
    let retries = "timeout: 1000s\n    retries: {attempts: 5, perTryTimeout: 900s, retryOn: '5xx'}";
    let bench = Bench::with(driver, silent, |setup| setup.yaml(host("slow", retries)));
    for request in requests("slow") {
        leave(&bench, &request, |bench| !bench.origin.requests().is_empty());
        eventually("the origin left alone", || (bench.origin.open() == 0).then_some(()));
    }
    assert_eq!(bench.ringway.sum_of("upstream_rq_retry"), 0);
    for line in &bench.finish().log {
        assert!(line.contains(" 0 DC downstream_remote_disconnect "), "{line}");
    }
}

fn clients_that_leave_during_a_back_off(driver: Driver) {
    // Of a wait below 10,000 s, less than the test takes has a chance of about a thousandth.
    let busy = Origin::replying("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
    let retries = "retries: {attempts: 1, retryOn: '5xx', backoff: 10000s}";
    let bench = Bench::with(driver, busy, |setup| setup.yaml(host("busy", retries)));
    for request in requests("busy") {
        leave(&bench, &request, |bench| {
            let waits = |gauge: &str| bench.ringway.sum_of(gauge) == 0;
            bench.origin.requests().len() == 1 && waits(".upstream_rq_active") && !waits(".downstream_rq_active")
        });
    }
    assert_eq!(bench.ringway.sum_of(".upstream_rq_retry"), 0);
    for line in &bench.finish().log {
        assert!(line.contains(" 0 DC downstream_remote_disconnect "), "{line}");
    }
}

fn clients_that_leave_while_a_connection_is_opened(driver: Driver) {
    let (full, _held) = full_listener();
    let to = host("full", "timeout: 1000s").replace("host: origin", "host: full.internal");
    let yaml = to + "---\n" + &yaml::service_entry_at("full.internal", &[full]);
    let bench = Bench::with(driver, super::says_path(), |setup| setup.yaml(yaml));
    leave(&bench, get_of("full").as_bytes(), |bench| bench.ringway.sum_of("upstream_rq_pending_active") == 1);
    assert_eq!(bench.ringway.sum_of("upstream_rq_cancelled"), WAYS.len() as u64);
    for line in &bench.finish().log {
        assert!(line.contains(" 0 DC downstream_remote_disconnect "), "{line}");
    }
}

fn clients_that_leave_with_their_body(driver: Driver) {
    let origin = Origin::start(|peer| {
        peer.head()?;
        peer.send("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")?;
        peer.wait_closed().map(drop)
    });
    let bench = routes(driver, origin);
    for name in ROUTES {
        let half = format!("POST /{name} HTTP/1.1\r\nHost: {name}.example.com\r\ncontent-length: 9\r\n\r\nhalf");
        let ways: [fn(Client); 3] = [drop, Client::reset, |mut client| {
            client.half_close();
            client.rest(); // the answer, if it was quicker
        }];
        for way in ways {
            let mut client = bench.client();
            client.send(&half);
            way(client);
        }
    }
    bench.finish();
}

fn a_client_that_sends_on_is_still_there(driver: Driver) {
    let busy = Origin::start(|peer| {
        while let Some(request) = peer.request()? {
            let first = request.header("x-envoy-attempt-count") == Some("1");
            peer.send(if first {
                "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
            } else {
                "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
            })?;
        }
        Ok(())
    });
    let retries = "retries: {attempts: 1, retryOn: '5xx', backoff: 0.05s}";
    let bench = Bench::with(driver, busy, |setup| setup.yaml(host("busy", retries)));
    let mut client = bench.client();
    // The next requests come while the one before backs off.
    for _ in 0..20 {
        client.send(get_of("busy"));
        std::thread::sleep(Duration::from_millis(2));
    }
    for _ in 0..20 {
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(bench.ringway.sum_of(".upstream_rq_retry"), 20);
    drop(client);
    bench.finish();
}
