//! Problems of a configuration: the error, its place, and what to write instead.
//!
//! Every step of reading collects [`Problem`]s and goes on; only the caller decides what an error means (`check` and `run`
//! exit with 2). A broken reference is an error to `check` alone: it is served, and requests get Istio's answer. The
//! one-line form is the contract's.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::tree::Node;

/// Whether the configuration can be served in spite of the problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The proxy does not start.
    Error,
    /// Served, and a part of it leads nowhere or has no effect. An error for `check`, as for `istioctl analyze`; a warning
    /// for `run`.
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
    /// The file as named by the user, `<stdin>` for standard input, or a flag's name; empty for a remark about many.
    pub file: Arc<str>,
    /// Line in the file, from 1; 0 when the problem has no line (an empty folder, say).
    pub line: u32,
    /// `Kind/namespace/name`; empty when the problem is not in a resource.
    pub resource: Arc<str>,
    /// The field, as `spec.http[0].match[1].uri.regex`; empty for the document as a whole.
    pub path: String,
    /// The problem's text.
    pub what: String,
    /// The advice; empty when it is plain from `what`.
    pub instead: String,
}

impl Problem {
    /// Whether this problem forbids serving.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The problem as `run` reports it: broken references are warnings.
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
            "what": shown(&self.what),
            "instead": shown(&self.instead),
        })
        .to_string()
    }

    /// The line with its severity in colour, for a terminal.
    #[must_use]
    pub fn styled(&self) -> Styled<'_> {
        Styled(self)
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, place: Style, severity: Style) -> fmt::Result {
        write!(f, "{place}{}", self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, "{place:#}")?;
        for part in [&*self.resource, &self.path] {
            if !part.is_empty() {
                write!(f, ": {}", on_one_line(part))?;
            }
        }
        let word = match self.severity {
            Severity::Error | Severity::Broken => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        // A remark about many problems has no place.
        f.write_str(if self.file.is_empty() { "" } else { ": " })?;
        write!(f, "{severity}{word}{severity:#}: {}", shown(&self.what))?;
        if self.instead.is_empty() { Ok(()) } else { write!(f, " ({})", shown(&self.instead)) }
    }
}

/// The contract's form: `FILE:LINE: Kind/namespace/name: field.path: what is wrong (and what to write instead)`.
/// Parts that a problem does not have are left out; the severity stands before `what`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, Style::new(), Style::new())
    }
}

/// A problem with the severity in colour. The printing stream strips the colour where it is not wanted.
pub struct Styled<'p>(&'p Problem);

impl fmt::Display for Styled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let color = match self.0.severity {
            Severity::Error | Severity::Broken => AnsiColor::Red,
            Severity::Warning => AnsiColor::Yellow,
            Severity::Note => AnsiColor::Cyan,
        };
        self.0.write(f, Style::new().bold(), Style::new().bold().fg_color(Some(color.into())))
    }
}

/// Longest value that is shown whole, in characters ...
const LONGEST_VALUE: usize = 120;

/// ... and how much of a longer one is shown, of its start and of its end.
const SHOWN_OF_LONG: (usize, usize) = (70, 30);

/// A text of a problem as it is shown: on one line, with long values shortened, so that reporting code need not do either.
/// A value is a text between quotes, or any word of such length.
fn shown(text: &str) -> Cow<'_, str> {
    if text.len() <= LONGEST_VALUE {
        return on_one_line(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, quote, value, after)) = next_quoted(rest) {
        push_words(&mut out, before);
        out.push(quote);
        push_shortened(&mut out, value);
        out.push(quote);
        rest = after;
    }
    push_words(&mut out, rest);
    Cow::Owned(on_one_line(&out).into_owned())
}

