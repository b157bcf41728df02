//! `ringway check` from the outside: where its words go and which exit code it ends with. What the words are for each
//! kind of mistake is in `bad_yaml`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Outcome, ringway};

#[track_caller]
fn expect_error(outcome: &Outcome, stderr: &str) {
    assert_eq!(outcome.stderr, stderr);
    assert_eq!(outcome.code, Some(2));
}

/// Good YAML whose access log is set, so that nothing is said about it.
const PROXY: &str = "apiVersion: ringway.dev/v1\nkind: Proxy\nmetadata: {name: edge}\n\
                     spec: {meshConfig: {accessLogFile: /dev/stdout}}\n---\n";

const GATEWAY: &str = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g}\n\
                       spec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}\n";

/// Istio's own documents of its tasks have traps in them: their READMEs say why.
#[test]
fn the_examples_have_no_errors() {
    let good = ["quickstart", "ingress", "mirror-compare", "tls-origination"];
    let trapped = [
        "timeouts-retries/timeout",
        "timeouts-retries/retries",
        "circuit-breaking",
        "fault-injection",
        "mirroring",
        "egress/one-process",
        "egress/passthrough",
    ];
    let mut said = String::new();
    for folder in good.iter().chain(&trapped) {
        let outcome = ringway(&["check", &format!("config/{folder}")], b"");
        if good.contains(folder) {
            assert_eq!((outcome.stderr.as_str(), outcome.stdout.as_str()), ("", "0 errors, 0 warnings\n"), "{folder}");
        }
        said += &format!("$ check config/{folder}\n{}{}\n", outcome.stderr, outcome.stdout);
        assert_eq!(outcome.code, Some(0), "{said}");
    }
    insta::with_settings!({omit_expression => true}, { insta::assert_snapshot!("examples", said) });
    let folders = fs::read_dir("config").expect("the folder of examples").map(|entry| entry.expect("an entry").path());
    let there: BTreeSet<_> = folders.filter(|path| path.is_dir()).collect();
    let first = |folder: &&str| Path::new("config").join(folder.split('/').next().unwrap_or_default());
    let checked: BTreeSet<_> = good.iter().chain(&trapped).map(first).collect();
    assert_eq!(checked, there, "each example is in one of the lists");
}

#[test]
fn standard_input_is_a_path_like_any_other() {
    let outcome = ringway(&["check", "-"], format!("{PROXY}{GATEWAY}").as_bytes());
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
}

#[test]
fn warnings_alone_end_with_zero() {
    let yaml = format!("{PROXY}{GATEWAY}---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: d}}\n");
    let outcome = ringway(&["check", "-"], yaml.as_bytes());
    assert_eq!(
        outcome.stderr,
        "<stdin>:11: Deployment/default/d: warning: Deployment has no meaning for a proxy and is passed over\n"
    );
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), "0 errors, 1 warning\n"));
}

#[test]
fn notes_are_counted_apart() {
    let mesh = PROXY.replace("spec: {", "spec: {mesh: {listen: '127.0.0.1:15001'}, ");
    let service = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\nspec: {hosts: [far.com], http: [{redirect: {uri: /}}]}\n";
    let outcome = ringway(&["check", "-"], format!("{mesh}{GATEWAY}---\n{service}").as_bytes());
    assert!(outcome.stderr.contains(": note: no service is registered as \"far.com\""), "{}", outcome.stderr);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), "0 errors, 0 warnings, 1 note\n"));
    let json = ringway(&["check", "--output", "json", "-"], format!("{mesh}{GATEWAY}---\n{service}").as_bytes());
    assert!(json.stderr.contains("\"severity\":\"note\""), "{}", json.stderr);
}

#[test]
fn a_missing_access_log_is_a_note() {
    let outcome = ringway(&["check", "-"], format!("{}{GATEWAY}", PROXY.replace("/dev/stdout", "''")).as_bytes());
    let note = "<stdin>:4: Proxy/default/edge: spec.meshConfig.accessLogFile: note: no access log is written, as in Istio by \
                default (set it to /dev/stdout or a file)\n";
    assert_eq!((outcome.stderr.as_str(), outcome.stdout.as_str()), (note, "0 errors, 0 warnings, 1 note\n"));
    assert_eq!(outcome.code, Some(0));
}

