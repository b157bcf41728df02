//! `connectionPool`, `outlierDetection`, `retryBudget` and `tls`: the settings of a cluster's connections, its breaker,
//! and its ejections.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::istio::model::destination_rule::{self as model, ConnectionPool, OutlierDetection, TcpKeepalive};
use crate::plan::{Cluster, Keepalive};
use crate::policy::outlier::Outlier;
use crate::policy::permits::{BreakerLimits, RetryBudget};

use super::Compiler;
use super::client_tls::client_tls;
use super::lb_rules::Effective;

impl<'w> Compiler<'w> {
    /// The cluster with its policy's connection settings. `names` are those in the service's certificates.
    pub(super) fn connections(&self, policy: Effective<'w>, names: &[String], cluster: Cluster) -> Cluster {
        let unlimited = ConnectionPool::default();
        let pool = policy.connection_pool.unwrap_or(&unlimited);
        let of_mesh = self.world.proxy.mesh_config.tcp_keepalive;
        Cluster {
            connect_timeout: pool.connect_timeout.unwrap_or(cluster.connect_timeout),
            idle_timeout: match pool.http_idle_timeout.or(pool.tcp_idle_timeout) {
                Some(timeout) => Some(timeout).filter(|timeout| !timeout.is_zero()),
                None => cluster.idle_timeout,
            },
            tcp_idle_timeout: match pool.tcp_idle_timeout {
                Some(timeout) => Some(timeout).filter(|timeout| !timeout.is_zero()),
                None => cluster.tcp_idle_timeout,
            },
            max_requests: pool.max_requests_per_connection.and_then(NonZeroU32::new),
            max_duration: pool.max_connection_duration,
            keepalive: keepalive(of_mesh, pool.tcp_keepalive),
            limits: BreakerLimits {
                connections: pool.max_connections,
                pending: pool.max_pending_requests,
                requests: pool.max_requests,
                retries: pool.max_retries,
                retry_budget: policy.retry_budget.map(retry_budget),
            },
            outlier: policy.outlier_detection.map(outlier),
            tls: client_tls(policy.tls, names),
            ..cluster
        }
    }
}

/// The mesh's settings fill in fields that a DestinationRule leaves out.
pub(super) fn keepalive(of_mesh: Option<TcpKeepalive>, own: Option<TcpKeepalive>) -> Option<Keepalive> {
    let (mesh, own) = match (of_mesh, own) {
        (None, None) => return None,
        (mesh, own) => (mesh.unwrap_or_default(), own.unwrap_or_default()),
    };
    // The kernel counts whole seconds, and 0 is invalid.
    let seconds =
        |time: Option<Duration>| time.map(|time| Duration::from_secs(time.as_secs())).filter(|t| !t.is_zero());
    Some(Keepalive {
        probes: own.probes.or(mesh.probes),
        time: seconds(own.time.or(mesh.time)),
        interval: seconds(own.interval.or(mesh.interval)),
    })
}

fn retry_budget(budget: &model::RetryBudget) -> RetryBudget {
    RetryBudget {
        percent: budget.percent,
        min_concurrency: budget.min_retry_concurrency,
        interval: budget.budget_interval,
    }
}

/// Istio has ignored `consecutiveErrors` since 1.7. Here it works as it was documented, if today's field is not written:
/// this many gateway errors eject, other errors do not.
fn outlier(rule: &OutlierDetection) -> Outlier {
    let default = Outlier::default();
    let older = rule.consecutive_errors.filter(|_| rule.consecutive_gateway_errors.is_none());
    let mut error_codes = rule.error_codes.clone();
    error_codes.sort_unstable();
    error_codes.dedup();
    Outlier {
        consecutive_5xx: rule.consecutive_5xx_errors.unwrap_or(if older.is_some() {
            0
        } else {
            default.consecutive_5xx
        }),
        consecutive_gateway: rule.consecutive_gateway_errors.or(older).unwrap_or(default.consecutive_gateway),
        split_local_origin: rule.split_local_origin,
        consecutive_local_origin: rule.consecutive_local_origin_failures.unwrap_or(default.consecutive_local_origin),
        interval: rule.interval.unwrap_or(default.interval),
        base_ejection: rule.base_ejection_time.unwrap_or(default.base_ejection),
        max_ejection_percent: rule.max_ejection_percent.unwrap_or(default.max_ejection_percent),
        min_health_percent: rule.min_health_percent,
        error_codes: error_codes.into(),
    }
}
