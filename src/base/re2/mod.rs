//! Regular expressions as Envoy reads them, for the `regex` crate.
//!
//! Istio's expressions are RE2's, and Envoy runs RE2 on bytes (its Latin-1 mode): `.` is one byte, `\d` and `\w` know
//! ASCII only, `é` means its two bytes. The crate has the same kind of engine and another syntax. So RE2's syntax is
//! parsed here, and the crate gets every construct in a form that has one meaning. An expression that Istio's validation
//! (Go's `regexp`) or Envoy refuses is refused with its position. Used wherever an expression is checked or compiled, so
//! that all agree; tests/differential compares with a real Envoy.
//!
//! Two differences to Envoy are known. An expression nested more than 100 deep is refused, since the engine compiles by
//! recursion. And the size of alternatives is taken for that of the largest, so that an expression slightly above
//! Istio's limit still loads.

mod bytes;
mod class;
mod cursor;
mod parser;
mod unicode;

use regex::bytes::{CaptureLocations, Match, RegexBuilder};

pub use cursor::Mistake;

/// Most instructions of a compiled expression: Istio's value for Envoy's `re2.max_program_size.error_level`.
const MAX_INSTRUCTIONS: u64 = 32768;

/// The crate's bound on the memory of a compiled expression; one with this many instructions stays below it.
const COMPILED_BYTES: usize = 8 << 20;

/// And on that of the automaton that it builds while it matches, for each thread.
const AUTOMATON_BYTES: usize = 1 << 20;

/// Deeper than the parser lets anything be nested.
pub const NESTING: u32 = 1000;

/// Why an expression was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRegex {
    /// Not one of RE2's.
    #[error("is not a valid regular expression: {0}")]
    Syntax(#[from] Mistake),
    /// It would take too much memory.
    #[error("is too large when compiled: Istio allows Envoy {MAX_INSTRUCTIONS} instructions")]
    TooLarge,
}

impl BadRegex {
    /// The advice.
    #[must_use]
    pub fn write(&self) -> &'static str {
        match self {
            Self::Syntax(mistake) => mistake.write,
            Self::TooLarge => "repeat less",
        }
    }
}

/// A compiled expression, which keeps its source: the engine's form is not for people.
#[derive(Debug, Clone)]
pub struct Regex {
    written: Box<str>,
    engine: regex::bytes::Regex,
}

impl Regex {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// Whether it matches.
    #[must_use]
    #[inline]
    pub fn is_match(&self, value: &[u8]) -> bool {
        self.engine.is_match(value)
    }

    /// How many groups it has, with the whole match as group 0.
    #[must_use]
    pub fn captures_len(&self) -> usize {
        self.engine.captures_len()
    }

    /// Room for [`Self::captures_read_at`].
    #[must_use]
    pub fn capture_locations(&self) -> CaptureLocations {
        self.engine.capture_locations()
    }

    /// The first match that begins at `start` or behind it; `groups` says where its groups are.
    #[inline]
    pub fn captures_read_at<'v>(
        &self,
        groups: &mut CaptureLocations,
        value: &'v [u8],
        start: usize,
    ) -> Option<Match<'v>> {
        self.engine.captures_read_at(groups, value, start)
    }
}

/// An expression that matches whole values only.
///
/// # Errors
/// If it is not valid in RE2, or too large.
pub fn full_match(re2: &str) -> Result<Regex, BadRegex> {
    compile(re2, |translated| format!(r"\A(?:{translated})\z"))
}

/// An expression that is looked for anywhere in a value.
///
/// # Errors
/// If it is not valid in RE2, or too large.
pub fn search(re2: &str) -> Result<Regex, BadRegex> {
    compile(re2, |translated| translated)
}

/// The expression in the engine's language, on bytes, for a walk over its automaton.
///
/// # Errors
/// If it is not valid in RE2, or too large.
pub fn translated(re2: &str) -> Result<String, BadRegex> {
    let translated = parser::translate(re2)?;
    if translated.instructions > MAX_INSTRUCTIONS { Err(BadRegex::TooLarge) } else { Ok(translated.text) }
}

/// The first class of an expression that has characters of several bytes, as it is written: it matches one of those
/// bytes. `None` also for an invalid expression.
#[must_use]
pub fn split_class(re2: &str) -> Option<String> {
    // Nearly every expression.
    if re2.is_ascii() { None } else { parser::translate(re2).ok()?.split_class }
}

fn compile(re2: &str, anchored: impl Fn(String) -> String) -> Result<Regex, BadRegex> {
    let built = RegexBuilder::new(&anchored(translated(re2)?))
        .unicode(false)
        .size_limit(COMPILED_BYTES)
        .dfa_size_limit(AUTOMATON_BYTES)
        .nest_limit(NESTING)
        .build();
    let built = built.map(|engine| Regex { written: re2.into(), engine });
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => BadRegex::TooLarge,
        // The parser's output has no other errors.
        other => BadRegex::Syntax(Mistake { at: 1, problem: other.to_string(), write: "" }),
    })
}

#[cfg(test)]
mod tests;
