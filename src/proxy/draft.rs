//! What a request and its response become on their way, in memory that a connection's requests reuse one after the
//! other.

use std::net::SocketAddr;

use super::cors;
use super::edits::{self, Received, Scene, Sent};
use super::record::Story;
use super::request::Asked;
use crate::h1::change::{self, Changes};
use crate::h1::head::{Known, RequestHead};
use crate::plan::{Edits, ServerHeader};

/// Scratch of the request under way.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// The path and query after normalisation, if that changed them.
    pub(super) path: Vec<u8>,
    /// The path and query that a rule puts in their place.
    pub(super) rewritten: Vec<u8>,
    /// `x-forwarded-for` as it goes upstream, its lines joined; empty if none does.
    pub(super) forwarded_for: Vec<u8>,
    /// What rules change in the request's head.
    pub(super) request: Changes,
    /// What rules change in the response's head.
    pub(super) response: Changes,
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

impl Draft {
    /// Forgets the last request.
    pub(super) fn clear(&mut self) {
        self.path.clear();
        self.rewritten.clear();
        self.forwarded_for.clear();
        self.request.clear();
        self.response.clear();
    }

    /// Notes `x-forwarded-for` as it goes upstream: the client's lines joined and `peer`, if that is said.
    pub(super) fn note_forwarded_for(&mut self, head: &RequestHead, buf: &[u8], peer: &str) {
        let lines = head.all(Known::XForwardedFor).map(|line| line.value.of(buf));
        for value in lines.chain([peer.as_bytes()]).filter(|value| !value.is_empty()) {
            if !self.forwarded_for.is_empty() {
                self.forwarded_for.push(b',');
            }
            self.forwarded_for.extend_from_slice(value);
        }
    }

    /// Works out what a rule does to the request's head.
    pub(super) fn edit_request(&mut self, edits: &Edits, caller: Caller<'_>, story: &Story<'_>, asked: &Asked) {
        if edits.is_empty() {
            return;
        }
        let Self { path, forwarded_for, request, .. } = self;
        let scene = Scene {
            sent: Sent {
                original_path: None,
                original_host: None,
                ..sent(caller, story, asked, path, forwarded_for, &change::NONE)
            },
            target: asked.target(caller.buf, path),
            authority: asked.host.of(caller.buf),
            ..scene(caller, story, asked, path, forwarded_for, &change::NONE)
        };
        edits::work_out(edits, &scene, None, request);
    }

    /// Works out what rules do to the response's head: to that of the upstream, or to the proxy's own.
    pub(super) fn edit_response(
        &mut self,
        caller: Caller<'_>,
        story: &Story<'_>,
        received: Option<Received<'_>>,
        server: &ServerHeader,
    ) {
        let Self { path, rewritten, forwarded_for, request, response } = self;
        response.clear();
        if let (Some(edits), Some(asked)) = (story.edits.filter(|edits| !edits.is_empty()), &story.asked) {
            let scene = Scene {
                answering: true,
                received,
                target: if story.rewritten { rewritten } else { asked.target(caller.buf, path) },
                authority: story.authority.map_or(asked.host.of(caller.buf), str::as_bytes),
                ..scene(caller, story, asked, path, forwarded_for, request)
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
        sent(caller, story, asked, &self.path, &self.forwarded_for, &self.request)
    }
}

fn sent<'a>(
    caller: Caller<'a>,
    story: &'a Story<'_>,
    asked: &Asked,
    path: &'a [u8],
    forwarded_for: &'a [u8],
    changes: &'a Changes,
) -> Sent<'a> {
    Sent {
        head: caller.head,
        buf: caller.buf,
        changes,
        believed: asked.believed,
        forwarded_for,
        request_id: story.request_id.as_ref().map_or(&[], <[u8; 36]>::as_slice),
        external_address: if asked.believed { &[] } else { caller.external_address.as_bytes() },
        original_path: story.rewritten.then(|| asked.target(caller.buf, path)),
        original_host: story.authority.map(|_| asked.host.of(caller.buf)),
    }
}

fn scene<'a>(
    caller: Caller<'a>,
    story: &'a Story<'_>,
    asked: &Asked,
    path: &'a [u8],
    forwarded_for: &'a [u8],
    changes: &'a Changes,
) -> Scene<'a> {
    Scene {
        sent: sent(caller, story, asked, path, forwarded_for, changes),
        target: &[],
        authority: &[],
        scheme: asked.scheme,
        answering: false,
        received: None,
        status: story.status,
        flags: story.flags,
        route: story.route,
        cluster: story.cluster,
        upstream: story.upstream_host,
        peer: caller.peer,
        local: caller.local,
        began: story.began,
        hostname: caller.hostname,
    }
}
