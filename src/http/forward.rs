//! The head of a request that a proxy forwards, before rules change it: the header lines that pass, those that it removes,
//! and those that it writes itself (RFC 9110 §7.6.1, Envoy's `ConnectionManagerUtility::mutateRequestHeaders`).
//!
//! These rules are only here. Conditions, operators, CORS, traces, the access log and `explain` read a request through its
//! [`View`], and [`super::outgoing`] sends the head by the same view, so that no decision is made by a line that the upstream
//! does not get. [`Completion::complete`] must be called before routing. It must never know a route: headers that routing
//! adds (`x-envoy-attempt-count`, `x-envoy-original-path`, …) are not part of the view.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::field_value::list;
use super::head::{HeaderLine, Known, RequestHead, ResponseHead};
use super::header_ops::HeaderOps;

const ATTEMPT_COUNT: &str = "x-envoy-attempt-count";
const EXTERNAL_ADDRESS: &str = "x-envoy-external-address";

/// The origin of a request, which decides whether its forwarding headers are trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Downstream {
    /// From outside, to an edge proxy: not trusted. `x-forwarded-for` is appended to, the client's other forwarding headers
    /// are replaced.
    #[default]
    Edge,
    /// From a local application: its forwarding headers are trusted.
    Outbound,
    /// To the local application, mostly from the caller's sidecar: its forwarding headers are trusted, its attempt count
    /// included.
    Inbound,
}

impl Downstream {
    /// Whether the request's x-forwarded-* and x-request-id are trusted.
    #[must_use]
    pub fn is_trusted(self) -> bool {
        self != Self::Edge
    }
}

/// The headers that the proxy writes for a request, in memory that the next request reuses.
#[derive(Debug, Clone, Default)]
pub struct Completion {
    done: bool,
    forwarded_for: Vec<u8>,
    forwarded_proto: Vec<u8>,
    request_id: Vec<u8>,
    /// `x-ringway-hops`: see [`super::hops`]. Empty: not said.
    pub hops: Vec<u8>,
}

impl Completion {
    /// Forgets the last request.
    pub fn clear(&mut self) {
        self.done = false;
        self.forwarded_for.clear();
        self.forwarded_proto.clear();
        self.request_id.clear();
        self.hops.clear();
    }

    /// Completes a request that came without TLS. `peer` is the client as `x-forwarded-for` names it at an edge; `new_id` is
    /// called if the request has no trusted id.
    ///
    /// A header that Envoy treats as a list becomes one line, however many lines it came in.
    pub fn complete<I: AsRef<[u8]>>(
        &mut self,
        head: &RequestHead,
        buf: &[u8],
        downstream: Downstream,
        peer: &[u8],
        new_id: impl FnOnce() -> I,
    ) {
        self.done = true;
        let trusted = downstream.is_trusted();
        head.all(Known::XForwardedFor).for_each(|line| append(&mut self.forwarded_for, line.value.of(buf)));
        if !trusted {
            append(&mut self.forwarded_for, peer);
        }
        // An empty line is ignored.
        if trusted {
            let said = head.all(Known::XForwardedProto);
            said.for_each(|line| append(&mut self.forwarded_proto, line.value.of(buf)));
        }
        if self.forwarded_proto.is_empty() {
            self.forwarded_proto.extend_from_slice(b"http");
        }
        if trusted && !is_nominated(head.all(Known::Connection), buf, b"x-request-id") {
            head.all(Known::XRequestId).for_each(|line| append(&mut self.request_id, line.value.of(buf)));
        }
        if self.request_id.is_empty() {
            self.request_id.extend_from_slice(new_id().as_ref());
        }
    }

    /// The list header, of [`LISTS`]; empty: not a list.
    #[must_use]
    pub fn list(&self, id: Known) -> &[u8] {
        match id {
            Known::XForwardedFor => &self.forwarded_for,
            Known::XForwardedProto => &self.forwarded_proto,
            Known::XRequestId => &self.request_id,
            _ => &[],
        }
    }

