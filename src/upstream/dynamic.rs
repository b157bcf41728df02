//! Connections of one core to hosts that requests name themselves: original destinations (`PassthroughCluster`),
//! and hosts of a ServiceEntry without endpoints (dynamic forward proxy).
//!
//! Such an endpoint exists for as long as a request uses it, or this core has an idle connection to it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::endpoint::LocalEndpoint;
use crate::observe::stats::{ClusterStats, EndpointStats};

/// The endpoints in use, by address. Reloads keep them.
#[derive(Debug, Default)]
pub(super) struct DynamicEndpoints {
    known: RefCell<HashMap<SocketAddr, Rc<LocalEndpoint>, foldhash::fast::RandomState>>,
    /// The current plan has no such cluster: connections end with their request.
    pub(super) gone: Cell<bool>,
    /// Connections to them need permits.
    limited: Cell<bool>,
}

impl DynamicEndpoints {
    /// The endpoint at this address.
    pub(super) fn at(&self, address: SocketAddr, now: Instant) -> Rc<LocalEndpoint> {
        let mut endpoints = self.known.borrow_mut();
        endpoints
            .entry(address)
            .or_insert_with(|| {
                LocalEndpoint::new(address.into(), Arc::<EndpointStats>::default(), now, self.limited.get())
            })
            .clone()
    }

    /// Closes connections that have ended or been idle for too long, and forgets unused endpoints.
    pub(super) fn sweep(&self, stats: &ClusterStats, idle: Option<Duration>, budget: &mut usize, now: Instant) {
        if *budget == 0 {
            return;
        }
        self.known.borrow_mut().retain(|_, endpoint| {
            endpoint.sweep(stats, idle, budget, now);
            Rc::strong_count(endpoint) > 1 || endpoint.rests()
        });
    }

    /// Connections need a permit from now on: see [`LocalEndpoint::begin_limits`].
    pub(super) fn begin_limits(&self) {
        if !self.limited.replace(true) {
            self.known.borrow().values().for_each(|endpoint| endpoint.begin_limits());
        }
    }

    /// The endpoint at this address, if it is in use.
    pub(super) fn known_at(&self, address: SocketAddr) -> Option<Rc<LocalEndpoint>> {
        self.known.borrow().get(&address).cloned()
    }

    /// The endpoint whose connection has lain idle longest, and since when.
    pub(super) fn longest_idle(&self) -> Option<(Instant, Rc<LocalEndpoint>)> {
        let known = self.known.borrow();
        let idle = known.values().filter_map(|endpoint| Some((endpoint.idle_since()?, endpoint.clone())));
        idle.min_by_key(|(since, _)| *since)
    }

    /// Closes every idle connection.
    pub(super) fn close_idle(&self) {
        self.known.borrow().values().for_each(|endpoint| endpoint.close_idle());
    }
}
