//! The traps of timeouts, retries, faults, mirrors, breakers and ejection.

use super::{both, check, destination_rule, proxy, rule, virtual_service};

#[test]
fn faults_come_before_timeouts_and_retries() {
    check(&[
        (
            rule("timeout: 1s\n    fault: {delay: {fixedDelay: 2s, percentage: {value: 100}}}"),
            &[
                "9: VirtualService/default/v: spec.http[0].fault.delay: warning: is not covered by the timeout of 1s, which begins after it (to see the caller time out or retry, delay the service that is called, in its own rule)",
            ],
        ),
        (
            rule(
                "retries: {attempts: 2, perTryTimeout: 1s}\n    fault: {delay: {fixedDelay: 5s, percentage: {value: 100}}}",
            ),
            &[
                r#"8: VirtualService/default/v: spec.http[0].retries.perTryTimeout: warning: a try that is cut short is not retried: the default "retryOn" has none of 5xx, gateway-error, reset (write "retryOn" with one of them)"#,
                "9: VirtualService/default/v: spec.http[0].fault.delay: warning: comes before the first try, so it is neither cut short nor retried (to see the caller time out or retry, delay the service that is called, in its own rule)",
                "9: VirtualService/default/v: spec.http[0].fault.delay: note: requests seen to be repeated under this delay of 5s are the caller's own (Istio's productpage, for one, calls twice, with a timeout of 3s each)",
            ],
        ),
        (
            rule("retries: {attempts: 2}\n    fault: {abort: {httpStatus: 503, percentage: {value: 100}}}"),
            &[
                "9: VirtualService/default/v: spec.http[0].fault.abort: warning: is answered here and never retried (let the service that is called answer with the error)",
            ],
        ),
        (
            rule(
                "timeout: 1s\n    retries: {attempts: 2}\n    fault: {delay: {fixedDelay: 2s, percentage: {value: 0}}}",
            ),
            &[],
        ),
        (rule("retries: {attempts: 0}\n    fault: {abort: {httpStatus: 503, percentage: {value: 100}}}"), &[]),
        (
            rule("fault: {delay: {fixedDelay: 2s}}"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].fault.delay: warning: never happens: its share of the requests is 0 by default (write "percentage: {value: 100}")"#,
            ],
        ),
        (
            rule("fault: {abort: {httpStatus: 503}}"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].fault.abort: warning: never happens: its share of the requests is 0 by default (write "percentage: {value: 100}")"#,
            ],
        ),
    ]);
}

#[test]
fn retries_that_do_less_or_more_than_they_look_like() {
    check(&[
        (
            rule("retries: {attempts: 2, perTryTimeout: 1s}"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].retries.perTryTimeout: warning: a try that is cut short is not retried: the default "retryOn" has none of 5xx, gateway-error, reset (write "retryOn" with one of them)"#,
            ],
        ),
        (
            rule("retries: {attempts: 2, perTryTimeout: 1s, retryOn: 'connect-failure,503'}"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].retries.perTryTimeout: warning: a try that is cut short is not retried: "retryOn" has none of 5xx, gateway-error, reset (write "retryOn" with one of them)"#,
                "8: VirtualService/default/v: spec.http[0].retries: note: any method is repeated, POST too: up to 3 requests for one (match the methods that may be; a DestinationRule's retryBudget bounds the load)",
            ],
        ),
        (
            rule("timeout: 1s\n    retries: {attempts: 2, perTryTimeout: 1s}"),
            &[
                "9: VirtualService/default/v: spec.http[0].retries.perTryTimeout: warning: is not shorter than the timeout of 1s, so it has no effect (make it shorter)",
            ],
        ),
        (rule("match: [{method: {exact: GET}}]\n    retries: {attempts: 2, perTryTimeout: 1s, retryOn: 5xx}"), &[]),
        (
            rule("retries: {attempts: 3, retryOn: gateway-error}"),
            &[
                "8: VirtualService/default/v: spec.http[0].retries: note: any method is repeated, POST too: up to 4 requests for one (match the methods that may be; a DestinationRule's retryBudget bounds the load)",
            ],
        ),
        (
            rule(
                "match: [{method: {exact: GET}}, {method: {exact: POST}}]\n    retries: {attempts: 1, retryOn: reset}",
            ),
            &[
                "9: VirtualService/default/v: spec.http[0].retries: note: any method is repeated, POST too: up to 2 requests for one (match the methods that may be; a DestinationRule's retryBudget bounds the load)",
            ],
        ),
        (
            rule("match: [{method: {exact: GET}}]\n    retries: {attempts: 2, retryOn: '503,504'}"),
            &[
                r#"9: VirtualService/default/v: spec.http[0].retries.retryOn: note: statuses are those that the upstream sends: connections that break or fail are not retried (add "connect-failure,reset")"#,
            ],
        ),
        (rule("retries: {attempts: 2, retryOn: 'connect-failure'}"), &[]),
        (rule("retries: {attempts: 0}"), &[]),
        (
            proxy("\n  meshConfig:\n    defaultHttpRetryPolicy: {attempts: 2, perTryTimeout: 1s, retryOn: '503'}"),
            &[
                r#"6: Proxy/default/edge: spec.meshConfig.defaultHttpRetryPolicy.perTryTimeout: warning: a try that is cut short is not retried: "retryOn" has none of 5xx, gateway-error, reset (write "retryOn" with one of them)"#,
                r#"6: Proxy/default/edge: spec.meshConfig.defaultHttpRetryPolicy.retryOn: note: statuses are those that the upstream sends: connections that break or fail are not retried (add "connect-failure,reset")"#,
            ],
        ),
    ]);
}

