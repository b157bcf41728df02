//! `consistentHash`: both proxies send each key to the same endpoint, so that one can take the other's place.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::LazyLock;

use crate::bench::{Proxy, World, at_each};
use crate::support::client::{Client, Response};

/// Host and Service, its `consistentHash`, and the weights of its endpoints, of which the first is `@0`.
const WAYS: &[(&str, &str, &[u32])] = &[
    ("header", "{httpHeaderName: X-User}", &[1; 3]),
    ("query", "{httpQueryParameterName: user}", &[1; 3]),
    ("cookie", "{httpCookie: {name: user, ttl: 0s}}", &[1; 3]),
    ("session", "{httpCookie: {name: session, path: /p, ttl: 60s}}", &[1; 3]),
    ("never", "{httpCookie: {name: never}}", &[1; 3]),
    ("source", "{useSourceIp: true}", &[1; 3]),
    ("one", "{httpHeaderName: X-User}", &[1; 1]),
    ("two", "{httpHeaderName: X-User}", &[1; 2]),
    ("seven", "{httpHeaderName: X-User}", &[1; 7]),
    ("small", "{httpHeaderName: X-User, ringHash: {minimumRingSize: 5}}", &[1; 3]),
    ("large", "{httpHeaderName: X-User, ringHash: {minimumRingSize: 5000}}", &[1; 7]),
    ("old", "{httpHeaderName: X-User, minimumRingSize: 64}", &[1; 7]),
    ("weighted", "{httpHeaderName: X-User}", &[1, 2, 5]),
    ("maglev", "{httpHeaderName: X-User, maglev: {tableSize: 65537}}", &[1; 7]),
    ("maglev-small", "{httpHeaderName: X-User, maglev: {tableSize: 101}}", &[1; 7]),
    ("maglev-weighted", "{httpHeaderName: X-User, maglev: {tableSize: 1009}}", &[1, 2, 5]),
];

/// A subset with a policy of its own, of four of the service's seven endpoints.
const SUBSET: &str = r"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ['*']
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: subset}
spec:
  hosts: [subset.example.com]
  gateways: [edge]
  http:
  - route: [{destination: {host: seven, subset: four}}]
";

fn world() -> World {
    static YAML: LazyLock<String> = LazyLock::new(|| {
        let mut yaml = SUBSET.to_owned();
        for (name, hash, weights) in WAYS {
            let subsets = match *name {
                "seven" => format!(
                    "  subsets:\n  - name: four\n    labels: {{part: four}}\n    \
                     trafficPolicy: {{loadBalancer: {{consistentHash: {hash}}}}}\n"
                ),
                _ => String::new(),
            };
            let _ = write!(
                yaml,
                "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\nspec:\n  \
                 hosts: [{name}.example.com]\n  gateways: [edge]\n  http:\n  - route: [{{destination: {{host: {name}}}}}]\n\
                 ---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}}}\nspec:\n  \
                 host: {name}\n  trafficPolicy: {{loadBalancer: {{consistentHash: {hash}}}}}\n{subsets}\
                 ---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  selector: {{app: {name}}}\n  \
                 ports: [{{name: http, port: 8000}}]\n"
            );
            for (number, weight) in weights.iter().enumerate() {
                let part = if number < 4 { "four" } else { "rest" };
                let _ = write!(
                    yaml,
                    "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: {name}-{number}}}\n\
                     spec:\n  address: 127.0.0.1\n  ports: {{http: @{number}}}\n  labels: {{app: {name}, part: {part}}}\n  \
                     weight: {weight}\n"
                );
            }
        }
        yaml
    });
    World::gateway(&YAML, 7)
}

/// Words of many lengths, some of them alike.
fn keys() -> Vec<String> {
    (0..150)
        .map(|number: usize| match number % 4 {
            0 => format!("user-{number}"),
            1 => format!("{number}"),
            2 => "k".repeat(number),
            _ => format!("00000000-0000-4000-8000-{number:012x}"),
        })
        .collect()
}

/// The origin that answered.
#[track_caller]
fn origin(response: &Response) -> String {
    assert_eq!(response.status, 200, "{response:?}");
    response.header("x-origin").unwrap_or_else(|| panic!("no origin in {response:?}")).to_owned()
}

/// Asks each request of `requests` at each proxy, and asserts that each was answered by the same origin as at Envoy.
/// More than one origin must take part, but where a host has only one.
fn same_endpoints(host: &str, requests: &[String], endpoints: usize) {
    let mut envoy: Option<Vec<String>> = None;
    at_each(world(), |proxy| {
        let mut client = Client::connect(proxy.address());
        let answered: Vec<String> = requests.iter().map(|request| origin(&client.ask(request))).collect();
        match &envoy {
            None => {
                let mut distinct = answered.clone();
                distinct.sort();
                distinct.dedup();
                assert_eq!(distinct.len(), endpoints, "{host}: the keys are too much alike: {distinct:?}");
                envoy = Some(answered);
            }
            Some(envoy) => {
                for ((request, envoy), ringway) in requests.iter().zip(envoy).zip(&answered) {
                    assert_eq!(ringway, envoy, "{host} at {}: {request}", proxy.name());
                }
            }
        }
    });
}

/// Requests with each of the keys in this place.
fn requests(host: &str, of_key: impl Fn(&str) -> (String, String)) -> Vec<String> {
    let request = |key: &String| {
        let (target, header) = of_key(key);
        format!("GET {target} HTTP/1.1\r\nHost: {host}.example.com\r\n{header}\r\n")
    };
    keys().iter().map(request).collect()
}

