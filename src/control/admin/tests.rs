use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use super::*;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::time::SystemTime;

use crate::control::{ConfigSource, Loaded};
use crate::istio;
use crate::istio::model::proxy::Proxy;
use crate::observe::flags::Flags;
use crate::plan::{Cluster, Endpoint, Locality, Overrides, ProxySettings};
use crate::policy::balance::{LoadBalancing, Policy};
use crate::proxy::Side;

const NAME: &str = "outbound|8000|v1|httpbin.default.svc.cluster.local";

struct Running {
    events: Receiver<Event>,
    registry: Arc<Registry>,
    state: Arc<State>,
    admin: Admin,
}

fn plan(clusters: &[&str]) -> Arc<Plan> {
    let cluster = |name: &str| {
        let spread = LoadBalancing::even(Policy::LeastRequest, None, &[(([10, 0, 0, 1], 80).into(), 3)]);
        let endpoints =
            vec![Endpoint { address: ([10, 0, 0, 1], 80).into(), weight: 3, locality: Locality::parse("r/z") }];
        Cluster { idle_timeout: None, ..Cluster::new(name, spread, endpoints, Duration::from_secs(10)) }
    };
    Arc::new(Plan {
        listeners: Arc::default(),
        clusters: clusters.iter().map(|name| Arc::new(cluster(name))).collect(),
        proxy: ProxySettings::resolve(&Proxy::default(), &Overrides::default()),
    })
}

