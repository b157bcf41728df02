//! Consistent hashing beside the real Envoy: both proxies, before the same origins, must choose the same endpoint for
//! every key.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::{Value, json};

use crate::support::client::{Client, Response};
use crate::support::envoy::Envoy;
use crate::support::origin::Origin;
use crate::support::ports;
use crate::support::ringway::{Driver, Ringway, Setup};
use ringway::policy::hashing::xxh64;

/// Keys tried in each case.
const KEYS: usize = 120;

/// A table over some of the origins, in Istio's words and Envoy's.
struct Table {
    name: &'static str,
    istio: &'static str,
    envoy: fn() -> Value,
    /// The endpoints' weights; so many origins take part.
    weights: &'static [u32],
}

fn ring(minimum: u64) -> Value {
    json!({"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": minimum}})
}

fn maglev(size: u64) -> Value {
    json!({"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": size}})
}

const TABLES: &[Table] = &[
    Table { name: "one", istio: "", envoy: || ring(1024), weights: &[1] },
    Table { name: "two", istio: "", envoy: || ring(1024), weights: &[1, 1] },
    Table { name: "three", istio: "minimumRingSize: 64", envoy: || ring(64), weights: &[1, 1, 1] },
    Table { name: "seven", istio: "ringHash: {minimumRingSize: 4096}", envoy: || ring(4096), weights: &[1; 7] },
    Table { name: "tiny", istio: "ringHash: {minimumRingSize: 1}", envoy: || ring(1), weights: &[1; 7] },
    Table { name: "weighted", istio: "", envoy: || ring(1024), weights: &[1, 2, 5] },
    Table { name: "uneven", istio: "ringHash: {minimumRingSize: 10}", envoy: || ring(10), weights: &[3, 7, 5, 11] },
    Table { name: "maglev", istio: "maglev: {tableSize: 65537}", envoy: || maglev(65_537), weights: &[1; 7] },
    Table { name: "small-maglev", istio: "maglev: {tableSize: 251}", envoy: || maglev(251), weights: &[1, 1, 1] },
    Table {
        name: "weighted-maglev",
        istio: "maglev: {tableSize: 1009}",
        envoy: || maglev(1009),
        weights: &[1, 2, 5, 13],
    },
];

/// What is hashed.
struct Kind {
    name: &'static str,
    istio: &'static str,
    envoy: fn() -> Value,
    /// The request of a key to a host.
    request: fn(&str, usize) -> String,
}

fn get(host: &str, target: &str, lines: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n")
}

const KINDS: &[Kind] = &[
    Kind {
        name: "header",
        istio: "httpHeaderName: X-User",
        envoy: || json!({"header": {"header_name": "x-user"}}),
        request: |host, key| get(host, "/", &format!("X-User: user-{key}\r\n")),
    },
    Kind {
        name: "headers",
        istio: "httpHeaderName: x-user",
        envoy: || json!({"header": {"header_name": "x-user"}}),
        request: |host, key| get(host, "/", &format!("x-user: {key}\r\nx-other: a\r\nX-User: a{key}, b\r\n")),
    },
    Kind {
        name: "authority",
        istio: "httpHeaderName: ':authority'",
        envoy: || json!({"header": {"header_name": ":authority"}}),
        request: |host, key| get(&format!("{host}:{}", key + 1), "/", ""),
    },
    Kind {
        name: "path",
        istio: "httpHeaderName: ':path'",
        envoy: || json!({"header": {"header_name": ":path"}}),
        request: |host, key| get(host, &format!("/a/../{key}?x=y"), ""),
    },
    Kind {
        name: "forwarded",
        istio: "httpHeaderName: x-forwarded-for",
        envoy: || json!({"header": {"header_name": "x-forwarded-for"}}),
        request: |host, key| get(host, "/", &format!("x-forwarded-for: 10.0.0.{key}\r\nX-Forwarded-For: 10.1.1.1\r\n")),
    },
    Kind {
        name: "cookie",
        istio: "httpCookie: {name: user, ttl: 0s}",
        envoy: || json!({"cookie": {"name": "user", "ttl": "0s"}}),
        request: |host, key| get(host, "/", &format!("cookie: a=b; user={key:x}\r\n")),
    },
    Kind {
        name: "quoted",
        istio: "httpCookie: {name: user, ttl: 0s}",
        envoy: || json!({"cookie": {"name": "user", "ttl": "0s"}}),
        request: |host, key| get(host, "/", &format!("cookie: a\r\ncookie: x=y;  user=\"{key}=a\" ; user=z\r\n")),
    },
    Kind {
        name: "query",
        istio: "httpQueryParameterName: user",
        envoy: || json!({"query_parameter": {"name": "user"}}),
        request: |host, key| get(host, &format!("/p?a=b&user=a%20{key}&user=z"), ""),
    },
    Kind {
        name: "valueless",
        istio: "httpQueryParameterName: user",
        envoy: || json!({"query_parameter": {"name": "user"}}),
        request: |host, key| get(host, &format!("/{key}?user"), ""),
    },
];

