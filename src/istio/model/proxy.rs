//! `Proxy` (ringway.dev/v1): ringway's own document, with Istio's MeshConfig inside. All of it is optional.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::destination_rule::{LocalityLb, read_locality_lb};
use super::export::{self, Scope};
use super::scalar::host;
use super::{Labels, Locality, Meta};
use crate::base::limits;
use crate::istio::problem::Source;
use crate::istio::reader::{Item, Message, Object, enforced, not_yet};

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
    /// `spec.mesh.listen`: the address of the listener for what applications send out; `None`: there is none.
    pub mesh_listen: Option<SocketAddr>,
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
    /// `accessLogFormat`; `None` (absent or ""): Istio's default for the encoding. With `JSON` it is a JSON object, as
    /// text.
    pub access_log_format: Option<String>,
    /// `accessLogEncoding`.
    pub access_log_encoding: AccessLogEncoding,
    /// `connectTimeout` of upstream connections.
    pub connect_timeout: Duration,
    /// `outboundTrafficPolicy.mode`: what the mesh listener does with hosts that nobody declared.
    pub outbound_traffic_policy: OutboundTrafficPolicy,
    /// `pathNormalization.normalization`.
    pub path_normalization: PathNormalization,
    /// `localityLbSetting`: where no DestinationRule has one.
    pub locality_lb: LocalityLb,
    /// `rootNamespace`: whose DestinationRules are for everyone; `istio-system` when absent.
    pub root_namespace: String,
    /// `defaultServiceExportTo`: where neither Service nor ServiceEntry says.
    pub default_service_export_to: Vec<Scope>,
    /// `defaultVirtualServiceExportTo`.
    pub default_virtual_service_export_to: Vec<Scope>,
    /// `defaultDestinationRuleExportTo`.
    pub default_destination_rule_export_to: Vec<Scope>,
    /// `defaultConfig.drainDuration`: how long requests in flight may take after SIGTERM.
    pub drain_duration: Duration,
}

/// `accessLogEncoding`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AccessLogEncoding {
    /// `TEXT`.
    #[default]
    Text,
    /// `JSON`.
    Json,
}

/// `pathNormalization.normalization`: what is done to a request's path before rules are tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PathNormalization {
    /// `NONE`: nothing.
    None,
    /// `BASE`, also `DEFAULT`: RFC 3986's normalisation (dot segments, `%41`), and `\\` becomes `/`.
    #[default]
    Base,
    /// `MERGE_SLASHES`: and several slashes become one.
    MergeSlashes,
    /// `DECODE_AND_MERGE_SLASHES`: and `%2f` and `%5c` are slashes before that.
    DecodeAndMergeSlashes,
}

/// `outboundTrafficPolicy.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutboundTrafficPolicy {
    /// Requests to hosts that nobody declared pass through.
    AllowAny,
    /// They are refused.
    RegistryOnly,
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
            access_log_encoding: AccessLogEncoding::Text,
            connect_timeout: Duration::from_secs(10),
            outbound_traffic_policy: OutboundTrafficPolicy::AllowAny,
            path_normalization: PathNormalization::Base,
            locality_lb: LocalityLb { enabled: Some(true), ..LocalityLb::default() },
            root_namespace: "istio-system".to_owned(),
            default_service_export_to: vec![Scope::Everyone],
            default_virtual_service_export_to: vec![Scope::Everyone],
            default_destination_rule_export_to: vec![Scope::Everyone],
            drain_duration: Duration::from_secs(45),
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
        enforced("meshConfig"),
    ],
};

const MESH: Message = Message { name: "Mesh", fields: &[enforced("listen")] };

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

/// Istio's `mesh/v1alpha1/config.proto`.
const MESH_CONFIG: Message = Message {
    name: "MeshConfig",
    fields: &[
        enforced("accessLogFile"),
        enforced("accessLogFormat"),
        enforced("accessLogEncoding"),
        enforced("connectTimeout"),
        enforced("outboundTrafficPolicy"),
        enforced("defaultConfig"),
        not_yet("proxyListenPort"),
        not_yet("proxyInboundListenPort"),
        not_yet("proxyHttpPort"),
        not_yet("protocolDetectionTimeout"),
        not_yet("tcpKeepalive"),
        not_yet("defaultHttpRetryPolicy"),
        not_yet("defaultTrafficPolicy"),
        enforced("pathNormalization"),
        enforced("localityLbSetting"),
        not_yet("dnsRefreshRate"),
        enforced("defaultServiceExportTo"),
        enforced("defaultVirtualServiceExportTo"),
        enforced("defaultDestinationRuleExportTo"),
        enforced("rootNamespace"),
        not_yet("h2UpgradePolicy"),
        not_yet("inboundClusterStatName"),
        not_yet("outboundClusterStatName"),
        not_yet("enableAutoMtls"),
        not_yet("trustDomain"),
        not_yet("trustDomainAliases"),
        not_yet("ca"),
        not_yet("caCertificates"),
        not_yet("certificates"),
        not_yet("configSources"),
        not_yet("defaultProviders"),
        not_yet("discoverySelectors"),
        not_yet("disableEnvoyListenerLog"),
        not_yet("enableEnvoyAccessLogService"),
        not_yet("enablePrometheusMerge"),
        not_yet("enableTracing"),
        not_yet("extensionProviders"),
        not_yet("hboneIdleTimeout"),
        not_yet("inboundTrafficPolicy"),
        not_yet("ingressClass"),
        not_yet("ingressControllerMode"),
        not_yet("ingressSelector"),
        not_yet("ingressService"),
        not_yet("meshMTLS"),
        not_yet("serviceEntryVisibility"),
        not_yet("serviceScopeConfigs"),
        not_yet("serviceSettings"),
        not_yet("tlsDefaults"),
        not_yet("verifyCertificateAtClient"),
        not_yet("zoneAwareLbSetting"),
    ],
};

