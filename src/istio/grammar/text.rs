//! Methods, schemes, values of headers and of query parameters.

use super::Grammar;

/// The methods of RFC 9110 and PATCH, of which everyone knows how they are written.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// Methods: tokens, and no well-known method in other letters than its own. (`get` is a token too, which no client
/// sends.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method;

/// The state of [`Method`] in which anything may follow. Others are a beginning of a well-known method, by
/// `16 * (1 + method) + letters`.
const FREE: u32 = 1;
/// Set in such a state if one of the letters was a small one.
const SMALL: u32 = 1 << 16;

impl Method {
    /// The well-known method that an ill-written one means.
    #[must_use]
    pub fn meant(text: &str) -> Option<&'static str> {
        METHODS.into_iter().find(|method| *method != text && method.eq_ignore_ascii_case(text))
    }
}

impl Grammar for Method {
    fn start(&self, to: &mut Vec<u32>) {
        to.push(0);
    }

    /// Of a beginning that several methods share the first one is kept, until a letter tells them apart.
    fn step(&self, state: u32, byte: u8, to: &mut Vec<u32>) {
        if !is_token(byte) {
            return;
        }
        if state == FREE {
            return to.push(FREE);
        }
        let letters = (state & 0xf) as usize;
        let read = match (state & !SMALL) / 16 {
            0 => "",
            known => METHODS[known as usize - 1].get(..letters).unwrap_or_default(),
        };
        let upper = byte.to_ascii_uppercase();
        let known = METHODS.iter().position(|method| {
            method.starts_with(read) && method.as_bytes().get(letters).is_some_and(|letter| *letter == upper)
        });
        to.push(match known {
            None => FREE,
            Some(known) => {
                let small = if byte.is_ascii_lowercase() { SMALL } else { state & SMALL };
                (16 * (1 + known as u32) + letters as u32 + 1) | small
            }
        });
    }

    fn ends(&self, state: u32) -> bool {
        match (state & !SMALL) / 16 {
            0 => state == FREE,
            known => state & SMALL == 0 || METHODS[known as usize - 1].len() > (state & 0xf) as usize,
        }
    }
}

/// A byte of a token (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// `http` and `https`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheme;

impl Grammar for Scheme {
    fn start(&self, to: &mut Vec<u32>) {
        to.push(0);
    }

    fn step(&self, state: u32, byte: u8, to: &mut Vec<u32>) {
        if b"https".get(state as usize) == Some(&byte) {
            to.push(state + 1);
        }
    }

    fn ends(&self, state: u32) -> bool {
        state >= 4
    }
}

/// Values of a header: without control characters, and without blanks at their ends. They may be empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderValue;

impl Grammar for HeaderValue {
    fn start(&self, to: &mut Vec<u32>) {
        to.push(0);
    }

    /// 0: nothing; 1: behind a visible byte; 2: behind a blank.
    fn step(&self, state: u32, byte: u8, to: &mut Vec<u32>) {
        match byte {
            b' ' | b'\t' if state > 0 => to.push(2),
            0x21..=0x7e | 0x80.. => to.push(1),
            _ => {}
        }
    }

    fn ends(&self, state: u32) -> bool {
        state < 2
    }
}

/// Values of a query parameter, as they stand in a request: nothing in them is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryValue;

impl QueryValue {
    /// Whether a parameter can have this name.
    #[must_use]
    pub fn is_name(name: &str) -> bool {
        name.bytes().all(|byte| byte != b'=' && Self::is_byte(byte))
    }

    fn is_byte(byte: u8) -> bool {
        (0x21..0x7f).contains(&byte) && !matches!(byte, b'&' | b'#')
    }
}

impl Grammar for QueryValue {
    fn start(&self, to: &mut Vec<u32>) {
        to.push(0);
    }

    fn step(&self, state: u32, byte: u8, to: &mut Vec<u32>) {
        if Self::is_byte(byte) {
            to.push(state);
        }
    }

    fn ends(&self, _: u32) -> bool {
        true
    }
}
