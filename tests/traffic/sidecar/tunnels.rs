//! CONNECT: `https_proxy=http://127.0.0.1:15001`, and everything else that speaks through an HTTP proxy.

use std::io::{Read, Write};
use std::process::Command;
use std::time::Duration;

use super::{entry, finish, on_each_driver, sidecar};
use crate::support::client::{Client, reset};
use crate::support::origin::Origin;
use crate::support::ports;
use crate::support::process::Process;
use crate::support::ringway::{Driver, Ringway, Setup};
use crate::support::wait::eventually;

on_each_driver![
    curl_through_a_tunnel_to_tls,
    a_tunnel_to_a_declared_service,
    a_tunnel_to_an_undeclared_host,
    a_tunnel_to_a_service_without_endpoints,
    registry_only,
    bytes_are_counted_both_ways,
    bytes_sent_along_with_the_connect_arrive,
    a_client_that_has_said_all_still_gets_the_answer,
    an_upstream_that_has_said_all_still_gets_the_rest,
    an_upstream_that_takes_no_more_is_still_heard,
    a_reset_of_either_side_resets_the_other,
    nothing_moves_for_too_long,
    requests_inside_a_tunnel_follow_the_rules,
    a_port_that_says_nothing_is_looked_at,
    a_failed_connect_is_told,
    a_gateway_makes_no_tunnels,
];

