//! Watching the configuration's files for changes.
//!
//! Folders are watched, never files: an editor replaces a file by renaming another over it, and Kubernetes swaps a
//! symbolic link above it (`..data`); a watch on the file would go on with the one that is gone. A notice of the kernel
//! only says that it is time to look. What decides is a [`Snapshot`] of the files that differs from the last one and
//! has held still for [`QUIET`]: so a file that is being written is not read half-way. Notices of files that nothing is
//! read from, a log in the same folder say, wake nobody ([`Relevant`]).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use notify::event::{CreateKind, ModifyKind};
use notify::{ErrorKind, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tracing::warn;

use super::Event;

/// For how long files must not change before they are read.
const QUIET: Duration = Duration::from_millis(200);

/// Links on the way to a file after which it is taken for a loop, as by the kernel.
const MOST_LINKS: usize = 40;

/// Looks in a row at folders that come and go.
const MOST_LOOKS: usize = 16;

/// A file or folder of the disk: device and inode.
type Id = (u64, u64);

/// The state of a file: which one it is, its size, and when its content and its inode last changed, in seconds and
/// nanoseconds.
type Version = (Id, u64, (i64, i64), (i64, i64));

/// The files that a configuration is read from as they were at one time, and the folders that a change of them shows in.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    files: BTreeMap<PathBuf, Version>,
    folders: HashMap<Id, PathBuf>,
    /// What lies on the way to the files, by its folder and name there.
    on_the_way: HashSet<(Id, OsString)>,
    /// The folders of which everything is read that has the right name.
    read: HashSet<Id>,
    /// Files that the configuration names, and that are read with it.
    named: Vec<PathBuf>,
}

/// The same if the same files are read from it in the same state.
impl PartialEq for Snapshot {
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files
    }
}

impl Snapshot {
    /// How the files under `paths`, and those `named` there, are now. What does not exist or cannot be read is left out.
    #[must_use]
    pub fn take(paths: &[PathBuf], named: &[PathBuf]) -> Self {
        let mut snapshot = Self::default();
        for path in paths.iter().filter(|path| path.as_os_str() != "-") {
            let Ok(path) = std::path::absolute(path) else { continue };
            snapshot.way_to(&path, &mut MOST_LINKS.clone());
            match fs::metadata(&path) {
                Ok(about) if about.is_dir() => snapshot.folder(&path, &about),
                Ok(about) => snapshot.file(path, &about),
                Err(_) => {}
            }
        }
        for path in named {
            snapshot.name(path, fs::metadata(path).ok().as_ref());
        }
        snapshot
    }

    /// Adds files that were named, as they were when they were read.
    pub fn add(&mut self, files: &[(PathBuf, Option<Metadata>)]) {
        files.iter().for_each(|(path, about)| self.name(path, about.as_ref()));
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

    /// Goes as the reader goes: YAML and JSON, recursively, names with a leading dot passed over, and no
    /// folder twice: a link may lead back to its own.
    fn folder(&mut self, folder: &Path, about: &Metadata) {
        self.watch(folder, about);
        if !self.read.insert(id(about)) {
            return;
        }
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
                self.way_to(&path, &mut MOST_LINKS.clone());
            }
            match fs::metadata(&path) {
                Ok(about) if about.is_dir() => self.folder(&path, &about),
                Ok(about) if is_yaml(&path) => self.file(path, &about),
                Ok(_) | Err(_) => {}
            }
        }
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

/// Whether a file of this name is read from a folder.
fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json")
}

/// Which notices of the kernel are a reason to look.
#[derive(Debug, Clone, Default)]
struct Relevant(Arc<Mutex<Known>>);

/// Paths, in the names that the kernel's notices have for them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Known {
    /// What lies on the way to a file, and the folders that are watched.
    on_the_way: HashSet<PathBuf>,
    /// The folders of which everything is read that has the right name.
    read: HashSet<PathBuf>,
}

impl Relevant {
    /// Takes what matters from `snapshot`, whose folders are watched by the paths that `watched` has for them. True if that
    /// is something else than before: what has happened to it until now was not told.
    fn set(&self, snapshot: &Snapshot, watched: &HashMap<Id, PathBuf>) -> bool {
        let ways = snapshot.on_the_way.iter();
        let ways = ways.filter_map(|(folder, name)| Some(watched.get(folder)?.join(name)));
        let read = snapshot.read.iter().filter_map(|folder| watched.get(folder).cloned());
        let now = Known { on_the_way: ways.chain(watched.values().cloned()).collect(), read: read.collect() };
        let mut known = self.known();
        std::mem::replace(&mut *known, now) != *known
    }

