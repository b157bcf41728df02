//! `tls` and `tcp`: rules for connections, which see no request.

use crate::base::subnet::Subnet;
use crate::istio::model::Labels;
use crate::istio::model::scalar::host;
use crate::istio::reader::{Item, Message, Object, Part, enforced, ignored, removed};

use super::{Destination, RouteDestination, gateway_reference, matching};

/// One rule of `tls` or `tcp`.
#[derive(Debug, Clone)]
pub struct L4Route {
    /// Position in the document's `tls` or `tcp`.
    pub index: u32,
    /// Line of the rule in the file.
    pub line: u32,
    /// Whether its conditions and destinations could be read. Only checks see others.
    pub is_whole: bool,
    /// `match`: any of these blocks suffices. `tls` has at least one; `tcp` without one matches every connection.
    pub matches: Vec<L4Match>,
    /// `route`; at least one. Their `headers` are `None`.
    pub route: Vec<RouteDestination>,
    /// Whether its connections are closed, because `--permissive` leaves out a field that restricts it.
    pub withheld: bool,
}

/// One block of a rule's `match`: all of its conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct L4Match {
    /// `sniHosts`, lower-case names and wildcards: one of them covers the server name that the client asks for. Empty in
    /// `tcp`.
    pub sni_hosts: Vec<String>,
    /// `destinationSubnets`: one of them has the address that the connection was sent to. Empty: it may be any.
    pub destination_subnets: Vec<Subnet>,
    /// `port`: the port that the client addressed: for a gateway, its server's number.
    pub port: Option<u16>,
    /// `gateways`, resolved; empty: the VirtualService's.
    pub gateways: Vec<String>,
    /// `sourceLabels`: labels that the proxy itself must have.
    pub source_labels: Labels,
    /// `sourceNamespace`: the namespace in which the proxy itself must be.
    pub source_namespace: Option<String>,
}

const TLS_ROUTE: Message = Message { name: "TLSRoute", fields: &[enforced("match"), enforced("route")] };

const TCP_ROUTE: Message = Message { name: "TCPRoute", fields: &[enforced("match"), enforced("route")] };

const TLS_MATCH: Message = Message {
    name: "TLSMatchAttributes",
    fields: &[
        enforced("sniHosts"),
        enforced("destinationSubnets"),
        enforced("port"),
        enforced("sourceLabels"),
        enforced("gateways"),
        enforced("sourceNamespace"),
        removed("sourceSubnet", "Istio never enforced it for tls"),
    ],
};

const TCP_MATCH: Message = Message {
    name: "L4MatchAttributes",
    fields: &[
        enforced("destinationSubnets"),
        enforced("port"),
        ignored("sourceSubnet", "Istio never enforced it; a warning says so"),
        enforced("sourceLabels"),
        enforced("gateways"),
        enforced("sourceNamespace"),
    ],
};

const ROUTE_DESTINATION: Message =
    Message { name: "RouteDestination", fields: &[enforced("destination"), enforced("weight")] };

/// The tables of this file.
pub(in crate::istio) const MESSAGES: &[&Message] =
    &[&TLS_ROUTE, &TLS_MATCH, &TCP_ROUTE, &TCP_MATCH, &ROUTE_DESTINATION];

/// The context for reading the rules.
pub(super) struct Context<'c> {
    /// The VirtualService's namespace.
    pub(super) namespace: &'c str,
    /// Its hosts, expanded.
    pub(super) hosts: &'c [String],
    /// Whether these are all of them.
    pub(super) knows_hosts: bool,
    /// Reads a Destination.
    pub(super) destination: &'c dyn Fn(&Item<'_>) -> Option<Destination>,
}

/// Reads `tls` of a VirtualService. A rule without any of its blocks would match everything, and is left out.
pub(super) fn tls(object: &Object<'_>, context: &Context<'_>) -> Vec<L4Route> {
    rules(object, "tls", &|item| {
        let rule = item.object(&TLS_ROUTE)?;
        let blocks = rule.list("match");
        if blocks.is_empty() && !rule.is_damaged("match") {
            item.error("has no \"match\"", "write the \"sniHosts\" to match");
        }
        let matches = whole_blocks(&blocks, |item| tls_match(item, context));
        let route = destinations(&rule, context);
        Some(Parts { is_whole: !matches.is_empty(), matches, route })
    })
}

/// Reads `tcp` of a VirtualService.
pub(super) fn tcp(object: &Object<'_>, context: &Context<'_>) -> Vec<L4Route> {
    rules(object, "tcp", &|item| {
        let rule = item.object(&TCP_ROUTE)?;
        let blocks = rule.list("match");
        let matches = whole_blocks(&blocks, |item| tcp_match(item, context));
        let route = destinations(&rule, context);
        Some(Parts { is_whole: !matches.is_empty() || blocks.is_empty(), matches, route })
    })
}

