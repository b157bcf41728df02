//! Bytes to heads: httparse does the scanning, this module adds ringway's limits and strictness.
//!
//! A head that comes out [`Parsed::Complete`] has a method that Envoy knows, at most one `Host` line with a legal
//! value, names and values without control characters, and a `Connection` line that strips only headers that it may.
//! The body is [`super::framing`]'s, the target [`crate::http::target`]'s.

use std::mem::MaybeUninit;

use crate::base::limits;
use crate::http::error::ProtocolError;
use crate::http::field_value::list;
use crate::http::head::{Facts, HeaderLine, Index, Known, Method, RequestHead, ResponseHead, Span, Version};
use crate::http::target;

/// Most header lines that any configuration can allow: the table of lines lives on the stack.
pub const MOST_HEADERS: usize = 1024;

/// The table of lines that the usual limits need; [`MOST_HEADERS`] only where a listener asks for more.
const USUAL_HEADERS: usize = 128;

/// Bytes of empty lines that are skipped before a request (RFC 9112 §2.2 asks for at least one line).
const MOST_LEADING_NEWLINES: usize = 8;

/// Limits of one listener or one upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of a whole head, request line included. Above: 431.
    pub max_bytes: usize,
    /// Header lines, `Host` counted; at most [`MOST_HEADERS`]. Above: 431.
    pub max_headers: usize,
}

impl Default for HeadLimits {
    /// Envoy's: 60 KiB and 100 lines.
    fn default() -> Self {
        Self { max_bytes: limits::MAX_HEADER_BYTES, max_headers: limits::MAX_HEADERS }
    }
}

/// The result of parsing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// The head is whole; `head.len` bytes of the buffer are its own.
    Complete,
    /// Valid so far; call again with more bytes after these.
    NeedMore,
}

/// Reads a request head at the start of `buf`.
///
/// After [`Parsed::NeedMore`] call again with the same `head` and the same bytes with more behind them: the head
/// remembers how far it looked, so a client that sends one byte at a time does not make us read the rest each time.
/// `head.clear()` starts afresh. After an error `head` holds the readable part (for the log), perhaps none.
///
/// # Errors
/// The message breaks the grammar of RFC 9112, a limit, or one of our refusals; see [`ProtocolError`].
pub fn request(buf: &[u8], limits: &HeadLimits, head: &mut RequestHead) -> Result<Parsed, ProtocolError> {
    if !worth_reading(buf, head.facts.seen, limits) {
        return Ok(Parsed::NeedMore);
    }
    head.clear();
    if leading_newlines(buf) > MOST_LEADING_NEWLINES {
        return Err(ProtocolError::RequestLine);
    }
    let parsed = if limits.max_headers <= USUAL_HEADERS {
        read_request::<USUAL_HEADERS>(buf, limits, head)
    } else {
        read_request::<MOST_HEADERS>(buf, limits, head)
    }?;
    if parsed == Parsed::NeedMore {
        head.facts.seen = buf.len();
        return Ok(Parsed::NeedMore);
    }
    check_host(head, buf)?;
    check_connection(head, buf)?;
    Ok(Parsed::Complete)
}

/// Reads a response head at the start of `buf`, interim (1xx) ones like any other. Calls repeat as with [`request`].
///
/// # Errors
/// The message breaks the grammar of RFC 9112 or a limit; see [`ProtocolError`].
pub fn response(buf: &[u8], limits: &HeadLimits, head: &mut ResponseHead) -> Result<Parsed, ProtocolError> {
    if !worth_reading(buf, head.facts.seen, limits) {
        return Ok(Parsed::NeedMore);
    }
    head.clear();
    if matches!(buf.first(), Some(b'\r' | b'\n')) {
        return Err(ProtocolError::StatusLine);
    }
    let parsed = if limits.max_headers <= USUAL_HEADERS {
        read_response::<USUAL_HEADERS>(buf, limits, head)
    } else {
        read_response::<MOST_HEADERS>(buf, limits, head)
    }?;
    if parsed == Parsed::NeedMore {
        head.facts.seen = buf.len();
    }
    Ok(parsed)
}

