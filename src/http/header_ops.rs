//! Operations of rules on the header fields of one message: the lines that are removed, and those that are added.
//!
//! A stream has one of these for its request and one for its response; the router fills it by the rules, and
//! [`super::outgoing`] applies it while the head is sent. Filling it again allocates nothing once it has grown.

use super::field_value;
use super::head::{HeaderLine, Known, Span};

/// Names to leave out and lines to write, ready to be copied.
#[derive(Debug, Clone, Default)]
pub struct HeaderOps {
    /// The names that go, one after the other.
    names: Vec<u8>,
    gone: Vec<(Known, Span)>,
    /// A bit for each id among `gone`.
    ids: u32,
    /// A bit for the length of each name among `gone`; bit 63 for all longer ones.
    lengths: u64,
    /// Names and values of the new lines.
    text: Vec<u8>,
    lines: Vec<HeaderLine>,
    /// A bit for each id among `lines`.
    line_ids: u32,
}

/// The operation on a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<'a> {
    /// Its lines pass unchanged.
    None,
    /// Its lines go.
    Gone,
    /// This is the first of its new lines. Its old ones have gone if `HeaderOps::drops` says so.
    To(&'a [u8]),
}

/// No operations.
pub static NONE: HeaderOps = HeaderOps::new();

impl HeaderOps {
    /// No operations yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            names: Vec::new(),
            gone: Vec::new(),
            ids: 0,
            lengths: 0,
            text: Vec::new(),
            lines: Vec::new(),
            line_ids: 0,
        }
    }

    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        self.names.clear();
        self.gone.clear();
        (self.ids, self.lengths) = (0, 0);
        self.text.clear();
        self.lines.clear();
        self.line_ids = 0;
    }

    /// Whether there are no operations.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.lines.is_empty()
    }

    /// Removes every line of this name, those of the proxy itself included. `id` is the name's ([`Known::of`]).
    ///
    /// Rules must not change `Host`, nor the lines that frame the message: they are ignored here and below.
    pub fn remove(&mut self, id: Known, name: &[u8]) {
        if frames(id) || self.drops(id, name) {
            return;
        }
        let start = self.names.len() as u32; // far below: a plan's names are bounded by its text
        self.names.extend_from_slice(name);
        self.gone.push((id, Span { start, end: self.names.len() as u32 }));
        self.ids |= 1 << id as u32;
        self.lengths |= length_bit(name);
    }

    /// Replaces every line of this name by one line. `write` appends the value; if it appends nothing, nothing changes.
    pub fn set(&mut self, id: Known, name: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.lines.len();
        self.add(id, name, write);
        if self.lines.len() == before {
            return;
        }
        self.remove(id, name);
        self.forget_lines(before, id, name);
    }

    /// Adds a line of this name. `write` appends the value; if it appends nothing, nothing changes.
    pub fn add(&mut self, id: Known, name: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        if frames(id) {
            return;
        }
        let start = self.text.len() as u32;
        self.text.extend_from_slice(name);
        let end = self.text.len() as u32;
        write(&mut self.text);
        if self.text.len() as u32 == end {
            self.text.truncate(start as usize);
            return;
        }
        // Values from a plan or a parsed head have been checked; this check covers any `write`.
        if !field_value::is_legal(self.text.get(end as usize..).unwrap_or_default()) {
            let written = self.text.split_off(end as usize);
            field_value::put(&mut self.text, &written);
        }
        let value = Span { start: end, end: self.text.len() as u32 };
        self.lines.push(HeaderLine { id, name: Span { start, end }, value });
        self.line_ids |= 1 << id as u32;
    }

    /// Takes the lines of a name out of the first `count` lines. Their bytes stay in `text` until it is cleared.
    fn forget_lines(&mut self, count: usize, id: Known, name: &[u8]) {
        for at in (0..count).rev() {
            let line = self.lines[at];
            if line.id == id && line.name.of(&self.text).eq_ignore_ascii_case(name) {
                self.lines.remove(at);
            }
        }
    }

    /// Whether the lines of this name go.
    #[inline]
    #[must_use]
    pub fn drops(&self, id: Known, name: &[u8]) -> bool {
        if self.ids >> id as u32 & 1 == 0 {
            return false;
        }
        if !matches!(id, Known::Other | Known::XEnvoy) {
            return true; // the id is the name
        }
        self.lengths & length_bit(name) != 0
            && self.gone.iter().any(|(gone, span)| *gone == id && span.of(&self.names).eq_ignore_ascii_case(name))
    }

    /// Whether there is a new line of this name.
    #[must_use]
    pub fn has_line(&self, id: Known, name: &[u8]) -> bool {
        matches!(self.of(id, name), Change::To(_))
    }

    /// The operation on the header of this name, in any case.
    #[must_use]
    pub fn of(&self, id: Known, name: &[u8]) -> Change<'_> {
        let line = self.lines.iter().find(|line| line.id == id && line.name.of(&self.text).eq_ignore_ascii_case(name));
        match line {
            Some(line) => Change::To(line.value.of(&self.text)),
            None if self.drops(id, name) => Change::Gone,
            None => Change::None,
        }
    }

    /// The values of the new lines of a name that has an id of its own.
    pub fn values(&self, id: Known) -> impl Iterator<Item = &[u8]> {
        self.lines.iter().filter(move |line| line.id == id).map(|line| line.value.of(&self.text))
    }

    /// Whether there is a new line of a name that has an id of its own.
    #[inline]
    #[must_use]
    pub fn has_value(&self, id: Known) -> bool {
        self.line_ids >> id as u32 & 1 != 0
    }

    /// The new lines, in order: id of the name, name, value.
    #[inline]
    pub fn lines(&self) -> impl Iterator<Item = (Known, &[u8], &[u8])> {
        self.lines.iter().map(|line| (line.id, line.name.of(&self.text), line.value.of(&self.text)))
    }
}

fn length_bit(name: &[u8]) -> u64 {
    1 << name.len().min(63)
}

/// Whether lines of this name belong to addressing, framing or connection handling: only the codec writes them.
fn frames(id: Known) -> bool {
    matches!(
        id,
        Known::Host
            | Known::Connection
            | Known::ContentLength
            | Known::TransferEncoding
            | Known::Upgrade
            | Known::KeepAlive
            | Known::ProxyConnection
    )
}
