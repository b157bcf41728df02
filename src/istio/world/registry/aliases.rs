//! Services of type ExternalName: another name for a service, or for a host that only DNS knows.
//!
//! The first is an alias as istiod has it: requests for it go to the clusters of the service that it names. For the second
//! istiod has no cluster (any more); here it is a service with one endpoint, as it is without `PILOT_ENABLE_EXTERNAL_NAME_ALIAS`.

use std::collections::{BTreeMap, BTreeSet};

use super::{Alias, KubeService, Service, TargetPort, export_to, named, service_port};
use crate::istio::model::proxy::MeshConfig;
use crate::istio::model::scalar::host;
use crate::istio::model::service_entry::Resolution;
use crate::istio::problem::Problem;

/// The Services of this type by their host names.
pub(super) fn by_name(external: Vec<KubeService>) -> BTreeMap<String, KubeService> {
    external.into_iter().map(|service| (hostname(&service), service)).collect()
}

/// Resolves each of them: names of a service become its aliases, the others become services.
pub(super) fn resolve(
    external: &BTreeMap<String, KubeService>,
    services: &mut BTreeMap<String, Service>,
    mesh: &MeshConfig,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, Alias> {
    let mut aliases = BTreeMap::new();
    let mut new = Vec::new();
    for (hostname, service) in external {
        let Some(target) = target(hostname, external) else {
            let what = "leads back to itself: no service is behind it";
            problems.push(service.meta.source.error("spec.externalName", what, "write the name of another host"));
            continue;
        };
        let export_to = export_to(service.export_to.as_ref(), mesh, &service.meta.namespace);
        if services.contains_key(target) {
            let port = match service.ports.as_slice() {
                [only] => Some(only.number),
                _ => None,
            };
            aliases.insert(hostname.clone(), Alias { of: target.to_owned(), port, export_to });
            continue;
        }
        let what = format!("no service is registered as \"{target}\": name servers are asked where it is");
        let instead = "Istio itself has no cluster for it; a ServiceEntry for the host makes it one";
        problems.push(service.meta.source.note("spec.externalName", what, instead));
        // A name has only the requested port.
        let ports = service.ports.iter().map(service_port);
        let ports = ports.map(|port| super::ServicePort { target: TargetPort::Number(port.number), ..port });
        new.push(Service {
            hostname: hostname.clone(),
            namespace: service.meta.namespace.clone(),
            ports: ports.collect(),
            resolution: Resolution::Dns,
            workloads: vec![named(target)],
            addresses: Vec::new(),
            export_to,
            subject_alt_names: Vec::new(),
            withheld: service.withheld,
            source: service.meta.source.clone(),
        });
    }
    services.extend(new.into_iter().map(|service| (service.hostname.clone(), service)));
    aliases
}

fn hostname(service: &KubeService) -> String {
    host::service_name(&service.meta.name, &service.meta.namespace)
}

/// The end of the chain of names; `None`: it has none.
fn target<'a>(hostname: &'a str, external: &'a BTreeMap<String, KubeService>) -> Option<&'a str> {
    let (mut at, mut seen) = (hostname, BTreeSet::new());
    while let Some(next) = external.get(at).and_then(|service| service.external_name.as_deref()) {
        if !seen.insert(at) {
            return None;
        }
        at = next;
    }
    Some(at)
}
