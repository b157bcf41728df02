//! `tls`: how a cluster's connections are secured.

use std::sync::Arc;

use crate::istio::model::destination_rule as model;
use crate::plan::{ClientTls, Trust};

/// `None`: plain connections; also if the credentials are invalid, which was reported. `names` are the
/// ServiceEntry's, for rules without their own (istiod's `constructUpstreamTLS`).
pub(super) fn client_tls(tls: Option<&model::ClientTls>, names: &[String]) -> Option<Arc<ClientTls>> {
    let model::ClientTls::Originated(tls) = tls? else { return None };
    let credentials = tls.credentials.as_deref()?;
    let names = if tls.subject_alt_names.is_empty() { names } else { &tls.subject_alt_names };
    // Without verification no name is required.
    let names = if credentials.trust == Trust::Anyone { &[] } else { names };
    Some(Arc::new(ClientTls {
        sni: tls.sni.as_deref().map(Into::into),
        names: names.into(),
        trust: credentials.trust.clone(),
        identity: credentials.identity.clone(),
    }))
}
