//! One try: choose an endpoint, get a connection to it, send the request, and bring the response to the client.
//!
//! The request's body and the response move at the same time, as two futures raced in this one task; neither is ever
//! dropped on a connection that lives on.

use std::cell::Cell;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::conn::Session;
use super::core::{Core, Live, Phase};
use super::draft::Caller;
use super::edits::Received;
use super::hash::Head;
use super::record::Story;
use super::relay::{self, Client, Incoming, Progress, Relayed, Response, Sent};
use super::replay::Upload;
use super::reply::Ended;
use super::request::{self, Asked};
use super::tries::{self, Deadline, Late, Tries};
use super::tunnel::{self, End};
use crate::h1::encode::{self, Connection, Forwarded, OutBody, RequestOut, ResponseOut, Server};
use crate::h1::framing::{self, Body};
use crate::h1::head::{Known, ResponseHead, Version};
use crate::io::{self, Buf, Either, race};
use crate::observe::stats::{ClusterStats, EndpointStats};
use crate::plan::{Cluster, EndpointId, ServerHeader};
use crate::policy::balance::Ask;
use crate::policy::hashing::key::{self, Hashed, Key, NewCookie};
use crate::policy::retry::{Answer, Outcome};
use crate::upstream::{Closed, ConnectError, Installed, LocalCluster, LocalEndpoint, Upstream, open, read_head};

/// How a request ended.
pub(super) struct Run {
    pub(super) ended: Ended,
    /// Whether anything of a response went to the client.
    pub(super) began: bool,
    /// Whether the client's connection can be used again.
    pub(super) keep: bool,
}

impl Run {
    pub(super) fn failed(ended: Ended, keep: bool) -> Self {
        Self { ended, began: false, keep }
    }
}

/// What came of a try.
pub(super) enum Tried {
    /// The end of the request, if the failure is not one that is tried again.
    Over(Run),
    /// An answer that was not let through, because the request is to be tried again.
    Again,
}

/// What came of an exchange.
enum Exchanged {
    Tried(Tried),
    /// The connection had been used before and was closed as the request was sent, which the upstream may do at any time:
    /// the request never reached anyone, and is sent again on a new one.
    Stale,
}

impl From<Run> for Exchanged {
    fn from(run: Run) -> Self {
        Self::Tried(Tried::Over(run))
    }
}

/// Counts a request as active for as long as it lives.
struct Active(Arc<ClusterStats>, Arc<EndpointStats>);

impl Active {
    fn begin(cluster: &LocalCluster, endpoint: &LocalEndpoint) -> Self {
        cluster.stats.upstream_rq_active.inc();
        endpoint.stats.rq_active.inc();
        endpoint.stats.rq_total.inc();
        Self(cluster.stats.clone(), endpoint.stats.clone())
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.upstream_rq_active.dec();
        self.1.rq_active.dec();
    }
}

/// Makes the try. Where it fails before a response began, the caller answers.
pub(super) async fn run(
    session: &mut Session,
    installed: &Installed,
    story: &mut Story<'_>,
    (cluster, local): (&Cluster, &LocalCluster),
    asked: &Asked,
    keys: &[Key],
    tries: &mut Tries<'_>,
) -> Tried {
    // Written before there is an endpoint, because what chooses one may be in it.
    let head = outgoing(session, story, asked, tries);
    let hashed = match cluster.spread.hashes() {
        true => key::hash(keys, &Head::new(head.bytes(), session)),
        false => Hashed::default(),
    };
    let ask = Ask { hash: hashed.hash, now: story.began };
    let avoided: &[EndpointId] = if tries.retries.avoids_tried() { &session.tried } else { &[] };
    let picked = session.core.with_rng(|rng| local.pick(ask, avoided, rng));
    tries.retries.at = picked;
    let chosen = picked.and_then(|id| Some((cluster.endpoints.get(id.index())?, local.endpoint(id)?)));
    let Some((address, endpoint)) = chosen.map(|(plan, endpoint)| (plan.address, endpoint)) else {
        session.core.buffers.put(head);
        local.stats.upstream_cx_none_healthy.inc();
        return Tried::Over(Run::failed(Ended::NoEndpoint, tries.progress.whole.get()));
    };
    let head = (head, hashed.cookies.as_slice());
    at(session, installed, story, (cluster, local), asked, (endpoint, address), head, tries).await
}

