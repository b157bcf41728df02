//! Good documents and what is read from them. What is wrong with bad ones is in `tests/bad_yaml`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::destination_rule::{LbPolicy, LoadBalancer, TrafficPolicy};
use super::proxy::{Cpus, Driver, Limits, MeshConfig, OutboundTrafficPolicy, ServerHeader};
use super::scalar::StringMatch::{Exact, Prefix, Present, Regex};
use super::virtual_service::{Destination, HttpMatch, RouteDestination};
use crate::istio::world::World;
use crate::istio::{Options, read};

/// Reads YAML that has no errors.
#[track_caller]
fn good(yaml: &str) -> World {
    let mut stdin = yaml.as_bytes();
    let (world, mut problems) = read(&[PathBuf::from("-")], &mut stdin, Options::default());
    problems.retain(super::super::problem::Problem::is_error);
    assert_eq!(problems, []);
    world
}

fn virtual_service(http: &str) -> World {
    good(&format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v}}\nspec:\n  hosts: [a.com]\n  \
         gateways: [g]\n  exportTo: ['*']\n  http:\n{http}"
    ))
}

#[test]
fn every_form_of_a_match_is_read() {
    let world = virtual_service(
        "
  - name: first
    match:
    - name: full
      uri: {prefix: /a}
      ignoreUriCase: true
      method: {regex: GET|HEAD}
      authority: {exact: 'a.com:80'}
      port: 80
      headers:
        x-exact: {exact: ''}
        X-Prefix: {prefix: p}
        x-regex: {regex: '[a-z]+'}
        x-present: {}
        x-star: {regex: '*'}
        ':path': {prefix: /}
    - uri: {}
    - uri: {prefix: ''}
    - {}
    - ignore_uri_case: true
      scheme: null
    route: [{destination: {host: b.com}}]
",
    );
    let route = &world.virtual_services[0].http[0];
    assert_eq!((route.name.as_str(), route.index, route.line), ("first", 0, 10));
    assert_eq!(
        route.matches,
        [
            HttpMatch {
                name: "full".to_owned(),
                uri: Some(Prefix("/a".to_owned())),
                ignore_uri_case: true,
                method: Some(Regex("GET|HEAD".to_owned())),
                authority: Some(Exact("a.com:80".to_owned())),
                port: Some(80),
                headers: vec![
                    (":path".to_owned(), Prefix("/".to_owned())),
                    ("X-Prefix".to_owned(), Prefix("p".to_owned())),
                    ("x-exact".to_owned(), Exact(String::new())),
                    ("x-present".to_owned(), Present),
                    ("x-regex".to_owned(), Regex("[a-z]+".to_owned())),
                    ("x-star".to_owned(), Present),
                ],
                ..HttpMatch::default()
            },
            HttpMatch { uri: Some(Present), ..HttpMatch::default() },
            HttpMatch { uri: Some(Prefix(String::new())), ..HttpMatch::default() },
            HttpMatch::default(),
            HttpMatch { ignore_uri_case: true, ..HttpMatch::default() },
        ]
    );
}

#[test]
fn destinations_have_subset_port_and_weight_or_not() {
    let world = virtual_service(
        "
  - route:
    - destination: {host: B.com, subset: v1, port: {number: 80}}
      weight: 1
    - {destination: {host: b.com, subset: ''}, weight: 99.0}
    - destination: {host: b.com}
",
    );
    let to = |subset: Option<&str>, port, weight| RouteDestination {
        destination: Destination { host: "b.com".to_owned(), subset: subset.map(str::to_owned), port },
        weight,
        headers: None,
    };
    assert_eq!(
        world.virtual_services[0].http[0].route,
        [to(Some("v1"), Some(80), 1), to(None, None, 99), to(None, None, 0)]
    );
}

#[test]
fn a_single_destination_needs_no_weight() {
    let world = virtual_service("  - route: [{destination: {host: b.com}, weight: 0}]\n");
    assert_eq!(world.virtual_services[0].http[0].route[0].weight, 0);
}

