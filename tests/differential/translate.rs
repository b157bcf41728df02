//! The small Istio YAML of a case to an Envoy static bootstrap shaped like what istiod sends to a gateway.
//!
//! Written apart from ringway's own reading of the YAML, so that a mistake there is not repeated here. It knows the
//! fields that the cases use and panics at any other: a case must never compare two proxies with different rules.

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

/// Istio leaves limits that nobody sets at the largest number.
const UNLIMITED: u32 = u32::MAX;

/// Where the translated Envoy listens and logs.
pub(crate) struct Place<'a> {
    pub(crate) listener: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) log: &'a str,
}

/// The documents of a case, by kind.
struct World {
    documents: Vec<Value>,
}

impl World {
    fn parse(yaml: &str) -> Self {
        let documents = serde_yaml::Deserializer::from_str(yaml)
            .map(|document| Value::deserialize(document).expect("the YAML of a case"))
            .filter(|document| !document.is_null())
            .collect();
        Self { documents }
    }

    fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.documents.iter().filter(move |document| document["kind"] == kind)
    }

    /// Endpoints of a Service port: the WorkloadEntries that its selector and the subset's labels take.
    fn endpoints(&self, service: &Value, port: &Value, labels: &Value) -> Vec<Value> {
        let chosen = self.of("WorkloadEntry").filter(|entry| {
            let has = &entry["spec"]["labels"];
            within(&service["spec"]["selector"], has) && within(labels, has)
        });
        chosen
            .map(|entry| {
                let spec = &entry["spec"];
                only(spec, &["address", "ports", "labels", "weight"]);
                let name = port["name"].as_str().expect("the name of a service port");
                let number = &spec["ports"][name];
                assert!(number.is_u64(), "a WorkloadEntry of a case gives its port by name: {entry}");
                json!({
                    "endpoint": {"address": {"socket_address": {"address": spec["address"], "port_value": number}}},
                    "load_balancing_weight": spec["weight"].as_u64().unwrap_or(1),
                })
            })
            .collect()
    }

    /// `outbound|port|subset|host` clusters of every Service port and subset, as istiod makes them.
    fn clusters(&self) -> Vec<Value> {
        let mut clusters = Vec::new();
        for service in self.of("Service") {
            let host = qualified(service["metadata"]["name"].as_str().expect("the name of a Service"));
            let rules = self.of("DestinationRule").filter(|rule| qualified(text(&rule["spec"], "host")) == host);
            let rules: Vec<&Value> = rules.collect();
            for port in array(&service["spec"], "ports") {
                let mut subsets = vec![(String::new(), Value::Null, Value::Null)];
                for rule in &rules {
                    only(&rule["spec"], &["host", "subsets", "trafficPolicy"]);
                    subsets[0].2 = rule["spec"]["trafficPolicy"].clone();
                    for subset in array(&rule["spec"], "subsets") {
                        only(subset, &["name", "labels"]);
                        let policy = rule["spec"]["trafficPolicy"].clone();
                        subsets.push((text(subset, "name").to_owned(), subset["labels"].clone(), policy));
                    }
                }
                for (subset, labels, policy) in subsets {
                    let name = format!("outbound|{}|{subset}|{host}", port["port"]);
                    clusters.push(cluster(&name, &self.endpoints(service, port, &labels), &policy));
                }
            }
        }
        clusters
    }

    /// The virtual hosts of the one HTTP server that a case has.
    fn virtual_hosts(&self) -> Vec<Value> {
        let mut hosts: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for service in self.of("VirtualService") {
            let spec = &service["spec"];
            only(spec, &["hosts", "gateways", "http"]);
            let routes: Vec<Value> = array(spec, "http").iter().flat_map(|rule| self.routes(rule)).collect();
            for host in array(spec, "hosts") {
                let host = host.as_str().expect("a host").to_owned();
                hosts.entry(host).or_default().extend(routes.iter().cloned());
            }
        }
        let virtual_hosts = hosts.into_iter().map(|(host, routes)| {
            json!({
                "name": format!("{host}:80"), "domains": [host], "routes": routes,
                "include_request_attempt_count": true,
            })
        });
        virtual_hosts.collect()
    }

    /// One Envoy route for each match block of an HTTPRoute.
    fn routes(&self, rule: &Value) -> Vec<Value> {
        only(rule, &["name", "match", "route"]);
        let matches = array(rule, "match");
        let blocks = if matches.is_empty() { vec![Value::Null] } else { matches.to_vec() };
        let mut routes = Vec::new();
        for block in &blocks {
            let mut name = rule["name"].as_str().unwrap_or_default().to_owned();
            if let Some(of_match) = block["name"].as_str() {
                name = format!("{name}.{of_match}");
            }
            // No retry policy: ringway does not retry yet. When it does, Istio's default policy belongs here.
            routes.push(json!({"name": name, "match": matcher(block), "route": self.action(rule)}));
        }
        routes
    }

    fn action(&self, rule: &Value) -> Value {
        let destinations = array(rule, "route");
        let mut action = json!({"timeout": "0s"});
        if let [one] = destinations {
            action["cluster"] = json!(self.cluster_name(&one["destination"]));
        } else {
            let clusters: Vec<Value> = destinations
                .iter()
                .filter(|destination| destination["weight"].as_u64().unwrap_or(0) > 0)
                .map(|to| json!({"name": self.cluster_name(&to["destination"]), "weight": to["weight"]}))
                .collect();
            action["weighted_clusters"] = json!({ "clusters": clusters });
        }
        action
    }

    /// The port is the destination's, else the service's only one, else the Gateway's.
    fn cluster_name(&self, destination: &Value) -> String {
        only(destination, &["host", "subset", "port"]);
        let host = qualified(text(destination, "host"));
        let service = self.of("Service").find(|service| qualified(text(&service["metadata"], "name")) == host);
        let ports = service.map(|service| array(&service["spec"], "ports")).unwrap_or_default();
        let port = match (destination["port"]["number"].as_u64(), ports) {
            (Some(port), _) => port,
            (None, [only]) => only["port"].as_u64().expect("a port number"),
            (None, _) => 80,
        };
        format!("outbound|{port}|{}|{host}", destination["subset"].as_str().unwrap_or_default())
    }
}

