//! Opening a connection to an endpoint, within the cluster's connect timeout.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::connection::Upstream;
use super::endpoint::LocalEndpoint;
use super::error::{ConnectError, Refusal};
use super::settings::ConnectionSettings;
use super::shared::SharedCluster;
use crate::base::endpoint::EndpointAddress;
use crate::io::{Conn, ServerName, TlsFailure, connect, now};
use crate::observe::stats::ClusterStats;
use crate::plan::Keepalive;

/// Connects to an endpoint, to speak HTTP/1.1. Where the cluster has TLS, the server there is to be `name`.
///
/// # Errors
/// See [`ConnectError`].
pub(super) async fn open(
    settings: ConnectionSettings,
    (stats, shared): (&Arc<ClusterStats>, &SharedCluster),
    endpoint: &LocalEndpoint,
    name: Option<ServerName<'static>>,
) -> Result<Box<Upstream>, ConnectError> {
    stats.upstream_cx_http1_total.inc();
    open_raw(settings, (stats, shared), endpoint, name).await
}

/// Connects to an endpoint, for traffic that ringway does not decode.
///
/// # Errors
/// See [`ConnectError`].
pub(super) async fn open_raw(
    settings: ConnectionSettings,
    (stats, shared): (&Arc<ClusterStats>, &SharedCluster),
    endpoint: &LocalEndpoint,
    name: Option<ServerName<'static>>,
) -> Result<Box<Upstream>, ConnectError> {
    stats.upstream_cx_total.inc();
    endpoint.stats.cx_total.inc();
    let (begun, address) = (now(), endpoint.address());
    match ready((stats, shared), &address, name.clone(), begun + settings.connect_timeout).await {
        Ok(conn) => {
            let opened = now();
            let took = opened.duration_since(begun).as_millis();
            stats.upstream_cx_connect_ms.record(u64::try_from(took).unwrap_or(u64::MAX));
            if let Some(Keepalive { probes, time, interval }) = settings.keepalive {
                // Refused for a connection that is gone already, for times beyond what the kernel counts to, and for
                // Unix domain sockets, which need no keepalive.
                let _ = conn.handle.keep_alive(time, interval, probes);
            }
            Ok(Upstream::new(conn, &settings, (address, name), opened, stats.clone(), endpoint.stats.clone()))
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
    (stats, shared): (&ClusterStats, &SharedCluster),
    address: &EndpointAddress,
    name: Option<ServerName<'static>>,
    deadline: Instant,
) -> Result<Conn, ConnectError> {
    let conn = connect(address, deadline).await.map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => ConnectError::TimedOut,
        _ => ConnectError::Failed(Box::new(Refusal { error, by: address.clone() })),
    })?;
    match (&shared.tls, name) {
        (None, _) => Ok(conn),
        (Some(_), None) => Err(ConnectError::Tls(Box::new(TlsFailure::NoName))),
        (Some(tls), Some(name)) => tls.secure(conn, name, deadline, stats.ssl()).await,
    }
}
