//! Istio's Bookinfo, with the rules of its `samples/bookinfo/networking`: productpage, reviews v1, v2 and v3, ratings and
//! details as small scripted services that call each other through one mesh listener, as the tasks of istio.io show
//! them. The timeouts that matter in those tasks are the services' own, as in the originals.

#![allow(clippy::disallowed_methods, reason = "a test drives real processes and reads the real clock")]

mod documents;
#[path = "../support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use support::client::{Client, Response, once};
use support::origin::{Origin, Recorded};
use support::ringway::{DRIVERS, Driver, Ringway, Setup};

const REVIEWS_UNAVAILABLE: &str = "Sorry, product reviews are currently unavailable for this book.";
const RATINGS_UNAVAILABLE: &str = "Ratings service is currently unavailable";
const DETAILS_UNAVAILABLE: &str = "Error fetching product details!";

/// What productpage waits for reviews, twice (`getProductReviews`).
const PAGE_WAITS: Duration = Duration::from_secs(3);

/// Requests that decide between two shares. The bounds below leave a right proxy alone but for once in a million runs.
const DRAWS: usize = 400;

/// Where the services' own requests go; known once ringway runs.
type Mesh = Arc<OnceLock<SocketAddr>>;

/// Who is logged in, in the header that productpage sends on.
fn user_line(user: Option<&str>) -> String {
    user.map(|user| format!("end-user: {user}\r\n")).unwrap_or_default()
}

/// One service's request to another, through the mesh listener. `None`: no answer in time.
fn call(mesh: &Mesh, service: &str, user: Option<&str>, patience: Duration) -> Option<Response> {
    let mut client = Client::try_connect(*mesh.get()?).ok()?;
    client.stream().set_read_timeout(Some(patience)).ok()?;
    client.try_send(format!("GET /{service}/0 HTTP/1.1\r\nHost: {service}:9080\r\n{}\r\n", user_line(user))).ok()?;
    client.try_response_to("GET").ok()?
}

fn service(answer: impl Fn(&Recorded) -> (u16, String) + Send + Sync + 'static) -> Origin {
    Origin::start(move |peer| {
        while let Some(request) = peer.request()? {
            let (status, body) = answer(&request);
            peer.send(format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n\r\n{body}", body.len()))?;
        }
        io::Result::Ok(())
    })
}

/// `reviews`: v1 shows no stars, v2 black ones, for which it waits 10 s, v3 red ones, for which it waits 2.5 s.
fn reviews(mesh: &Mesh, version: &'static str) -> Origin {
    let mesh = mesh.clone();
    let (stars, patience) = match version {
        "v2" => ("black stars", Duration::from_secs(10)),
        _ => ("red stars", Duration::from_millis(2500)),
    };
    service(move |request| {
        let ratings = || call(&mesh, "ratings", request.header("end-user"), patience).filter(|got| got.status == 200);
        let shown = match version {
            "v1" => "no stars",
            _ => ratings().map_or(RATINGS_UNAVAILABLE, |_| stars),
        };
        (200, format!("reviews {version}: {shown}"))
    })
}

fn productpage(mesh: &Mesh) -> Origin {
    let mesh = mesh.clone();
    service(move |request| {
        let user = request.header("end-user");
        let good = |got: &Response| got.status == 200;
        let details = call(&mesh, "details", user, PAGE_WAITS).filter(good);
        let reviews = (0..2).find_map(|_| call(&mesh, "reviews", user, PAGE_WAITS).filter(good));
        let shown = |got: Option<Response>, else_shown: &str| got.map_or(else_shown.to_owned(), |got| got.text());
        (200, format!("{}\n{}", shown(details, DETAILS_UNAVAILABLE), shown(reviews, REVIEWS_UNAVAILABLE)))
    })
}

/// The services and ringway, with some of Istio's documents.
struct Bookinfo {
    ringway: Ringway,
    ratings: Origin,
    _others: Vec<Origin>,
}

impl Bookinfo {
    fn start(driver: Driver, rules: &[String]) -> Self {
        let mesh = Mesh::default();
        let ratings = service(|_| (200, "ratings".to_owned()));
        let others = vec![
            ("productpage", "v1", productpage(&mesh)),
            ("details", "v1", service(|_| (200, "details v1".to_owned()))),
            ("reviews", "v1", reviews(&mesh, "v1")),
            ("reviews", "v2", reviews(&mesh, "v2")),
            ("reviews", "v3", reviews(&mesh, "v3")),
        ];
        let mut workloads = String::new();
        for name in ["productpage", "details", "reviews", "ratings"] {
            let _ = write!(
                workloads,
                "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{selector: {{app: {name}}}, \
                 ports: [{{port: 9080, name: http}}]}}\n"
            );
        }
        let places = others.iter().map(|(name, version, origin)| (*name, *version, origin.port()));
        for (name, version, port) in places.chain([("ratings", "v1", ratings.port())]) {
            let _ = write!(
                workloads,
                "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: {name}-{version}}}\n\
                 spec: {{address: 127.0.0.1, ports: {{http: {port}}}, labels: {{app: {name}, version: {version}}}}}\n"
            );
        }
        let setup = Setup::new(driver)
            .label("istio", "ingressgateway")
            .gateway_ports(&[8080])
            .mesh("REGISTRY_ONLY")
            .yaml(workloads)
            .yaml(documents::ALWAYS);
        let ringway = rules.iter().fold(setup, |setup, text| setup.yaml(text)).start();
        mesh.set(ringway.mesh()).expect("set once");
        Self { ringway, ratings, _others: others.into_iter().map(|(.., origin)| origin).collect() }
    }

    /// The product page, as a browser gets it through the gateway.
    fn page(&self, user: Option<&str>) -> String {
        let request = format!("GET /productpage HTTP/1.1\r\nHost: bookinfo.com\r\n{}\r\n", user_line(user));
        let response = once(self.ringway.listener(8080), request);
        assert_eq!(response.status, 200);
        response.text()
    }

    /// How many of [`DRAWS`] requests to reviews each version answers: of v1, v2 and v3.
    fn versions(&self) -> [usize; 3] {
        let mut seen = [0; 3];
        let mut client = Client::connect(self.ringway.mesh());
        for _ in 0..DRAWS {
            let text = client.ask("GET /reviews/0 HTTP/1.1\r\nHost: reviews:9080\r\n\r\n").text();
            let version = ["v1", "v2", "v3"].iter().position(|version| text.contains(version));
            seen[version.unwrap_or_else(|| panic!("no version: {text}"))] += 1;
        }
        seen
    }
}

/// Runs on every driver at once.
fn on_each_driver(test: impl Fn(Driver) + Sync) {
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
        let bookinfo = Bookinfo::start(driver, &[documents::all_v1()]);
        for user in [None, JASON, None, JASON] {
            assert_eq!(bookinfo.page(user), "details v1\nreviews v1: no stars");
        }
        assert_eq!(bookinfo.versions(), [DRAWS, 0, 0]);
        assert_eq!(bookinfo.ratings.requests(), []);
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
        let test = Bookinfo::start(driver, &[documents::reviews_jason_v2("v1")]);
        let (anybody, jason) = ("details v1\nreviews v1: no stars", "details v1\nreviews v2: black stars");
        for (user, page) in [(None, anybody), (JASON, jason), (Some("Jason"), anybody), (JASON, jason)] {
            assert_eq!(test.page(user), page, "{user:?}");
        }
        let both = Bookinfo::start(driver, &[documents::reviews_jason_v2("v3")]);
        assert_eq!(both.page(None), "details v1\nreviews v3: red stars");
        assert_eq!(both.page(JASON), jason);
    });
}

