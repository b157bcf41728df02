//! Beside the real Envoy, before the same sockets: the same answers, the same words in the log, the same endpoint for every
//! hash, the same names in `/clusters`.

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::{Value, json};

use super::{Sockets, abstract_socket, named};
use crate::support::client::{Client, Response};
use crate::support::envoy::Envoy;
use crate::support::origin::Origin;
use crate::support::ports;
use crate::support::ringway::{Driver, Ringway, Setup};
use crate::support::skip;
use crate::support::wait::eventually;
use crate::support::yaml;

const FORMAT: &str = "%REQ(:AUTHORITY)% %RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_HOST% %UPSTREAM_REMOTE_ADDRESS% \
                      %UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% [%UPSTREAM_REMOTE_PORT%] %UPSTREAM_LOCAL_ADDRESS% \
                      %UPSTREAM_PROTOCOL% %UPSTREAM_TRANSPORT_FAILURE_REASON% %RESPONSE_CODE_DETAILS%\n";

/// A host, how its requests are spread in Istio's words and Envoy's, and its endpoints as Envoy has them.
struct Case {
    name: &'static str,
    istio: &'static str,
    envoy: Value,
    endpoints: Vec<Value>,
}

impl Case {
    fn new(name: &'static str, path: &str) -> Self {
        Self { name, istio: "{loadBalancer: {simple: RANDOM}}", envoy: json!({}), endpoints: vec![pipe(path)] }
    }

    fn host(&self) -> String {
        format!("{}.example.com", self.name)
    }

    fn cluster(&self) -> String {
        format!("outbound|80||{}", self.host())
    }

    fn yaml(&self) -> String {
        let address = |endpoint: &Value| match endpoint["pipe"]["path"].as_str() {
            Some(path) => format!("{{address: 'unix://{path}'}}"),
            None => {
                let port = &endpoint["socket_address"]["port_value"];
                format!("{{address: 127.0.0.1, ports: {{http: {port}}}}}")
            }
        };
        let endpoints: Vec<String> = self.endpoints.iter().map(address).collect();
        let (name, host, policy) = (self.name, self.host(), self.istio);
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\nspec:\n  hosts: \
             [{host}]\n  gateways: [edge]\n  http:\n  - retries: {{attempts: 0}}\n    headers: {{response: {{set: \
             {{x-host: '%UPSTREAM_HOST%'}}}}}}\n    route: [{{destination: {{host: {host}}}}}]\n---\napiVersion: \
             networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}}}\nspec: {{host: {host}, \
             trafficPolicy: {policy}}}\n---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: \
             {name}}}\nspec: {{hosts: [{host}], resolution: STATIC, ports: [{{number: 80, name: http, protocol: HTTP}}], \
             endpoints: [{}]}}\n",
            endpoints.join(", ")
        )
    }

    fn envoy_cluster(&self) -> Value {
        let endpoints: Vec<Value> =
            self.endpoints.iter().map(|address| json!({"endpoint": {"address": address}})).collect();
        let mut cluster = self.envoy.clone();
        cluster["name"] = json!(self.cluster());
        cluster["type"] = json!("STATIC");
        cluster["load_assignment"] =
            json!({"cluster_name": self.cluster(), "endpoints": [{"lb_endpoints": endpoints}]});
        cluster
    }

    fn envoy_host(&self) -> Value {
        json!({
            "name": self.host(),
            "domains": [self.host()],
            "response_headers_to_add":
                [{"header": {"key": "x-host", "value": "%UPSTREAM_HOST%"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}],
            "routes": [{"match": {"prefix": "/"}, "route": {
                "cluster": self.cluster(), "hash_policy": [{"header": {"header_name": "x-user"}}],
            }}],
        })
    }
}

fn pipe(path: &str) -> Value {
    json!({"pipe": {"path": path}})
}

