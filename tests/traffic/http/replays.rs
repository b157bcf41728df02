//! Bodies that are sent again: whole, in order, whatever the first origin did with them.

use std::time::Duration;

use super::{Bench, host, on_each_driver};
use crate::support::client::Client;
use crate::support::origin::{Origin, Peer};
use crate::support::ringway::Driver;

on_each_driver![
    a_body_is_sent_again_whole,
    a_body_is_sent_again_while_it_comes,
    what_nobody_reads_is_sent_again,
    what_is_too_large_flows_all_the_same,
    many_bodies_at_once_stay_apart,
];

const RETRIES: &str = "retries: {attempts: 2, retryOn: '5xx', perTryTimeout: 5s, backoff: 0.001s}";
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";

/// No two places of it look alike.
fn body(length: usize) -> Vec<u8> {
    (0_u32..).flat_map(|word| (word ^ 0xa5a5_0000).to_be_bytes()).take(length).collect()
}

fn head(framing: &str) -> String {
    format!("POST /again HTTP/1.1\r\nHost: again.example.com\r\n{framing}\r\n\r\n")
}

/// The message with this body, in one of two framings; chunks of sizes that share no divisor with any buffer's.
fn message(body: &[u8], chunked: bool) -> Vec<u8> {
    if !chunked {
        return [head(&format!("content-length: {}", body.len())).as_bytes(), body].concat();
    }
    let mut message = head("transfer-encoding: chunked").into_bytes();
    for (number, chunk) in body.chunks(9_973).enumerate() {
        message.extend_from_slice(format!("{:x};number={number}\r\n", chunk.len()).as_bytes());
        message.extend_from_slice(chunk);
        message.extend_from_slice(b"\r\n");
    }
    message.extend_from_slice(b"0\r\n\r\n");
    message
}

/// An origin that does with its first two tries as `fail` says, and then says 200.
fn third_time_lucky(fail: impl Fn(&mut Peer) -> std::io::Result<()> + Send + Sync + 'static) -> Origin {
    Origin::start(move |peer| {
        while let Some(head) = peer.head()? {
            if head.header("x-envoy-attempt-count") == Some("3") {
                peer.body(head)?;
                peer.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
            } else {
                return fail(peer);
            }
        }
        Ok(())
    })
}

/// Asserts that the last request at the origin has this body, and no other.
fn arrived(bench: &Bench, body: &[u8], what: &str) {
    let requests = bench.origin.take();
    let last = requests.last().unwrap_or_else(|| panic!("{what}: no request"));
    assert_eq!(last.header("x-envoy-attempt-count"), Some("3"), "{what}");
    assert_eq!(last.body.bytes.len(), body.len(), "{what}");
    assert!(last.body.bytes == body, "{what}: {} bytes, and other ones", body.len());
    assert!(last.body.complete, "{what}");
}

fn bench(driver: Driver, origin: Origin) -> Bench {
    Bench::with(driver, origin, |setup| setup.yaml(host("again", RETRIES)))
}

fn a_body_is_sent_again_whole(driver: Driver) {
    let origin = Origin::start(|peer| {
        while let Some(request) = peer.request()? {
            let lucky = request.header("x-envoy-attempt-count") == Some("3");
            peer.send(if lucky { "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" } else { BUSY })?;
        }
        Ok(())
    });
    let bench = bench(driver, origin);
    let mut client = bench.client();
    for length in [0, 1, 3_000, 16 * 1024, 16 * 1024 + 1, 100_000, 1 << 20] {
        for chunked in [false, true] {
            let what = format!("{length} bytes, chunked: {chunked}");
            let body = body(length);
            assert_eq!(client.ask(message(&body, chunked)).status, 200, "{what}");
            arrived(&bench, &body, &what);
        }
    }
    drop(client);
    bench.finish();
}

fn a_body_is_sent_again_while_it_comes(driver: Driver) {
    // The origin answers as soon as it has the head, and the client goes on afterwards.
    let bench = bench(driver, third_time_lucky(|peer| peer.send(BUSY)));
    for chunked in [false, true] {
        let body = body(300_000);
        let message = message(&body, chunked);
        let mut client = bench.client();
        for piece in message.chunks(40_000) {
            client.send(piece);
            std::thread::sleep(Duration::from_millis(3));
        }
        assert_eq!(client.response().status, 200);
        arrived(&bench, &body, &format!("chunked: {chunked}"));
    }
    bench.finish();
}

fn what_nobody_reads_is_sent_again(driver: Driver) {
    // The sockets' buffers do not take it all, so a piece is on its way out when the try ends.
    let bench = bench(
        driver,
        third_time_lucky(|peer| {
            let socket = socket2::SockRef::from(peer.stream()?);
            socket.set_recv_buffer_size(4096)?;
            std::thread::sleep(Duration::from_millis(100));
            peer.send(BUSY)?;
            peer.wait_closed_unread()
        }),
    );
    for chunked in [false, true] {
        let body = body(1_000_000);
        assert_eq!(bench.client().ask(message(&body, chunked)).status, 200);
        arrived(&bench, &body, &format!("chunked: {chunked}"));
    }
    bench.finish();
}

fn what_is_too_large_flows_all_the_same(driver: Driver) {
    let bench = bench(driver, Origin::replying(BUSY));
    for (chunked, length) in [(false, (1 << 20) + 1), (true, (1 << 20) + 1), (true, 5 << 20)] {
        let body = body(length);
        assert_eq!(bench.client().ask(message(&body, chunked)).status, 503);
        let requests = bench.origin.take();
        assert_eq!(requests.len(), 1, "it is not tried again");
        assert!(requests[0].body.bytes == body);
    }
    bench.ringway.quiet(); // they are counted at their end
    assert_eq!(bench.ringway.sum_of("retry_or_shadow_abandoned"), 3);
    bench.finish();
}

fn many_bodies_at_once_stay_apart(driver: Driver) {
    let origin = Origin::start(|peer| {
        while let Some(request) = peer.request()? {
            if request.header("x-envoy-attempt-count") == Some("1") {
                peer.send(BUSY)?;
                continue;
            }
            let sum = request.body.bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>().to_string();
            peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{sum}", sum.len()))?;
        }
        Ok(())
    });
    let bench = bench(driver, origin);
    let mut clients: Vec<Client> = (0..30).map(|_| bench.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(head("content-length: 60000"));
        client.send(vec![number as u8; 30_000]);
    }
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(vec![number as u8; 30_000]);
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.response().text(), (60_000 * number).to_string());
    }
    drop(clients);
    bench.finish();
}
