//! A set of cores that all of them can see.

use super::sync::{AtomicU64, Ordering};

/// A set of cores: one bit each, in as many words as it takes.
#[derive(Debug)]
pub(super) struct CoreSet {
    words: Box<[AtomicU64]>,
}

/// Bits of a word.
const BITS: usize = u64::BITS as usize;

impl CoreSet {
    /// An empty set with room for the cores below `cores`.
    #[must_use]
    pub(super) fn new(cores: usize) -> Self {
        Self { words: (0..cores.div_ceil(BITS)).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Puts a core in.
    pub(super) fn insert(&self, core: usize) {
        if let Some(word) = self.words.get(core / BITS) {
            word.fetch_or(1 << (core % BITS), Ordering::SeqCst);
        }
    }

    /// Takes a core out.
    pub(super) fn remove(&self, core: usize) {
        if let Some(word) = self.words.get(core / BITS) {
            word.fetch_and(!(1 << (core % BITS)), Ordering::SeqCst);
        }
    }

    /// Whether a core is in it.
    #[must_use]
    pub(super) fn contains(&self, core: usize) -> bool {
        self.words.get(core / BITS).is_some_and(|word| word.load(Ordering::SeqCst) & (1 << (core % BITS)) != 0)
    }

    /// The first of the cores that come after `from` and before `until`, counted round: with both the same, any core but
    /// that one.
    #[must_use]
    pub(super) fn between(&self, from: usize, until: usize) -> Option<usize> {
        if until > from {
            return self.first_of(from + 1, until);
        }
        self.first_of(from + 1, self.words.len() * BITS).or_else(|| self.first_of(0, until))
    }

    /// The first core in it of those from `start` on and below `end`.
    fn first_of(&self, start: usize, end: usize) -> Option<usize> {
        (start / BITS..end.div_ceil(BITS)).find_map(|at| {
            let mut word = self.words.get(at)?.load(Ordering::SeqCst);
            if at == start / BITS {
                word &= u64::MAX << (start % BITS);
            }
            let core = at * BITS + word.trailing_zeros() as usize;
            (word != 0 && core < end).then_some(core)
        })
    }
}
