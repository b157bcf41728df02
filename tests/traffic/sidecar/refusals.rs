//! What the mesh listener refuses: targets that cannot be meant, and those that are not its to lend.

use std::net::{Ipv4Addr, SocketAddr};

use super::{finish, on_each_driver, sidecar};
use crate::support::client::{Client, once};
use crate::support::origin::Origin;
use crate::support::ports;
use crate::support::ringway::{Driver, Ringway, Setup};

on_each_driver![
    authorities_that_cannot_be_meant,
    an_open_listener_lends_no_loopback,
    the_listener_itself,
    a_name_with_many_addresses_costs_a_few_attempts,
];

/// Status and details of the answer to these bytes.
#[track_caller]
fn answer(ringway: &Ringway, at: SocketAddr, bytes: &str) -> (u16, String) {
    let before = ringway.log().len();
    let response = once(at, bytes);
    let line = crate::support::wait::eventually("a line in the log", || ringway.log().get(before).cloned());
    let details = line.split("\" ").nth(1).and_then(|rest| rest.split(' ').nth(2)).unwrap_or_default();
    (response.status, details.to_owned())
}

fn authorities_that_cannot_be_meant(driver: Driver) {
    let ringway = sidecar(driver, "ALLOW_ANY", &[]);
    for (bytes, status, details) in [
        ("CONNECT a.example.com HTTP/1.1\r\nHost: a\r\n\r\n", 400, "http1.codec_error"),
        ("CONNECT a.example.com: HTTP/1.1\r\nHost: a\r\n\r\n", 400, "http1.codec_error"),
        ("CONNECT a.example.com:0 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "http1.codec_error"),
        ("CONNECT a.example.com:65536 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "http1.codec_error"),
        ("CONNECT a.example.com:https HTTP/1.1\r\nHost: a\r\n\r\n", 400, "http1.codec_error"),
        ("CONNECT user@a.example.com:443 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "http1.codec_error"),
        ("CONNECT http://a.example.com:443/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "http1.codec_error"),
        ("CONNECT :443 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "http1.codec_error"),
        ("CONNECT a.example.com:443 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 400, "http1.codec_error"),
        (
            "CONNECT a.example.com:443 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            "http1.codec_error",
        ),
        ("GET http://user:secret@a.example.com/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "http.invalid_authority"),
        ("GET http://a.example.com:65536/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "http.invalid_authority"),
        ("GET http://a.example.com:99999999999/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "http.invalid_authority"),
        ("GET / HTTP/1.1\r\nHost: a.example.com:65536\r\n\r\n", 400, "http.invalid_authority"),
        ("GET / HTTP/1.1\r\nHost: a.example.com:x\r\n\r\n", 400, "http.invalid_authority"),
        ("GET / HTTP/1.1\r\nHost: user@a.example.com\r\n\r\n", 400, "http.invalid_authority"),
        ("GET / HTTP/1.1\r\nHost: a.example.com/x\r\n\r\n", 400, "http.invalid_authority"),
        ("GET / HTTP/1.1\r\nHost: a.example.com, b.example.com\r\n\r\n", 400, "http.invalid_authority"),
        ("GET / HTTP/1.1\r\nHost: a.example.com b.example.com\r\n\r\n", 400, "http.invalid_authority"),
        ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400, "http.invalid_authority"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "http.invalid_authority"),
    ] {
        assert_eq!(answer(&ringway, ringway.mesh(), bytes), (status, details.to_owned()), "{bytes:?}");
    }
    finish(ringway);
}

/// An address that others can reach, if the host has any.
fn open_address() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, ports::free()))
}

/// Who reaches the listener from elsewhere must not reach, through it, what trusts this host.
fn an_open_listener_lends_no_loopback(driver: Driver) {
    let origin = Origin::replying("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret");
    let port = origin.port();
    let at = |address: SocketAddr| ports::loopback(address.port());
    let start = |allow: Option<&str>| {
        let address = open_address();
        let setup = Setup::new(driver).gateway_ports(&[]).mesh("ALLOW_ANY").mesh_at(address);
        let setup = if let Some(allow) = allow { setup.mesh_field("allowLocal", allow) } else { setup };
        (setup.yaml(super::entry("declared.example.com", 80, "HTTP", port)).start(), at(address))
    };
    let (ringway, mesh) = start(None);
    for host in [
        "127.0.0.1",
        "127.1.2.3",
        "0.0.0.0",
        "localhost",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "169.254.169.254",
        "[fe80::1]",
        "[::ffff:169.254.169.254]",
    ] {
        let host = format!("{host}:{port}");
        let (status, details) = answer(&ringway, mesh, &format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!((status, details.as_str()), (403, "local_target_refused"), "{host}");
        let connect = format!("CONNECT {host} HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(answer(&ringway, mesh, &connect), (403, "local_target_refused".to_owned()), "{host}");
    }
    assert_eq!(origin.accepted(), 0, "nothing got through");
    // What is declared is meant.
    assert_eq!(once(mesh, "GET / HTTP/1.1\r\nHost: declared.example.com\r\n\r\n").text(), "secret");
    finish(ringway);
    let (ringway, mesh) = start(Some("true"));
    assert_eq!(once(mesh, format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n")).text(), "secret");
    finish(ringway);
    // A declared name that may be anywhere is not a declared address.
    let none = format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: none}}\nspec:\n  hosts: [localhost]\n  \
         ports: [{{number: {port}, name: p, protocol: HTTP}}]\n  resolution: NONE\n"
    );
    let address = open_address();
    let setup = Setup::new(driver).gateway_ports(&[]).mesh("REGISTRY_ONLY").mesh_at(address).yaml(none);
    let ringway = setup.start();
    assert_eq!(once(at(address), format!("GET / HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n")).status, 403);
    finish(ringway);
    // And where only this host can reach it, it may be forbidden all the same.
    let setup = Setup::new(driver).gateway_ports(&[]).mesh("ALLOW_ANY").mesh_field("allowLocal", "false");
    let ringway = setup.start();
    assert_eq!(once(ringway.mesh(), format!("GET / HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n")).status, 403);
    finish(ringway);
}

fn the_listener_itself(driver: Driver) {
    let ringway = sidecar(driver, "ALLOW_ANY", &[]);
    for own in [ringway.mesh(), ringway.admin] {
        for bytes in [
            format!("GET / HTTP/1.1\r\nHost: {own}\r\n\r\n"),
            format!("CONNECT {own} HTTP/1.1\r\nHost: {own}\r\n\r\n"),
            format!("CONNECT localhost:{} HTTP/1.1\r\nHost: x\r\n\r\n", own.port()),
        ] {
            let (status, details) = answer(&ringway, ringway.mesh(), &bytes);
            assert_eq!((status, details.as_str()), (502, "loop_detected"), "{bytes:?}");
        }
    }
    let mut client = Client::connect(ringway.mesh());
    client.send(format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", ringway.mesh()));
    assert_eq!(client.response().status, 502);
    client.expect_closed();
    finish(ringway);
}

/// Whoever answers for a name says how many addresses it has; a request must not wait for each of them.
fn a_name_with_many_addresses_costs_a_few_attempts(driver: Driver) {
    let addresses: Vec<String> = (1..=100).map(|at| format!("127.0.1.{at}")).collect();
    let hosts = format!("{{hosts: {{many.example.com: [{}]}}}}", addresses.join(", "));
    let ringway = Setup::new(driver).gateway_ports(&[]).mesh("ALLOW_ANY").spec("dns", &hosts).start();
    let authority = format!("many.example.com:{}", ports::free());
    for (requests, bytes) in [
        format!("GET / HTTP/1.1\r\nHost: {authority}\r\n\r\n"),
        format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n"),
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(once(ringway.mesh(), bytes).status, 503, "{bytes:?}");
        assert_eq!(
            ringway.sum_of("PassthroughCluster.upstream_cx_connect_fail"),
            4 * (requests as u64 + 1),
            "{bytes:?}"
        );
    }
    finish(ringway);
}
