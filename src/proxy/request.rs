//! A request from its parsed head to its end: framing, target, route, and either a forward or an answer of our own.

use std::time::Instant;

use super::attempt;
use super::conn::Session;
use super::record::{self, Story};
use super::reply::Ended;
use crate::h1::change;
use crate::h1::encode::{LocalReply, OutBody, local_reply};
use crate::h1::framing::{self, Body, Upgrade};
use crate::h1::head::{Method, Span};
use crate::h1::target::{self, Normal};
use crate::observe::flags::Flags;
use crate::plan::{Cluster, Decision, Request, ServerHeader, Target};
use crate::upstream::{Installed, LocalCluster};

/// What the head of a request says, beyond its lines.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// The body that follows.
    pub(super) body: Body,
    /// The upgrade it asks for.
    upgrade: Upgrade,
    /// Whether the client wants to go on after it.
    pub(super) keep_alive: bool,
    /// The path, without query.
    path: Span,
    /// The path and query.
    target: Span,
    /// Whether `path` and `target` are spans of `session.path`, where the normalised form is, and not of the head.
    normalised: bool,
    /// The query, without its `?`; a span of the head.
    query: Span,
    /// The authority of an absolute-form target, to be sent as Host.
    pub(super) authority: Option<Span>,
    /// What routing goes by.
    pub(super) host: Span,
}

/// Answers the request whose head is parsed in `session`. True if the connection is to be kept for another.
pub(super) async fn answer(session: &mut Session, began: Instant) -> bool {
    let (installed, listener) = session.door.installed(&session.core);
    session.listener = listener;
    let http = &session.stats.http;
    http.downstream_rq_total.inc();
    http.downstream_rq_http1_total.inc();
    http.downstream_rq_active.inc();
    let mut story = Story::new(began);
    session.rest = session.head.len;
    let keep = run(session, &installed, &mut story).await;
    record::finish(session, &story);
    if keep {
        session.input.consume(session.rest);
    }
    keep
}

async fn run<'p>(session: &mut Session, installed: &'p Installed, story: &mut Story<'p>) -> bool {
    let asked = match read(session) {
        Ok(asked) => asked,
        Err(ended) => return reply(session, installed, story, ended, true).await,
    };
    story.asked = Some(asked);
    session.stats.http.rq_total.inc();
    let close = !asked.keep_alive || asked.body != Body::None;
    if asked.path(session) == b"*" {
        return reply(session, installed, story, Ended::NoPath, close).await;
    }
    story.request_id = Some(session.core.request_id());
    let Some((route, target)) = find(session, installed, &asked) else {
        session.stats.http.no_route.inc();
        // What follows a CONNECT is not HTTP.
        let close = close || session.head.method == Method::Connect;
        return reply(session, installed, story, Ended::NotFound, close).await;
    };
    story.route = route;
    let found = match target {
        Target::Known(id) => installed.cluster(*id),
        Target::Missing(_) => None,
    };
    let Some((cluster, local)) = found else {
        session.stats.http.no_cluster.inc();
        return reply(session, installed, story, Ended::NoCluster, close).await;
    };
    story.cluster = &cluster.name;
    if asked.upgrade == Upgrade::Refused {
        session.stats.http.downstream_rq_ws_on_non_ws_route.inc();
        return reply(session, installed, story, Ended::UpgradeRefused, true).await;
    }
    forward(session, installed, story, cluster, local, &asked).await
}

async fn forward(
    session: &mut Session,
    installed: &Installed,
    story: &mut Story<'_>,
    cluster: &Cluster,
    local: &LocalCluster,
    asked: &Asked,
) -> bool {
    let run = attempt::run(session, installed, story, cluster, local, asked).await;
    let keep = match run.ended {
        Ended::Answered => run.keep,
        ended if run.began => {
            // Too late to say anything: the client must see that the answer is cut.
            tell(story, &ended);
            if !matches!(ended, Ended::ClientGone) {
                session.stats.http.downstream_rq_tx_reset.inc();
                session.entered.handle().reset_on_close();
            }
            false
        }
        ended => reply(session, installed, story, ended, !(run.keep && asked.keep_alive)).await,
    };
    if story.status > 0 {
        local.stats.response(story.status);
    }
    keep
}

