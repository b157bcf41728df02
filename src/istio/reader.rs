//! Walks one resource's tree, field by field, and reports every problem.
//!
//! Each message type of the model has a [`Message`]: the table of *all* its fields in Istio, enforced or not. Opening an object
//! checks its keys against the table at once, so no field can be dropped in silence; the reading functions only deal with values. A
//! reading function returns `None` when it has reported why, and its callers go on with the next field: one run shows every problem.
//! Unreadable fields are recorded (`damage`), so that their absence is not reported as another problem: checks call
//! `Object::is_damaged` first.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use foldhash::HashSet;

use super::damage::Fields;
use super::model::scalar::labels::{self, Labels};
use super::model::scalar::parse_duration;
use super::problem::{Problem, Severity, Source};
use super::tree::{Entry, Node, Value};

mod fields;
mod object;
mod suggest;
mod words;

pub use fields::{Field, Message, State, Without};
pub(super) use fields::{deprecated, enforced, ignored, no_effect, not_yet, not_yet_harmless, removed};

pub(super) use object::Object;
pub(super) use suggest::{did_you_mean, nearest};

/// Severity and hint of something that Istio has and ringway does not enforce.
pub(super) fn not_enforced(permissive: bool) -> (Severity, &'static str) {
    if permissive {
        (Severity::Warning, "it is left out")
    } else {
        (Severity::Error, "remove it, or pass --permissive to serve without it")
    }
}

/// As [`not_enforced`], of something without which `part` is not served, either.
pub(super) fn not_enforced_in(part: &str, permissive: bool) -> (Severity, String) {
    match not_enforced(permissive) {
        (Severity::Error, _) => {
            (Severity::Error, format!("remove it, or pass --permissive, which then does not serve this {part}"))
        }
        (severity, instead) => (severity, instead.to_owned()),
    }
}

/// The advice for a string that looks like another type.
fn quoted(text: &str) -> String {
    format!("quote it: \"{text}\"")
}

/// Something that was read, and whether it must not be served.
pub(super) struct Part<T> {
    /// The value that was read.
    pub(super) value: T,
    /// Whether something in it is left out without which more would be served than is written.
    pub(super) withheld: bool,
}

/// The reading of one resource.
pub(super) struct ResourceReader<'a> {
    source: &'a Source,
    /// Turns unknown fields and fields that are not enforced into warnings, and withholds the parts that they may restrict.
    permissive: bool,
    /// Whether kubectl reads such a document, too: not that of the proxy itself.
    is_for_kubectl: bool,
    problems: &'a RefCell<Vec<Problem>>,
    /// The number of fields of the resource that are left out (`--permissive`).
    left_out: Cell<usize>,
    /// How much is left out without which more would be served than is written, and is not yet accounted for by a part
    /// that is withheld. Only `--permissive` leaves anything out.
    gaps: Cell<usize>,
    /// Whether the resource is about everything that is served, so that no part of it can be withheld.
    indivisible: bool,
    /// The part that is being read, `None` for the whole: it is withheld if a field is left out that restricts it.
    part: Cell<Option<&'static str>>,
    /// The reports on the resource, with their paths: a field that is read twice is reported once.
    said: RefCell<HashSet<(String, String)>>,
    /// Which fields could not be read.
    damage: RefCell<Fields>,
}

impl<'a> ResourceReader<'a> {
    pub(super) fn new(source: &'a Source, permissive: bool, problems: &'a RefCell<Vec<Problem>>) -> Self {
        let is_for_kubectl = !source.resource.starts_with("Proxy/");
        Self {
            source,
            permissive,
            is_for_kubectl,
            problems,
            indivisible: false,
            part: Cell::new(None),
            left_out: Cell::new(0),
            damage: RefCell::default(),
            said: RefCell::default(),
            gaps: Cell::new(0),
        }
    }

    /// The same for a resource of which no part can be withheld.
    pub(super) fn indivisible(self) -> Self {
        Self { indivisible: true, ..self }
    }

