//! The mesh listener (`Proxy.spec.mesh.listen`): a table for each port that services have, with a virtual host for each service,
//! and one for every port, with the hosts of VirtualServices that are not services. Ports for which the Sidecar has a listener
//! have a table for themselves.
//!
//! istiod makes the latter for port 80 only, and calls that a hack; here they exist on every port.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::RandomState;

use crate::istio::model::proxy::OutboundTrafficPolicy;
use crate::istio::model::scalar::Protocol;
use crate::istio::model::sidecar::ListenerPort;
use crate::istio::model::virtual_service::{Destination as Named, MESH};
use crate::istio::world::{Service, View};
use crate::plan::{
    Action, Cluster, ClusterId, Destination, Destinations, DirectResponse, Discovery, FilterChains, Forward,
    HeaderEdits, HttpRoutes, Listener, ListenerKind, Matcher, Origin, OwnAuthority, PASSTHROUGH_CLUSTER, Route,
    RouteTable, Target, VirtualHost,
};
use crate::policy::balance::{LoadBalancing, Policy};

use super::bound::Bound;
use super::host::bracketed;
use super::{Compiler, Scope, connections, hostname};

/// Domain of the cluster's services, with the dot before it.
const CLUSTER_DOMAIN: &str = ".svc.cluster.local";

/// The port of a request without a port; it has a table even if no service has the port.
const HTTP_PORT: u16 = 80;

/// Istio's name for the cluster of requests to undeclared hosts that are resolved by their Host.
const DYNAMIC_DNS_CLUSTER: &str = "AllowAnyDynamicDNSCluster";

/// Idle timeout of a connection to an undeclared host (istiod's).
const PASSTHROUGH_IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// Host names that are written in some document.
type Names<'a> = HashSet<&'a str, RandomState>;

/// Services that have a port, with the protocol that each has there.
type Services<'w> = Vec<(&'w Service, Protocol)>;

/// The VirtualServices that are bound to the mesh, by their hosts.
struct Mesh<'b, 'w> {
    /// In order.
    all: Vec<(usize, &'b Bound<'w>)>,
    exact: HashMap<&'b str, Vec<usize>, RandomState>,
    /// The first VirtualService of each wildcard, by the part after the `*`.
    wildcards: HashMap<&'b str, usize, RandomState>,
}

impl<'b, 'w> Mesh<'b, 'w> {
    fn of(view: View<'_>, bound: &'b [Bound<'w>]) -> Self {
        let is_in = |bound: &&Bound<'_>| {
            bound.service.gateways.iter().any(|name| name == MESH) && view.virtual_service(bound.service)
        };
        let mut mesh = Self { all: Vec::new(), exact: HashMap::default(), wildcards: HashMap::default() };
        for (number, bound) in bound.iter().filter(is_in).enumerate() {
            for host in &bound.service.hosts {
                match hostname::wildcard(host) {
                    Some(suffix) => _ = mesh.wildcards.entry(suffix).or_insert(number),
                    None => mesh.exact.entry(host).or_default().push(number),
                }
            }
            mesh.all.push((number, bound));
        }
        mesh
    }

    /// The VirtualServices that may rule over a service, in order; the first with a route for the port does. Wildcards count for
    /// services that no VirtualService names, and of them the most specific one only.
    fn over(&self, service: &str) -> Vec<usize> {
        if let Some(named) = self.exact.get(service) {
            return named.clone();
        }
        let name = hostname::wildcard(service).unwrap_or(service);
        let suffixes = (0..=name.len()).filter_map(|at| name.get(at..));
        suffixes.filter_map(|suffix| self.wildcards.get(suffix).copied()).take(1).collect()
    }
}

/// The routes of VirtualServices, so that they are not compiled twice where the port makes no difference.
#[derive(Default)]
struct Compiled {
    any: HashMap<usize, (Vec<Route>, bool), RandomState>,
    by_port: HashMap<(usize, u16), Vec<Route>, RandomState>,
}

impl<'w> Compiler<'w> {
    /// The mesh listener, if there is to be one.
    pub(super) fn mesh(&mut self) -> Option<Listener> {
        let bind = self.world.proxy.mesh_listen?;
        let world = self.world;
        let own: Vec<_> = world.egress_ports().filter(|(_, port, _)| !port.is_proxy).collect();
        let is_own = |number: u16| own.iter().any(|(_, port, _)| port.number == number);
        let (mut ports, every) = self.tables(world.view(None), &is_own);
        for (egress, port, _) in &own {
            let table = self.whole_table(View::of(egress), *port);
            let at = ports.partition_point(|table| table.port < Some(port.number));
            ports.insert(at, RouteTable { is_whole: true, ..table });
        }
        let services = self.outbound_services(|service, port| {
            let view = world.view(Some(port.number));
            let protocol = view.egress.and_then(|egress| egress.port?.protocol).unwrap_or(port.protocol);
            view.service(service).then_some(protocol)
        });
        let policy = self.outbound_policy(bind);
        let chains = FilterChains::outbound(policy, HttpRoutes::ByPort { ports, every }, services);
        Some(outbound_listener(ListenerKind::Mesh, bind, chains))
    }

