//! Protocol detection: reading the first bytes of a connection until they decide its protocol.
//!
//! `sni` inspects the bytes; here are the reads and the deadlines. Called by `downstream::transport`, and by `connect_method`
//! for the bytes inside a tunnel.

use std::time::Duration;

use crate::io::{self, Buf, Either, Reader, Timer, race};
use crate::plan::Detected;
use crate::proxy::core::Core;
use crate::proxy::l4::sni;

/// How long first bytes are awaited.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DetectionTimeouts {
    /// The time for all of them, from the call on; `None`: no timeout.
    pub(crate) begin: Option<Duration>,
    /// The time for all of them, from the first byte on.
    pub(crate) end: Duration,
}

/// The protocol of the first bytes, which are left in `seen`. `None`: the connection has ended without a byte.
pub(crate) async fn first_bytes<'b>(
    core: &Core,
    reader: &mut Reader,
    seen: &'b mut Buf,
    timeouts: DetectionTimeouts,
) -> Option<Detected<'b>> {
    let begin = timeouts.begin.map(|timeout| io::now() + timeout);
    let mut end = None;
    let mut timer = Timer::default();
    while sni::look(seen.bytes()).is_none() {
        if !reader.armed() {
            // Not into `seen`: its bytes must be forwarded if no more come in time.
            reader.arm(core.buffers.head());
        }
        if end.is_none() && !seen.is_empty() {
            end = Some(io::now() + timeouts.end);
        }
        let (read, bytes) = match begin.into_iter().chain(end).min() {
            None => reader.done().await,
            Some(deadline) => match race(std::pin::pin!(reader.done()), std::pin::pin!(timer.until(deadline))).await {
                Either::Left(read) => read,
                Either::Right(()) => return Some(Detected::Bytes),
            },
        };
        let more = matches!(read, Ok(1..));
        seen.extend(bytes.bytes());
        core.buffers.put(bytes);
        if !more {
            return if seen.is_empty() { None } else { Some(Detected::Bytes) };
        }
    }
    sni::look(seen.bytes())
}
