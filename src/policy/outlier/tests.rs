use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;

/// A cluster under a rule, and its clock.
struct World {
    rule: Outlier,
    cluster: ClusterHealth,
    endpoints: Vec<EndpointHealth>,
    now: Instant,
}

impl World {
    #[allow(
        clippy::disallowed_methods,
        reason = "an Instant can be had from the clock only; all times are counted from it"
    )]
    fn new(rule: Outlier, endpoints: usize) -> Self {
        let now = Instant::now();
        let cluster = ClusterHealth::new(endpoints, now);
        Self { rule, cluster, endpoints: (0..endpoints).map(|_| EndpointHealth::default()).collect(), now }
    }

    fn report(&self, at: usize, outcome: Outcome) {
        self.rule.report(&self.cluster, &self.endpoints[at], outcome, || self.now);
    }

    fn answers(&self, at: usize, statuses: &[u16]) {
        statuses.iter().for_each(|status| self.report(at, Answered(*status)));
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// A sweep; who was released, and after how long.
    fn sweep(&self) -> Vec<(usize, Duration)> {
        let mut released = Vec::new();
        self.rule.sweep(&self.cluster, &self.endpoints, self.now, |at, out| released.push((at, out)));
        released
    }

    fn ejected(&self) -> Vec<usize> {
        (0..self.endpoints.len()).filter(|at| self.endpoints[*at].is_ejected()).collect()
    }

    fn streaks(&self, at: usize) -> [u32; 3] {
        [Streak::ServerError, Streak::Gateway, Streak::LocalOrigin].map(|streak| self.endpoints[at].streak(streak))
    }
}

use Outcome::{Answered, Connected, Failed};

const SECOND: Duration = Duration::from_secs(1);

/// Everybody may be ejected, and nothing ejects but what `more` says.
fn rule(more: impl FnOnce(&mut Outlier)) -> Outlier {
    let mut rule = Outlier { consecutive_5xx: 0, max_ejection_percent: 100, ..Outlier::default() };
    more(&mut rule);
    rule
}

/// What Envoy 1.40 makes of these, with thresholds of 1000 where none is said.
#[test]
fn what_counts_as_what() {
    let counting = |split: bool, codes: &[u16]| {
        rule(|rule| {
            (rule.consecutive_5xx, rule.consecutive_gateway, rule.consecutive_local_origin) = (1000, 1000, 1000);
            (rule.split_local_origin, rule.error_codes) = (split, codes.into());
        })
    };
    for (split, codes, outcomes, streaks) in [
        (false, &[][..], &[Answered(500)][..], [1, 0, 0]),
        (false, &[], &[Answered(502), Answered(503), Answered(504)], [3, 3, 0]),
        (false, &[], &[Answered(503), Answered(500)], [2, 0, 0]),
        (false, &[], &[Answered(503), Answered(200)], [0, 0, 0]),
        (false, &[], &[Answered(503), Answered(404), Answered(501)], [1, 0, 0]),
        (false, &[], &[Answered(503), Answered(101)], [0, 0, 0]),
        (false, &[], &[Answered(503), Answered(600)], [0, 0, 0]),
        (false, &[], &[Answered(599), Answered(499)], [0, 0, 0]),
        (false, &[], &[Failed, Failed], [2, 2, 0]),
        (false, &[], &[Failed, Connected, Failed], [2, 2, 0]),
        (false, &[], &[Failed, Answered(200)], [0, 0, 0]),
        // The head counted as a success, the broken body as a failure.
        (false, &[], &[Answered(503), Answered(200), Failed], [1, 1, 0]),
        (true, &[], &[Failed, Failed], [0, 0, 2]),
        (true, &[], &[Failed, Connected], [0, 0, 0]),
        (true, &[], &[Failed, Answered(200)], [0, 0, 1]),
        (true, &[], &[Answered(503), Failed], [1, 1, 1]),
        (true, &[], &[Failed, Connected, Answered(503)], [1, 1, 0]),
        // Listed codes stand in place of "500 and more"; failures without an answer count all the same.
        (false, &[404, 503], &[Answered(404)], [1, 0, 0]),
        (false, &[404, 503], &[Answered(503), Answered(404)], [2, 0, 0]),
        (false, &[404, 503], &[Answered(404), Answered(503)], [2, 1, 0]),
        (false, &[404, 503], &[Answered(404), Answered(500)], [0, 0, 0]),
        (false, &[404, 503], &[Answered(503), Answered(502)], [0, 0, 0]),
        (false, &[404, 503], &[Failed], [1, 1, 0]),
        (false, &[500, 504], &[Answered(500)], [1, 0, 0]),
    ] {
        let world = World::new(counting(split, codes), 1);
        outcomes.iter().for_each(|outcome| world.report(0, *outcome));
        assert_eq!(world.streaks(0), streaks, "split {split}, codes {codes:?}: {outcomes:?}");
    }
}

