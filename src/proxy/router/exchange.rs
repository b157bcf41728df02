//! One exchange over a connection that is there: the request's head as it goes out, the request and its response moving
//! at the same time, and the response's head as it comes in.
//!
//! The request's body and the response are two futures raced in this one task; neither is ever dropped on a connection that
//! lives on. Called by `attempt`, which gets the connection and counts the result.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::base::limits::{LINGERING_BYTES, LINGERING_PATIENCE};
use crate::h1::body::Incoming;
use crate::h1::encode::{self, Connection};
use crate::h1::framing::{self, Body};
use crate::http::field_list::FieldList;
use crate::http::forward::Downstream;
use crate::http::head::{Known, ResponseHead, Version};
use crate::http::outgoing::{self, BodyLen, RequestOut, ResponseOut, Server};
use crate::io::{self, Buf, Either, Size, race};
use crate::plan::ServerHeader;
use crate::policy::hashing::key::NewCookie;
use crate::policy::outlier::{self, Outcome as Reported};
use crate::policy::retry::{Outcome, ResponseSummary};
use crate::proxy::core::{ConnectionEntry, Core};
use crate::proxy::downstream::connection::ClientConnection;
use crate::proxy::downstream::connection::head_limits;
use crate::proxy::mirror::queue::Mirrors;
use crate::proxy::router::attempt_result::{AttemptResult, ExchangeResult, RequestResult};
use crate::proxy::router::body::BodyWriter;
use crate::proxy::router::fault;
use crate::proxy::router::header_scratch::{self, DownstreamRequest, HeaderScratch};
use crate::proxy::router::progress::Progress;
use crate::proxy::router::relay::{self, Client, DownloadEnd, Response, SentCounters};
use crate::proxy::router::retry_state::RetryState;
use crate::proxy::router::templates::Received;
use crate::proxy::router::termination::Termination;
use crate::proxy::router::timeouts::{Deadline, TimeoutKind};
use crate::proxy::stream::{Scratch, Stream};
use crate::upstream::{LocalCluster, Upstream, read_head};

/// Room for the head of a request beside the part of its body that goes out with it.
const HEAD_ROOM_BYTES: u64 = 1024;

/// The notes of a running exchange, which its futures share.
#[derive(Default)]
pub(crate) struct ExchangeNotes {
    pub(crate) sent: SentCounters,
    /// Bytes of heads, and of body parts that came with them, received from the upstream.
    pub(crate) received: Cell<u64>,
    /// The upstream connection has no bytes of this exchange left on it.
    pub(crate) reusable: Cell<bool>,
    /// The upstream has closed the connection, which was the end of its answer.
    pub(crate) closed: Cell<bool>,
    /// The upstream agreed to an upgrade: raw bytes follow both ways.
    pub(crate) tunnel: Cell<bool>,
}

