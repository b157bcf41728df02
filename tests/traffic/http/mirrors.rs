//! Mirroring: what the mirror gets, and that its fate is its own. What Envoy makes of the same requests is compared in
//! `tests/differential`, how answers compare is in `comparing`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use super::{Bench, get_of, host, on_each_driver, says_path};
use crate::support::client::{Client, once};
use crate::support::message::Framing;
use crate::support::origin::{Origin, Recorded};
use crate::support::ports;
use crate::support::ringway::{Driver, Ringway, Setup};
use crate::support::wait::{PATIENCE, eventually};
use crate::support::yaml;

on_each_driver![
    the_tutorials_run,
    the_mirror_gets_what_the_origin_gets,
    large_bodies_arrive_whole,
    a_body_that_comes_slowly_is_sent_on_as_it_comes,
    every_mirror_draws_for_itself,
    nothing_that_is_not_forwarded_is_mirrored,
    a_retried_request_is_mirrored_once,
    a_tunnel_is_not_mirrored,
    a_slow_mirror_is_not_waited_for,
    a_mirror_that_never_reads_costs_a_bounded_memory,
    a_mirror_that_fails_is_not_noticed,
    a_mirror_that_never_answers_meets_the_routes_timeout,
    mirrors_that_never_answer_are_no_more_than_so_many,
    a_mirrors_connection_is_used_again,
    a_mirrors_connection_closed_at_its_reuse_is_not_noticed,
    a_client_that_leaves_half_way_takes_the_copy_along,
    a_client_that_leaves_later_does_not,
    a_mirrors_new_plan_lets_the_copy_end,
    a_copy_under_way_does_not_hold_up_the_end,
    an_endpoint_of_a_mirror_is_ejected_for_what_copies_meet,
    what_a_breaker_refuses_at_once_is_not_mirrored,
    a_mirrors_breaker_refuses_copies,
];

/// The cluster of the mirror of [`entry`], as statistics name it.
pub(crate) const MIRROR_CLUSTER: &str = "outbound|80||mirror.internal";

/// A host outside of the services, with an endpoint on each of these ports.
pub(crate) fn entry(name: &str, ports: &[u16]) -> String {
    yaml::service_entry_at(&format!("{name}.internal"), ports)
}

const MIRROR: &str = "mirror: {host: mirror.internal}";

/// A bench with everything of `copied.example.com` copied to the mirror, and these fields besides.
fn bench(driver: Driver, cpus: &[usize], origin: Origin, mirror: u16, fields: &str) -> Bench {
    let fields = if fields.is_empty() { MIRROR.to_owned() } else { format!("{MIRROR}\n    {fields}") };
    Bench::with(driver, origin, |setup| setup.cpus(cpus).yaml(host("copied", &fields)).yaml(entry("mirror", &[mirror])))
}

const CPUS: [&[usize]; 2] = [&[0], &[0, 1]];

