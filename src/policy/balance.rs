//! Load balancing: which endpoint of a cluster takes the next request.
//!
//! The algorithms are Envoy's, per core: each core has its own [`Balancer`] with its own random start, so cores share
//! nothing and do not march in step; only the tables of consistent hashing, which never change, are shared. Two
//! closures give an endpoint's state, so that it lives where it belongs: how many requests it has in flight, and
//! whether this request may use it (an earlier attempt may have). `health_changed` tells the balancer about ejections.
//! A pick allocates nothing. Called by `upstream` once an attempt.
//!
//! A pick goes down three steps, of which most clusters have only the last: the priority (by the health of all), the
//! locality within it (by weight), the endpoint (by the policy). A hash replaces the last two.

mod priority;
mod schedule;
mod spread;

use std::sync::Arc;
use std::time::Instant;

use super::hashing::HashTable;
use crate::base::id::EndpointId;
use crate::base::rng::Rng;
use priority::Loads;
use schedule::Schedule;

pub use priority::Levels;
pub use spread::{Group, Level, LoadBalancing, Policy, Warmup};

/// Random draws before the usable endpoints are counted instead. With half of them unusable, one pick in 65,536 gets
/// that far.
const DRAWS: usize = 16;

/// Attempts between two recomputations of the priorities for `retryRemoteLocalities` (Istio's).
const UPDATE_FREQUENCY: usize = 2;

/// An endpoint's attributes that do not change with every request.
#[derive(Debug, Clone, Copy)]
pub struct Member {
    /// Its weight; 0 counts as 1.
    pub weight: u32,
    /// When it came into the cluster, for `warmup`.
    pub since: Instant,
}

/// The request's inputs to a pick.
#[derive(Debug, Clone, Copy)]
pub struct PickContext {
    /// The hash of the request (see [`hashing::key`](super::hashing::key)).
    pub hash: Option<u64>,
    /// The time.
    pub now: Instant,
}

/// One core's balancing state of one cluster.
#[derive(Debug, Clone)]
pub struct Balancer {
    levels: Box<[Priority]>,
    loads: Loads,
    members: Members,
    /// Unhealthy endpoints, by position; empty: all are healthy.
    unhealthy: Box<[bool]>,
    /// `minHealthPercent`: a level with a smaller part of it healthy may panic.
    panic_below: u32,
    /// Whether the last pick was among all of a level, whatever their health.
    panicked: bool,
}

/// The endpoints, and which of them are still new.
#[derive(Debug, Clone)]
struct Members {
    list: Box<[Member]>,
    warming: Option<Warming>,
}

#[derive(Debug, Clone, Copy)]
struct Warming {
    warmup: Warmup,
    /// When the last endpoint is no longer new.
    end: Instant,
}

#[derive(Debug, Clone)]
struct Priority {
    groups: Box<[Locality]>,
    /// Among several groups.
    turns: Option<Schedule>,
    table: Option<Arc<HashTable>>,
    /// All of several groups, while in a panic: then localities do not matter.
    everyone: Option<Box<Locality>>,
}

#[derive(Debug, Clone)]
struct Locality {
    weight: u32,
    /// The weight less its unhealthy part.
    effective: f64,
    members: Box<[u32]>,
    policy: Policy,
    method: PickMethod,
}

#[derive(Debug, Clone)]
enum PickMethod {
    Random,
    LeastOfTwo,
    Rotation { next: usize },
    Weighted { schedule: Schedule, by_load: bool },
}

