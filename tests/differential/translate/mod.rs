//! The small Istio YAML of a case to an Envoy static bootstrap shaped like what istiod sends to a gateway or a sidecar.
//!
//! Written apart from ringway's own reading of the YAML, so that a mistake there is not repeated here. It knows the
//! fields that the cases use and panics at any other: a case must never compare two proxies with different rules.

mod action;
mod cluster;
mod discovery;
mod matcher;
mod mesh;
mod resilience;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Deserialize;
use serde_json::{Value, json};

/// The text format of Istio's access log.
const ISTIO_LOG_FORMAT: &str = concat!(
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% ",
    "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% ",
    "\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ",
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" ",
    "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% ",
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% ",
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
);

/// Which listener of a proxy a world is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The HTTP server on port 80 of the Gateway `edge`.
    Gateway,
    /// What a sidecar takes from its application, as Istio's explicit HTTP proxy (`proxyHttpPort`) does.
    Mesh(Outbound),
}

/// `meshConfig.outboundTrafficPolicy.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outbound {
    AllowAny,
    AllowAnyDynamicDns,
    RegistryOnly,
}

/// Which addresses of a name count: `dns_lookup_family`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// As istiod has it for a proxy with IPv4 addresses, or without dual stack.
    V4Only,
    /// As istiod has it with dual stack.
    All,
}

/// Where the translated Envoy listens and logs.
pub(crate) struct Place<'a> {
    pub(crate) listener: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) log: &'a str,
    /// Whom it asks for names, and for which addresses.
    pub(crate) names: Option<(SocketAddr, Family)>,
}

/// The documents of a case, by kind, and the fields of its `meshConfig`.
struct World {
    documents: Vec<Value>,
    mesh_config: Value,
    names: Option<(SocketAddr, Family)>,
}

impl World {
    fn parse(yaml: &str, mesh_config: &[(&str, &str)], names: Option<(SocketAddr, Family)>) -> Self {
        let documents = serde_yaml::Deserializer::from_str(yaml)
            .map(|document| Value::deserialize(document).expect("the YAML of a case"))
            .filter(|document| !document.is_null())
            .collect();
        let fields = mesh_config.iter().map(|(field, value)| {
            ((*field).to_owned(), serde_yaml::from_str(value).expect("the value of a field of meshConfig"))
        });
        let mesh_config = Value::Object(fields.collect());
        only(&mesh_config, &["pathNormalization", "accessLogFormat", "accessLogEncoding", "dnsRefreshRate"]);
        Self { documents, mesh_config, names }
    }

    fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.documents.iter().filter(move |document| document["kind"] == kind)
    }

    /// The Service with this name, qualified.
    fn service(&self, host: &str) -> Option<&Value> {
        self.of("Service").find(|service| qualified(text(&service["metadata"], "name")) == host)
    }

    /// The virtual hosts of the HTTP servers on port 80 of the Gateway `edge`. What several VirtualServices say of one host
    /// is added up, routes that take everything last (istiod's `SortVHostRoutes`); a server with `httpsRedirect` makes
    /// virtual hosts for all of its hosts, and redirects those that it shares with another.
    fn gateway_hosts(&self) -> Vec<Value> {
        let gateway =
            self.of("Gateway").find(|gateway| gateway["metadata"]["name"] == "edge").expect("the Gateway edge");
        only(&gateway["spec"], &["servers"]);
        let mut hosts: BTreeMap<String, (Vec<&Value>, bool)> = BTreeMap::new();
        for server in array(&gateway["spec"], "servers") {
            only(server, &["port", "hosts", "tls"]);
            only(&server["tls"], &["httpsRedirect"]);
            assert_eq!((&server["port"]["number"], &server["port"]["protocol"]), (&json!(80), &json!("HTTP")));
            let redirects = server["tls"]["httpsRedirect"] == true;
            // Of a host for one namespace: all VirtualServices of the cases are in another.
            let of_others = |name: &&str| name.contains('/');
            let names: Vec<&str> = array(server, "hosts").iter().map(|host| host.as_str().expect("a host")).collect();
            for service in self.of("VirtualService") {
                if array(&service["spec"], "gateways") != [json!("edge")] {
                    continue;
                }
                for host in array(&service["spec"], "hosts") {
                    let host = host.as_str().expect("a host");
                    for shared in names.iter().filter(|name| !of_others(name)).filter_map(|name| shared(name, host)) {
                        let (services, redirected) = hosts.entry(shared.to_owned()).or_default();
                        if !services.iter().any(|known| std::ptr::eq(*known, service)) {
                            services.push(service);
                        }
                        *redirected |= redirects;
                    }
                }
            }
            for name in names.iter().filter(|_| redirects) {
                let host = name.split_once('/').map_or(*name, |(_, host)| host);
                hosts.entry(host.to_owned()).or_default().1 = true;
            }
        }
        let virtual_hosts = hosts.into_iter().filter_map(|(host, (services, redirected))| {
            let routes = services.iter().flat_map(|service| self.rules(service, "default/edge", 80));
            let (last, first): (Vec<Value>, Vec<Value>) = routes.partition(takes_everything);
            let routes = [first, last].concat();
            let domain = if host.contains(':') { format!("[{host}]") } else { host.clone() };
            (redirected || !routes.is_empty()).then(|| {
                json!({
                    "name": format!("{host}:80"), "domains": [domain], "routes": routes,
                    "include_request_attempt_count": true, "require_tls": if redirected { "ALL" } else { "NONE" },
                })
            })
        });
        virtual_hosts.collect()
    }

    /// The routes of a VirtualService for `gateway` (`mesh` or `namespace/name`) on a port, up to the first one that
    /// takes everything.
    fn rules(&self, service: &Value, gateway: &str, port: u64) -> Vec<Value> {
        only(&service["spec"], &["hosts", "gateways", "http"]);
        let mut routes = Vec::new();
        for rule in array(&service["spec"], "http") {
            only(
                rule,
                &[
                    &["name", "match", "route", "redirect", "directResponse", "rewrite", "headers", "corsPolicy"][..],
                    &["timeout", "retries", "fault", "mirror", "mirrorPercentage", "mirrors"],
                ]
                .concat(),
            );
            let matches = array(rule, "match");
            let blocks = if matches.is_empty() { vec![json!({})] } else { matches.to_vec() };
            for block in blocks.iter().filter(|block| matcher::applies(block, gateway, port)) {
                let mut name = rule["name"].as_str().unwrap_or_default().to_owned();
                if let Some(of_match) = block["name"].as_str() {
                    name = format!("{name}.{of_match}");
                }
                let mut route = action::translate(self, rule, port);
                route["name"] = json!(name);
                route["match"] = matcher::translate(block);
                let last = takes_everything(&route);
                routes.push(route);
                if last {
                    return routes;
                }
            }
        }
        routes
    }
}

/// What a server's host and a VirtualService's have in common: of two where one covers the other the narrower one.
fn shared<'h>(server: &'h str, service: &'h str) -> Option<&'h str> {
    let covers = |wide: &str, narrow: &str| wide.strip_prefix('*').is_some_and(|suffix| narrow.ends_with(suffix));
    match () {
        () if server == service || covers(server, service) => Some(service),
        () if covers(service, server) => Some(server),
        () => None,
    }
}

/// istiod's `IsCatchAllRoute`.
fn takes_everything(route: &Value) -> bool {
    let matcher = &route["match"];
    let path = matcher["prefix"] == "/" || matcher["safe_regex"]["regex"] == ".*";
    path && array(matcher, "headers").is_empty() && array(matcher, "query_parameters").is_empty()
}

/// A bootstrap for `yaml`, which has HTTP servers on port 80, or is for the mesh.
pub(crate) fn bootstrap(yaml: &str, mesh_config: &[(&str, &str)], side: Side, place: &Place<'_>) -> Value {
    let world = World::parse(yaml, mesh_config, place.names);
    let (name, manager) = match side {
        Side::Gateway => ("0.0.0.0_8080", gateway_manager(&world, place.log)),
        Side::Mesh(outbound) => ("127.0.0.1_15001", mesh::manager(&world, outbound, place.log)),
    };
    let mut clusters = world.clusters();
    if side == Side::Mesh(Outbound::AllowAnyDynamicDns) {
        clusters.push(world.forwarding(discovery::UNDECLARED, discovery::UNDECLARED));
    }
    json!({
        "admin": {"address": socket_address(place.admin)},
        "static_resources": {
            "listeners": [{
                "name": name,
                "address": socket_address(place.listener),
                "filter_chains": [{"filters": [{
                    "name": "envoy.filters.network.http_connection_manager", "typed_config": manager,
                }]}],
            }],
            "clusters": clusters,
        },
    })
}

