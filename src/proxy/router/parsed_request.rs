//! A parsed request head: framing, target, host, and whether its forwarding headers are trusted.
//!
//! Pure: spans into the head's bytes, or into the scratch that has the normalised path. Called by `route`.

use crate::h1::framing::{self, Body, Upgrade};
use crate::http::error::ProtocolError;
use crate::http::forward::{self, Downstream};
use crate::http::head::{RequestHead, Span};
use crate::http::outgoing::BodyLen;
use crate::http::target::{self, Normal, PathForm};
use crate::plan::ListenerKind;
use crate::proxy::router::termination::Termination;

/// The parsed facts of a request head, besides its lines.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ParsedRequest {
    /// The body that follows.
    pub(crate) body: Body,
    /// The upgrade it asks for.
    pub(crate) upgrade: Upgrade,
    /// Whether the client wants to go on after it.
    pub(crate) keep_alive: bool,
    /// The path, without query.
    path: Span,
    /// The path and query.
    target: Span,
    /// Whether `path` and `target` are spans of [`HeaderScratch::path`](crate::proxy::router::header_scratch::HeaderScratch::path), where the normalised form is, and not of the head.
    normalised: bool,
    /// The query, without its `?`; a span of the head.
    pub(crate) query: Span,
    /// The authority of an absolute-form target, to be sent as Host.
    pub(crate) authority: Option<Span>,
    /// The host for routing.
    pub(crate) host: Span,
    /// `http` or `https`: how the client reached us, or says that it was reached.
    pub(crate) scheme: &'static str,
    /// Where it came from, which decides whether its forwarding headers are trusted.
    pub(crate) downstream: Downstream,
}

/// Reads framing and target from the head, or returns how it must be refused.
pub(crate) fn read(
    head: &RequestHead,
    buf: &[u8],
    kind: Option<ListenerKind>,
    path_form: PathForm,
    scratch: &mut Vec<u8>,
) -> Result<ParsedRequest, Termination> {
    let downstream = kind.map_or(Downstream::Edge, ListenerKind::downstream);
    let body = framing::request_body(head, buf).map_err(Termination::BadRequest)?;
    let parts = target::split(head, buf).map_err(Termination::BadRequest)?;
    // Here `Host` says where to go, and it may say so only in the form that everybody reads the same way.
    let host = parts.host.of(buf);
    if downstream.is_trusted() && !host.is_empty() && !target::is_authority(host) {
        return Err(Termination::BadRequest(ProtocolError::Authority));
    }
    let normal = target::normalize(parts.path.of(buf), path_form, scratch).map_err(Termination::BadRequest)?;
    let normalised = matches!(normal, Normal::Rewritten);
    let (path, target) = if normalised {
        let path = Span { start: 0, end: scratch.len() as u32 };
        if parts.has_query {
            scratch.push(b'?');
            scratch.extend_from_slice(parts.query.of(buf));
        }
        (path, Span { start: 0, end: scratch.len() as u32 })
    } else {
        let end = if parts.has_query { parts.query.end } else { parts.path.end };
        (parts.path, Span { start: parts.path.start, end })
    };
    Ok(ParsedRequest {
        body,
        upgrade: framing::upgrade(head, buf),
        keep_alive: framing::request_keep_alive(head, buf),
        path,
        target,
        normalised,
        query: parts.query,
        authority: parts.authority,
        host: parts.host,
        scheme: forward::scheme(head, buf, downstream),
        downstream,
    })
}

impl ParsedRequest {
    /// Whether the connection ends with an answer that is given before the request's body is read.
    pub(crate) fn closes(&self) -> bool {
        !self.keep_alive || !matches!(self.body, Body::None | Body::Length(0))
    }

    /// Whether it asks for a WebSocket, and may become a tunnel.
    pub(crate) fn tunnel(&self) -> bool {
        self.upgrade == Upgrade::WebSocket && self.body == Body::None
    }

    /// The path and query as rules see them. `path` is [`HeaderScratch::path`](crate::proxy::router::header_scratch::HeaderScratch::path).
    pub(crate) fn target<'s>(&self, buf: &'s [u8], path: &'s [u8]) -> &'s [u8] {
        self.target.of(if self.normalised { path } else { buf })
    }

    /// How much of the target is the path.
    pub(crate) fn path_len(&self) -> usize {
        (self.path.end - self.path.start) as usize
    }

    /// The path as rules see it. `path` is [`HeaderScratch::path`](crate::proxy::router::header_scratch::HeaderScratch::path).
    pub(crate) fn path<'s>(&self, buf: &'s [u8], path: &'s [u8]) -> &'s [u8] {
        self.path.of(if self.normalised { path } else { buf })
    }

    /// The length of its body.
    pub(crate) fn body_len(&self) -> BodyLen {
        self.body.into()
    }
}
