//! Rules for connections, as Envoy's filter chains with a TCP proxy each.

use serde_json::{Value, json};

use super::shown_target;
use crate::plan::{Conditions, Listener, Plan, TcpRoute};

/// The filter chains that rules of VirtualServices make; those of services without rules are not shown.
pub(super) fn filter_chains(shown: &mut Value, plan: &Plan, listener: &Listener) {
    let chains: Vec<Value> = listener.ways().iter().filter_map(|way| chain(plan, way)).collect();
    if !chains.is_empty() {
        shown["filter_chains"] = chains.into();
    }
}

fn chain(plan: &Plan, (conditions, outlet): &(Conditions, TcpRoute)) -> Option<Value> {
    let origin = outlet.origin.as_ref()?.to_string();
    let mut matched = json!({});
    if !conditions.server_names.is_empty() {
        matched["server_names"] = conditions.server_names.iter().map(|name| &**name).collect::<Vec<_>>().into();
    }
    if !conditions.subnets.is_empty() {
        matched["prefix_ranges"] = conditions.subnets.iter().map(ToString::to_string).collect::<Vec<_>>().into();
    }
    let mut proxy = json!({"stat_prefix": &*outlet.name});
    let all: Vec<_> = outlet.destinations.iter().collect();
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
    if outlet.by_source {
        proxy["hash_policy"] = json!([{"source_ip": {}}]);
    }
    Some(json!({"filter_chain_match": matched, "tcp_proxy": proxy, "origin": origin}))
}