#[test]
fn errors_end_with_two_for_check_and_run_alike() {
    let yaml = format!("{PROXY}{}", GATEWAY.replace("servers", "severs"));
    for command in [&["check", "-"][..], &["run", "-c", "-"]] {
        expect_error(
            &ringway(command, yaml.as_bytes()),
            "<stdin>:9: Gateway/default/g: spec.severs: error: unknown field \"severs\" in Gateway (did you mean \"servers\"?)\n",
        );
    }
}

/// Istio serves it, and its requests get 503: an error to `check`, as to `istioctl analyze`, and a warning to the others.
#[test]
fn what_leads_nowhere_is_an_error_to_check_alone() {
    let yaml = format!(
        "{PROXY}{GATEWAY}---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v}}\n\
         spec: {{hosts: [a.com], gateways: [g], http: [{{route: [{{destination: {{host: web.com, subset: v9}}}}]}}]}}\n---\n\
         apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: web}}\nspec: {{hosts: [web.com], \
         resolution: STATIC, endpoints: [{{address: 10.0.0.1}}], ports: [{{name: http, number: 80, protocol: HTTP}}]}}\n"
    );
    let place = "<stdin>:14: VirtualService/default/v: spec.http[0].route[0].destination.subset: ";
    let what = "no DestinationRule gives web.com a subset \"v9\": requests get 503 NC [IST0101] (define it in a \
                DestinationRule for this host)\n";
    let checked = ringway(&["check", "--permissive", "-"], yaml.as_bytes());
    expect_error(&checked, &format!("{place}error: {what}"));
    assert_eq!(checked.stdout, "1 error, 0 warnings\n");
    let json = ringway(&["check", "--output", "json", "-"], yaml.as_bytes());
    assert!(json.stderr.contains("\"severity\":\"error\""), "{}", json.stderr);

    let explained = ringway(&["explain", "-c", "-", "GET", "http://a.com/"], yaml.as_bytes());
    assert_eq!(explained.stderr, format!("{place}warning: {what}"));
    assert!(explained.stdout.contains("503"), "{}", explained.stdout);
    assert_eq!(explained.code, Some(1));
    let json = ringway(&["explain", "--output", "json", "-c", "-", "GET", "http://a.com/"], yaml.as_bytes());
    assert!(json.stderr.contains("\"severity\":\"warning\""), "{}", json.stderr);
}

/// The tutorial's documents name services that a cluster knows, and each is fine by itself.
#[test]
fn a_service_that_is_declared_elsewhere_is_no_error() {
    let documents = [
        "ingress/1-ingress.yaml",
        "egress/one-process/2-egress.yaml",
        "egress/passthrough/3-egress-tls.yaml",
        "timeouts-retries/timeout/3-timeout.yaml",
        "timeouts-retries/retries/3-retries.yaml",
        "circuit-breaking/4-circuit-breaker.yaml",
        "fault-injection/5-fault-delay.yaml",
        "mirroring/6-mirroring.yaml",
    ];
    for document in documents {
        let outcome = ringway(&["check", &format!("config/{document}")], b"");
        assert_eq!(outcome.code, Some(0), "{document}: {}", outcome.stderr);
    }
}

/// What is missing may be written where nothing could be read.
#[test]
fn what_cannot_be_read_is_all_that_is_said() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let empty = folder.path().to_str().expect("UTF-8");
    for command in [&["check"][..], &["run", "-c"]] {
        expect_error(
            &ringway(&[command, &["nowhere.yaml"]].concat(), b""),
            "nowhere.yaml: error: no such file or folder\n",
        );
        expect_error(
            &ringway(&[command, &[empty]].concat(), b""),
            &format!("{empty}: error: no YAML files in this folder (their names must end in .yaml, .yml or .json)\n"),
        );
        expect_error(
            &ringway(&[command, &["-"]].concat(), b"kind: [\n"),
            "<stdin>:1: error: not valid YAML: while parsing a node, did not find expected node content, at column 1\n",
        );
    }
    let outcome = ringway(&["check", "-"], GATEWAY.as_bytes());
    assert!(outcome.stderr.starts_with("(defaults): Proxy/default/ringway: "), "{}", outcome.stderr);
}

