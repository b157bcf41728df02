use std::sync::OnceLock;
use std::time::Duration;

use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

use super::schedule::REBASE_AT;
use super::*;
use crate::base::endpoint::EndpointAddress;
use crate::policy::hashing::{Algorithm, TableSize};

fn policies() -> [Policy; 5] {
    let size = TableSize::new(251).expect("a prime");
    [
        Policy::LeastRequest,
        Policy::RoundRobin,
        Policy::Random,
        Policy::ConsistentHash(Algorithm::Ring { minimum: 64 }),
        Policy::ConsistentHash(Algorithm::Maglev { size }),
    ]
}

/// The time of all picks, where it does not matter.
#[allow(
    clippy::disallowed_methods,
    reason = "an Instant can be had from the clock only; all times are counted from it"
)]
fn now() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

/// A request without a hash.
fn ask() -> PickContext {
    PickContext { hash: None, now: now() }
}

fn addresses(weights: &[u32]) -> Vec<(EndpointAddress, u32)> {
    let address = |at: usize| EndpointAddress::from(([10, 0, (at / 250) as u8, (at % 250) as u8], 80));
    weights.iter().enumerate().map(|(at, weight)| (address(at), *weight)).collect()
}

fn members(weights: &[u32]) -> Vec<Member> {
    weights.iter().map(|weight| Member { weight: *weight, since: now() }).collect()
}

/// One over all endpoints of these weights.
fn balancer(weights: &[u32], policy: Policy, rng: &mut Rng) -> Balancer {
    Balancer::new(&LoadBalancing::even(policy, None, &addresses(weights)), &members(weights), now(), rng)
}

/// How often each endpoint is picked in `picks` picks with nothing in flight and everything usable.
fn shares(weights: &[u32], policy: Policy, picks: u32) -> Vec<u32> {
    shares_of(weights, policy, picks, |_| 0, |_| true)
}

fn shares_of(
    weights: &[u32],
    policy: Policy,
    picks: u32,
    active: impl Fn(usize) -> u32,
    usable: impl Fn(usize) -> bool,
) -> Vec<u32> {
    let mut rng = Rng::seeded(7);
    let mut balancer = balancer(weights, policy, &mut rng);
    let mut seen = vec![0; weights.len()];
    for _ in 0..picks {
        let id = balancer.pick(ask(), &active, &usable, &mut rng).expect("one is usable");
        seen[id.index()] += 1;
    }
    seen
}

/// Five standard deviations of a binomial around its mean: missed by one seed in 1.7 million.
fn assert_share(count: u32, picks: u32, p: f64, what: &str) {
    let n = f64::from(picks);
    let bound = 5.0 * (n * p * (1.0 - p)).sqrt();
    assert!((f64::from(count) - n * p).abs() <= bound, "{what}: {count} of {picks}, expected {p} of them");
}

#[test]
fn nothing_to_pick_from() {
    for policy in policies() {
        let mut rng = Rng::seeded(1);
        for weights in [&[][..], &[1], &[1, 1], &[1, 2]] {
            assert_eq!(balancer(weights, policy, &mut rng).pick(ask(), |_| 0, |_| false, &mut rng), None, "{policy:?}");
        }
    }
}

#[test]
fn random_is_uniform_whatever_the_weights() {
    for (at, count) in shares(&[1, 1, 50, 1], Policy::Random, 40_000).into_iter().enumerate() {
        assert_share(count, 40_000, 0.25, &format!("endpoint {at}"));
    }
}

#[test]
fn random_is_uniform_over_few_usable_ones() {
    // 3 of 64: most picks run out of draws and count.
    let seen = shares_of(&[1; 64], Policy::Random, 30_000, |_| 0, |at| at % 30 == 5 || at == 63);
    for at in [5, 35, 63] {
        assert_share(seen[at], 30_000, 1.0 / 3.0, &format!("endpoint {at}"));
    }
    assert_eq!(seen.iter().sum::<u32>(), seen[5] + seen[35] + seen[63]);
}

#[test]
fn least_request_is_uniform_when_idle() {
    for (at, count) in shares(&[3, 3, 3], Policy::LeastRequest, 30_000).into_iter().enumerate() {
        assert_share(count, 30_000, 1.0 / 3.0, &format!("endpoint {at}"));
    }
}

