//! Visibility: `exportTo`, and a Sidecar's limits for the outbound listeners (Istio's `SidecarScope`).

use crate::istio::model::destination_rule::DestinationRule;
use crate::istio::model::export::{self, ExportTo, Scope};
use crate::istio::model::proxy::{OutboundTrafficPolicy, Proxy};
use crate::istio::model::scalar::host;
use crate::istio::model::sidecar::{Capture, Egress, ImportFrom, ListenerPort, Sidecar};
use crate::istio::model::virtual_service::{Destination, VirtualService};
use crate::istio::model::{Labels, selects};
use crate::istio::problem::Source;

use super::{Service, World};

/// A service that an outbound listener does not see.
#[derive(Debug, Clone)]
pub struct Hidden {
    /// The port of the Sidecar's listener; `None`: the mesh listener.
    pub listener: Option<u16>,
    /// Its host name.
    pub hostname: String,
    /// Its ports that are not visible.
    pub ports: Vec<u16>,
    /// Whether there are others, which are.
    pub in_part: bool,
    /// Where it is declared.
    pub source: Source,
    /// Why it is not seen.
    pub why: Why,
}

/// Why a service is not seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It is not exported to this namespace, the proxy's.
    NotExported(String),
    /// This Sidecar does not import it, as this field of it says.
    NotImported(String, String),
}

impl Hidden {
    /// Whether `host` names it on this port, if there is one.
    #[must_use]
    pub fn covers(&self, host: &str, port: Option<u16>) -> bool {
        let meant = !self.in_part || port.is_some_and(|port| self.ports.contains(&port));
        meant && host::covers(&self.hostname, host)
    }
}

/// The visibility of one port of an outbound listener.
#[derive(Debug, Clone, Copy)]
pub struct View<'w> {
    /// The listener of the Sidecar that decides; `None`: there is none.
    pub egress: Option<&'w Egress>,
    /// Whether everything is visible where `egress` is `None`.
    everything: bool,
}

impl World {
    /// The visibility on this service port of the mesh listener; `None`: on ports without a listener of the Sidecar
    /// (Istio's `GetEgressListenerForRDS`).
    #[must_use]
    pub fn view(&self, port: Option<u16>) -> View<'_> {
        let Some(listeners) = self.sidecar.as_ref().and_then(|sidecar| sidecar.egress.as_ref()) else {
            return View { egress: None, everything: true };
        };
        let own = port.and_then(|number| {
            listeners.iter().find(|listener| listener.port.is_some_and(|port| port.number == number && !port.is_proxy))
        });
        View { egress: own.or_else(|| listeners.iter().find(|listener| listener.port.is_none())), everything: false }
    }

    /// The Sidecar's egress listeners that have a port, with whether each is bound itself: without redirection,
    /// listeners with the default capture mode are bound, too.
    pub fn egress_ports(&self) -> impl Iterator<Item = (&Egress, ListenerPort, bool)> {
        let redirected = self.proxy.mesh_listen.is_some();
        let listeners = self.sidecar.as_ref().and_then(|sidecar| sidecar.egress.as_ref());
        listeners.into_iter().flatten().filter_map(move |listener| {
            let port = listener.port?;
            let bound = match listener.capture {
                Capture::Bound => true,
                Capture::Redirected => false,
                // Clients of a proxy connect to it by name.
                Capture::Default => !redirected || port.is_proxy,
            };
            Some((listener, port, bound))
        })
    }

    /// The services that the mesh listener and the Sidecar's own do not see.
    #[must_use]
    pub fn hidden(&self) -> Vec<Hidden> {
        let mut hidden = Vec::new();
        if self.proxy.mesh_listen.is_some() {
            hidden.extend(self.hidden_from(None, &|_| true, &|port| self.view(Some(port))));
        }
        for (egress, port, _) in self.egress_ports().filter(|(.., bound)| *bound) {
            let meant = |number: u16| port.is_proxy || number == port.number;
            hidden.extend(self.hidden_from(Some(port.number), &meant, &|_| View::of(egress)));
        }
        hidden
    }

    fn hidden_from<'w>(
        &'w self,
        listener: Option<u16>,
        meant: &dyn Fn(u16) -> bool,
        view: &dyn Fn(u16) -> View<'w>,
    ) -> Vec<Hidden> {
        let own = &self.proxy.namespace;
        let hidden = |service: &Service| {
            let numbers = || service.ports.iter().map(|port| port.number).filter(|number| meant(*number));
            let exported = service.export_to.reaches(own);
            let unseen = |number: &u16| !exported || !view(*number).service(service);
            let ports: Vec<u16> = numbers().filter(unseen).collect();
            let first = *ports.first()?;
            let why = match (&self.sidecar, exported) {
                (_, false) => Why::NotExported(own.clone()),
                (Some(sidecar), true) => {
                    Why::NotImported(sidecar.meta.source.resource.to_string(), view(first).path("hosts"))
                }
                (None, true) => return None,
            };
            let (hostname, source) = (service.hostname.clone(), service.source.clone());
            Some(Hidden { listener, hostname, in_part: numbers().count() > ports.len(), ports, source, why })
        };
        self.services.iter().filter_map(hidden).collect()
    }

    /// `outboundTrafficPolicy.egressProxy`: the destination of undeclared hosts.
    #[must_use]
    pub fn egress_proxy(&self) -> Option<&Destination> {
        self.sidecar.as_ref()?.egress_proxy.as_ref()
    }

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

    /// `outboundTrafficPolicy.mode` of the mesh listener: the Sidecar's, else the mesh's.
    #[must_use]
    pub fn outbound_traffic_policy(&self) -> OutboundTrafficPolicy {
        let own = self.sidecar.as_ref().and_then(|sidecar| sidecar.outbound_traffic_policy);
        own.unwrap_or(self.proxy.mesh_config.outbound_traffic_policy)
    }
}

