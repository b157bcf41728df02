//! The mesh listener's ways out that are no HTTP routes: every port of every service that this proxy sees.

use crate::istio::model::scalar::Protocol;
use crate::istio::model::virtual_service::Destination as Named;
use crate::plan::{Conditions, Declared, Destination, Destinations, Outbound, Outlet, Speaks, Target};
use crate::policy::hashing::key::Key;

use super::Compiler;
use super::host::bracketed;
use super::mesh::other_names;

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
        let mesh = self.mesh_streams();
        let mut declared = Vec::new();
        for service in world.services.iter() {
            if !service.export_to.reaches(&own) || !world.imports_service(service) {
                continue;
            }
            let name = bracketed(&service.hostname);
            let addresses = service.addresses.iter().map(|address| bracketed(&address.to_string()).into());
            let names: Vec<Box<str>> =
                [name.as_str().into()].into_iter().chain(other_names(&name, &own)).chain(addresses).collect();
            for port in service.ports.iter().filter(|port| port.protocol != Protocol::Udp) {
                let speaks = speaks(port.protocol);
                let name = format!("outbound|{}||{}", port.number, service.hostname);
                let named = Named { host: service.hostname.clone(), subset: None, port: Some(port.number) };
                let (mut ways, open) = self.ways(&mesh, service, port, speaks);
                if open {
                    // The rules say where HTTP goes, and may leave no use for this cluster.
                    let target = match speaks {
                        Speaks::Http => Target::Missing(name.as_str().into()),
                        _ => self.destination(&named, Some(port.number)),
                    };
                    let outlet = Outlet {
                        name: name.into(),
                        destinations: Destinations::only(Destination::plain(target)),
                        speaks,
                        by_source: self.hash_key(&named) == Some(Key::SourceIp),
                        origin: None,
                    };
                    ways.push((Conditions::default(), outlet));
                }
                let (names, addresses) = (names.clone(), service.addresses.clone());
                declared.push(Declared { port: port.number, names, addresses, speaks, ways });
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
