//! `VirtualService` (Istio `networking/v1alpha3/virtual_service.proto`): rules from requests to destinations.

use std::time::Duration;

use super::export::{self, ExportTo};
use super::scalar::string_match::STRING_MATCH;
use super::scalar::{StringMatch, host};
use super::{Meta, Withhold};
use crate::istio::reader::{Item, Message, Object, Part, deprecated, enforced, removed};

mod action;
mod cors;
mod delegation;
mod headers;
mod l4;
mod matching;
mod resilience;

pub use action::{DirectResponse, PathRewrite, Redirect, RedirectCode, RedirectPath, RedirectPort, Rewrite};
pub use cors::{CorsPolicy, UnmatchedPreflights};
pub use delegation::{agrees, lies_within};
pub use headers::{HeaderOperations, Headers};
pub use l4::{L4Match, L4Route};
use matching::Block;
pub use matching::HttpMatch;
pub(in crate::istio) use resilience::retries as read_retries;
pub use resilience::{Abort, AbortStatus, Delay, Fault, MirrorCompare, Mirroring, Retries};

/// A VirtualService document, with all names resolved and lower-case.
#[derive(Debug, Clone)]
pub struct VirtualService {
    /// Name, namespace, place.
    pub meta: Meta,
    /// `hosts`: short names are expanded with the resource's namespace. Empty: a delegate, whose rules others take in.
    pub hosts: Vec<String>,
    /// `gateways`: each is `namespace/name` or [`MESH`]; absent has become `[mesh]`. Empty for a delegate.
    pub gateways: Vec<String>,
    /// `exportTo`; `None`: `meshConfig.defaultVirtualServiceExportTo`.
    pub export_to: Option<ExportTo>,
    /// `http`, in order: the first rule that matches wins.
    pub http: Vec<HttpRoute>,
    /// `tls`, in order: for connections that begin with TLS, by the server name.
    pub tls: Vec<L4Route>,
    /// `tcp`, in order: for connections of which only the destination is known.
    pub tcp: Vec<L4Route>,
    /// Annotation [`MIRROR_COMPARE`].
    pub mirror_compare: MirrorCompare,
}

impl Withhold for VirtualService {
    const CONSEQUENCE: &'static str = "requests and connections that its rules take are refused";

    fn withhold(mut self) -> Option<Self> {
        self.http.iter_mut().for_each(HttpRoute::withhold);
        self.tls.iter_mut().chain(&mut self.tcp).for_each(|rule| rule.withheld = true);
        Some(self)
    }
}

/// The reserved gateway name of sidecars, and the default of `gateways`.
pub const MESH: &str = "mesh";

/// Every Gateway, a placeholder for names that cannot be read: a withheld rule is withheld everywhere.
pub(in crate::istio) const EVERY_GATEWAY: &str = "*";

/// The annotation that has mirrors' answers compared with the clients'.
pub const MIRROR_COMPARE: &str = "ringway.dev/mirror-compare";

/// One rule of `http`.
#[derive(Debug, Clone)]
pub struct HttpRoute {
    /// `name`; empty when absent.
    pub name: String,
    /// Position in the document's `http`: its path is `spec.http[index]`. With `--permissive` rules may be missing
    /// before it.
    pub index: u32,
    /// Line of the rule in the file.
    pub line: u32,
    /// Whether its conditions and its action could be read. Only checks see others.
    pub is_whole: bool,
    /// `match`: any of these blocks suffices; empty: every request.
    pub matches: Vec<HttpMatch>,
    /// `route`. Of this, `redirect`, `direct_response` and `delegate` exactly one is set (a delegating rule may have a
    /// `direct_response` for those rules of its delegate that have none).
    pub route: Vec<RouteDestination>,
    /// `redirect`.
    pub redirect: Option<Redirect>,
    /// `directResponse`.
    pub direct_response: Option<DirectResponse>,
    /// `delegate`: `namespace/name` of the VirtualService whose rules replace this one.
    pub delegate: Option<String>,
    /// `rewrite`.
    pub rewrite: Option<Rewrite>,
    /// `timeout`; `None`: no timeout.
    pub timeout: Option<Duration>,
    /// `retries`; `None`: the mesh's default.
    pub retries: Option<Retries>,
    /// `fault`.
    pub fault: Option<Fault>,
    /// `mirror` and `mirrors`.
    pub mirroring: Mirroring,
    /// `corsPolicy`.
    pub cors_policy: Option<CorsPolicy>,
    /// `headers`.
    pub headers: Option<Headers>,
}

