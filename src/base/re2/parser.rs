//! The grammar of RE2 above single bytes: groups, flags, repetition, assertions. Each construct is written at once in
//! the engine's language, in its plainest form: bytes, classes of byte ranges and groups, without any flag or name.
//!
//! Accepts expressions that both RE2 (as Envoy uses it: Perl's syntax, Latin-1) and Go's `regexp/syntax` (in Istio's
//! validation) accept. Called by `re2` alone.

use super::bytes::Bytes;
use super::class::{Literal, bare, bracketed, escape};
use super::cursor::{Cursor, Mistake};

/// Most repetitions of one thing, counting those around it.
const MAX_REPEATS: u32 = 1000;

/// How deep groups and repetitions may be nested. The engine compiles by recursion: three times as deep, built without
/// optimization, fills the stack of a thread. Envoy takes deeper ones, up to 512 in the 1,024 bytes of Istio.
const MAX_DEPTH: u32 = 100;

/// An expression in the engine's language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Translated {
    /// Which it is.
    pub(super) text: String,
    /// At least so many instructions it takes in RE2.
    pub(super) instructions: u64,
    /// The first class that has characters of several bytes, as it is written.
    pub(super) split_class: Option<String>,
}

/// Reads an expression.
pub(super) fn translate(re2: &str) -> Result<Translated, Mistake> {
    let mut parser = Parser {
        cursor: Cursor::new(re2),
        flags: Flags::default(),
        out: String::with_capacity(re2.len() + 8),
        group: Group::new(0, 0, Flags::default(), false),
        around: Vec::new(),
        split_class: None,
    };
    parser.expression()?;
    if parser.around.is_empty() {
        let Parser { out, split_class, group, .. } = parser;
        let cost = group.finish().0;
        return Ok(Translated { text: out, instructions: cost.instructions, split_class });
    }
    let problem = "no \")\" closes the group that begins here";
    Err(parser.cursor.mistake(parser.group.from, problem, r#"write ")" behind it, or "\(" for a parenthesis"#))
}

/// The flags that `(?imsU)` turns on.
#[derive(Debug, Clone, Copy, Default)]
struct Flags {
    any_case: bool,
    lines: bool,
    dot_is_all: bool,
    lazy: bool,
}

/// The cost of matching a part of the expression.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    instructions: u64,
    /// The highest product of nested counted repetitions.
    repeats: u32,
    depth: u32,
    captures: bool,
}

impl Cost {
    /// Of this and then `other`, or of either if they are alternatives.
    fn with(self, other: Self) -> Self {
        Self {
            instructions: self.instructions.saturating_add(other.instructions),
            repeats: self.repeats.max(other.repeats),
            depth: self.depth.max(other.depth),
            captures: self.captures || other.captures,
        }
    }
}

/// The part that a repetition behind it repeats: where it begins in the output.
#[derive(Debug, Clone, Copy)]
struct Piece {
    start: usize,
    cost: Cost,
    /// A repetition itself: the engine takes another one behind it for something else.
    repeated: bool,
}

/// A group that is being read; the outermost is the expression.
#[derive(Debug)]
struct Group {
    /// Where it begins in the expression.
    from: usize,
    /// And in the output.
    start: usize,
    /// The flags after it.
    flags: Flags,
    captures: bool,
    /// The largest cost of the alternatives so far.
    largest: Cost,
    /// The cost of this alternative's pieces without the last.
    before: Cost,
    last: Option<Piece>,
}

impl Group {
    fn new(from: usize, start: usize, flags: Flags, captures: bool) -> Self {
        Self { from, start, flags, captures, largest: Cost::default(), before: Cost::default(), last: None }
    }

    fn push(&mut self, piece: Piece) {
        if let Some(last) = self.last.replace(piece) {
            self.before = self.before.with(last.cost);
        }
    }

    /// Ends an alternative. RE2 shares common parts of alternatives, so the largest is a lower bound.
    fn alternative(&mut self) {
        let cost = self.last.take().map_or(self.before, |last| self.before.with(last.cost));
        self.before = Cost::default();
        let instructions = self.largest.instructions.max(cost.instructions);
        self.largest = Cost { instructions, ..self.largest.with(cost) };
    }

    /// Ends it: its cost and where it began.
    fn finish(mut self) -> (Cost, Flags) {
        self.alternative();
        let mut cost = self.largest;
        cost.depth += 1;
        if self.captures {
            cost.instructions = cost.instructions.saturating_add(2);
            cost.captures = true;
        }
        (cost, self.flags)
    }
}

struct Parser<'a> {
    cursor: Cursor<'a>,
    flags: Flags,
    out: String,
    group: Group,
    around: Vec<Group>,
    split_class: Option<String>,
}

