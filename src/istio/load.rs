//! Texts to documents.
//!
//! Splits what a source of configuration has read into documents, unwraps `kind: List`, and leaves each resource with its
//! place. The meaning of documents is `model`'s; the list of files is the source's. It must not read a file.

use std::sync::Arc;

use serde::de::IgnoredAny;

use super::document::{Document, is_list, resource_name};
use super::parallel;
use super::problem::{Problem, Severity};
use super::tree::{self, Fault, Keys, Node, Value};

/// Text that keeps a thread busy for longer than it takes to start: some ten milliseconds.
const BYTES_PER_THREAD: usize = 256 * 1024;

/// The documents of a configuration, in the order in which their texts were added, and the problems of these texts.
#[derive(Debug, Default)]
pub struct Documents {
    /// The name of every text that was added or refused, for problems.
    pub(super) names: Vec<Arc<str>>,
    pub(super) documents: Vec<Document>,
    pub(super) problems: Vec<Problem>,
}

impl Documents {
    /// Adds the documents of a text, which is called `name` in problems.
    pub fn add(&mut self, name: &str, bytes: &[u8]) {
        match std::str::from_utf8(bytes) {
            Ok(text) => {
                let file = self.name(name);
                let documents = parse(&split(text), parallel::threads(text.len(), BYTES_PER_THREAD));
                self.documents(&file, documents);
            }
            Err(error) => {
                let (good, bad) = bytes.split_at(error.valid_up_to());
                let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
                let column = 1 + good.iter().rev().take_while(|byte| **byte != b'\n').count();
                let byte = bad.first().copied().unwrap_or_default();
                let what = format!("not UTF-8: byte 0x{byte:02X} at column {column}");
                self.complain(name, u32::try_from(line).unwrap_or(u32::MAX), &what, "save the file as UTF-8");
            }
        }
    }

    /// Notes that there is no text of this name, and why: an error.
    pub fn refuse(&mut self, name: &str, what: &str, instead: &str) {
        self.complain(name, 0, what, instead);
    }

    /// Takes the documents of a file.
    fn documents(&mut self, file: &Arc<str>, documents: Vec<Parsed>) {
        for (root, faults) in documents {
            if !faults.is_empty() {
                let resource: Arc<str> = root.as_ref().map(resource_name).unwrap_or_default().into();
                self.problems.extend(faults.into_iter().map(|fault| Problem {
                    severity: Severity::Error,
                    file: file.clone(),
                    line: fault.line,
                    resource: resource.clone(),
                    path: fault.path,
                    what: fault.what,
                    instead: String::new(),
                }));
            }
            if let Some(root) = root {
                self.unwrap_list(file, root);
            }
        }
    }

    /// Adds a document, or the items of a `kind: List` (also `ServiceList` and its like, which kubectl prints).
    fn unwrap_list(&mut self, file: &Arc<str>, mut root: Node) {
        match root.value {
            Value::Null => return,
            Value::List(_) => {
                let what = "is a bare list, which kubectl does not read either";
                let instead = "write the objects one after another, or \"kind: List\" with the list as its \"items\"";
                return self.complain(file, root.line, what, instead);
            }
            _ => {}
        }
        let is_known_list = is_list(&root);
        let may_be_list =
            matches!(root.get("kind").map(|kind| &kind.value), Some(Value::Text(kind)) if kind.ends_with("List"));
        if may_be_list
            && let Value::Map(entries) = &mut root.value
            && let Some(items) = entries.iter_mut().find(|entry| &*entry.key == "items")
        {
            let items_line = items.line;
            let items = std::mem::replace(&mut items.node.value, Value::Null);
            if is_known_list {
                self.documents.push(Document { file: file.clone(), root: Arc::new(root), is_list: true });
            }
            match items {
                Value::List(items) => {
                    for item in items {
                        self.unwrap_list(file, item);
                    }
                }
                Value::Null => {}
                other => {
                    let what = format!("must be a list, not {}", other.kind());
                    self.complain_about(file, items_line, "items", &what, "");
                }
            }
            return;
        }
        self.documents.push(Document { file: file.clone(), root: Arc::new(root), is_list: is_known_list });
    }

