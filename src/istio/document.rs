//! Documents before they are read: the kind of each, and its name in problems.

use std::sync::Arc;

use super::reader::Without;
use super::tree::{Node, Value};

/// One resource as it was written, `List`s unwrapped.
#[derive(Debug, Clone)]
pub(super) struct Document {
    pub(super) file: Arc<str>,
    pub(super) root: Arc<Node>,
    /// The frame of a list whose items are documents of their own.
    pub(super) is_list: bool,
}

/// The versions of networking.istio.io that are the same.
const ISTIO_VERSIONS: &[&str] =
    &["networking.istio.io/v1", "networking.istio.io/v1beta1", "networking.istio.io/v1alpha3"];

pub(super) const ISTIO_GROUP: &str = "networking.istio.io";

/// A kind that is read.
pub(super) struct KnownKind {
    pub(super) kind: &'static str,
    pub(super) group: &'static str,
    /// Its values of `apiVersion`, the one to write first.
    pub(super) versions: &'static [&'static str],
    pub(super) family: Family,
}

const fn istio(kind: &'static str) -> KnownKind {
    KnownKind { kind, group: ISTIO_GROUP, versions: ISTIO_VERSIONS, family: Family::Istio }
}

const fn core(kind: &'static str) -> KnownKind {
    KnownKind { kind, group: "", versions: &["v1"], family: Family::Kubernetes }
}

/// The kinds that are read.
pub(super) const KNOWN: &[KnownKind] = &[
    istio("Gateway"),
    istio("VirtualService"),
    istio("DestinationRule"),
    istio("ServiceEntry"),
    istio("WorkloadEntry"),
    istio("Sidecar"),
    istio("WorkloadGroup"),
    core("Service"),
    core("Endpoints"),
    core("Pod"),
    core("Secret"),
    KnownKind {
        kind: "EndpointSlice",
        group: "discovery.k8s.io",
        versions: &["discovery.k8s.io/v1"],
        family: Family::Kubernetes,
    },
    KnownKind { kind: "Proxy", group: "ringway.dev", versions: &["ringway.dev/v1"], family: Family::Ringway },
];

/// The reader of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// networking.istio.io, and read.
    Istio,
    /// A kind that moves or restricts traffic and is not enforced.
    NotEnforced(Without),
    /// Kubernetes, and read.
    Kubernetes,
    /// The Proxy.
    Ringway,
    /// A kind without meaning for a proxy.
    NoMeaning,
}

/// Whether a document is a list of resources: `List`, or the list of a kind that is read.
pub(super) fn is_list(root: &Node) -> bool {
    let Some(of) = text(root, "kind").strip_suffix("List") else { return false };
    of.is_empty() || KNOWN.iter().any(|known| known.kind == of)
}

/// `Kind/namespace/name` for the head of a problem's line, before any check: `?` for a missing part; empty if the
/// document is not a resource.
pub(super) fn resource_name(root: &Node) -> String {
    let kind = text(root, "kind");
    let (name, namespace) = match root.get("metadata") {
        Some(metadata) => (text(metadata, "name"), text(metadata, "namespace")),
        None => ("", ""),
    };
    if kind.is_empty() && name.is_empty() {
        return String::new();
    }
    let or = |part: &'static str, text: &str| if text.is_empty() { part.to_owned() } else { text.to_owned() };
    format!("{}/{}/{}", or("?", kind), or("default", namespace), or("?", name))
}

/// A scalar as it was written; empty if it is absent.
pub(super) fn text<'a>(node: &'a Node, name: &str) -> &'a str {
    match node.get(name).map(|node| &node.value) {
        Some(Value::Text(text)) => text,
        Some(Value::Number(number)) if name == "name" => &number.raw,
        _ => "",
    }
}
