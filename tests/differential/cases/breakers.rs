//! Circuit breakers: requests of several clients at once, one of which holds what the others would need.
//!
//! Envoy runs with one worker, where its limits are exact. Each host has a service of its own with the same origin, which
//! holds what is asked for `/hold` until it is told to answer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};

use crate::bench::{Proxy, World, at_each_before, counted};
use crate::observe::{is_for, summary};
use crate::support::client::{Client, Response, once};
use crate::support::origin::Origin;
use crate::support::wait::{PATIENCE, eventually};

/// A VirtualService for `<name>.example.com`, its service, and the limits of that.
macro_rules! host {
    ($name:literal, $retries:literal, $pool:literal) => {
        concat!(
            "\n---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: ",
            $name,
            "}\nspec:\n  hosts: [",
            $name,
            ".example.com]\n  gateways: [edge]\n  http:\n  - name: it\n    retries: ",
            $retries,
            "\n    route: [{destination: {host: ",
            $name,
            "}}]\n---\napiVersion: v1\nkind: Service\nmetadata: {name: ",
            $name,
            "}\nspec: {selector: {app: ",
            $name,
            "}, ports: [{name: http, port: 8000}]}\n---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\n\
             metadata: {name: ",
            $name,
            "}\nspec: {address: 127.0.0.1, ports: {http: @0}, labels: {app: ",
            $name,
            "}}\n---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: ",
            $name,
            "}\nspec: {host: ",
            $name,
            ", trafficPolicy: {connectionPool: ",
            $pool,
            "}}\n"
        )
    };
}

const LIMITED: World = World::gateway(
    concat!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: edge}\nspec:\n  servers:\n  - port: {number: \
         80, name: http, protocol: HTTP}\n    hosts: ['*']\n",
        host!("line", "{attempts: 2, retryOn: 5xx}", "{tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}"),
        host!("requests", "{attempts: 2, retryOn: 5xx}", "{http: {http2MaxRequests: 1}}"),
        host!("retried", "{attempts: 1, retryOn: 5xx, backoff: 0.001s}", "{http: {maxRetries: 1}}"),
    ),
    1,
);

/// What is counted of it all.
const COUNTED: &[&str] = &[
    ".upstream_rq_total",
    ".upstream_rq_completed",
    ".upstream_rq_2xx",
    ".upstream_rq_5xx",
    ".upstream_rq_503",
    ".upstream_rq_pending_total",
    ".upstream_rq_pending_overflow",
    ".upstream_rq_active_overflow",
    ".upstream_rq_pending_active",
    ".upstream_rq_retry",
    ".upstream_rq_retry_overflow",
    ".upstream_rq_retry_success",
    ".upstream_rq_retry_limit_exceeded",
    ".upstream_cx_total",
    ".upstream_cx_overflow",
    ".rq_open",
    ".rq_pending_open",
    ".rq_retry_open",
];

/// An origin that answers all but `/hold` at once; that it answers when it is told to. A first try of `/failing` and
/// `/hold-retry` fails, and the second of the latter is held.
fn origin() -> (Origin, Sender<()>) {
    let (go, wait) = channel();
    let wait = Mutex::new(wait);
    let origin = Origin::start(move |peer| {
        while let Some(request) = peer.request()? {
            let (line, first) = (request.line().to_owned(), request.header("x-envoy-attempt-count") == Some("1"));
            if line.contains("/failing") || (line.contains("/hold-retry") && first) {
                peer.send("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nfail")?;
                continue;
            }
            if line.contains("/hold") {
                let _ = wait.lock().expect("nobody panics while waiting").recv_timeout(PATIENCE);
            }
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
        }
        Ok(())
    });
    (origin, go)
}

fn ask(address: SocketAddr, name: &str, path: &str) -> Client {
    let mut client = Client::connect(address);
    client.send(format!("GET /{path} HTTP/1.1\r\nHost: {name}.example.com\r\n\r\n"));
    client
}

/// A gauge or counter of a service.
fn stat(proxy: &dyn Proxy, name: &str, ending: &str) -> u64 {
    let path = format!("/stats?filter=outbound.8000..{name}.default.*{ending}$");
    let text =
        once(proxy.admin(), format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).text();
    text.lines().filter_map(|line| line.rsplit_once(": ")?.1.parse::<u64>().ok()).sum()
}

