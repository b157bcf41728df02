//! One core's counters of the mirrored requests of a cluster.
//!
//! Made with the first copy, so that other clusters pay a pointer. A match allocates nothing: the table of status pairs
//! has a fixed size.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::block::{Block, Sample};
use super::cell::Counter;
use super::histogram::Histogram;
use super::responses::Responses;

/// Different pairs of statuses that are counted apart; further pairs count as `mirror_status.other`.
const PAIRS: usize = 64;

/// The result of a comparison with the original's response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Both answered the same.
    Match,
    /// They did not, or only one of them answered.
    Mismatch,
    /// No result: neither answered, or one of them was not sent.
    Uncompared,
}

/// Copies of requests, their answers, and how these compare with the originals'. Envoy counts such answers as internal.
#[derive(Debug)]
pub struct Mirrored {
    /// Copies not sent, or not to their end, because too many were under way or the mirror took its body too slowly.
    pub mirror_overflow: Counter,
    mirror_match: Counter,
    mirror_mismatch: Counter,
    mirror_uncompared: Counter,
    pairs: [Pair; PAIRS],
    other_pairs: Counter,
    /// Made by the first answer: not every mirror answers.
    responses: OnceLock<Box<Responses>>,
    upstream_rq_time: Histogram,
}

/// The original's status and the mirror's, and how often they came together.
#[derive(Debug, Default)]
struct Pair {
    /// One status in each half; 0 of both: nothing yet.
    statuses: AtomicU32,
    count: Counter,
}

impl Default for Mirrored {
    fn default() -> Self {
        Self {
            mirror_overflow: Counter::default(),
            mirror_match: Counter::default(),
            mirror_mismatch: Counter::default(),
            mirror_uncompared: Counter::default(),
            pairs: std::array::from_fn(|_| Pair::default()),
            other_pairs: Counter::default(),
            responses: OnceLock::new(),
            upstream_rq_time: Histogram::default(),
        }
    }
}

impl Mirrored {
    /// Counts the response to a mirrored request, or the status that Envoy counts for a missing one.
    pub fn response(&self, status: u16) {
        self.responses.get_or_init(Box::default).count(status);
    }

    /// Records how many milliseconds passed from the end of a copy to the end of its answer.
    pub fn took(&self, milliseconds: u64) {
        self.upstream_rq_time.record(milliseconds);
    }

    /// Counts a comparison. A status of 0 stands for no answer.
    pub fn compared(&self, verdict: Verdict, original: u16, mirror: u16) {
        match verdict {
            Verdict::Match => self.mirror_match.inc(),
            Verdict::Mismatch => self.mirror_mismatch.inc(),
            Verdict::Uncompared => return self.mirror_uncompared.inc(),
        }
        let statuses = u32::from(original) << 16 | u32::from(mirror);
        for pair in &self.pairs {
            match pair.statuses.load(Ordering::Relaxed) {
                // This core is the only one that writes here.
                0 => pair.statuses.store(statuses, Ordering::Relaxed),
                known if known != statuses => continue,
                _ => {}
            }
            return pair.count.inc();
        }
        self.other_pairs.inc();
    }
}

impl Block for Mirrored {
    fn each<'a>(&'a self, see: &mut dyn FnMut(&str, Sample<'a>)) {
        see("mirror_overflow", (&self.mirror_overflow).into());
        see("mirror_match", (&self.mirror_match).into());
        see("mirror_mismatch", (&self.mirror_mismatch).into());
        see("mirror_uncompared", (&self.mirror_uncompared).into());
        let of = |status: u32| if status == 0 { "none".to_owned() } else { status.to_string() };
        for pair in &self.pairs {
            let statuses = pair.statuses.load(Ordering::Relaxed);
            if statuses == 0 {
                break;
            }
            see(&format!("mirror_status.{}_{}", of(statuses >> 16), of(statuses & 0xffff)), (&pair.count).into());
        }
        if self.other_pairs.get() > 0 {
            see("mirror_status.other", (&self.other_pairs).into());
        }
        // The cluster's own block has these names, too; the registry adds up equal names.
        for name in ["upstream_rq_time", "internal.upstream_rq_time"] {
            see(name, (&self.upstream_rq_time).into());
        }
        let Some(responses) = self.responses.get() else { return };
        responses.each(|name, counter| {
            see(name, counter.into());
            see(&format!("internal.{name}"), counter.into());
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(mirrored: &Mirrored) -> Vec<(String, u64)> {
        let mut all = Vec::new();
        mirrored.each(&mut |name, sample| {
            if let Sample::Counter(counter) = sample
                && counter.get() > 0
            {
                all.push((name.to_owned(), counter.get()));
            }
        });
        all
    }

    #[test]
    fn comparisons_count_by_verdict_and_pair() {
        let mirrored = Mirrored::default();
        for (verdict, original, mirror) in [
            (Verdict::Match, 200, 200),
            (Verdict::Mismatch, 200, 500),
            (Verdict::Mismatch, 200, 500),
            (Verdict::Mismatch, 200, 0),
            (Verdict::Mismatch, 0, 200),
            (Verdict::Mismatch, 200, 200), // the bodies
            (Verdict::Uncompared, 0, 0),
        ] {
            mirrored.compared(verdict, original, mirror);
        }
        let expected = [
            ("mirror_match", 1),
            ("mirror_mismatch", 5),
            ("mirror_uncompared", 1),
            ("mirror_status.200_200", 2),
            ("mirror_status.200_500", 2),
            ("mirror_status.200_none", 1),
            ("mirror_status.none_200", 1),
        ];
        assert_eq!(shown(&mirrored), expected.map(|(name, count)| (name.to_owned(), count)));
    }

    #[test]
    fn pairs_beyond_the_places_count_together() {
        let mirrored = Mirrored::default();
        for mirror in 100..200 {
            mirrored.compared(Verdict::Mismatch, 200, mirror);
            mirrored.compared(Verdict::Mismatch, 200, mirror);
        }
        let shown = shown(&mirrored);
        let pairs = shown.iter().filter(|(name, count)| name.starts_with("mirror_status.200_") && *count == 2);
        assert_eq!(pairs.count(), PAIRS);
        assert_eq!(shown.last(), Some(&("mirror_status.other".to_owned(), 2 * (100 - PAIRS as u64))));
    }

    #[test]
    fn answers_are_internal() {
        let mirrored = Mirrored::default();
        mirrored.response(503);
        let shown = shown(&mirrored);
        for name in ["upstream_rq_503", "internal.upstream_rq_503", "internal.upstream_rq_5xx", "upstream_rq_completed"]
        {
            assert!(shown.contains(&(name.to_owned(), 1)), "{name} in {shown:?}");
        }
    }
}