fn running() -> Running {
    let registry = Arc::new(Registry::new(2));
    let (sender, events) = channel();
    let state =
        Arc::new(State::new(Arc::clone(&registry), plan(&[NAME]), SharedClusters::default(), Instant::now(), sender));
    let admin = Admin::start(([127, 0, 0, 1], 0).into(), 1024, Arc::clone(&state)).unwrap();
    Running { events, registry, state, admin }
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
        (Some(ServerState::Live), 200, "LIVE\n"),
        (Some(ServerState::Draining), 503, "DRAINING\n"),
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
    running.state.enter(ServerState::Live);
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
fn stats_in_every_form() {
    let running = running();
    running.registry.cluster(1, NAME).upstream_rq_pending_overflow.add(13);
    let filter = "filter=pending_overflow";
    let (head, body) = running.ask("GET", &format!("/stats?format=json&{filter}"));
    assert!(head.contains("\r\ncontent-type: application/json"), "{head}");
    assert_eq!(
        body,
        format!("{{\"stats\":[{{\"name\":\"cluster.{NAME}.upstream_rq_pending_overflow\",\"value\":13}}]}}\n")
    );
    let text = format!(
        "# TYPE envoy_cluster_upstream_rq_pending_overflow counter\n\
         envoy_cluster_upstream_rq_pending_overflow{{envoy_cluster_name=\"{NAME}\"}} 13\n"
    );
    for target in ["/stats/prometheus?", "/stats?format=prometheus&"] {
        let (head, body) = running.ask("GET", &format!("{target}{filter}"));
        assert!(head.contains("\r\ncontent-type: text/plain; version=0.0.4"), "{head}");
        assert_eq!(body, text);
    }
    assert_eq!(running.get(&format!("/stats?format=text&{filter}")), running.get(&format!("/stats?{filter}")));
    assert_eq!(running.get("/stats/prometheus?usedonly&filter=cluster"), text);
}

#[test]
fn stats_of_one_type() {
    let running = running();
    running.registry.cluster(1, NAME).upstream_rq_time.record(3);
    let count = |kind: &str| running.get(&format!("/stats?filter=^cluster&type={kind}")).lines().count();
    let (all, histograms) = (count("All"), count("Histograms"));
    assert_eq!(count("Counters") + count("Gauges") + histograms, all);
    assert!(
        running
            .get("/stats?filter=^cluster&type=Histograms")
            .lines()
            .all(|line| line.contains(" P0(") || line.ends_with("No recorded values"))
    );
    assert!(histograms >= 4 && all > 40);
}

#[test]
fn what_cannot_be_answered_is_said() {
    let running = running();
    for (target, message) in [
        ("/stats?filter=(", "Invalid re2 regex: \"(\" is not a valid regular expression: at character 1: "),
        ("/stats?format=xml", "usage: /stats?format=(json|prometheus|text)"),
        ("/stats?type=counters", "usage: /stats?type=(All|Counters|Gauges|Histograms)"),
        ("/stats?histogram_buckets=detailed", "histogram_buckets: only `cumulative` is offered"),
        ("/clusters?format=xml", "usage: /clusters?format=(json|text)"),
        ("/mirror_diffs?format=xml", "usage: /mirror_diffs?format=(json|text)"),
        ("/listeners?format=xml", "usage: /listeners?format=(json|text)"),
        ("/config_dump?format=xml", "usage: /config_dump?format=(json|yaml)"),
        ("/config_dump?resource=static_clusters", "resource is not offered"),
        ("/config_dump?mask=bootstrap", "mask is not offered"),
        ("/config_dump?name_regex=(", "Invalid re2 regex: \"(\" is not"),
    ] {
        let (head, body) = running.ask("GET", target);
        assert!(head.starts_with("HTTP/1.1 400 ") && body.starts_with(message), "{target}: {body}");
    }
}

#[test]
fn clusters_as_json() {
    let running = running();
    let stats = running.registry.endpoint(0, NAME, &([10, 0, 0, 1], 80).into());
    stats.rq_total.add(4);
    stats.cx_active.inc();
    let document: Value = serde_json::from_str(&running.get("/clusters?format=json")).unwrap();
    let cluster = &document["cluster_statuses"][0];
    assert_eq!(cluster["name"], NAME);
    assert_eq!(cluster["circuit_breakers"]["thresholds"][0]["max_requests"], u32::MAX);
    let host = &cluster["host_statuses"][0];
    assert_eq!(host["address"]["socket_address"], json!({"address": "10.0.0.1", "port_value": 80}));
    assert_eq!(host["weight"], 3);
    assert_eq!(host["health_status"]["eds_health_status"], "HEALTHY");
    let stats = host["stats"].as_array().unwrap();
    for expected in [
        json!({"name": "rq_total", "value": "4"}),
        json!({"name": "rq_error"}),
        json!({"name": "cx_active", "value": "1", "type": "GAUGE"}),
    ] {
        assert!(stats.contains(&expected), "{expected} in {stats:?}");
    }
    // What Envoy 1.40 says, in its order.
    let names: Vec<&str> = stats.iter().map(|stat| stat["name"].as_str().unwrap()).collect();
    let (counters, gauges) = names.split_at(6);
    assert_eq!(counters, ["cx_connect_fail", "cx_total", "rq_error", "rq_success", "rq_timeout", "rq_total"]);
    assert_eq!(gauges, ["cx_active", "rq_active", "rq_pending_active"]);
    assert!(stats.iter().all(|stat| (stat.get("type").is_some()) == gauges.contains(&stat["name"].as_str().unwrap())));
    assert_eq!(host["locality"], json!({"region": "r", "zone": "z"}));
}

#[test]
fn listeners_by_name() {
    let running = running();
    running.state.install(read(&["config/ingress"], "").into(), SharedClusters::default());
    assert_eq!(running.get("/listeners"), "0.0.0.0_8080::0.0.0.0:8080\n");
    let document: Value = serde_json::from_str(&running.get("/listeners?format=json")).unwrap();
    assert_eq!(
        document["listener_statuses"],
        json!([{
            "name": "0.0.0.0_8080",
            "local_address": {"socket_address": {"address": "0.0.0.0", "port_value": 8080}},
        }])
    );
}

/// The plan of some files and of some YAML.
fn read(paths: &[&str], yaml: &str) -> Plan {
    let mut paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
    if !yaml.is_empty() {
        paths.push(PathBuf::from("-"));
    }
    let options = istio::Options::default();
    let source = ConfigSource { paths, options, overrides: Overrides::default(), tell: |_| {} };
    let Loaded { plan, problems, .. } = source.load(&mut yaml.as_bytes());
    let errors: Vec<String> = problems.iter().filter(|each| each.is_error()).map(ToString::to_string).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    plan
}

fn dumped(plan: &Plan) -> String {
    format!("{:#}", config::dump(plan, &|_| true))
}

#[test]
fn config_dump_of_the_examples() {
    let folders = [
        "quickstart",
        "ingress",
        "timeouts-retries/timeout",
        "timeouts-retries/retries",
        "circuit-breaking",
        "fault-injection",
        "mirroring",
        "egress/one-process",
        "egress/passthrough",
        "mirror-compare",
        "tls-origination",
    ];
    for folder in folders {
        let plan = read(&[&format!("config/{folder}")], "");
        insta::assert_snapshot!(format!("config_dump_{}", folder.replace('/', "-")), dumped(&plan));
    }
    let there = std::fs::read_dir("config").unwrap().map(|entry| entry.unwrap()).filter(|entry| entry.path().is_dir());
    let there: BTreeSet<String> = there.map(|entry| entry.file_name().into_string().unwrap()).collect();
    let dumped: BTreeSet<String> =
        folders.iter().map(|folder| folder.split('/').next().unwrap_or_default().to_owned()).collect();
    assert_eq!(dumped, there, "each example is in the list");
}

#[test]
fn config_dump_of_all_there_is() {
    insta::assert_snapshot!(dumped(&read(&[], include_str!("tests/all.yaml"))));
}

/// Names are shown, and not what they are resolved to at the moment.
#[test]
fn config_dump_of_names() {
    let yaml = "
apiVersion: ringway.dev/v1
kind: Proxy
metadata: {name: names}
spec:
  mesh: {listen: '127.0.0.1:15001'}
  dns: {servers: [127.0.0.53], timeout: 1s, attempts: 3, hosts: {a.example.com: ['10.0.0.1:8000', '::1']}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: names}
spec:
  hosts: [names.example.com]
  resolution: DNS
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints:
  - {address: a.example.com, weight: 3, locality: east/1/a}
  - {address: b.example.com, ports: {http: 8080}}
  - {address: 10.0.0.9}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: first}
spec: {hosts: [first.example.com], resolution: DNS_ROUND_ROBIN, ports: [{number: 80, name: http, protocol: HTTP}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: own}
spec: {hosts: ['*.example.net'], ports: [{number: 80, name: http, protocol: HTTP}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: dynamic}
spec:
  hosts: ['*.example.org']
  resolution: DYNAMIC_DNS
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]
";
    insta::assert_snapshot!(dumped(&read(&[], yaml)));
}

#[test]
fn mirror_diffs_are_the_last_fifty() {
    let running = running();
    assert_eq!(running.get("/mirror_diffs"), "");
    let side = |cluster: &str, status, flags, took| Side {
        cluster: cluster.to_owned(),
        status,
        flags,
        took: Duration::from_millis(took),
    };
    for number in 0..60 {
        let status = if number % 2 == 0 { Some(200) } else { None };
        running.state.differs(Difference {
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(number),
            method: "GET".to_owned(),
            path: format!("/{number}"),
            original: side("a", Some(200), Flags::NONE, 3),
            mirror: side("b", status, if status.is_some() { Flags::NONE } else { Flags::UF }, 4),
        });
    }
    let text = running.get("/mirror_diffs");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 50);
    let expected = [
        "1970-01-01T00:00:00.059Z GET /59: original 200 in 3 ms from a; mirror no answer (UF) in 4 ms from b",
        "1970-01-01T00:00:00.058Z GET /58: original 200 in 3 ms from a; mirror 200 in 4 ms from b, the bodies differ",
    ];
    assert_eq!(lines[..2], expected);
    assert!(lines[49].contains(" GET /10: "), "{}", lines[49]);
    let document: Value = serde_json::from_str(&running.get("/mirror_diffs?format=json")).unwrap();
    assert_eq!(document["mirror_diffs"].as_array().map(Vec::len), Some(50));
    assert_eq!(
        document["mirror_diffs"][0],
        json!({
            "time": "1970-01-01T00:00:00.059Z", "method": "GET", "path": "/59", "differs": "status",
            "original": {"cluster": "a", "status": 200, "response_flags": "-", "duration_ms": 3},
            "mirror": {"cluster": "b", "status": null, "response_flags": "UF", "duration_ms": 4},
        })
    );
}

