//! The share of requests that something happens to: faults, mirroring, sampling.

use crate::base::rng::Rng;

/// A share in parts per million, the resolution in which Istio passes a `Percent` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FractionalPercent(u32);

impl FractionalPercent {
    /// 0 %.
    pub const NONE: Self = Self(0);
    /// Everybody.
    pub const ALL: Self = Self(1_000_000);

    /// From percent; digits below 0.0001 are cut off, as in Istio.
    #[must_use]
    pub fn percent(value: f64) -> Self {
        Self((value * 10_000.0).clamp(0.0, 1e6) as u32)
    }

    /// In percent.
    #[must_use]
    pub fn as_percent(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }

    /// In parts per million.
    #[must_use]
    pub fn per_million(self) -> u32 {
        self.0
    }

    /// Whether this request is one of them. Draws only where it could be either.
    #[must_use]
    pub fn hits(self, rng: &mut Rng) -> bool {
        self >= Self::ALL || (self > Self::NONE && rng.below(1_000_000) < u64::from(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percents_are_cut_to_parts_per_million() {
        for (percent, parts) in [(0.0, 0), (0.0001, 1), (0.000_09, 0), (12.5, 125_000), (100.0, 1_000_000)] {
            assert_eq!(FractionalPercent::percent(percent), FractionalPercent(parts), "{percent}");
        }
        assert_eq!(FractionalPercent::percent(0.25).as_percent(), 0.25);
    }

    #[test]
    fn hits_are_as_many_as_the_share_says() {
        // 5 standard deviations of a binomial, missed once in 1.7 million seeds.
        let mut rng = Rng::seeded(7);
        for percent in [0.0, 0.5, 30.0, 100.0] {
            let (n, p) = (100_000_u32, percent / 100.0);
            let hits = (0..n).filter(|_| FractionalPercent::percent(percent).hits(&mut rng)).count();
            let bound = 5.0 * (f64::from(n) * p * (1.0 - p)).sqrt();
            assert!((hits as f64 - f64::from(n) * p).abs() <= bound, "{hits} of {n} at {percent} %");
        }
    }
}
