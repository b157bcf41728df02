//! One connection: read a request, hand it on, write the response, again.

// This is an edge: deadlines of blocking sockets and the `date` header need the clock.
#![allow(clippy::disallowed_methods)]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime};

use super::{Admitted, Content, Request, Response, Settings};
use crate::h1::chunked::{Decoder, LAST_CHUNK, chunk_size_line};
use crate::h1::framing::{self, Body};
use crate::h1::head::{Method, RequestHead, Version};
use crate::h1::parse::{self, BadMessage, HeadLimits, Parsed};
use crate::h1::{status, target};

/// Bytes asked of one read.
const READ_BYTES: usize = 16 * 1024;

/// After the last response, what the client still sends is read and thrown away for this long and this much: closing
/// with unread bytes would reset the connection, and the reset may overtake the response.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 256 * 1024;

/// Why a connection ends.
enum End {
    /// Nothing more to say: the client left, or was too slow.
    Quietly,
    /// After this answer.
    Answering(u16, &'static str),
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Quietly
    }
}

impl From<BadMessage> for End {
    fn from(bad: BadMessage) -> Self {
        Self::Answering(bad.status(), bad.body())
    }
}

/// Serves a connection to its end.
pub(super) fn serve(stream: &TcpStream, peer: SocketAddr, admitted: &Admitted) {
    let mut connection = Connection {
        stream,
        peer,
        admitted,
        settings: &admitted.shared.settings,
        head: RequestHead::default(),
        buf: Vec::new(),
    };
    // Small responses go out at once. Should it fail they go out a little later.
    let _ = stream.set_nodelay(true);
    let end = loop {
        match connection.exchange() {
            Ok(true) => {}
            Ok(false) => break Ok(false),
            Err(End::Quietly) => return,
            Err(End::Answering(status, body)) => {
                break connection.respond(Response::text(status, body), Method::Get, Version::Http11, false);
            }
        }
    };
    if end.is_ok() {
        connection.linger();
    }
}

struct Connection<'a> {
    stream: &'a TcpStream,
    peer: SocketAddr,
    admitted: &'a Admitted,
    settings: &'a Settings,
    head: RequestHead,
    /// What was read and not used: the next request begins at its start.
    buf: Vec<u8>,
}

