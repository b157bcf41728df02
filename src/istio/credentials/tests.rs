//! Files and Secrets, good and bad. What comes of them is seen through `read`, as `check` sees it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;

use crate::istio::model::credential::Trust;
use crate::istio::model::destination_rule::{ClientTls, Credentials};
use crate::istio::{Documents, NamedFiles, Options, read};

/// A certificate, which vouches for itself, and its key.
struct Pair {
    certificate: String,
    key: String,
}

fn pair() -> Pair {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["a.com".to_owned()]).expect("a name");
    Pair { certificate: params.self_signed(&key).expect("a certificate").pem(), key: key.serialize_pem() }
}

struct Read {
    credentials: Option<Credentials>,
    /// Without the file.
    problems: Vec<String>,
}

const RULE: &str = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: d, namespace: ns}\nspec:\n  host: a.com\n  trafficPolicy:\n    tls: ";

/// Files by name, in the folder of the rule's document, and no host.
#[derive(Default)]
struct Folder(HashMap<&'static str, String>);

impl NamedFiles for Folder {
    fn read(&mut self, path: &Path) -> Result<Arc<[u8]>, String> {
        let name = path.strip_prefix("etc").expect("a path beside the document").to_str().expect("a name");
        self.0.get(name).map(|text| text.as_bytes().into()).ok_or_else(|| "no such file".to_owned())
    }

    fn host_authorities(&mut self) -> Option<Vec<CertificateDer<'static>>> {
        None
    }
}

/// What a rule with this `tls` gets, beside these other documents.
fn tls(settings: &str, others: &str) -> Read {
    tls_in(&mut Folder::default(), settings, others)
}

fn tls_in(folder: &mut Folder, settings: &str, others: &str) -> Read {
    let mut documents = Documents::default();
    documents.add("etc/x.yaml", format!("{RULE}{{{settings}}}\n{others}").as_bytes());
    let (world, problems) = read(documents, folder, Options::default());
    let problems = problems.iter().map(ToString::to_string).filter(|line| !line.contains("accessLogFile"));
    let problems = problems.map(|line| line.strip_prefix("etc/x.yaml:").unwrap_or(&line).to_owned());
    // That `a.com` is nobody's does not matter here.
    let problems = problems.filter(|line| !line.contains("spec.host:")).collect();
    let found = world.destination_rules.first().and_then(|rule| rule.traffic_policy.tls.clone());
    let credentials = match found {
        Some(ClientTls::Originated(tls)) => tls.credentials.map(|found| (*found).clone()),
        _ => None,
    };
    Read { credentials, problems }
}

fn secret(name: &str, namespace: &str, entries: &[(&str, &str)]) -> String {
    let mut text =
        format!("---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\ndata:\n");
    for (key, value) in entries {
        let _ = writeln!(text, "  {key}: {}", STANDARD.encode(value));
    }
    text
}

/// As written by hand.
fn plain_secret(name: &str, entries: &[(&str, &str)]) -> String {
    let mut text = format!("---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData:\n");
    for (key, value) in entries {
        let _ = writeln!(text, "  {key}: |");
        value.lines().for_each(|line| text.push_str(&format!("    {line}\n")));
    }
    text
}

#[track_caller]
fn authorities(read: &Read) -> String {
    assert_eq!(read.problems, [""; 0]);
    match &read.credentials.as_ref().expect("credentials").trust {
        Trust::Authorities(authorities) => authorities.from.clone(),
        Trust::Anyone => "anyone".to_owned(),
    }
}

