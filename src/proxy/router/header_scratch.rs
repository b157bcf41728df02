//! What a request and its response become on their way, in memory that a connection's requests reuse one after the
//! other.

use std::net::SocketAddr;

use crate::h1::change::{self, Changes};
use crate::h1::forward::{Completion, Downstream, View};
use crate::h1::head::{Known, RequestHead};
use crate::plan::{Edits, HeaderName, ServerHeader};
use crate::proxy::downstream::connection::ClientConnection;
use crate::proxy::router::cors;
use crate::proxy::router::parsed_request::ParsedRequest;
use crate::proxy::router::stream_info::StreamInfo;
use crate::proxy::router::templates::{self, Received, Sent, TemplateContext};

/// Scratch of the request under way.
#[derive(Debug, Default)]
pub(crate) struct HeaderScratch {
    /// The path and query after normalisation, if that changed them.
    pub(crate) path: Vec<u8>,
    /// The path and query that a rule puts in their place.
    pub(crate) rewritten: Vec<u8>,
    /// What the proxy says of the request.
    pub(crate) completion: Completion,
    /// The lists in it with what rules add; empty where they add nothing.
    lists: Completion,
    numbers: Numbers,
    /// What rules change in the request's head.
    pub(crate) request: Changes,
    /// What rules change in the response's head.
    pub(crate) response: Changes,
    /// Headers of the response that the log shows, as they went to the client.
    shown: Vec<u8>,
}

/// What the proxy says of the last try, in digits.
#[derive(Debug, Default)]
struct Numbers {
    /// `x-envoy-attempt-count`; empty for the first.
    attempt: Vec<u8>,
    /// `x-envoy-expected-rq-timeout-ms`; empty if there is none.
    expected_timeout: Vec<u8>,
}

/// The client and its request, as they came.
#[derive(Clone, Copy)]
pub(crate) struct DownstreamRequest<'a> {
    pub(crate) head: &'a RequestHead,
    /// What the spans of `head` point into.
    pub(crate) buf: &'a [u8],
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    /// The peer's address as `x-envoy-external-address` says it.
    pub(crate) external_address: &'a str,
    /// The name of this machine.
    pub(crate) hostname: &'a str,
}

impl<'a> DownstreamRequest<'a> {
    /// The head that has come on a connection.
    pub(crate) fn new(conn: &'a ClientConnection, head: &'a RequestHead) -> Self {
        Self {
            head,
            buf: conn.input.bytes(),
            peer: conn.peer,
            local: conn.local,
            external_address: &conn.external_address,
            hostname: &conn.core.hostname,
        }
    }

    /// The request as it goes upstream, before rules change it.
    pub(crate) fn view(&self, parsed: &ParsedRequest, completion: &'a Completion) -> View<'a> {
        View {
            head: self.head,
            buf: self.buf,
            completion,
            downstream: parsed.downstream,
            external_address: self.external_address.as_bytes(),
            tunnel: parsed.tunnel(),
        }
    }
}

impl HeaderScratch {
    /// Forgets the last request.
    pub(crate) fn clear(&mut self) {
        self.path.clear();
        self.rewritten.clear();
        self.completion.clear();
        self.lists.clear();
        self.numbers.attempt.clear();
        self.numbers.expected_timeout.clear();
        self.request.clear();
        self.response.clear();
        self.shown.clear();
    }

    /// Notes what is said of a try, for templates and for the log.
    pub(crate) fn note_try(&mut self, attempt: u32, expected_timeout_ms: Option<u64>) {
        let Numbers { attempt: own, expected_timeout } = &mut self.numbers;
        own.clear();
        expected_timeout.clear();
        if attempt > 1 {
            own.extend_from_slice(itoa::Buffer::new().format(attempt).as_bytes());
        }
        if let Some(expected) = expected_timeout_ms {
            expected_timeout.extend_from_slice(itoa::Buffer::new().format(expected).as_bytes());
        }
    }

    /// Keeps the lines of these names for the log. `sent` is the response as it goes to the client, or the beginning of
    /// it.
    pub(crate) fn keep_for_log(&mut self, names: &[HeaderName], sent: &[u8]) {
        for (name, value) in header_lines(sent).skip(1) {
            let id = Known::of(name);
            if names.iter().any(|wanted| wanted.is(id, name)) {
                for part in [name, b":", value, b"\n"] {
                    self.shown.extend_from_slice(part);
                }
            }
        }
    }

