//! What is served and probably not meant: rules that no request reaches, resources that contradict each other, and the
//! traps that users of Istio fall into.

use super::{
    REST, both, check, destination_rule, istio, proxy, rule, service_entry, virtual_service, virtual_service_spec,
};

const TO_WEB: &str = "route: [{destination: {host: web, port: {number: 80}}}]";

/// A VirtualService of this name for `a.example.com`, without the rest.
fn named(name: &str, spec: &str) -> String {
    istio("VirtualService", name, spec)
}

/// Rules of which the first is on line 8, each on a line of its own, to `web`.
fn rules(matches: &[&str]) -> String {
    let line =
        |text: &&str| if text.is_empty() { format!("{{{TO_WEB}}}") } else { format!("{{match: {text}, {TO_WEB}}}") };
    let lines: Vec<_> = matches.iter().map(line).collect();
    virtual_service_spec(&format!(
        "\n  hosts: [a.example.com]\n  gateways: [g]\n  http:\n  - {}\n",
        lines.join("\n  - ")
    ))
}

/// Two rules, of which the first hides the second.
fn hidden(first: &'static str, second: &'static str) -> (String, &'static [&'static str]) {
    (
        rules(&[first, second]),
        &[
            "9: VirtualService/default/v: spec.http[1]: warning: no request gets here: spec.http[0].match[0] takes everything it matches [IST0130] (put the more specific rule first)",
        ],
    )
}

/// Two rules, of which both are reached.
fn reached(first: &str, second: &str) -> (String, &'static [&'static str]) {
    (rules(&[first, second]), &[])
}

#[test]
fn rules_behind_one_that_takes_everything() {
    check(&[
        (
            rules(&["", "[{uri: {prefix: /a}}]", ""]),
            &[
                r#"9: VirtualService/default/v: spec.http[1]: warning: no request gets here: spec.http[0] takes everything [IST0130] (put the rule without "match" last)"#,
                r#"10: VirtualService/default/v: spec.http[2]: warning: no request gets here: spec.http[0] takes everything [IST0130] (put the rule without "match" last)"#,
            ],
        ),
        (
            rules(&["[{uri: {prefix: /a}}]", "[{uri: {exact: /ab}}, {uri: {exact: /b}}]"]),
            &[
                "9: VirtualService/default/v: spec.http[1].match[0]: warning: no request gets here: spec.http[0].match[0] takes everything it matches [IST0131] (put the more specific rule first)",
            ],
        ),
        (
            rules(&["[{uri: {prefix: /a}}, {uri: {prefix: /a}, method: {exact: GET}}]"]),
            &[
                "8: VirtualService/default/v: spec.http[0].match[1]: warning: no request gets here: spec.http[0].match[0] takes everything it matches [IST0131] (put the more specific rule first)",
            ],
        ),
        hidden("[{uri: {prefix: /}}]", "[{uri: {regex: '/a.*'}}]"),
        hidden("[{uri: {regex: '.*'}}]", "[{}]"),
        hidden("[{uri: {prefix: /a}}]", "[{uri: {prefix: /a/b}, headers: {x: {exact: z}}}]"),
        hidden("[{uri: {prefix: /A}, ignoreUriCase: true}]", "[{uri: {prefix: /ab}}]"),
        hidden("[{headers: {X-A: {}}}]", "[{headers: {x-a: {exact: b}, x-c: {exact: d}}}]"),
        hidden("[{queryParams: {a: {prefix: b}}}]", "[{queryParams: {a: {exact: bc}}}]"),
        hidden("[{withoutHeaders: {a: {exact: b}}}]", "[{withoutHeaders: {A: {exact: b}}, port: 80}]"),
        hidden("[{method: {regex: GET}, scheme: {exact: http}}]", "[{method: {regex: GET}, scheme: {exact: http}}]"),
        reached("[{uri: {prefix: /a/b}}]", "[{uri: {prefix: /a}}]"),
        reached("[{uri: {prefix: /A}}]", "[{uri: {prefix: /ab}}]"),
        reached("[{uri: {prefix: /a}}]", "[{uri: {prefix: /ab}, ignoreUriCase: true}]"),
        reached("[{uri: {prefix: /a}, method: {exact: GET}}]", "[{uri: {prefix: /a}}]"),
        reached("[{uri: {prefix: /a}, port: 80}]", "[{uri: {prefix: /a}}]"),
        reached("[{headers: {a: {exact: b}}}]", "[{headers: {a: {prefix: b}}}]"),
        reached("[{queryParams: {A: {}}}]", "[{queryParams: {a: {exact: b}}}]"),
        reached("[{withoutHeaders: {a: {}}}]", "[{withoutHeaders: {a: {exact: b}}}]"),
        reached("[{uri: {regex: '/[a-z]+'}}]", "[{uri: {exact: /a}}]"),
        reached("[{sourceLabels: {app: a}}]", "[{sourceLabels: {app: b}}]"),
        reached("[{sourceNamespace: a}]", "[{}]"),
        (
            both(
                &virtual_service(
                    "{match: [{uri: {prefix: /a}}], delegate: {name: d}}\n  - {match: [{uri: {prefix: /a/b}}], redirect: {uri: /}}",
                ),
                &named("d", "{http: [{redirect: {uri: /c}}]}"),
            ),
            &[],
        ),
    ]);
}

