//! Waking a worker from another thread: one byte on a socket pair.
//!
//! No waker crosses threads (without monoio's `sync` feature that would panic); a worker reads its bell like any
//! other connection, then empties its mailbox.

use std::io::Write;
use std::os::unix::net::UnixStream as StdUnixStream;

use monoio::io::AsyncReadRent;
use monoio::net::UnixStream;

/// The worker's end, not yet registered with a runtime; it may be sent to the worker's thread.
#[derive(Debug)]
pub struct Bell(StdUnixStream);

/// The end that rings; any thread may hold it.
#[derive(Debug)]
pub struct Ringer(StdUnixStream);

/// A connected pair.
///
/// # Errors
/// When the process has no descriptors left.
pub fn doorbell() -> std::io::Result<(Bell, Ringer)> {
    let (bell, ringer) = StdUnixStream::pair()?;
    bell.set_nonblocking(true)?;
    ringer.set_nonblocking(true)?;
    Ok((Bell(bell), Ringer(ringer)))
}

impl Ringer {
    /// Rings. A full pipe means that the worker has rings enough to answer, a closed one that it is gone.
    pub fn ring(&self) {
        let _ = (&self.0).write(&[1]);
    }
}

impl Bell {
    /// Registers with this thread's runtime.
    ///
    /// # Errors
    /// When the driver cannot take another descriptor.
    pub fn listen(self) -> std::io::Result<Rings> {
        Ok(Rings { stream: UnixStream::from_std(self.0)?, buf: Some(Box::new([0; 64])) })
    }
}

/// The rings as they come.
#[derive(Debug)]
pub struct Rings {
    stream: UnixStream,
    buf: Option<Box<[u8; 64]>>,
}

impl Rings {
    /// Completes at the next ring; false once every [`Ringer`] is gone. Not to be dropped half-way (law 2).
    pub async fn next(&mut self) -> bool {
        let buf = self.buf.take().unwrap_or_else(|| Box::new([0; 64]));
        let (read, buf) = self.stream.read(buf).await;
        self.buf = Some(buf);
        matches!(read, Ok(n) if n > 0)
    }
}
