//! The Kubernetes kinds that define services and their endpoints: `Service`, `EndpointSlice`, `Endpoints`, `Pod`.
//!
//! Only the fields that affect traffic are kept. These documents carry many fields without meaning here (affinity, node
//! ports, status): `fields` lists them by name, and any other field is an error as in Istio's kinds.

use std::net::IpAddr;

use super::export::{self, ExportTo};
use super::scalar::{Protocol, host};
use super::{Labels, Meta, Withhold};
use crate::istio::reader::{Item, Object};

pub(in crate::istio) mod fields;

use fields::{
    CLIENT_IP_CONFIG, ENDPOINT, ENDPOINT_ADDRESS, ENDPOINT_CONDITIONS, ENDPOINT_HINTS, ENDPOINT_PORT, ENDPOINT_SUBSET,
    HINT, OBJECT_REFERENCE, SERVICE_PORT, SERVICE_SPEC, SESSION_AFFINITY_CONFIG,
};

/// The label that names an EndpointSlice's Service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// The annotation that limits where a Service is visible: like `exportTo`, separated by commas.
const EXPORT_ANNOTATION: &str = "networking.istio.io/exportTo";

/// A core/v1 Service.
#[derive(Debug, Clone)]
pub struct KubeService {
    /// Name, namespace, place.
    pub meta: Meta,
    /// `spec.ports`, without UDP and SCTP.
    pub ports: Vec<KubePort>,
    /// `spec.selector`; empty: endpoints come from EndpointSlice or Endpoints alone.
    pub selector: Labels,
    /// `spec.clusterIPs`, or `spec.clusterIP`; empty for a headless Service.
    pub addresses: Vec<IpAddr>,
    /// `spec.externalName` of the type ExternalName, lower-case: the Service is another name for that.
    pub external_name: Option<String>,
    /// Annotation `networking.istio.io/exportTo`; `None`: `meshConfig.defaultServiceExportTo`.
    pub export_to: Option<ExportTo>,
    /// Whether requests to it get 503, because `--permissive` leaves out a field that restricts them.
    pub withheld: bool,
}

impl Withhold for KubeService {
    const CONSEQUENCE: &'static str = "requests to it get 503";

    fn withhold(self) -> Option<Self> {
        Some(Self { withheld: true, ..self })
    }
}

/// One entry of a Service's `ports`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubePort {
    /// `port`: the port that clients address.
    pub number: u16,
    /// `name`; empty when absent.
    pub name: String,
    /// From `appProtocol`, or the part of the name before the first `-`.
    pub protocol: Protocol,
    /// `targetPort`; absent: `port`.
    pub target: TargetPort,
}

/// A port by number, or by a name that the workload maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetPort {
    /// The port itself.
    Number(u16),
    /// Name of a port of the workload.
    Name(String),
}

/// A discovery.k8s.io/v1 EndpointSlice, or one subset of a core/v1 Endpoints document: addresses of one Service.
#[derive(Debug, Clone)]
pub struct Slice {
    /// Name, namespace, place.
    pub meta: Meta,
    /// The Service: label `kubernetes.io/service-name`, or the name of the Endpoints document.
    pub service: String,
    /// Service port name (empty for the only, unnamed port) to the port on every address.
    pub ports: Vec<(String, u16)>,
    /// The ready ones.
    pub addresses: Vec<SliceAddress>,
}

/// One address of a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceAddress {
    /// The address.
    pub address: IpAddr,
    /// `targetRef.name` when it names a Pod: whose labels these are.
    pub pod: Option<String>,
}

/// A core/v1 Pod: the labels of an address.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Name, namespace, labels, place.
    pub meta: Meta,
    /// `status.podIP`, if it has one.
    pub address: Option<IpAddr>,
}

/// Reads a Service.
pub(in crate::istio) fn read_service(meta: Meta, document: &Object<'_>) -> Option<KubeService> {
    let spec = document.required("spec")?.object(&SERVICE_SPEC)?;
    spec.verify("sessionAffinityConfig", |item| {
        let client = item.object(&SESSION_AFFINITY_CONFIG)?.get("clientIP")?;
        client.object(&CLIENT_IP_CONFIG).map(drop)
    });
    let external_name = match spec.get("type") {
        Some(kind) if kind.string() == Some("ExternalName") => Some(external_name(&spec)),
        _ => None,
    };
    let selector = spec.get("selector").map(|item| item.string_map()).unwrap_or_default();
    let mut ports: Vec<KubePort> = Vec::new();
    for item in spec.list("ports") {
        let Some(port) = service_port(&item) else { continue };
        if ports.iter().any(|other| other.number == port.number) {
            item.error(format!("a second port {}", port.number), "give each port its own number");
        } else {
            ports.push(port);
        }
    }
    let export_to = meta.annotations.get(EXPORT_ANNOTATION).map(|list| export::of_annotation(list, &meta.namespace));
    let addresses = cluster_ips(&spec);
    let external_name = match external_name {
        Some(name) => Some(name?),
        None => None,
    };
    Some(KubeService { meta, ports, selector, addresses, external_name, export_to, withheld: false })
}

/// `externalName`: Kubernetes takes a value that looks like an address for a name, which does not exist.
fn external_name(spec: &Object<'_>) -> Option<String> {
    let item = spec.required("externalName")?;
    let name = item.nonempty_string()?;
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.parse::<IpAddr>().is_ok() {
        item.error(
            format!("\"{name}\" is an address, and must be a host name"),
            "write an EndpointSlice for addresses",
        );
        return None;
    }
    if let Err(why) = host::check_name(name) {
        item.error(format!("host \"{name}\" {why}"), "");
        return None;
    }
    Some(name.to_ascii_lowercase())
}

