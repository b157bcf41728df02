//! `--permissive` never widens what is served: whatever is left out takes with it the part of the configuration that it
//! may restrict. What requests meet is asked of `explain`, which uses the matcher of the data path.

use ringway::explain::{Question, explain};
use ringway::istio::reader::{State, Without};
use ringway::istio::{KINDS, KindTables, Options, read_text};
use ringway::plan::{Overrides, ProxySettings, compile};
use serde_json::Value;

/// A request to one of the listeners of the worlds below.
#[derive(Debug, Clone, Copy)]
struct Probe {
    gateway: &'static str,
    method: &'static str,
    url: &'static str,
    header: &'static str,
}

const fn probe(gateway: &'static str, url: &'static str) -> Probe {
    Probe { gateway, method: "GET", url, header: "x-none: none" }
}

/// The answers to these requests; `None` if the configuration is not served at all.
fn served(yaml: &str, permissive: bool, probes: &[Probe]) -> Option<Vec<Value>> {
    let (world, problems) = read_text(yaml, Options { permissive });
    let (plan, more) = compile(&world, ProxySettings::resolve(&world.proxy, &Overrides::default()));
    if problems.iter().chain(&more).any(|problem| problem.is_error()) {
        return None;
    }
    let answer = |probe: &Probe| {
        let question = Question {
            method: probe.method.to_owned(),
            url: probe.url.to_owned(),
            headers: vec![probe.header.to_owned()],
            gateway: Some(probe.gateway.to_owned()),
            from: std::net::Ipv4Addr::LOCALHOST.into(),
            stands_for_loopback: None,
        };
        // Without an answer there is no such listener (any more).
        let Ok(answer) = explain(&plan, &world.hidden(), &question) else { return Value::Null };
        let mut verdict = serde_json::from_str::<Value>(&answer.to_json()).expect("JSON")["verdict"].take();
        if let Some(server) = verdict.get_mut("server") {
            server["line"].take();
        }
        verdict
    };
    Some(probes.iter().map(answer).collect())
}

/// Whether nothing is sent on, and nobody is sent elsewhere.
fn is_refused(verdict: &Value) -> bool {
    match verdict["action"].as_str() {
        None => true,
        Some("not_found" | "closed" | "blackhole") => true,
        Some("direct_response") => verdict["status"].as_u64() >= Some(400),
        Some("forward" | "tunnel") => {
            let to = verdict["destinations"].as_array().expect("a list");
            verdict["looks_inside"] != true && to.iter().all(|to| to["found"].is_null() || endpoints(to).is_empty())
        }
        Some(_) => false,
    }
}

/// What a destination's requests may go to.
fn endpoints(destination: &Value) -> Vec<&Value> {
    let list = |name: &str| destination["found"][name].as_array().into_iter().flatten();
    list("endpoints").chain(list("found_by")).collect()
}

/// Whether `narrow` is `wide`, perhaps with fewer endpoints, or refused.
fn is_no_wider(narrow: &Value, wide: &Value) -> bool {
    if is_refused(narrow) {
        return true;
    }
    let (mut narrow, mut wide) = (narrow.clone(), wide.clone());
    let destinations = |verdict: &mut Value| verdict["destinations"].take();
    if let (Value::Array(left), Value::Array(right)) = (destinations(&mut narrow), destinations(&mut wide)) {
        let fewer = left.len() == right.len() && left.iter().zip(&right).all(|(left, right)| is_fewer(left, right));
        if !fewer {
            return false;
        }
    }
    for at in 0..narrow["mirrors"].as_array().map_or(0, Vec::len) {
        if narrow["mirrors"][at]["found"] == false {
            wide["mirrors"][at]["found"] = false.into();
        }
    }
    narrow == wide
}

/// Whether a destination is another one, perhaps with fewer endpoints, or nothing at all.
fn is_fewer(narrow: &Value, wide: &Value) -> bool {
    let known = endpoints(wide);
    let fewer = endpoints(narrow).iter().all(|endpoint| known.contains(endpoint));
    let (mut narrow, mut wide) = (narrow.clone(), wide.clone());
    if narrow["found"].is_null() {
        wide["found"].take();
    } else {
        for name in ["endpoints", "found_by"] {
            narrow["found"][name].take();
            wide["found"][name].take();
        }
    }
    fewer && narrow == wide
}

