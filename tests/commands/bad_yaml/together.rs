//! One run tells everything: a mistake neither hides another one nor brings more problems than its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{LazyLock, Mutex};

use proptest::prelude::*;
use ringway::istio::{Options, read_text};
use ringway::plan::{Overrides, ProxySettings, compile};
use serde_yaml::Value;

use super::full::{WORLD, documents, text};

/// A mistake: which document, the keys that lead to a value, and what stands there instead.
#[derive(Debug, Clone)]
struct Mistake {
    document: usize,
    way: Vec<Value>,
    instead: Value,
}

impl Mistake {
    fn shown(&self) -> String {
        let key = |key: &Value| serde_yaml::to_string(key).expect("a scalar").trim().to_owned();
        let keys: Vec<_> = self.way.iter().map(key).collect();
        format!("{} {}", resource(&BASE[self.document]), keys.join("."))
    }
}

fn resource(document: &Value) -> String {
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    format!("{}/default/{}", text(&document["kind"]), text(&document["metadata"]["name"]))
}

/// What a problem is, for comparisons: lines change with the mistakes.
type Said = BTreeSet<(String, String, String)>;

fn said(documents: &[Value]) -> Said {
    let (world, mut found) = read_text(text(documents), Options::default());
    let (_, more) = compile(&world, ProxySettings::resolve(&world.proxy, &Overrides::default()));
    found.extend(more.into_iter().filter(|problem| !world.is_consequence(problem)));
    found.into_iter().map(|problem| (problem.resource.to_string(), problem.path, problem.what)).collect()
}

static BASE: LazyLock<Vec<Value>> = LazyLock::new(|| documents(WORLD));

static BASE_SAID: LazyLock<Said> = LazyLock::new(|| said(&BASE));

fn place<'v>(document: &'v mut Value, way: &[Value]) -> &'v mut Value {
    way.iter().fold(document, |value, key| match key {
        Value::Number(index) if value.is_sequence() => {
            &mut value[usize::try_from(index.as_u64().expect("an index")).expect("a small one")]
        }
        key => value.get_mut(key).unwrap_or_else(|| panic!("no {key:?} on the way {way:?}")),
    })
}

fn with(mistakes: &[&Mistake]) -> Said {
    let mut all = BASE.clone();
    for mistake in mistakes {
        *place(&mut all[mistake.document], &mistake.way) = mistake.instead.clone();
    }
    said(&all)
}

/// The ways to all scalars below a value.
fn scalars(value: &Value, way: &mut Vec<Value>, into: &mut Vec<Vec<Value>>) {
    match value {
        Value::Mapping(map) => {
            for (key, value) in map {
                way.push(key.clone());
                scalars(value, way, into);
                way.pop();
            }
        }
        Value::Sequence(items) => {
            for (index, value) in items.iter().enumerate() {
                way.push(index.into());
                scalars(value, way, into);
                way.pop();
            }
        }
        _ => into.push(way.clone()),
    }
}

/// Fields that are not looked into, because they say nothing to a proxy.
const NOT_READ: [&str; 3] = ["serviceAccount", "sessionAffinity", "timeoutSeconds"];

/// In place of every scalar below `spec` something of another type.
static UNREADABLE: LazyLock<Vec<Mistake>> = LazyLock::new(|| {
    let mut all = Vec::new();
    for (document, value) in BASE.iter().enumerate() {
        let mut ways = Vec::new();
        scalars(&value["spec"], &mut vec!["spec".into()], &mut ways);
        let last = |way: &Vec<Value>| way.last().and_then(Value::as_str).unwrap_or_default().to_owned();
        ways.retain(|way| !NOT_READ.contains(&last(way).as_str()));
        all.extend(ways.into_iter().map(|way| Mistake { document, way, instead: Value::Sequence(vec![Value::Null]) }));
    }
    all
});

