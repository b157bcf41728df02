//! Listeners of a Sidecar's own: `egress` with a port, and `ingress`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};

use rustix::process::Signal;

use super::{entry, finish, on_each_driver};
use crate::support::client::{Client, once};
use crate::support::origin::Origin;
use crate::support::ports;
use crate::support::ringway::{Driver, Ringway, Setup};
use crate::support::wait::eventually;

on_each_driver![
    a_port_of_its_own_for_some_hosts,
    undeclared_hosts_on_a_bound_listener,
    bytes_on_bound_listeners,
    an_http_proxy_for_some_hosts,
    the_mesh_sees_what_the_listener_of_a_port_lets_in,
    requests_to_the_workload,
    bytes_to_the_workload,
    a_workload_at_a_unix_socket,
    a_workload_that_is_not_there,
    limits_of_the_workload,
    one_port_outward_on_loopback_and_inward_elsewhere,
    a_listener_drains,
    undeclared_hosts_by_an_egress_proxy,
    what_is_behind_a_bound_listener_is_not_itself,
];

/// A Sidecar document.
fn document(spec: &str) -> String {
    format!("apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: s}}\nspec: {{{spec}}}\n")
}

/// A ringway with these documents and no listeners but those that they open.
fn start(driver: Driver, mode: &str, documents: &[String]) -> Ringway {
    setup(driver, mode, documents).start()
}

fn setup(driver: Driver, mode: &str, documents: &[String]) -> Setup {
    let setup = Setup::new(driver).gateway_ports(&[]);
    setup.mesh_config("outboundTrafficPolicy", &format!("{{mode: {mode}}}")).yaml(documents.join("---\n"))
}

