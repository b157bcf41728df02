//! Heads to bytes: one pass over the lines that came in, copying what passes and writing what is ours.
//!
//! Lines that pass unchanged are copied in the largest pieces that lie together in the buffer, so a usual head costs
//! a handful of copies. Everything is appended to a `Vec` that the connection keeps. What is written always parses
//! back: values that come from outside the parsed head are written without control characters.
//!
//! Which lines of a request pass is [`super::forward`]'s to say; the order of the new ones is Envoy's.

use super::change::{Change, Changes};
use super::forward::{self, Ruling, View};
use super::framing::Body;
use super::head::{HeaderLine, Known, ResponseHead, Version};
use super::join;
use super::status;

/// The framing of a message that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutBody {
    /// No body. A request of a method that usually has one still says `content-length: 0`; a response to HEAD and a
    /// 304 keep the length that the upstream announced.
    None,
    /// `content-length` with this many bytes.
    Length(u64),
    /// `transfer-encoding: chunked`.
    Chunked,
    /// The connection turns into a tunnel: the `Upgrade` line stays.
    Upgrade,
    /// A response that ends with the connection: HTTP/1.0 clients cannot read chunks.
    UntilClose,
}

impl OutBody {
    /// How to pass on a body of a request.
    #[must_use]
    pub fn of_request(body: Body) -> Self {
        match body {
            Body::None => Self::None,
            Body::Length(length) => Self::Length(length),
            Body::Chunked | Body::UntilClose => Self::Chunked,
        }
    }

    /// How to pass on a body of a response to a client of this version.
    #[must_use]
    pub fn of_response(body: Body, client: Version) -> Self {
        match (body, client) {
            (Body::None, _) => Self::None,
            (Body::Length(length), _) => Self::Length(length),
            (Body::Chunked | Body::UntilClose, Version::Http11) => Self::Chunked,
            (Body::Chunked | Body::UntilClose, Version::Http10) => Self::UntilClose,
        }
    }
}

/// A request to an upstream: what routing makes of it, beyond its [`View`].
#[derive(Debug, Clone, Copy)]
pub struct RequestOut<'a> {
    /// Path and query, as they go into the request line.
    pub path: &'a [u8],
    /// Replaces the value of `Host`. Must be `Some` if the target had an authority of its own.
    pub authority: Option<&'a [u8]>,
    /// The framing.
    pub body: OutBody,
    /// `x-envoy-attempt-count`, from 1; 0: not said.
    pub attempt: u32,
    /// `x-envoy-expected-rq-timeout-ms`, where there is a timeout.
    pub expected_timeout_ms: Option<u64>,
    /// `x-envoy-original-host`, when the authority was rewritten.
    pub original_host: Option<&'a [u8]>,
    /// `x-envoy-original-path`, when the path was rewritten.
    pub original_path: Option<&'a [u8]>,
    /// What rules change, after everything above; not `Host`, which `authority` replaces.
    pub changes: &'a Changes,
}

/// Appends the head of a request to an upstream: always HTTP/1.1.
pub fn request(out: &mut Vec<u8>, view: &View<'_>, what: &RequestOut<'_>) {
    if what.changes.is_empty() {
        write_request::<false>(out, view, what);
    } else {
        write_request::<true>(out, view, what);
    }
}

