//! Methods, schemes, values of headers and of query parameters.

use super::Grammar;

/// The methods that the codec accepts: those of Envoy's parser. Requests with another one are refused with 400.
const METHODS: [&str; 34] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "CONNECT",
    "OPTIONS",
    "TRACE",
    "PATCH",
    "ACL",
    "BIND",
    "CHECKOUT",
    "COPY",
    "LINK",
    "LOCK",
    "M-SEARCH",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MOVE",
    "NOTIFY",
    "PROPFIND",
    "PROPPATCH",
    "PURGE",
    "REBIND",
    "REPORT",
    "SEARCH",
    "SOURCE",
    "SUBSCRIBE",
    "UNBIND",
    "UNLINK",
    "UNLOCK",
    "UNSUBSCRIBE",
];

/// The accepted methods: requests with others meet no rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method;

/// A state is `LONGEST * method + letters`.
const LONGEST: u32 = 16;

impl Method {
    /// The method that an ill-written one means.
    #[must_use]
    pub fn meant(text: &str) -> Option<&'static str> {
        METHODS.into_iter().find(|method| *method != text && method.eq_ignore_ascii_case(text))
    }

    fn split(state: u32) -> (&'static str, usize) {
        let method = METHODS.get((state / LONGEST) as usize).copied().unwrap_or_default();
        (method, (state % LONGEST) as usize)
    }
}

impl Grammar for Method {
    fn start(&self, to: &mut Vec<u32>) {
        to.extend((0..).zip(METHODS).map(|(number, _)| LONGEST * number));
    }

    fn step(&self, state: u32, byte: u8, to: &mut Vec<u32>) {
        let (method, letters) = Self::split(state);
        to.extend((method.as_bytes().get(letters) == Some(&byte)).then_some(state + 1));
    }

    fn ends(&self, state: u32) -> bool {
        let (method, letters) = Self::split(state);
        letters == method.len()
    }
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

/// Values of a query parameter, as in the request: without decoding.
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
