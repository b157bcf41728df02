//! Writing a response: its bytes, and the socket that a thread of its own writes them to.

// This is an edge: deadlines of blocking sockets and the `date` header need the clock.
#![allow(clippy::disallowed_methods)]

use std::io::{self, ErrorKind, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use super::intake::Reply;
use super::{Content, Response, Settings};
use crate::h1::chunked::{LAST_CHUNK, chunk_size_line};
use crate::http::head::{Method, Version};
use crate::http::status;

/// The socket of a response, with the times that its client has.
pub(super) struct Sink<'a> {
    pub(super) stream: &'a TcpStream,
    pub(super) settings: &'a Settings,
    /// Bytes written, plus one: 0 means that writing has not begun.
    pub(super) written: &'a AtomicU64,
}

/// The bytes before the body, and how they came to be.
struct Opening {
    bytes: Vec<u8>,
    chunked: bool,
    keep: bool,
    bodiless: bool,
}

impl Sink<'_> {
    /// Writes a response. Whether the connection may go on: `reply.keep`, unless the body ends with the connection.
    pub(super) fn send(&self, response: Response, reply: Reply) -> io::Result<bool> {
        self.written.fetch_add(1, Ordering::Relaxed);
        self.stream.set_nonblocking(false)?;
        let end = Instant::now() + self.settings.response;
        let Opening { mut bytes, chunked, keep, bodiless } = opening(&response, reply, self.settings);
        match response.content {
            _ if bodiless => {}
            Content::Whole(body) => bytes.extend_from_slice(&body),
            Content::Pieces(pieces) => {
                for piece in pieces.filter(|piece| !piece.is_empty()) {
                    add_piece(&mut bytes, &piece, chunked);
                    self.write(&bytes, end)?;
                    bytes.clear();
                }
                if chunked {
                    bytes.extend_from_slice(LAST_CHUNK);
                }
            }
        }
        self.write(&bytes, end)?;
        Ok(keep)
    }

    /// Writes all of `bytes` before `end`, and some of them within every patience.
    fn write(&self, mut bytes: &[u8], end: Instant) -> io::Result<()> {
        let mut stream = self.stream;
        while !bytes.is_empty() {
            stream.set_write_timeout(Some(time_until(end)?.min(self.settings.patience)))?;
            match stream.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.written.fetch_add(count as u64, Ordering::Relaxed);
                    bytes = bytes.get(count..).unwrap_or_default();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// All bytes of a response, and whether the connection may go on after them.
pub(super) fn whole(response: Response, reply: Reply, settings: &Settings) -> (Vec<u8>, bool) {
    let Opening { mut bytes, chunked, keep, bodiless } = opening(&response, reply, settings);
    match response.content {
        _ if bodiless => {}
        Content::Whole(body) => bytes.extend_from_slice(&body),
        Content::Pieces(pieces) => {
            pieces.filter(|piece| !piece.is_empty()).for_each(|piece| add_piece(&mut bytes, &piece, chunked));
            if chunked {
                bytes.extend_from_slice(LAST_CHUNK);
            }
        }
    }
    (bytes, keep)
}

fn add_piece(out: &mut Vec<u8>, piece: &[u8], chunked: bool) {
    if chunked {
        out.extend_from_slice(chunk_size_line(piece.len(), &mut [0; 18]));
    }
    out.extend_from_slice(piece);
    if chunked {
        out.extend_from_slice(b"\r\n");
    }
}

fn opening(response: &Response, reply: Reply, settings: &Settings) -> Opening {
    let Reply { method, version, keep } = reply;
    let bodiless = method == Method::Head || matches!(response.status, 100..200 | 204 | 304);
    let (chunked, keep) = match (&response.content, version) {
        (Content::Whole(_), _) => (false, keep),
        (Content::Pieces(_), Version::Http11) => (true, keep),
        (Content::Pieces(_), Version::Http10) => (false, false),
    };
    let mut out = Vec::with_capacity(512);
    put(&mut out, &format!("HTTP/1.1 {} {}", response.status, status::reason(response.status)), None);
    put(&mut out, "server", Some(&settings.server));
    put(&mut out, "date", Some(&httpdate::fmt_http_date(SystemTime::now())));
    for (name, value) in &response.headers {
        put(&mut out, name, Some(value));
    }
    let length = match &response.content {
        Content::Whole(bytes) => Some(bytes.len()),
        Content::Pieces(_) => None,
    };
    if !response.content_type.is_empty() && length != Some(0) {
        put(&mut out, "content-type", Some(response.content_type));
    }
    if chunked {
        put(&mut out, "transfer-encoding", Some("chunked"));
    } else if let Some(length) = length
        && !matches!(response.status, 100..200 | 204)
    {
        put(&mut out, "content-length", Some(itoa::Buffer::new().format(length)));
    }
    match (keep, version) {
        (false, _) => put(&mut out, "connection", Some("close")),
        (true, Version::Http10) => put(&mut out, "connection", Some("keep-alive")),
        (true, Version::Http11) => {}
    }
    out.extend_from_slice(b"\r\n");
    Opening { bytes: out, chunked, keep, bodiless }
}

/// The time left. A socket takes no timeout of zero, so a passed deadline is an error here.
fn time_until(end: Instant) -> io::Result<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Appends a header line, or a line without a colon.
fn put(out: &mut Vec<u8>, name: &str, value: Option<&str>) {
    out.extend_from_slice(name.as_bytes());
    if let Some(value) = value {
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}
