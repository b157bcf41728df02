//! The argument of `%START_TIME(…)%`: a `strftime` format, with Envoy's own conversions for fractions of a second.
//! All times are UTC.

use std::time::SystemTime;

use super::out::inside_json;
use crate::observe::date::{self, Civil, DAYS, MONTHS};

/// A compiled format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TimeFormat(Vec<TimePiece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum TimePiece {
    Literal(String),
    /// One of [`CONVERSIONS`].
    Field(char),
    /// The fraction of the second with so many digits.
    Fraction(usize),
    /// Seconds with the fraction behind a dot: so many digits, or as many as it takes.
    Seconds(Option<usize>),
}

/// The conversions without an argument; `D`, `F`, `R` and `T` are shorthands of others.
const CONVERSIONS: &str = "YymdeHIMSpjaAbBhsZz";

impl TimeFormat {
    /// Compiles a format.
    ///
    /// # Errors
    /// The conversion that is not known.
    pub(super) fn compile(format: &str) -> Result<Self, String> {
        let (mut pieces, mut rest) = (Vec::new(), format);
        while let Some(at) = rest.find('%') {
            literal(&mut pieces, &rest[..at]);
            rest = &rest[at + 1..];
            let mut chars = rest.chars();
            let (taken, mut found) = match (chars.next(), chars.next(), chars.next()) {
                (Some('%'), ..) => (1, vec![TimePiece::Literal("%".to_owned())]),
                (Some('t'), ..) => (1, vec![TimePiece::Literal("\t".to_owned())]),
                // Nanoseconds, as in Envoy.
                (Some('f'), ..) => (1, vec![TimePiece::Fraction(9)]),
                (Some('D'), ..) => (1, fields("m/d/y")),
                (Some('F'), ..) => (1, fields("Y-m-d")),
                (Some('R'), ..) => (1, fields("H:M")),
                (Some('T'), ..) => (1, fields("H:M:S")),
                (Some(c), ..) if CONVERSIONS.contains(c) => (1, vec![TimePiece::Field(c)]),
                (Some(n @ '1'..='9'), Some('f'), _) => (2, vec![TimePiece::Fraction(n as usize - '0' as usize)]),
                (Some('E'), Some('*'), Some('S')) => (3, vec![TimePiece::Seconds(None)]),
                (Some('E'), Some(n @ '0'..='9'), Some('S')) => {
                    (3, vec![TimePiece::Seconds(Some(n as usize - '0' as usize))])
                }
                (None, ..) => return Err("%".to_owned()),
                (Some(c), ..) => return Err(format!("%{c}")),
            };
            pieces.append(&mut found);
            rest = &rest[taken..];
        }
        literal(&mut pieces, rest);
        Ok(Self(pieces))
    }

    /// The same, to be written inside a JSON string.
    pub(super) fn in_json(self) -> Self {
        let piece = |piece| match piece {
            TimePiece::Literal(text) => TimePiece::Literal(inside_json(&text)),
            other => other,
        };
        Self(self.0.into_iter().map(piece).collect())
    }

    /// Appends `time`.
    pub(super) fn write(&self, out: &mut Vec<u8>, time: SystemTime) {
        let since = date::since_epoch(time);
        let (second, nanos) = (since.as_secs(), since.subsec_nanos());
        let civil = Civil::of(second);
        for piece in &self.0 {
            match piece {
                TimePiece::Literal(text) => out.extend_from_slice(text.as_bytes()),
                TimePiece::Field(c) => field(out, *c, second, &civil),
                TimePiece::Fraction(digits) => fraction(out, nanos, *digits),
                TimePiece::Seconds(digits) => {
                    padded(out, civil.second, 2, b'0');
                    let digits = digits.unwrap_or_else(|| significant(nanos));
                    if digits > 0 {
                        out.push(b'.');
                        fraction(out, nanos, digits);
                    }
                }
            }
        }
    }
}

fn literal(pieces: &mut Vec<TimePiece>, text: &str) {
    if !text.is_empty() {
        pieces.push(TimePiece::Literal(text.to_owned()));
    }
}

/// Conversions with single characters between them: `Y-m-d`.
fn fields(text: &str) -> Vec<TimePiece> {
    let piece = |c: char| if c.is_ascii_alphabetic() { TimePiece::Field(c) } else { TimePiece::Literal(c.to_string()) };
    text.chars().map(piece).collect()
}

