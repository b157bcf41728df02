//! How much of the requests each priority gets, by the health of all of them: Envoy's
//! `LoadBalancerBase::recalculatePerPriorityState`.

/// Envoy's overprovisioning factor, in percent: a level takes everything until less than 1 / 1.4 of it is healthy.
const OVERPROVISIONING: u64 = 140;

/// A set of levels. Levels beyond the 64th are never in one: they are the last to get requests anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Levels(u64);

impl Levels {
    /// No level.
    pub const NONE: Self = Self(0);

    /// These and `level`.
    #[must_use]
    pub fn with(self, level: usize) -> Self {
        Self(self.0 | u32::try_from(level).ok().and_then(|level| 1_u64.checked_shl(level)).unwrap_or(0))
    }

    fn has(self, level: usize) -> bool {
        self != Self::NONE && Self::NONE.with(level).0 & self.0 != 0
    }
}

/// How the requests fall on the levels.
#[derive(Debug, Clone, Default)]
pub(super) struct Loads(Box<[Load]>);

#[derive(Debug, Clone, Copy)]
struct Load {
    /// The part of the requests that it could take, in percent.
    health: u64,
    /// The part of the requests that it gets, in percent.
    share: u64,
    /// It pays no heed to the health of its endpoints.
    panics: bool,
}

impl Loads {
    /// From the number of healthy endpoints, and of all endpoints, of each level. If no level has a healthy
    /// endpoint, the first level gets everything, unless all of them panic.
    pub(super) fn new(levels: impl Iterator<Item = (usize, usize)> + Clone, panic_below: u32) -> Self {
        let health = |(healthy, all): (usize, usize)| {
            (OVERPROVISIONING * healthy as u64).checked_div(all as u64).unwrap_or(0).min(100)
        };
        let total = levels.clone().map(health).sum::<u64>();
        let panics = |(healthy, all): (usize, usize)| {
            let percent = if all == 0 { 0.0 } else { 100.0 * healthy as f64 / all as f64 };
            total < 100 && percent < f64::from(panic_below.min(100))
        };
        let load = |level| Load { health: health(level), share: 0, panics: panics(level) };
        let mut loads: Box<[Load]> = levels.clone().map(load).collect();
        let set = |(load, share): (&mut Load, u64)| load.share = share;
        if loads.iter().all(|load| load.panics) {
            loads.iter_mut().zip(shares_by_size(levels.map(|(_, all)| all as u64))).for_each(set);
        } else {
            loads.iter_mut().zip(shares(levels.map(health))).for_each(set);
        }
        Self(loads)
    }

    pub(super) fn panics(&self, level: usize) -> bool {
        self.0.get(level).is_some_and(|load| load.panics)
    }

    /// Whether a level that is not excluded has anybody healthy.
    pub(super) fn is_any_left(&self, excluded: Levels) -> bool {
        self.0.iter().enumerate().any(|(level, load)| load.health > 0 && !excluded.has(level))
    }

    /// As if the excluded levels had no healthy endpoint; unchanged if no other level has one.
    pub(super) fn without(&self, excluded: Levels) -> Without<'_> {
        let excluded = if self.is_any_left(excluded) { excluded } else { Levels::NONE };
        Without { loads: &self.0, excluded }
    }
}

/// The loads of the levels that are left.
#[derive(Clone, Copy)]
pub(super) struct Without<'l> {
    loads: &'l [Load],
    excluded: Levels,
}

impl Without<'_> {
    /// The level that a draw from 0 to 99 falls on.
    pub(super) fn level(self, draw: u64) -> usize {
        let mut sum = 0;
        let reached = |share: u64| {
            sum += share;
            draw < sum
        };
        let level = match self.excluded {
            Levels::NONE => self.loads.iter().map(|load| load.share).position(reached),
            _ => shares(self.health()).position(reached),
        };
        level.unwrap_or(0)
    }

    /// Whether any draw falls on this level.
    pub(super) fn has_share(self, level: usize) -> bool {
        let share = match self.excluded {
            Levels::NONE => self.loads.get(level).map(|load| load.share),
            _ => shares(self.health()).nth(level),
        };
        share.is_some_and(|share| share > 0)
    }

    fn health(self) -> impl Iterator<Item = u64> + Clone {
        let levels = self.loads.iter().enumerate();
        levels.map(move |(level, load)| if self.excluded.has(level) { 0 } else { load.health })
    }
}

/// Each level's part of the requests, in percent, from the part that it could take.
fn shares(health: impl Iterator<Item = u64> + Clone) -> impl Iterator<Item = u64> + Clone {
    let total = health.clone().sum::<u64>().min(100);
    let first = health.clone().position(|health| health > 0).unwrap_or(0);
    let shares = health.scan(100, move |left, health| {
        let share = (health * 100).checked_div(total).unwrap_or(0).min(*left);
        *left -= share;
        Some(share)
    });
    with_rest(shares, first)
}

