//! Inside a layer, too, files form no loops: what two files want of each other belongs below both.
//!
//! A file may use what the `mod.rs` of its own folder defines, and that file the files of the folder: those are one place.

use std::collections::{BTreeMap, BTreeSet};

use crate::imports::{Module, Sources};

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
    let wrong = found.iter().map(|files| {
        let inside = |module: &&Module| files.contains(&module.join("::"));
        let edges = graph.iter().filter(|(module, _)| inside(module)).map(|(module, used)| {
            let used: Vec<String> = used.iter().filter(inside).map(|module| module.join("::")).collect();
            format!("    {} -> {}", module.join("::"), used.join(", "))
        });
        format!("a loop:\n{}", edges.collect::<Vec<_>>().join("\n"))
    });
    let wrong: Vec<String> = wrong.collect();
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
