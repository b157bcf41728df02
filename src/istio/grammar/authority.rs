//! Authorities: hosts with or without a port, of the hosts that a VirtualService has.

use super::Grammar;

/// Authorities (`host [":" port]`, any case) of these hosts, each a lower-case name, an address in brackets, or a
/// wildcard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority<'h>(pub &'h [String]);

/// The state within a host; the number of the host is in the upper bits.
const PLACE: u32 = 0xffff;
/// The variable part of a wildcard: before its first byte, and after it.
const WILD: u32 = 0xf000;
const WILD_READ: u32 = 0xf001;
/// Within brackets, which a wildcard alone covers, and behind them.
const BRACKETS: u32 = 0xf002;
const BRACKETS_COLON: u32 = 0xf003;
const AFTER: u32 = 0xf004;
/// After the colon, and after up to five digits. Some of these ports are too large, which does no harm.
const PORT: u32 = 0xf010;
const PORT_LAST: u32 = PORT + 5;

impl Authority<'_> {
    fn host(&self, state: u32) -> &str {
        self.0.get((state >> 16) as usize).map_or("", String::as_str)
    }

    fn is_read(&self, state: u32) -> bool {
        match state & PLACE {
            AFTER => true,
            // `*` also covers a request without an authority (HTTP/1.0) or with an empty one.
            WILD | WILD_READ => self.host(state) == "*",
            place if place < WILD => place as usize == self.host(state).len(),
            _ => false,
        }
    }
}

impl Grammar for Authority<'_> {
    fn start(&self, to: &mut Vec<u32>) {
        for (number, host) in (0..).zip(self.0.iter().take(0xffff)) {
            let place = if host.starts_with('*') { WILD } else { 0 };
            to.push(number << 16 | place);
        }
    }

    fn step(&self, state: u32, byte: u8, to: &mut Vec<u32>) {
        let (host, place) = (self.host(state), state & PLACE);
        let at = |place: u32| state & !PLACE | place;
        if byte == b':' && place != WILD && self.is_read(state) {
            to.push(at(PORT));
        }
        match place {
            PORT..PORT_LAST if byte.is_ascii_digit() => to.push(at(place + 1)),
            WILD | WILD_READ => {
                if is_host_byte(byte) {
                    to.push(at(WILD_READ));
                }
                if place == WILD && byte == b'[' && host == "*" {
                    to.push(at(BRACKETS));
                }
                let suffix = host.as_bytes().get(1);
                if place == WILD_READ && suffix.is_some_and(|first| first.eq_ignore_ascii_case(&byte)) {
                    to.push(at(2));
                }
            }
            BRACKETS | BRACKETS_COLON => match byte {
                b':' => to.push(at(BRACKETS_COLON)),
                b']' if place == BRACKETS_COLON => to.push(at(AFTER)),
                byte if byte.is_ascii_hexdigit() || byte == b'.' => to.push(at(place)),
                _ => {}
            },
            place if place < WILD => {
                let next = host.as_bytes().get(place as usize).filter(|next| next.eq_ignore_ascii_case(&byte));
                to.extend(next.map(|_| at(place + 1)));
            }
            _ => {}
        }
    }

    fn ends(&self, state: u32) -> bool {
        state & PLACE >= PORT || self.is_read(state)
    }
}

/// The bytes of a name in an authority (RFC 3986, section 3.2.2: unreserved, percent, sub-delims).
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte)
}
