//! A request from its parsed head to its end: framing, target, route, and either a forward or an answer of our own.
//!
//! In Envoy's order: routing, faults, CORS, then the route's action; conditions and header operations see the request
//! as it goes upstream (`h1::forward`), and rewriting comes after them.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::attempt::Run;
use super::conn::Session;
use super::connect;
use super::cors::{self, Ruling};
use super::draft::{Caller, Draft};
use super::fault;
use super::record::{self, Story};
use super::reply::Ended;
use super::rewrite::{self, Destined};
use super::tries::{self, Patience};
use super::undeclared;
use crate::h1::b3;
use crate::h1::encode::OutBody;
use crate::h1::forward::{self, Downstream};
use crate::h1::framing::{self, Body, Upgrade};
use crate::h1::head::{Method, Span};
use crate::h1::hops;
use crate::h1::local::{LocalReply, local_reply};
use crate::h1::parse::BadMessage;
use crate::h1::target::{self, Normal};
use crate::io;
use crate::observe::flags::Flags;
use crate::plan::{Decision, Destination, Forward, ListenerKind, Plan, Redirect, Request, Route, ServerHeader, Target};
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
    /// Whether `path` and `target` are spans of `Draft::path`, where the normalised form is, and not of the head.
    normalised: bool,
    /// The query, without its `?`; a span of the head.
    query: Span,
    /// The authority of an absolute-form target, to be sent as Host.
    pub(super) authority: Option<Span>,
    /// What routing goes by.
    pub(super) host: Span,
    /// `http` or `https`: how the client reached us, or says that it was reached.
    pub(super) scheme: &'static str,
    /// How far its word about its own way is taken.
    pub(super) downstream: Downstream,
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

async fn run<'p>(session: &mut Session, installed: &'p Rc<Installed>, story: &mut Story<'p>) -> bool {
    let asked = match read(session, &installed.plan) {
        Ok(asked) => asked,
        Err(ended) => return reply(session, installed, story, ended, true).await,
    };
    story.asked = Some(asked);
    session.stats.http.rq_total.inc();
    let close = asked.closes();
    if asked.path(session) == b"*" {
        return reply(session, installed, story, Ended::NoPath, close).await;
    }
    if let Err(ended) = introduce(session, &asked) {
        return reply(session, installed, story, ended, close).await;
    }
    if session.head.method == Method::Connect && connect::is_for(session, installed) {
        return Box::pin(connect::answer(session, installed, story, &asked)).await;
    }
    let decision = decide(session, installed, &asked);
    if asked.upgrade == Upgrade::Refused && !matches!(decision, Decision::NotFound) {
        (story.route, story.cluster) = meant(&decision, installed);
        session.stats.http.downstream_rq_ws_on_non_ws_route.inc();
        return reply(session, installed, story, Ended::UpgradeRefused, true).await;
    }
    match decision {
        Decision::NotFound => {
            session.stats.http.no_route.inc();
            // What follows a CONNECT is not HTTP.
            let close = close || session.head.method == Method::Connect;
            reply(session, installed, story, Ended::NotFound, close).await
        }
        Decision::HttpsRedirect { .. } => {
            own(session, installed, story, &asked, HTTPS_REDIRECT_STATUS, b"", Some(To::Https)).await
        }
        Decision::Redirect { route, redirect } => {
            (story.route, story.edits) = (&route.name, Some(&route.headers.response));
            own(session, installed, story, &asked, redirect.code, b"", Some(To::Redirect(redirect))).await
        }
        Decision::Direct { route, direct } => {
            (story.route, story.edits) = (&route.name, Some(&route.headers.response));
            // Envoy says of every 201 and 3xx where it is, be it where the client is already.
            let here = matches!(direct.status, 201 | 300..=399).then_some(To::Redirect(&HERE));
            own(session, installed, story, &asked, direct.status, &direct.body, here).await
        }
        Decision::Forward { route, forward, destination } => {
            (story.route, story.edits) = (&route.name, Some(&destination.headers.response));
            story.route_stats = installed.route_stats(route);
            to_destination(session, installed, story, &asked, route, forward, destination).await
        }
        Decision::Passthrough { route } => {
            story.route = &route.name;
            to_undeclared(session, installed, story, &asked, close).await
        }
    }
}

/// The names of the route and of the cluster that a request would have met; empty where there is none.
fn meant<'p>(decision: &Decision<'p>, installed: &'p Installed) -> (&'p str, &'p str) {
    match decision {
        Decision::NotFound | Decision::HttpsRedirect { .. } => ("", ""),
        Decision::Redirect { route, .. } | Decision::Direct { route, .. } | Decision::Passthrough { route } => {
            (&route.name, "")
        }
        Decision::Forward { route, destination, .. } => (
            &route.name,
            match &destination.target {
                Target::Known(id) => installed.cluster(*id).map_or("", |(cluster, _)| &cluster.name),
                Target::Missing(_) => "",
            },
        ),
    }
}

