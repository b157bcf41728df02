//! `tls` and `tcp` rules, at Gateways and at the mesh.

use super::*;
use crate::plan::{ChainSelection, Detected, TcpRoute};

const PROXY: &str = "---\napiVersion: ringway.dev/v1\nkind: Proxy\nmetadata: {name: p, labels: {app: me}}\nspec: {bind: 127.0.0.1, ports: {443: 8443}, mesh: {listen: '127.0.0.1:15001'}, meshConfig: {accessLogFile: /dev/null}}\n";

fn server(protocol: &str, hosts: &str) -> String {
    let tls = if protocol == "TLS" { ", tls: {mode: PASSTHROUGH}" } else { "" };
    format!("{{port: {{number: 443, name: p, protocol: {protocol}}}, hosts: {hosts}{tls}}}")
}

fn gateway_of(name: &str, servers: &[String]) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: {name}}}\nspec:\n  selector: {{app: me}}\n  \
         servers: [{}]\n",
        servers.join(", ")
    )
}

fn rules(name: &str, hosts: &str, gateways: &str, lists: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\nspec: {{hosts: {hosts}, \
         gateways: {gateways}, {lists}}}\n"
    )
}

fn entry(host: &str, ports: &str, more: &str) -> String {
    let name = host.replace(['.', '*'], "-");
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: s{name}}}\nspec: {{hosts: ['{host}'], ports: \
         {ports}, resolution: STATIC, endpoints: [{{address: 127.0.0.9}}]{more}}}\n"
    )
}

fn to(host: &str) -> String {
    format!("route: [{{destination: {{host: {host}}}}}]")
}

/// A rule for these server names.
fn by_name(block: &str, host: &str) -> String {
    format!("{{match: [{block}], {}}}", to(host))
}

/// The clusters of a TCP proxy, with their weights.
fn clusters(plan: &Plan, route: &TcpRoute) -> String {
    let name = |target: &Target| match target {
        Target::Known(id) => plan.cluster(*id).expect("a cluster of the plan").name.clone(),
        Target::Missing(name) => format!("NC {name}"),
    };
    let all: Vec<_> = route.destinations.iter().map(|to| format!("{}:{}", name(&to.target), to.weight)).collect();
    all.join(" ")
}

/// Where a connection to the Gateway's port 443 goes that asks for this name.
fn at_gateway(plan: &Plan, name: Option<&str>) -> String {
    let chains = &plan.listeners[0].chains;
    assert!(chains.http_routes().is_none(), "nothing is decoded");
    let found = chains.for_server_name(name.map(str::as_bytes)).and_then(|number| chains.get(number)?.as_tcp());
    found.map_or_else(|| "NR".to_owned(), |(_, route)| clusters(plan, route))
}

/// Where a connection to this address goes at the mesh.
fn at_mesh(plan: &Plan, to: &str, seen: &Detected<'_>) -> String {
    let chains = &plan.listeners.last().expect("the mesh").chains;
    let outbound = chains.destinations().expect("the mesh");
    let Some(number) = outbound.chain(to.parse().expect("an address"), seen) else { return "undeclared".to_owned() };
    let tcp = chains.get(number).expect("a chain").as_tcp();
    tcp.map_or_else(|| "http".to_owned(), |(_, route)| clusters(plan, route))
}

/// What compiling says about these, but for notes.
fn said(yaml: &str) -> Vec<String> {
    let (_, mut problems) = compiled(&(yaml.to_owned() + PROXY));
    problems.retain(|problem| !problem.contains(": note: "));
    problems
}

