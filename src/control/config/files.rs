//! Which files a configuration is read from. Only this file decides it.
//!
//! A [`Walk`] goes through the paths once. Its entries are read, in that order; its [`Snapshot`] is the state of the same
//! files, and of the folders in which a change of them shows. So the reader and the watch cannot disagree. Files that the
//! documents name (certificates, keys) are read through [`OpenedFiles`], which adds them to the snapshot.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use crate::istio::{Documents, NamedFiles, STDIN};

/// Largest file of documents. A mesh of ten thousand services is a few MB; a device file or a log named by mistake has no
/// end.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// Largest file that a document names: a bundle of all authorities of the web is 250 KB.
const MAX_NAMED_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Most symbolic links on the way to a file; more count as a loop, as in the kernel.
const MOST_LINKS: usize = 40;

/// A file or folder of the disk: device and inode.
pub(super) type Id = (u64, u64);

/// The state of a file: which one it is, its size, and when its content and its inode last changed, in seconds and
/// nanoseconds.
type Version = (Id, u64, (i64, i64), (i64, i64));

/// The files that a configuration is read from as they were at one time, and the folders that a change of them shows in.
#[derive(Debug, Clone, Default)]
pub(super) struct Snapshot {
    pub(super) files: BTreeMap<PathBuf, Version>,
    pub(super) folders: HashMap<Id, PathBuf>,
    /// The links, folders and files on the paths of the files, by the folder that each is in and its name there.
    pub(super) on_the_way: HashSet<(Id, OsString)>,
    /// The folders of which every file is read that has the right name.
    pub(super) read: HashSet<Id>,
    /// Files that the documents name, and that are read with them.
    pub(super) named: Vec<PathBuf>,
}

/// The same if the same files are read from it in the same state.
impl PartialEq for Snapshot {
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files
    }
}

/// The state of the files below the paths at one time.
#[derive(Debug, Default)]
pub(super) struct Walk {
    entries: Vec<Entry>,
    snapshot: Snapshot,
    /// Canonical names of the files and folders that were met: a file may be named itself and through its folder, and a
    /// link may lead back to its own folder.
    seen: HashSet<PathBuf>,
}

/// One step of the reading. Paths are as the user named them, or below such a one.
#[derive(Debug)]
enum Entry {
    File(PathBuf),
    Stdin,
    StdinAgain,
    Unreadable(PathBuf, io::Error),
    FolderWithoutFiles(PathBuf),
}

impl Walk {
    /// Goes through `paths`: files, folders (`*.yaml`, `*.yml`, `*.json`, recursively), `-` for standard input.
    pub(super) fn through(paths: &[PathBuf]) -> Self {
        let mut walk = Self::default();
        for path in paths {
            walk.path(path);
        }
        walk
    }

    /// The state of the files. A file that is written while it is read differs from it, and so is read once more.
    pub(super) fn into_snapshot(self) -> Snapshot {
        self.snapshot
    }

    /// Reads all files that were found, and reports those that could not be read.
    pub(super) fn read(&self, stdin: &mut dyn Read) -> Documents {
        let mut documents = Documents::default();
        for entry in &self.entries {
            match entry {
                Entry::File(path) => match File::open(path) {
                    Ok(mut file) => read_into(&mut documents, &path.to_string_lossy(), &mut file),
                    Err(error) => {
                        documents.refuse(&path.to_string_lossy(), &why_unreadable(&error, "file or folder"), "")
                    }
                },
                Entry::Stdin => read_into(&mut documents, STDIN, stdin),
                Entry::StdinAgain => {
                    documents.refuse(STDIN, "standard input can be read only once", "name '-' once");
                }
                Entry::Unreadable(path, error) => {
                    documents.refuse(&path.to_string_lossy(), &why_unreadable(error, "file or folder"), "");
                }
                Entry::FolderWithoutFiles(path) => documents.refuse(
                    &path.to_string_lossy(),
                    "no YAML files in this folder",
                    "their names must end in .yaml, .yml or .json",
                ),
            }
        }
        documents
    }

