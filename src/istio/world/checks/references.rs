//! Names that lead nowhere: Gateways, services, ports, subsets, delegates.

use std::collections::BTreeSet;

use foldhash::{HashMap, HashMapExt};

use super::reach::Unreached;
use super::{Checks, ServedHosts, l4, rule_path};
use crate::istio::model::destination_rule::{DestinationRule, Subset, TrafficPolicy};
use crate::istio::model::scalar::{Protocol, host};
use crate::istio::model::selects;
use crate::istio::model::service_entry::Resolution;
use crate::istio::model::virtual_service::{Destination, HttpRoute, L4Route, MESH, VirtualService};
use crate::istio::problem::{Problem, Severity};
use crate::istio::reader::{did_you_mean, not_enforced};
use crate::istio::world::Service;

/// A rule of any list: the parts that decide which traffic meets it.
struct Rule<'r> {
    list: &'static str,
    /// `port` and `gateways` of its blocks.
    blocks: Vec<(Option<u16>, &'r [String])>,
    /// Whether not all of these could be read.
    is_unknown: bool,
}

impl<'r> Rule<'r> {
    fn of_requests(route: &'r HttpRoute, is_unknown: bool) -> Self {
        let blocks = route.matches.iter().map(|block| (block.port, block.gateways.as_slice())).collect();
        Self { list: "http", blocks, is_unknown }
    }

    fn of_connections(list: &'static str, route: &'r L4Route, is_unknown: bool) -> Self {
        let blocks = route.matches.iter().map(|block| (block.port, block.gateways.as_slice())).collect();
        Self { list, blocks, is_unknown }
    }

    /// Whether requests of a Gateway may meet it.
    fn serves_a_gateway(&self, from: &VirtualService) -> bool {
        let some = |gateways: &[String]| gateways.iter().any(|gateway| gateway != MESH);
        let of_block = |gateways: &[String]| some(if gateways.is_empty() { &from.gateways } else { gateways });
        if self.blocks.is_empty() {
            return some(&from.gateways);
        }
        self.blocks.iter().any(|(_, gateways)| of_block(gateways))
    }
}

/// The fields that decide where a VirtualService applies ...
const PLACES: [&str; 3] = ["hosts", "gateways", "exportTo"];

/// ... from outside of it ...
const PLACES_OF_ALL: [&str; 4] = ["metadata", "spec.hosts", "spec.gateways", "spec.exportTo"];

/// ... which requests a rule sends on ...
const ACTS: [&str; 6] = ["match", "route", "fault", "redirect", "directResponse", "delegate"];

/// ... and which of them it mirrors.
const MIRRORS: [&str; 3] = ["mirrorPercentage", "mirrorPercent", "mirrors"];

/// The use of a destination.
#[derive(Clone, Copy)]
enum Use {
    Route,
    Mirror,
    /// For TCP connections, which have no status.
    Stream,
}

/// A destination, and where it is named.
struct Link<'r> {
    from: &'r VirtualService,
    rule: &'r Rule<'r>,
    path: String,
    to: &'r Destination,
    is: Use,
    /// Why no traffic is ever sent to it.
    unreached: Option<String>,
}

impl Link<'_> {
    /// The consequence for requests if it does not exist.
    fn lost(&self, of_route: &str) -> String {
        if let Some(why) = &self.unreached {
            let what = if matches!(self.is, Use::Stream) { "connection" } else { "request" };
            return format!("no {what} gets here, since {why}");
        }
        let lost = match (self.is, of_route) {
            (Use::Route, of_route) => of_route,
            (Use::Mirror, _) => "nothing is mirrored",
            (Use::Stream, "requests get 503 NC") => "connections are closed, flag NC",
            (Use::Stream, "requests get 503 UH") => "connections are closed, flag UH",
            (Use::Stream, _) => "so connections are closed",
        };
        lost.to_owned()
    }

    /// A problem, or only a note if no traffic is ever sent there.
    fn problem(&self, severity: Severity, path: &str, what: String, instead: impl Into<String>) -> Problem {
        let severity = if self.unreached.is_some() { Severity::Note } else { severity };
        self.from.meta.source.problem(severity, path, what, instead.into())
    }
}