    /// Applies `ops` to the lists of `before`, where added values are appended.
    pub fn note_changes(&mut self, before: &Self, ops: &HeaderOps) {
        let lists = [&mut self.forwarded_for, &mut self.forwarded_proto, &mut self.request_id];
        for ((id, name), own) in LISTS.into_iter().zip(lists) {
            if !ops.drops(id, name) {
                own.extend_from_slice(before.list(id));
            }
            ops.values(id).for_each(|value| append(own, value));
        }
    }
}

/// The headers that the proxy itself writes in every request, that are lists in its hands and that rules may add to.
pub const LISTS: [(Known, &[u8]); 3] = [
    (Known::XForwardedFor, b"x-forwarded-for"),
    (Known::XForwardedProto, b"x-forwarded-proto"),
    (Known::XRequestId, b"x-request-id"),
];

/// The address by which `x-forwarded-for` names a client at `peer`. For a client on this host it is the host's `own` address,
/// if it has one; other addresses of 127.0.0.0/8 are kept (Envoy's `isLoopbackAddress`).
#[must_use]
pub fn peer_address(peer: IpAddr, own: Option<IpAddr>) -> IpAddr {
    let address = peer.to_canonical();
    match own {
        Some(own) if address == Ipv4Addr::LOCALHOST || address == Ipv6Addr::LOCALHOST => own,
        _ => address,
    }
}

/// Appends to a list as Envoy does: comma, no blank.
fn append(list: &mut Vec<u8>, value: &[u8]) {
    if !list.is_empty() && !value.is_empty() {
        list.push(b',');
    }
    list.extend_from_slice(value);
}

/// The scheme by which the client reached the proxy, or says that it was reached: `http` or `https`.
#[must_use]
pub fn scheme(head: &RequestHead, buf: &[u8], downstream: Downstream) -> &'static str {
    if !downstream.is_trusted() || !head.has(Known::XForwardedProto) {
        return "http";
    }
    let mut said = head.all(Known::XForwardedProto).map(|line| line.value.of(buf));
    match (said.next(), said.next()) {
        (Some(scheme), None) if scheme.eq_ignore_ascii_case(b"https") => "https",
        _ => "http",
    }
}

/// The handling of a header line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ruling<'a> {
    /// It passes unchanged.
    Pass,
    /// It does not go on.
    Remove,
    /// The first line of its name says this instead, and the others do not go on.
    Replace(&'a [u8]),
}

/// A request as it goes upstream, before rules change it.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The head as it was received.
    pub head: &'a RequestHead,
    /// The buffer that the spans of `head` point into.
    pub buf: &'a [u8],
    /// The headers that the proxy writes.
    pub completion: &'a Completion,
    /// Where it comes from.
    pub downstream: Downstream,
    /// `x-envoy-external-address`, which an edge proxy says.
    pub external_address: &'a [u8],
    /// Whether it asks for an upgrade that is let through.
    pub tunnel: bool,
}