#[test]
fn rules_left_out_keep_the_numbers_of_the_others() {
    let yaml = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\nspec:\n  hosts: [a.com]\n  gateways: [g]\n  http:\n  \
                - match: [{headers: {'@request.auth.claims.sub': {}}}]\n    redirect: {uri: /}\n  - route: [{destination: {host: b.com}}]\n";
    let mut stdin = yaml.as_bytes();
    let (world, _) = read(&[PathBuf::from("-")], &mut stdin, Options { permissive: true });
    let routes: Vec<_> = world.virtual_services[0].http.iter().map(|route| (route.index, route.line)).collect();
    assert_eq!(routes, [(1, 10)]);
}

#[test]
fn a_match_that_is_not_wholly_enforced_never_matches() {
    let yaml = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\nspec:\n  hosts: [a.com]\n  gateways: [g]\n  http:\n  \
                - match: [{uri: {prefix: /a}, withoutHeaders: {'@request.auth.claims.sub': {}}}, {uri: {prefix: /b}}]\n    route: [{destination: {host: b.com}}]\n  \
                - match: [{headers: {'@request.auth.claims.sub': {exact: me}}}]\n    route: [{destination: {host: b.com}}]\n  \
                - match: [{urri: {prefix: /c}}]\n    route: [{destination: {host: b.com}}]\n";
    let mut stdin = yaml.as_bytes();
    let (world, problems) = read(&[PathBuf::from("-")], &mut stdin, Options { permissive: true });
    let [rule] = world.virtual_services[0].http.as_slice() else { panic!("one rule is left: {world:?}") };
    assert_eq!(rule.matches, [HttpMatch { uri: Some(Prefix("/b".to_owned())), ..HttpMatch::default() }]);
    let left_out = problems.iter().filter(|problem| problem.what.starts_with("this block is left out")).count();
    assert_eq!((left_out, problems.iter().any(|problem| problem.is_error())), (3, false));
}

#[test]
fn without_gateways_a_virtual_service_is_bound_to_mesh() {
    let world = good(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\nspec: {hosts: [a.com], http: [{route: [{destination: {host: b.com}}]}]}\n",
    );
    assert_eq!(world.virtual_services[0].gateways, ["mesh"]);
}

#[test]
fn load_balancing_is_read_at_both_levels() {
    let world = good(
        "
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: {name: d}
spec:
  host: '*.example.com'
  traffic_policy: {load_balancer: {simple: ROUND_ROBIN}}
  subsets:
  - {name: a, trafficPolicy: {loadBalancer: {simple: RANDOM}}}
  - {name: b, labels: {version: v1}}
  - {name: c, trafficPolicy: {loadBalancer: {}}}
  - {name: d, trafficPolicy: {loadBalancer: {simple: UNSPECIFIED}}}
  - {name: e, trafficPolicy: {loadBalancer: {simple: LEAST_CONN}}}
",
    );
    let rule = &world.destination_rules[0];
    let policy = |policy: Option<LbPolicy>| TrafficPolicy {
        load_balancer: policy.map(|policy| LoadBalancer { policy, ..LoadBalancer::default() }),
        outlier_detection: false,
        ports: Vec::new(),
    };
    assert_eq!(rule.host, "*.example.com");
    assert_eq!(rule.traffic_policy, policy(Some(LbPolicy::RoundRobin)));
    let subsets: Vec<_> = rule.subsets.iter().map(|subset| subset.traffic_policy.clone()).collect();
    let least = policy(Some(LbPolicy::LeastRequest));
    assert_eq!(subsets, [policy(Some(LbPolicy::Random)), policy(None), least.clone(), least.clone(), least]);
    assert_eq!(rule.subsets[1].labels.get("version").map(String::as_str), Some("v1"));
}

