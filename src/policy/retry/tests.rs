use proptest::prelude::*;

use super::*;
use crate::base::rng::Rng;

/// `retryOn` of one word, as `RetryOn` has it.
fn on(word: &str) -> RetryOn {
    let mut on = RetryOn::default();
    match word {
        "5xx" => on.server_error = true,
        "gateway-error" => on.gateway_error = true,
        "reset" => on.reset = true,
        "reset-before-request" => on.reset_before_request = true,
        "connect-failure" => on.connect_failure = true,
        "retriable-4xx" => on.retriable_4xx = true,
        "envoy-ratelimited" => on.rate_limited = true,
        "cancelled" => on.grpc_statuses = [1].into(),
        "unavailable" => on.grpc_statuses = [14].into(),
        status => on.statuses = [status.parse().expect("a word or a status")].into(),
    }
    on
}

const fn status(status: u16) -> Outcome {
    Outcome::Answered(ResponseSummary { status, rate_limited: false, grpc_status: None })
}

const fn grpc(grpc_status: u8) -> Outcome {
    Outcome::Answered(ResponseSummary { status: 200, rate_limited: false, grpc_status: Some(grpc_status) })
}

const LIMITED: Outcome = Outcome::Answered(ResponseSummary { status: 503, rate_limited: true, grpc_status: Some(14) });

const UNSENT: Outcome = Outcome::Reset { sent: false };
const SENT: Outcome = Outcome::Reset { sent: true };

const ALL: &[Outcome] = &[
    status(200),
    status(409),
    status(429),
    status(499),
    status(500),
    status(502),
    status(503),
    status(504),
    status(505),
    status(599),
    status(600),
    grpc(0),
    grpc(1),
    grpc(14),
    LIMITED,
    Outcome::ConnectFailed,
    UNSENT,
    SENT,
    Outcome::TimedOut,
    Outcome::Overflow,
];

#[test]
fn every_word_covers_its_outcomes_and_no_other() {
    let failures = [Outcome::ConnectFailed, UNSENT, SENT, Outcome::TimedOut];
    let of = |statuses: &[u16]| statuses.iter().map(|code| status(*code)).chain(failures).collect::<Vec<_>>();
    let table: &[(&str, Vec<Outcome>)] = &[
        ("5xx", of(&[500, 502, 503, 504, 505, 599])),
        ("gateway-error", of(&[502, 503, 504])),
        ("reset", of(&[])),
        ("reset-before-request", vec![Outcome::ConnectFailed, UNSENT]),
        ("connect-failure", vec![Outcome::ConnectFailed]),
        ("retriable-4xx", vec![status(409)]),
        ("envoy-ratelimited", vec![LIMITED]),
        ("429", vec![status(429)]),
        ("503", vec![status(503)]),
        ("cancelled", vec![grpc(1)]),
        ("unavailable", vec![grpc(14)]),
    ];
    for (word, covered) in table {
        for outcome in ALL {
            assert_eq!(on(word).covers(*outcome), covered.contains(outcome), "{word}: {outcome:?}");
        }
    }
    assert!(ALL.iter().all(|outcome| !RetryOn::default().covers(*outcome)), "no word covers anything");
}

fn policy(attempts: u32, backoff: Duration) -> RetryPolicy {
    RetryPolicy { attempts, per_try_timeout: None, on: on("5xx"), backoff, avoid_tried: true, other_priorities: false }
}

#[test]
fn retries_are_used_up() {
    let policy = policy(2, Duration::from_millis(25));
    for (outcome, retries, next) in [
        (status(200), 0, RetryDecision::Keep { retried: false }),
        (status(503), 0, RetryDecision::Again),
        (status(503), 1, RetryDecision::Again),
        (status(503), 2, RetryDecision::UsedUp),
        (status(200), 2, RetryDecision::Keep { retried: true }),
        (Outcome::Overflow, 1, RetryDecision::Keep { retried: true }),
    ] {
        assert_eq!(policy.next(outcome, retries), next, "{outcome:?} after {retries}");
    }
}

