//! Noticing that a client leaves while the upstream connection for its bytes is still being made, which is then not needed.

use std::pin::pin;

use crate::base::limits::MOST_FIRST_BYTES;
use crate::io::{Buf, Either, Reader, race};
use crate::proxy::core::Core;

/// The meaning of the end of a client's bytes before it has received any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The client has left, if it has sent no bytes: it requested a tunnel and does not wait for the response.
    Left,
    /// The client has sent everything and may still read: only a broken connection means that it has left.
    HalfClosed,
}

/// The result of `connecting`; `None` if the client leaves first, and then `connecting` is dropped. The bytes that the client
/// sends meanwhile go to the end of `seen`, up to a limit: a client that sends without end must not take unlimited memory.
pub(crate) async fn unless_left<T>(
    core: &Core,
    reader: &mut Reader,
    seen: &mut Buf,
    end: End,
    connecting: impl Future<Output = T>,
) -> Option<T> {
    let mut connecting = pin!(connecting);
    while seen.len() < MOST_FIRST_BYTES {
        if !reader.armed() {
            reader.arm(core.buffers.head());
        }
        let (read, bytes) = match race(connecting.as_mut(), pin!(reader.done())).await {
            Either::Left(connected) => return Some(connected),
            Either::Right(read) => read,
        };
        seen.extend(bytes.bytes());
        core.buffers.put(bytes);
        match (read, end) {
            (Ok(1..), _) => {}
            (Ok(0), End::HalfClosed) => break,
            (Ok(0), End::Left) if !seen.is_empty() => break,
            (Ok(0) | Err(_), _) => return None,
        }
    }
    Some(connecting.await)
}
