//! The filter chains of listeners of applications: every port of every service that a listener sees.

use std::net::SocketAddr;

use crate::istio::model::scalar::Protocol;
use crate::istio::model::virtual_service::Destination as Named;
use crate::istio::world::{Service, ServicePort};
use crate::plan::{FilterChainMatch, OutboundPolicy, OutboundService, PortProtocol, TcpRoute, TcpStatsId, Undeclared};
use crate::policy::hashing::key::Key;

use super::Compiler;
use super::host::bracketed;
use super::mesh::names_of;

impl Compiler<'_> {
    /// `outboundTrafficPolicy`, `spec.mesh.allowLocal` and `protocolDetectionTimeout`, for a listener at `bind`.
    pub(super) fn outbound_policy(&mut self, bind: SocketAddr) -> OutboundPolicy {
        let undeclared = match (self.egress_proxy(), self.world.outbound_traffic_policy().allows_any()) {
            (Some(proxy), _) => Undeclared::EgressProxy(proxy.into()),
            (None, true) => Undeclared::Passthrough(TcpStatsId(0)),
            (None, false) => Undeclared::BlackHole(TcpStatsId(0)),
        };
        // A client that reaches a listener on loopback can reach loopback without it.
        let alone = bind.ip().to_canonical().is_loopback();
        OutboundPolicy {
            undeclared,
            allow_local: self.world.proxy.mesh_allow_local.unwrap_or(alone),
            detection_timeout: self.world.proxy.mesh_config.protocol_detection_timeout,
        }
    }

    /// `outboundTrafficPolicy.egressProxy`.
    pub(super) fn egress_proxy(&mut self) -> Option<TcpRoute> {
        let named = self.world.egress_proxy()?;
        let (port, subset) = (named.port.unwrap_or_default(), named.subset.as_deref().unwrap_or_default());
        let name = format!("outbound|{port}|{subset}|{}", named.host);
        Some(TcpRoute::plain(&name, self.destination(named, named.port)))
    }

    /// The service ports of which `sees` knows the protocol, with their TCP proxies.
    pub(super) fn outbound_services(
        &mut self,
        sees: impl Fn(&Service, &ServicePort) -> Option<Protocol>,
    ) -> Vec<OutboundService> {
        let world = self.world;
        let own = self.settings.namespace.clone();
        let mesh = self.mesh_rules();
        let mut services = Vec::new();
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
                let protocol = port_protocol(protocol);
                let cluster = format!("outbound|{}||{}", port.number, service.hostname);
                let named = Named { host: service.hostname.clone(), subset: None, port: Some(port.number) };
                let (mut chains, open) = self.tcp_chains(&mesh, service, port, protocol);
                if open {
                    let route = TcpRoute::plain(&cluster, self.destination(&named, Some(port.number)));
                    let by_source = self.hash_key(&named) == Some(Key::SourceIp);
                    chains.push((FilterChainMatch::default(), TcpRoute { by_source, ..route }));
                }
                services.push(OutboundService {
                    port: port.number,
                    names: names.clone(),
                    addresses: service.addresses.clone(),
                    protocol,
                    cluster: cluster.into(),
                    chains,
                });
            }
        }
        services
    }
}

/// The protocol of a port, as far as filter chains distinguish it.
pub(super) fn port_protocol(protocol: Protocol) -> PortProtocol {
    match protocol {
        Protocol::Auto => PortProtocol::Auto,
        protocol if protocol.routes_http() => PortProtocol::Http,
        protocol if protocol.is_tls() => PortProtocol::Tls,
        _ => PortProtocol::Tcp,
    }
}
