//! Host names behind a cluster that change, fail, vanish and come back: members, answers and statistics before, then and
//! after, at Envoy and at ringway. Every name is behind two clusters, one of each resolution.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{Ipv6Addr, SocketAddr};

use crate::bench::{Proxy, World, at_each_before};
use crate::name_server::{NameServer, Says};
use crate::observe::{is_for, summary};
use crate::support::client::{Client, once};
use crate::support::origin::Origin;
use crate::support::ports;
use crate::support::wait::eventually;
use crate::translate::{Family, Outbound};

/// What the name server says of a name before and after, and then.
struct Change {
    name: &'static str,
    before: fn() -> Says,
    then: fn() -> Says,
}

/// A place where ringway differs from Envoy, the beginning of it, and why.
type Stated = (&'static str, &'static str);

/// The resolutions, as the names of hosts begin.
const KINDS: [(&str, &str); 2] = [("all", "DNS"), ("first", "DNS_ROUND_ROBIN")];

fn at(addresses: &[&str], ttl: u32) -> Says {
    Says::At(addresses.iter().map(|ip| ip.parse().expect("an address")).collect(), ttl)
}

/// Where a name is, for a second.
fn here() -> Says {
    at(&["127.0.0.2", "127.0.0.3"], 1)
}

/// A name that is where it is, and then is not.
const fn and_then(name: &'static str, then: fn() -> Says) -> Change {
    Change { name, before: here, then }
}

const CHANGES: &[Change] = &[
    and_then("changed", || at(&["127.0.0.4", "127.0.0.3"], 1)),
    and_then("same", || at(&["127.0.0.3", "127.0.0.2"], 1)),
    and_then("fewer", || at(&["127.0.0.3"], 1)),
    and_then("twice", || at(&["127.0.0.3", "127.0.0.3"], 1)),
    and_then("no-ttl", || at(&["127.0.0.4"], 0)),
    and_then("failing", || Says::Failure),
    and_then("silent", || Says::Silence),
    and_then("gone", || Says::Nothing),
    and_then("empty", || at(&[], 1)),
    // More than one packet holds: the answer comes over TCP.
    and_then("many", || Says::At((1..=60).map(|last| [127, 0, 1, last].into()).collect(), 1)),
    // It is asked for once, and what was said then holds.
    Change { name: "held", before: || at(&["127.0.0.2", "127.0.0.3"], 3600), then: || at(&["127.0.0.4"], 3600) },
    Change { name: "late", before: || Says::Nothing, then: here },
    Change { name: "late-after-failures", before: || Says::Failure, then: here },
];

/// The same names are asked for at the same times, and there is nothing on which the two differ.
#[test]
fn changes() {
    compare(CHANGES, Family::V4Only, &[]);
}

const FAMILIES: &[Change] = &[and_then("six", || at(&["::1"], 1)), and_then("both", || at(&["127.0.0.3", "::1"], 1))];

const V4_ONLY: &str =
    "istiod asks for IPv6 addresses only where dual stack is switched on; ringway takes what it can use";

/// istiod's setting for a proxy without dual stack.
#[test]
fn addresses_of_ipv6_are_used() {
    compare(FAMILIES, Family::V4Only, &[("all-six", V4_ONLY), ("first-six", V4_ONLY), ("all-both", V4_ONLY)]);
}

/// And with it.
#[test]
fn both_families() {
    compare(FAMILIES, Family::All, &[]);
}

/// An origin at every loopback address that says at which it was asked, and closes after each answer, so that nobody stays
/// with who is gone.
fn everywhere(port: u16) -> Origin {
    Origin::start_at(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), move |peer| {
        if peer.request()?.is_some() {
            let own = peer.stream()?.local_addr()?.ip().to_canonical();
            let head = format!("HTTP/1.1 200 OK\r\nx-origin: {own}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            peer.send(head)?;
        }
        Ok(())
    })
}

