//! All resources together, with every name resolved: what `plan` compiles.
//!
//! Short names are expanded, gateway references are `namespace/name`, and Kubernetes Services, ServiceEntries,
//! WorkloadEntries, EndpointSlices and Pods have become one registry of [`Service`]s. Everything is in a fixed order,
//! so the same files give the same world.

use std::collections::BTreeMap;
use std::net::IpAddr;

use foldhash::HashMap;

use super::damage::Damage;
use super::model::destination_rule::{DestinationRule, Subset, TrafficPolicy};
use super::model::export::ExportTo;
use super::model::gateway::Gateway;
use super::model::kube::TargetPort;
use super::model::proxy::Proxy;
use super::model::scalar::{Protocol, host};
use super::model::service_entry::Resolution;
use super::model::sidecar::Sidecar;
use super::model::virtual_service::{EVERY_GATEWAY, VirtualService};
use super::model::workload_entry::Address;
use super::model::{Labels, Locality, Model, Withhold, selects};
use super::problem::{Problem, Source};
use crate::base::endpoint::EndpointAddress;

mod checks;
mod registry;
mod visibility;

pub use visibility::{Hidden, View, Why};

/// The whole configuration, resolved.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// Settings of the process.
    pub proxy: Proxy,
    /// All Gateways, also those whose selector does not match the proxy, in file and document order.
    pub gateways: Vec<Gateway>,
    /// All VirtualServices, in file and document order (Istio's creation order).
    pub virtual_services: Vec<VirtualService>,
    /// All DestinationRules, in file and document order.
    pub destination_rules: Vec<DestinationRule>,
    /// The Sidecar that is the proxy's, if any: the one of its namespace that selects it, else the one without a
    /// selector, else the root namespace's without one.
    pub sidecar: Option<Sidecar>,
    /// The registry.
    pub services: Services,
    /// Which fields could not be read.
    damage: Damage,
}

impl World {
    /// Whether a service, or a subset of it, is withheld, because a field about it is not enforced (`--permissive`).
    #[must_use]
    pub fn withholds(&self, hostname: &str, subset: &str, port: Option<u16>) -> bool {
        let of_ports =
            |policy: &TrafficPolicy| policy.ports.iter().any(|entry| entry.withheld && Some(entry.port) == port);
        let of_subset = |own: &Subset| own.name == subset && (own.withheld || of_ports(&own.traffic_policy));
        let of_rule = |rule: &&DestinationRule| {
            rule.withheld || of_ports(&rule.traffic_policy) || !subset.is_empty() && rule.subsets.iter().any(of_subset)
        };
        let mut rules = self.destination_rules.iter().filter(|rule| host::covers(&rule.host, hostname));
        let Some(service) = self.services.get(hostname) else { return false };
        service.withheld || rules.any(|rule| of_rule(&rule))
    }

    /// Puts the resources together and says which references lead nowhere.
    pub(super) fn build(mut model: Model, permissive: bool) -> (Self, Vec<Problem>) {
        let mut problems = Vec::new();
        bind_everywhere(&mut model);
        let proxy = model.proxy.take().unwrap_or_default();
        let services = registry::build(&mut model, &proxy.mesh_config, &mut problems);
        let mut world = Self {
            sidecar: visibility::own_sidecar(&proxy, &model.sidecars).cloned(),
            proxy,
            gateways: model.gateways,
            virtual_services: model.virtual_services,
            destination_rules: model.destination_rules,
            services,
            damage: Damage::default(),
        };
        let gaps = checks::check(&world, &model.sidecars, permissive, &model.damage, &mut problems);
        world.damage = model.damage;
        world.drop_unreadable();
        (if gaps { world.without_sidecar() } else { world }, problems)
    }
}

/// Binds the VirtualServices that are for [`EVERY_GATEWAY`] to the Gateways that there are.
fn bind_everywhere(model: &mut Model) {
    for service in &mut model.virtual_services {
        if service.gateways.last().is_some_and(|last| last == EVERY_GATEWAY) {
            service.gateways.pop();
            service.gateways.extend(model.gateways.iter().map(|gateway| gateway.meta.full_name()));
        }
    }
}

impl World {
    /// The world with a Sidecar that makes nothing visible.
    fn without_sidecar(mut self) -> Self {
        self.sidecar = self.sidecar.and_then(Withhold::withhold);
        self
    }
}

