//! What `check` holds a request to look like, beside the codec and the normaliser that read requests: neither may know
//! of a value of which the other does not.

use std::net::SocketAddr;

use proptest::collection::vec;
use ringway::base::request_id;
use ringway::base::rng::Rng;
use ringway::h1::parse::{self, HeadLimits, Parsed};
use ringway::http::forward::{self, Completion, Downstream, View};
use ringway::http::head::{Known, Method, RequestHead};
use ringway::http::target::{self, Normal, PathForm};
use ringway::istio::grammar::{self, Authority, Condition, Grammar, Intersection};
use ringway::istio::model::proxy::PathNormalization;
use ringway::plan::{self, Pattern, QueryCondition, Request};

use super::*;

const FORMS: [(PathNormalization, PathForm, &str); 4] = [
    (PathNormalization::None, PathForm::AsSent, "NONE"),
    (PathNormalization::Base, PathForm::Base, "BASE"),
    (PathNormalization::MergeSlashes, PathForm::MergeSlashes, "MERGE_SLASHES"),
    (PathNormalization::DecodeAndMergeSlashes, PathForm::DecodeAndMergeSlashes, "DECODE_AND_MERGE_SLASHES"),
];

/// A request as rules see it.
struct Seen {
    head: RequestHead,
    completion: Completion,
    message: Vec<u8>,
    path: Vec<u8>,
    query: Vec<u8>,
    target: Vec<u8>,
    authority: Vec<u8>,
}

impl Seen {
    /// `None` if it is refused on the way, or none that rules are tried for.
    fn of(message: &[u8], form: PathForm) -> Option<Self> {
        let mut head = RequestHead::default();
        let parsed = parse::request(message, &HeadLimits::default(), &mut head).ok()?;
        let parts = (parsed == Parsed::Complete).then(|| target::split(&head, message))?.ok()?;
        let mut path = Vec::new();
        if target::normalize(parts.path.of(message), form, &mut path).ok()? == Normal::AsIs {
            path = parts.path.of(message).to_vec();
        }
        if path.is_empty() || path == b"*" {
            return None;
        }
        let query = parts.query.of(message).to_vec();
        let mark: &[u8] = if parts.has_query { b"?" } else { b"" };
        let target = [&path, mark, &query].concat();
        let authority = parts.host.of(message).to_vec();
        let mut completion = Completion::default();
        completion.complete(&head, message, Downstream::Edge, b"127.0.0.1", || "an-id");
        Some(Self { head, completion, message: message.to_vec(), path, query, target, authority })
    }

    fn request(&self) -> Request<'_> {
        Request {
            view: View {
                head: &self.head,
                buf: &self.message,
                completion: &self.completion,
                downstream: Downstream::Edge,
                external_address: b"",
                tunnel: false,
            },
            path: &self.path,
            query: &self.query,
            target: &self.target,
            port: None,
            authority: &self.authority,
            scheme: b"http",
            peer: SocketAddr::from(([127, 0, 0, 1], 1)),
        }
    }

    fn method(&self) -> &[u8] {
        self.head.method_span.of(&self.message)
    }
}

/// Text of pieces that mean something to a parser, with any byte between them.
fn pieces(known: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => proptest::sample::select(known).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 1..3),
    ];
    vec(piece, 0..10).prop_map(|pieces| pieces.concat())
}

const PATH: &[&str] = &[
    "/", "/", "/", "a", "A", ".", "..", "%", "%2", "%2e", "%2E", "%41", "%7B", "%2f", "%5C", "%00", "\\", "{", "}",
    "|", "^", "~", "?", "a=b", "#", "*", " ", ":", "%%3", "32f", "é", "\n",
];
const METHODS: &[&str] = &["GET", "get", "Post", "POST", "PURGE", "purge", "P", "U", "T", ",", " ", "|", "CONNECT"];
const VALUES: &[&str] = &[" ", "\t", "a", "b", ",", "\r", "\n", "é", "\u{7f}", "\u{1}", "*"];
const HOSTS: &[&str] = &["a", "b", ".", "com", "A", ":", "80", "99999", "[", "]", "::1", "@", "/", " ", "*", "-"];
const QUERIES: &[&str] = &["q", "=", "a", "&", "+", "%20", " ", "?", "#", "{", "é", "b"];

