//! What the mesh listener knows beside HTTP: which service a connection is for, by the address and port that it was sent
//! to before it was redirected here, by the server name of its TLS, or by the authority of a CONNECT.
//!
//! Plain data and the look-ups, without a byte read: what the first bytes are is `proxy`'s to find out. istiod's rules:
//! a service's own address decides first; then a port that some HTTP service has is HTTP, with its virtual hosts by
//! `Host`; TLS services of a port are told apart by server name; and the first TCP service without an address of its own
//! has the whole port. Ports that nobody declared are looked at, which istiod's sidecars do not do.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::hosts::{self, HostTable};
use super::{PASSTHROUGH_CLUSTER, Target};

/// Where connections end that may go nowhere (REGISTRY_ONLY): Istio's name in log and statistics. There is no such
/// cluster.
pub const BLACK_HOLE_CLUSTER: &str = "BlackHoleCluster";

/// The mesh listener's ways out that are no HTTP routes.
#[derive(Debug, Clone, Default)]
pub struct Outbound {
    /// `outboundTrafficPolicy`: what nobody declared may be connected to.
    pub allow_any: bool,
    /// Whether that may be a loopback or link-local address (`Proxy.spec.mesh.allowLocal`).
    pub allow_local: bool,
    /// How long first bytes are awaited (`meshConfig.protocolDetectionTimeout`); `None`: for ever.
    pub detection: Option<Duration>,
    /// One for each port of each service, those that are not HTTP alone first; a number of the tables below is a position
    /// here.
    outlets: Vec<Outlet>,
    /// By port.
    ports: HashMap<u16, Port, foldhash::fast::RandomState>,
}

/// A port of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlet {
    /// The name of its cluster, which its statistics go by (`tcp.<name>.`).
    pub name: Box<str>,
    /// Its cluster, without a subset; of what speaks HTTP none, because rules say where that goes.
    pub target: Target,
    /// What it is declared to speak.
    pub speaks: Speaks,
}

/// What a port is declared to speak, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP in some version: the rules of VirtualServices apply.
    Http,
    /// TLS, HTTPS: the first bytes name the host.
    Tls,
    /// Anything else that is declared.
    Tcp,
    /// Nothing is said: HTTP or bytes.
    Unsaid,
}

/// A service's port with all that it is known by.
#[derive(Debug, Clone)]
pub struct Declared {
    /// The port that clients address.
    pub port: u16,
    /// Host names and wildcards.
    pub names: Vec<Box<str>>,
    /// The service's own addresses.
    pub addresses: Vec<IpAddr>,
    /// Where to.
    pub outlet: Outlet,
}

/// What is known of one port.
#[derive(Debug, Clone, Default)]
struct Port {
    /// All services, by name.
    names: HostTable,
    /// Those with TLS.
    server_names: HostTable,
    addresses: HashMap<IpAddr, u32, foldhash::fast::RandomState>,
    /// Some service speaks HTTP here, or may.
    http: bool,
    /// Some service's protocol is not said, or there are TLS services.
    look: bool,
    /// The first TCP service without an address of its own.
    anywhere: Option<u32>,
}

/// What is to be expected of a connection, by where it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// HTTP, to be routed by `Host` on that port.
    Http,
    /// The bytes go to this outlet, whatever they are.
    Bytes(usize),
    /// The first bytes decide: [`Outbound::decide`].
    Unsaid,
}

/// What the first bytes of a connection are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen<'a> {
    /// The request line of an HTTP/1 request.
    Http,
    /// A TLS ClientHello, with the server name that it asks for, if any.
    Tls(Option<Cow<'a, [u8]>>),
    /// Something else, or nothing in time.
    Bytes,
}

impl<'a> Seen<'a> {
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

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It is HTTP.
    Http,
    /// It goes to this outlet.
    Outlet(usize),
    /// Nobody declared where it was sent to: what `allow_any` says.
    Undeclared,
}

impl Outbound {
    /// With these services' ports. Where two have the same name or address on a port, it is the first one's.
    #[must_use]
    pub fn new(allow_any: bool, allow_local: bool, detection: Option<Duration>, mut declared: Vec<Declared>) -> Self {
        declared.sort_by_key(|declared| declared.outlet.speaks == Speaks::Http);
        let mut by_port: HashMap<u16, Vec<(u32, &Declared)>, foldhash::fast::RandomState> = HashMap::default();
        for (declared, number) in declared.iter().zip(0..) {
            by_port.entry(declared.port).or_default().push((number, declared));
        }
        let ports = by_port.into_iter().map(|(port, services)| (port, Port::new(&services))).collect();
        let outlets = declared.into_iter().map(|declared| declared.outlet).collect();
        Self { allow_any, allow_local, detection, outlets, ports }
    }

