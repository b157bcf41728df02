use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use super::*;
use crate::istio::model::proxy::Proxy;
use crate::plan::{Endpoint, Overrides, ProxySettings};
use crate::policy::balance::{Policy, Spread};

const NAME: &str = "outbound|8000|v1|httpbin.default.svc.cluster.local";

struct Running {
    registry: Arc<Registry>,
    state: Arc<State>,
    admin: Admin,
}

fn plan(clusters: &[&str]) -> Arc<Plan> {
    let cluster = |name: &&str| Cluster {
        name: (*name).to_owned(),
        spread: Spread::even(Policy::LeastRequest, None, &[(([10, 0, 0, 1], 80).into(), 3)]),
        endpoints: vec![Endpoint { address: ([10, 0, 0, 1], 80).into(), weight: 3 }],
        connect_timeout: Duration::from_secs(10),
        idle_timeout: None,
    };
    Arc::new(Plan {
        listeners: Vec::new(),
        clusters: clusters.iter().map(cluster).collect(),
        proxy: ProxySettings::resolve(&Proxy::default(), &Overrides::default()),
    })
}

fn running() -> Running {
    let registry = Arc::new(Registry::new(2));
    let state = Arc::new(State::new(Arc::clone(&registry), plan(&[NAME]), Instant::now()));
    let admin = Admin::start(([127, 0, 0, 1], 0).into(), Arc::clone(&state)).unwrap();
    Running { registry, state, admin }
}

impl Running {
    fn ask(&self, method: &str, target: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.admin.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(stream, "{method} {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    fn get(&self, target: &str) -> String {
        let (head, body) = self.ask("GET", target);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}\n{body}");
        body
    }
}

#[test]
fn ready_follows_the_stages() {
    let running = running();
    for (stage, status, body) in [
        (None, 503, "PRE_INITIALIZING\n"),
        (Some(Stage::Live), 200, "LIVE\n"),
        (Some(Stage::Draining), 503, "DRAINING\n"),
    ] {
        if let Some(stage) = stage {
            running.state.enter(stage);
        }
        let (head, text) = running.ask("GET", "/ready");
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert_eq!(text, body);
    }
}

#[test]
fn headers_are_envoys() {
    let (head, _) = running().ask("GET", "/stats");
    for line in [
        "content-type: text/plain; charset=UTF-8",
        "cache-control: no-cache, max-age=0",
        "x-content-type-options: nosniff",
        "server: ringway",
    ] {
        assert!(head.lines().any(|each| each == line), "{line} in {head}");
    }
}

#[test]
fn stats_filter_and_usedonly() {
    let running = running();
    running.state.enter(Stage::Live);
    let stats = running.registry.cluster(1, NAME);
    stats.upstream_rq_pending_overflow.add(13);
    stats.upstream_cx_active.inc();
    stats.upstream_cx_active.dec();
    let prefix = format!("cluster.{NAME}");
    assert_eq!(
        running.get("/stats?filter=httpbin.*pending_(over|tot)"),
        format!("{prefix}.upstream_rq_pending_overflow: 13\n{prefix}.upstream_rq_pending_total: 0\n")
    );
    assert_eq!(
        running.get("/stats?usedonly&filter=cluster"),
        format!("{prefix}.upstream_cx_active: 0\n{prefix}.upstream_rq_pending_overflow: 13\n")
    );
    // A plus is the regex's own.
    assert_eq!(running.get("/stats?filter=pending_over+flow$"), format!("{prefix}.upstream_rq_pending_overflow: 13\n"));
    assert_eq!(running.get("/stats?filter=upstream_rq_pending_overflow%7Cserver.live").lines().count(), 2);
    let all = running.get("/stats");
    for line in ["server.live: 1", "server.state: 0", "server.concurrency: 2", "access_log.dropped_lines: 0"] {
        assert!(all.lines().any(|each| each == line), "{line}");
    }
    assert!(all.lines().all(|line| line.split_once(": ").is_some()));
}

