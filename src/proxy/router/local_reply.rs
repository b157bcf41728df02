//! What the proxy answers itself, in place of an upstream: the status and words of an end, a redirect, a direct response.
//!
//! One writer for all of them, so that rules, CORS, framing and the log treat every local reply alike.

use crate::h1::head::Method;
use crate::h1::local::{LocalReply, write_local_reply};
use crate::observe::flags::Flags;
use crate::plan::ServerHeader;
use crate::proxy::downstream::connection::Session;
use crate::proxy::router::fault;
use crate::proxy::router::header_scratch::Caller;
use crate::proxy::router::stream_info::StreamInfo;
use crate::proxy::router::termination::Termination;
use crate::upstream::Installed;

/// Takes the verdict of an end over into the story.
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

/// Works out what rules do to the head of an answer of our own.
pub(crate) fn edit_response(session: &mut Session, installed: &Installed, info: &StreamInfo<'_>) {
    let Session { core, head, input, peer, local, external_address, draft, .. } = session;
    let (external_address, hostname) = (external_address.as_str(), &*core.hostname);
    let caller = Caller { head, buf: input.bytes(), peer: *peer, local: *local, external_address, hostname };
    draft.edit_response(caller, info, None, &installed.plan.proxy.server_header);
}

/// Answers with the proxy's own words. True if the connection is to be kept.
pub(crate) async fn reply(
    session: &mut Session,
    installed: &Installed,
    info: &mut StreamInfo<'_>,
    ended: Termination,
    close: bool,
) -> bool {
    let (mut status, mut body) = note_termination(info, &ended);
    if status == 0 {
        return false;
    }
    if matches!(ended, Termination::BodyTimedOut) {
        session.stats.http.downstream_rq_timeout.inc();
    }
    edit_response(session, installed, info);
    if let Termination::FaultAborted(with) = ended
        && info.asked.is_some_and(|asked| fault::is_of_grpc(&session.view(&asked)))
    {
        fault::answer_grpc(with, &body, &mut session.draft.response);
        (status, body) = (200, "".into());
    }
    let overloaded = matches!(ended, Termination::Overflow);
    send(session, installed, info, LocalAnswer { status, body: body.as_bytes(), location: None, overloaded, close })
        .await
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

/// Sends it, with the changes of `session.draft.response`. True if the connection is to be kept.
pub(crate) async fn send(
    session: &mut Session,
    installed: &Installed,
    info: &mut StreamInfo<'_>,
    answer: LocalAnswer<'_>,
) -> bool {
    let LocalAnswer { status, body, location, overloaded, close } = answer;
    let close = close || session.draining();
    let head_request = session.head.method == Method::Head;
    let mut out = session.core.buffers.head();
    write_local_reply(
        out.cleared_vec(),
        &LocalReply {
            status,
            body,
            head_request,
            close,
            client: session.head.version,
            server: server(&installed.plan.proxy.server_header),
            date: &session.core.date(),
            location,
            overloaded,
            changes: &session.draft.response,
        },
    );
    session.core.if_logged(|names| session.draft.keep_for_log(names, out.bytes()));
    info.status = status;
    let bytes = out.len() as u64;
    let (sent, out) = session.writer.write_all(out).await;
    session.core.buffers.put(out);
    if sent.is_err() {
        info.flags.insert(Flags::DC);
        return false;
    }
    session.stats.http.downstream_cx_tx_bytes_total.add(bytes);
    let bodiless = head_request || matches!(status, 100..=199 | 204 | 304);
    info.sent = if bodiless { 0 } else { body.len() as u64 };
    if close && session.draining() {
        session.stats.http.downstream_cx_drain_close.inc();
    }
    !close
}

/// The name that goes into `server:` of our own answers; none with `passthrough`.
fn server(header: &ServerHeader) -> Option<&[u8]> {
    match header {
        ServerHeader::Overwrite(name) => Some(name.as_bytes()),
        ServerHeader::PassThrough => None,
    }
}
