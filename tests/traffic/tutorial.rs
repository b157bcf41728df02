//! The tutorial's tasks that take their time, from its own documents as they stand in `config/`: a timeout, retries, a
//! delay for one user, and a circuit breaker, with the times that it shows. Services call each other through the mesh listener, as behind a
//! sidecar. (The ingress is in `ingress.rs`; mirrors have tests of their own.)

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::support::client::{Client, Response, once};
use crate::support::httpbin::Httpbin;
use crate::support::origin::Origin;
use crate::support::ringway::{Driver, Ringway, Setup};
use crate::support::wait::eventually;

/// Runs a task on one worker and on two, and on both drivers, all at once: most of it is waiting.
fn everywhere(task: fn(Driver, &[usize])) {
    std::thread::scope(|scope| {
        for (driver, cpus) in [(Driver::IoUring, &[0][..]), (Driver::IoUring, &[0, 1]), (Driver::Epoll, &[0, 1])] {
            scope.spawn(move || task(driver, cpus));
        }
    });
}

#[test]
fn reviews_give_up_after_a_second() {
    everywhere(a_timeout);
}

#[test]
fn a_page_that_asks_twice_is_what_the_log_shows_twice() {
    everywhere(retries);
}

#[test]
fn seven_seconds_for_jason() {
    everywhere(a_delay);
}

#[test]
fn three_clients_meet_limits_of_one() {
    everywhere(a_breaker);
}

fn config(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(file)
}

/// What a cluster would know of a service with one process, here an origin's port.
fn service(name: &str, version: &str, port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  selector: {{app: {name}}}\n  ports: \
         [{{name: http, port: 9080}}]\n---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: \
         {{name: {name}}}\nspec:\n  host: {name}\n  subsets: [{{name: {version}, labels: {{version: \
         {version}}}}}]\n---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: \
         {name}-{version}}}\nspec:\n  address: 127.0.0.1\n  ports: {{http: {port}}}\n  labels: {{app: {name}, \
         version: {version}}}\n"
    )
}

/// ringway on these documents, between applications and the services.
fn sidecar(driver: Driver, cpus: &[usize], file: &str, services: &[String]) -> Ringway {
    let setup = Setup::new(driver).cpus(cpus).mesh("REGISTRY_ONLY").path(config(file));
    services.iter().fold(setup, |setup, service| setup.yaml(service.as_str())).start()
}

fn get(service: &str, more: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {service}:9080\r\n{more}\r\n")
}

/// The answer of a service, and how long it took.
fn timed(mesh: SocketAddr, request: &str) -> (Response, Duration) {
    let began = Instant::now();
    (once(mesh, request), began.elapsed())
}

fn ratings() -> Origin {
    Origin::replying("HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{\"ratings\":5}")
}

/// Ratings takes 2 s, reviews may take 1 s and asks ratings: whoever asks reviews hears after 1 s that it is too late.
fn a_timeout(driver: Driver, cpus: &[usize]) {
    let ratings = ratings();
    let mesh = Arc::new(OnceLock::new());
    let reviews = Origin::start({
        let mesh = Arc::clone(&mesh);
        move |peer| {
            while peer.request()?.is_some() {
                let asked = once(*mesh.get().expect("set before anybody asks"), get("ratings", ""));
                let body = asked.text();
                peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()))?;
            }
            Ok(())
        }
    });
    let services = [service("ratings", "v1", ratings.port()), service("reviews", "v2", reviews.port())];
    let ringway = sidecar(driver, cpus, "timeouts-retries/timeout/3-timeout.yaml", &services);
    mesh.set(ringway.mesh()).expect("set once");

    let (response, took) = timed(ringway.mesh(), &get("ratings", ""));
    assert_eq!((response.status, response.text().as_str()), (200, "{\"ratings\":5}"));
    assert!(took >= Duration::from_secs(2), "ratings after {took:?}");

    let (response, took) = timed(ringway.mesh(), &get("reviews", ""));
    assert_eq!((response.status, response.text().as_str()), (504, "upstream request timeout"));
    assert!((Duration::from_secs(1)..Duration::from_secs(2)).contains(&took), "reviews after {took:?}");

    let line = ringway.logged(&["\"reviews:9080\""]);
    assert!(line.contains(" 504 UT response_timeout "), "{line}");
    assert!(line.contains(" outbound|9080|v2|reviews.default.svc.cluster.local "), "{line}");
    let line = ringway.logged(&["\"ratings:9080\""]);
    assert!(line.contains(" 200 DI via_upstream "), "{line}");
    ringway.quiet();
    ringway.stop();
}

