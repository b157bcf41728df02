//! What a sidecar does with its application's requests when they come through the explicit HTTP proxy (istiod's
//! `http_proxy` route configuration): the request's own host and port say which service is meant.

use serde_json::{Value, json};

use super::{Outbound, World, array, connection_manager, discovery, qualified, resilience, text};

/// What istiod configures for the listener.
pub(super) fn manager(world: &World, outbound: Outbound, log: &str) -> Value {
    let mut manager = connection_manager(world, log);
    manager["stat_prefix"] = json!("outbound_127.0.0.1_15001");
    manager["use_remote_address"] = json!(false);
    // The router is the last filter.
    let filters = manager["http_filters"].as_array_mut().expect("filters");
    let router = filters.len() - 1;
    filters.splice(router..router, world.forward_filters(outbound));
    let mut hosts = virtual_hosts(world);
    hosts.push(catch_all(outbound));
    manager["route_config"] = json!({
        "name": "http_proxy",
        "virtual_hosts": hosts,
        "validate_clusters": false,
        "max_direct_response_body_size_bytes": 1_048_576,
        // Ports are part of the domains here.
        "ignore_port_in_host_matching": false,
    });
    manager
}

fn catch_all(outbound: Outbound) -> Value {
    let route = match outbound {
        // Without an original destination Envoy has nowhere to go; ringway resolves the host. Such a world has no case
        // for a host that nobody knows.
        Outbound::AllowAny => json!({
            "name": "allow_any", "match": {"prefix": "/"}, "route": {"cluster": "PassthroughCluster", "timeout": "0s"},
        }),
        Outbound::AllowAnyDynamicDns => json!({
            "name": "allow_any_dynamic_dns", "match": {"prefix": "/"},
            "route": {"cluster": discovery::UNDECLARED, "timeout": "0s"},
        }),
        Outbound::RegistryOnly => {
            json!({"name": "block_all", "match": {"prefix": "/"}, "direct_response": {"status": 502}})
        }
    };
    json!({"name": "*", "domains": ["*"], "routes": [route], "include_request_attempt_count": true})
}

/// One for each port of each Service, and one for each host of a VirtualService that is no Service's. The first
/// VirtualService that names a host has it to itself.
fn virtual_hosts(world: &World) -> Vec<Value> {
    let mesh: Vec<&Value> = world
        .of("VirtualService")
        .filter(|service| {
            let gateways = array(&service["spec"], "gateways");
            gateways.is_empty() || gateways.contains(&json!("mesh"))
        })
        .collect();
    let rules_of = |host: &str, port: u64| {
        let named = mesh.iter().find(|service| {
            let hosts = array(&service["spec"], "hosts").iter().filter_map(Value::as_str);
            hosts.map(qualified).any(|name| name == host)
        });
        named.map(|service| world.rules(service, "mesh", port)).filter(|routes| !routes.is_empty())
    };
    let mut out = Vec::new();
    let mut known = Vec::new();
    for service in world.of("Service") {
        let name = text(&service["metadata"], "name");
        let host = qualified(name);
        known.push(host.clone());
        for port in array(&service["spec"], "ports") {
            let port = port["port"].as_u64().expect("a port number");
            let names = [
                host.clone(),
                format!("{host}."),
                name.to_owned(),
                format!("{name}.default"),
                format!("{name}.default.svc"),
            ];
            out.push(virtual_host(
                &host,
                port,
                &names,
                &rules_of(&host, port).unwrap_or_else(|| default_route(&host, port)),
            ));
        }
    }
    for (host, entry) in world.hosts_of_entries() {
        known.push(host.to_owned());
        for port in array(&entry["spec"], "ports") {
            let port = port["number"].as_u64().expect("a port number");
            let names = [host.to_owned(), format!("{host}.")];
            out.push(virtual_host(
                host,
                port,
                &names,
                &rules_of(host, port).unwrap_or_else(|| default_route(host, port)),
            ));
        }
    }
    // Every other host: on port 80, as istiod has it. That ringway has it on every port is a case of its own.
    for service in &mesh {
        let hosts = array(&service["spec"], "hosts").iter().filter_map(Value::as_str).map(qualified);
        for host in hosts.filter(|host| !known.contains(host)).collect::<Vec<_>>() {
            if let Some(routes) = rules_of(&host, 80) {
                out.push(virtual_host(&host, 80, std::slice::from_ref(&host), &routes));
            }
            known.push(host);
        }
    }
    out
}

/// Where a port leads whose host has no rules.
fn default_route(host: &str, port: u64) -> Vec<Value> {
    let mut action = json!({"cluster": format!("outbound|{port}||{host}")});
    resilience::add(&Value::Null, &mut action);
    vec![json!({"name": "default", "match": {"prefix": "/"}, "route": action})]
}

/// A virtual host for all `names` of a host: with the port, and on port 80 also without it.
fn virtual_host(host: &str, port: u64, names: &[String], routes: &[Value]) -> Value {
    let mut domains: Vec<String> = names.iter().map(|name| format!("{name}:{port}")).collect();
    if port == 80 {
        domains.extend_from_slice(names);
    }
    json!({
        "name": format!("{host}:{port}"), "domains": domains, "routes": routes,
        "include_request_attempt_count": true,
    })
}
