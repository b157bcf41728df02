//! Whether a request, or a connection, can get to a rule and to its destinations, as far as the documents tell: every check of a
//! reference uses this before it reports a consequence. A place without traffic is a note at most.

use std::ptr::from_ref;

use foldhash::{HashMap, HashMapExt};

use super::{Checks, conditions};
use crate::istio::model::virtual_service::{
    HttpMatch, HttpRoute, L4Match, L4Route, MESH, RouteDestination, VirtualService, lies_within,
};
use crate::istio::model::{Labels, selects};
use crate::istio::world::World;

/// Why no traffic gets to a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unreached {
    /// The rule has been reported for it already.
    Said,
    /// Because of this.
    Since(String),
}

impl Unreached {
    fn since(why: &str) -> Option<Self> {
        Some(Self::Since(why.to_owned()))
    }
}

/// By name of the delegate, the rules that delegate to it.
pub(super) type Roots<'a> = HashMap<String, Vec<(&'a VirtualService, &'a HttpRoute)>>;

/// The rules with `delegate`, by the delegate's name, without those whose delegate is not visible.
pub(super) fn roots(world: &World) -> Roots<'_> {
    let mut roots = Roots::new();
    for service in &world.virtual_services {
        for route in &service.http {
            if let Some(name) = &route.delegate {
                roots.entry(name.clone()).or_default().push((service, route));
            }
        }
    }
    if roots.is_empty() {
        return roots;
    }
    for delegate in world.virtual_services.iter().filter(|service| service.hosts.is_empty()) {
        if let Some(own) = roots.get_mut(&delegate.meta.full_name()) {
            own.retain(|(root, _)| world.sees_virtual_service(&root.meta.namespace, delegate));
        }
    }
    roots
}

/// By host, the VirtualService whose HTTP rules apply at the mesh: there several are not merged.
pub(super) type Owners<'a> = HashMap<&'a str, &'a VirtualService>;

/// The first one for each host.
pub(super) fn mesh_owners(world: &World) -> Owners<'_> {
    let mut owners = Owners::new();
    for service in world.virtual_services.iter().filter(|service| claims(world, service)) {
        for name in &service.hosts {
            owners.entry(name).or_insert(service);
        }
    }
    owners
}

/// Whether a VirtualService has rules for requests at the mesh.
fn claims(world: &World, service: &VirtualService) -> bool {
    // Rules for connections are put together there, too.
    !service.http.is_empty()
        && service.gateways.iter().any(|gateway| gateway == MESH)
        && world.sees_virtual_service(&world.proxy.namespace, service)
}

