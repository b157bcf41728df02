//! `DestinationRule` (Istio `networking/v1alpha3/destination_rule.proto`): subsets of a service and how to call it.

use std::collections::BTreeSet;

use super::scalar::host;
use super::{Labels, Meta};
use crate::istio::reader::{Item, Message, enforced, not_yet};

/// A DestinationRule document.
#[derive(Debug, Clone)]
pub struct DestinationRule {
    /// Name, namespace, place.
    pub meta: Meta,
    /// `host`: expanded and lower-case. May be `*.suffix` or `*`.
    pub host: String,
    /// `trafficPolicy`: of every subset that does not override it.
    pub traffic_policy: TrafficPolicy,
    /// `subsets`, in order; names are unique.
    pub subsets: Vec<Subset>,
}

/// A named part of a service's endpoints.
#[derive(Debug, Clone)]
pub struct Subset {
    /// `name`.
    pub name: String,
    /// `labels` that an endpoint must have; empty: every endpoint.
    pub labels: Labels,
    /// `trafficPolicy`: each block that is set here replaces the rule's whole block.
    pub traffic_policy: TrafficPolicy,
}

/// `trafficPolicy`: a block that was not written is `None`, which is not the same as its defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrafficPolicy {
    /// `loadBalancer`.
    pub load_balancer: Option<SimpleLb>,
}

/// `loadBalancer.simple`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SimpleLb {
    /// `LEAST_REQUEST`, also `UNSPECIFIED` and the old `LEAST_CONN`.
    #[default]
    LeastRequest,
    /// `ROUND_ROBIN`.
    RoundRobin,
    /// `RANDOM`.
    Random,
}

const DESTINATION_RULE: Message = Message {
    name: "DestinationRule",
    fields: &[
        enforced("host"),
        enforced("trafficPolicy"),
        enforced("subsets"),
        enforced("exportTo"),
        not_yet("workloadSelector"),
    ],
};

const SUBSET: Message =
    Message { name: "Subset", fields: &[enforced("name"), enforced("labels"), enforced("trafficPolicy")] };

const TRAFFIC_POLICY: Message = Message {
    name: "TrafficPolicy",
    fields: &[
        enforced("loadBalancer"),
        not_yet("connectionPool"),
        not_yet("outlierDetection"),
        not_yet("tls"),
        not_yet("portLevelSettings"),
        not_yet("tunnel"),
        not_yet("proxyProtocol"),
        not_yet("retryBudget"),
    ],
};

const LOAD_BALANCER: Message = Message {
    name: "LoadBalancerSettings",
    fields: &[
        enforced("simple"),
        not_yet("consistentHash"),
        not_yet("localityLbSetting"),
        not_yet("zoneAwareLbSetting"),
        not_yet("backendUtilization"),
        not_yet("warmup"),
        not_yet("warmupDurationSecs"),
    ],
};

/// The tables of this kind.
pub(in crate::istio) const MESSAGES: &[&Message] = &[&DESTINATION_RULE, &SUBSET, &TRAFFIC_POLICY, &LOAD_BALANCER];

/// Reads `spec`.
pub(in crate::istio) fn read(meta: Meta, spec: &Item<'_>) -> Option<DestinationRule> {
    let object = spec.object(&DESTINATION_RULE)?;
    object.export_to_all();
    let host = object.required("host").and_then(|item| {
        let text = item.nonempty_string()?;
        match host::check_wildcard_name(text) {
            Ok(()) => Some(host::expand(text, &meta.namespace)),
            Err(why) => {
                item.error(format!("host \"{text}\" {why}"), "");
                None
            }
        }
    });
    let policy = object.get("trafficPolicy").and_then(|item| traffic_policy(&item)).unwrap_or_default();
    let mut names = BTreeSet::new();
    let subsets = object.list("subsets").iter().filter_map(|item| subset(item, &mut names)).collect();
    Some(DestinationRule { meta, host: host?, traffic_policy: policy, subsets })
}

fn subset(item: &Item<'_>, names: &mut BTreeSet<String>) -> Option<Subset> {
    let object = item.object(&SUBSET)?;
    let labels = object.get("labels").map(|item| item.labels()).unwrap_or_default();
    let policy = object.get("trafficPolicy").and_then(|item| traffic_policy(&item)).unwrap_or_default();
    let name_item = object.required("name")?;
    let name = name_item.string()?;
    if !host::is_dns_label(name) {
        name_item.error(format!("\"{name}\" is not a subset's name"), "lower-case letters, digits and \"-\"");
        return None;
    }
    if !names.insert(name.to_owned()) {
        name_item.error(format!("a second subset named \"{name}\""), "give each subset its own name");
        return None;
    }
    Some(Subset { name: name.to_owned(), labels, traffic_policy: policy })
}

fn traffic_policy(item: &Item<'_>) -> Option<TrafficPolicy> {
    let object = item.object(&TRAFFIC_POLICY)?;
    if object.is_empty() {
        item.error("is empty", "write a policy, or leave it out");
    }
    let load_balancer = object.get("loadBalancer").and_then(|item| load_balancer(&item));
    Some(TrafficPolicy { load_balancer })
}

fn load_balancer(item: &Item<'_>) -> Option<SimpleLb> {
    let object = item.object(&LOAD_BALANCER)?;
    let Some(simple) = object.get("simple") else { return Some(SimpleLb::default()) };
    match simple.one_of(&["UNSPECIFIED", "LEAST_REQUEST", "ROUND_ROBIN", "RANDOM", "PASSTHROUGH", "LEAST_CONN"])? {
        "ROUND_ROBIN" => Some(SimpleLb::RoundRobin),
        "RANDOM" => Some(SimpleLb::Random),
        "PASSTHROUGH" => {
            simple.not_enforced("load balancing PASSTHROUGH");
            None
        }
        "LEAST_CONN" => {
            simple.warn("\"LEAST_CONN\" is deprecated", "write \"LEAST_REQUEST\", which it means");
            Some(SimpleLb::LeastRequest)
        }
        _ => Some(SimpleLb::LeastRequest),
    }
}
