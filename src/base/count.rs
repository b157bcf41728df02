//! Numbers of things, as people say them.

use std::fmt::Display;

/// `1 error`, `2 errors`, `0 retries`: `one` is the word for one of them.
pub fn counted<N: Display + PartialEq + From<u8>>(count: N, one: &str) -> String {
    if count == N::from(1) {
        return format!("{count} {one}");
    }
    match one.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{count} {stem}ies"),
        _ => format!("{count} {one}s"),
    }
}

/// `1,499`.
#[must_use]
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345, "12,345"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn one_is_singular_and_everything_else_is_not() {
        for (count, one, expected) in [
            (0, "error", "0 errors"),
            (1, "error", "1 error"),
            (2, "warning", "2 warnings"),
            (1, "retry", "1 retry"),
            (0, "authority", "0 authorities"),
            (21, "delay", "21 delays"),
        ] {
            assert_eq!(counted(count, one), expected);
        }
        assert_eq!(counted(1_usize, "client connection"), "1 client connection");
        assert_eq!(counted(u64::MAX, "byte"), format!("{} bytes", u64::MAX));
    }
}
