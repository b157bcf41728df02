//! Sentences that were not true once, and words that mean something else to others.

use super::{check, destination_rule_alone, gateway, istio, lines, problems, proxy, rule, service};

/// Kinds of these names that others have: they are passed over, and nobody is told to write what stands there.
#[test]
fn kinds_of_other_groups_are_not_ours() {
    let known = [
        "Gateway",
        "VirtualService",
        "DestinationRule",
        "ServiceEntry",
        "WorkloadEntry",
        "WorkloadGroup",
        "Sidecar",
        "Service",
        "Endpoints",
        "EndpointSlice",
        "Pod",
        "Secret",
        "Proxy",
    ];
    let groups = [
        "serving.knative.dev",
        "appmesh.k8s.aws",
        "gateway.solo.io",
        "config.openshift.io",
        "multicluster.x-k8s.io",
        "getambassador.io",
        "kuma.io",
        "opentelemetry.io",
        "example.com",
    ];
    for kind in known {
        for group in groups {
            let found = lines(&problems(
                format!("apiVersion: {group}/v1\nkind: {kind}\nmetadata: {{name: a}}\n").as_bytes(),
                false,
            ));
            let [line] = found.as_slice() else { panic!("{kind} of {group}: {found:#?}") };
            let what = format!(
                "1: {kind}/default/a: warning: {kind} of {group} has no meaning for a proxy and is passed over (the {kind} that \
                 is read is that of "
            );
            assert!(line.starts_with(&what), "{line}");
        }
    }
    check(&[
        (
            "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: a}\n".to_owned(),
            &[
                r#"1: Service/default/a: warning: Service of serving.knative.dev has no meaning for a proxy and is passed over (the Service that is read is that of "v1")"#,
            ],
        ),
        // A near name in a group of its own is no slip, in Kubernetes' own it is.
        (
            "apiVersion: serving.knative.dev/v1\nkind: Services\nmetadata: {name: a}\n".to_owned(),
            &["1: Services/default/a: warning: Services has no meaning for a proxy and is passed over"],
        ),
        (
            "apiVersion: v1\nkind: Services\nmetadata: {name: a}\n".to_owned(),
            &[
                r#"1: Services/default/a: warning: Services has no meaning for a proxy and is passed over (did you mean "Service"?)"#,
            ],
        ),
    ]);
}

/// Where the group itself has a slip in it, the document is meant for us.
#[test]
fn slips_in_groups_are_errors() {
    for (group, kind, right) in [
        ("networking.istio.oi/v1", "VirtualService", "networking.istio.io/v1"),
        ("network.istio.io/v1", "Gateway", "networking.istio.io/v1"),
        ("security.istio.io/v1", "VirtualService", "networking.istio.io/v1"),
        ("networking.k8s.io/v1", "DestinationRule", "networking.istio.io/v1"),
        ("apps/v1", "Sidecar", "networking.istio.io/v1"),
        ("apps/v1", "Service", "v1"),
        ("core/v1", "Pod", "v1"),
        ("v1", "EndpointSlice", "discovery.k8s.io/v1"),
        ("discovery.k8s.io/v1beta1", "EndpointSlice", "discovery.k8s.io/v1"),
        ("v1", "Proxy", "ringway.dev/v1"),
    ] {
        let found =
            lines(&problems(format!("apiVersion: {group}\nkind: {kind}\nmetadata: {{name: a}}\n").as_bytes(), false));
        let expected =
            format!("1: {kind}/default/a: apiVersion: \"{group}\" is not an apiVersion of {kind} (write \"{right}\")");
        assert_eq!(found.first(), Some(&expected), "{found:#?}");
    }
}

fn hashed(header: &str) -> String {
    destination_rule_alone(&format!(
        "{{host: a.com, trafficPolicy: {{loadBalancer: {{consistentHash: {{httpHeaderName: '{header}'}}}}}}}}"
    )) + "---\n"
        + &istio(
            "ServiceEntry",
            "s",
            "{hosts: [a.com], resolution: STATIC, endpoints: [{address: 10.0.0.1}], ports: [{number: 80, name: http, protocol: HTTP}]}",
        )
}

#[test]
fn headers_that_are_always_there_are_not_missed() {
    let said = |yaml: &str| lines(&problems(yaml.as_bytes(), false));
    let note = |header: &str| {
        format!(
            "4: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.consistentHash: note: requests without the header \
             \"{header}\" go to any endpoint (an httpCookie with a \"ttl\" is made where it is missing)"
        )
    };
    for header in [":authority", "Host", "host", ":method", ":path", "x-forwarded-for", "X-Forwarded-For"] {
        assert_eq!(said(&hashed(header)), [""; 0], "{header}");
    }
    for header in ["x-user", "x-forwarded", "authorization"] {
        assert_eq!(said(&hashed(header)), [note(header)], "{header}");
    }
    let mesh = hashed("x-forwarded-for") + "---\n" + &proxy("{mesh: {listen: '127.0.0.1:15001'}}");
    assert_eq!(said(&mesh), [note("x-forwarded-for")]);
}

