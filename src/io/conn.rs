//! A connection, over TCP or a Unix domain socket: a reader whose read outlives its waiter, a writer, and a handle for the
//! rest.
//!
//! This is the only place that issues reads and writes. Buffers move in and always come back with the result, also
//! with an error.

#![allow(unsafe_code)]

use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use monoio::BufResult;
use monoio::io::{AsyncReadRent, AsyncWriteRent, OwnedReadHalf, OwnedWriteHalf, Splitable};
use monoio::net::TcpStream;

use super::buf::Buf;
use super::handle::Handle;
use super::ring;
#[cfg(test)]
use super::script::ScriptedHalf;
use super::slot::Slot;
use super::tls::{Seal, TlsFailure};

/// A connection, downstream or upstream.
#[derive(Debug)]
pub struct Conn {
    /// The reading half.
    pub reader: Reader,
    /// The writing half.
    pub writer: Writer,
    /// Addresses, peeks and shutdowns.
    pub handle: Handle,
}

impl Conn {
    /// Takes a connected stream; Nagle's delay is switched off, because every write here is a whole message or a full
    /// buffer.
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        // A peer that is gone already fails here; its read will say so.
        let _ = stream.set_nodelay(true);
        let fd = stream.as_raw_fd();
        let (read, write) = stream.into_split();
        let handle = Handle::of(&read, fd);
        Ok(Self { reader: Reader::new(read), writer: Writer::of(Half::Stream(write)), handle })
    }

    /// Takes the bare socket from this core, to be sent to another one. `None`, and the connection is closed, if an operation
    /// is in flight on it, or another [`Handle`] of it exists.
    #[must_use]
    pub fn park(self) -> Option<Parked> {
        let Self { reader, writer, handle } = self;
        let read = reader.into_half()?;
        drop(handle);
        // The two halves only: the runtime panics if there is another owner of the stream.
        if Rc::strong_count(&read.0) != 2 {
            return None;
        }
        let stream = read.reunite(writer.half.into_stream()?).ok()?;
        let fd = stream.into_raw_fd();
        // SAFETY: `into_raw_fd` gave up the only hold on this open descriptor, so it is ours alone.
        Some(Parked(unsafe { std::net::TcpStream::from_raw_fd(fd) }))
    }
}

/// A connection that belongs to no core: its bare socket, in transit between two.
#[derive(Debug)]
pub struct Parked(std::net::TcpStream);

impl Parked {
    /// Registers with this thread's runtime.
    ///
    /// # Errors
    /// When the driver cannot take another descriptor; the connection is closed.
    pub fn unpark(self) -> io::Result<Conn> {
        Conn::new(TcpStream::from_std(self.0)?)
    }
}

type ReadDone = (OwnedReadHalf<TcpStream>, Buf, io::Result<usize>);

async fn read_op(mut half: OwnedReadHalf<TcpStream>, buf: Buf) -> ReadDone {
    let (result, buf): BufResult<usize, Buf> = half.read(buf).await;
    (half, buf, result)
}

struct ReadSlot<S, F> {
    start: S,
    half: Option<OwnedReadHalf<TcpStream>>,
    op: Pin<Box<Option<F>>>,
    /// The result of a read that was complete when it was begun.
    done: Option<Box<ReadDone>>,
}

