//! The progress of a request towards the upstream, which its upload, its timeouts and its retries share.

use std::cell::Cell;
use std::time::Instant;

/// The progress of the request; written by `relay::pump_request`, read by the futures that race it.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The client has sent all of it.
    pub(crate) whole: Cell<bool>,
    /// When it had; `None` also for a request that turns into a tunnel, which has no end.
    pub(crate) ended: Cell<Option<Instant>>,
    /// All that was received of it is still there to be sent again.
    pub(crate) replayable: Cell<bool>,
    /// It was to be kept, and is too large.
    pub(crate) abandoned: Cell<bool>,
    /// Payload bytes received from the client.
    pub(crate) received: Cell<u64>,
    /// This attempt: the last byte was sent.
    pub(crate) sent: Cell<bool>,
    /// This attempt: bytes written to the upstream.
    pub(crate) written: Cell<u64>,
    /// A piece of the body is out for being written, and would be lost with the upload.
    pub(crate) writing: Cell<bool>,
    /// This attempt is given up: the upload ends before its next read or write.
    pub(crate) stop: Cell<bool>,
}

impl Progress {
    /// Another attempt begins.
    pub(crate) fn try_begins(&self) {
        self.sent.set(false);
        self.written.set(0);
        self.writing.set(false);
        self.stop.set(false);
    }
}
