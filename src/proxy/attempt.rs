//! One try: choose an endpoint, get a connection to it, send the request, and bring the response to the client.
//!
//! The request's body and the response move at the same time, as two futures raced in this one task; neither is ever
//! dropped on a connection that lives on.

use std::cell::Cell;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use super::conn::Session;
use super::core::{Core, Live, Phase};
use super::draft::Caller;
use super::edits::Received;
use super::hash::Head;
use super::record::Story;
use super::relay::{self, Client, Incoming, Progress, Relayed, Response, Sent};
use super::reply::Ended;
use super::request::{self, Asked};
use super::tunnel::{self, End};
use crate::h1::encode::{self, Connection, Forwarded, OutBody, RequestOut, ResponseOut, Server};
use crate::h1::framing::{self, Body};
use crate::h1::head::{Known, Version};
use crate::io::{self, Buf, Either, race};
use crate::observe::stats::{ClusterStats, EndpointStats};
use crate::plan::{Cluster, ServerHeader};
use crate::policy::balance::Ask;
use crate::policy::hashing::key::{self, Hashed, Key, NewCookie};
use crate::upstream::{
    Closed, ConnectError, HeadError, Installed, LocalCluster, LocalEndpoint, Upstream, open, read_head,
};

/// What came of a try.
pub(super) struct Run {
    pub(super) ended: Ended,
    /// Whether anything of a response went to the client.
    pub(super) began: bool,
    /// Whether the client's connection can be used again.
    pub(super) keep: bool,
}

