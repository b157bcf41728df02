//! Istio's Bookinfo with the files of its `samples/bookinfo/networking`, unchanged: productpage, reviews v1, v2 and v3,
//! ratings and details as small scripted services that call each other through one mesh listener, as the tasks of
//! istio.io show them. What each file is documented to do is seen with traffic, and what `check` says of it is written down.

mod check;
mod google;
mod published;
mod world;

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::client::once;
use crate::support::origin::Origin;
use crate::support::ringway::{DRIVERS, Driver};
use world::{Bookinfo, DETAILS_UNAVAILABLE, DRAWS, PAGE_WAITS, RATINGS_UNAVAILABLE, REVIEWS_UNAVAILABLE};

/// Runs on every driver at once.
pub(crate) fn on_each_driver(test: impl Fn(Driver) + Sync) {
    std::thread::scope(|scope| {
        let running = DRIVERS.map(|driver| {
            (
                driver,
                scope.spawn({
                    let test = &test;
                    move || test(driver)
                }),
            )
        });
        for (driver, thread) in running {
            assert!(thread.join().is_ok(), "failed on {driver:?}");
        }
    });
}

const JASON: Option<&str> = Some("jason");

#[test]
fn all_v1() {
    on_each_driver(|driver| {
        let bookinfo = Bookinfo::start(driver, &["virtual-service-all-v1"]);
        for user in [None, JASON, None, JASON] {
            assert_eq!(bookinfo.page(user), "details v1\nreviews v1: no stars");
        }
        assert_eq!(bookinfo.versions(), [DRAWS, 0, 0]);
        assert_eq!(bookinfo.got("ratings", "v1"), 0);
        let other = once(bookinfo.ringway.listener(8080), "GET /reviews/0 HTTP/1.1\r\nHost: bookinfo.com\r\n\r\n");
        assert_eq!(other.status, 404, "the gateway serves the page alone");
    });
}

/// Without a VirtualService each of the three answers a third of the requests.
#[test]
fn no_rules() {
    on_each_driver(|driver| {
        let seen = Bookinfo::start(driver, &[]).versions();
        // A third of 400, and five standard deviations (9.4) around it.
        assert!(seen.iter().all(|count| (86..=181).contains(count)), "{seen:?}");
    });
}

#[test]
fn reviews_by_user() {
    on_each_driver(|driver| {
        let test = Bookinfo::start(driver, &["virtual-service-reviews-test-v2"]);
        let (anybody, jason) = ("details v1\nreviews v1: no stars", "details v1\nreviews v2: black stars");
        for (user, page) in [(None, anybody), (JASON, jason), (Some("Jason"), anybody), (JASON, jason)] {
            assert_eq!(test.page(user), page, "{user:?}");
        }
        let both = Bookinfo::start(driver, &["virtual-service-reviews-jason-v2-v3"]);
        assert_eq!(both.page(None), "details v1\nreviews v3: red stars");
        assert_eq!(both.page(JASON), jason);
    });
}

#[test]
fn reviews_by_weight() {
    // The expected number for the second version, and five standard deviations around it: sqrt(400 p (1 - p)).
    let cases = [
        ("virtual-service-reviews-50-v3", [0, 2], 200, 50),
        ("virtual-service-reviews-90-10", [0, 1], 40, 30),
        ("virtual-service-reviews-80-20", [0, 1], 80, 40),
        ("virtual-service-reviews-v2-v3", [1, 2], 200, 50),
    ];
    on_each_driver(|driver| {
        for (file, [first, second], expected, around) in cases {
            let seen = Bookinfo::start(driver, &[file]).versions();
            assert_eq!(seen[first] + seen[second], DRAWS, "{file}: {seen:?}");
            assert!(seen[second].abs_diff(expected) <= around, "{file}: {seen:?}");
        }
        assert_eq!(Bookinfo::start(driver, &["virtual-service-reviews-v3"]).versions(), [0, 0, DRAWS]);
    });
}

