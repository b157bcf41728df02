//! Starting: sockets first, so that a port in use stops everything before anything has begun; then the workers.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use tracing::{info, warn};

use super::admin::{Admin, State};
use super::ejection::Ejections;
use super::listeners::Bound;
use super::names::Names;
use super::reload::Reloads;
use super::workers::{WorkerInit, Workers};
use super::{Digest, Event, cpus};
use crate::io;
use crate::observe::access_log::{AccessLog, FormatError};
use crate::observe::stats::Registry;
use crate::observe::writer::{LogSink, Writer};
use crate::plan::{AccessLogEncoding, Driver, ListenerKind, Plan, ProxySettings};
use crate::proxy::Budget;
use crate::upstream::{CoreStats, SharedCluster, SharedClusters};
use crate::worker::Report;

/// Why ringway cannot run (exit code 1).
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `spec.cpus` cannot be met.
    #[error("{0}")]
    Cpus(String),
    /// A listener's address cannot be had.
    #[error("cannot listen on {address} for {kind}: {error}{hint}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Whom it is for.
        kind: ListenerKind,
        /// What the system said.
        error: std::io::Error,
        /// What to do about it.
        hint: &'static str,
    },
    /// The admin address cannot be had.
    #[error("cannot listen on {address} for the admin endpoints: {error}{hint}")]
    Admin {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: std::io::Error,
        /// What to do about it.
        hint: &'static str,
    },
    /// The access log cannot be written.
    #[error("cannot open the access log {path}: {error}")]
    AccessLog {
        /// `meshConfig.accessLogFile`.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// `meshConfig.accessLogFormat` cannot be compiled.
    #[error("meshConfig.accessLogFormat: {0}")]
    AccessLogFormat(#[from] FormatError),
    /// A worker could not begin.
    #[error("worker {worker} cannot run: {error}")]
    Worker {
        /// Which one.
        worker: usize,
        /// Why.
        error: String,
    },
    /// The process is out of something.
    #[error("{0}")]
    System(#[from] std::io::Error),
}

/// What to do about a failed bind.
pub(super) fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => " (another process has it; `ss -ltnp` shows which)",
        std::io::ErrorKind::PermissionDenied => {
            " (ports below 1024 need CAP_NET_BIND_SERVICE; or bind another: `ports: {80: 8080}` in the Proxy document)"
        }
        std::io::ErrorKind::AddrNotAvailable => " (no interface of this host has that address)",
        _ => "",
    }
}

/// Descriptors that are not connections: rings, bells, listeners, files, the admin side.
const DESCRIPTORS_KEPT: u64 = 128;

/// Fewer client connections than this are not what a proxy is for.
const FEW_CONNECTIONS: u64 = 256;

/// How long a plan waits for the first answers about its host names.
pub(super) const NAMES_PATIENCE: Duration = Duration::from_secs(5);

/// A running proxy.
pub struct Running {
    pub(super) workers: Workers,
    pub(super) events: Receiver<Event>,
    pub(super) sender: Sender<Event>,
    pub(super) state: Arc<State>,
    pub(super) registry: Arc<Registry>,
    pub(super) budget: Arc<Budget>,
    /// Descriptors that the process may open.
    pub(super) descriptors: u64,
    /// The settings that it was started with: some hold until it ends.
    pub(super) started_with: ProxySettings,
    /// The plan in force.
    pub(super) plan: Arc<Plan>,
    /// What its configuration is like.
    pub(super) digest: Digest,
    /// What all workers share of its clusters.
    pub(super) shared: SharedClusters,
    /// Its listeners, in its order.
    pub(super) bound: Vec<Bound>,
    pub(super) log: Option<OpenLog>,
    pub(super) reloads: Reloads,
    pub(super) ejections: Ejections,
    pub(super) names: Names,
    admin: Option<Admin>,
}

/// The access log in use.
pub(super) struct OpenLog {
    pub(super) writer: Writer,
    pub(super) format: Arc<AccessLog>,
}