#[test]
fn mirrors() {
    check(&[
        (
            rule("mirror: {host: web, port: {number: 80}}"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].mirror: note: copies have "-shadow" after the name in their Host (where the mirror routes by Host, write the Proxy's mirrorHostSuffix: "")"#,
            ],
        ),
        (both(&proxy("{mirrorHostSuffix: ''}"), &rule("mirror: {host: web, port: {number: 80}}")), &[]),
        (rule("mirror: {host: web, port: {number: 80}}\n    mirrorPercentage: {value: 0}"), &[]),
        (
            both(
                &proxy("{mirrorHostSuffix: ''}"),
                &rule(
                    "mirrors: [{destination: {host: wbe}}, {destination: {host: web, subset: v9, port: {number: 80}}}, {destination: {host: web, port: {number: 9}}}]",
                ),
            ),
            &[
                r#"13: VirtualService/default/v: spec.http[0].mirrors[0].destination.host: warning: there is no service "wbe.default.svc.cluster.local": nothing is mirrored [IST0101] (did you mean "web.default.svc.cluster.local"?)"#,
                r#"13: VirtualService/default/v: spec.http[0].mirrors[1].destination.subset: no DestinationRule gives web.default.svc.cluster.local a subset "v9": nothing is mirrored [IST0101] (define it in a DestinationRule for this host)"#,
                "13: VirtualService/default/v: spec.http[0].mirrors[2].destination.port.number: 9 is not a port of web.default.svc.cluster.local: nothing is mirrored [IST0101] (its ports: 80, 81, 82)",
            ],
        ),
    ]);
}

fn policy(text: &str) -> String {
    destination_rule(&format!("\n  host: web\n  trafficPolicy: {text}\n"))
}

#[test]
fn limits() {
    check(&[
        (
            policy("{connectionPool: {tcp: {maxConnections: 100}}}"),
            &[
                "6: DestinationRule/default/d: spec.trafficPolicy.connectionPool.tcp.maxConnections: note: each proxy counts for itself, over all its workers: three make up to 300 connections (divide by the number of proxies)",
            ],
        ),
        (
            policy("{connectionPool: {http: {http2MaxRequests: 10, http1MaxPendingRequests: 1}}}"),
            &[
                "6: DestinationRule/default/d: spec.trafficPolicy.connectionPool.http.http2MaxRequests: note: limits the requests of HTTP/1.1, too, whatever its name says",
            ],
        ),
        (
            policy("{connectionPool: {http: {idleTimeout: 60s}}}"),
            &[
                "6: DestinationRule/default/d: spec.trafficPolicy.connectionPool.http.idleTimeout: note: unused connections are closed after 60s: a server that closes them earlier makes for 503 UC (stay below the server's own keep-alive time; Node.js has 5s)",
            ],
        ),
        (
            policy("{connectionPool: {tcp: {idleTimeout: 0s}}}"),
            &[
                "6: DestinationRule/default/d: spec.trafficPolicy.connectionPool.tcp.idleTimeout: note: unused connections are never closed here: a server that closes them earlier makes for 503 UC (stay below the server's own keep-alive time; Node.js has 5s)",
            ],
        ),
        (policy("{connectionPool: {tcp: {idleTimeout: 0s}, http: {idleTimeout: 4s}}}"), &[]),
        (
            policy("{portLevelSettings: [{port: {number: 80}, connectionPool: {tcp: {maxConnections: 1}}}]}"),
            &[
                "6: DestinationRule/default/d: spec.trafficPolicy.portLevelSettings[0].connectionPool.tcp.maxConnections: note: each proxy counts for itself, over all its workers: three make up to 3 connections (divide by the number of proxies)",
            ],
        ),
        (policy("{connectionPool: {tcp: {maxConnections: 0}}}"), &[]),
    ]);
}