#[test]
fn json_is_one_object_a_line() {
    let yaml = format!("{PROXY}{GATEWAY}---\n[\n");
    let outcome = ringway(&["check", "--output", "json", "-"], yaml.as_bytes());
    let lines: Vec<serde_json::Value> =
        outcome.stderr.lines().map(|line| serde_json::from_str(line).expect("a JSON object")).collect();
    let [problem] = lines.as_slice() else { panic!("one problem, not {lines:?}") };
    assert_eq!(problem["file"], "<stdin>");
    assert_eq!(problem["line"], 11);
    assert_eq!(problem["severity"], "error");
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""));
}

#[test]
fn permissive_serves_without_what_is_not_enforced() {
    let entry = "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: w}\nspec: {address: 10.0.0.1, \
                 network: vm}\n";
    let yaml = format!("{PROXY}{GATEWAY}{entry}");
    assert_eq!(ringway(&["check", "-"], yaml.as_bytes()).code, Some(2));
    let outcome = ringway(&["check", "--permissive", "-"], yaml.as_bytes());
    assert_eq!(
        outcome.stderr,
        "<stdin>:11: WorkloadEntry/default/w: warning: it is left out, since not all of it is enforced\n\
         <stdin>:14: WorkloadEntry/default/w: spec.network: warning: \"network\" is not enforced by ringway yet (it is left out)\n"
    );
    assert_eq!(outcome.code, Some(0));
}

#[test]
fn what_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let shown = |name: &str| folder.path().join(name).display().to_string();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).expect("a file");
    fs::create_dir(folder.path().join("empty")).expect("a folder");
    write("latin-1.yaml", b"# caf\xe9\n");
    write("good.yaml", format!("{PROXY}{GATEWAY}").as_bytes());
    // Root may read everything, but nobody the first byte of a process.
    let cases = [
        (shown("nowhere.yaml"), "no such file or folder"),
        (shown("empty"), "no YAML files in this folder (their names must end in .yaml, .yml or .json)"),
        ("/proc/self/mem".to_owned(), "not readable: Input/output error (os error 5)"),
    ];
    for (path, what) in cases {
        expect_error(&ringway(&["check", &path, &shown("good.yaml")], b""), &format!("{path}: error: {what}\n"));
    }
    let (good, latin) = (shown("good.yaml"), shown("latin-1.yaml"));
    let what = format!("{latin}:1: error: not UTF-8: byte 0xE9 at column 6 (save the file as UTF-8)\n");
    expect_error(&ringway(&["check", &latin, &good], b""), &what);
}

#[test]
fn an_unreadable_file_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("secret.yaml");
    fs::write(&path, format!("{PROXY}{GATEWAY}")).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).expect("permissions");
    let outcome = ringway(&["check", &path.display().to_string()], b"");
    // Root reads it all the same.
    if fs::read(&path).is_ok() {
        assert_eq!(outcome.code, Some(0));
    } else {
        assert_eq!(outcome.code, Some(2));
        assert!(outcome.stderr.contains(&format!("{}: error: not readable: permission denied\n", path.display())));
    }
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut yaml = "a0: &a0 lol\n".to_owned();
    for level in 1..10 {
        yaml.push_str(&format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 10].join(", ")));
    }
    let outcome = ringway(&["check", "-"], format!("{yaml}---\n{PROXY}{GATEWAY}").as_bytes());
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.stderr.contains(": aliases expand to more than 10 times the document\n"), "{}", outcome.stderr);
    assert_eq!(outcome.stderr.lines().count(), 1);
}

