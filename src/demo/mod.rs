//! `ringway demo`: the quickstart's configuration, built in, and two origins that answer like httpbin. The proxy does not
//! use it; `main` puts the parts together.

pub mod origin;

use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use crate::io::bind_probe;
use crate::plan::Overrides;
use origin::Origin;

/// The documents of `config/quickstart/`, as one stream.
const CONFIGURATION: &str = concat!(
    include_str!("../../config/quickstart/egress.yaml"),
    "\n---\n",
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

/// The ports of the quickstart: the Gateways' listener, the one of applications, and the admin endpoints'.
const LISTENER: u16 = 8080;
const MESH: u16 = 15001;
const ADMIN: u16 = 15000;

/// The port that the Gateways name.
const GATEWAY_PORT: u16 = 80;

/// The running origins, and the ports in use, which may differ from the quickstart's files.
pub struct Demo {
    origins: Vec<Origin>,
    listener: u16,
    mesh: u16,
}

impl Demo {
    /// Starts the origins. A port that the user did not choose is replaced by a free one if it is in use: a demo must
    /// start.
    ///
    /// # Errors If there is no free port.
    pub fn start(overrides: &mut Overrides) -> io::Result<Self> {
        let origins = ORIGINS.iter().map(|(version, port)| {
            origin::start(version, loopback(*port)).or_else(|_| origin::start(version, loopback(0)))
        });
        let origins = origins.collect::<io::Result<_>>()?;
        let listener = match &overrides.ports {
            Some(ports) => ports.get(&GATEWAY_PORT).copied().unwrap_or(GATEWAY_PORT),
            None if bind_probe((Ipv4Addr::UNSPECIFIED, LISTENER).into()).is_ok() => LISTENER,
            None => 0,
        };
        // The egress gateway is a destination of its own, so the port must be known beforehand.
        let listener = if listener == 0 { free_port()? } else { listener };
        overrides.ports.get_or_insert_default().insert(GATEWAY_PORT, listener);
        let mesh = if bind_probe(loopback(MESH)).is_ok() { MESH } else { free_port()? };
        if overrides.admin.is_none() && bind_probe(loopback(ADMIN)).is_err() {
            overrides.admin = Some(Some(loopback(0)));
        }
        Ok(Self { origins, listener, mesh })
    }

    /// The quickstart's documents with the ports where things really are.
    #[must_use]
    pub fn configuration(&self) -> String {
        let origins = ORIGINS.iter().zip(&self.origins).map(|((_, port), origin)| (*port, origin.addr.port()));
        let ports = origins.chain([(LISTENER, self.listener), (MESH, self.mesh)]);
        // Two steps, because one port may be where another one was.
        let marked = ports.clone().fold(CONFIGURATION.to_owned(), |text, (named, _)| {
            text.replace(&format!("{named}"), &format!("<{named}>"))
        });
        ports.fold(marked, |text, (named, real)| text.replace(&format!("<{named}>"), &real.to_string()))
    }

    /// The commands to type.
    #[must_use]
    pub fn what_to_type(&self, admin: Option<SocketAddr>) -> String {
        let Self { listener: port, mesh, .. } = self;
        let curl = |options: &str, path: &str| {
            format!("curl -i -H Host:httpbin.example.com {options}http://127.0.0.1:{port}{path}")
        };
        let mut text =
            format!("ringway serves http://127.0.0.1:{port}/ from two origins, v1 and v2. Copy and paste:\n\n");
        for (line, about) in [
            (curl("", "/get"), "three of four answers come from v1, the fourth from v2"),
            (curl("-H x-version:v2 ", "/headers"), "this header chooses v2; see what the proxy added to the request"),
            (curl("", "/status/418"), "any status"),
            (curl("-d hello=world ", "/post"), "a body"),
            (curl("", "/delay/2"), "a slow answer; x-envoy-upstream-service-time says how slow"),
            (curl("", "/ip"), "404: no rule of config/quickstart/routes.yaml exposes it"),
            (
                format!("curl -i -x http://127.0.0.1:{mesh} http://httpbin.org/ip"),
                "an application calls out: first to the egress gateway, then to the outside (v1 stands in for it)",
            ),
        ] {
            let _ = writeln!(text, "  {line}\n      # {about}");
        }
        if let Some(admin) = admin {
            let _ =
                writeln!(text, "\n  curl 'http://{admin}/stats?usedonly&filter=upstream_rq'\n      # what was counted");
        }
        text.push_str("\nThe lines that follow are the access log. Ctrl-C ends the demo.\n");
        text
    }
}

/// A port that is free at the moment.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(loopback(0))?.local_addr()?.port())
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::istio;
    use crate::plan::{Plan, ProxySettings, compile};

    fn plan(configuration: &str, overrides: &Overrides) -> Plan {
        let (world, problems) = istio::read_text(configuration, istio::Options::default());
        assert!(problems.is_empty(), "{problems:?}");
        let (plan, problems) = compile(&world, ProxySettings::resolve(&world.proxy, overrides));
        assert!(problems.is_empty(), "{problems:?}");
        plan
    }

    /// The ports of all endpoints, and of the DNS names of endpoints.
    fn endpoints(plan: &Plan) -> Vec<u16> {
        let endpoints = plan.clusters.iter().flat_map(|cluster| &cluster.endpoints);
        let named = plan.proxy.dns.hosts.values().flatten().filter_map(|address| address.port);
        let mut ports: Vec<u16> =
            endpoints.filter_map(|endpoint| Some(endpoint.address.ip()?.port())).chain(named).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    #[test]
    fn the_ports_named_here_are_the_quickstarts() {
        let plan = plan(CONFIGURATION, &Overrides::default());
        assert_eq!(plan.proxy.bound_port(GATEWAY_PORT), LISTENER);
        assert_eq!(plan.proxy.admin.map(|admin| admin.port()), Some(ADMIN));
        let bound: Vec<u16> = plan.listeners.iter().map(|listener| listener.bind.port()).collect();
        assert_eq!(bound, [LISTENER, MESH]);
        assert_eq!(endpoints(&plan), [LISTENER, ORIGINS[0].1, ORIGINS[1].1]);
    }

    #[test]
    fn everything_points_at_what_runs() {
        let mut overrides = Overrides { ports: Some([(GATEWAY_PORT, 0)].into()), ..Overrides::default() };
        let demo = Demo::start(&mut overrides).unwrap();
        let plan = plan(&demo.configuration(), &overrides);
        let mut running: Vec<u16> =
            demo.origins.iter().map(|origin| origin.addr.port()).chain([demo.listener]).collect();
        running.sort_unstable();
        assert_eq!(endpoints(&plan), running);
        let bound: Vec<u16> = plan.listeners.iter().map(|listener| listener.bind.port()).collect();
        assert_eq!(bound, [demo.listener, demo.mesh]);
    }
}
