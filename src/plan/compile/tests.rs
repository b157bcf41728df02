//! YAML in, plan out: each rule of istiod that this module follows, once.

mod actions;
mod client_tls;
mod conditions;
mod delegates;
mod https_redirect;
mod loops;
mod mesh;
mod oracle;
mod resilience;
mod sidecar;
mod tcp_route;
mod visibility;

use std::net::SocketAddr;

use crate::base::id::ListenerId;
use crate::base::rng::Rng;
use crate::istio::problem::Problem;
use crate::istio::{self, Options, read_text};
use crate::plan::tests::Sample;
use crate::plan::{Decision, Overrides, Plan, ProxySettings, RouteTable, Target};
use crate::policy::balance::Policy;

use super::compile;

/// The plan of these documents, in which reading finds no error, with the problems of compiling them.
fn compiled(yaml: &str) -> (Plan, Vec<String>) {
    compiled_with(yaml, &Overrides::default())
}

fn compiled_with(yaml: &str, flags: &Overrides) -> (Plan, Vec<String>) {
    let (world, problems) = read_text(yaml, Options { permissive: false });
    let errors: Vec<String> = problems.iter().filter(|problem| problem.is_error()).map(Problem::to_string).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    let (plan, problems) = compile(&world, ProxySettings::resolve(&world.proxy, flags));
    (plan, problems.iter().map(|problem| problem.to_string().replace("<stdin>", "t.yaml")).collect())
}

/// The plan of documents in which nothing is wrong.
fn plan(yaml: &str) -> Plan {
    let (plan, mut problems) = compiled(yaml);
    problems.retain(|problem| !problem.contains(": note: "));
    assert!(problems.is_empty(), "{problems:#?}");
    plan
}

/// `rule -> cluster` for a request, over all draws of the weights; `404` if there is none.
fn goes(plan: &Plan, method: &str, authority: &str, target: &str, lines: &[&str]) -> Vec<String> {
    let sample = Sample::new(method, authority, target, lines);
    let mut seen: Vec<String> = (0..200)
        .map(|seed| match plan.route(ListenerId(0), &sample.request(), &mut Rng::seeded(seed)) {
            Decision::NotFound => "404".to_owned(),
            Decision::Forward { route, destination, .. } => {
                let cluster = match &destination.target {
                    Target::Known(id) => plan.cluster(*id).expect("an id of this plan").name.clone(),
                    Target::Missing(name) => format!("NC {name}"),
                };
                format!("{} -> {cluster}", route.name)
            }
            other => panic!("{other:?} was not asked for"),
        })
        .collect();
    seen.sort();
    seen.dedup();
    seen
}

fn get(plan: &Plan, authority: &str, target: &str) -> Vec<String> {
    goes(plan, "GET", authority, target, &[])
}

/// A listener's route tables.
fn tables(plan: &Plan, listener: usize) -> Vec<&RouteTable> {
    plan.listeners[listener].route_tables().collect()
}

/// Names of a listener's virtual hosts, each with its routes' names.
fn hosts(plan: &Plan, listener: usize) -> Vec<(&str, Vec<&str>)> {
    tables(plan, listener)[0]
        .virtual_hosts
        .iter()
        .map(|host| (&*host.domains[0], host.routes().iter().map(|route| route.name.as_str()).collect()))
        .collect()
}

fn addresses(plan: &Plan, cluster: &str) -> Vec<(String, u32)> {
    let cluster = plan.clusters.iter().find(|found| found.name == cluster).expect("the cluster is in the plan");
    cluster.endpoints.iter().map(|endpoint| (endpoint.address.to_string(), endpoint.weight)).collect()
}

fn policy(plan: &Plan, cluster: &str) -> Policy {
    plan.clusters.iter().find(|found| found.name == cluster).expect("the cluster is in the plan").spread.policy
}

fn gateway(name: &str, port: u16, hosts: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: {name}}}\nspec:\n  servers:\n  \
         - port: {{number: {port}, name: http, protocol: HTTP}}\n    hosts: {hosts}\n"
    )
}

