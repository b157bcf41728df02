//! Load balancing: which endpoint of a cluster takes the next request.
//!
//! The algorithms are Envoy's, per core: each core has its own [`Balancer`] with its own random start, so cores share
//! nothing and do not march in step. An endpoint is asked about through two closures, how many requests it has in
//! flight and whether it may be used at all (ejected, or already tried by this request), so that this state lives
//! where it belongs. A pick allocates nothing. Called by `upstream` once a try.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::base::id::EndpointId;
use crate::base::rng::Rng;

/// How a cluster chooses (Istio's `loadBalancer.simple`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Policy {
    /// The less loaded of two drawn at random; with unequal weights, weighted by `weight / (in flight + 1)`.
    #[default]
    LeastRequest,
    /// In turn; with unequal weights, each as often as its weight says.
    RoundRobin,
    /// At random; weights do not count, as in Envoy.
    Random,
}

/// Random draws before the usable endpoints are counted instead. With half of them unusable, one pick in 65,536 gets
/// that far.
const DRAWS: usize = 16;

/// The virtual time at which all deadlines are set back, so that a double keeps telling them apart for ever.
const REBASE_AT: f64 = 1_048_576.0;

/// One core's balancing state of one cluster.
#[derive(Debug, Clone)]
pub struct Balancer {
    count: usize,
    method: Method,
}

#[derive(Debug, Clone)]
enum Method {
    Random,
    LeastOfTwo,
    Rotation { next: usize },
    Weighted(Schedule),
}

impl Balancer {
    /// For endpoints of these weights (0 counts as 1), at a random point of their rotation.
    #[must_use]
    pub fn new(weights: &[u32], policy: Policy, rng: &mut Rng) -> Self {
        let equal = weights.windows(2).all(|pair| pair[0].max(1) == pair[1].max(1));
        let count = weights.len();
        let method = match (policy, equal) {
            (Policy::Random, _) => Method::Random,
            (Policy::LeastRequest, true) => Method::LeastOfTwo,
            (Policy::RoundRobin, true) => Method::Rotation { next: rng.below(count as u64) as usize },
            (Policy::LeastRequest, false) => Method::Weighted(Schedule::new(weights, true, rng)),
            (Policy::RoundRobin, false) => Method::Weighted(Schedule::new(weights, false, rng)),
        };
        Self { count, method }
    }

    /// The endpoint for the next request; `None` if none is usable. `active` says how many requests an endpoint has
    /// in flight, `usable` whether it may be chosen; both take a position below the number of weights.
    pub fn pick(
        &mut self,
        active: impl Fn(usize) -> u32,
        usable: impl Fn(usize) -> bool,
        rng: &mut Rng,
    ) -> Option<EndpointId> {
        let count = self.count;
        let chosen = match &mut self.method {
            _ if count <= 1 => (count == 1 && usable(0)).then_some(0),
            Method::Random => any(count, &usable, rng),
            Method::LeastOfTwo => {
                let first = any(count, &usable, rng)?;
                let second = any(count, &usable, rng)?;
                Some(if active(second) < active(first) { second } else { first })
            }
            Method::Rotation { next } => rotate(count, next, &usable),
            Method::Weighted(schedule) => schedule.pick(&active, &usable),
        };
        chosen.map(|at| EndpointId(at as u32))
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

/// The next usable one in turn. Those passed over wait for the next round, so the others keep even shares.
fn rotate(count: usize, next: &mut usize, usable: impl Fn(usize) -> bool) -> Option<usize> {
    let chosen = (*next..count).chain(0..*next).find(|at| usable(*at))?;
    *next = (chosen + 1) % count;
    Some(chosen)
}

/// Earliest deadline first, as Envoy's `EdfScheduler`: an endpoint's turn comes `1 / weight` after its last.
#[derive(Debug, Clone)]
struct Schedule {
    /// All endpoints, but for those in `passed` while picking.
    turns: BinaryHeap<Turn>,
    /// Unusable ones met during a pick.
    passed: Vec<Turn>,
    weights: Box<[f64]>,
    by_load: bool,
    now: f64,
    /// Orders turns of equal deadline: first come, first served.
    entered: u64,
}

#[derive(Debug, Clone, Copy)]
struct Turn {
    deadline: f64,
    entered: u64,
    endpoint: u32,
}

impl Schedule {
    fn new(weights: &[u32], by_load: bool, rng: &mut Rng) -> Self {
        let mut schedule = Self {
            turns: BinaryHeap::with_capacity(weights.len()),
            passed: Vec::with_capacity(weights.len()),
            weights: weights.iter().map(|weight| f64::from((*weight).max(1))).collect(),
            by_load,
            now: 0.0,
            entered: 0,
        };
        for endpoint in 0..weights.len() {
            schedule.enter(endpoint as u32, 0);
        }
        // Cores that start at the same moment must not all begin with the same endpoint.
        for _ in 0..rng.below(weights.len() as u64) {
            schedule.pick(|_| 0, |_| true);
        }
        schedule
    }

    fn enter(&mut self, endpoint: u32, active: u32) {
        let load = if self.by_load { f64::from(active) + 1.0 } else { 1.0 };
        let deadline = self.now + load / self.weights[endpoint as usize];
        self.turns.push(Turn { deadline, entered: self.entered, endpoint });
        self.entered += 1;
    }

    fn pick(&mut self, active: impl Fn(usize) -> u32, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let chosen = loop {
            match self.turns.pop() {
                Some(turn) if usable(turn.endpoint as usize) => break Some(turn),
                Some(turn) => self.passed.push(turn),
                None => break None,
            }
        };
        if let Some(turn) = chosen {
            self.now = turn.deadline;
            self.enter(turn.endpoint, active(turn.endpoint as usize));
        }
        // A turn that passed unused is gone: kept, it would make up for its absence in one burst later.
        while let Some(turn) = self.passed.pop() {
            self.enter(turn.endpoint, active(turn.endpoint as usize));
        }
        if self.now > REBASE_AT {
            self.rebase();
        }
        chosen.map(|turn| turn.endpoint as usize)
    }

    /// Sets the clock back to 0. Every deadline loses the same, so the order stays.
    fn rebase(&mut self) {
        let mut turns = std::mem::take(&mut self.turns).into_vec();
        for turn in &mut turns {
            turn.deadline -= self.now;
        }
        self.turns = turns.into();
        self.now = 0.0;
    }
}

/// The earliest deadline is the greatest, as `BinaryHeap` gives its greatest first.
impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        other.deadline.total_cmp(&self.deadline).then(other.entered.cmp(&self.entered))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Turn {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Turn {}

#[cfg(test)]
mod tests;
