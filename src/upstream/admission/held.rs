//! What a core holds of a limited cluster: permits, and the entries of open connections. Each goes back where it came from
//! when it is dropped.

use std::rc::Rc;
use std::time::Instant;

use super::Admission;
use crate::io::now;
use crate::upstream::handoff::Loose;

/// What a permit is for; also its place in [`Admission::held`].
#[derive(Debug, Clone, Copy)]
pub(in crate::upstream) enum For {
    Connection,
    Pending,
    Request,
    Retry,
}

/// A permit of this core for anything but a connection; given back when it is dropped.
#[derive(Debug)]
pub struct Permit {
    pub(super) admission: Rc<Admission>,
    pub(super) of: For,
    /// Of a request that counts on when it has ended.
    pub(super) began: Option<Instant>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.admission.gives_up(self.of) {
            self.admission.limit(self.of).give_back(1);
        }
        if let (Some(began), Some(interval)) = (self.began, self.admission.interval()) {
            self.admission.breaker.recent.ended(began, now(), interval);
        }
    }
}

/// A permit of this core for a connection. Dropped, it goes to whoever waits for it.
#[derive(Debug)]
pub(in crate::upstream) struct Place {
    admission: Rc<Admission>,
    held: bool,
}

impl Place {
    /// A permit that is taken, and counted as this core's.
    pub(super) fn new(admission: &Rc<Admission>) -> Self {
        Self { admission: admission.clone(), held: true }
    }

    pub(in crate::upstream) fn admission(&self) -> &Rc<Admission> {
        &self.admission
    }

    /// Takes the permit out of this core's hands.
    pub(super) fn leave(mut self) -> Loose {
        self.held = false;
        self.admission.gives_up(For::Connection);
        Loose::new(self.admission.breaker.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.held {
            self.admission.pass_on(false);
        }
    }
}

/// A connection's entry in the table of those that are open.
#[derive(Debug)]
pub(in crate::upstream) struct Listed {
    pub(super) admission: Rc<Admission>,
    pub(super) key: usize,
}

impl Drop for Listed {
    fn drop(&mut self) {
        let handle = self.admission.open.borrow_mut().try_remove(self.key);
        drop(handle);
    }
}