#[test]
fn secrets_of_every_form_are_read() {
    let (ca, own) = (pair(), pair());
    let mutual = [("tls.crt", &*own.certificate), ("tls.key", &*own.key), ("ca.crt", &*ca.certificate)];
    let generic = [("cert", &*own.certificate), ("key", &*own.key), ("cacert", &*ca.certificate)];
    for entries in [mutual, generic] {
        for text in [secret("s", "default", &entries), plain_secret("s", &entries), secret("s", "ns", &entries)] {
            let found = tls("mode: MUTUAL, credentialName: s", &text);
            assert!(authorities(&found).starts_with("Secret "), "{text}");
            let identity = found.credentials.and_then(|found| found.identity).expect("an identity");
            assert_eq!(identity.certified.cert.len(), 1);
            // SIMPLE shows nothing, also where there is something to show.
            let found = tls("mode: SIMPLE, credentialName: s", &text);
            assert!(authorities(&found).starts_with("Secret "));
            assert!(found.credentials.is_some_and(|found| found.identity.is_none()));
        }
    }
    // The proxy's namespace goes before the rule's own.
    let both = secret("s", "ns", &[("cacert", "x")]) + &secret("s", "default", &[("cacert", &ca.certificate)]);
    let found = tls("mode: SIMPLE, credentialName: s", &both);
    assert!(found.problems.iter().all(|line| line.ends_with("warning: Secret is not used by anything here")));
    assert!(found.credentials.is_some());
}

#[test]
fn authorities_may_be_in_a_secret_of_their_own() {
    let (ca, own) = (pair(), pair());
    let apart = secret("s", "default", &[("tls.crt", &own.certificate), ("tls.key", &own.key)])
        + &secret("s-cacert", "default", &[("cacert", &ca.certificate)]);
    assert_eq!(authorities(&tls("mode: MUTUAL, credentialName: s", &apart)), "Secret default/s-cacert");
    let alone = secret("s-cacert", "default", &[("ca.crt", &ca.certificate)]);
    assert_eq!(authorities(&tls("mode: SIMPLE, credentialName: s", &alone)), "Secret default/s-cacert");
    let nobody = tls("mode: MUTUAL, credentialName: s", &alone);
    assert!(nobody.problems.iter().any(|line| line.contains("there is no Secret \"s\"")), "{:?}", nobody.problems);
    let skips = "mode: MUTUAL, credentialName: s, insecureSkipVerify: true";
    let own = secret("s", "default", &[("tls.crt", &own.certificate), ("tls.key", &own.key)]);
    assert_eq!(authorities(&tls(skips, &own)), "anyone");
}

#[test]
fn bad_secrets_are_told_by_what_is_missing() {
    let (ca, own, other) = (pair(), pair(), pair());
    let at = |what: &str| format!("7: DestinationRule/ns/d: spec.trafficPolicy.tls.credentialName: error: {what}");
    let secret_at = |line: u32, what: &str| format!("{line}: Secret/default/s: {what}");
    for (mode, text, expected) in [
        ("MUTUAL", secret("s", "other", &[]), at("there is no Secret \"s\" (write one, in namespace default)")),
        (
            "MUTUAL",
            secret("s", "default", &[("ca.crt", &ca.certificate)]),
            at("Secret default/s has no \"tls.crt\" and no \"cert\" (add it to the Secret's data)"),
        ),
        (
            "MUTUAL",
            secret("s", "default", &[("tls.crt", &own.certificate)]),
            at("Secret default/s has no \"tls.key\" and no \"key\" (add it to the Secret's data)"),
        ),
        (
            "SIMPLE",
            secret("s", "default", &[("tls.crt", &own.certificate)]),
            at("Secret default/s has no \"ca.crt\" and no \"cacert\" (add it to the Secret's data)"),
        ),
        (
            "SIMPLE",
            "---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {ca.crt: '*'}\n".to_owned(),
            secret_at(12, "data[ca.crt]: error: it is not base64 (write it under \"stringData\" as it is)"),
        ),
        (
            "SIMPLE",
            secret("s", "default", &[("ca.crt", "nothing")]),
            secret_at(13, "data[ca.crt]: error: it holds no certificate (PEM: \"-----BEGIN CERTIFICATE-----\")"),
        ),
        (
            "SIMPLE",
            secret("s", "default", &[("ca.crt", "-----BEGIN CERTIFICATE-----\nx")]),
            secret_at(13, "data[ca.crt]: error: it is not PEM: a section has no end"),
        ),
        (
            "SIMPLE",
            secret("s", "default", &[("ca.crt", &ca.certificate), ("ca.crl", "none")]),
            secret_at(14, "data[ca.crl]: error: it holds no revocation list (PEM: \"-----BEGIN X509 CRL-----\")"),
        ),
        (
            "MUTUAL",
            secret("s", "default", &[("ca.crt", &ca.certificate), ("cert", &own.certificate), ("key", &other.key)]),
            secret_at(15, "data[key]: error: it is not the key of the certificate"),
        ),
        (
            "MUTUAL",
            secret("s", "default", &[("cert", &own.certificate), ("key", "-----BEGIN ENCRYPTED PRIVATE KEY-----")]),
            secret_at(14, "data[key]: error: it is not PEM: a section has no end"),
        ),
    ] {
        let found = tls(&format!("mode: {mode}, credentialName: s"), &text);
        assert!(found.credentials.is_none());
        let problems: Vec<_> = found.problems.iter().filter(|line| !line.contains("is not used")).collect();
        assert_eq!(problems, [&expected]);
        assert!(found.problems.iter().all(|line| !line.contains("PRIVATE") || line.contains("BEGIN PRIVATE KEY")));
    }
}

