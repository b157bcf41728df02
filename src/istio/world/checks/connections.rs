//! Likely mistakes of DestinationRules about connections and ejection.

use std::collections::HashSet;
use std::time::Duration;

use super::Checks;
use crate::istio::model::destination_rule::{
    ConnectionPool, DestinationRule, OutlierDetection, PortPolicy, Subset, TrafficPolicy,
};
use crate::istio::model::{Labels, selects};
use crate::istio::world::Service;

/// Node.js closes idle connections after this time, earlier than most servers.
const SHORT_KEEP_ALIVE: Duration = Duration::from_secs(5);

impl Checks<'_> {
    pub(super) fn connections(&mut self) {
        let used = self.subsets_in_use();
        for rule in &self.world.destination_rules {
            let whole = &rule.traffic_policy;
            self.pools(rule, "spec.trafficPolicy", whole);
            self.wiped(rule, "spec.trafficPolicy", whole, None);
            for (index, subset) in rule.subsets.iter().enumerate() {
                let path = format!("spec.subsets[{index}].trafficPolicy");
                self.pools(rule, &path, &subset.traffic_policy);
                self.replaced(rule, &path, whole, &subset.traffic_policy);
                self.wiped(rule, &path, &subset.traffic_policy, Some(whole));
                self.unused(rule, index, subset, &used);
            }
            self.ejections(rule);
        }
    }

    /// Checks the limits.
    fn pools(&mut self, rule: &DestinationRule, path: &str, policy: &TrafficPolicy) {
        let of_ports = policy.ports.iter().enumerate().map(|(index, entry)| {
            (format!("{path}.portLevelSettings[{index}].connectionPool"), entry.connection_pool.as_ref())
        });
        let own = (format!("{path}.connectionPool"), policy.connection_pool.as_ref());
        for (path, pool) in [own].into_iter().chain(of_ports).filter_map(|(path, pool)| Some((path, pool?))) {
            let source = &rule.meta.source;
            if let Some(most) = pool.max_connections {
                let what = format!(
                    "each proxy counts for itself, over all its workers: three make up to {} connections",
                    3 * u64::from(most)
                );
                let instead = "divide by the number of proxies";
                self.problems.push(source.note(&format!("{path}.tcp.maxConnections"), what, instead));
            }
            if pool.max_requests.is_some() {
                let what = "limits the requests of HTTP/1.1, too, whatever its name says";
                self.problems.push(source.note(&format!("{path}.http.http2MaxRequests"), what, ""));
            }
            let (idle, field) = match pool.http_idle_timeout {
                None if self.damage.touches(source, &format!("{path}.http.idleTimeout")) => continue,
                Some(_) => (pool.http_idle_timeout, "http.idleTimeout"),
                None => (pool.tcp_idle_timeout, "tcp.idleTimeout"),
            };
            if let Some(idle) = idle.filter(|idle| *idle > SHORT_KEEP_ALIVE || idle.is_zero()) {
                let unused = match idle.is_zero() {
                    true => "unused connections are never closed here".to_owned(),
                    false => format!("unused connections are closed after {idle:?}"),
                };
                let what = format!("{unused}: a server that closes them earlier makes for 503 UC");
                let instead = "stay below the server's own keep-alive time; Node.js has 5s";
                self.problems.push(source.note(&format!("{path}.{field}"), what, instead));
            }
        }
    }

    /// A subset's block replaces the rule's whole block.
    fn replaced(&mut self, rule: &DestinationRule, path: &str, whole: &TrafficPolicy, own: &TrafficPolicy) {
        if let (Some(theirs), Some(pool)) = (&whole.connection_pool, &own.connection_pool) {
            let lost = lost_of_pool(theirs, pool);
            self.lost(rule, &format!("{path}.connectionPool"), &lost);
        }
        if let (Some(theirs), Some(detection)) = (&whole.outlier_detection, &own.outlier_detection) {
            let lost = lost_of_detection(theirs, detection);
            self.lost(rule, &format!("{path}.outlierDetection"), &lost);
        }
    }

    fn lost(&mut self, rule: &DestinationRule, path: &str, fields: &[&str]) {
        if !fields.is_empty() {
            let what = format!(
                "stands in place of the rule's: {} of spec.trafficPolicy has no effect here",
                fields.join(", ")
            );
            self.problems.push(rule.meta.source.warning(path, what, "blocks are never merged: write it again here"));
        }
    }

    /// An entry for a port replaces the whole policy, in a subset also the rule's.
    fn wiped(&mut self, rule: &DestinationRule, path: &str, policy: &TrafficPolicy, under: Option<&TrafficPolicy>) {
        for (index, entry) in policy.ports.iter().enumerate() {
            let is_set = |has: &dyn Fn(&TrafficPolicy) -> bool| has(policy) || under.is_some_and(has);
            let PortPolicy { port, load_balancer, connection_pool, outlier_detection, tls, withheld: _ } = entry;
            let blocks = [
                ("loadBalancer", load_balancer.is_none() && is_set(&|policy| policy.load_balancer.is_some())),
                ("connectionPool", connection_pool.is_none() && is_set(&|policy| policy.connection_pool.is_some())),
                (
                    "outlierDetection",
                    outlier_detection.is_none() && is_set(&|policy| policy.outlier_detection.is_some()),
                ),
                ("tls", tls.is_none() && is_set(&|policy| policy.tls.is_some())),
                // A subset's entry leaves the budget alone.
                ("retryBudget", under.is_none() && policy.retry_budget.is_some()),
            ];
            let place = format!("{path}.portLevelSettings[{index}]");
            let known = |name: &str| !self.damage.touches(&rule.meta.source, &format!("{place}.{name}"));
            let lost = blocks.iter().filter(|(name, lost)| *lost && known(name));
            let lost: Vec<_> = lost.map(|(name, _)| *name).collect();
            if !lost.is_empty() && *port > 0 {
                let what = format!("stands in place of the whole policy: port {port} has no {}", lost.join(", "));
                self.sure.push(rule.meta.source.warning(&place, what, "write it again here"));
            }
        }
    }

    /// A subset's policy holds only for requests that a rule sends to the subset.
    fn unused(&mut self, rule: &DestinationRule, index: usize, subset: &Subset, used: &HashSet<(String, String)>) {
        let has_policy = subset.traffic_policy != TrafficPolicy::default();
        let unknown = rule.host.is_empty()
            || subset.name.is_empty()
            || self.damage.of_kind("VirtualService", &["metadata", "spec.http", "spec.tls", "spec.tcp"]);
        if !has_policy
            || unknown
            || rule.host.starts_with('*')
            || used.contains(&(rule.host.clone(), subset.name.clone()))
        {
            return;
        }
        let what = format!("no VirtualService sends anything to subset \"{}\": its policy has no effect", subset.name);
        let instead = "name the subset in a destination, or write the policy for the whole rule";
        self.problems.push(rule.meta.source.warning(&format!("spec.subsets[{index}].trafficPolicy"), what, instead));
    }

    /// Host and subset of every destination.
    fn subsets_in_use(&self) -> HashSet<(String, String)> {
        let services = self.world.virtual_services.iter();
        let of_connections = services.clone().flat_map(|service| service.tls.iter().chain(&service.tcp));
        let of_connections = of_connections.flat_map(|route| &route.route).map(|entry| &entry.destination);
        services
            .flat_map(|service| &service.http)
            .flat_map(|route| {
                let mirrors = route.mirroring.destinations().map(|(_, to, _)| to);
                route.route.iter().map(|entry| &entry.destination).chain(mirrors)
            })
            .chain(of_connections)
            .filter_map(|to| Some((to.host.clone(), to.subset.clone()?)))
            .collect()
    }

    /// How many endpoints a share of them is.
    fn ejections(&mut self, rule: &DestinationRule) {
        let Some(service) = self.world.services.get(&rule.host).filter(|service| service.hostname == rule.host) else {
            return;
        };
        if !self.knows_endpoints(service) {
            return;
        }
        let everyone = Labels::new();
        let whole = &rule.traffic_policy;
        let mut held: Vec<(String, &OutlierDetection, &str, &Labels)> = Vec::new();
        held.extend(detections("spec.trafficPolicy", whole).map(|(path, found)| (path, found, "", &everyone)));
        for (index, subset) in rule.subsets.iter().enumerate() {
            let path = format!("spec.subsets[{index}].trafficPolicy");
            let own: Vec<_> = detections(&path, &subset.traffic_policy).collect();
            if own.is_empty() && !subset.traffic_policy.ports.is_empty() {
                continue;
            }
            let inherited = own.is_empty().then(|| detections("spec.trafficPolicy", whole)).into_iter().flatten();
            let all = own.into_iter().chain(inherited);
            held.extend(all.map(|(path, found)| (path, found, subset.name.as_str(), &subset.labels)));
        }
        // A report about the whole service is not repeated for its parts.
        let mut said = HashSet::new();
        for (path, found, subset, labels) in held {
            if never(found) && said.insert(path.clone()) {
                let what = "every threshold is 0: nobody is ever ejected";
                let instead = "write consecutive5xxErrors or consecutiveGatewayErrors";
                self.problems.push(rule.meta.source.warning(&path, what, instead));
            }
            let endpoints = members(service, labels);
            let percent = found.max_ejection_percent.unwrap_or(DEFAULT_EJECTION_PERCENT);
            let most = endpoints * percent as usize / 100;
            let plural = if endpoints == 1 { "" } else { "s" };
            let of = if subset.is_empty() { String::new() } else { format!(" of subset \"{subset}\"") };
            if endpoints > 0 && most == 0 && said.insert(path.clone()) {
                let field = format!("{path}.maxEjectionPercent");
                let what =
                    format!("{percent}% of {endpoints} endpoint{plural}{of} is less than one: nobody is ever ejected");
                let instead = format!("write {} or more", 100_usize.div_ceil(endpoints));
                self.problems.push(rule.meta.source.warning(&field, what, instead));
            } else if endpoints > 0 && most == endpoints && found.min_health_percent == 0 && said.insert(path.clone()) {
                let field = format!("{path}.maxEjectionPercent");
                let what = "all endpoints can be ejected: then requests get 503 UH, \"no healthy upstream\"";
                let instead = "with minHealthPercent: 1 or more they are used in spite of it";
                self.problems.push(rule.meta.source.note(&field, what, instead));
            }
        }
    }
}

