//! `ServiceEntry` (Istio `networking/v1alpha3/service_entry.proto`): a service that Kubernetes does not know.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::destination_rule::alt_name;
use super::export::{self, ExportTo};
use super::scalar::{Protocol, host};
use super::workload_entry::{self, Address, WorkloadSpec};
use super::{Labels, Meta, Withhold};
use crate::istio::reader::{Item, Message, Object, did_you_mean, enforced};

/// A ServiceEntry document.
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
    /// `resolution`.
    pub resolution: Resolution,
    /// `endpoints`.
    pub endpoints: Vec<WorkloadSpec>,
    /// `workloadSelector.labels`: WorkloadEntries of the namespace; `None`: use `endpoints`.
    pub workload_selector: Option<Labels>,
    /// `addresses`, without subnets.
    pub addresses: Vec<IpAddr>,
    /// `exportTo`; `None`: `meshConfig.defaultServiceExportTo`.
    pub export_to: Option<ExportTo>,
    /// `subjectAltNames`: the names in its servers' certificates, unless a DestinationRule has them.
    pub subject_alt_names: Vec<String>,
    /// Whether requests to its hosts get 503, because `--permissive` leaves out a field that restricts them.
    pub withheld: bool,
}

impl Withhold for ServiceEntry {
    const CONSEQUENCE: &'static str = "requests to its hosts get 503";

    fn withhold(self) -> Option<Self> {
        Some(Self { withheld: true, ..self })
    }
}

/// One entry of `ports`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryPort {
    /// `number`: the port that clients address.
    pub number: u16,
    /// `name`.
    pub name: String,
    /// `protocol`.
    pub protocol: Protocol,
    /// `targetPort`: the port that endpoints listen on; `None`: `number`.
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

/// `resolution`: how endpoints are found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Resolution {
    /// `NONE`: a request goes to where its client sent it already.
    #[default]
    None,
    /// `STATIC`: they are written down.
    Static,
    /// `DNS`: every address of every name is one.
    Dns,
    /// `DNS_ROUND_ROBIN`: the first address of the name is the only one.
    DnsRoundRobin,
    /// `DYNAMIC_DNS`: at the addresses of the request's host.
    DynamicDns,
}

