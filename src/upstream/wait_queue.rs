//! The requests of one core that wait for a connection to a cluster, in the order in which they came.

use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;

use super::connection::Upstream;
use super::endpoint::LocalEndpoint;
use super::error::ConnectError;
use crate::io::ServerName;

/// The queue of one cluster on one core. There is no order over all cores: each has a queue of its own, and free
/// connections go from queue to queue.
#[derive(Debug, Default)]
pub(super) struct WaitQueue {
    last: u64,
    waiters: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    endpoint: Rc<LocalEndpoint>,
    /// Over TLS, the expected server name.
    name: Option<ServerName<'static>>,
    /// It takes no connection that another request has used.
    fresh: bool,
    waker: Option<Waker>,
    state: WaiterState,
}

#[derive(Debug)]
enum WaiterState {
    Waiting,
    Done(Result<Box<Upstream>, ConnectError>),
}

/// The state of a wait.
pub(super) enum WaitResult {
    NotYet,
    Over(Result<Box<Upstream>, ConnectError>),
}

/// How far a request had come that leaves the queue.
pub(super) enum Left {
    Waiting,
    /// The connection had come already, and was not taken.
    With(Box<Upstream>),
    Nothing,
}

impl WaitQueue {
    /// Lines up; the ticket is for [`WaitQueue::poll`] and [`WaitQueue::leave`].
    pub(super) fn join(&mut self, endpoint: Rc<LocalEndpoint>, name: Option<ServerName<'static>>, fresh: bool) -> u64 {
        self.last += 1;
        let (ticket, waker, state) = (self.last, None, WaiterState::Waiting);
        self.waiters.push_back(Waiter { ticket, endpoint, name, fresh, waker, state });
        self.last
    }

    fn position(&self, ticket: u64) -> Option<usize> {
        self.waiters.binary_search_by_key(&ticket, |waiter| waiter.ticket).ok()
    }

    /// The state of a wait; any state but waiting ends it.
    pub(super) fn poll(&mut self, ticket: u64, waker: &Waker) -> WaitResult {
        let Some(at) = self.position(ticket) else { return WaitResult::NotYet };
        let waiter = &mut self.waiters[at];
        if matches!(waiter.state, WaiterState::Waiting) {
            if !waiter.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
                waiter.waker = Some(waker.clone());
            }
            return WaitResult::NotYet;
        }
        match self.waiters.remove(at).map(|waiter| waiter.state) {
            Some(WaiterState::Done(done)) => WaitResult::Over(done),
            _ => WaitResult::NotYet,
        }
    }

    /// Leaves the line.
    pub(super) fn leave(&mut self, ticket: u64) -> Left {
        let left = self.position(ticket).and_then(|at| self.waiters.remove(at));
        match left.map(|waiter| waiter.state) {
            Some(WaiterState::Waiting) => Left::Waiting,
            Some(WaiterState::Done(Ok(upstream))) => Left::With(upstream),
            Some(WaiterState::Done(Err(_))) | None => Left::Nothing,
        }
    }

    /// The oldest waiter for a connection to `endpoint` that can use this one.
    pub(super) fn first_for(&self, endpoint: &Rc<LocalEndpoint>, upstream: &Upstream) -> Option<u64> {
        let takes = |waiter: &&Waiter| {
            waiter.is_for(endpoint) && !(waiter.fresh && upstream.has_served()) && upstream.is_for(waiter.name.as_ref())
        };
        self.waiters.iter().find(takes).map(|waiter| waiter.ticket)
    }

    /// The oldest waiter that no connection is being opened for: its endpoint and server name.
    pub(super) fn oldest_in_need(&self) -> Option<(Rc<LocalEndpoint>, Option<ServerName<'static>>)> {
        let in_need = |waiter: &&Waiter| matches!(waiter.state, WaiterState::Waiting) && waiter.endpoint.need() > 0;
        self.waiters.iter().find(in_need).map(|waiter| (waiter.endpoint.clone(), waiter.name.clone()))
    }

    /// Gives a connection to the holder of this ticket, and returns the waker to call.
    pub(super) fn serve(&mut self, ticket: u64, upstream: Box<Upstream>) -> Option<Waker> {
        let at = self.position(ticket)?;
        let waiter = &mut self.waiters[at];
        waiter.state = WaiterState::Done(Ok(upstream));
        waiter.waker.take()
    }

    /// Fails all waiters for `endpoint`, which cannot be reached. Calls `wake` for each, and returns how many there
    /// were.
    pub(super) fn fail(
        &mut self,
        endpoint: &Rc<LocalEndpoint>,
        error: &ConnectError,
        mut wake: impl FnMut(Waker),
    ) -> u32 {
        let mut failed = 0;
        for waiter in self.waiters.iter_mut().filter(|waiter| waiter.is_for(endpoint)) {
            waiter.state = WaiterState::Done(Err(error.again()));
            failed += 1;
            if let Some(waker) = waiter.waker.take() {
                wake(waker);
            }
        }
        failed
    }
}

impl Waiter {
    /// Whether it still waits for a connection to `endpoint`.
    fn is_for(&self, endpoint: &Rc<LocalEndpoint>) -> bool {
        matches!(self.state, WaiterState::Waiting) && Rc::ptr_eq(&self.endpoint, endpoint)
    }
}
