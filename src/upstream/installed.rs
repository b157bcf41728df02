//! A plan as one core serves it: the shared, immutable plan with this core's pools, balancers and counters beside it.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Instant;

use super::pool::{Closed, Idle, Upstream};
use crate::base::id::{ClusterId, EndpointId};
use crate::base::rng::Rng;
use crate::io::BufPool;
use crate::observe::stats::{ClusterStats, EndpointStats, HttpStats, ListenerStats};
use crate::plan::{Cluster, Plan};
use crate::policy::balance::Balancer;

/// One core's counters for a plan, in the plan's order. Control makes them from its registry, so that what a reload
/// keeps goes on counting.
#[derive(Debug, Clone, Default)]
pub struct CoreStats {
    /// Of each cluster.
    pub clusters: Vec<Arc<ClusterStats>>,
    /// Of each endpoint of each cluster.
    pub endpoints: Vec<Vec<Arc<EndpointStats>>>,
    /// Of each listener.
    pub listeners: Vec<Arc<ListenerStats>>,
    /// Of the HTTP of each listener.
    pub http: Vec<Arc<HttpStats>>,
}

/// What a request holds on to from its first byte to its last: a later plan does not change it under way.
#[derive(Debug)]
pub struct Installed {
    /// The plan, this core's own copy: a shared one would bounce the scratch space of its regexes between cores.
    pub plan: Plan,
    /// This core's counters.
    pub stats: CoreStats,
    clusters: Vec<LocalCluster>,
}

impl Installed {
    /// Joins a plan with its counters, with empty pools.
    #[must_use]
    pub fn new(plan: Plan, stats: CoreStats, rng: &mut Rng) -> Self {
        let clusters = plan
            .clusters
            .iter()
            .enumerate()
            .map(|(at, cluster)| {
                let endpoint_stats = stats.endpoints.get(at).map(Vec::as_slice).unwrap_or_default();
                LocalCluster::new(cluster, stats.clusters.get(at).cloned().unwrap_or_default(), endpoint_stats, rng)
            })
            .collect();
        Self { plan, stats, clusters }
    }

    /// The core's side of a cluster that routing named.
    #[must_use]
    pub fn cluster(&self, id: ClusterId) -> Option<(&Cluster, &LocalCluster)> {
        Some((self.plan.clusters.get(id.index())?, self.clusters.get(id.index())?))
    }

    /// Closes idle connections that the upstream has ended, or that lay idle for too long. Looks at most at `budget`
    /// connections, beginning at cluster `from`; returns where to go on next time.
    pub fn sweep(&self, from: usize, mut budget: usize, now: Instant) -> usize {
        let count = self.clusters.len();
        for step in 0..count {
            let at = (from + step) % count;
            let (cluster, local) = (&self.plan.clusters[at], &self.clusters[at]);
            local.sweep(cluster, &mut budget, now);
            if budget == 0 {
                return (at + 1) % count;
            }
        }
        from
    }

    /// Closes every idle upstream connection.
    pub fn close_idle(&self) {
        for endpoint in self.clusters.iter().flat_map(|cluster| &cluster.endpoints) {
            let idle = std::mem::take(&mut *endpoint.idle.borrow_mut());
            drop(idle);
        }
    }
}

/// One cluster on one core.
#[derive(Debug)]
pub struct LocalCluster {
    /// This core's counters of the cluster.
    pub stats: Arc<ClusterStats>,
    balancer: RefCell<Balancer>,
    endpoints: Vec<LocalEndpoint>,
}

/// One endpoint on one core.
#[derive(Debug)]
pub struct LocalEndpoint {
    /// This core's counters of the endpoint; its active requests are what LEAST_REQUEST compares.
    pub stats: Arc<EndpointStats>,
    idle: RefCell<Vec<Idle>>,
}

impl LocalCluster {
    fn new(cluster: &Cluster, stats: Arc<ClusterStats>, endpoints: &[Arc<EndpointStats>], rng: &mut Rng) -> Self {
        let weights: Vec<u32> = cluster.endpoints.iter().map(|endpoint| endpoint.weight).collect();
        let endpoints = (0..weights.len())
            .map(|at| LocalEndpoint { stats: endpoints.get(at).cloned().unwrap_or_default(), idle: RefCell::default() })
            .collect();
        Self { stats, balancer: RefCell::new(Balancer::new(&weights, cluster.policy, rng)), endpoints }
    }

    /// Chooses the endpoint of the next request; `None` if there is none to choose.
    pub fn pick(&self, rng: &mut Rng) -> Option<EndpointId> {
        let active = |at: usize| {
            self.endpoints
                .get(at)
                .map_or(0, |endpoint| u32::try_from(endpoint.stats.rq_active.get()).unwrap_or(u32::MAX))
        };
        self.balancer.borrow_mut().pick(active, |_| true, rng)
    }

    /// The core's side of an endpoint that [`LocalCluster::pick`] named.
    #[must_use]
    pub fn endpoint(&self, id: EndpointId) -> Option<&LocalEndpoint> {
        self.endpoints.get(id.index())
    }

    fn sweep(&self, cluster: &Cluster, budget: &mut usize, now: Instant) {
        for endpoint in &self.endpoints {
            if *budget == 0 {
                return;
            }
            let mut idle = endpoint.idle.borrow_mut();
            idle.retain_mut(|idle| {
                if *budget == 0 {
                    return true;
                }
                *budget -= 1;
                let too_long = cluster.idle_timeout.is_some_and(|limit| now.duration_since(idle.since) >= limit);
                if too_long {
                    self.stats.upstream_cx_idle_timeout.inc();
                    idle.upstream.closed_by(Closed::Local);
                } else if !idle.upstream.is_quiet() {
                    idle.upstream.closed_by(Closed::Remote);
                } else {
                    return true;
                }
                false
            });
        }
    }
}

impl LocalEndpoint {
    /// The connection that was used last, if one lies idle and the upstream has not ended it meanwhile.
    pub fn check_out(&self) -> Option<Upstream> {
        loop {
            let idle = self.idle.borrow_mut().pop()?;
            let mut upstream = idle.upstream;
            if upstream.is_quiet() {
                upstream.wake();
                return Some(upstream);
            }
            upstream.closed_by(Closed::Remote);
        }
    }

    /// Puts a connection to rest whose exchange is complete on both sides and left nothing behind.
    pub fn check_in(&self, mut upstream: Upstream, buffers: &BufPool, now: Instant) {
        if upstream.rest(buffers) {
            self.idle.borrow_mut().push(Idle { upstream, since: now });
        } else {
            upstream.closed_by(Closed::Remote);
        }
    }
}
