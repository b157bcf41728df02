//! A histogram of whole numbers (milliseconds) with Envoy's resolution: two significant decimal digits.
//!
//! The bins and the interpolation are libcircllhist's, so that the quantiles read as Envoy's do. One core records, any
//! thread reads; the bins come into being with the first sample.

use std::fmt::Write as _;
use std::sync::OnceLock;

use super::cell::Counter;

/// 0 to 99 each have a bin; every decade from 100 on has 90.
const EXACT: usize = 100;
const PER_DECADE: usize = 90;
/// Decades from 100 on; the last one ends at 10^8 ms, more than a day. Larger samples count in its last bin.
const DECADES: usize = 6;
const BINS: usize = EXACT + DECADES * PER_DECADE;

/// The quantiles that Envoy prints, in percent.
pub(super) const QUANTILES: [f64; 10] = [0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 100.0];

/// How often each magnitude was seen on one core.
#[derive(Debug, Default)]
pub struct Histogram(OnceLock<Box<[Counter]>>);

impl Histogram {
    /// Takes a sample. The first one allocates the bins.
    #[inline]
    pub fn record(&self, sample: u64) {
        let bins = self.0.get_or_init(|| (0..BINS).map(|_| Counter::default()).collect());
        if let Some(bin) = bins.get(bin_of(sample)) {
            bin.inc();
        }
    }

    /// Whether no sample was taken yet.
    pub(super) fn is_empty(&self) -> bool {
        self.0.get().is_none()
    }

    /// Adds this core's samples to `into`.
    pub(super) fn add_to(&self, into: &mut Buckets) {
        let Some(bins) = self.0.get() else { return };
        into.0.resize(BINS, 0);
        for (sum, bin) in into.0.iter_mut().zip(bins) {
            *sum += bin.get();
        }
    }
}

fn bin_of(sample: u64) -> usize {
    if sample < EXACT as u64 {
        return sample as usize;
    }
    let decade = sample.ilog10() as usize - 2;
    if decade >= DECADES {
        return BINS - 1;
    }
    let two_digits = (sample / 10_u64.pow(decade as u32 + 1)) as usize;
    EXACT + decade * PER_DECADE + two_digits - 10
}

/// Where a bin begins, and how wide it is. A single digit `n` has the bin `[n, n + 0.1)`: two significant digits.
fn bin_range(bin: usize) -> (f64, f64) {
    match bin {
        0 => (0.0, 0.0),
        1..10 => (bin as f64, 0.1),
        10..EXACT => (bin as f64, 1.0),
        _ => {
            let (decade, digits) = ((bin - EXACT) / PER_DECADE, (bin - EXACT) % PER_DECADE + 10);
            let width = 10_f64.powi(decade as i32 + 1);
            (digits as f64 * width, width)
        }
    }
}

/// The samples of several cores, summed. Empty until a sample is added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Buckets(Vec<u64>);

impl Buckets {
    /// How many samples there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The samples that are in `self` and were not yet in `earlier`.
    pub(super) fn since(&self, earlier: &Buckets) -> Buckets {
        let before = earlier.0.iter().copied().chain(std::iter::repeat(0));
        Buckets(self.0.iter().zip(before).map(|(now, before)| now.saturating_sub(before)).collect())
    }

    /// The smallest sample that at least `quantile` (0 to 1) of the samples do not exceed; NaN without samples. The
    /// samples of a bin count as spread evenly in it, so that a lone one lies in the middle.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> f64 {
        let rank = ((self.count() as f64 * quantile).ceil() as u64).max(1);
        let mut below = 0;
        for (bin, &count) in self.0.iter().enumerate() {
            if rank <= below + count {
                let (start, width) = bin_range(bin);
                return start + width * ((rank - below) as f64 / (count + 1) as f64);
            }
            below += count;
        }
        f64::NAN
    }

    /// How many samples are certainly no more than `bound`. Samples of a bin that reaches over the bound are not
    /// counted.
    #[must_use]
    pub(super) fn up_to(&self, bound: f64) -> u64 {
        let below = |bin: usize| match bin {
            0..EXACT => bin as f64 <= bound, // the bin holds one whole number
            _ => {
                let (start, width) = bin_range(bin);
                start + width - 1.0 <= bound
            }
        };
        self.0.iter().enumerate().take_while(|(bin, _)| below(*bin)).map(|(_, count)| count).sum()
    }

    /// The sum of the samples: exact below 100; above, each counts as the middle of its bin, 5 % off at most. Samples
    /// beyond the last bin count as its middle, too.
    #[must_use]
    pub(super) fn sum(&self) -> f64 {
        let middle = |bin: usize| match bin {
            0..EXACT => bin as f64,
            _ => {
                let (start, width) = bin_range(bin);
                start + (width - 1.0) / 2.0
            }
        };
        self.0.iter().enumerate().map(|(bin, count)| middle(bin) * *count as f64).sum()
    }

    /// Envoy's text of a histogram: `P0(interval,all) P25(…) …`, or `No recorded values`.
    pub(super) fn write_text(&self, interval: &Buckets, out: &mut String) {
        if self.count() == 0 {
            out.push_str("No recorded values");
            return;
        }
        for (index, percent) in QUANTILES.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            let (recent, all) = (interval.quantile(percent / 100.0), self.quantile(percent / 100.0));
            let _ = write!(out, "{space}P{percent}({},{})", Shown(recent), Shown(all)); // a String takes every write
        }
    }
}

