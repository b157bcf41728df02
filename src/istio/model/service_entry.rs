//! `ServiceEntry` (Istio `networking/v1alpha3/service_entry.proto`): a service that Kubernetes does not know.

use super::scalar::Protocol;
use super::workload_entry::WorkloadSpec;
use super::{Labels, Meta};

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
