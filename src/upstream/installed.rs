//! A plan as one core serves it: the shared, immutable plan with this core's pools, balancers and counters beside it.
//!
//! A reload makes a new one after the old. Both share what has not changed: a whole cluster, or the pool of an
//! endpoint. So a request that ends on the old plan gives its connection to the requests of the new one.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::cluster::{ClusterHandles, LocalCluster};
use super::mailbox::CoreMailbox;
use super::shared::SharedClusters;
use crate::base::id::{ClusterId, ListenerId};
use crate::base::rng::Rng;
use crate::observe::stats::{ClusterStats, EndpointStats, HttpStats, ListenerStats, RouteStats, TcpStats};
use crate::plan::{Cluster, FilterChains, Outbound, PASSTHROUGH_CLUSTER, Plan, Route};

/// One core's counters for a plan, in the plan's order. Control makes them from its registry, so that counters survive
/// a reload.
#[derive(Debug, Clone, Default)]
pub struct CoreStats {
    /// Of each cluster.
    pub clusters: Vec<Arc<ClusterStats>>,
    /// Of each endpoint of each cluster.
    pub endpoints: Vec<Vec<Arc<EndpointStats>>>,
    /// Of each listener.
    pub listeners: Vec<Arc<ListenerStats>>,
    /// HTTP counters of each listener.
    pub http: Vec<Arc<HttpStats>>,
    /// Of each TCP proxy, by its [`TcpStatsId`](crate::plan::TcpStatsId).
    pub tcp: Vec<Arc<TcpStats>>,
    /// Of each route with a `statPrefix`, by its [`RouteStatsId`](crate::plan::RouteStatsId).
    pub routes: Vec<Arc<RouteStats>>,
}

/// The plan of a request, from its first byte to its last: neither a later plan nor changed members of a cluster
/// affect a request in flight.
#[derive(Debug)]
pub struct Installed {
    /// The plan, this core's own copy: a shared one would bounce the scratch space of its regexes between cores. Its
    /// clusters may be out of date: see [`Installed::cluster`].
    pub plan: Arc<Plan>,
    /// This core's counters.
    pub stats: Arc<CoreStats>,
    shared: SharedClusters,
    clusters: Vec<Rc<LocalCluster>>,
}

/// The remains of a plan without users. They can be large, and may be dropped on any thread.
#[derive(Debug)]
pub struct RetiredPlan {
    _plan: Arc<Plan>,
    _stats: Arc<CoreStats>,
    _shared: SharedClusters,
}

impl Installed {
    /// Joins a plan with its counters and with the state that all cores share, with empty pools.
    #[must_use]
    pub fn new(
        plan: Plan,
        stats: CoreStats,
        shared: SharedClusters,
        core_mailbox: &Rc<CoreMailbox>,
        rng: &mut Rng,
    ) -> Self {
        let clusters = plan.clusters.iter().enumerate();
        let clusters = clusters
            .map(|(at, cluster)| LocalCluster::new(cluster, stats.join(at, &shared), None, core_mailbox, rng))
            .collect();
        Self { plan: Arc::new(plan), stats: Arc::new(stats), shared, clusters }
    }