impl Balancer {
    /// For a cluster's endpoints, all of them usable, at a random point of their rotation.
    #[must_use]
    pub fn new(spread: &LoadBalancing, members: &[Member], now: Instant, rng: &mut Rng) -> Self {
        let warming = spread.warmup.and_then(|warmup| {
            let end = members.iter().map(|member| member.since).max()? + warmup.duration;
            (end > now).then_some(Warming { warmup, end })
        });
        let members = Members { list: members.into(), warming };
        let levels = spread.levels.iter().map(|level| Priority {
            groups: level.groups.iter().map(|group| Locality::new(group, spread.policy, &members, now, rng)).collect(),
            turns: None,
            table: level.table.clone(),
            everyone: None,
        });
        let (levels, loads, unhealthy) = (levels.collect(), Loads::default(), Box::default());
        let mut balancer = Self { levels, loads, members, unhealthy, panic_below: 0, panicked: false };
        balancer.health_changed(|_| true, now, rng);
        balancer
    }

    /// The balancer with a share of healthy endpoints below which a level may ignore their health, in percent
    /// (Envoy's `healthy_panic_threshold`). 0: never.
    #[must_use]
    pub fn panicking_below(self, percent: u32) -> Self {
        Self { panic_below: percent, ..self }
    }

    /// Sets which endpoints are healthy: these can be picked, and they decide how much each priority and each locality
    /// gets. Allocates.
    pub fn health_changed(&mut self, healthy: impl Fn(usize) -> bool, now: Instant, rng: &mut Rng) {
        let unhealthy: Box<[bool]> = (0..self.members.list.len()).map(|at| !healthy(at)).collect();
        self.unhealthy = if unhealthy.contains(&true) { unhealthy } else { Box::default() };
        let health = |level: &Priority| {
            let all = || level.groups.iter().flat_map(|group| &group.members);
            (all().filter(|at| healthy(**at as usize)).count(), all().count())
        };
        self.loads = Loads::new(self.levels.iter().map(health), self.panic_below);
        for (at, level) in self.levels.iter_mut().enumerate() {
            level.health_changed(&healthy, self.loads.panics(at), (&self.members, now), rng);
        }
    }

    /// The endpoint for the next request; `None` if none is usable. `active` says how many requests an endpoint has
    /// in flight, `usable` whether this request may have it; both take a position below the number of members.
    pub fn pick(
        &mut self,
        ask: PickContext,
        active: impl Fn(usize) -> u32,
        usable: impl Fn(usize) -> bool,
        rng: &mut Rng,
    ) -> Option<EndpointId> {
        self.pick_beyond(Levels::NONE, ask, active, usable, rng)
    }

    /// [`Balancer::pick`] in other levels than these, as far as others have anybody healthy.
    pub fn pick_beyond(
        &mut self,
        excluded: Levels,
        ask: PickContext,
        active: impl Fn(usize) -> u32,
        usable: impl Fn(usize) -> bool,
        rng: &mut Rng,
    ) -> Option<EndpointId> {
        let Self { levels, loads, members, unhealthy, panicked, .. } = self;
        if members.warming.is_some_and(|warming| warming.end <= ask.now) {
            members.warming = None;
            let all = levels.iter_mut().flat_map(|level| level.groups.iter_mut().chain(level.everyone.as_deref_mut()));
            for group in all {
                group.method = PickMethod::new(group.policy, &group.members, members, ask.now, rng);
            }
        }
        let unhealthy: &[bool] = unhealthy;
        let mut pick = |level: &mut Priority, panics: bool, ask: PickContext, rng: &mut Rng| {
            *panicked = panics;
            if panics || unhealthy.is_empty() {
                return level.pick(ask, members, &active, &usable, rng);
            }
            let healthy = |at: usize| unhealthy.get(at).is_none_or(|unhealthy| !unhealthy);
            level.pick(ask, members, &active, |at| healthy(at) && usable(at), rng)
        };
        let chosen = match &mut **levels {
            [only] => pick(only, loads.panics(0), ask, rng),
            several => {
                // Envoy takes both the level and the position in its table from the one hash.
                let draw = ask.hash.unwrap_or_else(|| rng.bits());
                let ask = PickContext { hash: Some(draw), ..ask };
                let own = loads.without(excluded);
                let first = own.level(draw % 100);
                // The other levels with a share, if this request has already used all of this level's endpoints.
                let mut order = (first..several.len()).chain(0..first).filter(|at| *at == first || own.has_share(*at));
                order.find_map(|at| pick(several.get_mut(at)?, loads.panics(at), ask, rng))
            }
        };
        chosen.map(|at| EndpointId(at as u32))
    }

