//! Listeners and their route tables: from a request's port and host to the routes that are tried.
//!
//! Plain data and the look-up. Called by `plan::Plan::route`; read by `explain` and the admin pages.

use std::fmt;
use std::net::SocketAddr;

use super::Request;
use super::hosts::{self, HostTable};
use super::route::{Route, VirtualHost, Witness};

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
    /// For a gateway one. For the mesh one for each port that services or rules name, sorted, and at the end one for
    /// every other port.
    pub tables: Vec<RouteTable>,
}

/// Who sends to a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListenerKind {
    /// Clients from outside, to a Gateway's port: the one that the documents name, which `match.port` means.
    Gateway(u16),
    /// Applications beside the proxy, to any service (`Proxy.spec.mesh.listen`).
    Mesh,
}

impl fmt::Display for ListenerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway(port) => write!(f, "Gateway port {port}"),
            Self::Mesh => f.write_str("the mesh"),
        }
    }
}

/// The virtual hosts for one port (Envoy's `RouteConfiguration`).
#[derive(Debug, Clone)]
pub struct RouteTable {
    /// The port of the Gateway, or the service port that an application addresses; `None`: any that has no table.
    pub port: Option<u16>,
    /// Which of `virtual_hosts` a `Host` belongs to.
    pub hosts: HostTable,
    /// One for each host name or wildcard of a gateway, one for each service or group of hosts of the mesh; sorted by
    /// name.
    pub virtual_hosts: Vec<VirtualHost>,
}

impl Listener {
    /// The port that the Gateway documents name; `None` for the mesh listener.
    #[must_use]
    pub fn gateway_port(&self) -> Option<u16> {
        match self.kind {
            ListenerKind::Gateway(port) => Some(port),
            ListenerKind::Mesh => None,
        }
    }

    /// The table for a request with this authority. On a gateway the port that the client writes does not count.
    #[must_use]
    pub fn table(&self, authority: &[u8]) -> Option<&RouteTable> {
        match self.kind {
            ListenerKind::Gateway(_) => self.tables.first(),
            ListenerKind::Mesh => {
                let port = service_port(authority);
                let own = self.tables.binary_search_by(|table| match (table.port, port) {
                    (Some(own), Some(wanted)) => own.cmp(&wanted),
                    (Some(_), None) => std::cmp::Ordering::Less,
                    (None, _) => std::cmp::Ordering::Greater,
                });
                own.ok().and_then(|at| self.tables.get(at)).or(self.tables.last())
            }
        }
    }

    pub(super) fn find<W: Witness>(&self, request: &Request<'_>, witness: &mut W) -> Option<&Route> {
        let table = self.table(request.authority)?;
        let host = table.hosts.find(request.authority).and_then(|at| table.virtual_hosts.get(at as usize));
        witness.host(host);
        host?.routes.iter().find(|route| {
            // A witness wants to hear of the conditions themselves.
            if !W::LOOKS && !route.matcher.may_hold(request) {
                return false;
            }
            let taken = route.matcher.holds(request, |condition, held| witness.condition(route, condition, held));
            witness.route(route, taken);
            taken
        })
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
    fn the_port_of_an_authority_chooses_the_table() {
        let table = |port| RouteTable { port, hosts: HostTable::default(), virtual_hosts: Vec::new() };
        let mut listener = Listener {
            name: String::new(),
            bind: SocketAddr::from(([127, 0, 0, 1], 15001)),
            stat_prefix: String::new(),
            kind: ListenerKind::Mesh,
            tables: [Some(80), Some(443), Some(8000), None].map(table).into(),
        };
        for (authority, expected) in [
            ("a", Some(80)),
            ("a:", Some(80)),
            ("a:80", Some(80)),
            ("", Some(80)),
            ("a:8000", Some(8000)),
            ("a:443", Some(443)),
            ("[::1]", Some(80)),
            ("[::1]:8000", Some(8000)),
            ("a:1", None),
            ("a:9000", None),
            ("a:0", None),
            ("a:70000", None),
        ] {
            assert_eq!(listener.table(authority.as_bytes()).map(|table| table.port), Some(expected), "{authority}");
        }
        listener.kind = ListenerKind::Gateway(80);
        assert_eq!(listener.table(b"a:8000").map(|table| table.port), Some(Some(80)));
        assert_eq!(listener.gateway_port(), Some(80));
        listener.tables.clear();
        assert!(listener.table(b"a").is_none());
    }
}
