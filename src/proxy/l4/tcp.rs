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
use crate::proxy::downstream::accept::Arrival;
use crate::proxy::downstream::leaving::{End, unless_left};
use crate::proxy::dynamic::passthrough;
use crate::proxy::l4::tunnel::{self, Ending, Meters, Until};
use crate::proxy::l4::upstream::{self, Attempt, Going};
use crate::proxy::router::termination::Ended;
use crate::upstream::{Closed, Installed, LocalCluster};

/// Where a connection goes.
pub(crate) enum To {
    /// To an outlet of the plan.
    Outlet(usize),
    /// To where it was sent or to the egress proxy, if anything may go to what nobody declared.
    Undeclared,
    /// It is refused.
    Nowhere(Ended),
}

/// What the log says of a connection.
struct Tale {
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
    mut arrival: Arrival,
    (installed, listener): (Rc<Installed>, ListenerId),
    to: To,
    server_name: Option<String>,
) {
    let Some(of) = installed.plan.listeners.get(listener.index()) else { return };
    let outlet = if let To::Outlet(number) = &to { Some(*number) } else { None };
    let stats = of.tcp_stats_of(outlet).and_then(|place| installed.stats.tcp.get(place)).cloned().unwrap_or_default();
    stats.downstream_cx_total.inc();
    let mut tale = Tale {
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
    arrival.entered.enter(Phase::Busy, None);
    let passes = arrival.core.passes(arrival.peer);
    let most = if of.kind.is_outward() { 0 } else { MOST_PASSES };
    let Attempt { host, mut outcome } = match passes > most {
        true => Attempt::failed(Ended::Circular),
        false => connect(&mut arrival, &installed, of, to, server_name.as_deref(), &mut tale).await,
    };
    // Asked once more: what was on its way then is there now.
    if outcome.is_ok() && arrival.core.passes(arrival.peer) > most {
        outcome = Err(Ended::Circular);
    }
    // It may last for days, and a reload must not wait for it to have its memory back.
    drop(installed);
    tale.host = host;
    match outcome {
        Ok(outlet) => carry(&mut arrival, outlet, &stats, &mut tale).await,
        Err(ended) => {
            if tale.host.is_none() {
                stats.downstream_cx_no_route.inc();
            }
            tell(&mut tale, &ended);
        }
    }
    log(&arrival, &tale, server_name.as_deref().unwrap_or_default());
}

/// How often the bytes of a connection to a gateway may have come through a core already: as often as requests may.
const MOST_PASSES: u8 = 10;

async fn connect(
    arrival: &mut Arrival,
    installed: &Installed,
    of: &Listener,
    to: To,
    server_name: Option<&str>,
    tale: &mut Tale,
) -> Attempt {
    let core = arrival.core.clone();
    let outbound = of.outbound.as_deref();
    let going = Going {
        peer: arrival.peer,
        original: arrival.original,
        name: server_name.map(str::as_bytes),
        passes: core.passes(arrival.peer).saturating_add(1),
    };
    let outlet = match to {
        To::Nowhere(ended) => return Attempt::failed(ended),
        To::Outlet(number) => of.outlet(number),
        To::Undeclared => outbound.and_then(|outbound| outbound.egress_proxy.as_ref()),
    };
    let (reader, seen) = (&mut arrival.reader, &mut arrival.seen);
    let attempt = if let Some(outlet) = outlet {
        let target = &core.with_rng(|rng| outlet.destinations.pick(rng)).target;
        tale.cluster = match target {
            Target::Known(id) => installed.cluster_name(*id).into(),
            Target::Missing(name) => name.clone(),
        };
        let connecting = upstream::to_target(&core, installed, outbound, (outlet, target), going);
        unless_left(&core, reader, seen, End::HalfClosed, Box::pin(connecting)).await
    } else {
        let passthrough = installed.passthrough().zip(outbound).filter(|(_, outbound)| outbound.allow_any);
        // Where it was not sent anywhere else there is nowhere to pass it on to.
        let (Some((cluster, outbound)), Some(original)) = (passthrough, arrival.original) else {
            tale.cluster = BLACK_HOLE_CLUSTER.into();
            return Attempt::failed(Ended::NoEndpoint); // Envoy's has none, either
        };
        tale.cluster = PASSTHROUGH_CLUSTER.into();
        let connecting = to_original(&core, cluster, outbound, original, going.passes);
        unless_left(&core, reader, seen, End::HalfClosed, Box::pin(connecting)).await
    };
    attempt.unwrap_or_else(|| Attempt::failed(Ended::ClientGone))
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
fn tell(tale: &mut Tale, ended: &Ended) {
    let verdict = ended.verdict(false);
    tale.flags.insert(verdict.flags);
    match ended {
        Ended::ConnectFailed(_) | Ended::ConnectTimedOut | Ended::TlsFailed(_) => tale.flags.insert(Flags::URX),
        Ended::Circular | Ended::LocalTarget | Ended::NoRule => tale.details = verdict.details,
        _ => {}
    }
    tale.failure = verdict.transport_failure;
}

/// Bytes both ways, until both sides have ended.
async fn carry(arrival: &mut Arrival, mut outlet: upstream::Outlet, stats: &Arc<TcpStats>, tale: &mut Tale) {
    let Arrival { core, reader, writer, entered, seen, .. } = arrival;
    let (upstream, cluster) = (&mut outlet.upstream, &outlet.stats);
    (tale.connected, tale.own) = (true, upstream.local());
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
    (tale.received, tale.sent) = (passed.up, passed.down);
    match passed.ending {
        Ending::Client => {}
        Ending::Upstream => {
            upstream.closed_by(Closed::Remote);
            linger(arrival).await;
        }
        Ending::ClientBroke => {
            tale.flags.insert(Flags::DC);
            upstream.handle.abort();
        }
        Ending::UpstreamBroke => {
            tale.flags.insert(Flags::UC);
            upstream.closed_by(Closed::Remote);
            // The client must see that what it got may not be all.
            entered.handle().abort();
        }
        Ending::Quiet => {
            tale.flags.insert(Flags::SI);
            stats.idle_timeout.inc();
        }
        Ending::Old => {
            tale.flags.insert(Flags::DT);
            stats.max_downstream_connection_duration.inc();
        }
    }
}

/// Ends our side, and drops what the client still sends for a moment: a close over unread bytes would be a reset, and that
/// could destroy what the upstream sent last.
async fn linger(arrival: &mut Arrival) {
    const PATIENCE: Duration = Duration::from_secs(1);
    let Arrival { core, reader, entered, .. } = arrival;
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

fn log(arrival: &Arrival, tale: &Tale, server_name: &str) {
    let duration = io::now().duration_since(arrival.counted.opened);
    arrival.core.log(&Record {
        start: io::unix_time().checked_sub(duration).unwrap_or(std::time::UNIX_EPOCH),
        method: &[],
        path: &[],
        authority: &[],
        protocol: "",
        status: 0,
        flags: tale.flags,
        details: &tale.details,
        termination_details: "",
        transport_failure: &tale.failure,
        bytes_received: tale.received,
        bytes_sent: tale.sent,
        duration,
        upstream_service_time: None,
        upstream_host: tale.host.clone(),
        upstream_connected: tale.connected,
        upstream_cluster: &tale.cluster,
        upstream_local: tale.own,
        downstream_local: arrival.local,
        downstream_remote: arrival.peer,
        server_name,
        route_name: "",
        headers: &NoHeaders,
    });
}