impl World {
    /// Removes parts that are kept for the checks only: their configuration has errors and is not served.
    fn drop_unreadable(&mut self) {
        for service in &mut self.virtual_services {
            service.http.retain(|rule| rule.is_whole);
            for mirroring in service.http.iter_mut().map(|rule| &mut rule.mirroring) {
                mirroring.mirror.take_if(|to| !to.is_known());
                mirroring.mirrors.retain(|(to, _)| to.is_known());
            }
            service.tls.retain(|rule| rule.is_whole);
            service.tcp.retain(|rule| rule.is_whole);
        }
        for gateway in &mut self.gateways {
            gateway.servers.retain(|server| server.port > 0);
        }
        if let Some(sidecar) = &mut self.sidecar {
            sidecar.egress_proxy.take_if(|to| !to.is_known());
        }
        self.destination_rules.retain(|rule| !rule.host.is_empty());
        for rule in &mut self.destination_rules {
            rule.traffic_policy.ports.retain(|entry| entry.port > 0);
            rule.subsets.retain(|subset| !subset.name.is_empty());
            rule.subsets.iter_mut().for_each(|subset| subset.traffic_policy.ports.retain(|entry| entry.port > 0));
        }
    }

    /// Whether one of these fields could not be read in some resource of a kind: a missing reference may be in it.
    #[must_use]
    pub fn is_unknown(&self, kind: &str, fields: &[&str]) -> bool {
        self.damage.of_kind(kind, fields)
    }

    /// Whether a problem comes of a field alone that could not be read, which has been told.
    #[must_use]
    pub fn is_consequence(&self, problem: &Problem) -> bool {
        !problem.is_error() && self.damage.of(&problem.resource, &problem.path)
    }
}

/// The registry of services.
#[derive(Debug, Clone, Default)]
pub struct Services {
    /// By host name, each of which is there once.
    sorted: Vec<Service>,
    /// Places in `sorted`: every rule asks for its destination.
    places: HashMap<Box<str>, usize>,
    /// Aliases of services, by their name.
    aliases: BTreeMap<String, Alias>,
}

/// A Service of type ExternalName whose name is that of another service.
#[derive(Debug, Clone)]
pub struct Alias {
    /// Host name of the service, which is not an alias itself.
    pub of: String,
    /// Its only port, if it has one: the default of rules without a port.
    pub port: Option<u16>,
    /// In which namespaces it is visible.
    pub export_to: ExportTo,
}

impl Services {
    fn new(services: BTreeMap<String, Service>, aliases: BTreeMap<String, Alias>) -> Self {
        let sorted: Vec<_> = services.into_values().collect();
        let place = |(place, service): (usize, &Service)| (service.hostname.as_str().into(), place);
        Self { places: sorted.iter().enumerate().map(place).collect(), sorted, aliases }
    }

    fn exactly(&self, hostname: &str) -> Option<&Service> {
        self.places.get(hostname).and_then(|place| self.sorted.get(*place))
    }

    /// The service that this host name is an alias of.
    #[must_use]
    pub fn alias(&self, hostname: &str) -> Option<&Alias> {
        self.aliases.get(hostname)
    }

    /// The other names of a service that a proxy of `namespace` sees.
    pub fn aliases_of<'a>(&'a self, service: &'a Service, namespace: &'a str) -> impl Iterator<Item = &'a str> {
        let own = self.aliases.iter().filter(|(_, alias)| alias.of == service.hostname);
        own.filter(|(_, alias)| alias.export_to.reaches(namespace)).map(|(name, _)| name.as_str())
    }

    /// The service with this lower-case full host name, or that it is another name for; no wildcard over it.
    #[must_use]
    pub fn named(&self, hostname: &str) -> Option<&Service> {
        self.exactly(self.alias(hostname).map_or(hostname, |alias| alias.of.as_str()))
    }

    /// The service with this lower-case full host name: exactly or as an alias, else the longest wildcard (`*.suffix`)
    /// over it.
    #[must_use]
    pub fn get(&self, hostname: &str) -> Option<&Service> {
        if let Some(service) = self.named(hostname) {
            return Some(service);
        }
        // Every wildcard that covers the name is `*` plus a suffix of it; the first hit is the longest.
        let mut at = 0;
        while let Some(suffix) = hostname.get(at..) {
            if suffix.starts_with('.')
                && let Some(service) = self.exactly(&format!("*{suffix}"))
            {
                return Some(service);
            }
            let Some(dot) = hostname.get(at + 1..).and_then(|rest| rest.find('.')) else { break };
            at += 1 + dot;
        }
        None
    }

    /// The first service whose host name begins with `prefix`.
    fn starting_with(&self, prefix: &str) -> Option<&Service> {
        let place = self.sorted.partition_point(|service| service.hostname.as_str() < prefix);
        self.sorted.get(place).filter(|service| service.hostname.starts_with(prefix))
    }

    /// All services, by host name.
    pub fn iter(&self) -> impl Iterator<Item = &Service> {
        self.sorted.iter()
    }
}

