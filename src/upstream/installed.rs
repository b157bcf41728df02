//! A plan as one core serves it: the shared, immutable plan with this core's pools, balancers and counters beside it.
//!
//! A reload makes a new one after the old. What is the same in both is shared by both: a whole cluster, or the pool of
//! an endpoint. So a request that ends on the old plan gives its connection to the requests of the new one.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::admission::Admission;
use super::connect::Terms;
use super::handoff::Desk;
use super::pool::{Closed, Idle, Upstream};
use super::shared::{SharedCluster, SharedClusters};
use super::undeclared::Undeclared;
use crate::base::id::{ClusterId, EndpointId};
use crate::base::rng::Rng;
use crate::io::{self, BufPool};
use crate::observe::stats::{ClusterStats, EndpointStats, HttpStats, ListenerStats, RouteStats};
use crate::plan::{Cluster, PASSTHROUGH_CLUSTER, Plan, Route};
use crate::policy::balance::{Ask, Balancer, Member};

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
    /// Of each route with a `statPrefix`, by its [`RouteStatsId`](crate::plan::RouteStatsId).
    pub routes: Vec<Arc<RouteStats>>,
}

/// What a request holds on to from its first byte to its last: a later plan does not change it under way.
#[derive(Debug)]
pub struct Installed {
    /// The plan, this core's own copy: a shared one would bounce the scratch space of its regexes between cores.
    pub plan: Plan,
    /// This core's counters.
    pub stats: CoreStats,
    shared: SharedClusters,
    clusters: Vec<Rc<LocalCluster>>,
    undeclared: Rc<Undeclared>,
}

/// What is left of a plan that nobody needs any more. It can be large, and may be dropped on any thread.
#[derive(Debug)]
pub struct Remains {
    _plan: Plan,
    _stats: CoreStats,
    _shared: SharedClusters,
}

impl Installed {
    /// Joins a plan with its counters and with what all cores share of it, with empty pools.
    #[must_use]
    pub fn new(plan: Plan, stats: CoreStats, shared: SharedClusters, desk: &Rc<Desk>, rng: &mut Rng) -> Self {
        let clusters = plan.clusters.iter().enumerate();
        let clusters =
            clusters.map(|(at, cluster)| LocalCluster::new(cluster, &stats, &shared, at, None, desk, rng)).collect();
        Self { plan, stats, shared, clusters, undeclared: Rc::default() }
    }

    /// Joins a plan with its counters, and with what of `old` it goes on with: a cluster that has not changed is the
    /// same one, and an endpoint that stays in its cluster keeps its connections. The idle connections of the others
    /// are closed.
    #[must_use]
    pub fn after(
        old: &Self,
        plan: Plan,
        stats: CoreStats,
        shared: SharedClusters,
        desk: &Rc<Desk>,
        rng: &mut Rng,
    ) -> Self {
        let before = || old.clusters.iter().flat_map(|cluster| &cluster.endpoints);
        before().for_each(|endpoint| endpoint.gone.set(true));
        let by_name: HashMap<&str, (&Cluster, &Rc<LocalCluster>), foldhash::fast::FixedState> = old
            .plan
            .clusters
            .iter()
            .zip(&old.clusters)
            .map(|(plan, local)| (plan.name.as_str(), (plan, local)))
            .collect();
        let clusters: Vec<_> = plan
            .clusters
            .iter()
            .enumerate()
            .map(|(at, cluster)| match by_name.get(cluster.name.as_str()) {
                Some((was, local)) if *was == cluster => Rc::clone(local),
                known => LocalCluster::new(cluster, &stats, &shared, at, known.copied(), desk, rng),
            })
            .collect();
        clusters.iter().flat_map(|cluster| &cluster.endpoints).for_each(|endpoint| endpoint.gone.set(false));
        before().filter(|endpoint| endpoint.gone.get()).for_each(|endpoint| endpoint.close_idle());
        let mut new = Self { plan, stats, shared, clusters, undeclared: old.undeclared.clone() };
        if new.passthrough().is_none() {
            old.undeclared.close_idle();
            new.undeclared = Rc::default(); // what is under way there now ends with the old plan
        }
        new
    }

