//! What comes of an attempt, and of the request with it. Data alone: `attempt` and `exchange` make it, `tries` and
//! `request` go by it.

use crate::proxy::router::termination::Ended;

/// How a request ended.
pub(crate) struct Run {
    pub(crate) ended: Ended,
    /// Whether anything of a response went to the client.
    pub(crate) began: bool,
    /// Whether the client's connection can be used again.
    pub(crate) keep: bool,
}

impl Run {
    pub(crate) fn failed(ended: Ended, keep: bool) -> Self {
        Self { ended, began: false, keep }
    }
}

/// What came of a try.
pub(crate) enum Tried {
    /// The end of the request, if the failure is not one that is tried again.
    Over(Run),
    /// An answer that was not let through, because the request is to be tried again.
    Again,
}

/// What came of an exchange.
pub(crate) enum Exchanged {
    Tried(Tried),
    /// The connection had been used before and was closed as the request was sent, which the upstream may do at any time:
    /// the request never reached anyone, and is sent again on a new one.
    Stale,
}

impl From<Run> for Exchanged {
    fn from(run: Run) -> Self {
        Self::Tried(Tried::Over(run))
    }
}
