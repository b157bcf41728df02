//! Which problems of a configuration concern an answer: those of the objects that it touches, and of the host that was
//! asked for.

use std::collections::{BTreeSet, HashSet};

use super::answer::{Answer, Verdict, WrittenAt};
use crate::istio::problem::Problem;
use crate::istio::world::World;

/// Resources that belong to a service by their name or their endpoints' alone.
const OF_A_SERVICE: [&str; 4] = ["Endpoints", "EndpointSlice", "Pod", "WorkloadEntry"];

/// What an answer is about.
#[derive(Debug)]
pub struct Concern {
    /// `Kind/namespace/name`.
    resources: HashSet<String>,
    /// The host that was asked for, and those of the destinations.
    hosts: BTreeSet<String>,
    /// `namespace/name` of the services.
    services: Vec<String>,
}

impl Concern {
    /// What an answer from this world is about.
    #[must_use]
    pub fn of(world: &World, answer: &Answer) -> Self {
        let mut resources = HashSet::from([world.proxy.source.resource.to_string()]);
        resources.extend(world.sidecar.iter().map(|sidecar| sidecar.meta.source.resource.to_string()));
        resources.extend(answer.listener.gateways.iter().map(|gateway| format!("Gateway/{gateway}")));
        let rules =
            answer.rule.iter().map(|rule| &rule.place).chain(answer.passed_over.iter().map(|passed| &passed.place));
        rules.for_each(|place| add_place(&mut resources, place));

        let asked = without_port(&answer.authority).to_ascii_lowercase();
        let mut hosts: BTreeSet<String> = destinations(answer).collect();
        hosts.extend(world.services.get(&asked).map(|service| service.hostname.clone()));
        // What the client calls a service by: `reviews`, `reviews.shop`.
        if let Some(host) = &answer.host {
            hosts.extend(host.domains.iter().map(|domain| without_port(domain).to_owned()).filter(|host| host != "*"));
        }
        hosts.insert(asked);
        for service in &world.virtual_services {
            if service.hosts.iter().any(|host| host != "*" && hosts.iter().any(|own| covers(host, own))) {
                resources.insert(service.meta.source.resource.to_string());
            }
        }
        for rule in &world.destination_rules {
            if hosts.iter().any(|own| covers(&rule.host, own)) {
                resources.insert(rule.meta.source.resource.to_string());
            }
        }
        let mut services = Vec::new();
        for service in hosts.iter().filter_map(|host| world.services.get(host)) {
            let resource = service.source.resource.to_string();
            services.extend(resource.split_once('/').map(|(_, name)| name.to_owned()));
            resources.insert(resource);
        }
        Self { resources, hosts, services }
    }

    /// Whether a problem is about it. Errors always are.
    #[must_use]
    pub fn has(&self, problem: &Problem) -> bool {
        problem.is_error()
            || problem.resource.is_empty()
            || self.resources.contains(&*problem.resource)
            || self.is_of_a_service(&problem.resource)
            || names_in(&problem.what).any(|name| self.hosts.contains(name))
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

fn add_place(resources: &mut HashSet<String>, place: &WrittenAt) {
    resources.insert(place.resource.clone());
    if let Some(root) = &place.root {
        add_place(resources, root);
    }
}

/// The hosts that requests or copies of them go to.
fn destinations(answer: &Answer) -> impl Iterator<Item = String> {
    let (destinations, mirrors) = match &answer.verdict {
        Verdict::Forward { destinations, tries, .. } => (destinations.as_slice(), tries.mirrors.as_slice()),
        Verdict::Tunnel { destinations, .. } => (destinations.as_slice(), [].as_slice()),
        _ => ([].as_slice(), [].as_slice()),
    };
    let mirrored = mirrors.iter().filter_map(|mirror| mirror.cluster.rsplit_once('|')).map(|(_, host)| host);
    destinations.iter().map(|to| to.host.as_str()).chain(mirrored).filter(|host| !host.is_empty()).map(str::to_owned)
}

/// What stands in quotes.
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
