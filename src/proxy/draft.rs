//! What a request and its response become on their way, in memory that a connection's requests reuse one after the
//! other.

use std::net::SocketAddr;

use super::cors;
use super::edits::{self, Received, Scene, Sent};
use super::record::Story;
use super::request::Asked;
use crate::h1::change::{self, Changes};
use crate::h1::forward::{Completion, Downstream, View};
use crate::h1::head::{Known, RequestHead};
use crate::plan::{Edits, HeaderName, ServerHeader};

/// Scratch of the request under way.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// The path and query after normalisation, if that changed them.
    pub(super) path: Vec<u8>,
    /// The path and query that a rule puts in their place.
    pub(super) rewritten: Vec<u8>,
    /// What the proxy says of the request.
    pub(super) completion: Completion,
    /// The lists in it with what rules add; empty where they add nothing.
    lists: Completion,
    numbers: Numbers,
    /// What rules change in the request's head.
    pub(super) request: Changes,
    /// What rules change in the response's head.
    pub(super) response: Changes,
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
pub(super) struct Caller<'a> {
    pub(super) head: &'a RequestHead,
    /// What the spans of `head` point into.
    pub(super) buf: &'a [u8],
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    /// The peer's address as `x-envoy-external-address` says it.
    pub(super) external_address: &'a str,
    /// The name of this machine.
    pub(super) hostname: &'a str,
}

impl<'a> Caller<'a> {
    /// The request as it goes upstream, before rules change it.
    pub(super) fn view(&self, asked: &Asked, completion: &'a Completion) -> View<'a> {
        View {
            head: self.head,
            buf: self.buf,
            completion,
            downstream: asked.downstream,
            external_address: self.external_address.as_bytes(),
            tunnel: asked.tunnel(),
        }
    }
}

impl Draft {
    /// Forgets the last request.
    pub(super) fn clear(&mut self) {
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
    pub(super) fn note_try(&mut self, attempt: u32, expected_timeout_ms: Option<u64>) {
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
    pub(super) fn keep_for_log(&mut self, names: &[HeaderName], sent: &[u8]) {
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
    pub(super) fn shown(&self, name: &str) -> Option<&[u8]> {
        let mut lines = header_lines(&self.shown);
        lines.find(|(own, _)| own.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// Works out what a rule does to the request's head.
    pub(super) fn edit_request(&mut self, edits: &Edits, caller: Caller<'_>, story: &Story<'_>, asked: &Asked) {
        if edits.is_empty() {
            return;
        }
        let Self { path, completion, lists, numbers, request, .. } = self;
        let parts = (&**path, &*completion, &*lists, &*numbers);
        let scene = Scene {
            sent: Sent { original_path: None, original_host: None, ..sent(caller, story, asked, parts, &change::NONE) },
            target: asked.target(caller.buf, path),
            authority: asked.host.of(caller.buf),
            ..scene(caller, story, asked, parts, &change::NONE)
        };
        edits::work_out(edits, &scene, None, request);
        lists.note_changes(completion, request);
    }

    /// Works out what rules do to the response's head: to that of the upstream, or to the proxy's own.
    pub(super) fn edit_response(
        &mut self,
        caller: Caller<'_>,
        story: &Story<'_>,
        received: Option<Received<'_>>,
        server: &ServerHeader,
    ) {
        let Self { path, rewritten, completion, lists, numbers, request, response, .. } = self;
        response.clear();
        if let (Some(edits), Some(asked)) = (story.edits.filter(|edits| !edits.is_empty()), &story.asked) {
            let scene = Scene {
                answering: true,
                received,
                target: if story.rewritten { rewritten } else { asked.target(caller.buf, path) },
                authority: story.authority.map_or(asked.host.of(caller.buf), str::as_bytes),
                ..scene(caller, story, asked, (path, completion, lists, numbers), request)
            };
            let keeps = matches!(server, ServerHeader::Overwrite(_)).then_some(Known::Server);
            edits::work_out(edits, &scene, keeps, response);
        }
        if let Some((policy, origin)) = story.cors {
            cors::mark(policy, origin.of(caller.buf), response);
        }
    }

    /// The headers as they went upstream.
    pub(super) fn sent<'a>(&'a self, caller: Caller<'a>, story: &'a Story<'_>, asked: &Asked) -> Sent<'a> {
        let Self { path, completion, lists, numbers, request, .. } = self;
        sent(caller, story, asked, (path, completion, lists, numbers), request)
    }
}

/// Names and values of the lines up to the first empty one; the first line of a message has no meaning here.
pub(super) fn header_lines(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).take_while(|line| !line.is_empty());
    lines.map(|line| {
        let (name, value) = line.split_at(memchr::memchr(b':', line).unwrap_or(line.len()));
        (name, value.get(1..).unwrap_or_default().trim_ascii())
    })
}

fn sent<'a>(
    caller: Caller<'a>,
    story: &'a Story<'_>,
    asked: &Asked,
    (path, completion, lists, numbers): (&'a [u8], &'a Completion, &'a Completion, &'a Numbers),
    changes: &'a Changes,
) -> Sent<'a> {
    Sent {
        view: caller.view(asked, completion),
        changes,
        lists,
        attempt: match () {
            () if asked.downstream == Downstream::Inbound => b"",
            () if numbers.attempt.is_empty() => b"1",
            () => &numbers.attempt,
        },
        expected_timeout: &numbers.expected_timeout,
        original_path: story.rewritten.then(|| asked.target(caller.buf, path)),
        original_host: story.authority.map(|_| asked.host.of(caller.buf)),
    }
}

fn scene<'a>(
    caller: Caller<'a>,
    story: &'a Story<'_>,
    asked: &Asked,
    (path, completion, lists, numbers): (&'a [u8], &'a Completion, &'a Completion, &'a Numbers),
    changes: &'a Changes,
) -> Scene<'a> {
    Scene {
        sent: sent(caller, story, asked, (path, completion, lists, numbers), changes),
        target: &[],
        authority: &[],
        scheme: asked.scheme,
        answering: false,
        received: None,
        status: story.status,
        flags: story.flags,
        route: story.route,
        cluster: story.cluster,
        upstream: story.upstream_host.as_ref(),
        peer: caller.peer,
        local: caller.local,
        began: story.began,
        hostname: caller.hostname,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_log_shows_is_kept() {
        let mut draft = Draft::default();
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
