//! The changed heads of a request and its response, in memory that a core's requests reuse one after the other.

use std::net::SocketAddr;

use crate::h1::encode::Connection;
use crate::http::field_list::FieldList;
use crate::http::forward::{Completion, Downstream, View};
use crate::http::head::{Known, RequestHead};
use crate::http::header_ops::{self, HeaderOps};
use crate::http::sink::HeadSink;
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
    /// The path and query of a rule's rewrite.
    pub(crate) rewritten: Vec<u8>,
    /// The headers that the proxy writes for the request.
    pub(crate) completion: Completion,
    /// The lists in it with the values that rules add; empty without any.
    lists: Completion,
    numbers: Numbers,
    /// The rules' operations on the request's head.
    pub(crate) request: HeaderOps,
    /// The rules' operations on the response's head.
    pub(crate) response: HeaderOps,
    /// Headers of the response that the log shows, as they went to the client.
    pub(crate) shown: FieldList,
    /// The request as it goes upstream, for its readers.
    pub(crate) sent: FieldList,
}

/// The proxy's headers about the last attempt, in digits.
#[derive(Debug, Default)]
struct Numbers {
    /// `x-envoy-attempt-count`; empty for the first.
    attempt: Vec<u8>,
    /// `x-envoy-expected-rq-timeout-ms`; empty without one.
    expected_timeout: Vec<u8>,
    expected_timeout_ms: Option<u64>,
}

/// The client and its request, as they came.
#[derive(Clone, Copy)]
pub(crate) struct DownstreamRequest<'a> {
    pub(crate) head: &'a RequestHead,
    /// The buffer that the spans of `head` point into.
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
        self.numbers.expected_timeout_ms = None;
        self.request.clear();
        self.response.clear();
        self.shown.clear();
        self.sent.clear();
    }

    /// The `x-envoy-expected-rq-timeout-ms` of the last attempt.
    pub(crate) fn expected_timeout_ms(&self) -> Option<u64> {
        self.numbers.expected_timeout_ms
    }

    /// Notes the headers about an attempt, for templates and for the log.
    pub(crate) fn note_attempt(&mut self, attempt: u32, expected_timeout_ms: Option<u64>) {
        let Numbers { attempt: own, expected_timeout, expected_timeout_ms: milliseconds } = &mut self.numbers;
        *milliseconds = expected_timeout_ms;
        own.clear();
        expected_timeout.clear();
        if attempt > 1 {
            own.extend_from_slice(itoa::Buffer::new().format(attempt).as_bytes());
        }
        if let Some(expected) = expected_timeout_ms {
            expected_timeout.extend_from_slice(itoa::Buffer::new().format(expected).as_bytes());
        }
    }

    /// The first value of a header of the response, of those that were kept.
    pub(crate) fn shown(&self, name: &str) -> Option<&[u8]> {
        self.shown.values(name.as_bytes()).next()
    }

    /// Computes a rule's operations on the request's head.
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
                ..sent(downstream, info, parsed, parts, &header_ops::NONE)
            },
            target: parsed.target(downstream.buf, path),
            authority: parsed.host.of(downstream.buf),
            ..context(downstream, info, parsed, parts, &header_ops::NONE)
        };
        templates::work_out(edits, &context, None, request);
        lists.note_changes(completion, request);
    }

    /// Computes the rules' operations on the response's head: the upstream's, or the proxy's own.
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

/// Takes the head of a response that goes to the client, of which the log shows these headers.
pub(crate) fn shown<'l>(
    list: &'l mut FieldList,
    names: &'l [HeaderName],
    buf: &'l [u8],
    connection: Connection,
) -> impl HeadSink + 'l {
    let mut sink = list.sink_of(buf, |id, name| names.iter().any(|wanted| wanted.is(id, name)));
    match connection {
        Connection::KeepAlive => {}
        Connection::Close => sink.put(b"connection", b"close"),
        Connection::Upgrade => sink.put(b"connection", b"upgrade"),
    }
    sink
}

fn sent<'a>(
    downstream: DownstreamRequest<'a>,
    info: &'a StreamInfo<'_>,
    parsed: &ParsedRequest,
    (path, completion, lists, numbers): (&'a [u8], &'a Completion, &'a Completion, &'a Numbers),
    ops: &'a HeaderOps,
) -> Sent<'a> {
    Sent {
        view: downstream.view(parsed, completion),
        ops,
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
    ops: &'a HeaderOps,
) -> TemplateContext<'a> {
    TemplateContext {
        sent: sent(downstream, info, parsed, (path, completion, lists, numbers), ops),
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
    use crate::http::sink::Framing;

    #[test]
    fn what_the_log_shows_is_kept() {
        let mut scratch = HeaderScratch::default();
        let names = ["content-length", "x-a", "connection"].map(HeaderName::new);
        {
            let mut sink = shown(&mut scratch.shown, &names, b"", Connection::Close);
            sink.status(200);
            for (name, value) in [("X-A", "1:2"), ("x-b", "b"), ("x-a", "3")] {
                sink.put(name.as_bytes(), value.as_bytes());
            }
            sink.end(Framing::Length(5));
        }
        assert_eq!(scratch.shown("x-a"), Some(&b"1:2"[..]));
        assert_eq!(scratch.shown("Content-Length"), Some(&b"5"[..]));
        assert_eq!(scratch.shown("connection"), Some(&b"close"[..]));
        assert_eq!(scratch.shown("x-b"), None);
        scratch.clear();
        assert_eq!(scratch.shown("x-a"), None);
    }
}
