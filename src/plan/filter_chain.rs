//! Filter chains: the conditions on a connection (`matches`), and its handling (`then`): HTTP with its routes, or a TCP proxy.
//!
//! Plain data and the look-up. The order of filter chains is Envoy's: the narrowest subnet that has the address decides first,
//! and no other subnet is tried after it; within it the exact server name wins, then the longest wildcard, then the chain
//! that asks for no name. Of equal chains the first wins. Called by `plan::outbound` and `plan::listener`.

use std::net::IpAddr;

use super::action::{Destination, Destinations, Target};
use super::hosts::HostTable;
use super::route::Origin;
use super::route_table::HttpRoutes;
use crate::base::id::TcpStatsId;
use crate::base::subnet::Subnet;

/// A filter chain of a listener.
#[derive(Debug, Clone)]
pub struct FilterChain {
    /// The connections that the chain is for.
    pub matches: FilterChainMatch,
    /// The handling of its connections.
    pub then: Then,
}

/// The handling of the connections of a filter chain.
#[derive(Debug, Clone)]
pub enum Then {
    /// HTTP: requests are routed by these tables.
    Http(HttpRoutes),
    /// Bytes: a TCP proxy sends them on.
    Tcp(TcpRoute),
}

/// The conditions of a filter chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilterChainMatch {
    /// One of these subnets has the address that the connection was sent to; empty: any address.
    pub subnets: Vec<Subnet>,
    /// One of these names and wildcards covers the server name; empty: with or without a name.
    pub server_names: Vec<Box<str>>,
}

/// Where a TCP proxy sends connections: one rule of a VirtualService with its weights, or a service without a rule.
#[derive(Debug, Clone)]
pub struct TcpRoute {
    /// The prefix of its statistics (`tcp.<name>.`): its cluster; of several destinations, as in Istio, the VirtualService's
    /// `name.namespace`.
    pub name: Box<str>,
    /// Clusters and their shares: one is drawn for each connection.
    pub destinations: Destinations,
    /// Whether the client's address chooses the endpoint (`consistentHash.useSourceIp`).
    pub by_source: bool,
    /// The rule; `None`: a service without rules.
    pub origin: Option<Origin>,
    /// The index of its name in [`Plan::tcp_stat_names`](super::Plan::tcp_stat_names), once all listeners of the plan are
    /// there.
    pub stats: TcpStatsId,
}

impl FilterChain {
    /// A chain with a TCP proxy.
    #[must_use]
    pub fn tcp(matches: FilterChainMatch, route: TcpRoute) -> Self {
        Self { matches, then: Then::Tcp(route) }
    }

    /// The conditions and the TCP proxy; `None` for an HTTP chain.
    #[must_use]
    pub fn as_tcp(&self) -> Option<(&FilterChainMatch, &TcpRoute)> {
        match &self.then {
            Then::Tcp(route) => Some((&self.matches, route)),
            Then::Http(_) => None,
        }
    }
}

impl TcpRoute {
    /// A route without a rule: everything goes to one cluster of this name.
    #[must_use]
    pub fn plain(name: &str, target: Target) -> Self {
        let destinations = Destinations::only(Destination::plain(target));
        Self { name: name.into(), destinations, by_source: false, origin: None, stats: TcpStatsId(0) }
    }
}

/// A table of filter chains by their conditions; a chain is known by its number.
#[derive(Debug, Clone, Default)]
pub struct FilterChainTable {
    /// The narrowest first.
    subnets: Vec<(Subnet, ServerNames)>,
    anywhere: ServerNames,
}

/// Chains by server name.
#[derive(Debug, Clone, Default)]
struct ServerNames {
    hosts: HostTable,
    has_hosts: bool,
    rest: Option<u32>,
}

impl ServerNames {
    fn new<'a>(entries: &[(&'a FilterChainMatch, u32)]) -> Self {
        let named = |(matches, number): &(&'a FilterChainMatch, u32)| {
            let number = *number;
            matches.server_names.iter().map(move |name| (&**name, number))
        };
        let hosts: Vec<(&str, u32)> = entries.iter().flat_map(named).collect();
        let rest = entries.iter().find(|(matches, _)| matches.server_names.is_empty());
        Self { has_hosts: !hosts.is_empty(), hosts: HostTable::new(hosts), rest: rest.map(|(_, number)| *number) }
    }

    fn find(&self, name: Option<&[u8]>) -> Option<u32> {
        name.and_then(|name| self.hosts.find(name)).or(self.rest)
    }
}

