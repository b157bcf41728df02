//! Kubernetes Services, ServiceEntries and everything that names an address, as one registry.

use std::collections::BTreeMap;
use std::net::IpAddr;

use foldhash::{HashMap, HashMapExt};

use super::{Alias, Service, ServicePort, Services, Workload, WorkloadPorts};
use crate::istio::model::export::{self, ExportTo};
use crate::istio::model::kube::{KubePort, KubeService, Pod, Slice, SliceAddress, TargetPort};
use crate::istio::model::proxy::MeshConfig;
use crate::istio::model::scalar::host;
use crate::istio::model::service_entry::{Resolution, ServiceEntry};
use crate::istio::model::workload_entry::{Address, WorkloadEntry, WorkloadSpec};
use crate::istio::model::{Labels, Locality, Model, selects};
use crate::istio::problem::{Problem, Source};

mod aliases;

/// Takes the services and endpoints out of the model.
pub(super) fn build(model: &mut Model, mesh: &MeshConfig, problems: &mut Vec<Problem>) -> Services {
    let entries = EntryIndex::new(&model.workload_entries);
    let pods = PodIndex::new(&model.pods);
    let slices = by_service(&model.endpoint_slices);
    let endpoints = by_service(&model.endpoints);
    let mut services = BTreeMap::new();
    let (external, others): (Vec<_>, Vec<_>) =
        std::mem::take(&mut model.kube_services).into_iter().partition(|service| service.external_name.is_some());
    let external = aliases::by_name(external);
    for service in others {
        let key = (service.meta.namespace.as_str(), service.meta.name.as_str());
        // Kubernetes mirrors Endpoints into EndpointSlices; where both are written down, the slices are the whole.
        let listed = slices.get(&key).or_else(|| endpoints.get(&key)).map(Vec::as_slice).unwrap_or_default();
        let service = kube_service(&service, listed, &pods, &entries, mesh, problems);
        services.insert(service.hostname.clone(), service);
    }
    for entry in std::mem::take(&mut model.service_entries) {
        for (index, hostname) in entry.hosts.iter().enumerate() {
            let other = services.get(hostname).map(|other| &other.source);
            if let Some(other) = other.or(external.get(hostname).map(|other| &other.meta.source)) {
                let what = format!("host \"{hostname}\" is already declared by {}", place(other));
                let instead = "its ports and endpoints there are used, these are not";
                problems.push(entry.meta.source.warning(&format!("spec.hosts[{index}]"), what, instead));
            } else {
                services.insert(hostname.clone(), entry_service(&entry, hostname, &entries, mesh, problems));
            }
        }
    }
    let aliases = aliases::resolve(&external, &mut services, mesh, problems);
    for service in services.values() {
        check_ports(service, problems);
    }
    Services::new(services, aliases)
}

fn place(source: &Source) -> String {
    format!("{} ({}:{})", source.resource, source.file, source.line)
}

/// A port that no workload serves is a slip in a named `targetPort`, mostly.
fn check_ports(service: &Service, problems: &mut Vec<Problem>) {
    for port in &service.ports {
        let served = service.workloads.iter().any(|workload| workload.listens_on(port).is_some());
        if !served && !service.workloads.is_empty() {
            let instead = match &port.target {
                TargetPort::Name(name) => format!("give their \"ports\" the name \"{name}\""),
                TargetPort::Number(_) => "name the port in the EndpointSlice as in the Service".to_owned(),
            };
            let what = format!("no workload says where it serves port {}", port.number);
            problems.push(service.source.warning("spec.ports", what, instead));
        }
    }
}