impl<'a> Checks<'a> {
    pub(super) fn references(&mut self) {
        let world = self.world;
        let defined = subsets_by_host(&world.destination_rules);
        for service in &world.virtual_services {
            self.gateway_references(service);
            let of_service = self.surely(service, "spec", &PLACES, self.unreached_service(service, false));
            for route in &service.http {
                let rule = Rule::of_requests(route, self.is_unknown(service, &format!("{}.match", rule_path(route))));
                let all = self.unreached_destinations(service, route);
                let all = self.surely(service, &rule_path(route), &ACTS, all).or_else(|| of_service.clone());
                for (index, to) in route.route.iter().enumerate() {
                    let path = format!("{}.route[{index}].destination", rule_path(route));
                    let unweighted = Self::unweighted(to.weight, &route.route);
                    let unreached = all.clone().or_else(|| self.surely(service, &rule_path(route), &ACTS, unweighted));
                    self.link((service, &rule), path, (&to.destination, Use::Route), unreached, &defined);
                }
                for (field, to, percent) in route.mirroring.destinations() {
                    let path = format!("{}.{field}", rule_path(route));
                    let unmirrored = Self::unmirrored(percent);
                    let unmirrored = self.surely(service, &rule_path(route), &MIRRORS, unmirrored);
                    let unreached = all.clone().or(unmirrored);
                    self.link((service, &rule), path, (to, Use::Mirror), unreached, &defined);
                }
            }
            let of_service = self.surely(service, "spec", &PLACES, self.unreached_service(service, true));
            for (list, routes) in l4::lists(service) {
                for (place, route) in routes.iter().enumerate() {
                    let unknown = self.is_unknown(service, &format!("spec.{list}[{}].match", route.index));
                    let rule = Rule::of_connections(list, route, unknown);
                    let earlier = routes.get(..place).unwrap_or_default();
                    let all = self.unreached_stream(service, earlier, route);
                    let path = format!("spec.{list}[{}]", route.index);
                    let all = self.surely(service, &path, &ACTS, all).or_else(|| of_service.clone());
                    for (index, to) in route.route.iter().enumerate() {
                        let path = format!("spec.{list}[{}].route[{index}].destination", route.index);
                        let unweighted = Self::unweighted(to.weight, &route.route);
                        let unreached = all.clone().or_else(|| {
                            self.surely(service, &format!("spec.{list}[{}]", route.index), &ACTS, unweighted)
                        });
                        self.link((service, &rule), path, (&to.destination, Use::Stream), unreached, &defined);
                    }
                }
            }
        }
        self.delegates();
        for rule in &world.destination_rules {
            self.destination_rule(rule);
        }
    }

    /// Why no traffic gets to a place, unless unreadable `fields` of the object at `path` could be the reason.
    fn surely(
        &self,
        service: &VirtualService,
        path: &str,
        fields: &[&str],
        unreached: Option<Unreached>,
    ) -> Option<Unreached> {
        let since = matches!(unreached, Some(Unreached::Since(_)));
        let unknown = |field: &&str| self.is_unknown(service, &format!("{path}.{field}"));
        let of_others =
            || self.damage.of_kind("Gateway", &["spec"]) || self.damage.of_kind("VirtualService", &PLACES_OF_ALL);
        unreached.filter(|_| !since || !fields.iter().any(unknown) && !of_others())
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
        self.hosts_of_no_gateway(service);
        if !self.world.sees_virtual_service(&self.world.proxy.namespace, service) {
            let what = format!("is not visible in the proxy's namespace \"{}\": no effect", self.world.proxy.namespace);
            self.warn(service, "spec.exportTo", what, "add that namespace, or \"*\"");
        }
    }

    fn gateway_reference(&mut self, service: &VirtualService, path: &str, gateway: &str) {
        if let Some(served) = self.gateways.get(gateway) {
            if self.damage.touches(&served.gateway.meta.source, "spec.servers")
                || self.is_unknown(service, "spec.hosts")
            {
                return;
            }
            let meets = service.hosts.iter().any(|host| served.meets(host, &service.meta.namespace));
            // One without servers has an error of its own; a delegate has no hosts.
            let said_of_host = service.hosts.is_empty() || is_alone(service);
            if !meets && !served.gateway.servers.is_empty() && !said_of_host {
                let what =
                    format!("Gateway \"{gateway}\" has none of the hosts: no request gets here from it [IST0132]");
                let instead = format!("its hosts: {}", served.offered());
                self.broken(service, path, what, instead);
            }
            return;
        }
        if self.damage.of_kind("Gateway", &["metadata"]) {
            return;
        }
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
        self.broken(service, path, format!("there is no Gateway \"{gateway}\" [IST0101]"), instead);
    }