/// Where an answer sends the client.
#[derive(Clone, Copy)]
enum To<'p> {
    /// Where a rule says.
    Redirect(&'p Redirect),
    /// To the same URL with `https` (`httpsRedirect` of a Gateway server).
    Https,
}

/// The status of `httpsRedirect`.
const HTTPS_REDIRECT_STATUS: u16 = 301;

/// A redirect to the same place.
const HERE: Redirect = Redirect { scheme: None, authority: None, port: None, path: None, code: 200 };

/// Completes the head of the request: from here on everybody sees it as it goes upstream.
///
/// # Errors
/// [`Ended::GoesRound`].
fn introduce(session: &mut Session, asked: &Asked) -> Result<(), Ended> {
    let Session { core, head, input, draft, forwarded_for, .. } = session;
    let completion = &mut draft.completion;
    completion.complete(head, input.bytes(), asked.downstream, forwarded_for.as_bytes(), || core.request_id());
    let passed = hops::pass(head, input.bytes(), &core.instance, &mut completion.hops);
    passed.map_err(|round| Ended::GoesRound(round.passes))
}

/// Answers in a route's stead: a redirect, a direct response.
async fn own(
    session: &mut Session,
    installed: &Installed,
    story: &mut Story<'_>,
    asked: &Asked,
    status: u16,
    body: &[u8],
    to: Option<To<'_>>,
) -> bool {
    session.stats.http.rq_direct_response.inc();
    story.details = "direct_response".into();
    edit_response(session, installed, story);
    let mut location = std::mem::take(&mut session.draft.rewritten);
    if let Some(to) = to {
        let buf = session.input.bytes();
        let was = Destined {
            scheme: asked.scheme,
            authority: asked.host.of(buf),
            target: asked.target(buf, &session.draft.path),
            path: asked.path_len(),
        };
        match to {
            To::Redirect(redirect) => rewrite::location(redirect, &was, &mut location),
            To::Https => rewrite::https_location(&was, &mut location),
        }
    }
    let close = asked.closes();
    let answer = Answer { status, body, location: to.map(|_| location.as_slice()), overloaded: false, close };
    let kept = send(session, installed, story, answer).await;
    session.draft.rewritten = location;
    kept
}

async fn to_destination<'p>(
    session: &mut Session,
    installed: &'p Rc<Installed>,
    story: &mut Story<'p>,
    asked: &Asked,
    route: &'p Route,
    forward: &'p Forward,
    destination: &'p Destination,
) -> bool {
    let close = asked.closes();
    let found = match &destination.target {
        Target::Known(id) => installed.cluster(*id),
        Target::Missing(_) => None,
    };
    if let Some((cluster, _)) = found {
        story.cluster = &cluster.name;
    }
    if let Some(fault) = &forward.fault
        && let Some(ended) = fault::inject(session, story, asked.body, fault).await
    {
        return reply(session, installed, story, ended, close).await;
    }
    if let Some(policy) = route.cors.as_deref() {
        let http = &session.stats.http;
        match cors::rule(policy, &session.view(asked)) {
            Ruling::NoOrigin => {}
            Ruling::Allowed(origin) => {
                http.cors_origin_valid.inc();
                story.cors = Some((policy, origin));
            }
            Ruling::NotAllowed => http.cors_origin_invalid.inc(),
            Ruling::Answer(origin) => {
                if origin.is_some() {
                    http.cors_origin_valid.inc()
                } else {
                    http.cors_origin_invalid.inc()
                }
                let mut changes = std::mem::take(&mut session.draft.response);
                cors::answer(policy, origin, &session.view(asked), &mut changes);
                session.draft.response = changes;
                story.details = "cors_response".into();
                let answer = Answer { status: 200, body: b"", location: None, overloaded: false, close };
                return send(session, installed, story, answer).await;
            }
        }
    }
    let Some((cluster, local)) = found else {
        session.stats.http.no_cluster.inc();
        return reply(session, installed, story, Ended::NoCluster, close).await;
    };
    trace(session, installed, asked);
    let Session { core, head, input, peer, local: own, external_address, draft, .. } = session;
    let (external_address, hostname) = (external_address.as_str(), &*core.hostname);
    let caller = Caller { head, buf: input.bytes(), peer: *peer, local: *own, external_address, hostname };
    draft.note_try(1, Patience::of(forward).expected_ms(Duration::ZERO));
    draft.edit_request(&destination.headers.request, caller, story, asked);
    story.authority = destination.authority.as_deref();
    if let Some(rewrite) = &forward.rewrite {
        story.rewritten = true;
        let Draft { path, rewritten, .. } = draft;
        let target = asked.target(caller.buf, path);
        core.with_captures(|captures| rewrite::path(rewrite, target, asked.path_len(), captures, rewritten));
    }
    let run = tries::run(session, installed, story, (cluster, local), asked, forward).await;
    session.mirrors.leave(&destination.target, &run.ended, story.status);
    finish(session, installed, story, local, asked, run).await
}

