//! Requests against hand-made plans: matchers, first match, witness. What YAML makes of them: `compile/tests`.

use proptest::prelude::{Just, Strategy, prop, prop_assert_eq, prop_oneof, proptest};

use super::*;
use crate::http::forward::{Completion, Downstream};
use crate::http::head::RequestHead;
use crate::http::tests::request_head;
use crate::istio::model::proxy::Proxy;

/// The plan of documents without errors.
pub(crate) fn plan_of(yaml: &str) -> Plan {
    let (world, problems) = crate::istio::read_text(yaml, crate::istio::Options { permissive: false });
    let (plan, more) = compile(&world, ProxySettings::resolve(&world.proxy, &Overrides::default()));
    let mut problems = problems.iter().chain(&more).filter(|problem| problem.is_error());
    assert!(problems.next().is_none(), "{yaml}");
    plan
}

/// A parsed request that owns its bytes.
pub(super) struct Sample {
    buf: Vec<u8>,
    head: RequestHead,
    completion: Completion,
    authority: String,
    path: String,
    query: String,
    target: String,
}

impl Sample {
    /// `GET http://AUTHORITY/PATH[?QUERY]`, with these further header lines.
    pub(super) fn get(authority: &str, target: &str, lines: &[&str]) -> Self {
        Self::new("GET", authority, target, lines)
    }

    pub(super) fn new(method: &str, authority: &str, target: &str, lines: &[&str]) -> Self {
        let mut text = format!("{method} {target} HTTP/1.1\r\nHost: {authority}\r\n");
        for line in lines {
            text += line;
            text += "\r\n";
        }
        text += "\r\n";
        let head = request_head(&text);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut completion = Completion::default();
        completion.complete(&head, text.as_bytes(), Downstream::Edge, b"192.0.2.1", || b"an-id");
        Self {
            buf: text.into_bytes(),
            head,
            completion,
            authority: authority.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            target: target.to_owned(),
        }
    }

    pub(super) fn request(&self) -> Request<'_> {
        Request {
            view: View {
                head: &self.head,
                buf: &self.buf,
                completion: &self.completion,
                downstream: Downstream::Edge,
                external_address: b"192.0.2.1",
                tunnel: false,
            },
            path: self.path.as_bytes(),
            query: self.query.as_bytes(),
            target: self.target.as_bytes(),
            port: None,
            authority: self.authority.as_bytes(),
            scheme: b"http",
            peer: SocketAddr::from(([192, 0, 2, 1], 40000)),
        }
    }
}

fn header(name: &str, value: Pattern) -> Condition {
    Condition::Header(HeaderCondition::new(name, value))
}

fn without(name: &str, value: Pattern) -> Condition {
    Condition::WithoutHeader(HeaderCondition::new(name, value))
}

fn regex(text: &str) -> Pattern {
    Pattern::regex(text).expect("a sound expression")
}

