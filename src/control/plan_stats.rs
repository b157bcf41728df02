//! The statistics of a plan: a worker's counters for it, and the statistics of its clusters.

use crate::observe::stats::{Kept, Registry};
use crate::plan::Plan;
use crate::upstream::CoreStats;

/// The counters of one core for a plan.
pub(super) fn of_core(plan: &Plan, registry: &Registry, core: usize) -> CoreStats {
    CoreStats {
        clusters: plan.clusters.iter().map(|cluster| registry.cluster(core, &cluster.name)).collect(),
        endpoints: plan
            .clusters
            .iter()
            .map(|cluster| {
                let endpoints = cluster.endpoints.iter();
                endpoints.map(|endpoint| registry.endpoint(core, &cluster.name, &endpoint.address)).collect()
            })
            .collect(),
        listeners: plan.listeners.iter().map(|listener| registry.listener(core, &listener.name)).collect(),
        http: plan.listeners.iter().map(|listener| registry.http(core, &listener.stat_prefix)).collect(),
        tcp: plan.tcp_stat_names().map(|name| registry.tcp(core, name)).collect(),
        routes: plan.stat_prefixes().map(|(host, stat_prefix)| registry.route(core, host, stat_prefix)).collect(),
    }
}

/// Shows how many endpoints each cluster has.
pub(super) fn show_members(plan: &Plan, registry: &Registry) {
    for cluster in &plan.clusters {
        let shared = registry.cluster_shared(&cluster.name);
        shared.membership_total.set(cluster.endpoints.len() as u64);
        shared.membership_healthy.set(cluster.endpoints.len() as u64);
    }
}

/// The names in a plan that statistics are kept under.
pub(super) fn kept(plan: &Plan) -> Kept<'_> {
    Kept {
        clusters: plan
            .clusters
            .iter()
            .map(|cluster| {
                (cluster.name.as_str(), cluster.endpoints.iter().map(|endpoint| endpoint.address.clone()).collect())
            })
            .collect(),
        listeners: plan.listeners.iter().map(|listener| listener.name.as_str()).collect(),
        http: plan.listeners.iter().map(|listener| listener.stat_prefix.as_str()).collect(),
        tcp: plan.tcp_stat_names().collect(),
        routes: plan.stat_prefixes().collect(),
    }
}
