//! `tls` of a policy: how connections to a destination are secured.

use std::sync::Arc;

use rustls::pki_types::ServerName;

use crate::istio::model::credential::{Identity, Trust};
use crate::istio::reader::{Item, Message, Object, Without, enforced};

/// `tls`: a block that is written says how, and one without a mode says not at all.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientTls {
    /// DISABLE: plain bytes.
    Disabled,
    /// SIMPLE or MUTUAL: ringway originates TLS.
    Originated(Box<Origination>),
}

/// `tls` of mode SIMPLE or MUTUAL.
#[derive(Debug, Clone, PartialEq)]
pub struct Origination {
    /// Where it is written, as `spec.trafficPolicy.tls`.
    pub path: String,
    /// MUTUAL: a certificate is shown to the server.
    pub mutual: bool,
    /// `sni`: the requested server name; `None`: the Host of the request.
    pub sni: Option<String>,
    /// `subjectAltNames`: the server's certificate must be for one of them; empty: for the requested name.
    pub subject_alt_names: Vec<String>,
    /// `insecureSkipVerify`.
    pub skips_verification: bool,
    /// Where certificates are.
    pub sources: Sources,
    /// The credentials; `None` until they have been read, and if they are invalid.
    pub credentials: Option<Arc<Credentials>>,
}

/// Names of files and Secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// `credentialName`: a Secret.
    pub credential_name: Option<String>,
    /// `caCertificates`: a file, or `system`.
    pub ca_certificates: Option<String>,
    /// `caCrl`: a file.
    pub ca_crl: Option<String>,
    /// `clientCertificate`: a file.
    pub client_certificate: Option<String>,
    /// `privateKey`: a file.
    pub private_key: Option<String>,
}

/// The certificates and keys that [`Sources`] name.
#[derive(Debug, Clone, PartialEq)]
pub struct Credentials {
    /// Whose certificate is the server's.
    pub trust: Trust,
    /// Our own; `None` for SIMPLE.
    pub identity: Option<Identity>,
}

const CLIENT_TLS: Message = Message {
    name: "ClientTLSSettings",
    fields: &[
        enforced("mode"),
        enforced("clientCertificate"),
        enforced("privateKey"),
        enforced("caCertificates"),
        enforced("credentialName"),
        enforced("subjectAltNames"),
        enforced("sni"),
        enforced("insecureSkipVerify"),
        enforced("caCrl"),
    ],
};

/// The tables of this file.
pub(super) const MESSAGES: &[&Message] = &[&CLIENT_TLS];

const MODES: &[&str] = &["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"];

/// The fields that name a file.
const FILES: [&str; 4] = ["clientCertificate", "caCertificates", "privateKey", "caCrl"];

/// Reads a ClientTLSSettings: which of its fields go together (Istio's `ValidateTLS`).
pub(super) fn read(item: &Item<'_>) -> Option<ClientTls> {
    let object = item.object(&CLIENT_TLS)?;
    let mode = match object.get("mode") {
        Some(item) => item.one_of(MODES),
        None => Some("DISABLE"),
    };
    let text = |name: &str| Some(object.text(name)).filter(|text| !text.is_empty());
    let subject_alt_names: Vec<String> = object.list("subjectAltNames").iter().filter_map(alt_name).collect();
    let sni = object.get("sni").and_then(|item| server_name(&item));
    let skips_verification = object.get("insecureSkipVerify").and_then(|item| item.bool()).unwrap_or_default();
    let sources = Sources {
        credential_name: text("credentialName"),
        ca_certificates: text("caCertificates"),
        ca_crl: text("caCrl"),
        client_certificate: text("clientCertificate"),
        private_key: text("privateKey"),
    };
    let Some(mode) = mode else { return Some(ClientTls::Disabled) };
    match mode {
        "DISABLE" => {
            disabled(item, &object);
            return Some(ClientTls::Disabled);
        }
        "ISTIO_MUTUAL" => {
            // The certificates of a mesh come from its control plane, and there is none here.
            object.get("mode")?.not_enforced("mode ISTIO_MUTUAL", Without::More);
            return None;
        }
        _ => {}
    }
    let mutual = mode == "MUTUAL";
    go_together(item, &object, mutual, skips_verification);
    Some(ClientTls::Originated(Box::new(Origination {
        path: item.path().to_owned(),
        mutual,
        sni,
        subject_alt_names,
        skips_verification,
        sources,
        credentials: None,
    })))
}

/// A block whose author may think that it does something.
fn disabled(item: &Item<'_>, object: &Object<'_>) {
    let others = ["sni", "subjectAltNames", "credentialName", "insecureSkipVerify"].iter().chain(&FILES);
    let has_others = others.into_iter().any(|name| object.get(name).is_some());
    if has_others && object.get("mode").is_none() && !object.is_damaged("mode") {
        item.warn("without a mode there is no TLS, and the rest has no effect", "write mode SIMPLE or MUTUAL");
    }
}

fn go_together(item: &Item<'_>, object: &Object<'_>, mutual: bool, skips_verification: bool) {
    let written = |name: &str| !object.text(name).is_empty();
    if skips_verification {
        let credential = !mutual && written("credentialName");
        if written("caCertificates") || !object.list("subjectAltNames").is_empty() || credential {
            item.error("names whom to trust, and insecureSkipVerify trusts everyone", "keep one of them");
        } else if let Some(list) = object.get("caCrl").filter(|_| written("caCrl")) {
            list.error("names whom not to trust, and insecureSkipVerify trusts everyone", "keep one of them");
        }
    }
    if written("credentialName") {
        for file in FILES.into_iter().filter(|file| written(file)) {
            item.error(format!("has both \"credentialName\" and \"{file}\""), "keep one of them");
        }
    } else if mutual {
        for file in ["clientCertificate", "privateKey"].into_iter().filter(|file| !written(file)) {
            item.error(format!("mode MUTUAL needs \"{file}\""), "or write \"credentialName\"");
        }
    } else {
        for file in ["clientCertificate", "privateKey"] {
            if let Some(item) = object.get(file).filter(|_| written(file)) {
                item.warn("is shown to nobody in mode SIMPLE", "write mode MUTUAL");
            }
        }
    }
}

/// `sni`; empty counts as absent.
fn server_name(item: &Item<'_>) -> Option<String> {
    let name = item.string().filter(|name| !name.is_empty())?;
    if ServerName::try_from(name).is_err() {
        item.error(format!("\"{name}\" is not a server's name"), "write a host name");
        return None;
    }
    Some(name.to_owned())
}

/// An entry of `subjectAltNames`: Envoy compares them with the names, the addresses and the URIs of a certificate.
pub(in crate::istio) fn alt_name(item: &Item<'_>) -> Option<String> {
    let name = item.nonempty_string()?;
    let is_host = ServerName::try_from(name.strip_prefix("*.").unwrap_or(name)).is_ok();
    if !is_host && !name.contains("://") {
        let instead = "write a host name, an IP address or a URI";
        item.error(format!("\"{name}\" is not a name that a certificate can be verified for"), instead);
        return None;
    }
    Some(name.to_owned())
}
