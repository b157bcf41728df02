//! The state of a cluster that all cores share: its circuit breaker, and the health of its endpoints.
//!
//! Control makes one of each cluster of a plan and hands it to every worker with the plan. A reload keeps the breaker
//! and the health of a cluster by its name, and the health of an endpoint by its address. Workers reach only atomics in
//! here.

use std::collections::HashMap;
use std::sync::Arc;

use super::tls::Secured;
use crate::io::now;
use crate::plan::{Cluster, Plan};
use crate::policy::outlier::{ClusterHealth, EndpointHealth};
use crate::policy::permits::Breaker;

/// One cluster of a plan, as all cores see it.
#[derive(Debug, Default)]
pub struct SharedCluster {
    /// The circuit breaker; `None` for a cluster that never had a limit: it counts nothing.
    pub breaker: Option<Arc<Breaker>>,
    /// The health of the whole; `None` without `outlierDetection`.
    pub health: Option<Arc<ClusterHealth>>,
    /// The health of each endpoint, in the order of [`Cluster::endpoints`]; empty without `outlierDetection`.
    pub endpoints: Box<[Arc<EndpointHealth>]>,
    /// TLS towards the endpoints; its sessions outlive a reload that leaves its settings alone.
    pub tls: Option<Arc<Secured>>,
}

/// The clusters of a plan, in its order.
pub type SharedClusters = Arc<[Arc<SharedCluster>]>;

impl SharedCluster {
    /// The clusters of a first plan, for so many cores.
    #[must_use]
    pub fn all(plan: &Plan, cores: usize) -> SharedClusters {
        plan.clusters.iter().map(|cluster| Arc::new(Self::new(cluster, None, cores))).collect()
    }

    /// The clusters of a plan after `old`. New limits apply at once, also to requests on the old plan.
    #[must_use]
    pub fn all_after(plan: &Plan, old: (&Plan, &SharedClusters), cores: usize) -> SharedClusters {
        let before: HashMap<&str, (&Cluster, &Self)> = old
            .0
            .clusters
            .iter()
            .zip(old.1.iter())
            .map(|(cluster, shared)| (cluster.name.as_str(), (cluster.as_ref(), shared.as_ref())))
            .collect();
        let after =
            |cluster: &Arc<Cluster>| Arc::new(Self::new(cluster, before.get(cluster.name.as_str()).copied(), cores));
        plan.clusters.iter().map(after).collect()
    }

    /// One cluster, with other members than it had before.
    #[must_use]
    pub fn after(cluster: &Cluster, old: (&Cluster, &Self), cores: usize) -> Arc<Self> {
        Arc::new(Self::new(cluster, Some(old), cores))
    }

    fn new(cluster: &Cluster, old: Option<(&Cluster, &Self)>, cores: usize) -> Self {
        let breaker = match old.and_then(|(_, shared)| shared.breaker.clone()) {
            Some(breaker) => {
                breaker.resize(&cluster.limits);
                Some(breaker)
            }
            None => cluster.limits.any().then(|| Arc::new(Breaker::new(&cluster.limits, cores))),
        };
        let (health, endpoints) =
            health(cluster, old).map_or_else(Default::default, |(health, endpoints)| (Some(health), endpoints));
        let kept_tls = old.filter(|(was, _)| was.tls == cluster.tls).and_then(|(_, shared)| shared.tls.clone());
        let tls = kept_tls.or_else(|| cluster.tls.as_deref().map(|tls| Arc::new(Secured::new(tls))));
        Self { breaker, health, endpoints, tls }
    }
}

/// The health of a cluster with `outlierDetection`. Ejections survive a reload, except of endpoints that are gone.
fn health(cluster: &Cluster, old: Option<(&Cluster, &SharedCluster)>) -> Option<Health> {
    let rule = cluster.outlier.as_ref()?;
    let before = old.and_then(|(was, shared)| Some((was, shared, shared.health.clone()?)));
    let Some((was, shared, health)) = before else {
        let health = ClusterHealth::new(cluster.endpoints.len(), now());
        return Some((Arc::new(health), cluster.endpoints.iter().map(|_| Arc::default()).collect()));
    };
    let positions: Vec<Option<usize>> =
        cluster.endpoints.iter().map(|member| was.position_before(cluster, &member.address)).collect();
    let mut stays = vec![false; shared.endpoints.len()];
    positions.iter().flatten().for_each(|position| {
        if let Some(stays) = stays.get_mut(*position) {
            *stays = true;
        }
    });
    shared.endpoints.iter().zip(stays).filter(|(_, stays)| !stays).for_each(|(endpoint, _)| health.retire(endpoint));
    health.resize(cluster.endpoints.len());
    let kept = |position: &Option<usize>| shared.endpoints.get((*position)?).cloned();
    let endpoints: Box<[Arc<EndpointHealth>]> =
        positions.iter().map(|position| kept(position).unwrap_or_default()).collect();
    if was.outlier.as_ref() != Some(rule) {
        endpoints.iter().for_each(|endpoint| endpoint.clear_all());
    }
    Some((health, endpoints))
}

