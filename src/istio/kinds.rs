//! From documents to typed resources: which kind each document is, its metadata, and who reads it.

use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use foldhash::HashMap;

use super::load::Document;
use super::model::scalar::host;
use super::model::{
    Meta, Model, destination_rule, gateway, kube, mesh_config, proxy, secret, server_tls, service_entry, sidecar,
    virtual_service, workload_entry, workload_group,
};
use super::parallel;
use super::problem::{Problem, Source};
use super::reader::{Item, Message, Object, Reader, did_you_mean, enforced, ignored};
use super::tree::{Node, Value};

/// The versions of networking.istio.io that are the same.
const ISTIO_VERSIONS: &[&str] =
    &["networking.istio.io/v1", "networking.istio.io/v1beta1", "networking.istio.io/v1alpha3"];

const RINGWAY_VERSION: &str = "ringway.dev/v1";

/// Istio's kinds that are read.
const ISTIO_KINDS: &[&str] =
    &["Gateway", "VirtualService", "DestinationRule", "ServiceEntry", "WorkloadEntry", "Sidecar", "WorkloadGroup"];

/// Istio's networking kinds that change traffic and are not enforced.
const ISTIO_KINDS_NOT_YET: &[&str] = &["EnvoyFilter", "ProxyConfig"];

/// Top level of Istio's kinds and of the Proxy.
const RESOURCE: Message = Message {
    name: "the document",
    fields: &[
        enforced("apiVersion"),
        enforced("kind"),
        enforced("metadata"),
        enforced("spec"),
        ignored("status", "written by Istio, not by users"),
    ],
};

/// A kind with the tables of its messages: its own first.
pub struct KindTables {
    /// The kind; empty for what is common to all.
    pub kind: &'static str,
    /// The tables, file by file.
    tables: &'static [&'static [&'static Message]],
}

impl KindTables {
    /// All messages of the kind, its own first.
    pub fn messages(&self) -> impl Iterator<Item = &'static Message> {
        self.tables.iter().copied().flatten().copied()
    }
}

/// All tables, for the reference of fields.
pub const KINDS: &[KindTables] = &[
    KindTables { kind: "", tables: &[&[&RESOURCE]] },
    KindTables { kind: "Gateway", tables: &[gateway::MESSAGES, server_tls::MESSAGES] },
    KindTables { kind: "VirtualService", tables: virtual_service::MESSAGE_FILES },
    KindTables { kind: "DestinationRule", tables: destination_rule::MESSAGE_FILES },
    KindTables { kind: "ServiceEntry", tables: &[service_entry::MESSAGES] },
    KindTables { kind: "WorkloadEntry", tables: &[workload_entry::MESSAGES] },
    KindTables { kind: "WorkloadGroup", tables: &[workload_group::MESSAGES] },
    KindTables { kind: "Sidecar", tables: &[sidecar::MESSAGES] },
    KindTables { kind: "Proxy", tables: &[proxy::MESSAGES, mesh_config::MESSAGES] },
];

/// Documents that keep a thread busy for longer than it takes to start.
const DOCUMENTS_PER_THREAD: usize = 2000;

/// Reads all documents. The problems are in the order of the documents.
pub(super) fn read(documents: &[Document], permissive: bool) -> (Model, Vec<Problem>) {
    read_on(parallel::threads(documents.len(), DOCUMENTS_PER_THREAD), documents, permissive)
}

fn read_on(threads: usize, documents: &[Document], permissive: bool) -> (Model, Vec<Problem>) {
    let mut shares =
        parallel::each_share(documents, threads, |_| 1, |share| Kinds::read(share, permissive)).into_iter();
    let mut all = shares.next().unwrap_or_default();
    for share in shares {
        if !all.absorb(share) {
            // Which of two is the first is known to who reads all of them in order.
            all = Kinds::read(documents, permissive);
            break;
        }
    }
    (all.model, all.problems.into_inner())
}

#[derive(Default)]
struct Kinds {
    model: Model,
    /// `Kind/namespace/name` to the file and line where it was written first.
    first: HashMap<Arc<str>, (Arc<str>, u32)>,
    permissive: bool,
    problems: RefCell<Vec<Problem>>,
}

/// Who reads a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    /// networking.istio.io, and read.
    Istio,
    /// A kind that moves traffic and is not enforced.
    NotEnforced,
    /// Kubernetes, and read.
    Kubernetes,
    /// The Proxy.
    Ringway,
    /// Nothing that a proxy would enforce.
    NoMeaning,
}

impl Kinds {
    fn read(documents: &[Document], permissive: bool) -> Self {
        let mut kinds = Self { permissive, ..Self::default() };
        kinds.first.reserve(documents.len());
        for document in documents {
            kinds.document(document);
        }
        kinds
    }