/// The status that a withheld rule answers with.
const WITHHELD_STATUS: u16 = 503;

impl HttpRoute {
    /// Reduces the rule to its conditions: its requests must not go to later rules, which would serve what this one may
    /// not.
    fn withhold(&mut self) {
        *self = Self {
            name: std::mem::take(&mut self.name),
            is_whole: self.is_whole,
            index: self.index,
            line: self.line,
            matches: std::mem::take(&mut self.matches),
            route: Vec::new(),
            redirect: None,
            direct_response: Some(DirectResponse { status: WITHHELD_STATUS, body: Vec::new() }),
            delegate: None,
            rewrite: None,
            timeout: None,
            retries: None,
            fault: None,
            mirroring: Mirroring::default(),
            cors_policy: None,
            headers: None,
        };
    }

    /// Whether the rule's requests never get to a destination: it redirects clients, or refuses them.
    fn refuses(&self) -> bool {
        let abort = self.fault.as_ref().and_then(|fault| fault.abort);
        self.redirect.is_some()
            || self.direct_response.as_ref().is_some_and(|direct| direct.status >= 400)
            || abort.is_some_and(|abort| abort.percent >= 100.0)
    }
}

/// One entry of `route`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteDestination {
    /// `destination`.
    pub destination: Destination,
    /// `weight`; 0 when absent. Meaningless for a single destination, which takes everything.
    pub weight: u32,
    /// `headers`.
    pub headers: Option<Headers>,
}

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// `host`: expanded and lower-case; empty if it could not be read, which only checks see.
    pub host: String,
    /// `subset`; `None`: all endpoints of the service.
    pub subset: Option<String>,
    /// `port.number`.
    pub port: Option<u16>,
}

impl Destination {
    /// Whether its host could be read.
    pub(in crate::istio) fn is_known(&self) -> bool {
        !self.host.is_empty()
    }
}

const VIRTUAL_SERVICE: Message = Message {
    name: "VirtualService",
    fields: &[
        enforced("hosts"),
        enforced("gateways"),
        enforced("http"),
        enforced("tls"),
        enforced("tcp"),
        enforced("exportTo"),
    ],
};

const HTTP_ROUTE: Message = Message {
    name: "HTTPRoute",
    fields: &[
        enforced("name"),
        enforced("match"),
        enforced("route"),
        enforced("redirect"),
        enforced("directResponse"),
        enforced("delegate"),
        enforced("rewrite"),
        enforced("timeout"),
        enforced("retries"),
        enforced("fault"),
        enforced("mirror"),
        enforced("mirrors"),
        deprecated("mirrorPercent", "write \"mirrorPercentage: {value: N}\""),
        enforced("mirrorPercentage"),
        enforced("corsPolicy"),
        enforced("headers"),
        removed("websocketUpgrade", "remove it: upgrades are always allowed"),
        removed("appendHeaders", "write headers.request.add"),
        removed("appendRequestHeaders", "write headers.request.add"),
        removed("removeRequestHeaders", "write headers.request.remove"),
        removed("appendResponseHeaders", "write headers.response.add"),
        removed("removeResponseHeaders", "write headers.response.remove"),
    ],
};

const ROUTE_DESTINATION: Message = Message {
    name: "HTTPRouteDestination",
    fields: &[
        enforced("destination"),
        enforced("weight"),
        enforced("headers"),
        removed("appendRequestHeaders", "write headers.request.add"),
        removed("removeRequestHeaders", "write headers.request.remove"),
        removed("appendResponseHeaders", "write headers.response.add"),
        removed("removeResponseHeaders", "write headers.response.remove"),
    ],
};

