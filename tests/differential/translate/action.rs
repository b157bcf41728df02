//! What a rule does with a request: forward, redirect, answer; and what it changes on the way.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{World, array, kind, matcher, only, qualified, resilience, text};

/// A Route without its name and match, for a listener that stands for this port.
pub(super) fn translate(world: &World, rule: &Value, port: u64) -> Value {
    let mut route = json!({});
    let (operations, host) = headers(&rule["headers"]);
    add(&mut route, &operations);
    if !rule["redirect"].is_null() {
        route["redirect"] = redirect(&rule["redirect"], port);
    } else if !rule["directResponse"].is_null() {
        route["direct_response"] = direct_response(&rule["directResponse"]);
    } else {
        let action = forward(world, rule, host, &mut route, port);
        route["route"] = action;
    }
    let mut filters = json!({});
    if !rule["corsPolicy"].is_null() {
        filters["envoy.filters.http.cors"] = cors(&rule["corsPolicy"]);
    }
    if !rule["fault"].is_null() {
        filters["envoy.filters.http.fault"] = resilience::fault(&rule["fault"]);
    }
    route["typed_per_filter_config"] = filters;
    route
}

/// A RouteAction. The header operations of a single destination are the route's own.
fn forward(world: &World, rule: &Value, host: Option<String>, route: &mut Value, port: u64) -> Value {
    let mut action = json!({});
    resilience::add(rule, &mut action);
    let mirrors = mirrors(world, rule, port);
    if !mirrors.is_empty() {
        action["request_mirror_policies"] = json!(mirrors);
    }
    let rewrite = &rule["rewrite"];
    let mut host = host;
    if !rewrite.is_null() {
        only(rewrite, &["uri", "authority", "uriRegexRewrite"]);
        if let Some(uri) = rewrite["uri"].as_str() {
            action["prefix_rewrite"] = json!(uri);
        }
        if let Some(regex) = rewrite["uriRegexRewrite"].as_object() {
            action["regex_rewrite"] = json!({"pattern": {"regex": regex["match"]}, "substitution": regex["rewrite"]});
        }
        host = rewrite["authority"].as_str().map(str::to_owned).or(host);
    }
    let destinations = array(rule, "route");
    if let [one] = destinations {
        only(one, &["destination", "headers", "weight"]);
        action["cluster"] = json!(cluster_name(world, &one["destination"], port));
        let (operations, own_host) = headers(&one["headers"]);
        add(route, &operations);
        host = host.or(own_host);
    } else {
        let weighted = destinations.iter().filter(|destination| destination["weight"].as_u64().unwrap_or(0) > 0);
        let clusters: Vec<Value> = weighted
            .map(|to| {
                only(to, &["destination", "headers", "weight"]);
                let mut weight = json!({"name": cluster_name(world, &to["destination"], port), "weight": to["weight"]});
                let (operations, own_host) = headers(&to["headers"]);
                add(&mut weight, &operations);
                if let Some(host) = own_host {
                    weight["host_rewrite_literal"] = json!(host);
                }
                weight
            })
            .collect();
        action["weighted_clusters"] = json!({ "clusters": clusters });
    }
    if let Some(host) = host {
        action["host_rewrite_literal"] = json!(host);
    }
    action
}

/// The RequestMirrorPolicies of a rule. istiod leaves out those that never happen, and the name's suffix has become a
/// switch of its own.
fn mirrors(world: &World, rule: &Value, port: u64) -> Vec<Value> {
    let policy = |destination: &Value, percentage: &Value| {
        let percent = if percentage.is_null() { 100.0 } else { percentage["value"].as_f64().expect("a percentage") };
        (percent > 0.0).then(|| {
            json!({
                "cluster": cluster_name(world, destination, port),
                "runtime_fraction": {"default_value": {
                    "numerator": (percent * 10_000.0) as u32, "denominator": "MILLION",
                }},
            })
        })
    };
    let one = Some(&rule["mirror"]).filter(|mirror| !mirror.is_null());
    let one = one.and_then(|mirror| policy(mirror, &rule["mirrorPercentage"]));
    let several = array(rule, "mirrors").iter().filter_map(|mirror| {
        only(mirror, &["destination", "percentage"]);
        policy(&mirror["destination"], &mirror["percentage"])
    });
    one.into_iter().chain(several).collect()
}

/// The port is the destination's, else the service's only one, else the listener's.
fn cluster_name(world: &World, destination: &Value, listener: u64) -> String {
    only(destination, &["host", "subset", "port"]);
    let host = qualified(text(destination, "host"));
    let ports = world.service(&host).map(|service| array(&service["spec"], "ports")).unwrap_or_default();
    let port = match (destination["port"]["number"].as_u64(), ports) {
        (Some(port), _) => port,
        (None, [only]) => only["port"].as_u64().expect("a port number"),
        (None, _) => listener,
    };
    format!("outbound|{port}|{}|{host}", destination["subset"].as_str().unwrap_or_default())
}

