//! From the resolved configuration to a [`Plan`]: what istiod does when it writes a proxy's Envoy config.
//!
//! Pure and deterministic: the same world gives the same plan, in the same order. Each file takes one level of the
//! documents, each function one field. A mistake that is found is reported with its place, and the field is left out;
//! the caller decides whether that forbids serving. Called by `control` and `check`; never on the data path.
//!
//! ```text
//! listener (Gateway.servers)  -> host (hosts)    -+-> route (http) -> matcher (match), action (route, …) -> cluster
//! mesh (Proxy.spec.mesh)      -> mesh (services) -+       ^ delegate (delegate)         ^ headers, cors, resilience
//! listener, outbound (ports of services)         ---> tcp_route (tls, tcp)             -> cluster
//! sidecar (egress, ingress)   -> mesh, or the workload
//! ```

mod action;
mod bound;
mod client_tls;
mod cluster;
mod connections;
mod cors;
mod delegate;
mod headers;
mod host;
mod hostname;
mod lb;
pub(super) mod lb_locality;
mod lb_rules;
mod listener;
mod loops;
mod matcher;
mod mesh;
mod outbound;
mod places;
mod resilience;
mod route;
mod rule;
mod sidecar;
mod tcp_route;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::istio::problem::Problem;
use crate::istio::world::World;

use super::{Cluster, Listener, Pattern, Plan, ProxySettings, RouteStatsId, Target, TcpStatsId};
use lb_rules::Rules;

/// Compiles `world` into the workers' plan. The problems are in the order of the documents' use, each once; with an error
/// among them the plan is incomplete and must not be served.
#[must_use]
pub fn compile(world: &World, settings: ProxySettings) -> (Plan, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut compiler = Compiler {
        world,
        settings: &settings,
        bound: bound::visible(world, &settings, &mut problems).into(),
        rules: Rules::new(world),
        clusters: Vec::new(),
        targets: HashMap::default(),
        regexes: HashMap::default(),
        depends_on_port: false,
        problems,
    };
    let mut listeners = compiler.listeners();
    listeners.extend(compiler.ingress());
    compiler.passthrough();
    listeners.extend(compiler.egress());
    listeners.extend(compiler.mesh());
    let mut listeners = compiler.with_own_places(listeners);
    compiler.nothing_to_listen_on(&listeners);
    number_stat_prefixes(&mut listeners);
    number_tcp_stats(&mut listeners);
    let (clusters, mut problems) = (compiler.clusters, compiler.problems);
    loops::check(&listeners, &clusters, &mut problems);
    places::check_admin(&listeners, world, &settings, &mut problems);
    // A VirtualService on two ports is compiled twice, and reports its problems twice.
    let mut seen = HashSet::new();
    problems.retain(|problem| seen.insert(problem.to_string()));
    let clusters = clusters.into_iter().map(Arc::new).collect();
    (Plan { listeners: Arc::new(listeners), clusters, proxy: settings }, problems)
}

/// Gives each `statPrefix` its index, as [`Plan::stat_prefixes`] yields them: a host's routes may have been compiled once
/// for several ports.
fn number_stat_prefixes(listeners: &mut [Listener]) {
    for (stat_prefix, place) in listeners.iter_mut().flat_map(Listener::stat_prefixes_mut).zip(0..) {
        stat_prefix.id = RouteStatsId(place);
    }
}

/// Gives each TCP proxy the index of its name in [`Plan::tcp_stat_names`].
fn number_tcp_stats(listeners: &mut [Listener]) {
    for (stats, place) in listeners.iter_mut().flat_map(Listener::tcp_stats_mut).zip(0..) {
        *stats = TcpStatsId(place);
    }
}

/// The state of a compilation.
struct Compiler<'w> {
    world: &'w World,
    settings: &'w ProxySettings,
    /// The VirtualServices that this proxy sees, in the order in which they count.
    bound: Rc<[bound::Bound<'w>]>,
    rules: Rules<'w>,
    /// The clusters that routes name, in order of first use.
    clusters: Vec<Cluster>,
    /// The target of each cluster name seen so far.
    targets: HashMap<String, Target, RandomState>,
    /// The regexes compiled so far, by their text.
    regexes: HashMap<String, Pattern, RandomState>,
    /// Whether anything compiled since this was last cleared would be different on another port.
    depends_on_port: bool,
    problems: Vec<Problem>,
}

/// The gateway and port that a VirtualService is compiled for.
#[derive(Debug, Clone, Copy)]
struct Scope<'g> {
    /// `namespace/name` of the Gateway, or `mesh`.
    gateway: &'g str,
    /// The port that clients address: by the Gateway's numbering, or of a service. `None`: any other port.
    port: Option<u16>,
}
