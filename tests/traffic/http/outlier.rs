//! Outlier ejection: an endpoint that fails is in use, then out, then in use again, on all workers at once. What counts
//! as a failure is in tables in `src/policy/outlier`, and compared with Envoy's in `tests/differential`.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use super::{get, get_of, host, on_each_driver};
use crate::support::client::Client;
use crate::support::origin::Origin;
use crate::support::ports;
use crate::support::ringway::{Driver, ORIGIN_CLUSTER, Ringway, Setup, everything_to};
use crate::support::wait::eventually;
use crate::support::yaml;

on_each_driver![
    the_tutorials_rule,
    in_use_then_out_then_in_use_again,
    out_on_all_workers_at_once,
    a_streak_over_several_workers,
    with_all_of_them_out_nobody_answers,
    ten_percent_of_two_are_nobody,
    too_few_are_better_than_none,
    who_refuses_connections_is_out,
    failures_without_an_answer_counted_apart,
    too_late_is_a_failure,
    a_broken_body_is_a_failure,
    a_client_that_leaves_is_not,
    who_does_not_speak_tls_is_out,
    the_next_priority_takes_over,
    the_next_priority_takes_over_by_hash,
    every_second_retry_goes_to_another_priority,
    explain_asks_who_is_out,
];

/// An origin that answers with a status that the test can change, and its name.
struct Moody {
    origin: Origin,
    status: Arc<AtomicU16>,
}

impl Moody {
    fn new(name: &'static str, status: u16) -> Self {
        let status = Arc::new(AtomicU16::new(status));
        let now = Arc::clone(&status);
        let origin = Origin::start(move |peer| {
            while peer.request()?.is_some() {
                let status = now.load(Ordering::SeqCst);
                peer.send(format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{name}", name.len()))?;
            }
            Ok(())
        });
        Self { origin, status }
    }

    fn says(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn port(&self) -> u16 {
        self.origin.port()
    }
}

/// A DestinationRule for the service of [`everything_to`].
fn rule(detection: &str) -> String {
    policy(&format!("outlierDetection: {{{detection}}}"))
}

fn policy(fields: &str) -> String {
    yaml::policy("origin", fields)
}

fn start(driver: Driver, ports: &[u16], detection: &str) -> Ringway {
    Setup::new(driver).yaml(everything_to(ports)).yaml(rule(detection)).start()
}

fn ejections(ringway: &Ringway, name: &str) -> u64 {
    ringway.origin_stat(&format!("outlier_detection.ejections_{name}"))
}

/// The `health_flags` of an endpoint.
fn flags(ringway: &Ringway, port: u16) -> String {
    let prefix = format!("{ORIGIN_CLUSTER}::127.0.0.1:{port}::health_flags::");
    let text = ringway.admin("/clusters").text();
    text.lines().find_map(|line| line.strip_prefix(&prefix)).expect("the endpoint is shown").to_owned()
}

fn answer(client: &mut Client) -> (u16, String) {
    let response = client.ask(get("/x"));
    (response.status, response.text())
}

const NOBODY: (u16, &str) = (503, "no healthy upstream");

/// Connections, some of them on each of two workers.
fn clients_of_both(ringway: &Ringway) -> Vec<Client> {
    let mut clients = Vec::new();
    eventually("a connection on each worker", || {
        clients.push(ringway.client());
        answer_nothing(clients.last_mut()?);
        (0..2).all(|worker| ringway.sum_of(&format!("worker_{worker}.downstream_cx_total")) > 0).then_some(())
    });
    clients
}

/// A request that no endpoint hears of.
fn answer_nothing(client: &mut Client) {
    assert_eq!(client.ask("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").status, 404);
}

fn end(ringway: Ringway, clients: impl IntoIterator<Item = Client>) {
    clients.into_iter().for_each(drop);
    ringway.quiet();
    ringway.stop();
}

/// The file of `config/circuit-breaking`, but for the three minutes.
fn the_tutorials_rule(driver: Driver) {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/config/circuit-breaking/4-circuit-breaker.yaml");
    let text = std::fs::read_to_string(file).expect("the tutorial's YAML");
    let shorter = text.replace("baseEjectionTime: 3m", "baseEjectionTime: 2s");
    assert_ne!(shorter, text);
    let httpbin = Moody::new("httpbin", 503);
    let service = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: httpbin}}\nspec: {{selector: {{app: httpbin}}, ports: [{{name: \
         http, port: 8000}}]}}\n---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: \
         httpbin}}\nspec: {{address: 127.0.0.1, ports: {{http: {}}}, labels: {{app: httpbin}}}}\n",
        httpbin.port()
    );
    let ringway = Setup::new(driver).gateway_ports(&[]).mesh("ALLOW_ANY").yaml(shorter).yaml(service).start();
    let mut client = Client::connect(ringway.mesh());
    let mut ask = || {
        let response = client.ask("GET /status/503 HTTP/1.1\r\nHost: httpbin:8000\r\n\r\n");
        (response.status, response.text())
    };
    let before = Instant::now();
    assert_eq!(ask(), (503, "httpbin".to_owned()), "one error is enough");
    httpbin.says(200);
    assert_eq!(ask(), (NOBODY.0, NOBODY.1.to_owned()));
    let (status, text) = eventually("the endpoint in use again", || {
        let answer = ask();
        (answer.1 != NOBODY.1).then_some(answer)
    });
    assert_eq!((status, text.as_str()), (200, "httpbin"));
    assert!(before.elapsed() >= Duration::from_secs(2), "after {:?}", before.elapsed());
    drop(client);
    end(ringway, []);
}

