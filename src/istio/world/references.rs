//! Which references between resources lead nowhere. A world with such references is served (requests get 404 or 503,
//! as with Istio), so these are warnings, with what the author may have meant. The numbers are those of `istioctl
//! analyze`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{Service, World};
use crate::istio::model::destination_rule::{DestinationRule, Subset};
use crate::istio::model::gateway::Gateway;
use crate::istio::model::scalar::{Protocol, host};
use crate::istio::model::selects;
use crate::istio::model::virtual_service::{Destination, HttpRoute, MESH, VirtualService};
use crate::istio::problem::Problem;
use crate::istio::reader::{did_you_mean, nearest, not_enforced};

/// Comparisons with other names that may be spent on hints: enough for any human's slips, and ten thousand wrong
/// names among ten thousand services must not take minutes.
const HINT_COMPARISONS: usize = 100_000;

/// Adds the problems of the world's references.
pub(super) fn check(world: &World, permissive: bool, problems: &mut Vec<Problem>) {
    let mut checks = Checks {
        world,
        permissive,
        problems,
        gateways: world
            .gateways
            .iter()
            .map(|gateway| (format!("{}/{}", gateway.meta.namespace, gateway.meta.name), ServedHosts::new(gateway)))
            .collect(),
        subsets: subsets_by_host(&world.destination_rules),
        comparisons_left: HINT_COMPARISONS,
    };
    for service in &world.virtual_services {
        checks.virtual_service(service);
    }
    for rule in &world.destination_rules {
        checks.destination_rule(rule);
    }
    checks.proxy();
}

struct Checks<'a> {
    world: &'a World,
    permissive: bool,
    problems: &'a mut Vec<Problem>,
    gateways: BTreeMap<String, ServedHosts<'a>>,
    subsets: HashMap<&'a str, Vec<&'a Subset>>,
    comparisons_left: usize,
}

/// The subsets that any rule gives a host. Which rule applies to a request is the plan's question; here it is enough
/// that none defines the name.
fn subsets_by_host(rules: &[DestinationRule]) -> HashMap<&str, Vec<&Subset>> {
    let mut subsets: HashMap<&str, Vec<&Subset>> = HashMap::new();
    for rule in rules {
        subsets.entry(&rule.host).or_default().extend(&rule.subsets);
    }
    subsets
}

/// The hosts of a Gateway: looked up by name, wildcards apart.
struct ServedHosts<'a> {
    gateway: &'a Gateway,
    /// Host and the namespace that may use it (`None`: any).
    exact: HashSet<(&'a str, Option<&'a str>)>,
    wildcards: Vec<(&'a str, Option<&'a str>)>,
}

impl<'a> ServedHosts<'a> {
    fn new(gateway: &'a Gateway) -> Self {
        let hosts = gateway.servers.iter().flat_map(|server| &server.hosts);
        let (wildcards, exact): (Vec<_>, Vec<_>) = hosts
            .map(|host| (host.host.as_str(), host.namespace.as_deref()))
            .partition(|(host, _)| host.starts_with('*'));
        Self { gateway, exact: exact.into_iter().collect(), wildcards }
    }

    /// Whether the Gateway has a host that meets `host` of a VirtualService of `namespace`.
    fn meets(&self, host: &str, namespace: &str) -> bool {
        let open_to = |scope: Option<&str>| scope.is_none_or(|scope| scope == namespace);
        let covers = |wildcard: &str, host: &str| wildcard.strip_prefix('*').is_some_and(|rest| host.ends_with(rest));
        self.exact.contains(&(host, None))
            || self.exact.contains(&(host, Some(namespace)))
            || self.wildcards.iter().any(|(own, scope)| open_to(*scope) && (covers(own, host) || covers(host, own)))
            || (host.starts_with('*') && self.exact.iter().any(|(own, scope)| open_to(*scope) && covers(host, own)))
    }
}

