//! The head of a message as a proxy forwards it: the lines of the received one that pass, the proxy's own lines, and the
//! rules' operations on both.
//!
//! Written once, for every [`HeadSink`]. [`super::forward`] decides which lines of a request pass; the order of the new ones
//! is Envoy's. Called by the router for each attempt and for each response, and for the readers of a sent head.

use super::forward::{self, LISTS, Ruling, View};
use super::head::{HeaderLine, Known, ResponseHead};
use super::header_ops::{Change, HeaderOps};
use super::sink::{Framing, HeadSink};
use super::status;

/// The length of a body that is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyLen {
    /// There is no body. A request of a method that usually has one still gets `content-length: 0`; a response to HEAD and a
    /// 304 keep the upstream's length.
    #[default]
    None,
    /// So many bytes.
    Known(u64),
    /// It shows when the body ends.
    Unknown,
}

/// A request to an upstream: the changes by routing, beyond its [`View`].
#[derive(Debug, Clone, Copy)]
pub struct RequestOut<'a> {
    /// Path and query.
    pub path: &'a [u8],
    /// Replaces the value of `Host`. Must be `Some` if the target had an authority of its own.
    pub authority: Option<&'a [u8]>,
    /// The body.
    pub body: BodyLen,
    /// `x-envoy-attempt-count`, from 1; 0: not said.
    pub attempt: u32,
    /// `x-envoy-expected-rq-timeout-ms`, where there is a timeout.
    pub expected_timeout_ms: Option<u64>,
    /// `x-envoy-original-host`, when the authority was rewritten.
    pub original_host: Option<&'a [u8]>,
    /// `x-envoy-original-path`, when the path was rewritten.
    pub original_path: Option<&'a [u8]>,
    /// The rules' header operations, after everything above; not on `Host`, which `authority` replaces.
    pub ops: &'a HeaderOps,
}

/// Gives the head of a request to an upstream to `sink`.
pub fn request(sink: &mut impl HeadSink, view: &View<'_>, what: &RequestOut<'_>) {
    let View { head, buf, .. } = *view;
    let ops = what.ops;
    sink.request(view.method(), what.path);

    let nominates = view.nominates();
    let mut authority = what.authority;
    let mut written = Written::default();
    let mut length_kept = false;
    for line in &head.headers {
        if ops.drops(line.id, line.name.of(buf)) {
            continue;
        }
        match (line.id, view.ruling(line, nominates)) {
            (_, Ruling::Remove) => {}
            (Known::Host, _) => match authority.take() {
                None => sink.keep(line),
                Some(authority) => sink.put(b"host", authority),
            },
            (Known::ContentLength, _) => {
                if matches!(what.body, BodyLen::Known(length) if says(line, buf, length)) {
                    length_kept = true;
                    sink.keep(line);
                }
            }
            (_, Ruling::Pass) => sink.keep(line),
            (id, Ruling::Replace(value)) => {
                if !written.note(id) {
                } else if is_list(id) && ops.has_value(id) {
                    sink.put_list(line.name.of(buf), std::iter::once(value).chain(ops.values(id)));
                } else {
                    sink.replace(line, buf, value);
                }
            }
        }
    }

    if !head.has(Known::Host) {
        // HTTP/1.0 clients need not send it, HTTP/1.1 servers must have it, empty if need be (RFC 9112 §3.2).
        sink.put(b"host", authority.unwrap_or_default());
    }
    let mut add = |sink: &mut _, id, name: &str| {
        if !written.has(id)
            && !ops.drops(id, name.as_bytes())
            && let Some(value) = view.written(id, name).flatten()
        {
            add_own(sink, &mut written, (id, name.as_bytes()), value, ops);
        }
    };
    add(sink, Known::XForwardedFor, "x-forwarded-for");
    add(sink, Known::XForwardedProto, "x-forwarded-proto");
    add(sink, Known::XEnvoy, "x-envoy-external-address");
    add(sink, Known::XRequestId, "x-request-id");
    if what.attempt > 0 && !ops.drops(Known::XEnvoy, b"x-envoy-attempt-count") {
        sink.put_number(b"x-envoy-attempt-count", u64::from(what.attempt));
    }
    // Rules must not change it: it ends request loops.
    if !written.has(Known::XRingwayHops)
        && let Some(hops) = view.written(Known::XRingwayHops, "x-ringway-hops").flatten()
    {
        sink.put(b"x-ringway-hops", hops);
    }
    if let Some(timeout) = what.expected_timeout_ms
        && !ops.drops(Known::XEnvoy, b"x-envoy-expected-rq-timeout-ms")
    {
        sink.put_number(b"x-envoy-expected-rq-timeout-ms", timeout);
    }
    for (id, name, value) in ops.lines() {
        if !is_list(id) {
            sink.put(name, value);
        } else if written.note(id) {
            sink.put_list(name, ops.values(id));
        }
    }
    if let Some(host) = what.original_host {
        sink.put(b"x-envoy-original-host", host);
    }
    if let Some(path) = what.original_path {
        sink.put(b"x-envoy-original-path", path);
    }
    sink.end(match what.body {
        BodyLen::None if head.method.announces_empty_body() => Framing::Length(0),
        BodyLen::None => Framing::Said,
        BodyLen::Known(_) if length_kept => Framing::Said,
        BodyLen::Known(length) => Framing::Length(length),
        BodyLen::Unknown => Framing::Unknown,
    });
}

