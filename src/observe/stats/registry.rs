//! All blocks of the process by name, and their sums.
//!
//! Workers come here when a plan is installed, to fetch the blocks of their core; the control side comes to read. The
//! data path must not: there is a lock here.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::block::{Block, Sample};
use super::blocks::{ClusterStats, ControlStats, EndpointStats, LogStats, RouteStats, ServerStats};
use super::histogram::Buckets;
use super::http::{HttpStats, ListenerStats};
use super::shared::ClusterShared;
use super::tcp::TcpStats;
use crate::base::endpoint::EndpointAddress;

/// The blocks of every core. A name that was registered keeps its numbers, so a new plan that has the same cluster goes
/// on counting where the old one stopped.
#[derive(Debug)]
pub struct Registry {
    cores: usize,
    server: ServerStats,
    control: ControlStats,
    /// One for each core's log buffer, and one more for the writer thread.
    log: Vec<Arc<LogStats>>,
    tables: Mutex<Tables>,
    rolled: Mutex<HashMap<String, Rolled>>,
}

#[derive(Debug, Default)]
struct Tables {
    clusters: BTreeMap<String, ClusterEntry>,
    http: BTreeMap<String, Shards<HttpStats>>,
    listeners: BTreeMap<String, Shards<ListenerStats>>,
    tcp: BTreeMap<String, Shards<TcpStats>>,
    /// By virtual host and `statPrefix`.
    routes: BTreeMap<(String, String), Shards<RouteStats>>,
}

/// One block a core.
type Shards<T> = Vec<Arc<T>>;

#[derive(Debug)]
struct ClusterEntry {
    shared: Arc<ClusterShared>,
    cores: Shards<ClusterStats>,
    endpoints: BTreeMap<EndpointAddress, Shards<EndpointStats>>,
}

/// A histogram at the last two rolls.
#[derive(Debug, Default)]
struct Rolled {
    at_roll: Buckets,
    interval: Buckets,
}

/// One statistic, summed over the cores.
#[derive(Debug, Clone, PartialEq)]
pub struct Stat {
    /// Envoy's full name.
    pub name: String,
    /// Its value.
    pub value: StatValue,
    /// The parts of its name.
    pub(super) parts: StatName,
}

/// The part of a statistic's name that names its subject: Prometheus wants that as labels, and a cluster's name has
/// dots of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StatName {
    pub(super) subject: StatSubject,
    /// Where the name of the field begins.
    pub(super) field: usize,
}

/// The subject of a statistic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StatSubject {
    /// `server.<field>`, `access_log.<field>`: the process.
    Process,
    /// `cluster.<name>.<field>`.
    Cluster,
    /// `http.<stat_prefix>.<field>`.
    Http,
    /// `tcp.<prefix>.<field>`.
    Tcp,
    /// `listener.<name>.<field>`.
    Listener,
    /// `listener.<name>.worker_<number>.<field>`.
    Worker(usize),
    /// `vhost.<host>.route.<stat_prefix>.<field>`.
    Route {
        /// Where the virtual host's name ends.
        host_end: usize,
    },
}

/// The value of a statistic.
#[derive(Debug, Clone, PartialEq)]
pub enum StatValue {
    /// A number that only grows.
    Counter(u64),
    /// A number that rises and falls.
    Gauge {
        /// The number; cores that are ahead of others can make it negative for a moment, then it is 0.
        value: u64,
        /// Whether it was ever set.
        used: bool,
    },
    /// A distribution.
    Histogram {
        /// Every sample so far.
        all: Buckets,
        /// The samples between the last two rolls (see [`Registry::roll`]).
        interval: Buckets,
    },
}

impl StatValue {
    /// Whether anything was ever counted (Envoy's `?usedonly`).
    #[must_use]
    pub fn used(&self) -> bool {
        match self {
            Self::Counter(value) => *value > 0,
            Self::Gauge { used, .. } => *used,
            Self::Histogram { all, .. } => all.count() > 0,
        }
    }
}