impl Parser<'_> {
    fn expression(&mut self) -> Result<(), Mistake> {
        let mut repeated = None; // where the repetition right before begins
        while let Some(next) = self.cursor.peek() {
            let from = self.cursor.at();
            let repeats = match next {
                '*' => Some((0, None)),
                '+' => Some((1, None)),
                '?' => Some((0, Some(1))),
                '{' => self.counts()?,
                _ => None,
            };
            if let Some((least, most)) = repeats {
                if next != '{' {
                    self.cursor.next();
                }
                self.repetition(from, repeated, least, most)?;
                repeated = Some(from);
                continue;
            }
            repeated = None;
            match next {
                '(' => self.open()?,
                ')' => self.close()?,
                '|' => {
                    self.cursor.next();
                    self.group.alternative();
                    self.out.push('|');
                }
                '[' => {
                    self.cursor.next();
                    let class = bracketed(&mut self.cursor, from, self.flags.any_case)?;
                    let written = self.cursor.since(from);
                    if self.split_class.is_none() && !written.is_ascii() {
                        self.split_class = Some(written.to_owned());
                    }
                    self.class(&class);
                }
                '.' => {
                    self.cursor.next();
                    self.class(&if self.flags.dot_is_all { Bytes::all() } else { Bytes::no_line_feed() });
                }
                '^' => self.assertion(1, if self.flags.lines { "(?m:^)" } else { r"\A" }),
                '$' => self.assertion(1, if self.flags.lines { "(?m:$)" } else { r"\z" }),
                '\\' => self.escaped()?,
                literal => {
                    self.cursor.next();
                    self.literal(Literal::of(literal));
                }
            }
        }
        Ok(())
    }

    /// Passes `{2}`, `{2,}` or `{2,3}`. Anything else is plain text, as in `/users/{id}` or `{01}`.
    fn counts(&mut self) -> Result<Option<(u32, Option<u32>)>, Mistake> {
        let from = self.cursor.at();
        let mut ahead = self.cursor;
        ahead.next();
        let Some(counts) = ahead.through("}") else { return Ok(None) };
        let number = |text: &str| {
            let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            // A number that does not fit is too large, too.
            (plain && (text == "0" || !text.starts_with('0'))).then(|| text.parse().unwrap_or(u32::MAX))
        };
        let (least, most) = match counts.split_once(',') {
            None => (number(counts), number(counts).map(Some)),
            Some((least, "")) => (number(least), Some(None)),
            Some((least, most)) => (number(least), number(most).map(Some)),
        };
        let (Some(least), Some(most)) = (least, most) else { return Ok(None) };
        self.cursor = ahead;
        if most.is_some_and(|most| most < least) {
            let problem = format!("\"{}\" repeats at least {least} times and at most fewer", self.cursor.since(from));
            return Err(self.cursor.mistake(from, problem, "write the lower number first"));
        }
        if least > MAX_REPEATS || most.is_some_and(|most| most > MAX_REPEATS) {
            let problem = format!("\"{}\" repeats more than {MAX_REPEATS} times", self.cursor.since(from));
            return Err(self.cursor.mistake(from, problem, "write at most 1000, or leave the upper number out: {2,}"));
        }
        Ok(Some((least, most)))
    }

    /// Repeats the last piece. The cursor is behind all of the operator but its `?`.
    fn repetition(
        &mut self,
        from: usize,
        repeated: Option<usize>,
        least: u32,
        most: Option<u32>,
    ) -> Result<(), Mistake> {
        let lazy = self.cursor.take("?") != self.flags.lazy;
        let text = self.cursor.since(from);
        if let Some(first) = repeated {
            let problem = format!("\"{}\" repeats a repetition", self.cursor.since(first));
            return Err(self.cursor.mistake(first, problem, "write one of them, or the first in a group: (?:a*)*"));
        }
        let Some(Piece { start, mut cost, repeated, .. }) = self.group.last else {
            let problem = format!("\"{text}\" has nothing before it to repeat");
            return Err(self.cursor.mistake(from, problem, r#"write ".*" for anything, or "\" before a literal"#));
        };
        let times = most.unwrap_or(least);
        cost.repeats = cost.repeats.max(1).saturating_mul(times.max(1));
        if times > 1 && cost.repeats > MAX_REPEATS {
            let problem = format!("\"{text}\" and what it repeats repeat more than {MAX_REPEATS} times together");
            return Err(self.cursor.mistake(from, problem, "repeat less"));
        }
        cost.depth += 1;
        if cost.depth > MAX_DEPTH {
            return Err(self.too_deep(from));
        }
        cost.instructions = match (least, most) {
            (0, None) => cost.instructions,
            (least, None) => cost.instructions.saturating_mul(least.into()).saturating_add(1),
            (least, Some(most)) => cost.instructions.saturating_mul(most.into()).saturating_add((most - least).into()),
        };
        if repeated || most == Some(0) {
            self.out.insert_str(start, "(?:");
            self.out.push(')');
        }
        match (least, most) {
            (0, None) => self.out.push('*'),
            (1, None) => self.out.push('+'),
            (0, Some(1)) => self.out.push('?'),
            // The engine would forget the groups in it, which count.
            (_, Some(0)) => {
                self.out.insert_str(start, "(?:");
                self.out.push_str(r"[^\x00-\xFF])?");
            }
            (least, None) => self.out.push_str(&format!("{{{least},}}")),
            (least, Some(most)) => self.out.push_str(&format!("{{{least},{most}}}")),
        }
        if lazy {
            self.out.push('?');
        }
        self.group.last = Some(Piece { start, cost, repeated: true });
        Ok(())
    }

    fn too_deep(&self, from: usize) -> Mistake {
        self.cursor.mistake(
            from,
            format!("what begins here is more than {MAX_DEPTH} deep in groups and repetitions"),
            "nest less",
        )
    }

    /// At a `(`: a group or, as `(?i)`, new flags for the rest of the one that it is in.
    fn open(&mut self) -> Result<(), Mistake> {
        let from = self.cursor.at();
        let flags = self.flags;
        self.cursor.next();
        let captures = !self.cursor.rest().starts_with('?') || self.name(from)?;
        if !captures && !self.perl_flags(from)? {
            return Ok(());
        }
        if self.around.len() >= MAX_DEPTH as usize {
            return Err(self.too_deep(from));
        }
        let group = Group::new(from, self.out.len(), flags, captures);
        self.out.push_str(if captures { "(" } else { "(?:" });
        self.around.push(std::mem::replace(&mut self.group, group));
        Ok(())
    }

    /// Passes `?P<name>` or `?<name>`; no match asks for the name.
    fn name(&mut self, from: usize) -> Result<bool, Mistake> {
        if self.cursor.rest().starts_with("?<=") || self.cursor.rest().starts_with("?<!") {
            return Ok(false);
        }
        if !self.cursor.take("?P<") && !self.cursor.take("?<") {
            return Ok(false);
        }
        let word =
            |name: &&str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if self.cursor.through(">").filter(word).is_some() {
            return Ok(true);
        }
        let write = "write (?P<name>...), with letters, digits and _ of ASCII in the name";
        Err(self.cursor.mistake(from, "the group that begins here has no proper name", write))
    }

    /// At the `?` of `(?i)`, which is not a group, or of `(?i:`, which is.
    fn perl_flags(&mut self, from: usize) -> Result<bool, Mistake> {
        self.cursor.next();
        let (mut flags, mut on, mut seen) = (self.flags, true, true);
        loop {
            let flag = self.cursor.next();
            match flag {
                Some('i') => flags.any_case = on,
                Some('m') => flags.lines = on,
                Some('s') => flags.dot_is_all = on,
                Some('U') => flags.lazy = on,
                Some('-') if on => {
                    (on, seen) = (false, false);
                    continue;
                }
                Some(end @ (':' | ')')) if seen => {
                    self.flags = flags;
                    return Ok(end == ':');
                }
                _ => return Err(self.not_perl(from, flag)),
            }
            seen = true;
        }
    }

    /// The mistake in `(?` and the text after it; `wrong` is the last character read.
    fn not_perl(&mut self, from: usize, wrong: Option<char>) -> Mistake {
        self.cursor.take("="); // of `(?<=`
        self.cursor.take("!");
        let text = self.cursor.since(from);
        let behind = text.trim_start_matches("(?");
        let (problem, write) = match (behind, wrong) {
            ("=" | "!" | "<=" | "<!", _) => {
                ("would look around, which RE2 cannot", "match all of the text, and say what must not match elsewhere")
            }
            (">", _) => ("would be atomic, and RE2 never goes back", "write (?:...)"),
            ("#", _) => ("would be a comment, which RE2 does not have", "leave it out"),
            ("|", _) => ("would number groups anew, which RE2 does not do", "write (?:...)"),
            _ if behind.starts_with('P') => {
                ("is neither flags nor a name", "write (?P<name>...); RE2 has no backreferences")
            }
            ("R" | "&", _) => ("would repeat the pattern in itself, which RE2 cannot", "spell it out"),
            (_, Some('0'..='9' | '+')) => ("would repeat a group, which RE2 cannot", "spell it out"),
            (_, Some('x')) => {
                ("has the flag x, which RE2 does not have", "write it without blanks, and (?imsU) for flags")
            }
            (_, None) => ("is not finished", r#"write (?:...), or "\(" for a parenthesis"#),
            _ => ("is not a group of RE2", "write (?:...) for a group and (?imsU) for flags"),
        };
        self.cursor.mistake(from, format!("\"{text}\" {problem}"), write)
    }

    fn close(&mut self) -> Result<(), Mistake> {
        let from = self.cursor.at();
        let Some(around) = self.around.pop() else {
            return Err(self.cursor.mistake(
                from,
                "no \"(\" opens what this \")\" closes",
                r#"write "\)" for a parenthesis"#,
            ));
        };
        self.cursor.next();
        self.out.push(')');
        let group = std::mem::replace(&mut self.group, around);
        let (start, begins) = (group.start, group.from);
        let (cost, flags) = group.finish();
        if cost.depth > MAX_DEPTH {
            return Err(self.too_deep(begins));
        }
        self.flags = flags;
        self.group.push(Piece { start, cost, repeated: false });
        Ok(())
    }

    /// At a backslash.
    fn escaped(&mut self) -> Result<(), Mistake> {
        if self.cursor.take(r"\Q") {
            let quoted = match self.cursor.through(r"\E") {
                Some(quoted) => quoted,
                None => {
                    let rest = self.cursor.rest();
                    while self.cursor.next().is_some() {}
                    rest
                }
            };
            quoted.chars().for_each(|character| self.literal(Literal::of(character)));
            return Ok(());
        }
        for (written, assertion) in [(r"\A", r"\A"), (r"\z", r"\z"), (r"\b", r"\b"), (r"\B", r"\B")] {
            if self.cursor.rest().starts_with(written) {
                self.assertion(written.len(), assertion);
                return Ok(());
            }
        }
        if let Some(class) = bare(&mut self.cursor, self.flags.any_case)? {
            self.class(&class);
            return Ok(());
        }
        let byte = escape(&mut self.cursor, false)?;
        self.literal(Literal::Byte(byte));
        Ok(())
    }

    /// Skips this many ASCII characters and writes an assertion in their place.
    fn assertion(&mut self, passed: usize, assertion: &str) {
        for _ in 0..passed {
            self.cursor.next();
        }
        let start = self.out.len();
        self.out.push_str(assertion);
        self.push(start, 0);
    }

    fn class(&mut self, class: &Bytes) {
        let start = self.out.len();
        class.write(&mut self.out);
        self.push(start, class.instructions());
    }

    /// Each byte is a piece of its own: `é*` repeats its second byte.
    fn literal(&mut self, literal: Literal) {
        literal.bytes(|byte| {
            if self.flags.any_case && byte.is_ascii_alphabetic() {
                return self.class(&Bytes::of(&[byte..=byte]).folded());
            }
            let start = self.out.len();
            if byte.is_ascii_alphanumeric() || byte == b'/' {
                self.out.push(char::from(byte));
            } else if byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>') {
                self.out.extend(['\\', char::from(byte)]);
            } else {
                self.out.push_str(&format!(r"\x{byte:02X}"));
            }
            self.push(start, 1);
        });
    }

    fn push(&mut self, start: usize, instructions: u64) {
        let cost = Cost { instructions, ..Cost::default() };
        self.group.push(Piece { start, cost, repeated: false });
    }
}