impl<'a> View<'a> {
    /// The method as sent.
    #[inline]
    #[must_use]
    pub fn method(&self) -> &'a [u8] {
        self.head.method_span.of(self.buf)
    }

    /// The value of the first line of this name, whose id is `id`. `Host` is as received: its replacement is the router's.
    #[must_use]
    pub fn first(&self, id: Known, name: &str) -> Option<&'a [u8]> {
        self.values(id, name).next()
    }

    /// The values of all lines of this name, in order.
    #[inline]
    pub fn values<'v>(&'v self, id: Known, name: &'v str) -> Values<'v, 'a> {
        // Where the proxy writes the header, it is the only one that does.
        match self.written(id, name) {
            Some(written) => Values { written, lines: Lines { view: self, lines: [].iter(), id, name } },
            None => Values { written: None, lines: self.lines(id, name) },
        }
    }

    /// The lines of this name that pass unchanged, in order.
    #[inline]
    pub fn lines<'v>(&'v self, id: Known, name: &'v str) -> Lines<'v, 'a> {
        Lines { view: self, lines: self.head.span_of(id).iter(), id, name }
    }

    /// The proxy's own value of a header, if the proxy writes it.
    #[inline]
    pub(crate) fn written(&self, id: Known, name: &str) -> Option<Option<&'a [u8]>> {
        let completion = self.completion;
        let completed = |value: &'a [u8]| Some(value).filter(|_| completion.done);
        let replaced = || {
            self.head.all(id).find_map(|line| match self.ruling(line, true) {
                Ruling::Replace(value) => Some(value),
                Ruling::Pass | Ruling::Remove => None,
            })
        };
        Some(match id {
            Known::XForwardedFor => {
                let says = self.head.has(id) || !completion.forwarded_for.is_empty();
                completed(&completion.forwarded_for).filter(|_| says)
            }
            Known::XForwardedProto => completed(&completion.forwarded_proto),
            Known::XRequestId => completed(&completion.request_id),
            Known::XRingwayHops => completed(&completion.hops).filter(|hops| !hops.is_empty()),
            Known::XEnvoy if name.eq_ignore_ascii_case(EXTERNAL_ADDRESS) => self.external_address(),
            Known::Connection | Known::Te => replaced(),
            _ => return None,
        })
    }

    fn external_address(&self) -> Option<&'a [u8]> {
        Some(self.external_address).filter(|address| !self.downstream.is_trusted() && !address.is_empty())
    }

    /// Whether [`View::ruling`] has to compare lines with the names in `Connection`.
    #[inline]
    pub(crate) fn nominates(&self) -> bool {
        self.head.has(Known::Connection) && nominated(self.head.all(Known::Connection), self.buf).next().is_some()
    }

    /// The handling of one of the head's lines. `nominates` may be true though [`View::nominates`] is not, which only costs
    /// time.
    #[inline]
    pub(crate) fn ruling(&self, line: &HeaderLine, nominates: bool) -> Ruling<'a> {
        // Most lines of most heads.
        if line.id == Known::Other && !nominates { Ruling::Pass } else { self.ruling_by_name(line, nominates) }
    }

    fn ruling_by_name(&self, line: &HeaderLine, nominates: bool) -> Ruling<'a> {
        match line.id {
            Known::Other | Known::UserAgent | Known::Server | Known::Date | Known::Expect => {
                if nominates && self.is_nominated(line) { Ruling::Remove } else { Ruling::Pass }
            }
            // Where a message goes and where it ends is not the client's `Connection` to say.
            Known::Host | Known::ContentLength | Known::XForwardedHost => Ruling::Pass,
            Known::XForwardedFor => Ruling::Replace(&self.completion.forwarded_for),
            Known::XForwardedProto => Ruling::Replace(&self.completion.forwarded_proto),
            Known::XRequestId => Ruling::Replace(&self.completion.request_id),
            Known::XRingwayHops if self.completion.hops.is_empty() => Ruling::Remove,
            Known::XRingwayHops => Ruling::Replace(&self.completion.hops),
            Known::Te => {
                let trailers = list(line.value.of(self.buf)).any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
                if trailers { Ruling::Replace(b"trailers") } else { Ruling::Remove }
            }
            Known::Upgrade if self.tunnel => Ruling::Pass,
            // The other options are about the client's connection.
            Known::Connection if self.tunnel => {
                let upgrade = list(line.value.of(self.buf)).find(|option| option.eq_ignore_ascii_case(b"upgrade"));
                upgrade.map_or(Ruling::Remove, Ruling::Replace)
            }
            Known::XEnvoy if self.downstream == Downstream::Inbound && is_named(line, self.buf, ATTEMPT_COUNT) => {
                if nominates && self.is_nominated(line) {
                    Ruling::Remove
                } else {
                    Ruling::Pass
                }
            }
            // Only the proxy may report a client's certificate, and there was none (Envoy's SANITIZE).
            Known::XForwardedClientCert
            | Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::TransferEncoding
            | Known::Upgrade
            | Known::XEnvoyUpstreamServiceTime
            | Known::XEnvoy => Ruling::Remove,
        }
    }

    fn is_nominated(&self, line: &HeaderLine) -> bool {
        is_nominated(self.head.all(Known::Connection), self.buf, line.name.of(self.buf))
    }
}

/// The values of a header as it goes upstream: see [`View::values`].
#[derive(Debug, Clone)]
pub struct Values<'v, 'a> {
    written: Option<&'a [u8]>,
    lines: Lines<'v, 'a>,
}