/// The names of a plan, for [`Registry::retain`].
#[derive(Debug, Default)]
pub struct Kept<'a> {
    /// Clusters by name, each with its endpoints.
    pub clusters: HashMap<&'a str, HashSet<EndpointAddress>>,
    /// Listeners by name.
    pub listeners: HashSet<&'a str>,
    /// Prefixes of HTTP statistics.
    pub http: HashSet<&'a str>,
    /// Prefixes of TCP statistics.
    pub tcp: HashSet<&'a str>,
    /// Virtual hosts with the `statPrefix`es of their routes.
    pub routes: HashSet<(&'a str, &'a str)>,
}

/// The numbers of an endpoint, summed over the cores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EndpointTotals {
    /// Connections opened or tried.
    pub cx_total: u64,
    /// Connections that are open.
    pub cx_active: u64,
    /// Connections that could not be established.
    pub cx_connect_fail: u64,
    /// Requests sent, each attempt counted.
    pub rq_total: u64,
    /// Requests under way.
    pub rq_active: u64,
    /// Requests answered with a status below 500.
    pub rq_success: u64,
    /// Requests answered with a status of 500 or more, or not at all.
    pub rq_error: u64,
    /// Requests that wait for a connection.
    pub rq_pending_active: u64,
    /// Requests that timed out.
    pub rq_timeout: u64,
}

impl Registry {
    /// A registry for `cores` workers, numbered from 0.
    #[must_use]
    pub fn new(cores: usize) -> Self {
        Self {
            cores,
            server: ServerStats::default(),
            control: ControlStats::default(),
            log: shards(cores + 1),
            tables: Mutex::default(),
            rolled: Mutex::default(),
        }
    }

    /// How many workers there are.
    #[must_use]
    pub fn cores(&self) -> usize {
        self.cores
    }

    /// The process's own gauges.
    #[must_use]
    pub fn server(&self) -> &ServerStats {
        &self.server
    }

    /// The counters of control's own work. Only control writes them.
    #[must_use]
    pub fn control(&self) -> &ControlStats {
        &self.control
    }

    /// Forgets the clusters, endpoints and listeners that `kept` does not name. A block that is still in use counts on,
    /// but is not shown.
    pub fn retain(&self, kept: &Kept<'_>) {
        let mut tables = self.tables();
        tables.clusters.retain(|name, cluster| {
            let Some(endpoints) = kept.clusters.get(name.as_str()) else { return false };
            cluster.endpoints.retain(|address, _| endpoints.contains(address));
            true
        });
        tables.listeners.retain(|name, _| kept.listeners.contains(name.as_str()));
        tables.http.retain(|stat_prefix, _| kept.http.contains(stat_prefix.as_str()));
        tables.tcp.retain(|prefix, _| kept.tcp.contains(prefix.as_str()));
        tables.routes.retain(|(host, stat_prefix), _| kept.routes.contains(&(host.as_str(), stat_prefix.as_str())));
    }

    /// Forgets the endpoints of a cluster that are not among `kept`.
    pub fn retain_endpoints(&self, cluster: &str, kept: &HashSet<EndpointAddress>) {
        if let Some(cluster) = self.tables().clusters.get_mut(cluster) {
            cluster.endpoints.retain(|address, _| kept.contains(address));
        }
    }

    /// The endpoint of a cluster that was at `from` is at `to` now, and goes on counting.
    pub fn move_endpoint(&self, cluster: &str, from: &EndpointAddress, to: EndpointAddress) {
        if let Some(cluster) = self.tables().clusters.get_mut(cluster)
            && let Some(shards) = cluster.endpoints.remove(from)
        {
            cluster.endpoints.insert(to, shards);
        }
    }

    /// Sets the gauges of `core` to 0: its worker is dead, and its active requests and connections with it. To be
    /// called when the worker has ended.
    pub fn clear_gauges(&self, core: usize) {
        fn clear<B: Block>(shards: &Shards<B>, core: usize) {
            if let Some(block) = shards.get(core) {
                block.each(&mut |_, sample| {
                    if let Sample::Gauge(gauge) = sample
                        && gauge.written()
                    {
                        gauge.set(0);
                    }
                });
            }
        }
        let tables = self.tables();
        for cluster in tables.clusters.values() {
            clear(&cluster.cores, core);
            cluster.endpoints.values().for_each(|endpoint| clear(endpoint, core));
        }
        tables.http.values().for_each(|http| clear(http, core));
        tables.listeners.values().for_each(|listener| clear(listener, core));
    }

