//! Which problems of a configuration concern an answer: those of the objects that it touches, and of the requested host. In
//! an object with many parts only some count: the matching rule, and the conditions of the others.

use std::collections::{BTreeSet, HashSet};

use super::answer::{Answer, Destination, RouteVerdict, WrittenAt};
use crate::istio::problem::Problem;
use crate::istio::world::World;

/// Resources that belong to a service by their name or their endpoints' alone.
const OF_A_SERVICE: [&str; 4] = ["Endpoints", "EndpointSlice", "Pod", "WorkloadEntry"];

/// The objects and hosts of an answer.
#[derive(Debug)]
pub struct Concern {
    /// `Kind/namespace/name`.
    resources: HashSet<String>,
    /// The rules that take the request, and delegate it: the resource and `spec.http[0]`.
    rules: HashSet<(String, String)>,
    /// The subsets that requests go to: the DestinationRule and `spec.subsets[0]`.
    subsets: HashSet<(String, String)>,
    /// The requested host, and those of the destinations.
    hosts: BTreeSet<String>,
    /// `namespace/name` of the services.
    services: Vec<String>,
}

impl Concern {
    /// The objects and hosts of an answer from this world.
    #[must_use]
    pub fn of(world: &World, answer: &Answer) -> Self {
        let mut resources = HashSet::from([world.proxy.source.resource.to_string()]);
        resources.extend(world.sidecar.iter().map(|sidecar| sidecar.meta.source.resource.to_string()));
        resources.extend(answer.listener.gateways.iter().map(|gateway| format!("Gateway/{gateway}")));
        let rules =
            answer.rule.iter().map(|rule| &rule.place).chain(answer.passed_over.iter().map(|passed| &passed.place));
        rules.for_each(|place| add_place(&mut resources, place));
        let places = std::iter::successors(answer.rule.as_ref().map(|rule| &rule.place), |place| place.root.as_deref());
        let rules = places
            .filter_map(|place| Some((place.resource.clone(), format!("spec.{}[{}]", place.list, place.rule?))))
            .collect();

        let asked = without_port(&answer.authority).to_ascii_lowercase();
        let mut hosts: BTreeSet<String> = destinations(answer).collect();
        hosts.extend(world.services.get(&asked).map(|service| service.hostname.clone()));
        // The client's names of a service: `reviews`, `reviews.shop`.
        if let Some(host) = &answer.host {
            hosts.extend(host.domains.iter().map(|domain| without_port(domain).to_owned()).filter(|host| host != "*"));
        }
        hosts.insert(asked);
        for service in &world.virtual_services {
            if service.hosts.iter().any(|host| host != "*" && hosts.iter().any(|own| covers(host, own))) {
                resources.insert(service.meta.source.resource.to_string());
            }
        }
        let named: BTreeSet<&str> = sent_to(answer).iter().map(|to| to.subset.as_str()).collect();
        let mut subsets = HashSet::new();
        for rule in &world.destination_rules {
            if hosts.iter().any(|own| covers(&rule.host, own)) {
                let resource = rule.meta.source.resource.to_string();
                let used = rule.subsets.iter().enumerate().filter(|(_, subset)| named.contains(subset.name.as_str()));
                subsets.extend(used.map(|(index, _)| (resource.clone(), format!("spec.subsets[{index}]"))));
                resources.insert(resource);
            }
        }
        let mut services = Vec::new();
        for service in hosts.iter().filter_map(|host| world.services.get(host)) {
            let resource = service.source.resource.to_string();
            services.extend(resource.split_once('/').map(|(_, name)| name.to_owned()));
            resources.insert(resource);
        }
        Self { resources, rules, subsets, hosts, services }
    }

    /// Whether a problem is about it. Errors always are.
    #[must_use]
    pub fn has(&self, problem: &Problem) -> bool {
        problem.is_error()
            || problem.resource.is_empty()
            || self.resources.contains(&*problem.resource) && self.has_part(problem)
            || self.is_of_a_service(&problem.resource)
            || part(problem).is_none() && names_in(&problem.what).any(|name| self.hosts.contains(name))
    }

    /// Whether a problem is in a part of an object that the answer depends on. A rule that does not match depends only on
    /// its conditions.
    fn has_part(&self, problem: &Problem) -> bool {
        let Some((part, rest)) = part(problem) else { return true };
        let named = (problem.resource.to_string(), part.to_owned());
        let is_subset = part.starts_with("spec.subsets");
        self.rules.contains(&named)
            || self.subsets.contains(&named)
            || !is_subset && (rest.is_empty() || rest.starts_with(".match"))
    }

    /// `EndpointSlice/shop/cart-x7k2p` is of the service `shop/cart`.
    fn is_of_a_service(&self, resource: &str) -> bool {
        let Some((kind, name)) = resource.split_once('/') else { return false };
        let is_of = |service: &String| {
            let rest = name.strip_prefix(service.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        OF_A_SERVICE.contains(&kind) && self.services.iter().any(is_of)
    }
}

/// The rule or the subset that a problem is about, and the field in it: `spec.http[0]` and `.match[1].uri`.
fn part(problem: &Problem) -> Option<(&str, &str)> {
    const PARTS: [&str; 4] = ["spec.http[", "spec.tls[", "spec.tcp[", "spec.subsets["];
    let list = PARTS.iter().find(|list| problem.path.starts_with(**list))?;
    let end = problem.path.get(list.len()..)?.find(']')?;
    problem.path.split_at_checked(list.len() + end + 1)
}

fn add_place(resources: &mut HashSet<String>, place: &WrittenAt) {
    resources.insert(place.resource.clone());
    if let Some(root) = &place.root {
        add_place(resources, root);
    }
}

/// The destinations that requests go to.
fn sent_to(answer: &Answer) -> &[Destination] {
    match &answer.verdict {
        RouteVerdict::Forward { destinations, .. } | RouteVerdict::Tunnel { destinations, .. } => destinations,
        _ => &[],
    }
}

/// The hosts that requests or copies of them go to.
fn destinations(answer: &Answer) -> impl Iterator<Item = String> {
    let destinations = sent_to(answer);
    let mirrors = match &answer.verdict {
        RouteVerdict::Forward { tries, .. } => tries.mirrors.as_slice(),
        _ => &[],
    };
    let mirrored = mirrors.iter().filter_map(|mirror| mirror.cluster.rsplit_once('|')).map(|(_, host)| host);
    destinations.iter().map(|to| to.host.as_str()).chain(mirrored).filter(|host| !host.is_empty()).map(str::to_owned)
}

/// The quoted names.
fn names_in(text: &str) -> impl Iterator<Item = &str> {
    text.split('"').skip(1).step_by(2)
}

fn covers(pattern: &str, host: &str) -> bool {
    pattern == host || pattern.strip_prefix('*').is_some_and(|suffix| host.ends_with(suffix))
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}