    /// Takes what the documents after these say; `false`: a resource is among them that is among these, too.
    fn absorb(&mut self, later: Self) -> bool {
        self.first.reserve(later.first.len());
        for (resource, place) in later.first {
            if self.first.insert(resource, place).is_some() {
                return false;
            }
        }
        self.problems.get_mut().extend(later.problems.into_inner());
        self.model.absorb(later.model)
    }

    fn document(&mut self, Document { file, root }: &Document) {
        let (kind, api_version) = (text(root, "kind"), text(root, "apiVersion"));
        let source = Source {
            file: file.clone(),
            line: root.line,
            resource: resource_name(root).into(),
            root: Some(root.clone()),
        };
        let problems = std::mem::take(&mut self.problems);
        {
            let reader = Reader::new(&source, self.permissive, &problems);
            self.resource(&reader.root(root), kind, api_version);
        }
        self.problems = problems;
    }

    fn resource(&mut self, item: &Item<'_>, kind: &str, api_version: &str) {
        let Some(document) = item.open() else { return };
        let (Some(_), Some(_)) = (required_text(&document, "apiVersion"), required_text(&document, "kind")) else {
            return;
        };
        let Some(family) = family(&document, kind, api_version) else { return };
        match family {
            Family::NoMeaning => {
                item.warn(format!("{kind} has no meaning for a proxy and is passed over"), near_kind(kind));
                return;
            }
            Family::NotEnforced => return item.not_enforced(&format!("kind {kind} ({api_version})")),
            Family::Istio | Family::Ringway => {
                item.object(&RESOURCE);
            }
            Family::Kubernetes => {}
        }
        let Some(meta) = meta(&document, item) else { return };
        if !self.is_first(item, kind) {
            return;
        }
        if family == Family::Kubernetes {
            self.kubernetes(kind, meta, &document)
        } else {
            self.istio(kind, meta, &document)
        }
    }

    fn istio(&mut self, kind: &str, meta: Meta, document: &Object<'_>) {
        let model = &mut self.model;
        if kind == "Proxy" {
            if let Some(other) = &model.proxy {
                let place = format!("{}:{}", other.source.file, other.source.line);
                document.item.error(format!("a second Proxy: the first is at {place}"), "one process has one Proxy");
            } else {
                model.proxy = proxy::read(meta, document.get("spec").as_ref());
            }
            return;
        }
        let Some(spec) = document.required("spec") else { return };
        match kind {
            "Gateway" => model.gateways.extend(gateway::read(meta, &spec)),
            "VirtualService" => model.virtual_services.extend(virtual_service::read(meta, &spec)),
            "DestinationRule" => model.destination_rules.extend(destination_rule::read(meta, &spec)),
            "ServiceEntry" => model.service_entries.extend(service_entry::read(meta, &spec)),
            "Sidecar" => model.sidecars.extend(sidecar::read(meta, &spec)),
            "WorkloadGroup" => {
                // Nothing is kept of it.
                let _ = workload_group::check(&spec);
            }
            _ => model.workload_entries.extend(workload_entry::read(meta, &spec)),
        }
    }

    fn kubernetes(&mut self, kind: &str, meta: Meta, document: &Object<'_>) {
        let model = &mut self.model;
        match kind {
            "Service" => model.kube_services.extend(kube::read_service(meta, document)),
            "EndpointSlice" => model.endpoint_slices.extend(kube::read_endpoint_slice(meta, document)),
            "Endpoints" => model.endpoints.extend(kube::read_endpoints(&meta, document)),
            "Secret" => model.secrets.push(secret::read(meta, document)),
            _ => model.pods.push(kube::read_pod(meta, document)),
        }
    }

    fn is_first(&mut self, item: &Item<'_>, kind: &str) -> bool {
        let source = item.source();
        match self.first.entry(source.resource.clone()) {
            Entry::Occupied(first) => {
                let (file, line) = first.get();
                let what = format!("a second {kind} of this name: the first is at {file}:{line}");
                item.error(what, "rename or remove one of them");
                false
            }
            Entry::Vacant(place) => {
                place.insert((source.file.clone(), source.line));
                true
            }
        }
    }
}