    /// Whether a notice of this kind about this path may be of something that is read.
    fn has(&self, kind: EventKind, path: &Path) -> bool {
        let in_a_read_folder = {
            let known = self.known();
            if known.on_the_way.contains(path) {
                return true;
            }
            path.parent().is_some_and(|parent| known.read.contains(parent))
        };
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !in_a_read_folder || hidden {
            return false;
        }
        let content = match kind {
            _ if is_yaml(path) => return true,
            EventKind::Create(CreateKind::Folder) => return true,
            EventKind::Create(_) => false,
            EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_)) => true,
            // Of what was there under another name, or is gone, the kind is not told.
            _ => return true,
        };
        // A folder that may be entered now, a link that was made.
        let kind = fs::symlink_metadata(path).map(|about| about.file_type());
        kind.is_ok_and(|kind| kind.is_dir() || kind.is_symlink() && !content)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn id(about: &Metadata) -> Id {
    (about.dev(), about.ino())
}

fn is_missing(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::PathNotFound => true,
        ErrorKind::Io(error) => error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

/// A reason for the watching thread to wake up.
enum Hint {
    /// Something has happened in one of the folders.
    Look,
    /// The configuration names other files now.
    Named(Vec<PathBuf>),
    /// These are gone; a watch on one of them has ended.
    Removed(Vec<PathBuf>),
    /// It is no longer wanted.
    Stop,
}

/// A running watch, which tells of changes as [`Event::Changed`]; ends when dropped.
#[derive(Debug)]
pub(super) struct Watch {
    hints: Sender<Hint>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Watches the files under `paths`, which were last read in the state `last`.
    ///
    /// # Errors
    /// If the kernel gives no watches at all, or the thread cannot be started.
    pub(super) fn start(paths: Vec<PathBuf>, last: Snapshot, events: Sender<Event>) -> notify::Result<Self> {
        let (hints, hinted) = channel();
        let hint = hints.clone();
        let relevant = Relevant::default();
        let of_interest = relevant.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Whoever does not listen any more has stopped watching.
            let _ = match event {
                // Reading the files is an access, too.
                Ok(event) if matches!(event.kind, EventKind::Access(_)) => Ok(()),
                Ok(event)
                    if !event.paths.is_empty() && !event.paths.iter().any(|path| of_interest.has(event.kind, path)) =>
                {
                    Ok(())
                }
                Ok(event) if matches!(event.kind, EventKind::Remove(_)) => hint.send(Hint::Removed(event.paths)),
                Ok(_) | Err(_) => hint.send(Hint::Look),
            };
        })?;
        let watching =
            Watching { paths, named: last.named.clone(), watcher, watched: HashMap::new(), relevant, hinted };
        let thread = std::thread::Builder::new().name("watch".to_owned());
        let thread = thread.spawn(move || watching.run(last, &events)).map_err(notify::Error::io)?;
        Ok(Self { hints, thread: Some(thread) })
    }

    /// The configuration was read in this state: what it names now is watched from now on.
    pub(super) fn follow(&self, read: &Snapshot) {
        let _ = self.hints.send(Hint::Named(read.named.clone())); // one that has ended watches nothing
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.hints.send(Hint::Stop); // one that has ended needs no word
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // its panic was printed
        }
    }
}

/// What the watching thread owns.
struct Watching {
    paths: Vec<PathBuf>,
    named: Vec<PathBuf>,
    watcher: RecommendedWatcher,
    watched: HashMap<Id, PathBuf>,
    relevant: Relevant,
    hinted: Receiver<Hint>,
}

impl Watching {
    fn run(mut self, mut last: Snapshot, events: &Sender<Event>) {
        // Something may have changed before the watch began.
        let mut now = self.look();
        loop {
            while now != last {
                let held_still = loop {
                    if self.stopped_within(QUIET) {
                        return;
                    }
                    let then = std::mem::replace(&mut now, self.look());
                    if now == then {
                        break then;
                    }
                };
                last = held_still.clone();
                if events.send(Event::Changed(held_still)).is_err() {
                    return;
                }
            }
            match self.hinted.recv() {
                Ok(Hint::Stop) | Err(_) => return,
                Ok(hint) => self.heed(hint),
            }
            now = self.look();
            // What is written beside the configuration all the time is looked after in bursts.
            if now == last {
                if self.stopped_within(QUIET) {
                    return;
                }
                now = self.look();
            }
        }
    }

    /// The files as they are now, with every folder of theirs watched from before they were looked at.
    fn look(&mut self) -> Snapshot {
        let mut snapshot = Snapshot::take(&self.paths, &self.named);
        // Twice, as a rule, when folders have come; more often only while others come and go under way.
        for _ in 0..MOST_LOOKS {
            match self.follow(&snapshot) {
                Ok(false) => break,
                Ok(true) => {}
                Err(error) => warn!("a part of the configuration cannot be watched for changes: {error}"),
            }
            snapshot = Snapshot::take(&self.paths, &self.named);
        }
        snapshot
    }

