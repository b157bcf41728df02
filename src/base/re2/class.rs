//! Classes, which match one byte out of several (`[...]`, `\d`, `\pN`), and the escapes of one byte.
//!
//! Used by `re2::parser`.

use super::bytes::{Bytes, POSIX, perl, posix};
use super::cursor::{Cursor, Mistake};
use super::unicode;

const WITHOUT: &str = "write it without the backslash";

/// A class without brackets, if one comes next: `\d`, `\pN`, `\p{Greek}`.
pub(super) fn bare(cursor: &mut Cursor<'_>, fold: bool) -> Result<Option<Bytes>, Mistake> {
    let from = cursor.at();
    let mut ahead = *cursor;
    if !ahead.take("\\") {
        return Ok(None);
    }
    let (bytes, negated) = match ahead.next() {
        Some(upper @ ('p' | 'P')) => {
            let (bytes, negated) = unicode_group(&mut ahead, from)?;
            (bytes, negated != (upper == 'P'))
        }
        Some(letter) => match perl(letter) {
            Some(class) => class,
            None => return Ok(None),
        },
        None => return Ok(None),
    };
    *cursor = ahead;
    Ok(Some(finished(bytes, negated, fold)))
}

/// A class is folded before it is negated.
fn finished(bytes: Bytes, negated: bool, fold: bool) -> Bytes {
    let bytes = if fold { bytes.folded() } else { bytes };
    if negated { bytes.negated() } else { bytes }
}

/// Behind `\p`: its members and whether a `^` negates it.
fn unicode_group(cursor: &mut Cursor<'_>, from: usize) -> Result<(Bytes, bool), Mistake> {
    let name = if cursor.take("{") {
        let open = |cursor: &Cursor<'_>| cursor.mistake(from, r"the braces of \p are not closed", r"write \p{Greek}");
        cursor.through("}").ok_or_else(|| open(cursor))?
    } else {
        let start = cursor.at();
        cursor.next();
        cursor.since(start)
    };
    let (name, negated) = name.strip_prefix('^').map_or((name, false), |name| (name, true));
    let unknown = || {
        let problem = format!("RE2 has no class of Unicode by the name \"{}\"", cursor.since(from));
        cursor.mistake(from, problem, r"write a general category, \pL or \p{Lu}, or a script, \p{Greek}")
    };
    Ok((unicode::group(name).ok_or_else(unknown)?, negated))
}

/// The reader of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// As Istio's validation does.
    Character,
    /// As Envoy does: to it `[a-é-ü]` is 61 to C3, A9 to C3 again, and BC.
    Byte,
}

/// After a `[`, up to and with its `]`: both parsers must accept it, and Envoy's meaning counts.
pub(super) fn bracketed(cursor: &mut Cursor<'_>, from: usize, fold: bool) -> Result<Bytes, Mistake> {
    members(&mut cursor.clone(), from, fold, Unit::Character)?;
    members(cursor, from, fold, Unit::Byte)
}

fn members(cursor: &mut Cursor<'_>, from: usize, fold: bool, unit: Unit) -> Result<Bytes, Mistake> {
    let negated = cursor.take("^");
    let mut bytes = Bytes::none();
    let mut first = true; // where a `]` is a literal
    loop {
        match cursor.peek() {
            None => return Err(unclosed(cursor, from)),
            Some(']') if !first => break,
            Some(_) => first = false,
        }
        if let Some(named) = named(cursor, fold)? {
            bytes.add_all(&named);
        } else if let Some(bare) = bare(cursor, fold)? {
            bytes.add_all(&bare);
        } else {
            let member = member(cursor, from, unit)?;
            bytes.add_all(&if fold { member.folded() } else { member });
        }
    }
    cursor.next();
    Ok(if negated { bytes.negated() } else { bytes })
}

fn unclosed(cursor: &Cursor<'_>, from: usize) -> Mistake {
    let text = cursor.since(from);
    let write = if text.starts_with("[]") || text.starts_with("[^]") {
        r#"a "]" right behind the bracket is a literal; write one more, or "\[" for a bracket"#
    } else {
        r#"write "]" behind it, or "\[" for a bracket"#
    };
    cursor.mistake(from, "no \"]\" closes the class that begins here", write)
}

