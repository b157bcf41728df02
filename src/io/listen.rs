//! Listening sockets: bound on the control thread, accepted from on a worker.

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};

use monoio::io::Canceller;
use monoio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, Type};

use super::conn::Conn;

/// Connections that may wait for an accept, per worker; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

fn socket(address: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Whether `address` is free. SO_REUSEPORT lets a second process bind the same port silently and take half of the
/// connections; this bind, made without it and given up at once, finds that out.
///
/// # Errors
/// The bind's own: address in use, permission denied, address not available.
pub fn bind_probe(address: SocketAddr) -> io::Result<()> {
    socket(address, false).map(drop)
}

/// A listening socket that shares its port with the other workers'.
///
/// # Errors
/// The bind's own.
pub fn bind_reuseport(address: SocketAddr) -> io::Result<StdTcpListener> {
    let socket = socket(address, true)?;
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A listener of one worker.
pub struct ListenSocket {
    listener: TcpListener,
    address: SocketAddr,
    canceller: RefCell<Option<Canceller>>,
}

impl std::fmt::Debug for ListenSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("address", &self.address).finish_non_exhaustive()
    }
}

impl ListenSocket {
    /// Registers with this thread's runtime.
    ///
    /// # Errors
    /// When the driver cannot take another descriptor.
    pub fn from_std(listener: StdTcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let listener = TcpListener::from_std(listener)?;
        Ok(Self { listener, address, canceller: RefCell::new(Some(Canceller::new())) })
    }

    /// The address bound, with the kernel's port in place of port 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection and its peer; `None` once [`ListenSocket::stop`] was called. One call at a time, and never
    /// dropped half-way (law 4).
    ///
    /// # Errors
    /// The accept's own: the caller waits a little and goes on (EMFILE comes back at once, for ever).
    pub async fn accept(&self) -> io::Result<Option<(Conn, SocketAddr)>> {
        let handle = self.canceller.borrow().as_ref().map(Canceller::handle);
        let Some(handle) = handle else { return Ok(None) };
        match self.listener.cancelable_accept(handle).await {
            // A connection that won the race against the cancel is served like any other.
            Ok((stream, peer)) => Conn::new(stream).map(|conn| Some((conn, peer))),
            Err(_) if self.canceller.borrow().is_none() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Ends the accept in flight and all later ones.
    pub fn stop(&self) {
        let canceller = self.canceller.borrow_mut().take();
        if let Some(canceller) = canceller {
            drop(canceller.cancel());
        }
    }
}
