//! `retryOn` as it is written in YAML, from a compiled policy, for showing a plan.

use crate::policy::retry::RetryOn;

/// The names of gRPC's statuses that `retryOn` knows.
const GRPC: [(u8, &str); 5] =
    [(1, "cancelled"), (4, "deadline-exceeded"), (8, "resource-exhausted"), (13, "internal"), (14, "unavailable")];

/// The conditions that mean something for HTTP/1.1, in Envoy's order; the statuses are not among them.
#[must_use]
pub fn retry_conditions(on: &RetryOn) -> Vec<&'static str> {
    let flags = [
        (on.server_error, "5xx"),
        (on.gateway_error, "gateway-error"),
        (on.reset, "reset"),
        (on.reset_before_request, "reset-before-request"),
        (on.connect_failure, "connect-failure"),
        (on.retriable_4xx, "retriable-4xx"),
        (on.rate_limited, "envoy-ratelimited"),
    ];
    let grpc = GRPC.iter().map(|(status, name)| (on.grpc_statuses.contains(status), *name));
    flags.into_iter().chain(grpc).filter(|(is_set, _)| *is_set).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_read_as_they_are_written() {
        let on = RetryOn {
            server_error: true,
            connect_failure: true,
            statuses: [503].into(),
            grpc_statuses: [1, 14].into(),
            ..RetryOn::default()
        };
        assert_eq!(retry_conditions(&on), ["5xx", "connect-failure", "cancelled", "unavailable"]);
        assert!(retry_conditions(&RetryOn::default()).is_empty());
    }
}