/// Asks for a tunnel and asserts that it is there.
#[track_caller]
fn open(ringway: &Ringway, authority: &str) -> Client {
    let mut client = Client::connect(ringway.mesh());
    client.send(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n"));
    let response = client.response_to("CONNECT");
    assert_eq!((response.status, response.head.headers.len()), (200, 0), "{response:?}");
    client
}

/// The answer to a CONNECT that is refused.
#[track_caller]
fn refused(ringway: &Ringway, authority: &str) -> u16 {
    let mut client = Client::connect(ringway.mesh());
    client.send(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n"));
    let status = client.response().status;
    client.expect_closed();
    status
}

/// An OpenSSL that answers each request with a page about the TLS that it came by.
fn tls_origin() -> (Process, u16, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=secure.example.com", "-addext", "subjectAltName=DNS:secure.example.com"])
        .args(["-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(dir.path())
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let port = ports::free();
    let mut command = Command::new("openssl");
    command.args(["s_server", "-www", "-quiet", "-key", "key.pem", "-cert", "cert.pem", "-accept"]);
    command.arg(format!("127.0.0.1:{port}")).current_dir(dir.path());
    let mut process = Process::start("openssl s_server", &mut command);
    process.wait_until("listening", || Client::try_connect(ports::loopback(port)).is_ok());
    (process, port, dir)
}

fn curl_through_a_tunnel_to_tls(driver: Driver) {
    let (_server, port, dir) = tls_origin();
    let ringway = sidecar(driver, "REGISTRY_ONLY", &[entry("secure.example.com", 443, "HTTPS", port)]);
    let proxy = format!("http://{}", ringway.mesh());
    let curl = Command::new("curl")
        .args(["-sS", "--max-time", "20", "-x", &proxy, "--cacert"])
        .arg(dir.path().join("cert.pem"))
        .arg("https://secure.example.com/")
        .output()
        .expect("curl");
    let page = String::from_utf8_lossy(&curl.stdout);
    assert!(curl.status.success(), "{}", String::from_utf8_lossy(&curl.stderr));
    assert!(page.contains("TLSv1.3"), "the certificate was checked from end to end: {page}");
    let line = ringway.logged(&["CONNECT"]);
    assert!(line.contains("\"CONNECT - HTTP/1.1\" 200 - via_upstream "), "{line}");
    let upstream = format!("\"secure.example.com:443\" \"127.0.0.1:{port}\" outbound|443||secure.example.com ");
    assert!(line.contains(&upstream), "{line}");
    finish(ringway);
}

fn a_tunnel_to_a_declared_service(driver: Driver) {
    let origin = Origin::reflecting("");
    let ringway = sidecar(driver, "REGISTRY_ONLY", &[entry("db.example.com", 5432, "TCP", origin.port())]);
    for authority in ["db.example.com:5432", "DB.example.com:5432"] {
        let mut client = open(&ringway, authority);
        client.send(b"\0\x01hello\xff");
        assert_eq!(client.raw(8), b"\0\x01hello\xff");
        client.half_close();
        client.expect_closed();
    }
    // A port that the service does not have is nobody's.
    assert_eq!(refused(&ringway, "db.example.com:5433"), 502);
    finish(ringway);
}

fn a_tunnel_to_an_undeclared_host(driver: Driver) {
    let origin = Origin::reflecting("");
    let ringway = sidecar(driver, "ALLOW_ANY", &[]);
    for host in ["127.0.0.1", "localhost"] {
        let authority = format!("{host}:{}", origin.port());
        let mut client = open(&ringway, &authority);
        client.send("hello");
        assert_eq!(client.raw(5), b"hello");
        drop(client);
        let line = ringway.logged(&[&format!("\"{authority}\"")]);
        assert!(line.contains(&format!("\"127.0.0.1:{}\" PassthroughCluster ", origin.port())), "{line}");
        assert!(line.ends_with(" - allow_any"), "{line}");
    }
    finish(ringway);
}

/// `resolution: NONE`: declared, but where it is only its name says.
fn a_tunnel_to_a_service_without_endpoints(driver: Driver) {
    let origin = Origin::reflecting("");
    let port = origin.port();
    let entry = format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: none}}\nspec:\n  hosts: [localhost]\n  \
         ports: [{{number: {port}, name: p, protocol: TLS}}]\n  resolution: NONE\n"
    );
    let ringway = sidecar(driver, "REGISTRY_ONLY", &[entry]);
    let mut client = open(&ringway, &format!("localhost:{port}"));
    client.send("hello");
    assert_eq!(client.raw(5), b"hello");
    drop(client);
    let line = ringway.logged(&["CONNECT"]);
    assert!(line.contains(&format!("\"127.0.0.1:{port}\" outbound|{port}||localhost ")), "{line}");
    assert_eq!(refused(&ringway, &format!("127.0.0.1:{port}")), 502);
    finish(ringway);
}

fn registry_only(driver: Driver) {
    let ringway = sidecar(driver, "REGISTRY_ONLY", &[]);
    let curl = Command::new("curl")
        .args(["-sS", "-o", "/dev/null", "-w", "%{http_connect}", "--max-time", "20", "--proxytunnel", "-x"])
        .args([&format!("http://{}", ringway.mesh()), "http://nobody.example.com/"])
        .output()
        .expect("curl");
    assert_eq!(String::from_utf8_lossy(&curl.stdout), "502");
    let line = ringway.logged(&["CONNECT", "\"nobody.example.com:80\""]);
    assert!(line.contains("\" 502 - direct_response ") && line.ends_with(" - block_all"), "{line}");
    assert_eq!(ringway.sum_of("downstream_cx_upgrades_total"), 0);
    finish(ringway);
}

fn bytes_are_counted_both_ways(driver: Driver) {
    const UP: usize = 300_000;
    const DOWN: usize = 700_000;
    let origin = Origin::start(|peer| {
        let received = peer.raw(UP)?.len();
        assert_eq!(received, UP);
        peer.send(vec![b'd'; DOWN])
    });
    let ringway = sidecar(driver, "REGISTRY_ONLY", &[entry("db.example.com", 5432, "TCP", origin.port())]);
    let cluster = |field: &str| ringway.stat(&format!("cluster.outbound|5432||db.example.com.{field}"));
    let mut client = open(&ringway, "db.example.com:5432");
    eventually("a tunnel", || (ringway.sum_of("downstream_cx_upgrades_active") == 1).then_some(()));
    assert_eq!((cluster("upstream_cx_active"), cluster("upstream_rq_active")), (1, 1));
    client.send(vec![b'u'; UP]);
    assert!(client.raw(DOWN).iter().all(|byte| *byte == b'd'));
    client.half_close();
    client.expect_closed();
    let line = ringway.logged(&["CONNECT"]);
    assert!(line.contains(&format!(" via_upstream - \"-\" {UP} {DOWN} ")), "{line}");
    assert_eq!(cluster("upstream_cx_tx_bytes_total"), UP as u64);
    assert_eq!(cluster("upstream_cx_rx_bytes_total"), DOWN as u64);
    assert_eq!(cluster("upstream_cx_total"), 1);
    assert_eq!(cluster("upstream_cx_http1_total"), 0, "it is none");
    let http = |field: &str| {
        let mesh = ringway.mesh();
        ringway.stat(&format!("http.outbound_{}_{}.{field}", mesh.ip(), mesh.port()))
    };
    assert!(http("downstream_cx_rx_bytes_total") >= UP as u64 && http("downstream_cx_tx_bytes_total") >= DOWN as u64);
    assert_eq!(http("downstream_cx_upgrades_total"), 1);
    finish(ringway);
}

fn bytes_sent_along_with_the_connect_arrive(driver: Driver) {
    let origin = Origin::reflecting("");
    let ringway = sidecar(driver, "REGISTRY_ONLY", &[entry("db.example.com", 5432, "TCP", origin.port())]);
    let mut client = Client::connect(ringway.mesh());
    client.send("CONNECT db.example.com:5432 HTTP/1.1\r\nHost: x\r\n\r\nearly");
    assert_eq!(client.response_to("CONNECT").status, 200);
    assert_eq!(client.raw(5), b"early");
    client.send(" and late");
    assert_eq!(client.raw(9), b" and late");
    drop(client);
    finish(ringway);
}

fn a_client_that_has_said_all_still_gets_the_answer(driver: Driver) {
    let origin = Origin::start(|peer| {
        let mut stream = peer.stream()?.try_clone()?;
        let mut question = Vec::new();
        stream.read_to_end(&mut question)?; // up to the client's FIN
        peer.send([b"answer to ", question.as_slice()].concat())
    });
    let ringway = sidecar(driver, "REGISTRY_ONLY", &[entry("db.example.com", 5432, "TCP", origin.port())]);
    let mut client = open(&ringway, "db.example.com:5432");
    client.send("question");
    client.half_close();
    assert_eq!(client.rest(), b"answer to question");
    // All at once, the end included.
    let mut client = Client::connect(ringway.mesh());
    client.send("CONNECT db.example.com:5432 HTTP/1.1\r\nHost: x\r\n\r\nall of it");
    client.half_close();
    assert_eq!(client.response_to("CONNECT").status, 200);
    assert_eq!(client.rest(), b"answer to all of it");
    finish(ringway);
}

fn an_upstream_that_has_said_all_still_gets_the_rest(driver: Driver) {
    let (sender, received) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let origin = Origin::start(move |peer| {
        peer.send("greeting")?;
        let mut stream = peer.stream()?.try_clone()?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest)?;
        let _ = sender.lock().expect("one script at a time").send(rest);
        Ok(())
    });
    let ringway = sidecar(driver, "REGISTRY_ONLY", &[entry("db.example.com", 5432, "TCP", origin.port())]);
    let mut client = open(&ringway, "db.example.com:5432");
    assert_eq!(client.rest(), b"greeting", "the upstream's end came through");
    client.send(vec![b'x'; 100_000]);
    client.half_close();
    let rest = received.recv_timeout(Duration::from_secs(20)).expect("the rest arrives");
    assert_eq!(rest.len(), 100_000);
    finish(ringway);
}

