//! What a policy says about how connections to a destination begin: `tls`, `tunnel`, `proxyProtocol`. Not enforced yet
//! beyond `tls: {mode: DISABLE}`, which is what is done anyway, and checked all the same.

use crate::istio::model::scalar::host;
use crate::istio::reader::{Item, Message, Object, enforced, not_yet};

const CLIENT_TLS: Message = Message {
    name: "ClientTLSSettings",
    fields: &[
        enforced("mode"),
        not_yet("clientCertificate"),
        not_yet("privateKey"),
        not_yet("caCertificates"),
        not_yet("credentialName"),
        not_yet("subjectAltNames"),
        not_yet("sni"),
        not_yet("insecureSkipVerify"),
        not_yet("caCrl"),
    ],
};

const TUNNEL: Message =
    Message { name: "TunnelSettings", fields: &[not_yet("protocol"), not_yet("targetHost"), not_yet("targetPort")] };

const PROXY_PROTOCOL: Message = Message { name: "ProxyProtocol", fields: &[not_yet("version")] };

/// The tables of this file.
pub(super) const MESSAGES: &[&Message] = &[&CLIENT_TLS, &TUNNEL, &PROXY_PROTOCOL];

/// Checks these fields of a policy.
pub(super) fn check(policy: &Object<'_>) {
    policy.verify("tls", client_tls);
    policy.verify("tunnel", tunnel);
    policy
        .verify("proxyProtocol", |item| item.outline(&PROXY_PROTOCOL)?.get("version")?.one_of(&["V1", "V2"]).map(drop));
    if let (Some(_), Some(item)) = (policy.get("tunnel"), policy.get("proxyProtocol")) {
        item.error("stands beside \"tunnel\"", "keep one of them");
    }
}

/// Reads a ClientTLSSettings: which of its fields go together (Istio's `ValidateTLS`).
fn client_tls(item: &Item<'_>) -> Option<()> {
    let mode = match item.open()?.get("mode") {
        Some(item) => item.one_of(&["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"])?,
        None => "DISABLE",
    };
    let object = if mode == "DISABLE" {
        item.object(&CLIENT_TLS)?
    } else {
        item.not_enforced("\"tls\"");
        item.outline(&CLIENT_TLS)?
    };
    let written = |name: &str| !object.text(name).is_empty();
    let names = !object.list("subjectAltNames").is_empty();
    object.verify("sni", Item::string);
    if object.get("insecureSkipVerify").and_then(|item| item.bool()).unwrap_or_default() {
        let credential = mode == "SIMPLE" && written("credentialName");
        if matches!(mode, "SIMPLE" | "MUTUAL") && (written("caCertificates") || names || credential) {
            item.error("names whom to trust, and insecureSkipVerify trusts everyone", "keep one of them");
        }
    }
    let files = ["clientCertificate", "caCertificates", "privateKey", "caCrl"];
    if matches!(mode, "SIMPLE" | "MUTUAL") && written("credentialName") {
        for file in files.into_iter().filter(|file| written(file)) {
            item.error(format!("has both \"credentialName\" and \"{file}\""), "keep one of them");
        }
    } else if mode == "MUTUAL" {
        for file in ["clientCertificate", "privateKey"].into_iter().filter(|file| !written(file)) {
            item.error(format!("mode MUTUAL needs \"{file}\""), "or write \"credentialName\"");
        }
    }
    Some(())
}

fn tunnel(item: &Item<'_>) -> Option<()> {
    let object = item.outline(&TUNNEL)?;
    object.verify("protocol", |item| item.one_of(&["CONNECT", "POST"]));
    object.required("targetPort").and_then(|item| item.port());
    let target = object.required("targetHost")?;
    let name = target.string()?;
    if let (false, Err(why)) = (host::is_ip(name), host::check_name(name)) {
        target.error(format!("host \"{name}\" {why}"), "");
    }
    Some(())
}
