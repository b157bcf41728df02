//! Reloading: a new configuration is read and compiled in the background, prepared, and put in force on all workers, or
//! refused as a whole.
//!
//! It goes in steps, each begun by an event: requested (a signal, a change at the source) → read and compiled, on a thread of
//! its own → its host names resolved → prepared: all steps that can fail, up to the sockets of new listeners → sent to the
//! workers → in force, when the last of them has reported so. Only one is under way at a time; a reload that is requested
//! meanwhile comes after it. `progress` has its state.

mod progress;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use tracing::{error, info, warn};

use super::in_force::InForce;
use super::listeners::{BoundListener, Key};
use super::names::NAMES_PATIENCE;
use super::{ConfigSource, Digest, Loaded, Revision, Running, StartError, access_log, plan_stats};
use crate::base::count::counted;
use crate::base::id::ListenerId;
use crate::io::now;
use crate::istio::problem::Problem;
use crate::observe::access_log::AccessLog;
use crate::plan::{Plan, ProxySettings};
use crate::upstream::SharedCluster;
use crate::worker::{Install, Message, Socket};

pub(super) use progress::Reloads;
use progress::{Cause, Installing, New, ReloadStep, remark, remarks};

/// A plan with everything made ready that could fail.
struct Prepared {
    plan: Plan,
    log_format: Option<Arc<AccessLog>>,
    listeners: Vec<ListenerSocket>,
}

/// Where a listener of a new plan comes from.
enum ListenerSocket {
    New(BoundListener),
    /// It is this one of the plan before.
    Kept(usize),
}

impl Running {
    /// Reads `source` again when SIGHUP asks for it or its documents change. It was last read as `loaded`.
    pub fn reload_from(&mut self, source: ConfigSource, loaded: Loaded) {
        let Loaded { problems, revision, .. } = loaded;
        if source.reads_stdin() {
            info!("standard input is a part of the configuration, so it cannot be reloaded");
        } else {
            match source.watch(&revision, self.queue.sender()) {
                Ok(watch) => self.reloads.watch = Some(watch),
                Err(error) => {
                    warn!("the configuration cannot be watched for changes, only SIGHUP reloads it: {error}");
                }
            }
        }
        self.reloads.source = Some(Arc::new(source));
        self.reloads.revision = revision;
        self.reloads.remarks = remarks(&problems);
    }

    pub(super) fn reload_asked(&mut self) {
        self.reload(Cause::Asked);
    }

    pub(super) fn source_changed(&mut self, revision: Revision) {
        self.reload(Cause::Changed(revision));
    }

    fn reload(&mut self, cause: Cause) {
        if !matches!(self.reloads.step, ReloadStep::None) {
            // A requested reload is done in any case, and reads the changes, too.
            if !matches!(self.reloads.next, Some(Cause::Asked)) {
                self.reloads.next = Some(cause);
            }
            return;
        }
        let Some(source) = self.reloads.source.clone() else {
            return self.refuse("the configuration is built in");
        };
        match cause {
            // Already read, by a reload after a signal.
            Cause::Changed(revision) if revision == self.reloads.revision => return,
            Cause::Changed(_) => info!("the files of the configuration have changed: reloading"),
            Cause::Asked if source.reads_stdin() => {
                return self.refuse("a part of it came from standard input, which can be read only once");
            }
            Cause::Asked => info!("SIGHUP: reloading"),
        }
        match source.load_again(self.queue.sender()) {
            Ok(()) => self.reloads.step = ReloadStep::Loading { since: now() },
            Err(error) => self.refuse(&format!("no thread to read it: {error}")),
        }
    }

