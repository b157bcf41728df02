//! `/config_dump`: the current plan, in the terms of Envoy's configuration where Envoy has the same field.
//!
//! The same plan gives the same text: everything is sorted, and there is no time in it. Values of headers are
//! left out where the header's name says that they are secret; keys of certificates are never part of a dump.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Map, Value, json};

mod discovery;
mod filter_chain;
mod resilience;
mod tls;

use super::{address, endpoint_address};
use crate::plan::{
    AccessLogEncoding, Action, AddressPart, Cluster, Condition, Cors, Cpus, Destination, Driver, Edits, Field, Forward,
    HeaderEdits, HeaderName, Listener, ListenerKind, Lookup, Operator, PathNormalization, PathRewrite, Pattern, Piece,
    Plan, Redirect, RedirectPath, Route, RouteTable, ServerHeader, Target, Template, UnmatchedPreflights, VirtualHost,
};
use crate::policy::balance::{LoadBalancing, Policy};
use crate::policy::hashing::Algorithm;
use crate::policy::hashing::key::Key;

/// The text in place of a secret, as in Envoy's dump.
const REDACTED: &str = "[redacted]";

/// Parts of the names of headers whose values are secret.
const SECRET_NAMES: [&str; 7] = ["authorization", "cookie", "token", "secret", "password", "api-key", "apikey"];

/// The plan as a document; of listeners, virtual hosts and clusters only those whose name `keep` accepts.
pub(super) fn dump(plan: &Plan, keep: &dyn Fn(&str) -> bool) -> Value {
    let clusters = plan.clusters.iter().map(AsRef::as_ref);
    let mut clusters: Vec<&Cluster> = clusters.filter(|cluster: &&Cluster| keep(&cluster.name)).collect();
    clusters.sort_by(|a, b| a.name.cmp(&b.name));
    let mut listeners: Vec<&Listener> = plan.listeners.iter().collect();
    listeners.sort_by(|a, b| a.name.cmp(&b.name));
    let tables = listeners.iter().flat_map(|listener| listener.route_tables().map(move |table| (listener, table)));
    let tables: Vec<Value> = tables
        .map(|(listener, table)| json!({"route_config": route_table(plan, listener, table, keep)}))
        .filter(|table| table["route_config"]["virtual_hosts"].as_array().is_some_and(|hosts| !hosts.is_empty()))
        .collect();
    let clusters: Vec<Value> = clusters.into_iter().map(|found| json!({"cluster": cluster(found)})).collect();
    let listeners = listeners.into_iter().filter(|listener| keep(&listener.name));
    let listeners: Vec<Value> = listeners.map(|found| json!({"listener": shown_listener(plan, found)})).collect();
    json!({"configs": [
        {"@type": "ringway.dev/v1.BootstrapConfigDump", "bootstrap": bootstrap(plan)},
        {"@type": "ringway.dev/v1.ClustersConfigDump", "static_clusters": clusters},
        {"@type": "ringway.dev/v1.ListenersConfigDump", "static_listeners": listeners},
        {"@type": "ringway.dev/v1.RoutesConfigDump", "static_route_configs": tables},
    ]})
}

