//! Which filter chain a connection finds, by destination, detected protocol and name.

use super::super::action::Target;
use super::super::route_table::RouteTable;
use super::*;

fn route(name: &str) -> TcpRoute {
    TcpRoute::plain(name, Target::Missing(name.into()))
}

fn service(port: u16, name: &str, addresses: &[&str], protocol: PortProtocol) -> OutboundService {
    let addresses = addresses.iter().map(|address| address.parse().expect("an address")).collect();
    let chains = match protocol {
        PortProtocol::Http => Vec::new(),
        _ => vec![(FilterChainMatch::default(), route(name))],
    };
    OutboundService { port, names: vec![name.into()], addresses, protocol, cluster: name.into(), chains }
}

/// With a rule for these addresses or names before the service itself, or in its place.
fn ruled(mut service: OutboundService, rule: &str, subnets: &[&str], names: &[&str]) -> OutboundService {
    let subnets = subnets.iter().map(|subnet| subnet.parse().expect("a subnet")).collect();
    let server_names: Vec<Box<str>> = names.iter().map(|name| (*name).into()).collect();
    if service.protocol == PortProtocol::Tls {
        service.chains.retain(|(matches, _)| !matches.server_names.is_empty());
    }
    service.chains.insert(0, (FilterChainMatch { subnets, server_names }, route(rule)));
    service
}

/// How connections find their chain, and the names of the chains by number.
struct Sample {
    outbound: Outbound,
    names: Vec<String>,
}

fn of((outbound, chains): (Outbound, Vec<FilterChain>)) -> Sample {
    let name = |chain: &FilterChain| chain.as_tcp().map_or("http", |(_, route)| &*route.name).to_owned();
    Sample { names: chains.iter().map(name).collect(), outbound }
}

fn routes() -> HttpRoutes {
    HttpRoutes::One(RouteTable::new(None, Vec::new()))
}

fn new(services: Vec<OutboundService>) -> Sample {
    of(Outbound::new(OutboundPolicy::default(), routes(), services))
}

impl Sample {
    fn without_detection(&self, to: &str) -> &str {
        let found = self.outbound.chain_without_detection(to.parse().expect("an address"));
        found.map_or("detect", |number| &self.names[number])
    }

    fn chain(&self, to: &str, detected: &Detected<'_>) -> &str {
        let found = self.outbound.chain(to.parse().expect("an address"), detected);
        found.map_or("undeclared", |number| &self.names[number])
    }

    /// Where a CONNECT leads: how, and which chain or cluster.
    fn named(&self, authority: &str) -> Option<(&str, &str)> {
        let port = tunnel_port(authority.as_bytes())?;
        Some(match self.outbound.named(authority.as_bytes(), port)? {
            NamedService::Http { cluster } => ("http", cluster),
            NamedService::Auto(number) => ("auto", &self.names[number]),
            NamedService::Tcp(number) => ("tcp", &self.names[number]),
        })
    }
}

fn sample() -> Sample {
    new(vec![
        service(80, "web", &[], PortProtocol::Http),
        service(443, "a.example.com", &[], PortProtocol::Tls),
        service(443, "*.wild.example.com", &[], PortProtocol::Tls),
        service(5432, "db", &[], PortProtocol::Tcp),
        service(5432, "later", &[], PortProtocol::Tcp),
        service(6379, "cache", &["10.9.0.1"], PortProtocol::Tcp),
        service(8080, "maybe", &["10.9.0.2"], PortProtocol::Auto),
        service(9000, "mixed", &[], PortProtocol::Http),
        service(9000, "mixed-tcp", &["fd00::9"], PortProtocol::Tcp),
        service(9000, "mixed-tls", &[], PortProtocol::Tls),
        service(9443, "vip", &["10.9.0.3"], PortProtocol::Tls),
    ])
}

#[test]
fn where_it_was_sent_says_what_to_expect() {
    let sample = sample();
    for (to, expected) in [
        ("1.2.3.4:80", "http"),
        ("1.2.3.4:443", "detect"),
        ("1.2.3.4:5432", "db"),
        ("10.9.0.1:6379", "cache"),
        ("[::ffff:10.9.0.1]:6379", "cache"),
        ("10.9.0.9:6379", "detect"),
        ("10.9.0.2:8080", "detect"),
        ("1.2.3.4:9000", "detect"),
        ("[fd00::9]:9000", "mixed-tcp"),
        ("10.9.0.3:9443", "vip"),
        ("1.2.3.4:22", "detect"),
    ] {
        assert_eq!(sample.without_detection(to), expected, "{to}");
    }
}

#[test]
fn the_detected_protocol_decides_the_rest() {
    let sample = sample();
    for (to, detected, expected) in [
        ("1.2.3.4:443", Detected::tls("A.example.com"), "a.example.com"),
        ("1.2.3.4:443", Detected::tls("x.wild.example.com"), "*.wild.example.com"),
        ("1.2.3.4:443", Detected::tls("b.example.com"), "undeclared"),
        ("1.2.3.4:443", Detected::Tls(None), "undeclared"),
        ("1.2.3.4:443", Detected::Bytes, "undeclared"),
        ("1.2.3.4:443", Detected::Http, "http"),
        ("10.9.0.9:6379", Detected::Bytes, "undeclared"),
        ("10.9.0.2:8080", Detected::Bytes, "maybe"),
        ("10.9.0.2:8080", Detected::Http, "http"),
        ("1.2.3.4:9000", Detected::tls("mixed-tls"), "mixed-tls"),
        ("1.2.3.4:9000", Detected::Bytes, "undeclared"),
        ("1.2.3.4:22", Detected::Http, "http"),
        ("1.2.3.4:22", Detected::Bytes, "undeclared"),
    ] {
        assert_eq!(sample.chain(to, &detected), expected, "{to} {detected:?}");
    }
}

