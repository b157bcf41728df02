//! The queue between a request and its mirrored copies: pieces of the body for a copy, and how the request ended.
//!
//! A request never waits for its copies. The pieces that a copy has not taken yet are bounded, for each copy and for the
//! core; a copy that would pass a bound is given up. Written by `relay` (pieces) and `route` (the end), read by `task`.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::hash::Hasher as _;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use twox_hash::XxHash64;

use crate::base::limits::{BODY_BUFFER_BYTES, MIRROR_BODY_BYTES, MIRROR_CORE_BYTES, MIRROR_PATIENCE};
use crate::io::{self, Buf, Size, Timer};
use crate::plan::Target;
use crate::proxy::core::Core;
use crate::proxy::mirror::compare::{ObservedAnswer, ObservedResponse};
use crate::proxy::router::body::roomy;
use crate::proxy::router::termination::Termination;

/// A copy's permit in the core's limit of copies, given back on drop.
pub(crate) struct MirrorPermit(Rc<Core>);

impl MirrorPermit {
    pub(crate) fn take(core: &Rc<Core>) -> Option<Self> {
        let running = &core.mirroring.running;
        (running.get() < core.mirroring.most).then(|| {
            running.set(running.get() + 1);
            Self(core.clone())
        })
    }
}

impl Drop for MirrorPermit {
    fn drop(&mut self) {
        let running = &self.0.mirroring.running;
        running.set(running.get() - 1);
    }
}

/// How far a request has got, as its copy sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// More of its body is to come.
    Coming,
    /// All of it is there.
    Whole,
    /// It ended before it was whole.
    Cut,
    /// The copy has fallen too far behind.
    TooSlow,
    /// The copy takes no more.
    Refused,
}

/// Why a copy ends before its answer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MirrorAbort {
    /// The request never became whole.
    Cut,
    /// The mirror took the body too slowly.
    TooSlow,
    /// The route's timeout passed.
    TimedOut,
    /// The request ended long ago.
    Outlived,
}

/// The queue between a request and one of its copies: pieces for the copy, and the request's end. Both are tasks of one
/// core, and neither waits while it holds a borrow.
pub(crate) struct MirrorQueue {
    core: Rc<Core>,
    pieces: RefCell<VecDeque<Buf>>,
    /// Memory that is accounted for in the core: that of `pieces`, and of the one being sent.
    held: Cell<usize>,
    stage: Cell<Stage>,
    /// When the request was whole.
    ended: Cell<Option<Instant>>,
    /// When the request was over, its answer included.
    over: Cell<Option<Instant>>,
    /// The client's response.
    original: Cell<Option<ObservedResponse>>,
    copy: RefCell<Option<Waker>>,
}

impl MirrorQueue {
    pub(crate) fn new(core: Rc<Core>, ended: Option<Instant>, whole: bool) -> Rc<Self> {
        Rc::new(Self {
            core,
            pieces: RefCell::default(),
            held: Cell::new(0),
            stage: Cell::new(if whole { Stage::Whole } else { Stage::Coming }),
            ended: Cell::new(ended),
            over: Cell::new(None),
            original: Cell::new(None),
            copy: RefCell::new(None),
        })
    }

    /// When the request was whole.
    pub(crate) fn ended(&self) -> Option<Instant> {
        self.ended.get()
    }

    /// Leaves a piece for the copy.
    fn push(&self, bytes: &[u8]) {
        if self.stage.get() != Stage::Coming || bytes.is_empty() {
            return;
        }
        let mut pieces = self.pieces.borrow_mut();
        if let Some(last) = pieces.back_mut().filter(|last| last.room() >= bytes.len()) {
            last.extend(bytes);
        } else if self.hold() {
            let mut piece = roomy(&self.core.buffers, Size::Body);
            piece.extend(bytes);
            pieces.push_back(piece);
        } else {
            drop(pieces);
            self.give_up(Stage::TooSlow);
        }
        self.wake();
    }

    /// All of the request is there.
    fn whole(&self, now: Instant) {
        if self.stage.get() == Stage::Coming {
            self.stage.set(Stage::Whole);
        }
        self.ended.set(Some(now));
        self.wake();
    }

    /// Notes the end of the request, and the client's response.
    fn leave(&self, now: Instant, heard: ObservedResponse) {
        if self.stage.get() == Stage::Coming {
            self.give_up(Stage::Cut);
        }
        self.over.set(Some(now));
        self.original.set(Some(heard));
        self.wake();
    }

    /// The copy takes no more.
    pub(crate) fn refuse(&self) {
        if matches!(self.stage.get(), Stage::Coming | Stage::Whole) {
            self.give_up(Stage::Refused);
        }
    }

    fn give_up(&self, stage: Stage) {
        self.stage.set(stage);
        for piece in self.pieces.borrow_mut().drain(..) {
            self.sent(piece);
        }
    }

    /// Takes memory for another piece, if there is some.
    fn hold(&self) -> bool {
        let queued = &self.core.mirroring.queued;
        let (held, all) = (self.held.get() + BODY_BUFFER_BYTES, queued.get() + BODY_BUFFER_BYTES);
        let fits = held <= MIRROR_BODY_BYTES && all <= MIRROR_CORE_BYTES;
        if fits {
            self.held.set(held);
            queued.set(all);
        }
        fits
    }

