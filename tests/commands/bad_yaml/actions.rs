//! What rules do: redirects, direct responses, rewrites, header operations, CORS, delegates; and what is not enforced
//! yet: timeouts, retries, faults, mirrors, rules for connections.

use super::{both, check, istio, rule, virtual_service, virtual_service_spec};

/// The line of a field of the first rule that is not enforced.

#[test]
fn redirects() {
    check(&[
        (virtual_service("redirect: {scheme: https, port: 443, redirectCode: 308}"), &[]),
        (virtual_service("redirect: {derivePort: FROM_REQUEST_PORT, redirectCode: 0}"), &[]),
        (
            virtual_service("redirect: {}"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].redirect: changes nothing (write "uri", "prefixRewrite", "authority", "port" or "scheme")"#,
            ],
        ),
        (
            virtual_service("redirect: {uri: /a, prefixRewrite: /b}"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].redirect: has both "uri" and "prefixRewrite" (keep one of them)"#,
            ],
        ),
        (
            virtual_service("redirect: {scheme: ftp, port: 0}"),
            &[
                "8: VirtualService/default/v: spec.http[0].redirect.port: must be between 1 and 65535, not 0",
                r#"8: VirtualService/default/v: spec.http[0].redirect.scheme: "ftp" is not one of http, https"#,
            ],
        ),
        (
            virtual_service("redirect: {port: 80, derivePort: FROM_PROTOCOL_DEFAULT}"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].redirect.port: stands beside "derivePort" (keep one of them)"#,
            ],
        ),
        (
            virtual_service("redirect: {uri: /a, redirectCode: 304}"),
            &[
                "8: VirtualService/default/v: spec.http[0].redirect.redirectCode: 304 is not a status that redirects (write 301, 302, 303, 307 or 308)",
            ],
        ),
        (
            virtual_service("match: [{uri: {exact: /a}}]\n    redirect: {prefixRewrite: /b}"),
            &[
                r#"9: VirtualService/default/v: spec.http[0].redirect.prefixRewrite: replaces a prefix, and match[0] has none (match every "uri" by "prefix")"#,
            ],
        ),
        (
            rule("redirect: {uri: /a}\n    rewrite: {authority: b.com}\n    directResponse: {status: 200}"),
            &[
                r#"9: VirtualService/default/v: spec.http[0].rewrite: stands beside "redirect", which excludes it (keep one of them)"#,
                r#"10: VirtualService/default/v: spec.http[0].directResponse: stands beside "redirect", which excludes it (keep one of them)"#,
                r#"11: VirtualService/default/v: spec.http[0].route: stands beside "redirect", which excludes it (keep one of them)"#,
            ],
        ),
    ]);
}

