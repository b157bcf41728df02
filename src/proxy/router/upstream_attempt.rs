//! One attempt at an endpoint, whichever makes it: a client's request, a mirror or a tunnel. It picks the endpoint, gets a
//! connection to it, counts for its cluster and its endpoint while it lasts, and tells `outlierDetection` how it ended.
//!
//! The callers, `attempt`, `mirror::task` and `l4::upstream`, send on the connection.

use std::rc::Rc;
use std::sync::Arc;

use crate::io::{BufPool, TlsFailure};
use crate::observe::stats::{ClusterStats, EndpointStats};
use crate::plan::EndpointId;
use crate::policy::balance::PickContext;
use crate::policy::outlier::Outcome;
use crate::proxy::core::Core;
use crate::proxy::router::termination::Termination;
use crate::upstream::{Admitted, Avoid, LocalCluster, LocalEndpoint, NoConnection, Overflow};

/// Picks an endpoint of a cluster.
///
/// # Errors
/// [`Termination::NoEndpoint`], which is counted: the cluster has none, or none that may be used.
pub(crate) fn pick<'l>(
    core: &Core,
    local: &'l LocalCluster,
    ask: PickContext,
    avoid: Avoid<'_>,
) -> Result<(EndpointId, &'l Rc<LocalEndpoint>), Termination> {
    let picked = core.with_rng(|rng| local.pick(ask, avoid, rng));
    picked.and_then(|id| Some((id, local.endpoint(id)?))).ok_or_else(|| {
        local.stats.upstream_cx_none_healthy.inc();
        Termination::NoEndpoint
    })
}

/// An idle connection to the endpoint, unless it must be `fresh`, or a place in the queue for one. Over TLS the server is asked
/// for by the name of `host`.
///
/// # Errors
/// A circuit breaker refuses the request, or `host` is no name that a certificate can be for.
pub(crate) fn admit<'l>(
    local: &'l LocalCluster,
    endpoint: &'l Rc<LocalEndpoint>,
    host: &[u8],
    fresh: bool,
    buffers: &'l BufPool,
) -> Result<Admitted<'l>, NoConnection> {
    let name = local.shared.tls.as_ref().map(|tls| tls.name(host)).transpose()?;
    local.admit(endpoint, name, fresh, buffers).map_err(|Overflow| NoConnection::Overflow)
}

/// Counts an attempt as active for as long as it lives: from the moment at which it has a connection. One that waits for a
/// connection is pending.
pub(crate) struct Active(Arc<ClusterStats>, Arc<EndpointStats>);

impl Active {
    /// An attempt at this endpoint has its connection; `at` is the endpoint's id, if it is a member of the cluster.
    pub(crate) fn begin(cluster: &LocalCluster, endpoint: &LocalEndpoint, at: Option<EndpointId>) -> Self {
        cluster.stats.upstream_rq_total.inc();
        cluster.stats.upstream_rq_active.inc();
        endpoint.stats.rq_total.inc();
        endpoint.stats.rq_active.inc();
        cluster.report(at, Outcome::Connected);
        Self(cluster.stats.clone(), endpoint.stats.clone())
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.upstream_rq_active.dec();
        self.1.rq_active.dec();
    }
}

/// Reports the end of an attempt to `outlierDetection`, unless it is not the endpoint's: the client left, or a breaker
/// refused the attempt. A timeout counts only while the response head is awaited: before, there was no connection yet, and
/// after, the status was reported already.
pub(crate) fn report_end(local: &LocalCluster, at: Option<EndpointId>, ended: &Termination, awaited: bool) {
    let failed = match ended {
        Termination::ConnectFailed(_) | Termination::ConnectTimedOut => true,
        // An invalid Host is the client's error.
        Termination::TlsFailed(failure) => **failure != TlsFailure::NoName,
        Termination::UpstreamReset | Termination::TlsBroke(_) => true,
        Termination::UpstreamProtocol | Termination::UpstreamCut | Termination::UpstreamCorrupt => true,
        Termination::RequestTimedOut | Termination::TryTimedOut => awaited,
        _ => false,
    };
    if failed {
        local.report(at, Outcome::Failed);
    }
}
