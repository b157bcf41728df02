//! The Kubernetes kinds that say where services live: `Service`, `EndpointSlice`, `Endpoints`, `Pod`.
//!
//! Only the fields that move traffic are kept. Kubernetes itself has validated these documents, and they carry many
//! fields of no meaning here (affinity, probes, status): unlike in Istio's kinds, other fields are passed over.

use std::net::IpAddr;

use super::scalar::Protocol;
use super::{Labels, Meta};

/// A core/v1 Service.
#[derive(Debug, Clone)]
pub struct KubeService {
    /// Name, namespace, place.
    pub meta: Meta,
    /// `spec.ports`, without UDP and SCTP.
    pub ports: Vec<KubePort>,
    /// `spec.selector`; empty: endpoints come from EndpointSlice or Endpoints alone.
    pub selector: Labels,
    /// `spec.clusterIP: None`.
    pub headless: bool,
}

/// One entry of a Service's `ports`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubePort {
    /// `port`: what clients address.
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
