//! `ringway explain` from the outside: what it says of requests to every example, and of each way in which a request
//! can end; and which exit code it ends with.

use std::collections::BTreeSet;
use std::fs;

use super::{Outcome, ringway};

/// Runs `ringway explain` in the repository's root with this standard input.
fn explain(arguments: &[&str], stdin: &str) -> Outcome {
    ringway(&[&["explain"], arguments].concat(), stdin.as_bytes())
}

/// The command lines with what they print and their exit codes, one after the other.
fn session(configuration: &[&str], stdin: &str, requests: &[&[&str]]) -> String {
    let mut all = String::new();
    for request in requests {
        let outcome = explain(&[configuration, *request].concat(), stdin);
        all += &format!("$ explain {}\n", request.join(" "));
        all += &outcome.stderr;
        all += &outcome.stdout;
        all += &format!("exit code {}\n\n", outcome.code.expect("it ends by itself"));
    }
    all
}

#[track_caller]
fn golden(name: &str, said: &str) {
    insta::with_settings!({omit_expression => true}, { insta::assert_snapshot!(name, said) });
}

/// The requests of the examples' READMEs, and some that get nowhere.
const EXAMPLES: &[(&str, &[&[&str]])] = &[
    (
        "ingress",
        &[
            &["GET", "http://httpbin.example.com/status/200"],
            &["-H", "Host: httpbin.example.com", "GET", "http://127.0.0.1:8080/delay/2?x=y"],
            &["GET", "http://httpbin.example.com/headers"],
            &["GET", "http://httpbin.exmaple.com/status/200"],
        ],
    ),
    (
        "quickstart",
        &[
            &["GET", "http://httpbin.example.com/get"],
            &["-H", "x-version: v2", "GET", "http://httpbin.example.com/anything"],
            &["POST", "http://httpbin.example.com/post"],
            &["GET", "http://httpbin.example.com/post"],
        ],
    ),
    ("timeouts-retries/timeout", &[&["GET", "http://reviews:9080/"], &["GET", "http://ratings:9080/"]]),
    ("timeouts-retries/retries", &[&["GET", "http://ratings:9080/"]]),
    ("circuit-breaking", &[&["GET", "http://httpbin:8000/get"]]),
    ("fault-injection", &[&["-H", "end-user: jason", "GET", "http://ratings:9080/"], &["GET", "http://ratings:9080/"]]),
    ("mirror-compare", &[&["GET", "http://shop:8000/price"]]),
    ("mirroring", &[&["GET", "http://httpbin:8000/headers"]]),
    (
        "egress/one-process",
        &[
            &["--gateway", "mesh", "GET", "http://httpbin.org/ip"],
            &["--gateway", "istio-egressgateway", "GET", "http://httpbin.org/ip"],
            &["--gateway", "mesh", "GET", "http://example.com/"],
            &["--gateway", "mesh", "GET", "http://httpbin.org:81/ip"],
        ],
    ),
    (
        "egress/passthrough",
        &[
            &["--gateway", "mesh", "CONNECT", "edition.cnn.com:443"],
            &["--gateway", "istio-egressgateway", "CONNECT", "edition.cnn.com:443"],
            &["--gateway", "mesh", "CONNECT", "example.com:443"],
            &["--gateway", "istio-egressgateway", "CONNECT", "example.com:443"],
        ],
    ),
    (
        "tls-origination",
        &[&["GET", "http://edition.cnn.com/politics"], &["GET", "http://edition.cnn.com:443/politics"]],
    ),
];

#[test]
fn every_example() {
    for (folder, requests) in EXAMPLES {
        let path = format!("config/{folder}");
        golden(&folder.replace('/', "-"), &session(&["-c", &path], "", requests));
    }
    let folders = fs::read_dir("config").expect("the folder of examples").map(|entry| entry.expect("an entry"));
    let there: BTreeSet<String> = folders
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().expect("UTF-8"))
        .collect();
    let example = |folder: &str| folder.split('/').next().unwrap_or(folder).to_owned();
    let told: BTreeSet<String> = EXAMPLES.iter().map(|(folder, _)| example(folder)).collect();
    assert_eq!(told, there, "each example has its requests in this table");
}

/// A shop with a rule of each kind, on two Gateways and for the mesh.
const SHOP: &str = "
apiVersion: ringway.dev/v1
kind: Proxy
metadata: {name: edge}
spec:
  bind: 127.0.0.1
  ports: {80: 8080, 81: 8081}
  mesh: {listen: '127.0.0.1:15001'}
  meshConfig: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front}