fn field(out: &mut Vec<u8>, conversion: char, second: u64, civil: &Civil) {
    let day = (second / 86_400 % 7) as usize;
    let name = |names: &[&'static str], index: usize| names.get(index).copied().unwrap_or_default();
    let (month, hour12) = (name(&MONTHS, (civil.month - 1) as usize), (civil.hour + 11) % 12 + 1);
    match conversion {
        'Y' => padded(out, civil.year, 4, b'0'),
        'y' => padded(out, civil.year % 100, 2, b'0'),
        'm' => padded(out, civil.month, 2, b'0'),
        'd' => padded(out, civil.day, 2, b'0'),
        'e' => padded(out, civil.day, 2, b' '),
        'H' => padded(out, civil.hour, 2, b'0'),
        'I' => padded(out, hour12, 2, b'0'),
        'M' => padded(out, civil.minute, 2, b'0'),
        'S' => padded(out, civil.second, 2, b'0'),
        'p' => out.extend_from_slice(if civil.hour < 12 { b"AM" } else { b"PM" }),
        'j' => padded(out, civil.day_of_year(), 3, b'0'),
        'a' => out.extend(name(&DAYS, day).bytes().take(3)),
        'A' => out.extend_from_slice(name(&DAYS, day).as_bytes()),
        'b' | 'h' => out.extend(month.bytes().take(3)),
        'B' => out.extend_from_slice(month.as_bytes()),
        's' => padded(out, second, 1, b'0'),
        'z' => out.extend_from_slice(b"+0000"),
        // `CONVERSIONS` has no other.
        _ => out.extend_from_slice(b"UTC"),
    }
}

fn padded(out: &mut Vec<u8>, value: u64, width: usize, pad: u8) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(value).as_bytes();
    out.extend(std::iter::repeat_n(pad, width.saturating_sub(text.len())));
    out.extend_from_slice(text);
}

fn fraction(out: &mut Vec<u8>, nanos: u32, digits: usize) {
    let mut place = 100_000_000;
    for _ in 0..digits {
        out.push(b'0' + (nanos / place % 10) as u8);
        if place == 1 {
            break;
        }
        place /= 10;
    }
}

/// How many digits the fraction has without the zeros at its end.
fn significant(mut nanos: u32) -> usize {
    let mut digits = 9;
    while digits > 0 && nanos.is_multiple_of(10) {
        nanos /= 10;
        digits -= 1;
    }
    digits
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::*;

    use super::*;

    fn shown(format: &str, nanos: u64) -> String {
        let mut out = Vec::new();
        TimeFormat::compile(format).unwrap().write(&mut out, UNIX_EPOCH + Duration::from_nanos(nanos));
        String::from_utf8(out).unwrap()
    }

    /// Envoy 1.40's output for the same moments.
    #[test]
    fn as_envoy() {
        let format = "%Y/%m/%dT%H:%M:%S%z %3f %6f %9f %f %s %E3S %E6S %E*S %Z %b %d %e %a %A %B %j %p %I %y %T %D %F";
        for (nanos, expected) in [
            (
                1_795_340_882_189_201_000,
                "2026/11/22T09:48:02+0000 189 189201 189201000 189201000 1795340882 02.189 02.189201 02.189201 UTC \
                 Nov 22 22 Sun Sunday November 326 AM 09 26 09:48:02 11/22/26 2026-11-22",
            ),
            (
                1_795_340_882_236_230_000,
                "2026/11/22T09:48:02+0000 236 236230 236230000 236230000 1795340882 02.236 02.236230 02.23623 UTC \
                 Nov 22 22 Sun Sunday November 326 AM 09 26 09:48:02 11/22/26 2026-11-22",
            ),
        ] {
            assert_eq!(shown(format, nanos), expected);
        }
    }

    #[test]
    fn hours_and_days_at_their_edges() {
        let hour = 3_600_000_000_000;
        for (nanos, expected) in [
            (0, "12 AM  1 001 Thu 00"),
            (12 * hour, "12 PM  1 001 Thu 00"),
            (13 * hour, "01 PM  1 001 Thu 00"),
            (1_609_372_799_000_000_000, "11 PM 30 365 Wed 59"),
            (1_609_459_199_000_000_000, "11 PM 31 366 Thu 59"),
            (1_609_459_200_000_000_000, "12 AM  1 001 Fri 00"),
        ] {
            assert_eq!(shown("%I %p %e %j %a %S", nanos), expected, "{nanos}");
        }
        assert_eq!(shown("%E*S %E0S 100%% %R", 5_000_000_000), "05 05 100% 00:00");
    }

    #[test]
    fn what_is_not_known_is_named() {
        for (format, named) in [("%Q", "%Q"), ("%Y %", "%"), ("%0f", "%0"), ("%Ex", "%E"), ("%n", "%n"), ("%é", "%é")]
        {
            assert_eq!(TimeFormat::compile(format), Err(named.to_owned()), "{format}");
        }
    }

    proptest! {
        #[test]
        fn no_format_panics(format: String, nanos: u64) {
            if let Ok(format) = TimeFormat::compile(&format) {
                format.write(&mut Vec::new(), UNIX_EPOCH + Duration::from_nanos(nanos));
            }
        }
    }
}
