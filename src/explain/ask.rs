//! The question: a request as a user types it, read like one that came over the wire, and the listener it is for.

use std::net::{IpAddr, SocketAddr};

use crate::base::id::ListenerId;
use crate::h1::framing::{self, Upgrade};
use crate::h1::parse::{self, HeadLimits, Parsed};
use crate::http::error::ProtocolError;
use crate::http::forward::{self, Completion, Downstream, View};
use crate::http::head::{RequestHead, Span};
use crate::http::hops;
use crate::http::target::{self, Normal, Parts, PathForm};
use crate::plan::{Listener, ListenerKind, Plan, Request};

/// The request to explain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The method.
    pub method: String,
    /// `http://authority/path?query`; the scheme may be left out, and before a `/` the authority.
    pub url: String,
    /// Header lines, `name: value`. `Host` goes before the URL's authority.
    pub headers: Vec<String>,
    /// `name` or `namespace/name` of the Gateway whose listener is meant, `mesh`, or `egress:PORT` or `ingress:PORT` of the
    /// Sidecar. `None`: the URL's port decides.
    pub gateway: Option<String>,
    /// The client's address.
    pub from: IpAddr,
    /// The address in `x-forwarded-for` for a client on this host.
    pub stands_for_loopback: Option<IpAddr>,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum BadQuestion {
    /// The URL is not of a form that is known.
    #[error("{0:?} is not a URL that can be explained: {1}")]
    Url(String, &'static str),
    /// A header without a colon.
    #[error("{0:?} is not a header: write 'name: value'")]
    Header(String),
    /// A header of several lines.
    #[error("{0:?} is not one header: it has a line end; write -H for each")]
    HeaderLines(String),
    /// The method is not a token.
    #[error("{0:?} is not a method")]
    Method(String),
    /// It asks for no path, which is all that rules are about.
    #[error("such a request is answered with 404: it asks for no path, and rules are about paths")]
    NoPath,
    /// It would be refused before any rule is tried.
    #[error("such a request is refused with {status}: {0}", status = .0.status())]
    Refused(#[from] ProtocolError),
    /// It asks for a protocol that is not let through.
    #[error("such a request is refused with 403: it asks for an upgrade to another protocol than websocket")]
    UpgradeRefused,
    /// There is no listener.
    #[error("the configuration opens no listener")]
    NoListener,
    /// The URL names a port that no listener has.
    #[error("no listener has port {0}; there are: {1}. Or say which is meant with --gateway NAME")]
    NoSuchPort(u16, String),
    /// `--gateway` names none of the listeners.
    #[error("no listener is for gateway {0:?}; there are: {1}")]
    NoSuchGateway(String, String),
    /// Several listeners may be meant.
    #[error("which listener is meant? Write the port into the URL, or --gateway with one of: {0}")]
    Ambiguous(String),
}

/// A request in memory.
#[derive(Debug)]
pub(super) struct ParsedQuestion {
    buf: Vec<u8>,
    head: RequestHead,
    completion: Completion,
    downstream: Downstream,
    from: IpAddr,
    external_address: String,
    parts: Parts,
    /// Path and query as rules see them.
    target: Vec<u8>,
    path: Span,
    pub(super) upgrade: Upgrade,
}

/// The authority and the rest of a URL.
struct Url<'a> {
    authority: &'a str,
    target: String,
}

impl Question {
    /// Reads the request as a worker would on a listener of this kind.
    pub(super) fn read(&self, form: PathForm, kind: ListenerKind) -> Result<ParsedQuestion, BadQuestion> {
        let url = self.url()?;
        // A worker would read such text as another request.
        let ends = |c: char| c.is_whitespace() || c.is_control();
        if self.method.is_empty() || self.method.contains(ends) {
            return Err(BadQuestion::Method(self.method.clone()));
        }
        // A tunnel is to an authority, and has no path.
        let target = if self.is_connect() { url.authority } else { &url.target };
        let mut text = format!("{} {target} HTTP/1.1\r\n", self.method);
        for line in &self.headers {
            if line.contains(['\r', '\n']) {
                return Err(BadQuestion::HeaderLines(line.clone()));
            }
            if !line.contains(':') {
                return Err(BadQuestion::Header(line.clone()));
            }
            text += line;
            text += "\r\n";
        }
        if !self.has_host() {
            text += &format!("host: {}\r\n", url.authority);
        }
        text += "\r\n";
        ParsedQuestion::read(text.into_bytes(), form, kind.downstream(), self)
    }

    pub(super) fn is_connect(&self) -> bool {
        self.method == "CONNECT"
    }

    /// Whether a header names the host.
    fn has_host(&self) -> bool {
        let names = self.headers.iter().filter_map(|line| line.split_once(':'));
        names.into_iter().any(|(name, _)| name.eq_ignore_ascii_case("host"))
    }

    fn url(&self) -> Result<Url<'_>, BadQuestion> {
        let bad = |why| BadQuestion::Url(self.url.clone(), why);
        if self.url.contains(|c: char| c.is_control()) {
            return Err(bad("it has a control character"));
        }
        if self.url == "*" {
            let url = Url { authority: "", target: "*".to_owned() };
            return if self.method == "OPTIONS" { Ok(url) } else { Err(bad("only OPTIONS asks for \"*\"")) };
        }
        let (rest, is_absolute) = match self.url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (rest, true),
            Some((scheme, _)) if !scheme.contains(['/', '?']) => return Err(bad("only http is served")),
            _ => (self.url.as_str(), false),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let (host, port) = host_and_port(authority).map_err(bad)?;
        if !port.is_empty() && port.parse::<u16>().is_err() {
            return Err(bad("a port is a number up to 65535"));
        }
        // A path alone is for the host in a header, if there is one.
        if host.is_empty() && (is_absolute || !authority.is_empty() && !self.has_host() || self.url.is_empty()) {
            return Err(bad("it has no host"));
        }
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        Ok(Url { authority, target })
    }

    /// The listener that it is for.
    pub(super) fn listener<'p>(&self, plan: &'p Plan) -> Result<(ListenerId, &'p Listener), BadQuestion> {
        let port = port(self.url()?.authority);
        let all = || (0..).map(ListenerId).zip(plan.listeners.iter());
        let has_mesh = || all().any(|(_, listener)| listener.kind == ListenerKind::Mesh);
        // An inbound listener often has the same port as a service that applications call.
        let outside = |kind| !matches!(kind, ListenerKind::Ingress(_));
        let mut candidates: Vec<_> = match &self.gateway {
            Some(name) => all().filter(|(_, listener)| is_for(listener, name)).collect(),
            // Tunnels go to the mesh listener, whatever their port.
            None if self.is_connect() && has_mesh() => {
                all().filter(|(_, listener)| listener.kind == ListenerKind::Mesh).collect()
            }
            None if has_mesh() => all().filter(|(_, listener)| outside(listener.kind)).collect(),
            None => all().collect(),
        };
        if plan.listeners.is_empty() {
            return Err(BadQuestion::NoListener);
        }
        if let (Some(name), true) = (&self.gateway, candidates.is_empty()) {
            return Err(BadQuestion::NoSuchGateway(name.clone(), names(&plan.listeners)));
        }
        // A client may go by the port of the documents or by the one that is bound.
        let wanted = port.unwrap_or(80);
        let by = |port: fn(&Listener) -> Option<u16>| {
            candidates.iter().copied().filter(|(_, listener)| port(listener) == Some(wanted)).collect::<Vec<_>>()
        };
        let by_port = [by(|listener| Some(listener.bind.port())), by(Listener::gateway_port)];
        if let Some(found) = by_port.iter().find_map(|found| found.first()) {
            return Ok(*found);
        }
        // A port of the kernel's choice may be any.
        let chosen_late = candidates.iter().any(|(_, listener)| listener.bind.port() == 0);
        if let (Some(port), None, false, false) = (port, &self.gateway, has_mesh(), chosen_late) {
            return Err(BadQuestion::NoSuchPort(port, ports(&plan.listeners)));
        }
        if candidates.len() > 1
            && let Some(mesh) = candidates.iter().copied().find(|(_, listener)| listener.kind == ListenerKind::Mesh)
        {
            candidates = vec![mesh];
        }
        match candidates[..] {
            [only] => Ok(only),
            _ => Err(BadQuestion::Ambiguous(names(&plan.listeners))),
        }
    }
}

