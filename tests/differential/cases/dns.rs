//! ServiceEntries whose endpoints are host names: `resolution: DNS` is Envoy's STRICT_DNS, `DNS_ROUND_ROBIN` its LOGICAL_DNS.
//! Both proxies ask the same name server, which is the test's. What becomes of names that change is in `dns_changes`.

use super::ask;
use crate::bench::{Proxy, World, at_each_with, compare};
use crate::case::{Case, VIA};
use crate::name_server::{NameServer, Says};
use crate::observe::{Observation, is_for};
use crate::support::client::once;
use crate::support::origin::Origin;
use crate::support::wait::eventually;
use crate::translate::{Family, Outbound};

/// A ServiceEntry for one host, whose port 80 leads to the first origin's.
macro_rules! entry {
    ($host:literal, $fields:literal) => {
        concat!(
            "\n---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: '",
            $host,
            "'}\nspec: {hosts: [",
            $host,
            "], ",
            $fields,
            "}\n"
        )
    };
}

const NAMES: &str = concat!(
    r"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: marker}
spec:
  hosts: [marker.example.com]
  http:
  - match: [{uri: {exact: /matches-nothing-that-is-asked}}]
    route: [{destination: {host: all.example.com}}]
",
    entry!(
        "all.example.com",
        "resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP, targetPort: @0}, {number: 8080, name: more, protocol: HTTP, targetPort: @1}]"
    ),
    entry!(
        "first.example.com",
        "resolution: DNS_ROUND_ROBIN, ports: [{number: 80, name: http, protocol: HTTP, targetPort: @0}]"
    ),
    entry!("nobody.example.com", "resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP, targetPort: @0}]"),
    entry!(
        "first-nobody.example.com",
        "resolution: DNS_ROUND_ROBIN, ports: [{number: 80, name: http, protocol: HTTP, targetPort: @0}]"
    ),
    entry!("failing.example.com", "resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP, targetPort: @0}]"),
    entry!(
        "refusing.example.com",
        "resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP, targetPort: @refusing}]"
    ),
    entry!(
        "first-refusing.example.com",
        "resolution: DNS_ROUND_ROBIN, ports: [{number: 80, name: http, protocol: HTTP, targetPort: @refusing}]"
    ),
    entry!(
        "endpoints.example.com",
        "resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP, targetPort: @refusing}], endpoints: [{address: a.example.net, ports: {http: @1}}, {address: nobody.example.net}]"
    ),
    entry!(
        "address.example.com",
        "resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}], endpoints: [{address: 127.0.0.1, ports: {http: @0}}]"
    ),
);

#[test]
fn requests() {
    let server = NameServer::start();
    for name in
        ["all.example.com", "first.example.com", "refusing.example.com", "first-refusing.example.com", "a.example.net"]
    {
        server.at(name, &["127.0.0.1"]);
    }
    server.says("failing.example.com", Says::Failure);
    compare(World::mesh(NAMES, 2, Outbound::RegistryOnly).asking(server.address, Family::V4Only), REQUESTS);
}

const UH: &[&str] = &["503 UH no_healthy_upstream default"];

const UF: &[&str] = &[
    "503 URX,UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
];

#[rustfmt::skip] // one request a line
const REQUESTS: &[Case] = &[
    ask!("GET" "/x" "all.example.com" [] => VIA),
    ask!("GET" "/x" "all.example.com:80" [] => VIA),
    ask!("GET" "/x" "ALL.example.com." [] => VIA),
    ask!("GET" "http://all.example.com/x" "all.example.com" [] => VIA),
    ask!("GET" "/x" "all.example.com:8080" [] => VIA),
    ask!("GET" "/x" "all.example.com:8081" [] => &["502 - direct_response block_all"]),
    ask!("HEAD" "/x" "first.example.com" [] => VIA),
    ask!("GET" "/x" "first.example.com" ["X-A: 1"] => VIA),
    ask!("GET" "/x" "nobody.example.com" [] => UH),
    ask!("GET" "/x" "first-nobody.example.com" [] => UH),
    ask!("GET" "/x" "failing.example.com" [] => UH),
    ask!("GET" "/x" "refusing.example.com" [] => UF),
    ask!("GET" "/x" "first-refusing.example.com" [] => UF),
    ask!("GET" "/x" "endpoints.example.com" [] => VIA),
    ask!("GET" "/x" "address.example.com" [] => VIA),
    ask!("GET" "/x" "a.example.net" [] => &["502 - direct_response block_all"]),
];

