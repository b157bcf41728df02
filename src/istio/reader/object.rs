//! A mapping whose keys are fields: checked against the table of its message when it is opened, and looked up by name.
//!
//! Only the reader opens one; every kind's reading function gets its fields here. It reports unknown, misspelt, doubled,
//! removed and missing fields, and must not look at values.

use super::{Entry, Item, Message, Severity, State, Without, did_you_mean, nearest};

/// An object whose fields can be looked up by their camelCase names.
pub(in crate::istio) struct Object<'a> {
    pub(in crate::istio) item: Item<'a>,
    pub(super) entries: &'a [Entry],
    /// Its fields, where others are errors.
    pub(super) message: Option<&'static Message>,
}

impl<'a> Object<'a> {
    /// The field's value; `None` if it is absent or `null`.
    pub(in crate::istio) fn get(&self, name: &str) -> Option<Item<'a>> {
        self.written(name).filter(|item| !item.is_null())
    }

    /// The field's value; reports its absence.
    pub(in crate::istio) fn required(&self, name: &str) -> Option<Item<'a>> {
        let found = self.get(name);
        if found.is_none() {
            self.item.reader.damage.borrow_mut().unread(&self.path_of(name));
            if !self.is_misspelt(name) {
                self.item.error(format!("\"{name}\" is required"), "");
            }
        }
        found
    }

    /// Whether a field has an error, or seems to exist under another name: then its absence proves nothing.
    pub(in crate::istio) fn is_damaged(&self, name: &str) -> bool {
        let damage = self.item.reader.damage.borrow();
        // Nearly every document is valid, and formatting a path costs time.
        !damage.is_empty() && damage.touch(&self.path_of(name))
    }

    fn path_of(&self, name: &str) -> String {
        match self.item.path.as_str() {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        }
    }

    /// Whether a field seems to be there under another name, which has been reported as an error.
    fn is_misspelt(&self, name: &str) -> bool {
        let Some(message) = self.message.filter(|_| !self.item.reader.permissive) else { return false };
        let names: Vec<_> = message.fields.iter().map(|field| field.name).collect();
        let unknown = self.entries.iter().filter(|entry| !names.iter().any(|name| spells(&entry.key, name)));
        unknown.into_iter().any(|entry| nearest(&entry.key, &names) == Some(name))
    }

    /// Whether no field is written.
    pub(in crate::istio) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether any of the fields is written.
    pub(in crate::istio) fn has_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.get(name).is_some())
    }

    /// The items of a list field; empty when absent.
    pub(in crate::istio) fn list(&self, name: &str) -> Vec<Item<'a>> {
        self.get(name).map(|item| item.list()).unwrap_or_default()
    }

    /// A string field; empty when absent.
    pub(in crate::istio) fn text(&self, name: &str) -> String {
        self.get(name).and_then(|item| item.string()).unwrap_or_default().to_owned()
    }

    /// Reads a field only for its problems.
    pub(in crate::istio) fn verify<T>(&self, name: &str, read: impl Fn(&Item<'a>) -> Option<T>) {
        let _ = self.get(name).and_then(|item| read(&item));
    }

    /// Reads the items of a list field only for their problems.
    pub(in crate::istio) fn verify_each<T>(&self, name: &str, read: impl Fn(&Item<'a>) -> Option<T>) {
        for item in self.list(name) {
            let _ = read(&item);
        }
    }

    fn written(&self, name: &str) -> Option<Item<'a>> {
        let entry = self.entries.iter().find(|entry| spells(&entry.key, name))?;
        Some(self.at(entry))
    }

    fn at(&self, entry: &'a Entry) -> Item<'a> {
        let mut path = String::with_capacity(self.item.path.len() + 1 + entry.key.len());
        path.push_str(&self.item.path);
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(&entry.key);
        Item { reader: self.item.reader, node: &entry.node, line: entry.line, path }
    }

    pub(super) fn check(&self, entry: &'a Entry, before: &[Entry], message: &'static Message, tells_not_yet: bool) {
        let Some(field) = message.fields.iter().find(|field| spells(&entry.key, field.name)) else {
            return self.unknown(&self.at(entry), &entry.key, message);
        };
        let twin = before.iter().find(|twin| spells(&twin.key, field.name));
        // Nearly every field takes this branch, and formatting a place costs time.
        if twin.is_none() && matches!(field.state, State::Enforced | State::Ignored(_)) {
            return;
        }
        let item = self.at(entry);
        if let Some(twin) = twin {
            return item
                .error(format!("\"{}\" and \"{}\" are the same field", twin.key, entry.key), "keep one of them");
        }
        match field.state {
            State::Enforced | State::Ignored(_) => {}
            State::Deprecated(instead) => item.warn(format!("\"{}\" is deprecated", entry.key), instead),
            State::Removed(instead) => item.error(format!("\"{}\" was removed from Istio", entry.key), instead),
            State::NotYet(_) | State::NoEffect(_) if item.is_null() || !tells_not_yet => {}
            State::NotYet(without) => item.not_enforced(&format!("\"{}\"", entry.key), without),
            State::NoEffect(reason) => item.warn(format!("\"{}\" has no effect: {reason}", entry.key), ""),
        }
    }

    fn unknown(&self, item: &Item<'_>, key: &str, message: &'static Message) {
        let names: Vec<_> = message.fields.iter().map(|field| field.name).collect();
        let what = format!("unknown field \"{key}\" in {}", message.name);
        // Its meaning is unknown.
        let (severity, _) = item.reader.without(Without::More);
        if let Some(meant) = nearest(key, &names).filter(|_| severity == Severity::Error) {
            item.reader.damage.borrow_mut().unread(&self.path_of(meant));
        }
        item.reader.refuse(severity, item.line, &item.path, what, did_you_mean(key, &names));
    }
}

/// Whether `written` is `name` (lowerCamelCase) in either of protojson's spellings.
fn spells(written: &str, name: &str) -> bool {
    if written == name {
        return true;
    }
    let mut written = written.bytes();
    for byte in name.bytes() {
        if byte.is_ascii_uppercase() {
            if written.next() != Some(b'_') || written.next() != Some(byte.to_ascii_lowercase()) {
                return false;
            }
        } else if written.next() != Some(byte) {
            return false;
        }
    }
    written.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_name_a_field() {
        for (written, name, same) in [
            ("hosts", "hosts", true),
            ("trafficPolicy", "trafficPolicy", true),
            ("traffic_policy", "trafficPolicy", true),
            ("TrafficPolicy", "trafficPolicy", false),
            ("traffic_Policy", "trafficPolicy", false),
            ("trafficpolicy", "trafficPolicy", false),
            ("traffic_policy_", "trafficPolicy", false),
            ("host", "hosts", false),
        ] {
            assert_eq!(spells(written, name), same, "{written} {name}");
        }
    }
}