/// The task's bug: reviews v2 waits 10 s for ratings, but the page waits 3 s for reviews, and twice.
#[test]
fn a_delay_of_ratings_shows_the_timeout_of_the_page() {
    on_each_driver(|driver| {
        let bookinfo =
            Bookinfo::start(driver, &["virtual-service-reviews-test-v2", "virtual-service-ratings-test-delay"]);
        assert_eq!(bookinfo.page(None), "details v1\nreviews v1: no stars");
        let start = Instant::now();
        assert_eq!(bookinfo.page(JASON), format!("details v1\n{REVIEWS_UNAVAILABLE}"));
        assert!(start.elapsed() >= 2 * PAGE_WAITS, "{:?}", start.elapsed());
        // The first of the two calls is still within its delay, or has just got through it.
        bookinfo.ringway.logged(&["GET /reviews/0 ", " 0 DC "]);
    });
}

/// The task's fix: reviews v3 waits 2.5 s, so the page comes, without stars.
#[test]
fn a_delay_of_ratings_is_survived_by_a_shorter_timeout() {
    on_each_driver(|driver| {
        let bookinfo = Bookinfo::start(driver, &["virtual-service-reviews-v3", "virtual-service-ratings-test-delay"]);
        assert_eq!(bookinfo.page(None), "details v1\nreviews v3: red stars");
        let start = Instant::now();
        assert_eq!(bookinfo.page(JASON), format!("details v1\nreviews v3: {RATINGS_UNAVAILABLE}"));
        assert!(start.elapsed() >= Duration::from_millis(2500), "{:?}", start.elapsed());
        bookinfo.ringway.logged(&["GET /ratings/0 ", " 0 DI,DC "]);
        assert_eq!(bookinfo.got("ratings", "v1"), 1, "jason's request never got there");
    });
}

#[test]
fn an_abort_of_ratings() {
    on_each_driver(|driver| {
        let bookinfo =
            Bookinfo::start(driver, &["virtual-service-reviews-jason-v2-v3", "virtual-service-ratings-test-abort"]);
        assert_eq!(bookinfo.page(None), "details v1\nreviews v3: red stars");
        assert_eq!(bookinfo.page(JASON), format!("details v1\nreviews v2: {RATINGS_UNAVAILABLE}"));
        bookinfo.ringway.logged(&["GET /ratings/0 ", " 500 FI fault_filter_abort "]);
        assert_eq!(bookinfo.got("ratings", "v1"), 1);
    });
}

/// The first of its two rules takes everything, and aborts it with a status of nobody's.
#[test]
fn an_abort_of_details() {
    on_each_driver(|driver| {
        let bookinfo = Bookinfo::with(driver, &["fault-injection-details-v1"], &[], |setup| setup);
        let page = bookinfo.page(None);
        assert!(page.starts_with(&format!("{DETAILS_UNAVAILABLE}\nreviews ")), "{page}");
        bookinfo.ringway.logged(&["GET /details/0 ", " 555 FI "]);
    });
}

/// The load balancing of a cluster of reviews.
fn policy(bookinfo: &Bookinfo, subset: &str) -> String {
    let dump: Value = serde_json::from_str(&bookinfo.ringway.admin("/config_dump").text()).expect("JSON");
    let name = format!("outbound|9080|{subset}|reviews.default.svc.cluster.local");
    let clusters =
        dump["configs"].as_array().into_iter().flatten().filter_map(|config| config["static_clusters"].as_array());
    let found = clusters.flatten().find(|entry| entry["cluster"]["name"] == *name);
    found
        .and_then(|entry| entry["cluster"]["lb_policy"].as_str())
        .unwrap_or_else(|| panic!("{name}: {dump:#}"))
        .to_owned()
}

