//! Header operations of rules (`headers`): their templates become values, and the values become the [`HeaderOps`] of
//! a message.
//!
//! Values are computed from the head after the operations' removals and before all others. An empty value is neither
//! set nor added.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Instant;

use crate::base::endpoint::EndpointAddress;
use crate::http::forward::{self, Completion, LISTS, View};
use crate::http::head::{Known, ResponseHead, Version};
use crate::http::header_ops::{Change, HeaderOps};
use crate::io;
use crate::observe::date;
use crate::observe::flags::Flags;
use crate::plan::{AddressPart, Edits, Field, HeaderName, Lookup, Operator, Template};

/// The headers of a request as they go upstream, for templates and for the log.
#[derive(Clone, Copy)]
pub(crate) struct Sent<'a> {
    /// The request before rules change it.
    pub(crate) view: View<'a>,
    /// The rules' operations; empty while they are being computed.
    pub(crate) ops: &'a HeaderOps,
    /// The proxy's own lists with the values that rules add; empty without any.
    pub(crate) lists: &'a Completion,
    /// `x-envoy-attempt-count`; empty: the client's is kept.
    pub(crate) attempt: &'a [u8],
    /// `x-envoy-expected-rq-timeout-ms`; empty: not sent.
    pub(crate) expected_timeout: &'a [u8],
    /// The target before it was rewritten, if it was.
    pub(crate) original_path: Option<&'a [u8]>,
    /// The authority before it was rewritten, if it was.
    pub(crate) original_host: Option<&'a [u8]>,
}

impl<'a> Sent<'a> {
    /// The first value of a header; `id` is the id of its name.
    pub(crate) fn header(&self, id: Known, name: &str) -> Option<&'a [u8]> {
        match self.ops.of(id, name.as_bytes()) {
            // Added values have become a part of it.
            Change::To(_) if LISTS.iter().any(|(list, _)| *list == id) => return Some(self.lists.list(id)),
            Change::To(value) if self.ops.drops(id, name.as_bytes()) => return Some(value),
            // Added values come after the existing ones.
            Change::To(value) => return self.unchanged(id, name).or(Some(value)),
            Change::Gone => return None,
            Change::None => {}
        }
        self.unchanged(id, name)
    }

    fn unchanged(&self, id: Known, name: &str) -> Option<&'a [u8]> {
        let own = |value: &'a [u8]| (!value.is_empty()).then_some(value);
        let is = |other| name.eq_ignore_ascii_case(other);
        // Headers that routing has added; the view has the rest.
        let routed = match id {
            Known::XEnvoy if is("x-envoy-original-path") => self.original_path,
            Known::XEnvoy if is("x-envoy-original-host") => self.original_host,
            Known::XEnvoy if is("x-envoy-attempt-count") => own(self.attempt),
            Known::XEnvoy if is("x-envoy-expected-rq-timeout-ms") => own(self.expected_timeout),
            _ => None,
        };
        routed.or_else(|| self.view.first(id, name))
    }
}

/// A response as it came from the upstream.
#[derive(Clone, Copy)]
pub(crate) struct Received<'a> {
    pub(crate) head: &'a ResponseHead,
    pub(crate) buf: &'a [u8],
    /// `x-envoy-upstream-service-time` in milliseconds.
    pub(crate) service_time: Option<u64>,
}

/// All that an operator can name.
#[derive(Clone, Copy)]
pub(crate) struct TemplateContext<'a> {
    pub(crate) sent: Sent<'a>,
    /// Path and query; those of the client for operations on the request, those of the upstream for the others.
    pub(crate) target: &'a [u8],
    /// Likewise.
    pub(crate) authority: &'a [u8],
    pub(crate) scheme: &'a str,
    /// Whether the operations are those on the response.
    pub(crate) answering: bool,
    /// The upstream's response, if it is that.
    pub(crate) received: Option<Received<'a>>,
    /// 0 before a response, or for a local reply (Envoy computes these before it has the code).
    pub(crate) status: u16,
    pub(crate) flags: Flags,
    pub(crate) route: &'a str,
    pub(crate) cluster: &'a str,
    pub(crate) upstream: Option<&'a EndpointAddress>,
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    /// When the first byte of the request came.
    pub(crate) began: Instant,
    pub(crate) hostname: &'a str,
}