fn bootstrap(plan: &Plan) -> Value {
    let proxy = &plan.proxy;
    let limits = &proxy.limits;
    let log = proxy.access_log_file.as_ref().map(|path| {
        json!({
            "path": path,
            "encoding": match proxy.access_log_encoding {
                AccessLogEncoding::Text => "TEXT",
                AccessLogEncoding::Json => "JSON",
            },
            "format": proxy.access_log_format,
        })
    });
    let mut shown = json!({
        "node": {"id": proxy.name, "metadata": {"NAMESPACE": proxy.namespace, "LABELS": proxy.labels}},
        "admin": proxy.admin.map(|admin| json!({"address": address(admin)})),
        "cpus": match &proxy.cpus {
            Cpus::All => Value::Null,
            Cpus::First(number) => json!(number),
            Cpus::List(list) => json!(list),
        },
        "driver": match proxy.driver {
            Driver::Auto => "auto",
            Driver::IoUring => "io_uring",
            Driver::Epoll => "epoll",
        },
        "bind": proxy.bind.to_string(),
        "ports": proxy.ports,
        "server_header": match &proxy.server_header {
            ServerHeader::Overwrite(name) => name,
            ServerHeader::PassThrough => "passthrough",
        },
        "mirror_host_suffix": proxy.mirror_host_suffix,
        "path_normalization": match proxy.path_normalization {
            PathNormalization::None => "NONE",
            PathNormalization::Base => "BASE",
            PathNormalization::MergeSlashes => "MERGE_SLASHES",
            PathNormalization::DecodeAndMergeSlashes => "DECODE_AND_MERGE_SLASHES",
        },
        "access_log": log,
        "drain_time": duration(proxy.drain_duration),
        "limits": {
            "headers_timeout": duration(limits.headers_timeout),
            "body_timeout": duration(limits.body_timeout),
            "idle_timeout": duration(limits.idle_timeout),
            "max_header_bytes": limits.max_header_bytes,
            "max_headers": limits.max_headers,
            "max_connections": limits.max_connections,
        },
    });
    if let Some(sampled) = proxy.tracing {
        shown["tracing"] = json!({"sampling": sampled.as_percent()});
    }
    if let Some(dns) = discovery::dns(&proxy.dns) {
        shown["dns"] = dns;
    }
    shown
}

fn duration(time: Duration) -> String {
    format!("{}s", time.as_secs_f64())
}

pub(in crate::control) fn cluster(cluster: &Cluster) -> Value {
    let Cluster { name, spread, endpoints, connect_timeout, idle_timeout, .. } = cluster;
    let LoadBalancing { policy, warmup, levels } = spread;
    let mut shown = json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": duration(*connect_timeout),
        "idle_timeout": idle_timeout.map(duration),
    });
    match policy {
        Policy::LeastRequest => shown["lb_policy"] = "LEAST_REQUEST".into(),
        Policy::RoundRobin => shown["lb_policy"] = "ROUND_ROBIN".into(),
        Policy::Random => shown["lb_policy"] = "RANDOM".into(),
        Policy::ConsistentHash(Algorithm::Ring { minimum }) => {
            shown["lb_policy"] = "RING_HASH".into();
            shown["ring_hash_lb_config"] = json!({"minimum_ring_size": minimum});
        }
        Policy::ConsistentHash(Algorithm::Maglev { size }) => {
            shown["lb_policy"] = "MAGLEV".into();
            shown["maglev_lb_config"] = json!({"table_size": size.entries()});
        }
    }
    resilience::connections(&mut shown, cluster);
    tls::transport_socket(&mut shown, cluster);
    if let Some(warmup) = warmup {
        shown["slow_start_config"] = json!({
            "slow_start_window": duration(warmup.duration),
            "min_weight_percent": warmup.minimum_percent,
            "aggression": warmup.aggression,
        });
    }
    let member = |at: &u32| {
        let endpoint = endpoints.get(*at as usize)?;
        Some(
            json!({"endpoint": {"address": endpoint_address(&endpoint.address)}, "load_balancing_weight": endpoint.weight}),
        )
    };
    let groups = levels.iter().enumerate().flat_map(|(priority, level)| {
        level.groups.iter().map(move |group| {
            json!({
                "priority": priority,
                "load_balancing_weight": group.weight,
                "lb_endpoints": group.members.iter().filter_map(member).collect::<Vec<_>>(),
            })
        })
    });
    shown["load_assignment"] = json!({"cluster_name": name, "endpoints": groups.collect::<Vec<_>>()});
    discovery::members(&mut shown, cluster);
    shown
}

