//! Clients and origins that leave, stall and send what nobody expects.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use super::tls::PASSTHROUGH;
use super::{entry, finish, gateway, on_each_driver, rules, serving};
use crate::support::client::{Client, reset};
use crate::support::origin::Origin;
use crate::support::ringway::{Driver, Ringway, Setup};
use crate::support::wait::eventually;

on_each_driver![
    a_hello_that_does_not_end,
    a_hello_that_is_too_long,
    a_client_that_leaves_inside_its_hello,
    ends_of_either_side_go_through,
    an_origin_that_resets,
    a_client_that_leaves_while_its_connect_is_under_way,
    a_client_that_resets_while_the_upstream_is_connected,
    it_drains,
];

/// The first bytes of a ClientHello in a record of 0x1fc bytes.
const BEGINNING: &[u8] = b"\x16\x03\x01\x01\xfc\x01\x00\x01\xf8\x03\x03";

fn by_name(origin: u16) -> [String; 3] {
    [
        gateway(443, "TLS", "[a.example.com]", PASSTHROUGH),
        rules(
            "v",
            "[a.example.com]",
            "[g]",
            "tls: [{match: [{sniHosts: [a.example.com]}], route: [{destination: {host: o.org}}]}]",
        ),
        entry("o.org", 443, "TLS", origin),
    ]
}

fn tcp(origin: u16) -> [String; 3] {
    [
        gateway(443, "TCP", "['*']", ""),
        rules("v", "['*']", "[g]", "tcp: [{route: [{destination: {host: o.org}}]}]"),
        entry("o.org", 9000, "TCP", origin),
    ]
}

fn a_hello_that_does_not_end(driver: Driver) {
    let setup = Setup::new(driver).gateway_ports(&[443]).limit("headersTimeout", "500ms");
    let ringway = setup.yaml(by_name(1).join("---\n")).start();
    for said in [&b""[..], BEGINNING] {
        let began = Instant::now();
        let mut client = Client::connect(ringway.listener(443));
        client.send(said);
        client.expect_closed();
        assert!(began.elapsed() >= Duration::from_millis(400), "{said:?}");
    }
    ringway.logged(&["\"- - -\" 0 NR filter_chain_not_found"]);
    finish(ringway);
}

fn a_hello_that_is_too_long(driver: Driver) {
    let ringway = serving(driver, &by_name(1));
    let mut client = Client::connect(ringway.listener(443));
    let record: Vec<u8> = [&[22, 3, 1, 0x3f, 0xff, 1, 0xff, 0xff, 0xff][..], &[0; 0x3fff - 4]].concat();
    for _ in 0..4 {
        if client.try_send(&record).is_err() {
            break;
        }
    }
    client.expect_closed();
    ringway.logged(&["\"- - -\" 0 NR filter_chain_not_found"]);
    finish(ringway);
}

fn a_client_that_leaves_inside_its_hello(driver: Driver) {
    let ringway = serving(driver, &by_name(1));
    let mut client = Client::connect(ringway.listener(443));
    client.send(BEGINNING);
    client.half_close();
    client.expect_closed();
    let mut client = Client::connect(ringway.listener(443));
    client.send(BEGINNING);
    client.reset();
    finish(ringway);
}

fn ends_of_either_side_go_through(driver: Driver) {
    let origin = Origin::start(|peer| {
        let mut stream = peer.stream()?.try_clone()?;
        let mut first = [0];
        stream.read_exact(&mut first)?;
        if first == *b"s" {
            // It has said all, and listens on.
            stream.write_all(b"greeting")?;
            stream.shutdown(std::net::Shutdown::Write)?;
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest)?;
            return Ok(());
        }
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest)?;
        stream.write_all(&rest)
    });
    let ringway = serving(driver, &tcp(origin.port()));
    let mut client = Client::connect(ringway.listener(443));
    client.send("cquestion");
    client.half_close();
    assert_eq!(client.rest(), b"question");
    let mut client = Client::connect(ringway.listener(443));
    client.send("s");
    assert_eq!(client.rest(), b"greeting");
    drop(client);
    let line = ringway.logged(&[" 9 8 ", "outbound|9000||o.org"]);
    assert!(line.contains("\"- - -\" 0 - - - \"-\" 9 8 "), "{line}");
    finish(ringway);
}