impl<'a> Checks<'a> {
    /// The VirtualService that owns one of this one's hosts at the mesh.
    pub(super) fn mesh_owner(&self, service: &VirtualService, host: &str) -> Option<&'a VirtualService> {
        let owner = self.mesh_owners.get(host).copied().filter(|owner| !std::ptr::eq(*owner, service))?;
        claims(self.world, service).then_some(owner)
    }

    /// Why no request gets to the rules of a VirtualService; no connection, if `of_connections`.
    pub(super) fn unreached_service(&self, service: &VirtualService, of_connections: bool) -> Option<Unreached> {
        if service.hosts.is_empty() {
            let roots = self.roots.get(&service.meta.full_name()).map(Vec::as_slice).unwrap_or_default();
            if roots.is_empty() {
                return Unreached::since("no rule delegates to it");
            }
            // A delegate cannot delegate.
            let reached = |(root, rule): &(&VirtualService, &HttpRoute)| {
                let of_root = || self.unreached_service(root, false);
                !root.hosts.is_empty() && self.unreached_rule(root, rule).or_else(of_root).is_none()
            };
            if !roots.iter().any(reached) {
                return Unreached::since("none gets to the rule that delegates to it");
            }
            return None;
        }
        if !self.world.sees_virtual_service(&self.world.proxy.namespace, service) {
            return Unreached::since("the VirtualService is not exported to the proxy's namespace");
        }
        if !service.gateways.iter().any(|gateway| self.comes_in(service, gateway, of_connections)) {
            return Unreached::since("none comes in for its hosts at its gateways");
        }
        if !of_connections && service.gateways.iter().all(|gateway| self.redirects(service, gateway)) {
            return Unreached::since("every one is redirected to HTTPS");
        }
        None
    }

    /// Whether every request for a VirtualService's hosts that comes in at a gateway is redirected to HTTPS, before any rule.
    fn redirects(&self, service: &VirtualService, gateway: &str) -> bool {
        let Some(served) = self.gateways.get(gateway) else { return false };
        let open = &served.open;
        !served.gateway.servers.is_empty()
            && !service.hosts.iter().any(|host| open.meets(host, &service.meta.namespace))
    }

    /// Whether requests for a VirtualService may come in at one of its gateways. A Gateway that is not there may be in
    /// another file, and without a Proxy document the proxy may be any.
    fn comes_in(&self, service: &VirtualService, gateway: &str, of_connections: bool) -> bool {
        let proxy = &self.world.proxy;
        if gateway == MESH {
            let own = self.world.sidecar.as_ref().is_some_and(|sidecar| sidecar.egress.is_some());
            let listens = self.is_any_proxy() || proxy.mesh_listen.is_some() || own;
            let taken = |host: &String| self.mesh_owner(service, host).is_some();
            return listens && (of_connections || !service.hosts.iter().all(taken));
        }
        let Some(served) = self.gateways.get(gateway) else { return true };
        let selected = proxy.labels.is_empty() || selects(&served.gateway.selector, &proxy.labels);
        let meets = served.gateway.servers.is_empty()
            || service.hosts.iter().any(|host| served.meets(host, &service.meta.namespace));
        selected && meets
    }

    /// Whether no document says which proxy this is.
    pub(super) fn is_any_proxy(&self) -> bool {
        self.world.proxy.source.root.is_none()
    }

    /// Why no request that comes in for its VirtualService gets to a rule.
    fn unreached_rule(&self, service: &VirtualService, route: &HttpRoute) -> Option<Unreached> {
        if service.hosts.is_empty() && self.lies_within_no_root(service, route) {
            return Some(Unreached::Said);
        }
        if self.shadowed.contains(&from_ref(route)) || conditions::all_never(self, route) {
            return Some(Unreached::Said);
        }
        let possible = |block: &HttpMatch| {
            !self.never.contains(&from_ref(block))
                && !self.shadowed_blocks.contains(&from_ref(block))
                && self.is_for_proxy(
                    service,
                    (&block.gateways, block.port),
                    true,
                    &block.source_labels,
                    &block.source_namespace,
                )
        };
        if !route.matches.is_empty() && !route.matches.iter().any(possible) {
            return Unreached::since("its conditions are for other proxies, gateways or ports");
        }
        None
    }

    /// Whether a delegate's rule is left out wherever requests get to the delegate, as is told where its rules are put together.
    fn lies_within_no_root(&self, delegate: &VirtualService, route: &HttpRoute) -> bool {
        let roots = self.roots.get(&delegate.meta.full_name()).map(Vec::as_slice).unwrap_or_default();
        let left_out = |(_, root): &(&VirtualService, &HttpRoute)| !lies_within(&root.matches, &route.matches);
        self.unreached_service(delegate, false).is_none() && !roots.is_empty() && roots.iter().all(left_out)
    }

    /// Whether a block is for a gateway and port where this proxy listens, and for this proxy: where an HTTP block names
    /// gateways, its source has no effect (`beside`).
    fn is_for_proxy(
        &self,
        service: &VirtualService,
        (gateways, port): (&[String], Option<u16>),
        beside: bool,
        labels: &Labels,
        namespace: &Option<String>,
    ) -> bool {
        let proxy = &self.world.proxy;
        // A delegate has no gateways of its own.
        let own = |name: &String| service.gateways.is_empty() || service.gateways.contains(name);
        let named = gateways.is_empty() || gateways.iter().any(own);
        let source = beside && !gateways.is_empty()
            || self.is_any_proxy()
            || selects(labels, &proxy.labels) && namespace.as_ref().is_none_or(|own| *own == proxy.namespace);
        let among = if gateways.is_empty() { &service.gateways } else { gateways };
        let at_port = port.is_none_or(|port| {
            among.is_empty()
                || among.iter().any(|name| self.gateways.get(name).is_none_or(|served| served.ports.contains(&port)))
        });
        named && source && at_port
    }

    /// Why no such request gets to any destination of a rule.
    pub(super) fn unreached_destinations(&self, service: &VirtualService, route: &HttpRoute) -> Option<Unreached> {
        if let Some(unreached) = self.unreached_rule(service, route) {
            return Some(unreached);
        }
        let abort = route.fault.as_ref().and_then(|fault| fault.abort.as_ref());
        if abort.is_some_and(|abort| abort.percent >= 100.0) {
            return Unreached::since("every one is aborted");
        }
        if route.redirect.is_some() || route.direct_response.is_some() && route.delegate.is_none() {
            return Unreached::since("every one is answered here");
        }
        None
    }

    /// Why no connection that comes in for its VirtualService gets to a rule of `tls` or `tcp`.
    pub(super) fn unreached_stream(
        &self,
        service: &VirtualService,
        earlier: &[L4Route],
        route: &L4Route,
    ) -> Option<Unreached> {
        // Reported where the listeners are compiled.
        if earlier.iter().any(|rule| rule.matches.is_empty()) {
            return Some(Unreached::Said);
        }
        let at_gateways = !service.gateways.iter().any(|gateway| gateway == MESH);
        let possible = |block: &L4Match| {
            let place = (block.gateways.as_slice(), block.port);
            // At a Gateway the source is not looked at.
            let (none, any) = (&Labels::new(), &None);
            let (labels, namespace) =
                if at_gateways { (none, any) } else { (&block.source_labels, &block.source_namespace) };
            self.is_for_proxy(service, place, false, labels, namespace)
        };
        if !route.matches.is_empty() && !route.matches.iter().any(possible) {
            return Unreached::since("its conditions are for other proxies, gateways or ports");
        }
        None
    }

    /// Why no request goes to one of several destinations, by its weight. If all weights are 0, that is an error of its own.
    pub(super) fn unweighted(weight: u32, route: &[RouteDestination]) -> Option<Unreached> {
        let others = route.iter().any(|to| to.weight > 0);
        match (weight, route.len()) {
            (0, _) if others => Unreached::since("its weight is 0"),
            (0, 2..) => Some(Unreached::Said),
            _ => None,
        }
    }

    /// Why no copy is sent to a mirror.
    pub(super) fn unmirrored(percent: f64) -> Option<Unreached> {
        if percent <= 0.0 { Unreached::since("0 % of the requests are mirrored") } else { None }
    }
}
