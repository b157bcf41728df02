//! A request from its parsed head to its end: framing, target, route, and either a forward or an answer of our own.
//!
//! In Envoy's order: the head is completed, then routing, faults, CORS, the route's action. Header operations see the request
//! as it goes upstream, before they change it, and rewriting comes after them.

use std::time::Duration;

use crate::h1::framing::Upgrade;
use crate::http::b3;
use crate::http::error::ProtocolError;
use crate::http::head::Method;
use crate::http::hops;
use crate::io;
use crate::plan::{Decision, Destination, Forward, Redirect, Request, Route, Target};
use crate::proxy::downstream::connection::ClientConnection;
use crate::proxy::dynamic::passthrough;
use crate::proxy::l4::connect_method;
use crate::proxy::router::attempt_result::RequestResult;
use crate::proxy::router::cors::{self, Ruling};
use crate::proxy::router::header_scratch::{DownstreamRequest, HeaderScratch};
use crate::proxy::router::local_reply::{LocalAnswer, note_termination};
use crate::proxy::router::parsed_request;
use crate::proxy::router::rewrite::{self, Destined};
use crate::proxy::router::termination::Termination;
use crate::proxy::router::timeouts::Timeouts;
use crate::proxy::stream::{Scratch, Stream};
use crate::upstream::{Installed, LocalCluster};

impl<'p> Stream<'p> {
    /// Serves the request to its end. True if the connection is to be kept for another.
    pub(crate) async fn serve(mut self) -> bool {
        self.count_begin();
        self.conn.rest = self.scratch.head.len;
        let keep = self.route().await;
        self.finish();
        if keep {
            self.conn.input.consume(self.conn.rest);
        }
        keep
    }

    /// Answers a request whose head never came, or is invalid; the connection must be closed.
    pub(crate) async fn refuse(mut self, ended: Termination) {
        self.count_begin();
        self.reply(ended, true).await;
        self.finish();
    }

    fn count_begin(&self) {
        let http = &self.conn.http;
        http.downstream_rq_total.inc();
        http.downstream_rq_http1_total.inc();
        http.downstream_rq_active.inc();
    }

    /// Parses the request, finds its route, and carries out the route's action.
    async fn route(&mut self) -> bool {
        let (plan, path_form) = (&self.installed.plan, self.installed.plan.proxy.path_form());
        let kind = plan.listeners.get(self.listener.index()).map(|listener| listener.kind);
        let Scratch { head, headers, .. } = &mut *self.scratch;
        match parsed_request::read(head, self.conn.input.bytes(), kind, path_form, &mut headers.path) {
            Ok(parsed) => (self.parsed, self.info.parsed) = (parsed, Some(parsed)),
            Err(ended) => return self.reply(ended, true).await,
        }
        self.conn.http.rq_total.inc();
        let close = self.parsed.closes();
        if self.path() == b"*" {
            return self.reply(Termination::NoPath, close).await;
        }
        if let Err(ended) = self.complete_head() {
            return self.reply(ended, close).await;
        }
        if self.scratch.head.method == Method::Connect && connect_method::is_for(self) {
            return Box::pin(connect_method::answer(self)).await;
        }
        let decision = self.decide();
        if self.parsed.upgrade == Upgrade::Refused && !matches!(decision, Decision::NotFound) {
            (self.info.route, self.info.cluster) = route_and_cluster_names(&decision, self.installed);
            self.conn.http.downstream_rq_ws_on_non_ws_route.inc();
            return self.reply(Termination::UpgradeRefused, true).await;
        }
        if self.host().is_empty() && rewrite::needs_host(&decision) {
            return self.reply(Termination::BadRequest(ProtocolError::HostMissing), true).await;
        }
        match decision {
            Decision::NotFound => {
                self.conn.http.no_route.inc();
                // The bytes after a CONNECT are not HTTP.
                let close = close || self.scratch.head.method == Method::Connect;
                self.reply(Termination::NotFound, close).await
            }
            Decision::HttpsRedirect { .. } => self.respond_directly(HTTPS_REDIRECT_STATUS, b"", Some(To::Https)).await,
            Decision::Redirect { route, redirect } => {
                (self.info.route, self.info.edits) = (&route.name, Some(&route.headers.response));
                self.respond_directly(redirect.code, b"", Some(To::Redirect(redirect))).await
            }
            Decision::Direct { route, direct } => {
                (self.info.route, self.info.edits) = (&route.name, Some(&route.headers.response));
                // Envoy says of every 201 and 3xx where it is, be it where the client is already.
                let here = matches!(direct.status, 201 | 300..=399).then_some(To::Redirect(&HERE));
                self.respond_directly(direct.status, &direct.body, here).await
            }
            Decision::Forward { route, forward, destination } => {
                (self.info.route, self.info.edits) = (&route.name, Some(&destination.headers.response));
                self.info.route_stats = self.installed.route_stats(route);
                self.send_to_destination(route, forward, destination).await
            }
            Decision::Passthrough { route } => {
                self.info.route = &route.name;
                self.send_to_passthrough(close).await
            }
        }
    }

