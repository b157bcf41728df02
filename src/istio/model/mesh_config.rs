//! `spec.meshConfig` of the Proxy: Istio's MeshConfig (`mesh/v1alpha1/config.proto`), under its own field names.

use std::time::Duration;

use super::cpus::{Cpus, MAX_CPUS};
use super::destination_rule::{
    ConnectionPool, LocalityLb, OutlierDetection, TcpKeepalive, read_connection_pool, read_h2_upgrade_policy,
    read_locality_lb, read_outlier_detection, read_tcp_keepalive,
};
use super::export::{self, Scope};
use super::scalar::host;
use super::virtual_service::{Retries, read_retries};
use crate::istio::reader::{Item, Message, Object, enforced, ignored, no_effect, not_yet, not_yet_harmless};

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
    /// `tcpKeepalive` of upstream connections.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// `defaultHttpRetryPolicy`: of rules without `retries`; `None`: Istio's own.
    pub default_http_retry_policy: Option<Retries>,
    /// `defaultTrafficPolicy.connectionPool`: where no DestinationRule has one.
    pub default_connection_pool: Option<ConnectionPool>,
    /// `defaultTrafficPolicy.outlierDetection`: where no DestinationRule has one.
    pub default_outlier_detection: Option<OutlierDetection>,
    /// `outboundTrafficPolicy.mode`: what the mesh listener does with undeclared hosts.
    pub outbound_traffic_policy: OutboundTrafficPolicy,
    /// `protocolDetectionTimeout`: how long a redirected connection waits for the first bytes that decide its protocol;
    /// after that it is TCP. `None` (`0s`): for ever.
    pub protocol_detection_timeout: Option<Duration>,
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
    /// `dnsRefreshRate`: longest time before a failed name is resolved again; also for answers without a TTL.
    pub dns_refresh_rate: Duration,
    /// `defaultConfig.drainDuration`: how long requests in flight may take after SIGTERM.
    pub drain_duration: Duration,
    /// `enableTracing`: how many of a million traces begun here are sampled (`defaultConfig.tracing.sampling`, there in
    /// percent); `None`: off.
    pub tracing: Option<u32>,
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

/// `pathNormalization.normalization`: how a request's path is normalised before rules are matched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PathNormalization {
    /// `NONE`: not at all.
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
    /// Requests to undeclared hosts pass through, to the address that the client sent them to.
    AllowAny,
    /// The same, but plain HTTP goes to where its Host is, wherever the client sent it.
    AllowAnyDynamicDns,
    /// They are refused.
    RegistryOnly,
}

impl OutboundTrafficPolicy {
    /// Whether requests to undeclared hosts are sent on.
    #[must_use]
    pub fn allows_any(self) -> bool {
        match self {
            Self::AllowAny | Self::AllowAnyDynamicDns => true,
            Self::RegistryOnly => false,
        }
    }
}

/// The default of `protocolDetectionTimeout`. Istio's own default is none, but its sidecars do not detect protocols on
/// undeclared ports, where the client of a server that speaks first would wait for ever.
const PROTOCOL_DETECTION_TIMEOUT: Duration = Duration::from_secs(1);

/// Istio's own defaults (`pkg/config/mesh/mesh.go`).
impl Default for MeshConfig {
    fn default() -> Self {
        Self {
            access_log_file: None,
            access_log_format: None,
            access_log_encoding: AccessLogEncoding::Text,
            connect_timeout: Duration::from_secs(10),
            tcp_keepalive: None,
            default_http_retry_policy: None,
            default_connection_pool: None,
            default_outlier_detection: None,
            outbound_traffic_policy: OutboundTrafficPolicy::AllowAny,
            protocol_detection_timeout: Some(PROTOCOL_DETECTION_TIMEOUT),
            path_normalization: PathNormalization::Base,
            locality_lb: LocalityLb { enabled: Some(true), ..LocalityLb::default() },
            root_namespace: "istio-system".to_owned(),
            default_service_export_to: vec![Scope::Everyone],
            default_virtual_service_export_to: vec![Scope::Everyone],
            default_destination_rule_export_to: vec![Scope::Everyone],
            dns_refresh_rate: Duration::from_secs(60),
            drain_duration: Duration::from_secs(45),
            tracing: None,
        }
    }
}

/// Why fields have no meaning for a single proxy that reads its configuration itself.
const CONTROL_PLANE: &str = "between Istio's control plane and its proxies";
const AGENT: &str = "for the agent that starts Envoy";
const ENVOY: &str = "how Envoy is started";
const PODS: &str = "what is written into Pods that get a sidecar";
const AMBIENT: &str = "for ambient mode, which has no proxies of this kind";
const INGRESS: &str = "for Kubernetes' Ingress, which is refused where it is written";
const IDENTITIES: &str = "for the certificates of the mesh: mutual TLS by them is refused where it is asked for";
const LISTENERS: &str = "spec.mesh.listen of the Proxy says where it listens";
const FLUSHED: &str = "the access log is written as soon as there is something to write";

