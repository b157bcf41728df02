//! Names that lead nowhere: Gateways, services, ports, subsets, delegates.

use std::collections::BTreeSet;

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};

use super::{Checks, rule_path};
use crate::istio::model::destination_rule::{DestinationRule, Subset};
use crate::istio::model::scalar::{Protocol, host};
use crate::istio::model::selects;
use crate::istio::model::service_entry::Resolution;
use crate::istio::model::virtual_service::{Destination, HttpRoute, MESH, VirtualService};
use crate::istio::reader::{did_you_mean, not_enforced};
use crate::istio::world::Service;

/// Whether requests of a Gateway may meet this rule.
fn serves_a_gateway(from: &VirtualService, route: &HttpRoute) -> bool {
    let some = |gateways: &[String]| gateways.iter().any(|gateway| gateway != MESH);
    let of_block = |gateways: &[String]| some(if gateways.is_empty() { &from.gateways } else { gateways });
    if route.matches.is_empty() {
        return some(&from.gateways);
    }
    route.matches.iter().any(|block| of_block(&block.gateways))
}

/// What a destination is for.
#[derive(Clone, Copy)]
enum Use {
    Route,
    Mirror,
}

impl Use {
    /// What becomes of requests when it cannot be had.
    fn lost(self, of_route: &'static str) -> &'static str {
        match self {
            Self::Route => of_route,
            Self::Mirror => "nothing is mirrored",
        }
    }
}

impl<'a> Checks<'a> {
    pub(super) fn references(&mut self) {
        let world = self.world;
        let defined = subsets_by_host(&world.destination_rules);
        for service in &world.virtual_services {
            self.gateway_references(service);
            for route in &service.http {
                for (index, to) in route.route.iter().enumerate() {
                    let path = format!("{}.route[{index}].destination", rule_path(route));
                    self.destination(service, route, &path, &to.destination, Use::Route, &defined);
                }
                for (field, to, _) in route.mirroring.destinations() {
                    let path = format!("{}.{field}", rule_path(route));
                    self.destination(service, route, &path, to, Use::Mirror, &defined);
                }
            }
        }
        self.delegates();
        for rule in &world.destination_rules {
            self.destination_rule(rule);
        }
    }

    fn gateway_references(&mut self, service: &VirtualService) {
        let implied = service.gateways == [MESH];
        for (index, gateway) in service.gateways.iter().enumerate() {
            let path = if implied { "spec.gateways".to_owned() } else { format!("spec.gateways[{index}]") };
            if gateway != MESH {
                self.gateway_reference(service, &path, gateway);
            } else if self.world.proxy.mesh_listen.is_none() {
                let what = "applies to the mesh gateway, for which there is no listener: no effect there".to_owned();
                let instead = "write the Proxy's spec.mesh.listen, or name a Gateway under \"gateways\"";
                self.warn(service, &path, what, instead);
            }
        }
        if !self.world.sees_virtual_service(&self.world.proxy.namespace, service) {
            let what = format!("is not visible in the proxy's namespace \"{}\": no effect", self.world.proxy.namespace);
            self.warn(service, "spec.exportTo", what, "add that namespace, or \"*\"");
        }
    }

    fn gateway_reference(&mut self, service: &VirtualService, path: &str, gateway: &str) {
        let Some(served) = self.gateways.get(gateway) else {
            let own_name = gateway.rsplit('/').next().unwrap_or_default();
            let elsewhere = self.world.gateways.iter().find(|other| other.meta.name == own_name);
            let instead = match elsewhere {
                Some(other) => format!("did you mean \"{}\"?", other.meta.full_name()),
                None => {
                    let names: Vec<_> = self.gateways.keys().take(self.comparisons_left).collect();
                    self.comparisons_left -= names.len();
                    did_you_mean(gateway, &names)
                }
            };
            return self.warn(service, path, format!("there is no Gateway \"{gateway}\" [IST0101]"), instead);
        };
        let hidden: Vec<_> = service
            .hosts
            .iter()
            .enumerate()
            .filter(|(_, host)| !served.meets(host, &service.meta.namespace))
            .map(|(index, host)| (index, host.clone()))
            .collect();
        let hosts = served.gateway.servers.iter().flat_map(|server| &server.hosts);
        let offered: Vec<_> = hosts.map(|host| host.host.as_str()).take(5).collect();
        let instead = format!("its hosts: {}", offered.join(", "));
        for (index, host) in hidden {
            let what = format!("Gateway \"{gateway}\" has no host for \"{host}\": no request gets here [IST0132]");
            self.warn(service, &format!("spec.hosts[{index}]"), what, instead.clone());
        }
    }

