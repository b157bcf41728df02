//! The parser's position in an expression, and its errors.
//!
//! A [`Mistake`] names its position in characters, as an editor counts them. Used by the other files of this
//! folder.

/// A mistake in an expression: its position, and the advice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {at}: {problem}")]
pub struct Mistake {
    /// The first character of the part that is wrong, counted from 1.
    pub at: usize,
    /// The mistake.
    pub problem: String,
    /// The text to write instead.
    pub write: &'static str,
}

/// A position in an expression.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Where it is, in bytes.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// The text that lies ahead.
    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    /// Passes `text` if it comes next.
    pub(super) fn take(&mut self, text: &str) -> bool {
        let comes = self.rest().starts_with(text);
        if comes {
            self.at += text.len();
        }
        comes
    }

    /// Skips the text up to and with `end`, and returns the text before it; stays if there is no `end`.
    pub(super) fn through(&mut self, end: &str) -> Option<&'a str> {
        let (before, _) = self.rest().split_once(end)?;
        self.at += before.len() + end.len();
        Some(before)
    }

    /// The text passed since the byte `from`.
    pub(super) fn since(&self, from: usize) -> &'a str {
        self.text.get(from..self.at).unwrap_or_default()
    }

    /// A mistake that begins at the byte `from`.
    pub(super) fn mistake(&self, from: usize, problem: impl Into<String>, write: &'static str) -> Mistake {
        let before = self.text.get(..from).unwrap_or_default();
        Mistake { at: before.chars().count() + 1, problem: problem.into(), write }
    }
}
