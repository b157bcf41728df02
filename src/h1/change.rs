//! Changes to the header lines of one message: which of its lines go, and which lines come.
//!
//! A connection keeps one of these for its requests and one for its responses; whoever knows the rules fills it, and
//! [`super::encode`] carries it out while it writes the head. Filling it again allocates nothing once it has grown.

use super::encode::{is_value, put_value};
use super::head::{Known, Span};

/// Names to leave out and lines to write, ready to be copied.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// The names that go, one after the other.
    names: Vec<u8>,
    gone: Vec<(Known, Span)>,
    /// A bit for each id among `gone`.
    ids: u32,
    /// A bit for the length of each name among `gone`; bit 63 for all longer ones.
    lengths: u64,
    /// The new lines as they are written: `name: value`, each with its CRLF.
    text: Vec<u8>,
    lines: Vec<ChangedLine>,
}

#[derive(Debug, Clone, Copy)]
struct ChangedLine {
    id: Known,
    name: Span,
    value: Span,
}

/// What has become of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<'a> {
    /// Its lines pass as they are.
    None,
    /// Its lines go.
    Gone,
    /// This is the first of its new lines. Its old ones have gone if `Changes::drops` says so.
    To(&'a [u8]),
}

/// No changes.
pub static NONE: Changes = Changes::new();

impl Changes {
    /// No changes yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { names: Vec::new(), gone: Vec::new(), ids: 0, lengths: 0, text: Vec::new(), lines: Vec::new() }
    }

    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        self.names.clear();
        self.gone.clear();
        (self.ids, self.lengths) = (0, 0);
        self.text.clear();
        self.lines.clear();
    }

    /// Whether nothing changes.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.lines.is_empty()
    }

    /// Every line of this name goes, those of the proxy itself included. `id` is the name's ([`Known::of`]).
    ///
    /// Lines that frame the message, and `Host`, are not for rules to change: they are left alone here and below.
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

    /// One line in place of every line of this name. `write` appends the value; if it appends nothing, nothing changes.
    pub fn set(&mut self, id: Known, name: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.lines.len();
        self.add(id, name, write);
        if self.lines.len() == before {
            return;
        }
        self.remove(id, name);
        self.forget_lines(before, id, name);
    }

    /// One more line of this name. `write` appends the value; if it appends nothing, nothing changes.
    pub fn add(&mut self, id: Known, name: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        if frames(id) {
            return;
        }
        let start = self.text.len();
        self.text.extend_from_slice(name);
        let name = Span { start: start as u32, end: self.text.len() as u32 };
        self.text.extend_from_slice(b": ");
        let value = self.text.len();
        write(&mut self.text);
        if self.text.len() == value {
            self.text.truncate(start);
            return;
        }
        // What comes from a plan or a parsed head has been checked; this holds whatever `write` did.
        if !is_value(self.text.get(value..).unwrap_or_default()) {
            let written = self.text.split_off(value);
            put_value(&mut self.text, &written);
        }
        let value = Span { start: value as u32, end: self.text.len() as u32 };
        self.text.extend_from_slice(b"\r\n");
        self.lines.push(ChangedLine { id, name, value });
    }

    /// Takes the lines of a name out of the first `count` lines.
    fn forget_lines(&mut self, count: usize, id: Known, name: &[u8]) {
        for at in (0..count).rev() {
            let line = self.lines[at];
            if line.id != id || !line.name.of(&self.text).eq_ignore_ascii_case(name) {
                continue;
            }
            self.lines.remove(at);
            let (start, end) = (line.name.start, line.value.end + 2);
            self.text.drain(start as usize..end as usize);
            for later in self.lines.iter_mut().skip(at) {
                for span in [&mut later.name, &mut later.value] {
                    span.start -= end - start;
                    span.end -= end - start;
                }
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

    /// What has become of the header of this name, in any case.
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

    /// The new lines, as they are written.
    #[must_use]
    pub fn lines(&self) -> &[u8] {
        &self.text
    }
}

fn length_bit(name: &[u8]) -> u64 {
    1 << name.len().min(63)
}

/// Whether lines of this name say where a message goes, where it ends or what its connection does next: the codec
/// alone writes them.
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
