//! `DestinationRule` (Istio `networking/v1alpha3/destination_rule.proto`): subsets of a service and how to call it.

use std::collections::BTreeSet;

use super::export::{self, ExportTo};
use super::scalar::host;
use super::virtual_service::PORT_SELECTOR;
use super::{Labels, Meta, Withhold};
use crate::istio::reader::{Item, Message, Object, Part, enforced, not_yet};

mod client_tls;
mod connection_pool;
mod load_balancer;
mod locality;
mod outlier_detection;
mod upstream;

pub(in crate::istio) use client_tls::alt_name;
pub use client_tls::{ClientTls, Credentials, Origination, Sources};
pub use connection_pool::{ConnectionPool, RetryBudget, TcpKeepalive};
pub(in crate::istio) use connection_pool::{
    h2_upgrade_policy as read_h2_upgrade_policy, read as read_connection_pool, tcp_keepalive as read_tcp_keepalive,
};
pub use load_balancer::{ConsistentHash, HashCookie, HashKey, HashTable, LbPolicy, LoadBalancer, Warmup};
pub(in crate::istio) use locality::read as read_locality_lb;
pub use locality::{Distribute, Failover, LocalityLb};
pub use outlier_detection::OutlierDetection;
pub(in crate::istio) use outlier_detection::read as read_outlier_detection;

/// A DestinationRule document.
#[derive(Debug, Clone)]
pub struct DestinationRule {
    /// Name, namespace, place.
    pub meta: Meta,
    /// `host`: expanded and lower-case. May be `*.suffix` or `*`; empty if it could not be read, which only checks see.
    pub host: String,
    /// `trafficPolicy`: of every subset that does not override it.
    pub traffic_policy: TrafficPolicy,
    /// `subsets`, in order; names are unique.
    pub subsets: Vec<Subset>,
    /// `exportTo`; `None`: `meshConfig.defaultDestinationRuleExportTo`.
    pub export_to: Option<ExportTo>,
    /// `workloadSelector.matchLabels`: labels that the proxy itself must have, which also must be in the rule's
    /// namespace. `None`: every proxy.
    pub workload_selector: Option<Labels>,
    /// Whether requests to the host get 503, because `--permissive` leaves out a field that restricts them.
    pub withheld: bool,
}

impl Withhold for DestinationRule {
    const CONSEQUENCE: &'static str = "requests to its host get 503";

    fn withhold(self) -> Option<Self> {
        Some(Self { withheld: true, ..self })
    }
}

/// A named part of a service's endpoints.
#[derive(Debug, Clone)]
pub struct Subset {
    /// `name`; empty if it could not be read or is another one's, which only checks see.
    pub name: String,
    /// `labels` that an endpoint must have; empty: every endpoint.
    pub labels: Labels,
    /// `trafficPolicy`: each block that is set here replaces the rule's whole block.
    pub traffic_policy: TrafficPolicy,
    /// As [`DestinationRule::withheld`], for this subset.
    pub withheld: bool,
}

/// `trafficPolicy`: an absent block is `None`, which is not the same as its defaults.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TrafficPolicy {
    /// `loadBalancer`.
    pub load_balancer: Option<LoadBalancer>,
    /// `connectionPool`.
    pub connection_pool: Option<ConnectionPool>,
    /// `outlierDetection`: `localityLbSetting` fails over only where there is one.
    pub outlier_detection: Option<OutlierDetection>,
    /// `tls`.
    pub tls: Option<ClientTls>,
    /// `retryBudget`.
    pub retry_budget: Option<RetryBudget>,
    /// `portLevelSettings`, in order; each port once.
    pub ports: Vec<PortPolicy>,
}

/// One entry of `portLevelSettings`: for its port it replaces the whole policy that it is in.
#[derive(Debug, Clone, PartialEq)]
pub struct PortPolicy {
    /// `port.number`: of the service; 0 if it could not be read or is another one's, which only checks see.
    pub port: u16,
    /// `loadBalancer`; `None`: the default.
    pub load_balancer: Option<LoadBalancer>,
    /// `connectionPool`; `None`: the default.
    pub connection_pool: Option<ConnectionPool>,
    /// `outlierDetection`; `None`: there is none.
    pub outlier_detection: Option<OutlierDetection>,
    /// `tls`; `None`: there is none.
    pub tls: Option<ClientTls>,
    /// As [`DestinationRule::withheld`], for this port.
    pub withheld: bool,
}

const DESTINATION_RULE: Message = Message {
    name: "DestinationRule",
    fields: &[
        enforced("host"),
        enforced("trafficPolicy"),
        enforced("subsets"),
        enforced("exportTo"),
        enforced("workloadSelector"),
    ],
};

const SUBSET: Message =
    Message { name: "Subset", fields: &[enforced("name"), enforced("labels"), enforced("trafficPolicy")] };

const TRAFFIC_POLICY: Message = Message {
    name: "TrafficPolicy",
    fields: &[
        enforced("loadBalancer"),
        enforced("connectionPool"),
        enforced("outlierDetection"),
        enforced("tls"),
        enforced("portLevelSettings"),
        not_yet("tunnel"),
        not_yet("proxyProtocol"),
        enforced("retryBudget"),
    ],
};

const PORT_TRAFFIC_POLICY: Message = Message {
    name: "PortTrafficPolicy",
    fields: &[
        enforced("port"),
        enforced("loadBalancer"),
        enforced("connectionPool"),
        enforced("outlierDetection"),
        enforced("tls"),
    ],
};

const WORKLOAD_SELECTOR: Message =
    Message { name: "istio.type.v1beta1.WorkloadSelector", fields: &[enforced("matchLabels")] };