#[test]
fn a_field_that_cannot_be_read_is_one_problem() {
    let mut wrong = Vec::new();
    for mistake in UNREADABLE.iter() {
        let said = with(&[mistake]);
        let new: Vec<_> = said.difference(&BASE_SAID).collect();
        if new.len() != 1 || !new[0].2.starts_with("must be") {
            let more = new.iter().filter(|(_, _, what)| !what.starts_with("must be"));
            let more = more.map(|(resource, path, what)| format!("\n    {resource}: {path}: {what}"));
            wrong.push(format!("{}: {}", mistake.shown(), more.collect::<String>()));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), UNREADABLE.len(), wrong.join("\n"));
}

/// Mistakes that can be read, by the name of the document and the way to the value.
const READABLE: &[(&str, &str, &str)] = &[
    ("VirtualService/app", "spec.http.0.retries.retryOn", "bogus"),
    ("VirtualService/app", "spec.http.0.retries.perTryTimeout", "10"),
    ("VirtualService/app", "spec.http.0.timeout", "3"),
    ("VirtualService/app", "spec.http.0.match.0.uri.prefix", "{regex: '('}"),
    ("VirtualService/app", "spec.http.0.match.0.port", "81"),
    ("VirtualService/app", "spec.http.0.match.1.gateways.0", "other"),
    ("VirtualService/app", "spec.http.0.route.0.destination.subset", "v9"),
    ("VirtualService/app", "spec.http.1.route.0.destination.port.number", "9999"),
    ("VirtualService/app", "spec.http.0.route.1.destination.host", "nowhere"),
    ("VirtualService/app", "spec.http.0.mirrors.0.destination.subset", "v9"),
    ("VirtualService/app", "spec.http.0.headers.request.set.x-one", "'%'"),
    ("VirtualService/app", "spec.http.0.corsPolicy.allowMethods.0", "GTE"),
    ("VirtualService/app", "spec.http.3.match.0.uri.exact", "/old/health"),
    ("VirtualService/app", "spec.http.1.route.0.destination.subset", "v9"),
    ("VirtualService/app", "spec.http.1.fault.abort.httpStatus", "99"),
    ("VirtualService/app", "spec.http.2.redirect.redirectCode", "200"),
    ("VirtualService/app", "spec.http.2.redirect.scheme", "ftp"),
    ("VirtualService/app", "spec.http.3.directResponse.status", "42"),
    ("VirtualService/app", "spec.http.4.delegate.name", "nobody"),
    ("VirtualService/app", "spec.http.5.route.0.destination.subset", "v9"),
    ("VirtualService/app", "spec.http.5.rewrite.uri", "/x"),
    ("VirtualService/app", "spec.hosts.0", "'a b'"),
    ("VirtualService/streams", "spec.tls.0.match.0.sniHosts.0", "other.com"),
    ("VirtualService/streams", "spec.tls.0.route.0.destination.host", "nowhere"),
    ("VirtualService/streams", "spec.tls.0.route.0.weight", "-1"),
    ("VirtualService/streams", "spec.tcp.0.match.0.port", "1"),
    ("VirtualService/streams", "spec.tcp.0.route.0.destination.port.number", "1"),
    ("DestinationRule/app", "spec.host", "'a b'"),
    ("DestinationRule/app", "spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.ttl", "1"),
    ("DestinationRule/app", "spec.trafficPolicy.loadBalancer.consistentHash.ringHash.minimumRingSize", "-1"),
    ("DestinationRule/app", "spec.trafficPolicy.connectionPool.http.maxRetries", "many"),
    ("DestinationRule/app", "spec.trafficPolicy.outlierDetection.interval", "10"),
    ("DestinationRule/app", "spec.subsets.0.name", "v 1"),
    ("DestinationRule/app", "spec.subsets.0.trafficPolicy.loadBalancer.simple", "RANDOM"),
    ("DestinationRule/app", "spec.subsets.0.trafficPolicy.portLevelSettings.0.port.number", "0"),
    ("DestinationRule/app", "spec.subsets.0.trafficPolicy.portLevelSettings.0.loadBalancer.simple", "NONE"),
    ("DestinationRule/far", "spec.trafficPolicy.tls.mode", "SIMPEL"),
    ("DestinationRule/far", "spec.trafficPolicy.tls.sni", "'a b'"),
    ("DestinationRule/far", "spec.trafficPolicy.tls.subjectAltNames.0", "'a b'"),
    ("DestinationRule/far", "spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize", "504"),
    ("ServiceEntry/far", "spec.resolution", "STATC"),
    ("ServiceEntry/far", "spec.endpoints.0.address", "'a b'"),
    ("ServiceEntry/far", "spec.endpoints.0.weight", "-1"),
    ("ServiceEntry/far", "spec.ports.0.protocol", "HTPP"),
    ("ServiceEntry/far", "spec.ports.0.targetPort", "0"),
    ("ServiceEntry/far", "spec.addresses.0", "x"),
    ("WorkloadEntry/v1", "spec.address", "'a b'"),
    ("WorkloadEntry/v1", "spec.weight", "-1"),
    ("WorkloadEntry/v1", "spec.ports.http", "0"),
    ("Gateway/gw", "spec.servers.0.port.number", "0"),
    ("Gateway/gw", "spec.servers.0.port.protocol", "HTPP"),
    ("Gateway/gw", "spec.servers.0.hosts.0", "short"),
    ("Gateway/gw", "spec.servers.1.tls.mode", "PASS"),
    ("Sidecar/edge", "spec.ingress.0.defaultEndpoint", "10.0.0.1:80"),
    ("Sidecar/edge", "spec.ingress.0.port.protocol", "HTPP"),
    ("Sidecar/edge", "spec.outboundTrafficPolicy.mode", "REGISTRY"),
    ("Service/app", "spec.ports.0.port", "0"),
    ("Service/app", "spec.ports.0.targetPort", "0"),
    ("Service/app", "spec.clusterIP", "x"),
    ("Proxy/edge", "spec.limits.headersTimeout", "10"),
    ("Proxy/edge", "spec.meshConfig.tcpKeepalive.time", "1"),
    ("Proxy/edge", "spec.meshConfig.defaultHttpRetryPolicy.retryOn", "bogus"),
    ("Proxy/edge", "spec.meshConfig.outboundTrafficPolicy.mode", "REGISTRY"),
];