fn an_origin_that_resets(driver: Driver) {
    let origin = Origin::start(|peer| {
        peer.raw(1)?;
        reset(peer.stream()?.try_clone()?);
        Ok(())
    });
    let ringway = serving(driver, &tcp(origin.port()));
    let mut client = Client::connect(ringway.listener(443));
    client.send("x");
    let end = client.stream().try_clone().expect("a copy").read(&mut [0; 16]).map_err(|error| error.kind());
    assert_eq!(end, Err(std::io::ErrorKind::ConnectionReset));
    ringway.logged(&["\"- - -\" 0 UC ", "outbound|9000||o.org"]);
    finish(ringway);
}

/// An address of which nobody answers: a listener whose queue is full.
struct Silent {
    listener: socket2::Socket,
    _queued: Vec<std::net::TcpStream>,
    port: u16,
}

impl Silent {
    fn new() -> Self {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        listener.bind(&any.into()).expect("a port");
        listener.listen(0).expect("a queue");
        let address = listener.local_addr().expect("an address").as_socket().expect("IPv4");
        let mut queued = Vec::new();
        while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
            queued.push(stream);
        }
        Self { listener, _queued: queued, port: address.port() }
    }
}

/// Asserts that ringway is connecting, and waits until it does not any more: well before the connect timeout.
#[track_caller]
fn abandoned(ringway: &Ringway, cluster: &str, leave: impl FnOnce()) {
    let stat = |name| ringway.cluster_stat(cluster, name);
    eventually("a connect under way", || (stat("upstream_rq_pending_active") == 1).then_some(()));
    assert_eq!(stat("upstream_rq_active"), 0, "there is no connection yet");
    let began = Instant::now();
    leave();
    eventually("nobody waits for it any more", || (stat("upstream_rq_pending_active") == 0).then_some(()));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

fn a_client_that_leaves_while_its_connect_is_under_way(driver: Driver) {
    let silent = Silent::new();
    let documents = entry("db.example.com", 5432, "TCP", silent.port);
    let setup = Setup::new(driver).gateway_ports(&[]).mesh("REGISTRY_ONLY").mesh_config("connectTimeout", "15s");
    let ringway = setup.yaml(documents).start();
    let mut client = Client::connect(ringway.mesh());
    client.send("CONNECT db.example.com:5432 HTTP/1.1\r\nHost: x\r\n\r\n");
    abandoned(&ringway, "outbound|5432||db.example.com", || drop(client));
    let line = ringway.logged(&["CONNECT", " 0 DC downstream_remote_disconnect "]);
    assert!(line.contains(" outbound|5432||db.example.com "), "{line}");
    drop(silent.listener);
    finish(ringway);
}

fn a_client_that_resets_while_the_upstream_is_connected(driver: Driver) {
    let silent = Silent::new();
    let setup = Setup::new(driver).gateway_ports(&[443]).mesh_config("connectTimeout", "15s");
    let ringway = setup.yaml(tcp(silent.port).join("---\n")).start();
    let mut client = Client::connect(ringway.listener(443));
    client.send("hello");
    abandoned(&ringway, "outbound|9000||o.org", || client.reset());
    ringway.logged(&["\"- - -\" 0 DC ", "outbound|9000||o.org"]);
    drop(silent.listener);
    finish(ringway);
}

/// What is under way ends by itself; nothing new is taken.
fn it_drains(driver: Driver) {
    let origin = super::named_echo("x");
    let mut ringway = serving(driver, &tcp(origin.port()));
    let mut client = Client::connect(ringway.listener(443));
    assert_eq!(client.raw(1), b"x");
    ringway.process.signal(rustix::process::Signal::TERM);
    let address = ringway.listener(443);
    eventually("nobody listens", || Client::try_connect(address).is_err().then_some(()));
    client.send("still here");
    assert_eq!(client.raw(10), b"still here");
    client.half_close();
    client.expect_closed();
    let stopped = ringway.ended();
    assert!(!stopped.said.contains("panicked"), "{}", stopped.said);
}