/// Makes the request a span of its trace, where tracing is on. Rules come after it and may say otherwise.
fn trace(session: &mut Session, installed: &Installed, asked: &Asked) {
    let Some(sampled) = installed.plan.proxy.tracing else { return };
    let mut changes = std::mem::take(&mut session.draft.request);
    let view = session.view(asked);
    session.core.with_rng(|rng| b3::pass(&view, |rng| sampled.hits(rng), rng, &mut changes));
    session.draft.request = changes;
}

/// Sends the request to where the connection was sent before it was redirected, or else to wherever its authority is.
async fn to_undeclared<'p>(
    session: &mut Session,
    installed: &'p Rc<Installed>,
    story: &mut Story<'p>,
    asked: &Asked,
    close: bool,
) -> bool {
    let Some((cluster, local)) = installed.passthrough() else {
        session.stats.http.no_cluster.inc();
        return reply(session, installed, story, Ended::NoCluster, close).await;
    };
    story.cluster = &cluster.name;
    let found = match installed.outbound(session.listener) {
        Some(outbound) => {
            let deadline = io::now() + cluster.connect_timeout;
            let Session { core, timer, input, original, .. } = session;
            match *original {
                Some(original) => undeclared::of_original(core, timer, outbound, original, deadline).await,
                None => {
                    let authority = asked.host.of(input.bytes());
                    undeclared::of_authority(core, timer, Some(outbound), authority, deadline).await
                }
            }
        }
        None => Err(Ended::Unresolved),
    };
    let addresses = match found {
        Ok(addresses) => addresses,
        Err(ended) => return reply(session, installed, story, ended, close).await,
    };
    trace(session, installed, asked);
    let run = tries::run_undeclared(session, installed, story, local, asked, &addresses).await;
    finish(session, installed, story, local, asked, run).await
}

/// What is left to do after the last try: an answer, if there has been none.
async fn finish(
    session: &mut Session,
    installed: &Installed,
    story: &mut Story<'_>,
    local: &LocalCluster,
    asked: &Asked,
    run: Run,
) -> bool {
    let keep = match run.ended {
        Ended::Answered => run.keep,
        ended if run.began => {
            // Too late to say anything: the client must see that the answer is cut. Mostly its framing says so.
            tell(story, &ended);
            if !matches!(ended, Ended::ClientGone) {
                session.stats.http.downstream_rq_tx_reset.inc();
                if session.unframed {
                    session.cut_off();
                }
            }
            false
        }
        ended => reply(session, installed, story, ended, !(run.keep && asked.keep_alive)).await,
    };
    if story.status > 0 {
        local.stats.response(story.status);
        if let Some(route) = story.route_stats {
            route.response(story.status);
        }
    }
    keep
}

/// What the head says of framing and target, or how it must be refused.
fn read(session: &mut Session, plan: &Plan) -> Result<Asked, Ended> {
    let kind = plan.listeners.get(session.listener.index()).map(|listener| listener.kind);
    let downstream = kind.map_or(Downstream::Edge, ListenerKind::downstream);
    let (head, buf) = (&session.head, session.input.bytes());
    let body = framing::request_body(head, buf).map_err(Ended::BadRequest)?;
    let parts = target::split(head, buf).map_err(Ended::BadRequest)?;
    // Here `Host` says where to go, and it may say so only in the form that everybody reads the same way.
    let host = parts.host.of(buf);
    if downstream.is_trusted() && !host.is_empty() && !target::is_authority(host) {
        return Err(Ended::BadRequest(BadMessage::Authority));
    }
    let scratch = &mut session.draft.path;
    let normal = target::normalize(parts.path.of(buf), plan.proxy.path_form(), scratch).map_err(Ended::BadRequest)?;
    let normalised = matches!(normal, Normal::Rewritten);
    let (path, target) = if normalised {
        let path = Span { start: 0, end: scratch.len() as u32 };
        if parts.has_query {
            scratch.push(b'?');
            scratch.extend_from_slice(parts.query.of(buf));
        }
        (path, Span { start: 0, end: scratch.len() as u32 })
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
        scheme: forward::scheme(head, buf, downstream),
        downstream,
    })
}

impl Asked {
    /// Whether the connection ends with an answer that is given before the request's body is read.
    fn closes(&self) -> bool {
        !self.keep_alive || !matches!(self.body, Body::None | Body::Length(0))
    }