#[test]
fn files_stand_beside_their_document_and_are_told_by_field() {
    let (ca, own, other) = (pair(), pair(), pair());
    let mut folder = Folder::default();
    let mut write = |name, text: &str| drop(folder.0.insert(name, text.to_owned()));
    write("ca.pem", &ca.certificate);
    write("own.pem", &own.certificate);
    write("own.key", &own.key);
    write("other.key", &other.key);
    write("locked.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
    let good = "mode: MUTUAL, caCertificates: ca.pem, clientCertificate: own.pem, privateKey: own.key";
    assert_eq!(authorities(&tls_in(&mut folder, good, "")), "ca.pem");
    for (from, to, expected) in [
        ("ca.pem", "own.key", "caCertificates: error: file \"own.key\": it holds no certificate"),
        ("ca.pem", "none", "caCertificates: error: file \"none\": no such file"),
        ("own.pem", "other.key", "clientCertificate: error: file \"other.key\": it holds no certificate"),
        ("own.key", "other.key", "privateKey: error: file \"other.key\": it is not the key of the certificate"),
        ("own.key", "ca.pem", "privateKey: error: file \"ca.pem\": it holds no private key"),
        ("own.key", "locked.key", "privateKey: error: file \"locked.key\": it is encrypted"),
        ("ca.pem", "ca.pem, caCrl: own.pem", "caCrl: error: file \"own.pem\": it holds no revocation list"),
    ] {
        let found = tls_in(&mut folder, &good.replace(from, to), "");
        let [only] = found.problems.as_slice() else { panic!("{to}: {:?}", found.problems) };
        let expected = format!("7: DestinationRule/ns/d: spec.trafficPolicy.tls.{expected}");
        assert!(only.starts_with(&expected), "{only}\n{expected}");
        assert!(found.credentials.is_none());
    }
}

#[test]
fn what_is_read_is_equal_if_it_says_the_same() {
    let (ca, own) = (pair(), pair());
    let text = |ca: &Pair| {
        secret("s", "default", &[("tls.crt", &own.certificate), ("tls.key", &own.key), ("ca.crt", &ca.certificate)])
    };
    let read = |text: &str| tls("mode: MUTUAL, credentialName: s", text).credentials.expect("credentials");
    assert_eq!(read(&text(&ca)), read(&text(&ca)));
    assert_ne!(read(&text(&ca)), read(&text(&pair())));
    let shown = format!("{:?}", read(&text(&ca)));
    assert_eq!(
        shown,
        "Credentials { trust: Authorities(1 authority from Secret default/s), identity: Some(a certificate from Secret \
         default/s) }",
        "no key is ever shown"
    );
}
