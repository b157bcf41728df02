//! `Gateway` (Istio `networking/v1alpha3/gateway.proto`): which ports are opened, and for which hosts.

use std::net::IpAddr;

use super::{Labels, Meta};

/// A Gateway document.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// Name, namespace, place.
    pub meta: Meta,
    /// `selector`: labels that the proxy must have; empty: every proxy.
    pub selector: Labels,
    /// `servers`, in order; at least one.
    pub servers: Vec<Server>,
}

/// One entry of `servers`. Only plain HTTP servers get here: other protocols are refused by name.
#[derive(Debug, Clone)]
pub struct Server {
    /// `name`: for statistics; empty when absent.
    pub name: String,
    /// `port.number`.
    pub port: u16,
    /// `port.name`.
    pub port_name: String,
    /// `bind`: address to listen on instead of the proxy's.
    pub bind: Option<IpAddr>,
    /// `hosts`, in order; at least one.
    pub hosts: Vec<ServerHost>,
}

/// One entry of a server's `hosts`: `[namespace/]dnsName`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerHost {
    /// Namespace of the VirtualServices that may use this host (`.` is resolved); `None`: any (`*`, or none written).
    pub namespace: Option<String>,
    /// Lower-case exact name, `*.suffix`, `*`, or an IP address.
    pub host: String,
}
