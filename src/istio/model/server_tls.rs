//! `ServerTLSSettings` of a Gateway's servers and a Sidecar's ingress. `httpsRedirect` is enforced; TLS is left alone (mode
//! PASSTHROUGH) or refused by name; problems of other modes' settings are found all the same.

use crate::istio::reader::{Item, Message, Object, Without, enforced, not_yet};

const SERVER_TLS: Message = Message {
    name: "ServerTLSSettings",
    fields: &[
        enforced("httpsRedirect"),
        enforced("mode"),
        not_yet("serverCertificate"),
        not_yet("privateKey"),
        not_yet("caCertificates"),
        not_yet("caCrl"),
        not_yet("credentialName"),
        not_yet("credentialNames"),
        not_yet("caCertCredentialName"),
        not_yet("tlsCertificates"),
        not_yet("subjectAltNames"),
        not_yet("verifyCertificateSpki"),
        not_yet("verifyCertificateHash"),
        not_yet("minProtocolVersion"),
        not_yet("maxProtocolVersion"),
        not_yet("cipherSuites"),
        not_yet("ecdhCurves"),
        not_yet("insecureSkipVerify"),
    ],
};

const TLS_CERTIFICATE: Message = Message {
    name: "TLSCertificate",
    fields: &[not_yet("serverCertificate"), not_yet("privateKey"), not_yet("caCertificates")],
};

/// The tables of this file.
pub(in crate::istio) const MESSAGES: &[&Message] = &[&SERVER_TLS, &TLS_CERTIFICATE];

const MODES: &[&str] = &["PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"];

const VERSIONS: &[&str] = &["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"];

/// The port that the settings belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    /// It speaks TLS.
    Tls,
    /// It speaks plain HTTP, which allows `httpsRedirect` alone.
    PlainHttp,
    /// It speaks something else.
    Other,
    /// Its protocol could not be read.
    Unknown,
}

/// The `tls` of a Gateway's server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ServerTls {
    pub(super) mode: Mode,
    /// `httpsRedirect`, where it has an effect: on a plain HTTP port.
    pub(super) https_redirect: bool,
}

/// The mode of a server's TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// It is forwarded without termination.
    Passthrough,
    /// It would end here, which is refused by name.
    Refused,
}

/// Reads `tls` of a Gateway's server.
pub(super) fn read(item: &Item<'_>, port: Port) -> Option<ServerTls> {
    let written = item.open()?.get("mode").filter(Item::is_text);
    let passes = written.as_ref().is_none_or(|mode| mode.string() == Some("PASSTHROUGH")) && port != Port::Other;
    // With passthrough and plain HTTP the other fields have no effect: a warning, not an error.
    let Checked { mode, redirect } = check(item, port, !passes)?;
    let https_redirect = redirect && port == Port::PlainHttp;
    if mode == "PASSTHROUGH" {
        return Some(ServerTls { mode: Mode::Passthrough, https_redirect });
    }
    if let Some(item) = written.filter(|_| port == Port::Tls) {
        item.not_enforced(&format!("mode {mode}"), Without::More);
    }
    Some(ServerTls { mode: Mode::Refused, https_redirect })
}

/// The result of [`check`].
pub(super) struct Checked {
    mode: &'static str,
    redirect: bool,
}

