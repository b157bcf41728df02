//! How many client connections may be open at a time: `limits.maxConnections`, or as many as the descriptors of the process
//! allow.

use std::sync::Arc;

use tracing::warn;

use crate::plan::ProxySettings;
use crate::proxy::Budget;

/// Descriptors that are not connections: rings, bells, listeners, files, the admin side.
const DESCRIPTORS_KEPT: u64 = 128;

/// A limit below this is warned about: a proxy with so few client connections is seldom meant.
const FEW_CONNECTIONS: u64 = 256;

/// The limit, which all workers share.
pub(super) struct ConnectionLimit {
    budget: Arc<Budget>,
    /// Descriptors that the process may open.
    descriptors: u64,
}

impl ConnectionLimit {
    /// The limit at the start.
    pub(super) fn new(settings: &ProxySettings, descriptors: u64) -> Self {
        warn_of_few(settings, descriptors);
        Self { budget: Budget::new(most_connections(settings, descriptors)), descriptors }
    }

    pub(super) fn budget(&self) -> Arc<Budget> {
        self.budget.clone()
    }

    /// Goes by the settings of another plan from now on.
    pub(super) fn follow(&self, settings: &ProxySettings) {
        self.budget.resize(most_connections(settings, self.descriptors));
    }
}

fn most_connections(settings: &ProxySettings, descriptors: u64) -> usize {
    let limit = settings.limits.max_connections;
    limit.map_or_else(|| usize::try_from(allowed(descriptors)).unwrap_or(usize::MAX), |limit| limit as usize)
}

/// The client connections that so many descriptors allow: half of those left, since a request in flight needs a second
/// one, upstream.
fn allowed(descriptors: u64) -> u64 {
    descriptors.saturating_sub(DESCRIPTORS_KEPT).max(2) / 2
}

/// Warns where the descriptors allow fewer client connections than somebody may expect.
fn warn_of_few(settings: &ProxySettings, descriptors: u64) {
    let allowed = allowed(descriptors);
    match settings.limits.max_connections {
        None if allowed < FEW_CONNECTIONS => {
            warn!("{descriptors} descriptors (ulimit -n) allow {allowed} client connections, and no more are taken");
        }
        Some(limit) if allowed < u64::from(limit) => {
            warn!(
                "{descriptors} descriptors (ulimit -n) allow {allowed} client connections, fewer than \
                 spec.limits.maxConnections: {limit}"
            );
        }
        _ => {}
    }
}