const TELEMETRY: &str = "what Telemetry is done by; here statistics are always there, and accessLogFile is the log";

/// Why fields about metrics have no effect.
const SCRAPED: &str = "statistics are at /stats and /stats/prometheus";
const SPANS: &str = "traces are passed on and sampled, and no spans are sent";

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
        ignored("proxyListenPort", LISTENERS),
        ignored("proxyInboundListenPort", LISTENERS),
        ignored("proxyHttpPort", LISTENERS),
        enforced("protocolDetectionTimeout"),
        enforced("tcpKeepalive"),
        enforced("defaultHttpRetryPolicy"),
        enforced("defaultTrafficPolicy"),
        enforced("pathNormalization"),
        enforced("localityLbSetting"),
        enforced("dnsRefreshRate"),
        enforced("defaultServiceExportTo"),
        enforced("defaultVirtualServiceExportTo"),
        enforced("defaultDestinationRuleExportTo"),
        enforced("rootNamespace"),
        enforced("h2UpgradePolicy"),
        no_effect("inboundClusterStatName", "statistics go by Envoy's own names of clusters"),
        no_effect("outboundClusterStatName", "statistics go by Envoy's own names of clusters"),
        no_effect("enableAutoMtls", "mutual TLS is where a DestinationRule asks for it, and nowhere else"),
        ignored("trustDomain", IDENTITIES),
        ignored("trustDomainAliases", IDENTITIES),
        ignored("ca", IDENTITIES),
        ignored("caCertificates", IDENTITIES),
        ignored("certificates", IDENTITIES),
        ignored("configSources", CONTROL_PLANE),
        ignored("defaultProviders", TELEMETRY),
        ignored(
            "discoverySelectors",
            "what is read is said on the command line, and not by the namespaces of a cluster",
        ),
        ignored("disableEnvoyListenerLog", "a connection without a route has a line in the access log like any other"),
        no_effect("enableEnvoyAccessLogService", "the access log goes to accessLogFile"),
        ignored("enablePrometheusMerge", AGENT),
        enforced("enableTracing"),
        ignored(
            "extensionProviders",
            "named by Telemetry and AuthorizationPolicy, which are refused where they are written",
        ),
        ignored("hboneIdleTimeout", AMBIENT),
        ignored("inboundTrafficPolicy", "nothing comes in but through the ingress listeners of a Sidecar"),
        ignored("ingressClass", INGRESS),
        ignored("ingressControllerMode", INGRESS),
        ignored("ingressSelector", INGRESS),
        ignored("ingressService", INGRESS),
        ignored("meshMTLS", IDENTITIES),
        not_yet("serviceEntryVisibility"),
        ignored("serviceScopeConfigs", AMBIENT),
        ignored("serviceSettings", "which clusters of several have a service, and there is one configuration here"),
        not_yet("tlsDefaults"),
        ignored(
            "verifyCertificateAtClient",
            "certificates of servers are verified in any case, unless insecureSkipVerify says otherwise",
        ),
        not_yet_harmless("zoneAwareLbSetting"),
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
        no_effect("terminationDrainDuration", "drainDuration says how long requests may take after SIGTERM"),
        ignored("proxyAdminPort", "spec.admin of the Proxy says where the admin endpoints are"),
        ignored("statusPort", AGENT),
        ignored("statNameLength", "names of statistics may have any length"),
        ignored("holdApplicationUntilProxyStarts", PODS),
        ignored("proxyMetadata", AGENT),
        not_yet("gatewayTopology"),
        not_yet("proxyHeaders"),
        enforced("tracing"),
        no_effect("tracingServiceName", SPANS),
        ignored("availabilityZone", CONTROL_PLANE),
        ignored("binaryPath", ENVOY),
        ignored("caCertificatesPem", IDENTITIES),
        ignored("configPath", ENVOY),
        not_yet("connectionSettings"),
        ignored("controlPlaneAuthPolicy", CONTROL_PLANE),
        ignored("customConfigFile", ENVOY),
        ignored("discoveryAddress", CONTROL_PLANE),
        ignored("discoveryRefreshDelay", CONTROL_PLANE),
        no_effect("envoyAccessLogService", "the access log goes to accessLogFile"),
        no_effect("envoyMetricsService", SCRAPED),
        no_effect("envoyMetricsServiceAddress", SCRAPED),
        no_effect("extraStatTags", SCRAPED),
        ignored("fileFlushInterval", FLUSHED),
        ignored("fileFlushMinSizeKb", FLUSHED),
        ignored("image", PODS),
        ignored("interceptionMode", "how connections are redirected is the packet filter's to say"),
        ignored("meshId", "a label of telemetry, and there is one mesh here"),
        ignored("privateKeyProvider", IDENTITIES),
        ignored("proxyBootstrapTemplatePath", ENVOY),
        ignored("proxyStatsMatcher", "all statistics are always there"),
        ignored("readinessProbe", PODS),
        not_yet("runtimeValues"),
        ignored("sds", IDENTITIES),
        ignored("serviceCluster", "a name in traces and in Envoy's bootstrap"),
        ignored("statsCompression", "statistics are sent as they are"),
        no_effect("statsdUdpAddress", SCRAPED),
        no_effect("zipkinAddress", SPANS),
    ],
};

