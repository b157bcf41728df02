//! YAML in, spread and hash keys out.

use crate::istio::{Options, read_text};
use crate::plan::compile::compile;
use crate::plan::{Action, Overrides, Plan, ProxySettings};

use super::*;

/// A gateway for everybody, a rule `/one` to subset v1, and one to the whole of service `a` with ports 80 and 81, of
/// which five workloads answer: v1 in west (weights 1 and 3) and east, v2 in east and nowhere in particular.
const BASE: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g}
spec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v}
spec:
  hosts: ['*']
  gateways: [g]
  http:
  - {match: [{uri: {prefix: /one}}], route: [{destination: {host: a, subset: v1, port: {number: 80}}}]}
  - {match: [{uri: {prefix: /two}}], route: [{destination: {host: a, port: {number: 81}}}]}
  - match: [{uri: {prefix: /both}}]
    route:
    - {destination: {host: a, subset: v1, port: {number: 80}}, weight: 1}
    - {destination: {host: a, subset: v2, port: {number: 80}}, weight: 0}
    - {destination: {host: a, subset: v2, port: {number: 81}}, weight: 9}
  - route: [{destination: {host: a}}]
---
apiVersion: v1
kind: Service
metadata: {name: a}
spec:
  selector: {app: a}
  ports: [{name: http, port: 80}, {name: http-more, port: 81}]
";

const WORKLOADS: [(u8, &str, &str, u32); 5] =
    [(1, "v1", "west/z1", 1), (2, "v1", "west/z2", 3), (3, "v1", "east", 1), (4, "v2", "east", 1), (5, "v2", "", 1)];

fn plan(more: &str) -> Plan {
    let mut yaml = BASE.to_owned();
    for (at, version, place, weight) in WORKLOADS {
        let locality = if place.is_empty() { String::new() } else { format!(", locality: {place}") };
        yaml += &format!(
            "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: w{at}}}\nspec: \
             {{address: 10.0.0.{at}, labels: {{app: a, version: {version}}}, weight: {weight}{locality}}}\n"
        );
    }
    let (world, problems) = read_text(&(yaml + more), Options { permissive: true });
    let errors: Vec<String> = problems.iter().filter(|p| p.is_error()).map(ToString::to_string).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    compile(&world, ProxySettings::resolve(&world.proxy, &Overrides::default())).0
}

fn rule(name: &str, meta: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}{meta}}}\nspec:\n  \
         host: a.default.svc.cluster.local\n  {spec}\n"
    )
}

const SUBSETS: &str = "subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]";

fn spread<'p>(plan: &'p Plan, port: u16, subset: &str) -> &'p LoadBalancing {
    let name = format!("outbound|{port}|{subset}|a.default.svc.cluster.local");
    &plan.clusters.iter().find(|cluster| cluster.name == name).expect("the cluster is in the plan").spread
}

/// The hash keys of the rules in order: `/one`, `/two`, `/both`, the rest.
fn keys(plan: &Plan) -> Vec<Vec<Key>> {
    let routes = &plan.listeners[0].route_tables().next().expect("a table").virtual_hosts[0].routes();
    let keys = routes.iter().map(|route| match &route.action {
        Action::Forward(forward) => forward.hash_keys.to_vec(),
        other => panic!("{other:?}"),
    });
    keys.collect()
}

fn header(name: &str) -> Key {
    Key::Header(name.into())
}

#[test]
fn policies_by_precedence_of_port_and_subset() {
    let lb = |name: &str| format!("loadBalancer: {{simple: {name}}}");
    let at_port = |port: u16, policy: &str| format!("portLevelSettings: [{{port: {{number: {port}}}, {policy}}}]");
    let (random, round, least) = (lb("RANDOM"), lb("ROUND_ROBIN"), lb("LEAST_REQUEST"));
    let pool = "connectionPool: {tcp: {maxConnections: 1}}";
    for (of_rule, of_subset, expected) in [
        (random.clone(), String::new(), [Policy::Random, Policy::Random]),
        // An entry for a port stands in place of the whole policy.
        (format!("{random}, {}", at_port(80, &round)), String::new(), [Policy::RoundRobin, Policy::Random]),
        (format!("{random}, {}", at_port(80, pool)), String::new(), [Policy::LeastRequest, Policy::Random]),
        (format!("{random}, {}", at_port(81, &round)), String::new(), [Policy::Random, Policy::RoundRobin]),
        // A subset's block goes before the rule's, for whatever port.
        (format!("{random}, {}", at_port(80, &least)), round.clone(), [Policy::RoundRobin, Policy::Random]),
        (random.clone(), pool.to_owned(), [Policy::Random, Policy::Random]),
        (random.clone(), at_port(80, &round), [Policy::RoundRobin, Policy::Random]),
        (random.clone(), at_port(80, pool), [Policy::LeastRequest, Policy::Random]),
        (random.clone(), at_port(81, &round), [Policy::Random, Policy::Random]),
        (random.clone(), format!("{least}, {}", at_port(80, &round)), [Policy::RoundRobin, Policy::Random]),
    ] {
        let subset = if of_subset.is_empty() { of_subset } else { format!(", trafficPolicy: {{{of_subset}}}") };
        let spec = format!(
            "trafficPolicy: {{{of_rule}}}\n  subsets: [{{name: v1, labels: {{version: v1}}{subset}}}, {{name: v2}}]"
        );
        let plan = plan(&rule("a", "", &spec));
        let seen = [spread(&plan, 80, "v1").policy, spread(&plan, 81, "").policy];
        assert_eq!(seen, expected, "{spec}");
    }
}