#[test]
fn names_at_a_gateway() {
    let plan = plan(
        &(gateway_of("g", &[server("TLS", "['*.example.com', other/a.example.org]")])
            + &rules(
                "v",
                "['*.example.com', a.example.org]",
                "[g, mesh]",
                &format!(
                    "tls: [{}, {}, {}, {}]",
                    by_name("{sniHosts: ['*.example.com'], gateways: [default/g]}", "wild.org"),
                    by_name("{sniHosts: [a.example.com], port: 443}, {sniHosts: [b.example.com], port: 444}", "a.org"),
                    by_name("{sniHosts: [c.example.com], gateways: [mesh]}", "c.org"),
                    // Istio asks whether the hosts meet, and then takes all of the rules.
                    by_name("{sniHosts: [a.example.org]}", "d.org"),
                ),
            )
            + &rules(
                "no",
                "[a.example.org]",
                "[g]",
                &format!("tls: [{}]", by_name("{sniHosts: [a.example.org]}", "e.org")),
            )
            + &["wild.org", "a.org", "c.org", "d.org"]
                .map(|host| entry(host, "[{number: 443, name: t, protocol: TLS}]", ""))
                .concat()
            + PROXY),
    );
    for (name, to) in [
        (Some("a.example.com"), "outbound|443||a.org:0"),
        (Some("b.example.com"), "outbound|443||wild.org:0"),
        (Some("c.example.com"), "outbound|443||wild.org:0"),
        (Some("a.example.org"), "outbound|443||d.org:0"),
        (Some("b.example.org"), "NR"),
        (None, "NR"),
    ] {
        assert_eq!(at_gateway(&plan, name), to, "{name:?}");
    }
    let listener = &plan.listeners[0];
    assert!(matches!(listener.chains.selection(), ChainSelection::ServerName(_)));
    let routes: Vec<&TcpRoute> = listener.chains.tcp_routes().map(|(_, route)| route).collect();
    let origin = routes[0].origin.as_ref().expect("a rule").to_string();
    assert!(origin.ends_with(": VirtualService/default/v: tls[0].match[0]"), "{origin}");
    let names: Vec<&str> = plan.tcp_stat_names().collect();
    let mesh = &plan.listeners[1].chains;
    assert_eq!(names.len(), routes.len() + mesh.tcp_routes().count() + 1);
    assert_eq!((routes[1].stats.index(), names[1]), (1, "outbound|443||a.org"));
    for (_, route) in listener.chains.tcp_routes().chain(mesh.tcp_routes()) {
        assert_eq!(names[route.stats.index()], &*route.name);
    }
    let undeclared = mesh.destinations().expect("the mesh").undeclared.stats();
    assert_eq!(names[undeclared.index()], "PassthroughCluster");
}

#[test]
fn the_first_tcp_rule_has_a_gateways_port() {
    let split = "route: [{destination: {host: a.org}, weight: 80}, {destination: {host: b.org, subset: none}, weight: 20}, \
                 {destination: {host: c.org}}]";
    let yaml = gateway_of("g", &[server("TCP", "['*']")])
        + &rules(
            "v",
            "['*']",
            "[g]",
            &format!("tcp: [{{match: [{{port: 444}}], {}}}, {{{split}}}, {{{}}}]", to("c.org"), to("c.org")),
        )
        + &["a.org", "b.org", "c.org"].map(|host| entry(host, "[{number: 9000, name: t, protocol: TCP}]", "")).concat();
    let (plan, problems) = compiled(&(yaml + PROXY));
    assert_eq!(at_gateway(&plan, None), "outbound|9000||a.org:80 NC outbound|9000|none|b.org:20");
    assert_eq!(&*plan.listeners[0].chains.tcp_routes().next().expect("a chain").1.name, "v.default");
    assert_eq!(
        problems,
        [
            "t.yaml:12: VirtualService/default/v: spec.tcp[2]: warning: no connection gets here: an earlier rule takes every connection \
          [IST0131] (put the rule first, or remove it)"
        ]
    );
}

#[test]
fn services_of_tls_at_the_mesh() {
    let plan = plan(
        &(rules(
            "v",
            "['*.example.com']",
            "[mesh]",
            &format!(
                "tls: [{}, {}, {}, {}]",
                by_name("{sniHosts: [a.example.com], sourceLabels: {app: other}}", "x.org"),
                by_name("{sniHosts: [a.example.com], sourceNamespace: other, port: 443}", "x.org"),
                by_name("{sniHosts: [a.example.com], sourceLabels: {app: me}, sourceNamespace: default}", "a.org"),
                by_name("{sniHosts: ['*.example.com'], destinationSubnets: [10.0.0.0/8]}", "b.org"),
            ),
        ) + &entry("*.example.com", "[{number: 443, name: t, protocol: TLS}]", "")
            + &entry("plain.com", "[{number: 443, name: t, protocol: HTTPS}]", "")
            + &["a.org", "b.org", "x.org"]
                .map(|host| entry(host, "[{number: 9000, name: t, protocol: TCP}]", ""))
                .concat()
            + PROXY),
    );
    for (to, name, expected) in [
        ("1.2.3.4:443", "a.example.com", "outbound|9000||a.org:0"),
        ("1.2.3.4:443", "b.example.com", "undeclared"),
        ("10.2.3.4:443", "b.example.com", "outbound|9000||b.org:0"),
        ("10.2.3.4:443", "a.example.com", "outbound|9000||b.org:0"),
        ("1.2.3.4:443", "plain.com", "outbound|443||plain.com:1"),
        ("1.2.3.4:444", "a.example.com", "undeclared"),
    ] {
        assert_eq!(at_mesh(&plan, to, &Detected::tls(name)), expected, "{name} to {to}");
    }
}