fn documents(changes: &[Change]) -> String {
    let mut yaml = String::from(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: marker}\nspec: {hosts: \
         [marker.example.com], http: [{match: [{uri: {exact: /never}}], redirect: {uri: /}}]}\n",
    );
    for (kind, resolution) in KINDS {
        for Change { name, .. } in changes {
            let _ = write!(
                yaml,
                "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {kind}-{name}}}\nspec: \
                 {{hosts: [{kind}-{name}.example.com], resolution: {resolution}, ports: [{{number: 80, name: http, \
                 protocol: HTTP, targetPort: @0}}]}}\n---\napiVersion: networking.istio.io/v1\nkind: \
                 DestinationRule\nmetadata: {{name: {kind}-{name}}}\nspec: {{host: {kind}-{name}.example.com, \
                 trafficPolicy: {{loadBalancer: {{simple: ROUND_ROBIN}}}}}}\n"
            ); // a String takes everything
        }
    }
    yaml
}

/// The clusters' hosts.
fn hosts(changes: &[Change]) -> Vec<String> {
    let of = |(kind, _): &(&str, _)| {
        changes.iter().map(|change| format!("{kind}-{}.example.com", change.name)).collect::<Vec<_>>()
    };
    KINDS.iter().flat_map(of).collect()
}

/// Lets all the names change at one proxy after the other, and fails where they differ but for what is stated.
fn compare(changes: &[Change], family: Family, stated: &[Stated]) {
    let server = NameServer::start();
    let says = |of: fn(&Change) -> Says| {
        for (kind, _) in KINDS {
            changes.iter().for_each(|change| server.says(&format!("{kind}-{}.example.com", change.name), of(change)));
        }
    };
    says(|change| (change.before)());
    let yaml = Box::leak(documents(changes).into_boxed_str());
    let world = World::mesh(yaml, 1, Outbound::RegistryOnly).asking(server.address, family);
    let hosts = hosts(changes);
    let mut oracle = None;
    at_each_before(world, vec![everywhere(ports::free())], |proxy| {
        let mut watch = Watch { proxy, server: &server, hosts: &hosts, seen: BTreeMap::new() };
        watch.settled("before");
        says(|change| (change.then)());
        watch.settled("then");
        says(|change| (change.before)());
        watch.settled("after");
        let seen = watch.seen;
        if std::env::var_os("DIFFERENTIAL_SHOW").is_some() {
            println!("{}: {seen:#?}", proxy.name());
        }
        let Some(expected) = &oracle else {
            oracle = Some(seen);
            return;
        };
        let differing = seen.iter().filter(|(place, value)| expected[*place] != **value);
        let (known, unknown): (Vec<_>, Vec<_>) =
            differing.partition(|(place, _)| stated.iter().any(|(start, _)| place.starts_with(start)));
        let report: Vec<String> = unknown
            .into_iter()
            .map(|(place, value)| format!("{place}:\n    Envoy:   {}\n    ringway: {value}", expected[place]))
            .collect();
        assert!(report.is_empty(), "{}\n{}", proxy.name(), report.join("\n"));
        for (start, why) in stated {
            assert!(known.iter().any(|(place, _)| place.starts_with(start)), "no difference at {start} ({why})");
        }
    });
}

/// What is looked at of one proxy.
struct Watch<'w> {
    proxy: &'w dyn Proxy,
    server: &'w NameServer,
    hosts: &'w [String],
    seen: BTreeMap<String, String>,
}

const UPDATES: [&str; 5] = ["update_attempt", "update_success", "update_failure", "update_empty", "update_no_rebuild"];

const MEMBERSHIP: [&str; 5] =
    ["membership_total", "membership_healthy", "membership_change", "membership_excluded", "membership_degraded"];