#[test]
fn rules_are_seen_where_they_are_exported_to_and_by_whom_they_select() {
    let simple = |name: &str| format!("trafficPolicy: {{loadBalancer: {{simple: {name}}}}}\n  {SUBSETS}");
    let policy = |documents: &[String]| spread(&plan(&documents.concat()), 80, "v1").policy;
    let proxy = |namespace: &str, more: &str| {
        format!("---\napiVersion: ringway.dev/v1\nkind: Proxy\nmetadata: {{name: p, namespace: {namespace}}}\n{more}")
    };
    let exported = |name: &str, namespace: &str, to: &str, policy: &str| {
        rule(name, &format!(", namespace: {namespace}"), &format!("exportTo: [{to}]\n  {}", simple(policy)))
    };
    let (random, round, least) = (Policy::Random, Policy::RoundRobin, Policy::LeastRequest);
    let root = rule("root", ", namespace: istio-system", &simple("ROUND_ROBIN"));
    // What its namespace keeps to itself, a proxy of another one does not see.
    let private = exported("a", "default", "'.'", "RANDOM");
    assert_eq!(policy(&[private.clone(), root.clone()]), random);
    assert_eq!(policy(&[private.clone(), root.clone(), proxy("edge", "")]), round);
    assert_eq!(policy(&[exported("a", "default", "edge", "RANDOM"), root.clone(), proxy("edge", "")]), random);
    let by_default = "spec: {meshConfig: {defaultDestinationRuleExportTo: ['.']}}\n";
    let open = rule("a", "", &simple("RANDOM"));
    assert_eq!(
        policy(&[open.clone(), exported("r", "istio-system", "'*'", "ROUND_ROBIN"), proxy("edge", by_default)]),
        round
    );
    // In the root namespace only what is private comes before the service's own rules.
    let mine = exported("mine", "istio-system", "'.'", "LEAST_REQUEST");
    assert_eq!(policy(&[root.clone(), open.clone(), proxy("istio-system", "")]), random);
    assert_eq!(policy(&[mine, root.clone(), open.clone(), proxy("istio-system", "")]), least);
    let moved = "spec: {meshConfig: {rootNamespace: top}}\n";
    let top = rule("top", ", namespace: top", &simple("RANDOM"));
    assert_eq!(policy(&[root, top, proxy("edge", moved)]), random);
    // A rule for some workloads goes before one for all, and is for nobody else.
    let select = |team: &str| {
        let spec = format!("workloadSelector: {{matchLabels: {{team: {team}}}}}\n  {}", simple("ROUND_ROBIN"));
        rule("select", "", &spec)
    };
    let labelled =
        "---\napiVersion: ringway.dev/v1\nkind: Proxy\nmetadata: {name: p, labels: {team: red}}\n".to_owned();
    assert_eq!(policy(&[open.clone(), select("red"), labelled.clone()]), round);
    assert_eq!(policy(&[open.clone(), select("blue"), labelled]), random);
    assert_eq!(policy(&[select("red"), open]), random);
}

#[test]
fn tables_of_a_consistent_hash() {
    let maglev = |size| Policy::ConsistentHash(Algorithm::Maglev { size: TableSize::new(size).expect("a prime") });
    let ring = |minimum| Policy::ConsistentHash(Algorithm::Ring { minimum });
    for (table, expected) in [
        ("", ring(1024)),
        (", minimumRingSize: 0", ring(1024)),
        (", minimumRingSize: 77", ring(77)),
        (", ringHash: {}", ring(1024)),
        (", ringHash: {minimumRingSize: 0}", ring(1024)),
        (", ringHash: {minimumRingSize: 5}", ring(5)),
        (", maglev: {tableSize: 251}", maglev(251)),
    ] {
        let spec = format!("trafficPolicy: {{loadBalancer: {{consistentHash: {{useSourceIp: true{table}}}}}}}");
        let plan = plan(&rule("a", "", &spec));
        assert_eq!(spread(&plan, 80, "").policy, expected, "{table}");
        assert!(spread(&plan, 80, "").hashes());
    }
}

