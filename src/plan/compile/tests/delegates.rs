//! `delegate`: what becomes of a rule and those that it stands for.

use super::*;
use crate::plan::Action;

fn delegate(name: &str, more: &str, http: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}{more}}}\nspec:\n  \
         http: {http}\n"
    )
}

/// Root rules and the delegate's, as the routes' names and conditions.
fn merged(root: &str, leaf: &str) -> (Vec<String>, Vec<String>) {
    let root = format!("[{{delegate: {{name: leaf}}, {root}}}]");
    let yaml = gateway("g", 80, "['*']")
        + &virtual_service("root", "['*']", "[g]", &root)
        + &delegate("leaf", "", leaf)
        + SERVICE_A;
    let (plan, problems) = compiled(&yaml);
    let hosts = tables(&plan, 0)[0].virtual_hosts.iter();
    let routes = hosts.flat_map(|host| host.routes()).map(|route| {
        let conditions = route.matcher.conditions().iter().map(|condition| format!("{condition:?}"));
        format!("{}{:?}", route.name, conditions.collect::<Vec<_>>()).replace('"', "'")
    });
    (routes.collect(), problems)
}

const TO: &str = "route: [{destination: {host: a}}]";

#[test]
fn conditions_are_joined_when_the_delegates_lie_within() {
    let within = |root: &str, leaf: &str| {
        let root = if root.is_empty() { "name: r".to_owned() } else { format!("name: r, match: [{root}]") };
        let leaf = if leaf.is_empty() {
            format!("[{{name: l, {TO}}}]")
        } else {
            format!("[{{name: l, match: [{leaf}], {TO}}}]")
        };
        let (routes, problems) = merged(&root, &leaf);
        assert_eq!(routes.is_empty(), !problems.is_empty(), "{problems:?}");
        routes.len()
    };
    for (root, leaf, expected) in [
        ("", "", 1),
        ("{uri: {prefix: /a}}", "", 1),
        ("", "{uri: {prefix: /a}}", 1),
        ("{uri: {prefix: /a}}", "{uri: {prefix: /a/b}}", 1),
        ("{uri: {prefix: /a}}", "{uri: {exact: /ab}}", 1),
        ("{uri: {prefix: /a/b}}", "{uri: {prefix: /a}}", 0),
        ("{uri: {prefix: /a}}", "{uri: {regex: /a}}", 0),
        ("{uri: {regex: /a}}", "{uri: {exact: /a}}", 0),
        ("{uri: {regex: /a}}", "{method: {exact: GET}}", 1),
        ("{uri: {exact: /a}}", "{uri: {exact: /a}}", 1),
        ("{uri: {exact: /a}}", "{uri: {exact: /b}}", 0),
        ("{uri: {exact: /a}}", "{uri: {prefix: /a}}", 0),
        ("{uri: {prefix: /a}}", "{uri: {prefix: /a}, ignoreUriCase: true}", 0),
        ("{headers: {x: {exact: a}}}", "{headers: {y: {exact: b}}}", 1),
        ("{headers: {x: {exact: a}}}", "{headers: {x: {exact: b}}}", 0),
        ("{headers: {x: {}}}", "{headers: {x: {}}}", 0),
        ("{withoutHeaders: {x: {exact: a}}}", "{withoutHeaders: {x: {exact: b}}}", 0),
        ("{queryParams: {x: {prefix: a}}}", "{queryParams: {x: {exact: ab}}}", 1),
        ("{queryParams: {x: {prefix: a}}}", "{queryParams: {x: {exact: b}}}", 0),
        ("{scheme: {exact: http}}", "{scheme: {exact: https}}", 0),
        ("{authority: {prefix: a.}}", "{authority: {exact: a.com}}", 1),
        ("{port: 80}", "{port: 80}", 1),
        ("{port: 80}", "{port: 81}", 0),
        ("{sourceNamespace: default}", "{uri: {prefix: /}}", 0),
        ("{sourceNamespace: default}", "{sourceNamespace: default}", 1),
        ("{sourceLabels: {a: b}}", "{sourceLabels: {a: c}}", 0),
        ("{gateways: [g]}", "{gateways: [g, h]}", 0),
        ("{gateways: [g, h]}", "{gateways: [g]}", 1),
        ("{uri: {prefix: /a}}, {uri: {prefix: /b}}", "{uri: {exact: /b1}}, {uri: {exact: /a1}}", 2),
        ("{uri: {prefix: /a}}, {uri: {prefix: /ab}}", "{uri: {exact: /abc}}", 2),
        ("{uri: {prefix: /a}}, {uri: {prefix: /b}}", "{uri: {exact: /b1}}, {uri: {exact: /c}}", 0),
    ] {
        assert_eq!(within(root, leaf), expected, "{root} over {leaf}");
    }
}

