//! Requests that have ended and count on for a while: `retryBudget.budgetInterval`.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How many requests of the last interval have ended, to an eighth of the interval.
///
/// A ring of counts by the time at which they lapse. All cores add to it; it is only there to be summed, so nothing in it
/// needs to be in step with anything else.
#[derive(Debug, Default)]
pub struct Recent {
    begun: OnceLock<Instant>,
    /// The number of an eighth of an interval above, how many lapse in it below.
    slots: [AtomicU64; SLOTS],
}

/// Enough for the eighth under way and all those of an interval.
const SLOTS: usize = 16;
const COUNT_BITS: u32 = 24;
const COUNT_MOST: u64 = (1 << COUNT_BITS) - 1;

impl Recent {
    /// A request that began at `began` has ended at `now`, and counts for `interval` from its beginning.
    pub fn ended(&self, began: Instant, now: Instant, interval: Duration) {
        if now.duration_since(began) >= interval {
            return;
        }
        let eighth = self.eighth(began + interval, now, interval);
        let Some(slot) = self.slots.get(eighth as usize % SLOTS) else { return };
        let add = |word: u64| match word >> COUNT_BITS == eighth {
            true => Some(word + u64::from(word & COUNT_MOST < COUNT_MOST)),
            false => Some(eighth << COUNT_BITS | 1),
        };
        let _ = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add); // it never declines
    }

    /// How many count at `now`.
    #[must_use]
    pub fn count(&self, now: Instant, interval: Duration) -> u32 {
        if interval.is_zero() {
            return 0;
        }
        let first = self.eighth(now, now, interval);
        let words = self.slots.iter().map(|slot| slot.load(Ordering::Relaxed));
        let alive = words.filter(|word| (first..=first + 9).contains(&(word >> COUNT_BITS)));
        u32::try_from(alive.map(|word| word & COUNT_MOST).sum::<u64>()).unwrap_or(u32::MAX)
    }

    /// The number of the eighth of an interval in which `at` lies, from 1.
    fn eighth(&self, at: Instant, now: Instant, interval: Duration) -> u64 {
        let since = at.saturating_duration_since(*self.begun.get_or_init(|| now)).as_nanos();
        let eighth = (interval.as_nanos() / 8).max(1);
        u64::try_from(since / eighth).unwrap_or(u64::MAX >> COUNT_BITS) + 1
    }
}