impl FilterChainTable {
    /// A table of chains with these numbers; of equal chains the first wins.
    #[must_use]
    pub fn new<'a>(entries: impl IntoIterator<Item = (&'a FilterChainMatch, u32)>) -> Self {
        let entries: Vec<_> = entries.into_iter().collect();
        let mut subnets: Vec<Subnet> = entries.iter().flat_map(|(matches, _)| &matches.subnets).copied().collect();
        subnets.sort_by_key(|subnet| (std::cmp::Reverse(subnet.bits()), *subnet));
        subnets.dedup();
        let of = |wanted: &dyn Fn(&FilterChainMatch) -> bool| {
            let of: Vec<_> = entries.iter().copied().filter(|(matches, _)| wanted(matches)).collect();
            ServerNames::new(&of)
        };
        Self {
            subnets: subnets
                .into_iter()
                .map(|subnet| (subnet, of(&|matches| matches.subnets.contains(&subnet))))
                .collect(),
            anywhere: of(&|matches| matches.subnets.is_empty()),
        }
    }

    /// The number of the chain for a connection that was sent to `to`, if that is known, and asks for `name`.
    #[must_use]
    pub fn find(&self, to: Option<IpAddr>, name: Option<&[u8]>) -> Option<u32> {
        let narrow = to.and_then(|to| self.subnets.iter().find(|(subnet, _)| subnet.contains(to)));
        narrow.map_or(&self.anywhere, |(_, names)| names).find(name)
    }

    /// Whether some chain asks for a server name.
    #[must_use]
    pub fn asks_for_names(&self) -> bool {
        self.anywhere.has_hosts || self.subnets.iter().any(|(_, names)| names.has_hosts)
    }

    /// Whether there is no chain.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.subnets.is_empty() && !self.anywhere.has_hosts && self.anywhere.rest.is_none()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matching(subnets: &[&str], names: &[&str]) -> FilterChainMatch {
        FilterChainMatch {
            subnets: subnets.iter().map(|subnet| subnet.parse().expect("a subnet")).collect(),
            server_names: names.iter().map(|name| (*name).into()).collect(),
        }
    }

    #[test]
    fn the_narrowest_subnet_then_the_longest_name() {
        let rules = [
            matching(&[], &["*.example.com", "example.org"]), // 0
            matching(&[], &["a.example.com"]),                // 1
            matching(&[], &["a.example.com"]),                // 2: never
            matching(&["10.0.0.0/8"], &["a.example.com"]),    // 3
            matching(&["10.1.0.0/16", "fd00::/8"], &[]),      // 4
            matching(&["10.2.0.0/16"], &["*.example.com"]),   // 5
            matching(&["10.2.0.0/16"], &[]),                  // 6
        ];
        let table = FilterChainTable::new(rules.iter().zip(0..));
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
            // The subnet covers it, so the chain for all addresses does not apply.
            (Some("10.9.0.1"), Some("b.example.com"), None),
            (Some("10.1.0.1"), Some("a.example.com"), Some(4)),
            (Some("10.1.0.1"), None, Some(4)),
            (Some("fd01::1"), None, Some(4)),
            (Some("10.2.0.1"), Some("a.example.com"), Some(5)),
            (Some("10.2.0.1"), Some("example.org"), Some(6)),
        ] {
            let to: Option<IpAddr> = to.map(|to| to.parse().expect("an address"));
            assert_eq!(table.find(to, name.map(str::as_bytes)), expected, "{to:?} {name:?}");
        }
        assert!(table.asks_for_names() && !table.is_empty());
        assert!(FilterChainTable::default().is_empty());
        assert!(!FilterChainTable::new([(&matching(&["10.0.0.0/8"], &[]), 0)]).asks_for_names());
    }

    /// The rules once more, slowly.
    fn scan(rules: &[FilterChainMatch], to: Option<IpAddr>, name: Option<&str>) -> Option<u32> {
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

    fn rule() -> impl Strategy<Value = FilterChainMatch> {
        let subnet = (0..4_u8, 0..4_u8, 0..=32_u8).prop_map(|(a, b, bits)| format!("{a}.{b}.0.0/{bits}"));
        let name = prop_oneof!["[ab]{1,2}(\\.[ab]){1,2}", "\\*(\\.[ab]){1,2}"];
        (prop::collection::vec(subnet, 0..3), prop::collection::vec(name, 0..3)).prop_map(|(subnets, names)| {
            FilterChainMatch {
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
            let table = FilterChainTable::new(rules.iter().zip(0..));
            prop_assert_eq!(table.find(to, name.as_deref().map(str::as_bytes)), scan(&rules, to, name.as_deref()));
        }
    }
}