/// The tutorial's rule, with shorter times and 50 %.
fn in_use_then_out_then_in_use_again(driver: Driver) {
    let (good, bad) = (Moody::new("good", 200), Moody::new("bad", 200));
    let times = "consecutiveErrors: 1, interval: 0.2s, baseEjectionTime: 1.5s, maxEjectionPercent: 50";
    let ringway =
        Setup::new(driver).cpus(&[0, 1]).yaml(everything_to(&[good.port(), bad.port()])).yaml(rule(times)).start();
    let mut clients = clients_of_both(&ringway);
    let heard = |clients: &mut Vec<Client>| {
        let mut answers: Vec<(u16, String)> =
            (0..60 / clients.len() + 1).flat_map(|_| clients.iter_mut().map(answer).collect::<Vec<_>>()).collect();
        answers.sort();
        answers.dedup();
        answers
    };
    let both = [(200, "bad".to_owned()), (200, "good".to_owned())];
    assert_eq!(heard(&mut clients), both, "closed");
    assert_eq!((flags(&ringway, bad.port()), ejections(&ringway, "active")), ("healthy".to_owned(), 0));

    bad.says(503);
    let mut at_bad = None;
    eventually("an error", || {
        at_bad = Some(Instant::now());
        (answer(&mut clients[0]) == (503, "bad".to_owned())).then_some(())
    });
    bad.says(200);
    bad.origin.take();
    let asked_after = answer(&mut clients[0]);
    assert_eq!(asked_after, (200, "good".to_owned()), "open");
    assert_eq!(flags(&ringway, bad.port()), "/failed_outlier_check");
    assert_eq!(flags(&ringway, good.port()), "healthy");
    let json = ringway.admin("/clusters?format=json").text();
    assert_eq!(json.matches("\"failed_outlier_check\": true").count(), 1, "{json}");
    for (name, value) in [
        ("active", 1),
        ("enforced_total", 1),
        ("detected_consecutive_gateway_failure", 1),
        ("enforced_consecutive_gateway_failure", 1),
        ("detected_consecutive_5xx", 0),
        ("enforced_consecutive_5xx", 0),
        ("overflow", 0),
    ] {
        assert_eq!(ejections(&ringway, name), value, "{name}");
    }
    assert_eq!((ringway.origin_stat("membership_total"), ringway.origin_stat("membership_healthy")), (2, 1));

    eventually("the endpoint in use again", || {
        clients.iter_mut().for_each(|client| assert_eq!(answer(client).0, 200));
        (!bad.origin.requests().is_empty()).then_some(())
    });
    let out = at_bad.expect("the moment before the error").elapsed();
    assert!(out >= Duration::from_millis(1500), "out for {out:?} only");
    assert_eq!(heard(&mut clients), both, "released");
    assert_eq!((flags(&ringway, bad.port()), ejections(&ringway, "active")), ("healthy".to_owned(), 0));
    assert_eq!((ringway.origin_stat("membership_healthy"), ejections(&ringway, "enforced_total")), (2, 1));
    let said = ringway.process.said();
    assert!(said.contains(&format!("127.0.0.1:{} may be chosen again", bad.port())), "{said}");
    end(ringway, clients);
}

