//! The resources of a configuration as typed values, field for field Istio's, before anything is resolved.
//!
//! Each kind has one file: its types, the table of *all* fields that Istio gives it (enforced here or not), and the
//! function that reads it. `world` is the only user of the model; `plan` sees the same types with names resolved.

use super::damage::Damage;
use super::problem::Source;

mod cpus;
pub mod credential;
pub mod destination_rule;
pub mod dns;
pub mod export;
pub mod gateway;
pub mod kube;
mod locality;
pub(super) mod mesh_config;
pub(super) mod object_meta;
pub mod proxy;
pub mod scalar;
pub mod secret;
pub(super) mod server_tls;
pub mod service_entry;
pub mod sidecar;
pub mod virtual_service;
pub mod workload_entry;
pub(super) mod workload_group;

pub use locality::Locality;
pub use scalar::labels::{Labels, selects};

/// The placeholder for a name that could not be read; no name has this character.
const UNREADABLE: &str = "?";

/// A resource's `metadata`, with the place it was read from.
#[derive(Debug, Clone)]
pub struct Meta {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`; `default` when absent.
    pub namespace: String,
    /// `metadata.labels`.
    pub labels: Labels,
    /// `metadata.annotations`.
    pub annotations: Labels,
    /// File, line and `Kind/namespace/name`.
    pub source: Source,
}

impl Meta {
    /// Whether it has a name that could be read.
    pub(super) fn is_named(&self) -> bool {
        self.name != UNREADABLE
    }

    /// `namespace/name`.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// A resource that can be withheld: with `--permissive` a field of it is left out, without which more would be served than
/// is written.
pub(super) trait Withhold: Sized {
    /// The consequence, for people.
    const CONSEQUENCE: &'static str;

    /// The resource in a form that serves nothing; `None`: leaving it out has that effect.
    fn withhold(self) -> Option<Self>;
}

/// Resources that only add endpoints, labels or credentials.
macro_rules! left_out_when_withheld {
    ($($resource:ty),*) => {
        $(impl Withhold for $resource {
            const CONSEQUENCE: &'static str = "it is left out";

            fn withhold(self) -> Option<Self> {
                None
            }
        })*
    };
}
left_out_when_withheld!(workload_entry::WorkloadEntry, kube::Slice, kube::Pod, secret::KubeSecret);

/// All resources as they were read, each kind in the order of the files and documents.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) gateways: Vec<gateway::Gateway>,
    pub(super) virtual_services: Vec<virtual_service::VirtualService>,
    pub(super) destination_rules: Vec<destination_rule::DestinationRule>,
    pub(super) service_entries: Vec<service_entry::ServiceEntry>,
    pub(super) sidecars: Vec<sidecar::Sidecar>,
    pub(super) workload_entries: Vec<workload_entry::WorkloadEntry>,
    pub(super) kube_services: Vec<kube::KubeService>,
    pub(super) endpoint_slices: Vec<kube::Slice>,
    pub(super) endpoints: Vec<kube::Slice>,
    pub(super) pods: Vec<kube::Pod>,
    pub(super) secrets: Vec<secret::KubeSecret>,
    pub(super) proxy: Option<proxy::Proxy>,
    /// Which fields of all these could not be read.
    pub(super) damage: Damage,
}

impl Model {
    /// Adds a later model; `false`: there would be two Proxies.
    pub(super) fn absorb(&mut self, later: Self) -> bool {
        let Self {
            gateways,
            virtual_services,
            destination_rules,
            service_entries,
            sidecars,
            workload_entries,
            kube_services,
            endpoint_slices,
            endpoints,
            pods,
            secrets,
            proxy,
            damage,
        } = later;
        if self.proxy.is_some() && proxy.is_some() {
            return false;
        }
        self.gateways.extend(gateways);
        self.virtual_services.extend(virtual_services);
        self.destination_rules.extend(destination_rules);
        self.service_entries.extend(service_entries);
        self.sidecars.extend(sidecars);
        self.workload_entries.extend(workload_entries);
        self.kube_services.extend(kube_services);
        self.endpoint_slices.extend(endpoint_slices);
        self.endpoints.extend(endpoints);
        self.pods.extend(pods);
        self.secrets.extend(secrets);
        self.proxy = self.proxy.take().or(proxy);
        self.damage.absorb(damage);
        true
    }
}

#[cfg(test)]
mod tests;