pub(in crate::control) fn shown_listener(plan: &Plan, listener: &Listener) -> Value {
    let tables: Vec<String> = listener.route_tables().map(|table| table_name(listener, table)).collect();
    let mut shown = json!({
        "name": listener.name,
        "address": address(listener.bind),
        "serves": listener.kind.to_string(),
        "stat_prefix": listener.stat_prefix,
        "route_config_names": tables,
    });
    filter_chain::filter_chains(&mut shown, plan, listener);
    shown
}

/// The name of a route table, as istiod names them: `http.80` for a Gateway's port, the port for the mesh, the cluster for inbound.
fn table_name(listener: &Listener, table: &RouteTable) -> String {
    match (listener.kind, table.port) {
        (ListenerKind::Gateway(port), _) => format!("http.{port}"),
        (ListenerKind::Ingress(port), _) => format!("inbound|{port}||"),
        (ListenerKind::Mesh | ListenerKind::Egress(_) | ListenerKind::HttpProxy(_), Some(port)) => port.to_string(),
        (ListenerKind::Mesh | ListenerKind::Egress(_) | ListenerKind::HttpProxy(_), None) => "*".to_owned(),
    }
}

fn route_table(plan: &Plan, listener: &Listener, table: &RouteTable, keep: &dyn Fn(&str) -> bool) -> Value {
    let hosts = table.virtual_hosts.iter().filter(|host| keep(&host.name));
    let hosts: Vec<Value> = hosts.map(|host| virtual_host(plan, host)).collect();
    json!({"name": table_name(listener, table), "listener": listener.name, "virtual_hosts": hosts})
}

pub(in crate::control) fn virtual_host(plan: &Plan, host: &VirtualHost) -> Value {
    let routes: Vec<Value> = host.routes().iter().map(|found| route(plan, found)).collect();
    let mut shown = json!({"name": *host.name, "domains": host.domains, "routes": routes});
    if let Some(server) = host.https_redirect() {
        shown["require_tls"] = "ALL".into();
        shown["redirected_by"] = server.to_string().into();
    }
    shown
}

fn route(plan: &Plan, route: &Route) -> Value {
    let Route { name, origin, matcher, action, headers, cors, stat_prefix } = route;
    let mut shown = json!({"origin": origin.to_string(), "match": conditions(matcher.conditions())});
    let root = origin.root.as_ref().map(ToString::to_string);
    for (key, value) in
        [("name", Some(name.as_str()).filter(|name| !name.is_empty())), ("delegated_by", root.as_deref())]
    {
        if let Some(value) = value {
            shown[key] = value.into();
        }
    }
    if let Some(stat_prefix) = stat_prefix {
        shown["stat_prefix"] = (*stat_prefix.name).into();
    }
    if let Some(policy) = cors {
        shown["cors"] = cors_policy(policy);
    }
    match action {
        Action::Forward(forward) => {
            shown["route"] = forwarding(plan, forward);
            if let Some(fault) = &forward.fault {
                shown["fault"] = resilience::fault(fault);
            }
        }
        Action::Redirect(redirect) => shown["redirect"] = redirection(redirect),
        Action::Direct(direct) => {
            let body = String::from_utf8_lossy(&direct.body);
            shown["direct_response"] = json!({"status": direct.status, "body": {"inline_string": body}});
        }
        Action::Passthrough => shown["route"] = json!({"cluster": "PassthroughCluster"}),
    }
    // Forwarded requests have their destination's, which include these.
    if !matches!(action, Action::Forward(_)) {
        header_edits(&mut shown, headers);
    }
    shown
}