    /// Whether it asks for a WebSocket, and nothing stands in the way of a tunnel.
    pub(super) fn tunnel(&self) -> bool {
        self.upgrade == Upgrade::WebSocket && self.body == Body::None
    }

    /// The path and query as rules see them. `path` is [`Draft::path`].
    pub(super) fn target<'s>(&self, buf: &'s [u8], path: &'s [u8]) -> &'s [u8] {
        self.target.of(if self.normalised { path } else { buf })
    }

    /// How much of the target is the path.
    fn path_len(&self) -> usize {
        (self.path.end - self.path.start) as usize
    }

    fn path<'s>(&self, session: &'s Session) -> &'s [u8] {
        self.path.of(if self.normalised { &session.draft.path } else { session.input.bytes() })
    }

    /// The framing of the request as it goes upstream.
    pub(super) fn out_body(&self) -> OutBody {
        if self.tunnel() { OutBody::Upgrade } else { OutBody::of_request(self.body) }
    }
}

/// What the plan says of the request.
fn decide<'p>(session: &Session, installed: &'p Installed, asked: &Asked) -> Decision<'p> {
    // CONNECT names no path; no rule of a VirtualService can mean it.
    if session.head.method == Method::Connect {
        return Decision::NotFound;
    }
    let buf = session.input.bytes();
    let request = Request {
        view: session.view(asked),
        path: asked.path(session),
        query: asked.query.of(buf),
        target: asked.target(buf, &session.draft.path),
        port: session.port,
        authority: asked.host.of(buf),
        scheme: asked.scheme.as_bytes(),
        peer: session.peer,
    };
    session.core.with_rng(|rng| installed.plan.route(session.listener, &request, rng))
}

/// Takes the verdict of an end over into the story.
pub(super) fn tell(story: &mut Story<'_>, ended: &Ended) -> (u16, std::borrow::Cow<'static, str>) {
    let verdict = ended.verdict(story.retried);
    story.flags.insert(verdict.flags);
    story.details = verdict.details;
    story.transport_failure = verdict.transport_failure;
    (verdict.status, verdict.body)
}

/// Works out what rules do to the head of an answer of our own.
fn edit_response(session: &mut Session, installed: &Installed, story: &Story<'_>) {
    let Session { core, head, input, peer, local, external_address, draft, .. } = session;
    let (external_address, hostname) = (external_address.as_str(), &*core.hostname);
    let caller = Caller { head, buf: input.bytes(), peer: *peer, local: *local, external_address, hostname };
    draft.edit_response(caller, story, None, &installed.plan.proxy.server_header);
}

/// Answers with the proxy's own words. True if the connection is to be kept.
pub(super) async fn reply(
    session: &mut Session,
    installed: &Installed,
    story: &mut Story<'_>,
    ended: Ended,
    close: bool,
) -> bool {
    let (mut status, mut body) = tell(story, &ended);
    if status == 0 {
        return false;
    }
    if matches!(ended, Ended::BodyTimedOut) {
        session.stats.http.downstream_rq_timeout.inc();
    }
    edit_response(session, installed, story);
    if let Ended::FaultAborted(with) = ended
        && story.asked.is_some_and(|asked| fault::is_of_grpc(&session.view(&asked)))
    {
        fault::answer_grpc(with, &body, &mut session.draft.response);
        (status, body) = (200, "".into());
    }
    let overloaded = matches!(ended, Ended::Overflow);
    send(session, installed, story, Answer { status, body: body.as_bytes(), location: None, overloaded, close }).await
}

/// An answer of our own.
struct Answer<'a> {
    status: u16,
    body: &'a [u8],
    location: Option<&'a [u8]>,
    /// Whether it says that a circuit breaker gives it.
    overloaded: bool,
    /// Whether it ends the connection.
    close: bool,
}

/// Sends it, with the changes of `session.draft.response`. True if the connection is to be kept.
async fn send(session: &mut Session, installed: &Installed, story: &mut Story<'_>, answer: Answer<'_>) -> bool {
    let Answer { status, body, location, overloaded, close } = answer;
    let close = close || session.draining();
    let head_request = session.head.method == Method::Head;
    let mut out = session.core.buffers.head();
    local_reply(
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
    story.status = status;
    let bytes = out.len() as u64;
    let (sent, out) = session.writer.write_all(out).await;
    session.core.buffers.put(out);
    if sent.is_err() {
        story.flags.insert(Flags::DC);
        return false;
    }
    session.stats.http.downstream_cx_tx_bytes_total.add(bytes);
    let bodiless = head_request || matches!(status, 100..=199 | 204 | 304);
    story.sent = if bodiless { 0 } else { body.len() as u64 };
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