fn socket_address(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

/// An Envoy on these cases that logs to this file: its listener, and its admin.
fn envoy(cases: &[Case], log: &Path) -> (Envoy, SocketAddr, SocketAddr) {
    let kind = |tail: &str| format!("type.googleapis.com/envoy.extensions.{tail}");
    let (address, admin) = (ports::loopback(ports::free()), ports::loopback(ports::free()));
    let manager = json!({
        "@type": kind("filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "edge",
        "codec_type": "HTTP1",
        "access_log": [{"name": "envoy.access_loggers.file", "typed_config": {
            "@type": kind("access_loggers.file.v3.FileAccessLog"),
            "path": log,
            "log_format": {"text_format_source": {"inline_string": FORMAT}},
        }}],
        "route_config": {"virtual_hosts": cases.iter().map(Case::envoy_host).collect::<Vec<_>>()},
        "http_filters": [
            {"name": "envoy.filters.http.router", "typed_config": {"@type": kind("filters.http.router.v3.Router")}},
        ],
    });
    let bootstrap = json!({
        "admin": {"address": socket_address(admin)},
        "static_resources": {
            "listeners": [{
                "name": "edge",
                "address": socket_address(address),
                "filter_chains": [{"filters": [
                    {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager},
                ]}],
            }],
            "clusters": cases.iter().map(Case::envoy_cluster).collect::<Vec<_>>(),
        },
    });
    (Envoy::start(&bootstrap, admin), address, admin)
}

fn ringway(cases: &[Case]) -> Ringway {
    let format = serde_json::to_string(FORMAT).expect("a string");
    let documents: String = cases.iter().map(Case::yaml).collect();
    Setup::new(Driver::IoUring).mesh_config("accessLogFormat", &format).yaml(yaml::edge() + &documents).start()
}

/// What a client sees of an answer, but for what differs between any two.
fn seen(response: &Response) -> (u16, Option<String>, String) {
    (response.status, response.header("x-host").map(str::to_owned), response.text())
}

/// The names of a cluster's endpoints in `/clusters`.
fn endpoints(admin: SocketAddr, cluster: &str) -> Vec<String> {
    let get = "GET /clusters HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let text = crate::support::client::once(admin, get).text();
    let prefix = format!("{cluster}::");
    let endpoint = |line: &str| Some(line.strip_prefix(&prefix)?.strip_suffix("::hostname::")?.to_owned());
    let mut all: Vec<String> = text.lines().filter_map(endpoint).collect();
    all.sort();
    all
}

#[test]
fn both_proxies_say_and_choose_the_same() {
    if let Err(why) = Envoy::binary() {
        return skip::loudly(&format!("SKIPPED: sockets beside Envoy, because it cannot be had: {why}"));
    }
    let sockets = Sockets::new();
    let path = |name: &str| sockets.path(name).display().to_string();
    let name = format!("ringway-beside-{}", std::process::id());
    let _origins = ["a", "b", "c", "with space"].map(|name| sockets.origin(name));
    let (_abstract, tcp) = (Origin::start_on(abstract_socket(&name), named("abstract")), Origin::start(named("tcp")));
    drop(sockets.bind("nobody"));
    let full = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).expect("a socket");
    full.bind(&socket2::SockAddr::unix(path("full")).expect("a path")).expect("it is bound");
    full.listen(0).expect("it listens");
    let _first = UnixStream::connect(path("full")).expect("there is room for one");

    let hashed = |case, istio, envoy| {
        let mut endpoints: Vec<Value> = ["a", "b", "c"].map(|name| pipe(&path(name))).into();
        endpoints.insert(0, socket_address(tcp.address));
        endpoints.push(pipe(&format!("@{name}")));
        Case { name: case, istio, envoy, endpoints }
    };
    let ring = json!({"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": 1024}});
    let maglev = json!({"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 65_537}});
    let cases = [
        Case::new("file", &path("a")),
        Case::new("space", &path("with space")),
        Case::new("abstract", &format!("@{name}")),
        Case::new("missing", &path("missing")),
        Case::new("nobody", &path("nobody")),
        Case::new("no-name", "@ringway-nobody"),
        Case::new("full", &path("full")),
        hashed("ring", "{loadBalancer: {consistentHash: {httpHeaderName: x-user}}}", ring),
        hashed(
            "maglev",
            "{loadBalancer: {consistentHash: {httpHeaderName: x-user, maglev: {tableSize: 65537}}}}",
            maglev,
        ),
    ];
    let log = sockets.path("envoy.log");
    let (_envoy, theirs, their_admin) = envoy(&cases, &log);
    let ringway = ringway(&cases);
    let [mut their, mut our] = [theirs, ringway.address()].map(Client::connect);
    for case in &cases {
        let host = case.host();
        let keys = if case.endpoints.len() > 1 { 100 } else { 2 };
        for key in 0..keys {
            let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nx-user: u{key}\r\n\r\n");
            let (theirs, ours) = (seen(&their.ask(&request)), seen(&our.ask(&request)));
            assert_eq!(ours, theirs, "ringway beside Envoy: {host}, {key}");
        }
        assert_eq!(endpoints(ringway.admin, &case.cluster()), endpoints(their_admin, &case.cluster()), "{host}");
    }
    let count = cases.iter().map(|case| if case.endpoints.len() > 1 { 100 } else { 2 }).sum::<usize>();
    let their_log = eventually("Envoy's log", || {
        let lines: Vec<String> = std::fs::read_to_string(&log).ok()?.lines().map(str::to_owned).collect();
        (lines.len() == count).then_some(lines)
    });
    let our_log = eventually("the log", || Some(ringway.log()).filter(|lines| lines.len() == count));
    let on_a_socket = |line: &&String| !line.contains(&tcp.address.to_string()); // there our own port differs
    for (ours, theirs) in our_log.iter().zip(&their_log).filter(|(_, theirs)| on_a_socket(theirs)) {
        assert_eq!(ours, theirs, "ringway beside Envoy");
    }
}
