//! Buffers that the kernel may own for a while, and the per-core store they come from.
//!
//! A [`Buf`] is moved into every operation and comes back with its result. Reads append, writes consume from the
//! front, so one buffer can be read into, parsed, and written out without a copy.

// SAFETY of this module: the two trait implementations below hand the runtime pointers into a `Vec` that the `Buf` owns;
// the heap block does not move while the `Buf` is inside an operation, because no other code can reach it.
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use monoio::buf::{IoBuf, IoBufMut};

use crate::base::limits::{
    BODY_BUFFER_BYTES, BULK_BUFFER_BYTES, HEAD_BUFFER_BYTES, HUGE_BUFFER_BYTES, LARGE_BUFFERS_CORE_BYTES,
    ROOMY_READS_CORE_BYTES,
};

/// Bytes in use are `data[start..]`; room to read into is the spare capacity behind them.
#[derive(Debug, Default)]
pub struct Buf {
    data: Vec<u8>,
    start: usize,
    /// Bytes at the end of the capacity that no read fills.
    tailroom: usize,
}

impl Buf {
    /// An empty buffer with room for `bytes`.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { data: Vec::with_capacity(bytes), start: 0, tailroom: 0 }
    }

    /// The bytes in use.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.data[self.start..]
    }

    /// The bytes in use, for decoding in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.data[self.start..]
    }

    /// How many bytes are in use.
    #[must_use]
    pub fn len(&self) -> usize {
        self.data.len() - self.start
    }

    /// Whether no byte is in use.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes can be read before the buffer must grow.
    #[must_use]
    pub fn room(&self) -> usize {
        (self.data.capacity() - self.data.len()).saturating_sub(self.tailroom)
    }

    /// All it could hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.data.capacity()
    }

    /// Drops the first `n` bytes in use (all of them if there are fewer).
    pub fn consume(&mut self, n: usize) {
        self.start = (self.start + n).min(self.data.len());
        if self.start == self.data.len() {
            self.clear();
        }
    }

    /// How many bytes can be appended without growing, kept room included.
    #[must_use]
    pub fn tail(&self) -> usize {
        self.data.capacity() - self.data.len()
    }

    /// How many bytes lie unused before those in use: room for [`Buf::prepend`].
    #[must_use]
    pub fn headroom(&self) -> usize {
        self.start
    }

    /// Steps over the first `n` bytes in use without forgetting them.
    pub(super) fn step_over(&mut self, n: usize) {
        self.start = (self.start + n).min(self.data.len());
    }

    /// Restores this `headroom`, if only [`Buf::step_over`] was called since.
    pub(super) fn step_back(&mut self, headroom: usize) {
        self.start = headroom.min(self.start);
    }

    /// Keeps the first `n` bytes in use and drops those behind.
    pub fn truncate(&mut self, n: usize) {
        self.data.truncate(self.start + n);
    }

    /// Empties the buffer; its capacity stays.
    pub fn clear(&mut self) {
        self.data.clear();
        self.start = 0;
        self.tailroom = 0;
    }

    /// Appends a copy of `bytes`.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.data.extend_from_slice(bytes);
    }

    /// Makes room for at least `bytes` more, moving the bytes in use to the front before growing.
    pub fn make_room(&mut self, bytes: usize) {
        if self.room() >= bytes {
            return;
        }
        if self.start > 0 {
            self.data.drain(..self.start);
            self.start = 0;
        }
        self.data.reserve(bytes);
    }

    /// The buffer emptied, as the `Vec` that encoders append to.
    pub fn cleared_vec(&mut self) -> &mut Vec<u8> {
        self.clear();
        &mut self.data
    }

    /// The space behind the bytes in use, as the `Vec` that encoders append to.
    pub fn tail_vec(&mut self) -> &mut Vec<u8> {
        &mut self.data
    }

    /// Empties the buffer and reserves `front` bytes before, and `back` behind, the next read: room for framing to be put
    /// around it without a copy ([`Buf::prepend`], [`Buf::extend`]).
    pub fn clear_with_margins(&mut self, front: usize, back: usize) {
        self.clear();
        self.data.resize(front, 0);
        self.start = front;
        self.tailroom = back;
    }

    /// Puts `bytes` directly before those in use, in headroom left for it. False (and nothing done) without the room.
    #[must_use]
    pub fn prepend(&mut self, bytes: &[u8]) -> bool {
        let Some(start) = self.start.checked_sub(bytes.len()) else { return false };
        self.data[start..self.start].copy_from_slice(bytes);
        self.start = start;
        true
    }
}