/// An origin that says who it is.
fn says(word: &str) -> Origin {
    Origin::replying(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{word}", word.len()))
}

/// A server that repeats what it hears, in capitals.
fn loud() -> Origin {
    Origin::start(|peer| {
        let mut stream = peer.stream()?.try_clone()?;
        let mut chunk = [0; 4096];
        loop {
            match stream.read(&mut chunk)? {
                0 => return Ok(()),
                n => stream.write_all(&chunk[..n].to_ascii_uppercase())?,
            }
        }
    })
}

fn get(host: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

#[track_caller]
fn hears_capitals(at: SocketAddr) {
    let mut client = Client::connect(at);
    client.send("\0hello");
    assert_eq!(client.raw(6), b"\0HELLO");
    client.half_close();
    client.expect_closed();
}

fn a_port_of_its_own_for_some_hosts(driver: Driver) {
    let (one, two) = (says("one"), says("two"));
    let port = ports::free();
    let ringway = start(
        driver,
        "REGISTRY_ONLY",
        &[
            entry("one.example.com", port, "HTTP", one.port()),
            entry("two.example.com", port, "HTTP", two.port()),
            document(&format!("egress: [{{port: {{number: {port}, protocol: HTTP}}, hosts: ['*/one.example.com']}}]")),
        ],
    );
    let listener = ports::loopback(port);
    let mut client = Client::connect(listener);
    for host in ["one.example.com".to_owned(), format!("one.example.com:{port}"), "one.example.com:80".to_owned()] {
        assert_eq!(client.ask(get(&host)).text(), "one", "{host}");
    }
    assert_eq!(client.ask(get("two.example.com")).status, 502, "it is not let in");
    assert_eq!(client.ask("GET http://one.example.com/ HTTP/1.1\r\nHost: x\r\n\r\n").text(), "one");
    // A listener for one port is no proxy for tunnels.
    assert_eq!(once(listener, "CONNECT one.example.com:80 HTTP/1.1\r\nHost: x\r\n\r\n").status, 404);
    drop(client);
    let line = ringway.logged(&["\"one.example.com:80\""]);
    let cluster = format!("\"127.0.0.1:{}\" outbound|{port}||one.example.com ", one.port());
    assert!(line.contains(&cluster) && line.contains(&format!(" {listener} ")), "{line}");
    assert_eq!(ringway.stat(&format!("http.outbound_127.0.0.1_{port}.downstream_rq_total")), 6);
    assert_eq!(ringway.stat(&format!("listener.127.0.0.1_{port}.downstream_cx_total")), 2);
    assert_eq!(ringway.admin("/listeners").text(), format!("127.0.0.1_{port}::{listener}\n"));
    let dump = ringway.admin("/config_dump").text();
    assert!(dump.contains(&format!("\"serves\": \"egress port {port} of the Sidecar\"")), "{dump}");
    assert!(dump.contains("one.example.com") && !dump.contains(&format!("\"two.example.com:{port}\"")), "{dump}");
    finish(ringway);
}

fn undeclared_hosts_on_a_bound_listener(driver: Driver) {
    let origin = says("anywhere");
    let port = ports::free();
    let egress = format!("egress: [{{port: {{number: {port}, protocol: HTTP}}, hosts: ['*/*']}}]");
    let ringway = start(driver, "ALLOW_ANY", &[entry("one.example.com", port, "HTTP", 9), document(&egress)]);
    let host = format!("localhost:{}", origin.port());
    assert_eq!(once(ports::loopback(port), get(&host)).text(), "anywhere");
    let line = ringway.logged(&[&host]);
    assert!(line.contains(" PassthroughCluster ") && line.ends_with(" - allow_any"), "{line}");
    // Bytes that are no HTTP name no place to go.
    let mut client = Client::connect(ports::loopback(port));
    client.send("\0\x01\x02 no request at all\r\n\r\n");
    assert!(client.response().status == 400, "the port speaks HTTP");
    client.expect_closed();
    finish(ringway);
}

fn bytes_on_bound_listeners(driver: Driver) {
    let (db, cache, web) = (loud(), loud(), says("web"));
    let [db_port, cache_port, open_port] = [0; 3].map(|_| ports::free());
    let ringway = start(
        driver,
        "REGISTRY_ONLY",
        &[
            entry("cache.example.com", cache_port, "TCP", cache.port()),
            entry("db.example.com", db_port, "TCP", db.port()),
            entry("web.example.com", open_port, "HTTP", web.port()),
            document(&format!(
                "egress: [{{port: {{number: {db_port}, protocol: TCP}}, hosts: ['*/*']}}, {{port: {{number: {cache_port}}}, \
                 hosts: ['*/*']}}, {{port: {{number: {open_port}, protocol: TLS}}, hosts: ['*/*']}}]"
            )),
        ],
    );
    for _ in 0..2 {
        hears_capitals(ports::loopback(db_port));
    }
    hears_capitals(ports::loopback(cache_port));
    // TLS for a name that nobody has leads nowhere; so does what is no TLS.
    let mut client = Client::connect(ports::loopback(open_port));
    client.send("\0hello");
    client.expect_closed();
    let nowhere = ringway.logged(&["] \"- - -\" 0 UH ", " BlackHoleCluster "]);
    assert!(nowhere.contains(&format!(" 127.0.0.1:{open_port} ")), "{nowhere}");
    let line = ringway.logged(&["] \"- - -\" 0 - ", &format!(" outbound|{db_port}||db.example.com ")]);
    assert!(line.contains(&format!("\"127.0.0.1:{}\"", db.port())), "{line}");
    for (name, connections) in
        [(format!("outbound|{db_port}||db.example.com"), 2), (format!("outbound|{cache_port}||cache.example.com"), 1)]
    {
        eventually("the connections are counted where they belong", || {
            (ringway.stat(&format!("tcp.{name}.downstream_cx_total")) == connections).then_some(())
        });
        let bytes = ringway.stat(&format!("tcp.{name}.downstream_cx_rx_bytes_total"));
        assert_eq!(bytes, 6 * connections, "{name}");
    }
    assert_eq!(ringway.stat("tcp.BlackHoleCluster.downstream_cx_no_route"), 1);
    finish(ringway);
}

fn an_http_proxy_for_some_hosts(driver: Driver) {
    let (one, two, db) = (says("one"), says("two"), loud());
    let port = ports::free();
    let ringway = start(
        driver,
        "REGISTRY_ONLY",
        &[
            entry("one.example.com", 80, "HTTP", one.port()),
            entry("one.example.org", 8000, "HTTP", one.port()),
            entry("db.example.com", 5432, "TCP", db.port()),
            entry("two.example.net", 80, "HTTP", two.port()),
            document(&format!(
                "egress: [{{port: {{number: {port}, protocol: HTTP_PROXY}}, bind: 127.0.0.2, hosts: ['*/*.example.com', \
                 '*/*.example.org']}}]"
            )),
        ],
    );
    let proxy = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), port));
    let curl = |url: &str| {
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "20", "-w", " %{http_code}", "-x", &format!("http://{proxy}"), url])
            .output()
            .expect("curl");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(curl("http://one.example.com/"), "one 200");
    assert_eq!(curl("http://one.example.org:8000/"), "one 200");
    assert_eq!(curl("http://one.example.org/"), " 502");
    assert_eq!(curl("http://two.example.net/"), " 502");
    let mut client = Client::connect(proxy);
    client.send("CONNECT db.example.com:5432 HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.response_to("CONNECT").status, 200);
    client.send("hello");
    assert_eq!(client.raw(5), b"HELLO");
    drop(client);
    assert_eq!(once(proxy, "CONNECT two.example.net:80 HTTP/1.1\r\nHost: x\r\n\r\n").status, 502);
    finish(ringway);
}

