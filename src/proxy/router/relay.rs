//! Moving bodies: the client's to the upstream while its answer is awaited, the upstream's to the client.
//!
//! A body is never held whole. What is read is turned in place into what is sent (chunk framing is always our own, so
//! a chunk extension or a trailer never passes), and no more than the next read is under way while a piece is written, so a slow
//! receiver slows its sender down.

use std::cell::Cell;
use std::time::Duration;

use crate::http::error::ProtocolError;
use crate::io::{self, Buf, BufPool, Reader, Share, Size, Writer};
use crate::proxy::core::{ConnectionEntry, Core, Phase};
use crate::proxy::mirror::queue::Mirrors;
use crate::proxy::router::body::{
    BodyPiece, CHUNK_BACK, CHUNK_FRONT, Incoming, frame, prepare, put_piece, reframe, reframe_response,
};
use crate::proxy::router::progress::Progress;
use crate::proxy::router::replay::{ReplayBuffer, ReplayDecision};
use crate::proxy::router::termination::Termination;

/// Why [`pump_request`] has nothing more to do.
#[derive(Debug)]
pub(crate) enum UploadEnd {
    /// The request is sent, and the client has begun its next one: nothing more is read for now.
    NextBegan,
    /// The upstream takes no more. Its answer may still be on the way.
    UpstreamClosed,
    /// The try was given up.
    Stopped,
    /// The client is gone.
    ClientGone,
    /// The client's body stalled for longer than `bodyTimeout`.
    TimedOut,
    /// The client's chunks are malformed.
    Bad(ProtocolError),
}

impl UploadEnd {
    /// How the request ends with this, if it does.
    pub(crate) fn ends(self) -> Option<Termination> {
        match self {
            Self::NextBegan | Self::UpstreamClosed | Self::Stopped => None,
            Self::ClientGone => Some(Termination::ClientGone),
            Self::TimedOut => Some(Termination::BodyTimedOut),
            Self::Bad(bad) => Some(Termination::BadRequest(bad)),
        }
    }
}

/// The client's side of an exchange.
pub(crate) struct Client<'a> {
    pub(crate) core: &'a Core,
    pub(crate) live: &'a ConnectionEntry,
    pub(crate) reader: &'a mut Reader,
    /// What was read of the body before, by this try and those before it.
    pub(crate) replay: &'a mut ReplayBuffer,
    /// Who gets a copy of it.
    pub(crate) mirrors: &'a Mirrors,
    /// Where the bytes of a next, pipelined request are replay.
    pub(crate) behind: &'a mut Buf,
    pub(crate) body_timeout: Duration,
    /// How large the next request is expected to be.
    pub(crate) expects: Size,
    /// Whether a next request has been read already, so that nothing need be read to see the client leave.
    pub(crate) pipelined: bool,
}

