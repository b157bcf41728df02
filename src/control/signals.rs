//! Signals as events.

use std::sync::mpsc::Sender;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::Event;

/// Forwards SIGTERM and SIGINT as [`Event::Stop`], SIGHUP as [`Event::Reload`], SIGUSR1 as [`Event::ReopenLog`], from
/// a thread of their own.
///
/// # Errors
/// If the handlers cannot be installed or the thread not be started.
pub fn forward_signals(events: Sender<Event>) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])?;
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
