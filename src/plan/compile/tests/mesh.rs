//! The mesh listener: services, the hosts of VirtualServices, and hosts that nobody declared.

use super::*;
use crate::plan::{Listener, ListenerKind};

const MESH: &str = "---\napiVersion: ringway.dev/v1\nkind: Proxy\nmetadata: {name: p}\nspec: {mesh: {listen: '127.0.0.1:15001'}, meshConfig: {outboundTrafficPolicy: {mode: MODE}}}\n";

/// A VirtualService for the mesh.
fn for_mesh(name: &str, hosts: &str, http: &str) -> String {
    virtual_service(name, hosts, "[mesh]", http)
}

fn service(name: &str, ports: &str) -> String {
    format!("---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: {ports}}}\n")
}

/// One rule with this name, to service `a`.
fn to_a(name: &str) -> String {
    format!("[{{name: {name}, route: [{{destination: {{host: a}}}}]}}]")
}

fn mesh(yaml: &str) -> Plan {
    let (plan, problems) = compiled(&(yaml.to_owned() + SERVICE_A + &MESH.replace("MODE", "ALLOW_ANY")));
    assert!(!problems.iter().any(|problem| !problem.contains(": warning: ")), "{problems:#?}");
    plan
}

/// The name of the route that a request to this authority takes, with the cluster.
fn to(plan: &Plan, authority: &str) -> String {
    let sample = Sample::get(authority, "/", &[]);
    match plan.route(ListenerId(plan.listeners.len() as u32 - 1), &sample.request(), &mut Rng::seeded(1)) {
        Decision::NotFound => "404".to_owned(),
        Decision::HttpsRedirect { .. } => panic!("no Gateway's server is at the mesh"),
        Decision::Passthrough { route } => route.name.clone(),
        Decision::Direct { route, direct } => format!("{} {}", route.name, direct.status),
        Decision::Redirect { route, redirect } => format!("{} {:?}", route.name, redirect.port),
        Decision::Forward { route, destination, .. } => match &destination.target {
            Target::Known(id) => format!("{} {}", route.name, plan.cluster(*id).expect("a cluster of the plan").name),
            Target::Missing(name) => format!("{} NC {name}", route.name),
        },
    }
}

#[test]
fn every_service_has_a_default_route_under_each_of_its_names() {
    let plan = mesh("");
    let listener: &Listener = &plan.listeners[0];
    assert_eq!((listener.kind, listener.name.as_str()), (ListenerKind::Mesh, "127.0.0.1_15001"));
    assert_eq!(listener.route_tables().map(|table| table.port).collect::<Vec<_>>(), [Some(80), Some(8000), None]);
    for name in ["a", "a.default", "a.default.svc", "a.default.svc.cluster.local", "a.default.svc.cluster.local.", "A"]
    {
        assert_eq!(to(&plan, &format!("{name}:8000")), format!("default {A}"), "{name}");
    }
    for elsewhere in ["a", "a:8001", "b:8000", "a.other:8000", "a.default.svc.cluster:8000"] {
        assert_eq!(to(&plan, elsewhere), "allow_any", "{elsewhere}");
    }
    let origin = &listener.route_tables().nth(1).expect("a table").virtual_hosts[0].routes()[0].origin;
    assert_eq!((&*origin.resource, origin.rule), ("Service/default/a", None));
}

#[test]
fn undeclared_hosts_are_let_through_or_not() {
    let with = |mode: &str| plan(&(SERVICE_A.to_owned() + &MESH.replace("MODE", mode)));
    assert_eq!(to(&with("ALLOW_ANY"), "example.com"), "allow_any");
    assert_eq!(to(&with("REGISTRY_ONLY"), "example.com"), "block_all 502");
    assert_eq!(to(&with("REGISTRY_ONLY"), "a:8000"), format!("default {A}"));
}

