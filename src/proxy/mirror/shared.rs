//! The state that all mirrored requests of one core share: their limit, the memory of their queues, and the differences
//! that are not reported to control yet.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::IpAddr;

use crate::base::limits::MIRROR_DIFFS;
use crate::http::field_list::FieldList;
use crate::proxy::mirror::compare::Difference;

/// A report of a core on its mirrors.
#[derive(Debug)]
pub enum MirrorReport {
    /// A mirror responded differently. Reported with the next tick, and only the last [`MIRROR_DIFFS`]: others would not
    /// be shown.
    Differs(Box<Difference>),
    /// A copy's task panicked and was closed.
    Panicked,
}

/// Where these reports go. Called on the worker's thread, so it must not block.
pub type TellMirrors = Box<dyn Fn(MirrorReport) + Send>;

/// The state that all copies of one core share.
pub(crate) struct Mirroring {
    /// This host, as `x-forwarded-for` of copies names it.
    pub(crate) own_address: Box<str>,
    /// Memory for the heads of copies.
    pub(crate) heads: FieldLists,
    pub(crate) most: usize,
    pub(crate) running: Cell<usize>,
    /// Memory of pieces that mirrors have not taken.
    pub(crate) queued: Cell<usize>,
    /// The last differences since the last tick, the newest behind.
    differences: RefCell<VecDeque<Difference>>,
    tell: TellMirrors,
}

/// Free field lists of one core.
#[derive(Default)]
pub(crate) struct FieldLists(RefCell<Vec<FieldList>>);

impl FieldLists {
    /// A list, empty.
    pub(crate) fn take(&self) -> FieldList {
        self.0.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes it back. There are never more than copies at once.
    pub(crate) fn put(&self, mut list: FieldList) {
        list.clear();
        self.0.borrow_mut().push(list);
    }
}

impl Mirroring {
    /// Room for `most` copies.
    pub(crate) fn new(own_address: IpAddr, most: usize, tell: TellMirrors) -> Self {
        let (heads, running, queued, differences) = Default::default();
        Self { own_address: own_address.to_string().into(), heads, most, running, queued, differences, tell }
    }

    /// The periodic work: tells of the differences.
    pub(crate) fn tick(&self) {
        let differences = std::mem::take(&mut *self.differences.borrow_mut());
        differences.into_iter().for_each(|difference| (self.tell)(MirrorReport::Differs(Box::new(difference))));
    }

    /// Notes a difference.
    pub(crate) fn differs(&self, difference: Difference) {
        let mut differences = self.differences.borrow_mut();
        if differences.len() >= MIRROR_DIFFS {
            differences.pop_front();
        }
        differences.push_back(difference);
    }

    /// Tells that a copy's task panicked.
    pub(crate) fn panicked(&self) {
        (self.tell)(MirrorReport::Panicked);
    }
}
