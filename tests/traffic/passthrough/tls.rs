//! A Gateway's TLS servers with PASSTHROUGH.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::{entry, finish, gateway, on_each_driver, rules, serving};
use crate::https::{Authority, Tls};
use crate::support::client::Client;
use crate::support::ports;
use crate::support::ringway::{Driver, Ringway, Setup};
use crate::support::wait::eventually;

on_each_driver![
    the_server_name_chooses,
    no_rule_has_the_name,
    a_hello_in_many_records,
    shares_are_drawn_for_each_connection,
    an_upstream_that_refuses,
    nobody_is_there,
    limits_of_connections,
    connections_end_by_rest_and_by_age,
    a_reload_moves_new_connections_alone,
    explained_and_shown,
];

pub(crate) const PASSTHROUGH: &str = ", tls: {mode: PASSTHROUGH}";

/// What an authority vouches for, for a client that asks for `name`.
struct Trusting(Arc<ClientConfig>);

impl Trusting {
    fn new(authority: &Authority) -> Self {
        use rustls::pki_types::pem::PemObject;
        let der = rustls::pki_types::CertificateDer::from_pem_slice(authority.pem.as_bytes()).expect("a certificate");
        let mut roots = RootCertStore::empty();
        roots.add(der).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        Self(Arc::new(builder.expect("versions").with_root_certificates(roots).with_no_client_auth()))
    }

    /// The answer to a request over a connection of its own, from its status line on.
    fn ask(&self, ringway: &Ringway, name: &str, body: &str) -> std::io::Result<String> {
        let stream = TcpStream::connect(ringway.listener(443))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let server = ServerName::try_from(name.to_owned()).expect("a name");
        let connection = ClientConnection::new(self.0.clone(), server).expect("a client");
        let mut tls = StreamOwned::new(connection, stream);
        write!(tls, "POST / HTTP/1.1\r\nHost: {name}\r\ncontent-length: {}\r\n\r\n{body}", body.len())?;
        let mut answer = vec![0; 1024];
        let mut length = 0;
        while !String::from_utf8_lossy(&answer[..length]).ends_with(body) {
            match tls.read(&mut answer[length..])? {
                0 => break,
                n => length += n,
            }
        }
        Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
    }
}

fn to(host: &str) -> String {
    format!("route: [{{destination: {{host: {host}}}}}]")
}

fn the_server_name_chooses(driver: Driver) {
    let authority = Authority::new("all");
    let origins: Vec<(Tls, _)> = ["a.example.com", "b.example.com", "*.example.com"]
        .map(|name| {
            let tls = Tls::new(&authority.issue(&[name]));
            let origin = tls.echo();
            (tls, origin)
        })
        .into();
    let mut documents = vec![
        gateway(443, "TLS", "['*.example.com']", PASSTHROUGH),
        rules(
            "by-name",
            "['*.example.com']",
            "[g]",
            &format!(
                "tls: [{{match: [{{sniHosts: ['*.example.com']}}], {}}}, {{match: [{{port: 443, sniHosts: [a.example.com]}}, {{port: 444, \
                 sniHosts: [c.example.com]}}], {}}}, {{match: [{{sniHosts: [b.example.com]}}], {}}}]",
                to("rest.example.org"),
                to("a.example.org"),
                to("b.example.org")
            ),
        ),
    ];
    for (host, (_, origin)) in ["a.example.org", "b.example.org", "rest.example.org"].iter().zip(&origins) {
        documents.push(entry(host, 443, "TLS", origin.port()));
    }
    let ringway = serving(driver, &documents);
    let client = Trusting::new(&authority);
    for (name, origin) in [("a.example.com", 0), ("b.example.com", 1), ("c.example.com", 2), ("A.EXAMPLE.com", 0)] {
        let before = origins[origin].0.seen().len();
        let answer = client.ask(&ringway, name, "hello").expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("hello"), "{name}: {answer}");
        eventually(name, || (origins[origin].0.seen().len() == before + 1).then_some(()));
    }
    let line = ringway.logged(&[" b.example.com "]);
    assert!(line.starts_with('[') && line.contains("] \"- - -\" 0 - - - \"-\" "), "{line}");
    assert!(line.contains(&format!("\"127.0.0.1:{}\" outbound|443||b.example.org ", origins[1].1.port())), "{line}");
    assert_eq!(ringway.stat("tcp.outbound|443||a.example.org.downstream_cx_total"), 2);
    finish(ringway);
}

