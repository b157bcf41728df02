//! Who sees what: `exportTo`, and what a Sidecar lets the mesh listener see (Istio's `SidecarScope`).

use crate::istio::model::destination_rule::DestinationRule;
use crate::istio::model::export::{self, ExportTo, Scope};
use crate::istio::model::proxy::{OutboundTrafficPolicy, Proxy};
use crate::istio::model::scalar::host;
use crate::istio::model::sidecar::{ImportFrom, Sidecar};
use crate::istio::model::virtual_service::VirtualService;
use crate::istio::model::{Labels, selects};

use super::{Service, World};

impl World {
    /// Whether a proxy of `namespace` sees this VirtualService.
    #[must_use]
    pub fn sees_virtual_service(&self, namespace: &str, service: &VirtualService) -> bool {
        let default = &self.proxy.mesh_config.default_virtual_service_export_to;
        sees(namespace, service.export_to.as_ref(), default, &service.meta.namespace)
    }

    /// Whether a proxy of `namespace` sees this DestinationRule; one of the same namespace it does in any case. The
    /// `workload_selector` is another question.
    #[must_use]
    pub fn sees_destination_rule(&self, namespace: &str, rule: &DestinationRule) -> bool {
        if rule.meta.namespace == namespace {
            return true;
        }
        let default = &self.proxy.mesh_config.default_destination_rule_export_to;
        sees(namespace, rule.export_to.as_ref(), default, &rule.meta.namespace)
    }

    /// Whether the Sidecar lets the mesh listener have a default route to this service.
    #[must_use]
    pub fn imports_service(&self, service: &Service) -> bool {
        self.imports(&service.namespace, |import| host::covers(import, &service.hostname))
    }

    /// Whether the Sidecar lets the mesh listener have the rules of this VirtualService.
    #[must_use]
    pub fn imports_virtual_service(&self, service: &VirtualService) -> bool {
        self.imports(&service.meta.namespace, |import| service.hosts.iter().any(|host| host::covers(import, host)))
    }

    /// `outboundTrafficPolicy.mode` of the mesh listener: the Sidecar's, else the mesh's.
    #[must_use]
    pub fn outbound_traffic_policy(&self) -> OutboundTrafficPolicy {
        let own = self.sidecar.as_ref().and_then(|sidecar| sidecar.outbound_traffic_policy);
        own.unwrap_or(self.proxy.mesh_config.outbound_traffic_policy)
    }

    fn imports(&self, namespace: &str, covers: impl Fn(&str) -> bool) -> bool {
        let Some(imports) = self.sidecar.as_ref().and_then(|sidecar| sidecar.egress.as_ref()) else { return true };
        let any = |excludes| {
            imports.iter().filter(|import| import.excludes == excludes).any(|import| {
                let from = match &import.namespace {
                    ImportFrom::Any => true,
                    ImportFrom::Nowhere => false,
                    ImportFrom::Namespace(name) => name == namespace,
                };
                from && covers(&import.host)
            })
        };
        any(false) && !any(true)
    }
}

fn sees(namespace: &str, written: Option<&ExportTo>, default: &[Scope], own: &str) -> bool {
    match written {
        Some(export_to) => export_to.reaches(namespace),
        None => export::resolve(default, own).reaches(namespace),
    }
}

/// The Sidecar of a proxy; of several that fit the first one written.
pub(super) fn own_sidecar<'s>(proxy: &Proxy, sidecars: &'s [Sidecar]) -> Option<&'s Sidecar> {
    let of = |namespace: &str, wanted: &dyn Fn(Option<&Labels>) -> bool| {
        sidecars
            .iter()
            .find(|sidecar| sidecar.meta.namespace == namespace && wanted(sidecar.workload_selector.as_ref()))
    };
    let everyone = |selector: Option<&Labels>| selector.is_none_or(Labels::is_empty);
    let this_one = |selector: Option<&Labels>| selector.is_some_and(|labels| selects(labels, &proxy.labels));
    of(&proxy.namespace, &|selector| !everyone(selector) && this_one(selector))
        .or_else(|| of(&proxy.namespace, &everyone))
        .or_else(|| of(&proxy.mesh_config.root_namespace, &everyone))
}