/// `None` is Kubernetes' value for a headless Service.
fn cluster_ips(spec: &Object<'_>) -> Vec<IpAddr> {
    let parsed = |item: &Item<'_>| match item.string()? {
        "" | "None" => None,
        _ => address(item),
    };
    match spec.get("clusterIPs") {
        Some(list) => list.list().iter().filter_map(parsed).collect(),
        None => spec.get("clusterIP").and_then(|item| parsed(&item)).into_iter().collect(),
    }
}

/// `None` also for UDP and SCTP, which no HTTP proxy serves.
fn service_port(item: &Item<'_>) -> Option<KubePort> {
    let port = item.object(&SERVICE_PORT)?;
    let number = port.required("port").and_then(|item| item.port());
    let name = port.text("name");
    let transport = port.get("protocol").and_then(|item| item.string()).unwrap_or("TCP");
    if transport != "TCP" {
        return None;
    }
    let app_protocol = port.get("appProtocol").and_then(|item| item.string());
    let target = match port.get("targetPort") {
        None => number.map(TargetPort::Number),
        Some(item) if item.is_number() => item.port().map(TargetPort::Number),
        Some(item) => item.nonempty_string().map(|name| TargetPort::Name(name.to_owned())),
    };
    let (number, target) = (number?, target?);
    let protocol = Protocol::of_kube_port(number, &name, transport, app_protocol);
    Some(KubePort { number, name, protocol, target })
}

/// Reads an EndpointSlice.
pub(in crate::istio) fn read_endpoint_slice(meta: Meta, document: &Object<'_>) -> Option<Slice> {
    let Some(service) = meta.labels.get(SERVICE_LABEL).cloned() else {
        let what = format!("belongs to no Service: it has no label \"{SERVICE_LABEL}\"");
        document.item.warn(what, "give it the Service's name");
        return None;
    };
    if let Some(kind) = document.get("addressType")
        && kind.one_of(&["IPv4", "IPv6", "FQDN"])? == "FQDN"
    {
        // As in Istio, whose documentation promises nothing else.
        let instead = "write a ServiceEntry with \"resolution: DNS\", or a Service of type ExternalName";
        kind.warn("host names are no endpoints of a Service: no effect", instead);
        return None;
    }
    let mut addresses = Vec::new();
    for item in document.list("endpoints") {
        let Some(endpoint) = item.object(&ENDPOINT) else { continue };
        let conditions = endpoint.get("conditions").and_then(|item| item.object(&ENDPOINT_CONDITIONS));
        let ready = conditions.and_then(|conditions| conditions.get("ready")?.bool()).unwrap_or(true);
        endpoint.verify("hints", hints);
        let pod = pod_reference(&endpoint);
        // Kubernetes: the addresses of one endpoint are interchangeable, and clients use the first.
        let address = endpoint.list("addresses").first().and_then(address);
        if let (true, Some(address)) = (ready, address) {
            addresses.push(SliceAddress { address, pod });
        }
    }
    let ports = document.list("ports").iter().filter_map(slice_port).collect();
    Some(Slice { meta, service, ports, addresses })
}

/// Reads an Endpoints document: a slice for each of its subsets.
pub(in crate::istio) fn read_endpoints(meta: &Meta, document: &Object<'_>) -> Vec<Slice> {
    let subset = |item: &Item<'_>| {
        let subset = item.object(&ENDPOINT_SUBSET)?;
        subset.verify_each("notReadyAddresses", |item| item.object(&ENDPOINT_ADDRESS).map(drop));
        let addresses = subset.list("addresses").iter().filter_map(endpoints_address).collect();
        let ports = subset.list("ports").iter().filter_map(slice_port).collect();
        Some(Slice { meta: meta.clone(), service: meta.name.clone(), ports, addresses })
    };
    document.list("subsets").iter().filter_map(subset).collect()
}

fn hints(item: &Item<'_>) -> Option<()> {
    let hints = item.object(&ENDPOINT_HINTS)?;
    for list in ["forZones", "forNodes"] {
        hints.verify_each(list, |item| item.object(&HINT).map(drop));
    }
    Some(())
}

fn endpoints_address(item: &Item<'_>) -> Option<SliceAddress> {
    let object = item.object(&ENDPOINT_ADDRESS)?;
    Some(SliceAddress { address: address(&object.required("ip")?)?, pod: pod_reference(&object) })
}

fn slice_port(item: &Item<'_>) -> Option<(String, u16)> {
    let port = item.object(&ENDPOINT_PORT)?;
    let transport = port.get("protocol").and_then(|item| item.string()).unwrap_or("TCP");
    let number = port.required("port")?.port()?;
    (transport == "TCP").then(|| (port.text("name"), number))
}

fn pod_reference(endpoint: &Object<'_>) -> Option<String> {
    let target = endpoint.get("targetRef")?.object(&OBJECT_REFERENCE)?;
    (target.text("kind") == "Pod").then(|| target.text("name"))
}

fn address(item: &Item<'_>) -> Option<IpAddr> {
    let text = item.string()?;
    let address = text.parse().ok();
    if address.is_none() {
        item.error(format!("\"{text}\" is not an IP address"), "");
    }
    address
}

/// Reads a Pod.
pub(in crate::istio) fn read_pod(meta: Meta, document: &Object<'_>) -> Pod {
    let address = document.get("status").and_then(|item| address(&item.open()?.get("podIP")?));
    Pod { meta, address }
}
