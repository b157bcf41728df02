//! Outlier detection: which endpoints are ejected for their failures, and for how long.

use std::time::Duration;

/// `outlierDetection` of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlier {
    /// `consecutive5xxErrors`: so many responses of 500 and more, or none, in a row; 0: never. 5 by default.
    pub consecutive_5xx: u32,
    /// `consecutiveGatewayErrors`, or the older `consecutiveErrors`: so many 502, 503 and 504, or none, in a row;
    /// 0: never, the default.
    pub consecutive_gateway: u32,
    /// `splitExternalLocalOriginErrors`: failures without a response are counted apart from responses.
    pub split_local_origin: bool,
    /// `consecutiveLocalOriginFailures`: so many of those in a row; only with the split. 0: never. 5 by default.
    pub consecutive_local_origin: u32,
    /// `interval` between the looks at who may come back; 10 s by default.
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

/// What all cores know of the health of one cluster.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ClusterHealth;

/// What all cores know of the health of one endpoint of a cluster. Alone on its cache lines, because every response
/// looks at it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct EndpointHealth;

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
