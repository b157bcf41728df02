//! What outbound listeners know beside HTTP: which service a connection is for, by the address and port that it was sent
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

use super::PASSTHROUGH_CLUSTER;
use super::hosts::{self, HostTable};
use super::streams::{Chains, Conditions, TcpRoute};

/// Where connections end that may go nowhere (REGISTRY_ONLY): Istio's name in log and statistics. There is no such
/// cluster.
pub const BLACK_HOLE_CLUSTER: &str = "BlackHoleCluster";

/// A listener's ways out that are no HTTP routes.
#[derive(Debug, Clone, Default)]
pub struct Outbound {
    /// `outboundTrafficPolicy`: what nobody declared may be connected to.
    pub allow_any: bool,
    /// Whether that may be a loopback or link-local address (`Proxy.spec.mesh.allowLocal`).
    pub allow_local: bool,
    /// How long first bytes are awaited (`meshConfig.protocolDetectionTimeout`); `None`: for ever.
    pub detection: Option<Duration>,
    /// Where what nobody declared is sent instead (a Sidecar's `outboundTrafficPolicy.egressProxy`).
    pub egress_proxy: Option<TcpRoute>,
    /// Those of ports that are HTTP alone last; a number of the tables below is a position here.
    outlets: Vec<(Conditions, TcpRoute)>,
    /// A number of the tables below is a position here, too.
    services: Vec<Service>,
    /// By port.
    ports: HashMap<u16, Port, foldhash::fast::RandomState>,
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
    /// What it is declared to speak.
    pub speaks: Speaks,
    /// Where to, by the rules for connections, in order; where none says it, last and without conditions, the service
    /// itself. Of what speaks HTTP that leads nowhere, because other rules say where it goes.
    pub ways: Vec<(Conditions, TcpRoute)>,
}

/// A port of a service.
#[derive(Debug, Clone)]
struct Service {
    speaks: Speaks,
    chains: Chains,
    /// Where it is, if it has an address of its own: what a client would have connected to that names it.
    address: Option<IpAddr>,
}

/// What is known of one port.
#[derive(Debug, Clone, Default)]
struct Port {
    /// All services, by name.
    names: HostTable,
    /// The services with addresses of their own.
    addresses: HashMap<IpAddr, u32, foldhash::fast::RandomState>,
    /// Some service speaks HTTP here, or may.
    http: bool,
    /// Some service's protocol is not said, or there are TLS services.
    look: bool,
    /// Those with TLS, and the first TCP service without an address of its own; of a bound listener the first that may speak
    /// TCP.
    chains: Chains,
}

/// What is to be expected of a connection, by where it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortProtocol {
    /// HTTP, to be routed by `Host` on that port.
    Http,
    /// The bytes go to this outlet, whatever they are.
    Bytes(usize),
    /// The first bytes decide: [`Outbound::decide`].
    Unsaid,
}