    /// Hosts that no Gateway of the VirtualService has. The mesh gateway has all.
    fn hosts_of_no_gateway(&mut self, service: &VirtualService) {
        let served: Option<Vec<_>> = service.gateways.iter().map(|name| self.gateways.get(name)).collect();
        // Names that lead nowhere are reported on their own.
        let Some(served) = served.filter(|served| served.iter().all(|one| !one.gateway.servers.is_empty())) else {
            return;
        };
        let unknown = |served: &&ServedHosts<'_>| self.damage.touches(&served.gateway.meta.source, "spec.servers");
        if self.is_unknown(service, "spec.gateways") || served.iter().any(unknown) {
            return;
        }
        let reached: Vec<bool> = service
            .hosts
            .iter()
            .map(|host| served.iter().any(|served| served.meets(host, &service.meta.namespace)))
            .collect();
        if reached.iter().all(|reached| *reached) {
            return;
        }
        let offered: Vec<_> = served.iter().map(|served| served.offered()).collect();
        let (of, instead) = match service.gateways.as_slice() {
            [only] => (format!("Gateway \"{only}\" has no host for"), format!("its hosts: {}", offered.join(", "))),
            _ => ("none of these Gateways has a host for".to_owned(), format!("their hosts: {}", offered.join(", "))),
        };
        let none = reached.iter().all(|reached| !reached);
        for (index, host) in service.hosts.iter().enumerate().filter(|(index, _)| !reached[*index]) {
            let path = format!("spec.hosts[{index}]");
            let what = format!("{of} \"{host}\": no request gets here [IST0132]");
            match none {
                true if is_alone(service) => self.broken(service, &path, what, instead.clone()),
                true => {} // said of the Gateways
                false => self.warn(service, &path, what, instead.clone()),
            }
        }
    }

