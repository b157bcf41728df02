//! Every class of bad configuration, with the exact lines that `check` prints for it.
//!
//! A case is YAML and the expected lines, without the file's name in front. The warning about a missing access log is
//! left out, since nearly every case would have it.

use std::path::PathBuf;

use crate::support::yaml::istio;
use proptest::prelude::*;
use ringway::control::ConfigSource;
use ringway::istio::problem::{Problem, Severity};
use ringway::istio::{KINDS, KindTables, Options, read_text};
use ringway::plan::{Overrides, ProxySettings, compile};

mod actions;
mod conditions;
mod full;
mod grammar;
mod permissive;
mod policies;
mod resilience;
mod routing;
mod sentences;
mod services;
mod sockets;
mod text;
mod together;
mod traps;
mod unreached;
mod vain_actions;

fn source(path: PathBuf, permissive: bool) -> ConfigSource {
    let options = Options { permissive };
    ConfigSource { paths: vec![path], options, overrides: Overrides::default(), tell: |_| {} }
}

fn problems(yaml: &[u8], permissive: bool) -> Vec<Problem> {
    let (_, mut problems, _) = source("-".into(), permissive).read(&mut &*yaml);
    problems.retain(|problem| problem.path != "spec.meshConfig.accessLogFile");
    problems
}

/// The lines without the file, and without the word `error`: a line of a case that has no other word is an error's.
fn lines(problems: &[Problem]) -> Vec<String> {
    let shortened = |problem: &Problem| {
        let line = problem.to_string();
        let line = line.strip_prefix("<stdin>:").unwrap_or(&line);
        match problem.severity {
            Severity::Error | Severity::Broken => line.replacen(" error: ", " ", 1),
            Severity::Warning | Severity::Note => line.to_owned(),
        }
    };
    problems.iter().map(shortened).collect()
}

