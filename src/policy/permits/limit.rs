//! One limit, and how much of it is taken.

use super::sync::{AtomicU32, Ordering};

/// A limit that all cores share, and how much of it is taken.
///
/// Exact: a core takes by compare-exchange below the limit, so there is never more taken than the limit was at that
/// moment. Alone on its cache lines, because cores that take meet here.
#[derive(Debug)]
#[repr(align(128))]
pub struct Limit {
    most: AtomicU32,
    taken: AtomicU32,
}

/// No limit, as Istio writes it: 2^32 - 1.
const UNLIMITED: u32 = u32::MAX;

impl Limit {
    /// A limit of which nothing is taken; `None`: it only counts.
    #[must_use]
    pub fn new(most: Option<u32>) -> Self {
        Self { most: AtomicU32::new(most.unwrap_or(UNLIMITED)), taken: AtomicU32::new(0) }
    }

    /// Changes the limit. Permits above a lower limit stay taken until they are given back.
    pub fn resize(&self, most: Option<u32>) {
        self.most.store(most.unwrap_or(UNLIMITED), Ordering::SeqCst);
    }

    /// Takes one, if there is one left; every one taken must be given back.
    #[must_use]
    pub fn take(&self) -> bool {
        self.take_below(|| self.most.load(Ordering::SeqCst))
    }

    /// Takes one, if less than `most` are taken: for a limit that is computed on demand.
    #[must_use]
    pub fn take_below(&self, most: impl Fn() -> u32) -> bool {
        let mut taken = self.taken.load(Ordering::SeqCst);
        while taken < most() {
            match self.taken.compare_exchange_weak(taken, taken + 1, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return true,
                Err(now) => taken = now,
            }
        }
        false
    }

    /// Gives `count` back.
    pub fn give_back(&self, count: u32) {
        self.taken.fetch_sub(count, Ordering::SeqCst);
    }

    /// How many are taken.
    #[must_use]
    pub fn taken(&self) -> u32 {
        self.taken.load(Ordering::SeqCst)
    }

    /// Whether there is none left: the breaker is open.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        self.taken() >= self.most.load(Ordering::SeqCst)
    }
}
