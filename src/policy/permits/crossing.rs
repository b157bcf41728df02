//! How a cluster's connections cross from core to core: the limit that all cores share, and who waits for what.
//!
//! Connections belong to cores, their number is limited over all of them. So the last connection may lie idle on one core
//! while a request waits on another. Nothing of this kind may last:
//!
//! - whoever waits says so *before* it looks for something to be had (a permit, a core with an idle connection);
//! - whoever has something to give (a permit given back, a connection laid to rest) shows it *before* it looks whether
//!   somebody waits.
//!
//! Of two cores that do this at the same time at least one sees the other, because a sequentially consistent fence lies
//! between what each shows and what it looks at. `tests/models/loom_permits.rs` checks that in every order of events.
//! What a core does with what it sees is `upstream`'s.

use super::cores::CoreSet;
use super::limit::Limit;
use super::sync::{Ordering, fence};

/// The connections of one cluster, as far as all cores have to do with them.
#[derive(Debug)]
pub struct Crossing {
    limit: Limit,
    /// Cores with requests that need a connection and cannot have one.
    waiting: CoreSet,
    /// Cores that may have an idle connection. A core takes itself out only when it is asked and has none, so that
    /// putting a connection to rest and taking it up again costs nothing here.
    resting: CoreSet,
}

impl Crossing {
    /// No connection, and nobody waits. `most`: `None` without a limit; `cores`: how many there are.
    #[must_use]
    pub fn new(most: Option<u32>, cores: usize) -> Self {
        Self { limit: Limit::new(most), waiting: CoreSet::new(cores), resting: CoreSet::new(cores) }
    }

    /// The limit of connections, and how many there are.
    #[must_use]
    pub fn limit(&self) -> &Limit {
        &self.limit
    }

    /// `core` waits from now on: it must look once more for what it needs, and hears of what comes free later.
    pub fn wait(&self, core: usize) {
        self.waiting.insert(core);
        fence(Ordering::SeqCst);
    }

    /// `core` waits for nothing any more. What was sent to it meanwhile it must pass on.
    pub fn wait_no_more(&self, core: usize) {
        self.waiting.remove(core);
    }

    /// Whether `core` waits.
    #[must_use]
    pub fn waits(&self, core: usize) -> bool {
        self.waiting.contains(core)
    }

    /// Another core than `core` that waits.
    #[must_use]
    pub fn who_waits(&self, core: usize) -> Option<usize> {
        self.waiting.between(core, core)
    }

    /// `core` may have an idle connection from now on; it must look once more for [who waits](Self::who_waits).
    pub fn rest(&self, core: usize) {
        self.resting.insert(core);
        fence(Ordering::SeqCst);
    }

    /// `core` has no idle connection.
    pub fn rest_no_more(&self, core: usize) {
        self.resting.remove(core);
    }

    /// The next core after `from` that may have an idle connection for `by`, who is not asked itself.
    #[must_use]
    pub fn next_with_idle(&self, from: usize, by: usize) -> Option<usize> {
        self.resting.between(from, by)
    }

    /// `core` gives a permit back. If another core waits for one, it is taken again, and is to be sent there.
    #[must_use]
    pub fn free(&self, core: usize) -> Option<usize> {
        self.limit.give_back(1);
        fence(Ordering::SeqCst);
        self.who_waits(core).filter(|_| self.limit.take())
    }
}
