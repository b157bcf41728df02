//! A body on its way: what is still to come of it, and how a received piece becomes one to send.
//!
//! Received bytes are decoded and framed in place, in the room that their buffer has around them. Nothing here reads or
//! writes: `relay` and `replay` do.

use crate::h1::chunked::{Decoder, LAST_CHUNK, chunk_size_line};
use crate::h1::framing::Body;
use crate::http::error::ProtocolError;
use crate::io::Buf;

/// Room for a chunk's size line before a piece, and for its end and the last chunk behind it.
pub(crate) const CHUNK_FRONT: usize = 18;
pub(crate) const CHUNK_BACK: usize = 2 + LAST_CHUNK.len();

/// What is still to come of a body.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// Nothing.
    Done,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked(Decoder),
    /// Everything until the sender closes.
    UntilClose,
}

impl From<Body> for Incoming {
    fn from(body: Body) -> Self {
        match body {
            Body::None | Body::Length(0) => Self::Done,
            Body::Length(n) => Self::Length(n),
            Body::Chunked => Self::Chunked(Decoder::default()),
            Body::UntilClose => Self::UntilClose,
        }
    }
}

/// What a piece of a body came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyPiece {
    /// Payload bytes, compacted to the front of what was given.
    pub(crate) payload: usize,
    /// Bytes that belonged to the body; those behind it are the next message's.
    pub(crate) consumed: usize,
}

impl Incoming {
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// How many bytes are still to come, at least.
    pub(crate) fn left(&self) -> u64 {
        match self {
            Self::Length(left) => *left,
            Self::Done | Self::Chunked(_) | Self::UntilClose => 0,
        }
    }

    /// Decodes received bytes in place.
    pub(crate) fn take(&mut self, bytes: &mut [u8]) -> Result<BodyPiece, ProtocolError> {
        match self {
            Self::Done => Ok(BodyPiece { payload: 0, consumed: 0 }),
            Self::UntilClose => Ok(BodyPiece { payload: bytes.len(), consumed: bytes.len() }),
            Self::Length(left) => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= n as u64;
                if *left == 0 {
                    *self = Self::Done;
                }
                Ok(BodyPiece { payload: n, consumed: n })
            }
            Self::Chunked(decoder) => {
                let decoded = decoder.decode(bytes)?;
                if decoded.done {
                    *self = Self::Done;
                }
                Ok(BodyPiece { payload: decoded.payload, consumed: decoded.consumed })
            }
        }
    }
}

/// Appends a piece of a body to `out`, and what ends it if it is the last one.
pub(crate) fn put_piece(payload: &[u8], last: bool, chunked: bool, out: &mut Buf) {
    if chunked && !payload.is_empty() {
        out.extend(chunk_size_line(payload.len(), &mut [0; 18]));
    }
    out.extend(payload);
    if chunked && !payload.is_empty() {
        out.extend(b"\r\n");
    }
    if chunked && last {
        out.extend(LAST_CHUNK);
    }
}

/// Turns a buffer of received bytes into one of bytes to send. What lies behind the body's end goes to `surplus`.
pub(crate) fn reframe(
    incoming: &mut Incoming,
    buf: &mut Buf,
    chunked: bool,
    surplus: &mut Buf,
) -> Result<usize, ProtocolError> {
    let BodyPiece { payload, consumed } = incoming.take(buf.bytes_mut())?;
    if consumed < buf.len() && incoming.is_done() {
        surplus.extend(&buf.bytes()[consumed..]);
    }
    buf.truncate(payload);
    frame(buf, incoming.is_done(), chunked);
    Ok(payload)
}

/// Puts the framing of a chunk around a piece, in the room that its buffer has around it, and what ends the body if it is the
/// last one.
pub(crate) fn frame(piece: &mut Buf, last: bool, chunked: bool) {
    if !chunked {
        return;
    }
    if !piece.is_empty() {
        let fits = piece.prepend(chunk_size_line(piece.len(), &mut [0; 18]));
        debug_assert!(fits, "the margin is as long as the longest size line");
        piece.extend(b"\r\n");
    }
    if last {
        piece.extend(LAST_CHUNK);
    }
}

pub(crate) fn prepare(buf: &mut Buf, chunked: bool) {
    if chunked { buf.clear_with_margins(CHUNK_FRONT, CHUNK_BACK) } else { buf.clear() }
}

pub(crate) fn reframe_response(
    incoming: &mut Incoming,
    out: &mut Buf,
    chunked: bool,
    surplus: &mut Buf,
) -> Result<usize, ProtocolError> {
    // The end of a close-delimited body is known only here, with nothing received.
    if incoming.is_done() {
        out.clear();
        if chunked {
            out.extend(LAST_CHUNK);
        }
        return Ok(0);
    }
    reframe(incoming, out, chunked, surplus)
}
