//! How a cluster's connections cross from core to core: the limit that all cores share, and the cores that wait.
//!
//! Connections belong to cores, their number is limited over all of them. So the last connection may be idle on one core
//! while a request waits on another. Such a state must not last:
//!
//! - a core that waits announces it *before* it looks for a permit or a core with an idle connection;
//! - a core that gives back a permit or marks a connection idle announces it *before* it looks for waiting cores.
//!
//! Of two cores that do this at the same time at least one sees the other, because a sequentially consistent fence lies
//! between what each shows and what it looks at. `tests/models/loom_permits.rs` checks that in every order of events.
//! `upstream` decides what a core does then.

use super::cores::CoreSet;
use super::limit::Limit;
use super::sync::{Ordering, fence};

/// The shared state of one cluster's connections, for all cores.
#[derive(Debug)]
pub struct Crossing {
    limit: Limit,
    /// Cores with requests that wait for a connection.
    waiting: CoreSet,
    /// Cores that may have an idle connection. A core takes itself out only when it is asked and has none, so that
    /// marking a connection idle and using it again costs nothing here.
    resting: CoreSet,
}

impl Crossing {
    /// No connection, and no waiting core. `most`: `None` without a limit; `cores`: how many there are.
    #[must_use]
    pub fn new(most: Option<u32>, cores: usize) -> Self {
        Self { limit: Limit::new(most), waiting: CoreSet::new(cores), resting: CoreSet::new(cores) }
    }

    /// The limit of connections, and how many there are.
    #[must_use]
    pub fn limit(&self) -> &Limit {
        &self.limit
    }

    /// `core` waits from now on: it must look once more for what it needs, and is told of free connections later.
    pub fn wait(&self, core: usize) {
        self.waiting.insert(core);
        fence(Ordering::SeqCst);
    }

    /// `core` does not wait any more. It must pass on permits that were sent to it meanwhile.
    pub fn wait_no_more(&self, core: usize) {
        self.waiting.remove(core);
    }

    /// Whether `core` waits.
    #[must_use]
    pub fn waits(&self, core: usize) -> bool {
        self.waiting.contains(core)
    }

    /// A waiting core other than `core`.
    #[must_use]
    pub fn next_waiting(&self, core: usize) -> Option<usize> {
        self.waiting.between(core, core)
    }

    /// `core` may have an idle connection from now on; it must look once more for a [waiting core](Self::next_waiting).
    pub fn rest(&self, core: usize) {
        self.resting.insert(core);
        fence(Ordering::SeqCst);
    }

    /// `core` has no idle connection.
    pub fn rest_no_more(&self, core: usize) {
        self.resting.remove(core);
    }

    /// The next core after `from`, other than `by`, that may have an idle connection for `by`.
    #[must_use]
    pub fn next_with_idle(&self, from: usize, by: usize) -> Option<usize> {
        self.resting.between(from, by)
    }

    /// `core` gives a permit back. If another core waits for one, it is taken again, and is to be sent there.
    #[must_use]
    pub fn free(&self, core: usize) -> Option<usize> {
        self.limit.give_back(1);
        fence(Ordering::SeqCst);
        self.next_waiting(core).filter(|_| self.limit.take())
    }
}