const DESTINATION: Message =
    Message { name: "Destination", fields: &[enforced("host"), enforced("subset"), enforced("port")] };

/// The table of this message.
pub(in crate::istio) const PORT_SELECTOR: Message =
    Message { name: "PortSelector", fields: &[enforced("number"), removed("name", "write the port's number")] };

const DELEGATE: Message = Message { name: "Delegate", fields: &[enforced("name"), enforced("namespace")] };

/// The tables of this file.
const MESSAGES: &[&Message] =
    &[&VIRTUAL_SERVICE, &HTTP_ROUTE, &ROUTE_DESTINATION, &DESTINATION, &PORT_SELECTOR, &DELEGATE, &STRING_MATCH];

/// The tables of this kind, file by file.
pub(in crate::istio) const MESSAGE_FILES: &[&[&Message]] = &[
    MESSAGES,
    matching::MESSAGES,
    action::MESSAGES,
    headers::MESSAGES,
    cors::MESSAGES,
    resilience::MESSAGES,
    l4::MESSAGES,
];

/// The part of the VirtualService that its rules are read with.
#[derive(Clone, Copy)]
struct Scope<'s> {
    namespace: &'s str,
    is_delegate: bool,
    /// Whether it is bound to Gateways and not to `mesh`.
    is_for_gateways: bool,
}

/// Reads `spec`.
pub(in crate::istio) fn read(meta: Meta, spec: &Item<'_>) -> Option<VirtualService> {
    let object = spec.object(&VIRTUAL_SERVICE)?;
    // A field that is not known may be any that is not written.
    let has_gaps = spec.has_gaps();
    let export_to = object.get("exportTo").and_then(|item| export::read(&item, &meta.namespace, false));
    let is_delegate = object.list("hosts").is_empty() && !object.is_damaged("hosts");
    if is_delegate && has_gaps {
        spec.error("has no \"hosts\", so whose requests its rules take is not known", "remove the unknown field");
    }
    let mut gateways = gateways(&object, &meta.namespace, is_delegate);
    if has_gaps && !object.has_any(&["gateways"]) {
        gateways.push(EVERY_GATEWAY.to_owned());
    }
    let hosts = hosts(&object, &meta.namespace, gateways.iter().any(|gateway| gateway == MESH));
    let lists = ["http", "tls", "tcp"];
    if !object.has_any(&lists) && !lists.iter().any(|list| object.is_damaged(list)) {
        spec.error("has no rules", "write at least one under \"http\"");
    }
    let read_destination = |item: &Item<'_>| destination(item, &meta.namespace);
    let knows_hosts = !object.is_damaged("hosts");
    let context =
        l4::Context { namespace: &meta.namespace, hosts: &hosts, knows_hosts, destination: &read_destination };
    let (tls, tcp) = (l4::tls(&object, &context), l4::tcp(&object, &context));
    if is_delegate {
        for item in ["tls", "tcp"].into_iter().filter_map(|name| object.get(name)) {
            item.error("a VirtualService without hosts (a delegate) has rules for HTTP only", "write \"hosts\"");
        }
    }
    let scope = Scope {
        namespace: &meta.namespace,
        is_delegate,
        is_for_gateways: object.is_damaged("gateways")
            || !gateways.is_empty() && !gateways.iter().any(|gateway| gateway == MESH),
    };
    let rules = object.list("http");
    let http = (0..).zip(&rules).filter_map(|(index, item)| http_route(index, item, scope)).collect();
    let mirror_compare = mirror_compare(&meta, spec);
    Some(VirtualService { meta, hosts, gateways, export_to, http, tls, tcp, mirror_compare })
}