/// The rule delays ratings by 5 s and asks for two retries of 1 s each. Bookinfo's page gives up after 3 s and asks
/// once more, which is what the tutorial's log shows: two requests 3 s apart, neither of which the proxy repeated.
fn retries(driver: Driver, cpus: &[usize]) {
    let ratings = ratings();
    let services = [service("ratings", "v1", ratings.port())];
    let ringway = sidecar(driver, cpus, "timeouts-retries/retries/3-retries.yaml", &services);
    for _ in 0..2 {
        let mut page = Client::connect(ringway.mesh());
        page.stream().set_read_timeout(Some(Duration::from_secs(3))).expect("a timeout");
        page.send(get("ratings", ""));
        assert!(page.try_response_to("GET").is_err(), "nothing comes within 3 s");
    }
    ringway.quiet();
    assert!(ratings.requests().is_empty(), "a delayed request whose client has left goes nowhere");
    // Whoever waits gets the one answer to the one request.
    let (response, took) = timed(ringway.mesh(), &get("ratings", ""));
    assert_eq!(response.status, 200);
    assert!(took >= Duration::from_secs(5), "after {took:?}");
    assert_eq!(ratings.requests().len(), 1);
    let mut log = ringway.stop().log;
    let last = log.pop().expect("three lines");
    assert!(last.contains(" 200 DI via_upstream "), "{last}");
    assert_eq!(log.len(), 2);
    for line in log {
        assert!(line.contains(" 0 DI,DC downstream_remote_disconnect "), "{line}");
    }
}

/// 7 s for the user jason, and nothing for anybody else.
fn a_delay(driver: Driver, cpus: &[usize]) {
    let ratings = ratings();
    let services = [service("ratings", "v1", ratings.port())];
    let ringway = sidecar(driver, cpus, "fault-injection/5-fault-delay.yaml", &services);
    let mesh = ringway.mesh();
    let jason = std::thread::spawn(move || timed(mesh, &get("ratings", "end-user: jason\r\n")));
    for user in ["", "end-user: jasonx\r\n", "end-user: Jason\r\n", "x-end-user: jason\r\n"] {
        let (response, took) = timed(mesh, &get("ratings", user));
        assert_eq!(response.status, 200, "{user:?}");
        assert!(took < Duration::from_secs(7), "{user:?} after {took:?}");
    }
    assert_eq!(ringway.sum_of("fault.delays_injected"), 1, "the others were not held up");
    let (response, took) = jason.join().expect("jason");
    assert_eq!((response.status, response.text().as_str()), (200, "{\"ratings\":5}"));
    assert!(took >= Duration::from_secs(7), "jason after {took:?}");
    ringway.quiet();
    let log = ringway.stop().log;
    assert_eq!(log.iter().filter(|line| line.contains(" 200 DI via_upstream ")).count(), 1, "{log:#?}");
    assert_eq!(log.len(), 5);
}

/// Three clients, 30 calls, limits of one: what there is no room for is refused at once, on one worker and on two.
fn a_breaker(driver: Driver, cpus: &[usize]) {
    let httpbin = Httpbin::start();
    let service = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: httpbin}}\nspec: {{selector: {{app: httpbin}}, ports: [{{name: \
         http, port: 8000}}]}}\n---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: \
         httpbin-v1}}\nspec: {{address: 127.0.0.1, ports: {{http: {}}}, labels: {{app: httpbin, version: v1}}}}\n",
        httpbin.port()
    );
    let ringway = sidecar(driver, cpus, "circuit-breaking/4-circuit-breaker.yaml", &[service]);
    let mesh = ringway.mesh();
    let ask = |client: &mut Client| client.ask("GET /get HTTP/1.1\r\nHost: httpbin:8000\r\n\r\n");
    let mut alone = Client::connect(mesh);
    for _ in 0..10 {
        assert_eq!(ask(&mut alone).status, 200, "one client at a time meets no limit");
    }
    let answers: Vec<Response> = std::thread::scope(|scope| {
        let call = || {
            let mut client = Client::connect(mesh);
            (0..10).map(|_| ask(&mut client)).collect::<Vec<_>>()
        };
        let clients: Vec<_> = (0..3).map(|_| scope.spawn(call)).collect();
        clients.into_iter().flat_map(|client| client.join().expect("a client")).collect()
    });
    let (good, bad): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert!(!good.is_empty() && !bad.is_empty(), "{} of 30 answered", good.len());
    for answer in &bad {
        assert_eq!((answer.status, answer.header("x-envoy-overloaded")), (503, Some("true")));
        assert!(answer.text().ends_with("reset reason: overflow") && answer.text().len() == 81, "{}", answer.text());
    }
    let stat = |name: &str| ringway.stat(&format!("cluster.outbound|8000||httpbin.default.svc.cluster.local.{name}"));
    eventually("all of them counted", || (stat("upstream_rq_completed") == 40).then_some(()));
    for (name, expected) in [
        ("upstream_rq_pending_overflow", bad.len()),
        ("upstream_rq_503", bad.len()),
        ("upstream_rq_200", 10 + good.len()),
        ("upstream_cx_total", 10 + good.len()),
        ("upstream_cx_max_requests", 10 + good.len()),
    ] {
        assert_eq!(stat(name), expected as u64, "{name}");
    }
    let shown = ringway.admin("/stats?filter=httpbin.*pending_overflow").text();
    assert!(shown.contains(&format!("upstream_rq_pending_overflow: {}", bad.len())), "{shown}");
    let clusters = ringway.admin("/clusters").text();
    for limit in ["max_connections::1", "max_pending_requests::1", "max_requests::4294967295"] {
        assert!(
            clusters.contains(&format!("httpbin.default.svc.cluster.local::default_priority::{limit}\n")),
            "{clusters}"
        );
    }
    ringway.logged(&[" 503 UO upstream_reset_before_response_started{overflow} "]);
    drop(alone);
    ringway.quiet();
    ringway.stop();
}