#[test]
fn ejection() {
    check(&[
        (
            policy("{outlierDetection: {consecutiveErrors: 1, maxEjectionPercent: 99}}"),
            &[
                r#"6: DestinationRule/default/d: spec.trafficPolicy.outlierDetection.consecutiveErrors: warning: "consecutiveErrors" is deprecated (Istio ignores it since 1.7; here so many gateway errors eject: write "consecutiveGatewayErrors" with "consecutive5xxErrors: 0")"#,
                "6: DestinationRule/default/d: spec.trafficPolicy.outlierDetection.maxEjectionPercent: warning: 99% of 1 endpoint is less than one: nobody is ever ejected (write 100 or more)",
            ],
        ),
        (
            policy("{outlierDetection: {}}"),
            &[
                "6: DestinationRule/default/d: spec.trafficPolicy.outlierDetection.maxEjectionPercent: warning: 10% of 1 endpoint is less than one: nobody is ever ejected (write 100 or more)",
            ],
        ),
        (
            policy("{outlierDetection: {maxEjectionPercent: 100}}"),
            &[
                r#"6: DestinationRule/default/d: spec.trafficPolicy.outlierDetection.maxEjectionPercent: note: all endpoints can be ejected: then requests get 503 UH, "no healthy upstream" (with minHealthPercent: 1 or more they are used in spite of it)"#,
            ],
        ),
        (policy("{outlierDetection: {maxEjectionPercent: 100, minHealthPercent: 30}}"), &[]),
        (
            destination_rule(
                "\n  host: web\n  trafficPolicy: {outlierDetection: {maxEjectionPercent: 100, minHealthPercent: 1}}\n  subsets:\n  - {name: v1, labels: {version: v1}, trafficPolicy: {outlierDetection: {minHealthPercent: 1}}}\n",
            ),
            &[
                "8: DestinationRule/default/d: spec.subsets[0].trafficPolicy.outlierDetection: warning: stands in place of the rule's: maxEjectionPercent of spec.trafficPolicy has no effect here (blocks are never merged: write it again here)",
                r#"8: DestinationRule/default/d: spec.subsets[0].trafficPolicy: warning: no VirtualService sends anything to subset "v1": its policy has no effect (name the subset in a destination, or write the policy for the whole rule)"#,
                r#"8: DestinationRule/default/d: spec.subsets[0].trafficPolicy.outlierDetection.maxEjectionPercent: warning: 10% of 1 endpoint of subset "v1" is less than one: nobody is ever ejected (write 100 or more)"#,
            ],
        ),
        (
            policy("{outlierDetection: {consecutive5xxErrors: 0, maxEjectionPercent: 100, minHealthPercent: 1}}"),
            &[
                "6: DestinationRule/default/d: spec.trafficPolicy.outlierDetection: warning: every threshold is 0: nobody is ever ejected (write consecutive5xxErrors or consecutiveGatewayErrors)",
            ],
        ),
        (
            policy(
                "{outlierDetection: {consecutive5xxErrors: 0, splitExternalLocalOriginErrors: true, maxEjectionPercent: 100, minHealthPercent: 1}}",
            ),
            &[],
        ),
        (
            policy("{portLevelSettings: [{port: {number: 80}, outlierDetection: {}}]}"),
            &[
                "6: DestinationRule/default/d: spec.trafficPolicy.portLevelSettings[0].outlierDetection.maxEjectionPercent: warning: 10% of 1 endpoint is less than one: nobody is ever ejected (write 100 or more)",
            ],
        ),
    ]);
}

