//! Where the configuration comes from: documents from a source, files today, and word when they have changed.
//!
//! [`ConfigSource`] is what the command line names; it makes a plan of its documents, at the start and at each reload.
//! `files` alone says which files are read, to the reader and to the watch alike. What the control loop hears of all this
//! is a [`ConfigEvent`]; it never meets a path, and compares [`Revision`]s only. Nothing here touches what is in force.

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
