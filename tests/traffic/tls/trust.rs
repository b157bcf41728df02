//! Whose certificate is taken for the origin's, and what is shown to it.

use super::{Bench, Files, HOST, get, on_each_driver, rule};
use crate::https::{Authority, Issued, Tls, expired};
use crate::support::ringway::Driver;

on_each_driver![
    a_plain_call_leaves_as_https,
    a_certificate_for_another_name_is_refused,
    an_expired_certificate_is_refused,
    a_certificate_of_an_unknown_authority_is_refused,
    a_certificate_that_vouches_for_itself,
    a_revoked_certificate_is_refused,
    names_in_place_of_the_host,
    names_of_the_service,
    the_name_that_is_asked_for,
    an_address_is_a_name_of_its_own,
    anyone_is_trusted_on_demand,
    the_authorities_of_the_system_are_the_default,
    a_certificate_is_shown_on_demand,
    an_origin_that_misses_a_certificate_says_so,
    a_certificate_of_the_wrong_authority_is_refused_by_the_origin,
];

fn a_plain_call_leaves_as_https(driver: Driver) {
    for versions in [rustls::ALL_VERSIONS, &[&rustls::version::TLS12]] {
        let (files, authority) = (Files::new(), Authority::new("ca"));
        let tls = Tls::with(&authority.issue(&[HOST]), None, versions);
        let bench = Bench::new(driver, tls.echo(), &format!("mode: SIMPLE, {}", files.trust(&authority)));
        let mut client = bench.client();
        for _ in 0..3 {
            let request = format!("POST /x HTTP/1.1\r\nHost: {HOST}:80\r\nContent-Length: 5\r\n\r\nhello");
            let response = client.ask(request);
            assert_eq!((response.status, response.text().as_str()), (200, "hello"));
        }
        drop(client);
        let seen = tls.seen();
        assert_eq!(seen.len(), 1, "one connection is enough: {seen:?}");
        assert_eq!(
            (seen[0].sni.as_deref(), seen[0].certified, seen[0].alpn.as_deref()),
            (Some(HOST), false, Some("http/1.1"))
        );
        let request = &bench.origin.requests()[0];
        assert_eq!(request.header("host"), Some("good.example.com:80"));
        assert_eq!(request.header("x-forwarded-proto"), Some("http"), "that is how the client came");
        assert_eq!((bench.stat("ssl.handshake"), bench.stat("upstream_cx_total")), (1, 1));
        let version = if versions.len() == 1 { "ssl.versions.TLSv1.2" } else { "ssl.versions.TLSv1.3" };
        assert_eq!(bench.stat(version), 1);
        assert_eq!(bench.stat("ssl.connection_error") + bench.stat("ssl.fail_verify_error"), 0);
        bench.finish();
    }
}

fn a_certificate_for_another_name_is_refused(driver: Driver) {
    let (files, authority) = (Files::new(), Authority::new("ca"));
    let tls = Tls::new(&authority.issue(&["bad.example.com"]));
    let bench = Bench::new(driver, tls.echo(), &format!("mode: SIMPLE, {}", files.trust(&authority)));
    bench.refuses("CERTIFICATE_VERIFY_FAILED:verify_cert_failed:_verify_SAN_list,_certificate_SANs:_[bad.example.com]");
    assert_eq!(bench.stat("ssl.fail_verify_san"), 3, "it is tried again, as a connection that fails");
    assert_eq!((bench.stat("upstream_cx_connect_fail"), bench.stat("upstream_rq_retry")), (3, 2));
    assert_eq!((bench.stat("ssl.handshake"), bench.stat("ssl.fail_verify_error")), (0, 0));
    assert!(tls.seen().iter().all(|seen| !seen.certified) && bench.origin.requests().is_empty());
    bench.finish();
}