#[test]
fn config_dump_tells_no_secret() {
    let text = dumped(&read(&[], include_str!("tests/all.yaml")));
    assert!(!text.contains("c2VjcmV0"), "{text}");
    assert!(text.contains("[redacted]"));
}

#[test]
fn config_dump_by_name_and_as_yaml() {
    let running = running();
    running.state.install(read(&["config/quickstart"], "").into(), SharedClusters::default());
    let whole: Value = serde_json::from_str(&running.get("/config_dump")).unwrap();
    let (head, yaml) = running.ask("GET", "/config_dump?format=yaml");
    assert!(head.contains("\r\ncontent-type: application/yaml"), "{head}");
    assert_eq!(serde_yaml::from_str::<Value>(&yaml).unwrap(), whole);
    let some: Value = serde_json::from_str(&running.get("/config_dump?name_regex=v2")).unwrap();
    let clusters = some["configs"][1]["static_clusters"].as_array().unwrap();
    assert!(!clusters.is_empty());
    let wanted = |value: &Value| value["cluster"]["name"].as_str().is_some_and(|name| name.contains("|v2|"));
    assert!(clusters.iter().all(wanted));
    assert_eq!(some["configs"][2]["static_listeners"], json!([]));
    assert_eq!(some["configs"][3]["static_route_configs"], json!([]));
}

