//! Listeners: an address with its filter chains, and how a connection finds the chain that takes it.
//!
//! Plain data and the look-ups. `proxy::downstream` finds chains; `explain` and the admin pages read them.

use std::fmt;
use std::net::SocketAddr;

use super::filter_chain::{FilterChain, FilterChainMatch, FilterChainTable, TcpRoute, Then};
use super::outbound::{Outbound, OutboundPolicy, OutboundService};
use super::route::StatPrefix;
use super::route_table::{HttpRoutes, RouteTable, VirtualHost};
use crate::base::id::TcpStatsId;
use crate::http::forward::Downstream;

/// One bound address with its filter chains.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Envoy's listener name: address and port bound, `0.0.0.0_8080`.
    pub name: String,
    /// The address to bind; port 0 lets the kernel choose.
    pub bind: SocketAddr,
    /// The `http.<prefix>.` of its statistics: `outbound_0.0.0.0_8080`, as istiod names a gateway's.
    pub stat_prefix: String,
    /// Whose connections come in.
    pub kind: ListenerKind,
    /// `namespace/name` of the Gateways that have a server on it, in order; empty for other listeners.
    pub gateways: Vec<Box<str>>,
    /// Its filter chains.
    pub chains: FilterChains,
}

/// The filter chains of a listener. A chain is known by its number, its position in the list.
#[derive(Debug, Clone)]
pub struct FilterChains {
    list: Vec<FilterChain>,
    selection: ChainSelection,
}

/// The inspection that a connection needs before its filter chain is known.
#[derive(Debug, Clone)]
pub enum ChainSelection {
    /// None: the first chain takes every connection, and without a chain every connection is closed.
    First,
    /// The server name of its TLS ClientHello, which is awaited.
    ServerName(FilterChainTable),
    /// The address that it was sent to and, where that does not say it, the protocol of its first bytes. A connection that
    /// was sent to no other address than the listener's own is HTTP.
    Destination(Box<Outbound>),
}

/// Whose connections come to a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListenerKind {
    /// Clients from outside, to a Gateway's port: the one that the documents name, which `match.port` means.
    Gateway(u16),
    /// Local applications, to any service (`Proxy.spec.mesh.listen`).
    Mesh,
    /// Local applications, to the services with this port (a Sidecar's `egress[].port`).
    Egress(u16),
    /// Local applications, to any service, by its name (`egress[].port` with protocol `HTTP_PROXY`).
    HttpProxy(u16),
    /// Clients from outside, to the local application (a Sidecar's `ingress[].port`).
    Ingress(u16),
}

impl ListenerKind {
    /// Whether it is outbound: for requests of local applications.
    #[must_use]
    pub fn is_outbound(self) -> bool {
        matches!(self, Self::Mesh | Self::Egress(_) | Self::HttpProxy(_))
    }

    /// How far the headers of its clients about their way are trusted.
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

    /// The one port that all its requests are for, whatever their authority.
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

impl FilterChains {
    /// One chain of HTTP for every connection.
    #[must_use]
    pub fn http(routes: HttpRoutes) -> Self {
        let chain = FilterChain { matches: FilterChainMatch::default(), then: Then::Http(routes) };
        Self { list: vec![chain], selection: ChainSelection::First }
    }

    /// A TCP proxy for every connection; `None`: every connection is closed.
    #[must_use]
    pub fn tcp(chain: Option<FilterChain>) -> Self {
        Self { list: chain.into_iter().collect(), selection: ChainSelection::First }
    }

    /// Chains that are distinguished by the server name of TLS. Of equal chains the first wins; a connection without one is
    /// closed.
    #[must_use]
    pub fn by_server_name(list: Vec<FilterChain>) -> Self {
        let table = FilterChainTable::new(list.iter().map(|chain| &chain.matches).zip(0..));
        Self { list, selection: ChainSelection::ServerName(table) }
    }

    /// The chains of a listener that connections are redirected to: HTTP, and a TCP proxy for each service that may speak
    /// something else.
    #[must_use]
    pub fn outbound(policy: OutboundPolicy, http: HttpRoutes, services: Vec<OutboundService>) -> Self {
        Self::by_destination(Outbound::new(policy, http, services))
    }

