//! A client's connection: reading one head after the other, and closing in a way that the client understands.

use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::h1::parse::{self, Parsed};
use crate::io::{self, Conn, Either, race};
use crate::proxy::core::{Core, Phase};
use crate::proxy::downstream::accept::Accepted;
use crate::proxy::downstream::connection::{Session, head_limits};
use crate::proxy::downstream::listener::ListenerHandle;
use crate::proxy::l4::detect;
use crate::proxy::l4::gateway;
use crate::proxy::router::local_reply::reply;
use crate::proxy::router::record;
use crate::proxy::router::route;
use crate::proxy::router::stream_info::StreamInfo;
use crate::proxy::router::termination::Termination;

/// What next_head came to.
enum NextHead {
    Request {
        began: Instant,
    },
    /// The client left, or was idle for too long, or the core drains: nothing to answer.
    Closed,
    /// To be answered before closing.
    Refused {
        began: Instant,
        ended: Termination,
    },
}

/// Serves one client connection to its end.
pub async fn serve(core: Rc<Core>, listener_handle: Rc<ListenerHandle>, conn: Conn, peer: SocketAddr) {
    let Some(mut session) = arrive(core, listener_handle, conn, peer).await else { return };
    loop {
        let keep = match session.next_head().await {
            NextHead::Request { began } => route::answer(&mut session, began).await,
            NextHead::Closed => return,
            NextHead::Refused { began, ended } => {
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
async fn arrive(core: Rc<Core>, listener_handle: Rc<ListenerHandle>, conn: Conn, peer: SocketAddr) -> Option<Session> {
    let accepted = Accepted::admit(core, listener_handle, conn, peer)?;
    if accepted.addressed.is_none() && !accepted.is_stream {
        return Session::open(accepted);
    }
    // Boxed, because its state must not weigh on every connection's task.
    if accepted.is_stream {
        Box::pin(gateway::serve(accepted)).await;
        return None;
    }
    Session::open(Box::pin(detect::receive(accepted)).await?)
}

impl Session {
    /// Waits for the next head and leaves it parsed in `self.head`, its bytes at the front of `self.input`.
    async fn next_head(&mut self) -> NextHead {
        self.head.clear();
        self.draft.clear();
        let mut began = None;
        loop {
            // Asked for anew after each wait, and not held during one: a connection may lie idle for an hour, and must
            // neither keep an old plan's memory nor go by an old plan's limits.
            let (installed, _) = self.core.installed_at(&self.listener_handle);
            let limits = &installed.plan.proxy.limits;
            if !self.input.is_empty() {
                let began = *began.get_or_insert_with(io::now);
                match parse::request(self.input.bytes(), &head_limits(limits), &mut self.head) {
                    Ok(Parsed::Complete) => {
                        self.requests += 1;
                        self.entered.enter(Phase::Busy, None);
                        return NextHead::Request { began };
                    }
                    Ok(Parsed::NeedMore) => self.entered.enter(Phase::Head, Some(began + limits.headers_timeout)),
                    Err(bad) => return NextHead::Refused { began, ended: Termination::BadRequest(bad) },
                }
            } else if self.draining() {
                return NextHead::Closed;
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
                        return NextHead::Closed;
                    };
                    self.stats.http.downstream_rq_header_timeout.inc();
                    return NextHead::Refused { began, ended: Termination::HeadTimedOut };
                }
                _ => {
                    let ours = began.is_none() && self.draining();
                    let http = &self.stats.http;
                    let side =
                        if ours { &http.downstream_cx_destroy_local } else { &http.downstream_cx_destroy_remote };
                    side.inc();
                    return NextHead::Closed;
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
    async fn refuse(&mut self, began: Instant, ended: Termination) {
        self.stats.http.downstream_rq_total.inc();
        self.stats.http.downstream_rq_http1_total.inc();
        self.stats.http.downstream_rq_active.inc();
        if matches!(ended, Termination::BadRequest(_)) {
            self.stats.http.downstream_cx_protocol_error.inc();
        }
        let (installed, _) = self.core.installed_at(&self.listener_handle);
        let mut info = StreamInfo::new(began);
        reply(self, &installed, &mut info, ended, true).await;
        record::finish(self, &info);
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
