//! How far a reload is: data only. The steps are taken by `reload`.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use crate::control::config::Watch;
use crate::control::listeners::BoundListener;
use crate::control::{ConfigSource, Digest, Revision};
use crate::istio::problem::Problem;
use crate::plan::{Plan, ProxySettings};

/// The source, and how far the reload under way is.
pub(in crate::control) struct Reloads {
    pub(super) source: Option<Arc<ConfigSource>>,
    /// Held for its end.
    pub(super) watch: Option<Watch>,
    /// The revision that was read last.
    pub(super) revision: Revision,
    /// The remarks on the configuration in force.
    pub(super) remarks: Remarks,
    /// The settings that the process was started with: some hold until it ends.
    pub(super) started_with: ProxySettings,
    pub(super) step: ReloadStep,
    /// The cause of a reload that was requested while another one was under way.
    pub(super) next: Option<Cause>,
}

#[derive(Default)]
pub(super) enum ReloadStep {
    #[default]
    None,
    Loading {
        since: Instant,
    },
    /// Names that are new in it have no answer yet.
    Resolving {
        since: Instant,
        until: Instant,
        new: Box<New>,
    },
    Installing(Installing),
}

/// A configuration that was read, and is not yet in force.
pub(super) struct New {
    pub(super) plan: Plan,
    pub(super) digest: Digest,
    pub(super) remarks: Remarks,
}

/// The remarks on a configuration, without the lines in its files, which move.
pub(super) type Remarks = HashSet<(Arc<str>, String, String)>;

pub(super) struct Installing {
    pub(super) since: Instant,
    /// The digest of the configuration that was in force before.
    pub(super) before: Digest,
    /// The workers that have not said yet that they have the new plan.
    pub(super) waiting: HashSet<usize>,
    /// Listeners that the new plan does not have.
    pub(super) vanished: Vec<BoundListener>,
}

/// Why to read the configuration again.
pub(super) enum Cause {
    Asked,
    Changed(Revision),
}

impl Reloads {
    /// Without a requested reload, and without a source yet.
    pub(in crate::control) fn new(started_with: ProxySettings) -> Self {
        Self {
            source: None,
            watch: None,
            revision: Revision::default(),
            remarks: Remarks::default(),
            started_with,
            step: ReloadStep::None,
            next: None,
        }
    }

    /// When to go on without an event.
    pub(in crate::control) fn next_due(&self) -> Option<Instant> {
        match &self.step {
            ReloadStep::Resolving { until, .. } => Some(*until),
            _ => None,
        }
    }

    /// Whether the workers are on their way to another plan.
    pub(in crate::control) fn is_installing(&self) -> bool {
        matches!(self.step, ReloadStep::Installing(_))
    }

    /// Stops watching, and closes the listeners that were about to be closed.
    pub(in crate::control) fn stop(&mut self) {
        self.watch = None;
        if let ReloadStep::Installing(installing) = std::mem::take(&mut self.step) {
            installing.vanished.into_iter().for_each(BoundListener::close);
        }
    }
}

pub(super) fn remarks(problems: &[Problem]) -> Remarks {
    problems.iter().map(remark).collect()
}

pub(super) fn remark(problem: &Problem) -> (Arc<str>, String, String) {
    (problem.resource.clone(), problem.path.clone(), problem.what.clone())
}
