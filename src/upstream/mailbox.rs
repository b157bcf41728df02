//! Messages between cores: permits, connections with their permits, and requests for one.
//!
//! A message goes into the mailbox of its receiver, whose doorbell is then rung. Every core has a [`CoreMailbox`]: it knows the
//! other cores' mailboxes, and which of this core's clusters a message is for. A message that is lost, because its core has
//! died, gives its permit back as it is dropped; the waiting core asks again later.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::connection::Moved;
use super::permits::PermitInTransit;
use crate::base::endpoint::EndpointAddress;
use crate::io::{BufPool, Ringer};
use crate::policy::permits::Breaker;

/// A message from one core to another.
#[derive(Debug)]
pub struct CoreMessage {
    /// The cluster, by its shared circuit breaker.
    pub(super) breaker: Arc<Breaker>,
    pub(super) kind: CoreMessageKind,
}

#[derive(Debug)]
pub(super) enum CoreMessageKind {
    /// Here is a permit, and the connection that it is for if the connection could be moved.
    Offer(PermitInTransit, Option<Box<(EndpointAddress, Moved)>>),
    /// This core waits for one.
    Want { core: usize },
}

/// A cluster of this core that can receive messages.
pub(super) trait MailboxUser: std::fmt::Debug {
    /// Whether messages about this breaker are for it.
    fn is_of(&self, breaker: &Arc<Breaker>) -> bool;
    /// Takes a message.
    fn read(self: Rc<Self>, kind: CoreMessageKind);
    /// Looks once more for what its requests wait for.
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
    /// A core that reads its mailbox when `ringer` rings.
    #[must_use]
    pub fn new(core_messages: Sender<CoreMessage>, ringer: Arc<Ringer>) -> Self {
        Self { core_messages, ringer }
    }

    /// Sends it; returns it if that core is gone.
    fn send(&self, core_message: CoreMessage) -> Result<(), CoreMessage> {
        self.core_messages.send(core_message).map_err(|error| error.0)?;
        self.ringer.ring();
        Ok(())
    }
}

/// One core's mailbox, and the way to those of the others.
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

    /// Sets the mailbox of a core that has started, in place of the worker that had its number before.
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

    /// Takes a message that has come.
    pub fn read(&self, core_message: CoreMessage) {
        let found = self.find(|admission| admission.is_of(&core_message.breaker));
        // Without a receiver, this core's plan does not have the cluster: the message's permit goes back.
        if let Some(admission) = found {
            admission.read(core_message.kind);
        }
    }

    /// Lets all waiting requests look once more for what they need. To be called every now and then: it makes up for messages
    /// that were lost when another core died.
    pub fn look_again(&self) {
        self.find(|admission| {
            admission.clone().look_again();
            false
        });
    }

    /// The core ends, in good order or in a panic: its objects may never be dropped. So all permits go back here, and their
    /// connections end. This must not panic.
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

    /// Sends a message; returns it if there is no such core.
    pub(super) fn send(&self, core: usize, core_message: CoreMessage) -> Result<(), CoreMessage> {
        match self.peers.try_borrow() {
            Ok(peers) => match peers.get(core) {
                Some(Some(peer)) => peer.send(core_message),
                _ => Err(core_message),
            },
            Err(_) => Err(core_message),
        }
    }

    /// The first cluster that `wanted` is true of. `wanted` is called without a borrow.
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