#[test]
fn services_of_tcp_at_the_mesh() {
    let plan = plan(
        &(rules(
            "v",
            "[db.com]",
            "[mesh]",
            &format!("tcp: [{{match: [{{port: 1}}, {{destinationSubnets: [10.0.0.0/8]}}], {}}}]", to("a.org")),
        ) + &rules(
            "w",
            "[db.com, web.com]",
            "[mesh]",
            &format!("tcp: [{{match: [{{port: 5432}}], {}}}]", to("b.org")),
        ) + &entry("db.com", "[{number: 5432, name: t, protocol: TCP}, {number: 5433, name: u, protocol: TCP}]", "")
            + &entry("web.com", "[{number: 80, name: h, protocol: HTTP}]", "")
            + &["a.org", "b.org"].map(|host| entry(host, "[{number: 9000, name: t, protocol: TCP}]", "")).concat()
            + PROXY),
    );
    for (to, expected) in [
        ("10.1.1.1:5432", "outbound|9000||a.org:0"),
        ("1.1.1.1:5432", "outbound|9000||b.org:0"),
        ("10.1.1.1:5433", "outbound|9000||a.org:0"),
        ("1.1.1.1:5433", "outbound|5433||db.com:1"),
    ] {
        assert_eq!(at_mesh(&plan, to, &Detected::Bytes), expected, "{to}");
    }
}

#[test]
fn rules_that_never_match() {
    let yaml = gateway_of("g", &[server("TLS", "['*']")])
        + &rules(
            "v",
            "[a.com, b.com]",
            "[g]",
            &format!(
                "tls: [{}, {}]",
                by_name("{sniHosts: [a.com]}", "x.org"),
                by_name("{sniHosts: [b.com, a.com]}", "x.org")
            ),
        )
        + &rules(
            "w",
            "[m.com]",
            "[mesh]",
            &format!("tls: [{}, {}]", by_name("{sniHosts: [m.com]}", "x.org"), by_name("{sniHosts: [m.com]}", "x.org")),
        )
        + &entry("m.com", "[{number: 443, name: t, protocol: TLS}]", "")
        + &entry("x.org", "[{number: 9000, name: t, protocol: TCP}]", "");
    assert_eq!(
        said(&yaml),
        [
            "t.yaml:12: VirtualService/default/v: spec.tls[1].match[0]: warning: no connection gets here: an earlier rule has \"a.com\" \
             already, and with one name of a block the others go [IST0131] (put the rule first, or remove it)",
            "t.yaml:17: VirtualService/default/w: spec.tls[1].match[0]: warning: no connection gets here: earlier rules have all of \
             its server names [IST0131] (put the rule first, or remove it)",
        ]
    );
}

#[test]
fn servers_that_cannot_share_a_port() {
    let rule = rules("v", "['*']", "[g, h]", &format!("tls: [{}]", by_name("{sniHosts: ['*']}", "x.org")))
        + &entry("x.org", "[{number: 9000, name: t, protocol: TCP}]", "");
    let mut second = server("TLS", "[c.com, b.com]");
    for (first, what) in [
        (server("HTTP", "['*']"), "cannot be for TLS where Gateway/default/g (t.yaml:7) is for HTTP already"),
        (server("TLS", "[a.com, b.com]"), "an earlier server for TLS on port 443 has \"b.com\" already"),
        (server("TCP", "['*']"), "cannot be for TCP where Gateway/default/g (t.yaml:7) is for TCP already"),
    ] {
        if first.contains("TCP") {
            second = server("TCP", "['*']");
        }
        let said = said(&(gateway_of("g", &[first]) + &gateway_of("h", &[second.clone()]) + &rule));
        let wanted = format!("Gateway/default/h: spec.servers[0]: error: {what}: it is left out");
        assert!(said.iter().any(|line| line.contains(&wanted)), "{wanted}: {said:#?}");
    }
    let alone = said(&gateway_of("g", &[server("TLS", "['*']")]));
    assert_eq!(alone.len(), 1, "{alone:#?}");
    assert!(alone[0].contains("warning: no VirtualService bound to it has a rule under \"tls\""), "{alone:#?}");
}

#[test]
fn a_gateway_that_would_connect_to_itself() {
    let of = |port: u16| {
        gateway_of("g", &[server("TLS", "['*']")])
            + &rules("v", "['*']", "[g]", &format!("tls: [{}]", by_name("{sniHosts: ['*']}", "x.org")))
            + &entry("x.org", &format!("[{{number: 9000, name: t, protocol: TCP, targetPort: {port}}}]"), "")
                .replace("127.0.0.9", "127.0.0.1")
    };
    assert_eq!(said(&of(8444)), [""; 0]);
    let found = said(&of(8443));
    assert!(
        found.len() == 1
            && found[0].contains(
                "VirtualService/default/v: spec.tls[0].route: error: sends connections of Gateway port 443 to 127.0.0.1:8443"
            ),
        "{found:#?}"
    );
}
