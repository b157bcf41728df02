//! A client's connection: reading one head after the other, and closing in a way that the client understands.

use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::arrival::{Arrival, Counted};
use super::core::{Core, Entered, Phase};
use super::door::Door;
use super::draft::{Caller, Draft};
use super::mirror::Mirrors;
use super::passthrough;
use super::record::{self, Story};
use super::redirect;
use super::replay::Kept;
use super::reply::Ended;
use super::request::{self, Asked};
use crate::base::id::{EndpointId, ListenerId};
use crate::h1::forward::View;
use crate::h1::head::{RequestHead, ResponseHead};
use crate::h1::parse::{self, HeadLimits, Parsed};
use crate::io::{self, Buf, Conn, Either, Reader, Timer, Writer, race};
use crate::observe::stats::HttpStats;
use crate::plan::Limits;
use crate::upstream::Installed;

/// One client connection and the memory that its requests reuse, one after the other.
pub(super) struct Session {
    pub(super) core: Rc<Core>,
    /// Where it came in.
    pub(super) door: Rc<Door>,
    /// The listener's number in the plan that the request under way is answered by.
    pub(super) listener: ListenerId,
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    pub(super) entered: Entered,
    pub(super) peer: SocketAddr,
    /// The peer's address as `x-forwarded-for` says it.
    pub(super) forwarded_for: String,
    /// The peer's address as `x-envoy-external-address` says it.
    pub(super) external_address: String,
    /// What the client connected to: our own address, or the one that it was redirected from.
    pub(super) local: SocketAddr,
    /// Where the connection was sent to, if it was redirected here.
    pub(super) original: Option<SocketAddr>,
    /// The service port of its requests, if the connection says it: it was redirected, came to a listener for one port only,
    /// or is a tunnel to that port.
    pub(super) port: Option<u16>,
    /// What was received: the head under way at the front, what follows it behind.
    pub(super) input: Buf,
    /// Where in `input` the request under way ends and the next one begins.
    pub(super) rest: usize,
    /// The head at the front of `input`.
    pub(super) head: RequestHead,
    /// Scratch for the response's head.
    pub(super) response: ResponseHead,
    /// Bytes of a next, pipelined request that came while this one was answered.
    pub(super) behind: Buf,
    /// Scratch for what rules make of the request and its response.
    pub(super) draft: Draft,
    /// What is kept of the request's body.
    pub(super) kept: Kept,
    /// The copies of the request.
    pub(super) mirrors: Mirrors,
    /// The endpoints that the request has been tried at, but for the one under way.
    pub(super) tried: Vec<EndpointId>,
    /// For whatever deadline the request waits for.
    pub(super) timer: Timer,
    pub(super) stats: SessionStats,
    counted: Counted,
    requests: u64,
    /// The answer under way ends where the connection does: nothing else tells the client that it has all of it.
    pub(super) unframed: bool,
    /// What was sent is not all, and the client must not take its end for one.
    cut: bool,
}

/// The counters of the HTTP of the listener that accepted the connection; they outlive its plan.
pub(super) struct SessionStats {
    pub(super) http: Arc<HttpStats>,
}

/// What next_head came to.
enum Next {
    Request {
        began: Instant,
    },
    /// The client left, or was idle for too long, or the core drains: nothing to answer.
    Closed,
    /// To be answered before closing.
    Refused {
        began: Instant,
        ended: Ended,
    },
}

/// Serves one client connection to its end.
pub async fn serve(core: Rc<Core>, door: Rc<Door>, conn: Conn, peer: SocketAddr) {
    let Some(mut session) = arrive(core, door, conn, peer).await else { return };
    loop {
        let keep = match session.next_head().await {
            Next::Request { began } => request::answer(&mut session, began).await,
            Next::Closed => return,
            Next::Refused { began, ended } => {
                session.refuse(began, ended).await;
                false
            }
        };
        if !keep {
            break;
        }
    }
    session.close().await;
}

/// The session of a connection that speaks HTTP. A function of its own, so that what is needed until then is not kept.
async fn arrive(core: Rc<Core>, door: Rc<Door>, conn: Conn, peer: SocketAddr) -> Option<Session> {
    let arrival = Arrival::admit(core, door, conn, peer)?;
    if arrival.addressed.is_none() && !arrival.is_stream {
        return Session::open(arrival);
    }
    // Boxed, because its state must not weigh on every connection's task.
    if arrival.is_stream {
        Box::pin(passthrough::serve(arrival)).await;
        return None;
    }
    Session::open(Box::pin(redirect::receive(arrival)).await?)
}

