//! What is said of a large configuration: what was asked about, and the rest counted; by `check` all of it; by the running
//! proxy at its start, and of a reload what is new.

use std::fmt::Write as _;
use std::process::{Command, Output};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::ringway::{Driver, Setup};
use crate::support::wait::eventually;

/// Services, each with a rule of its own, a DestinationRule, an endpoint, and a rule on a host that all share.
const SERVICES: usize = 300;

/// 1,200 documents, and the shared host.
fn world() -> String {
    let mut yaml =
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec: {servers: [{port: {number: 80, \
                    name: http, protocol: HTTP}, hosts: ['*']}]}\n"
            .to_owned();
    for n in 0..SERVICES {
        let _ = write!(
            yaml,
            "---
apiVersion: v1
kind: Service
metadata: {{name: s{n}}}
spec: {{ports: [{{name: http, port: 80}}], selector: {{app: s{n}}}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: s{n}-1}}
spec: {{address: 10.1.{}.{}, labels: {{app: s{n}}}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: s{n}}}
spec: {{host: s{n}, trafficPolicy: {{outlierDetection: {{maxEjectionPercent: 10}}}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: s{n}}}
spec:
  hosts: [shared.com]
  gateways: [g]
  http:
  - match: [{{uri: {{prefix: /s{n}/}}}}]
    retries: {{attempts: 2, retryOn: 5xx}}
    corsPolicy: {{allowOrigins: [{{exact: 'https://s{n}.com'}}]}}
    route: [{{destination: {{host: s{n}}}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: own{n}}}
spec:
  hosts: [s{n}.com]
  gateways: [g]
  http: [{{retries: {{attempts: 2, retryOn: 5xx}}, route: [{{destination: {{host: s{n}}}}}]}}]
",
            n / 250,
            n % 250 + 1
        );
    }
    yaml
}

fn folder(yaml: &str) -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    std::fs::write(folder.path().join("world.yaml"), yaml).expect("write");
    std::fs::write(
        folder.path().join("proxy.yaml"),
        "apiVersion: ringway.dev/v1\nkind: Proxy\nmetadata: {name: p}\nspec: {ports: {80: 8080}}\n",
    )
    .expect("write");
    folder
}

fn ringway(arguments: &[&str], folder: &TempDir) -> (Vec<String>, Vec<String>, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    command.args(arguments).current_dir(folder.path()).env_remove("RUST_LOG");
    let Output { status, stdout, stderr } = command.output().expect("it runs");
    let lines = |bytes| String::from_utf8(bytes).expect("UTF-8").lines().map(str::to_owned).collect();
    (lines(stderr), lines(stdout), status.code())
}

#[test]
fn explain_says_what_concerns_the_host_and_counts_the_rest() {
    let folder = folder(&world());
    let (said, answer, code) = ringway(&["explain", "-c", ".", "GET", "http://s7.com:8080/"], &folder);
    assert_eq!(code, Some(0), "{said:?}");
    assert!(said.len() < 12, "{said:#?}");
    let rest = said.last().expect("a count");
    assert!(rest.contains(" more: ringway check (") && rest.contains("299 warnings"), "{rest}");
    for line in &said[..said.len() - 1] {
        assert!(["/own7: ", "/s7: ", "Proxy/default/p: "].iter().any(|own| line.contains(own)), "{line}");
    }
    assert!(
        said.iter().any(|line| line.contains("DestinationRule/default/s7") && line.contains(" warning: ")),
        "{said:#?}"
    );
    assert!(
        said.iter().any(|line| line.contains("VirtualService/default/own7") && line.contains("any method is repeated"))
    );
    assert!(
        answer.iter().any(|line| line.contains("100% to outbound|80||s7.default.svc.cluster.local")),
        "{answer:#?}"
    );

    // Every problem is counted or said, once.
    let (all, ..) = ringway(&["check", "--output", "json", "."], &folder);
    let number = rest.split(' ').find_map(|word| word.replace(',', "").parse::<usize>().ok()).expect("a number");
    assert_eq!(number + said.len() - 1, all.len());

    let (json, ..) = ringway(&["explain", "--output", "json", "-c", ".", "GET", "http://s7.com:8080/"], &folder);
    let last: serde_json::Value = serde_json::from_str(json.last().expect("a line")).expect("JSON");
    assert!(last["what"].as_str().is_some_and(|what| what.ends_with(" more: ringway check")), "{last}");
}

#[test]
fn a_question_without_an_answer_is_told_with_a_count_alone() {
    let folder = folder(&world());
    let (said, answer, code) = ringway(&["explain", "-c", ".", "GET", "http://s7.com:9999/"], &folder);
    assert_eq!((code, answer.len(), said.len()), (Some(2), 0, 2), "{said:#?}");
    assert!(said[0].contains(" more: ringway check (") && said[1].contains("no listener has port 9999"), "{said:#?}");
}

#[test]
fn of_rules_passed_over_some_and_the_nearest_are_shown() {
    let folder = folder(&world());
    let (said, answer, code) = ringway(&["explain", "-c", ".", "GET", "http://shared.com:8080/s299/x"], &folder);
    assert_eq!(code, Some(0));
    // What the rules that are passed over do to others is of no interest.
    let of_answer =
        |line: &String| ["/s299: ", "Proxy/default/p: ", " more: ringway check ("].iter().any(|own| line.contains(own));
    assert!(said.iter().all(of_answer) && said.len() < 10, "{said:#?}");
    assert!(said.iter().any(|line| line.contains("any method is repeated, POST too")), "{said:#?}");
    let passed = answer.iter().position(|line| line == "passed over").expect("the list");
    assert_eq!(answer[passed..].len(), 1 + 2 * 21 + 1, "{:#?}", &answer[passed..]);
    assert_eq!(answer.last().map(String::as_str), Some("  278 more, of which none is nearer than the last"));
    let (_, json, _) =
        ringway(&["explain", "--output", "json", "-c", ".", "GET", "http://shared.com:8080/s299/x"], &folder);
    let answer: serde_json::Value = serde_json::from_str(&json[0]).expect("one JSON object");
    assert_eq!(answer["passed_over"].as_array().map(Vec::len), Some(299), "a program gets them all");
    let (_, answer, code) = ringway(&["explain", "-c", ".", "GET", "http://shared.com:8080/none"], &folder);
    assert_eq!(code, Some(1));
    assert!(answer.iter().any(|line| line == "nearest") && answer.len() < 80, "{}", answer.len());
}

#[test]
fn check_loses_nothing() {
    let yaml =
        world().replace("host: s5}}", "host: s5, subset: gone}}").replace("host: s6}}", "host: s6, subset: gone}}");
    let folder = folder(&yaml);
    let (said, counted, code) = ringway(&["check", "."], &folder);
    assert_eq!(code, Some(2));
    let (json, ..) = ringway(&["check", "--output", "json", "."], &folder);
    let problems: Vec<serde_json::Value> =
        json.iter().map(|line| serde_json::from_str(line).expect("a JSON object")).collect();
    let count = |severity: &str| problems.iter().filter(|problem| problem["severity"] == severity).count();
    assert!(
        counted[0].contains(&format!(
            "{} errors, {} warnings, {} notes",
            count("error"),
            count("warning"),
            count("note")
        )),
        "{counted:?}"
    );
    assert!(count("error") >= 4 && count("warning") >= SERVICES && count("note") >= 3 * SERVICES);
    for problem in &problems {
        let place = format!("{}:{}", problem["file"].as_str().unwrap_or_default(), problem["line"]);
        let what = problem["what"].as_str().unwrap_or_default();
        let own = |line: &&String| line.starts_with(&format!("{place}: ")) && line.contains(what);
        let gathered =
            |line: &&String| line.starts_with("note: ") && line.split(", ").any(|part| part.ends_with(&place));
        let found =
            said.iter().find(own).or_else(|| said.iter().find(gathered).filter(|_| problem["severity"] == "note"));
        assert!(found.is_some(), "{problem}");
    }
    assert!(said.len() < count("error") + count("warning") + 20, "{}", said.len());
}

#[test]
fn the_log_gathers_at_the_start_and_names_what_a_reload_changes() {
    let folder = folder(&world());
    std::fs::remove_file(folder.path().join("proxy.yaml")).expect("remove");
    let ringway = Setup::new(Driver::Epoll).path(folder.path()).start();
    let said = || ringway.process.said();
    assert!(said().lines().count() < 40, "{}", said());
    assert!(said().contains(" more of: any method is repeated"), "{}", said());
    let reload = |change: &dyn Fn(String) -> String| {
        let before = said();
        let reloads = ringway.stat("ringway.config_reload_success");
        let file = folder.path().join("world.yaml");
        let yaml = change(std::fs::read_to_string(&file).expect("read"));
        std::fs::write(folder.path().join("next"), yaml).expect("write");
        std::fs::rename(folder.path().join("next"), &file).expect("rename");
        ringway.process.signal(Signal::HUP);
        eventually("the reload", || (ringway.stat("ringway.config_reload_success") > reloads).then_some(()));
        // It is counted a moment before it is said.
        eventually("its line", || said()[before.len()..].contains("reloaded in ").then_some(()));
        said()[before.len()..].to_owned()
    };
    let again = reload(&|yaml| yaml);
    assert!(again.contains(" clusters: nothing changed"), "{again}");
    assert!(!again.contains("any method") && !again.contains("is less than one"), "said already: {again}");

    let moved = reload(&|yaml| format!("# a line more\n{yaml}"));
    assert!(moved.contains(": nothing changed") && !moved.contains("any method"), "{moved}");

    let changed = reload(&|yaml| {
        let endpoint = "address: 10.1.0.8,";
        assert!(yaml.contains(endpoint));
        let rule = "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: new}\nspec:\n  hosts: \
                    [new.com]\n  gateways: [g]\n  http: [{retries: {attempts: 2, retryOn: 5xx}, route: [{destination: {host: s1}}]}]\n";
        yaml.replace(endpoint, "address: 10.9.9.9,") + rule
    });
    let line = changed.lines().find(|line| line.contains("reloaded in ")).expect("a line");
    assert!(
        line.contains(
            "1 host added (new.com:80); 1 endpoint added (10.9.9.9:80 of outbound|80||s7.default.svc.cluster.local); 1 \
             endpoint removed (10.1.0.8:80 of outbound|80||s7.default.svc.cluster.local)"
        ),
        "{line}"
    );
    assert_eq!(changed.matches("any method is repeated").count(), 1, "what is new: {changed}");
    assert!(changed.contains("VirtualService/default/new: "), "{changed}");
    ringway.stop();
}

#[test]
fn live_answers_say_when_another_configuration_is_served() {
    let yaml = world();
    let folder = folder(&yaml);
    std::fs::remove_file(folder.path().join("proxy.yaml")).expect("remove");
    let ringway = Setup::new(Driver::Epoll).path(folder.path()).start();
    let config = ringway.config();
    let other = TempDir::new().expect("a temporary folder");
    let ask = |more: &[&str]| {
        let config = config.to_str().expect("UTF-8");
        // Elsewhere, by another name of the file, with a comment more.
        let path = other.path().join("elsewhere.yml");
        let arguments = [&["explain", "--live", "-c", path.to_str().expect("UTF-8"), "-c", config], more].concat();
        let (said, answer, _) =
            self::ringway(&[arguments, vec!["--gateway", "g", "GET", "http://s7.com/"]].concat(), &folder);
        let note = answer.iter().find(|line| line.starts_with("note ")).cloned();
        assert!(answer.iter().any(|line| line.ends_with("10.1.0.8:80 is healthy")), "{said:#?}{answer:#?}");
        note
    };
    let write = |text: &str| std::fs::write(other.path().join("elsewhere.yml"), text).expect("write");
    write(&format!("# the same\n\n{yaml}"));
    assert_eq!(ask(&[]), None);
    // Where it listens makes no difference to what it serves.
    assert_eq!(ask(&["--ports", "80=81", "--cpus", "1", "--bind", "127.0.0.7"]), None);
    for changed in [
        yaml.replace("s8.com", "s8.org"),
        yaml.replace("maxEjectionPercent: 10", "maxEjectionPercent: 11"),
        yaml.replace("10.1.0.9,", "10.1.0.9, weight: 2,"),
        yaml.replace("attempts: 2", "attempts: 3"),
    ] {
        write(&changed);
        let note = ask(&[]).expect("a note");
        assert!(note.contains("--live: the running proxy serves another configuration"), "{note}");
    }
    write(&yaml);
    assert_eq!(ask(&[]), None);
    let note = ask(&["--mirror-host-suffix=-other"]).expect("a note");
    assert!(note.contains("other files or flags"), "{note}");
    ringway.stop();
}

/// Three hundred broken references of one VirtualService.
fn shared_world() -> String {
    let mut yaml = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec: {servers: [{port: {number: 80, \
                    name: http, protocol: HTTP}, hosts: ['*']}]}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: \
                    {selector: {app: a}, ports: [{name: http, port: 80}]}\n---\napiVersion: networking.istio.io/v1\nkind: \
                    WorkloadEntry\nmetadata: {name: w}\nspec: {address: 10.0.0.1, labels: {app: a}}\n---\napiVersion: \
                    networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a}\nspec: {host: a, subsets: []}\n---\n\
                    apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\nspec:\n  hosts: [shared.com]\n  \
                    gateways: [g]\n  http:\n"
        .to_owned();
    for n in 0..300 {
        let rule =
            format!("{{match: [{{uri: {{prefix: /s{n}/}}}}], route: [{{destination: {{host: a, subset: v{n}}}}}]}}");
        yaml += &format!("  - {rule}\n");
    }
    yaml
}

