//! `Sidecar` (Istio `networking/v1alpha3/sidecar.proto`): the services visible to a workload's outbound listeners, and its
//! inbound listeners.
//!
//! An egress listener without a port defines what the mesh listener sees; one with a port does so for that port, and is
//! bound itself where connections are not redirected to the mesh listener. The world decides which of the two applies.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::destination_rule::{ConnectionPool, read_connection_pool};
use super::proxy::OutboundTrafficPolicy;
use super::scalar::{Protocol, host};
use super::server_tls;
use super::service_entry::SELECTOR;
use super::virtual_service::{Destination, destination};
use super::{Labels, Meta, Withhold, workload_entry};
use crate::istio::reader::{Item, Message, Object, Part, Without, did_you_mean, enforced, ignored, not_yet, removed};

/// A Sidecar document.
#[derive(Debug, Clone)]
pub struct Sidecar {
    /// Name, namespace, place.
    pub meta: Meta,
    /// `workloadSelector.labels`: labels that the proxy itself must have; `None`: every proxy of the namespace.
    pub workload_selector: Option<Labels>,
    /// `egress`, in order; only the last may be without a port. `None`: not written, so everything is seen.
    pub egress: Option<Vec<Egress>>,
    /// `ingress`, in order.
    pub ingress: Vec<Ingress>,
    /// `inboundConnectionPool`: of the ingress listeners that have none of their own.
    pub inbound_connection_pool: Option<ConnectionPool>,
    /// `outboundTrafficPolicy`: in place of the mesh's.
    pub outbound_traffic_policy: Option<OutboundTrafficPolicy>,
    /// `outboundTrafficPolicy.egressProxy`: the destination of undeclared hosts, with ALLOW_ANY.
    pub egress_proxy: Option<Destination>,
}

/// `IstioEgressListener`.
#[derive(Debug, Clone)]
pub struct Egress {
    /// Its position in `spec.egress`.
    pub index: usize,
    /// `port`; `None`: every port that no other listener has.
    pub port: Option<ListenerPort>,
    /// `bind`.
    pub bind: Option<IpAddr>,
    /// `captureMode`.
    pub capture: Capture,
    /// `hosts`.
    pub hosts: Vec<Import>,
}

/// `SidecarPort`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerPort {
    /// `number`.
    pub number: u16,
    /// `protocol`; `None`: not said.
    pub protocol: Option<Protocol>,
    /// Whether that is `HTTP_PROXY`: requests name any host and port.
    pub is_proxy: bool,
}

/// `captureMode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Capture {
    /// `DEFAULT`: redirected if there is a listener to redirect to.
    #[default]
    Default,
    /// `IPTABLES`: connections are redirected.
    Redirected,
    /// `NONE`: without redirection; clients connect to the listener itself.
    Bound,
}

/// `IstioIngressListener`.
#[derive(Debug, Clone)]
pub struct Ingress {
    /// Its position in `spec.ingress`.
    pub index: usize,
    /// `port`.
    pub port: ListenerPort,
    /// `bind`.
    pub bind: Option<IpAddr>,
    /// `defaultEndpoint`.
    pub endpoint: LocalEndpoint,
    /// `connectionPool`.
    pub connection_pool: Option<ConnectionPool>,
}

/// `defaultEndpoint`: where the workload itself listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalEndpoint {
    /// `127.0.0.1:PORT`, `[::1]:PORT`.
    At(SocketAddr),
    /// `0.0.0.0:PORT`, `[::]:PORT`: the instance's own address of that kind.
    Instance(SocketAddr),
    /// `unix://PATH`: a Unix domain socket; a path, or `@` and an abstract name.
    Unix(Arc<str>),
}

/// One entry of an egress listener's `hosts`: `namespace/dnsName`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Which namespaces' services.
    pub namespace: ImportFrom,
    /// Lower-case exact name, `*.suffix` or `*`.
    pub host: String,
    /// `~namespace/dnsName`: these are excluded from the other hosts.
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

impl Withhold for Sidecar {
    const CONSEQUENCE: &'static str = "nothing is served through it";

