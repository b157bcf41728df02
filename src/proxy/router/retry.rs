//! The attempts of one request: how often it is sent, how long all of them together may take, and the effect of the
//! client's leaving between them.
//!
//! `attempt` makes one, `policy::retry` decides which outcomes are retried, and `replay` keeps the body for them.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use crate::http::outgoing::BodyLen;
use crate::io::{self, TlsFailure};
use crate::plan::{Cluster, Forward};
use crate::policy::retry::Outcome;
use crate::proxy::core::Phase;
use crate::proxy::downstream::connection::ClientConnection;
use crate::proxy::router::attempt_result::{AttemptResult, RequestResult};
use crate::proxy::router::progress::Progress;
use crate::proxy::router::replay::Upload;
use crate::proxy::router::retry_state::{AttemptHistory, RetryState};
use crate::proxy::router::termination::Termination;
use crate::proxy::router::timeouts::{FOR_EVER, Timeouts};
use crate::proxy::router::waiting::Waiting;
use crate::proxy::stream::Stream;
use crate::upstream::LocalCluster;

impl<'p> Stream<'p> {
    /// Sends the request to a cluster, as often as its route says.
    pub(crate) async fn run_attempts(
        &mut self,
        (cluster, local): (&'p Cluster, &'p LocalCluster),
        forward: &'p Forward,
    ) -> RequestResult {
        let mut retry_state = match self.begin_attempts(Some(forward), Timeouts::of(forward)) {
            Ok(retry_state) => retry_state,
            Err(ended) => return RequestResult::failed(ended, false),
        };
        let result = loop {
            let attempted = self.attempt((cluster, local), &forward.hash_keys, &mut retry_state).await;
            let RetryState { progress, retries, timeouts, .. } = &mut retry_state;
            if let AttemptResult::Final(result) = attempted {
                let outcome = if result.began { None } else { outcome(&result.ended, progress) };
                let again = |outcome| retries.again(outcome, progress, local, &mut self.info);
                if !outcome.is_some_and(again) {
                    break result;
                }
            }
            let Some(policy) = retries.policy() else {
                break RequestResult::failed(Termination::UpstreamReset, progress.whole.get());
            };
            let wait = self.conn.core.with_rng(|rng| policy.wait(retries.attempt, rng));
            if let Err(ended) = self.back_off(progress, *timeouts, wait).await {
                break RequestResult::failed(ended, progress.whole.get());
            }
            local.stats.upstream_rq_retry.inc();
            local.stats.upstream_rq_retry_backoff_exponential.inc();
            if let Some(route) = self.info.route_stats {
                route.upstream_rq_retry.inc();
            }
            self.scratch.tried.extend(retries.at.take());
            retries.attempt = retries.attempt.saturating_add(1);
            self.info.retried = true;
        };
        self.end_attempts(&retry_state, local);
        result
    }

    /// Sends the request to the addresses of an undeclared host: such a route has no timeout and no retries.
    pub(crate) async fn run_passthrough_attempt(
        &mut self,
        local: &LocalCluster,
        addresses: &[SocketAddr],
    ) -> RequestResult {
        let mut retry_state = match self.begin_attempts(None, Timeouts::ENDLESS) {
            Ok(retry_state) => retry_state,
            Err(ended) => return RequestResult::failed(ended, false),
        };
        let result = match self.attempt_on_first_of(local, addresses, &mut retry_state).await {
            AttemptResult::Final(result) => result,
            // Without a policy there are no retries.
            AttemptResult::Retry => RequestResult::failed(Termination::UpstreamReset, retry_state.progress.whole.get()),
        };
        self.end_attempts(&retry_state, local);
        result
    }

    /// Before the first attempt.
    fn begin_attempts(
        &mut self,
        forward: Option<&'p Forward>,
        timeouts: Timeouts,
    ) -> Result<RetryState<'p>, Termination> {
        let ClientConnection { core, input, rest, .. } = &mut *self.conn;
        let (chunked, head_len) = (self.parsed.body_len() == BodyLen::Unknown, self.scratch.head.len);
        let behind = input.bytes_mut().get_mut(head_len..).unwrap_or_default();
        let (upload, consumed) = Upload::begin(self.parsed.body, chunked, behind)?;
        *rest = head_len + consumed;
        let bytes = (*rest as u64).saturating_add(upload.incoming.left().unwrap_or(0));
        let retries = AttemptHistory::new(forward);
        self.scratch.replay.begin(core, retries.possible(), upload.first());
        self.scratch.tried.clear();
        self.conn.expect(bytes);
        let progress = Progress::default();
        progress.replayable.set(true);
        progress.received.set(upload.first() as u64);
        if upload.incoming.is_done() {
            progress.whole.set(true);
            progress.ended.set((!self.parsed.tunnel()).then(io::now));
        }
        Ok(RetryState { upload, progress, retries, timeouts })
    }

    /// After the last one.
    fn end_attempts(&mut self, retry_state: &RetryState<'_>, local: &LocalCluster) {
        let ClientConnection { core, input, behind, .. } = &mut *self.conn;
        self.scratch.replay.clear(core);
        input.extend(behind.bytes());
        behind.clear();
        self.info.received += retry_state.progress.received.get();
        if retry_state.progress.abandoned.get() {
            local.stats.retry_or_shadow_abandoned.inc();
        }
    }

    /// Waits before a retry.
    async fn back_off(&mut self, progress: &Progress, timeouts: Timeouts, wait: Duration) -> Result<(), Termination> {
        self.conn.entered.enter(Phase::Busy, None);
        if wait.is_zero() {
            return Ok(());
        }
        let until = io::now() + wait.min(FOR_EVER);
        let route_end = timeouts.route_end(progress).filter(|end| *end <= until);
        let mut timer = std::mem::take(&mut self.conn.timer);
        let woken = {
            let sleep = pin!(timer.until(route_end.unwrap_or(until)));
            Waiting::of(self, progress).unless_gone(sleep).await
        };
        self.conn.timer = timer;
        woken?;
        if route_end.is_some() { Err(Termination::RequestTimedOut) } else { Ok(()) }
    }
}

/// The outcome of a termination for a retry policy; `None` for terminations that are never retried.
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
        // Complete responses too: their status was checked when their head came.
        _ => return None,
    })
}