/// Runs all cases before failing, so that one run shows every difference.
#[track_caller]
fn check(cases: &[(String, &[&str])]) {
    let mut differences = String::new();
    for (yaml, expected) in cases {
        let found = lines(&problems(yaml.as_bytes(), false));
        if found != *expected {
            let (expected, found) = (expected.join("\n  "), found.join("\n  "));
            differences.push_str(&format!("\n{yaml}\nexpected:\n  {expected}\nfound:\n  {found}\n"));
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

/// What references of the cases can lead to: Gateway `g` on port 80 for `*.example.com`, and Service `web` with one
/// workload of version v1.
const REST: &str = r#"
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g}
spec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*.example.com"]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80, name: http}, {port: 81, name: http-more}, {port: 82, name: grpc}], selector: {app: web}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: w}
spec: {address: 127.0.0.1, labels: {app: web, version: v1}}
"#;

fn both(first: &str, second: &str) -> String {
    format!("{first}---\n{second}")
}

/// A Gateway whose first server, on line 6, is this.
fn gateway(server: &str) -> String {
    istio("Gateway", "g", &format!("\n  servers:\n  - {server}"))
}

fn virtual_service_spec(spec: &str) -> String {
    istio("VirtualService", "v", spec) + REST
}

/// A VirtualService whose first rule, on line 8, is this.
fn virtual_service(rule: &str) -> String {
    virtual_service_spec(&format!("\n  hosts: [a.example.com]\n  gateways: [g]\n  http:\n  - {rule}"))
}

/// A rule with a good destination.
fn rule(text: &str) -> String {
    virtual_service(&format!("{text}\n    route: [{{destination: {{host: web, port: {{number: 80}}}}}}]"))
}

/// A rule to this destination.
fn destination(to: &str) -> String {
    virtual_service(&format!("route: [{{destination: {to}}}]"))
}

fn destination_rule(spec: &str) -> String {
    destination_rule_alone(spec) + REST
}

fn destination_rule_alone(spec: &str) -> String {
    istio("DestinationRule", "d", spec)
}

fn service_entry(spec: &str) -> String {
    istio("ServiceEntry", "s", spec)
}

fn workload_entry(spec: &str) -> String {
    istio("WorkloadEntry", "w", spec)
}

fn proxy(spec: &str) -> String {
    format!("apiVersion: ringway.dev/v1\nkind: Proxy\nmetadata: {{name: edge}}\nspec: {spec}\n")
}

fn service(spec: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {spec}\n")
}

#[test]
fn permissive_turns_unknown_and_unenforced_into_warnings_and_nothing_else() {
    let yaml = rule("colour: blue\n    match: [{uri: {regex: \"(\"}}]")
        .replace("  gateways: [g]\n", "  gateways: [g]\n  tls: []\n  colours: 1\n");
    assert_eq!(
        lines(&problems(yaml.as_bytes(), true)),
        [
            "1: VirtualService/default/v: warning: requests and connections that its rules take are refused, since not all of \
             it is enforced",
            "8: VirtualService/default/v: spec.colours: warning: unknown field \"colours\" in VirtualService",
            "10: VirtualService/default/v: spec.http[0].colour: warning: unknown field \"colour\" in HTTPRoute",
            "10: VirtualService/default/v: spec.http[0]: warning: requests that this rule takes get 503, since not all of \
             it is enforced",
            "11: VirtualService/default/v: spec.http[0].match[0].uri.regex: \"(\" is not a valid regular expression: \
             at character 1: no \")\" closes the group that begins here (write \")\" behind it, or \"\\(\" for a \
             parenthesis)",
        ]
    );
    let yaml = "apiVersion: networking.istio.io/v1beta1\nkind: ProxyConfig\nmetadata: {name: s}\n";
    assert_eq!(
        lines(&problems(yaml.as_bytes(), true)),
        [
            "1: ProxyConfig/default/s: warning: kind ProxyConfig (networking.istio.io/v1beta1) is not enforced by ringway yet (it is left out)"
        ]
    );
}

#[test]
fn a_problem_is_also_a_json_line() {
    let problems = problems(rule("colour: \"b\\\"lue\"").as_bytes(), false);
    let [problem] = problems.as_slice() else { panic!("one problem, not {problems:?}") };
    assert_eq!(
        problem.to_json(),
        "{\"file\":\"<stdin>\",\"instead\":\"\",\"line\":8,\"path\":\"spec.http[0].colour\",\
         \"resource\":\"VirtualService/default/v\",\"severity\":\"error\",\
         \"what\":\"unknown field \\\"colour\\\" in HTTPRoute\"}"
    );
}

#[test]
fn problems_come_in_the_order_of_files_and_lines() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("a.yaml"), rule("colour: blue")).expect("a file");
    std::fs::write(at("b.yaml"), "[").expect("a file");
    std::fs::write(at("c.yaml"), proxy("{prots: {}, cpus: 0}")).expect("a file");
    let (_, problems, _) = source(folder.path().to_owned(), false).read(&mut std::io::empty());
    let places: Vec<_> = problems
        .iter()
        .map(|problem| (problem.file.replace(&*folder.path().to_string_lossy(), ""), problem.line))
        .collect();
    let expected = [("/a.yaml", 8), ("/b.yaml", 1), ("/c.yaml", 4), ("/c.yaml", 4), ("/c.yaml", 4)];
    assert_eq!(places, expected.map(|(file, line)| (file.to_owned(), line)));
}

#[test]
fn a_long_regex_is_refused() {
    let found = lines(&problems(rule(&format!("match: [{{uri: {{regex: {}}}}}]", "a".repeat(1025))).as_bytes(), false));
    assert_eq!(
        found,
        ["8: VirtualService/default/v: spec.http[0].match[0].uri.regex: a regex may have 1024 bytes, not 1025"]
    );
}

/// Ten megabytes with two mistakes in every rule. Anything quadratic on the way would take hours.
#[test]
fn ten_megabytes_of_mistakes_are_all_reported() {
    let mut yaml = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: big}\nspec:\n  \
                    hosts: [a.example.com]\n  gateways: [g]\n  http:\n"
        .to_owned();
    let mut rules = 0;
    while yaml.len() < 10_000_000 {
        yaml.push_str(&format!("  - urri: /{rules:0100}\n    route:\n    - destination: {{host: svc{rules}}}\n"));
        rules += 1;
    }
    let found = problems(yaml.as_bytes(), false);
    let last = &lines(&found)[found.len() - 2..];
    let line = 8 + 3 * (rules - 1);
    assert_eq!(
        last,
        [
            format!(
                "{line}: VirtualService/default/big: spec.http[{}].urri: unknown field \"urri\" in HTTPRoute",
                rules - 1
            ),
            format!(
                "{}: VirtualService/default/big: spec.http[{}].route[0].destination.host: warning: there is no service \
                 \"svc{}.default.svc.cluster.local\": requests get 503 NC [IST0101]",
                line + 2,
                rules - 1,
                rules - 1
            ),
        ]
    );
    assert_eq!(found.iter().filter(|problem| problem.is_error()).count(), rules);
}