    /// The chains of a listener that clients connect to directly, so that no address distinguishes the services: a connection
    /// that is not HTTP goes to the first service that may speak TCP, unless its server name decides.
    #[must_use]
    pub fn bound(policy: OutboundPolicy, http: HttpRoutes, services: Vec<OutboundService>) -> Self {
        Self::by_destination(Outbound::bound(policy, http, services))
    }

    fn by_destination((outbound, list): (Outbound, Vec<FilterChain>)) -> Self {
        Self { list, selection: ChainSelection::Destination(Box::new(outbound)) }
    }

    /// The inspection that a connection needs before its chain is known.
    #[must_use]
    pub fn selection(&self) -> &ChainSelection {
        &self.selection
    }

    /// The chain with this number.
    #[must_use]
    pub fn get(&self, number: usize) -> Option<&FilterChain> {
        self.list.get(number)
    }

    /// All chains, by number.
    pub fn iter(&self) -> impl Iterator<Item = &FilterChain> {
        self.list.iter()
    }

    /// The conditions and TCP proxies of the chains that have one, in order.
    pub fn tcp_routes(&self) -> impl Iterator<Item = (&FilterChainMatch, &TcpRoute)> {
        self.list.iter().filter_map(FilterChain::as_tcp)
    }

    /// The routes of its HTTP chain, which is the first; `None`: its connections are not decoded.
    #[must_use]
    #[inline]
    pub fn http_routes(&self) -> Option<&HttpRoutes> {
        match &self.list.first()?.then {
            Then::Http(routes) => Some(routes),
            Then::Tcp(_) => None,
        }
    }

    /// The destinations besides HTTP; `None` if destinations do not matter.
    #[must_use]
    pub fn destinations(&self) -> Option<&Outbound> {
        match &self.selection {
            ChainSelection::Destination(outbound) => Some(outbound),
            ChainSelection::First | ChainSelection::ServerName(_) => None,
        }
    }

    /// Whether a connection is HTTP before anything is read of it. `destination` is the address that it was sent to, if
    /// that is another one than the listener's.
    #[must_use]
    pub fn is_http(&self, destination: Option<SocketAddr>) -> bool {
        match &self.selection {
            ChainSelection::First => self.http_routes().is_some(),
            ChainSelection::ServerName(_) => false,
            ChainSelection::Destination(_) => destination.is_none(),
        }
    }

    /// The number of the chain for a connection with this server name; `None`: there is none, or the server name alone does
    /// not decide.
    #[must_use]
    pub fn for_server_name(&self, name: Option<&[u8]>) -> Option<usize> {
        match &self.selection {
            ChainSelection::First => (!self.list.is_empty()).then_some(0),
            ChainSelection::ServerName(table) => table.find(None, name).map(|number| number as usize),
            ChainSelection::Destination(_) => None,
        }
    }
}

impl Listener {
    /// The port that the Gateway documents name; `None` for other listeners.
    #[must_use]
    pub fn gateway_port(&self) -> Option<u16> {
        if let ListenerKind::Gateway(port) = self.kind { Some(port) } else { None }
    }

    /// The route tables of its HTTP.
    pub fn route_tables(&self) -> impl Iterator<Item = &RouteTable> {
        self.chains.http_routes().into_iter().flat_map(HttpRoutes::tables)
    }

    /// The virtual host that an authority belongs to, with its table.
    #[must_use]
    pub fn virtual_host(&self, authority: &[u8]) -> Option<(&RouteTable, &VirtualHost)> {
        self.chains.http_routes()?.virtual_host(None, authority)
    }

    /// The names of its `tcp.` statistics: of its TCP proxies and, last, of connections to undeclared destinations.
    pub(super) fn tcp_stat_names(&self) -> impl Iterator<Item = &str> {
        let routes = self.chains.tcp_routes().map(|(_, route)| &*route.name);
        routes.chain(self.chains.destinations().map(|outbound| outbound.undeclared.stat_name()))
    }

    /// The indices of the names of its `tcp.` statistics, in the same order.
    pub(super) fn tcp_stats_mut(&mut self) -> impl Iterator<Item = &mut TcpStatsId> {
        let routes = self.chains.list.iter_mut().filter_map(|chain| match &mut chain.then {
            Then::Tcp(route) => Some(&mut route.stats),
            Then::Http(_) => None,
        });
        let undeclared = match &mut self.chains.selection {
            ChainSelection::Destination(outbound) => Some(outbound.undeclared.stats_mut()),
            ChainSelection::First | ChainSelection::ServerName(_) => None,
        };
        routes.chain(undeclared)
    }