    fn destination(
        &mut self,
        from: &VirtualService,
        route: &HttpRoute,
        path: &str,
        to: &Destination,
        is: Use,
        defined: &Defined<'a>,
    ) {
        let Some(service) = self.world.services.get(&to.host) else {
            let what = format!("there is no service \"{}\": {} [IST0101]", to.host, is.lost("requests get 503 NC"));
            let instead = self.service_hint(&to.host);
            return self.warn(from, &format!("{path}.host"), what, instead);
        };
        self.destination_port(from, route, path, to, is, service);
        if service.resolution.goes_by_request() && matches!(is, Use::Mirror) {
            let (severity, instead) = not_enforced(self.permissive);
            let what = format!(
                "{} has no endpoints of its own: to mirror to where requests say is not enforced by ringway yet",
                service.hostname
            );
            self.problems.push(from.meta.source.problem(severity, &format!("{path}.host"), what, instead.to_owned()));
        } else if service.resolution == Resolution::None && serves_a_gateway(from, route) {
            let what = format!(
                "{} has resolution NONE: at a gateway that is no address, and its requests would come back to it",
                service.hostname
            );
            let instead = format!("write \"resolution: DNS\" in {}", service.source.resource);
            self.problems.push(from.meta.source.error(&format!("{path}.host"), what, instead));
        }
        if service.workloads.is_empty() && !service.resolution.goes_by_request() {
            let lost = is.lost("so requests get 503");
            let what = format!("nothing answers for {}: it has no endpoints, {lost}", service.hostname);
            let instead = "add a WorkloadEntry with the labels that it selects, or an EndpointSlice";
            self.warn(from, &format!("{path}.host"), what, instead);
        }
        if let Some(subset) = &to.subset {
            self.subset(from, &format!("{path}.subset"), subset, is, service, defined);
        }
    }

    fn subset(
        &mut self,
        from: &VirtualService,
        path: &str,
        name: &str,
        is: Use,
        service: &Service,
        defined: &Defined<'a>,
    ) {
        let rules = self.rules.of(service);
        let subsets = || rules.iter().flat_map(|rule| &rule.subsets);
        if let Some(found) = subsets().find(|defined| defined.name == name) {
            let none = !service.workloads.iter().any(|workload| selects(&found.labels, &workload.labels));
            if none && !service.workloads.is_empty() {
                let labels: Vec<_> = found.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
                let what = format!(
                    "no endpoint of {} has the labels of subset \"{name}\": {} [IST0173]",
                    service.hostname,
                    is.lost("requests get 503 UH")
                );
                self.warn(from, path, what, format!("give the workloads: {}", labels.join(", ")));
            }
            return;
        }
        let host = &service.hostname;
        let lost = is.lost("requests get 503 NC");
        let what = format!("no DestinationRule gives {host} a subset \"{name}\": {lost} [IST0101]");
        let names: Vec<_> = subsets().map(|subset| subset.name.as_str()).collect();
        let elsewhere = defined.of(host).find(|(_, subset)| subset.name == name).map(|(rule, _)| rule);
        let instead = match (elsewhere, did_you_mean(name, &names)) {
            (Some(rule), _) => self.why_not_looked_at(rule, service, rules.first()),
            (None, near) if !near.is_empty() => near,
            (None, _) if names.is_empty() => "define it in a DestinationRule for this host".to_owned(),
            (None, _) => format!("defined: {}", names.join(", ")),
        };
        self.warn(from, path, what, instead);
    }

    /// Why a DestinationRule that has what is looked for does not count.
    fn why_not_looked_at(&self, rule: &DestinationRule, of: &Service, taken: Option<&&DestinationRule>) -> String {
        let proxy = &self.world.proxy;
        let place = format!("{} at {}:{}", rule.meta.full_name(), rule.meta.source.file, rule.meta.source.line);
        let namespaces = [&proxy.namespace, &of.namespace, &proxy.mesh_config.root_namespace];
        let meant = rule.workload_selector.as_ref().is_none_or(|selector| selects(selector, &proxy.labels));
        if !meant {
            format!("{place} defines it for other workloads only")
        } else if !self.world.sees_destination_rule(&proxy.namespace, rule) {
            format!("{place} defines it, and is not exported to the proxy's namespace \"{}\"", proxy.namespace)
        } else if let (true, Some(taken)) = (namespaces.contains(&&rule.meta.namespace), taken) {
            format!("{place} defines it, and {} goes before it", taken.meta.full_name())
        } else {
            let mut names: Vec<_> = namespaces.iter().map(|name| format!("\"{name}\"")).collect();
            names.dedup();
            format!(
                "{place} defines it; rules count in the proxy's, the service's and the root namespace: {}",
                names.join(", ")
            )
        }
    }

    fn destination_port(
        &mut self,
        from: &VirtualService,
        route: &HttpRoute,
        path: &str,
        to: &Destination,
        is: Use,
        service: &Service,
    ) {
        let numbers = || service.ports.iter().map(|port| port.number.to_string()).collect::<Vec<_>>().join(", ");
        let port = match (to.port, service.ports.as_slice()) {
            (Some(number), _) => match service.port(number) {
                Some(port) => port,
                None => {
                    let what =
                        format!("{number} is not a port of {}: {}", service.hostname, is.lost("requests get 503 NC"));
                    let path = format!("{path}.port.number");
                    return self.warn(from, &path, what, format!("its ports: {}", numbers()));
                }
            },
            (None, [only]) => only,
            (None, _) => {
                let listened = self.listened_ports(from, route);
                let Some(missing) = listened.iter().find(|port| service.port(**port).is_none()) else { return };
                let what = format!(
                    "{} has several ports, so the listener's is taken, and it has no {missing}: {} [IST0112]",
                    service.hostname,
                    is.lost("requests get 503 NC")
                );
                return self.warn(from, path, what, format!("write \"port: {{number: N}}\"; its ports: {}", numbers()));
            }
        };
        if matches!(port.protocol, Protocol::Http2 | Protocol::Grpc) {
            let (severity, instead) = not_enforced(self.permissive);
            let what = format!(
                "port {} of {} speaks {}: HTTP/2 to a destination is not enforced by ringway yet",
                port.number,
                service.hostname,
                port.protocol.name()
            );
            self.problems.push(from.meta.source.problem(severity, path, what, instead.to_owned()));
        }
    }