#[test]
fn direct_responses_and_rewrites() {
    check(&[
        (virtual_service("directResponse: {status: 503, body: {string: gone}}"), &[]),
        (virtual_service("directResponse: {status: 200, body: {bytes: aGk=}}"), &[]),
        (
            virtual_service("directResponse: {status: 199, body: {string: a, bytes: b}}"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].directResponse.body: has both "string" and "bytes" (keep one of them)"#,
                "8: VirtualService/default/v: spec.http[0].directResponse.status: must be between 200 and 599, not 199",
            ],
        ),
        (
            virtual_service("directResponse: {body: {bytes: '?'}}"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].directResponse.body.bytes: is not base64 (write text under "string")"#,
                r#"8: VirtualService/default/v: spec.http[0].directResponse: "status" is required"#,
            ],
        ),
        (
            virtual_service(&format!("directResponse: {{status: 200, body: {{string: {}}}}}", "a".repeat(102_401))),
            &[
                "8: VirtualService/default/v: spec.http[0].directResponse.body: warning: is large: 102401 bytes (serve large bodies from an origin)",
            ],
        ),
        (
            virtual_service(&format!("directResponse: {{status: 200, body: {{string: {}}}}}", "a".repeat(1_048_577))),
            &[
                "8: VirtualService/default/v: spec.http[0].directResponse.body: may have 1048576 bytes, not 1048577 (serve large bodies from an origin)",
            ],
        ),
        (
            rule("rewrite: {}"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].rewrite: changes nothing (write "uri", "uriRegexRewrite" or "authority")"#,
            ],
        ),
        (
            rule(r"rewrite: {uriRegexRewrite: {match: '(', rewrite: '\1'}}"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].rewrite.uriRegexRewrite.match: "(" is not a valid regular expression: at character 1: no ")" closes the group that begins here (write ")" behind it, or "\(" for a parenthesis)"#,
            ],
        ),
        (
            rule(r"rewrite: {uri: /a, uriRegexRewrite: {match: a}}"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].rewrite.uriRegexRewrite: stands beside "uri" (keep one of them)"#,
                r#"8: VirtualService/default/v: spec.http[0].rewrite.uriRegexRewrite: "rewrite" is required"#,
                r#"8: VirtualService/default/v: spec.http[0].rewrite.uri: warning: prefix "/" is replaced as text: /a becomes /aa (let both end with "/", or neither)"#,
            ],
        ),
        (
            rule(r"rewrite: {uriRegexRewrite: {match: ''}}"),
            &[
                "8: VirtualService/default/v: spec.http[0].rewrite.uriRegexRewrite.match: must not be empty",
                r#"8: VirtualService/default/v: spec.http[0].rewrite.uriRegexRewrite: "rewrite" is required"#,
            ],
        ),
        (
            rule(r"rewrite: {uriRegexRewrite: {match: (a)b, rewrite: '\2\x\'}}"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].rewrite.uriRegexRewrite.rewrite: "\2\x\" asks for group 2, and there is 1 (write \0 to \1, or \\ for a backslash)"#,
            ],
        ),
    ]);
}

#[test]
fn header_operations() {
    check(&[
        (
            rule(
                "headers: {request: {set: {host: b.com, x: '%REQ(a)% 100%%'}, add: {w: '%START_TIME(%s)%'}, remove: [z]}, response: {remove: [server]}}",
            ),
            &[],
        ),
        (
            rule("headers: {request: {set: {':path': /, 'a b': c}, remove: [host, ':method', '']}}"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].headers.request.remove[0]: the Host cannot be removed"#,
                r#"8: VirtualService/default/v: spec.http[0].headers.request.remove[1]: ":method" is not a header name that may be removed"#,
                "8: VirtualService/default/v: spec.http[0].headers.request.remove[2]: must not be empty",
                r#"8: VirtualService/default/v: spec.http[0].headers.request.set[:path]: ":path" is not a header name that may be written"#,
                r#"8: VirtualService/default/v: spec.http[0].headers.request.set[a b]: "a b" is not a header name that may be written"#,
            ],
        ),
        (
            rule("headers: {response: {set: {host: a}, add: {x: 5, w: '50%', z: '%REQ(a%', m: \"a\\nb\"}}}"),
            &[
                "8: VirtualService/default/v: spec.http[0].headers.response.set[host]: a response has no Host",
                r#"8: VirtualService/default/v: spec.http[0].headers.response.add[x]: must be a string, not a number (quote it: "5")"#,
                r#"8: VirtualService/default/v: spec.http[0].headers.response.add[w]: "50%" has a "%" that begins no operator (write "%%" for a percent sign)"#,
                r#"8: VirtualService/default/v: spec.http[0].headers.response.add[z]: "%REQ(a%" has an operator without its ")" (write "%%" for a percent sign)"#,
                "8: VirtualService/default/v: spec.http[0].headers.response.add[m]: has a control character (remove it)",
            ],
        ),
        (
            rule(
                "rewrite: {authority: a.com}\n    headers: {request: {set: {Host: b.com}, add: {':authority': c.com}}}",
            ),
            &[
                "9: VirtualService/default/v: spec.http[0].headers.request: writes the Host, which is written elsewhere, too (keep one of them)",
            ],
        ),
    ]);
}