/// What the first bytes of a connection are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detected<'a> {
    /// The request line of an HTTP/1 request.
    Http,
    /// A TLS ClientHello, with the server name that it asks for, if any.
    Tls(Option<Cow<'a, [u8]>>),
    /// Something else, or nothing in time.
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

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DetectedTarget {
    /// It is HTTP.
    Http,
    /// It goes to this outlet.
    TcpRoute(usize),
    /// Nobody declared where it was sent to: what `allow_any` says.
    Undeclared,
}

impl Outbound {
    /// With these services' ports. Where two have the same name or address on a port, it is the first one's.
    #[must_use]
    pub fn new(allow_any: bool, allow_local: bool, detection: Option<Duration>, declared: Vec<Declared>) -> Self {
        Self::of(allow_any, allow_local, detection, declared, false)
    }

    /// Of a listener that clients connect to itself, so that no address tells the services apart: what is no HTTP goes to
    /// the first of them that may speak something else, if no server name says which.
    #[must_use]
    pub fn bound(allow_any: bool, allow_local: bool, detection: Option<Duration>, mut declared: Vec<Declared>) -> Self {
        declared.iter_mut().for_each(|declared| declared.addresses.clear());
        Self::of(allow_any, allow_local, detection, declared, true)
    }

    /// With this in the place of where undeclared connections were sent.
    #[must_use]
    pub fn by_way_of(self, egress_proxy: Option<TcpRoute>) -> Self {
        Self { egress_proxy, ..self }
    }

    fn of(
        allow_any: bool,
        allow_local: bool,
        detection: Option<Duration>,
        mut declared: Vec<Declared>,
        bound: bool,
    ) -> Self {
        declared.sort_by_key(|declared| declared.speaks == Speaks::Http);
        let mut by_port: HashMap<u16, Vec<(u32, u32, &Declared)>, foldhash::fast::RandomState> = HashMap::default();
        let (mut services, mut first) = (Vec::with_capacity(declared.len()), 0);
        for (declared, number) in declared.iter().zip(0..) {
            by_port.entry(declared.port).or_default().push((number, first, declared));
            services.push(Service {
                speaks: declared.speaks,
                chains: Chains::new(declared.ways.iter().map(|(conditions, _)| conditions).zip(first..)),
                address: declared.addresses.first().copied(),
            });
            first += declared.ways.len() as u32;
        }
        let ports = by_port.into_iter().map(|(port, services)| (port, Port::new(&services, bound))).collect();
        let outlets = declared.into_iter().flat_map(|declared| declared.ways).collect();
        Self { allow_any, allow_local, detection, egress_proxy: None, outlets, services, ports }
    }

    /// The outlet with this number.
    #[must_use]
    pub fn outlet(&self, number: usize) -> Option<&TcpRoute> {
        self.outlets.get(number).map(|(_, outlet)| outlet)
    }

    /// All outlets that are not HTTP alone, by number, with what a connection must be like for each.
    #[must_use]
    pub fn ways(&self) -> &[(Conditions, TcpRoute)] {
        self.outlets.get(..self.undeclared()).unwrap_or_default()
    }

    /// The names of the `tcp.` statistics: those of the outlets that are not HTTP alone, in their order, and behind them
    /// that of everything undeclared.
    pub fn stat_names(&self) -> impl Iterator<Item = &str> {
        let undeclared = match &self.egress_proxy {
            Some(outlet) => &*outlet.name,
            None if self.allow_any => PASSTHROUGH_CLUSTER,
            None => BLACK_HOLE_CLUSTER,
        };
        self.ways().iter().map(|(_, outlet)| &*outlet.name).chain([undeclared])
    }

    /// The place of undeclared connections among [`Outbound::stat_names`].
    #[must_use]
    pub fn undeclared(&self) -> usize {
        self.outlets.partition_point(|(_, outlet)| outlet.speaks != Speaks::Http)
    }

    /// What is to be expected of a connection to this address.
    #[must_use]
    pub fn expect(&self, to: SocketAddr) -> PortProtocol {
        let Some(port) = self.ports.get(&to.port()) else { return PortProtocol::Unsaid };
        let own = self.at(port, to);
        let (http, look, chains) = match own {
            Some(own) => (own.speaks == Speaks::Http, own.speaks == Speaks::Unsaid, &own.chains),
            None => (port.http, port.look, &port.chains),
        };
        if http && !look && (own.is_some() || chains.is_empty()) {
            return PortProtocol::Http;
        }
        if http || look || chains.asks_for_names() {
            return PortProtocol::Unsaid;
        }
        let found = chains.find(Some(to.ip()), None);
        found.map_or(PortProtocol::Unsaid, |number| PortProtocol::Bytes(number as usize))
    }

    /// What becomes of a connection to this address that begins so.
    #[must_use]
    pub fn decide(&self, to: SocketAddr, seen: &Detected<'_>) -> DetectedTarget {
        let port = self.ports.get(&to.port());
        let own = port.and_then(|port| self.at(port, to));
        let never_http = own.is_some_and(|own| matches!(own.speaks, Speaks::Tls | Speaks::Tcp));
        if *seen == Detected::Http && !never_http {
            return DetectedTarget::Http;
        }
        let chains = own.map(|own| &own.chains).or(port.map(|port| &port.chains));
        let found = chains.and_then(|chains| chains.find(Some(to.ip()), seen.server_name()));
        found.map_or(DetectedTarget::Undeclared, |number| DetectedTarget::TcpRoute(number as usize))
    }

    /// The outlet that an authority (`host:port`) names; its port is as given, not the authority's. Its host stands for
    /// the server name that the client is going to ask for, and for the address that it would have connected to.
    #[must_use]
    pub fn named(&self, authority: &[u8], port: u16) -> Option<(usize, &TcpRoute)> {
        let service = self.services.get(self.ports.get(&port)?.names.find(authority)? as usize)?;
        let host = hosts::without_port(authority);
        let address = std::str::from_utf8(host).ok().and_then(|host| {
            host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).parse().ok()
        });
        let number = service.chains.find(address.or(service.address), Some(host))? as usize;
        Some((number, self.outlet(number)?))
    }

    fn at(&self, port: &Port, to: SocketAddr) -> Option<&Service> {
        self.services.get(*port.addresses.get(&to.ip().to_canonical())? as usize)
    }
}

