//! The queue of events that the control loop reads. Everything that sends events has a sender of it.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use super::Event;
use crate::io::now;

/// Both ends of the queue.
#[derive(Debug)]
pub(super) struct EventQueue {
    sender: Sender<Event>,
    receiver: Receiver<Event>,
}

impl EventQueue {
    pub(super) fn new() -> Self {
        let (sender, receiver) = channel();
        Self { sender, receiver }
    }

    /// Another sender.
    pub(super) fn sender(&self) -> Sender<Event> {
        self.sender.clone()
    }

    /// Waits for the next event; `None`: `due` has passed, even if there are more events.
    pub(super) fn next(&self, due: Option<Instant>) -> Option<Event> {
        // The channel never closes, since this side holds a sender.
        match due.map(|due| due.saturating_duration_since(now())) {
            None => Some(self.receiver.recv().unwrap_or(Event::Stop)),
            Some(left) if left.is_zero() => None,
            Some(left) => self.receiver.recv_timeout(left).ok(),
        }
    }
}