/// Whether bytes that came after `seen` can change the result: a line ended, the head grew by an eighth, or a limit
/// is reached. Reading at those points only makes the whole cost linear in lines and logarithmic in bytes, however
/// small the pieces that a peer sends.
fn worth_reading(buf: &[u8], seen: usize, limits: &HeadLimits) -> bool {
    const SMALL: usize = 256;
    let Some(fresh) = buf.get(seen..) else { return true };
    seen < SMALL || buf.len() >= limits.max_bytes || fresh.len() >= seen / 8 || memchr::memchr(b'\n', fresh).is_some()
}

/// Bytes of empty lines before the request line; no need to count far beyond the limit.
fn leading_newlines(buf: &[u8]) -> usize {
    let mut count = 0;
    while count <= MOST_LEADING_NEWLINES {
        match &buf[count..] {
            [b'\n', ..] => count += 1,
            [b'\r', b'\n', ..] => count += 2,
            _ => break,
        }
    }
    count
}

fn read_request<const SLOTS: usize>(
    buf: &[u8],
    limits: &HeadLimits,
    head: &mut RequestHead,
) -> Result<Parsed, ProtocolError> {
    let window = &buf[..buf.len().min(limits.max_bytes)];
    let mut slots = [const { MaybeUninit::uninit() }; SLOTS];
    let mut raw = httparse::Request::new(&mut []);
    let result = raw.parse_with_uninit_headers(window, &mut slots[..limits.max_headers.min(SLOTS)]);
    // The request line is known before the headers are: keep it for the log even if they turn out bad.
    if let Some(method) = raw.method {
        head.method_span = span(buf, method.as_bytes());
        let known = Method::of(method.as_bytes());
        head.method = known.unwrap_or(Method::Other);
        // Not before the version: `PRI * HTTP/2.0` is a version that we do not speak.
        if known.is_none() && raw.version.is_some() {
            return Err(ProtocolError::Method);
        }
    }
    if let Some(target) = raw.path {
        head.target = span(buf, target.as_bytes());
    }
    match result {
        Ok(httparse::Status::Complete(len)) => {
            head.len = len;
            head.version = version(raw.version);
            head.facts = collect(buf, raw.headers, &mut head.headers);
            Ok(Parsed::Complete)
        }
        Ok(httparse::Status::Partial) if buf.len() >= limits.max_bytes => Err(ProtocolError::TooLarge),
        Ok(httparse::Status::Partial) => Ok(Parsed::NeedMore),
        Err(httparse::Error::Version) => other_version(&buf[head.target.end as usize..]),
        Err(httparse::Error::NewLine) => Err(ProtocolError::LineEnd),
        Err(error) => Err(header_error(error).unwrap_or(ProtocolError::RequestLine)),
    }
}

fn read_response<const SLOTS: usize>(
    buf: &[u8],
    limits: &HeadLimits,
    head: &mut ResponseHead,
) -> Result<Parsed, ProtocolError> {
    let window = &buf[..buf.len().min(limits.max_bytes)];
    let mut slots = [const { MaybeUninit::uninit() }; SLOTS];
    let mut raw = httparse::Response::new(&mut []);
    let result = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut raw,
        window,
        &mut slots[..limits.max_headers.min(SLOTS)],
    );
    if let Some(status) = raw.code {
        head.status = status;
        if status < 100 {
            return Err(ProtocolError::StatusLine);
        }
    }
    match result {
        Ok(httparse::Status::Complete(len)) => {
            head.len = len;
            head.version = version(raw.version);
            head.facts = collect(buf, raw.headers, &mut head.headers);
            Ok(Parsed::Complete)
        }
        Ok(httparse::Status::Partial) if buf.len() >= limits.max_bytes => Err(ProtocolError::TooLarge),
        Ok(httparse::Status::Partial) => Ok(Parsed::NeedMore),
        Err(httparse::Error::NewLine) => Err(ProtocolError::LineEnd),
        Err(error) => Err(header_error(error).unwrap_or(ProtocolError::StatusLine)),
    }
}