#[test]
fn every_field_of_a_proxy_is_read() {
    let proxy = good(
        "
apiVersion: ringway.dev/v1
kind: Proxy
metadata: {name: edge, namespace: prod, labels: {istio: ingressgateway}}
spec:
  cpus: [0, 3]
  driver: io_uring
  bind: '::'
  ports: {80: 8080, '443': 8443}
  admin: 'off'
  serverHeader: passthrough
  mirrorHostSuffix: ''
  limits:
    headersTimeout: 5s
    bodyTimeout: 6s
    idleTimeout: 1h30m
    maxHeaderBytes: 8192
    maxHeaders: 50
    maxConnections: 1000
  meshConfig:
    outboundTrafficPolicy: {mode: REGISTRY_ONLY}
    accessLogFile: /dev/stdout
    accessLogFormat: '%PROTOCOL%'
    accessLogEncoding: TEXT
    connectTimeout: 250ms
    defaultConfig: {drainDuration: 3s, concurrency: 4}
",
    )
    .proxy;
    assert_eq!((proxy.name.as_str(), proxy.namespace.as_str(), proxy.labels.len()), ("edge", "prod", 1));
    assert_eq!(proxy.cpus, Cpus::List(vec![0, 3]));
    assert_eq!(proxy.driver, Driver::IoUring);
    assert_eq!(Some(proxy.bind), "::".parse::<IpAddr>().ok());
    assert_eq!(proxy.ports, [(80, 8080), (443, 8443)].into());
    assert_eq!(proxy.admin, None);
    assert_eq!(proxy.server_header, ServerHeader::PassThrough);
    assert_eq!(proxy.mirror_host_suffix, "");
    assert_eq!(
        proxy.limits,
        Limits {
            headers_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(6),
            idle_timeout: Duration::from_secs(5400),
            max_header_bytes: 8192,
            max_headers: 50,
            max_connections: Some(1000),
        }
    );
    assert_eq!(
        proxy.mesh_config,
        MeshConfig {
            access_log_file: Some("/dev/stdout".to_owned()),
            access_log_format: Some("%PROTOCOL%".to_owned()),
            connect_timeout: Duration::from_millis(250),
            outbound_traffic_policy: OutboundTrafficPolicy::RegistryOnly,
            drain_duration: Duration::from_secs(3),
            ..MeshConfig::default()
        }
    );
}

#[test]
fn cpus_may_be_a_number_or_istios_concurrency() {
    let cpus = |spec: &str| {
        good(&format!("apiVersion: ringway.dev/v1\nkind: Proxy\nmetadata: {{name: edge}}\nspec: {spec}\n")).proxy.cpus
    };
    assert_eq!(cpus("{}"), Cpus::All);
    assert_eq!(cpus("{cpus: 2}"), Cpus::First(2));
    assert_eq!(cpus("{meshConfig: {defaultConfig: {concurrency: 3}}}"), Cpus::First(3));
    assert_eq!(cpus("{meshConfig: {defaultConfig: {concurrency: 0}}}"), Cpus::All);
    assert_eq!(cpus("{cpus: 2, meshConfig: {defaultConfig: {concurrency: 3}}}"), Cpus::First(2));
}

/// The enum's zero, as in Istio: an empty block is not the same as none.
#[test]
fn an_outbound_traffic_policy_without_a_mode_is_registry_only() {
    let mode = |mesh: &str| {
        good(&format!(
            "apiVersion: ringway.dev/v1\nkind: Proxy\nmetadata: {{name: edge}}\nspec: {{meshConfig: {mesh}}}\n"
        ))
        .proxy
        .mesh_config
        .outbound_traffic_policy
    };
    assert_eq!(mode("{}"), OutboundTrafficPolicy::AllowAny);
    assert_eq!(mode("{outboundTrafficPolicy: {}}"), OutboundTrafficPolicy::RegistryOnly);
    assert_eq!(mode("{outboundTrafficPolicy: {mode: ALLOW_ANY}}"), OutboundTrafficPolicy::AllowAny);
}
