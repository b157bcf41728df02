//! Broken references to delegates, and unused delegates.

use foldhash::{HashMap, HashSet, HashSetExt};

use super::{Checks, rule_path};
use crate::istio::model::virtual_service::VirtualService;
use crate::istio::reader::did_you_mean;

impl Checks<'_> {
    /// Delegates that do not exist, that are not one, that are not visible; and unused delegates.
    pub(super) fn delegates(&mut self) {
        let world = self.world;
        let takes_part = |service: &VirtualService| {
            service.hosts.is_empty() || service.http.iter().any(|route| route.delegate.is_some())
        };
        if !world.virtual_services.iter().any(takes_part) {
            return;
        }
        let by_name: HashMap<String, &VirtualService> =
            world.virtual_services.iter().map(|service| (service.meta.full_name(), service)).collect();
        let mut asked = HashSet::new();
        for service in &world.virtual_services {
            for route in &service.http {
                let Some(name) = &route.delegate else { continue };
                asked.insert(name.as_str());
                let path = format!("{}.delegate", rule_path(route));
                if !by_name.contains_key(name) && self.damage.of_kind("VirtualService", &["metadata"]) {
                    continue;
                }
                let why = match by_name.get(name) {
                    None => format!("there is no VirtualService \"{name}\" [IST0101]"),
                    Some(other) if !other.hosts.is_empty() => {
                        format!("VirtualService \"{name}\" has hosts: no delegate")
                    }
                    Some(other) if !world.sees_virtual_service(&service.meta.namespace, other) => {
                        format!("VirtualService \"{name}\" is not exported to \"{}\"", service.meta.namespace)
                    }
                    Some(_) => continue,
                };
                let instead = match by_name.get(name) {
                    None => {
                        let names: Vec<_> = by_name.keys().take(self.comparisons_left).collect();
                        self.comparisons_left -= names.len();
                        did_you_mean(name, &names)
                    }
                    Some(other) if !other.hosts.is_empty() => "a delegate has neither hosts nor gateways".to_owned(),
                    Some(_) => "add that namespace to its \"exportTo\"".to_owned(),
                };
                self.broken(service, &path, format!("{why}: the rule is left out"), instead);
            }
        }
        let is_delegate =
            |service: &&VirtualService| service.hosts.is_empty() && !service.meta.source.has("spec.hosts[0]");
        let knows_all = !self.damage.of_kind_with("VirtualService", ".delegate")
            && !self.damage.of_kind("VirtualService", &["metadata"]);
        for service in world.virtual_services.iter().filter(is_delegate).filter(|_| knows_all) {
            if !asked.contains(service.meta.full_name().as_str()) {
                let what = "no VirtualService delegates to this one: no effect".to_owned();
                let instead = "write \"delegate\" in a rule of another, or \"hosts\" here";
                self.sure.push(service.meta.source.warning("spec", what, instead));
            }
        }
    }
}
