//! A seeded simulation of the policies: many cores' requests go through faults, balancing, the breaker, ejection and
//! retries in a random order of steps, through reloads as well, and after every step the numbers must be right.
//!
//! No threads, no sockets, no clock: a seed is a run, and a run that fails says its seed (`SIMULATION_SEED=7` runs that
//! one alone). What happens between the steps of one core is for the model checks and the threaded tests of `policy`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringway::base::endpoint::EndpointAddress;
use ringway::base::id::EndpointId;
use ringway::base::rng::Rng;
use ringway::policy::balance::{Balancer, Group, LoadBalancing, Member, PickContext, Policy};
use ringway::policy::hashing::Algorithm;
use ringway::policy::outlier::{self, ClusterHealth, EndpointHealth, Outlier, Streak};
use ringway::policy::permits::{Breaker, BreakerLimits};
use ringway::policy::retry::{Outcome, ResponseSummary, RetryDecision, RetryOn, RetryPolicy};
use ringway::policy::share::FractionalPercent;

const SEEDS: u64 = 150;
const STEPS: usize = 1_500;
const MILLISECOND: Duration = Duration::from_millis(1);

#[test]
fn the_numbers_are_right_after_every_step() {
    let alone = std::env::var("SIMULATION_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let mut seen = Seen::default();
    for seed in alone.map_or(0..SEEDS, |seed| seed..seed + 1) {
        let run = std::panic::catch_unwind(|| run(seed));
        seen.add(run.unwrap_or_else(|_| panic!("seed {seed}: see above")));
    }
    // A simulation in which nothing happens finds nothing.
    if alone.is_none() {
        for (what, count) in seen.0 {
            assert!(count >= SEEDS / 2, "{what}: only {count} in all runs");
        }
    }
}

#[test]
fn a_seed_is_a_run() {
    for seed in [3, 14, 15] {
        assert_eq!(run(seed), run(seed));
    }
}

/// Cores there may be, at most.
const CORES: usize = 6;

/// How often what happened.
#[derive(Debug, PartialEq, Eq)]
struct Seen(BTreeMap<&'static str, u64>);

const KINDS: [&str; 12] = [
    "answered",
    "overflow",
    "nobody healthy",
    "panic",
    "delayed",
    "aborted",
    "retried",
    "retry overflow",
    "ejected",
    "ejection overflow",
    "released",
    "ejected and gone",
];

impl Default for Seen {
    fn default() -> Self {
        Self(KINDS.into_iter().map(|kind| (kind, 0)).collect())
    }
}

impl Seen {
    fn note(&mut self, what: &'static str) {
        *self.0.get_mut(what).expect("a kind") += 1;
    }

    fn add(&mut self, other: Self) {
        other.0.into_iter().for_each(|(what, count)| *self.0.entry(what).or_default() += count);
    }
}

/// The endpoints of a cluster, as a reload leaves them.
struct Plan {
    addresses: Vec<u16>,
    health: Vec<Arc<EndpointHealth>>,
    spread: LoadBalancing,
}

/// A plan on one core.
struct Installed {
    plan: Rc<Plan>,
    balancer: RefCell<Balancer>,
    followed: Cell<Option<u32>>,
}

struct Core {
    rng: Rng,
    installed: Rc<Installed>,
    /// Connections at rest, by address.
    idle: BTreeMap<u16, u32>,
}

/// What a request is at; what it holds of the breaker follows from it.
#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Delayed {
        until: Instant,
    },
    /// Holds one of `pending`.
    Waiting {
        at: EndpointId,
    },
    /// Holds one of `pending` and one of `connections`.
    Connecting {
        at: EndpointId,
    },
    /// Holds one of `requests` and one of `connections`.
    Active {
        at: EndpointId,
    },
    BackingOff {
        until: Instant,
    },
    Over,
}

struct Request {
    core: usize,
    installed: Rc<Installed>,
    stage: Stage,
    retries: u32,
    /// Holds one of `retries`: from the decision to the end of the retried try.
    retrying: bool,
    tried: Vec<EndpointId>,
}