#[test]
fn what_cannot_be_answered_is_said() {
    let running = running();
    for (target, message) in [
        ("/stats?filter=(", "Invalid regex: "),
        ("/stats?format=json", "format \"json\" is not offered; text is"),
        ("/clusters?format=json", "format \"json\" is not offered; text is"),
    ] {
        let (head, body) = running.ask("GET", target);
        assert!(head.starts_with("HTTP/1.1 400 ") && body.starts_with(message), "{body}");
    }
}

#[test]
fn clusters_show_endpoints_as_envoy_does() {
    let running = running();
    for core in 0..2 {
        let stats = running.registry.endpoint(core, NAME, ([10, 0, 0, 1], 80).into());
        stats.rq_total.add(4);
        stats.rq_success.add(3);
        stats.rq_error.inc();
        stats.cx_active.inc();
    }
    let text = running.get("/clusters");
    let lines: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix(NAME)).collect();
    assert_eq!(lines.len(), text.lines().count());
    assert_eq!(lines[0], format!("::observability_name::{NAME}"));
    for line in [
        "::default_priority::max_connections::4294967295",
        "::added_via_api::false",
        "::10.0.0.1:80::cx_active::2",
        "::10.0.0.1:80::rq_total::8",
        "::10.0.0.1:80::rq_success::6",
        "::10.0.0.1:80::rq_error::2",
        "::10.0.0.1:80::health_flags::healthy",
        "::10.0.0.1:80::weight::3",
        "::10.0.0.1:80::hostname::",
    ] {
        assert!(lines.contains(&line), "{line}");
    }
}

#[test]
fn clusters_are_those_of_the_plan_in_force() {
    let running = running();
    running.state.install(plan(&["outbound|80||new", "outbound|80||other"]));
    let text = running.get("/clusters?filter=new$");
    assert!(!text.is_empty() && text.lines().all(|line| line.starts_with("outbound|80||new::")));
}

#[test]
fn server_info_is_json() {
    let running = running();
    running.state.enter(Stage::Draining);
    let info: serde_json::Value = serde_json::from_str(&running.get("/server_info")).unwrap();
    assert_eq!(info["state"], "DRAINING");
    assert_eq!(info["version"], concat!("ringway/", env!("CARGO_PKG_VERSION")));
    assert_eq!(info["command_line_options"]["concurrency"], 2);
    assert!(info["uptime_current_epoch"].as_str().unwrap().ends_with('s'));
}

#[test]
fn the_home_page_links_every_other() {
    let running = running();
    let (head, body) = running.ask("GET", "/");
    assert!(head.contains("content-type: text/html; charset=UTF-8"));
    for page in PAGES {
        assert!(body.contains(&format!("<a href=\".{}\">", page.path)), "{}", page.path);
    }
}

#[test]
fn unknown_paths_list_the_known_ones() {
    let (head, body) = running().ask("GET", "/nope");
    assert!(head.starts_with("HTTP/1.1 404 Not Found\r\n"));
    assert!(body.starts_with("invalid path. admin commands are:\n  /: Admin home page\n  /clusters: "), "{body}");
    assert!(body.contains("\n  /stats: print server stats\n      filter: Regular expression"));
}

#[test]
fn only_reading_is_allowed() {
    let running = running();
    let (head, body) = running.ask("POST", "/stats");
    assert!(head.starts_with("HTTP/1.1 405 ") && head.contains("\r\nallow: GET, HEAD"), "{head}");
    assert_eq!(body, "Method POST not allowed, GET required.");
    let (head, body) = running.ask("HEAD", "/stats");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && body.is_empty());
}

#[test]
fn a_slow_client_keeps_nobody_out() {
    let running = running();
    let slow: Vec<TcpStream> = (0..CONNECTIONS - 1)
        .map(|_| {
            let mut stream = TcpStream::connect(running.admin.address()).unwrap();
            stream.write_all(b"GET /st").unwrap();
            stream
        })
        .collect();
    assert!(!running.get("/stats").is_empty());
    drop(slow);
}

#[test]
fn a_taken_port_is_an_error() {
    let running = running();
    let error = Admin::start(running.admin.address(), Arc::clone(&running.state)).err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}
