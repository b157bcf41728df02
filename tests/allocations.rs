//! The data path allocates nothing per request in steady state. ringway runs inside this process under a counting
//! allocator; what its worker threads allocate during a few thousand keep-alive requests is counted, and must be nothing.
#![allow(
    unsafe_code,
    reason = "an allocator is unsafe to implement; this one only counts and hands on to the system's"
)]

#[path = "support/https.rs"]
mod https;
#[path = "support/mod.rs"]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};

use ringway::control::{self, ConfigSource, Event};
use ringway::istio;
use ringway::plan::Overrides;
use support::client::{Client, once};
use support::origin::Origin;
use support::ports;
use support::ringway::{DRIVERS, Driver, everything_to};
use support::wait::eventually;
use support::yaml;

/// Threads that may allocate in this process: the workers, control, origins, the test itself, and one of the admin for each
/// of some thousand answers. One beyond shares the last.
const THREADS: usize = 16_384;

/// What one thread has allocated: calls to `alloc` and `realloc`.
struct Count {
    thread: AtomicI32,
    calls: AtomicU64,
}

static COUNTS: [Count; THREADS] = [const { Count { thread: AtomicI32::new(0), calls: AtomicU64::new(0) } }; THREADS];
static TAKEN: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// This thread's place in `COUNTS`, from 1. Constant and without a destructor, so that it never allocates itself.
    static PLACE: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

