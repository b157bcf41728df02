//! `tls` and `tcp`: rules for connections, at the mesh for each port of a service, at a gateway for each listener that has
//! no HTTP (istiod's `tls.go` and `gateway.go`).

use std::collections::HashSet;

use crate::base::subnet::Subnet;
use crate::istio::model::gateway::Serves;
use crate::istio::model::selects;
use crate::istio::model::virtual_service::{MESH, StreamMatch, StreamRoute, VirtualService};
use crate::istio::world::{Service, ServicePort, World};
use crate::plan::{BLACK_HOLE_CLUSTER, Conditions, Destination, Destinations, Origin, Outlet, Speaks, Streams, Target};
use crate::policy::hashing::key::Key;

use super::host::ServerHosts;
use super::listener::{Served, gateway_name};
use super::{Compiler, Scope, hostname};

/// The lists of a VirtualService.
const TLS: &str = "tls";
const TCP: &str = "tcp";

/// The VirtualServices with rules for connections that are bound to the mesh, in order.
pub(super) struct MeshStreams<'w>(Vec<&'w VirtualService>);

impl<'w> MeshStreams<'w> {
    /// Those that may rule over a service on this port: one of whose hosts it has, or has one of, and that a Sidecar lets in
    /// there.
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
    pub(super) fn mesh_streams(&self) -> MeshStreams<'w> {
        let all = self.bound.iter().map(|bound| bound.service);
        let bound = all.filter(|service| {
            !(service.tls.is_empty() && service.tcp.is_empty()) && service.gateways.iter().any(|name| name == MESH)
        });
        MeshStreams(bound.collect())
    }

    /// Where connections to a service's port go by rules, in order, and whether the service itself comes behind them.
    pub(super) fn ways(
        &mut self,
        mesh: &MeshStreams<'w>,
        service: &Service,
        port: &ServicePort,
        speaks: Speaks,
    ) -> (Vec<(Conditions, Outlet)>, bool) {
        let scope = Scope { gateway: MESH, port: Some(port.number) };
        match speaks {
            Speaks::Http => (Vec::new(), true),
            Speaks::Tls => {
                let ways = self.tls_ways(mesh, service, scope);
                let open = ways.is_empty();
                (ways, open)
            }
            Speaks::Tcp | Speaks::Unsaid => self.tcp_ways(mesh, service, scope, speaks),
        }
    }

    /// A service of TLS with one rule of its own has no other way: what no rule names is undeclared.
    fn tls_ways(&mut self, mesh: &MeshStreams<'w>, service: &Service, scope: Scope<'_>) -> Vec<(Conditions, Outlet)> {
        let mut ways = Vec::new();
        let mut seen = HashSet::new();
        for from in mesh.over(self.world, &service.hostname, scope.port) {
            for rule in &from.tls {
                for (at, block) in rule.matches.iter().enumerate() {
                    if !self.is_for_stream(block, scope) {
                        continue;
                    }
                    let new: Vec<_> = pairs(block).filter(|pair| !seen.contains(pair)).collect();
                    if new.is_empty() {
                        self.never(from, TLS, rule, Some(at), "earlier rules have all of its server names");
                        continue;
                    }
                    seen.extend(new);
                    if let Some(outlet) = self.stream_outlet((from, TLS, rule), Some(at), scope, Speaks::Tls) {
                        ways.push((conditions(block), outlet));
                    }
                }
            }
        }
        ways
    }

    /// Rules for some addresses, up to the first for all.
    fn tcp_ways(
        &mut self,
        mesh: &MeshStreams<'w>,
        service: &Service,
        scope: Scope<'_>,
        speaks: Speaks,
    ) -> (Vec<(Conditions, Outlet)>, bool) {
        let mut ways = Vec::new();
        let mut open = true;
        for from in mesh.over(self.world, &service.hostname, scope.port) {
            for rule in &from.tcp {
                let blocks: Vec<_> = rule.matches.iter().filter(|block| self.is_for_stream(block, scope)).collect();
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
                if let Some(outlet) = self.stream_outlet((from, TCP, rule), None, scope, speaks) {
                    ways.push((Conditions { subnets, server_names: Vec::new() }, outlet));
                    open &= !everything;
                }
            }
        }
        (ways, open)
    }

    /// The rules of a gateway's listener without HTTP.
    pub(super) fn streams(&mut self, port: u16, servers: &[Served<'w>]) -> Streams {
        let tls = servers.first().is_some_and(|served| served.server.serves == Serves::Tls);
        let mut ways: Vec<_> = servers.iter().filter(|served| served.server.withheld).map(Served::closed).collect();
        let mut taken = HashSet::new();
        for served in servers.iter().filter(|served| !served.server.withheld) {
            let gateway = gateway_name(served.gateway);
            let scope = Scope { gateway: &gateway, port: Some(port) };
            let hosts = ServerHosts::of(served.server);
            let before = ways.len();
            let all = self.bound.clone();
            for from in all.iter().map(|bound| bound.service) {
                if from.gateways.contains(&gateway) && !hosts.intersection(from).is_empty() {
                    match tls {
                        true => self.tls_of_server(from, scope, &mut taken, &mut ways),
                        false => self.tcp_of_server(from, scope, &mut ways),
                    }
                }
            }
            let fields = ["metadata", "spec.hosts", "spec.gateways", if tls { "spec.tls" } else { "spec.tcp" }];
            if ways.len() == before && !self.world.is_unknown("VirtualService", &fields) {
                let what = format!(
                    "no VirtualService bound to it has a rule under \"{}\" for this server: its connections are closed",
                    if tls { TLS } else { TCP }
                );
                let instead = "write one with this Gateway under \"gateways\" and hosts that meet the server's";
                let path = format!("spec.servers[{}]", served.index());
                self.problems.push(served.gateway.meta.source.warning(&path, what, instead));
            }
        }
        Streams::new(tls, ways)
    }

    fn tls_of_server(
        &mut self,
        from: &'w VirtualService,
        scope: Scope<'_>,
        taken: &mut HashSet<String>,
        ways: &mut Vec<(Conditions, Outlet)>,
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
                if let Some(outlet) = self.stream_outlet((from, TLS, rule), Some(at), scope, Speaks::Tls) {
                    ways.push((Conditions { subnets: Vec::new(), ..conditions(block) }, outlet));
                }
            }
        }
    }

    fn tcp_of_server(&mut self, from: &'w VirtualService, scope: Scope<'_>, ways: &mut Vec<(Conditions, Outlet)>) {
        for rule in &from.tcp {
            if !rule.matches.is_empty() && !rule.matches.iter().any(|block| is_at_gateway(block, scope)) {
                continue;
            }
            if !ways.is_empty() {
                self.never(from, TCP, rule, None, "an earlier rule takes every connection");
            } else if let Some(outlet) = self.stream_outlet((from, TCP, rule), None, scope, Speaks::Tcp) {
                ways.push((Conditions::default(), outlet));
            }
        }
    }

    /// Whether a block is for this port and proxy at all. Unlike that of a request it has to be from there whether it names
    /// gateways or not.
    fn is_for_stream(&self, block: &StreamMatch, scope: Scope<'_>) -> bool {
        is_at_gateway(block, scope)
            && selects(&block.source_labels, &self.settings.labels)
            && block.source_namespace.as_ref().is_none_or(|own| *own == self.settings.namespace)
    }

    fn never(&mut self, from: &VirtualService, list: &str, rule: &StreamRoute, block: Option<usize>, why: &str) {
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

    /// `route`; `None` if nothing can be chosen, which reading has reported.
    fn stream_outlet(
        &mut self,
        (from, list, rule): (&'w VirtualService, &'static str, &'w StreamRoute),
        block: Option<usize>,
        scope: Scope<'_>,
        speaks: Speaks,
    ) -> Option<Outlet> {
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
        Some(Outlet {
            name: name.into(),
            destinations: Destinations::new(to)?,
            speaks,
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
        })
    }
}

impl Served<'_> {
    /// Where connections for the hosts of a withheld server for TLS go: nowhere, also where another server has wider hosts.
    fn closed(&self) -> (Conditions, Outlet) {
        let hosts = self.server.hosts.iter();
        let everything = hosts.clone().any(|host| host.host == "*");
        let server_names = if everything { Vec::new() } else { hosts.map(|host| host.host.as_str().into()).collect() };
        let outlet = Outlet::plain(BLACK_HOLE_CLUSTER, Target::Missing(BLACK_HOLE_CLUSTER.into()), Speaks::Tls);
        (Conditions { subnets: Vec::new(), server_names }, Outlet { origin: Some(self.origin()), ..outlet })
    }
}

fn rule_path(list: &str, rule: &StreamRoute, block: Option<usize>) -> String {
    let block = block.map_or_else(String::new, |at| format!(".match[{at}]"));
    format!("spec.{list}[{}]{block}", rule.index)
}

/// What istiod looks at for a gateway: who sends and where to is not.
fn is_at_gateway(block: &StreamMatch, scope: Scope<'_>) -> bool {
    block.port.is_none_or(|port| scope.port == Some(port))
        && (block.gateways.is_empty() || block.gateways.iter().any(|name| name == scope.gateway))
}

fn conditions(block: &StreamMatch) -> Conditions {
    Conditions {
        subnets: block.destination_subnets.clone(),
        server_names: block.sni_hosts.iter().map(|name| name.as_str().into()).collect(),
    }
}

/// Each address range of a block with each name.
fn pairs(block: &StreamMatch) -> impl Iterator<Item = (Option<Subnet>, &str)> {
    let subnets: Vec<_> = match block.destination_subnets.as_slice() {
        [] => vec![None],
        some => some.iter().copied().map(Some).collect(),
    };
    let names = block.sni_hosts.iter().map(String::as_str);
    names.flat_map(move |name| subnets.clone().into_iter().map(move |subnet| (subnet, name)))
}
