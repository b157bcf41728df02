//! Heads to bytes: a sink that copies unchanged lines and writes the proxy's own.
//!
//! Lines that pass unchanged are copied in the largest pieces that lie together in the received buffer, so a usual head costs
//! a handful of copies. Everything is appended to a `Vec` that the caller keeps. The output can always be parsed: values that
//! come from outside the parsed head are written without control characters.
//!
//! [`crate::http::outgoing`] and [`crate::http::local_reply`] decide the content of a head.

use crate::http::forward::View;
use crate::http::head::{HeaderLine, ResponseHead, Version};
use crate::http::local_reply::LocalReply;
use crate::http::outgoing::{self, RequestOut, ResponseOut};
use crate::http::sink::{Framing, HeadSink};
use crate::http::{status, target};

/// The `connection` header of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// It stays open.
    KeepAlive,
    /// It is closed after this message. So it must be after a body of unknown length to an HTTP/1.0 client, which cannot read
    /// chunks.
    Close,
    /// It turns into a tunnel.
    Upgrade,
}

/// Appends the head of a request to an upstream: always HTTP/1.1.
pub fn request(out: &mut Vec<u8>, view: &View<'_>, what: &RequestOut<'_>) {
    out.reserve(view.head.len + 512);
    outgoing::request(&mut HeadWriter::new(out, view.buf, view.head.facts.canonical, None), view, what);
}

/// Appends the head of a final response, or of a 101.
pub fn response(
    out: &mut Vec<u8>,
    (head, buf): (&ResponseHead, &[u8]),
    what: &ResponseOut<'_>,
    (client, connection): (Version, Connection),
) {
    out.reserve(head.len + 256);
    let mut writer = HeadWriter::new(out, buf, head.facts.canonical, Some((client, connection)));
    outgoing::response(&mut writer, head, buf, what);
}

/// Appends an interim (1xx) response: the upstream's end-to-end lines only. Not for HTTP/1.0 clients.
pub fn interim(out: &mut Vec<u8>, head: &ResponseHead, buf: &[u8]) {
    let to = Some((Version::Http11, Connection::KeepAlive));
    outgoing::interim(&mut HeadWriter::new(out, buf, head.facts.canonical, to), head, buf);
}

/// Appends a whole local reply, head and body; the answer to a HEAD request is the head alone.
pub fn local_reply(
    out: &mut Vec<u8>,
    reply: &LocalReply<'_>,
    head_request: bool,
    (client, connection): (Version, Connection),
) {
    reply.head(&mut HeadWriter::new(out, b"", false, Some((client, connection))));
    if !head_request && status::has_body(reply.status) {
        out.extend_from_slice(reply.body);
    }
}

/// Appends the head of a request that is a list of fields already: a copy's.
pub fn fields(out: &mut Vec<u8>) -> HeadWriter<'_, '_> {
    HeadWriter::new(out, b"", false, None)
}

/// Writes a head, gathering neighbours that pass unchanged into one copy.
pub struct HeadWriter<'o, 'b> {
    out: &'o mut Vec<u8>,
    buf: &'b [u8],
    /// See `head::Facts::canonical`: if not, each line is written anew.
    canonical: bool,
    /// The piece of `buf` that is to be copied next.
    run: std::ops::Range<usize>,
    /// For a response: the client's version, and whether its connection stays.
    client: Option<(Version, Connection)>,
}

impl<'o, 'b> HeadWriter<'o, 'b> {
    fn new(out: &'o mut Vec<u8>, buf: &'b [u8], canonical: bool, client: Option<(Version, Connection)>) -> Self {
        Self { out, buf, canonical, run: 0..0, client }
    }

    #[inline]
    fn copy_run(&mut self) {
        self.out.extend_from_slice(self.buf.get(self.run.clone()).unwrap_or_default());
        self.run = 0..0;
    }

    fn put_connection(&mut self) {
        let line: &[u8] = match self.client {
            Some((_, Connection::Upgrade)) => b"connection: upgrade\r\n",
            Some((_, Connection::Close)) => b"connection: close\r\n",
            Some((Version::Http10, Connection::KeepAlive)) => b"connection: keep-alive\r\n",
            Some((Version::Http11, Connection::KeepAlive)) | None => b"",
        };
        self.out.extend_from_slice(line);
    }
}

impl HeadSink for HeadWriter<'_, '_> {
    #[inline]
    fn request(&mut self, method: &[u8], path: &[u8]) {
        self.out.extend_from_slice(method);
        self.out.push(b' ');
        target::put(self.out, path);
        self.out.extend_from_slice(b" HTTP/1.1\r\n");
    }

    #[inline]
    fn status(&mut self, status: u16) {
        self.out.extend_from_slice(match self.client {
            Some((Version::Http10, _)) => b"HTTP/1.0 ",
            _ => b"HTTP/1.1 ",
        });
        self.out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
        self.out.push(b' ');
        self.out.extend_from_slice(status::reason(status).as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    #[inline]
    fn keep(&mut self, line: &HeaderLine) {
        if self.canonical {
            let (start, end) = (line.name.start as usize, line.value.end as usize + 2);
            if self.run.end != start {
                self.copy_run();
                self.run.start = start;
            }
            self.run.end = end;
        } else {
            // The parts come from a parsed head, which has no illegal bytes.
            for part in [line.name.of(self.buf), b": ", line.value.of(self.buf), b"\r\n"] {
                self.out.extend_from_slice(part);
            }
        }
    }

    #[inline]
    fn put_with(&mut self, name: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        self.copy_run();
        self.out.extend_from_slice(name);
        self.out.extend_from_slice(b": ");
        write(self.out);
        self.out.extend_from_slice(b"\r\n");
    }

    #[inline]
    fn end(&mut self, framing: Framing) {
        self.copy_run();
        self.put_connection();
        match framing {
            Framing::Said => {}
            Framing::Length(length) => self.put_number(b"content-length", length),
            // To an HTTP/1.0 client the end of the connection says it. A request cannot end with its connection
            // (RFC 9112 §6.3): chunks are the way to send an unknown length.
            Framing::Unknown if matches!(self.client, Some((Version::Http10, _))) => {}
            Framing::Unknown => self.out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        }
        self.out.extend_from_slice(b"\r\n");
    }
}