const OUTBOUND_TRAFFIC_POLICY: Message =
    Message { name: "MeshConfig.OutboundTrafficPolicy", fields: &[enforced("mode"), not_yet("tls")] };

const PATH_NORMALIZATION: Message = Message { name: "ProxyPathNormalization", fields: &[enforced("normalization")] };

/// Istio's `mesh/v1alpha1/proxy.proto`.
const PROXY_CONFIG: Message = Message {
    name: "ProxyConfig",
    fields: &[
        enforced("concurrency"),
        enforced("drainDuration"),
        not_yet("terminationDrainDuration"),
        not_yet("proxyAdminPort"),
        not_yet("statusPort"),
        not_yet("statNameLength"),
        not_yet("holdApplicationUntilProxyStarts"),
        not_yet("proxyMetadata"),
        not_yet("gatewayTopology"),
        not_yet("proxyHeaders"),
        not_yet("tracing"),
        not_yet("tracingServiceName"),
        not_yet("availabilityZone"),
        not_yet("binaryPath"),
        not_yet("caCertificatesPem"),
        not_yet("configPath"),
        not_yet("connectionSettings"),
        not_yet("controlPlaneAuthPolicy"),
        not_yet("customConfigFile"),
        not_yet("discoveryAddress"),
        not_yet("discoveryRefreshDelay"),
        not_yet("envoyAccessLogService"),
        not_yet("envoyMetricsService"),
        not_yet("envoyMetricsServiceAddress"),
        not_yet("extraStatTags"),
        not_yet("fileFlushInterval"),
        not_yet("fileFlushMinSizeKb"),
        not_yet("image"),
        not_yet("interceptionMode"),
        not_yet("meshId"),
        not_yet("privateKeyProvider"),
        not_yet("proxyBootstrapTemplatePath"),
        not_yet("proxyStatsMatcher"),
        not_yet("readinessProbe"),
        not_yet("runtimeValues"),
        not_yet("sds"),
        not_yet("serviceCluster"),
        not_yet("statsCompression"),
        not_yet("statsdUdpAddress"),
        not_yet("zipkinAddress"),
    ],
};

/// The tables of this kind.
pub(in crate::istio) const MESSAGES: &[&Message] =
    &[&PROXY, &MESH, &LIMITS, &MESH_CONFIG, &OUTBOUND_TRAFFIC_POLICY, &PATH_NORMALIZATION, &PROXY_CONFIG];

/// Smallest `maxHeaderBytes`: a browser's request with a few cookies fits.
const MIN_HEADER_BYTES: u32 = 1024;

/// Largest `maxHeaderBytes`: every connection may ask for a buffer of this size.
const MAX_HEADER_BYTES: u32 = 16 * 1024 * 1024;

/// Most CPUs that Linux can name.
const MAX_CPUS: u32 = 8192;

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
    on("mirrorHostSuffix", &mut |item| set(&mut proxy.mirror_host_suffix, item.string().map(str::to_owned)));
    on("limits", &mut |item| set(&mut proxy.limits, limits_of(item)));
    on("mesh", &mut |item| proxy.mesh_listen = mesh_listen(item));
    let mut concurrency = None;
    on("meshConfig", &mut |item| set(&mut proxy.mesh_config, mesh_config(item, &mut concurrency)));
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
fn mesh_listen(item: &Item<'_>) -> Option<SocketAddr> {
    let listen = item.object(&MESH)?.required("listen")?;
    let example = "write it like 127.0.0.1:15001";
    if listen.is_number() {
        listen.error("must be an address with a port", example);
        return None;
    }
    parsed(&listen, "is not an address with a port", example)
}