#[test]
fn least_request_takes_the_less_loaded_of_two_draws() {
    // Of n endpoints the one with more in flight than all others is taken only if both draws are it: 1 / n².
    for n in [2_u32, 4] {
        let seen = shares_of(&vec![1; n as usize], Policy::LeastRequest, 40_000, |at| u32::from(at == 1), |_| true);
        assert_share(seen[1], 40_000, f64::from(n * n).recip(), "the loaded one");
    }
}

#[test]
fn round_robin_goes_round_from_a_random_start() {
    let mut starts = [false; 4];
    for seed in 0..64 {
        let mut rng = Rng::seeded(seed);
        let mut balancer = balancer(&[2; 4], Policy::RoundRobin, &mut rng);
        let picks: Vec<usize> =
            (0..12).map(|_| balancer.pick(ask(), |_| 9, |_| true, &mut rng).expect("all are usable").index()).collect();
        assert!(picks.windows(2).all(|pair| pair[1] == (pair[0] + 1) % 4), "{picks:?}");
        starts[picks[0]] = true;
    }
    assert_eq!(starts, [true; 4]);
}

#[test]
fn round_robin_stays_even_around_unusable_ones() {
    for usable in
        [[true, false, true, true, false], [false, false, true, true, true], [true, true, false, false, false]]
    {
        let left = usable.iter().filter(|usable| **usable).count() as u32;
        let seen = shares_of(&[1; 5], Policy::RoundRobin, 60 * left, |_| 0, |at| usable[at]);
        assert_eq!(seen, usable.map(|usable| if usable { 60 } else { 0 }), "{usable:?}");
    }
}

#[test]
fn round_robin_takes_up_one_that_recovers() {
    let mut rng = Rng::seeded(3);
    let mut balancer = balancer(&[1; 3], Policy::RoundRobin, &mut rng);
    for _ in 0..100 {
        let _ = balancer.pick(ask(), |_| 0, |at| at != 1, &mut rng);
    }
    let mut next: Vec<usize> =
        (0..3).map(|_| balancer.pick(ask(), |_| 0, |_| true, &mut rng).expect("all are usable").index()).collect();
    next.sort_unstable();
    assert_eq!(next, [0, 1, 2]);
}

#[test]
fn weights_are_shares() {
    for policy in [Policy::RoundRobin, Policy::LeastRequest] {
        for weights in [&[1_u32, 2, 3][..], &[1, 100], &[5, 1, 1, 1], &[0, 1, 3]] {
            let total: u32 = weights.iter().map(|weight| (*weight).max(1)).sum();
            for (count, weight) in shares(weights, policy, 100 * total).into_iter().zip(weights) {
                // Earliest deadline first is exact but for where in the round the count begins and ends.
                let expected = 100 * (*weight).max(1);
                assert!(count.abs_diff(expected) <= 2, "{policy:?} {weights:?}: {count}, expected {expected}");
            }
        }
    }
}

#[test]
fn weights_spread_their_turns() {
    let mut rng = Rng::seeded(5);
    let mut balancer = balancer(&[1, 4], Policy::RoundRobin, &mut rng);
    let picks: Vec<usize> =
        (0..50).map(|_| balancer.pick(ask(), |_| 0, |_| true, &mut rng).expect("all are usable").index()).collect();
    for five in picks.windows(5) {
        assert_eq!(five.iter().filter(|at| **at == 0).count(), 1, "{picks:?}");
    }
}

#[test]
fn weighted_least_request_divides_by_the_load() {
    // Weight 4 with 3 in flight counts as much as weight 1 with none; round robin does not look.
    let active = |at: usize| if at == 0 { 3 } else { 0 };
    let seen = shares_of(&[4, 1], Policy::LeastRequest, 10_000, active, |_| true);
    assert!(seen[0].abs_diff(5_000) <= 8, "{seen:?}");
    let seen = shares_of(&[4, 1], Policy::RoundRobin, 10_000, active, |_| true);
    assert!(seen[0].abs_diff(8_000) <= 2, "{seen:?}");
}