/// `[:alpha:]` or `[:^alpha:]`, if it comes next. Without `:]` anywhere behind it, `[:` is two literals.
fn named(cursor: &mut Cursor<'_>, fold: bool) -> Result<Option<Bytes>, Mistake> {
    let from = cursor.at();
    let mut ahead = *cursor;
    if !ahead.take("[:") {
        return Ok(None);
    }
    let Some(name) = ahead.through(":]") else { return Ok(None) };
    let (bare, negated) = name.strip_prefix('^').map_or((name, false), |name| (name, true));
    let Some(bytes) = posix(bare) else {
        let problem = format!("\"[:{name}:]\" is not a class: there are {POSIX}");
        return Err(cursor.mistake(from, problem, r#"write one of those, or "\[" for a bracket"#));
    };
    *cursor = ahead;
    Ok(Some(finished(bytes, negated, fold)))
}

/// A literal or a range of a class, and the ranges that are chained to it if it is read by bytes.
fn member(cursor: &mut Cursor<'_>, class: usize, unit: Unit) -> Result<Bytes, Mistake> {
    let mut from = cursor.at();
    let mut bytes = Bytes::none();
    let mut low = literal(cursor, class)?;
    low.add_to(&mut bytes);
    // `[a-]` is those two.
    while cursor.rest().starts_with('-') && !cursor.rest().starts_with("-]") && cursor.rest().len() > 1 {
        cursor.next();
        if bare(&mut cursor.clone(), false)?.is_some() {
            let end = cursor.rest().chars().take(2).collect::<String>();
            let problem = format!("a range cannot end with the class \"{end}\"");
            return Err(cursor.mistake(from, problem, r#"write the "-" last in the brackets"#));
        }
        let start_of_high = cursor.at();
        let high = literal(cursor, class)?;
        let backwards = match unit {
            Unit::Character => low.number() > high.number(),
            Unit::Byte => low.last() > high.first(),
        };
        if backwards {
            let problem = format!("the range \"{}\" ends before it begins", cursor.since(from));
            return Err(cursor.mistake(from, problem, r#"write the lower end first, or the "-" last in the brackets"#));
        }
        high.add_to(&mut bytes);
        if unit == Unit::Byte {
            bytes.add_range(low.last()..=high.first());
        }
        // The last byte of a character is not yet the end of a range.
        if unit == Unit::Character || matches!(high, Literal::Byte(_)) {
            break;
        }
        (low, from) = (high, start_of_high);
    }
    Ok(bytes)
}

/// One character of an expression: one byte in ASCII or as an escape, else several.
#[derive(Debug, Clone, Copy)]
pub(super) enum Literal {
    Byte(u8),
    Character(char),
}

impl Literal {
    pub(super) fn of(character: char) -> Self {
        u8::try_from(character).ok().filter(u8::is_ascii).map_or(Self::Character(character), Self::Byte)
    }

    /// Calls `each` with its bytes.
    pub(super) fn bytes(self, mut each: impl FnMut(u8)) {
        match self {
            Self::Byte(byte) => each(byte),
            Self::Character(character) => character.encode_utf8(&mut [0; 4]).bytes().for_each(each),
        }
    }

    fn add_to(self, bytes: &mut Bytes) {
        self.bytes(|byte| bytes.add(byte));
    }

    fn number(self) -> u32 {
        match self {
            Self::Byte(byte) => u32::from(byte),
            Self::Character(character) => u32::from(character),
        }
    }

    fn first(self) -> u8 {
        let mut first = None;
        self.bytes(|byte| first = first.or(Some(byte)));
        first.unwrap_or_default()
    }

    fn last(self) -> u8 {
        let mut last = 0;
        self.bytes(|byte| last = byte);
        last
    }
}

fn literal(cursor: &mut Cursor<'_>, class: usize) -> Result<Literal, Mistake> {
    if cursor.rest().starts_with('\\') {
        return escape(cursor, true).map(Literal::Byte);
    }
    cursor.next().map(Literal::of).ok_or_else(|| unclosed(cursor, class))
}

/// The byte of the next escape.
pub(super) fn escape(cursor: &mut Cursor<'_>, in_class: bool) -> Result<u8, Mistake> {
    let from = cursor.at();
    cursor.next();
    let wrong = |cursor: &Cursor<'_>, problem: &str, write| {
        Err(cursor.mistake(from, format!("\"{}\" {problem}", cursor.since(from)), write))
    };
    let Some(letter) = cursor.next() else {
        return wrong(cursor, "at the end escapes nothing", r#"write "\\" for a backslash"#);
    };
    Ok(match letter {
        'a' => b'\x07',
        'f' => b'\x0C',
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => b'\x0B',
        'x' => return hexadecimal(cursor, from),
        '0'..='7' if letter == '0' || matches!(cursor.peek(), Some('0'..='7')) => return octal(cursor, from),
        '1'..='9' => {
            let write = "spell out what the group matches; a byte in octal has three digits, as in \"\\101\"";
            return wrong(cursor, "would be a backreference, which RE2 does not have", write);
        }
        'b' | 'B' if in_class => {
            return wrong(cursor, "is not a literal, and a class has nothing else", r#"write "\x08" for a backspace"#);
        }
        'Q' | 'E' if in_class => return wrong(cursor, "does not quote in a class", r#"write "\" before each literal"#),
        'E' => return wrong(cursor, r"ends nothing, as no \Q is before it", r#"write "\\E" for a backslash and an E"#),
        'A' | 'z' if in_class => return wrong(cursor, "is not a literal, and a class has nothing else", WITHOUT),
        'Z' | 'G' | 'K' => return wrong(cursor, "is not a place that RE2 knows", r#"write "\A", "\z", "^" or "$""#),
        'C' => return wrong(cursor, "is refused by Istio", r#"write "(?s:.)" for any byte"#),
        'u' | 'U' => return wrong(cursor, "is not an escape of RE2", r#"write the character itself, or "\x41""#),
        'R' | 'h' | 'H' | 'N' | 'V' | 'X' => {
            return wrong(cursor, "is not an escape of RE2", r#"write a class, as in "[ \t]""#);
        }
        plain if plain.is_ascii() && !plain.is_ascii_alphanumeric() => plain as u8,
        plain if !plain.is_ascii() => return wrong(cursor, "is not an escape", WITHOUT),
        _ => return wrong(cursor, "is not an escape of RE2", WITHOUT),
    })
}

/// Behind `\x`: two digits, or any number of them in braces.
fn hexadecimal(cursor: &mut Cursor<'_>, from: usize) -> Result<u8, Mistake> {
    let digits = if cursor.take("{") {
        cursor.through("}").unwrap_or_default()
    } else {
        let start = cursor.at();
        cursor.next();
        cursor.next();
        cursor.since(start)
    };
    let well_formed = digits.bytes().all(|digit| digit.is_ascii_hexdigit()) && !digits.is_empty();
    let braced = cursor.since(from).ends_with('}');
    if !well_formed || (!braced && digits.len() != 2) {
        let problem = format!("\"{}\" has no two hexadecimal digits", cursor.since(from));
        return Err(cursor.mistake(from, problem, r#"write a byte as "\x2F""#));
    }
    let significant = digits.trim_start_matches('0');
    let number = if significant.is_empty() { Ok(0) } else { u8::from_str_radix(significant, 16) };
    number.map_err(|_| more_than_a_byte(cursor, from))
}

/// Behind a `\` and before its one to three digits, of which one was passed.
fn octal(cursor: &mut Cursor<'_>, from: usize) -> Result<u8, Mistake> {
    let mut more = 0;
    while more < 2 && matches!(cursor.peek(), Some('0'..='7')) {
        cursor.next();
        more += 1;
    }
    let digits = cursor.since(from).trim_start_matches('\\');
    u8::from_str_radix(digits, 8).map_err(|_| more_than_a_byte(cursor, from))
}

fn more_than_a_byte(cursor: &Cursor<'_>, from: usize) -> Mistake {
    let problem = format!("\"{}\" is more than a byte, and Envoy matches bytes", cursor.since(from));
    cursor.mistake(from, problem, "write the character itself")
}