/// What the proxy writes itself or removes says nothing of the client.
#[test]
fn headers_that_are_hashed_in_vain() {
    let said = |yaml: &str| lines(&problems(yaml.as_bytes(), false));
    let place = "4: DestinationRule/default/d: spec.trafficPolicy.loadBalancer.consistentHash.httpHeaderName: note: ";
    let removed = |name: &str| {
        format!(
            "{place}\"{}\" is removed before an endpoint is chosen: requests go to any endpoint (use a header of another name)",
            name.to_ascii_lowercase()
        )
    };
    let in_mesh = |name: &str| hashed(name) + "---\n" + &proxy("{mesh: {listen: '127.0.0.1:15001'}}");
    for name in [
        "x-forwarded-client-cert",
        "X-Forwarded-Client-Cert",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "x-envoy-internal",
        "x-envoy-upstream-service-time",
    ] {
        assert_eq!(said(&hashed(name)), [removed(name)], "{name}");
        assert_eq!(said(&in_mesh(name)), [removed(name)], "{name}");
    }
    for (name, what) in [
        (
            "connection",
            "\"connection\" is about the client's connection and is removed, but for upgrades: other requests go to any endpoint (use a header of another name)",
        ),
        (
            "upgrade",
            "\"upgrade\" is about the client's connection and is removed, but for upgrades: other requests go to any endpoint (use a header of another name)",
        ),
        (
            "x-envoy-external-address",
            "a Gateway writes the client's address into \"x-envoy-external-address\", whatever the client says (\"useSourceIp\" says the same)",
        ),
        (
            "x-request-id",
            "a Gateway writes another \"x-request-id\" for every request: each goes to any endpoint (use a header of another name)",
        ),
        (
            "x-forwarded-proto",
            "a Gateway writes \"x-forwarded-proto: http\" into every request: all of them go to one endpoint (use a header of another name)",
        ),
    ] {
        assert_eq!(said(&hashed(name)), [format!("{place}{what}")], "{name}");
    }
    for name in ["x-request-id", "x-forwarded-proto"] {
        assert_eq!(said(&in_mesh(name)), [""; 0], "{name}");
    }
}

/// The checks have a list of their own of what is removed.
#[test]
fn what_is_hashed_in_vain_is_what_is_never_sent() {
    for name in [
        "x-forwarded-client-cert",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "x-envoy-internal",
        "x-envoy-external-address",
        "x-envoy-upstream-service-time",
        "x-envoy-unheard-of",
        "x-envoy",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-request-id",
        "te",
        "expect",
        "content-length",
        "user-agent",
        "x-user",
    ] {
        let found = lines(&problems(hashed(name).as_bytes(), false)).join("\n");
        let removed = found.contains("is removed before an endpoint is chosen");
        assert_eq!(removed, ringway::http::forward::is_never_sent(name), "{name}: {found}");
    }
}

#[test]
fn long_values_do_not_fill_the_screen() {
    let long = "a".repeat(1023);
    let found = lines(&problems(rule(&format!("match: [{{uri: {{regex: /{long}}}}}]")).as_bytes(), false));
    let (start, end) = ("a".repeat(69), "a".repeat(30));
    assert!(found[0].contains(&format!("this one matches \"/{start}…{end}\" alone")), "{found:#?}");
    let bad = lines(&problems(
        rule(&format!("timeout: {long}\n    retries: {{retryOn: {long}, attempts: 1}}")).as_bytes(),
        false,
    ));
    assert_eq!(bad.len(), 2);
    let host = lines(&problems(
        gateway(&format!("{{port: {{number: 80, name: a, protocol: {long}}}, hosts: [{long}]}}")).as_bytes(),
        false,
    ));
    assert_eq!(host.len(), 2);
    for line in found.iter().chain(&bad).chain(&host) {
        assert!(line.chars().count() < 500, "{line}");
    }
}

#[test]
fn words_of_older_yaml_are_told() {
    let place = "8: VirtualService/default/v: spec.http[0].match[0].headers[x].exact: note: ";
    let exact = |value: &str| rule(&format!("match: [{{headers: {{x: {{exact: {value}}}}}}}]"));
    for (value, what) in [
        ("yes", "yes without quotes is a string here, and true to kubectl (YAML 1.1) (quote it: \"yes\")"),
        ("Off", "Off without quotes is a string here, and false to kubectl (YAML 1.1) (quote it: \"Off\")"),
        (
            "1_000",
            "1_000 without quotes is a string here, and the number 1000 to kubectl (YAML 1.1) (quote it: \"1_000\")",
        ),
        ("0b11", "0b11 without quotes is a string here, and the number 3 to kubectl (YAML 1.1) (quote it: \"0b11\")"),
        (
            "12:30",
            "12:30 without quotes is a string here, and the number 750 to other tools (YAML 1.1) (quote it: \"12:30\")",
        ),
    ] {
        assert_eq!(lines(&problems(exact(value).as_bytes(), false)), [format!("{place}{what}")]);
        for quoted in [format!("'{value}'"), format!("\"{value}\""), format!("!!str {value}")] {
            assert_eq!(lines(&problems(exact(&quoted).as_bytes(), false)), [""; 0], "{quoted}");
        }
    }
    let place = place.replace("note: ", "");
    for (value, fix) in [("010", "010"), ("0o7", "0o7"), ("true", "true")] {
        let kind = if value == "true" { "true or false" } else { "a number" };
        let expected = format!("{place}must be a string, not {kind} (quote it: \"{fix}\")");
        assert_eq!(lines(&problems(exact(value).as_bytes(), false)), [expected]);
    }
    check(&[
        // A key that is data is a string, too; numbers are the same to everybody.
        (
            rule("match: [{headers: {on: {exact: a}, '80': {exact: b}, 81: {exact: c}}}]"),
            &[
                r#"8: VirtualService/default/v: spec.http[0].match[0].headers[on]: note: the key on without quotes is a string here, and true to kubectl (YAML 1.1) (quote it: "on")"#,
            ],
        ),
        (
            service("{ports: [{port: 0100, name: http}]}"),
            &[
                "4: Service/default/web: spec.ports[0].port: note: 0100 is 100 here, and 64 to kubectl (octal) (write 100 or 64)",
            ],
        ),
        // Nobody else reads this one.
        (
            proxy("{admin: off, ports: {080: 0100}}"),
            &["4: Proxy/default/edge: spec.ports[80]: warning: no Gateway that is served has a port 80"],
        ),
    ]);
}