#[test]
fn conditions_that_never_hold() {
    check(&[
        (
            rule("match: [{port: 8080}]"),
            &[
                "8: VirtualService/default/v: spec.http[0].match[0].port: warning: no Gateway here listens on port 8080: never matches (it is the port of the Gateway's server: 80)",
            ],
        ),
        (
            rule("match: [{gateways: [g, other]}]"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].match[0].gateways[1]: warning: "default/other" is not one of this VirtualService's gateways: never matches there (add it to "spec.gateways")"#,
            ],
        ),
        (
            rule("match: [{gateways: [g], sourceLabels: {app: a}}]"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].match[0]: warning: has "gateways", beside which the source has no meaning (write a block for each)"#,
            ],
        ),
        (
            rule("match: [{uri: {regex: /api}}, {uri: {regex: '/api/v[12]'}}]"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].match[0].uri.regex: note: a regex matches whole paths: this one matches "/api" alone (write "prefix", or /api.*)"#,
            ],
        ),
    ]);
}

#[test]
fn prefixes_are_replaced_as_text() {
    check(&[
        (rule("match: [{uri: {prefix: /a/}}]\n    rewrite: {uri: /}"), &[]),
        (rule("match: [{uri: {prefix: /a}}]\n    rewrite: {uri: /b}"), &[]),
        (rule("match: [{uri: {exact: /a}}]\n    rewrite: {uri: /}"), &[]),
        (rule("rewrite: {authority: b.com}"), &[]),
        (
            rule("match: [{uri: {prefix: /a}}]\n    rewrite: {uri: /}"),
            &[
                r#"9: VirtualService/default/v: spec.http[0].rewrite.uri: warning: prefix "/a" is replaced as text: /a/a becomes //a (let both end with "/", or neither)"#,
            ],
        ),
        (
            rule("match: [{uri: {prefix: /a/}}]\n    rewrite: {uri: /b}"),
            &[
                r#"9: VirtualService/default/v: spec.http[0].rewrite.uri: warning: prefix "/a/" is replaced as text: /a/a becomes /ba (let both end with "/", or neither)"#,
            ],
        ),
        (
            rule("rewrite: {uri: /v1}"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].rewrite.uri: warning: prefix "/" is replaced as text: /a becomes /v1a (let both end with "/", or neither)"#,
            ],
        ),
        (
            virtual_service("match: [{uri: {prefix: /a}}]\n    redirect: {prefixRewrite: /b/}"),
            &[
                r#"9: VirtualService/default/v: spec.http[0].redirect.prefixRewrite: warning: prefix "/a" is replaced as text: /a/a becomes /b//a (let both end with "/", or neither)"#,
            ],
        ),
    ]);
}

