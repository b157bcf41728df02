//! `resolution: DNS` and `DNS_ROUND_ROBIN`: names that change, vanish, come back, and name servers that fail.

use std::net::{IpAddr, Ipv4Addr};

use super::{answering, asking, echoing, finish, get, on_each_driver, who};
use crate::name_server::{NameServer, Says};
use crate::support::client::{Client, once};
use crate::support::ports;
use crate::support::ringway::{Driver, Ringway};
use crate::support::wait::eventually;

on_each_driver!(
    every_record_is_an_endpoint,
    a_name_server_that_fails_takes_nothing_away,
    a_name_that_is_not_known_at_the_start,
    the_first_address_of_a_name,
    a_reload_keeps_what_is_known,
    an_answer_of_a_thousand_records,
    endpoints_that_are_names,
);

/// A ServiceEntry for `api.example.com` whose endpoints listen on `port`.
fn entry(resolution: &str, port: u16) -> String {
    entry_for("api", resolution, port)
}

fn entry_for(name: &str, resolution: &str, port: u16) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}}}
spec:
  hosts: [{name}.example.com]
  resolution: {resolution}
  ports: [{{number: 80, name: http, protocol: HTTP, targetPort: {port}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}}}
spec: {{host: {name}.example.com, trafficPolicy: {{loadBalancer: {{simple: ROUND_ROBIN}}}}}}
"
    )
}

const CLUSTER: &str = "outbound|80||api.example.com";

fn stat(ringway: &Ringway, name: &str) -> u64 {
    ringway.cluster_stat(CLUSTER, name)
}

/// Waits until these answer, and nobody else.
#[track_caller]
fn answers_come_from(ringway: &Ringway, expected: &[&str]) {
    eventually(&format!("answers from {expected:?}"), || {
        (answering(ringway, "api.example.com", 2 * expected.len()) == expected).then_some(())
    });
}

fn every_record_is_an_endpoint(driver: Driver) {
    let port = ports::free();
    let origins = ["127.0.0.2", "127.0.0.3", "127.0.0.4"].map(|address| echoing(address, port));
    let server = NameServer::start();
    server.at("api.example.com", &["127.0.0.3", "127.0.0.2"]);
    let ringway = asking(driver, &server, "REGISTRY_ONLY").yaml(entry("DNS", port)).start();
    // Ready means that the first answer is there.
    assert_eq!(answering(&ringway, "api.example.com", 4), ["127.0.0.2", "127.0.0.3"]);
    assert_eq!(stat(&ringway, "membership_total"), 2);
    let line = ringway.logged(&["api.example.com"]);
    assert!(line.contains(&format!(" {CLUSTER} ")), "{line}");
    let clusters = ringway.admin("/clusters").text();
    assert!(clusters.contains(&format!("{CLUSTER}::127.0.0.2:{port}::hostname::api.example.com\n")), "{clusters}");
    let dump = ringway.admin("/config_dump").text();

    server.at("api.example.com", &["127.0.0.4", "127.0.0.3"]);
    answers_come_from(&ringway, &["127.0.0.3", "127.0.0.4"]);
    eventually("no connection to who is gone", || (origins[0].open() == 0).then_some(()));
    assert!(origins[1].open() > 0, "who stays keeps its connection");
    assert_eq!(origins[1].accepted(), 1);
    assert_eq!(stat(&ringway, "membership_total"), 2);
    assert_eq!(stat(&ringway, "membership_healthy"), 2);
    let clusters = ringway.admin("/clusters").text();
    assert!(
        !clusters.contains("127.0.0.2") && clusters.contains(&format!("127.0.0.4:{port}::rq_total::")),
        "{clusters}"
    );
    assert_eq!(ringway.admin("/config_dump").text(), dump, "the configuration has not changed");

    eventually("an answer that changes nothing", || (stat(&ringway, "update_no_rebuild") > 0).then_some(()));
    assert!(stat(&ringway, "update_attempt") >= 3 && stat(&ringway, "update_success") >= 3);
    assert_eq!(stat(&ringway, "update_failure"), 0);
    finish(ringway);
}

fn a_name_server_that_fails_takes_nothing_away(driver: Driver) {
    let port = ports::free();
    let _origins = ["127.0.0.2", "127.0.0.3"].map(|address| echoing(address, port));
    let server = NameServer::start();
    server.at("api.example.com", &["127.0.0.2"]);
    let ringway = asking(driver, &server, "REGISTRY_ONLY").yaml(entry("DNS", port)).start();
    let mut failures = 0;
    for says in [Says::Failure, Says::Silence] {
        server.says("api.example.com", says);
        failures = eventually("two more failures", || {
            Some(stat(&ringway, "update_failure")).filter(|now| *now >= failures + 2)
        });
        assert_eq!(answering(&ringway, "api.example.com", 2), ["127.0.0.2"]);
    }
    // A name that does not exist is an answer.
    server.says("api.example.com", Says::Nothing);
    eventually("no endpoint", || (stat(&ringway, "membership_total") == 0).then_some(()));
    assert_eq!(get(&ringway, "api.example.com").status, 503);
    let line = ringway.logged(&[" 503 UH "]);
    assert!(line.contains(&format!(" {CLUSTER} ")), "{line}");
    server.at("api.example.com", &["127.0.0.3"]);
    answers_come_from(&ringway, &["127.0.0.3"]);
    finish(ringway);
}

