//! Tests of the codec. [`every_way`] is the one helper that feeds a message: whole, byte by byte, and cut in two at
//! every point; whatever the pieces, the result must be the same.

mod bodies;
mod changes;
mod chunks;
mod forward;
mod heads;
mod hops;
mod properties;
mod targets;
mod written;

use super::parse::{self, HeadLimits, Parsed};
use crate::http::error::ProtocolError;
use crate::http::head::{RequestHead, ResponseHead, Version};

/// Calls `read` with the positions at which pieces of a message of `len` bytes end, for every way of cutting it, and
/// gives back what all of them came to. Long messages are cut at some points only.
fn every_way<T: PartialEq + std::fmt::Debug>(
    len: usize,
    mut read: impl FnMut(&mut dyn Iterator<Item = usize>) -> T,
) -> T {
    let whole = read(&mut std::iter::once(len));
    let bytewise = read(&mut (1..=len));
    assert_eq!(bytewise, whole, "byte by byte");
    let step = if len > 4096 { len / 61 } else { 1 };
    for cut in (1..len).step_by(step) {
        let split = read(&mut [cut, len].into_iter());
        assert_eq!(split, whole, "cut at {cut}");
    }
    whole
}

/// The head at the start of `message`, however it arrives; `None` if it is not whole.
fn request_of(message: &[u8], limits: &HeadLimits) -> Result<Option<RequestHead>, ProtocolError> {
    let mut found = None;
    let result = every_way(message.len(), |cuts| {
        let mut head = RequestHead::default();
        for cut in cuts {
            if parse::request(&message[..cut], limits, &mut head)? == Parsed::Complete {
                let rendered = (render_request(&head, message), head.len);
                found = Some(head);
                return Ok(Some(rendered));
            }
        }
        Ok(None)
    })?;
    Ok(result.and(found))
}

/// The same for a response.
fn response_of(message: &[u8]) -> Result<Option<ResponseHead>, ProtocolError> {
    let mut found = None;
    let result = every_way(message.len(), |cuts| {
        let mut head = ResponseHead::default();
        for cut in cuts {
            if parse::response(&message[..cut], &HeadLimits::default(), &mut head)? == Parsed::Complete {
                let rendered = (render_response(&head, message), head.len);
                found = Some(head);
                return Ok(Some(rendered));
            }
        }
        Ok(None)
    })?;
    Ok(result.and(found))
}

/// A whole request head that must be fine.
fn good_request(message: &[u8]) -> RequestHead {
    request_of(message, &HeadLimits::default()).expect("a good head").expect("a whole head")
}

/// A whole response head that must be fine.
fn good_response(message: &[u8]) -> ResponseHead {
    response_of(message).expect("a good head").expect("a whole head")
}

fn render_request(head: &RequestHead, buf: &[u8]) -> String {
    let (method, target) = (text(head.method_span.of(buf)), text(head.target.of(buf)));
    format!("{method} {target} {}{}", number(head.version), render_lines(&head.headers, buf))
}

fn render_response(head: &ResponseHead, buf: &[u8]) -> String {
    format!("{} {}{}", head.status, number(head.version), render_lines(&head.headers, buf))
}

fn render_lines(lines: &[crate::http::head::HeaderLine], buf: &[u8]) -> String {
    lines.iter().map(|line| format!("|{}={}", text(line.name.of(buf)), text(line.value.of(buf)))).collect()
}

fn number(version: Version) -> &'static str {
    match version {
        Version::Http10 => "1.0",
        Version::Http11 => "1.1",
    }
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