fn kube_service(
    service: &KubeService,
    slices: &[&Slice],
    pods: &PodIndex<'_>,
    entries: &EntryIndex<'_>,
    mesh: &MeshConfig,
    problems: &mut Vec<Problem>,
) -> Service {
    let mut workloads: Vec<Workload> = Vec::new();
    let mut known: HashMap<IpAddr, usize> = HashMap::new();
    for slice in slices {
        for address in &slice.addresses {
            let at = *known.entry(address.address).or_insert_with(|| {
                let labels = pods.labels_of(&slice.meta.namespace, address);
                let locality = Locality::of_labels(&labels);
                workloads.push(Workload {
                    address: Address::Ip(address.address),
                    labels,
                    weight: 1,
                    locality,
                    ports: WorkloadPorts::Exactly(BTreeMap::new()),
                });
                workloads.len() - 1
            });
            // An address in several slices has the ports of all of them.
            if let WorkloadPorts::Exactly(ports) = &mut workloads[at].ports {
                ports.extend(slice.ports.iter().cloned());
            }
        }
    }
    if !service.selector.is_empty() {
        let selected = entries.selected(&service.meta.namespace, &service.selector);
        let by = (&*service.meta.source.resource, service.ports.len(), false);
        workloads.extend(usable(selected, by, problems));
    }
    Service {
        hostname: host::service_name(&service.meta.name, &service.meta.namespace),
        namespace: service.meta.namespace.clone(),
        ports: service.ports.iter().map(service_port).collect(),
        resolution: Resolution::Static,
        workloads,
        addresses: service.addresses.clone(),
        export_to: export_to(service.export_to.as_ref(), mesh, &service.meta.namespace),
        subject_alt_names: Vec::new(),
        withheld: service.withheld,
        source: service.meta.source.clone(),
    }
}

fn service_port(port: &KubePort) -> ServicePort {
    ServicePort { number: port.number, name: port.name.clone(), protocol: port.protocol, target: port.target.clone() }
}

fn entry_service(
    entry: &ServiceEntry,
    hostname: &str,
    entries: &EntryIndex<'_>,
    mesh: &MeshConfig,
    problems: &mut Vec<Problem>,
) -> Service {
    let ports = entry.ports.iter().map(|port| ServicePort {
        number: port.number,
        name: port.name.clone(),
        protocol: port.protocol,
        target: TargetPort::Number(port.target_port.unwrap_or(port.number)),
    });
    let selected = |selector| entries.selected(&entry.meta.namespace, selector);
    let workloads = match (&entry.workload_selector, entry.resolution) {
        (_, Resolution::None | Resolution::DynamicDns) => Vec::new(),
        (Some(selector), resolution) => {
            let by = (&*entry.meta.source.resource, entry.ports.len(), resolution.takes_names());
            usable(selected(selector), by, problems)
        }
        // Without endpoints the host is its own.
        (None, resolution) if resolution.takes_names() && entry.endpoints.is_empty() => vec![named(hostname)],
        (None, _) => entry.endpoints.iter().map(from_spec).collect(),
    };
    Service {
        hostname: hostname.to_owned(),
        namespace: entry.meta.namespace.clone(),
        ports: ports.collect(),
        resolution: entry.resolution,
        workloads,
        addresses: entry.addresses.clone(),
        export_to: export_to(entry.export_to.as_ref(), mesh, &entry.meta.namespace),
        subject_alt_names: entry.subject_alt_names.clone(),
        withheld: entry.withheld,
        source: entry.meta.source.clone(),
    }
}

fn export_to(written: Option<&ExportTo>, mesh: &MeshConfig, own: &str) -> ExportTo {
    written.cloned().unwrap_or_else(|| export::resolve(&mesh.default_service_export_to, own))
}

/// The entries selected by `selector` that can be endpoints of a service with this many ports: with an address, or
/// with a name if the service `takes_names`. The others are reported.
fn usable<'a>(
    entries: impl Iterator<Item = &'a WorkloadEntry>,
    (selector, ports, takes_names): (&str, usize, bool),
    problems: &mut Vec<Problem>,
) -> Vec<Workload> {
    let mut usable = Vec::new();
    for entry in entries {
        let refused = match &entry.spec.address {
            Address::Name(_) if !takes_names => Some((
                format!("a host name is no endpoint of {selector}, which selects this"),
                "write an IP address, or select it by a ServiceEntry with \"resolution: DNS\"",
            )),
            Address::Unix(_) if takes_names => Some((
                format!("a unix socket is no endpoint of {selector}, which selects this and resolves names"),
                "write \"resolution: STATIC\" there",
            )),
            Address::Unix(_) if ports != 1 => Some((
                format!("a unix socket serves exactly one port, and {selector}, which selects this, has {ports}"),
                "write a ServiceEntry for each socket",
            )),
            _ => None,
        };
        let Some((what, instead)) = refused else {
            usable.push(from_spec(&entry.spec));
            continue;
        };
        let problem = entry.meta.source.error("spec.address", what, instead);
        // A ServiceEntry with several hosts selects once for each.
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }
    usable
}