#[test]
fn the_threshold_ejects() {
    type Case<'a> = (&'a str, Outlier, &'a [Outcome], bool);
    let cases: [Case<'_>; 12] = [
        ("five are too few", Outlier { max_ejection_percent: 100, ..Outlier::default() }, &[Answered(500); 4], false),
        ("Istio's five", Outlier { max_ejection_percent: 100, ..Outlier::default() }, &[Answered(500); 5], true),
        ("0 never", rule(|_| {}), &[Answered(503); 50], false),
        ("not in a row", rule(|rule| rule.consecutive_5xx = 2), &[Answered(500), Answered(200), Answered(500)], false),
        ("gateway", rule(|rule| rule.consecutive_gateway = 2), &[Answered(503), Answered(502)], true),
        ("no gateway", rule(|rule| rule.consecutive_gateway = 1), &[Answered(500); 9], false),
        ("gateway reset", rule(|rule| rule.consecutive_gateway = 1), &[Failed], true),
        ("both", rule(|rule| (rule.consecutive_5xx, rule.consecutive_gateway) = (1, 1)), &[Failed], true),
        ("not split", rule(|rule| rule.consecutive_local_origin = 1), &[Failed; 9], false),
        (
            "split",
            rule(|rule| (rule.split_local_origin, rule.consecutive_local_origin) = (true, 2)),
            &[Failed, Answered(200), Failed],
            true,
        ),
        (
            "connecting ends it",
            rule(|rule| (rule.split_local_origin, rule.consecutive_local_origin) = (true, 2)),
            &[Failed, Connected, Failed],
            false,
        ),
        (
            "split leaves answers alone",
            rule(|rule| (rule.split_local_origin, rule.consecutive_5xx) = (true, 1)),
            &[Failed, Failed, Answered(200)],
            false,
        ),
    ];
    for (name, rule, outcomes, ejected) in cases {
        let world = World::new(rule, 1);
        outcomes.iter().for_each(|outcome| world.report(0, *outcome));
        assert_eq!(!world.ejected().is_empty(), ejected, "{name}");
        assert_eq!(world.cluster.ejected(), u32::from(ejected), "{name}");
    }
}

#[test]
fn a_success_asks_for_no_time_and_stores_nothing() {
    let world = World::new(rule(|rule| rule.consecutive_5xx = 1), 1);
    let unasked = || -> Instant { panic!("nobody needs the time") };
    for outcome in [Answered(200), Connected, Answered(404)] {
        world.rule.report(&world.cluster, &world.endpoints[0], outcome, unasked);
    }
    assert_eq!(world.cluster.changes(), 0);
}

#[test]
fn the_gateway_streak_is_looked_at_first() {
    let world = World::new(rule(|rule| (rule.consecutive_5xx, rule.consecutive_gateway) = (2, 2)), 1);
    world.answers(0, &[503, 503]);
    let counts = [Streak::Gateway, Streak::ServerError].map(|streak| world.cluster.enforced(streak));
    assert_eq!((counts, world.cluster.enforced_total()), ([1, 0], 1));
    assert_eq!(world.cluster.detected(Streak::ServerError), 0, "ignored: it is out already");
}

/// Envoy 1.40, observed: 4 endpoints, 10 %, 12 errors of one of them with a threshold of 1.
#[test]
fn no_more_than_the_percentage() {
    let at = |percent, endpoints| {
        let world =
            World::new(rule(|rule| (rule.consecutive_5xx, rule.max_ejection_percent) = (1, percent)), endpoints);
        for endpoint in 0..endpoints {
            world.answers(endpoint, &[500]);
        }
        (world.ejected().len(), world.cluster.overflow())
    };
    for (percent, endpoints, ejected) in [
        (10, 1, 0),
        (10, 9, 0),
        (10, 10, 1),
        (10, 19, 1),
        (10, 20, 2),
        (50, 2, 1),
        (50, 3, 1),
        (49, 2, 0),
        (66, 3, 1),
        (67, 3, 2),
        (99, 3, 2),
        (100, 3, 3),
        (0, 3, 0),
    ] {
        assert_eq!(at(percent, endpoints), (ejected, (endpoints - ejected) as u64), "{percent} % of {endpoints}");
    }
    let world = World::new(rule(|rule| (rule.consecutive_5xx, rule.max_ejection_percent) = (1, 10)), 4);
    world.answers(0, &[500; 12]);
    assert_eq!((world.cluster.overflow(), world.cluster.detected(Streak::ServerError)), (12, 12));
    assert_eq!((world.cluster.enforced_total(), world.ejected()), (0, vec![]));
}

