//! What a DestinationRule says that its author may not have meant.

use super::Checks;
use crate::istio::model::destination_rule::{DestinationRule, HashKey, LbPolicy, LoadBalancer, TrafficPolicy};

impl Checks<'_> {
    pub(super) fn policies(&mut self) {
        for rule in &self.world.destination_rules {
            self.policy(rule, "spec.trafficPolicy", &rule.traffic_policy);
            for (index, subset) in rule.subsets.iter().enumerate() {
                self.policy(rule, &format!("spec.subsets[{index}].trafficPolicy"), &subset.traffic_policy);
            }
            self.ports(rule);
        }
    }

    fn policy(&mut self, rule: &DestinationRule, path: &str, policy: &TrafficPolicy) {
        if let Some(balancer) = &policy.load_balancer {
            self.load_balancer(rule, &format!("{path}.loadBalancer"), balancer);
        }
        for (index, port) in policy.ports.iter().enumerate() {
            if let Some(balancer) = &port.load_balancer {
                self.load_balancer(rule, &format!("{path}.portLevelSettings[{index}].loadBalancer"), balancer);
            }
        }
    }

    fn load_balancer(&mut self, rule: &DestinationRule, path: &str, balancer: &LoadBalancer) {
        let source = &rule.meta.source;
        let is_warm = balancer.warmup.is_some();
        let LbPolicy::ConsistentHash(hash) = &balancer.policy else {
            if is_warm && balancer.policy == LbPolicy::Random {
                let what = "has no effect on RANDOM";
                let instead = "use LEAST_REQUEST or ROUND_ROBIN with it";
                self.sure.push(source.warning(&format!("{path}.warmup"), what, instead));
            }
            return;
        };
        if is_warm {
            let what = "has no effect on consistentHash";
            let instead = "use LEAST_REQUEST or ROUND_ROBIN with it";
            self.sure.push(source.warning(&format!("{path}.warmup"), what, instead));
        }
        let without = match &hash.key {
            HashKey::Header(name) if self.is_always_sent(name) => return,
            HashKey::Header(name) => format!("header \"{name}\""),
            HashKey::QueryParameter(name) => format!("query parameter \"{name}\""),
            HashKey::Cookie(cookie) if cookie.ttl.is_none() => format!("cookie \"{}\"", cookie.name),
            _ => return,
        };
        let what = format!("requests without the {without} go to any endpoint");
        let instead = "an httpCookie with a \"ttl\" is made where it is missing";
        self.problems.push(source.note(&format!("{path}.consistentHash"), what, instead));
    }

    /// Whether every request has a header when it goes upstream, because HTTP asks for it or the proxy writes it itself.
    fn is_always_sent(&self, name: &str) -> bool {
        const ALWAYS: [&str; 6] = [":authority", ":method", ":path", "host", "x-forwarded-proto", "x-request-id"];
        let is = |other: &&str| name.eq_ignore_ascii_case(other);
        // At the mesh listener the client is the application, which is not named.
        ALWAYS.iter().any(is) || is(&"x-forwarded-for") && self.world.proxy.mesh_listen.is_none()
    }

    /// An entry for a port that the service does not have.
    fn ports(&mut self, rule: &DestinationRule) {
        let Some(service) = self.world.services.get(&rule.host).filter(|service| service.hostname == rule.host) else {
            return;
        };
        if self.damage.touches(&service.source, "spec.ports") {
            return;
        }
        let policies = [("spec".to_owned(), &rule.traffic_policy)].into_iter().chain(
            rule.subsets
                .iter()
                .enumerate()
                .map(|(index, subset)| (format!("spec.subsets[{index}]"), &subset.traffic_policy)),
        );
        for (path, policy) in policies {
            for (index, entry) in policy.ports.iter().enumerate() {
                if entry.port > 0 && service.port(entry.port).is_none() {
                    let numbers: Vec<_> = service.ports.iter().map(|port| port.number.to_string()).collect();
                    let path = format!("{path}.trafficPolicy.portLevelSettings[{index}].port");
                    let what = format!("{} is not a port of {}: no effect", entry.port, service.hostname);
                    self.problems.push(rule.meta.source.warning(
                        &path,
                        what,
                        format!("its ports: {}", numbers.join(", ")),
                    ));
                }
            }
        }
    }
}
