//! Durations: Go's `1h30m`, `1.5s`, `100ms`, of which protojson's `1.5s` is a part.

use std::time::Duration;

/// Longest duration: the largest signed 64-bit count of nanoseconds, as in Go; also protobuf's `Duration` is larger.
const MAX_NANOS: u128 = i64::MAX as u128;

/// Reads a duration, or returns the problem.
pub(in crate::istio) fn parse(text: &str) -> Result<Duration, &'static str> {
    const FORM: &str = "is not a duration";
    if text.starts_with('-') {
        return Err("must not be negative");
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(FORM);
    }
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or("has no unit")?;
        let (number, after) = rest.split_at(number_end);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let unit_nanos: u128 = match unit {
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(FORM),
        };
        nanos = nanos.checked_add(scaled(number, unit_nanos).ok_or(FORM)?).ok_or("is too long")?;
        if nanos > MAX_NANOS {
            return Err("is too long");
        }
        rest = after;
    }
    u64::try_from(nanos).map(Duration::from_nanos).map_err(|_| "is too long")
}

/// `number` (digits with at most one point) times `unit`; fractions of a nanosecond are cut off, as in Go.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    // Nineteen digits fit easily; more of them are too long in any unit.
    let whole: u128 = match whole.trim_start_matches('0') {
        "" => 0,
        digits if digits.len() > 19 => return Some(u128::from(u64::MAX)),
        digits => digits.parse().ok()?,
    };
    // Eighteen digits of a fraction are below a nanosecond in any unit.
    let fraction = fraction.get(..18).unwrap_or(fraction);
    let parts: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    Some(whole * unit + parts * unit / 10u128.pow(fraction.len() as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_go_and_protojson_forms() {
        for (text, nanos) in [
            ("1s", 1_000_000_000),
            ("1.5s", 1_500_000_000),
            ("0.001s", 1_000_000),
            (".5s", 500_000_000),
            ("2.s", 2_000_000_000),
            ("100ms", 100_000_000),
            ("3m", 180_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1h0m0.5s", 3_600_500_000_000),
            ("1.25m", 75_000_000_000),
            ("0.1h", 360_000_000_000),
            ("250us", 250_000),
            ("250\u{b5}s", 250_000),
            ("7ns", 7),
            ("0.5ns", 0),
            ("0s", 0),
            ("0", 0),
            ("+1s", 1_000_000_000),
            ("000000000000000000000000001s", 1_000_000_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, expected) in [
            ("", "is not a duration"),
            ("+", "is not a duration"),
            ("10", "has no unit"),
            ("1s5", "has no unit"),
            ("-1s", "must not be negative"),
            ("1d", "is not a duration"),
            ("1 s", "is not a duration"),
            ("s", "is not a duration"),
            (".s", "is not a duration"),
            ("1.2.3s", "is not a duration"),
            ("1S", "is not a duration"),
            ("five seconds", "is not a duration"),
            ("9999999h", "is too long"),
            ("99999999999999999999999s", "is too long"),
        ] {
            assert_eq!(parse(text), Err(expected), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[-+0-9.a-z\u{b5}]{0,24}") {
            let _ = parse(&text);
        }

        #[test]
        fn whole_milliseconds_come_back(millis in 0u64..1_000_000_000) {
            let expected = Ok(Duration::from_millis(millis));
            proptest::prop_assert_eq!(parse(&format!("{millis}ms")), expected);
            proptest::prop_assert_eq!(parse(&format!("{}.{:03}s", millis / 1000, millis % 1000)), expected);
        }
    }
}
