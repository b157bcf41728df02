//! What is wrong with a file or a document as such.

use super::{both, check, destination, proxy, rule, service, virtual_service, virtual_service_spec, workload_entry};

#[test]
fn yaml_that_cannot_be_parsed() {
    check(&[
        ("a: [1".to_owned(), &["1: not valid YAML: while parsing a flow sequence, expected ',' or ']', at column 1"]),
        (
            "metadata:\n  name: {{ .Values.name }}\n".to_owned(),
            &["2: metadata.name: a key must be a scalar (a template has to be rendered first)"],
        ),
        ("a: b: c\n".to_owned(), &["1: not valid YAML: mapping values are not allowed in this context, at column 5"]),
        (
            "kind: A\n\tname: b\n".to_owned(),
            &["1: not valid YAML: while scanning a plain scalar, found a tab, at column 7"],
        ),
        (
            "a: \"open\n".to_owned(),
            &["1: not valid YAML: while scanning a quoted scalar, found unexpected end of stream, at column 4"],
        ),
        (
            "a: 1\n b: 2\n".to_owned(),
            &["2: not valid YAML: mapping values are not allowed in this context, at column 3"],
        ),
        ("a: *b\n".to_owned(), &["1: not valid YAML: while parsing node, found unknown anchor, at column 4"]),
        (
            "a: \"\\q\"\n".to_owned(),
            &["1: not valid YAML: while parsing a quoted scalar, found unknown escape character, at column 4"],
        ),
    ]);
}

