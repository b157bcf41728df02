//! A worker: one thread, pinned to one CPU, with its own ring, listeners, connections and pools.
//!
//! Control starts it, sends it messages and hears its reports; nothing else crosses the thread's border. A worker never
//! resolves a name, opens a file, takes a lock or waits for another one.

mod accept;

use std::net::TcpListener;
use std::ops::ControlFlow;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::Duration;

use core_affinity::CoreId;

use crate::io::{self, Bell, Driver, Notify, Ringer, Started, race};
use crate::observe::access_log::AccessLog;
use crate::plan::{Cluster, ClusterId, Plan};
use crate::proxy::{Core, CoreParts, Difference, ResolvedAuthority, TICK};
use crate::upstream::{ClusterHandles, CoreMessage, CoreStats, Peer, RetiredPlan, SharedClusters};

use accept::Listeners;
pub use accept::Socket;

/// A message from control to a worker.
#[derive(Debug)]
pub enum Message {
    /// Answer the next request by a new plan.
    Install(Box<Install>),
    /// The addresses of an authority that the worker has requested.
    Resolved {
        /// The authority, as it was requested.
        authority: Box<str>,
        /// The answer.
        resolved: ResolvedAuthority,
        /// How long it is valid; `None`: no server answered, and an earlier answer is kept.
        valid: Option<Duration>,
    },
    /// Another core has begun, and this is the way to it.
    Meet {
        /// Its number.
        core: usize,
        /// The way.
        peer: Peer,
    },
    /// Clusters of the plan in force have other members.
    Members(Vec<Members>),
    /// Accept no new connections, finish requests in flight, then end.
    Drain,
    /// End now.
    Stop,
}

/// A new plan for a worker, with everything made ready that could fail.
pub struct Install {
    /// This worker's own copy.
    pub plan: Plan,
    /// Its counters for it.
    pub stats: CoreStats,
    /// The shared state of its clusters.
    pub shared: SharedClusters,
    /// One for each listener of the plan, in its order.
    pub sockets: Vec<Socket>,
    /// The plan's form of log lines, if there is a log.
    pub log_format: Option<Arc<AccessLog>>,
}

/// The members of a cluster of the plan in force from now on.
#[derive(Debug)]
pub struct Members {
    /// The cluster's index in the plan.
    pub id: ClusterId,
    /// The cluster with them.
    pub cluster: Arc<Cluster>,
    /// The worker's counters, and the shared state.
    pub handles: ClusterHandles,
}

impl std::fmt::Debug for Install {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Install").field("sockets", &self.sockets).finish_non_exhaustive()
    }
}

/// A report from a worker to control.
#[derive(Debug)]
pub enum Report {
    /// It accepts connections.
    Serving {
        /// Which worker.
        worker: usize,
        /// How its ring was built.
        started: Started,
    },
    /// It answers by the plan that it was last sent, and has closed the listeners that the plan does not have.
    Installed {
        /// Which worker.
        worker: usize,
    },
    /// A plan of the past has answered its last request, and is to be dropped by control: that can take long.
    Retired {
        /// Which worker.
        worker: usize,
        /// The plan.
        retired_plan: Box<RetiredPlan>,
    },
    /// It wants to know where an authority is ([`Message::Resolved`]).
    ResolveAuthority {
        /// Which worker.
        worker: usize,
        /// `host` or `host:port`.
        authority: Box<str>,
    },
    /// A mirror answered differently from the original.
    MirrorDiffers(Box<Difference>),
    /// A connection's task, or a mirrored request's, panicked and was closed; the worker goes on.
    Panicked {
        /// Which worker.
        worker: usize,
    },
    /// It has ended; with the reason if control did not ask it to.
    Ended {
        /// Which worker.
        worker: usize,
        /// Why it could not go on.
        error: Option<String>,
    },
}

/// Where a worker's reports go. Called on the worker's thread, so it must not block.
pub type Reporter = Arc<dyn Fn(Report) + Send + Sync>;

/// The parameters of a new worker.
pub struct Start {
    /// The CPU to pin it to.
    pub cpu: CoreId,
    /// The driver wanted.
    pub driver: Driver,
    /// The parts of its core.
    pub parts: CoreParts,
    /// One bound socket for each listener of the plan, in its order.
    pub listeners: Vec<TcpListener>,
    /// Its messages.
    pub mailbox: Receiver<Message>,
    /// Messages of other cores.
    pub core_messages: Receiver<CoreMessage>,
    /// Rung when there are messages of control or of other cores.
    pub bell: Bell,
    /// Where its reports go.
    pub reports: Reporter,
}

/// Control's hold on a running worker, which ends when it is dropped.
#[derive(Debug)]
pub struct WorkerHandle {
    mailbox: Option<Sender<Message>>,
    ringer: Arc<Ringer>,
}

impl WorkerHandle {
    /// For a worker that reads `mailbox` and is woken through `ringer`.
    #[must_use]
    pub fn new(mailbox: Sender<Message>, ringer: Arc<Ringer>) -> Self {
        Self { mailbox: Some(mailbox), ringer }
    }