/// Checks `tls` of a server (Istio's `validateTLSOptions` and its callers). `refuses`: fields that are not enforced are
/// errors, and not only checked.
pub(super) fn check(item: &Item<'_>, port: Port, refuses: bool) -> Option<Checked> {
    let tls = if refuses { item.object(&SERVER_TLS)? } else { item.outline(&SERVER_TLS)? };
    // Nothing follows from a mode that could not be read.
    let mode = tls.get("mode").map_or(Some("PASSTHROUGH"), |item| item.one_of(MODES));
    for name in ["minProtocolVersion", "maxProtocolVersion"] {
        tls.verify(name, |item| item.one_of(VERSIONS));
    }
    tls.verify_each("tlsCertificates", |item| item.outline(&TLS_CERTIFICATE).map(drop));
    let redirect = tls.get("httpsRedirect").and_then(|item| item.bool()).unwrap_or_default();
    match port {
        Port::PlainHttp
            if mode.is_some_and(|mode| mode != "PASSTHROUGH")
                || has(&tls, &["serverCertificate", "privateKey", "caCertificates"]) =>
        {
            item.error("a plain HTTP port has no TLS", "write protocol HTTPS, or httpsRedirect alone");
        }
        Port::Other => item.error("only a port of protocol HTTPS or TLS has TLS settings", "change its protocol"),
        _ => {}
    }
    if redirect && !matches!(port, Port::PlainHttp | Port::Unknown) {
        item.warn("httpsRedirect has an effect on plain HTTP ports only", "write it at the server for port 80");
    }
    if let Some(mode) = mode {
        certificates(&tls, mode);
    }
    match port {
        Port::Tls if mode == Some("PASSTHROUGH") => {
            without_effect(&tls, "mode PASSTHROUGH leaves TLS to whoever it goes on to")
        }
        Port::PlainHttp => without_effect(&tls, "a plain HTTP port has no TLS"),
        _ => {}
    }
    Some(Checked { mode: mode?, redirect })
}

/// Warns about the fields of TLS termination where TLS is not terminated.
fn without_effect(tls: &Object<'_>, why: &str) {
    const NAMES: [&str; 8] = [
        "subjectAltNames",
        "verifyCertificateSpki",
        "verifyCertificateHash",
        "minProtocolVersion",
        "maxProtocolVersion",
        "cipherSuites",
        "ecdhCurves",
        "insecureSkipVerify",
    ];
    for item in NAMES.into_iter().filter_map(|name| tls.get(name)) {
        item.warn(format!("{why}: no effect"), "remove it");
    }
}

fn has(tls: &Object<'_>, names: &[&str]) -> bool {
    names.iter().any(|name| tls.get(name).is_some_and(|item| item.is_text() && item.string() != Some("")))
}

/// Where the certificates come from: one source, and a whole one.
fn certificates(tls: &Object<'_>, mode: &str) {
    let listed = |name: &str| !tls.list(name).is_empty();
    let item = &tls.item;
    let any = listed("tlsCertificates")
        || listed("credentialNames")
        || has(tls, &["serverCertificate", "privateKey", "caCertificates", "credentialName", "caCrl"]);
    match mode {
        "ISTIO_MUTUAL" => {
            if any {
                item.error("mode ISTIO_MUTUAL brings its own certificates", "remove the ones written here");
            }
            return;
        }
        "PASSTHROUGH" | "AUTO_PASSTHROUGH" => {
            if any {
                item.warn(format!("mode {mode} uses no certificates"), "write \"mode: SIMPLE\" to use them");
            }
            return;
        }
        _ => {}
    }
    let sources = [
        has(tls, &["serverCertificate"]) && has(tls, &["privateKey"]),
        has(tls, &["credentialName"]),
        listed("credentialNames"),
        listed("tlsCertificates"),
    ];
    if sources.into_iter().filter(|source| *source).count() > 1 {
        let names = "\"credentialName\", \"credentialNames\", \"tlsCertificates\" or \"serverCertificate\"";
        item.error("has several sources of certificates", format!("keep one of {names}"));
    }
    if has(tls, &["caCrl"]) && (has(tls, &["credentialName"]) || mode == "SIMPLE") {
        item.error("\"caCrl\" goes neither with \"credentialName\" nor with mode SIMPLE", "remove it");
    }
    if has(tls, &["credentialName"]) || listed("credentialNames") {
        return;
    }
    if mode != "SIMPLE" && !has(tls, &["caCertificates"]) {
        item.error(format!("mode {mode} needs \"caCertificates\""), "or write \"credentialName\"");
    }
    let whole = |object: &Object<'_>| {
        for name in ["serverCertificate", "privateKey"].into_iter().filter(|name| !has(object, &[name])) {
            object.item.error(format!("mode {mode} needs \"{name}\""), "or write \"credentialName\"");
        }
    };
    if listed("tlsCertificates") {
        tls.list("tlsCertificates").iter().filter_map(|item| item.outline(&TLS_CERTIFICATE)).for_each(|o| whole(&o));
    } else {
        whole(tls);
    }
}