#[test]
fn documents_that_are_no_resources() {
    check(&[
        ("just text\n".to_owned(), &["1: must be a mapping, not a string"]),
        (
            "- a\n- b\n".to_owned(),
            &[
                "1: is a bare list, which kubectl does not read either (write the objects one after another, or \"kind: List\" with the list as its \"items\")",
            ],
        ),
        ("42\n".to_owned(), &["1: must be a mapping, not a number"]),
        ("kind: Gateway\n".to_owned(), &[r#"1: Gateway/default/?: "apiVersion" is required"#]),
        ("apiVersion: v1\n".to_owned(), &[r#"1: "kind" is required"#]),
        (
            "apiVersion: v1\nkind: Service\n".to_owned(),
            &[r#"1: Service/default/?: "metadata" is required"#, r#"1: Service/default/?: "spec" is required"#],
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {}\nspec: {}\n".to_owned(),
            &[r#"3: Service/default/?: metadata: "name" is required"#],
        ),
        (
            "apiVersion: v1\nkind: 3\nmetadata: {name: a}\n".to_owned(),
            &[r#"2: ?/default/a: kind: must be a string, not a number (quote it: "3")"#],
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: Web_1, namespace: A.b}\nspec: {}\n".to_owned(),
            &[
                r#"3: Service/A.b/Web_1: metadata.name: "Web_1" is not a resource's name (lower-case letters, digits, "-" and ".", with a letter or digit at both ends)"#,
                r#"3: Service/A.b/Web_1: metadata.namespace: "A.b" is not a namespace (lower-case letters, digits and "-")"#,
            ],
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: 123}\nspec: {}\n".to_owned(),
            &[r#"3: Service/default/123: metadata.name: must be a string, not a number (quote it: "123")"#],
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata: []\n".to_owned(),
            &[
                r#"1: Service/default/?: "spec" is required"#,
                "3: Service/default/?: metadata: must be a mapping, not a list",
            ],
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g}\n".to_owned(),
            &[r#"1: Gateway/default/g: "spec" is required"#],
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g}\nsepc: {}\n".to_owned(),
            &[r#"4: Gateway/default/g: sepc: unknown field "sepc" in the document (did you mean "spec"?)"#],
        ),
        ("apiVersion: v1\nkind: List\nitems: {}\n".to_owned(), &["3: items: must be a list, not a mapping"]),
    ]);
}

#[test]
fn kinds_and_versions() {
    check(&[
        (
            "apiVersion: networking.istio.io/v2\nkind: Gateway\nmetadata: {name: g}\nspec: {}\n".to_owned(),
            &[
                r#"1: Gateway/default/g: apiVersion: "networking.istio.io/v2" is not an apiVersion of Gateway (write "networking.istio.io/v1")"#,
                r#"4: Gateway/default/g: spec: "servers" is required"#,
            ],
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: VirtualServcie\nmetadata: {name: g}\n".to_owned(),
            &[
                r#"2: VirtualServcie/default/g: kind: "VirtualServcie" is not a kind of networking.istio.io (did you mean "VirtualService"?)"#,
            ],
        ),
        (
            "apiVersion: v1\nkind: VirtualService\nmetadata: {name: g}\n".to_owned(),
            &[
                r#"1: VirtualService/default/g: apiVersion: "v1" is not an apiVersion of VirtualService (write "networking.istio.io/v1")"#,
                r#"1: VirtualService/default/g: "spec" is required"#,
            ],
        ),
        (
            "apiVersion: networking/v1\nkind: Gateway\nmetadata: {name: g}\n".to_owned(),
            &[
                r#"1: Gateway/default/g: apiVersion: "networking/v1" is not an apiVersion of Gateway (write "networking.istio.io/v1")"#,
                r#"1: Gateway/default/g: "spec" is required"#,
            ],
        ),
        (
            "apiVersion: v1beta1\nkind: Service\nmetadata: {name: g}\n".to_owned(),
            &[
                r#"1: Service/default/g: apiVersion: "v1beta1" is not an apiVersion of Service (write "v1")"#,
                r#"1: Service/default/g: "spec" is required"#,
            ],
        ),
        (
            "apiVersion: ringway.dev/v2\nkind: Proxy\nmetadata: {name: g}\n".to_owned(),
            &[
                r#"1: Proxy/default/g: apiVersion: "ringway.dev/v2" is not an apiVersion of Proxy (write "ringway.dev/v1")"#,
            ],
        ),
        (
            "apiVersion: ringway.dev/v1\nkind: Proxies\nmetadata: {name: g}\n".to_owned(),
            &[r#"2: Proxies/default/g: kind: "Proxies" is not a kind of ringway.dev (write "Proxy")"#],
        ),
        (
            "apiVersion: discovery.k8s.io/v1beta1\nkind: EndpointSlice\nmetadata: {name: g}\n".to_owned(),
            &[
                r#"1: EndpointSlice/default/g: apiVersion: "discovery.k8s.io/v1beta1" is not an apiVersion of EndpointSlice (write "discovery.k8s.io/v1")"#,
                r#"1: EndpointSlice/default/g: warning: belongs to no Service: it has no label "kubernetes.io/service-name" (give it the Service's name)"#,
            ],
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: g, namespace: prod}\n".to_owned(),
            &[r#"1: Sidecar/prod/g: "spec" is required"#],
        ),
        (
            "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {name: g}\n".to_owned(),
            &[
                "1: EnvoyFilter/default/g: kind EnvoyFilter (networking.istio.io/v1alpha3) is not enforced by ringway yet (remove it: it may restrict what is served, so --permissive does not serve without it)",
            ],
        ),
        (
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: g}\n".to_owned(),
            &[
                "1: AuthorizationPolicy/default/g: kind AuthorizationPolicy (security.istio.io/v1) is not enforced by ringway yet (remove it: it may restrict what is served, so --permissive does not serve without it)",
            ],
        ),
        (
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: g}\n".to_owned(),
            &[
                "1: Gateway/default/g: kind Gateway (gateway.networking.k8s.io/v1) is not enforced by ringway yet (remove it, or pass --permissive to serve without it)",
            ],
        ),
        (
            "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: g}\n".to_owned(),
            &[
                "1: Ingress/default/g: kind Ingress (networking.k8s.io/v1) is not enforced by ringway yet (remove it, or pass --permissive to serve without it)",
            ],
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: WorkloadGroup\nmetadata: {name: g}\nspec: {template: {}}\n"
                .to_owned(),
            &[
                "4: WorkloadGroup/default/g: spec: warning: is a template: it makes no endpoints by itself (write a WorkloadEntry for each address)",
            ],
        ),
        (
            "apiVersion: v1\nkind: Secret\nmetadata: {name: g}\n".to_owned(),
            &["1: Secret/default/g: warning: Secret is not used by anything here"],
        ),
        (
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: g}\n".to_owned(),
            &["1: Deployment/default/g: warning: Deployment has no meaning for a proxy and is passed over"],
        ),
        (
            "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: g}\n".to_owned(),
            &["1: ServiceAccount/default/g: warning: ServiceAccount has no meaning for a proxy and is passed over"],
        ),
        (
            "apiVersion: v1\nkind: Servcie\nmetadata: {name: g}\n".to_owned(),
            &[
                r#"1: Servcie/default/g: warning: Servcie has no meaning for a proxy and is passed over (did you mean "Service"?)"#,
            ],
        ),
        (
            both(&service("{}"), &service("{}")),
            &[
                "6: Service/default/web: a second Service of this name: the first is at <stdin>:1 (rename or remove one of them)",
            ],
        ),
        (
            both(&proxy("{}"), &proxy("{}").replace("edge", "other")),
            &["6: Proxy/default/other: a second Proxy: the first is at <stdin>:1 (one process has one Proxy)"],
        ),
    ]);
}

#[test]
fn fields_that_are_unknown_twice_removed_or_not_enforced() {
    check(&[
        (
            rule("match: [{urri: {prefix: /}}]"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].match[0].urri: unknown field "urri" in HTTPMatchRequest (did you mean "uri"?)"#,
            ],
        ),
        (
            rule("colour: blue"),
            &[r#"8: VirtualService/default/v: spec.http[0].colour: unknown field "colour" in HTTPRoute"#],
        ),
        (
            rule("corsPolicy: {}\n    cors_policy: {}"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].corsPolicy: warning: allows no origin, so it has no effect (write "allowOrigins")"#,
                r#"9: VirtualService/default/v: spec.http[0].cors_policy: "corsPolicy" and "cors_policy" are the same field (keep one of them)"#,
            ],
        ),
        (
            virtual_service("route: []\n    route: []"),
            &[
                r#"8: VirtualService/default/v: spec.http[0]: has no action (write the destinations under "route")"#,
                r#"9: VirtualService/default/v: spec.http[0].route: duplicate key "route": the first is on line 8"#,
            ],
        ),
        (
            rule("websocketUpgrade: true"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].websocketUpgrade: "websocketUpgrade" was removed from Istio (remove it: upgrades are always allowed)"#,
            ],
        ),
        (
            rule("mirror: {host: web, port: {number: 80}}\n    mirror_percent: 5"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].mirror: note: copies have "-shadow" after the name in their Host (where the mirror routes by Host, write the Proxy's mirrorHostSuffix: "")"#,
                r#"9: VirtualService/default/v: spec.http[0].mirror_percent: warning: "mirror_percent" is deprecated (write "mirrorPercentage: {value: N}")"#,
            ],
        ),
        (rule("fault: null"), &[]),
        (
            virtual_service_spec(
                "{hosts: [a.example.com], gateways: [g], exportTo: [.], http: [{route: [{destination: {host: web, port: {number: 80}}}]}]}",
            ),
            &[],
        ),
        (
            virtual_service_spec(
                "{hosts: [a.example.com], gateways: [g], exportTo: [., default, '*', ~, A], http: [{redirect: {uri: /}}]}",
            ),
            &[
                r#"4: VirtualService/default/v: spec.exportTo[1]: "default" says the same as an entry before it (remove one of them)"#,
                r#"4: VirtualService/default/v: spec.exportTo[2]: "*" cannot stand beside others (keep one of them)"#,
                "4: VirtualService/default/v: spec.exportTo[3]: must be a string, not nothing",
                r#"4: VirtualService/default/v: spec.exportTo[4]: "A" is not a namespace (write ".", "*" or a namespace's name)"#,
            ],
        ),
        (
            virtual_service_spec("{hosts: [a.example.com], gateways: [g], tcp: [{}]}"),
            &[
                r#"4: VirtualService/default/v: spec.tcp[0]: has no destination (write it under "route")"#,
                r#"4: VirtualService/default/v: spec.gateways[0]: warning: Gateway "default/g" has no server that "tcp" is for: the rules have no effect there (write a server of protocol TCP)"#,
            ],
        ),
        (
            virtual_service_spec("{gateways: [g], http: [{route: [{destination: {host: web, port: {number: 80}}}]}]}"),
            &[
                r#"4: VirtualService/default/v: spec.gateways: a VirtualService without hosts (a delegate) has no gateways (remove them, or write "hosts")"#,
                r#"4: VirtualService/default/v: spec: warning: no VirtualService delegates to this one: no effect (write "delegate" in a rule of another, or "hosts" here)"#,
            ],
        ),
        (virtual_service("redirect: {uri: /x}"), &[]),
    ]);
}

#[test]
fn wrong_types() {
    check(&[
        (virtual_service("3"), &["8: VirtualService/default/v: spec.http[0]: must be a mapping, not a number"]),
        (virtual_service("null"), &["8: VirtualService/default/v: spec.http[0]: must be a mapping, not nothing"]),
        (
            rule("name: 3"),
            &[r#"8: VirtualService/default/v: spec.http[0].name: must be a string, not a number (quote it: "3")"#],
        ),
        (
            rule("match: {uri: {exact: /}}"),
            &["8: VirtualService/default/v: spec.http[0].match: must be a list, not a mapping"],
        ),
        (
            rule("match: [null]"),
            &["8: VirtualService/default/v: spec.http[0].match[0]: must be a mapping, not nothing"],
        ),
        (
            rule(r#"match: [{ignoreUriCase: "yes"}]"#),
            &["8: VirtualService/default/v: spec.http[0].match[0].ignoreUriCase: must be true or false, not a string"],
        ),
        (
            destination("web"),
            &["8: VirtualService/default/v: spec.http[0].route[0].destination: must be a mapping, not a string"],
        ),
        (
            destination("{host: web, port: 80}"),
            &["8: VirtualService/default/v: spec.http[0].route[0].destination.port: must be a mapping, not a number"],
        ),
        (
            destination(r#"{host: web, port: {number: "80"}}"#),
            &[
                "8: VirtualService/default/v: spec.http[0].route[0].destination.port.number: must be a whole number, not a string (write 80 without quotes)",
            ],
        ),
        (
            destination("{host: web, port: {number: 80.5}}"),
            &[
                "8: VirtualService/default/v: spec.http[0].route[0].destination.port.number: must be a whole number, not 80.5",
            ],
        ),
        (
            destination("{host: web, port: {number: 0}}"),
            &[
                "8: VirtualService/default/v: spec.http[0].route[0].destination.port.number: must be between 1 and 65535, not 0",
            ],
        ),
        (
            destination("{host: web, port: {number: 99999999999999999999}}"),
            &[
                "8: VirtualService/default/v: spec.http[0].route[0].destination.port.number: must be a whole number, not 99999999999999999999",
            ],
        ),
        (
            workload_entry("{address: 127.0.0.1, labels: {version: 1.10, live: true, none: null}}"),
            &[
                r#"4: WorkloadEntry/default/w: spec.labels[version]: must be a string, not a number (quote it: "1.10")"#,
                r#"4: WorkloadEntry/default/w: spec.labels[live]: must be a string, not true or false (quote it: "true")"#,
                "4: WorkloadEntry/default/w: spec.labels[none]: must be a string, not nothing",
            ],
        ),
    ]);
}
