//! A plan's handling of failures, in Envoy's terms: breakers, ejection, timeouts, retries, faults, mirrors.

use serde_json::{Value, json};

use super::{duration, shown_target};
use crate::plan::{Cluster, Compare, Forward, Plan, retry_conditions};
use crate::policy::fault::{AbortWith, Fault};
use crate::policy::outlier::Outlier;
use crate::policy::permits::BreakerLimits;
use crate::policy::retry::RetryPolicy;
use crate::policy::share::FractionalPercent;

/// Adds the policies of a cluster's connections: timeouts, circuit breaker, outlier detection.
pub(super) fn connections(shown: &mut Value, cluster: &Cluster) {
    if let Some(most) = cluster.max_requests {
        shown["max_requests_per_connection"] = most.get().into();
    }
    if let Some(age) = cluster.max_duration {
        shown["max_connection_duration"] = duration(age).into();
    }
    if let Some(keepalive) = cluster.keepalive {
        shown["upstream_connection_options"] = json!({"tcp_keepalive": {
            "keepalive_probes": keepalive.probes,
            "keepalive_time": keepalive.time.map(|time| time.as_secs()),
            "keepalive_interval": keepalive.interval.map(|time| time.as_secs()),
        }});
    }
    if cluster.limits != BreakerLimits::default() {
        shown["circuit_breakers"] = json!({"thresholds": [breaker(&cluster.limits)]});
    }
    if let Some(rule) = &cluster.outlier {
        shown["outlier_detection"] = outlier(rule);
        shown["common_lb_config"] = json!({"healthy_panic_threshold": {"value": rule.min_health_percent}});
    }
}

/// `null`: no limit.
fn breaker(limits: &BreakerLimits) -> Value {
    let mut shown = json!({
        "max_connections": limits.connections,
        "max_pending_requests": limits.pending,
        "max_requests": limits.requests,
        "max_retries": limits.retries,
    });
    if let Some(budget) = &limits.retry_budget {
        shown["retry_budget"] = json!({
            "budget_percent": {"value": budget.percent},
            "min_retry_concurrency": budget.min_concurrency,
            "budget_interval": duration(budget.interval),
        });
    }
    shown
}

fn outlier(rule: &Outlier) -> Value {
    let enforced = |threshold: u32| if threshold > 0 { 100 } else { 0 };
    let mut shown = json!({
        "consecutive_5xx": rule.consecutive_5xx,
        "enforcing_consecutive_5xx": enforced(rule.consecutive_5xx),
        "consecutive_gateway_failure": rule.consecutive_gateway,
        "enforcing_consecutive_gateway_failure": enforced(rule.consecutive_gateway),
        "split_external_local_origin_errors": rule.split_local_origin,
        "interval": duration(rule.interval),
        "base_ejection_time": duration(rule.base_ejection),
        "max_ejection_percent": rule.max_ejection_percent,
        "enforcing_success_rate": 0,
    });
    if rule.split_local_origin {
        shown["consecutive_local_origin_failure"] = rule.consecutive_local_origin.into();
        shown["enforcing_consecutive_local_origin_failure"] = enforced(rule.consecutive_local_origin).into();
    }
    if !rule.error_codes.is_empty() {
        shown["http_error_codes"] = rule.error_codes.to_vec().into();
    }
    shown
}

/// Adds timeout, retries and mirrors of a route; a timeout of 0 means no timeout, as in Envoy.
pub(super) fn retries_and_mirrors(shown: &mut Value, plan: &Plan, forward: &Forward) {
    shown["timeout"] = duration(forward.timeout.unwrap_or_default()).into();
    if let Some(policy) = &forward.retry {
        shown["retry_policy"] = retry_policy(policy);
    }
    let mirrors: Vec<Value> = forward
        .mirrors
        .iter()
        .map(|mirror| {
            let mut shown = shown_target(plan, &mirror.target);
            shown["runtime_fraction"] = json!({"default_value": fraction(mirror.share)});
            match mirror.compare {
                Compare::Nothing => {}
                Compare::Status => shown["compare"] = "status".into(),
                Compare::StatusAndBody => shown["compare"] = "body".into(),
            }
            shown
        })
        .collect();
    if !mirrors.is_empty() {
        shown["request_mirror_policies"] = mirrors.into();
    }
}

fn retry_policy(policy: &RetryPolicy) -> Value {
    let mut conditions = retry_conditions(&policy.on);
    if !policy.on.statuses.is_empty() {
        conditions.push("retriable-status-codes");
    }
    let mut shown = json!({
        "retry_on": conditions.join(","),
        "num_retries": policy.attempts,
        "retry_back_off": {
            "base_interval": duration(policy.backoff),
            "max_interval": duration(policy.backoff.saturating_mul(10)),
        },
    });
    if let Some(timeout) = policy.per_try_timeout {
        shown["per_try_timeout"] = duration(timeout).into();
    }
    if !policy.on.statuses.is_empty() {
        shown["retriable_status_codes"] = policy.on.statuses.to_vec().into();
    }
    if policy.avoid_tried {
        shown["retry_host_predicate"] = json!([{"name": "envoy.retry_host_predicates.previous_hosts"}]);
    }
    if policy.other_priorities {
        shown["retry_priority"] = json!({"name": "envoy.retry_priorities.previous_priorities"});
    }
    shown
}

/// Envoy's fault filter.
pub(super) fn fault(fault: &Fault) -> Value {
    let mut shown = json!({});
    if let Some(delay) = &fault.delay {
        shown["delay"] = json!({"fixed_delay": duration(delay.by), "percentage": fraction(delay.share)});
    }
    if let Some(abort) = &fault.abort {
        let (key, status) = match abort.with {
            AbortWith::Status(status) => ("http_status", status),
            AbortWith::Grpc(status) => ("grpc_status", u16::from(status)),
        };
        shown["abort"] = json!({key: status, "percentage": fraction(abort.share)});
    }
    shown
}

fn fraction(share: FractionalPercent) -> Value {
    json!({"numerator": share.per_million(), "denominator": "MILLION"})
}