impl<'a> Iterator for Values<'_, 'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        self.written.take().or_else(|| Some(self.lines.next()?.value.of(self.lines.view.buf)))
    }
}

/// Header lines that pass unchanged: see [`View::lines`].
#[derive(Debug, Clone)]
pub struct Lines<'v, 'a> {
    view: &'v View<'a>,
    lines: std::slice::Iter<'a, HeaderLine>,
    id: Known,
    name: &'v str,
}

impl<'a> Iterator for Lines<'_, 'a> {
    type Item = &'a HeaderLine;

    #[inline]
    fn next(&mut self) -> Option<&'a HeaderLine> {
        let Self { view, lines, id, name } = self;
        let nominates = view.head.has(Known::Connection);
        lines.find(|line| {
            line.id == *id && is_named(line, view.buf, name) && view.ruling(line, nominates) == Ruling::Pass
        })
    }
}

#[inline]
fn is_named(line: &HeaderLine, buf: &[u8], name: &str) -> bool {
    let shared = matches!(line.id, Known::Other | Known::XEnvoy);
    !shared || line.name.of(buf).eq_ignore_ascii_case(name.as_bytes())
}

/// Whether a header of this name (in any case) is never forwarded.
#[must_use]
pub fn is_never_sent(name: &str) -> bool {
    match Known::of(name.as_bytes()) {
        Known::XEnvoy => !name.eq_ignore_ascii_case(EXTERNAL_ADDRESS),
        Known::KeepAlive
        | Known::ProxyConnection
        | Known::TransferEncoding
        | Known::XForwardedClientCert
        | Known::XEnvoyUpstreamServiceTime => true,
        _ => false,
    }
}

/// The header names in the lines of `Connection`, without its usual options: `close` is reserved and never a header (RFC 9110
/// §9.1).
fn nominated<'a>(connection: impl Iterator<Item = &'a HeaderLine>, buf: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    // Nearly always the whole value is one of them.
    let values = connection.map(|line| line.value.of(buf)).filter(|value| !is_usual_option(value));
    values.flat_map(list).filter(|option| !is_usual_option(option))
}

#[inline]
fn is_usual_option(option: &[u8]) -> bool {
    let usual: &[u8] = match option.len() {
        2 => b"te",
        5 => b"close",
        7 => b"upgrade",
        10 => b"keep-alive",
        _ => return false,
    };
    // Written in lower case, most of the time.
    option == usual || option.eq_ignore_ascii_case(usual)
}

/// Whether the sender limits this header to this hop. Headers of a proxy in front about the client are forwarded all the
/// same.
fn is_nominated<'a>(connection: impl Iterator<Item = &'a HeaderLine>, buf: &'a [u8], name: &[u8]) -> bool {
    const NOT_THE_CLIENTS: [&[u8]; 2] = [b"forwarded", b"x-real-ip"];
    let is_ours = || {
        NOT_THE_CLIENTS.iter().any(|ours| name.eq_ignore_ascii_case(ours))
            || name.get(..12).is_some_and(|start| start.eq_ignore_ascii_case(b"x-forwarded-"))
    };
    nominated(connection, buf).any(|option| option.eq_ignore_ascii_case(name)) && !is_ours()
}

/// Whether a response's `Connection` names a header, so that lines must be compared with it.
#[inline]
pub(crate) fn response_nominates(head: &ResponseHead, buf: &[u8]) -> bool {
    head.has(Known::Connection) && nominated(head.all(Known::Connection), buf).next().is_some()
}

/// Whether the origin limits this header of its response to this hop.
pub(crate) fn is_nominated_in_response(head: &ResponseHead, buf: &[u8], name: &[u8]) -> bool {
    nominated(head.all(Known::Connection), buf).any(|option| option.eq_ignore_ascii_case(name))
}

/// The first value of a header of a response, if it is end-to-end.
#[must_use]
pub fn response_value<'a>(head: &ResponseHead, buf: &'a [u8], name: &str) -> Option<&'a [u8]> {
    head.value_of(name, buf).filter(|_| !is_nominated_in_response(head, buf, name.as_bytes()))
}
