//! `tcp` rules, at the mesh by CONNECT.

use super::{entry, finish, named_echo, on_each_driver, rules};
use crate::support::client::Client;
use crate::support::ringway::{Driver, Ringway, Setup};

on_each_driver![rules_of_the_mesh, a_tls_rule_of_the_mesh_has_the_port_for_itself];

/// The first byte that comes through a tunnel to this authority; the status if there is none.
fn through(ringway: &Ringway, authority: &str) -> Result<u8, u16> {
    let mut client = Client::connect(ringway.mesh());
    client.send(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n"));
    match client.response_to("CONNECT").status {
        200 => Ok(client.raw(1)[0]),
        status => Err(status),
    }
}

fn rules_of_the_mesh(driver: Driver) {
    let (one, two, own) = (named_echo("1"), named_echo("2"), named_echo("o"));
    let documents = [
        rules(
            "v",
            "[db.example.com]",
            "[mesh]",
            "tcp: [{match: [{port: 5432, sourceLabels: {app: other}}], route: [{destination: {host: two.org}}]}, {match: [{port: \
             5432, destinationSubnets: [10.0.0.0/8]}], route: [{destination: {host: one.org}}]}]",
        ),
        entry("db.example.com", 5432, "TCP", own.port()).replace("resolution", "addresses: [10.1.2.3]\n  resolution"),
        entry("db.example.com", 5433, "TCP", own.port()).replace("metadata: {name: ", "metadata: {name: other-"),
        entry("one.org", 9000, "TCP", one.port()),
        entry("two.org", 9000, "TCP", two.port()),
    ];
    let ringway = Setup::new(driver).gateway_ports(&[]).mesh("REGISTRY_ONLY").yaml(documents.join("---\n")).start();
    assert_eq!(through(&ringway, "db.example.com:5432"), Ok(b'1'));
    assert_eq!(through(&ringway, "10.1.2.3:5432"), Ok(b'1'));
    ringway.logged(&["CONNECT", "\"db.example.com:5432\"", " outbound|9000||one.org "]);
    finish(ringway);
}

fn a_tls_rule_of_the_mesh_has_the_port_for_itself(driver: Driver) {
    let (one, own) = (named_echo("1"), named_echo("o"));
    let documents = [
        rules(
            "v",
            "['*.example.com']",
            "[mesh]",
            "tls: [{match: [{sniHosts: [a.example.com]}], route: [{destination: {host: one.org}}]}]",
        ),
        entry("*.example.com", 443, "TLS", own.port()),
        entry("one.org", 9000, "TCP", one.port()),
    ];
    let ringway = Setup::new(driver).gateway_ports(&[]).mesh("REGISTRY_ONLY").yaml(documents.join("---\n")).start();
    assert_eq!(through(&ringway, "a.example.com:443"), Ok(b'1'));
    // As in Istio: with one rule for it, what no rule names is nobody's.
    assert_eq!(through(&ringway, "b.example.com:443"), Err(502));
    finish(ringway);
}
