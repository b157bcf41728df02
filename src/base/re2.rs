//! Regular expressions as Envoy reads them, for the `regex` crate.
//!
//! Istio's expressions are RE2's, and Envoy runs RE2 on bytes (its Latin-1 mode): `.` is one byte, `\d` and `\w` know
//! ASCII only, `é` stands for its two bytes. The crate has the same engine but reads some expressions differently;
//! this is the one place that knows how. Every row of the tests was tried on Envoy 1.40. Used by whoever checks or
//! compiles an expression, so that both agree.

use std::fmt::Write;
use std::iter::Peekable;
use std::str::Chars;

use regex::bytes::{Regex, RegexBuilder};

/// Largest compiled expression. Istio bounds the text at 1024 bytes; this bounds what repetition can make of them
/// (`a{1000}{1000}`).
const COMPILED_BYTES: usize = 1 << 20;

/// Why an expression was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRegex {
    /// Not a regular expression; the text says why.
    #[error("is not a valid regular expression: {0}")]
    Syntax(String),
    /// It would take too much memory.
    #[error("is too large when compiled (more than 1 MiB); repeat less")]
    TooLarge,
}

/// An expression that matches whole values only, as `^(?:re2)$`.
///
/// One difference to Envoy remains: classes of Unicode (`\pL`) are of characters here and of Latin-1 bytes there, and
/// with one of them in it the whole expression goes by characters.
///
/// # Errors
/// If it is not one of RE2's, or too large.
pub fn full_match(re2: &str) -> Result<Regex, BadRegex> {
    compile(re2, |translated| format!("^(?:{translated})$"))
}

/// An expression that is looked for anywhere in a value, as `re2`; the same is said of it as of [`full_match`].
///
/// # Errors
/// If it is not one of RE2's, or too large.
pub fn search(re2: &str) -> Result<Regex, BadRegex> {
    compile(re2, |translated| translated)
}

fn compile(re2: &str, anchored: impl Fn(String) -> String) -> Result<Regex, BadRegex> {
    let by_bytes = anchored(translate(re2, Unit::Byte)?);
    build(&by_bytes, Unit::Byte).or_else(|_| build(&anchored(translate(re2, Unit::Character)?), Unit::Character))
}

/// What an expression goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Byte,
    Character,
}

fn build(translated: &str, unit: Unit) -> Result<Regex, BadRegex> {
    let built = RegexBuilder::new(translated)
        .unicode(unit == Unit::Character)
        .size_limit(COMPILED_BYTES)
        .dfa_size_limit(COMPILED_BYTES)
        .build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => BadRegex::TooLarge,
        // The message repeats the expression over several lines; its last line says what is wrong.
        other => {
            let text = other.to_string();
            let last = text.lines().last().unwrap_or_default();
            BadRegex::Syntax(last.strip_prefix("error: ").unwrap_or(last).to_owned())
        }
    })
}

/// The same expression in the crate's language.
fn translate(re2: &str, unit: Unit) -> Result<String, BadRegex> {
    let mut translator = Translator { rest: re2.chars().peekable(), out: String::with_capacity(re2.len() + 8), unit };
    translator.expression()?;
    Ok(translator.out)
}

struct Translator<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
    unit: Unit,
}

