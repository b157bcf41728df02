//! Ejected endpoints: computed on demand from the shared state, so that requests do not pay for it.

use super::State;
use crate::policy::outlier::{ClusterHealth, EndpointHealth, Streak};
use crate::upstream::SharedCluster;

/// Brings the statistics of `outlierDetection` up to date.
pub(super) fn show(state: &State) {
    let now = state.now().clone();
    for (cluster, shared) in now.plan.clusters.iter().zip(now.shared.iter()) {
        let stats = state.registry.cluster_shared(&cluster.name);
        let Some(health) = &shared.health else {
            if let Some(ejections) = stats.ejections_shown() {
                ejections.active.set(0); // a rule of the past
                stats.membership_healthy.set(cluster.endpoints.len() as u64);
            }
            continue;
        };
        let out = shared.endpoints.iter().filter(|endpoint| endpoint.is_ejected()).count();
        stats.membership_healthy.set((cluster.endpoints.len() - out) as u64);
        let shown = stats.ejections();
        shown.active.set(out as u64);
        shown.enforced_total.set(health.enforced_total());
        shown.overflow.set(health.overflow());
        for (streak, detected, enforced) in [
            (Streak::ServerError, &shown.detected_5xx, &shown.enforced_5xx),
            (Streak::Gateway, &shown.detected_gateway, &shown.enforced_gateway),
            (Streak::LocalOrigin, &shown.detected_local, &shown.enforced_local),
        ] {
            detected.set(health.detected(streak));
            enforced.set(health.enforced(streak));
        }
        shown.total.set(health.enforced(Streak::ServerError));
        shown.consecutive_5xx.set(health.detected(Streak::ServerError));
    }
}

/// The ejection state of one endpoint, if its cluster detects outliers.
#[derive(Clone, Copy)]
pub(super) struct Health<'s>(Option<(&'s ClusterHealth, &'s EndpointHealth)>);

impl<'s> Health<'s> {
    /// The state of the endpoint at this position of a cluster.
    pub(super) fn of(shared: Option<&'s SharedCluster>, endpoint: usize) -> Self {
        Self(shared.and_then(|shared| Some((shared.health.as_deref()?, shared.endpoints.get(endpoint)?.as_ref()))))
    }

    pub(super) fn is_ejected(self) -> bool {
        self.0.is_some_and(|(_, endpoint)| endpoint.is_ejected())
    }

    /// Envoy's `health_flags`.
    pub(super) fn flags(self) -> &'static str {
        if self.is_ejected() { "/failed_outlier_check" } else { "healthy" }
    }

    /// ringway's own: how near it is to an ejection, and how many are not forgiven.
    pub(super) fn numbers(self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.into_iter().flat_map(|(_, endpoint)| {
            [
                ("consecutive_5xx", endpoint.streak(Streak::ServerError)),
                ("consecutive_gateway_failure", endpoint.streak(Streak::Gateway)),
                ("consecutive_local_origin_failure", endpoint.streak(Streak::LocalOrigin)),
                ("ejection_multiplier", endpoint.multiplier()),
            ]
            .map(|(name, value)| (name, u64::from(value)))
        })
    }
}
