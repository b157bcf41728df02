//! Likely mistakes in a world that can be served: references that lead nowhere, rules that no request reaches, resources
//! that contradict each other, and Istio's well-known traps. Such a world is served (requests get 404 or 503, as with
//! Istio). A reference that is certainly broken counts as an error for `check`; the rest are warnings, and notes where
//! it may be intended. The numbers are those of `istioctl analyze`.
//!
//! Only the documents are checked here. Checks that need the listeners' tables are made where these are compiled.

mod actions;
mod conditions;
mod conflicts;
mod connections;
mod delegates;
mod l4;
mod listeners;
mod policies;
mod proxy;
mod reach;
mod references;
mod resilience;
mod rules;
mod shadows;
mod tls;
mod wording;

use std::collections::{BTreeMap, BTreeSet};

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};

use self::conditions::Expressions;
use self::reach::{Owners, Roots};
use super::{Service, World};
use crate::istio::damage::Damage;
use crate::istio::model::destination_rule::DestinationRule;
use crate::istio::model::gateway::{Gateway, Server};
use crate::istio::model::scalar::host;
use crate::istio::model::selects;
use crate::istio::model::sidecar::Sidecar;
use crate::istio::model::virtual_service::{HttpMatch, HttpRoute, VirtualService};
use crate::istio::problem::{Problem, Severity};
use crate::istio::reader::nearest;

/// Comparisons with other names that may be spent on hints: enough for any human's slips, and ten thousand wrong
/// names among ten thousand services must not take minutes.
const HINT_COMPARISONS: usize = 100_000;

/// Adds the problems of the world. True if the Sidecar must not be served, see [`Checks::listeners`].
pub(super) fn check(
    world: &World,
    sidecars: &[Sidecar],
    permissive: bool,
    damage: &Damage,
    problems: &mut Vec<Problem>,
) -> bool {
    let first = problems.len();
    let mut checks = Checks {
        world,
        permissive,
        problems,
        gateways: world.gateways.iter().map(|gateway| (gateway.meta.full_name(), ServedHosts::new(gateway))).collect(),
        rules: Rules::new(world),
        roots: reach::roots(world),
        mesh_owners: reach::mesh_owners(world),
        never: HashSet::new(),
        shadowed: HashSet::new(),
        shadowed_blocks: HashSet::new(),
        expressions: Expressions::default(),
        comparisons_left: HINT_COMPARISONS,
        damage,
        sure: Vec::new(),
    };
    // Later checks use the conditions that no request meets, and the rules that no request gets to.
    checks.conditions();
    checks.shadows();
    checks.references();
    checks.rules();
    checks.actions();
    checks.l4_rules();
    checks.policies();
    checks.resilience();
    checks.connections();
    checks.secured();
    checks.conflicts(sidecars);
    checks.proxy();
    let gaps = checks.listeners();
    let sure = checks.sure;
    // A report about a field may be caused by an unreadable part of it.
    let mut at = 0;
    problems.retain(|problem| {
        at += 1;
        at <= first || problem.severity == Severity::Error || !damage.of(&problem.resource, &problem.path)
    });
    problems.extend(sure);
    gaps
}

struct Checks<'a> {
    world: &'a World,
    permissive: bool,
    problems: &'a mut Vec<Problem>,
    /// By `namespace/name`.
    gateways: BTreeMap<String, ServedHosts<'a>>,
    rules: Rules<'a>,
    /// The rules that delegate, by their delegate.
    roots: Roots<'a>,
    /// Whose rules count at the mesh.
    mesh_owners: Owners<'a>,
    /// Blocks that no request can meet.
    never: HashSet<*const HttpMatch>,
    /// Rules that an earlier one hides, and such blocks.
    shadowed: HashSet<*const HttpRoute>,
    shadowed_blocks: HashSet<*const HttpMatch>,
    expressions: Expressions,
    comparisons_left: usize,
    damage: &'a Damage,
    /// Problems that do not come from unreadable parts, though there is one at their place.
    sure: Vec<Problem>,
}

impl Checks<'_> {
    /// Whether a part of a field could not be read, so that its absence proves nothing.
    fn is_unknown(&self, of: &VirtualService, path: &str) -> bool {
        self.damage.touches(&of.meta.source, path)
    }

    /// Whether there may be services of names that could not be read.
    fn knows_all_services(&self) -> bool {
        !self.damage.of_kind("Service", &["metadata", "spec.type", "spec.externalName"])
            && !self.damage.of_kind("ServiceEntry", &["metadata", "spec.hosts"])
    }

    /// Whether all that may answer for a service could be read.
    fn knows_endpoints(&self, service: &Service) -> bool {
        let kinds = ["WorkloadEntry", "EndpointSlice", "Endpoints", "Pod"];
        !kinds.iter().any(|kind| self.damage.of_kind(kind, &[""])) && !self.damage.touches(&service.source, "spec")
    }

    /// Whether the fields of all DestinationRules that select their hosts could be read.
    fn knows_rules(&self) -> bool {
        let fields = ["metadata", "spec.host", "spec.subsets", "spec.exportTo", "spec.workloadSelector"];
        !self.damage.of_kind("DestinationRule", &fields)
    }

    fn broken(&mut self, service: &VirtualService, path: &str, what: String, instead: impl Into<String>) {
        self.problems.push(service.meta.source.broken(path, what, instead));
    }

    fn warn(&mut self, service: &VirtualService, path: &str, what: String, instead: impl Into<String>) {
        self.problems.push(service.meta.source.warning(path, what, instead));
    }

    fn note(&mut self, service: &VirtualService, path: &str, what: String, instead: impl Into<String>) {
        self.problems.push(service.meta.source.note(path, what, instead));
    }

    /// A suggestion for an unknown host name.
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
}

