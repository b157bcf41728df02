//! Listeners and their route tables: from a request's port and host to the routes that are tried.
//!
//! Plain data and the look-up. Called by `plan::Plan::route`; read by `explain` and the admin pages.

use std::fmt;
use std::net::SocketAddr;

use super::Request;
use super::hosts::{self, HostTable};
use super::outbound::Outbound;
use super::route::{Origin, Route, VirtualHost, Witness};
use super::streams::{Conditions, Streams, TcpRoute};
use crate::http::forward::Downstream;

/// The port of an authority that names none.
const HTTP_PORT: u16 = 80;

/// One bound address with what is served on it.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Envoy's listener name: address and port bound, `0.0.0.0_8080`.
    pub name: String,
    /// The address to bind; port 0 lets the kernel choose.
    pub bind: SocketAddr,
    /// The `http.<prefix>.` of its statistics: `outbound_0.0.0.0_8080`, as istiod names a gateway's.
    pub stat_prefix: String,
    /// Who sends here.
    pub kind: ListenerKind,
    /// `namespace/name` of the Gateways that have a server on it, in order; none for the others.
    pub gateways: Vec<Box<str>>,
    /// For the mesh and an HTTP proxy one for each port that services or rules name, sorted, and at the end one for every
    /// port, which also has what is not for a certain one. For the others one.
    pub tables: Vec<RouteTable>,
    /// Where what is no HTTP goes; `None` for a gateway.
    pub outbound: Option<Box<Outbound>>,
    /// Of a gateway for connections that are not looked into: where they go. It has nothing else.
    pub streams: Option<Box<Streams>>,
    /// The place of its first name in [`Plan::tcp_stat_names`](super::Plan::tcp_stat_names).
    pub tcp_stats_at: usize,
}

/// Who sends to a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListenerKind {
    /// Clients from outside, to a Gateway's port: the one that the documents name, which `match.port` means.
    Gateway(u16),
    /// Applications beside the proxy, to any service (`Proxy.spec.mesh.listen`).
    Mesh,
    /// Applications beside the proxy, to the services with this port (a Sidecar's `egress[].port`).
    Egress(u16),
    /// Applications beside the proxy, to any service, by its name (`egress[].port` with protocol `HTTP_PROXY`).
    HttpProxy(u16),
    /// Others, to the application beside the proxy (a Sidecar's `ingress[].port`).
    Ingress(u16),
}

impl ListenerKind {
    /// Whether applications beside the proxy go out through it.
    #[must_use]
    pub fn is_outbound(self) -> bool {
        matches!(self, Self::Mesh | Self::Egress(_) | Self::HttpProxy(_))
    }

    /// How far the word of its clients about their way is taken.
    #[must_use]
    pub fn downstream(self) -> Downstream {
        match self {
            Self::Gateway(_) => Downstream::Edge,
            Self::Mesh | Self::Egress(_) | Self::HttpProxy(_) => Downstream::Outbound,
            Self::Ingress(_) => Downstream::Inbound,
        }
    }

    /// Whether its clients may name any host and port, and have tunnels to them.
    #[must_use]
    pub fn is_proxy(self) -> bool {
        matches!(self, Self::Mesh | Self::HttpProxy(_))
    }

    /// The one port that a connection to it is for, whatever requests say.
    #[must_use]
    pub fn only_port(self) -> Option<u16> {
        match self {
            Self::Egress(port) | Self::Ingress(port) => Some(port),
            Self::Gateway(_) | Self::Mesh | Self::HttpProxy(_) => None,
        }
    }
}

impl fmt::Display for ListenerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway(port) => write!(f, "Gateway port {port}"),
            Self::Mesh => f.write_str("the mesh"),
            Self::Egress(port) => write!(f, "egress port {port} of the Sidecar"),
            Self::HttpProxy(port) => write!(f, "HTTP proxy port {port} of the Sidecar"),
            Self::Ingress(port) => write!(f, "ingress port {port} of the Sidecar"),
        }
    }
}

/// The virtual hosts for one port (Envoy's `RouteConfiguration`).
#[derive(Debug, Clone)]
pub struct RouteTable {
    /// The port of the Gateway, or the service port that an application addresses; `None`: any.
    pub port: Option<u16>,
    /// Of the mesh: whether this is all that there is for the port, so that the table for every port does not count.
    pub is_whole: bool,
    /// Which of `virtual_hosts` a `Host` belongs to.
    pub hosts: HostTable,
    /// One for each host name or wildcard of a gateway, one for each service or group of hosts of the mesh; sorted by
    /// name.
    pub virtual_hosts: Vec<VirtualHost>,
}

