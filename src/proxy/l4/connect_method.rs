//! CONNECT on the mesh listener and on a Sidecar's HTTP proxy: a tunnel to `host:port` for an application, mostly for TLS.
//!
//! A tunnel may lead to the destinations of requests: to the cluster of a service with that port, else as
//! `outboundTrafficPolicy` allows. It does not bypass the rules of an HTTP port: requests inside the tunnel are routed like
//! others. Called by `router::route`; Gateways answer CONNECT with 404, as Envoy does.

use std::rc::Rc;

use smallvec::SmallVec;

use crate::h1::framing::Body;
use crate::http::error::ProtocolError;
use crate::io::{self, Buf, Timer};
use crate::observe::flags::Flags;
use crate::plan::{Cluster, Detected, FilterChains, NamedService, Outbound, Target, TcpRoute, Undeclared, tunnel_port};
use crate::proxy::core::{Core, Phase};
use crate::proxy::downstream::connection::ClientConnection;
use crate::proxy::downstream::leaving::{End, unless_left};
use crate::proxy::dynamic::passthrough;
use crate::proxy::l4::detect::{DetectionTimeouts, first_bytes};
use crate::proxy::l4::tunnel::{self, Ending, Meters, Until};
use crate::proxy::l4::upstream::{self, Attempt, TcpRequest};
use crate::proxy::router::local_reply;
use crate::proxy::router::termination::Termination;
use crate::proxy::stream::Stream;
use crate::upstream::{Closed, LocalCluster};

/// Whether the client means this proxy with its CONNECT. A client that was redirected here does not know this proxy, and a
/// client inside a tunnel addresses another one.
pub(crate) fn is_for(stream: &Stream<'_>) -> bool {
    let listener = stream.installed.plan.listeners.get(stream.listener.index());
    stream.conn.port.is_none() && listener.is_some_and(|listener| listener.kind.is_proxy())
}

/// Answers a CONNECT. True if the connection is to be kept, for requests inside the tunnel.
pub(crate) async fn answer<'p>(stream: &mut Stream<'p>) -> bool {
    let Some(chains) = stream.installed.filter_chains(stream.listener) else { return false };
    let Some(outbound) = chains.destinations() else { return false };
    let authority = stream.parsed.host.of(stream.conn.input.bytes());
    // The bytes after it are the tunnel's, so it must not have a body.
    let (Some(port), Body::None) = (tunnel_port(authority), stream.parsed.body) else {
        return stream.reply(Termination::BadRequest(ProtocolError::Target), true).await;
    };
    let route = match outbound.named(authority, port) {
        Some(NamedService::Http { .. }) => return to_http(stream, port).await,
        Some(NamedService::Auto(number)) => return to_detected(stream, (chains, outbound), number, port).await,
        Some(NamedService::Tcp(number)) => tcp_route(chains, number),
        None => None,
    };
    let mut early = early_bytes(stream);
    let attempt = match route {
        Some(route) => to_route(stream, (outbound, route), (&mut early, End::Left)).await,
        None => to_undeclared(stream, outbound, &mut early).await,
    };
    stream.info.upstream_host = attempt.host;
    match attempt.outcome {
        Ok(upstream) => {
            if establish(stream).await {
                carry(stream, upstream, early).await;
            }
            false
        }
        Err(ended) => {
            stream.conn.core.buffers.put(early);
            stream.reply(ended, true).await
        }
    }
}

fn tcp_route(chains: &FilterChains, number: usize) -> Option<&TcpRoute> {
    chains.get(number)?.as_tcp().map(|(_, route)| route)
}

/// A tunnel to a port of HTTP ends here: the rules hold for the requests inside.
async fn to_http(stream: &mut Stream<'_>, port: u16) -> bool {
    let established = establish(stream).await;
    if established {
        stream.conn.port = Some(port);
    }
    established
}