impl Checks<'_> {
    fn virtual_service(&mut self, service: &VirtualService) {
        if service.gateways == [MESH] {
            self.gateway_reference(service, "spec.gateways", MESH);
        } else {
            for (index, gateway) in service.gateways.iter().enumerate() {
                self.gateway_reference(service, &format!("spec.gateways[{index}]"), gateway);
            }
        }
        for route in &service.http {
            for (index, to) in route.route.iter().enumerate() {
                let path = format!("{}.route[{index}].destination", rule_path(route));
                self.destination(service, &path, &to.destination);
            }
        }
        self.unreachable_rules(service);
    }

    fn warn(&mut self, service: &VirtualService, path: &str, what: String, instead: impl Into<String>) {
        self.problems.push(service.meta.source.warning(path, what, instead));
    }

    fn gateway_reference(&mut self, service: &VirtualService, path: &str, gateway: &str) {
        if gateway == MESH {
            let what = "applies to the mesh gateway, for which there is no listener yet: no effect there".to_owned();
            return self.warn(service, path, what, "name a Gateway under \"gateways\" to serve these hosts");
        }
        let Some(served) = self.gateways.get(gateway) else {
            let own_name = gateway.rsplit('/').next().unwrap_or_default();
            let elsewhere = self.world.gateways.iter().find(|other| other.meta.name == own_name);
            let instead = match elsewhere {
                Some(other) => format!("did you mean \"{}/{}\"?", other.meta.namespace, other.meta.name),
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
        let offered: Vec<_> = served
            .gateway
            .servers
            .iter()
            .flat_map(|server| &server.hosts)
            .map(|host| host.host.as_str())
            .take(5)
            .collect();
        let instead = format!("its hosts: {}", offered.join(", "));
        for (index, host) in hidden {
            let what = format!("Gateway \"{gateway}\" has no host for \"{host}\": no request gets here [IST0132]");
            self.warn(service, &format!("spec.hosts[{index}]"), what, instead.clone());
        }
    }

    fn destination(&mut self, from: &VirtualService, path: &str, to: &Destination) {
        let Some(service) = self.world.services.get(&to.host) else {
            let what = format!("there is no service \"{}\": requests get 503 NC [IST0101]", to.host);
            let instead = self.service_hint(&to.host);
            return self.warn(from, &format!("{path}.host"), what, instead);
        };
        self.destination_port(from, path, to, service);
        if service.workloads.is_empty() {
            let what = format!("nothing answers for {}: it has no endpoints, so requests get 503", service.hostname);
            let instead = "add a WorkloadEntry with the labels that it selects, or an EndpointSlice";
            self.warn(from, &format!("{path}.host"), what, instead);
        }
        let Some(subset) = &to.subset else { return };
        let path = format!("{path}.subset");
        let defined = self.subsets_of(&to.host);
        if let Some(found) = defined.iter().find(|defined| defined.name == *subset) {
            let none = !service.workloads.iter().any(|workload| selects(&found.labels, &workload.labels));
            if none && !service.workloads.is_empty() {
                let labels: Vec<_> = found.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
                let what = format!(
                    "no endpoint of {} has the labels of subset \"{subset}\": requests get 503 UH [IST0173]",
                    service.hostname
                );
                self.warn(from, &path, what, format!("give the workloads: {}", labels.join(", ")));
            }
            return;
        }
        let names: Vec<_> = defined.iter().map(|subset| subset.name.as_str()).collect();
        let instead = match (names.is_empty(), did_you_mean(subset, &names)) {
            (true, _) => "define it in a DestinationRule for this host".to_owned(),
            (false, near) if near.is_empty() => format!("defined: {}", names.join(", ")),
            (false, near) => near,
        };
        let what = format!("no DestinationRule gives {} a subset \"{subset}\": requests get 503 NC [IST0101]", to.host);
        self.warn(from, &path, what, instead);
    }

    fn destination_port(&mut self, from: &VirtualService, path: &str, to: &Destination, service: &Service) {
        let numbers = || service.ports.iter().map(|port| port.number.to_string()).collect::<Vec<_>>().join(", ");
        let port = match (to.port, service.ports.as_slice()) {
            (Some(number), _) => match service.port(number) {
                Some(port) => port,
                None => {
                    let what = format!("{number} is not a port of {}: requests get 503 NC", service.hostname);
                    let path = format!("{path}.port.number");
                    return self.warn(from, &path, what, format!("its ports: {}", numbers()));
                }
            },
            (None, [only]) => only,
            (None, _) => {
                let listened: BTreeSet<u16> = from
                    .gateways
                    .iter()
                    .filter_map(|name| self.gateways.get(name))
                    .flat_map(|served| served.gateway.servers.iter().map(|server| server.port))
                    .collect();
                let Some(missing) = listened.iter().find(|port| service.port(**port).is_none()) else { return };
                let what = format!(
                    "{} has several ports, so the listener's is taken, and it has no {missing}: requests get 503 NC \
                     [IST0112]",
                    service.hostname
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

    /// The subsets that any rule for `host` defines, those for wildcards over it included.
    fn subsets_of(&self, host: &str) -> Vec<&'_ Subset> {
        let own = self.subsets.get(host).into_iter();
        let dots = host.match_indices('.').map(|(at, _)| at);
        let wildcards = dots.filter_map(|at| self.subsets.get(format!("*{}", host.get(at..)?).as_str()));
        own.chain(wildcards).chain(self.subsets.get("*")).flatten().copied().collect()
    }

    /// What the author of an unknown host name may have meant.
    fn service_hint(&mut self, host: &str) -> String {
        let services = &self.world.services;
        let mut labels = host.split('.');
        let (name, namespace) = (labels.next().unwrap_or_default(), labels.next().unwrap_or_default());
        let expanded = host::service_name(name, namespace);
        if services.get(&expanded).is_some() {
            return format!("a name with a dot is not expanded: write \"{expanded}\"");
        }
        if let Some(other) = services.starting_with(&format!("{name}.")) {
            return format!("did you mean \"{}\"?", other.hostname);
        }
        // Only the names of one namespace are compared, as names: the rest is the same in all of them.
        let rest = host.get(name.len()..).unwrap_or_default();
        let names: Vec<_> = services
            .iter()
            .take(self.comparisons_left)
            .filter_map(|service| service.hostname.strip_suffix(rest))
            .filter(|name| !name.is_empty())
            .collect();
        self.comparisons_left -= names.len();
        nearest(name, &names).map(|near| format!("did you mean \"{near}{rest}\"?")).unwrap_or_default()
    }

    /// A rule behind one without conditions. (One behind a rule whose conditions take everything is found where
    /// rules are compiled.)
    fn unreachable_rules(&mut self, service: &VirtualService) {
        let mut rules = service.http.iter().skip_while(|route| !route.matches.is_empty());
        if let (Some(all), Some(hidden)) = (rules.next(), rules.next()) {
            let what = format!("no request gets here: {} takes everything [IST0130]", rule_path(all));
            self.warn(service, &rule_path(hidden), what, "put the rule without \"match\" last");
        }
    }

    fn destination_rule(&mut self, rule: &DestinationRule) {
        if !rule.host.starts_with('*') && self.world.services.get(&rule.host).is_none() {
            let what = format!("there is no service \"{}\": the rule has no effect [IST0101]", rule.host);
            let instead = self.service_hint(&rule.host);
            self.problems.push(rule.meta.source.warning("spec.host", what, instead));
        }
    }

    fn proxy(&mut self) {
        let proxy = &self.world.proxy;
        let served: Vec<_> = self
            .world
            .gateways
            .iter()
            .filter(|gateway| proxy.labels.is_empty() || selects(&gateway.selector, &proxy.labels))
            .collect();
        if served.is_empty() && !self.world.gateways.is_empty() {
            let what = "no Gateway's selector matches these labels: nothing is served";
            let instead = "take the labels of a Gateway's \"selector\"";
            self.problems.push(proxy.source.warning("metadata.labels", what, instead));
        }
        let ports: BTreeSet<u16> =
            served.iter().flat_map(|gateway| gateway.servers.iter().map(|server| server.port)).collect();
        for from in proxy.ports.keys().filter(|from| !ports.contains(from)) {
            let what = format!("no Gateway that is served has a port {from}");
            self.problems.push(proxy.source.warning(&format!("spec.ports[{from}]"), what, ""));
        }
        if proxy.mesh_config.access_log_file.is_none() {
            let what = "no access log is written, as in Istio by default";
            let instead = "set it to /dev/stdout or a file";
            self.problems.push(proxy.source.warning("spec.meshConfig.accessLogFile", what, instead));
        }
    }
}

fn rule_path(route: &HttpRoute) -> String {
    format!("spec.http[{}]", route.index)
}
