//! The configuration in force: the plan that the workers serve, and its shared state.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Digest;
use super::listeners::BoundListener;
use crate::base::id::ClusterId;
use crate::plan::{Cluster, Plan};
use crate::upstream::{SharedCluster, SharedClusters};

/// A plan with everything that all workers have in common of it.
pub(super) struct InForce {
    pub(super) plan: Arc<Plan>,
    /// The digest of its documents.
    pub(super) digest: Digest,
    /// The shared state of its clusters, in its order.
    pub(super) shared: SharedClusters,
    /// Its listeners, in its order.
    pub(super) bound: Vec<BoundListener>,
}

/// A cluster with its shared state.
pub(super) type ClusterParts = (Arc<Cluster>, Arc<SharedCluster>);

impl InForce {
    /// A cluster of the plan.
    pub(super) fn cluster(&self, id: ClusterId) -> Option<ClusterParts> {
        Some((self.plan.clusters.get(id.index())?.clone(), self.shared.get(id.index())?.clone()))
    }

    /// Replaces some of the plan's clusters.
    pub(super) fn replace_clusters(&mut self, clusters: impl IntoIterator<Item = (ClusterId, ClusterParts)>) {
        let mut plan = Plan::clone(&self.plan);
        let mut all_shared = self.shared.to_vec();
        for (id, (cluster, shared)) in clusters {
            if let (Some(place), Some(shared_place)) =
                (plan.clusters.get_mut(id.index()), all_shared.get_mut(id.index()))
            {
                (*place, *shared_place) = (cluster, shared);
            }
        }
        (self.plan, self.shared) = (Arc::new(plan), all_shared.into());
    }

    /// The addresses of the outbound listeners.
    pub(super) fn outbound_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let listeners = self.plan.listeners.iter().zip(&self.bound);
        listeners.filter(|(listener, _)| listener.kind.is_outbound()).map(|(_, bound)| bound.address)
    }
}
