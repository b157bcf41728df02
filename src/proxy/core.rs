//! The state that all requests of one core share, and the table of its client connections.
//!
//! Nothing here is reachable from another thread. Every method takes values out of its cells and gives them back before
//! it returns, so no borrow lives across an await.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use slab::Slab;

use super::downstream::listener::ListenerHandle;
use super::dynamic::host_cache::{HostCache, ResolveAuthority, ResolvedAuthority};
use super::mirror::shared::{Mirroring, TellMirrors};
use super::router::rewrite::Captures;
use crate::base::id::ListenerId;
use crate::base::limits::REPLAY_CORE_BYTES;
use crate::base::request_id;
use crate::base::rng::Rng;
use crate::http::{forward, hops};
use crate::io::{self, BufPool, Handle, Notify};
use crate::observe::access_log::{AccessLog, Record};
use crate::observe::date::DateCache;
use crate::observe::writer::LogSink;
use crate::plan::{Cluster, ClusterId, HeaderName, Plan};
use crate::upstream::{ClusterHandles, CoreMailbox, CoreStats, Installed, Peer, RetiredPlan, SharedClusters};

/// The downstream connections that the process may hold, over all cores (`limits.maxConnections`).
///
/// Exact: a core takes a slot before it serves a connection, and gives it back when the connection has ended.
#[derive(Debug)]
pub struct Budget {
    open: AtomicUsize,
    most: AtomicUsize,
}

