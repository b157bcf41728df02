//! The address of an endpoint: the key of all endpoint state (pools, counters, health), in every layer.
//!
//! It comes from the configuration or DNS; it is never the address of a client, a listener, or an original destination.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The address of an endpoint. Sorted: the numeric ones first. Copying a numeric one copies bytes, any other one counts
/// a reference; neither allocates.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EndpointAddress {
    /// An IP and a port.
    Ip(SocketAddr),
    /// A Unix domain socket: the path of its file, or `@` and an abstract name (Envoy's `pipe`).
    Unix(Arc<str>),
}

impl EndpointAddress {
    /// The IP and the port, if it has such.
    #[must_use]
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

/// As Envoy prints it: `10.0.0.1:80`, `[::1]:80`, `/run/app.sock`, `@name`.
impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => path.fmt(f),
        }
    }
}

impl From<SocketAddr> for EndpointAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl<I: Into<IpAddr>> From<(I, u16)> for EndpointAddress {
    fn from(address: (I, u16)) -> Self {
        Self::Ip(address.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_no_larger_than_a_numeric_one() {
        assert_eq!(size_of::<Option<EndpointAddress>>(), size_of::<SocketAddr>());
    }

    #[test]
    fn it_is_sorted_and_printed() {
        let unix = |path: &str| EndpointAddress::Unix(path.into());
        let mut all = [unix("@b"), unix("/a"), ([10, 0, 0, 1], 80).into(), ([10, 0, 0, 1], 9).into()];
        all.sort();
        assert_eq!(all.map(|address| address.to_string()), ["10.0.0.1:9", "10.0.0.1:80", "/a", "@b"]);
    }
}