/// The tables of this file.
const MESSAGES: &[&Message] = &[&DESTINATION_RULE, &SUBSET, &TRAFFIC_POLICY, &PORT_TRAFFIC_POLICY, &WORKLOAD_SELECTOR];

/// The tables of this kind, file by file.
pub(in crate::istio) const MESSAGE_FILES: &[&[&Message]] = &[
    MESSAGES,
    load_balancer::MESSAGES,
    locality::MESSAGES,
    connection_pool::MESSAGES,
    client_tls::MESSAGES,
    outlier_detection::MESSAGES,
    upstream::MESSAGES,
];

/// Reads `spec`.
pub(in crate::istio) fn read(meta: Meta, spec: &Item<'_>) -> Option<DestinationRule> {
    let object = spec.object(&DESTINATION_RULE)?;
    let export_to = object.get("exportTo").and_then(|item| export::read(&item, &meta.namespace, false));
    let workload_selector = object.get("workloadSelector").and_then(|item| {
        Some(item.object(&WORKLOAD_SELECTOR)?.get("matchLabels").map(|item| item.labels()).unwrap_or_default())
    });
    if workload_selector.is_some()
        && let (Some(item), Some(scope)) = (object.get("exportTo"), &export_to)
        && !scope.is_only(&meta.namespace)
        && !item.is_damaged()
    {
        item.error("a rule with a workloadSelector is for its own namespace only", "write [\".\"]");
    }
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
    let mut read_subset = |item: &Item<'_>| {
        let Part { value, withheld } = item.part("subset", || subset(item, &mut names));
        if withheld {
            item.withheld("requests to this subset get 503");
        }
        Some(Subset { withheld, ..value? })
    };
    let subsets = object.list("subsets").iter().filter_map(&mut read_subset).collect();
    let withheld = false;
    let host = host.unwrap_or_default();
    Some(DestinationRule { meta, host, traffic_policy: policy, subsets, export_to, workload_selector, withheld })
}

fn subset(item: &Item<'_>, names: &mut BTreeSet<String>) -> Option<Subset> {
    let object = item.object(&SUBSET)?;
    let labels = object.get("labels").map(|item| item.labels()).unwrap_or_default();
    let policy = object.get("trafficPolicy").and_then(|item| traffic_policy(&item)).unwrap_or_default();
    let name = object.required("name").and_then(|item| subset_name(&item, names));
    Some(Subset { name: name.unwrap_or_default(), labels, traffic_policy: policy, withheld: false })
}

fn subset_name(item: &Item<'_>, names: &mut BTreeSet<String>) -> Option<String> {
    let name = item.string()?;
    if !host::is_label(name) {
        item.error(format!("\"{name}\" is not a subset's name"), "letters, digits and \"-\"");
        return None;
    }
    if !names.insert(name.to_owned()) {
        item.error(format!("a second subset named \"{name}\""), "give each subset its own name");
        return None;
    }
    Some(name.to_owned())
}

fn traffic_policy(item: &Item<'_>) -> Option<TrafficPolicy> {
    let object = item.object(&TRAFFIC_POLICY)?;
    if object.is_empty() {
        item.error("is empty", "write a policy, or leave it out");
    }
    let Blocks { load_balancer, connection_pool, outlier_detection, tls } = blocks(&object);
    let mut ports: Vec<PortPolicy> = Vec::new();
    for item in object.list("portLevelSettings") {
        let Part { value, withheld } = item.part("port", || port_policy(&item));
        if withheld {
            item.withheld("requests to this port get 503");
        }
        let Some(mut policy) = value.map(|policy| PortPolicy { withheld, ..policy }) else { continue };
        if policy.port > 0 && ports.iter().any(|other| other.port == policy.port) {
            item.error(format!("a second entry for port {}", policy.port), "only the first has an effect: merge them");
            policy.port = 0;
        }
        ports.push(policy);
    }
    let retry_budget = object.get("retryBudget").and_then(|item| connection_pool::retry_budget(&item));
    Some(TrafficPolicy { load_balancer, connection_pool, outlier_detection, tls, retry_budget, ports })
}

/// The blocks that a policy has for all ports and for one.
struct Blocks {
    load_balancer: Option<LoadBalancer>,
    connection_pool: Option<ConnectionPool>,
    outlier_detection: Option<OutlierDetection>,
    tls: Option<ClientTls>,
}

fn blocks(object: &Object<'_>) -> Blocks {
    let outlier_detection = object.get("outlierDetection").and_then(|item| outlier_detection::read(&item));
    let fails_over = object.has_any(&["outlierDetection"]) || object.is_damaged("outlierDetection");
    let load_balancer = object.get("loadBalancer").and_then(|item| load_balancer::read(&item, fails_over));
    let connection_pool = object.get("connectionPool").and_then(|item| connection_pool::read(&item));
    let tls = object.get("tls").and_then(|item| client_tls::read(&item));
    upstream::check(object);
    Blocks { load_balancer, connection_pool, outlier_detection, tls }
}

fn port_policy(item: &Item<'_>) -> Option<PortPolicy> {
    let object = item.object(&PORT_TRAFFIC_POLICY)?;
    let names = ["loadBalancer", "connectionPool", "outlierDetection", "tls"];
    if !object.has_any(&names) && !names.iter().any(|name| object.is_damaged(name)) {
        item.error("has no policy", "write one beside \"port\"");
    }
    let Blocks { load_balancer, connection_pool, outlier_detection, tls } = blocks(&object);
    let selector = object.required("port").and_then(|item| item.object(&PORT_SELECTOR));
    let port = selector.and_then(|selector| selector.required("number")?.port()).unwrap_or_default();
    Some(PortPolicy { port, load_balancer, connection_pool, outlier_detection, tls, withheld: false })
}