/// Which family a kind belongs to; reports what cannot be one.
fn family(document: &Object<'_>, kind: &str, api_version: &str) -> Option<Family> {
    let (group, _) = api_version.split_once('/').unwrap_or(("", api_version));
    let version = |expected: &[&str], family| {
        if expected.contains(&api_version) {
            return Some(family);
        }
        if let Some(item) = document.get("apiVersion") {
            let what = format!("\"{api_version}\" is not an apiVersion of {kind}");
            item.error(what, format!("write \"{}\"", expected.first().unwrap_or(&"")));
        }
        None
    };
    match (group, kind) {
        ("networking.istio.io", kind) if ISTIO_KINDS.contains(&kind) => version(ISTIO_VERSIONS, Family::Istio),
        ("networking.istio.io", kind) if ISTIO_KINDS_NOT_YET.contains(&kind) => Some(Family::NotEnforced),
        ("networking.istio.io", unknown) => {
            if let Some(item) = document.get("kind") {
                let known: Vec<_> = [ISTIO_KINDS, ISTIO_KINDS_NOT_YET].concat();
                item.error(
                    format!("\"{unknown}\" is not a kind of networking.istio.io"),
                    did_you_mean(unknown, &known),
                );
            }
            None
        }
        ("ringway.dev", "Proxy") => version(&[RINGWAY_VERSION], Family::Ringway),
        ("ringway.dev", unknown) => {
            if let Some(item) = document.get("kind") {
                item.error(format!("\"{unknown}\" is not a kind of ringway.dev"), "write \"Proxy\"");
            }
            None
        }
        // Security, telemetry and extensions of Istio, the Gateway API, and Ingress: all of them move or stop traffic.
        (group, _) if group.ends_with(".istio.io") || group == "gateway.networking.k8s.io" => Some(Family::NotEnforced),
        ("networking.k8s.io" | "extensions", "Ingress") => Some(Family::NotEnforced),
        ("", "Service" | "Endpoints" | "Pod" | "Secret") => version(&["v1"], Family::Kubernetes),
        ("discovery.k8s.io", "EndpointSlice") => version(&["discovery.k8s.io/v1"], Family::Kubernetes),
        // Kinds of these names exist nowhere else: the apiVersion is a slip.
        (_, "VirtualService" | "DestinationRule" | "ServiceEntry" | "WorkloadEntry" | "WorkloadGroup" | "Sidecar") => {
            version(ISTIO_VERSIONS, Family::Istio)
        }
        ("" | "networking", "Gateway") => version(ISTIO_VERSIONS, Family::Istio),
        (_, "EndpointSlice") => version(&["discovery.k8s.io/v1"], Family::Kubernetes),
        _ => Some(Family::NoMeaning),
    }
}

fn near_kind(kind: &str) -> String {
    const KINDS: &[&str] = &[
        "Gateway",
        "VirtualService",
        "DestinationRule",
        "ServiceEntry",
        "WorkloadEntry",
        "Sidecar",
        "Service",
        "Endpoints",
        "EndpointSlice",
        "Proxy",
    ];
    // Distances beyond a slip of a letter or two are other kinds of Kubernetes.
    let near = KINDS.iter().find(|known| strsim::osa_distance(kind, known) <= 2);
    near.map(|known| format!("did you mean \"{known}\"?")).unwrap_or_default()
}

/// `Kind/namespace/name` for the head of a problem's line, before anything has been checked: `?` for what is missing,
/// and nothing at all for what is no resource.
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

/// A scalar as it was written; empty if there is none.
fn text<'a>(node: &'a Node, name: &str) -> &'a str {
    match node.get(name).map(|node| &node.value) {
        Some(Value::Text(text)) => text,
        Some(Value::Number(number)) if name == "name" => &number.raw,
        _ => "",
    }
}

fn required_text<'a>(document: &Object<'a>, name: &str) -> Option<&'a str> {
    document.required(name)?.nonempty_string()
}

/// Reads `metadata`. Kubernetes has many more fields there, none of which matters here.
fn meta(document: &Object<'_>, item: &Item<'_>) -> Option<Meta> {
    let metadata = document.required("metadata")?.open()?;
    let name = metadata.required("name").and_then(|item| {
        let name = item.nonempty_string()?;
        if !host::is_resource_name(name) {
            item.error(
                format!("\"{name}\" is not a resource's name"),
                "lower-case letters, digits, \"-\" and \".\", with a letter or digit at both ends",
            );
        }
        Some(name.to_owned())
    });
    let namespace = match metadata.get("namespace") {
        None => Some("default".to_owned()),
        Some(item) => {
            let namespace = item.nonempty_string();
            if let Some(namespace) = namespace.filter(|namespace| !host::is_dns_label(namespace)) {
                item.error(format!("\"{namespace}\" is not a namespace"), "lower-case letters, digits and \"-\"");
            }
            namespace.map(str::to_owned)
        }
    };
    let labels = metadata.get("labels").map(|item| item.labels()).unwrap_or_default();
    let annotations = metadata.get("annotations").map(|item| item.string_map()).unwrap_or_default();
    Some(Meta { name: name?, namespace: namespace?, labels, annotations, source: item.source().clone() })
}

#[cfg(test)]
mod tests;