/// Works operations out. `keeps` is a header that they cannot change: `server`, if it is overwritten.
pub(crate) fn work_out(edits: &Edits, context: &TemplateContext<'_>, keeps: Option<Known>, ops: &mut HeaderOps) {
    let changeable = |name: &&HeaderName| Some(name.id()) != keeps;
    for name in edits.remove.iter().filter(changeable) {
        ops.remove(name.id(), name.as_str().as_bytes());
    }
    let value = |template: &Template, out: &mut Vec<u8>| match template.constant() {
        Some(value) => out.extend_from_slice(value),
        None => template.operators().iter().for_each(|operator| context.write(operator, &edits.remove, out)),
    };
    for (name, template) in edits.set.iter().filter(|(name, _)| changeable(&name)) {
        ops.set(name.id(), name.as_str().as_bytes(), |out| value(template, out));
    }
    for (name, template) in edits.add.iter().filter(|(name, _)| changeable(&name)) {
        ops.add(name.id(), name.as_str().as_bytes(), |out| value(template, out));
    }
}

impl TemplateContext<'_> {
    fn write(&self, operator: &Operator, removed: &[HeaderName], out: &mut Vec<u8>) {
        match operator {
            Operator::Literal(text) => out.extend_from_slice(text),
            Operator::Request(lookup) => look_up(lookup, out, |field| {
                // A response's removals do not affect the request.
                self.of_request(field, if self.answering { &[] } else { removed })
            }),
            Operator::Response(lookup) => {
                let mut digits = itoa::Buffer::new();
                let service_time = self.received.and_then(|received| received.service_time);
                let service_time = service_time.map(|time| digits.format(time).as_bytes());
                look_up(lookup, out, |field| self.of_response(field, removed, service_time));
            }
            Operator::Protocol => out.extend_from_slice(match self.sent.view.head.version {
                Version::Http10 => b"HTTP/1.0",
                Version::Http11 => b"HTTP/1.1",
            }),
            Operator::ResponseCode => out.extend_from_slice(itoa::Buffer::new().format(self.status).as_bytes()),
            Operator::ResponseFlags => self.flags.write(out),
            Operator::StartTime => {
                let ago = io::now().duration_since(self.began);
                date::write_start_time(out, io::unix_time().checked_sub(ago).unwrap_or(std::time::UNIX_EPOCH));
            }
            Operator::Hostname => out.extend_from_slice(self.hostname.as_bytes()),
            Operator::RouteName => out.extend_from_slice(self.route.as_bytes()),
            Operator::UpstreamCluster => out.extend_from_slice(self.cluster.as_bytes()),
            Operator::UpstreamHost => {
                if let Some(address) = self.upstream {
                    let _ = write!(out, "{address}"); // a Vec takes every write
                }
            }
            Operator::DownstreamRemote(part) => write_address(self.peer, *part, out),
            Operator::DownstreamLocal(part) => write_address(self.local, *part, out),
        }
    }

    fn of_request(&self, field: &Field, removed: &[HeaderName]) -> Option<&[u8]> {
        match field {
            Field::Method => Some(self.sent.view.method()),
            Field::Path => Some(self.target),
            Field::Authority => Some(self.authority),
            Field::Scheme => Some(self.scheme.as_bytes()),
            Field::Header(name) if removed.contains(name) => None,
            Field::Header(name) => self.sent.header(name.id(), name.as_str()),
        }
    }

    fn of_response<'s>(
        &'s self,
        field: &Field,
        removed: &[HeaderName],
        service_time: Option<&'s [u8]>,
    ) -> Option<&'s [u8]> {
        let received = self.received?;
        match field {
            Field::Header(name) if removed.contains(name) => None,
            Field::Header(name) if name.id() == Known::XEnvoyUpstreamServiceTime => service_time,
            Field::Header(name) => forward::response_value(received.head, received.buf, name.as_str()),
            Field::Method | Field::Path | Field::Authority | Field::Scheme => None,
        }
    }
}

fn look_up<'s>(lookup: &Lookup, out: &mut Vec<u8>, find: impl Fn(&Field) -> Option<&'s [u8]>) {
    let value = find(&lookup.field).or_else(|| lookup.or.as_ref().and_then(&find));
    if let Some(value) = value {
        out.extend_from_slice(value.get(..lookup.most).unwrap_or(value));
    }
}

fn write_address(address: SocketAddr, part: AddressPart, out: &mut Vec<u8>) {
    // A Vec takes every write.
    let _ = match part {
        AddressPart::Whole => write!(out, "{address}"),
        AddressPart::WithoutPort => write!(out, "{}", address.ip()),
        AddressPart::Port => write!(out, "{}", address.port()),
    };
}