/// A number as Envoy prints it: `nan` in lower case.
struct Shown(f64);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_nan() { f.write_str("nan") } else { write!(f, "{}", self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(samples: &[u64]) -> Buckets {
        let (histogram, mut buckets) = (Histogram::default(), Buckets::default());
        samples.iter().for_each(|&sample| histogram.record(sample));
        histogram.add_to(&mut buckets);
        buckets
    }

    #[test]
    fn every_sample_falls_into_a_bin_that_holds_it() {
        for sample in (0..2000).chain([9_999, 10_000, 123_456, 999_999, 1_000_000, 99_999_999]) {
            let (start, width) = bin_range(bin_of(sample));
            let value = sample as f64;
            assert!(start <= value && (value < start + width || value == 0.0), "{sample} in [{start}, +{width})");
            assert!(width <= (value / 10.0).max(1.0), "two digits of {sample}");
        }
    }

    #[test]
    fn bins_rise_with_their_number() {
        for bin in 1..BINS {
            assert!(bin_range(bin).0 > bin_range(bin - 1).0, "bin {bin}");
        }
    }

    #[test]
    fn a_sample_beyond_the_last_bin_counts_in_it() {
        assert_eq!(of(&[u64::MAX]).count(), 1);
        assert_eq!(bin_of(u64::MAX), BINS - 1);
    }

    /// Envoy 1.40's output for the same samples.
    #[test]
    fn text_is_envoys() {
        for (samples, expected) in [
            (
                vec![18],
                "P0(nan,18.5) P25(nan,18.5) P50(nan,18.5) P75(nan,18.5) P90(nan,18.5) P95(nan,18.5) P99(nan,18.5) \
                 P99.5(nan,18.5) P99.9(nan,18.5) P100(nan,18.5)",
            ),
            (
                vec![0],
                "P0(nan,0) P25(nan,0) P50(nan,0) P75(nan,0) P90(nan,0) P95(nan,0) P99(nan,0) P99.5(nan,0) P99.9(nan,0) \
                 P100(nan,0)",
            ),
            (
                vec![1; 14],
                "P0(nan,1.0066666666666666) P25(nan,1.0266666666666666) P50(nan,1.0466666666666666) \
                 P75(nan,1.0733333333333333) P90(nan,1.0866666666666667) P95(nan,1.0933333333333333) \
                 P99(nan,1.0933333333333333) P99.5(nan,1.0933333333333333) P99.9(nan,1.0933333333333333) \
                 P100(nan,1.0933333333333333)",
            ),
        ] {
            let mut text = String::new();
            of(&samples).write_text(&Buckets::default(), &mut text);
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn without_samples_it_says_so() {
        let mut text = String::new();
        of(&[]).write_text(&Buckets::default(), &mut text);
        assert_eq!(text, "No recorded values");
    }

    #[test]
    fn an_interval_holds_what_came_since() {
        let (earlier, now) = (of(&[5, 700]), of(&[5, 700, 700, 3]));
        assert_eq!(now.since(&earlier), of(&[3, 700]));
        assert_eq!(now.since(&Buckets::default()), now);
    }

    #[test]
    fn quantiles_walk_the_bins() {
        let samples: Vec<u64> = (1..=100).collect();
        let buckets = of(&samples);
        for (quantile, sample) in [(0.0, 1), (0.01, 1), (0.011, 2), (0.5, 50), (0.99, 99), (1.0, 100)] {
            assert_eq!(buckets.quantile(quantile), of(&[sample]).quantile(0.5), "{quantile}");
        }
    }
}
