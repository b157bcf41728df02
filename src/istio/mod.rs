//! Istio's networking YAML: from texts to a checked, resolved [`World`].
//!
//! A source of configuration adds its texts to [`Documents`], and [`read`] makes a world of them. It goes in steps, each in
//! its own file and each reporting every problem it sees, not only the first:
//!
//! ```text
//! texts --load--> documents (tree) --kinds, model--> typed resources --credentials, world--> World
//! ```
//!
//! It must not open a file: files that documents name are read through [`NamedFiles`]. It knows no sockets, routing tables or HTTP: `plan`
//! compiles the world into a worker's plan. A field of Istio's that ringway does not enforce is an error by name here; none is dropped in
//! silence. No input panics.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;

mod credentials;
mod damage;
mod document;
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

pub use credentials::NamedFiles;
pub use kinds::{KINDS, KindTables};
pub use load::Documents;
use problem::Problem;
use world::World;

/// How strictly to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Unknown fields, and fields that ringway does not enforce, are warnings instead of errors, and left out.
    pub permissive: bool,
}

/// Name of standard input in problems.
pub const STDIN: &str = "<stdin>";

/// Makes a world of the documents, and tells everything that is wrong with them, in the order of the files and their lines.
/// The world is fit to be served only if no problem is an error.
pub fn read(documents: Documents, named: &mut dyn NamedFiles, options: Options) -> (World, Vec<Problem>) {
    let Documents { names, documents, mut problems } = documents;
    let mut files: HashMap<Arc<str>, usize> = HashMap::new();
    for name in names {
        let next = files.len();
        files.entry(name).or_insert(next);
    }
    let (mut model, more) = kinds::read(&documents, options.permissive);
    problems.extend(more);
    drop(documents);
    credentials::resolve(&mut model, named, &mut problems);
    let (world, more) = World::build(model, options.permissive);
    problems.extend(more);
    problems.sort_by_key(|problem| (files.get(&problem.file).copied().unwrap_or(usize::MAX), problem.line));
    (world, problems)
}

/// [`read`] of a single text: every file that it names counts as missing, and there are no host authorities.
pub fn read_text(text: impl AsRef<[u8]>, options: Options) -> (World, Vec<Problem>) {
    let mut documents = Documents::default();
    documents.add(STDIN, text.as_ref());
    read(documents, &mut Nowhere, options)
}

/// No files at all.
struct Nowhere;

impl NamedFiles for Nowhere {
    fn read(&mut self, _: &Path) -> Result<Arc<[u8]>, String> {
        Err("no such file".to_owned())
    }

    fn host_authorities(&mut self) -> Option<Vec<CertificateDer<'static>>> {
        None
    }
}

/// The documents of a folder of `config`, as one text.
#[cfg(test)]
pub(crate) fn shipped(folder: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(folder);
    let paths = std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut yaml: Vec<_> = paths.filter(|path| path.extension().is_some_and(|end| end == "yaml")).collect();
    yaml.sort();
    let texts: Vec<String> = yaml.iter().map(|path| std::fs::read_to_string(path).expect("a file")).collect();
    texts.join("\n---\n")
}