    /// Watches the folders of `snapshot` and no others. True if it watches more than before.
    fn follow(&mut self, snapshot: &Snapshot) -> notify::Result<bool> {
        let watcher = &mut self.watcher;
        self.watched.retain(|id, path| {
            let stays = snapshot.folders.contains_key(id);
            if !stays {
                let _ = watcher.unwatch(path); // gone already, if the folder is
            }
            stays
        });
        let (mut added, mut outcome) = (false, Ok(()));
        for (id, path) in &snapshot.folders {
            if !self.watched.contains_key(id) {
                added = true;
                match watcher.watch(path, RecursiveMode::NonRecursive) {
                    // Removed meanwhile: the next look does not find it.
                    Err(error) if is_missing(&error) => continue,
                    Err(error) => outcome = Err(error.add_path(path.clone())),
                    Ok(()) => {}
                }
                // Entered also if it failed, to be tried and told of once.
                self.watched.insert(*id, path.clone());
            }
        }
        let added = self.relevant.set(snapshot, &self.watched) || added;
        outcome.map(|()| added)
    }

    fn heed(&mut self, hint: Hint) {
        match hint {
            Hint::Removed(gone) => self.watched.retain(|_, path| !gone.contains(path)),
            Hint::Named(named) => self.named = named,
            Hint::Look | Hint::Stop => {}
        }
    }