fn virtual_service(name: &str, hosts: &str, gateways: &str, http: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\nspec:\n  \
         hosts: {hosts}\n  gateways: {gateways}\n  http: {http}\n"
    )
}

fn destination_rule(name: &str, namespace: &str, host: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}, namespace: \
         {namespace}}}\nspec:\n  host: {host}\n  {spec}\n"
    )
}

/// Service `a` on port 8000 with workloads v1 (10.0.0.1, weight 3) and v2 (10.0.0.2), both on 9000.
const SERVICE_A: &str = "
---
apiVersion: v1
kind: Service
metadata: {name: a}
spec:
  selector: {app: a}
  ports:
  - {name: http, port: 8000, targetPort: 9000}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: a-v2}
spec: {address: 10.0.0.2, labels: {app: a, version: v2}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: a-v1}
spec: {address: 10.0.0.1, weight: 3, labels: {app: a, version: v1}}
";

const TO_A: &str = "[{route: [{destination: {host: a}}]}]";

const A: &str = "outbound|8000||a.default.svc.cluster.local";

#[test]
fn the_tutorials_ingress() {
    let yaml = "
apiVersion: networking.istio.io/v1alpha3
kind: Gateway
metadata: {name: httpbin-gateway}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: [httpbin.example.com]
---
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: httpbin}
spec:
  hosts: [httpbin.example.com]
  gateways: [httpbin-gateway]
  http:
  - match:
    - uri: {prefix: /status}
    - uri: {prefix: /delay}
    route:
    - destination: {port: {number: 8000}, host: a}
---
apiVersion: ringway.dev/v1
kind: Proxy
metadata: {name: edge}
spec: {ports: {80: 8080}}
";
    let plan = plan(&format!("{yaml}{SERVICE_A}"));
    let listener = &plan.listeners[0];
    assert_eq!(listener.name, "0.0.0.0_8080");
    assert_eq!(listener.stat_prefix, "outbound_0.0.0.0_8080");
    assert_eq!(listener.bind, SocketAddr::from(([0, 0, 0, 0], 8080)));
    assert_eq!(listener.gateway_port(), Some(80));
    let to_a = [format!(" -> {A}")];
    assert_eq!(get(&plan, "httpbin.example.com", "/status/200"), to_a);
    assert_eq!(get(&plan, "HTTPBIN.example.com:31380", "/delay/1"), to_a);
    assert_eq!(get(&plan, "httpbin.example.com", "/headers"), ["404"]);
    assert_eq!(get(&plan, "other.example.com", "/status/200"), ["404"]);
    assert_eq!(addresses(&plan, A), [("10.0.0.1:9000".to_owned(), 3), ("10.0.0.2:9000".to_owned(), 1)]);
    let origin = &listener.route_tables().next().expect("a table").virtual_hosts[0].routes()[1].origin;
    assert_eq!((&*origin.resource, origin.rule, origin.block), ("VirtualService/default/httpbin", Some(0), Some(1)));
    assert_eq!(origin.line, 20);
}

/// The examples that we ship do what their READMEs say.
#[test]
fn the_shipped_configurations() {
    let shipped = |folder: &str| {
        let (plan, problems) = compiled(&istio::shipped(folder));
        assert!(problems.is_empty(), "{problems:#?}");
        assert_eq!(plan.listeners[0].bind.port(), 8080);
        plan
    };
    let cluster = |version: &str| format!("outbound|8000|{version}|httpbin.default.svc.cluster.local");
    let ingress = shipped("ingress");
    assert_eq!(get(&ingress, "httpbin.example.com", "/status/200"), [format!(" -> {}", cluster(""))]);
    assert_eq!(get(&ingress, "httpbin.example.com", "/headers"), ["404"]);
    assert_eq!(addresses(&ingress, &cluster("")), [("127.0.0.1:8000".to_owned(), 1)]);
    let quickstart = shipped("quickstart");
    let both = [format!("split -> {}", cluster("v1")), format!("split -> {}", cluster("v2"))];
    assert_eq!(get(&quickstart, "httpbin.example.com", "/get"), both);
    let tester = goes(&quickstart, "GET", "httpbin.example.com", "/get", &["X-Version: v2"]);
    assert_eq!(tester, [format!("testers -> {}", cluster("v2"))]);
    assert_eq!(addresses(&quickstart, &cluster("v1")), [("127.0.0.1:9001".to_owned(), 1)]);
    assert_eq!(policy(&quickstart, &cluster("v2")), Policy::RoundRobin);
}

