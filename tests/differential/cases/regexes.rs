//! Regular expressions: a table and some hundreds of generated ones, in front of Envoy's own RE2. Which of them load,
//! and on which header values they match.
//!
//! Envoy gets a listener for each expression to tell which it refuses, since it refuses listeners one at a time, and then
//! a route for each one that loads. Its programs may be as large as Istio lets them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bench::envoy_is_there;
use crate::support::client::{Client, once};
use crate::support::envoy::Envoy;
use crate::support::ports;
use crate::support::ringway::{DRIVERS, Setup};

#[test]
fn table() {
    let Some(refused) = beside_envoy(&TABLE.map(|(re2, _)| re2.to_owned())) else { return };
    for (re2, loads) in TABLE {
        assert_eq!(refused.contains(re2), !loads, "`{re2}`: the table is wrong about Envoy");
    }
}

#[test]
fn generated() {
    let mut random = fastrand::Rng::with_seed(11);
    let mut expressions = BTreeSet::new();
    while expressions.len() < 400 {
        let re2 = alternatives(&mut random, 3);
        // Istio refuses an empty one, and with "*" a header has only to be there.
        if !re2.is_empty() && re2 != "*" && re2.len() <= 300 {
            expressions.insert(re2);
        }
    }
    let expressions: Vec<_> = expressions.into_iter().collect();
    let Some(refused) = beside_envoy(&expressions) else { return };
    assert!((20..200).contains(&refused.len()), "{} of {} are refused", refused.len(), expressions.len());
}

/// Envoy takes them, and Istio's validation, which is Go's, does not.
#[test]
fn refused_by_istio_alone() {
    if !envoy_is_there(1) {
        return;
    }
    let expressions = [r"\C", "(?P<ê>a)", "[я-а]", "a{1000000000}"].map(str::to_owned);
    assert_eq!(refused_by_envoy(&expressions), BTreeSet::new());
    assert_eq!(refused_by_ringway(&expressions).len(), expressions.len());
}

