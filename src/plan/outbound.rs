//! The filter chains of outbound listeners besides HTTP: the service of a connection, by its original destination (address
//! and port), by the server name of its TLS, or by the authority of a CONNECT.
//!
//! Plain data and the look-ups; `proxy` reads the first bytes. The rules are istiod's: a service's own address decides first;
//! then a port that some HTTP service has is HTTP, with its virtual hosts by `Host`; TLS services of a port are told apart by
//! server name; and the first TCP service without an address of its own has the whole port. On undeclared ports the protocol
//! is detected, which istiod's sidecars do not do.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::PASSTHROUGH_CLUSTER;
use super::filter_chain::{FilterChain, FilterChainMatch, FilterChainTable, TcpRoute, Then};
use super::hosts::{self, HostTable};
use super::route_table::HttpRoutes;
use crate::base::id::TcpStatsId;

/// Istio's name, in log and statistics, for connections that are refused (REGISTRY_ONLY). There is no such cluster.
pub const BLACK_HOLE_CLUSTER: &str = "BlackHoleCluster";

/// The number of the chain for HTTP.
const HTTP: usize = 0;

/// How connections to a listener of applications find their filter chain. The listener's first chain is that of HTTP; the
/// others are TCP proxies.
#[derive(Debug, Clone)]
pub struct Outbound {
    /// The handling of connections to undeclared destinations.
    pub undeclared: Undeclared,
    /// Whether an undeclared destination may be a loopback or link-local address (`Proxy.spec.mesh.allowLocal`).
    pub allow_local: bool,
    /// The longest wait for first bytes (`meshConfig.protocolDetectionTimeout`); `None`: no timeout.
    pub detection_timeout: Option<Duration>,
    /// The service ports; a number of the tables below is a position here.
    services: Vec<DestinationPort>,
    /// By port.
    ports: HashMap<u16, Port, foldhash::fast::RandomState>,
}

/// Where connections go whose destination no service has (`outboundTrafficPolicy`).
#[derive(Debug, Clone)]
pub enum Undeclared {
    /// To the egress proxy (ALLOW_ANY with `egressProxy`).
    EgressProxy(Box<TcpRoute>),
    /// To their destination, by the `PassthroughCluster` (ALLOW_ANY).
    Passthrough(TcpStatsId),
    /// Nowhere (REGISTRY_ONLY).
    BlackHole(TcpStatsId),
}

/// The policy for all connections of an outbound listener.
#[derive(Debug, Clone)]
pub struct OutboundPolicy {
    /// See [`Outbound::undeclared`].
    pub undeclared: Undeclared,
    /// See [`Outbound::allow_local`].
    pub allow_local: bool,
    /// See [`Outbound::detection_timeout`].
    pub detection_timeout: Option<Duration>,
}

/// The declared protocol of a port, as far as it makes a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortProtocol {
    /// HTTP in some version: the rules of VirtualServices apply.
    Http,
    /// TLS, HTTPS: the first bytes name the host.
    Tls,
    /// Another protocol.
    Tcp,
    /// Undeclared: HTTP or TCP, which is detected.
    Auto,
}

/// A service's port with all that it is known by.
#[derive(Debug, Clone)]
pub struct OutboundService {
    /// The port that clients address.
    pub port: u16,
    /// Host names and wildcards.
    pub names: Vec<Box<str>>,
    /// The service's own addresses.
    pub addresses: Vec<IpAddr>,
    /// The declared protocol of the port.
    pub protocol: PortProtocol,
    /// The cluster of the service itself.
    pub cluster: Box<str>,
    /// TCP proxies: those of L4 rules, in order, then the service's own, without conditions, if the rules leave connections
    /// for it. Empty for HTTP, which has routes.
    pub chains: Vec<(FilterChainMatch, TcpRoute)>,
}

/// A service port as connections are looked up by it.
#[derive(Debug, Clone)]
struct DestinationPort {
    protocol: PortProtocol,
    cluster: Box<str>,
    chains: FilterChainTable,
    /// The address that a client would have connected to that names the service, if the service has one of its own.
    address: Option<IpAddr>,
}

/// The filter chains of one port.
#[derive(Debug, Clone, Default)]
struct Port {
    /// All services, by name.
    names: HostTable,
    /// The services with addresses of their own.
    addresses: HashMap<IpAddr, u32, foldhash::fast::RandomState>,
    /// Some service speaks HTTP here, or may.
    http: bool,
    /// Some service's protocol is not declared, or there are TLS services.
    detect: bool,
    /// The chains of TLS services, and of the first TCP service without an address of its own; of a bound listener of the
    /// first that may speak TCP.
    chains: FilterChainTable,
}