struct World {
    rng: Rng,
    now: Instant,
    policy: Policy,
    rule: Outlier,
    limits: BreakerLimits,
    breaker: Breaker,
    retry: RetryPolicy,
    delay: FractionalPercent,
    abort: FractionalPercent,
    health: ClusterHealth,
    plan: Rc<Plan>,
    cores: Vec<Core>,
    requests: Vec<Request>,
    next_sweep: Instant,
    next_address: u16,
    /// How ill an endpoint is, in percent of its tries.
    illness: BTreeMap<u16, u64>,
    /// The most that each limit may have taken: more than the limit only where that was lowered.
    most: [u32; 4],
    most_ejected: u32,
    seen: Seen,
}

fn run(seed: u64) -> Seen {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.step();
        world.check();
    }
    world.finish();
    world.seen
}

fn some_limit(rng: &mut Rng) -> Option<u32> {
    (rng.below(4) > 0).then(|| 1 + rng.below(6) as u32)
}

fn some_limits(rng: &mut Rng) -> BreakerLimits {
    BreakerLimits {
        connections: some_limit(rng),
        pending: some_limit(rng),
        requests: some_limit(rng),
        retries: some_limit(rng),
        retry_budget: None,
    }
}

fn spread(policy: Policy, addresses: &[u16], rng: &mut Rng) -> LoadBalancing {
    let endpoints: Vec<(EndpointAddress, u32)> =
        addresses.iter().map(|port| (([10, 0, 0, 1], *port).into(), 1 + rng.below(2) as u32)).collect();
    let cut = rng.below(addresses.len() as u64) as u32;
    let group = |members: std::ops::Range<u32>| vec![Group { weight: 1, members: members.collect() }];
    let (all, two) = (addresses.len() as u32, rng.below(2) == 0 && cut > 0);
    let levels = if two { vec![group(0..cut), group(cut..all)] } else { vec![group(0..all)] };
    LoadBalancing::new(policy, None, &endpoints, levels)
}

