use super::*;
use crate::istio::{Options, read_text, shipped};

/// The world of some YAML, and its problems without the file's name.
fn world(yaml: &str) -> (World, Vec<String>) {
    let (world, problems) = read_text(yaml, Options::default());
    let lines = problems
        .iter()
        .map(|problem| problem.to_string().replace("<stdin>:", ""))
        .filter(|line| !line.contains("accessLogFile"))
        .collect();
    (world, lines)
}

/// The world of YAML that has no problems.
#[track_caller]
fn good(yaml: &str) -> World {
    let (world, problems) = world(yaml);
    assert_eq!(problems, [""; 0]);
    world
}

/// `address:port*weight` of everything that answers on the port for these labels.
#[track_caller]
fn endpoints(world: &World, host: &str, port: u16, labels: &[(&str, &str)]) -> Vec<String> {
    let service = world.services.get(host).expect("the service is known");
    let port = service.port(port).expect("the port is known");
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    service.endpoints(port, &labels).map(|(address, weight)| format!("{address}*{weight}")).collect()
}

#[test]
fn the_shipped_configurations_have_no_problems() {
    for (folder, many) in [("quickstart", 2), ("ingress", 1)] {
        let (world, problems) = read_text(shipped(folder), Options::default());
        assert_eq!(problems, [], "{folder}");
        assert_eq!((world.gateways.len(), world.virtual_services.len()), (many, many));
    }
}

#[test]
fn a_service_selects_the_workload_entries_of_its_namespace() {
    let world = good(
        "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  ports:
  - {name: http, port: 80, targetPort: 8080}
  - {name: http-admin, port: 81, targetPort: admin}
  - {name: http-same, port: 82}
  selector: {app: web}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: b, namespace: shop}
spec: {address: 10.0.0.2, labels: {app: web, version: v1}, ports: {admin: 9000}, weight: 3}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: a, namespace: shop, labels: {version: v2}}
spec: {address: '::1', labels: {app: web, version: v1}, ports: {http: 7000, http-admin: 7001, admin: 7002}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: other, namespace: shop}
spec: {address: 10.0.0.3, labels: {app: other}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: elsewhere}
spec: {address: 10.0.0.4, labels: {app: web}}
",
    );
    let host = "web.shop.svc.cluster.local";
    // In the order they were written; the Service port's name wins over the target port's name.
    assert_eq!(endpoints(&world, host, 80, &[]), ["10.0.0.2:8080*3", "[::1]:7000*1"]);
    assert_eq!(endpoints(&world, host, 81, &[]), ["10.0.0.2:9000*3", "[::1]:7001*1"]);
    assert_eq!(endpoints(&world, host, 82, &[]), ["10.0.0.2:82*3", "[::1]:82*1"]);
    assert_eq!(endpoints(&world, host, 80, &[("version", "v1")]), ["10.0.0.2:8080*3"]);
    // Labels of the metadata win over those of the spec.
    assert_eq!(endpoints(&world, host, 80, &[("version", "v2"), ("app", "web")]), ["[::1]:7000*1"]);
    assert_eq!(endpoints(&world, host, 80, &[("version", "v3")]), [""; 0]);
}

#[test]
fn slices_give_addresses_and_pods_give_labels() {
    let world = good(
        "
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{name: http, port: 80, targetPort: web}, {name: http-more, port: 81}], selector: {app: web}, clusterIP: None}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints:
- {addresses: [10.0.0.1], targetRef: {kind: Pod, name: web-a}}
- {addresses: [10.0.0.2], conditions: {ready: true}}
- {addresses: [10.0.0.3], conditions: {ready: false}}
ports: [{name: http, port: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-2, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: [{addresses: [10.0.0.2]}]
ports: [{name: http-more, port: 8081, protocol: TCP}, {name: dns, port: 53, protocol: UDP}]
---
apiVersion: v1
kind: Endpoints
metadata: {name: web}
subsets: [{addresses: [{ip: 10.9.9.9}], ports: [{name: http, port: 1}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: web-a, labels: {version: v1}}
---
apiVersion: v1
kind: Pod
metadata: {name: web-b, labels: {version: v2}}
status: {podIP: 10.0.0.2}
---
apiVersion: v1
kind: Service
metadata: {name: old}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: old}
subsets:
- {addresses: [{ip: 10.1.0.1}], notReadyAddresses: [{ip: 10.1.0.2}], ports: [{port: 8080}]}
- {addresses: [{ip: 10.1.0.3, targetRef: {kind: Pod, name: web-a}}], ports: [{port: 8081}]}
",
    );
    let host = "web.default.svc.cluster.local";
    assert_eq!(endpoints(&world, host, 80, &[]), ["10.0.0.1:8080*1", "10.0.0.2:8080*1"]);
    assert_eq!(endpoints(&world, host, 81, &[]), ["10.0.0.2:8081*1"]);
    assert_eq!(endpoints(&world, host, 80, &[("version", "v1")]), ["10.0.0.1:8080*1"]);
    assert_eq!(endpoints(&world, host, 80, &[("version", "v2")]), ["10.0.0.2:8080*1"]);
    let old = "old.default.svc.cluster.local";
    assert_eq!(endpoints(&world, old, 80, &[]), ["10.1.0.1:8080*1", "10.1.0.3:8081*1"]);
    assert_eq!(endpoints(&world, old, 80, &[("version", "v1")]), ["10.1.0.3:8081*1"]);
}

#[test]
fn service_entries_bring_their_own_endpoints_or_select_them() {
    let world = good(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: own}
spec:
  hosts: [API.example.com, '*.example.org']
  location: MESH_INTERNAL
  resolution: STATIC
  ports:
  - {number: 80, name: http, protocol: HTTP, targetPort: 8080}
  - {number: 81, name: more, protocol: http}
  endpoints:
  - {address: 10.0.0.1, labels: {version: v1}}
  - {address: 10.0.0.2, ports: {http: 9090}, weight: 2}
---
apiVersion: networking.istio.io/v1beta1
kind: ServiceEntry
metadata: {name: selecting}
spec:
  hosts: [b.example.com]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP, target_port: 8080}]
  workload_selector: {labels: {app: b}}