#[test]
fn weights_headers_and_cors() {
    let weighted = |first: &str, second: &str| {
        virtual_service(&format!(
            "route:\n    - {{destination: {{host: web, port: {{number: 80}}}}{first}}}\n    - {{destination: {{host: web, port: {{number: 81}}}}{second}}}"
        ))
    };
    check(&[
        (weighted(", weight: 25", ", weight: 75"), &[]),
        (
            weighted(", weight: 1", ", weight: 2"),
            &[
                "8: VirtualService/default/v: spec.http[0].route: note: the weights sum to 3: they are taken as shares of that, not as percent (Istio before 1.14 refused this)",
            ],
        ),
        (
            virtual_service("route: [{destination: {host: web, port: {number: 80}}, weight: 0}]"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].route[0].weight: note: the only destination gets every request, whatever its weight (use "directResponse" to serve nothing)"#,
            ],
        ),
        (
            virtual_service(
                "headers: {request: {set: {X-A: '1'}}, response: {set: {x-b: '1'}}}\n    route: [{destination: {host: web, port: {number: 80}}, headers: {request: {set: {x-a: '2'}}, response: {add: {x-b: '2'}}}}]",
            ),
            &[
                r#"9: VirtualService/default/v: spec.http[0].route[0].headers.request.set[x-a]: warning: "x-a" is set by the rule, too: the destination's value is sent (with several destinations Istio sends the rule's; set it in one place)"#,
            ],
        ),
        (
            rule("corsPolicy: {allowOrigins: [{exact: https://example.com}]}"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].corsPolicy: note: tells browsers what to allow and blocks no request: those of other origins go on ("unmatchedPreflights: IGNORE" answers their preflights here)"#,
            ],
        ),
    ]);
}

#[test]
fn the_mesh_gateway() {
    let listening = proxy("{mesh: {listen: '127.0.0.1:15001'}}");
    let with = |spec: &str| both(&virtual_service_spec(spec), &listening);
    let tcp = "---\napiVersion: v1\nkind: Service\nmetadata: {name: db}\nspec: {ports: [{port: 5432, name: tcp}], selector: {app: web}}\n";
    check(&[
        (with(&format!("{{hosts: [web], http: [{{{TO_WEB}}}]}}")), &[]),
        (
            with(&format!("{{hosts: [web], http: [{{match: [{{uri: {{prefix: /a}}}}], {TO_WEB}}}]}}")),
            &[
                r#"4: VirtualService/default/v: spec.http: note: has no rule for the rest: requests to these hosts that match none get 404 (end with a rule without "match" to pass them on)"#,
            ],
        ),
        // Every HTTP port that the host has is asked for: there is no rest.
        (
            with(&format!("{{hosts: [web], http: [{{match: [{{port: 80}}, {{port: 81}}, {{port: 82}}], {TO_WEB}}}]}}")),
            &[],
        ),
        (
            with(&format!("{{hosts: [web], http: [{{match: [{{port: 80}}, {{port: 81}}], {TO_WEB}}}]}}")),
            &[
                r#"4: VirtualService/default/v: spec.http: note: has no rule for the rest: requests to these hosts that match none get 404 (end with a rule without "match" to pass them on)"#,
            ],
        ),
        (
            with("{hosts: [far.com], http: [{redirect: {uri: /}}]}"),
            &[
                r#"4: VirtualService/default/v: spec.hosts[0]: note: no service is registered as "far.com": the rules apply on every port (Istio itself applies them on port 80 only)"#,
            ],
        ),
        (
            with("{hosts: [db], http: [{redirect: {uri: /}}]}") + tcp,
            &[
                r#"4: VirtualService/default/v: spec.hosts[0]: warning: no port of db.default.svc.cluster.local speaks HTTP, so "http" has no effect on it: 5432 (TCP) [IST0118] (name the port "http" or "http-…", or set its appProtocol)"#,
            ],
        ),
        (
            with(&format!("{{hosts: [web], http: [{{{TO_WEB}}}]}}"))
                + "---\n"
                + &named("w", "{hosts: [web.default.svc.cluster.local, far.com], http: [{redirect: {uri: /}}]}"),
            &[
                r#"30: VirtualService/default/w: spec.hosts[1]: note: no service is registered as "far.com": the rules apply on every port (Istio itself applies them on port 80 only)"#,
                r#"30: VirtualService/default/w: spec.hosts[0]: VirtualService/default/v (<stdin>:1) has the rules for "web.default.svc.cluster.local" at the mesh gateway, so those here have no effect [IST0109] (put the rules into one VirtualService)"#,
            ],
        ),
        (
            both(&virtual_service_spec("{hosts: [other], http: [{route: [{destination: {host: web}}]}]}"), &listening)
                + "---\napiVersion: v1\nkind: Service\nmetadata: {name: other}\nspec: {ports: [{port: 8000, name: http}], selector: {app: web}}\n",
            &[
                r#"4: VirtualService/default/v: spec.http[0].route[0].destination: web.default.svc.cluster.local has several ports, so the listener's is taken, and it has no 8000: requests get 503 NC [IST0112] (write "port: {number: N}"; its ports: 80, 81, 82)"#,
            ],
        ),
    ]);
}