impl Connection<'_> {
    /// One request and its response. Whether another may follow.
    fn exchange(&mut self) -> Result<bool, End> {
        self.read_head()?;
        let (method, version) = (self.head.method, self.head.version);
        let client_keeps = framing::request_keep_alive(&self.head, &self.buf);
        let request = self.read_request()?;
        let response = (self.admitted.shared.handler)(&request);
        let keep = client_keeps && !self.admitted.must_close();
        Ok(self.respond(response, method, version, keep)?)
    }

    fn read_head(&mut self) -> Result<(), End> {
        self.head.clear();
        if self.buf.is_empty() {
            self.fill(Instant::now() + self.settings.idle)?;
        }
        let deadline = Instant::now() + self.settings.patience;
        while parse::request(&self.buf, &HeadLimits::default(), &mut self.head)? == Parsed::NeedMore {
            self.fill(deadline)?;
        }
        Ok(())
    }

    fn read_request(&mut self) -> Result<Request, End> {
        let body = framing::request_body(&self.head, &self.buf)?;
        let parts = target::split(&self.head, &self.buf)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = self.head.headers.iter();
        let mut request = Request {
            method: self.head.method,
            method_text: text(self.head.method_span.of(&self.buf)),
            path: text(parts.path.of(&self.buf)),
            query: text(parts.query.of(&self.buf)),
            host: text(parts.host.of(&self.buf)),
            headers: headers.map(|line| (text(line.name.of(&self.buf)), text(line.value.of(&self.buf)))).collect(),
            body: Vec::new(),
            peer: self.peer,
        };
        if body != Body::None && framing::expects_continue(&self.head, &self.buf) {
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n", Instant::now() + self.settings.patience)?;
        }
        self.buf.drain(..self.head.len);
        request.body = self.read_body(body)?;
        Ok(request)
    }

    fn read_body(&mut self, body: Body) -> Result<Vec<u8>, End> {
        let deadline = Instant::now() + self.settings.patience;
        let too_large = End::Answering(413, "Payload Too Large");
        match body {
            Body::None => Ok(Vec::new()),
            Body::Length(length) => {
                let Some(length) = usize::try_from(length).ok().filter(|length| *length <= self.settings.body_bytes)
                else {
                    return Err(too_large);
                };
                while self.buf.len() < length {
                    self.fill(deadline)?;
                }
                let rest = self.buf.split_off(length);
                Ok(std::mem::replace(&mut self.buf, rest))
            }
            Body::Chunked => {
                let (mut decoder, mut payload) = (Decoder::default(), Vec::new());
                loop {
                    let decoded = decoder.decode(&mut self.buf)?;
                    payload.extend(self.buf.iter().take(decoded.payload));
                    self.buf.drain(..decoded.consumed);
                    if decoded.done {
                        return Ok(payload);
                    }
                    if payload.len() > self.settings.body_bytes {
                        return Err(too_large);
                    }
                    self.fill(deadline)?;
                }
            }
            // No request ends with its connection: the codec never says so of one.
            Body::UntilClose => Err(End::Answering(400, "Bad Request")),
        }
    }

    /// Reads more behind what there is. Fails at `deadline`, and at the end of the stream.
    fn fill(&mut self, deadline: Instant) -> io::Result<()> {
        let start = self.buf.len();
        self.buf.resize(start + READ_BYTES, 0);
        let read = self.read_at(start, deadline);
        self.buf.truncate(start + read.as_ref().copied().unwrap_or(0));
        if read? == 0 { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    fn read_at(&mut self, start: usize, deadline: Instant) -> io::Result<usize> {
        let room = self.buf.get_mut(start..).unwrap_or_default();
        let mut stream = self.stream;
        loop {
            stream.set_read_timeout(Some(time_until(deadline)?))?;
            match stream.read(room) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }

    /// Writes a response. Whether the connection may go on: `keep`, unless the body ends with the connection.
    fn respond(&self, response: Response, method: Method, version: Version, keep: bool) -> io::Result<bool> {
        let deadline = Instant::now() + self.settings.patience;
        let bodiless = method == Method::Head || matches!(response.status, 100..200 | 204 | 304);
        let (chunked, keep) = match (&response.content, version) {
            (Content::Whole(_), _) => (false, keep),
            (Content::Pieces(_), Version::Http11) => (true, keep),
            (Content::Pieces(_), Version::Http10) => (false, false),
        };
        let mut out = self.response_head(&response, version, chunked, keep);
        match response.content {
            _ if bodiless => {}
            Content::Whole(bytes) => out.extend_from_slice(&bytes),
            Content::Pieces(pieces) => {
                for piece in pieces.filter(|piece| !piece.is_empty()) {
                    if chunked {
                        out.extend_from_slice(chunk_size_line(piece.len(), &mut [0; 18]));
                    }
                    out.extend_from_slice(&piece);
                    if chunked {
                        out.extend_from_slice(b"\r\n");
                    }
                    self.send(&out, deadline)?;
                    out.clear();
                }
                if chunked {
                    out.extend_from_slice(LAST_CHUNK);
                }
            }
        }
        self.send(&out, deadline)?;
        Ok(keep)
    }

    fn response_head(&self, response: &Response, version: Version, chunked: bool, keep: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        put(&mut out, &format!("HTTP/1.1 {} {}", response.status, status::reason(response.status)), None);
        put(&mut out, "server", Some(&self.settings.server));
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
        out
    }

    /// Writes all of `bytes` before `deadline`.
    fn send(&self, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
        let mut stream = self.stream;
        while !bytes.is_empty() {
            stream.set_write_timeout(Some(time_until(deadline)?))?;
            match stream.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Ends the connection so that the last response arrives.
    fn linger(&mut self) {
        let deadline = Instant::now() + LINGER;
        let _ = self.stream.shutdown(Shutdown::Write); // the client may be gone already
        let mut seen = 0;
        while seen < LINGER_BYTES && self.fill(deadline).is_ok() {
            seen += self.buf.len();
            self.buf.clear();
        }
    }
}

/// The time left. A socket takes no timeout of zero, so none left is an error here.
fn time_until(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
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
