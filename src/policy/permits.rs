//! Circuit breaker limits of a cluster: how many connections, waiting requests, requests and retries there may be at a
//! time, over all cores together.

mod cores;
mod crossing;
mod limit;
mod recent;
mod sync;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

pub use crossing::Crossing;
pub use limit::Limit;
pub use recent::Recent;

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

impl RetryBudget {
    /// The limit of concurrent retries for this many active requests.
    #[must_use]
    pub fn of(&self, requests: u32) -> u32 {
        let share = f64::from(requests) * self.percent / 100.0;
        self.min_concurrency.max(share as u32) // saturates
    }
}

/// The shared state of a cluster's circuit breaker, for all cores.
#[derive(Debug)]
pub struct Breaker {
    /// Of connections.
    pub connections: Crossing,
    /// Of requests without a connection.
    pub pending: Limit,
    /// Of requests under way.
    pub requests: Limit,
    /// Of retries under way.
    pub retries: Limit,
    /// Requests that have ended, for a budget with an interval.
    pub recent: Recent,
}

impl Breaker {
    /// A breaker without any permit taken, for this many cores.
    #[must_use]
    pub fn new(limits: &BreakerLimits, cores: usize) -> Self {
        Self {
            connections: Crossing::new(limits.connections, cores),
            pending: Limit::new(limits.pending),
            requests: Limit::new(limits.requests),
            retries: Limit::new(limits.retries),
            recent: Recent::default(),
        }
    }

    /// Takes a retry, if the budget or, without one, the limit has one left.
    #[must_use]
    pub fn take_retry(&self, budget: Option<&RetryBudget>, now: Instant) -> bool {
        match budget {
            Some(budget) => self.retries.take_below(|| self.allowed(budget, now)),
            None => self.retries.take(),
        }
    }

    /// How many retries a budget allows at a time, as things are.
    #[must_use]
    pub fn allowed(&self, budget: &RetryBudget, now: Instant) -> u32 {
        let under_way = self.requests.taken().saturating_add(self.pending.taken());
        budget.of(under_way.saturating_add(self.recent.count(now, budget.interval)))
    }

    /// Whether no further retry may be made.
    #[must_use]
    pub fn retries_are_used_up(&self, budget: Option<&RetryBudget>, now: Instant) -> bool {
        match budget {
            Some(budget) => self.retries.taken() >= self.allowed(budget, now),
            None => self.retries.is_used_up(),
        }
    }

    /// Changes the limits. Permits above a lower limit stay taken until they are given back.
    pub fn resize(&self, limits: &BreakerLimits) {
        self.connections.limit().resize(limits.connections);
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