/// A service, the table over its endpoints, and what is hashed.
struct Case {
    host: String,
    table: &'static Table,
    istio_key: &'static str,
    envoy_key: fn() -> Value,
}

impl Case {
    fn new(table: &'static Table, name: &str, istio_key: &'static str, envoy_key: fn() -> Value) -> Self {
        Self { host: format!("{}-{name}.example.com", table.name), table, istio_key, envoy_key }
    }

    fn cluster(&self) -> String {
        format!("outbound|80||{}", self.host)
    }

    fn yaml(&self, origins: &[Origin]) -> String {
        let host = &self.host;
        let name = host.split('.').next().unwrap_or_default();
        let (key, table) = (self.istio_key, self.table.istio);
        let mut text = format!(
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\nspec:\n  \
             hosts: [{host}]\n  gateways: [edge]\n  http: [{{route: [{{destination: {{host: {host}}}}}]}}]\n\
             ---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}}}\nspec:\n  \
             host: {host}\n  trafficPolicy: {{loadBalancer: {{consistentHash: {{{key}{comma}{table}}}}}}}\n\
             ---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}}}\nspec:\n  \
             hosts: [{host}]\n  resolution: STATIC\n  ports: [{{number: 80, name: http, protocol: HTTP}}]\n  \
             endpoints:\n",
            comma = if table.is_empty() { "" } else { ", " },
        );
        for (origin, weight) in origins.iter().zip(self.table.weights) {
            let port = origin.port();
            let _ = writeln!(text, "  - {{address: 127.0.0.1, ports: {{http: {port}}}, weight: {weight}}}");
        }
        text
    }

    fn envoy_cluster(&self, origins: &[Origin]) -> Value {
        // ringway keeps its endpoints sorted; on a ring whose points do not divide evenly the order counts.
        let mut members: Vec<_> = origins.iter().zip(self.table.weights).collect();
        members.sort_by_key(|(origin, _)| origin.port());
        let endpoints = members.iter().map(|(origin, weight)| {
            json!({"endpoint": {"address": socket_address(origin.address)}, "load_balancing_weight": weight})
        });
        let mut cluster = (self.table.envoy)();
        cluster["name"] = json!(self.cluster());
        cluster["type"] = json!("STATIC");
        cluster["load_assignment"] = json!({
            "cluster_name": self.cluster(),
            "endpoints": [{"lb_endpoints": endpoints.collect::<Vec<Value>>()}],
        });
        cluster
    }

    fn envoy_host(&self) -> Value {
        json!({
            "name": self.host,
            "domains": [self.host, format!("{}:*", self.host)],
            "routes": [{
                "match": {"prefix": "/"},
                "route": {"cluster": self.cluster(), "hash_policy": [(self.envoy_key)()]},
            }],
        })
    }
}

