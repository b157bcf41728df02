//! Documents that have a mapping of every message that is read, and what becomes of a stray key in each of them.

use std::collections::BTreeSet;

use ringway::istio::KINDS;
use ringway::istio::problem::Severity;
use serde_yaml::{Mapping, Value};

use super::problems;

/// A world that is served, with most of what can be written in it.
pub(super) const WORLD: &str = r#"
apiVersion: ringway.dev/v1
kind: Proxy
metadata: {name: edge, labels: {istio: ingressgateway}, annotations: {note: full}}
spec:
  ports: {80: 8080}
  mesh: {listen: "127.0.0.1:15001", allowLocal: false}
  limits: {headersTimeout: 10s, maxHeaders: 50}
  dns: {servers: [127.0.0.1], timeout: 1s, attempts: 1, hosts: {a.example: [10.9.9.9]}}
  meshConfig:
    accessLogFile: /dev/stdout
    outboundTrafficPolicy: {mode: REGISTRY_ONLY}
    pathNormalization: {normalization: BASE}
    tcpKeepalive: {time: 10s}
    defaultHttpRetryPolicy: {attempts: 2, retryOn: connect-failure}
    localityLbSetting: {enabled: true}
    defaultTrafficPolicy: {connectionPool: {tcp: {maxConnections: 1000}}, outlierDetection: {interval: 10s}}
    defaultConfig: {drainDuration: 5s, tracing: {sampling: 1}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  selector: {istio: ingressgateway}
  servers:
  - name: web
    port: {number: 80, name: http, protocol: HTTP}
    hosts: ["*.example.com"]
  - port: {number: 443, name: tls, protocol: TLS}
    tls: {mode: PASSTHROUGH}
    hosts: ["*.example.com"]
  - port: {number: 5432, name: tcp, protocol: TCP}
    hosts: ["*"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: app}
spec:
  hosts: [app.example.com]
  gateways: [gw]
  exportTo: ["*"]
  http:
  - name: first
    match:
    - name: block
      uri: {prefix: /a/}
      method: {exact: GET}
      scheme: {exact: http}
      authority: {prefix: app}
      headers: {x-user: {exact: anna}}
      withoutHeaders: {x-bot: {regex: ".+"}}
      queryParams: {page: {exact: one}}
      port: 80
      statPrefix: a
    - uri: {exact: /b/}
      gateways: [default/gw]
    rewrite: {authority: inner.example.com, uriRegexRewrite: {match: "^/a/(.*)", rewrite: '/\1'}}
    timeout: 8s
    retries: {attempts: 3, perTryTimeout: 2s, retryOn: "connect-failure,reset", backoff: 50ms}
    mirrors:
    - destination: {host: app, subset: v2, port: {number: 8000}}
      percentage: {value: 5}
    corsPolicy:
      allowOrigins: [{exact: "https://example.com"}]
      allowMethods: [GET]
      allowHeaders: [x-user]
      exposeHeaders: [x-took]
      maxAge: 1h
      allowCredentials: true
      unmatchedPreflights: IGNORE
    headers:
      request: {set: {x-one: "1"}, add: {x-two: "2"}, remove: [x-three]}
      response: {set: {x-four: "4"}, remove: [x-five]}
    route:
    - destination: {host: app, subset: v1, port: {number: 8000}}
      weight: 90
      headers: {request: {set: {x-six: "6"}}}
    - destination: {host: app, subset: v2, port: {number: 8000}}
      weight: 10
  - match: [{uri: {prefix: /fault/}}]
    fault:
      delay: {fixedDelay: 1s, percentage: {value: 10}}
      abort: {httpStatus: 500, percentage: {value: 10}}
    route: [{destination: {host: app, subset: v1, port: {number: 8000}}}]
  - match: [{uri: {prefix: /old/}}]
    redirect: {uri: /new/, authority: www.example.com, scheme: https, redirectCode: 302, port: 8443}
  - match: [{uri: {exact: /health}}]
    directResponse: {status: 200, body: {string: fine}}
  - match: [{uri: {prefix: /team/}}]
    delegate: {name: team, namespace: default}
  - mirror: {host: app, subset: v2, port: {number: 8000}}
    mirrorPercentage: {value: 1}
    rewrite: {uri: /}
    route: [{destination: {host: app, subset: v1, port: {number: 8000}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: team}
spec:
  http:
  - match: [{uri: {prefix: /team/a/}}]
    route: [{destination: {host: app, port: {number: 8000}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: streams}
spec:
  hosts: [db.example.com]
  gateways: [gw]
  tls:
  - match: [{sniHosts: [db.example.com], port: 443}]
    route: [{destination: {host: db, port: {number: 5432}}, weight: 100}]
  tcp:
  - match: [{port: 5432, gateways: [gw]}]
    route: [{destination: {host: db, port: {number: 5432}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: app}
spec:
  host: app
  exportTo: ["."]
  workloadSelector: {matchLabels: {istio: ingressgateway}}
  trafficPolicy:
    loadBalancer:
      consistentHash:
        httpCookie: {name: user, path: /, ttl: 0s, attributes: [{name: SameSite, value: Lax}]}
        ringHash: {minimumRingSize: 512}
    connectionPool:
      tcp: {maxConnections: 100, connectTimeout: 1s, tcpKeepalive: {probes: 3, time: 60s, interval: 10s}, idleTimeout: 1h}
      http: {http1MaxPendingRequests: 10, maxRequestsPerConnection: 100, maxRetries: 3, idleTimeout: 30s}
    outlierDetection: {consecutive5xxErrors: 5, interval: 10s, baseEjectionTime: 30s, maxEjectionPercent: 100}
    retryBudget: {percent: 20, minRetryConcurrency: 3}
  subsets:
  - name: v1
    labels: {version: v1}
    trafficPolicy:
      loadBalancer:
        simple: ROUND_ROBIN
        warmup: {duration: 10s}
        localityLbSetting: {enabled: true, failover: [{from: eu, to: us}]}
      portLevelSettings:
      - port: {number: 8000}
        loadBalancer: {simple: RANDOM}
        connectionPool: {tcp: {maxConnections: 10}}
  - name: v2
    labels: {version: v2}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: far}
spec:
  host: far.example.org
  trafficPolicy:
    loadBalancer:
      consistentHash: {useSourceIp: true, maglev: {tableSize: 503}}
      localityLbSetting: {distribute: [{from: eu, to: {eu: 80, us: 20}}]}
    tls: {mode: SIMPLE, sni: far.example.org, subjectAltNames: [far.example.org]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: far}
spec:
  hosts: [far.example.org]
  location: MESH_EXTERNAL
  resolution: STATIC
  addresses: [10.8.8.8]
  ports: [{number: 443, name: https, protocol: HTTP, targetPort: 8443}]
  endpoints:
  - address: 10.7.7.1
    ports: {https: 8443}
    labels: {zone: one}
    locality: eu/west
    weight: 2
  subjectAltNames: [far.example.org]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db}
spec:
  hosts: [db.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  addresses: [10.8.8.9]
  ports: [{number: 5432, name: tcp, protocol: TCP}]
  workloadSelector: {labels: {app: db}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: db, labels: {app: db}}
spec: {address: 10.7.7.2}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: v1}
spec:
  address: 10.7.7.3
  ports: {http: 8001}
  labels: {app: app, version: v1}
  locality: eu/west
  weight: 1
  serviceAccount: app
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: v2}
spec: {address: 10.7.7.4, labels: {app: app, version: v2}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: edge}
spec:
  workloadSelector: {labels: {istio: ingressgateway}}
  egress: [{hosts: ["*/*"]}]
  ingress:
  - port: {number: 9080, protocol: HTTP, name: http}
    defaultEndpoint: 127.0.0.1:9081
    connectionPool: {tcp: {maxConnections: 10}}
  inboundConnectionPool: {http: {http1MaxPendingRequests: 10}}
  outboundTrafficPolicy: {mode: REGISTRY_ONLY}
---
apiVersion: v1
kind: Service
metadata: {name: app}
spec:
  type: ClusterIP
  clusterIP: 10.6.6.1
  selector: {app: app}
  ports: [{name: http, port: 8000, targetPort: 8000, protocol: TCP, appProtocol: http}]
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 10}}
"#;

/// What is not part of a world that is served: what is not enforced, what has no effect, what Kubernetes writes.
const REST: &str = r#"
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: other
  generateName: other-
  uid: u
  resourceVersion: "1"
  generation: 1
  creationTimestamp: "2026-01-01T00:00:00Z"
  deletionTimestamp: null
  deletionGracePeriodSeconds: 30
  selfLink: /x
  clusterName: c
  ownerReferences: [{apiVersion: v1, kind: Pod, name: p, uid: u, controller: true, blockOwnerDeletion: true}]
  finalizers: [a]
  managedFields:
  - {manager: kubectl, operation: Update, apiVersion: v1, time: t, fieldsType: FieldsV1, fieldsV1: {"f:spec": {}}, subresource: status}
spec:
  servers:
  - port: {number: 444, name: https, protocol: HTTPS}
    hosts: ["*"]
    tls: {mode: SIMPLE, tlsCertificates: [{serverCertificate: a, privateKey: b}]}
status: {anything: {goes: here}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: other}
spec:
  host: app
  trafficPolicy:
    tunnel: {protocol: CONNECT, targetHost: a.com, targetPort: 443}
    proxyProtocol: {version: V1}
    connectionPool: {http: {http2KeepAlive: {interval: 1s, timeout: 1s}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: group}
spec:
  metadata: {labels: {app: a}, annotations: {b: c}}
  template: {ports: {http: 80}, serviceAccount: sa}
  probe: {periodSeconds: 1, httpGet: {path: /, port: 80, httpHeaders: [{name: a, value: b}]}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: group-tcp}
spec: {template: {}, probe: {tcpSocket: {port: 80, host: a}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: group-exec}
spec: {template: {}, probe: {exec: {command: [a]}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: group-grpc}
spec: {template: {}, probe: {grpc: {port: 80, service: a}}}
---
apiVersion: v1
kind: List
metadata: {resourceVersion: ""}
items:
- apiVersion: v1
  kind: Endpoints
  metadata: {name: old}
  subsets:
  - addresses: [{ip: 10.5.5.1, hostname: a, nodeName: b, targetRef: {kind: Pod, name: pod}}]
    notReadyAddresses: [{ip: 10.5.5.2}]
    ports: [{name: http, port: 80, protocol: TCP, appProtocol: http}]
- apiVersion: v1
  kind: Secret
  metadata: {name: secret}
  type: Opaque
  stringData: {a: b}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: slice, labels: {kubernetes.io/service-name: old}}
addressType: IPv4
endpoints:
- addresses: [10.5.5.3]
  conditions: {ready: true, serving: true, terminating: false}
  hostname: a
  nodeName: b
  zone: c
  hints: {forZones: [{name: c}]}
  targetRef: {kind: Pod, name: pod, namespace: default}
ports: [{name: http, port: 80, protocol: TCP}]
---
apiVersion: v1
kind: Pod
metadata: {name: pod}
spec: {containers: [{name: a}]}
status: {podIP: 10.5.5.3}
"#;

/// Mappings whose keys are data.
const DATA: [&str; 13] = [
    "labels",
    "annotations",
    "matchLabels",
    "selector",
    "withoutHeaders",
    "queryParams",
    "set",
    "add",
    "ports",
    "to",
    "hosts",
    "data",
    "stringData",
];

pub(super) fn documents(text: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(text)
        .map(|document| <Value as serde::Deserialize>::deserialize(document).expect("good YAML"))
        .filter(|document| !document.is_null())
        .collect()
}

pub(super) fn text(documents: &[Value]) -> Vec<u8> {
    let texts = documents.iter().map(|document| serde_yaml::to_string(document).expect("a document"));
    texts.collect::<Vec<_>>().join("---\n").into_bytes()
}

/// Calls `with` on each mapping below `value`, with the keys that lead there.
fn each_mapping(value: &mut Value, way: &mut Vec<String>, with: &mut dyn FnMut(&[String], &mut Mapping)) {
    match value {
        Value::Mapping(map) => {
            with(way, map);
            for (key, value) in map.iter_mut() {
                let key = match key {
                    Value::String(key) => key.clone(),
                    other => format!("{other:?}"),
                };
                way.push(key);
                each_mapping(value, way, with);
                way.pop();
            }
        }
        Value::Sequence(items) => {
            for item in items {
                way.push("[]".to_owned());
                each_mapping(item, way, with);
                way.pop();
            }
        }
        _ => {}
    }
}

/// Whether a mapping's keys are fields.
fn has_fields(kind: &str, way: &[String]) -> bool {
    let Some(last) = way.last() else { return true };
    let of_pod = kind == "Pod" && way.first().is_some_and(|first| first == "spec" || first == "status");
    // An item of a list, and the operations of `headers`, are messages; a condition of a `headers` is, too.
    let is_data = match last.as_str() {
        "[]" => false,
        "headers" => way.iter().any(|key| key == "match"),
        own => DATA.contains(&own),
    };
    !is_data && !of_pod && !way.iter().any(|key| ["status", "fieldsV1"].contains(&key.as_str()))
}

#[test]
fn no_stray_key_is_silent() {
    let all = documents(&format!("{WORLD}{REST}"));
    let mut tables = BTreeSet::new();
    let mut silent = Vec::new();
    for document in &all {
        let kind = document["kind"].as_str().expect("a kind").to_owned();
        let mut mappings = 0;
        each_mapping(&mut document.clone(), &mut Vec::new(), &mut |_, _| mappings += 1);
        for wanted in 0..mappings {
            let (mut at, mut place, mut changed) = (0, None, document.clone());
            each_mapping(&mut changed, &mut Vec::new(), &mut |way, map| {
                // Items of a list are documents, which have their own kind.
                let kind = map.get("kind").and_then(Value::as_str).unwrap_or(&kind).to_owned();
                if at == wanted && has_fields(&kind, way) {
                    map.insert("straay".into(), "x".into());
                    place = Some(way.join("."));
                }
                at += 1;
            });
            let Some(place) = place else { continue };
            let found = problems(&text(&[changed]), false);
            let stray = found.iter().find(|problem| problem.path.ends_with("straay"));
            match stray.filter(|stray| stray.severity == Severity::Error) {
                Some(stray) => {
                    let (_, table) = stray.what.split_once("\" in ").expect("it names the message");
                    let kind = stray.resource.split('/').next().unwrap_or_default();
                    tables.insert((kind.to_owned(), table.to_owned()));
                }
                None => silent.push(format!("{kind}: {place}")),
            }
        }
    }
    assert!(silent.is_empty(), "{silent:#?}");
    // Every message of every kind has had a stray key in it.
    for kind in KINDS {
        for message in kind.messages() {
            let seen = |(_, table): &(String, String)| table == message.name;
            assert!(tables.iter().any(seen), "no document has {} of {}", message.name, kind.kind);
        }
    }
}

#[test]
fn what_kubectl_prints_of_metadata_is_taken() {
    let other = documents(REST).remove(0);
    let found = problems(&text(&[other]), false);
    assert!(found.iter().all(|problem| !problem.path.starts_with("metadata")), "{found:#?}");
}
