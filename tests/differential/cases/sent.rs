//! Conditions and operators look at the request that is sent on, not at the lines that came in: every condition on a header
//! that a proxy touches, with every way of sending that header, at a Gateway and in the mesh. The tables are crossed, so
//! that no pair is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use ringway::control::{ConfigSource, first_outward_address};
use ringway::explain::{Answer, BadQuestion, Question, RouteVerdict, explain};
use ringway::istio::Options;
use ringway::plan::Overrides;

use super::{gateway, service, workload};
use crate::bench::{Proxy, World, at_each_with};
use crate::support::client::Client;
use crate::support::origin::Origin;
use crate::translate::{Outbound, Side};

#[test]
fn conditions_at_a_gateway() {
    conditions(Side::Gateway);
}

#[test]
fn conditions_in_the_mesh() {
    conditions(Side::Mesh(Outbound::RegistryOnly));
}

#[test]
fn operators_at_a_gateway() {
    operators(Side::Gateway);
}

#[test]
fn operators_in_the_mesh() {
    operators(Side::Mesh(Outbound::RegistryOnly));
}

/// A header, and the values of its first and its second line.
type Header = (&'static str, [&'static str; 2]);

/// What proxies write, remove, reduce or frame by, and some that they let pass.
const HEADERS: &[Header] = &[
    ("x-forwarded-for", ["9.9.9.9", "8.8.8.8"]),
    ("x-forwarded-proto", ["https", "gopher"]),
    ("x-forwarded-host", ["a.test", "b.test"]),
    ("x-forwarded-port", ["444", "445"]),
    ("forwarded", ["for=9.9.9.9", "for=8.8.8.8"]),
    ("x-real-ip", ["9.9.9.9", "8.8.8.8"]),
    ("x-request-id", ["mine", "other"]),
    ("x-forwarded-client-cert", ["By=spiffe://evil", "By=spiffe://worse"]),
    ("x-envoy-external-address", ["9.9.9.9", "8.8.8.8"]),
    ("x-envoy-internal", ["true", "false"]),
    ("x-envoy-retry-on", ["5xx", "reset"]),
    ("x-envoy-max-retries", ["7", "8"]),
    ("x-envoy-expected-rq-timeout-ms", ["7", "8"]),
    ("x-envoy-attempt-count", ["7", "8"]),
    ("x-envoy-original-path", ["/old", "/older"]),
    ("x-envoy-original-host", ["old.test", "older.test"]),
    ("x-envoy-decorator-operation", ["op", "other"]),
    ("x-envoy-upstream-service-time", ["7", "8"]),
    ("x-envoy-unheard-of", ["1", "2"]),
    // No id of a process, which is eight hex digits drawn at the start, begins with a letter behind f.
    ("x-ringway-hops", ["z1", "z2"]),
    ("connection", ["keep-alive", "x-unheard-of"]),
    ("keep-alive", ["timeout=5", "max=9"]),
    ("proxy-connection", ["keep-alive", "close"]),
    ("transfer-encoding", ["chunked", "gzip"]),
    ("content-length", ["0", "00"]),
    ("upgrade", ["websocket", "h2c"]),
    ("te", ["gzip, trailers", "trailers"]),
    ("expect", ["miracles", "wonders"]),
    ("host", ["other.test", "third.test"]),
    ("trailer", ["x-a", "x-b"]),
    ("proxy-authorization", ["Basic eA==", "Basic eQ=="]),
    ("authorization", ["Basic eA==", "Basic eQ=="]),
    ("cookie", ["a=1", "b=2"]),
    ("user-agent", ["curl/8", "other/1"]),
    ("server", ["mine", "other"]),
    ("date", ["today", "tomorrow"]),
    ("via", ["1.1 a", "1.1 b"]),
    ("referer", ["http://a.test/", "b"]),
    ("origin", ["http://a.test", "http://b.test"]),
    ("content-type", ["text/plain", "text/html"]),
    ("x-plain", ["1", "2"]),
];