    /// The outlet with this number.
    #[must_use]
    pub fn outlet(&self, number: usize) -> Option<&Outlet> {
        self.outlets.get(number)
    }

    /// The names of the `tcp.` statistics: those of the outlets that are not HTTP alone, in their order, and behind them
    /// that of everything undeclared.
    pub fn stat_names(&self) -> impl Iterator<Item = &str> {
        let undeclared = if self.allow_any { PASSTHROUGH_CLUSTER } else { BLACK_HOLE_CLUSTER };
        self.outlets.iter().take(self.undeclared()).map(|outlet| &*outlet.name).chain([undeclared])
    }

    /// The place of undeclared connections among [`Outbound::stat_names`].
    #[must_use]
    pub fn undeclared(&self) -> usize {
        self.outlets.partition_point(|outlet| outlet.speaks != Speaks::Http)
    }

    /// What is to be expected of a connection to this address.
    #[must_use]
    pub fn expect(&self, to: SocketAddr) -> Expected {
        let Some(port) = self.ports.get(&to.port()) else { return Expected::Unsaid };
        if let Some((number, outlet)) = self.at(port, to) {
            return match outlet.speaks {
                Speaks::Http => Expected::Http,
                Speaks::Tcp | Speaks::Tls => Expected::Bytes(number),
                Speaks::Unsaid => Expected::Unsaid,
            };
        }
        match (port.http, port.look, port.anywhere) {
            (true, false, None) => Expected::Http,
            (false, false, Some(number)) => Expected::Bytes(number as usize),
            _ => Expected::Unsaid,
        }
    }

    /// What becomes of a connection to this address that begins so.
    #[must_use]
    pub fn decide(&self, to: SocketAddr, seen: &Seen<'_>) -> Way {
        if *seen == Seen::Http {
            return Way::Http;
        }
        let Some(port) = self.ports.get(&to.port()) else { return Way::Undeclared };
        if let Some((number, _)) = self.at(port, to) {
            return Way::Outlet(number);
        }
        let named = seen.server_name().and_then(|name| port.server_names.find(name));
        named.or(port.anywhere).map_or(Way::Undeclared, |number| Way::Outlet(number as usize))
    }

    /// The outlet that an authority (`host:port`) names; its port is as given, not the authority's.
    #[must_use]
    pub fn named(&self, authority: &[u8], port: u16) -> Option<(usize, &Outlet)> {
        let number = self.ports.get(&port)?.names.find(authority)? as usize;
        Some((number, self.outlets.get(number)?))
    }

    fn at(&self, port: &Port, to: SocketAddr) -> Option<(usize, &Outlet)> {
        let number = *port.addresses.get(&to.ip().to_canonical())? as usize;
        Some((number, self.outlets.get(number)?))
    }
}

impl Port {
    fn new(services: &[(u32, &Declared)]) -> Self {
        let mut port = Self::default();
        let names = |wanted: &dyn Fn(&Declared) -> bool| {
            let services = services.iter().filter(|(_, declared)| wanted(declared));
            let names: Vec<(&str, u32)> =
                services.flat_map(|(number, declared)| declared.names.iter().map(|name| (&**name, *number))).collect();
            HostTable::new(names)
        };
        port.names = names(&|_| true);
        port.server_names = names(&|declared| declared.outlet.speaks == Speaks::Tls);
        for (number, declared) in services {
            for address in &declared.addresses {
                port.addresses.entry(address.to_canonical()).or_insert(*number);
            }
            match declared.outlet.speaks {
                Speaks::Http => port.http = true,
                Speaks::Unsaid => (port.http, port.look) = (true, true),
                Speaks::Tls => port.look = true,
                Speaks::Tcp if declared.addresses.is_empty() => _ = port.anywhere.get_or_insert(*number),
                Speaks::Tcp => {}
            }
        }
        port
    }
}