/// A server that has answered and closes while the client still sends: the answer must not be lost.
fn an_upstream_that_takes_no_more_is_still_heard(driver: Driver) {
    let origin = Origin::start(|peer| {
        peer.raw(1)?;
        peer.send("enough")
    });
    let ringway = sidecar(driver, "REGISTRY_ONLY", &[entry("db.example.com", 5432, "TCP", origin.port())]);
    let mut client = open(&ringway, "db.example.com:5432");
    client.send("x");
    assert_eq!(client.raw(6), b"enough");
    drop(client);
    finish(ringway);
}

fn a_reset_of_either_side_resets_the_other(driver: Driver) {
    let (sender, ends) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let origin = Origin::start(move |peer| {
        let first = peer.raw(1)?;
        if first == b"r" {
            reset(peer.stream()?.try_clone()?);
            return Ok(());
        }
        let mut stream = peer.stream()?.try_clone()?;
        let end = stream.read(&mut [0; 16]).map_err(|error| error.kind());
        let _ = sender.lock().expect("one script at a time").send(end);
        Ok(())
    });
    let ringway = sidecar(driver, "REGISTRY_ONLY", &[entry("db.example.com", 5432, "TCP", origin.port())]);
    let mut client = open(&ringway, "db.example.com:5432");
    client.send("k");
    eventually("the byte through", || (ringway.sum_of("db.example.com.upstream_cx_tx_bytes_total") == 1).then_some(()));
    client.reset();
    let end = ends.recv_timeout(Duration::from_secs(20)).expect("it ends");
    assert_eq!(end, Err(std::io::ErrorKind::ConnectionReset), "the upstream must not take it for an end");
    assert!(ringway.logged(&["CONNECT"]).contains(" 200 DC "));
    let mut client = open(&ringway, "db.example.com:5432");
    client.send("r");
    let mut stream = client.stream().try_clone().expect("a copy of a socket");
    let end = stream.read(&mut [0; 16]).map_err(|error| error.kind());
    assert_eq!(end, Err(std::io::ErrorKind::ConnectionReset), "nor must the client");
    drop((client, stream));
    finish(ringway);
}