/// A method of RFC 9110, one of its relatives, or what is like it.
fn methods() -> impl Strategy<Value = String> {
    let known = "GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH ACL BIND CHECKOUT COPY LINK LOCK M-SEARCH MERGE \
                 MKACTIVITY MKCALENDAR MKCOL MOVE NOTIFY PROPFIND PROPPATCH PURGE REBIND REPORT SEARCH SOURCE SUBSCRIBE UNBIND \
                 UNLINK UNLOCK UNSUBSCRIBE QUERY FOOBAR PRI";
    let known: Vec<&str> = known.split(' ').collect();
    let ends = proptest::sample::select(vec!["", "", "", "X", "ALENDAR", " ", "T"]);
    (proptest::sample::select(known), ends, 0..3_usize).prop_map(|(method, end, change)| match change {
        0 => method.to_owned() + end,
        1 => method.to_ascii_lowercase(),
        _ => method.chars().skip(1).collect(),
    })
}

fn message(method: &[u8], target: &[u8], host: &[u8], value: &[u8]) -> Vec<u8> {
    [method, b" ", target, b" HTTP/1.1\r\nHost: ", host, b"\r\nx: ", value, b"\r\n\r\n"].concat()
}

fn some_message() -> impl Strategy<Value = Vec<u8>> {
    let method = prop_oneof![4 => Just(b"GET".to_vec()), 1 => pieces(METHODS)];
    let target = (pieces(PATH), pieces(QUERIES), any::<bool>()).prop_map(|(path, query, has_query)| {
        let query = if has_query { [b"?q=", query.as_slice()].concat() } else { Vec::new() };
        [b"/", path.as_slice(), &query].concat()
    });
    let host = prop_oneof![1 => Just(b"a.com".to_vec()), 1 => pieces(HOSTS)];
    (method, target, host, pieces(VALUES))
        .prop_map(|(method, target, host, value)| message(&method, &target, &host, &value))
}

/// A regular expression around text.
fn expression(known: &'static [&'static str]) -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => proptest::sample::select(known).prop_map(|piece| piece.escape_default().to_string().replace("\\u", "\\x")),
        2 => proptest::sample::select(&[".", ".*", "[^a]", "[a-z]+", "(a|/)", "\\b", "^", "$", "\\d", "[^/]*", "x?", "\\.", "|"][..])
            .prop_map(str::to_owned),
    ];
    vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn texts(known: &'static [&'static str]) -> impl Strategy<Value = (String, u8)> {
    let text = vec(proptest::sample::select(known), 0..5).prop_map(|pieces| pieces.concat());
    prop_oneof![(text, 0..2_u8), (expression(known), Just(2))]
}

fn condition(text: &str, kind: u8) -> Condition<'_> {
    match kind {
        0 => Condition::Exact(text, false),
        1 => Condition::Prefix(text, false),
        _ => Condition::Regex(text),
    }
}

