//! The mesh listener's ways out that are no HTTP routes: every port of every service that this proxy sees.

use crate::istio::model::scalar::Protocol;
use crate::istio::model::virtual_service::Destination as Named;
use crate::plan::{Declared, Outbound, Outlet, Speaks, Target};

use super::Compiler;
use super::host::bracketed;
use super::mesh::names_of;

impl Compiler<'_> {
    /// `outboundTrafficPolicy`, `spec.mesh.allowLocal`, and where connections go that are no HTTP.
    pub(super) fn outbound(&mut self) -> Outbound {
        let world = self.world;
        let proxy = &world.proxy;
        let allow_any = world.outbound_traffic_policy().allows_any();
        // Who can reach a listener on loopback can reach loopback without it.
        let alone = proxy.mesh_listen.is_some_and(|bind| bind.ip().to_canonical().is_loopback());
        let allow_local = proxy.mesh_allow_local.unwrap_or(alone);
        let own = self.settings.namespace.clone();
        let mut declared = Vec::new();
        for service in world.services.iter() {
            if !service.export_to.reaches(&own) || !world.imports_service(service) {
                continue;
            }
            let name = bracketed(&service.hostname);
            let addresses = service.addresses.iter().map(|address| bracketed(&address.to_string()).into());
            let aliases = world.services.aliases_of(service, &own).flat_map(|alias| names_of(alias, &own));
            let names: Vec<Box<str>> = names_of(&name, &own).chain(addresses).chain(aliases).collect();
            for port in service.ports.iter().filter(|port| port.protocol != Protocol::Udp) {
                let speaks = speaks(port.protocol);
                let name = format!("outbound|{}||{}", port.number, service.hostname);
                let named = Named { host: service.hostname.clone(), subset: None, port: Some(port.number) };
                declared.push(Declared {
                    port: port.number,
                    names: names.clone(),
                    addresses: service.addresses.clone(),
                    outlet: Outlet {
                        // The rules say where HTTP goes, and may leave no use for this cluster.
                        target: match speaks {
                            Speaks::Http => Target::Missing(name.as_str().into()),
                            _ => self.destination(&named, Some(port.number)),
                        },
                        name: name.into(),
                        speaks,
                    },
                });
            }
        }
        Outbound::new(allow_any, allow_local, proxy.mesh_config.protocol_detection_timeout, declared)
    }
}

fn speaks(protocol: Protocol) -> Speaks {
    match protocol {
        Protocol::Auto => Speaks::Unsaid,
        protocol if protocol.routes_http() => Speaks::Http,
        protocol if protocol.is_tls() => Speaks::Tls,
        _ => Speaks::Tcp,
    }
}
