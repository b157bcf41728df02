//! A listener of one core as its connections know it: its listener in the current plan, and after a reload that removed
//! it, the plan that had it last.
//!
//! Connections outlive plans, and a plan numbers its listeners anew. So a connection holds the handle of its listener, and
//! the worker updates the handle when a new plan is installed.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::base::id::ListenerId;
use crate::upstream::Installed;

/// A listener as its connections know it.
#[derive(Debug)]
pub struct ListenerHandle {
    listener: Cell<ListenerId>,
    /// Set once the listener has vanished.
    last: RefCell<Option<Rc<Installed>>>,
}

impl ListenerHandle {
    /// The handle of a listener of the plan in force.
    #[must_use]
    pub fn open(listener: ListenerId) -> Rc<Self> {
        Rc::new(Self { listener: Cell::new(listener), last: RefCell::default() })
    }

    /// A new plan is in force, in which the listener has this number.
    pub fn renumber(&self, listener: ListenerId) {
        self.listener.set(listener);
    }

    /// Marks the listener as removed by the new plan; `last` is the one before it. Connections end with their request in
    /// flight, which is served by `last`.
    pub fn close(&self, last: Rc<Installed>) {
        *self.last.borrow_mut() = Some(last);
    }

    /// Whether the listener has vanished.
    pub(crate) fn closed(&self) -> bool {
        self.last.borrow().is_some()
    }

    /// The listener's number in the plan that has it.
    pub(crate) fn listener(&self) -> ListenerId {
        self.listener.get()
    }

    /// The plan that had the listener last, if it has vanished.
    pub(crate) fn last(&self) -> Option<Rc<Installed>> {
        self.last.borrow().clone()
    }
}
