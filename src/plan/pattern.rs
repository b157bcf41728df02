//! Istio's `StringMatch`, compiled: exact, prefix, regex or mere presence, on bytes.
//!
//! Matching allocates nothing once a thread has used a regex. Called by `plan::matcher`; built by `plan::compile`.

use crate::base::re2::{self, BadRegex, Regex};

/// A pattern for a value.
#[derive(Debug, Clone)]
pub enum Pattern {
    /// Any value, also an empty one: `{}` and the regex `*` require only presence.
    Any,
    /// Equal.
    Exact(Box<[u8]>),
    /// Begins with it; plain bytes, no notion of path segments.
    Prefix(Box<[u8]>),
    /// Equal but for the case of ASCII letters (`ignoreUriCase`).
    ExactNoCase(Box<[u8]>),
    /// Begins with it, but for the case of ASCII letters (`ignoreUriCase`).
    PrefixNoCase(Box<[u8]>),
    /// Matches from its first byte to its last.
    Regex(Box<Regex>),
}

impl Pattern {
    /// Equality with `text`.
    #[must_use]
    pub fn exact(text: &str) -> Self {
        Self::Exact(text.as_bytes().into())
    }

    /// A beginning with `text`.
    #[must_use]
    pub fn prefix(text: &str) -> Self {
        Self::Prefix(text.as_bytes().into())
    }

    /// A full match of the RE2 expression `text`.
    ///
    /// # Errors If it is not a regular expression, or too large.
    pub fn regex(text: &str) -> Result<Self, BadRegex> {
        re2::full_match(text).map(|regex| Self::Regex(Box::new(regex)))
    }

    /// The same, with ASCII case ignored for exact and prefix; a regex ignores `ignoreUriCase`, as Istio says.
    #[must_use]
    pub fn ignoring_case(self) -> Self {
        match self {
            Self::Exact(text) => Self::ExactNoCase(text),
            Self::Prefix(text) => Self::PrefixNoCase(text),
            other => other,
        }
    }

    /// Whether `value` is like this.
    #[must_use]
    #[inline]
    pub fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(text) => value == &**text,
            Self::Prefix(text) => value.starts_with(text),
            Self::ExactNoCase(text) => value.eq_ignore_ascii_case(text),
            Self::PrefixNoCase(text) => value.get(..text.len()).is_some_and(|head| head.eq_ignore_ascii_case(text)),
            Self::Regex(regex) => regex.is_match(value),
        }
    }

    pub(super) fn is_regex(&self) -> bool {
        matches!(self, Self::Regex(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regex(re2: &str) -> Pattern {
        Pattern::regex(re2).unwrap_or_else(|bad| panic!("`{re2}` {bad}"))
    }

    #[test]
    fn text() {
        let rows = [
            (Pattern::Any, "", true),
            (Pattern::Any, "x", true),
            (Pattern::exact("/a"), "/a", true),
            (Pattern::exact("/a"), "/a/", false),
            (Pattern::exact("/a"), "/A", false),
            (Pattern::exact("/a").ignoring_case(), "/A", true),
            (Pattern::exact("/a").ignoring_case(), "/A/", false),
            (Pattern::prefix("/a"), "/abc", true),
            (Pattern::prefix("/a"), "/", false),
            (Pattern::prefix(""), "", true),
            (Pattern::prefix("/a").ignoring_case(), "/ABC", true),
            (Pattern::prefix("/a").ignoring_case(), "/", false),
            (regex("/a").ignoring_case(), "/A", false),
        ];
        for (pattern, value, expected) in rows {
            assert_eq!(pattern.matches(value.as_bytes()), expected, "{pattern:?} on {value:?}");
        }
    }
}