spec:
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ['*.shop.com', shop.com]}
  - {port: {number: 80, name: pay, protocol: HTTP}, hosts: [pay.shop.net], tls: {httpsRedirect: true}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: back, namespace: office}
spec: {servers: [{port: {number: 81, name: http, protocol: HTTP}, hosts: [admin.shop.org]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.com]
  gateways: [front]
  http:
  - match:
    - uri: {prefix: /cart}
      headers: {cookie: {regex: '.*user=.*'}}
      withoutHeaders: {x-robot: {}}
      queryParams: {debug: {exact: '1'}}
    rewrite: {uri: /v2/cart}
    headers: {request: {set: {x-cart: '%REQ(:path)%'}, remove: [x-secret]}}
    route:
    - destination: {host: cart, subset: new}
      weight: 1
      headers: {response: {add: {x-new: 'yes'}}}
    - destination: {host: cart, subset: gone}
      weight: 3
    corsPolicy: {allowOrigins: [{exact: 'https://shop.com'}]}
  - name: moved
    match: [{uri: {prefix: /old/}}]
    redirect: {prefixRewrite: /new/, scheme: https, port: 8443, redirectCode: 308}
  - match: [{uri: {exact: /closed}, method: {exact: GET}}]
    directResponse: {status: 503, body: {string: we are closed}}
  - name: help
    match: [{uri: {prefix: /help}}]
    delegate: {name: help, namespace: office}
  - match: [{uri: {prefix: /nowhere}}]
    route: [{destination: {host: nobody}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: help, namespace: office}
spec:
  http:
  - name: faq
    match: [{uri: {exact: /help/faq}}]
    route: [{destination: {host: cart.default.svc.cluster.local}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: admin}
spec:
  hosts: [admin.shop.org]
  gateways: [office/back]
  http: [{route: [{destination: {host: cart}}]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cart}
spec:
  hosts: [cart]
  http:
  - match: [{uri: {regex: '/items/[0-9]+'}, authority: {prefix: cart}}]
    route: [{destination: {host: cart, subset: new}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: cart}
spec:
  host: cart
  trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true}}}
  subsets: [{name: new, labels: {version: new}}]
---
apiVersion: v1
kind: Service
metadata: {name: cart}
spec: {ports: [{name: http, port: 8000}], selector: {app: cart}}
---
apiVersion: v1
kind: Service
metadata: {name: lonely}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: cart-1}
spec: {address: 10.0.0.1, labels: {app: cart, version: old}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: cart-2}
spec: {address: 10.0.0.2, weight: 5, labels: {app: cart, version: new}}
";

/// A service that everything is done to.
const FRAIL: &str = "
apiVersion: ringway.dev/v1
kind: Proxy
metadata: {name: edge}
spec: {mesh: {listen: '127.0.0.1:15001'}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: frail, annotations: {ringway.dev/mirror-compare: body}}
spec:
  hosts: [frail]
  http:
  - match: [{uri: {prefix: /all}}]
    timeout: 3s
    retries: {attempts: 3, perTryTimeout: 500ms, retryOn: '5xx,409', backoff: 1s, retryIgnorePreviousHosts: false, retryRemoteLocalities: true}
    fault:
      delay: {fixedDelay: 1.5s, percentage: {value: 0.5}}
      abort: {grpcStatus: UNAVAILABLE, percentage: {value: 12.5}}
    mirrors:
    - {destination: {host: frail, subset: old}, percentage: {value: 30}}
    - {destination: {host: frail, subset: gone}}
    route: [{destination: {host: frail, subset: new}}]
  - timeout: 1s
    retries: {attempts: 1, perTryTimeout: 2s, retryOn: refused-stream}
    fault: {abort: {httpStatus: 418, percentage: {value: 1}}}
    route: [{destination: {host: frail, subset: old}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: frail}
spec:
  host: frail
  trafficPolicy:
    connectionPool:
      tcp: {maxConnections: 10, connectTimeout: 250ms, maxConnectionDuration: 1h, tcpKeepalive: {probes: 3, time: 60s}}
      http: {http1MaxPendingRequests: 1, http2MaxRequests: 20, maxRequestsPerConnection: 5, maxRetries: 1, idleTimeout: 4s}
    outlierDetection: {consecutiveGatewayErrors: 2, minHealthPercent: 50, splitExternalLocalOriginErrors: true}
    retryBudget: {percent: 12.5}
  subsets:
  - {name: new, labels: {version: new}}
  - name: old
    labels: {version: old}
    trafficPolicy:
      connectionPool: {tcp: {tcpKeepalive: {}, idleTimeout: 0s}, http: {maxRetries: 1}}
      outlierDetection: {consecutive5xxErrors: 0, maxEjectionPercent: 100, outlierDetectionHttpErrorCodes: [429]}
---
apiVersion: v1
kind: Service
metadata: {name: frail}
spec: {ports: [{name: http, port: 80}], selector: {app: frail}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: frail-1}
spec: {address: 10.0.0.1, labels: {app: frail, version: old}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: frail-2}
spec: {address: 10.0.0.2, labels: {app: frail, version: new}}
";

/// Without what `check` has to say of the shop.
fn shop(requests: &[&[&str]]) -> String {
    quiet(SHOP, requests)
}

fn quiet(yaml: &str, requests: &[&[&str]]) -> String {
    let said = session(&["-c", "-"], yaml, requests);
    let lines = said.lines().filter(|line| !line.starts_with("<stdin>:") && !line.contains(" more: ringway check ("));
    lines.map(|line| line.to_owned() + "\n").collect()
}

#[test]
fn every_verdict() {
    golden(
        "verdicts",
        &shop(&[
            &["-H", "Cookie: user=jane", "GET", "http://shop.com/cart/1?debug=1"],
            &["GET", "http://shop.com/old/shoes?size=42"],
            &["GET", "http://shop.com/closed"],
            &["GET", "http://shop.com/help/faq"],
            &["GET", "http://shop.com/nowhere"],
            &["GET", "http://pay.shop.net:8080/card?n=1"],
        ]),
    );
}

/// Everything that is done about failures, as it takes effect: a try's timeout that is longer than the route's is none.
#[test]
fn every_policy() {
    golden("policies", &quiet(FRAIL, &[&["GET", "http://frail/all"], &["GET", "http://frail/rest"]]));
}

#[test]
fn every_way_to_get_nowhere() {
    golden(
        "nowhere",
        &shop(&[
            &["-H", "x-robot: 1", "POST", "http://shop.com/carts?debug=2"],
            &["GET", "http://www.shop.com/"],
            &["GET", "http://admin.shop.org/"],
            &["GET", "http://cart:8000/items/x"],
            &["--gateway", "mesh", "GET", "http://example.com/"],
        ]),
    );
}

#[test]
fn the_mesh() {
    golden(
        "mesh",
        &shop(&[
            &["GET", "http://cart:8000/items/7"],
            &["--gateway", "mesh", "-H", "Host: lonely.default", "GET", "http://127.0.0.1:15001/"],
            &["GET", "http://lonely:8080/"],
        ]),
    );
}

/// Tunnels are explained as they are made: by service, or by `outboundTrafficPolicy`.
#[test]
fn a_tunnel() {
    const TUNNELS: &str = "
apiVersion: ringway.dev/v1
kind: Proxy
metadata: {name: edge}
spec: {mesh: {listen: '127.0.0.1:15001'}, meshConfig: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: s}
spec:
  hosts: [secure.example.com]
  ports: [{number: 443, name: tls, protocol: TLS}, {number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 10.0.0.1}]
";
    let said = |yaml: &str, authority: &str| {
        let outcome = explain(&["-c", "-", "CONNECT", authority], yaml);
        (outcome.code, outcome.stdout + &outcome.stderr)
    };
    let (code, text) = said(TUNNELS, "secure.example.com:443");
    assert_eq!(code, Some(0), "{text}");
    for part in [
        "CONNECT secure.example.com:443\n",
        "listener        127.0.0.1_15001: the mesh\n",
        "tunnel          its bytes go on as they are\n",
        "destination     100% to outbound|443||secure.example.com\n",
        "10.0.0.1:443, weight 1\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (code, text) = said(TUNNELS, "secure.example.com:80");
    assert!(code == Some(0) && text.contains("routed like any others on this port"), "{text}");
    let (code, text) = said(TUNNELS, "other.example.com:443");
    assert!(code == Some(1) && text.contains("(REGISTRY_ONLY)"), "{text}");
    let open = TUNNELS.replace("REGISTRY_ONLY", "ALLOW_ANY");
    let (code, text) = said(&open, "other.example.com:443");
    assert!(code == Some(0) && text.contains("PassthroughCluster"), "{text}");
    assert_eq!(said(&open, "other.example.com").0, Some(2), "a tunnel needs a port");
    assert_eq!(said(&open, "other.example.com:0").0, Some(2));
}

#[test]
fn the_listener_is_chosen_by_gateway_or_port() {
    let listener = |arguments: &[&str]| {
        let said = explain(&[&["-c", "-"], arguments].concat(), SHOP);
        let line =
            said.stdout.lines().find_map(|line| line.strip_prefix("listener ")).map(|line| line.trim().to_owned());
        line.unwrap_or_else(|| said.stderr.lines().last().unwrap_or_default().to_owned())
    };
    let (front, back, mesh) = (
        "127.0.0.1_8080: Gateway port 80 of default/front",
        "127.0.0.1_8081: Gateway port 81 of office/back",
        "127.0.0.1_15001: the mesh",
    );
    for (arguments, expected) in [
        (&["GET", "http://shop.com/"][..], front),
        (&["GET", "shop.com"], front),
        (&["GET", "http://shop.com:8080/"], front),
        (&["GET", "http://shop.com:80/"], front),
        (&["GET", "http://shop.com:81/"], back),
        (&["GET", "http://shop.com:8081/"], back),
        (&["GET", "http://cart:8000/"], mesh),
        (&["GET", "http://127.0.0.1:15001/"], mesh),
        (&["--gateway", "back", "GET", "http://shop.com/"], back),
        (&["--gateway", "office/back", "GET", "http://shop.com/"], back),
        (&["--gateway", "default/front", "GET", "http://shop.com:9999/"], front),
        (&["--gateway", "mesh", "GET", "http://shop.com/"], mesh),
        (
            &["--gateway", "default/back", "GET", "http://shop.com/"],
            "ringway: no listener is for gateway \"default/back\"; there are: default/front (port 80), office/back (port \
             81), mesh",
        ),
    ] {
        assert_eq!(listener(arguments), expected, "{arguments:?}");
    }
}

/// What leaves the mesh, by every way there is, and what does not.
const OUTWARD: &str = "
apiVersion: ringway.dev/v1
kind: Proxy
metadata: {name: sidecar, namespace: shop}
spec:
  mesh: {listen: '127.0.0.1:15001'}
  dns: {hosts: {api.example.com: [10.0.0.1, '10.0.0.2:8000']}}
  meshConfig: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}, accessLogFile: /dev/stdout}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: narrow, namespace: shop}
spec: {egress: [{hosts: ['./*']}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api, namespace: shop}
spec:
  hosts: [api.example.com]
  resolution: DNS
  ports: [{number: 80, name: http, protocol: HTTP}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: first, namespace: shop}
spec: {hosts: [first.example.com], resolution: DNS_ROUND_ROBIN, ports: [{number: 80, name: http, protocol: HTTP}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: own, namespace: shop}
spec: {hosts: ['*.example.net'], ports: [{number: 8000, name: http, protocol: HTTP}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: dynamic, namespace: shop}
spec: {hosts: ['*.example.org'], resolution: DYNAMIC_DNS, ports: [{number: 80, name: http, protocol: HTTP}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: far, namespace: elsewhere}
spec: {hosts: [far.example.com], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: private, namespace: elsewhere}
spec:
  hosts: ['*.private.example.com']
  exportTo: ['.']
  resolution: DYNAMIC_DNS
  ports: [{number: 80, name: http, protocol: HTTP}]
";

#[test]
fn what_leaves_and_what_does_not() {
    let asked = [
        "api.example.com",
        "first.example.com",
        "a.example.net:8000",
        "a.example.org",
        "api.example.com:8443",
        "a.example.net",
        "far.example.com",
        "a.private.example.com",
        "Nobody.example.com:81",
        "[::1]:81",
    ];
    let urls = asked.map(|authority| format!("http://{authority}/"));
    let requests: Vec<Vec<&str>> = urls.iter().map(|url| vec!["--gateway", "mesh", "GET", url.as_str()]).collect();
    let requests: Vec<&[&str]> = requests.iter().map(Vec::as_slice).collect();
    golden("outward", &session(&["-c", "-"], OUTWARD, &requests));
    let question = ["--output", "json", "-c", "-", "GET", "http://nobody.example.com/"];
    let answer: serde_json::Value = serde_json::from_str(&explain(&question, OUTWARD).stdout).expect("one JSON object");
    assert_eq!(answer["verdict"]["action"], "blackhole");
    assert_eq!(
        answer["verdict"]["missing"][0],
        "no ServiceEntry declares nobody.example.com on port 80; one that does:"
    );
}

/// A Sidecar with listeners of its own, beside the mesh listener.
const LISTENERS: &str = "
apiVersion: ringway.dev/v1
kind: Proxy
metadata: {name: sidecar, namespace: shop}
spec:
  mesh: {listen: '127.0.0.1:15001'}
  meshConfig: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}, accessLogFile: /dev/stdout}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: own, namespace: shop}
spec:
  egress:
  - port: {number: 9080, protocol: HTTP}
    captureMode: NONE
    hosts: ['*/reviews.example.com']
  - port: {number: 3128, protocol: HTTP_PROXY}
    hosts: ['*/*']
  - hosts: ['*/*']
  ingress:
  - port: {number: 8080, protocol: HTTP}
    defaultEndpoint: 127.0.0.1:9000
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: services, namespace: shop}
spec:
  hosts: [reviews.example.com, ratings.example.com]
  ports: [{number: 9080, name: http, protocol: HTTP}, {number: 8080, name: other, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 10.0.0.1}]
";

#[test]
fn listeners_of_a_sidecar() {
    let requests: &[&[&str]] = &[
        &["GET", "http://reviews.example.com:9080/"],
        &["GET", "http://ratings.example.com:9080/"],
        &["--gateway", "egress:9080", "CONNECT", "ratings.example.com:9080"],
        &["--gateway", "mesh", "GET", "http://ratings.example.com:9080/"],
        &["--gateway", "egress:3128", "GET", "http://ratings.example.com:9080/"],
        &["GET", "http://ratings.example.com:8080/"],
        &["--gateway", "ingress:8080", "GET", "http://ratings.example.com/"],
        &["--gateway", "ingress:8081", "GET", "http://ratings.example.com/"],
    ];
    golden("listeners_of_a_sidecar", &session(&["-c", "-"], LISTENERS, requests));
}

/// ALLOW_ANY_DYNAMIC_DNS: plain HTTP by its Host, tunnels as with ALLOW_ANY.
#[test]
fn an_undeclared_host_by_its_name() {
    let yaml = "apiVersion: ringway.dev/v1\nkind: Proxy\nmetadata: {name: p}\nspec: {mesh: {listen: '127.0.0.1:15001'}, \
                meshConfig: {outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS}, accessLogFile: /dev/stdout}}\n";
    let told = explain(&["-c", "-", "GET", "http://a.example.com:81/"], yaml);
    assert_eq!(told.code, Some(0));
    for line in [
        "destination     100% to AllowAnyDynamicDNSCluster",
        "  endpoints     whatever the request's host resolves to, on its own port",
    ] {
        assert!(told.stdout.lines().any(|own| own == line), "{}", told.stdout);
    }
    assert!(!told.stdout.contains("  service"), "there is none: {}", told.stdout);
    let tunnel = explain(&["-c", "-", "CONNECT", "a.example.com:81"], yaml);
    assert!(tunnel.stdout.contains("PassthroughCluster"), "{}", tunnel.stdout);
}

#[test]
fn json_says_the_same() {
    let outcome = explain(
        &[
            "--output",
            "json",
            "-c",
            "config/quickstart",
            "-H",
            "x-version: v2",
            "GET",
            "http://httpbin.example.com/get",
        ],
        "",
    );
    let answer: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("one JSON object");
    assert_eq!(outcome.stdout.lines().count(), 1);
    assert_eq!(answer["verdict"]["action"], "forward");
    let destination = &answer["verdict"]["destinations"][0];
    assert_eq!(destination["cluster"], "outbound|8000|v2|httpbin.default.svc.cluster.local");
    assert_eq!(destination["found"]["endpoints"][0][0], "127.0.0.1:9002");
    assert_eq!(answer["rule"]["place"]["resource"], "VirtualService/default/httpbin");
    assert_eq!(answer["rule"]["conditions"][0], "header x-version exact \"v2\"");
    assert_eq!(outcome.code, Some(0));
    let outcome = explain(&["--output", "json", "-c", "-", "GET", "http://frail/all"], FRAIL);
    let answer: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("one JSON object");
    let verdict = &answer["verdict"];
    assert_eq!(verdict["delay"], serde_json::json!({"seconds": 1.5, "percent": 0.5}));
    assert_eq!(verdict["abort"]["grpc_status"], 14);
    assert_eq!((&verdict["timeout"], &verdict["retries"]["attempts"]), (&3.0.into(), &3.into()));
    assert_eq!(verdict["retries"]["retry_on"], serde_json::json!(["5xx", "409"]));
    assert_eq!((&verdict["mirrors"][0]["compares"], &verdict["mirrors"][1]["found"]), (&"body".into(), &false.into()));
    let found = &verdict["destinations"][0]["found"];
    assert_eq!((&found["connect_timeout"], &found["breaker"]["connections"]), (&0.25.into(), &10.into()));
    assert_eq!(found["ejection"]["max_endpoints"], 0);
}

/// A rule and its services, and no listener for those who ask for them.
const UNHEARD: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http: [{match: [{uri: {prefix: /old}}], redirect: {uri: /new}}, {route: [{destination: {host: reviews}}]}]
---
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {ports: [{name: http, port: 9080}, {name: tcp, port: 9090}], selector: {app: reviews}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: r}
spec: {address: 10.0.0.1, labels: {app: reviews}}
";

const GATEWAYS: &str = "---
apiVersion: ringway.dev/v1
kind: Proxy
metadata: {name: edge}
spec: {bind: 127.0.0.1, ports: {80: 8080}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g}
spec:
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}
  - {port: {number: 8443, name: more, protocol: HTTP}, hosts: ['*']}
