//! What `ringway demo` adds to the proxy: the quickstart's configuration, built in, and two origins that answer like
//! httpbin. Nothing of the proxy uses it; `main` puts the pieces together.

pub mod origin;

use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crate::io::bind_probe;
use crate::plan::{Overrides, Plan};
use origin::Origin;

/// The documents of `config/quickstart/`, as one stream.
pub const CONFIGURATION: &str = concat!(
    include_str!("../../config/quickstart/gateway.yaml"),
    "\n---\n",
    include_str!("../../config/quickstart/httpbin.yaml"),
    "\n---\n",
    include_str!("../../config/quickstart/proxy.yaml"),
    "\n---\n",
    include_str!("../../config/quickstart/routes.yaml"),
);

/// The versions, and the ports that the quickstart's WorkloadEntries name for them.
const ORIGINS: [(&str, u16); 2] = [("v1", 9001), ("v2", 9002)];

/// The ports that the quickstart's Proxy document has: the listener's and the admin endpoints'.
const LISTENER: u16 = 8080;
const ADMIN: u16 = 15000;

/// The running origins and where they stand in for the addresses of the configuration.
pub struct Origins {
    running: Vec<(SocketAddr, Origin)>,
}

/// Starts the origins on the configuration's ports, or on free ones where something else has those.
///
/// # Errors
/// If no port can be had.
pub fn start_origins() -> io::Result<Origins> {
    let running = ORIGINS.iter().map(|(version, port)| {
        let configured = loopback(*port);
        let origin = origin::start(version, configured).or_else(|_| origin::start(version, loopback(0)))?;
        Ok((configured, origin))
    });
    Ok(Origins { running: running.collect::<io::Result<_>>()? })
}

impl Origins {
    /// Points the plan's endpoints at where the origins really are.
    pub fn redirect(&self, plan: &mut Plan) {
        for endpoint in plan.clusters.iter_mut().flat_map(|cluster| &mut Arc::make_mut(cluster).endpoints) {
            if let Some((_, origin)) = self.running.iter().find(|(configured, _)| *configured == endpoint.address) {
                endpoint.address = origin.addr;
            }
        }
    }
}

/// Moves what the user did not place to a free port where something else has the usual one: a demo should begin.
pub fn avoid_taken_ports(overrides: &mut Overrides) {
    if overrides.ports.is_none() && bind_probe((Ipv4Addr::UNSPECIFIED, LISTENER).into()).is_err() {
        overrides.ports = Some([(80, 0)].into());
    }
    if overrides.admin.is_none() && bind_probe(loopback(ADMIN)).is_err() {
        overrides.admin = Some(Some(loopback(0)));
    }
}

/// What to type, for a proxy that listens on `port`.
#[must_use]
pub fn what_to_type(port: u16, admin: Option<SocketAddr>) -> String {
    let curl = |options: &str, path: &str| {
        format!("curl -i -H Host:httpbin.example.com {options}http://127.0.0.1:{port}{path}")
    };
    let mut text = format!("ringway serves http://127.0.0.1:{port}/ from two origins, v1 and v2. Copy and paste:\n\n");
    for (line, about) in [
        (curl("", "/get"), "three of four answers come from v1, the fourth from v2"),
        (curl("-H x-version:v2 ", "/headers"), "this header chooses v2; see what the proxy added to the request"),
        (curl("", "/status/418"), "any status"),
        (curl("-d hello=world ", "/post"), "a body"),
        (curl("", "/delay/2"), "a slow answer; x-envoy-upstream-service-time says how slow"),
        (curl("", "/ip"), "404: no rule of config/quickstart/routes.yaml exposes it"),
    ] {
        let _ = writeln!(text, "  {line}\n      # {about}");
    }
    if let Some(admin) = admin {
        let _ = writeln!(text, "\n  curl 'http://{admin}/stats?usedonly&filter=upstream_rq'\n      # what was counted");
    }
    text.push_str("\nThe lines that follow are the access log. Ctrl-C ends the demo.\n");
    text
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::istio;
    use crate::plan::{ProxySettings, compile};

    fn plan() -> Plan {
        let (world, problems) = istio::read(&["-".into()], &mut CONFIGURATION.as_bytes(), istio::Options::default());
        assert!(problems.is_empty(), "{problems:?}");
        let (plan, problems) = compile(&world, ProxySettings::resolve(&world.proxy, &Overrides::default()));
        assert!(problems.is_empty(), "{problems:?}");
        plan
    }

    #[test]
    fn the_ports_named_here_are_the_quickstarts() {
        let plan = plan();
        assert_eq!(plan.proxy.bound_port(80), LISTENER);
        assert_eq!(plan.proxy.admin.map(|admin| admin.port()), Some(ADMIN));
        let mut ports: Vec<u16> = plan
            .clusters
            .iter()
            .flat_map(|cluster| &cluster.endpoints)
            .map(|endpoint| endpoint.address.port())
            .collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports, ORIGINS.map(|(_, port)| port));
    }

    #[test]
    fn every_endpoint_is_pointed_at_a_running_origin() {
        let origins = start_origins().unwrap();
        let mut plan = plan();
        origins.redirect(&mut plan);
        let running: Vec<SocketAddr> = origins.running.iter().map(|(_, origin)| origin.addr).collect();
        assert!(plan.clusters.iter().flat_map(|c| &c.endpoints).all(|endpoint| running.contains(&endpoint.address)));
    }
}
