//! Resources that claim the same thing, where one wins in silence.

use std::collections::BTreeMap;

use foldhash::{HashMap, HashMapExt};

use super::Checks;
use crate::istio::model::gateway::{Gateway, Server, Serves};
use crate::istio::model::sidecar::Sidecar;
use crate::istio::model::virtual_service::{HttpRoute, MESH, VirtualService};
use crate::istio::model::{Meta, selects};

impl Checks<'_> {
    pub(super) fn conflicts(&mut self, sidecars: &[Sidecar]) {
        self.mesh_hosts_claimed_twice();
        self.catch_alls_of_a_shared_host();
        self.servers_for_the_same_hosts();
        self.sidecars(sidecars);
    }

    /// At the mesh the rules of several VirtualServices for one host are not put together: the first one has it.
    fn mesh_hosts_claimed_twice(&mut self) {
        let world = self.world;
        for service in &world.virtual_services {
            for (index, name) in service.hosts.iter().enumerate() {
                let Some(first) = self.mesh_owner(service, name) else { continue };
                let what = format!(
                    "{} has the rules for \"{name}\" at the mesh gateway, so those here have no effect [IST0109]",
                    place(&first.meta)
                );
                let (path, instead) = (format!("spec.hosts[{index}]"), "put the rules into one VirtualService");
                match world.proxy.mesh_listen {
                    Some(_) => self.broken(service, &path, what, instead),
                    None => self.warn(service, &path, what, instead),
                }
            }
        }
    }

    /// At a Gateway they are put together, rules without conditions last: of several of those the first one wins.
    fn catch_alls_of_a_shared_host(&mut self) {
        let world = self.world;
        let mut owners: HashMap<(&str, &str), &VirtualService> = HashMap::new();
        for service in &world.virtual_services {
            let unknown = |route: &HttpRoute| self.is_unknown(service, &format!("{}.match", super::rule_path(route)));
            let mut catch_alls = service.http.iter().filter(|route| route.matches.is_empty());
            let Some(route) = catch_alls.find(|route| !unknown(route)) else { continue };
            let mut told = false;
            for gateway in service.gateways.iter().filter(|gateway| *gateway != MESH) {
                for name in &service.hosts {
                    let Some(first) = owners.get(&(gateway.as_str(), name.as_str())) else {
                        owners.insert((gateway, name), service);
                        continue;
                    };
                    // One Gateway may be named in two ways.
                    if told || std::ptr::eq(*first, service) {
                        continue;
                    }
                    told = true;
                    let what = format!(
                        "{} has a rule without \"match\" for \"{name}\" at Gateway \"{gateway}\", too: it goes first, so \
                         this one has no effect there",
                        place(&first.meta)
                    );
                    let path = super::rule_path(route);
                    self.warn(service, &path, what, "keep one rule for the rest of a host's requests");
                }
            }
        }
    }

    /// Two Gateways of the proxy with a server for the same port and host: the first one has it.
    fn servers_for_the_same_hosts(&mut self) {
        let world = self.world;
        let labels = &world.proxy.labels;
        let mut taken: BTreeMap<(u16, Option<std::net::IpAddr>, &str), &Gateway> = BTreeMap::new();
        for gateway in &world.gateways {
            if !labels.is_empty() && !selects(&gateway.selector, labels) {
                continue;
            }
            // Of other protocols the later server is left out, which is told where they are compiled.
            let servers = gateway
                .servers
                .iter()
                .enumerate()
                .filter(|(_, server)| server.serves == Serves::Http && server.port > 0);
            for (_, server) in servers {
                let index = server.index;
                for (first, hosts) in claimed(&mut taken, gateway, server) {
                    let what = format!(
                        "{} has a server for port {} and \"{}\", too [IST0145]",
                        place(&first.meta),
                        server.port,
                        hosts.join("\", \"")
                    );
                    let instead = "rules bound to either of them apply; give each Gateway its own hosts";
                    let path = format!("spec.servers[{index}].hosts");
                    self.problems.push(gateway.meta.source.warning(&path, what, instead));
                }
            }
        }
    }

    /// Of several Sidecars for a workload the first one counts.
    fn sidecars(&mut self, sidecars: &[Sidecar]) {
        let proxy = &self.world.proxy;
        let mut first: BTreeMap<&str, &Sidecar> = BTreeMap::new();
        let mut own: Option<&Sidecar> = None;
        for sidecar in sidecars {
            let namespace = sidecar.meta.namespace.as_str();
            let other = match sidecar.workload_selector.as_ref().filter(|labels| !labels.is_empty()) {
                None => match first.get(namespace) {
                    Some(other) => (*other, "has no workloadSelector either", "IST0111"),
                    None => {
                        first.insert(namespace, sidecar);
                        continue;
                    }
                },
                Some(labels) if namespace == proxy.namespace && selects(labels, &proxy.labels) => match own {
                    Some(other) => (other, "selects this proxy, too", "IST0110"),
                    None => {
                        own = Some(sidecar);
                        continue;
                    }
                },
                Some(_) => continue,
            };
            let (other, why, code) = other;
            let what = format!("{} {why}: it counts, and this one has no effect [{code}]", place(&other.meta));
            self.problems.push(sidecar.meta.source.broken("spec", what, "keep one of them"));
        }
    }
}

/// The Gateways that have a server's port and hosts already, with those hosts; takes the others for this one.
fn claimed<'g>(
    taken: &mut BTreeMap<(u16, Option<std::net::IpAddr>, &'g str), &'g Gateway>,
    gateway: &'g Gateway,
    server: &'g Server,
) -> Vec<(&'g Gateway, Vec<&'g str>)> {
    let mut found: Vec<(&Gateway, Vec<&str>)> = Vec::new();
    for host in &server.hosts {
        let key = (server.port, server.bind, host.host.as_str());
        let Some(first) = taken.get(&key).copied() else {
            taken.insert(key, gateway);
            continue;
        };
        if std::ptr::eq(first, gateway) {
            continue;
        }
        match found.iter_mut().find(|(other, _)| std::ptr::eq(*other, first)) {
            Some((_, hosts)) => hosts.push(&host.host),
            None => found.push((first, vec![&host.host])),
        }
    }
    found
}

fn place(meta: &Meta) -> String {
    format!("{} ({}:{})", meta.source.resource, meta.source.file, meta.source.line)
}
