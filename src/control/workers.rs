//! The worker threads: starting them, telling them, and replacing one that has died.

use std::net::{IpAddr, TcpListener};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use core_affinity::CoreId;

use super::Event;
use crate::base::limits::{MIRROR_DESCRIPTORS, MIRRORS_PER_CORE};
use crate::base::rng::Rng;
use crate::http::hops;
use crate::io::{self, doorbell};
use crate::observe::access_log::AccessLog;
use crate::observe::writer::LogSink;
use crate::plan::Plan;
use crate::proxy::{Budget, CoreParts, Log, MirrorReport, ResolveAuthority, TellMirrors};
use crate::upstream::{CoreStats, Peer, SharedClusters};
use crate::worker::{self, Message, Report, Reporter, Start, WorkerHandle};

/// A worker that dies sooner than this after its start is not replaced before as much time has passed: its successor would
/// probably die as soon, and the other workers need the CPU.
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// All workers, by core.
pub(super) struct Workers {
    members: Vec<WorkerSlot>,
    driver: io::Driver,
    events: Sender<Event>,
    budget: Arc<Budget>,
    stands_for_loopback: Option<IpAddr>,
    /// The id of the process in `x-ringway-hops`.
    instance: hops::Id,
    /// Copies of requests that a worker may have under way.
    most_mirrors: usize,
    /// Threads started so far. The number of a thread, its generation, tells its reports from those of its predecessor.
    generations: u64,
}

struct WorkerSlot {
    cpu: CoreId,
    generation: u64,
    started: Instant,
    stage: WorkerStage,
}

enum WorkerStage {
    /// Not started, or dead; to be started at this time.
    Stopped { due: Option<Instant> },
    /// Started; `serving` once it accepts.
    Alive { handle: WorkerHandle, peer: Peer, thread: JoinHandle<()>, serving: bool },
}

/// The parts of a worker that are not the same for all.
pub(super) struct WorkerInit {
    /// Its own copy of the plan in force.
    pub(super) plan: Plan,
    /// Its counters.
    pub(super) stats: CoreStats,
    /// The shared state of its clusters.
    pub(super) shared: SharedClusters,
    /// One for each listener of the plan.
    pub(super) listeners: Vec<TcpListener>,
    /// The access log, if there is one.
    pub(super) log: Option<(Arc<AccessLog>, LogSink)>,
}

impl Workers {
    /// A worker for each of `cpus`, not started. `descriptors`: the process's limit.
    pub(super) fn new(
        cpus: &[CoreId],
        driver: io::Driver,
        events: Sender<Event>,
        budget: Arc<Budget>,
        stands_for_loopback: Option<IpAddr>,
        descriptors: u64,
    ) -> Self {
        let started = io::now();
        let member =
            |cpu: &CoreId| WorkerSlot { cpu: *cpu, generation: 0, started, stage: WorkerStage::Stopped { due: None } };
        Self {
            members: cpus.iter().map(member).collect(),
            driver,
            events,
            budget,
            stands_for_loopback,
            instance: hops::id(fastrand::u32(..)),
            most_mirrors: most_mirrors(descriptors, cpus.len()),
            generations: 0,
        }
    }

    /// How many workers there are to be.
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Starts the worker of a core, in place of its predecessor.
    ///
    /// # Errors
    /// When the process is out of descriptors or threads.
    pub(super) fn start(&mut self, index: usize, init: WorkerInit) -> std::io::Result<()> {
        let ((mail, mailbox), (core_message, core_messages)) = (channel(), channel());
        let (bell, ringer) = doorbell()?;
        let ringer = Arc::new(ringer);
        let peer = Peer::new(core_message, ringer.clone());
        let others: Vec<(usize, Peer)> = self.peers().filter(|(other, _)| *other != index).collect();
        let Some(member) = self.members.get_mut(index) else { return Ok(()) };
        self.generations += 1;
        let reports = reporter(&self.events, self.generations);
        let start = Start {
            cpu: member.cpu,
            driver: self.driver,
            parts: CoreParts {
                index,
                plan: init.plan,
                stats: init.stats,
                shared: init.shared,
                rng: Rng::seeded(fastrand::u64(..)),
                log: init.log.map(|(format, sink)| Log::new(format, sink)),
                budget: self.budget.clone(),
                stands_for_loopback: self.stands_for_loopback,
                hostname: hostname(),
                instance: self.instance,
                resolve_authority: resolve_authority(index, reports.clone()),
                most_mirrors: self.most_mirrors,
                tell_mirrors: tell_mirrors(index, reports.clone()),
                peers: others.clone(),
            },
            listeners: init.listeners,
            mailbox,
            core_messages,
            bell,
            reports,
        };
        let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(|| worker::main(start))?;
        (member.generation, member.started) = (self.generations, io::now());
        let handle = WorkerHandle::new(mail, ringer);
        member.stage = WorkerStage::Alive { handle, peer: peer.clone(), thread, serving: false };
        others.iter().for_each(|(other, _)| self.tell(*other, Message::Meet { core: index, peer: peer.clone() }));
        Ok(())
    }

