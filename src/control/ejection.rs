//! Letting ejected endpoints back in: each cluster with `outlierDetection` is looked at each `interval`.
//!
//! Workers eject, and only this thread lets back in; the state that both change is in `policy::outlier`. Called by `serve`,
//! whose loop keeps the time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tracing::info;

use crate::plan::{Cluster, Plan};
use crate::upstream::SharedClusters;

/// When which cluster of the plan in force is due.
#[derive(Debug, Default)]
pub(super) struct Ejections {
    clusters: Vec<Due>,
}

#[derive(Debug)]
struct Due {
    /// Its index in the plan.
    cluster: usize,
    at: Instant,
}

impl Ejections {
    /// Goes by `plan` from now on, after `old`: a cluster that stays keeps its turn, unless its interval is shorter now.
    pub(super) fn follow(&mut self, plan: &Plan, old: &Plan, now: Instant) {
        let name = |due: &Due| Some((old.clusters.get(due.cluster)?.name.as_str(), due.at));
        let before: HashMap<&str, Instant> = self.clusters.iter().filter_map(name).collect();
        let due = |(place, cluster): (usize, &Arc<Cluster>)| {
            let regular = now + cluster.outlier.as_ref()?.interval;
            let at = before.get(cluster.name.as_str()).map_or(regular, |at| regular.min(*at));
            Some(Due { cluster: place, at })
        };
        self.clusters = plan.clusters.iter().enumerate().filter_map(due).collect();
    }

    /// When the next cluster is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.clusters.iter().map(|due| due.at).min()
    }

    /// Sweeps the clusters that are due, of the current `plan` and its `shared` state.
    pub(super) fn sweep(&mut self, plan: &Plan, shared: &SharedClusters, now: Instant) {
        for due in self.clusters.iter_mut().filter(|due| due.at <= now) {
            let (Some(cluster), Some(shared)) = (plan.clusters.get(due.cluster), shared.get(due.cluster)) else {
                continue;
            };
            let (Some(rule), Some(health)) = (&cluster.outlier, &shared.health) else { continue };
            due.at = now + rule.interval;
            let endpoints = shared.endpoints.iter().map(AsRef::as_ref);
            rule.sweep(health, endpoints, now, |at, out| {
                if let Some(endpoint) = cluster.endpoints.get(at) {
                    let (name, address, seconds) = (&cluster.name, &endpoint.address, out.as_secs_f64());
                    info!("{name}: {address} may be chosen again, after an ejection of {seconds:.1} s");
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::io::now;
    use crate::istio::model::proxy::Proxy;
    use crate::plan::{Overrides, ProxySettings};
    use crate::policy::balance::{LoadBalancing, Policy};
    use crate::policy::outlier::Outlier;

    const SECOND: Duration = Duration::from_secs(1);

    /// Clusters with these intervals, in seconds.
    fn plan(clusters: &[(&str, Option<u32>)]) -> Plan {
        let cluster = |(name, interval): &(&str, Option<u32>)| {
            let outlier = interval.map(|seconds| Outlier { interval: seconds * SECOND, ..Outlier::default() });
            let spread = LoadBalancing::even(Policy::RoundRobin, None, &[]);
            Arc::new(Cluster { outlier, ..Cluster::new(name, spread, Vec::new(), SECOND) })
        };
        let proxy = ProxySettings::resolve(&Proxy::default(), &Overrides::default());
        Plan { listeners: Arc::default(), clusters: clusters.iter().map(cluster).collect(), proxy }
    }

    #[test]
    fn who_stays_keeps_its_turn() {
        let (none, first) = (plan(&[]), plan(&[("a", Some(10)), ("b", None), ("c", Some(3))]));
        let start = now();
        let mut ejections = Ejections::default();
        ejections.follow(&first, &none, start);
        let due = |ejections: &Ejections| -> Vec<(usize, u64)> {
            ejections.clusters.iter().map(|due| (due.cluster, (due.at - start).as_secs())).collect()
        };
        assert_eq!(due(&ejections), [(0, 10), (2, 3)]);
        assert_eq!(ejections.next_due(), Some(start + 3 * SECOND));
        let second = plan(&[("c", Some(20)), ("d", Some(5)), ("a", Some(1))]);
        ejections.follow(&second, &first, start + SECOND);
        assert_eq!(due(&ejections), [(0, 3), (1, 6), (2, 2)]);
        ejections.follow(&none, &second, start + SECOND);
        assert_eq!(ejections.next_due(), None);
    }
}
