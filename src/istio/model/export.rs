//! `exportTo`: the namespaces in which a resource is visible (Istio `pkg/config/validation`, `validateExportTo`).

use std::collections::BTreeSet;

use super::scalar::host;
use crate::istio::reader::Item;

/// Where a resource is visible, with `.` resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportTo {
    /// `*`.
    Everyone,
    /// These namespaces; empty for `~`.
    Namespaces(BTreeSet<String>),
}

impl ExportTo {
    /// Whether a proxy of `namespace` sees the resource.
    #[must_use]
    pub fn reaches(&self, namespace: &str) -> bool {
        match self {
            Self::Everyone => true,
            Self::Namespaces(namespaces) => namespaces.contains(namespace),
        }
    }

    /// Whether it is private in Istio's sense: visible in its own namespace only.
    #[must_use]
    pub fn is_only(&self, namespace: &str) -> bool {
        matches!(self, Self::Namespaces(namespaces) if namespaces.iter().eq([namespace]))
    }
}

/// One entry of a default in MeshConfig, where `.` is each resource's own namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// `*`.
    Everyone,
    /// `.`.
    Own,
    /// A namespace.
    Namespace(String),
}

/// The meaning of `scopes` for a resource of `own`.
pub(in crate::istio) fn resolve(scopes: &[Scope], own: &str) -> ExportTo {
    if scopes.contains(&Scope::Everyone) {
        return ExportTo::Everyone;
    }
    let name = |scope: &Scope| match scope {
        Scope::Namespace(name) => name.clone(),
        Scope::Own | Scope::Everyone => own.to_owned(),
    };
    ExportTo::Namespaces(scopes.iter().map(name).collect())
}

/// Reads `exportTo` of a resource in `own`. `~` is Istio's for ServiceEntries alone.
pub(in crate::istio) fn read(list: &Item<'_>, own: &str, allows_nobody: bool) -> Option<ExportTo> {
    let scopes = scopes(list, Some(own), allows_nobody);
    // An empty list is an absent one.
    if list.list().is_empty() { None } else { Some(resolve(&scopes, own)) }
}

/// Reads a Service's annotation. Istio does not check it: a name without a namespace has no effect.
pub(in crate::istio) fn of_annotation(list: &str, own: &str) -> ExportTo {
    let scope = |text: &str| match text.trim() {
        "*" => Some(Scope::Everyone),
        "." => Some(Scope::Own),
        "~" => None,
        name => Some(Scope::Namespace(name.to_owned())),
    };
    resolve(&list.split(',').filter_map(scope).collect::<Vec<_>>(), own)
}

/// Reads a default of MeshConfig.
pub(in crate::istio) fn read_default(list: &Item<'_>) -> Option<Vec<Scope>> {
    let scopes = scopes(list, None, true);
    (!list.list().is_empty()).then_some(scopes)
}

fn scopes(list: &Item<'_>, own: Option<&str>, allows_nobody: bool) -> Vec<Scope> {
    let items = list.list();
    let mut seen = BTreeSet::new();
    let mut scopes = Vec::new();
    for item in &items {
        let Some(text) = item.nonempty_string() else { continue };
        let scope = match text {
            "*" => Some(Scope::Everyone),
            "." => Some(Scope::Own),
            "~" if allows_nobody => None,
            name if host::is_dns_label(name) => Some(Scope::Namespace(name.to_owned())),
            other => {
                item.error(format!("\"{other}\" is not a namespace"), "write \".\", \"*\" or a namespace's name");
                continue;
            }
        };
        let name = if text == "." { own.unwrap_or(text) } else { text };
        if !seen.insert(name) {
            item.error(format!("\"{text}\" says the same as an entry before it"), "remove one of them");
        }
        if matches!(text, "*" | "~") && items.len() > 1 {
            item.error(format!("\"{text}\" cannot stand beside others"), "keep one of them");
        }
        scopes.extend(scope);
    }
    scopes
}
