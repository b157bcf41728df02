//! The tutorial's first task: its two documents unchanged, a real httpbin under gunicorn, real curl.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::httpbin::Httpbin;
use crate::support::ringway::{Driver, Ringway, Setup};

fn config(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/ingress").join(file)
}

/// ringway on the tutorial's documents and the Service of `config/ingress`. The Proxy and the WorkloadEntry are made
/// here instead, because they name ports of this machine.
fn ingress(driver: Driver, httpbin: &Httpbin) -> Ringway {
    let workload = format!(
        "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: httpbin-v1}}\n\
         spec:\n  address: 127.0.0.1\n  ports: {{http: {}}}\n  labels: {{app: httpbin, version: v1}}\n",
        httpbin.port()
    );
    let setup = Setup::new(driver).label("istio", "ingressgateway").yaml(workload);
    setup.path(config("1-ingress.yaml")).path(config("service.yaml")).start()
}

/// What `curl -I` prints: the lines of the response head.
fn curl_head(ringway: &Ringway, path: &str) -> Vec<String> {
    let url = format!("http://{}{path}", ringway.address());
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20", "-I", "-H", "Host:httpbin.example.com", &url])
        .output()
        .expect("curl is installed");
    assert!(output.status.success(), "curl {url}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("a head is text");
    text.split("\r\n").filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn value<'a>(head: &'a [String], name: &str) -> Option<&'a str> {
    head.iter()
        .find_map(|line| line.split_once(": ").filter(|(field, _)| field.eq_ignore_ascii_case(name)))
        .map(|(_, v)| v)
}

#[track_caller]
fn has_server_and_date(head: &[String]) {
    assert_eq!(value(head, "server"), Some("ringway"), "{head:?}");
    assert!(value(head, "date").is_some_and(|date| httpdate::parse_http_date(date).is_ok()), "{head:?}");
}

fn the_two_calls(driver: Driver) {
    let httpbin = Httpbin::start();
    let ringway = ingress(driver, &httpbin);

    let exposed = curl_head(&ringway, "/status/200");
    assert_eq!(exposed[0], "HTTP/1.1 200 OK");
    has_server_and_date(&exposed);
    assert_eq!(value(&exposed, "content-length"), Some("0"), "{exposed:?}");
    let time = value(&exposed, "x-envoy-upstream-service-time").and_then(|ms| ms.parse::<u32>().ok());
    assert!(time.is_some(), "{exposed:?}");
    assert_eq!(value(&exposed, "access-control-allow-origin"), Some("*"), "httpbin's own headers pass: {exposed:?}");

    let not_exposed = curl_head(&ringway, "/headers");
    assert_eq!(not_exposed[0], "HTTP/1.1 404 Not Found");
    has_server_and_date(&not_exposed);
    assert_eq!(value(&not_exposed, "x-envoy-upstream-service-time"), None, "{not_exposed:?}");

    let line = ringway.logged(&["HEAD /status/200"]);
    assert!(line.contains("HTTP/1.1\" 200 - via_upstream - \"-\" 0 0 "), "{line}");
    let upstream =
        format!("\"httpbin.example.com\" \"{}\" outbound|8000||httpbin.default.svc.cluster.local ", httpbin.address);
    assert!(line.contains(&upstream), "{line}");
    let line = ringway.logged(&["HEAD /headers"]);
    assert!(line.contains("HTTP/1.1\" 404 NR route_not_found - \"-\" 0 0 "), "{line}");
    ringway.stop();
}

#[test]
fn the_two_calls_on_io_uring() {
    the_two_calls(Driver::IoUring);
}

#[test]
fn the_two_calls_on_epoll() {
    the_two_calls(Driver::Epoll);
}
