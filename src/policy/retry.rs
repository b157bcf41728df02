//! Retries: which outcomes of a try are tried again, how often, and after how long.

use std::time::Duration;

/// What a route retries: `retries` of its rule, else the mesh's `defaultHttpRetryPolicy`, else Istio's default of two
/// retries of what never reached the upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// `attempts`: tries after the first, at least 1.
    pub attempts: u32,
    /// `perTryTimeout`; `None`: only the route's timeout bounds a try.
    pub per_try_timeout: Option<Duration>,
    /// `retryOn`.
    pub on: RetryOn,
    /// `backoff`: the base of the back-off; 25 ms by default. A wait is never longer than ten times this.
    pub backoff: Duration,
    /// `retryIgnorePreviousHosts`: endpoints that were tried already are avoided, as long as there are others.
    pub avoid_tried: bool,
    /// `retryRemoteLocalities`: priorities that were tried already are avoided.
    pub other_priorities: bool,
}

/// The conditions of `retryOn` that mean something for HTTP/1.1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetryOn {
    /// `5xx`.
    pub server_error: bool,
    /// `gateway-error`.
    pub gateway_error: bool,
    /// `reset`.
    pub reset: bool,
    /// `reset-before-request`.
    pub reset_before_request: bool,
    /// `connect-failure`.
    pub connect_failure: bool,
    /// `retriable-4xx`.
    pub retriable_4xx: bool,
    /// `envoy-ratelimited`.
    pub rate_limited: bool,
    /// The statuses listed by number (`retriable-status-codes`), sorted.
    pub statuses: Box<[u16]>,
    /// `cancelled`, `deadline-exceeded`, `internal`, `resource-exhausted`, `unavailable`: `grpc-status` in a response's
    /// headers, sorted.
    pub grpc_statuses: Box<[u8]>,
}