fn rule_path(route: &HttpRoute) -> String {
    format!("spec.http[{}]", route.index)
}

/// A Gateway, with its hosts and ports.
struct ServedHosts<'a> {
    gateway: &'a Gateway,
    hosts: HostNames<'a>,
    /// The hosts of the servers that do not redirect every request to HTTPS.
    open: HostNames<'a>,
    /// The port numbers of its servers.
    ports: BTreeSet<u16>,
}

impl<'a> ServedHosts<'a> {
    fn new(gateway: &'a Gateway) -> Self {
        let hosts = HostNames::of(gateway.servers.iter());
        let open = HostNames::of(gateway.servers.iter().filter(|server| !server.https_redirect));
        let ports = gateway.servers.iter().map(|server| server.port).collect();
        Self { gateway, hosts, open, ports }
    }

    /// Whether the Gateway has a host that meets `host` of a VirtualService of `namespace`.
    fn meets(&self, host: &str, namespace: &str) -> bool {
        self.hosts.meets(host, namespace)
    }

    /// Some of its hosts, as written.
    fn offered(&self) -> String {
        let hosts = self.gateway.servers.iter().flat_map(|server| &server.hosts);
        let written = hosts.map(|host| match &host.namespace {
            Some(namespace) => format!("{namespace}/{}", host.host),
            None => host.host.clone(),
        });
        written.take(5).collect::<Vec<_>>().join(", ")
    }
}

/// The hosts of a Gateway's servers: looked up by name, wildcards apart.
struct HostNames<'a> {
    /// Host and the namespace that may use it (`None`: any).
    exact: HashSet<(&'a str, Option<&'a str>)>,
    wildcards: Vec<(&'a str, Option<&'a str>)>,
}

impl<'a> HostNames<'a> {
    fn of(servers: impl Iterator<Item = &'a Server>) -> Self {
        let (wildcards, exact): (Vec<_>, Vec<_>) = servers
            .flat_map(|server| &server.hosts)
            .map(|host| (host.host.as_str(), host.namespace.as_deref()))
            .partition(|(host, _)| host.starts_with('*'));
        Self { exact: exact.into_iter().collect(), wildcards }
    }

    /// Whether one of them meets `host` of a VirtualService of `namespace`.
    fn meets(&self, host: &str, namespace: &str) -> bool {
        let open_to = |scope: Option<&str>| scope.is_none_or(|scope| scope == namespace);
        self.exact.contains(&(host, None))
            || self.exact.contains(&(host, Some(namespace)))
            || self.wildcards.iter().any(|(own, scope)| open_to(*scope) && host::overlap(own, host))
            || (host.starts_with('*')
                && self.exact.iter().any(|(own, scope)| open_to(*scope) && host::covers(host, own)))
    }
}

/// The DestinationRules that the proxy sees, by namespace and host.
struct Rules<'a> {
    world: &'a World,
    seen: HashMap<&'a str, HashMap<&'a str, Vec<&'a DestinationRule>>>,
}

impl<'a> Rules<'a> {
    fn new(world: &'a World) -> Self {
        let proxy = &world.proxy;
        let mut seen: HashMap<&str, HashMap<&str, Vec<_>>> = HashMap::new();
        for rule in &world.destination_rules {
            let meant = rule.workload_selector.as_ref().is_none_or(|selector| selects(selector, &proxy.labels));
            if meant && world.sees_destination_rule(&proxy.namespace, rule) {
                seen.entry(&rule.meta.namespace).or_default().entry(&rule.host).or_default().push(rule);
            }
        }
        Self { world, seen }
    }

    /// The rules of a service: those with the most specific host in the first namespace that has any, of the proxy's,
    /// the service's and the root namespace (Istio's `PushContext.destinationRule`).
    fn of(&self, service: &Service) -> &[&'a DestinationRule] {
        let root = self.world.proxy.mesh_config.root_namespace.as_str();
        let own = Some(self.world.proxy.namespace.as_str()).filter(|own| *own != root);
        let mut namespaces = own.into_iter().chain([service.namespace.as_str(), root]);
        namespaces.find_map(|namespace| self.most_specific(namespace, &service.hostname)).unwrap_or_default()
    }

    fn most_specific(&self, namespace: &str, hostname: &str) -> Option<&[&'a DestinationRule]> {
        let rules = self.seen.get(namespace)?;
        host::coverings(hostname).find_map(|name| rules.get(name.as_str())).map(Vec::as_slice)
    }
}
