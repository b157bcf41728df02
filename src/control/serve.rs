//! Serving: the loop in which everything is decided, and the workers that die meanwhile.

use std::sync::mpsc::RecvTimeoutError;

use tracing::{error, info};

use super::admin::Stage;
use super::{Event, Running};
use crate::io::now;
use crate::worker::Report;

impl Running {
    /// Serves until [`Event::Stop`]; then stops accepting, waits for what is in flight, at most `drainDuration`, and
    /// returns. A second `Stop` ends the wait.
    ///
    /// A worker that dies is replaced; until the new one accepts connections, the proxy is not ready.
    pub fn serve(mut self) {
        loop {
            match self.next_event() {
                Some(Event::Stop) => break,
                Some(Event::Worker { life, report }) => self.heard(life, report),
                Some(Event::Reload) => self.reload_asked(),
                Some(Event::Changed(snapshot)) => self.files_changed(snapshot),
                Some(Event::Loaded(loaded)) => self.loaded(loaded),
                Some(Event::ReopenLog) => self.reopen_log(),
                None => self.replace_workers(),
            }
        }
        self.drain();
    }

    /// The next event; `None` when a worker is to be replaced.
    fn next_event(&self) -> Option<Event> {
        let Some(due) = self.crew.next_due() else {
            // This side holds a sender, so the channel never closes.
            return Some(self.events.recv().unwrap_or(Event::Stop));
        };
        match self.events.recv_timeout(due.saturating_duration_since(now())) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Event::Stop),
        }
    }

    fn heard(&mut self, life: u64, report: Report) {
        match report {
            Report::Panicked { worker } => {
                error!("worker {worker}: a connection's task panicked; that connection was closed");
            }
            Report::Ended { worker, error } if self.crew.is_current(worker, life) => {
                self.lose_worker(worker, &error.unwrap_or_else(|| "nobody asked it to".to_owned()));
                self.installed(worker); // its successor begins with the plan in force
            }
            Report::Serving { worker, .. } if self.crew.is_current(worker, life) => {
                self.crew.serves(worker);
                info!("worker {worker} serves again");
                if self.crew.all_serve() {
                    self.state.enter(Stage::Live);
                }
            }
            Report::Installed { worker } if self.crew.is_current(worker, life) => self.installed(worker),
            // A predecessor's last words, or a plan of the past that is dropped here.
            Report::Ended { .. } | Report::Serving { .. } | Report::Installed { .. } | Report::Retired { .. } => {}
        }
    }

    /// A worker is of no use any more: another is to take its place, and until then the proxy is not ready.
    pub(super) fn lose_worker(&mut self, worker: usize, why: &str) {
        error!("worker {worker} ended: {why}; another takes its place");
        self.state.enter(Stage::PreInitializing);
        self.crew.bury(worker, now());
    }

    fn replace_workers(&mut self) {
        for worker in self.crew.due(now()) {
            self.registry.control().worker_restarts.inc();
            let sink = self.log.as_ref().map(|log| log.writer.new_sink(worker, &self.registry));
            if let Err(error) = self.start_worker(worker, sink) {
                self.lose_worker(worker, &format!("it cannot be started: {error}"));
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
