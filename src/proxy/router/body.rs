//! Bodies as data: pieces without framing, which a reader decodes and a writer frames again as it sends them.
//!
//! Both work in place, in the room that a piece's buffer has around it, so that nothing is copied: a piece that goes on, is
//! kept for another attempt, or is handed to a mirror is the same bytes everywhere. HTTP/1's part of it is here and in
//! [`crate::h1`]; `relay` moves data from one side to the other, `replay` keeps it.

use crate::h1::body::{BodyPiece, Incoming};
use crate::h1::chunked::{LAST_CHUNK, chunk_size_line};
use crate::http::error::ProtocolError;
use crate::io::{Buf, BufPool, Reader, Share, Size, Writer};

/// Room for a chunk's size line before a piece, and for its end and the last chunk behind it.
const CHUNK_FRONT: usize = 18;
const CHUNK_BACK: usize = 2 + LAST_CHUNK.len();

/// A piece of a body, in a buffer with room for framing around it.
#[derive(Debug, Default)]
pub(crate) struct Data {
    /// The bytes; may be empty.
    pub(crate) buf: Buf,
    /// It is the last piece.
    pub(crate) end: bool,
}

/// An empty buffer of this size for a piece of a body.
pub(crate) fn roomy(buffers: &BufPool, size: Size) -> Buf {
    let mut buf = buffers.take(size);
    buf.clear_with_margins(CHUNK_FRONT, CHUNK_BACK);
    buf
}

/// Why a body cannot be read further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// The connection ended inside it.
    Cut,
    /// Its framing is malformed.
    Corrupt(ProtocolError),
}

/// A body that comes in over an HTTP/1 connection.
pub(crate) struct BodyReader<'c> {
    reader: &'c mut Reader,
    incoming: &'c mut Incoming,
    /// Takes the bytes after the body.
    surplus: &'c mut Buf,
    flow: Flow<'c>,
    /// Bytes received, framing included.
    pub(crate) received: u64,
}

impl<'c> BodyReader<'c> {
    /// Reads of at most `most` bytes.
    pub(crate) fn new(
        reader: &'c mut Reader,
        incoming: &'c mut Incoming,
        surplus: &'c mut Buf,
        buffers: &'c BufPool,
        most: Size,
    ) -> Self {
        Self { reader, incoming, surplus, flow: Flow::new(buffers, most), received: 0 }
    }

    /// Whether the body has ended.
    pub(crate) fn is_done(&self) -> bool {
        self.incoming.is_done()
    }

    /// Whether anything has come behind the body.
    pub(crate) fn has_surplus(&self) -> bool {
        !self.surplus.is_empty()
    }

    /// How many bytes are still to come, at least.
    pub(crate) fn left(&self) -> u64 {
        self.incoming.left().unwrap_or(0)
    }

    /// Begins the next read, unless the body is over or the read is under way, so that it goes on while something else is
    /// awaited.
    pub(crate) fn begin_next(&mut self) {
        if !self.incoming.is_done() {
            self.arm();
            self.reader.begin();
        }
    }

    fn arm(&mut self) {
        if !self.reader.armed() {
            self.reader.arm(self.flow.next(self.incoming));
        }
    }

    /// The next piece. May be dropped and called again: the read stays where it is.
    ///
    /// # Errors
    /// See [`BodyError`].
    pub(crate) async fn next(&mut self) -> Result<Data, BodyError> {
        loop {
            self.arm();
            let (read, mut buf) = self.reader.done().await;
            self.flow.filled = buf.room() == 0;
            match read {
                Ok(n) if n > 0 => self.received += n as u64,
                Ok(_) if matches!(self.incoming, Incoming::UntilClose) => {
                    *self.incoming = Incoming::Done;
                    return Ok(Data { buf, end: true });
                }
                _ => return Err(BodyError::Cut),
            }
            let BodyPiece { payload, consumed } = self.incoming.take(buf.bytes_mut()).map_err(BodyError::Corrupt)?;
            if consumed < buf.len() {
                self.surplus.extend(&buf.bytes()[consumed..]);
            }
            buf.truncate(payload);
            let end = self.incoming.is_done();
            // A read that held only framing is not a piece.
            if payload > 0 || end {
                return Ok(Data { buf, end });
            }
            self.flow.buffers.put(buf);
        }
    }

