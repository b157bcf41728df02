//! Counting and logging a request, in one place.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::conn::Session;
use crate::h1::head::{RequestHead, Version};
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
    pub(super) request_id: Option<[u8; 36]>,
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
        }
    }
}

/// The headers that a log format may ask for, with those that the proxy set in place of the client's.
struct LoggedHeaders<'a> {
    head: &'a RequestHead,
    buf: &'a [u8],
    forwarded_for: &'a str,
    request_id: Option<&'a [u8]>,
    service_time: Option<&'a str>,
}

impl Headers for LoggedHeaders<'_> {
    fn request(&self, name: &str) -> Option<&[u8]> {
        match name {
            "x-request-id" => self.request_id,
            "x-forwarded-for" if self.request_id.is_some() && !self.head.has(crate::h1::head::Known::XForwardedFor) => {
                Some(self.forwarded_for.as_bytes())
            }
            _ => self.head.value_of(name, self.buf),
        }
    }

    fn response(&self, name: &str) -> Option<&[u8]> {
        match name {
            "x-envoy-upstream-service-time" => self.service_time.map(str::as_bytes),
            _ => None,
        }
    }
}

/// Counts a request that has ended, and writes its line.
pub(super) fn finish(session: &Session, story: &Story<'_>) {
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
    let buf = session.input.bytes();
    let head = &session.head;
    let mut digits = itoa::Buffer::new();
    let service_time = story.service_time.map(|time| digits.format(time.as_millis()));
    let headers = LoggedHeaders {
        head,
        buf,
        forwarded_for: &session.forwarded_for,
        request_id: story.request_id.as_ref().map(<[u8; 36]>::as_slice),
        service_time,
    };
    session.core.log(&Record {
        start: io::unix_time().checked_sub(duration).unwrap_or(std::time::UNIX_EPOCH),
        method: head.method_span.of(buf),
        path: head.target.of(buf),
        protocol: match (head.len, head.version) {
            (0, _) => "",
            (_, Version::Http10) => "HTTP/1.0",
            (_, Version::Http11) => "HTTP/1.1",
        },
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
        authority: head.find(crate::h1::head::Known::Host).map_or(&[], |line| line.value.of(buf)),
    });
}
