//! Faults, timeouts, retries and mirrors of rules; connection pools and ejection of clusters, and what goes before what.

use std::time::Duration;

use super::*;
use crate::plan::{Action, Cluster, Compare, Forward, Keepalive, Mirror};
use crate::policy::fault::{Abort, AbortWith, Delay, Fault};
use crate::policy::outlier::Outlier;
use crate::policy::permits::{BreakerLimits, RetryBudget};
use crate::policy::retry::{RetryOn, RetryPolicy};
use crate::policy::share::FractionalPercent;

const SUBSETS: &str = "subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]";

fn mesh_config(text: &str) -> String {
    format!(
        "---\napiVersion: ringway.dev/v1\nkind: Proxy\nmetadata: {{name: p}}\nspec: {{mesh: {{listen: \
         '127.0.0.1:15001'}}, meshConfig: {{accessLogFile: /dev/stdout, {text}}}}}\n"
    )
}

/// The forwarding of the first rule of the only VirtualService on the first listener.
fn forward(plan: &Plan) -> &Forward {
    match &tables(plan, 0)[0].virtual_hosts[0].routes()[0].action {
        Action::Forward(forward) => forward,
        other => panic!("{other:?}"),
    }
}

/// A plan for a rule with these fields, to service `a`, and with these other documents.
fn with_rule(fields: &str, others: &str) -> Plan {
    let http = format!("[{{{fields} route: [{{destination: {{host: a}}}}]}}]");
    compiled(&(gateway("g", 80, "['*']") + &virtual_service("v", "['*']", "[g]", &http) + SERVICE_A + others)).0
}