/// Binds, starts a worker for each CPU, and returns once all of them accept connections.
///
/// # Errors
/// See [`StartError`]; nothing is left running.
pub fn start(plan: &Plan) -> Result<Running, StartError> {
    let settings = &plan.proxy;
    let cpus = cpus::choose(&settings.cpus)?;
    let descriptors = rlimit::increase_nofile_limit(u64::MAX)?;
    let bound = Bound::all(&plan.listeners, cpus.len())?;
    let registry = Arc::new(Registry::new(cpus.len()));
    let (log, sinks) = open_log(settings, &registry)?;
    let budget = Budget::new(most_connections(settings, descriptors));
    warn_of_few(settings, descriptors);

    let (sender, events) = channel();
    let mut names = Names::start(settings, sender.clone())?;
    let digest = Digest::of(plan);
    let mut plan = plan.clone();
    names.fill(&mut plan, io::now());
    names.installed(&plan);
    let plan = Arc::new(plan);
    let shared = SharedCluster::all(&plan, cpus.len());
    let state = Arc::new(State::new(registry.clone(), plan.clone(), shared.clone(), io::now(), sender.clone()));
    state.describe(digest.version());
    let admin = settings.admin.map(|address| open_admin(address, descriptors, &state)).transpose()?;
    let driver = driver(settings.driver);
    let workers = Workers::new(&cpus, driver, sender.clone(), budget.clone(), first_outward_address(), descriptors);
    let started_with = settings.clone();
    let reloads = Reloads::default();
    let mut ejections = Ejections::default();
    ejections.follow(&plan, &plan, io::now());
    let mut running = Running {
        workers,
        events,
        sender,
        state,
        registry,
        budget,
        descriptors,
        started_with,
        plan,
        digest,
        shared,
        bound,
        log,
        reloads,
        ejections,
        names,
        admin,
    };
    show_members(&running.plan, &running.registry);
    running.ask_names(io::now());
    let mut sinks = sinks.into_iter();
    for index in 0..cpus.len() {
        running.start_worker(index, sinks.next())?;
    }
    running.wait_until_serving()?;
    running.wait_for_names()?;
    for (listener, bound) in running.plan.listeners.iter().zip(&running.bound) {
        info!("listening on {} for {}", bound.address, listener.kind);
    }
    if let Some(address) = running.admin_address() {
        info!("admin on http://{address}/");
    }
    if running.log.is_none() {
        info!("no access log: set meshConfig.accessLogFile in the Proxy document to have one");
    }
    Ok(running)
}

fn open_admin(address: SocketAddr, descriptors: u64, state: &Arc<State>) -> Result<Admin, StartError> {
    Admin::start(address, descriptors, state.clone()).map_err(|error| StartError::Admin {
        address,
        hint: hint(&error),
        error,
    })
}

impl Running {
    /// The addresses bound, in the order of the plan's listeners.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.bound.iter().map(|bound| bound.address).collect()
    }

    /// The address of the admin endpoints, if they are on.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// Where events for [`Running::serve`] are sent.
    #[must_use]
    pub fn events(&self) -> Sender<Event> {
        self.sender.clone()
    }

    /// The statistics of all workers.
    #[must_use]
    pub fn registry(&self) -> Arc<Registry> {
        self.registry.clone()
    }

    /// Starts the worker of a core on the plan in force; `sink` is its end of the access log.
    pub(super) fn start_worker(&mut self, index: usize, sink: Option<LogSink>) -> std::io::Result<()> {
        let listeners: std::io::Result<Vec<_>> = self.bound.iter_mut().map(|bound| bound.socket(index)).collect();
        let log = self.log.as_ref().map(|log| log.format.clone()).zip(sink);
        let (plan, stats) = (self.plan.own_copy(), core_stats(&self.plan, &self.registry, index));
        self.workers.start(index, WorkerInit { plan, stats, shared: self.shared.clone(), listeners: listeners?, log })
    }

    fn wait_until_serving(&mut self) -> Result<(), StartError> {
        while !self.workers.all_serve() {
            match self.events.recv() {
                Ok(event) => self.heard_at_start(event)?,
                Err(_) => return Err(std::io::Error::other("the workers are gone").into()),
            }
        }
        Ok(())
    }

    /// Waits until every host name of a cluster has been answered in some way, at most for a while: whoever is told
    /// that the proxy is ready may expect that it knows where to send requests, if that can be known.
    fn wait_for_names(&mut self) -> Result<(), StartError> {
        let end = io::now() + NAMES_PATIENCE;
        while !self.names.all_answered() {
            match self.events.recv_timeout(end.saturating_duration_since(io::now())) {
                Ok(event) => self.heard_at_start(event)?,
                Err(_) => break,
            }
        }
        Ok(())
    }

    fn heard_at_start(&mut self, event: Event) -> Result<(), StartError> {
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
                self.asked_where(worker, authority);
            }
            Event::Named { name, answer } => self.name_answered(&name, &answer),
            _ => {}
        }
        Ok(())
    }
}