    fn withhold(self) -> Option<Self> {
        Some(Self {
            egress: Some(Vec::new()),
            ingress: Vec::new(),
            outbound_traffic_policy: Some(OutboundTrafficPolicy::RegistryOnly),
            egress_proxy: None,
            ..self
        })
    }
}

const SIDECAR: Message = Message {
    name: "Sidecar",
    fields: &[
        enforced("workloadSelector"),
        enforced("ingress"),
        enforced("egress"),
        enforced("inboundConnectionPool"),
        enforced("outboundTrafficPolicy"),
    ],
};

const EGRESS: Message = Message {
    name: "IstioEgressListener",
    fields: &[enforced("port"), enforced("bind"), enforced("captureMode"), enforced("hosts")],
};

const INGRESS: Message = Message {
    name: "IstioIngressListener",
    fields: &[
        enforced("port"),
        enforced("bind"),
        enforced("captureMode"),
        enforced("defaultEndpoint"),
        not_yet("tls"),
        enforced("connectionPool"),
    ],
};

const SIDECAR_PORT: Message = Message {
    name: "SidecarPort",
    fields: &[
        enforced("number"),
        enforced("protocol"),
        ignored("name", "a listener goes by its number"),
        removed("targetPort", "it never had an effect on Sidecars"),
    ],
};

const OUTBOUND_TRAFFIC_POLICY: Message =
    Message { name: "OutboundTrafficPolicy", fields: &[enforced("mode"), enforced("egressProxy")] };

/// The tables of this kind.
pub(in crate::istio) const MESSAGES: &[&Message] =
    &[&SIDECAR, &EGRESS, &INGRESS, &SIDECAR_PORT, &OUTBOUND_TRAFFIC_POLICY];

/// Reads `spec`.
pub(in crate::istio) fn read(meta: Meta, spec: &Item<'_>) -> Option<Sidecar> {
    let object = spec.object(&SIDECAR)?;
    if !object.has_any(&["ingress", "egress", "inboundConnectionPool", "outboundTrafficPolicy"]) {
        spec.error("is empty", "write \"egress\", \"ingress\" or \"outboundTrafficPolicy\"");
    }
    let workload_selector = object.get("workloadSelector").and_then(|item| {
        let labels = item.object(&SELECTOR)?.get("labels").map(|item| item.labels()).unwrap_or_default();
        if labels.is_empty() && !item.is_damaged() {
            item.warn("selects every workload of its namespace", "write the labels to select by");
        }
        Some(labels)
    });
    let policy = object.get("outboundTrafficPolicy").and_then(|item| item.object(&OUTBOUND_TRAFFIC_POLICY));
    let inbound_connection_pool = object.get("inboundConnectionPool").and_then(|item| read_connection_pool(&item));
    Some(Sidecar {
        egress: object.get("egress").and_then(|list| egress(&list, &meta.namespace)),
        ingress: ingress(&object),
        inbound_connection_pool,
        outbound_traffic_policy: policy.as_ref().and_then(outbound_traffic_policy),
        egress_proxy: policy.as_ref().and_then(|item| egress_proxy(item, &meta.namespace)),
        meta,
        workload_selector,
    })
}

/// `None` for an empty list, which is the same as an absent one.
fn egress(list: &Item<'_>, namespace: &str) -> Option<Vec<Egress>> {
    let items = list.list();
    let mut ports = BTreeSet::new();
    let mut listeners = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let before = item.left_out();
        let Some(object) = item.object(&EGRESS) else { continue };
        let hosts: Vec<_> = object.list("hosts").iter().filter_map(|item| import(item, namespace)).collect();
        if object.list("hosts").is_empty() {
            item.error("needs at least one host", "write \"*/*\" for every host");
        }
        let ListenerPlace { port, bind, capture } = ListenerPlace::read(&object, &mut ports);
        if object.has_any(&["port"]) {
            if capture == Capture::Redirected && port.is_some_and(|port| port.is_proxy) {
                refuse(&object, "captureMode", "captureMode IPTABLES of an HTTP proxy", Without::More);
            }
            // With `--permissive` a listener that cannot be bound is left out.
            if item.left_out() == before {
                listeners.push(Egress { index, port, bind, capture, hosts });
            }
            continue;
        }
        if index + 1 < items.len() {
            item.error("the listener without a port must be the last, and the only one", "");
        } else if capture == Capture::Bound {
            refuse(&object, "captureMode", "captureMode NONE without a port", Without::NoMore);
        } else if bind.is_some() {
            refuse(&object, "bind", "\"bind\" without a port", Without::NoMore);
        }
        listeners.push(Egress { index, port: None, bind: None, capture: Capture::Default, hosts });
    }
    (!items.is_empty()).then_some(listeners)
}

