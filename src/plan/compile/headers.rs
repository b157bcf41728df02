//! `headers` of rules and destinations: lists of operations, and the Host that is among them.

use crate::istio::model::virtual_service::{HeaderOperations, Headers};
use crate::plan::{Edits, HeaderEdits, HeaderName, Template};

use super::Compiler;
use super::rule::Rule;

/// Headers of message framing and connection handling. ringway writes them itself: one that contradicts the body
/// would allow request smuggling.
const FRAMING: [&str; 6] =
    ["connection", "content-length", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

impl Compiler<'_> {
    /// `headers`, which are at `path` in the rule.
    pub(super) fn headers(&mut self, rule: &Rule<'_>, path: &str, headers: Option<&Headers>) -> HeaderEdits {
        let Some(headers) = headers else { return HeaderEdits::default() };
        HeaderEdits {
            request: self.edits(rule, &format!("{path}.request"), &headers.request),
            response: self.edits(rule, &format!("{path}.response"), &headers.response),
        }
    }

    fn edits(&mut self, rule: &Rule<'_>, path: &str, operations: &HeaderOperations) -> Edits {
        let mut remove: Vec<_> = Vec::with_capacity(operations.remove.len());
        for (index, name) in operations.remove.iter().enumerate() {
            let header = HeaderName::new(name);
            if FRAMING.contains(&header.as_str()) {
                let what = format!("\"{name}\" is written by ringway itself, so removing it has no effect");
                let path = rule.path(&format!("{path}.remove[{index}]"));
                self.problems.push(rule.service.meta.source.note(&path, what, "leave it out"));
            } else {
                remove.push(header);
            }
        }
        remove.sort();
        remove.dedup();
        let mut set = self.written(rule, &format!("{path}.set"), &operations.set);
        // Names that differ in case only are one; the last counts.
        for at in (1..set.len()).rev() {
            if let Some(earlier) = set[..at].iter().position(|(name, _)| *name == set[at].0) {
                set.remove(earlier);
            }
        }
        let add = self.written(rule, &format!("{path}.add"), &operations.add);
        Edits { remove: remove.into(), set: set.into(), add: add.into() }
    }

    fn written(&mut self, rule: &Rule<'_>, path: &str, pairs: &[(String, String)]) -> Vec<(HeaderName, Template)> {
        let mut all = Vec::with_capacity(pairs.len());
        for (name, value) in pairs.iter().filter(|(name, _)| !is_host(name)) {
            let header = HeaderName::new(name);
            let source = &rule.service.meta.source;
            let path = || rule.path(&format!("{path}[{name}]"));
            if FRAMING.contains(&header.as_str()) {
                let what = format!(
                    "\"{name}\" is written by ringway itself, since it says where a message ends, so this has no effect"
                );
                self.problems.push(source.note(&path(), what, "leave it out"));
                continue;
            }
            match Template::compile(value) {
                Ok(template) if template.operators().is_empty() => {
                    let what = "is empty, and a header without a value is not written";
                    self.problems.push(source.warning(&path(), what, "write it under \"remove\" to have none"));
                }
                Ok(template) => all.push((header, template)),
                Err(bad) => {
                    self.problems.push(source.error(&path(), format!("\"{value}\" {bad}"), ""));
                }
            }
        }
        all
    }
}

/// The Host that `headers.request` sets or else adds: it rewrites the authority instead of a header line. Its value
/// is literal, with `%` (istiod's `HostRewriteLiteral`).
pub(super) fn authority(headers: Option<&Headers>) -> Option<&str> {
    let request = &headers?.request;
    let host = |pairs: &'_ [(String, String)]| pairs.iter().rposition(|(name, _)| is_host(name));
    let value = match (host(&request.set), host(&request.add)) {
        (Some(at), _) => &request.set[at].1,
        (None, at) => &request.add[at?].1,
    };
    (!value.is_empty()).then_some(value)
}

fn is_host(name: &str) -> bool {
    name.starts_with(':') || name.eq_ignore_ascii_case("host")
}