    /// `outboundTrafficPolicy` ALLOW_ANY: the cluster of undeclared destinations, if there is an outbound listener.
    pub(super) fn passthrough(&mut self) {
        let world = self.world;
        let goes_out = world.proxy.mesh_listen.is_some() || world.egress_ports().any(|(.., bound)| bound);
        if goes_out && world.outbound_traffic_policy().allows_any() {
            let cluster = self.cluster_of_undeclared(PASSTHROUGH_CLUSTER);
            self.clusters.push(cluster);
        }
    }

    /// A table for each port that makes a difference, except those in `except`, and the table for every port.
    pub(super) fn tables(&mut self, view: View<'w>, except: &dyn Fn(u16) -> bool) -> (Vec<RouteTable>, RouteTable) {
        let bound = self.bound.clone();
        let mesh = Mesh::of(view, &bound);
        let mut compiled = self.compiled(&mesh);
        let every = self.for_every_port(&mesh, &compiled);
        let written = names_written(&every);
        let mut tables = Vec::new();
        for (port, services) in self.ports(view, &mesh).into_iter().filter(|(port, _)| !except(*port)) {
            tables.push(self.for_port(port, &services, &mesh, &mut compiled, &written));
        }
        (tables, every)
    }

    /// All that this view has for one port, in one table. Where `protocol` is said, services speak that there.
    pub(super) fn whole_table(&mut self, view: View<'w>, port: ListenerPort) -> RouteTable {
        let bound = self.bound.clone();
        let mesh = Mesh::of(view, &bound);
        let mut compiled = self.compiled(&mesh);
        let every = self.for_every_port(&mesh, &compiled);
        let services = self.ports(view, &mesh).remove(&port.number).unwrap_or_default();
        let services = services.into_iter().map(|(service, own)| (service, port.protocol.unwrap_or(own))).collect();
        let own = self.for_port(port.number, &services, &mesh, &mut compiled, &names_written(&every));
        let hosts = own.virtual_hosts.into_iter().chain(every.virtual_hosts).collect();
        RouteTable::new(Some(port.number), hosts)
    }

    fn compiled(&mut self, mesh: &Mesh<'_, 'w>) -> Compiled {
        let mut compiled = Compiled::default();
        for (number, bound) in &mesh.all {
            self.depends_on_port = false;
            let routes = self.routes(bound, Scope { gateway: MESH, port: None });
            compiled.any.insert(*number, (routes, self.depends_on_port));
        }
        compiled
    }

