//! Istio's networking YAML: from files to a checked, resolved [`World`].
//!
//! [`read`] is the one call that `run`, `check` and the tests make. It goes in steps, each in its own file and each
//! reporting every problem it sees, not only the first:
//!
//! ```text
//! paths --load--> documents (tree) --kinds, model--> typed resources --credentials, world--> World
//! ```
//!
//! Knows nothing of sockets, routing tables or HTTP: `plan` compiles the world into what a worker runs on. Whatever
//! Istio has and ringway does not enforce is an error by name here; nothing is dropped in silence. No input panics.

use std::collections::HashMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

mod credentials;
mod damage;
pub mod grammar;
mod kinds;
mod load;
pub mod model;
mod parallel;
pub mod problem;
pub mod reader;
pub mod remarks;
mod tree;
pub mod world;

pub use kinds::{KINDS, KindTables};
use problem::Problem;
use world::World;

/// How strictly to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Unknown fields, and what ringway does not enforce, are warnings instead of errors, and left out.
    pub permissive: bool,
}

/// Reads what `paths` name (files, folders, `-` for `stdin`) and everything that is wrong with it, in the order of
/// the files and their lines. The world is fit to be served only if no problem is an error.
pub fn read(paths: &[PathBuf], stdin: &mut dyn Read, options: Options) -> (World, Vec<Problem>) {
    let load::Loaded { names, documents, mut problems } = load::load(paths, stdin);
    let mut files: HashMap<Arc<str>, usize> = HashMap::new();
    for name in names {
        let next = files.len();
        files.entry(name).or_insert(next);
    }
    let (mut model, more) = kinds::read(&documents, options.permissive);
    problems.extend(more);
    drop(documents);
    let credentials = credentials::resolve(&mut model, &mut problems);
    let (mut world, more) = World::build(model, options.permissive);
    world.credential_files = credentials;
    problems.extend(more);
    problems.sort_by_key(|problem| (files.get(&problem.file).copied().unwrap_or(usize::MAX), problem.line));
    (world, problems)
}