fn a_name_that_is_not_known_at_the_start(driver: Driver) {
    let port = ports::free();
    let _origin = echoing("127.0.0.2", port);
    let server = NameServer::start();
    let ringway = asking(driver, &server, "REGISTRY_ONLY").yaml(entry("DNS", port)).start();
    let response = get(&ringway, "api.example.com");
    assert_eq!((response.status, response.text().as_str()), (503, "no healthy upstream"));
    ringway.logged(&[" 503 UH "]);
    server.at("api.example.com", &["127.0.0.2"]);
    answers_come_from(&ringway, &["127.0.0.2"]);
    finish(ringway);
}

/// New connections go to the first address; those that there are stay.
fn the_first_address_of_a_name(driver: Driver) {
    let port = ports::free();
    let origins = ["127.0.0.2", "127.0.0.3"].map(|address| echoing(address, port));
    let server = NameServer::start();
    server.at("api.example.com", &["127.0.0.2", "127.0.0.3"]);
    let ringway = asking(driver, &server, "REGISTRY_ONLY").yaml(entry("DNS_ROUND_ROBIN", port)).start();
    assert_eq!(answering(&ringway, "api.example.com", 3), ["127.0.0.2"]);
    assert_eq!(stat(&ringway, "membership_total"), 1);
    server.at("api.example.com", &["127.0.0.3", "127.0.0.2"]);
    let moved = format!("{CLUSTER}::127.0.0.3:{port}::rq_total::3\n");
    eventually("the other address", || ringway.admin("/clusters").text().contains(&moved).then_some(()));
    // The connection that rests is used on, and what it is connected to is what the log says.
    assert_eq!(who(&get(&ringway, "api.example.com")), "127.0.0.2");
    assert_eq!((origins[0].accepted(), origins[1].accepted()), (1, 0));
    eventually("the log", || {
        let to = format!("\"127.0.0.2:{port}\"");
        (ringway.log().iter().filter(|line| line.contains(&to)).count() == 4).then_some(())
    });
    // Whoever needs a second connection gets one to the other address.
    let mut busy = Client::connect(ringway.mesh());
    busy.send("POST /x HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 1\r\n\r\n");
    eventually("a request under way", || (ringway.cluster_stat(CLUSTER, "upstream_rq_active") == 1).then_some(()));
    assert_eq!(who(&get(&ringway, "api.example.com")), "127.0.0.3");
    busy.send("x");
    assert_eq!(who(&busy.response_to("POST")), "127.0.0.2");
    drop(busy);
    // An empty answer leaves it where it was.
    server.says("api.example.com", Says::Nothing);
    eventually("an empty answer", || (stat(&ringway, "update_failure") > 0).then_some(()));
    assert_eq!(get(&ringway, "api.example.com").status, 200);
    finish(ringway);
}

fn a_reload_keeps_what_is_known(driver: Driver) {
    let port = ports::free();
    let _origins = ["127.0.0.2", "127.0.0.3"].map(|address| echoing(address, port));
    let server = NameServer::start();
    server.says("api.example.com", Says::At(vec![Ipv4Addr::new(127, 0, 0, 2).into()], 3600));
    let ringway = asking(driver, &server, "REGISTRY_ONLY").yaml(entry("DNS", port)).start();
    let file = ringway.config().join("0.yaml");
    let reloads = || ringway.stat("ringway.config_reload_success");
    let asked = server.asked("api.example.com");
    // The name server is gone, and a name that is new is of no help either.
    server.says("api.example.com", Says::Silence);
    let other = entry_for("other", "DNS", port);
    std::fs::write(&file, format!("{}---{other}", entry("DNS", port))).expect("write the YAML");
    let mut requests = 0;
    eventually("the first reload", || {
        assert_eq!(who(&get(&ringway, "api.example.com")), "127.0.0.2");
        requests += 1;
        (reloads() == 1 && requests > 10).then_some(())
    });
    assert_eq!(server.asked("api.example.com"), asked, "what was said holds for an hour");
    assert_eq!(get(&ringway, "other.example.com").status, 503);
    // A plan with a new name waits for its answer before it is put in force.
    server.at("third.example.com", &["127.0.0.3"]);
    let third = entry_for("third", "DNS", port);
    std::fs::write(&file, format!("{}---{third}", entry("DNS", port))).expect("write the YAML");
    eventually("the second reload", || {
        let response = get(&ringway, "third.example.com");
        assert_ne!(response.status, 503, "it is known before it is in force");
        (response.status == 200).then_some(())
    });
    assert_eq!(who(&get(&ringway, "api.example.com")), "127.0.0.2");
    finish(ringway);
}

