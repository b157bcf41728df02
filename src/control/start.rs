//! Starting: sockets first, so that a port in use stops everything before anything has begun; then the workers.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::{info, warn};

use super::admin::{Admin, Stage, State};
use super::{Event, cpus};
use crate::base::rng::Rng;
use crate::io::{self, bind_probe, bind_reuseport, doorbell};
use crate::observe::access_log::{AccessLog, FormatError};
use crate::observe::stats::Registry;
use crate::observe::writer::Writer;
use crate::plan::{AccessLogEncoding, Driver, Listener, ListenerKind, Plan};
use crate::proxy::{Budget, CoreParts, Log};
use crate::upstream::CoreStats;
use crate::worker::{self, Handle, Report, Reporter, Start};

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
fn hint(error: &std::io::Error) -> &'static str {
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

/// A running proxy.
pub struct Running {
    pub(super) workers: Vec<Handle>,
    pub(super) threads: Vec<JoinHandle<()>>,
    pub(super) events: Receiver<Event>,
    pub(super) sender: Sender<Event>,
    pub(super) state: Arc<State>,
    pub(super) log_writer: Option<Writer>,
    pub(super) drain_duration: Duration,
    registry: Arc<Registry>,
    admin: Option<Admin>,
    addresses: Vec<SocketAddr>,
}

/// Binds, starts a worker for each CPU, and returns once all of them accept connections.
///
/// # Errors
/// See [`StartError`]; nothing is left running.
pub fn start(plan: &Plan) -> Result<Running, StartError> {
    let settings = &plan.proxy;
    let cpus = cpus::choose(&settings.cpus)?;
    let descriptors = rlimit::increase_nofile_limit(u64::MAX)?;
    let (addresses, mut sockets) = bind(&plan.listeners, cpus.len())?;
    let registry = Arc::new(Registry::new(cpus.len()));
    let (log_format, log_writer, mut log_sinks) = open_log(plan, &registry)?;
    let budget = Budget::new(most_connections(settings.limits.max_connections, descriptors));
    for cluster in &plan.clusters {
        let shared = registry.cluster_shared(&cluster.name);
        shared.membership_total.set(cluster.endpoints.len() as u64);
        shared.membership_healthy.set(cluster.endpoints.len() as u64);
    }

    let (sender, events) = channel();
    let shared = Arc::new(plan.clone());
    let state = Arc::new(State::new(registry.clone(), shared.clone(), io::now(), sender.clone()));
    let admin = settings.admin.map(|address| open_admin(address, &state)).transpose()?;
    let (mut workers, mut threads) = (Vec::new(), Vec::new());
    for (index, cpu) in cpus.iter().enumerate() {
        let (mail, mailbox) = channel();
        let (bell, ringer) = doorbell()?;
        let log = log_format.clone().zip(log_sinks.pop()).map(|(format, sink)| Log { format, sink });
        let start = Start {
            cpu: *cpu,
            driver: driver(settings.driver),
            parts: CoreParts {
                index,
                plan: shared.clone(),
                stats: core_stats(plan, &registry, index),
                rng: Rng::seeded(fastrand::u64(..)),
                log,
                budget: budget.clone(),
                stands_for_loopback: first_outward_address(),
            },
            listeners: sockets.pop().unwrap_or_default(),
            mailbox,
            bell,
            reports: reporter(&sender),
        };
        threads.push(std::thread::Builder::new().name(format!("worker-{index}")).spawn(|| worker::main(start))?);
        workers.push(Handle::new(mail, ringer));
    }
    let running = Running {
        workers,
        threads,
        events,
        sender,
        state,
        log_writer,
        drain_duration: settings.drain_duration,
        registry,
        admin,
        addresses,
    };
    running.wait_until_serving()?;
    running.state.enter(Stage::Live);
    for (listener, address) in plan.listeners.iter().zip(&running.addresses) {
        info!("listening on {address} for {}", listener.kind);
    }
    if let Some(address) = running.admin_address() {
        info!("admin on http://{address}/");
    }
    if running.log_writer.is_none() {
        info!("no access log: set meshConfig.accessLogFile in the Proxy document to have one");
    }
    Ok(running)
}

fn open_admin(address: SocketAddr, state: &Arc<State>) -> Result<Admin, StartError> {
    Admin::start(address, state.clone()).map_err(|error| StartError::Admin { address, hint: hint(&error), error })
}

