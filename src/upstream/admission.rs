//! Which request gets a connection to a limited cluster, and when: permits, the queue of waiting requests, connections that
//! are being opened.
//!
//! One [`Admission`] is one core's side of one cluster whose circuit breaker has ever had a limit; clusters without one know
//! nothing of all this. The limits are exact over all cores (`policy::permits`). A request that finds no idle connection
//! joins the queue of its core and counts as pending, also while a connection is being opened: connections belong to the
//! cluster, not to the request that they were opened for, and serve the longest waiter for their endpoint (Envoy's
//! `conn_pool_base`).
//!
//! A connection that becomes free goes, in this order: to a local waiter for that endpoint; to another core with waiters; to
//! a local waiter for another endpoint (the connection is closed, its permit opens another one); to the idle list. After
//! [`MOST_IN_A_ROW`] grants by the first of these rules the longest waiter goes next. A connection that has come from
//! another core goes to a local waiter first, or it would move to and fro. Between the queues of the cores fairness is
//! approximate.
//!
//! It must never know a client, a route, or what a request is.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use slab::Slab;

use super::connect::open;
use super::connection::{Moved, Upstream};
use super::dynamic::DynamicEndpoints;
use super::endpoint::LocalEndpoint;
use super::error::{ConnectError, NoConnection, Overflow};
use super::mailbox::{CoreMailbox, CoreMessage, CoreMessageKind, MailboxUser};
use super::permits::{ConnectionPermit, OpenEntry, Permit, PermitInTransit, PermitKind, PermitOwner};
use super::settings::ConnectionSettings;
use super::shared::SharedCluster;
use super::wait_queue::{self, Left, WaitQueue};
use crate::base::endpoint::EndpointAddress;
use crate::io::{self, Handle, ServerName, now};
use crate::observe::stats::ClusterStats;
use crate::plan::Cluster;
use crate::policy::permits::{Breaker, Limit};

/// Grants in a row to local waiters for the same endpoint, while longer waiters or those of other cores get none.
const MOST_IN_A_ROW: u32 = 8;

/// One core's side of a limited cluster. Reloads keep it.
#[derive(Debug)]
pub(super) struct Admission {
    breaker: Arc<Breaker>,
    core_mailbox: Rc<CoreMailbox>,
    stats: Arc<ClusterStats>,
    /// The cluster's shared state in the current plan.
    shared: RefCell<Arc<SharedCluster>>,
    settings: Cell<ConnectionSettings>,
    endpoints: RefCell<Vec<Weak<LocalEndpoint>>>,
    dynamic: RefCell<Weak<DynamicEndpoints>>,
    queue: RefCell<WaitQueue>,
    /// Waiting requests that no connection is being opened for.
    in_need: Cell<u32>,
    /// Whether the other cores know that this one waits.
    waits: Cell<bool>,
    /// Whether the other cores believe that this one has idle connections.
    rests: Cell<bool>,
    in_a_row: Cell<u32>,
    held: [Cell<u32>; 4],
    /// The open connections, to be ended should the core die.
    open: RefCell<Slab<Handle>>,
}

impl Admission {
    pub(super) fn new(
        breaker: &Arc<Breaker>,
        core_mailbox: &Rc<CoreMailbox>,
        stats: &Arc<ClusterStats>,
        shared: &Arc<SharedCluster>,
        cluster: &Cluster,
    ) -> Rc<Self> {
        let new = Rc::new(Self {
            breaker: breaker.clone(),
            core_mailbox: core_mailbox.clone(),
            stats: stats.clone(),
            shared: RefCell::new(shared.clone()),
            settings: Cell::new(ConnectionSettings::of(cluster)),
            endpoints: RefCell::default(),
            dynamic: RefCell::default(),
            queue: RefCell::default(),
            in_need: Cell::new(0),
            waits: Cell::new(false),
            rests: Cell::new(false),
            in_a_row: Cell::new(0),
            held: Default::default(),
            open: RefCell::default(),
        });
        let member: Weak<dyn MailboxUser> = Rc::<Self>::downgrade(&new);
        new.core_mailbox.enter(member);
        new
    }

    /// The cluster of the plan that is in force from now on.
    pub(super) fn install(
        self: &Rc<Self>,
        cluster: &Cluster,
        shared: &Arc<SharedCluster>,
        endpoints: &[Rc<LocalEndpoint>],
        dynamic: &Rc<DynamicEndpoints>,
    ) {
        self.settings.set(ConnectionSettings::of(cluster));
        self.shared.borrow_mut().clone_from(shared);
        *self.dynamic.borrow_mut() = Rc::downgrade(dynamic);
        *self.endpoints.borrow_mut() = endpoints.iter().map(Rc::downgrade).collect();
        self.pump(); // a limit may have been raised
    }