    /// Takes the buffer of a piece back.
    pub(crate) fn sent(&self, piece: Buf) {
        self.core.buffers.put(piece);
        self.release(BODY_BUFFER_BYTES);
    }

    fn release(&self, bytes: usize) {
        let queued = &self.core.mirroring.queued;
        self.held.set(self.held.get() - bytes);
        queued.set(queued.get() - bytes);
    }

    fn wake(&self) {
        let copy = self.copy.borrow_mut().take();
        if let Some(copy) = copy {
            copy.wake();
        }
    }

    /// Wakes the copy's task when the queue changes. All changes share one waker.
    fn watch(&self, cx: &Context<'_>) {
        let mut copy = self.copy.borrow_mut();
        if !copy.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *copy = Some(cx.waker().clone());
        }
    }

    /// The next piece; `None` once all of the request has been taken. Never anything of a request that is
    /// cut: see [`MirrorQueue::poll_doom`].
    pub(crate) fn poll_piece(&self, cx: &Context<'_>) -> Poll<Option<Buf>> {
        self.watch(cx);
        match self.pieces.borrow_mut().pop_front() {
            Some(piece) => Poll::Ready(Some(piece)),
            None if self.stage.get() == Stage::Whole => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    /// Whether the copy must end now, and if not when it will have to. `timeout` is the route's.
    pub(crate) fn poll_abort(
        &self,
        timeout: Option<Duration>,
        timer: &mut Timer,
        cx: &mut Context<'_>,
    ) -> Poll<MirrorAbort> {
        self.watch(cx);
        match self.stage.get() {
            Stage::Cut => return Poll::Ready(MirrorAbort::Cut),
            Stage::TooSlow => return Poll::Ready(MirrorAbort::TooSlow),
            Stage::Coming | Stage::Whole | Stage::Refused => {}
        }
        let (end, abort) = match timeout {
            Some(timeout) => (self.ended.get().map(|ended| ended + timeout), MirrorAbort::TimedOut),
            None => (self.over.get().map(|over| over + MIRROR_PATIENCE), MirrorAbort::Outlived),
        };
        match end {
            Some(end) => timer.poll_until(end, cx).map(|()| abort),
            None => Poll::Pending,
        }
    }

    /// The client's response, once it is known.
    pub(crate) fn poll_original(&self, cx: &Context<'_>) -> Poll<ObservedResponse> {
        self.watch(cx);
        self.original.get().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for MirrorQueue {
    fn drop(&mut self) {
        for piece in self.pieces.get_mut().drain(..) {
            self.core.buffers.put(piece);
        }
        self.release(self.held.get());
    }
}

/// The copies of the request in flight; empty if none were drawn.
#[derive(Default)]
pub(crate) struct Mirrors(Option<Box<Copies>>);

struct Copies {
    queues: Vec<Rc<MirrorQueue>>,
    begun: Instant,
    /// The digest of the response's body, if a mirror compares it.
    digest: Option<RefCell<XxHash64>>,
}

impl Mirrors {
    /// The request's side of its copies; `digest`: a mirror compares the response's body.
    pub(crate) fn new(queues: Vec<Rc<MirrorQueue>>, begun: Instant, digest: bool) -> Self {
        let digest = digest.then(|| RefCell::new(XxHash64::with_seed(0)));
        Self(Some(Box::new(Copies { queues, begun, digest })))
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// A piece of the request's body.
    #[inline]
    pub(crate) fn piece(&self, bytes: &[u8]) {
        if let Some(copies) = &self.0 {
            copies.queues.iter().for_each(|queue| queue.push(bytes));
        }
    }

    /// All of the request has been read.
    #[inline]
    pub(crate) fn whole(&self, now: Instant) {
        if let Some(copies) = &self.0 {
            copies.queues.iter().for_each(|queue| queue.whole(now));
        }
    }

    /// A piece of the body of the response.
    #[inline]
    pub(crate) fn answered(&self, piece: &[u8]) {
        if let Some(digest) = self.0.as_ref().and_then(|copies| copies.digest.as_ref()) {
            digest.borrow_mut().write(piece);
        }
    }

    /// The request is over, having ended so. `cluster` is the original's.
    pub(crate) fn leave(&mut self, cluster: &Target, ended: &Termination, status: u16) {
        let Some(copies) = self.0.take() else { return };
        let now = io::now();
        let answer =
            ObservedAnswer::of(ended, status, || copies.digest.as_ref().map_or(0, |digest| digest.borrow().finish()));
        let cluster = match cluster {
            Target::Known(id) => Some(*id),
            Target::Missing(_) => None,
        };
        let heard = ObservedResponse { answer, took: now.duration_since(copies.begun), cluster };
        copies.queues.iter().for_each(|queue| queue.leave(now, heard));
    }
}

impl Drop for Copies {
    /// A connection's task that is dropped must leave no copy behind that waits for it.
    fn drop(&mut self) {
        let now = io::now();
        for queue in self.queues.drain(..).filter(|queue| queue.over.get().is_none()) {
            queue.leave(
                now,
                ObservedResponse {
                    answer: ObservedAnswer::Unknown,
                    took: now.duration_since(self.begun),
                    cluster: None,
                },
            );
        }
    }
}
