//! `hosts` of Gateway servers and VirtualServices: the virtual hosts of a listener.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv6Addr;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::istio::model::gateway::Server;
use crate::istio::model::virtual_service::VirtualService;
use crate::plan::{Origin, Route, VirtualHost};

use super::listener::{Served, gateway_name};
use super::route::{differs_by_gateway, is_catch_all};
use super::{Compiler, Scope, hostname};

/// The routes of a VirtualService for a listener; or for one of its gateways, if they differ.
struct Member {
    /// Its VirtualService's position in the list of bound ones.
    number: usize,
    routes: Vec<Route>,
    /// The number of hosts that have the routes.
    hosts: usize,
}

impl Compiler<'_> {
    /// The virtual hosts of the servers that share a listener: one for each host that a server and a VirtualService
    /// bound to its Gateway have in common, and for each of a server with `httpsRedirect`; sorted by name.
    pub(super) fn virtual_hosts(&mut self, port: u16, servers: &[Served<'_>]) -> Vec<VirtualHost> {
        let all = self.bound.clone();
        let mut by_gateway: HashMap<&str, Vec<usize>, RandomState> = HashMap::default();
        for (number, bound) in all.iter().enumerate() {
            for gateway in &bound.service.gateways {
                by_gateway.entry(gateway).or_default().push(number);
            }
        }
        let mut members: Vec<Member> = Vec::new();
        let mut numbers: HashMap<(usize, String), usize, RandomState> = HashMap::default();
        let mut hosts_of: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut redirects: BTreeMap<String, Arc<Origin>> = BTreeMap::new();
        let mut withheld: BTreeSet<String> = BTreeSet::new();
        for served in servers {
            let redirect = served.server.https_redirect.then(|| Arc::new(served.origin()));
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
                let key = (*number, if differs_by_gateway(bound) { gateway.clone() } else { String::new() });
                let member = *numbers.entry(key).or_insert_with(|| {
                    members.push(Member { number: *number, routes: self.routes(bound, scope), hosts: 0 });
                    members.len() - 1
                });
                // A VirtualService with no rule for this port does not even make a virtual host.
                if members[member].routes.is_empty() {
                    continue;
                }
                for host in shared {
                    if served.server.withheld {
                        withheld.insert(host.clone());
                    }
                    if let Some(redirect) = &redirect {
                        redirects.entry(host.clone()).or_insert_with(|| redirect.clone());
                    }
                    let of_host = hosts_of.entry(host).or_default();
                    // Two servers for one host do not add it twice.
                    if !of_host.contains(&member) {
                        of_host.push(member);
                        members[member].hosts += 1;
                    }
                }
            }
            if served.server.withheld {
                withheld.extend(served.server.hosts.iter().map(|host| bracketed(&host.host)));
                for host in &withheld {
                    hosts_of.entry(host.clone()).or_default();
                }
            } else if let Some(redirect) = redirect {
                // A host that no rule is for is redirected, too.
                for host in &served.server.hosts {
                    let host = bracketed(&host.host);
                    redirects.entry(host.clone()).or_insert_with(|| redirect.clone());
                    hosts_of.entry(host).or_default();
                }
            }
        }
        let mut told = BTreeSet::new();
        // No rule is for a host of a withheld server, whichever other server has it.
        for (host, of_host) in hosts_of.iter_mut().filter(|(host, _)| withheld.contains(*host)) {
            of_host.drain(..).for_each(|member| members[member].hosts -= 1);
            redirects.remove(host);
        }
        let made = hosts_of.into_iter().map(|(host, of_host)| {
            let numbers: BTreeSet<_> = match of_host.len() {
                0 | 1 => BTreeSet::new(),
                _ => of_host.iter().map(|member| members[*member].number).collect(),
            };
            let routes = of_host.into_iter().flat_map(|member| members[member].take()).collect();
            let routes = catch_alls_last(routes);
            if numbers.len() > 1 && told.insert(numbers.clone()) {
                self.say_shared(&host, port, &numbers, &routes);
            }
            let redirect = redirects.remove(&host);
            VirtualHost::new(&format!("{host}:{port}"), [host.as_str().into()], routes).redirecting_to_https(redirect)
        });
        made.collect()
    }

    /// Reports the order of several VirtualServices' rules for a host: Istio goes by the age of the documents.
    fn say_shared(&mut self, host: &str, port: u16, numbers: &BTreeSet<usize>, routes: &[Route]) {
        let Some(last) = numbers.last().and_then(|last| self.bound.get(*last)) else { return };
        let mut rules: Vec<_> = routes.iter().map(|route| (&route.origin.resource, route.origin.rule)).collect();
        rules.dedup();
        let name = |(resource, rule): &(&Arc<str>, Option<usize>)| {
            let name = resource.strip_prefix("VirtualService/").unwrap_or(resource);
            format!("{name} http[{}]", rule.unwrap_or_default())
        };
        let said: Vec<_> = rules.iter().take(RULES_SAID).map(name).collect();
        let more = rules.len() - said.len();
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        let what =
            format!("other VirtualServices have rules for \"{host}\" on port {port}, too: {}{more}", said.join(", "));
        let instead = "they are tried in this order, rules without conditions last";
        self.problems.push(last.service.meta.source.note("spec.hosts", what, instead));
    }
}

/// How many rules of a host that several VirtualServices share are named.
const RULES_SAID: usize = 10;

impl Member {
    /// The routes for one of the hosts; the last takes the originals.
    fn take(&mut self) -> Vec<Route> {
        self.hosts -= 1;
        if self.hosts == 0 { std::mem::take(&mut self.routes) } else { self.routes.clone() }
    }
}

/// The `hosts` of one server, ready to be looked up by name.
pub(super) struct ServerHosts<'w> {
    exact: BTreeMap<&'w str, Vec<Option<&'w str>>>,
    wildcards: Vec<(&'w str, Option<&'w str>)>,
}

impl<'w> ServerHosts<'w> {
    pub(super) fn of(server: &'w Server) -> Self {
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

    /// The hosts that the server and the VirtualService have in common: of each pair where one covers the other, the
    /// more specific one. A server's host with a namespace is only for VirtualServices of that namespace.
    pub(super) fn intersection(&self, service: &VirtualService) -> BTreeSet<String> {
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