#[test]
fn cors_policies() {
    check(&[
        (
            rule("corsPolicy: {allowOrigin: ['*'], unmatchedPreflights: IGNORE}"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].corsPolicy.allowOrigin: warning: "allowOrigin" is deprecated (write "allowOrigins: [{exact: ORIGIN}]")"#,
            ],
        ),
        (
            rule("corsPolicy: {allowOrigins: [{}, {exact: ''}, {prefix: ''}, {regex: '['}]}"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].corsPolicy.allowOrigins[0]: has no condition (write {regex: '.*'} to allow every origin)"#,
                "8: VirtualService/default/v: spec.http[0].corsPolicy.allowOrigins[1]: is empty (write an origin, like https://example.com)",
                "8: VirtualService/default/v: spec.http[0].corsPolicy.allowOrigins[2].prefix: must not be empty (write {} to match any value)",
                r#"8: VirtualService/default/v: spec.http[0].corsPolicy.allowOrigins[3].regex: "[" is not a valid regular expression: at character 1: no "]" closes the class that begins here (write "]" behind it, or "\[" for a bracket)"#,
            ],
        ),
        (
            rule(
                "corsPolicy: {allowOrigins: [{exact: 'https://a'}], allowMethods: [GET, get], allowHeaders: ['*', a b], maxAge: 1500ms, unmatchedPreflights: DROP}",
            ),
            &[
                r#"8: VirtualService/default/v: spec.http[0].corsPolicy.allowMethods[1]: "get" is not one of GET, HEAD, POST, PUT, PATCH, DELETE, CONNECT, OPTIONS, TRACE, * (did you mean "GET"?)"#,
                r#"8: VirtualService/default/v: spec.http[0].corsPolicy.allowHeaders[1]: "a b" is not a header name"#,
                "8: VirtualService/default/v: spec.http[0].corsPolicy.maxAge: must be whole seconds",
                r#"8: VirtualService/default/v: spec.http[0].corsPolicy.unmatchedPreflights: "DROP" is not one of UNSPECIFIED, FORWARD, IGNORE"#,
            ],
        ),
    ]);
}

#[test]
fn delegates() {
    let delegate = |name: &str, http: &str| istio("VirtualService", name, &format!("{{http: [{http}]}}"));
    let to_web = "{route: [{destination: {host: web, port: {number: 80}}}]}";
    check(&[
        (both(&virtual_service("delegate: {name: d}"), &delegate("d", to_web)), &[]),
        (
            virtual_service("delegate: {name: nobody, namespace: far}"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].delegate: there is no VirtualService "far/nobody" [IST0101]: the rule is left out"#,
            ],
        ),
        (
            virtual_service("delegate: {}"),
            &[r#"8: VirtualService/default/v: spec.http[0].delegate: "name" is required"#],
        ),
        (
            both(
                &virtual_service("delegate: {name: v}\n    redirect: {uri: /}"),
                &delegate("d", "{delegate: {name: v}}"),
            ),
            &[
                r#"8: VirtualService/default/v: spec.http[0].delegate: VirtualService "default/v" has hosts: no delegate: the rule is left out (a delegate has neither hosts nor gateways)"#,
                r#"9: VirtualService/default/v: spec.http[0].redirect: stands beside "delegate", which excludes it (keep one of them)"#,
                "30: VirtualService/default/d: spec.http[0]: a delegate cannot delegate again (name the last one where the first is named)",
                r#"30: VirtualService/default/d: spec.http[0].delegate: VirtualService "default/v" has hosts: no delegate: the rule is left out (a delegate has neither hosts nor gateways)"#,
                r#"30: VirtualService/default/d: spec: warning: no VirtualService delegates to this one: no effect (write "delegate" in a rule of another, or "hosts" here)"#,
            ],
        ),
    ]);
}