fn out_on_all_workers_at_once(driver: Driver) {
    let bad = Moody::new("bad", 500);
    let detection = "consecutive5xxErrors: 1, baseEjectionTime: 60s, maxEjectionPercent: 100";
    let ringway = Setup::new(driver).cpus(&[0, 1]).yaml(everything_to(&[bad.port()])).yaml(rule(detection)).start();
    let mut clients = clients_of_both(&ringway);
    assert_eq!(answer(&mut clients[0]), (500, "bad".to_owned()));
    for client in &mut clients {
        let (status, text) = answer(client);
        assert_eq!((status, text.as_str()), NOBODY, "the very next request, wherever it is");
    }
    assert_eq!(bad.origin.requests().len(), 1);
    let line = ringway.logged(&[" UH ", "no_healthy_upstream"]);
    assert!(line.contains(" 503 "), "{line}");
    end(ringway, clients);
}

fn a_streak_over_several_workers(driver: Driver) {
    let bad = Moody::new("bad", 500);
    let detection = "consecutive5xxErrors: 9, baseEjectionTime: 60s, maxEjectionPercent: 100";
    let ringway = Setup::new(driver).cpus(&[0, 1]).yaml(everything_to(&[bad.port()])).yaml(rule(detection)).start();
    let mut clients = clients_of_both(&ringway);
    let ask = |clients: &mut Vec<Client>, from: usize, count: usize| {
        let places = (0..clients.len()).cycle().skip(from).take(count).collect::<Vec<_>>();
        places.into_iter().map(|place| answer(&mut clients[place])).collect::<Vec<_>>()
    };
    ask(&mut clients, 0, 8);
    bad.says(404);
    assert_eq!(ask(&mut clients, 1, 1)[0].0, 404, "a success, and all begins anew");
    bad.says(500);
    let answers = ask(&mut clients, 0, 12);
    let errors = answers.iter().take_while(|(status, _)| *status == 500).count();
    assert_eq!(errors, 9, "{answers:?}");
    assert!(answers[9..].iter().all(|(_, text)| text == NOBODY.1), "{answers:?}");
    end(ringway, clients);
}

fn with_all_of_them_out_nobody_answers(driver: Driver) {
    let (one, two) = (Moody::new("one", 500), Moody::new("two", 500));
    let detection = "consecutive5xxErrors: 1, baseEjectionTime: 60s, maxEjectionPercent: 100";
    let ringway = start(driver, &[one.port(), two.port()], detection);
    let mut client = ringway.client();
    let statuses: Vec<(u16, String)> = (0..5).map(|_| answer(&mut client)).collect();
    let mut first: Vec<&str> = statuses[..2].iter().map(|(_, text)| text.as_str()).collect();
    first.sort_unstable();
    assert_eq!(first, ["one", "two"]);
    assert!(statuses[2..].iter().all(|(status, text)| (*status, text.as_str()) == NOBODY), "{statuses:?}");
    assert_eq!((ejections(&ringway, "active"), ringway.origin_stat("membership_healthy")), (2, 0));
    assert_eq!((ejections(&ringway, "total"), ejections(&ringway, "consecutive_5xx")), (2, 2), "the older names");
    assert_eq!((ringway.origin_stat("upstream_cx_none_healthy"), ringway.origin_stat("lb_healthy_panic")), (3, 0));
    end(ringway, [client]);
}

/// Istio's default.
fn ten_percent_of_two_are_nobody(driver: Driver) {
    let (one, two) = (Moody::new("one", 500), Moody::new("two", 500));
    let ringway = start(driver, &[one.port(), two.port()], "consecutive5xxErrors: 1");
    let mut client = ringway.client();
    for _ in 0..12 {
        assert_eq!(answer(&mut client).0, 500);
    }
    assert_eq!(one.origin.requests().len() + two.origin.requests().len(), 12);
    assert_eq!((ejections(&ringway, "overflow"), ejections(&ringway, "active")), (12, 0));
    assert_eq!((ejections(&ringway, "detected_consecutive_5xx"), ejections(&ringway, "enforced_total")), (12, 0));
    end(ringway, [client]);
}