/// The first value between quotes: the text before it, its quote, the value, the text after it. A quote that is followed
/// by neither a space nor punctuation is part of the value.
fn next_quoted(text: &str) -> Option<(&str, char, &str, &str)> {
    let open = text.find(['"', '`'])?;
    let quote = text.get(open..)?.chars().next()?;
    let inside = text.get(open + 1..)?;
    let ends = |(at, _): &(usize, &str)| {
        let next = inside.get(at + 1..).and_then(|after| after.chars().next());
        next.is_none_or(|next| next.is_whitespace() || ",.;:)]}/".contains(next))
    };
    let (close, _) = inside.match_indices(quote).find(ends)?;
    Some((text.get(..open)?, quote, inside.get(..close)?, inside.get(close + 1..)?))
}

fn push_words(out: &mut String, text: &str) {
    for word in text.split_inclusive(' ') {
        push_shortened(out, word);
    }
}

fn push_shortened(out: &mut String, value: &str) {
    let length = value.chars().count();
    if length <= LONGEST_VALUE {
        return out.push_str(value);
    }
    let (start, end) = SHOWN_OF_LONG;
    out.extend(value.chars().take(start));
    out.push('…');
    out.extend(value.chars().skip(length - end));
}

/// A line end in a value would make two lines of one.
fn on_one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(escaped).collect())
}

/// Where a resource was written. Cheap to clone; keeps the document, so that later checks can name a field's line.
#[derive(Debug, Clone)]
pub struct Source {
    /// The file as named by the user.
    pub file: Arc<str>,
    /// The line on which the resource starts, from 1.
    pub line: u32,
    /// `Kind/namespace/name`.
    pub resource: Arc<str>,
    /// The resource as it was parsed; `None` for settings without a file.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_severity_stands_before_what_is_wrong() {
        let source = Source::bare("a.yaml", 3, "Gateway/default/g");
        for (problem, expected) in [
            (
                source.error("spec.servers", "is wrong", ""),
                "a.yaml:3: Gateway/default/g: spec.servers: error: is wrong",
            ),
            (source.broken("", "leads nowhere", "b"), "a.yaml:3: Gateway/default/g: error: leads nowhere (b)"),
            (source.warning("x", "is odd", ""), "a.yaml:3: Gateway/default/g: x: warning: is odd"),
            (source.note("x", "is new", ""), "a.yaml:3: Gateway/default/g: x: note: is new"),
            (Source::bare("b", 0, "").error("", "no such file", ""), "b: error: no such file"),
        ] {
            assert_eq!(problem.to_string(), expected);
            let styled = problem.styled().to_string();
            assert_ne!(styled, expected);
            assert_eq!(anstream::adapter::strip_str(&styled).to_string(), expected);
        }
        assert!(source.broken("", "", "").when_served().to_string().contains(": warning: "));
    }

    #[test]
    fn long_values_are_shortened_and_lines_stay_one() {
        let long = "x".repeat(1024);
        let cut = format!("{}…{}", "x".repeat(70), "x".repeat(30));
        for (text, expected) in [
            ("short \"a\"".to_owned(), "short \"a\"".to_owned()),
            (format!("\"{long}\" is bad, and `{long}` too"), format!("\"{cut}\" is bad, and `{cut}` too")),
            (format!("a \"b\" and \"{long}\""), format!("a \"b\" and \"{cut}\"")),
            (format!("\"{long}\"{long}\" is bad"), format!("\"{}…{}\" is bad", "x".repeat(70), "x".repeat(30))),
            (format!("is not one of {}", "ab, ".repeat(100)), format!("is not one of {}", "ab, ".repeat(100))),
            (format!("must be whole, not {long}"), format!("must be whole, not {cut}")),
            ("\"a\nb\" is bad".to_owned(), "\"a\\nb\" is bad".to_owned()),
            (format!("\"{}\"", "é".repeat(200)), format!("\"{}…{}\"", "é".repeat(70), "é".repeat(30))),
            (format!("\"{}\"", "é".repeat(120)), format!("\"{}\"", "é".repeat(120))),
        ] {
            assert_eq!(shown(&text), expected);
        }
        let problem = Source::bare("a", 1, "K/n/n").error("p", format!("\"{long}\""), format!("write \"{long}\""));
        assert!(problem.to_string().len() < 300 && problem.to_json().len() < 400);
    }
}
