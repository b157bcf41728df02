//! A request's faults, timeout, retries and mirrors; breaker and ejection of a destination. All values are the effective
//! ones, with defaults.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use serde::Serialize;

use super::tls::Tls;
use crate::base::count::counted;
use crate::plan::{self, Compare, Forward, Keepalive, Plan, Target, retry_conditions};
use crate::policy::fault::{AbortWith, Fault};
use crate::policy::outlier::Outlier;
use crate::policy::permits::BreakerLimits;
use crate::policy::retry::RetryPolicy;

/// The handling of a request. Times are in seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tries {
    /// Held up before everything else.
    pub delay: Option<Delay>,
    /// Answered with an error, after the delay.
    pub abort: Option<Abort>,
    /// For all attempts together; `None`: no timeout.
    pub timeout: Option<f64>,
    /// `None`: no retries.
    pub retries: Option<Retries>,
    /// Where copies go.
    pub mirrors: Vec<Mirror>,
}

/// `fault.delay`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Delay {
    /// How long.
    pub seconds: f64,
    /// Of so many of the requests.
    pub percent: f64,
}

/// `fault.abort`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Abort {
    /// `httpStatus`.
    pub http_status: Option<u16>,
    /// `grpcStatus`, by its number.
    pub grpc_status: Option<u8>,
    /// Of so many of the requests.
    pub percent: f64,
}

/// `retries`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Retries {
    /// Retries after the first attempt.
    pub attempts: u32,
    /// The conditions of `retryOn` that have a meaning here, statuses after them.
    pub retry_on: Vec<String>,
    /// `None`: only the route's timeout.
    pub per_try_timeout: Option<f64>,
    /// The wait before the first retry is at most this; it doubles.
    pub backoff: f64,
    /// No wait is longer.
    pub longest_backoff: f64,
    /// Whether other endpoints are preferred.
    pub avoids_tried: bool,
    /// Whether other priorities are preferred.
    pub other_priorities: bool,
}

/// A mirror.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mirror {
    /// Istio's name of the cluster.
    pub cluster: String,
    /// Whether the configuration defines it; otherwise no request is mirrored.
    pub found: bool,
    /// Of so many of the requests.
    pub percent: f64,
    /// `status` or `body` if answers are compared.
    pub compares: Option<&'static str>,
}

/// The settings of a cluster's connections. Times are in seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Connections {
    /// For one to come up.
    pub connect_timeout: f64,
    /// Idle timeout; `None`: never.
    pub idle_timeout: Option<f64>,
    /// Requests until it is closed.
    pub max_requests: Option<u32>,
    /// Age at which it is closed.
    pub max_duration: Option<f64>,
    /// Their TLS settings; `None`: plain connections.
    pub tls: Option<Tls>,
    /// Whether the kernel probes them, and how where the policy says.
    pub keepalive: Option<Probes>,
    /// The breaker.
    pub breaker: Breaker,
    /// `outlierDetection`.
    pub ejection: Option<Ejection>,
}

/// `tcpKeepalive`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Probes {
    /// Unanswered ones after which a connection is dead.
    pub probes: Option<u32>,
    /// Quiet time before the first.
    pub time: Option<f64>,
    /// Time between them.
    pub interval: Option<f64>,
}

/// Limits of a cluster; `None`: no limit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Breaker {
    /// Connections.
    pub connections: Option<u32>,
    /// Requests that wait for a connection.
    pub pending_requests: Option<u32>,
    /// Requests under way.
    pub requests: Option<u32>,
    /// Retries under way.
    pub retries: Option<u32>,
    /// Active retries in percent of the requests, which replace `retries`, and the minimum limit.
    pub retry_budget: Option<(f64, u32)>,
}

/// When endpoints are ejected.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ejection {
    /// Responses of 500 and more, or missing ones, in a row; `None`: they do not eject.
    pub consecutive_5xx: Option<u32>,
    /// 502, 503, 504, or no answer, in a row.
    pub consecutive_gateway: Option<u32>,
    /// No answers in a row, where they are counted apart.
    pub consecutive_local_origin: Option<u32>,
    /// The statuses that count instead of 500 and more.
    pub error_codes: Vec<u16>,
    /// Time of the first ejection; each further one is longer.
    pub seconds: f64,
    /// Time between two sweeps, which end ejections.
    pub interval: f64,
    /// The largest part of the endpoints that may be ejected.
    pub max_percent: u32,
    /// How many endpoints that is.
    pub max_endpoints: usize,
    /// With less healthy ones ejections are ignored.
    pub min_health_percent: u32,
}

impl Tries {
    pub(super) fn of(plan: &Plan, forward: &Forward) -> Self {
        let Fault { delay, abort } = forward.fault.as_deref().cloned().unwrap_or(Fault { delay: None, abort: None });
        Self {
            delay: delay.map(|delay| Delay { seconds: delay.by.as_secs_f64(), percent: delay.share.as_percent() }),
            abort: abort.map(|abort| {
                let (http_status, grpc_status) = match abort.with {
                    AbortWith::Status(status) => (Some(status), None),
                    AbortWith::Grpc(status) => (None, Some(status)),
                };
                Abort { http_status, grpc_status, percent: abort.share.as_percent() }
            }),
            timeout: seconds(forward.timeout),
            retries: forward.retry.as_deref().map(|policy| Retries::of(policy, forward.timeout)),
            mirrors: forward.mirrors.iter().map(|mirror| Mirror::of(plan, mirror)).collect(),
        }
    }
}