fn header_error(error: httparse::Error) -> Option<ProtocolError> {
    match error {
        httparse::Error::HeaderName => Some(ProtocolError::HeaderName),
        httparse::Error::HeaderValue => Some(ProtocolError::HeaderValue),
        httparse::Error::TooManyHeaders => Some(ProtocolError::TooManyHeaders),
        _ => None,
    }
}

fn version(minor: Option<u8>) -> Version {
    if minor == Some(0) { Version::Http10 } else { Version::Http11 }
}

/// Distinguishes a version that is not supported (426) from bytes that are not a version (400). `rest` begins at the
/// space before it.
fn other_version(rest: &[u8]) -> Result<Parsed, ProtocolError> {
    const SHAPE: &[u8] = b" HTTP/d.d";
    let fits = |(byte, shape): (&u8, &u8)| if *shape == b'd' { byte.is_ascii_digit() } else { byte == shape };
    if !rest.iter().zip(SHAPE).all(fits) {
        return Err(ProtocolError::RequestLine);
    }
    match rest.get(SHAPE.len()) {
        None => Ok(Parsed::NeedMore),
        Some(b'\r' | b'\n') => Err(ProtocolError::Version),
        Some(_) => Err(ProtocolError::RequestLine),
    }
}

/// Turns httparse's slices into positions, and notes facts for `encode` and the lookups.
fn collect(buf: &[u8], raw: &[httparse::Header<'_>], lines: &mut Vec<HeaderLine>) -> Facts {
    let mut index = Index::default();
    let mut canonical = true;
    lines.extend(raw.iter().enumerate().map(|(at, header)| {
        let name = span(buf, header.name.as_bytes());
        let value = span(buf, header.value);
        let id = Known::of(header.name.as_bytes());
        index.note(id, at);
        canonical &= is_canonical(buf, name, value);
        HeaderLine { id, name, value }
    }));
    Facts { index, canonical, seen: 0 }
}

/// Whether the line is `name: value\r\n` to the byte.
#[inline]
fn is_canonical(buf: &[u8], name: Span, value: Span) -> bool {
    value.start == name.end + 2
        && buf.get(name.end as usize + 1) == Some(&b' ')
        && buf.get(value.end as usize) == Some(&b'\r')
}

/// Where in `buf` a part of it lies.
#[inline]
fn span(buf: &[u8], part: &[u8]) -> Span {
    // `part` is a slice of `buf`, and heads are far below 4 GiB, so neither step can wrap.
    let start = part.as_ptr().addr().wrapping_sub(buf.as_ptr().addr());
    Span { start: start as u32, end: (start + part.len()) as u32 }
}

fn check_host(head: &RequestHead, buf: &[u8]) -> Result<(), ProtocolError> {
    let mut hosts = head.all(Known::Host);
    let Some(host) = hosts.next() else { return Ok(()) };
    if hosts.next().is_some() {
        return Err(ProtocolError::HostDuplicate);
    }
    // An empty value is legal (RFC 9112 §3.2) and routes to `*`.
    if host.value.is_empty() || target::is_authority(host.value.of(buf)) {
        Ok(())
    } else {
        Err(ProtocolError::Authority)
    }
}

/// A client may name its own headers in `Connection` to keep them from the upstream, but not those with its identity
/// and its request: stripping those is a known attack on the proxies in front of us, and Envoy's 400.
fn check_connection(head: &RequestHead, buf: &[u8]) -> Result<(), ProtocolError> {
    for name in head.all(Known::Connection).flat_map(|line| list(line.value.of(buf))) {
        let forbidden = name.starts_with(b":")
            || matches!(
                Known::of(name),
                Known::Host | Known::XForwardedFor | Known::XForwardedHost | Known::XForwardedProto
            );
        if forbidden {
            return Err(ProtocolError::Connection);
        }
    }
    Ok(())
}