    /// The block of the log lines of `core`.
    ///
    /// # Panics
    /// If there is no such core.
    #[must_use]
    pub fn log_buffer(&self, core: usize) -> Arc<LogStats> {
        assert!(core < self.cores, "core {core} of {}", self.cores);
        Arc::clone(&self.log[core])
    }

    /// The block of the log-writing thread.
    #[must_use]
    pub fn log_writer(&self) -> Arc<LogStats> {
        Arc::clone(&self.log[self.cores])
    }

    /// The block of `core` for the cluster `name`.
    ///
    /// # Panics
    /// If there is no such core, as for the other blocks: the caller started the cores it counted.
    #[must_use]
    pub fn cluster(&self, core: usize, name: &str) -> Arc<ClusterStats> {
        Arc::clone(&self.tables().cluster(name, self.cores).cores[core])
    }

    /// The statistics of the cluster `name` that belong to no core.
    #[must_use]
    pub fn cluster_shared(&self, name: &str) -> Arc<ClusterShared> {
        Arc::clone(&self.tables().cluster(name, self.cores).shared)
    }

    /// The block of `core` for one endpoint of the cluster `name`.
    ///
    /// # Panics
    /// If there is no such core.
    #[must_use]
    pub fn endpoint(&self, core: usize, cluster: &str, address: &EndpointAddress) -> Arc<EndpointStats> {
        let mut tables = self.tables();
        let endpoints = &mut tables.cluster(cluster, self.cores).endpoints;
        Arc::clone(&endpoints.entry(address.clone()).or_insert_with(|| shards(self.cores))[core])
    }

    /// The block of `core` for the HTTP statistics named `stat_prefix` (`outbound_0.0.0.0_8080`).
    ///
    /// # Panics
    /// If there is no such core.
    #[must_use]
    pub fn http(&self, core: usize, stat_prefix: &str) -> Arc<HttpStats> {
        Arc::clone(&self.tables().http.entry(stat_prefix.to_owned()).or_insert_with(|| shards(self.cores))[core])
    }

    /// The block of `core` for the TCP statistics named `prefix`.
    ///
    /// # Panics
    /// If there is no such core.
    #[must_use]
    pub fn tcp(&self, core: usize, prefix: &str) -> Arc<TcpStats> {
        Arc::clone(&self.tables().tcp.entry(prefix.to_owned()).or_insert_with(|| shards(self.cores))[core])
    }

    /// The block of `core` for the listener `name` (`0.0.0.0_8080`).
    ///
    /// # Panics
    /// If there is no such core.
    #[must_use]
    pub fn listener(&self, core: usize, name: &str) -> Arc<ListenerStats> {
        Arc::clone(&self.tables().listeners.entry(name.to_owned()).or_insert_with(|| shards(self.cores))[core])
    }

    /// The block of `core` for the routes of the virtual host `host` that have this `statPrefix`.
    ///
    /// # Panics
    /// If there is no such core.
    #[must_use]
    pub fn route(&self, core: usize, host: &str, stat_prefix: &str) -> Arc<RouteStats> {
        let key = (host.to_owned(), stat_prefix.to_owned());
        Arc::clone(&self.tables().routes.entry(key).or_insert_with(|| shards(self.cores))[core])
    }

    /// The sums of one endpoint's blocks; zeros for an endpoint that is not registered.
    #[must_use]
    pub fn endpoint_totals(&self, cluster: &str, address: &EndpointAddress) -> EndpointTotals {
        let tables = self.tables();
        let Some(cores) = tables.clusters.get(cluster).and_then(|cluster| cluster.endpoints.get(address)) else {
            return EndpointTotals::default();
        };
        let gauge = |of: fn(&EndpointStats) -> i64| u64::try_from(cores.iter().map(|core| of(core)).sum::<i64>());
        let counter = |of: fn(&EndpointStats) -> u64| cores.iter().map(|core| of(core)).sum();
        EndpointTotals {
            cx_total: counter(|core| core.cx_total.get()),
            cx_active: gauge(|core| core.cx_active.signed()).unwrap_or(0),
            cx_connect_fail: counter(|core| core.cx_connect_fail.get()),
            rq_total: counter(|core| core.rq_total.get()),
            rq_active: gauge(|core| core.rq_active.signed()).unwrap_or(0),
            rq_success: counter(|core| core.rq_success.get()),
            rq_error: counter(|core| core.rq_error.get()),
            rq_pending_active: gauge(|core| core.rq_pending_active.signed()).unwrap_or(0),
            rq_timeout: counter(|core| core.rq_timeout.get()),
        }
    }

