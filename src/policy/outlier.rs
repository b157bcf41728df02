//! Outlier detection: which endpoints are ejected for their failures, and for how long.
//!
//! The rules are Envoy's (`outlier_detection_impl.cc`). Every core reports the outcome of each attempt
//! ([`Outlier::report`]); the core whose report completes a streak of failures decides the ejection on the spot, so that
//! the next pick of any core goes elsewhere. Only one thread lets endpoints back in ([`Outlier::sweep`], each
//! `interval`). Their shared state is in `health`: atomics only, and a success stores nothing where no failure came
//! before it. Called by `upstream` for the reports and by `control` for the sweeps.

mod health;

use std::time::{Duration, Instant};

pub use health::{ClusterHealth, EndpointHealth, Streak};

/// `outlierDetection` of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlier {
    /// `consecutive5xxErrors`: this many responses of 500 and more, or missing responses, in a row; 0: off. 5 by default.
    pub consecutive_5xx: u32,
    /// `consecutiveGatewayErrors`, or the older `consecutiveErrors`: this many 502, 503 and 504, or missing responses, in
    /// a row; 0: off, the default.
    pub consecutive_gateway: u32,
    /// `splitExternalLocalOriginErrors`: failures without a response are counted apart from responses.
    pub split_local_origin: bool,
    /// `consecutiveLocalOriginFailures`: so many of those in a row; only with the split. 0: never. 5 by default.
    pub consecutive_local_origin: u32,
    /// `interval` between two sweeps, which end ejections; 10 s by default.
    pub interval: Duration,
    /// `baseEjectionTime`: multiplied by the number of ejections; 30 s by default.
    pub base_ejection: Duration,
    /// `maxEjectionPercent` of the endpoints; 10 by default.
    pub max_ejection_percent: u32,
    /// `minHealthPercent`: with fewer healthy endpoints than this, ejections are ignored; 0 by default.
    pub min_health_percent: u32,
    /// `outlierDetectionHttpErrorCodes` in place of "500 and more", sorted; empty: not said.
    pub error_codes: Box<[u16]>,
}

impl Default for Outlier {
    fn default() -> Self {
        Self {
            consecutive_5xx: 5,
            consecutive_gateway: 0,
            split_local_origin: false,
            consecutive_local_origin: 5,
            interval: Duration::from_secs(10),
            base_ejection: Duration::from_secs(30),
            max_ejection_percent: 10,
            min_health_percent: 0,
            error_codes: Box::default(),
        }
    }
}

/// The outcome of an attempt, for its endpoint's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The attempt has a connection, new or reused.
    Connected,
    /// The head of an answer came, with this status.
    Answered(u16),
    /// The connection failed, or ended before the response was complete, or the upstream broke the protocol, or no
    /// response head came within the timeout of the attempt or the route.
    Failed,
}

/// Envoy's default of `max_ejection_time`, which Istio has no field for: no ejection lasts longer, unless
/// `baseEjectionTime` is longer.
const MAX_EJECTION: Duration = Duration::from_secs(300);

impl Outlier {
    /// Notes the outcome of an attempt on `endpoint`, and ejects it if that completes a streak. `now` is called only
    /// then.
    ///
    /// One attempt may report several outcomes: it is connected, then its status, then that the response broke off.
    pub fn report(
        &self,
        cluster: &ClusterHealth,
        endpoint: &EndpointHealth,
        outcome: Outcome,
        now: impl FnOnce() -> Instant,
    ) {
        match outcome {
            Outcome::Connected if self.split_local_origin => endpoint.clear(Streak::LocalOrigin),
            Outcome::Connected => {}
            Outcome::Failed if self.split_local_origin => {
                if endpoint.extend(Streak::LocalOrigin, self.consecutive_local_origin) {
                    self.eject(cluster, endpoint, Streak::LocalOrigin, now());
                }
            }
            // Envoy counts a missing response as 503 or 504.
            Outcome::Failed => self.error(cluster, endpoint, true, now),
            Outcome::Answered(status) if self.is_error(status) => {
                self.error(cluster, endpoint, matches!(status, 502..=504), now);
            }
            Outcome::Answered(_) => {
                endpoint.clear(Streak::Gateway);
                endpoint.clear(Streak::ServerError);
            }
        }
    }

    fn is_error(&self, status: u16) -> bool {
        match &*self.error_codes {
            [] => matches!(status, 500..=599),
            listed => listed.binary_search(&status).is_ok(),
        }
    }

    /// An error answer: it counts for both streaks, or ends that of gateway errors.
    fn error(
        &self,
        cluster: &ClusterHealth,
        endpoint: &EndpointHealth,
        of_gateway: bool,
        now: impl FnOnce() -> Instant,
    ) {
        let gateway = of_gateway && endpoint.extend(Streak::Gateway, self.consecutive_gateway);
        if !of_gateway {
            endpoint.clear(Streak::Gateway);
        }
        let server_error = endpoint.extend(Streak::ServerError, self.consecutive_5xx);
        if gateway || server_error {
            let now = now();
            for (streak, complete) in [(Streak::Gateway, gateway), (Streak::ServerError, server_error)] {
                if complete {
                    self.eject(cluster, endpoint, streak, now);
                }
            }
        }
    }

    /// A streak is complete: ejects the endpoint, as far as `maxEjectionPercent` lets.
    fn eject(&self, cluster: &ClusterHealth, endpoint: &EndpointHealth, streak: Streak, now: Instant) {
        if !endpoint.may_be_ejected() {
            return; // the streak goes on, and ends with the ejection or a success
        }
        if !cluster.reserve(self.max_ejection_percent) {
            cluster.overflowed(streak);
            endpoint.clear(streak);
            return;
        }
        if !endpoint.eject(cluster.at(now)) {
            return cluster.give_back(); // another core was faster
        }
        let longest = self.longest_ejection();
        endpoint.grow(|multiplier| {
            self.base_ejection.saturating_mul(multiplier) < longest.saturating_add(self.base_ejection)
        });
        endpoint.clear(streak);
        cluster.ejected_for(streak);
    }

    /// Lets the endpoints of a cluster back in that have been out for long enough, and forgives the others an ejection of
    /// the past. To be called each `interval`, by one thread. `released` hears the position of each that may be chosen
    /// again, and how long it was out.
    pub fn sweep<'e>(
        &self,
        cluster: &ClusterHealth,
        endpoints: impl IntoIterator<Item = &'e EndpointHealth>,
        now: Instant,
        mut released: impl FnMut(usize, Duration),
    ) {
        for (position, endpoint) in endpoints.into_iter().enumerate() {
            let Some(since) = endpoint.ejected_since() else {
                endpoint.forgive();
                continue;
            };
            let out = cluster.since(since, now);
            if out >= self.ejection_time(endpoint.multiplier()) && endpoint.release(since) {
                cluster.give_back();
                cluster.changed();
                released(position, out);
            }
        }
    }

    /// The duration of an ejection, by the number of the endpoint's ejections that are not forgiven yet.
    #[must_use]
    pub fn ejection_time(&self, multiplier: u32) -> Duration {
        self.base_ejection.saturating_mul(multiplier.max(1)).min(self.longest_ejection())
    }

    fn longest_ejection(&self) -> Duration {
        self.base_ejection.max(MAX_EJECTION)
    }
}

/// The HTTP status that a gRPC response counts as, by its `grpc-status` (Envoy's `grpcToHttpStatus`).
#[must_use]
pub fn status_of_grpc(status: u8) -> u16 {
    match status {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}

#[cfg(test)]
mod tests;
