//! Connections of clients and upstreams as scripts: what one side says and takes, and what the other side gets of it, step by
//! step, without a socket or a ring. Each row of the tables is one situation.
//!
//! A step is a line: who (`c` for the client, `u1`, `u2` for the upstream connections in the order of their use), what, and
//! text in which `~` stands for a line end.
//!
//! | | |
//! | --- | --- |
//! | `c> text` | it says this |
//! | `c< a \| b` | it has got these parts since the last look, in this order, whatever lies between them |
//! | `c= text` | it has got exactly this |
//! | `c-` | it has got nothing |
//! | `c.` `c!` | it sends its end; it resets |
//! | `c0` `c*` | it takes no more; it takes everything again |
//! | `cx` `co` | the proxy has closed it; the proxy has it open |
//! | `w 50` | milliseconds pass |

use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use super::{Budget, Core, CoreParts, ListenerHandle, serve};
use crate::base::id::ListenerId;
use crate::base::rng::Rng;
use crate::io::{self, Driver, ScriptedPeer};
use crate::plan::tests::plan_of;
use crate::upstream::{CoreStats, SharedCluster};

const ROUTES: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g}
spec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: s}
spec:
  hosts: [s.test]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 192.0.2.1}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v}
spec:
  hosts: ['*']
  gateways: [g]
  http:
  - route: [{destination: {host: s.test}}]
";

/// A core, a client's connection to it, and upstream connections that lie in the pool of the one endpoint.
struct Scene {
    client: ScriptedPeer,
    upstreams: Vec<ScriptedPeer>,
    task: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Scene {
    /// `route` are more fields of the route.
    fn new(route: &str) -> Self {
        let plan = plan_of(&format!("{ROUTES}    {}\n", route.replace('\n', "\n    ")));
        let stats = CoreStats {
            clusters: plan.clusters.iter().map(|_| Arc::default()).collect(),
            endpoints: plan.clusters.iter().map(|of| of.endpoints.iter().map(|_| Arc::default()).collect()).collect(),
            listeners: plan.listeners.iter().map(|_| Arc::default()).collect(),
            http: plan.listeners.iter().map(|_| Arc::default()).collect(),
            ..CoreStats::default()
        };
        let core = Core::new(CoreParts {
            index: 0,
            shared: SharedCluster::all(&plan, 1),
            plan,
            stats,
            rng: Rng::seeded(1),
            log: None,
            budget: Budget::new(10),
            stands_for_loopback: None,
            hostname: "host".into(),
            instance: *b"0000000a",
            resolve_authority: Box::new(|_| {}),
            most_mirrors: 0,
            tell_mirrors: Box::new(|_| {}),
            peers: Vec::new(),
        });
        let installed = core.installed();
        let (_, local) = installed.plan.clusters.iter().position(|cluster| !cluster.endpoints.is_empty()).map_or_else(
            || panic!("no cluster has endpoints"),
            |at| installed.cluster(crate::base::id::ClusterId(at as u32)).expect("a cluster"),
        );
        let endpoint = local.endpoint(crate::base::id::EndpointId(0)).expect("an endpoint");
        // The last one put to rest is the first one used.
        let mut upstreams: Vec<_> = (0..2)
            .map(|_| {
                let (conn, peer) = ScriptedPeer::connect();
                local.rest(endpoint, conn, &core.buffers);
                peer
            })
            .collect();
        upstreams.reverse();
        let (conn, client) = ScriptedPeer::connect();
        let from = SocketAddr::from(([198, 51, 100, 7], 4321));
        let task = serve(core, Rc::default(), ListenerHandle::open(ListenerId(0)), conn, from);
        Self { client, upstreams, task: Some(Box::pin(task)) }
    }

    /// Lets the proxy do whatever it can.
    fn settle(&mut self) {
        for _ in 0..20 {
            let Some(task) = &mut self.task else { return };
            if task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                self.task = None;
            }
        }
    }

