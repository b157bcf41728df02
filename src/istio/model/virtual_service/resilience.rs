//! `retries`, `fault`, `mirror` and `mirrors` of a rule: the handling of failures, and deliberate ones.

use std::time::Duration;

use crate::istio::reader::{Item, Message, Object, deprecated, did_you_mean, enforced, removed};

use super::Destination;

/// `retries`, also `meshConfig.defaultHttpRetryPolicy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retries {
    /// `attempts`: retries after the first attempt; 0: no retries.
    pub attempts: u32,
    /// `perTryTimeout`.
    pub per_try_timeout: Option<Duration>,
    /// `retryOn`: its conditions in order, statuses among them; empty: the default.
    pub retry_on: Vec<String>,
    /// `retryRemoteLocalities`.
    pub remote_localities: bool,
    /// `retryIgnorePreviousHosts`; `None`: unless requests are hashed.
    pub ignore_previous_hosts: Option<bool>,
    /// `backoff`: the base; `None`: 25 ms.
    pub backoff: Option<Duration>,
}

/// `fault`.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// `delay`; `None` also without a `fixedDelay`.
    pub delay: Option<Delay>,
    /// `abort`; `None` also without a status.
    pub abort: Option<Abort>,
}

/// `fault.delay`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Delay {
    /// `fixedDelay`.
    pub fixed: Duration,
    /// `percentage`, else the older `percent`, else 0.
    pub percent: f64,
}

/// `fault.abort`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Abort {
    /// `httpStatus` or `grpcStatus`.
    pub status: AbortStatus,
    /// `percentage`; 0 when absent.
    pub percent: f64,
}

/// The response of an abort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AbortStatus {
    /// `httpStatus`.
    Http(u16),
    /// `grpcStatus`, by its number.
    Grpc(u8),
}

/// The mirrors of a rule. The fields are separate because a delegate takes each of them from its root.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mirroring {
    /// `mirror`.
    pub mirror: Option<Destination>,
    /// `mirrorPercent`, whole percents.
    pub percent: Option<u32>,
    /// `mirrorPercentage`; goes before `mirrorPercent`.
    pub percentage: Option<f64>,
    /// `mirrors`: each with its `percentage`, 100 when absent.
    pub mirrors: Vec<(Destination, f64)>,
}

impl Mirroring {
    /// All destinations with the percentage of the requests that each gets, and the path of each within the rule.
    pub fn destinations(&self) -> impl Iterator<Item = (String, &Destination, f64)> {
        let percent = self.percentage.or(self.percent.map(f64::from)).unwrap_or(100.0);
        let one = self.mirror.iter().map(move |to| ("mirror".to_owned(), to, percent));
        let several = self.mirrors.iter().enumerate();
        one.chain(several.map(|(index, (to, percent))| (format!("mirrors[{index}].destination"), to, *percent)))
    }
}

/// Annotation `ringway.dev/mirror-compare`: how much of a mirror's answer is compared with the client's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MirrorCompare {
    /// Absent.
    #[default]
    Nothing,
    /// `"true"`.
    Status,
    /// `"body"`.
    StatusAndBody,
}

const RETRY: Message = Message {
    name: "HTTPRetry",
    fields: &[
        enforced("attempts"),
        enforced("perTryTimeout"),
        enforced("retryOn"),
        enforced("retryRemoteLocalities"),
        enforced("retryIgnorePreviousHosts"),
        enforced("backoff"),
    ],
};

const FAULT: Message = Message { name: "HTTPFaultInjection", fields: &[enforced("delay"), enforced("abort")] };

const DELAY: Message = Message {
    name: "Delay",
    fields: &[
        enforced("fixedDelay"),
        enforced("percentage"),
        deprecated("percent", "write \"percentage: {value: N}\""),
        removed("exponentialDelay", "Istio never implemented it: write \"fixedDelay\""),
    ],
};

const ABORT: Message = Message {
    name: "Abort",
    fields: &[
        enforced("httpStatus"),
        enforced("grpcStatus"),
        enforced("percentage"),
        removed("http2Error", "Istio never implemented it: write \"httpStatus\""),
        removed("percent", "write \"percentage: {value: N}\""),
    ],
};

const PERCENT: Message = Message { name: "Percent", fields: &[enforced("value")] };

const MIRROR: Message =
    Message { name: "HTTPMirrorPolicy", fields: &[enforced("destination"), enforced("percentage")] };

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

/// The values of these fields.
pub(super) struct Resilience {
    pub(super) timeout: Option<Duration>,
    pub(super) retries: Option<Retries>,
    pub(super) fault: Option<Fault>,
    pub(super) mirroring: Mirroring,
}

/// Reads these fields of a rule. `destination` reads a Destination.
pub(super) fn read(rule: &Object<'_>, destination: &dyn Fn(&Item<'_>) -> Option<Destination>) -> Resilience {
    let items = rule.list("mirrors");
    Resilience {
        timeout: rule.get("timeout").and_then(|item| item.duration()),
        retries: rule.get("retries").and_then(|item| retries(&item)),
        fault: rule.get("fault").and_then(|item| fault(&item)),
        mirroring: Mirroring {
            mirror: rule.get("mirror").and_then(|item| destination(&item)),
            percent: rule.get("mirrorPercent").and_then(|item| item.whole(0, 100)),
            percentage: rule.get("mirrorPercentage").map(|item| percentage(&item).unwrap_or_default()),
            mirrors: items.iter().filter_map(|item| mirror(item, destination)).collect(),
        },
    }
}

/// The placeholder for a number that cannot be read: not 0, so that the other fields of retries are checked.
const SOME_ATTEMPTS: u32 = 2;