    /// The configuration has been read again.
    pub(super) fn loaded(&mut self, loaded: Result<(Loaded, Digest), String>) {
        let ReloadStep::Loading { since } = std::mem::take(&mut self.reloads.step) else { return };
        let (Loaded { plan, problems, revision }, digest) = match loaded {
            Ok(loaded) => loaded,
            Err(why) => return self.refuse(&why),
        };
        if let Some(watch) = &self.reloads.watch {
            watch.follow(&revision);
        }
        self.reloads.revision = revision;
        if let Some(source) = &self.reloads.source {
            let known = |problem: &&Problem| problem.is_error() || !self.reloads.remarks.contains(&remark(problem));
            (source.tell)(&problems.iter().filter(known).collect::<Vec<_>>());
        }
        let errors = problems.iter().filter(|problem| problem.is_error()).count();
        if errors > 0 {
            return self.refuse(&format!("it has {}", counted(errors, "error")));
        }
        let (now, mut new) = (now(), Box::new(New { plan, digest, remarks: remarks(&problems) }));
        self.names.fill(&mut new.plan, now);
        self.ask_names(now);
        self.reloads.step = ReloadStep::Resolving { since, until: now + NAMES_PATIENCE, new };
        self.go_on_if_resolved(now);
    }

    /// Puts the plan in force that waits for answers about names, if they are there or too late.
    pub(super) fn go_on_if_resolved(&mut self, now: Instant) {
        let over = |until: &Instant| *until <= now || self.names.all_answered();
        if !matches!(&self.reloads.step, ReloadStep::Resolving { until, .. } if over(until)) {
            return;
        }
        let ReloadStep::Resolving { since, new, .. } = std::mem::take(&mut self.reloads.step) else { return };
        let New { mut plan, digest, remarks } = *new;
        self.names.fill(&mut plan, now);
        match self.prepare(plan) {
            Ok(prepared) => {
                self.reloads.remarks = remarks;
                self.commit(prepared, digest, since);
            }
            Err(error) => self.refuse(&error.to_string()),
        }
    }

    /// All steps that can fail. A failure changes nothing.
    fn prepare(&self, mut plan: Plan) -> Result<Prepared, StartError> {
        keep_settings(&self.reloads.started_with, &mut plan.proxy);
        let log_format = self.log.as_ref().map(|_| access_log::format(&plan.proxy)).transpose()?;
        let bound = &self.in_force.bound;
        let open: HashMap<Key, usize> = bound.iter().enumerate().map(|(at, bound)| (bound.key, at)).collect();
        let ours: HashSet<u16> = bound.iter().map(|bound| bound.address.port()).collect();
        let listeners = plan.listeners.iter().map(|listener| match open.get(&Key::of(listener)) {
            Some(at) => Ok(ListenerSocket::Kept(*at)),
            None => BoundListener::bind(listener, self.workers.len(), ours.contains(&listener.bind.port()))
                .map(ListenerSocket::New),
        });
        let listeners = listeners.collect::<Result<_, _>>()?;
        Ok(Prepared { plan, log_format, listeners })
    }

