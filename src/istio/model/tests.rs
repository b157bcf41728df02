//! Good documents and what is read from them. What is wrong with bad ones is in `tests/commands/bad_yaml`.

mod resilience;

use std::net::IpAddr;
use std::time::Duration;

use super::destination_rule::{
    ConnectionPool, ConsistentHash, Distribute, Failover, HashCookie, HashKey, HashTable, LbPolicy, LoadBalancer,
    LocalityLb, OutlierDetection, TcpKeepalive, TrafficPolicy, Warmup,
};
use super::dns::{Dns, HostAddress};
use super::export::{ExportTo, Scope};
use super::proxy::{
    AccessLogEncoding, Cpus, Driver, Limits, MeshConfig, OutboundTrafficPolicy, PathNormalization, ServerHeader,
};
use super::scalar::StringMatch::{Exact, Prefix, Present, Regex};
use super::virtual_service::{
    CorsPolicy, Destination, DirectResponse, HeaderOperations, Headers, HttpMatch, HttpRoute, PathRewrite, Redirect,
    RedirectPath, RedirectPort, Retries, Rewrite, RouteDestination, UnmatchedPreflights,
};
use crate::istio::world::World;
use crate::istio::{Options, read_text};

/// Reads YAML that has no errors.
#[track_caller]
fn good(yaml: &str) -> World {
    let (world, mut problems) = read_text(yaml, Options::default());
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
      scheme: {exact: https}
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
      withoutHeaders: {x-b: null, x-a: {prefix: p}}
      queryParams: {b: {regex: '*'}, a: {exact: ''}}
      gateways: [other, far/g, ./own]
      sourceLabels: {app: a}
      sourceNamespace: prod
      statPrefix: full
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
                scheme: Some(Exact("https".to_owned())),
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
                without_headers: vec![("x-a".to_owned(), Prefix("p".to_owned())), ("x-b".to_owned(), Present),],
                query_params: vec![("a".to_owned(), Exact(String::new())), ("b".to_owned(), Present)],
                gateways: ["default/other", "far/g", "default/own"].map(str::to_owned).to_vec(),
                source_labels: [("app".to_owned(), "a".to_owned())].into(),
                source_namespace: Some("prod".to_owned()),
                stat_prefix: Some("full".to_owned()),
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
                - match: [{headers: {'@request.auth.claims.sub': {}}}]\n    route: [{destination: {host: b.com}}]\n  - route: [{destination: {host: b.com}}]\n";
    let (world, _) = read_text(yaml, Options { permissive: true });
    let routes: Vec<_> = world.virtual_services[0].http.iter().map(|route| (route.index, route.line)).collect();
    assert_eq!(routes, [(1, 10)]);
}

