//! A connection without a socket or a ring, for tests: what its peer says and takes is a script.
//!
//! Both sides are in one task: a test lets the peer do something, polls what it tests, and looks at what the peer has got.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::buf::Buf;
use super::conn::{Conn, Half, Reader, Writer};
use super::handle::Handle;
use super::slot::Slot;

/// The other end of a scripted connection.
#[derive(Debug, Clone)]
pub(crate) struct ScriptedPeer(Rc<RefCell<State>>);

#[derive(Debug)]
struct State {
    /// Bytes from the peer that have not been read.
    said: VecDeque<u8>,
    /// How the peer's end of the stream ended.
    end: Option<End>,
    /// Bytes that the peer has received.
    got: Vec<u8>,
    /// How many bytes the peer still takes.
    takes: usize,
    /// This side has sent its end.
    closed: bool,
    wakers: [Option<Waker>; 2],
}

#[derive(Debug, Clone, Copy)]
enum End {
    Fin,
    Reset,
}

impl ScriptedPeer {
    /// A connection and its peer, which takes everything and has said nothing.
    pub(crate) fn connect() -> (Conn, Self) {
        let state = State {
            said: VecDeque::new(),
            end: None,
            got: Vec::new(),
            takes: usize::MAX,
            closed: false,
            wakers: [None, None],
        };
        let peer = Self(Rc::new(RefCell::new(state)));
        let socket = UnixStream::pair().expect("a pair of sockets").0;
        let conn = Conn {
            reader: Reader::of(Box::new(ScriptedSlot { peer: peer.clone(), buf: None })),
            writer: Writer::of(Half::Scripted(ScriptedHalf(peer.clone()))),
            handle: Handle::scripted(peer.clone(), socket),
        };
        (conn, peer)
    }

    /// The peer says something.
    pub(crate) fn says(&self, bytes: &[u8]) {
        self.0.borrow_mut().said.extend(bytes);
        self.wake(0);
    }

    /// The peer sends its end.
    pub(crate) fn ends(&self) {
        self.0.borrow_mut().end = Some(End::Fin);
        self.wake(0);
    }

    /// The peer resets the connection: nothing more can be read or written.
    pub(crate) fn resets(&self) {
        let mut state = self.0.borrow_mut();
        state.end = Some(End::Reset);
        state.said.clear();
        drop(state);
        self.wake(0);
        self.wake(1);
    }

    /// The peer takes so many bytes more, and then none.
    pub(crate) fn takes(&self, bytes: usize) {
        self.0.borrow_mut().takes = bytes;
        self.wake(1);
    }

    /// The bytes that the peer has received since the last call.
    pub(crate) fn got(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.borrow_mut().got)
    }

    /// Whether this side has closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.borrow().closed
    }

    /// This side shuts the connection down.
    pub(super) fn shut_down(&self, how: Shutdown) {
        let mut state = self.0.borrow_mut();
        if how != Shutdown::Read {
            state.closed = true;
        }
        if how != Shutdown::Write {
            state.end.get_or_insert(End::Fin);
        }
        drop(state);
        self.wake(0);
        self.wake(1);
    }

    fn wake(&self, side: usize) {
        let waker = self.0.borrow_mut().wakers[side].take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The reading side.
struct ScriptedSlot {
    peer: ScriptedPeer,
    buf: Option<Buf>,
}

impl Slot for ScriptedSlot {
    fn arm(&mut self, buf: Buf) {
        assert!(buf.room() > 0, "a read into a full buffer looks like the end of the stream");
        self.buf.get_or_insert(buf);
    }

    fn armed(&self) -> bool {
        self.buf.is_some()
    }

    fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<(io::Result<usize>, Buf)> {
        let mut state = self.peer.0.borrow_mut();
        let mut buf = self.buf.take().expect("a read is armed");
        let bytes = buf.room().min(state.said.len());
        if bytes > 0 {
            buf.extend(&state.said.drain(..bytes).collect::<Vec<_>>());
            return Poll::Ready((Ok(bytes), buf));
        }
        match state.end {
            Some(End::Fin) => Poll::Ready((Ok(0), buf)),
            Some(End::Reset) => Poll::Ready((Err(io::ErrorKind::ConnectionReset.into()), buf)),
            None => {
                state.wakers[0] = Some(cx.waker().clone());
                self.buf = Some(buf);
                Poll::Pending
            }
        }
    }
}

/// The writing side.
#[derive(Debug)]
pub(super) struct ScriptedHalf(ScriptedPeer);

impl ScriptedHalf {
    pub(super) async fn write(&mut self, buf: Buf) -> (io::Result<usize>, Buf) {
        let written = std::future::poll_fn(|cx| {
            let mut state = self.0.0.borrow_mut();
            let bytes = buf.len().min(state.takes);
            if state.closed || matches!(state.end, Some(End::Reset)) {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            if bytes == 0 {
                state.wakers[1] = Some(cx.waker().clone());
                return Poll::Pending;
            }
            if state.takes != usize::MAX {
                state.takes -= bytes;
            }
            state.got.extend_from_slice(&buf.bytes()[..bytes]);
            Poll::Ready(Ok(bytes))
        });
        (written.await, buf)
    }
}

impl Drop for ScriptedHalf {
    fn drop(&mut self) {
        self.0.0.borrow_mut().closed = true;
    }
}
