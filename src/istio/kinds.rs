//! From documents to typed resources: the kind of each document, its metadata, and its reader.

use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use foldhash::HashMap;

use super::document::{Document, Family, ISTIO_GROUP, KNOWN, KnownKind, resource_name, text};
use super::model::{
    Meta, Model, Withhold, destination_rule, gateway, kube, mesh_config, object_meta, proxy, secret, server_tls,
    service_entry, sidecar, virtual_service, workload_entry, workload_group,
};
use super::parallel;
use super::problem::{Problem, Source};
use super::reader::{Item, Message, Object, ResourceReader, Without, did_you_mean, enforced, ignored, nearest};

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

/// `kind: List`, and lists of one kind (`ServiceList`), as kubectl prints them.
const LIST: Message = Message {
    name: "List",
    fields: &[
        enforced("apiVersion"),
        enforced("kind"),
        ignored("metadata", "written by Kubernetes"),
        enforced("items"),
    ],
};

/// A kind with the tables of its messages: its own first.
pub struct KindTables {
    /// The kind; empty for fields that are common to all.
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
    KindTables { kind: "", tables: &[&[&RESOURCE, &LIST], object_meta::MESSAGES] },
    KindTables { kind: "Gateway", tables: &[gateway::MESSAGES, server_tls::MESSAGES] },
    KindTables { kind: "VirtualService", tables: virtual_service::MESSAGE_FILES },
    KindTables { kind: "DestinationRule", tables: destination_rule::MESSAGE_FILES },
    KindTables { kind: "ServiceEntry", tables: &[service_entry::MESSAGES] },
    KindTables { kind: "WorkloadEntry", tables: &[workload_entry::MESSAGES] },
    KindTables { kind: "WorkloadGroup", tables: &[workload_group::MESSAGES] },
    KindTables { kind: "Sidecar", tables: &[sidecar::MESSAGES] },
    KindTables { kind: "Service", tables: &[kube::fields::SERVICE_MESSAGES] },
    KindTables { kind: "EndpointSlice", tables: &[kube::fields::ENDPOINT_SLICE_MESSAGES] },
    KindTables { kind: "Endpoints", tables: &[kube::fields::ENDPOINTS_MESSAGES] },
    KindTables { kind: "Pod", tables: &[kube::fields::POD_MESSAGES] },
    KindTables { kind: "Secret", tables: &[secret::MESSAGES] },
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
            // Only the reading of all documents in order knows which of two is the first.
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

impl Kinds {
    fn read(documents: &[Document], permissive: bool) -> Self {
        let mut kinds = Self { permissive, ..Self::default() };
        kinds.first.reserve(documents.len());
        for document in documents {
            kinds.document(document);
        }
        kinds
    }

    /// Adds the resources of later documents; `false`: one of them is in both.
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

    fn document(&mut self, Document { file, root, is_list }: &Document) {
        let (kind, api_version) = (text(root, "kind"), text(root, "apiVersion"));
        let resource = if *is_list { kind.to_owned() } else { resource_name(root) };
        let source =
            Source { file: file.clone(), line: root.line, resource: resource.into(), root: Some(root.clone()) };
        let problems = std::mem::take(&mut self.problems);
        {
            let reader = ResourceReader::new(&source, self.permissive, &problems);
            let reader = if *is_list || kind == "Proxy" { reader.indivisible() } else { reader };
            let item = reader.root(root);
            if *is_list {
                if let Some(list) = item.object(&LIST) {
                    object_meta::check_list(&list);
                }
            } else {
                self.resource(&item, kind, api_version);
            }
            self.model.damage.add(&source, reader.into_damage());
        }
        self.problems = problems;
    }