fn import(item: &Item<'_>, own_namespace: &str) -> Option<Import> {
    let text = item.nonempty_string()?;
    let Some((namespace, name)) = text.split_once('/') else {
        item.error(format!("\"{text}\" names no namespace"), format!("write \"*/{text}\" or \"./{text}\""));
        return None;
    };
    // `~` alone imports nothing; before a namespace it excludes.
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

fn ingress(sidecar: &Object<'_>) -> Vec<Ingress> {
    let mut ports = BTreeSet::new();
    let items = sidecar.list("ingress").into_iter().enumerate();
    let listener = |(index, item): (usize, Item<'_>)| {
        let Part { value, withheld } = item.part("listener", || ingress_listener(index, &item, &mut ports));
        if withheld {
            item.withheld("this listener is left out");
        }
        value
    };
    items.filter_map(listener).collect()
}

fn ingress_listener(index: usize, item: &Item<'_>, ports: &mut BTreeSet<u32>) -> Option<Ingress> {
    let before = item.left_out();
    let object = item.object(&INGRESS)?;
    let ListenerPlace { port, bind, capture } = ListenerPlace::read(&object, ports);
    object.required("port");
    if capture == Capture::Redirected {
        refuse(&object, "captureMode", "captureMode IPTABLES of an ingress listener", Without::More);
    }
    let endpoint = match object.get("defaultEndpoint") {
        Some(item) => local_endpoint(&item),
        None => {
            // Istio's goes on to where the connection was redirected from; here it came to the listener itself.
            item.not_enforced("an ingress listener without \"defaultEndpoint\"", Without::More);
            None
        }
    };
    let connection_pool = object.get("connectionPool").and_then(|item| read_connection_pool(&item));
    object.verify("tls", |item| {
        let is_tls = port.and_then(|port| port.protocol).is_some_and(Protocol::is_tls);
        server_tls::check(item, if is_tls { server_tls::Port::Tls } else { server_tls::Port::Other }, false)
    });
    let whole = item.left_out() == before;
    Some(Ingress { index, port: port?, bind, endpoint: endpoint?, connection_pool }).filter(|_| whole)
}

fn local_endpoint(item: &Item<'_>) -> Option<LocalEndpoint> {
    let text = item.string()?;
    if let Some(path) = text.strip_prefix("unix://") {
        workload_entry::check_path(item, path);
        return Some(LocalEndpoint::Unix(path.into()));
    }
    let found = text.rsplit_once(':').and_then(|(host, port)| {
        let port = port.parse().ok().filter(|port: &u16| *port > 0)?;
        Some(match host {
            "127.0.0.1" | "" => LocalEndpoint::At((Ipv4Addr::LOCALHOST, port).into()),
            "[::1]" => LocalEndpoint::At((Ipv6Addr::LOCALHOST, port).into()),
            "0.0.0.0" => LocalEndpoint::Instance((Ipv4Addr::UNSPECIFIED, port).into()),
            "[::]" => LocalEndpoint::Instance((Ipv6Addr::UNSPECIFIED, port).into()),
            _ => return None,
        })
    });
    if found.is_none() {
        item.error(format!("\"{text}\" is not an address of this workload"), "write it like 127.0.0.1:8080");
    }
    found
}

fn refuse(listener: &Object<'_>, field: &str, what: &str, without: Without) {
    if let Some(item) = listener.get(field) {
        item.not_enforced(what, without);
    }
}

/// The address that both kinds of listener have.
struct ListenerPlace {
    port: Option<ListenerPort>,
    bind: Option<IpAddr>,
    capture: Capture,
}

impl ListenerPlace {
    /// `ports` are those of the listeners before.
    fn read(listener: &Object<'_>, ports: &mut BTreeSet<u32>) -> Self {
        let capture = listener.get("captureMode").and_then(|item| item.one_of(&["DEFAULT", "IPTABLES", "NONE"]));
        let bind = listener.get("bind").and_then(|item| bind(&item));
        let is_unix = matches!(bind, Some(Bind::Unix));
        let port = listener.get("port").and_then(|item| item.object(&SIDECAR_PORT)).and_then(|port| {
            let (protocol, is_proxy) = protocol(&port);
            port.verify("name", |item| {
                let name = item.string()?;
                if !name.is_empty() && !host::is_label(name) {
                    item.error(format!("\"{name}\" is not a port's name"), "letters, digits and \"-\"");
                }
                Some(())
            });
            // Port 0 is a unix socket's.
            let number = port.required("number")?.whole(u32::from(!is_unix), u32::from(u16::MAX))?;
            if number > 0 && !ports.insert(number) {
                let what = format!("a second listener on port {number}");
                listener.item.error(what, "give each listener its own port");
            }
            Some(ListenerPort { number: u16::try_from(number).ok()?, protocol, is_proxy })
        });
        Self {
            port,
            bind: if let Some(Bind::Ip(ip)) = bind { Some(ip) } else { None },
            capture: match capture {
                Some("NONE") => Capture::Bound,
                Some("IPTABLES") => Capture::Redirected,
                _ => Capture::Default,
            },
        }
    }
}

enum Bind {
    Ip(IpAddr),
    Unix,
}

fn bind(item: &Item<'_>) -> Option<Bind> {
    let text = item.string()?;
    if text.starts_with("unix://") {
        // The listener is left out.
        item.not_enforced("a unix socket as \"bind\"", Without::NoMore);
        return Some(Bind::Unix);
    }
    let ip = text.parse().ok();
    if ip.is_none() && !text.is_empty() {
        item.error(format!("\"{text}\" is not an IP address"), "");
    }
    ip.map(Bind::Ip)
}

/// The protocol, and whether it is `HTTP_PROXY`.
fn protocol(port: &Object<'_>) -> (Option<Protocol>, bool) {
    let Some(item) = port.get("protocol") else { return (None, false) };
    let Some(text) = item.string() else { return (None, false) };
    let protocol = Protocol::parse(text);
    match protocol {
        None => {
            let known = Protocol::KNOWN;
            item.error(format!("\"{text}\" is not one of {}", known.join(", ")), did_you_mean(text, known));
        }
        Some(Protocol::Udp) => item.not_enforced("protocol UDP of a listener", Without::NoMore),
        Some(_) => {}
    }
    (protocol.filter(|protocol| *protocol != Protocol::Auto), text.eq_ignore_ascii_case("HTTP_PROXY"))
}

fn outbound_traffic_policy(object: &Object<'_>) -> Option<OutboundTrafficPolicy> {
    let Some(mode) = object.get("mode").filter(|mode| !mode.is_damaged()) else {
        if object.is_damaged("mode") {
            return object.get("mode").and_then(|mode| mode.string()).and(None);
        }
        object.item.warn("without a mode is REGISTRY_ONLY, unlike no policy at all", "write the \"mode\"");
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

fn egress_proxy(policy: &Object<'_>, namespace: &str) -> Option<Destination> {
    let item = policy.get("egressProxy")?;
    let allows_any = policy.get("mode").is_some_and(|mode| mode.is_text() && mode.string() == Some("ALLOW_ANY"));
    if !allows_any && !policy.is_damaged("mode") {
        item.error("needs mode ALLOW_ANY", "with REGISTRY_ONLY nothing undeclared is sent anywhere");
    }
    let to = destination(&item, namespace)?;
    if to.port.is_none() && !item.open().is_some_and(|to| to.is_damaged("port")) {
        item.error("needs a port", "write \"port: {number: 3128}\"");
    }
    Some(to).filter(|to| allows_any && to.port.is_some())
}