/// A Gateway for `a.example.com` alone, whose connections go to this port.
fn one_name(protocol: &str, port: u16) -> [String; 3] {
    let tls = format!("tls: [{{match: [{{sniHosts: [a.example.com]}}], {}}}]", to("o.org"));
    [
        gateway(443, protocol, "[a.example.com]", PASSTHROUGH),
        rules("v", "[a.example.com]", "[g]", &tls),
        entry("o.org", 443, "TLS", port),
    ]
}

fn no_rule_has_the_name(driver: Driver) {
    let authority = Authority::new("all");
    let tls = Tls::new(&authority.issue(&["a.example.com"]));
    let origin = tls.echo();
    let documents = one_name("HTTPS", origin.port());
    let ringway = serving(driver, &documents);
    let client = Trusting::new(&authority);
    assert!(client.ask(&ringway, "b.example.com", "x").is_err());
    let line = ringway.logged(&[" b.example.com "]);
    assert!(line.contains("\"- - -\" 0 NR filter_chain_not_found - \"-\" 0 0 "), "{line}");
    // An address is no server name, and neither is HTTP.
    assert!(client.ask(&ringway, "127.0.0.1", "x").is_err());
    let mut plain = Client::connect(ringway.listener(443));
    plain.send("GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n");
    plain.expect_closed();
    let listener = ringway.listener(443);
    let name = format!("listener.{}_{}.no_filter_chain_match", listener.ip(), listener.port());
    eventually("all are counted", || (ringway.stat(&name) == 3).then_some(()));
    assert_eq!(origin.accepted(), 0);
    assert!(client.ask(&ringway, "a.example.com", "x").is_ok());
    finish(ringway);
}

fn a_hello_in_many_records(driver: Driver) {
    let authority = Authority::new("all");
    let tls = Tls::new(&authority.issue(&["a.example.com"]));
    let origin = tls.echo();
    let documents = one_name("TLS", origin.port());
    let ringway = serving(driver, &documents);
    let server = ServerName::try_from("a.example.com").expect("a name");
    let mut connection = ClientConnection::new(Trusting::new(&authority).0, server).expect("a client");
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).expect("a hello");
    // Records of seven bytes, over segments that end inside them.
    let content = &hello[5..];
    let records: Vec<u8> =
        content.chunks(7).flat_map(|piece| [&[22, 3, 1, 0, piece.len() as u8][..], piece].concat()).collect();
    let mut stream = TcpStream::connect(ringway.listener(443)).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    for piece in records.chunks(100) {
        stream.write_all(piece).expect("a piece");
        std::thread::yield_now();
    }
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).expect("a handshake");
    }
    let seen = eventually("the other side of the handshake", || tls.seen().pop());
    assert_eq!(seen.sni.as_deref(), Some("a.example.com"));
    drop(stream);
    ringway.logged(&[" a.example.com "]);
    finish(ringway);
}

