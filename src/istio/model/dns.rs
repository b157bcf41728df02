//! `spec.dns` of the Proxy: how host names become addresses.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::scalar::host;
use crate::istio::reader::{Item, Message, enforced};

/// `spec.dns`. Without it names are resolved as `/etc/hosts` and `/etc/resolv.conf` say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dns {
    /// `servers`: used instead of those in `/etc/resolv.conf`, whose search list and options are ignored then; empty:
    /// those of the file.
    pub servers: Vec<SocketAddr>,
    /// `timeout` of a query to a server; `None`: from `/etc/resolv.conf`, else 5 s.
    pub timeout: Option<Duration>,
    /// `attempts`: how often a failed query is repeated; `None`: from `/etc/resolv.conf`, else 2.
    pub attempts: Option<u32>,
    /// `hosts`: the addresses of lower-case names, which are not queried then.
    pub hosts: BTreeMap<String, Vec<HostAddress>>,
}

/// An address under `hosts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostAddress {
    /// The address.
    pub ip: IpAddr,
    /// The port for requests to any port of the name; `None`: the port of the request.
    pub port: Option<u16>,
}

impl HostAddress {
    /// Where requests to `port` go.
    #[must_use]
    pub fn at(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip, self.port.unwrap_or(port))
    }
}

/// The table of this message.
pub(super) const DNS: &Message = &Message {
    name: "Dns",
    fields: &[enforced("servers"), enforced("timeout"), enforced("attempts"), enforced("hosts")],
};

/// The port of name servers.
const DNS_PORT: u16 = 53;

/// Most `attempts`: as many as `resolv.conf(5)` allows.
const MOST_ATTEMPTS: u32 = 5;

/// Reads it.
pub(super) fn read(item: &Item<'_>) -> Option<Dns> {
    let object = item.object(DNS)?;
    let mut hosts = BTreeMap::new();
    for (name, addresses) in object.get("hosts").map(|item| item.data_map()).unwrap_or_default() {
        if let Err(why) = host::check_name(name) {
            addresses.error(format!("host \"{name}\" {why}"), "write a full name");
        }
        let several = if addresses.is_list() { addresses.list() } else { vec![addresses.clone()] };
        if several.is_empty() {
            addresses.error("has no address", "write it like 127.0.0.1 or 127.0.0.1:8000");
        }
        hosts.insert(name.to_ascii_lowercase(), several.iter().filter_map(host_address).collect());
    }
    Some(Dns {
        servers: object.list("servers").iter().filter_map(server).collect(),
        timeout: object.get("timeout").and_then(|item| item.duration()),
        attempts: object.get("attempts").and_then(|item| item.whole(0, MOST_ATTEMPTS)),
        hosts,
    })
}

fn server(item: &Item<'_>) -> Option<SocketAddr> {
    let address = host_address(item)?;
    Some(address.at(DNS_PORT))
}

/// `127.0.0.1`, `127.0.0.1:8000`, `::1` or `[::1]:8000`.
fn host_address(item: &Item<'_>) -> Option<HostAddress> {
    let text = item.nonempty_string()?;
    if let Ok(ip) = text.parse() {
        return Some(HostAddress { ip, port: None });
    }
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() > 0 => Some(HostAddress { ip: address.ip(), port: Some(address.port()) }),
        _ => {
            item.error(format!("\"{text}\" is not an address"), "write it like 127.0.0.1 or 127.0.0.1:53");
            None
        }
    }
}
