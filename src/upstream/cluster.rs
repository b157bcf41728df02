//! One cluster on one core: its endpoints, its balancer, the health that it sees, and its share of the limits.
//!
//! A reload makes a new one after the old, which keeps the endpoints that are in both, with their connections.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::admission::Admission;
use super::dynamic::DynamicEndpoints;
use super::endpoint::LocalEndpoint;
use super::health::{Avoid, LocalHealth};
use super::mailbox::{CoreMailbox, MailboxUser as _};
use super::settings::ConnectionSettings;
use super::shared::SharedCluster;
use crate::base::id::EndpointId;
use crate::base::rng::Rng;
use crate::io;
use crate::observe::stats::{ClusterStats, EndpointStats};
use crate::plan::Cluster;
use crate::policy::balance::{Balancer, Levels, Member, PickContext};
use crate::policy::outlier::Outcome;

/// A core's handles on a cluster: its own counters, and the state that all cores share.
#[derive(Debug, Clone, Default)]
pub struct ClusterHandles {
    /// The core's counters of the cluster.
    pub stats: Arc<ClusterStats>,
    /// The core's counters of each endpoint.
    pub endpoints: Vec<Arc<EndpointStats>>,
    /// The cluster's state that all cores share.
    pub shared: Arc<SharedCluster>,
}

/// One cluster on one core.
#[derive(Debug)]
pub struct LocalCluster {
    pub(super) plan: Arc<Cluster>,
    /// This core's counters of the cluster.
    pub stats: Arc<ClusterStats>,
    /// The state that all cores share.
    pub shared: Arc<SharedCluster>,
    balancer: RefCell<Balancer>,
    /// With `outlierDetection`.
    health: Option<LocalHealth>,
    pub(super) endpoints: Vec<Rc<LocalEndpoint>>,
    /// Endpoints that requests name themselves (original destination, dynamic forward proxy).
    dynamic: Rc<DynamicEndpoints>,
    /// Grants its connections; `None` for a cluster that never had a limit.
    admission: Option<Rc<Admission>>,
}

impl LocalCluster {
    /// A cluster with the endpoints that it shares with `old`, the cluster of this name before it.
    pub(super) fn new(
        cluster: &Arc<Cluster>,
        handles: ClusterHandles,
        old: Option<&Rc<Self>>,
        core_mailbox: &Rc<CoreMailbox>,
        rng: &mut Rng,
    ) -> Rc<Self> {
        let now = io::now();
        let ClusterHandles { stats, endpoints: endpoint_stats, shared } = handles;
        let endpoints: Vec<Rc<LocalEndpoint>> = cluster
            .endpoints
            .iter()
            .enumerate()
            .map(|(at, member)| {
                // Connections with other TLS settings must not be reused.
                let kept = old.filter(|old| old.plan.tls == cluster.tls).and_then(|old| {
                    let position = old.plan.position_before(cluster, &member.address)?;
                    let kept = old.endpoints.get(position)?;
                    kept.move_to(&member.address);
                    Some(kept.clone())
                });
                let stats = || endpoint_stats.get(at).cloned().unwrap_or_default();
                kept.unwrap_or_else(|| LocalEndpoint::new(member.address.clone(), stats(), now, false))
            })
            .collect();
        let members: Vec<Member> = cluster
            .endpoints
            .iter()
            .zip(&endpoints)
            .map(|(plan, local)| Member { weight: plan.weight, since: local.since })
            .collect();
        if shared.tls.is_some() {
            stats.ssl();
        }
        let panic_below = cluster.outlier.as_ref().map_or(0, |rule| rule.min_health_percent);
        let balancer = Balancer::new(&cluster.spread, &members, now, rng).panicking_below(panic_below);
        let balancer = RefCell::new(balancer);
        let health = cluster.outlier.as_ref().map(LocalHealth::new);
        let dynamic = old.map(|old| old.dynamic.clone()).unwrap_or_default();
        let admission = shared.breaker.as_ref().map(|breaker| {
            let known = old.and_then(|old| old.admission.clone()).filter(|known| known.is_of(breaker));
            let install = || Admission::new(breaker, core_mailbox, &stats, &shared, cluster);
            known.unwrap_or_else(install)
        });
        if let Some(admission) = &admission {
            endpoints.iter().for_each(|endpoint| endpoint.begin_limits());
            dynamic.begin_limits();
            admission.install(cluster, &shared, &endpoints, &dynamic);
        }
        Rc::new(Self { plan: cluster.clone(), stats, shared, balancer, health, endpoints, dynamic, admission })
    }