";

#[test]
fn a_rule_of_the_mesh_without_a_mesh_listener() {
    let note =
        "note            no mesh listener is configured (spec.mesh.listen of the Proxy): this is what one would do";
    let with_gateways = format!("{UNHEARD}{GATEWAYS}");
    for yaml in [UNHEARD, &with_gateways] {
        for (arguments, line) in [
            (
                &["GET", "http://reviews:9080/"][..],
                "destination     100% to outbound|9080||reviews.default.svc.cluster.local",
            ),
            (
                &["GET", "http://reviews.default:9080/old"],
                "redirect        301 Moved Permanently to http://reviews.default:9080/new",
            ),
            (
                &["-H", "Host: reviews:9080", "GET", "http://10.0.0.1:9080/"],
                "destination     100% to outbound|9080||reviews.default.svc.cluster.local",
            ),
            (&["--gateway", "mesh", "GET", "http://reviews/"], "note"),
            (&["CONNECT", "reviews:9090"], "tunnel          its bytes go on as they are"),
        ] {
            let outcome = explain(&[&["-c", "-"], arguments].concat(), yaml);
            assert!(
                outcome.stdout.lines().any(|own| own == note),
                "{arguments:?}: {}{}",
                outcome.stderr,
                outcome.stdout
            );
            assert!(outcome.stdout.lines().any(|own| own.starts_with(line)), "{arguments:?}: {}", outcome.stdout);
            assert!(outcome.stdout.contains("listener        127.0.0.1_15001: the mesh"), "{}", outcome.stdout);
            assert_eq!(outcome.code, Some(0), "{arguments:?}");
        }
    }
    let json = explain(&["--output", "json", "-c", "-", "GET", "http://reviews:9080/"], UNHEARD);
    let answer: serde_json::Value = serde_json::from_str(&json.stdout).expect("one JSON object");
    assert!(answer["notes"][0].as_str().is_some_and(|said| note.ends_with(said)), "{answer}");
    // Where there is one, nothing is to be said of that.
    let heard = with_gateways.replace("bind: 127.0.0.1,", "bind: 127.0.0.1, mesh: {listen: '127.0.0.1:15001'},");
    let outcome = explain(&["-c", "-", "GET", "http://reviews:9080/"], &heard);
    assert!(outcome.code == Some(0) && !outcome.stdout.contains("\nnote "), "{}", outcome.stdout);
}