/// Sends `first` (the head and what of the body came with it), what earlier tries have read, then the rest of the body as
/// it comes, then watches the client: its next bytes are replay, its end is told.
///
/// May be dropped at any point: once the request is sent nothing is lost, and before that the upstream connection is
/// closed by the caller. Whoever wants to send the request again waits for `progress.writing` to become false.
pub(crate) async fn pump_request(
    client: Client<'_>,
    upstream: &mut Writer,
    first: Buf,
    incoming: &mut Incoming,
    chunked: bool,
    progress: &Progress,
) -> UploadEnd {
    let Client { core, live, reader, replay, mirrors, behind, body_timeout, expects, pipelined } = client;
    let first_bytes = first.len() as u64;
    let (sent, buf) = upstream.write_all(first).await;
    core.buffers.put(buf);
    if sent.is_err() {
        return UploadEnd::UpstreamClosed;
    }
    progress.written.set(first_bytes);
    for at in 0..replay.pieces.len() {
        let piece = std::mem::take(&mut replay.pieces[at]);
        if !write_kept(upstream, piece, progress, |piece| replay.pieces[at] = piece).await {
            return UploadEnd::UpstreamClosed;
        }
        if progress.stop.get() {
            return UploadEnd::Stopped;
        }
    }
    let mut next_began = pipelined;
    if !incoming.is_done() {
        // What is kept, or copied for mirrors, is accounted for in pieces of this size.
        let most = if replay.wanted || !mirrors.is_empty() { Size::Body } else { Size::Huge };
        let mut flow = Flow::new(&core.buffers, most);
        while !incoming.is_done() {
            live.enter(Phase::Body, Some(io::now() + body_timeout));
            if !reader.armed() {
                reader.arm(flow.next(incoming, chunked));
            }
            let (read, buf) = reader.done().await;
            flow.filled = buf.room() == 0;
            match read {
                Ok(n) if n > 0 => {}
                _ if live.expired() => return UploadEnd::TimedOut,
                _ => return UploadEnd::ClientGone,
            }
            let mut buf = with_margins(core, buf, chunked);
            let payload = match reframe(incoming, &mut buf, chunked, behind) {
                Ok(payload) => payload,
                Err(bad) => return UploadEnd::Bad(bad),
            };
            progress.received.set(progress.received.get() + payload as u64);
            mirrors.piece(buf.bytes());
            if incoming.is_done() {
                let now = io::now();
                progress.whole.set(true);
                progress.ended.set(Some(now));
                mirrors.whole(now);
            }
            let sent = match keep(core, replay, &buf, payload, incoming.left(), progress) {
                ReplayDecision::Buffer => write_kept(upstream, buf, progress, |piece| replay.push(piece)).await,
                ReplayDecision::Copied | ReplayDecision::Nothing => {
                    if !incoming.is_done() {
                        reader.arm(flow.next(incoming, chunked));
                        reader.begin();
                    }
                    let bytes = buf.len() as u64;
                    let (sent, emptied) = upstream.write_all(buf).await;
                    core.buffers.put(emptied);
                    if sent.is_ok() {
                        progress.written.set(progress.written.get() + bytes);
                    }
                    sent.is_ok()
                }
            };
            if !sent {
                return UploadEnd::UpstreamClosed;
            }
            if progress.stop.get() {
                return UploadEnd::Stopped;
            }
        }
        live.enter(Phase::Busy, None);
    }
    next_began |= !behind.is_empty();
    progress.sent.set(true);
    if next_began { UploadEnd::NextBegan } else { watch(core, reader, behind, expects).await }
}

/// Writes a piece that is kept and hands it to `put_back`. False if the upstream takes no more.
async fn write_kept(upstream: &mut Writer, piece: Buf, progress: &Progress, put_back: impl FnOnce(Buf)) -> bool {
    let bytes = piece.len() as u64;
    progress.writing.set(true);
    let (sent, piece) = upstream.write_and_keep(piece).await;
    progress.writing.set(false);
    put_back(piece);
    if sent.is_ok() {
        progress.written.set(progress.written.get() + bytes);
    }
    sent.is_ok()
}

/// Says what becomes of a piece that was read, and notes if the request cannot be sent again from now on.
fn keep(
    core: &Core,
    replay: &mut ReplayBuffer,
    piece: &Buf,
    payload: usize,
    left: u64,
    progress: &Progress,
) -> ReplayDecision {
    if !progress.replayable.get() {
        return ReplayDecision::Nothing;
    }
    let keep = if replay.wanted { replay.admit(core, piece, payload, left) } else { ReplayDecision::Nothing };
    if keep == ReplayDecision::Nothing {
        progress.replayable.set(false);
        progress.abandoned.set(replay.wanted);
        replay.clear(core);
    }
    keep
}

/// The same bytes in a buffer with room for framing around them. It has that already, but where the read was begun
/// before the body was asked for.
fn with_margins(core: &Core, buf: Buf, chunked: bool) -> Buf {
    if !chunked || buf.headroom() >= CHUNK_FRONT {
        return buf;
    }
    let mut roomy = core.buffers.body();
    prepare(&mut roomy, chunked);
    roomy.extend(buf.bytes());
    core.buffers.put(buf);
    roomy
}

/// Waits until the client sends more or leaves. The read stays armed if this is dropped: it is the next request's.
pub(crate) async fn watch(core: &Core, reader: &mut Reader, behind: &mut Buf, expects: Size) -> UploadEnd {
    if !reader.armed() {
        reader.arm(core.buffers.take(expects));
    }
    let (read, buf) = reader.done().await;
    let fed = match read {
        Ok(n) if n > 0 => {
            behind.extend(buf.bytes());
            UploadEnd::NextBegan
        }
        _ => UploadEnd::ClientGone,
    };
    core.buffers.put(buf);
    fed
}

