//! The health of a cluster and of its endpoints, shared by all cores.
//!
//! The order of the steps keeps the share of ejected endpoints below its bound: a slot of the limit is reserved first,
//! then the endpoint is marked; it is unmarked first, then the slot is given back. So there are never more endpoints
//! marked than slots taken, in any interleaving.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A kind of failures in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streak {
    /// Responses that count as errors, and attempts without a response: `consecutive5xxErrors`.
    ServerError = 0,
    /// Of these 502, 503, 504 and attempts without a response: `consecutiveGatewayErrors`.
    Gateway = 1,
    /// Attempts without a response, if they are counted apart: `consecutiveLocalOriginFailures`.
    LocalOrigin = 2,
}

/// How many kinds there are.
const STREAKS: usize = 3;

/// The health of one cluster, shared by all cores.
#[derive(Debug)]
#[repr(align(128))]
pub struct ClusterHealth {
    /// The epoch of the endpoints' times.
    epoch: Instant,
    /// The number of endpoints, for the share of ejected ones.
    endpoints: AtomicU32,
    /// Slots of the limit that are taken by ejected endpoints.
    ejected: AtomicU32,
    /// Changes with every ejection and every end of one.
    changes: AtomicU32,
    detected: [AtomicU64; STREAKS],
    enforced: [AtomicU64; STREAKS],
    overflow: AtomicU64,
}

/// The health of one endpoint of a cluster, shared by all cores. Alone on its cache lines, because every response reads
/// it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct EndpointHealth {
    streaks: [AtomicU32; STREAKS],
    /// [`ADMITTED`], [`GONE`], [`GONE_EJECTED`], or ejected at this time: microseconds since the cluster's epoch, and 1.
    state: AtomicU64,
    /// Ejections that are not forgiven yet.
    multiplier: AtomicU32,
}

const ADMITTED: u64 = 0;
/// Removed from the cluster while not ejected.
const GONE: u64 = u64::MAX;
/// Removed from the cluster while ejected. Requests on an earlier plan avoid it, too.
const GONE_EJECTED: u64 = u64::MAX - 1;

/// A time of an endpoint of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment(u64);

impl ClusterHealth {
    /// For this many endpoints, none of them ejected.
    #[must_use]
    pub fn new(endpoints: usize, now: Instant) -> Self {
        Self {
            epoch: now,
            endpoints: AtomicU32::new(clamped(endpoints)),
            ejected: AtomicU32::new(0),
            changes: AtomicU32::new(0),
            detected: Default::default(),
            enforced: Default::default(),
            overflow: AtomicU64::new(0),
        }
    }

    /// Sets the number of endpoints of the cluster.
    pub fn resize(&self, endpoints: usize) {
        self.endpoints.store(clamped(endpoints), Ordering::SeqCst);
    }

