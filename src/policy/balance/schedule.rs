//! Earliest deadline first, as Envoy's `EdfScheduler`: a turn comes `1 / weight` after the last of its owner.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::base::rng::Rng;

/// The virtual time at which all deadlines are set back, so that a double keeps telling them apart for ever.
pub(super) const REBASE_AT: f64 = 1_048_576.0;

/// A weighted schedule of owners, named by position. The weights are read anew at each turn.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    /// All owners, but for those in `passed` while picking.
    pub(super) turns: BinaryHeap<ScheduledTurn>,
    /// Unusable ones met during a pick.
    passed: Vec<ScheduledTurn>,
    pub(super) now: f64,
    /// Orders turns of equal deadline: first come, first served.
    entered: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct ScheduledTurn {
    deadline: f64,
    entered: u64,
    owner: u32,
}

impl Schedule {
    /// For `owners`, of which `weight` says the weights, all above 0; at a random point of their rotation.
    pub(super) fn new(owners: impl Iterator<Item = u32>, weight: impl Fn(usize) -> f64, rng: &mut Rng) -> Self {
        let mut schedule = Self { turns: BinaryHeap::new(), passed: Vec::new(), now: 0.0, entered: 0 };
        for owner in owners {
            schedule.enter(owner, weight(owner as usize));
        }
        schedule.passed.reserve(schedule.turns.len());
        // Cores that start at the same moment must not all begin with the same owner.
        for _ in 0..rng.below(schedule.turns.len() as u64) {
            schedule.pick(&weight, |_| true);
        }
        schedule
    }

    /// Gives `owner` a turn after its present one.
    pub(super) fn enter(&mut self, owner: u32, weight: f64) {
        self.turns.push(ScheduledTurn { deadline: self.now + weight.recip(), entered: self.entered, owner });
        self.entered += 1;
    }

    /// Whose turn it is among the usable ones.
    pub(super) fn pick(&mut self, weight: impl Fn(usize) -> f64, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let chosen = loop {
            match self.turns.pop() {
                Some(turn) if usable(turn.owner as usize) => break Some(turn),
                Some(turn) => self.passed.push(turn),
                None => break None,
            }
        };
        if let Some(turn) = chosen {
            self.now = turn.deadline;
            self.enter(turn.owner, weight(turn.owner as usize));
        }
        // A turn that passed unused is gone: kept, it would make up for its absence in one burst later.
        while let Some(turn) = self.passed.pop() {
            self.enter(turn.owner, weight(turn.owner as usize));
        }
        if self.now > REBASE_AT {
            self.rebase();
        }
        chosen.map(|turn| turn.owner as usize)
    }

    /// Sets the clock back to 0. Every deadline loses the same, so the order stays.
    pub(super) fn rebase(&mut self) {
        let mut turns = std::mem::take(&mut self.turns).into_vec();
        for turn in &mut turns {
            turn.deadline -= self.now;
        }
        self.turns = turns.into();
        self.now = 0.0;
    }
}

/// The earliest deadline is the greatest, as `BinaryHeap` gives its greatest first.
impl Ord for ScheduledTurn {
    fn cmp(&self, other: &Self) -> Ordering {
        other.deadline.total_cmp(&self.deadline).then(other.entered.cmp(&self.entered))
    }
}

impl PartialOrd for ScheduledTurn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ScheduledTurn {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for ScheduledTurn {}
