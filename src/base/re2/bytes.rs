//! Sets of bytes: the meaning of an RE2 class, as Envoy matches bytes and not characters.
//!
//! Knows Perl's and POSIX's classes and the folding of case. Used by the other files of this folder.

use std::fmt::Write;
use std::ops::RangeInclusive;

/// Some of the 256 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bytes([bool; 256]);

impl Bytes {
    pub(super) const fn none() -> Self {
        Self([false; 256])
    }

    pub(super) fn of(ranges: &[RangeInclusive<u8>]) -> Self {
        let mut bytes = Self::none();
        for range in ranges {
            bytes.add_range(range.clone());
        }
        bytes
    }

    /// The bytes that `.` matches without the flag `s`.
    pub(super) fn no_line_feed() -> Self {
        Self::of(&[b'\n'..=b'\n']).negated()
    }

    pub(super) fn all() -> Self {
        Self([true; 256])
    }

    pub(super) fn add(&mut self, byte: u8) {
        self.add_range(byte..=byte);
    }

    pub(super) fn add_range(&mut self, range: RangeInclusive<u8>) {
        for byte in range {
            self.0[usize::from(byte)] = true;
        }
    }

    pub(super) fn add_all(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine |= theirs;
        }
    }

    pub(super) fn contains(&self, byte: u8) -> bool {
        self.0[usize::from(byte)]
    }

    pub(super) fn negated(mut self) -> Self {
        for each in &mut self.0 {
            *each = !*each;
        }
        self
    }

    /// With the other case of every letter; RE2 folds ASCII letters only when it matches bytes.
    pub(super) fn folded(mut self) -> Self {
        for upper in b'A'..=b'Z' {
            let lower = upper.to_ascii_lowercase();
            if self.contains(upper) || self.contains(lower) {
                self.add(upper);
                self.add(lower);
            }
        }
        self
    }

    /// As few ranges as possible, from low to high.
    pub(super) fn ranges(&self) -> Vec<RangeInclusive<u8>> {
        let mut ranges: Vec<RangeInclusive<u8>> = Vec::new();
        for byte in (0..=u8::MAX).filter(|byte| self.contains(*byte)) {
            match ranges.last_mut() {
                Some(last) if last.end().checked_add(1) == Some(byte) => *last = *last.start()..=byte,
                _ => ranges.push(byte..=byte),
            }
        }
        ranges
    }

    /// How many instructions of RE2 match one of them: one for each range, and one for both cases of a letter.
    pub(super) fn instructions(&self) -> u64 {
        let both_cases = self.clone().folded() == *self;
        let upper = |range: &RangeInclusive<u8>| range.start().is_ascii_uppercase() && range.end().is_ascii_uppercase();
        self.ranges().iter().filter(|range| !(both_cases && upper(range))).count() as u64
    }

    /// Appends them as a class of the engine's language.
    pub(super) fn write(&self, out: &mut String) {
        let ranges = self.ranges();
        if ranges.is_empty() {
            return out.push_str(r"[^\x00-\xFF]");
        }
        out.push('[');
        for range in ranges {
            // A `String` takes everything.
            let _ = write!(out, r"\x{:02X}-\x{:02X}", range.start(), range.end());
        }
        out.push(']');
    }
}

/// `\d`, `\s` and `\w`, and their opposites in upper case.
pub(super) fn perl(letter: char) -> Option<(Bytes, bool)> {
    let bytes = match letter.to_ascii_lowercase() {
        'd' => posix("digit"),
        // Without the vertical tab, which is in `[:space:]`.
        's' => Some(Bytes::of(&[b'\t'..=b'\n', b'\x0C'..=b'\r', b' '..=b' '])),
        'w' => posix("word"),
        _ => None,
    };
    Some((bytes?, letter.is_ascii_uppercase()))
}

/// The names of POSIX's classes.
pub(super) const POSIX: &str = "alnum, alpha, ascii, blank, cntrl, digit, graph, lower, print, punct, space, upper, \
                                word, xdigit";

/// The class `[:name:]`.
pub(super) fn posix(name: &str) -> Option<Bytes> {
    let ranges: &[RangeInclusive<u8>] = match name {
        "alnum" => &[b'0'..=b'9', b'A'..=b'Z', b'a'..=b'z'],
        "alpha" => &[b'A'..=b'Z', b'a'..=b'z'],
        "ascii" => &[b'\0'..=b'\x7F'],
        "blank" => &[b'\t'..=b'\t', b' '..=b' '],
        "cntrl" => &[b'\0'..=b'\x1F', b'\x7F'..=b'\x7F'],
        "digit" => &[b'0'..=b'9'],
        "graph" => &[b'!'..=b'~'],
        "lower" => &[b'a'..=b'z'],
        "print" => &[b' '..=b'~'],
        "punct" => &[b'!'..=b'/', b':'..=b'@', b'['..=b'`', b'{'..=b'~'],
        "space" => &[b'\t'..=b'\r', b' '..=b' '],
        "upper" => &[b'A'..=b'Z'],
        "word" => &[b'0'..=b'9', b'A'..=b'Z', b'_'..=b'_', b'a'..=b'z'],
        "xdigit" => &[b'0'..=b'9', b'A'..=b'F', b'a'..=b'f'],
        _ => return None,
    };
    Some(Bytes::of(ranges))
}