#[test]
fn same_input_same_plan() {
    let yaml = gateway("g", 80, "['*']")
        + &gateway("h", 81, "[b.com, a.com, '*.com']")
        + &virtual_service("v", "[a.com, b.com, c.com]", "[g, h]", TO_A)
        + &virtual_service("w", "[a.com, d.com]", "[h]", TO_A)
        + SERVICE_A;
    // Hash tables print in any order; everything else must not.
    let shape = |plan: &Plan| format!("{:?} {:?} {:?}", hosts(plan, 0), hosts(plan, 1), plan.clusters);
    assert_eq!(shape(&plan(&yaml)), shape(&plan(&yaml)));
}

#[test]
fn the_proxys_labels_choose_gateways() {
    let selecting = |name: &str, port: u16, selector: &str| {
        gateway(name, port, "['*']").replace("spec:\n", &format!("spec:\n  selector: {selector}\n"))
    };
    let gateways = selecting("in", 80, "{istio: ingress}")
        + &selecting("out", 81, "{istio: egress}")
        + &gateway("any", 82, "['*']");
    let ports = |labels: &str| {
        let proxy = format!("---\napiVersion: ringway.dev/v1\nkind: Proxy\nmetadata: {{name: p, labels: {labels}}}\n");
        plan(&(gateways.clone() + &proxy))
            .listeners
            .iter()
            .filter_map(crate::plan::Listener::gateway_port)
            .collect::<Vec<_>>()
    };
    assert_eq!(ports("{}"), [80, 81, 82]);
    assert_eq!(ports("{istio: ingress, extra: yes-please}"), [80, 82]);
    assert_eq!(ports("{istio: other}"), [82]);
}

#[test]
fn no_gateway_is_told() {
    let (plan, problems) = compiled("---\napiVersion: ringway.dev/v1\nkind: Proxy\nmetadata: {name: p}\n");
    assert!(plan.listeners.is_empty());
    assert_eq!(
        problems,
        [
            "t.yaml:2: Proxy/default/p: warning: there is no Gateway, so nothing is listened on (add a Gateway with a server, or spec.mesh.listen to the Proxy document)"
        ]
    );
}

#[test]
fn servers_of_a_port_share_a_listener() {
    let yaml = gateway("g", 80, "[a.com]") + &gateway("h", 80, "[b.com]") + &gateway("i", 81, "[c.com]");
    let bound = gateway("j", 80, "[d.com]").replace("    hosts", "    bind: 127.0.0.1\n    hosts");
    let services = virtual_service("v", "[a.com, b.com]", "[g, h]", TO_A) + SERVICE_A;
    let plan = plan(&(yaml + &bound + &services));
    let names: Vec<&str> = plan.listeners.iter().map(|listener| listener.name.as_str()).collect();
    assert_eq!(names, ["0.0.0.0_80", "127.0.0.1_80", "0.0.0.0_81"]);
    assert_eq!(hosts(&plan, 0), [("a.com", vec![""]), ("b.com", vec![""])]);
    // Open, but nobody routes there: everything is 404.
    assert_eq!(hosts(&plan, 2), []);
}

#[test]
fn one_bound_port_for_two_gateway_ports_is_refused() {
    let proxy = "---\napiVersion: ringway.dev/v1\nkind: Proxy\nmetadata: {name: p}\nspec:\n  ports: {}\n";
    let flags = Overrides { ports: Some([(80, 8080)].into()), ..Overrides::default() };
    let yaml = proxy.to_owned() + &gateway("g", 80, "['*']") + &gateway("h", 8080, "['*']");
    let (_, problems) = compiled_with(&yaml, &flags);
    assert_eq!(
        problems,
        [
            "t.yaml:6: Proxy/default/p: spec.ports: error: Gateway ports 80 and 8080 are both bound at 0.0.0.0:8080 (give each \
          of them its own port, say `ports: {8080: 8081}`)"
        ]
    );
}