impl<'w> View<'w> {
    /// The visibility of this listener of a Sidecar.
    #[must_use]
    pub fn of(egress: &'w Egress) -> Self {
        Self { egress: Some(egress), everything: false }
    }

    /// Whether a service has a default route in it. Exports are another question.
    #[must_use]
    pub fn service(&self, service: &Service) -> bool {
        self.imports(&service.namespace, |import| host::covers(import, &service.hostname))
    }

    /// Whether the rules of this VirtualService count in it.
    #[must_use]
    pub fn virtual_service(&self, service: &VirtualService) -> bool {
        self.imports(&service.meta.namespace, |import| service.hosts.iter().any(|host| host::covers(import, host)))
    }

    /// The path of a field of its listener in the Sidecar, which may not be written.
    fn path(&self, field: &str) -> String {
        self.egress.map_or_else(|| "spec.egress".to_owned(), |egress| format!("spec.egress[{}].{field}", egress.index))
    }

    fn imports(&self, namespace: &str, covers: impl Fn(&str) -> bool) -> bool {
        let Some(egress) = self.egress else { return self.everything };
        let any = |excludes| {
            egress.hosts.iter().filter(|import| import.excludes == excludes).any(|import| {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::istio::{Options, read_text};

    /// Two services, and a VirtualService for one of them in namespace `shop`; and what else `yaml` says.
    #[track_caller]
    fn world(yaml: &str) -> World {
        const REST: &str = "
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: store, annotations: {networking.istio.io/exportTo: 'shop, .'}}
spec: {ports: [{port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec: {hosts: [web, web.example.com], http: [{redirect: {uri: /}}]}
";
        let text = format!("{yaml}{REST}");
        let (world, problems) = read_text(&text, Options::default());
        assert!(!problems.iter().any(|problem| problem.is_error()), "{problems:?}");
        world
    }

    fn proxy(labels: &str, mesh: &str) -> String {
        format!(
            "---\napiVersion: ringway.dev/v1\nkind: Proxy\nmetadata: {{name: p, namespace: shop, labels: {labels}}}\nspec: {{meshConfig: {mesh}}}\n"
        )
    }

    fn sidecar(name: &str, namespace: &str, spec: &str) -> String {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{spec}}}\n"
        )
    }

    /// Which of the services web and db, and whether the VirtualService.
    fn imported(world: &World) -> [bool; 3] {
        let service = |name: &str| world.view(None).service(world.services.get(name).expect("the service is known"));
        [
            service("web.shop.svc.cluster.local"),
            service("db.store.svc.cluster.local"),
            world.view(None).virtual_service(&world.virtual_services[0]),
        ]
    }

    #[test]
    fn a_sidecar_says_what_the_mesh_listener_sees() {
        let with = |hosts: &str| {
            imported(&world(&(proxy("{}", "{}") + &sidecar("s", "shop", &format!("egress: [{{hosts: [{hosts}]}}]")))))
        };
        assert_eq!(imported(&world("")), [true; 3]);
        assert_eq!(with("'*/*'"), [true; 3]);
        assert_eq!(with("'./*'"), [true, false, true]);
        assert_eq!(with("'store/*'"), [false, true, false]);
        assert_eq!(with("'*/db.store.svc.cluster.local'"), [false, true, false]);
        assert_eq!(with("'*/*.example.com'"), [false, false, true]);
        assert_eq!(with("'*/*', '~store/*'"), [true, false, true]);
        assert_eq!(with("'~/*'"), [false; 3]);
    }

    #[test]
    fn a_listener_with_a_port_says_it_for_that_port() {
        let mesh = "---\napiVersion: ringway.dev/v1\nkind: Proxy\nmetadata: {name: p, namespace: shop}\nspec: {mesh: {listen: '127.0.0.1:15001'}}\n";
        let egress = "egress: [{port: {number: 80, protocol: HTTP}, hosts: ['store/*']}, {port: {number: 3128, protocol: \
                      HTTP_PROXY}, hosts: ['./*']}, {hosts: ['*/*']}]";
        let world = world(&(mesh.to_owned() + &sidecar("s", "shop", egress)));
        let sees = |port: Option<u16>| {
            let service =
                |name: &str| world.view(port).service(world.services.get(name).expect("the service is known"));
            [service("web.shop.svc.cluster.local"), service("db.store.svc.cluster.local")]
        };
        assert_eq!(sees(Some(80)), [false, true]);
        assert_eq!(sees(Some(81)), [true, true]);
        assert_eq!(sees(Some(3128)), [true, true], "the port of a proxy is no service's");
        assert_eq!(sees(None), [true, true]);
        let hidden: Vec<_> =
            world.hidden().into_iter().map(|hidden| (hidden.listener, hidden.hostname, hidden.why)).collect();
        let not_in = |field: &str| Why::NotImported("Sidecar/shop/s".to_owned(), field.to_owned());
        assert_eq!(
            hidden,
            [
                (None, "web.shop.svc.cluster.local".to_owned(), not_in("spec.egress[0].hosts")),
                (Some(3128), "db.store.svc.cluster.local".to_owned(), not_in("spec.egress[1].hosts")),
            ]
        );
    }

    #[test]
    fn no_listener_at_all_is_as_if_nothing_were_written() {
        let with = |egress: &str| imported(&world(&(proxy("{}", "{}") + &sidecar("s", "shop", egress))));
        assert_eq!(with("egress: [], outboundTrafficPolicy: {mode: ALLOW_ANY}"), [true; 3]);
        assert_eq!(with("egress: [{port: {number: 9, protocol: HTTP}, hosts: ['*/*']}]"), [false; 3]);
    }

    #[test]
    fn the_most_specific_sidecar_is_the_proxys() {
        let all = sidecar("root", "istio-system", "outboundTrafficPolicy: {mode: REGISTRY_ONLY}")
            + &sidecar("other", "store", "outboundTrafficPolicy: {mode: REGISTRY_ONLY}")
            + &sidecar(
                "picky",
                "shop",
                "workloadSelector: {labels: {app: a}}, outboundTrafficPolicy: {mode: ALLOW_ANY}",
            )
            + &sidecar("plain", "shop", "egress: [{hosts: ['./*']}]");
        let own = |yaml: &str| world(yaml).sidecar.map(|sidecar| sidecar.meta.name);
        assert_eq!(own(&(proxy("{app: a}", "{}") + &all)).as_deref(), Some("picky"));
        assert_eq!(own(&(proxy("{app: b}", "{}") + &all)).as_deref(), Some("plain"));
        assert_eq!(
            own(&(proxy("{}", "{rootNamespace: store}") + &all.replace("shop", "far"))).as_deref(),
            Some("other")
        );
        assert_eq!(own(&(proxy("{}", "{}") + &all.replace("istio-system", "far").replace("shop", "far"))), None);
    }

    #[test]
    fn a_sidecars_outbound_traffic_policy_goes_before_the_meshs() {
        let mesh = "{outboundTrafficPolicy: {mode: REGISTRY_ONLY}}";
        let policy = |spec: &str| world(&(proxy("{}", mesh) + &sidecar("s", "shop", spec))).outbound_traffic_policy();
        assert_eq!(policy("egress: [{hosts: ['*/*']}]"), OutboundTrafficPolicy::RegistryOnly);
        assert_eq!(policy("outboundTrafficPolicy: {mode: ALLOW_ANY}"), OutboundTrafficPolicy::AllowAny);
        assert_eq!(policy("outboundTrafficPolicy: {}"), OutboundTrafficPolicy::RegistryOnly);
        assert_eq!(world("").outbound_traffic_policy(), OutboundTrafficPolicy::AllowAny);
    }

    #[test]
    fn what_is_not_exported_is_not_seen_elsewhere() {
        let reaches = |mesh: &str| {
            let world = world(&proxy("{}", mesh));
            let service = |name: &str, from: &str| {
                world.services.get(name).expect("the service is known").export_to.reaches(from)
            };
            [
                service("web.shop.svc.cluster.local", "far"),
                service("db.store.svc.cluster.local", "shop"),
                service("db.store.svc.cluster.local", "store"),
                service("db.store.svc.cluster.local", "far"),
                world.sees_virtual_service("far", &world.virtual_services[0]),
                world.sees_virtual_service("shop", &world.virtual_services[0]),
            ]
        };
        assert_eq!(reaches("{}"), [true, true, true, false, true, true]);
        let own = "{defaultServiceExportTo: [.], defaultVirtualServiceExportTo: [far]}";
        assert_eq!(reaches(own), [false, true, true, false, true, false]);
    }
}
