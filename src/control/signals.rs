//! Signals as events.

use std::sync::mpsc::Sender;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::Event;

/// SIGTERM, SIGINT, SIGHUP and SIGUSR1, held back until they are forwarded. To be caught before anything is
/// started: a signal that comes while ringway starts must not kill it half-way.
#[derive(Debug)]
pub struct CaughtSignals(Signals);

/// Catches them from now on.
///
/// # Errors
/// If the handlers cannot be installed.
pub fn catch_signals() -> std::io::Result<CaughtSignals> {
    Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1]).map(CaughtSignals)
}

impl CaughtSignals {
    /// Forwards SIGTERM and SIGINT as [`Event::Stop`], SIGHUP as [`Event::Reload`], SIGUSR1 as [`Event::ReopenLog`],
    /// from a thread of their own; the signals that came so far go first.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn forward(self, events: Sender<Event>) -> std::io::Result<()> {
        let Self(mut signals) = self;
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for signal in signals.forever() {
                let event = match signal {
                    SIGHUP => Event::Reload,
                    SIGUSR1 => Event::ReopenLog,
                    _ => Event::Stop,
                };
                if events.send(event).is_err() {
                    return;
                }
            }
        })?;
        Ok(())
    }
}