#[test]
fn hosts_are_what_server_and_virtual_service_share() {
    for (server, service, expected) in [
        ("['*']", "[a.com]", vec!["a.com"]),
        ("['*']", "['*']", vec!["*"]),
        ("['*.com']", "[a.com, b.org]", vec!["a.com"]),
        ("[a.com, b.com, c.org]", "['*.com']", vec!["a.com", "b.com"]),
        ("['*.com', '*.a.com']", "['*.a.com']", vec!["*.a.com"]),
        // Both, for the narrower one may be another VirtualService's as well.
        ("['*.com', '*.a.com']", "['*.com']", vec!["*.a.com", "*.com"]),
        ("['*.a.com', x.org]", "['*']", vec!["*.a.com", "x.org"]),
        ("['*.com']", "['*-x.com']", vec!["*-x.com"]),
        ("[default/a.com, other/b.com]", "[a.com, b.com]", vec!["a.com"]),
        ("['./a.com', '*/b.com']", "[a.com, b.com]", vec!["a.com", "b.com"]),
        ("['other/*.com', b.com]", "['*.com']", vec!["b.com"]),
        ("[A.com]", "[a.COM]", vec!["a.com"]),
        ("['10.0.0.1', '::1']", "['10.0.0.1', '::1']", vec!["10.0.0.1", "[::1]"]),
    ] {
        let yaml = gateway("g", 80, server) + &virtual_service("v", service, "[g]", TO_A) + SERVICE_A;
        let (plan, _) = compiled(&yaml);
        let found: Vec<&str> = hosts(&plan, 0).into_iter().map(|(name, _)| name).collect();
        assert_eq!(found, expected, "server {server}, service {service}");
    }
}

#[test]
fn only_referenced_gateways_serve_a_virtual_service() {
    let yaml = gateway("g", 80, "['*']")
        + &gateway("h", 81, "['*']")
        + &virtual_service("v", "[a.com]", "[g]", TO_A)
        + SERVICE_A;
    let plan = plan(&yaml);
    assert_eq!(hosts(&plan, 0), [("a.com", vec![""])]);
    assert_eq!(hosts(&plan, 1), []);
}

#[test]
fn virtual_services_for_a_host_are_joined_catch_alls_last() {
    let rules = |name: &str, last: &str| {
        format!(
            "[{{name: {name}, match: [{{uri: {{exact: /{name}}}}}], route: [{{destination: {{host: a}}}}]}}, {{name: {name}-all, {last}route: [{{destination: {{host: a}}}}]}}]"
        )
    };
    let yaml = gateway("g", 80, "['*']")
        + &virtual_service("one", "[a.com]", "[g]", &rules("one", ""))
        + &virtual_service("two", "[a.com]", "[g]", &rules("two", "match: [{uri: {prefix: /}}], "))
        + &virtual_service("three", "[a.com]", "[g]", &rules("three", "match: [{uri: {regex: '.*'}}], "))
        + &virtual_service(
            "four",
            "[a.com]",
            "[g]",
            &rules("four", "match: [{uri: {prefix: /}, method: {exact: GET}}], "),
        )
        + SERVICE_A;
    let (plan, problems) = compiled(&yaml);
    let order = vec!["one", "two", "three", "four", "four-all", "one-all", "two-all", "three-all"];
    assert_eq!(hosts(&plan, 0), [("a.com", order)]);
    assert_eq!(
        problems,
        [
            "t.yaml:38: VirtualService/default/four: spec.hosts: note: other VirtualServices have rules for \"a.com\" on port \
             80, too: default/one http[0], default/two http[0], default/three http[0], default/four http[0], default/four \
             http[1], default/one http[1], default/two http[1], default/three http[1] (they are tried in this order, rules \
             without conditions last)"
        ]
    );
}