    /// The counters of a route of the plan, if it has some of its own.
    #[must_use]
    pub fn route_stats(&self, route: &Route) -> Option<&RouteStats> {
        self.stats.routes.get(route.stat_prefix.as_ref()?.id.index()).map(Arc::as_ref)
    }

    /// Gives up the core's side, and leaves what another thread can drop.
    #[must_use]
    pub fn into_remains(self) -> Remains {
        Remains { _plan: self.plan, _stats: self.stats, _shared: self.shared }
    }

    /// The core's side of a cluster that routing named.
    #[must_use]
    pub fn cluster(&self, id: ClusterId) -> Option<(&Cluster, &LocalCluster)> {
        Some((self.plan.clusters.get(id.index())?, self.clusters.get(id.index())?.as_ref()))
    }

    /// The cluster of undeclared hosts, if the plan lets requests go there.
    #[must_use]
    pub fn passthrough(&self) -> Option<(&Cluster, &LocalCluster)> {
        let at = self.plan.clusters.iter().position(|cluster| cluster.name == PASSTHROUGH_CLUSTER)?;
        Some((self.plan.clusters.get(at)?, self.clusters.get(at)?.as_ref()))
    }

    /// The core's side of an undeclared host.
    #[must_use]
    pub fn undeclared(&self, address: SocketAddr, now: Instant) -> Rc<LocalEndpoint> {
        self.undeclared.at(address, now)
    }

    /// Closes idle connections that the upstream has ended, or that lay idle for too long. Looks at most at `budget`
    /// connections, beginning at cluster `from`; returns where to go on next time.
    pub fn sweep(&self, from: usize, mut budget: usize, now: Instant) -> usize {
        if let Some((cluster, local)) = self.passthrough() {
            self.undeclared.sweep(&local.stats, cluster.idle_timeout, &mut budget, now);
        }
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
}

/// One cluster on one core.
#[derive(Debug)]
pub struct LocalCluster {
    /// This core's counters of the cluster.
    pub stats: Arc<ClusterStats>,
    /// What all cores share of it.
    pub shared: Arc<SharedCluster>,
    balancer: RefCell<Balancer>,
    endpoints: Vec<Rc<LocalEndpoint>>,
    /// Who shares its connections out; `None` where nothing was ever limited.
    admission: Option<Rc<Admission>>,
}

/// One endpoint on one core.
#[derive(Debug)]
pub struct LocalEndpoint {
    /// Where it is.
    pub address: SocketAddr,
    /// This core's counters of the endpoint; its active requests are what LEAST_REQUEST compares.
    pub stats: Arc<EndpointStats>,
    /// When it came into its cluster, for `warmup`.
    since: Instant,
    idle: RefCell<Vec<Idle>>,
    /// The plan in force has no such endpoint.
    gone: Cell<bool>,
    /// Its connections are limited, so that one without a permit is not to be kept.
    limited: Cell<bool>,
    /// Requests in line for a connection to it.
    pub(super) waiting: Cell<u32>,
    /// Connections to it on their way, where they are limited.
    pub(super) connecting: Cell<u32>,
}

impl LocalCluster {
    /// The `at`th cluster of a plan, with the endpoints that it shares with `old`, the cluster of this name before it.
    fn new(
        cluster: &Cluster,
        stats: &CoreStats,
        shared: &SharedClusters,
        at: usize,
        old: Option<(&Cluster, &Rc<LocalCluster>)>,
        desk: &Rc<Desk>,
        rng: &mut Rng,
    ) -> Rc<Self> {
        let now = io::now();
        let endpoint_stats = stats.endpoints.get(at).map(Vec::as_slice).unwrap_or_default();
        let endpoints: Vec<Rc<LocalEndpoint>> = cluster
            .endpoints
            .iter()
            .enumerate()
            .map(|(at, member)| {
                let kept = old.and_then(|(was, local)| {
                    let place =
                        was.endpoints.binary_search_by_key(&member.address, |endpoint| endpoint.address).ok()?;
                    local.endpoints.get(place).cloned()
                });
                let stats = || endpoint_stats.get(at).cloned().unwrap_or_default();
                kept.unwrap_or_else(|| LocalEndpoint::new(member.address, stats(), now))
            })
            .collect();
        let members: Vec<Member> = cluster
            .endpoints
            .iter()
            .zip(&endpoints)
            .map(|(plan, local)| Member { weight: plan.weight, since: local.since })
            .collect();
        let stats = stats.clusters.get(at).cloned().unwrap_or_default();
        let shared = shared.get(at).cloned().unwrap_or_default();
        let balancer = RefCell::new(Balancer::new(&cluster.spread, &members, now, rng));
        let terms = Terms::of(cluster);
        let admission = shared.breaker.as_ref().map(|breaker| {
            let known = old.and_then(|(_, local)| local.admission.clone()).filter(|known| known.is_of(breaker));
            known.unwrap_or_else(|| Admission::new(breaker.clone(), desk.clone(), stats.clone(), terms))
        });
        if let Some(admission) = &admission {
            endpoints.iter().for_each(|endpoint| endpoint.begin_limits());
            admission.install(terms, &endpoints);
        }
        Rc::new(Self { stats, shared, balancer, endpoints, admission })
    }