    /// Ends an interval of the histograms. Envoy does so every 5 s; the control side calls this as often.
    pub fn roll(&self) {
        let mut now = Vec::new();
        let recorded = |sample: &Sample<'_>| matches!(sample, Sample::Histogram(histogram) if !histogram.is_empty());
        self.tables().sum(&self.server, &self.control, &self.log, &recorded, &mut |_, name, sum| {
            if let Sum::Histogram(buckets) = sum {
                now.push((name, buckets));
            }
        });
        let mut rolled = self.rolled.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, at_roll) in now {
            let last = rolled.entry(name).or_default();
            last.interval = at_roll.since(&last.at_roll);
            last.at_roll = at_roll;
        }
    }

    /// The statistics whose name `keep` accepts, summed over the cores, in Envoy's order: counters and gauges by name,
    /// then histograms by name.
    #[must_use]
    pub fn snapshot(&self, keep: &dyn Fn(&str) -> bool) -> Vec<Stat> {
        let rolled = self.rolled.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stats = Vec::new();
        self.tables().sum(&self.server, &self.control, &self.log, &|_| true, &mut |parts, name, sum| {
            if !keep(&name) {
                return;
            }
            let value = match sum {
                Sum::Counter(value) => StatValue::Counter(value),
                Sum::Gauge { value, used } => StatValue::Gauge { value: u64::try_from(value).unwrap_or(0), used },
                Sum::Histogram(all) => {
                    let interval = rolled.get(&name).map(|rolled| rolled.interval.clone()).unwrap_or_default();
                    StatValue::Histogram { all, interval }
                }
            };
            stats.push(Stat { name, value, parts });
        });
        let last = |stat: &Stat| matches!(stat.value, StatValue::Histogram { .. });
        stats.sort_unstable_by(|a, b| (last(a), &a.name).cmp(&(last(b), &b.name)));
        stats
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // No holder of the lock leaves a table half changed: a poisoned lock can be used.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A sum over cores, unfinished.
enum Sum {
    Counter(u64),
    Gauge { value: i64, used: bool },
    Histogram(Buckets),
}

impl Sum {
    fn add(&mut self, sample: &Sample<'_>) {
        match (self, sample) {
            (Self::Counter(sum), Sample::Counter(counter)) => *sum = sum.wrapping_add(counter.get()),
            (Self::Gauge { value, used }, Sample::Gauge(gauge)) => {
                *value = value.wrapping_add(gauge.signed());
                *used |= gauge.written();
            }
            (Self::Histogram(buckets), Sample::Histogram(histogram)) => histogram.add_to(buckets),
            // A name has one kind: `Block` implementations are the only callers.
            (Self::Counter(_) | Self::Gauge { .. } | Self::Histogram(_), _) => {}
        }
    }

    fn of(sample: &Sample<'_>) -> Self {
        let mut sum = match sample {
            Sample::Counter(_) => Self::Counter(0),
            Sample::Gauge(_) => Self::Gauge { value: 0, used: false },
            Sample::Histogram(_) => Self::Histogram(Buckets::default()),
        };
        sum.add(sample);
        sum
    }
}

impl Tables {
    fn cluster(&mut self, name: &str, cores: usize) -> &mut ClusterEntry {
        self.clusters.entry(name.to_owned()).or_insert_with(|| ClusterEntry {
            shared: Arc::default(),
            cores: shards(cores),
            endpoints: BTreeMap::new(),
        })
    }

    /// Calls `see` with the full name and the sum of every number whose samples are `wanted`.
    fn sum(
        &self,
        server: &ServerStats,
        control: &ControlStats,
        log: &[Arc<LogStats>],
        wanted: &Wanted<'_>,
        see: &mut See<'_>,
    ) {
        for (name, cluster) in &self.clusters {
            let prefix = format!("cluster.{name}.");
            sum_blocks(StatSubject::Cluster, &prefix, cluster.cores.iter().map(AsRef::as_ref), wanted, see);
            sum_blocks(StatSubject::Cluster, &prefix, std::iter::once(cluster.shared.as_ref()), wanted, see);
        }
        for (name, cores) in &self.http {
            sum_blocks(StatSubject::Http, &format!("http.{name}."), cores.iter().map(AsRef::as_ref), wanted, see);
        }
        for (name, cores) in &self.tcp {
            sum_blocks(StatSubject::Tcp, &format!("tcp.{name}."), cores.iter().map(AsRef::as_ref), wanted, see);
        }
        let mut connections = Sum::Gauge { value: 0, used: false };
        for (name, cores) in &self.listeners {
            sum_blocks(
                StatSubject::Listener,
                &format!("listener.{name}."),
                cores.iter().map(AsRef::as_ref),
                wanted,
                see,
            );
            for (core, stats) in cores.iter().enumerate() {
                let (total, active) = ((&stats.downstream_cx_total).into(), (&stats.downstream_cx_active).into());
                connections.add(&active);
                let prefix = format!("listener.{name}.worker_{core}.");
                for (field, sample) in [("downstream_cx_total", total), ("downstream_cx_active", active)] {
                    if wanted(&sample) {
                        let parts = StatName { subject: StatSubject::Worker(core), field: prefix.len() };
                        see(parts, [&prefix, field].concat(), Sum::of(&sample));
                    }
                }
            }
        }
        for ((host, stat_prefix), cores) in &self.routes {
            let subject = StatSubject::Route { host_end: "vhost.".len() + host.len() };
            let prefix = format!("vhost.{host}.route.{stat_prefix}.");
            sum_blocks(subject, &prefix, cores.iter().map(AsRef::as_ref), wanted, see);
        }
        sum_blocks(StatSubject::Process, "server.", std::iter::once(server), wanted, see);
        let parts = StatName { subject: StatSubject::Process, field: "server.".len() };
        see(parts, "server.total_connections".to_owned(), connections);
        sum_blocks(StatSubject::Process, "ringway.", std::iter::once(control), wanted, see);
        sum_blocks(StatSubject::Process, "access_log.", log.iter().map(AsRef::as_ref), wanted, see);
    }
}

/// Which samples to sum: called before a name is made, because names are the cost of a sum over many clusters.
type Wanted<'a> = dyn Fn(&Sample<'_>) -> bool + 'a;

