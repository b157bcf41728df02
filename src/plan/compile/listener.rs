//! `Gateway`: which servers are this proxy's, and the listeners that they make.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::istio::model::gateway::{Gateway, Server};
use crate::istio::model::selects;
use crate::plan::{Listener, ListenerKind, RouteTable};

use super::Compiler;

/// One server of a Gateway that is served here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Served<'w> {
    pub(super) gateway: &'w Gateway,
    pub(super) server: &'w Server,
}

impl Compiler<'_> {
    /// One listener for each address and Gateway port, in that order; servers that share them share the listener.
    pub(super) fn listeners(&mut self) -> Vec<Listener> {
        let mut places: BTreeMap<(u16, IpAddr), Vec<Served<'_>>> = BTreeMap::new();
        for gateway in self.world.gateways.iter().filter(|gateway| self.selector(gateway)) {
            for server in &gateway.servers {
                let place = (server.port, server.bind.unwrap_or(self.settings.bind));
                places.entry(place).or_default().push(Served { gateway, server });
            }
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

    /// Says so if there is not one listener and not one Gateway.
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

    fn listener(&mut self, gateway_port: u16, bind: SocketAddr, servers: &[Served<'_>]) -> Listener {
        let table = RouteTable::new(Some(gateway_port), self.virtual_hosts(gateway_port, servers));
        let name = format!("{}_{}", bind.ip(), bind.port());
        let mut gateways: Vec<Box<str>> = servers.iter().map(|served| gateway_name(served.gateway).into()).collect();
        gateways.dedup();
        Listener {
            stat_prefix: format!("outbound_{name}"),
            name,
            bind,
            kind: ListenerKind::Gateway(gateway_port),
            gateways,
            tables: vec![table],
            outbound: None,
        }
    }
}

/// As VirtualServices name it.
pub(super) fn gateway_name(gateway: &Gateway) -> String {
    format!("{}/{}", gateway.meta.namespace, gateway.meta.name)
}

/// A port to suggest instead of one that is taken.
fn free_beside(bind: SocketAddr) -> u16 {
    bind.port().checked_add(1).unwrap_or(8080)
}
