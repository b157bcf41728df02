//! `timeout`, `retries`, `fault`, `mirror` and `mirrors`: not enforced yet, and checked all the same, so that a slip
//! inside one of them is found now.

use crate::istio::reader::{Item, Message, Object, did_you_mean, not_yet, not_yet_deprecated, removed};

use super::Destination;

const RETRY: Message = Message {
    name: "HTTPRetry",
    fields: &[
        not_yet("attempts"),
        not_yet("perTryTimeout"),
        not_yet("retryOn"),
        not_yet("retryRemoteLocalities"),
        not_yet("retryIgnorePreviousHosts"),
        not_yet("backoff"),
    ],
};

const FAULT: Message = Message { name: "HTTPFaultInjection", fields: &[not_yet("delay"), not_yet("abort")] };

const DELAY: Message = Message {
    name: "Delay",
    fields: &[
        not_yet("fixedDelay"),
        not_yet("percentage"),
        not_yet_deprecated("percent", "write \"percentage: {value: N}\""),
        removed("exponentialDelay", "Istio never implemented it: write \"fixedDelay\""),
    ],
};

const ABORT: Message = Message {
    name: "Abort",
    fields: &[
        not_yet("httpStatus"),
        not_yet("grpcStatus"),
        not_yet("percentage"),
        removed("http2Error", "Istio never implemented it: write \"httpStatus\""),
        removed("percent", "write \"percentage: {value: N}\""),
    ],
};

const PERCENT: Message = Message { name: "Percent", fields: &[not_yet("value")] };

const MIRROR: Message = Message { name: "HTTPMirrorPolicy", fields: &[not_yet("destination"), not_yet("percentage")] };

/// The tables of this file.
pub(in crate::istio) const MESSAGES: &[&Message] = &[&RETRY, &FAULT, &DELAY, &ABORT, &PERCENT, &MIRROR];

/// The conditions of `retryOn`, besides status codes (Istio's validation).
const RETRY_ON: &[&str] = &[
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "envoy-ratelimited",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

/// The names of gRPC's status codes.
const GRPC_STATUS: &[&str] = &[
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Checks these fields of a rule. `destination` reads a Destination.
pub(super) fn check(rule: &Object<'_>, destination: &dyn Fn(&Item<'_>) -> Option<Destination>) {
    rule.verify("timeout", Item::duration);
    rule.verify("retries", retries);
    rule.verify("fault", fault);
    rule.verify("mirror", destination);
    rule.verify("mirrorPercent", |item| item.whole(0, 100));
    rule.verify("mirrorPercentage", percentage);
    rule.verify_each("mirrors", |item| mirror(item, destination));
}

fn retries(item: &Item<'_>) -> Option<()> {
    let object = item.outline(&RETRY)?;
    let attempts = object.get("attempts").map_or(Some(0), |item| item.whole(0, i32::MAX as u32));
    if attempts == Some(0) && object.has_any(&["perTryTimeout", "retryOn", "retryRemoteLocalities"]) {
        item.error("sets how to retry, and no \"attempts\"", "write how many, or 0 alone for none");
    }
    object.verify("perTryTimeout", Item::duration);
    object.verify("backoff", Item::duration);
    object.verify("retryRemoteLocalities", Item::bool);
    object.verify("retryIgnorePreviousHosts", Item::bool);
    let list = object.get("retryOn")?;
    for condition in list.string()?.split(',').map(str::trim).filter(|condition| !condition.is_empty()) {
        let is_status = condition.parse().is_ok_and(|status: u16| (100..=599).contains(&status));
        if !is_status && !RETRY_ON.contains(&condition) {
            list.error(format!("\"{condition}\" is not a condition to retry on"), did_you_mean(condition, RETRY_ON));
        }
    }
    Some(())
}

fn fault(item: &Item<'_>) -> Option<()> {
    let object = item.outline(&FAULT)?;
    if !object.has_any(&["delay", "abort"]) {
        item.error("has no fault", "write \"delay\" or \"abort\"");
    }
    object.verify("delay", delay);
    object.verify("abort", abort);
    Some(())
}

fn delay(item: &Item<'_>) -> Option<()> {
    let object = item.outline(&DELAY)?;
    object.verify("fixedDelay", Item::duration);
    object.verify("percentage", percentage);
    object.verify("percent", |item| item.whole(0, 100));
    never_happens(&object, &["percentage", "percent"]);
    Some(())
}

fn abort(item: &Item<'_>) -> Option<()> {
    let object = item.outline(&ABORT)?;
    object.verify("percentage", percentage);
    object.verify("httpStatus", |item| item.whole(200, 599));
    object.verify("grpcStatus", |item| item.one_of(GRPC_STATUS));
    never_happens(&object, &["percentage"]);
    match (object.get("httpStatus"), object.get("grpcStatus")) {
        (Some(_), Some(grpc)) => grpc.error("stands beside \"httpStatus\"", "keep one of them"),
        (None, None) => item.warn("has no status, so it does nothing", "write \"httpStatus\""),
        _ => {}
    }
    Some(())
}

/// A fault of which the share is not written hits nobody: 0 is the default.
fn never_happens(object: &Object<'_>, shares: &[&str]) {
    if !object.has_any(shares) {
        let instead = "write \"percentage: {value: 100}\"";
        object.item.warn("never happens: its share of the requests is 0 by default", instead);
    }
}

fn mirror(item: &Item<'_>, destination: &dyn Fn(&Item<'_>) -> Option<Destination>) -> Option<()> {
    let object = item.outline(&MIRROR)?;
    object.verify("percentage", percentage);
    destination(&object.required("destination")?).map(drop)
}

fn percentage(item: &Item<'_>) -> Option<f64> {
    item.outline(&PERCENT)?.get("value")?.decimal(0.0, 100.0)
}