#[test]
fn a_match_that_is_not_wholly_enforced_never_matches() {
    let yaml = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\nspec:\n  hosts: [a.com]\n  gateways: [g]\n  http:\n  \
                - match: [{uri: {prefix: /a}, withoutHeaders: {'@request.auth.claims.sub': {}}}, {uri: {prefix: /b}}]\n    route: [{destination: {host: b.com}}]\n  \
                - match: [{headers: {'@request.auth.claims.sub': {exact: me}}}]\n    route: [{destination: {host: b.com}}]\n  \
                - match: [{urri: {prefix: /c}}]\n    route: [{destination: {host: b.com}}]\n";
    let (world, problems) = read_text(yaml, Options { permissive: true });
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
        ..TrafficPolicy::default()
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
  mesh: {listen: '127.0.0.1:15001', allowLocal: false}
  dns:
    servers: [127.0.0.1, '127.0.0.1:5353', '::1', '[::1]:5353']
    timeout: 2s
    attempts: 1
    hosts: {HTTPBIN.org: 127.0.0.1, two.example.com: ['10.0.0.1:8000', '::1']}
  meshConfig:
    dnsRefreshRate: 5s
    protocolDetectionTimeout: 300ms
    outboundTrafficPolicy: {mode: REGISTRY_ONLY}
    accessLogFile: /dev/stdout
    accessLogFormat: '%PROTOCOL%'
    accessLogEncoding: JSON
    pathNormalization: {normalization: DECODE_AND_MERGE_SLASHES}
    localityLbSetting: {enabled: false}
    rootNamespace: root
    defaultServiceExportTo: ['.', far]
    defaultVirtualServiceExportTo: ['~']
    defaultDestinationRuleExportTo: ['*']
    connectTimeout: 250ms
    tcpKeepalive: {probes: 3}
    h2UpgradePolicy: DO_NOT_UPGRADE
    defaultHttpRetryPolicy: {attempts: 0}
    defaultTrafficPolicy: {connectionPool: {tcp: {maxConnections: 9}}, outlierDetection: {}}
    enableTracing: true
    defaultConfig: {drainDuration: 3s, concurrency: 4, tracing: {sampling: 12.5}}
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
    assert_eq!(proxy.mesh_listen, "127.0.0.1:15001".parse().ok());
    assert_eq!(proxy.mesh_allow_local, Some(false));
    assert_eq!(proxy.mirror_host_suffix, "");
    let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("an address")).collect();
    let host = |ip: &str, port| HostAddress { ip: ip.parse().expect("an address"), port };
    assert_eq!(
        proxy.dns,
        Dns {
            servers: addresses(&["127.0.0.1:53", "127.0.0.1:5353", "[::1]:53", "[::1]:5353"]),
            timeout: Some(Duration::from_secs(2)),
            attempts: Some(1),
            hosts: [
                ("httpbin.org".to_owned(), vec![host("127.0.0.1", None)]),
                ("two.example.com".to_owned(), vec![host("10.0.0.1", Some(8000)), host("::1", None)]),
            ]
            .into(),
        }
    );
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
            tcp_keepalive: Some(TcpKeepalive { probes: Some(3), ..TcpKeepalive::default() }),
            default_http_retry_policy: Some(Retries {
                attempts: 0,
                per_try_timeout: None,
                retry_on: Vec::new(),
                remote_localities: false,
                ignore_previous_hosts: None,
                backoff: None,
            }),
            default_connection_pool: Some(ConnectionPool { max_connections: Some(9), ..ConnectionPool::default() }),
            default_outlier_detection: Some(OutlierDetection::default()),
            outbound_traffic_policy: OutboundTrafficPolicy::RegistryOnly,
            dns_refresh_rate: Duration::from_secs(5),
            protocol_detection_timeout: Some(Duration::from_millis(300)),
            drain_duration: Duration::from_secs(3),
            tracing: Some(125_000),
            access_log_encoding: AccessLogEncoding::Json,
            path_normalization: PathNormalization::DecodeAndMergeSlashes,
            locality_lb: LocalityLb { enabled: Some(false), ..LocalityLb::default() },
            root_namespace: "root".to_owned(),
            default_service_export_to: vec![Scope::Own, Scope::Namespace("far".to_owned())],
            default_virtual_service_export_to: vec![],
            default_destination_rule_export_to: vec![Scope::Everyone],
        }
    );
}

/// No time is no end to it, as Istio has it; what is not written is ringway's own.
#[test]
fn protocols_are_detected_for_so_long() {
    let of = |config: &str| {
        let spec = format!("spec: {{meshConfig: {{{config}}}}}");
        let yaml = format!("apiVersion: ringway.dev/v1\nkind: Proxy\nmetadata: {{name: edge}}\n{spec}\n");
        good(&yaml).proxy.mesh_config.protocol_detection_timeout
    };
    assert_eq!(of("protocolDetectionTimeout: 5s"), Some(Duration::from_secs(5)));
    assert_eq!(of("protocolDetectionTimeout: 0s"), None);
    assert_eq!(of(""), Some(Duration::from_secs(1)));
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
    let dynamic = mode("{outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS}}");
    assert_eq!(dynamic, OutboundTrafficPolicy::AllowAnyDynamicDns);
}

/// The first rule that is written so.
#[track_caller]
fn rule(text: &str) -> HttpRoute {
    virtual_service(&format!("  - {text}\n")).virtual_services.remove(0).http.remove(0)
}

