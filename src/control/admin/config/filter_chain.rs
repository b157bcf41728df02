//! Filter chains with a TCP proxy, in Envoy's terms.

use serde_json::{Value, json};

use super::shown_target;
use crate::plan::{FilterChainMatch, Listener, Plan, TcpRoute};

/// The filter chains of VirtualService rules; those of services without rules are not shown.
pub(super) fn filter_chains(shown: &mut Value, plan: &Plan, listener: &Listener) {
    let chains: Vec<Value> =
        listener.chains.tcp_routes().filter_map(|(matches, route)| chain(plan, matches, route)).collect();
    if !chains.is_empty() {
        shown["filter_chains"] = chains.into();
    }
}

fn chain(plan: &Plan, matches: &FilterChainMatch, route: &TcpRoute) -> Option<Value> {
    let origin = route.origin.as_ref()?.to_string();
    let mut matched = json!({});
    if !matches.server_names.is_empty() {
        matched["server_names"] = matches.server_names.iter().map(|name| &**name).collect::<Vec<_>>().into();
    }
    if !matches.subnets.is_empty() {
        matched["prefix_ranges"] = matches.subnets.iter().map(ToString::to_string).collect::<Vec<_>>().into();
    }
    let mut proxy = json!({"stat_prefix": &*route.name});
    let all: Vec<_> = route.destinations.iter().collect();
    if let [only] = all.as_slice() {
        let target = shown_target(plan, &only.target);
        for (name, value) in target.as_object().into_iter().flatten() {
            proxy[name] = value.clone();
        }
    } else {
        let clusters = all.iter().map(|destination| {
            let mut shown = shown_target(plan, &destination.target);
            if let Some(name) = shown.as_object_mut().and_then(|shown| shown.remove("cluster")) {
                shown["name"] = name;
            }
            shown["weight"] = destination.weight.into();
            shown
        });
        proxy["weighted_clusters"] = json!({"clusters": clusters.collect::<Vec<_>>()});
    }
    if route.by_source {
        proxy["hash_policy"] = json!([{"source_ip": {}}]);
    }
    Some(json!({"filter_chain_match": matched, "tcp_proxy": proxy, "origin": origin}))
}