    fn path(&mut self, path: &Path) {
        if path.as_os_str() == "-" {
            let again = self.entries.iter().any(|entry| matches!(entry, Entry::Stdin));
            return self.entries.push(if again { Entry::StdinAgain } else { Entry::Stdin });
        }
        let at = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        self.snapshot.way_to(&at, &mut MOST_LINKS.clone());
        match fs::metadata(path) {
            Err(error) => self.entries.push(Entry::Unreadable(path.to_owned(), error)),
            Ok(about) if about.is_dir() => {
                if self.folder(path, &at, &about) == Some(0) {
                    self.entries.push(Entry::FolderWithoutFiles(path.to_owned()));
                }
            }
            Ok(about) => self.file(path.to_owned(), at.clone(), &about, at.canonicalize().ok()),
        }
    }

    /// Goes through a folder, which the user knows as `named`, in the order of names. Returns how many files are below it;
    /// `None`: the folder was met before, or cannot be read.
    fn folder(&mut self, named: &Path, at: &Path, about: &Metadata) -> Option<usize> {
        self.snapshot.watch(at, about);
        let canonical = at.canonicalize().ok();
        if !self.is_new(canonical.clone()) {
            return None;
        }
        self.snapshot.read.insert(id(about));
        let entries = fs::read_dir(at).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(error) => {
                self.entries.push(Entry::Unreadable(named.to_owned(), error));
                return None;
            }
        };
        entries.sort_by_key(fs::DirEntry::file_name);
        let mut files = 0;
        for entry in entries {
            let name = entry.file_name();
            if is_passed_over(&name) {
                continue;
            }
            let (named, at) = (named.join(&name), at.join(&name));
            let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            if is_link {
                self.snapshot.way_to(&at, &mut MOST_LINKS.clone());
            }
            match fs::metadata(&at) {
                Ok(about) if about.is_dir() => files += self.folder(&named, &at, &about).unwrap_or_default(),
                Ok(about) if is_yaml(&at) => {
                    files += 1;
                    let canonical =
                        if is_link { at.canonicalize().ok() } else { canonical.as_ref().map(|at| at.join(&name)) };
                    self.file(named, at, &about, canonical);
                }
                Err(error) if is_yaml(&at) => self.entries.push(Entry::Unreadable(named, error)),
                Ok(_) | Err(_) => {}
            }
        }
        Some(files)
    }

    fn file(&mut self, named: PathBuf, at: PathBuf, about: &Metadata, canonical: Option<PathBuf>) {
        if self.is_new(canonical) {
            self.snapshot.file(at, about);
            self.entries.push(Entry::File(named));
        }
    }

    /// Whether it is met for the first time. A pipe (`<(...)` of a shell) has no canonical name, and is read.
    fn is_new(&mut self, canonical: Option<PathBuf>) -> bool {
        canonical.is_none_or(|canonical| self.seen.insert(canonical))
    }
}

impl Snapshot {
    /// The current state of the files under `paths`, and of the files that documents there have `named`. A file that does
    /// not exist or cannot be examined is left out.
    pub(super) fn take(paths: &[PathBuf], named: &[PathBuf]) -> Self {
        let mut snapshot = Walk::through(paths).into_snapshot();
        for path in named {
            snapshot.name(path, fs::metadata(path).ok().as_ref());
        }
        snapshot
    }

    /// Adds the files that documents named, as they were when they were opened.
    pub(super) fn add(&mut self, opened: &OpenedFiles) {
        opened.0.iter().for_each(|(path, file)| self.name(path, file.about.as_ref()));
    }

    fn name(&mut self, path: &Path, about: Option<&Metadata>) {
        self.named.push(path.to_owned());
        let Ok(path) = std::path::absolute(path) else { return };
        self.way_to(&path, &mut MOST_LINKS.clone());
        if let Some(about) = about {
            self.file(path, about);
        }
    }

    fn file(&mut self, path: PathBuf, about: &Metadata) {
        let (changed, inode_changed) = ((about.mtime(), about.mtime_nsec()), (about.ctime(), about.ctime_nsec()));
        self.files.insert(path, (id(about), about.len(), changed, inode_changed));
    }