fn server_header(item: &Item<'_>) -> Option<ServerHeader> {
    let text = item.nonempty_string()?;
    if text == "passthrough" {
        return Some(ServerHeader::PassThrough);
    }
    if text.bytes().any(|byte| !(b' '..=b'~').contains(&byte)) || text.trim() != text {
        item.error("must be printable ASCII without space at its ends", "it is sent as a header's value");
        return None;
    }
    Some(ServerHeader::Overwrite(text.to_owned()))
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

fn mesh_config(item: &Item<'_>, concurrency: &mut Option<Cpus>) -> Option<MeshConfig> {
    let object = item.object(&MESH_CONFIG)?;
    let default = MeshConfig::default();
    let access_log_encoding = match object.get("accessLogEncoding").and_then(|item| item.one_of(&["TEXT", "JSON"])) {
        Some("JSON") => AccessLogEncoding::Json,
        _ => AccessLogEncoding::Text,
    };
    let export = |name: &str, default| object.get(name).and_then(|item| export::read_default(&item)).unwrap_or(default);
    let nonempty = |name: &str| Some(object.text(name)).filter(|text| !text.is_empty());
    let drain_duration = object.get("defaultConfig").and_then(|item| {
        let config = item.object(&PROXY_CONFIG)?;
        *concurrency =
            config.get("concurrency").and_then(|item| item.whole(0, MAX_CPUS)).map(|workers| match workers {
                0 => Cpus::All,
                some => Cpus::First(some),
            });
        config.get("drainDuration")?.duration()
    });
    Some(MeshConfig {
        access_log_file: nonempty("accessLogFile"),
        access_log_format: nonempty("accessLogFormat"),
        access_log_encoding,
        path_normalization: object
            .get("pathNormalization")
            .and_then(|item| path_normalization(&item))
            .unwrap_or_default(),
        locality_lb: match object.get("localityLbSetting") {
            // Whether anything finds failing endpoints is each DestinationRule's to say.
            Some(item) => read_locality_lb(&item, true).unwrap_or(default.locality_lb),
            None => default.locality_lb,
        },
        root_namespace: root_namespace(&object).unwrap_or(default.root_namespace),
        default_service_export_to: export("defaultServiceExportTo", default.default_service_export_to),
        default_virtual_service_export_to: export(
            "defaultVirtualServiceExportTo",
            default.default_virtual_service_export_to,
        ),
        default_destination_rule_export_to: export(
            "defaultDestinationRuleExportTo",
            default.default_destination_rule_export_to,
        ),
        connect_timeout: connect_timeout(&object).unwrap_or(default.connect_timeout),
        outbound_traffic_policy: object
            .get("outboundTrafficPolicy")
            .and_then(|item| outbound_traffic_policy(&item))
            .unwrap_or(default.outbound_traffic_policy),
        drain_duration: drain_duration.unwrap_or(default.drain_duration),
    })
}

fn path_normalization(item: &Item<'_>) -> Option<PathNormalization> {
    let modes = ["DEFAULT", "NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"];
    Some(match item.object(&PATH_NORMALIZATION)?.get("normalization")?.one_of(&modes)? {
        "NONE" => PathNormalization::None,
        "MERGE_SLASHES" => PathNormalization::MergeSlashes,
        "DECODE_AND_MERGE_SLASHES" => PathNormalization::DecodeAndMergeSlashes,
        _ => PathNormalization::Base,
    })
}

fn root_namespace(object: &Object<'_>) -> Option<String> {
    let item = object.get("rootNamespace")?;
    let name = item.nonempty_string()?;
    if !host::is_dns_label(name) {
        item.error(format!("\"{name}\" is not a namespace"), "lower-case letters, digits and \"-\"");
        return None;
    }
    Some(name.to_owned())
}

/// Istio allows 1 ms to 1 h.
fn connect_timeout(object: &Object<'_>) -> Option<Duration> {
    let item = object.get("connectTimeout")?;
    let timeout = item.duration()?;
    if timeout > Duration::from_secs(3600) {
        item.error("must be at most 1h", "");
        return None;
    }
    Some(timeout)
}

/// A block without a mode is REGISTRY_ONLY: the enum's zero, as in Istio.
fn outbound_traffic_policy(item: &Item<'_>) -> Option<OutboundTrafficPolicy> {
    let object = item.object(&OUTBOUND_TRAFFIC_POLICY)?;
    let Some(mode) = object.get("mode") else { return Some(OutboundTrafficPolicy::RegistryOnly) };
    match mode.one_of(&["ALLOW_ANY", "REGISTRY_ONLY", "ALLOW_ANY_DYNAMIC_DNS"])? {
        "ALLOW_ANY" => Some(OutboundTrafficPolicy::AllowAny),
        "REGISTRY_ONLY" => Some(OutboundTrafficPolicy::RegistryOnly),
        other => {
            mode.not_enforced(&format!("outboundTrafficPolicy {other}"));
            None
        }
    }
}