fn conditions(conditions: &[Condition]) -> Value {
    let mut shown = Map::new();
    let (mut headers, mut parameters) = (Vec::new(), Vec::new());
    for condition in conditions {
        match condition {
            Condition::Path(pattern) => path_match(&mut shown, pattern),
            Condition::Query(query) => {
                let name = String::from_utf8_lossy(query.name());
                parameters.push(value_match(&name, query.value()));
            }
            other => headers.push(header_match(other)),
        }
    }
    if !["prefix", "path", "safe_regex"].iter().any(|key| shown.contains_key(*key)) {
        shown.insert("prefix".to_owned(), "/".into());
    }
    for (key, list) in [("headers", headers), ("query_parameters", parameters)] {
        if !list.is_empty() {
            shown.insert(key.to_owned(), list.into());
        }
    }
    shown.into()
}

/// A condition as one on a header: Envoy has pseudo-headers for the other parts of a request.
fn header_match(condition: &Condition) -> Value {
    let not = |condition| {
        let mut shown: Value = condition;
        shown["invert_match"] = true.into();
        shown
    };
    match condition {
        Condition::Method(pattern) => value_match(":method", pattern),
        Condition::Scheme(pattern) => value_match(":scheme", pattern),
        Condition::Authority(pattern) => value_match(":authority", pattern),
        Condition::Path(pattern) | Condition::Target(pattern) => value_match(":path", pattern),
        Condition::Header(header) => value_match(header.name(), header.value()),
        Condition::WithoutHeader(header) => not(value_match(header.name(), header.value())),
        Condition::Query(query) => value_match(&String::from_utf8_lossy(query.name()), query.value()),
        Condition::Not(condition) => not(header_match(condition)),
    }
}

fn path_match(shown: &mut Map<String, Value>, pattern: &Pattern) {
    let (key, value, any_case) = match pattern {
        Pattern::Any => ("prefix", "/".into(), false),
        Pattern::Prefix(text) => ("prefix", lossy(text), false),
        Pattern::PrefixNoCase(text) => ("prefix", lossy(text), true),
        Pattern::Exact(text) => ("path", lossy(text), false),
        Pattern::ExactNoCase(text) => ("path", lossy(text), true),
        Pattern::Regex(regex) => ("safe_regex", json!({"regex": regex.as_str()}), false),
    };
    shown.insert(key.to_owned(), value);
    if any_case {
        shown.insert("case_sensitive".to_owned(), false.into());
    }
}

fn value_match(name: &str, pattern: &Pattern) -> Value {
    match pattern {
        // Cookies in route conditions select a version; they do not identify a person.
        _ if is_secret(name) && !name.contains("cookie") => json!({"name": name, "string_match": REDACTED}),
        Pattern::Any => json!({"name": name, "present_match": true}),
        pattern => json!({"name": name, "string_match": string_match(pattern)}),
    }
}

fn string_match(pattern: &Pattern) -> Value {
    match pattern {
        Pattern::Any => json!({"prefix": ""}),
        Pattern::Prefix(text) => json!({"prefix": lossy(text)}),
        Pattern::Exact(text) => json!({"exact": lossy(text)}),
        Pattern::PrefixNoCase(text) => json!({"prefix": lossy(text), "ignore_case": true}),
        Pattern::ExactNoCase(text) => json!({"exact": lossy(text), "ignore_case": true}),
        Pattern::Regex(regex) => json!({"safe_regex": {"regex": regex.as_str()}}),
    }
}

fn lossy(text: &[u8]) -> Value {
    String::from_utf8_lossy(text).into()
}

