//! A cluster's TLS settings, in Envoy's terms. Certificates are shown by their source only, keys not at all.

use serde_json::{Value, json};

use super::REDACTED;
use crate::plan::{ClientTls, Cluster, Trust};

/// Adds TLS, if the cluster has it.
pub(super) fn transport_socket(shown: &mut Value, cluster: &Cluster) {
    let Some(tls) = &cluster.tls else { return };
    shown["transport_socket"] = json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {"sni": tls.sni.as_deref(), "common_tls_context": common(tls)},
    });
    if tls.sni.is_none() {
        let verified = tls.names.is_empty() && tls.authorities().is_some();
        shown["upstream_http_protocol_options"] = json!({"auto_sni": true, "auto_san_validation": verified});
    }
}

fn common(tls: &ClientTls) -> Value {
    let mut shown = json!({"alpn_protocols": ["http/1.1"]});
    if let Some(identity) = &tls.identity {
        shown["tls_certificates"] = json!([{"certificate_chain": identity.from, "private_key": REDACTED}]);
    }
    shown["validation_context"] = match &tls.trust {
        Trust::Anyone => json!({"trust_chain_verification": "ACCEPT_UNTRUSTED"}),
        Trust::Authorities(authorities) => json!({
            "trusted_ca": authorities.from,
            "match_subject_alt_names": tls.names.iter().map(|name| json!({"exact": name})).collect::<Vec<_>>(),
        }),
    };
    shown
}