// SAFETY: `read_ptr` points at `bytes_init` initialised bytes of the owned `Vec`, which is stable while the `Buf` is moved.
unsafe impl IoBuf for Buf {
    fn read_ptr(&self) -> *const u8 {
        self.bytes().as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.len()
    }
}

// SAFETY: `write_ptr` points at `bytes_total` allocated bytes behind the initialised ones.
unsafe impl IoBufMut for Buf {
    fn write_ptr(&mut self) -> *mut u8 {
        self.data.spare_capacity_mut().as_mut_ptr().cast()
    }

    fn bytes_total(&mut self) -> usize {
        self.room()
    }

    unsafe fn set_init(&mut self, read: usize) {
        debug_assert!(read <= self.room());
        // SAFETY: the kernel wrote `read` bytes at `write_ptr`, which is where the initialised part ends.
        unsafe { self.data.set_len(self.data.len() + read) };
    }
}

/// Sizes of a core's buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Size {
    /// [`HEAD_BUFFER_BYTES`].
    #[default]
    Head,
    /// [`BODY_BUFFER_BYTES`].
    Body,
    /// [`BULK_BUFFER_BYTES`].
    Bulk,
    /// [`HUGE_BUFFER_BYTES`].
    Huge,
}

impl Size {
    const ALL: [Self; 4] = [Self::Head, Self::Body, Self::Bulk, Self::Huge];

    /// Bytes of a buffer of this size.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Head => HEAD_BUFFER_BYTES,
            Self::Body => BODY_BUFFER_BYTES,
            Self::Bulk => BULK_BUFFER_BYTES,
            Self::Huge => HUGE_BUFFER_BYTES,
        }
    }

    /// The smallest size that holds so many bytes, or the largest one.
    #[must_use]
    pub fn holding(bytes: u64) -> Self {
        Self::ALL.into_iter().find(|size| size.bytes() as u64 >= bytes).unwrap_or(Self::Huge)
    }

    /// The next larger size, or the largest one.
    #[must_use]
    pub fn larger(self) -> Self {
        match self {
            Self::Head => Self::Body,
            Self::Body => Self::Bulk,
            Self::Bulk | Self::Huge => Self::Huge,
        }
    }

    /// Free buffers kept of this size: enough for a core's busy connections, 41 MiB at most of all sizes together.
    const fn kept(self) -> usize {
        match self {
            Self::Head => 1024,
            Self::Body => 1024,
            Self::Bulk => 128,
            Self::Huge => 32,
        }
    }
}

/// Memory that one core may spend on one thing.
#[derive(Debug)]
pub struct Budget {
    used: Rc<Cell<usize>>,
    most: usize,
}

impl Budget {
    const fn bytes(used: Rc<Cell<usize>>, most: usize) -> Self {
        Self { used, most }
    }

    /// A share of so many bytes, if there is as much.
    #[must_use]
    pub fn take(&self, bytes: usize) -> Option<Share> {
        let used = self.used.get().checked_add(bytes).filter(|used| *used <= self.most)?;
        self.used.set(used);
        Some(Share { used: self.used.clone(), bytes })
    }
}

/// A share of a `Budget`, given back when dropped.
#[derive(Debug)]
pub struct Share {
    used: Rc<Cell<usize>>,
    bytes: usize,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.used.set(self.used.get() - self.bytes);
    }
}

/// Free buffers of one core. Last in, first out: the warm one is reused.
#[derive(Debug)]
pub struct BufPool {
    free: [RefCell<Vec<Buf>>; 4],
    /// For bulk and huge buffers of bodies under way.
    pub flows: Budget,
    /// For idle connections that wait with more than a head buffer.
    pub roomy: Budget,
}

