//! `timeout`, `retries`, `fault`, `connectionPool` and `outlierDetection`, as istiod passes them on.

use serde_json::{Value, json};

use super::{array, kind, only};

/// istiod's default policy, which stands also for what a rule's own leaves open.
const RETRY_ON: &str = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";

/// Adds the timeout and the retry policy of a rule to a RouteAction.
pub(super) fn add(rule: &Value, action: &mut Value) {
    action["timeout"] = if rule["timeout"].is_null() { json!("0s") } else { duration(&rule["timeout"]) };
    let retries = &rule["retries"];
    if !retries.is_null() {
        only(retries, &["attempts", "perTryTimeout", "retryOn", "backoff", "retryIgnorePreviousHosts"]);
    }
    let attempts = retries["attempts"].as_u64().unwrap_or(2);
    if attempts == 0 {
        return;
    }
    let mut words: Vec<&str> = retries["retryOn"].as_str().unwrap_or(RETRY_ON).split(',').collect();
    let codes: Vec<u16> = words.iter().filter_map(|word| word.parse().ok()).collect();
    words.retain(|word| word.parse::<u16>().is_err());
    if !codes.is_empty() {
        words.push("retriable-status-codes");
    }
    let mut policy = json!({
        "num_retries": attempts, "retry_on": words.join(","), "retriable_status_codes": codes,
        "host_selection_retry_max_attempts": 5,
    });
    if retries["retryIgnorePreviousHosts"] != false {
        policy["retry_host_predicate"] = json!([{
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": {"@type": kind("retry.host.previous_hosts.v3.PreviousHostsPredicate")},
        }]);
    }
    if !retries["perTryTimeout"].is_null() {
        policy["per_try_timeout"] = duration(&retries["perTryTimeout"]);
    }
    if !retries["backoff"].is_null() {
        policy["retry_back_off"] = json!({"base_interval": duration(&retries["backoff"])});
    }
    action["retry_policy"] = policy;
}

/// The per-route configuration of the fault filter.
pub(super) fn fault(fault: &Value) -> Value {
    only(fault, &["delay", "abort"]);
    let mut out = json!({"@type": kind("filters.http.fault.v3.HTTPFault")});
    let (delay, abort) = (&fault["delay"], &fault["abort"]);
    if !delay.is_null() {
        only(delay, &["fixedDelay", "percentage"]);
        out["delay"] = json!({"fixed_delay": duration(&delay["fixedDelay"]), "percentage": percentage(delay)});
    }
    if !abort.is_null() {
        only(abort, &["httpStatus", "grpcStatus", "percentage"]);
        out["abort"] = json!({"percentage": percentage(abort)});
        match abort["grpcStatus"].as_str() {
            None => out["abort"]["http_status"] = abort["httpStatus"].clone(),
            Some("UNAVAILABLE") => out["abort"]["grpc_status"] = json!(14),
            Some(other) => panic!("the number of {other}"),
        }
    }
    out
}

/// Puts the limits of a `connectionPool` block into a cluster.
pub(super) fn limits(pool: &Value, cluster: &mut Value) {
    if pool.is_null() {
        return;
    }
    only(pool, &["tcp", "http"]);
    only(&pool["tcp"], &["maxConnections"]);
    only(&pool["http"], &["http1MaxPendingRequests", "http2MaxRequests", "maxRetries"]);
    let limits = [
        ("max_connections", &pool["tcp"]["maxConnections"]),
        ("max_pending_requests", &pool["http"]["http1MaxPendingRequests"]),
        ("max_requests", &pool["http"]["http2MaxRequests"]),
        ("max_retries", &pool["http"]["maxRetries"]),
    ];
    for (name, limit) in limits.into_iter().filter(|(_, limit)| !limit.is_null()) {
        cluster["circuit_breakers"]["thresholds"][0][name] = limit.clone();
    }
}

/// Adds an `outlierDetection` block to a cluster.
pub(super) fn ejection(detection: &Value, cluster: &mut Value) {
    if detection.is_null() {
        return;
    }
    only(
        detection,
        &[
            &["consecutive5xxErrors", "consecutiveGatewayErrors", "consecutiveLocalOriginFailures"][..],
            &["splitExternalLocalOriginErrors", "interval", "baseEjectionTime", "maxEjectionPercent"],
            &["minHealthPercent", "outlierDetectionHttpErrorCodes"],
        ]
        .concat(),
    );
    let mut out = json!({"enforcing_success_rate": 0, "enforcing_local_origin_success_rate": 0});
    for (field, threshold, enforcing) in [
        ("consecutive5xxErrors", "consecutive_5xx", "enforcing_consecutive_5xx"),
        ("consecutiveGatewayErrors", "consecutive_gateway_failure", "enforcing_consecutive_gateway_failure"),
        (
            "consecutiveLocalOriginFailures",
            "consecutive_local_origin_failure",
            "enforcing_consecutive_local_origin_failure",
        ),
    ] {
        if let Some(errors) = detection[field].as_u64() {
            out[threshold] = json!(errors);
            out[enforcing] = json!(if errors > 0 { 100 } else { 0 });
        }
    }
    for (field, name) in [("interval", "interval"), ("baseEjectionTime", "base_ejection_time")] {
        if !detection[field].is_null() {
            out[name] = duration(&detection[field]);
        }
    }
    if let Some(percent) = detection["maxEjectionPercent"].as_u64().filter(|percent| *percent > 0) {
        out["max_ejection_percent"] = json!(percent);
    }
    out["split_external_local_origin_errors"] = json!(detection["splitExternalLocalOriginErrors"] == true);
    cluster["outlier_detection"] = out;
    let least = detection["minHealthPercent"].as_u64().unwrap_or(0);
    cluster["common_lb_config"] = json!({"healthy_panic_threshold": {"value": least}});
    let codes = array(detection, "outlierDetectionHttpErrorCodes").iter().map(|code| {
        let status = json!({"name": ":status", "string_match": {"exact": code.to_string()}});
        json!({"http_response_headers_match": {"headers": [status]}})
    });
    let mut codes: Vec<Value> = codes.collect();
    let matcher = match codes.len() {
        0 => return,
        1 => codes.remove(0),
        _ => json!({"or_match": {"rules": codes}}),
    };
    cluster["typed_extension_protocol_options"] = json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http_protocol_options": {}},
            "outlier_detection": {"error_matcher": matcher},
        },
    });
}

/// In parts per million, as istiod writes it.
fn percentage(fault: &Value) -> Value {
    let value = &fault["percentage"]["value"];
    let percent = value.as_f64().unwrap_or_else(|| panic!("the percentage of {fault}"));
    json!({"numerator": (percent * 10_000.0) as u32, "denominator": "MILLION"})
}

/// Both sides read seconds.
fn duration(value: &Value) -> Value {
    let text = value.as_str().filter(|text| text.strip_suffix('s').is_some_and(|number| number.parse::<f64>().is_ok()));
    json!(text.unwrap_or_else(|| panic!("a case says a duration in seconds, not {value}")))
}
