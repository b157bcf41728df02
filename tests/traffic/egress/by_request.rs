//! Where the request itself says where it goes: `resolution: NONE` and `DYNAMIC_DNS`, hosts that nobody declared, and what a
//! Sidecar leaves of all that.

use std::time::{Duration, Instant};

use super::{answering, asking, echoing, finish, get, on_each_driver, who};
use crate::name_server::{NameServer, Says};
use crate::support::client::{Client, once};
use crate::support::origin::Origin;
use crate::support::ports;
use crate::support::ringway::{Driver, Ringway, Setup};
use crate::support::wait::eventually;

on_each_driver!(
    hosts_that_are_their_own_address,
    hosts_of_a_wildcard,
    a_wildcard_at_a_gateway,
    copies_go_to_the_host_of_the_request,
    copies_of_a_gateway,
    copies_that_go_nowhere,
    a_host_that_nobody_declared,
    a_host_that_nobody_declared_by_its_name,
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

/// Everything for any host under `example.com` goes to a service of the tests, and what these fields say besides.
fn copied(origin: u16, gateway: &str, fields: &str) -> String {
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: main}}
spec:
  hosts: [main.internal]
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP, targetPort: {origin}}}]
  endpoints: [{{address: 127.0.0.1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: copied}}
spec:
  hosts: ['*.example.com']
  gateways: [{gateway}]
  http:
  - route: [{{destination: {{host: main.internal}}}}]
    mirror: {{host: '*.example.com'}}
    {fields}
"
    )
}

fn ok() -> Origin {
    Origin::replying("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
}

/// The host that the request names gets a copy, with the suffix in its Host or without; at the mesh also with `resolution:
/// NONE`.
fn copies_go_to_the_host_of_the_request(driver: Driver) {
    for (suffix, resolution) in [("-shadow", "DYNAMIC_DNS"), ("", "DYNAMIC_DNS"), ("", "NONE")] {
        let port = ports::free();
        let (main, mirror) = (ok(), echoing("127.0.0.2", port));
        let server = NameServer::start();
        // The first address takes no connection.
        server.at("a.example.com", &["127.0.0.9", "127.0.0.2"]);
        let number = if resolution == "NONE" { port } else { 80 };
        let yaml = format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: wild}}\nspec: {{hosts: \
             ['*.example.com'], resolution: {resolution}, ports: [{{number: {number}, name: http, protocol: HTTP, \
             targetPort: {port}}}]}}\n"
        ) + &copied(main.port(), "mesh", "");
        let suffixed = format!("\"{suffix}\"");
        let ringway = asking(driver, &server, "REGISTRY_ONLY").spec("mirrorHostSuffix", &suffixed).yaml(yaml).start();
        let host = format!("A.example.com:{number}");
        for _ in 0..2 {
            assert_eq!(get(&ringway, &host).status, 200);
        }
        let copies = eventually("two copies", || (mirror.requests().len() == 2).then(|| mirror.requests()));
        assert_eq!(copies[1].header("host"), Some(format!("A.example.com{suffix}:{number}").as_str()));
        assert_eq!(copies[1].header("x-envoy-internal"), Some("true"));
        assert_eq!(main.requests().len(), 2);
        assert_eq!(server.asked("a.example.com-shadow"), 0);
        let cluster = format!("cluster.outbound|{number}||*.example.com");
        eventually("its statistics", || {
            (ringway.stat(&format!("{cluster}.internal.upstream_rq_200")) == 2).then_some(())
        });
        finish(ringway);
    }
}

/// Only that a client connected to a gateway says nothing, and there `resolution: NONE` is refused (`bad_yaml`).
fn copies_of_a_gateway(driver: Driver) {
    let port = ports::free();
    let (main, mirror) = (ok(), echoing("127.0.0.2", port));
    let server = NameServer::start();
    server.at("a.example.com", &["127.0.0.2"]);
    let gateway = "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: egress}\nspec: {servers: \
                   [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}\n";
    let yaml = wildcard(port) + gateway + &copied(main.port(), "egress", "");
    let ringway = asking(driver, &server, "REGISTRY_ONLY").yaml(yaml).start();
    let ask = "GET /x HTTP/1.1\r\nHost: a.example.com\r\nConnection: close\r\n\r\n";
    assert_eq!(once(ringway.address(), ask).status, 200);
    let copies = eventually("a copy", || Some(mirror.requests()).filter(|copies| copies.len() == 1));
    assert_eq!(copies[0].header("host"), Some("a.example.com-shadow"));
    finish(ringway);
}

