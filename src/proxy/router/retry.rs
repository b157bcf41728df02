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
use crate::proxy::router::attempt_result::{AttemptResult, RequestResult};
use crate::proxy::router::parsed_request::ParsedRequest;
use crate::proxy::router::progress::Progress;
use crate::proxy::router::replay::Upload;
use crate::proxy::router::retry_state::{AttemptHistory, RetryState};
use crate::proxy::router::stream_info::StreamInfo;
use crate::proxy::router::termination::Termination;
use crate::proxy::router::timeouts::{FOR_EVER, Timeouts};
use crate::proxy::router::waiting::Waiting;
use crate::upstream::{Installed, LocalCluster};

/// Before the first try.
fn begin<'p>(
    session: &mut Session,
    asked: &ParsedRequest,
    forward: Option<&'p Forward>,
    timeouts: Timeouts,
) -> Result<RetryState<'p>, Termination> {
    let chunked = asked.out_body() == OutBody::Chunked;
    let behind = session.input.bytes_mut().get_mut(session.head.len..).unwrap_or_default();
    let (upload, consumed) = Upload::begin(asked.body, chunked, behind)?;
    session.rest = session.head.len + consumed;
    let retries = AttemptHistory::new(forward);
    session.kept.begin(&session.core, retries.possible(), upload.first());
    session.tried.clear();
    let progress = Progress::default();
    progress.replayable.set(true);
    progress.received.set(upload.first() as u64);
    if upload.incoming.is_done() {
        progress.whole.set(true);
        progress.ended.set((!asked.tunnel()).then(io::now));
    }
    Ok(RetryState { upload, progress, retries, timeouts })
}

/// After the last one.
fn end(retry_state: &RetryState<'_>, session: &mut Session, info: &mut StreamInfo<'_>, local: &LocalCluster) {
    session.kept.clear(&session.core);
    session.input.extend(session.behind.bytes());
    session.behind.clear();
    info.received += retry_state.progress.received.get();
    if retry_state.progress.abandoned.get() {
        local.stats.retry_or_shadow_abandoned.inc();
    }
}

/// Sends a request to a cluster, as often as its route says.
pub(crate) async fn run(
    session: &mut Session,
    installed: &Rc<Installed>,
    info: &mut StreamInfo<'_>,
    (cluster, local): (&Cluster, &LocalCluster),
    asked: &ParsedRequest,
    forward: &Forward,
) -> RequestResult {
    let mut retry_state = match begin(session, asked, Some(forward), Timeouts::of(forward)) {
        Ok(retry_state) => retry_state,
        Err(ended) => return RequestResult::failed(ended, false),
    };
    let run = loop {
        let tried =
            attempt::run(session, installed, info, (cluster, local), asked, &forward.hash_keys, &mut retry_state).await;
        let RetryState { progress, retries, timeouts, .. } = &mut retry_state;
        if let AttemptResult::Final(run) = tried {
            let outcome = if run.began { None } else { outcome(&run.ended, progress) };
            if !outcome.is_some_and(|outcome| retries.again(outcome, progress, local, info)) {
                break run;
            }
        }
        let Some(policy) = retries.policy() else {
            break RequestResult::failed(Termination::UpstreamReset, progress.whole.get());
        };
        let wait = session.core.with_rng(|rng| policy.wait(retries.attempt, rng));
        if let Err(ended) = back_off(session, progress, *timeouts, wait).await {
            break RequestResult::failed(ended, progress.whole.get());
        }
        local.stats.upstream_rq_retry.inc();
        local.stats.upstream_rq_retry_backoff_exponential.inc();
        if let Some(route) = info.route_stats {
            route.upstream_rq_retry.inc();
        }
        session.tried.extend(retries.at.take());
        retries.attempt = retries.attempt.saturating_add(1);
        info.retried = true;
    };
    end(&retry_state, session, info, local);
    run
}

/// Sends a request to a host that is not declared: such a route has no timeout and retries nothing.
pub(crate) async fn run_passthrough(
    session: &mut Session,
    installed: &Rc<Installed>,
    info: &mut StreamInfo<'_>,
    local: &LocalCluster,
    asked: &ParsedRequest,
    addresses: &[std::net::SocketAddr],
) -> RequestResult {
    let mut retry_state = match begin(session, asked, None, Timeouts::ENDLESS) {
        Ok(retry_state) => retry_state,
        Err(ended) => return RequestResult::failed(ended, false),
    };
    let run = attempt::run_passthrough(session, installed, info, local, asked, addresses, &mut retry_state).await;
    end(&retry_state, session, info, local);
    run
}

/// What an end means to a retry policy; `None` for ends that nothing can mend.
fn outcome(ended: &Termination, progress: &Progress) -> Option<Outcome> {
    Some(match ended {
        Termination::TlsFailed(failure) if **failure == TlsFailure::NoName => return None,
        Termination::ConnectFailed(_) | Termination::ConnectTimedOut | Termination::TlsFailed(_) => {
            Outcome::ConnectFailed
        }
        Termination::UpstreamReset | Termination::TlsBroke(_) => Outcome::Reset { sent: progress.written.get() > 0 },
        Termination::UpstreamProtocol => Outcome::Reset { sent: true },
        Termination::Overflow => Outcome::Overflow,
        Termination::TryTimedOut => Outcome::TimedOut,
        // Whole answers too: what their status means was asked when their head came.
        _ => return None,
    })
}

/// Waits before a retry.
async fn back_off(
    session: &mut Session,
    progress: &Progress,
    timeouts: Timeouts,
    wait: Duration,
) -> Result<(), Termination> {
    session.entered.enter(Phase::Busy, None);
    if wait.is_zero() {
        return Ok(());
    }
    let until = io::now() + wait.min(FOR_EVER);
    let route_end = timeouts.route_end(progress).filter(|end| *end <= until);
    let mut timer = std::mem::take(&mut session.timer);
    let woken = {
        let sleep = pin!(timer.until(route_end.unwrap_or(until)));
        Waiting::of(session, progress).unless_gone(sleep).await
    };
    session.timer = timer;
    woken?;
    if route_end.is_some() { Err(Termination::RequestTimedOut) } else { Ok(()) }
}
