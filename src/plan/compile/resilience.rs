//! `fault`, `timeout`, `retries` and `mirror` of a rule, with the defaults that Istio puts in.

use std::time::Duration;

use crate::istio::model::virtual_service::{self as model, AbortStatus, MirrorCompare, Retries};
use crate::plan::{Compare, Forward, Mirror};
use crate::policy::fault::{Abort, AbortWith, Delay, Fault};
use crate::policy::retry::{RetryOn, RetryPolicy};
use crate::policy::share::FractionalPercent;

use super::rule::Rule;
use super::{Compiler, Scope};

/// Istio's own policy: two retries of requests that never reached the upstream, or were refused there.
const DEFAULT_ATTEMPTS: u32 = 2;
const DEFAULT_RETRY_ON: &[&str] =
    &["connect-failure", "refused-stream", "unavailable", "cancelled", "retriable-status-codes"];

/// Envoy's base of the back-off.
const DEFAULT_BACKOFF: Duration = Duration::from_millis(25);

impl<'w> Compiler<'w> {
    /// Adds the rule's faults, timeout, retries and mirrors.
    pub(super) fn resilience(&mut self, rule: &Rule<'w>, scope: Scope<'_>, forward: Forward) -> Forward {
        // With several destinations a retry may go to another one, so hashing does not keep it on its endpoint.
        let is_hashed = rule.rule.route.len() == 1 && !forward.hash_keys.is_empty();
        Forward {
            fault: rule.rule.fault.as_ref().and_then(fault).map(Box::new),
            timeout: rule.rule.timeout,
            retry: self.retry(rule.rule.retries.as_ref(), is_hashed),
            mirrors: self.mirrors(rule, scope),
            ..forward
        }
    }

    /// The rule's policy, else the mesh's, else Istio's.
    pub(super) fn retry(&self, of_rule: Option<&Retries>, is_hashed: bool) -> Option<Box<RetryPolicy>> {
        let written = of_rule.or(self.world.proxy.mesh_config.default_http_retry_policy.as_ref());
        let attempts = written.map_or(DEFAULT_ATTEMPTS, |policy| policy.attempts);
        let list = written.map(|policy| policy.retry_on.as_slice()).unwrap_or_default();
        let on = if list.is_empty() {
            retry_on(DEFAULT_RETRY_ON.iter().copied())
        } else {
            retry_on(list.iter().map(String::as_str))
        };
        (attempts > 0).then(|| {
            Box::new(RetryPolicy {
                attempts,
                per_try_timeout: written.and_then(|policy| policy.per_try_timeout),
                on,
                backoff: written.and_then(|policy| policy.backoff).unwrap_or(DEFAULT_BACKOFF),
                avoid_tried: written.and_then(|policy| policy.ignore_previous_hosts).unwrap_or(!is_hashed),
                other_priorities: written.is_some_and(|policy| policy.remote_localities),
            })
        })
    }

    fn mirrors(&mut self, rule: &Rule<'w>, scope: Scope<'_>) -> Box<[Mirror]> {
        let of_root = rule.root.as_ref().map(|root| root.service.mirror_compare).unwrap_or_default();
        let compare = match rule.service.mirror_compare {
            MirrorCompare::Nothing => of_root,
            own => own,
        };
        let compare = match compare {
            MirrorCompare::Nothing => Compare::Nothing,
            MirrorCompare::Status => Compare::Status,
            MirrorCompare::StatusAndBody => Compare::StatusAndBody,
        };
        let mirrors = rule.rule.mirroring.destinations().filter_map(|(_, to, percent)| {
            let share = FractionalPercent::percent(percent);
            (share > FractionalPercent::NONE).then(|| Mirror {
                target: self.destination(to, scope.port),
                share,
                compare,
            })
        });
        mirrors.collect()
    }
}

/// `None`: it never happens.
fn fault(fault: &model::Fault) -> Option<Fault> {
    let delay = fault.delay.map(|delay| Delay { by: delay.fixed, share: FractionalPercent::percent(delay.percent) });
    let abort = fault.abort.map(|abort| {
        let with = match abort.status {
            AbortStatus::Http(status) => AbortWith::Status(status),
            AbortStatus::Grpc(status) => AbortWith::Grpc(status),
        };
        Abort { with, share: FractionalPercent::percent(abort.percent) }
    });
    let delay = delay.filter(|delay| delay.share > FractionalPercent::NONE);
    let abort = abort.filter(|abort| abort.share > FractionalPercent::NONE);
    (delay.is_some() || abort.is_some()).then_some(Fault { delay, abort })
}

/// The conditions of `retryOn` that exist in HTTP/1.1. `retriable-status-codes` is implied by the list of codes.
fn retry_on<'c>(conditions: impl Iterator<Item = &'c str>) -> RetryOn {
    let mut on = RetryOn::default();
    let (mut statuses, mut grpc_statuses) = (Vec::new(), Vec::new());
    for condition in conditions {
        match condition {
            "5xx" => on.server_error = true,
            "gateway-error" => on.gateway_error = true,
            "reset" => on.reset = true,
            "reset-before-request" => on.reset_before_request = true,
            "connect-failure" => on.connect_failure = true,
            "retriable-4xx" => on.retriable_4xx = true,
            "envoy-ratelimited" => on.rate_limited = true,
            "cancelled" => grpc_statuses.push(1),
            "deadline-exceeded" => grpc_statuses.push(4),
            "resource-exhausted" => grpc_statuses.push(8),
            "internal" => grpc_statuses.push(13),
            "unavailable" => grpc_statuses.push(14),
            // Conditions of HTTP/2 and HTTP/3, or with lists that Istio's YAML has no field for.
            other => statuses.extend(other.parse::<u16>().ok()),
        }
    }
    statuses.sort_unstable();
    statuses.dedup();
    grpc_statuses.sort_unstable();
    grpc_statuses.dedup();
    RetryOn { statuses: statuses.into(), grpc_statuses: grpc_statuses.into(), ..on }
}