impl Run {
    fn failed(ended: Ended, keep: bool) -> Self {
        Self { ended, began: false, keep }
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
) -> Run {
    // Written before there is an endpoint, because what chooses one may be in it.
    let head = outgoing(session, story, asked);
    let hashed = match cluster.spread.hashes() {
        true => key::hash(keys, &Head::new(head.bytes(), session)),
        false => Hashed::default(),
    };
    let ask = Ask { hash: hashed.hash, now: story.began };
    let picked = session.core.with_rng(|rng| local.pick(ask, rng));
    let chosen = picked.and_then(|id| Some((cluster.endpoints.get(id.index())?, local.endpoint(id)?)));
    let Some((address, endpoint)) = chosen.map(|(plan, endpoint)| (plan.address, endpoint)) else {
        session.core.buffers.put(head);
        local.stats.upstream_cx_none_healthy.inc();
        return Run::failed(Ended::NoEndpoint, request::skip_buffered_body(session, story, asked.body));
    };
    let active = Active::begin(local, endpoint);
    match connection(session, story, (cluster, local), endpoint, address).await {
        Ok(upstream) => {
            let head = (head, hashed.cookies.as_slice());
            carry(session, installed, story, asked, head, (local, endpoint, active), upstream).await
        }
        Err(ended) => {
            session.core.buffers.put(head);
            Run::failed(ended, request::skip_buffered_body(session, story, asked.body))
        }
    }
}

/// Makes the try at a host that is not declared: at the first of its addresses that takes the connection.
pub(super) async fn run_undeclared(
    session: &mut Session,
    installed: &Installed,
    story: &mut Story<'_>,
    (cluster, local): (&Cluster, &LocalCluster),
    asked: &Asked,
    addresses: &[SocketAddr],
) -> Run {
    let mut ended = Ended::Unresolved;
    for address in addresses {
        let endpoint = installed.undeclared(*address, story.began);
        let active = Active::begin(local, &endpoint);
        match connection(session, story, (cluster, local), &endpoint, *address).await {
            Ok(upstream) => {
                let head = (outgoing(session, story, asked), &[][..]);
                return carry(session, installed, story, asked, head, (local, &endpoint, active), upstream).await;
            }
            Err(failed) => ended = failed,
        }
    }
    Run::failed(ended, request::skip_buffered_body(session, story, asked.body))
}

/// A connection to the endpoint: one that rests, or a new one.
async fn connection(
    session: &Session,
    story: &mut Story<'_>,
    (cluster, local): (&Cluster, &LocalCluster),
    endpoint: &LocalEndpoint,
    address: SocketAddr,
) -> Result<Upstream, Ended> {
    story.upstream_host = Some(address);
    if let Some(upstream) = endpoint.check_out() {
        return Ok(upstream);
    }
    local.stats.upstream_rq_pending_total.inc();
    local.stats.upstream_rq_pending_active.inc();
    let opened = open(cluster, local, endpoint, address, &session.core.buffers).await;
    local.stats.upstream_rq_pending_active.dec();
    opened.map_err(|error| {
        local.stats.upstream_rq_pending_failure_eject.inc();
        endpoint.stats.rq_error.inc();
        match error {
            ConnectError::Failed(error) => Ended::ConnectFailed(error),
            ConnectError::TimedOut => Ended::ConnectTimedOut,
        }
    })
}

/// Sends the request on a connection and brings back its response.
async fn carry(
    session: &mut Session,
    installed: &Installed,
    story: &mut Story<'_>,
    asked: &Asked,
    head: (Buf, &[NewCookie<'_>]),
    (local, endpoint, active): (&LocalCluster, &LocalEndpoint, Active),
    mut upstream: Upstream,
) -> Run {
    local.stats.upstream_rq_total.inc();
    if let Some(route) = story.route_stats {
        route.upstream_rq_total.inc();
    }
    story.upstream_local = upstream.local();
    upstream.begin_request();
    let notes = Notes::default();
    let run = exchange(session, installed, story, asked, head, &mut upstream, &notes).await;
    session.input.extend(session.behind.bytes());
    session.behind.clear();
    if notes.tunnel.get() {
        run_tunnel(session, story, &mut upstream).await;
    }
    story.received += notes.progress.received.get();
    story.sent += notes.sent.payload.get();
    session.stats.http.downstream_cx_tx_bytes_total.add(notes.sent.wire.get());
    local.stats.upstream_cx_tx_bytes_total.add(notes.progress.written.get());
    local.stats.upstream_cx_rx_bytes_total.add(notes.received.get() + notes.sent.received.get());
    drop(active);
    if count(&run.ended, story.status, local, &mut upstream) {
        endpoint.stats.rq_success.inc();
    } else {
        endpoint.stats.rq_error.inc();
    }
    if notes.reusable.get() {
        let now = io::now();
        let took = now.duration_since(notes.progress.sent.get().unwrap_or(now));
        let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        local.stats.upstream_rq_time.record(took);
        if let Some(route) = story.route_stats {
            route.upstream_rq_time.record(took);
        }
        endpoint.check_in(upstream, &session.core.buffers, now);
    }
    run
}

/// Counts how an exchange ended for its cluster; true if the endpoint did well.
fn count(ended: &Ended, status: u16, local: &LocalCluster, upstream: &mut Upstream) -> bool {
    match ended {
        Ended::Answered => return status < 500,
        Ended::UpstreamReset | Ended::UpstreamCut => {
            upstream.closed_by(Closed::Remote);
            local.stats.upstream_rq_rx_reset.inc();
        }
        Ended::UpstreamProtocol | Ended::UpstreamCorrupt => local.stats.upstream_cx_protocol_error.inc(),
        _ => local.stats.upstream_rq_tx_reset.inc(),
    }
    false
}

/// What is noted of an exchange while it runs, whichever future it runs in.
#[derive(Default)]
struct Notes {
    progress: Progress,
    sent: Sent,
    /// Bytes of heads, and of what came with them, received from the upstream.
    received: Cell<u64>,
    /// The upstream connection has nothing of this exchange left on it.
    reusable: Cell<bool>,
    /// The upstream agreed to an upgrade: raw bytes follow both ways.
    tunnel: Cell<bool>,
}

/// Turns the two connections into a tunnel until one of them ends.
async fn run_tunnel(session: &mut Session, story: &mut Story<'_>, upstream: &mut Upstream) {
    let http = session.stats.http.clone();
    http.downstream_cx_upgrades_total.inc();
    http.downstream_cx_upgrades_active.inc();
    let mut early = std::mem::take(&mut session.input);
    let head = session.rest;
    let core = session.core.clone();
    let mut behind = core.buffers.head();
    behind.extend(early.bytes().get(head..).unwrap_or_default());
    early.truncate(head);
    session.input = early;
    session.entered.enter(Phase::Busy, None);
    let client = End { reader: &mut session.reader, writer: &mut session.writer };
    let upstream = End { reader: &mut upstream.reader, writer: &mut upstream.writer };
    // Boxed, because tunnels are rare and their state must not weigh on every connection's task.
    let passed = Box::pin(tunnel::run(&core, client, upstream, behind)).await;
    http.downstream_cx_upgrades_active.dec();
    story.received += passed.up;
    story.sent += passed.down;
    if passed.client_ended {
        request::tell(story, &Ended::ClientGone);
    }
}

/// The request's head, ready to be sent.
fn outgoing(session: &Session, story: &Story<'_>, asked: &Asked) -> Buf {
    let mut out = session.core.buffers.head();
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
                attempt: 1,
                original_host: story.authority.map(|_| asked.host.of(buf)),
                original_path: story.rewritten.then_some(target),
            },
            drop_expect: false,
            changes: &draft.request,
        },
    );
    out
}

/// Puts behind the head what of the body has arrived with it; the rest is still `Incoming`.
fn first_piece(session: &mut Session, asked: &Asked, out: &mut Buf, notes: &Notes) -> Result<Incoming, Ended> {
    let mut incoming = Incoming::from(asked.body);
    let chunked = asked.out_body() == OutBody::Chunked;
    let behind = session.input.bytes_mut().get_mut(session.head.len..).unwrap_or_default();
    let (payload, consumed) = relay::first_piece(&mut incoming, behind, chunked, out).map_err(Ended::BadRequest)?;
    session.rest = session.head.len + consumed;
    notes.progress.received.set(payload as u64);
    Ok(incoming)
}