/// `resolution: DYNAMIC_DNS` is Envoy's dynamic forward proxy, which goes to the port that the request names.
const WILD: &str = r"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: marker}
spec:
  hosts: [marker.example.com]
  http:
  - match: [{uri: {exact: /matches-nothing-that-is-asked}}]
    redirect: {uri: /}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild}
spec:
  hosts: ['*.wild.example.com']
  resolution: DYNAMIC_DNS
  ports: [{number: @0, name: http, protocol: HTTP}]
";

/// What a client, the origin and the log have of a request.
fn seen(proxy: &dyn Proxy, origin: &Origin, host: &str, path: &str) -> Observation {
    let mut seen = Observation::default();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    seen.response(0, &once(proxy.address(), request));
    for (number, request) in origin.take().iter().enumerate() {
        seen.request(number, request);
    }
    let log = || proxy.log().into_iter().find(|line| is_for(line, path));
    seen.log_line(0, &eventually("a line of the log", log));
    seen
}

/// Asks for these hosts, with the port of the origin behind each, at Envoy and at ringway, and compares all that there is to
/// see. Gives what Envoy did.
fn by_authority(outbound: Outbound, hosts: &[&str]) -> Vec<Observation> {
    let server = NameServer::start();
    for name in ["a.wild.example.com", "a.b.wild.example.com", "a.example.net"] {
        server.at(name, &["127.0.0.1"]);
    }
    server.at("refusing.wild.example.com", &["127.0.0.9"]);
    server.says("failing.wild.example.com", Says::Failure);
    let origin = Origin::replying("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    let port = origin.port();
    let world = World::mesh(WILD, 1, outbound).asking(server.address, Family::V4Only);
    let mut oracle: Vec<Observation> = Vec::new();
    at_each_with(world, vec![origin], |proxy, origins| {
        let numbered = hosts.iter().enumerate();
        let ask =
            |(number, host): (usize, &&str)| seen(proxy, &origins[0], &format!("{host}:{port}"), &format!("/{number}"));
        let all: Vec<Observation> = numbered.map(ask).collect();
        if oracle.is_empty() {
            oracle = all;
            return;
        }
        for ((host, theirs), ours) in hosts.iter().zip(&mut oracle).zip(&all) {
            // The words in braces are those of Envoy's resolver.
            let details = theirs.places.get("log.0.details").and_then(|details| details.split_once("{cares_"));
            if let Some((details, _)) = details {
                let details = details.to_owned();
                theirs.set("log.0.details", details);
            }
            assert_eq!(theirs.places, ours.places, "{host} at Envoy and at {}", proxy.name());
        }
    });
    oracle
}

/// `STATUS FLAGS` of Envoy's log; without Envoy there is nothing to be asserted.
fn assert_verdicts(seen: &[Observation], expected: &[&str]) {
    let of = |seen: &Observation| format!("{} {}", seen.places["log.0.status"], seen.places["log.0.flags"]);
    let verdicts: Vec<String> = seen.iter().map(of).collect();
    assert!(verdicts.is_empty() || verdicts == expected, "{verdicts:?}");
}

#[test]
fn hosts_of_a_wildcard() {
    let hosts = [
        "a.wild.example.com",
        "A.Wild.Example.com",
        "a.b.wild.example.com",
        "nobody.wild.example.com",
        "failing.wild.example.com",
        "refusing.wild.example.com",
        "wild.example.com",
        "a.example.net",
    ];
    let seen = by_authority(Outbound::RegistryOnly, &hosts);
    assert_verdicts(&seen, &["200 -", "200 -", "200 -", "503 DF", "503 DF", "503 URX,UF", "502 -", "502 -"]);
}

#[test]
fn hosts_that_nobody_declared() {
    let hosts =
        ["a.example.net", "A.Example.net.", "nobody.example.net", "a.wild.example.com", "127.0.0.1", "127.0.0.9"];
    let seen = by_authority(Outbound::AllowAnyDynamicDns, &hosts);
    assert_verdicts(&seen, &["200 -", "200 -", "503 DF", "200 -", "200 -", "503 UF"]);
}
