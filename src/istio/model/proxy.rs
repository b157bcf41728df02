//! `Proxy` (ringway.dev/v1): ringway's own document, with Istio's MeshConfig inside. All of it is optional.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::Labels;
use crate::base::limits;
use crate::istio::problem::Source;

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
    /// `spec.ports`: Gateway port to the port bound here; a port not named is bound as it is.
    pub ports: BTreeMap<u16, u16>,
    /// `spec.admin`; `None`: `off`.
    pub admin: Option<SocketAddr>,
    /// `spec.serverHeader`.
    pub server_header: ServerHeader,
    /// `spec.mirrorHostSuffix`: appended to the Host of mirrored requests.
    pub mirror_host_suffix: String,
    /// `spec.limits`.
    pub limits: Limits,
    /// `spec.meshConfig`.
    pub mesh_config: MeshConfig,
    /// Where it was written.
    pub source: Source,
}

/// `spec.cpus`: on which CPUs a pinned worker runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Cpus {
    /// Absent: all that the process may use.
    #[default]
    All,
    /// A number: the first so many of the allowed ones; at least 1.
    First(u32),
    /// A list: exactly these; not empty, no repeats.
    List(Vec<u32>),
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

/// `spec.serverHeader`: what `server:` says in responses.
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
    /// `maxConnections`, all workers together; `None` (0): what the descriptors allow.
    pub max_connections: Option<u32>,
}

/// `spec.meshConfig`: the fields of Istio's MeshConfig that are enforced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshConfig {
    /// `accessLogFile`; `None` (absent or ""): no access log.
    pub access_log_file: Option<String>,
    /// `accessLogFormat`; `None` (absent or ""): Istio's default text format.
    pub access_log_format: Option<String>,
    /// `connectTimeout` of upstream connections.
    pub connect_timeout: Duration,
    /// `outboundTrafficPolicy.mode`; of use once there is a mesh listener.
    pub outbound_traffic_policy: OutboundTrafficPolicy,
    /// `defaultConfig.drainDuration`: how long requests in flight may take after SIGTERM.
    pub drain_duration: Duration,
}

/// `outboundTrafficPolicy.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutboundTrafficPolicy {
    /// Requests to hosts that nobody declared pass through.
    AllowAny,
    /// They are refused.
    RegistryOnly,
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

/// Istio's own defaults (`pkg/config/mesh/mesh.go`).
impl Default for MeshConfig {
    fn default() -> Self {
        Self {
            access_log_file: None,
            access_log_format: None,
            connect_timeout: Duration::from_secs(10),
            outbound_traffic_policy: OutboundTrafficPolicy::AllowAny,
            drain_duration: Duration::from_secs(45),
        }
    }
}