fn an_answer_of_a_thousand_records(driver: Driver) {
    let port = ports::free();
    let _origin = echoing("0.0.0.0", port);
    let many = |count: u16| -> Vec<IpAddr> {
        (0..count).map(|number| Ipv4Addr::new(127, 1, (number / 250) as u8, (number % 250) as u8 + 1).into()).collect()
    };
    let server = NameServer::start();
    server.says("api.example.com", Says::At(many(1000), 1));
    let ringway = asking(driver, &server, "REGISTRY_ONLY").yaml(entry("DNS", port)).start();
    eventually("a thousand endpoints", || (stat(&ringway, "membership_total") == 1000).then_some(()));
    let mut client = Client::connect(ringway.mesh());
    for _ in 0..1000 {
        assert_eq!(client.ask("GET /x HTTP/1.1\r\nHost: api.example.com\r\n\r\n").status, 200);
    }
    let used = ringway.admin("/clusters").text().matches("::rq_total::1\n").count();
    assert_eq!(used, 1000, "each in its turn");
    server.says("api.example.com", Says::At(many(2000), 1));
    eventually("no more than are allowed", || (stat(&ringway, "membership_total") == 1024).then_some(()));
    server.at("api.example.com", &["127.1.0.1"]);
    eventually("one", || (stat(&ringway, "membership_total") == 1).then_some(()));
    eventually("no connection to the others", || (stat(&ringway, "upstream_cx_active") <= 1).then_some(()));
    drop(client);
    finish(ringway);
}

/// `endpoints` with names, ports, labels and weights, WorkloadEntries that a selector chooses, and a subset of them.
fn endpoints_that_are_names(driver: Driver) {
    let (port, other) = (ports::free(), ports::free());
    let _origins = [echoing("127.0.0.2", port), echoing("127.0.0.3", other), echoing("127.0.0.4", port)];
    let server = NameServer::start();
    server.at("one.example.net", &["127.0.0.2"]);
    server.at("two.example.net", &["127.0.0.3"]);
    let yaml = format!(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: api}}
spec:
  hosts: [api.example.com, www.example.com]
  addresses: [192.0.2.1]
  resolution: DNS
  ports: [{{number: 80, name: http, protocol: HTTP, targetPort: {port}}}]
  endpoints:
  - {{address: one.example.net, weight: 3, labels: {{version: v1}}}}
  - {{address: two.example.net, ports: {{http: {other}}}, labels: {{version: v2}}}}
  - {{address: 127.0.0.4, labels: {{version: v2}}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: api}}
spec:
  host: api.example.com
  trafficPolicy: {{loadBalancer: {{simple: ROUND_ROBIN}}}}
  subsets: [{{name: v2, labels: {{version: v2}}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: api}}
spec:
  hosts: [api.example.com]
  http:
  - match: [{{headers: {{x-version: {{exact: v2}}}}}}]
    route: [{{destination: {{host: api.example.com, subset: v2}}}}]
  - route: [{{destination: {{host: api.example.com}}}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: selecting}}
spec:
  hosts: [selecting.example.com]
  resolution: DNS
  workloadSelector: {{labels: {{app: selected}}}}
  ports: [{{number: 80, name: http, protocol: HTTP}}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: selected}}
spec: {{address: Two.example.net, ports: {{http: {other}}}, labels: {{app: selected}}}}
"
    );
    let ringway = asking(driver, &server, "REGISTRY_ONLY").yaml(yaml).start();
    let mut client = Client::connect(ringway.mesh());
    let mut count = [("127.0.0.2", 0), ("127.0.0.3", 0), ("127.0.0.4", 0)];
    for _ in 0..50 {
        let response = client.ask("GET /x HTTP/1.1\r\nHost: api.example.com\r\n\r\n");
        let name = who(&response);
        count.iter_mut().filter(|(address, _)| *address == name).for_each(|(_, times)| *times += 1);
    }
    assert_eq!(count, [("127.0.0.2", 30), ("127.0.0.3", 10), ("127.0.0.4", 10)], "by weight");
    for _ in 0..4 {
        let response = client.ask("GET /x HTTP/1.1\r\nHost: api.example.com\r\nx-version: v2\r\n\r\n");
        assert!(["127.0.0.3", "127.0.0.4"].contains(&who(&response).as_str()), "{response:?}");
    }
    drop(client);
    for host in ["www.example.com", "192.0.2.1"] {
        let request = format!("GET /x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(once(ringway.mesh(), request).status, 200, "{host}");
    }
    assert_eq!(answering(&ringway, "selecting.example.com", 2), ["127.0.0.3"]);
    finish(ringway);
}