    async fn play(&mut self, step: &str, context: &str) {
        let (who, rest) = match step.strip_prefix('u') {
            Some(rest) => {
                let number: usize = rest[..1].parse().expect("the number of an upstream connection");
                (self.upstreams[number - 1].clone(), &rest[1..])
            }
            None => (self.client.clone(), step.strip_prefix('c').unwrap_or(step)),
        };
        let (what, text) = rest.split_at(1);
        let text = text.strip_prefix(' ').unwrap_or(text).replace('~', "\r\n");
        match what {
            ">" => who.says(text.as_bytes()),
            "." => who.ends(),
            "!" => who.resets(),
            "0" => who.takes(0),
            "*" => who.takes(usize::MAX),
            "w" => {
                let wait: u64 = text.parse().expect("milliseconds");
                io::sleep_until(io::now() + Duration::from_millis(wait)).await;
            }
            _ => {}
        }
        self.settle();
        match what {
            "<" => {
                let got = String::from_utf8_lossy(&who.got()).into_owned();
                let mut left = got.as_str();
                for part in text.split(" | ") {
                    let at = left.find(part).unwrap_or_else(|| panic!("{context}\n{step}: no {part:?} in {got:?}"));
                    left = &left[at + part.len()..];
                }
            }
            "=" => assert_eq!(String::from_utf8_lossy(&who.got()), text, "{context}\n{step}"),
            "-" => assert_eq!(String::from_utf8_lossy(&who.got()), "", "{context}\n{step}"),
            "x" => assert!(who.is_closed(), "{context}\n{step}: it is open"),
            "o" => assert!(!who.is_closed(), "{context}\n{step}: it is closed"),
            ">" | "." | "!" | "0" | "*" | "w" => {}
            _ => panic!("{context}\nno such step: {step}"),
        }
    }
}

fn play(cases: &[(&str, &str, &[&str])]) {
    for (name, route, steps) in cases {
        // The driver has no part in it, but for timers.
        let played = io::block_on(Driver::Epoll, |_| async {
            let mut scene = Scene::new(route);
            scene.settle();
            for step in *steps {
                scene.play(step, name).await;
            }
        });
        played.expect("a runtime");
    }
}

const GET: &str = "c> GET /a HTTP/1.1~Host: a~~";
const OK: &str = "u1> HTTP/1.1 200 OK~Content-Length: 2~~ok";

#[test]
fn whole_exchanges() {
    play(&[
        (
            "one request after the other",
            "",
            &[
                GET,
                "u1< GET /a HTTP/1.1~Host: a~ | ~~",
                OK,
                "c< HTTP/1.1 200 OK~ | ~~ok",
                GET,
                "u1< GET /a",
                OK,
                "c< ok",
                "co",
            ],
        ),
        (
            "byte by byte",
            "",
            &[
                "c> G",
                "c> ET /a HTTP/1.1~Ho",
                "u1-",
                "c> st: a~~",
                "u1< GET /a",
                "u1> H",
                "c-",
                "u1> TTP/1.1 204 No~~",
                "c< 204 No Content",
            ],
        ),
        (
            "a pipelined request waits for its turn",
            "",
            &[
                "c> GET /1 HTTP/1.1~Host: a~~GET /2 HTTP/1.1~Host: a~~",
                "u1< GET /1",
                OK,
                "c< ok",
                "u1< GET /2",
                OK,
                "c< ok",
            ],
        ),
        (
            "a body of known length",
            "",
            &[
                "c> POST /a HTTP/1.1~Host: a~Content-Length: 10~~12345",
                "u1< POST /a | Content-Length: 10~ | ~~12345",
                "c> 67890",
                "u1= 67890",
                OK,
                "c< ok",
                "co",
            ],
        ),
        (
            "chunks are framed anew, extensions and trailers dropped",
            "",
            &[
                "c> POST /a HTTP/1.1~Host: a~Transfer-Encoding: chunked~~3;x=y~abc~",
                "u1< transfer-encoding: chunked~~3~abc~",
                "c> 2~de~0~Trailer: t~~",
                "u1= 2~de~0~~",
                "u1> HTTP/1.1 200 OK~Transfer-Encoding: chunked~~4;e~okok~",
                "c< transfer-encoding: chunked~~4~okok~",
                "u1> 0~X: y~~",
                "c= 0~~",
                GET,
                "u1< GET /a",
            ],
        ),
        (
            "the answer to HEAD has no body",
            "",
            &[
                "c> HEAD /a HTTP/1.1~Host: a~~",
                "u1< HEAD",
                "u1> HTTP/1.1 200 OK~Content-Length: 9~~",
                "c< Content-Length: 9",
                GET,
                "u1< GET",
            ],
        ),
        (
            "a body until close becomes chunks",
            "",
            &[
                GET,
                "u1> HTTP/1.1 200 OK~~some",
                "c< chunked~~4~some~",
                "u1> more",
                "c= 4~more~",
                "u1.",
                "c= 0~~",
                "u1x",
                GET,
                "u2< GET",
            ],
        ),
        (
            "and ends the connection of an HTTP/1.0 client",
            "",
            &[
                "c> GET /a HTTP/1.0~~",
                "u1> HTTP/1.1 200 OK~~some",
                "c< HTTP/1.0 200 OK~ | connection: close | ~~some",
                "u1.",
                "cx",
            ],
        ),
        (
            "bytes behind a response end its connection",
            "",
            &[GET, "u1> HTTP/1.1 200 OK~Content-Length: 2~~okHTTP/1.1 200 OK~~", "c< ~~ok", "u1x", "co"],
        ),
        (
            "an upstream that says close is not used again",
            "",
            &[GET, "u1> HTTP/1.1 200 OK~Connection: close~Content-Length: 2~~ok", "c< ok", "u1x", GET, "u2< GET"],
        ),
    ]);
}

