//! Services, workloads and the Proxy.

use super::{
    both, check, destination, destination_rule, gateway, istio, proxy, rule, service, service_entry,
    virtual_service_spec, workload_entry,
};

#[test]
fn service_and_workload_entries() {
    check(&[
        (
            service_entry("{}"),
            &[
                r#"4: ServiceEntry/default/s: spec: "hosts" is required"#,
                r#"4: ServiceEntry/default/s: spec: warning: has no "ports", so it has no effect (write the ports that clients address)"#,
            ],
        ),
        (
            service_entry("{hosts: [], resolution: STATIC}"),
            &[
                "4: ServiceEntry/default/s: spec.hosts: must be 1 to 256 hosts, not 0",
                r#"4: ServiceEntry/default/s: spec: warning: has no "ports", so it has no effect (write the ports that clients address)"#,
            ],
        ),
        (
            service_entry(r#"{hosts: ["*", a_b.com], resolution: STATIC}"#),
            &[
                r#"4: ServiceEntry/default/s: spec.hosts[0]: host "*" must be a name, not "*""#,
                r#"4: ServiceEntry/default/s: spec.hosts[1]: host "a_b.com" is not a host name"#,
                r#"4: ServiceEntry/default/s: spec: warning: has no "ports", so it has no effect (write the ports that clients address)"#,
            ],
        ),
        (
            service_entry("{hosts: [a.com], resolution: DNS}"),
            &[
                r#"4: ServiceEntry/default/s: spec: warning: has no "ports", so it has no effect (write the ports that clients address)"#,
            ],
        ),
        (
            service_entry("{hosts: [a.com], resolution: STATC}"),
            &[
                r#"4: ServiceEntry/default/s: spec.resolution: "STATC" is not one of NONE, STATIC, DNS, DNS_ROUND_ROBIN, DYNAMIC_DNS (did you mean "STATIC"?)"#,
                r#"4: ServiceEntry/default/s: spec: warning: has no "ports", so it has no effect (write the ports that clients address)"#,
            ],
        ),
        (
            service_entry("{hosts: [a.com], location: MESH, resolution: STATIC}"),
            &[
                r#"4: ServiceEntry/default/s: spec.location: "MESH" is not one of MESH_EXTERNAL, MESH_INTERNAL"#,
                r#"4: ServiceEntry/default/s: spec: warning: has no "ports", so it has no effect (write the ports that clients address)"#,
            ],
        ),
        (
            service_entry(
                "{hosts: [a.com], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}, {number: 80, name: b}, {number: 81, name: http, protocol: HTTP}, {number: 82, name: c, protocol: HTPP}, {number: 83, name: C_D, protocol: HTTP}]}",
            ),
            &[
                "4: ServiceEntry/default/s: spec.ports[1]: a second port 80 (give each port its own number)",
                r#"4: ServiceEntry/default/s: spec.ports[2]: a second port named "http" (give each port its own name)"#,
                r#"4: ServiceEntry/default/s: spec.ports[3].protocol: "HTPP" is not one of HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, TCP, TLS (did you mean "HTTP"?)"#,
                r#"4: ServiceEntry/default/s: spec.ports[4].name: "C_D" is not a port's name (letters, digits and "-")"#,
            ],
        ),
        (
            service_entry(
                r#"{hosts: [a.com], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}], endpoints: [{address: b.com}, {address: "unix:///x"}, {address: "1.2.3.4:80"}, {}, {address: 1.2.3.4, ports: {htp: 8080, http: 0}}]}"#,
            ),
            &[
                r#"4: ServiceEntry/default/s: spec.endpoints[0]: a host name is no endpoint of resolution STATIC (write "resolution: DNS", or an address)"#,
                r#"4: ServiceEntry/default/s: spec.endpoints[2].address: "1.2.3.4:80" is not an address (write an IP address, without a port)"#,
                r#"4: ServiceEntry/default/s: spec.endpoints[3]: "address" is required"#,
                "4: ServiceEntry/default/s: spec.endpoints[4].ports[http]: must be between 1 and 65535, not 0",
                r#"4: ServiceEntry/default/s: spec.endpoints[4]: port "htp" is not a port of this ServiceEntry (did you mean "http"?)"#,
            ],
        ),
        (
            service_entry(
                "{hosts: [a.com], resolution: STATIC, endpoints: [{address: 1.2.3.4}], workloadSelector: {labels: {a: b}}}",
            ),
            &[
                r#"4: ServiceEntry/default/s: spec: has both "endpoints" and "workloadSelector" (keep one of them)"#,
                r#"4: ServiceEntry/default/s: spec: warning: has no "ports", so it has no effect (write the ports that clients address)"#,
            ],
        ),
        (
            service_entry(
                "{hosts: [a.com, b.com], resolution: STATIC, ports: [{number: 80, name: a}], addresses: [10.0.0.0/33, 10.0.0.0/8]}",
            ),
            &[
                r#"4: ServiceEntry/default/s: spec.addresses[0]: "10.0.0.0/33" is not an address or a subnet (write it like 10.0.0.0/8)"#,
                "4: ServiceEntry/default/s: spec: several hosts share port 80, where nothing tells them apart (write a ServiceEntry for each host)",
            ],
        ),
        (
            service_entry(
                "{hosts: [a.com], resolution: STATIC, ports: [{number: 443, name: a, protocol: HTTPS}], subjectAltNames: ['a@b.com', a.com]}",
            ),
            &[
                r#"4: ServiceEntry/default/s: spec.subjectAltNames[0]: "a@b.com" is not a name that a certificate can be verified for (write a host name, an IP address or a URI)"#,
                "4: ServiceEntry/default/s: spec.subjectAltNames: warning: no DestinationRule has connections to a.com secured: no effect (write trafficPolicy.tls with mode SIMPLE in one)",
            ],
        ),
        (
            both(
                &service_entry(
                    "{hosts: [a.com], resolution: STATIC, ports: [{number: 443, name: a, protocol: HTTPS}], subjectAltNames: [a.com]}",
                ),
                &destination_rule(
                    "{host: a.com, trafficPolicy: {portLevelSettings: [{port: {number: 443}, tls: {mode: SIMPLE}}]}}",
                ),
            ),
            &[],
        ),
        (
            service_entry("{hosts: [a.com], resolution: STATIC, ports: [{number: 80, name: a}]}"),
            &[
                "4: ServiceEntry/default/s: spec: warning: port 80 may speak TCP, where only an address tells services apart [IST0134] (write \"addresses\", or the port's protocol if it is HTTP)",
            ],
        ),
        (
            service_entry(
                "{hosts: ['*.a.com', '*b.com'], resolution: DNS_ROUND_ROBIN, addresses: [10.0.0.0/8], endpoints: [{address: a.com}, {address: 'unix://a/', ports: {a: 1}}]}",
            ),
            &[
                r#"4: ServiceEntry/default/s: spec.hosts[1]: warning: has a wildcard for a part of a label (write "*.example.com")"#,
                "4: ServiceEntry/default/s: spec.addresses[0]: a subnet goes with resolution NONE or STATIC only (write single addresses)",
                r#"4: ServiceEntry/default/s: spec: resolution DNS_ROUND_ROBIN takes one endpoint (write "resolution: DNS")"#,
                r#"4: ServiceEntry/default/s: spec.endpoints[1].address: "unix://a/" is not a socket's path (write it like unix:///run/app.sock)"#,
                r#"4: ServiceEntry/default/s: spec.endpoints[1].address: a unix socket has no ports (remove "ports")"#,
                r#"4: ServiceEntry/default/s: spec.endpoints[1]: port "a" is not a port of this ServiceEntry"#,
                r#"4: ServiceEntry/default/s: spec.endpoints[1]: a unix socket goes with resolution STATIC only (write "resolution: STATIC")"#,
                r#"4: ServiceEntry/default/s: spec: warning: has no "ports", so it has no effect (write the ports that clients address)"#,
            ],
        ),
        (
            service_entry("{hosts: ['*.a.com'], resolution: DNS}"),
            &[
                r#"4: ServiceEntry/default/s: spec.hosts[0]: no name server knows a wildcard (write "endpoints", or a full host name)"#,
                r#"4: ServiceEntry/default/s: spec: warning: has no "ports", so it has no effect (write the ports that clients address)"#,
            ],
        ),
        (
            service_entry(
                "{hosts: [a.com], resolution: DYNAMIC_DNS, addresses: [10.0.0.1], endpoints: [{address: 1.2.3.4}]}",
            ),
            &[
                r#"4: ServiceEntry/default/s: spec.hosts[0]: must be a wildcard with resolution DYNAMIC_DNS (write "resolution: DNS")"#,
                "4: ServiceEntry/default/s: spec: has addresses, and resolution DYNAMIC_DNS finds them by name (remove them)",
                r#"4: ServiceEntry/default/s: spec: has endpoints, and resolution DYNAMIC_DNS takes none (write "resolution: STATIC")"#,
                r#"4: ServiceEntry/default/s: spec: warning: has no "ports", so it has no effect (write the ports that clients address)"#,
            ],
        ),
        (
            service_entry(
                "{hosts: [a.com], resolution: NONE, workloadSelector: {labels: {a: b}}, ports: [{number: 80, name: h, protocol: HTTP}]}",
            ),
            &[
                r#"4: ServiceEntry/default/s: spec.workloadSelector: warning: has no meaning with resolution NONE (write "resolution: STATIC")"#,
            ],
        ),
        (
            service_entry(
                "{hosts: ['*.a.com'], resolution: DYNAMIC_DNS, workloadSelector: {labels: {a: b}}, ports: [{number: 80, name: h, protocol: HTTP}]}",
            ),
            &[
                r#"4: ServiceEntry/default/s: spec.workloadSelector: warning: has no meaning with resolution DYNAMIC_DNS (write "resolution: STATIC")"#,
            ],
        ),
        (
            service_entry(
                "{hosts: ['*.a.com'], resolution: DYNAMIC_DNS, addresses: [], ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: https, protocol: HTTPS}, {number: 444, name: a}]}",
            ),
            &[
                r#"4: ServiceEntry/default/s: spec: warning: port 444 may speak TCP, where only an address tells services apart [IST0134] (write "addresses", or the port's protocol if it is HTTP)"#,
                r#"4: ServiceEntry/default/s: spec: port 443 is none of HTTP, HTTP2, GRPC, TLS, which resolution DYNAMIC_DNS is for (write the port's "protocol")"#,
            ],
        ),
        (
            service_entry(
                "{hosts: ['*.a.com'], resolution: DNS, workloadSelector: {labels: {a: b}}, ports: [{number: 80, name: h, protocol: HTTP}]}",
            ),
            &[],
        ),
        (
            both(
                &service_entry(
                    "{hosts: [a.com], resolution: STATIC, workloadSelector: {labels: {a: b}}, ports: [{number: 80, name: h, protocol: HTTP}]}",
                ),
                &workload_entry("{address: b.com, labels: {a: b}}"),
            ),
            &[
                r#"9: WorkloadEntry/default/w: spec.address: a host name is no endpoint of ServiceEntry/default/s, which selects this (write an IP address, or select it by a ServiceEntry with "resolution: DNS")"#,
            ],
        ),
        (
            both(
                &service_entry(
                    "{hosts: [a.com], resolution: DNS, workloadSelector: {labels: {a: b}}, ports: [{number: 80, name: h, protocol: HTTP}]}",
                ),
                &workload_entry("{address: b.com, labels: {a: b}}"),
            ),
            &[],
        ),
        (
            workload_entry("{network: a}"),
            &[
                r#"4: WorkloadEntry/default/w: spec.network: "network" is not enforced by ringway yet (remove it, or pass --permissive, which then does not serve this WorkloadEntry)"#,
                "4: WorkloadEntry/default/w: spec: warning: has no address (Istio takes its network's gateway for one)",
            ],
        ),
        (
            service_entry(
                "{hosts: [a.com], resolution: STATIC, workloadSelector: {}, ports: [{number: 80, name: h, protocol: HTTP}]}",
            ),
            &[
                "4: ServiceEntry/default/s: spec.workloadSelector: warning: selects every WorkloadEntry of its namespace (write the labels to select by)",
            ],
        ),
        (
            both(
                &service_entry("{hosts: [a.com], resolution: STATIC, ports: [{number: 80, name: h, protocol: HTTP}]}"),
                &service_entry("{hosts: [a.com], resolution: STATIC, ports: [{number: 80, name: h, protocol: HTTP}]}")
                    .replace("name: s", "name: t"),
            ),
            &[
                r#"9: ServiceEntry/default/t: spec.hosts[0]: warning: host "a.com" is already declared by ServiceEntry/default/s (<stdin>:1) (its ports and endpoints there are used, these are not)"#,
            ],
        ),
        (
            workload_entry("{address: 1.2.3.4, network: n, weight: -1}"),
            &[
                r#"4: WorkloadEntry/default/w: spec.network: "network" is not enforced by ringway yet (remove it, or pass --permissive, which then does not serve this WorkloadEntry)"#,
                "4: WorkloadEntry/default/w: spec.weight: must be between 0 and 4294967295, not -1",
            ],
        ),
        (
            workload_entry("{adress: 1.2.3.4}"),
            &[
                r#"4: WorkloadEntry/default/w: spec.adress: unknown field "adress" in WorkloadEntry (did you mean "address"?)"#,
                r#"4: WorkloadEntry/default/w: spec: "address" is required"#,
            ],
        ),
        (
            workload_entry("{address: 1.2.3.4, ports: {A_b: 80}}"),
            &[r#"4: WorkloadEntry/default/w: spec.ports[A_b]: "A_b" is not a port's name (letters, digits and "-")"#],
        ),
    ]);
}

#[test]
fn kubernetes() {
    check(&[
        (service("{type: ExternalName, externalName: A.com., ports: [{port: 80}]}"), &[r#"4: Service/default/web: spec.externalName: note: no service is registered as "a.com": name servers are asked where it is (Istio itself has no cluster for it; a ServiceEntry for the host makes it one)"#]),
        (service("{type: ExternalName}"), &[r#"4: Service/default/web: spec: "externalName" is required"#]),
        (service("{type: ExternalName, externalName: 10.0.0.1}"), &[r#"4: Service/default/web: spec.externalName: "10.0.0.1" is an address, and must be a host name (write an EndpointSlice for addresses)"#]),
        (service("{type: ExternalName, externalName: a..com}"), &[r#"4: Service/default/web: spec.externalName: host "a..com" is not a host name"#]),
        (service("{type: ExternalName, externalName: web.default.svc.cluster.local}"), &["4: Service/default/web: spec.externalName: leads back to itself: no service is behind it (write the name of another host)"]),
        (service(r#"{ports: [{name: a}, {port: 80}, {port: 80}, {port: x}, {port: 53, protocol: UDP}, {port: 81, targetPort: 0}, {port: 82, targetPort: ""}]}"#), &[r#"4: Service/default/web: spec.ports[0]: "port" is required"#, "4: Service/default/web: spec.ports[2]: a second port 80 (give each port its own number)", "4: Service/default/web: spec.ports[3].port: must be a whole number, not a string", "4: Service/default/web: spec.ports[5].targetPort: must be between 1 and 65535, not 0", "4: Service/default/web: spec.ports[6].targetPort: must not be empty"]),
        (both(&service("{ports: [{port: 80, targetPort: web}], selector: {a: b}}"), &workload_entry("{address: 1.2.3.4, labels: {a: b}}")), &[r#"4: Service/default/web: spec.ports: warning: no workload says where it serves port 80 (give their "ports" the name "web")"#]),
        ("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a}\nendpoints: []\n".to_owned(), &[r#"1: EndpointSlice/default/a: warning: belongs to no Service: it has no label "kubernetes.io/service-name" (give it the Service's name)"#]),
        ("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a, labels: {kubernetes.io/service-name: web}}\naddressType: IPv5\n".to_owned(), &[r#"4: EndpointSlice/default/a: addressType: "IPv5" is not one of IPv4, IPv6, FQDN (did you mean "IPv4"?)"#]),
        ("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a, labels: {kubernetes.io/service-name: web}}\naddressType: FQDN\n".to_owned(), &[r#"4: EndpointSlice/default/a: addressType: warning: host names are no endpoints of a Service: no effect (write a ServiceEntry with "resolution: DNS", or a Service of type ExternalName)"#]),
        ("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a, labels: {kubernetes.io/service-name: web}}\naddressType: IPv4\nendpoints: [{addresses: [x]}]\nports: [{name: http}]\n".to_owned(), &[r#"5: EndpointSlice/default/a: endpoints[0].addresses[0]: "x" is not an IP address"#, r#"6: EndpointSlice/default/a: ports[0]: "port" is required"#]),
    ]);
}

/// Another name for a service: rules are for the service, and its ports are the service's.
#[test]
fn other_names() {
    let entry = service_entry(
        "{hosts: [a.com], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}, {number: 81, name: b, protocol: HTTP}], endpoints: [{address: 127.0.0.1}]}",
    );
    let alias = |spec: &str| {
        both(
            &entry,
            &format!(
                "apiVersion: v1\nkind: Service\nmetadata: {{name: other}}\nspec: {{type: ExternalName, externalName: a.com{spec}}}\n"
            ),
        )
    };
    check(&[
        (both(&destination("{host: other, port: {number: 80}}"), &alias("")), &[]),
        (both(&destination("{host: other}"), &alias(", ports: [{port: 81}]")), &[]),
        (
            both(&destination("{host: other}"), &alias(", ports: [{port: 82}]")),
            &[
                "8: VirtualService/default/v: spec.http[0].route[0].destination.host: 82 is not a port of a.com: requests get 503 NC [IST0101] (its ports: 80, 81)",
            ],
        ),
        (
            both(&alias(""), &destination_rule("{host: other, trafficPolicy: {loadBalancer: {simple: RANDOM}}}")),
            &[
                r#"14: DestinationRule/default/d: spec.host: warning: "other.default.svc.cluster.local" is another name of a.com: no effect (write the rule for "a.com")"#,
            ],
        ),
        (
            both(
                &alias(""),
                &istio(
                    "ServiceEntry",
                    "t",
                    "{hosts: [other.default.svc.cluster.local], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}]}",
                ),
            ),
            &[
                r#"14: ServiceEntry/default/t: spec.hosts[0]: warning: host "other.default.svc.cluster.local" is already declared by Service/default/other (<stdin>:6) (its ports and endpoints there are used, these are not)"#,
            ],
        ),
    ]);
}

/// A ServiceEntry without endpoints of its own, and what may not send there.
#[test]
fn where_requests_say_themselves_where_they_go() {
    let ports = "ports: [{number: 80, name: http, protocol: HTTP}]";
    let own = service_entry(&format!("{{hosts: [out.example.net], {ports}}}"));
    let dynamic = service_entry(&format!("{{hosts: ['*.example.net'], resolution: DYNAMIC_DNS, {ports}}}"));
    let loops = r#"8: VirtualService/default/v: spec.http[0].route[0].destination.host: out.example.net has resolution NONE: at a gateway that is no address, and its requests would come back to it (write "resolution: DNS" in ServiceEntry/default/s)"#;
    let later = loops.replacen('8', "9", 1);
    let any_port = r#"5: VirtualService/default/v: spec.hosts[0]: note: no service is registered as "a.example.com": the rules apply on every port (Istio itself applies them on port 80 only)"#;
    let at = |gateways: &str, rule: &str| {
        let mesh = proxy("{mesh: {listen: '127.0.0.1:15001'}, mirrorHostSuffix: ''}");
        let spec = format!(
            "\n  hosts: [a.example.com]\n  gateways: {gateways}\n  http:\n  - {rule}\n    route: [{{destination: {{host: \
             out.example.net}}}}]\n  - redirect: {{uri: /}}"
        );
        both(&both(&virtual_service_spec(&spec), &own), &mesh)
    };
    check(&[
        (both(&destination("{host: out.example.net}"), &own), &[loops]),
        (at("[g, mesh]", "match: [{gateways: [mesh]}, {uri: {prefix: /a}, gateways: [g]}]"), &[any_port, &later]),
        (at("[g, mesh]", "match: [{uri: {prefix: /a}}]"), &[any_port, &later]),
        (at("[g, mesh]", "match: [{gateways: [mesh]}]"), &[any_port]),
        (at("[mesh]", "match: [{uri: {prefix: /a}}]"), &[any_port]),
        (both(&destination("{host: '*.example.net'}"), &dynamic), &[]),
        (both(&both(&rule("mirror: {host: '*.example.net'}"), &dynamic), &proxy("{mirrorHostSuffix: ''}")), &[]),
        (
            both(&rule("mirror: {host: '*.example.net'}"), &dynamic),
            &[
                r#"8: VirtualService/default/v: spec.http[0].mirror.host: warning: *.example.net has no endpoints of its own: copies go to the host that the request names, and have "-shadow" after its name in their Host (write the Proxy's mirrorHostSuffix: "")"#,
                r#"8: VirtualService/default/v: spec.http[0].mirror: note: copies have "-shadow" after the name in their Host (where the mirror routes by Host, write the Proxy's mirrorHostSuffix: "")"#,
            ],
        ),
        (
            both(&both(&rule("mirror: {host: out.example.net}"), &own), &proxy("{mirrorHostSuffix: ''}")),
            &[
                r#"8: VirtualService/default/v: spec.http[0].mirror.host: out.example.net has resolution NONE: at a gateway that is no address, and its requests would come back to it (write "resolution: DNS" in ServiceEntry/default/s)"#,
            ],
        ),
    ]);
}

/// What istioctl's profiles write into the mesh's ConfigMap, and what people add to it.
#[test]
fn a_mesh_config_of_a_cluster_loads() {
    let silent = r#"{meshConfig: {
        accessLogFile: /dev/stdout,
        defaultConfig: {
            discoveryAddress: "istiod.istio-system.svc:15012", proxyMetadata: {ISTIO_META_DNS_CAPTURE: "true"}, meshId: mesh1,
            holdApplicationUntilProxyStarts: true, image: {imageType: distroless}, statusPort: 15020, proxyAdminPort: 15000,
            configPath: ./etc/istio/proxy, binaryPath: /usr/local/bin/envoy, serviceCluster: istio-proxy, interceptionMode: REDIRECT,
            statNameLength: 189, controlPlaneAuthPolicy: MUTUAL_TLS, concurrency: 2, proxyStatsMatcher: {inclusionPrefixes: [a]},
            readinessProbe: {}, fileFlushInterval: 1s, availabilityZone: a, tracing: {sampling: 1}},
        defaultProviders: {metrics: [prometheus], accessLogging: [envoy]}, enablePrometheusMerge: true, rootNamespace: istio-system,
        trustDomain: cluster.local, trustDomainAliases: [old.local], ingressClass: istio, ingressControllerMode: STRICT,
        ingressService: istio-ingressgateway, ingressSelector: ingressgateway, proxyListenPort: 15001, proxyHttpPort: 15002,
        extensionProviders: [{name: otel, envoyOtelAls: {service: a.b, port: 4317}}, {name: prometheus, prometheus: {}}],
        discoverySelectors: [{matchLabels: {a: b}}], serviceSettings: [], configSources: [{address: "k8s://"}],
        certificates: [], caCertificates: [], ca: {}, meshMTLS: {minProtocolVersion: TLSV1_3}, hboneIdleTimeout: 1h,
        inboundTrafficPolicy: {mode: LOCALHOST}, verifyCertificateAtClient: true, disableEnvoyListenerLog: false, serviceScopeConfigs: [],
        dnsRefreshRate: 60s, enableTracing: true, outboundTrafficPolicy: {mode: ALLOW_ANY}, protocolDetectionTimeout: 0s}}"#;
    check(&[
        (proxy(silent), &[]),
        (
            proxy(
                "{meshConfig: {enableAutoMtls: true, inboundClusterStatName: '%SERVICE%', h2UpgradePolicy: UPGRADE, defaultConfig: {terminationDrainDuration: 5s, zipkinAddress: 'a:1', extraStatTags: [a], tracing: {zipkin: {address: 'a:1'}, customTags: {}}}}}",
            ),
            &[
                r#"4: Proxy/default/edge: spec.meshConfig.enableAutoMtls: warning: "enableAutoMtls" has no effect: mutual TLS is where a DestinationRule asks for it, and nowhere else"#,
                r#"4: Proxy/default/edge: spec.meshConfig.inboundClusterStatName: warning: "inboundClusterStatName" has no effect: statistics go by Envoy's own names of clusters"#,
                r#"4: Proxy/default/edge: spec.meshConfig.defaultConfig.terminationDrainDuration: warning: "terminationDrainDuration" has no effect: drainDuration says how long requests may take after SIGTERM"#,
                r#"4: Proxy/default/edge: spec.meshConfig.defaultConfig.zipkinAddress: warning: "zipkinAddress" has no effect: traces are passed on and sampled, and no spans are sent"#,
                r#"4: Proxy/default/edge: spec.meshConfig.defaultConfig.extraStatTags: warning: "extraStatTags" has no effect: statistics are at /stats and /stats/prometheus"#,
                r#"4: Proxy/default/edge: spec.meshConfig.defaultConfig.tracing.zipkin: warning: "zipkin" has no effect: traces are passed on and sampled, and no spans are sent"#,
                r#"4: Proxy/default/edge: spec.meshConfig.defaultConfig.tracing.customTags: warning: "customTags" has no effect: traces are passed on and sampled, and no spans are sent"#,
                r#"4: Proxy/default/edge: spec.meshConfig.h2UpgradePolicy: warning: "UPGRADE" has no effect: connections to upstreams speak HTTP/1.1"#,
            ],
        ),
    ]);
}

#[test]
fn the_proxy() {
    check(&[
        (
            proxy(r#"{cpus: 0, driver: uring, bind: localhost, admin: 15000, serverHeader: "a\nb", prots: {}}"#),
            &[
                r#"4: Proxy/default/edge: spec.prots: unknown field "prots" in Proxy (did you mean "ports"?)"#,
                r#"4: Proxy/default/edge: spec.driver: "uring" is not one of auto, io_uring, epoll"#,
                r#"4: Proxy/default/edge: spec.bind: "localhost" is not an IP address (write it like 0.0.0.0)"#,
                r#"4: Proxy/default/edge: spec.admin: must be an address with a port (write it like 127.0.0.1:15000, or "off")"#,
                "4: Proxy/default/edge: spec.serverHeader: must be printable ASCII without space at its ends (it is sent as a header's value)",
                "4: Proxy/default/edge: spec.cpus: must be between 1 and 8192, not 0",
            ],
        ),
        (
            proxy(r#"{mirrorHostSuffix: "-shadow\r\nx-a: b"}"#),
            &[
                r#"4: Proxy/default/edge: spec.mirrorHostSuffix: "-shadow\r\nx-a: b" cannot stand in a Host: it takes letters, digits, "-", "." and "_" (write it like "-shadow")"#,
            ],
        ),
        (
            proxy("{cpus: []}"),
            &[
                "4: Proxy/default/edge: spec.cpus: must be a number of CPUs or a list of them (leave it out for all CPUs)",
            ],
        ),
        (
            proxy("{cpus: [0, 0, -1]}"),
            &[
                "4: Proxy/default/edge: spec.cpus[1]: CPU 0 is listed twice (one worker runs on each CPU)",
                "4: Proxy/default/edge: spec.cpus[2]: must be between 0 and 8191, not -1",
            ],
        ),
        (
            proxy("{ports: {80: 8080, x: 1, 81: 8080, 82: 0}}"),
            &[
                r#"4: Proxy/default/edge: spec.ports[x]: "x" is not a port (write "gateway port: port bound here")"#,
                "4: Proxy/default/edge: spec.ports[81]: port 8080 is bound for Gateway port 80 already",
                "4: Proxy/default/edge: spec.ports[82]: must be between 1 and 65535, not 0",
                "4: Proxy/default/edge: spec.ports[80]: warning: no Gateway that is served has a port 80",
            ],
        ),
        (proxy(r#"{admin: off, mesh: {listen: "127.0.0.1:15001"}}"#), &[]),
        (
            proxy(
                "{dns: {servers: [localhost, 127.0.0.1:0, 1.1.1.1], timeout: 0s, attempts: 6, hosts: {a_b: 1.2.3.4, a.com: [], b.com: [1.2.3.4:80, 1.2.3.4:99999]}, host: {}}}",
            ),
            &[
                r#"4: Proxy/default/edge: spec.dns.host: unknown field "host" in Dns (did you mean "hosts"?)"#,
                r#"4: Proxy/default/edge: spec.dns.hosts[a_b]: host "a_b" is not a host name (write a full name)"#,
                "4: Proxy/default/edge: spec.dns.hosts[a.com]: has no address (write it like 127.0.0.1 or 127.0.0.1:8000)",
                r#"4: Proxy/default/edge: spec.dns.hosts[b.com][1]: "1.2.3.4:99999" is not an address (write it like 127.0.0.1 or 127.0.0.1:53)"#,
                r#"4: Proxy/default/edge: spec.dns.servers[0]: "localhost" is not an address (write it like 127.0.0.1 or 127.0.0.1:53)"#,
                r#"4: Proxy/default/edge: spec.dns.servers[1]: "127.0.0.1:0" is not an address (write it like 127.0.0.1 or 127.0.0.1:53)"#,
                r#"4: Proxy/default/edge: spec.dns.timeout: "0s" is shorter than 1ms (leave the field out for its default)"#,
                "4: Proxy/default/edge: spec.dns.attempts: must be between 0 and 5, not 6",
            ],
        ),
        (proxy("{dns: {}, meshConfig: {dnsRefreshRate: 5s}}"), &[]),
        (proxy("{mesh: {}}"), &[r#"4: Proxy/default/edge: spec.mesh: "listen" is required"#]),
        (
            proxy("{mesh: {listen: 15001}}"),
            &[
                "4: Proxy/default/edge: spec.mesh.listen: must be an address with a port (write it like 127.0.0.1:15001)",
            ],
        ),
        (proxy(r#"{admin: off, mesh: {listen: "127.0.0.1:15001", allowLocal: true}}"#), &[]),
        (
            proxy(r#"{mesh: {listen: "127.0.0.1:15001", allowLocl: true}}"#),
            &[
                r#"4: Proxy/default/edge: spec.mesh.allowLocl: unknown field "allowLocl" in Mesh (did you mean "allowLocal"?)"#,
            ],
        ),
        (
            proxy(r#"{mesh: {listen: "127.0.0.1:15001", allowLocal: maybe}}"#),
            &[r#"4: Proxy/default/edge: spec.mesh.allowLocal: must be true or false, not a string"#],
        ),
        (
            proxy("{mesh: {listen: localhost}}"),
            &[
                r#"4: Proxy/default/edge: spec.mesh.listen: "localhost" is not an address with a port (write it like 127.0.0.1:15001)"#,
            ],
        ),
        (
            proxy(
                "{meshConfig: {pathNormalization: {normalization: ALL}, rootNamespace: A, defaultServiceExportTo: ['*', a]}}",
            ),
            &[
                r#"4: Proxy/default/edge: spec.meshConfig.pathNormalization.normalization: "ALL" is not one of DEFAULT, NONE, BASE, MERGE_SLASHES, DECODE_AND_MERGE_SLASHES"#,
                r#"4: Proxy/default/edge: spec.meshConfig.rootNamespace: "A" is not a namespace (lower-case letters, digits and "-")"#,
                r#"4: Proxy/default/edge: spec.meshConfig.defaultServiceExportTo[0]: "*" cannot stand beside others (keep one of them)"#,
            ],
        ),
        (
            proxy(
                "{limits: {headersTimeout: 0s, bodyTimeout: 30, idleTimeout: 1 hour, maxHeaderBytes: 1, maxHeaders: 0, maxConnections: many}}",
            ),
            &[
                "4: Proxy/default/edge: spec.limits.maxConnections: must be a whole number, not a string",
                r#"4: Proxy/default/edge: spec.limits.headersTimeout: "0s" is shorter than 1ms (leave the field out for its default)"#,
                "4: Proxy/default/edge: spec.limits.bodyTimeout: must be a duration, not a number (give it a unit: 30s)",
                r#"4: Proxy/default/edge: spec.limits.idleTimeout: "1 hour" is not a duration (write it like 1h, 1m30s, 1.5s or 100ms)"#,
                "4: Proxy/default/edge: spec.limits.maxHeaderBytes: must be between 1024 and 16777216, not 1",
                "4: Proxy/default/edge: spec.limits.maxHeaders: must be between 1 and 10000, not 0",
            ],
        ),
        (
            proxy("{limits: {headersTimeout: 1500us, bodyTimeout: -1s}}"),
            &[
                r#"4: Proxy/default/edge: spec.limits.headersTimeout: "1500us" is not a whole number of milliseconds (write it like 1h, 1m30s, 1.5s or 100ms)"#,
                r#"4: Proxy/default/edge: spec.limits.bodyTimeout: "-1s" must not be negative (write it like 1h, 1m30s, 1.5s or 100ms)"#,
            ],
        ),
        (
            proxy(
                "{meshConfig: {accessLogEncoding: JSON, connectTimeout: 2h, outboundTrafficPolicy: {mode: ALLOW_ALL, tls: {}}, enableTracing: maybe, defaultConfig: {concurrency: -1, drainDuration: 5, statusPort: 15020, tracing: {sampling: 101, zipkin: {}}}}}",
            ),
            &[
                r#"4: Proxy/default/edge: spec.meshConfig.defaultConfig.tracing.zipkin: warning: "zipkin" has no effect: traces are passed on and sampled, and no spans are sent"#,
                "4: Proxy/default/edge: spec.meshConfig.defaultConfig.tracing.sampling: must be between 0 and 100, not 101",
                "4: Proxy/default/edge: spec.meshConfig.defaultConfig.concurrency: must be between 0 and 8192, not -1",
                "4: Proxy/default/edge: spec.meshConfig.defaultConfig.drainDuration: must be a duration, not a number (give it a unit: 5s)",
                "4: Proxy/default/edge: spec.meshConfig.connectTimeout: must be at most 1h",
                r#"4: Proxy/default/edge: spec.meshConfig.outboundTrafficPolicy.tls: "tls" is not enforced by ringway yet (remove it)"#,
                r#"4: Proxy/default/edge: spec.meshConfig.outboundTrafficPolicy.mode: "ALLOW_ALL" is not one of ALLOW_ANY, REGISTRY_ONLY, ALLOW_ANY_DYNAMIC_DNS (did you mean "ALLOW_ANY"?)"#,
                "4: Proxy/default/edge: spec.meshConfig.enableTracing: must be true or false, not a string",
            ],
        ),
        (
            r#"apiVersion: ringway.dev/v1
kind: Proxy
metadata: {name: edge, labels: {a: b}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g}
spec: {selector: {a: c}, servers: [{port: {number: 80, name: h, protocol: HTTP}, hosts: [a.com]}]}
"#
            .to_owned(),
            &[
                r#"3: Proxy/default/edge: metadata.labels: warning: no Gateway's selector matches these labels: nothing is served (take the labels of a Gateway's "selector")"#,
            ],
        ),
        (
            both(
                &proxy("{ports: {80: 8080, 443: 8443}}"),
                &gateway("{port: {number: 80, name: h, protocol: HTTP}, hosts: [a.com]}"),
            ),
            &["4: Proxy/default/edge: spec.ports[443]: warning: no Gateway that is served has a port 443"],
        ),
    ]);
}