/// What istiod configures for an HTTP server of a gateway.
fn gateway_manager(world: &World, log: &str) -> Value {
    let mut manager = connection_manager(world, log);
    manager["stat_prefix"] = json!("outbound_0.0.0.0_8080");
    manager["use_remote_address"] = json!(true);
    manager["preserve_external_request_id"] = json!(false);
    manager["forward_client_cert_details"] = json!("SANITIZE_SET");
    manager["route_config"] = json!({
        "name": "http.80",
        "virtual_hosts": world.gateway_hosts(),
        "validate_clusters": false,
        "ignore_port_in_host_matching": true,
        "max_direct_response_body_size_bytes": 1_048_576,
    });
    manager
}

/// What istiod configures for every listener, with ringway's decisions: its own `server` name, HTTP/1.0.
fn connection_manager(world: &World, log: &str) -> Value {
    let filters = vec![
        json!({"name": "envoy.filters.http.fault", "typed_config": {"@type": kind("filters.http.fault.v3.HTTPFault")}}),
        json!({"name": "envoy.filters.http.cors", "typed_config": {"@type": kind("filters.http.cors.v3.Cors")}}),
        json!({"name": "envoy.filters.http.router", "typed_config": {"@type": kind("filters.http.router.v3.Router")}}),
    ];
    let mut manager = json!({
        "@type": kind("filters.network.http_connection_manager.v3.HttpConnectionManager"),
        // istiod says AUTO; ringway does not speak HTTP/2 to clients, and its preface is then one more bad request.
        "codec_type": "HTTP1",
        "server_name": "ringway",
        "proxy_100_continue": true,
        "stream_idle_timeout": "0s",
        // Only how long a refused connection lingers; the default of 1 s would make every refusal take that long.
        "delayed_close_timeout": "0.1s",
        "http_protocol_options": {"accept_http_10": true},
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "access_log": [{
            "name": "envoy.access_loggers.file",
            "typed_config": {
                "@type": kind("access_loggers.file.v3.FileAccessLog"),
                "path": log,
                "log_format": log_format(&world.mesh_config),
            },
        }],
        "http_filters": filters,
    });
    let normalization = &world.mesh_config["pathNormalization"];
    only(normalization, &["normalization"]);
    let normalization = normalization["normalization"].as_str().unwrap_or("DEFAULT");
    manager["normalize_path"] = json!(normalization != "NONE");
    manager["merge_slashes"] = json!(normalization.contains("MERGE_SLASHES"));
    if normalization == "DECODE_AND_MERGE_SLASHES" {
        manager["path_with_escaped_slashes_action"] = json!("UNESCAPE_AND_FORWARD");
    }
    manager
}

/// `accessLogFormat`, which for JSON is a JSON object in a string.
fn log_format(mesh_config: &Value) -> Value {
    let format = mesh_config["accessLogFormat"].as_str();
    if mesh_config["accessLogEncoding"] == "JSON" {
        let fields: Value = serde_json::from_str(format.expect("a format")).expect("a JSON object");
        return json!({ "json_format": fields });
    }
    json!({"text_format_source": {"inline_string": format.unwrap_or(ISTIO_LOG_FORMAT)}})
}

fn kind(tail: &str) -> String {
    format!("type.googleapis.com/envoy.extensions.{tail}")
}

fn socket_address(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

fn qualified(host: &str) -> String {
    if host.contains('.') { host.to_owned() } else { format!("{host}.default.svc.cluster.local") }
}

/// Whether every label of `wanted` is in `labels`.
fn within(wanted: &Value, labels: &Value) -> bool {
    wanted.as_object().into_iter().flatten().all(|(key, value)| labels[key] == *value)
}

fn array<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} of {value}"))
}

/// Panics when `value` has a field that the translator does not know.
fn only(value: &Value, known: &[&str]) {
    for name in value.as_object().into_iter().flatten().map(|(name, _)| name.as_str()) {
        assert!(known.contains(&name), "the translator to Envoy does not know {name} in {value}; teach it first");
    }
}
