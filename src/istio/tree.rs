//! One YAML document as a tree that knows the line of every key and item.
//!
//! The parser (saphyr-parser) gives events with exact places, so a problem names the line of the field that is wrong.
//! Hostile documents are bounded here: their depth, and the expansion of aliases.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use foldhash::HashSet;
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};

mod outdent;

use outdent::Outdented;

/// Deepest nesting of a document: Istio's own messages need a dozen levels, and dropping a tree recurses.
const MAX_DEPTH: usize = 64;

/// Aliases may add at most this many times the document's own bytes ...
const ALIAS_GROWTH: usize = 10;

/// ... or this many bytes, if that is more. A list of a few anchored labels must work in a tiny file.
const ALIAS_FLOOR_BYTES: usize = 64 * 1024;

/// A value and the line in the file on which it starts.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// From 1.
    pub(super) line: u32,
    /// Whether it is a scalar without quotes or tag, of which other versions of YAML may make something else.
    pub(super) is_plain: bool,
    pub(super) value: Value,
}

/// A value of YAML 1.2's core schema, which covers Kubernetes' JSON.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(Box<Number>),
    Text(Box<str>),
    List(Box<[Node]>),
    Map(Box<[Entry]>),
}

/// A number, with the way it was written: `1.10` is a version as often as a number.
#[derive(Debug, Clone)]
pub(super) struct Number {
    pub(super) raw: Box<str>,
    /// `None` for a fraction, and for a number that does not fit.
    pub(super) whole: Option<i64>,
}

/// One `key: value` of a map. Keys are kept as written, whatever type YAML gives them.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: Arc<str>,
    /// The line of the key.
    pub(super) line: u32,
    /// Whether the key is without quotes or tag.
    pub(super) is_plain: bool,
    pub(super) node: Node,
}

/// Keys that were read, each of them once: a large configuration has a hundred different ones and a million in all.
#[derive(Debug, Default)]
pub(super) struct Keys(HashSet<Arc<str>>);

impl Keys {
    fn shared(&mut self, key: Box<str>) -> Arc<str> {
        if let Some(known) = self.0.get(&*key) {
            return known.clone();
        }
        let key: Arc<str> = key.into();
        self.0.insert(key.clone());
        key
    }
}

/// Something wrong with the text itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: u32,
    /// Path of the field, if the text could be understood that far.
    pub(super) path: String,
    pub(super) what: String,
}

impl Value {
    /// The type as messages call it: "must be a list, not a string".
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl Node {
    /// The value of a map's key, if this is a map and has it.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| *entry.key == *key).map(|entry| &entry.node),
            _ => None,
        }
    }

    /// The line of the field at `path`, or of its nearest ancestor that is written.
    /// A field's name may be in either spelling, `targetPort` or `target_port`.
    pub(super) fn line_of(&self, path: &str) -> u32 {
        self.follow(path).0
    }

    /// Whether the field at `path` is written.
    pub(super) fn has(&self, path: &str) -> bool {
        self.follow(path).1
    }

    /// The line of the last field on the path that exists, and whether that is the end of the path.
    fn follow(&self, path: &str) -> (u32, bool) {
        let (mut line, mut node) = (self.line, self);
        for segment in segments(path) {
            let next = match (&node.value, segment) {
                (Value::List(items), Segment::Bracketed(index)) => {
                    index.parse().ok().and_then(|index: usize| items.get(index)).map(|item| (item.line, item))
                }
                (Value::Map(entries), Segment::Bracketed(key)) => {
                    entries.iter().find(|entry| *entry.key == *key).map(|entry| (entry.line, &entry.node))
                }
                (Value::Map(entries), Segment::Field(name)) => {
                    entries.iter().find(|entry| same_field(&entry.key, name)).map(|entry| (entry.line, &entry.node))
                }
                _ => None,
            };
            let Some((at, below)) = next else { return (line, false) };
            (line, node) = (at, below);
        }
        (line, true)
    }
}

/// One step of a path: `.name`, or `[3]` and `[key]`.
enum Segment<'p> {
    Field(&'p str),
    Bracketed(&'p str),
}

fn segments(path: &str) -> impl Iterator<Item = Segment<'_>> {
    let mut rest = path;
    std::iter::from_fn(move || {
        rest = rest.strip_prefix('.').unwrap_or(rest);
        if rest.is_empty() {
            return None;
        }
        if let Some(inside) = rest.strip_prefix('[') {
            let (key, after) = inside.split_once(']')?;
            rest = after;
            return Some(Segment::Bracketed(key));
        }
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        rest = after;
        Some(Segment::Field(name))
    })
}