/// 90 to 10 over 400 connections; the bound is 5 standard deviations of a binomial.
fn shares_are_drawn_for_each_connection(driver: Driver) {
    const CONNECTIONS: usize = 400;
    let (one, two) = (super::named_echo("1"), super::named_echo("2"));
    let documents = [
        gateway(443, "TCP", "['*']", ""),
        rules(
            "split",
            "['*']",
            "[g]",
            "tcp: [{match: [{port: 443}], route: [{destination: {host: one.org}, weight: 90}, {destination: {host: two.org}, \
             weight: 10}, {destination: {host: none.org}, weight: 0}]}]",
        ),
        entry("one.org", 9000, "TCP", one.port()),
        entry("two.org", 9000, "TCP", two.port()),
        entry("none.org", 9000, "TCP", ports::free()),
    ];
    let ringway = serving(driver, &documents);
    let first: Vec<u8> = (0..CONNECTIONS).map(|_| Client::connect(ringway.listener(443)).raw(1)[0]).collect();
    let ones = first.iter().filter(|byte| **byte == b'1').count() as f64;
    let bound = 5.0 * (CONNECTIONS as f64 * 0.9 * 0.1).sqrt();
    assert!((ones - CONNECTIONS as f64 * 0.9).abs() < bound, "{ones} of {CONNECTIONS}");
    // One name for all of its destinations, as Istio has it.
    assert_eq!(ringway.stat("tcp.split.default.downstream_cx_total"), CONNECTIONS as u64);
    let cluster = |name: &str| ringway.stat(&format!("cluster.outbound|9000||{name}.upstream_cx_total"));
    assert_eq!((cluster("one.org"), cluster("one.org") + cluster("two.org")), (ones as u64, CONNECTIONS as u64));
    finish(ringway);
}

fn an_upstream_that_refuses(driver: Driver) {
    let refusing = ports::free();
    let documents = [
        gateway(443, "TCP", "['*']", ""),
        rules("v", "['*']", "[g]", "tcp: [{route: [{destination: {host: o.org}}]}]"),
        entry("o.org", 9000, "TCP", refusing),
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: d}\nspec: {host: o.org, trafficPolicy: \
         {outlierDetection: {consecutive5xxErrors: 2, maxEjectionPercent: 100, baseEjectionTime: 1h}}}\n"
            .to_owned(),
    ];
    let ringway = serving(driver, &documents);
    for _ in 0..2 {
        Client::connect(ringway.listener(443)).expect_closed();
    }
    let line = ringway.logged(&["outbound|9000||o.org"]);
    assert!(line.contains("\"- - -\" 0 URX,UF - - \"delayed_connect_error:_Connection_refused\" 0 0 "), "{line}");
    assert!(line.contains(&format!("\"127.0.0.1:{refusing}\" outbound|9000||o.org ")), "{line}");
    // Failed connects are failures of the endpoint, and it has had its share of them.
    Client::connect(ringway.listener(443)).expect_closed();
    ringway.logged(&["\"- - -\" 0 UH ", "outbound|9000||o.org"]);
    assert_eq!(ringway.stat("cluster.outbound|9000||o.org.upstream_cx_connect_fail"), 2);
    assert_eq!(ringway.stat("cluster.outbound|9000||o.org.outlier_detection.ejections_active"), 1);
    finish(ringway);
}

fn nobody_is_there(driver: Driver) {
    let documents = [
        gateway(443, "TCP", "['*']", ""),
        rules("v", "['*']", "[g]", "tcp: [{route: [{destination: {host: nobody.org, port: {number: 1}}}]}]"),
    ];
    let ringway = serving(driver, &documents);
    Client::connect(ringway.listener(443)).expect_closed();
    ringway.logged(&["\"- - -\" 0 NC "]);
    assert_eq!(ringway.stat("tcp.outbound|1||nobody.org.downstream_cx_no_route"), 1);
    finish(ringway);
}

fn limits_of_connections(driver: Driver) {
    let origin = super::named_echo("x");
    let documents = [
        gateway(443, "TCP", "['*']", ""),
        rules("v", "['*']", "[g]", "tcp: [{route: [{destination: {host: o.org}}]}]"),
        entry("o.org", 9000, "TCP", origin.port()),
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: d}\nspec: {host: o.org, trafficPolicy: \
         {connectionPool: {tcp: {maxConnections: 1}}}}\n"
            .to_owned(),
    ];
    let ringway = serving(driver, &documents);
    let mut first = Client::connect(ringway.listener(443));
    assert_eq!(first.raw(1), b"x");
    Client::connect(ringway.listener(443)).expect_closed();
    ringway.logged(&["\"- - -\" 0 UO ", "outbound|9000||o.org"]);
    first.half_close();
    first.expect_closed();
    eventually("the place is free again", || {
        let mut next = Client::connect(ringway.listener(443));
        (next.raw(1) == b"x").then_some(())
    });
    finish(ringway);
}