#[test]
fn what_is_done_about_failures() {
    check(&[
        (
            rule("timeout: 0s"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].timeout: "0s" is shorter than 1ms (leave the field out for its default)"#,
            ],
        ),
        (
            rule("retries: {perTryTimeout: 2s, retryOn: 'gateway-eror, 503 ,99,599', retryRemoteLocality: true}"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].retries.retryRemoteLocality: unknown field "retryRemoteLocality" in HTTPRetry (did you mean "retryRemoteLocalities"?)"#,
                r#"8: VirtualService/default/v: spec.http[0].retries: sets how to retry, and no "attempts" (write how many, or 0 alone for none)"#,
                r#"8: VirtualService/default/v: spec.http[0].retries.retryOn: "gateway-eror" is not a condition to retry on (did you mean "gateway-error"?)"#,
                r#"8: VirtualService/default/v: spec.http[0].retries.retryOn: "99" is not a condition to retry on"#,
                r#"8: VirtualService/default/v: spec.http[0].retries.retryOn: "599" is not a condition to retry on"#,
            ],
        ),
        (
            rule("fault:\n      delay: {fixedDelay: 5, percent: 101}\n      abort: {percent: 5, grpcStatus: NOPE}"),
            &[
                r#"9: VirtualService/default/v: spec.http[0].fault.delay.percent: warning: "percent" is deprecated (write "percentage: {value: N}")"#,
                "9: VirtualService/default/v: spec.http[0].fault.delay.fixedDelay: must be a duration, not a number (give it a unit: 5s)",
                "9: VirtualService/default/v: spec.http[0].fault.delay.percent: must be between 0 and 100, not 101",
                r#"10: VirtualService/default/v: spec.http[0].fault.abort.percent: "percent" was removed from Istio (write "percentage: {value: N}")"#,
                r#"10: VirtualService/default/v: spec.http[0].fault.abort.grpcStatus: "NOPE" is not one of OK, CANCELLED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED, RESOURCE_EXHAUSTED, FAILED_PRECONDITION, ABORTED, OUT_OF_RANGE, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS, UNAUTHENTICATED"#,
                r#"10: VirtualService/default/v: spec.http[0].fault.abort: warning: never happens: its share of the requests is 0 by default (write "percentage: {value: 100}")"#,
            ],
        ),
        (
            rule("fault: {}\n    mirror: {host: '*'}\n    mirrors: [{percentage: {value: 100.5}}]"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].fault: has no fault (write "delay" or "abort")"#,
                r#"9: VirtualService/default/v: spec.http[0].mirror.host: host "*" must be a name, not "*" (write the name of a service)"#,
                "10: VirtualService/default/v: spec.http[0].mirrors[0].percentage.value: must be between 0 and 100, not 100.5",
                r#"10: VirtualService/default/v: spec.http[0].mirrors[0]: "destination" is required"#,
                r#"10: VirtualService/default/v: spec.http[0].mirrors: stands beside "mirror", which excludes it (keep one of them)"#,
            ],
        ),
        (
            rule(
                "fault:\n      delay: {percentage: {value: 0.00001}}\n      abort: {httpStatus: 600, grpcStatus: OK, percentage: {value: 5}}",
            ),
            &[
                r#"9: VirtualService/default/v: spec.http[0].fault.delay.percentage: 0.00001 is less than 0.0001, so it never happens"#,
                r#"9: VirtualService/default/v: spec.http[0].fault.delay: warning: has no time, so it does nothing (write "fixedDelay")"#,
                "10: VirtualService/default/v: spec.http[0].fault.abort.httpStatus: must be between 200 and 599, not 600",
                r#"10: VirtualService/default/v: spec.http[0].fault.abort.grpcStatus: stands beside "httpStatus" (keep one of them)"#,
            ],
        ),
        (
            rule("mirror: {host: web, port: {number: 80}}")
                .replace("{name: v}", "{name: v, annotations: {ringway.dev/mirror-compare: 'yes'}}"),
            &[
                r#"3: VirtualService/default/v: metadata.annotations[ringway.dev/mirror-compare]: "yes" is not "true" or "body" ("true" compares the status)"#,
                r#"8: VirtualService/default/v: spec.http[0].mirror: note: copies have "-shadow" after the name in their Host (where the mirror routes by Host, write the Proxy's mirrorHostSuffix: "")"#,
            ],
        ),
    ]);
}

