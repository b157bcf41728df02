//! `WorkloadEntry` (Istio `networking/v1alpha3/workload_entry.proto`): one process on a host, with labels.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::scalar::host;
use super::{Labels, Locality, Meta};
use crate::istio::reader::{Item, Message, Object, enforced, ignored, not_yet};

/// A WorkloadEntry document.
#[derive(Debug, Clone)]
pub struct WorkloadEntry {
    /// Name, namespace, place.
    pub meta: Meta,
    /// `spec`.
    pub spec: WorkloadSpec,
}

/// The body of a WorkloadEntry, also used for `endpoints` of a ServiceEntry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadSpec {
    /// `address`.
    pub address: IpAddr,
    /// `ports`: service port *name* to the port this workload listens on.
    pub ports: BTreeMap<String, u16>,
    /// `labels`; for a document together with `metadata.labels`, which win (Istio's `ConvertWorkloadEntry`).
    pub labels: Labels,
    /// `weight`; 1 when absent or 0.
    pub weight: u32,
    /// `locality`, or what the labels say; empty when absent.
    pub locality: Locality,
}

const WORKLOAD_ENTRY: Message = Message {
    name: "WorkloadEntry",
    fields: &[
        enforced("address"),
        enforced("ports"),
        enforced("labels"),
        not_yet("network"),
        enforced("locality"),
        enforced("weight"),
        ignored("serviceAccount", "an identity for mutual TLS, which is refused where it is asked for"),
    ],
};

/// The tables of this kind.
pub(in crate::istio) const MESSAGES: &[&Message] = &[&WORKLOAD_ENTRY];

/// Reads `spec`.
pub(in crate::istio) fn read(meta: Meta, spec: &Item<'_>) -> Option<WorkloadEntry> {
    let mut spec = read_spec(spec)?;
    spec.labels.extend(meta.labels.clone());
    if spec.locality.is_empty() {
        spec.locality = Locality::of_labels(&spec.labels);
    }
    Some(WorkloadEntry { meta, spec })
}

/// Checks a WorkloadGroup's template, which needs no address.
pub(in crate::istio) fn check_template(item: &Item<'_>) -> Option<()> {
    let object = item.object(&WORKLOAD_ENTRY)?;
    ports(&object);
    object.verify("labels", |item| Some(item.labels()));
    object.verify("weight", |item| item.whole(0, u32::MAX));
    object.verify("locality", Item::string);
    object.verify("address", address);
    Some(())
}

/// Reads a WorkloadEntry's body, also where a ServiceEntry holds it.
pub(in crate::istio) fn read_spec(item: &Item<'_>) -> Option<WorkloadSpec> {
    let object = item.object(&WORKLOAD_ENTRY)?;
    let ports = ports(&object);
    let labels = object.get("labels").map(|item| item.labels()).unwrap_or_default();
    let weight = object.get("weight").and_then(|item| item.whole(0, u32::MAX)).unwrap_or_default().max(1);
    let address = address(&object.required("address")?)?;
    let locality = match object.get("locality") {
        Some(item) => Locality::parse(item.string().unwrap_or_default()),
        None => Locality::of_labels(&labels),
    };
    Some(WorkloadSpec { address, ports, labels, weight, locality })
}

fn ports(object: &Object<'_>) -> BTreeMap<String, u16> {
    let mut ports = BTreeMap::new();
    for (name, port) in object.get("ports").map(|item| item.data_map()).unwrap_or_default() {
        if !host::is_label(name) {
            port.error(format!("\"{name}\" is not a port's name"), "letters, digits and \"-\"");
        }
        if let Some(port) = port.port() {
            ports.insert(name.to_owned(), port);
        }
    }
    ports
}

fn address(item: &Item<'_>) -> Option<IpAddr> {
    let text = item.nonempty_string()?;
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    if text.starts_with("unix://") {
        item.not_enforced("a unix socket as address");
    } else if host::check_name(text).is_ok() {
        item.not_enforced("a host name as address");
    } else {
        item.error(format!("\"{text}\" is not an address"), "write an IP address, without a port");
    }
    None
}
