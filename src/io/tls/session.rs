//! A connection after its handshake: records in, plain bytes out, and the other way round.
//!
//! Reader and writer share one rustls connection. Both belong to one task, and neither holds the borrow over an await.

use std::cell::RefCell;
use std::io::{self, BufRead, Write};
use std::rc::Rc;
use std::task::{Context, Poll};

use rustls::ClientConnection;

use super::super::buf::Buf;
use super::{Handle, Slot, TlsFailure};

type Shared = Rc<RefCell<ClientConnection>>;

/// The two sides of TLS over a connection: one around its reads, one around its writes. `sealed` are records that came
/// after the handshake's.
pub(super) fn sides(
    tls: ClientConnection,
    sealed: Buf,
    out: Buf,
    handle: Handle,
) -> (impl FnOnce(Box<dyn Slot>) -> Box<dyn Slot>, Seal) {
    let tls = Rc::new(RefCell::new(tls));
    let seal = Seal { tls: tls.clone(), out, waiting: Buf::default(), sending: false, handle };
    let wrap = |raw| {
        Box::new(TlsSlot { raw, tls, sealed: Some(sealed), open: None, failed: None, failure: None }) as Box<dyn Slot>
    };
    (wrap, seal)
}

/// A read of plain bytes over one of records.
struct TlsSlot {
    raw: Box<dyn Slot>,
    tls: Shared,
    /// Records that are received and not yet decrypted; `None` while a read has the buffer.
    sealed: Option<Buf>,
    /// The buffer of the armed read.
    open: Option<Buf>,
    /// An error behind bytes that went out first.
    failed: Option<io::Error>,
    /// The last error of rustls.
    failure: Option<TlsFailure>,
}

impl Slot for TlsSlot {
    fn arm(&mut self, buf: Buf) {
        debug_assert!(buf.room() > 0, "a read into a full buffer looks like the end of the stream");
        if self.open.is_none() {
            self.open = Some(buf);
        }
    }

    fn armed(&self) -> bool {
        self.open.is_some()
    }

    fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<(io::Result<usize>, Buf)> {
        let Some(mut open) = self.open.take() else {
            return Poll::Ready((Err(io::Error::other("no read is armed")), Buf::default()));
        };
        loop {
            if let Some(read) = self.unseal(&mut open) {
                return Poll::Ready((read, open));
            }
            if let Some(sealed) = self.sealed.take() {
                self.raw.arm(sealed);
            }
            let Poll::Ready((read, sealed)) = self.raw.poll_done(cx) else {
                self.open = Some(open);
                return Poll::Pending;
            };
            self.sealed = Some(sealed);
            let read = match read {
                // Only here rustls learns whether the server had said that it would close.
                Ok(0) => self.tls.borrow_mut().read_tls(&mut io::empty()),
                read => read,
            };
            if let Err(error) = read {
                return Poll::Ready((Err(error), open));
            }
        }
    }

    fn tls_failure(&self) -> Option<TlsFailure> {
        self.failure.clone()
    }
}

impl TlsSlot {
    /// Fills `open` with the plain bytes of the records so far. `None`: none yet, though records without data, such as
    /// tickets, may have been processed.
    fn unseal(&mut self, open: &mut Buf) -> Option<io::Result<usize>> {
        let before = open.len();
        let end = loop {
            match self.step(open) {
                Ok(RecordStep::More) => {}
                Ok(RecordStep::Nothing) => break None,
                Ok(RecordStep::End) => break Some(Ok(0)),
                Err(error) => break Some(Err(error)),
            }
        };
        match (open.len() - before, end) {
            (0, end) => end,
            (read, end) => {
                self.failed = end.and_then(Result::err);
                Some(Ok(read))
            }
        }
    }

    fn step(&mut self, open: &mut Buf) -> io::Result<RecordStep> {
        let mut tls = self.tls.borrow_mut();
        while open.room() > 0 {
            let mut plain = tls.reader();
            match plain.fill_buf() {
                Ok([]) => return Ok(RecordStep::End),
                Ok(bytes) => {
                    let taken = bytes.len().min(open.room());
                    open.extend(&bytes[..taken]);
                    plain.consume(taken);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if open.room() == 0 {
            return Ok(RecordStep::Nothing);
        }
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let Some(sealed) = self.sealed.as_mut().filter(|sealed| !sealed.is_empty()) else {
            return Ok(RecordStep::Nothing);
        };
        let taken = tls.read_tls(&mut sealed.bytes())?;
        if taken == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        sealed.consume(taken);
        if let Err(error) = tls.process_new_packets() {
            // Bytes before the error are read first.
            self.failure = Some(error.into());
            self.failed = Some(io::ErrorKind::InvalidData.into());
        }
        Ok(RecordStep::More)
    }
}

enum RecordStep {
    /// Records were taken in.
    More,
    /// There are no records left, or there is no room.
    Nothing,
    /// The server has closed its side, and said so.
    End,
}

/// The sending side: plain bytes to records.
pub(in crate::io) struct Seal {
    tls: Shared,
    /// For the records; empty, and without capacity while it is out.
    out: Buf,
    /// The plain bytes of the records under way, and those after them.
    waiting: Buf,
    /// Records are on their way, perhaps in part.
    sending: bool,
    handle: Handle,
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seal").field("sending", &self.sending).finish()
    }
}

/// Plain bytes in one record at most.
const RECORD_BYTES: usize = 16 * 1024;

impl Seal {
    /// The records to be written: the rest of those under way, which `buf` holds then, or new ones from the first bytes of
    /// `buf`, which waits here meanwhile; `pass` advances past those bytes.
    pub(in crate::io) fn begin(&mut self, mut buf: Buf, pass: fn(&mut Buf, usize)) -> Result<Buf, (io::Error, Buf)> {
        if self.sending {
            return Ok(buf);
        }
        let taken = match self.seal(buf.bytes()) {
            Ok(taken) => taken,
            Err(error) => return Err((error, buf)),
        };
        pass(&mut buf, taken);
        self.waiting = buf;
        self.sending = true;
        Ok(std::mem::take(&mut self.out))
    }

    /// Makes records of the first bytes; returns how many bytes those are.
    fn seal(&mut self, plain: &[u8]) -> io::Result<usize> {
        let mut tls = self.tls.borrow_mut();
        let taken = tls.writer().write(&plain[..plain.len().min(RECORD_BYTES)])?;
        let records = self.out.cleared_vec();
        while tls.wants_write() {
            tls.write_tls(records)?;
        }
        Ok(taken)
    }

    /// Notes that this much of the records is written. Returns the rest of them, or the plain buffer that waited.
    pub(in crate::io) fn wrote(&mut self, mut records: Buf, written: usize) -> Buf {
        records.consume(written);
        if !records.is_empty() {
            return records;
        }
        self.out = records;
        self.sending = false;
        std::mem::take(&mut self.waiting)
    }

    /// Gives up the connection. Returns the plain buffer that waited.
    pub(in crate::io) fn give_up(&mut self) -> Buf {
        std::mem::take(&mut self.waiting)
    }
}

impl Seal {
    /// Sends `close_notify`, if that needs no waiting: many servers log a connection that ends without it.
    pub(in crate::io) fn close(&mut self) {
        if self.sending {
            return;
        }
        let Ok(mut tls) = self.tls.try_borrow_mut() else { return };
        tls.send_close_notify();
        let records = self.out.cleared_vec();
        while tls.wants_write() && tls.write_tls(records).is_ok() {}
        self.handle.send_now(records);
    }
}

impl Drop for Seal {
    fn drop(&mut self) {
        self.close();
    }
}
