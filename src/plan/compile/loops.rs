//! Requests and connections that would come back to the listener that they were sent from: a destination with that
//! listener's own address among its endpoints.
//!
//! A loop that is seen here is refused. Other loops (names that resolve to the proxy, circles over several proxies) are cut
//! when they happen: `http::hops`.

use std::net::SocketAddr;

use crate::istio::problem::{Problem, Severity};
use crate::plan::{Action, Cluster, Destination, Forward, Listener, Origin, Target};

/// Adds a problem for each route of a listener that leads back to it: an error if the request would take the same route
/// again, for ever, and a warning if the rule changes the request.
pub(super) fn check(listeners: &[Listener], clusters: &[Cluster], problems: &mut Vec<Problem>) {
    for listener in listeners {
        for (_, route) in listener.chains.tcp_routes() {
            let Some(origin) = &route.origin else { continue };
            for destination in route.destinations.iter() {
                if let Some(address) = own_address(listener, clusters, destination) {
                    problems.push(round_for_ever(listener, origin, "connections", address));
                }
            }
        }
        let hosts = listener.route_tables().flat_map(|table| &table.virtual_hosts);
        for route in hosts.flat_map(|host| host.routes()) {
            let Action::Forward(forward) = &route.action else { continue };
            for destination in forward.destinations.iter() {
                if let Some(address) = own_address(listener, clusters, destination) {
                    problems.push(problem(listener, &route.origin, forward, destination, address));
                }
            }
        }
    }
}

/// The endpoint of a destination that is the listener itself.
fn own_address(listener: &Listener, clusters: &[Cluster], destination: &Destination) -> Option<SocketAddr> {
    let Target::Known(id) = &destination.target else { return None };
    let endpoints = clusters.get(id.index())?.endpoints.iter();
    endpoints.filter_map(|endpoint| endpoint.address.ip()).find(|address| is_at(listener.bind, *address))
}

/// Whether a connection to `address` comes to a listener bound to `bind`, as far as the addresses say it. The other addresses
/// of this host are not known here.
pub(super) fn is_at(bind: SocketAddr, address: SocketAddr) -> bool {
    let (bound, ip) = (bind.ip().to_canonical(), address.ip().to_canonical());
    let here = ip.is_loopback() || ip.is_unspecified();
    bind.port() != 0 // the kernel's choice is not a known address
        && bind.port() == address.port()
        && (bound == ip || bound.is_unspecified() && here || bound.is_loopback() && ip.is_unspecified())
}

fn problem(
    listener: &Listener,
    origin: &Origin,
    forward: &Forward,
    destination: &Destination,
    address: SocketAddr,
) -> Problem {
    let changed =
        destination.authority.is_some() || forward.rewrite.is_some() || !destination.headers.request.is_empty();
    if !changed {
        return round_for_ever(listener, origin, "requests", address);
    }
    let what = format!("sends requests of {} to {address}, where it listens itself", listener.kind);
    reported(origin, Severity::Warning, what, "a request that comes back too often gets 508")
}

fn round_for_ever(listener: &Listener, origin: &Origin, what: &str, address: SocketAddr) -> Problem {
    let what = format!(
        "sends {what} of {} to {address}, where it listens itself: they would go round for ever",
        listener.kind
    );
    reported(origin, Severity::Error, what, "write the address of the service, or another port for the listener")
}

fn reported(origin: &Origin, severity: Severity, what: String, instead: &str) -> Problem {
    Problem {
        severity,
        file: origin.file.clone(),
        line: origin.line,
        resource: origin.resource.clone(),
        path: origin.rule.map_or_else(String::new, |rule| format!("spec.{}[{rule}].route", origin.list)),
        what,
        instead: instead.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_a_listener() {
        for (bind, address, same) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("127.0.0.1:80", "0.0.0.0:80", true),
            ("127.0.0.1:80", "[::ffff:127.0.0.1]:80", true),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            ("0.0.0.0:80", "127.0.0.9:80", true),
            ("0.0.0.0:80", "10.0.0.1:80", false),
            ("10.0.0.1:80", "10.0.0.1:80", true),
            ("[::]:80", "[::1]:80", true),
            ("[::]:80", "127.0.0.1:80", true),
        ] {
            let parse = |text: &str| text.parse().expect("an address");
            assert_eq!(is_at(parse(bind), parse(address)), same, "{bind} {address}");
        }
    }
}
