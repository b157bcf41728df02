//! The services of Bookinfo, small and scripted, calling each other through one mesh listener, and the ringway between them
//! on Istio's files. The timeouts that matter in Istio's tasks are the services' own, as in the originals.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::published;
use crate::support::client::{Client, Response, once};
use crate::support::origin::{Origin, Recorded};
use crate::support::ringway::{Driver, Ringway, Setup};

pub(crate) const REVIEWS_UNAVAILABLE: &str = "Sorry, product reviews are currently unavailable for this book.";
pub(crate) const RATINGS_UNAVAILABLE: &str = "Ratings service is currently unavailable";
pub(crate) const DETAILS_UNAVAILABLE: &str = "Error fetching product details!";

/// What productpage waits for details, and for reviews, twice (`getProductReviews`).
pub(crate) const PAGE_WAITS: Duration = Duration::from_secs(3);

/// What details v2 waits for Google.
const BOOKS_WAIT: Duration = Duration::from_secs(5);

/// Requests that decide between two shares. The tests' bounds leave a right proxy alone but for once in a million runs.
pub(crate) const DRAWS: usize = 400;

/// What `kube/bookinfo.yaml` deploys.
pub(crate) const DEPLOYED: [(&str, &str); 6] = [
    ("productpage", "v1"),
    ("details", "v1"),
    ("reviews", "v1"),
    ("reviews", "v2"),
    ("reviews", "v3"),
    ("ratings", "v1"),
];

/// What other files of `samples/bookinfo/platform/kube` deploy besides.
pub(crate) const MORE: [(&str, &str); 4] =
    [("details", "v2"), ("ratings", "v2"), ("ratings", "v2-mysql"), ("ratings", "v2-mysql-vm")];

/// A process in place of a Deployment's pod.
pub(crate) fn workload(name: &str, version: &str, port: u16) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: {name}-{version}}}\nspec: {{address: \
         127.0.0.1, ports: {{http: {port}}}, labels: {{app: {name}, version: {version}}}}}\n"
    )
}

/// Where the services' own requests go; known once ringway runs.
type Mesh = Arc<OnceLock<SocketAddr>>;

/// Who is logged in, in the header that productpage sends on.
fn user_line(user: Option<&str>) -> String {
    user.map(|user| format!("end-user: {user}\r\n")).unwrap_or_default()
}

/// One service's request to another, through the mesh listener. `None`: no good answer in time.
fn call(mesh: &Mesh, url: (&str, &str), user: Option<&str>, patience: Duration) -> Option<Response> {
    let (host, path) = url;
    let mut client = Client::try_connect(*mesh.get()?).ok()?;
    client.stream().set_read_timeout(Some(patience)).ok()?;
    client.try_send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{}\r\n", user_line(user))).ok()?;
    client.try_response_to("GET").ok()?.filter(|got| got.status == 200)
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

fn start(name: &str, version: &'static str, mesh: &Mesh) -> Origin {
    let mesh = mesh.clone();
    match (name, version) {
        ("productpage", _) => productpage(mesh),
        // With DO_NOT_ENCRYPT, as `bookinfo-details-v2.yaml` deploys it: it leaves TLS to the mesh.
        ("details", "v2") => service(move |_| {
            match call(&mesh, ("www.googleapis.com", "/books/v1/volumes?q=isbn:0486424617"), None, BOOKS_WAIT) {
                Some(book) => (200, format!("details v2: {}", book.text())),
                None => (500, String::new()),
            }
        }),
        ("reviews", _) => reviews(mesh, version),
        (name, version) => {
            let body = format!("{name} {version}");
            service(move |_| (200, body.clone()))
        }
    }
}

/// v1 shows no stars, v2 black ones, for which it waits 10 s, v3 red ones, for which it waits 2.5 s.
fn reviews(mesh: Mesh, version: &'static str) -> Origin {
    let (stars, patience) = match version {
        "v2" => ("black stars", Duration::from_secs(10)),
        _ => ("red stars", Duration::from_millis(2500)),
    };
    service(move |request| {
        let ratings = || call(&mesh, ("ratings:9080", "/ratings/0"), request.header("end-user"), patience);
        let shown = match version {
            "v1" => "no stars",
            _ => ratings().map_or(RATINGS_UNAVAILABLE, |_| stars),
        };
        (200, format!("reviews {version}: {shown}"))
    })
}

fn productpage(mesh: Mesh) -> Origin {
    service(move |request| {
        let user = request.header("end-user");
        let details = call(&mesh, ("details:9080", "/details/0"), user, PAGE_WAITS);
        let reviews = (0..2).find_map(|_| call(&mesh, ("reviews:9080", "/reviews/0"), user, PAGE_WAITS));
        let shown = |got: Option<Response>, else_shown: &str| got.map_or(else_shown.to_owned(), |got| got.text());
        (200, format!("{}\n{}", shown(details, DETAILS_UNAVAILABLE), shown(reviews, REVIEWS_UNAVAILABLE)))
    })
}

/// The services, and ringway on Istio's files.
pub(crate) struct Bookinfo {
    pub(crate) ringway: Ringway,
    origins: BTreeMap<(&'static str, &'static str), Origin>,
}

impl Bookinfo {
    /// With `destination-rule-all` and these files beside `bookinfo-gateway`.
    pub(crate) fn start(driver: Driver, files: &[&str]) -> Self {
        Self::with(driver, &[&["destination-rule-all"], files].concat(), &[], |setup| setup)
    }

    /// With these files beside `bookinfo-gateway`, other versions beside [`DEPLOYED`], and more said about the process.
    pub(crate) fn with(
        driver: Driver,
        files: &[&str],
        others: &[(&'static str, &'static str)],
        more: impl FnOnce(Setup) -> Setup,
    ) -> Self {
        let mesh = Mesh::default();
        let running =
            DEPLOYED.iter().chain(others).map(|&(name, version)| ((name, version), start(name, version, &mesh)));
        let origins: BTreeMap<_, _> = running.collect();
        let workloads: String =
            origins.iter().map(|((name, version), origin)| workload(name, version, origin.port())).collect();
        let setup = Setup::new(driver)
            .label("istio", "ingressgateway")
            .gateway_ports(&[8080, 80])
            .mesh("REGISTRY_ONLY")
            .yaml(workloads)
            .path(published::kube())
            .path(published::networking("bookinfo-gateway"));
        let setup = files.iter().fold(setup, |setup, file| setup.path(published::networking(file)));
        let ringway = more(setup).start();
        mesh.set(ringway.mesh()).expect("set once");
        Self { ringway, origins }
    }

    /// The product page, as a browser gets it through the gateway.
    pub(crate) fn page(&self, user: Option<&str>) -> String {
        let request = format!("GET /productpage HTTP/1.1\r\nHost: bookinfo.com\r\n{}\r\n", user_line(user));
        let response = once(self.ringway.listener(8080), request);
        assert_eq!(response.status, 200);
        response.text()
    }

    /// How many requests a version of a service has got.
    pub(crate) fn got(&self, name: &'static str, version: &'static str) -> usize {
        self.origins[&(name, version)].requests().len()
    }

    /// How many of [`DRAWS`] requests to reviews each version answers: of v1, v2 and v3.
    pub(crate) fn versions(&self) -> [usize; 3] {
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
