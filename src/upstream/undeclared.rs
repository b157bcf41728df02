//! Connections of one core to hosts that the configuration does not declare (`PassthroughCluster`).
//!
//! Such an endpoint exists for as long as somebody uses it, or a connection to it rests here.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::installed::LocalEndpoint;
use crate::observe::stats::{ClusterStats, EndpointStats};

/// The endpoints in use, by address. Reloads keep them.
#[derive(Debug, Default)]
pub(super) struct Undeclared(RefCell<HashMap<SocketAddr, Rc<LocalEndpoint>, foldhash::fast::RandomState>>);

impl Undeclared {
    /// The endpoint at this address.
    pub(super) fn at(&self, address: SocketAddr, now: Instant) -> Rc<LocalEndpoint> {
        let mut endpoints = self.0.borrow_mut();
        endpoints
            .entry(address)
            .or_insert_with(|| LocalEndpoint::new(address, Arc::<EndpointStats>::default(), now))
            .clone()
    }

    /// Closes connections that have ended or rested for too long, and forgets endpoints that nobody uses.
    pub(super) fn sweep(&self, stats: &ClusterStats, idle: Option<Duration>, budget: &mut usize, now: Instant) {
        self.0.borrow_mut().retain(|_, endpoint| {
            endpoint.sweep(stats, idle, budget, now);
            Rc::strong_count(endpoint) > 1 || endpoint.rests()
        });
    }

    /// Closes every idle connection.
    pub(super) fn close_idle(&self) {
        self.0.borrow().values().for_each(|endpoint| endpoint.close_idle());
    }
}