    fn limit(&self, of: PermitKind) -> &Limit {
        match of {
            PermitKind::Connection => self.breaker.connections.limit(),
            PermitKind::Pending => &self.breaker.pending,
            PermitKind::Request => &self.breaker.requests,
            PermitKind::Retry => &self.breaker.retries,
        }
    }

    fn count(&self, of: PermitKind) -> &Cell<u32> {
        &self.held[of as usize]
    }

    /// Takes a permit for anything but a connection.
    pub(super) fn take(self: &Rc<Self>, of: PermitKind) -> Result<Permit, Overflow> {
        if !self.limit(of).take() {
            return Err(Overflow);
        }
        self.hold(of);
        Ok(Permit::new(self.clone(), of))
    }

    /// For how long requests count towards the retry budget, where that is longer than they take.
    fn interval(&self) -> Option<Duration> {
        Some(self.settings.get().retry_budget?.interval).filter(|interval| !interval.is_zero())
    }

    /// Takes the permit of a retry.
    pub(super) fn take_retry(self: &Rc<Self>) -> Result<Permit, Overflow> {
        if !self.breaker.take_retry(self.settings.get().retry_budget.as_ref(), now()) {
            return Err(Overflow);
        }
        self.hold(PermitKind::Retry);
        Ok(Permit::new(self.clone(), PermitKind::Retry))
    }

    fn take_connection_permit(self: &Rc<Self>) -> Option<ConnectionPermit> {
        let taken = self.limit(PermitKind::Connection).take();
        taken.then(|| {
            self.hold(PermitKind::Connection);
            ConnectionPermit::new(self.clone())
        })
    }

    /// A permit for a connection, if need be that of an idle one.
    pub(super) fn take_or_free_permit(self: &Rc<Self>) -> Result<ConnectionPermit, Overflow> {
        self.take_connection_permit().or_else(|| self.give_up_idle()).ok_or_else(|| {
            self.stats.upstream_cx_overflow.inc();
            Overflow
        })
    }

    /// Has a new connection hold its permit.
    pub(super) fn enter(self: &Rc<Self>, upstream: &mut Upstream, permit: ConnectionPermit) {
        upstream.hold(permit, self.list(&upstream.handle));
    }

    /// A permit that is taken is this core's from now on.
    fn hold(&self, of: PermitKind) {
        self.count(of).set(self.count(of).get() + 1);
    }

    /// A permit is not this core's any more. False if it was given back already, because the core has died.
    fn gives_up(&self, of: PermitKind) -> bool {
        if self.core_mailbox.is_abandoned() {
            return false;
        }
        self.count(of).set(self.count(of).get() - 1);
        true
    }

    /// A request finds no connection ready for it, and joins the queue. `fresh`: it takes no reused connection; `name`: over
    /// TLS, the expected server name.
    pub(super) fn join(
        self: &Rc<Self>,
        endpoint: &Rc<LocalEndpoint>,
        name: Option<ServerName<'static>>,
        fresh: bool,
    ) -> Result<QueuedRequest, Overflow> {
        let Ok(pending) = self.take(PermitKind::Pending) else {
            self.stats.upstream_rq_pending_overflow.inc();
            return Err(Overflow);
        };
        let ticket = self.queue.borrow_mut().join(endpoint.clone(), name, fresh);
        self.adjust(endpoint, |endpoint| endpoint.waiting.set(endpoint.waiting.get() + 1));
        self.pump();
        if self.in_need.get() > 0 {
            self.stats.upstream_cx_overflow.inc();
        }
        Ok(QueuedRequest {
            admission: self.clone(),
            endpoint: endpoint.clone(),
            ticket,
            over: false,
            _pending: pending,
        })
    }

    /// Begins a request on a connection that is awake; with the permit of the request.
    pub(super) fn attach(
        self: &Rc<Self>,
        mut upstream: Box<Upstream>,
        endpoint: &Rc<LocalEndpoint>,
    ) -> Result<(Box<Upstream>, Permit), Overflow> {
        match self.take(PermitKind::Request) {
            Ok(request) => Ok((upstream, request.counting_from(self.interval().map(|_| now())))),
            Err(overflow) => {
                self.stats.upstream_rq_active_overflow.inc();
                endpoint.stats.rq_error.inc();
                upstream.end_request(&self.core_mailbox.buffers);
                self.settle(upstream, endpoint, true);
                Err(overflow)
            }
        }
    }

