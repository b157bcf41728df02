//! The tries of one request: how often it is sent, how long each try and all of them together may take, and what the
//! client's leaving means between them.
//!
//! A try is `attempt`'s, which tries are repeated is `policy::retry`'s, and what is kept for them `replay`'s. Routes
//! without a timeout set no timer here.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::attempt::{self, Run, Tried};
use super::conn::Session;
use super::core::{Core, Phase};
use super::record::Story;
use super::relay::{self, Fed, Progress};
use super::replay::Upload;
use super::reply::Ended;
use super::request::Asked;
use crate::h1::encode::OutBody;
use crate::io::{self, Buf, Either, Reader, Timer, TlsFailure, race};
use crate::observe::flags::Flags;
use crate::plan::{Cluster, EndpointId, Forward};
use crate::policy::retry::{Next, Outcome, RetryPolicy};
use crate::upstream::{Avoid, Installed, LocalCluster, Permit};

/// What the tries of a request share.
pub(super) struct Tries<'p> {
    pub(super) upload: Upload,
    pub(super) progress: Progress,
    pub(super) retries: Retries<'p>,
    pub(super) patience: Patience,
}

/// How long a request may take; longer than a year is for ever.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// From the end of the request to the end of the response.
    route: Option<Duration>,
    /// From then on, or from the connection if that came later, to the head of the response.
    per_try: Option<Duration>,
}

const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);

impl Patience {
    /// That of a route; a timeout per try that could not pass before the route's is none.
    pub(super) fn of(forward: &Forward) -> Self {
        let finite = |timeout: &Duration| *timeout < FOR_EVER;
        let route = forward.timeout.filter(finite);
        let per_try = forward.retry.as_ref().and_then(|policy| policy.per_try_timeout);
        let per_try = per_try.filter(|per_try| finite(per_try) && route.is_none_or(|route| *per_try < route));
        Self { route, per_try }
    }

    const ENDLESS: Self = Self { route: None, per_try: None };

    /// `x-envoy-expected-rq-timeout-ms`: how long the upstream has, `spent` after the end of the request.
    pub(super) fn expected_ms(&self, spent: Duration) -> Option<u64> {
        // Envoy says 1 where nothing is left: 0 would be for ever.
        let left = self.route.map(|route| route.saturating_sub(spent).max(Duration::from_millis(1)));
        let expected = match (self.per_try, left) {
            (Some(per_try), Some(left)) => per_try.min(left),
            (per_try, left) => per_try.or(left)?,
        };
        u64::try_from(expected.as_millis()).ok()
    }

    /// Whether no time is measured.
    pub(super) fn is_endless(&self) -> bool {
        self.route.is_none() && self.per_try.is_none()
    }

    fn route_end(&self, progress: &Progress) -> Option<Instant> {
        Some(progress.ended.get()? + self.route?)
    }
}

/// Which time has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Late {
    /// The route's.
    Request,
    /// The try's.
    Try,
}

/// The deadline of a try that has a connection.
pub(super) struct Deadline<'a> {
    timer: &'a mut Timer,
    progress: &'a Progress,
    patience: Patience,
    connected: Instant,
}

impl<'a> Deadline<'a> {
    pub(super) fn new(timer: &'a mut Timer, progress: &'a Progress, patience: Patience, connected: Instant) -> Self {
        Self { timer, progress, patience, connected }
    }

    /// The head of the response is there: the time per try is over.
    pub(super) fn answered(&mut self) {
        self.patience.per_try = None;
    }

    /// Completes when it is too late; never without a timeout. Is to be polled behind whatever may see the end of the
    /// request, because time runs only from there.
    pub(super) async fn late(&mut self) -> Late {
        poll_fn(|cx| self.poll_late(cx)).await
    }

    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<Late> {
        let Some((at, late)) = self.next() else { return Poll::Pending };
        self.timer.poll_until(at, cx).map(|()| late)
    }

    fn next(&self) -> Option<(Instant, Late)> {
        let ended = self.progress.ended.get()?;
        let route = self.patience.route.map(|timeout| (ended + timeout, Late::Request));
        let per_try = self.patience.per_try.map(|timeout| (ended.max(self.connected) + timeout, Late::Try));
        match (route, per_try) {
            (Some(route), Some(per_try)) => Some(if per_try.0 < route.0 { per_try } else { route }),
            (route, per_try) => route.or(per_try),
        }
    }
}

/// Which tries have been made, and whether there is another one.
pub(super) struct Retries<'p> {
    /// What the route says; `None` of a host that is not declared.
    forward: Option<&'p Forward>,
    /// Whether copies have been drawn.
    copied: bool,
    /// `x-envoy-attempt-count` of the try under way, from 1.
    pub(super) attempt: u32,
    /// The endpoint of the try under way.
    pub(super) at: Option<EndpointId>,
    /// The permit of the retry under way, where retries are limited.
    permit: Option<Permit>,
}

