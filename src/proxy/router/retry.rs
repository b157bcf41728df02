//! The tries of one request: how often it is sent, how long each try and all of them together may take, and what the
//! client's leaving means between them.
//!
//! A try is `attempt`'s, which tries are repeated is `policy::retry`'s, and what is kept for them `replay`'s. Routes
//! without a timeout set no timer here.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use crate::h1::encode::OutBody;
use crate::io::{self, TlsFailure};
use crate::plan::{Cluster, Forward};
use crate::policy::retry::Outcome;
use crate::proxy::core::Phase;
use crate::proxy::downstream::connection::Session;
use crate::proxy::router::attempt;
use crate::proxy::router::attempt_result::{Run, Tried};
use crate::proxy::router::parsed_request::Asked;
use crate::proxy::router::progress::Progress;
use crate::proxy::router::replay::Upload;
use crate::proxy::router::retry_state::{Retries, Tries};
use crate::proxy::router::stream_info::Story;
use crate::proxy::router::termination::Ended;
use crate::proxy::router::timeouts::{FOR_EVER, Patience};
use crate::proxy::router::waiting::Waiting;
use crate::upstream::{Installed, LocalCluster};

/// Before the first try.
fn begin<'p>(
    session: &mut Session,
    asked: &Asked,
    forward: Option<&'p Forward>,
    patience: Patience,
) -> Result<Tries<'p>, Ended> {
    let chunked = asked.out_body() == OutBody::Chunked;
    let behind = session.input.bytes_mut().get_mut(session.head.len..).unwrap_or_default();
    let (upload, consumed) = Upload::begin(asked.body, chunked, behind)?;
    session.rest = session.head.len + consumed;
    let retries = Retries::new(forward);
    session.kept.begin(&session.core, retries.possible(), upload.first());
    session.tried.clear();
    let progress = Progress::default();
    progress.replayable.set(true);
    progress.received.set(upload.first() as u64);
    if upload.incoming.is_done() {
        progress.whole.set(true);
        progress.ended.set((!asked.tunnel()).then(io::now));
    }
    Ok(Tries { upload, progress, retries, patience })
}

/// After the last one.
fn end(tries: &Tries<'_>, session: &mut Session, story: &mut Story<'_>, local: &LocalCluster) {
    session.kept.clear(&session.core);
    session.input.extend(session.behind.bytes());
    session.behind.clear();
    story.received += tries.progress.received.get();
    if tries.progress.abandoned.get() {
        local.stats.retry_or_shadow_abandoned.inc();
    }
}

/// Sends a request to a cluster, as often as its route says.
pub(crate) async fn run(
    session: &mut Session,
    installed: &Rc<Installed>,
    story: &mut Story<'_>,
    (cluster, local): (&Cluster, &LocalCluster),
    asked: &Asked,
    forward: &Forward,
) -> Run {
    let mut tries = match begin(session, asked, Some(forward), Patience::of(forward)) {
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
    end(&tries, session, story, local);
    run
}

/// Sends a request to a host that is not declared: such a route has no timeout and retries nothing.
pub(crate) async fn run_undeclared(
    session: &mut Session,
    installed: &Rc<Installed>,
    story: &mut Story<'_>,
    local: &LocalCluster,
    asked: &Asked,
    addresses: &[std::net::SocketAddr],
) -> Run {
    let mut tries = match begin(session, asked, None, Patience::ENDLESS) {
        Ok(tries) => tries,
        Err(ended) => return Run::failed(ended, false),
    };
    let run = attempt::run_undeclared(session, installed, story, local, asked, addresses, &mut tries).await;
    end(&tries, session, story, local);
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
