//! What routing costs: the host table as it grows, a long list of rules.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use ringway::base::rng::Rng;
use ringway::h1::parse::{self, HeadLimits, Parsed};
use ringway::http::forward::{Completion, Downstream, View};
use ringway::http::head::RequestHead;
use ringway::istio::model::proxy::Proxy;
use ringway::plan::{
    Action, ClusterId, Condition, Decision, Destination, Destinations, FilterChains, Forward, HeaderCondition,
    HeaderEdits, HttpRoutes, Listener, ListenerId, ListenerKind, Matcher, Origin, Overrides, Pattern, Plan,
    ProxySettings, Request, Route, RouteTable, Target, VirtualHost,
};

/// A rule that sends requests with this path prefix, and these further conditions, to the only cluster.
fn route(prefix: &str, mut conditions: Vec<Condition>) -> Route {
    conditions.push(Condition::Path(Pattern::prefix(prefix)));
    let to = Destination::plain(Target::Known(ClusterId(0)));
    Route {
        name: String::new(),
        origin: Origin {
            file: "bench.yaml".into(),
            line: 1,
            resource: "".into(),
            list: "http",
            rule: Some(0),
            block: None,
            root: None,
        },
        matcher: Matcher::new(conditions),
        action: Action::Forward(Forward::to(Destinations::only(to))),
        headers: HeaderEdits::default(),
        cors: None,
        stat_prefix: None,
    }
}

fn virtual_host(name: &str, routes: Vec<Route>) -> VirtualHost {
    VirtualHost::new(name, [name.into()], routes)
}

fn plan(virtual_hosts: Vec<VirtualHost>) -> Plan {
    let bind = SocketAddr::from(([127, 0, 0, 1], 8080));
    let table = RouteTable::new(Some(80), virtual_hosts);
    let listener = Listener {
        name: "127.0.0.1_8080".to_owned(),
        bind,
        stat_prefix: "outbound_127.0.0.1_8080".to_owned(),
        kind: ListenerKind::Gateway(80),
        gateways: vec!["default/g".into()],
        chains: FilterChains::http(HttpRoutes::One(table)),
    };
    let proxy = ProxySettings::resolve(&Proxy::default(), &Overrides::default());
    Plan { listeners: vec![listener].into(), clusters: Vec::new(), proxy }
}

/// A request as curl sends it, parsed.
struct Sample {
    buf: Vec<u8>,
    head: RequestHead,
    completion: Completion,
    authority: String,
    path: String,
}

impl Sample {
    fn new(authority: &str, path: &str) -> Self {
        let text = format!(
            "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\nX-Team: blue\r\n\r\n"
        );
        let mut head = RequestHead::default();
        let parsed = parse::request(text.as_bytes(), &HeadLimits::default(), &mut head);
        assert!(matches!(parsed, Ok(Parsed::Complete)));
        let mut completion = Completion::default();
        completion.complete(&head, text.as_bytes(), Downstream::Edge, b"203.0.113.9", || "an-id");
        Self { buf: text.into_bytes(), head, completion, authority: authority.to_owned(), path: path.to_owned() }
    }

    fn request(&self) -> Request<'_> {
        Request {
            view: View {
                head: &self.head,
                buf: &self.buf,
                completion: &self.completion,
                downstream: Downstream::Edge,
                external_address: b"203.0.113.9",
                tunnel: false,
            },
            path: self.path.as_bytes(),
            query: b"",
            target: self.path.as_bytes(),
            port: None,
            authority: self.authority.as_bytes(),
            scheme: b"http",
            peer: SocketAddr::from(([127, 0, 0, 1], 40000)),
        }
    }
}

/// Routes `samples` in turn.
fn measure(c: &mut Criterion, id: &str, plan: &Plan, samples: &[Sample]) {
    let mut rng = Rng::seeded(1);
    let mut turn = samples.iter().cycle();
    c.bench_function(id, |b| {
        b.iter(|| {
            let sample = turn.next().expect("a cycle of some has no end");
            let decision = plan.route(ListenerId(0), black_box(&sample.request()), &mut rng);
            assert!(matches!(decision, Decision::Forward { .. }));
            decision
        });
    });
}