/// Hosts that are not the ServiceEntry's, that nobody knows, that do not answer, and that are the proxy: nobody notices but the
/// mirror's own statistics.
fn copies_that_go_nowhere(driver: Driver) {
    let port = ports::free();
    let main = ok();
    let server = NameServer::start();
    server.at("refuses.example.com", &["127.0.0.9"]);
    server.at("us.example.com", &["127.0.0.1"]);
    server.says("silent.example.com", Says::Silence);
    let entry = wildcard(port);
    let yaml = entry.clone() + &copied(main.port(), "mesh", "rewrite: {authority: other.example.net}");
    let cluster = "cluster.outbound|80||*.example.com";
    let ringway = asking(driver, &server, "REGISTRY_ONLY").yaml(yaml).start();
    assert_eq!(get(&ringway, "a.example.com").status, 200);
    let stat = |ringway: &Ringway, name: &str| ringway.stat(&format!("{cluster}.{name}"));
    eventually("an end", || (stat(&ringway, "internal.upstream_rq_503") == 1).then_some(()));
    assert_eq!(stat(&ringway, "upstream_cx_none_healthy"), 1, "what it was rewritten to is not its host");
    assert_eq!(server.asked("other.example.net"), 0);
    finish(ringway);

    let yaml = entry + &copied(main.port(), "mesh", "timeout: 2s");
    let ringway = asking(driver, &server, "REGISTRY_ONLY").yaml(yaml).start();
    for name in ["refuses", "nobody", "silent"] {
        let began = Instant::now();
        assert_eq!(get(&ringway, &format!("{name}.example.com")).status, 200);
        assert!(began.elapsed() < Duration::from_secs(1), "nobody waits for a copy: {:?}", began.elapsed());
    }
    eventually("three ends", || (stat(&ringway, "internal.upstream_rq_503") == 3).then_some(()));
    assert_eq!(stat(&ringway, "upstream_cx_connect_fail"), 1);
    finish(ringway);

    let own = ports::free();
    let entry = wildcard(own);
    let yaml = entry + &copied(main.port(), "mesh", "");
    let ringway = asking(driver, &server, "REGISTRY_ONLY").mesh_at(ports::loopback(own)).yaml(yaml).start();
    assert_eq!(get(&ringway, "us.example.com").status, 200);
    eventually("an end", || (stat(&ringway, "internal.upstream_rq_502") == 1).then_some(()));
    assert_eq!(main.requests().iter().filter(|request| request.header("x-envoy-internal").is_some()).count(), 0);
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

/// ALLOW_ANY_DYNAMIC_DNS: the same for applications that say themselves where they want to go, under another name. What
/// comes of redirected connections is in the module `sidecar`.
fn a_host_that_nobody_declared_by_its_name(driver: Driver) {
    let port = ports::free();
    let origin = echoing("127.0.0.2", port);
    let server = NameServer::start();
    server.at("a.example.com", &["127.0.0.9", "127.0.0.2"]);
    let ringway = asking(driver, &server, "ALLOW_ANY_DYNAMIC_DNS").start();
    assert_eq!(answering(&ringway, &format!("a.example.com:{port}"), 5), ["127.0.0.2"]);
    assert_eq!(origin.accepted(), 1, "one connection for five requests in turn");
    assert_eq!(who(&get(&ringway, &format!("127.0.0.2:{port}"))), "127.0.0.2", "an address is its own");
    let line = ringway.logged(&["\"127.0.0.2", "GET /x"]);
    assert!(line.contains(&format!("\"127.0.0.2:{port}\" AllowAnyDynamicDNSCluster ")), "{line}");
    assert!(line.ends_with(" allow_any_dynamic_dns"), "{line}");
    assert_eq!(get(&ringway, "nobody.example.com").status, 503);
    ringway.logged(&["nobody.example.com", " 503 DF "]);
    assert_eq!(ringway.stat("cluster.AllowAnyDynamicDNSCluster.upstream_rq_200"), 6);
    finish(ringway);
}

/// A name that means this process, and one that changes its mind: it is asked about, looked at, and then connected to
/// where it was looked at.
fn a_name_that_comes_back_to_us(driver: Driver) {
    let server = NameServer::start();
    server.at("us.example.com", &["127.0.0.1"]);
    for mode in ["ALLOW_ANY", "ALLOW_ANY_DYNAMIC_DNS"] {
        let ringway = asking(driver, &server, mode).start();
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
