//! A request from its parsed head to its end: framing, target, route, and either a forward or an answer of our own.
//!
//! In Envoy's order: routing, faults, CORS, then the route's action; header operations see the request as the client sent it,
//! with what the proxy says of the client, and rewriting comes after them.

use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::h1::b3;
use crate::h1::framing::Upgrade;
use crate::h1::head::Method;
use crate::h1::hops;
use crate::io;
use crate::plan::{Decision, Destination, Forward, Redirect, Request, Route, Target};
use crate::proxy::downstream::connection::Session;
use crate::proxy::dynamic::passthrough;
use crate::proxy::l4::connect_method;
use crate::proxy::router::attempt_result::RequestResult;
use crate::proxy::router::cors::{self, Ruling};
use crate::proxy::router::fault;
use crate::proxy::router::header_scratch::{Caller, HeaderScratch};
use crate::proxy::router::local_reply::{LocalAnswer, edit_response, note_termination, reply, send};
use crate::proxy::router::parsed_request::{self, ParsedRequest};
use crate::proxy::router::record;
use crate::proxy::router::retry;
use crate::proxy::router::rewrite::{self, Destined};
use crate::proxy::router::stream_info::StreamInfo;
use crate::proxy::router::termination::Termination;
use crate::proxy::router::timeouts::Timeouts;
use crate::upstream::{Installed, LocalCluster};

/// Answers the request whose head is parsed in `session`. True if the connection is to be kept for another.
pub(crate) async fn answer(session: &mut Session, began: Instant) -> bool {
    let (installed, listener) = session.core.installed_at(&session.listener_handle);
    session.listener = listener;
    let http = &session.stats.http;
    http.downstream_rq_total.inc();
    http.downstream_rq_http1_total.inc();
    http.downstream_rq_active.inc();
    let mut info = StreamInfo::new(began);
    session.rest = session.head.len;
    let keep = run(session, &installed, &mut info).await;
    record::finish(session, &info);
    if keep {
        session.input.consume(session.rest);
    }
    keep
}

async fn run<'p>(session: &mut Session, installed: &'p Rc<Installed>, info: &mut StreamInfo<'p>) -> bool {
    let kind = installed.plan.listeners.get(session.listener.index()).map(|listener| listener.kind);
    let path_form = installed.plan.proxy.path_form();
    let Session { head, input, draft, .. } = session;
    let asked = match parsed_request::read(head, input.bytes(), kind, path_form, &mut draft.path) {
        Ok(asked) => asked,
        Err(ended) => return reply(session, installed, info, ended, true).await,
    };
    info.asked = Some(asked);
    session.stats.http.rq_total.inc();
    let close = asked.closes();
    if asked.path(session.input.bytes(), &session.draft.path) == b"*" {
        return reply(session, installed, info, Termination::NoPath, close).await;
    }
    if let Err(ended) = complete_head(session, &asked) {
        return reply(session, installed, info, ended, close).await;
    }
    if session.head.method == Method::Connect && connect_method::is_for(session, installed) {
        return Box::pin(connect_method::answer(session, installed, info, &asked)).await;
    }
    let decision = decide(session, installed, &asked);
    if asked.upgrade == Upgrade::Refused && !matches!(decision, Decision::NotFound) {
        (info.route, info.cluster) = route_and_cluster_names(&decision, installed);
        session.stats.http.downstream_rq_ws_on_non_ws_route.inc();
        return reply(session, installed, info, Termination::UpgradeRefused, true).await;
    }
    match decision {
        Decision::NotFound => {
            session.stats.http.no_route.inc();
            // What follows a CONNECT is not HTTP.
            let close = close || session.head.method == Method::Connect;
            reply(session, installed, info, Termination::NotFound, close).await
        }
        Decision::HttpsRedirect { .. } => {
            respond_directly(session, installed, info, &asked, HTTPS_REDIRECT_STATUS, b"", Some(To::Https)).await
        }
        Decision::Redirect { route, redirect } => {
            (info.route, info.edits) = (&route.name, Some(&route.headers.response));
            respond_directly(session, installed, info, &asked, redirect.code, b"", Some(To::Redirect(redirect))).await
        }
        Decision::Direct { route, direct } => {
            (info.route, info.edits) = (&route.name, Some(&route.headers.response));
            // Envoy says of every 201 and 3xx where it is, be it where the client is already.
            let here = matches!(direct.status, 201 | 300..=399).then_some(To::Redirect(&HERE));
            respond_directly(session, installed, info, &asked, direct.status, &direct.body, here).await
        }
        Decision::Forward { route, forward, destination } => {
            (info.route, info.edits) = (&route.name, Some(&destination.headers.response));
            info.route_stats = installed.route_stats(route);
            to_destination(session, installed, info, &asked, route, forward, destination).await
        }
        Decision::Passthrough { route } => {
            info.route = &route.name;
            to_passthrough(session, installed, info, &asked, close).await
        }
    }
}

