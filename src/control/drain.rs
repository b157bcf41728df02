//! Stopping in order.

use std::time::{Duration, Instant};

use tracing::info;

use super::admin::ServerState;
use super::{Event, Running};
use crate::io::now;
use crate::worker::{Message, Report};

/// How long workers that were told to stop may take for it.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

impl Running {
    /// Stops accepting, and waits for requests in flight, at most `drainDuration` and until the next [`Event::Stop`].
    ///
    /// With `stay` (`/drain`) the admin endpoints stay until a stop comes. If it comes before the end of the drain, the
    /// process ends with it, and the one after that ends the wait.
    pub(super) fn drain(mut self, mut stay: bool) {
        self.state.enter(ServerState::Draining);
        let patience = self.in_force.plan.proxy.drain_duration;
        info!("draining: waiting up to {patience:?} for requests in flight");
        let mut running = self.workers.alive();
        running.iter().for_each(|worker| self.workers.tell(*worker, Message::Drain));
        self.reloads.stop();
        self.in_force.bound.drain(..).for_each(super::listeners::BoundListener::close);
        self.wait_for_end(&mut running, now() + patience, &mut stay);
        if !running.is_empty() {
            info!("closing requests still in flight");
            running.iter().for_each(|worker| self.workers.tell(*worker, Message::Stop));
            self.wait_for_end(&mut running, now() + STOP_PATIENCE, &mut stay);
        }
        self.workers.dismiss();
        if let Some(log) = self.log.take() {
            // Lines that a full pipe does not take are lost with the process, which cannot report it any more.
            let _ = log.writer.finish(STOP_PATIENCE);
        }
        if stay {
            info!("drained; the admin endpoints stay until SIGTERM");
            while !matches!(self.queue.next(None), Some(Event::Stop)) {}
        }
    }

    /// Waits until all of `running` have ended, `deadline` has passed, or a stop comes that does not merely end `stay`.
    /// Leaves the workers that still run.
    fn wait_for_end(&mut self, running: &mut Vec<usize>, deadline: Instant, stay: &mut bool) {
        while !running.is_empty() {
            match self.queue.next(Some(deadline)) {
                Some(Event::Worker { generation, report: Report::Ended { worker, .. } })
                    if self.workers.is_current(worker, generation) =>
                {
                    running.retain(|alive| *alive != worker);
                }
                // A request in flight may still have to know where it goes.
                Some(Event::Worker { report: Report::ResolveAuthority { worker, authority }, .. }) => {
                    self.resolve_authority(worker, authority);
                }
                Some(Event::Named { name, answer }) => self.name_answered(&name, &answer),
                Some(Event::Stop) if *stay => *stay = false,
                Some(Event::Stop) | None => return,
                Some(_) => {}
            }
        }
    }
}