impl Stream<'_> {
    /// The request's head, ready to be sent.
    pub(crate) fn outgoing(&mut self, retry_state: &RetryState<'_>) -> Buf {
        let mut out = self.conn.core.buffers.take(Size::holding(retry_state.upload.first() as u64 + HEAD_ROOM_BYTES));
        let spent = match retry_state.progress.ended.get() {
            Some(ended) if retry_state.retries.attempt > 1 => io::now().duration_since(ended),
            _ => Duration::ZERO,
        };
        let expected = retry_state.timeouts.expected_ms(spent);
        self.scratch.headers.note_attempt(retry_state.retries.attempt, expected);
        encode::request(out.cleared_vec(), &self.view(), &self.request_out(retry_state.retries.attempt));
        out
    }

    /// The request's head as [`Stream::outgoing`] wrote it last, field by field.
    pub(crate) fn sent_fields(&self, attempt: u32, fields: &mut FieldList) {
        let mut sink = fields.sink(self.conn.input.bytes());
        outgoing::request(&mut sink, &self.view(), &self.request_out(attempt));
    }

    /// The changes by routing to the request, for this attempt.
    fn request_out(&self, attempt: u32) -> RequestOut<'_> {
        let (buf, draft) = (self.conn.input.bytes(), &self.scratch.headers);
        let target = self.parsed.target(buf, &draft.path);
        RequestOut {
            path: if self.info.rewritten { &draft.rewritten } else { target },
            authority: self
                .info
                .authority
                .map(str::as_bytes)
                .or(self.parsed.authority.map(|authority| authority.of(buf))),
            body: self.parsed.body_len(),
            // The workload gets its caller's attempt count.
            attempt: if self.parsed.downstream == Downstream::Inbound { 0 } else { attempt },
            expected_timeout_ms: draft.expected_timeout_ms(),
            original_host: self.info.authority.map(|_| self.parsed.host.of(buf)),
            original_path: self.info.rewritten.then_some(target),
            ops: &draft.request,
        }
    }

    #[allow(clippy::too_many_arguments, reason = "as for `attempt_on`")]
    pub(crate) async fn exchange(
        &mut self,
        (first, cookies): (Buf, &[NewCookie<'_>]),
        local: &LocalCluster,
        upstream: &mut Upstream,
        notes: &ExchangeNotes,
        retry_state: &mut RetryState<'_>,
    ) -> ExchangeResult {
        let limits = &self.installed.plan.proxy.limits;
        let head_limits = head_limits(&self.installed.plan.proxy.limits);
        let pipelined = self.conn.input.len() > self.conn.rest || !self.conn.behind.is_empty();
        let (method, version) = (self.scratch.head.method, self.scratch.head.version);
        let Self { conn, scratch, info, parsed, installed, .. } = self;
        let ClientConnection {
            core,
            listener_handle,
            reader,
            writer,
            entered,
            input,
            behind,
            peer,
            local: own,
            external_address,
            timer,
            expects,
            ..
        } = &mut **conn;
        let Scratch { head, response, headers, replay, mirrors, unframed, .. } = &mut **scratch;
        let (core, live): (&Core, &ConnectionEntry) = (core, entered);
        let downstream = DownstreamRequest {
            head,
            buf: input.bytes(),
            peer: *peer,
            local: *own,
            external_address,
            hostname: &core.hostname,
        };
        let Upstream { reader: up_reader, writer: up_writer, buf: up_buf, handle: up_handle, .. } = upstream;
        let RetryState { upload, progress, retries, timeouts } = retry_state;
        let connected = if timeouts.is_endless() { info.began } else { io::now() };
        let progress: &Progress = progress;
        let mut deadline = Deadline::new(timer, progress, *timeouts, connected);
        let mirrors: &Mirrors = mirrors;
        let client = Client {
            core,
            live,
            reader,
            replay,
            mirrors,
            behind,
            body_timeout: limits.body_timeout,
            expects: *expects,
            pipelined,
        };
        let up_body = BodyWriter::new(up_writer, upload.chunked);
        let mut feed = pin!(relay::pump_request(client, up_body, first, upload, progress));
        let mut feeding = true;

        // Until the final head is there, interim ones are passed on as they come.
        let answered = loop {
            let read = {
                let mut read = pin!(read_head(up_reader, up_buf, &head_limits, response));
                loop {
                    let woken = if feeding {
                        race(pin!(race(feed.as_mut(), read.as_mut())), pin!(deadline.late())).await
                    } else {
                        match race(read.as_mut(), pin!(deadline.late())).await {
                            Either::Left(read) => Either::Left(Either::Right(read)),
                            Either::Right(late) => Either::Right(late),
                        }
                    };
                    match woken {
                        Either::Left(Either::Left(fed)) => {
                            feeding = false;
                            if let Some(ended) = fed.ends() {
                                return RequestResult::failed(ended, false).into();
                            }
                        }
                        Either::Left(Either::Right(read)) => break read.map_err(Termination::from),
                        Either::Right(TimeoutKind::Request) => break Err(Termination::RequestTimedOut),
                        Either::Right(TimeoutKind::Try) => break Err(Termination::TryTimedOut),
                    }
                }
            };
            if let Err(ended) = read {
                break Err(ended);
            }
            notes.received.set(notes.received.get() + up_buf.len() as u64);
            let switching = response.status == 101;
            if switching && !parsed.tunnel() {
                break Err(Termination::UpstreamProtocol);
            }
            if switching || response.status >= 200 {
                break framing::response_body(response, up_buf.bytes(), method)
                    .map_err(|_| Termination::UpstreamProtocol);
            }
            local.stats.response(response.status);
            // The client relies on the interim response; another upstream might not send it.
            progress.replayable.set(false);
            if version == Version::Http11 {
                let mut out = core.buffers.head();
                encode::interim(out.cleared_vec(), response, up_buf.bytes());
                let (sent, out) = writer.write_all(out).await;
                core.buffers.put(out);
                if sent.is_err() {
                    return RequestResult::failed(Termination::ClientGone, false).into();
                }
            }
            up_buf.consume(response.len);
        };
        deadline.answered();
        let answer = answered.is_ok().then(|| answer(response, up_buf.bytes()));
        if let Some(answer) = answer {
            let of_grpc =
                answer.grpc_status.filter(|_| fault::is_of_grpc(&downstream.view(parsed, &headers.completion)));
            local.report(retries.at, Reported::Answered(of_grpc.map_or(answer.status, outlier::status_of_grpc)));
        }
        let again = answer.is_some_and(|answer| {
            answer.status != 101 && retries.again(Outcome::Answered(answer), progress, local, info)
        });
        let body = match answered {
            Ok(body) if !again => body,
            answered => {
                // A piece of the body that is being written would be lost with its future.
                if feeding && retries.possible() {
                    progress.stop.set(true);
                    if progress.writing.get() {
                        up_handle.shutdown_both();
                        feed.await;
                    }
                }
                return match answered {
                    Err(ended) => RequestResult::failed(ended, progress.whole.get()).into(),
                    Ok(body) => {
                        local.stats.replaced(response.status);
                        let there = (up_buf.len() - response.len) as u64;
                        let complete = match body {
                            Body::None => there == 0,
                            Body::Length(length) => there == length,
                            Body::Chunked | Body::UntilClose => false,
                        };
                        let reusable = framing::response_keep_alive(response, up_buf.bytes());
                        notes.reusable.set(complete && reusable && progress.sent.get());
                        up_buf.clear();
                        ExchangeResult::Attempt(AttemptResult::Retry)
                    }
                };
            }
        };

        let now = io::now();
        // A request for a tunnel has no end, so nothing to measure from; Envoy leaves the header out as well.
        let service_time = (!parsed.tunnel()).then(|| now.duration_since(progress.ended.get().unwrap_or(now)));
        info.service_time = service_time;
        info.status = response.status;
        info.details = "via_upstream".into();
        let tunnelled = response.status == 101;
        let body_len = BodyLen::from(body);
        // HTTP/1.0 clients cannot read chunks.
        *unframed = body_len == BodyLen::Unknown && version == Version::Http10;
        let draining = core.draining() || listener_handle.closed();
        let reusable = framing::response_keep_alive(response, up_buf.bytes()) && body != Body::UntilClose;
        // The rest of a small request is forwarded all the same, so that both connections can be reused. A client that waits
        // for `100 Continue` does not send it any more.
        let left = match parsed.body {
            Body::Length(length) => length.saturating_sub(progress.received.get()),
            Body::None | Body::Chunked | Body::UntilClose => u64::MAX,
        };
        let lingers = feeding
            && reusable
            && left <= LINGERING_BYTES
            && !framing::expects_continue(downstream.head, downstream.buf);
        let whole = progress.whole.get() || lingers;
        let keep = parsed.keep_alive && whole && !*unframed && !draining && !parsed.tunnel();
        let received = Received {
            head: response,
            buf: up_buf.bytes(),
            service_time: service_time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
        };
        headers.edit_response(downstream, info, Some(received), &installed.plan.proxy.server_header);
        // They count as the upstream's own: rules that take `set-cookie` out take them, too.
        let cookies = if headers.response.drops(Known::Other, b"set-cookie") { &[] } else { cookies };
        for cookie in cookies {
            headers.response.add(Known::Other, b"set-cookie", |out| cookie.write(out));
        }
        let mut out = core.buffers.head();
        let HeaderScratch { response: ops, shown, .. } = headers;
        let date = core.date();
        let what = ResponseOut {
            server: match &installed.plan.proxy.server_header {
                ServerHeader::Overwrite(name) => Server::Overwrite(name.as_bytes()),
                ServerHeader::PassThrough => Server::PassThrough,
            },
            date: &date,
            service_time_ms: received.service_time,
            body: body_len,
            switches: tunnelled,
            ops,
        };
        let connection = match keep {
            _ if tunnelled => Connection::Upgrade,
            true => Connection::KeepAlive,
            false => Connection::Close,
        };
        encode::response(out.cleared_vec(), (response, up_buf.bytes()), &what, (version, connection));
        core.if_logged(|names| {
            let mut sink = header_scratch::shown(shown, names, up_buf.bytes(), connection);
            outgoing::response(&mut sink, response, up_buf.bytes(), &what);
        });
        up_buf.consume(response.len);
        if tunnelled {
            info.sent += up_buf.len() as u64;
            out.extend(up_buf.bytes());
            up_buf.clear();
        }
        let relayed = {
            let response = Response {
                core,
                live,
                reader: up_reader,
                buf: up_buf,
                client: writer,
                mirrors,
                patience: limits.idle_timeout,
            };
            let chunked = body_len == BodyLen::Unknown && version == Version::Http11;
            let mut incoming = Incoming::from(body);
            let mut relay = pin!(relay::response(response, out, &mut incoming, chunked, &notes.sent));
            loop {
                let woken = if feeding {
                    race(pin!(race(relay.as_mut(), feed.as_mut())), pin!(deadline.late())).await
                } else {
                    match race(relay.as_mut(), pin!(deadline.late())).await {
                        Either::Left(relayed) => Either::Left(Either::Left(relayed)),
                        Either::Right(late) => Either::Right(late),
                    }
                };
                match woken {
                    Either::Left(Either::Left(relayed)) => break relayed,
                    Either::Left(Either::Right(fed)) => {
                        feeding = false;
                        if let Some(ended) = fed.ends() {
                            return RequestResult { ended, began: true, keep: false }.into();
                        }
                    }
                    Either::Right(_) => {
                        return RequestResult { ended: Termination::RequestTimedOut, began: true, keep: false }.into();
                    }
                }
            }
        };
        if lingers && feeding && !progress.sent.get() && matches!(relayed, DownloadEnd::Whole { clean: true }) {
            let rest = poll_fn(|cx| match feed.as_mut().poll(cx) {
                Poll::Pending if progress.sent.get() => Poll::Ready(()),
                fed => fed.map(drop),
            });
            // Boxed, because it is rare and holds a timer of its own, which would weigh on every stream's memory.
            Box::pin(io::within(io::now() + LINGERING_PATIENCE, rest)).await;
        }
        let keep = keep && progress.whole.get();
        let ended = match relayed {
            DownloadEnd::Whole { clean } => {
                notes.closed.set(body == Body::UntilClose);
                notes.reusable.set(clean && progress.sent.get() && reusable && !tunnelled);
                notes.tunnel.set(tunnelled);
                Termination::Answered
            }
            DownloadEnd::UpstreamCut => Termination::UpstreamCut,
            DownloadEnd::UpstreamCorrupt => Termination::UpstreamCorrupt,
            DownloadEnd::ClientGone => Termination::ClientGone,
        };
        RequestResult { ended, began: true, keep }.into()
    }
}

/// The parts of a response head that decide about retries and ejection.
fn answer(head: &ResponseHead, buf: &[u8]) -> ResponseSummary {
    let mut answer = ResponseSummary { status: head.status, ..ResponseSummary::default() };
    answer.rate_limited =
        head.all(Known::XEnvoy).any(|line| line.name.of(buf).eq_ignore_ascii_case(b"x-envoy-ratelimited"));
    let grpc_status = head.all(Known::Other).find(|line| line.name.of(buf).eq_ignore_ascii_case(b"grpc-status"));
    let grpc_status = grpc_status.and_then(|line| std::str::from_utf8(line.value.of(buf)).ok());
    answer.grpc_status = grpc_status.and_then(|status| status.parse().ok());
    answer
}