    /// Takes hints for `time`; true if one of them is to stop.
    fn stopped_within(&mut self, time: Duration) -> bool {
        let end = crate::io::now() + time;
        loop {
            match self.hinted.recv_timeout(end.saturating_duration_since(crate::io::now())) {
                Ok(Hint::Stop) | Err(RecvTimeoutError::Disconnected) => return true,
                Ok(hint) => self.heed(hint),
                Err(RecvTimeoutError::Timeout) => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    fn dir() -> TempDir {
        TempDir::new().expect("a temporary folder")
    }

    fn write(path: &Path, text: &str) {
        fs::write(path, text).expect("write");
    }

    fn take(path: &Path) -> Snapshot {
        Snapshot::take(&[path.to_owned()], &[])
    }

    fn watches(snapshot: &Snapshot, folder: &Path) -> bool {
        snapshot.folders.contains_key(&id(&fs::metadata(folder).expect("a folder")))
    }

    #[test]
    fn only_what_is_read_counts() {
        let dir = dir();
        write(&dir.path().join("a.yaml"), "1");
        let before = take(dir.path());
        write(&dir.path().join("notes.txt"), "1");
        write(&dir.path().join(".a.yaml.swp"), "1");
        assert_eq!(take(dir.path()), before);
        fs::create_dir(dir.path().join("more")).expect("a folder");
        assert_eq!(take(dir.path()), before, "there is nothing in it");
        for name in ["b.yaml", "b.yml", "b.json", "more/c.yaml"] {
            let before = take(dir.path());
            write(&dir.path().join(name), "1");
            assert_ne!(take(dir.path()), before, "{name} was added");
        }
        let before = take(dir.path());
        fs::remove_file(dir.path().join("b.yml")).expect("remove");
        assert_ne!(take(dir.path()), before, "one was removed");
    }

    #[test]
    fn what_is_not_read_wakes_nobody() {
        use notify::event::{DataChange, MetadataKind, RemoveKind, RenameMode};
        let (dir, away) = (dir(), TempDir::new().expect("a temporary folder"));
        let at = |name: &str| dir.path().join(name);
        for name in ["a.yaml", "access.log", "b.txt", "own.pem", ".a.yaml.swp"] {
            write(&at(name), "1");
        }
        fs::create_dir(at("more")).expect("a folder");
        fs::create_dir(at("..2026")).expect("a folder");
        symlink("..2026", at("..data")).expect("a link");
        symlink("b.txt", at("b.yaml")).expect("a link");
        symlink("..data/m.yaml", at("m.yaml")).expect("a link");
        symlink("nowhere", at("link")).expect("a link");
        write(&away.path().join("c.txt"), "1");
        write(&away.path().join("d.txt"), "1");
        symlink(away.path().join("c.txt"), at("c.yaml")).expect("a link");
        let snapshot = Snapshot::take(&[dir.path().to_owned()], &[at("own.pem"), at("later.pem")]);
        let relevant = Relevant::default();
        assert!(relevant.set(&snapshot, &snapshot.folders));
        assert!(!relevant.set(&snapshot, &snapshot.folders), "the same again");
        let write = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        let attributes = EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any));
        let created = EventKind::Create(CreateKind::File);
        let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        for (path, read) in [
            (at("a.yaml"), true),
            (at("new.yml"), true),
            (at("new.json"), true),
            (at("b.txt"), true),
            (away.path().join("c.txt"), true),
            (at("own.pem"), true),
            (at("later.pem"), true),
            (at("access.log"), false),
            (at("access.log.1"), false),
            (at(".a.yaml.swp"), false),
            (at(".hidden.yaml"), false),
            (away.path().join("d.txt"), false),
        ] {
            for kind in [write, attributes, created] {
                assert_eq!(relevant.has(kind, &path), read, "{kind:?} {}", path.display());
            }
            // Whatever has another name now, or is gone, may have been a folder; not what is never looked into.
            let may_be_a_folder =
                path.starts_with(dir.path()) && !path.ends_with(".a.yaml.swp") && !path.ends_with(".hidden.yaml");
            for kind in [renamed, EventKind::Remove(RemoveKind::File), EventKind::Any] {
                assert_eq!(relevant.has(kind, &path), read || may_be_a_folder, "{kind:?} {}", path.display());
            }
        }
        let folder = EventKind::Create(CreateKind::Folder);
        assert!(relevant.has(folder, &at("more")));
        let beside = dir.path().with_extension("beside");
        assert!(!relevant.has(folder, &beside), "the folder above is only on the way");
        assert!(relevant.has(EventKind::Remove(RemoveKind::Folder), dir.path()));
        assert!(relevant.has(renamed, &at("..data")) && relevant.has(created, &at("..data")), "a ConfigMap is swapped");
        assert!(!relevant.has(folder, &at("..2027")), "not before the swap");
        assert!(relevant.has(created, &at("link")), "a link was made");
        assert!(relevant.has(attributes, &at("more")), "it may be entered now");
    }

    #[test]
    fn a_file_that_looks_the_same_is_another_one() {
        let dir = dir();
        let (file, other) = (dir.path().join("a.yaml"), dir.path().join("other"));
        write(&file, "one");
        let before = take(&file);
        assert_eq!(take(&file), before);
        write(&other, "two");
        let times = fs::metadata(&file).expect("a file").modified().expect("a time");
        let handle = fs::File::options().write(true).open(&other).expect("open");
        handle.set_modified(times).expect("set the time");
        fs::rename(&other, &file).expect("rename over");
        assert_ne!(take(&file), before, "as long, and as old");
    }

    #[test]
    fn every_folder_on_the_way_is_watched() {
        let dir = dir();
        let real = dir.path().join("releases/1/etc");
        fs::create_dir_all(&real).expect("folders");
        write(&real.join("a.yaml"), "1");
        symlink("releases/1", dir.path().join("current")).expect("a link");
        let away = TempDir::new().expect("a temporary folder");
        symlink(dir.path().join("current/etc/a.yaml"), away.path().join("b.yaml")).expect("a link");
        let snapshot = take(&away.path().join("b.yaml"));
        assert!(watches(&snapshot, away.path()), "the link itself can be replaced");
        assert!(watches(&snapshot, dir.path()), "the link on the way can be replaced");
        assert!(watches(&snapshot, &real), "the file can be replaced");
        let snapshot = take(away.path());
        assert!(watches(&snapshot, &real), "also when the link is found in a folder");
    }

    #[test]
    fn loops_of_links_end() {
        let dir = dir();
        write(&dir.path().join("a.yaml"), "1");
        for name in ["x", "y"] {
            symlink(".", dir.path().join(name)).expect("a link");
            symlink(format!("{name}.yaml"), dir.path().join(format!("{name}.yaml"))).expect("a link");
        }
        assert_eq!(take(dir.path()).files.len(), 1);
        assert_eq!(take(&dir.path().join("x.yaml")).files.len(), 0);
    }

    #[test]
    fn a_change_is_told_once_and_a_watch_ends_at_once() {
        let dir = dir();
        let file = dir.path().join("a.yaml");
        write(&file, "1");
        let (events, told) = std::sync::mpsc::channel();
        let watch = Watch::start(vec![file.clone()], take(&file), events).expect("a watch");
        for text in ["two", "three"] {
            write(&file, text);
            let patience = Duration::from_secs(20);
            let Ok(Event::Changed(snapshot)) = told.recv_timeout(patience) else { panic!("{text} was not seen") };
            assert_eq!(snapshot, take(&file));
        }
        drop(watch);
        assert!(told.recv().is_err(), "nothing more, and nobody who could tell");
    }
}
