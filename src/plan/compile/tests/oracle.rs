//! The whole of it against a second opinion: random VirtualServices and requests, and Istio's rules once more, slowly,
//! straight from the documents' words.

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};

use super::*;

const HOSTS: [&str; 5] = ["a.com", "b.com", "x.b.com", "*.b.com", "*"];
const AUTHORITIES: [&str; 6] = ["a.com", "A.com:80", "b.com", "x.b.com", "y.x.b.com", "c.org"];
const PATHS: [&str; 10] = ["/", "/a", "/A", "/a/", "/a/b", "/ab", "/b", "/a?q=1", "/a?x=2&q=12&q=1", "/b?q="];
const TEXTS: [&str; 6] = ["/", "/a", "/A", "/a/", "/a/b", "/b"];

#[derive(Debug, Clone)]
enum Text {
    Exact(&'static str),
    Prefix(&'static str),
    /// With `.*` behind it.
    Regex(&'static str),
    Present,
}

#[derive(Debug, Clone, Default)]
struct Block {
    uri: Option<Text>,
    ignore_case: bool,
    method: Option<&'static str>,
    header: Option<Text>,
    without: Option<Text>,
    query: Option<Text>,
    port: Option<u16>,
    other_namespace: bool,
}

/// Rules, each with its blocks; none: it takes everything.
#[derive(Debug, Clone)]
struct Service {
    hosts: Vec<&'static str>,
    rules: Vec<Vec<Block>>,
}

#[derive(Debug, Clone)]
struct OracleRequest {
    authority: &'static str,
    target: &'static str,
    method: &'static str,
    headers: Vec<&'static str>,
}

impl Text {
    fn yaml(&self) -> String {
        match self {
            Self::Exact(text) => format!("{{exact: '{text}'}}"),
            Self::Prefix(text) => format!("{{prefix: '{text}'}}"),
            Self::Regex(text) => format!("{{regex: '{text}.*'}}"),
            Self::Present => "{}".to_owned(),
        }
    }

    fn takes(&self, value: &str) -> bool {
        match self {
            Self::Exact(text) => value == *text,
            Self::Prefix(text) | Self::Regex(text) => value.starts_with(text),
            Self::Present => true,
        }
    }

    fn takes_folded(&self, value: &str) -> bool {
        let value = value.to_ascii_lowercase();
        match self {
            Self::Exact(text) => value == text.to_ascii_lowercase(),
            Self::Prefix(text) => value.starts_with(&text.to_ascii_lowercase()),
            other => other.takes(&value),
        }
    }
}

impl Block {
    fn yaml(&self) -> String {
        let mut parts = vec!["name: m".to_owned()];
        parts.extend(self.uri.as_ref().map(|uri| format!("uri: {}", uri.yaml())));
        parts.extend(self.ignore_case.then(|| "ignoreUriCase: true".to_owned()));
        parts.extend(self.method.map(|method| format!("method: {{exact: {method}}}")));
        parts.extend(self.header.as_ref().map(|value| format!("headers: {{X-H: {}}}", value.yaml())));
        parts.extend(self.without.as_ref().map(|value| format!("withoutHeaders: {{X-W: {}}}", value.yaml())));
        parts.extend(self.query.as_ref().map(|value| format!("queryParams: {{q: {}}}", value.yaml())));
        parts.extend(self.port.map(|port| format!("port: {port}")));
        parts.extend(self.other_namespace.then(|| "sourceNamespace: other".to_owned()));
        format!("{{{}}}", parts.join(", "))
    }

    /// Whether the block is for this port and proxy at all.
    fn is_here(&self) -> bool {
        self.port.is_none_or(|port| port == 80) && !self.other_namespace
    }

    fn is_catch_all(&self) -> bool {
        let conditions =
            self.method.is_some() || self.header.is_some() || self.without.is_some() || self.query.is_some();
        let every_path = match &self.uri {
            None | Some(Text::Present) => true,
            Some(Text::Prefix(text)) => *text == "/",
            Some(Text::Exact(_) | Text::Regex(_)) => false,
        };
        every_path && !conditions
    }

    fn takes(&self, asked: &OracleRequest) -> bool {
        let (path, query) = asked.target.split_once('?').unwrap_or((asked.target, ""));
        // A regex does not heed it.
        let folds = self.ignore_case && !matches!(self.uri, Some(Text::Regex(_)));
        let uri = self.uri.as_ref().is_none_or(|text| if folds { text.takes_folded(path) } else { text.takes(path) });
        let lines = |name: &str| -> Vec<&str> {
            asked
                .headers
                .iter()
                .filter_map(|line| line.split_once(": "))
                .filter(|(own, _)| *own == name)
                .map(|(_, value)| value)
                .collect()
        };
        let header = self.header.as_ref().is_none_or(|text| lines("x-h").iter().any(|value| text.takes(value)));
        let without = match &self.without {
            None => true,
            Some(Text::Present) => lines("x-w").is_empty(),
            Some(text) if lines("x-w").is_empty() => !text.takes(""),
            Some(text) => !lines("x-w").iter().any(|value| text.takes(value)),
        };
        let parameter = query.split('&').find_map(|pair| pair.strip_prefix("q="));
        let query = self.query.as_ref().is_none_or(|text| parameter.is_some_and(|value| text.takes(value)));
        uri && self.method.is_none_or(|method| method == asked.method) && header && without && query
    }
}

/// A route of a VirtualService: `service.rule.block`, and the block; `None` takes everything.
type Numbered<'s> = (String, Option<&'s Block>);

impl Service {
    fn routes(&self, number: usize) -> Vec<Numbered<'_>> {
        let mut routes = Vec::new();
        for (at, blocks) in self.rules.iter().enumerate() {
            if blocks.is_empty() {
                routes.push((format!("{number}.{at}"), None));
                return routes;
            }
            for (of, block) in blocks.iter().enumerate().filter(|(_, block)| block.is_here()) {
                routes.push((format!("{number}.{at}.{of}"), Some(block)));
                if block.is_catch_all() {
                    return routes;
                }
            }
        }
        routes
    }

    fn yaml(&self, number: usize) -> String {
        let rule = |blocks: &Vec<Block>| {
            let blocks = blocks.iter().map(Block::yaml).collect::<Vec<_>>().join(", ");
            format!("{{match: [{blocks}], route: [{{destination: {{host: a}}}}]}}")
        };
        let rules = self.rules.iter().map(rule).collect::<Vec<_>>().join(",\n    ");
        let hosts = self.hosts.iter().map(|host| format!("'{host}'")).collect::<Vec<_>>().join(", ");
        virtual_service(&format!("v{number}"), &format!("[{hosts}]"), "[g]", &format!("[{rules}]"))
    }
}

fn covers(host: &str, authority: &str) -> bool {
    let name = authority.split(':').next().unwrap_or_default().to_ascii_lowercase();
    match host.strip_prefix('*') {
        Some(suffix) => name.ends_with(suffix) && name.len() > suffix.len(),
        None => name == host,
    }
}

/// The route that takes the request.
fn expected(services: &[Service], asked: &OracleRequest) -> Option<String> {
    let claimed = services.iter().zip(0..).filter(|(service, number)| !service.routes(*number).is_empty());
    let claimed: Vec<&str> = claimed.flat_map(|(service, _)| &service.hosts).copied().collect();
    let covering = claimed.into_iter().filter(|host| covers(host, asked.authority));
    let host = covering.max_by_key(|host| (!host.starts_with('*'), host.len()))?;
    let of_host = services.iter().zip(0..).filter(|(service, _)| service.hosts.contains(&host));
    let routes: Vec<Numbered<'_>> = of_host.flat_map(|(service, number)| service.routes(number)).collect();
    let (last, first): (Vec<_>, Vec<_>) =
        routes.into_iter().partition(|(_, block)| block.is_none_or(Block::is_catch_all));
    let mut all = first.into_iter().chain(last);
    all.find(|(_, block)| block.is_none_or(|block| block.takes(asked))).map(|(name, _)| name)
}

fn text(texts: &'static [&'static str]) -> impl Strategy<Value = Text> {
    prop_oneof![
        prop::sample::select(texts).prop_map(Text::Exact),
        prop::sample::select(texts).prop_map(Text::Prefix),
        prop::sample::select(texts).prop_map(Text::Regex),
        Just(Text::Present),
    ]
}