#[test]
fn resources_that_claim_the_same() {
    let second = |hosts: &str, http: &str| named("w", &format!("{{hosts: {hosts}, gateways: [g], http: {http}}}"));
    check(&[
        (both(&rule(""), &second("[b.example.com]", "[{redirect: {uri: /}}]")), &[]),
        (both(&rule(""), &second("[a.example.com]", "[{match: [{uri: {prefix: /b}}], redirect: {uri: /}}]")), &[]),
        (
            both(&rule(""), &second("[a.example.com]", "[{redirect: {uri: /}}]")),
            &[
                r#"30: VirtualService/default/w: spec.http[0]: warning: VirtualService/default/v (<stdin>:1) has a rule without "match" for "a.example.com" at Gateway "default/g", too: it goes first, so this one has no effect there (keep one rule for the rest of a host's requests)"#,
            ],
        ),
        (
            both(
                &rule(""),
                &istio(
                    "Gateway",
                    "h",
                    "{servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*.example.com', b.com]}]}",
                ),
            ),
            &[
                r#"30: Gateway/default/h: spec.servers[0].hosts: warning: Gateway/default/g (<stdin>:12) has a server for port 80 and "*.example.com", too [IST0145] (rules bound to either of them apply; give each Gateway its own hosts)"#,
            ],
        ),
        (
            istio("Sidecar", "a", "{egress: [{hosts: ['*/*']}]}")
                + "---\n"
                + &istio("Sidecar", "b", "{outboundTrafficPolicy: {mode: ALLOW_ANY}}"),
            &[
                "9: Sidecar/default/b: spec: Sidecar/default/a (<stdin>:1) has no workloadSelector either: it counts, and this one has no effect [IST0111] (keep one of them)",
            ],
        ),
        (
            proxy("{}").replace("{name: edge}", "{name: edge, labels: {app: a}}")
                + "---\n"
                + &istio("Sidecar", "a", "{workloadSelector: {labels: {app: a}}, egress: [{hosts: ['*/*']}]}")
                + "---\n"
                + &istio("Sidecar", "b", "{workloadSelector: {labels: {app: b}}, egress: [{hosts: ['*/*']}]}")
                + "---\n"
                + &istio("Sidecar", "c", "{workloadSelector: {labels: {app: a}}, egress: [{hosts: ['*/*']}]}"),
            &[
                "19: Sidecar/default/c: spec: Sidecar/default/a (<stdin>:6) selects this proxy, too: it counts, and this one has no effect [IST0110] (keep one of them)",
            ],
        ),
    ]);
}

#[test]
fn listeners_that_wait_for_redirected_connections() {
    let egress = |fields: &str| {
        istio(
            "Sidecar",
            "s",
            &format!("{{egress: [{{port: {{number: 80, protocol: HTTP}}, {fields}, hosts: ['*/*']}}]}}"),
        )
    };
    let meshless = proxy("{}") + "---\n";
    let meshed = proxy("{mesh: {listen: '127.0.0.1:15001'}}") + "---\n";
    check(&[
        (
            meshless.clone() + &egress("captureMode: IPTABLES"),
            &[
                r#"9: Sidecar/default/s: spec.egress[0].captureMode: warning: nothing is redirected to a proxy without spec.mesh.listen, so this listener has no effect (write "captureMode: NONE" to have it bound, or spec.mesh.listen)"#,
            ],
        ),
        (meshless + &egress("bind: 127.0.0.1"), &[]),
        (
            meshed.clone() + &egress("bind: 127.0.0.1"),
            &[
                r#"9: Sidecar/default/s: spec.egress[0].bind: "bind" of a listener to which connections are redirected is not enforced by ringway yet (remove it, or pass --permissive, which then does not serve this Sidecar; with "captureMode: NONE" the listener is bound there)"#,
            ],
        ),
        (meshed.clone() + &egress("bind: 0.0.0.0, captureMode: IPTABLES"), &[]),
        (meshed + &egress("bind: 127.0.0.1, captureMode: NONE"), &[]),
    ]);
}