fn the_mesh_sees_what_the_listener_of_a_port_lets_in(driver: Driver) {
    let (one, two) = (says("one"), says("two"));
    let documents = [
        entry("one.example.com", 8000, "HTTP", one.port()),
        entry("two.example.com", 8000, "HTTP", two.port()),
        entry("three.example.com", 8001, "HTTP", two.port()),
        document("egress: [{port: {number: 8000, protocol: HTTP}, hosts: ['*/one.example.com']}, {hosts: ['*/*']}]"),
    ];
    let ringway = super::sidecar(driver, "REGISTRY_ONLY", &documents);
    let mut client = Client::connect(ringway.mesh());
    for (host, status, text) in [
        ("one.example.com:8000", 200, "one"),
        ("two.example.com:8000", 502, ""),
        ("three.example.com:8001", 200, "two"),
        ("one.example.com:8001", 502, ""),
    ] {
        let response = client.ask(get(host));
        assert_eq!((response.status, response.text().as_str()), (status, text), "{host}");
    }
    // Tunnels see the same.
    assert_eq!(once(ringway.mesh(), "CONNECT two.example.com:8000 HTTP/1.1\r\nHost: x\r\n\r\n").status, 502);
    drop(client);
    finish(ringway);
}

/// An ingress listener on `port` for a workload on `workload`, with more fields.
fn ingress(port: u16, protocol: &str, workload: u16, more: &str) -> String {
    format!("{{port: {{number: {port}{protocol}}}, defaultEndpoint: '127.0.0.1:{workload}'{more}}}")
}

fn requests_to_the_workload(driver: Driver) {
    let workload = says("workload");
    let port = ports::free();
    let spec = format!("ingress: [{}]", ingress(port, ", protocol: HTTP", workload.port(), ""));
    let ringway = start(driver, "REGISTRY_ONLY", &[document(&spec)]);
    let mut client = Client::connect(ports::loopback(port));
    let request = "GET /a?b HTTP/1.1\r\nHost: any.example.com:1\r\nX-Forwarded-For: 10.9.9.9\r\nX-Request-Id: mine\r\n\
                   X-Forwarded-Proto: https\r\nX-Envoy-Attempt-Count: 3\r\nX-Envoy-Max-Retries: 9\r\n\r\n";
    let response = client.ask(request);
    assert_eq!((response.status, response.text().as_str()), (200, "workload"));
    assert_eq!(response.header("server"), Some("ringway"));
    assert!(response.header("x-envoy-upstream-service-time").is_some());
    // What the caller's own sidecar said of the request stands.
    let asked = workload.take().pop().expect("a request");
    assert_eq!(asked.line(), "GET /a?b HTTP/1.1");
    for (name, value) in [
        ("host", Some("any.example.com:1")),
        ("x-forwarded-for", Some("10.9.9.9")),
        ("x-request-id", Some("mine")),
        ("x-forwarded-proto", Some("https")),
        ("x-envoy-attempt-count", Some("3")),
        ("x-envoy-max-retries", None),
        ("x-envoy-external-address", None),
    ] {
        assert_eq!(asked.header(name), value, "{name}");
    }
    // Whoever is no sidecar says nothing of tries, and nothing is said for it.
    assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: other.example.com\r\n\r\n").text(), "workload");
    let asked = workload.take().pop().expect("a request");
    assert_eq!((asked.header("x-envoy-attempt-count"), asked.header("x-forwarded-for")), (None, None));
    assert_eq!((asked.header("x-forwarded-proto"), asked.header("x-request-id").is_some()), (Some("http"), true));
    assert_eq!(once(ports::loopback(port), "CONNECT a.com:80 HTTP/1.1\r\nHost: a.com\r\n\r\n").status, 404);
    drop(client);
    let line = ringway.logged(&["GET /a?b"]);
    let upstream = format!(" \"127.0.0.1:{}\" inbound|{port}|| 127.0.0.1:", workload.port());
    assert!(line.contains(&upstream) && line.ends_with(" - default"), "{line}");
    assert_eq!(ringway.stat(&format!("http.inbound_127.0.0.1_{port}.downstream_rq_2xx")), 2);
    assert_eq!(ringway.stat(&format!("cluster.inbound|{port}||.upstream_rq_200")), 2);
    let dump = ringway.admin("/config_dump").text();
    for part in [format!("\"inbound|http|{port}\""), format!("\"serves\": \"ingress port {port} of the Sidecar\"")] {
        assert!(dump.contains(&part), "{part}: {dump}");
    }
    finish(ringway);
}

