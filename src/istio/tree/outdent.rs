//! Brackets and quotes that end further left than YAML 1.2 allows.
//!
//! ```yaml
//! hosts: [
//!   a.example.com
//! ]
//! ```
//!
//! The specification wants the bracket further right than `hosts`; kubectl, whose parser is older, does not care, and
//! much published YAML is written so. Inside brackets and quotes leading space means nothing: so when the parser
//! stops at such a line, the line is moved to the right and the document is read again.

use std::collections::HashMap;

use saphyr_parser::ScanError;

/// How much text may be read again for one document: a thousand such lines in one that a human wrote, and a bound
/// for a large one that a machine got wrong.
const RETRY_BYTES: usize = 32 * 1024 * 1024;

/// The lines that were moved.
pub(super) struct Outdented {
    /// Line (from 1) to the spaces put before it.
    shifts: HashMap<usize, usize>,
    bytes_left: usize,
}

impl Outdented {
    pub(super) fn new() -> Self {
        Self { shifts: HashMap::new(), bytes_left: RETRY_BYTES }
    }

    /// The text with the line that the error is about moved to the right; `None` if that is not the error.
    pub(super) fn mend(&mut self, text: &str, error: &ScanError) -> Option<String> {
        let stopped_at = error.marker().line();
        let line = match error.info() {
            "invalid indentation" | "invalid indentation in flow construct" => stopped_at,
            // The parser reports the opening quote; the line is one of those below it.
            "invalid indentation in quoted scalar" => {
                (stopped_at + 1..).find(|line| !self.shifts.contains_key(line))?
            }
            _ => return None,
        };
        self.bytes_left = self.bytes_left.checked_sub(text.len())?;
        let mut mended = String::with_capacity(text.len() + 64);
        let mut deepest = 0;
        let mut found = false;
        for (number, content) in (1..).zip(text.split_inclusive('\n')) {
            if number < line {
                if !self.shifts.contains_key(&number) {
                    deepest = deepest.max(margin(content));
                }
            } else if number == line {
                // A line that is moved already is wrong in another way.
                let shift = deepest + 1;
                if self.shifts.insert(line, shift).is_some() {
                    return None;
                }
                mended.extend(std::iter::repeat_n(' ', shift));
                found = true;
            }
            mended.push_str(content);
        }
        found.then_some(mended)
    }

    /// The column (from 1) in the file of a position in the mended text.
    pub(super) fn column(&self, line: usize, column: usize) -> usize {
        (column + 1).saturating_sub(self.shifts.get(&line).copied().unwrap_or_default()).max(1)
    }
}

/// The column of a line's first content: `- - a: [` has its key at 4.
fn margin(line: &str) -> usize {
    line.bytes().take_while(|byte| matches!(byte, b' ' | b'-' | b'?')).count()
}