    pub(super) fn admission(&self) -> Option<&Rc<Admission>> {
        self.admission.as_ref()
    }

    /// Chooses the endpoint of the next request, one that is not `avoided` if there is another; `None` if there is none to
    /// choose.
    pub fn pick(&self, ask: Ask, avoided: &[EndpointId], rng: &mut Rng) -> Option<EndpointId> {
        let active = |at: usize| {
            self.endpoints
                .get(at)
                .map_or(0, |endpoint| u32::try_from(endpoint.stats.rq_active.get()).unwrap_or(u32::MAX))
        };
        let mut balancer = self.balancer.borrow_mut();
        if !avoided.is_empty() {
            let other = |at: usize| avoided.iter().all(|id| id.index() != at);
            if let Some(id) = balancer.pick(ask, active, other, rng) {
                return Some(id);
            }
        }
        balancer.pick(ask, active, |_| true, rng)
    }

    /// The core's side of an endpoint that [`LocalCluster::pick`] named.
    #[must_use]
    pub fn endpoint(&self, id: EndpointId) -> Option<&Rc<LocalEndpoint>> {
        self.endpoints.get(id.index())
    }

    fn sweep(&self, cluster: &Cluster, budget: &mut usize, now: Instant) {
        for endpoint in &self.endpoints {
            if *budget == 0 {
                return;
            }
            endpoint.sweep(&self.stats, cluster.idle_timeout, budget, now);
        }
    }
}

impl LocalEndpoint {
    pub(super) fn new(address: SocketAddr, stats: Arc<EndpointStats>, since: Instant) -> Rc<Self> {
        let (idle, gone, limited) = (RefCell::default(), Cell::new(false), Cell::new(false));
        Rc::new(Self { address, stats, since, idle, gone, limited, waiting: Cell::new(0), connecting: Cell::new(0) })
    }

    /// Requests in line for a connection to it, but for those whose connection is on its way.
    pub(super) fn need(&self) -> u32 {
        self.waiting.get().saturating_sub(self.connecting.get())
    }

    /// Connections need a permit from now on: those without are not used again.
    fn begin_limits(&self) {
        if !self.limited.replace(true) {
            self.close_idle();
        }
    }

    /// Closes idle connections that the upstream has ended, or that lay idle for longer than `limit`.
    pub(super) fn sweep(&self, stats: &ClusterStats, limit: Option<Duration>, budget: &mut usize, now: Instant) {
        self.idle.borrow_mut().retain_mut(|idle| {
            if *budget == 0 {
                return true;
            }
            *budget -= 1;
            if limit.is_some_and(|limit| now.duration_since(idle.since) >= limit) {
                stats.upstream_cx_idle_timeout.inc();
                idle.upstream.closed_by(Closed::Local);
            } else if !idle.upstream.may_go_on(now) {
                idle.upstream.closed_by(Closed::Local);
            } else if !idle.upstream.is_quiet() {
                idle.upstream.closed_by(Closed::Remote);
            } else {
                return true;
            }
            false
        });
    }