#[test]
fn two_servers_for_a_host_add_a_virtual_service_once() {
    let yaml = gateway("g", 80, "[a.com]")
        + &gateway("h", 80, "['*.com']")
        + &virtual_service("v", "[a.com]", "[g, h]", TO_A)
        + SERVICE_A;
    assert_eq!(hosts(&plan(&yaml), 0), [("a.com", vec![""])]);
}

#[test]
fn rules_end_at_the_first_catch_all() {
    let http = "[
      {name: x, match: [{uri: {exact: /x}}], route: [{destination: {host: a}}]},
      {name: all, match: [{name: m, uri: {exact: /m}}, {uri: {prefix: /}}, {uri: {exact: /dead}}], route: [{destination: {host: a}}]},
      {name: dead, route: [{destination: {host: a}}]}]";
    let yaml = gateway("g", 80, "['*']") + &virtual_service("v", "[a.com]", "[g]", http) + SERVICE_A;
    assert_eq!(hosts(&plan(&yaml), 0), [("a.com", vec!["x", "all.m", "all"])]);
}

#[test]
fn match_port_is_the_gateways_port() {
    let http = "[
      {name: p80, match: [{port: 80, uri: {prefix: /x}}], route: [{destination: {host: a}}]},
      {name: p81, match: [{port: 81}], route: [{destination: {host: a}}]}]";
    let proxy =
        "---\napiVersion: ringway.dev/v1\nkind: Proxy\nmetadata: {name: p}\nspec: {ports: {80: 8081, 81: 8080}}\n";
    let only = "[{name: p80, match: [{port: 80}], route: [{destination: {host: a}}]}]";
    let yaml = gateway("g", 80, "['*']")
        + &gateway("h", 81, "['*']")
        + &virtual_service("v", "[a.com]", "[g, h]", http)
        + &virtual_service("w", "[b.com]", "[g, h]", only)
        + proxy
        + SERVICE_A;
    let plan = plan(&yaml);
    assert_eq!(hosts(&plan, 0), [("a.com", vec!["p80"]), ("b.com", vec!["p80"])]);
    // No rule of `w` is for this port, so it does not even claim its host.
    assert_eq!(hosts(&plan, 1), [("a.com", vec!["p81"])]);
}

#[test]
fn weights_divide_and_zero_is_none() {
    let split = |weights: [u32; 2]| {
        let http = format!(
            "[{{route: [{{destination: {{host: a}}, weight: {}}}, {{destination: {{host: b}}, weight: {}}}]}}]",
            weights[0], weights[1]
        );
        let yaml = gateway("g", 80, "['*']")
            + &virtual_service("v", "['*']", "[g]", &http)
            + SERVICE_A
            + &SERVICE_A.replace("name: a", "name: b").replace("app: a", "app: b");
        get(&plan(&yaml), "h", "/")
    };
    let (a, b) = (format!(" -> {A}"), " -> outbound|8000||b.default.svc.cluster.local".to_owned());
    assert_eq!(split([1, 1]), [a.clone(), b.clone()]);
    assert_eq!(split([0, 7]), [b]);
    assert_eq!(split([7, 0]), [a]);
}

#[test]
fn destination_ports() {
    let two_ports = SERVICE_A.replace("name: a", "name: two").replace(
        "  - {name: http, port: 8000, targetPort: 9000}\n",
        "  - {name: http, port: 8000, targetPort: 9000}\n  - {name: http-x, port: 80, targetPort: 9001}\n",
    );
    let of = |destination: &str| {
        let http = format!("[{{route: [{{destination: {destination}}}]}}]");
        let yaml = gateway("g", 80, "['*']") + &virtual_service("v", "['*']", "[g]", &http) + SERVICE_A + &two_ports;
        get(&compiled(&yaml).0, "h", "/").concat()
    };
    assert_eq!(of("{host: a}"), format!(" -> {A}"));
    assert_eq!(of("{host: a, port: {number: 8000}}"), format!(" -> {A}"));
    assert_eq!(of("{host: a, port: {number: 81}}"), " -> NC outbound|81||a.default.svc.cluster.local");
    assert_eq!(of("{host: two}"), " -> outbound|80||two.default.svc.cluster.local");
    assert_eq!(of("{host: two, port: {number: 8000}}"), " -> outbound|8000||two.default.svc.cluster.local");
    assert_eq!(of("{host: nowhere}"), " -> NC outbound|80||nowhere.default.svc.cluster.local");
    assert_eq!(of("{host: a.other}"), " -> NC outbound|80||a.other");
    assert_eq!(of("{host: a, subset: v9}"), " -> NC outbound|8000|v9|a.default.svc.cluster.local");
}