/// The port that the authority of a CONNECT names; `None` if it is none that can be connected to.
#[must_use]
pub fn tunnel_port(authority: &[u8]) -> Option<u16> {
    let digits = hosts::port(authority)?;
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|port| *port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(port: u16, name: &str, addresses: &[&str], speaks: Speaks) -> Declared {
        let addresses = addresses.iter().map(|address| address.parse().expect("an address")).collect();
        let outlet = Outlet { name: name.into(), target: Target::Missing(name.into()), speaks };
        Declared { port, names: vec![name.into()], addresses, outlet }
    }

    fn sample() -> Outbound {
        let declared = vec![
            declared(80, "web", &[], Speaks::Http),                 // 9
            declared(443, "a.example.com", &[], Speaks::Tls),       // 0
            declared(443, "*.wild.example.com", &[], Speaks::Tls),  // 1
            declared(5432, "db", &[], Speaks::Tcp),                 // 2
            declared(5432, "later", &[], Speaks::Tcp),              // 3
            declared(6379, "cache", &["10.9.0.1"], Speaks::Tcp),    // 4
            declared(8080, "maybe", &["10.9.0.2"], Speaks::Unsaid), // 5
            declared(9000, "mixed", &[], Speaks::Http),             // 10
            declared(9000, "mixed-tcp", &["fd00::9"], Speaks::Tcp), // 6
            declared(9000, "mixed-tls", &[], Speaks::Tls),          // 7
            declared(9443, "vip", &["10.9.0.3"], Speaks::Tls),      // 8
        ];
        Outbound::new(true, false, None, declared)
    }

    #[test]
    fn where_it_was_sent_says_what_to_expect() {
        let outbound = sample();
        for (to, expected) in [
            ("1.2.3.4:80", Expected::Http),
            ("1.2.3.4:443", Expected::Unsaid),
            ("1.2.3.4:5432", Expected::Bytes(2)),
            ("10.9.0.1:6379", Expected::Bytes(4)),
            ("[::ffff:10.9.0.1]:6379", Expected::Bytes(4)),
            ("10.9.0.9:6379", Expected::Unsaid),
            ("10.9.0.2:8080", Expected::Unsaid),
            ("1.2.3.4:9000", Expected::Unsaid),
            ("[fd00::9]:9000", Expected::Bytes(6)),
            ("10.9.0.3:9443", Expected::Bytes(8)),
            ("1.2.3.4:22", Expected::Unsaid),
        ] {
            assert_eq!(outbound.expect(to.parse().expect("an address")), expected, "{to}");
        }
    }

    #[test]
    fn what_it_says_first_decides_the_rest() {
        let outbound = sample();
        for (to, seen, way) in [
            ("1.2.3.4:443", Seen::tls("A.example.com"), Way::Outlet(0)),
            ("1.2.3.4:443", Seen::tls("x.wild.example.com"), Way::Outlet(1)),
            ("1.2.3.4:443", Seen::tls("b.example.com"), Way::Undeclared),
            ("1.2.3.4:443", Seen::Tls(None), Way::Undeclared),
            ("1.2.3.4:443", Seen::Bytes, Way::Undeclared),
            ("1.2.3.4:443", Seen::Http, Way::Http),
            ("10.9.0.9:6379", Seen::Bytes, Way::Undeclared),
            ("10.9.0.2:8080", Seen::Bytes, Way::Outlet(5)),
            ("10.9.0.2:8080", Seen::Http, Way::Http),
            ("1.2.3.4:9000", Seen::tls("mixed-tls"), Way::Outlet(7)),
            ("1.2.3.4:9000", Seen::Bytes, Way::Undeclared),
            ("1.2.3.4:22", Seen::Http, Way::Http),
            ("1.2.3.4:22", Seen::Bytes, Way::Undeclared),
        ] {
            assert_eq!(outbound.decide(to.parse().expect("an address"), &seen), way, "{to} {seen:?}");
        }
    }

    #[test]
    fn a_connect_names_its_service() {
        let outbound = sample();
        let named = |authority: &[u8]| {
            let port = tunnel_port(authority)?;
            outbound.named(authority, port).map(|(number, _)| number)
        };
        for (authority, expected) in [
            ("a.example.com:443", Some(0)),
            ("A.EXAMPLE.com:443", Some(0)),
            ("db:5432", Some(2)),
            ("web:80", Some(9)),
            ("web:81", None),
            ("db:443", None),
            ("nobody:443", None),
        ] {
            assert_eq!(named(authority.as_bytes()), expected, "{authority}");
        }
    }

    #[test]
    fn ports_that_can_be_connected_to() {
        for (authority, expected) in [
            ("a:443", Some(443)),
            ("[::1]:1", Some(1)),
            ("a:65535", Some(65535)),
            ("a:0", None),
            ("a:", None),
            ("a", None),
            ("a:65536", None),
            ("a:x", None),
        ] {
            assert_eq!(tunnel_port(authority.as_bytes()), expected, "{authority}");
        }
    }

    #[test]
    fn statistics_are_named_after_clusters() {
        let names = |outbound: &Outbound| outbound.stat_names().map(str::to_owned).collect::<Vec<_>>();
        let open = Outbound::new(
            true,
            false,
            None,
            vec![declared(80, "web", &[], Speaks::Http), declared(1, "db", &[], Speaks::Tcp)],
        );
        assert_eq!(names(&open), ["db", PASSTHROUGH_CLUSTER], "HTTP has statistics of its own");
        assert_eq!(names(&Outbound::default()), [BLACK_HOLE_CLUSTER]);
        assert_eq!(open.undeclared(), 1);
    }
}