    /// Whether the last pick paid no heed to the health of endpoints (`lb_healthy_panic`).
    #[must_use]
    pub fn panicked(&self) -> bool {
        self.panicked
    }

    /// The levels that a retry is to avoid after these endpoints were tried, in this order: Envoy's
    /// `previous_priorities` with an `update_frequency` of 2, as Istio has it for `retryRemoteLocalities`.
    #[must_use]
    pub fn levels_tried(&self, tried: &[EndpointId]) -> Levels {
        let level_of = |id: &EndpointId| {
            let holds = |level: &Priority| {
                level.groups.iter().any(|group| group.members.iter().any(|at| *at as usize == id.index()))
            };
            self.levels.iter().position(holds)
        };
        let (mut excluded, mut begin) = (Levels::NONE, 0);
        for end in 1..=tried.len() {
            let attempted = tried.get(begin..end).unwrap_or_default();
            if !attempted.len().is_multiple_of(UPDATE_FREQUENCY) {
                continue;
            }
            excluded = attempted.iter().filter_map(level_of).fold(excluded, Levels::with);
            if !self.loads.is_any_left(excluded) {
                (excluded, begin) = (Levels::NONE, end);
            }
        }
        excluded
    }
}

impl Priority {
    fn health_changed(
        &mut self,
        healthy: impl Fn(usize) -> bool,
        panics: bool,
        (members, now): (&Members, Instant),
        rng: &mut Rng,
    ) {
        if self.groups.len() < 2 || self.table.is_some() {
            return;
        }
        self.everyone = panics.then(|| {
            let all = self.groups.iter().flat_map(|group| &group.members).copied().collect();
            let policy = self.groups.first().map(|group| group.policy).unwrap_or_default();
            Box::new(Locality::new(&Group { weight: 1, members: all }, policy, members, now, rng))
        });
        for group in &mut self.groups {
            group.effective = group.effective(&healthy);
        }
        let weight = |at: usize| self.groups.get(at).map_or(0.0, |group| group.effective);
        let healthy = (0..self.groups.len() as u32).filter(|at| weight(*at as usize) > 0.0);
        self.turns = Some(Schedule::new(healthy, weight, rng));
    }

    fn pick(
        &mut self,
        ask: PickContext,
        members: &Members,
        active: impl Fn(usize) -> u32,
        usable: impl Fn(usize) -> bool,
        rng: &mut Rng,
    ) -> Option<usize> {
        if let Some(table) = &self.table {
            return table.pick(ask.hash.unwrap_or_else(|| rng.bits()), usable);
        }
        if let [only] = &mut *self.groups {
            return only.pick(ask, members, active, usable, rng);
        }
        if let Some(everyone) = &mut self.everyone {
            return everyone.pick(ask, members, active, usable, rng);
        }
        let turns = self.turns.as_mut()?;
        let first = turns.pick(|at| self.groups.get(at).map_or(1.0, |group| group.effective), |_| true)?;
        // The other groups, if this request has already used all of this group's endpoints.
        let mut order = (first..self.groups.len()).chain(0..first);
        order.find_map(|at| self.groups.get_mut(at)?.pick(ask, members, &active, &usable, rng))
    }
}

impl Locality {
    fn new(group: &Group, policy: Policy, members: &Members, now: Instant, rng: &mut Rng) -> Self {
        let method = PickMethod::new(policy, &group.members, members, now, rng);
        let (weight, members) = (group.weight, group.members.clone());
        Self { weight, effective: f64::from(weight), members, policy, method }
    }

