//! Faults, timeouts, retries, mirrors; connection pools and ejection.

use super::*;
use crate::istio::model::destination_rule::{ClientTls, RetryBudget};
use crate::istio::model::virtual_service::{Abort, AbortStatus, Delay, Fault, MirrorCompare, Mirroring};

fn rule(fields: &str) -> HttpRoute {
    virtual_service(&format!("  - {{{fields}, route: [{{destination: {{host: b.com}}}}]}}\n")).virtual_services[0].http
        [0]
    .clone()
}

fn to(host: &str) -> Destination {
    Destination { host: host.to_owned(), subset: None, port: None }
}

const NO_MORE: Retries = Retries {
    attempts: 0,
    per_try_timeout: None,
    retry_on: Vec::new(),
    remote_localities: false,
    ignore_previous_hosts: None,
    backoff: None,
};

#[test]
fn timeouts_and_retries() {
    let all = rule(
        "timeout: 1.5s, retries: {attempts: 3, perTryTimeout: 2s, retryOn: ' 5xx ,503,, reset', backoff: 10ms, \
         retryRemoteLocalities: true, retryIgnorePreviousHosts: false}",
    );
    assert_eq!(all.timeout, Some(Duration::from_millis(1500)));
    assert_eq!(
        all.retries,
        Some(Retries {
            attempts: 3,
            per_try_timeout: Some(Duration::from_secs(2)),
            retry_on: ["5xx", "503", "reset"].map(str::to_owned).to_vec(),
            remote_localities: true,
            ignore_previous_hosts: Some(false),
            backoff: Some(Duration::from_millis(10)),
        })
    );
    assert_eq!(rule("retries: {attempts: 2}").retries, Some(Retries { attempts: 2, ..NO_MORE }));
    assert_eq!(rule("retries: {}").retries, Some(NO_MORE));
    assert_eq!(rule("name: none").retries, None);
}

#[test]
fn faults() {
    let delay = |fixed: u64, percent| Some(Delay { fixed: Duration::from_secs(fixed), percent });
    let abort = |status, percent| Some(Abort { status, percent });
    let teapot = AbortStatus::Http(418);
    for (text, expected) in [
        ("delay: {fixedDelay: 5s, percent: 100}", Fault { delay: delay(5, 100.0), abort: None }),
        ("delay: {fixed_delay: 5s, percentage: {value: 0.5}}", Fault { delay: delay(5, 0.5), abort: None }),
        // The newer field counts, even where it says 0.
        ("delay: {fixedDelay: 5s, percentage: {}, percent: 9}", Fault { delay: delay(5, 0.0), abort: None }),
        ("delay: {fixedDelay: 5s}", Fault { delay: delay(5, 0.0), abort: None }),
        ("delay: {percent: 9}", Fault { delay: None, abort: None }),
        ("abort: {httpStatus: 418, percentage: {value: 0.0001}}", Fault { delay: None, abort: abort(teapot, 0.0001) }),
        ("abort: {httpStatus: 418}", Fault { delay: None, abort: abort(teapot, 0.0) }),
        (
            "delay: {fixedDelay: 1s, percentage: {value: 50}}, abort: {grpcStatus: UNAVAILABLE, percentage: {value: 1}}",
            Fault { delay: delay(1, 50.0), abort: abort(AbortStatus::Grpc(14), 1.0) },
        ),
        ("abort: {percentage: {value: 1}}", Fault { delay: None, abort: None }),
    ] {
        assert_eq!(rule(&format!("fault: {{{text}}}")).fault, Some(expected), "{text}");
    }
}

#[test]
fn mirrors() {
    for (text, expected) in [
        ("name: none", vec![]),
        ("mirror: {host: c.com}", vec![("mirror", "c.com", 100.0)]),
        ("mirror: {host: c.com}, mirror_percent: 30", vec![("mirror", "c.com", 30.0)]),
        ("mirror: {host: c.com}, mirrorPercent: 30, mirrorPercentage: {}", vec![("mirror", "c.com", 0.0)]),
        ("mirror: {host: c.com}, mirrorPercentage: {value: 0.25}", vec![("mirror", "c.com", 0.25)]),
        (
            "mirrors: [{destination: {host: c.com}}, {destination: {host: d.com}, percentage: {value: 5}}]",
            vec![("mirrors[0].destination", "c.com", 100.0), ("mirrors[1].destination", "d.com", 5.0)],
        ),
    ] {
        let mirroring = rule(text).mirroring;
        let found: Vec<_> = mirroring.destinations().map(|(path, to, percent)| (path, to.clone(), percent)).collect();
        let expected: Vec<_> =
            expected.into_iter().map(|(path, host, percent)| (path.to_owned(), to(host), percent)).collect();
        assert_eq!(found, expected, "{text}");
    }
    assert_eq!(rule("name: none").mirroring, Mirroring::default());
}