/// Each level's part when all of them panic: by its size.
fn shares_by_size(sizes: impl Iterator<Item = u64> + Clone) -> impl Iterator<Item = u64> + Clone {
    let total: u64 = sizes.clone().sum();
    let first = sizes.clone().position(|size| size > 0).unwrap_or(0);
    with_rest(sizes.map(move |size| (100 * size).checked_div(total).unwrap_or(0)), first)
}

/// The rest from rounding goes to the first level that can take it.
fn with_rest(shares: impl Iterator<Item = u64> + Clone, first: usize) -> impl Iterator<Item = u64> + Clone {
    let rest = 100 - shares.clone().sum::<u64>();
    shares.enumerate().map(move |(level, share)| if level == first { share + rest } else { share })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(levels: &[(usize, usize)], panic_below: u32) -> (Vec<u64>, Vec<bool>) {
        let loads = Loads::new(levels.iter().copied(), panic_below);
        (loads.0.iter().map(|load| load.share).collect(), loads.0.iter().map(|load| load.panics).collect())
    }

    #[test]
    fn lower_levels_get_what_the_upper_ones_cannot_take() {
        for (levels, expected) in [
            (&[(5, 5)][..], &[100][..]),
            (&[(5, 5), (5, 5)], &[100, 0]),
            // Envoy's table in the documentation of priority levels, for two levels of 100.
            (&[(72, 100), (100, 100)], &[100, 0]),
            (&[(71, 100), (100, 100)], &[99, 1]),
            (&[(50, 100), (100, 100)], &[70, 30]),
            (&[(25, 100), (100, 100)], &[35, 65]),
            (&[(0, 100), (100, 100)], &[0, 100]),
            // Not enough in all: each level gets its part of the total.
            (&[(25, 100), (25, 100)], &[50, 50]),
            (&[(50, 100), (10, 100), (5, 100)], &[78, 15, 7]),
            (&[(0, 3), (0, 3)], &[100, 0]),
            (&[(0, 0), (1, 1)], &[0, 100]),
        ] {
            let (shares, panics) = loads(levels, 0);
            assert_eq!(shares, expected, "{levels:?}");
            assert!(!panics.contains(&true), "0 % is never");
        }
    }

    #[test]
    fn a_level_panics_where_there_is_not_enough_in_all() {
        for (levels, below, shares, panics) in [
            // 1.4 times 72 % is enough, however many levels there are.
            (&[(72, 100)][..], 100, &[100][..], &[false][..]),
            (&[(71, 100)], 72, &[100], &[true]),
            (&[(71, 100)], 71, &[100], &[false]),
            (&[(0, 2)], 1, &[100], &[true]),
            (&[(1, 2)], 50, &[100], &[false]),
            (&[(1, 2)], 51, &[100], &[true]),
            // The lower level has enough for both.
            (&[(0, 4), (4, 4)], 50, &[0, 100], &[false, false]),
            // The upper one has too few by itself, but the lower one has not.
            (&[(1, 4), (2, 4)], 50, &[35, 65], &[false, false]),
            (&[(1, 10), (5, 10)], 40, &[17, 83], &[true, false]),
            // All panic: by their sizes.
            (&[(1, 10), (2, 5)], 50, &[67, 33], &[true, true]),
            (&[(0, 0), (0, 3)], 50, &[0, 100], &[true, true]),
            (&[(0, 0)], 50, &[100], &[true]),
        ] {
            assert_eq!(loads(levels, below), (shares.to_vec(), panics.to_vec()), "{levels:?} below {below} %");
        }
    }

    #[test]
    fn excluded_levels_leave_their_share_to_the_others() {
        let loads = Loads::new([(4, 4), (2, 4), (4, 4)].into_iter(), 0);
        let shares = |excluded| -> Vec<u32> {
            let without = loads.without(excluded);
            let mut shares = vec![0; 3];
            (0..100).for_each(|draw| shares[without.level(draw)] += 1);
            for (level, share) in shares.iter().enumerate() {
                assert_eq!(without.has_share(level), *share > 0);
            }
            shares
        };
        let none = Levels::NONE;
        assert_eq!(shares(none), [100, 0, 0]);
        assert_eq!(shares(none.with(0)), [0, 70, 30]);
        assert_eq!(shares(none.with(0).with(1)), [0, 0, 100]);
        assert_eq!(shares(none.with(2)), [100, 0, 0]);
        assert_eq!(shares(none.with(0).with(1).with(2)), [100, 0, 0], "nobody is left: as if none were excluded");
        assert_eq!(none.with(64).with(1_000), none);
    }
}