/// Whether no number of errors ejects anybody.
fn never(rule: &OutlierDetection) -> bool {
    let is_off = |threshold: Option<u32>, default: u32| threshold.unwrap_or(default) == 0;
    let older = rule.consecutive_errors.is_some();
    is_off(rule.consecutive_5xx_errors, if older { 0 } else { 5 })
        && is_off(rule.consecutive_gateway_errors.or(rule.consecutive_errors), 0)
        && (!rule.split_local_origin || is_off(rule.consecutive_local_origin_failures, 5))
}

/// Istio's and Envoy's.
const DEFAULT_EJECTION_PERCENT: u32 = 10;

fn members(service: &Service, labels: &Labels) -> usize {
    service.workloads.iter().filter(|workload| selects(labels, &workload.labels)).count()
}

/// The outlier detections of a policy, each with its path.
fn detections<'p>(path: &str, policy: &'p TrafficPolicy) -> impl Iterator<Item = (String, &'p OutlierDetection)> {
    let own = policy.outlier_detection.iter().map(|found| (format!("{path}.outlierDetection"), found));
    let ports = policy.ports.iter().enumerate().filter_map(|(index, entry)| {
        Some((format!("{path}.portLevelSettings[{index}].outlierDetection"), entry.outlier_detection.as_ref()?))
    });
    own.chain(ports).collect::<Vec<_>>().into_iter()
}

