//! `Gateway` (Istio `networking/v1alpha3/gateway.proto`): which ports are opened, and for which hosts.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::scalar::{Protocol, host};
use super::server_tls::{self, Mode, ServerTls};
use super::{Labels, Meta, Withhold};
use crate::istio::reader::{Item, Message, Object, Part, Without, did_you_mean, enforced, removed};

/// A Gateway document.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// Name, namespace, place.
    pub meta: Meta,
    /// `selector`: labels that the proxy must have; empty: every proxy.
    pub selector: Labels,
    /// `servers`, in order.
    pub servers: Vec<Server>,
}

/// One entry of `servers`. Servers that end TLS are refused by name, with `--permissive` withheld.
#[derive(Debug, Clone)]
pub struct Server {
    /// Position in the document's `servers`.
    pub index: usize,
    /// `name`: for statistics; empty when absent.
    pub name: String,
    /// `port.number`; 0 if that or the protocol could not be read, which only checks see.
    pub port: u16,
    /// `port.name`.
    pub port_name: String,
    /// `port.protocol`, with `tls`.
    pub serves: Serves,
    /// `tls.httpsRedirect` of a plain HTTP port: every request is redirected to HTTPS, before any rule.
    pub https_redirect: bool,
    /// `bind`: address to listen on instead of the proxy's.
    pub bind: Option<IpAddr>,
    /// `hosts`, in order; at least one.
    pub hosts: Vec<ServerHost>,
    /// Whether it is withheld, because `--permissive` leaves out a field that restricts it. It keeps its port and its
    /// hosts from other servers.
    pub withheld: bool,
}

impl Withhold for Gateway {
    const CONSEQUENCE: &'static str = "its servers are left out";

    fn withhold(mut self) -> Option<Self> {
        self.servers.iter_mut().for_each(|server| server.withheld = true);
        Some(self)
    }
}

/// The traffic of a server, which decides the kind of its rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serves {
    /// HTTP: rules under `http`.
    Http,
    /// TLS that is not ended here (HTTPS or TLS, mode PASSTHROUGH): rules under `tls`.
    Tls,
    /// TCP: rules under `tcp`.
    Tcp,
}

/// One entry of a server's `hosts`: `[namespace/]dnsName`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerHost {
    /// Namespace of the VirtualServices that may use this host (`.` is resolved); `None`: any (`*`, or not written).
    pub namespace: Option<String>,
    /// Lower-case exact name, `*.suffix`, `*`, or an IP address.
    pub host: String,
}

const GATEWAY: Message = Message { name: "Gateway", fields: &[enforced("selector"), enforced("servers")] };

const SERVER: Message = Message {
    name: "Server",
    fields: &[
        enforced("port"),
        enforced("bind"),
        enforced("hosts"),
        enforced("tls"),
        enforced("name"),
        removed("defaultEndpoint", "Istio never implemented it"),
    ],
};

const PORT: Message = Message {
    name: "Port",
    fields: &[
        enforced("number"),
        enforced("protocol"),
        enforced("name"),
        removed("targetPort", "the Proxy document's spec.ports says where a Gateway port is bound"),
    ],
};

/// The tables of this kind.
pub(in crate::istio) const MESSAGES: &[&Message] = &[&GATEWAY, &SERVER, &PORT];

/// Reads `spec`.
pub(in crate::istio) fn read(meta: Meta, spec: &Item<'_>) -> Option<Gateway> {
    let gateway = spec.object(&GATEWAY)?;
    if !host::is_label(&meta.name) {
        spec.error(format!("\"{}\" is not a Gateway's name", meta.name), "write a name without \".\"");
    }
    let selector = gateway.get("selector").map(|item| item.labels()).unwrap_or_default();
    let mut port_names = BTreeSet::new();
    let mut servers = Vec::new();
    if let Some(list) = gateway.required("servers") {
        let items = list.list();
        if items.is_empty() {
            list.error("needs at least one server", "");
        }
        servers.extend(items.iter().enumerate().filter_map(|(index, item)| {
            let Part { value, withheld } =
                item.part("server", || server(index, item, &meta.namespace, &mut port_names));
            if withheld {
                item.withheld("this server is left out: its port is closed, or its hosts get 404");
            }
            Some(Server { withheld, ..value? })
        }));
    }
    Some(Gateway { meta, selector, servers })
}