fn socket_address(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

/// Origins that answer with their number.
fn origins(count: usize) -> Vec<Origin> {
    let reply = |at: usize| Origin::replying(format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{at}"));
    (0..count).map(reply).collect()
}

fn envoy(clusters: &[Value], hosts: &[Value]) -> (Envoy, SocketAddr) {
    let kind = |tail: &str| format!("type.googleapis.com/envoy.extensions.filters.{tail}");
    let (address, admin) = (ports::loopback(ports::free()), ports::loopback(ports::free()));
    let bootstrap = json!({
        "admin": {"address": socket_address(admin)},
        "static_resources": {
            "listeners": [{
                "name": "edge",
                "address": socket_address(address),
                "filter_chains": [{"filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": {
                        "@type": kind("network.http_connection_manager.v3.HttpConnectionManager"),
                        "stat_prefix": "edge",
                        "codec_type": "HTTP1",
                        "use_remote_address": true,
                        "normalize_path": true,
                        "route_config": {"name": "edge", "virtual_hosts": hosts, "ignore_port_in_host_matching": true},
                        "http_filters": [{
                            "name": "envoy.filters.http.router",
                            "typed_config": {"@type": kind("http.router.v3.Router")},
                        }],
                    },
                }]}],
            }],
            "clusters": clusters,
        },
    });
    (Envoy::start(&bootstrap, admin), address)
}

const GATEWAY: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}
";

fn ringway(yaml: String) -> Ringway {
    Setup::new(Driver::IoUring).yaml(GATEWAY.to_owned() + &yaml).start()
}

/// Both proxies on these cases, Envoy first.
fn start(cases: &[Case], origins: &[Origin]) -> (Envoy, Ringway, [SocketAddr; 2]) {
    let clusters: Vec<Value> = cases.iter().map(|case| case.envoy_cluster(origins)).collect();
    let hosts: Vec<Value> = cases.iter().map(Case::envoy_host).collect();
    let (envoy, theirs) = envoy(&clusters, &hosts);
    let ringway = ringway(cases.iter().map(|case| case.yaml(origins)).collect());
    let ours = ringway.address();
    (envoy, ringway, [theirs, ours])
}

fn available() -> bool {
    let binary = Envoy::binary();
    if let Err(why) = &binary {
        crate::support::skip::loudly(&format!("SKIPPED: hashing beside Envoy, because it cannot be had: {why}"));
    }
    binary.is_ok()
}

/// The number of the origin that answered.
#[track_caller]
fn who(response: &Response) -> String {
    assert_eq!(response.status, 200, "{response:?}");
    response.text()
}

#[test]
fn both_proxies_choose_the_same_endpoint() {
    if !available() {
        return;
    }
    let origins = origins(7);
    // Every table with a header, and every kind with one of each table.
    let tables = TABLES.iter().map(|table| (table, &KINDS[0]));
    let kinds = KINDS.iter().flat_map(|kind| [(&TABLES[3], kind), (&TABLES[7], kind)]);
    let mut pairs: Vec<_> = tables.chain(kinds).collect();
    let mut seen = BTreeSet::new();
    pairs.retain(|(table, kind)| seen.insert((table.name, kind.name)));
    let cases: Vec<Case> =
        pairs.iter().map(|(table, kind)| Case::new(table, kind.name, kind.istio, kind.envoy)).collect();
    let (_envoy, _ringway, addresses) = start(&cases, &origins);
    let [mut theirs, mut ours] = addresses.map(Client::connect);
    for (case, (_, kind)) in cases.iter().zip(&pairs) {
        let mut chosen = BTreeSet::new();
        for key in 0..KEYS {
            let request = (kind.request)(&case.host, key);
            let (expected, seen) = (who(&theirs.ask(&request)), who(&ours.ask(&request)));
            assert_eq!(seen, expected, "ringway beside Envoy: {} for {request}", case.host);
            chosen.insert(seen);
        }
        // One value is one endpoint; many values go everywhere, save on a ring of few points.
        let expected = if kind.name == "valueless" { 1 } else { case.table.weights.len() };
        assert!(chosen.len() == expected || case.table.name == "tiny", "{}: {chosen:?}", case.host);
    }
}

