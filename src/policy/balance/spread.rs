//! A cluster's load balancing in the plan: the policy, and the endpoints sorted into priorities and localities. Made
//! when the plan is compiled, shared by all cores.

use std::sync::Arc;
use std::time::Duration;

use crate::base::endpoint::EndpointAddress;
use crate::policy::hashing::{Algorithm, HashTable, TableMember};

/// How a cluster chooses (Istio's `loadBalancer.simple` and `loadBalancer.consistentHash`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// The less loaded of two drawn at random; with unequal weights, weighted by `weight / (in flight + 1)`.
    #[default]
    LeastRequest,
    /// In turn; with unequal weights, each as often as its weight says.
    RoundRobin,
    /// At random; weights do not count, as in Envoy.
    Random,
    /// By the request's hash; at random without one. Weights count for the parts of the table.
    ConsistentHash(Algorithm),
}

/// `warmup`: a new endpoint gets a growing part of its share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Warmup {
    /// `duration`: how long an endpoint is new; above 0.
    pub duration: Duration,
    /// `minimumPercent`: its share at the least, 0 to 100.
    pub minimum_percent: f64,
    /// `aggression`: 1 grows evenly, more than 1 faster at first; above 0.
    pub aggression: f64,
}

impl Warmup {
    /// The share of its weight that an endpoint of this age gets, above 0; 1 when it is no longer new.
    #[must_use]
    pub fn share(&self, age: Duration) -> f64 {
        if age >= self.duration {
            return 1.0;
        }
        let passed = age.max(Duration::from_millis(1)).div_duration_f64(self.duration);
        passed.powf(self.aggression.recip()).max(self.minimum_percent / 100.0)
    }
}

/// The endpoints of one locality. The groups of a level take turns by their weights, and each group then chooses
/// among its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its weight among the groups of its level, at least 1.
    pub weight: u32,
    /// The positions of its endpoints in the cluster; not empty.
    pub members: Box<[u32]>,
}

/// Groups of one priority: they get the requests that the levels before them are too unhealthy for.
#[derive(Debug, Clone)]
pub struct Level {
    /// Its groups; one, unless a DestinationRule distributes by locality.
    pub groups: Box<[Group]>,
    /// The owner of each hash, with [`Policy::ConsistentHash`].
    pub(super) table: Option<Arc<HashTable>>,
}

/// The table follows from the groups, the policy and the endpoints, and is not compared.
impl PartialEq for Level {
    fn eq(&self, other: &Self) -> bool {
        self.groups == other.groups
    }
}

/// How a cluster's requests are spread. Two for the same endpoints are equal if they spread alike.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadBalancing {
    /// How an endpoint is chosen within a group, or with a hash within a level.
    pub policy: Policy,
    /// `warmup`; has a meaning for [`Policy::LeastRequest`] and [`Policy::RoundRobin`] only.
    pub warmup: Option<Warmup>,
    /// In order of priority; not empty.
    pub levels: Box<[Level]>,
}

impl LoadBalancing {
    /// Whether requests are spread by their hash.
    #[must_use]
    pub fn hashes(&self) -> bool {
        matches!(self.policy, Policy::ConsistentHash(_))
    }

    /// Over all `endpoints` (address and weight) alike.
    #[must_use]
    pub fn even(policy: Policy, warmup: Option<Warmup>, endpoints: &[(EndpointAddress, u32)]) -> Self {
        let everyone = Group { weight: 1, members: (0..endpoints.len() as u32).collect() };
        Self::new(policy, warmup, endpoints, vec![vec![everyone]])
    }

    /// Over `levels` of groups of `endpoints` (address and weight; 0 counts as 1).
    #[must_use]
    pub fn new(
        policy: Policy,
        warmup: Option<Warmup>,
        endpoints: &[(EndpointAddress, u32)],
        levels: Vec<Vec<Group>>,
    ) -> Self {
        let level = |groups: Vec<Group>| {
            let table = match policy {
                Policy::ConsistentHash(algorithm) => {
                    Some(Arc::new(HashTable::new(algorithm, &shares(&groups, endpoints))))
                }
                _ => None,
            };
            Level { groups: groups.into(), table }
        };
        Self { policy, warmup, levels: levels.into_iter().map(level).collect() }
    }
}

/// Every endpoint's part of a level: its group's part of the groups, and of that its own (Envoy's
/// `normalizeLocalityWeights`).
fn shares(groups: &[Group], endpoints: &[(EndpointAddress, u32)]) -> Vec<TableMember> {
    let all: u64 = groups.iter().map(|group| u64::from(group.weight)).sum();
    let mut members = Vec::new();
    for group in groups {
        let of_group = f64::from(group.weight) / all as f64;
        let own = || group.members.iter().filter_map(|at| Some((*at, endpoints.get(*at as usize)?)));
        let sum: u64 = own().map(|(_, (_, weight))| u64::from((*weight).max(1))).sum();
        members.extend(own().map(|(endpoint, (address, weight))| {
            let share = f64::from((*weight).max(1)) * of_group / sum as f64;
            TableMember { endpoint, address: address.clone(), share }
        }));
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_endpoint_warms_up() {
        let warmup =
            |percent, aggression| Warmup { duration: Duration::from_secs(10), minimum_percent: percent, aggression };
        let at = |warmup: Warmup, seconds: f64| warmup.share(Duration::from_secs_f64(seconds));
        for (seconds, expected) in [(0.0, 0.1), (0.5, 0.1), (2.0, 0.2), (5.0, 0.5), (10.0, 1.0), (11.0, 1.0)] {
            assert!((at(warmup(10.0, 1.0), seconds) - expected).abs() < 1e-9, "after {seconds} s");
        }
        assert!((at(warmup(0.0, 2.0), 2.5) - 0.5).abs() < 1e-9, "the square root of a quarter");
        assert!((at(warmup(0.0, 0.5), 5.0) - 0.25).abs() < 1e-9, "the square of a half");
        assert!((at(warmup(0.0, 1.0), 0.0) - 0.0001).abs() < 1e-9, "never nothing at all");
    }

    #[test]
    fn shares_are_of_the_group_and_in_it() {
        let address = |port| EndpointAddress::from(([127, 0, 0, 1], port));
        let endpoints = [(address(1), 1), (address(2), 3), (address(3), 0)];
        let groups = [Group { weight: 80, members: [0, 1].into() }, Group { weight: 20, members: [2].into() }];
        let shares: Vec<(u32, f64)> = shares(&groups, &endpoints).iter().map(|m| (m.endpoint, m.share)).collect();
        assert_eq!(shares, [(0, 0.2), (1, 3.0 * 0.8 / 4.0), (2, 0.2)]);
    }
}