#[test]
fn a_recovered_endpoint_does_not_make_up_for_its_absence() {
    for policy in [Policy::RoundRobin, Policy::LeastRequest] {
        let mut rng = Rng::seeded(9);
        let mut balancer = balancer(&[1, 2], policy, &mut rng);
        for _ in 0..1_000 {
            assert_eq!(balancer.pick(ask(), |_| 0, |at| at == 1, &mut rng), Some(EndpointId(1)));
        }
        let first = (0..30).filter(|_| balancer.pick(ask(), |_| 0, |_| true, &mut rng) == Some(EndpointId(0))).count();
        assert!(first.abs_diff(10) <= 1, "{policy:?}: {first} of 30 for a third of the weight");
    }
}

#[test]
fn setting_the_clock_back_changes_no_pick() {
    let mut rng = Rng::seeded(11);
    let weight = |at: usize| f64::from(1 << at);
    let mut schedule = Schedule::new(0..4, weight, &mut rng);
    for _ in 0..37 {
        schedule.pick(weight, |_| true);
    }
    let mut rebased = schedule.clone();
    rebased.rebase();
    for _ in 0..100 {
        assert_eq!(schedule.pick(weight, |_| true), rebased.pick(weight, |_| true));
    }
    schedule.turns.clear();
    schedule.now = REBASE_AT;
    for owner in 0..4 {
        schedule.enter(owner, 1.0);
    }
    assert!(schedule.pick(weight, |_| true).is_some());
    assert!(schedule.now < REBASE_AT, "the clock is set back by itself");
    assert_eq!(schedule.turns.len(), 4);
}

#[test]
fn weighted_cores_do_not_all_begin_with_the_same_endpoint() {
    for policy in [Policy::RoundRobin, Policy::LeastRequest] {
        let mut first = [false; 3];
        for seed in 0..64 {
            let mut rng = Rng::seeded(seed);
            let mut balancer = balancer(&[1, 2, 2], policy, &mut rng);
            first[balancer.pick(ask(), |_| 0, |_| true, &mut rng).expect("all are usable").index()] = true;
        }
        assert!(first.iter().filter(|begun| **begun).count() > 1, "{policy:?}: {first:?}");
    }
}

/// A cluster of equal endpoints in these levels of groups: weight and how many.
fn leveled(policy: Policy, levels: &[&[(u32, u32)]], rng: &mut Rng) -> (Balancer, Vec<Vec<Vec<usize>>>) {
    let mut next = 0;
    let mut take = |count: u32| {
        next += count;
        (next - count..next).collect::<Box<[u32]>>()
    };
    let groups: Vec<Vec<Group>> = levels
        .iter()
        .map(|level| level.iter().map(|(weight, count)| Group { weight: *weight, members: take(*count) }).collect())
        .collect();
    let members_of = |group: &Group| group.members.iter().map(|at| *at as usize).collect();
    let names = groups.iter().map(|level| level.iter().map(members_of).collect()).collect();
    let weights = vec![1; next as usize];
    let spread = LoadBalancing::new(policy, None, &addresses(&weights), groups);
    (Balancer::new(&spread, &members(&weights), now(), rng), names)
}

fn shares_by_group(
    balancer: &mut Balancer,
    groups: &[Vec<Vec<usize>>],
    picks: u32,
    usable: impl Fn(usize) -> bool,
    rng: &mut Rng,
) -> Vec<Vec<u32>> {
    let mut seen = vec![0; 100];
    for _ in 0..picks {
        seen[balancer.pick(ask(), |_| 0, &usable, rng).expect("one is usable").index()] += 1;
    }
    let sum = |group: &Vec<usize>| group.iter().map(|at| seen[*at]).sum();
    groups.iter().map(|level| level.iter().map(sum).collect()).collect()
}

#[test]
fn localities_take_turns_by_their_weights_whatever_their_sizes() {
    for policy in [Policy::LeastRequest, Policy::RoundRobin, Policy::Random] {
        let mut rng = Rng::seeded(2);
        let (mut balancer, groups) = leveled(policy, &[&[(80, 1), (15, 4), (5, 2)]], &mut rng);
        let seen = shares_by_group(&mut balancer, &groups, 10_000, |_| true, &mut rng);
        for (count, expected) in seen[0].iter().zip([8_000, 1_500, 500]) {
            assert!(u32::abs_diff(*count, expected) <= 2, "{policy:?}: {seen:?}");
        }
    }
}