/// The admin's filter takes the same, and matches anywhere.
#[test]
fn filters_of_statistics() {
    if !envoy_is_there(1) {
        return;
    }
    let envoy = ports::loopback(ports::free());
    let _envoy = Envoy::start(&json!({"admin": {"address": at(envoy)}}), envoy);
    let ringway = Setup::new(DRIVERS[0]).start();
    for (filter, status, finds) in [
        (r"^server\.(live|state)$", 200, true),
        (r"^[\w-.]+er\.l", 200, true),
        (r"SERVER\.LIVE", 200, false),
        (r"(?i)SERVER\.LIVE", 200, true),
        (r"\163erver\.live", 200, true),
        (r"\bserver\b", 200, true),
        (r"%5Eserver%5C.%28%3FP%3Cn%3Elive%29", 200, true),
        ("[", 400, false),
        ("a**", 400, false),
        ("(%3F=a)", 400, false),
        ("(%3Fx)a", 400, false),
        (r"\1", 400, false),
        ("[[:foo:]]", 400, false),
    ] {
        for admin in [envoy, ringway.admin] {
            let request =
                format!("GET /stats?filter={filter} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            let response = once(admin, request);
            assert_eq!(response.status, status, "{filter} at {admin}: {}", response.text());
            assert_eq!(response.text().contains("server.live: "), finds, "{filter} at {admin}: {}", response.text());
            assert_eq!(response.text().starts_with("Invalid re2 regex: "), status == 400, "{filter} at {admin}");
        }
    }
}

/// Whether Envoy takes them.
const TABLE: [(&str, bool); 132] = [
    (r"[\w-.]+", true),
    (r"[^\w-]", true),
    (r"[\d-z]", true),
    (r"[a-\d]", false),
    ("[a-b-c]", true),
    ("[a[:b]", true),
    ("[a[:b]c:]", false),
    ("[[:word:]]", true),
    ("[[:^word:]]", true),
    ("[^[:^alpha:]]", true),
    ("[[:foo:]]", false),
    ("[[:Alpha:]]", false),
    ("[:alpha:]", true),
    (r"[^\D]", true),
    (r"[^\pL\d]", true),
    ("[]a]", true),
    ("[^]a]", true),
    ("[]", false),
    ("[^]", false),
    ("[]-a]", true),
    ("[+--]", true),
    ("[--/]+", true),
    ("[a--]", false),
    ("[b-a]", false),
    ("[é-a]", false),
    ("[а-я]+", true),
    ("[a-é-ü]+", true),
    ("[a-é-z]", false),
    ("[a&&b]", true),
    ("[[a]", true),
    ("[a", false),
    (r"[\", false),
    (r"[\b]", false),
    (r"[\Qa]\E]", false),
    (r"\12", true),
    (r"\60", true),
    (r"\0608", true),
    (r"[\101]", true),
    (r"\377", true),
    (r"\400", false),
    (r"\1", false),
    (r"(a)\1", false),
    (r"\8", false),
    (r"\x41", true),
    (r"\x{0041}", true),
    (r"\x{e9}", true),
    (r"\x{100}", false),
    (r"\x{10FFFF}", false),
    (r"\x{}", false),
    (r"\x4", false),
    (r"\u{41}", false),
    (r"\é", false),
    (r"\_\-\/\%\<\>", true),
    (r"\Z", false),
    (r"\h", false),
    (r"\", false),
    (r"\Qa.b\E.", true),
    (r"\Qab\E*", true),
    (r"a\Q\E*", true),
    (r"\Q\E*", false),
    (r"\Qa\\E", true),
    (r"\E", false),
    (r"\pN", true),
    (r"\pL+", true),
    (r"\p{Greek}|a", true),
    (r"\P{^Greek}|a", true),
    (r"\P{Greek}", true),
    (r"\p{^Lu}", true),
    (r"(?i)\p{Lu}", true),
    (r"(?i)\P{Lu}", true),
    (r"\p{Any}+", true),
    (r"\p{Old_Italic}|a", true),
    (r"\p{Alphabetic}", false),
    (r"\p{Letter}", false),
    (r"\p{greek}", false),
    (r"\p{Greek", false),
    (r"\pX", false),
    (r"\d\w\s\D\W\S", true),
    ("a.b", true),
    ("a..b", true),
    ("é+", true),
    ("[é]", true),
    ("[^a]", true),
    ("(?i)é", true),
    ("(?i)k", true),
    ("(?i)[^a]", true),
    ("(?i)[\\xe0-\\xef]", true),
    ("a(?i)b", true),
    ("(a(?i)b)c", true),
    ("a|(?i)b|c", true),
    ("(?i-i)a", true),
    ("(?s).", true),
    ("(?-s:.)", true),
    ("(?U)a+b??", true),
    ("(?m)^a$", true),
    ("(?)a", true),
    ("(?x)a", false),
    ("(?u)a", false),
    ("(?-)a", false),
    ("(?i-)a", false),
    ("(?R)", false),
    ("(?1)", false),
    ("(?=a)", false),
    ("(?!a)", false),
    ("(?<=a)", false),
    ("(?<!a)", false),
    ("(?>a)", false),
    ("(?#a)", false),
    ("(?P=n)", false),
    ("(?P<n>a)", true),
    ("(?<n>a)", true),
    ("(?P<n>a)(?P<n>b)", true),
    ("(?P<>a)", false),
    ("(?'n'a)", false),
    ("a(?i)*", true),
    ("a*(?i)*", true),
    ("a**", false),
    ("a*+", false),
    ("a{2}{3}", false),
    ("a{01}", true),
    ("a{,2}", true),
    ("a{1001}", false),
    ("a{3,2}", false),
    ("(a{100}){11}", false),
    ("((a{1000}){0}){2}", false),
    ("a||b", true),
    ("(|a)+b", true),
    ("^*a$", true),
    ("+", false),
    ("a|+", false),
    ("(", false),
    ("a)(b", false),
];

/// What they are tried on, besides pieces of themselves. A header has no line ends, and blanks around it are not its.
const VALUES: &[&[u8]] = &[
    b"",
    b"a",
    b"b",
    b"A",
    b"B",
    b"ab",
    b"aB",
    b"abc",
    b"aab",
    b"0",
    b"0 8",
    b"1",
    b"\xC3\xA9",
    b"\xE9",
    b"\xC9",
    b"\xFF",
    b"a\xC3\xA9b",
    b"\xC3\xA9\xA9",
    b"-",
    b"/",
    b"a-b.c",
    b"_",
    b":",
    b"&",
    b"]",
    b"a]",
    b"[",
    b"a{2}",
    b"a{,2}",
    b"a{01}",
    b"a.b.",
    b"axb",
    b"k",
    b"\xE2\x84\xAA",
    b"5a b- c",
    b"\\",
    b"a\\",
    b"~",
    b"_-/%<>",
    b"\xD0\xB0",
    b"\xD1\x8F",
];

/// Compares what loads and what matches, and returns what Envoy refuses.
fn beside_envoy(expressions: &[String]) -> Option<BTreeSet<String>> {
    if !envoy_is_there(expressions.len()) {
        return None;
    }
    let refused = refused_by_envoy(expressions);
    let ours = refused_by_ringway(expressions);
    let different: Vec<_> = refused.symmetric_difference(&ours).collect();
    assert!(different.is_empty(), "refused by one alone: {different:#?}");

    let loading: Vec<_> = expressions.iter().filter(|re2| !refused.contains(*re2)).cloned().collect();
    let requests: Vec<_> = loading.iter().enumerate().flat_map(|(number, re2)| requests(number, re2)).collect();
    let (address, admin) = (ports::loopback(ports::free()), ports::loopback(ports::free()));
    let bootstrap = json!({
        "admin": {"address": at(admin)},
        "layered_runtime": runtime(),
        "static_resources": {"listeners": [listener("all", address, loading.iter().enumerate())]},
    });
    let envoy = Envoy::start(&bootstrap, admin);
    let expected = statuses(address, &requests);
    drop(envoy);
    let matching = expected.iter().filter(|status| **status == 200).count();
    assert!(matching >= loading.len() / 2, "{matching} of {} requests match", requests.len());
    for driver in DRIVERS {
        let ringway = Setup::new(driver).yaml(virtual_service(&loading)).start();
        let seen = statuses(ringway.address(), &requests);
        let wrong = requests.iter().zip(expected.iter().zip(&seen)).filter(|(_, (expected, seen))| expected != seen);
        let wrong: Vec<_> = wrong
            .map(|((number, value), (expected, seen))| {
                let value = value.escape_ascii();
                format!("`{}` on {value}: Envoy {expected}, ringway {seen}", loading[*number])
            })
            .collect();
        assert!(wrong.is_empty(), "{} ({})", wrong.join("\n"), driver.name());
    }
    Some(refused)
}

/// The values that an expression is tried on: those of the table, and pieces of its own text.
fn requests(number: usize, re2: &str) -> Vec<(usize, Vec<u8>)> {
    let mut random = fastrand::Rng::with_seed(number as u64);
    let own: Vec<char> = re2.chars().filter(|c| !c.is_ascii_control()).collect();
    let piece = |_| {
        let letters = (0..random.usize(1..5)).filter_map(|_| random.choice(&own));
        letters.collect::<String>().trim().as_bytes().to_vec()
    };
    let pieces: Vec<_> = (0..8).map(piece).collect();
    VALUES.iter().map(|value| value.to_vec()).chain(pieces).map(|value| (number, value)).collect()
}

/// What is answered on one connection: 200 from the route of that number, or 404.
fn statuses(address: SocketAddr, requests: &[(usize, Vec<u8>)]) -> Vec<u16> {
    let mut client = Client::connect(address);
    let status = |(number, value): &(usize, Vec<u8>)| {
        let head = format!("GET /{number} HTTP/1.1\r\nHost: regexes.example.com\r\nx-v: ");
        let status = client.ask([head.as_bytes(), value, b"\r\n\r\n"].concat()).status;
        assert!(status == 200 || status == 404, "{status} for {}", value.escape_ascii());
        status
    };
    requests.iter().map(status).collect()
}

/// Those for which it has no listener.
fn refused_by_envoy(expressions: &[String]) -> BTreeSet<String> {
    let dir = TempDir::new().expect("a temporary folder");
    let path = dir.path().join("listeners.json");
    let listeners: Vec<_> = expressions
        .iter()
        .enumerate()
        .map(|(number, re2)| {
            // None is bound, and no two are alike.
            let address = SocketAddr::from(([127, 1, (number >> 8) as u8, number as u8], 9));
            let mut listener = listener(&number.to_string(), address, std::iter::once((number, re2)));
            listener["@type"] = "type.googleapis.com/envoy.config.listener.v3.Listener".into();
            listener["bind_to_port"] = false.into();
            listener
        })
        .collect();
    let update = json!({"version_info": "1", "resources": listeners});
    std::fs::write(&path, update.to_string()).expect("write the listeners");
    let admin = ports::loopback(ports::free());
    let bootstrap = json!({
        "admin": {"address": at(admin)},
        "node": {"id": "regexes", "cluster": "regexes"},
        "layered_runtime": runtime(),
        "dynamic_resources": {"lds_config": {
            "path_config_source": {"path": path.to_str().expect("a path in UTF-8")},
            "resource_api_version": "V3",
        }},
    });
    let _envoy = Envoy::start(&bootstrap, admin);
    let request = "GET /config_dump?resource=dynamic_listeners HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n";
    let dump: Value = serde_json::from_str(&once(admin, request).text()).expect("JSON");
    let dumped = dump["configs"].as_array().expect("listeners");
    // One that is refused may be told of more than once.
    let named = |listener: &'static str| dumped.iter().filter_map(move |each| each.pointer(listener)?.as_str());
    let refused: BTreeSet<_> = named("/error_state/failed_configuration/name").collect();
    let active: BTreeSet<_> = named("/name").filter(|name| !refused.contains(name)).collect();
    assert_eq!(active.len() + refused.len(), expressions.len(), "not every listener is told of");
    refused.into_iter().map(|name| expressions[name.parse::<usize>().expect("a number")].clone()).collect()
}

/// Those that `check` has an error about.
fn refused_by_ringway(expressions: &[String]) -> BTreeSet<String> {
    let dir = TempDir::new().expect("a temporary folder");
    let path = dir.path().join("regexes.yaml");
    std::fs::write(&path, virtual_service(expressions)).expect("write the rules");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    let output = command.args(["check", "--output", "json"]).arg(&path).output().expect("ringway runs");
    let mut refused = BTreeSet::new();
    for line in String::from_utf8_lossy(&output.stderr).lines() {
        let problem: Value = serde_json::from_str(line).expect("JSON");
        if problem["severity"] == "error" {
            let path = problem["path"].as_str().expect("a path");
            let number =
                path.strip_prefix("spec.http[").and_then(|rest| rest.split_once("].match[0].headers[x-v].regex"));
            let (number, _) = number.unwrap_or_else(|| panic!("another error: {line}"));
            refused.insert(expressions[number.parse::<usize>().expect("a number")].clone());
        }
    }
    refused
}

/// The rule `/N` for each one.
fn virtual_service(expressions: &[String]) -> String {
    let mut yaml = super::gateway!().to_owned();
    yaml.push_str(
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: regexes}\nspec:\n  hosts: \
         [regexes.example.com]\n  gateways: [edge]\n  http:\n",
    );
    for (number, re2) in expressions.iter().enumerate() {
        // A string of JSON is one of YAML, too.
        let re2 = json!(re2);
        yaml.push_str(&format!(
            "  - {{match: [{{uri: {{exact: /{number}}}, headers: {{x-v: {{regex: {re2}}}}}}}], directResponse: {{status: \
             200}}}}\n"
        ));
    }
    yaml
}

/// The same for Envoy.
fn listener<'a>(name: &str, address: SocketAddr, routes: impl Iterator<Item = (usize, &'a String)>) -> Value {
    let route = |(number, re2): (usize, &String)| {
        json!({
            "match": {
                "path": format!("/{number}"),
                "headers": [{"name": "x-v", "string_match": {"safe_regex": {"regex": re2}}}],
            },
            "direct_response": {"status": 200},
        })
    };
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "regexes",
        "http_filters": [{
            "name": "router",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
        }],
        "route_config": {
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes.map(route).collect::<Vec<_>>()}],
        },
    });
    json!({
        "name": name,
        "address": at(address),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    })
}

