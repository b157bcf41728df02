//! The mesh listener as an application meets it: `http_proxy=http://127.0.0.1:15001` in its environment, or its own
//! requests by `Host`. What Envoy makes of the same requests is in `differential`; here are real clients, and what only
//! ringway does: hosts that nobody registered are resolved.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::origin::Origin;
use crate::support::ringway::{DRIVERS, Driver, Ringway, Setup};
use crate::support::wait::eventually;

/// A service `httpbin` of two versions, v2 for whoever asks for it, and a host that is no service, routed to v1.
fn world(v1: &Origin, v2: &Origin) -> String {
    format!(
        r"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: httpbin}}
spec:
  hosts: [httpbin]
  http:
  - name: v2
    match: [{{headers: {{x-version: {{exact: v2}}}}}}]
    route: [{{destination: {{host: httpbin, subset: v2}}}}]
  - name: v1
    route: [{{destination: {{host: httpbin, subset: v1}}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: outside}}
spec:
  hosts: [outside.example.com]
  http:
  - name: outside
    route: [{{destination: {{host: httpbin, subset: v1, port: {{number: 8000}}}}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: httpbin}}
spec:
  host: httpbin
  subsets:
  - {{name: v1, labels: {{version: v1}}}}
  - {{name: v2, labels: {{version: v2}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: httpbin}}
spec:
  selector: {{app: httpbin}}
  ports: [{{name: http, port: 8000}}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: httpbin-v1}}
spec:
  address: 127.0.0.1
  ports: {{http: {}}}
  labels: {{app: httpbin, version: v1}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: httpbin-v2}}
spec:
  address: 127.0.0.1
  ports: {{http: {}}}
  labels: {{app: httpbin, version: v2}}
",
        v1.port(),
        v2.port()
    )
}

/// An origin that answers with its name and what it was asked.
fn named(name: &'static str) -> Origin {
    Origin::start(move |peer| {
        while let Some(request) = peer.request()? {
            let host = request.header("host").unwrap_or_default();
            let length = request.body.bytes.len();
            let body = format!("{name}: {} at {host}, {length} bytes", request.line());
            peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()))?;
        }
        Ok(())
    })
}

struct Mesh {
    ringway: Ringway,
    _origins: [Origin; 2],
}

impl Mesh {
    fn start(driver: Driver, mode: &str) -> Self {
        let (v1, v2) = (named("v1"), named("v2"));
        let ringway = Setup::new(driver).yaml(world(&v1, &v2)).mesh(mode).start();
        Self { ringway, _origins: [v1, v2] }
    }

    /// What curl prints with the listener as its proxy: the body, then the status on a line of its own.
    fn curl(&self, arguments: &[&str]) -> String {
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "20", "-w", "\n%{http_code}"])
            .args(arguments)
            .env("http_proxy", format!("http://{}", self.ringway.mesh()))
            .env_remove("no_proxy")
            .env_remove("NO_PROXY")
            .output()
            .expect("curl");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn client(&self) -> Client {
        Client::connect(self.ringway.mesh())
    }

    fn finish(self) {
        self.ringway.quiet();
        let stopped = self.ringway.stop();
        assert!(!stopped.said.contains("panicked"), "{}", stopped.said);
    }
}

#[test]
fn curl_with_http_proxy() {
    for driver in DRIVERS {
        let mesh = Mesh::start(driver, "REGISTRY_ONLY");
        let get = mesh.curl(&["http://httpbin:8000/get?a=b"]);
        assert_eq!(get, "v1: GET /get?a=b HTTP/1.1 at httpbin:8000, 0 bytes\n200");
        let v2 = mesh.curl(&["-H", "x-version: v2", "http://httpbin.default.svc.cluster.local:8000/get"]);
        assert_eq!(v2, "v2: GET /get HTTP/1.1 at httpbin.default.svc.cluster.local:8000, 0 bytes\n200");
        let post = mesh.curl(&["-d", "hello=world", "http://httpbin:8000/post"]);
        assert_eq!(post, "v1: POST /post HTTP/1.1 at httpbin:8000, 11 bytes\n200");
        let line = mesh.ringway.logged(&["GET /get?a=b HTTP/1.1"]);
        assert!(line.contains(" outbound|8000|v1|httpbin.default.svc.cluster.local "), "{line}");
        assert!(line.ends_with(" v1"), "the route's name: {line}");
        assert_eq!(mesh.curl(&["http://nobody.example.com/"]), "\n502");
        let line = mesh.ringway.logged(&["nobody.example.com"]);
        assert!(line.ends_with(" block_all"), "{line}");
        mesh.finish();
    }
}

/// A VirtualService of the mesh for a host that is no service applies on every port (`docs/DEPARTURES.md`; istiod: port 80).
#[test]
fn a_virtual_service_for_an_unregistered_host() {
    let mesh = Mesh::start(Driver::IoUring, "REGISTRY_ONLY");
    for url in ["http://outside.example.com/x", "http://outside.example.com:81/x", "http://outside.example.com:8443/x"]
    {
        let authority = url.trim_start_matches("http://").trim_end_matches("/x");
        assert_eq!(mesh.curl(&[url]), format!("v1: GET /x HTTP/1.1 at {authority}, 0 bytes\n200"));
    }
    mesh.finish();
}

#[test]
fn a_large_body_streams() {
    for driver in DRIVERS {
        let mesh = Mesh::start(driver, "ALLOW_ANY");
        let length = 3_000_000;
        let mut client = mesh.client();
        client.send(format!(
            "PUT http://httpbin:8000/x HTTP/1.1\r\nHost: httpbin:8000\r\nContent-Length: {length}\r\n\r\n"
        ));
        client.send(vec![b'x'; length]);
        assert_eq!(client.response_to("PUT").text(), format!("v1: PUT /x HTTP/1.1 at httpbin:8000, {length} bytes"));
        drop(client);
        mesh.finish();
    }
}