/// A bootstrap for `yaml`, which has one HTTP server on port 80.
pub(crate) fn bootstrap(yaml: &str, place: &Place<'_>) -> Value {
    let world = World::parse(yaml);
    json!({
        "admin": {"address": socket_address(place.admin)},
        "static_resources": {
            "listeners": [{
                "name": "0.0.0.0_8080",
                "address": socket_address(place.listener),
                "filter_chains": [{"filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": connection_manager(&world, place.log),
                }]}],
            }],
            "clusters": world.clusters(),
        },
    })
}

/// What istiod configures for an HTTP server of a gateway, with ringway's decisions: its own `server` name, HTTP/1.0.
fn connection_manager(world: &World, log: &str) -> Value {
    json!({
        "@type": kind("filters.network.http_connection_manager.v3.HttpConnectionManager"),
        // istiod says AUTO; ringway does not speak HTTP/2 to clients, and its preface is then one more bad request.
        "codec_type": "HTTP1",
        "stat_prefix": "outbound_0.0.0.0_8080",
        "server_name": "ringway",
        "use_remote_address": true,
        "normalize_path": true,
        "preserve_external_request_id": false,
        "proxy_100_continue": true,
        "stream_idle_timeout": "0s",
        // Only how long a refused connection lingers; the default of 1 s would make every refusal take that long.
        "delayed_close_timeout": "0.1s",
        "forward_client_cert_details": "SANITIZE_SET",
        "http_protocol_options": {"accept_http_10": true},
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "access_log": [{
            "name": "envoy.access_loggers.file",
            "typed_config": {
                "@type": kind("access_loggers.file.v3.FileAccessLog"),
                "path": log,
                "log_format": {"text_format_source": {"inline_string": ISTIO_LOG_FORMAT}},
            },
        }],
        "route_config": {
            "name": "http.80",
            "virtual_hosts": world.virtual_hosts(),
            "validate_clusters": false,
            "ignore_port_in_host_matching": true,
        },
        "http_filters": [
            {"name": "envoy.filters.http.fault", "typed_config": {"@type": kind("filters.http.fault.v3.HTTPFault")}},
            {"name": "envoy.filters.http.cors", "typed_config": {"@type": kind("filters.http.cors.v3.Cors")}},
            {"name": "envoy.filters.http.router", "typed_config": {"@type": kind("filters.http.router.v3.Router")}},
        ],
    })
}