    /// Joins a plan with its counters, and takes over from `old`: a cluster that has not changed is the same one, and
    /// an endpoint that stays in its cluster keeps its connections. The idle connections of the others are closed.
    #[must_use]
    pub fn after(
        old: &Self,
        plan: Plan,
        stats: CoreStats,
        shared: SharedClusters,
        core_mailbox: &Rc<CoreMailbox>,
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
                known => LocalCluster::new(cluster, stats.join(at, &shared), known.copied(), core_mailbox, rng),
            })
            .collect();
        clusters.iter().for_each(|cluster| cluster.set_gone(false));
        before().for_each(|cluster| cluster.close_gone());
        Self { plan: Arc::new(plan), stats: Arc::new(stats), shared, clusters }
    }

    /// The same plan with other members of one cluster. An endpoint that stays keeps its connections; the idle
    /// connections of the others are closed. `None`: the cluster is not the one that was at this position of the plan.
    #[must_use]
    pub fn with_members(
        &self,
        id: ClusterId,
        cluster: &Arc<Cluster>,
        handles: ClusterHandles,
        core_mailbox: &Rc<CoreMailbox>,
        rng: &mut Rng,
    ) -> Option<Self> {
        let old = self.clusters.get(id.index()).filter(|old| old.plan.name == cluster.name)?;
        old.set_gone(true);
        let new = LocalCluster::new(cluster, handles, Some(old), core_mailbox, rng);
        new.set_gone(false);
        old.close_gone();
        let mut clusters = self.clusters.clone();
        *clusters.get_mut(id.index())? = new;
        Some(Self { plan: self.plan.clone(), stats: self.stats.clone(), shared: self.shared.clone(), clusters })
    }

    /// The filter chains of a listener.
    #[must_use]
    pub fn filter_chains(&self, listener: ListenerId) -> Option<&FilterChains> {
        Some(&self.plan.listeners.get(listener.index())?.chains)
    }

    /// How connections to an outbound listener find their filter chain; `None` for any other listener.
    #[must_use]
    pub fn outbound(&self, listener: ListenerId) -> Option<&Outbound> {
        self.filter_chains(listener)?.destinations()
    }

    /// The counters of a route of the plan, if it has some of its own.
    #[must_use]
    pub fn route_stats(&self, route: &Route) -> Option<&RouteStats> {
        self.stats.routes.get(route.stat_prefix.as_ref()?.id.index()).map(Arc::as_ref)
    }

    /// Gives up the core's side, and returns the part that another thread can drop.
    #[must_use]
    pub fn into_retired(self) -> RetiredPlan {
        RetiredPlan { _plan: self.plan, _stats: self.stats, _shared: self.shared }
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

    /// The passthrough cluster, if the plan allows it.
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

impl CoreStats {
    /// The core's handles on the `at`th cluster of the plan.
    fn join(&self, at: usize, shared: &SharedClusters) -> ClusterHandles {
        ClusterHandles {
            stats: self.clusters.get(at).cloned().unwrap_or_default(),
            endpoints: self.endpoints.get(at).cloned().unwrap_or_default(),
            shared: shared.get(at).cloned().unwrap_or_default(),
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
    use crate::policy::balance::{LoadBalancing, Policy};

    fn cluster(ports: &[u16]) -> Cluster {
        let endpoints = ports.iter().map(|port| Endpoint {
            address: ([10, 0, 0, 1], *port).into(),
            weight: 1,
            locality: crate::plan::Locality::default(),
        });
        let endpoints: Vec<Endpoint> = endpoints.collect();
        let members: Vec<_> = endpoints.iter().map(|endpoint| (endpoint.address.clone(), endpoint.weight)).collect();
        Cluster::new("c", LoadBalancing::even(Policy::RoundRobin, None, &members), endpoints, Duration::from_secs(10))
    }

    fn handles(cluster: Cluster, old: Option<&Rc<LocalCluster>>) -> Rc<LocalCluster> {
        LocalCluster::new(
            &Arc::new(cluster),
            ClusterHandles::default(),
            old,
            &CoreMailbox::new(0, Rc::default()),
            &mut Rng::seeded(1),
        )
    }

    /// Where each endpoint of `before` is in `after`.
    fn kept(before: &LocalCluster, after: &LocalCluster) -> Vec<Option<usize>> {
        let position = |own| after.endpoints.iter().position(|endpoint| Rc::ptr_eq(endpoint, own));
        before.endpoints.iter().map(position).collect()
    }

    #[test]
    fn an_endpoint_that_stays_is_the_same_one_whoever_comes_and_goes_beside_it() {
        let before = handles(cluster(&[1, 3, 5, 7]), None);
        let after = handles(cluster(&[2, 3, 4, 7, 8]), Some(&before));
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
            let before = handles(moved(kind, "10.0.0.1"), None);
            let after = handles(moved(kind, "10.0.0.2"), Some(&before));
            assert_eq!(kept(&before, &after), [stays], "{kind:?}");
        }
    }

    #[test]
    fn other_members_of_one_cluster_leave_the_rest_of_the_plan_alone() {
        let named = |name: &str, ports: &[u16]| Arc::new(Cluster { name: name.to_owned(), ..cluster(ports) });
        let proxy = ProxySettings::default();
        let plan = Plan { listeners: Arc::default(), clusters: vec![named("a", &[1, 2]), named("b", &[3])], proxy };
        let (stats, shared, mut rng) = (CoreStats::default(), SharedClusters::default(), Rng::seeded(1));
        let core_mailbox = CoreMailbox::new(0, Rc::default());
        let old = Installed::new(plan, stats, shared, &core_mailbox, &mut rng);
        let handles = ClusterHandles::default;
        assert!(
            old.with_members(ClusterId(1), &named("a", &[]), handles(), &core_mailbox, &mut rng).is_none(),
            "another cluster"
        );
        assert!(
            old.with_members(ClusterId(2), &named("a", &[]), handles(), &core_mailbox, &mut rng).is_none(),
            "no cluster"
        );
        let new = old
            .with_members(ClusterId(0), &named("a", &[2, 4]), handles(), &core_mailbox, &mut rng)
            .expect("the same cluster");
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