/// A header of the proxy's own that the client did not send; values that rules add to a list come after it.
fn add_own(sink: &mut impl HeadSink, written: &mut Written, (id, name): (Known, &[u8]), value: &[u8], ops: &HeaderOps) {
    if is_list(id) && ops.has_value(id) {
        written.note(id);
        sink.put_list(name, std::iter::once(value).chain(ops.values(id)));
    } else {
        sink.put(name, value);
    }
}

/// Whether the header is a list in the proxy's hands: see [`LISTS`].
#[inline]
fn is_list(id: Known) -> bool {
    LISTS.iter().any(|(list, _)| *list == id)
}

/// The names of which the one line has been written: a bit for each id.
#[derive(Debug, Clone, Copy, Default)]
struct Written(u32);

impl Written {
    /// Notes the name. False if it was noted before.
    #[inline]
    fn note(&mut self, id: Known) -> bool {
        let is_first = !self.has(id);
        self.0 |= 1 << id as u32;
        is_first
    }

    #[inline]
    fn has(self, id: Known) -> bool {
        self.0 >> id as u32 & 1 != 0
    }
}

/// The handling of the `server` line of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server<'a> {
    /// The proxy's name replaces the upstream's.
    Overwrite(&'a [u8]),
    /// The upstream's own, if it sent one.
    PassThrough,
}

/// A response to a client.
#[derive(Debug, Clone, Copy)]
pub struct ResponseOut<'a> {
    /// The `server` line.
    pub server: Server<'a>,
    /// `date`, if the upstream did not send one.
    pub date: &'a [u8],
    /// `x-envoy-upstream-service-time`, in milliseconds. A response that switches protocols never has it.
    pub service_time_ms: Option<u64>,
    /// The body.
    pub body: BodyLen,
    /// Whether the stream turns into a tunnel: the `Upgrade` line stays.
    pub switches: bool,
    /// The rules' header operations, before `date`, `server` and the framing are written. They cannot change a `server` that
    /// is overwritten.
    pub ops: &'a HeaderOps,
}

