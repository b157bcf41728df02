//! Counting and logging a request, in one place.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::conn::Session;
use super::request::Asked;
use crate::h1::head::{Known, RequestHead, Version};
use crate::io;
use crate::observe::access_log::{Headers, Record};
use crate::observe::flags::Flags;

/// What is noted of a request along its way.
#[derive(Debug)]
pub(super) struct Story<'p> {
    /// When its first byte was seen.
    pub(super) began: Instant,
    /// The status sent; 0 if none was.
    pub(super) status: u16,
    pub(super) flags: Flags,
    pub(super) details: Cow<'static, str>,
    pub(super) transport_failure: Cow<'static, str>,
    /// Body bytes received from the client.
    pub(super) received: u64,
    /// Body bytes sent to the client.
    pub(super) sent: u64,
    /// From the end of the request to the head of the upstream's response.
    pub(super) service_time: Option<Duration>,
    pub(super) upstream_host: Option<SocketAddr>,
    pub(super) upstream_local: Option<SocketAddr>,
    /// The cluster's name, or "".
    pub(super) cluster: &'p str,
    /// The route's name, or "".
    pub(super) route: &'p str,
    /// The `x-request-id` sent on.
    pub(super) request_id: Option<[u8; 36]>,
    /// What the request asked for, once that is understood.
    pub(super) asked: Option<Asked>,
}

impl Story<'_> {
    pub(super) fn new(began: Instant) -> Self {
        Self {
            began,
            status: 0,
            flags: Flags::NONE,
            details: "".into(),
            transport_failure: "".into(),
            received: 0,
            sent: 0,
            service_time: None,
            upstream_host: None,
            upstream_local: None,
            cluster: "",
            route: "",
            request_id: None,
            asked: None,
        }
    }
}

/// The headers that a log format may ask for, with those that the proxy set in place of the client's.
struct LoggedHeaders<'a> {
    head: &'a RequestHead,
    buf: &'a [u8],
    forwarded_for: Option<&'a [u8]>,
    request_id: Option<&'a [u8]>,
    service_time: Option<&'a str>,
}

impl Headers for LoggedHeaders<'_> {
    fn request(&self, name: &str) -> Option<&[u8]> {
        if name.eq_ignore_ascii_case("x-request-id") {
            self.request_id
        } else if name.eq_ignore_ascii_case("x-forwarded-for") {
            self.forwarded_for
        } else {
            self.head.value_of(name, self.buf)
        }
    }

    fn response(&self, name: &str) -> Option<&[u8]> {
        if name.eq_ignore_ascii_case("x-envoy-upstream-service-time") {
            self.service_time.map(str::as_bytes)
        } else {
            None
        }
    }
}

/// Writes `x-forwarded-for` as it goes upstream into `out`: the client's lines joined, the peer appended.
fn forwarded_for(session: &Session, out: &mut Vec<u8>) {
    out.clear();
    for line in session.head.all(Known::XForwardedFor) {
        out.extend_from_slice(line.value.of(session.input.bytes()));
        out.push(b',');
    }
    out.extend_from_slice(session.forwarded_for.as_bytes());
}

/// Counts a request that has ended, and writes its line.
pub(super) fn finish(session: &mut Session, story: &Story<'_>) {
    let now = io::now();
    let duration = now.duration_since(story.began);
    let http = &session.stats.http;
    http.downstream_rq_active.dec();
    http.downstream_rq_time.record(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    if story.status > 0 {
        http.response(story.status);
    }
    if story.flags.contains(Flags::DC) {
        http.downstream_rq_rx_reset.inc();
        http.downstream_cx_destroy_remote_active_rq.inc();
        http.downstream_cx_destroy_active_rq.inc();
    }
    let mut logged = std::mem::take(&mut session.logged);
    forwarded_for(session, &mut logged);
    let buf = session.input.bytes();
    let head = &session.head;
    let mut digits = itoa::Buffer::new();
    let service_time = story.service_time.map(|time| digits.format(time.as_millis()));
    let headers = LoggedHeaders {
        head,
        buf,
        forwarded_for: story.request_id.map(|_| logged.as_slice()),
        request_id: story.request_id.as_ref().map(<[u8; 36]>::as_slice),
        service_time,
    };
    // What the codec refused has no method or path that could be trusted; Envoy shows none either.
    let refused = story.flags.contains(Flags::DPE);
    let asked = story.asked;
    session.core.log(&Record {
        start: io::unix_time().checked_sub(duration).unwrap_or(std::time::UNIX_EPOCH),
        method: if refused { &[] } else { head.method_span.of(buf) },
        path: match asked {
            Some(asked) => asked.target(session),
            None if refused => &[],
            None => head.target.of(buf),
        },
        authority: match asked {
            Some(asked) => asked.host.of(buf),
            None if refused => &[],
            None => head.find(Known::Host).map_or(&[], |line| line.value.of(buf)),
        },
        protocol: if !refused && head.version == Version::Http10 { "HTTP/1.0" } else { "HTTP/1.1" },
        status: story.status,
        flags: story.flags,
        details: &story.details,
        termination_details: "",
        transport_failure: &story.transport_failure,
        bytes_received: story.received,
        bytes_sent: story.sent,
        duration,
        upstream_service_time: story.service_time,
        upstream_host: story.upstream_host,
        upstream_cluster: story.cluster,
        upstream_local: story.upstream_local,
        downstream_local: session.local,
        downstream_remote: session.peer,
        server_name: "",
        route_name: story.route,
        headers: &headers,
    });
    session.logged = logged;
}
