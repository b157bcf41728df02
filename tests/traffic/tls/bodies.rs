//! Bodies in records: whole, large, in pieces of any size, and cut.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{Bench, Files, HOST, get, on_each_driver};
use crate::https::{Authority, Tls};
use crate::support::ringway::Driver;
use crate::support::wait::eventually;

on_each_driver![
    large_bodies_both_ways,
    bytes_arrive_as_they_were_sent,
    a_body_that_ends_with_the_connection_needs_a_goodbye,
    a_cut_body_is_told_from_a_whole_one,
    a_body_is_sent_again,
    an_upgraded_connection_is_a_tunnel,
];

fn bench(driver: Driver, script: impl FnOnce(&Tls) -> crate::support::origin::Origin) -> Bench {
    let (files, authority) = (Files::new(), Authority::new("ca"));
    let tls = Tls::new(&authority.issue(&[HOST]));
    Bench::new(driver, script(&tls), &format!("mode: SIMPLE, {}", files.trust(&authority)))
}

/// Bytes that show when some are missing, doubled or out of place.
fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn large_bodies_both_ways(driver: Driver) {
    let bench = bench(driver, Tls::echo);
    let body = bytes(8 << 20);
    let mut client = bench.client();
    for _ in 0..2 {
        client.send(post("/x", &body));
        let response = client.response();
        assert_eq!(response.status, 200);
        assert!(response.body.complete && response.body.bytes == body);
    }
    drop(client);
    assert_eq!(bench.origin.accepted(), 1);
    bench.finish();
}

/// Answers with the body of the request, in records of the lengths that the path says: `/1-16384-7`.
fn echo_in_pieces(tls: &Tls) -> crate::support::origin::Origin {
    tls.origin(|peer| {
        while let Some(request) = peer.request()? {
            let path = request.line().split(' ').nth(1).unwrap_or_default().to_owned();
            let lengths: Vec<usize> = path[1..].split('-').filter_map(|length| length.parse().ok()).collect();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", request.body.bytes.len());
            peer.send_in(&[head.as_bytes(), &request.body.bytes].concat(), &lengths)?;
        }
        Ok(())
    })
}

fn bytes_arrive_as_they_were_sent(driver: Driver) {
    let bench = bench(driver, echo_in_pieces);
    let piece = prop_oneof![1..8usize, 1..2000usize, 16_000..17_000usize, 1..70_000usize];
    let pieces = || proptest::collection::vec(piece.clone(), 1..6);
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let cases = (pieces(), pieces(), 0..150_000usize);
    let done = runner.run(&cases, |(sent, answered, length)| {
        let body = bytes(length.min(4000 * answered.iter().min().copied().unwrap_or(1)));
        let path: Vec<String> = answered.iter().map(usize::to_string).collect();
        let request = post(&format!("/{}", path.join("-")), &body);
        let mut client = bench.client();
        let mut rest = request.as_slice();
        for length in sent.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            // Few pieces: each one is a segment of its own.
            let (piece, behind) = rest.split_at((*length).max(request.len() / 50).clamp(1, rest.len()));
            client.send(piece);
            rest = behind;
        }
        let response = client.response();
        prop_assert_eq!(response.status, 200);
        prop_assert!(response.body.complete);
        prop_assert!(response.body.bytes == body, "{} bytes became {}", body.len(), response.body.bytes.len());
        Ok(())
    });
    done.unwrap_or_else(|error| panic!("{error}"));
    bench.finish();
}

fn a_body_that_ends_with_the_connection_needs_a_goodbye(driver: Driver) {
    for (quietly, details) in [(false, "via_upstream"), (true, "upstream_reset_after_response_started{protocol_error}")]
    {
        let bench = bench(driver, |tls| {
            tls.origin(move |peer| {
                peer.request()?;
                if quietly {
                    peer.leave_quietly();
                }
                peer.send("HTTP/1.1 200 OK\r\n\r\nall there is")
            })
        });
        let mut client = bench.client();
        client.send(get("/x"));
        let response = client.response();
        assert_eq!((response.status, response.text().as_str()), (200, "all there is"));
        assert_eq!(response.body.complete, !quietly, "without a goodbye somebody else may have cut it");
        bench.ringway.logged(&[details]);
        drop(client);
        bench.finish();
    }
}

fn a_cut_body_is_told_from_a_whole_one(driver: Driver) {
    for (quietly, head) in
        [(false, "content-length: 20"), (true, "content-length: 20"), (false, "transfer-encoding: chunked")]
    {
        let bench = bench(driver, move |tls| {
            tls.origin(move |peer| {
                peer.request()?;
                if quietly {
                    peer.leave_quietly();
                }
                peer.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nhello\r\n"))
            })
        });
        let mut client = bench.client();
        client.send(get("/x"));
        let response = client.response();
        assert!(!response.body.complete, "{response:?}");
        bench.ringway.logged(&["200 UPE upstream_reset_after_response_started{protocol_error}"]);
        drop(client);
        assert_eq!(bench.stat("upstream_cx_protocol_error"), 1);
        bench.finish();
    }
}

fn a_body_is_sent_again(driver: Driver) {
    // The first connection takes the request and leaves; the body is kept and sent once more.
    let (files, authority) = (Files::new(), Authority::new("ca"));
    let tls = Tls::new(&authority.issue(&[HOST]));
    let origin = tls.origin(|peer| {
        while let Some(request) = peer.request()? {
            if peer.number() == 0 {
                return Ok(());
            }
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", request.body.bytes.len());
            peer.send([head.as_bytes(), &request.body.bytes].concat())?;
        }
        Ok(())
    });
    let bench = Bench::with(driver, origin, |setup| {
        let retrying = "retries: {attempts: 2, retryOn: reset}";
        setup.yaml(super::rule(&format!("mode: SIMPLE, {}", files.trust(&authority)))).yaml(format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: again}}\nspec:\n  hosts: \
             [{HOST}]\n  gateways: [edge]\n  http:\n  - {retrying}\n    route: [{{destination: {{host: origin}}}}]\n"
        ))
    });
    let body = bytes(200_000);
    let response = {
        let mut client = bench.client();
        client.send(post("/x", &body));
        client.response()
    };
    assert_eq!(response.status, 200);
    assert!(response.body.bytes == body);
    let bodies: Vec<_> = bench.origin.requests().into_iter().map(|request| request.body.bytes == body).collect();
    assert_eq!(bodies, [true, true]);
    bench.finish();
}

fn an_upgraded_connection_is_a_tunnel(driver: Driver) {
    let bench = bench(driver, |tls| {
        tls.origin(|peer| {
            peer.request()?;
            peer.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello")?;
            let said = peer.raw(6)?;
            peer.send([b"you said ", said.as_slice()].concat())
        })
    });
    let mut client = bench.client();
    client.send(format!("GET /x HTTP/1.1\r\nHost: {HOST}\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"));
    assert_eq!(client.response().status, 101);
    assert_eq!(client.raw(5), b"hello");
    client.send("secret");
    assert_eq!(client.rest(), b"you said secret");
    drop(client);
    eventually("the end of the tunnel", || (bench.ringway.sum_of("upgrades_active") == 0).then_some(()));
    bench.finish();
}
