//! Kubernetes Services of type ExternalName: another name for a service, or for a host that a name server knows.

use super::{asking, echoing, finish, get, on_each_driver, who};
use crate::name_server::NameServer;
use crate::support::client::once;
use crate::support::ports;
use crate::support::ringway::Driver;

on_each_driver!(another_name_for_a_service, a_name_that_a_name_server_knows);

/// Services of type ExternalName with these ports.
fn external(services: &[(&str, &str, &str)]) -> String {
    let service = |(name, target, ports): &(&str, &str, &str)| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{type: ExternalName, externalName: {target}, \
             ports: [{ports}]}}\n---\n"
        )
    };
    services.iter().map(service).collect()
}

const GATEWAY: &str = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: egress}\nspec: {servers: \
                       [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}\n---\n";

/// Everything that comes in at the gateway goes to `to`.
fn rule(to: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: all}}\nspec: {{hosts: ['*'], gateways: \
         [egress], http: [{{route: [{{destination: {{{to}}}}}]}}]}}\n---\n"
    )
}

/// Its clusters are the service's: by every name that the mesh has for it, through another such name, and of a rule.
fn another_name_for_a_service(driver: Driver) {
    let port = ports::free();
    let _origin = echoing("127.0.0.2", port);
    let server = NameServer::start();
    let entry = |name: &str, host: &str, more: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}}}\nspec: {{hosts: [{host}], \
             resolution: STATIC, ports: [{{number: 80, name: http, protocol: HTTP, targetPort: {port}}}{more}], endpoints: \
             [{{address: 127.0.0.2}}]}}\n---\n"
        )
    };
    let routed = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: r}\nspec: {hosts: [routed], http: \
                  [{headers: {response: {set: {x-rule: own}}}, route: [{destination: {host: routed}}]}]}\n---\n";
    let yaml =
        entry("api", "api.example.com", &format!(", {{number: 81, name: b, protocol: HTTP, targetPort: {port}}}"))
            + &external(&[
                ("direct", "API.example.com.", ""),
                ("chained", "direct.default.svc.cluster.local", "{port: 81}"),
                ("routed", "api.example.com", "{port: 80}"),
            ])
            + routed
            + GATEWAY
            + &rule("host: chained");
    let ringway = asking(driver, &server, "REGISTRY_ONLY").yaml(yaml).start();
    for host in ["direct", "direct.default", "direct.default.svc.cluster.local", "chained", "routed.default:81"] {
        let response = get(&ringway, host);
        assert_eq!(response.text(), format!("127.0.0.2: GET /x HTTP/1.1 at {host}"), "its Host stays");
        let ruled = host.starts_with("routed");
        assert_eq!(response.header("x-rule"), ruled.then_some("own"), "rules of that name are its own: {host}");
    }
    let line = ringway.logged(&["\"direct.default\""]);
    assert!(line.contains(" outbound|80||api.example.com "), "{line}");
    let response = once(ringway.address(), "GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert_eq!(who(&response), "127.0.0.2");
    let line = ringway.logged(&["\"h\""]);
    assert!(line.contains(" outbound|81||api.example.com "), "the port of the other name: {line}");
    assert_eq!(get(&ringway, "other").status, 502);
    assert_eq!(server.asked("api.example.com"), 0);
    finish(ringway);
}

/// Where no document knows the host, its addresses are the endpoints.
fn a_name_that_a_name_server_knows(driver: Driver) {
    let port = ports::free();
    let _origin = echoing("127.0.0.2", port);
    let server = NameServer::start();
    server.at("api.example.net", &["127.0.0.2"]);
    let ports = format!("{{name: http, port: {port}, targetPort: 1}}");
    let yaml = external(&[("api", "api.example.net", &ports), ("again", "api.default.svc.cluster.local", &ports)])
        + GATEWAY
        + &rule("host: api");
    let ringway = asking(driver, &server, "REGISTRY_ONLY").yaml(yaml).start();
    for host in [format!("api:{port}"), format!("again.default:{port}")] {
        assert_eq!(who(&get(&ringway, &host)), "127.0.0.2", "{host}");
    }
    let line = ringway.logged(&["again.default"]);
    assert!(
        line.contains(&format!("\"127.0.0.2:{port}\" outbound|{port}||again.default.svc.cluster.local ")),
        "{line}"
    );
    let response = once(ringway.address(), "GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert_eq!(who(&response), "127.0.0.2");
    finish(ringway);
}