    /// Changes an endpoint's waiting counts, and keeps `in_need` up to date.
    fn adjust(&self, endpoint: &LocalEndpoint, change: impl FnOnce(&LocalEndpoint)) {
        let before = endpoint.need();
        change(endpoint);
        self.in_need.set(self.in_need.get() + endpoint.need() - before);
        if self.in_need.get() == 0 && self.waits.replace(false) {
            self.breaker.connections.wait_no_more(self.core_mailbox.core);
        }
    }

    /// Looks for what the queue needs: permits, idle connections of this core that no waiter can use, those of other cores.
    pub(super) fn pump(self: &Rc<Self>) {
        while self.in_need.get() > 0 {
            if let Some(permit) = self.take_connection_permit().or_else(|| self.give_up_idle()) {
                self.bring_up_one(permit);
            } else if self.waits.replace(true) {
                return self.ask(self.core_mailbox.core, self.core_mailbox.core);
            } else {
                self.breaker.connections.wait(self.core_mailbox.core);
                // Once more: connections that became free before this point were not announced.
            }
        }
    }

    /// Asks the next core after `from` that may have an idle connection, on behalf of `by`.
    fn ask(&self, by: usize, mut from: usize) {
        while let Some(core) = self.breaker.connections.next_with_idle(from, by) {
            if self.send(core, CoreMessageKind::Want { core: by }) {
                return;
            }
            from = core;
        }
    }

    /// Sends a message; false if the core is gone and the message's permit has been dropped.
    fn send(&self, core: usize, kind: CoreMessageKind) -> bool {
        self.core_mailbox.send(core, CoreMessage { breaker: self.breaker.clone(), kind }).is_ok()
    }

    /// The connection of this core that has lain idle longest, and its endpoint.
    fn least_recent_idle(&self) -> Option<(Rc<LocalEndpoint>, Box<Upstream>)> {
        let endpoints = self.endpoints.borrow();
        let of_plan = endpoints.iter().filter_map(Weak::upgrade);
        let of_plan = of_plan.filter_map(|endpoint| Some((endpoint.idle_since()?, endpoint)));
        let dynamic = self.dynamic.borrow().upgrade().and_then(|dynamic| dynamic.longest_idle());
        let (_, endpoint) = of_plan.chain(dynamic).min_by_key(|(since, _)| *since)?;
        let upstream = endpoint.take_oldest()?;
        Some((endpoint, upstream))
    }

    /// Closes an idle connection for its permit.
    fn give_up_idle(&self) -> Option<ConnectionPermit> {
        self.least_recent_idle()?.1.into_permit()
    }

    /// Opens a connection for the longest waiter without one being opened.
    fn bring_up_one(self: &Rc<Self>, permit: ConnectionPermit) {
        let wanted = self.queue.borrow().oldest_in_need();
        let Some((endpoint, name)) = wanted else {
            debug_assert!(false, "nobody is in need, though somebody is counted");
            self.in_need.set(0);
            return;
        };
        self.adjust(&endpoint, |endpoint| endpoint.connecting.set(endpoint.connecting.get() + 1));
        io::spawn(bring_up(self.clone(), endpoint, name, permit));
    }

    /// A permit of this core's is to be had. `arrived`: from another core.
    fn hand_on(self: &Rc<Self>, arrived: bool) {
        if self.core_mailbox.is_abandoned() {
            return; // given back already
        }
        let core = self.core_mailbox.core;
        let other = self.breaker.connections.next_waiting(core);
        if self.in_need.get() > 0 && (arrived || other.is_none() || self.once_more_in_a_row()) {
            return self.bring_up_one(ConnectionPermit::new(self.clone()));
        }
        self.in_a_row.set(0);
        if let Some(other) = other {
            if !self.send(other, CoreMessageKind::Offer(self.leave(), None)) {
                self.pump(); // it has been given back
            }
            return;
        }
        self.gives_up(PermitKind::Connection);
        if let Some(other) = self.breaker.connections.free(core) {
            self.send(other, CoreMessageKind::Offer(PermitInTransit::new(self.breaker.clone()), None));
        }
    }

    /// Whether local waiters may be preferred once more.
    fn once_more_in_a_row(&self) -> bool {
        let row = self.in_a_row.get() + 1;
        self.in_a_row.set(row);
        row <= MOST_IN_A_ROW
    }

