//! The state of a body that is being received, and how its bytes become payload (RFC 9112 §6 and
//! §7).

use super::chunked::Decoder;
use super::framing::Body;
use crate::http::error::ProtocolError;

/// The part of a body that has not come yet.
#[derive(Debug)]
pub enum Incoming {
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

/// The payload of received bytes.
#[derive(Debug, Clone, Copy)]
pub struct BodyPiece {
    /// Payload bytes, compacted to the front of the given ones.
    pub payload: usize,
    /// Bytes that belonged to the body; those behind it are the next message's.
    pub consumed: usize,
}

impl Incoming {
    /// Whether nothing is to come.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// How many bytes are still to come, if that is known.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        match self {
            Self::Done => Some(0),
            Self::Length(left) => Some(*left),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    /// Decodes received bytes in place.
    ///
    /// # Errors
    /// The chunks are malformed.
    pub fn take(&mut self, bytes: &mut [u8]) -> Result<BodyPiece, ProtocolError> {
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