fn connections_end_by_rest_and_by_age(driver: Driver) {
    let origin = super::named_echo("x");
    let with = |pool: &str| {
        let documents = [
            gateway(443, "TCP", "['*']", ""),
            rules("v", "['*']", "[g]", "tcp: [{route: [{destination: {host: o.org}}]}]"),
            entry("o.org", 9000, "TCP", origin.port()),
            format!(
                "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: d}}\nspec: {{host: o.org, \
                 trafficPolicy: {{connectionPool: {{tcp: {pool}}}}}}}\n"
            ),
        ];
        serving(driver, &documents)
    };
    for (pool, flag, field) in [
        ("{idleTimeout: 300ms}", "SI", "idle_timeout"),
        ("{maxConnectionDuration: 300ms}", "DT", "max_downstream_connection_duration"),
    ] {
        let ringway = with(pool);
        let began = std::time::Instant::now();
        let mut client = Client::connect(ringway.listener(443));
        assert_eq!(client.raw(1), b"x");
        client.expect_closed();
        assert!(began.elapsed() >= Duration::from_millis(300), "{pool}");
        ringway.logged(&[&format!("\"- - -\" 0 {flag} "), "outbound|9000||o.org"]);
        assert_eq!(ringway.stat(&format!("tcp.outbound|9000||o.org.{field}")), 1, "{pool}");
        finish(ringway);
    }
}

fn a_reload_moves_new_connections_alone(driver: Driver) {
    let (one, two) = (super::named_echo("1"), super::named_echo("2"));
    let documents = |port: u16| {
        [
            gateway(443, "TCP", "['*']", ""),
            rules("v", "['*']", "[g]", "tcp: [{route: [{destination: {host: o.org}}]}]"),
            entry("o.org", 9000, "TCP", port),
        ]
        .join("---\n")
    };
    let ringway = Setup::new(driver).gateway_ports(&[443, 444]).yaml(documents(one.port())).start();
    let mut old = Client::connect(ringway.listener(443));
    assert_eq!(old.raw(1), b"1");
    std::fs::write(ringway.config().join("0.yaml"), documents(two.port())).expect("write YAML");
    eventually("the new plan", || (Client::connect(ringway.listener(443)).raw(1) == b"2").then_some(()));
    old.send("still here");
    assert_eq!(old.raw(10), b"still here");
    // The listener goes, and the connection stays.
    let gone = documents(two.port()).replace("number: 443", "number: 444");
    std::fs::write(ringway.config().join("0.yaml"), gone).expect("write YAML");
    eventually("nobody listens", || Client::try_connect(ringway.listener(443)).is_err().then_some(()));
    old.send("and here");
    assert_eq!(old.raw(8), b"and here");
    old.half_close();
    old.expect_closed();
    finish(ringway);
}

fn explained_and_shown(driver: Driver) {
    let documents = one_name("TLS", ports::free());
    let ringway = serving(driver, &documents);
    let dump = ringway.admin("/config_dump").text();
    for part in
        ["\"server_names\"", "\"a.example.com\"", "outbound|443||o.org", "VirtualService/default/v: tls[0].match[0]"]
    {
        assert!(dump.contains(part), "{part}: {dump}");
    }
    let address = ringway.listener(443);
    assert!(ringway.admin("/listeners").text().contains(&format!("::{address}\n")));
    let explain = |authority: &str| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_ringway"))
            .args(["explain", "--gateway", "g", "CONNECT", authority, "-c"])
            .arg(ringway.config())
            .output()
            .expect("ringway explain");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, text) = explain("a.example.com:443");
    assert_eq!(code, Some(0), "{text}");
    for part in
        ["VirtualService/default/v: tls[0].match[0]", "server name is a.example.com", "100% to outbound|443||o.org"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (code, text) = explain("b.example.com:443");
    assert!(code == Some(1) && text.contains("the connection is closed, response flag NR"), "{text}");
    finish(ringway);
}