    /// The resource itself.
    pub(super) fn root(&'a self, node: &'a Node) -> Item<'a> {
        Item { reader: self, node, line: node.line, path: String::new() }
    }

    /// Which fields could not be read.
    pub(super) fn into_damage(self) -> Fields {
        self.damage.into_inner()
    }

    /// Reports a field that is not enforced: as an error, or with `--permissive` as a warning, which counts as left out.
    fn refuse(&self, severity: Severity, line: u32, path: &str, what: String, instead: String) {
        match severity {
            Severity::Error => self.damage.borrow_mut().wrong(path),
            _ => self.left_out.set(self.left_out.get() + 1),
        }
        self.report(severity, line, path, what, instead);
    }

    /// The severity of leaving a field out, and the consequence.
    fn without(&self, without: Without) -> (Severity, String) {
        let (severity, instead) = match (self.permissive, without) {
            (true, Without::More) if self.indivisible => {
                (Severity::Error, "remove it: more would be served without it, so --permissive does not leave it out")
            }
            (false, Without::More) if self.indivisible => (Severity::Error, "remove it"),
            (permissive, Without::More) => {
                if permissive {
                    self.gaps.set(self.gaps.get() + 1);
                }
                let kind = || self.source.resource.split('/').next().unwrap_or_default();
                return not_enforced_in(self.part.get().unwrap_or_else(kind), permissive);
            }
            (permissive, Without::NoMore) => not_enforced(permissive),
        };
        (severity, instead.to_owned())
    }

    fn report(&self, severity: Severity, line: u32, path: &str, what: String, instead: String) {
        if !self.said.borrow_mut().insert((path.to_owned(), what.clone())) {
            return;
        }
        self.problems.borrow_mut().push(Problem {
            severity,
            file: self.source.file.clone(),
            line,
            resource: self.source.resource.clone(),
            path: path.to_owned(),
            what,
            instead,
        });
    }
}

/// A value at its place.
#[derive(Clone)]
pub(super) struct Item<'a> {
    reader: &'a ResourceReader<'a>,
    node: &'a Node,
    /// The line of its key, if it has one.
    line: u32,
    path: String,
}

impl<'a> Item<'a> {
    pub(super) fn line(&self) -> u32 {
        self.line
    }

    /// The field, as `spec.hosts[0]`.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// How much has been left out so far: two counts show whether the fields read between them are served as written. Errors do not
    /// count: after one nothing is served, and only the problems of the rest matter.
    pub(super) fn left_out(&self) -> usize {
        self.reader.left_out.get()
    }

    /// Whether anything of this value has an error.
    pub(super) fn is_damaged(&self) -> bool {
        self.reader.damage.borrow().touch(&self.path)
    }