#[test]
fn interim_heads_and_tunnels() {
    const UPGRADE: &str = "c> GET /ws HTTP/1.1~Host: a~Connection: upgrade~Upgrade: websocket~~";
    play(&[
        (
            "100 Continue",
            "",
            &[
                "c> POST /a HTTP/1.1~Host: a~Content-Length: 2~Expect: 100-continue~~",
                "u1< Expect: 100-continue",
                "u1> HTTP/1.1 100 Continue~~",
                "c= HTTP/1.1 100 Continue~~",
                "c> hi",
                "u1= hi",
                OK,
                "c< ok",
                "co",
            ],
        ),
        (
            "early hints",
            "",
            &[GET, "u1> HTTP/1.1 103 Early Hints~Link: x~~", "c= HTTP/1.1 103 Early Hints~Link: x~~", OK, "c< 200 OK"],
        ),
        ("not for HTTP/1.0", "", &["c> GET /a HTTP/1.0~~", "u1> HTTP/1.1 103 Early Hints~~", "c-", OK, "c< 200 OK"]),
        (
            "an upgrade",
            "",
            &[
                UPGRADE,
                "u1< Connection: upgrade~Upgrade: websocket",
                "u1> HTTP/1.1 101 Switching Protocols~Upgrade: websocket~Connection: upgrade~~first",
                "c< 101 Switching Protocols | ~~first",
                "c> ping",
                "u1= ping",
                "u1> pong",
                "c= pong",
                "u1.",
                "cx",
                "u1x",
            ],
        ),
        ("an upgrade that is declined", "", &[UPGRADE, OK, "c< 200 OK | ok", "u1o"]),
        (
            "nobody asked for 101",
            "",
            &[GET, "u1> HTTP/1.1 101 Switching Protocols~Upgrade: x~~", "c< 502 Bad Gateway", "u1x"],
        ),
    ]);
}

#[test]
fn early_answers_and_slow_sides() {
    const POST: &str = "c> POST /a HTTP/1.1~Host: a~Content-Length: 6~~abc";
    play(&[
        (
            "what is left of a small request is sent on",
            "",
            &[POST, "u1< abc", OK, "c< 200 OK | ok", "c> def", "u1= def", GET, "u1< GET", OK, "c< ok"],
        ),
        ("but not awaited for long", "", &[POST, OK, "c< ok", "co", "w 1100", "c.", "w 10", "cx", "u1x"]),
        (
            "what is left of a large one is not",
            "",
            &[
                "c> POST /a HTTP/1.1~Host: a~Content-Length: 1000000~~abc",
                OK,
                "c< connection: close | ok",
                "c.",
                "w 10",
                "cx",
                "u1x",
            ],
        ),
        (
            "nor what waits for 100 Continue",
            "",
            &[
                "c> POST /a HTTP/1.1~Host: a~Content-Length: 2~Expect: 100-continue~~",
                OK,
                "c< connection: close",
                "u1x",
            ],
        ),
        ("an answer while the upstream takes nothing", "", &["u10", POST, "u1-", OK, "c< 200 OK | ok"]),
        ("a client that takes nothing for a while", "", &["c0", GET, OK, "c-", "c*", "c< 200 OK | ok", GET, "u1< GET"]),
        (
            "half an answer is passed on",
            "",
            &[GET, "u1> HTTP/1.1 200 OK~Content-Length: 6~~abc", "c< ~~abc", "u1> def", "c= def", "co"],
        ),
    ]);
}