fn too_few_are_better_than_none(driver: Driver) {
    let (one, two) = (Moody::new("one", 500), Moody::new("two", 500));
    let detection = "consecutive5xxErrors: 1, baseEjectionTime: 60s, maxEjectionPercent: 100, minHealthPercent: 50";
    let ringway = start(driver, &[one.port(), two.port()], detection);
    let mut client = ringway.client();
    // One of two is not less than 50 %; none is.
    let mut first: Vec<String> = (0..2).map(|_| answer(&mut client).1).collect();
    first.sort();
    assert_eq!(first, ["one", "two"]);
    assert_eq!((ejections(&ringway, "active"), ringway.origin_stat("lb_healthy_panic")), (2, 0));
    for _ in 0..60 {
        assert_eq!(answer(&mut client).0, 500, "in spite of it");
    }
    assert!(one.origin.take().len() > 1 && two.origin.take().len() > 1);
    assert_eq!((ringway.origin_stat("lb_healthy_panic"), ejections(&ringway, "enforced_total")), (60, 2));
    end(ringway, [client]);
}

fn who_refuses_connections_is_out(driver: Driver) {
    let good = Moody::new("good", 200);
    let detection = "consecutiveGatewayErrors: 2, baseEjectionTime: 60s, maxEjectionPercent: 50";
    let refusing = ports::free();
    let ringway = start(driver, &[refusing, good.port()], detection);
    let mut client = ringway.client();
    for _ in 0..60 {
        assert_eq!(answer(&mut client), (200, "good".to_owned()), "with Istio's two retries");
    }
    assert_eq!(ringway.origin_stat("upstream_cx_connect_fail"), 2, "and not once more");
    assert_eq!(ejections(&ringway, "enforced_consecutive_gateway_failure"), 1);
    assert_eq!(flags(&ringway, refusing), "/failed_outlier_check");
    end(ringway, [client]);
}

fn failures_without_an_answer_counted_apart(driver: Driver) {
    let failing = Moody::new("failing", 503);
    let detection = "splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 2, consecutive5xxErrors: 0, \
                     consecutiveGatewayErrors: 9, baseEjectionTime: 60s, maxEjectionPercent: 100";
    let refusing = ports::free();
    let ringway = Setup::new(driver)
        .yaml(everything_to(&[refusing, failing.port()]))
        .yaml(rule(detection))
        .yaml(host("never", "retries: {attempts: 0}"))
        .start();
    let mut client = ringway.client();
    eventually("the one that refuses out", || {
        client.ask(get_of("never"));
        (flags(&ringway, refusing) == "/failed_outlier_check").then_some(())
    });
    assert_eq!(ringway.origin_stat("upstream_cx_connect_fail"), 2);
    assert_eq!(ejections(&ringway, "enforced_consecutive_local_origin_failure"), 1);
    eventually("the one that fails out", || {
        let out = flags(&ringway, failing.port()) == "/failed_outlier_check";
        assert_eq!(client.ask(get_of("never")).text() == NOBODY.1, out);
        out.then_some(())
    });
    assert_eq!(failing.origin.requests().len(), 9, "its answers are no local failures");
    assert_eq!(ejections(&ringway, "enforced_consecutive_gateway_failure"), 1);
    end(ringway, [client]);
}

fn too_late_is_a_failure(driver: Driver) {
    let silent = Origin::start(|peer| {
        peer.request()?;
        peer.wait_closed().map(drop)
    });
    let detection = "consecutiveGatewayErrors: 3, baseEjectionTime: 60s, maxEjectionPercent: 100";
    let tries = "retries: {attempts: 1, perTryTimeout: 0.05s, retryOn: reset, backoff: 0.001s}";
    let ringway = Setup::new(driver)
        .yaml(everything_to(&[silent.port()]))
        .yaml(rule(detection))
        .yaml(host("route", "timeout: 0.05s"))
        .yaml(host("try", tries))
        .start();
    let mut client = ringway.client();
    assert_eq!(client.ask(get_of("try")).status, 504, "two tries");
    assert_eq!(client.ask(get_of("route")).status, 504);
    assert_eq!(client.ask(get_of("route")).text(), NOBODY.1);
    assert_eq!(silent.requests().len(), 3);
    end(ringway, [client]);
}