impl Budget {
    /// Room for `most` connections.
    #[must_use]
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { open: AtomicUsize::new(0), most: AtomicUsize::new(most) })
    }

    /// Changes the limit to `most` connections. Connections above it stay; new ones wait for their end.
    pub fn resize(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// Connections that are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    fn take(&self) -> bool {
        let most = self.most.load(Ordering::Relaxed);
        self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| (open < most).then_some(open + 1)).is_ok()
    }

    fn give_back(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where a core writes its access log.
pub struct Log {
    format: Arc<AccessLog>,
    /// The response headers that it shows.
    wanted: Box<[HeaderName]>,
    sink: LogSink,
}

impl Log {
    /// Writes lines of a compiled format into this core's buffer on the way to the writer thread.
    #[must_use]
    pub fn new(format: Arc<AccessLog>, sink: LogSink) -> Self {
        Self { wanted: wanted(&format), format, sink }
    }
}

fn wanted(format: &AccessLog) -> Box<[HeaderName]> {
    format.response_headers().iter().map(|name| HeaderName::new(name)).collect()
}

/// The parts of a core.
pub struct CoreParts {
    /// The core's number, from 0.
    pub index: usize,
    /// The first plan: this core's own copy.
    pub plan: Plan,
    /// This core's counters for it.
    pub stats: CoreStats,
    /// The shared state of its clusters.
    pub shared: SharedClusters,
    /// The core's generator.
    pub rng: Rng,
    /// The access log, if there is one.
    pub log: Option<Log>,
    /// The slots for client connections, shared by all cores.
    pub budget: Arc<Budget>,
    /// The address in `x-forwarded-for` for a client on this host (Envoy writes the host's first address that is not a loopback
    /// one); `None` leaves the loopback address.
    pub stands_for_loopback: Option<IpAddr>,
    /// The name of this machine, for `%HOSTNAME%`.
    pub hostname: Box<str>,
    /// The id of the process in `x-ringway-hops`, the same on all cores.
    pub instance: hops::Id,
    /// Requests the addresses of an undeclared host from control.
    pub resolve_authority: ResolveAuthority,
    /// Copies of requests that the core may have under way.
    pub most_mirrors: usize,
    /// How control hears of mirrors.
    pub tell_mirrors: TellMirrors,
    /// The ways to the other cores that there are already, by their numbers.
    pub peers: Vec<(usize, Peer)>,
}

/// One core's shared state.
pub struct Core {
    /// The core's number, from 0.
    pub index: usize,
    /// Free buffers.
    pub buffers: Rc<BufPool>,
    /// Where other cores reach this one, and this one them.
    pub core_mailbox: Rc<CoreMailbox>,
    /// Raised when the last client connection of a draining core has ended.
    pub emptied: Notify,
    installed: RefCell<Rc<Installed>>,
    /// Plans of the past, until the last request that began on them has ended.
    retired: RefCell<Vec<Rc<Installed>>>,
    rng: RefCell<Rng>,
    date: RefCell<DateCache>,
    log: RefCell<Option<Log>>,
    budget: Arc<Budget>,
    stands_for_loopback: Option<IpAddr>,
    /// The name of this machine.
    pub(crate) hostname: Box<str>,
    /// The id of the process in `x-ringway-hops`.
    pub(crate) instance: hops::Id,
    captures: RefCell<Captures>,
    pub(crate) names: HostCache,
    pub(crate) mirroring: Mirroring,
    live: RefCell<Slab<Rc<ConnectionEntry>>>,
    /// Memory of bodies that are kept for another attempt.
    kept: Cell<usize>,
    /// Our addresses on the connections of tunnels, and how often the bytes have come through this core by then.
    outward: RefCell<HashMap<SocketAddr, u8, foldhash::fast::RandomState>>,
    draining: Cell<bool>,
    abandoned: Cell<bool>,
    swept_to: Cell<usize>,
}

/// Idle upstream connections looked at in one sweep: 250 µs of peeking at most.
const SWEEP_CONNECTIONS: usize = 256;

impl Core {
    /// A core with no connections.
    #[must_use]
    pub fn new(mut parts: CoreParts) -> Rc<Self> {
        let buffers: Rc<BufPool> = Rc::default();
        let core_mailbox = CoreMailbox::new(parts.index, buffers.clone());
        parts.peers.into_iter().for_each(|(core, peer)| core_mailbox.meet(core, peer));
        let installed = Installed::new(parts.plan, parts.stats, parts.shared, &core_mailbox, &mut parts.rng);
        let own_address = parts.stands_for_loopback.unwrap_or(Ipv4Addr::LOCALHOST.into());
        Rc::new(Self {
            index: parts.index,
            buffers,
            core_mailbox,
            emptied: Notify::default(),
            installed: RefCell::new(Rc::new(installed)),
            retired: RefCell::default(),
            rng: RefCell::new(parts.rng),
            date: RefCell::default(),
            log: RefCell::new(parts.log),
            budget: parts.budget,
            stands_for_loopback: parts.stands_for_loopback,
            hostname: parts.hostname,
            instance: parts.instance,
            captures: RefCell::default(),
            names: HostCache::new(parts.resolve_authority),
            mirroring: Mirroring::new(own_address, parts.most_mirrors, parts.tell_mirrors),
            live: RefCell::default(),
            kept: Cell::new(0),
            outward: RefCell::default(),
            draining: Cell::new(false),
            abandoned: Cell::new(false),
            swept_to: Cell::new(0),
        })
    }

    /// The plan to answer the next request by.
    #[must_use]
    pub fn installed(&self) -> Rc<Installed> {
        self.installed.borrow().clone()
    }

    /// The plan to answer the next request of a connection by, and the number of its listener in that.
    pub(crate) fn installed_at(&self, listener_handle: &ListenerHandle) -> (Rc<Installed>, ListenerId) {
        (listener_handle.last().unwrap_or_else(|| self.installed()), listener_handle.listener())
    }

    /// Installs `plan` for the next request. Unchanged clusters keep their connections and balancing; requests in flight end on
    /// their own plan, which is returned. `log_format` is that of the new plan; it is not used if the core writes no log.
    pub fn install(
        &self,
        plan: Plan,
        stats: CoreStats,
        shared: SharedClusters,
        log_format: Option<Arc<AccessLog>>,
    ) -> Rc<Installed> {
        let old = self.installed();
        let new = Rc::new(self.with_rng(|rng| Installed::after(&old, plan, stats, shared, &self.core_mailbox, rng)));
        *self.installed.borrow_mut() = new;
        self.retired.borrow_mut().push(old.clone());
        self.swept_to.set(0);
        if let (Some(log), Some(format)) = (self.log.borrow_mut().as_mut(), log_format) {
            log.wanted = wanted(&format);
            log.format = format;
        }
        old
    }

    /// Changes the members of a cluster for the next request. Requests in flight keep their own.
    pub fn change_members(&self, id: ClusterId, cluster: &Arc<Cluster>, handles: ClusterHandles) {
        let old = self.installed();
        let new = self.with_rng(|rng| old.with_members(id, cluster, handles, &self.core_mailbox, rng));
        if let Some(new) = new {
            *self.installed.borrow_mut() = Rc::new(new);
            self.retired.borrow_mut().push(old);
        }
    }

    /// A former plan without requests, to be dropped on a thread where its size does not matter.
    #[must_use]
    pub fn take_retired(&self) -> Option<RetiredPlan> {
        let mut retired = self.retired.borrow_mut();
        let at = retired.iter().position(|installed| Rc::strong_count(installed) == 1)?;
        Rc::into_inner(retired.swap_remove(at)).map(Installed::into_retired)
    }

    /// Draws from the core's generator.
    pub(crate) fn with_rng<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut self.rng.borrow_mut())
    }

    /// A fresh `x-request-id`.
    pub(crate) fn request_id(&self) -> [u8; 36] {
        self.with_rng(request_id::generate)
    }

    /// Takes control's answer about an authority that this core has requested.
    pub fn resolved(&self, authority: &str, resolved: ResolvedAuthority, valid: Option<Duration>) {
        self.names.answered(authority, resolved, valid, io::now());
    }

    /// Whether an outbound listener or the admin endpoints may be on this port of some address, where a connection from here must
    /// not go. Control knows which addresses are this host's.
    pub(crate) fn may_listen_on(&self, port: u16) -> bool {
        let installed = self.installed.borrow();
        let plan = &installed.plan;
        let outward = plan.listeners.iter().filter(|listener| listener.kind.is_outbound());
        // Port 0 is any.
        let mut own = outward.map(|listener| listener.bind.port()).chain(plan.proxy.admin.map(|admin| admin.port()));
        own.any(|own| own == port || own == 0)
    }

    /// Notes our address on a connection of a tunnel for the lifetime of the result. `passes`: pass count of its bytes on this
    /// core, for loop detection, this pass included.
    pub(crate) fn goes_out(self: &Rc<Self>, own: SocketAddr, passes: u8) -> GoingOut {
        let own = SocketAddr::new(own.ip().to_canonical(), own.port());
        self.outward.borrow_mut().insert(own, passes);
        GoingOut { core: self.clone(), own }
    }

    /// Pass count of a connection from `peer` in tunnels of this core, for loop detection: a packet filter without an exception
    /// for the proxy sends its connections back here, and so may a gateway's rule. Tunnels of other cores are unknown; a loop
    /// soon meets one of this core.
    pub(crate) fn passes(&self, peer: SocketAddr) -> u8 {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        self.outward.borrow().get(&peer).copied().unwrap_or_default()
    }

    /// Room for the groups of rewriting regexes.
    pub(crate) fn with_captures<T>(&self, search: impl FnOnce(&mut Captures) -> T) -> T {
        search(&mut self.captures.borrow_mut())
    }

    /// Whether so much more memory may be spent on keeping bodies; if so, it is.
    pub(crate) fn take_for_replay(&self, bytes: usize) -> bool {
        let kept = self.kept.get() + bytes;
        let fits = kept <= REPLAY_CORE_BYTES;
        if fits {
            self.kept.set(kept);
        }
        fits
    }

    /// Gives back what [`Core::take_for_replay`] took.
    pub(crate) fn give_back_from_replay(&self, bytes: usize) {
        self.kept.set(self.kept.get() - bytes);
    }

    /// The `date` header of now.
    pub(crate) fn date(&self) -> [u8; 29] {
        *self.date.borrow_mut().at(io::unix_time())
    }

    /// Lets `note` have a look at the response headers that the log shows, if there are any.
    pub(crate) fn if_logged(&self, note: impl FnOnce(&[HeaderName])) {
        if let Some(log) = self.log.borrow().as_ref().filter(|log| !log.wanted.is_empty()) {
            note(&log.wanted);
        }
    }

    /// Writes a line of the access log, if there is one.
    pub(crate) fn log(&self, record: &Record<'_>) {
        if let Some(log) = self.log.borrow_mut().as_mut() {
            log.format.line(log.sink.line_buffer(), record);
            log.sink.line_done();
        }
    }

    /// Whether the core drains: it finishes its requests and accepts no new connections.
    #[must_use]
    pub fn draining(&self) -> bool {
        self.draining.get()
    }

    /// Client connections that are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.live.borrow().len()
    }

    /// Begins to drain: idle connections end at once, the others with their request.
    pub fn drain(&self) {
        self.draining.set(true);
        for (_, live) in self.live.borrow().iter() {
            if live.phase.get() == Phase::Idle {
                live.handle.shutdown_read();
            }
        }
        if self.connections() == 0 {
            self.emptied.raise();
        }
    }

    /// Ends the connections that came in by `listener_handle`, which is closed: idle ones at once, the others with their request.
    pub fn empty(&self, listener_handle: &Rc<ListenerHandle>) {
        for (_, live) in
            self.live.borrow().iter().filter(|(_, live)| Rc::ptr_eq(&live.listener_handle, listener_handle))
        {
            if live.phase.get() == Phase::Idle {
                live.handle.shutdown_read();
            }
        }
    }

    /// The worker ends, in good order or in a panic: no task of the core runs again, and the runtime may never drop them. So the
    /// connections are ended here, their slots given back, and the log handed over. This must not panic, or need a borrow that a
    /// panic has left behind.
    pub fn abandon(&self) {
        if self.abandoned.replace(true) {
            return;
        }
        self.core_mailbox.abandon();
        if let Ok(live) = self.live.try_borrow() {
            for (_, live) in live.iter() {
                live.handle.shutdown_both();
                self.budget.give_back();
            }
        }
        if let Ok(mut log) = self.log.try_borrow_mut()
            && let Some(mut log) = log.take()
        {
            log.sink.flush(); // the writer ends when all cores have given up their sinks
        }
    }

    /// The periodic work: ends connections that are past their deadline, closes stale idle upstream connections, hands
    /// the log over.
    pub fn tick(&self, now: Instant) {
        for (_, live) in self.live.borrow().iter() {
            live.expire(now);
        }
        let installed = self.installed();
        self.swept_to.set(installed.sweep(self.swept_to.get(), SWEEP_CONNECTIONS, now));
        self.core_mailbox.look_again();
        self.mirroring.tick();
        self.flush_log();
    }

    fn flush_log(&self) {
        if let Some(log) = self.log.borrow_mut().as_mut() {
            log.sink.flush();
        }
    }

    /// The address that `x-forwarded-for` names for `peer`.
    pub(crate) fn forwarded_for(&self, peer: SocketAddr) -> IpAddr {
        forward::peer_address(peer.ip(), self.stands_for_loopback)
    }

    /// Enters a connection into the table; `None` when the budget is used up.
    pub(crate) fn enter(
        self: &Rc<Self>,
        handle: Handle,
        listener_handle: Rc<ListenerHandle>,
    ) -> Option<ConnectionGuard> {
        if !self.budget.take() {
            return None;
        }
        let live = Rc::new(ConnectionEntry {
            handle,
            listener_handle,
            phase: Cell::new(Phase::Idle),
            deadline: Cell::new(None),
            expired: Cell::new(false),
        });
        let key = self.live.borrow_mut().insert(live.clone());
        Some(ConnectionGuard { core: self.clone(), live, key })
    }
}

