//! Scalars that YAML 1.1 takes for something else than YAML 1.2 does. ringway reads 1.2; kubectl's parser (go-yaml 2)
//! keeps much of 1.1, so the same file can mean something else in a cluster.

/// The type that kubectl gives a plain scalar which is a string here; `None`: a string there, too.
pub(super) fn elsewhere(text: &str) -> Option<String> {
    if is_one_of(text, &["y", "yes", "on"]) {
        return Some("true to kubectl (YAML 1.1)".to_owned());
    }
    if is_one_of(text, &["n", "no", "off"]) {
        return Some("false to kubectl (YAML 1.1)".to_owned());
    }
    if let Some(number) = go_number(text) {
        return Some(format!("the number {number} to kubectl (YAML 1.1)"));
    }
    // go-yaml has never read these; Ruby's and Python's parsers do.
    sexagesimal(text).map(|number| format!("the number {number} to other tools (YAML 1.1)"))
}

/// Kubectl's value of a number that is decimal here, if it differs: `010` is 8.
pub(super) fn octal(raw: &str) -> Option<i64> {
    let (sign, digits) = signed(raw);
    let digits = digits.strip_prefix('0').filter(|rest| !rest.is_empty())?;
    if !digits.bytes().all(|byte| matches!(byte, b'0'..=b'7')) {
        return None;
    }
    let value = i64::from_str_radix(digits, 8).ok()?;
    (digits.parse() != Ok(value)).then_some(sign * value)
}

/// A word as written in lower case, with a capital, or in capitals: no other mixture counts.
fn is_one_of(text: &str, words: &[&str]) -> bool {
    let rest = text.get(1..).unwrap_or_default();
    let lower = |part: &str| !part.bytes().any(|byte| byte.is_ascii_uppercase());
    let upper = |part: &str| !part.bytes().any(|byte| byte.is_ascii_lowercase());
    words.iter().any(|word| word.eq_ignore_ascii_case(text)) && (lower(rest) || upper(text))
}

/// Whole numbers as Go reads them: `_` between digits, `0b` before binary ones, a sign before `0x` and `0o`.
fn go_number(text: &str) -> Option<i64> {
    let (sign, unsigned) = signed(text);
    if !unsigned.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let digits = unsigned.replace('_', "");
    let lower = digits.to_ascii_lowercase();
    let radix = |prefix: &str, radix| lower.strip_prefix(prefix).and_then(|rest| unprefixed(rest, radix));
    let value = radix("0x", 16).or_else(|| radix("0o", 8)).or_else(|| radix("0b", 2));
    // Without `_` a decimal number is the same to both.
    let decimal = || if digits == unsigned { None } else { unprefixed(&digits, 10) };
    let value = value.or_else(|| octal(&digits)).or_else(decimal)?;
    Some(sign * value)
}

fn unprefixed(digits: &str, radix: u32) -> Option<i64> {
    let fits = digits.starts_with(|first: char| first.is_digit(radix));
    if fits { i64::from_str_radix(digits, radix).ok() } else { None }
}

/// `12:30` and `1:30:00`: digits to the base of 60.
fn sexagesimal(text: &str) -> Option<i64> {
    let (sign, unsigned) = signed(text);
    let (first, rest) = unsigned.split_once(':')?;
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(first) || first.starts_with('0') {
        return None;
    }
    let mut value: i64 = first.parse().ok()?;
    for part in rest.split(':') {
        let part: i64 = if digits(part) && part.len() <= 2 { part.parse().ok()? } else { return None };
        if part > 59 {
            return None;
        }
        value = value.checked_mul(60)?.checked_add(part)?;
    }
    Some(sign * value)
}

fn signed(text: &str) -> (i64, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_yaml_1_1_are_known() {
        for (text, expected) in [
            ("yes", Some("true to kubectl (YAML 1.1)")),
            ("Yes", Some("true to kubectl (YAML 1.1)")),
            ("YES", Some("true to kubectl (YAML 1.1)")),
            ("y", Some("true to kubectl (YAML 1.1)")),
            ("Y", Some("true to kubectl (YAML 1.1)")),
            ("on", Some("true to kubectl (YAML 1.1)")),
            ("ON", Some("true to kubectl (YAML 1.1)")),
            ("no", Some("false to kubectl (YAML 1.1)")),
            ("N", Some("false to kubectl (YAML 1.1)")),
            ("Off", Some("false to kubectl (YAML 1.1)")),
            ("yEs", None),
            ("oN", None),
            ("YeS", None),
            ("yesterday", None),
            ("", None),
            ("GET", None),
            ("1_000", Some("the number 1000 to kubectl (YAML 1.1)")),
            ("0b11", Some("the number 3 to kubectl (YAML 1.1)")),
            ("-0x1f", Some("the number -31 to kubectl (YAML 1.1)")),
            ("0X1F", Some("the number 31 to kubectl (YAML 1.1)")),
            ("01_0", Some("the number 8 to kubectl (YAML 1.1)")),
            ("80", None),
            ("-7", None),
            ("010", Some("the number 8 to kubectl (YAML 1.1)")),
            ("0b12", None),
            ("0x", None),
            ("_1", None),
            ("1s", None),
            ("v1_0", None),
            ("12:30", Some("the number 750 to other tools (YAML 1.1)")),
            ("1:30:00", Some("the number 5400 to other tools (YAML 1.1)")),
            ("12:60", None),
            ("12:", None),
            ("08:30", None),
            ("12:3:b", None),
            ("::1", None),
            ("127.0.0.1:80", None),
            ("99999999999999999999:10", None),
        ] {
            assert_eq!(elsewhere(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn octal_numbers_are_told_where_they_differ() {
        for (raw, expected) in [
            ("010", Some(8)),
            ("0777", Some(511)),
            ("-010", Some(-8)),
            ("08", None),
            ("007", None),
            ("0", None),
            ("10", None),
            ("0x10", None),
        ] {
            assert_eq!(octal(raw), expected, "{raw}");
        }
    }
}
