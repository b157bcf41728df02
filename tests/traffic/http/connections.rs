//! The life of connections: keep-alive and pipelining below, pools and their stale connections above.

use std::sync::Mutex;
use std::sync::mpsc::channel;

use super::{Bench, get, on_each_driver, says_path};
use crate::support::client::{Client, once};
use crate::support::origin::Origin;
use crate::support::ports;
use crate::support::ringway::{Driver, Setup};
use crate::support::wait::{PATIENCE, eventually};

on_each_driver![
    requests_share_connections,
    pipelined_requests_are_answered_in_order,
    a_request_may_come_byte_by_byte_or_cut_anywhere,
    a_response_may_come_byte_by_byte,
    a_closed_pooled_connection_is_not_used,
    a_pooled_connection_with_unasked_bytes_is_not_used,
    an_origin_that_says_close_is_left,
    an_http_1_0_origin_is_left,
    a_client_that_goes_takes_its_upstream_work_along,
    a_client_that_half_closes_is_gone,
    a_client_that_resets_is_gone,
    a_pipelined_request_does_not_look_like_a_client_gone,
    two_workers_both_serve,
    many_connections_at_once,
    a_port_at_all_addresses_and_at_one,
];

fn requests_share_connections(driver: Driver) {
    let bench = Bench::new(driver, says_path());
    let mut client = bench.client();
    for number in 0..10 {
        let path = format!("/{number}");
        let response = client.ask(get(&path));
        assert_eq!((response.status, response.text()), (200, path));
        assert_eq!(response.header("connection"), None);
    }
    drop(client);
    assert_eq!(bench.client().ask(get("/again")).text(), "/again");
    assert_eq!(bench.origin.accepted(), 1, "one upstream connection is enough for requests one after the other");
    assert_eq!(bench.ringway.origin_stat("upstream_cx_total"), 1);
    assert_eq!(bench.ringway.origin_stat("upstream_rq_total"), 11);
    bench.finish();
}

fn pipelined_requests_are_answered_in_order(driver: Driver) {
    let bench = Bench::new(driver, says_path());
    let mut client = bench.client();
    let paths: Vec<String> = (0..50).map(|number| format!("/{number}")).collect();
    client.send(paths.iter().map(|path| get(path)).collect::<String>());
    for path in &paths {
        assert_eq!(client.response().text(), *path);
    }
    drop(client);
    bench.finish();
}

fn a_request_may_come_byte_by_byte_or_cut_anywhere(driver: Driver) {
    let bench = Bench::new(driver, Origin::echo());
    let request = "POST /x HTTP/1.1\r\nHost: a.example.com\r\nTransfer-Encoding: chunked\r\n\r\n\
                   5;ext=1\r\nhello\r\n006\r\n world\r\n0\r\nx-trailer: 1\r\n\r\n";
    let mut client = bench.client();
    client.send_bytewise(request);
    assert_eq!(client.response().text(), "hello world");
    for at in 1..request.len() {
        client.send_split(request, at);
        assert_eq!(client.response().text(), "hello world", "cut at {at}");
    }
    drop(client);
    for request in bench.origin.requests() {
        assert_eq!(request.body.bytes, b"hello world");
        assert!(request.body.trailers.is_empty(), "trailers are dropped: {request:?}");
    }
    bench.finish();
}

fn a_response_may_come_byte_by_byte(driver: Driver) {
    let origin = Origin::start(|peer| {
        let replies = [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
        ];
        for reply in replies.iter().cycle() {
            if peer.request()?.is_none() {
                break;
            }
            peer.send_bytewise(reply)?;
        }
        Ok(())
    });
    let bench = Bench::new(driver, origin);
    let mut client = bench.client();
    for _ in 0..6 {
        assert_eq!(client.ask(get("/x")).text(), "hello");
    }
    drop(client);
    bench.finish();
}

fn a_closed_pooled_connection_is_not_used(driver: Driver) {
    let origin = Origin::start(|peer| {
        peer.request()?;
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok") // and closes, although it promised to stay
    });
    let bench = Bench::new(driver, origin);
    let mut client = bench.client();
    for _ in 0..20 {
        assert_eq!(client.ask(get("/x")).status, 200);
        eventually("the origin has closed", || (bench.origin.open() == 0).then_some(()));
    }
    assert_eq!(bench.origin.accepted(), 20);
    drop(client);
    bench.finish();
}

fn a_pooled_connection_with_unasked_bytes_is_not_used(driver: Driver) {
    let origin = Origin::start(|peer| {
        while peer.request()?.is_some() {
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison")?;
        }
        Ok(())
    });
    let bench = Bench::new(driver, origin);
    for number in 1..=10 {
        assert_eq!(bench.client().ask(get("/x")).text(), "ok");
        eventually("the connection is dropped", || (bench.origin.open() == 0).then_some(()));
        assert_eq!(bench.origin.accepted(), number);
    }
    bench.finish();
}

fn an_origin_that_says_close_is_left(driver: Driver) {
    let origin = Origin::start(|peer| {
        peer.request()?;
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")?;
        peer.wait_closed().map(drop) // ringway closes first
    });
    let bench = Bench::new(driver, origin);
    let mut client = bench.client();
    for _ in 0..3 {
        let response = client.ask(get("/x"));
        assert_eq!((response.status, response.header("connection")), (200, None), "downstream stays open");
    }
    eventually("left", || (bench.origin.open() == 0).then_some(()));
    assert_eq!(bench.origin.accepted(), 3);
    drop(client);
    bench.finish();
}

