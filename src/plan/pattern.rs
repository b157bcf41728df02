//! Istio's `StringMatch`, compiled: exact, prefix, regex or mere presence, on bytes.
//!
//! Regexes are RE2's in Istio and this is the one place that knows how RE2 and the `regex` crate differ. Matching
//! allocates nothing once a thread has used a regex. Called by `plan::matcher`; built by `plan::compile`.

use regex::bytes::{Regex, RegexBuilder};

/// Largest compiled regex, in bytes. Istio bounds the pattern at 1024 bytes; this bounds what repetition can make of
/// them (`(a{99}){99}`).
const REGEX_BYTES: usize = 1 << 20;

/// What a value must be like.
#[derive(Debug, Clone)]
pub enum Pattern {
    /// Anything, even nothing: `{}` and the regex `*` ask only for presence.
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

/// Why a regex was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// Not a regular expression; the text says where and why.
    #[error("is not a valid regular expression: {0}")]
    Syntax(String),
    /// It would take too much memory.
    #[error("is too large when compiled (more than 1 MiB); repeat less")]
    TooLarge,
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

    /// A full match of the RE2 expression `re2`.
    ///
    /// # Errors
    /// If it is no regular expression, or too large.
    pub fn regex(re2: &str) -> Result<Self, BadPattern> {
        let translated = from_re2(re2);
        // The pattern by itself must be sound: `a)(b` is not, though `^(?:a)(b)$` is.
        let _ = build(&translated)?;
        Ok(Self::Regex(Box::new(build(&format!("^(?:{translated})$"))?)))
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

/// RE2's `\d`, `\w`, `\s`, `\b` know ASCII only, so bytes come first; a pattern that names other characters in a
/// class (`[é]`, `\p{L}`) needs Unicode.
fn build(pattern: &str) -> Result<Regex, BadPattern> {
    let with = |unicode| {
        RegexBuilder::new(pattern).unicode(unicode).size_limit(REGEX_BYTES).dfa_size_limit(REGEX_BYTES).build()
    };
    with(false).or_else(|_| with(true)).map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => BadPattern::TooLarge,
        // The message repeats the pattern over several lines; its last line says what is wrong.
        other => {
            let text = other.to_string();
            let last = text.lines().last().unwrap_or_default();
            BadPattern::Syntax(last.strip_prefix("error: ").unwrap_or(last).to_owned())
        }
    })
}

/// Rewrites what RE2 and the `regex` crate read differently: `\Q…\E`, and inside a class `[`, `&&`, `~~` and `--`,
/// which are plain characters to RE2 and set operations to the crate.
fn from_re2(re2: &str) -> String {
    let mut out = String::with_capacity(re2.len() + 8);
    let mut rest = re2.chars().peekable();
    // In a class: how many of its characters were seen, for a `]` that comes first is a plain character.
    let mut class: Option<usize> = None;
    while let Some(c) = rest.next() {
        match (c, &mut class) {
            ('\\', _) if rest.peek() == Some(&'Q') => {
                rest.next();
                let mut quoted = String::new();
                while let Some(c) = rest.next() {
                    if c == '\\' && rest.peek() == Some(&'E') {
                        rest.next();
                        break;
                    }
                    quoted.push(c);
                }
                out.push_str(&regex::escape(&quoted));
            }
            ('\\', seen) => {
                out.push(c);
                out.extend(rest.next());
                *seen = seen.map(|n| n + 1);
            }
            ('[', None) => {
                class = Some(0);
                out.push(c);
                if rest.peek() == Some(&'^') {
                    out.extend(rest.next());
                }
            }
            (']', Some(seen)) if *seen > 0 => {
                class = None;
                out.push(c);
            }
            ('[', Some(seen)) if rest.peek() == Some(&':') => {
                // `[:alpha:]`: the same in both, up to its own `]`.
                *seen += 1;
                out.push(c);
                for c in rest.by_ref() {
                    out.push(c);
                    if c == ']' {
                        break;
                    }
                }
            }
            ('[' | ']' | '&' | '~', Some(seen)) => {
                *seen += 1;
                out.extend(['\\', c]);
            }
            ('-', Some(seen)) if rest.peek() == Some(&'-') => {
                *seen += 1;
                out.extend(['\\', c]);
            }
            (_, seen) => {
                *seen = seen.map(|n| n + 1);
                out.push(c);
            }
        }
    }
    out
}
