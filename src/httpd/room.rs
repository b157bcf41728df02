//! The thread that accepts connections and waits for their requests, and the responses that are under way.
//!
//! A connection without a complete request costs a descriptor and its received bytes, never a thread, so that silent or
//! slow clients do not block others. It owns the listener and every connection; a request is handed with its connection
//! to a thread of its own, and the connection comes back after the response. Everything is bounded: if there is no room
//! for a new connection, the oldest one without a complete request is closed; if there is no thread for a request, a
//! response whose client does not read it is cut off. It must never block, nor call a slow handler.

// This is an edge: deadlines of connections need the clock.
#![allow(clippy::disallowed_methods)]

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::intake::{Intake, RefusedMessage, Reply, Step};
use super::respond::{self, Sink};
use super::{Request, Response, Shared};
use crate::http::head::{Method, Version};

/// An answering thread needs little: no deep recursion, buffers on the heap.
const STACK_BYTES: usize = 256 * 1024;

/// Most bytes of one read.
const READ_BYTES: usize = 16 * 1024;

/// Connections accepted before the others are looked at again.
const ACCEPTS: usize = 16;

/// A new connection that has sent nothing is kept for this long in any case: its request may be in transit.
const GRACE: Duration = Duration::from_millis(5);

/// Pause after an accept that failed for want of something: it comes back with time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// While requests wait for a thread, the responses under way are looked at this often.
const LOOK: Duration = Duration::from_millis(20);

/// While requests wait for a thread, a response without progress for this long is cut off.
const STUCK: Duration = Duration::from_millis(100);

/// After so long a wait for a thread the oldest response ends even if its client goes on taking it.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// After the last response, further bytes of the client are read and discarded, up to this time and amount: closing
/// with unread bytes would reset the connection, and the reset may overtake the response.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 256 * 1024;

/// A connection that is waited for.
struct Seat {
    stream: Arc<TcpStream>,
    /// Since when it has owed a request.
    since: Instant,
    /// When it ends unless something happens.
    due: Instant,
    owes: Owes,
}

impl Seat {
    /// From when on it may have to make room.
    fn may_go(&self) -> Instant {
        match &self.owes {
            Owes::Request(intake) if intake.is_empty() => self.since + GRACE,
            _ => self.since,
        }
    }
}

enum Owes {
    /// The next request, or the rest of it.
    Request(Box<Intake>),
    /// None: it has had its last response. The number of bytes that it has sent since.
    End(usize),
}

/// A request that waits for a thread.
struct Queued {
    stream: Arc<TcpStream>,
    intake: Box<Intake>,
    request: Box<Request>,
    reply: Reply,
    since: Instant,
}

/// A response under way.
struct Answering {
    stream: Arc<TcpStream>,
    since: Instant,
    /// The thread's count of written bytes, and its value when it last changed.
    written: Arc<AtomicU64>,
    seen: (u64, Instant),
    ended: bool,
}

/// A connection that comes back from its thread; `None` if it has ended.
pub(super) struct Returned {
    id: u64,
    then: Option<(Box<Intake>, bool)>,
}

pub(super) struct Room {
    listener: TcpListener,
    shared: Arc<Shared>,
    /// Rings when something is in `returned`, and when the server stops.
    bell: UnixStream,
    returned: Receiver<Returned>,
    seats: Vec<Seat>,
    queue: VecDeque<Queued>,
    answering: HashMap<u64, Answering>,
    next_id: u64,
    /// A descriptor in reserve: when there is no other, the admin endpoints can still answer.
    spare: Option<File>,
    /// No connection is accepted before this.
    accept_from: Option<Instant>,
    scratch: Box<[u8]>,
}

impl Room {
    pub(super) fn new(
        listener: TcpListener,
        shared: Arc<Shared>,
        bell: UnixStream,
        returned: Receiver<Returned>,
    ) -> Self {
        Self {
            listener,
            shared,
            bell,
            returned,
            seats: Vec::new(),
            queue: VecDeque::new(),
            answering: HashMap::new(),
            next_id: 0,
            spare: None,
            accept_from: None,
            scratch: vec![0; READ_BYTES].into(),
        }
    }