#[test]
fn a_connect_names_its_service() {
    let sample = sample();
    for (authority, expected) in [
        ("a.example.com:443", Some(("tcp", "a.example.com"))),
        ("A.EXAMPLE.com:443", Some(("tcp", "a.example.com"))),
        ("db:5432", Some(("tcp", "db"))),
        ("maybe:8080", Some(("auto", "maybe"))),
        ("web:80", Some(("http", "web"))),
        ("mixed:9000", Some(("http", "mixed"))),
        ("mixed-tcp:9000", Some(("tcp", "mixed-tcp"))),
        ("web:81", None),
        ("db:443", None),
        ("nobody:443", None),
    ] {
        assert_eq!(sample.named(authority), expected, "{authority}");
    }
}

/// istiod builds a TCP listener of such a port, too.
#[test]
fn a_service_that_is_not_http_alone_goes_before_one_of_http_with_the_same_address() {
    let same = |protocol| service(7000, "same", &["10.9.0.4"], protocol);
    for services in [[PortProtocol::Http, PortProtocol::Tcp], [PortProtocol::Tcp, PortProtocol::Http]] {
        let sample = new(services.map(same).into());
        assert_eq!(sample.without_detection("10.9.0.4:7000"), "same");
        assert_eq!(sample.named("same:7000"), Some(("tcp", "same")));
    }
}

#[test]
fn rules_go_before_the_service_itself() {
    let tls = |name: &str, addresses: &[&str]| service(443, name, addresses, PortProtocol::Tls);
    let tcp = |name: &str, addresses: &[&str]| service(5432, name, addresses, PortProtocol::Tcp);
    let sample = new(vec![
        ruled(tls("*.a.com", &[]), "rule-a", &[], &["x.a.com"]),
        ruled(tls("vip.com", &["10.9.0.1"]), "rule-vip", &[], &["vip.com"]),
        tls("b.com", &[]),
        ruled(tcp("db", &[]), "rule-db", &["10.0.0.0/8"], &[]),
        ruled(tcp("own", &["10.9.0.2"]), "rule-own", &["10.9.0.0/16"], &[]),
        ruled(service(7000, "any", &["10.9.0.3"], PortProtocol::Auto), "rule-any", &[], &[]),
    ]);
    for (to, name) in [
        ("1.2.3.4:443", "detect"),
        ("10.9.0.1:443", "detect"),
        ("1.2.3.4:5432", "db"),
        ("10.2.3.4:5432", "rule-db"),
        ("10.9.0.2:5432", "rule-own"),
        ("10.9.0.3:7000", "detect"),
    ] {
        assert_eq!(sample.without_detection(to), name, "{to}");
    }
    for (to, detected, name) in [
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
        assert_eq!(sample.chain(to, &detected), name, "{to} {detected:?}");
    }
    for (authority, expected) in [
        ("x.a.com:443", Some(("tcp", "rule-a"))),
        ("y.a.com:443", None),
        ("b.com:443", Some(("tcp", "b.com"))),
        ("db:5432", Some(("tcp", "db"))),
        ("own:5432", Some(("tcp", "rule-own"))),
        ("any:7000", Some(("auto", "rule-any"))),
    ] {
        assert_eq!(sample.named(authority), expected, "{authority}");
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
    let to = "127.0.0.1:1";
    let with = |services: Vec<OutboundService>| {
        let sample = of(Outbound::bound(OutboundPolicy::default(), routes(), services));
        match sample.without_detection(to) {
            "detect" => [Detected::Http, Detected::tls("a.com"), Detected::Bytes]
                .map(|detected| sample.chain(to, &detected).to_owned()),
            always => [(); 3].map(|()| format!("always {always}")),
        }
    };
    use PortProtocol::{Auto, Http, Tcp, Tls};
    let on = |name: &str, protocol| service(1, name, &["10.9.0.1"], protocol);
    assert_eq!(with(vec![on("db", Tcp), on("later", Tcp)]), ["always db"; 3]);
    assert_eq!(with(vec![on("web", Http)]), ["always http"; 3]);
    assert_eq!(with(vec![on("maybe", Auto)]), ["http", "maybe", "maybe"]);
    assert_eq!(with(vec![on("web", Http), on("db", Tcp)]), ["http", "db", "db"]);
    assert_eq!(with(vec![on("a.com", Tls), on("b.com", Tls)]), ["http", "a.com", "undeclared"]);
    assert_eq!(with(Vec::new()), ["http", "undeclared", "undeclared"]);
}

#[test]
fn statistics_of_undeclared_connections_are_named_after_their_cluster() {
    for (undeclared, name) in [
        (Undeclared::EgressProxy(route("proxy").into()), "proxy"),
        (Undeclared::Passthrough(TcpStatsId(0)), PASSTHROUGH_CLUSTER),
        (Undeclared::BlackHole(TcpStatsId(0)), BLACK_HOLE_CLUSTER),
    ] {
        assert_eq!(undeclared.stat_name(), name);
    }
    assert_eq!(new(vec![service(80, "web", &[], PortProtocol::Http)]).names, ["http"], "HTTP has one chain");
}