const SERVICE_ENTRY: Message = Message {
    name: "ServiceEntry",
    fields: &[
        enforced("hosts"),
        enforced("addresses"),
        enforced("ports"),
        enforced("location"),
        enforced("resolution"),
        enforced("endpoints"),
        enforced("workloadSelector"),
        enforced("exportTo"),
        enforced("subjectAltNames"),
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
    let resolution = resolution(&object);
    let hosts = hosts(&object, resolution);
    let ports = ports(&object);
    let location = object.get("location").and_then(|item| location(&item)).unwrap_or_default();
    let workload_selector = object.get("workloadSelector").and_then(|item| {
        let labels = item.object(&SELECTOR)?.get("labels").map(|item| item.labels()).unwrap_or_default();
        if labels.is_empty() && !item.is_damaged() {
            item.warn("selects every WorkloadEntry of its namespace", "write the labels to select by");
        }
        if let Some(name) = resolution.and_then(Resolution::without_endpoints) {
            item.warn(format!("has no meaning with resolution {name}"), "write \"resolution: STATIC\"");
        }
        Some(labels)
    });
    if workload_selector.is_some() && object.has_any(&["endpoints"]) {
        spec.error("has both \"endpoints\" and \"workloadSelector\"", "keep one of them");
    }
    let addresses = addresses(&object, resolution, &ports);
    let endpoints = endpoints(&object, resolution, &ports);
    let subject_alt_names = object.list("subjectAltNames").iter().filter_map(alt_name).collect();
    let plain =
        |port: &&EntryPort| port.protocol == Protocol::Auto || !port.protocol.routes_http() && !port.protocol.is_tls();
    if let (true, Some(port)) = (hosts.len() > 1 && resolution != Some(Resolution::None), ports.iter().find(plain)) {
        let what = format!("several hosts share port {}, where nothing tells them apart", port.number);
        spec.error(what, "write a ServiceEntry for each host");
    }
    // Protocols that do not send a host name cannot be resolved by name.
    let nameless =
        |port: &&EntryPort| !matches!(port.protocol, Protocol::Http | Protocol::Http2 | Protocol::Grpc | Protocol::Tls);
    if let (Some(Resolution::DynamicDns), Some(port)) = (resolution, ports.iter().find(nameless)) {
        let what =
            format!("port {} is none of HTTP, HTTP2, GRPC, TLS, which resolution DYNAMIC_DNS is for", port.number);
        spec.error(what, "write the port's \"protocol\"");
    }
    if object.list("ports").is_empty() && !object.is_damaged("ports") && spec.left_out() == 0 {
        spec.warn("has no \"ports\", so it has no effect", "write the ports that clients address");
    }
    // STATIC is the resolution with the most checks.
    let resolution = resolution.unwrap_or(Resolution::Static);
    Some(ServiceEntry {
        meta,
        hosts,
        ports,
        location,
        resolution,
        endpoints,
        workload_selector,
        addresses,
        export_to,
        subject_alt_names,
        withheld: false,
    })
}

fn hosts(object: &Object<'_>, resolution: Option<Resolution>) -> Vec<String> {
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
            Ok(()) => {
                if text.starts_with('*') && !text.starts_with("*.") && resolution != Some(Resolution::DynamicDns) {
                    item.warn("has a wildcard for a part of a label", "write \"*.example.com\"");
                }
                if resolution == Some(Resolution::DynamicDns) && !text.starts_with('*') {
                    item.error("must be a wildcard with resolution DYNAMIC_DNS", "write \"resolution: DNS\"");
                }
                hosts.push(text.to_ascii_lowercase());
            }
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
        Some(item) => protocol(&item),
    };
    let target_port = object.get("targetPort").and_then(|item| item.port());
    Some(EntryPort { number: number?, name: name?, protocol: protocol?, target_port })
}

fn protocol(item: &Item<'_>) -> Option<Protocol> {
    let text = item.string()?;
    let protocol = Protocol::parse(text);
    if protocol.is_none() {
        let known = Protocol::KNOWN;
        item.error(format!("\"{text}\" is not one of {}", known.join(", ")), did_you_mean(text, known));
    }
    protocol
}

fn location(item: &Item<'_>) -> Option<Location> {
    Some(match item.one_of(&["MESH_EXTERNAL", "MESH_INTERNAL"])? {
        "MESH_INTERNAL" => Location::MeshInternal,
        _ => Location::MeshExternal,
    })
}

fn resolution(object: &Object<'_>) -> Option<Resolution> {
    let Some(item) = object.get("resolution") else { return Some(Resolution::None) };
    Some(match item.one_of(&["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"])? {
        "STATIC" => Resolution::Static,
        "DNS" => Resolution::Dns,
        "DNS_ROUND_ROBIN" => Resolution::DnsRoundRobin,
        "DYNAMIC_DNS" => Resolution::DynamicDns,
        _ => Resolution::None,
    })
}

/// The single addresses, which a request's Host may have instead of a name. Subnets match redirected connections
/// only.
fn addresses(object: &Object<'_>, resolution: Option<Resolution>, ports: &[EntryPort]) -> Vec<IpAddr> {
    let items = object.list("addresses");
    for item in &items {
        let Some(text) = item.string() else { continue };
        if !host::is_subnet(text) {
            item.error(format!("\"{text}\" is not an address or a subnet"), "write it like 10.0.0.0/8");
        } else if text.contains('/') && !matches!(resolution, Some(Resolution::None | Resolution::Static)) {
            item.error("a subnet goes with resolution NONE or STATIC only", "write single addresses");
        }
    }
    if !items.is_empty() && resolution == Some(Resolution::DynamicDns) {
        object.item.error("has addresses, and resolution DYNAMIC_DNS finds them by name", "remove them");
    }
    let needs = ports.iter().find(|port| matches!(port.protocol, Protocol::Tcp | Protocol::Auto));
    if let (true, Some(port)) = (items.is_empty(), needs) {
        let what = format!("port {} may speak TCP, where only an address tells services apart [IST0134]", port.number);
        object.item.warn(what, "write \"addresses\", or the port's protocol if it is HTTP");
    }
    items.iter().filter_map(|item| if item.is_text() { item.string()?.parse().ok() } else { None }).collect()
}

