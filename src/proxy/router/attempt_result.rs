//! The results of an attempt, and of its request. Data only: `attempt` and `exchange` make it, `retry` and `route` use
//! it.

use crate::proxy::router::termination::Termination;

/// How a request ended.
pub(crate) struct RequestResult {
    pub(crate) ended: Termination,
    /// Whether anything of a response went to the client.
    pub(crate) began: bool,
    /// Whether the client's connection can be used again.
    pub(crate) keep: bool,
}

impl RequestResult {
    pub(crate) fn failed(ended: Termination, keep: bool) -> Self {
        Self { ended, began: false, keep }
    }
}

/// The result of an attempt.
pub(crate) enum AttemptResult {
    /// The end of the request, if the failure is not one that is tried again.
    Final(RequestResult),
    /// An answer that was not let through, because the request is to be tried again.
    Retry,
}

/// The result of an exchange.
pub(crate) enum ExchangeResult {
    Attempt(AttemptResult),
    /// The connection had been used before and was closed as the request was sent, which the upstream may do at any time:
    /// the request never reached anyone, and is sent again on a new one.
    StaleConnection,
}

impl From<RequestResult> for ExchangeResult {
    fn from(run: RequestResult) -> Self {
        Self::Attempt(AttemptResult::Final(run))
    }
}
