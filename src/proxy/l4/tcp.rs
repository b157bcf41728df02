//! The TCP proxy: a connection that is not decoded goes to the service that it is for, or to where it was sent, bytes both
//! ways, and has a line in the log at its end (`"- - -" 0`).

use std::borrow::Cow;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::base::endpoint::EndpointAddress;
use crate::base::id::{ListenerId, TcpStatsId};
use crate::io::{self, Either, Timer, race};
use crate::observe::access_log::{NoHeaders, Record};
use crate::observe::flags::Flags;
use crate::observe::stats::TcpStats;
use crate::plan::{
    BLACK_HOLE_CLUSTER, Cluster, FilterChain, Listener, Outbound, PASSTHROUGH_CLUSTER, Target, Undeclared,
};
use crate::proxy::core::{Core, Phase};
use crate::proxy::downstream::accept::Accepted;
use crate::proxy::downstream::leaving::{End, unless_left};
use crate::proxy::dynamic::passthrough;
use crate::proxy::l4::tunnel::{self, Ending, Meters, Until};
use crate::proxy::l4::upstream::{self, Attempt, TcpRequest};
use crate::proxy::router::termination::Termination;
use crate::upstream::{Closed, Installed, LocalCluster};

/// Where a connection goes.
pub(crate) enum TcpTarget {
    /// To the TCP proxy of the filter chain with this number.
    Chain(usize),
    /// An undeclared destination, as [`Undeclared`] says.
    Undeclared,
    /// It is refused.
    Nowhere(Termination),
}

/// The values of the connection's line in the log.
struct TcpInfo {
    flags: Flags,
    details: Cow<'static, str>,
    failure: Cow<'static, str>,
    received: u64,
    sent: u64,
    host: Option<EndpointAddress>,
    connected: bool,
    own: Option<SocketAddr>,
    cluster: Box<str>,
}

/// Serves the connection to its end.
pub(crate) async fn serve(
    mut accepted: Accepted,
    (installed, listener): (Rc<Installed>, ListenerId),
    to: TcpTarget,
    server_name: Option<String>,
) {
    let Some(of) = installed.plan.listeners.get(listener.index()) else { return };
    let stats = stats_of(of, &to).and_then(|id| installed.stats.tcp.get(id.index())).cloned().unwrap_or_default();
    stats.downstream_cx_total.inc();
    let mut info = TcpInfo {
        flags: Flags::NONE,
        details: "".into(),
        failure: "".into(),
        received: 0,
        sent: 0,
        host: None,
        connected: false,
        own: None,
        cluster: "".into(),
    };
    accepted.entered.enter(Phase::Busy, None);
    let passes = accepted.core.passes(accepted.peer);
    let most = if of.kind.is_outbound() { 0 } else { MOST_PASSES };
    let Attempt { host, mut outcome } = match passes > most {
        true => Attempt::failed(Termination::Circular),
        false => connect(&mut accepted, &installed, of, to, server_name.as_deref(), &mut info).await,
    };
    // The table is checked once more: a tunnel of this proxy that was being connected is listed now.
    if outcome.is_ok() && accepted.core.passes(accepted.peer) > most {
        outcome = Err(Termination::Circular);
    }
    // The connection may last for days, and must not keep the memory of an old plan.
    drop(installed);
    info.host = host;
    match outcome {
        Ok(upstream) => carry(&mut accepted, upstream, &stats, &mut info).await,
        Err(ended) => {
            if info.host.is_none() {
                stats.downstream_cx_no_route.inc();
            }
            note_termination(&mut info, &ended);
        }
    }
    log(&accepted, &info, server_name.as_deref().unwrap_or_default());
}

/// How often the bytes of a connection to a gateway may have come through a core already: as often as requests may.
const MOST_PASSES: u8 = 10;

/// The statistics of a connection; one without a chain counts as undeclared. A gateway has none for these.
fn stats_of(of: &Listener, to: &TcpTarget) -> Option<TcpStatsId> {
    match to {
        TcpTarget::Chain(number) => of.chains.get(*number)?.as_tcp().map(|(_, route)| route.stats),
        TcpTarget::Undeclared | TcpTarget::Nowhere(_) => Some(of.chains.destinations()?.undeclared.stats()),
    }
}

async fn connect(
    accepted: &mut Accepted,
    installed: &Installed,
    of: &Listener,
    to: TcpTarget,
    server_name: Option<&str>,
    info: &mut TcpInfo,
) -> Attempt {
    let core = accepted.core.clone();
    let outbound = of.chains.destinations();
    let request = TcpRequest {
        peer: accepted.peer,
        original: accepted.original,
        name: server_name.map(str::as_bytes),
        passes: core.passes(accepted.peer).saturating_add(1),
    };
    let route = match (to, outbound.map(|outbound| &outbound.undeclared)) {
        (TcpTarget::Nowhere(ended), _) => return Attempt::failed(ended),
        (TcpTarget::Chain(number), _) => of.chains.get(number).and_then(FilterChain::as_tcp).map(|(_, route)| route),
        (TcpTarget::Undeclared, Some(Undeclared::EgressProxy(proxy))) => Some(&**proxy),
        (TcpTarget::Undeclared, _) => None,
    };
    let (reader, seen) = (&mut accepted.reader, &mut accepted.seen);
    let attempt = if let Some(route) = route {
        let target = &core.with_rng(|rng| route.destinations.pick(rng)).target;
        info.cluster = match target {
            Target::Known(id) => installed.cluster_name(*id).into(),
            Target::Missing(name) => name.clone(),
        };
        let connecting = upstream::to_target(&core, installed, outbound, (route, target), request);
        unless_left(&core, reader, seen, End::HalfClosed, Box::pin(connecting)).await
    } else {
        let passes_through = |outbound: &&Outbound| matches!(outbound.undeclared, Undeclared::Passthrough(_));
        let passthrough = installed.passthrough().zip(outbound.filter(passes_through));
        // A connection to the listener itself has no other original destination.
        let (Some((cluster, outbound)), Some(original)) = (passthrough, accepted.original) else {
            info.cluster = BLACK_HOLE_CLUSTER.into();
            return Attempt::failed(Termination::NoEndpoint); // Envoy's cluster has none, either
        };
        info.cluster = PASSTHROUGH_CLUSTER.into();
        let connecting = to_original(&core, cluster, outbound, original, request.passes);
        unless_left(&core, reader, seen, End::HalfClosed, Box::pin(connecting)).await
    };
    attempt.unwrap_or_else(|| Attempt::failed(Termination::ClientGone))
}

