//! The DestinationRules of a service, and their effective policy for one of its ports and subsets.
//!
//! Istio's `PushContext.destinationRule`, `SidecarScope.DestinationRule` and `MergeSubsetTrafficPolicy`. Ten thousand
//! rules for ten thousand services must not be compared all with all, hence the index.

use std::collections::{BTreeMap, HashMap};

use crate::istio::model::destination_rule::{
    ClientTls, ConnectionPool, DestinationRule, LoadBalancer, OutlierDetection, RetryBudget, Subset, TrafficPolicy,
};
use crate::istio::model::export::Scope;
use crate::istio::model::proxy::MeshConfig;
use crate::istio::model::{Labels, selects};
use crate::istio::world::{Service, World};
use crate::plan::ProxySettings;

use super::hostname;

/// All DestinationRules, each list in the order of the documents.
pub(super) struct Rules<'w> {
    namespaces: HashMap<&'w str, Namespace<'w>>,
    root: &'w str,
    /// `meshConfig.defaultDestinationRuleExportTo`.
    default_export: &'w [Scope],
}

/// The rules of a namespace.
#[derive(Default)]
struct Namespace<'w> {
    exact: HashMap<&'w str, Vec<&'w DestinationRule>>,
    /// Sorted by host.
    wildcards: BTreeMap<&'w str, Vec<&'w DestinationRule>>,
}

impl<'w> Rules<'w> {
    pub(super) fn new(world: &'w World) -> Self {
        let mut namespaces: HashMap<&str, Namespace<'_>> = HashMap::new();
        for rule in &world.destination_rules {
            let own = namespaces.entry(&rule.meta.namespace).or_default();
            let of_host = match hostname::wildcard(&rule.host) {
                Some(_) => own.wildcards.entry(&rule.host).or_default(),
                None => own.exact.entry(&rule.host).or_default(),
            };
            of_host.push(rule);
        }
        let mesh = &world.proxy.mesh_config;
        Self { namespaces, root: &mesh.root_namespace, default_export: &mesh.default_destination_rule_export_to }
    }

    /// The rules with the most specific host in the first namespace that has any for the service: the proxy's, then, as
    /// far as they are exported, the service's and the root. Several with the same host count as one.
    pub(super) fn of(&self, service: &Service, proxy: &ProxySettings) -> Vec<&'w DestinationRule> {
        let own = proxy.namespace.as_str();
        let exported = |rule: &DestinationRule| self.reaches(rule, own);
        // A proxy in the root namespace would see the global rules before those of the service: of its own namespace
        // only private rules count.
        let private = |rule: &DestinationRule| own != self.root || self.is_private(rule);
        let chosen = self
            .most_specific(own, &service.hostname, private)
            .or_else(|| self.most_specific(&service.namespace, &service.hostname, exported))
            .or_else(|| self.most_specific(self.root, &service.hostname, exported))
            .unwrap_or_default();
        // Rules for some of the workloads of a namespace go before those for all, and only the workload's own count.
        let (selecting, mut rest): (Vec<_>, Vec<_>) =
            chosen.into_iter().partition(|rule| rule.workload_selector.is_some());
        let is_meant = |labels: &Labels| selects(labels, &proxy.labels);
        let meant = |rule: &&&DestinationRule| {
            rule.meta.namespace == own && rule.workload_selector.as_ref().is_some_and(is_meant)
        };
        if let Some(first) = selecting.iter().find(meant) {
            rest = selecting.iter().filter(|rule| rule.workload_selector == first.workload_selector).copied().collect();
        }
        rest
    }

    fn most_specific(
        &self,
        namespace: &str,
        host: &str,
        visible: impl Fn(&DestinationRule) -> bool,
    ) -> Option<Vec<&'w DestinationRule>> {
        let namespace = self.namespaces.get(namespace)?;
        let seen = |rules: &Vec<&'w DestinationRule>| -> Option<Vec<&'w DestinationRule>> {
            let seen: Vec<_> = rules.iter().filter(|rule| visible(rule)).copied().collect();
            (!seen.is_empty()).then_some(seen)
        };
        let wildcard = || {
            let covering = namespace.wildcards.iter().filter(|(over, _)| hostname::covers(over, host));
            let seen = covering.filter_map(|(over, rules)| Some((over, seen(rules)?)));
            Some(seen.min_by_key(|(over, _)| hostname::by_specificity(over))?.1)
        };
        namespace.exact.get(host).and_then(seen).or_else(wildcard)
    }

    fn reaches(&self, rule: &DestinationRule, namespace: &str) -> bool {
        match &rule.export_to {
            Some(scope) => scope.reaches(namespace),
            None => self.default_export.iter().any(|scope| match scope {
                Scope::Everyone => true,
                Scope::Own => rule.meta.namespace == namespace,
                Scope::Namespace(name) => name == namespace,
            }),
        }
    }

    fn is_private(&self, rule: &DestinationRule) -> bool {
        let own = &rule.meta.namespace;
        match &rule.export_to {
            Some(scope) => scope.is_only(own),
            None => self.default_export == [Scope::Own] || self.default_export == [Scope::Namespace(own.clone())],
        }
    }
}