---
apiVersion: networking.istio.io/v1alpha3
kind: WorkloadEntry
metadata: {name: b}
spec: {address: 10.0.0.3, labels: {app: b}}
",
    );
    assert_eq!(endpoints(&world, "api.example.com", 80, &[]), ["10.0.0.1:8080*1", "10.0.0.2:9090*2"]);
    assert_eq!(endpoints(&world, "api.example.com", 81, &[]), ["10.0.0.1:81*1", "10.0.0.2:81*2"]);
    assert_eq!(endpoints(&world, "deep.er.example.org", 80, &[("version", "v1")]), ["10.0.0.1:8080*1"]);
    assert_eq!(endpoints(&world, "b.example.com", 80, &[]), ["10.0.0.3:8080*1"]);
    assert!(world.services.get("example.org").is_none());
    assert!(world.services.get("").is_none());
    assert_eq!(world.services.get("api.example.com").map(|service| service.ports[1].protocol), Some(Protocol::Http));
}

#[test]
fn the_longest_wildcard_service_wins() {
    let entry = |name: &str, host: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}}}\n\
             spec: {{hosts: ['{host}'], resolution: STATIC, ports: [{{number: 80, name: http, protocol: HTTP}}]}}\n---\n"
        )
    };
    let world = good(&(entry("a", "*.com") + &entry("b", "*.b.com") + &entry("c", "x.b.com")));
    let found = |host| world.services.get(host).map(|service| service.hostname.as_str());
    assert_eq!(found("x.b.com"), Some("x.b.com"));
    assert_eq!(found("y.x.b.com"), Some("*.b.com"));
    assert_eq!(found("b.com"), Some("*.com"));
    assert_eq!(found("com"), None);
}

#[test]
fn a_kubernetes_service_wins_over_a_service_entry_of_its_name() {
    let (world, problems) = world(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web}
spec: {hosts: [web.default.svc.cluster.local], resolution: STATIC, ports: [{number: 81, name: http, protocol: HTTP}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80}]}
",
    );
    assert_eq!(world.services.get("web.default.svc.cluster.local").map(|service| service.ports[0].number), Some(80));
    assert_eq!(
        problems,
        [
            "5: ServiceEntry/default/web: spec.hosts[0]: warning: host \"web.default.svc.cluster.local\" is already declared \
          by Service/default/web (7) (its ports and endpoints there are used, these are not)"
        ]
    );
}

#[test]
fn names_are_resolved_in_the_resources_own_namespace() {
    let world = good(
        "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g, namespace: edge}
spec:
  selector: {istio: ingressgateway}
  servers:
  - name: s
    port: {number: 80, name: http, protocol: http}
    bind: 127.0.0.1
    hosts: [./Own.example.com, shop/a.example.com, '*/b.example.com', c.example.com, shop/*]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, namespace: shop}
spec:
  hosts: [a.example.com, Web]
  gateways: [edge/g, ./h]
  http:
  - route: [{destination: {host: Web}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: h, namespace: shop}
spec: {servers: [{port: {number: 81, name: http, protocol: HTTP}, hosts: ['*']}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: d, namespace: shop}
spec: {host: web}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{port: 80}], selector: {app: web}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: web, namespace: shop}
spec: {address: 127.0.0.1, labels: {app: web}}
",
    );
    let service = &world.virtual_services[0];
    assert_eq!(service.hosts, ["a.example.com", "web.shop.svc.cluster.local"]);
    assert_eq!(service.gateways, ["edge/g", "shop/h"]);
    assert_eq!(service.http[0].route[0].destination.host, "web.shop.svc.cluster.local");
    assert_eq!(world.destination_rules[0].host, "web.shop.svc.cluster.local");
    let server = &world.gateways[0].servers[0];
    let hosts: Vec<_> = server.hosts.iter().map(|host| (host.namespace.as_deref(), host.host.as_str())).collect();
    assert_eq!(
        hosts,
        [
            (Some("edge"), "own.example.com"),
            (Some("shop"), "a.example.com"),
            (None, "b.example.com"),
            (None, "c.example.com"),
            (Some("shop"), "*"),
        ]
    );
    assert_eq!((server.port, server.port_name.as_str(), server.name.as_str()), (80, "http", "s"));
    assert_eq!(server.bind, Some(IpAddr::from([127, 0, 0, 1])));
    let source = &service.meta.source;
    assert_eq!((&*source.file, source.line, &*source.resource), ("<stdin>", 13, "VirtualService/shop/v"));
    assert_eq!(source.line_of("spec.http[0].route[0]"), 20);
}

#[test]
fn without_a_proxy_document_the_defaults_hold() {
    let proxy = good("").proxy;
    assert_eq!(proxy.admin, "127.0.0.1:15000".parse().ok());
    assert_eq!(proxy.bind, IpAddr::from([0, 0, 0, 0]));
    assert_eq!(proxy.limits.max_header_bytes, 61440);
    assert_eq!(proxy.mesh_config.drain_duration.as_secs(), 45);
    assert_eq!(proxy.mesh_config.connect_timeout.as_secs(), 10);
}
