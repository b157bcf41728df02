//! Holds the source to the layers that `src/lib.rs` draws, and to the laws that go with them: the runtime's name and
//! `unsafe` stay inside `src/io`, and every `unsafe` says why it is sound.

mod imports;
mod loops;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

/// What stands above all layers and may use every one.
const TOP: [&str; 5] = ["lib", "main", "cli", "demo", "explain"];

/// Layers that take everything from outside as arguments.
const PURE: [&str; 5] = ["http", "h1", "istio", "policy", "plan"];

type Layers = BTreeMap<String, BTreeSet<String>>;

/// The text block of the crate's documentation: `a -> b, c` says that a may use b and c, `a -> b and below` also all
/// that b may use, and `base <- a, b` that all may use base.
fn drawn_layers() -> Layers {
    let source = fs::read_to_string("src/lib.rs").expect("src/lib.rs");
    let block =
        source.split("```text").nth(1).and_then(|rest| rest.split("```").next()).expect("a text block of layers");
    let mut layers = Layers::new();
    for line in block.lines().map(|line| line.trim_start_matches("//!").trim()).filter(|line| !line.is_empty()) {
        let line = line.split(" (").next().unwrap_or(line); // a remark in brackets
        if let Some((base, users)) = line.split_once("<-") {
            for user in names(users) {
                layers.entry(user).or_default().insert(base.trim().to_owned());
            }
            layers.entry(base.trim().to_owned()).or_default();
        } else {
            let (layer, uses) = line.split_once("->").unwrap_or_else(|| panic!("not a line of layers: {line:?}"));
            let (uses, below) = match uses.split_once(" and below") {
                Some((uses, _)) => (uses, true),
                None => (uses, false),
            };
            let mut allowed: BTreeSet<String> = names(uses).collect();
            if below {
                let direct = allowed.clone();
                for layer in &direct {
                    allowed
                        .extend(layers.get(layer).unwrap_or_else(|| panic!("{layer} is drawn later")).iter().cloned());
                }
            }
            allowed.insert("base".to_owned());
            layers.insert(layer.trim().to_owned(), allowed);
        }
    }
    layers
}

fn names(list: &str) -> impl Iterator<Item = String> {
    list.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// Every source file with its top-level module.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder under src").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let first =
                    path.components().nth(1).expect("a path under src").as_os_str().to_string_lossy().into_owned();
                let module = first.strip_suffix(".rs").unwrap_or(&first).to_owned();
                found.push((path, module));
            }
        }
    }
    found.sort();
    assert!(found.len() > 5, "too few sources: {found:?}");
    found
}

/// The lines of a file with comments taken away, numbered from 1.
fn code(path: &Path) -> Vec<(usize, String)> {
    let source = fs::read_to_string(path).expect("a source file");
    let lines = source.lines().enumerate();
    lines.map(|(number, line)| (number + 1, line.split("//").next().unwrap_or_default().to_owned())).collect()
}

/// The modules of `crate::` paths in a file, those of `use crate::{a::{b, c}, d}` included.
fn used_modules(path: &Path) -> BTreeSet<(usize, String)> {
    let text: Vec<String> = code(path).into_iter().map(|(_, line)| line).collect();
    let text = text.join("\n");
    let mut used = BTreeSet::new();
    for (at, found) in text.match_indices("crate::") {
        let line = 1 + text[..at].matches('\n').count();
        let rest = &text[at + found.len()..];
        if !rest.starts_with('{') {
            used.insert((line, first_word(rest)));
            continue;
        }
        let mut depth = 0;
        for (offset, character) in rest.char_indices() {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 1 && matches!(character, '{' | ',') {
                used.insert((line, first_word(&rest[offset + 1..])));
            }
            if depth == 0 {
                break;
            }
        }
    }
    used
}

fn first_word(text: &str) -> String {
    text.trim_start().chars().take_while(|character| character.is_ascii_alphanumeric() || *character == '_').collect()
}

