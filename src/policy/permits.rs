//! Circuit breaker limits of a cluster: how many connections, waiting requests, requests and retries there may be at a
//! time, over all cores together.

mod limit;
mod sync;

use std::time::Duration;

pub use limit::Limit;

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

/// What all cores share of a cluster's circuit breaker.
#[derive(Debug)]
pub struct Breaker {
    /// Of connections.
    pub connections: Limit,
    /// Of requests without a connection.
    pub pending: Limit,
    /// Of requests under way.
    pub requests: Limit,
    /// Of retries under way.
    pub retries: Limit,
}

impl Breaker {
    /// A breaker of which nothing is taken.
    #[must_use]
    pub fn new(limits: &BreakerLimits) -> Self {
        Self {
            connections: Limit::new(limits.connections),
            pending: Limit::new(limits.pending),
            requests: Limit::new(limits.requests),
            retries: Limit::new(limits.retries),
        }
    }

    /// Other limits from now on. What is taken above a lower one stays until it is given back.
    pub fn resize(&self, limits: &BreakerLimits) {
        self.connections.resize(limits.connections);
        self.pending.resize(limits.pending);
        self.requests.resize(limits.requests);
        self.retries.resize(limits.retries);
    }
}

impl BreakerLimits {
    /// Whether anything is limited, so that there is something to count.
    #[must_use]
    pub fn any(&self) -> bool {
        *self != Self::default()
    }
}
