//! Which conditions of a delegate's rule lie within those of the rule that delegates to it, as far as Istio checks
//! (`pilot/pkg/model/virtualservice.go`).

use crate::istio::model::scalar::StringMatch;

use super::HttpMatch;

type Conditions = [(String, StringMatch)];

fn find<'a>(conditions: &'a Conditions, name: &str) -> Option<&'a StringMatch> {
    conditions.iter().find(|(own, _)| own == name).map(|(_, value)| value)
}

/// Whether every block of a delegate's rule agrees with one of the rule that delegates to it: else the delegate's is left
/// out there.
#[must_use]
pub fn lies_within(roots: &[HttpMatch], leaves: &[HttpMatch]) -> bool {
    roots.is_empty() || leaves.iter().all(|leaf| roots.iter().any(|root| agrees(root, leaf)))
}

/// Whether every request that meets the leaf's conditions meets the root's where both ask for the same.
#[must_use]
pub fn agrees(root: &HttpMatch, leaf: &HttpMatch) -> bool {
    let both = [
        (&root.uri, &leaf.uri),
        (&root.scheme, &leaf.scheme),
        (&root.method, &leaf.method),
        (&root.authority, &leaf.authority),
    ];
    let any = |root: &Conditions, leaf: &Conditions| {
        leaf.iter().any(|(name, leaf)| find(root, name).is_some_and(|root| strings_conflict(root, leaf)))
    };
    let conflict = both
        .iter()
        .any(|(root, leaf)| matches!((root, leaf), (Some(root), Some(leaf)) if strings_conflict(root, leaf)))
        || any(&root.headers, &leaf.headers)
        || any(&root.without_headers, &leaf.without_headers)
        || any(&root.query_params, &leaf.query_params)
        || root.ignore_uri_case != leaf.ignore_uri_case
        || matches!((root.port, leaf.port), (Some(root), Some(leaf)) if root != leaf)
        || root.source_namespace.is_some() && leaf.source_namespace != root.source_namespace
        || leaf.source_labels.iter().any(|(key, value)| root.source_labels.get(key).is_some_and(|root| root != value))
        || gateways_conflict(&root.gateways, &leaf.gateways);
    !conflict
}

fn gateways_conflict(root: &[String], leaf: &[String]) -> bool {
    !root.is_empty() && !leaf.is_empty() && (root.len() < leaf.len() || leaf.iter().any(|name| !root.contains(name)))
}

/// Istio's `stringMatchConflict`. A condition that is neither plainly within the root's nor equal to it conflicts; regexes
/// always conflict.
fn strings_conflict(root: &StringMatch, leaf: &StringMatch) -> bool {
    match (root, leaf) {
        (StringMatch::Exact(root), StringMatch::Exact(leaf)) => root.is_empty() || root != leaf,
        (StringMatch::Prefix(root), StringMatch::Prefix(leaf) | StringMatch::Exact(leaf)) => {
            root.is_empty() || leaf.is_empty() || !leaf.starts_with(root.as_str())
        }
        _ => true,
    }
}