impl<S, F> Slot for ReadSlot<S, F>
where
    S: Fn(OwnedReadHalf<TcpStream>, Buf) -> F,
    F: Future<Output = ReadDone>,
{
    fn arm(&mut self, buf: Buf) {
        debug_assert!(buf.room() > 0, "a read into a full buffer looks like the end of the stream");
        if let Some(half) = self.half.take() {
            self.op.set(Some((self.start)(half, buf)));
        }
    }

    fn armed(&self) -> bool {
        self.half.is_none()
    }

    fn into_half(self: Box<Self>) -> Option<OwnedReadHalf<TcpStream>> {
        self.half
    }

    fn begin(&mut self) {
        // With epoll there is nothing to begin: a read is a call when it is polled. With io_uring the first poll hands it to
        // the kernel, and it is never done there and then.
        if !ring::is_io_uring() || self.done.is_some() {
            return;
        }
        if let Some(op) = self.op.as_mut().as_pin_mut()
            && let Poll::Ready((half, buf, result)) = op.poll(&mut Context::from_waker(Waker::noop()))
        {
            self.op.set(None);
            self.done = Some(Box::new((half, buf, result)));
        }
    }

    fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<(io::Result<usize>, Buf)> {
        let (half, buf, result) = match (self.done.take(), self.op.as_mut().as_pin_mut()) {
            (Some(done), _) => *done,
            (None, Some(op)) => {
                let Poll::Ready(done) = op.poll(cx) else { return Poll::Pending };
                self.op.set(None);
                done
            }
            (None, None) => return Poll::Ready((Err(io::Error::other("no read is armed")), Buf::default())),
        };
        self.half = Some(half);
        Poll::Ready((result, buf))
    }
}

/// The receiving side. One read at a time, and it is never lost: [`Reader::done`] may be dropped and called again.
pub struct Reader {
    slot: Box<dyn Slot>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("armed", &self.armed()).finish()
    }
}

impl Reader {
    fn new(half: OwnedReadHalf<TcpStream>) -> Self {
        Self { slot: Box::new(ReadSlot { start: read_op, half: Some(half), op: Box::pin(None), done: None }) }
    }

    /// Reads of something that is no socket.
    #[cfg(test)]
    pub(super) fn of(slot: Box<dyn Slot>) -> Self {
        Self { slot }
    }

    /// The same reader through a layer that transforms the bytes (TLS).
    pub(super) fn through(self, wrap: impl FnOnce(Box<dyn Slot>) -> Box<dyn Slot>) -> Self {
        Self { slot: wrap(self.slot) }
    }

    /// Prepares a read that appends to `buf`, which must have room. It starts when [`Reader::done`] is first polled.
    /// Without effect while a read is armed.
    pub fn arm(&mut self, buf: Buf) {
        self.slot.arm(buf);
    }

    /// Begins the armed read now, with io_uring, so that it is under way while something else is awaited. What it comes to is
    /// [`Reader::done`]'s to say.
    pub fn begin(&mut self) {
        self.slot.begin();
    }

    /// Whether a read is armed and not yet done.
    #[must_use]
    pub fn armed(&self) -> bool {
        self.slot.armed()
    }

    /// The armed read's result and its buffer; 0 bytes is the end of the stream. Dropping this future leaves the read
    /// where it is.
    pub async fn done(&mut self) -> (io::Result<usize>, Buf) {
        poll_fn(|cx| self.slot.poll_done(cx)).await
    }

    /// Starts a read without waiting, or polls one that was started: its result if there is one. An unfinished read goes on,
    /// for [`Reader::done`].
    pub fn finished(&mut self) -> Option<(io::Result<usize>, Buf)> {
        match self.slot.poll_done(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        }
    }

    fn into_half(self) -> Option<OwnedReadHalf<TcpStream>> {
        self.slot.into_half()
    }

    /// Over TLS, why reads fail, if that is not the socket's doing.
    #[must_use]
    pub fn tls_failure(&self) -> Option<TlsFailure> {
        self.slot.tls_failure()
    }

    /// Arms a read and waits for it.
    pub async fn read(&mut self, buf: Buf) -> (io::Result<usize>, Buf) {
        self.arm(buf);
        self.done().await
    }
}

/// The sending side.
#[derive(Debug)]
pub struct Writer {
    /// Over TLS, the encoder of records. Boxed, because most connections have none. It is dropped before the half, which ends
    /// the stream, because it may have to send an alert.
    seal: Option<Box<Seal>>,
    half: Half,
}