impl Retries {
    /// A timeout per attempt that is not shorter than the route's has no effect.
    fn of(policy: &RetryPolicy, timeout: Option<Duration>) -> Self {
        let shorter = |own: &Duration| timeout.is_none_or(|timeout| *own < timeout);
        let conditions = retry_conditions(&policy.on).into_iter().map(str::to_owned);
        Self {
            attempts: policy.attempts,
            retry_on: conditions.chain(policy.on.statuses.iter().map(u16::to_string)).collect(),
            per_try_timeout: seconds(policy.per_try_timeout.filter(shorter)),
            backoff: policy.backoff.as_secs_f64(),
            longest_backoff: policy.backoff.saturating_mul(10).as_secs_f64(),
            avoids_tried: policy.avoid_tried,
            other_priorities: policy.other_priorities,
        }
    }
}

impl Mirror {
    fn of(plan: &Plan, mirror: &plan::Mirror) -> Self {
        let (cluster, found) = match &mirror.target {
            Target::Known(id) => (plan.cluster(*id).map(|found| found.name.clone()).unwrap_or_default(), true),
            Target::Missing(name) => (name.to_string(), false),
        };
        let compares = match mirror.compare {
            Compare::Nothing => None,
            Compare::Status => Some("status"),
            Compare::StatusAndBody => Some("body"),
        };
        Self { cluster, found, percent: mirror.share.as_percent(), compares }
    }
}

impl Connections {
    pub(super) fn of(cluster: &plan::Cluster) -> Self {
        let probes = |keepalive: Keepalive| Probes {
            probes: keepalive.probes,
            time: seconds(keepalive.time),
            interval: seconds(keepalive.interval),
        };
        let BreakerLimits { connections, pending, requests, retries, retry_budget } = cluster.limits;
        Self {
            connect_timeout: cluster.connect_timeout.as_secs_f64(),
            idle_timeout: seconds(cluster.idle_timeout),
            max_requests: cluster.max_requests.map(std::num::NonZero::get),
            max_duration: seconds(cluster.max_duration),
            tls: cluster.tls.as_deref().map(Tls::of),
            keepalive: cluster.keepalive.map(probes),
            breaker: Breaker {
                connections,
                pending_requests: pending,
                requests,
                // A budget replaces it.
                retries: retries.filter(|_| retry_budget.is_none()),
                retry_budget: retry_budget.map(|budget| (budget.percent, budget.min_concurrency)),
            },
            ejection: cluster.outlier.as_ref().map(|rule| Ejection::of(rule, cluster.endpoints.len())),
        }
    }
}

impl Ejection {
    fn of(rule: &Outlier, endpoints: usize) -> Self {
        let threshold = |errors: u32| Some(errors).filter(|errors| *errors > 0);
        Self {
            consecutive_5xx: threshold(rule.consecutive_5xx),
            consecutive_gateway: threshold(rule.consecutive_gateway),
            consecutive_local_origin: threshold(rule.consecutive_local_origin).filter(|_| rule.split_local_origin),
            error_codes: rule.error_codes.to_vec(),
            seconds: rule.base_ejection.as_secs_f64(),
            interval: rule.interval.as_secs_f64(),
            max_percent: rule.max_ejection_percent,
            max_endpoints: endpoints * rule.max_ejection_percent as usize / 100,
            min_health_percent: rule.min_health_percent,
        }
    }
}

fn seconds(time: Option<Duration>) -> Option<f64> {
    time.map(|time| time.as_secs_f64())
}

/// A time as text.
struct Time(f64);

impl Display for Time {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0 < 1.0 { write!(f, "{} ms", (self.0 * 1e6).round() / 1e3) } else { write!(f, "{} s", self.0) }
    }
}