/// The protocol that the first bytes of a connection were detected to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detected<'a> {
    /// The request line of an HTTP/1 request.
    Http,
    /// A TLS ClientHello, with the server name that it asks for, if any.
    Tls(Option<Cow<'a, [u8]>>),
    /// Any other protocol, or no bytes in time.
    Bytes,
}

impl<'a> Detected<'a> {
    /// A ClientHello that asks for this name.
    #[must_use]
    pub fn tls(name: &'a str) -> Self {
        Self::Tls(Some(name.as_bytes().into()))
    }

    /// The server name that it asks for.
    #[must_use]
    pub fn server_name(&self) -> Option<&[u8]> {
        match self {
            Self::Tls(name) => name.as_deref(),
            Self::Http | Self::Bytes => None,
        }
    }
}

/// Where a CONNECT leads that names a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedService<'p> {
    /// To a port of HTTP: requests inside the tunnel are routed like others.
    Http {
        /// The cluster of the service itself.
        cluster: &'p str,
    },
    /// To a port whose protocol is detected: HTTP is routed like other requests, other bytes take the chain with this number.
    Auto(usize),
    /// To a port of another protocol: bytes take the chain with this number.
    Tcp(usize),
}

impl Undeclared {
    /// The name of the statistics of undeclared connections.
    #[must_use]
    pub fn stat_name(&self) -> &str {
        match self {
            Self::EgressProxy(route) => &route.name,
            Self::Passthrough(_) => PASSTHROUGH_CLUSTER,
            Self::BlackHole(_) => BLACK_HOLE_CLUSTER,
        }
    }

    /// The index of that name in [`Plan::tcp_stat_names`](super::Plan::tcp_stat_names).
    #[must_use]
    pub fn stats(&self) -> TcpStatsId {
        match self {
            Self::EgressProxy(route) => route.stats,
            Self::Passthrough(stats) | Self::BlackHole(stats) => *stats,
        }
    }

    pub(super) fn stats_mut(&mut self) -> &mut TcpStatsId {
        match self {
            Self::EgressProxy(route) => &mut route.stats,
            Self::Passthrough(stats) | Self::BlackHole(stats) => stats,
        }
    }
}

/// Connections to undeclared destinations are refused.
impl Default for OutboundPolicy {
    fn default() -> Self {
        Self { undeclared: Undeclared::BlackHole(TcpStatsId(0)), allow_local: false, detection_timeout: None }
    }
}

impl Outbound {
    /// The selection and the chains for these service ports. Where two of them have the same name or address on a port, it
    /// belongs to the first one that is not HTTP alone, else to the first one.
    #[must_use]
    pub fn new(policy: OutboundPolicy, http: HttpRoutes, services: Vec<OutboundService>) -> (Self, Vec<FilterChain>) {
        Self::of(policy, http, services, false)
    }

    /// The selection and the chains of a listener that clients connect to itself: see
    /// [`FilterChains::bound`](super::FilterChains::bound).
    #[must_use]
    pub fn bound(
        policy: OutboundPolicy,
        http: HttpRoutes,
        mut services: Vec<OutboundService>,
    ) -> (Self, Vec<FilterChain>) {
        services.iter_mut().for_each(|service| service.addresses.clear());
        Self::of(policy, http, services, true)
    }

    fn of(
        policy: OutboundPolicy,
        http: HttpRoutes,
        mut declared: Vec<OutboundService>,
        bound: bool,
    ) -> (Self, Vec<FilterChain>) {
        // Of services with the same name or address, one that may speak TCP goes before those of HTTP.
        declared.sort_by_key(|service| service.protocol == PortProtocol::Http);
        let mut by_port: HashMap<u16, Vec<(u32, u32, &OutboundService)>, foldhash::fast::RandomState> =
            HashMap::default();
        let (mut services, mut first) = (Vec::with_capacity(declared.len()), HTTP as u32 + 1);
        for (service, number) in declared.iter().zip(0..) {
            by_port.entry(service.port).or_default().push((number, first, service));
            services.push(DestinationPort {
                protocol: service.protocol,
                cluster: service.cluster.clone(),
                chains: FilterChainTable::new(service.chains.iter().map(|(matches, _)| matches).zip(first..)),
                address: service.addresses.first().copied(),
            });
            first += service.chains.len() as u32;
        }
        let ports = by_port.into_iter().map(|(port, services)| (port, Port::new(&services, bound))).collect();
        let http = FilterChain { matches: FilterChainMatch::default(), then: Then::Http(http) };
        let tcp = declared.into_iter().flat_map(|service| service.chains);
        let chains = [http].into_iter().chain(tcp.map(|(matches, route)| FilterChain::tcp(matches, route))).collect();
        let OutboundPolicy { undeclared, allow_local, detection_timeout } = policy;
        (Self { undeclared, allow_local, detection_timeout, services, ports }, chains)
    }

