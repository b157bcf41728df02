//! An upstream connection for raw bytes: to an endpoint of a service's cluster, or to the first of some addresses that accepts
//! it.
//!
//! One attempt, as Envoy's TCP proxy makes by default. Called by `tcp` and `connect_method`.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::endpoint::EndpointAddress;
use crate::io::{self, Timer};
use crate::observe::stats::{ClusterStats, EndpointStats};
use crate::plan::{Cluster, Discovery, EndpointId, Outbound, Target, TcpRoute};
use crate::policy::balance::PickContext;
use crate::policy::hashing::key;
use crate::proxy::core::{Core, GoingOut};
use crate::proxy::dynamic::forward_proxy;
use crate::proxy::dynamic::passthrough;
use crate::proxy::router::termination::Termination;
use crate::proxy::router::upstream_attempt::{self, Active, report_end};
use crate::upstream::{Avoid, Installed, LocalCluster, LocalEndpoint, NoConnection, Upstream};

/// An upstream connection of a tunnel.
pub(crate) struct TunnelUpstream {
    pub(crate) upstream: Box<Upstream>,
    /// The idle timeout; `None`: never.
    pub(crate) quiet: Option<Duration>,
    /// The time at which it ends in any case (`connectionPool.tcp.maxConnectionDuration`).
    pub(crate) end: Option<Instant>,
    /// The counters of its cluster.
    pub(crate) stats: Arc<ClusterStats>,
    _active: Active,
    _goes_out: Option<GoingOut>,
}

/// The result of an attempt.
pub(crate) struct Attempt {
    /// The last endpoint that was tried.
    pub(crate) host: Option<EndpointAddress>,
    pub(crate) outcome: Result<TunnelUpstream, Termination>,
}

impl Attempt {
    pub(crate) fn failed(ended: Termination) -> Self {
        Self { host: None, outcome: Err(ended) }
    }
}

/// Counts a tunnel that has no connection yet as a pending request of its endpoint: LEAST_REQUEST must see it.
struct Connecting<'a>(&'a ClusterStats, &'a EndpointStats);

impl<'a> Connecting<'a> {
    fn begin(cluster: &'a LocalCluster, endpoint: &'a LocalEndpoint) -> Self {
        cluster.stats.upstream_rq_pending_active.inc();
        endpoint.stats.rq_pending_active.inc();
        Self(&cluster.stats, &endpoint.stats)
    }
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        self.0.upstream_rq_pending_active.dec();
        self.1.rq_pending_active.dec();
    }
}

/// A client and its destination.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TcpRequest<'a> {
    pub(crate) peer: SocketAddr,
    /// The address that it was sent to before it was redirected here.
    pub(crate) original: Option<SocketAddr>,
    /// The authority of its CONNECT, or the server name of its TLS.
    pub(crate) name: Option<&'a [u8]>,
    /// How often its bytes come through this core, this time included.
    pub(crate) passes: u8,
}

/// Connects to one of a route's clusters, which was drawn.
pub(crate) async fn to_target(
    core: &Rc<Core>,
    installed: &Installed,
    outbound: Option<&Outbound>,
    (route, target): (&TcpRoute, &Target),
    request: TcpRequest<'_>,
) -> Attempt {
    let Some(cluster) = cluster(installed, target) else { return Attempt::failed(Termination::NoCluster) };
    let Discovery::Authority(own) = &cluster.0.discovery else {
        let hash = route.by_source.then(|| key::source_ip(request.peer));
        return to_cluster(core, cluster, hash, request.passes).await;
    };
    let deadline = io::now() + cluster.0.connect_timeout;
    let mut timer = Timer::default();
    let found = match request {
        // `resolution: NONE`: it goes where it was sent.
        TcpRequest { original: Some(original), .. } if !own.at_gateways => match outbound {
            Some(outbound) => passthrough::of_original(core, &mut timer, outbound, original, deadline).await,
            None => Err(Termination::NoEndpoint),
        },
        TcpRequest { name: Some(name), .. } if own.at_gateways || outbound.is_some() => {
            match forward_proxy::authority(name, own) {
                Some(name) => passthrough::of_authority(core, &mut timer, outbound, &name, deadline).await,
                None => Err(Termination::NoEndpoint),
            }
        }
        _ => Err(Termination::NoEndpoint),
    };
    match found {
        Ok(addresses) => to_addresses(core, cluster, &addresses, request.passes).await,
        Err(ended) => Attempt::failed(ended),
    }
}

/// The cluster of a target.
pub(crate) fn cluster<'p>(installed: &'p Installed, target: &Target) -> Option<(&'p Cluster, &'p LocalCluster)> {
    match target {
        Target::Known(id) => installed.cluster(*id),
        Target::Missing(_) => None,
    }
}

/// Connects to an endpoint of a cluster.
async fn to_cluster(
    core: &Rc<Core>,
    (cluster, local): (&Cluster, &LocalCluster),
    hash: Option<u64>,
    passes: u8,
) -> Attempt {
    let ask = PickContext { hash, now: io::now() };
    let (id, endpoint) = match upstream_attempt::pick(core, local, ask, Avoid::default()) {
        Ok(picked) => picked,
        Err(ended) => return Attempt::failed(ended),
    };
    let host = Some(endpoint.address());
    let outcome = connect(core, (cluster, local), (endpoint, Some(id)), passes).await;
    if let Err(ended) = &outcome {
        report_end(local, Some(id), ended, false);
    }
    Attempt { host, outcome }
}

/// Connects to the first of these addresses (a few of them) that accepts.
pub(crate) async fn to_addresses(
    core: &Rc<Core>,
    (cluster, local): (&Cluster, &LocalCluster),
    addresses: &[SocketAddr],
    passes: u8,
) -> Attempt {
    let mut attempt = Attempt::failed(Termination::Unresolved);
    for address in addresses {
        let endpoint = local.dynamic_endpoint(*address, io::now());
        let outcome = connect(core, (cluster, local), (&endpoint, None), passes).await;
        attempt = Attempt { host: Some((*address).into()), outcome };
        if attempt.outcome.is_ok() {
            break;
        }
    }
    attempt
}

async fn connect(
    core: &Rc<Core>,
    (cluster, local): (&Cluster, &LocalCluster),
    (endpoint, id): (&LocalEndpoint, Option<EndpointId>),
    passes: u8,
) -> Result<TunnelUpstream, Termination> {
    let connecting = Connecting::begin(local, endpoint);
    // Raw bytes name no host: unless the rule names one, TLS asks for the service's.
    let name = match &local.shared.tls {
        None => Ok(None),
        Some(tls) => tls.name(cluster.host().as_bytes()).map(|name| Some(name.to_owned())),
    };
    let opened = match name {
        // Boxed, because a tunnel lasts longer than its beginning.
        Ok(name) => Box::pin(local.tunnel(endpoint, name, &core.buffers)).await,
        Err(error) => Err(NoConnection::from(error)),
    };
    drop(connecting);
    match opened {
        Ok(mut upstream) => {
            core.buffers.put(std::mem::take(&mut upstream.buf)); // it is for heads
            let stats = local.stats.clone();
            let goes_out = upstream.local().map(|own| core.goes_out(own, passes));
            let (quiet, end) = (cluster.tcp_idle_timeout, cluster.max_duration.map(|most| io::now() + most));
            Ok(TunnelUpstream {
                upstream,
                quiet,
                end,
                stats,
                _active: Active::begin(local, endpoint, id),
                _goes_out: goes_out,
            })
        }
        Err(error) => {
            endpoint.stats.rq_error.inc();
            Err(error.into())
        }
    }
}
