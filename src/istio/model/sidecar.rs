//! `Sidecar` (Istio `networking/v1alpha3/sidecar.proto`): what the mesh listener of a workload sees.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::destination_rule::read_connection_pool;
use super::proxy::OutboundTrafficPolicy;
use super::scalar::{Protocol, host};
use super::server_tls;
use super::service_entry::SELECTOR;
use super::{Labels, Meta};
use crate::istio::reader::{Item, Message, Object, did_you_mean, enforced, not_yet, removed};

/// A Sidecar document.
#[derive(Debug, Clone)]
pub struct Sidecar {
    /// Name, namespace, place.
    pub meta: Meta,
    /// `workloadSelector.labels`: labels that the proxy itself must have; `None`: every proxy of the namespace.
    pub workload_selector: Option<Labels>,
    /// `egress`: the hosts of the listener without a port. `None`: none is written, so everything is seen.
    pub egress: Option<Vec<Import>>,
    /// `outboundTrafficPolicy`: in place of the mesh's.
    pub outbound_traffic_policy: Option<OutboundTrafficPolicy>,
}

/// One entry of an egress listener's `hosts`: `namespace/dnsName`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Which namespaces' services.
    pub namespace: ImportFrom,
    /// Lower-case exact name, `*.suffix` or `*`.
    pub host: String,
    /// `~namespace/dnsName`: these are left out of what the others let in.
    pub excludes: bool,
}

/// The namespace of an [`Import`], with `.` resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportFrom {
    /// `*`.
    Any,
    /// `~`.
    Nowhere,
    /// A name.
    Namespace(String),
}

const SIDECAR: Message = Message {
    name: "Sidecar",
    fields: &[
        enforced("workloadSelector"),
        not_yet("ingress"),
        enforced("egress"),
        not_yet("inboundConnectionPool"),
        enforced("outboundTrafficPolicy"),
    ],
};

const EGRESS: Message = Message {
    name: "IstioEgressListener",
    fields: &[not_yet("port"), not_yet("bind"), not_yet("captureMode"), enforced("hosts")],
};

const INGRESS: Message = Message {
    name: "IstioIngressListener",
    fields: &[
        not_yet("port"),
        not_yet("bind"),
        not_yet("captureMode"),
        not_yet("defaultEndpoint"),
        not_yet("tls"),
        not_yet("connectionPool"),
    ],
};

const SIDECAR_PORT: Message = Message {
    name: "SidecarPort",
    fields: &[
        not_yet("number"),
        not_yet("protocol"),
        not_yet("name"),
        removed("targetPort", "it never had an effect on Sidecars"),
    ],
};

const OUTBOUND_TRAFFIC_POLICY: Message =
    Message { name: "OutboundTrafficPolicy", fields: &[enforced("mode"), not_yet("egressProxy")] };

/// The tables of this kind.
pub(in crate::istio) const MESSAGES: &[&Message] =
    &[&SIDECAR, &EGRESS, &INGRESS, &SIDECAR_PORT, &OUTBOUND_TRAFFIC_POLICY];

/// Reads `spec`.
pub(in crate::istio) fn read(meta: Meta, spec: &Item<'_>) -> Option<Sidecar> {
    let object = spec.object(&SIDECAR)?;
    if !object.has_any(&["ingress", "egress", "inboundConnectionPool", "outboundTrafficPolicy"]) {
        spec.error("is empty", "write \"egress\" or \"outboundTrafficPolicy\"");
    }
    let workload_selector = object.get("workloadSelector").and_then(|item| {
        let labels = item.object(&SELECTOR)?.get("labels").map(|item| item.labels()).unwrap_or_default();
        if labels.is_empty() {
            item.warn("selects every workload of its namespace", "write the labels to select by");
        }
        Some(labels)
    });
    let mut ports = BTreeSet::new();
    for item in object.list("ingress") {
        unique_port(&item, ingress(&item), &mut ports);
    }
    object.verify("inboundConnectionPool", read_connection_pool);
    let egress = object.get("egress").map(|list| egress(&list, &meta.namespace));
    let outbound_traffic_policy = object.get("outboundTrafficPolicy").and_then(|item| outbound_traffic_policy(&item));
    Some(Sidecar { meta, workload_selector, egress, outbound_traffic_policy })
}

/// The listener without a port is the last and the only one; those with a port are refused by name.
fn egress(list: &Item<'_>, namespace: &str) -> Vec<Import> {
    let items = list.list();
    let mut ports = BTreeSet::new();
    let mut imports = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let Some(listener) = item.object(&EGRESS) else { continue };
        let hosts: Vec<_> = listener.list("hosts").iter().filter_map(|item| import(item, namespace)).collect();
        if listener.list("hosts").is_empty() {
            item.error("needs at least one host", "write \"*/*\" for every host");
        }
        let has_port = listener.has_any(&["port"]);
        unique_port(item, check_listener(&listener), &mut ports);
        if !has_port && index + 1 < items.len() {
            item.error("the listener without a port must be the last, and the only one", "");
        } else if !has_port {
            imports = hosts;
        }
    }
    imports
}