    /// The number of the chain for a connection to this original destination, whatever its bytes are; `None`: its protocol
    /// must be detected.
    #[must_use]
    pub fn chain_without_detection(&self, to: SocketAddr) -> Option<usize> {
        let port = self.ports.get(&to.port())?;
        let own = self.at(port, to);
        let (http, detect, chains) = match own {
            Some(own) => (own.protocol == PortProtocol::Http, own.protocol == PortProtocol::Auto, &own.chains),
            None => (port.http, port.detect, &port.chains),
        };
        if http && !detect && (own.is_some() || chains.is_empty()) {
            return Some(HTTP);
        }
        if http || detect || chains.asks_for_names() {
            return None;
        }
        chains.find(Some(to.ip()), None).map(|number| number as usize)
    }

    /// The number of the chain for a connection to this original destination with this detected protocol; `None`: the
    /// destination is undeclared.
    #[must_use]
    pub fn chain(&self, to: SocketAddr, detected: &Detected<'_>) -> Option<usize> {
        let port = self.ports.get(&to.port());
        let own = port.and_then(|port| self.at(port, to));
        let never_http = own.is_some_and(|own| matches!(own.protocol, PortProtocol::Tls | PortProtocol::Tcp));
        if *detected == Detected::Http && !never_http {
            return Some(HTTP);
        }
        let chains = own.map(|own| &own.chains).or(port.map(|port| &port.chains))?;
        chains.find(Some(to.ip()), detected.server_name()).map(|number| number as usize)
    }

    /// The service that an authority (`host:port`) names; its port is as given, not the authority's. Its host serves as the
    /// server name that the client is going to send, and as the address that it would have connected to.
    #[must_use]
    pub fn named(&self, authority: &[u8], port: u16) -> Option<NamedService<'_>> {
        let service = self.services.get(self.ports.get(&port)?.names.find(authority)? as usize)?;
        if service.protocol == PortProtocol::Http {
            return Some(NamedService::Http { cluster: &service.cluster });
        }
        let host = hosts::without_port(authority);
        let address = std::str::from_utf8(host).ok().and_then(|host| {
            host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).parse().ok()
        });
        let number = service.chains.find(address.or(service.address), Some(host))? as usize;
        Some(if service.protocol == PortProtocol::Auto {
            NamedService::Auto(number)
        } else {
            NamedService::Tcp(number)
        })
    }

    /// The service with this own address.
    fn at(&self, port: &Port, to: SocketAddr) -> Option<&DestinationPort> {
        self.services.get(*port.addresses.get(&to.ip().to_canonical())? as usize)
    }
}

impl Port {
    /// The port of these services, each with its number and that of its first chain.
    fn new(services: &[(u32, u32, &OutboundService)], bound: bool) -> Self {
        let mut port = Self::default();
        let names = services.iter().flat_map(|(number, _, service)| {
            let number = *number;
            service.names.iter().map(move |name| (&**name, number))
        });
        port.names = HostTable::new(names);
        let mut chains: Vec<(Cow<'_, FilterChainMatch>, u32)> = Vec::new();
        let mut has_anywhere = false;
        for (number, first, service) in services {
            for address in &service.addresses {
                port.addresses.entry(address.to_canonical()).or_insert(*number);
            }
            match service.protocol {
                PortProtocol::Http => port.http = true,
                PortProtocol::Auto => (port.http, port.detect) = (true, true),
                PortProtocol::Tls => {
                    port.detect = true;
                    // A chain that asks for no name is for the whole service, which is told apart by its names here.
                    chains.extend(service.chains.iter().zip(*first..).map(|((matches, _), number)| {
                        let of_service = FilterChainMatch { server_names: service.names.clone(), ..matches.clone() };
                        let named = !matches.server_names.is_empty();
                        (if named { Cow::Borrowed(matches) } else { Cow::Owned(of_service) }, number)
                    }));
                }
                PortProtocol::Tcp => {}
            }
            let takes_all = service.protocol == PortProtocol::Tcp && service.addresses.is_empty()
                || bound && service.protocol == PortProtocol::Auto;
            if takes_all && !has_anywhere {
                has_anywhere = true;
                let own = service.chains.iter().map(|(matches, _)| Cow::Borrowed(matches));
                chains.extend(own.zip(*first..));
            }
        }
        port.chains = FilterChainTable::new(chains.iter().map(|(matches, number)| (&**matches, *number)));
        port
    }
}

/// The port that the authority of a CONNECT names; `None` if it is not a valid port.
#[must_use]
pub fn tunnel_port(authority: &[u8]) -> Option<u16> {
    let digits = hosts::port(authority)?;
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|port| *port > 0)
}

#[cfg(test)]
mod tests;