    /// The piece that came with the head: `buf`, where its bytes are, keeps the bytes after the body.
    ///
    /// # Errors
    /// Its framing is malformed.
    pub(crate) fn first(&mut self) -> Result<Data, ProtocolError> {
        let was_done = self.incoming.is_done();
        self.flow.filled = self.surplus.room() == 0;
        let BodyPiece { payload, consumed } = self.incoming.take(self.surplus.bytes_mut())?;
        let mut first = std::mem::take(self.surplus);
        if consumed < first.len() {
            self.surplus.extend(&first.bytes()[consumed..]);
        }
        first.truncate(payload);
        Ok(Data { buf: first, end: self.incoming.is_done() && !was_done })
    }
}

/// A body that is sent over an HTTP/1 connection.
pub(crate) struct BodyWriter<'c> {
    writer: &'c mut Writer,
    chunked: bool,
    /// Bytes sent, framing included.
    pub(crate) sent: u64,
}

impl<'c> BodyWriter<'c> {
    pub(crate) fn new(writer: &'c mut Writer, chunked: bool) -> Self {
        Self { writer, chunked, sent: 0 }
    }

    /// Sends encoded bytes: a head, and the part of the body that goes with it. Returns the emptied buffer. False if the peer
    /// takes no more.
    pub(crate) async fn encoded(&mut self, out: Buf) -> (bool, Buf) {
        let bytes = out.len() as u64;
        let (sent, emptied) = self.writer.write_all(out).await;
        if sent.is_ok() {
            self.sent += bytes;
        }
        (sent.is_ok(), emptied)
    }

    /// Sends a piece and gives the emptied buffer back. False if the peer takes no more.
    pub(crate) async fn send(&mut self, data: Data, buffers: &BufPool) -> (bool, Buf) {
        let mut buf = with_margins(data.buf, self.chunked, buffers);
        frame(&mut buf, data.end, self.chunked);
        self.encoded(buf).await
    }

    /// Sends a piece and gives it back as it was. False if the peer takes no more.
    pub(crate) async fn send_and_keep(&mut self, data: Data, buffers: &BufPool) -> (bool, Data) {
        let (bytes, end) = (data.buf.len(), data.end);
        let mut buf = with_margins(data.buf, self.chunked, buffers);
        let headroom = buf.headroom();
        frame(&mut buf, end, self.chunked);
        let wire = buf.len() as u64;
        let (sent, mut buf) = self.writer.write_and_keep(buf).await;
        if sent.is_ok() {
            self.sent += wire;
        }
        let front = headroom - buf.headroom();
        buf.truncate(front + bytes);
        buf.consume(front);
        (sent.is_ok(), Data { buf, end })
    }
}

/// One buffer of an encoded head and the first piece of a body: the piece where it lies, with the head in front, in the place
/// of the one that was received, if there is room.
pub(crate) fn head_and_first(mut head: Buf, data: Data, chunked: bool, buffers: &BufPool) -> Buf {
    let Data { buf: mut piece, end } = data;
    if piece.is_empty() {
        buffers.put(piece);
        put(&[], end, chunked, &mut head);
        return head;
    }
    let (front, back) = if chunked { (CHUNK_FRONT, CHUNK_BACK) } else { (0, 0) };
    if piece.headroom() >= head.len() + front && piece.tail() >= back {
        frame(&mut piece, end, chunked);
        let fits = piece.prepend(head.bytes());
        debug_assert!(fits, "the room was measured");
        buffers.put(head);
        return piece;
    }
    let mut out = buffers.take(Size::holding((head.len() + front + piece.len() + back) as u64));
    out.extend(head.bytes());
    put(piece.bytes(), end, chunked, &mut out);
    buffers.put(head);
    buffers.put(piece);
    out
}

/// Appends a piece of a body to `out`, with its framing.
pub(crate) fn put(payload: &[u8], end: bool, chunked: bool, out: &mut Buf) {
    if chunked && !payload.is_empty() {
        out.extend(chunk_size_line(payload.len(), &mut [0; CHUNK_FRONT]));
    }
    out.extend(payload);
    if chunked && !payload.is_empty() {
        out.extend(b"\r\n");
    }
    if chunked && end {
        out.extend(LAST_CHUNK);
    }
}

/// Puts the framing of a chunk around a piece, in the margins of its buffer, and the end of the body after the last one.
fn frame(piece: &mut Buf, end: bool, chunked: bool) {
    if !chunked {
        return;
    }
    if !piece.is_empty() {
        let fits = piece.prepend(chunk_size_line(piece.len(), &mut [0; CHUNK_FRONT]));
        debug_assert!(fits, "the margin is as long as the longest size line");
        piece.extend(b"\r\n");
    }
    if end {
        piece.extend(LAST_CHUNK);
    }
}

