//! Circuit breaker limits of a cluster: how many connections, waiting requests, requests and retries there may be at a
//! time, over all cores together.

use std::time::Duration;

/// The limits of one cluster; `None`: unlimited, which is Istio's default and costs nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct BreakerLimits {
    /// `connectionPool.tcp.maxConnections`.
    pub connections: Option<u32>,
    /// `connectionPool.http.http1MaxPendingRequests`: requests without a connection.
    pub pending: Option<u32>,
    /// `connectionPool.http.http2MaxRequests`: requests under way, of HTTP/1.1 as well.
    pub requests: Option<u32>,
    /// `connectionPool.http.maxRetries`: retries under way. Not looked at where there is a budget.
    pub retries: Option<u32>,
    /// `retryBudget`.
    pub retry_budget: Option<RetryBudget>,
}

/// `retryBudget`: retries under way as a share of the requests under way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryBudget {
    /// `percent` of the requests that are active or pending; 20 by default.
    pub percent: f64,
    /// `minRetryConcurrency`: so many retries are allowed in any case; 3 by default.
    pub min_concurrency: u32,
    /// `budgetInterval`: requests count for this long after they began; 0: only while they are under way.
    pub interval: Duration,
}