fn at(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

/// As Istio's bootstrap has it.
fn runtime() -> Value {
    json!({"layers": [{"name": "istio", "static_layer": {"re2.max_program_size.error_level": 32768}}]})
}

/// Literals, of which some have a meaning in other dialects or other places.
const LITERALS: &[&str] = &[
    "a", "b", "c", "A", "B", "k", "0", "1", "é", "É", "я", "_", "-", "/", ":", ",", "&", "~", "=", "!", "<", ">", "#",
    "]", "}", "{", " ",
];

/// Escapes and classes without brackets.
const ESCAPES: &[&str] = &[
    r"\d",
    r"\D",
    r"\w",
    r"\W",
    r"\s",
    r"\S",
    r"\pL",
    r"\PL",
    r"\p{Lu}",
    r"\P{^Lu}",
    r"\p{^Ll}",
    r"\pN",
    r"\p{Latin}",
    r"\p{Greek}",
    r"\P{Greek}",
    r"\p{Common}",
    r"\x41",
    r"\x{e9}",
    r"\x{0061}",
    r"\101",
    r"\60",
    r"\0",
    r"\141b",
    r"\.",
    r"\-",
    r"\]",
    r"\\",
    r"\_",
    r"\t",
    r"\a",
    r"\xe9",
    r"\377",
];

/// What stands outside RE2's grammar, mostly.
const STRANGE: &[&str] = &[
    r"\1",
    r"\8",
    r"\Z",
    r"\u{41}",
    r"\h",
    r"\x{100}",
    r"\400",
    r"\p{Foo}",
    r"\pX",
    r"\é",
    r"\E",
    "(?=a)",
    "(?x)",
    "(?<n",
    "(?P=n)",
    "(?#c)",
    "**",
    "+*",
    "{2}{3}",
    "{1001}",
    "{3,2}",
    "(?",
    ")",
    "(",
    "[",
    r"\",
    "[[:foo:]]",
    "[b-a]",
    r"[a-\d]",
    "(?-)",
    "(?i-)",
    "(?>a)",
    "(*F)",
    "[:alpha:]",
    "(?i",
    "[^",
    "[]",
    "(?U:",
    "{,2}",
    "{01}",
    "{1,02}",
    "[a[:b",
    "[[:]",
];

fn choice<'a>(random: &mut fastrand::Rng, of: &[&'a str]) -> &'a str {
    random.choice(of).copied().unwrap_or_default()
}

