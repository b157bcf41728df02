use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

use super::*;

fn address(at: usize) -> EndpointAddress {
    EndpointAddress::from(([10, 0, 0, at as u8], 8000))
}

fn members(weights: &[u32]) -> Vec<TableMember> {
    let sum: f64 = weights.iter().copied().map(f64::from).sum();
    let member = |(at, weight): (usize, &u32)| TableMember {
        endpoint: at as u32,
        address: address(at),
        share: f64::from(*weight) * 1.0 / sum,
    };
    weights.iter().enumerate().map(member).collect()
}

fn both() -> [Algorithm; 2] {
    [Algorithm::Ring { minimum: 1024 }, Algorithm::Maglev { size: TableSize::new(1009).expect("a prime") }]
}

/// Hashes all over the place.
fn hashes() -> impl Iterator<Item = u64> {
    (0..4_000_u64).map(|at| xxh64(&at.to_le_bytes()))
}

fn counts(table: &HashTable, of: usize) -> Vec<usize> {
    let mut counts = vec![0; of];
    for hash in hashes() {
        counts[table.pick(hash, |_| true).expect("a member")] += 1;
    }
    counts
}

#[test]
fn xxhash_as_published() {
    // Test vectors of the xxHash project.
    assert_eq!(xxh64(b""), 0xef46_db37_51d8_e999);
    assert_eq!(xxh64(b"a"), 0xd24e_c4f1_a98c_6e5b);
    assert_eq!(xxh64(b"as"), 0x1c33_0fb2_d66b_e179);
    assert_eq!(xxh64(b"Call me Ishmael. Some years ago--never mind how long precisely-"), 0x02a2_e854_70d6_fd96);
}

#[test]
fn table_sizes_are_primes() {
    for (size, expected) in [
        (0, false),
        (1, true),
        (2, true),
        (3, true),
        (4, false),
        (9, false),
        (65_537, true),
        (65_536, false),
        (4_999_999, true),
        (5_000_011, false),
        (u64::MAX, false),
    ] {
        assert_eq!(TableSize::new(size).is_some(), expected, "{size}");
    }
}

#[test]
fn rings_are_as_large_as_asked_for_and_whole_for_the_least() {
    for (weights, minimum, expected) in [
        (&[1][..], 1024, vec![1024]),
        (&[1, 1], 1024, vec![512; 2]),
        (&[1, 1, 1], 1024, vec![342; 3]),
        (&[5; 7], 1, vec![1; 7]),
        (&[1, 2], 6, vec![2, 4]),
        (&[2, 3], 2, vec![1, 2]),
        (&[], 1024, vec![]),
    ] {
        let ring = ring::Ring::new(&members(weights), minimum);
        let own = |at: usize| ring.owners().iter().filter(|owner| **owner as usize == at).count();
        assert_eq!((0..weights.len()).map(own).collect::<Vec<_>>(), expected, "{weights:?} in {minimum}");
    }
}

#[test]
fn a_ring_goes_on_at_its_beginning() {
    let ring = ring::Ring::new(&members(&[1, 1, 1]), 6);
    let all = ring.owners().len() as u32;
    let first = ring.owner(0, 0);
    assert_eq!(ring.owner(u64::MAX, 0), first);
    assert_eq!(ring.owner(0, all), first);
    let walk: Vec<u32> = (0..all).filter_map(|attempt| ring.owner(0, attempt)).collect();
    assert_eq!(walk, ring.owners());
}

#[test]
fn everyone_gets_a_fair_part() {
    for algorithm in both() {
        for (weights, rough) in [(&[1, 1, 1][..], 0.25), (&[1, 3], 0.25), (&[1; 10], 0.5), (&[7], 0.0)] {
            let members = members(weights);
            let seen = counts(&HashTable::new(algorithm, &members), weights.len());
            for (member, count) in members.iter().zip(&seen) {
                let expected = 4_000.0 * member.share;
                assert!((*count as f64 - expected).abs() <= expected * rough, "{algorithm:?} {weights:?}: {seen:?}");
            }
        }
    }
}

#[test]
fn nobody_is_nobody() {
    for algorithm in both() {
        assert_eq!(HashTable::new(algorithm, &[]).pick(1, |_| true), None);
        assert_eq!(HashTable::new(algorithm, &members(&[1, 1])).pick(1, |_| false), None);
    }
}

#[test]
fn a_table_of_one_entry_or_of_fewer_than_members() {
    for size in [1, 2, 3] {
        let size = TableSize::new(size).expect("a prime");
        let table = HashTable::new(Algorithm::Maglev { size }, &members(&[1; 9]));
        assert!(counts(&table, 9).iter().filter(|count| **count > 0).count() <= size.0 as usize);
        // Those without an entry stand in for the others all the same.
        assert_eq!(table.pick(5, |at| at == 8), Some(8));
    }
}

#[test]
fn only_the_hashes_of_an_unusable_endpoint_move() {
    for algorithm in both() {
        let table = HashTable::new(algorithm, &members(&[1; 5]));
        let mut stand_ins = [0; 5];
        for hash in hashes() {
            let before = table.pick(hash, |_| true).expect("a member");
            let after = table.pick(hash, |at| at != 2).expect("another");
            if before == 2 {
                stand_ins[after] += 1;
            } else {
                assert_eq!(before, after);
            }
        }
        assert_eq!(stand_ins[2], 0);
        assert!(stand_ins.iter().filter(|count| **count > 50).count() == 4, "{algorithm:?}: {stand_ins:?}");
    }
}

proptest! {
    #[test]
    fn picks_a_usable_member_or_none(
        weights in prop::collection::vec((1_u32..1000, any::<bool>()), 0..12),
        minimum in 1_u64..100,
        hash: u64,
    ) {
        let usable: Vec<bool> = weights.iter().map(|(_, usable)| *usable).collect();
        let weights: Vec<u32> = weights.iter().map(|(weight, _)| *weight).collect();
        for algorithm in [Algorithm::Ring { minimum }, both()[1]] {
            let picked = HashTable::new(algorithm, &members(&weights)).pick(hash, |at| usable[at]);
            prop_assert_eq!(picked.is_some(), usable.contains(&true));
            prop_assert!(picked.is_none_or(|at| usable[at]));
        }
    }

    #[test]
    fn an_endpoint_that_goes_takes_few_hashes_of_others_along(count in 3_usize..9, gone in 0_usize..3) {
        // A ring gives each of those that stay more points, so it is not exact; a naive modulus would move most.
        for algorithm in both() {
            let whole = members(&vec![1; count]);
            let mut rest = whole.clone();
            rest.remove(gone);
            for member in &mut rest {
                member.share = 1.0 / (count - 1) as f64;
            }
            let (before, after) = (HashTable::new(algorithm, &whole), HashTable::new(algorithm, &rest));
            let moved = hashes()
                .filter(|hash| {
                    let at = before.pick(*hash, |_| true);
                    at != Some(gone) && after.pick(*hash, |_| true) != at
                })
                .count();
            prop_assert!(moved < 4_000 / 4, "{:?}: {} of 4,000 moved", algorithm, moved);
        }
    }
}
