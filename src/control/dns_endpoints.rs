//! DNS as a reporter of endpoints: which clusters have other endpoints after an answer about a name, and when names are
//! resolved.

use std::sync::Arc;
use std::time::Instant;

use super::Running;
use super::dns::DnsAnswer;
use super::endpoints::EndpointChange;
use super::names::{Learnt, LookupOutcome};
use crate::base::id::ClusterId;
use crate::io::now;
use crate::observe::stats::ClusterShared;
use crate::plan::NameKind;

impl Running {
    /// A name server has answered.
    pub(super) fn name_answered(&mut self, name: &str, answer: &DnsAnswer) {
        for question in self.names.questions(name) {
            self.answer_question(question, answer);
        }
        let Some(Learnt { clusters, outcome }) = self.names.answered(name, answer, now()) else { return };
        let changes = clusters.into_iter().filter_map(|at| self.change_by(at, outcome)).collect();
        self.change_endpoints(changes);
        self.go_on_if_resolved(now());
    }

    /// Asks about the names that are due.
    pub(super) fn ask_names(&mut self, now: Instant) {
        for at in self.names.ask_due(now) {
            if let Some(stats) = self.stats_of(at) {
                stats.update_attempt.inc();
            }
        }
    }

    fn stats_of(&self, at: usize) -> Option<Arc<ClusterShared>> {
        Some(self.registry.cluster_shared(&self.in_force.plan.clusters.get(at)?.name))
    }

    /// The change of a cluster by an answer, which is counted.
    fn change_by(&self, at: usize, outcome: LookupOutcome) -> Option<EndpointChange> {
        let cluster = self.in_force.plan.clusters.get(at)?;
        let stats = self.stats_of(at)?;
        let names = cluster.discovery.names();
        let empties = names.is_some_and(|names| names.kind == NameKind::Every);
        // As Envoy counts: a name that does not exist is an update only of a cluster that loses its endpoints by it.
        match outcome {
            LookupOutcome::Found => stats.update_success.inc(),
            LookupOutcome::Empty if empties => stats.update_success.inc(),
            LookupOutcome::Empty | LookupOutcome::Failed => {
                stats.update_failure.inc();
                return None;
            }
        }
        let members = self.names.members(cluster)?;
        if members == **cluster {
            stats.update_no_rebuild.inc();
            return None;
        }
        Some(EndpointChange { id: ClusterId(at as u32), cluster: members })
    }
}
