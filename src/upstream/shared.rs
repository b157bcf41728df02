//! What the cores share of a cluster: its circuit breaker, and the health of its endpoints.
//!
//! Control makes one of each cluster of a plan and hands it to every worker with the plan. What counts survives a
//! reload: the breaker and the health of the cluster by its name, the health of an endpoint by its address. Workers
//! reach nothing in here but atomics.

use std::collections::HashMap;
use std::sync::Arc;

use crate::plan::{Cluster, Plan};
use crate::policy::outlier::{ClusterHealth, EndpointHealth};
use crate::policy::permits::Breaker;

/// One cluster of a plan, as all cores see it.
#[derive(Debug, Default)]
pub struct SharedCluster {
    /// The circuit breaker; `None` where nothing was ever limited, and so nothing is counted.
    pub breaker: Option<Arc<Breaker>>,
    /// The health of the whole; `None` without `outlierDetection`.
    pub health: Option<Arc<ClusterHealth>>,
    /// The health of each endpoint, in the order of [`Cluster::endpoints`]; empty without `outlierDetection`.
    pub endpoints: Box<[Arc<EndpointHealth>]>,
}

/// The clusters of a plan, in its order.
pub type SharedClusters = Arc<[Arc<SharedCluster>]>;

impl SharedCluster {
    /// The clusters of a first plan, for so many cores.
    #[must_use]
    pub fn all(plan: &Plan, cores: usize) -> SharedClusters {
        plan.clusters.iter().map(|cluster| Arc::new(Self::new(cluster, None, cores))).collect()
    }

    /// The clusters of a plan after `old`. New limits hold from now on, also for who still answers by the old plan.
    #[must_use]
    pub fn all_after(plan: &Plan, old: (&Plan, &SharedClusters), cores: usize) -> SharedClusters {
        let before: HashMap<&str, (&Cluster, &Self)> = old
            .0
            .clusters
            .iter()
            .zip(old.1.iter())
            .map(|(cluster, shared)| (cluster.name.as_str(), (cluster, shared.as_ref())))
            .collect();
        let after = |cluster: &Cluster| Arc::new(Self::new(cluster, before.get(cluster.name.as_str()).copied(), cores));
        plan.clusters.iter().map(after).collect()
    }

    fn new(cluster: &Cluster, old: Option<(&Cluster, &Self)>, cores: usize) -> Self {
        let breaker = match old.and_then(|(_, shared)| shared.breaker.clone()) {
            Some(breaker) => {
                breaker.resize(&cluster.limits);
                Some(breaker)
            }
            None => cluster.limits.any().then(|| Arc::new(Breaker::new(&cluster.limits, cores))),
        };
        let (mut health, mut endpoints) = (None, Box::default());
        if cluster.outlier.is_some() {
            health = Some(old.and_then(|(_, shared)| shared.health.clone()).unwrap_or_default());
            let kept = |address| {
                let (was, shared) = old?;
                let at = was.endpoints.binary_search_by_key(&address, |endpoint| endpoint.address).ok()?;
                shared.endpoints.get(at).cloned()
            };
            endpoints = cluster.endpoints.iter().map(|member| kept(member.address).unwrap_or_default()).collect();
        }
        Self { breaker, health, endpoints }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plan::Endpoint;
    use crate::policy::balance::{Policy, Spread};
    use crate::policy::outlier::Outlier;
    use crate::policy::permits::BreakerLimits;

    fn cluster(connections: Option<u32>, ports: &[u16]) -> Cluster {
        let endpoints = ports.iter().map(|port| Endpoint { address: ([10, 0, 0, 1], *port).into(), weight: 1 });
        let endpoints: Vec<Endpoint> = endpoints.collect();
        let members: Vec<_> = endpoints.iter().map(|endpoint| (endpoint.address, endpoint.weight)).collect();
        let spread = Spread::even(Policy::RoundRobin, None, &members);
        let cluster = Cluster::new("c", spread, endpoints, Duration::from_secs(10));
        let limits = BreakerLimits { connections, ..BreakerLimits::default() };
        Cluster { limits, outlier: Some(Outlier::default()), ..cluster }
    }

    fn after(old: (&Cluster, &SharedCluster), new: &Cluster) -> SharedCluster {
        SharedCluster::new(new, Some(old), 1)
    }

    #[test]
    fn nothing_limited_is_nothing_shared() {
        assert!(SharedCluster::new(&cluster(None, &[1]), None, 1).breaker.is_none());
    }

    #[test]
    fn a_reload_keeps_what_is_taken_and_changes_the_limit() {
        let (one, two, none) = (cluster(Some(1), &[1]), cluster(Some(2), &[1]), cluster(None, &[1]));
        let first = SharedCluster::new(&one, None, 1);
        let limit = |shared: &SharedCluster| shared.breaker.clone().expect("a breaker");
        assert!(limit(&first).connections.limit().take());
        assert!(!limit(&first).connections.limit().take());
        let second = after((&one, &first), &two);
        assert!(limit(&first).connections.limit().take(), "who holds the old plan follows the new limit");
        assert!(!limit(&second).connections.limit().take());
        let third = after((&two, &second), &none);
        assert!(limit(&third).connections.limit().take(), "without a limit it still counts");
        assert_eq!(limit(&third).connections.limit().taken(), 3);
    }

    #[test]
    fn health_stays_with_the_address() {
        let (old, new) = (cluster(None, &[1, 3, 5]), cluster(None, &[2, 3, 5]));
        let before = SharedCluster::new(&old, None, 1);
        let now = after((&old, &before), &new);
        let kept = |at: usize| before.endpoints.iter().position(|health| Arc::ptr_eq(health, &now.endpoints[at]));
        assert_eq!([kept(0), kept(1), kept(2)], [None, Some(1), Some(2)]);
        assert!(Arc::ptr_eq(before.health.as_ref().expect("health"), now.health.as_ref().expect("health")));
    }
}
