//! `ServiceEntry` (Istio `networking/v1alpha3/service_entry.proto`): a service that Kubernetes does not know.

use std::collections::BTreeSet;

use super::export::{self, ExportTo};
use super::scalar::{Protocol, host};
use super::workload_entry::{self, WorkloadSpec};
use super::{Labels, Meta};
use crate::istio::reader::{Item, Message, Object, did_you_mean, enforced, ignored, not_yet};

/// A ServiceEntry document. Only `resolution: STATIC` gets here.
#[derive(Debug, Clone)]
pub struct ServiceEntry {
    /// Name, namespace, place.
    pub meta: Meta,
    /// `hosts`: lower-case, never expanded.
    pub hosts: Vec<String>,
    /// `ports`.
    pub ports: Vec<EntryPort>,
    /// `location`.
    pub location: Location,
    /// `endpoints`.
    pub endpoints: Vec<WorkloadSpec>,
    /// `workloadSelector.labels`: WorkloadEntries of the namespace; `None`: use `endpoints`.
    pub workload_selector: Option<Labels>,
    /// `exportTo`; `None`: `meshConfig.defaultServiceExportTo`.
    pub export_to: Option<ExportTo>,
}

/// One entry of `ports`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryPort {
    /// `number`: what clients address.
    pub number: u16,
    /// `name`.
    pub name: String,
    /// `protocol`.
    pub protocol: Protocol,
    /// `targetPort`: what endpoints listen on; `None`: `number`.
    pub target_port: Option<u16>,
}

/// `location`: whether the service is part of the mesh.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Location {
    /// `MESH_EXTERNAL`.
    #[default]
    MeshExternal,
    /// `MESH_INTERNAL`.
    MeshInternal,
}

const SERVICE_ENTRY: Message = Message {
    name: "ServiceEntry",
    fields: &[
        enforced("hosts"),
        ignored("addresses", "virtual addresses of redirected connections; a Gateway routes by host name"),
        enforced("ports"),
        enforced("location"),
        enforced("resolution"),
        enforced("endpoints"),
        enforced("workloadSelector"),
        enforced("exportTo"),
        not_yet("subjectAltNames"),
    ],
};

const SERVICE_PORT: Message = Message {
    name: "ServicePort",
    fields: &[enforced("number"), enforced("protocol"), enforced("name"), enforced("targetPort")],
};

/// The table of this message.
pub(super) const SELECTOR: Message = Message { name: "WorkloadSelector", fields: &[enforced("labels")] };

/// The tables of this kind.
pub(in crate::istio) const MESSAGES: &[&Message] = &[&SERVICE_ENTRY, &SERVICE_PORT, &SELECTOR];

/// Most hosts of one document (Istio's validation).
const MAX_HOSTS: usize = 256;

/// Reads `spec`.
pub(in crate::istio) fn read(meta: Meta, spec: &Item<'_>) -> Option<ServiceEntry> {
    let object = spec.object(&SERVICE_ENTRY)?;
    let export_to = object.get("exportTo").and_then(|item| export::read(&item, &meta.namespace, true));
    let hosts = hosts(&object);
    let ports = ports(&object);
    let location = object.get("location").and_then(|item| location(&item)).unwrap_or_default();
    let endpoints: Vec<_> = object.list("endpoints").iter().filter_map(|item| endpoint(item, &ports)).collect();
    let workload_selector = object.get("workloadSelector").and_then(|item| {
        let labels = item.object(&SELECTOR)?.get("labels").map(|item| item.labels()).unwrap_or_default();
        if labels.is_empty() {
            item.warn("selects every WorkloadEntry of its namespace", "write the labels to select by");
        }
        Some(labels)
    });
    if workload_selector.is_some() && object.has_any(&["endpoints"]) {
        spec.error("has both \"endpoints\" and \"workloadSelector\"", "keep one of them");
    }
    resolution(&object)?;
    Some(ServiceEntry { meta, hosts, ports, location, endpoints, workload_selector, export_to })
}

fn hosts(object: &Object<'_>) -> Vec<String> {
    let Some(list) = object.required("hosts") else { return Vec::new() };
    let items = list.list();
    if items.is_empty() || items.len() > MAX_HOSTS {
        list.error(format!("must be 1 to {MAX_HOSTS} hosts, not {}", items.len()), "");
    }
    let mut hosts = Vec::new();
    for item in items {
        let Some(text) = item.nonempty_string() else { continue };
        let checked = if text == "*" { Err("must be a name, not \"*\"") } else { host::check_wildcard_name(text) };
        match checked {
            Ok(()) => hosts.push(text.to_ascii_lowercase()),
            Err(why) => item.error(format!("host \"{text}\" {why}"), ""),
        }
    }
    hosts
}

fn ports(object: &Object<'_>) -> Vec<EntryPort> {
    let (mut numbers, mut names) = (BTreeSet::new(), BTreeSet::new());
    let mut ports = Vec::new();
    for item in object.list("ports") {
        let Some(port) = port(&item) else { continue };
        if !numbers.insert(port.number) {
            item.error(format!("a second port {}", port.number), "give each port its own number");
        } else if !names.insert(port.name.clone()) {
            item.error(format!("a second port named \"{}\"", port.name), "give each port its own name");
        } else {
            ports.push(port);
        }
    }
    ports
}

fn port(item: &Item<'_>) -> Option<EntryPort> {
    let object = item.object(&SERVICE_PORT)?;
    let number = object.required("number").and_then(|item| item.port());
    let name = object.required("name").and_then(|item| {
        let name = item.nonempty_string()?;
        if !host::is_label(name) {
            item.error(format!("\"{name}\" is not a port's name"), "letters, digits and \"-\"");
        }
        Some(name.to_owned())
    });
    let protocol = match object.get("protocol") {
        None => Some(Protocol::Auto),
        Some(item) => {
            let text = item.string()?;
            let protocol = Protocol::parse(text);
            if protocol.is_none() {
                let known = Protocol::KNOWN;
                item.error(format!("\"{text}\" is not one of {}", known.join(", ")), did_you_mean(text, known));
            }
            protocol
        }
    };
    let target_port = object.get("targetPort").and_then(|item| item.port());
    Some(EntryPort { number: number?, name: name?, protocol: protocol?, target_port })
}

fn location(item: &Item<'_>) -> Option<Location> {
    Some(match item.one_of(&["MESH_EXTERNAL", "MESH_INTERNAL"])? {
        "MESH_INTERNAL" => Location::MeshInternal,
        _ => Location::MeshExternal,
    })
}

/// Only `STATIC` is enforced; others, the default `NONE` among them, are refused by name.
fn resolution(object: &Object<'_>) -> Option<()> {
    let Some(item) = object.get("resolution") else {
        object.item.not_enforced("resolution NONE (the default)");
        return None;
    };
    match item.one_of(&["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"])? {
        "STATIC" => Some(()),
        other => {
            item.not_enforced(&format!("resolution {other}"));
            None
        }
    }
}

fn endpoint(item: &Item<'_>, ports: &[EntryPort]) -> Option<WorkloadSpec> {
    let endpoint = workload_entry::read_spec(item)?;
    for name in endpoint.ports.keys() {
        if !ports.iter().any(|port| port.name == *name) {
            let names: Vec<_> = ports.iter().map(|port| port.name.as_str()).collect();
            item.error(format!("port \"{name}\" is not a port of this ServiceEntry"), did_you_mean(name, &names));
        }
    }
    Some(endpoint)
}