/// Takes a statistic: what it is about, its full name, its sum.
type See<'a> = dyn FnMut(StatName, String, Sum) + 'a;

fn sum_blocks<'a, B: Block + 'a>(
    subject: StatSubject,
    prefix: &str,
    cores: impl Iterator<Item = &'a B>,
    wanted: &Wanted<'_>,
    see: &mut See<'_>,
) {
    // Each core shows its numbers in the order of the first one, with some left out or added: the expected position is
    // looked up first.
    let mut sums: Vec<(String, Sum)> = Vec::new();
    for block in cores {
        let mut next = 0;
        block.each(&mut |name, sample| {
            if !wanted(&sample) {
                return;
            }
            let is_it = |(known, _): &(String, Sum)| known.get(prefix.len()..) == Some(name);
            let found = if sums.get(next).is_some_and(is_it) { Some(next) } else { sums.iter().position(is_it) };
            match found.and_then(|at| Some((at, sums.get_mut(at)?))) {
                Some((at, (_, sum))) => {
                    sum.add(&sample);
                    next = at + 1;
                }
                None => sums.push(([prefix, name].concat(), Sum::of(&sample))),
            }
        });
    }
    let parts = StatName { subject, field: prefix.len() };
    for (name, sum) in sums {
        see(parts, name, sum);
    }
}

fn shards<T: Default>(count: usize) -> Shards<T> {
    (0..count).map(|_| Arc::default()).collect()
}

#[cfg(test)]
mod tests;
