//! Starting.
//!
//! The order matters: first the steps that fail most easily and leave nothing behind, last those that others see:
//!
//! 1. CPUs and descriptors: later steps count by them.
//! 2. Sockets: a port in use ends the start before a file is opened or a thread begun. They do not accept yet; the kernel
//!    keeps the first connections.
//! 3. The access log, with its thread.
//! 4. The thread that asks name servers, and the plan filled with the addresses that are written in it: every copy of the
//!    plan is made after that.
//! 5. The admin endpoints: from here on the process is seen, and `/ready` says that it is not ready.
//! 6. The workers, each with its own copy. They accept as soon as they run.
//! 7. The wait, until every worker serves and every name has an answer of some kind: a caller that is told that the proxy is
//!    ready may expect that it knows where to send requests.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use tracing::{info, warn};

use super::access_log::OpenLog;
use super::admin::{Admin, State};
use super::connection_limit::ConnectionLimit;
use super::ejection::Ejections;
use super::error::hint;
use super::in_force::InForce;
use super::listeners::BoundListener;
use super::names::{NAMES_PATIENCE, Names};
use super::queue::EventQueue;
use super::reload::Reloads;
use super::workers::{WorkerInit, Workers};
use super::{Digest, Event, Running, StartError, cpus, plan_stats};
use crate::io;
use crate::observe::stats::Registry;
use crate::observe::writer::LogSink;
use crate::plan::{Driver, Plan};
use crate::upstream::SharedCluster;
use crate::worker::Report;

/// Binds, starts a worker for each CPU, and returns once all of them accept connections.
///
/// # Errors
/// See [`StartError`]; nothing is left running.
pub fn start(plan: &Plan) -> Result<Running, StartError> {
    let (mut running, sinks) = assemble(plan)?;
    running.ask_names(io::now());
    running.start_workers(sinks)?;
    running.wait_until_serving()?;
    running.wait_for_names()?;
    running.announce();
    Ok(running)
}

/// Everything but the workers, and their sinks of the access log: steps 1 to 5.
fn assemble(plan: &Plan) -> Result<(Running, Vec<LogSink>), StartError> {
    let settings = plan.proxy.clone();
    let cpus = cpus::choose(&settings.cpus)?;
    let descriptors = rlimit::increase_nofile_limit(u64::MAX)?;
    let bound = BoundListener::all(&plan.listeners, cpus.len())?;
    let registry = Arc::new(Registry::new(cpus.len()));
    let (log, sinks) = OpenLog::open(&settings, &registry)?;
    let connection_limit = ConnectionLimit::new(&settings, descriptors);

    let queue = EventQueue::new();
    let mut names = Names::start(&settings, queue.sender())?;
    let digest = Digest::of(plan);
    let mut plan = plan.clone();
    names.fill(&mut plan, io::now());
    names.installed(&plan);
    plan_stats::show_members(&plan, &registry);
    let plan = Arc::new(plan);
    let shared = SharedCluster::all(&plan, cpus.len());
    let mut ejections = Ejections::default();
    ejections.follow(&plan, &plan, io::now());

    let state = Arc::new(State::new(registry.clone(), plan.clone(), shared.clone(), io::now(), queue.sender()));
    state.describe(digest.version());
    let admin = settings.admin.map(|address| open_admin(address, descriptors, &state)).transpose()?;
    let (driver, budget) = (driver(settings.driver), connection_limit.budget());
    let workers = Workers::new(&cpus, driver, queue.sender(), budget, first_outward_address(), descriptors);
    let in_force = InForce { plan, digest, shared, bound };
    let reloads = Reloads::new(settings);
    let running =
        Running { queue, workers, in_force, reloads, names, ejections, connection_limit, registry, log, state, admin };
    Ok((running, sinks))
}

fn open_admin(address: SocketAddr, descriptors: u64, state: &Arc<State>) -> Result<Admin, StartError> {
    Admin::start(address, descriptors, state.clone()).map_err(|error| StartError::Admin {
        address,
        hint: hint(&error),
        error,
    })
}

impl Running {
    fn start_workers(&mut self, sinks: Vec<LogSink>) -> Result<(), StartError> {
        let mut sinks = sinks.into_iter();
        for index in 0..self.workers.len() {
            self.start_worker(index, sinks.next())?;
        }
        Ok(())
    }

    /// Starts the worker of a core on the plan in force; `sink` is its end of the access log.
    pub(super) fn start_worker(&mut self, index: usize, sink: Option<LogSink>) -> std::io::Result<()> {
        let InForce { plan, shared, bound, .. } = &mut self.in_force;
        let listeners: std::io::Result<Vec<_>> = bound.iter_mut().map(|bound| bound.socket(index)).collect();
        let log = self.log.as_ref().map(|log| log.format.clone()).zip(sink);
        let (stats, plan) = (plan_stats::of_core(plan, &self.registry, index), plan.own_copy());
        self.workers.start(index, WorkerInit { plan, stats, shared: shared.clone(), listeners: listeners?, log })
    }

    fn wait_until_serving(&mut self) -> Result<(), StartError> {
        self.wait_at_start(|running| running.workers.all_serve(), None)
    }

    fn wait_for_names(&mut self) -> Result<(), StartError> {
        self.wait_at_start(|running| running.names.all_answered(), Some(io::now() + NAMES_PATIENCE))
    }

    fn wait_at_start(&mut self, done: fn(&Self) -> bool, end: Option<Instant>) -> Result<(), StartError> {
        while !done(self) {
            match self.queue.next(end) {
                Some(event) => self.on_event_at_start(event)?,
                None => break,
            }
        }
        Ok(())
    }

    fn on_event_at_start(&mut self, event: Event) -> Result<(), StartError> {
        match event {
            Event::Worker { report: Report::Serving { worker, started }, .. } => {
                self.workers.serves(worker);
                if worker == 0 {
                    started.notes.iter().for_each(|note| warn!("{note}"));
                    info!("driver {}", [started.driver, started.flags].join(" ").trim_end());
                }
            }
            Event::Worker { report: Report::Ended { worker, error }, .. } => {
                let error = error.unwrap_or_else(|| "it ended at once".to_owned());
                return Err(StartError::Worker { worker, error });
            }
            Event::Worker { report: Report::ResolveAuthority { worker, authority }, .. } => {
                self.resolve_authority(worker, authority);
            }
            Event::Named { name, answer } => self.name_answered(&name, &answer),
            _ => {}
        }
        Ok(())
    }

    fn announce(&self) {
        for (listener, bound) in self.in_force.plan.listeners.iter().zip(&self.in_force.bound) {
            info!("listening on {} for {}", bound.address, listener.kind);
        }
        if let Some(address) = self.admin_address() {
            info!("admin on http://{address}/");
        }
        if self.log.is_none() {
            info!("no access log: set meshConfig.accessLogFile in the Proxy document to have one");
        }
    }
}

fn driver(driver: Driver) -> io::Driver {
    match driver {
        Driver::Auto => io::Driver::Auto,
        Driver::IoUring => io::Driver::IoUring,
        Driver::Epoll => io::Driver::Epoll,
    }
}

/// The host's first address that others can reach: Envoy writes it into `x-forwarded-for` for a loopback client.
#[must_use]
pub fn first_outward_address() -> Option<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().ok()?;
    interfaces.iter().map(if_addrs::Interface::ip).find(|address| address.is_ipv4() && !address.is_loopback())
}
