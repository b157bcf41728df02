//! The receiving half of one exchange: reading the head of a response.

use crate::h1::parse::{self, HeadLimits, Parsed};
use crate::http::error::ProtocolError;
use crate::http::head::ResponseHead;
use crate::io::{Buf, Reader};

/// Why there is no response head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadError {
    /// The upstream closed or reset the connection first.
    Reset,
    /// The upstream closed the connection inside the head: a protocol error.
    Cut,
    /// The bytes were not an HTTP/1 response, or its head was too large.
    Bad(ProtocolError),
}

/// Reads until `head` is complete at the front of `buf`. May be dropped and called again: the read stays in `reader`.
///
/// # Errors
/// See [`HeadError`].
pub async fn read_head(
    reader: &mut Reader,
    buf: &mut Buf,
    limits: &HeadLimits,
    head: &mut ResponseHead,
) -> Result<(), HeadError> {
    head.clear();
    loop {
        if !buf.is_empty() {
            match parse::response(buf.bytes(), limits, head) {
                Ok(Parsed::Complete) => return Ok(()),
                Ok(Parsed::NeedMore) => {}
                Err(bad) => return Err(HeadError::Bad(bad)),
            }
        }
        if !reader.armed() {
            let mut filling = std::mem::take(buf);
            filling.make_room(HEAD_ROOM_BYTES);
            reader.arm(filling);
        }
        let (read, filled) = reader.done().await;
        *buf = filled;
        match read {
            Ok(0) if !buf.is_empty() => return Err(HeadError::Cut),
            Ok(0) | Err(_) => return Err(HeadError::Reset),
            Ok(_) => {}
        }
    }
}

/// Room that a read of a head has at least, so that a nearly full buffer is not filled byte by byte.
const HEAD_ROOM_BYTES: usize = 1024;
