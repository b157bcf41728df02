//! Route tables of HTTP: from a request's port and host to the route that takes it.
//!
//! Plain data and the look-up; the matcher decides whether a route takes a request. Called by `plan::Plan::route`; read by
//! `explain` and the admin pages.

use std::sync::Arc;

use super::Request;
use super::hosts::{self, HostTable};
use super::matcher::Condition;
use super::prefilter::Glances;
use super::route::{Origin, Route, StatPrefix};

/// The port of an authority without a port.
const HTTP_PORT: u16 = 80;

/// The route tables of a listener's HTTP.
#[derive(Debug, Clone)]
pub enum HttpRoutes {
    /// One table, whatever port the authority names.
    One(RouteTable),
    /// A table for each port that services or rules name: the port that the client addressed chooses it.
    ByPort {
        /// The tables of ports, sorted by port.
        ports: Vec<RouteTable>,
        /// The table for every port, with the hosts that have no certain one.
        every: RouteTable,
    },
}

/// The virtual hosts for one port (Envoy's `RouteConfiguration`).
#[derive(Debug, Clone)]
pub struct RouteTable {
    /// The port of the Gateway or the Sidecar, or the service port that an application addresses; `None`: any.
    pub port: Option<u16>,
    /// Whether the table is all that there is for its port, so that the table for every port does not count.
    pub is_whole: bool,
    /// Which of `virtual_hosts` a `Host` belongs to.
    pub hosts: HostTable,
    /// One for each host name or wildcard of a gateway, one for each service or group of hosts of the mesh; sorted by
    /// name.
    pub virtual_hosts: Vec<VirtualHost>,
}