/// How a request sends a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Absent,
    Once,
    Twice,
    Empty,
    /// Named in `Connection`: for the next hop only.
    Named,
    /// Named in the second of two lines of `Connection`, behind other options.
    NamedAmong,
    /// In a request for a WebSocket.
    Upgrading,
    /// In a request for a WebSocket that names it in `Connection`.
    NamedUpgrading,
}

const WAYS: [Way; 8] =
    [Way::Absent, Way::Once, Way::Twice, Way::Empty, Way::Named, Way::NamedAmong, Way::Upgrading, Way::NamedUpgrading];

impl Way {
    fn lines(self, (name, [first, second]): Header) -> String {
        match self {
            Self::Absent => String::new(),
            Self::Once => format!("{name}: {first}\r\n"),
            Self::Twice => format!("{name}: {first}\r\n{name}: {second}\r\n"),
            Self::Empty => format!("{name}:\r\n"),
            Self::Named => format!("Connection: {name}\r\n{name}: {first}\r\n"),
            Self::NamedAmong => {
                format!("{name}: {first}\r\nConnection: keep-alive\r\nConnection: x-other, {name}\r\n")
            }
            Self::Upgrading => format!("Connection: Upgrade\r\nUpgrade: websocket\r\n{name}: {first}\r\n"),
            Self::NamedUpgrading => format!("Connection: upgrade, {name}\r\nUpgrade: websocket\r\n{name}: {first}\r\n"),
        }
    }

    /// The request for `path`.
    fn request(self, header: Header, host: &str, path: &str) -> String {
        let (method, body) = match (header.0, self) {
            ("transfer-encoding" | "content-length", Self::Absent) => ("POST", ""),
            ("transfer-encoding", _) => ("POST", "0\r\n\r\n"),
            ("content-length", _) => ("POST", ""),
            _ => ("GET", ""),
        };
        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{}\r\n{body}", self.lines(header))
    }
}

/// The conditions on a header: what each is called, and the YAML.
fn conditions_on((name, [first, second]): Header) -> Vec<(&'static str, String)> {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let half = &first[..first.len().div_ceil(2)];
    let escaped: String =
        first.chars().flat_map(|c| if c.is_alphanumeric() { vec![c] } else { vec!['\\', c] }).collect();
    let with = |value: String| format!("headers: {{{name}: {{{value}}}}}");
    let without = |value: String| format!("withoutHeaders: {{{name}: {{{value}}}}}");
    vec![
        ("present", with(String::new())),
        ("exact", with(format!("exact: {}", quoted(first)))),
        ("exact-second", with(format!("exact: {}", quoted(second)))),
        ("exact-list", with(format!("exact: {}", quoted(&format!("{first},{second}"))))),
        ("prefix", with(format!("prefix: {}", quoted(half)))),
        ("regex", with(format!("regex: {}", quoted(&format!("{escaped}.*"))))),
        ("regex-behind", with(format!("regex: {}", quoted(&format!("{escaped},.+"))))),
        ("regex-address", with("regex: '[0-9.]+'".to_owned())),
        ("regex-id", with("regex: '[0-9a-f]+-[0-9a-f-]+'".to_owned())),
        ("regex-scheme", with("regex: 'http'".to_owned())),
        ("without", without(String::new())),
        ("without-exact", without(format!("exact: {}", quoted(first)))),
        ("without-prefix", without(format!("prefix: {}", quoted(half)))),
        ("without-regex", without(format!("regex: {}", quoted(&format!("{escaped}.*"))))),
        ("without-empty", without("regex: '(nothing)?'".to_owned())),
    ]
}

const MARKER: &str = r"
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: sent}
spec:
  hosts: [HOST]
  gateways: [GATEWAY]
  http:
";

