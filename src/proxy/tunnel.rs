//! After a 101: raw bytes both ways, until either side ends.

use super::core::Core;
use crate::io::{Buf, Either, Reader, Writer, race};

/// One end of a tunnel.
pub(super) struct End<'a> {
    pub(super) reader: &'a mut Reader,
    pub(super) writer: &'a mut Writer,
}

/// Bytes that passed.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Passed {
    /// From the client.
    pub(super) up: u64,
    /// From the upstream.
    pub(super) down: u64,
    /// Whether the client ended the tunnel, not the upstream.
    pub(super) client_ended: bool,
}

/// Pumps both ways. `early` are the client's bytes that came behind its request; the upstream's have been sent already.
/// Ends with the first side that ends, as Envoy does: a half-open WebSocket is of no use to anyone.
pub(super) async fn run(core: &Core, client: End<'_>, upstream: End<'_>, early: Buf) -> Passed {
    let (up, down) = (std::cell::Cell::new(early.len() as u64), std::cell::Cell::new(0));
    let client_ended = {
        let upwards = std::pin::pin!(pump(core, client.reader, upstream.writer, early, &up));
        let downwards = std::pin::pin!(pump(core, upstream.reader, client.writer, Buf::default(), &down));
        matches!(race(upwards, downwards).await, Either::Left(()))
    };
    Passed { up: up.get(), down: down.get(), client_ended }
}

async fn pump(core: &Core, from: &mut Reader, to: &mut Writer, early: Buf, passed: &std::cell::Cell<u64>) {
    if !early.is_empty() && to.write_all(early).await.0.is_err() {
        return;
    }
    let mut buf = core.buffers.body();
    loop {
        if !from.armed() {
            buf.clear();
            from.arm(buf);
        }
        let (read, filled) = from.done().await;
        let Ok(n @ 1..) = read else { break };
        passed.set(passed.get() + n as u64);
        let (written, emptied) = to.write_all(filled).await;
        buf = emptied;
        if written.is_err() {
            break;
        }
    }
}