    pub(super) fn admission(&self) -> Option<&Rc<Admission>> {
        self.admission.as_ref()
    }

    /// The settings of its connections.
    pub(super) fn settings(&self) -> ConnectionSettings {
        ConnectionSettings::of(&self.plan)
    }

    /// Says whether the plan in force has the endpoints.
    pub(super) fn set_gone(&self, gone: bool) {
        self.endpoints.iter().for_each(|endpoint| endpoint.gone.set(gone));
        self.dynamic.gone.set(gone);
    }

    /// Closes the idle connections of endpoints that it does not have any more.
    pub(super) fn close_gone(&self) {
        self.endpoints.iter().filter(|endpoint| endpoint.gone.get()).for_each(|endpoint| endpoint.close_idle());
        if self.dynamic.gone.get() {
            self.dynamic.close_idle();
        }
    }

    /// Picks the endpoint of the next request: a healthy one, and not one of `avoid` if there is another; `None` if
    /// there is none.
    pub fn pick(&self, ask: PickContext, avoid: Avoid<'_>, rng: &mut Rng) -> Option<EndpointId> {
        // Requests that wait for a connection to it will be its load, too.
        let active = |at: usize| {
            self.endpoints.get(at).map_or(0, |endpoint| {
                let load = endpoint.stats.rq_active.get() + endpoint.stats.rq_pending_active.get();
                u32::try_from(load).unwrap_or(u32::MAX)
            })
        };
        let mut balancer = self.balancer.borrow_mut();
        if let Some(health) = &self.health {
            health.follow(&self.shared, &mut balancer, ask.now, rng);
        }
        let excluded =
            if avoid.priorities_of.is_empty() { Levels::NONE } else { balancer.levels_tried(avoid.priorities_of) };
        let mut picked = None;
        if !avoid.endpoints.is_empty() {
            let other = |at: usize| avoid.endpoints.iter().all(|id| id.index() != at);
            picked = balancer.pick_beyond(excluded, ask, active, other, rng);
        }
        picked = picked.or_else(|| balancer.pick_beyond(excluded, ask, active, |_| true, rng));
        if balancer.panicked() {
            self.stats.lb_healthy_panic.inc();
        }
        picked
    }

    /// Reports the outcome of an attempt on the endpoint that [`LocalCluster::pick`] chose, for `outlierDetection`.
    pub fn report(&self, at: Option<EndpointId>, outcome: Outcome) {
        if let (Some(health), Some(at)) = (&self.health, at) {
            health.report(&self.shared, at, outcome);
        }
    }

    /// The core's side of an endpoint that [`LocalCluster::pick`] named.
    #[must_use]
    pub fn endpoint(&self, id: EndpointId) -> Option<&Rc<LocalEndpoint>> {
        self.endpoints.get(id.index())
    }

    /// This core's endpoint for a host that a request names itself, which is not a member.
    #[must_use]
    pub fn dynamic_endpoint(&self, address: SocketAddr, now: Instant) -> Rc<LocalEndpoint> {
        self.dynamic.at(address, now)
    }

    pub(super) fn sweep(&self, budget: &mut usize, now: Instant) {
        let idle_timeout = self.plan.idle_timeout;
        self.dynamic.sweep(&self.stats, idle_timeout, budget, now);
        for endpoint in &self.endpoints {
            if *budget == 0 {
                return;
            }
            endpoint.sweep(&self.stats, idle_timeout, budget, now);
        }
    }
}