    /// Watches the folder that `path` is in, and that of every link on the way to it.
    fn way_to(&mut self, path: &Path, links: &mut usize) {
        if let Some(parent) = path.parent() {
            self.watch_at(parent);
        }
        let mut walked = PathBuf::new();
        for component in path.components() {
            walked.push(component);
            if let (Some(parent), Some(name)) = (walked.parent(), walked.file_name())
                && let Ok(about) = fs::metadata(parent)
            {
                self.on_the_way.insert((id(&about), name.to_owned()));
            }
            let (Ok(target), Some(parent)) = (fs::read_link(&walked), walked.parent()) else { continue };
            let Some(left) = links.checked_sub(1) else { return };
            *links = left;
            self.watch_at(parent);
            self.way_to(&parent.join(target), links);
        }
    }

    fn watch_at(&mut self, folder: &Path) {
        if let Ok(about) = fs::metadata(folder) {
            self.watch(folder, &about);
        }
    }

    fn watch(&mut self, folder: &Path, about: &Metadata) {
        // One path for each folder: the kernel knows folders, and has one watch for all the paths that lead to one.
        self.folders.entry(id(about)).or_insert_with(|| folder.to_owned());
    }
}

/// The files that documents name: each is opened once, however many name it, and how it was then is remembered.
#[derive(Default)]
pub(super) struct OpenedFiles(BTreeMap<PathBuf, Opened>);

/// A file that a document names.
struct Opened {
    /// Its content, or why it cannot be read.
    content: Result<Arc<[u8]>, String>,
    /// Its state before it was read; `None`: it could not be opened.
    about: Option<Metadata>,
}

impl NamedFiles for OpenedFiles {
    fn read(&mut self, path: &Path) -> Result<Arc<[u8]>, String> {
        self.0.entry(path.to_owned()).or_insert_with_key(|path| Opened::of(path)).content.clone()
    }

    fn host_authorities(&mut self) -> Option<Vec<CertificateDer<'static>>> {
        Some(rustls_native_certs::load_native_certs().certs)
    }
}

impl Opened {
    fn of(path: &Path) -> Self {
        let mut about = None;
        let content = Self::read(path, &mut about);
        Self { content, about }
    }

    fn read(path: &Path, about: &mut Option<Metadata>) -> Result<Arc<[u8]>, String> {
        let why = |error: io::Error| why_unreadable(&error, "file");
        let file = File::open(path).map_err(why)?;
        let found = about.insert(file.metadata().map_err(why)?);
        if !found.is_file() {
            return Err("it is not a file".to_owned());
        }
        let mut content = Vec::new();
        file.take(MAX_NAMED_FILE_BYTES + 1).read_to_end(&mut content).map_err(why)?;
        if content.len() as u64 > MAX_NAMED_FILE_BYTES {
            return Err(larger_than(MAX_NAMED_FILE_BYTES));
        }
        Ok(content.into())
    }
}

fn read_into(documents: &mut Documents, name: &str, from: &mut dyn Read) {
    let mut bytes = Vec::new();
    match from.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes) {
        Err(error) => documents.refuse(name, &why_unreadable(&error, "file or folder"), ""),
        Ok(_) if bytes.len() as u64 > MAX_FILE_BYTES => {
            documents.refuse(name, &larger_than(MAX_FILE_BYTES), "split it, or name another file");
        }
        Ok(_) => documents.add(name, &bytes),
    }
}

fn why_unreadable(error: &io::Error, wanted: &str) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => format!("no such {wanted}"),
        io::ErrorKind::PermissionDenied => "not readable: permission denied".to_owned(),
        _ => format!("not readable: {error}"),
    }
}

fn larger_than(bytes: u64) -> String {
    format!("larger than {} MiB", bytes / (1024 * 1024))
}

/// Whether a file of this name is read from a folder.
pub(super) fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json")
}

/// Whether a file or folder of this name is ignored in a folder: editors' backups, and the `..data` links through which
/// Kubernetes mounts a ConfigMap.
pub(super) fn is_passed_over(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

pub(super) fn id(about: &Metadata) -> Id {
    (about.dev(), about.ino())
}

#[cfg(test)]
mod tests;