/// `CHANGED`: whether there are changes at all, so that requests without cost nothing for them.
fn write_request<const CHANGED: bool>(out: &mut Vec<u8>, view: &View<'_>, what: &RequestOut<'_>) {
    let View { head, buf, .. } = *view;
    let drops = |id, name: &[u8]| CHANGED && what.changes.drops(id, name);
    out.reserve(head.len + 512);
    let start = out.len();
    out.extend_from_slice(view.method());
    out.push(b' ');
    put_target(out, what.path);
    out.extend_from_slice(b" HTTP/1.1\r\n");

    let nominates = view.nominates();
    let mut authority = what.authority;
    let mut replaced = Replaced::default();
    let mut length_kept = false;
    let mut lines = Lines::new(out, buf, head.facts.canonical);
    for line in &head.headers {
        if drops(line.id, line.name.of(buf)) {
            continue;
        }
        match (line.id, view.ruling(line, nominates)) {
            (_, Ruling::Remove) => {}
            (Known::Host, _) => match authority.take() {
                None => lines.keep(line),
                Some(authority) => lines.write(b"host", authority),
            },
            (Known::ContentLength, _) => {
                if matches!(what.body, OutBody::Length(length) if says(line, buf, length)) {
                    length_kept = true;
                    lines.keep(line);
                }
            }
            (_, Ruling::Pass) => lines.keep(line),
            (id, Ruling::Replace(value)) => {
                if replaced.note(id) {
                    lines.replace(line, value);
                }
            }
        }
    }
    lines.finish();

    if !head.has(Known::Host) {
        // HTTP/1.0 clients need not send it, HTTP/1.1 servers must have it, empty if need be (RFC 9112 §3.2).
        put(out, b"host", authority.unwrap_or_default());
    }
    let mut add = |id, name: &str| {
        if !replaced.has(id)
            && !drops(id, name.as_bytes())
            && let Some(value) = view.written(id, name).flatten()
        {
            put(out, name.as_bytes(), value);
        }
    };
    add(Known::XForwardedFor, "x-forwarded-for");
    add(Known::XForwardedProto, "x-forwarded-proto");
    add(Known::XEnvoy, "x-envoy-external-address");
    add(Known::XRequestId, "x-request-id");
    if what.attempt > 0 && !drops(Known::XEnvoy, b"x-envoy-attempt-count") {
        put_number(out, b"x-envoy-attempt-count", u64::from(what.attempt));
    }
    // Not for rules to change: it is what ends a request that goes round.
    if !replaced.has(Known::XRingwayHops)
        && let Some(hops) = view.written(Known::XRingwayHops, "x-ringway-hops").flatten()
    {
        put(out, b"x-ringway-hops", hops);
    }
    if let Some(timeout) = what.expected_timeout_ms
        && !drops(Known::XEnvoy, b"x-envoy-expected-rq-timeout-ms")
    {
        put_number(out, b"x-envoy-expected-rq-timeout-ms", timeout);
    }
    if CHANGED {
        out.extend_from_slice(what.changes.lines());
        join::added(out, start, what.changes);
    }
    if let Some(host) = what.original_host {
        put(out, b"x-envoy-original-host", host);
    }
    if let Some(path) = what.original_path {
        put(out, b"x-envoy-original-path", path);
    }
    match what.body {
        OutBody::None if head.method.announces_empty_body() => put_number(out, b"content-length", 0),
        OutBody::None => {}
        OutBody::Length(_) if length_kept => {}
        OutBody::Length(length) => put_number(out, b"content-length", length),
        // A request cannot end with its connection (RFC 9112 §6.3): chunks are the way to send an unknown length.
        OutBody::Chunked | OutBody::UntilClose => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        // The view has the lines that ask for it.
        OutBody::Upgrade => {}
    }
    out.extend_from_slice(b"\r\n");
}

/// The names of which a line has been written in place of the client's: a bit for each id.
#[derive(Debug, Clone, Copy, Default)]
struct Replaced(u32);

impl Replaced {
    /// Notes the name. False if it was noted before.
    fn note(&mut self, id: Known) -> bool {
        let is_first = !self.has(id);
        self.0 |= 1 << id as u32;
        is_first
    }

    fn has(self, id: Known) -> bool {
        self.0 >> id as u32 & 1 != 0
    }
}

/// What becomes of the `server` line of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server<'a> {
    /// The proxy's name, in place of the upstream's.
    Overwrite(&'a [u8]),
    /// The upstream's own, if it sent one.
    PassThrough,
}

/// What the client is told about its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// It stays open.
    KeepAlive,
    /// It is closed after this message.
    Close,
}

/// A response to a client.
#[derive(Debug, Clone, Copy)]
pub struct ResponseOut<'a> {
    /// The `server` line.
    pub server: Server<'a>,
    /// `date`, if the upstream sent none.
    pub date: &'a [u8],
    /// `x-envoy-upstream-service-time`, in milliseconds. A 101 never has it.
    pub service_time_ms: Option<u64>,
    /// The framing.
    pub body: OutBody,
    /// What happens to the connection; [`OutBody::UntilClose`] closes it whatever this says.
    pub connection: Connection,
    /// The version that the client speaks.
    pub client: Version,
    /// What rules change, before `date`, `server` and the framing are written. A `server` that is overwritten is not
    /// for them to change.
    pub changes: &'a Changes,
}

/// Appends the head of a final response, or of a 101.
pub fn response(out: &mut Vec<u8>, head: &ResponseHead, buf: &[u8], what: &ResponseOut<'_>) {
    if what.changes.is_empty() {
        write_response::<false>(out, head, buf, what);
    } else {
        write_response::<true>(out, head, buf, what);
    }
}

