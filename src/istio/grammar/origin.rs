//! Origins, as browsers name them in the header `origin`.

use super::Grammar;

/// `scheme "://" host [":" port]` in lower case, without the port that the scheme implies; `null` for an opaque
/// origin (RFC 6454, WHATWG URL). Schemes of applications, other than the Web's, are accepted as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin;

/// States of a scheme: how much of `http` has been read, `https`, or another scheme.
const HTTPS: u32 = 5;
const OTHER: u32 = 6;
/// How much of `null` has been read, from its second byte.
const NULL: u32 = 7;
/// The state after the scheme; the number of the scheme is in the upper bits.
const STAGE: u32 = 0xff;
const COLON: u32 = 16;
const SLASH: u32 = 17;
const SLASHES: u32 = 18;
const HOST: u32 = 19;
const BRACKETS: u32 = 20;
const BRACKETED: u32 = 21;
/// After the colon of a port, by its digits: a prefix of the implied port, or others.
const PORT: u32 = 22;
const PORT_OTHER: u32 = 32;
const PORT_LAST: u32 = 36;

fn implied(scheme: u32) -> &'static [u8] {
    match scheme {
        4 => b"80",
        HTTPS => b"443",
        _ => b"",
    }
}

impl Grammar for Origin {
    fn start(&self, to: &mut Vec<u32>) {
        to.push(0);
    }

    fn step(&self, state: u32, byte: u8, to: &mut Vec<u32>) {
        let (stage, scheme) = (state & STAGE, state >> 8);
        let at = |stage: u32| scheme << 8 | stage;
        let scheme_byte = byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
        match stage {
            0 if !byte.is_ascii_lowercase() => {}
            0..COLON if byte == b':' && stage != 0 => to.push(stage.min(10) << 8 | COLON),
            0..COLON if scheme_byte => to.push(match (stage, byte) {
                (0, b'h') => 1,
                (1, b't') => 2,
                (2, b't') => 3,
                (3, b'p') => 4,
                (4, b's') => HTTPS,
                (0, b'n') => NULL,
                (NULL, b'u') => NULL + 1,
                (8, b'l') => NULL + 2,
                (9, b'l') => NULL + 3,
                _ => OTHER,
            }),
            COLON | SLASH if byte == b'/' => to.push(at(stage + 1)),
            SLASHES | HOST => match byte {
                b'[' if stage == SLASHES => to.push(at(BRACKETS)),
                b':' if stage == HOST => to.push(at(PORT)),
                b'A'..=b'Z' if matches!(scheme, 4 | HTTPS) => {}
                byte if byte.is_ascii_alphanumeric() || b"-._~!$&'()+,;=%".contains(&byte) => to.push(at(HOST)),
                _ => {}
            },
            BRACKETS => match byte {
                b']' => to.push(at(BRACKETED)),
                b'0'..=b'9' | b'a'..=b'f' | b':' | b'.' => to.push(at(BRACKETS)),
                _ => {}
            },
            BRACKETED if byte == b':' => to.push(at(PORT)),
            PORT..PORT_OTHER if byte.is_ascii_digit() => {
                let digits = stage - PORT;
                let follows = implied(scheme).get(digits as usize) == Some(&byte);
                to.push(at(if follows { stage + 1 } else { PORT_OTHER + digits.min(4) }));
            }
            PORT_OTHER..PORT_LAST if byte.is_ascii_digit() => to.push(at(stage + 1)),
            _ => {}
        }
    }

    fn ends(&self, state: u32) -> bool {
        let (stage, scheme) = (state & STAGE, state >> 8);
        match stage {
            10 | HOST | BRACKETED | PORT_OTHER..=PORT_LAST => true,
            // Files have an empty host.
            SLASHES => !matches!(scheme, 4 | HTTPS),
            PORT..PORT_OTHER => stage > PORT && (stage - PORT) as usize != implied(scheme).len(),
            _ => false,
        }
    }
}