#[test]
fn visibility() {
    let far = |spec: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: d, namespace: far}}\nspec: {spec}\n"
        )
    };
    let to_v1 = virtual_service("route: [{destination: {host: web, port: {number: 80}, subset: v1}}]");
    let subset = "{host: web.default.svc.cluster.local, subsets: [{name: v1, labels: {version: v1}}]}";
    check(&[
        (
            virtual_service_spec(
                "{hosts: [a.example.com], gateways: [g], exportTo: [far], http: [{redirect: {uri: /}}]}",
            ),
            &[
                r#"4: VirtualService/default/v: spec.exportTo: warning: is not visible in the proxy's namespace "default": no effect (add that namespace, or "*")"#,
            ],
        ),
        (
            both(&to_v1, &far(subset)),
            &[
                r#"8: VirtualService/default/v: spec.http[0].route[0].destination.subset: no DestinationRule gives web.default.svc.cluster.local a subset "v1": requests get 503 NC [IST0101] (far/d at <stdin>:26 defines it; rules count in the proxy's, the service's and the root namespace: "default", "istio-system")"#,
                r#"29: DestinationRule/far/d: spec.host: warning: a rule of "far" is not looked at: no effect (rules count in the proxy's, the service's and the root namespace: "default", "istio-system")"#,
            ],
        ),
        (
            both(&to_v1, &far(subset).replace("far", "istio-system").replace("{host", "{exportTo: [.], host")),
            &[
                r#"8: VirtualService/default/v: spec.http[0].route[0].destination.subset: no DestinationRule gives web.default.svc.cluster.local a subset "v1": requests get 503 NC [IST0101] (istio-system/d at <stdin>:26 defines it, and is not exported to the proxy's namespace "default")"#,
                r#"29: DestinationRule/istio-system/d: spec.host: warning: the rule is not exported to the proxy's namespace "default": no effect (add that namespace to "exportTo")"#,
            ],
        ),
        (both(&to_v1, &far(subset).replace("far", "istio-system")), &[]),
        (
            both(&to_v1, &far(subset).replace("far", "istio-system"))
                + "---\n"
                + &istio("DestinationRule", "own", "{host: web, subsets: [{name: v2}]}"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].route[0].destination.subset: no DestinationRule gives web.default.svc.cluster.local a subset "v1": requests get 503 NC [IST0101] (istio-system/d at <stdin>:26 defines it, and default/own goes before it)"#,
                r#"29: DestinationRule/istio-system/d: spec.host: warning: default/own at <stdin>:31 goes before this rule: no effect (only the rules of one namespace count)"#,
            ],
        ),
        (
            both(
                &to_v1,
                &istio(
                    "DestinationRule",
                    "own",
                    &subset.replace("{host", "{workloadSelector: {matchLabels: {app: b}}, host"),
                ),
            ),
            &[
                r#"8: VirtualService/default/v: spec.http[0].route[0].destination.subset: no DestinationRule gives web.default.svc.cluster.local a subset "v1": requests get 503 NC [IST0101] (default/own at <stdin>:26 defines it for other workloads only)"#,
            ],
        ),
    ]);
}

#[test]
fn policies_without_the_effect_that_they_look_like() {
    check(&[
        (
            destination_rule(
                "\n  host: web\n  trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}",
            ),
            &[
                r#"6: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.consistentHash: note: requests without the header "x-user" go to any endpoint (an httpCookie with a "ttl" is made where it is missing)"#,
            ],
        ),
        (
            destination_rule(
                "\n  host: web\n  trafficPolicy: {portLevelSettings: [{port: {number: 80}, loadBalancer: {consistentHash: {httpCookie: {name: user}}}}]}",
            ),
            &[
                r#"6: DestinationRule/default/d: spec.trafficPolicy.portLevelSettings[0].loadBalancer.consistentHash: note: requests without the cookie "user" go to any endpoint (an httpCookie with a "ttl" is made where it is missing)"#,
            ],
        ),
        (
            destination_rule(
                "\n  host: web\n  trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {name: user, ttl: 0s}}}}",
            ),
            &[],
        ),
        (
            destination_rule(
                "\n  host: web\n  trafficPolicy: {loadBalancer: {simple: RANDOM, warmup: {duration: 1m}}}",
            ),
            &[
                "6: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.warmup: warning: has no effect on RANDOM (use LEAST_REQUEST or ROUND_ROBIN with it)",
            ],
        ),
        (
            destination_rule(
                "\n  host: web\n  trafficPolicy: {portLevelSettings: [{port: {number: 8080}, loadBalancer: {simple: RANDOM}}]}",
            ),
            &[
                "6: DestinationRule/default/d: spec.trafficPolicy.portLevelSettings[0].port: warning: 8080 is not a port of web.default.svc.cluster.local: no effect (its ports: 80, 81, 82)",
            ],
        ),
    ]);
}