    /// Whether any connection lies idle.
    pub(super) fn rests(&self) -> bool {
        !self.idle.borrow().is_empty()
    }

    pub(super) fn close_idle(&self) {
        let idle = std::mem::take(&mut *self.idle.borrow_mut());
        drop(idle);
    }

    /// Since when the connection has lain idle that has done so longest.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        self.idle.borrow().first().map(|idle| idle.since)
    }

    /// That connection.
    pub(super) fn take_oldest(&self) -> Option<Upstream> {
        let mut idle = self.idle.borrow_mut();
        (!idle.is_empty()).then(|| idle.remove(0).upstream)
    }

    /// The connection that was used last, if one lies idle and the upstream has not ended it meanwhile.
    pub(super) fn check_out(&self, buffers: &BufPool) -> Option<Upstream> {
        loop {
            let idle = self.idle.borrow_mut().pop()?;
            let mut upstream = idle.upstream;
            if upstream.is_quiet() {
                upstream.wake(buffers);
                return Some(upstream);
            }
            upstream.closed_by(Closed::Remote);
        }
    }

    /// Takes a connection back whose exchange is complete on both sides and left nothing behind: it rests here, goes to
    /// whoever waits for one, or is closed, if its time has come or a reload has taken the endpoint out of its cluster
    /// meanwhile.
    pub fn check_in(self: &Rc<Self>, mut upstream: Upstream, buffers: &BufPool, now: Instant) {
        upstream.end_request(buffers);
        if let Some(admission) = upstream.place().map(|place| place.admission().clone()) {
            admission.settle(upstream, self, false);
        } else if upstream.may_go_on(now) && !self.limited.get() {
            self.put(upstream, buffers, now);
        }
    }

    /// Lays a connection to rest.
    pub(super) fn put(&self, mut upstream: Upstream, buffers: &BufPool, now: Instant) {
        if self.gone.get() {
            return;
        }
        if upstream.rest(buffers) {
            self.idle.borrow_mut().push(Idle { upstream, since: now });
        } else {
            upstream.closed_by(Closed::Remote);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plan::Endpoint;
    use crate::policy::balance::{Policy, Spread};

    fn cluster(ports: &[u16]) -> Cluster {
        let endpoints = ports.iter().map(|port| Endpoint { address: ([10, 0, 0, 1], *port).into(), weight: 1 });
        let endpoints: Vec<Endpoint> = endpoints.collect();
        let members: Vec<_> = endpoints.iter().map(|endpoint| (endpoint.address, endpoint.weight)).collect();
        Cluster::new("c", Spread::even(Policy::RoundRobin, None, &members), endpoints, Duration::from_secs(10))
    }

    #[test]
    fn an_endpoint_that_stays_is_the_same_one_whoever_comes_and_goes_beside_it() {
        let (stats, shared, mut rng) = (CoreStats::default(), SharedClusters::default(), Rng::seeded(1));
        let (old, new) = (cluster(&[1, 3, 5, 7]), cluster(&[2, 3, 4, 7, 8]));
        let desk = Desk::new(0, Rc::default());
        let before = LocalCluster::new(&old, &stats, &shared, 0, None, &desk, &mut rng);
        let after = LocalCluster::new(&new, &stats, &shared, 0, Some((&old, &before)), &desk, &mut rng);
        let kept = |at: usize| after.endpoints.iter().position(|endpoint| Rc::ptr_eq(endpoint, &before.endpoints[at]));
        assert_eq!([kept(0), kept(1), kept(2), kept(3)], [None, Some(1), None, Some(3)]);
        assert_eq!(after.endpoints[1].since, before.endpoints[1].since, "it need not warm up again");
    }
}
