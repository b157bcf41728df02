//! Likely mistakes of DestinationRules.

use super::Checks;
use crate::istio::model::destination_rule::{DestinationRule, HashKey, LbPolicy, LoadBalancer, TrafficPolicy};

/// Headers that no request has when it goes upstream: these, and headers that begin with `x-envoy-` except this one.
/// `http::forward` removes them.
const REMOVED: [&str; 4] = ["keep-alive", "proxy-connection", "transfer-encoding", "x-forwarded-client-cert"];
const EXTERNAL_ADDRESS: &str = "x-envoy-external-address";

/// Headers that go upstream only where they ask for another protocol.
const OF_THE_CONNECTION: [&str; 2] = ["connection", "upgrade"];

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
        if let HashKey::Header(name) = &hash.key
            && let Some((what, instead)) = self.hashed_in_vain(&name.to_ascii_lowercase())
        {
            return self.problems.push(source.note(&format!("{path}.consistentHash.httpHeaderName"), what, instead));
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

    /// The value that is hashed for a header that the proxy removes or writes before an endpoint is picked.
    fn hashed_in_vain(&self, name: &str) -> Option<(String, &'static str)> {
        let at_gateways_alone = self.world.proxy.mesh_listen.is_none();
        let of_envoy = name.starts_with("x-envoy-") && name != EXTERNAL_ADDRESS;
        if of_envoy || REMOVED.contains(&name) {
            let what = format!("\"{name}\" is removed before an endpoint is chosen: requests go to any endpoint");
            return Some((what, "use a header of another name"));
        }
        if OF_THE_CONNECTION.contains(&name) {
            let what = format!(
                "\"{name}\" is about the client's connection and is removed, but for upgrades: other requests go to any \
                 endpoint"
            );
            return Some((what, "use a header of another name"));
        }
        match name {
            EXTERNAL_ADDRESS if at_gateways_alone => {
                let what = format!("a Gateway writes the client's address into \"{name}\", whatever the client says");
                Some((what, "\"useSourceIp\" says the same"))
            }
            "x-request-id" if at_gateways_alone => {
                let what = format!("a Gateway writes another \"{name}\" for every request: each goes to any endpoint");
                Some((what, "use a header of another name"))
            }
            "x-forwarded-proto" if at_gateways_alone => {
                let what =
                    format!("a Gateway writes \"{name}: http\" into every request: all of them go to one endpoint");
                Some((what, "use a header of another name"))
            }
            _ => None,
        }
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