impl Port {
    /// Of these services, each with its number and that of its first outlet.
    fn new(services: &[(u32, u32, &Declared)], bound: bool) -> Self {
        let mut port = Self::default();
        let names = services.iter().flat_map(|(number, _, declared)| {
            let number = *number;
            declared.names.iter().map(move |name| (&**name, number))
        });
        port.names = HostTable::new(names);
        let mut ways: Vec<(Cow<'_, Conditions>, u32)> = Vec::new();
        let mut has_anywhere = false;
        for (number, first, declared) in services {
            for address in &declared.addresses {
                port.addresses.entry(address.to_canonical()).or_insert(*number);
            }
            match declared.speaks {
                Speaks::Http => port.http = true,
                Speaks::Unsaid => (port.http, port.look) = (true, true),
                Speaks::Tls => {
                    port.look = true;
                    // What asks for no name is for the whole service, which is told apart by its names here.
                    ways.extend(declared.ways.iter().zip(*first..).map(|((conditions, _), number)| {
                        let of_service = Conditions { server_names: declared.names.clone(), ..conditions.clone() };
                        let named = !conditions.server_names.is_empty();
                        (if named { Cow::Borrowed(conditions) } else { Cow::Owned(of_service) }, number)
                    }));
                }
                Speaks::Tcp => {}
            }
            let takes_all = declared.speaks == Speaks::Tcp && declared.addresses.is_empty()
                || bound && declared.speaks == Speaks::Unsaid;
            if takes_all && !has_anywhere {
                has_anywhere = true;
                let own = declared.ways.iter().map(|(conditions, _)| Cow::Borrowed(conditions));
                ways.extend(own.zip(*first..));
            }
        }
        port.chains = Chains::new(ways.iter().map(|(conditions, number)| (&**conditions, *number)));
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
    use super::super::action::{Destination, Destinations, Target};
    use super::*;

    fn outlet(name: &str, speaks: Speaks) -> TcpRoute {
        let destinations = Destinations::only(Destination::plain(Target::Missing(name.into())));
        TcpRoute { name: name.into(), destinations, speaks, by_source: false, origin: None }
    }

    fn declared(port: u16, name: &str, addresses: &[&str], speaks: Speaks) -> Declared {
        let addresses = addresses.iter().map(|address| address.parse().expect("an address")).collect();
        let ways = vec![(Conditions::default(), outlet(name, speaks))];
        Declared { port, names: vec![name.into()], addresses, speaks, ways }
    }

    /// With a rule for these addresses or names before the service itself, or in its place.
    fn ruled(mut declared: Declared, rule: &str, subnets: &[&str], names: &[&str]) -> Declared {
        let subnets = subnets.iter().map(|subnet| subnet.parse().expect("a subnet")).collect();
        let server_names: Vec<Box<str>> = names.iter().map(|name| (*name).into()).collect();
        if declared.speaks == Speaks::Tls {
            declared.ways.retain(|(conditions, _)| !conditions.server_names.is_empty());
        }
        let way = (Conditions { subnets, server_names }, outlet(rule, declared.speaks));
        declared.ways.insert(0, way);
        declared
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
            ("1.2.3.4:80", PortProtocol::Http),
            ("1.2.3.4:443", PortProtocol::Unsaid),
            ("1.2.3.4:5432", PortProtocol::Bytes(2)),
            ("10.9.0.1:6379", PortProtocol::Bytes(4)),
            ("[::ffff:10.9.0.1]:6379", PortProtocol::Bytes(4)),
            ("10.9.0.9:6379", PortProtocol::Unsaid),
            ("10.9.0.2:8080", PortProtocol::Unsaid),
            ("1.2.3.4:9000", PortProtocol::Unsaid),
            ("[fd00::9]:9000", PortProtocol::Bytes(6)),
            ("10.9.0.3:9443", PortProtocol::Bytes(8)),
            ("1.2.3.4:22", PortProtocol::Unsaid),
        ] {
            assert_eq!(outbound.expect(to.parse().expect("an address")), expected, "{to}");
        }
    }

    #[test]
    fn what_it_says_first_decides_the_rest() {
        let outbound = sample();
        for (to, seen, way) in [
            ("1.2.3.4:443", Detected::tls("A.example.com"), DetectedTarget::TcpRoute(0)),
            ("1.2.3.4:443", Detected::tls("x.wild.example.com"), DetectedTarget::TcpRoute(1)),
            ("1.2.3.4:443", Detected::tls("b.example.com"), DetectedTarget::Undeclared),
            ("1.2.3.4:443", Detected::Tls(None), DetectedTarget::Undeclared),
            ("1.2.3.4:443", Detected::Bytes, DetectedTarget::Undeclared),
            ("1.2.3.4:443", Detected::Http, DetectedTarget::Http),
            ("10.9.0.9:6379", Detected::Bytes, DetectedTarget::Undeclared),
            ("10.9.0.2:8080", Detected::Bytes, DetectedTarget::TcpRoute(5)),
            ("10.9.0.2:8080", Detected::Http, DetectedTarget::Http),
            ("1.2.3.4:9000", Detected::tls("mixed-tls"), DetectedTarget::TcpRoute(7)),
            ("1.2.3.4:9000", Detected::Bytes, DetectedTarget::Undeclared),
            ("1.2.3.4:22", Detected::Http, DetectedTarget::Http),
            ("1.2.3.4:22", Detected::Bytes, DetectedTarget::Undeclared),
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

    fn name_of(outbound: &Outbound, number: usize) -> &str {
        &outbound.outlet(number).expect("there is such an outlet").name
    }

    #[test]
    fn rules_go_before_the_service_itself() {
        let tls = |name: &str, addresses: &[&str]| declared(443, name, addresses, Speaks::Tls);
        let tcp = |name: &str, addresses: &[&str]| declared(5432, name, addresses, Speaks::Tcp);
        let outbound = Outbound::new(
            true,
            false,
            None,
            vec![
                ruled(tls("*.a.com", &[]), "rule-a", &[], &["x.a.com"]),
                ruled(tls("vip.com", &["10.9.0.1"]), "rule-vip", &[], &["vip.com"]),
                tls("b.com", &[]),
                ruled(tcp("db", &[]), "rule-db", &["10.0.0.0/8"], &[]),
                ruled(tcp("own", &["10.9.0.2"]), "rule-own", &["10.9.0.0/16"], &[]),
                ruled(declared(7000, "any", &["10.9.0.3"], Speaks::Unsaid), "rule-any", &[], &[]),
            ],
        );
        let expected = |to: &str| match outbound.expect(to.parse().expect("an address")) {
            PortProtocol::Bytes(number) => name_of(&outbound, number),
            PortProtocol::Http => "http",
            PortProtocol::Unsaid => "unsaid",
        };
        for (to, name) in [
            ("1.2.3.4:443", "unsaid"),
            ("10.9.0.1:443", "unsaid"),
            ("1.2.3.4:5432", "db"),
            ("10.2.3.4:5432", "rule-db"),
            ("10.9.0.2:5432", "rule-own"),
            ("10.9.0.3:7000", "unsaid"),
        ] {
            assert_eq!(expected(to), name, "{to}");
        }
        let decided = |to: &str, seen: Detected<'_>| match outbound.decide(to.parse().expect("an address"), &seen) {
            DetectedTarget::TcpRoute(number) => name_of(&outbound, number),
            DetectedTarget::Http => "http",
            DetectedTarget::Undeclared => "undeclared",
        };
        for (to, seen, name) in [
            ("1.2.3.4:443", Detected::tls("x.a.com"), "rule-a"),
            ("1.2.3.4:443", Detected::tls("y.a.com"), "undeclared"),
            ("1.2.3.4:443", Detected::tls("b.com"), "b.com"),
            ("1.2.3.4:443", Detected::tls("vip.com"), "rule-vip"),
            ("1.2.3.4:443", Detected::Http, "http"),
            ("10.9.0.1:443", Detected::tls("vip.com"), "rule-vip"),
            ("10.9.0.1:443", Detected::tls("b.com"), "undeclared"),
            ("10.9.0.1:443", Detected::Http, "undeclared"),
            ("10.9.0.3:7000", Detected::Bytes, "rule-any"),
            ("10.9.0.3:7000", Detected::Http, "http"),
        ] {
            assert_eq!(decided(to, seen.clone()), name, "{to} {seen:?}");
        }
        let named = |authority: &str| {
            let port = tunnel_port(authority.as_bytes())?;
            outbound.named(authority.as_bytes(), port).map(|(number, _)| name_of(&outbound, number))
        };
        for (authority, name) in [
            ("x.a.com:443", Some("rule-a")),
            ("y.a.com:443", None),
            ("b.com:443", Some("b.com")),
            ("db:5432", Some("db")),
            ("own:5432", Some("rule-own")),
            ("any:7000", Some("rule-any")),
        ] {
            assert_eq!(named(authority), name, "{authority}");
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
    fn on_a_bound_listener_no_address_tells_services_apart() {
        let to = "127.0.0.1:1".parse().expect("an address");
        let of = |services: Vec<Declared>| {
            let outbound = Outbound::bound(true, false, None, services);
            match outbound.expect(to) {
                PortProtocol::Unsaid => [Detected::Http, Detected::tls("a.com"), Detected::Bytes].map(|seen| {
                    let way = outbound.decide(to, &seen);
                    if let DetectedTarget::TcpRoute(number) = way {
                        outbound.outlet(number).expect("an outlet").name.to_string()
                    } else {
                        format!("{way:?}")
                    }
                }),
                PortProtocol::Http => ["HTTP"; 3].map(str::to_owned),
                PortProtocol::Bytes(number) => {
                    [(); 3].map(|()| outbound.outlet(number).expect("an outlet").name.to_string())
                }
            }
        };
        use Speaks::{Http, Tcp, Tls, Unsaid};
        let on = |name: &str, speaks| declared(1, name, &["10.9.0.1"], speaks);
        assert_eq!(of(vec![on("db", Tcp), on("later", Tcp)]), ["db"; 3]);
        assert_eq!(of(vec![on("web", Http)]), ["HTTP"; 3]);
        assert_eq!(of(vec![on("maybe", Unsaid)]), ["Http", "maybe", "maybe"]);
        assert_eq!(of(vec![on("web", Http), on("db", Tcp)]), ["Http", "db", "db"]);
        assert_eq!(of(vec![on("a.com", Tls), on("b.com", Tls)]), ["Http", "a.com", "Undeclared"]);
        assert_eq!(of(Vec::new()), ["Http", "Undeclared", "Undeclared"]);
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
