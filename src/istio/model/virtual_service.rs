//! `VirtualService` (Istio `networking/v1alpha3/virtual_service.proto`): rules from requests to destinations.

use super::Meta;
use super::scalar::string_match::{self, STRING_MATCH, Subject};
use super::scalar::{StringMatch, host};
use crate::istio::reader::{Item, Message, Object, enforced, not_yet, removed};

/// A VirtualService document, with all names resolved and lower-case.
#[derive(Debug, Clone)]
pub struct VirtualService {
    /// Name, namespace, place.
    pub meta: Meta,
    /// `hosts`: short names are expanded with the resource's namespace.
    pub hosts: Vec<String>,
    /// `gateways`: each is `namespace/name` or [`MESH`]; absent has become `[mesh]`.
    pub gateways: Vec<String>,
    /// `http`, in order: the first rule that matches wins.
    pub http: Vec<HttpRoute>,
}

/// The reserved gateway name of sidecars, and the default of `gateways`.
pub const MESH: &str = "mesh";

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
    /// `match`: any of these blocks suffices; empty: every request.
    pub matches: Vec<HttpMatch>,
    /// `route`: at least one.
    pub route: Vec<RouteDestination>,
}

/// One block of `match`: all of its conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpMatch {
    /// `name`; the route is then called `route.match`. Empty when absent.
    pub name: String,
    /// `uri`: the path without query.
    pub uri: Option<StringMatch>,
    /// `ignoreUriCase`: of exact and prefix `uri` only.
    pub ignore_uri_case: bool,
    /// `method`.
    pub method: Option<StringMatch>,
    /// `authority`: the Host as sent, its port included.
    pub authority: Option<StringMatch>,
    /// `headers`, sorted by name; names as written (they may be `:method`, `:path`, `:authority`, `:scheme`).
    pub headers: Vec<(String, StringMatch)>,
    /// `port`: the port the client addressed: for a gateway, its server's number.
    pub port: Option<u16>,
}

impl HttpMatch {
    /// Whether every request meets it.
    #[must_use]
    pub fn takes_everything(&self) -> bool {
        let any_path = match &self.uri {
            None | Some(StringMatch::Present) => true,
            Some(StringMatch::Prefix(prefix)) => prefix.is_empty() || prefix == "/",
            Some(StringMatch::Regex(regex)) => regex == ".*",
            Some(StringMatch::Exact(_)) => false,
        };
        any_path && self.method.is_none() && self.authority.is_none() && self.headers.is_empty() && self.port.is_none()
    }
}

/// One entry of `route`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteDestination {
    /// `destination`.
    pub destination: Destination,
    /// `weight`; 0 when absent. Meaningless for a single destination, which takes everything.
    pub weight: u32,
}

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// `host`: expanded and lower-case.
    pub host: String,
    /// `subset`; `None`: all endpoints of the service.
    pub subset: Option<String>,
    /// `port.number`.
    pub port: Option<u16>,
}

const VIRTUAL_SERVICE: Message = Message {
    name: "VirtualService",
    fields: &[
        enforced("hosts"),
        enforced("gateways"),
        enforced("http"),
        not_yet("tls"),
        not_yet("tcp"),
        enforced("exportTo"),
    ],
};

const HTTP_ROUTE: Message = Message {
    name: "HTTPRoute",
    fields: &[
        enforced("name"),
        enforced("match"),
        enforced("route"),
        not_yet("redirect"),
        not_yet("directResponse"),
        not_yet("delegate"),
        not_yet("rewrite"),
        not_yet("timeout"),
        not_yet("retries"),
        not_yet("fault"),
        not_yet("mirror"),
        not_yet("mirrors"),
        not_yet("mirrorPercent"),
        not_yet("mirrorPercentage"),
        not_yet("corsPolicy"),
        not_yet("headers"),
        removed("websocketUpgrade", "remove it: upgrades are always allowed"),
        removed("appendHeaders", "write headers.request.add"),
        removed("appendRequestHeaders", "write headers.request.add"),
        removed("removeRequestHeaders", "write headers.request.remove"),
        removed("appendResponseHeaders", "write headers.response.add"),
        removed("removeResponseHeaders", "write headers.response.remove"),
    ],
};

const HTTP_MATCH: Message = Message {
    name: "HTTPMatchRequest",
    fields: &[
        enforced("name"),
        enforced("uri"),
        enforced("ignoreUriCase"),
        not_yet("scheme"),
        enforced("method"),
        enforced("authority"),
        enforced("headers"),
        not_yet("withoutHeaders"),
        not_yet("queryParams"),
        enforced("port"),
        not_yet("sourceLabels"),
        not_yet("sourceNamespace"),
        not_yet("gateways"),
        not_yet("statPrefix"),
    ],
};

const ROUTE_DESTINATION: Message = Message {
    name: "HTTPRouteDestination",
    fields: &[
        enforced("destination"),
        enforced("weight"),
        not_yet("headers"),
        removed("appendRequestHeaders", "write headers.request.add"),
        removed("removeRequestHeaders", "write headers.request.remove"),
        removed("appendResponseHeaders", "write headers.response.add"),
        removed("removeResponseHeaders", "write headers.response.remove"),
    ],
};

const DESTINATION: Message =
    Message { name: "Destination", fields: &[enforced("host"), enforced("subset"), enforced("port")] };

const PORT_SELECTOR: Message =
    Message { name: "PortSelector", fields: &[enforced("number"), removed("name", "write the port's number")] };

