//! The settings of the process: the `Proxy` document with the command line's flags over it.
//!
//! It looks nothing up: the worker finds out which CPUs exist and which driver works. Made once before the plan is
//! compiled; read by everything above.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::http::target::PathForm;
use crate::istio::model::Labels;
use crate::istio::model::dns::Dns;
use crate::istio::model::proxy::Proxy;
pub use crate::istio::model::proxy::{
    AccessLogEncoding, Cpus, Driver, Limits, PathNormalization, ServerHeader, is_host_suffix,
};
use crate::policy::share::FractionalPercent;

/// The settings of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxySettings {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`: whose DestinationRules come first.
    pub namespace: String,
    /// `metadata.labels`: which Gateways are served; empty: every one.
    pub labels: Labels,
    /// Where the workers are pinned.
    pub cpus: Cpus,
    /// How sockets are driven.
    pub driver: Driver,
    /// Address of the Gateway listeners whose server has no `bind`.
    pub bind: IpAddr,
    /// Gateway port to bound port; a port that is not listed is bound unchanged.
    pub ports: BTreeMap<u16, u16>,
    /// Address of the admin endpoints; `None`: off.
    pub admin: Option<SocketAddr>,
    /// The `server` header.
    pub server_header: ServerHeader,
    /// Appended to the host of mirrored requests, before the port; may be empty.
    pub mirror_host_suffix: String,
    /// How a path is normalised before rules are matched (`meshConfig.pathNormalization`).
    pub path_normalization: PathNormalization,
    /// Limits of every downstream connection.
    pub limits: Limits,
    /// How host names become addresses.
    pub dns: Dns,
    /// Longest time before a failed name is resolved again.
    pub dns_refresh_rate: Duration,
    /// How long requests in flight may take after the signal to stop.
    pub drain_duration: Duration,
    /// Time for an upstream TCP connection to come up, where no DestinationRule says otherwise.
    pub connect_timeout: Duration,
    /// Where the access log goes; `None`: there is none.
    pub access_log_file: Option<String>,
    /// Its format; `None`: Istio's for the encoding.
    pub access_log_format: Option<String>,
    /// Whether its lines are text or JSON.
    pub access_log_encoding: AccessLogEncoding,
    /// Requests continue or begin B3 traces, of which this share is sampled; `None`: trace headers pass unchanged.
    pub tracing: Option<FractionalPercent>,
}

/// Command line flags that override the Proxy document; `None` leaves the document's value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--cpus`.
    pub cpus: Option<Cpus>,
    /// `--driver`.
    pub driver: Option<Driver>,
    /// `--bind`.
    pub bind: Option<IpAddr>,
    /// `--ports`: the whole map.
    pub ports: Option<BTreeMap<u16, u16>>,
    /// `--admin`; the inner `None` is `off`.
    pub admin: Option<Option<SocketAddr>>,
    /// `--server-header`.
    pub server_header: Option<ServerHeader>,
    /// `--mirror-host-suffix`.
    pub mirror_host_suffix: Option<String>,
}

/// The settings without a Proxy document and without flags.
impl Default for ProxySettings {
    fn default() -> Self {
        Self::resolve(&Proxy::default(), &Overrides::default())
    }
}

impl ProxySettings {
    /// The document's values, those of the command line over them.
    #[must_use]
    pub fn resolve(proxy: &Proxy, flags: &Overrides) -> Self {
        Self {
            name: proxy.name.clone(),
            namespace: proxy.namespace.clone(),
            labels: proxy.labels.clone(),
            cpus: flags.cpus.clone().unwrap_or_else(|| proxy.cpus.clone()),
            driver: flags.driver.unwrap_or(proxy.driver),
            bind: flags.bind.unwrap_or(proxy.bind),
            ports: flags.ports.clone().unwrap_or_else(|| proxy.ports.clone()),
            admin: flags.admin.unwrap_or(proxy.admin),
            server_header: flags.server_header.clone().unwrap_or_else(|| proxy.server_header.clone()),
            mirror_host_suffix: flags.mirror_host_suffix.clone().unwrap_or_else(|| proxy.mirror_host_suffix.clone()),
            path_normalization: proxy.mesh_config.path_normalization,
            limits: proxy.limits.clone(),
            dns: proxy.dns.clone(),
            dns_refresh_rate: proxy.mesh_config.dns_refresh_rate,
            drain_duration: proxy.mesh_config.drain_duration,
            connect_timeout: proxy.mesh_config.connect_timeout,
            access_log_file: proxy.mesh_config.access_log_file.clone(),
            access_log_format: proxy.mesh_config.access_log_format.clone(),
            access_log_encoding: proxy.mesh_config.access_log_encoding,
            tracing: proxy
                .mesh_config
                .tracing
                .map(|millionths| FractionalPercent::percent(f64::from(millionths) / 10_000.0)),
        }
    }

    /// How far paths are brought into one form.
    #[must_use]
    pub fn path_form(&self) -> PathForm {
        match self.path_normalization {
            PathNormalization::None => PathForm::AsSent,
            PathNormalization::Base => PathForm::Base,
            PathNormalization::MergeSlashes => PathForm::MergeSlashes,
            PathNormalization::DecodeAndMergeSlashes => PathForm::DecodeAndMergeSlashes,
        }
    }

    /// The port to bind for a Gateway's port.
    #[must_use]
    pub fn bound_port(&self, gateway_port: u16) -> u16 {
        self.ports.get(&gateway_port).copied().unwrap_or(gateway_port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_flags_the_document_rules() {
        let proxy = Proxy::default();
        let settings = ProxySettings::resolve(&proxy, &Overrides::default());
        assert_eq!(settings.drain_duration, Duration::from_secs(45));
        assert_eq!(settings.connect_timeout, Duration::from_secs(10));
        assert_eq!(settings.admin, proxy.admin);
        assert_eq!(settings.server_header, ServerHeader::Overwrite("ringway".to_owned()));
        assert_eq!(settings.bound_port(80), 80);
    }

    #[test]
    fn flags_go_before_the_document() {
        let proxy = Proxy { ports: [(80, 8080), (81, 8081)].into(), cpus: Cpus::First(2), ..Proxy::default() };
        let flags = Overrides {
            cpus: Some(Cpus::List(vec![1])),
            driver: Some(Driver::Epoll),
            bind: Some(IpAddr::from([127, 0, 0, 1])),
            ports: Some([(80, 9090)].into()),
            admin: Some(None),
            server_header: Some(ServerHeader::PassThrough),
            mirror_host_suffix: Some(String::new()),
        };
        let settings = ProxySettings::resolve(&proxy, &flags);
        assert_eq!((settings.bound_port(80), settings.bound_port(81)), (9090, 81));
        assert_eq!((settings.admin, settings.driver), (None, Driver::Epoll));
        assert_eq!(settings.cpus, Cpus::List(vec![1]));
        assert_eq!(settings.bind, IpAddr::from([127, 0, 0, 1]));
        assert_eq!(settings.server_header, ServerHeader::PassThrough);
        assert_eq!((settings.mirror_host_suffix.as_str(), proxy.mirror_host_suffix.as_str()), ("", "-shadow"));
    }
}