/// The names of the route and of the cluster that a request would have met; empty where there is none.
fn route_and_cluster_names<'p>(decision: &Decision<'p>, installed: &'p Installed) -> (&'p str, &'p str) {
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
/// [`Termination::GoesRound`].
fn complete_head(session: &mut Session, asked: &ParsedRequest) -> Result<(), Termination> {
    let Session { core, head, input, draft, forwarded_for, .. } = session;
    let completion = &mut draft.completion;
    completion.complete(head, input.bytes(), asked.downstream, forwarded_for.as_bytes(), || core.request_id());
    let passed = hops::pass(head, input.bytes(), &core.instance, &mut completion.hops);
    passed.map_err(|round| Termination::GoesRound(round.passes))
}

/// Answers in a route's stead: a redirect, a direct response.
async fn respond_directly(
    session: &mut Session,
    installed: &Installed,
    info: &mut StreamInfo<'_>,
    asked: &ParsedRequest,
    status: u16,
    body: &[u8],
    to: Option<To<'_>>,
) -> bool {
    session.stats.http.rq_direct_response.inc();
    info.details = "direct_response".into();
    edit_response(session, installed, info);
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
    let answer = LocalAnswer { status, body, location: to.map(|_| location.as_slice()), overloaded: false, close };
    let kept = send(session, installed, info, answer).await;
    session.draft.rewritten = location;
    kept
}

async fn to_destination<'p>(
    session: &mut Session,
    installed: &'p Rc<Installed>,
    info: &mut StreamInfo<'p>,
    asked: &ParsedRequest,
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
        info.cluster = &cluster.name;
    }
    if let Some(fault) = &forward.fault
        && let Some(ended) = fault::inject(session, info, asked.body, fault).await
    {
        return reply(session, installed, info, ended, close).await;
    }
    if let Some(policy) = route.cors.as_deref() {
        let http = &session.stats.http;
        match cors::rule(policy, &session.view(asked)) {
            Ruling::NoOrigin => {}
            Ruling::Allowed(origin) => {
                http.cors_origin_valid.inc();
                info.cors = Some((policy, origin));
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
                info.details = "cors_response".into();
                let answer = LocalAnswer { status: 200, body: b"", location: None, overloaded: false, close };
                return send(session, installed, info, answer).await;
            }
        }
    }
    let Some((cluster, local)) = found else {
        session.stats.http.no_cluster.inc();
        return reply(session, installed, info, Termination::NoCluster, close).await;
    };
    trace(session, installed, asked);
    let Session { core, head, input, peer, local: own, external_address, draft, .. } = session;
    let (external_address, hostname) = (external_address.as_str(), &*core.hostname);
    let caller = Caller { head, buf: input.bytes(), peer: *peer, local: *own, external_address, hostname };
    draft.note_try(1, Timeouts::of(forward).expected_ms(Duration::ZERO));
    draft.edit_request(&destination.headers.request, caller, info, asked);
    info.authority = destination.authority.as_deref();
    if let Some(rewrite) = &forward.rewrite {
        info.rewritten = true;
        let HeaderScratch { path, rewritten, .. } = draft;
        let target = asked.target(caller.buf, path);
        core.with_captures(|captures| rewrite::path(rewrite, target, asked.path_len(), captures, rewritten));
    }
    let run = retry::run(session, installed, info, (cluster, local), asked, forward).await;
    session.mirrors.leave(&destination.target, &run.ended, info.status);
    finish(session, installed, info, local, asked, run).await
}