fn forwarding(plan: &Plan, forward: &Forward) -> Value {
    let Forward { destinations, rewrite, hash_keys, .. } = forward;
    let list: Vec<&Destination> = destinations.iter().collect();
    let mut shown = match list.as_slice() {
        [only] => destination(plan, only),
        several => {
            let weighted = |found: &&Destination| {
                let mut shown = destination(plan, found);
                shown["name"] = shown["cluster"].take();
                if let Some(members) = shown.as_object_mut() {
                    members.remove("cluster");
                }
                shown["weight"] = found.weight.into();
                shown
            };
            json!({"weighted_clusters": {"clusters": several.iter().map(weighted).collect::<Vec<_>>()}})
        }
    };
    match rewrite {
        None => {}
        Some(PathRewrite::Prefix { with, .. }) => shown["prefix_rewrite"] = lossy(with),
        Some(PathRewrite::Whole(with)) => shown["path_rewrite"] = lossy(with),
        Some(PathRewrite::Regex { pattern, with }) => {
            shown["regex_rewrite"] =
                json!({"pattern": {"regex": pattern.as_str()}, "substitution": substitution(with)});
        }
    }
    if !hash_keys.is_empty() {
        shown["hash_policy"] = hash_keys.iter().map(hash_policy).collect::<Vec<_>>().into();
    }
    resilience::retries_and_mirrors(&mut shown, plan, forward);
    shown
}

fn destination(plan: &Plan, destination: &Destination) -> Value {
    let Destination { target, weight: _, headers, authority } = destination;
    let mut shown = shown_target(plan, target);
    if let Some(authority) = authority {
        shown["host_rewrite_literal"] = authority.to_string().into();
    }
    header_edits(&mut shown, headers);
    shown
}

fn shown_target(plan: &Plan, target: &Target) -> Value {
    match target {
        Target::Known(id) => json!({"cluster": plan.cluster(*id).map(|cluster| &cluster.name)}),
        Target::Missing(name) => json!({"cluster": **name, "cluster_exists": false}),
    }
}

fn substitution(pieces: &[Piece]) -> String {
    let piece = |piece: &Piece| match piece {
        Piece::Literal(text) => String::from_utf8_lossy(text).replace('\\', "\\\\"),
        Piece::Group(number) => format!("\\{number}"),
    };
    pieces.iter().map(piece).collect()
}

fn hash_policy(key: &Key) -> Value {
    match key {
        Key::Header(name) => json!({"header": {"header_name": **name}}),
        Key::SourceIp => json!({"connection_properties": {"source_ip": true}}),
        Key::Query(name) => json!({"query_parameter": {"name": **name}}),
        Key::Cookie(cookie) => {
            let mut shown = json!({"name": *cookie.name});
            if !cookie.path.is_empty() {
                shown["path"] = cookie.path.to_string().into();
            }
            if let Some(ttl) = cookie.ttl {
                shown["ttl"] = duration(ttl).into();
            }
            let attributes = cookie.attributes.iter();
            let attributes: Vec<Value> =
                attributes.map(|(name, value)| json!({"name": **name, "value": **value})).collect();
            if !attributes.is_empty() {
                shown["attributes"] = attributes.into();
            }
            json!({"cookie": shown})
        }
    }
}

fn redirection(redirect: &Redirect) -> Value {
    let Redirect { scheme, authority, port, path, code } = redirect;
    let mut shown = json!({"response_code": code});
    if let Some(scheme) = scheme {
        shown["scheme_redirect"] = (*scheme).into();
    }
    if let Some(authority) = authority {
        shown["host_redirect"] = authority.to_string().into();
    }
    if let Some(port) = port {
        shown["port_redirect"] = (*port).into();
    }
    match path {
        None => {}
        Some(RedirectPath::Whole(path)) => shown["path_redirect"] = lossy(path),
        Some(RedirectPath::Prefix { with, .. }) => shown["prefix_rewrite"] = lossy(with),
    }
    shown
}

fn cors_policy(cors: &Cors) -> Value {
    let Cors { allow_origins, allow_methods, allow_headers, expose_headers, max_age, allow_credentials, .. } = cors;
    let mut shown = json!({
        "allow_origin_string_match": allow_origins.iter().map(string_match).collect::<Vec<_>>(),
        "allow_credentials": allow_credentials,
        "forward_not_matching_preflights": cors.unmatched_preflights == UnmatchedPreflights::Forward,
    });
    for (key, value) in
        [("allow_methods", allow_methods), ("allow_headers", allow_headers), ("expose_headers", expose_headers)]
    {
        if !value.is_empty() {
            shown[key] = value.to_string().into();
        }
    }
    if let Some(seconds) = max_age {
        shown["max_age"] = seconds.to_string().into();
    }
    shown
}