/// Whether two spellings name the same field: protojson takes `targetPort` and `target_port`.
fn same_field(a: &str, b: &str) -> bool {
    fn letters(name: &str) -> impl Iterator<Item = u8> {
        name.bytes().filter(|byte| *byte != b'_').map(|byte| byte.to_ascii_lowercase())
    }
    letters(a).eq(letters(b))
}

/// Parses the text of one document, which starts on line `first_line` of its file. A document without content is
/// `Value::Null`. Duplicate keys are reported and the first is kept; any other fault ends the document.
pub(super) fn parse(text: &str, first_line: u32, keys: &mut Keys) -> (Option<Node>, Vec<Fault>) {
    let mut text = Cow::Borrowed(text);
    let mut outdented = Outdented::new();
    loop {
        let mut builder = Builder::new(&text, first_line, keys);
        let fault = match builder.read(&text) {
            Ok(()) => {
                let root = builder.root.unwrap_or(Node { line: first_line, is_plain: false, value: Value::Null });
                return (Some(root), builder.faults);
            }
            Err(Stop::Fault(fault)) => fault,
            Err(Stop::Syntax(error)) => match outdented.mend(&text, &error) {
                Some(mended) => {
                    text = Cow::Owned(mended);
                    continue;
                }
                None => builder.syntax(&text, &error, &outdented),
            },
        };
        builder.faults.push(fault);
        return (None, builder.faults);
    }
}

/// Why reading a document ended early.
enum Stop {
    /// The text is not YAML.
    Syntax(ScanError),
    /// It is, and cannot be taken.
    Fault(Fault),
}

fn line_number(line: usize) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}

struct Builder<'k> {
    first_line: u32,
    keys: &'k mut Keys,
    frames: Vec<Frame>,
    /// Finished anchored values with their weight.
    anchors: HashMap<usize, (Node, usize)>,
    alias_budget: usize,
    root: Option<Node>,
    faults: Vec<Fault>,
}

/// A list or map that is being read.
struct Frame {
    line: u32,
    anchor: usize,
    kind: FrameKind,
}

enum FrameKind {
    List(Vec<Node>),
    /// `key` is the one whose value comes next.
    Map {
        entries: Vec<Entry>,
        /// The keys of `entries` with their lines, once these are too many to be looked through.
        seen: Option<HashMap<Arc<str>, u32>>,
        key: Option<Key>,
    },
}

/// A key whose value comes next.
struct Key {
    name: Arc<str>,
    line: u32,
    is_plain: bool,
}

/// Keys of a map that are looked through one by one.
const FEW: usize = 32;

/// The line on which a map has a key already.
fn line_of_key(entries: &[Entry], seen: Option<&HashMap<Arc<str>, u32>>, key: &str) -> Option<u32> {
    match seen {
        Some(seen) => seen.get(key).copied(),
        None => entries.iter().find(|entry| *entry.key == *key).map(|entry| entry.line),
    }
}

impl<'k> Builder<'k> {
    fn new(text: &str, first_line: u32, keys: &'k mut Keys) -> Self {
        Self {
            first_line,
            keys,
            frames: Vec::new(),
            anchors: HashMap::new(),
            alias_budget: (text.len() * ALIAS_GROWTH).max(ALIAS_FLOOR_BYTES),
            root: None,
            faults: Vec::new(),
        }
    }

