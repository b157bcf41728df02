//! Opening a connection to an endpoint, within the cluster's connect timeout.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use super::installed::{LocalCluster, LocalEndpoint};
use super::pool::Upstream;
use super::secure::tls_error;
use crate::io::{BufPool, Conn, ServerName, TlsFailure, connect, now};
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
    /// The connection is there, and could not be secured.
    #[error("{}", tls_error(.0))]
    Tls(TlsFailure),
}

/// Connects to `address`, an endpoint of `cluster`, to speak HTTP/1.1. Where the cluster has TLS, the server there is to be
/// `name`.
///
/// # Errors
/// See [`ConnectError`].
pub async fn open(
    cluster: &Cluster,
    local: &LocalCluster,
    endpoint: &LocalEndpoint,
    address: SocketAddr,
    name: Option<ServerName<'static>>,
    buffers: &BufPool,
) -> Result<Upstream, ConnectError> {
    local.stats.upstream_cx_http1_total.inc();
    open_raw(cluster, local, endpoint, address, name, buffers).await
}

/// Connects to `address`, an endpoint of `cluster`, for bytes that are none of ours to understand.
///
/// # Errors
/// See [`ConnectError`].
pub async fn open_raw(
    cluster: &Cluster,
    local: &LocalCluster,
    endpoint: &LocalEndpoint,
    address: SocketAddr,
    name: Option<ServerName<'static>>,
    buffers: &BufPool,
) -> Result<Upstream, ConnectError> {
    let stats = &local.stats;
    stats.upstream_cx_total.inc();
    endpoint.stats.cx_total.inc();
    let begun = now();
    match ready(local, address, name.clone(), begun + cluster.connect_timeout).await {
        Ok(conn) => {
            let opened = now();
            let took = opened.duration_since(begun).as_millis();
            stats.upstream_cx_connect_ms.record(u64::try_from(took).unwrap_or(u64::MAX));
            Ok(Upstream::new(conn, (address, name), buffers.body(), opened, stats.clone(), endpoint.stats.clone()))
        }
        Err(error) => {
            stats.upstream_cx_connect_fail.inc();
            endpoint.stats.cx_connect_fail.inc();
            if matches!(error, ConnectError::TimedOut) {
                stats.upstream_cx_connect_timeout.inc();
            }
            Err(error)
        }
    }
}

/// A connection over which requests can be sent.
async fn ready(
    local: &LocalCluster,
    address: SocketAddr,
    name: Option<ServerName<'static>>,
    deadline: Instant,
) -> Result<Conn, ConnectError> {
    let conn = connect(address, deadline).await.map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => ConnectError::TimedOut,
        _ => ConnectError::Failed(error),
    })?;
    match (&local.shared.tls, name) {
        (None, _) => Ok(conn),
        (Some(_), None) => Err(ConnectError::Tls(TlsFailure::NoName)),
        (Some(tls), Some(name)) => tls.secure(conn, name, deadline, local.stats.ssl()).await,
    }
}
