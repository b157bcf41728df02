//! Rules for connections: which of them takes one, by the address that it was sent to and the server name that it asks
//! for. And the listeners of gateways that have no other.
//!
//! Plain data and the look-ups. Envoy's order of filter chains: the narrowest subnet that has the address decides first,
//! and there is no way back from it; within it the exact name, then the longest wildcard, then what asks for no name. Of
//! equals the first one stays. Called by `plan::outbound` and `proxy`.

use std::net::IpAddr;

use super::action::{Destination, Destinations, Target};
use super::hosts::HostTable;
use super::outbound::Speaks;
use super::route::Origin;
use crate::base::subnet::Subnet;

/// Where connections go: one rule of a VirtualService with its weights, or a service that has none.
#[derive(Debug, Clone)]
pub struct TcpRoute {
    /// What its statistics go by (`tcp.<name>.`): its cluster; of several destinations, as in Istio, the VirtualService's
    /// `name.namespace`.
    pub name: Box<str>,
    /// Clusters and their shares: one is drawn for each connection.
    pub destinations: Destinations,
    /// What the port is declared to speak.
    pub speaks: Speaks,
    /// Whether the client's address chooses the endpoint (`consistentHash.useSourceIp`).
    pub by_source: bool,
    /// The rule; `None`: a service without rules.
    pub origin: Option<Origin>,
}

impl TcpRoute {
    /// Everything to one cluster of this name, without a rule.
    #[must_use]
    pub fn plain(name: &str, target: Target, speaks: Speaks) -> Self {
        let destinations = Destinations::only(Destination::plain(target));
        Self { name: name.into(), destinations, speaks, by_source: false, origin: None }
    }
}

/// What a connection must be like for an outlet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    /// One of these has the address that it was sent to; none: that does not matter.
    pub subnets: Vec<Subnet>,
    /// One of these names and wildcards covers the server name; none: that does not matter.
    pub server_names: Vec<Box<str>>,
}

/// A table of outlets, by their conditions.
#[derive(Debug, Clone, Default)]
pub struct Chains {
    /// The narrowest first.
    subnets: Vec<(Subnet, ServerNames)>,
    anywhere: ServerNames,
}

/// By server name.
#[derive(Debug, Clone, Default)]
struct ServerNames {
    hosts: HostTable,
    has_hosts: bool,
    rest: Option<u32>,
}

impl ServerNames {
    fn new<'a>(entries: &[(&'a Conditions, u32)]) -> Self {
        let named = |(conditions, number): &(&'a Conditions, u32)| {
            let number = *number;
            conditions.server_names.iter().map(move |name| (&**name, number))
        };
        let hosts: Vec<(&str, u32)> = entries.iter().flat_map(named).collect();
        let rest = entries.iter().find(|(conditions, _)| conditions.server_names.is_empty());
        Self { has_hosts: !hosts.is_empty(), hosts: HostTable::new(hosts), rest: rest.map(|(_, number)| *number) }
    }

    fn find(&self, name: Option<&[u8]>) -> Option<u32> {
        name.and_then(|name| self.hosts.find(name)).or(self.rest)
    }
}

impl Chains {
    /// A table of these, of which the first of equals stays.
    #[must_use]
    pub fn new<'a>(entries: impl IntoIterator<Item = (&'a Conditions, u32)>) -> Self {
        let entries: Vec<_> = entries.into_iter().collect();
        let mut subnets: Vec<Subnet> =
            entries.iter().flat_map(|(conditions, _)| &conditions.subnets).copied().collect();
        subnets.sort_by_key(|subnet| (std::cmp::Reverse(subnet.bits()), *subnet));
        subnets.dedup();
        let of = |wanted: &dyn Fn(&Conditions) -> bool| {
            let of: Vec<_> = entries.iter().copied().filter(|(conditions, _)| wanted(conditions)).collect();
            ServerNames::new(&of)
        };
        Self {
            subnets: subnets
                .into_iter()
                .map(|subnet| (subnet, of(&|conditions| conditions.subnets.contains(&subnet))))
                .collect(),
            anywhere: of(&|conditions| conditions.subnets.is_empty()),
        }
    }

    /// The outlet of a connection that was sent to `to`, if that is known, and asks for `name`.
    #[must_use]
    pub fn find(&self, to: Option<IpAddr>, name: Option<&[u8]>) -> Option<u32> {
        let narrow = to.and_then(|to| self.subnets.iter().find(|(subnet, _)| subnet.contains(to)));
        narrow.map_or(&self.anywhere, |(_, names)| names).find(name)
    }

    /// Whether a server name can make a difference.
    #[must_use]
    pub fn asks_for_names(&self) -> bool {
        self.anywhere.has_hosts || self.subnets.iter().any(|(_, names)| names.has_hosts)
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.subnets.is_empty() && !self.anywhere.has_hosts && self.anywhere.rest.is_none()
    }
}

/// A gateway's listener for connections that are not looked into: its servers are TLS with mode PASSTHROUGH, or one of TCP.
#[derive(Debug, Clone)]
pub struct Streams {
    /// Whether its clients are to begin with TLS; else nothing is waited for.
    pub tls: bool,
    ways: Vec<(Conditions, TcpRoute)>,
    chains: Chains,
}

impl Streams {
    /// A listener with these rules, of which the first of equals stays.
    #[must_use]
    pub fn new(tls: bool, ways: Vec<(Conditions, TcpRoute)>) -> Self {
        let chains = Chains::new(ways.iter().map(|(conditions, _)| conditions).zip(0..));
        Self { tls, ways, chains }
    }

