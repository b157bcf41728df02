//! `Proxy` (ringway.dev/v1): ringway's own document. All of it is optional.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

pub use super::cpus::Cpus;
use super::cpus::MAX_CPUS;
use super::dns::{self, Dns};
use super::mesh_config;
pub use super::mesh_config::{AccessLogEncoding, MeshConfig, OutboundTrafficPolicy, PathNormalization};
use super::{Labels, Locality, Meta};
use crate::base::limits;
use crate::istio::problem::Source;
use crate::istio::reader::{Item, Message, Object, enforced};

/// The Proxy document, or its defaults when there is none.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// `metadata.name`; `ringway` without a document.
    pub name: String,
    /// `metadata.namespace`; `default` when absent.
    pub namespace: String,
    /// `metadata.labels`: Gateways whose selector matches are served; empty: every Gateway.
    pub labels: Labels,
    /// `spec.cpus`.
    pub cpus: Cpus,
    /// `spec.driver`.
    pub driver: Driver,
    /// `spec.bind`: address of the Gateway listeners.
    pub bind: IpAddr,
    /// `spec.ports`: Gateway port to the port bound here; a port not named is bound unchanged.
    pub ports: BTreeMap<u16, u16>,
    /// `spec.admin`; `None`: `off`.
    pub admin: Option<SocketAddr>,
    /// `spec.serverHeader`.
    pub server_header: ServerHeader,
    /// `spec.mirrorHostSuffix`: appended to the Host of mirrored requests.
    pub mirror_host_suffix: String,
    /// `spec.limits`.
    pub limits: Limits,
    /// `spec.mesh.listen`: the address of the outbound listener; `None`: there is none.
    pub mesh_listen: Option<SocketAddr>,
    /// `spec.mesh.allowLocal`: whether undeclared hosts may be loopback or link-local addresses although other hosts can
    /// reach the listener; `None`: not written.
    pub mesh_allow_local: Option<bool>,
    /// `spec.dns`.
    pub dns: Dns,
    /// `spec.meshConfig`.
    pub mesh_config: MeshConfig,
    /// Where it was written.
    pub source: Source,
}

/// `spec.driver`: how sockets are driven.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Driver {
    /// `auto`: io_uring, or epoll where the host forbids it.
    #[default]
    Auto,
    /// `io_uring`.
    IoUring,
    /// `epoll`.
    Epoll,
}

/// `spec.serverHeader`: the `server` header of responses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerHeader {
    /// This name, also over the upstream's.
    Overwrite(String),
    /// `passthrough`: the upstream's is kept.
    PassThrough,
}

/// `spec.limits`: of every listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// `headersTimeout`: for a whole request head.
    pub headers_timeout: Duration,
    /// `bodyTimeout`: a request body without a byte of progress.
    pub body_timeout: Duration,
    /// `idleTimeout`: a keep-alive connection between requests.
    pub idle_timeout: Duration,
    /// `maxHeaderBytes`: the request line included.
    pub max_header_bytes: u32,
    /// `maxHeaders`.
    pub max_headers: u32,
    /// `maxConnections`, all workers together; `None` (0): as many as the descriptors allow.
    pub max_connections: Option<u32>,
}

impl Proxy {
    /// Where the proxy runs, by its labels; empty if they do not say.
    #[must_use]
    pub fn locality(&self) -> Locality {
        Locality::of_labels(&self.labels)
    }
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            name: "ringway".to_owned(),
            namespace: "default".to_owned(),
            labels: Labels::new(),
            cpus: Cpus::default(),
            driver: Driver::default(),
            bind: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            ports: BTreeMap::new(),
            admin: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 15000))),
            server_header: ServerHeader::Overwrite("ringway".to_owned()),
            mirror_host_suffix: "-shadow".to_owned(),
            limits: Limits::default(),
            mesh_listen: None,
            mesh_allow_local: None,
            dns: Dns::default(),
            mesh_config: MeshConfig::default(),
            source: Source::bare("(defaults)", 0, "Proxy/default/ringway"),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            headers_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(3600),
            max_header_bytes: limits::MAX_HEADER_BYTES as u32,
            max_headers: limits::MAX_HEADERS as u32,
            max_connections: None,
        }
    }
}

