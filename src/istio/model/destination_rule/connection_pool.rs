//! `connectionPool` and `retryBudget`: the limits of concurrent connections, requests and retries of a
//! destination.
//!
//! 0 in a plain number is the default, as in Istio.

use std::time::Duration;

use crate::istio::reader::{Item, Message, Object, enforced, no_effect};

/// `connectionPool`, also of `meshConfig.defaultTrafficPolicy`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectionPool {
    /// `tcp.maxConnections`.
    pub max_connections: Option<u32>,
    /// `tcp.connectTimeout`; `None`: the mesh's.
    pub connect_timeout: Option<Duration>,
    /// `tcp.tcpKeepalive`.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// `tcp.maxConnectionDuration`.
    pub max_connection_duration: Option<Duration>,
    /// `tcp.idleTimeout`; zero: never. Of HTTP only where `http_idle_timeout` is absent.
    pub tcp_idle_timeout: Option<Duration>,
    /// `http.idleTimeout`.
    pub http_idle_timeout: Option<Duration>,
    /// `http.http1MaxPendingRequests`.
    pub max_pending_requests: Option<u32>,
    /// `http.http2MaxRequests`.
    pub max_requests: Option<u32>,
    /// `http.maxRequestsPerConnection`.
    pub max_requests_per_connection: Option<u32>,
    /// `http.maxRetries`.
    pub max_retries: Option<u32>,
}

/// `tcpKeepalive`: its presence turns probes on; `None` leaves the kernel's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TcpKeepalive {
    /// `probes`.
    pub probes: Option<u32>,
    /// `time`.
    pub time: Option<Duration>,
    /// `interval`.
    pub interval: Option<Duration>,
}

/// `retryBudget`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryBudget {
    /// `percent`; 20 when absent.
    pub percent: f64,
    /// `minRetryConcurrency`; 3 when absent.
    pub min_retry_concurrency: u32,
    /// `budgetInterval`; zero when absent.
    pub budget_interval: Duration,
}

const CONNECTION_POOL: Message =
    Message { name: "ConnectionPoolSettings", fields: &[enforced("tcp"), enforced("http")] };

const TCP_SETTINGS: Message = Message {
    name: "TCPSettings",
    fields: &[
        enforced("maxConnections"),
        enforced("connectTimeout"),
        enforced("tcpKeepalive"),
        enforced("maxConnectionDuration"),
        enforced("idleTimeout"),
    ],
};

const TCP_KEEPALIVE: Message =
    Message { name: "TcpKeepalive", fields: &[enforced("probes"), enforced("time"), enforced("interval")] };

/// Why the settings of HTTP/2 have no effect.
const HTTP1: &str = "connections to upstreams speak HTTP/1.1";

const HTTP_SETTINGS: Message = Message {
    name: "HTTPSettings",
    fields: &[
        enforced("http1MaxPendingRequests"),
        enforced("http2MaxRequests"),
        enforced("maxRequestsPerConnection"),
        enforced("maxRetries"),
        enforced("idleTimeout"),
        enforced("h2UpgradePolicy"),
        no_effect("useClientProtocol", HTTP1),
        no_effect("maxConcurrentStreams", HTTP1),
        no_effect("http2KeepAlive", HTTP1),
    ],
};

const HTTP2_KEEPALIVE: Message =
    Message { name: "ConnectionKeepalive", fields: &[no_effect("interval", HTTP1), no_effect("timeout", HTTP1)] };

const RETRY_BUDGET: Message = Message {
    name: "RetryBudget",
    fields: &[enforced("percent"), enforced("minRetryConcurrency"), enforced("budgetInterval")],
};

/// The tables of this file.
pub(super) const MESSAGES: &[&Message] =
    &[&CONNECTION_POOL, &TCP_SETTINGS, &TCP_KEEPALIVE, &HTTP_SETTINGS, &HTTP2_KEEPALIVE, &RETRY_BUDGET];

/// The largest value of protobuf's `int32`.
pub(super) const MAX_INT: u32 = i32::MAX as u32;