/// The same bytes in a buffer with room for framing around them. It has that already, but where the read was begun before
/// the body was asked for.
fn with_margins(buf: Buf, chunked: bool, buffers: &BufPool) -> Buf {
    if !chunked || buf.headroom() >= CHUNK_FRONT {
        return buf;
    }
    let mut moved = roomy(buffers, Size::holding((CHUNK_FRONT + buf.len() + CHUNK_BACK) as u64));
    moved.extend(buf.bytes());
    buffers.put(buf);
    moved
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
    fn next(&mut self, incoming: &Incoming) -> Buf {
        let mut size = if self.filled { self.size.larger() } else { self.size };
        if let Some(left) = incoming.left() {
            size = size.max(Size::Bulk).min(Size::holding(left + (CHUNK_FRONT + CHUNK_BACK) as u64));
        }
        size = size.min(self.most);
        if size > self.size {
            let share = if size > Size::Body { self.buffers.flows.take(2 * size.bytes()) } else { None };
            if share.is_some() {
                (self.size, self.share) = (size, share);
            }
            size = self.size;
        }
        roomy(self.buffers, size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sizes of the buffers that a flow reads into, where every read fills its buffer.
    fn sizes(flow: &mut Flow<'_>, incoming: &Incoming) -> Vec<Size> {
        let mut next = || {
            let buf = flow.next(incoming);
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
        // A body that is known to be large begins large, and no buffer is larger than the rest of the body.
        let large = Incoming::Length(10 << 20);
        assert_eq!(sizes(&mut flow(Size::Huge), &large), [Size::Bulk, Size::Huge, Size::Huge, Size::Huge]);
        assert_eq!(sizes(&mut flow(Size::Huge), &Incoming::Length(60_000)), [Size::Bulk; 4]);
        assert_eq!(sizes(&mut flow(Size::Huge), &Incoming::Length(100)), [Size::Head; 4]);
        // A trickle stays small.
        let mut slow = flow(Size::Huge);
        for _ in 0..3 {
            assert_eq!(slow.next(&unknown).capacity(), Size::Body.bytes());
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

    #[test]
    fn framing_is_put_around_a_piece_in_place() {
        let buffers = BufPool::default();
        for (payload, end, chunked, expected) in [
            ("", true, true, "0\r\n\r\n"),
            ("", true, false, ""),
            ("hello", false, true, "5\r\nhello\r\n"),
            ("hello", true, true, "5\r\nhello\r\n0\r\n\r\n"),
            ("hello", true, false, "hello"),
        ] {
            let mut framed = roomy(&buffers, Size::Head);
            framed.extend(payload.as_bytes());
            let capacity = framed.capacity();
            frame(&mut framed, end, chunked);
            let mut appended = Buf::default();
            put(payload.as_bytes(), end, chunked, &mut appended);
            assert_eq!((framed.bytes(), appended.bytes()), (expected.as_bytes(), expected.as_bytes()));
            assert_eq!(framed.capacity(), capacity);
        }
    }

    #[test]
    fn a_head_takes_the_place_of_another_where_it_fits() {
        let buffers = BufPool::default();
        let head = || {
            let mut head = buffers.head();
            head.extend(b"new head|");
            head
        };
        for chunked in [false, true] {
            let body = if chunked { "4\r\nbody\r\n0\r\n\r\n" } else { "body" };
            // After a long head, a short one, and without a head.
            for front in [100, 5, 0] {
                let mut piece = buffers.head();
                piece.extend(&vec![b'x'; front]);
                piece.extend(b"body");
                piece.consume(front);
                let at = piece.bytes().as_ptr();
                let out = head_and_first(head(), Data { buf: piece, end: true }, chunked, &buffers);
                assert_eq!(String::from_utf8_lossy(out.bytes()), format!("new head|{body}"));
                let stays = out.bytes()[9 + (body.len() - 4 - if chunked { 7 } else { 0 })..].as_ptr() == at;
                assert_eq!(stays, front == 100, "{front}");
            }
            let empty = head_and_first(head(), Data { buf: Buf::default(), end: true }, chunked, &buffers);
            let end = if chunked { "0\r\n\r\n" } else { "" };
            assert_eq!(String::from_utf8_lossy(empty.bytes()), format!("new head|{end}"));
        }
    }
}
