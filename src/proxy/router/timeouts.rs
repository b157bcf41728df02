//! The times of a request: its route's timeout, the timeout of one attempt, and the deadline that the two make.
//!
//! Routes without a timeout set no timer. Called by `retry`, which reads them off the route, and `exchange`, which keeps to
//! them.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::io::Timer;
use crate::plan::Forward;
use crate::proxy::router::progress::Progress;

/// How long a request may take; longer than a year is for ever.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    /// From the end of the request to the end of the response.
    pub(crate) route: Option<Duration>,
    /// From then on, or from the connection if that came later, to the head of the response.
    per_try: Option<Duration>,
}

/// Longer is for ever.
pub(crate) const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);

impl Timeouts {
    /// The timeouts of a route; a timeout per attempt that is not shorter than the route's is ignored.
    pub(crate) fn of(forward: &Forward) -> Self {
        let finite = |timeout: &Duration| *timeout < FOR_EVER;
        let route = forward.timeout.filter(finite);
        let per_try = forward.retry.as_ref().and_then(|policy| policy.per_try_timeout);
        let per_try = per_try.filter(|per_try| finite(per_try) && route.is_none_or(|route| *per_try < route));
        Self { route, per_try }
    }

    pub(crate) const ENDLESS: Self = Self { route: None, per_try: None };

    /// `x-envoy-expected-rq-timeout-ms`: how long the upstream has, `spent` after the end of the request.
    pub(crate) fn expected_ms(&self, spent: Duration) -> Option<u64> {
        // Envoy sends 1 if no time is left: 0 would mean no timeout.
        let left = self.route.map(|route| route.saturating_sub(spent).max(Duration::from_millis(1)));
        let expected = match (self.per_try, left) {
            (Some(per_try), Some(left)) => per_try.min(left),
            (per_try, left) => per_try.or(left)?,
        };
        u64::try_from(expected.as_millis()).ok()
    }

    /// Whether no time is measured.
    pub(crate) fn is_endless(&self) -> bool {
        self.route.is_none() && self.per_try.is_none()
    }

    pub(crate) fn route_end(&self, progress: &Progress) -> Option<Instant> {
        Some(progress.ended.get()? + self.route?)
    }
}

/// Which time has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimeoutKind {
    /// The route's.
    Request,
    /// The attempt's.
    Try,
}

/// The deadline of an attempt that has a connection.
pub(crate) struct Deadline<'a> {
    timer: &'a mut Timer,
    progress: &'a Progress,
    timeouts: Timeouts,
    connected: Instant,
}

impl<'a> Deadline<'a> {
    pub(crate) fn new(timer: &'a mut Timer, progress: &'a Progress, timeouts: Timeouts, connected: Instant) -> Self {
        Self { timer, progress, timeouts, connected }
    }

    /// Notes the response head, which ends the timeout per attempt.
    pub(crate) fn answered(&mut self) {
        self.timeouts.per_try = None;
    }

    /// Completes when a timeout passes; never without a timeout. It must be polled after the futures that may see the end
    /// of the request, because the time begins there.
    pub(crate) async fn late(&mut self) -> TimeoutKind {
        poll_fn(|cx| self.poll_late(cx)).await
    }

    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<TimeoutKind> {
        let Some((at, late)) = self.next() else { return Poll::Pending };
        self.timer.poll_until(at, cx).map(|()| late)
    }

    fn next(&self) -> Option<(Instant, TimeoutKind)> {
        let ended = self.progress.ended.get()?;
        let route = self.timeouts.route.map(|timeout| (ended + timeout, TimeoutKind::Request));
        let per_try = self.timeouts.per_try.map(|timeout| (ended.max(self.connected) + timeout, TimeoutKind::Try));
        match (route, per_try) {
            (Some(route), Some(per_try)) => Some(if per_try.0 < route.0 { per_try } else { route }),
            (route, per_try) => route.or(per_try),
        }
    }
}