/// Reads a ConnectionPoolSettings.
pub(in crate::istio) fn read(item: &Item<'_>) -> Option<ConnectionPool> {
    let object = item.object(&CONNECTION_POOL)?;
    if !object.has_any(&["tcp", "http"]) && !item.is_damaged() {
        item.error("has no settings", "write \"tcp\" or \"http\"");
    }
    let mut pool = ConnectionPool::default();
    if let Some(tcp) = object.get("tcp").and_then(|item| item.object(&TCP_SETTINGS)) {
        tcp_settings(&tcp, &mut pool);
    }
    if let Some(http) = object.get("http").and_then(|item| item.object(&HTTP_SETTINGS)) {
        http_settings(&http, &mut pool);
    }
    Some(pool)
}

/// A number for which 0 means no limit.
fn limit(object: &Object<'_>, name: &str) -> Option<u32> {
    object.get(name).and_then(|item| item.whole(0, MAX_INT)).filter(|limit| *limit > 0)
}

fn tcp_settings(object: &Object<'_>, pool: &mut ConnectionPool) {
    pool.max_connections = limit(object, "maxConnections");
    pool.connect_timeout = object.get("connectTimeout").and_then(|item| item.duration());
    pool.max_connection_duration = object.get("maxConnectionDuration").and_then(|item| item.duration());
    pool.tcp_idle_timeout = object.get("idleTimeout").and_then(|item| item.duration_or_zero());
    pool.tcp_keepalive = object.get("tcpKeepalive").and_then(|item| tcp_keepalive(&item));
}

/// Reads a TcpKeepalive, also `meshConfig.tcpKeepalive`.
pub(in crate::istio) fn tcp_keepalive(item: &Item<'_>) -> Option<TcpKeepalive> {
    let object = item.object(&TCP_KEEPALIVE)?;
    let probes = object.get("probes").and_then(|item| item.whole(0, u32::MAX));
    Some(TcpKeepalive {
        probes: probes.filter(|probes| *probes > 0),
        time: object.get("time").and_then(|item| item.duration()),
        interval: object.get("interval").and_then(|item| item.duration()),
    })
}

fn http_settings(object: &Object<'_>, pool: &mut ConnectionPool) {
    pool.max_pending_requests = limit(object, "http1MaxPendingRequests");
    pool.max_requests = limit(object, "http2MaxRequests");
    pool.max_requests_per_connection = limit(object, "maxRequestsPerConnection");
    pool.max_retries = limit(object, "maxRetries");
    pool.http_idle_timeout = object.get("idleTimeout").and_then(|item| item.duration());
    object.verify("maxConcurrentStreams", |item| item.whole(0, MAX_INT));
    let upgrade = object.get("h2UpgradePolicy").and_then(|item| h2_upgrade_policy(&item));
    let client_protocol = object.get("useClientProtocol").and_then(|item| item.bool());
    if upgrade == Some("UPGRADE") && client_protocol == Some(true) {
        object.item.error("has both \"h2UpgradePolicy: UPGRADE\" and \"useClientProtocol: true\"", "keep one of them");
    }
    object.verify("http2KeepAlive", |item| {
        let object = item.outline(&HTTP2_KEEPALIVE)?;
        object.required("interval").and_then(|item| item.duration());
        object.required("timeout")?.duration().map(drop)
    });
}

/// Reads an `h2UpgradePolicy`, also of `meshConfig`: all values but UPGRADE are the behaviour in any case.
pub(in crate::istio) fn h2_upgrade_policy(item: &Item<'_>) -> Option<&'static str> {
    let policy = item.one_of(&["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"])?;
    if policy == "UPGRADE" {
        item.warn(format!("\"UPGRADE\" has no effect: {HTTP1}"), "");
    }
    Some(policy)
}

/// Reads a RetryBudget.
pub(super) fn retry_budget(item: &Item<'_>) -> Option<RetryBudget> {
    let object = item.object(&RETRY_BUDGET)?;
    Some(RetryBudget {
        percent: object.get("percent").and_then(|item| item.decimal(0.0, 100.0)).unwrap_or(20.0),
        min_retry_concurrency: object.get("minRetryConcurrency").and_then(|item| item.whole(0, u32::MAX)).unwrap_or(3),
        budget_interval: object.get("budgetInterval").and_then(|item| item.duration_or_zero()).unwrap_or_default(),
    })
}
