//! DestinationRules' traffic policies, Sidecars, WorkloadGroups, TLS of servers.

use super::{check, destination_rule, gateway, istio};

/// A DestinationRule whose policy is on line 6.
fn policy(text: &str) -> String {
    destination_rule(&format!("\n  host: web\n  trafficPolicy: {text}"))
}

/// The line of a field of the policy that is not enforced.
macro_rules! not_enforced {
    ($name:literal) => {
        concat!(
            "6: DestinationRule/default/d: spec.trafficPolicy.",
            $name,
            ": \"",
            $name,
            "\" is not enforced by ringway yet (remove it, or pass --permissive, which then does not serve this DestinationRule)"
        )
    };
}

#[test]
fn consistent_hashing() {
    let hash = |text: &str| policy(&format!("{{loadBalancer: {{consistentHash: {text}}}}}"));
    check(&[
        (hash("{httpCookie: {name: user, path: /, ttl: 0s, attributes: [{name: SameSite, value: Lax}]}}"), &[]),
        (hash("{useSourceIp: true, maglev: {tableSize: 65537}}"), &[]),
        (hash("{useSourceIp: true, ringHash: {minimumRingSize: 2048}}"), &[]),
        (
            hash("{httpHeaderName: x-user, httpQueryParameterName: user}"),
            &[
                r#"6: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.consistentHash.httpQueryParameterName: has both "httpHeaderName" and "httpQueryParameterName" (keep one of them)"#,
            ],
        ),
        (
            hash("{httpHeaderName: x-user, minimumRingSize: 10, ringHash: {}}"),
            &[
                r#"6: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.consistentHash.minimumRingSize: warning: "minimumRingSize" is deprecated (write "ringHash: {minimumRingSize: N}")"#,
                r#"6: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.consistentHash.ringHash: stands beside the old "minimumRingSize" (remove that one)"#,
            ],
        ),
        (
            hash("{useSourceIp: true, maglev: {tableSize: 65536}}"),
            &[
                "6: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize: 65536 is not a prime number (Envoy's default is 65537)",
            ],
        ),
        (
            hash("{useSourceIp: true, maglev: {}, ringHash: {}}"),
            &[
                r#"6: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.consistentHash.maglev: "tableSize" is required"#,
                r#"6: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.consistentHash.maglev: stands beside "ringHash" (keep one of them)"#,
            ],
        ),
        (
            hash("{useSourceIp: true, maglev: {tableSize: 5000011}}"),
            &[
                "6: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize: must be between 1 and 5000010, not 5000011",
            ],
        ),
        (
            hash("{httpCookie: {ttl: 1us, attributes: [{}, {name: a}, {name: a}]}}"),
            &[
                r#"6: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.consistentHash.httpCookie: "name" is required"#,
                r#"6: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.ttl: "1us" is not a whole number of milliseconds (write it like 1h, 1m30s, 1.5s or 100ms)"#,
                r#"6: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.attributes[0]: "name" is required"#,
                r#"6: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.attributes[2]: a second attribute named "a" (remove one of them)"#,
            ],
        ),
        (
            hash("{}"),
            &[
                "6: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.consistentHash: warning: hashes nothing of a request, so endpoints are drawn (write what to hash)",
            ],
        ),
        (
            policy("{loadBalancer: {simple: RANDOM, consistentHash: {useSourceIp: true}}}"),
            &[
                r#"6: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.consistentHash: stands beside "simple" (keep one of them)"#,
            ],
        ),
    ]);
}