#[test]
fn actions_are_read() {
    let redirect = |text: &str| rule(&format!("redirect: {text}")).redirect;
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        redirect("{uri: /a, authority: b.com, port: 8080, scheme: https, redirectCode: 308}")
            .map(|r| (r.code.get(), r)),
        Some((
            308,
            Redirect {
                path: Some(RedirectPath::Whole("/a".to_owned())),
                authority: text("b.com"),
                port: Some(RedirectPort::Number(8080)),
                scheme: text("https"),
                code: redirect("{uri: /, redirectCode: 308}").map(|r| r.code).unwrap_or_default(),
            }
        ))
    );
    let moved = redirect("{prefix_rewrite: /b, derive_port: FROM_REQUEST_PORT}").expect("it is read");
    assert_eq!(moved.path, Some(RedirectPath::Prefix("/b".to_owned())));
    assert_eq!((moved.port, moved.code.get()), (Some(RedirectPort::FromRequest), 301));
    let derived = redirect("{derivePort: FROM_PROTOCOL_DEFAULT}").and_then(|redirect| redirect.port);
    assert_eq!(derived, Some(RedirectPort::ProtocolDefault));

    let direct = |text: &str| rule(&format!("directResponse: {text}")).direct_response;
    assert_eq!(direct("{status: 503}"), Some(DirectResponse { status: 503, body: Vec::new() }));
    assert_eq!(direct("{status: 200, body: {string: hi}}"), Some(DirectResponse { status: 200, body: b"hi".to_vec() }));
    assert_eq!(
        direct("{status: 200, body: {bytes: aGk=}}"),
        Some(DirectResponse { status: 200, body: b"hi".to_vec() })
    );

    let rewrite = |text: &str| rule(&format!("rewrite: {text}\n    route: [{{destination: {{host: b.com}}}}]")).rewrite;
    assert_eq!(
        rewrite("{uri: /a, authority: b.com}"),
        Some(Rewrite { path: Some(PathRewrite::Matched("/a".to_owned())), authority: text("b.com") })
    );
    let substitution = r"\2\1\0\\".to_owned();
    assert_eq!(
        rewrite(r"{uriRegexRewrite: {match: '(a)(b)', rewrite: '\2\1\0\\'}}"),
        Some(Rewrite {
            path: Some(PathRewrite::Regex { pattern: "(a)(b)".to_owned(), substitution }),
            authority: None
        })
    );

    assert_eq!(rule("delegate: {name: d, namespace: far}").delegate.as_deref(), Some("far/d"));
    assert_eq!(rule("delegate: {name: d}").delegate.as_deref(), Some("default/d"));
}

#[test]
fn header_operations_are_sorted_by_name_and_removals_are_not() {
    let pairs =
        |list: &[(&str, &str)]| list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let rule = rule(
        "headers: {request: {set: {x-b: '%REQ(a)%', x-a: ''}, add: {x-c: '%%'}, remove: [y, x]}, response: {add: {x: '%RESPONSE_CODE%'}}}
    route: [{destination: {host: b.com}, headers: {response: {remove: [server]}}}]",
    );
    let request = HeaderOperations {
        set: pairs(&[("x-a", ""), ("x-b", "%REQ(a)%")]),
        add: pairs(&[("x-c", "%%")]),
        remove: vec!["y".to_owned(), "x".to_owned()],
    };
    let response = HeaderOperations { add: pairs(&[("x", "%RESPONSE_CODE%")]), ..HeaderOperations::default() };
    assert_eq!(rule.headers, Some(Headers { request, response }));
    let response = HeaderOperations { remove: vec!["server".to_owned()], ..HeaderOperations::default() };
    assert_eq!(rule.route[0].headers, Some(Headers { response, ..Headers::default() }));
}

#[test]
fn cors_policies_are_read_in_both_spellings() {
    let cors =
        |text: &str| rule(&format!("corsPolicy: {text}\n    route: [{{destination: {{host: b.com}}}}]")).cors_policy;
    let everyone = || Regex(".*".to_owned());
    assert_eq!(
        cors(
            "{allowOrigins: [{prefix: 'https://'}, {exact: '*'}, {regex: '[*]|a'}], allowMethods: [GET, POST], allowHeaders: [x-a], exposeHeaders: ['*'], maxAge: 1h, allowCredentials: true, unmatchedPreflights: IGNORE}"
        ),
        Some(CorsPolicy {
            allow_origins: vec![Prefix("https://".to_owned()), everyone(), everyone()],
            allow_methods: vec!["GET".to_owned(), "POST".to_owned()],
            allow_headers: vec!["x-a".to_owned()],
            expose_headers: vec!["*".to_owned()],
            max_age: Some(Duration::from_secs(3600)),
            allow_credentials: true,
            unmatched_preflights: UnmatchedPreflights::Ignore,
        })
    );
    let origins = |text: &str| cors(text).map(|policy| policy.allow_origins);
    assert_eq!(origins("{allow_origin: [a.com, '*']}"), Some(vec![Exact("a.com".to_owned()), everyone()]));
    assert_eq!(
        origins("{allowOrigin: [a.com], allowOrigins: [{exact: b.com}]}"),
        Some(vec![Exact("b.com".to_owned())])
    );
}