    /// Hands on an unused connection to `endpoint`. `arrived`: this core has not just used it.
    pub(super) fn settle(self: &Rc<Self>, upstream: Box<Upstream>, endpoint: &Rc<LocalEndpoint>, arrived: bool) {
        if self.core_mailbox.is_abandoned() || !upstream.may_go_on(now()) {
            return; // closed, and its permit goes to a waiter
        }
        let core = self.core_mailbox.core;
        let other = self.breaker.connections.next_waiting(core);
        let here = self.queue.borrow().first_for(endpoint, &upstream);
        if let Some(ticket) = here
            && (arrived || !(other.is_some() || self.in_need.get() > endpoint.need()) || self.once_more_in_a_row())
        {
            return self.serve(ticket, upstream, endpoint);
        }
        self.in_a_row.set(0);
        if let Some(other) = other.filter(|_| !arrived) {
            return self.move_to(other, upstream, endpoint);
        }
        if self.in_need.get() > 0 {
            if let Some(permit) = upstream.into_permit() {
                self.bring_up_one(permit);
            }
            return;
        }
        if let Some(ticket) = here {
            return self.serve(ticket, upstream, endpoint);
        }
        if let Some(other) = other {
            return self.move_to(other, upstream, endpoint);
        }
        self.rest(upstream, endpoint);
    }

    fn serve(&self, ticket: u64, mut upstream: Box<Upstream>, endpoint: &Rc<LocalEndpoint>) {
        upstream.wake(&self.core_mailbox.buffers);
        let waker = self.queue.borrow_mut().serve(ticket, upstream);
        self.adjust(endpoint, |endpoint| endpoint.waiting.set(endpoint.waiting.get() - 1));
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn move_to(&self, core: usize, upstream: Box<Upstream>, endpoint: &Rc<LocalEndpoint>) {
        let (Some(permit), moved) = upstream.leave() else { return };
        let moved = moved.map(|moved| Box::new((endpoint.address(), moved)));
        if let Some(in_transit) = permit.leave() {
            self.send(core, CoreMessageKind::Offer(in_transit, moved));
        }
    }

    /// Lays a connection to rest, unless somebody waits for it by now.
    fn rest(&self, upstream: Box<Upstream>, endpoint: &Rc<LocalEndpoint>) {
        if !self.rests.replace(true) {
            self.breaker.connections.rest(self.core_mailbox.core);
            if let Some(other) = self.breaker.connections.next_waiting(self.core_mailbox.core) {
                return self.move_to(other, upstream, endpoint);
            }
        }
        endpoint.put(upstream, &self.core_mailbox.buffers, now());
    }

    /// A connection from another core, if the plan in force here has its endpoint.
    fn arrive(&self, (address, moved): (EndpointAddress, Moved)) -> Option<(Rc<LocalEndpoint>, Box<Upstream>)> {
        if self.shared.borrow().tls.is_some() {
            return None; // it was opened by another plan
        }
        let of_plan = self.endpoints.borrow().iter().filter_map(Weak::upgrade).find(|known| known.is_at(&address));
        let dynamic = || self.dynamic.borrow().upgrade()?.known_at(address.ip()?);
        let endpoint = of_plan.or_else(dynamic)?;
        let upstream = Upstream::arrived(moved, self.stats.clone(), endpoint.stats.clone()).ok()?;
        Some((endpoint, upstream))
    }

    fn list(self: &Rc<Self>, handle: &Handle) -> OpenEntry {
        OpenEntry::new(self.clone(), self.open.borrow_mut().insert(handle.clone()))
    }

    /// Fails all requests that wait for an endpoint that cannot be reached.
    fn fail(&self, endpoint: &Rc<LocalEndpoint>, error: &ConnectError) {
        let failed = self.queue.borrow_mut().fail(endpoint, error, std::task::Waker::wake);
        self.adjust(endpoint, |endpoint| endpoint.waiting.set(endpoint.waiting.get() - failed));
    }
}

impl MailboxUser for Admission {
    fn is_of(&self, breaker: &Arc<Breaker>) -> bool {
        Arc::ptr_eq(&self.breaker, breaker)
    }

    fn read(self: Rc<Self>, kind: CoreMessageKind) {
        match kind {
            CoreMessageKind::Offer(in_transit, moved) => {
                in_transit.take();
                self.hold(PermitKind::Connection);
                match moved.and_then(|moved| self.arrive(*moved)) {
                    Some((endpoint, mut upstream)) => {
                        self.enter(&mut upstream, ConnectionPermit::new(self.clone()));
                        self.settle(upstream, &endpoint, true);
                    }
                    None => self.hand_on(true),
                }
            }
            CoreMessageKind::Want { core } if !self.breaker.connections.waits(core) => {}
            CoreMessageKind::Want { core } => match self.give_up_idle() {
                Some(permit) => {
                    if let Some(in_transit) = permit.leave() {
                        self.send(core, CoreMessageKind::Offer(in_transit, None));
                    }
                }
                None => {
                    self.rests.set(false);
                    self.breaker.connections.rest_no_more(self.core_mailbox.core);
                    self.ask(core, self.core_mailbox.core);
                }
            },
        }
    }