fn bytes_to_the_workload(driver: Driver) {
    let (workload, web) = (loud(), says("web"));
    let [tcp, unsaid, both] = [0; 3].map(|_| ports::free());
    let spec = format!(
        "ingress: [{}, {}, {}]",
        ingress(tcp, ", protocol: TCP", workload.port(), ""),
        ingress(unsaid, "", workload.port(), ""),
        ingress(both, "", web.port(), ""),
    );
    let ringway = start(driver, "REGISTRY_ONLY", &[document(&spec)]);
    hears_capitals(ports::loopback(tcp));
    hears_capitals(ports::loopback(unsaid));
    // The first bytes say that it is HTTP.
    assert_eq!(once(ports::loopback(both), get("a")).text(), "web");
    ringway.logged(&["GET /x", &format!(" inbound|{both}|| ")]);
    for port in [tcp, unsaid] {
        ringway.logged(&["\"- - -\" 0 - ", &format!(" inbound|{port}|| ")]);
        eventually("the connection is counted", || {
            (ringway.stat(&format!("tcp.inbound|{port}||.downstream_cx_total")) == 1).then_some(())
        });
    }
    assert_eq!(ringway.stat(&format!("tcp.inbound|{both}||.downstream_cx_total")), 0);
    finish(ringway);
}

fn a_workload_at_a_unix_socket(driver: Driver) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("workload");
    let listener = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
    let workload = Origin::start_on(listener, |peer| {
        while peer.request()?.is_some() {
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")?;
        }
        Ok(())
    });
    let [http, tcp] = [0; 2].map(|_| ports::free());
    let at = |port: u16, protocol: &str| {
        format!("{{port: {{number: {port}, protocol: {protocol}}}, defaultEndpoint: 'unix://{}'}}", path.display())
    };
    let spec = format!("ingress: [{}, {}]", at(http, "HTTP"), at(tcp, "TCP"));
    let ringway = start(driver, "REGISTRY_ONLY", &[document(&spec)]);
    for port in [http, tcp] {
        assert_eq!(once(ports::loopback(port), get("a")).text(), "hi");
    }
    let shown = format!(" \"{}\" inbound|{http}|| ", path.display());
    ringway.logged(&["GET /x", &shown]);
    ringway.logged(&["\"- - -\" 0 - ", &format!(" inbound|{tcp}|| ")]);
    assert_eq!(workload.requests().len(), 2);
    finish(ringway);
}

fn a_workload_that_is_not_there(driver: Driver) {
    let [http, tcp, nobody] = [0; 3].map(|_| ports::free());
    let listeners = [ingress(http, ", protocol: HTTP", nobody, ""), ingress(tcp, ", protocol: TCP", nobody, "")];
    let spec = format!("ingress: [{}]", listeners.join(", "));
    let ringway = start(driver, "REGISTRY_ONLY", &[document(&spec)]);
    assert_eq!(once(ports::loopback(http), get("a")).status, 503);
    // Istio's policy for what comes in: what has not reached the workload is sent again, twice.
    let cluster = format!("cluster.inbound|{http}||");
    assert_eq!(ringway.stat(&format!("{cluster}.upstream_cx_connect_fail")), 3);
    assert_eq!(ringway.stat(&format!("{cluster}.upstream_rq_retry")), 2);
    ringway.logged(&["GET /x", " 503 URX,UF ", &format!(" inbound|{http}|| ")]);
    Client::connect(ports::loopback(tcp)).expect_closed();
    ringway.logged(&["\"- - -\" 0 URX,UF ", &format!(" inbound|{tcp}|| ")]);
    finish(ringway);
}

