//! `tls` and `tcp` of a VirtualService: filter chains with a TCP proxy each, at the mesh for each port of a service, at a
//! gateway for each listener for TLS or TCP (istiod's `tls.go` and `gateway.go`).

use std::collections::HashSet;

use crate::base::subnet::Subnet;
use crate::istio::model::selects;
use crate::istio::model::virtual_service::{L4Match, L4Route, MESH, VirtualService};
use crate::istio::world::{Service, ServicePort, World};
use crate::plan::{
    BLACK_HOLE_CLUSTER, Destination, Destinations, FilterChain, FilterChainMatch, FilterChains, Origin, PortProtocol,
    Target, TcpRoute, TcpStatsId,
};
use crate::policy::hashing::key::Key;

use super::host::ServerHosts;
use super::listener::{Served, gateway_name};
use super::{Compiler, Scope, hostname};

/// The lists of a VirtualService.
const TLS: &str = "tls";
const TCP: &str = "tcp";

/// The conditions and the TCP proxy of a filter chain.
type TcpChain = (FilterChainMatch, TcpRoute);

/// The VirtualServices with rules for connections that are bound to the mesh, in order.
pub(super) struct MeshRules<'w>(Vec<&'w VirtualService>);

impl<'w> MeshRules<'w> {
    /// The VirtualServices that may rule over a service on this port: one of their hosts covers the service's or is covered by
    /// it, and the Sidecar lets them in there.
    fn over<'s>(
        &'s self,
        world: &'s World,
        hostname: &'s str,
        port: Option<u16>,
    ) -> impl Iterator<Item = &'w VirtualService> + 's {
        let view = world.view(port);
        let has = move |host: &String| hostname::covers(host, hostname) || hostname::covers(hostname, host);
        self.0.iter().copied().filter(move |service| service.hosts.iter().any(has) && view.virtual_service(service))
    }
}

