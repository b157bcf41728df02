//! Who sees what: `exportTo`, `match.gateways`, `sourceLabels` and `sourceNamespace`.

use super::*;

const OTHERS: &str = "---\napiVersion: ringway.dev/v1\nkind: Proxy\nmetadata: {name: p, namespace: edge, labels: {app: edge, tier: x}}\n";

/// A VirtualService of `namespace` with these further lines of its spec.
fn service_of(namespace: &str, name: &str, more: &str) -> String {
    virtual_service(name, "[a.com]", "[default/g]", &format!("[{{name: {name}, match: [{{uri: {{prefix: /{name}}}}}], route: [{{destination: {{host: a.default.svc.cluster.local}}}}]}}]\n  {more}"))
        .replace(&format!("name: {name}}}"), &format!("name: {name}, namespace: {namespace}}}"))
}

#[test]
fn virtual_services_are_seen_where_they_are_exported_to() {
    for (export, seen) in [
        ("", true),
        ("exportTo: ['*']", true),
        ("exportTo: [edge]", true),
        ("exportTo: [other, edge]", true),
        ("exportTo: ['.']", false),
        ("exportTo: [other]", false),
    ] {
        let yaml = gateway("g", 80, "['*']") + &service_of("default", "v", export) + SERVICE_A + OTHERS;
        let (plan, _) = compiled(&yaml);
        assert_eq!(!hosts(&plan, 0).is_empty(), seen, "{export}");
    }
    let mesh = OTHERS.to_owned() + "spec: {meshConfig: {defaultVirtualServiceExportTo: ['.']}}\n";
    let hidden = gateway("g", 80, "['*']") + &service_of("default", "v", "") + SERVICE_A + &mesh;
    assert_eq!(hosts(&compiled(&hidden).0, 0), []);
    let own = gateway("g", 80, "['*']") + &service_of("edge", "v", "") + SERVICE_A + &mesh;
    assert_eq!(hosts(&compiled(&own).0, 0), [("a.com", vec!["v"])]);
}

#[test]
fn own_rules_come_before_those_exported_by_name_and_those_before_everyones() {
    let yaml = gateway("g", 80, "['*']")
        + &service_of("edge", "public", "")
        + &service_of("default", "named", "exportTo: [edge]")
        + &service_of("edge", "own", "exportTo: ['.']")
        + &service_of("edge", "shared", "exportTo: [default, edge]")
        + &service_of("default", "everyones", "")
        + SERVICE_A
        + OTHERS;
    assert_eq!(hosts(&plan(&yaml), 0), [("a.com", vec!["own", "shared", "named", "public", "everyones"])]);
}

#[test]
fn a_service_that_is_not_exported_here_is_missing() {
    let hidden = SERVICE_A.replace("name: a}", "name: a, annotations: {networking.istio.io/exportTo: '.'}}");
    let base = gateway("g", 80, "['*']") + &service_of("default", "v", "") + OTHERS;
    assert_eq!(get(&compiled(&(base.clone() + SERVICE_A)).0, "a.com", "/v"), [format!("v -> {A}")]);
    assert_eq!(get(&compiled(&(base + &hidden)).0, "a.com", "/v"), [format!("v -> NC {A}")]);
}

#[test]
fn blocks_for_some_gateways() {
    let http = "[
      {name: g, match: [{gateways: [g], uri: {prefix: /x}}], route: [{destination: {host: a}}]},
      {name: h, match: [{gateways: [default/h, mesh]}], route: [{destination: {host: a}}]},
      {name: all, match: [{uri: {prefix: /all}}], route: [{destination: {host: a}}]}]";
    let yaml = gateway("g", 80, "['*']")
        + &gateway("h", 81, "['*']")
        + &virtual_service("v", "[a.com]", "[g, h]", http)
        + SERVICE_A;
    let separate = plan(&yaml);
    assert_eq!(hosts(&separate, 0), [("a.com", vec!["g", "all"])]);
    assert_eq!(hosts(&separate, 1), [("a.com", vec!["h"])]);
    // On one port it is two VirtualServices, as it were.
    let joined = plan(&yaml.replace("number: 81", "number: 80"));
    assert_eq!(hosts(&joined, 0), [("a.com", vec!["g", "all", "h"])]);
}

#[test]
fn blocks_for_some_proxies() {
    for (condition, taken) in [
        ("sourceLabels: {app: edge}", true),
        ("sourceLabels: {app: edge, tier: x}", true),
        ("sourceLabels: {app: other}", false),
        ("sourceNamespace: edge", true),
        ("sourceNamespace: default", false),
        ("sourceLabels: {app: edge}, sourceNamespace: default", false),
        // Beside `gateways` neither counts.
        ("sourceLabels: {app: other}, sourceNamespace: default, gateways: [g]", true),
        ("sourceLabels: {app: edge}, gateways: [other]", false),
    ] {
        let http = format!("[{{match: [{{{condition}}}], route: [{{destination: {{host: a}}}}]}}]");
        let yaml = gateway("g", 80, "['*']") + &virtual_service("v", "[a.com]", "[g]", &http) + SERVICE_A + OTHERS;
        assert_eq!(!hosts(&compiled(&yaml).0, 0).is_empty(), taken, "{condition}");
    }
}
