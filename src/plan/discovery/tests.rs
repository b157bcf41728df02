//! What answers about names come to.

use std::net::IpAddr;
use std::time::Duration;

use super::*;
use crate::policy::balance::Policy;

fn named(name: &str, port: u16, weight: u32, zone: &str) -> Named {
    let address = name.parse::<IpAddr>().map_or_else(|_| Address::Name(name.to_owned()), Address::Ip);
    Named { address, port, weight, locality: Locality::parse(&format!("here/{zone}")), labels: Labels::new() }
}

fn names(kind: NameKind, named: Vec<Named>, locality: Option<LocalityLb>) -> Arc<Names> {
    let here = (Locality::parse("here/near"), Labels::new());
    let recipe = Recipe { policy: Policy::RoundRobin, warmup: None, ejects: locality.is_some(), locality, here };
    Arc::new(Names { kind, named: named.into(), recipe })
}

fn at(text: &str) -> HostAddress {
    match text.parse::<std::net::SocketAddr>() {
        Ok(address) => HostAddress { ip: address.ip(), port: Some(address.port()) },
        Err(_) => HostAddress { ip: text.parse().expect("an address"), port: None },
    }
}

/// Address, weight and name of each member, when a.com and b.com are there.
fn members(names: &Arc<Names>, a: &[&str], b: &[&str]) -> Vec<String> {
    let cluster = resolved(names, a, b);
    let shown = |(at, member): (usize, &Endpoint)| {
        format!("{}*{} {}", member.address, member.weight, cluster.discovery.hostname(at))
    };
    cluster.endpoints.iter().enumerate().map(shown).collect()
}

fn resolved(names: &Arc<Names>, a: &[&str], b: &[&str]) -> Cluster {
    let (a, b): (Vec<_>, Vec<_>) = (a.iter().map(|a| at(a)).collect(), b.iter().map(|b| at(b)).collect());
    let spread = LoadBalancing::even(Policy::RoundRobin, None, &[]);
    let cluster = Cluster::new("c", spread, Vec::new(), Duration::from_secs(1));
    let answers = |name: &str| match name {
        "a.com" => a.clone(),
        "b.com" => b.clone(),
        _ => Vec::new(),
    };
    let known: Vec<(String, Vec<HostAddress>)> = names.names().map(|name| (name.to_owned(), answers(name))).collect();
    names.resolved(&cluster, |name| known.iter().find(|(of, _)| of == name).map_or(&[][..], |(_, found)| found))
}

#[test]
fn every_address_of_every_name_is_a_member() {
    let all = names(
        NameKind::Every,
        vec![named("a.com", 80, 1, "near"), named("b.com", 81, 3, "near"), named("10.0.0.9", 82, 2, "near")],
        None,
    );
    assert_eq!(members(&all, &[], &[]), ["10.0.0.9:82*2 "]);
    assert_eq!(
        members(&all, &["10.0.0.2", "10.0.0.1", "::1"], &["10.0.0.1", "10.0.0.7:8000"]),
        [
            "10.0.0.1:80*1 a.com",
            "10.0.0.1:81*3 b.com",
            "10.0.0.2:80*1 a.com",
            "10.0.0.7:8000*3 b.com",
            "10.0.0.9:82*2 ",
            "[::1]:80*1 a.com"
        ]
    );
    // Two names may mean the same one, and an answer may say the same twice.
    let same = names(NameKind::Every, vec![named("a.com", 80, 1, "near"), named("b.com", 80, 3, "near")], None);
    assert_eq!(members(&same, &["10.0.0.1", "10.0.0.1"], &["10.0.0.1"]), ["10.0.0.1:80*1 a.com"]);
}

#[test]
fn the_single_endpoint_of_a_name_is_at_its_first_address() {
    let first = names(NameKind::First, vec![named("a.com", 80, 1, "near")], None);
    assert_eq!(members(&first, &["10.0.0.2", "10.0.0.1"], &[]), ["10.0.0.2:80*1 a.com"]);
    assert!(members(&first, &[], &[]).is_empty());
    let (before, after) = (resolved(&first, &["10.0.0.2"], &[]), resolved(&first, &["10.0.0.1"], &[]));
    assert_eq!(before.position_before(&after, &after.endpoints[0].address), Some(0), "it has only moved");
    let every = names(NameKind::Every, vec![named("a.com", 80, 1, "near")], None);
    let (before, after) = (resolved(&every, &["10.0.0.2"], &[]), resolved(&every, &["10.0.0.1"], &[]));
    assert_eq!(before.position_before(&after, &after.endpoints[0].address), None, "it is another one");
}

#[test]
fn members_have_the_locality_of_their_name() {
    let locality = LocalityLb { enabled: Some(true), ..LocalityLb::default() };
    let both =
        names(NameKind::Every, vec![named("a.com", 80, 1, "far"), named("b.com", 80, 1, "near")], Some(locality));
    let levels = |a: &[&str], b: &[&str]| -> Vec<Vec<u32>> {
        let cluster = resolved(&both, a, b);
        let groups = |level: &crate::policy::balance::Level| level.groups.clone();
        let members = cluster.spread.levels.iter().map(groups);
        members.map(|groups| groups.iter().flat_map(|group| group.members.to_vec()).collect()).collect()
    };
    assert_eq!(levels(&["10.0.0.1", "10.0.0.3"], &["10.0.0.2"]), [vec![1], vec![0, 2]]);
    assert_eq!(levels(&["10.0.0.1"], &[]), [vec![0]]);
}

#[test]
fn no_answer_is_too_long() {
    let every = names(NameKind::Every, vec![named("a.com", 80, 1, "near")], None);
    let many: Vec<String> = (0..3000).map(|number| format!("10.0.{}.{}", number / 250, number % 250)).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(members(&every, &many[..1000], &[]).len(), 1000);
    assert_eq!(members(&every, &many, &[]).len(), MOST_ADDRESSES);
}
