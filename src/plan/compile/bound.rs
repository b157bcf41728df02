//! The VirtualServices that this proxy sees, their order, and the rules of each with those of its delegates inserted.

use crate::istio::model::export::{self, ExportTo};
use crate::istio::model::virtual_service::VirtualService;
use crate::istio::problem::Problem;
use crate::istio::world::World;
use crate::plan::ProxySettings;

use super::delegate::Delegates;
use super::rule::Rule;

/// A VirtualService with hosts, which this proxy sees.
#[derive(Debug)]
pub(super) struct Bound<'w> {
    pub(super) service: &'w VirtualService,
    pub(super) rules: Vec<Rule<'w>>,
}

/// The VirtualServices that this proxy sees, as Istio orders them: of its own namespace alone, then exported to it by name, then
/// everyone's; within each the order of the documents (`PushContext.VirtualServicesForGateway`).
pub(super) fn visible<'w>(world: &'w World, settings: &ProxySettings, problems: &mut Vec<Problem>) -> Vec<Bound<'w>> {
    let own = settings.namespace.as_str();
    let delegates = Delegates::of(world);
    let mut seen: Vec<_> = world
        .virtual_services
        .iter()
        .filter(|service| !service.hosts.is_empty() && world.sees_virtual_service(own, service))
        .map(|service| {
            let private = service.meta.namespace == own;
            (if is_public(world, service) { 2 } else { u8::from(!private) }, service)
        })
        .collect();
    seen.sort_by_key(|(rank, _)| *rank);
    seen.into_iter().map(|(_, service)| Bound { service, rules: delegates.rules_of(service, problems) }).collect()
}

fn is_public(world: &World, service: &VirtualService) -> bool {
    match &service.export_to {
        Some(export_to) => *export_to == ExportTo::Everyone,
        None => world.proxy.mesh_config.default_virtual_service_export_to.contains(&export::Scope::Everyone),
    }
}