async fn exchange(
    session: &mut Session,
    installed: &Installed,
    story: &mut Story<'_>,
    asked: &Asked,
    (mut first, cookies): (Buf, &[NewCookie<'_>]),
    upstream: &mut Upstream,
    notes: &Notes,
) -> Run {
    let incoming = match first_piece(session, asked, &mut first, notes) {
        Ok(incoming) => incoming,
        Err(ended) => return Run::failed(ended, false),
    };
    let limits = &installed.plan.proxy.limits;
    let head_limits = Session::head_limits(installed);
    let pipelined = session.input.len() > session.rest;
    let chunked = asked.out_body() == OutBody::Chunked;
    let (method, version) = (session.head.method, session.head.version);
    let Session { core, door, reader, writer, entered, input, behind, head, response, draft, .. } = session;
    let (core, live): (&Core, &Live) = (core, entered);
    let caller = Caller {
        head,
        buf: input.bytes(),
        peer: session.peer,
        local: session.local,
        external_address: &session.external_address,
        hostname: &core.hostname,
    };
    let Upstream { reader: up_reader, writer: up_writer, buf: up_buf, .. } = upstream;
    let client = Client { core, live, reader, behind, body_timeout: limits.body_timeout, pipelined };
    let mut feed = pin!(relay::feed(client, up_writer, first, incoming, chunked, &notes.progress));
    let mut feeding = true;

    // Until the final head is there, interim ones are passed on as they come.
    let body = loop {
        let read = {
            let mut read = pin!(read_head(up_reader, up_buf, &head_limits, response));
            loop {
                if !feeding {
                    break read.await;
                }
                match race(feed.as_mut(), read.as_mut()).await {
                    Either::Left(fed) => {
                        feeding = false;
                        if let Some(ended) = fed.ends() {
                            return Run::failed(ended, false);
                        }
                    }
                    Either::Right(read) => break read,
                }
            }
        };
        let keep = asked.keep_alive && notes.progress.sent.get().is_some();
        match read {
            Ok(()) => {}
            Err(HeadError::Reset) => return Run::failed(Ended::UpstreamReset, keep),
            Err(HeadError::Cut | HeadError::Bad(_)) => return Run::failed(Ended::UpstreamProtocol, keep),
        }
        notes.received.set(notes.received.get() + up_buf.len() as u64);
        let switching = response.status == 101;
        if switching && !asked.tunnel() {
            return Run::failed(Ended::UpstreamProtocol, keep);
        }
        if switching || response.status >= 200 {
            match framing::response_body(response, up_buf.bytes(), method) {
                Ok(body) => break body,
                Err(_) => return Run::failed(Ended::UpstreamProtocol, keep),
            }
        }
        if version == Version::Http11 {
            let mut out = core.buffers.head();
            encode::interim(out.cleared_vec(), response, up_buf.bytes());
            let (sent, out) = writer.write_all(out).await;
            core.buffers.put(out);
            if sent.is_err() {
                return Run::failed(Ended::ClientGone, false);
            }
        }
        up_buf.consume(response.len);
    };

    let now = io::now();
    let service_time = now.duration_since(notes.progress.sent.get().unwrap_or(now));
    // A request for a tunnel has no end, so nothing to measure from; Envoy leaves the header out as well.
    let service_time = (!asked.tunnel()).then_some(service_time);
    story.service_time = service_time;
    story.status = response.status;
    story.details = "via_upstream".into();
    let tunnelled = response.status == 101;
    let out_body = if tunnelled { OutBody::Upgrade } else { OutBody::of_response(body, version) };
    let sent = notes.progress.sent.get().is_some();
    let draining = core.draining() || door.closed();
    let keep = asked.keep_alive && sent && out_body != OutBody::UntilClose && !draining && !asked.tunnel();
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
            if !feeding {
                break relay.await;
            }
            match race(relay.as_mut(), feed.as_mut()).await {
                Either::Left(relayed) => break relayed,
                Either::Right(fed) => {
                    feeding = false;
                    if let Some(ended) = fed.ends() {
                        return Run { ended, began: true, keep: false };
                    }
                }
            }
        }
    };
    let ended = match relayed {
        Relayed::Whole { clean } => {
            let finished = clean && notes.progress.sent.get().is_some() && body != Body::UntilClose;
            notes.reusable.set(finished && reusable && !tunnelled);
            notes.tunnel.set(tunnelled);
            Ended::Answered
        }
        Relayed::UpstreamCut => Ended::UpstreamCut,
        Relayed::UpstreamCorrupt => Ended::UpstreamCorrupt,
        Relayed::ClientGone => Ended::ClientGone,
    };
    Run { ended, began: true, keep }
}
