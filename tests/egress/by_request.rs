//! Where the request itself says where it goes: `resolution: NONE` and `DYNAMIC_DNS`, hosts that nobody declared, and what a
//! Sidecar leaves of all that.

use std::time::{Duration, Instant};

use crate::name_server::{NameServer, Says};
use crate::support::client::{Client, once};
use crate::support::ports;
use crate::support::ringway::{Driver, Setup};
use crate::support::wait::eventually;
use crate::{answering, asking, echoing, finish, get, on_each_driver, who};

on_each_driver!(
    hosts_that_are_their_own_address,
    hosts_of_a_wildcard,
    a_wildcard_at_a_gateway,
    a_host_that_nobody_declared,
    a_name_that_comes_back_to_us,
    a_sidecar_says_what_there_is,
);

/// `resolution: NONE`: without the address to which the client connected, its Host is resolved.
fn hosts_that_are_their_own_address(driver: Driver) {
    let port = ports::free();
    let origin = echoing("127.0.0.2", port);
    let server = NameServer::start();
    server.at("a.example.com", &["127.0.0.2"]);
    server.at("b.example.com", &["127.0.0.9"]);
    let yaml = format!(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: own}}
spec:
  hosts: ['*.example.com']
  ports: [{{number: {port}, name: http, protocol: HTTP}}]
"
    );
    let ringway = asking(driver, &server, "REGISTRY_ONLY").yaml(yaml).start();
    assert_eq!(answering(&ringway, &format!("a.example.com:{port}"), 5), ["127.0.0.2"]);
    assert_eq!(origin.accepted(), 1, "one connection for five requests in turn");
    let line = ringway.logged(&["a.example.com"]);
    assert!(line.contains(&format!("\"127.0.0.2:{port}\" outbound|{port}||*.example.com ")), "{line}");
    assert_eq!(get(&ringway, &format!("b.example.com:{port}")).status, 503);
    ringway.logged(&["b.example.com", " 503 ", "UF"]);
    assert_eq!(get(&ringway, &format!("c.example.com:{port}")).status, 503, "a name that does not exist");
    ringway.logged(&["c.example.com", " 503 DF "]);
    assert_eq!(get(&ringway, &format!("a.example.net:{port}")).status, 502, "not its host");
    // An IP address is no host of a ServiceEntry, and does not pass for one.
    assert_eq!(get(&ringway, &format!("127.0.0.2:{port}")).status, 502);
    finish(ringway);
}

fn wildcard(port: u16) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: wild}}
spec:
  hosts: ['*.example.com']
  resolution: DYNAMIC_DNS
  ports: [{{number: 80, name: http, protocol: HTTP, targetPort: {port}}}]
"
    )
}

/// `resolution: DYNAMIC_DNS`: every host of the wildcard is resolved when somebody asks for it.
fn hosts_of_a_wildcard(driver: Driver) {
    let port = ports::free();
    let _origins = ["127.0.0.2", "127.0.0.3"].map(|address| echoing(address, port));
    let server = NameServer::start();
    server.at("a.example.com", &["127.0.0.2"]);
    server.at("b.example.com", &["127.0.0.3"]);
    let ringway = asking(driver, &server, "REGISTRY_ONLY").yaml(wildcard(port)).start();
    assert_eq!(server.asked("a.example.com"), 0, "nobody has asked yet");
    assert_eq!(answering(&ringway, "a.example.com", 3), ["127.0.0.2"]);
    assert_eq!(answering(&ringway, "B.example.com", 3), ["127.0.0.3"]);
    let line = ringway.logged(&["B.example.com", "GET /x"]);
    assert!(line.contains(&format!("\"127.0.0.3:{port}\" outbound|80||*.example.com ")), "{line}");
    // It moves, and then nobody can say where it is: it stays where it was.
    server.at("a.example.com", &["127.0.0.3"]);
    eventually("the other address", || (who(&get(&ringway, "a.example.com")) == "127.0.0.3").then_some(()));
    server.says("a.example.com", Says::Failure);
    let asked = server.asked("a.example.com");
    eventually("failures", || {
        assert_eq!(who(&get(&ringway, "a.example.com")), "127.0.0.3");
        (server.asked("a.example.com") >= asked + 2).then_some(())
    });
    finish(ringway);
}

/// A gateway has no other way to know where such a host is, either.
fn a_wildcard_at_a_gateway(driver: Driver) {
    let port = ports::free();
    let _origin = echoing("127.0.0.2", port);
    let server = NameServer::start();
    server.at("a.example.com", &["127.0.0.2"]);
    let yaml = format!(
        "{}---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: egress}}
spec: {{servers: [{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: ['*']}}]}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: wild}}
spec:
  hosts: ['*']
  gateways: [egress]
  http: [{{route: [{{destination: {{host: '*.example.com', port: {{number: 80}}}}}}]}}]