/// Part of what is known of TLS: what a port expects, and what nothing says of it.
#[test]
fn plain_text_to_ports_that_speak_tls() {
    let entry = service_entry(
        "{hosts: [x.com], resolution: STATIC, endpoints: [{address: 10.0.0.1}], ports: [{number: 80, name: http, protocol: HTTP, targetPort: 443}, {number: 443, name: https, protocol: HTTPS}, {number: 81, name: more, protocol: HTTP}]}",
    );
    let to = |port: u16, more: &str| {
        let service = istio(
            "VirtualService",
            "v",
            &format!(
                "\n  hosts: [a.example.com]\n  gateways: [g]\n  http:\n  - route: [{{destination: {{host: x.com, port: {{number: {port}}}{more}}}}}]"
            ),
        );
        both(&(service + REST), &entry)
    };
    let with = |port: u16, more: &str, spec: &str| both(&to(port, more), &istio("DestinationRule", "d", spec));
    const SIMPLE: &str = "tls: {mode: SIMPLE, insecureSkipVerify: true}";
    const FROM_80: &[&str] = &[
        "8: VirtualService/default/v: spec.http[0].route[0].destination: warning: port 80 of x.com is port 443 of its endpoints, and requests leave for it in plain text (write trafficPolicy.tls with mode SIMPLE in a DestinationRule for x.com)",
    ];
    const FROM_443: &[&str] = &[
        "8: VirtualService/default/v: spec.http[0].route[0].destination: warning: port 443 of x.com speaks HTTPS, and requests leave for it in plain text (write trafficPolicy.tls with mode SIMPLE in a DestinationRule for x.com)",
    ];
    let on_port = format!("portLevelSettings: [{{port: {{number: 80}}, {SIMPLE}}}]");
    check(&[
        (to(81, ""), &[]),
        (to(80, ""), FROM_80),
        (to(443, ""), FROM_443),
        (with(80, "", &format!("{{host: x.com, trafficPolicy: {{{SIMPLE}}}}}")), &[]),
        (with(80, "", &format!("{{host: x.com, trafficPolicy: {{{on_port}}}}}")), &[]),
        (with(443, "", &format!("{{host: x.com, trafficPolicy: {{{on_port}}}}}")), FROM_443),
        (
            with(80, ", subset: s", &format!("{{host: x.com, subsets: [{{name: s, trafficPolicy: {{{on_port}}}}}]}}")),
            &[],
        ),
        (
            with(
                80,
                ", subset: s",
                &format!(
                    "{{host: x.com, trafficPolicy: {{{SIMPLE}}}, subsets: [{{name: s, trafficPolicy: {{tls: {{mode: DISABLE}}}}}}]}}"
                ),
            ),
            FROM_80,
        ),
    ]);
}