#[test]
fn grouped_imports_are_seen() {
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let path = folder.path().join("x.rs");
    fs::write(&path, "use crate::a::b;\nuse crate::{\n    c::{d, e},\n    f,\n};\n// crate::g\n").expect("a file");
    let used: Vec<String> =
        used_modules(&path).into_iter().map(|(_, module)| module).filter(|m| !m.is_empty()).collect();
    assert_eq!(used, ["a", "c", "f"]);
}

#[test]
fn no_module_uses_a_layer_above_or_beside_it() {
    let layers = drawn_layers();
    let mut wrong = Vec::new();
    for (path, module) in sources() {
        if TOP.contains(&module.as_str()) {
            continue;
        }
        let Some(allowed) = layers.get(&module) else {
            wrong.push(format!("{}: {module} is no layer that src/lib.rs draws", path.display()));
            continue;
        };
        for (line, used) in used_modules(&path) {
            let known = layers.contains_key(&used) || TOP.contains(&used.as_str());
            if known && used != module && !allowed.contains(&used) {
                wrong.push(format!("{}:{line}: {module} must not use {used}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// What they need of the disk is handed to them: the same documents have the same meaning wherever they come from.
#[test]
fn pure_layers_open_no_file() {
    let sources = imports::Sources::read();
    let pure = sources.iter().filter(|(module, _)| module.first().is_some_and(|layer| PURE.contains(&layer.as_str())));
    let (pure, openers): (Vec<_>, Vec<_>) = pure.partition(|(_, source)| !source.names(&["std", "fs"]));
    assert!(pure.len() > 50, "too few pure sources: {}", pure.len());
    let openers: Vec<String> = openers.iter().map(|(module, _)| module.join("::")).collect();
    assert_eq!(openers, [""; 0]);
}

#[test]
fn only_io_names_the_runtime() {
    let runtime = Regex::new(r"\b(monoio::|io_uring::|use monoio\b)").expect("a regex");
    let mut wrong = Vec::new();
    for (path, module) in sources() {
        for (line, text) in code(&path) {
            if module != "io" && runtime.is_match(&text) {
                wrong.push(format!("{}:{line}: {}", path.display(), text.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// The name resolver brings another runtime along, which must meet no worker.
#[test]
fn only_the_thread_that_resolves_names_knows_its_runtime() {
    let resolver = Regex::new(r"\b(tokio|hickory_resolver)::").expect("a regex");
    let mut wrong = Vec::new();
    for (path, _) in sources() {
        for (line, text) in code(&path) {
            if !path.ends_with("control/dns.rs") && resolver.is_match(&text) {
                wrong.push(format!("{}:{line}: {}", path.display(), text.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn only_io_is_unsafe_and_says_why_it_is_sound() {
    let unsafe_word = Regex::new(r"\bunsafe\s*(\{|fn\b|impl\b|trait\b|extern\b)").expect("a regex");
    let mut wrong = Vec::new();
    for (path, module) in sources() {
        let source = fs::read_to_string(&path).expect("a source file");
        let lines: Vec<&str> = source.lines().collect();
        for (number, text) in code(&path) {
            if !unsafe_word.is_match(&text) {
                continue;
            }
            let above = &lines[number.saturating_sub(8)..number];
            // What an `unsafe fn` of a trait asks of its caller is the trait's to say; its body has blocks of its own.
            let declared = text.contains("unsafe fn");
            let said = declared || above.iter().any(|line| line.contains("SAFETY:") || line.contains("# Safety"));
            if module != "io" {
                wrong.push(format!("{}:{number}: unsafe outside of src/io", path.display()));
            } else if !said {
                wrong.push(format!("{}:{number}: no SAFETY comment above", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_drawing_is_read_as_meant() {
    let layers = drawn_layers();
    assert_eq!(layers["base"], BTreeSet::new());
    assert!(layers["plan"].contains("istio") && layers["plan"].contains("base"));
    assert!(!layers["plan"].contains("upstream"));
    assert!(layers["proxy"].contains("upstream") && layers["proxy"].contains("io"));
}
