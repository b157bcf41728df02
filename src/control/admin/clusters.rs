//! `/clusters`: endpoints with their numbers.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::ejections::Health;
use super::{Arguments, State, endpoint_address, json_page, refuse};
use crate::httpd::{Request, Response};
use crate::observe::stats::Registry;
use crate::plan::{Cluster, Endpoint, Locality};
use crate::policy::permits::BreakerLimits;
use crate::upstream::SharedCluster;

/// The limits of a cluster, as Envoy names them; 2^32 - 1 for no limit, as Istio configures it.
fn limits(cluster: &Cluster) -> [(&'static str, u32); 4] {
    let BreakerLimits { connections, pending, requests, retries, .. } = cluster.limits;
    [
        ("max_connections", connections),
        ("max_pending_requests", pending),
        ("max_requests", requests),
        ("max_retries", retries),
    ]
    .map(|(name, limit)| (name, limit.unwrap_or(u32::MAX)))
}

/// Envoy's lines about success rate ejection, which Istio never uses.
const SUCCESS_RATES: [&str; 4] = [
    "success_rate_average",
    "success_rate_ejection_threshold",
    "local_origin_success_rate_average",
    "local_origin_success_rate_ejection_threshold",
];

pub(super) fn clusters(request: &Request, state: &State) -> Result<Response, Response> {
    let arguments = Arguments::of(request)?;
    let now = state.now().clone();
    let shared = now.shared.iter().map(|shared| Some(shared.as_ref())).chain(std::iter::repeat(None));
    let clusters = now.plan.clusters.iter().zip(shared).filter(|(cluster, _)| arguments.keeps(&cluster.name));
    match arguments.get("format") {
        None | Some("text") => {
            let mut text = String::new();
            for (cluster, shared) in clusters {
                let _ = write_text(&mut text, cluster, shared, &state.registry); // a String takes every write
            }
            Ok(Response::text(200, text))
        }
        Some("json") => {
            let statuses: Vec<Value> =
                clusters.map(|(cluster, shared)| status(cluster, shared, &state.registry)).collect();
            Ok(json_page(format!("{:#}\n", json!({"cluster_statuses": statuses}))))
        }
        Some(_) => Err(refuse("usage: /clusters?format=(json|text)\n")),
    }
}

/// The counters and gauges of an endpoint, in Envoy's order.
fn numbers(cluster: &str, endpoint: &Endpoint, registry: &Registry) -> [(&'static str, u64); 9] {
    let totals = registry.endpoint_totals(cluster, &endpoint.address);
    [
        ("cx_active", totals.cx_active),
        ("cx_connect_fail", totals.cx_connect_fail),
        ("cx_total", totals.cx_total),
        ("rq_active", totals.rq_active),
        ("rq_error", totals.rq_error),
        ("rq_pending_active", totals.rq_pending_active),
        ("rq_success", totals.rq_success),
        ("rq_timeout", totals.rq_timeout),
        ("rq_total", totals.rq_total),
    ]
}

/// The priority of each endpoint, 0 by default.
fn priority_of(cluster: &Cluster, endpoint: usize) -> usize {
    let holds = |level: &crate::policy::balance::Level| {
        level.groups.iter().any(|group| group.members.iter().any(|member| *member as usize == endpoint))
    };
    cluster.spread.levels.iter().position(holds).unwrap_or_default()
}

fn write_text(
    text: &mut String,
    cluster: &Cluster,
    shared: Option<&SharedCluster>,
    registry: &Registry,
) -> std::fmt::Result {
    let name = &cluster.name;
    writeln!(text, "{name}::observability_name::{name}")?;
    if cluster.outlier.is_some() {
        for rate in SUCCESS_RATES {
            writeln!(text, "{name}::outlier::{rate}::-1")?;
        }
    }
    for (limit, most) in limits(cluster) {
        writeln!(text, "{name}::default_priority::{limit}::{most}")?;
    }
    writeln!(text, "{name}::added_via_api::false")?;
    for (number, endpoint) in cluster.endpoints.iter().enumerate() {
        let address = &endpoint.address;
        let health = Health::of(shared, number);
        for (field, value) in numbers(name, endpoint, registry).into_iter().chain(health.numbers()) {
            writeln!(text, "{name}::{address}::{field}::{value}")?;
        }
        for (field, value) in [
            ("hostname", cluster.discovery.hostname(number)),
            ("health_flags", health.flags()),
            ("weight", itoa::Buffer::new().format(endpoint.weight)),
            ("region", &endpoint.locality.region),
            ("zone", &endpoint.locality.zone),
            ("sub_zone", &endpoint.locality.subzone),
            ("canary", "false"),
            ("priority", itoa::Buffer::new().format(priority_of(cluster, number))),
            ("success_rate", "-1"),
            ("local_origin_success_rate", "-1"),
        ] {
            writeln!(text, "{name}::{address}::{field}::{value}")?;
        }
    }
    Ok(())
}

fn stat(name: &str, value: u64) -> Value {
    match value {
        0 => json!({"name": name}),
        value => json!({"name": name, "value": value.to_string()}),
    }
}

/// Envoy's `Locality`, without empty fields.
fn locality(locality: &Locality) -> Value {
    let Locality { region, zone, subzone } = locality;
    let parts = [("region", region), ("zone", zone), ("sub_zone", subzone)];
    let named = parts.into_iter().filter(|(_, part)| !part.is_empty());
    Value::Object(named.map(|(name, part)| (name.to_owned(), part.as_str().into())).collect())
}

/// A cluster as Envoy's `ClusterStatus`: numbers of 64 bits are strings, and zeros are left out.
fn status(cluster: &Cluster, shared: Option<&SharedCluster>, registry: &Registry) -> Value {
    let hosts = cluster.endpoints.iter().enumerate().map(|(number, endpoint)| {
        let health = Health::of(shared, number);
        // The counters first.
        let (gauges, counters): (Vec<_>, Vec<_>) =
            numbers(&cluster.name, endpoint, registry).into_iter().partition(|(name, _)| name.ends_with("_active"));
        let counters = counters.into_iter().map(|(name, value)| stat(name, value));
        let gauges = gauges.into_iter().chain(health.numbers()).map(|(name, value)| {
            let mut gauge = stat(name, value);
            gauge["type"] = "GAUGE".into();
            gauge
        });
        let stats = counters.chain(gauges);
        let mut host = json!({
            "address": endpoint_address(&endpoint.address),
            "stats": stats.collect::<Vec<_>>(),
            "health_status": {"eds_health_status": "HEALTHY"},
            "weight": endpoint.weight,
            "locality": locality(&endpoint.locality),
        });
        if health.is_ejected() {
            host["health_status"]["failed_outlier_check"] = true.into();
        }
        let hostname = cluster.discovery.hostname(number);
        if !hostname.is_empty() {
            host["hostname"] = hostname.into();
        }
        let priority = priority_of(cluster, number);
        if priority > 0 {
            host["priority"] = priority.into();
        }
        host
    });
    let limits = limits(cluster).map(|(limit, most)| (limit.to_owned(), Value::from(most)));
    json!({
        "name": cluster.name,
        "observability_name": cluster.name,
        "host_statuses": hosts.collect::<Vec<_>>(),
        "circuit_breakers": {"thresholds": [Value::Object(limits.into_iter().collect())]},
    })
}
