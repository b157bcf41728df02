//! The random generator of one core.
//!
//! Every random choice (load balancing, weighted destinations, request ids) draws from one of these, handed in as
//! an argument: a seed makes a run repeatable. Not for secrets.

/// A small, fast generator (wyrand), owned by one core.
#[derive(Debug, Clone)]
pub struct Rng(fastrand::Rng);

impl Rng {
    /// A generator whose sequence follows from `seed` alone.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// Uniform in `0..bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.0.u64(..bound) }
    }

    /// 64 uniform bits.
    pub fn bits(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// Uniform in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        self.0.f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_sequence() {
        let (mut a, mut b) = (Rng::seeded(7), Rng::seeded(7));
        assert!((0..100).all(|_| a.bits() == b.bits()));
    }

    #[test]
    fn below_zero_is_zero() {
        assert_eq!(Rng::seeded(1).below(0), 0);
    }
}