#[test]
fn a_virtual_service_rules_over_its_service_and_does_not_merge() {
    let one = "[{name: one, match: [{uri: {prefix: /only}}], route: [{destination: {host: a}}]}]";
    let plan = mesh(&(for_mesh("one", "[a]", one) + &for_mesh("two", "[a]", &to_a("two"))));
    // No way back to the default route, nor to the younger VirtualService.
    assert_eq!(to(&plan, "a:8000"), "404");
    let younger = mesh(&(for_mesh("one", "[a]", &to_a("one")) + &for_mesh("two", "[a]", &to_a("two"))));
    assert_eq!(to(&younger, "a:8000"), format!("one {A}"));
    // Gateways' VirtualServices are not the mesh's, and absent `gateways` mean the mesh.
    let absent = for_mesh("v", "[a]", &to_a("v")).replace("  gateways: [mesh]\n", "");
    assert_eq!(to(&mesh(&absent), "a:8000"), format!("v {A}"));
    let other = virtual_service("v", "[a]", "[g]", &to_a("v")) + &gateway("g", 80, "['*']");
    assert_eq!(to(&mesh(&other), "a:8000"), format!("default {A}"));
}

#[test]
fn of_wildcards_the_most_specific_rules_and_a_name_goes_before_it() {
    let rules = for_mesh("wide", "['*.svc.cluster.local']", &to_a("wide"))
        + &for_mesh("near", "['*.default.svc.cluster.local']", &to_a("near"))
        + &for_mesh("younger", "['*.default.svc.cluster.local']", &to_a("younger"))
        + &for_mesh("named", "[b]", &to_a("named"))
        + &for_mesh("empty", "[c]", "[{match: [{sourceNamespace: other}], route: [{destination: {host: a}}]}]")
        + &["b", "c"].map(|name| service(name, "[{name: http, port: 80}]")).concat();
    let plan = mesh(&rules);
    assert_eq!(to(&plan, "a:8000"), format!("near {A}"));
    assert_eq!(to(&plan, "b"), format!("named {A}"));
    // The VirtualService that names it says nothing here; that does not bring the wildcard back.
    assert_eq!(to(&plan, "c"), "default outbound|80||c.default.svc.cluster.local");
    assert_eq!(to(&plan, "d.default.svc.cluster.local"), format!("near {A}"));
    assert_eq!(to(&plan, "d.other.svc.cluster.local:77"), format!("wide {A}"));
}

#[test]
fn hosts_of_virtual_services_are_there_on_every_port() {
    let plan = mesh(&(for_mesh("v", "[bookinfo.com, '*.wiki.org']", &to_a("v")) + &for_mesh("w", "[a]", &to_a("w"))));
    for authority in ["bookinfo.com", "bookinfo.com:8000", "bookinfo.com:9999", "x.wiki.org:65535"] {
        assert_eq!(to(&plan, authority), format!("v {A}"), "{authority}");
    }
    assert_eq!(to(&plan, "wiki.org"), "allow_any");
    // A service's name on a port that it does not have.
    assert_eq!(to(&plan, "a.default.svc.cluster.local"), format!("w {A}"));
    assert_eq!(to(&plan, "a"), "allow_any");
}

#[test]
fn rules_that_depend_on_the_port() {
    let http = "[
      {name: p81, match: [{port: 81}], route: [{destination: {host: two}}]},
      {name: rest, match: [{uri: {prefix: /}}], route: [{destination: {host: two}}]}]";
    let two = service("two", "[{name: http, port: 81}, {name: http-b, port: 82}]");
    let plan = mesh(&(for_mesh("v", "[x.com]", http) + &two));
    let host = "two.default.svc.cluster.local";
    assert_eq!(to(&plan, "x.com:81"), format!("p81 outbound|81||{host}"));
    assert_eq!(to(&plan, "x.com:82"), format!("rest outbound|82||{host}"));
    assert_eq!(to(&plan, "x.com"), format!("rest NC outbound|80||{host}"));
    assert_eq!(to(&plan, "x.com:9"), format!("rest NC outbound|0||{host}"));
    let moved = "[{name: m, redirect: {scheme: https, derivePort: FROM_REQUEST_PORT}}]";
    let plan = mesh(&(for_mesh("v", "[x.com]", moved) + &two));
    assert_eq!(to(&plan, "x.com:81"), "m Some(81)");
    assert_eq!(to(&plan, "x.com:9"), "m None");
}