fn ok() -> Origin {
    Origin::replying("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
}

pub(crate) fn mirror_stat(ringway: &Ringway, name: &str) -> u64 {
    ringway.cluster_stat(MIRROR_CLUSTER, name)
}

#[track_caller]
pub(crate) fn mirror_counts(ringway: &Ringway, name: &str, count: u64) {
    eventually(&format!("{name} of {count}"), || (mirror_stat(ringway, name) == count).then_some(()));
}

/// Waits for so many requests at the mirror.
#[track_caller]
fn copies(mirror: &Origin, count: usize) -> Vec<Recorded> {
    eventually(&format!("{count} copies"), || (mirror.requests().len() >= count).then(|| mirror.requests()))
}

/// Ends a test: first the mirror, whose connections rest in the proxy, then all the rest.
#[track_caller]
fn finish(bench: Bench, mirror: Origin) {
    bench.ringway.quiet();
    drop(mirror);
    let stopped = bench.finish();
    assert!(!stopped.said.contains("panicked"), "{}", stopped.said);
}

fn config(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/mirroring").join(file)
}

/// One request to `httpbin`: v1 answers, and v2's own log has it, too.
fn the_tutorials_run(driver: Driver) {
    for cpus in CPUS {
        let [v1, v2] = ["v1", "v2"].map(|name| {
            Origin::replying(format!("HTTP/1.1 200 OK\r\nx-version: {name}\r\ncontent-length: 2\r\n\r\n{name}"))
        });
        let workload = |version: &str, port: u16| {
            format!(
                "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: httpbin-{version}}}\nspec: \
                 {{address: 127.0.0.1, ports: {{http: {port}}}, labels: {{app: httpbin, version: {version}}}}}\n"
            )
        };
        let ringway = Setup::new(driver)
            .cpus(cpus)
            .mesh("REGISTRY_ONLY")
            .path(config("6-mirroring.yaml"))
            .yaml(workload("v1", v1.port()))
            .yaml(workload("v2", v2.port()))
            .start();
        let response = once(ringway.mesh(), "GET /headers HTTP/1.1\r\nHost: httpbin:8000\r\n\r\n");
        assert_eq!((response.status, response.header("x-version")), (200, Some("v1")));
        let (original, copy) = (v1.requests(), copies(&v2, 1));
        let seen = |request: &Recorded| (request.line().to_owned(), request.header("host").map(str::to_owned));
        let line = "GET /headers HTTP/1.1".to_owned();
        assert_eq!(original.iter().map(seen).collect::<Vec<_>>(), [(line.clone(), Some("httpbin:8000".to_owned()))]);
        assert_eq!(copy.iter().map(seen).collect::<Vec<_>>(), [(line, Some("httpbin-shadow:8000".to_owned()))]);
        let cluster = |name: &str| format!("cluster.outbound|8000|v2|httpbin.default.svc.cluster.local.{name}");
        eventually("the answer of v2 counted", || {
            (ringway.stat(&cluster("internal.upstream_rq_200")) == 1).then_some(())
        });
        assert_eq!(ringway.stat(&cluster("external.upstream_rq_200")), 0);
        ringway.quiet();
        let log = ringway.stop().log;
        assert_eq!(log.len(), 1, "the copy is not in the access log: {log:#?}");
        assert!(log[0].contains(" outbound|8000|v1|httpbin.default.svc.cluster.local "), "{log:#?}");
    }
}

/// Heads in every framing, with what rules make of them.
fn the_mirror_gets_what_the_origin_gets(driver: Driver) {
    let rules = "headers: {request: {set: {x-set: '1'}, remove: [x-gone]}}\n    rewrite: {uri: /new, authority: \
                 'inside.example.com:81'}\n    timeout: 5s";
    for cpus in CPUS {
        let mirror = ok();
        let bench = bench(driver, cpus, ok(), mirror.port(), rules);
        let ask = |line: &str, lines: &str| {
            format!(
                "{line} HTTP/1.1\r\nHost: copied.example.com\r\nX-Forwarded-For: 1.2.3.4\r\nX-Gone: 1\r\n{lines}\r\n"
            )
        };
        for request in [
            ask("GET /a?b=c", ""),
            ask("HEAD /a", ""),
            ask("POST /a", "content-length: 5\r\n") + "hello",
            ask("POST /a", "content-length: 0\r\n"),
            ask("POST /a", "transfer-encoding: chunked\r\n") + "5;x=y\r\nhello\r\n3\r\nyou\r\n0\r\nt: 1\r\n\r\n",
            ask("PUT /a", "Expect: 100-continue\r\ncontent-length: 5\r\n") + "hello",
        ] {
            let response = bench.client().ask(&request);
            assert_eq!(response.status, 200, "{request}");
            let (original, copy) = (bench.origin.take().remove(0), copies(&mirror, 1).remove(0));
            mirror.take();
            assert_eq!(copy.line(), original.line());
            assert_eq!(copy.body, original.body, "{request}");
            assert!(copy.body.complete);
            assert_eq!(original.header("host"), Some("inside.example.com:81"));
            assert_eq!(copy.header("host"), Some("inside.example.com-shadow:81"));
            assert_eq!((original.header("x-envoy-internal"), copy.header("x-envoy-internal")), (None, Some("true")));
            let before = original.header("x-forwarded-for").expect("a list");
            let list = copy.header("x-forwarded-for").expect("a list");
            let own = list.strip_prefix(before).and_then(|rest| rest.strip_prefix(','));
            assert!(own.is_some_and(|own| own.parse::<std::net::IpAddr>().is_ok()), "{before} and {list}");
            let others = |request: &Recorded| {
                let own = ["host", "x-envoy-internal", "x-forwarded-for"];
                let mut headers = request.head.headers.clone();
                headers.retain(|(name, _)| !own.contains(&name.to_ascii_lowercase().as_str()));
                headers
            };
            assert_eq!(others(&copy), others(&original), "{request}");
            assert_eq!(copy.header("x-envoy-attempt-count"), Some("1"));
        }
        assert!(bench.origin.requests().is_empty() && mirror.requests().is_empty());
        finish(bench, mirror);
    }
}

/// Of which no two places look alike.
fn body(length: usize) -> Vec<u8> {
    (0_u32..).flat_map(|word| (word ^ 0x5a5a_0000).to_be_bytes()).take(length).collect()
}

fn chunked(body: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    for chunk in body.chunks(9_973) {
        message.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        message.extend_from_slice(chunk);
        message.extend_from_slice(b"\r\n");
    }
    message.extend_from_slice(b"0\r\n\r\n");
    message
}

fn head(framing: &str) -> String {
    format!("POST /copied HTTP/1.1\r\nHost: copied.example.com\r\n{framing}\r\n\r\n")
}

fn large_bodies_arrive_whole(driver: Driver) {
    for cpus in CPUS {
        let mirror = ok();
        let bench = bench(driver, cpus, ok(), mirror.port(), "");
        let body = body(3_000_001);
        for (framing, message) in [
            (
                Framing::Length(body.len()),
                [head(&format!("content-length: {}", body.len())).as_bytes(), &body].concat(),
            ),
            (Framing::Chunked, [head("transfer-encoding: chunked").as_bytes(), &chunked(&body)].concat()),
        ] {
            assert_eq!(bench.client().ask(message).status, 200);
            let copy = copies(&mirror, 1).remove(0);
            mirror.take();
            assert_eq!((copy.body.framing, copy.body.bytes.len()), (framing, body.len()));
            assert!(copy.body.complete && copy.body.bytes == body, "other bytes");
        }
        assert_eq!(mirror_stat(&bench.ringway, "mirror_overflow"), 0);
        finish(bench, mirror);
    }
}

/// The mirror has a piece before the client sends the next one.
fn a_body_that_comes_slowly_is_sent_on_as_it_comes(driver: Driver) {
    let (told, tell) = channel();
    let told = Mutex::new(told);
    let mirror = Origin::start(move |peer| {
        let Some(head) = peer.head()? else { return Ok(()) };
        assert_eq!(head.header("content-length"), Some("9"));
        for _ in 0..3 {
            let piece = peer.raw(3)?;
            let _ = told.lock().expect("one at a time").send(piece); // the test has ended without it
        }
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    });
    let bench = bench(driver, &[0], ok(), mirror.port(), "");
    let mut client = bench.client();
    client.send(head("content-length: 9"));
    for piece in ["one", "two", "six"] {
        client.send(piece);
        assert_eq!(tell.recv_timeout(PATIENCE).as_deref(), Ok(piece.as_bytes()));
    }
    assert_eq!(client.response().status, 200);
    mirror_counts(&bench.ringway, "internal.upstream_rq_200", 1);
    drop(client);
    finish(bench, mirror);
}

fn every_mirror_draws_for_itself(driver: Driver) {
    const REQUESTS: usize = 2_000;
    for cpus in CPUS {
        let [half, fifth] = [ok(), ok()];
        let fields = "mirrors:\n    - {destination: {host: half.internal}, percentage: {value: 50}}\n    - {destination: \
                      {host: gone.internal}}\n    - {destination: {host: fifth.internal}, percentage: {value: 20}}\n    \
                      - {destination: {host: half.internal}, percentage: {value: 0}}";
        let bench = Bench::with(driver, ok(), |setup| {
            setup
                .cpus(cpus)
                .flags(&["--permissive"])
                .yaml(host("copied", fields))
                .yaml(entry("half", &[half.port()]))
                .yaml(entry("fifth", &[fifth.port()]))
        });
        let mut clients: Vec<Client> = (0..4).map(|_| bench.client()).collect();
        for number in 0..REQUESTS {
            let request = format!("GET /{number} HTTP/1.1\r\nHost: copied.example.com\r\n\r\n");
            assert_eq!(clients[number % 4].ask(request).status, 200);
        }
        drop(clients);
        bench.ringway.quiet();
        let paths = |origin: &Origin| -> Vec<String> {
            let mut paths: Vec<_> = origin.take().iter().map(|request| request.line().to_owned()).collect();
            paths.sort();
            paths
        };
        let (half_paths, fifth_paths) = (paths(&half), paths(&fifth));
        let both = half_paths.iter().filter(|path| fifth_paths.contains(path)).count();
        // 5 standard deviations of a binomial: missed once in 1.7 million runs.
        for (count, p) in [(half_paths.len(), 0.5), (fifth_paths.len(), 0.2), (both, 0.1)] {
            let (n, count) = (REQUESTS as f64, count as f64);
            let bound = 5.0 * (n * p * (1.0 - p)).sqrt();
            assert!((count - n * p).abs() < bound, "{count} of {n} at {p}");
        }
        drop(half);
        finish(bench, fifth);
    }
}

/// A fault's abort, a redirect, an answer of the proxy's own, an origin without endpoints; a delay only holds up.
fn nothing_that_is_not_forwarded_is_mirrored(driver: Driver) {
    let mirror = ok();
    let always = "percentage: {value: 100}";
    let none = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: none}\nspec:\n  hosts: \
                [none.example.com]\n  gateways: [edge]\n  http:\n  - mirror: {host: mirror.internal}\n    route: \
                [{destination: {host: none.internal}}]\n";
    let bench = Bench::with(driver, ok(), |setup| {
        setup
            .yaml(host("abort", &format!("{MIRROR}\n    fault: {{abort: {{httpStatus: 418, {always}}}}}")))
            .yaml(host("delay", &format!("{MIRROR}\n    fault: {{delay: {{fixedDelay: 0.3s, {always}}}}}")))
            .yaml(none)
            .yaml(entry("none", &[]))
            .yaml(entry("mirror", &[mirror.port()]))
    });
    let mut client = bench.client();
    assert_eq!(client.ask(get_of("abort")).status, 418);
    assert_eq!(client.ask(get_of("none")).status, 503);
    let began = Instant::now();
    client.send(get_of("delay"));
    copies(&mirror, 1);
    assert!(began.elapsed() >= Duration::from_millis(300), "the copy went out after {:?}", began.elapsed());
    assert_eq!(client.response().status, 200);
    let lines: Vec<String> = mirror.requests().iter().map(|request| request.line().to_owned()).collect();
    assert_eq!(lines, ["GET /delay HTTP/1.1"]);
    drop(client);
    finish(bench, mirror);
}