/// The tables of this kind.
pub(in crate::istio) const MESSAGES: &[&Message] =
    &[&VIRTUAL_SERVICE, &HTTP_ROUTE, &HTTP_MATCH, &ROUTE_DESTINATION, &DESTINATION, &PORT_SELECTOR, &STRING_MATCH];

/// Reads `spec`.
pub(in crate::istio) fn read(meta: Meta, spec: &Item<'_>) -> Option<VirtualService> {
    let object = spec.object(&VIRTUAL_SERVICE)?;
    object.export_to_all();
    let gateways = gateways(&object, &meta.namespace);
    let hosts = hosts(&object, &meta.namespace, gateways.iter().any(|gateway| gateway == MESH));
    if !object.has_any(&["http", "tls", "tcp"]) {
        spec.error("has no rules", "write at least one under \"http\"");
    }
    let rules = object.list("http");
    let http = (0..).zip(&rules).filter_map(|(index, item)| http_route(index, item, &meta.namespace)).collect();
    Some(VirtualService { meta, hosts, gateways, http })
}

fn gateways(object: &Object<'_>, namespace: &str) -> Vec<String> {
    let items = object.list("gateways");
    if items.is_empty() {
        return vec![MESH.to_owned()];
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
    if items.is_empty() {
        object.item.not_enforced("a VirtualService without hosts (a delegate)");
    }
    let mut hosts: Vec<String> = Vec::new();
    let mut places = Vec::new();
    for item in items {
        let Some(text) = item.nonempty_string() else { continue };
        if text == "*" && mesh {
            item.error("\"*\" cannot be a host of the mesh gateway", "name the hosts, or bind to a Gateway alone");
        } else if host::is_ip(text) && mesh {
            item.error("an IP address cannot be a host of the mesh gateway", "write the service's host name");
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

fn http_route(index: u32, item: &Item<'_>, namespace: &str) -> Option<HttpRoute> {
    let object = item.object(&HTTP_ROUTE)?;
    let matches = object.list("match").iter().filter_map(http_match).collect();
    let destinations = object.list("route");
    // Other actions have been refused by name already.
    if destinations.is_empty() && !object.has_any(&["redirect", "directResponse", "delegate"]) {
        item.error("has no action", "write the destinations under \"route\"");
    }
    let route: Vec<_> = destinations.iter().filter_map(|item| route_destination(item, namespace)).collect();
    if route.len() > 1 && route.iter().all(|destination| destination.weight == 0) {
        item.error("the weights of several destinations sum to 0", "give each destination its \"weight\"");
    }
    if route.is_empty() {
        return None;
    }
    Some(HttpRoute { name: object.text("name"), index, line: item.line(), matches, route })
}

fn http_match(item: &Item<'_>) -> Option<HttpMatch> {
    let object = item.object(&HTTP_MATCH)?;
    let string = |name, subject| object.get(name).and_then(|item| string_match::read(&item, subject));
    let mut headers: Vec<_> = object
        .get("headers")
        .map(|item| item.data_map())
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(name, value)| header_match(name, &value))
        .collect();
    headers.sort_by(|a, b| a.0.cmp(&b.0));
    Some(HttpMatch {
        name: object.text("name"),
        uri: string("uri", Subject::Uri),
        ignore_uri_case: object.get("ignoreUriCase").and_then(|item| item.bool()).unwrap_or_default(),
        method: string("method", Subject::Other),
        authority: string("authority", Subject::Other),
        headers,
        port: object.get("port").and_then(|item| item.port()),
    })
}

fn header_match(name: &str, value: &Item<'_>) -> Option<(String, StringMatch)> {
    if name.starts_with('@') {
        value.not_enforced("a condition on token claims");
        return None;
    }
    if !is_header_name(name) {
        value.error(format!("\"{name}\" is not a header name"), "");
        return None;
    }
    if value.is_null() {
        value.error("has no condition", "write {} to ask for the header's presence");
        return None;
    }
    Some((name.to_owned(), string_match::read(value, Subject::Header)?))
}

/// A token of RFC 9110, section 5.6.2, or one of the pseudo-headers of HTTP/2 that Istio allows here.
fn is_header_name(name: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    matches!(name, ":method" | ":scheme" | ":authority" | ":path") || (!name.is_empty() && name.bytes().all(token))
}

fn route_destination(item: &Item<'_>, namespace: &str) -> Option<RouteDestination> {
    let object = item.object(&ROUTE_DESTINATION)?;
    let weight = match object.get("weight") {
        Some(item) => item.whole(0, i32::MAX as u32),
        None => Some(0),
    };
    let destination = destination(&object.required("destination")?, namespace);
    Some(RouteDestination { destination: destination?, weight: weight? })
}

fn destination(item: &Item<'_>, namespace: &str) -> Option<Destination> {
    let object = item.object(&DESTINATION)?;
    let host = object.required("host").and_then(|item| destination_host(&item, namespace));
    let subset = object.get("subset").and_then(|item| {
        let subset = item.string()?;
        if !subset.is_empty() && !host::is_dns_label(subset) {
            item.error(format!("\"{subset}\" is not a subset's name"), "lower-case letters, digits and \"-\"");
        }
        (!subset.is_empty()).then(|| subset.to_owned())
    });
    let port = match object.get("port") {
        Some(item) => Some(item.object(&PORT_SELECTOR)?.required("number").and_then(|item| item.port())?),
        None => None,
    };
    Some(Destination { host: host?, subset, port })
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
