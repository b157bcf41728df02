//! The listening sockets: one for each listener and worker.
//!
//! Control binds them, so that a port in use is found out before anything has changed, and keeps a copy of each, so that
//! it can stop listening even if the worker is dead.

use std::net::{Shutdown, SocketAddr, TcpListener};

use socket2::SockRef;

use super::StartError;
use super::error::hint;
use crate::io::{bind_probe, bind_reuseport};
use crate::plan::{Listener, ListenerKind};

/// The key by which a listener of one plan is that of another. Port 0 is another port each time, so there the kind of the
/// listener belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key(SocketAddr, Option<ListenerKind>);

impl Key {
    pub(super) fn of(listener: &Listener) -> Self {
        Self(listener.bind, (listener.bind.port() == 0).then_some(listener.kind))
    }
}

/// A listener that is bound.
#[derive(Debug)]
pub(super) struct BoundListener {
    pub(super) key: Key,
    /// With the kernel's port in place of port 0.
    pub(super) address: SocketAddr,
    /// One for each worker; `None` for a dead one.
    sockets: Vec<Option<TcpListener>>,
}

impl BoundListener {
    /// Binds the listeners of a process that has none yet. All addresses are probed before one is bound: two may have the
    /// same port, one at all addresses and the other at one of them; then the more specific one gets the connections to
    /// its address.
    ///
    /// # Errors
    /// [`StartError::Listen`].
    pub(super) fn all(listeners: &[Listener], workers: usize) -> Result<Vec<Self>, StartError> {
        listeners.iter().try_for_each(|listener| bind_probe(listener.bind).map_err(|error| failed(listener, error)))?;
        listeners.iter().map(|listener| Self::bind(listener, workers, true)).collect()
    }

    /// Binds a socket for each of `workers`. `ours` says that the process holds the port already, through a listener that
    /// this one replaces or shares the port with.
    ///
    /// # Errors
    /// [`StartError::Listen`].
    pub(super) fn bind(listener: &Listener, workers: usize, ours: bool) -> Result<Self, StartError> {
        let fail = |error| failed(listener, error);
        if !ours {
            bind_probe(listener.bind).map_err(fail)?;
        }
        // With port 0 the kernel chooses for the first worker, and the others share its choice.
        let mut address = listener.bind;
        let mut sockets = Vec::with_capacity(workers);
        for _ in 0..workers {
            let socket = bind_reuseport(address).map_err(fail)?;
            address = socket.local_addr()?;
            sockets.push(Some(socket));
        }
        Ok(Self { key: Key::of(listener), address, sockets })
    }

    /// A worker's socket, to be accepted from; a new one if it has lost its own.
    pub(super) fn socket(&mut self, worker: usize) -> std::io::Result<TcpListener> {
        let place = self.sockets.get_mut(worker).ok_or_else(|| std::io::Error::other("there is no such worker"))?;
        match place {
            Some(socket) => socket.try_clone(),
            None => place.insert(bind_reuseport(self.address)?).try_clone(),
        }
    }

    /// Closes a dead worker's socket: new connections go to the others. Its successor must not use the socket, because
    /// the ring of a thread that panicked lives on, and accepts one more connection that would never be served.
    pub(super) fn lose(&mut self, worker: usize) {
        if let Some(socket) = self.sockets.get_mut(worker).and_then(Option::take) {
            end(&socket);
        }
    }

    /// Stops listening. Not left to the end of the last copy: the runtime of a worker closes its copy a little later than
    /// the worker reports.
    pub(super) fn close(self) {
        self.sockets.iter().flatten().for_each(end);
    }
}

fn failed(listener: &Listener, error: std::io::Error) -> StartError {
    StartError::Listen { address: listener.bind, kind: listener.kind, hint: hint(&error), error }
}

fn end(socket: &TcpListener) {
    let _ = SockRef::from(socket).shutdown(Shutdown::Read); // it listens no more already
}
