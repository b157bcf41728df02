//! CONNECT on the mesh listener and on a Sidecar's HTTP proxy: a tunnel to `host:port` for an application that speaks
//! through it, mostly TLS.
//!
//! Where it may lead is what requests may do: to the cluster of a service with that port, else what
//! `outboundTrafficPolicy` says. To a port that speaks HTTP there is no way around the rules: the requests inside the
//! tunnel are routed like any others. Called by `router::route`; Gateways answer CONNECT with 404, as Envoy does.

use std::rc::Rc;

use smallvec::SmallVec;

use crate::h1::framing::Body;
use crate::http::error::ProtocolError;
use crate::io::{self, Buf, Timer};
use crate::observe::flags::Flags;
use crate::plan::{Cluster, Detected, Outbound, Speaks, Target, TcpRoute, tunnel_port};
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

/// Whether the connection's client takes this for a proxy that makes tunnels. One that was redirected here does not know
/// of it, and one that is inside a tunnel asked some other proxy.
pub(crate) fn is_for(stream: &Stream<'_>) -> bool {
    let listener = stream.installed.plan.listeners.get(stream.listener.index());
    stream.conn.port.is_none() && listener.is_some_and(|listener| listener.kind.is_proxy())
}

/// Answers a CONNECT. True if the connection is to be kept, for requests inside the tunnel.
pub(crate) async fn answer<'p>(stream: &mut Stream<'p>) -> bool {
    let Some(outbound) = stream.installed.outbound(stream.listener) else { return false };
    let authority = stream.parsed.host.of(stream.conn.input.bytes());
    // What follows is the tunnel's, and must not be some body's.
    let (Some(port), Body::None) = (tunnel_port(authority), stream.parsed.body) else {
        return stream.reply(Termination::BadRequest(ProtocolError::Target), true).await;
    };
    let named = outbound.named(authority, port).map(|(_, outlet)| outlet);
    if let Some(outlet) = named
        && matches!(outlet.speaks, Speaks::Http | Speaks::Unsaid)
    {
        return may_be_http(stream, outlet, port).await;
    }
    let mut early = early_bytes(stream);
    let attempt = match named {
        Some(outlet) => to_outlet(stream, (outbound, outlet), (&mut early, End::Left)).await,
        None => to_passthrough(stream, outbound, &mut early).await,
    };
    stream.info.upstream_host = attempt.host;
    match attempt.outcome {
        Ok(outlet) => {
            if establish(stream).await {
                carry(stream, outlet, early).await;
            }
            false
        }
        Err(ended) => {
            stream.conn.core.buffers.put(early);
            stream.reply(ended, true).await
        }
    }
}

/// A tunnel to a port whose HTTP the rules are for: it ends here.
async fn may_be_http<'p>(stream: &mut Stream<'p>, outlet: &'p TcpRoute, port: u16) -> bool {
    let Some(outbound) = stream.installed.outbound(stream.listener) else { return false };
    if !establish(stream).await {
        return false;
    }
    if outlet.speaks == Speaks::Unsaid {
        let mut early = early_bytes(stream);
        stream.conn.entered.enter(Phase::Busy, None);
        let limits = &stream.installed.plan.proxy.limits;
        let begin = outbound.detection.unwrap_or(limits.idle_timeout);
        let patience = DetectionTimeouts { begin: Some(begin), end: limits.headers_timeout };
        let seen = first_bytes(&stream.conn.core, &mut stream.conn.reader, &mut early, patience).await;
        let is_http = match seen {
            None => return false,
            Some(seen) => seen == Detected::Http,
        };
        if !is_http {
            let client = (&mut early, End::HalfClosed);
            let attempt = to_outlet(stream, (outbound, outlet), client).await;
            stream.info.upstream_host = attempt.host;
            match attempt.outcome {
                Ok(outlet) => carry(stream, outlet, early).await,
                // Too late for a status: the tunnel ends at once.
                Err(ended) => _ = local_reply::note_termination(&mut stream.info, &ended),
            }
            return false;
        }
        stream.conn.input.extend(early.bytes());
        stream.conn.core.buffers.put(early);
    }
    stream.conn.port = Some(port);
    true
}

/// To one of an outlet's clusters. What the client says meanwhile goes to `early`.
async fn to_outlet<'p>(
    stream: &mut Stream<'p>,
    (outbound, outlet): (&Outbound, &'p TcpRoute),
    (early, end): (&mut Buf, End),
) -> Attempt {
    let core = stream.conn.core.clone();
    let target = &core.with_rng(|rng| outlet.destinations.pick(rng)).target;
    match target {
        Target::Known(id) => stream.info.cluster = stream.installed.cluster_name(*id),
        Target::Missing(name) => {
            stream.conn.http.no_cluster.inc();
            stream.info.cluster = name;
        }
    }
    let authority: SmallVec<[u8; 64]> = stream.parsed.host.of(stream.conn.input.bytes()).into();
    let (peer, passes) = (stream.conn.peer, core.passes(stream.conn.peer).saturating_add(1));
    let going = TcpRequest { peer, original: stream.conn.original, name: Some(&authority), passes };
    let connecting = upstream::to_target(&core, stream.installed, Some(outbound), (outlet, target), going);
    or_gone(unless_left(&core, &mut stream.conn.reader, early, end, Box::pin(connecting)).await)
}

async fn to_passthrough<'p>(stream: &mut Stream<'p>, outbound: &'p Outbound, early: &mut Buf) -> Attempt {
    if let Some(outlet) = &outbound.egress_proxy {
        stream.info.route = "allow_any";
        return to_outlet(stream, (outbound, outlet), (early, End::Left)).await;
    }
    let Some(cluster) = stream.installed.passthrough().filter(|_| outbound.allow_any) else {
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

/// To where the host of an authority is.
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

/// What the client sent behind its CONNECT, taken out of the input.
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

/// Bytes both ways, until both sides have ended.
async fn carry(stream: &mut Stream<'_>, mut outlet: upstream::TunnelUpstream, early: Buf) {
    let http = stream.conn.http.clone();
    http.downstream_cx_upgrades_total.inc();
    http.downstream_cx_upgrades_active.inc();
    stream.conn.entered.enter(Phase::Busy, None);
    let (upstream, cluster) = (&mut outlet.upstream, &outlet.stats);
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
        Until::Both { quiet: outlet.quiet, end: outlet.end },
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
            // The client must see that what it got may not be all.
            stream.conn.cut_off();
        }
        Ending::Quiet => stream.info.flags.insert(Flags::SI),
        Ending::Old => stream.info.flags.insert(Flags::DT),
    }
}
