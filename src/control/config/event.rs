//! Events of a source of configuration, for the control loop.
//!
//! A source only reports that its state has changed. Its documents are read when control is ready for them, so that of
//! many changes during a reload one is read, and documents of several sources can be read together.

use super::Revision;
use crate::control::Digest;
use crate::istio::problem::Problem;
use crate::plan::Plan;

/// An event of the source.
#[derive(Debug)]
pub enum ConfigEvent {
    /// The source has other documents than when it was last read, in this revision.
    Changed(Revision),
    /// The documents of a revision were read and compiled.
    Loaded(Box<Loaded>, Digest),
    /// Reading failed, and why.
    Failed(String),
}

/// A configuration that was read and compiled.
#[derive(Debug)]
pub struct Loaded {
    /// The plan to serve, unless there is an error among the problems.
    pub plan: Plan,
    /// Its problems.
    pub problems: Vec<Problem>,
    /// The state that the source was read in.
    pub revision: Revision,
}

impl Loaded {
    /// Whether the plan must not be served.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.problems.iter().any(Problem::is_error)
    }
}