#[test]
fn both_proxies_hash_the_clients_address() {
    if !available() {
        return;
    }
    let origins = origins(7);
    let case = |table| {
        Case::new(table, "source", "useSourceIp: true", || json!({"connection_properties": {"source_ip": true}}))
    };
    let cases = [case(&TABLES[3]), case(&TABLES[7])];
    let (_envoy, _ringway, addresses) = start(&cases, &origins);
    for case in &cases {
        let mut chosen = BTreeSet::new();
        for key in 0..KEYS {
            let own = IpAddr::V4(Ipv4Addr::new(127, 0, 1, key as u8));
            let [expected, seen] =
                addresses.map(|address| who(&Client::connect_from(own, address).ask(get(&case.host, "/", ""))));
            assert_eq!(seen, expected, "ringway beside Envoy: {} from {own}", case.host);
            chosen.insert(seen);
        }
        assert_eq!(chosen.len(), 7, "{}: {chosen:?}", case.host);
    }
}

fn set_cookies(response: &Response) -> Vec<String> {
    response.head.all("set-cookie").into_iter().map(str::to_owned).collect()
}

#[test]
fn both_proxies_make_the_same_cookie() {
    if !available() {
        return;
    }
    let origins = origins(7);
    let case = |name: &str, istio, envoy| Case::new(&TABLES[3], name, istio, envoy);
    let cases = [
        case(
            "lasting",
            "httpCookie: {name: user, path: /p, ttl: 60s}",
            || json!({"cookie": {"name": "user", "path": "/p", "ttl": "60s"}}),
        ),
        case("session", "httpCookie: {name: user, ttl: 0s}", || json!({"cookie": {"name": "user", "ttl": "0s"}})),
        case("half", "httpCookie: {name: user, ttl: 1500ms}", || json!({"cookie": {"name": "user", "ttl": "1.5s"}})),
        case(
            "attributes",
            "httpCookie: {name: user, path: /, ttl: 5s, attributes: [{name: SameSite, value: Lax}, {name: Secure}]}",
            || {
                json!({"cookie": {"name": "user", "path": "/", "ttl": "5s", "attributes": [
                    {"name": "SameSite", "value": "Lax"}, {"name": "Secure"},
                ]}})
            },
        ),
    ];
    let (_envoy, _ringway, addresses) = start(&cases, &origins);
    for case in &cases {
        let seen = addresses.map(|address| {
            let mut client = Client::connect(address);
            let value = format!("{:016x}", xxh64(format!("{}{address}", client.local()).as_bytes()));
            let first = client.ask(get(&case.host, "/", ""));
            let cookies = set_cookies(&first);
            assert_eq!(cookies.len(), 1, "{}: {first:?}", case.host);
            assert!(cookies[0].starts_with(&format!("user=\"{value}\"")), "{} for {value}: {cookies:?}", case.host);
            // Requests that race on the connection get the same one.
            assert_eq!(set_cookies(&client.ask(get(&case.host, "/", ""))), cookies);
            // With the cookie a request goes where the first one went, on any connection, and is not told again.
            let next = Client::connect(address).ask(get(&case.host, "/", &format!("cookie: user=\"{value}\"\r\n")));
            assert_eq!((who(&next), set_cookies(&next)), (who(&first), vec![]), "{}", case.host);
            cookies[0].replace(&value, "VALUE")
        });
        assert_eq!(seen[1], seen[0], "ringway beside Envoy: {}", case.host);
    }
}