/// What a client sees of an answer: the lines that are the same at any time and from anybody.
fn seen(response: &Response) -> String {
    let others = ["date", "server", "x-envoy-upstream-service-time"];
    let lines = response.head.headers.iter().filter(|(name, _)| !others.contains(&name.as_str()));
    format!("{} {:?} {:?}", response.status, lines.collect::<Vec<_>>(), response.text())
}

/// What one proxy makes of it all.
fn observe(proxy: &dyn Proxy, go: &Sender<()>) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let address = proxy.address();
    let under_way = |name: &str, count: u64| {
        let what = format!("{count} under way at {}", proxy.name());
        eventually(&what, || (stat(proxy, name, "[.]upstream_rq_total") == count).then_some(()));
    };

    // One has the connection, one waits for it, one is too many.
    let mut first = ask(address, "line", "hold-first");
    under_way("line", 1);
    let mut second = ask(address, "line", "second");
    eventually("one in line", || (stat(proxy, "line", "[.]upstream_rq_pending_active") == 1).then_some(()));
    all.insert("line: active".to_owned(), stat(proxy, "line", "[.]upstream_rq_active").to_string());
    all.insert("line: open".to_owned(), stat(proxy, "line", "default.rq_pending_open").to_string());
    all.insert("line: third".to_owned(), seen(&ask(address, "line", "third").response()));
    go.send(()).expect("the origin waits");
    all.insert("line: first".to_owned(), seen(&first.response()));
    all.insert("line: second".to_owned(), seen(&second.response()));

    // One is under way; another gets a connection, and may not use it.
    let mut first = ask(address, "requests", "hold-requests");
    under_way("requests", 1);
    all.insert("requests: second".to_owned(), seen(&ask(address, "requests", "too-many").response()));
    all.insert("requests: third".to_owned(), seen(&ask(address, "requests", "too-many-again").response()));
    go.send(()).expect("the origin waits");
    all.insert("requests: first".to_owned(), seen(&first.response()));

    // One is tried again; another is not, because of that.
    let mut first = ask(address, "retried", "hold-retry");
    under_way("retried", 2);
    all.insert("retried: second".to_owned(), seen(&ask(address, "retried", "failing").response()));
    go.send(()).expect("the origin waits");
    all.insert("retried: first".to_owned(), seen(&first.response()));
    all.insert("retried: third".to_owned(), seen(&ask(address, "retried", "failing-later").response()));

    for path in
        ["hold-first", "second", "third", "too-many", "too-many-again", "hold-retry", "failing", "failing-later"]
    {
        let path = format!("/{path}");
        let line = eventually("a line of the log", || proxy.log().into_iter().find(|line| is_for(line, &path)));
        all.insert(format!("log of {path}"), summary(&line).verdict);
    }
    // Envoy closes the connection of an answer that it replaces by a retry; ringway uses it again where all of it is there.
    let reused = |name: &str| {
        name.contains("|retried.")
            && (name.ends_with("upstream_cx_total") || name.ends_with("upstream_rq_pending_total"))
    };
    all.extend(counted(proxy, COUNTED).into_iter().filter(|(name, _)| !reused(name)));
    all
}

#[test]
fn breakers() {
    let (origin, go) = origin();
    let mut oracle = None;
    at_each_before(LIMITED, vec![origin], |proxy| {
        let seen = observe(proxy, &go);
        let expected = oracle.get_or_insert_with(|| seen.clone());
        let places: BTreeSet<&String> = seen.keys().chain(expected.keys()).collect();
        let differences: Vec<_> = places
            .into_iter()
            .filter(|place| seen.get(*place) != expected.get(*place))
            .map(|place| (place, expected.get(place), seen.get(place)))
            .collect();
        assert!(differences.is_empty(), "place, Envoy, {}: {differences:#?}", proxy.name());
    });
    let Some(oracle) = oracle else { return }; // there is no Envoy, and it was said
    assert_eq!(oracle["line: active"], "1", "who waits is not active");
    assert_eq!(oracle["log of /third"], "503 UO upstream_reset_before_response_started{overflow}");
    assert_eq!(oracle["log of /failing"], "503 UO via_upstream");
}