/// How a response's way to the client ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DownloadEnd {
    /// Whole. `clean` if the upstream sent nothing behind it.
    Whole {
        /// Whether the upstream sent nothing behind the response.
        clean: bool,
    },
    /// The upstream ended the connection inside its body.
    UpstreamCut,
    /// The upstream's chunks are malformed.
    UpstreamCorrupt,
    /// The client takes no more.
    ClientGone,
}

/// The counters of one response, in bytes.
#[derive(Debug, Default)]
pub(crate) struct SentCounters {
    /// Payload sent to the client.
    pub(crate) payload: Cell<u64>,
    /// All that was sent to the client.
    pub(crate) wire: Cell<u64>,
    /// Received from the upstream behind the first read.
    pub(crate) received: Cell<u64>,
}

/// A response on its way to the client.
pub(crate) struct Response<'a> {
    pub(crate) core: &'a Core,
    pub(crate) live: &'a ConnectionEntry,
    /// The upstream's receiving side, and what was received already behind the head.
    pub(crate) reader: &'a mut Reader,
    pub(crate) buf: &'a mut Buf,
    pub(crate) client: &'a mut Writer,
    /// Whose answers may be compared with it.
    pub(crate) mirrors: &'a Mirrors,
    /// How long the client may take nothing before it is given up.
    pub(crate) patience: Duration,
}

/// Sends `head` (encoded), then the body as it comes.
pub(crate) async fn response(
    response: Response<'_>,
    head: Buf,
    mut incoming: Incoming,
    chunked: bool,
    sent: &SentCounters,
) -> DownloadEnd {
    let Response { core, live, reader, buf, client, mirrors, patience } = response;
    let was_done = incoming.is_done();
    let mut flow = Flow::new(&core.buffers, Size::Huge);
    flow.filled = buf.room() == 0;
    let Ok(BodyPiece { mut payload, consumed }) = incoming.take(buf.bytes_mut()) else {
        // The head has not gone out yet, but the client gets what Envoy would send: a head and then a cut.
        let (_, out) = client.write_all(head).await;
        core.buffers.put(out);
        return DownloadEnd::UpstreamCorrupt;
    };
    mirrors.answered(buf.bytes(), payload, false);
    let mut first = std::mem::take(buf);
    if consumed < first.len() {
        buf.extend(&first.bytes()[consumed..]);
    }
    first.truncate(payload);
    let mut out = with_head(core, head, first, incoming.is_done() && !was_done, chunked);
    loop {
        if !incoming.is_done() {
            reader.arm(flow.next(&incoming, chunked));
            reader.begin();
        }
        live.enter(Phase::Busy, Some(io::now() + patience));
        let bytes = out.len() as u64;
        let (written, emptied) = client.write_all(out).await;
        core.buffers.put(emptied);
        if written.is_err() {
            return DownloadEnd::ClientGone;
        }
        sent.payload.set(sent.payload.get() + payload as u64);
        sent.wire.set(sent.wire.get() + bytes);
        if incoming.is_done() {
            return DownloadEnd::Whole { clean: buf.is_empty() };
        }
        live.enter(Phase::Busy, None);
        loop {
            let (read, filled) = reader.done().await;
            out = filled;
            flow.filled = out.room() == 0;
            match read {
                Ok(n) if n > 0 => sent.received.set(sent.received.get() + n as u64),
                Ok(_) if matches!(incoming, Incoming::UntilClose) => incoming = Incoming::Done,
                _ => return DownloadEnd::UpstreamCut,
            }
            match reframe_response(&mut incoming, &mut out, chunked, buf) {
                Ok(taken) => {
                    mirrors.answered(out.bytes(), taken, chunked);
                    payload = taken;
                }
                Err(_) => return DownloadEnd::UpstreamCorrupt,
            }
            // A read that held only framing leaves nothing to send.
            if !out.is_empty() || incoming.is_done() {
                break;
            }
            prepare(&mut out, chunked);
            reader.arm(out);
        }
    }
}