fn by_header(host: &str, endpoints: usize) {
    let requests = requests(host, |key| ("/x".to_owned(), format!("X-User: {key}\r\n")));
    same_endpoints(host, &requests, endpoints);
}

#[test]
fn by_a_header() {
    by_header("header", 3);
    by_header("subset", 4);
}

#[test]
fn by_a_header_on_several_lines() {
    let requests =
        requests("header", |key| ("/x".to_owned(), format!("X-User: {key}\r\nX-User: a{key}\r\nx-user: \r\n")));
    same_endpoints("header", &requests, 3);
}

#[test]
fn by_a_query_parameter() {
    let requests = requests("query", |key| (format!("/x?a=b&user={key}&user=other"), String::new()));
    same_endpoints("query", &requests, 3);
}

#[test]
fn by_a_cookie() {
    let plain = requests("cookie", |key| ("/x".to_owned(), format!("Cookie: a=b; user={key}\r\n")));
    same_endpoints("cookie", &plain, 3);
    let quoted =
        requests("cookie", |key| ("/x".to_owned(), format!("Cookie: xuser=1\r\nCookie: user=\"{key}\"; user=2\r\n")));
    same_endpoints("cookie", &quoted, 3);
}

#[test]
fn rings_of_other_sizes() {
    for (host, endpoints) in [("one", 1), ("two", 2), ("seven", 7), ("small", 3), ("large", 7), ("old", 7)] {
        by_header(host, endpoints);
    }
}

#[test]
fn weights_on_a_ring() {
    by_header("weighted", 3);
}

#[test]
fn maglev() {
    for (host, endpoints) in [("maglev", 7), ("maglev-small", 7), ("maglev-weighted", 3)] {
        by_header(host, endpoints);
    }
}

/// A client on one of the machine's loopback addresses.
fn client_at(address: SocketAddr, last: u8) -> Client {
    let local = SocketAddr::from((IpAddr::from(Ipv4Addr::new(127, 0, 1, last)), 0));
    Client::from_address(local, address)
}

#[test]
fn by_the_source() {
    let mut envoy: Option<Vec<String>> = None;
    at_each(world(), |proxy| {
        let ask =
            |last| origin(&client_at(proxy.address(), last).ask("GET /x HTTP/1.1\r\nHost: source.example.com\r\n\r\n"));
        let answered: Vec<String> = (1..100).map(ask).collect();
        match &envoy {
            None => envoy = Some(answered),
            Some(envoy) => assert_eq!(&answered, envoy, "{}", proxy.name()),
        }
    });
}

/// Without a key, any endpoint: over many requests all of them.
#[test]
fn without_a_key() {
    at_each(world(), |proxy| {
        for host in ["header", "query", "never"] {
            let mut client = Client::connect(proxy.address());
            let request = format!("GET /x HTTP/1.1\r\nHost: {host}.example.com\r\n\r\n");
            let mut met: Vec<String> = (0..100).map(|_| origin(&client.ask(&request))).collect();
            met.sort();
            met.dedup();
            // (2/3)^100 is the chance that one of three stays unmet: not in the life of this test.
            assert_eq!(met, ["@0", "@1", "@2"], "{host} at {}", proxy.name());
        }
    });
}

/// The parts of `set-cookie`: the value, and the rest.
fn cookie(response: &Response) -> Option<(String, String)> {
    let line = response.header("set-cookie")?;
    let (name_and_value, rest) = line.split_once(';').unwrap_or((line, ""));
    let (name, value) = name_and_value.split_once('=').unwrap_or_else(|| panic!("a cookie in {line}"));
    let value = value.trim_matches('"');
    assert!(value.len() == 16 && value.bytes().all(|byte| byte.is_ascii_hexdigit()), "16 hex digits in {line}");
    Some((value.to_owned(), format!("{name}={}{rest}", if line.contains('"') { "\"…\";" } else { "…;" })))
}

/// Who has no cookie is given one, and stays at the endpoint that it was given with. A rule without a ttl gives none.
#[test]
fn a_cookie_is_given() {
    let mut envoy: Option<Vec<Option<String>>> = None;
    at_each(world(), |proxy: &dyn Proxy| {
        let forms = ["session", "cookie", "never"].map(|host| {
            let request = |cookie: &str| format!("GET /p/x HTTP/1.1\r\nHost: {host}.example.com\r\n{cookie}\r\n");
            let mut client = Client::connect(proxy.address());
            let first = client.ask(request(""));
            let (value, form) = cookie(&first)?;
            // Given again on the same connection: Envoy makes it of the connection's addresses.
            let again = client.ask(request(""));
            assert_eq!(cookie(&again).map(|(value, _)| value).as_ref(), Some(&value), "{host} at {}", proxy.name());
            assert_eq!(origin(&again), origin(&first));
            let name = form.split('=').next().unwrap_or_default();
            for _ in 0..20 {
                let response = Client::connect(proxy.address()).ask(request(&format!("Cookie: {name}={value}\r\n")));
                assert_eq!(origin(&response), origin(&first), "{host} at {}", proxy.name());
                assert_eq!(cookie(&response), None, "who has one is given none");
            }
            Some(form)
        });
        match &envoy {
            None => envoy = Some(forms.to_vec()),
            Some(envoy) => assert_eq!(&forms[..], envoy, "{}", proxy.name()),
        }
    });
}
