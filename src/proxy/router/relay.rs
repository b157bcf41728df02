//! Moving bodies: the client's to the upstream while its answer is awaited, the upstream's to the client.
//!
//! A body is never held whole. It passes as data (`body`): framing is always our own, so a chunk extension or a trailer never
//! passes. No more than the next read is under way while a piece is written, so a slow receiver slows its sender down.

use std::cell::Cell;
use std::time::Duration;

use crate::h1::body::Incoming;
use crate::http::error::ProtocolError;
use crate::io::{self, Buf, BufPool, Reader, Size, Writer};
use crate::proxy::core::{ConnectionEntry, Core, Phase};
use crate::proxy::mirror::queue::Mirrors;
use crate::proxy::router::body::{BodyError, BodyReader, BodyWriter, Data, head_and_first};
use crate::proxy::router::progress::Progress;
use crate::proxy::router::replay::{ReplayBuffer, ReplayDecision, Upload};
use crate::proxy::router::termination::Termination;

/// Why [`pump_request`] has ended.
#[derive(Debug)]
pub(crate) enum UploadEnd {
    /// The request is sent, and the client has begun its next one: reading pauses.
    NextBegan,
    /// The upstream takes no more. Its response may still come.
    UpstreamClosed,
    /// The attempt was given up.
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
    /// The part of the body that was read before, by this attempt and earlier ones.
    pub(crate) replay: &'a mut ReplayBuffer,
    /// The mirrors that get a copy of it.
    pub(crate) mirrors: &'a Mirrors,
    /// Takes the bytes of a next, pipelined request.
    pub(crate) behind: &'a mut Buf,
    pub(crate) body_timeout: Duration,
    /// How large the next request is expected to be.
    pub(crate) expects: Size,
    /// Whether a next request has been read already, so that the client is still there.
    pub(crate) pipelined: bool,
}