impl Session {
    fn open(arrival: Arrival) -> Option<Self> {
        let Arrival { core, door, reader, writer, entered, peer, local, original, addressed, seen, counted, .. } =
            arrival;
        let (installed, listener) = door.installed(&core);
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
            door,
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
            draft: Draft::default(),
            kept: Kept::default(),
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

    /// Waits for the next head and leaves it parsed in `self.head`, its bytes at the front of `self.input`.
    async fn next_head(&mut self) -> Next {
        self.head.clear();
        self.draft.clear();
        let mut began = None;
        loop {
            // Asked for anew after each wait, and not held during one: a connection may lie idle for an hour, and must
            // neither keep an old plan's memory nor go by an old plan's limits.
            let (installed, _) = self.door.installed(&self.core);
            let limits = &installed.plan.proxy.limits;
            if !self.input.is_empty() {
                let began = *began.get_or_insert_with(io::now);
                match parse::request(self.input.bytes(), &head_limits(limits), &mut self.head) {
                    Ok(Parsed::Complete) => {
                        self.requests += 1;
                        self.entered.enter(Phase::Busy, None);
                        return Next::Request { began };
                    }
                    Ok(Parsed::NeedMore) => self.entered.enter(Phase::Head, Some(began + limits.headers_timeout)),
                    Err(bad) => return Next::Refused { began, ended: Ended::BadRequest(bad) },
                }
            } else if self.draining() {
                return Next::Closed;
            } else {
                // The first head is due from the connect on, later ones may take their time to begin.
                let patience = if self.requests == 0 { limits.headers_timeout } else { limits.idle_timeout };
                self.entered.enter(Phase::Idle, Some(io::now() + patience));
            }
            drop(installed);
            let read = self.read_input().await;
            match read {
                Ok(n) if n > 0 => {}
                _ if self.entered.expired() => {
                    let Some(began) = began else {
                        self.stats.http.downstream_cx_idle_timeout.inc();
                        return Next::Closed;
                    };
                    self.stats.http.downstream_rq_header_timeout.inc();
                    return Next::Refused { began, ended: Ended::HeadTimedOut };
                }
                _ => {
                    let ours = began.is_none() && self.draining();
                    let http = &self.stats.http;
                    let side =
                        if ours { &http.downstream_cx_destroy_local } else { &http.downstream_cx_destroy_remote };
                    side.inc();
                    return Next::Closed;
                }
            }
        }
    }

    /// Reads more into `input`. A connection that waits holds one head buffer: the armed read's.
    async fn read_input(&mut self) -> std::io::Result<usize> {
        if !self.reader.armed() {
            let mut buf = std::mem::take(&mut self.input);
            if buf.is_empty() {
                self.core.buffers.put(buf);
                buf = self.core.buffers.head();
            }
            buf.make_room(buf.capacity() / 4);
            self.reader.arm(buf);
        } else if self.input.is_empty() {
            // Armed while the last request was answered: the buffer of that one is of no more use.
            self.core.buffers.put(std::mem::take(&mut self.input));
        }
        let (read, buf) = self.reader.done().await;
        let emptied = std::mem::replace(&mut self.input, buf);
        self.core.buffers.put(emptied);
        if let Ok(n) = read {
            self.stats.http.downstream_cx_rx_bytes_total.add(n as u64);
        }
        read
    }

    /// Answers what never became a request; the connection is to be closed.
    async fn refuse(&mut self, began: Instant, ended: Ended) {
        self.stats.http.downstream_rq_total.inc();
        self.stats.http.downstream_rq_http1_total.inc();
        self.stats.http.downstream_rq_active.inc();
        if matches!(ended, Ended::BadRequest(_)) {
            self.stats.http.downstream_cx_protocol_error.inc();
        }
        let (installed, _) = self.door.installed(&self.core);
        let mut story = Story::new(began);
        request::reply(self, &installed, &mut story, ended, true).await;
        record::finish(self, &story);
    }

    /// The client and its request.
    pub(super) fn caller(&self) -> Caller<'_> {
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
    pub(super) fn view(&self, asked: &Asked) -> View<'_> {
        self.caller().view(asked, &self.draft.completion)
    }

    /// Whether the connection ends with its request: the core takes nothing new, or the listener has vanished.
    pub(super) fn draining(&self) -> bool {
        self.core.draining() || self.door.closed()
    }

    /// Ends the connection here and now, so that the client cannot take what it got for the whole.
    pub(super) fn cut_off(&mut self) {
        self.cut = true;
        self.entered.handle().abort();
    }

    /// The limits that heads from this session's upstreams and client are held to.
    pub(super) fn head_limits(installed: &Installed) -> HeadLimits {
        head_limits(&installed.plan.proxy.limits)
    }

    /// Closes so that the client gets the last answer: a close with unread bytes would reset the connection and destroy
    /// an answer that the client has not read yet. So our end goes first, and what the client still sends is read and
    /// dropped for a moment (RFC 9112 §9.6; Envoy's delayed close).
    async fn close(&mut self) {
        const PATIENCE: Duration = Duration::from_secs(1);
        const MOST_BYTES: usize = 1 << 20;
        if self.entered.expired() {
            return;
        }
        self.stats.http.downstream_cx_destroy_local.inc();
        if self.cut {
            return;
        }
        self.entered.enter(Phase::Busy, None);
        self.entered.handle().shutdown_write();
        let mut timer = std::mem::take(&mut self.timer);
        let mut deadline = pin!(timer.until(io::now() + PATIENCE));
        let mut dropped = 0;
        while dropped < MOST_BYTES {
            self.input.clear();
            match race(pin!(self.read_input()), deadline.as_mut()).await {
                Either::Left(Ok(n)) if n > 0 => dropped += n,
                _ => return,
            }
        }
    }
}

fn head_limits(limits: &Limits) -> HeadLimits {
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
