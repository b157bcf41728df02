//! The state that the attempts of one request share: its upload, its progress, its timeouts, and the attempts so far.
//!
//! `policy::retry` decides which outcomes are retried. Called by `retry`, `attempt` and `exchange`.

use crate::observe::flags::Flags;
use crate::plan::{EndpointId, Forward};
use crate::policy::retry::{Outcome, RetryDecision, RetryPolicy};
use crate::proxy::router::progress::Progress;
use crate::proxy::router::replay::Upload;
use crate::proxy::router::stream_info::StreamInfo;
use crate::proxy::router::timeouts::Timeouts;
use crate::upstream::{Avoid, LocalCluster, Permit};

/// The state that the attempts of a request share.
pub(crate) struct RetryState<'p> {
    pub(crate) upload: Upload,
    pub(crate) progress: Progress,
    pub(crate) retries: AttemptHistory<'p>,
    pub(crate) timeouts: Timeouts,
}

impl<'p> RetryState<'p> {
    /// The route whose mirrors copies are to be drawn for, now that the request is sent on; once a request.
    pub(crate) fn take_copied(&mut self) -> Option<&'p Forward> {
        let drawn = std::mem::replace(&mut self.retries.copied, true);
        self.retries.forward.filter(|forward| !drawn && !forward.mirrors.is_empty())
    }
}

/// The attempts so far, and whether there is another one.
pub(crate) struct AttemptHistory<'p> {
    /// The route's action; `None` for an undeclared host.
    forward: Option<&'p Forward>,
    /// Whether copies have been drawn.
    copied: bool,
    /// `x-envoy-attempt-count` of the attempt under way, from 1.
    pub(crate) attempt: u32,
    /// The endpoint of the attempt under way.
    pub(crate) at: Option<EndpointId>,
    /// The permit of the retry under way, where retries are limited.
    permit: Option<Permit>,
}

impl<'p> AttemptHistory<'p> {
    /// Before the first attempt at a request of this route.
    pub(crate) fn new(forward: Option<&'p Forward>) -> Self {
        Self { forward, copied: false, attempt: 1, at: None, permit: None }
    }

    pub(crate) fn policy(&self) -> Option<&'p RetryPolicy> {
        self.forward?.retry.as_deref()
    }

    /// Whether the request is tried again after this outcome. Counts, and says in the info why not.
    pub(crate) fn again(
        &mut self,
        outcome: Outcome,
        progress: &Progress,
        local: &LocalCluster,
        info: &mut StreamInfo<'_>,
    ) -> bool {
        self.permit = None; // the outcome of the retry that it was for is known
        let Some(policy) = self.policy().filter(|_| progress.replayable.get()) else { return false };
        match policy.next(outcome, self.attempt - 1) {
            RetryDecision::Keep { retried: false } => {}
            RetryDecision::Keep { retried: true } => {
                local.stats.upstream_rq_retry_success.inc();
                if let Some(route) = info.route_stats {
                    route.upstream_rq_retry_success.inc();
                }
            }
            RetryDecision::UsedUp => {
                info.flags.insert(Flags::URX);
                local.stats.upstream_rq_retry_limit_exceeded.inc();
                if let Some(route) = info.route_stats {
                    route.upstream_rq_retry_limit_exceeded.inc();
                }
            }
            RetryDecision::Again => match local.admit_retry() {
                Ok(permit) => {
                    self.permit = permit;
                    return true;
                }
                Err(_) => {
                    info.flags.insert(Flags::UO);
                    local.stats.upstream_rq_retry_overflow.inc();
                    if let Some(route) = info.route_stats {
                        route.upstream_rq_retry_overflow.inc();
                    }
                }
            },
        }
        false
    }

    /// Whether anything is ever tried again, so that it matters whether it could be.
    pub(crate) fn possible(&self) -> bool {
        self.policy().is_some()
    }

    /// The endpoints and priorities that the next attempt avoids, after those at the endpoints `tried`.
    pub(crate) fn avoid<'t>(&self, tried: &'t [EndpointId]) -> Avoid<'t> {
        let if_said = |said: fn(&RetryPolicy) -> bool| if self.policy().is_some_and(said) { tried } else { &[] };
        Avoid {
            endpoints: if_said(|policy| policy.avoid_tried),
            priorities_of: if_said(|policy| policy.other_priorities),
        }
    }
}