#[test]
fn a_port_that_no_listener_has_is_refused() {
    let yaml = format!("{UNHEARD}{GATEWAYS}");
    let there = "there are: 80, bound as 8080 (default/g); 8443 (default/g). Or say which is meant with --gateway NAME";
    for (url, port) in [("http://a.com:9999/", 9999), ("http://nobody:9080/", 9080), ("http://a.com:81/", 81)] {
        let outcome = explain(&["-c", "-", "GET", url], &yaml);
        let said = outcome.stderr.lines().last().unwrap_or_default();
        assert_eq!(said, format!("ringway: no listener has port {port}; {there}"), "{url}");
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""));
    }
    // The Gateway's port, the one that is bound, and none.
    for url in ["http://a.com:80/", "http://a.com:8080/", "http://a.com/", "a.com"] {
        let outcome = explain(&["-c", "-", "GET", url], &yaml);
        assert!(
            outcome.stdout.contains("listener        127.0.0.1_8080: "),
            "{url}: {}{}",
            outcome.stderr,
            outcome.stdout
        );
    }
    let named = explain(&["-c", "-", "--gateway", "g", "GET", "http://a.com:8443/"], &yaml);
    assert!(named.stdout.contains("listener        127.0.0.1_8443: "), "{}", named.stdout);
    // A port of the kernel's choice may be any.
    let one = yaml.replace("  - {port: {number: 8443, name: more, protocol: HTTP}, hosts: ['*']}\n", "");
    let chosen = explain(&["-c", "-", "--ports", "80=0", "GET", "http://a.com:40000/"], &one);
    assert!(chosen.stdout.contains("listener        127.0.0.1_0: "), "{}{}", chosen.stderr, chosen.stdout);
    // With a flag another port is bound.
    let moved = explain(&["-c", "-", "--ports", "80=9999", "GET", "http://a.com:9999/"], &yaml);
    assert!(moved.stdout.contains("listener        127.0.0.1_9999: "), "{}{}", moved.stderr, moved.stdout);
}

