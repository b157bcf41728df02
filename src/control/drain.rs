//! Serving until told to stop, and stopping in order.

use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::admin::Stage;
use super::{Event, Running};
use crate::io::now;
use crate::worker::{Message, Report};

/// How long workers that were told to stop may take for it.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// How serving came to its end when nobody asked for it.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A worker ended by itself.
    #[error("worker {worker} ended: {error}")]
    Worker {
        /// Which one.
        worker: usize,
        /// Why.
        error: String,
    },
}

impl Running {
    /// Serves until [`Event::Stop`]; then stops accepting, waits for what is in flight, at most `drainDuration`, and
    /// returns. A second `Stop` ends the wait.
    ///
    /// # Errors
    /// When a worker ends by itself: the others are drained first.
    pub fn serve(mut self) -> Result<(), ServeError> {
        let mut outcome = Ok(());
        let mut running = self.workers.len();
        loop {
            match self.events.recv() {
                Ok(Event::Stop) | Err(_) => break,
                Ok(Event::Reload) => warn!("SIGHUP: reloading is not supported yet; the configuration stays as it is"),
                Ok(Event::Worker(Report::Panicked { worker })) => {
                    error!("worker {worker}: a connection's task panicked; that connection was closed");
                }
                Ok(Event::Worker(Report::Ended { worker, error })) => {
                    let error = error.unwrap_or_else(|| "nobody asked it to".to_owned());
                    outcome = Err(ServeError::Worker { worker, error });
                    running -= 1;
                    break;
                }
                Ok(Event::Worker(Report::Serving { .. })) => {}
            }
        }
        self.state.enter(Stage::Draining);
        info!("draining: finishing what is in flight, for {:?} at most", self.drain_duration);
        running = self.tell(Message::Drain, running, now() + self.drain_duration);
        if running > 0 {
            info!("closing what is still in flight");
            self.tell(Message::Stop, running, now() + STOP_PATIENCE);
        }
        self.workers.clear();
        // One that has not ended was given up; joining it would wait for it all the same.
        for thread in self.threads.drain(..).filter(std::thread::JoinHandle::is_finished) {
            let _ = thread.join();
        }
        if let Some(writer) = self.log_writer.take() {
            // Lines that a full pipe does not take are lost with the process; there is nobody left to tell.
            let _ = writer.finish(STOP_PATIENCE);
        }
        outcome
    }

    /// Sends `message` to every worker and waits until all have ended, `deadline` has passed, or another stop comes.
    /// Returns how many still run.
    fn tell(&self, message: Message, mut running: usize, deadline: Instant) -> usize {
        self.workers.iter().for_each(|worker| worker.send(message));
        while running > 0 {
            let left = deadline.saturating_duration_since(now());
            match self.events.recv_timeout(left) {
                Ok(Event::Worker(Report::Ended { .. })) => running -= 1,
                Ok(Event::Stop) | Err(_) => break,
                Ok(_) => {}
            }
        }
        running
    }
}
