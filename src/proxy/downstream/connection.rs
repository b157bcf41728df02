//! A client's connection: the state that its requests share, one after the other.
//!
//! Data, and the operations of any step of a request on its connection; `h1` reads heads and closes.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::h1::parse::HeadLimits;
use crate::io::{Buf, Reader, Share, Size, Timer, Writer};
use crate::observe::stats::HttpStats;
use crate::plan::Limits;
use crate::proxy::core::{ConnectionGuard, Core};
use crate::proxy::downstream::accept::{Accepted, Counted};
use crate::proxy::downstream::listener::ListenerHandle;

/// One client connection that speaks HTTP/1.
pub(crate) struct ClientConnection {
    pub(crate) core: Rc<Core>,
    /// The listener that accepted it.
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
    /// The address that it was sent to before the packet filter redirected it here.
    pub(crate) original: Option<SocketAddr>,
    /// The service port of its requests, if the connection says it: it was redirected, came to a listener for one port only,
    /// or is a tunnel to that port.
    pub(crate) port: Option<u16>,
    /// The bytes received: the head under way at the front, then everything after it.
    pub(crate) input: Buf,
    /// Where in `input` the request under way ends and the next one begins.
    pub(crate) rest: usize,
    /// Bytes of a next, pipelined request that came while this one was answered.
    pub(crate) behind: Buf,
    /// How large its next request is expected to be: as the one before.
    pub(crate) expects: Size,
    /// The memory that the read of the next request has beyond a head buffer.
    roomy: Option<Share>,
    /// The timer of the deadline that a request waits for. Not a part of the scratch: a timer belongs to one task.
    pub(crate) timer: Timer,
    /// The counters of the HTTP of the listener that accepted the connection; they outlive its plan.
    pub(crate) http: Arc<HttpStats>,
    pub(crate) counted: Counted,
    pub(crate) requests: u64,
    /// Whether the response is incomplete, so that the client must not take the connection's end for the response's.
    pub(crate) cut: bool,
}

impl ClientConnection {
    /// The client connection of an accepted one whose filter chain is HTTP; `None` if its listener is in no plan.
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
            destination,
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
            port: destination.map(|destination| destination.port()),
            input: seen,
            rest: 0,
            behind: Buf::default(),
            expects: Size::Head,
            roomy: None,
            timer: Timer::default(),
            http,
            counted,
            requests: 0,
            cut: false,
        }))
    }

    /// Whether the connection ends with its request: the core drains, or the listener was removed.
    pub(crate) fn draining(&self) -> bool {
        self.core.draining() || self.listener_handle.closed()
    }

    /// The request under way is so many bytes, as far as is known: the next one is expected to be like it.
    pub(crate) fn expect(&mut self, bytes: u64) {
        // Larger bodies flow.
        let size = Size::holding(bytes).min(Size::Body);
        if size == self.expects {
            return;
        }
        self.roomy = None; // the old share counts until here
        self.roomy = if size == Size::Head { None } else { self.core.buffers.roomy.take(size.bytes()) };
        self.expects = if self.roomy.is_some() { size } else { Size::Head };
    }

    /// Resets the connection at once, so that the client cannot mistake the received part for the whole.
    pub(crate) fn cut_off(&mut self) {
        self.cut = true;
        self.entered.handle().abort();
    }
}

/// The limits of heads of clients and upstreams.
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