/// A rule of subset `v1`, to which something goes, with these policies.
fn subset(whole: &str, own: &str) -> String {
    both(
        &virtual_service("route: [{destination: {host: web, subset: v1, port: {number: 80}}}]"),
        &super::destination_rule_alone(&format!(
            "\n  host: web\n  trafficPolicy: {whole}\n  subsets:\n  - {{name: v1, labels: {{version: v1}}, trafficPolicy: {own}}}\n"
        )),
    )
}

#[test]
fn blocks_are_replaced_whole() {
    check(&[
        (
            subset("{connectionPool: {tcp: {connectTimeout: 1s}}}", "{connectionPool: {http: {maxRetries: 3}}}"),
            &[
                "33: DestinationRule/default/d: spec.subsets[0].trafficPolicy.connectionPool: warning: stands in place of the rule's: tcp.connectTimeout of spec.trafficPolicy has no effect here (blocks are never merged: write it again here)",
            ],
        ),
        (
            subset(
                "{outlierDetection: {consecutive5xxErrors: 1, maxEjectionPercent: 99, minHealthPercent: 1}}",
                "{outlierDetection: {maxEjectionPercent: 100, minHealthPercent: 1}}",
            ),
            &[
                "31: DestinationRule/default/d: spec.trafficPolicy.outlierDetection.maxEjectionPercent: warning: 99% of 1 endpoint is less than one: nobody is ever ejected (write 100 or more)",
                "33: DestinationRule/default/d: spec.subsets[0].trafficPolicy.outlierDetection: warning: stands in place of the rule's: consecutive5xxErrors of spec.trafficPolicy has no effect here (blocks are never merged: write it again here)",
            ],
        ),
        (subset("{connectionPool: {tcp: {connectTimeout: 1s}}}", "{connectionPool: {tcp: {connectTimeout: 2s}}}"), &[]),
        (subset("{connectionPool: {tcp: {connectTimeout: 1s}}}", "{loadBalancer: {simple: RANDOM}}"), &[]),
        (
            policy(
                "{connectionPool: {tcp: {connectTimeout: 1s}}, retryBudget: {}, portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: RANDOM}}]}",
            ),
            &[
                "6: DestinationRule/default/d: spec.trafficPolicy.portLevelSettings[0]: warning: stands in place of the whole policy: port 80 has no connectionPool, retryBudget (write it again here)",
            ],
        ),
        (
            subset(
                "{connectionPool: {tcp: {connectTimeout: 1s}}, retryBudget: {}}",
                "{portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: RANDOM}}]}",
            ),
            &[
                "33: DestinationRule/default/d: spec.subsets[0].trafficPolicy.portLevelSettings[0]: warning: stands in place of the whole policy: port 80 has no connectionPool (write it again here)",
            ],
        ),
    ]);
}

#[test]
fn subsets_that_nothing_goes_to() {
    check(&[
        (
            destination_rule(
                "\n  host: web\n  subsets:\n  - {name: v1, labels: {version: v1}, trafficPolicy: {loadBalancer: {simple: RANDOM}}}\n  - {name: all}\n",
            ),
            &[
                r#"7: DestinationRule/default/d: spec.subsets[0].trafficPolicy: warning: no VirtualService sends anything to subset "v1": its policy has no effect (name the subset in a destination, or write the policy for the whole rule)"#,
            ],
        ),
        (subset("{loadBalancer: {simple: ROUND_ROBIN}}", "{loadBalancer: {simple: RANDOM}}"), &[]),
        (
            both(
                &virtual_service(
                    "route: [{destination: {host: web, port: {number: 80}}}]\n    mirror: {host: web, subset: v1, port: {number: 80}}\n    mirrorPercentage: {value: 0}",
                ),
                &super::destination_rule_alone(
                    "{host: web, subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {loadBalancer: {simple: RANDOM}}}]}",
                ),
            ),
            &[],
        ),
    ]);
}
