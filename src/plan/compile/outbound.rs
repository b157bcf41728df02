//! The ways out of outbound listeners that are no HTTP routes: every port of every service that a listener sees.

use std::net::SocketAddr;

use crate::istio::model::scalar::Protocol;
use crate::istio::model::virtual_service::Destination as Named;
use crate::istio::world::{Service, ServicePort};
use crate::plan::{Conditions, Declared, Outbound, Speaks, Target, TcpRoute};
use crate::policy::hashing::key::Key;

use super::Compiler;
use super::host::bracketed;
use super::mesh::names_of;

impl Compiler<'_> {
    /// `outboundTrafficPolicy`, `spec.mesh.allowLocal`, and where connections go that are no HTTP, of a listener at
    /// `bind`. `sees` says what a service's port speaks, if the listener sees it.
    pub(super) fn outbound(
        &mut self,
        bind: SocketAddr,
        sees: impl Fn(&Service, &ServicePort) -> Option<Protocol>,
    ) -> Outbound {
        let declared = self.declared(sees);
        let [allow_any, allow_local] = self.permissions(bind);
        let detection = self.world.proxy.mesh_config.protocol_detection_timeout;
        let egress_proxy = self.egress_proxy();
        Outbound::new(allow_any, allow_local, detection, declared).by_way_of(egress_proxy)
    }

    /// `outboundTrafficPolicy.egressProxy`, as an outlet.
    pub(super) fn egress_proxy(&mut self) -> Option<TcpRoute> {
        let named = self.world.egress_proxy()?;
        let (port, subset) = (named.port.unwrap_or_default(), named.subset.as_deref().unwrap_or_default());
        let name = format!("outbound|{port}|{subset}|{}", named.host);
        Some(TcpRoute::plain(&name, self.destination(named, named.port), Speaks::Tcp))
    }

    /// Whether undeclared hosts may be connected to, and whether they may be this host.
    pub(super) fn permissions(&self, bind: SocketAddr) -> [bool; 2] {
        // Who can reach a listener on loopback can reach loopback without it.
        let alone = bind.ip().to_canonical().is_loopback();
        [self.world.outbound_traffic_policy().allows_any(), self.world.proxy.mesh_allow_local.unwrap_or(alone)]
    }

    /// The ports that `sees` knows a protocol of.
    pub(super) fn declared(&mut self, sees: impl Fn(&Service, &ServicePort) -> Option<Protocol>) -> Vec<Declared> {
        let world = self.world;
        let own = self.settings.namespace.clone();
        let mesh = self.mesh_streams();
        let mut declared = Vec::new();
        for service in world.services.iter().filter(|service| service.export_to.reaches(&own)) {
            let seen: Vec<_> = service.ports.iter().filter_map(|port| Some((port, sees(service, port)?))).collect();
            if seen.is_empty() {
                continue;
            }
            let name = bracketed(&service.hostname);
            let addresses = service.addresses.iter().map(|address| bracketed(&address.to_string()).into());
            let aliases = world.services.aliases_of(service, &own).flat_map(|alias| names_of(alias, &own));
            let names: Vec<Box<str>> = names_of(&name, &own).chain(addresses).chain(aliases).collect();
            for (port, protocol) in seen.into_iter().filter(|(_, protocol)| *protocol != Protocol::Udp) {
                let speaks = speaks(protocol);
                let name = format!("outbound|{}||{}", port.number, service.hostname);
                let named = Named { host: service.hostname.clone(), subset: None, port: Some(port.number) };
                let (mut ways, open) = self.ways(&mesh, service, port, speaks);
                if open {
                    // The rules say where HTTP goes, and may leave no use for this cluster.
                    let target = match speaks {
                        Speaks::Http => Target::Missing(name.as_str().into()),
                        _ => self.destination(&named, Some(port.number)),
                    };
                    let by_source = self.hash_key(&named) == Some(Key::SourceIp);
                    let outlet = TcpRoute { by_source, ..TcpRoute::plain(&name, target, speaks) };
                    ways.push((Conditions::default(), outlet));
                }
                let (names, addresses) = (names.clone(), service.addresses.clone());
                declared.push(Declared { port: port.number, names, addresses, speaks, ways });
            }
        }
        declared
    }
}

pub(super) fn speaks(protocol: Protocol) -> Speaks {
    match protocol {
        Protocol::Auto => Speaks::Unsaid,
        protocol if protocol.routes_http() => Speaks::Http,
        protocol if protocol.is_tls() => Speaks::Tls,
        _ => Speaks::Tcp,
    }
}