fn world(side: Side, rules: &str) -> (World, &'static str) {
    let (host, authority, gateway) = match side {
        Side::Gateway => ("sent.example.com", "sent.example.com", "edge"),
        Side::Mesh(_) => ("origin", "origin:8000", "mesh"),
    };
    let virtual_service = MARKER.replace("HOST", host).replace("GATEWAY", gateway);
    let of_gateway = if side == Side::Gateway { gateway!() } else { "" };
    let yaml = [of_gateway, &virtual_service, rules, service!("origin"), workload!("origin", "@0")].concat();
    // A world lives as long as the process, as those of the other tables do.
    let yaml: &'static str = yaml.leak();
    let world = match side {
        Side::Gateway => World::gateway(yaml, 1),
        Side::Mesh(outbound) => World::mesh(yaml, 1, outbound),
    };
    (world, authority)
}

/// What a request meets.
type Met = BTreeMap<(&'static str, Way, &'static str), String>;

fn conditions(side: Side) {
    let mut rules = String::new();
    for header in HEADERS {
        for (called, yaml) in conditions_on(*header) {
            let path = format!("/{}/{called}", header.0);
            let _ =
                writeln!(rules, "  - match: [{{uri: {{exact: {path}}}, {yaml}}}]\n    directResponse: {{status: 201}}");
        }
    }
    rules += "  - directResponse: {status: 202}\n";
    let (world, host) = world(side, &rules);
    let (mut oracle, mut is_explained): (Option<Met>, bool) = (None, false);
    at_each_with(world, vec![Origin::replying("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")], |proxy, _| {
        let mut met = Met::new();
        let mut asker = Asker::new(proxy.address());
        for header in HEADERS {
            for way in WAYS {
                for (called, _) in conditions_on(*header) {
                    let request = way.request(*header, host, &format!("/{}/{called}", header.0));
                    met.insert((header.0, way, called), asker.status(&request));
                }
            }
        }
        match &oracle {
            None => oracle = Some(met),
            Some(oracle) => {
                compare(side, proxy, oracle, &met);
                if let Some(configuration) = proxy.configuration()
                    && !std::mem::replace(&mut is_explained, true)
                {
                    explained(side, &configuration, host, &met);
                }
            }
        }
    });
}

