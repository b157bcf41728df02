//! Which module uses which: every path of a source file that begins with `crate`, `super` or `self`, or names a child
//! module, resolved to the file that it leads to. Code under `#[cfg(test)]` does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;
use syn::visit::{self, Visit};

/// A module's path below the crate: `["proxy", "conn"]`.
pub(crate) type Module = Vec<String>;

/// A path as it is written, without what follows a group, a glob or a rename.
type Segments = Vec<String>;

/// One source file.
pub(crate) struct Source {
    /// The paths that it names, resolved as far as they are modules or names that a module hands on.
    uses: BTreeSet<Segments>,
    /// The names that it hands on (`pub use`), and from where.
    hands_on: BTreeMap<String, Segments>,
}

/// All source files that are not only for tests.
pub(crate) struct Sources(BTreeMap<Module, Source>);

impl Sources {
    /// Reads `src/`.
    pub(crate) fn read() -> Self {
        let mut found = BTreeMap::new();
        let mut folders = vec![PathBuf::from("src")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("a folder under src").flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test(&path) {
                    found.insert(module_of(&path), Source::parse(path));
                }
            }
        }
        assert!(found.len() > 100, "too few sources: {}", found.len());
        Self(found)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Module, &Source)> {
        self.0.iter()
    }

    /// The modules that a file uses, itself excepted.
    pub(crate) fn used_by(&self, module: &Module, source: &Source) -> BTreeSet<Module> {
        let resolved = source.uses.iter().filter_map(|path| self.resolve(module, path, 0));
        resolved.filter(|used| used != module).collect()
    }

    /// The module that a path written in `from` leads to: the deepest one that it names, or the one behind the name that
    /// this one hands on.
    fn resolve(&self, from: &Module, path: &[String], depth: usize) -> Option<Module> {
        let mut at = from.clone();
        let mut rest = path;
        let mut anchored = false;
        while let [first, more @ ..] = rest {
            match first.as_str() {
                "crate" => at.clear(),
                "self" => {}
                "super" => drop(at.pop()),
                _ => break,
            }
            (anchored, rest) = (true, more);
        }
        if !anchored {
            // Without an anchor only a child module of this one is meant; anything else is another crate or a local name.
            let child = [&from[..], &rest[..1]].concat();
            self.0.contains_key(&child).then_some(())?;
        }
        while let [first, more @ ..] = rest {
            let child = [&at[..], std::slice::from_ref(first)].concat();
            if !self.0.contains_key(&child) {
                break;
            }
            (at, rest) = (child, more);
        }
        let handed = rest.first().and_then(|name| self.0.get(&at)?.hands_on.get(name));
        match handed {
            Some(path) if depth < 8 => self.resolve(&at, path, depth + 1),
            _ => self.0.contains_key(&at).then_some(at),
        }
    }
}

/// Whether a file holds tests alone: `tests.rs`, or a file of a folder `tests`.
fn is_test(path: &Path) -> bool {
    path.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs")))
}

fn module_of(path: &Path) -> Module {
    let below = path.strip_prefix("src").expect("a path under src").with_extension("");
    let mut module: Module = below.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    module
}

impl Source {
    /// Whether a path that the file names begins so.
    pub(crate) fn names(&self, start: &[&str]) -> bool {
        self.uses.iter().any(|path| path.iter().map(String::as_str).take(start.len()).eq(start.iter().copied()))
    }

    fn parse(path: PathBuf) -> Self {
        let text = fs::read_to_string(&path).expect("a source file");
        let (uses, hands_on) = paths(&text, &path.display().to_string());
        Self { uses, hands_on }
    }
}

/// The paths that a file names, and those that it hands on, by name.
fn paths(text: &str, name: &str) -> (BTreeSet<Segments>, BTreeMap<String, Segments>) {
    let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut found = Paths::default();
    found.visit_file(&file);
    (found.uses, found.hands_on)
}

/// A string literal.
static STRING: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#""(?:\\.|[^"\\])*""#).expect("a regex"));

#[derive(Default)]
struct Paths {
    uses: BTreeSet<Segments>,
    hands_on: BTreeMap<String, Segments>,
}

impl Paths {
    fn tree(&mut self, before: &[String], tree: &syn::UseTree, handed: bool) {
        let with = |ident: &syn::Ident| [before, &[ident.to_string()]].concat();
        let (path, name) = match tree {
            syn::UseTree::Path(path) => return self.tree(&with(&path.ident), &path.tree, handed),
            syn::UseTree::Group(group) => return group.items.iter().for_each(|tree| self.tree(before, tree, handed)),
            syn::UseTree::Name(name) => (with(&name.ident), name.ident.to_string()),
            syn::UseTree::Rename(rename) => (with(&rename.ident), rename.rename.to_string()),
            syn::UseTree::Glob(_) => (before.to_vec(), String::new()),
        };
        if handed {
            self.hands_on.insert(name, path);
        } else {
            self.uses.insert(path);
        }
    }
}

impl<'a> Visit<'a> for Paths {
    fn visit_item(&mut self, item: &'a syn::Item) {
        if !is_for_tests(item) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        let handed = !matches!(item.vis, syn::Visibility::Inherited);
        self.tree(&[], &item.tree, handed);
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        if path.segments.len() > 1 {
            self.uses.insert(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }

    /// What stands in a macro call is text; its paths are those words that `::` joins.
    fn visit_macro(&mut self, called: &'a syn::Macro) {
        let text = called.tokens.to_string().replace(" :: ", "::");
        let text = STRING.replace_all(&text, "");
        let words = text.split(|letter: char| !letter.is_alphanumeric() && !matches!(letter, '_' | ':'));
        for word in words.filter(|word| word.contains("::")) {
            self.uses.insert(word.split("::").map(str::to_owned).collect());
        }
        visit::visit_macro(self, called);
    }
}

fn is_for_tests(item: &syn::Item) -> bool {
    let attributes = match item {
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => return false,
    };
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        _ => attribute.path().is_ident("test"),
    })
}

#[test]
fn paths_are_seen_wherever_they_stand() {
    let (uses, hands_on) = paths(
        r#"
        use crate::a::{b::B, c::*};
        pub use self::d::D as E;
        /// crate::comment
        fn f(x: super::g::G) { println!("{} // crate::text", crate::h::i()); let s = "// crate::text"; super::j::k(s) }
        #[cfg(test)]
        mod tests { use crate::l::M; }
        "#,
        "a snippet",
    );
    let uses: Vec<String> = uses.iter().map(|path| path.join("::")).collect();
    assert_eq!(uses, ["crate::a::b::B", "crate::a::c", "crate::h::i", "super::g::G", "super::j::k"]);
    assert_eq!(hands_on["E"], ["self", "d", "D"]);
}