/// Shows how many endpoints each cluster has.
pub(super) fn show_members(plan: &Plan, registry: &Registry) {
    for cluster in &plan.clusters {
        let shared = registry.cluster_shared(&cluster.name);
        shared.membership_total.set(cluster.endpoints.len() as u64);
        shared.membership_healthy.set(cluster.endpoints.len() as u64);
    }
}

fn open_log(settings: &ProxySettings, registry: &Registry) -> Result<(Option<OpenLog>, Vec<LogSink>), StartError> {
    let Some(path) = &settings.access_log_file else { return Ok((None, Vec::new())) };
    let format = log_format(settings)?;
    let (writer, sinks) = Writer::start(Path::new(path), registry)
        .map_err(|error| StartError::AccessLog { path: path.clone(), error })?;
    Ok((Some(OpenLog { writer, format }), sinks))
}

/// The form of the lines of the access log.
pub(super) fn log_format(settings: &ProxySettings) -> Result<Arc<AccessLog>, FormatError> {
    let format = settings.access_log_format.as_deref().unwrap_or_default();
    Ok(Arc::new(match settings.access_log_encoding {
        AccessLogEncoding::Text => AccessLog::of_mesh_config(format)?,
        AccessLogEncoding::Json => AccessLog::json_of_mesh_config(format)?,
    }))
}

/// `limits.maxConnections`, or what the descriptors allow.
pub(super) fn most_connections(settings: &ProxySettings, descriptors: u64) -> usize {
    let limit = settings.limits.max_connections;
    limit.map_or_else(|| usize::try_from(allowed(descriptors)).unwrap_or(usize::MAX), |limit| limit as usize)
}

/// The client connections that so many descriptors allow: half of those left, since a request in flight needs a second
/// one, upstream.
fn allowed(descriptors: u64) -> u64 {
    descriptors.saturating_sub(DESCRIPTORS_KEPT).max(2) / 2
}

/// Says it where the descriptors allow so few client connections that somebody will wonder.
fn warn_of_few(settings: &ProxySettings, descriptors: u64) {
    let allowed = allowed(descriptors);
    match settings.limits.max_connections {
        None if allowed < FEW_CONNECTIONS => {
            warn!("{descriptors} descriptors (ulimit -n) allow {allowed} client connections, and no more are taken");
        }
        Some(limit) if allowed < u64::from(limit) => {
            warn!(
                "{descriptors} descriptors (ulimit -n) allow {allowed} client connections, fewer than \
                 spec.limits.maxConnections: {limit}"
            );
        }
        _ => {}
    }
}

pub(super) fn core_stats(plan: &Plan, registry: &Registry, core: usize) -> CoreStats {
    CoreStats {
        clusters: plan.clusters.iter().map(|cluster| registry.cluster(core, &cluster.name)).collect(),
        endpoints: plan
            .clusters
            .iter()
            .map(|cluster| {
                let endpoints = cluster.endpoints.iter();
                endpoints.map(|endpoint| registry.endpoint(core, &cluster.name, &endpoint.address)).collect()
            })
            .collect(),
        listeners: plan.listeners.iter().map(|listener| registry.listener(core, &listener.name)).collect(),
        http: plan.listeners.iter().map(|listener| registry.http(core, &listener.stat_prefix)).collect(),
        tcp: plan.tcp_stat_names().map(|name| registry.tcp(core, name)).collect(),
        routes: plan.stat_prefixes().map(|(host, stat_prefix)| registry.route(core, host, stat_prefix)).collect(),
    }
}

fn driver(driver: Driver) -> io::Driver {
    match driver {
        Driver::Auto => io::Driver::Auto,
        Driver::IoUring => io::Driver::IoUring,
        Driver::Epoll => io::Driver::Epoll,
    }
}

/// The host's first address that others can reach: what Envoy writes into `x-forwarded-for` for a loopback client.
#[must_use]
pub fn first_outward_address() -> Option<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().ok()?;
    interfaces.iter().map(if_addrs::Interface::ip).find(|address| address.is_ipv4() && !address.is_loopback())
}
