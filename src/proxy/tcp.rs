//! A connection that is no HTTP: to the service that it is for, or to where it was sent, bytes both ways, and a
//! line in the log at its end (`"- - -" 0`).

use std::borrow::Cow;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::arrival::Arrival;
use super::core::{Core, Phase};
use super::outlet::{self, Attempt};
use super::reply::Ended;
use super::tunnel::{self, End, Ending, Meters, Until};
use super::undeclared;
use crate::base::endpoint::EndpointAddress;
use crate::base::id::ListenerId;
use crate::io::{self, Either, Timer, race};
use crate::observe::access_log::{NoHeaders, Record};
use crate::observe::flags::Flags;
use crate::observe::stats::TcpStats;
use crate::plan::{BLACK_HOLE_CLUSTER, Cluster, Discovery, Outbound, PASSTHROUGH_CLUSTER};
use crate::upstream::{Closed, Installed, LocalCluster};

/// Where a connection goes.
pub(super) enum To {
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
pub(super) async fn serve(
    mut arrival: Arrival,
    (installed, listener): (Rc<Installed>, ListenerId),
    to: To,
    server_name: Option<String>,
) {
    let Some(outbound) = installed.outbound(listener) else { return };
    let place = if let To::Outlet(number) = to { number } else { outbound.undeclared() };
    let stats = installed.stats.tcp.get(outbound.first_stat + place).cloned().unwrap_or_default();
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
    let Attempt { host, mut outcome } = connect(&arrival, &installed, outbound, to, &mut tale).await;
    // Asked once more: what was on its way then is there now.
    if outcome.is_ok() && arrival.core.went_out(arrival.peer) {
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

async fn connect(arrival: &Arrival, installed: &Installed, outbound: &Outbound, to: To, tale: &mut Tale) -> Attempt {
    let core = &arrival.core;
    if core.went_out(arrival.peer) {
        return Attempt::failed(Ended::Circular);
    }
    let outlet = match to {
        To::Nowhere(ended) => return Attempt::failed(ended),
        To::Outlet(number) => outbound.outlet(number),
        To::Undeclared => outbound.egress_proxy.as_ref(),
    };
    if let Some(outlet) = outlet {
        tale.cluster = outlet.name.clone();
        return match (outlet::cluster(installed, &outlet.target), arrival.original) {
            // `resolution: NONE`: it goes where it was sent.
            (Some(cluster), Some(original)) if matches!(cluster.0.discovery, Discovery::Authority(_)) => {
                to_original(core, cluster, outbound, original).await
            }
            (Some(cluster), _) => outlet::to_cluster(core, cluster).await,
            (None, _) => Attempt::failed(Ended::NoCluster),
        };
    }
    let passthrough = installed.passthrough().filter(|_| outbound.allow_any);
    // Where it was not sent anywhere else there is nowhere to pass it on to.
    let (Some(cluster), Some(original)) = (passthrough, arrival.original) else {
        tale.cluster = BLACK_HOLE_CLUSTER.into();
        return Attempt::failed(Ended::NoEndpoint); // Envoy's has none, either
    };
    tale.cluster = PASSTHROUGH_CLUSTER.into();
    to_original(core, cluster, outbound, original).await
}

/// To where the connection was sent.
async fn to_original(
    core: &Rc<Core>,
    cluster: (&Cluster, &LocalCluster),
    outbound: &Outbound,
    original: SocketAddr,
) -> Attempt {
    let deadline = io::now() + cluster.0.connect_timeout;
    match undeclared::of_original(core, &mut Timer::default(), outbound, original, deadline).await {
        Ok(addresses) => outlet::to_addresses(core, cluster, &addresses).await,
        Err(ended) => Attempt::failed(ended),
    }
}

/// What an end means to a connection: no status, and after a failed connect Envoy says that it will not be tried again.
fn tell(tale: &mut Tale, ended: &Ended) {
    let verdict = ended.verdict(false);
    tale.flags.insert(verdict.flags);
    match ended {
        Ended::ConnectFailed(_) | Ended::ConnectTimedOut | Ended::TlsFailed(_) => tale.flags.insert(Flags::URX),
        Ended::Circular | Ended::LocalTarget => tale.details = verdict.details,
        _ => {}
    }
    tale.failure = verdict.transport_failure;
}

/// Bytes both ways, until both sides have ended.
async fn carry(arrival: &mut Arrival, mut outlet: outlet::Outlet, stats: &Arc<TcpStats>, tale: &mut Tale) {
    let Arrival { core, reader, writer, entered, seen, .. } = arrival;
    let (upstream, cluster) = (&mut outlet.upstream, &outlet.stats);
    (tale.connected, tale.own) = (true, upstream.local());
    let meters = Meters {
        up: [Some(&stats.downstream_cx_rx_bytes_total), Some(&cluster.upstream_cx_tx_bytes_total)],
        down: [Some(&stats.downstream_cx_tx_bytes_total), Some(&cluster.upstream_cx_rx_bytes_total)],
    };
    let passed = tunnel::run(
        core,
        End { reader, writer, handle: entered.handle() },
        End { reader: &mut upstream.reader, writer: &mut upstream.writer, handle: &upstream.handle },
        std::mem::take(seen),
        Until::Both { quiet: outlet.quiet },
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