",
        wildcard(port)
    );
    let ringway = asking(driver, &server, "REGISTRY_ONLY").yaml(yaml).start();
    let ask =
        |host: &str| once(ringway.address(), format!("GET /x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
    assert_eq!(who(&ask("a.example.com")), "127.0.0.2");
    // What the ServiceEntry does not cover is not resolved, whatever rule brought it here.
    let response = ask("a.example.net");
    assert_eq!((response.status, response.text().as_str()), (503, "no healthy upstream"));
    assert_eq!(server.asked("a.example.net"), 0);
    finish(ringway);
}

/// ALLOW_ANY: by the same name servers.
fn a_host_that_nobody_declared(driver: Driver) {
    let port = ports::free();
    let _origin = echoing("127.0.0.2", port);
    let server = NameServer::start();
    server.at("a.example.com", &["127.0.0.9", "127.0.0.2"]);
    server.says("slow.example.com", Says::Silence);
    let ringway = asking(driver, &server, "ALLOW_ANY").start();
    assert_eq!(who(&get(&ringway, &format!("a.example.com:{port}"))), "127.0.0.2", "the second address takes it");
    let line = ringway.logged(&["a.example.com"]);
    assert!(line.contains(&format!("\"127.0.0.2:{port}\" PassthroughCluster ")), "{line}");
    let began = Instant::now();
    assert_eq!(get(&ringway, "slow.example.com").status, 503);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(get(&ringway, "nobody.example.com").status, 503);
    finish(ringway);
}

/// A name that means this process, and one that changes its mind: it is asked about, looked at, and then connected to
/// where it was looked at.
fn a_name_that_comes_back_to_us(driver: Driver) {
    let server = NameServer::start();
    server.at("us.example.com", &["127.0.0.1"]);
    let ringway = asking(driver, &server, "ALLOW_ANY").start();
    let own = ringway.mesh().port();
    let mut client = Client::connect(ringway.mesh());
    for _ in 0..3 {
        let response = client.ask(format!("GET /loop HTTP/1.1\r\nHost: us.example.com:{own}\r\n\r\n"));
        assert!(response.status >= 500, "{response:?}");
    }
    drop(client);
    eventually("the log", || {
        (ringway.log().iter().filter(|line| line.contains("GET /loop")).count() == 3).then_some(())
    });
    finish(ringway);
}

fn a_sidecar_says_what_there_is(driver: Driver) {
    let port = ports::free();
    let _origin = echoing("127.0.0.2", port);
    let entry = |name: &str, namespace: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: \
             {namespace}}}\nspec: {{hosts: [{name}.example.com], resolution: STATIC, ports: [{{number: 80, name: http, \
             protocol: HTTP, targetPort: {port}}}], endpoints: [{{address: 127.0.0.2}}]}}\n"
        )
    };
    let sidecar = |name: &str, namespace: &str, spec: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: {name}, namespace: \
             {namespace}}}\nspec: {{{spec}}}\n"
        )
    };
    let services = entry("own", "default") + &entry("far", "elsewhere") + &entry("other", "elsewhere");
    let start = |sidecars: &str| {
        let yaml = format!("{services}{sidecars}");
        Setup::new(driver).mesh("ALLOW_ANY").label("app", "a").yaml(yaml).start()
    };
    let statuses = |sidecars: &str| {
        let ringway = start(sidecars);
        let all = ["own", "far", "other", "nobody"].map(|name| get(&ringway, &format!("{name}.example.com")).status);
        finish(ringway);
        all
    };
    let closed = "outboundTrafficPolicy: {mode: REGISTRY_ONLY}";
    let root = sidecar("root", "istio-system", closed);
    assert_eq!(statuses(&root), [200, 200, 200, 502]);
    let plain = sidecar("plain", "default", &format!("egress: [{{hosts: ['./*']}}], {closed}"));
    assert_eq!(statuses(&(root.clone() + &plain)), [200, 502, 502, 502]);
    let picky = sidecar(
        "picky",
        "default",
        &format!(
            "workloadSelector: {{labels: {{app: a}}}}, egress: [{{hosts: ['elsewhere/far.example.com']}}], {closed}"
        ),
    );
    assert_eq!(statuses(&(root + &plain + &picky)), [502, 200, 502, 502]);
    let nothing = sidecar("nothing", "default", "egress: [{hosts: ['~/*']}], outboundTrafficPolicy: {}");
    assert_eq!(statuses(&nothing), [502, 502, 502, 502]);
}
