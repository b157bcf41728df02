//! The source of configuration: its documents, from files today, and its notices of changes.
//!
//! [`ConfigSource`] is made from the command line; it compiles a plan from its documents, at the start and at each
//! reload. Only `files` decides which files are read, for the reader and for the watch alike. The control loop gets a
//! [`ConfigEvent`]; it never sees a path, and compares [`Revision`]s only. This module must not touch the configuration
//! in force.

mod event;
mod files;
mod source;
mod watch;

pub use event::{ConfigEvent, Loaded};
pub use source::ConfigSource;
pub(super) use watch::Watch;

/// The state that a source is in, or was in when it was read. Two are equal if the same would be read in both.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Revision(files::Snapshot);