fn limits_of_the_workload(driver: Driver) {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let seen = gate.clone();
    // It answers when the gate is opened, one request after the other gone through.
    let workload = Origin::start(move |peer| {
        while peer.request()?.is_some() {
            let (open, opened) = &*seen;
            drop(opened.wait_while(open.lock().expect("the gate"), |open| !*open).expect("the gate"));
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
        }
        Ok(())
    });
    let set = |open: bool| {
        *gate.0.lock().expect("the gate") = open;
        gate.1.notify_all();
    };
    let [own, shared] = [0; 2].map(|_| ports::free());
    let pool = |requests: u32| format!("{{http: {{http2MaxRequests: {requests}}}}}");
    let spec = format!(
        "ingress: [{}, {}], inboundConnectionPool: {}",
        ingress(own, ", protocol: HTTP", workload.port(), &format!(", connectionPool: {}", pool(1))),
        ingress(shared, ", protocol: HTTP", workload.port(), ""),
        pool(2),
    );
    let ringway = start(driver, "REGISTRY_ONLY", &[document(&spec)]);
    for (port, limit) in [(own, 1), (shared, 2)] {
        set(false);
        let mut clients: Vec<_> = (0..4).map(|_| Client::connect(ports::loopback(port))).collect();
        clients.iter_mut().for_each(|client| client.send(get("a")));
        eventually("the others are refused", || {
            let refused = ringway.stat(&format!("cluster.inbound|{port}||.upstream_rq_active_overflow"));
            (refused == 4 - limit).then_some(())
        });
        set(true);
        let statuses = clients.iter_mut().map(|client| client.response().status);
        assert_eq!(statuses.filter(|status| *status == 200).count() as u64, limit);
    }
    finish(ringway);
}

/// Istio's usual pair: the application calls others on `127.0.0.1:9080`, and is called by them on its host's port 9080.
fn one_port_outward_on_loopback_and_inward_elsewhere(driver: Driver) {
    let (other, workload) = (says("other"), says("workload"));
    let port = ports::free();
    let spec = format!(
        "egress: [{{port: {{number: {port}, protocol: HTTP}}, hosts: ['*/*']}}], ingress: [{}]",
        ingress(port, ", protocol: HTTP", workload.port(), ", bind: 0.0.0.0"),
    );
    let documents = [entry("other.example.com", port, "HTTP", other.port()), document(&spec)];
    let ringway = setup(driver, "REGISTRY_ONLY", &documents).cpus(&[0, 1]).start();
    for _ in 0..8 {
        assert_eq!(once(ports::loopback(port), get("other.example.com")).text(), "other");
        let elsewhere = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 3), port));
        assert_eq!(once(elsewhere, get("other.example.com")).text(), "workload");
    }
    finish(ringway);
}

fn a_listener_drains(driver: Driver) {
    let workload = Origin::echo();
    let [port, tcp] = [0; 2].map(|_| ports::free());
    let listeners =
        [ingress(port, ", protocol: HTTP", workload.port(), ""), ingress(tcp, ", protocol: TCP", workload.port(), "")];
    let spec = format!("ingress: [{}]", listeners.join(", "));
    let mut ringway = start(driver, "REGISTRY_ONLY", &[document(&spec)]);
    let mut idle = Client::connect(ports::loopback(port));
    assert_eq!(idle.ask("POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 2\r\n\r\nhi").text(), "hi");
    let mut busy = Client::connect(ports::loopback(port));
    busy.send("POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 10\r\n\r\n12345");
    let mut bytes = Client::connect(ports::loopback(tcp));
    bytes.send("POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 4\r\n\r\nab");
    // The first one's connection to the workload serves the second, too.
    eventually("both at the workload", || (workload.open() == 2).then_some(()));
    ringway.process.signal(Signal::TERM);
    idle.expect_closed();
    eventually("nothing new", || {
        [port, tcp].iter().all(|port| Client::try_connect(ports::loopback(*port)).is_err()).then_some(())
    });
    busy.send("67890");
    let response = busy.response();
    assert_eq!((response.text().as_str(), response.header("connection")), ("1234567890", Some("close")));
    busy.expect_closed();
    bytes.send("cd");
    assert_eq!(bytes.response().text(), "abcd");
    drop(bytes);
    let stopped = ringway.ended();
    assert!(stopped.log.iter().any(|line| line.contains(&format!(" inbound|{tcp}|| "))), "{:#?}", stopped.log);
}