/// `subsets`: the first of that name.
pub(super) fn find_subset<'w>(rules: &[&'w DestinationRule], name: &str) -> Option<&'w Subset> {
    rules.iter().flat_map(|rule| &rule.subsets).find(|subset| subset.name == name)
}

/// `trafficPolicy`: of the first rule that has one.
pub(super) fn traffic_policy<'w>(rules: &[&'w DestinationRule]) -> Option<&'w TrafficPolicy> {
    rules.iter().map(|rule| &rule.traffic_policy).find(|policy| **policy != TrafficPolicy::default())
}

/// The effective policy of a cluster.
#[derive(Clone, Copy, Default)]
pub(super) struct Effective<'w> {
    pub(super) load_balancer: Option<&'w LoadBalancer>,
    pub(super) connection_pool: Option<&'w ConnectionPool>,
    pub(super) outlier_detection: Option<&'w OutlierDetection>,
    pub(super) tls: Option<&'w ClientTls>,
    pub(super) retry_budget: Option<&'w RetryBudget>,
    /// Whether requests get 503.
    pub(super) withheld: bool,
}

/// The policy of a rule, for one of its ports, with the mesh's default where it leaves a block out, and with a subset's
/// over both. An entry of `portLevelSettings` replaces the whole policy that it is in, except the retry budget, which
/// only whole policies have; a block of a subset replaces the rule's whole block.
pub(super) fn effective<'w>(
    rule: Option<&'w TrafficPolicy>,
    subset: Option<&'w TrafficPolicy>,
    port: u16,
    mesh: &'w MeshConfig,
) -> Effective<'w> {
    let own = |policy: &'w TrafficPolicy| {
        at_port(policy, port).unwrap_or(Effective {
            load_balancer: policy.load_balancer.as_ref(),
            connection_pool: policy.connection_pool.as_ref(),
            outlier_detection: policy.outlier_detection.as_ref(),
            tls: policy.tls.as_ref(),
            retry_budget: policy.retry_budget.as_ref(),
            withheld: false,
        })
    };
    let mut of_rule = rule.map(own).unwrap_or_default();
    of_rule.connection_pool = of_rule.connection_pool.or(mesh.default_connection_pool.as_ref());
    of_rule.outlier_detection = of_rule.outlier_detection.or(mesh.default_outlier_detection.as_ref());
    let Some(subset) = subset else { return of_rule };
    let retry_budget = subset.retry_budget.as_ref().or(of_rule.retry_budget);
    match at_port(subset, port) {
        Some(entry) => Effective { retry_budget, withheld: entry.withheld || of_rule.withheld, ..entry },
        None => Effective {
            load_balancer: subset.load_balancer.as_ref().or(of_rule.load_balancer),
            connection_pool: subset.connection_pool.as_ref().or(of_rule.connection_pool),
            outlier_detection: subset.outlier_detection.as_ref().or(of_rule.outlier_detection),
            tls: subset.tls.as_ref().or(of_rule.tls),
            retry_budget,
            withheld: of_rule.withheld,
        },
    }
}

fn at_port(policy: &TrafficPolicy, port: u16) -> Option<Effective<'_>> {
    policy.ports.iter().find(|entry| entry.port == port).map(|entry| Effective {
        load_balancer: entry.load_balancer.as_ref(),
        connection_pool: entry.connection_pool.as_ref(),
        outlier_detection: entry.outlier_detection.as_ref(),
        tls: entry.tls.as_ref(),
        retry_budget: None,
        withheld: entry.withheld,
    })
}
