use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

use super::*;

const POLICIES: [Policy; 3] = [Policy::LeastRequest, Policy::RoundRobin, Policy::Random];

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
    let mut balancer = Balancer::new(weights, policy, &mut rng);
    let mut seen = vec![0; weights.len()];
    for _ in 0..picks {
        let id = balancer.pick(&active, &usable, &mut rng).expect("one is usable");
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
    for policy in POLICIES {
        let mut rng = Rng::seeded(1);
        for weights in [&[][..], &[1], &[1, 1], &[1, 2]] {
            assert_eq!(Balancer::new(weights, policy, &mut rng).pick(|_| 0, |_| false, &mut rng), None, "{policy:?}");
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
        let mut balancer = Balancer::new(&[2; 4], Policy::RoundRobin, &mut rng);
        let picks: Vec<usize> =
            (0..12).map(|_| balancer.pick(|_| 9, |_| true, &mut rng).expect("all are usable").index()).collect();
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
    let mut balancer = Balancer::new(&[1; 3], Policy::RoundRobin, &mut rng);
    for _ in 0..100 {
        let _ = balancer.pick(|_| 0, |at| at != 1, &mut rng);
    }
    let mut next: Vec<usize> =
        (0..3).map(|_| balancer.pick(|_| 0, |_| true, &mut rng).expect("all are usable").index()).collect();
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
    let mut balancer = Balancer::new(&[1, 4], Policy::RoundRobin, &mut rng);
    let picks: Vec<usize> =
        (0..50).map(|_| balancer.pick(|_| 0, |_| true, &mut rng).expect("all are usable").index()).collect();
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
        let mut balancer = Balancer::new(&[1, 2], policy, &mut rng);
        for _ in 0..1_000 {
            assert_eq!(balancer.pick(|_| 0, |at| at == 1, &mut rng), Some(EndpointId(1)));
        }
        let first = (0..30).filter(|_| balancer.pick(|_| 0, |_| true, &mut rng) == Some(EndpointId(0))).count();
        assert!(first.abs_diff(10) <= 1, "{policy:?}: {first} of 30 for a third of the weight");
    }
}

#[test]
fn setting_the_clock_back_changes_no_pick() {
    let mut rng = Rng::seeded(11);
    let mut schedule = Schedule::new(&[1, 2, 4, 8], false, &mut rng);
    for _ in 0..37 {
        schedule.pick(|_| 0, |_| true);
    }
    let mut rebased = schedule.clone();
    rebased.rebase();
    for _ in 0..100 {
        assert_eq!(schedule.pick(|_| 0, |_| true), rebased.pick(|_| 0, |_| true));
    }
    schedule.turns.clear();
    schedule.now = REBASE_AT;
    for endpoint in 0..4 {
        schedule.enter(endpoint, 0);
    }
    assert!(schedule.pick(|_| 0, |_| true).is_some());
    assert!(schedule.now < REBASE_AT, "the clock is set back by itself");
    assert_eq!(schedule.turns.len(), 4);
}

#[test]
fn weighted_cores_do_not_all_begin_with_the_same_endpoint() {
    for policy in [Policy::RoundRobin, Policy::LeastRequest] {
        let mut first = [false; 3];
        for seed in 0..64 {
            let mut rng = Rng::seeded(seed);
            let mut balancer = Balancer::new(&[1, 2, 2], policy, &mut rng);
            first[balancer.pick(|_| 0, |_| true, &mut rng).expect("all are usable").index()] = true;
        }
        assert!(first.iter().filter(|begun| **begun).count() > 1, "{policy:?}: {first:?}");
    }
}

proptest! {
    #[test]
    fn picks_a_usable_one_or_none(
        endpoints in prop::collection::vec((0_u32..4, any::<bool>(), 0_u32..9), 0..20),
        seed: u64,
        policy in prop::sample::select(&POLICIES),
        flips in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let weights: Vec<u32> = endpoints.iter().map(|(weight, _, _)| *weight).collect();
        let mut usable: Vec<bool> = endpoints.iter().map(|(_, usable, _)| *usable).collect();
        let mut rng = Rng::seeded(seed);
        let mut balancer = Balancer::new(&weights, policy, &mut rng);
        for flip in flips {
            let picked = balancer.pick(|at| endpoints[at].2, |at| usable[at], &mut rng);
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
        for policy in POLICIES {
            let run = || {
                let mut rng = Rng::seeded(seed);
                let mut balancer = Balancer::new(&weights, policy, &mut rng);
                (0..20).map(|_| balancer.pick(|_| 0, |_| true, &mut rng)).collect::<Vec<_>>()
            };
            prop_assert_eq!(run(), run());
        }
    }
}