/// As kubectl reads them: `kubectl get -o json | jq -c '.items[]'`.
#[test]
fn json_objects_may_stand_one_after_another() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("all.json");
    let gateway = |name: &str, hosts: &str| {
        format!(
            "{{\"apiVersion\":\"networking.istio.io/v1\",\"kind\":\"Gateway\",\"metadata\":{{\"name\":\"{name}\"}},\"spec\":\
             {{\"servers\":[{{\"port\":{{\"number\":80,\"name\":\"http\",\"protocol\":\"HTTP\"}},\"{hosts}\":[\"{name}.com\"]}}]}}}}\n"
        )
    };
    let proxy = "{\"apiVersion\":\"ringway.dev/v1\",\"kind\":\"Proxy\",\"metadata\":{\"name\":\"edge\"},\n\"spec\":{\"meshConfig\":\
                 {\"accessLogFile\":\"/dev/stdout\"}}}\n";
    let good = format!("{}{proxy}{}", gateway("a", "hosts"), gateway("b", "hosts"));
    fs::write(&path, &good).expect("a file");
    for (arguments, stdin) in [(["check", &path.to_string_lossy()], ""), (["check", "-"], good.as_str())] {
        let outcome = ringway(&arguments, stdin.as_bytes());
        assert_eq!(
            (outcome.code, outcome.stderr.as_str(), outcome.stdout.as_str()),
            (Some(0), "", "0 errors, 0 warnings\n")
        );
    }
    let bad = format!("{good}{}", gateway("c", "host"));
    let place = "<stdin>:5: Gateway/default/c: spec.servers[0].host: error: ";
    expect_error(
        &ringway(&["check", "-"], bad.as_bytes()),
        &format!("{place}unknown field \"host\" in Server (did you mean \"hosts\"?)\n"),
    );
    expect_error(
        &ringway(&["check", "-"], format!("[{}]\n", gateway("a", "hosts").trim()).as_bytes()),
        "<stdin>:1: error: is a bare list, which kubectl does not read either (write the objects one after another, or \
         \"kind: List\" with the list as its \"items\")\n",
    );
}

/// What a terminal gets that is standard error.
fn on_a_terminal(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    use std::io::Read;
    let master =
        rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY).expect("a terminal");
    rustix::pty::grantpt(&master).expect("a terminal of ours");
    rustix::pty::unlockpt(&master).expect("a terminal that is open");
    let name = rustix::pty::ptsname(&master, Vec::new()).expect("its name").into_string().expect("UTF-8");
    let terminal = fs::File::options().read(true).write(true).open(name).expect("its other side");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    // A variable CI makes even a dumb terminal one with colours: the output of a build is read in a browser.
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI", "RUST_LOG"] {
        command.env_remove(name);
    }
    command.args(arguments).env("TERM", "xterm").envs(variables.iter().copied());
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(terminal.try_clone().expect("a second descriptor"))
        .spawn()
        .expect("the binary starts");
    drop((command, terminal));
    child.wait().expect("the binary ends");
    // With all of its other sides closed a terminal gives what it holds, and then an error.
    let mut said = Vec::new();
    let _ = fs::File::from(master).read_to_end(&mut said);
    String::from_utf8(said).expect("UTF-8")
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    let plain = "nowhere.yaml: error: no such file or folder\n";
    expect_error(&ringway(&["check", "nowhere.yaml"], b""), plain);
    let coloured = on_a_terminal(&["check", "nowhere.yaml"], &[]);
    assert!(coloured.contains("\u{1b}[31m") && coloured.contains("error"), "{coloured:?}");
    let without = plain.replace('\n', "\r\n");
    assert_eq!(on_a_terminal(&["check", "nowhere.yaml"], &[("NO_COLOR", "1")]), without);
    assert_eq!(on_a_terminal(&["check", "nowhere.yaml"], &[("TERM", "dumb")]), without);
    // `run` tells its problems in the same way.
    assert_eq!(on_a_terminal(&["run", "-c", "nowhere.yaml"], &[("NO_COLOR", "1")]), without);
}

#[test]
fn bad_usage_ends_with_two() {
    for arguments in [&[][..], &["check"], &["run"], &["check", "--output", "xml", "-"], &["serve"]] {
        let outcome = ringway(arguments, b"");
        assert_eq!(outcome.code, Some(2), "{arguments:?}");
        assert!(outcome.stderr.contains("--help"), "{arguments:?}: {}", outcome.stderr);
    }
}

/// The documents of Istio's ingress task as published: they are served without a change.
#[test]
fn the_ingress_example_is_the_published_one() {
    let ours = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/ingress/1-ingress.yaml"));
    assert_eq!(ours.expect("the file is there"), INGRESS);
}

const INGRESS: &str = r#"apiVersion: networking.istio.io/v1alpha3
kind: Gateway
metadata:
  name: httpbin-gateway
spec:
  selector:
    istio: ingressgateway # use Istio default gateway implementation
  servers:
  - port:
      number: 80
      name: http
      protocol: HTTP
    hosts:
    - "httpbin.example.com"
---
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata:
  name: httpbin
spec:
  hosts:
  - "httpbin.example.com"
  gateways:
  - httpbin-gateway
  http:
  - match:
    - uri:
        prefix: /status
    - uri:
        prefix: /delay
    route:
    - destination:
        port:
          number: 8000
        host: httpbin
"#;
