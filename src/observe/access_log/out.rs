//! How values are written: for a line of text, for a JSON value of their own, or inside a JSON string.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::Value;

/// The context of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// A line of text: a missing value is `-`.
    Text,
    /// The value is a JSON value: numbers are numbers, texts have quotes, a missing value is `null`.
    JsonValue,
    /// The value is a part of a JSON string: a missing value is `-`.
    JsonPart,
}

/// Takes one value.
pub(super) struct Out<'a> {
    bytes: &'a mut Vec<u8>,
    style: Style,
}

impl<'a> Out<'a> {
    #[inline]
    pub(super) fn new(bytes: &'a mut Vec<u8>, style: Style) -> Self {
        Self { bytes, style }
    }

    pub(super) fn missing(self) {
        match self.style {
            Style::Text | Style::JsonPart => self.bytes.push(b'-'),
            Style::JsonValue => self.bytes.extend_from_slice(b"null"),
        }
    }

    /// A part that something does not have which there is: in text not even `-`.
    pub(super) fn nothing(self) {
        if self.style == Style::JsonValue {
            self.missing();
        }
    }

    #[inline]
    pub(super) fn number(self, value: u64) {
        number(self.bytes, value);
    }

    pub(super) fn millis(self, time: Duration) {
        self.number(millis(time));
    }

    /// Appends the output of `write`, which is printable, without quotes or backslashes.
    #[inline]
    pub(super) fn plain(self, write: impl FnOnce(&mut Vec<u8>)) {
        let quoted = self.style == Style::JsonValue;
        if quoted {
            self.bytes.push(b'"');
        }
        write(self.bytes);
        if quoted {
            self.bytes.push(b'"');
        }
    }

    /// Bytes of unknown making; all of them, escaped.
    #[inline]
    pub(super) fn bytes(self, bytes: &[u8]) {
        match self.style {
            Style::Text => escaped(self.bytes, bytes),
            Style::JsonValue | Style::JsonPart => self.plain(|out| json_escaped(out, bytes)),
        }
    }

    /// Untrusted bytes; empty means that there is no value.
    #[inline]
    pub(super) fn known(self, bytes: &[u8]) {
        if bytes.is_empty() { self.missing() } else { self.bytes(bytes) }
    }

    /// A reason is one word in Envoy's log, so that the fields stay apart.
    pub(super) fn reason(self, words: &str) {
        if words.is_empty() {
            return self.missing();
        }
        self.plain(|out| {
            let start = out.len();
            escaped(out, words.as_bytes());
            out.iter_mut().skip(start).filter(|byte| **byte == b' ').for_each(|byte| *byte = b'_');
        });
    }

    pub(super) fn address(self, address: Option<SocketAddr>) {
        let Some(address) = address else { return self.missing() };
        self.plain(|out| {
            if address.is_ipv6() {
                out.push(b'[');
            }
            ip(out, address.ip());
            if address.is_ipv6() {
                out.push(b']');
            }
            out.push(b':');
            number(out, u64::from(address.port()));
        });
    }

    pub(super) fn ip(self, address: Option<SocketAddr>) {
        match address {
            Some(address) => self.plain(|out| ip(out, address.ip())),
            None => self.missing(),
        }
    }

    pub(super) fn port(self, address: Option<SocketAddr>) {
        match address {
            Some(address) => self.number(u64::from(address.port())),
            None => self.missing(),
        }
    }
}

pub(super) fn number(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// IPv4 by hand: four addresses a line through `fmt` would be half of its cost.
fn ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            for (index, octet) in ip.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                number(out, u64::from(octet));
            }
        }
        IpAddr::V6(ip) => {
            let _ = write!(out, "{ip}"); // a Vec takes every write
        }
    }
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Appends `bytes` with everything but printable ASCII, the quote and the backslash as `\xNN` (nginx's form).
fn escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    // Nearly no text needs it, and a look at all bytes without an early end runs sixteen of them at a time.
    if !bytes.iter().fold(false, |odd, &byte| odd | is_odd(byte)) {
        return out.extend_from_slice(bytes);
    }
    for &byte in bytes {
        if is_odd(byte) {
            out.extend_from_slice(&[b'\\', b'x', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        } else {
            out.push(byte);
        }
    }
}

/// Appends `bytes` as the inside of a JSON string. As in Envoy, valid UTF-8 stays text, and of other bytes each counts
/// as the code point of its number. Control characters are escaped, also those that JSON would let pass (DEL and
/// U+0080 to U+009F, which some terminals obey).
fn json_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    if !bytes.iter().fold(false, |odd, &byte| odd | is_odd(byte)) {
        return out.extend_from_slice(bytes);
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => text.chars().for_each(|c| json_char(out, c)),
        Err(_) => bytes.iter().for_each(|&byte| match byte {
            0x80.. => json_unit(out, byte),
            _ => json_char(out, char::from(byte)),
        }),
    }
}

fn json_char(out: &mut Vec<u8>, c: char) {
    match c {
        '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
        '\0'..='\x1f' | '\x7f'..='\u{9f}' => json_unit(out, c as u8),
        _ => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

fn json_unit(out: &mut Vec<u8>, byte: u8) {
    out.extend_from_slice(&[b'\\', b'u', b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
}

fn is_odd(byte: u8) -> bool {
    !(b' '..=b'~').contains(&byte) | (byte == b'"') | (byte == b'\\')
}

/// `text` as the inside of a JSON string.
pub(super) fn inside_json(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default().to_owned()
}