fn mirror_compare(meta: &Meta, spec: &Item<'_>) -> MirrorCompare {
    match meta.annotations.get(MIRROR_COMPARE).map(String::as_str) {
        None => MirrorCompare::Nothing,
        Some("true") => MirrorCompare::Status,
        Some("body") => MirrorCompare::StatusAndBody,
        Some(other) => {
            let path = format!("metadata.annotations[{MIRROR_COMPARE}]");
            spec.error_elsewhere(
                &path,
                format!("\"{other}\" is not \"true\" or \"body\""),
                "\"true\" compares the status",
            );
            MirrorCompare::Nothing
        }
    }
}

fn gateways(object: &Object<'_>, namespace: &str, is_delegate: bool) -> Vec<String> {
    let items = object.list("gateways");
    if is_delegate {
        if let Some(item) = object.get("gateways").filter(|_| !items.is_empty()) {
            item.error(
                "a VirtualService without hosts (a delegate) has no gateways",
                "remove them, or write \"hosts\"",
            );
        }
        return Vec::new();
    }
    if items.is_empty() {
        return if object.is_damaged("gateways") { Vec::new() } else { vec![MESH.to_owned()] };
    }
    items.iter().filter_map(|item| gateway_reference(item, namespace)).collect()
}

/// `mesh`, `name`, `./name`, `namespace/name`, or the `name.namespace.svc...` of Istio before 1.4.
fn gateway_reference(item: &Item<'_>, own_namespace: &str) -> Option<String> {
    let text = item.nonempty_string()?;
    let (namespace, name) = match text.split_once('/') {
        None if text == MESH => return Some(MESH.to_owned()),
        Some((".", name)) => (own_namespace, name),
        Some((namespace, name)) => (namespace, name),
        None => match text.split_once('.').and_then(|(name, rest)| Some((name, rest.split_once(".svc")?.0))) {
            Some((name, namespace)) => {
                item.warn("the host name form of a gateway is deprecated", format!("write \"{namespace}/{name}\""));
                (namespace, name)
            }
            None => (own_namespace, text),
        },
    };
    if host::is_dns_label(namespace) && host::is_resource_name(name) {
        Some(format!("{namespace}/{name}"))
    } else {
        item.error(format!("\"{text}\" does not name a gateway"), "write \"name\" or \"namespace/name\"");
        None
    }
}

fn hosts(object: &Object<'_>, namespace: &str, mesh: bool) -> Vec<String> {
    let items = object.list("hosts");
    let mut hosts: Vec<String> = Vec::new();
    let mut places = Vec::new();
    for item in items {
        let Some(text) = item.nonempty_string() else { continue };
        if text == "*" && mesh {
            item.error("\"*\" cannot be a host of the mesh gateway", "name the hosts, or bind to a Gateway alone");
        } else if let (false, Err(why)) = (host::is_ip(text), host::check_wildcard_name(text)) {
            item.error(format!("host \"{text}\" {why}"), "");
        } else {
            hosts.push(host::expand(text, namespace));
            places.push(item);
        }
    }
    for (index, covering) in host::overlaps(&hosts) {
        places[index].error(
            format!("host \"{}\" is already covered by \"{}\" in this VirtualService", hosts[index], hosts[covering]),
            "remove one of them",
        );
    }
    hosts
}

/// A withheld rule refuses all requests that it matches. In a rule that refuses anyway, a block without one of its
/// conditions is kept; in other rules such a block is dropped, because requests that do not meet the condition belong to
/// the later rules.
fn http_route(index: u32, item: &Item<'_>, scope: Scope<'_>) -> Option<HttpRoute> {
    let Part { value, withheld } = item.part("rule", || rule(index, item, scope));
    let (mut rule, blocks) = value?;
    if withheld {
        item.withheld("requests that this rule takes get 503");
        rule.withhold();
    }
    let refuses = rule.refuses();
    for block in blocks.iter().filter(|block| block.withheld) {
        if refuses {
            block.item.withheld("this block takes more requests than it says, and the rule refuses them");
        } else {
            block.left_out();
        }
    }
    // Without any of its blocks a rule would match everything.
    let had_blocks = !blocks.is_empty();
    rule.matches =
        blocks.into_iter().filter(|block| refuses || !block.withheld).map(|block| block.conditions).collect();
    (!had_blocks || !rule.matches.is_empty()).then_some(rule)
}