#[test]
fn what_cannot_be_explained_ends_with_two() {
    let quickstart = ["-c", "config/quickstart"];
    for (arguments, expected) in [
        (
            &["GET", "https://a.com/"][..],
            "ringway: \"https://a.com/\" is not a URL that can be explained: only http is served\n",
        ),
        (&["-H", "x", "GET", "http://a.com/"], "ringway: \"x\" is not a header: write 'name: value'\n"),
        (
            &["-H", "x: y\r\nz: w", "GET", "http://a.com/"],
            "ringway: \"x: y\\r\\nz: w\" is not one header: it has a line end; write -H for each\n",
        ),
        (
            &["-H", "x: y\n", "GET", "http://a.com/"],
            "ringway: \"x: y\\n\" is not one header: it has a line end; write -H for each\n",
        ),
        (&["GET /x HTTP/1.1\r\nx:", "http://a.com/"], "ringway: \"GET /x HTTP/1.1\\r\\nx:\" is not a method\n"),
        (&["", "http://a.com/"], "ringway: \"\" is not a method\n"),
        (
            &["GET", "http://a.com/\n"],
            "ringway: \"http://a.com/\\n\" is not a URL that can be explained: it has a control character\n",
        ),
        (
            &["GET", "http://[::1/x"],
            "ringway: \"http://[::1/x\" is not a URL that can be explained: no \"]\" closes the address\n",
        ),
        (
            &["GET", "http://[::1]x/"],
            "ringway: \"http://[::1]x/\" is not a URL that can be explained: behind an address in brackets stands a port or nothing\n",
        ),
        (
            &["GET", "http://::1/"],
            "ringway: \"http://::1/\" is not a URL that can be explained: an IPv6 address stands in brackets\n",
        ),
        (
            &["GET", "http://a.com:99999/"],
            "ringway: \"http://a.com:99999/\" is not a URL that can be explained: a port is a number up to 65535\n",
        ),
        (
            &["GET", "a.com:http/x"],
            "ringway: \"a.com:http/x\" is not a URL that can be explained: a port is a number up to 65535\n",
        ),
        (&["GET", "http:///x"], "ringway: \"http:///x\" is not a URL that can be explained: it has no host\n"),
        (&["GET", "http://:80/x"], "ringway: \"http://:80/x\" is not a URL that can be explained: it has no host\n"),
        (&["GET", ":80/x"], "ringway: \":80/x\" is not a URL that can be explained: it has no host\n"),
        (&["GET", ""], "ringway: \"\" is not a URL that can be explained: it has no host\n"),
        (&["GET", "*"], "ringway: \"*\" is not a URL that can be explained: only OPTIONS asks for \"*\"\n"),
        (
            &["-H", "host: a.com", "OPTIONS", "*"],
            "ringway: such a request is answered with 404: it asks for no path, and rules are about paths\n",
        ),
        (&["GET", "http://a.com/ b"], "ringway: such a request is refused with 400: the request line is malformed\n"),
        (&["FOO", "http://a.com/"], "ringway: such a request is refused with 400: the method is unknown\n"),
        (&["GET", "http://jane@a.com/x"], "ringway: such a request is refused with 400: the authority is malformed\n"),
    ] {
        let outcome = explain(&[&quickstart, arguments].concat(), "");
        assert_eq!(
            (outcome.stderr.as_str(), outcome.stdout.as_str(), outcome.code),
            (expected, "", Some(2)),
            "{arguments:?}"
        );
    }
    // What is in order all the same.
    for arguments in [
        &["-H", "host: httpbin.example.com", "GET", "/status/200"][..],
        &["-H", "host: httpbin.example.com", "GET", ":8080/status/200"],
        &["-H", "host: httpbin.example.com", "GET", "http://[::1]:8080/status/200"],
        &["GET", "httpbin.example.com:8080/status/200?from=http://a.com"],
        &["GET", "HTTP://httpbin.example.com/status/200"],
    ] {
        let outcome = explain(&[&quickstart, arguments].concat(), "");
        assert!(outcome.stdout.starts_with("GET httpbin.example.com"), "{arguments:?}: {}", outcome.stderr);
    }
    let outcome = explain(&["-c", "-", "GET", "http://a.com/"], "kind: Gateway\n");
    assert_eq!((outcome.stdout.as_str(), outcome.code), ("", Some(2)));
    let nothing = "apiVersion: ringway.dev/v1\nkind: Proxy\nmetadata: {name: p}\n";
    let outcome = explain(&["-c", "-", "GET", "http://a.com/"], nothing);
    assert!(outcome.stderr.ends_with("ringway: the configuration opens no listener\n"), "{}", outcome.stderr);
    assert_eq!(outcome.code, Some(2));
}

