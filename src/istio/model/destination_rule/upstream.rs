//! What a policy says about the connections to a destination: `connectionPool`, `outlierDetection`, `tls`, `tunnel`,
//! `proxyProtocol`, `retryBudget`. Not enforced yet, and checked all the same.

use crate::istio::model::scalar::host;
use crate::istio::reader::{Item, Message, Object, not_yet, not_yet_deprecated};

const CONNECTION_POOL: Message = Message { name: "ConnectionPoolSettings", fields: &[not_yet("tcp"), not_yet("http")] };

const TCP_SETTINGS: Message = Message {
    name: "TCPSettings",
    fields: &[
        not_yet("maxConnections"),
        not_yet("connectTimeout"),
        not_yet("tcpKeepalive"),
        not_yet("maxConnectionDuration"),
        not_yet("idleTimeout"),
    ],
};

const TCP_KEEPALIVE: Message =
    Message { name: "TcpKeepalive", fields: &[not_yet("probes"), not_yet("time"), not_yet("interval")] };

const HTTP_SETTINGS: Message = Message {
    name: "HTTPSettings",
    fields: &[
        not_yet("http1MaxPendingRequests"),
        not_yet("http2MaxRequests"),
        not_yet("maxRequestsPerConnection"),
        not_yet("maxRetries"),
        not_yet("idleTimeout"),
        not_yet("h2UpgradePolicy"),
        not_yet("useClientProtocol"),
        not_yet("maxConcurrentStreams"),
        not_yet("http2KeepAlive"),
    ],
};

const HTTP2_KEEPALIVE: Message =
    Message { name: "ConnectionKeepalive", fields: &[not_yet("interval"), not_yet("timeout")] };

const OUTLIER_DETECTION: Message = Message {
    name: "OutlierDetection",
    fields: &[
        not_yet_deprecated("consecutiveErrors", "write \"consecutiveGatewayErrors\" or \"consecutive5xxErrors\""),
        not_yet("splitExternalLocalOriginErrors"),
        not_yet("consecutiveLocalOriginFailures"),
        not_yet("consecutiveGatewayErrors"),
        not_yet("consecutive5xxErrors"),
        not_yet("interval"),
        not_yet("baseEjectionTime"),
        not_yet("maxEjectionPercent"),
        not_yet("minHealthPercent"),
        not_yet("outlierDetectionHttpErrorCodes"),
    ],
};

const CLIENT_TLS: Message = Message {
    name: "ClientTLSSettings",
    fields: &[
        not_yet("mode"),
        not_yet("clientCertificate"),
        not_yet("privateKey"),
        not_yet("caCertificates"),
        not_yet("credentialName"),
        not_yet("subjectAltNames"),
        not_yet("sni"),
        not_yet("insecureSkipVerify"),
        not_yet("caCrl"),
    ],
};

const TUNNEL: Message =
    Message { name: "TunnelSettings", fields: &[not_yet("protocol"), not_yet("targetHost"), not_yet("targetPort")] };

const PROXY_PROTOCOL: Message = Message { name: "ProxyProtocol", fields: &[not_yet("version")] };

const RETRY_BUDGET: Message = Message {
    name: "RetryBudget",
    fields: &[not_yet("percent"), not_yet("minRetryConcurrency"), not_yet("budgetInterval")],
};

/// The tables of this file.
pub(super) const MESSAGES: &[&Message] = &[
    &CONNECTION_POOL,
    &TCP_SETTINGS,
    &TCP_KEEPALIVE,
    &HTTP_SETTINGS,
    &HTTP2_KEEPALIVE,
    &OUTLIER_DETECTION,
    &CLIENT_TLS,
    &TUNNEL,
    &PROXY_PROTOCOL,
    &RETRY_BUDGET,
];

/// The largest value of protobuf's `int32`.
const MAX_INT: u32 = i32::MAX as u32;

/// Checks these fields of a policy.
pub(super) fn check(policy: &Object<'_>) {
    policy.verify("connectionPool", connection_pool);
    policy.verify("outlierDetection", outlier_detection);
    policy.verify("tls", client_tls);
    policy.verify("tunnel", tunnel);
    policy
        .verify("proxyProtocol", |item| item.outline(&PROXY_PROTOCOL)?.get("version")?.one_of(&["V1", "V2"]).map(drop));
    policy.verify("retryBudget", retry_budget);
    if let (Some(_), Some(item)) = (policy.get("tunnel"), policy.get("proxyProtocol")) {
        item.error("stands beside \"tunnel\"", "keep one of them");
    }
}

/// Reads a ConnectionPoolSettings, also a Sidecar's.
pub(in crate::istio) fn connection_pool(item: &Item<'_>) -> Option<()> {
    let object = item.outline(&CONNECTION_POOL)?;
    if !object.has_any(&["tcp", "http"]) {
        item.error("has no settings", "write \"tcp\" or \"http\"");
    }
    object.verify("tcp", tcp_settings);
    object.verify("http", http_settings);
    Some(())
}

