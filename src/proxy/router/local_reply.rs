//! Local replies: the status and text of a termination, a redirect, a direct response.
//!
//! One writer for all of them, so that rules, CORS, framing and the log treat every local reply alike.

use crate::h1::encode::{self, Connection};
use crate::http::head::{Method, Version};
use crate::http::local_reply::LocalReply;
use crate::observe::flags::Flags;
use crate::plan::ServerHeader;
use crate::proxy::router::fault;
use crate::proxy::router::header_scratch::{self, DownstreamRequest, HeaderScratch};
use crate::proxy::router::stream_info::StreamInfo;
use crate::proxy::router::termination::Termination;
use crate::proxy::stream::{Scratch, Stream};

/// Notes a termination in the stream's info.
pub(crate) fn note_termination(
    info: &mut StreamInfo<'_>,
    ended: &Termination,
) -> (u16, std::borrow::Cow<'static, str>) {
    let reply = ended.local_reply(info.retried);
    info.flags.insert(reply.flags);
    info.details = reply.details;
    info.transport_failure = reply.transport_failure;
    (reply.status, reply.body)
}

/// An answer of our own.
pub(crate) struct LocalAnswer<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
    pub(crate) location: Option<&'a [u8]>,
    /// Whether it says that a circuit breaker gives it.
    pub(crate) overloaded: bool,
    /// Whether it ends the connection.
    pub(crate) close: bool,
}

impl Stream<'_> {
    /// Computes the rules' operations on the head of a local reply.
    pub(crate) fn edit_local_response(&mut self) {
        let downstream = DownstreamRequest::new(self.conn, &self.scratch.head);
        self.scratch.headers.edit_response(downstream, &self.info, None, &self.installed.plan.proxy.server_header);
    }

    /// Sends a local reply. True if the connection is kept.
    pub(crate) async fn reply(&mut self, ended: Termination, close: bool) -> bool {
        let (mut status, mut body) = note_termination(&mut self.info, &ended);
        if status == 0 {
            return false;
        }
        if matches!(ended, Termination::BodyTimedOut) {
            self.conn.http.downstream_rq_timeout.inc();
        }
        self.edit_local_response();
        if let Termination::FaultAborted(with) = ended
            && self.info.parsed.is_some()
            && fault::is_of_grpc(&self.view())
        {
            fault::answer_grpc(with, &body, &mut self.scratch.headers.response);
            (status, body) = (200, "".into());
        }
        let overloaded = matches!(ended, Termination::Overflow);
        self.send_local(LocalAnswer { status, body: body.as_bytes(), location: None, overloaded, close }).await
    }

    /// Sends an answer of our own, with the operations of `scratch.headers.response`. True if the connection is to be kept.
    pub(crate) async fn send_local(&mut self, answer: LocalAnswer<'_>) -> bool {
        let LocalAnswer { status, body, location, overloaded, close } = answer;
        let close = close || self.conn.draining();
        let Scratch { head, headers: HeaderScratch { response: ops, shown, .. }, .. } = &mut *self.scratch;
        let core = &self.conn.core;
        let head_request = head.method == Method::Head;
        let mut out = core.buffers.head();
        let date = core.date();
        let reply = LocalReply {
            status,
            body,
            // An HTTP/1.0 client knows only a length.
            unmeasured: head_request && head.version == Version::Http11,
            server: server(&self.installed.plan.proxy.server_header),
            date: &date,
            location,
            overloaded,
            ops,
        };
        let connection = if close { Connection::Close } else { Connection::KeepAlive };
        encode::local_reply(out.cleared_vec(), &reply, head_request, (head.version, connection));
        core.if_logged(|names| reply.head(&mut header_scratch::shown(shown, names, b"", connection)));
        self.info.status = status;
        let bytes = out.len() as u64;
        let (sent, out) = self.conn.writer.write_all(out).await;
        self.conn.core.buffers.put(out);
        if sent.is_err() {
            self.info.flags.insert(Flags::DC);
            return false;
        }
        self.conn.http.downstream_cx_tx_bytes_total.add(bytes);
        let bodiless = head_request || matches!(status, 100..=199 | 204 | 304);
        self.info.sent = if bodiless { 0 } else { body.len() as u64 };
        if close && self.conn.draining() {
            self.conn.http.downstream_cx_drain_close.inc();
        }
        !close
    }
}

/// The name in `server:` of local replies; none with `passthrough`.
fn server(header: &ServerHeader) -> Option<&[u8]> {
    match header {
        ServerHeader::Overwrite(name) => Some(name.as_bytes()),
        ServerHeader::PassThrough => None,
    }
}
