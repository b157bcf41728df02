//! `http` of a VirtualService: its rules as routes.

use crate::istio::model::virtual_service::{HttpMatch, HttpRoute, VirtualService};
use crate::plan::matcher::Condition;
use crate::plan::pattern::Pattern;
use crate::plan::{Action, HeaderEdits, Matcher, Origin, Route};

use super::Compiler;

/// One rule of a VirtualService, being compiled for a listener.
#[derive(Clone, Copy)]
pub(super) struct Rule<'w> {
    pub(super) service: &'w VirtualService,
    pub(super) rule: &'w HttpRoute,
    /// Port of the listener, by the Gateway's numbering.
    pub(super) port: u16,
}

impl<'w> Compiler<'w> {
    /// The routes of a VirtualService on a listener: one for each `match` block of each rule, up to the first that
    /// takes every request.
    pub(super) fn routes(&mut self, service: &'w VirtualService, port: u16) -> Vec<Route> {
        let mut routes = Vec::new();
        for rule in &service.http {
            let rule = Rule { service, rule, port };
            let blocks = &rule.rule.matches;
            if !blocks.is_empty() && !blocks.iter().any(|block| matches_port(block, port)) {
                continue;
            }
            let Some(action) = self.action(rule) else { continue };
            if blocks.is_empty() {
                routes.push(rule.route(Matcher::default(), action, None));
                break;
            }
            for (block, conditions) in blocks.iter().enumerate() {
                if !matches_port(conditions, port) {
                    continue;
                }
                let Some(matcher) = self.matcher(rule, block, conditions) else { continue };
                routes.push(rule.route(matcher, action.clone(), Some((block, conditions))));
                if routes.last().is_some_and(is_catch_all) {
                    return routes;
                }
            }
        }
        routes
    }
}

impl Rule<'_> {
    fn route(self, matcher: Matcher, action: Action, block: Option<(usize, &HttpMatch)>) -> Route {
        let source = &self.service.meta.source;
        let name = match block {
            Some((_, conditions)) if !conditions.name.is_empty() => format!("{}.{}", self.rule.name, conditions.name),
            _ => self.rule.name.clone(),
        };
        let origin = Origin {
            file: source.file.clone(),
            line: self.rule.line,
            resource: source.resource.clone(),
            rule: Some(self.rule.index as usize),
            block: block.map(|(block, _)| block),
            root: None,
        };
        Route { name, origin, matcher, action, headers: HeaderEdits::default(), cors: None, stat_prefix: None }
    }

    /// The path of one of the rule's fields in the document.
    pub(super) fn path(self, field: &str) -> String {
        format!("spec.http[{}].{field}", self.rule.index)
    }
}

/// `match.port`: the port that the client addressed.
fn matches_port(conditions: &HttpMatch, port: u16) -> bool {
    conditions.port.is_none_or(|wanted| wanted == port)
}

/// Istio's `IsCatchAllRoute`: no condition, or only one on the path that any path meets.
pub(super) fn is_catch_all(route: &Route) -> bool {
    match route.matcher.conditions() {
        [] => true,
        [Condition::Path(Pattern::Prefix(prefix) | Pattern::PrefixNoCase(prefix))] => **prefix == *b"/",
        [Condition::Path(Pattern::Regex(regex))] => regex.as_str() == "^(?:.*)$",
        _ => false,
    }
}