    /// Puts a plan in force. It cannot fail any more: a worker that fails is replaced.
    fn commit(&mut self, prepared: Prepared, digest: Digest, since: Instant) {
        let Prepared { plan, log_format, mut listeners } = prepared;
        let plan = Arc::new(plan);
        let old = (&*self.in_force.plan, &self.in_force.shared);
        let shared = SharedCluster::all_after(&plan, old, self.workers.len());
        self.ejections.follow(&plan, &self.in_force.plan, now());
        let workers = self.workers.alive();
        for worker in &workers {
            let socket = |place: &mut ListenerSocket| match place {
                ListenerSocket::New(bound) => bound.socket(*worker).map(Socket::New),
                ListenerSocket::Kept(at) => Ok(Socket::Kept(ListenerId(*at as u32))),
            };
            let sockets: std::io::Result<Vec<_>> = listeners.iter_mut().map(socket).collect();
            match sockets {
                Ok(sockets) => {
                    let stats = plan_stats::of_core(&plan, &self.registry, *worker);
                    let (plan, shared, log_format) = (plan.own_copy(), shared.clone(), log_format.clone());
                    let install = Install { plan, stats, shared, sockets, log_format };
                    self.workers.tell(*worker, Message::Install(Box::new(install)));
                }
                Err(error) => self.lose_worker(*worker, &format!("it cannot have the new listeners: {error}")),
            }
        }
        plan_stats::show_members(&plan, &self.registry);
        self.connection_limit.follow(&plan.proxy);
        if let (Some(log), Some(format)) = (&mut self.log, log_format) {
            log.format = format;
        }
        let mut before: Vec<Option<BoundListener>> = self.in_force.bound.drain(..).map(Some).collect();
        for (place, listener) in listeners.into_iter().zip(plan.listeners.iter()) {
            match place {
                ListenerSocket::New(bound) => {
                    info!("listening on {} for {}", bound.address, listener.kind);
                    self.in_force.bound.push(bound);
                }
                ListenerSocket::Kept(at) => self.in_force.bound.extend(before.get_mut(at).and_then(Option::take)),
            }
        }
        let vanished = before.into_iter().flatten().collect();
        (self.in_force.plan, self.in_force.shared) = (plan, shared);
        let before = std::mem::replace(&mut self.in_force.digest, digest);
        self.names.installed(&self.in_force.plan);
        let waiting = self.workers.alive().into_iter().collect();
        self.reloads.step = ReloadStep::Installing(Installing { since, before, waiting, vanished });
        self.finish_if_installed();
    }

    /// A worker has the new plan, or has died.
    pub(super) fn installed(&mut self, worker: usize) {
        if let ReloadStep::Installing(installing) = &mut self.reloads.step {
            installing.waiting.remove(&worker);
            self.finish_if_installed();
        }
    }

    fn finish_if_installed(&mut self) {
        if !matches!(&self.reloads.step, ReloadStep::Installing(installing) if installing.waiting.is_empty()) {
            return;
        }
        let ReloadStep::Installing(Installing { since, before, vanished, .. }) = std::mem::take(&mut self.reloads.step)
        else {
            return;
        };
        for bound in vanished {
            info!("no longer listening on {}", bound.address);
            bound.close();
        }
        let InForce { plan, shared, digest, .. } = &self.in_force;
        self.registry.retain(&plan_stats::kept(plan));
        self.state.install(plan.clone(), shared.clone());
        self.state.describe(digest.version());
        self.registry.control().config_reload_success.inc();
        info!(
            "reloaded in {} ms: {}, {}: {}",
            now().duration_since(since).as_millis(),
            counted(plan.listeners.len(), "listener"),
            counted(plan.clusters.len(), "cluster"),
            before.changes_to(digest)
        );
        self.go_on();
    }

    fn refuse(&mut self, why: &str) {
        self.names.go_back_to(&self.in_force.plan, now());
        self.registry.control().config_reload_failure.inc();
        error!("not reloaded, the configuration stays as it was: {why}");
        self.go_on();
    }

    fn go_on(&mut self) {
        if let Some(cause) = self.reloads.next.take() {
            self.reload(cause);
        }
    }
}

/// Settings that hold from the start of the process to its end stay as they were, and it is said.
fn keep_settings(started_with: &ProxySettings, new: &mut ProxySettings) {
    let keep = |changed: bool, field: &str| {
        if changed {
            warn!("{field} was changed, which takes effect only after a restart of ringway");
        }
    };
    keep(new.cpus != started_with.cpus, "spec.cpus");
    keep(new.driver != started_with.driver, "spec.driver");
    keep(new.admin != started_with.admin, "spec.admin");
    keep(new.access_log_file != started_with.access_log_file, "spec.meshConfig.accessLogFile");
    new.cpus = started_with.cpus.clone();
    new.driver = started_with.driver;
    new.admin = started_with.admin;
    new.access_log_file.clone_from(&started_with.access_log_file);
}