#[test]
fn both_blocks_conditions_hold_and_the_delegates_wins() {
    let root = "name: r, match: [{name: m, uri: {prefix: /a}, headers: {x: {prefix: a}, y: {exact: r}}}]";
    let leaf = format!(
        "[{{name: l, match: [{{name: n, headers: {{x: {{exact: ab}}}}, method: {{exact: GET}}}}], {TO}}}, {{{TO}}}]"
    );
    let (routes, problems) = merged(root, &leaf);
    assert!(problems.is_empty(), "{problems:?}");
    assert!(routes[0].starts_with("r-l.m-n["), "{routes:?}");
    for part in ["Path(Prefix", "Method(Exact", "text: \\'x\\'", "text: \\'y\\'"] {
        assert!(routes[0].contains(part), "{part} in {routes:?}");
    }
    assert!(routes[1].starts_with("r.m["), "{routes:?}");
}

#[test]
fn actions_come_from_the_delegate_or_else_from_the_root() {
    let yaml = |leaf: &str| {
        let root =
            "[{delegate: {name: leaf}, rewrite: {uri: /root}, headers: {request: {set: {x: root}}}, corsPolicy: {}}]";
        gateway("g", 80, "['*']")
            + &virtual_service("root", "['*']", "[g]", root)
            + &delegate("leaf", "", &format!("[{{{leaf} {TO}}}]"))
            + SERVICE_A
    };
    let with = |leaf: &str| {
        let plan = plan(&yaml(leaf));
        let route = &tables(&plan, 0)[0].virtual_hosts[0].routes()[0];
        let Action::Forward(forward) = &route.action else { panic!("{:?}", route.action) };
        let set = route.headers.request.set.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>();
        (format!("{:?}", forward.rewrite).contains("47"), set, route.cors.is_some())
    };
    assert_eq!(with(""), (true, vec!["x".to_owned()], true));
    // Whole fields: the root's `x` is gone.
    assert_eq!(with("headers: {request: {set: {y: leaf}}},"), (true, vec!["y".to_owned()], true));
}

#[test]
fn a_route_says_where_both_rules_are() {
    let root = "[{match: [{uri: {exact: /x}}], route: [{destination: {host: a}}]}, {match: [{uri: {prefix: /q}}, {uri: {prefix: /a}}], delegate: {name: leaf}}]";
    let leaf = format!("[{{match: [{{uri: {{exact: /a1}}}}], {TO}}}]");
    let yaml = gateway("g", 80, "['*']")
        + &virtual_service("root", "['*']", "[g]", root)
        + &delegate("leaf", "", &leaf)
        + SERVICE_A;
    let plan = plan(&yaml);
    let origin = &tables(&plan, 0)[0].virtual_hosts[0].routes()[1].origin;
    assert_eq!((&*origin.resource, origin.rule, origin.block), ("VirtualService/default/leaf", Some(0), Some(0)));
    let root = origin.root.as_ref().expect("a delegating rule");
    assert_eq!((&*root.resource, root.rule, root.block), ("VirtualService/default/root", Some(1), Some(1)));
}

#[test]
fn short_names_in_a_delegate_are_of_its_own_namespace() {
    let yaml = gateway("g", 80, "['*']")
        + &virtual_service("root", "['*']", "[g]", "[{delegate: {name: leaf, namespace: other}}]")
        + &delegate("leaf", ", namespace: other", &format!("[{{{TO}}}]"))
        + &SERVICE_A
            .replace("name: a}", "name: a, namespace: other}")
            .replace("name: a-", "namespace: other, name: a-");
    assert_eq!(get(&plan(&yaml), "h", "/"), [" -> outbound|8000||a.other.svc.cluster.local"]);
}

#[test]
fn a_delegate_that_cannot_be_had_takes_only_its_rule_away() {
    let http = "[{match: [{uri: {prefix: /gone}}], delegate: {name: leaf, namespace: other}}, {route: [{destination: {host: a}}]}]";
    let base = gateway("g", 80, "['*']") + &virtual_service("root", "['*']", "[g]", http) + SERVICE_A;
    let (missing, _) = compiled(&base);
    assert_eq!(get(&missing, "h", "/gone"), [format!(" -> {A}")]);
    let hidden = delegate("leaf", ", namespace: other", &format!("[{{{TO}}}]\n  exportTo: ['.']"));
    let (hidden, _) = compiled(&(base + &hidden));
    assert_eq!(get(&hidden, "h", "/gone"), [format!(" -> {A}")]);
}