impl Watch<'_> {
    fn admin(&self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        once(self.proxy.admin(), request).text()
    }

    /// The statistics of clusters, as `HOST.NAME`.
    fn stats(&self) -> BTreeMap<String, u64> {
        let text = self.admin("/stats");
        let pairs = text.lines().filter_map(|line| line.strip_prefix("cluster.outbound|80||")?.rsplit_once(": "));
        pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
    }

    /// Notes what there is to see of every name, once the proxy has asked for all of them again.
    fn settled(&mut self, phase: &str) {
        let name = self.proxy.name();
        // One question may have been answered before the name server changed its mind. The next one was not.
        let asked: Vec<usize> = self.hosts.iter().map(|host| self.server.asked(host)).collect();
        let again = |host: &String, before: usize| is_held(host) || self.server.asked(host) > before;
        eventually(&format!("questions of {name}"), || {
            self.hosts.iter().zip(&asked).all(|(host, before)| again(host, *before)).then_some(())
        });
        let start = self.stats();
        let value = |stats: &BTreeMap<String, u64>, host: &str, name: &str| {
            stats.get(&format!("{host}.{name}")).copied().unwrap_or_default()
        };
        let end = eventually(&format!("updates of all names at {name}"), || {
            let now = self.stats();
            let grown = |host: &String| value(&now, host, "update_attempt") - value(&start, host, "update_attempt");
            self.hosts.iter().all(|host| is_held(host) || grown(host) >= 2).then_some(now)
        });
        let clusters = self.admin("/clusters");
        for (number, host) in self.hosts.iter().enumerate() {
            let mut set = |what: &str, value: String| self.seen.insert(format!("{host} {phase}: {what}"), value);
            // How many there were is up to time; which kinds is not.
            let grows = |name: &&str| value(&end, host, name) > value(&start, host, name);
            set("updates", UPDATES.into_iter().filter(grows).collect::<Vec<_>>().join(" "));
            for name in MEMBERSHIP {
                set(name, value(&end, host, name).to_string());
            }
            set("clusters", members(&clusters, host));
            set("answers", answers(self.proxy, host, &format!("/{phase}/{number}")));
        }
        for (number, host) in self.hosts.iter().enumerate() {
            let path = format!("/{phase}/{number}");
            let log = || self.proxy.log().into_iter().find(|line| is_for(line, &path));
            let line = eventually("a line of the log", log);
            self.seen.insert(format!("{host} {phase}: log"), summary(&line).verdict);
        }
    }
}

fn is_held(host: &str) -> bool {
    host.contains("-held.")
}

/// What `/clusters` says of the members of a cluster, but for what they did.
fn members(clusters: &str, host: &str) -> String {
    const FIELDS: [&str; 8] =
        ["hostname", "health_flags", "weight", "region", "zone", "sub_zone", "canary", "priority"];
    let start = format!("outbound|80||{host}::");
    let lines = clusters.lines().filter_map(|line| line.strip_prefix(&start));
    let mut lines: Vec<&str> =
        lines.filter(|line| FIELDS.iter().any(|field| line.contains(&format!("::{field}::")))).collect();
    lines.sort_unstable();
    lines.join(" ")
}