#[test]
fn nothing_to_hash_goes_anywhere_and_makes_no_cookie() {
    let origins = origins(3);
    let table = &TABLES[2];
    let cases = [
        Case::new(table, "header", "httpHeaderName: x-user", || Value::Null),
        Case::new(table, "query", "httpQueryParameterName: user", || Value::Null),
        Case::new(table, "cookie", "httpCookie: {name: user}", || Value::Null),
    ];
    let ringway = ringway(cases.iter().map(|case| case.yaml(&origins)).collect());
    let mut client = ringway.client();
    for case in &cases {
        let mut chosen = BTreeSet::new();
        // That one of three is not among 100 random picks happens once in 10^17 runs.
        for _ in 0..100 {
            let response = client.ask(get(&case.host, "/", ""));
            assert_eq!(set_cookies(&response), [""; 0], "{}", case.host);
            chosen.insert(who(&response));
        }
        assert_eq!(chosen.len(), 3, "{}: {chosen:?}", case.host);
    }
}

#[test]
fn rules_treat_a_new_cookie_as_the_upstreams_own() {
    let origins = origins(1);
    let case = Case::new(&TABLES[0], "cookie", "httpCookie: {name: user, ttl: 60s}", || Value::Null);
    for (operation, expected) in [
        ("remove: [Set-Cookie]", &[][..]),
        ("set: {set-cookie: a=b}", &["a"]),
        ("add: {set-cookie: a=b}", &["a", "user"]),
    ] {
        let headers = format!("http: [{{headers: {{response: {{{operation}}}}}, route:");
        let ringway = ringway(case.yaml(&origins).replace("http: [{route:", &headers));
        let lines = set_cookies(&ringway.client().ask(get(&case.host, "/", "")));
        let names: BTreeSet<&str> = lines.iter().filter_map(|line| line.split('=').next()).collect();
        assert!(names.iter().eq(expected), "{operation}: {lines:?}");
    }
}

#[test]
fn several_destinations_hash_by_all_their_keys() {
    if !available() {
        return;
    }
    let origins = origins(6);
    let (one, two) = origins.split_at(3);
    let table = &TABLES[2];
    let header =
        |_: ()| Case::new(table, "one", "httpHeaderName: x-user", || json!({"header": {"header_name": "x-user"}}));
    let query =
        |_: ()| Case::new(table, "two", "httpQueryParameterName: id", || json!({"query_parameter": {"name": "id"}}));
    let (one, two) = ((header(()), one), (query(()), two));
    let host = "both.example.com";
    let weighted = |(case, _): &(Case, &[Origin])| json!({"name": case.cluster(), "weight": 50});
    let envoy_host = json!({
        "name": host, "domains": [host],
        "routes": [{"match": {"prefix": "/"}, "route": {
            "weighted_clusters": {"clusters": [weighted(&one), weighted(&two)]},
            "hash_policy": [(one.0.envoy_key)(), (two.0.envoy_key)()],
        }}],
    });
    let clusters = [one.0.envoy_cluster(one.1), two.0.envoy_cluster(two.1)];
    let (_envoy, theirs) = envoy(&clusters, &[envoy_host]);
    let routes = format!(
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: both}}\nspec:\n  \
         hosts: [{host}]\n  gateways: [edge]\n  http: [{{route: [{{destination: {{host: {}}}, weight: 50}}, \
         {{destination: {{host: {}}}, weight: 50}}]}}]\n",
        one.0.host, two.0.host
    );
    let ringway = ringway(one.0.yaml(one.1) + &two.0.yaml(two.1) + &routes);
    let mut clients = [Client::connect(theirs), ringway.client()];
    for key in 0..KEYS {
        let request = get(host, &format!("/?id={}", key % 7), &format!("x-user: {key}\r\n"));
        // Which of the two destinations is drawn is up to chance; one of them is never drawn in one of 2^39 runs.
        let [expected, seen] =
            clients.each_mut().map(|client| (0..40).map(|_| who(&client.ask(&request))).collect::<BTreeSet<String>>());
        assert_eq!(expected.len(), 2, "{expected:?}");
        assert_eq!(seen, expected, "ringway beside Envoy: {request}");
    }
}
