//! `trafficPolicy.loadBalancer`: how a cluster's requests are spread over its endpoints, and their hash keys.

use std::sync::Arc;

use crate::istio::model::destination_rule::{self as model, HashKey, HashTable, LbPolicy, LoadBalancer};
use crate::istio::model::kube::TargetPort;
use crate::istio::model::service_entry::Resolution;
use crate::istio::model::virtual_service::{Destination, RouteDestination};
use crate::istio::model::{Labels, selects};
use crate::istio::world::{Service, ServicePort};
use crate::plan::discovery::Found;
use crate::plan::{Cluster, Discovery, NameKind, Named, Names, OwnAuthority, Recipe};
use crate::policy::balance::{LoadBalancing, Policy, Warmup};
use crate::policy::hashing::key::{Cookie, Key};
use crate::policy::hashing::{Algorithm, TableSize};

use super::Compiler;
use super::lb_locality::{self as locality, Placed};
use super::lb_rules::{Effective, find_subset, traffic_policy};

impl<'w> Compiler<'w> {
    /// The cluster of a service's port with these labels: its members, and how requests are spread over them.
    pub(super) fn members(
        &self,
        name: &str,
        service: &'w Service,
        port: &ServicePort,
        labels: &Labels,
        policy: Effective<'w>,
    ) -> Cluster {
        let kind = match service.resolution {
            Resolution::Static => None,
            Resolution::Dns => Some(NameKind::Every),
            Resolution::DnsRoundRobin => Some(NameKind::First),
            Resolution::None | Resolution::DynamicDns => return self.own_authority(name, service, port),
        };
        let recipe = self.recipe(policy);
        let chosen = service.workloads.iter().filter(|workload| selects(labels, &workload.labels));
        let chosen = chosen.filter_map(|workload| Some((workload, workload.listens_on(port)?)));
        let Some(kind) = kind else {
            let found = chosen.filter_map(|(workload, port)| {
                let (locality, labels, weight) = (&workload.locality, &workload.labels, workload.weight);
                let placed = Placed { locality, labels, weight };
                Some(Found { address: workload.endpoint(port)?, placed, hostname: "" })
            });
            let (endpoints, spread, _) = recipe.members(found.collect());
            return Cluster::new(name, spread, endpoints, self.settings.connect_timeout);
        };
        let named = chosen.map(|(workload, port)| Named {
            address: workload.address.clone(),
            port,
            weight: workload.weight,
            locality: workload.locality.clone(),
            labels: workload.labels.clone(),
        });
        let names = Arc::new(Names { kind, named: named.collect(), recipe });
        let unresolved = Cluster::new(
            name,
            LoadBalancing::even(names.recipe.policy, None, &[]),
            Vec::new(),
            self.settings.connect_timeout,
        );
        names.resolved(&unresolved, |_| &[])
    }

    /// The cluster of requests that go where their authority says.
    fn own_authority(&self, name: &str, service: &Service, port: &ServicePort) -> Cluster {
        let at_gateways = service.resolution == Resolution::DynamicDns;
        let target = match port.target {
            TargetPort::Number(number) => number,
            TargetPort::Name(_) => port.number,
        };
        let own =
            OwnAuthority { host: service.hostname.as_str().into(), port: at_gateways.then_some(target), at_gateways };
        let nobody = LoadBalancing::even(Policy::Random, None, &[]);
        let cluster = Cluster::new(name, nobody, Vec::new(), self.settings.connect_timeout);
        Cluster { discovery: Discovery::Authority(own), ..cluster }
    }

    fn recipe(&self, policy: Effective<'w>) -> Recipe {
        let proxy = &self.world.proxy;
        let block = policy.load_balancer;
        let own = block.and_then(|block| block.locality.as_ref());
        Recipe {
            policy: algorithm(block),
            warmup: warmup(block),
            locality: locality::setting(own, &proxy.mesh_config.locality_lb).cloned(),
            ejects: policy.outlier_detection.is_some(),
            here: (proxy.locality(), proxy.labels.clone()),
        }
    }

    /// The hash keys of a rule's requests: every destination that can be drawn adds its own key.
    pub(super) fn hash_keys(&self, route: &[RouteDestination]) -> Box<[Key]> {
        let drawn = route.iter().filter(|entry| entry.weight > 0 || route.len() == 1);
        drawn.filter_map(|entry| self.hash_key(&entry.destination)).collect()
    }

    /// The hash key of requests to a destination. Istio looks at the destination as it is written: an entry of
    /// `portLevelSettings` counts only for one that names its port (`hashForHTTPDestination`).
    pub(super) fn hash_key(&self, destination: &Destination) -> Option<Key> {
        let service = self.world.services.named(&destination.host)?;
        let rules = self.rules.of(service, self.settings);
        let of_rule = traffic_policy(&rules);
        let of_subset = destination.subset.as_deref().and_then(|name| find_subset(&rules, name));
        let of_subset = of_subset.map(|subset| &subset.traffic_policy);
        let at_port = |policy: &'w model::TrafficPolicy| {
            let entry = policy.ports.iter().find(|entry| Some(entry.port) == destination.port)?;
            hash(entry.load_balancer.as_ref())
        };
        let whole = |policy: &'w model::TrafficPolicy| hash(policy.load_balancer.as_ref());
        let chosen = of_subset
            .and_then(|policy| at_port(policy).or_else(|| whole(policy)))
            .or_else(|| of_rule.and_then(|policy| at_port(policy).or_else(|| whole(policy))));
        match &chosen?.key {
            HashKey::Header(name) => Some(Key::Header(name.to_ascii_lowercase().into())),
            HashKey::Cookie(cookie) => Some(Key::Cookie(Cookie {
                name: cookie.name.as_str().into(),
                path: cookie.path.as_str().into(),
                ttl: cookie.ttl,
                attributes: cookie
                    .attributes
                    .iter()
                    .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
                    .collect(),
            })),
            HashKey::SourceIp => Some(Key::SourceIp),
            HashKey::QueryParameter(name) => Some(Key::Query(name.as_str().into())),
            HashKey::Nothing => None,
        }
    }
}

fn hash(block: Option<&LoadBalancer>) -> Option<&model::ConsistentHash> {
    match &block?.policy {
        LbPolicy::ConsistentHash(hash) => Some(hash),
        _ => None,
    }
}

fn algorithm(block: Option<&LoadBalancer>) -> Policy {
    match block.map(|block| &block.policy) {
        None | Some(LbPolicy::LeastRequest) => Policy::LeastRequest,
        Some(LbPolicy::RoundRobin) => Policy::RoundRobin,
        Some(LbPolicy::Random) => Policy::Random,
        Some(LbPolicy::ConsistentHash(hash)) => Policy::ConsistentHash(match hash.table {
            // To Istio 0 is the same as an absent field.
            HashTable::Ring { minimum_size: 0 } => Algorithm::default(),
            HashTable::Ring { minimum_size } => Algorithm::Ring { minimum: minimum_size },
            HashTable::Maglev { table_size } => {
                Algorithm::Maglev { size: TableSize::new(table_size).unwrap_or_default() }
            }
        }),
    }
}

fn warmup(block: Option<&LoadBalancer>) -> Option<Warmup> {
    block?.warmup.map(|warmup| Warmup {
        duration: warmup.duration,
        minimum_percent: warmup.minimum_percent,
        aggression: warmup.aggression,
    })
}

#[cfg(test)]
mod tests;
