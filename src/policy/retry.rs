//! Retries: which outcomes of an attempt are retried, how often, and after how long.
//!
//! `proxy` asks once an attempt; the other conditions (the request can still be sent again, the breaker has a retry
//! left) are known only there.

use std::time::Duration;

use crate::base::rng::Rng;

/// A route's retry policy: `retries` of its rule, else the mesh's `defaultHttpRetryPolicy`, else Istio's default: two
/// retries of requests that never reached the upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// `attempts`: retries after the first attempt, at least 1.
    pub attempts: u32,
    /// `perTryTimeout`; `None`: only the route's timeout bounds an attempt.
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

/// How an attempt ended, as far as retrying goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The upstream answered.
    Answered(ResponseSummary),
    /// No connection came up: refused, unreachable, or not in time.
    ConnectFailed,
    /// The connection ended or the upstream broke the protocol, before a response head.
    Reset {
        /// Whether anything of the request had been sent by then.
        sent: bool,
    },
    /// No response head came within `perTryTimeout`.
    TimedOut,
    /// A circuit breaker refused the attempt.
    Overflow,
}

/// The parts of a response head that decide about a retry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ResponseSummary {
    /// The status.
    pub status: u16,
    /// `x-envoy-ratelimited` is there.
    pub rate_limited: bool,
    /// `grpc-status`.
    pub grpc_status: Option<u8>,
}

impl RetryOn {
    /// Whether this outcome is to be tried again.
    #[must_use]
    pub fn covers(&self, outcome: Outcome) -> bool {
        let any_reset = self.server_error || self.gateway_error || self.reset;
        match outcome {
            Outcome::Answered(answer) => self.covers_answer(answer),
            Outcome::ConnectFailed => any_reset || self.reset_before_request || self.connect_failure,
            Outcome::Reset { sent } => any_reset || (self.reset_before_request && !sent),
            Outcome::TimedOut => any_reset,
            Outcome::Overflow => false,
        }
    }

    fn covers_answer(&self, answer: ResponseSummary) -> bool {
        if answer.rate_limited {
            return self.rate_limited;
        }
        let status = answer.status;
        (self.server_error && matches!(status, 500..=599))
            || (self.gateway_error && matches!(status, 502..=504))
            || (self.retriable_4xx && status == 409)
            || self.statuses.binary_search(&status).is_ok()
            || answer.grpc_status.is_some_and(|status| self.grpc_statuses.binary_search(&status).is_ok())
    }
}

/// The decision after an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryDecision {
    /// No retry: the outcome is final.
    Keep {
        /// Whether a retry led to it.
        retried: bool,
    },
    /// It would be tried again, but the retries are used up.
    UsedUp,
    /// It is tried again, if a retry is to be had.
    Again,
}

impl RetryPolicy {
    /// The decision after `outcome`, when `retries` retries have been made.
    #[must_use]
    pub fn next(&self, outcome: Outcome, retries: u32) -> RetryDecision {
        if !self.on.covers(outcome) {
            RetryDecision::Keep { retried: retries > 0 }
        } else if retries >= self.attempts {
            RetryDecision::UsedUp
        } else {
            RetryDecision::Again
        }
    }

    /// How long to wait before the `retry`th retry, from 1: uniform below a bound that doubles from one to the next, up
    /// to ten times the base.
    #[must_use]
    pub fn wait(&self, retry: u32, rng: &mut Rng) -> Duration {
        let base = u64::try_from(self.backoff.as_micros()).unwrap_or(u64::MAX);
        let doubled = base.saturating_mul(1 << retry.saturating_sub(1).min(4));
        Duration::from_micros(rng.below(doubled.min(base.saturating_mul(10))))
    }
}

#[cfg(test)]
mod tests;