/// The fields that the rule's pool has and the subset's has not.
fn lost_of_pool(theirs: &ConnectionPool, own: &ConnectionPool) -> Vec<&'static str> {
    let fields = [
        ("tcp.maxConnections", theirs.max_connections.is_some(), own.max_connections.is_some()),
        ("tcp.connectTimeout", theirs.connect_timeout.is_some(), own.connect_timeout.is_some()),
        ("tcp.tcpKeepalive", theirs.tcp_keepalive.is_some(), own.tcp_keepalive.is_some()),
        ("tcp.maxConnectionDuration", theirs.max_connection_duration.is_some(), own.max_connection_duration.is_some()),
        ("tcp.idleTimeout", theirs.tcp_idle_timeout.is_some(), own.tcp_idle_timeout.is_some()),
        ("http.idleTimeout", theirs.http_idle_timeout.is_some(), own.http_idle_timeout.is_some()),
        ("http.http1MaxPendingRequests", theirs.max_pending_requests.is_some(), own.max_pending_requests.is_some()),
        ("http.http2MaxRequests", theirs.max_requests.is_some(), own.max_requests.is_some()),
        (
            "http.maxRequestsPerConnection",
            theirs.max_requests_per_connection.is_some(),
            own.max_requests_per_connection.is_some(),
        ),
        ("http.maxRetries", theirs.max_retries.is_some(), own.max_retries.is_some()),
    ];
    missing(&fields)
}

/// The fields that the rule's detection has and the subset's has not.
fn lost_of_detection(theirs: &OutlierDetection, own: &OutlierDetection) -> Vec<&'static str> {
    let fields = [
        ("consecutiveErrors", theirs.consecutive_errors.is_some(), own.consecutive_errors.is_some()),
        (
            "consecutiveGatewayErrors",
            theirs.consecutive_gateway_errors.is_some(),
            own.consecutive_gateway_errors.is_some(),
        ),
        ("consecutive5xxErrors", theirs.consecutive_5xx_errors.is_some(), own.consecutive_5xx_errors.is_some()),
        ("splitExternalLocalOriginErrors", theirs.split_local_origin, own.split_local_origin),
        (
            "consecutiveLocalOriginFailures",
            theirs.consecutive_local_origin_failures.is_some(),
            own.consecutive_local_origin_failures.is_some(),
        ),
        ("interval", theirs.interval.is_some(), own.interval.is_some()),
        ("baseEjectionTime", theirs.base_ejection_time.is_some(), own.base_ejection_time.is_some()),
        ("maxEjectionPercent", theirs.max_ejection_percent.is_some(), own.max_ejection_percent.is_some()),
        ("minHealthPercent", theirs.min_health_percent > 0, own.min_health_percent > 0),
        ("outlierDetectionHttpErrorCodes", !theirs.error_codes.is_empty(), !own.error_codes.is_empty()),
    ];
    missing(&fields)
}

fn missing(fields: &[(&'static str, bool, bool)]) -> Vec<&'static str> {
    fields.iter().filter(|(_, theirs, own)| *theirs && !own).map(|(name, ..)| *name).collect()
}