    fn name(&mut self, name: &str) -> Arc<str> {
        let name: Arc<str> = name.into();
        self.names.push(name.clone());
        name
    }

    fn complain(&mut self, file: &str, line: u32, what: &str, instead: &str) {
        self.complain_about(file, line, "", what, instead);
    }

    fn complain_about(&mut self, file: &str, line: u32, path: &str, what: &str, instead: &str) {
        let file = self.name(file);
        self.problems.push(Problem {
            severity: Severity::Error,
            file,
            line,
            resource: "".into(),
            path: path.to_owned(),
            what: what.to_owned(),
            instead: instead.to_owned(),
        });
    }
}

/// A document: its tree, and the faults of its text.
type Parsed = (Option<Node>, Vec<Fault>);

/// Parses documents, each with its first line. It takes most of the time of reading.
fn parse(documents: &[(u32, &str)], threads: usize) -> Vec<Parsed> {
    let all = |share: &[(u32, &str)]| -> Vec<Parsed> {
        let mut keys = Keys::default();
        share.iter().map(|(first_line, text)| tree::parse(text, *first_line, &mut keys)).collect()
    };
    parallel::each_share(documents, threads, |(_, text)| text.len(), all).into_iter().flatten().collect()
}

/// Cuts a file into its documents. Yields each part's first line and text.
fn split(text: &str) -> Vec<(u32, &str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    split_at_markers(text).into_iter().flat_map(|(line, part)| split_json(line, part)).collect()
}

/// Splits a sequence of JSON objects, as jq writes and kubectl reads it: YAML itself takes only one. The rest after the
/// last object is the last part. Any other text is one part.
fn split_json(line: u32, text: &str) -> Vec<(u32, &str)> {
    let body = text.strip_prefix("---").unwrap_or(text);
    let mut parts = Vec::new();
    let (mut start, mut at) = (0, line);
    let mut objects = serde_json::Deserializer::from_str(body).into_iter::<IgnoredAny>();
    while start < body.len() {
        let blank = body.len() - start - body.get(start..).unwrap_or_default().trim_start().len();
        at += lines_in(body.get(start..start + blank).unwrap_or_default());
        start += blank;
        let rest = body.get(start..).unwrap_or_default();
        if !rest.starts_with('{') || !matches!(objects.next(), Some(Ok(_))) {
            break;
        }
        let object = body.get(start..objects.byte_offset()).unwrap_or_default();
        parts.push((at, object));
        at += lines_in(object);
        start = objects.byte_offset();
    }
    match body.get(start..) {
        _ if parts.len() < 2 => return vec![(line, text)],
        Some(rest) if !rest.lines().all(is_blank) => parts.push((at, rest)),
        _ => {}
    }
    parts
}

fn lines_in(text: &str) -> u32 {
    u32::try_from(text.bytes().filter(|byte| *byte == b'\n').count()).unwrap_or(u32::MAX / 2)
}

/// Cuts a file at its document markers (`---` and `...` on a line of their own, or `---` before content), so that a
/// syntax error in one document does not hide the others. YAML forbids these at the start of a line inside a scalar.
/// Yields each part's first line and text.
fn split_at_markers(text: &str) -> Vec<(u32, &str)> {
    let mut parts = Vec::new();
    let (mut start, mut start_line, mut at) = (0, 1, 0);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let number = u32::try_from(index).unwrap_or(u32::MAX - 1) + 1;
        if is_marker(line, "---") {
            parts.push((start_line, &text[start..at]));
            (start, start_line) = (at, number);
        } else if is_marker(line, "...") {
            parts.push((start_line, &text[start..at]));
            (start, start_line) = (at + line.len(), number + 1);
        }
        at += line.len();
    }
    parts.push((start_line, &text[start..]));
    parts.retain(|(_, part)| !part.lines().all(is_blank));
    parts
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Whether a line has no content: empty, a comment, a directive (`%YAML 1.2`), or a bare marker.
fn is_blank(line: &str) -> bool {
    let line = line.strip_prefix("---").unwrap_or(line).trim();
    line.is_empty() || line.starts_with('#') || line.starts_with('%')
}

#[cfg(test)]
mod tests;