/// Of a header or parameter; some take an empty value.
fn value() -> impl Strategy<Value = Text> {
    prop_oneof![4 => text(&["1", "12", "2"]), 1 => Just(Text::Exact("")), 1 => Just(Text::Regex(""))]
}

fn sometimes<T: Clone + std::fmt::Debug>(strategy: impl Strategy<Value = T>) -> impl Strategy<Value = Option<T>> {
    prop::option::weighted(0.3, strategy)
}

fn block() -> impl Strategy<Value = Block> {
    (
        prop::option::weighted(0.7, text(&TEXTS)),
        any::<bool>(),
        sometimes(prop::sample::select(&["GET", "POST"])),
        sometimes(value()),
        sometimes(value()),
        sometimes(value()),
        prop::option::weighted(0.2, prop::sample::select(&[80, 81])),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(uri, ignore_case, method, header, without, query, port, other_namespace)| Block {
            uri,
            ignore_case,
            method,
            header,
            without,
            query,
            port,
            other_namespace,
        })
}

fn service() -> impl Strategy<Value = Service> {
    let hosts = prop::sample::subsequence(&HOSTS, 1..=2);
    // One VirtualService must not have a host twice over.
    let hosts = hosts.prop_filter("covered twice", |hosts| {
        !hosts.iter().any(|host| {
            hosts.iter().any(|other| other != host && (*host == "*" || *other == "*.b.com" && *host == "x.b.com"))
        })
    });
    let rules = prop::collection::vec(prop::collection::vec(block(), 0..3), 1..4);
    (hosts, rules).prop_map(|(hosts, rules)| Service { hosts, rules })
}