    /// Checks a destination, unless no traffic gets there and that has been reported.
    fn link(
        &mut self,
        (from, rule): (&VirtualService, &Rule<'_>),
        path: String,
        (to, is): (&Destination, Use),
        unreached: Option<Unreached>,
        defined: &Defined<'a>,
    ) {
        let unreached = match unreached {
            None => None,
            Some(Unreached::Since(why)) => Some(why),
            Some(Unreached::Said) => return,
        };
        self.destination(&Link { from, rule, path, to, is, unreached }, defined);
    }

    fn destination(&mut self, link: &Link<'_>, defined: &Defined<'a>) {
        let Link { from, path, to, is, .. } = link;
        let Some(service) = self.world.services.get(&to.host) else {
            if !to.is_known() || !self.knows_all_services() {
                return;
            }
            let what = format!("there is no service \"{}\": {} [IST0101]", to.host, link.lost("requests get 503 NC"));
            let instead = self.service_hint(&to.host);
            // Not certainly broken: a file may be checked by itself, without the files that define its services.
            self.problems.push(link.problem(Severity::Warning, &format!("{path}.host"), what, instead));
            return self.subset_of_a_stranger(link, defined);
        };
        self.destination_port(link, service);
        if service.resolution == Resolution::None && link.rule.serves_a_gateway(from) {
            let what = format!(
                "{} has resolution NONE: at a gateway that is no address, and its requests would come back to it",
                service.hostname
            );
            let instead = format!("write \"resolution: DNS\" in {}", service.source.resource);
            self.problems.push(link.problem(Severity::Error, &format!("{path}.host"), what, instead));
        } else if service.resolution.goes_by_request() && matches!(is, Use::Mirror) {
            self.mirrored_host(link, service);
        }
        if service.workloads.is_empty() && !service.resolution.goes_by_request() && self.knows_endpoints(service) {
            let lost = link.lost("so requests get 503");
            let what = format!("nothing answers for {}: it has no endpoints, {lost}", service.hostname);
            let instead = "add a WorkloadEntry with the labels that it selects, or an EndpointSlice";
            self.problems.push(link.problem(Severity::Warning, &format!("{path}.host"), what, instead));
        }
        if let Some(subset) = &to.subset {
            self.subset(link, subset, service, defined);
        }
    }

    /// A subset of a service that is not in the documents while a DestinationRule for it is: the rule defines the
    /// subsets.
    fn subset_of_a_stranger(&mut self, link: &Link<'_>, defined: &Defined<'a>) {
        if !self.knows_rules() {
            return;
        }
        let Some(name) = &link.to.subset else { return };
        let known: Vec<_> = defined.of(&link.to.host).map(|(_, subset)| subset.name.as_str()).collect();
        if known.contains(&name.as_str()) || !defined.has_rule_for(&link.to.host) {
            return;
        }
        let lost = link.lost("requests get 503 NC");
        let what = format!("no DestinationRule gives {} a subset \"{name}\": {lost} [IST0101]", link.to.host);
        let instead = match did_you_mean(name, &known) {
            near if !near.is_empty() => near,
            _ if known.is_empty() => "define it in a DestinationRule for this host".to_owned(),
            _ => format!("defined: {}", known.join(", ")),
        };
        self.problems.push(link.problem(Severity::Broken, &format!("{}.subset", link.path), what, instead));
    }

    /// Mirrored requests go to the host that the request names, where no alias is known.
    fn mirrored_host(&mut self, link: &Link<'_>, service: &Service) {
        let suffix = &self.world.proxy.mirror_host_suffix;
        if !suffix.is_empty() {
            let what = format!(
                "{} has no endpoints of its own: copies go to the host that the request names, and have \"{suffix}\" after \
                 its name in their Host",
                service.hostname
            );
            let (path, instead) = (format!("{}.host", link.path), "write the Proxy's mirrorHostSuffix: \"\"");
            self.problems.push(link.problem(Severity::Warning, &path, what, instead));
        }
    }

    fn subset(&mut self, link: &Link<'_>, name: &str, service: &Service, defined: &Defined<'a>) {
        let path = format!("{}.subset", link.path);
        let rules = self.rules.of(service);
        let subsets = || rules.iter().flat_map(|rule| &rule.subsets);
        if let Some(found) = subsets().find(|defined| defined.name == name) {
            let none = !service.workloads.iter().any(|workload| selects(&found.labels, &workload.labels));
            if none && !service.workloads.is_empty() && self.knows_endpoints(service) && self.knows_rules() {
                let labels: Vec<_> = found.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
                let what = format!(
                    "no endpoint of {} has the labels of subset \"{name}\": {} [IST0173]",
                    service.hostname,
                    link.lost("requests get 503 UH")
                );
                let instead = format!("give the workloads: {}", labels.join(", "));
                self.problems.push(link.problem(Severity::Broken, &path, what, instead));
            }
            return;
        }
        if !self.knows_rules() {
            return;
        }
        let host = &service.hostname;
        let lost = link.lost("requests get 503 NC");
        let what = format!("no DestinationRule gives {host} a subset \"{name}\": {lost} [IST0101]");
        let names: Vec<_> = subsets().map(|subset| subset.name.as_str()).collect();
        let elsewhere = defined.of(host).find(|(_, subset)| subset.name == name).map(|(rule, _)| rule);
        let instead = match (elsewhere, did_you_mean(name, &names)) {
            (Some(rule), _) => self.defined_in_vain(rule, service),
            (None, near) if !near.is_empty() => near,
            (None, _) if names.is_empty() => "define it in a DestinationRule for this host".to_owned(),
            (None, _) => format!("defined: {}", names.join(", ")),
        };
        self.problems.push(link.problem(Severity::Broken, &path, what, instead));
    }

    /// Why a DestinationRule does not count, though it is for a host that `of` has.
    fn overlooked(&self, rule: &DestinationRule, of: &Service) -> Overlooked<'a> {
        let proxy = &self.world.proxy;
        let namespaces = [&proxy.namespace, &of.namespace, &proxy.mesh_config.root_namespace];
        if !self.is_meant(rule) {
            Overlooked::OtherWorkloads
        } else if !self.world.sees_destination_rule(&proxy.namespace, rule) {
            Overlooked::NotExported
        } else if let (true, Some(taken)) = (namespaces.contains(&&rule.meta.namespace), self.rules.of(of).first()) {
            Overlooked::Behind(taken)
        } else {
            Overlooked::Elsewhere
        }
    }

    /// Whether a rule is for this proxy, of all workloads.
    fn is_meant(&self, rule: &DestinationRule) -> bool {
        rule.workload_selector.as_ref().is_none_or(|selector| selects(selector, &self.world.proxy.labels))
    }

