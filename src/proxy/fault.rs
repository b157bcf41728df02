//! Faults that a route injects: a delay, then an answer in the upstream's stead.
//!
//! They come before all that is done to a request: no timeout runs during a delay, and no abort is retried. A delayed
//! request costs a timer, and its body is held back.

use std::pin::pin;
use std::sync::Arc;

use super::conn::Session;
use super::record::Story;
use super::relay::{self, Fed};
use super::reply::Ended;
use crate::base::limits::BODY_BUFFER_BYTES;
use crate::io::{self, Either, race};
use crate::observe::flags::Flags;
use crate::observe::stats::HttpStats;
use crate::policy::fault::Fault;
use crate::policy::share::Share;

/// Counts a request as one with a fault for as long as it lives.
#[derive(Debug)]
pub(super) struct Injected(Arc<HttpStats>);

impl Injected {
    fn begin(stats: &Arc<HttpStats>) -> Self {
        stats.fault_active_faults.inc();
        Self(stats.clone())
    }
}

impl Drop for Injected {
    fn drop(&mut self) {
        self.0.fault_active_faults.dec();
    }
}

/// Draws for the faults of a route and lets the request suffer them; how it ends by them, if it does.
pub(super) async fn inject(session: &mut Session, story: &mut Story<'_>, fault: &Fault) -> Option<Ended> {
    let hits = |session: &Session, share: Share| session.core.with_rng(|rng| share.hits(rng));
    if let Some(delay) = fault.delay.filter(|delay| hits(session, delay.share)) {
        let http = &session.stats.http;
        http.fault_delays_injected.inc();
        story.fault = Some(Injected::begin(http));
        story.flags.insert(Flags::DI);
        if let Err(ended) = hold(session, delay.by).await {
            return Some(ended);
        }
    }
    let abort = fault.abort.filter(|abort| hits(session, abort.share))?;
    let http = &session.stats.http;
    http.fault_aborts_injected.inc();
    story.fault.get_or_insert_with(|| Injected::begin(http));
    Some(Ended::FaultAborted(abort.with))
}

/// Waits, unless the client leaves.
async fn hold(session: &mut Session, delay: std::time::Duration) -> Result<(), Ended> {
    let until = io::now() + delay.min(LONGEST);
    let Session { core, reader, behind, timer, input, .. } = session;
    {
        let mut sleep = pin!(timer.until(until));
        // What the client sends meanwhile is read, or its leaving would not be seen; but not more than a buffer of it.
        let mut gone = false;
        while !gone && input.len() + behind.len() < BODY_BUFFER_BYTES {
            let watch = pin!(relay::watch(core, reader, behind));
            match race(sleep.as_mut(), watch).await {
                Either::Left(()) => break,
                Either::Right(fed) => gone = matches!(fed, Fed::ClientGone),
            }
        }
        if gone {
            return Err(Ended::ClientGone);
        }
        if input.len() + behind.len() >= BODY_BUFFER_BYTES {
            sleep.await;
        }
    }
    input.extend(behind.bytes());
    behind.clear();
    Ok(())
}

/// Delays above a year are a year's.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(365 * 24 * 3600);