    /// The first value of a header of the response, of those that were kept.
    pub(crate) fn shown(&self, name: &str) -> Option<&[u8]> {
        let mut lines = header_lines(&self.shown);
        lines.find(|(own, _)| own.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// Works out what a rule does to the request's head.
    pub(crate) fn edit_request(
        &mut self,
        edits: &Edits,
        downstream: DownstreamRequest<'_>,
        info: &StreamInfo<'_>,
        parsed: &ParsedRequest,
    ) {
        if edits.is_empty() {
            return;
        }
        let Self { path, completion, lists, numbers, request, .. } = self;
        let parts = (&**path, &*completion, &*lists, &*numbers);
        let context = TemplateContext {
            sent: Sent {
                original_path: None,
                original_host: None,
                ..sent(downstream, info, parsed, parts, &change::NONE)
            },
            target: parsed.target(downstream.buf, path),
            authority: parsed.host.of(downstream.buf),
            ..context(downstream, info, parsed, parts, &change::NONE)
        };
        templates::work_out(edits, &context, None, request);
        lists.note_changes(completion, request);
    }

    /// Works out what rules do to the response's head: to that of the upstream, or to the proxy's own.
    pub(crate) fn edit_response(
        &mut self,
        downstream: DownstreamRequest<'_>,
        info: &StreamInfo<'_>,
        received: Option<Received<'_>>,
        server: &ServerHeader,
    ) {
        let Self { path, rewritten, completion, lists, numbers, request, response, .. } = self;
        response.clear();
        if let (Some(edits), Some(parsed)) = (info.edits.filter(|edits| !edits.is_empty()), &info.parsed) {
            let context = TemplateContext {
                answering: true,
                received,
                target: if info.rewritten { rewritten } else { parsed.target(downstream.buf, path) },
                authority: info.authority.map_or(parsed.host.of(downstream.buf), str::as_bytes),
                ..context(downstream, info, parsed, (path, completion, lists, numbers), request)
            };
            let keeps = matches!(server, ServerHeader::Overwrite(_)).then_some(Known::Server);
            templates::work_out(edits, &context, keeps, response);
        }
        if let Some((policy, origin)) = info.cors {
            cors::mark(policy, origin.of(downstream.buf), response);
        }
    }

    /// The headers as they went upstream.
    pub(crate) fn sent<'a>(
        &'a self,
        downstream: DownstreamRequest<'a>,
        info: &'a StreamInfo<'_>,
        parsed: &ParsedRequest,
    ) -> Sent<'a> {
        let Self { path, completion, lists, numbers, request, .. } = self;
        sent(downstream, info, parsed, (path, completion, lists, numbers), request)
    }
}

/// Names and values of the lines up to the first empty one; the first line of a message has no meaning here.
pub(crate) fn header_lines(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).take_while(|line| !line.is_empty());
    lines.map(|line| {
        let (name, value) = line.split_at(memchr::memchr(b':', line).unwrap_or(line.len()));
        (name, value.get(1..).unwrap_or_default().trim_ascii())
    })
}

fn sent<'a>(
    downstream: DownstreamRequest<'a>,
    info: &'a StreamInfo<'_>,
    parsed: &ParsedRequest,
    (path, completion, lists, numbers): (&'a [u8], &'a Completion, &'a Completion, &'a Numbers),
    changes: &'a Changes,
) -> Sent<'a> {
    Sent {
        view: downstream.view(parsed, completion),
        changes,
        lists,
        attempt: match () {
            () if parsed.downstream == Downstream::Inbound => b"",
            () if numbers.attempt.is_empty() => b"1",
            () => &numbers.attempt,
        },
        expected_timeout: &numbers.expected_timeout,
        original_path: info.rewritten.then(|| parsed.target(downstream.buf, path)),
        original_host: info.authority.map(|_| parsed.host.of(downstream.buf)),
    }
}

fn context<'a>(
    downstream: DownstreamRequest<'a>,
    info: &'a StreamInfo<'_>,
    parsed: &ParsedRequest,
    (path, completion, lists, numbers): (&'a [u8], &'a Completion, &'a Completion, &'a Numbers),
    changes: &'a Changes,
) -> TemplateContext<'a> {
    TemplateContext {
        sent: sent(downstream, info, parsed, (path, completion, lists, numbers), changes),
        target: &[],
        authority: &[],
        scheme: parsed.scheme,
        answering: false,
        received: None,
        status: info.status,
        flags: info.flags,
        route: info.route,
        cluster: info.cluster,
        upstream: info.upstream_host.as_ref(),
        peer: downstream.peer,
        local: downstream.local,
        began: info.began,
        hostname: downstream.hostname,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_log_shows_is_kept() {
        let mut draft = HeaderScratch::default();
        let names = ["content-length", "x-a", "x-gone"].map(HeaderName::new);
        draft.keep_for_log(
            &names,
            b"HTTP/1.1 200 OK\r\nX-A: 1:2\r\nx-b: b\r\nx-a: 3\r\ncontent-length: 5\r\n\r\nx-gone: 1",
        );
        assert_eq!(draft.shown("x-a"), Some(&b"1:2"[..]));
        assert_eq!(draft.shown("Content-Length"), Some(&b"5"[..]));
        assert_eq!((draft.shown("x-b"), draft.shown("x-gone")), (None, None));
        draft.clear();
        assert_eq!(draft.shown("x-a"), None);
    }
}
