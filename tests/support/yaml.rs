//! Istio's documents as text, for tests that are not about how they are written.

use std::fmt::Write as _;

/// A document of `networking.istio.io/v1`. `spec` is flow YAML, or block YAML that begins with a line break.
pub(crate) fn istio(kind: &str, name: &str, spec: &str) -> String {
    format!("apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

/// The Gateway `edge`: HTTP on port 80, for every host.
pub(crate) fn edge() -> String {
    istio("Gateway", "edge", "{servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}")
}

/// A VirtualService of the Gateway `edge` that sends `from` to the host `to`, with these fields in its rule: flow YAML, each
/// with a comma behind it.
pub(crate) fn route(from: &str, fields: &str, to: &str) -> String {
    let spec =
        format!("{{hosts: [{from}], gateways: [edge], http: [{{{fields}route: [{{destination: {{host: {to}}}}}]}}]}}");
    istio("VirtualService", label(from), &spec)
}

/// A DestinationRule with these fields of a `trafficPolicy`, named as [`label`] says.
pub(crate) fn policy(host: &str, fields: &str) -> String {
    istio("DestinationRule", label(host), &format!("{{host: {host}, trafficPolicy: {{{fields}}}}}"))
}

/// A ServiceEntry of HTTP on port 80 with these endpoints, each flow YAML, named as [`label`] says.
pub(crate) fn service_entry(host: &str, endpoints: &[String]) -> String {
    let ports = "[{number: 80, name: http, protocol: HTTP}]";
    let spec =
        format!("{{hosts: [{host}], resolution: STATIC, ports: {ports}, endpoints: [{}]}}", endpoints.join(", "));
    istio("ServiceEntry", label(host), &spec)
}

/// As [`service_entry`], with endpoints at these ports of 127.0.0.1.
pub(crate) fn service_entry_at(host: &str, ports: &[u16]) -> String {
    let endpoints = ports.iter().map(|port| format!("{{address: 127.0.0.1, ports: {{http: {port}}}}}"));
    service_entry(host, &endpoints.collect::<Vec<String>>())
}

/// A ServiceEntry with one port, of this protocol, whose endpoint is `port` on 127.0.0.1. Its name has the host and the port
/// in it.
pub(crate) fn service_entry_port(host: &str, service_port: u16, protocol: &str, port: u16) -> String {
    let mut spec =
        format!("\n  hosts: ['{host}']\n  resolution: STATIC\n  endpoints: [{{address: 127.0.0.1}}]\n  ports: ");
    // A String takes every write.
    let _ = write!(spec, "[{{number: {service_port}, name: p, protocol: {protocol}, targetPort: {port}}}]");
    istio("ServiceEntry", &format!("se{}-{service_port}", host.replace(['.', '*'], "-")), &spec)
}

/// The first label of a host name.
fn label(host: &str) -> &str {
    host.split('.').next().unwrap_or(host)
}
