//! A client's connection and the memory that its requests reuse, one after the other.
//!
//! Data, and what any part of a request's way may ask of it; reading heads and closing is `conn`'s.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::base::id::{EndpointId, ListenerId};
use crate::h1::forward::View;
use crate::h1::head::{RequestHead, ResponseHead};
use crate::h1::parse::HeadLimits;
use crate::io::{Buf, Reader, Timer, Writer};
use crate::observe::stats::HttpStats;
use crate::plan::Limits;
use crate::proxy::core::{ConnectionGuard, Core};
use crate::proxy::downstream::accept::{Accepted, Counted};
use crate::proxy::downstream::listener::ListenerHandle;
use crate::proxy::mirror::queue::Mirrors;
use crate::proxy::router::header_scratch::{Caller, HeaderScratch};
use crate::proxy::router::parsed_request::ParsedRequest;
use crate::proxy::router::replay::ReplayBuffer;

/// One client connection and the memory that its requests reuse, one after the other.
pub(crate) struct Session {
    pub(crate) core: Rc<Core>,
    /// Where it came in.
    pub(crate) listener_handle: Rc<ListenerHandle>,
    /// The listener's number in the plan that the request under way is answered by.
    pub(crate) listener: ListenerId,
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
    pub(crate) entered: ConnectionGuard,
    pub(crate) peer: SocketAddr,
    /// The peer's address as `x-forwarded-for` says it.
    pub(crate) forwarded_for: String,
    /// The peer's address as `x-envoy-external-address` says it.
    pub(crate) external_address: String,
    /// What the client connected to: our own address, or the one that it was redirected from.
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
    /// The head at the front of `input`.
    pub(crate) head: RequestHead,
    /// Scratch for the response's head.
    pub(crate) response: ResponseHead,
    /// Bytes of a next, pipelined request that came while this one was answered.
    pub(crate) behind: Buf,
    /// Scratch for what rules make of the request and its response.
    pub(crate) draft: HeaderScratch,
    /// What is kept of the request's body.
    pub(crate) kept: ReplayBuffer,
    /// The copies of the request.
    pub(crate) mirrors: Mirrors,
    /// The endpoints that the request has been tried at, but for the one under way.
    pub(crate) tried: Vec<EndpointId>,
    /// For whatever deadline the request waits for.
    pub(crate) timer: Timer,
    pub(crate) stats: SessionStats,
    pub(crate) counted: Counted,
    pub(crate) requests: u64,
    /// The answer under way ends where the connection does: nothing else tells the client that it has all of it.
    pub(crate) unframed: bool,
    /// What was sent is not all, and the client must not take its end for one.
    pub(crate) cut: bool,
}

/// The counters of the HTTP of the listener that accepted the connection; they outlive its plan.
pub(crate) struct SessionStats {
    pub(crate) http: Arc<HttpStats>,
}

impl Session {
    /// That of a connection that speaks HTTP; `None` if its listener is in no plan.
    pub(crate) fn open(accepted: Accepted) -> Option<Self> {
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
        Some(Self {
            forwarded_for: core.forwarded_for(peer).to_string(),
            external_address: peer.ip().to_canonical().to_string(),
            core,
            listener_handle,
            listener,
            reader,
            writer,
            entered,
            peer,
            local,
            original,
            port: addressed.map(|addressed| addressed.port()),
            input: seen,
            rest: 0,
            head: RequestHead::default(),
            response: ResponseHead::default(),
            behind: Buf::default(),
            draft: HeaderScratch::default(),
            kept: ReplayBuffer::default(),
            mirrors: Mirrors::default(),
            tried: Vec::new(),
            timer: Timer::default(),
            stats: SessionStats { http },
            counted,
            requests: 0,
            unframed: false,
            cut: false,
        })
    }

    /// The client and its request.
    pub(crate) fn caller(&self) -> Caller<'_> {
        Caller {
            head: &self.head,
            buf: self.input.bytes(),
            peer: self.peer,
            local: self.local,
            external_address: &self.external_address,
            hostname: &self.core.hostname,
        }
    }

    /// The request as it goes upstream, before rules change it.
    pub(crate) fn view(&self, asked: &ParsedRequest) -> View<'_> {
        self.caller().view(asked, &self.draft.completion)
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

impl Drop for Session {
    fn drop(&mut self) {
        let http = &self.stats.http;
        http.downstream_cx_active.dec();
        http.downstream_cx_http1_active.dec();
        http.downstream_cx_destroy.inc();
        http.downstream_cx_length_ms.record(self.counted.length_ms());
        self.core.buffers.put(std::mem::take(&mut self.input));
        self.kept.clear(&self.core);
    }
}
