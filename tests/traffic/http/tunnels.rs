//! WebSocket: after the 101 the proxy is two pipes.

use std::io::Write;

use super::{Bench, get, on_each_driver};
use crate::support::client::Client;
use crate::support::message::{Body, Framing};
use crate::support::origin::{Origin, Peer};
use crate::support::ringway::Driver;
use crate::support::wait::eventually;

on_each_driver![
    bytes_go_both_ways,
    bytes_sent_along_with_the_upgrade_arrive,
    bytes_are_counted_from_the_first,
    the_end_of_either_side_ends_the_other,
    an_origin_may_refuse,
    another_upgrade_is_refused,
];

const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: a.example.com\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Takes the upgrade, then does as `then` says.
fn upgraded(then: impl Fn(&mut Peer) -> std::io::Result<()> + Send + Sync + 'static) -> Origin {
    Origin::start(move |peer| {
        let Some(head) = peer.head()? else { return Ok(()) };
        let none = Body { bytes: Vec::new(), framing: Framing::None, complete: true, trailers: Vec::new() };
        peer.record(head, none);
        peer.send(SWITCH)?;
        then(peer)
    })
}

/// Sends back what comes, a byte at a time.
fn echo(peer: &mut Peer) -> std::io::Result<()> {
    loop {
        let bytes = peer.raw(1)?;
        if bytes.is_empty() {
            return Ok(());
        }
        peer.send(bytes)?;
    }
}

#[track_caller]
fn open(bench: &Bench) -> Client {
    let mut client = bench.client();
    let response = client.ask(UPGRADE);
    assert_eq!(response.status, 101);
    assert_eq!(response.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert!(response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")));
    assert!(response.header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")));
    client
}

fn bytes_go_both_ways(driver: Driver) {
    const SIZE: usize = 300_000;
    let bench = Bench::new(driver, upgraded(echo));
    let mut client = open(&bench);
    let sent: Vec<u8> = (0..SIZE).map(|at| (at % 251) as u8).collect();
    let writer = std::thread::spawn({
        let (mut stream, sent) = (client.stream().try_clone().expect("a copy of a socket"), sent.clone());
        move || stream.write_all(&sent)
    });
    let received = client.raw(SIZE);
    writer.join().expect("no panic").expect("the bytes are taken");
    assert!(received == sent, "the bytes that came back differ");
    let asked = &bench.origin.requests()[0];
    assert!(asked.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")), "{asked:?}");
    assert!(asked.header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")), "{asked:?}");
    drop(client);
    let line = bench.ringway.logged(&["GET /ws"]);
    assert!(line.contains("\" 101 "), "{line}");
    bench.finish();
}

fn bytes_sent_along_with_the_upgrade_arrive(driver: Driver) {
    let bench = Bench::new(driver, upgraded(echo));
    let mut client = bench.client();
    client.send(format!("{UPGRADE}early"));
    assert_eq!(client.response().status, 101);
    assert_eq!(client.raw(5), b"early");
    drop(client);
    bench.finish();
}

fn bytes_are_counted_from_the_first(driver: Driver) {
    let bench = Bench::new(
        driver,
        Origin::start(|peer| {
            let Some(head) = peer.head()? else { return Ok(()) };
            let none = Body { bytes: Vec::new(), framing: Framing::None, complete: true, trailers: Vec::new() };
            peer.record(head, none);
            peer.send(format!("{SWITCH}hello"))?;
            echo(peer)
        }),
    );
    let mut client = open(&bench);
    assert_eq!(client.raw(5), b"hello", "it comes along with the 101");
    client.send("1234567");
    assert_eq!(client.raw(7), b"1234567");
    drop(client);
    let line = bench.ringway.logged(&["GET /ws"]);
    assert!(line.contains(r#" 101 DC downstream_remote_disconnect - "-" 7 12 "#), "{line}");
    bench.finish();
}

fn the_end_of_either_side_ends_the_other(driver: Driver) {
    let bench = Bench::new(driver, upgraded(|peer| peer.send("bye")));
    let mut client = open(&bench);
    assert_eq!(client.rest(), b"bye", "the origin's last bytes come before the end");
    drop(client);
    bench.finish();

    let bench = Bench::new(driver, upgraded(echo));
    drop(open(&bench));
    eventually("the origin's side ended", || (bench.origin.open() == 0).then_some(()));
    bench.finish();
}

fn an_origin_may_refuse(driver: Driver) {
    let origin = Origin::replying("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno");
    let bench = Bench::new(driver, origin);
    let mut client = bench.client();
    let response = client.ask(UPGRADE);
    assert_eq!((response.status, response.text()), (403, "no".to_owned()));
    drop(client);
    bench.finish();
}

fn another_upgrade_is_refused(driver: Driver) {
    let bench = Bench::new(driver, Origin::replying("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"));
    let mut client = bench.client();
    let response = client.ask(get("/x").replace("\r\n\r\n", "\r\nConnection: Upgrade\r\nUpgrade: tea\r\n\r\n"));
    assert_eq!((response.status, response.text()), (403, String::new()));
    client.expect_closed();
    drop(client);
    assert!(bench.origin.requests().is_empty());
    bench.finish();
}
