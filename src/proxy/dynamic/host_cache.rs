//! Addresses of undeclared hosts: answers that a core caches for a while. Only control resolves names; a core asks
//! control, and requests wait for its answer.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// Requests the addresses of an authority (`host:port`) from control. It answers with `Core::resolved`, or never.
pub type ResolveAuthority = Box<dyn Fn(&str) + Send>;

/// Control's answer about an authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolvedAuthority {
    /// There, in order of preference.
    At(Box<[SocketAddr]>),
    /// The name does not exist, or the name service does not answer.
    Unknown,
    /// It is this process: a request would come back to where it was sent from.
    Here,
}

/// An answer is used for at least this long without asking again, whatever its TTL: every request may be for the name.
const FRESH: Duration = Duration::from_secs(1);

/// An expired answer is still used for this long, while control is asked again.
const STALE: Duration = Duration::from_secs(50);

/// No answer is used for longer without asking again.
const LONGEST: Duration = Duration::from_secs(3600);

/// For so long a host counts as unknown.
const UNKNOWN: Duration = Duration::from_secs(2);

/// Names that a core remembers at once. Clients choose the names, so there must be a bound.
const MOST_NAMES: usize = 4096;

/// The cache of one core.
pub(crate) struct HostCache {
    ask: ResolveAuthority,
    known: RefCell<HashMap<Box<str>, Name, foldhash::fast::RandomState>>,
}

struct Name {
    answer: Option<CachedAnswer>,
    /// Control has been asked, and has not answered yet.
    asked: bool,
    waiting: Vec<Waker>,
}

struct CachedAnswer {
    resolved: Rc<ResolvedAuthority>,
    fresh_until: Instant,
    usable_until: Instant,
}

impl HostCache {
    pub(crate) fn new(ask: ResolveAuthority) -> Self {
        Self { ask, known: RefCell::default() }
    }