    fn read(&mut self, text: &str) -> Result<(), Stop> {
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(Stop::Syntax)?;
            self.event(event, line_number(span.start.line())).map_err(Stop::Fault)?;
        }
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, line: u32) -> Result<(), Fault> {
        let line = line.max(1) - 1 + self.first_line;
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = self.scalar(&text, style, tag.as_deref(), line)?;
                let is_plain = style == ScalarStyle::Plain && tag.is_none();
                self.finish(Node { line, is_plain, value }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), "seq", line)?;
                self.open(line, anchor, FrameKind::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), "map", line)?;
                self.open(line, anchor, FrameKind::Map { entries: Vec::new(), seen: None, key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(frame) = self.frames.pop() else { return Ok(()) };
                let value = match frame.kind {
                    FrameKind::List(items) => Value::List(items.into()),
                    FrameKind::Map { entries, .. } => Value::Map(self.merged(entries)?.into()),
                };
                self.finish(Node { line: frame.line, is_plain: false, value }, frame.anchor)
            }
            Event::Alias(id) => match self.anchors.get(&id) {
                Some((node, weight)) => {
                    let (node, weight) = (node.clone(), *weight);
                    if self.frames.len() + depth(&node) > MAX_DEPTH {
                        return Err(self.fault(line, too_deep()));
                    }
                    self.charge(weight, line)?;
                    self.finish(Node { line, ..node }, 0)
                }
                None => Err(self.fault(line, "an alias inside the value that it stands for".to_owned())),
            },
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                Ok(())
            }
        }
    }

    fn open(&mut self, line: u32, anchor: usize, kind: FrameKind) -> Result<(), Fault> {
        if self.frames.len() >= MAX_DEPTH {
            return Err(self.fault(line, too_deep()));
        }
        self.frames.push(Frame { line, anchor, kind });
        Ok(())
    }

    /// Puts a complete value where it belongs: into the open list or map, or as the root.
    fn finish(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        if anchor != 0 {
            let weight = weigh(&node);
            self.charge(weight, node.line)?;
            self.anchors.insert(anchor, (node.clone(), weight));
        }
        let (line, is_plain) = (node.line, node.is_plain);
        match self.frames.last_mut() {
            None if self.root.is_some() => return Err(self.fault(line, "a second value in one document".to_owned())),
            None => self.root = Some(node),
            Some(Frame { kind: FrameKind::List(items), .. }) => items.push(node),
            Some(Frame { kind: FrameKind::Map { entries, seen, key }, .. }) => match key.take() {
                None => match key_text(node.value) {
                    Some(text) => *key = Some(Key { name: self.keys.shared(text), line, is_plain }),
                    None => {
                        return Err(
                            self.fault(line, "a key must be a scalar (a template has to be rendered first)".to_owned())
                        );
                    }
                },
                Some(Key { name, line: key_line, is_plain }) => match line_of_key(entries, seen.as_ref(), &name) {
                    Some(first) => {
                        let what = format!("duplicate key \"{name}\": the first is on line {first}");
                        self.faults.push(Fault { line: key_line, path: self.path(Some(&name)), what });
                    }
                    None => {
                        if entries.len() == FEW {
                            let all = entries.iter().map(|entry| (entry.key.clone(), entry.line));
                            *seen = Some(all.collect());
                        }
                        if let Some(seen) = seen {
                            seen.insert(name.clone(), key_line);
                        }
                        entries.push(Entry { key: name, line: key_line, is_plain, node });
                    }
                },
            },
        }
        Ok(())
    }

    /// Counts the nodes that an anchor or alias copies.
    fn charge(&mut self, weight: usize, line: u32) -> Result<(), Fault> {
        match self.alias_budget.checked_sub(weight) {
            Some(left) => self.alias_budget = left,
            None => {
                let what = format!("aliases expand to more than {ALIAS_GROWTH} times the document");
                return Err(self.fault(line, what));
            }
        }
        Ok(())
    }

    /// Applies `<<: *defaults`: keys of the merged map that the map itself does not have.
    fn merged(&self, entries: Vec<Entry>) -> Result<Vec<Entry>, Fault> {
        if !entries.iter().any(|entry| &*entry.key == "<<") {
            return Ok(entries);
        }
        let (merges, mut own): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| &*entry.key == "<<");
        for merge in merges {
            let sources = match merge.node.value {
                Value::List(items) => items,
                value => [Node { line: merge.line, is_plain: false, value }].into(),
            };
            for source in sources {
                let Value::Map(more) = source.value else {
                    return Err(self.fault(merge.line, "\"<<\" merges mappings only".to_owned()));
                };
                for entry in more {
                    if !own.iter().any(|mine| mine.key == entry.key) {
                        own.push(entry);
                    }
                }
            }
        }
        Ok(own)
    }

    fn scalar(&self, text: &str, style: ScalarStyle, tag: Option<&Tag>, line: u32) -> Result<Value, Fault> {
        let plain = style == ScalarStyle::Plain;
        match tag {
            None if plain => Ok(resolve(text)),
            None => Ok(Value::Text(text.into())),
            Some(tag) if tag.is_yaml_core_schema() => match tag.suffix.as_str() {
                "str" => Ok(Value::Text(text.into())),
                "null" | "bool" | "int" | "float" => Ok(resolve(text)),
                other => Err(self.fault(line, format!("the tag !!{other} has no meaning here"))),
            },
            // "!" alone: always a string.
            Some(tag) if tag.handle.is_empty() && tag.suffix == "!" => Ok(Value::Text(text.into())),
            Some(tag) => Err(self.fault(line, format!("the tag {}{} has no meaning here", tag.handle, tag.suffix))),
        }
    }

    fn check_tag(&self, tag: Option<&Tag>, native: &str, line: u32) -> Result<(), Fault> {
        match tag {
            Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == native) => {
                Err(self.fault(line, format!("the tag {}{} has no meaning here", tag.handle, tag.suffix)))
            }
            _ => Ok(()),
        }
    }

    fn syntax(&self, text: &str, error: &ScanError, outdented: &Outdented) -> Fault {
        // The end of the text is on a line after the last.
        let last = line_number(text.lines().count()).max(1);
        let line = line_number(error.marker().line()).clamp(1, last) - 1 + self.first_line;
        let column = outdented.column(error.marker().line(), error.marker().col());
        Fault { line, path: String::new(), what: format!("not valid YAML: {}, at column {column}", error.info()) }
    }

    fn fault(&self, line: u32, what: String) -> Fault {
        Fault { line, path: self.path(None), what }
    }

    /// Path of the value that is being read; `key` is a last step that the innermost frame does not hold.
    fn path(&self, key: Option<&str>) -> String {
        let mut path = String::new();
        for frame in &self.frames {
            match &frame.kind {
                FrameKind::List(items) => path.push_str(&format!("[{}]", items.len())),
                FrameKind::Map { key: Some(Key { name, .. }), .. } => push_key(&mut path, name),
                FrameKind::Map { key: None, .. } => {}
            }
        }
        if let Some(key) = key {
            push_key(&mut path, key);
        }
        path
    }
}