fn an_expired_certificate_is_refused(driver: Driver) {
    let (files, authority) = (Files::new(), Authority::new("ca"));
    let tls = Tls::new(&authority.issue_expired(&[HOST]));
    let bench = Bench::new(driver, tls.echo(), &format!("mode: SIMPLE, {}", files.trust(&authority)));
    bench.refuses("certificate_has_expired");
    assert_eq!(bench.stat("ssl.fail_verify_error"), 3);
    bench.finish();
}

fn a_certificate_of_an_unknown_authority_is_refused(driver: Driver) {
    let (files, authority) = (Files::new(), Authority::new("ca"));
    let tls = Tls::new(&Authority::new("ca").issue(&[HOST]));
    let bench = Bench::new(driver, tls.echo(), &format!("mode: SIMPLE, {}", files.trust(&authority)));
    bench.refuses("CERTIFICATE_VERIFY_FAILED");
    assert_eq!(bench.stat("ssl.fail_verify_error"), 3);
    assert!(bench.origin.requests().is_empty());
    bench.finish();
}

/// What `openssl req -x509` makes says that it is an authority's. Who is told to trust it is told to trust that server.
fn a_certificate_that_vouches_for_itself(driver: Driver) {
    let serve = |own: &Issued, trusted: &Authority| {
        let files = Files::new();
        Bench::new(driver, Tls::new(own).echo(), &format!("mode: SIMPLE, {}", files.trust(trusted)))
    };
    let (authority, own) = Authority::of_itself(&[HOST], |_| {});
    let bench = serve(&own, &authority);
    assert_eq!(bench.client().ask(get("/x")).status, 200);
    assert_eq!(bench.stat("ssl.handshake"), 1);
    bench.finish();
    // Neither its name nor its time is forgotten, nor who vouches for it.
    let (authority, own) = Authority::of_itself(&["bad.example.com"], |_| {});
    let bench = serve(&own, &authority);
    bench.refuses("certificate_SANs:_[bad.example.com]");
    bench.finish();
    let (authority, own) = Authority::of_itself(&[HOST], expired);
    let bench = serve(&own, &authority);
    bench.refuses("certificate_has_expired");
    bench.finish();
    let (_, own) = Authority::of_itself(&[HOST], |_| {});
    let bench = serve(&own, &Authority::of_itself(&[HOST], |_| {}).0);
    bench.refuses("CERTIFICATE_VERIFY_FAILED");
    bench.finish();
}

fn a_revoked_certificate_is_refused(driver: Driver) {
    let (files, authority) = (Files::new(), Authority::new("ca"));
    let (own, other) = (authority.issue(&[HOST]), authority.issue(&["other.example.com"]));
    for (revoked, refused) in [(&own, true), (&other, false)] {
        let list = files.write("list.crl", &authority.revoke(&[revoked]));
        let settings = format!("mode: SIMPLE, {}, caCrl: {}", files.trust(&authority), list.display());
        let bench = Bench::new(driver, Tls::new(&own).echo(), &settings);
        match refused {
            true => bench.refuses("certificate_revoked"),
            false => assert_eq!(bench.client().ask(get("/x")).status, 200),
        }
        bench.finish();
    }
}

fn names_in_place_of_the_host(driver: Driver) {
    let (files, authority) = (Files::new(), Authority::new("ca"));
    let own = authority.issue(&["a.internal", "*.wild.internal", "spiffe://cluster.local/ns/x/sa/y"]);
    for (names, taken) in [
        ("[b.internal, a.internal]", true),
        ("[c.wild.internal]", true),
        ("['*.wild.internal']", true),
        ("['spiffe://cluster.local/ns/x/sa/y']", true),
        ("[b.internal]", false),
        ("['spiffe://cluster.local/ns/x/sa/z']", false),
        ("['*.internal']", false),
    ] {
        let settings = format!("mode: SIMPLE, {}, subjectAltNames: {names}", files.trust(&authority));
        let bench = Bench::new(driver, Tls::new(&own).echo(), &settings);
        match taken {
            true => assert_eq!(bench.client().ask(get("/x")).status, 200, "{names}"),
            false => bench.refuses("verify_SAN_list"),
        }
        bench.finish();
    }
    // What the Host says does not matter then.
    let settings = format!("mode: SIMPLE, {}, subjectAltNames: [b.internal]", files.trust(&authority));
    let bench = Bench::new(driver, Tls::new(&authority.issue(&[HOST])).echo(), &settings);
    bench.refuses("verify_SAN_list");
    bench.finish();
}

