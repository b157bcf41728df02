//! Responses that the proxy makes itself, in Envoy's order of lines.

use super::change::Changes;
use super::encode::{announces_body, put, put_number, status_line};
use super::head::{Known, Version};

/// A response that the proxy makes itself.
#[derive(Debug, Clone, Copy)]
pub struct LocalReply<'a> {
    /// The status.
    pub status: u16,
    /// The body, as `text/plain` if the rules do not say otherwise; may be empty.
    pub body: &'a [u8],
    /// Whether it answers a HEAD: headers as for GET, no body.
    pub head_request: bool,
    /// Whether the connection is closed after it.
    pub close: bool,
    /// The version that the client speaks.
    pub client: Version,
    /// The `server` line, if there is one.
    pub server: Option<&'a [u8]>,
    /// The `date` line.
    pub date: &'a [u8],
    /// `location`, if the client is sent elsewhere.
    pub location: Option<&'a [u8]>,
    /// Whether a circuit breaker answers: `x-envoy-overloaded`, so that proxies before this one do not try again.
    pub overloaded: bool,
    /// What rules change, before `server`, `date` and the framing are written. A `server` that is overwritten is not
    /// for them to change.
    pub changes: &'a Changes,
}

/// Appends a whole local reply, head and body.
pub fn write_local_reply(out: &mut Vec<u8>, reply: &LocalReply<'_>) {
    let changes = reply.changes;
    status_line(out, reply.status, reply.client);
    if reply.overloaded && !changes.drops(Known::Other, b"x-envoy-overloaded") {
        put(out, b"x-envoy-overloaded", b"true");
    }
    if let Some(location) = reply.location
        && !changes.drops(Known::Other, b"location")
    {
        put(out, b"location", location);
    }
    out.extend_from_slice(changes.lines());
    let bodiless = !announces_body(reply.status);
    if !reply.body.is_empty() && !bodiless {
        put_number(out, b"content-length", reply.body.len() as u64);
        if !changes.has_line(Known::Other, b"content-type") {
            put(out, b"content-type", b"text/plain");
        }
    }
    if !changes.has_line(Known::Date, b"date") {
        put(out, b"date", reply.date);
    }
    if let Some(server) = reply.server {
        put(out, b"server", server);
    }
    match (reply.close, reply.client) {
        (true, _) => out.extend_from_slice(b"connection: close\r\n"),
        (false, Version::Http10) => out.extend_from_slice(b"connection: keep-alive\r\n"),
        (false, Version::Http11) => {}
    }
    if reply.body.is_empty() && !bodiless {
        // Envoy does not know the length of what it does not send; `curl -I` shows it.
        if reply.head_request && reply.client == Version::Http11 {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
        } else {
            put_number(out, b"content-length", 0);
        }
    }
    out.extend_from_slice(b"\r\n");
    if !reply.head_request && !bodiless {
        out.extend_from_slice(reply.body);
    }
}
