//! Clusters whose endpoints change while the plan stays as it is.
//!
//! There is one path from such a change to the workers, and every reporter uses it: a reporter (`dns_endpoints`) gives a
//! cluster's current endpoints as an [`EndpointChange`], and the rest is done here. No plan is compiled. Changes that are
//! found together are sent together: one new list of clusters, one message for each worker.

use std::collections::HashSet;
use std::sync::Arc;

use tracing::info;

use super::Running;
use super::in_force::ClusterParts;
use crate::base::count::counted;
use crate::base::endpoint::EndpointAddress;
use crate::base::id::ClusterId;
use crate::observe::stats::Registry;
use crate::plan::Cluster;
use crate::upstream::{ClusterHandles, SharedCluster};
use crate::worker::{Members, Message};

/// A cluster of the plan in force has other endpoints.
#[derive(Debug)]
pub(super) struct EndpointChange {
    /// The cluster's index in the plan.
    pub(super) id: ClusterId,
    /// The cluster with the endpoints that it has now.
    pub(super) cluster: Cluster,
}

/// A change, made ready for the workers.
struct Changed {
    id: ClusterId,
    parts: ClusterParts,
    addresses: Vec<EndpointAddress>,
}

impl Running {
    /// Tells the workers, the statistics and the admin endpoints of clusters' new endpoints.
    pub(super) fn change_endpoints(&mut self, changes: Vec<EndpointChange>) {
        let changed: Vec<Changed> = changes.into_iter().filter_map(|change| self.changed(change)).collect();
        if changed.is_empty() {
            return;
        }
        self.in_force.replace_clusters(changed.iter().map(|change| (change.id, change.parts.clone())));
        for worker in self.workers.alive() {
            let members = changed.iter().map(|change| change.for_worker(worker, &self.registry)).collect();
            self.workers.tell(worker, Message::Members(members));
        }
        changed.iter().for_each(|change| change.show(&self.registry));
        if !self.reloads.is_installing() {
            self.state.members_changed(self.in_force.plan.clone(), self.in_force.shared.clone());
        }
    }

    fn changed(&self, EndpointChange { id, cluster: new }: EndpointChange) -> Option<Changed> {
        let (old, old_shared) = self.in_force.cluster(id)?;
        let (before, after) = (addresses(&old), addresses(&new));
        info!("{}: {}: {}", new.name, counted(after.len(), "endpoint"), listed(&after));
        if let (Some(0), [was], [is]) = (after.first().and_then(|is| old.position_before(&new, is)), &*before, &*after)
        {
            self.registry.move_endpoint(&new.name, was, is.clone());
        }
        let shared = SharedCluster::after(&new, (&old, &old_shared), self.workers.len());
        Some(Changed { id, parts: (Arc::new(new), shared), addresses: after })
    }
}

impl Changed {
    fn for_worker(&self, worker: usize, registry: &Registry) -> Members {
        let (cluster, shared) = self.parts.clone();
        let of = |address: &EndpointAddress| registry.endpoint(worker, &cluster.name, address);
        let handles = ClusterHandles {
            stats: registry.cluster(worker, &cluster.name),
            endpoints: self.addresses.iter().map(of).collect(),
            shared,
        };
        Members { id: self.id, cluster, handles }
    }

    /// Shows it in the statistics.
    fn show(&self, registry: &Registry) {
        let name = &self.parts.0.name;
        registry.retain_endpoints(name, &self.addresses.iter().cloned().collect::<HashSet<_>>());
        let stats = registry.cluster_shared(name);
        stats.membership_change.inc();
        stats.membership_total.set(self.addresses.len() as u64);
        stats.membership_healthy.set(self.addresses.len() as u64);
    }
}

fn addresses(cluster: &Cluster) -> Vec<EndpointAddress> {
    cluster.endpoints.iter().map(|member| member.address.clone()).collect()
}

/// A few of the addresses.
fn listed(addresses: &[EndpointAddress]) -> String {
    const MOST: usize = 8;
    let some: Vec<_> = addresses.iter().take(MOST).map(ToString::to_string).collect();
    if addresses.len() > MOST { format!("{}, …", some.join(", ")) } else { some.join(", ") }
}