#[test]
fn a_wildcard_service_is_a_destination_by_its_own_name_only() {
    let entry = "
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild}
spec:
  hosts: ['*.wild.com']
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 10.0.0.9}]
";
    let of = |host: &str| {
        let http = format!("[{{route: [{{destination: {{host: '{host}'}}}}]}}]");
        let yaml = gateway("g", 80, "['*']") + &virtual_service("v", "['*']", "[g]", &http) + entry;
        get(&compiled(&yaml).0, "h", "/").concat()
    };
    assert_eq!(of("*.wild.com"), " -> outbound|80||*.wild.com");
    assert_eq!(of("x.wild.com"), " -> NC outbound|80||x.wild.com");
}

#[test]
fn an_address_is_one_endpoint_however_often_it_is_written() {
    let again = SERVICE_A.replace("name: a-v2", "name: a-v2-again");
    let again = again.split("---").nth(2).expect("the second document is the workload");
    let yaml = gateway("g", 80, "['*']") + &virtual_service("v", "['*']", "[g]", TO_A) + SERVICE_A + "---" + again;
    let both = [("10.0.0.1:9000".to_owned(), 3), ("10.0.0.2:9000".to_owned(), 1)];
    assert_eq!(addresses(&plan(&yaml), A), both);
}

#[test]
fn subsets_choose_endpoints_by_label() {
    let http = "[
      {match: [{uri: {prefix: /v1}}], route: [{destination: {host: a, subset: v1}}]},
      {match: [{uri: {prefix: /all}}], route: [{destination: {host: a, subset: everyone}}]},
      {match: [{uri: {prefix: /none}}], route: [{destination: {host: a, subset: none}}]}]";
    let rule = "subsets: [{name: v1, labels: {version: v1}}, {name: everyone}, {name: none, labels: {version: v7}}]";
    let yaml = gateway("g", 80, "['*']")
        + &virtual_service("v", "['*']", "[g]", http)
        + SERVICE_A
        + &destination_rule("a", "default", "a", rule);
    let (plan, _) = compiled(&yaml);
    let name = |subset: &str| format!("outbound|8000|{subset}|a.default.svc.cluster.local");
    assert_eq!(addresses(&plan, &name("v1")), [("10.0.0.1:9000".to_owned(), 3)]);
    assert_eq!(addresses(&plan, &name("everyone")).len(), 2);
    // Defined, but nobody has the label: a cluster without endpoints (503 UH), not a missing one.
    assert_eq!(addresses(&plan, &name("none")), []);
    assert_eq!(get(&plan, "h", "/none"), [format!(" -> {}", name("none"))]);
}

