//! `--permissive` with real requests: what cannot be enforced is not served without it. Which part goes for which field is
//! a table of its own (`tests/commands/bad_yaml/permissive.rs`).

use std::net::TcpStream;

use super::{get_of, on_each_driver, says_path};
use crate::support::client::Client;
use crate::support::origin::Origin;
use crate::support::ringway::{Driver, Setup, everything_to};
use crate::support::wait::eventually;

on_each_driver![what_is_left_out_is_not_served, a_reload_widens_nothing, what_restricts_everything_is_not_started];

/// A Gateway with servers of which two cannot be served, and rules and a destination that are not whole.
const DOCUMENTS: &str = r#"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: partly}
spec:
  servers:
  - {port: {number: 80, name: misspelt, protocol: HTTP}, hosts: [secure.example.com], tls: {httpsRedirct: true}}
  - {port: {number: 80, name: redirect, protocol: HTTP}, hosts: [redirect.example.com], tls: {httpsRedirect: true}}
  - {port: {number: 443, name: tls, protocol: HTTPS}, hosts: ["*"], tls: {mode: SIMPLE, credentialName: c}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: secure}
spec: {hosts: [secure.example.com, redirect.example.com], gateways: [partly, edge], http: [{route: [{destination: {host: origin}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: rules}
spec:
  hosts: [rules.example.com]
  gateways: [edge]
  http:
  - match: [{uri: {prefix: /guests}, headers: {"@request.auth.claims.group": {exact: guests}}}]
    directResponse: {status: 403}
  - match: [{uri: {prefix: /members}, headers: {"@request.auth.claims.group": {exact: members}}}]
    route: [{destination: {host: mutual}}]
  - match: [{uri: {prefix: /limited}}]
    falt: {abort: {httpStatus: 401, percentage: {value: 100}}}
    route: [{destination: {host: origin}}]
  - match: [{uri: {prefix: /mutual}}]
    route: [{destination: {host: mutual}}]
  - route: [{destination: {host: origin}}]
---
apiVersion: v1
kind: Service
metadata: {name: mutual}
spec: {selector: {app: origin}, ports: [{name: http, port: 8000}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: mutual}
spec: {host: mutual, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}
"#;

fn ask(client: &mut Client, host: &str, path: &str) -> (u16, String) {
    let answer = client.ask(format!("GET {path} HTTP/1.1\r\nHost: {host}.example.com\r\n\r\n"));
    (answer.status, answer.text())
}

fn what_is_left_out_is_not_served(driver: Driver) {
    let origin = says_path();
    let ringway = Setup::new(driver)
        .gateway_ports(&[80, 443])
        .flags(&["--permissive"])
        .yaml(everything_to(&[origin.port()]))
        .yaml(DOCUMENTS)
        .start();
    let mut client = ringway.client();
    for (host, path, status, body) in [
        ("open", "/x", 200, "/x"),
        // The server that would redirect goes, and its host with it, although another server has every host.
        ("secure", "/x", 404, ""),
        ("redirect", "/x", 301, ""),
        ("rules", "/x", 200, "/x"),
        // Who is a guest is not known: a rule that refuses some refuses all, and one for some is for nobody.
        ("rules", "/guests", 403, ""),
        ("rules", "/members", 200, "/members"),
        ("rules", "/limited", 503, ""),
        ("rules", "/mutual", 503, ""),
    ] {
        assert_eq!(ask(&mut client, host, path), (status, body.to_owned()), "{host} {path}");
    }
    ringway.logged(&["GET /limited", "503 - direct_response"]);
    ringway.logged(&["GET /mutual", "503 NC cluster_not_found"]);
    assert_eq!(origin.take().len(), 3, "nothing else gets to the origin");
    assert!(TcpStream::connect(ringway.listener(443)).is_err(), "no plain bytes are taken for TLS");
    drop(client);
    ringway.quiet();
    let said = ringway.stop().said;
    for part in [
        "spec.servers[0]: warning: this server is left out: its port is closed, or its hosts get 404, since not all of it is \
         enforced",
        "spec.servers[2]: warning: this server is left out",
        "spec.http[0].match[0]: warning: this block takes more requests than it says, and the rule refuses them",
        "spec.http[1].match[0]: warning: this block is left out",
        "spec.http[2]: warning: requests that this rule takes get 503, since not all of it is enforced",
        "DestinationRule/default/mutual: warning: requests to its host get 503, since not all of it is enforced",
    ] {
        assert!(said.contains(part), "{part} in\n{said}");
    }
}

/// What a reload brings is read as the start was.
fn a_reload_widens_nothing(driver: Driver) {
    let origin = says_path();
    let yaml = everything_to(&[origin.port()]);
    let ringway = Setup::new(driver).flags(&["--permissive"]).yaml(yaml.clone()).start();
    assert_eq!(ringway.client().ask(get_of("a")).status, 200);
    let file = ringway.config().join("0.yaml");
    std::fs::write(&file, yaml.replace("  - route:", "  - faults: {abort: {}}\n    route:")).expect("a file");
    eventually("the rule is withheld", || (ringway.client().ask(get_of("a")).status == 503).then_some(()));
    std::fs::write(&file, yaml).expect("a file");
    eventually("the rule is whole", || (ringway.client().ask(get_of("a")).status == 200).then_some(()));
    ringway.stop();
    drop(origin);
}

fn what_restricts_everything_is_not_started(driver: Driver) {
    let origin = Origin::replying("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let policy = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: nobody}\nspec: {}\n";
    let setup = || Setup::new(driver).flags(&["--permissive"]).yaml(everything_to(&[origin.port()]));
    for (setup, place) in [
        (
            setup().yaml(policy),
            "AuthorizationPolicy/default/nobody: error: kind AuthorizationPolicy (security.istio.io/v1)",
        ),
        (
            setup().mesh_config("outboundTrafficPolcy", "{mode: REGISTRY_ONLY}"),
            "spec.meshConfig.outboundTrafficPolcy: error: unknown field",
        ),
        (
            setup().mesh_config("defaultConfig", "{gatewayTopology: {numTrustedProxies: 1}}"),
            "spec.meshConfig.defaultConfig.gatewayTopology: error: \"gatewayTopology\" is not enforced by ringway yet (remove it: more \
             would be served without it, so --permissive does not leave it out)",
        ),
    ] {
        let (code, said) = setup.fail();
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(place), "{place} in\n{said}");
    }
}
