//! `egress-rule-google-apis`: details v2 asks Google for the book, over plain HTTP on port 80, and what leaves the proxy is
//! HTTPS to port 443. Google is an origin of the test, whose certificate the test's own authority has signed.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use tempfile::TempDir;

use super::on_each_driver;
use super::world::{Bookinfo, DETAILS_UNAVAILABLE};
use crate::https::{Authority, Tls};
use crate::support::client::once;
use crate::support::origin::Origin;
use crate::support::ringway::{Driver, Setup};
use crate::support::skip;

const DETAILS_V2: &[(&str, &str)] = &[("details", "v2")];

const BOOK: &str = "Pride and Prejudice";

/// Google, and what points the proxy to it.
struct Google {
    tls: Tls,
    origin: Origin,
    files: TempDir,
}

impl Google {
    /// At port 443 of an address of this driver's own, as the file has it; elsewhere, and loudly, where that is not allowed.
    fn start(driver: Driver) -> Self {
        let last = if driver == Driver::IoUring { 43 } else { 44 };
        let address = SocketAddr::from((Ipv4Addr::new(127, 44, 3, last), 443));
        let address = match TcpListener::bind(address) {
            Ok(_) => address,
            Err(why) => {
                skip::loudly(&format!("google: {address} cannot be bound ({why}); another port stands in for 443"));
                SocketAddr::new(address.ip(), 0)
            }
        };
        let authority = Authority::new("ca");
        let tls = Tls::new(&authority.issue(&["www.googleapis.com"]));
        let origin = tls.origin_at(address, |peer| {
            while peer.request()?.is_some() {
                peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{BOOK}", BOOK.len()))?;
            }
            Ok(())
        });
        let files = TempDir::new().expect("a temporary folder");
        std::fs::write(files.path().join("system.pem"), &authority.pem).expect("write a file");
        Self { tls, origin, files }
    }

    /// `www.googleapis.com` is here, and its authority is one of the system's.
    fn found(&self, setup: Setup) -> Setup {
        let SocketAddr::V4(address) = self.origin.address else { panic!("an IPv4 address") };
        let place = if address.port() == 443 { address.ip().to_string() } else { address.to_string() };
        setup
            .spec("dns", &format!("{{hosts: {{www.googleapis.com: ['{place}']}}}}"))
            .launcher(&["env", &format!("SSL_CERT_FILE={}", self.files.path().join("system.pem").display())])
    }
}

#[test]
fn the_book_is_asked_for_over_tls() {
    let files = ["destination-rule-all", "virtual-service-details-v2", "egress-rule-google-apis"];
    on_each_driver(|driver| {
        let google = Google::start(driver);
        let bookinfo = Bookinfo::with(driver, &files, DETAILS_V2, |setup| google.found(setup));
        let page = bookinfo.page(None);
        assert!(page.starts_with(&format!("details v2: {BOOK}\nreviews ")), "{page}");
        let seen = google.tls.seen();
        assert_eq!(seen.iter().map(|seen| seen.sni.as_deref()).collect::<Vec<_>>(), [Some("www.googleapis.com")]);
        let requests = google.origin.requests();
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0].line(), "GET /books/v1/volumes?q=isbn:0486424617 HTTP/1.1");
        assert_eq!(requests[0].header("host"), Some("www.googleapis.com"));
        let line = bookinfo.ringway.logged(&["GET /books/v1/volumes"]);
        assert!(line.contains(&format!("\"{}\" outbound|443||www.googleapis.com ", google.origin.address)), "{line}");
        assert_eq!(bookinfo.ringway.stat("cluster.outbound|443||www.googleapis.com.ssl.handshake"), 1);
        // The rule is for port 80 and no other.
        let other = once(bookinfo.ringway.mesh(), "GET / HTTP/1.1\r\nHost: www.googleapis.com:8080\r\n\r\n");
        assert_eq!(other.status, 502);
        bookinfo.ringway.quiet();
    });
}

/// `virtual-service-details-v2` by itself: it leads to v2, which gets nothing from outside of the mesh.
#[test]
fn without_the_rule_there_is_no_book() {
    on_each_driver(|driver| {
        let files = ["destination-rule-all", "virtual-service-details-v2"];
        let bookinfo = Bookinfo::with(driver, &files, DETAILS_V2, |setup| setup);
        let page = bookinfo.page(None);
        assert!(page.starts_with(&format!("{DETAILS_UNAVAILABLE}\nreviews ")), "{page}");
        assert_eq!((bookinfo.got("details", "v1"), bookinfo.got("details", "v2")), (0, 1));
        bookinfo.ringway.logged(&["GET /books/v1/volumes", " 502 ", " block_all"]);
    });
}