impl<'p> Retries<'p> {
    fn policy(&self) -> Option<&'p RetryPolicy> {
        self.forward?.retry.as_deref()
    }

    /// Whether the request is tried again after this outcome. Counts, and says in the story why not.
    pub(super) fn again(
        &mut self,
        outcome: Outcome,
        progress: &Progress,
        local: &LocalCluster,
        story: &mut Story<'_>,
    ) -> bool {
        self.permit = None; // the outcome of the retry that it was for is known
        let Some(policy) = self.policy().filter(|_| progress.replayable.get()) else { return false };
        match policy.next(outcome, self.attempt - 1) {
            Next::Keep { retried: false } => {}
            Next::Keep { retried: true } => {
                local.stats.upstream_rq_retry_success.inc();
                if let Some(route) = story.route_stats {
                    route.upstream_rq_retry_success.inc();
                }
            }
            Next::UsedUp => {
                story.flags.insert(Flags::URX);
                local.stats.upstream_rq_retry_limit_exceeded.inc();
                if let Some(route) = story.route_stats {
                    route.upstream_rq_retry_limit_exceeded.inc();
                }
            }
            Next::Again => match local.admit_retry() {
                Ok(permit) => {
                    self.permit = permit;
                    return true;
                }
                Err(_) => {
                    story.flags.insert(Flags::UO);
                    local.stats.upstream_rq_retry_overflow.inc();
                    if let Some(route) = story.route_stats {
                        route.upstream_rq_retry_overflow.inc();
                    }
                }
            },
        }
        false
    }

    /// Whether anything is ever tried again, so that it matters whether it could be.
    pub(super) fn possible(&self) -> bool {
        self.policy().is_some()
    }

    /// What the next try is to keep away from, after those at the endpoints `tried`.
    pub(super) fn avoid<'t>(&self, tried: &'t [EndpointId]) -> Avoid<'t> {
        let if_said = |said: fn(&RetryPolicy) -> bool| if self.policy().is_some_and(said) { tried } else { &[] };
        Avoid {
            endpoints: if_said(|policy| policy.avoid_tried),
            priorities_of: if_said(|policy| policy.other_priorities),
        }
    }
}

impl<'p> Tries<'p> {
    /// The route whose mirrors copies are to be drawn for, now that the request is sent on; once a request.
    pub(super) fn take_copied(&mut self) -> Option<&'p Forward> {
        let drawn = std::mem::replace(&mut self.retries.copied, true);
        self.retries.forward.filter(|forward| !drawn && !forward.mirrors.is_empty())
    }

    /// Before the first try.
    fn begin(
        session: &mut Session,
        asked: &Asked,
        forward: Option<&'p Forward>,
        patience: Patience,
    ) -> Result<Self, Ended> {
        let chunked = asked.out_body() == OutBody::Chunked;
        let behind = session.input.bytes_mut().get_mut(session.head.len..).unwrap_or_default();
        let (upload, consumed) = Upload::begin(asked.body, chunked, behind)?;
        session.rest = session.head.len + consumed;
        let retries = Retries { forward, copied: false, attempt: 1, at: None, permit: None };
        session.kept.begin(&session.core, retries.possible(), upload.first());
        session.tried.clear();
        let progress = Progress::default();
        progress.replayable.set(true);
        progress.received.set(upload.first() as u64);
        if upload.incoming.is_done() {
            progress.whole.set(true);
            progress.ended.set((!asked.tunnel()).then(io::now));
        }
        Ok(Self { upload, progress, retries, patience })
    }

    /// After the last one.
    fn end(&self, session: &mut Session, story: &mut Story<'_>, local: &LocalCluster) {
        session.kept.clear(&session.core);
        session.input.extend(session.behind.bytes());
        session.behind.clear();
        story.received += self.progress.received.get();
        if self.progress.abandoned.get() {
            local.stats.retry_or_shadow_abandoned.inc();
        }
    }
}

/// Sends a request to a cluster, as often as its route says.
pub(super) async fn run(
    session: &mut Session,
    installed: &Rc<Installed>,
    story: &mut Story<'_>,
    (cluster, local): (&Cluster, &LocalCluster),
    asked: &Asked,
    forward: &Forward,
) -> Run {
    let mut tries = match Tries::begin(session, asked, Some(forward), Patience::of(forward)) {
        Ok(tries) => tries,
        Err(ended) => return Run::failed(ended, false),
    };
    let run = loop {
        let tried =
            attempt::run(session, installed, story, (cluster, local), asked, &forward.hash_keys, &mut tries).await;
        let Tries { progress, retries, patience, .. } = &mut tries;
        if let Tried::Over(run) = tried {
            let outcome = if run.began { None } else { outcome(&run.ended, progress) };
            if !outcome.is_some_and(|outcome| retries.again(outcome, progress, local, story)) {
                break run;
            }
        }
        let Some(policy) = retries.policy() else { break Run::failed(Ended::UpstreamReset, progress.whole.get()) };
        let wait = session.core.with_rng(|rng| policy.wait(retries.attempt, rng));
        if let Err(ended) = back_off(session, progress, *patience, wait).await {
            break Run::failed(ended, progress.whole.get());
        }
        local.stats.upstream_rq_retry.inc();
        local.stats.upstream_rq_retry_backoff_exponential.inc();
        if let Some(route) = story.route_stats {
            route.upstream_rq_retry.inc();
        }
        session.tried.extend(retries.at.take());
        retries.attempt = retries.attempt.saturating_add(1);
        story.retried = true;
    };
    tries.end(session, story, local);
    run
}