/// Sends `first` (the head and the part of the body that came with it), the parts that earlier attempts have read, then the
/// rest of the body as it comes, then watches the client: its next bytes are kept, its end is reported.
///
/// May be dropped at any point: once the request is sent no data is lost, and before that the caller closes the upstream
/// connection. A retry waits for `progress.writing` to become false.
pub(crate) async fn pump_request(
    client: Client<'_>,
    mut upstream: BodyWriter<'_>,
    first: Buf,
    upload: &mut Upload,
    progress: &Progress,
) -> UploadEnd {
    let Client { core, live, reader, replay, mirrors, behind, body_timeout, expects, pipelined } = client;
    let buffers = &core.buffers;
    let (sent, emptied) = upstream.encoded(first).await;
    buffers.put(emptied);
    if !sent {
        return UploadEnd::UpstreamClosed;
    }
    progress.written.set(upstream.sent);
    for at in 0..replay.pieces.len() {
        let data = replay.take(at, upload);
        if !write_kept((&mut upstream, buffers), data, progress, |buf| replay.pieces[at] = buf).await {
            return UploadEnd::UpstreamClosed;
        }
        if progress.stop.get() {
            return UploadEnd::Stopped;
        }
    }
    if let Some(end) = replay.only_end(upload) {
        let (sent, emptied) = upstream.send(end, buffers).await;
        buffers.put(emptied);
        if !sent {
            return UploadEnd::UpstreamClosed;
        }
    }
    let mut next_began = pipelined;
    if !upload.incoming.is_done() {
        // Pieces that are kept, or copied for mirrors, are accounted for in this size.
        let most = if replay.wanted || !mirrors.is_empty() { Size::Body } else { Size::Huge };
        let mut body = BodyReader::new(reader, &mut upload.incoming, behind, buffers, most);
        while !body.is_done() {
            live.enter(Phase::Body, Some(io::now() + body_timeout));
            let data = match body.next().await {
                Ok(data) => data,
                Err(BodyError::Corrupt(bad)) => return UploadEnd::Bad(bad),
                Err(BodyError::Cut) if live.expired() => return UploadEnd::TimedOut,
                Err(BodyError::Cut) => return UploadEnd::ClientGone,
            };
            progress.received.set(progress.received.get() + data.buf.len() as u64);
            mirrors.piece(data.buf.bytes());
            if data.end {
                let now = io::now();
                progress.whole.set(true);
                progress.ended.set(Some(now));
                mirrors.whole(now);
            }
            let sent = match keep(core, replay, &data.buf, body.left(), progress) {
                ReplayDecision::Buffer => {
                    write_kept((&mut upstream, buffers), data, progress, |buf| replay.push(buf)).await
                }
                ReplayDecision::Copied | ReplayDecision::Nothing => {
                    body.begin_next();
                    let (sent, emptied) = upstream.send(data, buffers).await;
                    buffers.put(emptied);
                    progress.written.set(upstream.sent);
                    sent
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

/// Writes a piece that is kept and hands its buffer to `put_back`. False if the upstream takes no more.
async fn write_kept(
    (upstream, buffers): (&mut BodyWriter<'_>, &BufPool),
    data: Data,
    progress: &Progress,
    put_back: impl FnOnce(Buf),
) -> bool {
    progress.writing.set(true);
    let (sent, data) = upstream.send_and_keep(data, buffers).await;
    progress.writing.set(false);
    put_back(data.buf);
    progress.written.set(upstream.sent);
    sent
}

/// Decides whether a piece that was read is kept, and notes if the request cannot be sent again from now on.
fn keep(core: &Core, replay: &mut ReplayBuffer, piece: &Buf, left: u64, progress: &Progress) -> ReplayDecision {
    if !progress.replayable.get() {
        return ReplayDecision::Nothing;
    }
    let keep = if replay.wanted { replay.admit(core, piece, left) } else { ReplayDecision::Nothing };
    if keep == ReplayDecision::Nothing {
        progress.replayable.set(false);
        progress.abandoned.set(replay.wanted);
        replay.clear(core);
    }
    keep
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
    /// Complete. `clean` if the upstream sent no bytes after it.
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
    /// The upstream's receiving side, and the bytes already received after the head.
    pub(crate) reader: &'a mut Reader,
    pub(crate) buf: &'a mut Buf,
    pub(crate) client: &'a mut Writer,
    /// The mirrors whose responses may be compared with it.
    pub(crate) mirrors: &'a Mirrors,
    /// The write timeout: how long the client may take no bytes.
    pub(crate) patience: Duration,
}

/// Sends `head` (encoded), then the body as it comes.
pub(crate) async fn response(
    response: Response<'_>,
    head: Buf,
    incoming: &mut Incoming,
    chunked: bool,
    sent: &SentCounters,
) -> DownloadEnd {
    let Response { core, live, reader, buf, client, mirrors, patience } = response;
    let buffers = &*core.buffers;
    let mut client = BodyWriter::new(client, chunked);
    let mut body = BodyReader::new(reader, incoming, buf, buffers, Size::Huge);
    let Ok(first) = body.first() else {
        // The head has not gone out yet, but the client gets what Envoy would send: a head and then a cut.
        let (_, emptied) = client.encoded(head).await;
        buffers.put(emptied);
        return DownloadEnd::UpstreamCorrupt;
    };
    mirrors.answered(first.buf.bytes());
    let mut payload = first.buf.len();
    let mut next = Piece::Encoded(head_and_first(head, first, chunked, buffers));
    loop {
        body.begin_next();
        live.enter(Phase::Busy, Some(io::now() + patience));
        let (written, emptied) = match next {
            Piece::Encoded(out) => client.encoded(out).await,
            Piece::Data(data) => client.send(data, buffers).await,
        };
        buffers.put(emptied);
        sent.wire.set(client.sent);
        if !written {
            return DownloadEnd::ClientGone;
        }
        sent.payload.set(sent.payload.get() + payload as u64);
        if body.is_done() {
            return DownloadEnd::Whole { clean: !body.has_surplus() };
        }
        live.enter(Phase::Busy, None);
        let read = body.next().await;
        sent.received.set(body.received);
        let data = match read {
            Ok(data) => data,
            Err(BodyError::Cut) => return DownloadEnd::UpstreamCut,
            Err(BodyError::Corrupt(_)) => return DownloadEnd::UpstreamCorrupt,
        };
        mirrors.answered(data.buf.bytes());
        payload = data.buf.len();
        next = Piece::Data(data);
    }
}

/// The next write.
enum Piece {
    /// A head, and the part of the body that goes with it.
    Encoded(Buf),
    /// More of the body.
    Data(Data),
}