#[test]
fn rules_for_connections() {
    let spec = |gateways: &str, rules: &str| {
        virtual_service_spec(&format!("\n  hosts: [a.example.com]\n  gateways: {gateways}\n{rules}"))
    };
    const NO_SERVER: &str = r#"6: VirtualService/default/v: spec.gateways[0]: warning: Gateway "default/g" has no server that "tcp" is for: the rules have no effect there (write a server of protocol TCP)"#;
    check(&[
        (
            spec(
                "[g]",
                "  tls:\n  - {match: [{sniHosts: [b.example.com, 1.2.3.4], port: 0}], route: [{destination: {host: web}}]}\n  - {}\n  tcp:\n  - {match: [{destinationSubnets: [10.0.0.0/33], sourceSubnet: a}], route: [{destination: {host: web}, weight: 1}]}",
            ),
            &[
                r#"6: VirtualService/default/v: spec.gateways[0]: warning: Gateway "default/g" has no server that "tls" is for: the rules have no effect there (write a server of protocol TLS with tls.mode PASSTHROUGH)"#,
                r#"6: VirtualService/default/v: spec.gateways[0]: warning: Gateway "default/g" has no server that "tcp" is for: the rules have no effect there (write a server of protocol TCP)"#,
                "8: VirtualService/default/v: spec.tls[0].match[0].port: must be between 1 and 65535, not 0",
                r#"8: VirtualService/default/v: spec.tls[0].match[0].sniHosts[0]: "b.example.com" is not covered by any of "hosts" (add it there)"#,
                "8: VirtualService/default/v: spec.tls[0].match[0].sniHosts[1]: warning: clients send no address as server name (write a host name)",
                r#"9: VirtualService/default/v: spec.tls[1]: has no "match" (write the "sniHosts" to match)"#,
                r#"9: VirtualService/default/v: spec.tls[1]: has no destination (write it under "route")"#,
                r#"11: VirtualService/default/v: spec.tcp[0].match[0].sourceSubnet: "a" is not an address or a subnet (write it like 10.0.0.0/8)"#,
                r#"11: VirtualService/default/v: spec.tcp[0].match[0].destinationSubnets[0]: "10.0.0.0/33" is not an address or a subnet (write it like 10.0.0.0/8)"#,
            ],
        ),
        (
            spec(
                "[g]",
                "  tcp:\n  - match: [{sourceSubnet: 10.0.0.0/8, port: 80, gateways: [x, g], sourceLabels: {a: b}}]\n    route: [{destination: {host: web, port: {number: 80}}, weight: 1}, {destination: {host: nobody, port: {number: 1}}, weight: 2}]",
            ),
            &[
                NO_SERVER,
                r#"8: VirtualService/default/v: spec.tcp[0].match[0].sourceSubnet: warning: has no effect, as in Istio: connections from everywhere match (remove it)"#,
                r#"8: VirtualService/default/v: spec.tcp[0].match[0].gateways[0]: warning: "default/x" is not one of this VirtualService's gateways: never matches there (add it to "spec.gateways")"#,
                r#"8: VirtualService/default/v: spec.tcp[0].match[0].sourceLabels: warning: is looked at for the mesh alone, as in Istio: at a Gateway the block matches without it (write a block with "gateways: [mesh]" for it)"#,
                r#"9: VirtualService/default/v: spec.tcp[0].route[1].destination.host: warning: there is no service "nobody.default.svc.cluster.local": connections are closed, flag NC [IST0101]"#,
                r#"9: VirtualService/default/v: spec.tcp[0].route: note: the weights sum to 3: they are taken as shares of that, not as percent (Istio before 1.14 refused this)"#,
            ],
        ),
        (
            spec(
                "[g]",
                "  tcp:\n  - route: [{destination: {host: web, port: {number: 7}}, weight: 0}, {destination: {host: web, port: {number: 80}}}]",
            ),
            &[
                NO_SERVER,
                // Problems of their destinations are told once they have weights.
                r#"8: VirtualService/default/v: spec.tcp[0]: the weights of several destinations sum to 0 (give each destination its "weight")"#,
            ],
        ),
    ]);
}