/// One that `--permissive` leaves out is there, and not served.
#[test]
fn a_destination_that_is_left_out_is_called_so() {
    let left_out =
        "  endpoints     none: it is left out, since not all of it is enforced (--permissive): 503, response flag NC";
    let missing = "  endpoints     there is no such service, port or subset: 503, response flag NC";
    let rule = |spec: &str| {
        format!(
            "{GATEWAYS}---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v}}\nspec:\n  hosts: [a.com]\n  \
             gateways: [g]\n  http:\n  - {{match: [{{uri: {{prefix: /subset}}}}], route: [{{destination: {{host: s, subset: one}}}}]}}\n  \
             - {{match: [{{uri: {{prefix: /none}}}}], route: [{{destination: {{host: s, subset: none}}}}]}}\n  \
             - {{match: [{{uri: {{prefix: /port}}}}], route: [{{destination: {{host: s, port: {{number: 82}}}}}}]}}\n  \
             - {{route: [{{destination: {{host: s, port: {{number: 81}}}}}}]}}\n---\napiVersion: v1\nkind: Service\nmetadata: \
             {{name: s}}\nspec: {{selector: {{app: s}}, ports: [{{name: http, port: 80}}, {{name: http-more, port: 81}}]}}\n---\n\
             apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: w}}\nspec: {{address: 10.0.0.1, labels: \
             {{app: s}}}}\n---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: s}}\nspec: {{host: s, {spec}}}\n"
        )
    };
    let bad = "tls: {mode: ISTIO_MUTUAL}";
    let whole = rule(&format!("trafficPolicy: {{{bad}}}, subsets: [{{name: one, labels: {{}}}}]"));
    let subset = rule(&format!("subsets: [{{name: one, labels: {{}}, trafficPolicy: {{{bad}}}}}]"));
    let port = rule(&format!(
        "trafficPolicy: {{portLevelSettings: [{{port: {{number: 81}}, {bad}}}]}}, subsets: [{{name: one, labels: {{}}}}]"
    ));
    for (yaml, path, line) in [
        (&whole, "/", Some(left_out)),
        (&whole, "/subset", Some(left_out)),
        (&subset, "/subset", Some(left_out)),
        (&subset, "/", None),
        (&subset, "/none", Some(missing)),
        (&port, "/", Some(left_out)),
        (&port, "/port", Some(missing)),
    ] {
        let url = format!("http://a.com{path}");
        let outcome = explain(&["-c", "-", "--permissive", "GET", &url], yaml);
        let own = outcome.stdout.lines().find(|own| *own == left_out || *own == missing);
        assert_eq!(own, line, "{path}: {}{}", outcome.stderr, outcome.stdout);
        assert_eq!(outcome.code, Some(i32::from(line.is_some())), "{path}");
    }
    let json = explain(&["--output", "json", "-c", "-", "--permissive", "GET", "http://a.com/"], &whole);
    let answer: serde_json::Value = serde_json::from_str(&json.stdout).expect("one JSON object");
    assert_eq!(answer["verdict"]["destinations"][0]["withheld"], true, "{answer}");
}

/// A redirect to the host that was asked for is none where none was.
#[test]
fn a_redirect_without_a_host_is_refused() {
    let rules = "\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\nspec: {hosts: ['*'], gateways: [g], http: \
                 [{match: [{uri: {prefix: /named}}], redirect: {authority: b.com}}, {redirect: {uri: /x}}]}\n";
    let yaml = format!("{GATEWAYS}---{rules}");
    let refused = explain(&["-c", "-", "-H", "host:", "GET", "/y"], &yaml);
    let said = refused.stderr.lines().last().unwrap_or_default();
    assert!(said.starts_with("ringway: such a request is refused with 400: "), "{}", refused.stderr);
    assert_eq!(refused.code, Some(2));
    for arguments in [["host:", "/named"], ["host: a.com", "/y"]] {
        let [host, url] = arguments;
        let outcome = explain(&["-c", "-", "-H", host, "GET", url], &yaml);
        assert!(outcome.stdout.contains("redirect        301"), "{arguments:?}: {}{}", outcome.stderr, outcome.stdout);
    }
}
