//! A cluster's settings for each of its connections: timeouts, keepalive, the longest time and the most requests.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::plan::{Cluster, Keepalive};
use crate::policy::permits::RetryBudget;

/// A cluster's settings for each of its connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConnectionSettings {
    pub(super) connect_timeout: Duration,
    pub(super) keepalive: Option<Keepalive>,
    pub(super) max_requests: Option<NonZeroU32>,
    pub(super) max_duration: Option<Duration>,
    pub(super) retry_budget: Option<RetryBudget>,
}

impl ConnectionSettings {
    pub(super) fn of(cluster: &Cluster) -> Self {
        Self {
            connect_timeout: cluster.connect_timeout,
            keepalive: cluster.keepalive,
            max_requests: cluster.max_requests,
            max_duration: cluster.max_duration,
            retry_budget: cluster.limits.retry_budget,
        }
    }
}