/// The rule without its blocks, and these.
fn rule<'a>(index: u32, item: &Item<'a>, scope: Scope<'_>) -> Option<(HttpRoute, Vec<Block<'a, HttpMatch>>)> {
    let namespace = scope.namespace;
    let before = item.left_out();
    let object = item.object(&HTTP_ROUTE)?;
    let written = object.list("match");
    let blocks: Vec<_> = written.iter().filter_map(|item| matching::read(item, scope)).collect();
    let destinations = object.list("route");
    let route: Vec<_> = destinations.iter().filter_map(|item| route_destination(item, namespace)).collect();
    if route.len() > 1 && route.iter().all(|destination| destination.weight == 0) && !object.is_damaged("route") {
        item.error("the weights of several destinations sum to 0", "give each destination its \"weight\"");
    }
    if let ([only], [to]) = (destinations.as_slice(), route.as_slice())
        && to.weight == 0
        && let Some(weight) = only.open().and_then(|only| only.get("weight")).filter(|weight| !weight.is_damaged())
    {
        let what = "the only destination gets every request, whatever its weight";
        weight.note(what, "use \"directResponse\" to serve nothing");
    }
    let delegate = object.get("delegate").and_then(|item| delegate(&item, namespace));
    let redirect = object.get("redirect").and_then(|item| action::redirect(&item));
    let direct_response = object.get("directResponse").and_then(|item| action::direct_response(&item));
    let rewrite = object.get("rewrite").and_then(|item| action::rewrite(&item));
    let cors_policy = object.get("corsPolicy").and_then(|item| cors::read(&item));
    let headers = object.get("headers").and_then(|item| headers::read(&item));
    let resilience::Resilience { timeout, retries, fault, mirroring } =
        resilience::read(&object, &|item| destination(item, namespace));
    check_authorities(&object, rewrite.as_ref(), headers.as_ref());
    if let Some(Redirect { path: Some(RedirectPath::Prefix(_)), .. }) = redirect {
        check_prefixes(&object, &blocks);
    }
    check_conflicts(&object, !destinations.is_empty(), scope.is_delegate);
    // Without any of its blocks a rule would match everything.
    let never_matches = blocks.is_empty() && !written.is_empty();
    let acts = !route.is_empty() || redirect.is_some() || direct_response.is_some() || delegate.is_some();
    let is_whole = acts && !never_matches && route.iter().all(|to| to.destination.is_known());
    let is_kept = is_whole || item.left_out() == before;
    let rule = || HttpRoute {
        name: object.text("name"),
        is_whole,
        index,
        line: item.line(),
        matches: Vec::new(),
        route,
        redirect,
        direct_response,
        delegate,
        rewrite,
        timeout,
        retries,
        fault,
        mirroring,
        cors_policy,
        headers,
    };
    is_kept.then(|| (rule(), blocks))
}

/// Which fields of a rule exclude each other, and that there is an action (Istio's `validateHTTPRouteConflict`).
fn check_conflicts(object: &Object<'_>, has_route: bool, in_delegate: bool) {
    let exclude = |one: &str, others: &[&str]| {
        for other in others.iter().filter(|other| **other != "route" || has_route) {
            if let Some(item) = object.get(other) {
                item.error(format!("stands beside \"{one}\", which excludes it"), "keep one of them");
            }
        }
    };
    if object.has_any(&["delegate"]) && in_delegate {
        object.item.error("a delegate cannot delegate again", "name the last one where the first is named");
    } else if object.has_any(&["delegate"]) {
        exclude("delegate", &["route", "redirect"]);
    } else if object.has_any(&["redirect"]) {
        exclude("redirect", &["route", "fault", "rewrite", "directResponse"]);
    } else if object.has_any(&["directResponse"]) {
        exclude("directResponse", &["route", "fault", "rewrite"]);
    } else if !has_route && !["route", "redirect", "directResponse", "delegate"].iter().any(|f| object.is_damaged(f)) {
        object.item.error("has no action", "write the destinations under \"route\"");
    }
    if object.has_any(&["mirror"]) && !object.list("mirrors").is_empty() {
        exclude("mirror", &["mirrors"]);
    }
}

