//! The egress task of the tutorial, its four documents unchanged: the application's call goes to the egress gateway, and
//! from there to httpbin; in one process, and in two.

use std::process::Command;

use super::{finish, get};
use crate::support::client::Client;
use crate::support::envoy::ready;
use crate::support::httpbin::Httpbin;
use crate::support::ports;
use crate::support::process::Process;
use crate::support::ringway::{DRIVERS, Driver, Ringway, Setup};
use crate::support::wait::eventually;

const TO_GATEWAY: &str = "outbound|80|httpbin|istio-egressgateway.istio-system.svc.cluster.local";
const TO_OUTSIDE: &str = "outbound|80||httpbin.org";

fn config(file: &str) -> String {
    format!("{}/config/{file}", env!("CARGO_MANIFEST_DIR"))
}

/// The documents of the task, with the egress gateway at this port.
fn task(setup: Setup, gateway: u16) -> Setup {
    let service =
        std::fs::read_to_string(config("egress/one-process/egressgateway.yaml")).expect("the Service of the gateway");
    setup.path(config("egress/one-process/2-egress.yaml")).yaml(service.replace("8081", &gateway.to_string()))
}

fn gateway(setup: Setup, port: u16, httpbin: u16) -> Setup {
    let dns = format!("{{hosts: {{httpbin.org: '127.0.0.1:{httpbin}'}}}}");
    setup.label("istio", "egressgateway").bound(80, port).spec("dns", &dns)
}

/// What curl prints with the mesh listener as its proxy: the body, then the status.
fn curl(ringway: &Ringway, url: &str) -> String {
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "20", "-w", "\n%{http_code}", "-x", &format!("http://{}", ringway.mesh()), url])
        .output()
        .expect("curl");
    assert!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn one_process_in_both_roles() {
    let httpbin = Httpbin::start();
    for driver in DRIVERS {
        let port = ports::free();
        let setup = task(Setup::new(driver).mesh("REGISTRY_ONLY"), port);
        let ringway = gateway(setup, port, httpbin.port()).start();
        let answer = curl(&ringway, "http://httpbin.org/ip");
        assert!(answer.contains("\"origin\"") && answer.ends_with("\n200"), "{answer}");
        let headers = curl(&ringway, "http://httpbin.org/headers");
        assert!(headers.contains("\"Host\": \"httpbin.org\""), "{headers}");
        let outside = ringway.logged(&["GET /ip HTTP/1.1\" 200 -", &format!(" {TO_OUTSIDE} ")]);
        assert!(outside.contains(&format!("\"httpbin.org\" \"127.0.0.1:{}\"", httpbin.port())), "{outside}");
        let inside = ringway.logged(&["GET /ip HTTP/1.1\" 200 -", &format!(" {TO_GATEWAY} ")]);
        assert!(inside.contains(&format!("\"httpbin.org\" \"127.0.0.1:{port}\"")), "{inside}");
        assert_eq!(ringway.cluster_stat(TO_GATEWAY, "upstream_rq_200"), 2);
        assert_eq!(ringway.cluster_stat(TO_OUTSIDE, "upstream_rq_200"), 2);
        assert_eq!(curl(&ringway, "http://nobody.example.com/"), "\n502");
        // Not `finish`: the connection between its two roles rests open.
        let stopped = ringway.stop();
        assert!(!stopped.said.contains("panicked"), "{}", stopped.said);
    }
}

#[test]
fn two_processes() {
    let httpbin = Httpbin::start();
    let port = ports::free();
    let sidecar = task(Setup::new(Driver::IoUring).mesh("REGISTRY_ONLY").label("app", "sleep"), port).start();
    // Without the egress gateway there is no way out.
    assert_eq!(get(&sidecar, "httpbin.org").status, 503);
    let egress = gateway(task(Setup::new(Driver::Epoll), port), port, httpbin.port()).start();
    let mut client = Client::connect(sidecar.mesh());
    for _ in 0..3 {
        let response = client.ask("GET /ip HTTP/1.1\r\nHost: httpbin.org\r\n\r\n");
        assert!(response.status == 200 && response.text().contains("\"origin\""), "{response:?}");
    }
    drop(client);
    sidecar.logged(&["GET /ip HTTP/1.1\" 200 -", &format!(" {TO_GATEWAY} ")]);
    egress.logged(&["GET /ip HTTP/1.1\" 200 -", &format!(" {TO_OUTSIDE} ")]);
    assert!(sidecar.log().iter().all(|line| !line.contains(TO_OUTSIDE)));
    assert!(egress.log().iter().all(|line| !line.contains(TO_GATEWAY)));
    // The gateway sends out what is declared, and nothing else.
    let stranger = crate::support::client::once(
        egress.address(),
        "GET /ip HTTP/1.1\r\nHost: nobody.example.com\r\nConnection: close\r\n\r\n",
    );
    assert_eq!(stranger.status, 404);
    finish(sidecar);
    finish(egress);
}