/// Sends a request to a host that is not declared: such a route has no timeout and retries nothing.
pub(super) async fn run_undeclared(
    session: &mut Session,
    installed: &Rc<Installed>,
    story: &mut Story<'_>,
    local: &LocalCluster,
    asked: &Asked,
    addresses: &[std::net::SocketAddr],
) -> Run {
    let mut tries = match Tries::begin(session, asked, None, Patience::ENDLESS) {
        Ok(tries) => tries,
        Err(ended) => return Run::failed(ended, false),
    };
    let run = attempt::run_undeclared(session, installed, story, local, asked, addresses, &mut tries).await;
    tries.end(session, story, local);
    run
}

/// What an end means to a retry policy; `None` for ends that nothing can mend.
fn outcome(ended: &Ended, progress: &Progress) -> Option<Outcome> {
    Some(match ended {
        Ended::TlsFailed(failure) if **failure == TlsFailure::NoName => return None,
        Ended::ConnectFailed(_) | Ended::ConnectTimedOut | Ended::TlsFailed(_) => Outcome::ConnectFailed,
        Ended::UpstreamReset | Ended::TlsBroke(_) => Outcome::Reset { sent: progress.written.get() > 0 },
        Ended::UpstreamProtocol => Outcome::Reset { sent: true },
        Ended::Overflow => Outcome::Overflow,
        Ended::TryTimedOut => Outcome::TimedOut,
        // Whole answers too: what their status means was asked when their head came.
        _ => return None,
    })
}

/// Waits before a retry.
async fn back_off(session: &mut Session, progress: &Progress, patience: Patience, wait: Duration) -> Result<(), Ended> {
    session.entered.enter(Phase::Busy, None);
    if wait.is_zero() {
        return Ok(());
    }
    let until = io::now() + wait.min(FOR_EVER);
    let route_end = patience.route_end(progress).filter(|end| *end <= until);
    let mut timer = std::mem::take(&mut session.timer);
    let woken = {
        let sleep = pin!(timer.until(route_end.unwrap_or(until)));
        Waiting::of(session, progress).unless_gone(sleep).await
    };
    session.timer = timer;
    woken?;
    if route_end.is_some() { Err(Ended::RequestTimedOut) } else { Ok(()) }
}

/// The client of a request that waits for something, while nothing is sent or received upstream.
struct Waiting<'a> {
    core: &'a Core,
    reader: &'a mut Reader,
    behind: &'a mut Buf,
    /// Whether its leaving can be seen: what it sends is the next request's, and there is none yet.
    watched: bool,
}

impl<'a> Waiting<'a> {
    fn of(session: &'a mut Session, progress: &Progress) -> Self {
        let Session { core, reader, behind, input, rest, .. } = session;
        let watched = progress.whole.get() && behind.is_empty() && input.len() == *rest;
        Self { core, reader, behind, watched }
    }

    /// What `work` comes to, unless the client leaves first. `work` is dropped then.
    async fn unless_gone<F: Future + Unpin>(&mut self, mut work: F) -> Result<F::Output, Ended> {
        if self.watched {
            let watch = pin!(relay::watch(self.core, self.reader, self.behind));
            match race(Pin::new(&mut work), watch).await {
                Either::Left(done) => return Ok(done),
                Either::Right(Fed::ClientGone) => return Err(Ended::ClientGone),
                Either::Right(_) => {}
            }
        }
        Ok(work.await)
    }
}

/// `work`, unless the client leaves or the route's time passes first.
pub(super) async fn in_time<F: Future + Unpin>(
    session: &mut Session,
    tries: &Tries<'_>,
    work: F,
) -> Result<F::Output, Ended> {
    let end = tries.patience.route_end(&tries.progress);
    let mut timer = std::mem::take(&mut session.timer);
    let done = {
        let mut waiting = Waiting::of(session, &tries.progress);
        let work = pin!(waiting.unless_gone(work));
        match end {
            None => work.await,
            Some(end) => match race(work, pin!(timer.until(end))).await {
                Either::Left(done) => done,
                Either::Right(()) => Err(Ended::RequestTimedOut),
            },
        }
    };
    session.timer = timer;
    done
}