fn undeclared_hosts_by_an_egress_proxy(driver: Driver) {
    let (proxy, bytes, one) = (says("proxy"), loud(), says("one"));
    let [web, tcp] = [0; 2].map(|_| ports::free());
    let with = |number: u16, egress: &str| {
        document(&format!(
            "outboundTrafficPolicy: {{mode: ALLOW_ANY, egressProxy: {{host: proxy.example.com, port: {{number: {number}}}}}}}, \
             egress: [{egress}{{hosts: ['*/*']}}]"
        ))
    };
    let services =
        [entry("proxy.example.com", 3128, "HTTP", proxy.port()), entry("one.example.com", web, "HTTP", one.port())];
    let bound = format!("{{port: {{number: {web}, protocol: HTTP}}, captureMode: NONE, hosts: ['*/*']}}, ");
    let ringway = super::sidecar(driver, "REGISTRY_ONLY", &[&services[..], &[with(3128, &bound)]].concat());
    for listener in [ringway.mesh(), ports::loopback(web)] {
        assert_eq!(once(listener, get("nobody.example.com:81")).text(), "proxy");
        assert_eq!(once(listener, get(&format!("one.example.com:{web}"))).text(), "one");
    }
    let asked = proxy.take();
    assert_eq!((asked[0].line(), asked[0].header("host")), ("GET /x HTTP/1.1", Some("nobody.example.com:81")));
    let line = ringway.logged(&["\"nobody.example.com:81\""]);
    assert!(line.contains(" outbound|3128||proxy.example.com ") && line.ends_with(" - allow_any"), "{line}");
    finish(ringway);
    // Bytes take the same way, through tunnels and from bound listeners.
    let services =
        [entry("proxy.example.com", 3129, "TCP", bytes.port()), entry("one.example.com", tcp, "TLS", one.port())];
    let bound = format!("{{port: {{number: {tcp}, protocol: TLS}}, captureMode: NONE, hosts: ['*/*']}}, ");
    let ringway = super::sidecar(driver, "REGISTRY_ONLY", &[&services[..], &[with(3129, &bound)]].concat());
    let mut client = Client::connect(ringway.mesh());
    client.send("CONNECT nobody.example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.response_to("CONNECT").status, 200);
    client.send("hello");
    assert_eq!(client.raw(5), b"HELLO");
    drop(client);
    hears_capitals(ports::loopback(tcp));
    ringway.logged(&["\"- - -\" 0 - ", " outbound|3129||proxy.example.com "]);
    eventually("counted by its name", || {
        (ringway.stat("tcp.outbound|3129||proxy.example.com.downstream_cx_total") == 1).then_some(())
    });
    finish(ringway);
}

/// A listener that clients connect to by name of whatever they want must not be a way to itself or to the admin.
fn what_is_behind_a_bound_listener_is_not_itself(driver: Driver) {
    let port = ports::free();
    let egress = format!("egress: [{{port: {{number: {port}, protocol: HTTP}}, hosts: ['*/*']}}]");
    let ringway = start(driver, "ALLOW_ANY", &[entry("one.example.com", port, "HTTP", 9), document(&egress)]);
    for own in [ports::loopback(port), ringway.admin] {
        assert_eq!(once(ports::loopback(port), get(&own.to_string())).status, 502, "{own}");
        ringway.logged(&[" loop_detected ", &format!("\"{own}\"")]);
    }
    finish(ringway);
}

#[test]
fn a_port_that_another_process_has() {
    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let spec = format!("ingress: [{}]", ingress(port, ", protocol: HTTP", 9, ", bind: 127.0.0.1"));
    let (code, said) = setup(Driver::Epoll, "REGISTRY_ONLY", &[document(&spec)]).fail();
    assert_eq!(code, Some(1), "{said}");
    let wanted =
        format!("cannot listen on 127.0.0.1:{port} for ingress port {port} of the Sidecar: Address already in use");
    assert!(said.contains(&wanted), "{said}");
}

#[test]
fn two_listeners_at_one_place() {
    let port = ports::free();
    let egress = format!("egress: [{{port: {{number: {port}, protocol: HTTP}}, bind: 127.0.0.1, hosts: ['*/*']}}]");
    let spec = format!("{egress}, ingress: [{}]", ingress(port, ", protocol: HTTP", 9, ", bind: 127.0.0.1"));
    let (code, said) = setup(Driver::Epoll, "REGISTRY_ONLY", &[document(&spec)]).fail();
    assert_eq!(code, Some(2), "{said}");
    let wanted =
        format!("spec.egress[0].port: error: 127.0.0.1:{port} is already taken by ingress port {port} of the Sidecar");
    assert!(said.contains(&wanted), "{said}");
}
