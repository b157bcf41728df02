//! Responses that the proxy makes itself, in Envoy's order of lines.

use super::head::Known;
use super::header_ops::HeaderOps;
use super::sink::{Framing, HeadSink};
use super::status;

/// A response that the proxy makes itself.
#[derive(Debug, Clone, Copy)]
pub struct LocalReply<'a> {
    /// The status.
    pub status: u16,
    /// The body, as `text/plain` if the rules do not say otherwise; may be empty.
    pub body: &'a [u8],
    /// Whether an empty body is one whose length is not said: as of the answer to a HEAD, which Envoy does not measure.
    /// `curl -I` shows it.
    pub unmeasured: bool,
    /// The `server` line, if there is one.
    pub server: Option<&'a [u8]>,
    /// The `date` line.
    pub date: &'a [u8],
    /// `location`, if the client is sent elsewhere.
    pub location: Option<&'a [u8]>,
    /// Whether a circuit breaker answers: `x-envoy-overloaded`, so that proxies before this one do not try again.
    pub overloaded: bool,
    /// The rules' header operations, before `server`, `date` and the framing are written. They cannot change a `server`
    /// that is overwritten.
    pub ops: &'a HeaderOps,
}

impl LocalReply<'_> {
    /// Gives its head to `sink`.
    pub fn head(&self, sink: &mut impl HeadSink) {
        let ops = self.ops;
        sink.status(self.status);
        if self.overloaded && !ops.drops(Known::Other, b"x-envoy-overloaded") {
            sink.put(b"x-envoy-overloaded", b"true");
        }
        if let Some(location) = self.location
            && !ops.drops(Known::Other, b"location")
        {
            sink.put(b"location", location);
        }
        for (_, name, value) in ops.lines() {
            sink.put(name, value);
        }
        let has_body = status::has_body(self.status);
        if !self.body.is_empty() && has_body {
            sink.put_number(b"content-length", self.body.len() as u64);
            if !ops.has_line(Known::Other, b"content-type") {
                sink.put(b"content-type", b"text/plain");
            }
        }
        if !ops.has_line(Known::Date, b"date") {
            sink.put(b"date", self.date);
        }
        if let Some(server) = self.server {
            sink.put(b"server", server);
        }
        sink.end(match self.body.is_empty() && has_body {
            false => Framing::Said,
            true if self.unmeasured => Framing::Unknown,
            true => Framing::Length(0),
        });
    }
}