fn operators(side: Side) {
    let mut rules = String::new();
    for (name, _) in HEADERS {
        let _ = writeln!(
            rules,
            "  - match: [{{uri: {{exact: /{name}}}}}]\n    headers: {{request: {{set: {{x-seen: '[%REQ({name})%]'}}}}}}\n    \
             route: [{{destination: {{host: origin}}}}]"
        );
    }
    let (world, host) = world(side, &rules);
    let origin = Origin::replying("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let mut oracle: Option<Met> = None;
    at_each_with(world, vec![origin], |proxy, origins| {
        let mut met = Met::new();
        let mut asker = Asker::new(proxy.address());
        for header in HEADERS {
            for way in WAYS {
                let status = asker.status(&way.request(*header, host, &format!("/{}", header.0)));
                let seen = origins[0].take();
                let seen = seen.first().and_then(|request| request.header("x-seen"));
                met.insert((header.0, way, "%REQ%"), format!("{status} {}", seen.map(shown).unwrap_or_default()));
            }
        }
        match &oracle {
            None => oracle = Some(met),
            Some(oracle) => compare(side, proxy, oracle, &met),
        }
    });
}

/// A client at 127.0.0.1 is named by the host's own address, one at another loopback address by that.
#[test]
fn clients_on_this_host() {
    let rule = "  - headers: {request: {set: {x-seen: '%REQ(x-forwarded-for)% %REQ(x-envoy-external-address)%'}}}\n    \
                match: [{headers: {x-forwarded-for: {regex: '([0-9.]+,)?127\\.0\\.0\\.[0-9]+'}}}]\n    \
                route: [{destination: {host: origin}}]\n  - headers: {request: {set: {x-seen: 'other: %REQ(x-forwarded-for)% \
                %REQ(x-envoy-external-address)%'}}}\n    route: [{destination: {host: origin}}]\n";
    let (world, host) = world(Side::Gateway, rule);
    let origin = Origin::replying("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let mut oracle: Option<Vec<String>> = None;
    at_each_with(world, vec![origin], |proxy, origins| {
        let mut seen = Vec::new();
        for (from, line) in
            [(1, ""), (2, ""), (2, "X-Forwarded-For: 127.0.0.9\r\n"), (1, "X-Forwarded-For: 127.0.0.9\r\n")]
        {
            let mut client = Client::connect_from(Ipv4Addr::new(127, 0, 0, from).into(), proxy.address());
            client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n{line}\r\n"));
            assert_eq!(client.response().status, 200);
            seen.push(origins[0].take()[0].header("x-seen").expect("set by either rule").to_owned());
        }
        assert_eq!(seen[1..3], ["127.0.0.2 127.0.0.2", "127.0.0.9,127.0.0.2 127.0.0.2"], "{}", proxy.name());
        assert_eq!(&seen, oracle.get_or_insert_with(|| seen.clone()), "{}", proxy.name());
    });
}

/// What two runs do not share is told by its form.
fn shown(value: &str) -> String {
    let inside = value.trim_start_matches('[').trim_end_matches(']');
    let is_id = inside.len() == 36 && inside.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
    if is_id { "[<uuid>]".to_owned() } else { value.to_owned() }
}

/// A client that asks again and again.
struct Asker {
    address: SocketAddr,
    client: Option<Client>,
}

impl Asker {
    fn new(address: SocketAddr) -> Self {
        Self { address, client: None }
    }

    /// The status of the answer, or `closed`.
    fn status(&mut self, request: &str) -> String {
        let mut client = self.client.take().unwrap_or_else(|| Client::connect(self.address));
        client.send(request);
        let answer = client.try_response_to(request.split(' ').next().unwrap_or_default());
        let Ok(Some(answer)) = answer else { return "closed".to_owned() };
        let stays = answer.header("connection").is_none() && answer.status < 300 && !request.contains("pgrade");
        self.client = Some(client).filter(|_| stays);
        answer.status.to_string()
    }
}

/// A difference on purpose.
struct Stated {
    why: &'static str,
    /// The way of sending the header that ringway takes this one for.
    like: Option<Way>,
}

/// Names whose lines Envoy makes one, with commas, as soon as it has read them.
const JOINED_BY_ENVOY: [&str; 9] = [
    "authorization",
    "content-type",
    "expect",
    "origin",
    "referer",
    "user-agent",
    "via",
    "x-forwarded-host",
    "x-forwarded-port",
];

const TWO_HOSTS: &str = "docs/DEPARTURES.md: two Host lines are refused";
const HOPS: &str = "docs/DEPARTURES.md: requests that go round; the header is ringway's";
const CONTROL: &str = "docs/DEPARTURES.md: x-envoy-* headers from clients are removed";
const UPGRADES: &str = "RFC 9110, 7.6.1: what Connection names is for this hop in a request for an upgrade as well";
const FRAMING: &str = "where a message ends is not for Connection to say";
const CLIENTS_WAY: &str = "what a proxy in front has said of the client stays, as X-Forwarded-For does";
const TE: &str = "TE is reduced to trailers in every request";
const EMPTY_SCHEME: &str = "an empty X-Forwarded-Proto says nothing; Envoy finds no route for it";
const ONE_BY_ONE: &str = "lines that are no list of the proxy's own stay lines, and each is tested by itself";

/// Where ringway may differ.
fn stated(name: &str, way: Way) -> Option<Stated> {
    let stated = |why, like| Some(Stated { why, like });
    match (name, way) {
        ("host", _) => stated(TWO_HOSTS, None),
        ("x-ringway-hops", _) => stated(HOPS, Some(Way::Absent)),
        (name, _) if name.starts_with("x-envoy-") => stated(CONTROL, Some(Way::Absent)),
        ("connection", Way::Upgrading | Way::NamedUpgrading) => stated(UPGRADES, None),
        ("te", Way::Upgrading | Way::NamedUpgrading) => stated(TE, Some(Way::Once)),
        ("te", Way::Empty) => stated(TE, Some(Way::Absent)),
        (_, Way::NamedUpgrading) => stated(UPGRADES, Some(Way::Named)),
        ("content-length", Way::Named | Way::NamedAmong) => stated(FRAMING, Some(Way::Once)),
        ("forwarded" | "x-real-ip" | "x-forwarded-port", Way::Named | Way::NamedAmong) => {
            stated(CLIENTS_WAY, Some(Way::Once))
        }
        ("x-forwarded-proto", Way::Empty) => stated(EMPTY_SCHEME, Some(Way::Absent)),
        (name, Way::Twice) if JOINED_BY_ENVOY.contains(&name) => stated(ONE_BY_ONE, None),
        _ => None,
    }
}

fn compare(side: Side, proxy: &dyn Proxy, oracle: &Met, met: &Met) {
    let mut report = String::new();
    let mut used = BTreeSet::new();
    for (key, theirs) in oracle {
        let ours = &met[key];
        let (name, way, called) = *key;
        if ours == theirs {
            continue;
        }
        let Some(Stated { why, like }) = stated(name, way) else {
            let _ = writeln!(report, "{name} {way:?} {called}: Envoy {theirs}, ringway {ours}");
            continue;
        };
        used.insert(why);
        if let Some(expected) = like.map(|like| &met[&(name, like, called)])
            && ours != expected
        {
            let _ = writeln!(report, "{name} {way:?} {called}: ringway {ours} and not {expected} ({why})");
        }
    }
    let mut all = BTreeSet::from([TWO_HOSTS, HOPS, CONTROL, UPGRADES, FRAMING, CLIENTS_WAY, TE, ONE_BY_ONE]);
    if side != Side::Gateway {
        all.insert(EMPTY_SCHEME);
    }
    for why in all.difference(&used) {
        let _ = writeln!(report, "no difference: {why}");
    }
    assert!(report.is_empty(), "{}:\n{report}", proxy.name());
}

/// `explain` says of every request what `run` has done with it.
fn explained(side: Side, configuration: &Path, host: &str, met: &Met) {
    let (paths, options) = (vec![configuration.to_owned()], Options::default());
    let loaded =
        ConfigSource { paths, options, overrides: Overrides::default(), tell: |_| {} }.load(&mut std::io::empty());
    let mut report = String::new();
    // A request with other Host lines than its URL's is explained by those lines.
    for header in HEADERS.iter().filter(|(name, _)| *name != "host") {
        for (way, called) in
            WAYS.iter().flat_map(|way| conditions_on(*header).into_iter().map(move |(called, _)| (*way, called)))
        {
            let question = Question {
                method: way.request(*header, host, "/").split(' ').next().expect("a method").to_owned(),
                url: format!("http://{host}/{}/{called}", header.0),
                headers: way.lines(*header).lines().map(str::to_owned).collect(),
                gateway: (side != Side::Gateway).then(|| "mesh".to_owned()),
                from: Ipv4Addr::LOCALHOST.into(),
                stands_for_loopback: first_outward_address(),
            };
            let said = match explain(&loaded.plan, &[], &question) {
                Ok(Answer { verdict: RouteVerdict::DirectResponse { status, .. }, .. }) => status.to_string(),
                Ok(answer) => answer.to_string(),
                Err(BadQuestion::Refused(bad)) => bad.status().to_string(),
                Err(BadQuestion::UpgradeRefused) => "403".to_owned(),
                Err(bad) => bad.to_string(),
            };
            let done = &met[&(header.0, way, called)];
            if said != *done {
                let _ = writeln!(report, "{} {way:?} {called}: run {done}, explain {said}", header.0);
            }
        }
    }
    assert!(report.is_empty(), "\n{report}");
}
