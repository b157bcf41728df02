//! How a cluster's connections are secured.

pub use crate::istio::model::credential::{Identity, Trust};

/// TLS towards the endpoints of a cluster (`trafficPolicy.tls`). Connections of clusters that differ in this are never
/// taken for each other.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientTls {
    /// The requested server name (`sni`); `None`: the Host of each request, without its port.
    pub sni: Option<Box<str>>,
    /// The server's certificate must be for one of these names (`subjectAltNames`): hosts, addresses, URIs. Empty: for
    /// the requested name.
    pub names: Box<[String]>,
    /// Whose certificate is the server's (`caCertificates`, `credentialName`, `insecureSkipVerify`).
    pub trust: Trust,
    /// The identity for a server that requests one (mode MUTUAL).
    pub identity: Option<Identity>,
}

impl ClientTls {
    /// Where the authorities come from, for people; `None`: every server is trusted.
    #[must_use]
    pub fn authorities(&self) -> Option<&str> {
        match &self.trust {
            Trust::Anyone => None,
            Trust::Authorities(authorities) => Some(&authorities.from),
        }
    }

    /// Istio's name of the mode.
    #[must_use]
    pub fn mode(&self) -> &'static str {
        if self.identity.is_some() { "MUTUAL" } else { "SIMPLE" }
    }
}
