//! Inside a layer, too, files form no loops: what two files want of each other belongs below both.
//!
//! A file may use what the `mod.rs` of its own folder defines, and that file the files of the folder: those are one place.

use std::collections::{BTreeMap, BTreeSet};

use crate::imports::{Module, Sources};

/// Files that are still in a loop with others of their layer. The list may only shrink: a file that is in no loop any more must
/// be taken out here, and one that joins a loop fails the test.
const STILL: &[&str] = &[
    "explain::answer",
    "explain::connection",
    "explain::live",
    "explain::suggest",
    "explain::undeclared",
    "istio::kinds",
    "istio::load",
    "istio::model",
    "istio::model::destination_rule",
    "istio::model::destination_rule::client_tls",
    "istio::model::destination_rule::connection_pool",
    "istio::model::destination_rule::load_balancer",
    "istio::model::destination_rule::locality",
    "istio::model::destination_rule::outlier_detection",
    "istio::model::destination_rule::upstream",
    "istio::model::dns",
    "istio::model::export",
    "istio::model::gateway",
    "istio::model::kube",
    "istio::model::mesh_config",
    "istio::model::proxy",
    "istio::model::scalar::string_match",
    "istio::model::server_tls",
    "istio::model::service_entry",
    "istio::model::sidecar",
    "istio::model::virtual_service",
    "istio::model::virtual_service::action",
    "istio::model::virtual_service::cors",
    "istio::model::virtual_service::headers",
    "istio::model::virtual_service::l4",
    "istio::model::virtual_service::matching",
    "istio::model::virtual_service::resilience",
    "istio::model::workload_entry",
    "istio::reader",
];

type Graph = BTreeMap<Module, BTreeSet<Module>>;

fn reachable<'g>(graph: &'g Graph, from: &'g Module) -> BTreeSet<&'g Module> {
    let mut seen = BTreeSet::new();
    let mut next = vec![from];
    while let Some(module) = next.pop() {
        for used in graph.get(module).into_iter().flatten() {
            if seen.insert(used) {
                next.push(used);
            }
        }
    }
    seen
}

/// The loops of a graph: sets of modules each of which reaches all others.
fn loops(graph: &Graph) -> BTreeSet<Vec<String>> {
    let reach: BTreeMap<&Module, BTreeSet<&Module>> =
        graph.keys().map(|module| (module, reachable(graph, module))).collect();
    let mut found = BTreeSet::new();
    for (module, reached) in &reach {
        let mutual = reached.iter().filter(|other| reach.get(*other).is_some_and(|back| back.contains(module)));
        let together: BTreeSet<String> = mutual.map(|module| module.join("::")).collect();
        if together.len() > 1 {
            found.insert(together.into_iter().collect());
        }
    }
    found
}

#[test]
fn files_of_a_layer_form_no_loops() {
    let sources = Sources::read();
    let mut graph = Graph::new();
    for (module, source) in sources.iter() {
        let used = sources.used_by(module, source);
        let inside = used.into_iter().filter(|used| used.first() == module.first() && !module.starts_with(used));
        graph.insert(module.clone(), inside.collect());
    }
    let found = loops(&graph);
    let looped: BTreeSet<&str> = found.iter().flatten().map(String::as_str).collect();
    let still: BTreeSet<&str> = STILL.iter().copied().collect();
    let gone: Vec<String> = still.difference(&looped).map(|file| format!("in no loop any more: {file}")).collect();
    let new = found.iter().filter(|files| files.iter().any(|file| !still.contains(file.as_str()))).map(|files| {
        let inside = |module: &&Module| files.contains(&module.join("::"));
        let edges = graph.iter().filter(|(module, _)| inside(module)).map(|(module, used)| {
            let used: Vec<String> = used.iter().filter(inside).map(|module| module.join("::")).collect();
            format!("    {} -> {}", module.join("::"), used.join(", "))
        });
        format!("a loop:\n{}", edges.collect::<Vec<_>>().join("\n"))
    });
    let wrong: Vec<String> = gone.into_iter().chain(new).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn loops_are_found() {
    let graph = |edges: &[(&str, &str)]| {
        let mut graph = Graph::new();
        for (from, to) in edges {
            graph.entry(vec![(*from).to_owned()]).or_default().insert(vec![(*to).to_owned()]);
            graph.entry(vec![(*to).to_owned()]).or_default();
        }
        loops(&graph)
    };
    assert!(graph(&[("a", "b"), ("b", "c"), ("a", "c")]).is_empty());
    let found = graph(&[("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("d", "e"), ("e", "d")]);
    assert_eq!(found, [vec!["a".to_owned(), "b".into(), "c".into()], vec!["d".into(), "e".into()]].into());
}
