//! An upstream connection, in use or idle, and the statistics of its end.
//!
//! Two connections are the same if they go to the same endpoint of the same cluster on the same core, and over TLS to the
//! same name. An idle connection has a single operation in flight: its next read.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use super::permits::{ConnectionPermit, OpenEntry};
use super::settings::ConnectionSettings;
use crate::base::endpoint::EndpointAddress;
use crate::io::{Buf, BufPool, Conn, Handle, Parked, Reader, ServerName, Share, Size, Writer};
use crate::observe::stats::{ClusterStats, EndpointStats};

/// The side that closed a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// This side.
    Local,
    /// The upstream.
    Remote,
}

/// By how much the head of a response may grow on its way and still take the place of the received one, in bytes.
const HEAD_GROWTH_BYTES: usize = 256;

/// A connection at rest.
#[derive(Debug)]
pub(super) struct Idle {
    pub(super) upstream: Box<Upstream>,
    pub(super) since: Instant,
}

/// An open connection to an endpoint. Boxed wherever it is, because it goes from hand to hand, and would weigh on the task
/// of each client's connection in all of them.
#[derive(Debug)]
pub struct Upstream {
    /// The receiving side.
    pub reader: Reader,
    /// The sending side. Dropped, it sends our end of the stream before anything below gives a permit back: the upstream
    /// hears of the end of this connection before it hears of the next one.
    pub writer: Writer,
    /// Received bytes that are not yet consumed.
    pub buf: Buf,
    /// For cancelling the operations in flight.
    pub handle: Handle,
    peer: EndpointAddress,
    /// Over TLS, the verified server name.
    name: Option<ServerName<'static>>,
    local: Option<SocketAddr>,
    life: Life,
    /// How much its next response is expected to be.
    expects: Size,
    /// The memory that its idle read has beyond a head buffer.
    roomy: Option<Share>,
    open: OpenConnection,
}

/// How far a connection has come, and how far it may go.
#[derive(Debug, Clone, Copy)]
struct Life {
    opened: Instant,
    requests: u64,
    max_requests: Option<NonZeroU32>,
    expires: Option<Instant>,
}

/// A connection that goes from one core to another.
#[derive(Debug)]
pub(super) struct Moved {
    socket: Parked,
    peer: EndpointAddress,
    life: Life,
}