/// A tunnel to a port that may speak HTTP: if it does, it ends here as well.
async fn to_detected<'p>(
    stream: &mut Stream<'p>,
    (chains, outbound): (&'p FilterChains, &'p Outbound),
    number: usize,
    port: u16,
) -> bool {
    if !establish(stream).await {
        return false;
    }
    let mut early = early_bytes(stream);
    stream.conn.entered.enter(Phase::Busy, None);
    let limits = &stream.installed.plan.proxy.limits;
    let begin = outbound.detection_timeout.unwrap_or(limits.idle_timeout);
    let timeouts = DetectionTimeouts { begin: Some(begin), end: limits.headers_timeout };
    let detected = first_bytes(&stream.conn.core, &mut stream.conn.reader, &mut early, timeouts).await;
    let is_http = match detected {
        None => return false,
        Some(detected) => detected == Detected::Http,
    };
    if !is_http {
        let Some(route) = tcp_route(chains, number) else { return false };
        let attempt = to_route(stream, (outbound, route), (&mut early, End::HalfClosed)).await;
        stream.info.upstream_host = attempt.host;
        match attempt.outcome {
            Ok(upstream) => carry(stream, upstream, early).await,
            // Too late for a status: the tunnel ends at once.
            Err(ended) => _ = local_reply::note_termination(&mut stream.info, &ended),
        }
        return false;
    }
    stream.conn.input.extend(early.bytes());
    stream.conn.core.buffers.put(early);
    stream.conn.port = Some(port);
    true
}

/// Connects to one of a route's clusters. The bytes that the client sends meanwhile go to `early`.
async fn to_route<'p>(
    stream: &mut Stream<'p>,
    (outbound, route): (&Outbound, &'p TcpRoute),
    (early, end): (&mut Buf, End),
) -> Attempt {
    let core = stream.conn.core.clone();
    let target = &core.with_rng(|rng| route.destinations.pick(rng)).target;
    match target {
        Target::Known(id) => stream.info.cluster = stream.installed.cluster_name(*id),
        Target::Missing(name) => {
            stream.conn.http.no_cluster.inc();
            stream.info.cluster = name;
        }
    }
    let authority: SmallVec<[u8; 64]> = stream.parsed.host.of(stream.conn.input.bytes()).into();
    let (peer, passes) = (stream.conn.peer, core.passes(stream.conn.peer).saturating_add(1));
    let request = TcpRequest { peer, original: stream.conn.original, name: Some(&authority), passes };
    let connecting = upstream::to_target(&core, stream.installed, Some(outbound), (route, target), request);
    or_gone(unless_left(&core, &mut stream.conn.reader, early, end, Box::pin(connecting)).await)
}

/// Connects to an authority that names no service.
async fn to_undeclared<'p>(stream: &mut Stream<'p>, outbound: &'p Outbound, early: &mut Buf) -> Attempt {
    let cluster = match &outbound.undeclared {
        Undeclared::EgressProxy(proxy) => {
            stream.info.route = "allow_any";
            return to_route(stream, (outbound, proxy), (early, End::Left)).await;
        }
        Undeclared::Passthrough(_) => stream.installed.passthrough(),
        Undeclared::BlackHole(_) => None,
    };
    let Some(cluster) = cluster else {
        stream.conn.http.rq_direct_response.inc();
        stream.info.route = "block_all";
        return Attempt::failed(Termination::Blocked);
    };
    (stream.info.cluster, stream.info.route) = (&cluster.0.name, "allow_any");
    let authority: SmallVec<[u8; 64]> = stream.parsed.host.of(stream.conn.input.bytes()).into();
    let core = stream.conn.core.clone();
    let passes = core.passes(stream.conn.peer).saturating_add(1);
    let connecting = to_authority(&core, cluster, outbound, &authority, passes);
    or_gone(unless_left(&core, &mut stream.conn.reader, early, End::Left, Box::pin(connecting)).await)
}