/// A route to the cluster of this number.
fn route(number: u32, conditions: Vec<Condition>) -> Route {
    let to = Destination::plain(Target::Known(ClusterId(number)));
    Route {
        name: number.to_string(),
        origin: Origin {
            file: "a.yaml".into(),
            line: 1,
            resource: "".into(),
            list: "http",
            rule: Some(number as usize),
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

fn plan(hosts: Vec<(&str, Vec<Route>)>) -> Plan {
    let bind = SocketAddr::from(([127, 0, 0, 1], 8080));
    let host = |(name, routes): (&str, _)| VirtualHost::new(name, [name.into()], routes);
    let table = RouteTable::new(Some(80), hosts.into_iter().map(host).collect());
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

/// The number of the cluster that a request goes to.
fn goes_to(plan: &Plan, sample: &Sample) -> Option<u32> {
    match plan.route(ListenerId(0), &sample.request(), &mut Rng::seeded(1)) {
        Decision::Forward { destination, .. } => match &destination.target {
            Target::Known(id) => Some(id.0),
            Target::Missing(name) => panic!("{name} is missing"),
        },
        Decision::NotFound => None,
        other => panic!("{other:?} was not asked for"),
    }
}

#[test]
fn one_condition() {
    let with = |lines: &[&str]| Sample::get("auth.com:80", "/status/200?q=/x", lines);
    let plain = || with(&[]);
    for (condition, sample, expected) in [
        (Condition::Path(Pattern::exact("/status/200")), plain(), true),
        (Condition::Path(Pattern::exact("/status/200?q=/x")), plain(), false),
        (Condition::Path(Pattern::prefix("/stat")), plain(), true),
        (Condition::Path(regex("/status/[0-9]+")), plain(), true),
        (Condition::Path(regex("/status/[0-9]")), plain(), false),
        (Condition::Method(Pattern::exact("GET")), plain(), true),
        (Condition::Method(Pattern::exact("get")), plain(), false),
        (Condition::Method(Pattern::exact("PURGE")), Sample::new("PURGE", "a", "/", &[]), true),
        (Condition::Scheme(Pattern::exact("http")), plain(), true),
        (Condition::Scheme(Pattern::exact("https")), plain(), false),
        // The port counts here, and so does the case.
        (Condition::Authority(Pattern::exact("auth.com")), plain(), false),
        (Condition::Authority(Pattern::exact("auth.com:80")), plain(), true),
        (Condition::Authority(Pattern::prefix("AUTH")), plain(), false),
        (header("end-user", Pattern::exact("jason")), with(&["End-User: jason"]), true),
        (header("END-user", Pattern::exact("jason")), with(&["end-uSER: jason"]), true),
        (header("end-user", Pattern::exact("jason")), with(&["end-users: jason"]), false),
        (header("end-user", Pattern::exact("jason")), with(&["end-user: Jason"]), false),
        (header("end-user", Pattern::prefix("ja")), with(&["end-user: jason"]), true),
        (header("end-user", regex("j.*n")), with(&["end-user: jason"]), true),
        (header("end-user", regex("j.*n")), with(&["end-user: jasons"]), false),
        (header("end-user", Pattern::Any), with(&["end-user:"]), true),
        (header("end-user", Pattern::Any), plain(), false),
        // Lines that go no further are not there.
        (header("x-envoy-a", Pattern::Any), with(&["x-envoy-a: 1"]), false),
        (header("te", Pattern::Any), with(&["TE: gzip"]), false),
        (header("te", Pattern::exact("trailers")), with(&["TE: gzip, trailers"]), true),
        (header("x-a", Pattern::Any), with(&["X-A: 1", "Connection: x-a"]), false),
        (without("x-a", Pattern::Any), with(&["X-A: 1", "Connection: x-a"]), true),
        (without("x-a", Pattern::exact("")), with(&["X-A: 1", "Connection: x-a"]), false),
        // What the proxy writes is.
        (header("x-envoy-external-address", Pattern::exact("192.0.2.1")), with(&["x-envoy-external-address: 9"]), true),
        (header("x-forwarded-for", Pattern::exact("9.9.9.9")), with(&["X-Forwarded-For: 9.9.9.9"]), false),
        (without("x-forwarded-for", Pattern::exact("9.9.9.9")), with(&["X-Forwarded-For: 9.9.9.9"]), true),
        (header("x-forwarded-for", Pattern::exact("192.0.2.1")), plain(), true),
        (header("x-forwarded-for", regex(".*,192.0.2.1")), with(&["X-Forwarded-For: 9.9.9.9"]), true),
        (header("x-request-id", Pattern::exact("mine")), with(&["x-request-id: mine"]), false),
        (header("x-request-id", Pattern::Any), plain(), true),
        (header("x-forwarded-proto", Pattern::exact("http")), with(&["x-forwarded-proto: https"]), true),
        (header("user-agent", Pattern::prefix("curl/")), with(&["User-Agent: curl/8"]), true),
        // Repeated lines are not joined; each is tested by itself.
        (header("x", Pattern::exact("a")), with(&["x: a", "x: b"]), true),
        (header("x", Pattern::exact("a")), with(&["x: b", "x: a"]), true),
        (header("x", Pattern::exact("a,b")), with(&["x: a", "x: b"]), false),
        (header("x", Pattern::exact("a,b")), with(&["x: a,b"]), true),
        (header("x", Pattern::exact("")), with(&["x: a", "x:"]), true),
    ] {
        assert_eq!(condition.holds(&sample.request()), expected, "{condition:?}");
    }
}

#[test]
fn cheap_conditions_come_first() {
    let matcher = Matcher::new(vec![
        header("x", regex("a")),
        Condition::Path(regex("/.*")),
        header("x", Pattern::Any),
        Condition::Method(Pattern::exact("GET")),
    ]);
    let order: Vec<String> = matcher.conditions().iter().map(|condition| format!("{condition:.20?}")).collect();
    let kinds: Vec<(bool, bool)> = matcher
        .conditions()
        .iter()
        .map(|condition| match condition {
            Condition::Header(header) => (true, header.value().is_regex()),
            Condition::Path(pattern) | Condition::Method(pattern) => (false, pattern.is_regex()),
            other => panic!("{other:?} was not put in"),
        })
        .collect();
    assert_eq!(kinds, [(false, false), (true, false), (false, true), (true, true)], "{order:?}");
}

#[test]
fn all_conditions_of_a_route_and_the_first_of_the_routes() {
    let get = || Condition::Method(Pattern::exact("GET"));
    let plan = plan(vec![(
        "*",
        vec![
            route(0, vec![Condition::Path(Pattern::prefix("/a")), get(), header("x", Pattern::exact("1"))]),
            route(1, vec![Condition::Path(Pattern::prefix("/a")), get()]),
            route(2, vec![Condition::Path(Pattern::prefix("/ab"))]),
            route(3, vec![Condition::Path(Pattern::exact("/c"))]),
        ],
    )]);
    assert_eq!(goes_to(&plan, &Sample::get("h", "/ab", &["x: 1"])), Some(0));
    assert_eq!(goes_to(&plan, &Sample::get("h", "/ab", &["x: 2"])), Some(1));
    assert_eq!(goes_to(&plan, &Sample::new("POST", "h", "/ab", &["x: 1"])), Some(2));
    assert_eq!(goes_to(&plan, &Sample::get("h", "/c", &[])), Some(3));
    assert_eq!(goes_to(&plan, &Sample::get("h", "/d", &[])), None);
}

#[test]
fn no_conditions_match_everything() {
    for matcher in [Matcher::default(), Matcher::new(vec![])] {
        let any = Route { matcher, ..route(0, vec![]) };
        let plan = plan(vec![("*", vec![any])]);
        assert_eq!(goes_to(&plan, &Sample::get("h", "/", &[])), Some(0));
        assert_eq!(goes_to(&plan, &Sample::get("h", "/a/longer/path", &[])), Some(0));
    }
}

#[test]
fn no_way_back_from_the_most_specific_host() {
    let plan = plan(vec![
        ("*", vec![route(0, vec![])]),
        ("*.example.com", vec![route(1, vec![])]),
        ("a.example.com", vec![route(2, vec![Condition::Path(Pattern::exact("/only"))])]),
    ]);
    assert_eq!(goes_to(&plan, &Sample::get("a.example.com:80", "/only", &[])), Some(2));
    assert_eq!(goes_to(&plan, &Sample::get("a.example.com", "/other", &[])), None);
    assert_eq!(goes_to(&plan, &Sample::get("b.example.com", "/other", &[])), Some(1));
    assert_eq!(goes_to(&plan, &Sample::get("other.com", "/other", &[])), Some(0));
}

#[test]
fn no_listener_no_host_no_route() {
    let nothing = plan(vec![]);
    assert_eq!(goes_to(&nothing, &Sample::get("a", "/", &[])), None);
    let sample = Sample::get("a", "/", &[]);
    let plan = plan(vec![("a", vec![route(0, vec![])])]);
    assert_eq!(goes_to(&plan, &sample), Some(0));
    let elsewhere = plan.route(ListenerId(1), &sample.request(), &mut Rng::seeded(1));
    assert!(matches!(elsewhere, Decision::NotFound));
}

/// Writes down what it is told.
#[derive(Default)]
struct RouteTrace(Vec<String>);

impl Witness for RouteTrace {
    fn host(&mut self, host: Option<(&RouteTable, &VirtualHost)>) {
        self.0.push(format!("host {}", host.map_or("-", |(_, host)| &host.name)));
    }

    fn condition(&mut self, route: &Route, condition: &Condition, held: bool) {
        let kind = match condition {
            Condition::Path(_) => "path",
            Condition::Method(_) => "method",
            Condition::Header(header) => header.name(),
            _ => "other",
        };
        self.0.push(format!("{}: {kind} {held}", route.name));
    }

    fn route(&mut self, route: &Route, taken: bool) {
        self.0.push(format!("{} {taken}", route.name));
    }
}

#[test]
fn the_witness_sees_each_step() {
    let plan = plan(vec![(
        "a.com",
        vec![
            route(0, vec![Condition::Path(Pattern::prefix("/x")), header("h", Pattern::Any)]),
            route(1, vec![Condition::Path(Pattern::prefix("/y")), header("h", Pattern::Any)]),
            route(2, vec![]),
            route(3, vec![]),
        ],
    )]);
    let told = |host| {
        let mut diary = RouteTrace::default();
        let sample = Sample::get(host, "/x", &[]);
        let _ = plan.route_with(ListenerId(0), &sample.request(), &mut Rng::seeded(1), &mut diary);
        diary.0
    };
    let steps = ["host a.com", "0: path true", "0: h false", "0 false", "1: path false", "1 false", "2 true"];
    assert_eq!(told("a.com"), steps);
    assert_eq!(told("b.com"), ["host -"]);
}

/// A condition as its ingredients, so that a test can judge it by itself.
#[derive(Debug, Clone)]
enum Wish {
    Path(&'static str, bool),
    Method(&'static str),
    Header(&'static str, Option<&'static str>),
}

impl Wish {
    fn condition(&self) -> Condition {
        match *self {
            Self::Path(text, true) => Condition::Path(Pattern::exact(text)),
            Self::Path(text, false) => Condition::Path(Pattern::prefix(text)),
            Self::Method(text) => Condition::Method(Pattern::exact(text)),
            Self::Header(name, value) => header(name, value.map_or(Pattern::Any, Pattern::exact)),
        }
    }

    fn holds(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> bool {
        match *self {
            Self::Path(text, true) => path == text,
            Self::Path(text, false) => path.starts_with(text),
            Self::Method(text) => method == text,
            Self::Header(name, value) => {
                let of_name = |have: &str| have == name && SENT.contains(&name);
                headers.iter().any(|(have, line)| of_name(have) && value.is_none_or(|value| value == *line))
            }
        }
    }
}

/// Those of the names that go upstream with values like `1`.
const SENT: [&str; 2] = ["x", "user-agent"];

fn wish() -> impl Strategy<Value = Wish> {
    let path = prop::sample::select(&["/", "/a", "/a/", "/a/long/path", "/a/long/part", "/b"]);
    let name = prop::sample::select(&["x", "te", "user-agent", "x-envoy-y"]);
    let value = prop_oneof![Just(None), Just(Some("1")), Just(Some("2"))];
    prop_oneof![
        (path, prop::bool::ANY).prop_map(|(path, exact)| Wish::Path(path, exact)),
        prop::sample::select(&["GET", "POST"]).prop_map(Wish::Method),
        (name, value).prop_map(|(name, value)| Wish::Header(name, value)),
    ]
}

proptest! {
    #[test]
    fn first_match_is_what_a_scan_finds(
        wishes in prop::collection::vec(prop::collection::vec(wish(), 0..4), 0..8),
        method in prop::sample::select(&["GET", "POST", "PUT"]),
        path in prop::sample::select(&["/", "/a", "/a/", "/a/x", "/a/long/path", "/a/long/path/x", "/a/long/par", "/b"]),
        headers in prop::collection::vec(
            (prop::sample::select(&["x", "te", "user-agent", "x-envoy-y", "x-envoy-z"]), prop::sample::select(&["1", "2"])),
            0..4,
        ),
    ) {
        let routes = wishes.iter().zip(0..).map(|(wishes, n)| route(n, wishes.iter().map(Wish::condition).collect()));
        let plan = plan(vec![("*", routes.collect())]);
        let lines: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let sample = Sample::new(method, "a", path, &lines);
        let expected = wishes.iter().position(|all| all.iter().all(|wish| wish.holds(method, path, &headers)));
        prop_assert_eq!(goes_to(&plan, &sample).map(|n| n as usize), expected);
        // Being watched changes the way, not the outcome.
        let watched = plan.route_with(ListenerId(0), &sample.request(), &mut Rng::seeded(1), &mut RouteTrace::default());
        let rule = match watched {
            Decision::Forward { route, .. } => route.origin.rule,
            _ => None,
        };
        prop_assert_eq!(rule, expected);
    }
}