    /// Serves until the server stops.
    pub(super) fn run(mut self) {
        loop {
            let ready = match self.wait() {
                Ok(ready) => ready,
                Err(error) => {
                    tracing::error!(%error, server = self.shared.settings.server, "cannot wait for connections");
                    std::thread::sleep(ACCEPT_PAUSE); // the kernel wants memory: it comes back with time
                    continue;
                }
            };
            if self.shared.is_stopping() {
                break;
            }
            let now = Instant::now();
            self.take_back(now);
            self.read(&ready, now);
            self.seats.retain(|seat| seat.due > now);
            self.relieve(now);
            self.start_answers(now);
            self.accept(now);
            self.start_answers(now);
            self.shared.open.store(self.count(), Ordering::Relaxed);
        }
        for answering in self.answering.values() {
            let _ = answering.stream.shutdown(Shutdown::Both); // it may have ended by itself
        }
    }

    fn count(&self) -> usize {
        self.seats.len() + self.queue.len() + self.answering.len()
    }

    /// Waits until there is something to do. Which of the seats have something to read.
    fn wait(&mut self) -> io::Result<Vec<bool>> {
        let now = Instant::now();
        if self.accept_from.is_some_and(|from| from <= now) {
            self.accept_from = None;
        }
        let waits = !self.queue.is_empty();
        let due = self.seats.iter().map(|seat| seat.due).chain(self.accept_from).chain(waits.then(|| now + LOOK)).min();
        let time = due.map(|due| {
            // Rounded up: otherwise it would wake too early.
            let left = due.saturating_duration_since(now) + Duration::from_micros(1);
            Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 })
        });
        let mut fds = Vec::with_capacity(self.seats.len() + 2);
        fds.push(PollFd::new(&self.bell, PollFlags::IN));
        fds.extend(self.seats.iter().map(|seat| PollFd::new(&*seat.stream, PollFlags::IN)));
        if self.accept_from.is_none() {
            fds.push(PollFd::new(&self.listener, PollFlags::IN));
        }
        match poll(&mut fds, time.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let seats = fds.iter().skip(1).take(self.seats.len());
        let ready = seats.map(|fd| !fd.revents().is_empty()).collect();
        while matches!((&self.bell).read(&mut self.scratch), Ok(1..)) {}
        Ok(ready)
    }

    /// Takes the connections whose response is over.
    fn take_back(&mut self, now: Instant) {
        while let Ok(Returned { id, then }) = self.returned.try_recv() {
            let Some(Answering { stream, ended: false, .. }) = self.answering.remove(&id) else { continue };
            let Some((intake, keep)) = then else { continue };
            if stream.set_nonblocking(true).is_ok() {
                self.go_on(stream, intake, keep, now);
            }
        }
    }

    /// Waits for the next request of a connection, which may have begun, or for its end.
    fn go_on(&mut self, stream: Arc<TcpStream>, intake: Box<Intake>, keep: bool, now: Instant) {
        if !keep {
            let _ = stream.shutdown(Shutdown::Write); // the client may be gone already
            self.seats.push(Seat { stream, since: now, due: now + LINGER, owes: Owes::End(0) });
            return;
        }
        let settings = &self.shared.settings;
        let time = if intake.is_empty() { settings.idle } else { settings.patience };
        self.step(Seat { stream, since: now, due: now + time, owes: Owes::Request(intake) }, now);
    }

    fn read(&mut self, ready: &[bool], now: Instant) {
        let seats = std::mem::take(&mut self.seats);
        // Connections that have just come back are after those that were polled.
        let ready = ready.iter().copied().chain(std::iter::repeat(false));
        for (seat, ready) in seats.into_iter().zip(ready) {
            if ready {
                self.read_seat(seat, now);
            } else {
                self.seats.push(seat);
            }
        }
    }

    /// Reads once from a connection and takes the next step; it is dropped if it has ended.
    fn read_seat(&mut self, mut seat: Seat, now: Instant) {
        let read = match (&*seat.stream).read(&mut self.scratch) {
            Ok(0) => return,
            Ok(count) => self.scratch.get(..count).unwrap_or_default(),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                self.seats.push(seat);
                return;
            }
            Err(_) => return,
        };
        match &mut seat.owes {
            Owes::End(seen) => {
                *seen += read.len();
                if *seen < LINGER_BYTES {
                    self.seats.push(seat);
                }
            }
            Owes::Request(intake) => {
                // The first head is due from the accept on, the others from their first byte.
                if intake.is_empty() && seat.due > now + self.shared.settings.patience {
                    seat.due = now + self.shared.settings.patience;
                }
                intake.push(read);
                self.step(seat, now);
            }
        }
    }

    /// Takes a complete request out of a connection.
    fn step(&mut self, seat: Seat, now: Instant) {
        let Seat { stream, mut since, mut due, owes: Owes::Request(mut intake) } = seat else { return };
        loop {
            let awaited = intake.awaits_body();
            match intake.step(self.shared.settings.body_bytes) {
                Ok(Step::NeedMore) => {
                    if intake.awaits_body() && !awaited {
                        due = now + self.shared.settings.patience;
                    }
                    self.seats.push(Seat { stream, since, due, owes: Owes::Request(intake) });
                    return;
                }
                Ok(Step::Continue) => {
                    due = now + self.shared.settings.patience;
                    if !put(&stream, b"HTTP/1.1 100 Continue\r\n\r\n") {
                        return;
                    }
                }
                Ok(Step::Complete(request, reply)) if (self.shared.settings.at_once)(&request) => {
                    // A panic was printed; this thread is needed by others.
                    let handled = catch_unwind(AssertUnwindSafe(|| (self.shared.handler)(&request)));
                    let Ok(response) = handled else { return };
                    if !self.put_whole(&stream, response, reply) {
                        return self.go_on(stream, intake, false, now);
                    }
                    let settings = &self.shared.settings;
                    since = now;
                    due = now + if intake.is_empty() { settings.idle } else { settings.patience };
                }
                Ok(Step::Complete(request, reply)) => {
                    self.queue.push_back(Queued { stream, intake, request, reply, since: now });
                    return;
                }
                Err(RefusedMessage { status, body }) => {
                    let reply = Reply { method: Method::Get, version: Version::Http11, keep: false };
                    self.put_whole(&stream, Response::text(status, body), reply);
                    return self.go_on(stream, intake, false, now);
                }
            }
        }
    }

    /// Writes a small response without waiting for its client; whether the connection goes on.
    fn put_whole(&self, stream: &TcpStream, response: Response, mut reply: Reply) -> bool {
        // The connection itself is in none of the lists at the moment.
        reply.keep &= (self.count() + 1) * 2 <= self.shared.settings.connections;
        let (bytes, keep) = respond::whole(response, reply, &self.shared.settings);
        put(stream, &bytes) && keep
    }

    /// Ends a response that keeps a request waiting for a thread: one whose client does not take it, or after a longer
    /// wait the oldest.
    fn relieve(&mut self, now: Instant) {
        let Some(first) = self.queue.front() else { return };
        if self.answering.len() < self.shared.settings.answers {
            return;
        }
        let long = first.since + LONGEST_WAIT <= now;
        for answering in self.answering.values_mut() {
            let written = answering.written.load(Ordering::Relaxed);
            if written != answering.seen.0 {
                answering.seen = (written, now);
            }
        }
        // A response that is not being written is in its handler, which ends by itself.
        let writing = self.answering.values_mut().filter(|answering| answering.seen.0 > 0 && !answering.ended);
        let (stuck, others): (Vec<_>, Vec<_>) = writing.partition(|answering| answering.seen.1 + STUCK <= now);
        let oldest = others.into_iter().filter(|_| long).min_by_key(|answering| answering.since);
        // As many as there are waiting requests, or one if no response is stuck.
        let waiting = self.queue.len();
        let mut ends: Vec<_> = stuck;
        ends.sort_by_key(|answering| answering.seen.1);
        ends.truncate(waiting);
        if ends.is_empty() {
            ends.extend(oldest);
        }
        for answering in ends {
            answering.ended = true;
            let _ = answering.stream.shutdown(Shutdown::Both); // its thread wakes, and is over
        }
    }

    fn start_answers(&mut self, now: Instant) {
        while self.answering.len() < self.shared.settings.answers {
            let Some(Queued { stream, intake, request, mut reply, .. }) = self.queue.pop_front() else { return };
            // It is in none of the lists at the moment, and its thread wants to know.
            self.shared.open.store(self.count() + 1, Ordering::Relaxed);
            let id = self.next_id;
            self.next_id += 1;
            let written = Arc::<AtomicU64>::default();
            let answering = Answering {
                stream: stream.clone(),
                since: now,
                written: written.clone(),
                seen: (0, now),
                ended: false,
            };
            let shared = self.shared.clone();
            let answer = move || {
                let mut back = Back { shared: &shared, returned: Some(Returned { id, then: None }) };
                let response = (shared.handler)(&request);
                reply.keep &= !shared.must_close();
                let sink = Sink { stream: &stream, settings: &shared.settings, written: &written };
                if let (Ok(keep), Some(returned)) = (sink.send(response, reply), &mut back.returned) {
                    returned.then = Some((intake, keep));
                }
            };
            let name = format!("{}-{id}", self.shared.settings.thread_name);
            match std::thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(answer) {
                Ok(_) => {
                    self.answering.insert(id, answering);
                }
                Err(error) => tracing::debug!(%error, server = self.shared.settings.server, "request not answered"),
            }
        }
    }

    fn accept(&mut self, now: Instant) {
        if self.accept_from.is_some_and(|from| from > now) {
            return;
        }
        if self.spare.is_none() {
            self.spare = File::open("/dev/null").ok();
        }
        for _ in 0..ACCEPTS {
            // Without a new connection none has to be closed.
            if self.count() >= self.shared.settings.connections && !(self.somebody_waits() && self.make_room(now)) {
                return;
            }
            match self.listener.accept() {
                Ok((stream, peer)) => {
                    if stream.set_nonblocking(true).is_err() {
                        continue;
                    }
                    // Small responses go out at once. Should it fail they go out a little later.
                    let _ = stream.set_nodelay(true);
                    let (stream, owes) = (Arc::new(stream), Owes::Request(Box::new(Intake::new(peer))));
                    let due = now + self.shared.settings.patience;
                    self.read_seat(Seat { stream, since: now, due, owes }, now);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if is_out_of_descriptors(&error) => {
                    // The kernel reports this also without a new connection.
                    if !self.somebody_waits() {
                        return;
                    }
                    if !self.make_room(now) && self.spare.take().is_none() {
                        return;
                    }
                    // If the spare one went: another connection may be there.
                    self.accept_from = None;
                }
                // It ended before it was accepted.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
                Err(error) => {
                    tracing::debug!(%error, server = self.shared.settings.server, "connection not accepted");
                    self.accept_from = Some(now + ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }

    /// Whether there is a connection to accept.
    fn somebody_waits(&self) -> bool {
        let mut fds = [PollFd::new(&self.listener, PollFlags::IN)];
        matches!(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(1..))
    }

    /// Closes the oldest connection without a complete request, else the oldest that waits for a thread. False if there
    /// is none: accepting pauses for a moment.
    fn make_room(&mut self, now: Instant) -> bool {
        self.start_answers(now);
        let seats = self.seats.iter().enumerate().map(|(at, seat)| (at, seat.may_go()));
        match seats.min_by_key(|(_, from)| *from) {
            Some((at, from)) if from <= now => {
                self.seats.swap_remove(at);
                return true;
            }
            // While few wait for a thread, connections that may still send a request are kept.
            Some((_, from)) if self.queue.len() * 2 <= self.shared.settings.connections => {
                self.accept_from = Some(from);
                return false;
            }
            _ => {}
        }
        if let Some(Queued { stream, mut reply, .. }) = self.queue.pop_front() {
            reply.keep = false;
            self.put_whole(&stream, Response::text(503, "too many requests at once\n"), reply);
            return true;
        }
        self.accept_from = Some(now + ACCEPT_PAUSE);
        false
    }
}

/// Tells the room that a thread is done, also if it ends by a panic.
struct Back<'a> {
    shared: &'a Shared,
    returned: Option<Returned>,
}

impl Drop for Back<'_> {
    fn drop(&mut self) {
        if let Some(returned) = self.returned.take() {
            self.shared.give_back(returned);
        }
    }
}

/// Whether all of these few bytes were taken at once.
fn put(mut stream: &TcpStream, bytes: &[u8]) -> bool {
    matches!(stream.write(bytes), Ok(count) if count == bytes.len())
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}