fn alternatives(random: &mut fastrand::Rng, depth: u32) -> String {
    let count = [1, 1, 1, 2, 3][random.usize(..5)];
    let branches: Vec<_> = (0..count)
        .map(|_| {
            let pieces = [0, 1, 1, 2, 2, 3][random.usize(..6)];
            (0..pieces).map(|_| piece(random, depth)).collect::<String>()
        })
        .collect();
    branches.join("|")
}

fn piece(random: &mut fastrand::Rng, depth: u32) -> String {
    let atom = match random.u32(..100) {
        _ if depth == 0 => choice(random, LITERALS).to_owned(),
        0..40 => choice(random, LITERALS).to_owned(),
        40..52 => choice(random, ESCAPES).to_owned(),
        52..64 => class(random),
        64..69 => choice(random, &[".", "^", "$", r"\b", r"\B", r"\A", r"\z"]).to_owned(),
        69..73 => choice(random, &["(?i)", "(?s)", "(?U)", "(?m)", "(?-s)", "(?-i)", "(?i-s)", "(?)"]).to_owned(),
        73..75 => choice(random, &[r"\Qa.b\E", r"\Q\E", r"\Qé\E", r"\Q[", r"\Qa\\E"]).to_owned(),
        75..77 => choice(random, STRANGE).to_owned(),
        _ => {
            let open = choice(random, &["(", "(?:", "(?i:", "(?s:", "(?-i:", "(?P<n>", "(?<n>", "(?U:", "(?m:"]);
            format!("{open}{})", alternatives(random, depth - 1))
        }
    };
    if random.u32(..10) < 6 {
        return atom;
    }
    let repeats = ["*", "+", "?", "{2}", "{0}", "{1}", "{0,2}", "{1,}", "{,2}", "{2,3}", "{0,}", "{1,1}"];
    [&atom, choice(random, &repeats), choice(random, &["", "", "", "?"])].concat()
}

fn class(random: &mut fastrand::Rng) -> String {
    let mut text = ["[", choice(random, &["", "", "^"]), choice(random, &["", "", "", "]", "-", "["])].concat();
    for _ in 0..random.u32(1..5) {
        match random.u32(..20) {
            0..7 => text.push_str(choice(random, LITERALS)),
            7..11 => text.push_str(choice(random, ESCAPES)),
            11..13 => {
                text.push_str(choice(random, &["[:alpha:]", "[:^digit:]", "[:word:]", "[:^space:]", "[:punct:]"]))
            }
            13..16 => text.push_str(choice(random, &["a-c", "0-9", "A-Z", "é-я", "!-/", "+--", "a-é", r"\x41-\x{43}"])),
            16..18 => text.push_str(choice(random, &["-", "--", "[", "[:", "&&", "~~", "^", ":"])),
            _ => text.extend([choice(random, ESCAPES), "-", choice(random, LITERALS)]),
        }
    }
    text + "]"
}