/// Connects to the address that the connection was sent to.
async fn to_original(
    core: &Rc<Core>,
    cluster: (&Cluster, &LocalCluster),
    outbound: &Outbound,
    original: SocketAddr,
    passes: u8,
) -> Attempt {
    let deadline = io::now() + cluster.0.connect_timeout;
    match passthrough::of_original(core, &mut Timer::default(), outbound, original, deadline).await {
        Ok(addresses) => upstream::to_addresses(core, cluster, &addresses, passes).await,
        Err(ended) => Attempt::failed(ended),
    }
}

/// Notes why the connection ended: without a status, and after a failed connect with Envoy's flag for no further attempt.
fn note_termination(info: &mut TcpInfo, ended: &Termination) {
    let verdict = ended.local_reply(false);
    info.flags.insert(verdict.flags);
    match ended {
        Termination::ConnectFailed(_) | Termination::ConnectTimedOut | Termination::TlsFailed(_) => {
            info.flags.insert(Flags::URX)
        }
        Termination::Circular | Termination::LocalTarget | Termination::NoFilterChain => info.details = verdict.details,
        _ => {}
    }
    info.failure = verdict.transport_failure;
}

/// Moves bytes both ways, until both sides have ended.
async fn carry(accepted: &mut Accepted, mut to: upstream::TunnelUpstream, stats: &Arc<TcpStats>, info: &mut TcpInfo) {
    let Accepted { core, reader, writer, entered, seen, .. } = accepted;
    let (upstream, cluster) = (&mut to.upstream, &to.stats);
    (info.connected, info.own) = (true, upstream.local());
    let meters = Meters {
        up: [Some(&stats.downstream_cx_rx_bytes_total), Some(&cluster.upstream_cx_tx_bytes_total)],
        down: [Some(&stats.downstream_cx_tx_bytes_total), Some(&cluster.upstream_cx_rx_bytes_total)],
    };
    let passed = tunnel::run(
        core,
        tunnel::End { reader, writer, handle: entered.handle() },
        tunnel::End { reader: &mut upstream.reader, writer: &mut upstream.writer, handle: &upstream.handle },
        std::mem::take(seen),
        Until::Both { quiet: to.quiet, end: to.end },
        meters,
    )
    .await;
    (info.received, info.sent) = (passed.up, passed.down);
    match passed.ending {
        Ending::Client => {}
        Ending::Upstream => {
            upstream.closed_by(Closed::Remote);
            linger(accepted).await;
        }
        Ending::ClientBroke => {
            info.flags.insert(Flags::DC);
            upstream.handle.abort();
        }
        Ending::UpstreamBroke => {
            info.flags.insert(Flags::UC);
            upstream.closed_by(Closed::Remote);
            // The client must see that the bytes it got may be incomplete.
            entered.handle().abort();
        }
        Ending::Quiet => {
            info.flags.insert(Flags::SI);
            stats.idle_timeout.inc();
        }
        Ending::Old => {
            info.flags.insert(Flags::DT);
            stats.max_downstream_connection_duration.inc();
        }
    }
}

/// Shuts down this side, and drops further bytes of the client for a moment: a close with unread bytes would be a reset,
/// which could destroy the upstream's last bytes.
async fn linger(accepted: &mut Accepted) {
    const PATIENCE: Duration = Duration::from_secs(1);
    let Accepted { core, reader, entered, .. } = accepted;
    entered.handle().shutdown_write();
    let mut timer = Timer::default();
    let mut deadline = pin!(timer.until(io::now() + PATIENCE));
    loop {
        if !reader.armed() {
            reader.arm(core.buffers.head());
        }
        match race(pin!(reader.done()), deadline.as_mut()).await {
            Either::Left((read, buf)) => {
                core.buffers.put(buf);
                if !matches!(read, Ok(1..)) {
                    return;
                }
            }
            Either::Right(()) => return,
        }
    }
}

fn log(accepted: &Accepted, info: &TcpInfo, server_name: &str) {
    let duration = io::now().duration_since(accepted.counted.opened);
    accepted.core.log(&Record {
        start: io::unix_time().checked_sub(duration).unwrap_or(std::time::UNIX_EPOCH),
        method: &[],
        path: &[],
        authority: &[],
        protocol: "",
        status: 0,
        flags: info.flags,
        details: &info.details,
        transport_failure: &info.failure,
        bytes_received: info.received,
        bytes_sent: info.sent,
        duration,
        upstream_service_time: None,
        upstream_host: info.host.clone(),
        upstream_connected: info.connected,
        upstream_cluster: &info.cluster,
        upstream_local: info.own,
        downstream_local: accepted.local,
        downstream_remote: accepted.peer,
        server_name,
        route_name: "",
        headers: &NoHeaders,
    });
}
