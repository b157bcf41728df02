//! How the connections to a destination are secured.

use serde::Serialize;

use crate::plan;

/// `tls` of mode SIMPLE or MUTUAL.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tls {
    /// `SIMPLE` or `MUTUAL`.
    pub mode: &'static str,
    /// The requested server name; `None`: the request's Host.
    pub sni: Option<String>,
    /// The certificate must be for one of these names; empty: for the requested one.
    pub subject_alt_names: Vec<String>,
    /// Where the authorities come from; `None`: without verification.
    pub authorities: Option<String>,
    /// Where our own certificate comes from.
    pub certificate: Option<String>,
}

impl Tls {
    pub(super) fn of(tls: &plan::ClientTls) -> Self {
        Self {
            mode: tls.mode(),
            sni: tls.sni.as_deref().map(str::to_owned),
            subject_alt_names: tls.names.to_vec(),
            authorities: tls.authorities().map(str::to_owned),
            certificate: tls.identity.as_ref().map(|identity| identity.from.clone()),
        }
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let asked = match &self.sni {
            Some(name) => format!("asks for {name}"),
            None => "asks for the request's Host".to_owned(),
        };
        let names = match self.subject_alt_names.as_slice() {
            [] => "that name".to_owned(),
            names => names.join(" or "),
        };
        let trust = match &self.authorities {
            Some(from) => format!("takes a certificate for {names} by the authorities of {from}"),
            None => "takes any certificate".to_owned(),
        };
        let shows = self.certificate.as_ref().map(|from| format!("shows the certificate of {from}"));
        [Some(format!("{}: {asked}", self.mode)), Some(trust), shows].into_iter().flatten().collect()
    }
}