/// The port that an authority ends with.
fn port(authority: &str) -> Option<u16> {
    host_and_port(authority).ok().and_then(|(_, digits)| digits.parse().ok())
}

/// The host of an authority, and the digits after its colon; or the problem.
fn host_and_port(authority: &str) -> Result<(&str, &str), &'static str> {
    // That it names a user is for the codec to say.
    let behind_user = authority.rsplit_once('@').map_or(authority, |(_, rest)| rest);
    let Some(inside) = behind_user.strip_prefix('[') else {
        let (host, port) = behind_user.split_once(':').unwrap_or((behind_user, ""));
        return if port.contains(':') { Err("an IPv6 address stands in brackets") } else { Ok((host, port)) };
    };
    let (address, rest) = inside.split_once(']').ok_or("no \"]\" closes the address")?;
    match rest.strip_prefix(':') {
        Some(port) => Ok((address, port)),
        None if rest.is_empty() => Ok((address, "")),
        None => Err("behind an address in brackets stands a port or nothing"),
    }
}

fn is_for(listener: &Listener, name: &str) -> bool {
    match listener.kind {
        ListenerKind::Gateway(_) => listener
            .gateways
            .iter()
            .any(|gateway| &**gateway == name || gateway.split_once('/').is_some_and(|(_, own)| own == name)),
        _ => name_of(listener) == name,
    }
}

