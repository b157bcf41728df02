//! What `ringway check` says of each of Istio's files, beside the rest of Bookinfo.

use std::collections::BTreeSet;
use std::process::Command;

use tempfile::TempDir;

use super::published::{all, kube, networking};
use super::world;

/// Each file, and what is said of it, or rather the beginning of each line; `$` is the file.
const SAID: &[(&str, &[&str])] = &[
    ("bookinfo-gateway", &[]),
    (
        "certmanager-gateway",
        &[
            "$:33: VirtualService/istio-system/cert-manager: spec.http[0].route[0].destination.host: warning: there is no \
           service \"cert-manager-resolver.istio-system.svc.cluster.local\": ",
        ],
    ),
    ("destination-rule-all", &[]),
    ("destination-rule-reviews", &[]),
    (
        "egress-rule-google-apis",
        &[
            "$:43: DestinationRule/default/originate-tls-for-googleapis: spec.trafficPolicy.portLevelSettings[0]: warning: \
           stands in place of the whole policy: port 443 has no loadBalancer ",
        ],
    ),
    (
        "fault-injection-details-v1",
        &[
            "$:18: VirtualService/default/details: spec.http[1]: warning: no request gets here: spec.http[0] takes everything \
           [IST0130] ",
        ],
    ),
    ("virtual-service-all-v1", &[]),
    ("virtual-service-details-v2", &[]),
    ("virtual-service-ratings-db", &[]),
    ("virtual-service-ratings-mysql", &[]),
    ("virtual-service-ratings-mysql-vm", &[]),
    ("virtual-service-ratings-test-abort", &[]),
    ("virtual-service-ratings-test-delay", &[]),
    ("virtual-service-reviews-50-v3", &[]),
    ("virtual-service-reviews-80-20", &[]),
    ("virtual-service-reviews-90-10", &[]),
    ("virtual-service-reviews-jason-v2-v3", &[]),
    ("virtual-service-reviews-test-v2", &[]),
    ("virtual-service-reviews-v2-v3", &[]),
    ("virtual-service-reviews-v3", &[]),
];

/// The proxy of the tests, and endpoints for everything that Bookinfo's Services select.
fn rest_of_the_world() -> (TempDir, Vec<String>) {
    let dir = TempDir::new().expect("a temporary folder");
    let proxy = "apiVersion: ringway.dev/v1\nkind: Proxy\nmetadata: {name: p, labels: {istio: ingressgateway}}\nspec: {mesh: \
                 {listen: '127.0.0.1:15001'}, meshConfig: {accessLogFile: /dev/stdout}}\n";
    let places = world::DEPLOYED.iter().chain(&world::MORE).map(|(name, version)| world::workload(name, version, 8000));
    let path = dir.path().join("rest.yaml");
    std::fs::write(&path, proxy.to_owned() + &places.collect::<String>()).expect("write the YAML");
    (dir, vec![path.to_str().expect("a path in UTF-8").to_owned(), kube().to_str().expect("UTF-8").to_owned()])
}

/// Runs `ringway check` on these arguments: its exit code, and what it says, but for the kinds of Kubernetes that it passes
/// over.
fn check(arguments: &[String]) -> (Option<i32>, Vec<String>) {
    let output = Command::new(env!("CARGO_BIN_EXE_ringway")).arg("check").args(arguments).output().expect("ringway");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    let (passed_over, said): (Vec<&str>, Vec<&str>) =
        said.lines().partition(|line| line.ends_with(" has no meaning for a proxy and is passed over"));
    // One line for each Deployment and ServiceAccount of kube/bookinfo.yaml.
    assert_eq!(passed_over.len(), 10, "{passed_over:#?}");
    (output.status.code(), said.into_iter().map(str::to_owned).collect())
}

/// What every other file is applied beside. A DestinationRule is there once.
fn beside(file: &str) -> Vec<&'static str> {
    ["bookinfo-gateway", "destination-rule-all"].into_iter().filter(|other| !excludes(file, other)).collect()
}

/// Whether the two have a document in common, so that `kubectl apply` would put the later one in place of the other.
fn excludes(file: &str, other: &str) -> bool {
    let again = ["destination-rule-all-mtls", "destination-rule-reviews", "fault-injection-details-v1"];
    file == other || other == "destination-rule-all" && again.contains(&file)
}

fn path(name: &str) -> String {
    networking(name).to_str().expect("a path in UTF-8").to_owned()
}

#[test]
fn each_file_as_it_is() {
    let (_dir, rest) = rest_of_the_world();
    for (file, expected) in SAID {
        let mut arguments = rest.clone();
        arguments.extend(beside(file).into_iter().map(path));
        arguments.push(path(file));
        let (code, said) = check(&arguments);
        assert_eq!(code, Some(0), "{file}: {said:#?}");
        assert_eq!(said.len(), expected.len(), "{file}: {said:#?}");
        for (line, expected) in said.iter().zip(*expected) {
            assert!(line.starts_with(&expected.replace('$', &path(file))), "{file}: {line}");
        }
    }
    let mut checked: BTreeSet<String> = SAID.iter().map(|(file, _)| (*file).to_owned()).collect();
    checked.insert("destination-rule-all-mtls".to_owned());
    assert_eq!(checked, all());
}

/// `destination-rule-all-mtls` wants the mutual TLS of a mesh, with certificates that a control plane hands out.
#[test]
fn mutual_tls_of_a_mesh_is_refused_by_name() {
    let (_dir, mut arguments) = rest_of_the_world();
    arguments.extend(["bookinfo-gateway", "destination-rule-all-mtls"].map(path));
    let (code, said) = check(&arguments);
    let refused = [(9, "productpage"), (23, "reviews"), (43, "ratings"), (66, "details")].map(|(line, name)| {
        format!(
            "{}:{line}: DestinationRule/default/{name}: spec.trafficPolicy.tls.mode: error: mode ISTIO_MUTUAL is not enforced by \
             ringway yet",
            path("destination-rule-all-mtls")
        )
    });
    assert_eq!((code, said.len()), (Some(2), refused.len()), "{said:#?}");
    for (line, refused) in said.iter().zip(&refused) {
        assert!(line.starts_with(refused.as_str()), "{line}");
    }
    arguments.push("--permissive".to_owned());
    let (code, said) = check(&arguments);
    let lines_with = |what: &str| said.iter().filter(|line| line.contains(what)).count();
    let withheld = lines_with(": warning: requests to its host get 503, since not all of it is enforced");
    let counts = (lines_with(": warning: mode ISTIO_MUTUAL "), withheld, said.len());
    assert_eq!((code, counts), (Some(0), (refused.len(), refused.len(), 2 * refused.len())), "{said:#?}");
}

/// `kubectl apply` of a second document with a name puts it in place of the first. Files that are read together have no order:
/// both are named, and nothing is left to chance.
#[test]
fn one_document_of_a_name() {
    let (_dir, mut arguments) = rest_of_the_world();
    let files = ["bookinfo-gateway", "destination-rule-all", "virtual-service-all-v1", "virtual-service-reviews-v3"];
    arguments.extend(files.map(path));
    let (code, said) = check(&arguments);
    let expected = format!(
        "{}:1: VirtualService/default/reviews: error: a second VirtualService of this name: the first is at {}:14 ",
        path("virtual-service-reviews-v3"),
        path("virtual-service-all-v1")
    );
    assert_eq!(code, Some(2));
    assert!(said.len() == 1 && said[0].starts_with(&expected), "{said:#?}");
}