#[test]
fn connections_that_break() {
    const POST: &str = "c> POST /a HTTP/1.1~Host: a~Content-Length: 6~~abc";
    play(&[
        ("reset before the head of a POST", "", &[POST, "u1!", "c< 503 Service Unavailable", "u2-"]),
        ("an end inside the head", "", &[GET, "u1> HTTP/1.1 200", "u1.", "c< 502 Bad Gateway"]),
        ("no HTTP", "", &[GET, "u1> SSH-2.0-x~~", "c< 502 Bad Gateway", "u1x"]),
        (
            "two lengths",
            "",
            &[GET, "u1> HTTP/1.1 200 OK~Content-Length: 2~Transfer-Encoding: chunked~~", "c< 502 Bad Gateway", "u1x"],
        ),
        ("an end inside the body", "", &[GET, "u1> HTTP/1.1 200 OK~Content-Length: 6~~abc", "c< abc", "u1.", "cx"]),
        (
            "a reset inside the body",
            "",
            &[GET, "u1> HTTP/1.1 200 OK~Transfer-Encoding: chunked~~3~abc~", "c< 3~abc~", "u1!", "c-", "cx"],
        ),
        (
            "malformed chunks of the upstream",
            "",
            &[GET, "u1> HTTP/1.1 200 OK~Transfer-Encoding: chunked~~zz~", "c< 200 OK", "cx", "u1x"],
        ),
        (
            "malformed chunks of the client",
            "",
            &[
                "c> POST /a HTTP/1.1~Host: a~Transfer-Encoding: chunked~~3~abc~",
                "u1< abc",
                "c> zz~",
                "c< 400 Bad Request",
                "u1x",
            ],
        ),
        ("the client leaves before the answer", "", &[GET, "u1< GET", "c.", "u1x"]),
        ("the client is reset inside its body", "", &[POST, "u1< abc", "c!", "u1x"]),
        (
            "the client leaves inside its answer",
            "",
            &[GET, "u1> HTTP/1.1 200 OK~Content-Length: 6~~abc", "c!", "u1> def", "u1x"],
        ),
    ]);
}

#[test]
fn attempts() {
    const RETRY: &str = "retries: {attempts: 2, retryOn: '5xx,reset', backoff: 1ms}";
    const BUSY: &str = "u1> HTTP/1.1 503 Busy~Content-Length: 0~~";
    play(&[
        (
            "a second attempt on the same connection",
            RETRY,
            &[GET, "u1< GET", BUSY, "c-", "w 30", "u1< GET | x-envoy-attempt-count: 2", OK, "c< 200 OK | ok"],
        ),
        (
            "a second attempt after a reset",
            RETRY,
            &[GET, "u1!", "w 30", "u2< GET", "u2> HTTP/1.1 200 OK~Content-Length: 2~~ok", "c< 200 OK | ok"],
        ),
        (
            "what was read of the body is sent again",
            RETRY,
            &[
                "c> POST /a HTTP/1.1~Host: a~Transfer-Encoding: chunked~~3~abc~",
                "c> 3~def~0~~",
                "u1< 3~abc~ | 3~def~0~~",
                BUSY,
                "w 30",
                "u1< attempt-count: 2 | ~~3~abc~ | 3~def~0~~",
                OK,
                "c< 200 OK",
                "co",
            ],
        ),
        (
            "an end that came by itself, too",
            RETRY,
            &[
                "c> POST /a HTTP/1.1~Host: a~Transfer-Encoding: chunked~~3~abc~",
                "c> 0~~",
                "u1< 3~abc~0~~",
                BUSY,
                "w 30",
                "u1< ~~3~abc~0~~",
                OK,
                "c< 200",
            ],
        ),
        (
            "an answer before the end of the request is retried with what comes",
            RETRY,
            &[
                "c> POST /a HTTP/1.1~Host: a~Content-Length: 6~~abc",
                "u1< abc",
                BUSY,
                "w 30",
                "u2< ~~abc",
                "c> def",
                "u2= def",
                "u2> HTTP/1.1 200 OK~Content-Length: 0~~",
                "c< 200 OK",
            ],
        ),
        ("the last answer stands", RETRY, &[GET, BUSY, "w 30", BUSY, "w 60", BUSY, "c< 503 Service Unavailable", "co"]),
        ("no attempt after an interim head", RETRY, &[GET, "u1> HTTP/1.1 103 Early Hints~~", "c< 103", BUSY, "c< 503"]),
        ("a route's timeout", "timeout: 50ms", &[GET, "u1< GET", "w 80", "c< 504 Gateway Timeout", "u1x"]),
        (
            "an attempt's timeout",
            "timeout: 1s\nretries: {attempts: 1, perTryTimeout: 40ms, retryOn: reset, backoff: 1ms}",
            &[GET, "w 80", "u1x", "w 30", "u2< GET"],
        ),
    ]);
}
