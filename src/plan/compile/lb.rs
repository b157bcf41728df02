//! `trafficPolicy.loadBalancer`: how a cluster's requests are spread over its endpoints, and what they are hashed by.

use std::net::SocketAddr;

use crate::istio::model::destination_rule::{self as model, HashKey, HashTable, LbPolicy, LoadBalancer};
use crate::istio::model::virtual_service::{Destination, RouteDestination};
use crate::istio::model::{Labels, selects};
use crate::istio::world::{Service, ServicePort};
use crate::plan::Endpoint;
use crate::policy::balance::{Policy, Spread, Warmup};
use crate::policy::hashing::key::{Cookie, Key};
use crate::policy::hashing::{Algorithm, TableSize};

use super::Compiler;
use super::lb_locality::{self as locality, Here, Placed};
use super::lb_rules::{Effective, find_subset, traffic_policy};

impl<'w> Compiler<'w> {
    /// The endpoints of a service's port with these labels, sorted by address, and how requests are spread over them.
    pub(super) fn spread(
        &self,
        service: &'w Service,
        port: &ServicePort,
        labels: &Labels,
        policy: Effective<'w>,
    ) -> (Vec<Endpoint>, Spread) {
        let chosen = service.workloads.iter().filter(|workload| selects(labels, &workload.labels));
        let mut found: Vec<(SocketAddr, Placed<'w>)> = chosen
            .filter_map(|workload| {
                let address = SocketAddr::new(workload.address, workload.listens_on(port)?);
                let (locality, labels, weight) = (&workload.locality, &workload.labels, workload.weight);
                Some((address, Placed { locality, labels, weight }))
            })
            .collect();
        found.sort_by_key(|(address, _)| *address);
        found.dedup_by_key(|(address, _)| *address);
        let proxy = &self.world.proxy;
        let here = Here { locality: &proxy.locality(), labels: &proxy.labels };
        let block = policy.load_balancer;
        let own = block.and_then(|block| block.locality.as_ref());
        let setting = locality::setting(own, &proxy.mesh_config.locality_lb);
        let (addresses, placed): (Vec<SocketAddr>, Vec<Placed<'_>>) = found.into_iter().unzip();
        let mut levels = locality::levels(setting, policy.outlier_detection.is_some(), here, &placed);
        // What no group has gets nothing, and is not even connected to: it is left out.
        let mut kept: Vec<u32> = levels.iter().flatten().flat_map(|group| &group.members).copied().collect();
        kept.sort_unstable();
        for group in levels.iter_mut().flatten() {
            for member in &mut group.members {
                *member = kept.partition_point(|at| at < member) as u32;
            }
        }
        let endpoints: Vec<(SocketAddr, u32)> = kept
            .iter()
            .filter_map(|at| Some((*addresses.get(*at as usize)?, placed.get(*at as usize)?.weight)))
            .collect();
        let spread = Spread::new(algorithm(block), warmup(block), &endpoints, levels);
        (endpoints.into_iter().map(|(address, weight)| Endpoint { address, weight }).collect(), spread)
    }

    /// What requests of a rule are hashed by: every destination that can be drawn adds its own key.
    pub(super) fn hash_keys(&self, route: &[RouteDestination]) -> Box<[Key]> {
        let drawn = route.iter().filter(|entry| entry.weight > 0 || route.len() == 1);
        drawn.filter_map(|entry| self.hash_key(&entry.destination)).collect()
    }

    /// What requests to a destination are hashed by. Istio looks at the destination as it is written: an entry of
    /// `portLevelSettings` counts only for one that names its port (`hashForHTTPDestination`).
    pub(super) fn hash_key(&self, destination: &Destination) -> Option<Key> {
        let service = self.world.services.get(&destination.host).filter(|found| found.hostname == destination.host)?;
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
            // To Istio 0 is the same as nothing.
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