/// The matcher that requests are tried with; `None` for what is no expression.
fn pattern(text: &str, kind: u8) -> Option<Pattern> {
    match kind {
        0 => Some(Pattern::exact(text)),
        1 => Some(Pattern::prefix(text)),
        _ => Pattern::regex(text).ok(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// What rules see of a request is in the grammar of it.
    #[test]
    fn every_request_is_allowed(message in some_message()) {
        for (normal, form, _) in FORMS {
            let Some(seen) = Seen::of(&message, form) else { continue };
            let allowed = |grammar: &dyn Grammar, value: &[u8]| {
                prop_assert!(grammar::allows(grammar, value), "{} under {:?}", value.escape_ascii(), form);
                Ok(())
            };
            allowed(&grammar::Path(normal), &seen.path)?;
            allowed(&grammar::Target(normal), &seen.target)?;
            allowed(&grammar::Authority(&["*".to_owned()]), &seen.authority)?;
            if !seen.authority.is_empty() {
                let host = plan::host_of(&seen.authority).to_ascii_lowercase();
                let own = [String::from_utf8(host).expect("an authority is text")];
                allowed(&grammar::Authority(&own), &seen.authority)?;
            }
            allowed(&grammar::Method, seen.method())?;
            for line in seen.head.headers.iter() {
                allowed(&grammar::HeaderValue, line.value.of(&message))?;
            }
            if let Some(value) = QueryCondition::new("q", Pattern::Any).value_in(&seen.query) {
                allowed(&grammar::QueryValue, value)?;
            }
        }
    }

    /// For each value that is allowed there is a request of which rules see it.
    #[test]
    fn every_allowed_path_is_some_requests(path in pieces(PATH)) {
        for (normal, form, _) in FORMS {
            let path = [b"/", path.as_slice()].concat();
            let seen = Seen::of(&message(b"GET", &path, b"h", b""), form);
            let same = seen.is_some_and(|seen| seen.target == path);
            prop_assert_eq!(grammar::allows(&grammar::Target(normal), &path), same, "{} {:?}", path.escape_ascii(), form);
        }
    }

    #[test]
    fn every_allowed_value_is_some_requests(value in pieces(VALUES), host in pieces(HOSTS), query in pieces(QUERIES)) {
        let seen = Seen::of(&message(b"GET", b"/", b"h", &value), PathForm::Base);
        let same = seen.is_some_and(|seen| seen.head.headers.last().is_some_and(|line| line.value.of(&seen.message) == value));
        prop_assert_eq!(grammar::allows(&grammar::HeaderValue, &value), same, "{}", value.escape_ascii());
        // Ports above 65535 are taken for possible.
        let digits = |host: &[u8]| host.rsplit(|byte| *byte == b':').next().is_some_and(|port| port.len() == 5);
        if !digits(&host) {
            let seen = Seen::of(&message(b"GET", b"/", &host, b""), PathForm::Base);
            let same = seen.is_some_and(|seen| seen.authority == host);
            prop_assert_eq!(grammar::allows(&Authority(&["*".to_owned()]), &host), same, "{}", host.escape_ascii());
        }
        let seen = Seen::of(&message(b"GET", &[b"/?q=", query.as_slice()].concat(), b"h", b""), PathForm::Base);
        let found = QueryCondition::new("q", Pattern::Any);
        let same = seen.is_some_and(|seen| found.value_in(&seen.query) == Some(&query[..]));
        prop_assert_eq!(grammar::allows(&grammar::QueryValue, &query), same, "{}", query.escape_ascii());
    }

    /// The methods are those that the codec takes, and nothing that is nearly one of them.
    #[test]
    fn methods_are_those_of_the_codec(method in methods()) {
        prop_assert_eq!(grammar::allows(&grammar::Method, method.as_bytes()), Method::of(method.as_bytes()).is_some(), "{}", method);
    }

    /// What the proxy writes itself at a Gateway is in the grammar of it.
    #[test]
    fn what_a_gateway_writes_is_allowed(value in pieces(VALUES), peer: std::net::IpAddr, seed: u64) {
        let lines = ["x-forwarded-for", "x-forwarded-proto", "x-request-id"].map(|name| [name.as_bytes(), b": ", &value, b"\r\n"].concat());
        let message = [&b"GET / HTTP/1.1\r\nHost: h\r\n"[..], &lines.concat(), b"\r\n"].concat();
        let mut head = RequestHead::default();
        if parse::request(&message, &HeadLimits::default(), &mut head).is_err() {
            return Ok(());
        }
        let peer = forward::peer_address(peer, None).to_string();
        let mut completion = Completion::default();
        let id = || request_id::generate(&mut Rng::seeded(seed));
        completion.complete(&head, &message, Downstream::Edge, peer.as_bytes(), id);
        for (name, known) in [
            ("x-forwarded-for", Known::XForwardedFor),
            ("x-forwarded-proto", Known::XForwardedProto),
            ("x-request-id", Known::XRequestId),
        ] {
            let written = completion.list(known);
            let own = grammar::Own::under(name).expect("it is the proxy's to write");
            prop_assert!(grammar::allows(&own, written), "{name}: {}", written.escape_ascii());
        }
        prop_assert!(grammar::allows(&grammar::Own::Address, peer.as_bytes()), "{}", peer);
    }

    /// A condition of which it is said that it takes everything takes all values that are tried.
    #[test]
    fn what_covers_takes_everything((text, kind) in texts(PATH), tried in vec(pieces(PATH), 8)) {
        if grammar::covers(&condition(&text, kind), &grammar::Path(PathNormalization::Base), &mut 100_000) {
            let pattern = pattern(&text, kind).expect("an expression that was read");
            for path in tried {
                let path = [b"/", path.as_slice()].concat();
                let allowed = grammar::allows(&grammar::Path(PathNormalization::Base), &path);
                prop_assert!(!allowed || pattern.matches(&path), "{text:?} does not match {}", path.escape_ascii());
            }
        }
    }

    /// What is found is of the grammar and meets the condition; where nothing is found, no value that is tried does.
    #[test]
    fn what_is_found_is_right(
        (text, kind) in texts(PATH),
        (value, value_kind) in texts(VALUES),
        tried in vec((pieces(PATH), pieces(VALUES)), 8),
    ) {
        let of_path = (&text, kind, &grammar::Path(PathNormalization::Base) as &dyn Grammar);
        let of_value = (&value, value_kind, &grammar::HeaderValue as &dyn Grammar);
        for (which, (text, kind, grammar)) in [of_path, of_value].into_iter().enumerate() {
            let Some(pattern) = pattern(text, kind) else { continue };
            match grammar::meets(&condition(text, kind), grammar, &mut 1_000_000) {
                Intersection::Value(found) => {
                    prop_assert!(pattern.matches(&found), "{text:?} does not match {}", found.escape_ascii());
                    // Of a beginning there is more than what is found.
                    prop_assert!(kind == 1 || grammar::allows(grammar, &found), "{}", found.escape_ascii());
                }
                Intersection::Nothing(_) => {
                    for (path, value) in &tried {
                        let value = if which == 0 { [b"/", path.as_slice()].concat() } else { value.clone() };
                        let both = grammar::allows(grammar, &value) && pattern.matches(&value);
                        prop_assert!(!both, "{text:?} matches {}", value.escape_ascii());
                    }
                }
                Intersection::Unknown => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// A block of which `check` says that it never matches matches no request, in any form of paths.
    #[test]
    fn what_never_matches_does_not(
        field in 0..5_usize,
        path in texts(PATH),
        method in texts(METHODS),
        value in texts(VALUES),
        host in texts(HOSTS),
        query in texts(QUERIES),
        messages in vec(some_message(), 16),
    ) {
        let (name, (text, kind)) = match field {
            0 => ("uri", path),
            1 => ("method", method),
            2 => ("headers: {x", value),
            3 => ("authority", host),
            _ => ("queryParams: {q", query),
        };
        let quoted = serde_json::to_string(&text).expect("JSON is YAML");
        let which = ["exact", "prefix", "regex"][usize::from(kind)];
        let close = if name.contains('{') { "}" } else { "" };
        let block = format!("{name}: {{{which}: {quoted}}}{close}");
        for (_, form, mode) in FORMS {
            let mode = format!("{{meshConfig: {{pathNormalization: {{normalization: {mode}}}}}}}");
            let spec = format!("{{hosts: ['*'], gateways: [g], http: [{{match: [{{{block}}}], directResponse: {{status: 200}}}}]}}");
            let gateway = "{servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}";
            let yaml = [proxy(&mode), istio("Gateway", "g", gateway), istio("VirtualService", "v", &spec)].join("---\n");
            let problems = problems(yaml.as_bytes(), false);
            if problems.iter().any(Problem::is_error) || !problems.iter().any(|problem| problem.what.ends_with("never matches")) {
                continue;
            }
            let pattern = pattern(&text, kind).expect("an expression that was read");
            let condition = match field {
                0 => plan::Condition::Path(pattern),
                1 => plan::Condition::Method(pattern),
                2 => plan::Condition::Header(plan::HeaderCondition::new("x", pattern)),
                3 => plan::Condition::Authority(pattern),
                _ => plan::Condition::Query(QueryCondition::new("q", pattern)),
            };
            for message in &messages {
                let Some(seen) = Seen::of(message, form) else { continue };
                prop_assert!(!condition.holds(&seen.request()), "{block} {form:?} {}", message.escape_ascii());
            }
        }
    }
}
