//! Addresses that mean this host, or the link that it is on, to a process on this host.
//!
//! A proxy that others can reach must not lend them its own view of loopback and of the link: admin pages, databases on
//! 127.0.0.1 and the metadata service of a cloud (169.254.169.254) trust such clients. `proxy` checks every address of
//! the passthrough cluster right before it connects to it, so a name that resolves to something else a moment later
//! changes nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether a connection to this address stays on the host or on its link: loopback, link-local, and the unspecified
/// addresses, which Linux takes for loopback; also as an IPv4-mapped or IPv4-compatible IPv6 address.
#[must_use]
pub fn stays_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => v6(address),
    }
}

fn v4(address: Ipv4Addr) -> bool {
    // All of 0.0.0.0/8 is "this host on this network" (RFC 1122, 3.2.1.3).
    address.is_loopback() || address.is_link_local() || address.octets()[0] == 0
}

fn v6(address: Ipv6Addr) -> bool {
    if address.is_loopback() || address.is_unspecified() || address.is_unicast_link_local() {
        return true;
    }
    // `::ffff:a.b.c.d` and the older `::a.b.c.d`.
    address.to_ipv4().is_some_and(v4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_link_in_every_spelling() {
        for (address, local) in [
            ("127.0.0.1", true),
            ("127.255.255.254", true),
            ("0.0.0.0", true),
            ("0.1.2.3", true),
            ("169.254.169.254", true),
            ("169.253.255.255", false),
            ("169.255.0.0", false),
            ("10.0.0.1", false),
            ("192.168.1.1", false),
            ("1.1.1.1", false),
            ("128.0.0.1", false),
            ("::", true),
            ("::1", true),
            ("::2", true), // ::0.0.0.2
            ("fe80::1", true),
            ("febf::1", true),
            ("fec0::1", false),
            ("fd00::1", false),
            ("2001:db8::1", false),
            ("::ffff:127.0.0.1", true),
            ("::ffff:169.254.169.254", true),
            ("::ffff:0.0.0.0", true),
            ("::ffff:10.0.0.1", false),
            ("::127.0.0.1", true),
            ("::10.0.0.1", false),
        ] {
            let parsed: IpAddr = address.parse().expect("an address");
            assert_eq!(stays_local(parsed), local, "{address}");
        }
    }
}
