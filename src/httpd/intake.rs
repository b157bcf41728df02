//! From bytes to requests: a connection's received bytes, and the next complete request in them.
//!
//! Pure: no socket and no clock. The room feeds it bytes and takes requests out, one after the other.

use std::net::SocketAddr;

use super::Request;
use crate::h1::chunked::Decoder;
use crate::h1::framing::{self, Body};
use crate::h1::parse::{self, HeadLimits, Parsed};
use crate::http::error::ProtocolError;
use crate::http::head::{Method, RequestHead, Version};
use crate::http::target;

/// Received bytes that no request has used yet.
pub(super) struct Intake {
    peer: SocketAddr,
    buf: Vec<u8>,
    head: RequestHead,
    /// Bytes at the start of `buf` that were searched and do not contain a complete head.
    seen: usize,
    /// The request whose head is complete and whose body is not.
    begun: Option<Begun>,
}

struct Begun {
    request: Request,
    reply: Reply,
    rest: Rest,
    /// The client waits for `100 Continue` before it sends the body.
    asks_first: bool,
}

/// How the end of a body is found.
enum Rest {
    Length(usize),
    Chunked(Decoder),
}

/// How a request wants to be answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reply {
    pub(super) method: Method,
    pub(super) version: Version,
    /// Whether the client goes on with the connection.
    pub(super) keep: bool,
}

/// The next step.
pub(super) enum Step {
    /// Read more.
    NeedMore,
    /// Tell the client to send its body, then ask again.
    Continue,
    /// Answer this request.
    Complete(Box<Request>, Reply),
}

/// A message that is answered with this, and ends its connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RefusedMessage {
    pub(super) status: u16,
    pub(super) body: &'static str,
}

impl From<ProtocolError> for RefusedMessage {
    fn from(bad: ProtocolError) -> Self {
        Self { status: bad.status(), body: bad.body() }
    }
}

impl Intake {
    pub(super) fn new(peer: SocketAddr) -> Self {
        Self { peer, buf: Vec::new(), head: RequestHead::default(), seen: 0, begun: None }
    }

    /// Adds received bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    /// Whether there are no bytes of a next request.
    pub(super) fn is_empty(&self) -> bool {
        self.buf.is_empty() && self.begun.is_none()
    }

    /// Whether the head of a request is complete and its body is awaited.
    pub(super) fn awaits_body(&self) -> bool {
        self.begun.is_some()
    }

    /// Looks for the next request; `body_bytes` is the largest body that is taken.
    pub(super) fn step(&mut self, body_bytes: usize) -> Result<Step, RefusedMessage> {
        if self.begun.is_none() && !self.begin()? {
            return Ok(Step::NeedMore);
        }
        let Some(begun) = &mut self.begun else { return Ok(Step::NeedMore) };
        let too_large = RefusedMessage { status: 413, body: "Payload Too Large" };
        let done = match &mut begun.rest {
            Rest::Length(length) if *length > body_bytes => return Err(too_large),
            Rest::Length(length) if self.buf.len() >= *length => {
                let rest = self.buf.split_off(*length);
                begun.request.body = std::mem::replace(&mut self.buf, rest);
                true
            }
            Rest::Length(_) => false,
            Rest::Chunked(decoder) => {
                let decoded = decoder.decode(&mut self.buf)?;
                begun.request.body.extend(self.buf.iter().take(decoded.payload));
                self.buf.drain(..decoded.consumed);
                if begun.request.body.len() > body_bytes {
                    return Err(too_large);
                }
                decoded.done
            }
        };
        if !done {
            return Ok(if std::mem::take(&mut begun.asks_first) { Step::Continue } else { Step::NeedMore });
        }
        Ok(match self.begun.take() {
            Some(Begun { request, reply, .. }) => Step::Complete(Box::new(request), reply),
            None => Step::NeedMore,
        })
    }

    /// Whether the bytes that were not searched yet contain an empty line.
    fn may_end(&self) -> bool {
        let new = self.buf.get(self.seen.saturating_sub(3)..).unwrap_or_default();
        memchr::memchr_iter(b'\n', new).any(|at| {
            let after = new.get(at + 1..).unwrap_or_default();
            after.starts_with(b"\n") || after.starts_with(b"\r\n")
        })
    }

