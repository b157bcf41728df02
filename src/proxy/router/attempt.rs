//! One try: choose an endpoint, get a connection to it, send the request over it, and count what came of that.
//!
//! The sending and receiving is `exchange`'s; how often a request is tried is `tries`'.

use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Instant;

use crate::io::{self, Buf, BufPool};
use crate::plan::{Cluster, Discovery, OwnAuthority};
use crate::policy::balance::Ask;
use crate::policy::hashing::key::{self, Hashed, Key, NewCookie};
use crate::policy::outlier::Outcome;
use crate::proxy::core::Phase;
use crate::proxy::downstream::connection::Session;
use crate::proxy::dynamic::forward_proxy;
use crate::proxy::dynamic::passthrough;
use crate::proxy::l4::tunnel::{self, End, Ending, Meters, Until};
use crate::proxy::mirror::start;
use crate::proxy::router::attempt_report::{Active, report_end};
use crate::proxy::router::attempt_result::{Exchanged, Run, Tried};
use crate::proxy::router::exchange::{Notes, exchange, outgoing};
use crate::proxy::router::hash::Head;
use crate::proxy::router::local_reply;
use crate::proxy::router::parsed_request::Asked;
use crate::proxy::router::progress::Progress;
use crate::proxy::router::retry_state::Tries;
use crate::proxy::router::stream_info::Story;
use crate::proxy::router::termination::Ended;
use crate::proxy::router::waiting;
use crate::upstream::{
    Admitted, Closed, ConnectError, Installed, Lease, LocalCluster, LocalEndpoint, NoConnection, Pending, Upstream,
};

/// Makes the try. Where it fails before a response began, the caller answers.
pub(crate) async fn run(
    session: &mut Session,
    installed: &Rc<Installed>,
    story: &mut Story<'_>,
    (cluster, local): (&Cluster, &LocalCluster),
    asked: &Asked,
    keys: &[Key],
    tries: &mut Tries<'_>,
) -> Tried {
    if let Discovery::Authority(own) = &cluster.discovery {
        // Boxed, because it is rare, and a whole try more would weigh on every connection's task.
        return Box::pin(run_at_authority(session, installed, story, (cluster, local), asked, own, tries)).await;
    }
    // Written before there is an endpoint, because what chooses one may be in it.
    let head = outgoing(session, story, asked, tries);
    let hashed = match cluster.spread.hashes() {
        true => key::hash(keys, &Head::new(head.bytes(), session)),
        false => Hashed::default(),
    };
    let ask = Ask { hash: hashed.hash, now: story.began };
    let avoid = tries.retries.avoid(&session.tried);
    let picked = session.core.with_rng(|rng| local.pick(ask, avoid, rng));
    tries.retries.at = picked;
    let Some(endpoint) = picked.and_then(|id| local.endpoint(id)) else {
        session.core.buffers.put(head);
        local.stats.upstream_cx_none_healthy.inc();
        return Tried::Over(Run::failed(Ended::NoEndpoint, tries.progress.whole.get()));
    };
    let head = (head, hashed.cookies.as_slice());
    at(session, installed, story, local, asked, endpoint, head, tries).await
}

/// Makes the try at a cluster without endpoints, where the request itself says where it goes.
async fn run_at_authority(
    session: &mut Session,
    installed: &Rc<Installed>,
    story: &mut Story<'_>,
    (cluster, local): (&Cluster, &LocalCluster),
    asked: &Asked,
    own: &OwnAuthority,
    tries: &mut Tries<'_>,
) -> Tried {
    let found = forward_proxy::find(session, cluster, own, asked, tries).await;
    match found.and_then(|found| passthrough::permitted(installed.outbound(session.listener), found)) {
        Ok(found) => {
            let addresses = forward_proxy::addresses(&found);
            at_first_of(session, installed, story, local, asked, addresses, tries).await
        }
        Err(ended) => {
            match ended {
                Ended::NoEndpoint => local.stats.upstream_cx_none_healthy.inc(),
                Ended::RequestTimedOut => time_out(local, story),
                _ => {}
            }
            Tried::Over(Run::failed(ended, tries.progress.whole.get()))
        }
    }
}