/// A connection of a tunnel: see [`Core::goes_out`].
pub(crate) struct GoingOut {
    core: Rc<Core>,
    own: SocketAddr,
}

impl Drop for GoingOut {
    fn drop(&mut self) {
        self.core.outward.borrow_mut().remove(&self.own);
    }
}

/// The phase of a client connection, which decides its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Between requests.
    Idle,
    /// Receiving a head.
    Head,
    /// Receiving a body.
    Body,
    /// Waiting for the upstream, or sending.
    Busy,
}

/// A client connection as the tick sees it.
///
/// Deadlines of clients are coarse (seconds to an hour), so they are two cells that the tick looks at, not a timer for every
/// read: setting them is free.
#[derive(Debug)]
pub(crate) struct ConnectionEntry {
    handle: Handle,
    listener_handle: Rc<ListenerHandle>,
    phase: Cell<Phase>,
    deadline: Cell<Option<Instant>>,
    expired: Cell<bool>,
}

impl ConnectionEntry {
    pub(crate) fn enter(&self, phase: Phase, deadline: Option<Instant>) {
        self.phase.set(phase);
        self.deadline.set(deadline);
    }

    /// Whether the tick ended this connection for being late.
    pub(crate) fn expired(&self) -> bool {
        self.expired.get()
    }

