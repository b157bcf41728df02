//! `outlierDetection`: when an endpoint is taken out for its failures.

use std::time::Duration;

use super::connection_pool::MAX_INT;
use crate::istio::reader::{Item, Message, deprecated, enforced};

/// `outlierDetection`, also of `meshConfig.defaultTrafficPolicy`. An absent field is `None`, which is not 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutlierDetection {
    /// `consecutiveErrors`, the field of Istio before 1.7; `None` also for 0.
    pub consecutive_errors: Option<u32>,
    /// `consecutiveGatewayErrors`.
    pub consecutive_gateway_errors: Option<u32>,
    /// `consecutive5xxErrors`.
    pub consecutive_5xx_errors: Option<u32>,
    /// `splitExternalLocalOriginErrors`.
    pub split_local_origin: bool,
    /// `consecutiveLocalOriginFailures`.
    pub consecutive_local_origin_failures: Option<u32>,
    /// `interval`.
    pub interval: Option<Duration>,
    /// `baseEjectionTime`.
    pub base_ejection_time: Option<Duration>,
    /// `maxEjectionPercent`; `None` also for 0.
    pub max_ejection_percent: Option<u32>,
    /// `minHealthPercent`; 0 when absent.
    pub min_health_percent: u32,
    /// `outlierDetectionHttpErrorCodes`, in order.
    pub error_codes: Vec<u16>,
}

const OUTLIER_DETECTION: Message = Message {
    name: "OutlierDetection",
    fields: &[
        deprecated(
            "consecutiveErrors",
            "Istio ignores it since 1.7; here so many gateway errors eject: write \"consecutiveGatewayErrors\" with \
             \"consecutive5xxErrors: 0\"",
        ),
        enforced("splitExternalLocalOriginErrors"),
        enforced("consecutiveLocalOriginFailures"),
        enforced("consecutiveGatewayErrors"),
        enforced("consecutive5xxErrors"),
        enforced("interval"),
        enforced("baseEjectionTime"),
        enforced("maxEjectionPercent"),
        enforced("minHealthPercent"),
        enforced("outlierDetectionHttpErrorCodes"),
    ],
};

/// The tables of this file.
pub(super) const MESSAGES: &[&Message] = &[&OUTLIER_DETECTION];

/// Reads an OutlierDetection.
pub(in crate::istio) fn read(item: &Item<'_>) -> Option<OutlierDetection> {
    let object = item.object(&OUTLIER_DETECTION)?;
    let whole = |name: &str, max: u32| object.get(name).and_then(|item| item.whole(0, max));
    let split = object.get("splitExternalLocalOriginErrors").and_then(|item| item.bool()).unwrap_or_default();
    let local = whole("consecutiveLocalOriginFailures", u32::MAX);
    let damaged = object.is_damaged("splitExternalLocalOriginErrors");
    if local.is_some_and(|local| local > 0) && !split && !damaged {
        object.verify("consecutiveLocalOriginFailures", |item| {
            item.error(
                "has an effect only where local errors are counted apart",
                "write splitExternalLocalOriginErrors: true",
            );
            Some(())
        });
    }
    let codes = object.list("outlierDetectionHttpErrorCodes");
    Some(OutlierDetection {
        consecutive_errors: whole("consecutiveErrors", MAX_INT).filter(|errors| *errors > 0),
        consecutive_gateway_errors: whole("consecutiveGatewayErrors", u32::MAX),
        consecutive_5xx_errors: whole("consecutive5xxErrors", u32::MAX),
        split_local_origin: split,
        consecutive_local_origin_failures: local,
        interval: object.get("interval").and_then(|item| item.duration()),
        base_ejection_time: object.get("baseEjectionTime").and_then(|item| item.duration()),
        max_ejection_percent: whole("maxEjectionPercent", 100).filter(|percent| *percent > 0),
        min_health_percent: whole("minHealthPercent", 100).unwrap_or_default(),
        error_codes: codes.iter().filter_map(|item| item.whole(100, 599).map(|code| code as u16)).collect(),
    })
}