    fn resource(&mut self, item: &Item<'_>, kind: &str, api_version: &str) {
        let Some(document) = item.open() else { return };
        let (Some(_), Some(_)) = (required_text(&document, "apiVersion"), required_text(&document, "kind")) else {
            return;
        };
        let Some(family) = family(&document, kind, api_version) else { return };
        let table = match family {
            Family::NoMeaning => return no_meaning(item, kind, api_version),
            Family::NotEnforced(without) => return not_enforced_kind(item, kind, api_version, without),
            Family::Istio | Family::Ringway => &RESOURCE,
            Family::Kubernetes => match kind {
                "Service" => &kube::fields::SERVICE,
                "EndpointSlice" => &kube::fields::ENDPOINT_SLICE,
                "Endpoints" => &kube::fields::ENDPOINTS,
                "Secret" => &secret::SECRET,
                _ => &kube::fields::POD,
            },
        };
        let Some(document) = item.object(table) else { return };
        let meta = object_meta::read(&document);
        if !meta.is_named() || self.is_first(item, kind) {
            return self.read_kind(family, kind, meta, &document);
        }
        // Read only for its other problems.
        let model = std::mem::take(&mut self.model);
        self.read_kind(family, kind, meta, &document);
        self.model = model;
    }

    fn read_kind(&mut self, family: Family, kind: &str, meta: Meta, document: &Object<'_>) {
        if family == Family::Kubernetes {
            self.kubernetes(kind, meta, document)
        } else {
            self.istio(kind, meta, document)
        }
    }

    fn istio(&mut self, kind: &str, meta: Meta, document: &Object<'_>) {
        let model = &mut self.model;
        if kind == "Proxy" {
            if let Some(other) = &model.proxy {
                let place = format!("{}:{}", other.source.file, other.source.line);
                document.item.error(format!("a second Proxy: the first is at {place}"), "one process has one Proxy");
                let _ = proxy::read(meta, document.get("spec").as_ref());
            } else {
                model.proxy = proxy::read(meta, document.get("spec").as_ref());
            }
            return;
        }
        let Some(spec) = document.required("spec") else { return };
        let item = &document.item;
        match kind {
            "Gateway" => keep(&mut model.gateways, item, gateway::read(meta, &spec)),
            "VirtualService" => keep(&mut model.virtual_services, item, virtual_service::read(meta, &spec)),
            "DestinationRule" => keep(&mut model.destination_rules, item, destination_rule::read(meta, &spec)),
            "ServiceEntry" => keep(&mut model.service_entries, item, service_entry::read(meta, &spec)),
            "Sidecar" => keep(&mut model.sidecars, item, sidecar::read(meta, &spec)),
            "WorkloadGroup" => {
                // It is checked only.
                let _ = workload_group::check(&spec);
            }
            _ => keep(&mut model.workload_entries, item, workload_entry::read(meta, &spec)),
        }
    }

