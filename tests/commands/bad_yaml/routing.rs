//! Gateways, VirtualServices, DestinationRules.

use super::{
    both, check, destination, destination_rule, destination_rule_alone, gateway, rule, service, virtual_service,
    virtual_service_spec,
};

#[test]
fn gateways() {
    check(&[
        (
            gateway("{}"),
            &[
                r#"6: Gateway/default/g: spec.servers[0]: "hosts" is required"#,
                r#"6: Gateway/default/g: spec.servers[0]: "port" is required"#,
            ],
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec: {}\n".to_owned(),
            &[r#"4: Gateway/default/g: spec: "servers" is required"#],
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec: {servers: []}\n".to_owned(),
            &["4: Gateway/default/g: spec.servers: needs at least one server"],
        ),
        (
            gateway("{port: {number: 80, name: h, protocol: HTTP}, hosts: []}"),
            &[r#"6: Gateway/default/g: spec.servers[0].hosts: needs at least one host (write "*" for every host)"#],
        ),
        (
            gateway("{port: {number: 443, name: h, protocol: HTTPS}, tls: {mode: SIMPLE}, hosts: [a.com]}"),
            &[
                r#"6: Gateway/default/g: spec.servers[0].tls: mode SIMPLE needs "serverCertificate" (or write "credentialName")"#,
                r#"6: Gateway/default/g: spec.servers[0].tls: mode SIMPLE needs "privateKey" (or write "credentialName")"#,
                "6: Gateway/default/g: spec.servers[0].tls.mode: mode SIMPLE is not enforced by ringway yet (remove it, or pass --permissive, which then does not serve this server)",
            ],
        ),
        (
            gateway("{port: {number: 80, name: h, protocol: HTPP}, hosts: [a.com]}"),
            &[
                r#"6: Gateway/default/g: spec.servers[0].port.protocol: "HTPP" is not one of HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, TCP, TLS (did you mean "HTTP"?)"#,
            ],
        ),
        (
            gateway(
                "{port: {number: 80, name: h, protocol: HTTP, targetPort: 8080}, hosts: [a.com], defaultEndpoint: x}",
            ),
            &[
                r#"6: Gateway/default/g: spec.servers[0].defaultEndpoint: "defaultEndpoint" was removed from Istio (Istio never implemented it)"#,
                r#"6: Gateway/default/g: spec.servers[0].port.targetPort: "targetPort" was removed from Istio (the Proxy document's spec.ports says where a Gateway port is bound)"#,
            ],
        ),
        (
            gateway(r#"{port: {number: 70000, name: "", protocol: HTTP}, hosts: [a.com]}"#),
            &[
                "6: Gateway/default/g: spec.servers[0].port.number: must be between 1 and 65535, not 70000",
                "6: Gateway/default/g: spec.servers[0].port.name: must not be empty",
            ],
        ),
        (
            gateway(
                r#"{port: {number: 80, name: h, protocol: HTTP}, hosts: [httpbin, "*x.com", "a b.com", UPPER/a.com, "", "*", ./a.com, "a.*.com"]}"#,
            ),
            &[
                r#"6: Gateway/default/g: spec.servers[0].hosts[0]: host "httpbin" is a short name (write a full name, "*.example.com" or "*")"#,
                r#"6: Gateway/default/g: spec.servers[0].hosts[1]: host "*x.com" has a wildcard for a part of a label (write a full name, "*.example.com" or "*")"#,
                r#"6: Gateway/default/g: spec.servers[0].hosts[2]: host "a b.com" is not a host name (write a full name, "*.example.com" or "*")"#,
                r#"6: Gateway/default/g: spec.servers[0].hosts[3]: "UPPER" is not a namespace (write a name, "." or "*" before the "/")"#,
                "6: Gateway/default/g: spec.servers[0].hosts[4]: must not be empty",
                r#"6: Gateway/default/g: spec.servers[0].hosts[7]: host "a.*.com" may have a wildcard only at its start (write a full name, "*.example.com" or "*")"#,
            ],
        ),
        (
            gateway("{port: {number: 80, name: h, protocol: HTTP}, bind: localhost, hosts: [a.com]}"),
            &[r#"6: Gateway/default/g: spec.servers[0].bind: "localhost" is not an IP address"#],
        ),
        (
            gateway(r#"{port: {number: 80, name: h, protocol: HTTP}, bind: "unix:///x", hosts: [a.com]}"#),
            &[
                "6: Gateway/default/g: spec.servers[0].bind: a unix socket is not enforced by ringway yet (remove it, or pass --permissive, which then does not serve this server)",
            ],
        ),
        (
            gateway(
                "{port: {number: 80, name: h, protocol: HTTP}, hosts: [a.com]}\n  - {port: {number: 81, name: h, protocol: HTTP}, hosts: [a.com]}",
            ),
            &[
                r#"7: Gateway/default/g: spec.servers[1].port: a second port named "h" in this Gateway (give each port its own name)"#,
            ],
        ),
    ]);
}

#[test]
fn virtual_service_hosts_and_gateways() {
    check(&[
        (
            virtual_service_spec(
                r#"{hosts: ["*"], http: [{route: [{destination: {host: web, port: {number: 80}}}]}]}"#,
            ),
            &[
                r#"4: VirtualService/default/v: spec.hosts[0]: "*" cannot be a host of the mesh gateway (name the hosts, or bind to a Gateway alone)"#,
                r#"4: VirtualService/default/v: spec.gateways: warning: applies to the mesh gateway, for which there is no listener: no effect there (write the Proxy's spec.mesh.listen, or name a Gateway under "gateways")"#,
            ],
        ),
        (
            virtual_service_spec(
                "{hosts: [1.2.3.4], http: [{route: [{destination: {host: web, port: {number: 80}}}]}]}",
            ),
            &[
                r#"4: VirtualService/default/v: spec.gateways: warning: applies to the mesh gateway, for which there is no listener: no effect there (write the Proxy's spec.mesh.listen, or name a Gateway under "gateways")"#,
            ],
        ),
        (
            virtual_service_spec(
                r#"{hosts: [a_b.com, "", a.*.com], gateways: [g], http: [{route: [{destination: {host: web, port: {number: 80}}}]}]}"#,
            ),
            &[
                r#"4: VirtualService/default/v: spec.hosts[0]: host "a_b.com" is not a host name"#,
                "4: VirtualService/default/v: spec.hosts[1]: must not be empty",
                r#"4: VirtualService/default/v: spec.hosts[2]: host "a.*.com" may have a wildcard only at its start"#,
            ],
        ),
        (
            virtual_service_spec(
                r#"{hosts: [a.example.com, "*.example.com", A.example.com], gateways: [g], http: [{route: [{destination: {host: web, port: {number: 80}}}]}]}"#,
            ),
            &[
                r#"4: VirtualService/default/v: spec.hosts[0]: host "a.example.com" is already covered by "*.example.com" in this VirtualService (remove one of them)"#,
                r#"4: VirtualService/default/v: spec.hosts[2]: host "a.example.com" is already covered by "a.example.com" in this VirtualService (remove one of them)"#,
            ],
        ),
        (
            virtual_service_spec("{hosts: [a.example.com], gateways: [g]}"),
            &[r#"4: VirtualService/default/v: spec: has no rules (write at least one under "http")"#],
        ),
        (
            virtual_service_spec(
                r#"{hosts: [a.example.com], gateways: [G/h, "", a/b/c], http: [{route: [{destination: {host: web, port: {number: 80}}}]}]}"#,
            ),
            &[
                r#"4: VirtualService/default/v: spec.gateways[0]: "G/h" does not name a gateway (write "name" or "namespace/name")"#,
                "4: VirtualService/default/v: spec.gateways[1]: must not be empty",
                r#"4: VirtualService/default/v: spec.gateways[2]: "a/b/c" does not name a gateway (write "name" or "namespace/name")"#,
            ],
        ),
        (
            virtual_service_spec(
                "{hosts: [a.example.com], gateways: [gg, prod/g, g.default.svc.cluster.local], http: [{route: [{destination: {host: web, port: {number: 80}}}]}]}",
            ),
            &[
                r#"4: VirtualService/default/v: spec.gateways[2]: warning: the host name form of a gateway is deprecated (write "default/g")"#,
                r#"4: VirtualService/default/v: spec.gateways[0]: there is no Gateway "default/gg" [IST0101] (did you mean "default/g"?)"#,
                r#"4: VirtualService/default/v: spec.gateways[1]: there is no Gateway "prod/g" [IST0101] (did you mean "default/g"?)"#,
            ],
        ),
        (
            virtual_service_spec(
                "{hosts: [a.example.org, b.example.com], gateways: [g], http: [{route: [{destination: {host: web, port: {number: 80}}}]}]}",
            ),
            &[
                r#"4: VirtualService/default/v: spec.hosts[0]: warning: Gateway "default/g" has no host for "a.example.org": no request gets here [IST0132] (its hosts: *.example.com)"#,
            ],
        ),
        (
            virtual_service_spec("{hosts: [web], http: [{route: [{destination: {host: web, port: {number: 80}}}]}]}"),
            &[
                r#"4: VirtualService/default/v: spec.gateways: warning: applies to the mesh gateway, for which there is no listener: no effect there (write the Proxy's spec.mesh.listen, or name a Gateway under "gateways")"#,
            ],
        ),
        (
            virtual_service_spec(
                "{hosts: [a.example.com], gateways: [g, mesh], http: [{route: [{destination: {host: web, port: {number: 80}}}]}]}",
            ),
            &[
                r#"4: VirtualService/default/v: spec.gateways[1]: warning: applies to the mesh gateway, for which there is no listener: no effect there (write the Proxy's spec.mesh.listen, or name a Gateway under "gateways")"#,
            ],
        ),
    ]);
}

#[test]
fn matches() {
    check(&[
        (
            rule("match: [{uri: /status}]"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].match[0].uri: must be a mapping, not a string (write "exact:", "prefix:" or "regex:" before the value)"#,
            ],
        ),
        (
            rule("match: [{uri: {exact: /a, prefix: /b}}]"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].match[0].uri: has both "exact" and "prefix" (keep one of them)"#,
            ],
        ),
        (
            rule(r#"match: [{uri: {regex: "(a"}}]"#),
            &[
                r#"8: VirtualService/default/v: spec.http[0].match[0].uri.regex: "(a" is not a valid regular expression: at character 1: no ")" closes the group that begins here (write ")" behind it, or "\(" for a parenthesis)"#,
            ],
        ),
        (
            rule(r#"match: [{uri: {regex: "(?=a)"}}]"#),
            &[
                r#"8: VirtualService/default/v: spec.http[0].match[0].uri.regex: "(?=a)" is not a valid regular expression: at character 1: "(?=" would look around, which RE2 cannot (match all of the text, and say what must not match elsewhere)"#,
            ],
        ),
        (
            rule(r#"match: [{uri: {regex: "a{1000}{1000}"}}]"#),
            &[
                r#"8: VirtualService/default/v: spec.http[0].match[0].uri.regex: "a{1000}{1000}" is not a valid regular expression: at character 2: "{1000}{1000}" repeats a repetition (write one of them, or the first in a group: (?:a*)*)"#,
            ],
        ),
        (
            rule(r#"match: [{uri: {regex: "(a{1000}){1000}"}}]"#),
            &[
                r#"8: VirtualService/default/v: spec.http[0].match[0].uri.regex: "(a{1000}){1000}" is not a valid regular expression: at character 10: "{1000}" and what it repeats repeat more than 1000 times together (repeat less)"#,
            ],
        ),
        (
            rule(&format!("match: [{{uri: {{regex: '{}'}}}}]", "[a-z0-9]{1000}".repeat(17))),
            &[
                r#"8: VirtualService/default/v: spec.http[0].match[0].uri.regex: "[a-z0-9]{1000}[a-z0-9]{1000}[a-z0-9]{1000}[a-z0-9]{1000}[a-z0-9]{1000}…0}[a-z0-9]{1000}[a-z0-9]{1000}" is too large when compiled: Istio allows Envoy 32768 instructions (repeat less)"#,
            ],
        ),
        (
            rule(r#"match: [{uri: {regex: '/a/(?x)b|\p{Alphabetic}'}}]"#),
            &[
                r#"8: VirtualService/default/v: spec.http[0].match[0].uri.regex: "/a/(?x)b|\p{Alphabetic}" is not a valid regular expression: at character 4: "(?x" has the flag x, which RE2 does not have (write it without blanks, and (?imsU) for flags)"#,
            ],
        ),
        (
            rule(r#"match: [{uri: {regex: ""}}]"#),
            &["8: VirtualService/default/v: spec.http[0].match[0].uri.regex: must not be empty"],
        ),
        (
            rule(r#"match: [{method: {prefix: ""}}]"#),
            &[
                "8: VirtualService/default/v: spec.http[0].match[0].method.prefix: must not be empty (write {} to match any value)",
            ],
        ),
        (
            rule(r#"match: [{headers: {"x y": {exact: a}}}]"#),
            &[r#"8: VirtualService/default/v: spec.http[0].match[0].headers[x y]: "x y" is not a header name"#],
        ),
        (
            rule("match: [{headers: {x-a: null}}]"),
            &[
                "8: VirtualService/default/v: spec.http[0].match[0].headers[x-a]: has no condition (write {} to ask for the header's presence)",
            ],
        ),
        (
            rule("match: [{headers: {x-a: {exactly: b}}}]"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].match[0].headers[x-a].exactly: unknown field "exactly" in StringMatch (did you mean "exact"?)"#,
            ],
        ),
        (
            rule(r#"match: [{headers: {"@request.auth.claims.sub": {exact: b}}}]"#),
            &[
                "8: VirtualService/default/v: spec.http[0].match[0].headers[@request.auth.claims.sub]: a condition on token claims is not enforced by ringway yet (remove it, or pass --permissive, which then does not serve this block)",
            ],
        ),
        (
            rule(
                "match: [{port: 0, scheme: {prefix: ''}, queryParams: {a: {regex: ''}}, withoutHeaders: {a b: {}}, sourceLabels: {a: b c}, sourceNamespace: a/b, gateways: [g/h/i], statPrefix: a}]",
            ),
            &[
                r#"8: VirtualService/default/v: spec.http[0].match[0].scheme.prefix: must not be empty (write {} to match any value)"#,
                r#"8: VirtualService/default/v: spec.http[0].match[0].withoutHeaders[a b]: "a b" is not a header name"#,
                "8: VirtualService/default/v: spec.http[0].match[0].queryParams[a].regex: must not be empty",
                "8: VirtualService/default/v: spec.http[0].match[0].port: must be between 1 and 65535, not 0",
                r#"8: VirtualService/default/v: spec.http[0].match[0].gateways[0]: "g/h/i" does not name a gateway (write "name" or "namespace/name")"#,
                r#"8: VirtualService/default/v: spec.http[0].match[0].sourceLabels[a]: label value "b c" must be letters, digits, "-", "_" and ".", with a letter or digit at both ends"#,
                r#"8: VirtualService/default/v: spec.http[0].match[0].sourceNamespace: "a/b" is not a namespace (lower-case letters, digits and "-")"#,
            ],
        ),
        (
            virtual_service_spec(
                "{hosts: [a.example.com], http: [{match: [{headers: {'@request.auth.claims.sub': {exact: b}}}], redirect: {uri: /}}]}",
            ),
            &[
                r#"4: VirtualService/default/v: spec.http[0].match[0].headers[@request.auth.claims.sub]: token claims are matched at gateways only (name a Gateway under "gateways")"#,
                r#"4: VirtualService/default/v: spec.gateways: warning: applies to the mesh gateway, for which there is no listener: no effect there (write the Proxy's spec.mesh.listen, or name a Gateway under "gateways")"#,
            ],
        ),
    ]);
}

#[test]
fn routes_and_destinations() {
    check(&[
        (
            virtual_service("match: []"),
            &[r#"8: VirtualService/default/v: spec.http[0]: has no action (write the destinations under "route")"#],
        ),
        (
            virtual_service("route: []"),
            &[r#"8: VirtualService/default/v: spec.http[0]: has no action (write the destinations under "route")"#],
        ),
        (
            virtual_service("route: [{}]"),
            &[r#"8: VirtualService/default/v: spec.http[0].route[0]: "destination" is required"#],
        ),
        (destination("{}"), &[r#"8: VirtualService/default/v: spec.http[0].route[0].destination: "host" is required"#]),
        (
            destination(r#"{host: "*"}"#),
            &[
                r#"8: VirtualService/default/v: spec.http[0].route[0].destination.host: host "*" must be a name, not "*" (write the name of a service)"#,
            ],
        ),
        (
            destination(r#"{host: "we b"}"#),
            &[
                r#"8: VirtualService/default/v: spec.http[0].route[0].destination.host: host "we b" is not a host name (write the name of a service)"#,
            ],
        ),
        (
            destination("{host: web, port: {name: http}}"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].route[0].destination.port.name: "name" was removed from Istio (write the port's number)"#,
                r#"8: VirtualService/default/v: spec.http[0].route[0].destination.port: "number" is required"#,
            ],
        ),
        (
            destination("{host: web, subset: v_1}"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].route[0].destination.subset: "v_1" is not a subset's name (letters, digits and "-")"#,
            ],
        ),
        (
            virtual_service("route: [{destination: {host: web, port: {number: 80}}, weight: -1}]"),
            &["8: VirtualService/default/v: spec.http[0].route[0].weight: must be between 0 and 2147483647, not -1"],
        ),
        (
            virtual_service(
                "route: [{destination: {host: web, port: {number: 80}}}, {destination: {host: web, port: {number: 81}}}]",
            ),
            &[
                r#"8: VirtualService/default/v: spec.http[0]: the weights of several destinations sum to 0 (give each destination its "weight")"#,
            ],
        ),
        (
            destination("{host: webb}"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].route[0].destination.host: warning: there is no service "webb.default.svc.cluster.local": requests get 503 NC [IST0101] (did you mean "web.default.svc.cluster.local"?)"#,
            ],
        ),
        (
            both(
                &destination("{host: idle}"),
                &service("{ports: [{port: 80}], selector: {app: idle}}").replace("name: web", "name: idle"),
            ),
            &[
                "8: VirtualService/default/v: spec.http[0].route[0].destination.host: warning: nothing answers for idle.default.svc.cluster.local: it has no endpoints, so requests get 503 (add a WorkloadEntry with the labels that it selects, or an EndpointSlice)",
            ],
        ),
        (
            destination("{host: web.default}"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].route[0].destination.host: warning: there is no service "web.default": requests get 503 NC [IST0101] (a name with a dot is not expanded: write "web.default.svc.cluster.local")"#,
            ],
        ),
        (
            destination("{host: web.prod.svc.cluster.local}"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].route[0].destination.host: warning: there is no service "web.prod.svc.cluster.local": requests get 503 NC [IST0101] (did you mean "web.default.svc.cluster.local"?)"#,
            ],
        ),
        (
            destination("{host: elsewhere.example.org}"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].route[0].destination.host: warning: there is no service "elsewhere.example.org": requests get 503 NC [IST0101]"#,
            ],
        ),
        (
            destination("{host: web, port: {number: 8080}}"),
            &[
                "8: VirtualService/default/v: spec.http[0].route[0].destination.port.number: 8080 is not a port of web.default.svc.cluster.local: requests get 503 NC [IST0101] (its ports: 80, 81, 82)",
            ],
        ),
        (destination("{host: web}"), &[]),
        (
            destination("{host: web, port: {number: 82}}"),
            &[
                "8: VirtualService/default/v: spec.http[0].route[0].destination: port 82 of web.default.svc.cluster.local speaks GRPC: HTTP/2 to a destination is not enforced by ringway yet (remove it, or pass --permissive to serve without it)",
            ],
        ),
        (
            destination("{host: web, port: {number: 80}, subset: v1}"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].route[0].destination.subset: no DestinationRule gives web.default.svc.cluster.local a subset "v1": requests get 503 NC [IST0101] (define it in a DestinationRule for this host)"#,
            ],
        ),
        (
            both(
                &destination("{host: web, port: {number: 80}, subset: v}"),
                &destination_rule_alone("{host: web, subsets: [{name: v1, labels: {version: v1}}, {name: v2}]}"),
            ),
            &[
                r#"8: VirtualService/default/v: spec.http[0].route[0].destination.subset: no DestinationRule gives web.default.svc.cluster.local a subset "v": requests get 503 NC [IST0101] (did you mean "v1"?)"#,
            ],
        ),
        (
            both(
                &destination("{host: web, port: {number: 80}, subset: other}"),
                &destination_rule_alone("{host: web, subsets: [{name: v1, labels: {version: v1}}, {name: v2}]}"),
            ),
            &[
                r#"8: VirtualService/default/v: spec.http[0].route[0].destination.subset: no DestinationRule gives web.default.svc.cluster.local a subset "other": requests get 503 NC [IST0101] (defined: v1, v2)"#,
            ],
        ),
        (
            both(
                &destination("{host: web, port: {number: 80}, subset: v9}"),
                &destination_rule_alone("{host: web, subsets: [{name: v9, labels: {version: v9, a: b}}]}"),
            ),
            &[
                r#"8: VirtualService/default/v: spec.http[0].route[0].destination.subset: no endpoint of web.default.svc.cluster.local has the labels of subset "v9": requests get 503 UH [IST0173] (give the workloads: a=b, version=v9)"#,
            ],
        ),
        (
            virtual_service(
                "route: [{destination: {host: web, port: {number: 80}}}]\n  - match: [{uri: {exact: /late}}]\n    route: [{destination: {host: web, port: {number: 80}}}]",
            ),
            &[
                r#"9: VirtualService/default/v: spec.http[1]: warning: no request gets here: spec.http[0] takes everything [IST0130] (put the rule without "match" last)"#,
            ],
        ),
    ]);
}

#[test]
fn destination_rules() {
    check(&[
        (destination_rule("{}"), &[r#"4: DestinationRule/default/d: spec: "host" is required"#]),
        (
            destination_rule(r#"{host: "a b"}"#),
            &[r#"4: DestinationRule/default/d: spec.host: host "a b" is not a host name"#],
        ),
        (
            destination_rule("{host: wbe}"),
            &[
                r#"4: DestinationRule/default/d: spec.host: warning: there is no service "wbe.default.svc.cluster.local": the rule has no effect [IST0174] (did you mean "web.default.svc.cluster.local"?)"#,
            ],
        ),
        (
            destination_rule("{host: web, trafficPolicy: {}}"),
            &["4: DestinationRule/default/d: spec.trafficPolicy: is empty (write a policy, or leave it out)"],
        ),
        (
            destination_rule("{host: web, trafficPolicy: {loadBalancer: {simple: LEAST_REQEST}}}"),
            &[
                r#"4: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.simple: "LEAST_REQEST" is not one of UNSPECIFIED, LEAST_REQUEST, ROUND_ROBIN, RANDOM, PASSTHROUGH, LEAST_CONN (did you mean "LEAST_REQUEST"?)"#,
            ],
        ),
        (
            destination_rule("{host: web, trafficPolicy: {loadBalancer: {simple: LEAST_CONN}}}"),
            &[
                r#"4: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.simple: warning: "LEAST_CONN" is deprecated (write "LEAST_REQUEST", which it means)"#,
            ],
        ),
        (
            destination_rule("{host: web, trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}}"),
            &[
                "4: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.simple: load balancing PASSTHROUGH is not enforced by ringway yet (remove it, or pass --permissive to serve without it)",
            ],
        ),
        (
            destination_rule(
                "{host: web, trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true}}, connectionPool: {}, outlier_detection: {maxEjectionPercent: 100, minHealthPercent: 1}, tls: {}, portLevelSettings: []}}",
            ),
            &[
                r#"4: DestinationRule/default/d: spec.trafficPolicy.connectionPool: has no settings (write "tcp" or "http")"#,
            ],
        ),
        (
            destination_rule("{host: web, subsets: [{labels: {}}, {name: V 1}, {name: a}, {name: a}]}"),
            &[
                r#"4: DestinationRule/default/d: spec.subsets[0]: "name" is required"#,
                r#"4: DestinationRule/default/d: spec.subsets[1].name: "V 1" is not a subset's name (letters, digits and "-")"#,
                r#"4: DestinationRule/default/d: spec.subsets[3].name: a second subset named "a" (give each subset its own name)"#,
            ],
        ),
        (
            destination_rule(r#"{host: web, subsets: [{name: a, labels: {"-a": b, a: "b c"}}]}"#),
            &[
                r#"4: DestinationRule/default/d: spec.subsets[0].labels[-a]: label name "-a" must be letters, digits, "-", "_" and ".", with a letter or digit at both ends"#,
                r#"4: DestinationRule/default/d: spec.subsets[0].labels[a]: label value "b c" must be letters, digits, "-", "_" and ".", with a letter or digit at both ends"#,
            ],
        ),
        (
            destination_rule("{host: web, workloadSelector: {}, exportTo: [prod]}"),
            &[
                r#"4: DestinationRule/default/d: spec.exportTo: a rule with a workloadSelector is for its own namespace only (write ["."])"#,
            ],
        ),
    ]);
}