#[test]
fn every_table_of_fields_is_sound() {
    let mut names = std::collections::BTreeSet::new();
    let tables = |kind: &'static KindTables| kind.messages().map(|message| (kind.kind, message));
    for (kind, message) in KINDS.iter().flat_map(tables) {
        assert!(names.insert((kind, message.name)), "two tables for {} of {kind}", message.name);
        let mut fields = std::collections::BTreeSet::new();
        for field in message.fields {
            assert!(fields.insert(field.name), "{}.{} twice", message.name, field.name);
            let camel = field.name.starts_with(|c: char| c.is_ascii_lowercase()) && !field.name.contains('_');
            assert!(camel, "{}.{} is not lowerCamelCase", message.name, field.name);
        }
    }
}

/// Scalars that documents are likely to hold in a wrong place.
fn scalar() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "",
        "null",
        "true",
        "80",
        "-1",
        "70000",
        "1.5",
        "1s",
        "\"\"",
        "'*'",
        "web",
        "a.example.com",
        "[]",
        "{}",
        "[a]",
        "{a: b}",
        "[{}]",
        "[null]",
        "\"\\0\"",
        "1e999",
        "/",
        "HTTP",
        "STATIC",
        "127.0.0.1",
        "::1",
        "\u{e9}",
        "&a x",
        "*a",
    ])
    .prop_map(str::to_owned)
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        problems(&bytes, false);
    }

    /// Good documents with one value replaced, cut off anywhere, or both.
    #[test]
    fn no_damaged_document_panics(at in any::<prop::sample::Index>(), value in scalar(), cut in any::<prop::sample::Index>(), permissive: bool) {
        let good = rule("match: [{uri: {prefix: /a}, headers: {x: {exact: y}}, port: 80}]\n    rewrite: {uriRegexRewrite: {match: (a), rewrite: b}}\n    headers: {request: {set: {x: '%REQ(a)%'}}}\n    corsPolicy: {allowOrigins: [{exact: a}], maxAge: 1h}\n    timeout: 3s\n    retries: {attempts: 1, retryOn: '5xx,503', perTryTimeout: 1s}\n    fault: {delay: {fixedDelay: 1s, percentage: {value: 1}}, abort: {grpcStatus: OK, percentage: {value: 1}}}\n    mirrors: [{destination: {host: web}, percentage: {value: 1}}]")
            + "---\n" + &destination_rule_alone("{host: web, trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {name: a, ttl: 0s}}, localityLbSetting: {distribute: [{from: a, to: {b: 100}}]}}, connectionPool: {tcp: {maxConnections: 1, tcpKeepalive: {time: 1s}}, http: {maxRetries: 1, idleTimeout: 1s}}, outlierDetection: {consecutiveErrors: 1, interval: 1s, maxEjectionPercent: 1, outlierDetectionHttpErrorCodes: [429]}, retryBudget: {percent: 1}}, subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {outlierDetection: {}}}]}")
            + "---\n" + &istio("Sidecar", "s", "{egress: [{hosts: ['*/*']}], outboundTrafficPolicy: {mode: ALLOW_ANY}}")
            + "---\n" + &service_entry("{hosts: [a.com], resolution: STATIC, ports: [{number: 80, name: h}], endpoints: [{address: 1.2.3.4}]}")
            + "---\n" + &proxy("{cpus: [0], ports: {80: 8080}, limits: {idleTimeout: 1h}, meshConfig: {connectTimeout: 1s}}");
        let colons: Vec<_> = good.match_indices(": ").map(|(at, _)| at + 2).collect();
        let start = colons[at.index(colons.len())];
        let end = good[start..].find([',', '}', ']', '\n']).map_or(good.len(), |end| start + end);
        let mut bad = format!("{}{value}{}", &good[..start], &good[end..]);
        problems(bad.as_bytes(), permissive);
        let mut cut = cut.index(bad.len());
        while !bad.is_char_boundary(cut) {
            cut -= 1;
        }
        bad.truncate(cut);
        problems(bad.as_bytes(), permissive);
    }

    /// Every kind with most of its fields, damaged as editors, merges and templates do; made a plan of as far as it goes.
    #[test]
    fn no_damaged_kind_panics(damages in prop::collection::vec(damage(), 1..4), permissive: bool) {
        let mut lines: Vec<String> = include_str!("every_kind.yaml").lines().map(str::to_owned).collect();
        for damage in damages {
            damage.apply(&mut lines);
        }
        let text = lines.join("\n");
        let (world, problems) = read_text(text, Options { permissive });
        let (_, more) = compile(&world, ProxySettings::resolve(&world.proxy, &Overrides::default()));
        for problem in problems.iter().chain(&more) {
            prop_assert!(problem.line as usize <= lines.len() + 1, "{problem}");
        }
    }
}