    /// The namespaces whose DestinationRules count for a service.
    fn rule_namespaces(&self, of: &Service) -> String {
        let proxy = &self.world.proxy;
        let mut names: Vec<_> = [&proxy.namespace, &of.namespace, &proxy.mesh_config.root_namespace]
            .iter()
            .map(|name| format!("\"{name}\""))
            .collect();
        names.dedup();
        format!("rules count in the proxy's, the service's and the root namespace: {}", names.join(", "))
    }

    /// Where a subset is defined to no avail.
    fn defined_in_vain(&self, rule: &DestinationRule, of: &Service) -> String {
        let place = place(rule);
        match self.overlooked(rule, of) {
            Overlooked::OtherWorkloads => format!("{place} defines it for other workloads only"),
            Overlooked::NotExported => {
                let own = &self.world.proxy.namespace;
                format!("{place} defines it, and is not exported to the proxy's namespace \"{own}\"")
            }
            Overlooked::Behind(taken) => {
                format!("{place} defines it, and {} goes before it", taken.meta.full_name())
            }
            Overlooked::Elsewhere => format!("{place} defines it; {}", self.rule_namespaces(of)),
        }
    }

    fn destination_port(&mut self, link: &Link<'_>, service: &Service) {
        if self.damage.touches(&service.source, "spec.ports") {
            return;
        }
        let Link { from, rule, path, to, is, .. } = link;
        let by_alias = self.world.services.alias(&to.host).and_then(|alias| alias.port);
        let port = match (to.port.or(by_alias), service.ports.as_slice()) {
            (Some(number), _) => match service.port(number) {
                Some(port) => port,
                None => {
                    let lost = link.lost("requests get 503 NC");
                    let what = format!("{number} is not a port of {}: {lost} [IST0101]", service.hostname);
                    let path = format!("{path}.{}", if to.port.is_some() { "port.number" } else { "host" });
                    return self.problems.push(link.problem(Severity::Broken, &path, what, its_ports(service)));
                }
            },
            (None, []) => {
                let what = format!("{} has no ports: {}", service.hostname, link.lost("requests get 503 NC"));
                let path = format!("{path}.host");
                return self.problems.push(link.problem(Severity::Broken, &path, what, "write its \"ports\""));
            }
            (None, [only]) => only,
            (None, _) => {
                if rule.is_unknown || self.is_unknown(from, "spec.gateways") {
                    return;
                }
                let listened = self.listened_ports(from, rule);
                let Some(missing) = listened.iter().find(|port| service.port(**port).is_none()) else { return };
                let what = format!(
                    "{} has several ports, so the listener's is taken, and it has no {missing}: {} [IST0112]",
                    service.hostname,
                    link.lost("requests get 503 NC")
                );
                let instead = format!("write \"port: {{number: N}}\"; {}", its_ports(service));
                return self.problems.push(link.problem(Severity::Broken, path, what, instead));
            }
        };
        if matches!(port.protocol, Protocol::Http2 | Protocol::Grpc) && !matches!(is, Use::Stream) {
            let (severity, instead) = not_enforced(self.permissive);
            let what = format!(
                "port {} of {} speaks {}: HTTP/2 to a destination is not enforced by ringway yet",
                port.number,
                service.hostname,
                port.protocol.name()
            );
            self.problems.push(link.problem(severity, path, what, instead));
        }
    }

    /// The ports on which requests come to a rule: of the Gateways' servers, and at the mesh of the services that the
    /// hosts name.
    fn listened_ports(&self, from: &VirtualService, rule: &Rule<'_>) -> BTreeSet<u16> {
        let served = from.gateways.iter().filter_map(|name| self.gateways.get(name));
        let mut ports: BTreeSet<u16> = served.flat_map(|served| &served.ports).copied().collect();
        if from.gateways.iter().any(|gateway| gateway == MESH) {
            let services = from.hosts.iter().filter_map(|host| self.world.services.get(host));
            let of_services = services.flat_map(|service| &service.ports).filter(|port| l4::takes(rule.list, port));
            ports.extend(of_services.map(|port| port.number));
        }
        if !rule.blocks.is_empty() {
            ports.retain(|port| rule.blocks.iter().any(|(wanted, _)| wanted.is_none_or(|wanted| wanted == *port)));
        }
        ports
    }

