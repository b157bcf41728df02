//! One request in flight: its connection, its state, and its scratch memory.
//!
//! A [`Stream`] lives from a parsed head to the end of its response. Its scratch memory and the task state of its life come
//! from the pool of its core ([`StreamPool`]) and go back there, so that a connection between requests holds neither.
//! `router` serves a stream; `downstream` makes it, and gives its connection back to the next request.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::base::id::{EndpointId, ListenerId};
use crate::http::forward::View;
use crate::http::head::{RequestHead, ResponseHead};
use crate::proxy::downstream::connection::ClientConnection;
use crate::proxy::mirror::queue::Mirrors;
use crate::proxy::router::header_scratch::{DownstreamRequest, HeaderScratch};
use crate::proxy::router::parsed_request::ParsedRequest;
use crate::proxy::router::replay::ReplayBuffer;
use crate::proxy::router::stream_info::StreamInfo;
use crate::upstream::Installed;

/// A request under way.
pub(crate) struct Stream<'p> {
    /// The connection, this request's alone: HTTP/1 has one at a time.
    pub(crate) conn: &'p mut ClientConnection,
    pub(crate) scratch: &'p mut Scratch,
    /// The plan of the request, whatever is installed meanwhile.
    pub(crate) installed: &'p Rc<Installed>,
    /// The listener's number in that plan.
    pub(crate) listener: ListenerId,
    /// The parsed request; empty before its head is parsed.
    pub(crate) parsed: ParsedRequest,
    pub(crate) info: StreamInfo<'p>,
}

/// The memory that one request after the other works in.
#[derive(Default)]
pub(crate) struct Scratch {
    /// The request's head; its bytes are at the front of [`ClientConnection::input`].
    pub(crate) head: RequestHead,
    /// The response's head.
    pub(crate) response: ResponseHead,
    /// The rules' header operations on the two.
    pub(crate) headers: HeaderScratch,
    /// The part of the request's body that is kept for another attempt.
    pub(crate) replay: ReplayBuffer,
    /// The mirrored copies of the request.
    pub(crate) mirrors: Mirrors,
    /// The endpoints that have been attempted, but for the one under way.
    pub(crate) tried: Vec<EndpointId>,
    /// The response ends with the connection: the client has no other end of it.
    pub(crate) unframed: bool,
}

impl Scratch {
    /// Forgets the last request.
    fn clear(&mut self) {
        self.head.clear();
        self.headers.clear();
        self.tried.clear();
        self.unframed = false;
    }
}

impl<'p> Stream<'p> {
    /// A stream whose first byte was seen at `began`.
    pub(crate) fn new(
        conn: &'p mut ClientConnection,
        scratch: &'p mut Scratch,
        (installed, listener): (&'p Rc<Installed>, ListenerId),
        began: Instant,
    ) -> Self {
        Self { conn, scratch, installed, listener, parsed: ParsedRequest::default(), info: StreamInfo::new(began) }
    }

    /// The client and its request, as they came.
    pub(crate) fn downstream(&self) -> DownstreamRequest<'_> {
        DownstreamRequest::new(self.conn, &self.scratch.head)
    }

    /// The request as it goes upstream, before rules change it.
    pub(crate) fn view(&self) -> View<'_> {
        self.downstream().view(&self.parsed, &self.scratch.headers.completion)
    }
}

/// A connection and the scratch of a request, which belong to the request's future while it runs.
pub(crate) type Parts = (Box<ClientConnection>, Box<Scratch>);

/// The state of one request's life, boxed once and used by one request after the other; the type of the future stays in here.
trait Slot {
    fn start(&mut self, parts: Parts, began: Instant);
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Parts, bool)>;
}

struct FutureSlot<S, F> {
    serve: S,
    future: Pin<Box<Option<F>>>,
}

impl<S, F> Slot for FutureSlot<S, F>
where
    S: Fn(Parts, Instant) -> F,
    F: Future<Output = (Parts, bool)>,
{
    fn start(&mut self, parts: Parts, began: Instant) {
        self.future.set(Some((self.serve)(parts, began)));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Parts, bool)> {
        let Some(future) = self.future.as_mut().as_pin_mut() else { return Poll::Pending };
        let Poll::Ready(done) = future.poll(cx) else { return Poll::Pending };
        self.future.set(None);
        Poll::Ready(done)
    }
}

/// Free scratch memory and free task states of one core: as many as it has had requests at once.
#[derive(Default)]
pub struct StreamPool {
    #[allow(clippy::vec_box, reason = "it goes from hand to hand with a request: only a pointer is to move")]
    scratch: RefCell<Vec<Box<Scratch>>>,
    slots: RefCell<Vec<Box<dyn Slot>>>,
}

/// Free ones that a core keeps of each: about 8 MiB.
const KEPT: usize = 1024;

impl StreamPool {
    /// Scratch memory for a request, empty.
    pub(crate) fn scratch(&self) -> Box<Scratch> {
        self.scratch.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes it back.
    pub(crate) fn put_scratch(&self, mut scratch: Box<Scratch>) {
        let mut free = self.scratch.borrow_mut();
        if free.len() < KEPT {
            scratch.clear();
            free.push(scratch);
        }
    }

    /// Runs `serve`, which must be the same function at every call, in a state of the pool. Dropped half-way, the state goes
    /// with the request.
    pub(crate) async fn run<S, F>(&self, serve: S, parts: Parts, began: Instant) -> (Parts, bool)
    where
        S: Fn(Parts, Instant) -> F + 'static,
        F: Future<Output = (Parts, bool)> + 'static,
    {
        let free = self.slots.borrow_mut().pop();
        let mut slot = free.unwrap_or_else(|| Box::new(FutureSlot { serve, future: Box::pin(None) }));
        slot.start(parts, began);
        let done = poll_fn(|cx| slot.poll(cx)).await;
        let mut free = self.slots.borrow_mut();
        if free.len() < KEPT {
            free.push(slot);
        }
        done
    }
}