/// The blocks with all of their conditions. A block without one of its conditions is dropped: connections that do not
/// meet it go to the later rules.
fn whole_blocks(blocks: &[Item<'_>], read: impl Fn(&Item<'_>) -> Option<L4Match>) -> Vec<L4Match> {
    let blocks: Vec<_> = blocks.iter().filter_map(|item| matching::block(item, &read)).collect();
    blocks.iter().filter(|block| block.withheld).for_each(matching::Block::left_out);
    blocks.into_iter().filter(|block| !block.withheld).map(|block| block.conditions).collect()
}

/// `match` and `route`.
struct Parts {
    is_whole: bool,
    matches: Vec<L4Match>,
    route: Vec<RouteDestination>,
}

fn rules(object: &Object<'_>, field: &str, read: &dyn Fn(&Item<'_>) -> Option<Parts>) -> Vec<L4Route> {
    let rule = |(index, item): (u32, &Item<'_>)| {
        let before = item.left_out();
        let Part { value, withheld } = item.part("rule", || read(item));
        if withheld {
            item.withheld("connections that this rule takes are closed");
        }
        let Parts { is_whole, matches, route } = value?;
        let is_whole = is_whole && !route.is_empty() && route.iter().all(|to| to.destination.is_known());
        let keeps = is_whole || item.left_out() == before;
        keeps.then(|| L4Route { index, line: item.line(), is_whole, matches, route, withheld })
    };
    (0..).zip(&object.list(field)).filter_map(rule).collect()
}

fn tls_match(item: &Item<'_>, context: &Context<'_>) -> Option<L4Match> {
    let block = item.object(&TLS_MATCH)?;
    let conditions = connection(&block, context);
    let names = block.list("sniHosts");
    if names.is_empty() && !block.is_damaged("sniHosts") {
        item.error("has no \"sniHosts\"", "write at least one");
    }
    let sni_hosts = names.iter().filter_map(|item| server_name(item, context)).collect();
    Some(L4Match { sni_hosts, ..conditions })
}

fn server_name(item: &Item<'_>, context: &Context<'_>) -> Option<String> {
    let name = item.nonempty_string()?;
    if host::is_ip(name) {
        item.warn("clients send no address as server name", "write a host name");
        return Some(name.to_owned());
    }
    if let Err(why) = host::check_wildcard_name(name) {
        item.error(format!("host \"{name}\" {why}"), "");
        return None;
    }
    let lower = name.to_ascii_lowercase();
    let full = host::expand(name, context.namespace);
    if context.knows_hosts && !context.hosts.iter().any(|host| host::covers(host, &lower) || host::covers(host, &full))
    {
        item.error(format!("\"{name}\" is not covered by any of \"hosts\""), "add it there");
    }
    Some(lower)
}

fn tcp_match(item: &Item<'_>, context: &Context<'_>) -> Option<L4Match> {
    let block = item.object(&TCP_MATCH)?;
    if let Some(item) = block.get("sourceSubnet")
        && subnet(&item).is_some()
    {
        item.warn("has no effect, as in Istio: connections from everywhere match", "remove it");
    }
    Some(connection(&block, context))
}

/// The conditions that both kinds of `match` have.
fn connection(block: &Object<'_>, context: &Context<'_>) -> L4Match {
    let gateway = |item: &Item<'_>| gateway_reference(item, context.namespace);
    L4Match {
        sni_hosts: Vec::new(),
        destination_subnets: block.list("destinationSubnets").iter().filter_map(subnet).collect(),
        port: block.get("port").and_then(|item| item.port()),
        gateways: block.list("gateways").iter().filter_map(gateway).collect(),
        source_labels: block.get("sourceLabels").map(|item| item.labels()).unwrap_or_default(),
        source_namespace: block.get("sourceNamespace").and_then(|item| matching::source_namespace(&item)),
    }
}

fn subnet(item: &Item<'_>) -> Option<Subnet> {
    let text = item.string()?;
    let subnet = text.parse().ok();
    if subnet.is_none() {
        item.error(format!("\"{text}\" is not an address or a subnet"), "write it like 10.0.0.0/8");
    }
    subnet
}

fn destinations(rule: &Object<'_>, context: &Context<'_>) -> Vec<RouteDestination> {
    let items = rule.list("route");
    if items.is_empty() && !rule.is_damaged("route") {
        rule.item.error("has no destination", "write it under \"route\"");
    }
    let read = |item: &Item<'_>| {
        let object = item.object(&ROUTE_DESTINATION)?;
        let destination = object.required("destination").and_then(|item| (context.destination)(&item));
        let weight = object.get("weight").and_then(|item| item.whole(0, i32::MAX as u32)).unwrap_or_default();
        Some(RouteDestination { destination: destination?, weight, headers: None })
    };
    let route: Vec<_> = items.iter().filter_map(read).collect();
    if route.len() > 1 && route.iter().all(|to| to.weight == 0) && !rule.is_damaged("route") {
        rule.item.error("the weights of several destinations sum to 0", "give each destination its \"weight\"");
    }
    route
}