/// Only one of `rewrite.authority` and the header operations may write the Host.
fn check_authorities(rule: &Object<'_>, rewrite: Option<&Rewrite>, headers: Option<&Headers>) {
    let Some(request) = headers.map(|headers| &headers.request) else { return };
    let written = request.set.iter().chain(&request.add).filter(|(name, _)| headers::is_host(name)).count();
    let rewritten = rewrite.is_some_and(|rewrite| rewrite.authority.is_some());
    if written + usize::from(rewritten) > 1
        && let Some(item) = rule.get("headers").and_then(|item| item.open()?.get("request"))
    {
        item.error("writes the Host, which is written elsewhere, too", "keep one of them");
    }
}

/// Checks `prefixRewrite`, which needs a matched prefix.
fn check_prefixes(rule: &Object<'_>, blocks: &[Block<'_, HttpMatch>]) {
    let is_prefix = |uri: &StringMatch| matches!(uri, StringMatch::Prefix(_));
    let other = blocks.iter().position(|block| block.conditions.uri.as_ref().is_some_and(|uri| !is_prefix(uri)));
    if let (Some(index), Some(item)) = (other, rule.get("redirect").and_then(|item| item.open()?.get("prefixRewrite")))
    {
        let what = format!("replaces a prefix, and match[{index}] has none");
        item.error(what, "match every \"uri\" by \"prefix\"");
    }
}

fn delegate(item: &Item<'_>, own_namespace: &str) -> Option<String> {
    let object = item.object(&DELEGATE)?;
    let name = object.required("name").and_then(|item| item.nonempty_string())?;
    let namespace = object.text("namespace");
    let namespace = if namespace.is_empty() { own_namespace } else { &namespace };
    Some(format!("{namespace}/{name}"))
}

fn route_destination(item: &Item<'_>, namespace: &str) -> Option<RouteDestination> {
    let object = item.object(&ROUTE_DESTINATION)?;
    let weight = object.get("weight").and_then(|item| item.whole(0, i32::MAX as u32));
    let headers = object.get("headers").and_then(|item| headers::read(&item));
    let destination = destination(&object.required("destination")?, namespace);
    Some(RouteDestination { destination: destination?, weight: weight.unwrap_or_default(), headers })
}

/// A destination written in a resource of `namespace`.
pub(in crate::istio) fn destination(item: &Item<'_>, namespace: &str) -> Option<Destination> {
    let object = item.object(&DESTINATION)?;
    let host = object.required("host").and_then(|item| destination_host(&item, namespace));
    let subset = object.get("subset").and_then(|item| {
        let subset = item.string()?;
        if !subset.is_empty() && !host::is_label(subset) {
            item.error(format!("\"{subset}\" is not a subset's name"), "letters, digits and \"-\"");
        }
        (!subset.is_empty()).then(|| subset.to_owned())
    });
    let selector = object.get("port").and_then(|item| item.object(&PORT_SELECTOR));
    let port = selector.and_then(|selector| selector.required("number")?.port());
    Some(Destination { host: host.unwrap_or_default(), subset, port })
}

fn destination_host(item: &Item<'_>, namespace: &str) -> Option<String> {
    let text = item.nonempty_string()?;
    let checked = if text == "*" { Err("must be a name, not \"*\"") } else { host::check_wildcard_name(text) };
    match checked {
        Ok(()) => Some(host::expand(text, namespace)),
        Err(why) => {
            item.error(format!("host \"{text}\" {why}"), "write the name of a service");
            None
        }
    }
}
