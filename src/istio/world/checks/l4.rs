//! Rules for connections (`tls`, `tcp`) that no connection can meet, or that mean less than they say.

use super::Checks;
use crate::istio::model::gateway::Serves;
use crate::istio::model::scalar::Protocol;
use crate::istio::model::virtual_service::{L4Match, L4Route, MESH, VirtualService};
use crate::istio::world::ServicePort;

impl Checks<'_> {
    pub(super) fn l4_rules(&mut self) {
        for service in &self.world.virtual_services {
            for (list, rules) in lists(service) {
                self.ports_of_mesh(service, list, rules);
                self.servers(service, list, rules);
                for rule in rules {
                    self.l4_blocks(service, list, rule);
                    let sum: u64 = rule.route.iter().map(|to| u64::from(to.weight)).sum();
                    if rule.route.len() > 1 && sum != 100 && sum > 0 {
                        let what =
                            format!("the weights sum to {sum}: they are taken as shares of that, not as percent");
                        let path = format!("spec.{list}[{}].route", rule.index);
                        self.note(service, &path, what, "Istio before 1.14 refused this");
                    }
                }
            }
        }
    }

    /// At the mesh the protocol of a service's port says which list is for it.
    fn ports_of_mesh(&mut self, service: &VirtualService, list: &str, rules: &[L4Route]) {
        let bound = service.gateways.iter().any(|gateway| gateway == MESH);
        if !bound || rules.is_empty() || self.world.proxy.mesh_listen.is_none() {
            return;
        }
        for (index, name) in service.hosts.iter().enumerate() {
            let path = format!("spec.hosts[{index}]");
            let Some(known) = self.world.services.get(name) else {
                if !self.knows_all_services() {
                    continue;
                }
                let what =
                    format!("no service is registered as \"{name}\": the rules under \"{list}\" have no effect on it");
                let instead = "at the mesh they are for the ports of services: add a ServiceEntry for it";
                self.warn(service, &path, what, instead);
                continue;
            };
            if known.ports.iter().any(|port| takes(list, port)) || self.damage.touches(&known.source, "spec.ports") {
                continue;
            }
            let ports: Vec<_> =
                known.ports.iter().map(|port| format!("{} ({})", port.number, port.protocol.name())).collect();
            let what = format!(
                "\"{list}\" has no effect on {name}, by the protocols of its ports: {} [IST0118]",
                ports.join(", ")
            );
            let instead = match list {
                "tls" => "declare the port as TLS or HTTPS",
                _ => "declare the port as TCP",
            };
            self.warn(service, &path, what, instead);
        }
    }

    /// At a Gateway the protocol of a server does.
    fn servers(&mut self, service: &VirtualService, list: &str, rules: &[L4Route]) {
        if rules.is_empty() {
            return;
        }
        for (index, name) in service.gateways.iter().enumerate().filter(|(_, name)| *name != MESH) {
            let Some(gateway) = self.gateways.get(name).map(|served| served.gateway) else { continue };
            let wanted = if list == "tls" { Serves::Tls } else { Serves::Tcp };
            if gateway.servers.is_empty() || gateway.servers.iter().any(|server| server.serves == wanted) {
                continue;
            }
            let named = rules.iter().flat_map(|rule| &rule.matches);
            if named.clone().next().is_some() && named.clone().all(|block| !may_come_from(block, name)) {
                continue;
            }
            if self.damage.touches(&gateway.meta.source, "spec.servers") {
                continue;
            }
            let what =
                format!("Gateway \"{name}\" has no server that \"{list}\" is for: the rules have no effect there");
            let instead = match list {
                "tls" => "write a server of protocol TLS with tls.mode PASSTHROUGH",
                _ => "write a server of protocol TCP",
            };
            self.warn(service, &format!("spec.gateways[{index}]"), what, instead);
        }
    }

    fn l4_blocks(&mut self, service: &VirtualService, list: &str, rule: &L4Route) {
        for (index, block) in rule.matches.iter().enumerate() {
            let path = format!("spec.{list}[{}].match[{index}]", rule.index);
            let unknown = self.is_unknown(service, "spec.gateways");
            let known = block.gateways.iter().enumerate().filter(|_| !unknown);
            for (at, gateway) in known.filter(|(_, name)| !service.gateways.contains(*name)) {
                let what = format!("\"{gateway}\" is not one of this VirtualService's gateways: never matches there");
                self.warn(service, &format!("{path}.gateways[{at}]"), what, "add it to \"spec.gateways\"");
            }
            let gateways = if block.gateways.is_empty() { &service.gateways } else { &block.gateways };
            self.match_port(service, &path, block.port, gateways);
            if gateways.iter().all(|gateway| gateway == MESH) {
                continue;
            }
            let ignored = [
                ("destinationSubnets", !block.destination_subnets.is_empty()),
                ("sourceLabels", !block.source_labels.is_empty()),
                ("sourceNamespace", block.source_namespace.is_some()),
            ];
            for (field, _) in ignored.into_iter().filter(|(_, written)| *written) {
                let what = "is looked at for the mesh alone, as in Istio: at a Gateway the block matches without it"
                    .to_owned();
                self.warn(service, &format!("{path}.{field}"), what, "write a block with \"gateways: [mesh]\" for it");
            }
        }
    }
}

/// A VirtualService's rules for connections, with the name of their list.
pub(super) fn lists(service: &VirtualService) -> [(&'static str, &[L4Route]); 2] {
    [("tls", &service.tls), ("tcp", &service.tcp)]
}

/// Whether the rules of a list are for a port of a service.
pub(super) fn takes(list: &str, port: &ServicePort) -> bool {
    let protocol = port.protocol;
    match list {
        "http" => protocol.routes_http(),
        "tls" => protocol.is_tls(),
        _ => protocol == Protocol::Auto || !protocol.is_tls() && !protocol.routes_http() && protocol != Protocol::Udp,
    }
}

fn may_come_from(block: &L4Match, gateway: &str) -> bool {
    block.gateways.is_empty() || block.gateways.iter().any(|name| name == gateway)
}