/// Makes the try at a host that is not declared: at the first of its addresses that takes the connection.
pub(super) async fn run_undeclared(
    session: &mut Session,
    installed: &Installed,
    story: &mut Story<'_>,
    (cluster, local): (&Cluster, &LocalCluster),
    asked: &Asked,
    addresses: &[SocketAddr],
    tries: &mut Tries<'_>,
) -> Run {
    let mut run = Run::failed(Ended::Unresolved, tries.progress.whole.get());
    for address in addresses {
        let endpoint = installed.undeclared(*address, story.began);
        let head = (outgoing(session, story, asked, tries), &[][..]);
        let tried = at(session, installed, story, (cluster, local), asked, (&endpoint, *address), head, tries).await;
        // There is no policy that could have said `Again`.
        let Tried::Over(ended) = tried else { continue };
        run = ended;
        if !matches!(run.ended, Ended::ConnectFailed(_) | Ended::ConnectTimedOut) {
            break;
        }
    }
    run
}

/// Makes the try at an endpoint.
#[allow(clippy::too_many_arguments, reason = "they are what a try is made of, and a struct of them would only hide it")]
async fn at(
    session: &mut Session,
    installed: &Installed,
    story: &mut Story<'_>,
    (cluster, local): (&Cluster, &LocalCluster),
    asked: &Asked,
    (endpoint, address): (&LocalEndpoint, SocketAddr),
    (mut head, cookies): (Buf, &[NewCookie<'_>]),
    tries: &mut Tries<'_>,
) -> Tried {
    let mut fresh = false;
    loop {
        let active = Active::begin(local, endpoint);
        let upstream = match connection(session, story, (cluster, local), endpoint, address, tries, fresh).await {
            Ok(upstream) => upstream,
            Err(ended) => {
                session.core.buffers.put(head);
                return Tried::Over(Run::failed(ended, tries.progress.whole.get()));
            }
        };
        let behind = session.input.bytes().get(session.head.len..).unwrap_or_default();
        tries.upload.write_first(behind, &mut head);
        let parts = (local, endpoint, active);
        match carry(session, installed, story, asked, (head, cookies), parts, upstream, tries).await {
            Exchanged::Tried(tried) => return tried,
            Exchanged::Stale => local.stats.upstream_rq_retry_reused.inc(),
        }
        fresh = true;
        head = outgoing(session, story, asked, tries);
    }
}

/// A connection to the endpoint: one that rests, unless it must be `fresh`, or a new one.
async fn connection(
    session: &mut Session,
    story: &mut Story<'_>,
    (cluster, local): (&Cluster, &LocalCluster),
    endpoint: &LocalEndpoint,
    address: SocketAddr,
    tries: &Tries<'_>,
    fresh: bool,
) -> Result<Upstream, Ended> {
    story.upstream_host = Some(address);
    if let Some(upstream) = if fresh { None } else { endpoint.check_out() } {
        return Ok(upstream);
    }
    let core = session.core.clone();
    let opened = {
        let pending = Pending::begin(local);
        // Boxed, because it is rare and holds a timer of its own, which would weigh on every connection's task.
        let opening = Box::pin(open(cluster, local, endpoint, address, &core.buffers));
        let opened = tries::in_time(session, tries, opening).await;
        pending.end(opened.is_ok());
        opened
    };
    if let Err(Ended::RequestTimedOut) = opened {
        time_out(local, story);
    }
    opened?.map_err(|error| {
        local.stats.upstream_rq_pending_failure_eject.inc();
        endpoint.stats.rq_error.inc();
        match error {
            ConnectError::Failed(error) => Ended::ConnectFailed(error),
            ConnectError::TimedOut => Ended::ConnectTimedOut,
        }
    })
}

/// Counts a request that waits for a connection.
struct Pending<'a>(&'a ClusterStats);

impl<'a> Pending<'a> {
    fn begin(local: &'a LocalCluster) -> Self {
        local.stats.upstream_rq_pending_total.inc();
        local.stats.upstream_rq_pending_active.inc();
        Self(&local.stats)
    }

    /// It waits no longer; `served` unless it was given up.
    fn end(self, served: bool) {
        if !served {
            self.0.upstream_rq_cancelled.inc();
        }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.upstream_rq_pending_active.dec();
    }
}

/// Sends the request on a connection and brings back its response.
#[allow(clippy::too_many_arguments, reason = "as for `at`")]
async fn carry(
    session: &mut Session,
    installed: &Installed,
    story: &mut Story<'_>,
    asked: &Asked,
    head: (Buf, &[NewCookie<'_>]),
    (local, endpoint, active): (&LocalCluster, &LocalEndpoint, Active),
    mut upstream: Upstream,
    tries: &mut Tries<'_>,
) -> Exchanged {
    local.stats.upstream_rq_total.inc();
    if let Some(route) = story.route_stats {
        route.upstream_rq_total.inc();
    }
    story.upstream_local = upstream.local();
    let reused = upstream.begin_request();
    let notes = Notes::default();
    tries.progress.try_begins();
    let mut exchanged = exchange(session, installed, story, asked, head, local, &mut upstream, &notes, tries).await;
    if notes.tunnel.get() {
        run_tunnel(session, story, &mut upstream, &tries.progress).await;
    }
    story.sent += notes.sent.payload.get();
    session.stats.http.downstream_cx_tx_bytes_total.add(notes.sent.wire.get());
    local.stats.upstream_cx_tx_bytes_total.add(tries.progress.written.get());
    local.stats.upstream_cx_rx_bytes_total.add(notes.received.get() + notes.sent.received.get());
    drop(active);
    if let Exchanged::Tried(Tried::Over(Run { ended: Ended::UpstreamReset, .. })) = exchanged
        && reused
        && notes.received.get() == 0
        && upstream.buf.is_empty()
        && tries.progress.replayable.get()
        && session.head.method.is_idempotent()
    {
        exchanged = Exchanged::Stale;
    }
    count(&exchanged, story, &notes, (local, endpoint), &mut upstream);
    if notes.reusable.get() {
        let now = io::now();
        if matches!(exchanged, Exchanged::Tried(Tried::Over(_))) {
            let took = now.duration_since(tries.progress.ended.get().unwrap_or(now));
            let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            local.stats.upstream_rq_time.record(took);
            if let Some(route) = story.route_stats {
                route.upstream_rq_time.record(took);
            }
        }
        endpoint.check_in(upstream, &session.core.buffers, now);
    }
    exchanged
}

/// Counts how a try ended, for its cluster and its endpoint.
fn count(
    exchanged: &Exchanged,
    story: &Story<'_>,
    notes: &Notes,
    (local, endpoint): (&LocalCluster, &LocalEndpoint),
    upstream: &mut Upstream,
) {
    let stats = &local.stats;
    let ended = match exchanged {
        Exchanged::Stale => {
            upstream.closed_by(Closed::Remote);
            return stats.upstream_rq_rx_reset.inc();
        }
        Exchanged::Tried(Tried::Again) => {
            if !notes.reusable.get() {
                stats.upstream_rq_tx_reset.inc();
            }
            return endpoint.stats.rq_error.inc();
        }
        Exchanged::Tried(Tried::Over(run)) => &run.ended,
    };
    match ended {
        Ended::Answered if story.status < 500 => return endpoint.stats.rq_success.inc(),
        Ended::Answered => {}
        Ended::UpstreamReset | Ended::UpstreamCut => {
            upstream.closed_by(Closed::Remote);
            stats.upstream_rq_rx_reset.inc();
            if matches!(ended, Ended::UpstreamCut) {
                stats.upstream_cx_protocol_error.inc();
            }
        }
        Ended::UpstreamProtocol | Ended::UpstreamCorrupt => stats.upstream_cx_protocol_error.inc(),
        Ended::RequestTimedOut | Ended::TryTimedOut => {
            if matches!(ended, Ended::TryTimedOut) {
                stats.upstream_rq_per_try_timeout.inc();
            } else {
                time_out(local, story);
            }
            endpoint.stats.rq_timeout.inc();
            stats.upstream_rq_tx_reset.inc();
        }
        _ => stats.upstream_rq_tx_reset.inc(),
    }
    endpoint.stats.rq_error.inc();
}

/// Counts a request whose route's timeout passed during a try.
fn time_out(local: &LocalCluster, story: &Story<'_>) {
    local.stats.upstream_rq_timeout.inc();
    if let Some(route) = story.route_stats {
        route.upstream_rq_timeout.inc();
    }
}

/// What is noted of an exchange while it runs, whichever future it runs in.
#[derive(Default)]
struct Notes {
    sent: Sent,
    /// Bytes of heads, and of what came with them, received from the upstream.
    received: Cell<u64>,
    /// The upstream connection has nothing of this exchange left on it.
    reusable: Cell<bool>,
    /// The upstream agreed to an upgrade: raw bytes follow both ways.
    tunnel: Cell<bool>,
}

/// Turns the two connections into a tunnel until one of them ends.
async fn run_tunnel(session: &mut Session, story: &mut Story<'_>, upstream: &mut Upstream, progress: &Progress) {
    let http = session.stats.http.clone();
    http.downstream_cx_upgrades_total.inc();
    http.downstream_cx_upgrades_active.inc();
    let core = session.core.clone();
    let mut early = core.buffers.head();
    early.extend(session.input.bytes().get(session.rest..).unwrap_or_default());
    early.extend(session.behind.bytes());
    session.input.truncate(session.rest);
    session.behind.clear();
    session.entered.enter(Phase::Busy, None);
    let client = End { reader: &mut session.reader, writer: &mut session.writer };
    let upstream = End { reader: &mut upstream.reader, writer: &mut upstream.writer };
    // Boxed, because tunnels are rare and their state must not weigh on every connection's task.
    let passed = Box::pin(tunnel::run(&core, client, upstream, early)).await;
    http.downstream_cx_upgrades_active.dec();
    progress.received.set(progress.received.get() + passed.up);
    story.sent += passed.down;
    if passed.client_ended {
        request::tell(story, &Ended::ClientGone);
    }
}

/// The request's head, ready to be sent.
fn outgoing(session: &mut Session, story: &Story<'_>, asked: &Asked, tries: &Tries<'_>) -> Buf {
    let mut out = session.core.buffers.head();
    let spent = match tries.progress.ended.get() {
        Some(ended) if tries.retries.attempt > 1 => io::now().duration_since(ended),
        _ => Duration::ZERO,
    };
    let expected = tries.patience.expected_ms(spent);
    session.draft.note_try(tries.retries.attempt, expected);
    let (buf, draft) = (session.input.bytes(), &session.draft);
    let (believed, target) = (asked.believed, asked.target(buf, &draft.path));
    encode::request(
        out.cleared_vec(),
        &session.head,
        buf,
        &RequestOut {
            path: if story.rewritten { &draft.rewritten } else { target },
            authority: story.authority.map(str::as_bytes).or(asked.authority.map(|authority| authority.of(buf))),
            body: asked.out_body(),
            forward: Forwarded {
                believed,
                peer: if believed { &[] } else { session.forwarded_for.as_bytes() },
                proto: b"http",
                request_id: story.request_id.as_ref().map_or(&[], <[u8; 36]>::as_slice),
                external_address: (!believed).then_some(session.external_address.as_bytes()),
                attempt: tries.retries.attempt,
                expected_timeout_ms: expected,
                original_host: story.authority.map(|_| asked.host.of(buf)),
                original_path: story.rewritten.then_some(target),
            },
            drop_expect: false,
            changes: &draft.request,
        },
    );
    out
}

#[allow(clippy::too_many_arguments, reason = "as for `at`")]
async fn exchange(
    session: &mut Session,
    installed: &Installed,
    story: &mut Story<'_>,
    asked: &Asked,
    (first, cookies): (Buf, &[NewCookie<'_>]),
    local: &LocalCluster,
    upstream: &mut Upstream,
    notes: &Notes,
    tries: &mut Tries<'_>,
) -> Exchanged {
    let limits = &installed.plan.proxy.limits;
    let head_limits = Session::head_limits(installed);
    let pipelined = session.input.len() > session.rest || !session.behind.is_empty();
    let (method, version) = (session.head.method, session.head.version);
    let Session { core, door, reader, writer, entered, input, behind, head, response, draft, kept, timer, .. } =
        session;
    let (core, live): (&Core, &Live) = (core, entered);
    let caller = Caller {
        head,
        buf: input.bytes(),
        peer: session.peer,
        local: session.local,
        external_address: &session.external_address,
        hostname: &core.hostname,
    };
    let Upstream { reader: up_reader, writer: up_writer, buf: up_buf, handle: up_handle, .. } = upstream;
    let Tries { upload, progress, retries, patience } = tries;
    let connected = if patience.is_endless() { story.began } else { io::now() };
    let progress: &Progress = progress;
    let Upload { incoming, chunked, .. } = upload;
    let mut deadline = Deadline::new(timer, progress, *patience, connected);
    let client = Client { core, live, reader, kept, behind, body_timeout: limits.body_timeout, pipelined };
    let mut feed = pin!(relay::feed(client, up_writer, first, incoming, *chunked, progress));
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
                            return Run::failed(ended, false).into();
                        }
                    }
                    Either::Left(Either::Right(read)) => break read.map_err(Ended::from),
                    Either::Right(Late::Request) => break Err(Ended::RequestTimedOut),
                    Either::Right(Late::Try) => break Err(Ended::TryTimedOut),
                }
            }
        };
        if let Err(ended) = read {
            break Err(ended);
        }
        notes.received.set(notes.received.get() + up_buf.len() as u64);
        let switching = response.status == 101;
        if switching && !asked.tunnel() {
            break Err(Ended::UpstreamProtocol);
        }
        if switching || response.status >= 200 {
            break framing::response_body(response, up_buf.bytes(), method).map_err(|_| Ended::UpstreamProtocol);
        }
        local.stats.response(response.status);
        // The client counts on what it was told; another upstream might not say so.
        progress.replayable.set(false);
        if version == Version::Http11 {
            let mut out = core.buffers.head();
            encode::interim(out.cleared_vec(), response, up_buf.bytes());
            let (sent, out) = writer.write_all(out).await;
            core.buffers.put(out);
            if sent.is_err() {
                return Run::failed(Ended::ClientGone, false).into();
            }
        }
        up_buf.consume(response.len);
    };
    deadline.answered();
    let again = match &answered {
        Ok(_) if response.status == 101 => false,
        Ok(_) => retries.again(answer(response, up_buf.bytes()), progress, local, story),
        Err(_) => false,
    };
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
                Err(ended) => Run::failed(ended, progress.whole.get()).into(),
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
                    Exchanged::Tried(Tried::Again)
                }
            };
        }
    };

    let now = io::now();
    // A request for a tunnel has no end, so nothing to measure from; Envoy leaves the header out as well.
    let service_time = (!asked.tunnel()).then(|| now.duration_since(progress.ended.get().unwrap_or(now)));
    story.service_time = service_time;
    story.status = response.status;
    story.details = "via_upstream".into();
    let tunnelled = response.status == 101;
    let out_body = if tunnelled { OutBody::Upgrade } else { OutBody::of_response(body, version) };
    let draining = core.draining() || door.closed();
    let keep =
        asked.keep_alive && progress.whole.get() && out_body != OutBody::UntilClose && !draining && !asked.tunnel();
    let received = Received {
        head: response,
        buf: up_buf.bytes(),
        service_time: service_time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
    };
    draft.edit_response(caller, story, Some(received), &installed.plan.proxy.server_header);
    // They count as the upstream's own: rules that take `set-cookie` out take them, too.
    let cookies = if draft.response.drops(Known::Other, b"set-cookie") { &[] } else { cookies };
    for cookie in cookies {
        draft.response.add(Known::Other, b"set-cookie", |out| cookie.write(out));
    }
    let mut out = core.buffers.body();
    encode::response(
        out.cleared_vec(),
        response,
        up_buf.bytes(),
        &ResponseOut {
            server: match &installed.plan.proxy.server_header {
                ServerHeader::Overwrite(name) => Server::Overwrite(name.as_bytes()),
                ServerHeader::PassThrough => Server::PassThrough,
            },
            date: &core.date(),
            service_time_ms: received.service_time,
            body: out_body,
            connection: if keep { Connection::KeepAlive } else { Connection::Close },
            client: version,
            changes: &draft.response,
        },
    );
    core.if_logged(|names| draft.keep_for_log(names, out.bytes()));
    let reusable = framing::response_keep_alive(response, up_buf.bytes());
    up_buf.consume(response.len);
    if tunnelled {
        out.extend(up_buf.bytes());
        up_buf.clear();
    }
    let relayed = {
        let response =
            Response { core, live, reader: up_reader, buf: up_buf, client: writer, patience: limits.idle_timeout };
        let chunked = out_body == OutBody::Chunked;
        let mut relay = pin!(relay::response(response, out, Incoming::from(body), chunked, &notes.sent));
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
                        return Run { ended, began: true, keep: false }.into();
                    }
                }
                Either::Right(_) => return Run { ended: Ended::RequestTimedOut, began: true, keep: false }.into(),
            }
        }
    };
    let ended = match relayed {
        Relayed::Whole { clean } => {
            let finished = clean && progress.sent.get() && body != Body::UntilClose;
            notes.reusable.set(finished && reusable && !tunnelled);
            notes.tunnel.set(tunnelled);
            Ended::Answered
        }
        Relayed::UpstreamCut => Ended::UpstreamCut,
        Relayed::UpstreamCorrupt => Ended::UpstreamCorrupt,
        Relayed::ClientGone => Ended::ClientGone,
    };
    Run { ended, began: true, keep }.into()
}

/// What of an answer's head retrying goes by.
fn answer(head: &ResponseHead, buf: &[u8]) -> Outcome {
    let mut answer = Answer { status: head.status, ..Answer::default() };
    answer.rate_limited =
        head.all(Known::XEnvoy).any(|line| line.name.of(buf).eq_ignore_ascii_case(b"x-envoy-ratelimited"));
    let grpc_status = head.all(Known::Other).find(|line| line.name.of(buf).eq_ignore_ascii_case(b"grpc-status"));
    let grpc_status = grpc_status.and_then(|line| std::str::from_utf8(line.value.of(buf)).ok());
    answer.grpc_status = grpc_status.and_then(|status| status.parse().ok());
    Outcome::Answered(answer)
}
