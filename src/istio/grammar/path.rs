//! Paths in the form in which rules see them.

use super::Grammar;
use crate::istio::model::proxy::PathNormalization;

/// Paths, without query, in the normal form that `meshConfig.pathNormalization` asks for. The empty path of a CONNECT
/// and the `*` of an OPTIONS are excluded: no rule of Istio matches them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path(pub PathNormalization);

/// Paths with `?` and query: the values of the header `:path`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target(pub PathNormalization);

/// The part after the first slash of such a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relative(pub PathNormalization);

/// The start.
const START: u32 = 0;
/// Behind a slash.
const SEGMENT: u32 = 1;
/// The segment is `.` so far.
const DOT: u32 = 2;
/// The segment is `..` so far.
const DOTS: u32 = 3;
/// Within a segment.
const WITHIN: u32 = 4;
/// After a percent sign, by the bytes before it (one of [`Before`]).
const PERCENT: u32 = 5;
/// After a percent sign and a digit, by the bytes before the sign and by the digit.
const DIGIT: u32 = 8;
/// In the query.
const QUERY: u32 = 100;

/// The bytes before a percent sign, as far as an escape could continue them.
#[derive(Clone, Copy)]
enum Before {
    /// Any other bytes.
    Nothing,
    /// Another percent sign that begins no escape.
    Percent,
    /// Such a sign and a digit.
    Digit,
}

const BEFORE: [Before; 3] = [Before::Nothing, Before::Percent, Before::Digit];

impl Path {
    /// The state after `byte`, which is not part of an escape.
    fn plain(self, state: u32, byte: u8) -> Option<u32> {
        let as_sent = self.0 == PathNormalization::None;
        match (state, byte) {
            (START, b'/') => Some(SEGMENT),
            (START, _) | (_, b'?' | b'#') => None,
            _ if !(0x21..0x7f).contains(&byte) => None,
            _ if as_sent => Some(WITHIN),
            (_, b'\\' | b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}') => None,
            (DOT | DOTS, b'/') => None,
            (SEGMENT, b'/') if self.0 != PathNormalization::Base => None,
            (_, b'/') => Some(SEGMENT),
            (SEGMENT, b'.') => Some(DOT),
            (DOT, b'.') => Some(DOTS),
            _ => Some(WITHIN),
        }
    }

    /// The state after `byte`; `state` is not in a query.
    fn next(self, state: u32, byte: u8) -> Option<u32> {
        if self.0 == PathNormalization::None || state == START {
            return self.plain(state, byte);
        }
        let within = |before: Before, byte| match byte {
            b'%' => Some(PERCENT + before as u32),
            byte => self.plain(WITHIN, byte),
        };
        match state {
            PERCENT..DIGIT => match hex(byte) {
                Some(digit) => Some(DIGIT + (state - PERCENT) * 16 + u32::from(digit)),
                None => within(Before::Percent, byte),
            },
            DIGIT..QUERY => {
                let (before, high) = (BEFORE[((state - DIGIT) / 16) as usize], ((state - DIGIT) % 16) as u8);
                match hex(byte) {
                    Some(low) => self.keeps(before, high << 4 | low).then_some(WITHIN),
                    None => within(Before::Digit, byte),
                }
            }
            _ if byte == b'%' => Some(PERCENT),
            _ => self.plain(state, byte),
        }
    }

    /// Whether the escape of `code` stays.
    fn keeps(self, before: Before, code: u8) -> bool {
        let slash = self.0 == PathNormalization::DecodeAndMergeSlashes && matches!(code, b'/' | b'\\');
        let unreserved = code.is_ascii_alphanumeric() || matches!(code, b'-' | b'.' | b'_' | b'~');
        let would_complete = code.is_ascii_hexdigit() && !matches!(before, Before::Nothing);
        code != 0 && !slash && (!unreserved || would_complete)
    }
}

fn hex(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

impl Grammar for Path {
    fn start(&self, to: &mut Vec<u32>) {
        to.push(START);
    }

    fn step(&self, state: u32, byte: u8, to: &mut Vec<u32>) {
        to.extend(self.next(state, byte));
    }

    fn ends(&self, state: u32) -> bool {
        !matches!(state, START | DOT | DOTS)
    }
}

impl Grammar for Relative {
    fn start(&self, to: &mut Vec<u32>) {
        to.push(SEGMENT);
    }

    fn step(&self, state: u32, byte: u8, to: &mut Vec<u32>) {
        Path(self.0).step(state, byte, to);
    }

    fn ends(&self, state: u32) -> bool {
        Path(self.0).ends(state)
    }
}

impl Grammar for Target {
    fn start(&self, to: &mut Vec<u32>) {
        to.push(START);
    }

    fn step(&self, state: u32, byte: u8, to: &mut Vec<u32>) {
        let path = Path(self.0);
        match (state, byte) {
            (QUERY, b'#') => {}
            (QUERY, 0x21..0x7f) => to.push(QUERY),
            (QUERY, _) => {}
            (_, b'?') if path.ends(state) => to.push(QUERY),
            _ => to.extend(path.next(state, byte)),
        }
    }

    fn ends(&self, state: u32) -> bool {
        state == QUERY || Path(self.0).ends(state)
    }
}
