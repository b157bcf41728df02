//! Raw bytes both ways between two connections: after a 101, after a CONNECT, and for the TCP proxy.

use std::cell::Cell;
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use crate::base::limits::HEAD_BUFFER_BYTES;
use crate::io::{self, Buf, Either, Handle, Reader, Timer, Writer, race};
use crate::observe::stats::Counter;
use crate::proxy::core::Core;

/// One end of a tunnel.
pub(crate) struct End<'a> {
    pub(crate) reader: &'a mut Reader,
    pub(crate) writer: &'a mut Writer,
    /// For ending one direction and not the other.
    pub(crate) handle: &'a Handle,
}

/// How a tunnel is to end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    /// With the first side that ends, as Envoy does after a 101: a half-open WebSocket is of no use to anyone.
    Either,
    /// When both sides have ended: a side that has sent everything may still read. `quiet`: or after this time without a
    /// byte. `end`: or at this time in any case.
    Both { quiet: Option<Duration>, end: Option<Instant> },
}

/// The counters of the bytes of both directions.
#[derive(Clone, Copy)]
pub(crate) struct Meters<'a> {
    /// Of bytes from the client to the upstream.
    pub(crate) up: [Option<&'a Counter>; 2],
    /// Of bytes from the upstream to the client.
    pub(crate) down: [Option<&'a Counter>; 2],
}

/// Why a tunnel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The client, or both sides, the client first.
    Client,
    /// The upstream, or both sides, the upstream first.
    Upstream,
    /// The client's connection broke.
    ClientBroke,
    /// The upstream's connection broke.
    UpstreamBroke,
    /// The idle timeout passed.
    Quiet,
    /// The tunnel has lasted for as long as it may.
    Old,
}

/// Bytes that passed, and why no more did.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passed {
    /// From the client.
    pub(crate) up: u64,
    /// From the upstream.
    pub(crate) down: u64,
    pub(crate) ending: Ending,
}

/// Pumps both ways. `early` are the client's bytes that were read already; the upstream's have been sent.
pub(crate) async fn run(
    core: &Core,
    client: End<'_>,
    upstream: End<'_>,
    early: Buf,
    until: Until,
    meters: Meters<'_>,
) -> Passed {
    let moved = Cell::new(io::now());
    let (up, down) = (Flow::new(&moved, meters.up), Flow::new(&moved, meters.down));
    let tells = matches!(until, Until::Both { .. });
    let (to_upstream, to_client) =
        ((upstream.writer, tells.then_some(upstream.handle)), (client.writer, tells.then_some(client.handle)));
    let ending = {
        let upwards = pin!(pump(core, client.reader, to_upstream, early, &up));
        let downwards = pin!(pump(core, upstream.reader, to_client, Buf::default(), &down));
        match until {
            Until::Either => match race(upwards, downwards).await {
                Either::Left(_) => Ending::Client,
                Either::Right(_) => Ending::Upstream,
            },
            Until::Both { quiet, end } => {
                let mut timer = Timer::default();
                let both = pin!(both(upwards, downwards));
                match (quiet, end) {
                    (None, None) => both.await,
                    limits => match race(both, pin!(limit(limits, &moved, &mut timer))).await {
                        Either::Left(ending) | Either::Right(ending) => ending,
                    },
                }
            }
        }
    };
    Passed { up: up.bytes.get(), down: down.bytes.get(), ending }
}