impl Counting {
    fn count() {
        let place = PLACE.get();
        let place = if place > 0 {
            place
        } else {
            let place = (TAKEN.fetch_add(1, Ordering::Relaxed) + 1).min(THREADS);
            COUNTS[place - 1].thread.store(rustix::thread::gettid().as_raw_nonzero().get(), Ordering::Relaxed);
            PLACE.set(place);
            place
        };
        COUNTS[place - 1].calls.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call is handed to the system's allocator with the arguments it came with; counting touches atomics and a
// constant thread-local, neither of which allocates.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::count();
        // SAFETY: the caller keeps the contract of `realloc`; `pointer` came from the system's allocator.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`; `pointer` came from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Calls to the allocator by threads whose name begins with `worker-`.
fn by_workers() -> u64 {
    let workers = COUNTS.iter().filter(|count| {
        let thread = count.thread.load(Ordering::Relaxed);
        let name = std::fs::read_to_string(format!("/proc/self/task/{thread}/comm"));
        name.is_ok_and(|name| name.starts_with("worker-"))
    });
    workers.map(|count| count.calls.load(Ordering::Relaxed)).sum()
}

fn proxy_document(driver: Driver, port: u16, admin: SocketAddr, log: &str) -> String {
    // The format asks for response headers, so that those are kept for the log.
    let format = "'%START_TIME% %EMIT_TIME(%s.%3f)% %REQ(:PATH)% %REQ(X-TENANT?X-USER):9% %RESP(X-ROUTE)% %RESPONSE_CODE% \
                  %ROUTE_NAME% %QUERY_PARAM(with)% %PATH(NQ)% %RESPONSE_FLAGS_LONG% %RESPONSE_CODE_DETAILS% %DURATION% \
                  %UPSTREAM_HOST% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_PORT% %BYTES_SENT% %HOSTNAME%'";
    format!(
        "apiVersion: ringway.dev/v1\nkind: Proxy\nmetadata: {{name: test}}\nspec:\n  cpus: [0]\n  driver: {}\n  \
         bind: 127.0.0.1\n  admin: {admin}\n  ports: {{80: {port}}}\n  mesh: {{listen: '127.0.0.1:{}'}}\n  \
         meshConfig: {{accessLogFile: {log}, accessLogFormat: {format}}}\n",
        driver.name(),
        ports::free()
    )
}

/// Every kind of rule that changes what passes.
const RULES: &str = r#"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: rules}
spec:
  hosts: [rules.example.com]
  gateways: [edge]
  http:
  - name: changed
    match: [{uri: {prefix: /changed/}}]
    rewrite: {uri: /, authority: inside.example.com}
    headers:
      request:
        remove: [x-secret]
        set: {x-tenant: blue, x-client: '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %REQ(user-agent)%'}
        add: {x-seen: '%START_TIME% %REQ(x-forwarded-for)%'}
      response:
        remove: [x-internal]
        set: {x-route: '%ROUTE_NAME% %UPSTREAM_HOST% %REQ(x-tenant)% %RESP(content-type)%'}
        add: {x-code: '%RESPONSE_CODE%'}
    corsPolicy:
      allowOrigins: [{exact: 'https://shop.example.com'}, {regex: 'https://[a-z]+\\.example\\.com'}]
      allowMethods: [GET]
      exposeHeaders: [x-route]
      maxAge: 600s
    route:
    - destination: {host: origin, port: {number: 8000}}
      weight: 1
      headers: {request: {set: {x-version: one}}}
    - destination: {host: origin, port: {number: 8000}}
      weight: 1
  - name: regex
    match: [{uri: {regex: '/v[0-9]+/.*'}}]
    rewrite: {uriRegexRewrite: {match: '^/v([0-9]+)/(.*)$', rewrite: '/\\2/\\1'}}
    route: [{destination: {host: origin, port: {number: 8000}}}]
  - match: [{uri: {prefix: /old/}}]
    redirect: {prefixRewrite: /new/, scheme: https}
    headers: {response: {set: {x-route: 'moved from %REQ(:path)%'}}}
  - match: [{uri: {prefix: /direct}}]
    directResponse: {status: 200, body: {string: hello}}
  - name: matched
    match:
    - {uri: {regex: '/never/.*'}, headers: {user-agent: {regex: '.*test.*'}}}
    - uri: {prefix: /MATCHED/}
      ignoreUriCase: true
      method: {regex: 'GET|HEAD'}
      scheme: {exact: http}
      authority: {prefix: rules.}
      headers: {user-agent: {regex: 't[a-z]+'}, accept: {prefix: '*/'}, x-secret: {}}
      withoutHeaders: {x-robot: {}, user-agent: {exact: robot}}
      queryParams: {with: {regex: 'q.*'}, other: {}}
      statPrefix: matched
    timeout: 30s
    retries: {attempts: 2, perTryTimeout: 10s, retryOn: '5xx'}
    route: [{destination: {host: origin, port: {number: 8000}}}]
  - match: [{uri: {prefix: /aborted}}]
    fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
    route: [{destination: {host: origin, port: {number: 8000}}}]
"#;

/// Ways to choose an endpoint that do more than draw one.
const BALANCED: &[(&str, &str)] = &[
    ("warmup", "simple: ROUND_ROBIN, warmup: {duration: 1h}"),
    ("localities", "localityLbSetting: {distribute: [{from: '*', to: {here: 60, there: 40}}]}"),
    ("header", "consistentHash: {httpHeaderName: x-user}"),
    ("cookie", "consistentHash: {httpCookie: {name: session, ttl: 60s}, maglev: {tableSize: 251}}"),
    ("source-ip", "consistentHash: {useSourceIp: true}"),
    ("query", "consistentHash: {httpQueryParameterName: with}"),
];

/// A service with these origins as its endpoints for each of them.
fn balanced(here: u16, there: u16) -> String {
    let endpoints = [("here", here), ("there", there)]
        .map(|(locality, port)| format!("{{address: 127.0.0.1, locality: {locality}, ports: {{http: {port}}}}}"));
    let documents = BALANCED.iter().map(|(name, settings)| {
        let host = format!("{name}.example.com");
        let policy = yaml::policy(&host, &format!("loadBalancer: {{{settings}}}"));
        [yaml::route(&host, "", &host), policy, yaml::service_entry(&host, &endpoints)].join("---\n")
    });
    documents.collect::<Vec<String>>().join("---\n")
}

/// A service with this policy and endpoints at these ports.
fn service(host: &str, policy: &str, ports: &[u16]) -> String {
    [yaml::route(host, "", host), yaml::policy(host, policy), yaml::service_entry_at(host, ports)].join("---\n")
}

/// A service of which everything is limited.
fn limited(port: u16) -> String {
    let policy = "connectionPool: {tcp: {maxConnections: 1, tcpKeepalive: {}}, http: {http1MaxPendingRequests: 1, \
                  http2MaxRequests: 1, maxRequestsPerConnection: 1000000, maxRetries: 1}}, retryBudget: {percent: 10}";
    service("limited.example.com", policy, &[port])
}

/// Hosts whose requests are copied to the `mirror`, by what is compared of the answers.
const MIRRORED: [(&str, &str); 3] = [("mirrored", "{}"), ("statuses", "'true'"), ("bodies", "body")];

/// Calls to the allocator that one copy may cost: its task and the future in it, what it shares with the request, the
/// list of these, a timer, the lines of the answer's head.
const ONE_COPY: u64 = 8;

fn mirrored(mirror: u16) -> String {
    let hosts = MIRRORED.iter().map(|(name, compare)| {
        let annotations =
            if *compare == "{}" { "{}".to_owned() } else { format!("{{ringway.dev/mirror-compare: {compare}}}") };
        yaml::route(&format!("{name}.example.com"), "mirror: {host: mirror.example.com}, ", "origin").replacen(
            "metadata: {",
            &format!("metadata: {{annotations: {annotations}, "),
            1,
        )
    });
    let entry = yaml::service_entry_at("mirror.example.com", &[mirror]);
    hosts.chain([entry]).collect::<Vec<String>>().join("---\n")
}

/// A service of which one endpoint is ejected at the first request that meets it.
fn ejecting(there: u16) -> String {
    let policy = "outlierDetection: {consecutiveGatewayErrors: 1, splitExternalLocalOriginErrors: true, \
                  consecutiveLocalOriginFailures: 1, interval: 0.05s, baseEjectionTime: 60s, maxEjectionPercent: 50}";
    service("ejecting.example.com", policy, &[there, ports::free()])
}

/// Calls to the allocator that a request over TLS may cost: rustls makes a record of what is sent, and a buffer of what a
/// record held that was received.
const ONE_SECURED: u64 = 2;

/// A service whose connections are secured.
fn secured(https: u16) -> String {
    service("secured.example.com", "tls: {mode: SIMPLE, insecureSkipVerify: true}", &[https])
}

/// A service at a Unix domain socket.
fn at_a_socket(path: &std::path::Path) -> String {
    let host = "socket.example.com";
    let endpoint = format!("{{address: 'unix://{}'}}", path.display());
    [yaml::route(host, "", host), yaml::service_entry(host, &[endpoint])].join("---\n")
}

/// A request, and the status and length of its answer.
struct Ask {
    what: &'static str,
    head: String,
    mesh: bool,
    answer: (u16, usize),
}

fn asks(origin: u16) -> Vec<Ask> {
    let ask = |what: &'static str, line: &str, lines: &str, mesh, answer| {
        let head = format!("{line} HTTP/1.1\r\n{lines}User-Agent: test\r\nAccept: */*\r\n\r\n");
        Ask { what, head, mesh, answer }
    };
    let rules = "Host: rules.example.com\r\nX-Secret: 1\r\n";
    let cors = format!("{rules}Origin: https://shop.example.com\r\n");
    let preflight = format!("{cors}Access-Control-Request-Method: GET\r\n");
    let (declared, undeclared) = ("Host: origin:8000\r\n".to_owned(), format!("Host: 127.0.0.1:{origin}\r\n"));
    let balanced = BALANCED.iter().map(|(name, _)| {
        let lines =
            format!("Host: {name}.example.com\r\nX-User: anna\r\nX-User: bertha\r\nCookie: a=b; session=\"0123\"\r\n");
        ask(name, "GET /some/path?with=query", &lines, false, (200, 1024))
    });
    let mut asks = vec![
        ask("plain", "GET /some/path?with=query", "Host: a.example.com\r\n", false, (200, 1024)),
        ask("path not normal", "GET /some/../path/%41?with=query", "Host: a.example.com\r\n", false, (200, 1024)),
        ask("rewritten, edited, shared", "GET /changed/path?with=query", &cors, false, (200, 1024)),
        ask("preflight", "OPTIONS /changed/path", &preflight, false, (200, 0)),
        ask("rewritten by regex", "GET /v12/some/path?with=query", rules, false, (200, 1024)),
        ask("redirected", "GET /old/path?with=query", rules, false, (301, 0)),
        ask("answered here", "GET /direct", rules, false, (200, 5)),
        ask("limited", "GET /some/path", "Host: limited.example.com\r\n", false, (200, 1024)),
        ask("past an ejected endpoint", "GET /some/path", "Host: ejecting.example.com\r\n", false, (200, 1024)),
        ask("matched by everything", "GET /matched/path?with=query&other", rules, false, (200, 1024)),
        ask("matched by nothing", "GET /nowhere?with=query", rules, false, (404, 0)),
        ask("at a socket", "GET /some/path", "Host: socket.example.com\r\n", false, (200, 1024)),
        ask("aborted", "GET /aborted", rules, false, (418, 18)),
        ask("from an application", "GET /some/path", &declared, true, (200, 1024)),
        ask("to an undeclared host", "GET /some/path", &undeclared, true, (200, 1024)),
    ];
    asks.extend(balanced);
    asks
}

/// The cluster that copies go to, as statistics name it.
const MIRROR_CLUSTER: &str = "outbound|80||mirror.example.com";

/// Requests to a cluster that are not over.
fn under_way(admin: SocketAddr, cluster: &str) -> u64 {
    let gauge = format!("cluster.{cluster}.upstream_rq_active");
    let filter = gauge.replace('|', ".");
    let head = format!("GET /stats?filter=^{filter}$ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let text = once(admin, head).text();
    let value = text.trim_end().strip_prefix(&gauge).and_then(|rest| rest.strip_prefix(": ")?.parse().ok());
    value.unwrap_or_else(|| panic!("{gauge} in {text:?}"))
}

fn requests(client: &mut Client, ask: &Ask, count: usize) {
    for _ in 0..count {
        client.send(&ask.head);
        let response = client.response_to(ask.head.split(' ').next().unwrap_or_default());
        assert_eq!((response.status, response.body.bytes.len()), ask.answer, "{}: {}", ask.what, response.text());
    }
}

#[test]
fn requests_on_a_connection_that_stays_allocate_nothing() {
    let reply = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nx-internal: 1\r\ncontent-length: 1024\r\n\r\n{}",
        "x".repeat(1024)
    );
    let (mut seen, mut copied, mut sealed) = (Vec::new(), Vec::new(), Vec::new());
    for driver in DRIVERS {
        let [origin, other, mirror] = [(); 3].map(|()| Origin::replying(reply.clone()));
        let own = https::Authority::new("ca").issue(&["secured.example.com"]);
        let secure = https::Tls::new(&own).origin({
            let reply = reply.clone();
            move |peer| {
                while peer.request()?.is_some() {
                    peer.send(&reply)?;
                }
                Ok(())
            }
        });
        let dir = tempfile::TempDir::new().expect("a temporary folder");
        let log = dir.path().join("access.log");
        let socket = dir.path().join("socket");
        let _local = Origin::start_on(std::os::unix::net::UnixListener::bind(&socket).expect("a socket"), {
            let reply = reply.clone();
            move |peer| {
                while peer.request()?.is_some() {
                    peer.send(&reply)?;
                }
                Ok(())
            }
        });
        let admin = ports::loopback(ports::free());
        let proxy = proxy_document(driver, ports::free(), admin, log.to_str().expect("a path in UTF-8"));
        let config = dir.path().join("config.yaml");
        let others = [
            RULES.to_owned(),
            balanced(origin.port(), other.port()),
            limited(origin.port()),
            mirrored(mirror.port()),
            ejecting(other.port()),
            secured(secure.port()),
            at_a_socket(&socket),
        ];
        let documents = [proxy, everything_to(&[origin.port()]), others.join("---\n")].join("---\n");
        std::fs::write(&config, documents).expect("write the YAML");

        let options = istio::Options { permissive: false };
        let source = ConfigSource { paths: vec![config], options, overrides: Overrides::default(), tell: |_| {} };
        let loaded = source.load(&mut std::io::empty());
        assert!(!loaded.has_errors(), "{:?}", loaded.problems);
        let running = control::start(&loaded.plan).expect("ringway starts");
        let (addresses, events) = (running.addresses(), running.events());
        let serving = std::thread::spawn(move || running.serve());

        for ask in asks(origin.port()) {
            let mut client = Client::connect(addresses[usize::from(ask.mesh)]);
            requests(&mut client, &ask, 300); // buffers grow to their size, tables are made
            let before = by_workers();
            assert!(before > 0, "the counter sees the workers");
            requests(&mut client, &ask, 1_000);
            seen.push((driver.name(), ask.what, by_workers() - before));
        }
        let ask = Ask {
            what: "over TLS",
            head: "GET /some/path HTTP/1.1\r\nHost: secured.example.com\r\nAccept: */*\r\n\r\n".to_owned(),
            mesh: false,
            answer: (200, 1024),
        };
        let mut client = Client::connect(addresses[0]);
        requests(&mut client, &ask, 300);
        let before = by_workers();
        requests(&mut client, &ask, 1_000);
        sealed.push((driver.name(), by_workers() - before));
        drop(client);
        for (name, _) in MIRRORED {
            let head = format!("GET /some/path HTTP/1.1\r\nHost: {name}.example.com\r\nAccept: */*\r\n\r\n");
            let ask = Ask { what: name, head, mesh: false, answer: (200, 1024) };
            let mut client = Client::connect(addresses[0]);
            let mut ask_and_wait = |count: usize| {
                for _ in 0..count {
                    requests(&mut client, &ask, 1);
                    // One copy at a time, and its answer read, so that its connection is there for the next.
                    eventually("the copy", || (mirror.take().len() == 1).then_some(()));
                    eventually("the end of the copy", || (under_way(admin, MIRROR_CLUSTER) == 0).then_some(()));
                }
            };
            ask_and_wait(100);
            let before = by_workers();
            ask_and_wait(300);
            copied.push((driver.name(), name, by_workers() - before));
        }
        events.send(Event::Stop).expect("control listens");
        serving.join().expect("a clean stop");
    }
    assert!(seen.iter().all(|(.., calls)| *calls == 0), "calls to the allocator during 1,000 requests each: {seen:?}");
    for (driver, calls) in &sealed {
        println!("{calls} calls to the allocator for 1,000 requests over TLS on {driver}");
        assert!(
            *calls <= 1_000 * ONE_SECURED,
            "{calls} calls to the allocator for 1,000 requests over TLS on {driver}"
        );
    }
    for [(driver, _, plain), compared @ ..] in copied.as_chunks::<3>().0 {
        assert!(*plain <= 300 * ONE_COPY, "{plain} calls to the allocator for 300 copies on {driver}");
        println!("{plain} calls to the allocator for 300 copies on {driver}; compared: {compared:?}");
        // To compare answers that are the same costs nothing more.
        let dear = compared.iter().find(|(.., calls)| *calls > *plain + 100);
        assert!(dear.is_none(), "{plain} calls to the allocator for 300 copies on {driver}, but {dear:?}");
    }
}
