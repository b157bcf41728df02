//! The part of a request's body that can be sent again.
//!
//! The head is written anew for each attempt, and the bytes that came with it are still after it in the connection's input.
//! Later pieces are kept in the buffers that they were read into, as data, so only small pieces are copied; the next
//! attempt sends them from there. Without retries no body is kept.

use crate::base::limits::{BODY_BUFFER_BYTES, REPLAY_BODY_BYTES};
use crate::h1::body::Incoming;
use crate::h1::framing::Body;
use crate::io::Buf;
use crate::proxy::core::Core;
use crate::proxy::router::body::{self, Data};
use crate::proxy::router::termination::Termination;

/// The body of a request on its way upstream.
#[derive(Debug)]
pub(crate) struct Upload {
    /// The part that has not come yet.
    pub(crate) incoming: Incoming,
    /// Whether it is sent in chunks.
    pub(crate) chunked: bool,
    /// Its payload in the connection's input, behind the head.
    first: usize,
    /// Whether it ended there.
    first_is_last: bool,
}

impl Upload {
    /// Decodes the received part of a body in place: `behind` are the bytes after the head. Returns also how many bytes of
    /// it belonged to the body.
    pub(crate) fn begin(body: Body, chunked: bool, behind: &mut [u8]) -> Result<(Self, usize), Termination> {
        let mut incoming = Incoming::from(body);
        let was_done = incoming.is_done();
        let piece = incoming.take(behind).map_err(Termination::BadRequest)?;
        let first_is_last = incoming.is_done() && !was_done;
        Ok((Self { incoming, chunked, first: piece.payload, first_is_last }, piece.consumed))
    }

    /// Payload bytes that came with the head.
    pub(crate) fn first(&self) -> usize {
        self.first
    }

    /// Puts that behind an encoded head.
    pub(crate) fn write_first(&self, behind: &[u8], out: &mut Buf) {
        body::put(behind.get(..self.first).unwrap_or_default(), self.first_is_last, self.chunked, out);
    }
}

/// The kept pieces that were read after that.
#[derive(Debug, Default)]
pub(crate) struct ReplayBuffer {
    /// A piece may be out for being sent again.
    pub(crate) pieces: Vec<Buf>,
    /// Whether the route can make use of it.
    pub(crate) wanted: bool,
    payload: u64,
    taken: usize,
}

/// The use of a piece's buffer after it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReplayDecision {
    /// It is kept: [`ReplayBuffer::push`].
    Buffer,
    /// None: its bytes have been copied to an earlier piece.
    Copied,
    /// None: the request has become too large to be kept.
    Nothing,
}

impl ReplayBuffer {
    /// Forgets the last request.
    pub(crate) fn begin(&mut self, core: &Core, wanted: bool, first: usize) {
        self.clear(core);
        self.wanted = wanted;
        self.payload = first as u64;
    }

    /// The piece at this position, which may include the request's end.
    pub(crate) fn take(&mut self, at: usize, upload: &Upload) -> Data {
        let end = at + 1 == self.pieces.len() && upload.incoming.is_done();
        Data { buf: std::mem::take(&mut self.pieces[at]), end }
    }

    /// The end of the request, if it has come without a piece, after the bytes that came with the head.
    pub(crate) fn only_end(&self, upload: &Upload) -> Option<Data> {
        let by_itself = self.pieces.is_empty() && upload.chunked && upload.incoming.is_done() && !upload.first_is_last;
        by_itself.then(|| Data { buf: Buf::default(), end: true })
    }

    /// Whether a piece can be kept, with at least `left` more bytes to come.
    pub(crate) fn admit(&mut self, core: &Core, piece: &Buf, left: u64) -> ReplayDecision {
        self.payload += piece.len() as u64;
        if self.payload.saturating_add(left) > REPLAY_BODY_BYTES {
            return ReplayDecision::Nothing;
        }
        if let Some(last) = self.pieces.last_mut().filter(|last| last.room() >= piece.len()) {
            last.extend(piece.bytes());
            return ReplayDecision::Copied;
        }
        if !core.take_for_replay(BODY_BUFFER_BYTES) {
            return ReplayDecision::Nothing;
        }
        self.taken += BODY_BUFFER_BYTES;
        ReplayDecision::Buffer
    }

    /// Keeps a piece that was admitted with its buffer.
    pub(crate) fn push(&mut self, piece: Buf) {
        self.pieces.push(piece);
    }

    /// Gives all buffers back.
    pub(crate) fn clear(&mut self, core: &Core) {
        for piece in self.pieces.drain(..) {
            core.buffers.put(piece);
        }
        core.give_back_from_replay(std::mem::take(&mut self.taken));
    }
}