/// What the head says of framing and target, or how it must be refused.
fn read(session: &mut Session) -> Result<Asked, Ended> {
    let (head, buf) = (&session.head, session.input.bytes());
    let body = framing::request_body(head, buf).map_err(Ended::BadRequest)?;
    let parts = target::split(head, buf).map_err(Ended::BadRequest)?;
    let normal = target::normalize(parts.path.of(buf), &mut session.path).map_err(Ended::BadRequest)?;
    let normalised = matches!(normal, Normal::Rewritten);
    let (path, target) = if normalised {
        let path = Span { start: 0, end: session.path.len() as u32 };
        if parts.has_query {
            session.path.push(b'?');
            session.path.extend_from_slice(parts.query.of(buf));
        }
        (path, Span { start: 0, end: session.path.len() as u32 })
    } else {
        let end = if parts.has_query { parts.query.end } else { parts.path.end };
        (parts.path, Span { start: parts.path.start, end })
    };
    Ok(Asked {
        body,
        upgrade: framing::upgrade(head, buf),
        keep_alive: framing::request_keep_alive(head, buf),
        path,
        target,
        normalised,
        query: parts.query,
        authority: parts.authority,
        host: parts.host,
    })
}

impl Asked {
    /// Whether it asks for a WebSocket, and nothing stands in the way of a tunnel.
    pub(super) fn tunnel(&self) -> bool {
        self.upgrade == Upgrade::WebSocket && self.body == Body::None
    }

    /// The path and query as rules and upstreams see them.
    pub(super) fn target<'s>(&self, session: &'s Session) -> &'s [u8] {
        self.target.of(if self.normalised { &session.path } else { session.input.bytes() })
    }

    fn path<'s>(&self, session: &'s Session) -> &'s [u8] {
        self.path.of(if self.normalised { &session.path } else { session.input.bytes() })
    }

    /// The framing of the request as it goes upstream.
    pub(super) fn out_body(&self) -> OutBody {
        if self.tunnel() { OutBody::Upgrade } else { OutBody::of_request(self.body) }
    }
}

/// The route of the request and the cluster drawn from it.
fn find<'p>(session: &Session, installed: &'p Installed, asked: &Asked) -> Option<(&'p str, &'p Target)> {
    // CONNECT names no path; no rule of a VirtualService can mean it.
    if session.head.method == Method::Connect {
        return None;
    }
    let buf = session.input.bytes();
    let request = Request {
        head: &session.head,
        buf,
        path: asked.path(session),
        query: asked.query.of(buf),
        target: asked.target(session),
        authority: asked.host.of(buf),
        scheme: b"http",
        peer: session.peer,
    };
    match session.core.with_rng(|rng| installed.plan.route(session.listener, &request, rng)) {
        Decision::Forward { route, destination, .. } => Some((&route.name, &destination.target)),
        Decision::NotFound | Decision::Redirect { .. } | Decision::Direct { .. } | Decision::Passthrough { .. } => None,
    }
}

/// Steps over a body that has arrived whole with its head. False if some of it is still to come: then an answer of our
/// own ends the connection, because waiting for a body only to drop it would serve nobody.
pub(super) fn skip_buffered_body(session: &mut Session, story: &mut Story<'_>, body: Body) -> bool {
    match body {
        Body::None => true,
        Body::Length(n) => {
            let end = usize::try_from(n).ok().and_then(|n| session.head.len.checked_add(n));
            match end {
                Some(end) if end <= session.input.len() => {
                    session.rest = end;
                    story.received = n;
                    true
                }
                _ => false,
            }
        }
        Body::Chunked | Body::UntilClose => false,
    }
}

/// Takes the verdict of an end over into the story.
pub(super) fn tell(story: &mut Story<'_>, ended: &Ended) -> (u16, std::borrow::Cow<'static, str>) {
    let verdict = ended.verdict();
    story.flags.insert(verdict.flags);
    story.details = verdict.details;
    story.transport_failure = verdict.transport_failure;
    (verdict.status, verdict.body)
}

/// Answers with the proxy's own words. True if the connection is to be kept.
pub(super) async fn reply(
    session: &mut Session,
    installed: &Installed,
    story: &mut Story<'_>,
    ended: Ended,
    close: bool,
) -> bool {
    let (status, body) = tell(story, &ended);
    if status == 0 {
        return false;
    }
    let close = close || session.draining();
    if matches!(ended, Ended::BodyTimedOut) {
        session.stats.http.downstream_rq_timeout.inc();
    }
    let head_request = session.head.method == Method::Head;
    let mut out = session.core.buffers.head();
    local_reply(
        out.cleared_vec(),
        &LocalReply {
            status,
            body: body.as_bytes(),
            head_request,
            close,
            client: session.head.version,
            server: server(&installed.plan.proxy.server_header),
            date: &session.core.date(),
            location: None,
            changes: &change::NONE,
        },
    );
    story.status = status;
    let bytes = out.len() as u64;
    let (sent, out) = session.writer.write_all(out).await;
    session.core.buffers.put(out);
    if sent.is_err() {
        story.flags.insert(Flags::DC);
        return false;
    }
    session.stats.http.downstream_cx_tx_bytes_total.add(bytes);
    story.sent = if head_request { 0 } else { body.len() as u64 };
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
