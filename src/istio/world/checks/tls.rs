//! Plain HTTP to ports that expect TLS: the server answers with 400, or not at all. And names of certificates where no
//! TLS is.

use super::{Checks, rule_path};
use crate::istio::model::destination_rule::{ClientTls, TrafficPolicy};
use crate::istio::model::kube::TargetPort;
use crate::istio::model::virtual_service::{Destination, RouteDestination, VirtualService};
use crate::istio::world::ServicePort;

/// The port of HTTPS.
const HTTPS: u16 = 443;

impl Checks<'_> {
    pub(super) fn secured(&mut self) {
        self.names_in_vain();
        for service in &self.world.virtual_services {
            if self.unreached_service(service, false).is_some() {
                continue;
            }
            for route in &service.http {
                if self.unreached_destinations(service, route).is_some() {
                    continue;
                }
                let reached = |to: &RouteDestination| Self::unweighted(to.weight, &route.route).is_none();
                for (index, to) in route.route.iter().enumerate().filter(|(_, to)| reached(to)) {
                    let path = format!("{}.route[{index}].destination", rule_path(route));
                    self.plain_to_tls(service, &path, &to.destination);
                }
            }
        }
    }

    /// Certificate names without effect.
    fn names_in_vain(&mut self) {
        if self.damage.of_kind("DestinationRule", &["metadata", "spec"]) {
            return;
        }
        for service in self.world.services.iter().filter(|service| !service.subject_alt_names.is_empty()) {
            let rules = self.rules.of(service);
            let policies = rules.iter().flat_map(|rule| {
                let subsets = rule.subsets.iter().map(|subset| &subset.traffic_policy);
                std::iter::once(&rule.traffic_policy).chain(subsets)
            });
            let mut blocks = policies.flat_map(|policy| {
                policy.ports.iter().map(|entry| entry.tls.as_ref()).chain(std::iter::once(policy.tls.as_ref()))
            });
            if !blocks.any(|tls| matches!(tls, Some(ClientTls::Originated(_)))) {
                let what = format!("no DestinationRule has connections to {} secured: no effect", service.hostname);
                let instead = "write trafficPolicy.tls with mode SIMPLE in one";
                self.sure.push(service.source.warning("spec.subjectAltNames", what, instead));
            }
        }
    }

    fn plain_to_tls(&mut self, from: &VirtualService, path: &str, to: &Destination) {
        let Some(service) = self.world.services.get(&to.host) else { return };
        if self.damage.of_kind("DestinationRule", &["metadata", "spec"]) {
            return;
        }
        let port = match (to.port, service.ports.as_slice()) {
            (Some(number), _) => service.port(number),
            (None, [only]) => Some(only),
            (None, _) => None,
        };
        let Some(port) = port.filter(|port| expects_tls(port)) else { return };
        let rules = self.rules.of(service);
        let whole = rules.iter().map(|rule| &rule.traffic_policy).find(|policy| **policy != TrafficPolicy::default());
        let subset = to.subset.as_ref().and_then(|name| {
            let subset = rules.iter().flat_map(|rule| &rule.subsets).find(|subset| subset.name == *name)?;
            Some(&subset.traffic_policy)
        });
        if matches!(tls(whole, subset, port.number), Some(ClientTls::Originated(_))) {
            return;
        }
        let what = match port.protocol.is_tls() {
            true => format!("port {} of {} speaks {}", port.number, service.hostname, port.protocol.name()),
            false => format!("port {} of {} is port {HTTPS} of its endpoints", port.number, service.hostname),
        };
        let what = format!("{what}, and requests leave for it in plain text");
        let instead = format!("write trafficPolicy.tls with mode SIMPLE in a DestinationRule for {}", service.hostname);
        self.warn(from, path, what, instead);
    }
}

fn expects_tls(port: &ServicePort) -> bool {
    port.protocol.is_tls() || port.number != HTTPS && port.target == TargetPort::Number(HTTPS)
}

/// The TLS settings for a port: a subset's block goes before the rule's, and an entry for the port before both.
fn tls<'r>(whole: Option<&'r TrafficPolicy>, subset: Option<&'r TrafficPolicy>, port: u16) -> Option<&'r ClientTls> {
    let entry = |policy: &'r TrafficPolicy| policy.ports.iter().find(|entry| entry.port == port);
    let own = |policy: &'r TrafficPolicy| match entry(policy) {
        Some(entry) => entry.tls.as_ref(),
        None => policy.tls.as_ref(),
    };
    match subset {
        Some(subset) if entry(subset).is_some() => own(subset),
        subset => subset.and_then(own).or_else(|| whole.and_then(own)),
    }
}
