//! The two cells that hold one number of one core. They never lock and never use a read-modify-write instruction.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that only grows. Written by one thread (a second writer would lose increments), read by any.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Counts `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        // One writer: no other store can come between the load and the store, so no locked instruction is needed.
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Sets the value of a number that is counted elsewhere.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// The count so far.
    #[inline]
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that rises and falls. Written by one thread, read by any.
///
/// A connection may be opened on one core and closed on another: then one core's gauge goes below zero and the other's
/// stays above, and only their sum means something. The lowest bit says that the gauge was ever written, which
/// is what Envoy's `?usedonly` asks; the number is in the bits above it.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

const WRITTEN: u64 = 1;

impl Gauge {
    /// One more.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// One less.
    #[inline]
    pub fn dec(&self) {
        self.sub(1);
    }

    /// `n` more.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n << 1) | WRITTEN, Relaxed);
    }

    /// `n` less.
    #[inline]
    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(n << 1) | WRITTEN, Relaxed);
    }

    /// Exactly `n`.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store((n << 1) | WRITTEN, Relaxed);
    }

    /// This core's number; 0 if it is below zero.
    #[inline]
    #[must_use]
    pub fn get(&self) -> u64 {
        u64::try_from(self.signed()).unwrap_or(0)
    }

    /// This core's number, to be summed with the others'.
    pub(super) fn signed(&self) -> i64 {
        self.0.load(Relaxed).cast_signed() >> 1
    }

    /// Whether it was ever written.
    pub(super) fn written(&self) -> bool {
        self.0.load(Relaxed) & WRITTEN != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_adds_up() {
        let counter = Counter::default();
        counter.inc();
        counter.add(41);
        assert_eq!(counter.get(), 42);
    }

    #[test]
    fn a_gauge_rises_falls_and_remembers_that_it_was_used() {
        let gauge = Gauge::default();
        assert!(!gauge.written());
        gauge.add(3);
        gauge.dec();
        assert_eq!((gauge.get(), gauge.written()), (2, true));
        gauge.sub(2);
        assert_eq!((gauge.get(), gauge.written()), (0, true));
        gauge.set(7);
        assert_eq!(gauge.get(), 7);
    }

    #[test]
    fn a_gauge_below_zero_sums_right_but_shows_zero() {
        let (opened_here, closed_here) = (Gauge::default(), Gauge::default());
        opened_here.add(5);
        closed_here.sub(2);
        assert_eq!(closed_here.get(), 0);
        assert_eq!(opened_here.signed() + closed_here.signed(), 3);
    }
}
