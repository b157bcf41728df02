//! A connection that is no HTTP, redirected here or to a gateway that does not look into it: to the service that it is
//! for, or to where it was sent, bytes both ways, and a line in the log at its end (`"- - -" 0`).

use std::borrow::Cow;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::base::endpoint::EndpointAddress;
use crate::base::id::ListenerId;
use crate::io::{self, Either, Timer, race};
use crate::observe::access_log::{NoHeaders, Record};
use crate::observe::flags::Flags;
use crate::observe::stats::TcpStats;
use crate::plan::{BLACK_HOLE_CLUSTER, Cluster, Listener, Outbound, PASSTHROUGH_CLUSTER, Target};
use crate::proxy::core::{Core, Phase};
use crate::proxy::downstream::accept::Accepted;
use crate::proxy::downstream::leaving::{End, unless_left};
use crate::proxy::dynamic::passthrough;
use crate::proxy::l4::tunnel::{self, Ending, Meters, Until};
use crate::proxy::l4::upstream::{self, Attempt, TcpRequest};
use crate::proxy::router::termination::Termination;
use crate::upstream::{Closed, Installed, LocalCluster};

/// Where a connection goes.
pub(crate) enum To {
    /// To an outlet of the plan.
    TcpRoute(usize),
    /// To where it was sent or to the egress proxy, if anything may go to what nobody declared.
    Undeclared,
    /// It is refused.
    Nowhere(Termination),
}

/// What the log says of a connection.
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
    to: To,
    server_name: Option<String>,
) {
    let Some(of) = installed.plan.listeners.get(listener.index()) else { return };
    let outlet = if let To::TcpRoute(number) = &to { Some(*number) } else { None };
    let stats = of.tcp_stats_of(outlet).and_then(|place| installed.stats.tcp.get(place)).cloned().unwrap_or_default();
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
    // Asked once more: what was on its way then is there now.
    if outcome.is_ok() && accepted.core.passes(accepted.peer) > most {
        outcome = Err(Termination::Circular);
    }
    // It may last for days, and a reload must not wait for it to have its memory back.
    drop(installed);
    info.host = host;
    match outcome {
        Ok(outlet) => carry(&mut accepted, outlet, &stats, &mut info).await,
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

async fn connect(
    accepted: &mut Accepted,
    installed: &Installed,
    of: &Listener,
    to: To,
    server_name: Option<&str>,
    info: &mut TcpInfo,
) -> Attempt {
    let core = accepted.core.clone();
    let outbound = of.outbound.as_deref();
    let going = TcpRequest {
        peer: accepted.peer,
        original: accepted.original,
        name: server_name.map(str::as_bytes),
        passes: core.passes(accepted.peer).saturating_add(1),
    };
    let outlet = match to {
        To::Nowhere(ended) => return Attempt::failed(ended),
        To::TcpRoute(number) => of.outlet(number),
        To::Undeclared => outbound.and_then(|outbound| outbound.egress_proxy.as_ref()),
    };
    let (reader, seen) = (&mut accepted.reader, &mut accepted.seen);
    let attempt = if let Some(outlet) = outlet {
        let target = &core.with_rng(|rng| outlet.destinations.pick(rng)).target;
        info.cluster = match target {
            Target::Known(id) => installed.cluster_name(*id).into(),
            Target::Missing(name) => name.clone(),
        };
        let connecting = upstream::to_target(&core, installed, outbound, (outlet, target), going);
        unless_left(&core, reader, seen, End::HalfClosed, Box::pin(connecting)).await
    } else {
        let passthrough = installed.passthrough().zip(outbound).filter(|(_, outbound)| outbound.allow_any);
        // Where it was not sent anywhere else there is nowhere to pass it on to.
        let (Some((cluster, outbound)), Some(original)) = (passthrough, accepted.original) else {
            info.cluster = BLACK_HOLE_CLUSTER.into();
            return Attempt::failed(Termination::NoEndpoint); // Envoy's has none, either
        };
        info.cluster = PASSTHROUGH_CLUSTER.into();
        let connecting = to_original(&core, cluster, outbound, original, going.passes);
        unless_left(&core, reader, seen, End::HalfClosed, Box::pin(connecting)).await
    };
    attempt.unwrap_or_else(|| Attempt::failed(Termination::ClientGone))
}

/// To where the connection was sent.
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

/// What an end means to a connection: no status, and after a failed connect Envoy says that it will not be tried again.
fn note_termination(info: &mut TcpInfo, ended: &Termination) {
    let verdict = ended.local_reply(false);
    info.flags.insert(verdict.flags);
    match ended {
        Termination::ConnectFailed(_) | Termination::ConnectTimedOut | Termination::TlsFailed(_) => {
            info.flags.insert(Flags::URX)
        }
        Termination::Circular | Termination::LocalTarget | Termination::NoRule => info.details = verdict.details,
        _ => {}
    }
    info.failure = verdict.transport_failure;
}

/// Bytes both ways, until both sides have ended.
async fn carry(
    accepted: &mut Accepted,
    mut outlet: upstream::TunnelUpstream,
    stats: &Arc<TcpStats>,
    info: &mut TcpInfo,
) {
    let Accepted { core, reader, writer, entered, seen, .. } = accepted;
    let (upstream, cluster) = (&mut outlet.upstream, &outlet.stats);
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
        Until::Both { quiet: outlet.quiet, end: outlet.end },
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
            // The client must see that what it got may not be all.
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

/// Ends our side, and drops what the client still sends for a moment: a close over unread bytes would be a reset, and that
/// could destroy what the upstream sent last.
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
        termination_details: "",
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