/// `subjectAltNames` of a ServiceEntry count where the rule has none.
fn names_of_the_service(driver: Driver) {
    let (files, authority) = (Files::new(), Authority::new("ca"));
    let own = authority.issue(&["a.internal", "spiffe://cluster.local/ns/x/sa/y"]);
    for (of_service, of_rule, taken) in [
        ("['spiffe://cluster.local/ns/x/sa/y']", "", true),
        ("[b.internal]", "", false),
        ("[b.internal]", ", subjectAltNames: [a.internal]", true),
        ("[a.internal]", ", subjectAltNames: [b.internal]", false),
        ("[]", ", sni: a.internal", true),
    ] {
        let origin = Tls::new(&own).echo();
        let service = format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: s}}\nspec: {{hosts: \
             [s.internal], resolution: STATIC, ports: [{{number: 443, name: p, protocol: HTTPS, targetPort: {}}}], \
             endpoints: [{{address: 127.0.0.1}}], subjectAltNames: {of_service}}}\n---\napiVersion: \
             networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: a}}\nspec: {{hosts: [{HOST}], gateways: \
             [edge], http: [{{route: [{{destination: {{host: s.internal}}}}]}}]}}\n---\napiVersion: \
             networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: s}}\nspec: {{host: s.internal, \
             trafficPolicy: {{tls: {{mode: SIMPLE, {}{of_rule}}}}}}}\n",
            origin.port(),
            files.trust(&authority),
        );
        let bench = Bench::with(driver, origin, |setup| setup.yaml(service));
        match taken {
            true => assert_eq!(bench.client().ask(get("/x")).status, 200, "{of_service} {of_rule}"),
            false => bench.refuses("verify_SAN_list"),
        }
        bench.finish();
    }
}

fn the_name_that_is_asked_for(driver: Driver) {
    let (files, authority) = (Files::new(), Authority::new("ca"));
    let tls = Tls::new(&authority.issue(&["real.internal"]));
    let settings = format!("mode: SIMPLE, {}, sni: real.internal", files.trust(&authority));
    let bench = Bench::new(driver, tls.echo(), &settings);
    for host in ["a.example.com", "b.example.com"] {
        assert_eq!(bench.client().ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).status, 200);
    }
    let names: Vec<_> = tls.seen().into_iter().map(|seen| seen.sni).collect();
    assert_eq!(names, [Some("real.internal".to_owned())], "one connection serves every Host");
    bench.finish();
}

fn an_address_is_a_name_of_its_own(driver: Driver) {
    let (files, authority) = (Files::new(), Authority::new("ca"));
    let tls = Tls::new(&authority.issue(&["10.1.2.3"]));
    let bench = Bench::new(driver, tls.echo(), &format!("mode: SIMPLE, {}", files.trust(&authority)));
    let ask = |host: &str| bench.client().ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).status;
    assert_eq!(ask("10.1.2.3:80"), 200);
    assert_eq!(ask("10.1.2.4"), 503);
    assert_eq!(tls.seen()[0].sni, None, "no address is ever asked for");
    assert_eq!(ask("not_a-.name.-"), 503);
    bench.ringway.logged(&["the_Host_of_the_request_is_not_a_name_that_a_server_can_be_asked_for"]);
    bench.finish();
}