    /// Its weight, less the unhealthy endpoints beyond the overprovisioning of 1.4 (Envoy's `effectiveLocalityWeight`).
    fn effective(&self, healthy: impl Fn(usize) -> bool) -> f64 {
        let healthy = self.members.iter().filter(|at| healthy(**at as usize)).count();
        let ratio = healthy as f64 / self.members.len() as f64;
        f64::from(self.weight) * (1.4 * ratio).min(1.0)
    }

    fn pick(
        &mut self,
        ask: PickContext,
        members: &Members,
        active: impl Fn(usize) -> u32,
        usable: impl Fn(usize) -> bool,
        rng: &mut Rng,
    ) -> Option<usize> {
        let own = &*self.members;
        let in_cluster = |at: usize| own.get(at).map_or(0, |member| *member as usize);
        let count = own.len();
        let active = |at: usize| active(in_cluster(at));
        let usable = |at: usize| usable(in_cluster(at));
        let chosen = match &mut self.method {
            _ if count <= 1 => (count == 1 && usable(0)).then_some(0),
            PickMethod::Random => any(count, usable, rng),
            PickMethod::LeastOfTwo => {
                let first = any(count, usable, rng)?;
                let second = any(count, usable, rng)?;
                Some(if active(second) < active(first) { second } else { first })
            }
            PickMethod::Rotation { next } => rotate(count, next, usable),
            PickMethod::Weighted { schedule, by_load } => {
                let weight = |at: usize| {
                    let load = if *by_load { f64::from(active(at)) + 1.0 } else { 1.0 };
                    members.weight(in_cluster(at), ask.now) / load
                };
                schedule.pick(weight, usable)
            }
        };
        chosen.map(in_cluster)
    }
}

impl Members {
    /// The endpoint's effective weight.
    fn weight(&self, at: usize, now: Instant) -> f64 {
        let Some(member) = self.list.get(at) else { return 1.0 };
        let share = self.warming.map_or(1.0, |warming| warming.warmup.share(now.duration_since(member.since)));
        f64::from(member.weight.max(1)) * share
    }
}

impl PickMethod {
    fn new(policy: Policy, own: &[u32], members: &Members, now: Instant, rng: &mut Rng) -> Self {
        let weight = |at: usize| own.get(at).map_or(1.0, |member| members.weight(*member as usize, now));
        let whole = |at: &u32| members.list.get(*at as usize).map_or(1, |member| member.weight.max(1));
        let even = members.warming.is_none() && own.windows(2).all(|pair| whole(&pair[0]) == whole(&pair[1]));
        let mut schedule = || Schedule::new(0..own.len() as u32, weight, rng);
        match (policy, even) {
            // Endpoints of a table are picked by hash, never through their group.
            (Policy::Random | Policy::ConsistentHash(_), _) => Self::Random,
            (Policy::LeastRequest, true) => Self::LeastOfTwo,
            (Policy::RoundRobin, true) => Self::Rotation { next: rng.below(own.len() as u64) as usize },
            (Policy::LeastRequest, false) => Self::Weighted { schedule: schedule(), by_load: true },
            (Policy::RoundRobin, false) => Self::Weighted { schedule: schedule(), by_load: false },
        }
    }
}

/// One of the usable ones among `count`, each as likely as the other.
fn any(count: usize, usable: impl Fn(usize) -> bool, rng: &mut Rng) -> Option<usize> {
    for _ in 0..DRAWS {
        let at = rng.below(count as u64) as usize;
        if usable(at) {
            return Some(at);
        }
    }
    let left = (0..count).filter(|at| usable(*at)).count();
    let nth = rng.below(left as u64) as usize;
    (0..count).filter(|at| usable(*at)).nth(nth)
}

/// The next usable endpoint in turn. Unusable endpoints wait for the next round, so the others keep even shares.
fn rotate(count: usize, next: &mut usize, usable: impl Fn(usize) -> bool) -> Option<usize> {
    let chosen = (*next..count).chain(0..*next).find(|at| usable(*at))?;
    *next = (chosen + 1) % count;
    Some(chosen)
}

#[cfg(test)]
mod tests;