/// Gives the head of a final response, or of a 101, to `sink`.
pub fn response(sink: &mut impl HeadSink, head: &ResponseHead, buf: &[u8], what: &ResponseOut<'_>) {
    let ops = what.ops;
    sink.status(head.status);
    let server = what.server;
    let mut service_time = what.service_time_ms.filter(|_| !what.switches);
    if ops.drops(Known::XEnvoyUpstreamServiceTime, b"x-envoy-upstream-service-time") {
        service_time = None;
    }
    let nominates = forward::response_nominates(head, buf);
    let is_nominated = |line: &HeaderLine| nominates && forward::is_nominated_in_response(head, buf, line.name.of(buf));
    let (mut length_kept, mut server_sent, mut dated) = (false, false, false);
    for line in &head.headers {
        if ops.drops(line.id, line.name.of(buf)) {
            continue;
        }
        match line.id {
            Known::Server => match server {
                Server::PassThrough if is_nominated(line) => {}
                Server::PassThrough => sink.keep(line),
                Server::Overwrite(_) if server_sent => {}
                Server::Overwrite(name) => {
                    server_sent = true;
                    sink.put(b"server", name);
                }
            },
            Known::XEnvoyUpstreamServiceTime => {
                if let Some(milliseconds) = service_time.take() {
                    sink.put_number(b"x-envoy-upstream-service-time", milliseconds);
                }
            }
            Known::ContentLength => {
                let keep = match what.body {
                    BodyLen::Known(length) => says(line, buf, length),
                    BodyLen::None => !what.switches && status::may_have_length(head.status),
                    BodyLen::Unknown => false,
                };
                if keep && !length_kept {
                    length_kept = true;
                    sink.keep(line);
                }
            }
            Known::Upgrade if what.switches => sink.keep(line),
            Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::TransferEncoding
            | Known::Upgrade => {}
            Known::XEnvoy if is_mesh_internal(line.name.of(buf)) => {}
            _ if is_nominated(line) => {}
            id => {
                dated |= id == Known::Date;
                sink.keep(line);
            }
        }
    }

    if let Some(milliseconds) = service_time {
        sink.put_number(b"x-envoy-upstream-service-time", milliseconds);
    }
    for (_, name, value) in ops.lines() {
        sink.put(name, value);
    }
    let dated = match ops.of(Known::Date, b"date") {
        Change::To(_) => true,
        Change::Gone => false,
        Change::None => dated,
    };
    if !dated {
        sink.put(b"date", what.date);
    }
    if let (Server::Overwrite(name), false) = (server, server_sent) {
        sink.put(b"server", name);
    }
    sink.end(match what.body {
        BodyLen::Known(length) if !length_kept => Framing::Length(length),
        BodyLen::Unknown => Framing::Unknown,
        // The response to a HEAD without a length: the framing that the GET would have.
        BodyLen::None if !length_kept && !what.switches && status::has_body(head.status) => Framing::Unknown,
        _ => Framing::Said,
    });
}

/// Gives the head of an interim (1xx) response to `sink`: the upstream's end-to-end lines only.
pub fn interim(sink: &mut impl HeadSink, head: &ResponseHead, buf: &[u8]) {
    sink.status(head.status);
    let nominates = forward::response_nominates(head, buf);
    for line in &head.headers {
        match line.id {
            Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::TransferEncoding
            | Known::ContentLength
            | Known::Upgrade => {}
            _ if nominates && forward::is_nominated_in_response(head, buf, line.name.of(buf)) => {}
            _ => sink.keep(line),
        }
    }
    sink.end(Framing::Said);
}

/// Istio's metadata exchange between sidecars, which must not leave the mesh.
fn is_mesh_internal(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 3] = [b"x-envoy-peer-metadata", b"x-envoy-peer-metadata-id", b"x-envoy-decorator-operation"];
    NAMES.iter().any(|internal| name.eq_ignore_ascii_case(internal))
}

/// Whether a `Content-Length` line says this number, written the usual way.
fn says(line: &HeaderLine, buf: &[u8], length: u64) -> bool {
    line.value.of(buf) == itoa::Buffer::new().format(length).as_bytes()
}