#[test]
fn of_a_shared_host_what_the_answer_goes_through_is_told() {
    let folder = folder(&shared_world());
    let (said, answer, code) = ringway(&["explain", "-c", ".", "GET", "http://shared.com:8080/s7/x"], &folder);
    assert_eq!(code, Some(1), "{answer:#?}");
    let subsets: Vec<_> = said.iter().filter(|line| line.contains(" a subset ")).collect();
    let [only] = subsets.as_slice() else { panic!("one, not {said:#?}") };
    assert!(only.contains("spec.http[7].route[0].destination.subset: warning: ") && only.contains("\"v7\""), "{only}");
    // What is a warning in a line is one in the count.
    let rest = said.last().expect("a count");
    assert!(rest.contains("299 warnings") && !rest.contains("error"), "{rest}");

    // Of a request that nothing takes no destination is of interest.
    let (said, _, code) = ringway(&["explain", "-c", ".", "GET", "http://shared.com:8080/other"], &folder);
    assert_eq!(code, Some(1));
    assert!(!said.iter().any(|line| line.contains(" a subset ")), "{said:#?}");
    assert!(said.last().is_some_and(|rest| rest.contains("300 warnings")), "{said:#?}");
}

#[test]
fn what_a_rule_asks_is_told_of_those_passed_over() {
    let yaml = shared_world().replace("{prefix: /s3/}", "{prefix: s3/}");
    let folder = folder(&yaml);
    let (said, ..) = ringway(&["explain", "-c", ".", "GET", "http://shared.com:8080/s4/x"], &folder);
    assert!(said.iter().any(|line| line.contains("spec.http[3].match[0].uri.prefix: warning: ")), "{said:#?}");
    assert!(!said.iter().any(|line| line.contains("spec.http[5]")), "{said:#?}");
}