/// Ten hosts asked for in turn, among ever more: the number must not matter.
fn hosts(c: &mut Criterion) {
    for (kind, prefix) in [("exact", ""), ("wildcard", "*.")] {
        for count in [10, 1_000, 10_000] {
            let name = |at: usize| format!("tenant-{at}.example.com");
            let virtual_hosts =
                (0..count).map(|at| virtual_host(&format!("{prefix}{}", name(at)), vec![route("/", vec![])])).collect();
            let asked = |at: usize| if prefix.is_empty() { name(at) } else { format!("www.{}", name(at)) };
            let samples: Vec<Sample> =
                (0..10).map(|at| Sample::new(&asked(at * (count / 10)), "/status/200")).collect();
            measure(c, &format!("route/{kind}_hosts/{count}"), &plan(virtual_hosts), &samples);
        }
    }
}

/// The last of a hundred rules, and of a thousand that differ in the path; and what a condition costs that is not
/// reached, because the path tells already.
fn rules(c: &mut Criterion) {
    let header = |at: usize| vec![Condition::Header(HeaderCondition::new("x-team", Pattern::exact(&at.to_string())))];
    let regex = |at: usize| {
        let pattern = Pattern::regex(&format!("/service/{at}/v[0-9]+/.*")).expect("a sound expression");
        vec![Condition::Path(pattern)]
    };
    let header_regex = |at: usize| {
        let pattern = Pattern::regex(&format!(".*team-{at}.*")).expect("a sound expression");
        vec![Condition::Header(HeaderCondition::new("user-agent", pattern))]
    };
    let prefix = |at: usize| format!("/service/{at}/");
    let same_length = |at: usize| format!("/api/v1/service-{at:04}");
    let sets: [(&str, Vec<Route>); 7] = [
        ("100_rules/prefix", (0..99).map(|at| route(&prefix(at), vec![])).collect()),
        ("100_rules/header", (0..99).map(|at| route("/", header(at))).collect()),
        ("100_rules/regex", (0..99).map(|at| route("/", regex(at))).collect()),
        ("100_rules/header_after_prefix", (0..99).map(|at| route(&prefix(at), header(at))).collect()),
        ("100_rules/regex_after_prefix", (0..99).map(|at| route(&prefix(at), header_regex(at))).collect()),
        ("1000_rules/prefix", (0..999).map(|at| route(&prefix(at), vec![])).collect()),
        ("1000_rules/prefix_of_one_length", (0..999).map(|at| route(&same_length(at), vec![])).collect()),
    ];
    for (kind, mut routes) in sets {
        routes.push(route("/status", vec![]));
        let host = virtual_host("*", routes);
        let sample = [Sample::new("example.com", "/status/200")];
        measure(c, &format!("route/{kind}"), &plan(vec![host]), &sample);
    }
    let routes = (0..1000).map(|at| route(&same_length(at), vec![])).collect();
    let sample = [Sample::new("example.com", "/api/v1/service-0999/items/7")];
    measure(c, "route/1000_rules/the_last", &plan(vec![virtual_host("*", routes)]), &sample);
}

/// The mesh's two tables, among as many services as may be.
fn mesh(c: &mut Criterion) {
    for count in [10, 10_000] {
        let of = |port: Option<u16>, names: &dyn Fn(usize) -> String| {
            let hosts = (0..count).map(|at| virtual_host(&names(at), vec![route("/", vec![])]));
            RouteTable::new(port, hosts.collect())
        };
        let name = |at: usize| format!("service-{at}.default.svc.cluster.local");
        let mut plan = plan(Vec::new());
        let listener = &mut Arc::make_mut(&mut plan.listeners)[0];
        listener.kind = ListenerKind::Mesh;
        let ports = vec![of(Some(80), &name), of(Some(8000), &name)];
        let every = of(None, &|at| format!("w{at}.com"));
        listener.chains = FilterChains::http(HttpRoutes::ByPort { ports, every });
        let sample = [Sample::new(&format!("{}:8000", name(count / 2)), "/status/200")];
        measure(c, &format!("route/mesh/{count}"), &plan, &sample);
    }
}

criterion_group!(benches, hosts, rules, mesh);
criterion_main!(benches);
