//! HTTP/1 on a client's connection: reading one head after the other, a stream for each, and closing in a way that the
//! client understands.

use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::h1::parse::{self, Parsed};
use crate::io::{self, Conn, Either, race};
use crate::proxy::core::{Core, Phase};
use crate::proxy::downstream::accept::Accepted;
use crate::proxy::downstream::connection::{ClientConnection, head_limits};
use crate::proxy::downstream::listener::ListenerHandle;
use crate::proxy::downstream::transport;
use crate::proxy::router::termination::Termination;
use crate::proxy::stream::{Parts, Scratch, Stream, StreamPool};

/// The result of `next_head`.
enum NextHead {
    /// A request, parsed in this scratch.
    Request { began: Instant, scratch: Box<Scratch> },
    /// The client left, or was idle for too long, or the core drains: there is no request to answer.
    Closed,
    /// A bad or late head: it is answered before the connection is closed.
    Refused { began: Instant, ended: Termination, scratch: Box<Scratch> },
}

/// Serves one client connection to its end; its requests take their memory from `streams`.
pub async fn serve(
    core: Rc<Core>,
    streams: Rc<StreamPool>,
    listener_handle: Rc<ListenerHandle>,
    conn: Conn,
    peer: SocketAddr,
) {
    let Some(accepted) = Accepted::admit(core, listener_handle, conn, peer) else { return };
    let Some(mut conn) = transport::establish(accepted).await else { return };
    loop {
        let (scratch, keep) = match conn.next_head(&streams).await {
            NextHead::Request { began, scratch } => {
                let ((back, scratch), keep) = streams.run(serve_stream, (conn, scratch), began).await;
                conn = back;
                (scratch, keep)
            }
            NextHead::Closed => return,
            NextHead::Refused { began, ended, mut scratch } => {
                // Boxed, because it is rare and must not weigh on every connection's task.
                Box::pin(refuse(&mut conn, &mut scratch, began, ended)).await;
                (scratch, false)
            }
        };
        streams.put_scratch(scratch);
        if !keep {
            break;
        }
    }
    Box::pin(conn.close()).await;
}

/// Serves the request whose head is parsed in the scratch. True if the connection is to be kept for another.
async fn serve_stream((mut conn, mut scratch): Parts, began: Instant) -> (Parts, bool) {
    let (installed, listener) = conn.core.installed_at(&conn.listener_handle);
    let keep = Stream::new(&mut conn, &mut scratch, (&installed, listener), began).serve().await;
    ((conn, scratch), keep)
}

/// Answers a head that never became a request; the connection is to be closed.
async fn refuse(conn: &mut ClientConnection, scratch: &mut Scratch, began: Instant, ended: Termination) {
    if matches!(ended, Termination::BadRequest(_)) {
        conn.http.downstream_cx_protocol_error.inc();
    }
    let (installed, listener) = conn.core.installed_at(&conn.listener_handle);
    Stream::new(conn, scratch, (&installed, listener), began).refuse(ended).await;
}

impl ClientConnection {
    /// Waits for the next head, and leaves its bytes at the front of `input`. Until bytes arrive, the connection holds only
    /// the buffer of its read.
    async fn next_head(&mut self, streams: &StreamPool) -> NextHead {
        let mut begun: Option<(Instant, Box<Scratch>)> = None;
        loop {
            // The plan is looked up after each wait and not held during one: a connection may lie idle for an hour, and must
            // neither keep an old plan's memory nor go by an old plan's limits.
            let (installed, _) = self.core.installed_at(&self.listener_handle);
            let limits = &installed.plan.proxy.limits;
            if !self.input.is_empty() {
                let (began, mut scratch) = begun.take().unwrap_or_else(|| (io::now(), streams.scratch()));
                match parse::request(self.input.bytes(), &head_limits(limits), &mut scratch.head) {
                    Ok(Parsed::Complete) => {
                        self.requests += 1;
                        self.entered.enter(Phase::Busy, None);
                        return NextHead::Request { began, scratch };
                    }
                    Ok(Parsed::NeedMore) => self.entered.enter(Phase::Head, Some(began + limits.headers_timeout)),
                    Err(bad) => return NextHead::Refused { began, ended: Termination::BadRequest(bad), scratch },
                }
                begun = Some((began, scratch));
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
                    let Some((began, scratch)) = begun else {
                        self.http.downstream_cx_idle_timeout.inc();
                        return NextHead::Closed;
                    };
                    self.http.downstream_rq_header_timeout.inc();
                    return NextHead::Refused { began, ended: Termination::HeadTimedOut, scratch };
                }
                _ => {
                    let ours = begun.is_none() && self.draining();
                    let http = &self.http;
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
                buf = self.core.buffers.take(self.expects);
            }
            buf.make_room(buf.capacity() / 4);
            self.reader.arm(buf);
        } else if self.input.is_empty() {
            // The read was armed while the last request was answered: that request's buffer is of no more use.
            self.core.buffers.put(std::mem::take(&mut self.input));
        }
        let (read, buf) = self.reader.done().await;
        let emptied = std::mem::replace(&mut self.input, buf);
        self.core.buffers.put(emptied);
        if let Ok(n) = read {
            self.http.downstream_cx_rx_bytes_total.add(n as u64);
        }
        read
    }

    /// Closes so that the client gets the last response: a close with unread bytes would reset the connection and destroy a
    /// response that the client has not read yet. So this side shuts down first, and further bytes of the client are read
    /// and dropped for a moment (RFC 9112 §9.6; Envoy's delayed close).
    async fn close(&mut self) {
        const PATIENCE: Duration = Duration::from_secs(1);
        const MOST_BYTES: usize = 1 << 20;
        if self.entered.expired() {
            return;
        }
        self.http.downstream_cx_destroy_local.inc();
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
