//! One read of a connection as its reader sees it: armed, under way, or done; from the socket, or through a layer that
//! transforms the bytes (TLS).

use std::io;
use std::task::{Context, Poll};

use monoio::io::OwnedReadHalf;
use monoio::net::TcpStream;

use super::buf::Buf;
use super::tls::TlsFailure;

/// The slot in which one read lives from [`Reader::arm`] to its result. Boxed once per connection, so that the type
/// of the future stays in here.
pub(super) trait Slot {
    fn arm(&mut self, buf: Buf);
    fn armed(&self) -> bool;
    /// The half itself, unless a read is armed, or there is something between it and the reader.
    fn into_half(self: Box<Self>) -> Option<OwnedReadHalf<TcpStream>> {
        None
    }
    fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<(io::Result<usize>, Buf)>;
    /// Begins the armed read, if that can be done without taking its result.
    fn begin(&mut self) {}
    /// Why TLS ended, if there was any and it did.
    fn tls_failure(&self) -> Option<TlsFailure> {
        None
    }
}