#[test]
fn reviews_by_weight() {
    // The expected number for the second version, and five standard deviations around it: sqrt(400 p (1 - p)).
    let cases = [
        ([("v1", 50), ("v3", 50)], [0, 2], 200, 50),
        ([("v1", 90), ("v2", 10)], [0, 1], 40, 30),
        ([("v1", 80), ("v2", 20)], [0, 1], 80, 40),
        ([("v2", 50), ("v3", 50)], [1, 2], 200, 50),
    ];
    on_each_driver(|driver| {
        for (shares, [first, second], expected, around) in cases {
            let seen = Bookinfo::start(driver, &[documents::reviews_weighted(shares)]).versions();
            assert_eq!(seen[first] + seen[second], DRAWS, "{shares:?}: {seen:?}");
            assert!(seen[second].abs_diff(expected) <= around, "{shares:?}: {seen:?}");
        }
        assert_eq!(Bookinfo::start(driver, &[documents::reviews_v3()]).versions(), [0, 0, DRAWS]);
    });
}

/// The task's bug: reviews v2 waits 10 s for ratings, but the page waits 3 s for reviews, and twice.
#[test]
fn a_delay_of_ratings_shows_the_timeout_of_the_page() {
    on_each_driver(|driver| {
        let bookinfo = Bookinfo::start(driver, &[documents::reviews_jason_v2("v1"), documents::ratings_delayed()]);
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
        let bookinfo = Bookinfo::start(driver, &[documents::reviews_v3(), documents::ratings_delayed()]);
        assert_eq!(bookinfo.page(None), "details v1\nreviews v3: red stars");
        let start = Instant::now();
        assert_eq!(bookinfo.page(JASON), format!("details v1\nreviews v3: {RATINGS_UNAVAILABLE}"));
        assert!(start.elapsed() >= Duration::from_millis(2500), "{:?}", start.elapsed());
        bookinfo.ringway.logged(&["GET /ratings/0 ", " 0 DI,DC "]);
        assert_eq!(bookinfo.ratings.requests().len(), 1, "jason's request never got there");
    });
}

#[test]
fn an_abort_of_ratings() {
    on_each_driver(|driver| {
        let bookinfo = Bookinfo::start(driver, &[documents::reviews_jason_v2("v3"), documents::ratings_aborted()]);
        assert_eq!(bookinfo.page(None), "details v1\nreviews v3: red stars");
        assert_eq!(bookinfo.page(JASON), format!("details v1\nreviews v2: {RATINGS_UNAVAILABLE}"));
        bookinfo.ringway.logged(&["GET /ratings/0 ", " 500 FI fault_filter_abort "]);
        assert_eq!(bookinfo.ratings.requests().len(), 1);
    });
}

/// The first of its two rules takes everything, and aborts it with a status of nobody's.
#[test]
fn an_abort_of_details() {
    on_each_driver(|driver| {
        let bookinfo = Bookinfo::start(driver, &[documents::details_aborted()]);
        let page = bookinfo.page(None);
        assert!(page.starts_with(&format!("{DETAILS_UNAVAILABLE}\nreviews ")), "{page}");
        bookinfo.ringway.logged(&["GET /details/0 ", " 555 FI "]);
    });
}
