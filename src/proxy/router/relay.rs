//! Moving bodies: the client's to the upstream while its answer is awaited, the upstream's to the client.
//!
//! A body is never held whole. What is read is turned in place into what is sent (chunk framing is always our own, so
//! a chunk extension or a trailer never passes), and the next read is issued after the write, so a slow receiver slows
//! its sender down.

use std::cell::Cell;
use std::time::Duration;

use crate::http::error::ProtocolError;
use crate::io::{self, Buf, Reader, Writer};
use crate::proxy::core::{ConnectionEntry, Core, Phase};
use crate::proxy::mirror::queue::Mirrors;
use crate::proxy::router::body::{BodyPiece, CHUNK_FRONT, Incoming, prepare, put_piece, reframe, reframe_response};
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
    let Client { core, live, reader, replay, mirrors, behind, body_timeout, pipelined } = client;
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
        while !incoming.is_done() {
            live.enter(Phase::Body, Some(io::now() + body_timeout));
            if !reader.armed() {
                let mut buf = core.buffers.body();
                prepare(&mut buf, chunked);
                reader.arm(buf);
            }
            let (read, buf) = reader.done().await;
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
    if next_began { UploadEnd::NextBegan } else { watch(core, reader, behind).await }
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
pub(crate) async fn watch(core: &Core, reader: &mut Reader, behind: &mut Buf) -> UploadEnd {
    if !reader.armed() {
        reader.arm(core.buffers.head());
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

/// Sends `out` (the encoded head), then the body as it comes.
pub(crate) async fn response(
    response: Response<'_>,
    mut out: Buf,
    mut incoming: Incoming,
    chunked: bool,
    sent: &SentCounters,
) -> DownloadEnd {
    let Response { core, live, reader, buf, client, mirrors, patience } = response;
    let was_done = incoming.is_done();
    let Ok(BodyPiece { mut payload, consumed }) = incoming.take(buf.bytes_mut()) else {
        // The head has not gone out yet, but the client gets what Envoy would send: a head and then a cut.
        let (_, out) = client.write_all(out).await;
        core.buffers.put(out);
        return DownloadEnd::UpstreamCorrupt;
    };
    mirrors.answered(buf.bytes(), payload, false);
    put_piece(&buf.bytes()[..payload], incoming.is_done() && !was_done, chunked, &mut out);
    buf.consume(consumed);
    loop {
        live.enter(Phase::Busy, Some(io::now() + patience));
        let bytes = out.len() as u64;
        let (written, emptied) = client.write_all(out).await;
        out = emptied;
        if written.is_err() {
            return DownloadEnd::ClientGone;
        }
        sent.payload.set(sent.payload.get() + payload as u64);
        sent.wire.set(sent.wire.get() + bytes);
        if incoming.is_done() {
            core.buffers.put(out);
            return DownloadEnd::Whole { clean: buf.is_empty() };
        }
        live.enter(Phase::Busy, None);
        loop {
            prepare(&mut out, chunked);
            let (read, filled) = reader.read(out).await;
            out = filled;
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
        }
    }
}