/// Who answers how many of so many requests that two members get as many each, and sixty one each.
fn answers(proxy: &dyn Proxy, host: &str, path: &str) -> String {
    let mut client = Client::connect(proxy.address());
    let mut who: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..if host.contains("many") { 60 } else { 4 } {
        let response = client.ask(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let refused = || format!("{} {}", response.status, response.text());
        *who.entry(response.header("x-origin").map_or_else(refused, str::to_owned)).or_default() += 1;
    }
    format!("{who:?}")
}

/// DNS_ROUND_ROBIN is one endpoint that moves. Whoever is connected stays, as Istio documents it ("connections made to hosts
/// will be retained even if DNS records change frequently"), and new connections go to the new place. Envoy 1.40 closes
/// what is idle then; before its `enable_new_dns_implementation` it did not.
#[test]
fn connections_outlive_the_address() {
    const HOST: &str = "first-moved.example.com";
    let changes = [and_then("moved", || at(&["127.0.0.3"], 1))];
    let server = NameServer::start();
    let yaml = Box::leak(documents(&changes).into_boxed_str());
    let world = World::mesh(yaml, 1, Outbound::RegistryOnly).asking(server.address, Family::V4Only);
    let port = ports::free();
    let origin = Origin::start_at(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), move |peer| {
        while peer.request()?.is_some() {
            let own = peer.stream()?.local_addr()?.ip().to_canonical();
            peer.send(format!("HTTP/1.1 200 OK\r\nx-origin: {own}\r\ncontent-length: 0\r\n\r\n"))?;
        }
        Ok(())
    });
    let place = |ip: &str| server.at(HOST, &[ip]);
    place("127.0.0.2");
    at_each_before(world, vec![origin], |proxy| {
        let ask = |client: &mut Client, request: &str| {
            client.send(request);
            let response = client.response();
            response.header("x-origin").unwrap_or_default().to_owned()
        };
        let get = format!("GET /x HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
        let mut client = Client::connect(proxy.address());
        assert_eq!(ask(&mut client, &get), "127.0.0.2", "{}", proxy.name());
        place("127.0.0.3");
        eventually(&format!("another address at {}", proxy.name()), || {
            let request = "GET /clusters HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            once(proxy.admin(), request).text().contains(&format!("{HOST}::127.0.0.3:{port}::")).then_some(())
        });
        if proxy.name() == "Envoy" {
            assert_eq!(ask(&mut client, &get), "127.0.0.3", "Envoy keeps its connections again: compare the rest");
            place("127.0.0.2");
            return;
        }
        assert_eq!(ask(&mut client, &get), "127.0.0.2", "the connection that there is, at {}", proxy.name());
        // While that is in use, another one is needed.
        let mut busy = Client::connect(proxy.address());
        busy.send(format!("POST /x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1\r\n\r\n"));
        eventually("a third request", || {
            let request = "GET /stats HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            let third = format!("cluster.outbound|80||{HOST}.upstream_rq_total: 3\n");
            once(proxy.admin(), request).text().contains(&third).then_some(())
        });
        assert_eq!(ask(&mut client, &get), "127.0.0.3", "a new connection at {}", proxy.name());
        busy.send("x");
        assert_eq!(busy.response_to("POST").header("x-origin"), Some("127.0.0.2"), "{}", proxy.name());
        place("127.0.0.2");
    });
}

/// `endpoints` that are names: each of the addresses of a name has its weight, and a subset has those with its labels.
#[test]
fn weights_and_subsets_of_names() {
    const YAML: &str = r"
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: names}
spec:
  hosts: [names.example.com]
  resolution: DNS
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: @0}]
  endpoints:
  - {address: one.example.net, weight: 3, labels: {version: v1}}
  - {address: two.example.net, labels: {version: v2}}
  - {address: 127.0.0.5, weight: 2, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: names}
spec:
  host: names.example.com
  trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: names}
spec:
  hosts: [names.example.com]
  http:
  - match: [{uri: {prefix: /v1}}]
    route: [{destination: {host: names.example.com, subset: v1}}]
  - match: [{uri: {prefix: /v2}}]
    route: [{destination: {host: names.example.com, subset: v2}}]
  - route: [{destination: {host: names.example.com}}]
";
    let server = NameServer::start();
    server.at("one.example.net", &["127.0.0.2", "127.0.0.3"]);
    server.at("two.example.net", &["127.0.0.4"]);
    let world = World::mesh(YAML, 1, Outbound::RegistryOnly).asking(server.address, Family::V4Only);
    at_each_before(world, vec![everywhere(ports::free())], |proxy| {
        let mut client = Client::connect(proxy.address());
        for (path, weights) in [("/", [3, 3, 1, 2]), ("/v1", [3, 3, 0, 0]), ("/v2", [0, 0, 1, 2])] {
            let rounds = 10;
            let mut counts = [0; 4];
            for _ in 0..rounds * weights.iter().sum::<usize>() {
                let response = client.ask(format!("GET {path} HTTP/1.1\r\nHost: names.example.com\r\n\r\n"));
                let origin = response.header("x-origin").and_then(|origin| origin.strip_prefix("127.0.0."));
                counts[origin.and_then(|last| last.parse::<usize>().ok()).expect("an origin") - 2] += 1;
            }
            assert_eq!(counts, weights.map(|weight| weight * rounds), "{path} at {}", proxy.name());
        }
    });
}

