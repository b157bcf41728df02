//! One endpoint on one core: its address, its counters, and the connections to it that lie idle.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection::{Closed, Idle, Upstream};
use crate::base::endpoint::EndpointAddress;
use crate::io::{BufPool, ServerName};
use crate::observe::stats::{ClusterStats, EndpointStats};

/// One endpoint on one core.
#[derive(Debug)]
pub struct LocalEndpoint {
    /// Where it is. One that is known by its name moves with that.
    address: RefCell<EndpointAddress>,
    /// This core's counters of the endpoint; its active requests are what LEAST_REQUEST compares.
    pub stats: Arc<EndpointStats>,
    /// When it came into its cluster, for `warmup`.
    pub(super) since: Instant,
    idle: RefCell<Vec<Idle>>,
    /// The current plan has no such endpoint.
    pub(super) gone: Cell<bool>,
    /// Its connections are limited, so that one without a permit is not to be kept.
    pub(super) limited: Cell<bool>,
    /// Requests in line for a connection to it.
    pub(super) waiting: Cell<u32>,
    /// Connections to it on their way, where they are limited.
    pub(super) connecting: Cell<u32>,
}

impl LocalEndpoint {
    pub(super) fn new(address: EndpointAddress, stats: Arc<EndpointStats>, since: Instant, limited: bool) -> Rc<Self> {
        let (idle, gone, limited) = (RefCell::default(), Cell::new(false), Cell::new(limited));
        Rc::new(Self {
            address: RefCell::new(address),
            stats,
            since,
            idle,
            gone,
            limited,
            waiting: Cell::new(0),
            connecting: Cell::new(0),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> EndpointAddress {
        self.address.borrow().clone()
    }

    /// Whether it is there.
    pub(super) fn is_at(&self, address: &EndpointAddress) -> bool {
        *self.address.borrow() == *address
    }

    pub(super) fn move_to(&self, address: &EndpointAddress) {
        self.address.borrow_mut().clone_from(address);
    }

    /// Requests that wait for a connection to it, less the connections that are being opened.
    pub(super) fn need(&self) -> u32 {
        self.waiting.get().saturating_sub(self.connecting.get())
    }

    /// Connections need a permit from now on: those without are not used again.
    pub(super) fn begin_limits(&self) {
        if !self.limited.replace(true) {
            self.close_idle();
        }
    }

    /// Closes idle connections that the upstream has ended, or that lay idle for longer than `limit`.
    pub(super) fn sweep(&self, stats: &ClusterStats, limit: Option<Duration>, budget: &mut usize, now: Instant) {
        self.idle.borrow_mut().retain_mut(|idle| {
            if *budget == 0 {
                return true;
            }
            *budget -= 1;
            if limit.is_some_and(|limit| now.duration_since(idle.since) >= limit) {
                stats.upstream_cx_idle_timeout.inc();
                idle.upstream.closed_by(Closed::Local);
            } else if !idle.upstream.may_go_on(now) {
                idle.upstream.closed_by(Closed::Local);
            } else if !idle.upstream.is_quiet() {
                idle.upstream.closed_by(Closed::Remote);
            } else {
                return true;
            }
            false
        });
    }

    /// Whether any connection lies idle.
    pub(super) fn rests(&self) -> bool {
        !self.idle.borrow().is_empty()
    }

    pub(super) fn close_idle(&self) {
        let idle = std::mem::take(&mut *self.idle.borrow_mut());
        drop(idle);
    }

    /// Since when the connection has lain idle that has done so longest.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        self.idle.borrow().first().map(|idle| idle.since)
    }

    /// That connection.
    pub(super) fn take_oldest(&self) -> Option<Box<Upstream>> {
        let mut idle = self.idle.borrow_mut();
        (!idle.is_empty()).then(|| idle.remove(0).upstream)
    }

    /// The most recently used idle connection that the upstream has not closed meanwhile. Over TLS one to `name`;
    /// `None`: any.
    pub(super) fn check_out(&self, name: Option<&ServerName<'_>>, buffers: &BufPool) -> Option<Box<Upstream>> {
        loop {
            let idle = {
                let mut idle = self.idle.borrow_mut();
                let at = idle.iter().rposition(|idle| idle.upstream.is_for(name))?;
                idle.remove(at)
            };
            let mut upstream = idle.upstream;
            if upstream.is_quiet() {
                upstream.wake(buffers);
                return Some(upstream);
            }
            upstream.closed_by(Closed::Remote);
        }
    }

    /// Lays a connection to rest.
    pub(super) fn put(&self, mut upstream: Box<Upstream>, buffers: &BufPool, now: Instant) {
        if self.gone.get() {
            return;
        }
        if upstream.rest(buffers) {
            self.idle.borrow_mut().push(Idle { upstream, since: now });
        } else {
            upstream.closed_by(Closed::Remote);
        }
    }
}
