//! A running proxy, as control holds it. Its parts know nothing of each other; its methods are in the files of the steps
//! of its life.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::Event;
use super::access_log::OpenLog;
use super::admin::{Admin, State};
use super::connection_limit::ConnectionLimit;
use super::ejection::Ejections;
use super::in_force::InForce;
use super::names::Names;
use super::queue::EventQueue;
use super::reload::Reloads;
use super::workers::Workers;
use crate::observe::stats::Registry;

/// A running proxy.
pub struct Running {
    pub(super) queue: EventQueue,
    pub(super) workers: Workers,
    pub(super) in_force: InForce,
    pub(super) reloads: Reloads,
    pub(super) names: Names,
    pub(super) ejections: Ejections,
    pub(super) connection_limit: ConnectionLimit,
    pub(super) registry: Arc<Registry>,
    pub(super) log: Option<OpenLog>,
    /// The state that the admin endpoints show, also while they are off.
    pub(super) state: Arc<State>,
    pub(super) admin: Option<Admin>,
}

impl Running {
    /// The addresses bound, in the order of the plan's listeners.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.in_force.bound.iter().map(|bound| bound.address).collect()
    }

    /// The address of the admin endpoints, if they are on.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// Where events for [`Running::serve`] are sent.
    #[must_use]
    pub fn events(&self) -> Sender<Event> {
        self.queue.sender()
    }

    /// The statistics of all workers.
    #[must_use]
    pub fn registry(&self) -> Arc<Registry> {
        self.registry.clone()
    }
}