#[test]
fn hashes_follow_the_weights_of_localities_too() {
    let mut rng = Rng::seeded(2);
    let policy = Policy::ConsistentHash(Algorithm::Maglev { size: TableSize::new(10_007).expect("a prime") });
    let (mut balancer, groups) = leveled(policy, &[&[(80, 1), (20, 4)]], &mut rng);
    let seen = shares_by_group(&mut balancer, &groups, 40_000, |_| true, &mut rng);
    assert_share(seen[0][0], 40_000, 0.8, "the greater locality");
}

#[test]
fn an_unhealthy_locality_loses_weight_beyond_the_overprovisioning() {
    let mut rng = Rng::seeded(2);
    let (mut balancer, groups) = leveled(Policy::RoundRobin, &[&[(50, 4), (50, 4)]], &mut rng);
    // 3 of 4 is more than 1 / 1.4: nothing changes.
    balancer.health_changed(|at| at != 0, now(), &mut rng);
    let seen = shares_by_group(&mut balancer, &groups, 1_000, |at| at != 0, &mut rng);
    assert!(seen[0][0].abs_diff(500) <= 1, "{seen:?}");
    // 1 of 4 counts for 1.4 / 4 of 50: 17.5 beside 50.
    balancer.health_changed(|at| at > 2, now(), &mut rng);
    let seen = shares_by_group(&mut balancer, &groups, 1_350, |at| at > 2, &mut rng);
    assert!(seen[0][0].abs_diff(350) <= 2, "{seen:?}");
    balancer.health_changed(|at| at > 3, now(), &mut rng);
    let seen = shares_by_group(&mut balancer, &groups, 1_000, |at| at > 3, &mut rng);
    assert_eq!(seen[0], [0, 1_000]);
}

#[test]
fn a_lower_priority_takes_over_as_the_upper_one_fails() {
    for policy in policies() {
        let mut rng = Rng::seeded(4);
        let (mut balancer, groups) = leveled(policy, &[&[(1, 10)], &[(1, 10)], &[(1, 1)]], &mut rng);
        for (failed, expected) in [(0, 1.0), (2, 1.0), (3, 0.98), (5, 0.7), (10, 0.0)] {
            let usable = |at: usize| at >= failed;
            balancer.health_changed(usable, now(), &mut rng);
            let seen = shares_by_group(&mut balancer, &groups, 10_000, usable, &mut rng);
            assert_share(seen[0][0], 10_000, expected, &format!("{policy:?} with {failed} of 10 failed"));
            assert_eq!(seen[2][0], 0, "the second has room for all");
        }
    }
}

#[test]
fn what_was_tried_already_leads_to_other_localities_but_not_to_an_idle_level() {
    for policy in policies() {
        let mut rng = Rng::seeded(4);
        let (mut balancer, _) = leveled(policy, &[&[(1, 2), (99, 1)], &[(1, 2)]], &mut rng);
        for left in 0..5 {
            // The lower level has no share while the upper one is healthy: whoever finds nobody there asks again.
            let expected = (left < 3).then_some(EndpointId(left as u32));
            assert_eq!(balancer.pick(ask(), |_| 0, |at| at == left, &mut rng), expected, "{policy:?}");
        }
        balancer.health_changed(|at| at != 0 && at != 1, now(), &mut rng);
        for left in 2..5 {
            let expected = Some(EndpointId(left as u32));
            assert_eq!(balancer.pick(ask(), |_| 0, |at| at == left, &mut rng), expected, "{policy:?}");
        }
    }
}

