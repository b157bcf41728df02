//! The rest after a head: the kind of body, keep-alive, upgrades.
//!
//! Every refusal against request smuggling lives here (RFC 9112 §6.3 and §11.2): where two readers could disagree
//! about the end of a message, there is no message.

use crate::http::error::ProtocolError;
use crate::http::field_value::list;
use crate::http::head::{HeaderLine, Known, Method, RequestHead, ResponseHead, Version};
use crate::http::outgoing::BodyLen;

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Body {
    /// There is no body, nor a header for one of zero bytes.
    #[default]
    None,
    /// `Content-Length` bytes.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// A response that ends with its connection.
    UntilClose,
}

impl From<Body> for BodyLen {
    fn from(body: Body) -> Self {
        match body {
            Body::None => Self::None,
            Body::Length(length) => Self::Known(length),
            Body::Chunked | Body::UntilClose => Self::Unknown,
        }
    }
}

/// The body of a request. A request without `Content-Length` and `Transfer-Encoding` has none (RFC 9112 §6.3).
///
/// # Errors The end of the body is ambiguous.
#[inline]
pub fn request_body(head: &RequestHead, buf: &[u8]) -> Result<Body, ProtocolError> {
    if !head.has(Known::ContentLength) && !head.has(Known::TransferEncoding) {
        return Ok(Body::None);
    }
    announced(head.all(Known::ContentLength), head.all(Known::TransferEncoding), buf).and_then(|body| match body {
        Body::Chunked if head.version == Version::Http10 => Err(ProtocolError::CodingHttp10),
        Body::Length(_) if !is_plain(head, buf) => Err(ProtocolError::Length),
        body => Ok(body),
    })
}

/// Whether `Content-Length` is written the one way that every reader takes for the same number: `010` is 8 to some.
fn is_plain(head: &RequestHead, buf: &[u8]) -> bool {
    head.find(Known::ContentLength).is_some_and(|line| {
        let digits = line.value.of(buf);
        digits.len() == 1 || digits.first() != Some(&b'0')
    })
}

/// The body of a response to a request of method `request`.
///
/// # Errors
/// Any doubt about where the body ends, or a 204 that announces a body, as in Envoy.
pub fn response_body(head: &ResponseHead, buf: &[u8], request: Method) -> Result<Body, ProtocolError> {
    let body = if head.has(Known::ContentLength) || head.has(Known::TransferEncoding) {
        announced(head.all(Known::ContentLength), head.all(Known::TransferEncoding), buf)?
    } else {
        Body::UntilClose
    };
    match head.status {
        204 if matches!(body, Body::Chunked | Body::Length(1..)) => Err(ProtocolError::ForbiddenBody),
        100..=199 | 204 | 304 => Ok(Body::None),
        200..=299 if request == Method::Connect => Ok(Body::None),
        _ if request == Method::Head => Ok(Body::None),
        _ => Ok(body),
    }
}

/// The body that the framing lines announce, of which there is at least one.
fn announced<'a>(
    mut lengths: impl Iterator<Item = &'a HeaderLine>,
    mut codings: impl Iterator<Item = &'a HeaderLine>,
    buf: &[u8],
) -> Result<Body, ProtocolError> {
    match (lengths.next(), codings.next()) {
        (Some(_), Some(_)) => Err(ProtocolError::LengthAndCoding),
        (Some(_), None) if lengths.next().is_some() => Err(ProtocolError::Length),
        (Some(line), None) => length(line.value.of(buf)).map(Body::Length).ok_or(ProtocolError::Length),
        (None, Some(line)) => {
            // Only chunked: any other coding would have to be undone, or forwarded to a client that did not accept
            // it.
            if codings.next().is_none() && line.value.of(buf).eq_ignore_ascii_case(b"chunked") {
                Ok(Body::Chunked)
            } else {
                Err(ProtocolError::Coding)
            }
        }
        (None, None) => Ok(Body::None),
    }
}

/// Digits only, and no more than a signed 64-bit number holds: some peers count in those.
fn length(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits
        .iter()
        .try_fold(0i64, |sum, digit| {
            let digit = digit.is_ascii_digit().then(|| i64::from(digit - b'0'))?;
            sum.checked_mul(10)?.checked_add(digit)
        })
        .and_then(|sum| u64::try_from(sum).ok())
}

/// Whether the client wants the connection kept after this request (RFC 9112 §9.3).
#[inline]
#[must_use]
pub fn request_keep_alive(head: &RequestHead, buf: &[u8]) -> bool {
    keep_alive(head.version, head.all(Known::Connection), buf)
}

/// Whether the upstream keeps the connection after this response. A body until close ends it in any case.
#[inline]
#[must_use]
pub fn response_keep_alive(head: &ResponseHead, buf: &[u8]) -> bool {
    // Chunks from an HTTP/1.0 server are faulty framing (RFC 9112 §6.1): they are read, but the connection is not
    // reused.
    let faulty = head.version == Version::Http10 && head.has(Known::TransferEncoding);
    !faulty && keep_alive(head.version, head.all(Known::Connection), buf)
}

fn keep_alive<'a>(version: Version, connection: impl Iterator<Item = &'a HeaderLine>, buf: &[u8]) -> bool {
    let (mut close, mut keep) = (false, version == Version::Http11);
    for option in connection.flat_map(|line| list(line.value.of(buf))) {
        close |= option.eq_ignore_ascii_case(b"close");
        keep |= option.eq_ignore_ascii_case(b"keep-alive");
    }
    keep && !close
}

/// The upgrade that a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Upgrade {
    /// None, or one that is ignored (h2c, or an offer that the request's form does not allow).
    #[default]
    None,
    /// A WebSocket (RFC 6455 §4.1). Bytes after the head must not reach the upstream before its 101.
    WebSocket,
    /// A protocol that is not enabled: answer 403 and close, as Envoy does.
    Refused,
}

/// The protocol switch that a request asks for (RFC 9110 §7.8).
#[inline]
#[must_use]
pub fn upgrade(head: &RequestHead, buf: &[u8]) -> Upgrade {
    if !head.has(Known::Upgrade) { Upgrade::None } else { offered(head, buf) }
}

fn offered(head: &RequestHead, buf: &[u8]) -> Upgrade {
    let asked = head
        .all(Known::Connection)
        .flat_map(|line| list(line.value.of(buf)))
        .any(|option| option.eq_ignore_ascii_case(b"upgrade"));
    if !asked || head.version == Version::Http10 {
        return Upgrade::None;
    }
    let mut protocols = head.all(Known::Upgrade).flat_map(|line| list(line.value.of(buf)));
    match (protocols.next(), protocols.next()) {
        (None, _) => Upgrade::None,
        (Some(one), None) if one.eq_ignore_ascii_case(b"h2c") => Upgrade::None,
        (Some(one), None) if one.eq_ignore_ascii_case(b"websocket") => {
            // With a body the upstream that declines would read it as the next request, so it is a plain request.
            let has_body = head.has(Known::ContentLength) || head.has(Known::TransferEncoding);
            if head.method == Method::Get && !has_body { Upgrade::WebSocket } else { Upgrade::None }
        }
        _ => Upgrade::Refused,
    }
}

/// Whether the client waits for `100 Continue` before it sends the body (RFC 9110 §10.1.1).
#[inline]
#[must_use]
pub fn expects_continue(head: &RequestHead, buf: &[u8]) -> bool {
    head.version == Version::Http11
        && head.all(Known::Expect).any(|line| line.value.of(buf).eq_ignore_ascii_case(b"100-continue"))
}