/// Something that requests can be sent to: a Kubernetes Service or a host of a ServiceEntry.
#[derive(Debug, Clone)]
pub struct Service {
    /// `httpbin.default.svc.cluster.local`, or the ServiceEntry's host; lower-case.
    pub hostname: String,
    /// Namespace of the resource.
    pub namespace: String,
    /// Ports that clients may address, by number.
    pub ports: Vec<ServicePort>,
    /// How its workloads are found; `Static` for Kubernetes.
    pub resolution: Resolution,
    /// Its workloads, in a fixed order; with a host name only where the resolution takes names.
    pub workloads: Vec<Workload>,
    /// Its own addresses, which a request's Host may have instead of the name: cluster IPs, `addresses`.
    pub addresses: Vec<IpAddr>,
    /// In which namespaces it is visible.
    pub export_to: ExportTo,
    /// The names in its servers' certificates (`ServiceEntry.subjectAltNames`); empty: the requested name.
    pub subject_alt_names: Vec<String>,
    /// Whether requests to it get 503, because `--permissive` leaves out a field that restricts them.
    pub withheld: bool,
    /// Where it was written.
    pub source: Source,
}

/// A port of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// The port that clients address.
    pub number: u16,
    /// Its name; empty when it has none.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// The port that the workloads listen on, unless they have their own.
    pub target: TargetPort,
}

/// One process that answers for a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Its address.
    pub address: Address,
    /// Its labels, which subsets select on.
    pub labels: Labels,
    /// Its share of the load; at least 1.
    pub weight: u32,
    /// Its locality; empty when unknown.
    pub locality: Locality,
    /// Its own ports.
    pub ports: WorkloadPorts,
}

/// The ports of a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkloadPorts {
    /// A WorkloadEntry: by service port name, or by the name that `targetPort` says; others follow the service.
    Overrides(BTreeMap<String, u16>),
    /// An EndpointSlice: by service port name, and there are no others.
    Exactly(BTreeMap<String, u16>),
}

impl Service {
    /// The port with this number.
    #[must_use]
    pub fn port(&self, number: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|port| port.number == number)
    }

    /// The addresses that answer on `port` among the workloads with all of `labels` (empty: all), each with its weight, in
    /// the order of the workloads. Workloads that only have a name are left out.
    pub fn endpoints<'a>(
        &'a self,
        port: &'a ServicePort,
        labels: &'a Labels,
    ) -> impl Iterator<Item = (EndpointAddress, u32)> + 'a {
        self.workloads
            .iter()
            .filter(move |workload| selects(labels, &workload.labels))
            .filter_map(move |workload| Some((workload.endpoint(workload.listens_on(port)?)?, workload.weight)))
    }
}

impl Workload {
    /// Where it is, on this port; `None` if it only has a name.
    #[must_use]
    pub fn endpoint(&self, port: u16) -> Option<EndpointAddress> {
        match &self.address {
            Address::Ip(ip) => Some((*ip, port).into()),
            Address::Unix(path) => Some(EndpointAddress::Unix(path.clone())),
            Address::Name(_) => None,
        }
    }

    /// The port on which this workload serves `port` of its service; `None`: it does not. A Unix domain socket has no port,
    /// and serves any: 0, as in Istio.
    #[must_use]
    pub fn listens_on(&self, port: &ServicePort) -> Option<u16> {
        if matches!(self.address, Address::Unix(_)) {
            return Some(0);
        }
        match (&self.ports, &port.target) {
            (WorkloadPorts::Exactly(ports), _) => ports.get(&port.name).copied(),
            (WorkloadPorts::Overrides(ports), target) => match (ports.get(&port.name), target) {
                (Some(own), _) => Some(*own),
                (None, TargetPort::Number(number)) => Some(*number),
                (None, TargetPort::Name(name)) => ports.get(name).copied(),
            },
        }
    }
}

#[cfg(test)]
mod tests;
