//! Which VirtualServices this proxy sees, in which order, and the rules of each with those of its delegates in place.

use std::borrow::Cow;
use std::sync::Arc;

use crate::istio::model::export::{self, ExportTo};
use crate::istio::model::virtual_service::{HttpMatch, HttpRoute, VirtualService};
use crate::istio::problem::Problem;
use crate::istio::world::World;
use crate::plan::{Origin, ProxySettings};

use super::delegate::Delegates;

/// A VirtualService with hosts, which this proxy sees.
#[derive(Debug)]
pub(super) struct Bound<'w> {
    pub(super) service: &'w VirtualService,
    pub(super) rules: Vec<Rule<'w>>,
}

/// One rule of a VirtualService, or of one that it delegates to.
#[derive(Debug)]
pub(super) struct Rule<'w> {
    /// The document that it is written in.
    pub(super) service: &'w VirtualService,
    pub(super) rule: Cow<'w, HttpRoute>,
    /// The delegating rule.
    pub(super) root: Option<Root<'w>>,
}

/// A rule with `delegate`.
#[derive(Debug)]
pub(super) struct Root<'w> {
    pub(super) service: &'w VirtualService,
    pub(super) rule: &'w HttpRoute,
    /// For each block of the merged rule the positions of the blocks it was made of: the delegate's, the root's.
    pub(super) blocks: Vec<(Option<usize>, Option<usize>)>,
}

/// Those that this proxy sees, as Istio orders them: of its own namespace alone, then exported to it by name, then
/// everyone's; within each the order of the documents (`PushContext.VirtualServicesForGateway`).
pub(super) fn visible<'w>(world: &'w World, settings: &ProxySettings, problems: &mut Vec<Problem>) -> Vec<Bound<'w>> {
    let own = settings.namespace.as_str();
    let delegates = Delegates::of(world);
    let mut seen: Vec<_> = world
        .virtual_services
        .iter()
        .filter(|service| !service.hosts.is_empty() && world.sees_virtual_service(own, service))
        .map(|service| {
            let private = service.meta.namespace == own;
            (if is_public(world, service) { 2 } else { u8::from(!private) }, service)
        })
        .collect();
    seen.sort_by_key(|(rank, _)| *rank);
    seen.into_iter().map(|(_, service)| Bound { service, rules: delegates.rules_of(service, problems) }).collect()
}

fn is_public(world: &World, service: &VirtualService) -> bool {
    match &service.export_to {
        Some(export_to) => *export_to == ExportTo::Everyone,
        None => world.proxy.mesh_config.default_virtual_service_export_to.contains(&export::Scope::Everyone),
    }
}

impl<'w> Rule<'w> {
    /// The path of one of the rule's fields in the document.
    pub(super) fn path(&self, field: &str) -> String {
        format!("spec.http[{}].{field}", self.rule.index)
    }

    /// Its blocks, each with its position.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (usize, &HttpMatch)> {
        self.rule.matches.iter().enumerate()
    }

    /// Where it is written, and the block at this position in it.
    pub(super) fn origin(&self, block: Option<usize>) -> Origin {
        let Some(root) = &self.root else { return origin(self.service, &self.rule, block) };
        let (own, roots) = block.and_then(|at| root.blocks.get(at)).copied().unwrap_or_default();
        Origin { root: Some(Arc::new(origin(root.service, root.rule, roots))), ..origin(self.service, &self.rule, own) }
    }
}

fn origin(service: &VirtualService, rule: &HttpRoute, block: Option<usize>) -> Origin {
    let source = &service.meta.source;
    Origin {
        file: source.file.clone(),
        line: block.map_or(rule.line, |at| source.line_of(&format!("spec.http[{}].match[{at}]", rule.index))),
        resource: source.resource.clone(),
        list: "http",
        rule: Some(rule.index as usize),
        block,
        root: None,
    }
}
