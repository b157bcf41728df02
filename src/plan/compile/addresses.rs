//! Whether the admin endpoints can have the address that they ask for beside the listeners, which share their ports with
//! each other and with nobody else: what the kernel would refuse at the start is told by `check` already.

use std::net::{IpAddr, SocketAddr};

use crate::istio::problem::Problem;
use crate::istio::world::World;
use crate::plan::{Listener, ProxySettings};

/// Reports a listener that stands in the way of the admin endpoints.
pub(super) fn check(listeners: &[Listener], world: &World, settings: &ProxySettings, problems: &mut Vec<Problem>) {
    let Some(admin) = settings.admin else { return };
    if let Some(other) = listeners.iter().find(|other| overlap(other.bind, admin)) {
        let what = format!("{admin} is already taken by {}, at {}", other.kind, other.bind);
        problems.push(world.proxy.source.error("spec.admin", what, "write another port, or \"off\""));
    }
}

/// Whether a socket at one of these addresses stands in the way of one at the other. One at `[::]` takes IPv4 as well.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let all_of = |all: IpAddr, other: IpAddr| all.is_unspecified() && (all.is_ipv6() || other.is_ipv4());
    a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || all_of(a.ip(), b.ip()) || all_of(b.ip(), a.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_part_of_all_addresses_of_its_kind() {
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        for (a, b, expected) in [
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("[::]:80", "127.0.0.1:80", true),
            ("[::]:80", "0.0.0.0:80", true),
            ("[::]:80", "[::1]:80", true),
            ("0.0.0.0:80", "[::1]:80", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("0.0.0.0:80", "127.0.0.1:81", false),
            ("0.0.0.0:0", "127.0.0.1:0", false),
            ("127.0.0.1:80", "127.0.0.1:80", true),
        ] {
            assert_eq!((overlap(at(a), at(b)), overlap(at(b), at(a))), (expected, expected), "{a} {b}");
        }
    }
}
