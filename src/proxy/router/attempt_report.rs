//! The reports of an attempt on its cluster and endpoint, while it lasts and when it ends: the gauges of active requests,
//! and the health that `outlierDetection` sees. For attempts of clients' requests and of mirrors alike.

use std::sync::Arc;

use crate::io::TlsFailure;
use crate::observe::stats::{ClusterStats, EndpointStats};
use crate::plan::EndpointId;
use crate::policy::outlier::Outcome;
use crate::proxy::router::termination::Termination;
use crate::upstream::{LocalCluster, LocalEndpoint};

/// Counts a request as active for as long as it lives: from the moment at which it has a connection. One that waits for a
/// connection is pending.
pub(crate) struct Active(Arc<ClusterStats>, Arc<EndpointStats>);

impl Active {
    pub(crate) fn begin(cluster: &LocalCluster, endpoint: &LocalEndpoint) -> Self {
        cluster.stats.upstream_rq_active.inc();
        endpoint.stats.rq_active.inc();
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