fn server(index: usize, item: &Item<'_>, namespace: &str, port_names: &mut BTreeSet<String>) -> Option<Server> {
    let server = item.object(&SERVER)?;
    let bind = server.get("bind").and_then(|item| bind(&item));
    let hosts = server.required("hosts").map(|item| hosts(&item, namespace));
    let port = server.required("port").and_then(|item| item.object(&PORT));
    let port = port.as_ref();
    let number = port.and_then(|port| port.required("number")?.port());
    let port_name = port.and_then(|port| port.required("name")?.nonempty_string().map(str::to_owned));
    if let (Some(port), Some(name)) = (port, &port_name)
        && !port_names.insert(name.clone())
    {
        port.item.error(format!("a second port named \"{name}\" in this Gateway"), "give each port its own name");
    }
    let protocol = port.and_then(|port| protocol(&port.required("protocol")?));
    let tls = tls(&server, protocol);
    let serves = match protocol {
        Some(Protocol::Http) => Some(Serves::Http),
        Some(Protocol::Https | Protocol::Tls) if tls.is_some_and(|tls| tls.mode == Mode::Passthrough) => {
            Some(Serves::Tls)
        }
        Some(Protocol::Tcp) => Some(Serves::Tcp),
        // The traffic that it would take: with `--permissive` no other server gets it.
        Some(Protocol::Https | Protocol::Tls) if item.is_permissive() => Some(Serves::Tls),
        Some(Protocol::Http2 | Protocol::Grpc | Protocol::GrpcWeb) if item.is_permissive() => Some(Serves::Http),
        Some(_) if item.is_permissive() => Some(Serves::Tcp),
        _ => None,
    };
    if serves.is_none() && !item.is_damaged() {
        return None;
    }
    Some(Server {
        index,
        name: server.text("name"),
        // Without a protocol the traffic of the port is unknown.
        port: number.filter(|_| serves.is_some()).unwrap_or_default(),
        port_name: port_name.unwrap_or_default(),
        serves: serves.unwrap_or(Serves::Http),
        https_redirect: tls.is_some_and(|tls| tls.https_redirect),
        bind,
        hosts: hosts.unwrap_or_default(),
        withheld: false,
    })
}

fn bind(item: &Item<'_>) -> Option<IpAddr> {
    let text = item.string()?;
    if text.starts_with("unix://") {
        item.not_enforced("a unix socket", Without::More);
        return None;
    }
    let address = text.parse().ok();
    if address.is_none() {
        item.error(format!("\"{text}\" is not an IP address"), "");
    }
    address
}

/// HTTP, TCP and TLS are served; other protocols that Istio has are refused by name.
fn protocol(item: &Item<'_>) -> Option<Protocol> {
    let text = item.nonempty_string()?;
    let protocol = Protocol::parse(text);
    match protocol {
        Some(Protocol::Http | Protocol::Https | Protocol::Tls | Protocol::Tcp) => {}
        Some(other) => item.not_enforced(&format!("protocol {} of a Gateway server", other.name()), Without::More),
        None => {
            let known = Protocol::KNOWN;
            item.error(format!("\"{text}\" is not one of {}", known.join(", ")), did_you_mean(text, known));
        }
    }
    protocol
}

/// `tls`; `None` also if it is wrong.
fn tls(server: &Object<'_>, protocol: Option<Protocol>) -> Option<ServerTls> {
    let port = match protocol {
        Some(Protocol::Https | Protocol::Tls) => server_tls::Port::Tls,
        Some(Protocol::Http | Protocol::Http2 | Protocol::Grpc | Protocol::GrpcWeb) => server_tls::Port::PlainHttp,
        Some(_) => server_tls::Port::Other,
        None => server_tls::Port::Unknown,
    };
    if port == server_tls::Port::Tls && !server.has_any(&["tls"]) {
        let instead = "write \"mode: PASSTHROUGH\", or where its certificate is";
        server.item.error("a port of protocol HTTPS or TLS needs \"tls\"", instead);
    }
    server_tls::read(&server.get("tls")?, port)
}

fn hosts(list: &Item<'_>, namespace: &str) -> Vec<ServerHost> {
    let items = list.list();
    if items.is_empty() {
        list.error("needs at least one host", "write \"*\" for every host");
    }
    items.iter().filter_map(|item| server_host(item, namespace)).collect()
}

fn server_host(item: &Item<'_>, own_namespace: &str) -> Option<ServerHost> {
    let text = item.nonempty_string()?;
    let (namespace, name) = match text.split_once('/') {
        Some((namespace, name)) => (namespace, name),
        None => ("*", text),
    };
    let namespace = match namespace {
        "*" => None,
        "." => Some(own_namespace.to_owned()),
        name if host::is_dns_label(name) => Some(name.to_owned()),
        other => {
            item.error(format!("\"{other}\" is not a namespace"), "write a name, \".\" or \"*\" before the \"/\"");
            return None;
        }
    };
    if let Err(why) = check_server_name(name) {
        item.error(format!("host \"{name}\" {why}"), "write a full name, \"*.example.com\" or \"*\"");
        return None;
    }
    Some(ServerHost { namespace, host: name.to_ascii_lowercase() })
}

/// A Gateway's hosts are narrower than a VirtualService's: whole labels as wildcards, and no short names.
fn check_server_name(name: &str) -> Result<(), &'static str> {
    if name == "*" || host::is_ip(name) {
        return Ok(());
    }
    host::check_wildcard_name(name)?;
    match name.strip_prefix('*') {
        Some(rest) if !rest.starts_with('.') => Err("has a wildcard for a part of a label"),
        None if !name.contains('.') => Err("is a short name"),
        _ => Ok(()),
    }
}
