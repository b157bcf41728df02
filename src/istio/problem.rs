//! What is wrong with a configuration, where, and what to write instead.
//!
//! Every step of reading collects [`Problem`]s and goes on; only the caller decides what an error means (`check` and
//! `run` exit with 2). What leads nowhere is an error to `check` alone: it is served, and requests meet what Istio would
//! answer. The one-line form is the contract's.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::tree::Node;

/// Whether the configuration can be served in spite of the problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing is started.
    Error,
    /// Served, and a part of it leads nowhere or has no effect. An error to `check`, for which `istioctl analyze` has one,
    /// too; a warning to whoever serves it.
    #[serde(rename = "error")]
    Broken,
    /// Served, but probably not what the author wants.
    Warning,
    /// Served, and right as far as one can see; it surprises many.
    Note,
}

/// One finding about a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Error, warning or note.
    pub severity: Severity,
    /// The file as named by the user, `<stdin>` for standard input, or a flag's name.
    pub file: Arc<str>,
    /// Line in the file, from 1; 0 when the problem has no line (an empty folder, say).
    pub line: u32,
    /// `Kind/namespace/name`; empty when the problem is not in a resource.
    pub resource: Arc<str>,
    /// The field, as `spec.http[0].match[1].uri.regex`; empty for the document as a whole.
    pub path: String,
    /// What is wrong.
    pub what: String,
    /// What to write instead; empty when that is plain from `what`.
    pub instead: String,
}

impl Problem {
    /// Whether this problem forbids serving.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The problem as it is told when it keeps nothing from being served.
    #[must_use]
    pub fn when_served(&self) -> Self {
        let severity = if self.severity == Severity::Broken { Severity::Warning } else { self.severity };
        Self { severity, ..self.clone() }
    }

    /// A JSON object on one line, for `--output json`.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::json!({
            "severity": self.severity,
            "file": &*self.file,
            "line": self.line,
            "resource": &*self.resource,
            "path": self.path,
            "what": self.what,
            "instead": self.instead,
        })
        .to_string()
    }
}

/// The contract's form: `FILE:LINE: Kind/namespace/name: field.path: what is wrong (and what to write instead)`.
/// Parts that a problem does not have are left out; a warning or a note says so before `what`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        for part in [&*self.resource, &self.path] {
            if !part.is_empty() {
                write!(f, ": {part}")?;
            }
        }
        f.write_str(match self.severity {
            Severity::Error | Severity::Broken => ": ",
            Severity::Warning => ": warning: ",
            Severity::Note => ": note: ",
        })?;
        f.write_str(&self.what)?;
        if self.instead.is_empty() { Ok(()) } else { write!(f, " ({})", self.instead) }
    }
}

/// Where a resource was written. Cheap to clone; keeps the document, so that whoever complains about a field later can
/// name its line.
#[derive(Debug, Clone)]
pub struct Source {
    /// The file as named by the user.
    pub file: Arc<str>,
    /// The line on which the resource starts, from 1.
    pub line: u32,
    /// `Kind/namespace/name`.
    pub resource: Arc<str>,
    /// The resource as it was parsed; `None` for settings that no file holds.
    pub(super) root: Option<Arc<Node>>,
}

impl Source {
    /// A source without a document: every field is said to be on `line`.
    #[must_use]
    pub fn bare(file: &str, line: u32, resource: &str) -> Self {
        Self { file: file.into(), line, resource: resource.into(), root: None }
    }

    /// The line in the file of the field at `path`, or of its nearest ancestor that is written.
    #[must_use]
    pub fn line_of(&self, path: &str) -> u32 {
        self.root.as_ref().map_or(self.line, |root| root.line_of(path))
    }

    /// Whether the field at `path` is written in the document.
    pub(super) fn has(&self, path: &str) -> bool {
        self.root.as_ref().is_some_and(|root| root.has(path))
    }

    /// An error about the field at `path`.
    #[must_use]
    pub fn error(&self, path: &str, what: impl Into<String>, instead: impl Into<String>) -> Problem {
        self.problem(Severity::Error, path, what.into(), instead.into())
    }

    /// A field at `path` that is served and leads nowhere.
    #[must_use]
    pub fn broken(&self, path: &str, what: impl Into<String>, instead: impl Into<String>) -> Problem {
        self.problem(Severity::Broken, path, what.into(), instead.into())
    }

    /// A warning about the field at `path`.
    #[must_use]
    pub fn warning(&self, path: &str, what: impl Into<String>, instead: impl Into<String>) -> Problem {
        self.problem(Severity::Warning, path, what.into(), instead.into())
    }

    /// A note about the field at `path`.
    #[must_use]
    pub fn note(&self, path: &str, what: impl Into<String>, instead: impl Into<String>) -> Problem {
        self.problem(Severity::Note, path, what.into(), instead.into())
    }

    pub(super) fn problem(&self, severity: Severity, path: &str, what: String, instead: String) -> Problem {
        Problem {
            severity,
            file: self.file.clone(),
            line: self.line_of(path),
            resource: self.resource.clone(),
            path: path.to_owned(),
            what,
            instead,
        }
    }
}