#[test]
fn the_unhealthy_get_nothing_until_they_are_well_again() {
    for policy in policies() {
        let mut rng = Rng::seeded(4);
        let mut balancer = balancer(&[1, 2, 1, 1], policy, &mut rng);
        let mut seen = |balancer: &mut Balancer| -> Vec<usize> {
            let ids = (0..200).filter_map(|_| balancer.pick(ask(), |_| 0, |_| true, &mut rng));
            let mut seen: Vec<usize> = ids.map(EndpointId::index).collect();
            seen.sort_unstable();
            seen.dedup();
            seen
        };
        let mut told = Rng::seeded(5);
        balancer.health_changed(|at| at % 2 == 0, now(), &mut told);
        assert_eq!(seen(&mut balancer), [0, 2], "{policy:?}");
        balancer.health_changed(|_| false, now(), &mut told);
        assert!(seen(&mut balancer).is_empty(), "{policy:?}: 0 % is no panic");
        assert!(!balancer.panicked());
        balancer.health_changed(|_| true, now(), &mut told);
        assert_eq!(seen(&mut balancer), [0, 1, 2, 3], "{policy:?}");
    }
}

#[test]
fn a_panic_pays_no_heed_to_health() {
    for policy in policies() {
        let mut rng = Rng::seeded(4);
        let (balancer, _) = leveled(policy, &[&[(99, 2), (1, 6)]], &mut rng);
        let mut balancer = balancer.panicking_below(30);
        let mut seen = |balancer: &mut Balancer, healthy: &dyn Fn(usize) -> bool| {
            balancer.health_changed(healthy, now(), &mut rng);
            let mut seen = [0_u32; 8];
            for _ in 0..8_000 {
                seen[balancer.pick(ask(), |_| 0, |_| true, &mut rng).expect("somebody").index()] += 1;
            }
            (seen, balancer.panicked())
        };
        let (healthy, panicked) = seen(&mut balancer, &|at| at > 4);
        assert!(
            healthy[..5].iter().all(|count| *count == 0) && !panicked,
            "{policy:?}: 3 of 8 are enough: {healthy:?}"
        );
        let (all, panicked) = seen(&mut balancer, &|at| at > 5);
        assert!(panicked, "{policy:?}");
        if matches!(policy, Policy::ConsistentHash(_)) {
            assert!(all[..2].iter().sum::<u32>() > 7_000, "{policy:?}: the table has the localities' weights: {all:?}");
        } else {
            for count in all {
                assert_share(count, 8_000, 1.0 / 8.0, &format!("{policy:?}: localities do not matter"));
            }
        }
        let usable = |at: usize| at == 3;
        assert_eq!(balancer.pick(ask(), |_| 0, usable, &mut rng), Some(EndpointId(3)), "what was tried matters");
    }
}

#[test]
fn every_second_retry_looks_at_other_priorities() {
    let mut rng = Rng::seeded(4);
    let (mut balancer, _) = leveled(Policy::RoundRobin, &[&[(1, 2)], &[(1, 1)], &[(1, 1)]], &mut rng);
    let none = Levels::NONE;
    let tried = |balancer: &Balancer, ids: &[u32]| {
        balancer.levels_tried(&ids.iter().map(|id| EndpointId(*id)).collect::<Vec<_>>())
    };
    for (ids, expected) in [
        (&[][..], none),
        (&[0], none),
        (&[0, 1], none.with(0)),
        (&[0, 1, 2], none.with(0)),
        (&[0, 1, 2, 2], none.with(0).with(1)),
        (&[0, 1, 2, 2, 3], none.with(0).with(1)),
        // All are tried: it begins anew.
        (&[0, 1, 2, 2, 3, 3], none),
        (&[0, 1, 2, 2, 3, 3, 0], none),
        (&[0, 1, 2, 2, 3, 3, 0, 2], none.with(0).with(1)),
        (&[0, 2], none.with(0).with(1)),
    ] {
        assert_eq!(tried(&balancer, ids), expected, "{ids:?}");
    }
    let mut picked = |balancer: &mut Balancer, excluded| -> usize {
        balancer.pick_beyond(excluded, ask(), |_| 0, |_| true, &mut rng).expect("somebody").index()
    };
    assert!(picked(&mut balancer, none) < 2);
    assert_eq!(picked(&mut balancer, none.with(0)), 2);
    assert_eq!(picked(&mut balancer, none.with(0).with(1)), 3);
    assert!(picked(&mut balancer, none.with(0).with(1).with(2)) < 2);
    balancer.health_changed(|at| at != 2, now(), &mut Rng::seeded(1));
    assert_eq!(picked(&mut balancer, none.with(0)), 3, "nobody is healthy in between");
    assert_eq!(tried(&balancer, &[0, 3]), none, "nobody else is left");
}