/// What takes a request.
pub(super) enum Found<'p> {
    /// `tls.httpsRedirect` of this Gateway server.
    HttpsRedirect(&'p Origin),
    /// A route.
    Route(&'p Route),
}

impl Listener {
    /// The port that the Gateway documents name; `None` for listeners that are no Gateway's.
    #[must_use]
    pub fn gateway_port(&self) -> Option<u16> {
        if let ListenerKind::Gateway(port) = self.kind { Some(port) } else { None }
    }

    /// The outlet with this number, of the mesh or of a gateway.
    #[must_use]
    pub fn outlet(&self, number: usize) -> Option<&TcpRoute> {
        match (&self.outbound, &self.streams) {
            (Some(outbound), _) => outbound.outlet(number),
            (None, streams) => streams.as_ref()?.outlet(number),
        }
    }

    /// Its outlets that are no HTTP, by number, with what a connection must be like for each.
    #[must_use]
    pub fn ways(&self) -> &[(Conditions, TcpRoute)] {
        match (&self.outbound, &self.streams) {
            (Some(outbound), _) => outbound.ways(),
            (None, Some(streams)) => streams.ways(),
            (None, None) => &[],
        }
    }

    /// The place of an outlet's statistics among those of the plan, or of those of connections that no outlet takes, which
    /// gateways do not have.
    #[must_use]
    pub fn tcp_stats_of(&self, outlet: Option<usize>) -> Option<usize> {
        let place = outlet.or_else(|| self.outbound.as_ref().map(|outbound| outbound.undeclared()))?;
        Some(self.tcp_stats_at + place)
    }

    /// The names of its `tcp.` statistics.
    pub(super) fn tcp_stat_names(&self) -> impl Iterator<Item = &str> {
        let outbound = self.outbound.iter().flat_map(|outbound| outbound.stat_names());
        let streams = self.streams.iter().flat_map(|streams| streams.ways()).map(|(_, outlet)| &*outlet.name);
        outbound.chain(streams)
    }

    /// The virtual host that an authority belongs to, with its table.
    #[must_use]
    pub fn virtual_host(&self, authority: &[u8]) -> Option<(&RouteTable, &VirtualHost)> {
        self.virtual_host_on(None, authority)
    }

    /// [`Listener::virtual_host`], where the client addressed `port` whatever the authority says of that.
    fn virtual_host_on(&self, port: Option<u16>, authority: &[u8]) -> Option<(&RouteTable, &VirtualHost)> {
        let (table, host, _) = match self.kind {
            // The port that the client writes does not count.
            ListenerKind::Gateway(_) | ListenerKind::Egress(_) | ListenerKind::Ingress(_) => {
                self.tables.first()?.find(authority)?
            }
            ListenerKind::Mesh | ListenerKind::HttpProxy(_) => {
                self.find_in_mesh(port.or_else(|| service_port(authority)), authority)?
            }
        };
        Some((table, host))
    }

    /// What takes the request: the redirect to HTTPS of its virtual host, else the first of its routes that matches.
    pub(super) fn find<W: Witness>(&self, request: &Request<'_>, witness: &mut W) -> Option<Found<'_>> {
        let found = self.virtual_host_on(request.port, request.authority);
        witness.host(found);
        let host = found?.1;
        match host.https_redirect() {
            Some(server) if request.scheme != b"https" => Some(Found::HttpsRedirect(server)),
            _ => host.find(request, witness).map(Found::Route),
        }
    }

    /// The more specific of what the port's own table has and what the one for every port has; of equals the former. Of a
    /// port whose table is whole only that one.
    fn find_in_mesh(&self, port: Option<u16>, authority: &[u8]) -> Option<(&RouteTable, &VirtualHost, usize)> {
        let (every, own) = self.tables.split_last()?;
        let own = port.and_then(|port| {
            let at = own.binary_search_by_key(&Some(port), |table| table.port).ok()?;
            own.get(at)
        });
        if let Some(own) = own.filter(|table| table.is_whole) {
            return own.find(authority);
        }
        let (own, every) = (own.and_then(|table| table.find(authority)), every.find(authority));
        match (own, every) {
            (Some((.., own_rank)), Some((.., rank))) if rank > own_rank => every,
            _ => own.or(every),
        }
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

    fn find(&self, authority: &[u8]) -> Option<(&Self, &VirtualHost, usize)> {
        let (number, rank) = self.hosts.find_ranked(authority)?;
        Some((self, self.virtual_hosts.get(number as usize)?, rank))
    }
}

/// The service port that an application addresses; `None` for a number that is no port.
fn service_port(authority: &[u8]) -> Option<u16> {
    match hosts::port(authority) {
        None | Some(b"") => Some(HTTP_PORT),
        Some(digits) => std::str::from_utf8(digits).ok()?.parse().ok(),
    }
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

    #[test]
    fn the_more_specific_of_the_ports_own_table_and_the_one_for_every_port() {
        let mut listener = Listener {
            name: String::new(),
            bind: SocketAddr::from(([127, 0, 0, 1], 15001)),
            stat_prefix: String::new(),
            kind: ListenerKind::Mesh,
            gateways: Vec::new(),
            tables: vec![
                table(Some(80), &["a.com"]),
                table(Some(8000), &["a.com", "*.b.com", "*.long.c.com"]),
                table(None, &["a.com", "x.b.com", "*.c.com", "*"]),
            ],
            outbound: None,
            streams: None,
            tcp_stats_at: 0,
        };
        let find = |listener: &Listener, authority: &str| {
            let (table, host, _) = listener.find_in_mesh(service_port(authority.as_bytes()), authority.as_bytes())?;
            Some((table.port, host.name.to_string()))
        };
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
            assert_eq!(find(&listener, authority), Some((port, name.to_owned())), "{authority}");
        }
        // Where a port's table is all that there is for it, nothing else counts.
        listener.tables[1].is_whole = true;
        for (authority, found) in [
            ("a.com:8000", Some((Some(8000), "a.com".to_owned()))),
            ("x.b.com:8000", Some((Some(8000), "*.b.com".to_owned()))),
            ("d.com:8000", None),
            ("d.com:8001", Some((None, "*".to_owned()))),
        ] {
            assert_eq!(find(&listener, authority), found, "{authority}");
        }
        listener.tables.truncate(1);
        assert_eq!(find(&listener, "b.com"), None);
        listener.tables.clear();
        assert_eq!(find(&listener, "a.com"), None);
    }
}