    fn kubernetes(&mut self, kind: &str, meta: Meta, document: &Object<'_>) {
        let (model, item) = (&mut self.model, &document.item);
        match kind {
            "Service" => keep(&mut model.kube_services, item, kube::read_service(meta, document)),
            "EndpointSlice" => keep(&mut model.endpoint_slices, item, kube::read_endpoint_slice(meta, document)),
            "Endpoints" => keep(&mut model.endpoints, item, kube::read_endpoints(&meta, document)),
            "Secret" => keep(&mut model.secrets, item, Some(secret::read(meta, document))),
            _ => keep(&mut model.pods, item, Some(kube::read_pod(meta, document))),
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

/// Keeps a resource that was read; it is withheld if a part of it is left out that no [`Item::part`] accounts for.
fn keep<T: Withhold>(kept: &mut Vec<T>, item: &Item<'_>, read: impl IntoIterator<Item = T>) {
    if !item.has_gaps() {
        return kept.extend(read);
    }
    let mut read = read.into_iter().peekable();
    if read.peek().is_some() {
        item.withheld(T::CONSEQUENCE);
    }
    kept.extend(read.filter_map(Withhold::withhold));
}

/// The family of a kind; reports an invalid kind.
fn family(document: &Object<'_>, kind: &str, api_version: &str) -> Option<Family> {
    let group = group(api_version);
    let known = KNOWN.iter().find(|known| known.kind == kind);
    if let Some(known) = known.filter(|known| known.group == group) {
        return Some(version(document, known, api_version));
    }
    let unknown_kind = |known: &[&str]| {
        if let Some(item) = document.get("kind") {
            item.error(format!("\"{kind}\" is not a kind of {group}"), did_you_mean(kind, known));
        }
    };
    match (group, kind) {
        (ISTIO_GROUP, "EnvoyFilter") => Some(Family::NotEnforced(Without::More)),
        (ISTIO_GROUP, "ProxyConfig") => Some(Family::NotEnforced(Without::NoMore)),
        (ISTIO_GROUP, _) => {
            let read = KNOWN.iter().filter(|known| known.group == ISTIO_GROUP).map(|known| known.kind);
            unknown_kind(&read.chain(ISTIO_KINDS_NOT_YET.iter().copied()).collect::<Vec<_>>());
            None
        }
        ("ringway.dev", _) => {
            if let Some(item) = document.get("kind") {
                item.error(format!("\"{kind}\" is not a kind of ringway.dev"), "write \"Proxy\"");
            }
            None
        }
        ("networking.k8s.io" | "extensions", "Ingress") => Some(Family::NotEnforced(Without::NoMore)),
        ("gateway.networking.k8s.io", _) => Some(Family::NotEnforced(without_gateway_api(document, kind))),
        (group, _) => match known.filter(|known| is_slip(group, known.group)) {
            Some(known) => Some(version(document, known, api_version)),
            None if group == "telemetry.istio.io" => Some(Family::NotEnforced(Without::NoMore)),
            // Security and extensions of Istio stop requests, and which ones is not known without reading them.
            None if group.ends_with(".istio.io") => Some(Family::NotEnforced(Without::More)),
            None => Some(Family::NoMeaning),
        },
    }
}

/// Without the Gateway API's routes less is served. But its route for a Service replaces the mesh's default, and a policy
/// restricts.
fn without_gateway_api(document: &Object<'_>, kind: &str) -> Without {
    let parents = document.get("spec").and_then(|spec| Some(spec.open()?.list("parentRefs"))).unwrap_or_default();
    let of_service = |parent: &Item<'_>| parent.open().is_some_and(|parent| parent.text("kind") == "Service");
    if kind.ends_with("Policy") || parents.iter().any(of_service) { Without::More } else { Without::NoMore }
}

/// Reports a kind that is not enforced. It is a document of its own: if it restricts, everything must be withheld.
fn not_enforced_kind(item: &Item<'_>, kind: &str, api_version: &str, without: Without) {
    let what = format!("kind {kind} ({api_version})");
    match without {
        Without::NoMore => item.not_enforced(&what, without),
        Without::More => item.error(
            format!("{what} is not enforced by ringway yet"),
            "remove it: it may restrict what is served, so --permissive does not serve without it",
        ),
    }
}

/// The family of a kind; reports an `apiVersion` that the kind does not have. The rest of the document is read all the
/// same.
fn version(document: &Object<'_>, known: &KnownKind, api_version: &str) -> Family {
    if let Some(item) = document.get("apiVersion").filter(|_| !known.versions.contains(&api_version)) {
        let what = format!("\"{api_version}\" is not an apiVersion of {}", known.kind);
        item.error(what, format!("write \"{}\"", known.versions.first().unwrap_or(&"")));
    }
    known.family
}

fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// Whether a document's group is the right one with a typing error, and not another project's group with a kind of the same
/// name, of which there are many (Knative's Service, App Mesh's VirtualService, OpenShift's Proxy). Groups without a dot
/// are Kubernetes' own, which have no kind of these names.
fn is_slip(group: &str, right: &str) -> bool {
    !group.contains('.')
        || group.ends_with(".istio.io") && right.ends_with(".istio.io")
        || nearest(group, &[right]).is_some()
}

fn no_meaning(item: &Item<'_>, kind: &str, api_version: &str) {
    let group = group(api_version);
    if let Some(known) = KNOWN.iter().find(|known| known.kind == kind) {
        let version = known.versions.first().unwrap_or(&"");
        let what = format!("{kind} of {group} has no meaning for a proxy and is passed over");
        return item.warn(what, format!("the {kind} that is read is that of \"{version}\""));
    }
    // Distances beyond a slip of a letter or two are other kinds of Kubernetes.
    let near = |known: &&KnownKind| is_slip(group, known.group) && strsim::osa_distance(kind, known.kind) <= 2;
    let near = KNOWN.iter().find(near).map(|known| format!("did you mean \"{}\"?", known.kind));
    item.warn(format!("{kind} has no meaning for a proxy and is passed over"), near.unwrap_or_default());
}

fn required_text<'a>(document: &Object<'a>, name: &str) -> Option<&'a str> {
    document.required(name)?.nonempty_string()
}

#[cfg(test)]
mod tests;
