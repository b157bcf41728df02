//! `hosts` of Gateway servers and VirtualServices: the virtual hosts of a listener.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv6Addr;

use crate::istio::model::gateway::Server;
use crate::istio::model::virtual_service::VirtualService;
use crate::plan::{Route, VirtualHost};

use super::listener::{Served, gateway_name};
use super::route::{differs_by_gateway, is_catch_all};
use super::{Compiler, Scope, hostname};

/// A virtual host in the making.
#[derive(Default)]
struct Draft {
    routes: Vec<Route>,
    /// What is in it, so that two servers for one host do not add it twice.
    members: BTreeSet<(usize, String)>,
}

impl Compiler<'_> {
    /// The virtual hosts of the servers that share a listener: one for each host that a server and a VirtualService
    /// bound to its Gateway have in common, sorted by name.
    pub(super) fn virtual_hosts(&mut self, port: u16, servers: &[Served<'_>]) -> Vec<VirtualHost> {
        let all = self.bound.clone();
        let mut by_gateway: HashMap<&str, Vec<usize>> = HashMap::new();
        for (number, bound) in all.iter().enumerate() {
            for gateway in &bound.service.gateways {
                by_gateway.entry(gateway).or_default().push(number);
            }
        }
        let mut compiled: HashMap<(usize, String), Vec<Route>> = HashMap::new();
        let mut drafts: BTreeMap<String, Draft> = BTreeMap::new();
        for served in servers {
            let gateway = gateway_name(served.gateway);
            let scope = Scope { gateway: &gateway, port: Some(port) };
            let hosts = ServerHosts::of(served.server);
            for number in by_gateway.get(gateway.as_str()).into_iter().flatten() {
                let Some(bound) = all.get(*number) else { continue };
                let shared = hosts.intersection(bound.service);
                if shared.is_empty() {
                    continue;
                }
                // Only `match.gateways` makes a difference between the gateways of a listener.
                let member = (*number, if differs_by_gateway(bound) { gateway.clone() } else { String::new() });
                let routes = compiled.entry(member.clone()).or_insert_with(|| self.routes(bound, scope));
                // A VirtualService with no rule for this port does not even make a virtual host.
                for host in shared.into_iter().filter(|_| !routes.is_empty()) {
                    let draft = drafts.entry(host).or_default();
                    if draft.members.insert(member.clone()) {
                        draft.routes.extend_from_slice(routes);
                    }
                }
            }
        }
        let made = drafts.into_iter().map(|(host, draft)| {
            VirtualHost::new(&format!("{host}:{port}"), [host.as_str().into()], catch_alls_last(draft.routes))
        });
        made.collect()
    }
}

/// The `hosts` of one server, ready to be looked up by name.
struct ServerHosts<'w> {
    exact: BTreeMap<&'w str, Vec<Option<&'w str>>>,
    wildcards: Vec<(&'w str, Option<&'w str>)>,
}

impl<'w> ServerHosts<'w> {
    fn of(server: &'w Server) -> Self {
        let mut hosts = Self { exact: BTreeMap::new(), wildcards: Vec::new() };
        for host in &server.hosts {
            let namespace = host.namespace.as_deref();
            if hostname::wildcard(&host.host).is_some() {
                hosts.wildcards.push((&host.host, namespace));
            } else {
                hosts.exact.entry(&host.host).or_default().push(namespace);
            }
        }
        hosts
    }

    /// What the server's hosts and the VirtualService's have in common: of each pair where one covers the other, the
    /// more specific one. A server's host with a namespace is only for VirtualServices of that namespace.
    fn intersection(&self, service: &VirtualService) -> BTreeSet<String> {
        let allows = |namespace: &Option<&str>| namespace.is_none_or(|own| own == service.meta.namespace);
        let wildcards = || self.wildcards.iter().filter(|(_, namespace)| allows(namespace)).map(|(name, _)| *name);
        let exact = || self.exact.iter().filter(|(_, namespaces)| namespaces.iter().any(allows)).map(|(name, _)| *name);
        let mut shared = BTreeSet::new();
        for host in &service.hosts {
            let open = self.exact.get(host.as_str()).is_some_and(|namespaces| namespaces.iter().any(allows));
            if open || wildcards().any(|wildcard| hostname::covers(wildcard, host)) {
                shared.insert(bracketed(host));
            }
            if hostname::wildcard(host).is_some() {
                let covered = wildcards().chain(exact()).filter(|name| hostname::covers(host, name));
                shared.extend(covered.map(bracketed));
            }
        }
        shared
    }
}

/// An IPv6 address stands in brackets in a `Host` header (RFC 3986, 3.2.2).
pub(super) fn bracketed(host: &str) -> String {
    if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.to_owned() }
}

/// Istio's `SortVHostRoutes`: when VirtualServices share a host, one's catch-all must not hide the other's rules.
fn catch_alls_last(routes: Vec<Route>) -> Vec<Route> {
    let (last, mut sorted): (Vec<_>, Vec<_>) = routes.into_iter().partition(is_catch_all);
    sorted.extend(last);
    sorted
}