#[test]
fn drain_is_asked_of_control() {
    let running = running();
    let (head, body) = running.ask("GET", "/drain");
    assert!(head.starts_with("HTTP/1.1 405 ") && head.contains("\r\nallow: POST"), "{head}");
    assert_eq!(body, "Method GET not allowed, POST required.");
    assert!(running.events.try_recv().is_err());
    let (head, body) = running.ask("POST", "/drain");
    assert!(head.starts_with("HTTP/1.1 200 ") && body == "OK\n", "{head}");
    assert!(matches!(running.events.try_recv(), Ok(Event::Drain)));
}

#[test]
fn a_page_of_another_origin_can_do_nothing() {
    let running = running();
    for (origin, status) in [("http://evil.example", 403), ("null", 403), ("http://LOCALHOST", 200)] {
        let (head, _) = running.ask("POST", &format!("/drain HTTP/1.1\r\nOrigin: {origin}\r\nX: "));
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{origin}: {head}");
    }
    assert!(running.events.try_recv().is_ok() && running.events.try_recv().is_err());
}

#[test]
fn levels_are_not_ours_before_the_log_is() {
    let (head, body) = running().ask("POST", "/logging?level=debug");
    assert!(head.starts_with("HTTP/1.1 503 ") && body == "error: the log is not ringway's\n", "{head}\n{body}");
}

#[test]
fn clusters_show_endpoints_as_envoy_does() {
    let running = running();
    for core in 0..2 {
        let stats = running.registry.endpoint(core, NAME, &([10, 0, 0, 1], 80).into());
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
    // What Envoy 1.40 says of an endpoint, in its order.
    let host: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("::10.0.0.1:80::")).collect();
    let names: Vec<&str> = host.iter().map(|line| line.split("::").next().unwrap()).collect();
    assert_eq!(
        names,
        [
            "cx_active",
            "cx_connect_fail",
            "cx_total",
            "rq_active",
            "rq_error",
            "rq_pending_active",
            "rq_success",
            "rq_timeout",
            "rq_total",
            "hostname",
            "health_flags",
            "weight",
            "region",
            "zone",
            "sub_zone",
            "canary",
            "priority",
            "success_rate",
            "local_origin_success_rate",
        ]
    );
    assert_eq!(
        host[12..],
        [
            "region::r",
            "zone::z",
            "sub_zone::",
            "canary::false",
            "priority::0",
            "success_rate::-1",
            "local_origin_success_rate::-1",
        ]
    );
}