/// What happens to a line of a file.
#[derive(Debug, Clone)]
enum Damage {
    Lost(prop::sample::Index),
    Doubled(prop::sample::Index),
    Moved(prop::sample::Index, prop::sample::Index),
    Indented(prop::sample::Index, usize),
    Outdented(prop::sample::Index),
    /// One of its values is another one.
    Replaced(prop::sample::Index, prop::sample::Index, String),
    /// A letter of it is another one.
    Misspelt(prop::sample::Index, prop::sample::Index, char),
    /// The file ends in it.
    Cut(prop::sample::Index, prop::sample::Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        index().prop_map(Damage::Lost),
        index().prop_map(Damage::Doubled),
        (index(), index()).prop_map(|(line, to)| Damage::Moved(line, to)),
        (index(), 1_usize..5).prop_map(|(line, by)| Damage::Indented(line, by)),
        index().prop_map(Damage::Outdented),
        (index(), index(), scalar()).prop_map(|(line, value, by)| Damage::Replaced(line, value, by)),
        (index(), index(), any::<char>()).prop_map(|(line, at, by)| Damage::Misspelt(line, at, by)),
        (index(), index()).prop_map(|(line, at)| Damage::Cut(line, at)),
    ]
}

impl Damage {
    fn apply(&self, lines: &mut Vec<String>) {
        let count = lines.len();
        if count == 0 {
            return;
        }
        match self {
            Self::Lost(line) => drop(lines.remove(line.index(count))),
            Self::Doubled(line) => lines.insert(line.index(count), lines[line.index(count)].clone()),
            Self::Moved(line, to) => {
                let line = lines.remove(line.index(count));
                lines.insert(to.index(count), line);
            }
            Self::Indented(line, by) => lines[line.index(count)].insert_str(0, &" ".repeat(*by)),
            Self::Outdented(line) => {
                let line = &mut lines[line.index(count)];
                *line = line.trim_start().to_owned();
            }
            Self::Replaced(line, value, by) => {
                let line = &mut lines[line.index(count)];
                let starts: Vec<_> = line.match_indices([' ', '{', '[']).map(|(at, _)| at + 1).collect();
                let start = if starts.is_empty() { 0 } else { starts[value.index(starts.len())] };
                let end = line[start..].find([',', '}', ']']).map_or(line.len(), |end| start + end);
                line.replace_range(start..end, by);
            }
            Self::Misspelt(line, at, by) => {
                let line = &mut lines[line.index(count)];
                let letters: Vec<_> = line.char_indices().collect();
                if let Some((start, old)) = letters.get(at.index(letters.len().max(1))) {
                    line.replace_range(*start..start + old.len_utf8(), by.encode_utf8(&mut [0; 4]));
                }
            }
            Self::Cut(line, at) => {
                lines.truncate(line.index(count) + 1);
                let line = lines.last_mut().expect("one at least is left");
                let keep = line.chars().take(at.index(line.chars().count().max(1))).collect();
                *line = keep;
            }
        }
    }
}
