//! A connection's socket, for operations other than read and write: addresses, options, and closing it.

#![allow(unsafe_code)]

use std::io;
use std::net::{Shutdown, SocketAddr};
#[cfg(test)]
use std::os::fd::AsRawFd;
use std::os::fd::{BorrowedFd, RawFd};
#[cfg(test)]
use std::os::unix::net::UnixStream;
#[cfg(test)]
use std::rc::Rc;
use std::time::Duration;

use monoio::io::OwnedReadHalf;
use monoio::net::TcpStream;
use socket2::{SockAddr, SockAddrStorage, SockRef, TcpKeepalive};

#[cfg(test)]
use super::script::ScriptedPeer;

/// The connection's socket, for operations other than read and write. It keeps the descriptor open as long as it lives.
pub struct Handle {
    keeps_open: KeepsOpen,
    fd: RawFd,
}

/// The owner of a handle's open descriptor.
enum KeepsOpen {
    Stream(OwnedReadHalf<TcpStream>),
    #[cfg(test)]
    Scripted(ScriptedPeer, Rc<UnixStream>),
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("fd", &self.fd).finish()
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        let keeps_open = match &self.keeps_open {
            KeepsOpen::Stream(half) => KeepsOpen::Stream(OwnedReadHalf(half.0.clone())),
            #[cfg(test)]
            KeepsOpen::Scripted(peer, socket) => KeepsOpen::Scripted(peer.clone(), socket.clone()),
        };
        Self { keeps_open, fd: self.fd }
    }
}

impl Handle {
    /// That of a stream with this descriptor, of which `half` is a half.
    pub(super) fn of(half: &OwnedReadHalf<TcpStream>, fd: RawFd) -> Self {
        Self { keeps_open: KeepsOpen::Stream(OwnedReadHalf(half.0.clone())), fd }
    }

    /// That of a scripted connection; `socket` is what options are set on.
    #[cfg(test)]
    pub(super) fn scripted(peer: ScriptedPeer, socket: UnixStream) -> Self {
        let fd = socket.as_raw_fd();
        Self { keeps_open: KeepsOpen::Scripted(peer, Rc::new(socket)), fd }
    }

    fn shut_down(&self, how: Shutdown) {
        let socket = self.socket();
        let _ = SockRef::from(&socket).shutdown(how);
        #[cfg(test)]
        if let KeepsOpen::Scripted(peer, _) = &self.keeps_open {
            peer.shut_down(how);
        }
    }

    fn socket(&self) -> BorrowedFd<'_> {
        // SAFETY: `keeps_open` shares the stream that owns this descriptor, so it is open while `self` is borrowed.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }

    /// Our own address on this connection.
    ///
    /// # Errors
    /// When the socket is no longer connected, or is a Unix domain socket: a client's has no address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        // Not through the runtime, which panics for an address that is not IP.
        let socket = self.socket();
        SockRef::from(&socket).local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    /// The original destination of this connection, before a rule of the host's packet filter redirected it here; our own
    /// address without redirection, `None` if the kernel does not track connections.
    #[must_use]
    pub fn original_destination(&self) -> Option<SocketAddr> {
        let socket = self.socket();
        let socket = SockRef::from(&socket);
        // An IPv6 socket may carry an IPv4 connection; the filter that redirected it is IPv4's.
        let v4 = self.local_addr().is_ok_and(|own| own.ip().to_canonical().is_ipv4());
        let address = if v4 { socket.original_dst_v4() } else { socket.original_dst_v6() };
        address.ok()?.as_socket()
    }

    /// Makes the read in flight, and all later ones, end: with what has already arrived, then with 0 bytes.
    pub fn shutdown_read(&self) {
        self.shut_down(Shutdown::Read);
    }

    /// Makes every operation in flight end.
    pub fn shutdown_both(&self) {
        self.shut_down(Shutdown::Both);
    }

    /// Sends our end of the stream; the peer may go on sending.
    pub fn shutdown_write(&self) {
        self.shut_down(Shutdown::Write);
    }

    /// Lets the kernel find out whether the peer of a quiet connection still exists: the quiet time before its first probe,
    /// the time between probes, and how many of them may go unanswered; `None` leaves the kernel's own.
    ///
    /// # Errors When the kernel does not take these values, or the socket is a Unix domain socket, which needs no
    ///   keepalive.
    pub fn keep_alive(
        &self,
        time: Option<Duration>,
        interval: Option<Duration>,
        probes: Option<u32>,
    ) -> io::Result<()> {
        let mut probing = TcpKeepalive::new();
        if let Some(time) = time {
            probing = probing.with_time(time);
        }
        if let Some(interval) = interval {
            probing = probing.with_interval(interval);
        }
        if let Some(probes) = probes {
            probing = probing.with_retries(probes);
        }
        let socket = self.socket();
        SockRef::from(&socket).set_tcp_keepalive(&probing)
    }

    /// Sends `bytes` if the kernel takes them at once; a failure is not reported.
    pub(super) fn send_now(&self, bytes: &[u8]) {
        let socket = self.socket();
        let _ = SockRef::from(&socket).send_with_flags(bytes, DONT_WAIT_OR_SIGNAL);
    }

    /// Ends the connection at once with a reset: the peer cannot mistake the received part for the whole. Written bytes
    /// that have not left yet are lost.
    pub fn abort(&self) {
        #[cfg(test)]
        if let KeepsOpen::Scripted(peer, _) = &self.keeps_open {
            return peer.shut_down(Shutdown::Both);
        }
        let socket = self.socket();
        // Not a close without lingering: the writing half says FIN first when it is dropped, and peers stop at that.
        // SAFETY: all zero is a whole `sockaddr_storage`, of family AF_UNSPEC, and as long as is said. To connect to that
        // is to dissolve the connection (connect(2)).
        let nowhere = unsafe {
            let storage = SockAddrStorage::zeroed();
            SockAddr::new(storage, size_of::<SockAddrStorage>() as u32)
        };
        if SockRef::from(&socket).connect(&nowhere).is_err() {
            self.shutdown_both(); // there is no reset between Unix domain sockets
        }
    }
}

/// `MSG_DONTWAIT | MSG_NOSIGNAL`, the same on every architecture of Linux.
const DONT_WAIT_OR_SIGNAL: i32 = 0x40 | 0x4000;
