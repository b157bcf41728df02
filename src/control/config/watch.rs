//! Watching the configuration's files for changes.
//!
//! Folders are watched, never files: an editor replaces a file by renaming another over it, and Kubernetes swaps a symbolic
//! link above it (`..data`); a watch on the file would stay with the old one. A notice of the kernel only triggers a look. A
//! [`Snapshot`] of the files decides: it must differ from the last one and be unchanged for [`QUIET`], so a file that is
//! being written is not read half-way. Notices of files that are not read, a log in the same folder say, do not wake the
//! thread ([`Relevant`]).

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use notify::event::{CreateKind, ModifyKind};
use notify::{ErrorKind, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tracing::warn;

use super::files::{Id, Snapshot, is_passed_over, is_yaml};
use super::{ConfigEvent, Revision};
use crate::control::Event;

/// For how long files must not change before they are read.
const QUIET: Duration = Duration::from_millis(200);

/// Looks in a row at folders that come and go.
const MOST_LOOKS: usize = 16;

/// Which notices of the kernel are a reason to look.
#[derive(Debug, Clone, Default)]
struct Relevant(Arc<Mutex<RelevantPaths>>);

/// Paths, in the names that the kernel's notices have for them.
#[derive(Debug, Default, PartialEq, Eq)]
struct RelevantPaths {
    /// The links, folders and files on the paths of the files, and the watched folders.
    on_the_way: HashSet<PathBuf>,
    /// The folders of which every file is read that has the right name.
    read: HashSet<PathBuf>,
}

impl Relevant {
    /// Takes the relevant paths from `snapshot`, whose folders are watched by the paths that `watched` has for them. True if
    /// they differ from before: earlier changes of new ones were not noticed.
    fn set(&self, snapshot: &Snapshot, watched: &HashMap<Id, PathBuf>) -> bool {
        let ways = snapshot.on_the_way.iter();
        let ways = ways.filter_map(|(folder, name)| Some(watched.get(folder)?.join(name)));
        let read = snapshot.read.iter().filter_map(|folder| watched.get(folder).cloned());
        let now = RelevantPaths { on_the_way: ways.chain(watched.values().cloned()).collect(), read: read.collect() };
        let mut known = self.known();
        std::mem::replace(&mut *known, now) != *known
    }

    /// Whether a notice of this kind about this path may be about a file that is read.
    fn has(&self, kind: EventKind, path: &Path) -> bool {
        let in_a_read_folder = {
            let known = self.known();
            if known.on_the_way.contains(path) {
                return true;
            }
            path.parent().is_some_and(|parent| known.read.contains(parent))
        };
        let hidden = path.file_name().is_some_and(is_passed_over);
        if !in_a_read_folder || hidden {
            return false;
        }
        let content = match kind {
            _ if is_yaml(path) => return true,
            EventKind::Create(CreateKind::Folder) => return true,
            EventKind::Create(_) => false,
            EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_)) => true,
            // A path that was renamed or removed may have been a folder: its kind is not told.
            _ => return true,
        };
        // A folder that may be entered now, a link that was made.
        let kind = fs::symlink_metadata(path).map(|about| about.file_type());
        kind.is_ok_and(|kind| kind.is_dir() || kind.is_symlink() && !content)
    }

    fn known(&self) -> MutexGuard<'_, RelevantPaths> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
    /// The watch must end.
    Stop,
}

/// A running watch, which tells of changes as [`ConfigEvent::Changed`]; ends when dropped.
#[derive(Debug)]
pub(in crate::control) struct Watch {
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
            // A watching thread that does not listen any more has stopped.
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

    /// The configuration was read in this revision: the files that its documents name are watched from now on.
    pub(in crate::control) fn follow(&self, read: &Revision) {
        let _ = self.hints.send(Hint::Named(read.0.named.clone())); // an ended watch needs no hint
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.hints.send(Hint::Stop); // an ended watch needs no hint
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // its panic was printed
        }
    }
}

/// The state of the watching thread.
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
                if events.send(Event::Config(ConfigEvent::Changed(Revision(held_still)))).is_err() {
                    return;
                }
            }
            match self.hinted.recv() {
                Ok(Hint::Stop) | Err(_) => return,
                Ok(hint) => self.heed(hint),
            }
            now = self.look();
            // Other files in the folders may be written all the time: their notices are taken in bursts.
            if now == last {
                if self.stopped_within(QUIET) {
                    return;
                }
                now = self.look();
            }
        }
    }

    /// A snapshot of the files, whose folders were all watched before it was taken.
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

    /// Watches the folders of `snapshot` and no others. True if more is watched than before.
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
mod tests;
