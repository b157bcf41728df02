use std::time::{Duration, Instant};

use super::cores::CoreSet;
use super::*;

/// A set of room for 130 cores with these in it.
fn set(cores: &[usize]) -> CoreSet {
    let set = CoreSet::new(130);
    cores.iter().for_each(|core| set.insert(*core));
    set
}

#[test]
fn the_next_core_is_found_round_the_end() {
    for (cores, from, until, found) in [
        (&[][..], 0, 0, None),
        (&[5], 5, 5, None),
        (&[5], 4, 4, Some(5)),
        (&[5], 6, 6, Some(5)),
        (&[5, 70], 5, 5, Some(70)),
        (&[5, 70], 70, 70, Some(5)),
        (&[0, 63, 64, 129], 63, 63, Some(64)),
        (&[0, 63, 64, 129], 64, 64, Some(129)),
        (&[0, 63, 64, 129], 129, 129, Some(0)),
        (&[0, 63], 0, 63, None),
        (&[0, 63], 63, 0, None),
        (&[0, 62], 61, 63, Some(62)),
        (&[62], 63, 61, None),
        (&[62], 63, 63, Some(62)),
    ] {
        assert_eq!(set(cores).between(from, until), found, "{cores:?} after {from} and before {until}");
    }
}

#[test]
fn a_core_is_in_until_it_is_taken_out() {
    let set = set(&[3, 127]);
    assert!(set.contains(3) && set.contains(127) && !set.contains(4));
    set.remove(127);
    assert!(!set.contains(127));
    assert_eq!(set.between(3, 3), None);
}

#[test]
fn what_comes_free_is_taken_for_who_waits() {
    let crossing = Crossing::new(Some(1), 2);
    assert!(crossing.limit().take() && !crossing.limit().take());
    crossing.wait(1);
    assert_eq!((crossing.next_waiting(0), crossing.next_waiting(1)), (Some(1), None));
    assert_eq!(crossing.free(0), Some(1));
    assert_eq!(crossing.limit().taken(), 1, "it is on its way");
    crossing.wait_no_more(1);
    assert_eq!(crossing.free(1), None);
    assert_eq!(crossing.limit().taken(), 0);
}

#[test]
fn a_lowered_limit_waits_until_enough_is_given_back() {
    let limit = Limit::new(Some(3));
    assert!(limit.take() && limit.take() && limit.take() && !limit.take());
    limit.resize(Some(1));
    limit.give_back(2);
    assert!(limit.is_used_up() && !limit.take());
    limit.give_back(1);
    assert!(limit.take());
}

#[test]
fn a_budget_is_a_share_of_the_requests_and_never_below_its_least() {
    let budget = |percent, min_concurrency| RetryBudget { percent, min_concurrency, interval: Duration::ZERO };
    for (percent, least, requests, allowed) in [
        (20.0, 3, 25, 5),
        (20.0, 3, 2, 3),
        (20.0, 3, 19, 3),
        (20.0, 3, 20, 4),
        (0.0, 0, 100, 0),
        (100.0, 3, 100, 100),
        (12.5, 0, 15, 1),
        (12.5, 0, 16, 2),
    ] {
        assert_eq!(budget(percent, least).of(requests), allowed, "{percent}% of {requests}, at least {least}");
    }
}

#[test]
fn a_budget_stands_in_the_place_of_the_limit() {
    let breaker = Breaker::new(&BreakerLimits { retries: Some(0), ..BreakerLimits::default() }, 1);
    let (budget, now) = (RetryBudget { percent: 50.0, min_concurrency: 1, interval: Duration::ZERO }, begin());
    assert!(!breaker.take_retry(None, now));
    assert!(breaker.take_retry(Some(&budget), now) && !breaker.take_retry(Some(&budget), now));
    for _ in 0..2 {
        assert!(breaker.requests.take() && breaker.pending.take());
    }
    assert!(breaker.take_retry(Some(&budget), now) && !breaker.take_retry(Some(&budget), now), "half of four");
}

/// A moment to count from.
#[allow(clippy::disallowed_methods, reason = "an instant cannot be had otherwise; the tests only add to it")]
fn begin() -> Instant {
    Instant::now()
}

#[test]
fn requests_count_for_the_interval_from_their_beginning() {
    let (recent, begin) = (Recent::default(), begin());
    let at = |ms: u64| begin + Duration::from_millis(ms);
    let interval = Duration::from_millis(800);
    assert_eq!(recent.count(at(0), interval), 0);
    for (began, ended) in [(0, 10), (0, 500), (300, 310), (0, 900)] {
        recent.ended(at(began), at(ended), interval);
    }
    // To an eighth: 100 ms.
    for (ms, count) in [(310, 3), (800, 3), (900, 1), (1100, 1), (1200, 0), (100_000, 0)] {
        assert_eq!(recent.count(at(ms), interval), count, "after {ms} ms");
    }
    // A place in the ring is used again and again.
    for round in 0..100 {
        recent.ended(at(100_000 + 400 * round), at(100_000 + 400 * round), interval);
        assert_eq!(recent.count(at(100_000 + 400 * round), interval), if round < 2 { round as u32 + 1 } else { 3 });
    }
    assert_eq!(recent.count(at(200_000), Duration::ZERO), 0);
}

#[test]
fn a_budget_counts_the_requests_of_its_interval() {
    let breaker = Breaker::new(&BreakerLimits::default(), 1);
    let (interval, begin) = (Duration::from_secs(8), begin());
    let budget = RetryBudget { percent: 10.0, min_concurrency: 0, interval };
    assert_eq!(breaker.allowed(&budget, begin), 0);
    (0..30).for_each(|_| breaker.recent.ended(begin, begin, interval));
    assert_eq!(breaker.allowed(&budget, begin), 3);
    assert!(!breaker.retries_are_used_up(Some(&budget), begin));
    assert!(breaker.retries_are_used_up(Some(&budget), begin + 2 * interval));
}
