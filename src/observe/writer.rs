//! The thread that writes the access log, and the buffers through which workers reach it.
//!
//! A worker appends lines to its own buffer and hands the buffer over when it is full, or at its tick. It never waits: if
//! the writer has all of a worker's buffers in hand, the worker throws its lines away and counts them. The number of
//! buffers bounds the memory. The writer never stops for an error; it counts, reports once, and goes on.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::stats::{LogStats, Registry};

/// A buffer with this much in it is handed over: one write call, as Envoy's.
const FULL_BYTES: usize = 64 * 1024;

/// Room for the line that fills a buffer up, so that usual lines never make it grow.
const LINE_ROOM_BYTES: usize = 4 * 1024;

/// Buffers of one worker: one that it fills, the others on their way. At most 272 KiB a worker.
const BUFFERS: usize = 4;

/// How long a destination that would block (a terminal or pipe that another process set non-blocking) is left alone
/// before the next write.
const WOULD_BLOCK_PAUSE: Duration = Duration::from_millis(5);

/// A message to the writer.
enum Mail {
    /// Lines to be written.
    Filled(Filled),
    /// There may be another file to write to.
    Reopened,
}

/// A full buffer for the writer.
struct Filled {
    core: usize,
    lines: u64,
    bytes: Vec<u8>,
}

/// Where a reopened file waits for the writer.
#[derive(Debug, Default)]
struct ReopenedFile {
    file: Option<File>,
    /// [`Mail::Reopened`] is in the channel: there is never a second one, so that it takes no buffer's room.
    told: bool,
}

/// A worker's end of the access log.
#[derive(Debug)]
pub struct LogSink {
    core: usize,
    buffer: Vec<u8>,
    lines: u64,
    full: SyncSender<Mail>,
    empty: Receiver<Vec<u8>>,
    stats: Arc<LogStats>,
}

impl LogSink {
    /// A sink that hands over to `full`, and where to send its buffers back.
    fn new(core: usize, full: SyncSender<Mail>, registry: &Registry) -> (Self, SyncSender<Vec<u8>>) {
        let (give, empty) = sync_channel(BUFFERS);
        // All made now: untouched memory costs nothing, and workers must not allocate later.
        for _ in 1..BUFFERS {
            let _ = give.try_send(new_buffer()); // there is room, and the receiver is in our hand
        }
        let stats = registry.log_buffer(core);
        (Self { core, buffer: new_buffer(), lines: 0, full, empty, stats }, give)
    }

    /// Where to append the next line, its newline included; then call [`LogSink::line_done`].
    #[inline]
    pub fn line_buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Ends a line, and hands the buffer over if it is full.
    #[inline]
    pub fn line_done(&mut self) {
        self.lines += 1;
        if self.buffer.len() >= FULL_BYTES {
            self.flush();
        }
    }

    /// Hands over the lines so far. Called by the worker's tick, and before the worker ends.
    pub fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let lines = std::mem::take(&mut self.lines);
        let Ok(empty) = self.empty.try_recv() else {
            self.stats.dropped_lines.add(lines);
            self.buffer.clear();
            return;
        };
        let bytes = std::mem::replace(&mut self.buffer, empty);
        // Never full: the channel has room for every buffer there is. Closed only if the writer is gone.
        if self.full.try_send(Mail::Filled(Filled { core: self.core, lines, bytes })).is_err() {
            self.stats.dropped_lines.add(lines);
        }
    }
}

/// The running writer thread.
#[derive(Debug)]
pub struct LogWriter {
    thread: JoinHandle<()>,
    ended: Receiver<()>,
    /// Wakes the thread; given up before its end is waited for.
    wake: SyncSender<Mail>,
    next: Arc<Mutex<ReopenedFile>>,
    back: Arc<Mutex<Vec<SyncSender<Vec<u8>>>>>,
    /// The path to reopen; `None`: the caller opened the destination.
    path: Option<PathBuf>,
}

impl LogWriter {
    /// Opens `path` for appending (`/dev/stdout` and `/dev/stderr` mean this process's own), starts the thread, and
    /// gives a sink to each core of `registry`.
    ///
    /// # Errors
    /// If the file cannot be opened or the thread not be started.
    pub fn start(path: &Path, registry: &Registry) -> io::Result<(LogWriter, Vec<LogSink>)> {
        let (mut writer, sinks) = Self::start_with(open(path)?, path.display().to_string(), registry)?;
        writer.path = Some(path.to_owned());
        Ok((writer, sinks))
    }