fn asked() -> impl Strategy<Value = OracleRequest> {
    let headers = prop::sample::select(&["x-h: 1", "x-h: 12", "x-h: 2", "x-h: ", "x-w: 1", "x-w: 12", "x-w: ", "y: 1"]);
    (
        prop::sample::select(&AUTHORITIES),
        prop::sample::select(&PATHS),
        prop::sample::select(&["GET", "POST", "PUT"]),
        prop::collection::vec(headers, 0..4),
    )
        .prop_map(|(authority, target, method, headers)| OracleRequest { authority, target, method, headers })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn routes_as_the_documents_say(
        services in prop::collection::vec(service(), 1..4),
        requests in prop::collection::vec(asked(), 24),
    ) {
        let documents: String = services.iter().enumerate().map(|(number, service)| service.yaml(number)).collect();
        let (plan, _) = compiled(&(gateway("g", 80, "['*']") + &documents + SERVICE_A));
        for asked in &requests {
            let sample = Sample::new(asked.method, asked.authority, asked.target, &asked.headers);
            let found = match plan.route(ListenerId(0), &sample.request(), &mut Rng::seeded(1)) {
                Decision::Forward { route, .. } => {
                    let number = route.origin.resource.rsplit('v').next().unwrap_or_default().to_owned();
                    let rule = route.origin.rule.expect("a rule of a VirtualService");
                    Some(route.origin.block.map_or_else(|| format!("{number}.{rule}"), |block| format!("{number}.{rule}.{block}")))
                }
                Decision::NotFound => None,
                other => panic!("{other:?} was not asked for"),
            };
            prop_assert_eq!(found, expected(&services, asked), "{:?} of\n{}", asked, documents);
        }
    }
}