fn push_key(path: &mut String, key: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(key);
}

fn too_deep() -> String {
    format!("nested more than {MAX_DEPTH} levels deep")
}

/// Bytes that a copy of the node costs, roughly.
fn weigh(node: &Node) -> usize {
    const NODE: usize = 8;
    NODE + match &node.value {
        Value::Null | Value::Bool(_) => 0,
        Value::Number(number) => number.raw.len(),
        Value::Text(text) => text.len(),
        Value::List(items) => items.iter().map(weigh).sum(),
        Value::Map(entries) => entries.iter().map(|entry| entry.key.len() + weigh(&entry.node)).sum(),
    }
}

fn depth(node: &Node) -> usize {
    match &node.value {
        Value::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Map(entries) => 1 + entries.iter().map(|entry| depth(&entry.node)).max().unwrap_or(0),
        _ => 0,
    }
}

fn key_text(value: Value) -> Option<Box<str>> {
    match value {
        Value::Null => Some("null".into()),
        Value::Bool(truth) => Some(truth.to_string().into()),
        Value::Number(number) => Some(number.raw),
        Value::Text(text) => Some(text),
        Value::List(_) | Value::Map(_) => None,
    }
}

/// The core schema's reading of an unquoted scalar (YAML 1.2.2, section 10.3.2).
fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    match number(text) {
        Some(whole) => Value::Number(Box::new(Number { raw: text.into(), whole })),
        None => Value::Text(text.into()),
    }
}

/// `None`: not a number; `Some(None)`: one that is not whole, or does not fit.
fn number(text: &str) -> Option<Option<i64>> {
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix)
            && !digits.is_empty()
            && digits.chars().all(|digit| digit.is_digit(radix))
        {
            return Some(i64::from_str_radix(digits, radix).ok());
        }
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN") {
        return Some(None);
    }
    // Rust's parser takes the core schema's numbers, and words ("inf", "nan", "infinity") that are strings in YAML.
    let numeric = unsigned.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
        && unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    if !numeric {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    // protojson takes 1e3 and 80.0 for integers; above 2^53 every float is whole, so that is no proof of an integer.
    let exact = value.fract() == 0.0 && value.abs() < 9e15;
    Some(text.parse().ok().or_else(|| exact.then_some(value as i64)))
}

#[cfg(test)]
mod tests;