/// Two Gateway ports, the mesh, a Sidecar's ingress; nothing is wrong with it.
const WORLD: &str = r#"
apiVersion: ringway.dev/v1
kind: Proxy
metadata: {name: edge, labels: {app: edge}}
spec:
  mesh: {listen: "127.0.0.1:15001"}
  meshConfig:
    outboundTrafficPolicy: {mode: REGISTRY_ONLY}
    pathNormalization: {normalization: MERGE_SLASHES}
    defaultConfig: {drainDuration: 5s}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g}
spec:
  selector: {app: edge}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*.a.com", "default/b.com"]}
  - {port: {number: 80, name: redirect, protocol: HTTP}, hosts: [secure.a.com], tls: {httpsRedirect: true}}
  - {port: {number: 443, name: tls, protocol: TLS}, hosts: [t.com], tls: {mode: PASSTHROUGH}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: other, namespace: other}
spec:
  selector: {app: elsewhere}
  servers: [{port: {number: 81, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v}
spec:
  hosts: [x.a.com, b.com]
  gateways: [g]
  http:
  - match: [{uri: {prefix: /closed}}]
    directResponse: {status: 403, body: {string: closed}}
  - match: [{uri: {prefix: /moved}}]
    redirect: {uri: /new, authority: c.com}
  - match: [{uri: {prefix: /faulty}}]
    fault: {abort: {percentage: {value: 100}, httpStatus: 401}}
    route: [{destination: {host: web, port: {number: 80}}}]
  - match: [{uri: {prefix: /split}}]
    timeout: 3s
    retries: {attempts: 1, retryOn: 5xx}
    headers: {request: {remove: [x-admin], set: {x-by: edge}}}
    rewrite: {uri: /}
    mirrors: [{destination: {host: web, subset: v1}, percentage: {value: 1}}]
    corsPolicy: {allowOrigins: [{exact: "https://a.com"}], allowMethods: [GET]}
    route:
    - {destination: {host: web, subset: v1, port: {number: 80}}, weight: 90}
    - {destination: {host: web, subset: v2, port: {number: 80}}, weight: 10, headers: {response: {remove: [x]}}}
  - match: [{uri: {prefix: /delegated}}]
    delegate: {name: d, namespace: default}
  - route: [{destination: {host: out.org, port: {number: 80}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: wide}
spec: {hosts: ["*.a.com"], gateways: [g], http: [{route: [{destination: {host: out.org}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: d}
spec: {http: [{match: [{uri: {prefix: /delegated/x}}], route: [{destination: {host: web, port: {number: 81}}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: t}
spec:
  hosts: [t.com]
  gateways: [g]
  tls: [{match: [{sniHosts: [t.com], port: 443}], route: [{destination: {host: web, port: {number: 82}}}]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: m}
spec:
  hosts: [web]
  exportTo: ["."]
  http:
  - match: [{uri: {prefix: /closed}}]
    directResponse: {status: 403}
  - route: [{destination: {host: web, port: {number: 80}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: r}
spec:
  host: web
  exportTo: ["."]
  workloadSelector: {matchLabels: {app: edge}}
  trafficPolicy:
    loadBalancer: {consistentHash: {httpHeaderName: x-user, ringHash: {minimumRingSize: 8}}}
    connectionPool: {tcp: {maxConnections: 1, tcpKeepalive: {time: 1s}}, http: {maxRetries: 1}}
    outlierDetection: {consecutive5xxErrors: 1, interval: 1s}
    tls: {mode: SIMPLE, sni: web.org, insecureSkipVerify: true}
    retryBudget: {percent: 1}
    portLevelSettings:
    - {port: {number: 81}, connectionPool: {tcp: {maxConnections: 1}}}
    - {port: {number: 82}, connectionPool: {tcp: {maxConnections: 1}}}
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}, trafficPolicy: {tls: {mode: SIMPLE, sni: two.org, insecureSkipVerify: true}}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: out}
spec:
  hosts: [out.org]
  exportTo: ["."]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]
  endpoints: [{address: 10.1.0.1, ports: {http: 81}, labels: {a: b}}, {address: 10.1.0.2}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: named}
spec:
  hosts: [named.org]
  resolution: DNS
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: elsewhere.org}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: w1}
spec: {address: 10.0.0.1, ports: {http: 8080}, labels: {app: web, version: v1}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: w2}
spec: {address: 10.0.0.2, labels: {app: web, version: v2}, weight: 2}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: s}
spec:
  workloadSelector: {labels: {app: edge}}
  egress:
  - {port: {number: 81, protocol: HTTP, name: a}, captureMode: NONE, bind: 127.0.0.1, hosts: ["./web.default.svc.cluster.local"]}
  - {hosts: ["./*"]}
  ingress: [{port: {number: 8000, protocol: HTTP, name: b}, defaultEndpoint: "127.0.0.1:8080", connectionPool: {tcp: {maxConnections: 1}}}]
  outboundTrafficPolicy: {mode: REGISTRY_ONLY}
---
apiVersion: v1
kind: Service
metadata: {name: web, annotations: {networking.istio.io/exportTo: "."}}
spec:
  selector: {app: web}
  ports: [{port: 80, name: http}, {port: 81, name: http-more}, {port: 82, name: tls}]
"#;

const PROBES: &[Probe] = &[
    probe("g", "http://x.a.com:80/closed"),
    probe("g", "http://x.a.com:80/moved"),
    probe("g", "http://x.a.com:80/faulty"),
    probe("g", "http://x.a.com:80/split"),
    probe("g", "http://x.a.com:80/delegated/x"),
    probe("g", "http://x.a.com:80/delegated/y"),
    probe("g", "http://x.a.com:80/"),
    probe("g", "http://y.a.com:80/closed"),
    probe("g", "http://b.com:80/"),
    probe("g", "http://secure.a.com:80/"),
    probe("g", "http://secure.a.com:80/closed"),
    probe("g", "http://other.com:80/"),
    Probe { gateway: "g", method: "CONNECT", url: "t.com:443", header: "x-none: none" },
    Probe { gateway: "g", method: "CONNECT", url: "u.com:443", header: "x-none: none" },
    probe("other/other", "http://x.a.com:81/"),
    probe("mesh", "http://web/"),
    probe("mesh", "http://web/closed"),
    probe("mesh", "http://web:81/"),
    probe("mesh", "http://out.org/"),
    probe("mesh", "http://named.org/"),
    probe("mesh", "http://undeclared.org/"),
    probe("egress:81", "http://web:81/"),
    probe("egress:81", "http://out.org/"),
    probe("ingress:8000", "http://edge/"),
];

/// What is done to a document.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Slip {
    /// A field that nobody knows.
    Unknown,
    /// The field of this name is misspelt.
    Misspelt(String),
}

/// Every way to do that to this value; `path` says where it is.
fn slips(value: &serde_yaml::Value, path: &str, found: &mut Vec<(String, Slip)>) {
    match value {
        serde_yaml::Value::Mapping(mapping) => {
            found.push((path.to_owned(), Slip::Unknown));
            for (key, value) in mapping {
                let key = key.as_str().map(str::to_owned);
                let Some(key) = key else { continue };
                found.push((path.to_owned(), Slip::Misspelt(key.clone())));
                slips(value, &format!("{path}/{key}"), found);
            }
        }
        serde_yaml::Value::Sequence(items) => {
            for (at, item) in items.iter().enumerate() {
                slips(item, &format!("{path}/{at}"), found);
            }
        }
        _ => {}
    }
}

fn apply(value: &mut serde_yaml::Value, path: &str, slip: &Slip) {
    let mut at = value;
    for part in path.split('/').filter(|part| !part.is_empty()) {
        at = match at {
            serde_yaml::Value::Mapping(mapping) => mapping.get_mut(part).expect("a key of the path"),
            serde_yaml::Value::Sequence(items) => &mut items[part.parse::<usize>().expect("a position")],
            other => panic!("{other:?} has no {part}"),
        };
    }
    let mapping = at.as_mapping_mut().expect("a mapping");
    match slip {
        Slip::Unknown => drop(mapping.insert("ringwayKnowsNotThis".into(), 1.into())),
        Slip::Misspelt(key) => {
            let value = mapping.remove(key.as_str()).expect("a key of the mapping");
            mapping.insert(format!("{key}Typo").into(), value);
        }
    }
}

/// Every field of every document misspelt in turn, and a field that nobody knows put beside it: no request gets anything
/// else than before, unless it is refused. What is in a `match` is another matter: a block without one of its conditions
/// goes, and the rules behind it are for whoever does not meet it (see the table below).
#[test]
fn no_slip_serves_more_than_was_written() {
    let documents: Vec<serde_yaml::Value> = serde_yaml::Deserializer::from_str(WORLD)
        .map(|document| serde::Deserialize::deserialize(document).expect("YAML"))
        .collect();
    let text = |documents: &[serde_yaml::Value]| {
        let texts: Vec<_> = documents.iter().map(|one| serde_yaml::to_string(one).expect("YAML")).collect();
        texts.join("---\n")
    };
    let sound = served(&text(&documents), false, PROBES).expect("nothing is wrong with it");
    let refused: Vec<_> = PROBES.iter().zip(&sound).filter(|(_, verdict)| is_refused(verdict)).collect();
    assert_eq!(refused.len(), 7, "{refused:#?}");
    let (mut kept, mut left_out, mut stopped, mut wider) = (0, 0, 0, Vec::new());
    for at in 0..documents.len() {
        let mut all = Vec::new();
        slips(&documents[at], "", &mut all);
        for (path, slip) in all {
            let mut changed = documents.clone();
            apply(&mut changed[at], &path, &slip);
            let changed = text(&changed);
            // Keys that are data have no names to know.
            let (_, problems) = read_text(&changed, Options { permissive: false });
            let unknown = problems.iter().any(|problem| problem.what.starts_with("unknown field"));
            if !unknown || path.contains("/match/") {
                continue;
            }
            let Some(verdicts) = served(&changed, true, PROBES) else {
                stopped += 1;
                continue;
            };
            if verdicts == sound {
                kept += 1
            } else {
                left_out += 1
            }
            for ((probe, verdict), sound) in PROBES.iter().zip(&verdicts).zip(&sound) {
                if !is_no_wider(verdict, sound) {
                    wider.push(format!(
                        "{}{path} {slip:?}: {probe:?}: {verdict} in place of {sound}",
                        documents[at]["kind"].as_str().expect("a kind")
                    ));
                }
            }
        }
    }
    assert!(wider.is_empty(), "{}", wider.join("\n"));
    assert!(left_out > 100 && stopped > 20, "{kept} {left_out} {stopped}");
}

const TLS_CONNECTION: Probe = Probe { gateway: "g", method: "CONNECT", url: "t.com:443", header: "x-none: none" };
const WEB: Probe = probe("g", "http://x.a.com:80/split");
const OUT: Probe = probe("g", "http://x.a.com:80/");
const INGRESS: Probe = probe("ingress:8000", "http://edge/");

/// The text of the world that a field is written into, and a request that would be served without it.
const SERVER: (&str, Probe) = ("tls: {mode: PASSTHROUGH}", TLS_CONNECTION);
const POLICY: (&str, Probe) = ("    tls: {mode: SIMPLE, sni: web.org, insecureSkipVerify: true}\n", WEB);

/// For every field that is not enforced and restricts what is served: `Message.field`, the place, and what is written there.
#[rustfmt::skip] // one field a line
const WITHHELD: &[(&str, (&str, Probe), &str)] = &[
    ("ServerTLSSettings.serverCertificate", SERVER, "tls: {mode: SIMPLE, serverCertificate: a.pem, privateKey: a.key}"),
    ("ServerTLSSettings.privateKey", SERVER, "tls: {mode: SIMPLE, serverCertificate: a.pem, privateKey: a.key}"),
    ("ServerTLSSettings.caCertificates", SERVER, "tls: {mode: MUTUAL, serverCertificate: a.pem, privateKey: a.key, caCertificates: b.pem}"),
    ("ServerTLSSettings.caCrl", SERVER, "tls: {mode: MUTUAL, serverCertificate: a.pem, privateKey: a.key, caCertificates: b.pem, caCrl: c.pem}"),
    ("ServerTLSSettings.credentialName", SERVER, "tls: {mode: SIMPLE, credentialName: a}"),
    ("ServerTLSSettings.credentialNames", SERVER, "tls: {mode: SIMPLE, credentialNames: [a]}"),
    ("ServerTLSSettings.caCertCredentialName", SERVER, "tls: {mode: MUTUAL, credentialName: a, caCertCredentialName: b}"),
    ("ServerTLSSettings.tlsCertificates", SERVER, "tls: {mode: SIMPLE, tlsCertificates: [{serverCertificate: a.pem, privateKey: a.key}]}"),
    ("TLSCertificate.serverCertificate", SERVER, "tls: {mode: SIMPLE, tlsCertificates: [{serverCertificate: a.pem, privateKey: a.key}]}"),
    ("TLSCertificate.privateKey", SERVER, "tls: {mode: SIMPLE, tlsCertificates: [{serverCertificate: a.pem, privateKey: a.key}]}"),
    ("TLSCertificate.caCertificates", SERVER, "tls: {mode: SIMPLE, tlsCertificates: [{serverCertificate: a.pem, privateKey: a.key, caCertificates: b.pem}]}"),
    ("ServerTLSSettings.subjectAltNames", SERVER, "tls: {mode: MUTUAL, credentialName: a, subjectAltNames: [b.com]}"),
    ("ServerTLSSettings.verifyCertificateSpki", SERVER, "tls: {mode: MUTUAL, credentialName: a, verifyCertificateSpki: [b]}"),
    ("ServerTLSSettings.verifyCertificateHash", SERVER, "tls: {mode: MUTUAL, credentialName: a, verifyCertificateHash: [b]}"),
    ("ServerTLSSettings.minProtocolVersion", SERVER, "tls: {mode: SIMPLE, credentialName: a, minProtocolVersion: TLSV1_3}"),
    ("ServerTLSSettings.maxProtocolVersion", SERVER, "tls: {mode: SIMPLE, credentialName: a, maxProtocolVersion: TLSV1_3}"),
    ("ServerTLSSettings.cipherSuites", SERVER, "tls: {mode: SIMPLE, credentialName: a, cipherSuites: [b]}"),
    ("ServerTLSSettings.ecdhCurves", SERVER, "tls: {mode: SIMPLE, credentialName: a, ecdhCurves: [b]}"),
    ("ServerTLSSettings.insecureSkipVerify", SERVER, "tls: {mode: MUTUAL, credentialName: a, insecureSkipVerify: true}"),
    ("TrafficPolicy.tunnel", POLICY, "    tunnel: {protocol: CONNECT, targetHost: a.com, targetPort: 443}\n"),
    ("TunnelSettings.protocol", POLICY, "    tunnel: {protocol: CONNECT, targetHost: a.com, targetPort: 443}\n"),
    ("TunnelSettings.targetHost", POLICY, "    tunnel: {protocol: CONNECT, targetHost: a.com, targetPort: 443}\n"),
    ("TunnelSettings.targetPort", POLICY, "    tunnel: {protocol: CONNECT, targetHost: a.com, targetPort: 443}\n"),
    ("TrafficPolicy.proxyProtocol", POLICY, "    proxyProtocol: {version: V2}\n"),
    ("ProxyProtocol.version", POLICY, "    proxyProtocol: {version: V2}\n"),
    ("WorkloadEntry.network", ("endpoints: [{address: 10.1.0.1, ports: {http: 81}, labels: {a: b}}, {address: 10.1.0.2}]", OUT), "endpoints: [{address: 10.1.0.1, network: vm}]"),
    ("IstioIngressListener.tls", ("protocol: HTTP, name: b}, defaultEndpoint: \"127.0.0.1:8080\"", INGRESS), "protocol: HTTPS, name: b}, defaultEndpoint: \"127.0.0.1:8080\", tls: {mode: SIMPLE, serverCertificate: a.pem, privateKey: a.key}"),
    ("MeshConfig.serviceEntryVisibility", MESH_CONFIG, "serviceEntryVisibility: {}"),
    ("MeshConfig.tlsDefaults", MESH_CONFIG, "tlsDefaults: {minProtocolVersion: TLSV1_3}"),
    ("MeshConfig.OutboundTrafficPolicy.tls", ("{mode: REGISTRY_ONLY}\n    path", OUT), "{mode: REGISTRY_ONLY, tls: {mode: SIMPLE}}\n    path"),
    ("ProxyConfig.gatewayTopology", PROXY_CONFIG, "gatewayTopology: {numTrustedProxies: 1}"),
    ("ProxyConfig.proxyHeaders", PROXY_CONFIG, "proxyHeaders: {server: {disabled: true}}"),
    ("ProxyConfig.connectionSettings", PROXY_CONFIG, "connectionSettings: {}"),
    ("ProxyConfig.runtimeValues", PROXY_CONFIG, "runtimeValues: {a: b}"),
];
const MESH_CONFIG: (&str, Probe) = ("pathNormalization: {normalization: MERGE_SLASHES}", OUT);
const PROXY_CONFIG: (&str, Probe) = ("drainDuration: 5s", OUT);

#[test]
fn every_field_that_restricts_takes_its_part_out() {
    for (field, (place, probe), written) in WITHHELD {
        assert_eq!(WORLD.matches(place).count(), 1, "{field}: {place}");
        let yaml = WORLD.replace(place, written);
        assert_eq!(served(&yaml, false, &[*probe]), None, "{field} is an error");
        let sound = served(WORLD, false, &[*probe]).expect("nothing is wrong with it");
        assert!(!is_refused(&sound[0]), "{field}: {sound:?}");
        let whole = matches!(*place, "pathNormalization: {normalization: MERGE_SLASHES}" | "drainDuration: 5s")
            || place.starts_with("{mode: REGISTRY_ONLY}");
        match served(&yaml, true, &[*probe]) {
            None => assert!(whole, "{field} is an error with --permissive"),
            Some(verdicts) => assert!(!whole && is_refused(&verdicts[0]), "{field}: {verdicts:?}"),
        }
    }
    let known = |name: String| WITHHELD.iter().any(|(field, ..)| *field == name);
    for message in KINDS.iter().flat_map(KindTables::messages) {
        for field in message.fields.iter().filter(|field| field.state == State::NotYet(Without::More)) {
            assert!(known(format!("{}.{}", message.name, field.name)), "a row for {}.{}", message.name, field.name);
        }
    }
}

/// What a request meets once something is written in place of something else, in short.
fn met(changes: &[(&str, &str)], probe: Probe) -> String {
    let mut yaml = WORLD.to_owned();
    for (place, written) in changes {
        assert_eq!(yaml.matches(place).count(), 1, "{place}");
        yaml = yaml.replace(place, written);
    }
    let Some(verdicts) = served(&yaml, true, &[probe]) else { return "an error".to_owned() };
    let verdict = &verdicts[0];
    match verdict["action"].as_str() {
        None => "no listener".to_owned(),
        Some(action @ ("direct_response" | "redirect" | "https_redirect")) => format!("{action} {}", verdict["status"]),
        Some(action @ ("forward" | "tunnel")) => {
            let to = verdict["destinations"][0]["cluster"].as_str().unwrap_or_default();
            let state = if verdict["destinations"][0]["found"].is_null() { " (none)" } else { "" };
            format!("{action} {to}{state}")
        }
        Some(action) => action.to_owned(),
    }
}

const WEB_80: &str = "forward outbound|80||web.default.svc.cluster.local";
const OUT_80: &str = "forward outbound|80||out.org";

/// What cannot be enforced, by the part that it takes out; and what it leaves alone.
#[test]
fn what_goes_and_what_stays() {
    let claims = "headers: {\"@request.auth.claims.sub\": {exact: a}}";
    let block = |uri: &str| format!("{{uri: {{prefix: {uri}}}, {claims}}}");
    let closed = ("match: [{uri: {prefix: /closed}}]\n    directResponse: {status: 403, body", "/closed");
    let with = |(place, uri): (&'static str, &str)| {
        (place, place.replace(&format!("{{uri: {{prefix: {uri}}}}}"), &block(uri)))
    };
    let x = |path: &'static str| Probe { gateway: "g", method: "GET", url: path, header: "x-none: none" };
    let closed = with(closed);
    let moved = with(("match: [{uri: {prefix: /moved}}]", "/moved"));
    let faulty = with(("match: [{uri: {prefix: /faulty}}]", "/faulty"));
    let split = with(("match: [{uri: {prefix: /split}}]", "/split"));
    let only =
        ("match: [{sniHosts: [t.com], port: 443}]", "match: [{sniHosts: [t.com], port: 443, sourceLabel: {a: b}}]");
    let refused = "direct_response 503";
    for (changes, probe, expected) in [
        // A block without one of its conditions: a rule that refuses goes on to, and others are passed over.
        (vec![(closed.0, closed.1.as_str())], x("http://x.a.com:80/closed"), "direct_response 403"),
        (vec![(moved.0, moved.1.as_str())], x("http://x.a.com:80/moved"), "redirect 301"),
        (vec![(faulty.0, faulty.1.as_str())], x("http://x.a.com:80/faulty"), WEB_80),
        (vec![(split.0, split.1.as_str())], x("http://x.a.com:80/split"), OUT_80),
        (vec![only], TLS_CONNECTION, "closed"),
        // A rule that is not whole refuses what it takes, and only that.
        (vec![("    timeout: 3s\n", "    timeoutt: 3s\n")], WEB, refused),
        (vec![("    timeout: 3s\n", "    timeoutt: 3s\n")], OUT, OUT_80),
        (vec![("    fault: {abort", "    falt: {abort")], x("http://x.a.com:80/faulty"), refused),
        (vec![("{remove: [x-admin]", "{removed: [x-admin]")], WEB, refused),
        (
            vec![("host: web, port: {number: 82}", "host: web, port: {number: 82}, subst: v1")],
            TLS_CONNECTION,
            "tunnel BlackHoleCluster (none)",
        ),
        // A VirtualService.
        (vec![("hosts: [web]\n", "hosts: [web]\n  colour: blue\n")], probe("mesh", "http://web/"), refused),
        (vec![("hosts: [x.a.com, b.com]\n  gateways: [g]", "hosts: [x.a.com, b.com]\n  gateway: [g]")], OUT, refused),
        (
            vec![("hosts: [x.a.com, b.com]\n  gateways: [g]", "hosts: [x.a.com, b.com]\n  gateway: [g]")],
            x("http://y.a.com:80/"),
            OUT_80,
        ),
        (vec![("hosts: [web]\n", "host: [web]\n")], probe("mesh", "http://web/"), "an error"),
        // A Gateway, and a server with what it is in the way of.
        (
            vec![("selector: {app: elsewhere}", "selectors: {app: elsewhere}")],
            probe("other/other", "http://x.a.com:81/"),
            "no listener",
        ),
        (
            vec![(
                "hosts: [secure.a.com], tls: {httpsRedirect: true}",
                "hosts: [secure.a.com], tls: {httpsRedirct: true}",
            )],
            x("http://secure.a.com:80/"),
            "not_found",
        ),
        (
            vec![(
                "hosts: [secure.a.com], tls: {httpsRedirect: true}",
                "hosts: [secure.a.com], tls: {httpsRedirct: true}",
            )],
            OUT,
            OUT_80,
        ),
        (
            vec![
                ("number: 443, name: tls, protocol: TLS", "number: 443, name: tls, protocol: MYSQL"),
                ("hosts: [t.com], tls: {mode: PASSTHROUGH}", "hosts: [t.com]"),
            ],
            TLS_CONNECTION,
            "not_found",
        ),
        (
            vec![(
                "  - {port: {number: 80, name: http, protocol: HTTP}, hosts",
                "  - {port: {number: 80, name: s, protocol: HTTPS}, hosts: [s.com], tls: {mode: SIMPLE, credentialName: c}}\n  - {port: {number: 80, name: http, protocol: HTTP}, hosts",
            )],
            OUT,
            "closed",
        ),
        (
            vec![(
                "  - {port: {number: 443",
                "  - {port: {number: 443, name: s, protocol: HTTPS}, hosts: [t.com], tls: {mode: MUTUAL, credentialName: c}}\n  - {port: {number: 443",
            )],
            TLS_CONNECTION,
            "not_found",
        ),
        (
            vec![(
                "  - {port: {number: 443",
                "  - {port: {number: 443, name: s, protocol: HTTPS}, hosts: [\"*.com\"], tls: {mode: MUTUAL, credentialName: c}}\n  - {port: {number: 443",
            )],
            Probe { gateway: "g", method: "CONNECT", url: "u.com:443", header: "x-none: none" },
            "tunnel BlackHoleCluster (none)",
        ),
        // A destination: all of it, a port, a subset.
        (
            vec![("tls: {mode: SIMPLE, sni: web.org, insecureSkipVerify: true}", "tls: {mode: ISTIO_MUTUAL}")],
            probe("mesh", "http://web/"),
            "forward outbound|80||web.default.svc.cluster.local (none)",
        ),
        (
            vec![(
                "{port: {number: 81}, connectionPool: {tcp: {maxConnections: 1}}}",
                "{port: {number: 81}, tls: {mode: ISTIO_MUTUAL}}",
            )],
            x("http://x.a.com:80/delegated/x"),
            "forward outbound|81||web.default.svc.cluster.local (none)",
        ),
        (
            vec![(
                "{port: {number: 81}, connectionPool: {tcp: {maxConnections: 1}}}",
                "{port: {number: 81}, tls: {mode: ISTIO_MUTUAL}}",
            )],
            probe("mesh", "http://web/"),
            WEB_80,
        ),
        (
            vec![("labels: {version: v1}}\n  - {name: v2", "labls: {version: v1}}\n  - {name: v2")],
            WEB,
            "forward outbound|80|v1|web.default.svc.cluster.local (none)",
        ),
        (
            vec![("labels: {version: v1}}\n  - {name: v2", "labls: {version: v1}}\n  - {name: v2")],
            probe("mesh", "http://web/"),
            WEB_80,
        ),
        (
            vec![("hosts: [out.org]\n  exportTo", "hosts: [out.org]\n  exportsTo")],
            OUT,
            "forward outbound|80||out.org (none)",
        ),
        (
            vec![("endpoints: [{address: elsewhere.org}]", "endpoints: [{address: elsewhere.org, network: vm}]")],
            probe("mesh", "http://named.org/"),
            "forward outbound|80||named.org (none)",
        ),
        // A Sidecar, and one of its listeners.
        (vec![("hosts: [\"./*\"]", "hosts: [\"./*\"], colour: blue")], probe("mesh", "http://web/"), "blackhole"),
        (
            vec![("captureMode: NONE, bind: 127.0.0.1, hosts", "bind: 10.0.0.9, hosts")],
            probe("mesh", "http://web/"),
            "blackhole",
        ),
        (vec![("defaultEndpoint: \"127.0.0.1:8080\"", "defaultEndpont: \"127.0.0.1:8080\"")], INGRESS, "no listener"),
        (
            vec![("defaultEndpoint: \"127.0.0.1:8080\"", "defaultEndpont: \"127.0.0.1:8080\"")],
            probe("mesh", "http://web/"),
            WEB_80,
        ),
        // The Proxy is everything.
        (
            vec![(
                "outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n    path",
                "outboundTrafficPolcy: {mode: REGISTRY_ONLY}\n    path",
            )],
            OUT,
            "an error",
        ),
        // What restricts nothing goes alone.
        (
            vec![(
                "loadBalancer: {consistentHash: {httpHeaderName: x-user, ringHash: {minimumRingSize: 8}}}",
                "loadBalancer: {simple: PASSTHROUGH}",
            )],
            probe("mesh", "http://web/"),
            WEB_80,
        ),
    ] {
        assert_eq!(met(&changes, probe), expected, "{changes:?} {probe:?}");
    }
}

/// Kinds that may restrict anything, and kinds that cannot.
#[test]
fn kinds_that_restrict_stay_errors() {
    for (api_version, kind, spec, stays) in [
        ("security.istio.io/v1", "AuthorizationPolicy", "{}", true),
        ("security.istio.io/v1", "PeerAuthentication", "{mtls: {mode: STRICT}}", true),
        ("security.istio.io/v1beta1", "RequestAuthentication", "{}", true),
        ("networking.istio.io/v1alpha3", "EnvoyFilter", "{}", true),
        ("extensions.istio.io/v1alpha1", "WasmPlugin", "{}", true),
        ("gateway.networking.k8s.io/v1", "HTTPRoute", "{parentRefs: [{kind: Service, name: web}]}", true),
        ("gateway.networking.k8s.io/v1", "BackendTLSPolicy", "{}", true),
        ("gateway.networking.k8s.io/v1", "HTTPRoute", "{parentRefs: [{name: g}]}", false),
        ("gateway.networking.k8s.io/v1", "Gateway", "{}", false),
        ("networking.istio.io/v1beta1", "ProxyConfig", "{concurrency: 1}", false),
        ("telemetry.istio.io/v1", "Telemetry", "{}", false),
        ("networking.k8s.io/v1", "Ingress", "{}", false),
    ] {
        let document = format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: one}}\nspec: {spec}\n");
        let yaml = format!("{WORLD}---\n{document}");
        assert_eq!(served(&yaml, false, PROBES), None, "{kind}");
        let sound = served(WORLD, false, PROBES);
        assert_eq!(served(&yaml, true, PROBES), if stays { None } else { sound }, "{kind} {spec}");
    }
}