/// Where any host is allowed, one that nobody registered is resolved: by name, or as the address that it is.
#[test]
fn a_host_that_nobody_registered() {
    for driver in DRIVERS {
        let mesh = Mesh::start(driver, "ALLOW_ANY");
        let outside = named("outside");
        let port = outside.port();
        for host in ["localhost", "127.0.0.1"] {
            let answer = mesh.curl(&["-H", "x-version: v2", &format!("http://{host}:{port}/a?b")]);
            assert_eq!(answer, format!("outside: GET /a?b HTTP/1.1 at {host}:{port}, 0 bytes\n200"));
            let line = mesh.ringway.logged(&[&format!("\"{host}:{port}\"")]);
            assert!(line.contains(&format!("\"127.0.0.1:{port}\" PassthroughCluster ")), "{line}");
            assert!(line.ends_with(" allow_any"), "{line}");
        }
        // The connection is used again, and known services stay known.
        let mut client = mesh.client();
        for number in 0..20 {
            let response = client.ask(format!("GET /{number} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n"));
            assert!(response.text().starts_with(&format!("outside: GET /{number} ")), "{response:?}");
            let response = client.ask("GET /x HTTP/1.1\r\nHost: httpbin:8000\r\n\r\n");
            assert!(response.text().starts_with("v1: "), "{response:?}");
        }
        drop(client);
        assert!(outside.accepted() <= 3, "{} connections for 22 requests in turn", outside.accepted());
        mesh.finish();
    }
}

#[test]
fn a_host_that_cannot_be_reached() {
    for driver in DRIVERS {
        let mesh = Mesh::start(driver, "ALLOW_ANY");
        let refusing = crate::support::ports::free();
        let mut client = mesh.client();
        let response = client.ask(format!("GET /x HTTP/1.1\r\nHost: 127.0.0.1:{refusing}\r\n\r\n"));
        assert_eq!(response.status, 503, "{response:?}");
        let line = mesh.ringway.logged(&[&format!("\"127.0.0.1:{refusing}\"")]);
        assert!(line.contains(" 503 UF "), "{line}");
        // `.invalid` never resolves (RFC 2606). Whether a resolver says so at once is not ringway's to decide.
        let began = Instant::now();
        let response = client.ask("GET /y HTTP/1.1\r\nHost: nobody.invalid\r\n\r\n");
        assert!(response.status == 502 || response.status == 503, "{response:?}");
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        // Others are served meanwhile, and after it.
        assert_eq!(client.ask("GET /x HTTP/1.1\r\nHost: httpbin:8000\r\n\r\n").status, 200);
        drop(client);
        mesh.finish();
    }
}

/// A host that is ringway's own listener would be a request without end.
#[test]
fn a_request_to_the_listener_itself() {
    for driver in DRIVERS {
        let mesh = Mesh::start(driver, "ALLOW_ANY");
        let own: SocketAddr = mesh.ringway.mesh();
        assert_eq!(own.ip(), Ipv4Addr::LOCALHOST);
        let mut client = mesh.client();
        for host in ["127.0.0.1", "localhost"] {
            let response = client.ask(format!("GET /loop HTTP/1.1\r\nHost: {host}:{}\r\n\r\n", own.port()));
            assert!(response.status >= 500, "{response:?}");
        }
        drop(client);
        let lines = eventually("the log", || {
            let lines: Vec<String> = mesh.ringway.log().into_iter().filter(|line| line.contains("GET /loop")).collect();
            (lines.len() >= 2).then_some(lines)
        });
        assert!(lines.len() <= 4, "the request went round: {lines:#?}");
        mesh.finish();
    }
}

/// The rules of the mesh and those of a Gateway do not mix, and both listeners of one process serve.
#[test]
fn a_gateway_beside_it() {
    let (v1, v2, edge) = (named("v1"), named("v2"), named("edge"));
    let ringway = Setup::new(Driver::IoUring)
        .yaml(world(&v1, &v2))
        .yaml(crate::support::ringway::everything_to(&[edge.port()]))
        .mesh("REGISTRY_ONLY")
        .start();
    let ask = |address, host: &str| {
        let response = crate::support::client::once(address, format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        response.text().split(':').next().unwrap_or_default().to_owned()
    };
    assert_eq!(ask(ringway.address(), "httpbin:8000"), "edge");
    assert_eq!(ask(ringway.mesh(), "httpbin:8000"), "v1");
    assert_eq!(ask(ringway.mesh(), "origin:8000"), "edge");
    assert_eq!(ask(ringway.mesh(), "a.example.com"), "");
    let listeners = ringway.admin("/listeners").text();
    assert!(listeners.contains(&ringway.address().port().to_string()), "{listeners}");
    assert!(listeners.contains(&ringway.mesh().to_string()), "{listeners}");
    ringway.stop();
}

/// A WebSocket to a service, through the proxy that curl would use for `ws:` too.
#[test]
fn a_websocket_in_the_absolute_form() {
    for driver in DRIVERS {
        let mesh = Mesh::start(driver, "ALLOW_ANY");
        let origin = Origin::start(|peer| {
            if peer.request()?.is_some() {
                peer.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")?;
                let bytes = peer.raw(5)?;
                peer.send(bytes)?;
            }
            Ok(())
        });
        let mut client = mesh.client();
        let authority = origin.address;
        let response = client.ask(format!(
            "GET http://{authority}/ws HTTP/1.1\r\nHost: {authority}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ));
        assert_eq!(response.status, 101, "{response:?}");
        client.send("hello");
        assert_eq!(client.raw(5), b"hello");
        drop(client);
        mesh.finish();
    }
}