static MISTAKES: LazyLock<Vec<Mistake>> = LazyLock::new(|| {
    let mut all = UNREADABLE.clone();
    for (resource, way, instead) in READABLE {
        let (kind, name) = resource.split_once('/').expect("kind and name");
        let is = |value: &Value| value["kind"] == *kind && value["metadata"]["name"] == *name;
        let document = BASE.iter().position(is).unwrap_or_else(|| panic!("there is no {resource}"));
        let key = |key: &str| key.parse::<u64>().map_or_else(|_| Value::from(key), Value::from);
        let instead = serde_yaml::from_str(instead).expect("a value");
        all.push(Mistake { document, way: way.split('.').map(key).collect(), instead });
    }
    all
});

/// The effect of one mistake alone; they are asked for again and again.
fn alone(mistake: &Mistake) -> (Said, Said) {
    static KNOWN: Mutex<BTreeMap<String, (Said, Said)>> = Mutex::new(BTreeMap::new());
    let key = format!("{mistake:?}");
    let known = KNOWN.lock().expect("no test fails inside").get(&key).cloned();
    known.unwrap_or_else(|| {
        let effect = effect(&with(&[mistake]));
        KNOWN.lock().expect("no test fails inside").insert(key, effect.clone());
        effect
    })
}

/// What a mistake adds to what is said of the base, and what it takes away.
fn effect(said: &Said) -> (Said, Said) {
    (said.difference(&BASE_SAID).cloned().collect(), BASE_SAID.difference(said).cloned().collect())
}