    /// The path as rules see it.
    fn path(&self) -> &[u8] {
        self.parsed.path(self.conn.input.bytes(), &self.scratch.headers.path)
    }

    /// The path and query as rules see them.
    pub(crate) fn target(&self) -> &[u8] {
        self.parsed.target(self.conn.input.bytes(), &self.scratch.headers.path)
    }

    /// The authority that routing goes by.
    pub(crate) fn host(&self) -> &[u8] {
        self.parsed.host.of(self.conn.input.bytes())
    }

    /// Completes the head of the request: from here on everything sees it as it goes upstream.
    ///
    /// # Errors
    /// [`Termination::GoesRound`].
    fn complete_head(&mut self) -> Result<(), Termination> {
        let ClientConnection { core, input, forwarded_for, .. } = &*self.conn;
        let Scratch { head, headers, .. } = &mut *self.scratch;
        let completion = &mut headers.completion;
        completion
            .complete(head, input.bytes(), self.parsed.downstream, forwarded_for.as_bytes(), || core.request_id());
        let passed = hops::pass(head, input.bytes(), &core.instance, &mut completion.hops);
        passed.map_err(|round| Termination::GoesRound(round.passes))
    }

    /// The plan's decision on the request.
    fn decide(&self) -> Decision<'p> {
        // CONNECT names no path; no rule of a VirtualService can mean it.
        if self.scratch.head.method == Method::Connect {
            return Decision::NotFound;
        }
        let request = Request {
            view: self.view(),
            path: self.path(),
            query: self.parsed.query.of(self.conn.input.bytes()),
            target: self.target(),
            port: self.conn.port,
            authority: self.host(),
            scheme: self.parsed.scheme.as_bytes(),
            peer: self.conn.peer,
        };
        self.conn.core.with_rng(|rng| self.installed.plan.route(self.listener, &request, rng))
    }

    /// Answers in a route's stead: a redirect, a direct response.
    async fn respond_directly(&mut self, status: u16, body: &[u8], to: Option<To<'_>>) -> bool {
        self.conn.http.rq_direct_response.inc();
        self.info.details = "direct_response".into();
        self.edit_local_response();
        let mut location = std::mem::take(&mut self.scratch.headers.rewritten);
        if let Some(to) = to {
            let was = Destined {
                scheme: self.parsed.scheme,
                authority: self.host(),
                target: self.target(),
                path: self.parsed.path_len(),
            };
            match to {
                To::Redirect(redirect) => rewrite::location(redirect, &was, &mut location),
                To::Https => rewrite::https_location(&was, &mut location),
            }
        }
        let close = self.parsed.closes();
        let answer = LocalAnswer { status, body, location: to.map(|_| location.as_slice()), overloaded: false, close };
        let kept = self.send_local(answer).await;
        self.scratch.headers.rewritten = location;
        kept
    }

    async fn send_to_destination(
        &mut self,
        route: &'p Route,
        forward: &'p Forward,
        destination: &'p Destination,
    ) -> bool {
        let close = self.parsed.closes();
        let found = match &destination.target {
            Target::Known(id) => self.installed.cluster(*id),
            Target::Missing(_) => None,
        };
        if let Some((cluster, _)) = found {
            self.info.cluster = &cluster.name;
        }
        if let Some(fault) = &forward.fault
            && let Some(ended) = self.inject(fault).await
        {
            return self.reply(ended, close).await;
        }
        if let Some(policy) = route.cors.as_deref() {
            let http = &self.conn.http;
            match cors::rule(policy, &self.view()) {
                Ruling::NoOrigin => {}
                Ruling::Allowed(origin) => {
                    http.cors_origin_valid.inc();
                    self.info.cors = Some((policy, origin));
                }
                Ruling::NotAllowed => http.cors_origin_invalid.inc(),
                Ruling::Answer(origin) => {
                    if origin.is_some() {
                        http.cors_origin_valid.inc()
                    } else {
                        http.cors_origin_invalid.inc()
                    }
                    let mut ops = std::mem::take(&mut self.scratch.headers.response);
                    cors::answer(policy, origin, &self.view(), &mut ops);
                    self.scratch.headers.response = ops;
                    self.info.details = "cors_response".into();
                    let answer = LocalAnswer { status: 200, body: b"", location: None, overloaded: false, close };
                    return self.send_local(answer).await;
                }
            }
        }
        let Some((cluster, local)) = found else {
            self.conn.http.no_cluster.inc();
            return self.reply(Termination::NoCluster, close).await;
        };
        self.trace();
        let Scratch { head, headers, .. } = &mut *self.scratch;
        let downstream = DownstreamRequest::new(self.conn, head);
        headers.note_attempt(1, Timeouts::of(forward).expected_ms(Duration::ZERO));
        headers.edit_request(&destination.headers.request, downstream, &self.info, &self.parsed);
        self.info.authority = destination.authority.as_deref();
        if let Some(rewrite) = &forward.rewrite {
            self.info.rewritten = true;
            let HeaderScratch { path, rewritten, .. } = headers;
            let target = self.parsed.target(downstream.buf, path);
            let path_len = self.parsed.path_len();
            self.conn.core.with_captures(|captures| rewrite::path(rewrite, target, path_len, captures, rewritten));
        }
        let result = self.run_attempts((cluster, local), forward).await;
        self.scratch.mirrors.leave(&destination.target, &result.ended, self.info.status);
        self.conclude(local, result).await
    }

    /// Makes the request a span of its trace, where tracing is on. Rules come after it and may say otherwise.
    fn trace(&mut self) {
        let Some(sampled) = self.installed.plan.proxy.tracing else { return };
        let mut ops = std::mem::take(&mut self.scratch.headers.request);
        let view = self.view();
        self.conn.core.with_rng(|rng| b3::pass(&view, |rng| sampled.hits(rng), rng, &mut ops));
        self.scratch.headers.request = ops;
    }

    /// Sends the request to where the connection was sent before it was redirected, or else to wherever its authority is.
    async fn send_to_passthrough(&mut self, close: bool) -> bool {
        let Some((cluster, local)) = self.installed.passthrough() else {
            self.conn.http.no_cluster.inc();
            return self.reply(Termination::NoCluster, close).await;
        };
        self.info.cluster = &cluster.name;
        let found = match self.installed.outbound(self.listener) {
            Some(outbound) => {
                let deadline = io::now() + cluster.connect_timeout;
                let ClientConnection { core, input, original, timer, .. } = &mut *self.conn;
                match *original {
                    Some(original) => passthrough::of_original(core, timer, outbound, original, deadline).await,
                    None => {
                        let authority = self.parsed.host.of(input.bytes());
                        passthrough::of_authority(core, timer, Some(outbound), authority, deadline).await
                    }
                }
            }
            None => Err(Termination::Unresolved),
        };
        let addresses = match found {
            Ok(addresses) => addresses,
            Err(ended) => return self.reply(ended, close).await,
        };
        self.trace();
        let result = self.run_passthrough_attempt(local, &addresses).await;
        self.conclude(local, result).await
    }

    /// The end after the last attempt: a local reply, if there has been no response.
    async fn conclude(&mut self, local: &LocalCluster, result: RequestResult) -> bool {
        let keep = match result.ended {
            Termination::Answered => result.keep,
            ended if result.began => {
                // Too late to say anything: the client must see that the answer is cut. Mostly its framing says so.
                note_termination(&mut self.info, &ended);
                if !matches!(ended, Termination::ClientGone) {
                    self.conn.http.downstream_rq_tx_reset.inc();
                    if self.scratch.unframed {
                        self.conn.cut_off();
                    }
                }
                false
            }
            ended => self.reply(ended, !(result.keep && self.parsed.keep_alive)).await,
        };
        if self.info.status > 0 {
            local.stats.response(self.info.status);
            if let Some(route) = self.info.route_stats {
                route.response(self.info.status);
            }
        }
        keep
    }
}

/// The names of the route and of the cluster of a request; empty without one.
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

/// A redirect to the same location.
const HERE: Redirect = Redirect { scheme: None, authority: None, port: None, path: None, code: 200 };
