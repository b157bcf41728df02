//! `destination`: the cluster that it names, with the DestinationRule's subset and policy.

use crate::base::id::ClusterId;
use crate::istio::model::Labels;
use crate::istio::model::virtual_service::Destination;
use crate::istio::world::{Alias, Service};
use crate::plan::{Cluster, Target};

use super::Compiler;
use super::lb_rules::{effective, find_subset, traffic_policy};

impl<'w> Compiler<'w> {
    /// The cluster of a destination. One that does not exist, or that this proxy does not see, keeps its name: requests
    /// to it get 503, flag NC.
    pub(super) fn destination(&mut self, destination: &Destination, listener_port: Option<u16>) -> Target {
        // A wildcard service is a cluster of its own name only.
        let service = self.world.services.named(&destination.host);
        let alias = self.world.services.alias(&destination.host);
        let port = port(destination, alias, service).unwrap_or_else(|| {
            self.depends_on_port = true;
            listener_port.unwrap_or_default()
        });
        let service = service.filter(|service| service.export_to.reaches(&self.settings.namespace));
        let subset = destination.subset.as_deref().unwrap_or_default();
        let hostname = service.map_or(&destination.host, |service| &service.hostname);
        let name = format!("outbound|{port}|{subset}|{hostname}");
        if let Some(target) = self.targets.get(&name) {
            return target.clone();
        }
        let target = match service.and_then(|service| self.cluster(&name, service, port, destination.subset.as_deref()))
        {
            Some(cluster) => {
                self.clusters.push(cluster);
                Target::Known(ClusterId(self.clusters.len() as u32 - 1))
            }
            None => Target::Missing(name.as_str().into()),
        };
        self.targets.insert(name, target.clone());
        target
    }

    /// `None`: the service has no such port, or no DestinationRule for it has such a subset; or one of them is withheld.
    fn cluster(&self, name: &str, service: &'w Service, port: u16, subset: Option<&str>) -> Option<Cluster> {
        let port = service.port(port).filter(|_| !service.withheld)?;
        let rules = self.rules.of(service, self.settings);
        if rules.iter().any(|rule| rule.withheld) {
            return None;
        }
        let subset = match subset {
            Some(name) => Some(find_subset(&rules, name).filter(|subset| !subset.withheld)?),
            None => None,
        };
        let everyone = Labels::new();
        let labels = subset.map_or(&everyone, |subset| &subset.labels);
        let of_subset = subset.map(|subset| &subset.traffic_policy);
        let mesh = &self.world.proxy.mesh_config;
        let policy = effective(traffic_policy(&rules), of_subset, port.number, mesh);
        if policy.withheld {
            return None;
        }
        let cluster = self.members(name, service, port, labels, policy);
        Some(self.connections(policy, &service.subject_alt_names, cluster))
    }
}

/// `destination.port`, else the only port of the service, or of the alias that is used. `None`: the port of the
/// listener.
fn port(destination: &Destination, alias: Option<&Alias>, service: Option<&Service>) -> Option<u16> {
    destination.port.or(alias.and_then(|alias| alias.port)).or_else(|| match service?.ports.as_slice() {
        [only] => Some(only.number),
        _ => None,
    })
}