fn seconds(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

fn default_retry() -> RetryPolicy {
    RetryPolicy {
        attempts: 2,
        per_try_timeout: None,
        on: RetryOn { connect_failure: true, grpc_statuses: [1, 14].into(), ..RetryOn::default() },
        backoff: Duration::from_millis(25),
        avoid_tried: true,
        other_priorities: false,
    }
}

#[test]
fn retries() {
    let conditions = |on: RetryOn| Some(RetryPolicy { on, ..default_retry() });
    let attempts = |attempts| Some(RetryPolicy { attempts, ..default_retry() });
    let hashed =
        destination_rule("d", "default", "a", "trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true}}}");
    let mesh = mesh_config("defaultHttpRetryPolicy: {attempts: 7, retryOn: reset}");
    let of_mesh =
        Some(RetryPolicy { attempts: 7, on: RetryOn { reset: true, ..RetryOn::default() }, ..default_retry() });
    for (fields, others, expected) in [
        ("", "", attempts(2)),
        ("retries: {attempts: 5},", "", attempts(5)),
        ("retries: {attempts: 0},", "", None),
        ("retries: {},", "", None),
        ("", &mesh, of_mesh),
        // Fields are not merged.
        ("retries: {attempts: 1},", &mesh, attempts(1)),
        ("retries: {attempts: 0},", &mesh, None),
        ("", &mesh_config("defaultHttpRetryPolicy: {attempts: 0}"), None),
        ("", &hashed, Some(RetryPolicy { avoid_tried: false, ..default_retry() })),
        ("retries: {attempts: 2, retryIgnorePreviousHosts: true},", &hashed, attempts(2)),
        (
            "retries: {attempts: 2, retryIgnorePreviousHosts: false},",
            "",
            Some(RetryPolicy { avoid_tried: false, ..default_retry() }),
        ),
        (
            "retries: {attempts: 2, perTryTimeout: 1s, backoff: 2s, retryRemoteLocalities: true},",
            "",
            Some(RetryPolicy {
                per_try_timeout: seconds(1),
                backoff: Duration::from_secs(2),
                other_priorities: true,
                ..default_retry()
            }),
        ),
        (
            "retries: {attempts: 2, retryOn: '503, 429,retriable-status-codes,503'},",
            "",
            conditions(RetryOn { statuses: [429, 503].into(), ..RetryOn::default() }),
        ),
        (
            "retries: {attempts: 2, retryOn: '5xx,gateway-error,reset,reset-before-request,retriable-4xx,\
             envoy-ratelimited,internal,deadline-exceeded,resource-exhausted,unavailable,cancelled,refused-stream,\
             http3-post-connect-failure,retriable-headers'},",
            "",
            conditions(RetryOn {
                server_error: true,
                gateway_error: true,
                reset: true,
                reset_before_request: true,
                connect_failure: false,
                retriable_4xx: true,
                rate_limited: true,
                statuses: Box::default(),
                grpc_statuses: [1, 4, 8, 13, 14].into(),
            }),
        ),
        (
            "retries: {attempts: 2, retryOn: connect-failure},",
            "",
            conditions(RetryOn { connect_failure: true, ..RetryOn::default() }),
        ),
    ] {
        let plan = with_rule(fields, others);
        assert_eq!(forward(&plan).retry.as_deref(), expected.as_ref(), "{fields} {others}");
    }
}

/// Hashing keeps the retries of a single destination together; of several each may be tried.
#[test]
fn hashing_among_several_destinations_does_not_keep_retries_together() {
    let hash = "trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true}}}";
    let http =
        "[{route: [{destination: {host: a, subset: v1}, weight: 1}, {destination: {host: a, subset: v2}, weight: 1}]}]";
    let yaml = gateway("g", 80, "['*']")
        + &virtual_service("v", "['*']", "[g]", http)
        + SERVICE_A
        + &destination_rule("d", "default", "a", &format!("{hash}\n  {SUBSETS}"));
    assert_eq!(forward(&compiled(&yaml).0).retry.as_deref(), Some(&default_retry()));
}

#[test]
fn the_mesh_retries_without_rules_and_passes_through_without() {
    let default_of = |mesh: &str| {
        let plan = plan(&(mesh_config(mesh) + SERVICE_A));
        let tables = tables(&plan, 0);
        let hosts: Vec<_> = tables.iter().flat_map(|table| &table.virtual_hosts).collect();
        let action = |name: &str| {
            let routes = hosts.iter().flat_map(|host| host.routes());
            routes.filter(|route| route.name == name).map(|route| route.action.clone()).next().expect("a route")
        };
        assert!(matches!(action("allow_any"), Action::Passthrough));
        match action("default") {
            Action::Forward(forward) => (forward.timeout, forward.retry.map(|retry| retry.attempts)),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(default_of(""), (None, Some(2)));
    assert_eq!(default_of("defaultHttpRetryPolicy: {attempts: 1}"), (None, Some(1)));
    assert_eq!(default_of("defaultHttpRetryPolicy: {}"), (None, None));
}

#[test]
fn faults_and_timeouts() {
    let delay = |percent| Some(Delay { by: Duration::from_secs(7), share: FractionalPercent::percent(percent) });
    let abort = |with| Some(Abort { with, share: FractionalPercent::ALL });
    for (text, expected) in [
        ("delay: {fixedDelay: 7s, percent: 100}", Some(Fault { delay: delay(100.0), abort: None })),
        ("delay: {fixedDelay: 7s, percentage: {value: 0.1}}", Some(Fault { delay: delay(0.1), abort: None })),
        ("delay: {fixedDelay: 7s}", None),
        ("delay: {fixedDelay: 7s, percentage: {value: 0}}", None),
        (
            "delay: {fixedDelay: 7s}, abort: {httpStatus: 418, percentage: {value: 100}}",
            Some(Fault { delay: None, abort: abort(AbortWith::Status(418)) }),
        ),
        (
            "abort: {grpcStatus: NOT_FOUND, percentage: {value: 100}}",
            Some(Fault { delay: None, abort: abort(AbortWith::Grpc(5)) }),
        ),
    ] {
        let plan = with_rule(&format!("timeout: 3s, fault: {{{text}}},"), "");
        assert_eq!(forward(&plan).fault.as_deref(), expected.as_ref(), "{text}");
        assert_eq!(forward(&plan).timeout, seconds(3));
    }
    assert_eq!(forward(&with_rule("", "")).timeout, None);
}

#[test]
fn mirrors() {
    let subsets = destination_rule("d", "default", "a", SUBSETS);
    let mirrors = |fields: &str| {
        let plan = with_rule(fields, &subsets);
        let mirror = |mirror: &Mirror| {
            let name = match &mirror.target {
                Target::Known(id) => plan.cluster(*id).map(|cluster| cluster.name.clone()).expect("an id of this plan"),
                Target::Missing(name) => format!("NC {name}"),
            };
            (name, mirror.share.as_percent())
        };
        forward(&plan).mirrors.iter().map(mirror).collect::<Vec<_>>()
    };
    let to = |name: &str, percent: f64| (name.to_owned(), percent);
    let v2 = "outbound|8000|v2|a.default.svc.cluster.local";
    assert_eq!(mirrors(""), []);
    assert_eq!(mirrors("mirror: {host: a, subset: v2},"), [to(v2, 100.0)]);
    assert_eq!(mirrors("mirror: {host: a, subset: v2}, mirror_percent: 30,"), [to(v2, 30.0)]);
    assert_eq!(mirrors("mirror: {host: a, subset: v2}, mirrorPercentage: {value: 0.5},"), [to(v2, 0.5)]);
    assert_eq!(mirrors("mirror: {host: a, subset: v2}, mirrorPercentage: {value: 0.00001},"), []);
    assert_eq!(mirrors("mirror: {host: a, subset: v2}, mirrorPercent: 0,"), []);
    assert_eq!(
        mirrors("mirror: {host: a, subset: v3},"),
        [to("NC outbound|8000|v3|a.default.svc.cluster.local", 100.0)]
    );
    assert_eq!(
        mirrors(
            "mirrors: [{destination: {host: a, subset: v1}, percentage: {value: 5}}, {destination: {host: a, subset: \
             v2}}, {destination: {host: a}, percentage: {}}],"
        ),
        [to("outbound|8000|v1|a.default.svc.cluster.local", 5.0), to(v2, 100.0)]
    );
}

#[test]
fn comparing_is_the_virtual_services_to_say_or_its_roots() {
    let annotated =
        |yaml: String, annotation: &str| yaml.replace("}\nspec:", &format!(", annotations: {{{annotation}}}}}\nspec:"));
    let status = "ringway.dev/mirror-compare: 'true'";
    let body = "ringway.dev/mirror-compare: body";
    let leaf = "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: leaf}\nspec:\n  http: \
                [{route: [{destination: {host: a}}]}]\n";
    let root = virtual_service("v", "['*']", "[g]", "[{mirror: {host: a}, delegate: {name: leaf}}]");
    let plain = virtual_service("v", "['*']", "[g]", "[{mirror: {host: a}, route: [{destination: {host: a}}]}]");
    for (services, expected) in [
        (plain.clone(), Compare::Nothing),
        (annotated(plain.clone(), status), Compare::Status),
        (annotated(plain, body), Compare::StatusAndBody),
        (annotated(root.clone(), status) + leaf, Compare::Status),
        (annotated(root.clone(), status) + &annotated(leaf.to_owned(), body), Compare::StatusAndBody),
        (root + leaf, Compare::Nothing),
    ] {
        let plan = compiled(&(gateway("g", 80, "['*']") + &services + SERVICE_A)).0;
        let found: Vec<_> = forward(&plan).mirrors.iter().map(|mirror| mirror.compare).collect();
        assert_eq!(found, [expected], "{services}");
    }
}

#[test]
fn a_delegate_takes_what_it_does_not_say_from_its_root() {
    let merged = |root: &str, leaf: &str| {
        let yaml = gateway("g", 80, "['*']")
            + &virtual_service("v", "['*']", "[g]", &format!("[{{{root} delegate: {{name: leaf}}}}]"))
            + "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: leaf}\nspec:\n  http: "
            + &format!("[{{{leaf} route: [{{destination: {{host: a}}}}]}}]\n")
            + SERVICE_A;
        forward(&compiled(&yaml).0).clone()
    };
    let root = "timeout: 3s, retries: {attempts: 4}, fault: {delay: {fixedDelay: 7s, percentage: {value: 100}}}, \
                mirror: {host: a}, mirrorPercentage: {value: 5},";
    let all = merged(root, "");
    assert_eq!((all.timeout, all.retry.map(|retry| retry.attempts)), (seconds(3), Some(4)));
    assert_eq!(all.fault.and_then(|fault| fault.delay).map(|delay| delay.by), seconds(7));
    assert_eq!(all.mirrors.iter().map(|mirror| mirror.share.as_percent()).collect::<Vec<_>>(), [5.0]);
    let leaf = "timeout: 1s, retries: {attempts: 0}, fault: {abort: {httpStatus: 500, percentage: {value: 100}}}, \
                mirrorPercentage: {value: 50},";
    let own = merged(root, leaf);
    assert_eq!((own.timeout, own.retry), (seconds(1), None));
    assert_eq!(own.fault.map(|fault| (fault.delay, fault.abort.is_some())), Some((None, true)));
    assert_eq!(own.mirrors.iter().map(|mirror| mirror.share.as_percent()).collect::<Vec<_>>(), [50.0]);
}

/// The cluster of service `a` and subset `v1`, or of all of it, under a DestinationRule of this.
fn cluster(subset: &str, rule: &str, mesh: &str) -> Cluster {
    let http = match subset {
        "" => TO_A.to_owned(),
        subset => format!("[{{route: [{{destination: {{host: a, subset: {subset}}}}}]}}]"),
    };
    let yaml = gateway("g", 80, "['*']")
        + &virtual_service("v", "['*']", "[g]", &http)
        + SERVICE_A
        + &destination_rule("d", "default", "a", rule)
        + &mesh_config(mesh);
    let name = format!("outbound|8000|{subset}|a.default.svc.cluster.local");
    let (plan, _) = compiled(&yaml);
    let found = plan.clusters.iter().find(|cluster| cluster.name == name).expect("the cluster is in the plan");
    Cluster::clone(found)
}

#[test]
fn connection_pools() {
    let all = cluster(
        "",
        "trafficPolicy: {connectionPool: {tcp: {maxConnections: 1, connectTimeout: 30ms, maxConnectionDuration: 1h, \
         tcpKeepalive: {probes: 2, time: 1500ms, interval: 500ms}}, http: {http1MaxPendingRequests: 2, \
         http2MaxRequests: 3, maxRequestsPerConnection: 4, maxRetries: 5, idleTimeout: 6s}}, retryBudget: {percent: \
         12.5, budgetInterval: 10s}}",
        "",
    );
    assert_eq!(
        all.limits,
        BreakerLimits {
            connections: Some(1),
            pending: Some(2),
            requests: Some(3),
            retries: Some(5),
            retry_budget: Some(RetryBudget { percent: 12.5, min_concurrency: 3, interval: Duration::from_secs(10) }),
        }
    );
    assert_eq!((all.connect_timeout, all.idle_timeout), (Duration::from_millis(30), seconds(6)));
    assert_eq!((all.max_requests.map(|max| max.get()), all.max_duration), (Some(4), seconds(3600)));
    assert_eq!(all.keepalive, Some(Keepalive { probes: Some(2), time: seconds(1), interval: None }));
    let none = cluster("", "trafficPolicy: {connectionPool: {tcp: {maxConnections: 0}}}", "connectTimeout: 4s");
    assert_eq!((none.limits, none.outlier, none.keepalive), (BreakerLimits::default(), None, None));
    assert_eq!((none.connect_timeout, none.idle_timeout), (Duration::from_secs(4), seconds(3600)));
}

#[test]
fn idle_timeouts_and_keepalive() {
    let of = |tcp: &str, http: &str, mesh: &str| {
        cluster("", &format!("trafficPolicy: {{connectionPool: {{tcp: {{{tcp}}}, http: {{{http}}}}}}}"), mesh)
    };
    for (tcp, http, expected) in [
        ("", "", seconds(3600)),
        ("idleTimeout: 5s", "", seconds(5)),
        ("idleTimeout: 0s", "", None),
        ("idleTimeout: 0s", "idleTimeout: 7s", seconds(7)),
        ("idleTimeout: 5s", "idleTimeout: 7s", seconds(7)),
    ] {
        assert_eq!(of(tcp, http, "").idle_timeout, expected, "{tcp} {http}");
    }
    let keepalive = |probes, time| Some(Keepalive { probes, time, interval: None });
    for (tcp, mesh, expected) in [
        ("", "", None),
        ("tcpKeepalive: {}", "", keepalive(None, None)),
        ("", "tcpKeepalive: {probes: 4}", keepalive(Some(4), None)),
        ("tcpKeepalive: {time: 9s}", "tcpKeepalive: {probes: 4, time: 1s}", keepalive(Some(4), seconds(9))),
    ] {
        assert_eq!(of(tcp, "", mesh).keepalive, expected, "{tcp} {mesh}");
    }
}

#[test]
fn undeclared_hosts_are_connected_to_as_the_mesh_says() {
    let plan = plan(&mesh_config("connectTimeout: 1s, tcpKeepalive: {probes: 4}"));
    let cluster =
        plan.clusters.iter().find(|cluster| cluster.name == crate::plan::PASSTHROUGH_CLUSTER).expect("ALLOW_ANY");
    assert_eq!(cluster.connect_timeout, Duration::from_secs(1));
    assert_eq!(cluster.keepalive, Some(Keepalive { probes: Some(4), ..Keepalive::default() }));
    assert_eq!((cluster.limits, cluster.outlier.is_none()), (BreakerLimits::default(), true));
}

#[test]
fn outlier_detection() {
    let default = Outlier::default();
    for (text, expected) in [
        ("", default.clone()),
        ("consecutive5xxErrors: 0", Outlier { consecutive_5xx: 0, ..default.clone() }),
        ("consecutive5xxErrors: 7", Outlier { consecutive_5xx: 7, ..default.clone() }),
        ("consecutiveGatewayErrors: 3", Outlier { consecutive_gateway: 3, ..default.clone() }),
        // What `consecutiveErrors` was documented to do, which today's fields overrule.
        ("consecutiveErrors: 1", Outlier { consecutive_5xx: 0, consecutive_gateway: 1, ..default.clone() }),
        ("consecutiveErrors: 0", default.clone()),
        (
            "consecutiveErrors: 1, consecutive5xxErrors: 4",
            Outlier { consecutive_5xx: 4, consecutive_gateway: 1, ..default.clone() },
        ),
        ("consecutiveErrors: 1, consecutiveGatewayErrors: 2", Outlier { consecutive_gateway: 2, ..default.clone() }),
        (
            "interval: 1s, baseEjectionTime: 3m, maxEjectionPercent: 100, minHealthPercent: 40, \
             splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 2, \
             outlierDetectionHttpErrorCodes: [503, 429, 503]",
            Outlier {
                split_local_origin: true,
                consecutive_local_origin: 2,
                interval: Duration::from_secs(1),
                base_ejection: Duration::from_secs(180),
                max_ejection_percent: 100,
                min_health_percent: 40,
                error_codes: [429, 503].into(),
                ..default.clone()
            },
        ),
        ("maxEjectionPercent: 0", default.clone()),
    ] {
        let found = cluster("", &format!("trafficPolicy: {{outlierDetection: {{{text}}}}}"), "").outlier;
        assert_eq!(found, Some(expected), "{text}");
    }
}

/// Which block holds: (maxConnections, maxRetries, whether there is ejection, the budget's percent).
#[test]
fn blocks_are_replaced_whole() {
    let of = |subset: &str, rule: &str, mesh: &str| {
        let found = cluster(subset, rule, mesh);
        let percent = found.limits.retry_budget.map(|budget| budget.percent);
        (found.limits.connections, found.limits.retries, found.outlier.is_some(), percent)
    };
    let tcp = |max: u32| format!("connectionPool: {{tcp: {{maxConnections: {max}}}}}");
    let http = |max: u32| format!("connectionPool: {{http: {{maxRetries: {max}}}}}");
    let outlier = "outlierDetection: {}";
    let budget = "retryBudget: {percent: 10}";
    let mesh = format!("defaultTrafficPolicy: {{{}, {outlier}}}", tcp(9));
    let port = |number: u16, policy: &str| format!("portLevelSettings: [{{port: {{number: {number}}}, {policy}}}]");
    let rule = |policy: &str| format!("trafficPolicy: {{{policy}}}");
    let with_subset = |policy: &str, own: &str| {
        format!(
            "trafficPolicy: {{{policy}}}\n  subsets: [{{name: v1, labels: {{version: v1}}, trafficPolicy: {{{own}}}}}]"
        )
    };
    let (t1, h2) = (tcp(1), http(2));
    for (subset, rule, mesh, expected) in [
        ("", rule(&t1), "", (Some(1), None, false, None)),
        ("", rule(&format!("{t1}, {outlier}, {budget}")), "", (Some(1), None, true, Some(10.0))),
        // An entry for the port stands for the whole policy.
        ("", rule(&format!("{t1}, {outlier}, {budget}, {}", port(8000, &h2))), "", (None, Some(2), false, None)),
        ("", rule(&format!("{t1}, {}", port(8001, &h2))), "", (Some(1), None, false, None)),
        // The mesh's default is for blocks that nobody wrote.
        ("", rule(budget), &mesh, (Some(9), None, true, Some(10.0))),
        ("", rule(&h2), &mesh, (None, Some(2), true, None)),
        ("", rule(&port(8000, &h2)), &mesh, (None, Some(2), true, None)),
        // A subset's block goes before the rule's, never merged with it.
        ("v1", with_subset(&format!("{t1}, {budget}"), &h2), "", (None, Some(2), false, Some(10.0))),
        ("v1", with_subset(&t1, outlier), "", (Some(1), None, true, None)),
        ("v1", with_subset(&format!("{t1}, {outlier}"), budget), "", (Some(1), None, true, Some(10.0))),
        ("v1", with_subset(&port(8000, &t1), outlier), "", (Some(1), None, true, None)),
        ("v1", with_subset(budget, &h2), &mesh, (None, Some(2), true, Some(10.0))),
        // A subset's entry for the port leaves nothing of anybody else's but the budget.
        (
            "v1",
            with_subset(&format!("{t1}, {outlier}, {budget}"), &port(8000, &h2)),
            &mesh,
            (None, Some(2), false, Some(10.0)),
        ),
    ] {
        assert_eq!(of(subset, &rule, mesh), expected, "{subset} {rule} {mesh}");
    }
}