/// As `--gateway` may say it; of a Gateway's with its port.
fn name_of(listener: &Listener) -> String {
    match listener.kind {
        ListenerKind::Mesh => "mesh".to_owned(),
        ListenerKind::Egress(port) | ListenerKind::HttpProxy(port) => format!("egress:{port}"),
        ListenerKind::Ingress(port) => format!("ingress:{port}"),
        ListenerKind::Gateway(port) => format!("{} (port {port})", listener.gateways.join(", ")),
    }
}

/// The ports that a URL may name, with whom each is for.
fn ports(listeners: &[Listener]) -> String {
    let one = |listener: &Listener| {
        let (bound, name) = (listener.bind.port(), listener.gateways.join(", "));
        match listener.kind {
            ListenerKind::Gateway(port) if port == bound => format!("{port} ({name})"),
            ListenerKind::Gateway(port) => format!("{port}, bound as {bound} ({name})"),
            _ => format!("{bound} ({})", name_of(listener)),
        }
    };
    listeners.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn names(listeners: &[Listener]) -> String {
    listeners.iter().map(name_of).collect::<Vec<_>>().join(", ")
}

impl ParsedQuestion {
    fn read(buf: Vec<u8>, form: PathForm, downstream: Downstream, of: &Question) -> Result<Self, BadQuestion> {
        let mut head = RequestHead::default();
        match parse::request(&buf, &HeadLimits::default(), &mut head)? {
            Parsed::Complete => {}
            Parsed::NeedMore => return Err(BadQuestion::Refused(ProtocolError::Target)),
        }
        framing::request_body(&head, &buf)?;
        let parts = target::split(&head, &buf)?;
        if parts.path.of(&buf) == b"*" {
            return Err(BadQuestion::NoPath);
        }
        let host = parts.host.of(&buf);
        if downstream.is_trusted() && !host.is_empty() && !target::is_authority(host) {
            return Err(ProtocolError::Authority.into());
        }
        let upgrade = framing::upgrade(&head, &buf);
        let mut target = Vec::new();
        if matches!(target::normalize(parts.path.of(&buf), form, &mut target)?, Normal::AsIs) {
            target = parts.path.of(&buf).to_vec();
        }
        let path = Span { start: 0, end: target.len() as u32 };
        if parts.has_query {
            target.push(b'?');
            target.extend_from_slice(parts.query.of(&buf));
        }
        let mut completion = Completion::default();
        let peer = forward::peer_address(of.from, of.stands_for_loopback).to_string();
        completion.complete(&head, &buf, downstream, peer.as_bytes(), || NEW_ID);
        // Which process is meant is not known here, so no request has gone round.
        let _ = hops::pass(&head, &buf, &hops::id(0), &mut completion.hops);
        let external_address = of.from.to_canonical().to_string();
        Ok(Self { buf, head, completion, downstream, from: of.from, external_address, parts, target, path, upgrade })
    }

    /// As routing looks at it.
    pub(super) fn request(&self) -> Request<'_> {
        let Self { head, buf, completion, downstream, .. } = self;
        let tunnel = self.upgrade == Upgrade::WebSocket;
        let external_address = self.external_address.as_bytes();
        Request {
            view: View { head, buf, completion, downstream: *downstream, external_address, tunnel },
            path: self.path.of(&self.target),
            query: self.parts.query.of(buf),
            target: &self.target,
            port: None,
            authority: self.parts.host.of(buf),
            scheme: forward::scheme(head, buf, *downstream).as_bytes(),
            peer: SocketAddr::new(self.from, 0),
        }
    }
}

/// A placeholder for the `x-request-id` that the proxy generates.
const NEW_ID: &str = "00000000-0000-4000-8000-000000000000";
