//! Serving: the loop in which everything is decided, and the workers that die meanwhile.

use std::net::SocketAddr;
use std::sync::mpsc::RecvTimeoutError;

use tracing::{error, info};

use super::admin::Stage;
use super::{Event, Running};
use crate::io::now;
use crate::worker::Report;

impl Running {
    /// Serves until [`Event::Stop`]; then stops accepting, waits for what is in flight, at most `drainDuration`, and
    /// returns. A second `Stop` ends the wait. [`Event::Drain`] does the same, but returns only after a `Stop`.
    ///
    /// The proxy is ready from here on, except while a worker that died is being replaced.
    pub fn serve(mut self) {
        self.state.enter(Stage::Live);
        let stay = loop {
            match self.next_event() {
                Some(Event::Stop) => break false,
                Some(Event::Drain) => break true,
                Some(Event::Worker { life, report }) => self.heard(life, report),
                Some(Event::Reload) => self.reload_asked(),
                Some(Event::Changed(snapshot)) => self.files_changed(snapshot),
                Some(Event::Loaded(loaded)) => self.loaded(loaded),
                Some(Event::ReopenLog) => self.reopen_log(),
                Some(Event::Named { name, answer }) => self.name_answered(&name, &answer),
                None => {
                    self.something_is_due();
                    self.sweep_ejections();
                }
            }
        };
        self.drain(stay);
    }

    /// The next event; `None` when something is to be done without one.
    fn next_event(&self) -> Option<Event> {
        let due = [self.workers.next_due(), self.names.next_due(), self.reloads.next_due(), self.ejections.next_due()];
        let Some(due) = due.into_iter().flatten().min() else {
            // This side holds a sender, so the channel never closes.
            return Some(self.events.recv().unwrap_or(Event::Stop));
        };
        let left = due.saturating_duration_since(now());
        if left.is_zero() {
            return None; // however many events there are
        }
        match self.events.recv_timeout(left) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Event::Stop),
        }
    }

    fn heard(&mut self, life: u64, report: Report) {
        match report {
            Report::Panicked { worker } => {
                error!("worker {worker}: a task panicked; its connection was closed");
            }
            Report::MirrorDiffers(difference) => self.state.differs(*difference),
            Report::Ended { worker, error } if self.workers.is_current(worker, life) => {
                self.lose_worker(worker, &error.unwrap_or_else(|| "nobody asked it to".to_owned()));
                self.installed(worker); // its successor begins with the plan in force
            }
            Report::Serving { worker, .. } if self.workers.is_current(worker, life) => {
                self.workers.serves(worker);
                info!("worker {worker} serves again");
                if self.workers.all_serve() {
                    self.state.enter(Stage::Live);
                }
            }
            Report::ResolveAuthority { worker, authority } => self.asked_where(worker, authority),
            Report::Installed { worker } if self.workers.is_current(worker, life) => self.installed(worker),
            // A predecessor's last words, or a plan of the past that is dropped here.
            Report::Ended { .. } | Report::Serving { .. } | Report::Installed { .. } | Report::Retired { .. } => {}
        }
    }

    fn something_is_due(&mut self) {
        let now = now();
        self.replace_workers();
        self.ask_names(now);
        self.go_on_if_resolved(now);
    }

    /// Where undeclared hosts must not be: the listeners for what goes out, which would send requests round in circles, and
    /// the admin endpoints, which are nobody's business who can reach those.
    pub(super) fn not_to_be_sent_to(&self) -> Vec<SocketAddr> {
        let listeners = self.plan.listeners.iter().zip(&self.bound);
        let outward = listeners.filter(|(listener, _)| listener.kind.is_outbound());
        outward.map(|(_, bound)| bound.address).chain(self.admin_address()).collect()
    }

    /// A worker is of no use any more: another is to take its place, and until then the proxy is not ready.
    pub(super) fn lose_worker(&mut self, worker: usize, why: &str) {
        error!("worker {worker} ended: {why}; another takes its place");
        self.state.enter(Stage::PreInitializing);
        self.bound.iter_mut().for_each(|bound| bound.lose(worker));
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
            error!("the access log cannot be opened anew, and goes on in the old file: {error}");
        }
    }
}