    /// As [`LogWriter::start`], with a destination that is open already and a name for it in messages.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start_with(
        destination: impl Write + Send + 'static,
        name: String,
        registry: &Registry,
    ) -> io::Result<(LogWriter, Vec<LogSink>)> {
        let (full, filled) = sync_channel(registry.cores() * BUFFERS + 1); // one more to wake the thread
        let (mut sinks, mut back) = (Vec::new(), Vec::new());
        for core in 0..registry.cores() {
            let (sink, give) = LogSink::new(core, full.clone(), registry);
            back.push(give);
            sinks.push(sink);
        }
        let stats = registry.log_writer();
        let (end, ended) = sync_channel(1);
        let next = Arc::<Mutex<ReopenedFile>>::default();
        let reopened = Arc::clone(&next);
        let back = Arc::new(Mutex::new(back));
        let to_workers = Arc::clone(&back);
        let thread = std::thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            let to: Box<dyn Write> = Box::new(destination);
            LogFile { to, name, next: reopened, failing: false, torn: false }.run(&filled, &to_workers, &stats);
            drop(end); // wakes the receiver without a message
        })?;
        Ok((LogWriter { thread, ended, wake: full, next, back, path: None }, sinks))
    }

    /// Opens the log's path anew and goes on there, after the file was renamed (logrotate). Buffered lines go to the new
    /// file, and the old one is closed. Standard output and error stay as they are.
    ///
    /// # Errors
    /// If the file cannot be opened; then the log goes on in the old one.
    pub fn reopen(&self) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let file = open(path)?;
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        next.file = Some(file);
        if !std::mem::replace(&mut next.told, true) {
            let _ = self.wake.try_send(Mail::Reopened); // the channel has room, and an ended thread needs no message
        }
        Ok(())
    }

    /// A new sink for a core whose worker has died with the old one, and with the lines in it.
    ///
    /// # Panics
    /// If `registry` has no such core.
    #[must_use]
    pub fn new_sink(&self, core: usize, registry: &Registry) -> LogSink {
        let (sink, give) = LogSink::new(core, self.wake.clone(), registry);
        if let Some(back) = self.back.lock().unwrap_or_else(PoisonError::into_inner).get_mut(core) {
            *back = give;
        }
        sink
    }

    /// Waits until every line is written: to be called when all sinks are dropped. A destination that blocks (a pipe
    /// without a reader) must not keep the process from ending, so it waits no longer than `patience`.
    ///
    /// Returns whether the writer ended.
    #[must_use]
    pub fn finish(self, patience: Duration) -> bool {
        drop(self.wake);
        match self.ended.recv_timeout(patience) {
            Err(RecvTimeoutError::Timeout) => false,
            Ok(()) | Err(RecvTimeoutError::Disconnected) => self.thread.join().is_ok(),
        }
    }
}

fn new_buffer() -> Vec<u8> {
    Vec::with_capacity(FULL_BYTES + LINE_ROOM_BYTES)
}

fn open(path: &Path) -> io::Result<File> {
    // By descriptor, not by path: a socket cannot be opened, and a redirected file would be overwritten from its start.
    match path.to_str() {
        Some("/dev/stdout") => Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?)),
        Some("/dev/stderr") => Ok(File::from(io::stderr().as_fd().try_clone_to_owned()?)),
        _ => OpenOptions::new().append(true).create(true).open(path),
    }
}

struct LogFile {
    to: Box<dyn Write>,
    name: String,
    next: Arc<Mutex<ReopenedFile>>,
    /// The last write failed, and was reported.
    failing: bool,
    /// The last write ended inside a line.
    torn: bool,
}

impl LogFile {
    fn run(mut self, mail: &Receiver<Mail>, back: &Mutex<Vec<SyncSender<Vec<u8>>>>, stats: &LogStats) {
        for mail in mail {
            self.take_next(matches!(mail, Mail::Reopened));
            let Mail::Filled(Filled { core, lines, mut bytes }) = mail else { continue };
            match self.write(&bytes) {
                Ok(()) => {
                    stats.written_lines.add(lines);
                    if std::mem::replace(&mut self.failing, false) {
                        tracing::info!(log = self.name, dropped = stats.dropped_lines.get(), "access log writes again");
                    }
                }
                Err(error) => {
                    stats.write_errors.inc();
                    stats.dropped_lines.add(lines);
                    if !std::mem::replace(&mut self.failing, true) {
                        tracing::error!(log = self.name, %error, "access log cannot be written; lines are dropped");
                    }
                }
            }
            bytes.clear();
            bytes.shrink_to(FULL_BYTES + LINE_ROOM_BYTES); // a monstrous line must not hold its memory for ever
            if let Some(back) = back.lock().unwrap_or_else(PoisonError::into_inner).get(core) {
                // Fails only if the worker is gone; then the buffer is not needed.
                let _ = back.try_send(bytes);
            }
        }
        let _ = self.to.flush();
    }

    /// Goes over to a reopened file, if there is one.
    fn take_next(&mut self, told: bool) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        next.told &= !told;
        let file = next.file.take();
        drop(next);
        if let Some(file) = file {
            let _ = self.to.flush();
            self.to = Box::new(file);
            self.torn = false;
            tracing::info!(log = self.name, "access log reopened");
        }
    }

    /// Writes all of `bytes`, on a new line if the last ones broke off within one.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.torn {
            self.write_all(b"\n")?;
            self.torn = false;
        }
        self.write_all(bytes)
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.to.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.torn = bytes.get(written.wrapping_sub(1)) != Some(&b'\n');
                    bytes = bytes.get(written..).unwrap_or_default();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(WOULD_BLOCK_PAUSE),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
