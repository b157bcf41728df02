//! The listeners that a Sidecar opens: those of `egress` that are bound, and those of `ingress`.
//!
//! An outbound listener has the services of its hosts and its port, an inbound one leads to the workload, as in istiod;
//! where Istio would bind to the workload's address, the Proxy's `bind` is used.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::base::endpoint::EndpointAddress;
use crate::base::id::ClusterId;
use crate::istio::model::destination_rule::ConnectionPool;
use crate::istio::model::scalar::Protocol;
use crate::istio::model::sidecar::{Egress, Ingress, ListenerPort, LocalEndpoint, Sidecar};
use crate::istio::world::View;
use crate::plan::{
    Action, Cluster, Destination, Destinations, Endpoint, FilterChainMatch, FilterChains, Forward, HttpRoutes,
    Listener, ListenerKind, Locality, Origin, OutboundPolicy, OutboundService, PortProtocol, RouteTable, Target,
    TcpRoute, VirtualHost,
};
use crate::policy::balance::{LoadBalancing, Policy};
use crate::policy::retry::{RetryOn, RetryPolicy};

use super::lb_rules::Effective;
use super::mesh::{built_in, outbound_listener};
use super::outbound::port_protocol;
use super::{Compiler, loops};

/// Istio's policy for requests to the workload: a request that has not reached it is retried.
const INBOUND_RETRIES: u32 = 2;
const INBOUND_BACKOFF: Duration = Duration::from_millis(25);

impl<'w> Compiler<'w> {
    /// The outbound listeners that are bound: those with `captureMode: NONE`, and without redirection all.
    pub(super) fn egress(&mut self) -> Vec<Listener> {
        let world = self.world;
        let bound = world.egress_ports().filter(|(.., bound)| *bound);
        bound.map(|(egress, port, _)| self.egress_listener(egress, port)).collect()
    }

    fn egress_listener(&mut self, egress: &'w Egress, port: ListenerPort) -> Listener {
        let bind = SocketAddr::new(egress.bind.unwrap_or(Ipv4Addr::LOCALHOST.into()), port.number);
        let view = View::of(egress);
        if port.is_proxy {
            let (ports, every) = self.tables(view, &|_| false);
            let services = self.outbound_services(|service, port| view.service(service).then_some(port.protocol));
            let policy = self.outbound_policy(bind);
            let chains = FilterChains::outbound(policy, HttpRoutes::ByPort { ports, every }, services);
            return outbound_listener(ListenerKind::HttpProxy(port.number), bind, chains);
        }
        let table = self.whole_table(view, port);
        let services = self.outbound_services(|service, own| {
            let seen = own.number == port.number && view.service(service);
            seen.then_some(port.protocol.unwrap_or(own.protocol))
        });
        self.unreachable(egress, port, &services);
        let policy = self.outbound_policy(bind);
        let chains = FilterChains::bound(policy, HttpRoutes::One(table), services);
        outbound_listener(ListenerKind::Egress(port.number), bind, chains)
    }

    /// Says so if a listener leads nowhere, or cannot tell its services apart.
    fn unreachable(&mut self, egress: &Egress, port: ListenerPort, services: &[OutboundService]) {
        let Some(sidecar) = &self.world.sidecar else { return };
        let number = port.number;
        let path = format!("spec.egress[{}]", egress.index);
        if services.is_empty() {
            let what = format!("none of the services that it sees has port {number}");
            let instead = "its port is a port of services; protocol HTTP_PROXY takes requests for any";
            self.problems.push(sidecar.meta.source.warning(&format!("{path}.port"), what, instead));
        }
        let takes_bytes = services.iter().filter(|service| service.protocol == PortProtocol::Tcp);
        let mut all = takes_bytes.filter_map(|service| Some(service.chains.last()?.1.name.clone()));
        if let (Some(first), Some(other)) = (all.next(), all.next()) {
            let what = format!("bytes on this port go to {first}: nothing tells apart which are for {other}");
            let instead = "name one service in \"hosts\"";
            self.problems.push(sidecar.meta.source.warning(&format!("{path}.hosts"), what, instead));
        }
    }

    /// The inbound listeners.
    pub(super) fn ingress(&mut self) -> Vec<Listener> {
        let Some(sidecar) = &self.world.sidecar else { return Vec::new() };
        let unknown = self.world.is_unknown("Sidecar", &["spec.ingress"]);
        if sidecar.ingress.is_empty() && sidecar.inbound_connection_pool.is_some() && !unknown {
            let what = "there is no ingress listener for which it would hold";
            self.problems.push(sidecar.meta.source.warning("spec.inboundConnectionPool", what, "add \"ingress\""));
        }
        sidecar.ingress.iter().filter_map(|ingress| self.ingress_listener(sidecar, ingress)).collect()
    }

