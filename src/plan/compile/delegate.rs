//! `delegate`: a rule that is replaced by those of another VirtualService (Istio `pilot/pkg/model/virtualservice.go`).
//!
//! Every condition of the delegate must lie within one of the delegating rule, else its rule is left out, which is
//! reported: Istio only writes it to its log.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::istio::model::scalar::StringMatch;
use crate::istio::model::virtual_service::{HttpMatch, HttpRoute, Mirroring, VirtualService, agrees};
use crate::istio::problem::Problem;
use crate::istio::world::World;

use super::rule::{Root, Rule};

/// The VirtualServices without hosts, by `namespace/name`.
pub(super) struct Delegates<'w> {
    world: &'w World,
    by_name: HashMap<String, &'w VirtualService>,
}

impl<'w> Delegates<'w> {
    pub(super) fn of(world: &'w World) -> Self {
        let delegates = world.virtual_services.iter().filter(|service| service.hosts.is_empty());
        let by_name = delegates.map(|service| (format!("{}/{}", service.meta.namespace, service.meta.name), service));
        Self { world, by_name: by_name.collect() }
    }

    /// The rules of a VirtualService, in order, with those of its delegates in their place.
    pub(super) fn rules_of(&self, service: &'w VirtualService, problems: &mut Vec<Problem>) -> Vec<Rule<'w>> {
        let mut rules = Vec::with_capacity(service.http.len());
        for rule in &service.http {
            match &rule.delegate {
                None => rules.push(Rule { service, rule: Cow::Borrowed(rule), root: None }),
                // `istio::world::checks::references` reports a delegate that cannot be found.
                Some(name) => {
                    if let Some(delegate) = self.find(name, service) {
                        merge_all(service, rule, delegate, &mut rules, problems);
                    }
                }
            }
        }
        rules
    }

    fn find(&self, name: &str, root: &VirtualService) -> Option<&'w VirtualService> {
        let found = self.by_name.get(name).copied();
        found.filter(|found| self.world.sees_virtual_service(&root.meta.namespace, found))
    }
}

fn merge_all<'w>(
    service: &'w VirtualService,
    root: &'w HttpRoute,
    delegate: &'w VirtualService,
    rules: &mut Vec<Rule<'w>>,
    problems: &mut Vec<Problem>,
) {
    // A delegate does not delegate again: reading has refused such rules.
    for rule in delegate.http.iter().filter(|rule| rule.delegate.is_none()) {
        match merged_blocks(&root.matches, &rule.matches) {
            Ok((matches, blocks)) => rules.push(Rule {
                service: delegate,
                rule: Cow::Owned(merged(root, rule, matches)),
                root: Some(Root { service, rule: root, blocks }),
            }),
            Err(block) => {
                let path = format!("spec.http[{}].match[{block}]", rule.index);
                let what = format!(
                    "lies within no match of {}: http[{}], which delegates to it",
                    service.meta.source.resource, root.index
                );
                problems.push(delegate.meta.source.warning(&path, what, "the rule is left out there"));
            }
        }
    }
}

/// The delegate's rule, with the fields that it does not have taken from the root's; whole fields, never parts of them.
fn merged(root: &HttpRoute, leaf: &HttpRoute, matches: Vec<HttpMatch>) -> HttpRoute {
    HttpRoute {
        name: joined(&root.name, &leaf.name),
        matches,
        rewrite: leaf.rewrite.clone().or_else(|| root.rewrite.clone()),
        direct_response: leaf.direct_response.clone().or_else(|| root.direct_response.clone()),
        timeout: leaf.timeout.or(root.timeout),
        retries: leaf.retries.clone().or_else(|| root.retries.clone()),
        fault: leaf.fault.clone().or_else(|| root.fault.clone()),
        mirroring: Mirroring {
            mirror: leaf.mirroring.mirror.clone().or_else(|| root.mirroring.mirror.clone()),
            percent: leaf.mirroring.percent.or(root.mirroring.percent),
            percentage: leaf.mirroring.percentage.or(root.mirroring.percentage),
            mirrors: if leaf.mirroring.mirrors.is_empty() { &root.mirroring } else { &leaf.mirroring }.mirrors.clone(),
        },
        cors_policy: leaf.cors_policy.clone().or_else(|| root.cors_policy.clone()),
        headers: leaf.headers.clone().or_else(|| root.headers.clone()),
        ..leaf.clone()
    }
}

fn joined(root: &str, leaf: &str) -> String {
    match (root.is_empty(), leaf.is_empty()) {
        (_, true) => root.to_owned(),
        (true, false) => leaf.to_owned(),
        (false, false) => format!("{root}-{leaf}"),
    }
}

/// Merged blocks, and for each of them the positions of the delegate's and the root's.
type Blocks = (Vec<HttpMatch>, Vec<(Option<usize>, Option<usize>)>);

/// Each block of the delegate merged with each compatible one of the root; or the first that is compatible with none.
fn merged_blocks(roots: &[HttpMatch], leaves: &[HttpMatch]) -> Result<Blocks, usize> {
    if roots.is_empty() {
        return Ok((leaves.to_vec(), (0..leaves.len()).map(|at| (Some(at), None)).collect()));
    }
    if leaves.is_empty() {
        return Ok((roots.to_vec(), (0..roots.len()).map(|at| (None, Some(at))).collect()));
    }
    let (mut matches, mut blocks) = (Vec::new(), Vec::new());
    for (at, leaf) in leaves.iter().enumerate() {
        let before = matches.len();
        for (of_root, root) in roots.iter().enumerate().filter(|(_, root)| agrees(root, leaf)) {
            matches.push(merged_block(root, leaf));
            blocks.push((Some(at), Some(of_root)));
        }
        if matches.len() == before {
            return Err(at);
        }
    }
    Ok((matches, blocks))
}

fn merged_block(root: &HttpMatch, leaf: &HttpMatch) -> HttpMatch {
    let mut source_labels = root.source_labels.clone();
    source_labels.extend(leaf.source_labels.clone());
    HttpMatch {
        name: joined(&root.name, &leaf.name),
        uri: leaf.uri.clone().or_else(|| root.uri.clone()),
        ignore_uri_case: leaf.ignore_uri_case,
        scheme: leaf.scheme.clone().or_else(|| root.scheme.clone()),
        method: leaf.method.clone().or_else(|| root.method.clone()),
        authority: leaf.authority.clone().or_else(|| root.authority.clone()),
        headers: united(&root.headers, &leaf.headers),
        without_headers: united(&root.without_headers, &leaf.without_headers),
        query_params: united(&root.query_params, &leaf.query_params),
        port: leaf.port.or(root.port),
        gateways: if leaf.gateways.is_empty() { root.gateways.clone() } else { leaf.gateways.clone() },
        source_labels,
        source_namespace: leaf.source_namespace.clone().or_else(|| root.source_namespace.clone()),
        stat_prefix: leaf.stat_prefix.clone().or_else(|| root.stat_prefix.clone()),
    }
}

type Conditions = [(String, StringMatch)];

fn find<'a>(conditions: &'a Conditions, name: &str) -> Option<&'a StringMatch> {
    conditions.iter().find(|(own, _)| own == name).map(|(_, value)| value)
}

/// Both, the leaf's where both have a name; sorted by name.
fn united(root: &Conditions, leaf: &Conditions) -> Vec<(String, StringMatch)> {
    let mut all: Vec<_> = root.iter().filter(|(name, _)| find(leaf, name).is_none()).chain(leaf).cloned().collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}