#[test]
fn rules_do_not_apply_to_ports_of_another_protocol() {
    let tcp = service("db", "[{name: tcp-db, port: 5432}]");
    let plan = mesh(&(for_mesh("v", "[db]", &to_a("v")) + &tcp));
    assert_eq!(to(&plan, "db:5432"), "default outbound|5432||db.default.svc.cluster.local");
}

#[test]
fn a_written_host_goes_before_a_short_name() {
    let plan = mesh(&for_mesh("v", "[a.default]", &to_a("v")));
    assert_eq!(to(&plan, "a.default:8000"), format!("v {A}"));
    assert_eq!(to(&plan, "a.default.svc:8000"), format!("default {A}"));
}

#[test]
fn services_of_other_namespaces_have_longer_names_and_may_be_hidden() {
    let other = service("b", "[{name: http, port: 80}]").replace("name: b}", "name: b, namespace: other}");
    let plan = mesh(&other);
    assert_eq!(to(&plan, "b"), "allow_any");
    assert_eq!(to(&plan, "b.other"), "default outbound|80||b.other.svc.cluster.local");
    let hidden =
        other.replace("namespace: other}", "namespace: other, annotations: {networking.istio.io/exportTo: '.'}}");
    assert_eq!(to(&mesh(&hidden), "b.other"), "allow_any");
}

#[test]
fn the_listeners_address_must_be_free() {
    let yaml = gateway("g", 15001, "['*']").replace("servers:\n  - port", "servers:\n  - bind: 127.0.0.1\n    port");
    let (plan, problems) = compiled(&(yaml + &MESH.replace("MODE", "ALLOW_ANY")));
    assert_eq!(plan.listeners.len(), 1);
    assert!(
        problems.iter().any(|problem| problem
            .contains("spec.mesh.listen: error: 127.0.0.1:15001 is already taken by Gateway port 15001")),
        "{problems:#?}"
    );
}

#[test]
fn what_the_kernel_would_refuse_is_said_before() {
    let gateway = gateway("g", 15000, "['*']");
    let sidecar = MESH.replace("MODE", "ALLOW_ANY").replace("15001", "15000");
    for (yaml, expected) in [
        (gateway, "spec.admin: error: 127.0.0.1:15000 is already taken by Gateway port 15000, at 0.0.0.0:15000"),
        (sidecar, "spec.admin: error: 127.0.0.1:15000 is already taken by the mesh, at 127.0.0.1:15000"),
    ] {
        let (_, problems) = compiled(&yaml);
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{expected}: {problems:#?}");
    }
}

#[test]
fn a_service_is_also_known_by_its_addresses() {
    let at = |plan: &Plan, authority: &str| to(plan, authority);
    let with =
        |spec: &str| mesh(&service("b", "[{name: http, port: 80}]").replace("spec: {", &format!("spec: {{{spec}, ")));
    let plan = with("clusterIPs: [10.96.0.7, 'fd00::7']");
    assert_eq!(at(&plan, "10.96.0.7"), "default outbound|80||b.default.svc.cluster.local");
    assert_eq!(at(&plan, "[fd00::7]:80"), "default outbound|80||b.default.svc.cluster.local");
    assert_eq!(at(&plan, "10.96.0.8"), "allow_any");
    assert_eq!(at(&with("clusterIP: None"), "b"), "default outbound|80||b.default.svc.cluster.local");
}

#[test]
fn a_sidecar_limits_what_the_listener_knows() {
    let sidecar = |spec: &str| {
        format!("---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: s}}\nspec: {{{spec}}}\n")
    };
    let with = |spec: &str| {
        mesh(&(service("b", "[{name: http, port: 80}]") + &for_mesh("v", "[v.com]", &to_a("v")) + &sidecar(spec)))
    };
    let plan = with("egress: [{hosts: ['*/b.default.svc.cluster.local']}]");
    assert_eq!(to(&plan, "b"), "default outbound|80||b.default.svc.cluster.local");
    assert_eq!((to(&plan, "a:8000"), to(&plan, "v.com")), ("allow_any".to_owned(), "allow_any".to_owned()));
    let plan = with("outboundTrafficPolicy: {mode: REGISTRY_ONLY}");
    assert_eq!((to(&plan, "far.com"), to(&plan, "v.com")), ("block_all 502".to_owned(), format!("v {A}")));
}