/// Which endpoints go with which resolution (Istio's `ValidateServiceEntry`).
fn endpoints(object: &Object<'_>, resolution: Option<Resolution>, ports: &[EntryPort]) -> Vec<WorkloadSpec> {
    let items = object.list("endpoints");
    if let (false, Some(name)) = (items.is_empty(), resolution.and_then(Resolution::without_endpoints)) {
        object.item.error(format!("has endpoints, and resolution {name} takes none"), "write \"resolution: STATIC\"");
    }
    if resolution == Some(Resolution::DnsRoundRobin) && items.len() > 1 {
        object.item.error("resolution DNS_ROUND_ROBIN takes one endpoint", "write \"resolution: DNS\"");
    }
    let needs_names = matches!(resolution, Some(Resolution::Dns | Resolution::DnsRoundRobin));
    if needs_names && items.is_empty() && !object.has_any(&["workloadSelector"]) {
        for item in object.list("hosts").iter().filter(|item| item.is_text()) {
            if item.string().is_some_and(|name| name.starts_with('*')) {
                item.error("no name server knows a wildcard", "write \"endpoints\", or a full host name");
            }
        }
    }
    let knows_no_ports = object.is_damaged("ports");
    let mut endpoints = Vec::new();
    let mut withheld = None;
    for item in &items {
        let part = item.part("endpoint", || endpoint(item, resolution, ports, knows_no_ports));
        if part.withheld {
            item.withheld("this endpoint is left out");
            withheld = Some(item);
        } else {
            endpoints.extend(part.value);
        }
    }
    // Without any endpoint the hosts would be resolved themselves.
    if let (Some(last), true) = (withheld, endpoints.is_empty()) {
        last.leave_gap();
    }
    endpoints
}

impl Resolution {
    /// Whether host names are endpoints.
    #[must_use]
    pub fn takes_names(self) -> bool {
        matches!(self, Self::Dns | Self::DnsRoundRobin)
    }

    /// Whether there are no endpoints, because the request itself names its destination.
    #[must_use]
    pub fn goes_by_request(self) -> bool {
        matches!(self, Self::None | Self::DynamicDns)
    }

    fn without_endpoints(self) -> Option<&'static str> {
        match self {
            Self::None => Some("NONE"),
            Self::DynamicDns => Some("DYNAMIC_DNS"),
            _ => None,
        }
    }
}

fn endpoint(
    item: &Item<'_>,
    resolution: Option<Resolution>,
    ports: &[EntryPort],
    knows_no_ports: bool,
) -> Option<WorkloadSpec> {
    let endpoint = workload_entry::read_endpoint(item)?;
    for name in endpoint.ports.keys() {
        if !ports.iter().any(|port| port.name == *name) && !knows_no_ports {
            let names: Vec<_> = ports.iter().map(|port| port.name.as_str()).collect();
            item.error(format!("port \"{name}\" is not a port of this ServiceEntry"), did_you_mean(name, &names));
        }
    }
    match (&endpoint.address, resolution) {
        (Address::Name(_), Some(Resolution::Static)) => {
            item.error("a host name is no endpoint of resolution STATIC", "write \"resolution: DNS\", or an address");
        }
        (Address::Unix(_), Some(Resolution::Static)) if ports.len() != 1 && !knows_no_ports => {
            item.error("a unix socket serves exactly one port", "write one ServiceEntry for each socket");
        }
        (Address::Unix(_), Some(resolution)) if resolution != Resolution::Static => {
            item.error("a unix socket goes with resolution STATIC only", "write \"resolution: STATIC\"");
        }
        _ => {}
    }
    Some(endpoint)
}
