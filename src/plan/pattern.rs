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

    #[test]
    fn a_regex_matches_the_whole_value() {
        for (re2, value, expected) in [
            ("/rx/[a-z]+", "/rx/abc", true),
            ("/rx/[a-z]+", "/rx/abc1", false),
            ("/rx/[a-z]+", "x/rx/abc", false),
            // An alternative must not escape the anchors.
            ("a|bc", "a", true),
            ("a|bc", "ac", false),
            ("a|bc", "xbc", false),
            // `$` is the end of the value, not of a line.
            ("a", "a\n", false),
            (".*", "a\nb", false),
            ("(?i)abc", "ABC", true),
            ("(?s).*", "a\nb", true),
            ("", "", true),
            ("^/a$", "/a", true),
        ] {
            assert_eq!(regex(re2).matches(value.as_bytes()), expected, "`{re2}` on {value:?}");
        }
    }

    #[test]
    fn as_re2_reads_it() {
        for (re2, value, expected) in [
            // Classes by letter know ASCII only.
            (r"\d+", "42", true),
            (r"\d+", "\u{663}", false),
            (r"\w+", "\u{e9}", false),
            // Characters beyond ASCII where they are asked for.
            ("[\u{e9}]", "\u{e9}", true),
            (r"\pL+", "\u{e9}", true),
            ("/\u{e9}.*", "/\u{e9}x", true),
            // Quotation.
            (r"\Qa.b\E.", "a.bc", true),
            (r"\Qa.b\E.", "axbc", false),
            (r"\Qa.b", "a.b", true),
            (r"\Q]\E[a]", "]a", true),
            // Plain characters in a class.
            ("[a&&b]", "&", true),
            ("[a&&b]", "a", true),
            ("[a~~b]", "~", true),
            ("[[a]", "[", true),
            ("[a[b]]", "[]", true),
            ("[a[b]]", "a]", true),
            ("[a[b]]", "a", false),
            ("[]a]", "]", true),
            ("[^]a]", "b", true),
            ("[^]a]", "]", false),
            ("[--/]", ".", true),
            (r"[\]a]", "]", true),
            (r"[\d&&]", "&", true),
            // Named classes stay.
            ("[[:alpha:]-]+", "a-b", true),
            ("[[:alpha:]]", ":", false),
            ("[[:^alpha:]]", "1", true),
        ] {
            assert_eq!(regex(re2).matches(value.as_bytes()), expected, "`{re2}` on {value:?}");
        }
    }

    #[test]
    fn bad_ones_say_why() {
        for (re2, why) in [
            ("(", "is not a valid regular expression: unclosed group"),
            ("a)(b", "is not a valid regular expression: unopened group"),
            ("[b-a]", "is not a valid regular expression: invalid character class range, the start must be <= the end"),
            ("a{1000}{1000}{1000}", "is too large when compiled (more than 1 MiB); repeat less"),
        ] {
            assert_eq!(Pattern::regex(re2).map_err(|bad| bad.to_string()).err().as_deref(), Some(why), "`{re2}`");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(re2: String, classy in "[\\[\\]^&~:\\\\QEa-]{0,12}") {
            let _ = Pattern::regex(&re2);
            let _ = Pattern::regex(&classy);
        }

        #[test]
        fn quoted_text_matches_itself(text in "[^\\\\]{0,20}") {
            let quoted = regex(&format!(r"\Q{text}\E"));
            proptest::prop_assert!(quoted.matches(text.as_bytes()));
        }
    }
}
