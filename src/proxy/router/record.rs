//! Counting and logging a request, in one place.

use crate::http::head::{Known, RequestHead, Version};
use crate::http::header_ops::Change;
use crate::io;
use crate::observe::access_log::{Headers, Record};
use crate::observe::flags::Flags;
use crate::proxy::router::header_scratch::{DownstreamRequest, HeaderScratch};
use crate::proxy::router::templates::Sent;
use crate::proxy::stream::Stream;

/// The headers that a log format may ask for, as they were sent.
struct LoggedHeaders<'a> {
    /// `None` for a request that was not parsed.
    sent: Option<Sent<'a>>,
    head: &'a RequestHead,
    buf: &'a [u8],
    scratch: &'a HeaderScratch,
    service_time: Option<&'a str>,
    scheme: Option<&'a str>,
}

impl Headers for LoggedHeaders<'_> {
    fn request(&self, name: &str) -> Option<&[u8]> {
        let id = Known::of(name.as_bytes());
        match &self.sent {
            Some(_) if name == ":scheme" => self.scheme.map(str::as_bytes),
            Some(sent) => sent.header(id, name),
            None if matches!(id, Known::XRequestId | Known::XForwardedFor) => None,
            None => self.head.value_of(name, self.buf),
        }
    }

    fn response(&self, name: &str) -> Option<&[u8]> {
        let id = Known::of(name.as_bytes());
        if id != Known::XEnvoyUpstreamServiceTime {
            return self.scratch.shown(name);
        }
        match self.scratch.response.of(id, name.as_bytes()) {
            Change::To(value) => Some(value),
            Change::Gone => None,
            Change::None => self.service_time.map(str::as_bytes),
        }
    }
}

impl Stream<'_> {
    /// Counts the request, which has ended, and writes its line.
    pub(crate) fn finish(&mut self) {
        let info = &self.info;
        let now = io::now();
        let duration = now.duration_since(info.began);
        let http = &self.conn.http;
        http.downstream_rq_active.dec();
        http.downstream_rq_time.record(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        if info.status > 0 {
            http.response(info.status);
        }
        if info.flags.contains(Flags::DC) {
            http.downstream_rq_rx_reset.inc();
            http.downstream_cx_destroy_remote_active_rq.inc();
            http.downstream_cx_destroy_active_rq.inc();
        }
        let downstream = self.downstream();
        let DownstreamRequest { head, buf, .. } = downstream;
        let scratch = &self.scratch.headers;
        let mut digits = itoa::Buffer::new();
        let service_time = info.service_time.map(|time| digits.format(time.as_millis()));
        let parsed = info.parsed;
        let headers = LoggedHeaders {
            sent: parsed.as_ref().map(|parsed| scratch.sent(downstream, info, parsed)),
            head,
            buf,
            scratch,
            service_time,
            scheme: parsed.map(|parsed| parsed.scheme),
        };
        // A head that the codec refused has no reliable method or path; Envoy shows none either. A body that it refused
        // does not put the head in doubt.
        let refused = info.flags.contains(Flags::DPE) && parsed.is_none();
        self.conn.core.log(&Record {
            start: io::unix_time().checked_sub(duration).unwrap_or(std::time::UNIX_EPOCH),
            method: if refused { &[] } else { head.method_span.of(buf) },
            path: match parsed {
                Some(_) if info.rewritten => &scratch.rewritten,
                Some(parsed) => parsed.target(buf, &scratch.path),
                None if refused => &[],
                None => head.target.of(buf),
            },
            authority: match parsed {
                Some(parsed) => info.authority.map_or(parsed.host.of(buf), str::as_bytes),
                None if refused => &[],
                None => head.find(Known::Host).map_or(&[], |line| line.value.of(buf)),
            },
            protocol: if !refused && head.version == Version::Http10 { "HTTP/1.0" } else { "HTTP/1.1" },
            status: info.status,
            flags: info.flags,
            details: &info.details,
            transport_failure: &info.transport_failure,
            bytes_received: info.received,
            bytes_sent: info.sent,
            duration,
            upstream_service_time: info.service_time,
            upstream_host: info.upstream_host.clone(),
            upstream_connected: info.upstream_connected,
            upstream_cluster: info.cluster,
            upstream_local: info.upstream_local,
            downstream_local: self.conn.local,
            downstream_remote: self.conn.peer,
            server_name: "",
            route_name: info.route,
            headers: &headers,
        });
    }
}
