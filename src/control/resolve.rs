//! Addresses of undeclared hosts: a worker requests an authority, `names` knows or resolves the addresses of its host, and
//! this file decides which of them are allowed. The worker connects to these only, so that a name cannot change its address
//! after the check.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::Running;
use super::dns::DnsAnswer;
use super::names::AddressRequest;
use crate::plan::HostAddress;
use crate::proxy::ResolvedAuthority;
use crate::worker::Message;

/// Most addresses of a host that one request or connection attempts in turn. Each may take the whole `connectTimeout`, and
/// their number is up to the DNS server.
const MOST_ADDRESSES: usize = 4;

/// The port of an authority without a port.
const HTTP_PORT: u16 = 80;

/// How long an answer holds that does not say so itself.
const FRESH: Duration = Duration::from_secs(10);

impl Running {
    /// A worker asks where an authority is.
    pub(super) fn resolve_authority(&mut self, worker: usize, authority: Box<str>) {
        let question = AddressRequest { worker, authority, ours: self.own_addresses() };
        let Some((host, _)) = split(&question.authority) else {
            return self.answer_question(question, &DnsAnswer::NoSuchName);
        };
        if let Ok(ip) = host.parse() {
            return self.send_resolved(question, [HostAddress { ip, port: None }], Some(FRESH));
        }
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        if let Some((question, addresses)) = self.names.question(&host, question) {
            self.send_resolved(question, addresses, Some(FRESH));
        }
    }

    /// The question has an answer.
    pub(super) fn answer_question(&self, question: AddressRequest, answer: &DnsAnswer) {
        match answer {
            DnsAnswer::At { addresses, valid } => {
                let addresses = addresses.iter().map(|ip| HostAddress { ip: *ip, port: None });
                self.send_resolved(question, addresses, Some(valid.unwrap_or(FRESH)));
            }
            DnsAnswer::NoSuchName => self.send_resolved(question, [], Some(Duration::ZERO)),
            DnsAnswer::Failed(_) => self.send_resolved(question, [], None),
        }
    }

    /// Addresses that undeclared hosts must not have: the outbound listeners, which would make request loops, and the admin
    /// endpoints, which are not for clients of the proxy.
    fn own_addresses(&self) -> Vec<SocketAddr> {
        self.in_force.outbound_addresses().chain(self.admin_address()).collect()
    }

    fn send_resolved(
        &self,
        question: AddressRequest,
        addresses: impl IntoIterator<Item = HostAddress>,
        valid: Option<Duration>,
    ) {
        let resolved = resolved(&question, addresses);
        let AddressRequest { worker, authority, .. } = question;
        self.workers.tell(worker, Message::Resolved { authority, resolved, valid });
    }
}

/// Host and port of an authority.
fn split(authority: &str) -> Option<(&str, u16)> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => match port {
            "" => (host, HTTP_PORT),
            port => (host, port.parse().ok()?),
        },
        _ => (authority, HTTP_PORT),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    (!host.is_empty()).then_some((host, port))
}

/// Where the authority is whose host has these addresses.
fn resolved(question: &AddressRequest, addresses: impl IntoIterator<Item = HostAddress>) -> ResolvedAuthority {
    let Some((_, port)) = split(&question.authority) else { return ResolvedAuthority::Unknown };
    let found = addresses.into_iter().map(|address| address.at(port));
    let (mine, mut others): (Vec<_>, Vec<_>) = found.partition(|address| is_ours(*address, &question.ours));
    others.truncate(MOST_ADDRESSES);
    match (others.is_empty(), mine.is_empty()) {
        (false, _) => ResolvedAuthority::At(others.into()),
        (true, false) => ResolvedAuthority::Here,
        (true, true) => ResolvedAuthority::Unknown,
    }
}

/// Whether a connection to `address` would come to one of our own listeners.
fn is_ours(address: SocketAddr, ours: &[SocketAddr]) -> bool {
    let ip = address.ip().to_canonical();
    ours.iter().filter(|own| own.port() == address.port()).any(|own| {
        let bound = own.ip().to_canonical();
        bound == ip || ip.is_unspecified() && bound.is_loopback() || bound.is_unspecified() && is_of_this_host(ip)
    })
}

fn is_of_this_host(ip: IpAddr) -> bool {
    ip.is_loopback()
        || ip.is_unspecified()
        || if_addrs::get_if_addrs().is_ok_and(|interfaces| interfaces.iter().any(|interface| interface.ip() == ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_need_no_name_service() {
        let at = |addresses: &[&str]| {
            ResolvedAuthority::At(addresses.iter().map(|address| address.parse().expect("an address")).collect())
        };
        let ours = vec!["127.0.0.1:15001".parse().expect("an address"), "0.0.0.0:15000".parse().expect("an address")];
        for (authority, expected) in [
            ("127.0.0.1", Some(at(&["127.0.0.1:80"]))),
            ("127.0.0.1:", Some(at(&["127.0.0.1:80"]))),
            ("127.0.0.1:8000", Some(at(&["127.0.0.1:8000"]))),
            ("[::1]", Some(at(&["[::1]:80"]))),
            ("[::1]:8000", Some(at(&["[::1]:8000"]))),
            ("127.0.0.1:99999", None),
            ("127.0.0.1:http", None),
            ("", None),
            ("127.0.0.1:15001", Some(ResolvedAuthority::Here)),
            ("[::ffff:127.0.0.1]:15001", Some(ResolvedAuthority::Here)),
            ("0.0.0.0:15001", Some(ResolvedAuthority::Here)),
            ("127.0.0.2:15001", Some(at(&["127.0.0.2:15001"]))),
            ("127.0.0.2:15000", Some(ResolvedAuthority::Here)),
        ] {
            let question = AddressRequest { worker: 0, authority: authority.into(), ours: ours.clone() };
            let found = split(authority).and_then(|(host, _)| {
                let ip = host.parse().ok()?;
                Some(resolved(&question, [HostAddress { ip, port: None }]))
            });
            assert_eq!(found, expected, "{authority}");
        }
    }

    /// A name that has one of our own addresses among others is connected to at the others only.
    #[test]
    fn what_may_be_connected_to_is_what_was_looked_at() {
        let ours = vec!["127.0.0.1:15001".parse().expect("an address")];
        let question = AddressRequest { worker: 0, authority: "a.example.com:15001".into(), ours };
        let address = |ip: &str, port| HostAddress { ip: ip.parse().expect("an address"), port };
        let both = [address("127.0.0.1", None), address("10.0.0.1", None)];
        assert_eq!(resolved(&question, both), ResolvedAuthority::At(["10.0.0.1:15001".parse().expect("one")].into()));
        assert_eq!(resolved(&question, [address("127.0.0.1", None)]), ResolvedAuthority::Here);
        assert_eq!(resolved(&question, []), ResolvedAuthority::Unknown);
        let elsewhere = ResolvedAuthority::At(["127.0.0.1:8000".parse().expect("one")].into());
        assert_eq!(resolved(&question, [address("127.0.0.1", Some(8000))]), elsewhere);
        let many = (1..=20).map(|last| address(&format!("10.0.0.{last}"), None));
        assert!(matches!(resolved(&question, many), ResolvedAuthority::At(some) if some.len() == MOST_ADDRESSES));
    }
}