    fn look_again(self: Rc<Self>) {
        self.pump();
    }

    // [`CoreMailbox::abandon`] has made sure that nothing is given back twice.
    fn abandon(&self) {
        let crossing = &self.breaker.connections;
        crossing.wait_no_more(self.core_mailbox.core);
        crossing.rest_no_more(self.core_mailbox.core);
        if let Ok(open) = self.open.try_borrow() {
            open.iter().for_each(|(_, handle)| handle.shutdown_both());
        }
        for of in [PermitKind::Pending, PermitKind::Request, PermitKind::Retry] {
            self.limit(of).give_back(self.count(of).take());
        }
        for _ in 0..self.count(PermitKind::Connection).take() {
            if let Some(other) = crossing.free(self.core_mailbox.core) {
                self.send(other, CoreMessageKind::Offer(PermitInTransit::new(self.breaker.clone()), None));
            }
        }
    }
}

impl PermitOwner for Admission {
    fn take_back(&self, of: PermitKind, began: Option<Instant>) {
        if self.gives_up(of) {
            self.limit(of).give_back(1);
        }
        if let (Some(began), Some(interval)) = (began, self.interval()) {
            self.breaker.recent.ended(began, now(), interval);
        }
    }

    fn leave(&self) -> PermitInTransit {
        self.gives_up(PermitKind::Connection);
        PermitInTransit::new(self.breaker.clone())
    }

    fn pass_on(self: Rc<Self>) {
        self.hand_on(false);
    }

    fn unlist(&self, key: usize) {
        let handle = self.open.borrow_mut().try_remove(key);
        drop(handle);
    }
}

/// Opens a connection, for the first waiter once it is up.
async fn bring_up(
    admission: Rc<Admission>,
    endpoint: Rc<LocalEndpoint>,
    name: Option<ServerName<'static>>,
    permit: ConnectionPermit,
) {
    let shared = admission.shared.borrow().clone();
    let opened = open(admission.settings.get(), (&admission.stats, &shared), &endpoint, name).await;
    let come = |endpoint: &LocalEndpoint| endpoint.connecting.set(endpoint.connecting.get() - 1);
    match opened {
        Ok(mut upstream) => {
            admission.enter(&mut upstream, permit);
            admission.settle(upstream, &endpoint, true);
            admission.adjust(&endpoint, come);
            admission.pump(); // its waiter may have wanted another name
        }
        Err(error) => {
            admission.fail(&endpoint, &error);
            admission.adjust(&endpoint, come);
            if matches!(error, ConnectError::TimedOut) {
                // The kernel releases the cancelled connect only after this task has paused.
                io::sleep_until(now() + LETTING_GO).await;
            }
            drop(permit);
        }
    }
}

/// How long the permit of a connection that did not come up in time is held back.
const LETTING_GO: Duration = Duration::from_millis(10);

/// A request's place in the queue. Dropped, it leaves the queue.
#[derive(Debug)]
pub(super) struct QueuedRequest {
    admission: Rc<Admission>,
    endpoint: Rc<LocalEndpoint>,
    ticket: u64,
    over: bool,
    _pending: Permit,
}

impl QueuedRequest {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Box<Upstream>, Permit), NoConnection>> {
        let turn = self.admission.queue.borrow_mut().poll(self.ticket, cx.waker());
        let wait_queue::WaitResult::Over(come) = turn else { return Poll::Pending };
        self.over = true;
        Poll::Ready(match come {
            Ok(upstream) => self.admission.attach(upstream, &self.endpoint).map_err(NoConnection::from),
            Err(error) => Err(error.into()),
        })
    }
}

impl Drop for QueuedRequest {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let left = self.admission.queue.borrow_mut().leave(self.ticket);
        match left {
            Left::Waiting => {
                self.admission.adjust(&self.endpoint, |endpoint| endpoint.waiting.set(endpoint.waiting.get() - 1))
            }
            Left::With(mut upstream) => {
                upstream.end_request(&self.admission.core_mailbox.buffers);
                self.admission.settle(upstream, &self.endpoint, true);
            }
            Left::Nothing => {}
        }
    }
}