/// One buffer of an encoded head and the first piece of the body: the piece where it lies, with the head in front, in the
/// place of the one that was received, if there is room.
fn with_head(core: &Core, mut head: Buf, mut piece: Buf, last: bool, chunked: bool) -> Buf {
    if piece.is_empty() {
        core.buffers.put(piece);
        put_piece(&[], last, chunked, &mut head);
        return head;
    }
    let (front, back) = if chunked { (CHUNK_FRONT, CHUNK_BACK) } else { (0, 0) };
    if piece.headroom() >= head.len() + front && piece.tail() >= back {
        frame(&mut piece, last, chunked);
        let fits = piece.prepend(head.bytes());
        debug_assert!(fits, "the room was measured");
        core.buffers.put(head);
        return piece;
    }
    let mut out = core.buffers.take(Size::holding((head.len() + front + piece.len() + back) as u64));
    out.extend(head.bytes());
    put_piece(piece.bytes(), last, chunked, &mut out);
    core.buffers.put(head);
    core.buffers.put(piece);
    out
}

/// How much of a body is read at once: the more, the more comes.
struct Flow<'c> {
    buffers: &'c BufPool,
    most: Size,
    size: Size,
    /// The memory of large buffers: of one that is read into, and one that is written.
    share: Option<Share>,
    /// The last read has filled its buffer, so that more has been waiting.
    filled: bool,
}

impl<'c> Flow<'c> {
    fn new(buffers: &'c BufPool, most: Size) -> Self {
        Self { buffers, most, size: Size::Body, share: None, filled: false }
    }

    /// A buffer for the next read.
    fn next(&mut self, incoming: &Incoming, chunked: bool) -> Buf {
        let mut size = if self.filled { self.size.larger() } else { self.size };
        if let Incoming::Length(left) = incoming {
            size = size.max(Size::Bulk).min(Size::holding(*left));
        }
        size = size.min(self.most);
        if size > self.size {
            let share = if size > Size::Body { self.buffers.flows.take(2 * size.bytes()) } else { None };
            if share.is_some() {
                (self.size, self.share) = (size, share);
            }
            size = self.size;
        }
        let mut buf = self.buffers.take(size);
        prepare(&mut buf, chunked);
        buf
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sizes of the buffers that a flow reads into, where every read fills its buffer.
    fn sizes(flow: &mut Flow<'_>, incoming: &Incoming) -> Vec<Size> {
        let mut next = || {
            let buf = flow.next(incoming, false);
            flow.filled = true;
            Size::holding(buf.capacity() as u64)
        };
        vec![next(), next(), next(), next()]
    }

    #[test]
    fn reads_grow_with_the_flow() {
        let buffers = BufPool::default();
        let flow = |most| Flow::new(&buffers, most);
        let unknown = Incoming::UntilClose;
        assert_eq!(sizes(&mut flow(Size::Huge), &unknown), [Size::Body, Size::Bulk, Size::Huge, Size::Huge]);
        assert_eq!(sizes(&mut flow(Size::Body), &unknown), [Size::Body; 4]);
        // What is known to be large begins so, and nothing is larger than what is left.
        let large = Incoming::Length(10 << 20);
        assert_eq!(sizes(&mut flow(Size::Huge), &large), [Size::Bulk, Size::Huge, Size::Huge, Size::Huge]);
        assert_eq!(sizes(&mut flow(Size::Huge), &Incoming::Length(60_000)), [Size::Bulk; 4]);
        assert_eq!(sizes(&mut flow(Size::Huge), &Incoming::Length(100)), [Size::Head; 4]);
        // A trickle stays small.
        let mut slow = flow(Size::Huge);
        for _ in 0..3 {
            assert_eq!(slow.next(&unknown, false).capacity(), Size::Body.bytes());
        }
    }

    #[test]
    fn without_memory_for_more_reads_stay_small() {
        let buffers = BufPool::default();
        let mut all = Vec::new();
        while let Some(share) = buffers.flows.take(2 * Size::Bulk.bytes()) {
            all.push(share);
        }
        let mut flow = Flow::new(&buffers, Size::Huge);
        assert_eq!(sizes(&mut flow, &Incoming::UntilClose), [Size::Body; 4]);
        drop(all);
        assert_eq!(sizes(&mut flow, &Incoming::UntilClose), [Size::Bulk, Size::Huge, Size::Huge, Size::Huge]);
    }
}
