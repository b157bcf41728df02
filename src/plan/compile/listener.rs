//! `Gateway`: which servers are this proxy's, and the listeners that they make.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::istio::model::gateway::{Gateway, Server};
use crate::istio::model::selects;
use crate::plan::{HostTable, Listener};

use super::Compiler;

/// One server of a Gateway that is served here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Served<'w> {
    /// Position of `gateway` in the world.
    pub(super) number: usize,
    pub(super) gateway: &'w Gateway,
    pub(super) server: &'w Server,
}

impl Compiler<'_> {
    /// One listener for each address and Gateway port, in that order; servers that share them share the listener.
    pub(super) fn listeners(&mut self) -> Vec<Listener> {
        let mut places: BTreeMap<(u16, IpAddr), Vec<Served<'_>>> = BTreeMap::new();
        for (number, gateway) in self.world.gateways.iter().enumerate().filter(|(_, gateway)| self.selector(gateway)) {
            for server in &gateway.servers {
                let place = (server.port, server.bind.unwrap_or(self.settings.bind));
                places.entry(place).or_default().push(Served { number, gateway, server });
            }
        }
        if places.is_empty() {
            self.nothing_served();
        }
        let mut taken = BTreeMap::new();
        let mut listeners = Vec::with_capacity(places.len());
        for ((gateway_port, address), servers) in places {
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

    /// `selector`: a proxy without labels serves every Gateway.
    fn selector(&self, gateway: &Gateway) -> bool {
        self.settings.labels.is_empty() || selects(&gateway.selector, &self.settings.labels)
    }

    fn listener(&mut self, gateway_port: u16, bind: SocketAddr, servers: &[Served<'_>]) -> Listener {
        let virtual_hosts = self.virtual_hosts(gateway_port, servers);
        let names = virtual_hosts.iter().zip(0..).map(|(host, number)| (host.name.as_str(), number));
        let name = format!("{}_{}", bind.ip(), bind.port());
        Listener {
            stat_prefix: format!("outbound_{name}"),
            name,
            bind,
            gateway_port,
            hosts: HostTable::new(names),
            virtual_hosts,
        }
    }

    fn nothing_served(&mut self) {
        let proxy = &self.world.proxy;
        let problem = if self.world.gateways.is_empty() {
            proxy.source.warning("", "there is no Gateway, so nothing is listened on", "add a Gateway with a server")
        } else {
            proxy.source.warning(
                "metadata.labels",
                "the selector of no Gateway matches the labels of this proxy, so nothing is listened on",
                "give the proxy the labels of a Gateway's `selector`, or none at all to serve every Gateway",
            )
        };
        self.problems.push(problem);
    }
}

/// A port to suggest instead of one that is taken.
fn free_beside(bind: SocketAddr) -> u16 {
    bind.port().checked_add(1).unwrap_or(8080)
}