/// Makes the try at a host that is not declared: at the first of its addresses that takes the connection.
pub(crate) async fn run_undeclared(
    session: &mut Session,
    installed: &Rc<Installed>,
    story: &mut Story<'_>,
    local: &LocalCluster,
    asked: &Asked,
    addresses: &[SocketAddr],
    tries: &mut Tries<'_>,
) -> Run {
    match at_first_of(session, installed, story, local, asked, addresses, tries).await {
        Tried::Over(run) => run,
        // There is no policy that could have said so.
        Tried::Again => Run::failed(Ended::UpstreamReset, tries.progress.whole.get()),
    }
}

/// Makes the try at the first of the addresses (a few of them) that takes the connection.
async fn at_first_of(
    session: &mut Session,
    installed: &Rc<Installed>,
    story: &mut Story<'_>,
    local: &LocalCluster,
    asked: &Asked,
    addresses: &[SocketAddr],
    tries: &mut Tries<'_>,
) -> Tried {
    let mut tried = Tried::Over(Run::failed(Ended::Unresolved, tries.progress.whole.get()));
    for address in addresses {
        let endpoint = local.undeclared(*address, story.began);
        let head = (outgoing(session, story, asked, tries), &[][..]);
        tried = at(session, installed, story, local, asked, &endpoint, head, tries).await;
        let unreachable = |run: &Run| matches!(run.ended, Ended::ConnectFailed(_) | Ended::ConnectTimedOut);
        if !matches!(&tried, Tried::Over(run) if unreachable(run)) {
            break;
        }
    }
    tried
}

