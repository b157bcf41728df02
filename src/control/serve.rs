//! Serving: the loop in which everything is decided, and the workers that die meanwhile.

use tracing::{error, info};

use super::admin::ServerState;
use super::{ConfigEvent, Event, Running};
use crate::io::now;
use crate::worker::Report;

impl Running {
    /// Serves until [`Event::Stop`]; then stops accepting, waits for requests in flight, at most `drainDuration`,
    /// and returns. A second `Stop` ends the wait. [`Event::Drain`] does the same, but returns only after a `Stop`.
    ///
    /// The proxy is ready from here on, except while a worker that died is being replaced.
    pub fn serve(mut self) {
        self.state.enter(ServerState::Live);
        let stay = loop {
            match self.next_event() {
                Some(Event::Stop) => break false,
                Some(Event::Drain) => break true,
                Some(Event::Worker { generation, report }) => self.on_report(generation, report),
                Some(Event::Reload) => self.reload_asked(),
                Some(Event::Config(event)) => self.on_config(event),
                Some(Event::ReopenLog) => self.reopen_log(),
                Some(Event::Named { name, answer }) => self.name_answered(&name, &answer),
                None => self.do_due_work(),
            }
        };
        self.drain(stay);
    }

    /// The next event; `None` when a timer is due.
    fn next_event(&self) -> Option<Event> {
        let due = [self.workers.next_due(), self.names.next_due(), self.reloads.next_due(), self.ejections.next_due()];
        self.queue.next(due.into_iter().flatten().min())
    }

    fn on_config(&mut self, event: ConfigEvent) {
        match event {
            ConfigEvent::Changed(revision) => self.source_changed(revision),
            ConfigEvent::Loaded(loaded, digest) => self.loaded(Ok((*loaded, digest))),
            ConfigEvent::Failed(why) => self.loaded(Err(why)),
        }
    }

    fn on_report(&mut self, generation: u64, report: Report) {
        match report {
            Report::Panicked { worker } => {
                error!("worker {worker}: a task panicked; its connection was closed");
            }
            Report::MirrorDiffers(difference) => self.state.differs(*difference),
            Report::Ended { worker, error } if self.workers.is_current(worker, generation) => {
                self.lose_worker(worker, &error.unwrap_or_else(|| "unexpected end".to_owned()));
                self.installed(worker); // its successor begins with the plan in force
            }
            Report::Serving { worker, .. } if self.workers.is_current(worker, generation) => {
                self.workers.serves(worker);
                info!("worker {worker} serves again");
                if self.workers.all_serve() {
                    self.state.enter(ServerState::Live);
                }
            }
            Report::ResolveAuthority { worker, authority } => self.resolve_authority(worker, authority),
            Report::Installed { worker } if self.workers.is_current(worker, generation) => self.installed(worker),
            // The last reports of a predecessor, or a plan of the past that is dropped here.
            Report::Ended { .. } | Report::Serving { .. } | Report::Installed { .. } | Report::Retired { .. } => {}
        }
    }

    fn do_due_work(&mut self) {
        let now = now();
        self.replace_workers();
        self.ask_names(now);
        self.go_on_if_resolved(now);
        self.ejections.sweep(&self.in_force.plan, &self.in_force.shared, now);
    }

    /// Replaces a worker that has died or cannot go on; until the new one runs the proxy is not ready.
    pub(super) fn lose_worker(&mut self, worker: usize, why: &str) {
        error!("worker {worker} ended: {why}; starting a new one");
        self.state.enter(ServerState::PreInitializing);
        self.in_force.bound.iter_mut().for_each(|bound| bound.lose(worker));
        self.workers.mark_dead(worker, now());
    }

    fn replace_workers(&mut self) {
        for worker in self.workers.due(now()) {
            self.registry.clear_gauges(worker);
            let sink = self.log.as_ref().map(|log| log.writer.new_sink(worker, &self.registry));
            match self.start_worker(worker, sink) {
                Ok(()) => self.registry.control().worker_restarts.inc(),
                Err(error) => self.lose_worker(worker, &format!("it cannot be started: {error}")),
            }
        }
    }

    fn reopen_log(&self) {
        let Some(log) = &self.log else { return };
        if let Err(error) = log.writer.reopen() {
            error!("the access log cannot be reopened; logging goes on to the old file: {error}");
        }
    }
}