    /// Sends a message; one that has ended already does not hear it.
    pub fn send(&self, message: Message) {
        if self.mailbox.as_ref().is_some_and(|mailbox| mailbox.send(message).is_ok()) {
            self.ringer.ring();
        }
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        self.mailbox = None;
        self.ringer.ring(); // other cores keep ringers of the bell, so it does not end with this one
    }
}

/// Reports the end of a worker however it comes: also when a panic unwinds its thread.
struct EndReport {
    worker: usize,
    reports: Reporter,
    error: Option<String>,
}

impl Drop for EndReport {
    fn drop(&mut self) {
        let error = if std::thread::panicking() { Some("its thread panicked".to_owned()) } else { self.error.take() };
        (self.reports)(Report::Ended { worker: self.worker, error });
    }
}

/// Gives up a core however its worker ends.
struct Abandon(Rc<Core>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// The thread's whole life.
pub fn main(start: Start) {
    let mut end = EndReport { worker: start.parts.index, reports: start.reports.clone(), error: None };
    // Pinned before the ring is built and the first buffer allocated, so that both are this CPU's.
    if !core_affinity::set_for_current(start.cpu) {
        end.error = Some(format!("cannot be pinned to CPU {}", start.cpu.id));
        return;
    }
    let driver = start.driver;
    match io::block_on(driver, |started| serve(start, started)) {
        Ok(Ok(())) => {}
        Ok(Err(error)) | Err(error) => end.error = Some(error.to_string()),
    }
}

async fn serve(start: Start, started: Started) -> std::io::Result<()> {
    let Start { parts, listeners, mailbox, core_messages, bell, reports, .. } = start;
    let core = Core::new(parts);
    let _end = Abandon(core.clone());
    let rung = listen(bell)?;
    let mut serving = Serving {
        listeners: Listeners::new(core.clone(), reports.clone()),
        core: core.clone(),
        reports: reports.clone(),
    };
    serving.open(listeners)?;
    io::spawn(tick(core.clone(), reports.clone()));
    reports(Report::Serving { worker: core.index, started });
    loop {
        {
            let rung = pin!(rung.raised());
            let emptied = pin!(core.emptied.raised());
            race(rung, emptied).await;
        }
        while let Ok(core_message) = core_messages.try_recv() {
            core.core_mailbox.read(core_message);
        }
        loop {
            match mailbox.try_recv() {
                Ok(message) => {
                    if serving.on_message(message)?.is_break() {
                        return Ok(());
                    }
                }
                Err(TryRecvError::Disconnected) => return Ok(()),
                Err(TryRecvError::Empty) => break,
            }
        }
        if serving.is_drained() {
            return Ok(());
        }
    }
}

/// Raised whenever the bell rings, and when it can ring no more.
fn listen(bell: Bell) -> std::io::Result<Rc<Notify>> {
    let mut rings = bell.listen()?;
    let rung = Rc::new(Notify::default());
    let raise = rung.clone();
    io::spawn(async move {
        while rings.next().await {
            raise.raise();
        }
        raise.raise();
    });
    Ok(rung)
}

/// A serving worker, which control's messages act on.
struct Serving {
    core: Rc<Core>,
    listeners: Listeners,
    reports: Reporter,
}

impl Serving {
    /// Opens the listeners of the plan that the worker was started with.
    fn open(&mut self, listeners: Vec<TcpListener>) -> std::io::Result<()> {
        self.listeners.change(listeners.into_iter().map(Socket::New).collect(), &self.core.installed())
    }

    /// Handles a message of control; `Break`: the worker must end.
    fn on_message(&mut self, message: Message) -> std::io::Result<ControlFlow<()>> {
        match message {
            Message::Install(install) => self.install(*install)?,
            Message::Members(members) => self.change_members(members),
            Message::Resolved { authority, resolved, valid } => self.core.resolved(&authority, resolved, valid),
            Message::Meet { core, peer } => self.core.core_mailbox.meet(core, peer),
            Message::Drain => self.drain(),
            Message::Stop => return Ok(ControlFlow::Break(())),
        }
        Ok(ControlFlow::Continue(()))
    }

    fn install(&mut self, install: Install) -> std::io::Result<()> {
        let Install { plan, stats, shared, sockets, log_format } = install;
        let old = self.core.install(plan, stats, shared, log_format);
        self.listeners.change(sockets, &old)?;
        (self.reports)(Report::Installed { worker: self.core.index });
        Ok(())
    }

    fn change_members(&self, members: Vec<Members>) {
        for Members { id, cluster, handles } in members {
            self.core.change_members(id, &cluster, handles);
        }
    }

    fn drain(&mut self) {
        self.listeners.stop();
        self.core.drain();
    }

    /// Whether the last connection has ended after a [`Message::Drain`].
    fn is_drained(&self) -> bool {
        self.core.draining() && self.core.connections() == 0 && self.listeners.stopped()
    }
}

/// The periodic work, for as long as the worker lives.
async fn tick(core: Rc<Core>, reports: Reporter) {
    loop {
        let now = io::now();
        core.tick(now);
        while let Some(retired_plan) = core.take_retired() {
            reports(Report::Retired { worker: core.index, retired_plan: Box::new(retired_plan) });
        }
        io::sleep_until(now + TICK).await;
    }
}