impl Upstream {
    pub(super) fn new(
        conn: Conn,
        settings: &ConnectionSettings,
        to: (EndpointAddress, Option<ServerName<'static>>),
        opened: Instant,
        cluster: Arc<ClusterStats>,
        endpoint: Arc<EndpointStats>,
    ) -> Box<Self> {
        let expires = settings.max_duration.and_then(|most| opened.checked_add(most));
        let life = Life { opened, requests: 0, max_requests: settings.max_requests, expires };
        Self::over(conn, to, life, cluster, endpoint)
    }

    fn over(
        conn: Conn,
        (peer, name): (EndpointAddress, Option<ServerName<'static>>),
        life: Life,
        cluster: Arc<ClusterStats>,
        endpoint: Arc<EndpointStats>,
    ) -> Box<Self> {
        let local = conn.handle.local_addr().ok();
        let Conn { reader, writer, handle } = conn;
        let open = OpenConnection::begin(life.opened, cluster, endpoint);
        let (buf, expects, roomy) = Default::default();
        Box::new(Self { reader, writer, buf, handle, peer, name, local, life, expects, roomy, open })
    }

    /// A connection that has come from another core.
    ///
    /// # Errors
    /// When the driver cannot take another descriptor.
    pub(super) fn arrived(
        moved: Moved,
        cluster: Arc<ClusterStats>,
        endpoint: Arc<EndpointStats>,
    ) -> std::io::Result<Box<Self>> {
        Ok(Self::over(moved.socket.unpark()?, (moved.peer, None), moved.life, cluster, endpoint))
    }

    /// Takes the connection out of this core's hands, with its permit; the connection is closed instead where something is
    /// in flight on it.
    pub(super) fn leave(self: Box<Self>) -> (Option<ConnectionPermit>, Option<Moved>) {
        let Self { reader, writer, handle, peer, life, mut open, .. } = *self;
        open.listed = None;
        let socket = Conn { reader, writer, handle }.park();
        open.moved = socket.is_some();
        (open.permit.take(), socket.map(|socket| Moved { socket, peer, life }))
    }

    /// Gives the connection its permit in a limited cluster.
    pub(super) fn hold(&mut self, permit: ConnectionPermit, listed: OpenEntry) {
        (self.open.permit, self.open.listed) = (Some(permit), Some(listed));
    }

    /// Whether connections like it are limited.
    pub(super) fn is_limited(&self) -> bool {
        self.open.permit.is_some()
    }

    /// Closes the connection and keeps its permit.
    pub(super) fn into_permit(mut self: Box<Self>) -> Option<ConnectionPermit> {
        self.open.permit.take()
    }

    /// Whom it goes to.
    #[must_use]
    pub fn peer(&self) -> &EndpointAddress {
        &self.peer
    }

    /// Our address on this connection.
    #[must_use]
    pub fn local(&self) -> Option<SocketAddr> {
        self.local
    }

    /// Whether a request that expects the server name `name` may use it; `None`: any name.
    pub(super) fn is_for(&self, name: Option<&ServerName<'_>>) -> bool {
        name.is_none_or(|name| self.name.as_ref() == Some(name))
    }

    /// Counts a request onto the connection; true if it is not the first.
    pub fn begin_request(&mut self) -> bool {
        self.life.requests += 1;
        if self.used_up() {
            self.open.cluster.upstream_cx_max_requests.inc();
        }
        self.is_used()
    }

    /// Whether more than one request has begun on it.
    fn is_used(&self) -> bool {
        self.life.requests > 1
    }

    /// Whether any request has begun on it.
    pub(super) fn has_served(&self) -> bool {
        self.life.requests > 0
    }

    /// Whether it has carried as many requests as it may.
    fn used_up(&self) -> bool {
        self.life.max_requests.is_some_and(|most| self.life.requests >= u64::from(most.get()))
    }

    /// Whether another request may be sent on it; the first one may in any case. Counts if it is too old for that.
    pub(super) fn may_go_on(&self, now: Instant) -> bool {
        if !self.has_served() {
            return true;
        }
        let old = self.life.expires.is_some_and(|end| now >= end);
        if old {
            self.open.cluster.upstream_cx_max_duration_reached.inc();
        }
        !old && !self.used_up()
    }

    /// The response under way is so many bytes, as far as is known: the next one is expected to be like it.
    pub fn expect(&mut self, bytes: u64) {
        // One read must not wait for more than this: larger responses flow.
        self.expects = Size::holding(bytes).min(Size::Bulk);
    }

    /// Notes the side that closed the connection, for the statistics; without a call it counts as closed locally.
    pub fn closed_by(&mut self, closed: Closed) {
        self.open.closed = closed;
    }

    /// The request on it is over, whether or not another can follow it.
    pub fn end_request(&mut self, buffers: &BufPool) {
        buffers.put(std::mem::take(&mut self.buf));
        self.open.in_use = false;
    }

    /// Marks the connection idle and arms its next read, which completes when the upstream sends or closes; false if it
    /// already has. The read costs nothing: it is the next response's, begun early, in place of a peek before every reuse.
    pub(super) fn rest(&mut self, buffers: &BufPool) -> bool {
        let size = self.expects;
        self.roomy = None; // the old share counts until here
        self.roomy = if size == Size::Head { None } else { buffers.roomy.take(size.bytes()) };
        let mut buf = buffers.take(if self.roomy.is_some() { size } else { Size::Head });
        // Room for the head that goes on in place of the one that comes: see `proxy::router::relay`.
        buf.clear_with_margins(HEAD_GROWTH_BYTES, 0);
        self.reader.arm(buf);
        self.is_quiet()
    }

    /// Whether the upstream has neither spoken nor left since the connection came to rest.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.reader.finished().is_none()
    }

    /// Takes an idle connection, or one from another core, into use; its armed read goes on.
    pub(super) fn wake(&mut self, buffers: &BufPool) {
        self.open.in_use = true;
        if !self.reader.armed() {
            self.buf = buffers.take(self.expects.max(Size::Body));
            self.buf.clear_with_margins(HEAD_GROWTH_BYTES, 0);
        }
    }
}

/// Counts a connection for as long as it is open.
#[derive(Debug)]
struct OpenConnection {
    opened: Instant,
    closed: Closed,
    in_use: bool,
    /// It goes on, on another core.
    moved: bool,
    cluster: Arc<ClusterStats>,
    endpoint: Arc<EndpointStats>,
    listed: Option<OpenEntry>,
    permit: Option<ConnectionPermit>,
}

impl OpenConnection {
    fn begin(opened: Instant, cluster: Arc<ClusterStats>, endpoint: Arc<EndpointStats>) -> Self {
        cluster.upstream_cx_active.inc();
        endpoint.cx_active.inc();
        let closed = Closed::Local;
        Self { opened, closed, in_use: false, moved: false, cluster, endpoint, listed: None, permit: None }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let stats = &self.cluster;
        stats.upstream_cx_active.dec();
        self.endpoint.cx_active.dec();
        if self.moved {
            return;
        }
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