#[test]
fn waits_are_uniform_below_a_bound_that_doubles() {
    // The mean of n draws below b is within 5 standard deviations (b / sqrt(12 n)) of b / 2, but for one seed in
    // 1.7 million.
    let (policy, mut rng, draws) = (policy(9, Duration::from_millis(400)), Rng::seeded(3), 4_000_u32);
    for (retry, bound) in [(1, 0.4), (2, 0.8), (3, 1.6), (4, 3.2), (5, 4.0), (6, 4.0), (100, 4.0)] {
        let waits: Vec<f64> = (0..draws).map(|_| policy.wait(retry, &mut rng).as_secs_f64()).collect();
        let mean = waits.iter().sum::<f64>() / f64::from(draws);
        let allowed = 5.0 * bound / (12.0 * f64::from(draws)).sqrt();
        assert!((mean - bound / 2.0).abs() < allowed, "retry {retry}: mean {mean} of waits below {bound}");
        assert!(waits.iter().all(|wait| *wait < bound), "retry {retry}");
    }
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        (100_u16..=999, any::<bool>(), proptest::option::of(0_u8..=16)).prop_map(
            |(status, rate_limited, grpc_status)| Outcome::Answered(ResponseSummary {
                status,
                rate_limited,
                grpc_status
            })
        ),
        Just(Outcome::ConnectFailed),
        any::<bool>().prop_map(|sent| Outcome::Reset { sent }),
        Just(Outcome::TimedOut),
        Just(Outcome::Overflow),
    ]
}

const WORDS: &[&str] = &[
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "envoy-ratelimited",
    "503",
    "unavailable",
];

fn joined(a: &RetryOn, b: &RetryOn) -> RetryOn {
    let longer = |a: &[u16], b: &[u16]| -> Box<[u16]> { if a.is_empty() { b.into() } else { a.into() } };
    RetryOn {
        server_error: a.server_error || b.server_error,
        gateway_error: a.gateway_error || b.gateway_error,
        reset: a.reset || b.reset,
        reset_before_request: a.reset_before_request || b.reset_before_request,
        connect_failure: a.connect_failure || b.connect_failure,
        retriable_4xx: a.retriable_4xx || b.retriable_4xx,
        rate_limited: a.rate_limited || b.rate_limited,
        statuses: longer(&a.statuses, &b.statuses),
        grpc_statuses: if a.grpc_statuses.is_empty() { b.grpc_statuses.clone() } else { a.grpc_statuses.clone() },
    }
}

proptest! {
    #[test]
    fn words_add_up(outcome in outcomes(), a in 0..WORDS.len(), b in 0..WORDS.len()) {
        let (one, other) = (on(WORDS[a]), on(WORDS[b]));
        let both = joined(&one, &other);
        prop_assert_eq!(both.covers(outcome), one.covers(outcome) || other.covers(outcome));
    }

    #[test]
    fn there_are_never_more_retries_than_attempts(attempts in 1_u32..20, seen in proptest::collection::vec(outcomes(), 0..40)) {
        let policy = policy(attempts, Duration::from_millis(25));
        let mut retries = 0;
        for outcome in seen {
            match policy.next(outcome, retries) {
                RetryDecision::Again => retries += 1,
                RetryDecision::Keep { retried } => prop_assert_eq!(retried, retries > 0),
                RetryDecision::UsedUp => prop_assert_eq!(retries, attempts),
            }
        }
        prop_assert!(retries <= attempts);
    }

    #[test]
    fn a_wait_never_passes_ten_times_the_base(base in any::<u64>(), retry in any::<u32>(), seed in any::<u64>()) {
        let base = Duration::from_micros(base);
        let wait = policy(1, base).wait(retry, &mut Rng::seeded(seed));
        prop_assert!(wait <= base.saturating_mul(10));
        prop_assert!(base.is_zero() || wait < base.saturating_mul(10));
    }
}