    /// The place of the whole resource.
    pub(super) fn source(&self) -> &'a Source {
        self.reader.source
    }

    pub(super) fn error(&self, what: impl Into<String>, instead: impl Into<String>) {
        self.reader.refuse(Severity::Error, self.line, &self.path, what.into(), instead.into());
    }

    /// An error about another field of the same resource.
    pub(super) fn error_elsewhere(&self, path: &str, what: impl Into<String>, instead: impl Into<String>) {
        let line = self.reader.source.line_of(path);
        self.reader.refuse(Severity::Error, line, path, what.into(), instead.into());
    }

    pub(super) fn warn(&self, what: impl Into<String>, instead: impl Into<String>) {
        self.reader.report(Severity::Warning, self.line, &self.path, what.into(), instead.into());
    }

    pub(super) fn note(&self, what: impl Into<String>, instead: impl Into<String>) {
        self.reader.report(Severity::Note, self.line, &self.path, what.into(), instead.into());
    }

    /// Reads a part of the configuration, called `name`, that is served as it is written, or not at all.
    pub(super) fn part<T>(&self, name: &'static str, read: impl FnOnce() -> T) -> Part<T> {
        let ResourceReader { gaps, part, .. } = self.reader;
        let (before, around) = (gaps.replace(0), part.replace(Some(name)));
        let value = read();
        part.set(around);
        Part { value, withheld: gaps.replace(before) > 0 }
    }

    /// Makes a part that is withheld one that the whole must not be served without.
    pub(super) fn leave_gap(&self) {
        self.reader.gaps.set(self.reader.gaps.get() + 1);
    }

    /// Whether something is left out that no part accounts for.
    pub(super) fn has_gaps(&self) -> bool {
        self.reader.gaps.get() > 0
    }

    /// Reports the consequence of withholding a part.
    pub(super) fn withheld(&self, consequence: &str) {
        self.warn(format!("{consequence}, since not all of it is enforced"), "");
    }

    /// Istio has this value and ringway does not enforce it: an error, with `--permissive` a warning.
    pub(super) fn not_enforced(&self, what: &str, without: Without) {
        let (severity, instead) = self.reader.without(without);
        let what = format!("{what} is not enforced by ringway yet");
        self.reader.refuse(severity, self.line, &self.path, what, instead);
    }

    fn wrong_type(&self, wanted: &str) {
        let instead = match &self.node.value {
            Value::Number(number) if wanted == "a string" => quoted(&number.raw),
            Value::Bool(truth) if wanted == "a string" => quoted(&truth.to_string()),
            Value::Text(text) if wanted == "a whole number" && text.parse::<i64>().is_ok() => {
                format!("write {text} without quotes")
            }
            _ => String::new(),
        };
        let what = match &self.node.value {
            Value::Number(number) if wanted == "a whole number" => {
                format!("must be a whole number, not {}", number.raw)
            }
            value => format!("must be {wanted}, not {}", value.kind()),
        };
        self.reader.damage.borrow_mut().unread(&self.path);
        self.error(what, instead);
    }

    /// Whether fields that are not enforced are left out (`--permissive`).
    pub(super) fn is_permissive(&self) -> bool {
        self.reader.permissive
    }

    /// Whether the value is `null`.
    pub(super) fn is_null(&self) -> bool {
        matches!(self.node.value, Value::Null)
    }

    /// Whether the value is a string.
    pub(super) fn is_text(&self) -> bool {
        matches!(self.node.value, Value::Text(_))
    }

    /// Whether the value is `false`, as which older YAML reads an unquoted `off`.
    pub(super) fn is_false(&self) -> bool {
        matches!(self.node.value, Value::Bool(false))
    }

    /// Whether the value is a list.
    pub(super) fn is_list(&self) -> bool {
        matches!(self.node.value, Value::List(_))
    }

    /// Whether the value is a number.
    pub(super) fn is_number(&self) -> bool {
        matches!(self.node.value, Value::Number(_))
    }

    pub(super) fn string(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::Text(text) => {
                if self.node.is_plain
                    && self.reader.is_for_kubectl
                    && let Some(other) = words::elsewhere(text)
                {
                    self.note(format!("{text} without quotes is a string here, and {other}"), quoted(text));
                }
                Some(text)
            }
            _ => {
                self.wrong_type("a string");
                None
            }
        }
    }

    pub(super) fn nonempty_string(&self) -> Option<&'a str> {
        let text = self.string()?;
        if text.is_empty() {
            self.error("must not be empty", "");
            return None;
        }
        Some(text)
    }

    pub(super) fn bool(&self) -> Option<bool> {
        match &self.node.value {
            Value::Bool(truth) => Some(*truth),
            _ => {
                self.wrong_type("true or false");
                None
            }
        }
    }

    /// A whole number between `min` and `max`.
    pub(super) fn whole(&self, min: u32, max: u32) -> Option<u32> {
        match &self.node.value {
            Value::Number(number) => match number.whole {
                Some(whole) => match u32::try_from(whole) {
                    Ok(whole) if (min..=max).contains(&whole) => {
                        if let Some(octal) = words::octal(&number.raw).filter(|_| self.reader.is_for_kubectl) {
                            let what = format!("{} is {whole} here, and {octal} to kubectl (octal)", number.raw);
                            self.note(what, format!("write {whole} or {octal}"));
                        }
                        Some(whole)
                    }
                    _ => {
                        self.error(format!("must be between {min} and {max}, not {whole}"), "");
                        None
                    }
                },
                None => {
                    self.wrong_type("a whole number");
                    None
                }
            },
            _ => {
                self.wrong_type("a whole number");
                None
            }
        }
    }

    /// A TCP port: 1 to 65535.
    pub(super) fn port(&self) -> Option<u16> {
        self.whole(1, u32::from(u16::MAX)).and_then(|port| u16::try_from(port).ok())
    }

    /// The position of the value in `names`. protojson also takes an enum's number; ringway does not, since it is not used in
    /// practice.
    pub(super) fn one_of(&self, names: &[&'static str]) -> Option<&'static str> {
        let text = self.string()?;
        let found = names.iter().find(|name| **name == text);
        if found.is_none() {
            self.error(format!("\"{text}\" is not one of {}", names.join(", ")), did_you_mean(text, names));
        }
        found.copied()
    }

    /// A number, whole or not, between `min` and `max`.
    pub(super) fn decimal(&self, min: f64, max: f64) -> Option<f64> {
        let Value::Number(number) = &self.node.value else {
            self.wrong_type("a number");
            return None;
        };
        match number.raw.parse::<f64>() {
            Ok(value) if (min..=max).contains(&value) => Some(value),
            _ => {
                let bounds = match (min > 0.0, max < f64::MAX) {
                    (false, true) => format!("must be between {min} and {max}"),
                    (_, true) => format!("must be above 0 and at most {max}"),
                    (true, false) => "must be above 0".to_owned(),
                    (false, false) => format!("must be at least {min}"),
                };
                self.error(format!("{bounds}, not {}", number.raw), "");
                None
            }
        }
    }

    /// A duration of at least a millisecond, in whole milliseconds: Istio's rule for nearly every field.
    pub(super) fn duration(&self) -> Option<Duration> {
        self.any_duration(Duration::from_millis(1))
    }

    /// A duration in whole milliseconds that may be 0.
    pub(super) fn duration_or_zero(&self) -> Option<Duration> {
        self.any_duration(Duration::ZERO)
    }

    fn any_duration(&self, min: Duration) -> Option<Duration> {
        let text = match &self.node.value {
            Value::Text(text) => text,
            Value::Number(number) => {
                self.error("must be a duration, not a number", format!("give it a unit: {}s", number.raw));
                return None;
            }
            _ => {
                self.wrong_type("a duration");
                return None;
            }
        };
        let example = "write it like 1h, 1m30s, 1.5s or 100ms";
        match parse_duration(text) {
            Err(why) => self.error(format!("\"{text}\" {why}"), example),
            Ok(duration) if duration < min => {
                self.error(format!("\"{text}\" is shorter than 1ms"), "leave the field out for its default");
            }
            Ok(duration) if duration.subsec_nanos() % 1_000_000 != 0 => {
                self.error(format!("\"{text}\" is not a whole number of milliseconds"), example);
            }
            Ok(duration) => return Some(duration),
        }
        None
    }

    /// The items of a list; empty, with a report, if it is not a list.
    pub(super) fn list(&self) -> Vec<Item<'a>> {
        let Value::List(items) = &self.node.value else {
            self.wrong_type("a list");
            return Vec::new();
        };
        let item = |(index, node): (usize, &'a Node)| Item {
            reader: self.reader,
            node,
            line: node.line,
            path: format!("{}[{index}]", self.path),
        };
        items.iter().enumerate().map(item).collect()
    }

    /// The strings of a list.
    pub(super) fn strings(&self) -> Vec<String> {
        self.list().iter().filter_map(Item::string).map(str::to_owned).collect()
    }

    /// The entries of a map whose keys are data, such as labels and header names: never rewritten.
    pub(super) fn data_map(&self) -> Vec<(&'a str, Item<'a>)> {
        let Some(entries) = self.entries() else { return Vec::new() };
        let value = |entry: &'a Entry| {
            let path = format!("{}[{}]", self.path, entry.key);
            if entry.is_plain
                && self.reader.is_for_kubectl
                && let Some(other) = words::elsewhere(&entry.key)
            {
                let what = format!("the key {} without quotes is a string here, and {other}", entry.key);
                self.reader.report(Severity::Note, entry.line, &path, what, quoted(&entry.key));
            }
            (&*entry.key, Item { reader: self.reader, node: &entry.node, line: entry.line, path })
        };
        entries.iter().map(value).collect()
    }

    /// Labels, with their syntax checked.
    pub(super) fn labels(&self) -> Labels {
        let mut found = Labels::new();
        for (key, value) in self.data_map() {
            if let Err(why) = labels::check_key(key) {
                value.error(format!("label name \"{key}\" {why}"), "");
            }
            if let Some(text) = value.string() {
                if let Err(why) = labels::check_value(text) {
                    value.error(format!("label value \"{text}\" {why}"), "");
                }
                found.insert(key.to_owned(), text.to_owned());
            }
        }
        found
    }

    /// A map of strings whose syntax does not matter here.
    pub(super) fn string_map(&self) -> BTreeMap<String, String> {
        let value = |(key, value): (&str, Item<'_>)| Some((key.to_owned(), value.string()?.to_owned()));
        self.data_map().into_iter().filter_map(value).collect()
    }

    fn entries(&self) -> Option<&'a [Entry]> {
        match &self.node.value {
            Value::Map(entries) => Some(entries),
            _ => {
                self.wrong_type("a mapping");
                None
            }
        }
    }

    /// Opens an object of Istio's: every key is checked against the message's table.
    pub(super) fn object(&self, message: &'static Message) -> Option<Object<'a>> {
        self.checked(message, true)
    }

    /// Opens an object inside a field that is not enforced yet and was reported as a whole: problems inside it are found all the
    /// same.
    pub(super) fn outline(&self, message: &'static Message) -> Option<Object<'a>> {
        self.checked(message, false)
    }

    fn checked(&self, message: &'static Message, tells_not_yet: bool) -> Option<Object<'a>> {
        let entries = self.entries()?;
        let object = Object { item: self.clone(), entries, message: Some(message) };
        for (index, entry) in entries.iter().enumerate() {
            object.check(entry, &entries[..index], message, tells_not_yet);
        }
        Some(object)
    }

    /// Opens an object of a Kubernetes kind: other keys than the ones looked up are ignored.
    pub(super) fn open(&self) -> Option<Object<'a>> {
        Some(Object { item: self.clone(), entries: self.entries()?, message: None })
    }
}