impl Translator<'_> {
    fn expression(&mut self) -> Result<(), BadRegex> {
        let (mut repeated, mut groups) = (false, 0_u32);
        while let Some(c) = self.rest.next() {
            let repeats = match c {
                '*' | '+' | '?' => {
                    self.out.push(c);
                    true
                }
                '{' => self.repetition(),
                _ => false,
            };
            if repeats {
                // The crate takes it for a repetition of a repetition.
                if repeated {
                    return Err(BadRegex::Syntax("a repetition is repeated".to_owned()));
                }
                self.out.extend(self.rest.next_if_eq(&'?'));
            }
            repeated = repeats;
            match c {
                '*' | '+' | '?' | '{' => {}
                '\\' if self.rest.next_if_eq(&'Q').is_some() => self.quotation(),
                '\\' => self.escape(),
                '[' => self.class(),
                // What a group begins with is no repetition: `(?:`, `(?i)`, `(?P<name>`.
                '(' => {
                    groups += 1;
                    self.out.push('(');
                    self.out.extend(self.rest.next_if_eq(&'?'));
                }
                // Between the anchors `a)(b` would pass: `^(?:a)(b)$`.
                ')' if groups == 0 => return Err(BadRegex::Syntax("unopened group".to_owned())),
                ')' => {
                    groups -= 1;
                    self.out.push(')');
                }
                other => self.literal(other),
            }
        }
        Ok(())
    }

    /// After a `{`: `{2}`, `{2,}`, `{2,3}`. Anything else is plain text to RE2, as in `/users/{id}`.
    fn repetition(&mut self) -> bool {
        let ahead: String = self.rest.clone().take_while(|c| *c != '}').collect();
        let (least, most) = ahead.split_once(',').unwrap_or((&ahead, ""));
        let closed = self.rest.clone().any(|c| c == '}');
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !closed || least.is_empty() || !digits(least) || !digits(most) {
            self.out.push_str(r"\{");
            return false;
        }
        self.out.push('{');
        self.out.extend(self.rest.by_ref().take(ahead.len() + 1));
        true
    }

    /// After `\Q`: plain text up to `\E`.
    fn quotation(&mut self) {
        while let Some(c) = self.rest.next() {
            if c == '\\' && self.rest.next_if_eq(&'E').is_some() {
                return;
            }
            self.plain(c);
        }
    }

    /// After a `\`.
    fn escape(&mut self) {
        match self.rest.next() {
            // Any byte at all.
            Some('C') => self.out.push_str("(?s-u:.)"),
            // To the crate, `\<` is where a word begins.
            Some(c) if c.is_ascii_punctuation() => self.plain(c),
            Some('x') => self.number(),
            // The braces of `\p{Greek}` are its own.
            Some(c @ ('p' | 'P')) => {
                self.out.extend(['\\', c]);
                if self.rest.peek() == Some(&'{') {
                    self.through('}');
                }
            }
            Some(c) => self.out.extend(['\\', c]),
            None => self.out.push('\\'),
        }
    }

    /// After a `\x`: with two digits it is a byte to both; in braces the crate takes it for a character.
    fn number(&mut self) {
        let digits: String = self.rest.clone().skip(1).take_while(|c| *c != '}').collect();
        match u8::from_str_radix(&digits, 16) {
            Ok(byte) if self.rest.peek() == Some(&'{') => {
                self.rest.by_ref().take(digits.len() + 2).for_each(drop);
                let _ = write!(self.out, r"\x{byte:02X}");
            }
            _ => self.out.push_str(r"\x"),
        }
    }

    /// After a `[`, up to its `]`: `[`, `&&`, `~~` and `--` are plain characters to RE2, set operations to the crate.
    fn class(&mut self) {
        self.out.push('[');
        self.out.extend(self.rest.next_if_eq(&'^'));
        // Right at the beginning it is a plain character.
        if self.rest.next_if_eq(&']').is_some() {
            self.out.push_str(r"\]");
        }
        while let Some(c) = self.rest.next() {
            match c {
                ']' => {
                    self.out.push(c);
                    return;
                }
                '[' if self.rest.peek() == Some(&':') => {
                    self.out.push(c);
                    self.through(']');
                }
                '\\' => self.escape(),
                '-' if self.rest.peek() == Some(&'-') => self.plain(c),
                '-' => self.out.push(c),
                other => self.plain(other),
            }
        }
    }

    /// Copies as it is, up to and with `end`.
    fn through(&mut self, end: char) {
        for c in self.rest.by_ref() {
            self.out.push(c);
            if c == end {
                return;
            }
        }
    }

    /// A character that means itself, whatever it is.
    fn plain(&mut self, c: char) {
        if c.is_ascii_punctuation() && !matches!(c, '<' | '>') {
            self.out.push('\\');
        }
        self.literal(c);
    }

    /// A character outside ASCII stands for its bytes.
    fn literal(&mut self, c: char) {
        if c.is_ascii() || self.unit == Unit::Character {
            return self.out.push(c);
        }
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            let _ = write!(self.out, r"\x{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(re2: &str, value: &str) -> bool {
        full_match(re2).unwrap_or_else(|bad| panic!("`{re2}` {bad}")).is_match(value.as_bytes())
    }

    #[test]
    fn whole_values() {
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
            ("(?s).*", "a\nb", true),
            ("(?i)abc", "ABC", true),
            ("", "", true),
            ("^/a$", "/a", true),
        ] {
            assert_eq!(matches(re2, value), expected, "`{re2}` on {value:?}");
        }
    }

    /// Each row is what Envoy 1.40 answered when asked.
    #[test]
    fn as_envoy_reads_them() {
        for (re2, value, expected) in [
            // Bytes.
            (r"\d+", "42", true),
            (r"\d+", "\u{663}", false),
            (r"\w+", "é", false),
            (r"\s", "\u{a0}", false),
            ("(?i)k", "\u{212a}", false),
            ("a.b", "aéb", false),
            ("a..b", "aéb", true),
            ("[^a]", "é", false),
            ("[é]", "é", false),
            ("[é][é]", "é", true),
            ("/é.*", "/éx", true),
            (r"\x{e9}", "é", false),
            (r"\xC3\xA9", "é", true),
            (r"\C\C", "é", true),
            (r"\pN", "5", true),
            // Quotation.
            (r"\Qa.b\E.", "a.bc", true),
            (r"\Qa.b\E.", "axbc", false),
            (r"\Qa.b", "a.b", true),
            (r"\Q]\E[a]", "]a", true),
            // Classes.
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
            (r"[\w-]+", "a-b", true),
            ("[[:alpha:]-]+", "a-b", true),
            ("[[:alpha:]]", ":", false),
            ("[[:^alpha:]]", "1", true),
            // Repetition and what only looks like it.
            ("x{0,3}y", "xxxy", true),
            ("x{2}", "xx", true),
            ("x{2,}?", "xxx", true),
            ("a{,2}", "a{,2}", true),
            ("/users/{id}", "/users/{id}", true),
            ("a{1,x}", "a{1,x}", true),
            ("a{", "a{", true),
            ("a{}", "a{}", true),
            ("(?:ab)+?", "abab", true),
            ("(?U)a+", "aa", true),
            // Escapes.
            (r"\_\-\/\%\<\>\}", "_-/%<>}", true),
            (r"\a", "x", false),
            (r"a\z", "a", true),
            (r"\bx\b", "x", true),
            ("(?P<n>a)", "a", true),
            ("(?<n>a)", "a", true),
        ] {
            assert_eq!(matches(re2, value), expected, "`{re2}` on {value:?}");
        }
    }

    #[test]
    fn searching_is_not_anchored() {
        let found = |re2: &str, value: &str| {
            let regex = search(re2).unwrap_or_else(|bad| panic!("`{re2}` {bad}"));
            regex.find(value.as_bytes()).map(|found| found.range())
        };
        assert_eq!(found("b+", "abbc"), Some(1..3));
        assert_eq!(found("^b", "abbc"), None);
        assert_eq!(found("a|ab", "ab"), Some(0..1));
        assert_eq!(found(".", "é"), Some(0..1));
        assert!(search("a)(b").is_err());
    }

    #[test]
    fn classes_of_unicode_go_by_characters() {
        assert!(matches(r"\pL+/é.", "é/éß"));
        assert!(!matches(r"[^\p{Lu}]", "É"));
    }

    #[test]
    fn refused_with_a_reason() {
        let invalid = |why: &str| format!("is not a valid regular expression: {why}");
        for (re2, why) in [
            ("(", invalid("unclosed group")),
            ("a)(b", invalid("unopened group")),
            ("[b-a]", invalid("invalid character class range, the start must be <= the end")),
            ("[a", invalid("unclosed character class")),
            ("a**", invalid("a repetition is repeated")),
            ("x*+", invalid("a repetition is repeated")),
            ("x{2}{3}", invalid("a repetition is repeated")),
            ("x*??", invalid("a repetition is repeated")),
            ("(a{1000}){1000}", "is too large when compiled (more than 1 MiB); repeat less".to_owned()),
        ] {
            assert_eq!(full_match(re2).map_err(|bad| bad.to_string()).err(), Some(why), "`{re2}`");
        }
        for re2 in [r"[\Qa]\E]", r"[a-\d]", r"\", "*", r"\Z", "x{3,2}"] {
            assert!(full_match(re2).is_err(), "`{re2}`");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(re2: String, classy in r"[\[\]^&~:\\QE{},0-9a*?()-]{0,16}") {
            let _ = full_match(&re2);
            let _ = full_match(&classy);
        }

        #[test]
        fn quoted_text_matches_itself(text in r"[^\\]{0,20}") {
            let quoted = full_match(&format!(r"\Q{text}\E")).expect("plain text");
            proptest::prop_assert!(quoted.is_match(text.as_bytes()));
        }
    }
}