/// Of a Gateway's hosts a VirtualService needs one, and each of its hosts needs a Gateway.
#[test]
fn hosts_that_no_gateway_has() {
    let gateways = istio(
        "Gateway",
        "h",
        "{servers: [{port: {number: 81, name: http, protocol: HTTP}, hosts: [far/c.com, d.com]}]}",
    );
    let with = |spec: &str| both(&virtual_service_spec(spec), &gateways);
    let listening = proxy("{mesh: {listen: '127.0.0.1:15001'}}");
    check(&[
        (with("{hosts: [a.example.com, d.com], gateways: [g, h], http: [{redirect: {uri: /}}]}"), &[]),
        (
            with("{hosts: [a.example.com, d.com, c.com], gateways: [g, h], http: [{redirect: {uri: /}}]}"),
            &[
                r#"4: VirtualService/default/v: spec.hosts[2]: warning: none of these Gateways has a host for "c.com": no request gets here [IST0132] (their hosts: *.example.com, far/c.com, d.com)"#,
            ],
        ),
        (
            with("{hosts: [c.com], gateways: [h], http: [{redirect: {uri: /}}]}"),
            &[
                r#"4: VirtualService/default/v: spec.hosts[0]: Gateway "default/h" has no host for "c.com": no request gets here [IST0132] (its hosts: far/c.com, d.com)"#,
            ],
        ),
        (
            with("{hosts: [d.com], gateways: [g, h], http: [{redirect: {uri: /}}]}"),
            &[
                r#"4: VirtualService/default/v: spec.gateways[0]: Gateway "default/g" has none of the hosts: no request gets here from it [IST0132] (its hosts: *.example.com)"#,
            ],
        ),
        (
            with("{hosts: [web], gateways: [g, mesh], http: [{redirect: {uri: /}}]}") + "---\n" + &listening,
            &[
                r#"4: VirtualService/default/v: spec.gateways[0]: Gateway "default/g" has none of the hosts: no request gets here from it [IST0132] (its hosts: *.example.com)"#,
            ],
        ),
        (
            with("{hosts: [web, a.example.com], gateways: [g, mesh], http: [{redirect: {uri: /}}]}")
                + "---\n"
                + &listening,
            &[
                r#"4: VirtualService/default/v: spec.hosts[1]: note: no service is registered as "a.example.com": the rules apply on every port (Istio itself applies them on port 80 only)"#,
            ],
        ),
        // Its own error is enough.
        (
            both(
                &virtual_service_spec("{hosts: [c.com], gateways: [i], http: [{redirect: {uri: /}}]}"),
                &istio("Gateway", "i", "{selector: {a: b}}"),
            ),
            &[r#"25: Gateway/default/i: spec: "servers" is required"#],
        ),
    ]);
}

#[test]
fn rules_for_destinations_that_do_not_count() {
    let own = |name: &str, spec: &str| istio("DestinationRule", name, spec);
    let far = |spec: &str| own("d", spec).replace("{name: d}", "{name: d, namespace: far}");
    let both = |first: &str, second: &str| format!("{first}{REST}---\n{second}");
    let host = "host: web.default.svc.cluster.local";
    let policy = "trafficPolicy: {loadBalancer: {simple: RANDOM}}";
    check(&[
        (both(&own("d", &format!("{{{host}, {policy}}}")), &own("e", "{host: '*.local', subsets: [{name: v1}]}")), &[]),
        (
            both(&far(&format!("{{{host}, {policy}}}")), ""),
            &[
                r#"4: DestinationRule/far/d: spec.host: warning: a rule of "far" is not looked at: no effect (rules count in the proxy's, the service's and the root namespace: "default", "istio-system")"#,
            ],
        ),
        (
            both(&far(&format!("{{{host}, {policy}, exportTo: [.]}}")).replace("far", "istio-system"), ""),
            &[
                r#"4: DestinationRule/istio-system/d: spec.host: warning: the rule is not exported to the proxy's namespace "default": no effect (add that namespace to "exportTo")"#,
            ],
        ),
        (
            both(
                &own("d", &format!("{{{host}, {policy}}}")),
                &far(&format!("{{{host}, {policy}}}")).replace("far", "istio-system"),
            ),
            &[
                r#"25: DestinationRule/istio-system/d: spec.host: warning: default/d at <stdin>:1 goes before this rule: no effect (only the rules of one namespace count)"#,
            ],
        ),
        (
            both(
                &own("d", &format!("{{{host}, {policy}, subsets: [{{name: v1}}]}}")),
                &own("e", &format!("{{{host}, {policy}, subsets: [{{name: v2}}, {{name: v1}}]}}")),
            ),
            &[
                r#"25: DestinationRule/default/e: spec.trafficPolicy: warning: default/d at <stdin>:1 has it for this host, too: that one counts, this one has no effect (of several rules the subsets are put together, the policies are not)"#,
                r#"25: DestinationRule/default/e: spec.subsets[1].name: warning: default/d at <stdin>:1 has it for this host, too: that one counts, this one has no effect (keep one of them)"#,
            ],
        ),
    ]);
}
