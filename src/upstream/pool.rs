//! An upstream connection, in use or idle, and what its end counts.
//!
//! Two connections are the same if they go to the same endpoint of the same cluster on the same core, and over TLS to the
//! same name. An idle one has
//! a single operation in flight: the read of whatever comes next.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::io::{Buf, BufPool, Conn, Handle, Reader, ServerName, Writer};
use crate::observe::stats::{ClusterStats, EndpointStats};

/// Who ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// This side.
    Local,
    /// The upstream.
    Remote,
}

/// A connection at rest.
#[derive(Debug)]
pub(super) struct Idle {
    pub(super) upstream: Upstream,
    pub(super) since: Instant,
}

/// An open connection to an endpoint.
#[derive(Debug)]
pub struct Upstream {
    /// The receiving side.
    pub reader: Reader,
    /// The sending side.
    pub writer: Writer,
    /// What was received and not yet consumed.
    pub buf: Buf,
    /// For ending whatever is in flight.
    pub handle: Handle,
    peer: SocketAddr,
    /// Over TLS, who the server has proved to be.
    name: Option<ServerName<'static>>,
    local: Option<SocketAddr>,
    opened: Instant,
    requests: u64,
    closed: Closed,
    in_use: bool,
    cluster: Arc<ClusterStats>,
    endpoint: Arc<EndpointStats>,
}

impl Upstream {
    pub(super) fn new(
        conn: Conn,
        (peer, name): (SocketAddr, Option<ServerName<'static>>),
        buf: Buf,
        opened: Instant,
        cluster: Arc<ClusterStats>,
        endpoint: Arc<EndpointStats>,
    ) -> Self {
        cluster.upstream_cx_active.inc();
        endpoint.cx_active.inc();
        let local = conn.handle.local_addr().ok();
        let Conn { reader, writer, handle } = conn;
        let (requests, closed, in_use) = (0, Closed::Local, true);
        Self { reader, writer, buf, handle, peer, name, local, opened, requests, closed, in_use, cluster, endpoint }
    }

    /// Whom it goes to.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Our address on this connection.
    #[must_use]
    pub fn local(&self) -> Option<SocketAddr> {
        self.local
    }

    /// Whether a request may use it that wants the server to be `name`; `None`: it does not matter.
    pub(super) fn is_for(&self, name: Option<&ServerName<'_>>) -> bool {
        name.is_none_or(|name| self.name.as_ref() == Some(name))
    }

    /// Counts a request onto the connection; true if it is not the first.
    pub fn begin_request(&mut self) -> bool {
        self.requests += 1;
        self.requests > 1
    }

    /// Remembers who ended the connection, for the statistics; this side, if nobody says otherwise.
    pub fn closed_by(&mut self, closed: Closed) {
        self.closed = closed;
    }

    /// Lays the connection to rest, with a read under way that tells when the upstream speaks or leaves; false if it has
    /// done so already. The read costs nothing: it is the next response's, begun early. Instead of a peek before every
    /// reuse, which would be the only system call of a request.
    pub(super) fn rest(&mut self, buffers: &BufPool) -> bool {
        buffers.put(std::mem::take(&mut self.buf));
        self.reader.arm(buffers.head());
        self.in_use = false;
        self.is_quiet()
    }

    /// Whether the upstream has neither spoken nor left since the connection came to rest.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.reader.finished().is_none()
    }

    /// Takes the connection from its rest; its read goes on.
    pub(super) fn wake(&mut self) {
        self.in_use = true;
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let stats = &self.cluster;
        stats.upstream_cx_active.dec();
        self.endpoint.cx_active.dec();
        stats.upstream_cx_destroy.inc();
        let (side, side_active) = match self.closed {
            Closed::Local => (&stats.upstream_cx_destroy_local, &stats.upstream_cx_destroy_local_with_active_rq),
            Closed::Remote => (&stats.upstream_cx_destroy_remote, &stats.upstream_cx_destroy_remote_with_active_rq),
        };
        side.inc();
        if self.in_use {
            stats.upstream_cx_destroy_with_active_rq.inc();
            side_active.inc();
        }
        let open = crate::io::now().duration_since(self.opened);
        stats.upstream_cx_length_ms.record(u64::try_from(open.as_millis()).unwrap_or(u64::MAX));
    }
}
