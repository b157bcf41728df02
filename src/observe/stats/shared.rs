//! One cluster's statistics that belong to no core: control sets them when statistics are shown.

use std::sync::OnceLock;

use super::block::{Block, Sample};
use super::blocks::{SharedCells, block};
use super::cell::{Counter, Gauge};

block! {
    /// The ejections of one cluster; shown as `cluster.<name>.outlier_detection.<field>`.
    Ejections {
        /// Endpoints that are ejected.
        active: Gauge = "outlier_detection.ejections_active",
        /// Ejections.
        enforced_total: Counter = "outlier_detection.ejections_enforced_total",
        /// Streaks of errors that were complete, whether they ejected or not.
        detected_5xx: Counter = "outlier_detection.ejections_detected_consecutive_5xx",
        /// Ejections for such a streak.
        enforced_5xx: Counter = "outlier_detection.ejections_enforced_consecutive_5xx",
        /// Streaks of gateway errors that were complete.
        detected_gateway: Counter = "outlier_detection.ejections_detected_consecutive_gateway_failure",
        /// Ejections for such a streak.
        enforced_gateway: Counter = "outlier_detection.ejections_enforced_consecutive_gateway_failure",
        /// Streaks of failures without an answer that were complete.
        detected_local: Counter = "outlier_detection.ejections_detected_consecutive_local_origin_failure",
        /// Ejections for such a streak.
        enforced_local: Counter = "outlier_detection.ejections_enforced_consecutive_local_origin_failure",
        /// Ejections that did not happen because enough endpoints were ejected.
        overflow: Counter = "outlier_detection.ejections_overflow",
        /// The older name of the ejections for streaks of errors.
        total: Counter = "outlier_detection.ejections_total",
        /// The older name of the complete streaks of errors.
        consecutive_5xx: Counter = "outlier_detection.ejections_consecutive_5xx",
    }
}

/// One cluster's statistics that belong to no core; shown as `cluster.<name>.…`. Its fields are those of
/// [`SharedCells`].
#[derive(Debug, Default)]
pub struct ClusterShared {
    cells: SharedCells,
    ejections: OnceLock<Box<Ejections>>,
}

impl std::ops::Deref for ClusterShared {
    type Target = SharedCells;

    fn deref(&self) -> &SharedCells {
        &self.cells
    }
}

impl ClusterShared {
    /// The ejections. They are shown from the first call on: only clusters that detect outliers have any.
    pub fn ejections(&self) -> &Ejections {
        self.ejections.get_or_init(Box::default)
    }

    /// The ejections, if they were ever shown.
    #[must_use]
    pub fn ejections_shown(&self) -> Option<&Ejections> {
        self.ejections.get().map(Box::as_ref)
    }
}

impl Block for ClusterShared {
    fn each<'a>(&'a self, see: &mut dyn FnMut(&str, Sample<'a>)) {
        self.cells.each(see);
        if let Some(ejections) = self.ejections.get() {
            ejections.each(see);
        }
    }
}
