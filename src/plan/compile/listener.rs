//! `Gateway`: which servers are this proxy's, and the listeners that they make.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use crate::istio::model::gateway::{Gateway, Server, Serves};
use crate::istio::model::selects;
use crate::plan::{FilterChains, HttpRoutes, Listener, ListenerKind, Origin, RouteTable};

use super::Compiler;

/// One server of a Gateway that is served here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Served<'w> {
    pub(super) gateway: &'w Gateway,
    pub(super) server: &'w Server,
}

impl<'w> Compiler<'w> {
    /// One listener for each address and Gateway port, in that order; servers that share them share the listener.
    pub(super) fn listeners(&mut self) -> Vec<Listener> {
        let mut places: BTreeMap<(u16, IpAddr), Vec<Served<'w>>> = BTreeMap::new();
        for gateway in self.world.gateways.iter().filter(|gateway| self.selector(gateway)) {
            for server in &gateway.servers {
                let place = (server.port, server.bind.unwrap_or(self.settings.bind));
                places.entry(place).or_default().push(Served { gateway, server });
            }
        }
        let mut taken = BTreeMap::new();
        let mut listeners = Vec::with_capacity(places.len());
        for ((gateway_port, address), mut servers) in places {
            self.agree(&mut servers);
            // A withheld server has counted in `agree`, and makes no listener by itself.
            if servers.iter().all(|served| served.server.withheld) {
                continue;
            }
            let bind = SocketAddr::new(address, self.settings.bound_port(gateway_port));
            // Port 0 is a different one each time.
            if bind.port() != 0
                && let Some(other) = taken.insert(bind, gateway_port)
            {
                self.problems.push(self.world.proxy.source.error(
                    "spec.ports",
                    format!("Gateway ports {other} and {gateway_port} are both bound at {bind}"),
                    format!("give each of them its own port, say `ports: {{{gateway_port}: {}}}`", free_beside(bind)),
                ));
                continue;
            }
            listeners.push(self.listener(gateway_port, bind, &servers));
        }
        listeners
    }

    /// Keeps the servers of one address that can share a listener: it is for HTTP, or for TLS of different hosts, or for TCP.
    /// The first server decides, as in Istio, and incompatible ones are left out.
    fn agree(&mut self, servers: &mut Vec<Served<'_>>) {
        let Some(first) = servers.first().copied() else { return };
        let mut hosts = HashSet::new();
        servers.retain(|served| {
            let Served { gateway, server } = *served;
            let twice = server.hosts.iter().find(|host| hosts.contains(host.host.as_str()));
            let why = match (first.server.serves, server.serves) {
                (Serves::Http, Serves::Http) => None,
                (Serves::Tls, Serves::Tls) => twice.map(|host| {
                    format!("an earlier server for TLS on port {} has \"{}\" already", server.port, host.host)
                }),
                _ if std::ptr::eq(first.server, server) => None,
                (taken, own) => Some(format!(
                    "cannot be for {} where {} is for {} already",
                    spoken(own),
                    first.place(),
                    spoken(taken)
                )),
            };
            if let Some(why) = &why {
                let path = format!("spec.servers[{}]", served.index());
                let what = format!("{why}: it is left out");
                self.problems.push(gateway.meta.source.broken(&path, what, "give it a port or hosts of its own"));
            } else {
                hosts.extend(server.hosts.iter().map(|host| host.host.as_str()));
            }
            why.is_none()
        });
    }

    /// Reports that there is no listener and no Gateway.
    pub(super) fn nothing_to_listen_on(&mut self, listeners: &[Listener]) {
        if listeners.is_empty() && self.world.gateways.is_empty() {
            let what = "there is no Gateway, so nothing is listened on";
            let instead = "add a Gateway with a server, or spec.mesh.listen to the Proxy document";
            self.problems.push(self.world.proxy.source.warning("", what, instead));
        }
    }

    /// `selector`: a proxy without labels serves every Gateway.
    fn selector(&self, gateway: &Gateway) -> bool {
        self.settings.labels.is_empty() || selects(&gateway.selector, &self.settings.labels)
    }

    fn listener(&mut self, gateway_port: u16, bind: SocketAddr, servers: &[Served<'w>]) -> Listener {
        let chains = match servers.first().map(|first| first.server.serves) {
            Some(Serves::Tls) => self.server_name_chains(gateway_port, servers),
            Some(Serves::Tcp) => self.tcp_chain(gateway_port, servers),
            Some(Serves::Http) | None => {
                let hosts = self.virtual_hosts(gateway_port, servers);
                FilterChains::http(HttpRoutes::One(RouteTable::new(Some(gateway_port), hosts)))
            }
        };
        let name = format!("{}_{}", bind.ip(), bind.port());
        let mut gateways: Vec<Box<str>> = servers.iter().map(|served| gateway_name(served.gateway).into()).collect();
        gateways.dedup();
        Listener {
            stat_prefix: format!("outbound_{name}"),
            name,
            bind,
            kind: ListenerKind::Gateway(gateway_port),
            gateways,
            chains,
        }
    }
}

fn spoken(serves: Serves) -> &'static str {
    match serves {
        Serves::Http => "HTTP",
        Serves::Tls => "TLS",
        Serves::Tcp => "TCP",
    }
}

impl Served<'_> {
    /// The server's position in its Gateway.
    pub(super) fn index(&self) -> usize {
        self.server.index
    }

    /// Where the server is written.
    pub(super) fn origin(&self) -> Origin {
        let source = &self.gateway.meta.source;
        let index = self.index();
        Origin {
            file: source.file.clone(),
            line: source.line_of(&format!("spec.servers[{index}]")),
            resource: source.resource.clone(),
            list: "servers",
            rule: Some(index),
            block: None,
            root: None,
        }
    }

    /// The server with where it is written.
    fn place(&self) -> String {
        let source = &self.gateway.meta.source;
        let path = format!("spec.servers[{}]", self.index());
        let line = source.line_of(&path);
        format!("{} ({}:{line})", source.resource, source.file)
    }
}

/// The Gateway's name as VirtualServices write it.
pub(super) fn gateway_name(gateway: &Gateway) -> String {
    format!("{}/{}", gateway.meta.namespace, gateway.meta.name)
}

/// A port to suggest instead of one that is taken.
fn free_beside(bind: SocketAddr) -> u16 {
    bind.port().checked_add(1).unwrap_or(8080)
}