fn a_retried_request_is_mirrored_once(driver: Driver) {
    let origin = Origin::start(|peer| {
        while let Some(request) = peer.request()? {
            let last = request.header("x-envoy-attempt-count") == Some("3");
            let status = if last { "200 OK" } else { "503 Service Unavailable" };
            peer.send(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n"))?;
        }
        Ok(())
    });
    let mirror = ok();
    let retries = "retries: {attempts: 2, retryOn: 5xx, backoff: 0.001s}";
    let bench = bench(driver, &[0], origin, mirror.port(), retries);
    let mut client = bench.client();
    let body = body(300_000);
    let message = [head(&format!("content-length: {}", body.len())).as_bytes(), &body].concat();
    for _ in 0..5 {
        assert_eq!(client.ask(&message).status, 200);
    }
    drop(client);
    bench.ringway.quiet();
    assert_eq!(bench.origin.requests().len(), 15);
    let copies = copies(&mirror, 5);
    assert_eq!(copies.len(), 5);
    for copy in copies {
        assert_eq!(copy.header("x-envoy-attempt-count"), Some("1"));
        assert!(copy.body.complete && copy.body.bytes == body);
    }
    finish(bench, mirror);
}

fn a_tunnel_is_not_mirrored(driver: Driver) {
    let origin = Origin::start(|peer| {
        peer.head()?;
        peer.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")?;
        let bytes = peer.raw(4)?;
        peer.send(bytes)
    });
    let mirror = ok();
    let bench = bench(driver, &[0], origin, mirror.port(), "");
    let mut client = bench.client();
    client
        .send("GET /copied HTTP/1.1\r\nHost: copied.example.com\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.response().status, 101);
    client.send("ping");
    assert_eq!(client.raw(4), b"ping");
    drop(client);
    bench.ringway.quiet();
    assert!(mirror.requests().is_empty());
    finish(bench, mirror);
}

/// The mirror answers only after the client has its own answer, time after time.
fn a_slow_mirror_is_not_waited_for(driver: Driver) {
    for cpus in CPUS {
        let (go, wait) = channel::<()>();
        let wait = Mutex::new(wait);
        let mirror = Origin::start(move |peer| {
            while peer.request()?.is_some() {
                let _ = wait.lock().expect("one at a time").recv_timeout(PATIENCE);
                peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
            }
            Ok(())
        });
        let bench = bench(driver, cpus, says_path(), mirror.port(), "");
        let mut client = bench.client();
        for _ in 0..20 {
            assert_eq!(client.ask(get_of("copied")).text(), "/copied");
        }
        copies(&mirror, 20);
        assert_eq!(mirror_stat(&bench.ringway, "internal.upstream_rq_200"), 0);
        assert_eq!(mirror_stat(&bench.ringway, "upstream_rq_active"), 20);
        for _ in 0..20 {
            go.send(()).expect("the mirror waits");
        }
        mirror_counts(&bench.ringway, "internal.upstream_rq_200", 20);
        drop(client);
        finish(bench, mirror);
    }
}

fn a_mirror_that_never_reads_costs_a_bounded_memory(driver: Driver) {
    /// Far more than sockets hold.
    const LARGE: usize = 64 << 20;
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let mirror = Origin::start(move |_| {
        let _ = wait.lock().expect("one at a time").recv_timeout(PATIENCE);
        Ok(())
    });
    let origin = Origin::start(|peer| {
        while let Some(head) = peer.head()? {
            let mut left: usize = head.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            while left > 0 {
                let got = peer.raw(left.min(1 << 16))?.len();
                if got == 0 {
                    return Ok(());
                }
                left -= got;
            }
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
        }
        Ok(())
    });
    let bench = bench(driver, &[0], origin, mirror.port(), "");
    let before = bench.ringway.process.memory_kib("VmRSS");
    for round in 1..=3 {
        let mut client = bench.client();
        client.send(head(&format!("content-length: {LARGE}")));
        let piece = body(1 << 20);
        for _ in 0..LARGE / piece.len() {
            client.stream().write_all(&piece).expect("the origin takes all of it");
        }
        assert_eq!(client.response().status, 200);
        mirror_counts(&bench.ringway, "mirror_overflow", round);
        mirror_counts(&bench.ringway, "upstream_rq_tx_reset", round);
    }
    // What one copy may lie behind, and as much again for all else.
    let peak = bench.ringway.process.memory_kib("VmHWM");
    assert!(peak < before + 16 * 1024, "{peak} KiB at the peak, {before} KiB before");
    assert_eq!(mirror_stat(&bench.ringway, "internal.upstream_rq_completed"), 0);
    drop(go);
    finish(bench, mirror);
}

/// Each way to fail, 20 times on one connection, with and without a body: the client gets its answers, and the mirror's
/// statistics say what Envoy's would.
fn a_mirror_that_fails_is_not_noticed(driver: Driver) {
    type Script = fn(&mut crate::support::origin::Peer) -> std::io::Result<()>;
    let ways: [(&str, Option<Script>, &str); 7] = [
        ("down", None, "internal.upstream_rq_503"),
        (
            "answers 500",
            Some(|peer| {
                while peer.request()?.is_some() {
                    peer.send("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 2\r\n\r\nno")?;
                }
                Ok(())
            }),
            "internal.upstream_rq_500",
        ),
        ("closes", Some(|peer| peer.request().map(drop)), "internal.upstream_rq_503"),
        (
            "resets at once",
            Some(|peer| {
                peer.raw(1)?;
                peer.reset()
            }),
            "internal.upstream_rq_503",
        ),
        (
            "says nonsense",
            Some(|peer| {
                peer.request()?;
                peer.send("nonsense\r\n\r\n")
            }),
            "internal.upstream_rq_502",
        ),
        (
            "breaks off",
            Some(|peer| {
                peer.request()?;
                peer.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
            }),
            "internal.upstream_rq_200",
        ),
        (
            "goes on for ever",
            Some(|peer| {
                peer.request()?;
                peer.send("HTTP/1.1 200 OK\r\n\r\nuntil close")
            }),
            "internal.upstream_rq_200",
        ),
    ];
    for (what, script, counter) in ways {
        let mirror = script.map(Origin::start);
        let port = mirror.as_ref().map_or_else(ports::free, Origin::port);
        let bench = bench(driver, &[0], Origin::echo(), port, "");
        let mut client = bench.client();
        let body = body(100_000);
        let long = [head("content-length: 100000").as_bytes(), &body].concat();
        for _ in 0..10 {
            assert_eq!(client.ask(get_of("copied")).status, 200, "{what}");
            let response = client.ask(&long);
            assert!(response.status == 200 && response.body.bytes == body, "{what}");
        }
        eventually(what, || (mirror_stat(&bench.ringway, counter) == 20).then_some(()));
        assert_eq!(mirror_stat(&bench.ringway, "upstream_rq_completed"), 20, "{what}");
        drop(client);
        bench.ringway.quiet();
        drop(mirror);
        let stopped = bench.finish();
        assert_eq!(stopped.log.iter().filter(|line| line.contains(" 200 - via_upstream ")).count(), 20, "{what}");
        assert_eq!(stopped.log.len(), 20, "{what}");
    }
}

fn a_mirror_that_never_answers_meets_the_routes_timeout(driver: Driver) {
    let mirror = Origin::start(|peer| {
        peer.request()?;
        peer.wait_closed().map(drop)
    });
    let bench = bench(driver, &[0], ok(), mirror.port(), "timeout: 0.3s");
    let began = Instant::now();
    assert_eq!(bench.client().ask(get_of("copied")).status, 200);
    mirror_counts(&bench.ringway, "internal.upstream_rq_504", 1);
    assert!(began.elapsed() >= Duration::from_millis(300), "after {:?}", began.elapsed());
    assert_eq!(mirror_stat(&bench.ringway, "upstream_rq_timeout"), 1);
    assert_eq!(bench.ringway.sum_of("upstream_rq_timeout"), 1, "the original was in time");
    finish(bench, mirror);
}

/// A process with few descriptors: so many copies hang, later ones are not made, and no request misses a descriptor.
fn mirrors_that_never_answer_are_no_more_than_so_many(driver: Driver) {
    const DESCRIPTORS: usize = 400;
    let mirror = Origin::start(|peer| {
        peer.request()?;
        peer.wait_closed().map(drop)
    });
    let limit = format!("--nofile={DESCRIPTORS}:{DESCRIPTORS}");
    let bench = Bench::with(driver, ok(), |setup| {
        setup.launcher(&["prlimit", &limit]).yaml(host("copied", MIRROR)).yaml(entry("mirror", &[mirror.port()]))
    });
    let mut client = bench.client();
    for _ in 0..DESCRIPTORS {
        assert_eq!(client.ask(get_of("copied")).status, 200);
    }
    copies(&mirror, DESCRIPTORS / 8);
    mirror_counts(&bench.ringway, "mirror_overflow", (DESCRIPTORS - DESCRIPTORS / 8) as u64);
    assert_eq!(mirror.requests().len(), DESCRIPTORS / 8);
    drop(client);
    drop(mirror); // which ends them
    bench.finish();
}

fn a_mirrors_connection_is_used_again(driver: Driver) {
    let mirror = ok();
    let bench = bench(driver, &[0], ok(), mirror.port(), "");
    let mut client = bench.client();
    for number in 1..=20 {
        assert_eq!(client.ask(get_of("copied")).status, 200);
        mirror_counts(&bench.ringway, "internal.upstream_rq_200", number);
    }
    assert_eq!(mirror.accepted(), 1);
    drop(client);
    finish(bench, mirror);
}

fn a_mirrors_connection_closed_at_its_reuse_is_not_noticed(driver: Driver) {
    let mirror = Origin::start(|peer| {
        peer.request()?;
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
        peer.request().map(drop)
    });
    let bench = bench(driver, &[0], ok(), mirror.port(), "");
    let mut client = bench.client();
    for number in 1..=20 {
        assert_eq!(client.ask(get_of("copied")).status, 200);
        mirror_counts(&bench.ringway, "internal.upstream_rq_200", number);
    }
    assert_eq!(mirror_stat(&bench.ringway, "upstream_rq_retry_reused"), 19);
    assert_eq!(mirror_stat(&bench.ringway, "upstream_rq_completed"), 20);
    drop(client);
    finish(bench, mirror);
}

fn a_client_that_leaves_half_way_takes_the_copy_along(driver: Driver) {
    for leave in [drop::<Client> as fn(Client), Client::reset] {
        let mirror = Origin::start(|peer| {
            while peer.request()?.is_some_and(|request| request.body.complete) {
                peer.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
            }
            Ok(())
        });
        let bench = bench(driver, &[0], ok(), mirror.port(), "");
        let mut client = bench.client();
        client.send(head("content-length: 100000"));
        client.send(body(50_000));
        eventually("half of it at the mirror", || {
            (mirror_stat(&bench.ringway, "upstream_rq_active") == 1).then_some(())
        });
        leave(client);
        let copy = copies(&mirror, 1).remove(0);
        assert!(!copy.body.complete, "it must not look like a whole one");
        mirror_counts(&bench.ringway, "upstream_rq_active", 0);
        assert_eq!(mirror_stat(&bench.ringway, "internal.upstream_rq_completed"), 0);
        finish(bench, mirror);
    }
}

fn a_client_that_leaves_later_does_not(driver: Driver) {
    let origin = Origin::start(|peer| {
        peer.request()?;
        peer.wait_closed().map(drop)
    });
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let mirror = Origin::start(move |peer| {
        while peer.request()?.is_some() {
            let _ = wait.lock().expect("one at a time").recv_timeout(PATIENCE);
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
        }
        Ok(())
    });
    let bench = bench(driver, &[0], origin, mirror.port(), "");
    let mut client = bench.client();
    client.send([head("content-length: 5").as_str(), "hello"].concat());
    copies(&mirror, 1);
    client.reset();
    bench.ringway.logged(&[" 0 DC "]);
    assert_eq!(mirror_stat(&bench.ringway, "upstream_rq_active"), 1);
    go.send(()).expect("the mirror waits");
    mirror_counts(&bench.ringway, "internal.upstream_rq_200", 1);
    finish(bench, mirror);
}

/// A copy under way when a plan without the mirror comes ends by the plan that it began with.
fn a_mirrors_new_plan_lets_the_copy_end(driver: Driver) {
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let mirror = Origin::start(move |peer| {
        while peer.request()?.is_some() {
            let _ = wait.lock().expect("one at a time").recv_timeout(PATIENCE);
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
        }
        Ok(())
    });
    let bench = Bench::with(driver, ok(), |setup| {
        let other = host("other", MIRROR); // which keeps the mirror's statistics
        setup.yaml(host("copied", MIRROR)).yaml(entry("mirror", &[mirror.port()])).yaml(other)
    });
    let mut client = bench.client();
    assert_eq!(client.ask(get_of("copied")).status, 200);
    copies(&mirror, 1);
    let file = bench.ringway.config().join("1.yaml");
    std::fs::write(&file, host("copied", "name: alone")).expect("write the YAML");
    eventually("the new plan", || (bench.ringway.stat("ringway.config_reload_success") == 1).then_some(()));
    assert_eq!(client.ask(get_of("copied")).status, 200);
    go.send(()).expect("the mirror waits");
    mirror_counts(&bench.ringway, "internal.upstream_rq_200", 1);
    assert_eq!(mirror.requests().len(), 1);
    drop(client);
    finish(bench, mirror);
}

/// Three errors in a row, which only copies have met, are three errors.
fn an_endpoint_of_a_mirror_is_ejected_for_what_copies_meet(driver: Driver) {
    let rule = yaml::policy(
        "mirror.internal",
        "outlierDetection: {consecutive5xxErrors: 3, interval: 600s, baseEjectionTime: 600s, maxEjectionPercent: 50}",
    );
    for cpus in CPUS {
        let bad = Origin::replying("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n");
        let good = ok();
        let bench = Bench::with(driver, ok(), |setup| {
            let mirror = entry("mirror", &[bad.port(), good.port()]);
            setup.cpus(cpus).yaml(host("copied", MIRROR)).yaml(mirror).yaml(&rule)
        });
        let mut client = bench.client();
        for number in 1..=60 {
            assert_eq!(client.ask(get_of("copied")).status, 200);
            mirror_counts(&bench.ringway, "internal.upstream_rq_completed", number);
        }
        // 60 draws of one of two miss the bad one twice or oftener but for a chance of 10^-15.
        assert_eq!((bad.requests().len(), good.requests().len()), (3, 57));
        assert_eq!(mirror_stat(&bench.ringway, "outlier_detection.ejections_active"), 1);
        drop(client);
        drop(bad);
        finish(bench, good);
    }
}

/// A copy has nobody who waits for it: the process drains without it, long before the mirror's time is over.
fn a_copy_under_way_does_not_hold_up_the_end(driver: Driver) {
    for cpus in CPUS {
        let mirror = Origin::start(|peer| {
            peer.head()?;
            peer.wait_closed().map(drop)
        });
        let bench = bench(driver, cpus, ok(), mirror.port(), "");
        let mut client = bench.client();
        assert_eq!(client.ask(get_of("copied")).status, 200);
        let long = [head("content-length: 1000000").as_bytes(), &body(1_000_000)].concat();
        assert_eq!(client.ask(long).status, 200);
        mirror_counts(&bench.ringway, "upstream_rq_active", 2);
        let stopped = bench.ringway.stop();
        assert!(!stopped.said.contains("panicked"), "{}", stopped.said);
        eventually("the mirror's connections closed", || (mirror.open() == 0).then_some(()));
    }
}

/// A circuit breaker with one place for a request and one for another that waits.
fn breaker(host: &str) -> String {
    yaml::policy(host, "connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}")
}

/// Of three requests one is under way, one waits and one is refused: two are forwarded, and two are copied.
fn what_a_breaker_refuses_at_once_is_not_mirrored(driver: Driver) {
    let (go, on) = channel::<()>();
    let on = Mutex::new(on);
    let origin = Origin::start(move |peer| {
        while peer.request()?.is_some() {
            let _ = on.lock().expect("one at a time").recv_timeout(PATIENCE); // the test says when
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
        }
        Ok(())
    });
    let mirror = ok();
    let bench = Bench::with(driver, origin, |setup| {
        setup.yaml(host("copied", MIRROR)).yaml(entry("mirror", &[mirror.port()])).yaml(breaker("origin"))
    });
    let (mut first, mut second) = (bench.client(), bench.client());
    first.send(get_of("copied"));
    eventually("the first one under way", || (bench.origin.requests().len() == 1).then_some(()));
    second.send(get_of("copied"));
    eventually("the second one in line", || (bench.ringway.sum_of("upstream_rq_pending_active") == 1).then_some(()));
    let refused = bench.client().ask(get_of("copied"));
    assert_eq!((refused.status, refused.header("x-envoy-overloaded")), (503, Some("true")));
    for client in [&mut first, &mut second] {
        go.send(()).expect("the origin waits");
        assert_eq!(client.response().status, 200);
    }
    copies(&mirror, 2);
    drop((first, second));
    bench.ringway.quiet();
    assert_eq!(mirror.requests().len(), 2);
    finish(bench, mirror);
}

/// A mirror has a circuit breaker of its own, and nobody but its statistics knows what that refuses.
fn a_mirrors_breaker_refuses_copies(driver: Driver) {
    let mirror = Origin::start(|peer| {
        peer.request()?;
        peer.wait_closed().map(drop)
    });
    let bench = Bench::with(driver, ok(), |setup| {
        let copied = host("copied", &format!("{MIRROR}\n    timeout: 4s"));
        setup.yaml(copied).yaml(entry("mirror", &[mirror.port()])).yaml(breaker("mirror.internal"))
    });
    let mut client = bench.client();
    assert_eq!(client.ask(get_of("copied")).status, 200);
    copies(&mirror, 1);
    for _ in 0..4 {
        assert_eq!(client.ask(get_of("copied")).status, 200);
    }
    // One is at the mirror, one waits for its connection, and there is no place for the others.
    mirror_counts(&bench.ringway, "upstream_rq_pending_overflow", 3);
    assert_eq!((bench.origin.requests().len(), mirror.accepted()), (5, 1));
    drop(client);
    finish(bench, mirror);
}
