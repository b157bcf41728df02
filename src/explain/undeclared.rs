//! The missing declarations for a request that an outbound listener refuses (REGISTRY_ONLY).

use std::net::IpAddr;

use super::answer::WrittenAt;
use crate::istio::world::{Hidden, Why};
use crate::plan::{Listener, ListenerKind};

/// The port of an authority without a port.
const HTTP_PORT: &str = "80";

/// Why the authority is undeclared, and the advice; a line each. `protocol` is the one to declare.
pub(super) fn missing(listener: &Listener, hidden: &[Hidden], authority: &[u8], protocol: &str) -> Vec<String> {
    let authority = String::from_utf8_lossy(authority).to_ascii_lowercase();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') && !port.is_empty() => (host, port),
        Some((host, "")) => (host, HTTP_PORT),
        _ => (authority.as_str(), HTTP_PORT),
    };
    // A listener for one port only uses that one, whatever the authority.
    let only = listener.kind.only_port().map(|port| port.to_string());
    let port = only.as_deref().unwrap_or(port);
    let own = match listener.kind {
        ListenerKind::Egress(port) | ListenerKind::HttpProxy(port) => Some(port),
        ListenerKind::Mesh | ListenerKind::Gateway(_) | ListenerKind::Ingress(_) => None,
    };
    let covers = |hidden: &&Hidden| hidden.listener == own && hidden.covers(host, port.parse().ok());
    let mut said: Vec<String> = hidden.iter().filter(covers).map(why_hidden).collect();
    said.extend(on_other_ports(listener, host, port));
    let ip = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if said.is_empty() && ip.parse::<IpAddr>().is_ok() {
        said.push(format!("no ServiceEntry has {ip} among its \"addresses\", on port {port}"));
    } else if said.is_empty() {
        let name = protocol.to_ascii_lowercase();
        let declared = format!("{{number: {port}, name: {name}, protocol: {protocol}}}");
        said.push(format!("no ServiceEntry declares {host} on port {port}; one that does:"));
        said.push(format!("spec: {{hosts: [{host}], ports: [{declared}], resolution: DNS}}"));
    }
    said
}

fn why_hidden(hidden: &Hidden) -> String {
    let Hidden { hostname, source, why, .. } = hidden;
    let place = format!("{}:{}: {} declares {hostname}", source.file, source.line, source.resource);
    match why {
        Why::NotExported(namespace) => format!("{place}, and does not export it to the namespace {namespace}"),
        Why::NotImported(sidecar, field) => format!("{place}, and {sidecar} does not let it in: add it to {field}"),
    }
}

/// The declarations of the host for other ports.
fn on_other_ports(listener: &Listener, host: &str, asked: &str) -> Option<String> {
    let declared = |port: u16| {
        let (table, found) = listener.virtual_host(format!("{host}:{port}").as_bytes())?;
        // If a port has only its own table, that also has the route of undeclared hosts.
        let is_declared = found.domains.first().is_some_and(|domain| &**domain != "*");
        (table.port == Some(port) && is_declared).then_some(found)
    };
    let ports = listener.route_tables().filter_map(|table| table.port);
    let found: Vec<_> = ports.filter_map(|port| Some((port, declared(port)?))).collect();
    let place = WrittenAt::of(&found.first()?.1.routes().first()?.origin);
    let ports: Vec<String> = found.iter().map(|(port, _)| port.to_string()).collect();
    Some(format!("{place} is for {host} on port {}, and not on {asked}", ports.join(", ")))
}
