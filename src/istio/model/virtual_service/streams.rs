//! `tls` and `tcp`: rules for connections. Not enforced yet, and checked all the same.

use crate::istio::model::scalar::host;
use crate::istio::reader::{Item, Message, Object, not_yet, removed};

use super::{Destination, gateway_reference};

const TLS_ROUTE: Message = Message { name: "TLSRoute", fields: &[not_yet("match"), not_yet("route")] };

const TCP_ROUTE: Message = Message { name: "TCPRoute", fields: &[not_yet("match"), not_yet("route")] };

const TLS_MATCH: Message = Message {
    name: "TLSMatchAttributes",
    fields: &[
        not_yet("sniHosts"),
        not_yet("destinationSubnets"),
        not_yet("port"),
        not_yet("sourceLabels"),
        not_yet("gateways"),
        not_yet("sourceNamespace"),
        removed("sourceSubnet", "Istio never enforced it for tls"),
    ],
};

const TCP_MATCH: Message = Message {
    name: "L4MatchAttributes",
    fields: &[
        not_yet("destinationSubnets"),
        not_yet("port"),
        not_yet("sourceSubnet"),
        not_yet("sourceLabels"),
        not_yet("gateways"),
        not_yet("sourceNamespace"),
    ],
};

const ROUTE_DESTINATION: Message =
    Message { name: "RouteDestination", fields: &[not_yet("destination"), not_yet("weight")] };

/// The tables of this file.
pub(in crate::istio) const MESSAGES: &[&Message] =
    &[&TLS_ROUTE, &TLS_MATCH, &TCP_ROUTE, &TCP_MATCH, &ROUTE_DESTINATION];

/// What the rules are checked against.
pub(super) struct Context<'c> {
    /// The VirtualService's namespace.
    pub(super) namespace: &'c str,
    /// Its hosts, expanded.
    pub(super) hosts: &'c [String],
    /// Reads a Destination.
    pub(super) destination: &'c dyn Fn(&Item<'_>) -> Option<Destination>,
}

/// Checks `tls` and `tcp` of a VirtualService.
pub(super) fn check(object: &Object<'_>, context: &Context<'_>) {
    object.verify_each("tls", |item| tls_route(item, context));
    object.verify_each("tcp", |item| tcp_route(item, context));
}

fn tls_route(item: &Item<'_>, context: &Context<'_>) -> Option<()> {
    let rule = item.outline(&TLS_ROUTE)?;
    if rule.list("match").is_empty() {
        item.error("has no \"match\"", "write the \"sniHosts\" to match");
    }
    rule.verify_each("match", |item| tls_match(item, context));
    destinations(&rule, context);
    Some(())
}

fn tcp_route(item: &Item<'_>, context: &Context<'_>) -> Option<()> {
    let rule = item.outline(&TCP_ROUTE)?;
    rule.verify_each("match", |item| {
        connection(&item.outline(&TCP_MATCH)?, context);
        Some(())
    });
    destinations(&rule, context);
    Some(())
}

fn tls_match(item: &Item<'_>, context: &Context<'_>) -> Option<()> {
    let block = item.outline(&TLS_MATCH)?;
    connection(&block, context);
    let names = block.list("sniHosts");
    if names.is_empty() {
        item.error("has no \"sniHosts\"", "write at least one");
    }
    for item in names {
        let Some(name) = item.nonempty_string() else { continue };
        if host::is_ip(name) {
            item.warn("clients send no address as server name", "write a host name");
        } else if let Err(why) = host::check_wildcard_name(name) {
            item.error(format!("host \"{name}\" {why}"), "");
        } else if !context.hosts.iter().any(|host| host::covers(host, &name.to_ascii_lowercase())) {
            item.error(format!("\"{name}\" is not covered by any of \"hosts\""), "add it there");
        }
    }
    Some(())
}

/// What both kinds of `match` have.
fn connection(block: &Object<'_>, context: &Context<'_>) {
    block.verify_each("destinationSubnets", subnet);
    block.verify("sourceSubnet", subnet);
    block.verify("port", Item::port);
    block.verify("sourceLabels", |item| Some(item.labels()));
    block.verify_each("gateways", |item| gateway_reference(item, context.namespace));
}

fn subnet(item: &Item<'_>) -> Option<()> {
    let text = item.string()?;
    if !host::is_subnet(text) {
        item.error(format!("\"{text}\" is not an address or a subnet"), "write it like 10.0.0.0/8");
    }
    Some(())
}

fn destinations(rule: &Object<'_>, context: &Context<'_>) {
    let items = rule.list("route");
    if items.is_empty() {
        rule.item.error("has no destination", "write it under \"route\"");
    }
    let weight = |item: &Item<'_>| {
        let object = item.outline(&ROUTE_DESTINATION)?;
        object.required("destination").and_then(|item| (context.destination)(&item));
        object.get("weight").map_or(Some(0), |item| item.whole(0, i32::MAX as u32))
    };
    let weights: Vec<_> = items.iter().filter_map(weight).collect();
    if weights.len() > 1 && weights.iter().all(|weight| *weight == 0) {
        rule.item.error("the weights of several destinations sum to 0", "give each destination its \"weight\"");
    }
}
