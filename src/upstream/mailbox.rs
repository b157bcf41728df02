//! What cores send each other: permits, connections with them, and the question for one.
//!
//! A letter travels through the mailbox of the core it is for, and its bell is rung. Every core has a [`CoreMailbox`]: it knows
//! the way to the others, and which of this core's clusters a letter is for. A letter that is lost, because its core has
//! died, gives its permit back as it is dropped; who waits asks again in time.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::connection::Moved;
use super::permits::PermitInTransit;
use crate::base::endpoint::EndpointAddress;
use crate::io::{BufPool, Ringer};
use crate::policy::permits::Breaker;

/// What one core sends another.
#[derive(Debug)]
pub struct CoreMessage {
    /// The cluster, by what all cores share of it.
    pub(super) breaker: Arc<Breaker>,
    pub(super) says: CoreMessageKind,
}

#[derive(Debug)]
pub(super) enum CoreMessageKind {
    /// Here is a permit, and the connection that it is for if the connection could be moved.
    Offer(PermitInTransit, Option<Box<(EndpointAddress, Moved)>>),
    /// This core waits for one.
    Want { core: usize },
}

/// A cluster of this core that letters may be for.
pub(super) trait MailboxUser: std::fmt::Debug {
    /// Whether letters about this breaker are for it.
    fn is_of(&self, breaker: &Arc<Breaker>) -> bool;
    /// A letter for it has come.
    fn read(self: Rc<Self>, says: CoreMessageKind);
    /// It looks once more for what its requests wait for.
    fn look_again(self: Rc<Self>);
    /// The core ends: all permits go back, and the connections that they were for end.
    fn abandon(&self);
}

/// The way to another core.
#[derive(Debug, Clone)]
pub struct Peer {
    core_messages: Sender<CoreMessage>,
    ringer: Arc<Ringer>,
}

impl Peer {
    /// A core that reads `letters` when `ringer` rings.
    #[must_use]
    pub fn new(core_messages: Sender<CoreMessage>, ringer: Arc<Ringer>) -> Self {
        Self { core_messages, ringer }
    }

    /// Sends it; gives it back if that core is no more.
    fn send(&self, core_message: CoreMessage) -> Result<(), CoreMessage> {
        self.core_messages.send(core_message).map_err(|error| error.0)?;
        self.ringer.ring();
        Ok(())
    }
}

/// One core's place among the others.
#[derive(Debug)]
pub struct CoreMailbox {
    /// The core's number, from 0.
    pub(super) core: usize,
    pub(super) buffers: Rc<BufPool>,
    peers: RefCell<Vec<Option<Peer>>>,
    admissions: RefCell<Vec<Weak<dyn MailboxUser>>>,
    abandoned: Cell<bool>,
}

impl CoreMailbox {
    /// That of a core which knows no other one yet.
    #[must_use]
    pub fn new(core: usize, buffers: Rc<BufPool>) -> Rc<Self> {
        Rc::new(Self {
            core,
            buffers,
            peers: RefCell::default(),
            admissions: RefCell::default(),
            abandoned: Cell::new(false),
        })
    }

    /// The way to a core that has begun, in place of the one that had its number before.
    pub fn meet(&self, core: usize, peer: Peer) {
        {
            let mut peers = self.peers.borrow_mut();
            if peers.len() <= core {
                peers.resize(core + 1, None);
            }
            peers[core] = Some(peer);
        }
        self.look_again();
    }

    /// A letter has come.
    pub fn read(&self, core_message: CoreMessage) {
        let found = self.find(|admission| admission.is_of(&core_message.breaker));
        // Without it the core has no plan with this cluster yet, or any more: the letter's permit goes back.
        if let Some(admission) = found {
            admission.read(core_message.says);
        }
    }

    /// What waits looks once more for what it needs. To be called every now and then: it makes good what went astray as
    /// another core died.
    pub fn look_again(&self) {
        self.find(|admission| {
            admission.clone().look_again();
            false
        });
    }

    /// The core ends, whether all is done or in a panic: nothing that belongs to it is dropped for sure. So all permits
    /// go back, and the connections that they were for end here and now. Nothing here may panic.
    pub fn abandon(&self) {
        if self.abandoned.replace(true) {
            return;
        }
        if let Ok(admissions) = self.admissions.try_borrow() {
            admissions.iter().filter_map(Weak::upgrade).for_each(|admission| admission.abandon());
        }
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.get()
    }

    pub(super) fn enter(&self, admission: Weak<dyn MailboxUser>) {
        let mut admissions = self.admissions.borrow_mut();
        admissions.retain(|known| known.strong_count() > 0);
        admissions.push(admission);
    }

    /// Sends a letter; gives it back if there is no such core.
    pub(super) fn send(&self, core: usize, core_message: CoreMessage) -> Result<(), CoreMessage> {
        match self.peers.try_borrow() {
            Ok(peers) => match peers.get(core) {
                Some(Some(peer)) => peer.send(core_message),
                _ => Err(core_message),
            },
            Err(_) => Err(core_message),
        }
    }

    /// The first cluster that `wanted` is true of. Nothing is borrowed while it is asked.
    fn find(&self, mut wanted: impl FnMut(&Rc<dyn MailboxUser>) -> bool) -> Option<Rc<dyn MailboxUser>> {
        let mut at = 0;
        loop {
            let next = self.admissions.borrow().get(at)?.upgrade();
            if let Some(admission) = next.filter(|admission| wanted(admission)) {
                return Some(admission);
            }
            at += 1;
        }
    }
}
