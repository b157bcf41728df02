//! Opening a connection to an endpoint, TCP or Unix domain socket. The result is a [`Conn`] like any other. Called by
//! `upstream`.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Instant;

use monoio::net::TcpStream;
use monoio::utils::is_legacy;
use socket2::{Domain, SockAddr, Socket, Type};

use super::conn::Conn;
use super::race::within;
use crate::base::endpoint::EndpointAddress;

/// Connects to `address`.
///
/// # Errors
/// The connect's own, or `TimedOut` after `deadline`. A Unix domain socket answers at once: `WouldBlock` says that more
/// clients wait to be accepted than its server has room for (as Envoy, that is not waited for).
pub async fn connect(address: &EndpointAddress, deadline: Instant) -> io::Result<Conn> {
    match address {
        EndpointAddress::Ip(address) => connect_ip(*address, deadline).await,
        EndpointAddress::Unix(path) => connect_unix(path),
    }
}

async fn connect_ip(address: SocketAddr, deadline: Instant) -> io::Result<Conn> {
    match within(deadline, TcpStream::connect_addr(address)).await {
        Some(stream) => Conn::new(stream?),
        None => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Not an operation of the ring: a connect to a Unix domain socket completes or fails at once. The ring would block one
/// of its threads on a server that does not accept, until the deadline.
fn connect_unix(path: &str) -> io::Result<Conn> {
    let address = match path.strip_prefix('@') {
        // An abstract name is one that begins with a zero byte.
        Some(name) => SockAddr::unix(format!("\0{name}"))?,
        None => SockAddr::unix(path)?,
    };
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?; // closed on exec
    socket.set_nonblocking(true)?;
    socket.connect(&address)?;
    if !is_legacy() {
        socket.set_nonblocking(false)?; // as are all sockets of the ring
    }
    // The runtime's streams send and receive, which is the same for every kind of stream socket.
    Conn::new(TcpStream::from_std(std::net::TcpStream::from(OwnedFd::from(socket)))?)
}

#[cfg(test)]
mod tests;
