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
use crate::proxy::router::attempt_result::Run;
use crate::proxy::router::cors::{self, Ruling};
use crate::proxy::router::fault;
use crate::proxy::router::header_scratch::{Caller, Draft};
use crate::proxy::router::local_reply::{Answer, edit_response, reply, send, tell};
use crate::proxy::router::parsed_request::{self, Asked};
use crate::proxy::router::record;
use crate::proxy::router::retry;
use crate::proxy::router::rewrite::{self, Destined};
use crate::proxy::router::stream_info::Story;
use crate::proxy::router::termination::Ended;
use crate::proxy::router::timeouts::Patience;
use crate::upstream::{Installed, LocalCluster};

/// Answers the request whose head is parsed in `session`. True if the connection is to be kept for another.
pub(crate) async fn answer(session: &mut Session, began: Instant) -> bool {
    let (installed, listener) = session.core.installed_at(&session.door);
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
    let kind = installed.plan.listeners.get(session.listener.index()).map(|listener| listener.kind);
    let path_form = installed.plan.proxy.path_form();
    let Session { head, input, draft, .. } = session;
    let asked = match parsed_request::read(head, input.bytes(), kind, path_form, &mut draft.path) {
        Ok(asked) => asked,
        Err(ended) => return reply(session, installed, story, ended, true).await,
    };
    story.asked = Some(asked);
    session.stats.http.rq_total.inc();
    let close = asked.closes();
    if asked.path(session.input.bytes(), &session.draft.path) == b"*" {
        return reply(session, installed, story, Ended::NoPath, close).await;
    }
    if let Err(ended) = introduce(session, &asked) {
        return reply(session, installed, story, ended, close).await;
    }
    if session.head.method == Method::Connect && connect_method::is_for(session, installed) {
        return Box::pin(connect_method::answer(session, installed, story, &asked)).await;
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
    let run = retry::run(session, installed, story, (cluster, local), asked, forward).await;
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
                Some(original) => passthrough::of_original(core, timer, outbound, original, deadline).await,
                None => {
                    let authority = asked.host.of(input.bytes());
                    passthrough::of_authority(core, timer, Some(outbound), authority, deadline).await
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
    let run = retry::run_undeclared(session, installed, story, local, asked, &addresses).await;
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

/// What the plan says of the request.
fn decide<'p>(session: &Session, installed: &'p Installed, asked: &Asked) -> Decision<'p> {
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