#[test]
fn load_balancers_by_precedence() {
    let http = "[
      {match: [{uri: {prefix: /v1}}], route: [{destination: {host: a, subset: v1}}]},
      {match: [{uri: {prefix: /v2}}], route: [{destination: {host: a, subset: v2}}]},
      {route: [{destination: {host: a}}]}]";
    let base = gateway("g", 80, "['*']") + &virtual_service("v", "['*']", "[g]", http) + SERVICE_A;
    let policies = |rules: &str| {
        let (plan, _) = compiled(&(base.clone() + rules));
        ["v1", "v2", ""].map(|subset| policy(&plan, &format!("outbound|8000|{subset}|a.default.svc.cluster.local")))
    };
    let lb = |name: &str| format!("trafficPolicy: {{loadBalancer: {{simple: {name}}}}}");
    let subsets = |v1: &str| {
        format!("subsets: [{{name: v1, labels: {{version: v1}}{v1}}}, {{name: v2, labels: {{version: v2}}}}]")
    };
    let (least, round, random) = (Policy::LeastRequest, Policy::RoundRobin, Policy::Random);
    assert_eq!(policies(&destination_rule("a", "default", "a", &subsets(""))), [least, least, least]);
    let rule = |host: &str, namespace: &str| {
        let spec = format!("{}\n  {}", lb("ROUND_ROBIN"), subsets(&format!(", {}", lb("RANDOM"))));
        destination_rule("a", namespace, host, &spec)
    };
    assert_eq!(policies(&rule("a", "default")), [random, round, round]);
    // Wildcards cover it too; the most specific host wins, whatever the order.
    let wide = destination_rule("wide", "default", "'*.default.svc.cluster.local'", &lb("RANDOM"));
    let full = "a.default.svc.cluster.local";
    assert_eq!(policies(&(wide.clone() + &rule(full, "default"))), [random, round, round]);
    assert_eq!(
        policies(&(rule("'*.svc.cluster.local'", "default") + &destination_rule("b", "default", "a", &subsets("")))),
        [least; 3]
    );
    // Rules for one host in one namespace are one: all subsets, the first policy.
    let parts = destination_rule("one", "default", "a", "subsets: [{name: v1, labels: {version: v1}}]")
        + &destination_rule(
            "two",
            "default",
            "a",
            &format!("{}\n  {}", lb("RANDOM"), subsets(&format!(", {}", lb("ROUND_ROBIN")))),
        )
        + &destination_rule("three", "default", "a", &lb("ROUND_ROBIN"));
    assert_eq!(policies(&parts), [random, random, random]);
    // The root namespace is looked at last, other namespaces never.
    let root = rule(full, "istio-system");
    assert_eq!(policies(&root), [random, round, round]);
    assert_eq!(policies(&(root.clone() + &destination_rule("b", "default", "a", &subsets("")))), [least; 3]);
    // Seen from another namespace: the proxy's own rules, then those of the service's, then the root's.
    let at_edge = "---\napiVersion: ringway.dev/v1\nkind: Proxy\nmetadata: {name: p, namespace: edge}\n";
    let simple = |namespace: &str, name: &str| {
        destination_rule("c", namespace, full, &format!("{}\n  {}", lb(name), subsets("")))
    };
    let theirs = simple("default", "ROUND_ROBIN") + &simple("istio-system", "RANDOM") + at_edge;
    assert_eq!(policies(&theirs), [round; 3]);
    assert_eq!(policies(&(theirs + &simple("edge", "LEAST_REQUEST"))), [least; 3]);
    let elsewhere = destination_rule("b", "elsewhere", full, &lb("RANDOM"));
    assert_eq!(policies(&(elsewhere + &rule(full, "default"))), [random, round, round]);
}

#[test]
fn clusters_are_shared_and_only_those_in_use() {
    let http =
        "[{match: [{uri: {prefix: /x}}], route: [{destination: {host: a}}]}, {route: [{destination: {host: a}}]}]";
    let yaml = gateway("g", 80, "['*']")
        + &virtual_service("v", "['*']", "[g]", http)
        + SERVICE_A
        + &SERVICE_A.replace("name: a", "name: unused");
    let plan = plan(&yaml);
    assert_eq!(plan.clusters.iter().map(|cluster| cluster.name.as_str()).collect::<Vec<_>>(), [A]);
    assert_eq!(plan.clusters[0].connect_timeout.as_secs(), 10);
}

#[test]
fn a_thousand_hosts_compile_and_route() {
    let mut yaml = gateway("g", 80, "['*']") + SERVICE_A;
    for at in 0..1_000 {
        yaml += &virtual_service(&format!("v{at}"), &format!("[h{at}.com, '*.h{at}.com']"), "[g]", TO_A);
    }
    let plan = plan(&yaml);
    assert_eq!(tables(&plan, 0)[0].virtual_hosts.len(), 2_000);
    assert_eq!(get(&plan, "h999.com", "/"), [format!(" -> {A}")]);
    assert_eq!(get(&plan, "x.h7.com", "/"), [format!(" -> {A}")]);
    assert_eq!(get(&plan, "h1000.com", "/"), ["404"]);
}