/// The commands of the README, on ports of their own.
#[test]
fn the_commands_of_the_readme_work() {
    let httpbin = Httpbin::start();
    let [mesh, gateway, admin] = [(); 3].map(|()| ports::free());
    let dir = tempfile::tempdir().expect("a temporary folder");
    let folder = dir.path().to_str().expect("UTF-8").to_owned();
    let ours = |text: &str| {
        text.replace("15001", &mesh.to_string())
            .replace("8081", &gateway.to_string())
            .replace("/run/app.sock", &format!("{folder}/app.sock"))
            .replace("127.0.0.1:8000", &httpbin.address.to_string())
            .replace("127.0.0.1:15000", &format!("127.0.0.1:{admin}"))
            .replace("config/egress/one-process", &folder)
            .replace("ringway explain", concat!(env!("CARGO_BIN_EXE_ringway"), " explain"))
    };
    for file in ["2-egress.yaml", "egressgateway.yaml", "proxy.yaml"] {
        let text = std::fs::read_to_string(config(&format!("egress/one-process/{file}"))).expect("an example's file");
        std::fs::write(dir.path().join(file), ours(&text)).expect("a copy");
    }
    let readme = std::fs::read_to_string(config("egress/README.md")).expect("the README");
    let (_, socket) = readme.split_once("## A service at a Unix domain socket").expect("its section");
    std::fs::write(dir.path().join("app.yaml"), ours(between(socket, "```yaml\n", "```"))).expect("its document");
    let script = between(socket, "    python3", "    END\n").replace("\n    ", "\n");
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("exec python3{}END\n", ours(&script)));
    let mut server = Process::start("the server at a socket", &mut command);
    server.wait_until("listening", || dir.path().join("app.sock").exists());
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    command.args(["run", "-c", &folder, "--admin", &format!("127.0.0.1:{admin}")]);
    let mut process = Process::start_printing("ringway", &mut command);
    process.wait_until("ready", || ready(ports::loopback(admin)));
    // TLS to the real site has tests of its own, with an origin in its place.
    let (_, passthrough) = readme.split_once("## HTTPS that nobody opens on the way").expect("its section");
    let passthrough = passthrough.split("\n## ").next().expect("its text");
    let readme = readme.replace(passthrough, "");
    let lines = readme.lines().filter_map(|line| line.strip_prefix("    ")).map(ours);
    let commands: Vec<String> =
        lines.filter(|line| line.starts_with("curl") || line.contains(" explain -c ")).collect();
    let answers: Vec<String> = commands.iter().map(|command| paste(command)).collect();
    let [ip, from_mesh, from_gateway, clusters, stats, refused, why, local] = &answers[..] else {
        panic!("{commands:#?}")
    };
    assert!(ip.contains("\"origin\""), "{ip}");
    assert!(from_mesh.contains(TO_GATEWAY), "{from_mesh}");
    assert!(from_gateway.contains(TO_OUTSIDE), "{from_gateway}");
    assert!(clusters.contains(&format!("{TO_OUTSIDE}::{}::hostname::httpbin.org\n", httpbin.address)), "{clusters}");
    assert!(stats.contains(&format!("cluster.{TO_OUTSIDE}.membership_total: 1\n")), "{stats}");
    assert!(refused.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{refused}");
    assert!(why.contains("ServiceEntry") && why.contains("example.com"), "{why}");
    assert!(local.starts_with("HTTP/1.1 200 OK\r\n"), "{local}");
    eventually("both hops in the log", || {
        let log = process.printed();
        [TO_OUTSIDE, TO_GATEWAY].iter().all(|cluster| log.contains(&format!(" {cluster} "))).then_some(())
    });
    process.signal(rustix::process::Signal::TERM);
    assert_eq!(process.wait().code(), Some(0), "{}", process.finish());
}

/// What is between the first `start` of a text and the next `end`.
fn between<'t>(text: &'t str, start: &str, end: &str) -> &'t str {
    let (_, rest) = text.split_once(start).expect("a start");
    rest.split_once(end).expect("an end").0
}

/// What a shell prints when `line` is pasted into it, whatever its exit code.
fn paste(line: &str) -> String {
    let output = Command::new("sh").arg("-c").arg(line).output().expect("a shell");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Istio's documents as published: they are served without a change.
#[test]
fn the_example_is_the_published_one() {
    let ours = std::fs::read_to_string(config("egress/one-process/2-egress.yaml"));
    assert_eq!(ours.expect("the file is there"), PUBLISHED);
}

const PUBLISHED: &str = r#"apiVersion: networking.istio.io/v1alpha3
kind: ServiceEntry
metadata:
  name: httpbin
spec:
  hosts:
  - httpbin.org
  ports:
  - number: 80
    name: http-port
    protocol: HTTP
  resolution: DNS
---
apiVersion: networking.istio.io/v1alpha3
kind: Gateway
metadata:
  name: istio-egressgateway
spec:
  selector:
    istio: egressgateway
  servers:
  - port:
      number: 80
      name: http
      protocol: HTTP
    hosts:
    - httpbin.org
---
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata:
  name: vs-for-egressgateway
spec:
  hosts:
  - httpbin.org
  gateways:
  - istio-egressgateway
  - mesh
  http:
  - match: # calls from inside go to the egress gateway
    - gateways:
      - mesh
      port: 80
    route:
    - destination:
        host: istio-egressgateway.istio-system.svc.cluster.local
        subset: httpbin
        port:
          number: 80
      weight: 100
  - match: # the egress gateway sends them out
    - gateways:
      - istio-egressgateway
      port: 80
    route:
    - destination:
        host: httpbin.org
        port:
          number: 80
      weight: 100
---
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata:
  name: dr-for-egressgateway
spec:
  host: istio-egressgateway.istio-system.svc.cluster.local
  subsets:
  - name: httpbin
"#;