/// Reads an HTTPRetry.
pub(in crate::istio) fn retries(item: &Item<'_>) -> Option<Retries> {
    let object = item.object(&RETRY)?;
    let written = object.get("attempts");
    let attempts = written.as_ref().map_or(Some(0), |item| item.whole(0, i32::MAX as u32));
    let attempts = attempts.filter(|_| !object.is_damaged("attempts"));
    if attempts == Some(0) && object.has_any(&["perTryTimeout", "retryOn", "retryRemoteLocalities"]) {
        item.error("sets how to retry, and no \"attempts\"", "write how many, or 0 alone for none");
    }
    Some(Retries {
        attempts: attempts.unwrap_or(SOME_ATTEMPTS),
        per_try_timeout: object.get("perTryTimeout").and_then(|item| item.duration()),
        retry_on: object.get("retryOn").map(|item| retry_on(&item)).unwrap_or_default(),
        remote_localities: object.get("retryRemoteLocalities").and_then(|item| item.bool()).unwrap_or_default(),
        ignore_previous_hosts: object.get("retryIgnorePreviousHosts").and_then(|item| item.bool()),
        backoff: object.get("backoff").and_then(|item| item.duration()),
    })
}

fn retry_on(item: &Item<'_>) -> Vec<String> {
    let mut known = Vec::new();
    let text = item.string().unwrap_or_default();
    for condition in text.split(',').map(str::trim).filter(|condition| !condition.is_empty()) {
        let is_status = condition.parse().is_ok_and(is_known_status);
        if is_status || RETRY_ON.contains(&condition) {
            known.push(condition.to_owned());
        } else {
            item.error(format!("\"{condition}\" is not a condition to retry on"), did_you_mean(condition, RETRY_ON));
        }
    }
    known
}

/// Whether Go has a text for it, which Istio asks for.
fn is_known_status(status: u16) -> bool {
    matches!(
        status,
        100..=103 | 200..=208 | 226 | 300..=305 | 307 | 308 | 400..=418 | 421..=426 | 428 | 429 | 431 | 451 | 500..=508 | 510 | 511
    )
}

fn fault(item: &Item<'_>) -> Option<Fault> {
    let object = item.object(&FAULT)?;
    if !object.has_any(&["delay", "abort"]) && !item.is_damaged() {
        item.error("has no fault", "write \"delay\" or \"abort\"");
    }
    Some(Fault {
        delay: object.get("delay").and_then(|item| delay(&item)),
        abort: object.get("abort").and_then(|item| abort(&item)),
    })
}

fn delay(item: &Item<'_>) -> Option<Delay> {
    let object = item.object(&DELAY)?;
    let fixed = object.get("fixedDelay").map(|item| item.duration());
    let share = object.get("percentage").map(|item| share(&item));
    let older = object.get("percent").and_then(|item| item.whole(0, 100)).map(f64::from);
    never_happens(&object, &["percentage", "percent"]);
    if fixed.is_none() && !object.has_any(&["exponentialDelay"]) && !object.is_damaged("fixedDelay") {
        item.warn("has no time, so it does nothing", "write \"fixedDelay\"");
    }
    Some(Delay { fixed: fixed??, percent: share.or(older).unwrap_or_default() })
}

fn abort(item: &Item<'_>) -> Option<Abort> {
    let object = item.object(&ABORT)?;
    let percent = object.get("percentage").map(|item| share(&item)).unwrap_or_default();
    let http = object.get("httpStatus").map(|item| item.whole(200, 599));
    let grpc = object.get("grpcStatus").map(|item| item.one_of(GRPC_STATUS));
    never_happens(&object, &["percentage"]);
    match (object.get("httpStatus"), object.get("grpcStatus")) {
        (Some(_), Some(grpc)) => grpc.error("stands beside \"httpStatus\"", "keep one of them"),
        (None, None) if object.is_damaged("httpStatus") || object.is_damaged("grpcStatus") => {}
        (None, None) => item.warn("has no status, so it does nothing", "write \"httpStatus\""),
        _ => {}
    }
    let status = match (http, grpc) {
        (Some(status), _) => AbortStatus::Http(status? as u16),
        (None, grpc) => {
            let name = grpc??;
            AbortStatus::Grpc(GRPC_STATUS.iter().position(|known| *known == name)? as u8)
        }
    };
    Some(Abort { status, percent })
}

/// Warns about a fault without a percentage: the default is 0, so it never happens.
fn never_happens(object: &Object<'_>, shares: &[&str]) {
    if !object.has_any(shares) && !shares.iter().any(|share| object.is_damaged(share)) {
        let instead = "write \"percentage: {value: 100}\"";
        object.item.warn("never happens: its share of the requests is 0 by default", instead);
    }
}

fn mirror(item: &Item<'_>, destination: &dyn Fn(&Item<'_>) -> Option<Destination>) -> Option<(Destination, f64)> {
    let object = item.object(&MIRROR)?;
    let percent = object.get("percentage").map(|item| percentage(&item).unwrap_or_default());
    Some((destination(&object.required("destination")?)?, percent.unwrap_or(100.0)))
}

/// A Percent of which less than the smallest part that counts is a mistake.
fn share(item: &Item<'_>) -> f64 {
    let value = percentage(item).unwrap_or_default();
    if value > 0.0 && value < SMALLEST_PERCENT {
        item.error(format!("{value} is less than {SMALLEST_PERCENT}, so it never happens"), "");
    }
    value
}

/// Smallest share of requests that a fault can have, in percent: one in a million.
const SMALLEST_PERCENT: f64 = 0.0001;

/// `None`: absent, which is 0, or invalid.
fn percentage(item: &Item<'_>) -> Option<f64> {
    item.object(&PERCENT)?.get("value")?.decimal(0.0, 100.0)
}
