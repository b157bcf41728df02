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

    /// Puts a core in. Whatever the core looks at afterwards, it sees as it is after all that others did before they
    /// missed it here.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A set of room for 130 cores with these in it.
    fn set(cores: &[usize]) -> CoreSet {
        let set = CoreSet::new(130);
        cores.iter().for_each(|core| set.insert(*core));
        set
    }

    #[test]
    fn the_next_core_is_found_round_the_end() {
        for (cores, from, until, found) in [
            (&[][..], 0, 0, None),
            (&[5], 5, 5, None),
            (&[5], 4, 4, Some(5)),
            (&[5], 6, 6, Some(5)),
            (&[5, 70], 5, 5, Some(70)),
            (&[5, 70], 70, 70, Some(5)),
            (&[0, 63, 64, 129], 63, 63, Some(64)),
            (&[0, 63, 64, 129], 64, 64, Some(129)),
            (&[0, 63, 64, 129], 129, 129, Some(0)),
            (&[0, 63], 0, 63, None),
            (&[0, 63], 63, 0, None),
            (&[0, 62], 61, 63, Some(62)),
            (&[62], 63, 61, None),
            (&[62], 63, 63, Some(62)),
        ] {
            assert_eq!(set(cores).between(from, until), found, "{cores:?} after {from} and before {until}");
        }
    }

    #[test]
    fn a_core_is_in_until_it_is_taken_out() {
        let set = set(&[3, 127]);
        assert!(set.contains(3) && set.contains(127) && !set.contains(4));
        set.remove(127);
        assert!(!set.contains(127));
        assert_eq!(set.between(3, 3), None);
    }
}