    /// The ports on which requests come to a rule: of the Gateways' servers, and at the mesh of the services that the
    /// hosts name.
    fn listened_ports(&self, from: &VirtualService, route: &HttpRoute) -> BTreeSet<u16> {
        let served = from.gateways.iter().filter_map(|name| self.gateways.get(name));
        let mut ports: BTreeSet<u16> = served.flat_map(|served| &served.ports).copied().collect();
        if from.gateways.iter().any(|gateway| gateway == MESH) {
            let services = from.hosts.iter().filter_map(|host| self.world.services.get(host));
            let of_services = services.flat_map(|service| &service.ports).filter(|port| port.protocol.routes_http());
            ports.extend(of_services.map(|port| port.number));
        }
        if !route.matches.is_empty() {
            ports.retain(|port| route.matches.iter().any(|block| block.port.is_none_or(|wanted| wanted == *port)));
        }
        ports
    }

    /// Delegates that do not exist, that are not one, that are not visible; and delegates that nobody asks.
    fn delegates(&mut self) {
        let world = self.world;
        let takes_part = |service: &VirtualService| {
            service.hosts.is_empty() || service.http.iter().any(|route| route.delegate.is_some())
        };
        if !world.virtual_services.iter().any(takes_part) {
            return;
        }
        let by_name: HashMap<String, &VirtualService> =
            world.virtual_services.iter().map(|service| (service.meta.full_name(), service)).collect();
        let mut asked = HashSet::new();
        for service in &world.virtual_services {
            for route in &service.http {
                let Some(name) = &route.delegate else { continue };
                asked.insert(name.as_str());
                let path = format!("{}.delegate", rule_path(route));
                let why = match by_name.get(name) {
                    None => format!("there is no VirtualService \"{name}\" [IST0101]"),
                    Some(other) if !other.hosts.is_empty() => {
                        format!("VirtualService \"{name}\" has hosts: no delegate")
                    }
                    Some(other) if !world.sees_virtual_service(&service.meta.namespace, other) => {
                        format!("VirtualService \"{name}\" is not exported to \"{}\"", service.meta.namespace)
                    }
                    Some(_) => continue,
                };
                let instead = match by_name.get(name) {
                    None => {
                        let names: Vec<_> = by_name.keys().take(self.comparisons_left).collect();
                        self.comparisons_left -= names.len();
                        did_you_mean(name, &names)
                    }
                    Some(other) if !other.hosts.is_empty() => "a delegate has neither hosts nor gateways".to_owned(),
                    Some(_) => "add that namespace to its \"exportTo\"".to_owned(),
                };
                self.warn(service, &path, format!("{why}: the rule is left out"), instead);
            }
        }
        let is_delegate =
            |service: &&VirtualService| service.hosts.is_empty() && !service.meta.source.has("spec.hosts[0]");
        for service in world.virtual_services.iter().filter(is_delegate) {
            if !asked.contains(service.meta.full_name().as_str()) {
                let what = "no VirtualService delegates to this one: no effect".to_owned();
                self.warn(service, "spec", what, "write \"delegate\" in a rule of another, or \"hosts\" here");
            }
        }
    }

    fn destination_rule(&mut self, rule: &DestinationRule) {
        if !rule.host.starts_with('*') && self.world.services.get(&rule.host).is_none() {
            let what = format!("there is no service \"{}\": the rule has no effect [IST0174]", rule.host);
            let instead = self.service_hint(&rule.host);
            self.problems.push(rule.meta.source.warning("spec.host", what, instead));
        }
    }
}

/// The subsets that any rule gives a host, whether the rule counts or not.
struct Defined<'a>(HashMap<&'a str, Vec<(&'a DestinationRule, &'a Subset)>>);

fn subsets_by_host(rules: &[DestinationRule]) -> Defined<'_> {
    let mut subsets: HashMap<&str, Vec<_>> = HashMap::new();
    for rule in rules {
        subsets.entry(&rule.host).or_default().extend(rule.subsets.iter().map(|subset| (rule, subset)));
    }
    Defined(subsets)
}

impl<'a> Defined<'a> {
    /// Of rules for the host and for wildcards over it.
    fn of(&self, hostname: &str) -> impl Iterator<Item = (&'a DestinationRule, &'a Subset)> {
        host::coverings(hostname).filter_map(|name| self.0.get(name.as_str())).flatten().copied()
    }
}
