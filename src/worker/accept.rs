//! The listeners of one worker: accepting connections, and going from one plan's listeners to the next one's.

use std::net::TcpListener;
use std::rc::Rc;
use std::time::Duration;

use super::{Report, Reporter};
use crate::base::id::ListenerId;
use crate::io::{self, Caught, ListenSocket, catch_panic};
use crate::proxy::{Core, ListenerHandle, StreamPool, serve};
use crate::upstream::Installed;

/// How long to wait after a failed accept. Out of descriptors, an accept fails at once and for ever, while the
/// connections that would free some wait for this very thread.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);

/// The socket of a listener of a new plan.
#[derive(Debug)]
pub enum Socket {
    /// A new socket: bound, and not yet accepted from.
    New(TcpListener),
    /// The open socket of this listener of the plan before.
    Kept(ListenerId),
}

/// The open listeners, in the order of the plan in force.
pub(super) struct Listeners {
    core: Rc<Core>,
    /// Free memory of requests.
    streams: Rc<StreamPool>,
    reports: Reporter,
    open: Vec<OpenListener>,
    /// One for each task that accepts, and this one.
    accepting: Rc<()>,
}

struct OpenListener {
    handle: Rc<ListenerHandle>,
    listener: Rc<ListenSocket>,
}

impl Listeners {
    pub(super) fn new(core: Rc<Core>, reports: Reporter) -> Self {
        Self { core, streams: Rc::default(), reports, open: Vec::new(), accepting: Rc::new(()) }
    }

    /// Goes on with `sockets`, one for each listener of the plan that is in force now. Listeners of `old`, the plan
    /// before it, that are not kept are closed.
    ///
    /// # Errors
    /// When the driver cannot take another descriptor: the worker cannot serve this plan.
    pub(super) fn change(&mut self, sockets: Vec<Socket>, old: &Rc<Installed>) -> std::io::Result<()> {
        let mut before: Vec<Option<OpenListener>> = self.open.drain(..).map(Some).collect();
        for (socket, id) in sockets.into_iter().zip(0..) {
            let id = ListenerId(id);
            let open = match socket {
                Socket::New(socket) => self.open(id, socket)?,
                Socket::Kept(was) => {
                    let open = before.get_mut(was.index()).and_then(Option::take);
                    let open = open.ok_or_else(|| std::io::Error::other("a listener to be kept is not open"))?;
                    open.handle.renumber(id);
                    open
                }
            };
            self.open.push(open);
        }
        for vanished in before.into_iter().flatten() {
            vanished.listener.stop();
            vanished.handle.close(old.clone());
            self.core.empty(&vanished.handle);
        }
        Ok(())
    }

    /// Whether all accepts have ended. A worker that ended earlier would leave its accepts to the kernel, which
    /// keeps the port, and takes connections that are never served, until it has cleaned up after the ring.
    pub(super) fn stopped(&self) -> bool {
        Rc::strong_count(&self.accepting) == 1
    }

    /// Stops accepting; `emptied` of the core is raised when the last accept has ended.
    pub(super) fn stop(&mut self) {
        self.open.drain(..).for_each(|open| open.listener.stop());
    }

    fn open(&self, id: ListenerId, socket: TcpListener) -> std::io::Result<OpenListener> {
        let listener = Rc::new(ListenSocket::from_std(socket)?);
        let handle = ListenerHandle::open(id);
        let (core, held) = (self.core.clone(), self.accepting.clone());
        let shared = (core.clone(), self.streams.clone(), self.reports.clone());
        let accepting = accept(shared, handle.clone(), listener.clone());
        io::spawn(async move {
            accepting.await;
            drop(held);
            core.emptied.raise();
        });
        Ok(OpenListener { handle, listener })
    }
}

/// Accepts until the listener is stopped; each connection is a task of its own.
async fn accept(
    (core, streams, reports): (Rc<Core>, Rc<StreamPool>, Reporter),
    handle: Rc<ListenerHandle>,
    listener: Rc<ListenSocket>,
) {
    loop {
        match listener.accept().await {
            Ok(Some((conn, peer))) => {
                let (core, streams, handle, reports) = (core.clone(), streams.clone(), handle.clone(), reports.clone());
                io::spawn(async move {
                    let worker = core.index;
                    if catch_panic(serve(core, streams, handle, conn, peer)).await == Caught::Panicked {
                        reports(Report::Panicked { worker });
                    }
                });
            }
            Ok(None) => return,
            Err(_) => io::sleep_until(io::now() + PAUSE_AFTER_ERROR).await,
        }
    }
}
