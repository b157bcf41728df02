//! From the resolved configuration to a [`Plan`]: what istiod does when it writes a gateway's Envoy config.
//!
//! Pure and deterministic: the same world gives the same plan, in the same order. Each file takes one level of the
//! documents, each function one field. What is found wrong on the way is reported with its place and left out; the
//! caller decides whether that forbids serving. Called by `control` and `check`; never on the data path.
//!
//! ```text
//! listener (Gateway.servers) -> host (hosts) -> route (http) -> matcher (match), action (route) -> cluster
//! ```

mod action;
mod cluster;
mod host;
mod hostname;
mod lb;
mod lb_locality;
mod lb_rules;
mod listener;
mod matcher;
mod route;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};

use crate::istio::problem::Problem;
use crate::istio::world::World;

use super::{Cluster, Pattern, Plan, ProxySettings, Target};
use lb_rules::Rules;

/// Compiles what `world` says into what the workers run on. The problems are in the order of the documents' use, each
/// once; with an error among them the plan lacks something that was asked for and should not be served.
#[must_use]
pub fn compile(world: &World, settings: ProxySettings) -> (Plan, Vec<Problem>) {
    let mut compiler = Compiler {
        world,
        settings: &settings,
        rules: Rules::new(world),
        clusters: Vec::new(),
        targets: BTreeMap::new(),
        regexes: BTreeMap::new(),
        problems: Vec::new(),
    };
    let listeners = compiler.listeners();
    let (clusters, mut problems) = (compiler.clusters, compiler.problems);
    // A VirtualService on two ports is compiled twice, and says what is wrong with it twice.
    let mut seen = HashSet::new();
    problems.retain(|problem| seen.insert(problem.to_string()));
    (Plan { listeners, clusters, proxy: settings }, problems)
}

/// What is at hand while compiling.
struct Compiler<'w> {
    world: &'w World,
    settings: &'w ProxySettings,
    rules: Rules<'w>,
    /// Those that a route names, in order of first use.
    clusters: Vec<Cluster>,
    /// What each cluster name seen so far stands for.
    targets: BTreeMap<String, Target>,
    /// The regexes compiled so far, by their text.
    regexes: BTreeMap<String, Pattern>,
    problems: Vec<Problem>,
}