    /// Every port that makes a difference, with the services that have it and that this proxy sees.
    fn ports(&self, view: View<'_>, mesh: &Mesh<'_, '_>) -> BTreeMap<u16, Services<'w>> {
        let mut ports: BTreeMap<u16, Services<'w>> = BTreeMap::new();
        ports.entry(HTTP_PORT).or_default();
        let rules = mesh.all.iter().flat_map(|(_, bound)| &bound.rules);
        for named in rules.flat_map(|rule| rule.blocks().filter_map(|(_, block)| block.port)) {
            ports.entry(named).or_default();
        }
        let own = &self.settings.namespace;
        let seen = |service: &&Service| service.export_to.reaches(own) && view.service(service);
        for service in self.world.services.iter().filter(seen) {
            for port in &service.ports {
                ports.entry(port.number).or_default().push((service, port.protocol));
            }
        }
        ports
    }

    /// The table for every port: the hosts of VirtualServices, and the route of undeclared hosts.
    fn for_every_port(&mut self, mesh: &Mesh<'_, '_>, compiled: &Compiled) -> RouteTable {
        let mut hosts: BTreeMap<&str, VirtualHost> = BTreeMap::new();
        for (number, bound) in &mesh.all {
            let Some((routes, _)) = compiled.any.get(number).filter(|(routes, _)| !routes.is_empty()) else { continue };
            for host in &bound.service.hosts {
                // The oldest VirtualService has a host for itself: sidecars do not merge.
                let others = self.short_for(host);
                hosts.entry(host).or_insert_with(|| virtual_host(host, others, routes.clone()));
            }
        }
        let mut hosts: Vec<_> = hosts.into_values().collect();
        let undeclared = self.undeclared();
        hosts.push(undeclared);
        RouteTable::new(None, hosts)
    }

    /// A cluster of undeclared hosts.
    fn cluster_of_undeclared(&self, name: &str) -> Cluster {
        let spread = LoadBalancing::even(Policy::Random, None, &[]);
        Cluster {
            idle_timeout: Some(PASSTHROUGH_IDLE_TIMEOUT),
            keepalive: connections::keepalive(self.world.proxy.mesh_config.tcp_keepalive, None),
            ..Cluster::new(name, spread, Vec::new(), self.settings.connect_timeout)
        }
    }

    /// Forwards a request to the address of its Host, wherever its client sent it.
    fn by_host(&mut self) -> Action {
        let target = self.targets.get(DYNAMIC_DNS_CLUSTER).cloned().unwrap_or_else(|| {
            let any = OwnAuthority { host: "*".into(), port: None, at_gateways: true };
            let cluster = self.cluster_of_undeclared(DYNAMIC_DNS_CLUSTER);
            self.clusters.push(Cluster { discovery: Discovery::Authority(any), ..cluster });
            Target::Known(ClusterId(self.clusters.len() as u32 - 1))
        });
        self.targets.insert(DYNAMIC_DNS_CLUSTER.to_owned(), target.clone());
        Action::Forward(Forward::to(Destinations::only(Destination::plain(target))))
    }

    /// The short names for the host of a VirtualService which is an alias of a service. The short names of the service itself
    /// are in the table of each of its ports.
    fn short_for(&self, host: &str) -> Vec<Box<str>> {
        match self.world.services.alias(host) {
            Some(_) => other_names(host, &self.settings.namespace),
            None => Vec::new(),
        }
    }

    /// `outboundTrafficPolicy`.
    fn undeclared(&mut self) -> VirtualHost {
        let (name, action) = match self.world.outbound_traffic_policy() {
            OutboundTrafficPolicy::AllowAny => match self.egress_proxy() {
                // istiod gives this route no retries.
                Some(proxy) => ("allow_any", Action::Forward(Forward::to(proxy.destinations))),
                None => ("allow_any", Action::Passthrough),
            },
            OutboundTrafficPolicy::AllowAnyDynamicDns => ("allow_any_dynamic_dns", self.by_host()),
            OutboundTrafficPolicy::RegistryOnly => {
                ("block_all", Action::Direct(DirectResponse { status: 502, body: Bytes::new() }))
            }
        };
        let of_sidecar = self.world.sidecar.as_ref().filter(|sidecar| sidecar.outbound_traffic_policy.is_some());
        let (source, path) = match of_sidecar {
            Some(sidecar) => (&sidecar.meta.source, "spec.outboundTrafficPolicy"),
            None => (&self.world.proxy.source, "spec.meshConfig.outboundTrafficPolicy"),
        };
        let origin = Origin {
            file: source.file.clone(),
            line: source.line_of(path),
            resource: source.resource.clone(),
            list: "http",
            rule: None,
            block: None,
            root: None,
        };
        VirtualHost::new(name, ["*".into()], vec![built_in(name, origin, action)])
    }

    /// The table of a port: its services, and the hosts of those VirtualServices that say something else on it.
    fn for_port(
        &mut self,
        port: u16,
        services: &Services<'w>,
        mesh: &Mesh<'_, 'w>,
        compiled: &mut Compiled,
        written: &Names<'_>,
    ) -> RouteTable {
        let mut hosts = Vec::new();
        let mut taken: HashSet<Box<str>, RandomState> = HashSet::default();
        let mut short = Vec::new();
        for (service, protocol) in services {
            let mut routes = Vec::new();
            // To a port that does not speak HTTP the rules do not apply.
            if protocol.routes_http() {
                let over = mesh.over(&service.hostname).into_iter();
                routes = over
                    .map(|number| self.routes_on(port, number, mesh, compiled))
                    .find(|routes| !routes.is_empty())
                    .unwrap_or_default();
            }
            if routes.is_empty() {
                routes.push(self.default_route(service, port));
            }
            let name = bracketed(&service.hostname);
            taken.insert(name.as_str().into());
            let mut others = other_names(&name, &self.settings.namespace);
            for alias in self.world.services.aliases_of(service, &self.settings.namespace) {
                others.extend(names_of(alias, &self.settings.namespace));
            }
            others.extend(service.addresses.iter().map(|address| bracketed(&address.to_string()).into()));
            short.push((hosts.len(), others));
            hosts.push((name, vec![], routes));
        }
        for (number, bound) in &mesh.all {
            if !compiled.any.get(number).is_some_and(|(_, depends)| *depends) {
                continue;
            }
            let routes = self.routes_on(port, *number, mesh, compiled);
            for host in bound.service.hosts.iter().filter(|_| !routes.is_empty()) {
                if taken.insert(host.as_str().into()) {
                    hosts.push((host.clone(), self.short_for(host), routes.clone()));
                }
            }
        }
        // A host that is written somewhere goes before one that is only short for another.
        for (at, names) in short {
            let free = names.into_iter().filter(|name| !written.contains(&**name) && taken.insert(name.clone()));
            hosts[at].1.extend(free);
        }
        hosts.sort_by(|a, b| a.0.cmp(&b.0));
        let hosts = hosts.into_iter().map(|(name, others, routes)| {
            let domains = [name.as_str().into()].into_iter().chain(others);
            VirtualHost::new(&format!("{name}:{port}"), domains, routes)
        });
        RouteTable::new(Some(port), hosts.collect())
    }

    fn routes_on(&mut self, port: u16, number: usize, mesh: &Mesh<'_, 'w>, compiled: &mut Compiled) -> Vec<Route> {
        match compiled.any.get(&number) {
            Some((routes, false)) => return routes.clone(),
            Some((_, true)) => {}
            None => return Vec::new(),
        }
        let Some((_, bound)) = mesh.all.get(number) else { return Vec::new() };
        let scope = Scope { gateway: MESH, port: Some(port) };
        compiled.by_port.entry((number, port)).or_insert_with(|| self.routes(bound, scope)).clone()
    }

    /// The route to a service without rules of its own.
    fn default_route(&mut self, service: &Service, port: u16) -> Route {
        let named = Named { host: service.hostname.clone(), subset: None, port: Some(port) };
        let target = self.destination(&named, Some(port));
        let source = &service.source;
        let origin = Origin {
            file: source.file.clone(),
            line: source.line,
            resource: source.resource.clone(),
            list: "http",
            rule: None,
            block: None,
            root: None,
        };
        let destinations = Destinations::only(Destination::plain(target));
        let hash_keys: Box<[_]> = self.hash_key(&named).into_iter().collect();
        let retry = self.retry(None, !hash_keys.is_empty());
        built_in("default", origin, Action::Forward(Forward { hash_keys, retry, ..Forward::to(destinations) }))
    }
}

/// An outbound listener.
pub(super) fn outbound_listener(kind: ListenerKind, bind: SocketAddr, chains: FilterChains) -> Listener {
    let name = format!("{}_{}", bind.ip(), bind.port());
    let stat_prefix = format!("outbound_{name}");
    Listener { name, bind, stat_prefix, kind, gateways: Vec::new(), chains }
}

fn names_written(every: &RouteTable) -> Names<'_> {
    every.virtual_hosts.iter().flat_map(|host| &host.domains).map(|name| &**name).collect()
}