fn import(item: &Item<'_>, own_namespace: &str) -> Option<Import> {
    let text = item.nonempty_string()?;
    let Some((namespace, name)) = text.split_once('/') else {
        item.error(format!("\"{text}\" names no namespace"), format!("write \"*/{text}\" or \"./{text}\""));
        return None;
    };
    // `~` alone imports nothing; before a namespace it takes away.
    let (excludes, namespace) = match namespace.strip_prefix('~') {
        Some("") | None => (false, namespace),
        Some(namespace) => (true, namespace),
    };
    let namespace = match namespace {
        "*" => ImportFrom::Any,
        "~" => ImportFrom::Nowhere,
        "." => ImportFrom::Namespace(own_namespace.to_owned()),
        name if host::is_dns_label(name) => ImportFrom::Namespace(name.to_owned()),
        other => {
            let instead = "write a name, \".\", \"*\" or \"~\" before the \"/\"";
            item.error(format!("\"{other}\" is not a namespace"), instead);
            return None;
        }
    };
    if let Err(why) = check_host(name) {
        item.error(format!("host \"{name}\" {why}"), "write a full name, \"*.example.com\" or \"*\"");
        return None;
    }
    Some(Import { namespace, host: name.to_ascii_lowercase(), excludes })
}

/// Whole labels as wildcards, and no short names.
fn check_host(name: &str) -> Result<(), &'static str> {
    if name == "*" {
        return Ok(());
    }
    host::check_wildcard_name(name)?;
    match name.strip_prefix('*') {
        Some(rest) if !rest.starts_with('.') => Err("has a wildcard for a part of a label"),
        None if !name.contains('.') => Err("is a short name"),
        _ => Ok(()),
    }
}

/// Checks a listener; its port.
fn ingress(item: &Item<'_>) -> Option<u32> {
    let listener = item.outline(&INGRESS)?;
    let number = check_listener(&listener);
    listener.verify("connectionPool", read_connection_pool);
    listener.verify("defaultEndpoint", |item| {
        let text = item.string()?;
        let local = ["127.0.0.1:", "0.0.0.0:", "[::1]:", "[::]:", ":"];
        let port = local.iter().find_map(|start| text.strip_prefix(start)).and_then(|port| port.parse().ok());
        if !text.starts_with("unix://") && port.is_none_or(|port: u16| port == 0) {
            item.error(format!("\"{text}\" is not an address of this workload"), "write it like 127.0.0.1:8080");
        }
        Some(())
    });
    let port = listener.required("port");
    let protocol = port.and_then(|port| protocol(&port.outline(&SIDECAR_PORT)?));
    listener.verify("tls", |item| {
        let port = match protocol {
            Some(Protocol::Https | Protocol::Tls) => server_tls::Port::Tls,
            _ => server_tls::Port::Other,
        };
        server_tls::check(item, port, false)
    });
    number
}

/// Checks what both kinds of listener have; the port.
fn check_listener(listener: &Object<'_>) -> Option<u32> {
    listener.verify("captureMode", |item| item.one_of(&["DEFAULT", "IPTABLES", "NONE"]));
    let bind = listener.get("bind").and_then(|item| item.string()).unwrap_or_default();
    let is_unix = bind.starts_with("unix://");
    listener.verify("bind", |item| {
        if !is_unix && !bind.is_empty() && bind.parse::<IpAddr>().is_err() {
            item.error(format!("\"{bind}\" is not an IP address"), "");
        }
        Some(())
    });
    let port = listener.get("port")?.outline(&SIDECAR_PORT)?;
    protocol(&port);
    port.verify("name", |item| {
        let name = item.string()?;
        if !name.is_empty() && !host::is_label(name) {
            item.error(format!("\"{name}\" is not a port's name"), "letters, digits and \"-\"");
        }
        Some(())
    });
    port.required("number")?.whole(u32::from(!is_unix), u32::from(u16::MAX))
}

fn protocol(port: &Object<'_>) -> Option<Protocol> {
    let item = port.get("protocol")?;
    let text = item.string()?;
    let protocol = Protocol::parse(text);
    if protocol.is_none() {
        let known = Protocol::KNOWN;
        item.error(format!("\"{text}\" is not one of {}", known.join(", ")), did_you_mean(text, known));
    }
    protocol
}

/// Port 0 is a unix socket's.
fn unique_port(item: &Item<'_>, number: Option<u32>, ports: &mut BTreeSet<u32>) {
    if let Some(number) = number.filter(|number| *number > 0)
        && !ports.insert(number)
    {
        item.error(format!("a second listener on port {number}"), "give each listener its own port");
    }
}

fn outbound_traffic_policy(item: &Item<'_>) -> Option<OutboundTrafficPolicy> {
    let object = item.object(&OUTBOUND_TRAFFIC_POLICY)?;
    let Some(mode) = object.get("mode") else {
        item.warn("without a mode is REGISTRY_ONLY, unlike no policy at all", "write the \"mode\"");
        return Some(OutboundTrafficPolicy::RegistryOnly);
    };
    if mode.string() == Some("ALLOW_ANY_DYNAMIC_DNS") {
        mode.error("is a mode of MeshConfig only", "write it under the Proxy's spec.meshConfig, or ALLOW_ANY here");
        return None;
    }
    Some(match mode.one_of(&["REGISTRY_ONLY", "ALLOW_ANY"])? {
        "ALLOW_ANY" => OutboundTrafficPolicy::AllowAny,
        _ => OutboundTrafficPolicy::RegistryOnly,
    })
}