/// Makes the request a span of its trace, where tracing is on. Rules come after it and may say otherwise.
fn trace(session: &mut Session, installed: &Installed, asked: &ParsedRequest) {
    let Some(sampled) = installed.plan.proxy.tracing else { return };
    let mut changes = std::mem::take(&mut session.draft.request);
    let view = session.view(asked);
    session.core.with_rng(|rng| b3::pass(&view, |rng| sampled.hits(rng), rng, &mut changes));
    session.draft.request = changes;
}

/// Sends the request to where the connection was sent before it was redirected, or else to wherever its authority is.
async fn to_passthrough<'p>(
    session: &mut Session,
    installed: &'p Rc<Installed>,
    info: &mut StreamInfo<'p>,
    asked: &ParsedRequest,
    close: bool,
) -> bool {
    let Some((cluster, local)) = installed.passthrough() else {
        session.stats.http.no_cluster.inc();
        return reply(session, installed, info, Termination::NoCluster, close).await;
    };
    info.cluster = &cluster.name;
    let found = match installed.outbound(session.listener) {
        Some(outbound) => {
            let deadline = io::now() + cluster.connect_timeout;
            let Session { core, timer, input, original, .. } = session;
            match *original {
                Some(original) => passthrough::of_original(core, timer, outbound, original, deadline).await,
                None => {
                    let authority = asked.host.of(input.bytes());
                    passthrough::of_authority(core, timer, Some(outbound), authority, deadline).await
                }
            }
        }
        None => Err(Termination::Unresolved),
    };
    let addresses = match found {
        Ok(addresses) => addresses,
        Err(ended) => return reply(session, installed, info, ended, close).await,
    };
    trace(session, installed, asked);
    let run = retry::run_passthrough(session, installed, info, local, asked, &addresses).await;
    finish(session, installed, info, local, asked, run).await
}

/// What is left to do after the last try: an answer, if there has been none.
async fn finish(
    session: &mut Session,
    installed: &Installed,
    info: &mut StreamInfo<'_>,
    local: &LocalCluster,
    asked: &ParsedRequest,
    run: RequestResult,
) -> bool {
    let keep = match run.ended {
        Termination::Answered => run.keep,
        ended if run.began => {
            // Too late to say anything: the client must see that the answer is cut. Mostly its framing says so.
            note_termination(info, &ended);
            if !matches!(ended, Termination::ClientGone) {
                session.stats.http.downstream_rq_tx_reset.inc();
                if session.unframed {
                    session.cut_off();
                }
            }
            false
        }
        ended => reply(session, installed, info, ended, !(run.keep && asked.keep_alive)).await,
    };
    if info.status > 0 {
        local.stats.response(info.status);
        if let Some(route) = info.route_stats {
            route.response(info.status);
        }
    }
    keep
}

/// What the plan says of the request.
fn decide<'p>(session: &Session, installed: &'p Installed, asked: &ParsedRequest) -> Decision<'p> {
    // CONNECT names no path; no rule of a VirtualService can mean it.
    if session.head.method == Method::Connect {
        return Decision::NotFound;
    }
    let buf = session.input.bytes();
    let request = Request {
        view: session.view(asked),
        path: asked.path(session.input.bytes(), &session.draft.path),
        query: asked.query.of(buf),
        target: asked.target(buf, &session.draft.path),
        port: session.port,
        authority: asked.host.of(buf),
        scheme: asked.scheme.as_bytes(),
        peer: session.peer,
    };
    session.core.with_rng(|rng| installed.plan.route(session.listener, &request, rng))
}
