//! ServiceEntries: the clusters whose endpoints are host names, and those that are written down.

use serde_json::{Value, json};

use super::cluster::cluster;
use super::{Family, Outbound, World, array, kind, only, resilience, socket_address, text, within};

/// The cluster of hosts that nobody declared, and its cache.
pub(super) const UNDECLARED: &str = "AllowAnyDynamicDNSCluster";

impl World {
    /// Every host of every ServiceEntry.
    pub(super) fn hosts_of_entries(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.of("ServiceEntry").flat_map(|entry| {
            let hosts = array(&entry["spec"], "hosts").iter().map(|host| host.as_str().expect("a host"));
            hosts.map(move |host| (host, entry))
        })
    }

    /// `outbound|port|subset|host` for each port and subset of each host.
    pub(super) fn discovered(&self) -> Vec<Value> {
        let mut clusters = Vec::new();
        for (host, entry) in self.hosts_of_entries() {
            let spec = &entry["spec"];
            only(spec, &["hosts", "ports", "resolution", "endpoints"]);
            for port in array(spec, "ports") {
                only(port, &["number", "name", "protocol", "targetPort"]);
                for (subset, labels) in self.subsets(host) {
                    let name = format!("outbound|{}|{subset}|{host}", port["number"]);
                    let endpoints = endpoints(spec, host, port, &labels);
                    let mut made = cluster(&name, &endpoints, &self.policy(host, &subset, "loadBalancer"));
                    resilience::ejection(&self.policy(host, &subset, "outlierDetection"), &mut made);
                    resilience::limits(&self.policy(host, &subset, "connectionPool"), &mut made);
                    self.resolve(host, text(spec, "resolution"), &mut made);
                    clusters.push(made);
                }
            }
        }
        clusters
    }

    /// What istiod says of clusters whose endpoints are names.
    fn resolve(&self, host: &str, resolution: &str, cluster: &mut Value) {
        cluster["type"] = match resolution {
            "STATIC" => return,
            "DNS" => json!("STRICT_DNS"),
            "DNS_ROUND_ROBIN" => json!("LOGICAL_DNS"),
            "DYNAMIC_DNS" => {
                *cluster = self.forwarding(text(cluster, "name"), host);
                return;
            }
            other => panic!("the translator to Envoy does not know resolution {other}; teach it first"),
        };
        cluster["dns_lookup_family"] = self.family();
        cluster["dns_refresh_rate"] = self.mesh_config["dnsRefreshRate"].clone();
        cluster["dns_jitter"] = json!("0.1s");
        cluster["respect_dns_ttl"] = json!(true);
        cluster["typed_dns_resolver_config"] = self.resolver();
    }

    /// A cluster that goes wherever the request's own host is, and that shares its cache with a filter.
    pub(super) fn forwarding(&self, name: &str, cache: &str) -> Value {
        let mut made = cluster(name, &[], &Value::Null);
        let fields = made.as_object_mut().expect("a cluster");
        fields.retain(|field, _| field != "type" && field != "load_assignment");
        made["lb_policy"] = json!("CLUSTER_PROVIDED");
        made["cluster_type"] = json!({
            "name": "envoy.clusters.dynamic_forward_proxy",
            "typed_config": {
                "@type": kind("clusters.dynamic_forward_proxy.v3.ClusterConfig"),
                "dns_cache_config": self.cache(cache),
            },
        });
        made
    }

    fn family(&self) -> Value {
        match self.names.expect("a world with names has a name server").1 {
            Family::V4Only => json!("V4_ONLY"),
            Family::All => json!("ALL"),
        }
    }

    /// Who is asked, and how long.
    fn resolver(&self) -> Value {
        json!({
            "name": "envoy.network.dns_resolver.cares",
            "typed_config": {
                "@type": kind("network.dns_resolver.cares.v3.CaresDnsResolverConfig"),
                "resolvers": [socket_address(self.names.expect("a world with names has a name server").0)],
                "dns_resolver_options": {"no_default_search_domain": true},
                "udp_max_queries": 100,
                // As ringway is told to.
                "query_timeout_seconds": 2,
                "query_tries": 1,
            },
        })
    }

    fn cache(&self, host: &str) -> Value {
        json!({"name": host, "dns_lookup_family": self.family(), "typed_dns_resolver_config": self.resolver()})
    }

    /// The filters that find the hosts of wildcards; istiod has each in the listener of its own port.
    pub(super) fn forward_filters(&self, outbound: Outbound) -> Vec<Value> {
        let entries = self.hosts_of_entries().filter(|(_, entry)| entry["spec"]["resolution"] == "DYNAMIC_DNS");
        let undeclared = (outbound == Outbound::AllowAnyDynamicDns).then_some(UNDECLARED);
        let filter = |host: &str| {
            json!({
                "name": "envoy.filters.http.dynamic_forward_proxy",
                "typed_config": {
                    "@type": kind("filters.http.dynamic_forward_proxy.v3.FilterConfig"),
                    "dns_cache_config": self.cache(host),
                },
            })
        };
        entries.map(|(host, _)| host).chain(undeclared).map(filter).collect()
    }
}

/// Those of `endpoints` with these labels, or the host itself.
fn endpoints(spec: &Value, host: &str, port: &Value, labels: &Value) -> Vec<Value> {
    let target = if port["targetPort"].is_null() { &port["number"] } else { &port["targetPort"] };
    let endpoint = |address: &str, port: &Value, weight: u64| {
        json!({
            "endpoint": {"address": {"socket_address": {"address": address, "port_value": port}}},
            "load_balancing_weight": weight,
        })
    };
    let chosen = array(spec, "endpoints").iter().filter(|written| within(labels, &written["labels"]));
    let written = chosen.map(|written| {
        only(written, &["address", "ports", "weight", "labels"]);
        let own = &written["ports"][text(port, "name")];
        let port = if own.is_null() { target } else { own };
        endpoint(text(written, "address"), port, written["weight"].as_u64().unwrap_or(1))
    });
    let written: Vec<Value> = written.collect();
    if array(spec, "endpoints").is_empty() { vec![endpoint(host, target, 1)] } else { written }
}