#[test]
fn an_overflow_begins_the_streak_anew() {
    let world = World::new(rule(|rule| (rule.consecutive_5xx, rule.max_ejection_percent) = (3, 10)), 1);
    world.answers(0, &[500; 8]);
    assert_eq!((world.cluster.overflow(), world.streaks(0)[0]), (2, 2));
}

#[test]
fn who_is_out_is_not_ejected_again() {
    let world = World::new(rule(|rule| rule.consecutive_5xx = 2), 2);
    world.answers(0, &[500; 9]); // the last ones were under way when it was ejected
    world.answers(0, &[200]);
    world.answers(0, &[500; 2]);
    assert_eq!((world.cluster.enforced_total(), world.cluster.ejected()), (1, 1));
    assert_eq!(world.endpoints[0].multiplier(), 1);
}

#[test]
fn released_by_the_first_sweep_after_its_time() {
    let mut world = World::new(rule(|rule| (rule.consecutive_5xx, rule.base_ejection) = (1, 30 * SECOND)), 2);
    world.answers(1, &[500]);
    world.endpoints[1].extend(Streak::Gateway, 9);
    let news = world.cluster.changes();
    for _ in 0..2 {
        world.pass(10 * SECOND);
        assert_eq!(world.sweep(), []);
    }
    world.pass(10 * SECOND - Duration::from_micros(1));
    assert_eq!((world.sweep(), world.ejected()), (vec![], vec![1]));
    world.pass(7 * SECOND + Duration::from_micros(1));
    assert_eq!(world.sweep(), [(1, 37 * SECOND)]);
    assert_eq!((world.ejected(), world.cluster.ejected()), (vec![], 0));
    assert_eq!(world.streaks(1), [0, 0, 0]);
    assert_eq!(world.cluster.changes(), news + 1);
}

#[test]
fn ejections_last_longer_from_one_to_the_next() {
    let mut world = World::new(rule(|rule| (rule.consecutive_5xx, rule.base_ejection) = (1, 30 * SECOND)), 1);
    let mut lasted = Vec::new();
    for _ in 0..13 {
        world.answers(0, &[500]);
        lasted.push(loop {
            world.pass(10 * SECOND);
            if let [(0, out)] = world.sweep()[..] {
                break out.as_secs();
            }
        });
    }
    // min(base × multiplier, 300 s); the sweep that releases forgives nothing.
    assert_eq!(lasted, [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300, 300]);
    assert_eq!(world.endpoints[0].multiplier(), 11, "no more than what changes something, and one");
    for quiet in 1..=12 {
        world.pass(10 * SECOND);
        assert_eq!(world.sweep(), []);
        assert_eq!(world.endpoints[0].multiplier(), 11_u32.saturating_sub(quiet));
    }
    world.answers(0, &[500]);
    world.pass(30 * SECOND);
    assert_eq!(world.sweep(), [(0, 30 * SECOND)], "as the first time");
}

#[test]
fn a_long_base_is_its_own_bound() {
    let rule = |base| rule(|rule| rule.base_ejection = base);
    assert_eq!(rule(400 * SECOND).ejection_time(1), 400 * SECOND);
    assert_eq!(rule(400 * SECOND).ejection_time(7), 400 * SECOND);
    assert_eq!(rule(180 * SECOND).ejection_time(2), 300 * SECOND);
    assert_eq!(rule(180 * SECOND).ejection_time(0), 180 * SECOND);
    assert_eq!(rule(Duration::MAX).ejection_time(3), Duration::MAX);
}

#[test]
fn who_goes_takes_no_place_with_it() {
    let mut world = World::new(rule(|rule| (rule.consecutive_5xx, rule.max_ejection_percent) = (1, 50)), 4);
    world.answers(0, &[500]);
    world.answers(1, &[500]);
    assert_eq!(world.ejected(), [0, 1]);
    for _ in 0..2 {
        world.cluster.retire(&world.endpoints[0]);
        world.cluster.retire(&world.endpoints[2]);
    }
    world.cluster.resize(2);
    assert_eq!(world.cluster.ejected(), 1);
    assert_eq!(world.ejected(), [0, 1], "who answers by the plan of before does not go there");
    world.answers(2, &[500; 3]);
    world.answers(0, &[500; 3]);
    assert_eq!((world.cluster.ejected(), world.cluster.overflow()), (1, 0), "nobody ejects what is gone");
    world.pass(100 * SECOND);
    assert_eq!(world.sweep().len(), 1);
    assert_eq!(world.cluster.ejected(), 0);
}

