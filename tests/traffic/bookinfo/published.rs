//! Istio's own files, unchanged: where they are, and that they are what was published.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of this test.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traffic/bookinfo")
}

/// A file of `samples/bookinfo/networking`, by its name without the ending.
pub(crate) fn networking(name: &str) -> PathBuf {
    let path = folder().join("networking").join(format!("{name}.yaml"));
    assert!(path.is_file(), "{} is not there", path.display());
    path
}

/// `samples/bookinfo/platform/kube/bookinfo.yaml`: the Services, and Deployments, of which ringway says that it passes them
/// over.
pub(crate) fn kube() -> PathBuf {
    folder().join("kube/bookinfo.yaml")
}

/// The names of all files of `samples/bookinfo/networking`, without the ending.
pub(crate) fn all() -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder().join("networking")).expect("the folder of Istio's files");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"));
    names.map(|name| name.strip_suffix(".yaml").expect("a YAML file").to_owned()).collect()
}

#[test]
fn the_bytes_are_istios() {
    let mut check = Command::new("sha256sum");
    let output = check.args(["--check", "--strict", "--quiet", "SHA256SUMS"]).current_dir(folder()).output();
    let output = output.expect("sha256sum of the GNU coreutils");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let sums = std::fs::read_to_string(folder().join("SHA256SUMS")).expect("SHA256SUMS");
    let summed = sums.lines().filter_map(|line| line.split_once("  networking/")?.1.strip_suffix(".yaml"));
    assert_eq!(summed.map(str::to_owned).collect::<BTreeSet<_>>(), all());
}

/// Each of the files is applied by a test that sends traffic.
#[test]
fn every_file_is_applied() {
    let tests = [include_str!("mod.rs"), include_str!("google.rs"), include_str!("world.rs")].concat();
    let missing: Vec<String> = all().into_iter().filter(|name| !tests.contains(&format!("\"{name}\""))).collect();
    // ISTIO_MUTUAL is refused: `check` has the test.
    assert_eq!(missing, ["destination-rule-all-mtls"]);
}