fn redirect(redirect: &Value, port: u64) -> Value {
    only(redirect, &["uri", "prefixRewrite", "authority", "port", "derivePort", "scheme", "redirectCode"]);
    let code = match redirect["redirectCode"].as_u64().unwrap_or(301) {
        301 => "MOVED_PERMANENTLY",
        302 => "FOUND",
        303 => "SEE_OTHER",
        307 => "TEMPORARY_REDIRECT",
        308 => "PERMANENT_REDIRECT",
        other => panic!("redirect code {other}"),
    };
    let mut out = json!({"response_code": code});
    for (istio, envoy) in [
        ("uri", "path_redirect"),
        ("prefixRewrite", "prefix_rewrite"),
        ("authority", "host_redirect"),
        ("scheme", "scheme_redirect"),
    ] {
        if !redirect[istio].is_null() {
            out[envoy] = redirect[istio].clone();
        }
    }
    let to_port = match (redirect["port"].as_u64(), redirect["derivePort"].as_str()) {
        (Some(number), _) => Some(number),
        (None, Some("FROM_REQUEST_PORT")) => Some(port),
        _ => None,
    };
    // istiod leaves the usual port of a scheme out.
    let usual = if redirect["scheme"] == "https" { 443 } else { 80 };
    if let Some(number) = to_port.filter(|number| *number != usual) {
        out["port_redirect"] = json!(number);
    }
    out
}

fn direct_response(response: &Value) -> Value {
    only(response, &["status", "body"]);
    let mut out = json!({"status": response["status"]});
    if let Some(body) = response["body"].as_object() {
        out["body"] = match (body.get("string"), body.get("bytes")) {
            (Some(string), None) => json!({"inline_string": string}),
            (None, Some(bytes)) => json!({"inline_bytes": bytes}),
            _ => panic!("the body of {response}"),
        };
    }
    out
}

fn cors(policy: &Value) -> Value {
    let lists = ["allowMethods", "allowHeaders", "exposeHeaders"];
    only(policy, &[&lists[..], &["allowOrigins", "maxAge", "allowCredentials", "unmatchedPreflights"]].concat());
    let origins = array(policy, "allowOrigins").iter();
    let mut out = json!({
        "@type": kind("filters.http.cors.v3.CorsPolicy"),
        "allow_origin_string_match": origins.map(|origin| matcher::string_matcher(origin).expect("an origin")).collect::<Vec<_>>(),
        "filter_enabled": {"default_value": {"numerator": 100, "denominator": "HUNDRED"}},
        "forward_not_matching_preflights": policy["unmatchedPreflights"] != "IGNORE",
    });
    for (istio, envoy) in lists.iter().zip(["allow_methods", "allow_headers", "expose_headers"]) {
        let items: Vec<&str> = array(policy, istio).iter().filter_map(Value::as_str).collect();
        out[envoy] = json!(items.join(","));
    }
    if let Some(age) = policy["maxAge"].as_str() {
        out["max_age"] = json!(age.strip_suffix('s').expect("maxAge in seconds"));
    }
    if policy["allowCredentials"] == true {
        out["allow_credentials"] = json!(true);
    }
    out
}

/// The four lists of a `headers` block under Envoy's names, and the host that it sets.
fn headers(headers: &Value) -> (BTreeMap<&'static str, Vec<Value>>, Option<String>) {
    let mut lists = BTreeMap::new();
    let mut host = None;
    if headers.is_null() {
        return (lists, host);
    }
    only(headers, &["request", "response"]);
    for (side, to_add, to_remove) in [
        ("request", "request_headers_to_add", "request_headers_to_remove"),
        ("response", "response_headers_to_add", "response_headers_to_remove"),
    ] {
        let operations = &headers[side];
        if operations.is_null() {
            continue;
        }
        only(operations, &["set", "add", "remove"]);
        let mut added: Vec<Value> = Vec::new();
        for (operation, action) in [("set", "OVERWRITE_IF_EXISTS_OR_ADD"), ("add", "APPEND_IF_EXISTS_OR_ADD")] {
            // A map of serde_json is sorted by name, as istiod sorts it.
            for (name, value) in operations[operation].as_object().into_iter().flatten() {
                if name.eq_ignore_ascii_case("host") || name == ":authority" {
                    host = host.or(value.as_str().map(str::to_owned));
                } else {
                    added.push(json!({"header": {"key": name, "value": value}, "append_action": action}));
                }
            }
        }
        lists.insert(to_add, added);
        lists.insert(to_remove, array(operations, "remove").to_vec());
    }
    (lists, host)
}

/// Appends the lists to those that `to` (a Route or ClusterWeight) has.
fn add(to: &mut Value, lists: &BTreeMap<&'static str, Vec<Value>>) {
    for (field, items) in lists {
        let all = [array(to, field), items].concat();
        to[*field] = json!(all);
    }
}