    /// Reads the head of the next request; false if it is not complete.
    fn begin(&mut self) -> Result<bool, RefusedMessage> {
        // A head that drips in is not read anew for each drop.
        let limits = HeadLimits::default();
        if self.seen > 0 && self.buf.len() <= limits.max_bytes && !self.may_end() {
            self.seen = self.buf.len();
            return Ok(false);
        }
        self.head.clear();
        self.seen = self.buf.len();
        if parse::request(&self.buf, &limits, &mut self.head)? == Parsed::NeedMore {
            return Ok(false);
        }
        self.seen = 0;
        let (head, buf) = (&self.head, &self.buf);
        let rest = match framing::request_body(head, buf)? {
            Body::None => Rest::Length(0),
            Body::Length(length) => Rest::Length(usize::try_from(length).unwrap_or(usize::MAX)),
            Body::Chunked => Rest::Chunked(Decoder::default()),
            // No request ends with its connection: the codec never says so of one.
            Body::UntilClose => return Err(RefusedMessage { status: 400, body: "Bad Request" }),
        };
        let parts = target::split(head, buf)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let request = Request {
            method: head.method,
            method_text: text(head.method_span.of(buf)),
            path: text(parts.path.of(buf)),
            query: text(parts.query.of(buf)),
            host: text(parts.host.of(buf)),
            headers: head.headers.iter().map(|line| (text(line.name.of(buf)), text(line.value.of(buf)))).collect(),
            body: Vec::new(),
            peer: self.peer,
        };
        let keep = framing::request_keep_alive(head, buf);
        let reply = Reply { method: head.method, version: head.version, keep };
        let asks_first = framing::expects_continue(head, buf);
        self.buf.drain(..self.head.len);
        self.begun = Some(Begun { request, reply, rest, asks_first });
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The requests in `bytes` if they arrive in pieces of this size.
    fn fed(bytes: &str, size: usize) -> Vec<String> {
        let mut intake = Intake::new(([127, 0, 0, 1], 1).into());
        let mut out = Vec::new();
        for piece in bytes.as_bytes().chunks(size) {
            intake.push(piece);
            loop {
                match intake.step(20) {
                    Ok(Step::NeedMore) => break,
                    Ok(Step::Continue) => out.push("continue".to_owned()),
                    Ok(Step::Complete(request, _)) => {
                        let body = String::from_utf8(request.body).unwrap();
                        out.push(format!("{} {} {body}", request.method_text, request.path));
                    }
                    Err(refusal) => {
                        out.push(refusal.status.to_string());
                        return out;
                    }
                }
            }
        }
        out
    }

    #[test]
    fn requests_come_out_however_they_are_cut() {
        let head = "HTTP/1.1\r\nHost: h\r\n";
        for (bytes, expected) in [
            (format!("GET /a {head}\r\nGET /b {head}\r\n"), vec!["GET /a ", "GET /b "]),
            (format!("POST /a {head}Content-Length: 2\r\n\r\nhiGET /b {head}\r\n"), vec!["POST /a hi", "GET /b "]),
            (
                format!(
                    "POST /a {head}Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n1\r\ny\r\n0\r\n\r\nGET /b {head}\r\n"
                ),
                vec!["POST /a hey", "GET /b "],
            ),
            (format!("GET /a {head}"), vec![]),
            (format!("POST /a {head}Content-Length: 3\r\n\r\nhi"), vec![]),
            (format!("POST /a {head}Content-Length: 21\r\n\r\n"), vec!["413"]),
            (format!("POST /a {head}Transfer-Encoding: chunked\r\n\r\n15\r\n{}", "x".repeat(21)), vec!["413"]),
            (format!("GET /a {head}Host: two\r\n\r\n"), vec!["400"]),
        ] {
            for size in [1, 2, 7, 1000] {
                assert_eq!(fed(&bytes, size), expected, "{bytes:?} by {size}");
            }
        }
    }

    #[test]
    fn leave_is_given_once_and_only_if_the_body_is_not_there() {
        let head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
        assert_eq!(fed(&format!("{head}hi"), 1), ["continue", "POST / hi"]);
        assert_eq!(fed(&format!("{head}hi"), 1000), ["POST / hi"]);
    }
}
