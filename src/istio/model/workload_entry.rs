//! `WorkloadEntry` (Istio `networking/v1alpha3/workload_entry.proto`): one process on a host, with labels.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

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
    pub address: Address,
    /// `ports`: service port *name* to the port this workload listens on.
    pub ports: BTreeMap<String, u16>,
    /// `labels`; for a document together with `metadata.labels`, which win (Istio's `ConvertWorkloadEntry`).
    pub labels: Labels,
    /// `weight`; 1 when absent or 0.
    pub weight: u32,
    /// `locality`, or that of the labels; empty when absent.
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

/// Where a workload is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    /// At an IP address.
    Ip(IpAddr),
    /// At the addresses of this lower-case host name.
    Name(String),
    /// On this host, at a Unix domain socket: the part after `unix://`, a path or `@` and an abstract name.
    Unix(Arc<str>),
}

/// The placeholder for an address that could not be read: one reserved for documentation (RFC 5737).
const UNREADABLE: Address = Address::Ip(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));

/// Most bytes of a socket's path (unix(7): `sun_path`, but for the zero byte at its end).
const LONGEST_PATH: usize = 107;

/// Reads `spec`.
pub(in crate::istio) fn read(meta: Meta, spec: &Item<'_>) -> Option<WorkloadEntry> {
    let object = spec.object(&WORKLOAD_ENTRY)?;
    let body = body(&object);
    let address = match object.get("address").filter(|item| !item.is_text() || item.string() != Some("")) {
        Some(item) => address(&object, &item),
        None if object.has_any(&["network"]) => {
            spec.warn("has no address", "Istio takes its network's gateway for one");
            None
        }
        None => {
            spec.error("\"address\" is required", "");
            Some(UNREADABLE)
        }
    };
    // If an address could not be read, nothing is served: the entry is kept for the checks.
    let address = address.or_else(|| object.is_damaged("address").then_some(UNREADABLE))?;
    let mut spec = WorkloadSpec { address, ..body };
    spec.labels.extend(meta.labels.clone());
    if spec.locality.is_empty() {
        spec.locality = Locality::of_labels(&spec.labels);
    }
    Some(WorkloadEntry { meta, spec })
}

/// Reads an entry of a ServiceEntry's `endpoints`.
pub(in crate::istio) fn read_endpoint(item: &Item<'_>) -> Option<WorkloadSpec> {
    let object = item.object(&WORKLOAD_ENTRY)?;
    let body = body(&object);
    let address = object.required("address").and_then(|item| address(&object, &item));
    Some(WorkloadSpec { address: address.unwrap_or(UNREADABLE), ..body })
}

/// Checks a WorkloadGroup's template, which needs no address.
pub(in crate::istio) fn check_template(item: &Item<'_>) -> Option<()> {
    let object = item.object(&WORKLOAD_ENTRY)?;
    body(&object);
    object.verify("address", |item| address(&object, item));
    Some(())
}

/// All but the address.
fn body(object: &Object<'_>) -> WorkloadSpec {
    let labels = object.get("labels").map(|item| item.labels()).unwrap_or_default();
    let locality = match object.get("locality") {
        Some(item) => Locality::parse(item.string().unwrap_or_default()),
        None => Locality::of_labels(&labels),
    };
    WorkloadSpec {
        address: Address::Ip(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        ports: ports(object),
        labels,
        weight: object.get("weight").and_then(|item| item.whole(0, u32::MAX)).unwrap_or_default().max(1),
        locality,
    }
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

/// The user of the endpoint decides whether a host name or a Unix domain socket is allowed.
fn address(object: &Object<'_>, item: &Item<'_>) -> Option<Address> {
    let text = item.nonempty_string()?;
    if let Ok(address) = text.parse() {
        return Some(Address::Ip(address));
    }
    if let Some(path) = text.strip_prefix("unix://") {
        check_path(item, path);
        if object.has_any(&["ports"]) {
            item.error("a unix socket has no ports", "remove \"ports\"");
        }
        return Some(Address::Unix(path.into()));
    }
    if host::check_name(text).is_ok() {
        return Some(Address::Name(text.to_ascii_lowercase()));
    }
    item.error(format!("\"{text}\" is not an address"), "write an IP address, without a port");
    None
}

/// Istio's and Envoy's rules for a socket's path.
pub(super) fn check_path(item: &Item<'_>, path: &str) {
    let is_abstract = path.starts_with('@');
    let is_file = path.starts_with('/') && !path.ends_with('/');
    if !is_abstract && !is_file || path.contains('\0') {
        let what = format!("\"unix://{}\" is not a socket's path", path.escape_debug());
        item.error(what, "write it like unix:///run/app.sock");
    } else if path.len() > LONGEST_PATH {
        let what = format!("a socket's path has at most {LONGEST_PATH} bytes, and this one {}", path.len());
        item.error(what, "move the socket to a shorter path");
    }
}