fn or_gone(attempt: Option<Attempt>) -> Attempt {
    attempt.unwrap_or_else(|| Attempt::failed(Termination::ClientGone))
}

/// Connects to the addresses of an authority's host.
async fn to_authority(
    core: &Rc<Core>,
    cluster: (&Cluster, &LocalCluster),
    outbound: &Outbound,
    authority: &[u8],
    passes: u8,
) -> Attempt {
    let deadline = io::now() + cluster.0.connect_timeout;
    match passthrough::of_authority(core, &mut Timer::default(), Some(outbound), authority, deadline).await {
        Ok(addresses) => upstream::to_addresses(core, cluster, &addresses, passes).await,
        Err(ended) => Attempt::failed(ended),
    }
}

/// Tells the client that the tunnel is there (RFC 9110 §9.3.6: no body, no framing). False if it has left.
async fn establish(stream: &mut Stream<'_>) -> bool {
    const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";
    let mut out = stream.conn.core.buffers.head();
    out.extend(ESTABLISHED);
    let (sent, out) = stream.conn.writer.write_all(out).await;
    stream.conn.core.buffers.put(out);
    if sent.is_err() {
        stream.info.flags.insert(Flags::DC);
        return false;
    }
    stream.info.status = 200;
    stream.info.details = "via_upstream".into();
    stream.conn.http.downstream_cx_tx_bytes_total.add(ESTABLISHED.len() as u64);
    true
}

/// The bytes that the client sent behind its CONNECT, taken out of the input.
fn early_bytes(stream: &mut Stream<'_>) -> Buf {
    let there = stream.conn.input.bytes().get(stream.conn.rest..).unwrap_or_default();
    if there.is_empty() {
        return Buf::default(); // as mostly, and a tunnel would keep the buffer
    }
    let mut early = stream.conn.core.buffers.head();
    early.extend(there);
    stream.conn.input.truncate(stream.conn.rest);
    early
}

/// Moves bytes both ways, until both sides have ended.
async fn carry(stream: &mut Stream<'_>, mut to: upstream::TunnelUpstream, early: Buf) {
    let http = stream.conn.http.clone();
    http.downstream_cx_upgrades_total.inc();
    http.downstream_cx_upgrades_active.inc();
    stream.conn.entered.enter(Phase::Busy, None);
    let (upstream, cluster) = (&mut to.upstream, &to.stats);
    (stream.info.upstream_connected, stream.info.upstream_local) = (true, upstream.local());
    let meters = Meters {
        up: [Some(&http.downstream_cx_rx_bytes_total), Some(&cluster.upstream_cx_tx_bytes_total)],
        down: [Some(&http.downstream_cx_tx_bytes_total), Some(&cluster.upstream_cx_rx_bytes_total)],
    };
    let ClientConnection { core, reader, writer, entered, .. } = &mut *stream.conn;
    let passed = tunnel::run(
        core,
        tunnel::End { reader, writer, handle: entered.handle() },
        tunnel::End { reader: &mut upstream.reader, writer: &mut upstream.writer, handle: &upstream.handle },
        early,
        Until::Both { quiet: to.quiet, end: to.end },
        meters,
    )
    .await;
    http.downstream_cx_upgrades_active.dec();
    stream.info.received += passed.up;
    stream.info.sent += passed.down;
    match passed.ending {
        Ending::Client => {}
        Ending::Upstream => upstream.closed_by(Closed::Remote),
        Ending::ClientBroke => {
            stream.info.flags.insert(Flags::DC);
            upstream.handle.abort();
        }
        Ending::UpstreamBroke => {
            stream.info.flags.insert(Flags::UC);
            upstream.closed_by(Closed::Remote);
            // The client must see that the bytes it got may be incomplete.
            stream.conn.cut_off();
        }
        Ending::Quiet => stream.info.flags.insert(Flags::SI),
        Ending::Old => stream.info.flags.insert(Flags::DT),
    }
}
