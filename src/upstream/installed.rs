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
use super::health::{Avoid, LocalHealth};
use super::pool::{Closed, Idle, Upstream};
use super::shared::{SharedCluster, SharedClusters};
use super::undeclared::Undeclared;
use crate::base::endpoint::EndpointAddress;
use crate::base::id::{ClusterId, EndpointId, ListenerId};
use crate::base::rng::Rng;
use crate::io::{self, BufPool, ServerName};
use crate::observe::stats::{ClusterStats, EndpointStats, HttpStats, ListenerStats, RouteStats, TcpStats};
use crate::plan::{Cluster, Outbound, PASSTHROUGH_CLUSTER, Plan, Route};
use crate::policy::balance::{Ask, Balancer, Levels, Member};
use crate::policy::outlier::Outcome;

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
    /// Of connections that are no HTTP, in the order of [`Plan::tcp_stat_names`].
    pub tcp: Vec<Arc<TcpStats>>,
    /// Of each route with a `statPrefix`, by its [`RouteStatsId`](crate::plan::RouteStatsId).
    pub routes: Vec<Arc<RouteStats>>,
}

/// What a request holds on to from its first byte to its last: a later plan does not change it under way, and neither
/// do other members of a cluster.
#[derive(Debug)]
pub struct Installed {
    /// The plan, this core's own copy: a shared one would bounce the scratch space of its regexes between cores. What
    /// it says of clusters may be of the past: see [`Installed::cluster`].
    pub plan: Arc<Plan>,
    /// This core's counters.
    pub stats: Arc<CoreStats>,
    shared: SharedClusters,
    clusters: Vec<Rc<LocalCluster>>,
}

/// What is left of a plan that nobody needs any more. It can be large, and may be dropped on any thread.
#[derive(Debug)]
pub struct Remains {
    _plan: Arc<Plan>,
    _stats: Arc<CoreStats>,
    _shared: SharedClusters,
}

/// What a core joins a cluster with: its own counters, and what all cores share.
#[derive(Debug, Clone, Default)]
pub struct Joined {
    /// The core's counters of the cluster.
    pub stats: Arc<ClusterStats>,
    /// The core's counters of each endpoint.
    pub endpoints: Vec<Arc<EndpointStats>>,
    /// What all cores share of the cluster.
    pub shared: Arc<SharedCluster>,
}

impl Installed {
    /// Joins a plan with its counters and with what all cores share of it, with empty pools.
    #[must_use]
    pub fn new(plan: Plan, stats: CoreStats, shared: SharedClusters, desk: &Rc<Desk>, rng: &mut Rng) -> Self {
        let clusters = plan.clusters.iter().enumerate();
        let clusters = clusters
            .map(|(at, cluster)| LocalCluster::new(cluster, stats.join(at, &shared), None, desk, rng))
            .collect();
        Self { plan: Arc::new(plan), stats: Arc::new(stats), shared, clusters }
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
        let before = || old.clusters.iter();
        before().for_each(|cluster| cluster.set_gone(true));
        let by_name: HashMap<&str, &Rc<LocalCluster>, foldhash::fast::FixedState> =
            before().map(|local| (local.plan.name.as_str(), local)).collect();
        let clusters: Vec<_> = plan
            .clusters
            .iter()
            .enumerate()
            .map(|(at, cluster)| match by_name.get(cluster.name.as_str()) {
                Some(local) if local.plan == *cluster => Rc::clone(local),
                known => LocalCluster::new(cluster, stats.join(at, &shared), known.copied(), desk, rng),
            })
            .collect();
        clusters.iter().for_each(|cluster| cluster.set_gone(false));
        before().for_each(|cluster| cluster.close_gone());
        Self { plan: Arc::new(plan), stats: Arc::new(stats), shared, clusters }
    }

    /// The same plan with other members of one cluster. An endpoint that stays keeps its connections; the idle
    /// connections of the others are closed. `None`: the cluster is not the one that was at this place of the plan.
    #[must_use]
    pub fn with_members(
        &self,
        id: ClusterId,
        cluster: &Arc<Cluster>,
        joined: Joined,
        desk: &Rc<Desk>,
        rng: &mut Rng,
    ) -> Option<Self> {
        let old = self.clusters.get(id.index()).filter(|old| old.plan.name == cluster.name)?;
        old.set_gone(true);
        let new = LocalCluster::new(cluster, joined, Some(old), desk, rng);
        new.set_gone(false);
        old.close_gone();
        let mut clusters = self.clusters.clone();
        *clusters.get_mut(id.index())? = new;
        Some(Self { plan: self.plan.clone(), stats: self.stats.clone(), shared: self.shared.clone(), clusters })
    }