/// RANDOM in place of Istio's own choice, for the whole and for a subset that has no policy of its own.
#[test]
fn the_load_balancing_of_reviews() {
    on_each_driver(|driver| {
        let bookinfo = Bookinfo::with(driver, &["destination-rule-reviews"], &[], |setup| setup);
        assert_eq!(policy(&bookinfo, ""), "RANDOM");
        let seen = bookinfo.versions();
        assert!(seen.iter().all(|count| (86..=181).contains(count)), "{seen:?}");
        drop(bookinfo);
        let files = ["destination-rule-reviews", "virtual-service-reviews-v3"];
        let bookinfo = Bookinfo::with(driver, &files, &[], |setup| setup);
        assert_eq!((policy(&bookinfo, "v3").as_str(), bookinfo.versions()), ("RANDOM", [0, 0, DRAWS]));
        drop(bookinfo);
        let bookinfo = Bookinfo::start(driver, &["virtual-service-reviews-v3"]);
        assert_eq!(policy(&bookinfo, "v3"), "LEAST_REQUEST");
    });
}

/// Ratings that read a database: in the cluster, MySQL there, MySQL on a machine outside. Reviews v3 asks them.
#[test]
fn ratings_of_a_database() {
    let cases = [
        ("virtual-service-ratings-db", "v2"),
        ("virtual-service-ratings-mysql", "v2-mysql"),
        ("virtual-service-ratings-mysql-vm", "v2-mysql-vm"),
    ];
    on_each_driver(|driver| {
        for (file, version) in cases {
            let bookinfo = Bookinfo::with(driver, &["destination-rule-all", file], &world::MORE[1..], |setup| setup);
            for asked in 1..=3 {
                assert!(bookinfo.page(None).ends_with("\nreviews v3: red stars"), "{file}");
                for other in ["v1", "v2", "v2-mysql", "v2-mysql-vm"] {
                    let expected = if other == version { asked } else { 0 };
                    assert_eq!(bookinfo.got("ratings", other), expected, "{file}: {other}");
                }
            }
        }
    });
}

/// The answer to a challenge of ACME comes from the issuer's resolver, on port 80; the page stays where it was.
#[test]
fn a_gateway_for_certificates() {
    const TOKEN: &str = "/.well-known/acme-challenge/token";
    let ask = |to, path: &str| once(to, format!("GET {path} HTTP/1.1\r\nHost: bookinfo.com\r\n\r\n"));
    on_each_driver(|driver| {
        let files = ["destination-rule-all", "certmanager-gateway"];
        let resolver = Origin::replying("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nproof");
        let service = format!(
            "apiVersion: v1
kind: Service
metadata: {{name: cert-manager-resolver, namespace: istio-system}}
spec: {{selector: {{app: cert-manager-resolver}}, ports: [{{port: 8089, name: http}}]}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: cert-manager-resolver, namespace: istio-system}}
spec: {{address: 127.0.0.1, ports: {{http: {}}}, labels: {{app: cert-manager-resolver}}}}
",
            resolver.port()
        );
        let bookinfo = Bookinfo::with(driver, &files, &[], |setup| setup.yaml(service));
        let (port_80, port_8080) = (bookinfo.ringway.listener(80), bookinfo.ringway.listener(8080));
        let proof = ask(port_80, TOKEN);
        assert_eq!((proof.status, proof.text().as_str()), (200, "proof"));
        bookinfo.ringway.logged(&[TOKEN, " outbound|8089||cert-manager-resolver.istio-system.svc.cluster.local "]);
        assert_eq!(ask(port_80, "/productpage").status, 404);
        assert_eq!(ask(port_8080, TOKEN).status, 404);
        assert_eq!(ask(port_8080, "/productpage").status, 200);
        assert_eq!(resolver.requests().len(), 1);
        drop(bookinfo);
        // Before the resolver is there: its host is nobody's.
        let bookinfo = Bookinfo::with(driver, &files, &[], |setup| setup);
        assert_eq!(ask(bookinfo.ringway.listener(80), TOKEN).status, 503);
        bookinfo.ringway.logged(&[TOKEN, " 503 NC "]);
    });
}