fn cluster(name: &str, endpoints: &[Value], policy: &Value) -> Value {
    if !policy.is_null() {
        only(policy, &["loadBalancer"]);
        only(&policy["loadBalancer"], &["simple"]);
    }
    let lb = policy["loadBalancer"]["simple"].as_str().unwrap_or("LEAST_REQUEST");
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "10s",
        "lb_policy": lb,
        "circuit_breakers": {"thresholds": [{
            "max_connections": UNLIMITED, "max_pending_requests": UNLIMITED,
            "max_requests": UNLIMITED, "max_retries": UNLIMITED,
        }]},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    })
}

fn matcher(block: &Value) -> Value {
    if block.is_null() {
        return json!({"prefix": "/"});
    }
    only(block, &["name", "uri", "ignoreUriCase", "method", "authority", "headers", "queryParams"]);
    let mut out = match &block["uri"] {
        Value::Null => json!({"prefix": "/"}),
        uri => match one_of(uri) {
            ("exact", value) => json!({"path": value}),
            ("prefix", value) => json!({"prefix": value}),
            (_, value) => json!({"safe_regex": {"regex": value}}),
        },
    };
    if block["ignoreUriCase"] == true {
        out["case_sensitive"] = json!(false);
    }
    let pseudo = [("method", ":method"), ("authority", ":authority")];
    let mut headers: Vec<Value> = pseudo
        .iter()
        .filter(|(field, _)| !block[*field].is_null())
        .map(|(field, name)| header_matcher(name, &block[*field]))
        .collect();
    for (name, condition) in block["headers"].as_object().into_iter().flatten() {
        headers.push(header_matcher(name, condition));
    }
    out["headers"] = Value::Array(headers);
    let parameters = block["queryParams"].as_object().into_iter().flatten();
    let parameters = parameters.map(|(name, condition)| match string_matcher(condition) {
        None => json!({"name": name, "present_match": true}),
        Some(string) => json!({"name": name, "string_match": string}),
    });
    out["query_parameters"] = parameters.collect();
    out
}

fn header_matcher(name: &str, condition: &Value) -> Value {
    match string_matcher(condition) {
        None => json!({"name": name, "present_match": true}),
        Some(string) => json!({"name": name, "string_match": string}),
    }
}

/// `None` for the conditions that mean presence: `{}` and regex `*`.
fn string_matcher(condition: &Value) -> Option<Value> {
    if condition.as_object().is_none_or(serde_json::Map::is_empty) {
        return None;
    }
    match one_of(condition) {
        ("regex", value) if value == "*" => None,
        ("regex", value) => Some(json!({"safe_regex": {"regex": value}})),
        (kind, value) => Some(json!({ kind: value })),
    }
}

/// The one `exact`, `prefix` or `regex` of a StringMatch.
fn one_of(condition: &Value) -> (&str, &Value) {
    only(condition, &["exact", "prefix", "regex"]);
    let fields = condition.as_object().expect("a StringMatch");
    fields.iter().map(|(name, value)| (name.as_str(), value)).next().expect("a StringMatch with a value")
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