const TRACING: Message = Message {
    name: "Tracing",
    fields: &[
        enforced("sampling"),
        no_effect("customTags", SPANS),
        no_effect("datadog", SPANS),
        no_effect("disableContextPropagation", "the B3 headers of a trace are passed on in any case"),
        no_effect("enableIstioTags", SPANS),
        no_effect("lightstep", SPANS),
        no_effect("maxPathTagLength", SPANS),
        no_effect("openCensusAgent", SPANS),
        no_effect("stackdriver", SPANS),
        no_effect("tlsSettings", SPANS),
        no_effect("zipkin", SPANS),
    ],
};

/// How many of a million traces are sampled where `sampling` is not written: Istio's one percent.
const SAMPLING: u32 = 10_000;

const DEFAULT_TRAFFIC_POLICY: Message =
    Message { name: "DefaultTrafficPolicy", fields: &[enforced("connectionPool"), enforced("outlierDetection")] };

/// The tables of this file.
pub(in crate::istio) const MESSAGES: &[&Message] =
    &[&MESH_CONFIG, &OUTBOUND_TRAFFIC_POLICY, &PATH_NORMALIZATION, &DEFAULT_TRAFFIC_POLICY, &PROXY_CONFIG, &TRACING];

/// Reads it; `concurrency` of its `defaultConfig` goes to `concurrency`.
pub(super) fn read(item: &Item<'_>, concurrency: &mut Option<Cpus>) -> Option<MeshConfig> {
    let object = item.object(&MESH_CONFIG)?;
    let default = MeshConfig::default();
    let access_log_encoding = match object.get("accessLogEncoding").and_then(|item| item.one_of(&["TEXT", "JSON"])) {
        Some("JSON") => AccessLogEncoding::Json,
        _ => AccessLogEncoding::Text,
    };
    let export = |name: &str, default| object.get(name).and_then(|item| export::read_default(&item)).unwrap_or(default);
    let nonempty = |name: &str| Some(object.text(name)).filter(|text| !text.is_empty());
    let mut sampling = SAMPLING;
    let drain_duration = object.get("defaultConfig").and_then(|item| {
        let config = item.object(&PROXY_CONFIG)?;
        let percent =
            config.get("tracing").and_then(|item| item.object(&TRACING)?.get("sampling")?.decimal(0.0, 100.0));
        if let Some(percent) = percent {
            sampling = (percent * 10_000.0) as u32;
        }
        *concurrency =
            config.get("concurrency").and_then(|item| item.whole(0, MAX_CPUS)).map(|workers| match workers {
                0 => Cpus::All,
                some => Cpus::First(some),
            });
        config.get("drainDuration")?.duration()
    });
    object.verify("h2UpgradePolicy", read_h2_upgrade_policy);
    let policy = object.get("defaultTrafficPolicy").and_then(|item| item.object(&DEFAULT_TRAFFIC_POLICY));
    let of_policy = |name: &str| policy.as_ref().and_then(|policy| policy.get(name));
    Some(MeshConfig {
        access_log_file: nonempty("accessLogFile"),
        access_log_format: nonempty("accessLogFormat"),
        access_log_encoding,
        protocol_detection_timeout: match object.get("protocolDetectionTimeout") {
            Some(item) => item.duration_or_zero().filter(|timeout| !timeout.is_zero()),
            None => default.protocol_detection_timeout,
        },
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
        tcp_keepalive: object.get("tcpKeepalive").and_then(|item| read_tcp_keepalive(&item)),
        default_http_retry_policy: object.get("defaultHttpRetryPolicy").and_then(|item| read_retries(&item)),
        default_connection_pool: of_policy("connectionPool").and_then(|item| read_connection_pool(&item)),
        default_outlier_detection: of_policy("outlierDetection").and_then(|item| read_outlier_detection(&item)),
        outbound_traffic_policy: object
            .get("outboundTrafficPolicy")
            .and_then(|item| outbound_traffic_policy(&item))
            .unwrap_or(default.outbound_traffic_policy),
        dns_refresh_rate: object
            .get("dnsRefreshRate")
            .and_then(|item| item.duration())
            .unwrap_or(default.dns_refresh_rate),
        drain_duration: drain_duration.unwrap_or(default.drain_duration),
        tracing: object.get("enableTracing").and_then(|item| item.bool()).filter(|on| *on).map(|_| sampling),
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
    Some(match mode.one_of(&["ALLOW_ANY", "REGISTRY_ONLY", "ALLOW_ANY_DYNAMIC_DNS"])? {
        "ALLOW_ANY" => OutboundTrafficPolicy::AllowAny,
        "ALLOW_ANY_DYNAMIC_DNS" => OutboundTrafficPolicy::AllowAnyDynamicDns,
        _ => OutboundTrafficPolicy::RegistryOnly,
    })
}