fn an_http_1_0_origin_is_left(driver: Driver) {
    let origin = Origin::start(|peer| {
        peer.request()?;
        peer.send("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
        peer.wait_closed().map(drop)
    });
    let bench = Bench::new(driver, origin);
    let mut client = bench.client();
    assert_eq!(client.ask(get("/x")).text(), "ok");
    assert_eq!(client.ask(get("/x")).text(), "ok");
    assert_eq!(bench.origin.accepted(), 2);
    drop(client);
    bench.finish();
}

/// An origin that takes one request a connection, never answers, and tells when the proxy has left.
fn silent() -> (Origin, std::sync::mpsc::Receiver<()>) {
    let (left, receiver) = channel();
    let left = Mutex::new(left);
    let origin = Origin::start(move |peer| {
        peer.request()?;
        peer.wait_closed()?;
        let _ = left.lock().expect("nobody panics while sending").send(()); // nobody listens after the test
        Ok(())
    });
    (origin, receiver)
}

/// Sends a request to a silent origin, lets `leave` end the client, and expects the upstream connection to end.
fn gone(driver: Driver, leave: impl FnOnce(Client) -> Option<Client>) {
    let (origin, left) = silent();
    let bench = Bench::new(driver, origin);
    let mut client = bench.client();
    client.send(get("/gone"));
    eventually("the request at the origin", || (!bench.origin.requests().is_empty()).then_some(()));
    let kept = leave(client);
    left.recv_timeout(PATIENCE).expect("the upstream connection ends with the client's");
    if let Some(mut client) = kept {
        client.expect_closed();
    }
    let line = bench.ringway.logged(&["GET /gone"]);
    assert!(line.contains("HTTP/1.1\" 0 DC downstream_remote_disconnect "), "{line}");
    bench.finish();
}

fn a_client_that_goes_takes_its_upstream_work_along(driver: Driver) {
    gone(driver, |client| {
        drop(client);
        None
    });
}

fn a_client_that_half_closes_is_gone(driver: Driver) {
    gone(driver, |client| {
        client.half_close();
        Some(client)
    });
}

fn a_client_that_resets_is_gone(driver: Driver) {
    gone(driver, |client| {
        client.reset();
        None
    });
}

fn a_pipelined_request_does_not_look_like_a_client_gone(driver: Driver) {
    let (release, released) = channel::<()>();
    let released = Mutex::new(released);
    let origin = Origin::start(move |peer| {
        while peer.request()?.is_some() {
            let _ = released.lock().expect("nobody panics while waiting").recv_timeout(PATIENCE); // the end of the test releases too
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
        }
        Ok(())
    });
    let bench = Bench::new(driver, origin);
    let mut client = bench.client();
    client.send(get("/1"));
    eventually("the first request at the origin", || (bench.origin.requests().len() == 1).then_some(()));
    client.send(get("/2")); // arrives while the first is in flight
    release.send(()).expect("the origin waits");
    assert_eq!(client.response().status, 200);
    release.send(()).expect("the origin waits");
    assert_eq!(client.response().status, 200);
    drop(release);
    drop(client);
    bench.finish();
}

fn two_workers_both_serve(driver: Driver) {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    assert!(cpus >= 2, "this test needs two CPUs");
    let bench = Bench::with(driver, says_path(), |setup| setup.cpus(&[0, 1]));
    // The kernel spreads connections by a hash: all of 64 on one worker has a chance of 2^-63.
    let mut clients: Vec<Client> = (0..64).map(|_| bench.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let path = format!("/{number}");
        assert_eq!(client.ask(get(&path)).text(), path);
    }
    for worker in 0..2 {
        let served = bench.ringway.sum_of(&format!("worker_{worker}.downstream_cx_total"));
        assert!(served > 0, "worker {worker} served nobody");
    }
    assert_eq!(bench.ringway.sum_of(".downstream_rq_total"), 64);
    drop(clients);
    bench.finish();
}

fn many_connections_at_once(driver: Driver) {
    let bench = Bench::new(driver, says_path());
    let mut clients: Vec<Client> = (0..300).map(|_| bench.client()).collect();
    for round in 0..3 {
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(get(&format!("/{round}/{number}")));
        }
        for (number, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.response().text(), format!("/{round}/{number}"));
        }
    }
    drop(clients);
    bench.finish();
}

/// Two listeners on one port: what comes to the address of the more exact one is its.
fn a_port_at_all_addresses_and_at_one(driver: Driver) {
    let port = ports::free();
    let gateway = |name: &str, bind: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: {name}}}\nspec:\n  servers: \
             [{{port: {{number: {port}, name: http, protocol: HTTP}}, bind: {bind}, hosts: ['*']}}]\n---\n\
             apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\nspec: {{hosts: ['*'], \
             gateways: [{name}], http: [{{directResponse: {{status: 200, body: {{string: {name}}}}}}}]}}\n"
        )
    };
    let documents = gateway("all", "0.0.0.0") + &gateway("one", "127.0.0.2");
    let ringway = Setup::new(driver).cpus(&[0, 1]).gateway_ports(&[]).yaml(documents).start();
    for (address, answers) in [([127, 0, 0, 1], "all"), ([127, 0, 0, 2], "one"), ([127, 0, 0, 3], "all")] {
        assert_eq!(once((address, port).into(), get("/")).text(), answers);
    }
    ringway.stop();
}
