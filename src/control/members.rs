//! The members of clusters whose endpoints are host names: what an answer about a name changes, and how the workers
//! hear of it. The plan stays as it is; only the cluster is another one.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use tracing::info;

use super::Running;
use super::dns::DnsAnswer;
use super::names::{Learnt, LookupOutcome};
use crate::base::count::counted;
use crate::base::endpoint::EndpointAddress;
use crate::io::now;
use crate::observe::stats::ClusterShared;
use crate::plan::{Cluster, ClusterId, NameKind, Plan};
use crate::upstream::{ClusterHandles, SharedCluster};
use crate::worker::{Members, Message};

impl Running {
    /// A name server has answered.
    pub(super) fn name_answered(&mut self, name: &str, answer: &DnsAnswer) {
        for question in self.names.questions(name) {
            self.tell_where(question, answer);
        }
        let Some(Learnt { clusters, outcome }) = self.names.answered(name, answer, now()) else { return };
        for at in clusters {
            self.learnt(at, outcome);
        }
        self.go_on_if_resolved(now());
    }

    /// Asks about the names that are due.
    pub(super) fn ask_names(&mut self, now: Instant) {
        for at in self.names.ask_due(now) {
            if let Some(stats) = self.cluster_shared(at) {
                stats.update_attempt.inc();
            }
        }
    }

    fn cluster_shared(&self, at: usize) -> Option<Arc<ClusterShared>> {
        Some(self.registry.cluster_shared(&self.plan.clusters.get(at)?.name))
    }

    fn learnt(&mut self, at: usize, outcome: LookupOutcome) {
        let Some((cluster, stats)) = self.plan.clusters.get(at).cloned().zip(self.cluster_shared(at)) else { return };
        let names = cluster.discovery.names();
        let empties = names.is_some_and(|names| names.kind == NameKind::Every);
        // As Envoy counts: that there is no such name is an answer only to whom it takes endpoints away.
        match outcome {
            LookupOutcome::Found => stats.update_success.inc(),
            LookupOutcome::Empty if empties => stats.update_success.inc(),
            LookupOutcome::Empty | LookupOutcome::Failed => return stats.update_failure.inc(),
        }
        let Some(members) = self.names.members(&cluster) else { return };
        if members == *cluster {
            stats.update_no_rebuild.inc();
        } else {
            self.change_members(at, &cluster, members, &stats);
        }
    }

    /// Tells everyone of a cluster's new members.
    fn change_members(&mut self, at: usize, old: &Arc<Cluster>, new: Cluster, stats: &ClusterShared) {
        let new = Arc::new(new);
        let addresses =
            |cluster: &Cluster| cluster.endpoints.iter().map(|member| member.address.clone()).collect::<Vec<_>>();
        let (before, after) = (addresses(old), addresses(&new));
        info!("{}: {}: {}", new.name, counted(after.len(), "endpoint"), listed(&after));
        if let (Some(0), [was], [is]) = (after.first().and_then(|is| old.place_before(&new, is)), &*before, &*after) {
            self.registry.move_endpoint(&new.name, was, is.clone());
        }
        let Some(shared) = self.shared.get(at) else { return };
        let shared = SharedCluster::after(&new, (old, shared), self.workers.len());
        let mut plan = Plan::clone(&self.plan);
        let mut all = self.shared.to_vec();
        if let (Some(cluster), Some(place)) = (plan.clusters.get_mut(at), all.get_mut(at)) {
            (*cluster, *place) = (new.clone(), shared.clone());
        }
        (self.plan, self.shared) = (Arc::new(plan), all.into());
        for worker in self.workers.alive() {
            let of = |address: &EndpointAddress| self.registry.endpoint(worker, &new.name, address);
            let handles = ClusterHandles {
                stats: self.registry.cluster(worker, &new.name),
                endpoints: after.iter().map(of).collect(),
                shared: shared.clone(),
            };
            let members = Members { id: ClusterId(at as u32), cluster: new.clone(), handles };
            self.workers.tell(worker, Message::Members(vec![members]));
        }
        self.registry.retain_endpoints(&new.name, &after.iter().cloned().collect::<HashSet<_>>());
        stats.membership_change.inc();
        stats.membership_total.set(after.len() as u64);
        stats.membership_healthy.set(after.len() as u64);
        if !self.reloads.is_installing() {
            self.state.members_changed(self.plan.clone(), self.shared.clone());
        }
    }
}

/// A few of the addresses.
fn listed(addresses: &[EndpointAddress]) -> String {
    const MOST: usize = 8;
    let some: Vec<_> = addresses.iter().take(MOST).map(ToString::to_string).collect();
    if addresses.len() > MOST { format!("{}, …", some.join(", ")) } else { some.join(", ") }
}