fn tcp_settings(item: &Item<'_>) -> Option<()> {
    let object = item.outline(&TCP_SETTINGS)?;
    object.verify("maxConnections", |item| item.whole(0, MAX_INT));
    object.verify("connectTimeout", Item::duration);
    object.verify("maxConnectionDuration", Item::duration);
    object.verify("idleTimeout", Item::duration_or_zero);
    object.verify("tcpKeepalive", |item| {
        let object = item.outline(&TCP_KEEPALIVE)?;
        object.verify("probes", |item| item.whole(0, u32::MAX));
        object.verify("time", Item::duration);
        object.verify("interval", Item::duration);
        Some(())
    });
    Some(())
}

fn http_settings(item: &Item<'_>) -> Option<()> {
    let object = item.outline(&HTTP_SETTINGS)?;
    let counts = [
        "http1MaxPendingRequests",
        "http2MaxRequests",
        "maxRequestsPerConnection",
        "maxRetries",
        "maxConcurrentStreams",
    ];
    for name in counts {
        object.verify(name, |item| item.whole(0, MAX_INT));
    }
    object.verify("idleTimeout", Item::duration);
    let upgrade = object.get("h2UpgradePolicy").and_then(|item| item.one_of(&["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"]));
    let client_protocol = object.get("useClientProtocol").and_then(|item| item.bool());
    if upgrade == Some("UPGRADE") && client_protocol == Some(true) {
        item.error("has both \"h2UpgradePolicy: UPGRADE\" and \"useClientProtocol: true\"", "keep one of them");
    }
    object.verify("http2KeepAlive", |item| {
        let object = item.outline(&HTTP2_KEEPALIVE)?;
        object.required("interval").and_then(|item| item.duration());
        object.required("timeout")?.duration().map(drop)
    });
    Some(())
}

fn outlier_detection(item: &Item<'_>) -> Option<()> {
    let object = item.outline(&OUTLIER_DETECTION)?;
    object.verify("consecutiveErrors", |item| item.whole(0, MAX_INT));
    object.verify("consecutiveGatewayErrors", |item| item.whole(0, u32::MAX));
    object.verify("consecutive5xxErrors", |item| item.whole(0, u32::MAX));
    object.verify("interval", Item::duration);
    object.verify("baseEjectionTime", Item::duration);
    object.verify("maxEjectionPercent", |item| item.whole(0, 100));
    object.verify("minHealthPercent", |item| item.whole(0, 100));
    object.verify_each("outlierDetectionHttpErrorCodes", |item| item.whole(100, 599));
    let split = object.get("splitExternalLocalOriginErrors").and_then(|item| item.bool()).unwrap_or_default();
    let local = object.get("consecutiveLocalOriginFailures")?;
    if local.whole(0, u32::MAX)? > 0 && !split {
        local.error(
            "has an effect only where local errors are counted apart",
            "write splitExternalLocalOriginErrors: true",
        );
    }
    Some(())
}

/// Reads a ClientTLSSettings: which of its fields go together (Istio's `ValidateTLS`).
fn client_tls(item: &Item<'_>) -> Option<()> {
    let object = item.outline(&CLIENT_TLS)?;
    let mode = match object.get("mode") {
        Some(item) => item.one_of(&["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"])?,
        None => "DISABLE",
    };
    let written = |name: &str| !object.text(name).is_empty();
    let names = !object.list("subjectAltNames").is_empty();
    object.verify("sni", Item::string);
    if object.get("insecureSkipVerify").and_then(|item| item.bool()).unwrap_or_default() {
        let credential = mode == "SIMPLE" && written("credentialName");
        if matches!(mode, "SIMPLE" | "MUTUAL") && (written("caCertificates") || names || credential) {
            item.error("names whom to trust, and insecureSkipVerify trusts everyone", "keep one of them");
        }
    }
    let files = ["clientCertificate", "caCertificates", "privateKey", "caCrl"];
    if matches!(mode, "SIMPLE" | "MUTUAL") && written("credentialName") {
        for file in files.into_iter().filter(|file| written(file)) {
            item.error(format!("has both \"credentialName\" and \"{file}\""), "keep one of them");
        }
    } else if mode == "MUTUAL" {
        for file in ["clientCertificate", "privateKey"].into_iter().filter(|file| !written(file)) {
            item.error(format!("mode MUTUAL needs \"{file}\""), "or write \"credentialName\"");
        }
    }
    Some(())
}

fn tunnel(item: &Item<'_>) -> Option<()> {
    let object = item.outline(&TUNNEL)?;
    object.verify("protocol", |item| item.one_of(&["CONNECT", "POST"]));
    object.required("targetPort").and_then(|item| item.port());
    let target = object.required("targetHost")?;
    let name = target.string()?;
    if let (false, Err(why)) = (host::is_ip(name), host::check_name(name)) {
        target.error(format!("host \"{name}\" {why}"), "");
    }
    Some(())
}

fn retry_budget(item: &Item<'_>) -> Option<()> {
    let object = item.outline(&RETRY_BUDGET)?;
    object.verify("percent", |item| item.decimal(0.0, 100.0));
    object.verify("minRetryConcurrency", |item| item.whole(0, u32::MAX));
    object.verify("budgetInterval", Item::duration_or_zero);
    Some(())
}