impl<'w> Compiler<'w> {
    pub(super) fn mesh_rules(&self) -> MeshRules<'w> {
        let all = self.bound.iter().map(|bound| bound.service);
        let bound = all.filter(|service| {
            !(service.tls.is_empty() && service.tcp.is_empty()) && service.gateways.iter().any(|name| name == MESH)
        });
        MeshRules(bound.collect())
    }

    /// The chains that rules make for a service's port, in order, and whether a chain to the service itself comes behind them.
    pub(super) fn tcp_chains(
        &mut self,
        mesh: &MeshRules<'w>,
        service: &Service,
        port: &ServicePort,
        protocol: PortProtocol,
    ) -> (Vec<TcpChain>, bool) {
        let scope = Scope { gateway: MESH, port: Some(port.number) };
        match protocol {
            // Its routes say where requests go.
            PortProtocol::Http => (Vec::new(), false),
            PortProtocol::Tls => {
                let chains = self.by_tls_rules(mesh, service, scope);
                let open = chains.is_empty();
                (chains, open)
            }
            PortProtocol::Tcp | PortProtocol::Auto => self.by_tcp_rules(mesh, service, scope),
        }
    }

    /// A TLS service with one rule of its own has no other chain: a server name without a rule is undeclared.
    fn by_tls_rules(&mut self, mesh: &MeshRules<'w>, service: &Service, scope: Scope<'_>) -> Vec<TcpChain> {
        let mut chains = Vec::new();
        let mut seen = HashSet::new();
        for from in mesh.over(self.world, &service.hostname, scope.port) {
            for rule in &from.tls {
                for (at, block) in rule.matches.iter().enumerate() {
                    if !self.is_for_connections(block, scope) {
                        continue;
                    }
                    let new: Vec<_> = pairs(block).filter(|pair| !seen.contains(pair)).collect();
                    if new.is_empty() {
                        self.never(from, TLS, rule, Some(at), "earlier rules have all of its server names");
                        continue;
                    }
                    seen.extend(new);
                    if let Some(route) = self.tcp_route((from, TLS, rule), Some(at), scope) {
                        chains.push((matches(block), route));
                    }
                }
            }
        }
        chains
    }

    /// Rules for some addresses, up to the first for all.
    fn by_tcp_rules(&mut self, mesh: &MeshRules<'w>, service: &Service, scope: Scope<'_>) -> (Vec<TcpChain>, bool) {
        let mut chains = Vec::new();
        let mut open = true;
        for from in mesh.over(self.world, &service.hostname, scope.port) {
            for rule in &from.tcp {
                let blocks: Vec<_> =
                    rule.matches.iter().filter(|block| self.is_for_connections(block, scope)).collect();
                if blocks.is_empty() && !rule.matches.is_empty() {
                    continue;
                }
                let everything = blocks.is_empty() || blocks.iter().any(|block| block.destination_subnets.is_empty());
                if !open {
                    self.never(from, TCP, rule, None, "an earlier rule takes every connection");
                    continue;
                }
                let subnets = match everything {
                    true => Vec::new(),
                    false => blocks.iter().flat_map(|block| block.destination_subnets.iter().copied()).collect(),
                };
                if let Some(route) = self.tcp_route((from, TCP, rule), None, scope) {
                    chains.push((FilterChainMatch { subnets, server_names: Vec::new() }, route));
                    open &= !everything;
                }
            }
        }
        (chains, open)
    }

    /// The chains of a gateway's listener for TLS (mode PASSTHROUGH): one for each `match` block that a server has.
    pub(super) fn server_name_chains(&mut self, port: u16, servers: &[Served<'w>]) -> FilterChains {
        let mut chains: Vec<_> = servers.iter().filter(|served| served.server.withheld).map(Served::closed).collect();
        let mut taken = HashSet::new();
        for served in servers.iter().filter(|served| !served.server.withheld) {
            let before = chains.len();
            let gateway = gateway_name(served.gateway);
            let scope = Scope { gateway: &gateway, port: Some(port) };
            for from in self.over_server(*served, &gateway) {
                self.tls_of_server(from, scope, &mut taken, &mut chains);
            }
            if chains.len() == before {
                self.no_chain(*served, TLS);
            }
        }
        FilterChains::by_server_name(chains)
    }

    /// The chain of a gateway's listener for TCP: the first rule that any of the servers has.
    pub(super) fn tcp_chain(&mut self, port: u16, servers: &[Served<'w>]) -> FilterChains {
        let mut chain = None;
        for served in servers.iter().filter(|served| !served.server.withheld) {
            let gateway = gateway_name(served.gateway);
            let scope = Scope { gateway: &gateway, port: Some(port) };
            for from in self.over_server(*served, &gateway) {
                self.tcp_of_server(from, scope, &mut chain);
            }
            if chain.is_none() {
                self.no_chain(*served, TCP);
            }
        }
        FilterChains::tcp(chain)
    }

    /// The VirtualServices that are bound to a server's Gateway and have hosts in common with the server, in order.
    fn over_server(&self, served: Served<'w>, gateway: &str) -> Vec<&'w VirtualService> {
        let hosts = ServerHosts::of(served.server);
        let all = self.bound.iter().map(|bound| bound.service);
        let over = all.filter(|from| from.gateways.iter().any(|name| name == gateway));
        over.filter(|from| !hosts.intersection(from).is_empty()).collect()
    }

    /// Reports a server without a rule.
    fn no_chain(&mut self, served: Served<'w>, list: &'static str) {
        let path = if list == TLS { "spec.tls" } else { "spec.tcp" };
        if !self.world.is_unknown("VirtualService", &["metadata", "spec.hosts", "spec.gateways", path]) {
            let what = format!(
                "no VirtualService bound to it has a rule under \"{list}\" for this server: its connections are closed"
            );
            let instead = "write one with this Gateway under \"gateways\" and hosts that meet the server's";
            let path = format!("spec.servers[{}]", served.index());
            self.problems.push(served.gateway.meta.source.warning(&path, what, instead));
        }
    }

    fn tls_of_server(
        &mut self,
        from: &'w VirtualService,
        scope: Scope<'_>,
        taken: &mut HashSet<String>,
        chains: &mut Vec<FilterChain>,
    ) {
        for rule in &from.tls {
            for (at, block) in rule.matches.iter().enumerate().filter(|(_, block)| is_at_gateway(block, scope)) {
                if let Some(name) = block.sni_hosts.iter().find(|name| taken.contains(*name)) {
                    let why =
                        format!("an earlier rule has \"{name}\" already, and with one name of a block the others go");
                    self.never(from, TLS, rule, Some(at), &why);
                    continue;
                }
                taken.extend(block.sni_hosts.iter().cloned());
                if let Some(route) = self.tcp_route((from, TLS, rule), Some(at), scope) {
                    // istiod does not look at the addresses of a gateway's connections.
                    chains.push(FilterChain::tcp(FilterChainMatch { subnets: Vec::new(), ..matches(block) }, route));
                }
            }
        }
    }

    fn tcp_of_server(&mut self, from: &'w VirtualService, scope: Scope<'_>, chain: &mut Option<FilterChain>) {
        for rule in &from.tcp {
            if !rule.matches.is_empty() && !rule.matches.iter().any(|block| is_at_gateway(block, scope)) {
                continue;
            }
            if chain.is_some() {
                self.never(from, TCP, rule, None, "an earlier rule takes every connection");
            } else if let Some(route) = self.tcp_route((from, TCP, rule), None, scope) {
                *chain = Some(FilterChain::tcp(FilterChainMatch::default(), route));
            }
        }
    }

    /// Whether a block is for this port and proxy at all. Unlike a block for requests it must fit the proxy's labels and
    /// namespace also where it names gateways.
    fn is_for_connections(&self, block: &L4Match, scope: Scope<'_>) -> bool {
        is_at_gateway(block, scope)
            && selects(&block.source_labels, &self.settings.labels)
            && block.source_namespace.as_ref().is_none_or(|own| *own == self.settings.namespace)
    }

    fn never(&mut self, from: &VirtualService, list: &str, rule: &L4Route, block: Option<usize>, why: &str) {
        let path = rule_path(list, rule, block);
        let what = format!("no connection gets here: {why} [IST0131]");
        self.problems.push(from.meta.source.warning(&path, what, "put the rule first, or remove it"));
    }

    fn cluster_name<'t>(&'t self, target: &'t Target) -> &'t str {
        match target {
            Target::Known(id) => self.clusters.get(id.index()).map_or("", |cluster| &cluster.name),
            Target::Missing(name) => name,
        }
    }

    /// `route`; `None` if there is no destination to choose, which reading has reported.
    fn tcp_route(
        &mut self,
        (from, list, rule): (&'w VirtualService, &'static str, &'w L4Route),
        block: Option<usize>,
        scope: Scope<'_>,
    ) -> Option<TcpRoute> {
        let mut to = Vec::with_capacity(rule.route.len());
        for entry in &rule.route {
            let target = match rule.withheld {
                true => Target::Missing(BLACK_HOLE_CLUSTER.into()),
                false => self.destination(&entry.destination, scope.port),
            };
            to.push(Destination { weight: entry.weight, ..Destination::plain(target) });
        }
        let name = match to.as_slice() {
            [only] => self.cluster_name(&only.target).to_owned(),
            _ => format!("{}.{}", from.meta.name, from.meta.namespace),
        };
        let first = rule.route.first()?;
        let source = &from.meta.source;
        Some(TcpRoute {
            name: name.into(),
            destinations: Destinations::new(to)?,
            by_source: self.hash_key(&first.destination) == Some(Key::SourceIp),
            origin: Some(Origin {
                file: source.file.clone(),
                line: block.map_or(rule.line, |_| source.line_of(&rule_path(list, rule, block))),
                resource: source.resource.clone(),
                list,
                rule: Some(rule.index as usize),
                block,
                root: None,
            }),
            stats: TcpStatsId(0),
        })
    }
}

impl Served<'_> {
    /// The chain for the hosts of a withheld server for TLS: it leads nowhere, so that a server with wider hosts does not get
    /// their connections.
    fn closed(&self) -> FilterChain {
        let hosts = self.server.hosts.iter();
        let everything = hosts.clone().any(|host| host.host == "*");
        let server_names = if everything { Vec::new() } else { hosts.map(|host| host.host.as_str().into()).collect() };
        let route = TcpRoute::plain(BLACK_HOLE_CLUSTER, Target::Missing(BLACK_HOLE_CLUSTER.into()));
        let matches = FilterChainMatch { subnets: Vec::new(), server_names };
        FilterChain::tcp(matches, TcpRoute { origin: Some(self.origin()), ..route })
    }
}

fn rule_path(list: &str, rule: &L4Route, block: Option<usize>) -> String {
    let block = block.map_or_else(String::new, |at| format!(".match[{at}]"));
    format!("spec.{list}[{}]{block}", rule.index)
}

/// Whether a block is for this port and gateway, which is all that istiod looks at for a gateway.
fn is_at_gateway(block: &L4Match, scope: Scope<'_>) -> bool {
    block.port.is_none_or(|port| scope.port == Some(port))
        && (block.gateways.is_empty() || block.gateways.iter().any(|name| name == scope.gateway))
}

fn matches(block: &L4Match) -> FilterChainMatch {
    FilterChainMatch {
        subnets: block.destination_subnets.clone(),
        server_names: block.sni_hosts.iter().map(|name| name.as_str().into()).collect(),
    }
}

/// Each address range of a block with each name.
fn pairs(block: &L4Match) -> impl Iterator<Item = (Option<Subnet>, &str)> {
    let subnets: Vec<_> = match block.destination_subnets.as_slice() {
        [] => vec![None],
        some => some.iter().copied().map(Some).collect(),
    };
    let names = block.sni_hosts.iter().map(String::as_str);
    names.flat_map(move |name| subnets.clone().into_iter().map(move |subnet| (subnet, name)))
}