#[test]
fn what_of_mirrors_is_compared() {
    for (annotations, expected) in [
        ("{}", MirrorCompare::Nothing),
        ("{ringway.dev/mirror-compare: 'true'}", MirrorCompare::Status),
        ("{ringway.dev/mirror-compare: body}", MirrorCompare::StatusAndBody),
    ] {
        let world = good(&format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v, annotations: \
             {annotations}}}\nspec: {{hosts: [a.com], http: [{{route: [{{destination: {{host: b.com}}}}]}}]}}\n"
        ));
        assert_eq!(world.virtual_services[0].mirror_compare, expected, "{annotations}");
    }
}

fn policy(text: &str) -> TrafficPolicy {
    let rule = format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: d}}\nspec:\n  host: a.com\n  \
         trafficPolicy: {{{text}}}\n"
    );
    good(&rule).destination_rules[0].traffic_policy.clone()
}

#[test]
fn connection_pools() {
    let all = policy(
        "connectionPool: {tcp: {maxConnections: 1, connectTimeout: 30ms, tcpKeepalive: {probes: 3, time: 7200s, \
         interval: 75s}, maxConnectionDuration: 1h, idleTimeout: 0s}, http: {http1MaxPendingRequests: 2, \
         http2MaxRequests: 3, maxRequestsPerConnection: 4, maxRetries: 5, idleTimeout: 6s, h2UpgradePolicy: \
         DO_NOT_UPGRADE}}",
    );
    assert_eq!(
        all.connection_pool,
        Some(ConnectionPool {
            max_connections: Some(1),
            connect_timeout: Some(Duration::from_millis(30)),
            tcp_keepalive: Some(TcpKeepalive {
                probes: Some(3),
                time: Some(Duration::from_secs(7200)),
                interval: Some(Duration::from_secs(75)),
            }),
            max_connection_duration: Some(Duration::from_secs(3600)),
            tcp_idle_timeout: Some(Duration::ZERO),
            http_idle_timeout: Some(Duration::from_secs(6)),
            max_pending_requests: Some(2),
            max_requests: Some(3),
            max_requests_per_connection: Some(4),
            max_retries: Some(5),
        })
    );
    // 0 is the default.
    let none = policy(
        "connectionPool: {tcp: {maxConnections: 0}, http: {http1MaxPendingRequests: 0, http2MaxRequests: 0, \
         maxRequestsPerConnection: 0, maxRetries: 0}}",
    );
    assert_eq!(none.connection_pool, Some(ConnectionPool::default()));
    let keepalive = policy("connectionPool: {tcp: {tcpKeepalive: {}}}").connection_pool;
    assert_eq!(keepalive.and_then(|pool| pool.tcp_keepalive), Some(TcpKeepalive::default()));
    let ports = policy(
        "portLevelSettings: [{port: {number: 80}, connectionPool: {http: {maxRetries: 7}}, outlierDetection: \
         {consecutive5xxErrors: 2}}]",
    )
    .ports;
    assert_eq!(ports[0].connection_pool.as_ref().and_then(|pool| pool.max_retries), Some(7));
    assert_eq!(ports[0].outlier_detection.as_ref().and_then(|rule| rule.consecutive_5xx_errors), Some(2));
}

#[test]
fn outlier_detection() {
    let rule = |text: &str| policy(&format!("outlierDetection: {{{text}}}")).outlier_detection;
    assert_eq!(rule(""), Some(OutlierDetection::default()));
    assert_eq!(
        rule(
            "consecutiveErrors: 1, consecutiveGatewayErrors: 2, consecutive5xxErrors: 0, interval: 1s, \
             baseEjectionTime: 3m, maxEjectionPercent: 100, minHealthPercent: 50, splitExternalLocalOriginErrors: \
             true, consecutiveLocalOriginFailures: 4, outlierDetectionHttpErrorCodes: [500, 429]"
        ),
        Some(OutlierDetection {
            consecutive_errors: Some(1),
            consecutive_gateway_errors: Some(2),
            consecutive_5xx_errors: Some(0),
            split_local_origin: true,
            consecutive_local_origin_failures: Some(4),
            interval: Some(Duration::from_secs(1)),
            base_ejection_time: Some(Duration::from_secs(180)),
            max_ejection_percent: Some(100),
            min_health_percent: 50,
            error_codes: vec![500, 429],
        })
    );
    assert_eq!(rule("consecutiveErrors: 0, maxEjectionPercent: 0"), Some(OutlierDetection::default()));
}

#[test]
fn retry_budgets() {
    let budget = |text: &str| policy(&format!("retryBudget: {{{text}}}")).retry_budget;
    let default = RetryBudget { percent: 20.0, min_retry_concurrency: 3, budget_interval: Duration::ZERO };
    assert_eq!(budget(""), Some(default));
    assert_eq!(
        budget("percent: 0.5, minRetryConcurrency: 0, budgetInterval: 10s"),
        Some(RetryBudget { percent: 0.5, min_retry_concurrency: 0, budget_interval: Duration::from_secs(10) })
    );
}

/// What is done anyway may be written.
#[test]
fn what_a_plain_connection_is_may_be_said() {
    assert_eq!(policy("tls: {mode: DISABLE}"), TrafficPolicy { tls: Some(ClientTls::Disabled), ..Default::default() });
    let pool = policy("connectionPool: {http: {h2UpgradePolicy: DEFAULT}}").connection_pool;
    assert_eq!(pool, Some(ConnectionPool::default()));
}