    fn ingress_listener(&mut self, sidecar: &'w Sidecar, ingress: &'w Ingress) -> Option<Listener> {
        let number = ingress.port.number;
        let bind = SocketAddr::new(ingress.bind.unwrap_or(self.settings.bind), number);
        let target = self.workload(sidecar, ingress, bind)?;
        let protocol = ingress.port.protocol.unwrap_or(Protocol::Auto);
        let source = &sidecar.meta.source;
        let origin = Origin {
            file: source.file.clone(),
            line: source.line_of(&format!("spec.ingress[{}]", ingress.index)),
            resource: source.resource.clone(),
            list: "http",
            rule: None,
            block: None,
            root: None,
        };
        let forward = Forward {
            retry: (protocol != Protocol::Grpc).then(|| Box::new(inbound_retry())),
            ..Forward::to(Destinations::only(Destination::plain(target.clone())))
        };
        let route = built_in("default", origin, Action::Forward(forward));
        let host = VirtualHost::new(&format!("inbound|http|{number}"), ["*".into()], vec![route]);
        let name = format!("{}_{number}", bind.ip());
        let routes = HttpRoutes::One(RouteTable::new(Some(number), vec![host]));
        Some(Listener {
            stat_prefix: format!("inbound_{name}"),
            name,
            bind,
            kind: ListenerKind::Ingress(number),
            gateways: Vec::new(),
            chains: self.inbound_chains(number, protocol, target, routes),
        })
    }

    /// HTTP, and a TCP proxy to the workload where the port may speak something else.
    fn inbound_chains(&self, port: u16, protocol: Protocol, target: Target, routes: HttpRoutes) -> FilterChains {
        let protocol = match port_protocol(protocol) {
            PortProtocol::Http => return FilterChains::http(routes),
            PortProtocol::Auto => PortProtocol::Auto,
            // TLS is for the workload to decrypt.
            PortProtocol::Tls | PortProtocol::Tcp => PortProtocol::Tcp,
        };
        let cluster = cluster_name(port);
        let chains = vec![(FilterChainMatch::default(), TcpRoute::plain(&cluster, target))];
        let (names, addresses, cluster) = (Vec::new(), Vec::new(), cluster.into());
        let workload = OutboundService { port, names, addresses, protocol, cluster, chains };
        let detection_timeout = self.world.proxy.mesh_config.protocol_detection_timeout;
        let policy = OutboundPolicy { allow_local: true, detection_timeout, ..OutboundPolicy::default() };
        FilterChains::bound(policy, routes, vec![workload])
    }

    /// The cluster of `defaultEndpoint`; `None`, and a problem, if that is the listener itself.
    fn workload(&mut self, sidecar: &'w Sidecar, ingress: &'w Ingress, bind: SocketAddr) -> Option<Target> {
        let path = format!("spec.ingress[{}].defaultEndpoint", ingress.index);
        let address = match &ingress.endpoint {
            LocalEndpoint::Unix(path) => EndpointAddress::Unix(path.clone()),
            LocalEndpoint::At(address) => EndpointAddress::Ip(*address),
            LocalEndpoint::Instance(any) => {
                EndpointAddress::Ip(self.own_address(*any, bind.ip()).unwrap_or_else(|| {
                    let loopback =
                        if any.is_ipv4() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { Ipv6Addr::LOCALHOST.into() };
                    let what = format!("which address is this instance's is not known, so {loopback} is taken");
                    let instead = "write it into spec.bind of the Proxy document";
                    self.problems.push(sidecar.meta.source.warning(&path, what, instead));
                    SocketAddr::new(loopback, any.port())
                }))
            }
        };
        if address.ip().is_some_and(|address| loops::is_at(bind, address)) {
            let what = format!("{address} is where this listener itself listens: connections would go round for ever");
            let instead = "let the workload listen on another port, or write another \"port\" or \"bind\"";
            self.problems.push(sidecar.meta.source.error(&path, what, instead));
            return None;
        }
        let spread = LoadBalancing::even(Policy::default(), None, &[(address.clone(), 1)]);
        let endpoints = vec![Endpoint { address, weight: 1, locality: Locality::default() }];
        let name = cluster_name(ingress.port.number);
        let cluster = Cluster::new(&name, spread, endpoints, self.settings.connect_timeout);
        let pool: Option<&ConnectionPool> =
            ingress.connection_pool.as_ref().or(sidecar.inbound_connection_pool.as_ref());
        let policy = Effective { connection_pool: pool, ..Effective::default() };
        self.clusters.push(self.connections(policy, &[], cluster));
        Some(Target::Known(ClusterId(self.clusters.len() as u32 - 1)))
    }

    /// This instance's address of the same kind as `any`, if that is written somewhere.
    fn own_address(&self, any: SocketAddr, bind: IpAddr) -> Option<SocketAddr> {
        let fits = |ip: &IpAddr| !ip.is_unspecified() && ip.is_ipv4() == any.is_ipv4();
        [bind, self.settings.bind].into_iter().find(fits).map(|ip| SocketAddr::new(ip, any.port()))
    }
}

/// Istio's name of the cluster that leads to the workload.
fn cluster_name(port: u16) -> String {
    format!("inbound|{port}||")
}

fn inbound_retry() -> RetryPolicy {
    RetryPolicy {
        attempts: INBOUND_RETRIES,
        per_try_timeout: None,
        on: RetryOn { reset_before_request: true, ..RetryOn::default() },
        backoff: INBOUND_BACKOFF,
        avoid_tried: false,
        other_priorities: false,
    }
}