/// The lines of each label.
type Lines = Vec<(&'static str, Vec<String>)>;

impl Tries {
    pub(super) fn lines(&self) -> Lines {
        let mut faults = Vec::new();
        if let Some(Delay { seconds, percent }) = &self.delay {
            faults.push(format!(
                "a delay of {} for {percent}% of the requests, before the timeout begins",
                Time(*seconds)
            ));
        }
        if let Some(Abort { http_status, grpc_status, percent }) = &self.abort {
            let with = match (http_status, grpc_status) {
                (Some(status), _) => status.to_string(),
                (None, status) => format!("gRPC status {}", status.unwrap_or_default()),
            };
            faults.push(format!("{with} for {percent}% of the requests"));
        }
        let timeout = self.timeout.map(|timeout| format!("{} for all tries together", Time(timeout)));
        let mirrors = self.mirrors.iter().map(|mirror| {
            let what = match mirror.compares {
                _ if !mirror.found => ": there is no such service, port or subset, so nothing is sent",
                None => "",
                Some("body") => ", statuses and bodies of the answers are compared",
                Some(_) => ", statuses of the answers are compared",
            };
            format!("{}% to {}{what}", mirror.percent, mirror.cluster)
        });
        vec![
            ("faults", faults),
            ("timeout", timeout.into_iter().collect()),
            ("retries", self.retries.as_ref().map(Retries::lines).unwrap_or_default()),
            ("mirror", mirrors.collect()),
        ]
    }
}

impl Retries {
    fn lines(&self) -> Vec<String> {
        let on =
            if self.retry_on.is_empty() { "nothing that HTTP/1.1 has".to_owned() } else { self.retry_on.join(", ") };
        let each = self.per_try_timeout.map(|timeout| format!("each try within {}", Time(timeout)));
        let endpoints = if self.avoids_tried { "other endpoints first" } else { "any endpoint" };
        let priorities = if self.other_priorities { ", other localities first" } else { "" };
        let waits = format!(
            "after up to {}, doubling up to {}; {endpoints}{priorities}",
            Time(self.backoff),
            Time(self.longest_backoff)
        );
        [Some(format!("up to {}, on {on}", self.attempts)), each, Some(waits)].into_iter().flatten().collect()
    }
}

impl Connections {
    pub(super) fn lines(&self) -> Lines {
        let requests = self.max_requests.map(|most| counted(most, "request"));
        let age = self.max_duration.map(|age| format!("{} of age", Time(age)));
        let idle = self.idle_timeout.map(|idle| format!("{} unused", Time(idle)));
        let ends: Vec<_> = [requests, age, idle].into_iter().flatten().collect();
        let ends =
            if ends.is_empty() { "never closed".to_owned() } else { format!("closed after {}", ends.join(", ")) };
        let probes = self.keepalive.as_ref().map(Probes::words);
        let connect = ("  connect", vec![format!("within {}", Time(self.connect_timeout))]);
        let tls = self.tls.as_ref().map(|tls| ("  tls", tls.lines()));
        let others = [
            ("  connections", [Some(ends), probes].into_iter().flatten().collect()),
            ("  breaker", self.breaker.lines()),
            ("  ejection", self.ejection.as_ref().map(Ejection::lines).unwrap_or_default()),
        ];
        [connect].into_iter().chain(tls).chain(others).collect()
    }
}

impl Probes {
    fn words(&self) -> String {
        let time = self.time.map(|time| format!("after {} of silence", Time(time)));
        let interval = self.interval.map(|time| format!("every {}", Time(time)));
        let probes = self.probes.map(|probes| format!("dead after {probes} without an answer"));
        let said: Vec<_> = [time, interval, probes].into_iter().flatten().collect();
        if said.is_empty() {
            "probed as the kernel does by default".to_owned()
        } else {
            format!("probed {}", said.join(", "))
        }
    }
}

impl Breaker {
    fn lines(&self) -> Vec<String> {
        let limits = [
            self.connections.map(|most| counted(most, "connection")),
            self.pending_requests.map(|most| counted(most, "pending request")),
            self.requests.map(|most| counted(most, "request")),
            self.retries.map(|most| counted(most, "retry")),
        ];
        let limits: Vec<_> = limits.into_iter().flatten().collect();
        let budget = self
            .retry_budget
            .map(|(percent, least)| format!("retries up to {percent}% of the requests under way, {least} in any case"));
        let limits = (!limits.is_empty()).then(|| format!("at most {} at a time", limits.join(", ")));
        limits.into_iter().chain(budget).collect()
    }
}

impl Ejection {
    fn lines(&self) -> Vec<String> {
        let errors = match self.error_codes.as_slice() {
            [] => "500 and more".to_owned(),
            codes => codes.iter().map(u16::to_string).collect::<Vec<_>>().join(", "),
        };
        let answers = if self.consecutive_local_origin.is_some() { "" } else { " or no answer" };
        let reasons = [
            self.consecutive_5xx.map(|count| format!("{count} of {errors}{answers}")),
            self.consecutive_gateway.map(|count| format!("{count} of 502, 503, 504{answers}")),
            self.consecutive_local_origin.map(|count| format!("{count} without an answer")),
        ];
        let reasons: Vec<_> = reasons.into_iter().flatten().collect();
        if reasons.is_empty() {
            return vec!["never: every threshold is 0".to_owned()];
        }
        let reasons = format!("each endpoint by itself, after {} in a row", reasons.join(", or "));
        let time = format!("for {}, longer each time; looked at every {}", Time(self.seconds), Time(self.interval));
        let share = if self.max_endpoints == 0 {
            format!("at most {}%, which is less than one endpoint: nobody is ever ejected", self.max_percent)
        } else {
            format!("at most {}%: {} of them", self.max_percent, self.max_endpoints)
        };
        let health = (self.min_health_percent > 0)
            .then(|| format!("ignored with less than {}% healthy", self.min_health_percent));
        [Some(reasons), Some(time), Some(share), health].into_iter().flatten().collect()
    }
}
