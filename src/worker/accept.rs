//! Accepting connections on one listener of one worker.

use std::rc::Rc;
use std::time::Duration;

use super::{Report, Reporter};
use crate::base::id::ListenerId;
use crate::io::{self, Caught, Listener, catch_panic};
use crate::proxy::{Core, serve};

/// How long to wait after a failed accept. Out of descriptors, an accept fails at once and for ever, while the
/// connections that would free some wait for this very thread.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);

/// Accepts until the listener is stopped; each connection is a task of its own.
pub(super) async fn run(core: Rc<Core>, id: ListenerId, listener: Rc<Listener>, reports: Reporter) {
    loop {
        match listener.accept().await {
            Ok(Some((conn, peer))) => {
                let (core, reports) = (core.clone(), reports.clone());
                io::spawn(async move {
                    let worker = core.index;
                    if catch_panic(serve(core, id, conn, peer)).await == Caught::Panicked {
                        reports(Report::Panicked { worker });
                    }
                });
            }
            Ok(None) => return,
            Err(_) => io::sleep_until(io::now() + PAUSE_AFTER_ERROR).await,
        }
    }
}
