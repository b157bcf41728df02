//! `WorkloadEntry` (Istio `networking/v1alpha3/workload_entry.proto`): one process on a host, with labels.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Labels, Meta};

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
    /// `labels` of the spec; for a document, with those of `metadata.labels` that the spec does not override.
    pub labels: Labels,
    /// `locality`: `region/zone/subzone`; empty when absent. Read, not used for balancing yet.
    pub locality: String,
    /// `weight`; 1 when absent or 0.
    pub weight: u32,
}
