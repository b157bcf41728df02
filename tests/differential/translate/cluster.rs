//! Clusters: one for each Service port and subset, with its endpoints and its way of choosing among them.

use serde_json::{Value, json};

use super::{World, array, only, qualified, resilience, text, within};

/// Istio leaves limits that nobody sets at the largest number.
const UNLIMITED: u32 = u32::MAX;

impl World {
    /// Endpoints of a Service port: the WorkloadEntries that its selector and the subset's labels take.
    fn endpoints(&self, service: &Value, port: &Value, labels: &Value) -> Vec<Value> {
        let chosen = self.of("WorkloadEntry").filter(|entry| {
            let has = &entry["spec"]["labels"];
            within(&service["spec"]["selector"], has) && within(labels, has)
        });
        chosen
            .map(|entry| {
                let spec = &entry["spec"];
                only(spec, &["address", "ports", "labels", "weight"]);
                let name = port["name"].as_str().expect("the name of a service port");
                let number = &spec["ports"][name];
                assert!(number.is_u64(), "a WorkloadEntry of a case gives its port by name: {entry}");
                json!({
                    "endpoint": {"address": {"socket_address": {"address": spec["address"], "port_value": number}}},
                    "load_balancing_weight": spec["weight"].as_u64().unwrap_or(1),
                })
            })
            .collect()
    }

    /// The DestinationRules of a host, qualified.
    fn rules_of<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a Value> {
        self.of("DestinationRule").map(|rule| &rule["spec"]).filter(move |spec| qualified(text(spec, "host")) == host)
    }

    /// `outbound|port|subset|host` clusters of every port and subset, as istiod makes them.
    pub(super) fn clusters(&self) -> Vec<Value> {
        let mut clusters = self.discovered();
        for service in self.of("Service") {
            let host = qualified(text(&service["metadata"], "name"));
            for port in array(&service["spec"], "ports") {
                for (subset, labels) in self.subsets(&host) {
                    let name = format!("outbound|{}|{subset}|{host}", port["port"]);
                    let balancer = self.policy(&host, &subset, "loadBalancer");
                    let mut made = cluster(&name, &self.endpoints(service, port, &labels), &balancer);
                    resilience::ejection(&self.policy(&host, &subset, "outlierDetection"), &mut made);
                    resilience::limits(&self.policy(&host, &subset, "connectionPool"), &mut made);
                    clusters.push(made);
                }
            }
        }
        clusters
    }

    /// The whole of a host, and its subsets: their names and labels.
    pub(super) fn subsets(&self, host: &str) -> Vec<(String, Value)> {
        let mut subsets = vec![(String::new(), Value::Null)];
        for spec in self.rules_of(host) {
            only(spec, &["host", "subsets", "trafficPolicy"]);
            for subset in array(spec, "subsets") {
                only(subset, &["name", "labels", "trafficPolicy"]);
                subsets.push((text(subset, "name").to_owned(), subset["labels"].clone()));
            }
        }
        subsets
    }

    /// A block of the `trafficPolicy` in force for a subset: its own, else the rule's.
    pub(super) fn policy(&self, host: &str, subset: &str, block: &str) -> Value {
        let policy = |of: &Value| {
            if !of["trafficPolicy"].is_null() {
                only(&of["trafficPolicy"], &["loadBalancer", "outlierDetection", "connectionPool"]);
            }
            Some(of["trafficPolicy"][block].clone()).filter(|block| !block.is_null())
        };
        for spec in self.rules_of(host) {
            let of_subset = array(spec, "subsets").iter().find(|of_subset| of_subset["name"] == subset);
            if let Some(block) = of_subset.and_then(policy).or_else(|| policy(spec)) {
                return block;
            }
        }
        Value::Null
    }
}

pub(super) fn cluster(name: &str, endpoints: &[Value], balancer: &Value) -> Value {
    if !balancer.is_null() {
        only(balancer, &["simple"]);
    }
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "10s",
        "lb_policy": balancer["simple"].as_str().unwrap_or("LEAST_REQUEST"),
        "circuit_breakers": {"thresholds": [{
            "max_connections": UNLIMITED, "max_pending_requests": UNLIMITED,
            "max_requests": UNLIMITED, "max_retries": UNLIMITED,
        }]},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    })
}
