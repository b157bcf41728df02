use super::*;
use crate::istio::model::destination_rule::{Distribute, Failover};

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Endpoints at these places, of these weights, without labels.
struct At(Vec<(Locality, Labels, u32)>);

impl At {
    fn places(places: &[(&str, u32)]) -> Self {
        Self(places.iter().map(|(place, weight)| (Locality::parse(place), Labels::new(), *weight)).collect())
    }

    fn labelled(all: &[&[(&str, &str)]]) -> Self {
        Self(all.iter().map(|pairs| (Locality::default(), labels(pairs), 1)).collect())
    }

    fn placed(&self) -> Vec<Placed<'_>> {
        self.0.iter().map(|(locality, labels, weight)| Placed { locality, labels, weight: *weight }).collect()
    }
}

/// Weight and members of each group of each level.
type Shape = Vec<Vec<(u32, Vec<u32>)>>;

fn shape(setting: &LocalityLb, outliers: bool, here: (&str, &[(&str, &str)]), endpoints: &At) -> Shape {
    let here = (Locality::parse(here.0), labels(here.1));
    let here = Here { locality: &here.0, labels: &here.1 };
    levels(Some(setting), outliers, here, &endpoints.placed())
        .into_iter()
        .map(|level| level.into_iter().map(|group| (group.weight, group.members.to_vec())).collect())
        .collect()
}

fn distribute(rules: &[(&str, &[(&str, u32)])]) -> LocalityLb {
    let to = |to: &[(&str, u32)]| to.iter().map(|(place, share)| ((*place).to_owned(), *share)).collect();
    let distribute = rules.iter().map(|(from, shares)| Distribute { from: (*from).to_owned(), to: to(shares) });
    LocalityLb { distribute: distribute.collect(), ..LocalityLb::default() }
}

fn failover(rules: &[(&str, &str)], keys: &[&str]) -> LocalityLb {
    let failover = rules.iter().map(|(from, to)| Failover { from: (*from).to_owned(), to: (*to).to_owned() });
    let failover_priority = keys.iter().map(|key| (*key).to_owned()).collect();
    LocalityLb { failover: failover.collect(), failover_priority, ..LocalityLb::default() }
}

#[test]
fn the_rules_setting_goes_before_the_meshs_and_may_turn_it_off() {
    let mesh = distribute(&[("*", &[("a", 100)])]);
    let rule = failover(&[], &[]);
    let off = |setting: &LocalityLb| LocalityLb { enabled: Some(false), ..setting.clone() };
    assert_eq!(setting(None, &mesh), Some(&mesh));
    assert_eq!(setting(Some(&rule), &mesh), Some(&rule));
    assert_eq!(setting(Some(&off(&rule)), &mesh), None);
    assert_eq!(setting(None, &off(&mesh)), None);
    assert_eq!(setting(Some(&rule), &off(&mesh)), Some(&rule));
}

#[test]
fn places_match_patterns() {
    for (place, pattern, expected) in [
        ("r/z/s", "r/z/s", true),
        ("r/z/s", "r/z/*", true),
        ("r/z/s", "r/z", true),
        ("r/z/s", "r/*", true),
        ("r/z/s", "r", true),
        ("r/z/s", "*", true),
        ("r/z/s", "r/z/t", false),
        ("r/z/s", "r/y", false),
        ("r/z/s", "q", false),
        ("r", "r/z", false),
        ("", "*", true),
        ("", "r", false),
    ] {
        assert_eq!(matches(&Locality::parse(place), pattern), expected, "{place} {pattern}");
    }
}

#[test]
fn distribution_by_the_first_rule_for_this_place() {
    let endpoints = At::places(&[("r1/z1", 1), ("r1/z2", 2), ("r2/z1", 1), ("r3", 5), ("r1/z1", 3)]);
    let rules = distribute(&[("r9", &[("r3", 100)]), ("r1/*", &[("r1/*", 70), ("r2/z1", 30)]), ("*", &[("r3", 100)])]);
    // 70 for a weight of 6 in r1: 4 of them in z1, 2 in z2, rounded up. r3 gets nothing.
    let expected = vec![vec![(47, vec![0, 4]), (24, vec![1]), (30, vec![2])]];
    assert_eq!(shape(&rules, false, ("r1/z1", &[]), &endpoints), expected);
    assert_eq!(shape(&rules, true, ("r1", &[]), &endpoints), expected, "failing over does not matter then");
    assert_eq!(shape(&rules, false, ("r9", &[]), &endpoints), [[(100, vec![3])]]);
    assert_eq!(shape(&rules, false, ("", &[]), &endpoints), [[(100, vec![3])]]);
    let nobody = distribute(&[("*", &[("elsewhere", 100)])]);
    assert_eq!(shape(&nobody, false, ("r1", &[]), &endpoints), [[]]);
    let no_rule = distribute(&[("r9", &[("r3", 100)])]);
    assert_eq!(shape(&no_rule, false, ("r1", &[]), &endpoints), [[(1, vec![0, 1, 2, 3, 4])]]);
}

