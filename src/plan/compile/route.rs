//! `http` of a VirtualService: its rules as routes.

use crate::istio::model::selects;
use crate::istio::model::virtual_service::HttpMatch;
use crate::plan::matcher::Condition;
use crate::plan::pattern::Pattern;
use crate::plan::{Matcher, Route, StatPrefix};

use super::bound::Bound;
use super::rule::Rule;
use super::{Compiler, Scope};

impl<'w> Compiler<'w> {
    /// The routes of a VirtualService: one for each `match` block of each rule, up to the first that takes every
    /// request. Empty: it has no rules there, and does not claim its hosts.
    pub(super) fn routes(&mut self, bound: &Bound<'w>, scope: Scope<'_>) -> Vec<Route> {
        let mut routes = Vec::new();
        for rule in &bound.rules {
            if rule.rule.matches.is_empty() {
                routes.extend(self.rule(rule, scope, [None].into_iter()));
                break;
            }
            let blocks: Vec<_> = rule.blocks().filter(|(_, block)| self.is_for(block, scope)).map(Some).collect();
            let mut of_rule = self.rule(rule, scope, blocks.into_iter());
            let last = of_rule.iter().position(is_catch_all);
            of_rule.truncate(last.map_or(of_rule.len(), |last| last + 1));
            routes.append(&mut of_rule);
            if last.is_some() {
                break;
            }
        }
        routes
    }

    /// A rule with each of these blocks.
    fn rule<'r>(
        &mut self,
        rule: &'r Rule<'w>,
        scope: Scope<'_>,
        blocks: impl ExactSizeIterator<Item = Option<(usize, &'r HttpMatch)>>,
    ) -> Vec<Route> {
        if blocks.len() == 0 {
            return Vec::new();
        }
        let headers = self.headers(rule, "headers", rule.rule.headers.as_ref());
        let Some(action) = self.action(rule, scope, &headers) else { return Vec::new() };
        let cors = rule.rule.cors_policy.as_ref().map(|policy| Box::new(self.cors(rule, policy)));
        let mut routes = Vec::with_capacity(blocks.len());
        for block in blocks {
            let matcher = match block {
                Some((at, conditions)) => self.matcher(rule, at, conditions),
                None => Some(Matcher::default()),
            };
            let Some(matcher) = matcher else { continue };
            let uri = block.and_then(|(_, conditions)| conditions.uri.as_ref());
            routes.push(Route {
                name: name(rule, block.map(|(_, conditions)| conditions)),
                origin: rule.origin(block.map(|(at, _)| at)),
                matcher,
                action: Self::fitted(rule, &action, uri),
                headers: headers.clone(),
                cors: cors.clone(),
                stat_prefix: block.and_then(|(_, conditions)| conditions.stat_prefix.as_deref()).map(StatPrefix::new),
            });
        }
        routes
    }

    /// Whether a block is for this gateway, port and proxy at all: `port`, the port that the client addressed, and
    /// `gateways`, or else `sourceLabels` and `sourceNamespace`, which are the proxy's own.
    fn is_for(&mut self, block: &HttpMatch, scope: Scope<'_>) -> bool {
        self.depends_on_port |= block.port.is_some();
        let at_port = block.port.is_none_or(|port| scope.port == Some(port));
        let source = if block.gateways.is_empty() {
            selects(&block.source_labels, &self.settings.labels)
                && block.source_namespace.as_ref().is_none_or(|own| *own == self.settings.namespace)
        } else {
            block.gateways.iter().any(|name| name == scope.gateway)
        };
        at_port && source
    }
}

/// Istio's route name.
fn name(rule: &Rule<'_>, block: Option<&HttpMatch>) -> String {
    match block {
        Some(block) if !block.name.is_empty() => format!("{}.{}", rule.rule.name, block.name),
        _ => rule.rule.name.clone(),
    }
}

/// Istio's `IsCatchAllRoute`: no condition, or only one on the path that any path meets.
pub(super) fn is_catch_all(route: &Route) -> bool {
    match route.matcher.conditions() {
        [] => true,
        [Condition::Path(Pattern::Prefix(prefix) | Pattern::PrefixNoCase(prefix))] => **prefix == *b"/",
        [Condition::Path(Pattern::Regex(regex))] => regex.as_str() == ".*",
        _ => false,
    }
}

/// Whether a block speaks of gateways, so that the same VirtualService is not the same on each.
pub(super) fn differs_by_gateway(bound: &Bound<'_>) -> bool {
    bound.rules.iter().any(|rule| rule.blocks().any(|(_, block)| !block.gateways.is_empty()))
}
