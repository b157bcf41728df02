//! `localityLbSetting`: endpoints into priorities, and within them into localities with their shares.
//!
//! Istio's `loadbalancer.ApplyLocalityLoadBalancer`. Priorities need something that takes failing endpoints out;
//! without, only `distribute` has an effect.

use std::collections::BTreeMap;

use crate::istio::model::Labels;
use crate::istio::model::Locality;
use crate::istio::model::destination_rule::{Distribute, Failover, LocalityLb};
use crate::policy::balance::Group;

/// The attributes that decide an endpoint's priority.
#[derive(Debug, Clone, Copy)]
pub(in crate::plan) struct Placed<'w> {
    pub(in crate::plan) locality: &'w Locality,
    pub(in crate::plan) labels: &'w Labels,
    pub(in crate::plan) weight: u32,
}

/// Where the proxy is, or an endpoint.
#[derive(Debug, Clone, Copy)]
pub(in crate::plan) struct Here<'w> {
    pub(in crate::plan) locality: &'w Locality,
    pub(in crate::plan) labels: &'w Labels,
}

impl<'w> Here<'w> {
    /// A label's value, or empty. The locality takes precedence over its labels (istiod's `AugmentLabels`).
    fn label(self, key: &str) -> &'w str {
        let place = match key {
            "topology.kubernetes.io/region" => &self.locality.region,
            "topology.kubernetes.io/zone" => &self.locality.zone,
            "topology.istio.io/subzone" => &self.locality.subzone,
            _ => "",
        };
        let label = || self.labels.get(key).map_or("", String::as_str);
        if place.is_empty() { label() } else { place }
    }
}

/// The effective setting: the rule's, else the mesh's; `None` if that one is turned off.
pub(in crate::plan) fn setting<'w>(rule: Option<&'w LocalityLb>, mesh: &'w LocalityLb) -> Option<&'w LocalityLb> {
    Some(rule.unwrap_or(mesh)).filter(|setting| setting.enabled != Some(false))
}

/// The endpoints' levels and groups. Endpoints outside of all groups get no requests: `distribute` gives their
/// locality no weight.
pub(in crate::plan) fn levels(
    setting: Option<&LocalityLb>,
    outlier_detection: bool,
    here: Here<'_>,
    endpoints: &[Placed<'_>],
) -> Vec<Vec<Group>> {
    let everyone = || vec![vec![Group { weight: 1, members: (0..endpoints.len() as u32).collect() }]];
    let Some(setting) = setting else { return everyone() };
    if !setting.distribute.is_empty() {
        let rule = setting.distribute.iter().find(|rule| matches(here.locality, &rule.from));
        return rule.map_or_else(everyone, |rule| vec![distributed(rule, endpoints)]);
    }
    if !outlier_detection {
        return everyone();
    }
    let mut levels: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
    for (at, endpoint) in endpoints.iter().enumerate() {
        levels.entry(priority(setting, here, endpoint)).or_default().push(at as u32);
    }
    // Istio turns weighting by locality on only where priorities are written down.
    let weighted = !setting.failover.is_empty() || !setting.failover_priority.is_empty();
    let groups = |members: Vec<u32>| match weighted {
        true => by_locality(endpoints, members.into_iter()),
        false => vec![Group { weight: 1, members: members.into() }],
    };
    if levels.is_empty() { everyone() } else { levels.into_values().map(groups).collect() }
}

/// `distribute`: the localities of each entry of `to` divide its share by their weights.
fn distributed(rule: &Distribute, endpoints: &[Placed<'_>]) -> Vec<Group> {
    let mut left = by_place(endpoints, 0..endpoints.len() as u32);
    let mut groups = Vec::new();
    for (to, share) in &rule.to {
        let (chosen, rest): (BTreeMap<_, _>, _) = left.into_iter().partition(|(place, _)| matches(place, to));
        left = rest;
        let chosen: Vec<Vec<u32>> = chosen.into_values().collect();
        let weights: Vec<u64> = chosen.iter().map(|members| weight(endpoints, members)).collect();
        let total: u64 = weights.iter().sum();
        groups.extend(chosen.into_iter().zip(weights).map(|(members, weight)| Group {
            weight: saturated((weight * u64::from(*share)).div_ceil(total)),
            members: members.into(),
        }));
    }
    groups
}

/// How far an endpoint is behind the nearest ones: first by the labels of `failoverPriority`, then, unless only these
/// are given, by locality.
fn priority(setting: &LocalityLb, here: Here<'_>, endpoint: &Placed<'_>) -> usize {
    let there = Here { locality: endpoint.locality, labels: endpoint.labels };
    let by_labels = match (here.labels.is_empty(), setting.failover_priority.as_slice()) {
        (_, []) => return distance(here.locality, endpoint.locality, &setting.failover),
        (true, _) => 0,
        (false, keys) => keys.len() - agreeing(keys, here, there),
    };
    if setting.failover.is_empty() {
        return by_labels;
    }
    /// More than any distance.
    const DISTANCES: usize = 5;
    by_labels * DISTANCES + distance(here.locality, endpoint.locality, &setting.failover)
}

/// How many of `keys`, from the first on, have the same value there as here, or the key's own (`key=value`).
fn agreeing(keys: &[String], here: Here<'_>, there: Here<'_>) -> usize {
    let agrees = |key: &&String| match key.split_once('=') {
        Some((key, value)) => there.label(key) == value,
        None => there.label(key) == here.label(key),
    };
    keys.iter().take_while(agrees).count()
}

/// 0 in the same subzone, 1 in the same zone, 2 in the same region, 3 elsewhere, 4 in a region that `failover`
/// excludes.
fn distance(here: &Locality, there: &Locality, failover: &[Failover]) -> usize {
    if here.region != there.region {
        let to = failover.iter().find(|rule| rule.from == here.region).map(|rule| &rule.to);
        return if to.is_none_or(|to| *to == there.region) { 3 } else { 4 };
    }
    match (here.zone == there.zone, here.subzone == there.subzone) {
        (true, true) => 0,
        (true, false) => 1,
        (false, _) => 2,
    }
}

/// Whether a locality is within `pattern`: `region/zone/subzone`, of which `*` and missing ends are anything.
fn matches(locality: &Locality, pattern: &str) -> bool {
    let pattern = Locality::parse(pattern);
    let within = |own: &str, wanted: &str| wanted == "*" || wanted.is_empty() || own == wanted;
    (pattern.region == "*" || locality.region == pattern.region)
        && within(&locality.zone, &pattern.zone)
        && within(&locality.subzone, &pattern.subzone)
}

fn by_locality(endpoints: &[Placed<'_>], members: impl Iterator<Item = u32>) -> Vec<Group> {
    by_place(endpoints, members)
        .into_values()
        .map(|members| Group { weight: saturated(weight(endpoints, &members)), members: members.into() })
        .collect()
}

fn by_place<'w>(endpoints: &[Placed<'w>], members: impl Iterator<Item = u32>) -> BTreeMap<&'w Locality, Vec<u32>> {
    let mut places: BTreeMap<&Locality, Vec<u32>> = BTreeMap::new();
    for at in members {
        if let Some(endpoint) = endpoints.get(at as usize) {
            places.entry(endpoint.locality).or_default().push(at);
        }
    }
    places
}

fn weight(endpoints: &[Placed<'_>], members: &[u32]) -> u64 {
    members.iter().filter_map(|at| endpoints.get(*at as usize)).map(|endpoint| u64::from(endpoint.weight)).sum()
}

fn saturated(weight: u64) -> u32 {
    u32::try_from(weight).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