fn write_response<const CHANGED: bool>(out: &mut Vec<u8>, head: &ResponseHead, buf: &[u8], what: &ResponseOut<'_>) {
    let drops = |id, name: &[u8]| CHANGED && what.changes.drops(id, name);
    out.reserve(head.len + 256);
    status_line(out, head.status, what.client);
    let server = what.server;
    let mut service_time = what.service_time_ms.filter(|_| what.body != OutBody::Upgrade);
    if drops(Known::XEnvoyUpstreamServiceTime, b"x-envoy-upstream-service-time") {
        service_time = None;
    }
    let nominates = forward::response_nominates(head, buf);
    let is_nominated = |line: &HeaderLine| nominates && forward::is_nominated_in_response(head, buf, line.name.of(buf));
    let (mut length_kept, mut server_sent, mut dated) = (false, false, false);
    let mut lines = Lines::new(out, buf, head.facts.canonical);
    for line in &head.headers {
        if drops(line.id, line.name.of(buf)) {
            continue;
        }
        match line.id {
            Known::Server => match server {
                Server::PassThrough if is_nominated(line) => {}
                Server::PassThrough => lines.keep(line),
                Server::Overwrite(_) if server_sent => {}
                Server::Overwrite(name) => {
                    server_sent = true;
                    lines.write(b"server", name);
                }
            },
            Known::XEnvoyUpstreamServiceTime => {
                if let Some(milliseconds) = service_time.take() {
                    lines.write_number(b"x-envoy-upstream-service-time", milliseconds);
                }
            }
            Known::ContentLength => {
                let keep = match what.body {
                    OutBody::Length(length) => says(line, buf, length),
                    OutBody::None => announces_length(head.status),
                    OutBody::Chunked | OutBody::Upgrade | OutBody::UntilClose => false,
                };
                if keep && !length_kept {
                    length_kept = true;
                    lines.keep(line);
                }
            }
            Known::Upgrade if what.body == OutBody::Upgrade => lines.keep(line),
            Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::TransferEncoding
            | Known::Upgrade => {}
            Known::XEnvoy if is_mesh_internal(line.name.of(buf)) => {}
            _ if is_nominated(line) => {}
            id => {
                dated |= id == Known::Date;
                lines.keep(line);
            }
        }
    }
    lines.finish();

    if let Some(milliseconds) = service_time {
        put_number(out, b"x-envoy-upstream-service-time", milliseconds);
    }
    if CHANGED {
        out.extend_from_slice(what.changes.lines());
    }
    let changed = if CHANGED { what.changes.of(Known::Date, b"date") } else { Change::None };
    let dated = match changed {
        Change::To(_) => true,
        Change::Gone => false,
        Change::None => dated,
    };
    if !dated {
        put(out, b"date", what.date);
    }
    if let (Server::Overwrite(name), false) = (server, server_sent) {
        put(out, b"server", name);
    }
    put_connection(out, what);
    match what.body {
        OutBody::Length(length) if !length_kept => put_number(out, b"content-length", length),
        OutBody::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        // The answer to a HEAD whose length the upstream does not know: what the GET would have said.
        OutBody::None if !length_kept && announces_body(head.status) && what.client == Version::Http11 => {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        _ => {}
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends an interim (1xx) response: the upstream's end-to-end lines, nothing of ours. Not for HTTP/1.0 clients.
pub fn interim(out: &mut Vec<u8>, head: &ResponseHead, buf: &[u8]) {
    status_line(out, head.status, Version::Http11);
    let nominates = forward::response_nominates(head, buf);
    let mut lines = Lines::new(out, buf, head.facts.canonical);
    for line in &head.headers {
        match line.id {
            Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::TransferEncoding
            | Known::ContentLength
            | Known::Upgrade => {}
            _ if nominates && forward::is_nominated_in_response(head, buf, line.name.of(buf)) => {}
            _ => lines.keep(line),
        }
    }
    lines.finish();
    out.extend_from_slice(b"\r\n");
}

/// The interim response of a proxy that answers `Expect: 100-continue` itself.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

fn put_connection(out: &mut Vec<u8>, what: &ResponseOut<'_>) {
    let line: &[u8] = match (what.body, what.connection, what.client) {
        (OutBody::Upgrade, _, _) => b"connection: upgrade\r\n",
        (OutBody::UntilClose, _, _) | (_, Connection::Close, _) => b"connection: close\r\n",
        (_, Connection::KeepAlive, Version::Http10) => b"connection: keep-alive\r\n",
        (_, Connection::KeepAlive, Version::Http11) => b"",
    };
    out.extend_from_slice(line);
}

/// Whether a response of this status may say `content-length` (RFC 9110 §8.6).
fn announces_length(status: u16) -> bool {
    !matches!(status, 100..=199 | 204)
}

/// Whether a response of this status has a body, if it does not answer a HEAD.
pub(super) fn announces_body(status: u16) -> bool {
    !matches!(status, 100..=199 | 204 | 304)
}

/// Istio's metadata exchange between sidecars, which is nobody's business outside the mesh.
fn is_mesh_internal(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 3] = [b"x-envoy-peer-metadata", b"x-envoy-peer-metadata-id", b"x-envoy-decorator-operation"];
    NAMES.iter().any(|internal| name.eq_ignore_ascii_case(internal))
}

/// Whether a `Content-Length` line says this number, written the usual way.
fn says(line: &HeaderLine, buf: &[u8], length: u64) -> bool {
    line.value.of(buf) == itoa::Buffer::new().format(length).as_bytes()
}

pub(super) fn status_line(out: &mut Vec<u8>, status: u16, client: Version) {
    out.extend_from_slice(match client {
        Version::Http10 => b"HTTP/1.0 ",
        Version::Http11 => b"HTTP/1.1 ",
    });
    out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(status::reason(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes the lines of a head in order, gathering neighbours that pass unchanged into one copy.
struct Lines<'o, 'b> {
    out: &'o mut Vec<u8>,
    buf: &'b [u8],
    /// See `head::Facts::canonical`: if not, each line is written anew.
    canonical: bool,
    /// The piece of `buf` that is to be copied next.
    run: std::ops::Range<usize>,
}

impl<'o, 'b> Lines<'o, 'b> {
    fn new(out: &'o mut Vec<u8>, buf: &'b [u8], canonical: bool) -> Self {
        Self { out, buf, canonical, run: 0..0 }
    }

    #[inline]
    fn keep(&mut self, line: &HeaderLine) {
        if self.canonical {
            let (start, end) = (line.name.start as usize, line.value.end as usize + 2);
            if self.run.end != start {
                self.copy_run();
                self.run.start = start;
            }
            self.run.end = end;
        } else {
            put_raw(self.out, line.name.of(self.buf), line.value.of(self.buf));
        }
    }

    fn write(&mut self, name: &[u8], value: &[u8]) {
        self.copy_run();
        put(self.out, name, value);
    }

    fn write_number(&mut self, name: &[u8], value: u64) {
        self.copy_run();
        put_number(self.out, name, value);
    }

    /// The line with another value, or as it is if that is its value.
    fn replace(&mut self, line: &HeaderLine, value: &[u8]) {
        if line.value.of(self.buf) == value {
            self.keep(line);
        } else {
            self.write(line.name.of(self.buf), value);
        }
    }

    #[inline]
    fn copy_run(&mut self) {
        self.out.extend_from_slice(self.buf.get(self.run.clone()).unwrap_or_default());
        self.run = 0..0;
    }

    fn finish(mut self) {
        self.copy_run();
    }
}

/// A line whose parts come from a parsed head, which cannot hold what must not be written.
fn put_raw(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

pub(super) fn put(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    put_value(out, value);
    out.extend_from_slice(b"\r\n");
}

pub(super) fn put_number(out: &mut Vec<u8>, name: &[u8], value: u64) {
    put_raw(out, name, itoa::Buffer::new().format(value).as_bytes());
}

/// A value from outside the head: whoever made it, it cannot begin another line.
#[inline]
pub(super) fn put_value(out: &mut Vec<u8>, value: &[u8]) {
    if is_value(value) {
        out.extend_from_slice(value);
    } else {
        out.extend(value.iter().filter(|byte| is_value_byte(**byte)));
    }
}

/// Whether a value may be written as it is.
#[inline]
pub(super) fn is_value(value: &[u8]) -> bool {
    // Without an early exit the compiler looks at many bytes at once.
    value.iter().fold(true, |legal, byte| legal & is_value_byte(*byte))
}

#[inline]
fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// A request target: a rewrite may have put bytes into it that would end it early, so those are percent-encoded.
#[inline]
fn put_target(out: &mut Vec<u8>, target: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let is_legal = |byte: &u8| (0x21..0x7f).contains(byte);
    if target.is_empty() {
        out.push(b'/');
    } else if target.iter().fold(true, |legal, byte| legal & is_legal(byte)) {
        out.extend_from_slice(target);
    } else {
        for byte in target {
            if is_legal(byte) {
                out.push(*byte);
            } else {
                out.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
    }
}
