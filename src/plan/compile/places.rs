//! Addresses that are used twice: of two listeners at one address the second is refused, with the names of both, and so is
//! an admin listener at the address of a listener. So `check` reports what the kernel would refuse at the start.
//!
//! Overlapping addresses are allowed for listeners, which share their ports with each other: of `0.0.0.0:80` and
//! `127.0.0.1:80` the kernel gives connections to loopback to the latter. `listener` compares Gateway ports with each other.

use std::net::{IpAddr, SocketAddr};

use crate::istio::problem::Problem;
use crate::istio::world::World;
use crate::plan::{Listener, ListenerKind, ProxySettings};

use super::Compiler;

impl Compiler<'_> {
    /// The listeners without those whose address an earlier one has.
    pub(super) fn with_own_places(&mut self, listeners: Vec<Listener>) -> Vec<Listener> {
        let mut placed: Vec<Listener> = Vec::with_capacity(listeners.len());
        for listener in listeners {
            let is_gateway = |kind| matches!(kind, ListenerKind::Gateway(_));
            let other = placed.iter().find(|other| {
                is_same(other.bind, listener.bind) && !(is_gateway(other.kind) && is_gateway(listener.kind))
            });
            match other.map(|other| other.kind) {
                Some(other) => self.is_taken(&listener, other),
                None => placed.push(listener),
            }
        }
        placed
    }

    fn is_taken(&mut self, listener: &Listener, other: ListenerKind) {
        let what = format!("{} is already taken by {other}", listener.bind);
        let sidecar = |path: Option<String>| Some((&self.world.sidecar.as_ref()?.meta.source, path?));
        let egress = |number: u16| {
            let mut ports = self.world.egress_ports();
            ports.find_map(|(egress, port, _)| {
                (port.number == number).then(|| format!("spec.egress[{}].port", egress.index))
            })
        };
        let ingress = |number: u16| {
            let all = self.world.sidecar.iter().flat_map(|sidecar| &sidecar.ingress);
            let mut of_port = all.filter(|ingress| ingress.port.number == number);
            of_port.next().map(|ingress| format!("spec.ingress[{}].port", ingress.index))
        };
        let place = match listener.kind {
            ListenerKind::Egress(port) | ListenerKind::HttpProxy(port) => sidecar(egress(port)),
            ListenerKind::Ingress(port) => sidecar(ingress(port)),
            ListenerKind::Gateway(_) | ListenerKind::Mesh => None,
        };
        let (source, path) = place.unwrap_or((&self.world.proxy.source, "spec.mesh.listen".to_owned()));
        self.problems.push(source.error(&path, what, "write another port"));
    }
}

/// Reports a listener that has the address of the admin endpoints.
pub(super) fn check_admin(
    listeners: &[Listener],
    world: &World,
    settings: &ProxySettings,
    problems: &mut Vec<Problem>,
) {
    let Some(admin) = settings.admin else { return };
    if let Some(other) = listeners.iter().find(|other| overlap(other.bind, admin)) {
        let what = format!("{admin} is already taken by {}, at {}", other.kind, other.bind);
        problems.push(world.proxy.source.error("spec.admin", what, "write another port, or \"off\""));
    }
}

/// Whether a socket at one of these addresses excludes one at the other. A socket at `[::]` takes IPv4 as well.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let all_of = |all: IpAddr, other: IpAddr| all.is_unspecified() && (all.is_ipv6() || other.is_ipv4());
    a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || all_of(a.ip(), b.ip()) || all_of(b.ip(), a.ip()))
}

/// Whether two listeners cannot bind these. Port 0 is a different port each time.
fn is_same(one: SocketAddr, other: SocketAddr) -> bool {
    let (ip, other_ip) = (one.ip().to_canonical(), other.ip().to_canonical());
    one.port() != 0
        && one.port() == other.port()
        && (ip == other_ip || ip.is_unspecified() && other_ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_are_the_same() {
        for (one, other, same) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("127.0.0.1:80", "0.0.0.0:80", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            ("[::]:80", "0.0.0.0:80", true),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1:80", true),
            ("[::1]:80", "127.0.0.1:80", false),
        ] {
            let parse = |text: &str| text.parse().expect("an address");
            assert_eq!(is_same(parse(one), parse(other)), same, "{one} {other}");
        }
    }

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