#[test]
fn clusters_are_those_of_the_plan_in_force() {
    let running = running();
    running.state.install(plan(&["outbound|80||new", "outbound|80||other"]), SharedClusters::default());
    let text = running.get("/clusters?filter=new$");
    assert!(!text.is_empty() && text.lines().all(|line| line.starts_with("outbound|80||new::")));
}

#[test]
fn server_info_is_json() {
    let running = running();
    running.state.enter(ServerState::Draining);
    let info: serde_json::Value = serde_json::from_str(&running.get("/server_info")).unwrap();
    assert_eq!(info["state"], "DRAINING");
    assert_eq!(info["version"], concat!("ringway/", env!("CARGO_PKG_VERSION")));
    assert_eq!(info["command_line_options"]["concurrency"], 2);
    assert!(info["uptime_current_epoch"].as_str().unwrap().ends_with('s'));
}

#[test]
fn the_home_page_links_every_other_and_nothing_else() {
    let running = running();
    let (head, body) = running.ask("GET", "/");
    assert!(head.contains("content-type: text/html; charset=UTF-8"));
    assert!(head.contains("\r\ncontent-security-policy: default-src 'none'; "));
    for page in PAGES {
        let linked = body.contains(&format!("<a href=\".{}\">", page.path));
        assert_eq!(linked, page.method != Methods::Post, "{}", page.path);
        assert!(body.contains(&format!("<td>{}</td>", page.about)));
    }
    // Self-contained: no script, style, font or picture from anywhere.
    for outside in [" src=", "<link", "@import", "url("] {
        assert!(!body.contains(outside), "{outside}");
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

/// In place of a name that a web page came from.
#[test]
fn a_host_that_is_a_name_is_refused_on_every_page_and_by_every_method() {
    let running = running();
    let status = |head: String| {
        let mut stream = TcpStream::connect(running.admin.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        (text[9..12].to_owned(), text)
    };
    for path in PAGES.iter().map(|page| page.path).chain(["/nope"]) {
        for method in ["GET", "HEAD", "POST", "OPTIONS", "PUT"] {
            let (code, text) = status(format!("{method} {path} HTTP/1.1\r\nHost: evil.example:15000\r\n\r\n"));
            assert_eq!(code, "403", "{method} {path}: {text}");
        }
    }
    assert!(running.events.try_recv().is_err(), "nothing was drained");
    for (head, code) in [
        ("GET /stats HTTP/1.1\r\nHost: LOCALHOST.:1", "200"),
        ("GET /stats HTTP/1.1\r\nHost: [::1]:15000", "200"),
        ("GET /stats HTTP/1.0", "200"),
        ("GET /stats HTTP/1.0\r\nHost: evil.example", "403"),
        ("GET http://evil.example/stats HTTP/1.1\r\nHost: localhost", "403"),
        ("GET http://localhost/stats HTTP/1.1\r\nHost: evil.example", "403"),
        ("GET http://127.0.0.1:9/stats HTTP/1.1\r\nHost: localhost", "200"),
        ("GET /stats HTTP/1.1\r\nHost: localhost\r\nHost: evil.example", "400"),
        ("GET /stats HTTP/1.1", "400"),
    ] {
        let (got, text) = status(format!("{head}\r\n\r\n"));
        assert_eq!(got, code, "{head}: {text}");
    }
}

#[test]
fn a_taken_port_is_an_error() {
    let running = running();
    let error = Admin::start(running.admin.address(), 1024, Arc::clone(&running.state)).err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}
