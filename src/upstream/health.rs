//! The health of a cluster's endpoints as one core sees it: what comes of tries goes out to all cores, who is ejected
//! comes in from them.
//!
//! A pick of a cluster with `outlierDetection` costs one load more than one without: only when that says that there is
//! news, the balancer is told anew who is healthy.

use std::cell::Cell;
use std::time::Instant;

use super::shared::SharedCluster;
use crate::base::id::EndpointId;
use crate::base::rng::Rng;
use crate::io;
use crate::policy::balance::Balancer;
use crate::policy::outlier::{Outcome, Outlier};

/// What a retry keeps away from, as far as there is anything else.
#[derive(Debug, Clone, Copy, Default)]
pub struct Avoid<'a> {
    /// These endpoints: those that the request has tried (`retryIgnorePreviousHosts`).
    pub endpoints: &'a [EndpointId],
    /// The priorities of these endpoints, in the order in which they were tried (`retryRemoteLocalities`).
    pub priorities_of: &'a [EndpointId],
}

/// A cluster's rule, and how far this core has followed what it led to.
#[derive(Debug)]
pub(super) struct LocalHealth {
    rule: Outlier,
    /// [`ClusterHealth::changes`](crate::policy::outlier::ClusterHealth::changes) when the balancer was told last.
    followed: Cell<Option<u32>>,
}

impl LocalHealth {
    pub(super) fn new(rule: &Outlier) -> Self {
        Self { rule: rule.clone(), followed: Cell::new(None) }
    }

    /// Tells the balancer who is healthy, if that has changed since.
    pub(super) fn follow(&self, shared: &SharedCluster, balancer: &mut Balancer, now: Instant, rng: &mut Rng) {
        let Some(health) = &shared.health else { return };
        // Looked at first: what changes meanwhile is followed by the next pick.
        let changes = Some(health.changes());
        if self.followed.replace(changes) != changes {
            let healthy = |at: usize| shared.endpoints.get(at).is_none_or(|endpoint| !endpoint.is_ejected());
            balancer.health_changed(healthy, now, rng);
        }
    }

    /// A try at the endpoint `at` says this of it.
    pub(super) fn report(&self, shared: &SharedCluster, at: EndpointId, outcome: Outcome) {
        if let (Some(health), Some(endpoint)) = (&shared.health, shared.endpoints.get(at.index())) {
            self.rule.report(health, endpoint, outcome, io::now);
        }
    }
}