fn nothing_moves_for_too_long(driver: Driver) {
    let origin = Origin::reflecting("");
    let rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: db}\nspec:\n  host: \
                db.example.com\n  trafficPolicy: {connectionPool: {tcp: {idleTimeout: 300ms}}}\n";
    let documents = [entry("db.example.com", 5432, "TCP", origin.port()), rule.to_owned()];
    let ringway = sidecar(driver, "REGISTRY_ONLY", &documents);
    let mut client = open(&ringway, "db.example.com:5432");
    for _ in 0..3 {
        client.send("x");
        assert_eq!(client.raw(1), b"x");
    }
    client.expect_closed();
    assert!(ringway.logged(&["CONNECT"]).contains(" 200 SI "));
    finish(ringway);
}

/// A client cannot go round the rules of a service by asking for a tunnel to it.
fn requests_inside_a_tunnel_follow_the_rules(driver: Driver) {
    let origin = Origin::replying("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    let rules = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: web}\nspec:\n  hosts: \
                 [web.example.com]\n  http:\n  - name: secret\n    match: [{uri: {prefix: /secret}}]\n    \
                 directResponse: {status: 403}\n  - name: rest\n    route: [{destination: {host: web.example.com}}]\n";
    let documents = [entry("web.example.com", 8000, "HTTP", origin.port()), rules.to_owned()];
    let ringway = sidecar(driver, "REGISTRY_ONLY", &documents);
    let mut client = open(&ringway, "web.example.com:8000");
    for (path, status) in [("/open", 200), ("/secret", 403), ("/open", 200)] {
        let response = client.ask(format!("GET {path} HTTP/1.1\r\nHost: web.example.com:8000\r\n\r\n"));
        assert_eq!(response.status, status, "{path}");
    }
    // Inside it there is no other way out.
    let response = client.ask("GET / HTTP/1.1\r\nHost: other.example.com\r\n\r\n");
    assert_eq!(response.status, 502, "{response:?}");
    client.send("CONNECT web.example.com:8000 HTTP/1.1\r\nHost: web.example.com:8000\r\n\r\n");
    assert_eq!(client.response().status, 404);
    client.expect_closed();
    // The requests, with the tunnel's head.
    let mut client = Client::connect(ringway.mesh());
    client.send(
        "CONNECT web.example.com:8000 HTTP/1.1\r\nHost: x\r\n\r\nGET /secret HTTP/1.1\r\nHost: web.example.com\r\n\r\n",
    );
    assert_eq!(client.response_to("CONNECT").status, 200);
    assert_eq!(client.response().status, 403, "the port is the tunnel's, whatever Host says");
    drop(client);
    assert!(ringway.logged(&["GET /secret"]).ends_with(" secret"));
    finish(ringway);
}

fn a_port_that_says_nothing_is_looked_at(driver: Driver) {
    let (bytes, web) = (Origin::reflecting(""), Origin::replying("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"));
    let service = |name: &str, port: u16| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{selector: {{app: {name}}}, ports: \
             [{{name: any, port: 7000}}]}}\n---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: \
             {{name: {name}}}\nspec: {{address: 127.0.0.1, ports: {{any: {port}}}, labels: {{app: {name}}}}}\n"
        )
    };
    let documents = [service("bytes", bytes.port()), service("web", web.port())];
    let ringway = sidecar(driver, "REGISTRY_ONLY", &documents);
    let mut client = open(&ringway, "bytes:7000");
    client.send("*1\r\n$4\r\nPING\r\n");
    assert_eq!(client.raw(14), b"*1\r\n$4\r\nPING\r\n");
    drop(client);
    let mut client = open(&ringway, "web:7000");
    client.send("GET /x HT");
    client.send("TP/1.1\r\nHost: web:7000\r\n\r\n");
    assert_eq!(client.response().text(), "ok");
    assert_eq!(client.ask("GET /y HTTP/1.1\r\nHost: web:7000\r\n\r\n").text(), "ok");
    drop(client);
    assert!(ringway.logged(&["GET /x"]).contains(" outbound|7000||web.default.svc.cluster.local "));
    finish(ringway);
}