    /// What a mesh listener knows beside HTTP; `None` of any other.
    #[must_use]
    pub fn outbound(&self, listener: ListenerId) -> Option<&Outbound> {
        self.plan.listeners.get(listener.index())?.outbound.as_deref()
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

    /// The cluster that routing named, with the members that it has now, and the core's side of it.
    #[must_use]
    pub fn cluster(&self, id: ClusterId) -> Option<(&Cluster, &LocalCluster)> {
        let local = self.clusters.get(id.index())?.as_ref();
        Some((&local.plan, local))
    }

    /// The name of a cluster of the plan.
    #[must_use]
    pub fn cluster_name(&self, id: ClusterId) -> &str {
        self.plan.cluster(id).map_or("", |cluster| &cluster.name)
    }

    /// The cluster of undeclared hosts, if the plan lets requests go there.
    #[must_use]
    pub fn passthrough(&self) -> Option<(&Cluster, &LocalCluster)> {
        let local = self.clusters.iter().find(|local| local.plan.name == PASSTHROUGH_CLUSTER)?.as_ref();
        Some((&local.plan, local))
    }

    /// Closes idle connections that the upstream has ended, or that lay idle for too long. Looks at most at `budget`
    /// connections, beginning at cluster `from`; returns where to go on next time.
    pub fn sweep(&self, from: usize, mut budget: usize, now: Instant) -> usize {
        let count = self.clusters.len();
        for step in 0..count {
            let at = (from + step) % count;
            self.clusters[at].sweep(&mut budget, now);
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
    plan: Arc<Cluster>,
    /// This core's counters of the cluster.
    pub stats: Arc<ClusterStats>,
    /// What all cores share of it.
    pub shared: Arc<SharedCluster>,
    balancer: RefCell<Balancer>,
    /// With `outlierDetection`.
    health: Option<LocalHealth>,
    endpoints: Vec<Rc<LocalEndpoint>>,
    /// Those that requests name themselves.
    undeclared: Rc<Undeclared>,
    /// Who shares its connections out; `None` where nothing was ever limited.
    admission: Option<Rc<Admission>>,
}

/// One endpoint on one core.
#[derive(Debug)]
pub struct LocalEndpoint {
    /// Where it is. One that is known by its name moves with that.
    address: RefCell<EndpointAddress>,
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

impl CoreStats {
    /// What the core joins the `at`th cluster of the plan with.
    fn join(&self, at: usize, shared: &SharedClusters) -> Joined {
        Joined {
            stats: self.clusters.get(at).cloned().unwrap_or_default(),
            endpoints: self.endpoints.get(at).cloned().unwrap_or_default(),
            shared: shared.get(at).cloned().unwrap_or_default(),
        }
    }
}

impl LocalCluster {
    /// A cluster with the endpoints that it shares with `old`, the cluster of this name before it.
    fn new(cluster: &Arc<Cluster>, joined: Joined, old: Option<&Rc<Self>>, desk: &Rc<Desk>, rng: &mut Rng) -> Rc<Self> {
        let now = io::now();
        let Joined { stats, endpoints: endpoint_stats, shared } = joined;
        let endpoints: Vec<Rc<LocalEndpoint>> = cluster
            .endpoints
            .iter()
            .enumerate()
            .map(|(at, member)| {
                // What was agreed on with other settings is not what these ask for.
                let kept = old.filter(|old| old.plan.tls == cluster.tls).and_then(|old| {
                    let place = old.plan.place_before(cluster, &member.address)?;
                    let kept = old.endpoints.get(place)?;
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
        let undeclared = old.map(|old| old.undeclared.clone()).unwrap_or_default();
        let admission = shared.breaker.as_ref().map(|breaker| {
            let known = old.and_then(|old| old.admission.clone()).filter(|known| known.is_of(breaker));
            let install = || Admission::new(breaker, desk, &stats, &shared, cluster);
            known.unwrap_or_else(install)
        });
        if let Some(admission) = &admission {
            endpoints.iter().for_each(|endpoint| endpoint.begin_limits());
            undeclared.begin_limits();
            admission.install(cluster, &shared, &endpoints, &undeclared);
        }
        Rc::new(Self { plan: cluster.clone(), stats, shared, balancer, health, endpoints, undeclared, admission })
    }

    pub(super) fn admission(&self) -> Option<&Rc<Admission>> {
        self.admission.as_ref()
    }

    /// What connections to it are opened with.
    pub(super) fn terms(&self) -> Terms {
        Terms::of(&self.plan)
    }

    /// Says whether the plan in force has the endpoints.
    fn set_gone(&self, gone: bool) {
        self.endpoints.iter().for_each(|endpoint| endpoint.gone.set(gone));
        self.undeclared.gone.set(gone);
    }

    /// Closes the idle connections of those that it does not have any more.
    fn close_gone(&self) {
        self.endpoints.iter().filter(|endpoint| endpoint.gone.get()).for_each(|endpoint| endpoint.close_idle());
        if self.undeclared.gone.get() {
            self.undeclared.close_idle();
        }
    }

    /// Chooses the endpoint of the next request, a healthy one, and one that it is not to avoid if there is another;
    /// `None` if there is none to choose.
    pub fn pick(&self, ask: Ask, avoid: Avoid<'_>, rng: &mut Rng) -> Option<EndpointId> {
        // Those that wait for a connection to it will be its load, too.
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

    /// Tells what a try says of the endpoint that [`LocalCluster::pick`] named, for `outlierDetection`.
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

    /// The core's side of a host that a request names itself, which is no member.
    #[must_use]
    pub fn undeclared(&self, address: SocketAddr, now: Instant) -> Rc<LocalEndpoint> {
        self.undeclared.at(address, now)
    }

    fn sweep(&self, budget: &mut usize, now: Instant) {
        let idle_timeout = self.plan.idle_timeout;
        self.undeclared.sweep(&self.stats, idle_timeout, budget, now);
        for endpoint in &self.endpoints {
            if *budget == 0 {
                return;
            }
            endpoint.sweep(&self.stats, idle_timeout, budget, now);
        }
    }
}

impl LocalEndpoint {
    pub(super) fn new(address: EndpointAddress, stats: Arc<EndpointStats>, since: Instant, limited: bool) -> Rc<Self> {
        let (idle, gone, limited) = (RefCell::default(), Cell::new(false), Cell::new(limited));
        Rc::new(Self {
            address: RefCell::new(address),
            stats,
            since,
            idle,
            gone,
            limited,
            waiting: Cell::new(0),
            connecting: Cell::new(0),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> EndpointAddress {
        self.address.borrow().clone()
    }

    /// Whether it is there.
    pub(super) fn is_at(&self, address: &EndpointAddress) -> bool {
        *self.address.borrow() == *address
    }

    fn move_to(&self, address: &EndpointAddress) {
        self.address.borrow_mut().clone_from(address);
    }

    /// Requests in line for a connection to it, but for those whose connection is on its way.
    pub(super) fn need(&self) -> u32 {
        self.waiting.get().saturating_sub(self.connecting.get())
    }

    /// Connections need a permit from now on: those without are not used again.
    pub(super) fn begin_limits(&self) {
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
    pub(super) fn take_oldest(&self) -> Option<Box<Upstream>> {
        let mut idle = self.idle.borrow_mut();
        (!idle.is_empty()).then(|| idle.remove(0).upstream)
    }

    /// The connection that was used last, if one lies idle and the upstream has not ended it meanwhile. Over TLS one to
    /// `name`; `None`: any.
    pub(super) fn check_out(&self, name: Option<&ServerName<'_>>, buffers: &BufPool) -> Option<Box<Upstream>> {
        loop {
            let idle = {
                let mut idle = self.idle.borrow_mut();
                let at = idle.iter().rposition(|idle| idle.upstream.is_for(name))?;
                idle.remove(at)
            };
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
    pub fn check_in(self: &Rc<Self>, mut upstream: Box<Upstream>, buffers: &BufPool, now: Instant) {
        upstream.end_request(buffers);
        if let Some(admission) = upstream.place().map(|place| place.admission().clone()) {
            admission.settle(upstream, self, false);
        } else if upstream.may_go_on(now) && !self.limited.get() {
            self.put(upstream, buffers, now);
        }
    }

    /// Lays a connection to rest.
    pub(super) fn put(&self, mut upstream: Box<Upstream>, buffers: &BufPool, now: Instant) {
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
    use crate::plan::{
        Address, Endpoint, HostAddress, Labels, Locality, NameKind, Named, Names, ProxySettings, Recipe,
    };
    use crate::policy::balance::{Policy, Spread};

    fn cluster(ports: &[u16]) -> Cluster {
        let endpoints = ports.iter().map(|port| Endpoint {
            address: ([10, 0, 0, 1], *port).into(),
            weight: 1,
            locality: crate::plan::Locality::default(),
        });
        let endpoints: Vec<Endpoint> = endpoints.collect();
        let members: Vec<_> = endpoints.iter().map(|endpoint| (endpoint.address.clone(), endpoint.weight)).collect();
        Cluster::new("c", Spread::even(Policy::RoundRobin, None, &members), endpoints, Duration::from_secs(10))
    }

    fn joined(cluster: Cluster, old: Option<&Rc<LocalCluster>>) -> Rc<LocalCluster> {
        LocalCluster::new(&Arc::new(cluster), Joined::default(), old, &Desk::new(0, Rc::default()), &mut Rng::seeded(1))
    }

    /// Where each endpoint of `before` is in `after`.
    fn kept(before: &LocalCluster, after: &LocalCluster) -> Vec<Option<usize>> {
        let place = |own| after.endpoints.iter().position(|endpoint| Rc::ptr_eq(endpoint, own));
        before.endpoints.iter().map(place).collect()
    }

    #[test]
    fn an_endpoint_that_stays_is_the_same_one_whoever_comes_and_goes_beside_it() {
        let before = joined(cluster(&[1, 3, 5, 7]), None);
        let after = joined(cluster(&[2, 3, 4, 7, 8]), Some(&before));
        assert_eq!(kept(&before, &after), [None, Some(1), None, Some(3)]);
        assert_eq!(after.endpoints[1].since, before.endpoints[1].since, "it need not warm up again");
    }

    /// A cluster whose name has this address now.
    fn moved(kind: NameKind, address: &str) -> Cluster {
        let named = Named {
            address: Address::Name("a.com".to_owned()),
            port: 80,
            weight: 1,
            locality: Locality::default(),
            labels: Labels::new(),
        };
        let recipe = Recipe::even(Policy::RoundRobin);
        let names = Arc::new(Names { kind, named: [named].into(), recipe });
        let found = [HostAddress { ip: address.parse().expect("an address"), port: None }];
        names.resolved(&cluster(&[]), |_| &found)
    }

    #[test]
    fn the_single_endpoint_of_a_name_stays_itself_when_it_moves() {
        for (kind, stays) in [(NameKind::First, Some(0)), (NameKind::Every, None)] {
            let before = joined(moved(kind, "10.0.0.1"), None);
            let after = joined(moved(kind, "10.0.0.2"), Some(&before));
            assert_eq!(kept(&before, &after), [stays], "{kind:?}");
        }
    }

    #[test]
    fn other_members_of_one_cluster_leave_the_rest_of_the_plan_alone() {
        let named = |name: &str, ports: &[u16]| Arc::new(Cluster { name: name.to_owned(), ..cluster(ports) });
        let proxy = ProxySettings::default();
        let plan = Plan { listeners: Arc::default(), clusters: vec![named("a", &[1, 2]), named("b", &[3])], proxy };
        let (stats, shared, mut rng) = (CoreStats::default(), SharedClusters::default(), Rng::seeded(1));
        let desk = Desk::new(0, Rc::default());
        let old = Installed::new(plan, stats, shared, &desk, &mut rng);
        let joined = Joined::default;
        assert!(
            old.with_members(ClusterId(1), &named("a", &[]), joined(), &desk, &mut rng).is_none(),
            "another cluster"
        );
        assert!(old.with_members(ClusterId(2), &named("a", &[]), joined(), &desk, &mut rng).is_none(), "no cluster");
        let new =
            old.with_members(ClusterId(0), &named("a", &[2, 4]), joined(), &desk, &mut rng).expect("the same cluster");
        assert!(Arc::ptr_eq(&old.plan, &new.plan) && Rc::ptr_eq(&old.clusters[1], &new.clusters[1]));
        assert_eq!(kept(&old.clusters[0], &new.clusters[0]), [None, Some(0)]);
        let gone = |installed: &Installed| -> Vec<bool> {
            installed.clusters[0].endpoints.iter().map(|endpoint| endpoint.gone.get()).collect()
        };
        assert_eq!((gone(&old), gone(&new)), (vec![true, false], vec![false, false]));
        let addresses = |installed: &Installed| -> Vec<u16> {
            let (cluster, _) = installed.cluster(ClusterId(0)).expect("it is there");
            cluster.endpoints.iter().filter_map(|member| Some(member.address.ip()?.port())).collect()
        };
        assert_eq!(
            (addresses(&old), addresses(&new)),
            (vec![1, 2], vec![2, 4]),
            "who began with the old ones keeps them"
        );
    }
}