#[test]
fn a_virtual_service_without_hosts_is_a_delegate() {
    let world = good(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\nspec: {exportTo: [., far], http: [{redirect: {uri: /}}]}\n",
    );
    let delegate = &world.virtual_services[0];
    assert_eq!((delegate.hosts.len(), delegate.gateways.len()), (0, 0));
    let namespaces = ["default", "far"].map(str::to_owned).into();
    assert_eq!(delegate.export_to, Some(ExportTo::Namespaces(namespaces)));
}

#[test]
fn consistent_hashing_warmup_and_localities_are_read() {
    let balancer = |text: &str| {
        let world = good(&format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: d}}\nspec: {{host: '*', trafficPolicy: {{loadBalancer: {text}, portLevelSettings: [{{port: {{number: 80}}, loadBalancer: {text}}}]}}}}\n"
        ));
        let policy = &world.destination_rules[0].traffic_policy;
        assert_eq!((policy.ports[0].port, &policy.ports[0].load_balancer), (80, &policy.load_balancer));
        policy.load_balancer.clone().expect("it is read")
    };
    let hash = |text: &str| match balancer(&format!("{{consistentHash: {text}}}")).policy {
        LbPolicy::ConsistentHash(hash) => hash,
        other => panic!("{other:?}"),
    };
    let ring = |minimum_size| HashTable::Ring { minimum_size };
    for (text, key, table) in [
        ("{httpHeaderName: x}", HashKey::Header("x".to_owned()), ring(1024)),
        ("{useSourceIp: true, minimumRingSize: 7}", HashKey::SourceIp, ring(7)),
        ("{useSourceIp: false, ringHash: {}}", HashKey::Nothing, ring(1024)),
        (
            "{httpQueryParameterName: q, ringHash: {minimumRingSize: 0}}",
            HashKey::QueryParameter("q".to_owned()),
            ring(0),
        ),
        ("{useSourceIp: true, maglev: {tableSize: 251}}", HashKey::SourceIp, HashTable::Maglev { table_size: 251 }),
        (
            "{httpCookie: {name: c, path: /p, ttl: 0s, attributes: [{name: Secure}, {name: SameSite, value: Lax}]}}",
            HashKey::Cookie(HashCookie {
                name: "c".to_owned(),
                path: "/p".to_owned(),
                ttl: Some(Duration::ZERO),
                attributes: vec![("Secure".to_owned(), String::new()), ("SameSite".to_owned(), "Lax".to_owned())],
            }),
            ring(1024),
        ),
    ] {
        assert_eq!(hash(text), ConsistentHash { key, table }, "{text}");
    }

    let warmup = |text: &str| balancer(text).warmup;
    let minute = Duration::from_secs(60);
    assert_eq!(
        warmup("{warmup: {duration: 1m, minimumPercent: 2.5, aggression: 3}}"),
        Some(Warmup { duration: minute, minimum_percent: 2.5, aggression: 3.0 })
    );
    assert_eq!(
        warmup("{warmupDurationSecs: 60s}"),
        Some(Warmup { duration: minute, minimum_percent: 10.0, aggression: 1.0 })
    );

    let locality = |text: &str| balancer(&format!("{{localityLbSetting: {text}}}")).locality;
    let distribute = Distribute { from: "a/b/*".to_owned(), to: vec![("a/b".to_owned(), 80), ("a/c".to_owned(), 20)] };
    assert_eq!(
        locality("{enabled: true, distribute: [{from: a/b/*, to: {a/c: 20, a/b: 80}}]}"),
        Some(LocalityLb { enabled: Some(true), distribute: vec![distribute], ..LocalityLb::default() })
    );
    assert_eq!(
        locality("{failover: [{from: a, to: b}], failoverPriority: [topology.istio.io/network]}"),
        Some(LocalityLb {
            failover: vec![Failover { from: "a".to_owned(), to: "b".to_owned() }],
            failover_priority: vec!["topology.istio.io/network".to_owned()],
            ..LocalityLb::default()
        })
    );
}
