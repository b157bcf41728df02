//! A block as the registry sees it: a set of numbers of one core, each with its name.

use super::cell::{Counter, Gauge};
use super::histogram::Histogram;

/// One number of one core, as a block shows it to the registry.
pub(super) enum Sample<'a> {
    Counter(&'a Counter),
    Gauge(&'a Gauge),
    Histogram(&'a Histogram),
}

impl<'a> From<&'a Counter> for Sample<'a> {
    fn from(cell: &'a Counter) -> Self {
        Self::Counter(cell)
    }
}

impl<'a> From<&'a Gauge> for Sample<'a> {
    fn from(cell: &'a Gauge) -> Self {
        Self::Gauge(cell)
    }
}

impl<'a> From<&'a Histogram> for Sample<'a> {
    fn from(cell: &'a Histogram) -> Self {
        Self::Histogram(cell)
    }
}

/// A set of numbers that the registry can sum over the cores.
pub(super) trait Block {
    /// Calls `see` with each number and its name below the block's prefix.
    fn each<'a>(&'a self, see: &mut dyn FnMut(&str, Sample<'a>));
}