    fn destination_rule(&mut self, rule: &DestinationRule) {
        if host::is_wildcard(&rule.host) || rule.host.is_empty() {
            return;
        }
        let source = &rule.meta.source;
        let Some(service) = self.world.services.get(&rule.host) else {
            if !self.knows_all_services() {
                return;
            }
            let what = format!("there is no service \"{}\": the rule has no effect [IST0174]", rule.host);
            let instead = self.service_hint(&rule.host);
            return self.problems.push(source.warning("spec.host", what, instead));
        };
        if self.world.services.alias(&rule.host).is_some() {
            let what = format!("\"{}\" is another name of {}: no effect", rule.host, service.hostname);
            let instead = format!("write the rule for \"{}\"", service.hostname);
            return self.problems.push(source.warning("spec.host", what, instead));
        }
        let rules = self.rules.of(service);
        if rules.iter().any(|other| std::ptr::eq(*other, rule)) {
            return self.merged_rule(rule);
        }
        let proxy = &self.world.proxy.namespace;
        let (why, instead) = match self.overlooked(rule, service) {
            // Not meant to have an effect here.
            Overlooked::OtherWorkloads => return,
            Overlooked::NotExported => (
                format!("the rule is not exported to the proxy's namespace \"{proxy}\""),
                "add that namespace to \"exportTo\"".to_owned(),
            ),
            Overlooked::Behind(taken) => {
                (format!("{} goes before this rule", place(taken)), "only the rules of one namespace count".to_owned())
            }
            Overlooked::Elsewhere => {
                (format!("a rule of \"{}\" is not looked at", rule.meta.namespace), self.rule_namespaces(service))
            }
        };
        self.problems.push(source.warning("spec.host", format!("{why}: no effect"), instead));
    }

    /// The parts of a rule that an earlier one for the same host overrides.
    fn merged_rule(&mut self, rule: &DestinationRule) {
        let Some(service) = self.world.services.get(&rule.host) else { return };
        let rules = self.rules.of(service);
        // Rules for this workload go before rules for all.
        if rules.len() < 2 || rules.iter().any(|rule| rule.workload_selector.is_some()) {
            return;
        }
        let source = &rule.meta.source;
        let mut lost = |path: &str, first: Option<&&DestinationRule>, instead: &str| {
            if let Some(first) = first.filter(|first| !std::ptr::eq(**first, rule)) {
                let what =
                    format!("{} has it for this host, too: that one counts, this one has no effect", place(first));
                self.problems.push(source.warning(path, what, instead));
            }
        };
        if rule.traffic_policy != TrafficPolicy::default() {
            let first = rules.iter().find(|rule| rule.traffic_policy != TrafficPolicy::default());
            lost("spec.trafficPolicy", first, "of several rules the subsets are put together, the policies are not");
        }
        for (index, subset) in rule.subsets.iter().enumerate() {
            let same = |other: &Subset| other.name == subset.name && !subset.name.is_empty();
            let first = rules.iter().find(|rule| rule.subsets.iter().any(same));
            lost(&format!("spec.subsets[{index}].name"), first, "keep one of them");
        }
    }
}

/// Why a DestinationRule does not count.
enum Overlooked<'a> {
    /// Its `workloadSelector` does not select the proxy.
    OtherWorkloads,
    /// Its `exportTo` does not name the proxy's namespace.
    NotExported,
    /// Another namespace, or a more specific host, goes before it.
    Behind(&'a DestinationRule),
    /// It is in none of the namespaces that are searched.
    Elsewhere,
}

fn place(rule: &DestinationRule) -> String {
    format!("{} at {}:{}", rule.meta.full_name(), rule.meta.source.file, rule.meta.source.line)
}

/// Whether there is one host and one gateway for it.
fn is_alone(service: &VirtualService) -> bool {
    service.hosts.len() == 1 && service.gateways.len() == 1
}

fn its_ports(service: &Service) -> String {
    let numbers: Vec<_> = service.ports.iter().map(|port| port.number.to_string()).collect();
    if numbers.is_empty() { "it has none".to_owned() } else { format!("its ports: {}", numbers.join(", ")) }
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
    /// Whether there is a rule for this very host, with or without subsets.
    fn has_rule_for(&self, hostname: &str) -> bool {
        self.0.contains_key(hostname)
    }

    /// Of rules for the host and for wildcards over it.
    fn of(&self, hostname: &str) -> impl Iterator<Item = (&'a DestinationRule, &'a Subset)> {
        host::coverings(hostname).filter_map(|name| self.0.get(name.as_str())).flatten().copied()
    }
}
