//! Destinations that no request gets to: what is wrong with them is a note at most.

use super::*;

/// Rows of a rule, and the lines about it, which are on line 8 unless they say another.
#[track_caller]
fn rules(rows: &[(&str, &[&str])]) {
    let mut differences = String::new();
    for (rule, expected) in rows {
        let found: Vec<_> = lines(&problems(virtual_service(rule).as_bytes(), false))
            .iter()
            .map(|line| line.replacen("8: VirtualService/default/v: spec.http[0].", "", 1))
            .map(|line| line.replacen("8: VirtualService/default/v: spec.http[0]: ", "", 1))
            .collect();
        if found != *expected {
            differences.push_str(&format!("\n{rule}\n  expected: {expected:#?}\n  found: {found:#?}\n"));
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

/// Where requests do get there it is an error: the rows without a reason.
#[test]
fn by_weight_fault_mirror_and_conditions() {
    rules(&[
        (
            "route:
    - {destination: {host: web, port: {number: 80}}, weight: 100}
    - {destination: {host: web, port: {number: 80}, subset: v9}, weight: 0}",
            &[
                r#"10: VirtualService/default/v: spec.http[0].route[1].destination.subset: note: no DestinationRule gives web.default.svc.cluster.local a subset "v9": no request gets here, since its weight is 0 [IST0101] (define it in a DestinationRule for this host)"#,
            ],
        ),
        (
            "route:
    - {destination: {host: web, port: {number: 80}}, weight: 100}
    - {destination: {host: none, port: {number: 83}}, weight: 0}",
            &[
                r#"10: VirtualService/default/v: spec.http[0].route[1].destination.host: note: there is no service "none.default.svc.cluster.local": no request gets here, since its weight is 0 [IST0101]"#,
            ],
        ),
        (
            "route:
    - {destination: {host: web, port: {number: 80}}, weight: 100}
    - {destination: {host: web, port: {number: 83}}, weight: 0}",
            &[
                "10: VirtualService/default/v: spec.http[0].route[1].destination.port.number: note: 83 is not a port of web.default.svc.cluster.local: no request gets here, since its weight is 0 [IST0101] (its ports: 80, 81, 82)",
            ],
        ),
        (
            "route:
    - {destination: {host: web, port: {number: 80}, subset: v9}, weight: 0}
    - {destination: {host: web, port: {number: 83}}, weight: 0}",
            &[r#"the weights of several destinations sum to 0 (give each destination its "weight")"#],
        ),
        (
            "route: [{destination: {host: web, port: {number: 83}}, weight: 0}]",
            &[
                r#"route[0].weight: note: the only destination gets every request, whatever its weight (use "directResponse" to serve nothing)"#,
                "route[0].destination.port.number: 83 is not a port of web.default.svc.cluster.local: requests get 503 NC [IST0101] (its ports: 80, 81, 82)",
            ],
        ),
        (
            "fault: {abort: {httpStatus: 503, percentage: {value: 100}}}
    route: [{destination: {host: web, port: {number: 83}}}]",
            &[
                "9: VirtualService/default/v: spec.http[0].route[0].destination.port.number: note: 83 is not a port of web.default.svc.cluster.local: no request gets here, since every one is aborted [IST0101] (its ports: 80, 81, 82)",
            ],
        ),
        (
            "fault: {abort: {httpStatus: 503, percentage: {value: 99.9}}}
    route: [{destination: {host: web, port: {number: 83}}}]",
            &[
                "9: VirtualService/default/v: spec.http[0].route[0].destination.port.number: 83 is not a port of web.default.svc.cluster.local: requests get 503 NC [IST0101] (its ports: 80, 81, 82)",
            ],
        ),
        (
            "fault: {delay: {fixedDelay: 1s, percentage: {value: 100}}}
    route: [{destination: {host: web, port: {number: 83}}}]",
            &[
                "9: VirtualService/default/v: spec.http[0].route[0].destination.port.number: 83 is not a port of web.default.svc.cluster.local: requests get 503 NC [IST0101] (its ports: 80, 81, 82)",
            ],
        ),
        (
            "route: [{destination: {host: web, port: {number: 80}}}]
    mirror: {host: web, port: {number: 83}}
    mirrorPercentage: {value: 0}",
            &[
                "9: VirtualService/default/v: spec.http[0].mirror.port.number: note: 83 is not a port of web.default.svc.cluster.local: no request gets here, since 0 % of the requests are mirrored [IST0101] (its ports: 80, 81, 82)",
            ],
        ),
        (
            "route: [{destination: {host: web, port: {number: 80}}}]
    mirrors: [{destination: {host: web, port: {number: 83}}, percentage: {value: 0}}]",
            &[
                "9: VirtualService/default/v: spec.http[0].mirrors[0].destination.port.number: note: 83 is not a port of web.default.svc.cluster.local: no request gets here, since 0 % of the requests are mirrored [IST0101] (its ports: 80, 81, 82)",
            ],
        ),
        (
            "route: [{destination: {host: web, port: {number: 80}}}]
    mirror: {host: web, port: {number: 83}}
    mirrorPercent: 0",
            &[
                "9: VirtualService/default/v: spec.http[0].mirror.port.number: note: 83 is not a port of web.default.svc.cluster.local: no request gets here, since 0 % of the requests are mirrored [IST0101] (its ports: 80, 81, 82)",
                r#"10: VirtualService/default/v: spec.http[0].mirrorPercent: warning: "mirrorPercent" is deprecated (write "mirrorPercentage: {value: N}")"#,
            ],
        ),
        (
            "match: [{uri: {prefix: api}}]
    route: [{destination: {host: web, port: {number: 83}}}]",
            &[r#"match[0].uri.prefix: warning: a path begins with "/": this never matches (write "/api")"#],
        ),
        (
            "match: [{port: 81}]
    route: [{destination: {host: web, port: {number: 83}}}]",
            &[
                "match[0].port: warning: no Gateway here listens on port 81: never matches (it is the port of the Gateway's server: 80)",
                "9: VirtualService/default/v: spec.http[0].route[0].destination.port.number: note: 83 is not a port of web.default.svc.cluster.local: no request gets here, since its conditions are for other proxies, gateways or ports [IST0101] (its ports: 80, 81, 82)",
            ],
        ),
        (
            "match: [{gateways: [mesh]}]
    route: [{destination: {host: web, port: {number: 83}}}]",
            &[
                r#"match[0].gateways[0]: warning: "mesh" is not one of this VirtualService's gateways: never matches there (add it to "spec.gateways")"#,
                "9: VirtualService/default/v: spec.http[0].route[0].destination.port.number: note: 83 is not a port of web.default.svc.cluster.local: no request gets here, since its conditions are for other proxies, gateways or ports [IST0101] (its ports: 80, 81, 82)",
            ],
        ),
        (
            "match: [{uri: {prefix: api}}, {uri: {prefix: /api}}]
    route: [{destination: {host: web, port: {number: 83}}}]",
            &[
                r#"match[0].uri.prefix: warning: a path begins with "/": this never matches (write "/api")"#,
                "9: VirtualService/default/v: spec.http[0].route[0].destination.port.number: 83 is not a port of web.default.svc.cluster.local: requests get 503 NC [IST0101] (its ports: 80, 81, 82)",
            ],
        ),
        (
            "redirect: {uri: /x}
    mirror: {host: web, port: {number: 83}}",
            &[
                "9: VirtualService/default/v: spec.http[0].mirror.port.number: note: 83 is not a port of web.default.svc.cluster.local: no request gets here, since every one is answered here [IST0101] (its ports: 80, 81, 82)",
                r#"9: VirtualService/default/v: spec.http[0].mirror: note: copies have "-shadow" after the name in their Host (where the mirror routes by Host, write the Proxy's mirrorHostSuffix: "")"#,
            ],
        ),
    ]);
}

/// A rule to a port that is not there.
const TO_NOWHERE: &str = "route: [{destination: {host: web, port: {number: 83}}}]";

/// The lines about that port, from their severity on.
fn told(yaml: &str) -> Vec<String> {
    let of_port = lines(&problems(yaml.as_bytes(), false)).into_iter().filter(|line| line.contains("83 is not a port"));
    of_port.map(|line| line.split("port.number: ").nth(1).unwrap_or(&line).to_owned()).collect()
}

#[track_caller]
fn says(what: &str, documents: &[String], expected: Option<&str>) {
    let web = "83 is not a port of web.default.svc.cluster.local: ";
    let expected = expected.map(|so| match so.strip_prefix("note: ") {
        Some(so) => format!("note: {web}{so} [IST0101] (its ports: 80, 81, 82)"),
        None => format!("{web}{so} [IST0101] (its ports: 80, 81, 82)"),
    });
    assert_eq!(told(&documents.join("---\n")), expected.into_iter().collect::<Vec<_>>(), "{what}");
}

const SERVED: Option<&str> = Some("requests get 503 NC");

fn note(why: &str) -> String {
    format!("note: no request gets here, since {why}")
}

#[test]
fn by_earlier_rules() {
    let service =
        |more: &str| virtual_service_spec(&format!("{{hosts: [a.example.com], gateways: [g], http: [{more}]}}"));
    let all = "{directResponse: {status: 200}}";
    // The warning about the rule is enough.
    says("behind a catch-all", &[service(&format!("{all}, {{match: [{{uri: {{prefix: /a}}}}], {TO_NOWHERE}}}"))], None);
    says("before it", &[service(&format!("{{match: [{{uri: {{prefix: /a}}}}], {TO_NOWHERE}}}, {all}"))], SERVED);
    let one = format!("{{match: [{{uri: {{prefix: /a}}}}, {{uri: {{prefix: /ab}}}}], {TO_NOWHERE}}}");
    says("one of whose blocks is behind the other", &[service(&one)], SERVED);
    let never =
        format!("{{match: [{{uri: {{prefix: a}}}}], {all}}}, {{match: [{{uri: {{prefix: ab}}}}], {TO_NOWHERE}}}")
            .replace("{directResponse: {status: 200}}", "directResponse: {status: 200}");
    says("that nothing meets", &[service(&never)], None);
}

#[test]
fn by_gateways_and_hosts() {
    let rule = format!("http: [{{{TO_NOWHERE}}}]");
    let at = |hosts: &str, more: &str| virtual_service_spec(&format!("{{hosts: [{hosts}], {more}{rule}}}"));
    let own = || proxy("{}").replace("{name: edge}", "{name: edge, labels: {app: edge}}");
    let none = note("none comes in for its hosts at its gateways");
    let other = at("a.example.com", "gateways: [g], ").replace("{servers", "{selector: {app: other}, servers");
    says("a Gateway of other proxies", &[other, own()], Some(&none));
    says("hosts that the Gateway has not", &[at("b.com", "gateways: [g], ")], Some(&none));
    says("a Gateway in another file", &[at("b.com", "gateways: [h], ")], SERVED);
    says(
        "one that is not exported",
        &[at("a.example.com", "gateways: [g], exportTo: [far], ")],
        Some(&note("the VirtualService is not exported to the proxy's namespace")),
    );
    let redirecting = |more: &str| {
        let server = |name: &str, port: u16, hosts: &str, tls: &str| {
            format!("{{port: {{number: {port}, name: {name}, protocol: HTTP}}, hosts: [{hosts}]{tls}}}")
        };
        let secure = server("secure", 80, "'*'", ", tls: {httpsRedirect: true}");
        istio("Gateway", "r", &format!("{{servers: [{secure}{more}]}}"))
    };
    let plain = |hosts: &str| format!(", {{port: {{number: 81, name: plain, protocol: HTTP}}, hosts: [{hosts}]}}");
    let redirected = note("every one is redirected to HTTPS");
    let at_it = || at("a.example.com", "gateways: [r], ");
    says("a Gateway that redirects everything", &[at_it(), redirecting("")], Some(&redirected));
    says("one with a server beside it", &[at_it(), redirecting(&plain("a.example.com"))], SERVED);
    says("one with a server for others", &[at_it(), redirecting(&plain("b.example.com"))], Some(&redirected));
    says("another Gateway beside it", &[at("a.example.com", "gateways: [r, g], "), redirecting("")], SERVED);
    says("the mesh without a listener", &[at("web", ""), own()], Some(&none));
    says("the mesh of any proxy", &[at("web", "")], SERVED);
    let listening = proxy("{mesh: {listen: '127.0.0.1:15001'}}");
    says("the mesh with one", &[at("web", ""), listening.clone()], SERVED);
    let first = istio("VirtualService", "first", "{hosts: [web], http: [{directResponse: {status: 200}}]}");
    says("a second one at the mesh", &[first.clone(), at("web", ""), listening.clone()], Some(&none));
    says("with a host of its own", &[first, at("web, x.com", ""), listening], SERVED);
}

#[test]
fn by_whose_requests_are_meant() {
    let rule = |labels: &str| format!("http: [{{match: [{{sourceLabels: {{app: {labels}}}}}], {TO_NOWHERE}}}]");
    let labelled =
        |labels: &str| virtual_service_spec(&format!("{{hosts: [a.example.com], gateways: [g], {}}}", rule(labels)));
    let in_mesh = |labels: &str| virtual_service_spec(&format!("{{hosts: [web], {}}}", rule(labels)));
    let labels = |proxy: String| proxy.replace("{name: edge}", "{name: edge, labels: {app: edge}}");
    let own = || labels(proxy("{}"));
    let listening = || labels(proxy("{mesh: {listen: '127.0.0.1:15001'}}"));
    let why = note("its conditions are for other proxies, gateways or ports");
    says("of another workload of the mesh", &[in_mesh("other"), listening()], Some(&why));
    says("of this workload", &[in_mesh("edge"), listening()], SERVED);
    // The Gateway of the tests selects every proxy, and there the condition has its own warning.
    says("of another workload", &[labelled("other"), own()], None);
    says("of this one", &[labelled("edge"), own()], SERVED);
    says("of any", &[labelled("other")], SERVED);
}

#[test]
fn by_delegation() {
    let root = |http: &str| virtual_service_spec(&format!("{{hosts: [a.example.com], gateways: [g], http: [{http}]}}"));
    let delegate = || istio("VirtualService", "d", &format!("{{http: [{{{TO_NOWHERE}}}]}}"));
    let hidden = || istio("VirtualService", "d", &format!("{{exportTo: [far], http: [{{{TO_NOWHERE}}}]}}"));
    let to_it = "{delegate: {name: d}}";
    says("a delegate", &[root(to_it), delegate()], SERVED);
    says("nobody's", &[root("{redirect: {uri: /x}}"), delegate()], Some(&note("no rule delegates to it")));
    let within = |uri: &str| {
        let rule = format!("{{match: [{{uri: {{prefix: {uri}}}}}], {TO_NOWHERE}}}");
        istio("VirtualService", "d", &format!("{{http: [{rule}]}}"))
    };
    let of_x = "{match: [{uri: {prefix: /x}}], delegate: {name: d}}";
    says("a rule within the root's", &[root(of_x), within("/x/y")], SERVED);
    let left_out = told(&[root(of_x), within("/y")].join("---\n"));
    assert!(left_out.is_empty(), "{left_out:#?}");
    let of_both = format!("{of_x}, {{match: [{{uri: {{prefix: /y}}}}], delegate: {{name: d}}}}");
    let of_one = told(&[root(&of_both), within("/y")].join("---\n"));
    assert_eq!(of_one.len(), 1, "{of_one:#?}");
    says("a hidden one", &[root(to_it), hidden()], Some(&note("no rule delegates to it")));
    let behind = root(&format!("{{directResponse: {{status: 200}}}}, {to_it}"));
    says("a hidden rule's", &[behind, delegate()], Some(&note("none gets to the rule that delegates to it")));
}

#[test]
fn rules_for_connections() {
    let gateway = "{servers: [{port: {number: 90, name: tcp, protocol: TCP}, hosts: ['*']}]}";
    let gateway = || istio("Gateway", "t", gateway);
    let service = |tcp: &str| virtual_service_spec(&format!("{{hosts: [a.example.com], gateways: [t], tcp: [{tcp}]}}"));
    let weighted = |weight: u32| {
        let good = "{destination: {host: web, port: {number: 80}}, weight: 100}";
        service(&format!("{{route: [{good}, {{destination: {{host: web, port: {{number: 83}}}}, weight: {weight}}}]}}"))
    };
    says("weight 0", &[weighted(0), gateway()], Some("note: no connection gets here, since its weight is 0"));
    says("weight 1", &[weighted(1), gateway()], Some("connections are closed, flag NC"));
    let other_port = service(&format!("{{match: [{{port: 91}}], {TO_NOWHERE}}}"));
    let why = "note: no connection gets here, since its conditions are for other proxies, gateways or ports";
    says("another port", &[other_port, gateway()], Some(why));
    let second =
        service(&format!("{{route: [{{destination: {{host: web, port: {{number: 80}}}}}}]}}, {{{TO_NOWHERE}}}"));
    says("behind one that takes all", &[second, gateway()], None);
    let named = |weight: u32| {
        let route = format!(
            "[{{destination: {{host: web, port: {{number: 82}}}}, weight: 1}}, {{destination: {{host: web, port: {{number: 83}}}}, weight: {weight}}}]"
        );
        virtual_service_spec(&format!(
            "{{hosts: [a.com], gateways: [s], tls: [{{match: [{{sniHosts: [a.com]}}], route: {route}}}]}}"
        ))
    };
    let server = "{servers: [{port: {number: 443, name: tls, protocol: TLS}, tls: {mode: PASSTHROUGH}, hosts: ['*']}]}";
    let server = || istio("Gateway", "s", server);
    says("of TLS", &[named(0), server()], Some("note: no connection gets here, since its weight is 0"));
    says("of TLS with a weight", &[named(1), server()], Some("connections are closed, flag NC"));
}

/// Where a service is in none of the documents its DestinationRule says which subsets there are.
#[test]
fn subsets_of_services_that_are_elsewhere() {
    let to = |subset: &str| {
        let route = format!("[{{destination: {{host: reviews, subset: {subset}}}}}]");
        istio("VirtualService", "v", &format!("{{hosts: [a.example.com], gateways: [g], http: [{{route: {route}}}]}}"))
            + REST
    };
    let found = |documents: &[String]| {
        let all = lines(&problems(documents.join("---\n").as_bytes(), false)).into_iter();
        all.filter(|line| line.contains(".subset: ")).collect::<Vec<_>>()
    };
    let rule =
        |host: &str, subsets: &str| istio("DestinationRule", "d", &format!("{{host: {host}, subsets: [{subsets}]}}"));
    let two = || rule("reviews", "{name: version-one}, {name: version-two}");
    let line = |instead: &str| {
        format!(
            "4: VirtualService/default/v: spec.http[0].route[0].destination.subset: no DestinationRule gives \
             reviews.default.svc.cluster.local a subset \"v3\": requests get 503 NC [IST0101] ({instead})"
        )
    };
    assert_eq!(found(&[to("v3"), two()]), [line("defined: version-one, version-two")]);
    assert_eq!(found(&[to("v3"), rule("reviews", "")]), [line("define it in a DestinationRule for this host")]);
    for (subset, rule) in
        [("version-one", two()), ("v3", rule("'*.local'", "{name: v1}")), ("v3", rule("other", "{name: v1}"))]
    {
        assert_eq!(found(&[to(subset), rule]), Vec::<String>::new(), "{subset}");
    }
}
