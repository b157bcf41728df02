//! `timeout`, `retries` and `fault`, as istiod passes them on.

use serde_json::{Value, json};

use super::{kind, only};

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