/// Who is ejected stays so while the others change, and is as good as new when it has gone and come back.
#[test]
fn ejections_and_updates() {
    const YAML: &str = r"
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ejecting}
spec:
  hosts: [ejecting.example.com]
  resolution: DNS
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: @0}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ejecting}
spec:
  host: ejecting.example.com
  trafficPolicy:
    loadBalancer: {simple: ROUND_ROBIN}
    outlierDetection: {consecutive5xxErrors: 1, maxEjectionPercent: 100, interval: 60s, baseEjectionTime: 600s}
";
    let server = NameServer::start();
    let port = ports::free();
    // The one at 127.0.0.2 is bad.
    let origin = Origin::start_at(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), |peer| {
        while peer.request()?.is_some() {
            let own = peer.stream()?.local_addr()?.ip().to_canonical().to_string();
            let status = if own == "127.0.0.2" { 500 } else { 200 };
            peer.send(format!("HTTP/1.1 {status} Said\r\nx-origin: {own}\r\ncontent-length: 0\r\n\r\n"))?;
        }
        Ok(())
    });
    server.at(EJECTING, &["127.0.0.2", "127.0.0.3"]);
    let world = World::mesh(YAML, 1, Outbound::RegistryOnly).asking(server.address, Family::V4Only);
    let mut oracle = None;
    at_each_before(world, vec![origin], |proxy| {
        let mut watch = Ejecting { proxy, client: Client::connect(proxy.address()), seen: Vec::new() };
        watch.note("at the start");
        watch.until_the_bad_one_is_ejected();
        watch.note("ejected");
        for (phase, addresses) in [
            ("one more", &["127.0.0.2", "127.0.0.3", "127.0.0.4"][..]),
            ("gone", &["127.0.0.3"]),
            ("back", &["127.0.0.2", "127.0.0.3"]),
        ] {
            server.at(EJECTING, addresses);
            watch.until(&format!("membership_total: {}\n", addresses.len()));
            watch.note(phase);
            if phase != "back" {
                let who: BTreeSet<_> = (0..6).map(|_| watch.ask()).collect();
                watch.seen.push(format!("{phase}: {who:?}"));
            }
        }
        watch.until_the_bad_one_is_ejected();
        let expected = oracle.get_or_insert_with(|| watch.seen.clone());
        assert_eq!(*expected, watch.seen, "at Envoy and at {}", proxy.name());
    });
}

const EJECTING: &str = "ejecting.example.com";

/// What is looked at of one proxy whose endpoint at 127.0.0.2 is bad.
struct Ejecting<'w> {
    proxy: &'w dyn Proxy,
    client: Client,
    seen: Vec<String>,
}

impl Ejecting<'_> {
    fn admin(&self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        once(self.proxy.admin(), request).text()
    }

    /// Who answers a request.
    fn ask(&mut self) -> String {
        let response = self.client.ask(format!("GET /x HTTP/1.1\r\nHost: {EJECTING}\r\n\r\n"));
        response.header("x-origin").unwrap_or("nobody").to_owned()
    }

    /// Waits for this line among the statistics of the cluster.
    fn until(&self, line: &str) {
        let line = format!("cluster.outbound|80||{EJECTING}.{line}");
        eventually(&format!("{line} at {}", self.proxy.name()), || self.admin("/stats").contains(&line).then_some(()));
    }

    fn until_the_bad_one_is_ejected(&mut self) {
        let bad = "an answer of the bad one";
        eventually(bad, || (self.ask() == "127.0.0.2").then_some(()));
        self.until("outlier_detection.ejections_active: 1\n");
    }

    fn note(&mut self, phase: &str) {
        let stats = self.admin("/stats");
        let prefix = format!("cluster.outbound|80||{EJECTING}.");
        let lines = stats.lines().filter_map(|line| line.strip_prefix(&prefix));
        let wanted =
            ["membership_", "outlier_detection.ejections_active:", "outlier_detection.ejections_enforced_total:"];
        let lines = lines.filter(|line| wanted.iter().any(|start| line.starts_with(start)));
        self.seen.push(format!("{phase}: {:?}", lines.collect::<Vec<_>>()));
        self.seen.push(format!("{phase}: {}", members(&self.admin("/clusters"), EJECTING)));
    }
}
