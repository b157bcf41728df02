//! Opening a connection to an endpoint, within the cluster's connect timeout.

use std::io;
use std::net::SocketAddr;

use super::installed::{LocalCluster, LocalEndpoint};
use super::pool::Upstream;
use crate::io::{BufPool, connect, now};
use crate::plan::Cluster;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The endpoint, or the network on the way to it, said no.
    #[error("{0}")]
    Failed(io::Error),
    /// Nothing was heard within `connectTimeout`.
    #[error("connection timeout")]
    TimedOut,
}

/// Connects to `address`, an endpoint of `cluster`.
///
/// # Errors
/// See [`ConnectError`].
pub async fn open(
    cluster: &Cluster,
    local: &LocalCluster,
    endpoint: &LocalEndpoint,
    address: SocketAddr,
    buffers: &BufPool,
) -> Result<Upstream, ConnectError> {
    let stats = &local.stats;
    stats.upstream_cx_total.inc();
    stats.upstream_cx_http1_total.inc();
    endpoint.stats.cx_total.inc();
    let begun = now();
    match connect(address, begun + cluster.connect_timeout).await {
        Ok(conn) => {
            let opened = now();
            let took = opened.duration_since(begun).as_millis();
            stats.upstream_cx_connect_ms.record(u64::try_from(took).unwrap_or(u64::MAX));
            Ok(Upstream::new(conn, address, buffers.body(), opened, stats.clone(), endpoint.stats.clone()))
        }
        Err(error) => {
            stats.upstream_cx_connect_fail.inc();
            endpoint.stats.cx_connect_fail.inc();
            if error.kind() == io::ErrorKind::TimedOut {
                stats.upstream_cx_connect_timeout.inc();
                return Err(ConnectError::TimedOut);
            }
            Err(ConnectError::Failed(error))
        }
    }
}