/// `None` if the problems of both mistakes together are those of each alone: nothing more, and in their own object nothing
/// less. What is said of other objects may hang on both.
fn difference(one: &Mistake, other: &Mistake) -> Option<String> {
    let ((more, less), (more_of_other, less_of_other)) = (alone(one), alone(other));
    let (together, gone) = effect(&with(&[one, other]));
    let expected: Said = more.union(&more_of_other).cloned().collect();
    let expected_gone: Said = less.union(&less_of_other).cloned().collect();
    let own = resource(&BASE[one.document]);
    let list = |title: &str, from: &Said, without: &Said, all: bool| {
        let lines = from.difference(without).filter(|(resource, ..)| all || *resource == own);
        lines.map(|(resource, path, what)| format!("\n    {title}: {resource}: {path}: {what}")).collect::<String>()
    };
    let differences = list("hidden", &expected, &together, false)
        + &list("lost, too", &gone, &expected_gone, false)
        + &list("new", &together, &expected, true);
    let shown = |mistake: &Mistake| format!("{} = {:?}", mistake.shown(), mistake.instead);
    (!differences.is_empty()).then(|| format!("{}\n{}{differences}", shown(one), shown(other)))
}

/// Whether what is said of one mistake hangs on nothing that the other one changes: the parts of a reference hang on each
/// other, conditions on the hosts and Gateways that they are for, rules on the conditions of the rules before, and
/// destinations on whether a request gets there.
fn are_independent(one: &Mistake, other: &Mistake) -> bool {
    let has = |mistake: &Mistake, names: &[&str]| names.iter().any(|name| mistake.way.contains(&(*name).into()));
    let common = one.way.iter().zip(&other.way).take_while(|(a, b)| a == b).map(|(key, _)| key);
    let is_reference = |key: &Value| ["destination", "mirror", "delegate"].iter().any(|name| key == name);
    let same_reference = common.into_iter().any(is_reference);
    let are_for = |one: &Mistake, other: &Mistake| {
        has(one, &["match"]) && has(other, &["gateways", "hosts", "match", "destination"])
    };
    !same_reference && !are_for(one, other) && !are_for(other, one)
}

#[test]
fn readable_mistakes_of_one_object_do_not_hide_each_other() {
    let readable: Vec<_> = MISTAKES.iter().skip(UNREADABLE.len()).collect();
    let mut wrong = Vec::new();
    for (at, one) in readable.iter().enumerate() {
        assert_ne!(with(&[one]), *BASE_SAID, "{} is no mistake", one.shown());
        let same = readable.iter().skip(at + 1).filter(|other| other.document == one.document && other.way != one.way);
        let same = same.filter(|other| are_independent(one, other));
        wrong.extend(same.filter_map(|other| difference(one, other)));
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Two mistakes of any kind in one object.
    #[test]
    fn mistakes_of_one_object_do_not_hide_each_other(one in any::<prop::sample::Index>(), other in any::<prop::sample::Index>()) {
        let one = one.get(MISTAKES.as_slice());
        let beside: Vec<_> = MISTAKES
            .iter()
            .filter(|other| other.document == one.document && other.way != one.way && are_independent(one, other))
            .collect();
        if !beside.is_empty() {
            let found = difference(one, beside[other.index(beside.len())]);
            prop_assert!(found.is_none(), "{}", found.unwrap_or_default());
        }
    }
}

/// What is wrong with the head of a document leaves the rest of it to be checked.
#[test]
fn a_wrong_head_hides_nothing() {
    let unknown = "spec.https";
    let rest = "spec: {hosts: [a.com], https: [], http: [{redirect: {uri: /}}]}\n";
    let good = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\n";
    for (head, places) in [
        (good.to_owned(), vec![unknown]),
        (good.replace("istio.io/v1", "istio.io/v2"), vec!["apiVersion", unknown]),
        (good.replace("{name: a}", "{}"), vec!["metadata", unknown]),
        (
            good.replace("{name: a}", "{name: A_B, namespace: [x]}"),
            vec!["metadata.name", "metadata.namespace", unknown],
        ),
        (
            good.replace("{name: a}", "{name: a, labels: [x], annotation: {}}"),
            vec!["metadata.annotation", "metadata.labels", unknown],
        ),
        (format!("{good}{rest}---\n{good}"), vec![unknown, "", unknown]),
    ] {
        let found = super::problems(format!("{head}{rest}").as_bytes(), false);
        let errors: Vec<_> =
            found.iter().filter(|problem| problem.is_error()).map(|problem| problem.path.as_str()).collect();
        assert_eq!(errors, places, "{found:#?}");
    }
}
