//! A core's holdings in a limited cluster: permits, and the entries of open connections. Each goes back to its owner when
//! it is dropped.
//!
//! The owner is `admission`; here it is a trait that takes things back, so that a connection can hold its permit without
//! knowing how connections are granted.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use crate::policy::permits::Breaker;

/// The kinds of permits; also their index in the owner's counts.
#[derive(Debug, Clone, Copy)]
pub(super) enum PermitKind {
    Connection,
    Pending,
    Request,
    Retry,
}

/// Takes back a core's holdings in a limited cluster.
pub(super) trait PermitOwner: std::fmt::Debug {
    /// A permit for anything but a connection is given back; `began`: of a request that counts on when it has ended.
    fn take_back(&self, of: PermitKind, began: Option<Instant>);
    /// The permit of a connection leaves this core, for another one or for good.
    fn leave(&self) -> PermitInTransit;
    /// A connection's permit is free: a waiter gets it.
    fn pass_on(self: Rc<Self>);
    /// A connection is open no more.
    fn unlist(&self, key: usize);
}

/// A permit of this core for anything but a connection; given back when it is dropped.
#[derive(Debug)]
pub struct Permit {
    owner: Rc<dyn PermitOwner>,
    of: PermitKind,
    began: Option<Instant>,
}

impl Permit {
    /// A permit that is taken, and counted as this core's.
    pub(super) fn new(owner: Rc<dyn PermitOwner>, of: PermitKind) -> Self {
        Self { owner, of, began: None }
    }

    /// That of a request which counts on for a while when it has ended.
    pub(super) fn counting_from(mut self, began: Option<Instant>) -> Self {
        self.began = began;
        self
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.owner.take_back(self.of, self.began);
    }
}

/// A permit of this core for a connection. Dropped, it goes to the next waiter.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    owner: Option<Rc<dyn PermitOwner>>,
}

impl ConnectionPermit {
    /// A permit that is taken, and counted as this core's.
    pub(super) fn new(owner: Rc<dyn PermitOwner>) -> Self {
        Self { owner: Some(owner) }
    }

    /// Takes the permit out of this core's hands.
    pub(super) fn leave(mut self) -> Option<PermitInTransit> {
        Some(self.owner.take()?.leave())
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        if let Some(owner) = self.owner.take() {
            owner.pass_on();
        }
    }
}

/// A connection's entry in the table of open connections.
#[derive(Debug)]
pub(super) struct OpenEntry {
    owner: Rc<dyn PermitOwner>,
    key: usize,
}

impl OpenEntry {
    /// The entry with this key.
    pub(super) fn new(owner: Rc<dyn PermitOwner>, key: usize) -> Self {
        Self { owner, key }
    }
}

impl Drop for OpenEntry {
    fn drop(&mut self) {
        self.owner.unlist(self.key);
    }
}

/// A permit for a connection, in transit between cores. Dropped, it is given back.
#[derive(Debug)]
pub(super) struct PermitInTransit(Option<Arc<Breaker>>);

impl PermitInTransit {
    /// A permit that has been taken.
    pub(super) fn new(breaker: Arc<Breaker>) -> Self {
        Self(Some(breaker))
    }

    /// It is the taker's to give back.
    pub(super) fn take(mut self) {
        self.0 = None;
    }
}

impl Drop for PermitInTransit {
    fn drop(&mut self) {
        if let Some(breaker) = &self.0 {
            breaker.connections.limit().give_back(1);
        }
    }
}
