//! Where certificates come from, while the process runs: Secrets, files that change, settings that change. And what of
//! them is shown.

use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;

use super::{Bench, Files, HOST, get, on_each_driver, rule};
use crate::https::{Authority, Issued, Tls};
use crate::support::ringway::Driver;
use crate::support::wait::eventually;
use crate::support::yaml;

on_each_driver![
    a_secret_has_all_that_mutual_tls_needs,
    a_changed_certificate_is_seen,
    settings_that_change_get_connections_of_their_own,
];

fn secret(authority: &Authority, own: &Issued) -> String {
    let entry = |text: &str| STANDARD.encode(text);
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: client}}\ntype: kubernetes.io/tls\ndata:\n  tls.crt: {}\n  \
         tls.key: {}\n  ca.crt: {}\n",
        entry(&own.certificate),
        entry(&own.key),
        entry(&authority.pem)
    )
}

fn a_secret_has_all_that_mutual_tls_needs(driver: Driver) {
    let (authority, clients) = (Authority::new("ca"), Authority::new("clients"));
    let tls = Tls::mutual(&authority.issue(&[HOST]), &clients);
    let own = clients.issue(&["client.example.com"]);
    let bench = Bench::with(driver, tls.echo(), |setup| {
        setup.yaml(rule("mode: MUTUAL, credentialName: client")).yaml(secret(&authority, &own))
    });
    assert_eq!(bench.client().ask(get("/x")).status, 200);
    assert!(tls.seen()[0].certified);

    let dump = bench.ringway.admin("/config_dump").text();
    assert!(dump.contains("\"trusted_ca\": \"Secret default/client\""), "{dump}");
    let lines = || own.key.lines().chain(own.certificate.lines()).filter(|line| line.len() > 30);
    assert!(lines().count() > 4);
    for line in lines() {
        assert!(!dump.contains(line), "{line} is in the dump");
    }
    let explained = Command::new(env!("CARGO_BIN_EXE_ringway"))
        .arg("explain")
        .arg("-c")
        .arg(bench.ringway.config())
        .args(["GET", &format!("http://{HOST}/x"), "--gateway", "edge"])
        .output()
        .expect("ringway explain");
    let explained = String::from_utf8_lossy(&explained.stdout).into_owned();
    for part in [
        "MUTUAL: asks for the request's Host",
        "takes a certificate for that name by the authorities of Secret default/client",
        "shows the certificate of Secret default/client",
    ] {
        assert!(explained.contains(part), "{explained}");
    }
    let stopped = bench.finish();
    for line in lines() {
        assert!(!stopped.said.contains(line) && !explained.contains(line), "{line} was said");
    }
}

/// A new authority takes over: by the watch over the file, and by SIGHUP.
fn a_changed_certificate_is_seen(driver: Driver) {
    let files = Files::new();
    let (old, new) = (Authority::new("ca"), Authority::new("ca"));
    let tls = Tls::new(&new.issue(&[HOST]));
    let bench = Bench::new(driver, tls.echo(), &format!("mode: SIMPLE, {}", files.trust(&old)));
    assert_eq!(bench.client().ask(get("/x")).status, 503);
    let reloads = || bench.ringway.stat("ringway.config_reload_success");
    files.trust(&new);
    eventually("a reload by itself", || (reloads() > 0).then_some(()));
    assert_eq!(bench.client().ask(get("/x")).status, 200);

    // What is no certificate changes nothing.
    let refused = || bench.ringway.stat("ringway.config_reload_failure");
    files.write("ca.pem", "no certificate");
    eventually("a refusal", || (refused() > 0).then_some(()));
    assert_eq!(bench.client().ask(get("/x")).status, 200);
    files.trust(&old);
    eventually("a reload by itself", || (reloads() > 1).then_some(()));
    assert_eq!(bench.client().ask(get("/x")).status, 503, "what the new authority vouched for is not used any more");

    let before = reloads();
    bench.ringway.process.signal(Signal::HUP);
    eventually("a reload on demand", || (reloads() > before).then_some(()));
    assert_eq!(bench.client().ask(get("/x")).status, 503);
    bench.finish();
}

fn settings_that_change_get_connections_of_their_own(driver: Driver) {
    let (files, authority) = (Files::new(), Authority::new("ca"));
    let tls = Tls::new(&authority.issue(&["*.example.com"]));
    let origin = tls.echo();
    let settings = format!("mode: SIMPLE, {}", files.trust(&authority));
    let bench = Bench::with(driver, origin, |setup| setup.yaml(rule(&settings)));
    let reload = |tls: &str, more: &str| {
        let before = bench.ringway.stat("ringway.config_reload_success");
        let text = yaml::istio(
            "DestinationRule",
            "origin",
            &format!("{{host: origin, trafficPolicy: {{tls: {{{tls}}}}}{more}}}"),
        );
        let (path, new) = (bench.ringway.config().join("1.yaml"), bench.ringway.config().join(".1.yaml.new"));
        std::fs::write(&new, text).expect("write YAML");
        std::fs::rename(&new, path).expect("put it in place");
        bench.ringway.process.signal(Signal::HUP);
        eventually("a reload", || (bench.ringway.stat("ringway.config_reload_success") > before).then_some(()));
    };
    let names = || tls.seen().into_iter().filter_map(|seen| seen.sni).collect::<Vec<_>>();
    assert_eq!(bench.client().ask(get("/x")).status, 200);
    // Something else changes: the connection stays.
    reload(&settings, ", subsets: [{name: other, labels: {app: origin}}]");
    assert_eq!(bench.client().ask(get("/x")).status, 200);
    assert_eq!(names(), [HOST]);
    // The name changes: the connection that rests is nobody's any more, but its session is as good as before.
    reload(&format!("{settings}, sni: other.example.com"), "");
    assert_eq!(bench.client().ask(get("/x")).status, 200);
    assert_eq!(names(), [HOST, "other.example.com"]);
    eventually("the end of the first connection", || (bench.stat("upstream_cx_active") == 1).then_some(()));
    // TLS goes, and with it the connection.
    reload("mode: DISABLE", "");
    let response = bench.client().ask(get("/x"));
    assert_ne!(response.status, 200, "the origin does not speak plain text");
    bench.finish();
}

/// The example of the README, and what is said of a host without authorities.
#[test]
fn the_example_is_good_as_it_stands() {
    let (files, authority) = (Files::new(), Authority::new("ca"));
    let check = |bundle: &std::path::Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
        command.args(["check", "config/tls-origination"]).env("SSL_CERT_FILE", bundle).env_remove("SSL_CERT_DIR");
        let outcome = command.output().expect("ringway check");
        assert!(outcome.status.success());
        (String::from_utf8_lossy(&outcome.stderr).into_owned(), String::from_utf8_lossy(&outcome.stdout).into_owned())
    };
    let (said, counted) = check(&files.write("ca.pem", &authority.pem));
    assert_eq!((said.as_str(), counted.as_str()), ("", "0 errors, 0 warnings\n"));
    let (said, counted) = check(&files.write("none.pem", ""));
    assert_eq!(
        said,
        "config/tls-origination/2-destination-rule.yaml:11: DestinationRule/default/edition-cnn-com: \
         spec.trafficPolicy.portLevelSettings[0].tls: warning: this host has no CA certificates, so every server will be \
         refused (install them (package ca-certificates), or write caCertificates)\n"
    );
    assert_eq!(counted, "0 errors, 1 warning\n");
}
