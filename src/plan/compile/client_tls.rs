//! `tls`: how a cluster's connections are secured.

use std::sync::Arc;

use crate::istio::model::destination_rule as model;
use crate::plan::ClientTls;

/// `None`: plain connections; also where the credentials are no good, which was reported.
pub(super) fn client_tls(tls: Option<&model::ClientTls>) -> Option<Arc<ClientTls>> {
    let model::ClientTls::Originated(tls) = tls? else { return None };
    let credentials = tls.credentials.as_deref()?;
    Some(Arc::new(ClientTls {
        sni: tls.sni.as_deref().map(Into::into),
        names: tls.subject_alt_names.clone().into(),
        trust: credentials.trust.clone(),
        identity: credentials.identity.clone(),
    }))
}