impl World {
    #[allow(
        clippy::disallowed_methods,
        reason = "an Instant can be had from the clock only; all times are counted from it"
    )]
    fn new(seed: u64) -> Self {
        let mut rng = Rng::seeded(seed);
        let now = Instant::now();
        let policies =
            [Policy::LeastRequest, Policy::RoundRobin, Policy::Random, Policy::ConsistentHash(Algorithm::default())];
        let policy = policies[rng.below(4) as usize];
        let addresses: Vec<u16> = (1..2 + rng.below(7) as u16).collect();
        let threshold = |rng: &mut Rng| rng.below(5) as u32;
        let rule = Outlier {
            consecutive_5xx: threshold(&mut rng),
            consecutive_gateway: threshold(&mut rng),
            split_local_origin: rng.below(2) == 0,
            consecutive_local_origin: threshold(&mut rng),
            interval: 20 * MILLISECOND,
            base_ejection: MILLISECOND * (1 + rng.below(60) as u32),
            max_ejection_percent: [10, 34, 50, 100][rng.below(4) as usize],
            min_health_percent: [0, 0, 50][rng.below(3) as usize],
            error_codes: Box::default(),
        };
        let limits = some_limits(&mut rng);
        let retry = RetryPolicy {
            attempts: 1 + rng.below(4) as u32,
            per_try_timeout: None,
            on: RetryOn { server_error: true, ..RetryOn::default() },
            backoff: 4 * MILLISECOND,
            avoid_tried: rng.below(2) == 0,
            other_priorities: rng.below(2) == 0,
        };
        let plan = Rc::new(Plan {
            health: addresses.iter().map(|_| Arc::default()).collect(),
            spread: spread(policy, &addresses, &mut rng),
            addresses,
        });
        let mut world = Self {
            breaker: Breaker::new(&limits, CORES),
            health: ClusterHealth::new(plan.addresses.len(), now),
            next_sweep: now + rule.interval,
            next_address: 100,
            illness: BTreeMap::new(),
            most: [0; 4],
            most_ejected: 0,
            cores: Vec::new(),
            requests: Vec::new(),
            delay: FractionalPercent::percent(5.0),
            abort: FractionalPercent::percent(3.0),
            seen: Seen::default(),
            now,
            policy,
            rule,
            limits,
            retry,
            plan,
            rng,
        };
        for core in 0..1 + world.rng.below(CORES as u64) {
            let mut rng = Rng::seeded(seed ^ (core + 1) << 32);
            let installed = world.install(&mut rng);
            world.cores.push(Core { rng, installed, idle: BTreeMap::new() });
        }
        world
    }

    /// The plan in force, for one core.
    fn install(&self, rng: &mut Rng) -> Rc<Installed> {
        let members: Vec<Member> = self.plan.addresses.iter().map(|_| Member { weight: 1, since: self.now }).collect();
        let balancer = Balancer::new(&self.plan.spread, &members, self.now, rng);
        let balancer = RefCell::new(balancer.panicking_below(self.rule.min_health_percent));
        Rc::new(Installed { plan: self.plan.clone(), balancer, followed: Cell::new(None) })
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.rng.below(100) < percent
    }

    fn step(&mut self) {
        match self.rng.below(100) {
            0..30 => self.arrive(),
            30..80 if !self.requests.is_empty() => {
                let at = self.rng.below(self.requests.len() as u64) as usize;
                self.advance(at);
            }
            80..84 => self.close_idle(),
            84..92 => self.pass(),
            92 => self.fall_ill(),
            93 => self.resize(),
            94..96 => self.reload(),
            96..98 => {
                let core = self.rng.below(self.cores.len() as u64) as usize;
                let mut rng = self.cores[core].rng.clone();
                self.cores[core].installed = self.install(&mut rng);
            }
            _ => {}
        }
        self.requests.retain(|request| request.stage != Stage::Over);
    }

    /// A request comes to some core. Faults come first, and hold nothing.
    fn arrive(&mut self) {
        let core = self.rng.below(self.cores.len() as u64) as usize;
        let delayed = self.delay.hits(&mut self.cores[core].rng);
        let stage = if delayed { Stage::Delayed { until: self.now + 7 * MILLISECOND } } else { Stage::Over };
        let installed = self.cores[core].installed.clone();
        self.requests.push(Request { core, installed, stage, retries: 0, retrying: false, tried: Vec::new() });
        if delayed {
            self.seen.note("delayed");
        } else {
            self.after_faults(self.requests.len() - 1);
        }
    }

    fn after_faults(&mut self, at: usize) {
        if self.abort.hits(&mut self.cores[self.requests[at].core].rng) {
            self.requests[at].stage = Stage::Over;
            return self.seen.note("aborted");
        }
        self.begin_try(at);
    }

    /// Picks an endpoint and asks for a connection to it.
    fn begin_try(&mut self, at: usize) {
        let request = &mut self.requests[at];
        let core = &mut self.cores[request.core];
        let Installed { plan, balancer, followed } = &*request.installed;
        let mut balancer = balancer.borrow_mut();
        let changes = Some(self.health.changes());
        if followed.replace(changes) != changes {
            balancer.health_changed(|at| !plan.health[at].is_ejected(), self.now, &mut core.rng);
        }
        let ask = PickContext { hash: (core.rng.below(2) == 0).then(|| core.rng.bits()), now: self.now };
        let tried = request.tried.as_slice();
        let excluded = balancer.levels_tried(if self.retry.other_priorities { tried } else { &[] });
        let other = |at: usize| !self.retry.avoid_tried || tried.iter().all(|id| id.index() != at);
        let picked = balancer
            .pick_beyond(excluded, ask, |_| 0, other, &mut core.rng)
            .or_else(|| balancer.pick_beyond(excluded, ask, |_| 0, |_| true, &mut core.rng));
        let panicked = balancer.panicked();
        drop(balancer);
        let Some(id) = picked else {
            assert!(
                plan.health.iter().all(|endpoint| endpoint.is_ejected()),
                "somebody is healthy, and nobody is picked"
            );
            assert_eq!(self.rule.min_health_percent, 0, "a panic, and nobody is picked");
            return self.end(at, "nobody healthy");
        };
        let ejected = plan.health[id.index()].is_ejected();
        assert!(panicked || !ejected, "an ejected one is picked");
        if panicked {
            self.seen.note("panic");
        }
        let idle = core.idle.entry(plan.addresses[id.index()]).or_default();
        if *idle > 0 {
            *idle -= 1;
            return self.attach(at, id);
        }
        if !self.breaker.pending.take() {
            return self.end(at, "overflow");
        }
        self.requests[at].stage = Stage::Waiting { at: id };
        self.connect(at, id);
    }

    /// A waiting request gets a connection at rest, or begins to make one, if there is one to be had.
    fn connect(&mut self, at: usize, id: EndpointId) {
        let address = self.address(at, id);
        let idle = self.cores[self.requests[at].core].idle.entry(address).or_default();
        if *idle > 0 {
            *idle -= 1;
            self.breaker.pending.give_back(1);
            self.attach(at, id);
        } else if self.breaker.connections.limit().take() {
            self.requests[at].stage = Stage::Connecting { at: id };
        }
    }

    /// The request has a connection.
    fn attach(&mut self, at: usize, id: EndpointId) {
        if self.breaker.requests.take() {
            self.requests[at].stage = Stage::Active { at: id };
            self.report(at, id, outlier::Outcome::Connected);
        } else {
            self.rest(at, id);
            self.end(at, "overflow");
        }
    }

    /// Its connection is free again: it rests, or is closed.
    fn rest(&mut self, at: usize, id: EndpointId) {
        let address = self.address(at, id);
        if self.rng.below(3) > 0 {
            *self.cores[self.requests[at].core].idle.entry(address).or_default() += 1;
        } else {
            self.breaker.connections.limit().give_back(1);
        }
    }

    fn address(&self, at: usize, id: EndpointId) -> u16 {
        self.requests[at].installed.plan.addresses[id.index()]
    }

    fn advance(&mut self, at: usize) {
        let (stage, leaves) = (self.requests[at].stage, self.chance(10));
        match stage {
            Stage::Delayed { until } if until <= self.now => self.after_faults(at),
            Stage::BackingOff { until } if until <= self.now => self.begin_try(at),
            Stage::Waiting { .. } if leaves => {
                self.breaker.pending.give_back(1); // the client has left, or its time has passed
                self.over(at);
            }
            Stage::Waiting { at: id } => self.connect(at, id),
            Stage::Connecting { at: id } => {
                let fails = self.is_ill(at, id) && self.chance(40);
                self.breaker.pending.give_back(1);
                if fails {
                    self.breaker.connections.limit().give_back(1);
                    self.report(at, id, outlier::Outcome::Failed);
                    self.decide(at, id, Outcome::ConnectFailed);
                } else {
                    self.attach(at, id);
                }
            }
            Stage::Active { at: id } => self.answer(at, id),
            Stage::Delayed { .. } | Stage::BackingOff { .. } | Stage::Over => {}
        }
    }

    fn answer(&mut self, at: usize, id: EndpointId) {
        self.breaker.requests.give_back(1);
        if self.is_ill(at, id) && self.chance(30) {
            self.breaker.connections.limit().give_back(1);
            self.report(at, id, outlier::Outcome::Failed);
            return self.decide(at, id, Outcome::Reset { sent: true });
        }
        let status = if self.is_ill(at, id) { [500, 503, 504][self.rng.below(3) as usize] } else { 200 };
        self.rest(at, id);
        self.report(at, id, outlier::Outcome::Answered(status));
        self.decide(at, id, Outcome::Answered(ResponseSummary { status, ..ResponseSummary::default() }));
    }

    fn is_ill(&mut self, at: usize, id: EndpointId) -> bool {
        let percent = self.illness.get(&self.address(at, id)).copied().unwrap_or(10);
        self.chance(percent)
    }

    fn report(&mut self, at: usize, id: EndpointId, outcome: outlier::Outcome) {
        let endpoint = self.requests[at].installed.plan.health[id.index()].clone();
        let (ejected, overflow) = (self.health.enforced_total(), self.health.overflow());
        self.rule.report(&self.health, &endpoint, outcome, || self.now);
        if self.health.enforced_total() > ejected {
            self.seen.note("ejected");
            assert!(endpoint.is_ejected());
            let (out, all) = (u64::from(self.health.ejected()), self.plan.addresses.len() as u64);
            assert!(100 * out <= u64::from(self.rule.max_ejection_percent) * all, "{out} of {all}");
            self.most_ejected = self.health.ejected();
        }
        if self.health.overflow() > overflow {
            self.seen.note("ejection overflow");
        }
    }

    /// What follows a try.
    fn decide(&mut self, at: usize, id: EndpointId, outcome: Outcome) {
        if std::mem::take(&mut self.requests[at].retrying) {
            self.breaker.retries.give_back(1);
        }
        let request = &mut self.requests[at];
        request.tried.push(id);
        if self.retry.next(outcome, request.retries) != RetryDecision::Again {
            return self.end(at, "answered");
        }
        if !self.breaker.retries.take() {
            return self.end(at, "retry overflow");
        }
        request.retries += 1;
        assert!(request.retries <= self.retry.attempts);
        request.retrying = true;
        let wait = self.retry.wait(request.retries, &mut self.cores[request.core].rng);
        assert!(wait <= 10 * self.retry.backoff, "{wait:?}");
        request.stage = Stage::BackingOff { until: self.now + wait };
        self.seen.note("retried");
    }

    fn end(&mut self, at: usize, how: &'static str) {
        self.seen.note(how);
        self.over(at);
    }

    fn over(&mut self, at: usize) {
        let request = &mut self.requests[at];
        request.stage = Stage::Over;
        if std::mem::take(&mut request.retrying) {
            self.breaker.retries.give_back(1);
        }
    }

    fn close_idle(&mut self) {
        let core = self.rng.below(self.cores.len() as u64) as usize;
        if let Some(idle) = self.cores[core].idle.values_mut().find(|idle| **idle > 0) {
            *idle -= 1;
            self.breaker.connections.limit().give_back(1);
        }
    }

    fn pass(&mut self) {
        self.now += MILLISECOND * (1 + self.rng.below(8) as u32);
        if self.next_sweep <= self.now {
            self.sweep();
        }
    }

    fn sweep(&mut self) {
        self.next_sweep = self.now + self.rule.interval;
        let (mut released, base) = (0, self.rule.base_ejection);
        let endpoints = self.plan.health.iter().map(AsRef::as_ref);
        self.rule.sweep(&self.health, endpoints, self.now, |at, out| {
            assert!(out >= base, "out for {out:?} only");
            assert!(!self.plan.health[at].is_ejected());
            released += 1;
        });
        (0..released).for_each(|_| self.seen.note("released"));
    }

    /// Some endpoint fails more from now on, or less.
    fn fall_ill(&mut self) {
        let at = self.rng.below(self.plan.addresses.len() as u64) as usize;
        let illness = [0, 5, 50, 100][self.rng.below(4) as usize];
        self.illness.insert(self.plan.addresses[at], illness);
    }

    fn resize(&mut self) {
        self.limits = some_limits(&mut self.rng);
        self.breaker.resize(&self.limits);
        self.most = self.taken();
    }

    /// Some endpoints go, others come; each core has the new plan some time later.
    fn reload(&mut self) {
        let (mut addresses, mut health) = (Vec::new(), Vec::new());
        for (address, endpoint) in self.plan.addresses.iter().zip(&self.plan.health) {
            if self.rng.below(3) > 0 {
                addresses.push(*address);
                health.push(endpoint.clone());
            } else {
                if endpoint.is_ejected() {
                    self.seen.note("ejected and gone");
                }
                self.health.retire(endpoint);
            }
        }
        for _ in 0..u64::from(addresses.is_empty()) + self.rng.below(4) {
            addresses.push(self.next_address);
            health.push(Arc::default());
            self.next_address += 1;
        }
        self.health.resize(addresses.len());
        self.most_ejected = self.health.ejected();
        let spread = spread(self.policy, &addresses, &mut self.rng);
        self.plan = Rc::new(Plan { addresses, health, spread });
    }

    fn taken(&self) -> [u32; 4] {
        let Breaker { connections, pending, requests, retries, .. } = &self.breaker;
        [connections.limit(), pending, requests, retries].map(|limit| limit.taken())
    }

    fn check(&mut self) {
        let count = |holds: fn(&Stage) -> bool| self.requests.iter().filter(|request| holds(&request.stage)).count();
        let idle: u32 = self.cores.iter().flat_map(|core| core.idle.values()).sum();
        let held = [
            count(|stage| matches!(stage, Stage::Connecting { .. } | Stage::Active { .. })) as u32 + idle,
            count(|stage| matches!(stage, Stage::Waiting { .. } | Stage::Connecting { .. })) as u32,
            count(|stage| matches!(stage, Stage::Active { .. })) as u32,
            self.requests.iter().filter(|request| request.retrying).count() as u32,
        ];
        let taken = self.taken();
        assert_eq!(taken, held, "connections, pending, requests, retries: taken, and held by somebody");
        let limits = [self.limits.connections, self.limits.pending, self.limits.requests, self.limits.retries];
        for (at, limit) in limits.into_iter().enumerate() {
            self.most[at] = limit.unwrap_or(u32::MAX).max(self.most[at].min(taken[at]));
            assert!(taken[at] <= self.most[at], "limit {at}: {} of {}", taken[at], self.most[at]);
        }
        let out = self.plan.health.iter().filter(|endpoint| endpoint.is_ejected()).count() as u32;
        assert_eq!(self.health.ejected(), out, "places among the ejected, and who is out");
        let share = self.rule.max_ejection_percent * self.plan.addresses.len() as u32 / 100;
        self.most_ejected = share.max(self.most_ejected.min(out));
        assert!(out <= self.most_ejected, "{out} ejected of {}", self.plan.addresses.len());
        let thresholds = [
            (Streak::ServerError, self.rule.consecutive_5xx),
            (Streak::Gateway, self.rule.consecutive_gateway),
            (Streak::LocalOrigin, self.rule.consecutive_local_origin),
        ];
        for endpoint in self.plan.health.iter().filter(|endpoint| !endpoint.is_ejected()) {
            for (streak, threshold) in thresholds {
                let length = endpoint.streak(streak);
                assert!(length < threshold.max(1), "{streak:?}: {length}, and nothing happened at {threshold}");
            }
        }
        let detected: u64 = thresholds.iter().map(|(streak, _)| self.health.detected(*streak)).sum();
        assert_eq!(detected, self.health.enforced_total() + self.health.overflow());
    }

    /// Everything comes to its end, and nothing is left.
    fn finish(&mut self) {
        for _ in 0..100_000 {
            if self.requests.is_empty() {
                break;
            }
            self.now += MILLISECOND;
            let at = self.rng.below(self.requests.len() as u64) as usize;
            self.advance(at);
            self.requests.retain(|request| request.stage != Stage::Over);
            self.check();
            self.close_idle();
        }
        assert!(self.requests.is_empty(), "{} requests never end", self.requests.len());
        for core in &mut self.cores {
            self.breaker.connections.limit().give_back(core.idle.values().sum());
            core.idle.clear();
        }
        assert_eq!(self.taken(), [0; 4]);
        for _ in 0..200 {
            self.now += self.rule.interval;
            self.sweep();
            self.check();
        }
        assert_eq!(self.health.ejected(), 0, "everybody is let back in");
    }
}