fn a_broken_body_is_a_failure(driver: Driver) {
    let broken = Origin::start(|peer| {
        peer.request()?;
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
    });
    let detection = "consecutive5xxErrors: 1, baseEjectionTime: 60s, maxEjectionPercent: 100";
    let ringway = start(driver, &[broken.port()], detection);
    let mut client = ringway.client();
    client.send(get("/x"));
    client.rest(); // the head and three bytes, then the end
    assert_eq!(answer(&mut ringway.client()), (NOBODY.0, NOBODY.1.to_owned()));
    assert_eq!(ejections(&ringway, "enforced_consecutive_5xx"), 1);
    end(ringway, []);
}

fn a_client_that_leaves_is_not(driver: Driver) {
    let origin = Origin::start(|peer| {
        let asked = peer.request()?.map(|asked| asked.line().contains("/slow"));
        match asked {
            Some(true) => peer.wait_closed().map(drop),
            _ => peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
        }
    });
    let detection = "consecutive5xxErrors: 1, baseEjectionTime: 60s, maxEjectionPercent: 100";
    let ringway = start(driver, &[origin.port()], detection);
    let client = ringway.client();
    let mut client = client;
    client.send(get("/slow"));
    eventually("the request at the origin", || (origin.requests().len() == 1).then_some(()));
    client.reset();
    eventually("the connection closed", || (origin.open() == 0).then_some(()));
    ringway.quiet();
    assert_eq!(answer(&mut ringway.client()), (200, "ok".to_owned()));
    assert_eq!(ejections(&ringway, "detected_consecutive_5xx"), 0);
    end(ringway, []);
}