/// Makes the try at an endpoint.
#[allow(clippy::too_many_arguments, reason = "they are what a try is made of, and a struct of them would only hide it")]
async fn at(
    session: &mut Session,
    installed: &Rc<Installed>,
    story: &mut Story<'_>,
    local: &LocalCluster,
    asked: &Asked,
    endpoint: &Rc<LocalEndpoint>,
    (mut head, cookies): (Buf, &[NewCookie<'_>]),
    tries: &mut Tries<'_>,
) -> Tried {
    let core = session.core.clone();
    let mut fresh = false;
    loop {
        let admitted = admit(session, story, local, endpoint, fresh, &core.buffers);
        // What a circuit breaker refuses at once is not copied either.
        if admitted.is_ok()
            && let Some(forward) = tries.take_copied()
        {
            start::start(session, installed, (forward, asked), &head, tries);
        }
        let there = match admitted {
            Ok(Admitted::Now(upstream)) => Ok(upstream),
            Ok(Admitted::Pending(mut pending)) => {
                connection(session, story, local, endpoint, &mut pending, tries).await
            }
            Err(ended) => Err(ended),
        };
        let upstream = match there {
            Ok(upstream) => upstream,
            Err(ended) => {
                session.core.buffers.put(head);
                report_end(local, tries.retries.at, &ended, false);
                return Tried::Over(Run::failed(ended, tries.progress.whole.get()));
            }
        };
        let active = Active::begin(local, endpoint);
        // The single endpoint of a name may have moved since.
        story.upstream_host = Some(upstream.peer().clone());
        local.report(tries.retries.at, Outcome::Connected);
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

/// A connection to the endpoint that rests, unless it must be `fresh`, or a place in the line for one.
fn admit<'l>(
    session: &Session,
    story: &mut Story<'_>,
    local: &'l LocalCluster,
    endpoint: &'l Rc<LocalEndpoint>,
    fresh: bool,
    buffers: &'l BufPool,
) -> Result<Admitted<'l>, Ended> {
    story.upstream_host = Some(endpoint.address());
    let name = match &local.shared.tls {
        None => None,
        Some(tls) => Some(tls.name(host(session, story)).map_err(|error| refused(endpoint, error))?),
    };
    local.admit(endpoint, name, fresh, buffers).map_err(|_| Ended::Overflow)
}

/// The connection that a request stands in line for.
async fn connection(
    session: &mut Session,
    story: &mut Story<'_>,
    local: &LocalCluster,
    endpoint: &Rc<LocalEndpoint>,
    pending: &mut Pending<'_>,
    tries: &Tries<'_>,
) -> Result<Lease, Ended> {
    match waiting::in_time(session, tries, pin!(pending.connection())).await {
        Ok(Ok(upstream)) => Ok(upstream),
        Ok(Err(NoConnection::Overflow)) => Err(Ended::Overflow),
        Ok(Err(NoConnection::Connect(error))) => Err(refused(endpoint, error)),
        Err(ended) => {
            if matches!(ended, Ended::RequestTimedOut) {
                time_out(local, story);
            }
            Err(ended)
        }
    }
}

/// Counts a request that gets no connection, and says how it ends.
fn refused(endpoint: &LocalEndpoint, error: ConnectError) -> Ended {
    endpoint.stats.rq_error.inc();
    Ended::from(error)
}

/// The Host that is sent.
fn host<'a>(session: &'a Session, story: &Story<'a>) -> &'a [u8] {
    let of_client = || story.asked.map_or(&[][..], |asked| asked.host.of(session.input.bytes()));
    story.authority.map_or_else(of_client, str::as_bytes)
}

/// Sends the request on a connection and brings back its response.
#[allow(clippy::too_many_arguments, reason = "as for `at`")]
async fn carry(
    session: &mut Session,
    installed: &Installed,
    story: &mut Story<'_>,
    asked: &Asked,
    head: (Buf, &[NewCookie<'_>]),
    (local, endpoint, active): (&LocalCluster, &Rc<LocalEndpoint>, Active),
    mut upstream: Lease,
    tries: &mut Tries<'_>,
) -> Exchanged {
    local.stats.upstream_rq_total.inc();
    endpoint.stats.rq_total.inc();
    if let Some(route) = story.route_stats {
        route.upstream_rq_total.inc();
    }
    (story.upstream_connected, story.upstream_local) = (true, upstream.local());
    let reused = upstream.begin_request();
    let notes = Notes::default();
    tries.progress.try_begins();
    let mut exchanged = exchange(session, installed, story, asked, head, local, &mut upstream, &notes, tries).await;
    if notes.tunnel.get() {
        run_tunnel(session, story, local, &mut upstream, &tries.progress).await;
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
    if let Exchanged::Tried(Tried::Over(Run { ended: ended @ Ended::UpstreamReset, .. })) = &mut exchanged
        && let Some(failure) = upstream.reader.tls_failure()
    {
        *ended = Ended::TlsBroke(Box::new(failure));
    }
    count(&exchanged, story, &notes, (local, endpoint), &mut upstream);
    if let Exchanged::Tried(Tried::Over(Run { ended, began, .. })) = &exchanged {
        report_end(local, tries.retries.at, ended, !began);
    }
    let now = io::now();
    if matches!(exchanged, Exchanged::Tried(Tried::Over(Run { ended: Ended::Answered, .. }))) && !notes.tunnel.get() {
        took(local, story, &tries.progress, now);
        if notes.closed.get() {
            upstream.closed_by(Closed::Remote);
        }
        if tries.progress.sent.get() && !notes.reusable.get() {
            upstream.end_request(&session.core.buffers);
        }
    }
    if notes.reusable.get() {
        upstream.check_in(&session.core.buffers, now);
    }
    exchanged
}

/// Counts how long a whole answer took from the end of its request, if that has ended.
fn took(local: &LocalCluster, story: &Story<'_>, progress: &Progress, now: Instant) {
    let Some(ended) = progress.ended.get() else { return };
    let took = u64::try_from(now.duration_since(ended).as_millis()).unwrap_or(u64::MAX);
    local.stats.upstream_rq_time.record(took);
    if let Some(route) = story.route_stats {
        route.upstream_rq_time.record(took);
    }
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
        Ended::UpstreamReset | Ended::TlsBroke(_) | Ended::UpstreamCut => {
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

/// Turns the two connections into a tunnel until one of them ends.
async fn run_tunnel(
    session: &mut Session,
    story: &mut Story<'_>,
    local: &LocalCluster,
    upstream: &mut Upstream,
    progress: &Progress,
) {
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
    let client = End { reader: &mut session.reader, writer: &mut session.writer, handle: session.entered.handle() };
    let upstream = End { reader: &mut upstream.reader, writer: &mut upstream.writer, handle: &upstream.handle };
    let meters = Meters {
        up: [Some(&http.downstream_cx_rx_bytes_total), Some(&local.stats.upstream_cx_tx_bytes_total)],
        down: [Some(&http.downstream_cx_tx_bytes_total), Some(&local.stats.upstream_cx_rx_bytes_total)],
    };
    // Boxed, because tunnels are rare and their state must not weigh on every connection's task.
    let passed = Box::pin(tunnel::run(&core, client, upstream, early, Until::Either, meters)).await;
    http.downstream_cx_upgrades_active.dec();
    progress.received.set(progress.received.get() + passed.up);
    story.sent += passed.down;
    if passed.ending == Ending::Client {
        local_reply::tell(story, &Ended::ClientGone);
    }
}
