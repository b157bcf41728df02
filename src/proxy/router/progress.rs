//! How far a request has got on its way to the upstream: what its upload, its timeouts and its retries tell each other.

use std::cell::Cell;
use std::time::Instant;

/// How far the request has got; written by `relay::pump_request`, read by whoever races it.
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
    /// This try: the last byte was sent.
    pub(crate) sent: Cell<bool>,
    /// This try: bytes written to the upstream.
    pub(crate) written: Cell<u64>,
    /// A piece of the body is out for being written, and would be lost with the upload.
    pub(crate) writing: Cell<bool>,
    /// This try is given up: the upload ends before it reads or writes anything more.
    pub(crate) stop: Cell<bool>,
}

impl Progress {
    /// Another try begins.
    pub(crate) fn try_begins(&self) {
        self.sent.set(false);
        self.written.set(0);
        self.writing.set(false);
        self.stop.set(false);
    }
}