/// The workload at a name, on the ports of its service.
fn named(hostname: &str) -> Workload {
    Workload {
        address: Address::Name(hostname.to_owned()),
        labels: Labels::new(),
        weight: 1,
        locality: Locality::default(),
        ports: WorkloadPorts::Overrides(BTreeMap::new()),
    }
}

fn from_spec(spec: &WorkloadSpec) -> Workload {
    Workload {
        address: spec.address.clone(),
        labels: spec.labels.clone(),
        weight: spec.weight,
        locality: spec.locality.clone(),
        ports: WorkloadPorts::Overrides(spec.ports.clone()),
    }
}

fn by_service(slices: &[Slice]) -> HashMap<(&str, &str), Vec<&Slice>> {
    let mut found: HashMap<_, Vec<_>> = HashMap::new();
    for slice in slices {
        found.entry((slice.meta.namespace.as_str(), slice.service.as_str())).or_default().push(slice);
    }
    found
}

/// WorkloadEntries by namespace and by each of their labels: ten thousand Services that select among ten thousand
/// entries must not compare all with all.
struct EntryIndex<'m> {
    entries: &'m [WorkloadEntry],
    by_label: HashMap<(&'m str, &'m str, &'m str), Vec<usize>>,
}

impl<'m> EntryIndex<'m> {
    fn new(entries: &'m [WorkloadEntry]) -> Self {
        let mut by_label: HashMap<_, Vec<_>> = HashMap::new();
        for (index, entry) in entries.iter().enumerate() {
            for (key, value) in &entry.spec.labels {
                by_label.entry((&*entry.meta.namespace, &**key, &**value)).or_default().push(index);
            }
        }
        Self { entries, by_label }
    }

    /// The entries of `namespace` with all labels of `selector`, in the order they were written.
    fn selected<'a>(&'a self, namespace: &'a str, selector: &'a Labels) -> impl Iterator<Item = &'a WorkloadEntry> {
        let candidates = match selector.first_key_value() {
            Some((key, value)) => {
                self.by_label.get(&(namespace, &**key, &**value)).map(Vec::as_slice).unwrap_or_default()
            }
            // A selector of nothing selects all.
            None => &[],
        };
        let all = if selector.is_empty() { self.entries } else { &[] };
        candidates
            .iter()
            .filter_map(|index| self.entries.get(*index))
            .chain(all)
            .filter(move |entry| entry.meta.namespace == namespace && selects(selector, &entry.spec.labels))
    }
}

/// Pods by name and by address, for the labels of EndpointSlice addresses.
struct PodIndex<'a> {
    by_name: HashMap<(&'a str, &'a str), &'a Labels>,
    by_address: HashMap<IpAddr, &'a Labels>,
}

impl<'a> PodIndex<'a> {
    fn new(pods: &'a [Pod]) -> Self {
        let by_name =
            pods.iter().map(|pod| ((pod.meta.namespace.as_str(), pod.meta.name.as_str()), &pod.meta.labels)).collect();
        let by_address = pods.iter().filter_map(|pod| Some((pod.address?, &pod.meta.labels))).collect();
        Self { by_name, by_address }
    }

    fn labels_of(&self, namespace: &str, address: &SliceAddress) -> Labels {
        let named = address.pod.as_deref().and_then(|pod| self.by_name.get(&(namespace, pod)));
        named.or_else(|| self.by_address.get(&address.address)).map(|labels| (*labels).clone()).unwrap_or_default()
    }
}