    /// The number of the outlet of a connection that asks for this server name.
    #[must_use]
    pub fn find(&self, name: Option<&[u8]>) -> Option<usize> {
        self.chains.find(None, name).map(|number| number as usize)
    }

    /// The outlet with this number.
    #[must_use]
    pub fn outlet(&self, number: usize) -> Option<&TcpRoute> {
        self.ways.get(number).map(|(_, outlet)| outlet)
    }

    /// Its rules, in order.
    #[must_use]
    pub fn ways(&self) -> &[(Conditions, TcpRoute)] {
        &self.ways
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn conditions(subnets: &[&str], names: &[&str]) -> Conditions {
        Conditions {
            subnets: subnets.iter().map(|subnet| subnet.parse().expect("a subnet")).collect(),
            server_names: names.iter().map(|name| (*name).into()).collect(),
        }
    }

    #[test]
    fn the_narrowest_subnet_then_the_longest_name() {
        let rules = [
            conditions(&[], &["*.example.com", "example.org"]), // 0
            conditions(&[], &["a.example.com"]),                // 1
            conditions(&[], &["a.example.com"]),                // 2: never
            conditions(&["10.0.0.0/8"], &["a.example.com"]),    // 3
            conditions(&["10.1.0.0/16", "fd00::/8"], &[]),      // 4
            conditions(&["10.2.0.0/16"], &["*.example.com"]),   // 5
            conditions(&["10.2.0.0/16"], &[]),                  // 6
        ];
        let chains = Chains::new(rules.iter().zip(0..));
        for (to, name, expected) in [
            (None, Some("a.example.com"), Some(1)),
            (None, Some("A.EXAMPLE.COM"), Some(1)),
            (None, Some("b.example.com"), Some(0)),
            (None, Some("b.a.example.com"), Some(0)),
            (None, Some("example.com"), None),
            (None, Some("example.org"), Some(0)),
            (None, None, None),
            (Some("1.2.3.4"), Some("a.example.com"), Some(1)),
            (Some("10.9.0.1"), Some("a.example.com"), Some(3)),
            // The subnet has it, so what is for all addresses has not.
            (Some("10.9.0.1"), Some("b.example.com"), None),
            (Some("10.1.0.1"), Some("a.example.com"), Some(4)),
            (Some("10.1.0.1"), None, Some(4)),
            (Some("fd01::1"), None, Some(4)),
            (Some("10.2.0.1"), Some("a.example.com"), Some(5)),
            (Some("10.2.0.1"), Some("example.org"), Some(6)),
        ] {
            let to: Option<IpAddr> = to.map(|to| to.parse().expect("an address"));
            assert_eq!(chains.find(to, name.map(str::as_bytes)), expected, "{to:?} {name:?}");
        }
        assert!(chains.asks_for_names() && !chains.is_empty());
        assert!(Chains::default().is_empty());
        assert!(!Chains::new([(&conditions(&["10.0.0.0/8"], &[]), 0)]).asks_for_names());
    }

    /// The rules once more, slowly.
    fn scan(rules: &[Conditions], to: Option<IpAddr>, name: Option<&str>) -> Option<u32> {
        let has = |subnet: &Subnet| to.is_some_and(|to| subnet.contains(to));
        let widths = rules.iter().flat_map(|rule| &rule.subnets).filter(|subnet| has(subnet)).map(|s| s.bits());
        let narrowest = widths.max();
        let mut best: Option<(usize, u32)> = None;
        for (rule, number) in rules.iter().zip(0..) {
            let here = match narrowest {
                Some(bits) => rule.subnets.iter().any(|subnet| has(subnet) && subnet.bits() == bits),
                None => rule.subnets.is_empty(),
            };
            let ranks = rule.server_names.iter().filter_map(|pattern| match (pattern.strip_prefix('*'), name) {
                (_, None) => None,
                (Some(suffix), Some(name)) => {
                    (name.len() > suffix.len() && name.ends_with(suffix)).then_some(1 + suffix.len())
                }
                (None, Some(name)) => (**pattern == *name).then_some(usize::MAX),
            });
            let rank = if rule.server_names.is_empty() { Some(0) } else { ranks.max() };
            if let Some(rank) = rank.filter(|rank| here && best.is_none_or(|(other, _)| other < *rank)) {
                best = Some((rank, number));
            }
        }
        best.map(|(_, number)| number)
    }

    fn rule() -> impl Strategy<Value = Conditions> {
        let subnet = (0..4_u8, 0..4_u8, 0..=32_u8).prop_map(|(a, b, bits)| format!("{a}.{b}.0.0/{bits}"));
        let name = prop_oneof!["[ab]{1,2}(\\.[ab]){1,2}", "\\*(\\.[ab]){1,2}"];
        (prop::collection::vec(subnet, 0..3), prop::collection::vec(name, 0..3)).prop_map(|(subnets, names)| {
            Conditions {
                subnets: subnets.iter().map(|subnet| subnet.parse().expect("a subnet")).collect(),
                server_names: names.into_iter().map(Into::into).collect(),
            }
        })
    }

    proptest! {
        #[test]
        fn finds_what_a_scan_finds(
            rules in prop::collection::vec(rule(), 0..12),
            to in prop::option::of((0..4_u8, 0..4_u8)),
            name in prop::option::of("[ab]{1,2}(\\.[ab]{1,2}){1,3}"),
        ) {
            let to = to.map(|(a, b)| IpAddr::from([a, b, 0, 1]));
            let chains = Chains::new(rules.iter().zip(0..));
            prop_assert_eq!(chains.find(to, name.as_deref().map(str::as_bytes)), scan(&rules, to, name.as_deref()));
        }
    }
}
