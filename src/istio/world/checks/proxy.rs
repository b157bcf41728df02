//! Contradictions between the Proxy document and the rest.

use std::collections::BTreeSet;

use super::Checks;
use crate::istio::model::selects;

impl Checks<'_> {
    pub(super) fn proxy(&mut self) {
        let proxy = &self.world.proxy;
        let served: Vec<_> = self
            .world
            .gateways
            .iter()
            .filter(|gateway| proxy.labels.is_empty() || selects(&gateway.selector, &proxy.labels))
            .collect();
        if self.damage.of_kind("Gateway", &["spec"]) {
            // The served Gateways are unknown.
        } else if served.is_empty() && !self.world.gateways.is_empty() {
            let what = "no Gateway's selector matches these labels: nothing is served";
            let instead = "take the labels of a Gateway's \"selector\"";
            self.problems.push(proxy.source.warning("metadata.labels", what, instead));
        }
        let ports: BTreeSet<u16> =
            served.iter().flat_map(|gateway| gateway.servers.iter().map(|server| server.port)).collect();
        let unknown = self.damage.of_kind("Gateway", &["spec"]);
        for from in proxy.ports.keys().filter(|from| !ports.contains(from) && !unknown) {
            let what = format!("no Gateway that is served has a port {from}");
            self.problems.push(proxy.source.warning(&format!("spec.ports[{from}]"), what, ""));
        }
        if proxy.mesh_config.access_log_file.is_none() {
            let what = "no access log is written, as in Istio by default";
            let instead = "set it to /dev/stdout or a file";
            self.problems.push(proxy.source.note("spec.meshConfig.accessLogFile", what, instead));
        }
    }
}
