//! The health of a cluster's endpoints as one core sees it: outcomes of attempts go out to all cores, ejections come
//! in from them.
//!
//! A pick of a cluster with `outlierDetection` costs one load more than one without: the balancer is updated only when
//! that load shows a change.

use std::cell::Cell;
use std::time::Instant;

use super::shared::SharedCluster;
use crate::base::id::EndpointId;
use crate::base::rng::Rng;
use crate::io;
use crate::policy::balance::Balancer;
use crate::policy::outlier::{Outcome, Outlier};

/// The endpoints and priorities that a retry avoids, if there are others.
#[derive(Debug, Clone, Copy, Default)]
pub struct Avoid<'a> {
    /// Endpoints of the request's earlier attempts (`retryIgnorePreviousHosts`).
    pub endpoints: &'a [EndpointId],
    /// The priorities of these endpoints, in the order in which they were tried (`retryRemoteLocalities`).
    pub priorities_of: &'a [EndpointId],
}

/// A cluster's rule, and the last change of health that this core has seen.
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

    /// Tells the balancer which endpoints are healthy, if that has changed.
    pub(super) fn follow(&self, shared: &SharedCluster, balancer: &mut Balancer, now: Instant, rng: &mut Rng) {
        let Some(health) = &shared.health else { return };
        // Read first: a change after this is seen by the next pick.
        let changes = Some(health.changes());
        if self.followed.replace(changes) != changes {
            let healthy = |at: usize| shared.endpoints.get(at).is_none_or(|endpoint| !endpoint.is_ejected());
            balancer.health_changed(healthy, now, rng);
        }
    }

    /// Reports the outcome of an attempt on the endpoint `at`.
    pub(super) fn report(&self, shared: &SharedCluster, at: EndpointId, outcome: Outcome) {
        if let (Some(health), Some(endpoint)) = (&shared.health, shared.endpoints.get(at.index())) {
            self.rule.report(health, endpoint, outcome, io::now);
        }
    }
}
