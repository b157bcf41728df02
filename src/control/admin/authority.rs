//! The hosts that requests to the admin endpoints may name: addresses and `localhost`, never other names.
//!
//! A web page whose name is pointed at this address after it was loaded (DNS rebinding) is the same origin to its browser
//! and could read all pages; but its requests have that name as their host. Pure.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::httpd::Request;

/// The response to other hosts.
pub(super) const REFUSAL: &str =
    "the admin endpoints are for requests whose Host is an IP address or localhost (others may come from a web page)\n";

/// Whether every host that a request names is an address or `localhost`. A request without a host does not come from a
/// browser.
pub(super) fn are_trusted(request: &Request) -> bool {
    let lines = request.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("host"));
    lines.map(|(_, value)| value.as_str()).chain([request.host.as_str()]).all(is_trusted)
}

/// `host` or `host:port`; empty: not trusted.
fn is_trusted(authority: &str) -> bool {
    let authority = authority.trim_matches([' ', '\t']);
    if authority.is_empty() {
        return true;
    }
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split_once(']').is_some_and(|(address, port)| {
            let address = address.split_once('%').map_or(address, |(address, _)| address);
            address.parse::<Ipv6Addr>().is_ok() && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
        });
    }
    let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
    let host = host.strip_suffix('.').unwrap_or(host);
    (host.eq_ignore_ascii_case("localhost") || host.parse::<Ipv4Addr>().is_ok()) && is_port(port)
}

/// A port may be left out, behind its colon too (RFC 3986 3.2.3).
fn is_port(digits: &str) -> bool {
    digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_localhost_are_trusted() {
        for authority in [
            "",
            "127.0.0.1",
            "127.0.0.1:15000",
            "127.0.0.1.",
            "10.1.2.3:80",
            "0.0.0.0:15000",
            "[::1]",
            "[::1]:15000",
            "[2001:DB8::1]:15000",
            "[::ffff:127.0.0.1]:15000",
            "[fe80::1%25eth0]:15000",
            "localhost",
            "LocalHost:15000",
            "localhost.:15000",
            "localhost:",
            " localhost ",
        ] {
            assert!(is_trusted(authority), "{authority:?}");
        }
    }

    #[test]
    fn other_names_are_not() {
        for authority in [
            "evil.example",
            "evil.example:15000",
            "localhost.evil.example",
            "evil.localhost",
            "127.0.0.1.evil.example:15000",
            "127.0.0.1.nip.io",
            "xlocalhost",
            "localhost..",
            ".",
            ":15000",
            "127.0.0.256",
            "127.1",
            "2130706433",
            "0x7f.0.0.1",
            "::1",
            "[::1",
            "[::1]evil.example",
            "[::1]:x",
            "[evil.example]",
            "[127.0.0.1]:15000",
            "localhost:80:80",
            "localhost:x",
            "localhost@evil.example",
            "evil.example@localhost",
            "localhost,evil.example",
            "localhost evil.example",
            "admin",
            "\u{fffd}",
        ] {
            assert!(!is_trusted(authority), "{authority:?}");
        }
    }
}
