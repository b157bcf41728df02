//! A client's connection: what its requests share, one after the other.
//!
//! Data, and what any part of a request's way may ask of it; reading heads and closing is `h1`'s.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::h1::parse::HeadLimits;
use crate::io::{Buf, Reader, Timer, Writer};
use crate::observe::stats::HttpStats;
use crate::plan::Limits;
use crate::proxy::core::{ConnectionGuard, Core};
use crate::proxy::downstream::accept::{Accepted, Counted};
use crate::proxy::downstream::listener::ListenerHandle;

/// One client connection that speaks HTTP/1.
pub(crate) struct ClientConnection {
    pub(crate) core: Rc<Core>,
    /// Where it came in.
    pub(crate) listener_handle: Rc<ListenerHandle>,
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
    pub(crate) entered: ConnectionGuard,
    pub(crate) peer: SocketAddr,
    /// The peer's address as `x-forwarded-for` says it.
    pub(crate) forwarded_for: Box<str>,
    /// The peer's address as `x-envoy-external-address` says it.
    pub(crate) external_address: Box<str>,
    /// The address that the client connected to: the listener's, or the one that it was redirected from.
    pub(crate) local: SocketAddr,
    /// Where the connection was sent to, if it was redirected here.
    pub(crate) original: Option<SocketAddr>,
    /// The service port of its requests, if the connection says it: it was redirected, came to a listener for one port only,
    /// or is a tunnel to that port.
    pub(crate) port: Option<u16>,
    /// What was received: the head under way at the front, what follows it behind.
    pub(crate) input: Buf,
    /// Where in `input` the request under way ends and the next one begins.
    pub(crate) rest: usize,
    /// Bytes of a next, pipelined request that came while this one was answered.
    pub(crate) behind: Buf,
    /// For whatever deadline a request waits for. Not a part of the scratch: a timer is one task's.
    pub(crate) timer: Timer,
    /// The counters of the HTTP of the listener that accepted the connection; they outlive its plan.
    pub(crate) http: Arc<HttpStats>,
    pub(crate) counted: Counted,
    pub(crate) requests: u64,
    /// What was sent is not all, and the client must not take its end for one.
    pub(crate) cut: bool,
}

impl ClientConnection {
    /// That of a connection that speaks HTTP; `None` if its listener is in no plan.
    pub(crate) fn open(accepted: Accepted) -> Option<Box<Self>> {
        let Accepted {
            core,
            listener_handle,
            reader,
            writer,
            entered,
            peer,
            local,
            original,
            addressed,
            seen,
            counted,
            ..
        } = accepted;
        let (installed, listener) = core.installed_at(&listener_handle);
        let http = installed.stats.http.get(listener.index())?.clone();
        http.downstream_cx_total.inc();
        http.downstream_cx_active.inc();
        http.downstream_cx_http1_total.inc();
        http.downstream_cx_http1_active.inc();
        http.downstream_cx_rx_bytes_total.add(seen.len() as u64);
        Some(Box::new(Self {
            forwarded_for: core.forwarded_for(peer).to_string().into(),
            external_address: peer.ip().to_canonical().to_string().into(),
            core,
            listener_handle,
            reader,
            writer,
            entered,
            peer,
            local,
            original,
            port: addressed.map(|addressed| addressed.port()),
            input: seen,
            rest: 0,
            behind: Buf::default(),
            timer: Timer::default(),
            http,
            counted,
            requests: 0,
            cut: false,
        }))
    }

    /// Whether the connection ends with its request: the core takes nothing new, or the listener has vanished.
    pub(crate) fn draining(&self) -> bool {
        self.core.draining() || self.listener_handle.closed()
    }

    /// Ends the connection here and now, so that the client cannot take what it got for the whole.
    pub(crate) fn cut_off(&mut self) {
        self.cut = true;
        self.entered.handle().abort();
    }
}

/// What heads of clients and upstreams are held to.
pub(crate) fn head_limits(limits: &Limits) -> HeadLimits {
    HeadLimits { max_bytes: limits.max_header_bytes as usize, max_headers: limits.max_headers as usize }
}

impl Drop for ClientConnection {
    fn drop(&mut self) {
        let http = &self.http;
        http.downstream_cx_active.dec();
        http.downstream_cx_http1_active.dec();
        http.downstream_cx_destroy.inc();
        http.downstream_cx_length_ms.record(self.counted.length_ms());
        self.core.buffers.put(std::mem::take(&mut self.input));
    }
}
