//! Clusters without configured endpoints, as text: the names that are resolved, and when.

use crate::plan::{Address, Cluster, Discovery, NameKind, Names, OwnAuthority, Plan};

/// The sources of the endpoints, a line each; empty if they are configured.
pub(super) fn found_by(cluster: &Cluster) -> Vec<String> {
    match &cluster.discovery {
        Discovery::Static => Vec::new(),
        Discovery::Names { names, .. } => of_names(names),
        Discovery::Authority(own) => vec![of_authority(own)],
    }
}

fn of_names(names: &Names) -> Vec<String> {
    let which = match names.kind {
        NameKind::Every => "every address that it resolves to",
        NameKind::First => "the first address that it resolves to",
    };
    let named = names.named.iter().filter_map(|named| match &named.address {
        Address::Name(name) => Some(format!("{name}, port {}, weight {}: {which}", named.port, named.weight)),
        Address::Ip(_) | Address::Unix(_) => None,
    });
    named.collect()
}

fn of_authority(own: &OwnAuthority) -> String {
    let port = own.port.map_or_else(|| "its own port".to_owned(), |port| format!("port {port}"));
    let gateways = if own.at_gateways { "" } else { "; none at a gateway" };
    let only = if &*own.host == "*" { String::new() } else { format!(", if it is {}", own.host) };
    format!("whatever the request's host resolves to{only}, on {port}{gateways}")
}

/// The endpoints that are known without a query: configured ones, and those of names under `spec.dns.hosts`.
pub(super) fn known(plan: &Plan, cluster: &Cluster) -> Vec<(String, u32)> {
    let resolved = cluster.discovery.names().map(|names| {
        let hosts = &plan.proxy.dns.hosts;
        names.resolved(cluster, |name| hosts.get(name).map(Vec::as_slice).unwrap_or_default())
    });
    let endpoints = &resolved.as_ref().unwrap_or(cluster).endpoints;
    endpoints.iter().map(|endpoint| (endpoint.address.to_string(), endpoint.weight)).collect()
}