#[test]
fn cores_that_complete_streaks_at_once_eject_no_more_than_they_may() {
    const CORES: usize = 4;
    for round in 0..40 {
        let world = World::new(rule(|rule| (rule.consecutive_5xx, rule.max_ejection_percent) = (3, 30)), 10);
        let (start, seen) = (Barrier::new(CORES), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for core in 0..CORES {
                let (world, start, seen) = (&world, &start, &seen);
                scope.spawn(move || {
                    start.wait();
                    for step in 0..300 {
                        world.report((step * (core + 1) + round) % 10, Answered(500));
                        seen.fetch_max(world.ejected().len(), Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!((world.ejected().len(), world.cluster.ejected()), (3, 3));
        assert_eq!(seen.load(Ordering::SeqCst), 3, "never more, at no moment");
        assert_eq!(world.cluster.enforced_total(), 3);
        let detected = world.cluster.detected(Streak::ServerError);
        assert_eq!(detected, world.cluster.overflow() + 3);
    }
}

#[test]
fn a_streak_of_many_cores_ejects_once() {
    for _ in 0..100 {
        let world = World::new(rule(|rule| rule.consecutive_5xx = 50), 1);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| world.answers(0, &[500; 20]));
            }
        });
        assert_eq!(
            (world.cluster.enforced_total(), world.cluster.ejected(), world.endpoints[0].multiplier()),
            (1, 1, 1)
        );
    }
}

#[test]
fn a_release_against_ejections_loses_no_place() {
    let world = World::new(rule(|rule| (rule.consecutive_5xx, rule.base_ejection) = (1, Duration::ZERO)), 3);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..2_000).for_each(|step| world.answers(step % 3, &[500, 200])));
        }
        scope.spawn(|| (0..2_000).for_each(|_| drop(world.sweep())));
    });
    assert_eq!(world.cluster.ejected() as usize, world.ejected().len());
    world.sweep();
    assert_eq!((world.cluster.ejected(), world.ejected()), (0, vec![]));
}

#[derive(Debug, Clone)]
enum Step {
    Report(prop::sample::Index, Outcome),
    Pass(u64),
    Sweep,
    Retire(prop::sample::Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let outcome = prop_oneof![
        1 => Just(Connected),
        3 => Just(Failed),
        5 => prop::sample::select(vec![200, 404, 500, 503, 504]).prop_map(Answered)
    ];
    let step = prop_oneof![
        20 => (any::<prop::sample::Index>(), outcome).prop_map(|(at, outcome)| Step::Report(at, outcome)),
        3 => (0_u64..40).prop_map(Step::Pass),
        3 => Just(Step::Sweep),
        1 => any::<prop::sample::Index>().prop_map(Step::Retire),
    ];
    prop::collection::vec(step, 0..300)
}

proptest! {
    #[test]
    fn never_above_the_percentage_and_the_numbers_agree(
        endpoints in 1_usize..12, percent in 0_u32..=100, split: bool, thresholds in prop::array::uniform3(0_u32..4),
        steps in steps(),
    ) {
        let [server_error, gateway, local] = thresholds;
        let mut world = World::new(rule(|rule| {
            (rule.consecutive_5xx, rule.consecutive_gateway, rule.consecutive_local_origin) =
                (server_error, gateway, local);
            (rule.split_local_origin, rule.max_ejection_percent) = (split, percent);
        }), endpoints);
        let (mut released, mut gone) = (0, vec![false; endpoints]);
        let mut went_ejected = 0;
        for step in steps {
            match step {
                Step::Report(at, outcome) => {
                    let before = world.ejected().len();
                    world.report(at.index(endpoints), outcome);
                    let out = world.ejected().iter().filter(|at| !gone[**at]).count();
                    let left = gone.iter().filter(|gone| !**gone).count();
                    if world.ejected().len() > before {
                        prop_assert!(100 * out <= percent as usize * left, "{} of {} at {} %", out, left, percent);
                    }
                }
                Step::Pass(seconds) => world.pass(Duration::from_secs(seconds)),
                Step::Sweep => {
                    let back = world.sweep();
                    for (_, out) in &back {
                        prop_assert!(*out >= world.rule.base_ejection);
                    }
                    released += back.len() as u64;
                }
                Step::Retire(at) => {
                    let at = at.index(endpoints);
                    went_ejected += u64::from(!gone[at] && world.endpoints[at].is_ejected());
                    world.cluster.retire(&world.endpoints[at]);
                    gone[at] = true;
                    world.cluster.resize(gone.iter().filter(|gone| !**gone).count());
                }
            }
            let out = world.ejected().iter().filter(|at| !gone[**at]).count();
            prop_assert_eq!(world.cluster.ejected() as usize, out);
            prop_assert_eq!(world.cluster.enforced_total(), out as u64 + released + went_ejected);
            let detected: u64 = [Streak::ServerError, Streak::Gateway, Streak::LocalOrigin]
                .iter().map(|streak| world.cluster.detected(*streak)).sum();
            prop_assert_eq!(detected, world.cluster.enforced_total() + world.cluster.overflow());
        }
    }
}