impl Running {
    /// The addresses bound, in the order of the plan's listeners.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
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

    fn wait_until_serving(&self) -> Result<(), StartError> {
        let mut waiting = self.workers.len();
        while waiting > 0 {
            match self.events.recv() {
                Ok(Event::Worker(Report::Serving { worker, started })) => {
                    waiting -= 1;
                    if worker == 0 {
                        started.notes.iter().for_each(|note| warn!("{note}"));
                        info!("driver {}", [started.driver, started.flags].join(" ").trim_end());
                    }
                }
                Ok(Event::Worker(Report::Ended { worker, error })) => {
                    let error = error.unwrap_or_else(|| "it ended at once".to_owned());
                    return Err(StartError::Worker { worker, error });
                }
                Ok(_) => {}
                Err(_) => return Err(std::io::Error::other("the workers are gone").into()),
            }
        }
        Ok(())
    }
}

fn reporter(sender: &Sender<Event>) -> Reporter {
    // A Sender is not Sync everywhere a Reporter must be; reports are rare.
    let sender = Mutex::new(sender.clone());
    Arc::new(move |report| {
        if let Ok(sender) = sender.lock() {
            let _ = sender.send(Event::Worker(report));
        }
    })
}

/// One socket a listener and worker: worker by worker, in the order of the listeners.
fn bind(listeners: &[Listener], workers: usize) -> Result<(Vec<SocketAddr>, Vec<Vec<TcpListener>>), StartError> {
    let mut sockets: Vec<Vec<TcpListener>> = (0..workers).map(|_| Vec::new()).collect();
    let mut addresses = Vec::new();
    for listener in listeners {
        let fail = |error: std::io::Error| StartError::Listen {
            address: listener.bind,
            kind: listener.kind,
            hint: hint(&error),
            error,
        };
        bind_probe(listener.bind).map_err(fail)?;
        // With port 0 the kernel chooses for the first worker, and the others share its choice.
        let mut address = listener.bind;
        for of_worker in &mut sockets {
            let socket = bind_reuseport(address).map_err(fail)?;
            address = socket.local_addr()?;
            of_worker.push(socket);
        }
        addresses.push(address);
    }
    Ok((addresses, sockets))
}

type OpenLog = (Option<Arc<AccessLog>>, Option<Writer>, Vec<crate::observe::writer::LogSink>);

fn open_log(plan: &Plan, registry: &Registry) -> Result<OpenLog, StartError> {
    let settings = &plan.proxy;
    let Some(path) = &settings.access_log_file else { return Ok((None, None, Vec::new())) };
    let format = settings.access_log_format.as_deref().unwrap_or_default();
    let format = match settings.access_log_encoding {
        AccessLogEncoding::Text => AccessLog::of_mesh_config(format)?,
        AccessLogEncoding::Json => AccessLog::json_of_mesh_config(format)?,
    };
    let (writer, sinks) = Writer::start(Path::new(path), registry)
        .map_err(|error| StartError::AccessLog { path: path.clone(), error })?;
    Ok((Some(Arc::new(format)), Some(writer), sinks))
}

/// `limits.maxConnections`, or half of the descriptors left: a request in flight needs a second one, upstream.
fn most_connections(limit: Option<u32>, descriptors: u64) -> usize {
    let left = descriptors.saturating_sub(DESCRIPTORS_KEPT).max(2) / 2;
    limit.map_or(usize::try_from(left).unwrap_or(usize::MAX), |limit| limit as usize)
}

fn core_stats(plan: &Plan, registry: &Registry, core: usize) -> CoreStats {
    CoreStats {
        clusters: plan.clusters.iter().map(|cluster| registry.cluster(core, &cluster.name)).collect(),
        endpoints: plan
            .clusters
            .iter()
            .map(|cluster| {
                let endpoints = cluster.endpoints.iter();
                endpoints.map(|endpoint| registry.endpoint(core, &cluster.name, endpoint.address)).collect()
            })
            .collect(),
        listeners: plan.listeners.iter().map(|listener| registry.listener(core, &listener.name)).collect(),
        http: plan.listeners.iter().map(|listener| registry.http(core, &listener.stat_prefix)).collect(),
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
fn first_outward_address() -> Option<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().ok()?;
    interfaces.iter().map(if_addrs::Interface::ip).find(|address| address.is_ipv4() && !address.is_loopback())
}
