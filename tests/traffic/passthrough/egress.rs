//! Istio's task "Egress gateway for HTTPS traffic", its documents unchanged: the application's TLS goes through the sidecar
//! and the egress gateway to the origin, and neither of them sees into it.

use std::path::Path;
use std::process::{Command, Output};

use super::finish;
use crate::https::{Authority, Tls};
use crate::support::ports;
use crate::support::ringway::{DRIVERS, Driver, Ringway, Setup};

const TO_GATEWAY: &str = "outbound|443|cnn|istio-egressgateway.istio-system.svc.cluster.local";
const TO_OUTSIDE: &str = "outbound|443||edition.cnn.com";

fn config(file: &str) -> String {
    format!("{}/config/egress/passthrough/{file}", env!("CARGO_MANIFEST_DIR"))
}

/// The documents of the task, with the egress gateway at this port.
fn task(setup: Setup, gateway: u16) -> Setup {
    let service = std::fs::read_to_string(config("egressgateway.yaml")).expect("the Service of the gateway");
    setup.path(config("3-egress-tls.yaml")).yaml(service.replace("8443", &gateway.to_string()))
}

fn gateway(setup: Setup, port: u16, origin: u16) -> Setup {
    let dns = format!("{{hosts: {{edition.cnn.com: '127.0.0.1:{origin}'}}}}");
    setup.label("istio", "egressgateway").bound(443, port).spec("dns", &dns)
}

/// curl with the mesh listener as its proxy; it verifies the origin's certificate.
fn curl(ringway: &Ringway, authority: &Path, url: &str) -> Output {
    Command::new("curl")
        .args(["-sS", "--max-time", "20", "-d", "hello", "-w", "\n%{http_code}", "-x"])
        .arg(format!("http://{}", ringway.mesh()))
        .arg("--cacert")
        .arg(authority)
        .arg(url)
        .output()
        .expect("curl")
}

/// An origin for `edition.cnn.com`, and the file of the authority that vouches for it.
fn origin() -> (Tls, crate::support::origin::Origin, tempfile::NamedTempFile) {
    let authority = Authority::new("the origin's");
    let tls = Tls::new(&authority.issue(&["edition.cnn.com"]));
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), &authority.pem).expect("write the authority");
    let origin = tls.echo();
    (tls, origin, file)
}

#[track_caller]
fn answered(output: &Output) {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text == "hello\n200", "{text} {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn one_process_in_both_roles() {
    let (tls, origin, authority) = origin();
    for driver in DRIVERS {
        let port = ports::free();
        let setup = task(Setup::new(driver).gateway_ports(&[]).mesh("REGISTRY_ONLY"), port);
        let ringway = gateway(setup, port, origin.port()).start();
        answered(&curl(&ringway, authority.path(), "https://edition.cnn.com/"));
        let outside = ringway.logged(&["\"- - -\" 0 ", &format!(" {TO_OUTSIDE} ")]);
        assert!(outside.contains(&format!("\"127.0.0.1:{}\"", origin.port())), "{outside}");
        let inside = ringway.logged(&["CONNECT", &format!(" {TO_GATEWAY} ")]);
        assert!(inside.contains(&format!("\"edition.cnn.com:443\" \"127.0.0.1:{port}\"")), "{inside}");
        finish(ringway);
    }
    assert!(tls.seen().iter().all(|seen| seen.sni.as_deref() == Some("edition.cnn.com")), "{:?}", tls.seen());
}

#[test]
fn two_processes() {
    let (tls, origin, authority) = origin();
    let port = ports::free();
    let setup = task(Setup::new(Driver::IoUring).gateway_ports(&[]).mesh("REGISTRY_ONLY"), port);
    let sidecar = setup.label("app", "curl").start();
    // Without the egress gateway there is no way out.
    let refused = curl(&sidecar, authority.path(), "https://edition.cnn.com/");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("503"), "{refused:?}");
    let egress = gateway(task(Setup::new(Driver::Epoll).gateway_ports(&[]), port), port, origin.port()).start();
    for _ in 0..3 {
        answered(&curl(&sidecar, authority.path(), "https://edition.cnn.com/"));
    }
    let first = sidecar.logged(&["CONNECT", " via_upstream ", &format!(" {TO_GATEWAY} ")]);
    let own: Vec<&str> = first.split(TO_GATEWAY).nth(1).expect("behind the cluster").split_whitespace().collect();
    // The sidecar's own address on its connection is the peer of the gateway's.
    let second = egress.logged(&["\"- - -\" 0 ", &format!(" {TO_OUTSIDE} "), own[0]]);
    assert!(second.contains(" edition.cnn.com "), "the server name: {second}");
    assert_eq!(tls.seen().len(), 3);
    assert_eq!(egress.stat(&format!("tcp.{TO_OUTSIDE}.downstream_cx_total")), 3);
    assert!(egress.stat(&format!("tcp.{TO_OUTSIDE}.downstream_cx_rx_bytes_total")) > 1000);
    assert_eq!(egress.cluster_stat(TO_OUTSIDE, "upstream_cx_total"), 3);
    assert!(sidecar.log().iter().all(|line| !line.contains(TO_OUTSIDE)));
    // What nobody declared has no way out.
    let stranger = curl(&sidecar, authority.path(), "https://example.com/");
    assert!(String::from_utf8_lossy(&stranger.stderr).contains("502"), "{stranger:?}");
    finish(sidecar);
    finish(egress);
}