#[test]
fn nothing_fails_over_without_outlier_detection() {
    let endpoints = At::places(&[("r1", 1), ("r2", 1)]);
    let all = [[(1, vec![0, 1])]];
    for setting in [failover(&[], &[]), failover(&[("r1", "r2")], &[]), failover(&[], &["a"])] {
        assert_eq!(shape(&setting, false, ("r1", &[("a", "b")]), &endpoints), all);
    }
    assert_eq!(shape(&failover(&[], &[]), true, ("r1", &[]), &At::places(&[])), [[(1, vec![])]]);
}

#[test]
fn the_nearest_go_first() {
    let endpoints =
        At::places(&[("r1/z1/s1", 1), ("r2", 1), ("r1/z2/s1", 2), ("r1/z1/s2", 1), ("r1/z1/s1", 3), ("r3", 1)]);
    let from = |here, setting: &LocalityLb| shape(setting, true, (here, &[]), &endpoints);
    let plain = failover(&[], &[]);
    let one = |members: &[u32]| vec![(1, members.to_vec())];
    assert_eq!(from("r1/z1/s1", &plain), [one(&[0, 4]), one(&[3]), one(&[2]), one(&[1, 5])]);
    // Steps that nobody is on are left out.
    assert_eq!(from("r2", &plain), [one(&[1]), one(&[0, 2, 3, 4, 5])]);
    assert_eq!(from("", &plain), [one(&[0, 1, 2, 3, 4, 5])]);
    // Where regions are written down, localities also have weights.
    let to_r3 = failover(&[("r1", "r3"), ("r1", "r2"), ("r2", "r1")], &[]);
    assert_eq!(
        from("r1/z1/s1", &to_r3),
        [vec![(4, vec![0, 4])], vec![(1, vec![3])], vec![(2, vec![2])], vec![(1, vec![5])], vec![(1, vec![1])]]
    );
    let weighted: Vec<u32> = from("r2", &to_r3)[1].iter().map(|(weight, _)| *weight).collect();
    assert_eq!(weighted, [4, 1, 2], "r1 before r3, its localities by their weights");
}

#[test]
fn labels_in_order() {
    let endpoints = At::labelled(&[
        &[("net", "a"), ("rack", "1")],
        &[("net", "a"), ("rack", "2")],
        &[("net", "b"), ("rack", "1")],
        &[],
    ]);
    let here: (&str, &[(&str, &str)]) = ("", &[("net", "a"), ("rack", "1")]);
    let members = |setting: &LocalityLb, here| -> Vec<Vec<u32>> {
        let of_level = |level: Vec<(u32, Vec<u32>)>| level.into_iter().flat_map(|(_, members)| members).collect();
        shape(setting, true, here, &endpoints).into_iter().map(of_level).collect()
    };
    let keys = failover(&[], &["net", "rack"]);
    assert_eq!(members(&keys, here), [vec![0], vec![1], vec![2, 3]]);
    // A value in the key stands in place of the proxy's.
    assert_eq!(members(&failover(&[], &["net=b", "rack"]), here), [vec![2], vec![0, 1, 3]]);
    assert_eq!(members(&keys, ("", &[("other", "x")])), [vec![3], vec![0, 1, 2]], "missing on both sides agrees");
    assert_eq!(members(&keys, ("", &[])), [vec![0, 1, 2, 3]], "without labels there is nothing to go by");
}

#[test]
fn labels_first_and_then_regions() {
    let mut endpoints = At::places(&[("r1", 1), ("r2", 1), ("r1", 1), ("r3", 1)]);
    for (at, net) in ["b", "a", "a", "a"].into_iter().enumerate() {
        endpoints.0[at].1 = labels(&[("net", net)]);
    }
    let both = failover(&[("r1", "r3")], &["net"]);
    let seen = shape(&both, true, ("r1", &[("net", "a")]), &endpoints);
    let order: Vec<u32> = seen.iter().flatten().flat_map(|(_, members)| members.clone()).collect();
    assert_eq!((seen.len(), order), (4, vec![2, 3, 1, 0]));
    // What a locality says is a label, too.
    let by_region = failover(&[], &["topology.kubernetes.io/region"]);
    let seen = shape(&by_region, true, ("r2", &[("net", "a")]), &endpoints);
    assert_eq!(seen[0], [(1, vec![1])]);
}