#[test]
fn new_endpoints_warm_up() {
    for policy in [Policy::RoundRobin, Policy::LeastRequest] {
        let mut rng = Rng::seeded(6);
        let second = Duration::from_secs(1);
        let warmup = Warmup { duration: 100 * second, minimum_percent: 10.0, aggression: 1.0 };
        let spread = LoadBalancing::even(policy, Some(warmup), &addresses(&[1, 1]));
        let later = now() + 1_000 * second;
        let members = [Member { weight: 1, since: now() }, Member { weight: 1, since: later }];
        let mut balancer = Balancer::new(&spread, &members, later, &mut rng);
        // A share of s beside one of 1 is s / (1 + s) of the picks.
        for (age, share) in [(0, 0.1), (5, 0.1), (25, 0.25), (50, 0.5), (99, 0.99), (100, 1.0), (500, 1.0)] {
            let ask = PickContext { hash: None, now: later + age * second };
            let count =
                (0..2_000).filter(|_| balancer.pick(ask, |_| 0, |_| true, &mut rng) == Some(EndpointId(1))).count();
            assert_share(count as u32, 2_000, share / (1.0 + share), &format!("{policy:?} after {age} s"));
        }
        assert!(balancer.members.warming.is_none());
        let mut old = Balancer::new(&spread, &members, later + 100 * second, &mut rng);
        let mut first = |balancer: &mut Balancer| {
            (0..100).filter(|_| balancer.pick(ask(), |_| 0, |_| true, &mut rng) == Some(EndpointId(0))).count()
        };
        assert!((20..=80).contains(&first(&mut old)), "{policy:?}: all are warm from the beginning");
    }
}

#[test]
fn a_hash_picks_the_same_endpoint_on_every_core() {
    for policy in &policies()[3..] {
        let picks = |seed| -> Vec<Option<EndpointId>> {
            let mut rng = Rng::seeded(seed);
            let mut balancer = balancer(&[1; 7], *policy, &mut rng);
            let ask = |key: u64| PickContext { hash: Some(key.wrapping_mul(0x9e37_79b9_7f4a_7c15)), now: now() };
            (0..100).map(|key| balancer.pick(ask(key), |_| 0, |_| true, &mut rng)).collect()
        };
        assert_eq!(picks(1), picks(2));
        let mut kinds = picks(1);
        kinds.sort_by_key(|id| id.map(EndpointId::index));
        kinds.dedup();
        assert_eq!(kinds.len(), 7, "{policy:?}: all of them get something");
    }
}

proptest! {
    #[test]
    fn picks_a_usable_one_or_none(
        endpoints in prop::collection::vec((0_u32..4, any::<bool>(), 0_u32..9), 0..20),
        seed: u64,
        policy in prop::sample::select(policies().to_vec()),
        flips in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let weights: Vec<u32> = endpoints.iter().map(|(weight, _, _)| *weight).collect();
        let mut usable: Vec<bool> = endpoints.iter().map(|(_, usable, _)| *usable).collect();
        let mut rng = Rng::seeded(seed);
        let mut balancer = balancer(&weights, policy, &mut rng);
        for flip in flips {
            let picked = balancer.pick(ask(), |at| endpoints[at].2, |at| usable[at], &mut rng);
            prop_assert_eq!(picked.is_some(), usable.contains(&true));
            if let Some(id) = picked {
                prop_assert!(usable[id.index()]);
            }
            if !usable.is_empty() {
                let at = flip.index(usable.len());
                usable[at] = !usable[at];
            }
        }
    }

    #[test]
    fn same_seed_same_picks(seed: u64, weights in prop::collection::vec(1_u32..4, 1..8)) {
        for policy in policies() {
            let run = || {
                let mut rng = Rng::seeded(seed);
                let mut balancer = balancer(&weights, policy, &mut rng);
                (0..20).map(|_| balancer.pick(ask(), |_| 0, |_| true, &mut rng)).collect::<Vec<_>>()
            };
            prop_assert_eq!(run(), run());
        }
    }
}