    /// The `statPrefix`es of its routes, in the order of the routes.
    pub(super) fn stat_prefixes_mut(&mut self) -> impl Iterator<Item = &mut StatPrefix> {
        let routes = self.chains.list.iter_mut().filter_map(|chain| match &mut chain.then {
            Then::Http(routes) => Some(routes),
            Then::Tcp(_) => None,
        });
        routes.flat_map(HttpRoutes::stat_prefixes_mut)
    }
}

#[cfg(test)]
mod tests {
    use super::super::action::Target;
    use super::super::outbound::PortProtocol;
    use super::*;

    fn chain(server_names: &[&str], name: &str) -> FilterChain {
        let server_names = server_names.iter().map(|name| (*name).into()).collect();
        let matches = FilterChainMatch { subnets: Vec::new(), server_names };
        FilterChain::tcp(matches, TcpRoute::plain(name, Target::Missing(name.into())))
    }

    fn routes() -> HttpRoutes {
        HttpRoutes::One(RouteTable::new(Some(80), Vec::new()))
    }

    fn names(chains: &FilterChains) -> Vec<&str> {
        chains.tcp_routes().map(|(_, route)| &*route.name).collect()
    }

    #[test]
    fn one_chain_takes_every_connection() {
        let http = FilterChains::http(routes());
        assert!(http.is_http(None) && http.http_routes().is_some() && names(&http).is_empty());
        assert_eq!((http.for_server_name(None), http.for_server_name(Some(b"a.com"))), (Some(0), Some(0)));
        let tcp = FilterChains::tcp(Some(chain(&[], "db")));
        assert!(!tcp.is_http(None) && tcp.http_routes().is_none() && names(&tcp) == ["db"]);
        assert_eq!((tcp.for_server_name(None), tcp.for_server_name(Some(b"a.com"))), (Some(0), Some(0)));
        let closed = FilterChains::tcp(None);
        assert!(!closed.is_http(None) && closed.http_routes().is_none());
        assert_eq!((closed.for_server_name(None), closed.for_server_name(Some(b"a.com"))), (None, None));
    }

    #[test]
    fn a_server_name_tells_chains_apart() {
        let chains = FilterChains::by_server_name(vec![
            chain(&["*.example.com"], "wild"),
            chain(&["a.example.com", "b.example.org"], "named"),
            chain(&["a.example.com"], "never"),
        ]);
        assert!(!chains.is_http(None) && chains.destinations().is_none());
        for (name, number) in [
            (Some("a.example.com"), Some(1)),
            (Some("B.Example.org"), Some(1)),
            (Some("c.example.com"), Some(0)),
            (Some("example.com"), None),
            (None, None),
        ] {
            assert_eq!(chains.for_server_name(name.map(str::as_bytes)), number, "{name:?}");
        }
        let with_any = FilterChains::by_server_name(vec![chain(&["a.com"], "a"), chain(&[], "any")]);
        assert_eq!(with_any.for_server_name(Some(b"b.com")), Some(1));
        assert_eq!(with_any.for_server_name(None), Some(1));
        assert_eq!(FilterChains::by_server_name(Vec::new()).for_server_name(None), None);
    }

    #[test]
    fn a_connection_that_was_sent_nowhere_else_is_http() {
        let service = OutboundService {
            port: 5432,
            names: vec!["db".into()],
            addresses: Vec::new(),
            protocol: PortProtocol::Tcp,
            cluster: "db".into(),
            chains: vec![(FilterChainMatch::default(), TcpRoute::plain("db", Target::Missing("db".into())))],
        };
        let chains = FilterChains::outbound(OutboundPolicy::default(), routes(), vec![service]);
        let destination: SocketAddr = "10.0.0.1:5432".parse().expect("an address");
        assert!(chains.is_http(None) && !chains.is_http(Some(destination)) && chains.http_routes().is_some());
        let number = chains.destinations().and_then(|outbound| outbound.chain_without_detection(destination));
        let found = number.and_then(|number| chains.get(number)?.as_tcp()).map(|(_, route)| &*route.name);
        assert_eq!(found, Some("db"));
        assert_eq!(chains.for_server_name(Some(b"db")), None, "a server name alone does not say it");
    }
}
