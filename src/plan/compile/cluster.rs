//! `destination`: the cluster that it names, with the DestinationRule's subset and policy.

use std::collections::BTreeMap;

use crate::base::id::ClusterId;
use crate::istio::model::Labels;
use crate::istio::model::destination_rule::{DestinationRule, LbPolicy, Subset, TrafficPolicy};
use crate::istio::model::virtual_service::Destination;
use crate::istio::world::Service;
use crate::plan::{Cluster, Endpoint, Target};
use crate::policy::balance::Policy;

use super::{Compiler, hostname};

/// Where Istio looks for DestinationRules that are for every namespace (`meshConfig.rootNamespace`).
const ROOT_NAMESPACE: &str = "istio-system";

/// Envoy's default `idle_timeout` of upstream connections.
const IDLE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(3600);

/// Sorts rules by namespace, keeping the order of the documents.
pub(super) fn by_namespace(rules: &[DestinationRule]) -> BTreeMap<&str, Vec<&DestinationRule>> {
    let mut sorted: BTreeMap<&str, Vec<&DestinationRule>> = BTreeMap::new();
    for rule in rules {
        sorted.entry(&rule.meta.namespace).or_default().push(rule);
    }
    sorted
}

impl<'w> Compiler<'w> {
    /// The cluster of a destination. One that does not exist keeps its name: requests to it get 503, flag NC.
    pub(super) fn destination(&mut self, destination: &Destination, listener_port: u16) -> Target {
        // A wildcard service is a cluster of its own name only.
        let service = self.world.services.get(&destination.host).filter(|found| found.hostname == destination.host);
        let port = port(destination, service, listener_port);
        let subset = destination.subset.as_deref().unwrap_or_default();
        let name = format!("outbound|{port}|{subset}|{}", destination.host);
        if let Some(target) = self.targets.get(&name) {
            return target.clone();
        }
        let target = match service.and_then(|service| self.cluster(&name, service, port, destination.subset.as_deref()))
        {
            Some(cluster) => {
                self.clusters.push(cluster);
                Target::Known(ClusterId(self.clusters.len() as u32 - 1))
            }
            None => Target::Missing(name.as_str().into()),
        };
        self.targets.insert(name, target.clone());
        target
    }

    /// `None`: the service has no such port, or no DestinationRule for it has such a subset.
    fn cluster(&self, name: &str, service: &Service, port: u16, subset: Option<&str>) -> Option<Cluster> {
        let port = service.port(port)?;
        let rules = self.rules_for(service);
        let subset = match subset {
            Some(name) => Some(find_subset(&rules, name)?),
            None => None,
        };
        let everyone = Labels::new();
        let labels = subset.map_or(&everyone, |subset| &subset.labels);
        let mut endpoints: Vec<Endpoint> =
            service.endpoints(port, labels).map(|(address, weight)| Endpoint { address, weight }).collect();
        endpoints.sort_by_key(|endpoint| endpoint.address);
        endpoints.dedup_by_key(|endpoint| endpoint.address);
        Some(Cluster {
            name: name.to_owned(),
            policy: load_balancer(traffic_policy(&rules), subset.map(|subset| &subset.traffic_policy)),
            endpoints,
            connect_timeout: self.settings.connect_timeout,
            idle_timeout: Some(IDLE_TIMEOUT),
        })
    }

    /// The DestinationRules of a service: those with the most specific host in the first namespace that has any for
    /// it, looking at the proxy's, then the service's, then the root (Istio's `PushContext.destinationRule`). Several
    /// with the same host count as one.
    fn rules_for(&self, service: &Service) -> Vec<&'w DestinationRule> {
        let own = Some(self.settings.namespace.as_str()).filter(|own| *own != ROOT_NAMESPACE);
        own.into_iter()
            .chain([service.namespace.as_str(), ROOT_NAMESPACE])
            .filter_map(|namespace| self.rules.get(namespace))
            .find_map(|rules| {
                let covering = || rules.iter().filter(|rule| hostname::covers(&rule.host, &service.hostname));
                let best = covering().map(|rule| hostname::by_specificity(&rule.host)).min()?;
                Some(covering().filter(|rule| hostname::by_specificity(&rule.host) == best).copied().collect())
            })
            .unwrap_or_default()
    }
}

/// `destination.port`, else the only port of the service, else the port of the listener.
fn port(destination: &Destination, service: Option<&Service>, listener_port: u16) -> u16 {
    match (destination.port, service.map(|service| service.ports.as_slice())) {
        (Some(number), _) => number,
        (None, Some([only])) => only.number,
        (None, _) => listener_port,
    }
}

/// `subsets`: the first of that name.
fn find_subset<'w>(rules: &[&'w DestinationRule], name: &str) -> Option<&'w Subset> {
    rules.iter().flat_map(|rule| &rule.subsets).find(|subset| subset.name == name)
}

/// `trafficPolicy`: of the first rule that has one.
fn traffic_policy<'w>(rules: &[&'w DestinationRule]) -> Option<&'w TrafficPolicy> {
    rules.iter().map(|rule| &rule.traffic_policy).find(|policy| **policy != TrafficPolicy::default())
}

/// `loadBalancer`: the subset's block replaces the rule's.
fn load_balancer(rule: Option<&TrafficPolicy>, subset: Option<&TrafficPolicy>) -> Policy {
    let block = |policy: Option<&TrafficPolicy>| policy.and_then(|policy| policy.load_balancer.clone());
    match block(subset).or_else(|| block(rule)).unwrap_or_default().policy {
        LbPolicy::LeastRequest => Policy::LeastRequest,
        LbPolicy::RoundRobin => Policy::RoundRobin,
        // Consistent hashing without a hash draws, too.
        LbPolicy::Random | LbPolicy::ConsistentHash(_) => Policy::Random,
    }
}