fn anyone_is_trusted_on_demand(driver: Driver) {
    let tls = Tls::new(&Authority::new("ca").issue_expired(&["bad.example.com"]));
    let bench = Bench::new(driver, tls.echo(), "mode: SIMPLE, insecureSkipVerify: true");
    assert_eq!(bench.client().ask(get("/x")).status, 200);
    assert_eq!(tls.seen()[0].sni.as_deref(), Some(HOST));
    bench.finish();
}

fn the_authorities_of_the_system_are_the_default(driver: Driver) {
    let (files, authority) = (Files::new(), Authority::new("ca"));
    for trusted in ["", ", caCertificates: system"] {
        for (known, status) in [(&authority, 200), (&Authority::new("ca"), 503)] {
            let bundle = files.write("system.pem", &known.pem);
            let variable = format!("SSL_CERT_FILE={}", bundle.display());
            let origin = Tls::new(&authority.issue(&[HOST])).echo();
            let bench = Bench::with(driver, origin, |setup| {
                setup.launcher(&["env", &variable]).yaml(rule(&format!("mode: SIMPLE{trusted}")))
            });
            assert_eq!(bench.client().ask(get("/x")).status, status);
            bench.finish();
        }
    }
}

fn a_certificate_is_shown_on_demand(driver: Driver) {
    for versions in [rustls::ALL_VERSIONS, &[&rustls::version::TLS12]] {
        let (files, authority, clients) = (Files::new(), Authority::new("ca"), Authority::new("clients"));
        let tls = Tls::with(&authority.issue(&[HOST]), Some(&clients), versions);
        let identity = files.identity(&clients.issue(&["client.example.com"]));
        let bench = Bench::new(driver, tls.echo(), &format!("mode: MUTUAL, {}, {identity}", files.trust(&authority)));
        assert_eq!(bench.client().ask(get("/x")).status, 200);
        assert!(tls.seen()[0].certified);
        bench.finish();
    }
}

fn an_origin_that_misses_a_certificate_says_so(driver: Driver) {
    let (files, authority, clients) = (Files::new(), Authority::new("ca"), Authority::new("clients"));
    let settings = format!("mode: SIMPLE, {}", files.trust(&authority));
    // In TLS 1.3 a client is done before the server has looked: the request is on its way already.
    let tls = Tls::mutual(&authority.issue(&[HOST]), &clients);
    let bench = Bench::new(driver, tls.echo(), &settings);
    let response = bench.client().ask(get("/x"));
    assert_eq!(response.status, 503);
    assert!(response.text().ends_with("reset reason: connection termination"), "{}", response.text());
    let line = bench.ringway.logged(&["TLSV1_ALERT_CERTIFICATE_REQUIRED"]);
    assert!(
        line.contains("503 UC upstream_reset_before_response_started{connection_termination|TLS_error:|"),
        "{line}"
    );
    assert!(bench.origin.requests().is_empty());
    bench.finish();

    let tls = Tls::with(&authority.issue(&[HOST]), Some(&clients), &[&rustls::version::TLS12]);
    let bench = Bench::new(driver, tls.echo(), &settings);
    bench.refuses("TLS_error:|268436572:SSL_routines:OPENSSL_internal:TLSV1_ALERT_CERTIFICATE_REQUIRED:TLS_error_end");
    assert_eq!((bench.stat("ssl.connection_error"), bench.stat("ssl.handshake")), (3, 0));
    bench.finish();
}

fn a_certificate_of_the_wrong_authority_is_refused_by_the_origin(driver: Driver) {
    let (files, authority, clients) = (Files::new(), Authority::new("ca"), Authority::new("clients"));
    let tls = Tls::with(&authority.issue(&[HOST]), Some(&clients), &[&rustls::version::TLS12]);
    let identity = files.identity(&Authority::new("others").issue(&["client.example.com"]));
    let bench = Bench::new(driver, tls.echo(), &format!("mode: MUTUAL, {}, {identity}", files.trust(&authority)));
    bench.refuses("TLSV1_ALERT_UNKNOWN_CA");
    assert_eq!(tls.failures().len(), 3);
    bench.finish();
}