#[test]
fn what_is_hashed() {
    let key_of = |key: &str| {
        let spec = format!("trafficPolicy: {{loadBalancer: {{consistentHash: {{{key}}}}}}}");
        keys(&plan(&rule("a", "", &spec)))[3].first().cloned()
    };
    assert_eq!(key_of("httpHeaderName: X-User"), Some(header("x-user")));
    assert_eq!(key_of("useSourceIp: true"), Some(Key::SourceIp));
    assert_eq!(key_of("useSourceIp: false"), None);
    assert_eq!(key_of("httpQueryParameterName: User"), Some(Key::Query("User".into())));
    let cookie =
        "httpCookie: {name: u, path: /p, ttl: 60s, attributes: [{name: SameSite, value: Lax}, {name: Secure}]}";
    let expected = Cookie {
        name: "u".into(),
        path: "/p".into(),
        ttl: Some(std::time::Duration::from_secs(60)),
        attributes: [("SameSite".into(), "Lax".into()), ("Secure".into(), "".into())].into(),
    };
    assert_eq!(key_of(cookie), Some(Key::Cookie(expected)));
}

#[test]
fn keys_by_precedence_as_the_destination_is_written() {
    let lb = |name: &str| format!("loadBalancer: {{consistentHash: {{httpHeaderName: {name}}}}}");
    let ports = |port: u16, name: &str| format!("portLevelSettings: [{{port: {{number: {port}}}, {}}}]", lb(name));
    let written = |of_rule: &str, of_subset: &str| {
        let spec = format!(
            "trafficPolicy: {{{of_rule}}}\n  subsets: [{{name: v1, labels: {{version: v1}}{of_subset}}}, {{name: v2}}]"
        );
        keys(&plan(&rule("a", "", &spec)))
    };
    let (rule, port, subset) = (|| vec![header("rule")], || vec![header("port")], || vec![header("subset")]);
    // `/both` has a key for each destination that can be drawn.
    let twice = vec![header("rule"), header("rule")];
    assert_eq!(written(&lb("rule"), ""), [rule(), rule(), twice, rule()]);
    // The last rule does not name its port, so the entry for port 80, which is what it gets, does not count.
    let of_rule = format!("{}, {}", lb("rule"), ports(80, "port"));
    let both = vec![header("port"), header("rule")];
    assert_eq!(written(&of_rule, ""), [port(), rule(), both, rule()]);
    let of_subset = format!(", trafficPolicy: {{{}}}", lb("subset"));
    let both = vec![header("subset"), header("rule")];
    assert_eq!(written(&of_rule, &of_subset), [subset(), rule(), both, rule()]);
    let of_subset = format!(", trafficPolicy: {{{}, {}}}", lb("subset"), ports(80, "subset-port"));
    assert_eq!(written(&of_rule, &of_subset)[0], [header("subset-port")]);
    assert_eq!(written("loadBalancer: {simple: RANDOM}", ""), vec![Vec::<Key>::new(); 4]);
}

#[test]
fn localities_that_get_nothing_are_left_out() {
    let spec = "trafficPolicy: {loadBalancer: {localityLbSetting: {distribute: [{from: 'west/*', to: {'west/*': 80, \
                'east/*': 20}}]}, warmup: {duration: 30s}}}";
    let at_west =
        "---\napiVersion: ringway.dev/v1\nkind: Proxy\nmetadata: {name: p, labels: {istio-locality: west.z1}}\n";
    let plan = plan(&(rule("a", "", spec) + at_west));
    let cluster = plan.clusters.iter().find(|c| c.name.starts_with("outbound|81||")).expect("it is in the plan");
    let addresses: Vec<String> = cluster.endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect();
    assert_eq!(addresses, ["10.0.0.1:81", "10.0.0.2:81", "10.0.0.3:81", "10.0.0.4:81"]);
    let groups: Vec<(u32, Vec<u32>)> =
        cluster.spread.levels[0].groups.iter().map(|group| (group.weight, group.members.to_vec())).collect();
    assert_eq!(groups, [(20, vec![2, 3]), (20, vec![0]), (60, vec![1])]);
    let warmup = Warmup { duration: std::time::Duration::from_secs(30), minimum_percent: 10.0, aggression: 1.0 };
    assert_eq!(cluster.spread.warmup, Some(warmup));
}

#[test]
fn localities_fail_over_beside_outlier_detection_only() {
    let at_east = "---\napiVersion: ringway.dev/v1\nkind: Proxy\nmetadata: {name: p, labels: {istio-locality: east}}\n";
    let levels = |policy: &str| {
        let plan = plan(&(rule("a", "", &format!("trafficPolicy: {{{policy}}}")) + at_east));
        spread(&plan, 81, "").levels.iter().map(|level| level.groups[0].members.to_vec()).collect::<Vec<_>>()
    };
    assert_eq!(levels("loadBalancer: {simple: RANDOM}"), [[0, 1, 2, 3, 4]]);
    assert_eq!(levels("outlierDetection: {}"), [vec![2, 3], vec![0, 1, 4]]);
    let at_port = "portLevelSettings: [{port: {number: 81}, outlierDetection: {}}]";
    assert_eq!(levels(at_port), [vec![2, 3], vec![0, 1, 4]]);
}
