//! One `http` rule of a VirtualService as it is compiled, with the rule that delegated to it.
//!
//! Data, and its place in the YAML. Made by `bound` and `delegate`; read by the files that compile a field of a
//! rule.

use std::borrow::Cow;
use std::sync::Arc;

use crate::istio::model::virtual_service::{HttpMatch, HttpRoute, VirtualService};
use crate::plan::Origin;

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