/// The destination of written bytes.
#[derive(Debug)]
pub(super) enum Half {
    Stream(OwnedWriteHalf<TcpStream>),
    #[cfg(test)]
    Scripted(ScriptedHalf),
}

impl Half {
    fn into_stream(self) -> Option<OwnedWriteHalf<TcpStream>> {
        match self {
            Self::Stream(half) => Some(half),
            #[cfg(test)]
            Self::Scripted(_) => None,
        }
    }

    async fn write(&mut self, buf: Buf) -> (io::Result<usize>, Buf) {
        match self {
            Self::Stream(half) => half.write(buf).await,
            #[cfg(test)]
            Self::Scripted(half) => half.write(buf).await,
        }
    }
}

impl Writer {
    pub(super) fn of(half: Half) -> Self {
        Self { seal: None, half }
    }

    /// The same writes with TLS.
    pub(super) fn through(self, seal: Seal) -> Self {
        Self { seal: Some(Box::new(seal)), half: self.half }
    }

    /// Over TLS, sends `close_notify`; [`Handle::shutdown_write`] must follow, which ends the stream.
    pub fn say_end(&mut self) {
        if let Some(seal) = &mut self.seal {
            seal.close();
        }
    }

    /// Sends all bytes in use and gives the emptied buffer back. Dropped half-way, the connection must be closed: the number
    /// of bytes sent is unknown.
    pub async fn write_all(&mut self, mut buf: Buf) -> (io::Result<()>, Buf) {
        while !buf.is_empty() {
            buf = match self.begin(buf, Buf::consume) {
                Ok(buf) => buf,
                Err((error, buf)) => return (Err(error), buf),
            };
            let (result, back) = self.half.write(buf).await;
            buf = match self.wrote(result, back, Buf::consume) {
                Ok(buf) => buf,
                Err((error, buf)) => return (Err(error), buf),
            };
        }
        (Ok(()), buf)
    }

    /// Sends all bytes in use and gives the buffer back as it was, to be sent once more elsewhere. Dropped half-way, the
    /// connection must be closed, and the buffer is lost.
    pub async fn write_and_keep(&mut self, mut buf: Buf) -> (io::Result<()>, Buf) {
        let start = buf.headroom();
        let mut sent = Ok(());
        while !buf.is_empty() {
            buf = match self.begin(buf, Buf::step_over) {
                Ok(buf) => buf,
                Err((error, back)) => {
                    (sent, buf) = (Err(error), back);
                    break;
                }
            };
            let (result, back) = self.half.write(buf).await;
            buf = match self.wrote(result, back, Buf::step_over) {
                Ok(buf) => buf,
                Err((error, back)) => {
                    (sent, buf) = (Err(error), back);
                    break;
                }
            };
        }
        buf.step_back(start);
        (sent, buf)
    }

    /// The bytes to be written next, from `buf` or from a write under way: over TLS records, while their plain bytes wait in
    /// the seal, and not in the future, which is a part of every connection's task.
    fn begin(&mut self, buf: Buf, pass: fn(&mut Buf, usize)) -> Result<Buf, (io::Error, Buf)> {
        match &mut self.seal {
            None => Ok(buf),
            Some(seal) => seal.begin(buf, pass),
        }
    }

    /// The rest after a write.
    fn wrote(
        &mut self,
        result: io::Result<usize>,
        mut buf: Buf,
        pass: fn(&mut Buf, usize),
    ) -> Result<Buf, (io::Error, Buf)> {
        let written = match result {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            result => result,
        };
        match (&mut self.seal, written) {
            (None, Ok(n)) => {
                pass(&mut buf, n);
                Ok(buf)
            }
            (None, Err(error)) => Err((error, buf)),
            (Some(seal), Ok(n)) => Ok(seal.wrote(buf, n)),
            (Some(seal), Err(error)) => Err((error, seal.give_up())),
        }
    }
}

#[cfg(test)]
mod tests;