fn a_failed_connect_is_told(driver: Driver) {
    let refusing = ports::free();
    let ringway = sidecar(driver, "ALLOW_ANY", &[entry("db.example.com", 5432, "TCP", refusing)]);
    assert_eq!(refused(&ringway, "db.example.com:5432"), 503);
    let line = ringway.logged(&["CONNECT", "db.example.com"]);
    assert!(line.contains(" 503 UF ") && line.contains("delayed_connect_error:_Connection_refused"), "{line}");
    assert_eq!(refused(&ringway, &format!("127.0.0.1:{refusing}")), 503);
    assert_eq!(refused(&ringway, "nobody.invalid:443"), 503);
    finish(ringway);
}

fn a_gateway_makes_no_tunnels(driver: Driver) {
    let origin = Origin::reflecting("");
    let ringway = Setup::new(driver).yaml(crate::support::ringway::everything_to(&[origin.port()])).start();
    let mut client = ringway.client();
    client.send("CONNECT a.example.com:443 HTTP/1.1\r\nHost: a.example.com:443\r\n\r\n");
    assert_eq!(client.response().status, 404);
    client.expect_closed();
    finish(ringway);
}

/// Quiet tunnels cost little, and all of them still work.
#[test]
fn thousands_of_quiet_tunnels() {
    const TUNNELS: u64 = 4000;
    const ALLOWED_BYTES: u64 = 32 * 1024;
    let descriptors = rlimit::increase_nofile_limit(u64::MAX).expect("the limit of descriptors");
    let count = TUNNELS.min(descriptors.saturating_sub(512) / 4);
    assert!(count >= 200, "too few descriptors ({descriptors})");
    for driver in crate::support::ringway::DRIVERS {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let setup = Setup::new(driver).gateway_ports(&[]).mesh("REGISTRY_ONLY").limit("maxConnections", "20000");
        let ringway = setup.yaml(entry("db.example.com", 5432, "TCP", port)).start();
        let both = || {
            let client = open(&ringway, "db.example.com:5432");
            (client, listener.accept().expect("its other end").0)
        };
        let first = both();
        let before = ringway.process.memory_kib("VmRSS");
        let mut tunnels: Vec<_> = (0..count).map(|_| both()).collect();
        let each = (ringway.process.memory_kib("VmRSS") - before) * 1024 / count;
        println!("{each} bytes for each of {count} quiet tunnels on {}", driver.name());
        assert!(each <= ALLOWED_BYTES, "{each} bytes");
        for (client, server) in tunnels.iter_mut().step_by(53) {
            client.send("ping");
            server.read_exact(&mut [0; 4]).expect("up");
            server.write_all(b"pong").expect("down");
            assert_eq!(client.raw(4), b"pong");
        }
        tunnels.push(first);
        for (client, server) in tunnels {
            client.reset();
            drop(server);
        }
        finish(ringway);
    }
}