fn who_does_not_speak_tls_is_out(driver: Driver) {
    let plain = Origin::start(|peer| {
        peer.raw(5)?; // of the client's hello
        peer.send("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
    });
    let fields = "tls: {mode: SIMPLE, insecureSkipVerify: true}, outlierDetection: {consecutiveGatewayErrors: 1, \
                  baseEjectionTime: 60s, maxEjectionPercent: 100}";
    let ringway = Setup::new(driver)
        .yaml(everything_to(&[plain.port()]))
        .yaml(policy(fields))
        .yaml(host("never", "retries: {attempts: 0}"))
        .start();
    let mut client = ringway.client();
    let response = client.ask(get_of("never"));
    assert_eq!(response.status, 503, "{}", response.text());
    assert_ne!(response.text(), NOBODY.1);
    assert_eq!(client.ask(get_of("never")).text(), NOBODY.1);
    assert_eq!(ejections(&ringway, "enforced_consecutive_gateway_failure"), 1);
    end(ringway, [client]);
}

/// Two endpoints near, one far, by `failoverPriority`; `balancer` is more of the rule's `loadBalancer`.
fn near_and_far(driver: Driver, near: [u16; 2], far: u16, balancer: &str, detection: &str, more: &str) -> Ringway {
    let yaml = everything_to(&[near[0], near[1], far]);
    let labelled = |net: &str| format!("labels: {{app: origin, net: {net}}}");
    let (mut text, mut rest) = (String::new(), yaml.as_str());
    for net in ["a", "a", "b"] {
        let (before, after) = rest.split_once("labels: {app: origin}").expect("an endpoint with its label");
        text.push_str(before);
        text.push_str(&labelled(net));
        rest = after;
    }
    text.push_str(rest);
    let policy = policy(&format!(
        "loadBalancer: {{{balancer}localityLbSetting: {{failoverPriority: [net]}}}}, outlierDetection: {{{detection}}}"
    ));
    let setup = Setup::new(driver).label("net", "a").yaml(text).yaml(policy);
    if more.is_empty() { setup.start() } else { setup.yaml(more).start() }
}

fn the_next_priority_takes_over(driver: Driver) {
    take_over(driver, "");
}

fn the_next_priority_takes_over_by_hash(driver: Driver) {
    take_over(driver, "consistentHash: {httpHeaderName: x-user}, ");
}

fn take_over(driver: Driver, balancer: &str) {
    let (one, two, far) = (Moody::new("one", 200), Moody::new("two", 200), Moody::new("far", 200));
    let near = [one.port(), two.port()];
    let detection =
        |base| format!("consecutive5xxErrors: 1, interval: 0.1s, baseEjectionTime: {base}, maxEjectionPercent: 100");
    let mut number = 0;
    let mut ask = |client: &mut Client| {
        number += 1;
        let response = client.ask(format!("GET /x HTTP/1.1\r\nHost: a\r\nx-user: {number}\r\n\r\n"));
        (response.status, response.text())
    };
    let is_far = |(status, text): &(u16, String)| *status == 200 && text == "far";

    let ringway = near_and_far(driver, near, far.port(), balancer, &detection("1s"), "");
    let mut client = ringway.client();
    assert!(!(0..100).any(|_| is_far(&ask(&mut client))), "as long as the near ones are well");
    one.says(500);
    two.says(500);
    let failures = (0..300).filter(|_| !is_far(&ask(&mut client))).count() as u64;
    assert!(failures >= 2);
    assert_eq!(ejections(&ringway, "enforced_total"), failures, "all others went to the far one");
    one.says(200);
    two.says(200);
    eventually("the near ones in use again", || {
        let back = (0..50).all(|_| !is_far(&ask(&mut client)));
        back.then_some(())
    });
    end(ringway, [client]);

    // With one of two out, the near ones are good for 1.4 times a half.
    let ringway = near_and_far(driver, near, far.port(), balancer, &detection("60s"), "");
    let mut client = ringway.client();
    one.says(500);
    eventually("one of them out", || (ask(&mut client).0 == 500).then_some(()));
    one.says(200);
    one.origin.take();
    let of_far = (0..1_000).filter(|_| is_far(&ask(&mut client))).count();
    // 300 expected; five standard deviations are 72.
    assert!(of_far.abs_diff(300) <= 72, "{of_far} of 1000");
    assert_eq!((one.origin.requests().len(), ejections(&ringway, "active")), (0, 1));
    end(ringway, [client]);
}

fn every_second_retry_goes_to_another_priority(driver: Driver) {
    let (one, two, far) = (Moody::new("one", 503), Moody::new("two", 503), Moody::new("far", 200));
    let retries = |more: &str| format!("retries: {{attempts: 3, retryOn: 5xx, backoff: 0.001s{more}}}");
    let hosts =
        [host("here", &retries("")), host("elsewhere", &retries(", retryRemoteLocalities: true"))].join("---\n");
    let ports = [one.port(), two.port()];
    // Ejections are needed for priorities, but nobody is ejected here.
    let ringway = near_and_far(driver, ports, far.port(), "", "consecutive5xxErrors: 1000", &hosts);
    let mut client = ringway.client();
    for _ in 0..10 {
        assert_eq!(client.ask(get_of("here")).status, 503);
        assert_eq!(one.origin.requests().len() + two.origin.requests().len(), 4, "all tries stay near");
        for near in [&one, &two] {
            assert!(!near.origin.take().is_empty(), "and go to both");
        }
        assert_eq!(client.ask(get_of("elsewhere")).text(), "far");
        assert_eq!((one.origin.take().len(), two.origin.take().len(), far.origin.take().len()), (1, 1, 1));
    }
    end(ringway, [client]);
}

/// `explain --live` says of each endpoint what the running proxy knows; without a proxy to ask, it says so and the rest.
fn explain_asks_who_is_out(driver: Driver) {
    let (bad, good) = (Moody::new("bad", 503), Moody::new("good", 200));
    let detection = "consecutiveGatewayErrors: 1, baseEjectionTime: 60s, maxEjectionPercent: 50";
    let ringway = start(driver, &[bad.port(), good.port()], detection);
    let config = ringway.config();
    let explain = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
        command.arg("explain").arg("-c").arg(&config).args(more).args(["GET", "http://a.example.com/x"]);
        let output = command.output().expect("ringway explain");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("UTF-8"))
    };
    let mut client = ringway.client();
    eventually("the bad one out", || {
        answer(&mut client);
        (ejections(&ringway, "active") == 1).then_some(())
    });
    let [said, _] = explain(&["--live"]);
    for (origin, health) in [(&bad, "ejected (failed_outlier_check)"), (&good, "healthy")] {
        assert!(said.contains(&format!("127.0.0.1:{} is {health}\n", origin.port())), "{said}");
    }
    let [json, _] = explain(&["--live", "--output", "json"]);
    assert!(json.contains("\"health\":\"healthy\""), "{json}");
    let [said, problem] = explain(&["--live", "--admin", &format!("127.0.0.1:{}", ports::free())]);
    assert!(!said.contains(" is healthy") && problem.contains("no running proxy answers at 127.0.0.1:"), "{problem}");
    let [said, _] = explain(&[]);
    assert!(!said.contains(" is healthy"), "{said}");
    end(ringway, [client]);
}