const PROXY: Message = Message {
    name: "Proxy",
    fields: &[
        enforced("cpus"),
        enforced("driver"),
        enforced("bind"),
        enforced("ports"),
        enforced("admin"),
        enforced("serverHeader"),
        enforced("mirrorHostSuffix"),
        enforced("limits"),
        enforced("mesh"),
        enforced("dns"),
        enforced("meshConfig"),
    ],
};

const MESH: Message = Message { name: "Mesh", fields: &[enforced("listen"), enforced("allowLocal")] };

const LIMITS: Message = Message {
    name: "Limits",
    fields: &[
        enforced("headersTimeout"),
        enforced("bodyTimeout"),
        enforced("idleTimeout"),
        enforced("maxHeaderBytes"),
        enforced("maxHeaders"),
        enforced("maxConnections"),
    ],
};

/// The tables of this kind.
pub(in crate::istio) const MESSAGES: &[&Message] = &[&PROXY, &MESH, &LIMITS, dns::DNS];

/// Smallest `maxHeaderBytes`: a browser's request with a few cookies fits.
const MIN_HEADER_BYTES: u32 = 1024;

/// Largest `maxHeaderBytes`: every connection may ask for a buffer of this size.
const MAX_HEADER_BYTES: u32 = 16 * 1024 * 1024;

/// Reads `spec`, which may be absent.
pub(in crate::istio) fn read(meta: Meta, spec: Option<&Item<'_>>) -> Option<Proxy> {
    let mut proxy = Proxy {
        name: meta.name,
        namespace: meta.namespace,
        labels: meta.labels,
        source: meta.source,
        ..Proxy::default()
    };
    let Some(spec) = spec else { return Some(proxy) };
    let object = spec.object(&PROXY)?;
    let on = |name: &str, read: &mut dyn FnMut(&Item<'_>)| object.get(name).iter().for_each(read);
    on("driver", &mut |item| set(&mut proxy.driver, driver(item)));
    on("bind", &mut |item| set(&mut proxy.bind, parsed(item, "is not an IP address", "write it like 0.0.0.0")));
    on("ports", &mut |item| proxy.ports = ports(item));
    on("admin", &mut |item| set(&mut proxy.admin, admin(item)));
    on("serverHeader", &mut |item| set(&mut proxy.server_header, server_header(item)));
    on("mirrorHostSuffix", &mut |item| set(&mut proxy.mirror_host_suffix, mirror_host_suffix(item)));
    on("limits", &mut |item| set(&mut proxy.limits, limits_of(item)));
    on("mesh", &mut |item| {
        if let Some(mesh) = item.object(&MESH) {
            proxy.mesh_listen = mesh_listen(&mesh);
            proxy.mesh_allow_local = mesh.get("allowLocal").and_then(|item| item.bool());
        }
    });
    on("dns", &mut |item| set(&mut proxy.dns, dns::read(item)));
    let mut concurrency = None;
    on("meshConfig", &mut |item| set(&mut proxy.mesh_config, mesh_config::read(item, &mut concurrency)));
    if let Some(workers) = concurrency {
        proxy.cpus = workers;
    }
    // ringway's own setting is the more exact one.
    on("cpus", &mut |item| set(&mut proxy.cpus, cpus(item)));
    Some(proxy)
}

/// Keeps the default where the value was wrong, which has been reported.
fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn parsed<T: std::str::FromStr>(item: &Item<'_>, why: &str, instead: &str) -> Option<T> {
    let text = item.string()?;
    let value = text.parse().ok();
    if value.is_none() {
        item.error(format!("\"{text}\" {why}"), instead);
    }
    value
}

fn driver(item: &Item<'_>) -> Option<Driver> {
    Some(match item.one_of(&["auto", "io_uring", "epoll"])? {
        "io_uring" => Driver::IoUring,
        "epoll" => Driver::Epoll,
        _ => Driver::Auto,
    })
}

fn cpus(item: &Item<'_>) -> Option<Cpus> {
    if item.is_number() {
        return item.whole(1, MAX_CPUS).map(Cpus::First);
    }
    let items = item.list();
    let mut cpus = Vec::new();
    for item in &items {
        let Some(cpu) = item.whole(0, MAX_CPUS - 1) else { continue };
        if cpus.contains(&cpu) {
            item.error(format!("CPU {cpu} is listed twice"), "one worker runs on each CPU");
        } else {
            cpus.push(cpu);
        }
    }
    if items.is_empty() {
        item.error("must be a number of CPUs or a list of them", "leave it out for all CPUs");
    }
    (!cpus.is_empty()).then_some(Cpus::List(cpus))
}

/// Two Gateway ports may share a port here only by mistake: their listeners would be confused.
fn ports(item: &Item<'_>) -> BTreeMap<u16, u16> {
    let mut ports = BTreeMap::new();
    for (key, value) in item.data_map() {
        let Some(to) = value.port() else { continue };
        let Some(from) = key.parse().ok().filter(|from| *from > 0) else {
            value.error(format!("\"{key}\" is not a port"), "write \"gateway port: port bound here\"");
            continue;
        };
        if let Some((other, _)) = ports.iter().find(|(_, bound)| **bound == to) {
            value.error(format!("port {to} is bound for Gateway port {other} already"), "");
        } else {
            ports.insert(from, to);
        }
    }
    ports
}

fn admin(item: &Item<'_>) -> Option<Option<SocketAddr>> {
    if item.is_false() || item.is_text() && item.string() == Some("off") {
        return Some(None);
    }
    let example = "write it like 127.0.0.1:15000, or \"off\"";
    if item.is_number() {
        item.error("must be an address with a port", example);
        return None;
    }
    parsed(item, "is not an address with a port", example).map(Some)
}

/// A block without an address is one that was forgotten to be finished.
fn mesh_listen(mesh: &Object<'_>) -> Option<SocketAddr> {
    let listen = mesh.required("listen")?;
    let example = "write it like 127.0.0.1:15001";
    if listen.is_number() {
        listen.error("must be an address with a port", example);
        return None;
    }
    parsed(&listen, "is not an address with a port", example)
}

fn server_header(item: &Item<'_>) -> Option<ServerHeader> {
    let header = ServerHeader::of(item.nonempty_string()?);
    if header.is_none() {
        item.error("must be printable ASCII without space at its ends", "it is sent as a header's value");
    }
    header
}

impl ServerHeader {
    /// The value of `serverHeader` and `--server-header`; `None` if it cannot be sent.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let can_be_sent =
            !text.is_empty() && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && text.trim() == text;
        match text {
            "passthrough" => Some(Self::PassThrough),
            name => can_be_sent.then(|| Self::Overwrite(name.to_owned())),
        }
    }
}