pub(super) fn built_in(name: &str, origin: Origin, action: Action) -> Route {
    Route {
        name: name.to_owned(),
        origin,
        matcher: Matcher::default(),
        action,
        headers: HeaderEdits::default(),
        cors: None,
        stat_prefix: None,
    }
}

fn virtual_host(host: &str, others: Vec<Box<str>>, routes: Vec<Route>) -> VirtualHost {
    let name = bracketed(host);
    VirtualHost::new(&name, [name.as_str().into()].into_iter().chain(others), routes)
}

/// All names of a service of Kubernetes.
pub(super) fn names_of(hostname: &str, namespace: &str) -> impl Iterator<Item = Box<str>> {
    [hostname.into()].into_iter().chain(other_names(hostname, namespace))
}

/// The names besides its full one that a proxy of `namespace` may use for a service (istiod's `GenerateAltVirtualHosts`).
pub(super) fn other_names(hostname: &str, namespace: &str) -> Vec<Box<str>> {
    if hostname.starts_with(['*', '[']) || hostname.parse::<std::net::IpAddr>().is_ok() {
        return Vec::new();
    }
    let mut names = vec![format!("{hostname}.")];
    if let Some((service, own)) = hostname.strip_suffix(CLUSTER_DOMAIN).and_then(|name| name.split_once('.')) {
        if own == namespace {
            names.push(service.to_owned());
        }
        names.extend([format!("{service}.{own}"), format!("{service}.{own}.svc")]);
    }
    names.into_iter().map(Into::into).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_service() {
        for (hostname, namespace, expected) in [
            ("a.x.svc.cluster.local", "x", &["a.x.svc.cluster.local.", "a", "a.x", "a.x.svc"][..]),
            ("a.x.svc.cluster.local", "y", &["a.x.svc.cluster.local.", "a.x", "a.x.svc"]),
            ("httpbin.org", "x", &["httpbin.org."]),
            ("*.wikipedia.org", "x", &[]),
            ("10.0.0.1", "x", &[]),
        ] {
            let names = other_names(hostname, namespace);
            assert_eq!(names.iter().map(|name| &**name).collect::<Vec<_>>(), expected, "{hostname} from {namespace}");
        }
    }
}