/// Waits until both directions have ended; each passes its end on to the side that it leads to. A side that takes no more
/// bytes may still have sent some. A broken connection ends both directions.
async fn both(
    mut upwards: Pin<&mut impl Future<Output = Stop>>,
    mut downwards: Pin<&mut impl Future<Output = Stop>>,
) -> Ending {
    match race(upwards.as_mut(), downwards.as_mut()).await {
        Either::Left(Stop::ReadFailed) => Ending::ClientBroke,
        Either::Right(Stop::ReadFailed) => Ending::UpstreamBroke,
        Either::Left(stop) => match downwards.await {
            Stop::End if stop == Stop::End => Ending::Client,
            // The upstream took no more bytes, and has sent everything.
            Stop::End => Ending::Upstream,
            Stop::ReadFailed => Ending::UpstreamBroke,
            Stop::WriteFailed => Ending::ClientBroke,
        },
        Either::Right(stop) => match upwards.await {
            Stop::End | Stop::WriteFailed if stop == Stop::End => Ending::Upstream,
            Stop::End => Ending::Client,
            Stop::ReadFailed => Ending::ClientBroke,
            Stop::WriteFailed => Ending::UpstreamBroke,
        },
    }
}

/// Completes after `quiet` without a byte, or at `end`. The timer is set once in that time, not for every byte.
async fn limit((quiet, end): (Option<Duration>, Option<Instant>), moved: &Cell<Instant>, timer: &mut Timer) -> Ending {
    loop {
        let now = io::now();
        let quiet = quiet.map(|quiet| moved.get() + quiet);
        if end.is_some_and(|end| now >= end) {
            return Ending::Old;
        }
        let Some(due) = quiet.into_iter().chain(end).min() else { return std::future::pending().await };
        if quiet.is_some_and(|quiet| now >= quiet) {
            return Ending::Quiet;
        }
        timer.until(due).await;
    }
}

/// The state of one direction.
struct Flow<'a> {
    bytes: Cell<u64>,
    moved: &'a Cell<Instant>,
    meters: [Option<&'a Counter>; 2],
}

impl<'a> Flow<'a> {
    fn new(moved: &'a Cell<Instant>, meters: [Option<&'a Counter>; 2]) -> Self {
        Self { bytes: Cell::new(0), moved, meters }
    }

    fn passed(&self, bytes: usize) {
        self.bytes.set(self.bytes.get() + bytes as u64);
        self.moved.set(io::now());
        self.meters.iter().flatten().for_each(|meter| meter.add(bytes as u64));
    }
}

/// Why a direction has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// Its source has sent everything.
    End,
    ReadFailed,
    WriteFailed,
}

/// Bytes from one side to the other, and at their end, with a handle, that end.
async fn pump(
    core: &Core,
    from: &mut Reader,
    (to, handle): (&mut Writer, Option<&Handle>),
    early: Buf,
    flow: &Flow<'_>,
) -> Stop {
    let there = early.len();
    if there > 0 {
        let (written, buf) = to.write_all(early).await;
        core.buffers.put(buf);
        if written.is_err() {
            return Stop::WriteFailed;
        }
        flow.passed(there);
    }
    let mut buf = Buf::default();
    let mut bulk = false;
    let stop = loop {
        if !from.armed() {
            from.arm(sized(core, buf, bulk));
        }
        let (read, filled) = from.done().await;
        buf = filled;
        match read {
            Ok(0) => {
                if let Some(handle) = handle {
                    to.say_end();
                    handle.shutdown_write();
                }
                break Stop::End;
            }
            Ok(_) => {}
            Err(_) => break Stop::ReadFailed,
        }
        let bytes = buf.len();
        bulk = buf.room() == 0 || bulk && bytes > HEAD_BUFFER_BYTES;
        let (written, emptied) = to.write_all(buf).await;
        buf = emptied;
        if written.is_err() {
            break Stop::WriteFailed;
        }
        flow.passed(bytes);
    };
    core.buffers.put(buf);
    stop
}

/// An empty buffer for the next read: `buf` or another one. Most tunnels are quiet most of the time, and a read that waits
/// holds its buffer; large buffers are for directions that fill small ones.
fn sized(core: &Core, mut buf: Buf, bulk: bool) -> Buf {
    let large = buf.capacity() > HEAD_BUFFER_BYTES;
    if buf.capacity() == 0 || large != bulk {
        core.buffers.put(buf);
        buf = if bulk { core.buffers.body() } else { core.buffers.head() };
    }
    buf.clear();
    buf
}