    /// Removes `endpoint` from the cluster: its slot is free, and it is not ejected any more.
    pub fn retire(&self, endpoint: &EndpointHealth) {
        let mut state = endpoint.state.load(Ordering::SeqCst);
        while state < GONE_EJECTED {
            let gone = if state == ADMITTED { GONE } else { GONE_EJECTED };
            match endpoint.state.compare_exchange(state, gone, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) if gone == GONE_EJECTED => return self.give_back(),
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
    }

    /// How many endpoints are ejected. While one is being ejected, it may count before it is.
    #[must_use]
    pub fn ejected(&self) -> u32 {
        self.ejected.load(Ordering::SeqCst)
    }

    /// A number that changes with every ejection and every end of one.
    #[must_use]
    pub fn changes(&self) -> u32 {
        self.changes.load(Ordering::Acquire)
    }

    /// Streaks that were complete, ejected or not (`ejections_detected_…`).
    #[must_use]
    pub fn detected(&self, streak: Streak) -> u64 {
        self.detected[streak as usize].load(Ordering::Relaxed)
    }

    /// Ejections (`ejections_enforced_…`).
    #[must_use]
    pub fn enforced(&self, streak: Streak) -> u64 {
        self.enforced[streak as usize].load(Ordering::Relaxed)
    }

    /// Ejections of all kinds (`ejections_enforced_total`).
    #[must_use]
    pub fn enforced_total(&self) -> u64 {
        self.enforced.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Ejections that did not happen for `maxEjectionPercent` (`ejections_overflow`).
    #[must_use]
    pub fn overflow(&self) -> u64 {
        self.overflow.load(Ordering::Relaxed)
    }

    /// Takes a slot for an ejection, if with it at most `most` percent of the endpoints are ejected. Every slot taken
    /// must be given back.
    pub(super) fn reserve(&self, most: u32) -> bool {
        let mut ejected = self.ejected.load(Ordering::SeqCst);
        loop {
            let endpoints = self.endpoints.load(Ordering::SeqCst);
            if 100 * (u64::from(ejected) + 1) > u64::from(most.min(100)) * u64::from(endpoints) {
                return false;
            }
            match self.ejected.compare_exchange(ejected, ejected + 1, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return true,
                Err(now) => ejected = now,
            }
        }
    }

    pub(super) fn give_back(&self) {
        self.ejected.fetch_sub(1, Ordering::SeqCst);
    }

    /// Announces a change, which is stored before.
    pub(super) fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    pub(super) fn ejected_for(&self, streak: Streak) {
        self.detected[streak as usize].fetch_add(1, Ordering::Relaxed);
        self.enforced[streak as usize].fetch_add(1, Ordering::Relaxed);
        self.changed();
    }

    pub(super) fn overflowed(&self, streak: Streak) {
        self.detected[streak as usize].fetch_add(1, Ordering::Relaxed);
        self.overflow.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn at(&self, now: Instant) -> Moment {
        let passed = now.saturating_duration_since(self.epoch).as_micros();
        Moment(u64::try_from(passed).unwrap_or(u64::MAX).clamp(0, GONE_EJECTED - 2) + 1)
    }

    pub(super) fn since(&self, moment: Moment, now: Instant) -> Duration {
        Duration::from_micros(self.at(now).0.saturating_sub(moment.0))
    }
}

impl EndpointHealth {
    /// Whether it is ejected, and must not be picked.
    #[inline]
    #[must_use]
    pub fn is_ejected(&self) -> bool {
        !matches!(self.state.load(Ordering::Acquire), ADMITTED | GONE)
    }

    /// The failures in a row of a kind, so far.
    #[must_use]
    pub fn streak(&self, streak: Streak) -> u32 {
        self.streaks[streak as usize].load(Ordering::Relaxed)
    }

    /// The ejections that are not forgiven yet: the last one lasts, or lasted, so many times `baseEjectionTime`.
    #[must_use]
    pub fn multiplier(&self) -> u32 {
        self.multiplier.load(Ordering::SeqCst)
    }

    /// Begins all streaks anew. For new thresholds: a streak that is beyond a lower one would never meet it.
    pub fn clear_all(&self) {
        self.streaks.iter().for_each(|streak| streak.store(0, Ordering::Relaxed));
    }

    /// A success ends a streak. Where there was none it only looks, and the line stays shared.
    #[inline]
    pub(super) fn clear(&self, streak: Streak) {
        let streak = &self.streaks[streak as usize];
        if streak.load(Ordering::Relaxed) != 0 {
            streak.store(0, Ordering::Relaxed);
        }
    }

    /// A failure. True for the one of all cores that makes the streak `threshold` long; never with 0.
    pub(super) fn extend(&self, streak: Streak, threshold: u32) -> bool {
        threshold > 0 && self.streaks[streak as usize].fetch_add(1, Ordering::Relaxed).wrapping_add(1) == threshold
    }

    pub(super) fn may_be_ejected(&self) -> bool {
        self.state.load(Ordering::SeqCst) == ADMITTED
    }

    /// Marks it as out. False if it is already, or is gone.
    pub(super) fn eject(&self, at: Moment) -> bool {
        self.state.compare_exchange(ADMITTED, at.0, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    pub(super) fn ejected_since(&self) -> Option<Moment> {
        let state = self.state.load(Ordering::SeqCst);
        (ADMITTED < state && state < GONE_EJECTED).then_some(Moment(state))
    }

    /// Lets it back in, its streaks begun anew. False if it went meanwhile.
    pub(super) fn release(&self, since: Moment) -> bool {
        self.clear_all();
        self.state.compare_exchange(since.0, ADMITTED, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// One ejection more, if `grows`.
    pub(super) fn grow(&self, grows: impl Fn(u32) -> bool) {
        let more = |multiplier: u32| grows(multiplier).then(|| multiplier.saturating_add(1));
        let _ = self.multiplier.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more); // `Err`: it stays
    }

    /// One ejection less.
    pub(super) fn forgive(&self) {
        if self.multiplier.load(Ordering::SeqCst) > 0 {
            let less = |multiplier: u32| multiplier.checked_sub(1);
            let _ = self.multiplier.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less); // `Err`: it is 0 already
        }
    }
}

fn clamped(endpoints: usize) -> u32 {
    u32::try_from(endpoints).unwrap_or(u32::MAX)
}