/// Whether a mirrored request's Host is still one with this behind its name.
#[must_use]
pub fn is_host_suffix(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

fn mirror_host_suffix(item: &Item<'_>) -> Option<String> {
    let text = item.string()?;
    if !is_host_suffix(text) {
        item.error(
            format!("{text:?} cannot stand in a Host: it takes letters, digits, \"-\", \".\" and \"_\""),
            "write it like \"-shadow\"",
        );
        return None;
    }
    Some(text.to_owned())
}

fn limits_of(item: &Item<'_>) -> Option<Limits> {
    let object = item.object(&LIMITS)?;
    let duration = |name: &str, default| object.get(name).and_then(|item| item.duration()).unwrap_or(default);
    let whole =
        |name: &str, min, max, default| object.get(name).and_then(|item| item.whole(min, max)).unwrap_or(default);
    let default = Limits::default();
    let max_connections = whole("maxConnections", 0, u32::MAX, 0);
    Some(Limits {
        headers_timeout: duration("headersTimeout", default.headers_timeout),
        body_timeout: duration("bodyTimeout", default.body_timeout),
        idle_timeout: duration("idleTimeout", default.idle_timeout),
        max_header_bytes: whole("maxHeaderBytes", MIN_HEADER_BYTES, MAX_HEADER_BYTES, default.max_header_bytes),
        max_headers: whole("maxHeaders", 1, 10_000, default.max_headers),
        max_connections: (max_connections > 0).then_some(max_connections),
    })
}
