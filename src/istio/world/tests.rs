use std::path::PathBuf;

use super::*;
use crate::istio::{Options, read};

/// The world of some YAML, and its problems without the file's name.
fn world(yaml: &str) -> (World, Vec<String>) {
    let mut stdin = yaml.as_bytes();
    let (world, problems) = read(&[PathBuf::from("-")], &mut stdin, Options::default());
    let lines = problems
        .iter()
        .map(|problem| problem.to_string().replace("<stdin>:", ""))
        .filter(|line| !line.contains("accessLogFile"))
        .collect();
    (world, lines)
}

#[test]
fn the_shipped_configurations_have_no_problems() {
    for folder in ["config/quickstart", "config/ingress"] {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder);
        let (world, problems) = read(&[path], &mut std::io::empty(), Options::default());
        assert_eq!(problems, [], "{folder}");
        assert_eq!(world.gateways.len(), 1);
        assert_eq!(world.virtual_services.len(), 1);
    }
}
