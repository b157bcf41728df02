//! CONNECT tunnels whose far end the proxy makes TLS: each direction ends by itself, and says so.

use std::io::{self, Read as _};
use std::sync::{Arc, Mutex};

use super::{Files, on_each_driver};
use crate::https::{Authority, Tls, TlsPeer};
use crate::support::client::Client;
use crate::support::origin::Origin;
use crate::support::ringway::{Driver, Ringway, Setup};
use crate::support::wait::eventually;

on_each_driver![the_client_ends_first, the_origin_ends_first];

const NAME: &str = "db.example.com";

/// More than fits into buffers and records on the way.
const MUCH: usize = 1 << 20;

/// What an origin got in all, once it has seen the end.
type Got = Arc<Mutex<Option<Vec<u8>>>>;

fn sidecar(driver: Driver, files: &Files, authority: &Authority, origin: &Origin) -> Ringway {
    let ca = files.write("ca.pem", &authority.pem);
    Setup::new(driver)
        .mesh("REGISTRY_ONLY")
        .yaml(format!(
            "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: db}}
spec:
  hosts: [{NAME}]
  ports: [{{number: 5432, name: tcp, protocol: TCP}}]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1, ports: {{tcp: {}}}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: db}}
spec:
  host: {NAME}
  trafficPolicy: {{tls: {{mode: SIMPLE, caCertificates: {}}}}}
",
            origin.port(),
            ca.display()
        ))
        .start()
}

fn open(ringway: &Ringway) -> Client {
    let mut client = Client::connect(ringway.mesh());
    client.send(format!("CONNECT {NAME}:5432 HTTP/1.1\r\nHost: {NAME}:5432\r\n\r\n"));
    let response = client.response_to("CONNECT");
    assert_eq!((response.status, response.text().as_str()), (200, ""));
    client
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 % 251) as u8).collect()
}

/// All that comes; an error where the end is not said in TLS.
fn to_the_end(peer: &mut TlsPeer<'_>) -> io::Result<Vec<u8>> {
    let (connection, socket) = peer.parts();
    let mut all = Vec::new();
    rustls::Stream::new(connection, socket).read_to_end(&mut all)?;
    Ok(all)
}

fn assert_got(got: &Got, expected: &[u8]) {
    let got = eventually("the origin has seen the end", || got.lock().expect("no script panicked").take());
    assert!(got == expected, "{} bytes came, {} were sent", got.len(), expected.len());
}

/// The end that the client says is TLS's own for the origin, which still answers.
fn the_client_ends_first(driver: Driver) {
    let (files, authority, got) = (Files::new(), Authority::new("ca"), Got::default());
    let tls = Tls::new(&authority.issue(&[NAME]));
    let seen = got.clone();
    let origin = tls.origin(move |peer| {
        let all = to_the_end(peer)?;
        *seen.lock().expect("nobody panicked") = Some(all);
        peer.send(bytes(MUCH))
    });
    let ringway = sidecar(driver, &files, &authority, &origin);
    let mut client = open(&ringway);
    client.send(bytes(MUCH));
    client.half_close();
    assert_got(&got, &bytes(MUCH));
    assert!(client.rest() == bytes(MUCH), "the answer is whole");
    ringway.quiet();
    ringway.stop();
}

/// The end that the origin says in TLS is the stream's for the client, which may go on.
fn the_origin_ends_first(driver: Driver) {
    let (files, authority, got) = (Files::new(), Authority::new("ca"), Got::default());
    let tls = Tls::new(&authority.issue(&[NAME]));
    let seen = got.clone();
    let origin = tls.origin(move |peer| {
        peer.send("that is all")?;
        let (connection, socket) = peer.parts();
        connection.send_close_notify();
        connection.write_tls(socket)?;
        socket.shutdown(std::net::Shutdown::Write)?;
        let all = to_the_end(peer)?;
        *seen.lock().expect("nobody panicked") = Some(all);
        peer.leave_quietly(); // it has said so
        Ok(())
    });
    let ringway = sidecar(driver, &files, &authority, &origin);
    let mut client = open(&ringway);
    assert_eq!(client.rest(), b"that is all");
    client.send(bytes(MUCH));
    client.half_close();
    assert_got(&got, &bytes(MUCH));
    ringway.quiet();
    ringway.stop();
}