    fn expire(&self, now: Instant) {
        if self.deadline.get().is_some_and(|deadline| now >= deadline) {
            self.deadline.set(None);
            self.expired.set(true);
            match self.phase.get() {
                // The read ends, and an answer can still be sent.
                Phase::Idle | Phase::Head | Phase::Body => self.handle.shutdown_read(),
                Phase::Busy => self.handle.shutdown_both(),
            }
        }
    }
}

/// A slot in the table and in the budget, given back on drop.
pub(crate) struct ConnectionGuard {
    core: Rc<Core>,
    live: Rc<ConnectionEntry>,
    key: usize,
}

impl std::ops::Deref for ConnectionGuard {
    type Target = ConnectionEntry;

    fn deref(&self) -> &ConnectionEntry {
        &self.live
    }
}

impl ConnectionGuard {
    pub(crate) fn handle(&self) -> &Handle {
        &self.live.handle
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.core.live.borrow_mut().remove(self.key);
        if !self.core.abandoned.get() {
            self.core.budget.give_back();
        }
        if self.core.draining() && self.core.connections() == 0 {
            self.core.emptied.raise();
        }
    }
}

/// How often [`Core::tick`] is to be called.
pub const TICK: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_exact() {
        let budget = Budget::new(2);
        assert!(budget.take() && budget.take());
        assert!(!budget.take());
        budget.give_back();
        assert!(budget.take());
        budget.resize(1);
        budget.give_back();
        assert!(!budget.take(), "one is still open");
        budget.give_back();
        assert!(budget.take());
    }
}
