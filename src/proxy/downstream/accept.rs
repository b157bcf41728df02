//! An accepted client connection, before its filter chain is known.
//!
//! An accepted connection has its slot in the table of the core, counts for its listener, and knows its original destination.
//! `transport` finds its filter chain; if the chain is HTTP, `connection` makes a client connection of it.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use crate::io::{self, Buf, Conn, Reader, Writer};
use crate::observe::stats::ListenerStats;
use crate::plan::ListenerKind;
use crate::proxy::core::{ConnectionGuard, Core};
use crate::proxy::downstream::listener::ListenerHandle;

/// One connection, with its addresses and first bytes.
pub(crate) struct Accepted {
    pub(crate) core: Rc<Core>,
    pub(crate) listener_handle: Rc<ListenerHandle>,
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
    pub(crate) entered: ConnectionGuard,
    pub(crate) peer: SocketAddr,
    /// The address that the client connected to: our own, or the one that it was redirected from.
    pub(crate) local: SocketAddr,
    /// The original destination, before the packet filter redirected it here; `None` if it was not redirected.
    pub(crate) original: Option<SocketAddr>,
    /// The address whose port the connection is for, whatever its requests name: `original`, or our own on a listener for one
    /// port only. Filter chains match it.
    pub(crate) destination: Option<SocketAddr>,
    /// Whether its filter chain is the HTTP one, without inspection of its bytes.
    pub(crate) is_http: bool,
    /// The bytes that have been read already.
    pub(crate) seen: Buf,
    pub(crate) counted: Counted,
}

/// Counts a connection of a listener as open for as long as it lives.
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

    /// Milliseconds for which the connection has been open.
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
    /// Admits a connection; `None` if there are too many.
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
        // Connections are redirected to the mesh listener only.
        let original = if of.kind == ListenerKind::Mesh { conn.handle.original_destination() } else { None };
        let original = original.map(canonical).filter(|original| *original != own);
        let only_port = of.kind.only_port().filter(|_| of.chains.destinations().is_some());
        let destination = original.or_else(|| only_port.map(|port| SocketAddr::new(own.ip(), port)));
        Some(Self {
            core,
            listener_handle,
            reader: conn.reader,
            writer: conn.writer,
            entered,
            peer,
            local: original.unwrap_or(own),
            original,
            is_http: of.chains.is_http(destination),
            destination,
            seen: Buf::default(),
            counted: Counted::begin(stats),
        })
    }
}

/// The same address, without IPv6 around IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