/// That of the whole, and that of each endpoint.
type Health = (Arc<ClusterHealth>, Box<[Arc<EndpointHealth>]>);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plan::Endpoint;
    use crate::policy::balance::{LoadBalancing, Policy};
    use crate::policy::outlier::{Outcome, Outlier};
    use crate::policy::permits::BreakerLimits;

    fn cluster(connections: Option<u32>, ports: &[u16]) -> Cluster {
        let endpoints = ports.iter().map(|port| Endpoint {
            address: ([10, 0, 0, 1], *port).into(),
            weight: 1,
            locality: crate::plan::Locality::default(),
        });
        let endpoints: Vec<Endpoint> = endpoints.collect();
        let members: Vec<_> = endpoints.iter().map(|endpoint| (endpoint.address.clone(), endpoint.weight)).collect();
        let spread = LoadBalancing::even(Policy::RoundRobin, None, &members);
        let cluster = Cluster::new("c", spread, endpoints, Duration::from_secs(10));
        let limits = BreakerLimits { connections, ..BreakerLimits::default() };
        Cluster { limits, outlier: Some(Outlier::default()), ..cluster }
    }

    fn next(old: (&Cluster, &SharedCluster), new: &Cluster) -> SharedCluster {
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
        let second = next((&one, &first), &two);
        assert!(limit(&first).connections.limit().take(), "who holds the old plan follows the new limit");
        assert!(!limit(&second).connections.limit().take());
        let third = next((&two, &second), &none);
        assert!(limit(&third).connections.limit().take(), "without a limit it still counts");
        assert_eq!(limit(&third).connections.limit().taken(), 3);
    }

    #[test]
    fn health_stays_with_the_address() {
        let (old, new) = (cluster(None, &[1, 3, 5]), cluster(None, &[2, 3, 5]));
        let before = SharedCluster::new(&old, None, 1);
        let now = next((&old, &before), &new);
        let kept = |at: usize| before.endpoints.iter().position(|health| Arc::ptr_eq(health, &now.endpoints[at]));
        assert_eq!([kept(0), kept(1), kept(2)], [None, Some(1), Some(2)]);
        assert!(Arc::ptr_eq(before.health.as_ref().expect("health"), now.health.as_ref().expect("health")));
    }

    fn eject(cluster: &Cluster, shared: &SharedCluster, at: usize) -> bool {
        let rule = cluster.outlier.as_ref().expect("a rule");
        let health = shared.health.as_ref().expect("health");
        (0..rule.consecutive_5xx).for_each(|_| rule.report(health, &shared.endpoints[at], Outcome::Answered(500), now));
        shared.endpoints[at].is_ejected()
    }

    fn ejecting(percent: u32, ports: &[u16]) -> Cluster {
        let outlier = Some(Outlier { max_ejection_percent: percent, ..Outlier::default() });
        Cluster { outlier, ..cluster(None, ports) }
    }

    #[test]
    fn ejections_stay_with_who_stays_and_go_with_who_goes() {
        let (old, new) = (ejecting(50, &[1, 3, 5, 7]), ejecting(50, &[2, 3, 5, 8]));
        let before = SharedCluster::new(&old, None, 1);
        assert!(eject(&old, &before, 0) && eject(&old, &before, 1));
        assert!(!eject(&old, &before, 2), "half of them are out");
        let now = next((&old, &before), &new);
        let out: Vec<bool> = now.endpoints.iter().map(|endpoint| endpoint.is_ejected()).collect();
        assert_eq!(out, [false, true, false, false]);
        assert_eq!(now.health.as_ref().expect("health").ejected(), 1, "the slot of the removed endpoint is free");
        assert!(eject(&new, &now, 0) && !eject(&new, &now, 2));
        // Back again, it is somebody new.
        let again = next((&new, &now), &old);
        let out: Vec<bool> = again.endpoints.iter().map(|endpoint| endpoint.is_ejected()).collect();
        assert_eq!(out, [false, true, false, false]);
        assert_eq!(again.health.as_ref().expect("health").ejected(), 1);
    }

    #[test]
    fn without_outlier_detection_everything_is_forgotten() {
        let (with, without) = (ejecting(100, &[1, 3]), Cluster { outlier: None, ..cluster(None, &[1, 3]) });
        let first = SharedCluster::new(&with, None, 1);
        assert!(eject(&with, &first, 0));
        let second = next((&with, &first), &without);
        assert!(second.health.is_none() && second.endpoints.is_empty());
        let third = next((&without, &second), &with);
        assert!(!third.endpoints[0].is_ejected());
        assert_eq!(third.health.expect("health").ejected(), 0);
    }

    #[test]
    fn new_thresholds_begin_new_streaks() {
        let old = ejecting(100, &[1]);
        let rule = |errors| Some(Outlier { consecutive_5xx: errors, max_ejection_percent: 100, ..Outlier::default() });
        let (high, low) = (Cluster { outlier: rule(9), ..old.clone() }, Cluster { outlier: rule(3), ..old });
        let first = SharedCluster::new(&high, None, 1);
        let report = |cluster: &Cluster, shared: &SharedCluster| {
            let (rule, health) = (cluster.outlier.as_ref().expect("a rule"), shared.health.as_ref().expect("health"));
            rule.report(health, &shared.endpoints[0], Outcome::Answered(500), now);
            shared.endpoints[0].is_ejected()
        };
        assert!((0..5).all(|_| !report(&high, &first)));
        let second = next((&high, &first), &low);
        let ejected: Vec<bool> = (0..3).map(|_| report(&low, &second)).collect();
        assert_eq!(ejected, [false, false, true], "five are more than three, but three more are asked for");
    }
}