impl Default for BufPool {
    fn default() -> Self {
        Self {
            free: Default::default(),
            flows: Budget::bytes(Rc::default(), LARGE_BUFFERS_CORE_BYTES),
            roomy: Budget::bytes(Rc::default(), ROOMY_READS_CORE_BYTES),
        }
    }
}

impl BufPool {
    /// A buffer of this size.
    pub fn take(&self, size: Size) -> Buf {
        let free = self.free[size as usize].borrow_mut().pop();
        free.unwrap_or_else(|| Buf::with_capacity(size.bytes()))
    }

    /// A buffer of [`HEAD_BUFFER_BYTES`].
    pub fn head(&self) -> Buf {
        self.take(Size::Head)
    }

    /// A buffer of [`BODY_BUFFER_BYTES`].
    pub fn body(&self) -> Buf {
        self.take(Size::Body)
    }

    /// Takes a buffer back. One that grew past its size is freed: a single large head must not hold memory for ever.
    pub fn put(&self, mut buf: Buf) {
        let capacity = buf.capacity();
        let Some(size) = Size::ALL.into_iter().find(|size| (size.bytes()..2 * size.bytes()).contains(&capacity)) else {
            return;
        };
        buf.clear();
        let mut list = self.free[size as usize].borrow_mut();
        if list.len() < size.kept() {
            list.push(buf);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consume_then_make_room_keeps_the_rest() {
        let mut buf = Buf::with_capacity(8);
        buf.extend(b"abcdefgh");
        buf.consume(6);
        buf.make_room(6);
        assert_eq!(buf.bytes(), b"gh");
        assert!(buf.room() >= 6);
        assert_eq!(buf.capacity(), 8, "what is in use moves to the front before the buffer grows");
    }

    #[test]
    fn consuming_everything_empties_and_more_is_harmless() {
        let mut buf = Buf::with_capacity(8);
        buf.extend(b"ab");
        buf.consume(9);
        assert!(buf.is_empty());
        assert_eq!(buf.room(), 8);
    }

    #[test]
    fn prepend_uses_its_margin_only() {
        let mut buf = Buf::with_capacity(64);
        buf.clear_with_margins(4, 8);
        assert_eq!(buf.room(), 64 - 4 - 8);
        buf.extend(b"body");
        assert!(buf.prepend(b"4\r\n"));
        assert_eq!(buf.bytes(), b"4\r\nbody");
        assert!(!buf.prepend(b"xx"));
        assert_eq!(buf.bytes(), b"4\r\nbody");
    }

    #[test]
    fn sizes_hold_what_they_are_asked_for() {
        for (bytes, expected) in [
            (0, Size::Head),
            (HEAD_BUFFER_BYTES, Size::Head),
            (HEAD_BUFFER_BYTES + 1, Size::Body),
            (BODY_BUFFER_BYTES + 1, Size::Bulk),
            (BULK_BUFFER_BYTES + 1, Size::Huge),
            (usize::MAX, Size::Huge),
        ] {
            assert_eq!(Size::holding(bytes as u64), expected, "{bytes}");
        }
        let pool = BufPool::default();
        for size in Size::ALL {
            assert_eq!(pool.take(size).capacity(), size.bytes());
            pool.put(pool.take(size));
            assert_eq!(pool.take(size).capacity(), size.bytes());
        }
    }

    #[test]
    fn a_budget_is_kept_to_and_shares_come_back() {
        let budget = Budget::bytes(Rc::default(), 100);
        let first = budget.take(60);
        assert!(first.is_some() && budget.take(41).is_none());
        let second = budget.take(40);
        assert!(second.is_some() && budget.take(1).is_none());
        drop(first);
        assert!(budget.take(60).is_some());
    }

    #[test]
    fn an_outgrown_buffer_is_not_kept() {
        let pool = BufPool::default();
        let mut buf = pool.head();
        buf.make_room(HEAD_BUFFER_BYTES * 10);
        pool.put(buf);
        assert_eq!(pool.head().capacity(), HEAD_BUFFER_BYTES);
    }
}
