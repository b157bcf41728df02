//! Which fields could not be read.
//!
//! A field that cannot be read counts as absent, and everything around it is read and checked on. An error that comes of
//! the absence alone is not reported: a check for something missing consults this first. The reader records it, field by
//! field; the checks of the world look it up.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::problem::Source;

/// The fields of one resource.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields {
    /// All that have an error.
    wrong: BTreeSet<String>,
    /// Fields without any readable part: everything below them is unknown.
    unread: BTreeSet<String>,
}

impl Fields {
    /// A field that has an error.
    pub(super) fn wrong(&mut self, path: &str) {
        if !self.wrong.contains(path) {
            self.wrong.insert(path.to_owned());
        }
    }

    /// A field without any readable part, or a required field that is missing.
    pub(super) fn unread(&mut self, path: &str) {
        self.wrong(path);
        self.unread.insert(path.to_owned());
    }

    /// Whether all could be read.
    pub(super) fn is_empty(&self) -> bool {
        self.wrong.is_empty()
    }

    fn extend(&mut self, more: Self) {
        self.wrong.extend(more.wrong);
        self.unread.extend(more.unread);
    }

    /// Whether any part of the field at `path` is unknown: itself, a part of it, or a field around it.
    pub(super) fn touch(&self, path: &str) -> bool {
        if self.is_empty() {
            return false;
        }
        self.wrong.contains(path) || self.inside(path) || self.around(path)
    }

    fn inside(&self, path: &str) -> bool {
        if path.is_empty() {
            return true;
        }
        [".", "["].into_iter().any(|step| {
            let start = format!("{path}{step}");
            let from = (Bound::Included(start.as_str()), Bound::Unbounded);
            self.wrong.range::<str, _>(from).next().is_some_and(|next| next.starts_with(&start))
        })
    }

    fn around(&self, path: &str) -> bool {
        let steps = path.match_indices(['.', '[']).map(|(at, _)| at);
        !self.unread.is_empty() && steps.filter_map(|at| path.get(..at)).any(|above| self.unread.contains(above))
    }
}

/// The fields of all resources.
#[derive(Debug, Clone, Default)]
pub(super) struct Damage {
    resources: BTreeMap<Arc<str>, Fields>,
    /// The fields of all resources of a kind: thousands of references may look them up, among thousands of wrong
    /// documents.
    kinds: BTreeMap<Box<str>, Fields>,
}

impl Damage {
    /// Adds the damage of a resource's fields.
    pub(super) fn add(&mut self, source: &Source, fields: Fields) {
        if fields.is_empty() {
            return;
        }
        let kind = source.resource.split('/').next().unwrap_or_default();
        self.kinds.entry(kind.into()).or_default().extend(fields.clone());
        // Without a name several resources have the same: then something of all of them is unknown.
        self.resources.entry(source.resource.clone()).or_default().extend(fields);
    }

    pub(super) fn absorb(&mut self, later: Self) {
        for (resource, fields) in later.resources {
            self.resources.entry(resource).or_default().extend(fields);
        }
        for (kind, fields) in later.kinds {
            self.kinds.entry(kind).or_default().extend(fields);
        }
    }

    /// Whether anything of a resource's field is unknown.
    pub(super) fn touches(&self, source: &Source, path: &str) -> bool {
        self.of(&source.resource, path)
    }

    /// As [`Damage::touches`], for the resource of this name.
    pub(super) fn of(&self, resource: &str, path: &str) -> bool {
        self.resources.get(resource).is_some_and(|fields| fields.touch(path))
    }

    /// Whether anything of these fields is unknown in any resource of a kind.
    pub(super) fn of_kind(&self, kind: &str, paths: &[&str]) -> bool {
        self.kinds.get(kind).is_some_and(|fields| paths.iter().any(|path| fields.touch(path)))
    }

    /// Whether in any resource of a kind a field is unknown whose path has `part` in it.
    pub(super) fn of_kind_with(&self, kind: &str, part: &str) -> bool {
        self.kinds.get(kind).is_some_and(|fields| fields.wrong.iter().any(|path| path.contains(part)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_of_a_field() {
        let mut fields = Fields::default();
        fields.wrong("spec.http[0].retries.attempts");
        fields.wrong("spec.http[1]");
        fields.unread("spec.hosts");
        for (path, touched) in [
            ("spec.http[0].retries.attempts", true),
            ("spec.http[0].retries", true),
            ("spec.http[0]", true),
            ("spec.http", true),
            ("spec", true),
            ("", true),
            ("spec.http[0].retries.attempts.x", false),
            ("spec.http[0].retries.retryOn", false),
            ("spec.http[1].match", false),
            ("spec.http[2]", false),
            ("spec.hosts", true),
            ("spec.hosts[0]", true),
            ("spec.host", false),
            ("spec.htt", false),
            ("metadata", false),
        ] {
            assert_eq!(fields.touch(path), touched, "{path}");
        }
        assert!(!Fields::default().touch(""));
        let mut damage = Damage::default();
        damage.add(&Source::bare("f", 1, "Gateway/a/b"), fields);
        assert!(damage.of("Gateway/a/b", "spec.hosts") && !damage.of("Gateway/a/c", ""));
        assert!(damage.of_kind("Gateway", &["x", "spec.http"]) && !damage.of_kind("Gate", &[""]));
        assert!(damage.of_kind_with("Gateway", ".retries.") && !damage.of_kind_with("Gateway", ".timeout"));
    }
}