/// The rule that takes a request.
pub(super) enum Found<'p> {
    /// `tls.httpsRedirect` of this Gateway server.
    HttpsRedirect(&'p Origin),
    /// A route.
    Route(&'p Route),
}

/// Some host names of a table, with the routes that are tried for them.
#[derive(Debug, Clone)]
pub struct VirtualHost {
    /// Istio's name: the host and the table's port, `httpbin.example.com:80`.
    pub name: Box<str>,
    /// The host names and wildcards, lower case; all of a service's on the mesh listener, one otherwise.
    pub domains: Box<[Box<str>]>,
    routes: Box<[Route]>,
    /// Which routes a path makes worth a look.
    glances: Glances,
    /// The Gateway server that redirects plain HTTP to HTTPS (`tls.httpsRedirect`), before any route (Envoy's
    /// `require_tls: ALL`).
    https_redirect: Option<Arc<Origin>>,
}

impl VirtualHost {
    /// A virtual host with these routes, in the order in which they are tried.
    #[must_use]
    pub fn new(name: &str, domains: impl IntoIterator<Item = Box<str>>, routes: Vec<Route>) -> Self {
        let glances = Glances::of(routes.iter().map(|route| route.matcher.conditions()));
        let domains = domains.into_iter().collect();
        Self { name: name.into(), domains, routes: routes.into(), glances, https_redirect: None }
    }

    /// The same virtual host, with plain HTTP redirected by this Gateway server.
    #[must_use]
    pub fn redirecting_to_https(self, server: Option<Arc<Origin>>) -> Self {
        Self { https_redirect: server, ..self }
    }

    /// The Gateway server that redirects plain HTTP to HTTPS, if any does.
    #[must_use]
    pub fn https_redirect(&self) -> Option<&Arc<Origin>> {
        self.https_redirect.as_ref()
    }

    /// The routes, in the order in which they are tried.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The `statPrefix`es of its routes, in the order of the routes.
    pub(super) fn stat_prefixes_mut(&mut self) -> impl Iterator<Item = &mut StatPrefix> {
        self.routes.iter_mut().filter_map(|route| route.stat_prefix.as_mut())
    }

    /// The first route that takes the request.
    pub(super) fn find<W: Witness>(&self, request: &Request<'_>, witness: &mut W) -> Option<&Route> {
        let mut takes = |route: &Route| {
            let taken = route.matcher.holds(request, |condition, held| witness.condition(route, condition, held));
            witness.route(route, taken);
            taken
        };
        // A witness is told of the conditions themselves.
        if W::LOOKS {
            return self.routes.iter().find(|route| takes(route));
        }
        let found = self.glances.find(request.path, |at| self.routes.get(at).is_some_and(&mut takes));
        self.routes.get(found?)
    }
}

impl HttpRoutes {
    /// The tables: of single ports in order, then the one for every port.
    pub fn tables(&self) -> impl Iterator<Item = &RouteTable> {
        let (ports, last) = match self {
            Self::One(table) => (&[][..], table),
            Self::ByPort { ports, every } => (&ports[..], every),
        };
        ports.iter().chain([last])
    }

    /// The `statPrefix`es of routes, in the order of the routes.
    pub(super) fn stat_prefixes_mut(&mut self) -> impl Iterator<Item = &mut StatPrefix> {
        let (ports, last) = match self {
            Self::One(table) => (&mut [][..], table),
            Self::ByPort { ports, every } => (&mut ports[..], every),
        };
        let hosts = ports.iter_mut().chain([last]).flat_map(|table| &mut table.virtual_hosts);
        hosts.flat_map(VirtualHost::stat_prefixes_mut)
    }

    /// The virtual host that an authority belongs to, with its table. `port` is the port that the client addressed, if its
    /// connection says it and not the authority.
    #[must_use]
    pub fn virtual_host(&self, port: Option<u16>, authority: &[u8]) -> Option<(&RouteTable, &VirtualHost)> {
        let (table, host, _) = match self {
            Self::One(table) => table.find(authority)?,
            Self::ByPort { ports, every } => {
                let port = port.or_else(|| service_port(authority));
                let own = port.and_then(|port| {
                    let at = ports.binary_search_by_key(&Some(port), |table| table.port).ok()?;
                    ports.get(at)
                });
                in_either(own, every, authority)?
            }
        };
        Some((table, host))
    }

    /// The match for the request: the redirect to HTTPS of its virtual host, else the first of its routes that matches.
    pub(super) fn find<W: Witness>(&self, request: &Request<'_>, witness: &mut W) -> Option<Found<'_>> {
        let found = self.virtual_host(request.port, request.authority);
        witness.host(found);
        let host = found?.1;
        match host.https_redirect() {
            Some(server) if request.scheme != b"https" => Some(Found::HttpsRedirect(server)),
            _ => host.find(request, witness).map(Found::Route),
        }
    }
}

/// A virtual host with its table, and how specific its host is.
type Ranked<'p> = (&'p RouteTable, &'p VirtualHost, usize);

/// The more specific of the virtual hosts that the port's own table and the table for every port have; of equally specific
/// ones the port's. Where the port's table is whole, the other does not count.
fn in_either<'p>(own: Option<&'p RouteTable>, every: &'p RouteTable, authority: &[u8]) -> Option<Ranked<'p>> {
    if let Some(own) = own.filter(|table| table.is_whole) {
        return own.find(authority);
    }
    let (own, every) = (own.and_then(|table| table.find(authority)), every.find(authority));
    match (own, every) {
        (Some((.., own_rank)), Some((.., rank))) if rank > own_rank => every,
        _ => own.or(every),
    }
}

impl RouteTable {
    /// A table of these virtual hosts; where two of them have a domain, it is the first one's.
    #[must_use]
    pub fn new(port: Option<u16>, virtual_hosts: Vec<VirtualHost>) -> Self {
        let domains = virtual_hosts.iter().zip(0..).flat_map(|(host, number)| {
            let domains = host.domains.iter();
            domains.map(move |domain| (&**domain, number))
        });
        Self { port, is_whole: false, hosts: HostTable::new(domains), virtual_hosts }
    }

    fn find(&self, authority: &[u8]) -> Option<Ranked<'_>> {
        let (number, rank) = self.hosts.find_ranked(authority)?;
        Some((self, self.virtual_hosts.get(number as usize)?, rank))
    }
}

/// The service port that an application addresses; `None` for a number that is not a port.
fn service_port(authority: &[u8]) -> Option<u16> {
    match hosts::port(authority) {
        None | Some(b"") => Some(HTTP_PORT),
        Some(digits) => std::str::from_utf8(digits).ok()?.parse().ok(),
    }
}

/// Observes each step while a request is routed. Every method is empty by default, so that [`NoWitness`] costs nothing.
pub trait Witness {
    /// Whether the witness is to be told of conditions; if not, routes are skipped by the fastest test that can.
    const LOOKS: bool = true;

    /// The virtual host that the request's authority belongs to, and its table; `None` if it belongs to none.
    #[inline]
    fn host(&mut self, _host: Option<(&RouteTable, &VirtualHost)>) {}

    /// A condition was tested. The first that does not hold ends its route's turn, so later ones are not told.
    #[inline]
    fn condition(&mut self, _route: &Route, _condition: &Condition, _held: bool) {}

    /// A route matched or did not. The first match ends the search.
    #[inline]
    fn route(&mut self, _route: &Route, _taken: bool) {}
}

/// The witness of the data path: it is empty, and compiles away.
#[derive(Debug, Clone, Copy)]
pub struct NoWitness;

impl Witness for NoWitness {
    const LOOKS: bool = false;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_that_an_application_addresses() {
        for (authority, expected) in [
            ("a", Some(80)),
            ("a:", Some(80)),
            ("a:80", Some(80)),
            ("", Some(80)),
            ("a:8000", Some(8000)),
            ("[::1]", Some(80)),
            ("[::1]:8000", Some(8000)),
            ("a:0", Some(0)),
            ("a:70000", None),
            ("a:x", None),
        ] {
            assert_eq!(service_port(authority.as_bytes()), expected, "{authority}");
        }
    }

    fn table(port: Option<u16>, domains: &[&str]) -> RouteTable {
        let host = |domain: &&str| VirtualHost::new(domain, [(*domain).into()], Vec::new());
        RouteTable::new(port, domains.iter().map(host).collect())
    }

    fn find(routes: &HttpRoutes, port: Option<u16>, authority: &str) -> Option<(Option<u16>, String)> {
        let (table, host) = routes.virtual_host(port, authority.as_bytes())?;
        Some((table.port, host.name.to_string()))
    }

    #[test]
    fn the_more_specific_of_the_ports_own_table_and_the_one_for_every_port() {
        let by_port = |is_whole| HttpRoutes::ByPort {
            ports: vec![
                table(Some(80), &["a.com"]),
                RouteTable { is_whole, ..table(Some(8000), &["a.com", "*.b.com", "*.long.c.com"]) },
            ],
            every: table(None, &["a.com", "x.b.com", "*.c.com", "*"]),
        };
        let routes = by_port(false);
        for (authority, port, name) in [
            ("a.com", Some(80), "a.com"),
            ("a.com:8000", Some(8000), "a.com"),
            ("a.com:8001", None, "a.com"),
            ("a.com:99999", None, "a.com"),
            ("x.b.com:8000", None, "x.b.com"),
            ("y.b.com:8000", Some(8000), "*.b.com"),
            ("y.b.com", None, "*"),
            ("x.c.com:8000", None, "*.c.com"),
            ("x.long.c.com:8000", Some(8000), "*.long.c.com"),
            ("d.com:8000", None, "*"),
        ] {
            assert_eq!(find(&routes, None, authority), Some((port, name.to_owned())), "{authority}");
        }
        // The connection's own port goes before the authority's.
        assert_eq!(find(&routes, Some(8000), "a.com:80"), Some((Some(8000), "a.com".to_owned())));
        // If a port has only its own table, no other one is used.
        let routes = by_port(true);
        for (authority, found) in [
            ("a.com:8000", Some((Some(8000), "a.com".to_owned()))),
            ("x.b.com:8000", Some((Some(8000), "*.b.com".to_owned()))),
            ("d.com:8000", None),
            ("d.com:8001", Some((None, "*".to_owned()))),
        ] {
            assert_eq!(find(&routes, None, authority), found, "{authority}");
        }
        let ports: Vec<_> = routes.tables().map(|table| table.port).collect();
        assert_eq!(ports, [Some(80), Some(8000), None]);
    }

    #[test]
    fn the_only_table_is_for_every_port() {
        let routes = HttpRoutes::One(table(Some(80), &["a.com"]));
        for (port, authority, found) in
            [(None, "a.com", true), (None, "a.com:8000", true), (Some(8000), "a.com", true), (None, "b.com", false)]
        {
            let expected = found.then(|| (Some(80), "a.com".to_owned()));
            assert_eq!(find(&routes, port, authority), expected, "{port:?} {authority}");
        }
    }
}