    /// Where `authority` is. Pending until control answers; may be dropped at any time.
    pub(crate) async fn find(&self, authority: &str, now: Instant) -> Rc<ResolvedAuthority> {
        poll_fn(|cx| {
            let mut known = self.known.borrow_mut();
            if !known.contains_key(authority) && !make_room(&mut known, now) {
                return Poll::Ready(Rc::new(ResolvedAuthority::Unknown));
            }
            let name = match known.get_mut(authority) {
                Some(name) => name,
                None => {
                    known.entry(authority.into()).or_insert(Name { answer: None, asked: false, waiting: Vec::new() })
                }
            };
            let usable = name.answer.as_ref().filter(|answer| now < answer.usable_until);
            let fresh = usable.is_some_and(|answer| now < answer.fresh_until);
            if !fresh && !name.asked {
                name.asked = true;
                (self.ask)(authority);
            }
            if let Some(answer) = usable {
                return Poll::Ready(answer.resolved.clone());
            }
            if !name.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                name.waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }

    /// Takes control's answer. `valid` is its lifetime; `None`: the name service failed, and an earlier answer that is
    /// still usable is kept.
    pub(crate) fn answered(&self, authority: &str, resolved: ResolvedAuthority, valid: Option<Duration>, now: Instant) {
        let waiting = {
            let mut known = self.known.borrow_mut();
            let Some(name) = known.get_mut(authority) else { return };
            name.asked = false;
            match &mut name.answer {
                Some(before) if valid.is_none() && now < before.usable_until => before.fresh_until = now + UNKNOWN,
                answer => {
                    let (fresh, stale) = match resolved {
                        ResolvedAuthority::At(_) => (valid.unwrap_or_default().clamp(FRESH, LONGEST), STALE),
                        ResolvedAuthority::Unknown | ResolvedAuthority::Here => (UNKNOWN, Duration::ZERO),
                    };
                    let fresh_until = now + fresh;
                    let resolved = Rc::new(resolved);
                    *answer = Some(CachedAnswer { resolved, fresh_until, usable_until: fresh_until + stale });
                }
            }
            std::mem::take(&mut name.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// Forgets unusable answers if there is no room for another name; false if there still is none.
fn make_room(known: &mut HashMap<Box<str>, Name, foldhash::fast::RandomState>, now: Instant) -> bool {
    if known.len() >= MOST_NAMES {
        known.retain(|_, name| name.asked || name.answer.as_ref().is_some_and(|answer| now < answer.usable_until));
    }
    known.len() < MOST_NAMES
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::sync::{Arc, Mutex};
    use std::task::Context;

    use super::*;

    fn asked() -> (HostCache, Arc<Mutex<Vec<String>>>) {
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let ear = heard.clone();
        (HostCache::new(Box::new(move |name| ear.lock().expect("no panic").push(name.to_owned()))), heard)
    }

    fn at(port: u16) -> ResolvedAuthority {
        ResolvedAuthority::At([SocketAddr::from(([10, 0, 0, 1], port))].into())
    }

    fn look(names: &HostCache, authority: &str, now: Instant) -> Option<ResolvedAuthority> {
        let mut cx = Context::from_waker(Waker::noop());
        match pin!(names.find(authority, now)).poll(&mut cx) {
            Poll::Ready(found) => Some(ResolvedAuthority::clone(&found)),
            Poll::Pending => None,
        }
    }

    #[test]
    fn one_question_for_all_who_wait() {
        let (names, heard) = asked();
        let now = crate::io::now();
        let mut cx = Context::from_waker(Waker::noop());
        let mut first = pin!(names.find("a:80", now));
        assert!(first.as_mut().poll(&mut cx).is_pending());
        assert_eq!(look(&names, "a:80", now), None);
        names.answered("a:80", at(1), Some(FRESH), now);
        assert_eq!(first.as_mut().poll(&mut cx), Poll::Ready(Rc::new(at(1))));
        assert_eq!(*heard.lock().expect("no panic"), ["a:80"]);
        names.answered("never asked for", at(1), Some(FRESH), now);
    }

    #[test]
    fn answers_age() {
        let (names, heard) = asked();
        let start = crate::io::now();
        let times = || heard.lock().expect("no panic").len();
        let long = Duration::from_secs(10);
        assert_eq!(look(&names, "a", start), None);
        names.answered("a", at(1), Some(long), start);
        assert_eq!((look(&names, "a", start + long / 2), times()), (Some(at(1)), 1));
        // Still used, and requested once.
        assert_eq!((look(&names, "a", start + long), times()), (Some(at(1)), 2));
        assert_eq!((look(&names, "a", start + long), times()), (Some(at(1)), 2));
        assert_eq!((look(&names, "a", start + long + STALE), times()), (None, 2));
        names.answered("a", ResolvedAuthority::Unknown, Some(Duration::ZERO), start + long);
        assert_eq!((look(&names, "a", start + long), times()), (Some(ResolvedAuthority::Unknown), 2));
        assert_eq!((look(&names, "a", start + long + UNKNOWN), times()), (None, 3));
    }

    #[test]
    fn a_failure_of_the_name_service_leaves_what_was_known() {
        let (names, heard) = asked();
        let start = crate::io::now();
        let times = || heard.lock().expect("no panic").len();
        assert_eq!(look(&names, "a", start), None);
        names.answered("a", at(1), Some(Duration::ZERO), start);
        assert_eq!((look(&names, "a", start), times()), (Some(at(1)), 1), "no promise at all holds for a moment");
        assert_eq!((look(&names, "a", start + FRESH), times()), (Some(at(1)), 2));
        names.answered("a", ResolvedAuthority::Unknown, None, start + FRESH);
        assert_eq!((look(&names, "a", start + FRESH), times()), (Some(at(1)), 2));
        assert_eq!((look(&names, "a", start + FRESH + UNKNOWN), times()), (Some(at(1)), 3), "and is asked about again");
        names.answered("a", ResolvedAuthority::Unknown, None, start + FRESH + STALE);
        assert_eq!(look(&names, "a", start + FRESH + STALE), Some(ResolvedAuthority::Unknown), "but not for ever");
    }

    #[test]
    fn names_are_bounded() {
        let (names, _) = asked();
        let start = crate::io::now();
        for number in 0..MOST_NAMES {
            assert_eq!(look(&names, &number.to_string(), start), None);
        }
        assert_eq!(look(&names, "one more", start), Some(ResolvedAuthority::Unknown));
        names.answered("7", ResolvedAuthority::Here, Some(FRESH), start);
        assert_eq!(look(&names, "one more", start + UNKNOWN), None, "an answer that is of no use made room");
    }
}