#[test]
fn warmup_localities_and_ports() {
    let balancer = |text: &str| policy(&format!("{{loadBalancer: {text}}}"));
    let locality = |text: &str| balancer(&format!("{{localityLbSetting: {text}}}"));
    check(&[
        (balancer("{warmup: {duration: 1m, minimumPercent: 0, aggression: 0.5}}"), &[]),
        (
            balancer("{warmupDurationSecs: 10s}"),
            &[
                r#"6: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.warmupDurationSecs: warning: "warmupDurationSecs" is deprecated (write "warmup: {duration: TIME}")"#,
            ],
        ),
        (
            balancer("{warmup: {minimumPercent: 101}}"),
            &[
                "6: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.warmup.minimumPercent: must be between 0 and 100, not 101",
                r#"6: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.warmup: "duration" is required"#,
            ],
        ),
        (
            balancer("{warmup: {aggression: 0}}"),
            &[
                "6: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.warmup.aggression: must be above 0, not 0",
                r#"6: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.warmup: "duration" is required"#,
            ],
        ),
        (
            balancer("{warmup: {}}"),
            &[r#"6: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.warmup: "duration" is required"#],
        ),
        (locality("{distribute: [{from: a/b/*, to: {a/b/*: 70, a/c: 30}}, {from: b, to: {'*': 100}}]}"), &[]),
        (
            locality(
                "{distribute: [{from: a/*, to: {a/b: 60, a/*: 30}}, {from: a/b, to: {a: 101}}, {from: '*/a', to: {a//b: 100}}]}",
            ),
            &[
                r#"6: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0]: the shares under "to" sum to 90 (make them sum to 100)"#,
                "6: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[1].to[a]: must be between 1 and 100, not 101",
                r#"6: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[2].to: locality "a//b" has an empty part (write region/zone/subzone)"#,
                r#"6: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.localityLbSetting.distribute: locality "*/a" may have one "*", at its end"#,
            ],
        ),
        (
            locality("{distribute: [{from: a/*, to: {a/b: 60, a/*: 40}}, {from: a/b, to: {a: 100}}]}"),
            &[
                r#"6: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to: locality "a/b" overlaps with another one (keep one of them)"#,
                r#"6: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.localityLbSetting.distribute: locality "a/b" overlaps with another one (keep one of them)"#,
            ],
        ),
        (
            locality("{failover: [{from: a, to: a}, {from: a/b, to: '*'}], distribute: [{from: a, to: {a: 100}}]}"),
            &[
                "6: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.localityLbSetting.failover[0]: fails over from a region to itself (name another region under \"to\")",
                r#"6: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.localityLbSetting.failover[1].from: "a/b" is not a region (write its name alone)"#,
                r#"6: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.localityLbSetting.failover[1].to: "*" is not a region (write its name alone)"#,
                r#"6: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.localityLbSetting: has both "distribute" and "failover" (keep one of them)"#,
                "6: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.localityLbSetting: warning: fails over only with an outlierDetection beside it (Istio does nothing without)",
            ],
        ),
        (
            policy(
                "{portLevelSettings: [{port: {number: 80}}, {loadBalancer: {simple: RANDOM}}, {port: {number: 81}, loadBalancer: {simple: RANDOM}}, {port: {number: 81}, loadBalancer: {simple: RANDOM}}]}",
            ),
            &[
                r#"6: DestinationRule/default/d: spec.trafficPolicy.portLevelSettings[0]: has no policy (write one beside "port")"#,
                r#"6: DestinationRule/default/d: spec.trafficPolicy.portLevelSettings[1]: "port" is required"#,
                "6: DestinationRule/default/d: spec.trafficPolicy.portLevelSettings[3]: a second entry for port 81 (only the first has an effect: merge them)",
            ],
        ),
    ]);
}

#[test]
fn connections_and_ejection() {
    check(&[
        (
            policy(
                "{connectionPool: {tcp: {maxConnections: -1, connectTimeout: 0s, idleTimeout: -1s}, http: {http2KeepAlive: {}, h2UpgradePolicy: UPGRADE, useClientProtocol: true, idleTimeot: 1s}}}",
            ),
            &[
                "6: DestinationRule/default/d: spec.trafficPolicy.connectionPool.tcp.maxConnections: must be between 0 and 2147483647, not -1",
                r#"6: DestinationRule/default/d: spec.trafficPolicy.connectionPool.tcp.connectTimeout: "0s" is shorter than 1ms (leave the field out for its default)"#,
                r#"6: DestinationRule/default/d: spec.trafficPolicy.connectionPool.tcp.idleTimeout: "-1s" must not be negative (write it like 1h, 1m30s, 1.5s or 100ms)"#,
                r#"6: DestinationRule/default/d: spec.trafficPolicy.connectionPool.http.http2KeepAlive: warning: "http2KeepAlive" has no effect: connections to upstreams speak HTTP/1.1"#,
                r#"6: DestinationRule/default/d: spec.trafficPolicy.connectionPool.http.useClientProtocol: warning: "useClientProtocol" has no effect: connections to upstreams speak HTTP/1.1"#,
                r#"6: DestinationRule/default/d: spec.trafficPolicy.connectionPool.http.idleTimeot: unknown field "idleTimeot" in HTTPSettings (did you mean "idleTimeout"?)"#,
                r#"6: DestinationRule/default/d: spec.trafficPolicy.connectionPool.http.h2UpgradePolicy: warning: "UPGRADE" has no effect: connections to upstreams speak HTTP/1.1"#,
                r#"6: DestinationRule/default/d: spec.trafficPolicy.connectionPool.http: has both "h2UpgradePolicy: UPGRADE" and "useClientProtocol: true" (keep one of them)"#,
                r#"6: DestinationRule/default/d: spec.trafficPolicy.connectionPool.http.http2KeepAlive: "interval" is required"#,
                r#"6: DestinationRule/default/d: spec.trafficPolicy.connectionPool.http.http2KeepAlive: "timeout" is required"#,
            ],
        ),
        (
            policy(
                "{outlierDetection: {consecutiveErrors: 1, consecutiveLocalOriginFailures: 2, maxEjectionPercent: 101, interval: 0.5ms, outlierDetectionHttpErrorCodes: [99]}}",
            ),
            &[
                r#"6: DestinationRule/default/d: spec.trafficPolicy.outlierDetection.consecutiveErrors: warning: "consecutiveErrors" is deprecated (Istio ignores it since 1.7; here so many gateway errors eject: write "consecutiveGatewayErrors" with "consecutive5xxErrors: 0")"#,
                "6: DestinationRule/default/d: spec.trafficPolicy.outlierDetection.consecutiveLocalOriginFailures: has an effect only where local errors are counted apart (write splitExternalLocalOriginErrors: true)",
                r#"6: DestinationRule/default/d: spec.trafficPolicy.outlierDetection.interval: "0.5ms" is shorter than 1ms (leave the field out for its default)"#,
                "6: DestinationRule/default/d: spec.trafficPolicy.outlierDetection.maxEjectionPercent: must be between 0 and 100, not 101",
                "6: DestinationRule/default/d: spec.trafficPolicy.outlierDetection.outlierDetectionHttpErrorCodes[0]: must be between 100 and 599, not 99",
            ],
        ),
        (
            policy("{tls: {mode: MUTUAL, caCertificates: a, insecureSkipVerify: true}}"),
            &[
                "6: DestinationRule/default/d: spec.trafficPolicy.tls: names whom to trust, and insecureSkipVerify trusts everyone (keep one of them)",
                r#"6: DestinationRule/default/d: spec.trafficPolicy.tls: mode MUTUAL needs "clientCertificate" (or write "credentialName")"#,
                r#"6: DestinationRule/default/d: spec.trafficPolicy.tls: mode MUTUAL needs "privateKey" (or write "credentialName")"#,
            ],
        ),
        (policy("{tls: {mode: DISABLE, sni: a.com}}"), &[]),
        (
            policy("{tls: {sni: a.com}}"),
            &[
                "6: DestinationRule/default/d: spec.trafficPolicy.tls: warning: without a mode there is no TLS, and the rest has no effect (write mode SIMPLE or MUTUAL)",
            ],
        ),
        (
            policy("{tls: {mode: ISTIO_MUTUAL}}"),
            &[
                r#"6: DestinationRule/default/d: spec.trafficPolicy.tls.mode: mode ISTIO_MUTUAL is not enforced by ringway yet (remove it, or pass --permissive, which then does not serve this DestinationRule)"#,
            ],
        ),
        (
            policy("{tls: {mode: TLS, sni: 'a b'}}"),
            &[
                r#"6: DestinationRule/default/d: spec.trafficPolicy.tls.mode: "TLS" is not one of DISABLE, SIMPLE, MUTUAL, ISTIO_MUTUAL"#,
                r#"6: DestinationRule/default/d: spec.trafficPolicy.tls.sni: "a b" is not a server's name (write a host name)"#,
            ],
        ),
        (
            policy(
                "{tls: {mode: SIMPLE, insecureSkipVerify: true, sni: 'a b', subjectAltNames: [], caCrl: a, clientCertificate: b, credentialname: c}}",
            ),
            &[
                r#"6: DestinationRule/default/d: spec.trafficPolicy.tls.credentialname: unknown field "credentialname" in ClientTLSSettings (did you mean "credentialName"?)"#,
                r#"6: DestinationRule/default/d: spec.trafficPolicy.tls.sni: "a b" is not a server's name (write a host name)"#,
                "6: DestinationRule/default/d: spec.trafficPolicy.tls.caCrl: names whom not to trust, and insecureSkipVerify trusts everyone (keep one of them)",
                "6: DestinationRule/default/d: spec.trafficPolicy.tls.clientCertificate: warning: is shown to nobody in mode SIMPLE (write mode MUTUAL)",
            ],
        ),
        (
            policy(
                "{tls: {mode: SIMPLE, credentialName: a, subjectAltNames: ['', 'a@b.com', '*.a.com', 10.0.0.1, 'spiffe://a/b']}}",
            ),
            &[
                "6: DestinationRule/default/d: spec.trafficPolicy.tls.subjectAltNames[0]: must not be empty",
                r#"6: DestinationRule/default/d: spec.trafficPolicy.tls.subjectAltNames[1]: "a@b.com" is not a name that a certificate can be verified for (write a host name, an IP address or a URI)"#,
                r#"6: DestinationRule/default/d: spec.trafficPolicy.tls.credentialName: there is no Secret "a" (write one, in namespace default)"#,
            ],
        ),
        (
            policy("{tls: {mode: MUTUAL, clientCertificate: /no/such.pem, privateKey: /, caCertificates: no.pem}}"),
            &[
                r#"6: DestinationRule/default/d: spec.trafficPolicy.tls.clientCertificate: file "/no/such.pem": no such file"#,
                r#"6: DestinationRule/default/d: spec.trafficPolicy.tls.privateKey: file "/": it is not a file"#,
            ],
        ),
        (
            policy("{tls: {mode: SIMPLE, caCertificates: Cargo.toml}}"),
            &[
                r#"6: DestinationRule/default/d: spec.trafficPolicy.tls.caCertificates: file "Cargo.toml": it holds no certificate (PEM: "-----BEGIN CERTIFICATE-----")"#,
            ],
        ),
        (
            policy(
                "{tls: {mode: SIMPLE, insecureSkipVerify: true}, portLevelSettings: [{port: {number: 81}, loadBalancer: {simple: RANDOM}}]}",
            ),
            &[
                "6: DestinationRule/default/d: spec.trafficPolicy.portLevelSettings[0]: warning: stands in place of the whole policy: port 81 has no tls (write it again here)",
            ],
        ),
        (policy("{tls: {}, loadBalancer: {simple: RANDOM}}"), &[]),
        (
            policy("{tls: {mode: SIMPLE, credentialName: a, caCertificates: b}}"),
            &[
                r#"6: DestinationRule/default/d: spec.trafficPolicy.tls: has both "credentialName" and "caCertificates" (keep one of them)"#,
                r#"6: DestinationRule/default/d: spec.trafficPolicy.tls.credentialName: there is no Secret "a" (write one, in namespace default)"#,
            ],
        ),
        (
            policy("{tunnel: {protocol: GET, targetHost: 'a b', targetPort: 0}, proxyProtocol: {version: V3}}"),
            &[
                not_enforced!("tunnel"),
                not_enforced!("proxyProtocol"),
                r#"6: DestinationRule/default/d: spec.trafficPolicy.tunnel.protocol: "GET" is not one of CONNECT, POST"#,
                "6: DestinationRule/default/d: spec.trafficPolicy.tunnel.targetPort: must be between 1 and 65535, not 0",
                r#"6: DestinationRule/default/d: spec.trafficPolicy.tunnel.targetHost: host "a b" is not a host name"#,
                r#"6: DestinationRule/default/d: spec.trafficPolicy.proxyProtocol.version: "V3" is not one of V1, V2 (did you mean "V1"?)"#,
                r#"6: DestinationRule/default/d: spec.trafficPolicy.proxyProtocol: stands beside "tunnel" (keep one of them)"#,
            ],
        ),
        (
            policy("{retryBudget: {percent: 101, minRetryConcurrency: 3, budgetInterval: 0s}}"),
            &[
                "6: DestinationRule/default/d: spec.trafficPolicy.retryBudget.percent: must be between 0 and 100, not 101",
            ],
        ),
    ]);
}

#[test]
fn tls_of_servers() {
    let server = |protocol: &str, tls: &str| {
        gateway(&format!("{{port: {{number: 443, name: h, protocol: {protocol}}}, hosts: [a.com], tls: {tls}}}"))
    };
    check(&[
        (server("HTTP", "{httpsRedirect: true}"), &[]),
        (server("HTTP", "{httpsRedirect: false, mode: PASSTHROUGH}"), &[]),
        (
            server("HTTP", r#"{httpsRedirect: "true"}"#),
            &["6: Gateway/default/g: spec.servers[0].tls.httpsRedirect: must be true or false, not a string"],
        ),
        (
            server("HTTP", "{httpsRedirect: true, minProtocolVersion: TLSV1_2, credentialName: a}"),
            &[
                r#"6: Gateway/default/g: spec.servers[0].tls: warning: mode PASSTHROUGH uses no certificates (write "mode: SIMPLE" to use them)"#,
                "6: Gateway/default/g: spec.servers[0].tls.minProtocolVersion: warning: a plain HTTP port has no TLS: no effect (remove it)",
            ],
        ),
        (
            server("TCP", "{httpsRedirect: true}"),
            &[
                "6: Gateway/default/g: spec.servers[0].tls: only a port of protocol HTTPS or TLS has TLS settings (change its protocol)",
                "6: Gateway/default/g: spec.servers[0].tls: warning: httpsRedirect has an effect on plain HTTP ports only (write it at the server for port 80)",
            ],
        ),
        (
            server("HTTPS", "{mode: SIMPLE, credentialName: a}"),
            &[
                r#"6: Gateway/default/g: spec.servers[0].tls.credentialName: "credentialName" is not enforced by ringway yet (remove it, or pass --permissive, which then does not serve this server)"#,
                "6: Gateway/default/g: spec.servers[0].tls.mode: mode SIMPLE is not enforced by ringway yet (remove it, or pass --permissive, which then does not serve this server)",
            ],
        ),
        (
            server("HTTP", "{mode: SIMPLE, credentialName: a}"),
            &[
                r#"6: Gateway/default/g: spec.servers[0].tls.credentialName: "credentialName" is not enforced by ringway yet (remove it, or pass --permissive, which then does not serve this server)"#,
                "6: Gateway/default/g: spec.servers[0].tls: a plain HTTP port has no TLS (write protocol HTTPS, or httpsRedirect alone)",
            ],
        ),
        (
            server(
                "HTTPS",
                "{mode: MUTUAL, serverCertificate: a, privateKey: b, tlsCertificates: [{serverCertificate: c}], minProtocolVersion: TLS1, httpsRedirect: true}",
            ),
            &[
                r#"6: Gateway/default/g: spec.servers[0].tls.serverCertificate: "serverCertificate" is not enforced by ringway yet (remove it, or pass --permissive, which then does not serve this server)"#,
                r#"6: Gateway/default/g: spec.servers[0].tls.privateKey: "privateKey" is not enforced by ringway yet (remove it, or pass --permissive, which then does not serve this server)"#,
                r#"6: Gateway/default/g: spec.servers[0].tls.tlsCertificates: "tlsCertificates" is not enforced by ringway yet (remove it, or pass --permissive, which then does not serve this server)"#,
                r#"6: Gateway/default/g: spec.servers[0].tls.minProtocolVersion: "minProtocolVersion" is not enforced by ringway yet (remove it, or pass --permissive, which then does not serve this server)"#,
                r#"6: Gateway/default/g: spec.servers[0].tls.minProtocolVersion: "TLS1" is not one of TLS_AUTO, TLSV1_0, TLSV1_1, TLSV1_2, TLSV1_3"#,
                "6: Gateway/default/g: spec.servers[0].tls: warning: httpsRedirect has an effect on plain HTTP ports only (write it at the server for port 80)",
                r#"6: Gateway/default/g: spec.servers[0].tls: has several sources of certificates (keep one of "credentialName", "credentialNames", "tlsCertificates" or "serverCertificate")"#,
                r#"6: Gateway/default/g: spec.servers[0].tls: mode MUTUAL needs "caCertificates" (or write "credentialName")"#,
                r#"6: Gateway/default/g: spec.servers[0].tls.tlsCertificates[0]: mode MUTUAL needs "privateKey" (or write "credentialName")"#,
                "6: Gateway/default/g: spec.servers[0].tls.mode: mode MUTUAL is not enforced by ringway yet (remove it, or pass --permissive, which then does not serve this server)",
            ],
        ),
        (
            server("HTTPS", "{mode: ISTIO_MUTUAL, credentialName: a}"),
            &[
                r#"6: Gateway/default/g: spec.servers[0].tls.credentialName: "credentialName" is not enforced by ringway yet (remove it, or pass --permissive, which then does not serve this server)"#,
                "6: Gateway/default/g: spec.servers[0].tls: mode ISTIO_MUTUAL brings its own certificates (remove the ones written here)",
                "6: Gateway/default/g: spec.servers[0].tls.mode: mode ISTIO_MUTUAL is not enforced by ringway yet (remove it, or pass --permissive, which then does not serve this server)",
            ],
        ),
        (
            server("TLS", "{mode: AUTO_PASSTHROUGH}"),
            &[
                "6: Gateway/default/g: spec.servers[0].tls.mode: mode AUTO_PASSTHROUGH is not enforced by ringway yet (remove it, or pass --permissive, which then does not serve this server)",
            ],
        ),
        (
            gateway("{port: {number: 443, name: h, protocol: HTTPS}, hosts: [a.com]}"),
            &[
                r#"6: Gateway/default/g: spec.servers[0]: a port of protocol HTTPS or TLS needs "tls" (write "mode: PASSTHROUGH", or where its certificate is)"#,
            ],
        ),
        (server("HTTPS", "{mode: PASSTHROUGH}"), &[]),
        (server("TLS", "{}"), &[]),
        (
            server("TLS", "{mode: PASSTHROUGH, credentialName: a, minProtocolVersion: TLSV1_2}"),
            &[
                r#"6: Gateway/default/g: spec.servers[0].tls: warning: mode PASSTHROUGH uses no certificates (write "mode: SIMPLE" to use them)"#,
                "6: Gateway/default/g: spec.servers[0].tls.minProtocolVersion: warning: mode PASSTHROUGH leaves TLS to whoever it goes on to: no effect (remove it)",
            ],
        ),
        (
            server("TCP", "{mode: PASSTHROUGH}"),
            &[
                "6: Gateway/default/g: spec.servers[0].tls: only a port of protocol HTTPS or TLS has TLS settings (change its protocol)",
            ],
        ),
        (
            gateway("{port: {number: 3306, name: h, protocol: MYSQL}, hosts: ['*']}"),
            &[
                "6: Gateway/default/g: spec.servers[0].port.protocol: protocol MYSQL of a Gateway server is not enforced by ringway yet (remove it, or pass --permissive, which then does not serve this server)",
            ],
        ),
    ]);
}

#[test]
fn sidecars() {
    let sidecar = |spec: &str| istio("Sidecar", "s", spec);
    check(&[
        (sidecar("{egress: [{hosts: ['./*', 'istio-system/*', '*/a.com', '~/*', '~far/b.com']}]}"), &[]),
        (
            sidecar("{}"),
            &[r#"4: Sidecar/default/s: spec: is empty (write "egress", "ingress" or "outboundTrafficPolicy")"#],
        ),
        (
            sidecar("{outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS}}"),
            &[
                "4: Sidecar/default/s: spec.outboundTrafficPolicy.mode: is a mode of MeshConfig only (write it under the Proxy's spec.meshConfig, or ALLOW_ANY here)",
            ],
        ),
        (
            sidecar("{outboundTrafficPolicy: {}, workloadSelector: {}}"),
            &[
                "4: Sidecar/default/s: spec.workloadSelector: warning: selects every workload of its namespace (write the labels to select by)",
                r#"4: Sidecar/default/s: spec.outboundTrafficPolicy: warning: without a mode is REGISTRY_ONLY, unlike no policy at all (write the "mode")"#,
            ],
        ),
        (
            sidecar("{outboundTrafficPolicy: {mode: REGISTRY_ONLY, egressProxy: {host: web, subset: a_b}}}"),
            &[
                "4: Sidecar/default/s: spec.outboundTrafficPolicy.egressProxy: needs mode ALLOW_ANY (with REGISTRY_ONLY nothing undeclared is sent anywhere)",
                r#"4: Sidecar/default/s: spec.outboundTrafficPolicy.egressProxy.subset: "a_b" is not a subset's name (letters, digits and "-")"#,
                r#"4: Sidecar/default/s: spec.outboundTrafficPolicy.egressProxy: needs a port (write "port: {number: 3128}")"#,
            ],
        ),
        (
            sidecar(
                "{outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: proxy.example.com, port: {number: 3128}}}}",
            ),
            &[
                r#"4: Sidecar/default/s: spec.outboundTrafficPolicy.egressProxy.host: warning: there is no service "proxy.example.com": requests to undeclared hosts get 503 NC [IST0101]"#,
            ],
        ),
        (
            sidecar("{egress: [{hosts: [a.com, 'B/c.com', './d', './*e.com']}, {}]}"),
            &[
                r#"4: Sidecar/default/s: spec.egress[0].hosts[0]: "a.com" names no namespace (write "*/a.com" or "./a.com")"#,
                r#"4: Sidecar/default/s: spec.egress[0].hosts[1]: "B" is not a namespace (write a name, ".", "*" or "~" before the "/")"#,
                r#"4: Sidecar/default/s: spec.egress[0].hosts[2]: host "d" is a short name (write a full name, "*.example.com" or "*")"#,
                r#"4: Sidecar/default/s: spec.egress[0].hosts[3]: host "*e.com" has a wildcard for a part of a label (write a full name, "*.example.com" or "*")"#,
                "4: Sidecar/default/s: spec.egress[0]: the listener without a port must be the last, and the only one",
                r#"4: Sidecar/default/s: spec.egress[1]: needs at least one host (write "*/*" for every host)"#,
            ],
        ),
        (
            sidecar(
                "{egress: [{port: {number: 80, protocol: HTPP, name: a_b}, bind: here, captureMode: ALL, hosts: ['*/*']}, {port: {number: 80, protocol: HTTP}, hosts: ['*/*']}]}",
            ),
            &[
                r#"4: Sidecar/default/s: spec.egress[0].captureMode: "ALL" is not one of DEFAULT, IPTABLES, NONE"#,
                r#"4: Sidecar/default/s: spec.egress[0].bind: "here" is not an IP address"#,
                r#"4: Sidecar/default/s: spec.egress[0].port.protocol: "HTPP" is not one of HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, TCP, TLS (did you mean "HTTP"?)"#,
                r#"4: Sidecar/default/s: spec.egress[0].port.name: "a_b" is not a port's name (letters, digits and "-")"#,
                "4: Sidecar/default/s: spec.egress[1]: a second listener on port 80 (give each listener its own port)",
            ],
        ),
        (
            sidecar(
                "{egress: [{port: {number: 0}, bind: 'unix:///a', hosts: ['*/*']}, {port: {number: 81, protocol: UDP}, hosts: ['*/*']}, {port: {number: 82, protocol: HTTP_PROXY}, captureMode: IPTABLES, hosts: ['*/*']}, {port: {protocol: TCP, targetPort: 1}, hosts: ['*/*']}, {port: {number: 0}, hosts: ['*/*']}, {captureMode: NONE, hosts: ['*/*']}]}",
            ),
            &[
                r#"4: Sidecar/default/s: spec.egress[0].bind: a unix socket as "bind" is not enforced by ringway yet (remove it, or pass --permissive to serve without it)"#,
                "4: Sidecar/default/s: spec.egress[1].port.protocol: protocol UDP of a listener is not enforced by ringway yet (remove it, or pass --permissive to serve without it)",
                "4: Sidecar/default/s: spec.egress[2].captureMode: captureMode IPTABLES of an HTTP proxy is not enforced by ringway yet (remove it, or pass --permissive, which then does not serve this Sidecar)",
                r#"4: Sidecar/default/s: spec.egress[3].port.targetPort: "targetPort" was removed from Istio (it never had an effect on Sidecars)"#,
                r#"4: Sidecar/default/s: spec.egress[3].port: "number" is required"#,
                "4: Sidecar/default/s: spec.egress[4].port.number: must be between 1 and 65535, not 0",
                "4: Sidecar/default/s: spec.egress[5].captureMode: captureMode NONE without a port is not enforced by ringway yet (remove it, or pass --permissive to serve without it)",
            ],
        ),
        (
            sidecar("{egress: [{bind: 127.0.0.1, hosts: ['*/*']}]}"),
            &[
                r#"4: Sidecar/default/s: spec.egress[0].bind: "bind" without a port is not enforced by ringway yet (remove it, or pass --permissive to serve without it)"#,
            ],
        ),
        (
            sidecar(
                "{ingress: [{port: {number: 80, protocol: HTTP}, defaultEndpoint: '10.0.0.1:80', tls: {mode: SIMPLE, credentialName: a}}, {}], inboundConnectionPool: {}}",
            ),
            &[
                r#"4: Sidecar/default/s: spec.inboundConnectionPool: has no settings (write "tcp" or "http")"#,
                r#"4: Sidecar/default/s: spec.ingress[0].tls: "tls" is not enforced by ringway yet (remove it, or pass --permissive, which then does not serve this listener)"#,
                r#"4: Sidecar/default/s: spec.ingress[0].defaultEndpoint: "10.0.0.1:80" is not an address of this workload (write it like 127.0.0.1:8080)"#,
                "4: Sidecar/default/s: spec.ingress[0].tls: only a port of protocol HTTPS or TLS has TLS settings (change its protocol)",
                r#"4: Sidecar/default/s: spec.ingress[1]: "port" is required"#,
                r#"4: Sidecar/default/s: spec.ingress[1]: an ingress listener without "defaultEndpoint" is not enforced by ringway yet (remove it, or pass --permissive, which then does not serve this listener)"#,
            ],
        ),
        (
            sidecar(
                "{ingress: [{port: {number: 80}, captureMode: IPTABLES, defaultEndpoint: 'unix://a', connectionPool: {tcp: {maxConnections: -1}}}, {port: {number: 80}, bind: 'unix:///b', defaultEndpoint: '127.0.0.1:0'}]}",
            ),
            &[
                "4: Sidecar/default/s: spec.ingress[0].captureMode: captureMode IPTABLES of an ingress listener is not enforced by ringway yet (remove it, or pass --permissive, which then does not serve this listener)",
                r#"4: Sidecar/default/s: spec.ingress[0].defaultEndpoint: "unix://a" is not a socket's path (write it like unix:///run/app.sock)"#,
                "4: Sidecar/default/s: spec.ingress[0].connectionPool.tcp.maxConnections: must be between 0 and 2147483647, not -1",
                r#"4: Sidecar/default/s: spec.ingress[1].bind: a unix socket as "bind" is not enforced by ringway yet (remove it, or pass --permissive to serve without it)"#,
                "4: Sidecar/default/s: spec.ingress[1]: a second listener on port 80 (give each listener its own port)",
                r#"4: Sidecar/default/s: spec.ingress[1].defaultEndpoint: "127.0.0.1:0" is not an address of this workload (write it like 127.0.0.1:8080)"#,
            ],
        ),
    ]);
}

#[test]
fn workload_groups() {
    let group = |spec: &str| istio("WorkloadGroup", "w", spec);
    const TEMPLATE: &str = "4: WorkloadGroup/default/w: spec: warning: is a template: it makes no endpoints by itself (write a WorkloadEntry for each address)";
    check(&[
        (
            group(
                "{metadata: {labels: {app: a}}, template: {ports: {http: 80}, serviceAccount: a}, probe: {periodSeconds: 5, httpGet: {port: 80, path: /, httpHeaders: [{name: a, value: b}]}}}",
            ),
            &[TEMPLATE],
        ),
        (
            group("{template: {address: 'a b', ports: {'-': 0}}, probe: {periodSeconds: -1}}"),
            &[
                TEMPLATE,
                "4: WorkloadGroup/default/w: spec.probe.periodSeconds: must be between 0 and 2147483647, not -1",
                r#"4: WorkloadGroup/default/w: spec.probe: needs exactly one way to look (write "httpGet", "tcpSocket", "exec" or "grpc")"#,
                r#"4: WorkloadGroup/default/w: spec.template.ports[-]: "-" is not a port's name (letters, digits and "-")"#,
                "4: WorkloadGroup/default/w: spec.template.ports[-]: must be between 1 and 65535, not 0",
                r#"4: WorkloadGroup/default/w: spec.template.address: "a b" is not an address (write an IP address, without a port)"#,
            ],
        ),
        (
            group("{probe: {httpGet: {scheme: FTP, httpReqHeaders: []}}}"),
            &[
                TEMPLATE,
                r#"4: WorkloadGroup/default/w: spec.probe.httpGet.httpReqHeaders: unknown field "httpReqHeaders" in HTTPHealthCheckConfig (did you mean "httpHeaders"?)"#,
                r#"4: WorkloadGroup/default/w: spec.probe.httpGet: "port" is required"#,
                r#"4: WorkloadGroup/default/w: spec.probe.httpGet.scheme: "FTP" is not one of HTTP, HTTPS"#,
                r#"4: WorkloadGroup/default/w: spec: "template" is required"#,
            ],
        ),
    ]);
}