    /// The ways to the workers that are alive.
    fn peers(&self) -> impl Iterator<Item = (usize, Peer)> {
        self.members.iter().enumerate().filter_map(|(index, member)| match &member.stage {
            WorkerStage::Alive { peer, .. } => Some((index, peer.clone())),
            WorkerStage::Stopped { .. } => None,
        })
    }

    /// Whether the worker of this generation is the one that its core has now.
    pub(super) fn is_current(&self, index: usize, generation: u64) -> bool {
        self.members.get(index).is_some_and(|member| member.generation == generation)
    }

    /// A worker accepts connections.
    pub(super) fn serves(&mut self, index: usize) {
        if let Some(WorkerSlot { stage: WorkerStage::Alive { serving, .. }, .. }) = self.members.get_mut(index) {
            *serving = true;
        }
    }

    /// Whether every worker accepts connections.
    pub(super) fn all_serve(&self) -> bool {
        self.members.iter().all(|member| matches!(member.stage, WorkerStage::Alive { serving: true, .. }))
    }

    /// A worker has ended, or could not be started: it is due again at once, or after a while.
    pub(super) fn mark_dead(&mut self, index: usize, now: Instant) {
        let Some(member) = self.members.get_mut(index) else { return };
        let tried_before = matches!(member.stage, WorkerStage::Stopped { .. });
        let long = !tried_before && now.duration_since(member.started) >= SHORT_LIFE;
        let due = if long { now } else { now + SHORT_LIFE };
        member.generation = 0; // reports of its thread that are still to come are of no interest
        member.stage = WorkerStage::Stopped { due: Some(due) };
    }

    /// When the next worker is to be replaced.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.members.iter().filter_map(WorkerSlot::due).min()
    }

    /// The workers that are to be replaced by now.
    pub(super) fn due(&self, now: Instant) -> Vec<usize> {
        let due = |(_, member): &(usize, &WorkerSlot)| member.due().is_some_and(|due| due <= now);
        self.members.iter().enumerate().filter(due).map(|(index, _)| index).collect()
    }

    /// The workers that are alive.
    pub(super) fn alive(&self) -> Vec<usize> {
        let alive = |(_, member): &(usize, &WorkerSlot)| matches!(member.stage, WorkerStage::Alive { .. });
        self.members.iter().enumerate().filter(alive).map(|(index, _)| index).collect()
    }

    /// Sends one of them a message.
    pub(super) fn tell(&self, index: usize, message: Message) {
        if let Some(WorkerSlot { stage: WorkerStage::Alive { handle, .. }, .. }) = self.members.get(index) {
            handle.send(message);
        }
    }

    /// Joins the workers that have ended. A worker that has not ended was given up before: waiting for it could take for
    /// ever.
    pub(super) fn dismiss(self) {
        for member in self.members {
            if let WorkerStage::Alive { thread, .. } = member.stage
                && thread.is_finished()
            {
                let _ = thread.join();
            }
        }
    }
}

impl WorkerSlot {
    fn due(&self) -> Option<Instant> {
        match self.stage {
            WorkerStage::Stopped { due } => due,
            WorkerStage::Alive { .. } => None,
        }
    }
}

fn resolve_authority(worker: usize, reports: Reporter) -> ResolveAuthority {
    Box::new(move |authority| reports(Report::ResolveAuthority { worker, authority: authority.into() }))
}

fn tell_mirrors(worker: usize, reports: Reporter) -> TellMirrors {
    Box::new(move |report| {
        reports(match report {
            MirrorReport::Differs(difference) => Report::MirrorDiffers(difference),
            MirrorReport::Panicked => Report::Panicked { worker },
        });
    })
}

/// How many copies of requests one of so many workers may have under way.
fn most_mirrors(descriptors: u64, workers: usize) -> usize {
    let share = descriptors / MIRROR_DESCRIPTORS / workers.max(1) as u64;
    usize::try_from(share).unwrap_or(usize::MAX).clamp(1, MIRRORS_PER_CORE)
}

/// The name of this machine; empty if it has none.
fn hostname() -> Box<str> {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().into()
}

fn reporter(events: &Sender<Event>, generation: u64) -> Reporter {
    // A Sender is not Sync everywhere a Reporter must be; reports are rare.
    let events = Mutex::new(events.clone());
    Arc::new(move |report| {
        if let Ok(events) = events.lock() {
            let _ = events.send(Event::Worker { generation, report });
        }
    })
}
