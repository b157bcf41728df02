//! Istio's egress task "TLS origination", with its own documents: the host that they call is an origin of the test.

use super::{Files, on_each_driver};
use crate::https::{Authority, Tls};
use crate::support::client::once;
use crate::support::ringway::{Driver, Setup};

on_each_driver![a_port_of_http_leads_to_one_of_https, a_subset_for_one_port];

/// As Istio has them, but for `resolution: DNS`, whose answer stands here.
fn service_entry(port: u16) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: edition-cnn-com
spec:
  hosts:
  - edition.cnn.com
  ports:
  - number: 80
    name: http-port
    protocol: HTTP
    targetPort: 443
  - number: 443
    name: https-port
    protocol: HTTPS
  resolution: STATIC
  endpoints:
  - address: 127.0.0.1
    ports: {{http-port: {port}, https-port: {port}}}
"
    )
}

const GET: &str = "GET /politics HTTP/1.1\r\nHost: edition.cnn.com\r\n\r\n";

fn call(driver: Driver, documents: &str) {
    let (files, authority) = (Files::new(), Authority::new("ca"));
    let tls = Tls::new(&authority.issue(&["edition.cnn.com"]));
    let origin = tls.origin(|peer| {
        while peer.request()?.is_some() {
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nworld")?;
        }
        Ok(())
    });
    let bundle = files.write("system.pem", &authority.pem);
    let ringway = Setup::new(driver)
        .mesh("REGISTRY_ONLY")
        .launcher(&["env", &format!("SSL_CERT_FILE={}", bundle.display())])
        .yaml(service_entry(origin.port()))
        .yaml(documents)
        .start();
    let response = once(ringway.mesh(), GET);
    assert_eq!((response.status, response.text().as_str()), (200, "world"));
    assert_eq!(tls.seen()[0].sni.as_deref(), Some("edition.cnn.com"));
    assert_eq!(origin.requests()[0].header("host"), Some("edition.cnn.com"));
    ringway.quiet();
    ringway.stop();
}

/// The task of today: "Perform TLS origination with a DestinationRule".
fn a_port_of_http_leads_to_one_of_https(driver: Driver) {
    call(
        driver,
        "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: edition-cnn-com
spec:
  host: edition.cnn.com
  trafficPolicy:
    portLevelSettings:
    - port:
        number: 80
      tls:
        mode: SIMPLE # initiates HTTPS when accessing edition.cnn.com
",
    );
}

/// The task as it was until 1.8: the rule leads to port 443.
fn a_subset_for_one_port(driver: Driver) {
    call(
        driver,
        "apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata:
  name: edition-cnn-com
spec:
  hosts:
  - edition.cnn.com
  http:
  - match:
    - port: 80
    route:
    - destination:
        host: edition.cnn.com
        subset: tls-origination
        port:
          number: 443
---
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata:
  name: edition-cnn-com
spec:
  host: edition.cnn.com
  subsets:
  - name: tls-origination
    trafficPolicy:
      loadBalancer:
        simple: ROUND_ROBIN
      portLevelSettings:
      - port:
          number: 443
        tls:
          mode: SIMPLE # initiates HTTPS when accessing edition.cnn.com
",
    );
}
