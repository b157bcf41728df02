//! A client connection that was let in, before it is known what it speaks.
//!
//! It has its place in the table of the core, counts for its listener, and knows where it was sent to. `connection` makes a
//! client connection of it if it is HTTP.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use crate::io::{self, Buf, Conn, Reader, Writer};
use crate::observe::stats::ListenerStats;
use crate::plan::ListenerKind;
use crate::proxy::core::{ConnectionGuard, Core};
use crate::proxy::downstream::listener::ListenerHandle;

/// One connection and what it has said so far.
pub(crate) struct Accepted {
    pub(crate) core: Rc<Core>,
    pub(crate) listener_handle: Rc<ListenerHandle>,
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
    pub(crate) entered: ConnectionGuard,
    pub(crate) peer: SocketAddr,
    /// What the client connected to: our own address, or the one that it was redirected from.
    pub(crate) local: SocketAddr,
    /// Set if it was redirected here: where it was sent to.
    pub(crate) original: Option<SocketAddr>,
    /// The address whose port the connection is for, whatever requests say: that one, or our own of a listener for one port
    /// only.
    pub(crate) addressed: Option<SocketAddr>,
    /// It came to a gateway's listener that does not look into connections.
    pub(crate) is_stream: bool,
    /// What was read of it already.
    pub(crate) seen: Buf,
    pub(crate) counted: Counted,
}

/// Counts an open connection of a listener for as long as it lives.
pub(crate) struct Counted {
    listener: Arc<ListenerStats>,
    pub(crate) opened: Instant,
}

impl Counted {
    fn begin(listener: Arc<ListenerStats>) -> Self {
        listener.downstream_cx_total.inc();
        listener.downstream_cx_active.inc();
        Self { listener, opened: io::now() }
    }

    /// Milliseconds that it has been open.
    pub(crate) fn length_ms(&self) -> u64 {
        u64::try_from(io::now().duration_since(self.opened).as_millis()).unwrap_or(u64::MAX)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.listener.downstream_cx_active.dec();
        self.listener.downstream_cx_destroy.inc();
        self.listener.downstream_cx_length_ms.record(self.length_ms());
    }
}

impl Accepted {
    /// Lets a connection in; `None` if there are too many.
    pub(crate) fn admit(
        core: Rc<Core>,
        listener_handle: Rc<ListenerHandle>,
        conn: Conn,
        peer: SocketAddr,
    ) -> Option<Self> {
        let (installed, listener) = core.installed_at(&listener_handle);
        let stats = installed.stats.listeners.get(listener.index())?.clone();
        let Some(entered) = core.enter(conn.handle.clone(), listener_handle.clone()) else {
            stats.downstream_cx_overflow.inc();
            return None;
        };
        let peer = canonical(peer);
        let own = conn.handle.local_addr().map_or(peer, canonical);
        let of = installed.plan.listeners.get(listener.index())?;
        // Only the mesh listener is one that connections are redirected to.
        let original = if of.kind == ListenerKind::Mesh { conn.handle.original_destination() } else { None };
        let original = original.map(canonical).filter(|original| *original != own);
        let only_port = of.kind.only_port().filter(|_| of.outbound.is_some());
        let addressed = original.or_else(|| only_port.map(|port| SocketAddr::new(own.ip(), port)));
        Some(Self {
            core,
            listener_handle,
            reader: conn.reader,
            writer: conn.writer,
            entered,
            peer,
            local: original.unwrap_or(own),
            original,
            is_stream: of.streams.is_some(),
            addressed,
            seen: Buf::default(),
            counted: Counted::begin(stats),
        })
    }
}

/// The same address, without IPv6 around IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