fn header_edits(shown: &mut Value, edits: &HeaderEdits) {
    for (side, Edits { remove, set, add }) in [("request", &edits.request), ("response", &edits.response)] {
        if !remove.is_empty() {
            let names: Vec<&str> = remove.iter().map(HeaderName::as_str).collect();
            shown[format!("{side}_headers_to_remove")] = names.into();
        }
        let set = set.iter().map(|(name, value)| header_value(name, value, "OVERWRITE_IF_EXISTS_OR_ADD"));
        let add = add.iter().map(|(name, value)| header_value(name, value, "APPEND_IF_EXISTS_OR_ADD"));
        let values: Vec<Value> = set.chain(add).collect();
        if !values.is_empty() {
            shown[format!("{side}_headers_to_add")] = values.into();
        }
    }
}

fn is_secret(name: &str) -> bool {
    SECRET_NAMES.iter().any(|part| name.contains(part))
}

fn header_value(name: &HeaderName, value: &Template, action: &str) -> Value {
    let value = if is_secret(name.as_str()) { REDACTED.to_owned() } else { template(value) };
    json!({"header": {"key": name.as_str(), "value": value}, "append_action": action})
}

/// The format string that a template was compiled from.
fn template(template: &Template) -> String {
    template.operators().iter().fold(String::new(), |mut text, operator| {
        match operator {
            Operator::Literal(literal) => text.push_str(&String::from_utf8_lossy(literal).replace('%', "%%")),
            Operator::Request(lookup) => header_lookup(&mut text, "REQ", lookup),
            Operator::Response(lookup) => header_lookup(&mut text, "RESP", lookup),
            Operator::Protocol => text.push_str("%PROTOCOL%"),
            Operator::ResponseCode => text.push_str("%RESPONSE_CODE%"),
            Operator::ResponseFlags => text.push_str("%RESPONSE_FLAGS%"),
            Operator::StartTime => text.push_str("%START_TIME%"),
            Operator::Hostname => text.push_str("%HOSTNAME%"),
            Operator::RouteName => text.push_str("%ROUTE_NAME%"),
            Operator::UpstreamCluster => text.push_str("%UPSTREAM_CLUSTER%"),
            Operator::UpstreamHost => text.push_str("%UPSTREAM_HOST%"),
            Operator::DownstreamRemote(part) => address_part(&mut text, "DOWNSTREAM_REMOTE", *part),
            Operator::DownstreamLocal(part) => address_part(&mut text, "DOWNSTREAM_LOCAL", *part),
        }
        text
    })
}

fn address_part(text: &mut String, name: &str, part: AddressPart) {
    let part = match part {
        AddressPart::Whole => "ADDRESS",
        AddressPart::WithoutPort => "ADDRESS_WITHOUT_PORT",
        AddressPart::Port => "PORT",
    };
    let _ = write!(text, "%{name}_{part}%"); // a String takes every write
}

fn header_lookup(text: &mut String, command: &str, lookup: &Lookup) {
    let name = |field: &Field| match field {
        Field::Method => ":method".to_owned(),
        Field::Path => ":path".to_owned(),
        Field::Authority => ":authority".to_owned(),
        Field::Scheme => ":scheme".to_owned(),
        Field::Header(name) => name.as_str().to_owned(),
    };
    let _ = write!(text, "%{command}({}", name(&lookup.field)); // a String takes every write
    if let Some(or) = &lookup.or {
        let _ = write!(text, "?{}", name(or));
    }
    text.push(')');
    if lookup.most != usize::MAX {
        let _ = write!(text, ":{}", lookup.most);
    }
    text.push('%');
}
